/* net/csum.c beside a plain reading of the RFCs: random frames are made large, and what comes out
 * is put together again by code that knows nothing of how it was cut (RFC 1071, 791, 8200, 9293).
 */
#include "net/csum.h"

#include <glib.h>
#include <string.h>

enum { ROUNDS = 3000, FRAME_MAX = 65536 + 64 };

/* One byte after the other, as RFC 1071 begins. */
static uint16_t plain_sum(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static void test_sum(void)
{
    static const uint8_t rfc[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
    g_autoptr(GRand) r = g_rand_new_with_seed(1);
    uint8_t b[300];

    g_assert_cmphex(net_fold(net_sum(0, rfc, sizeof rfc)), ==, 0xddf2); /* RFC 1071, 3 */
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t at = (size_t)g_rand_int_range(r, 0, 8), n = (size_t)g_rand_int_range(r, 0, 280);
        uint32_t from = g_rand_int(r) & 0xffff;

        for (unsigned k = 0; k < sizeof b; k++) {
            b[k] = (uint8_t)g_rand_int(r);
        }
        g_assert_cmphex(net_fold(net_sum(from, b + at, n)), ==, plain_sum(b + at, n, from));
    }
}

/* start + offset + 2 has to be in the frame, and no number is so large that it wraps. */
static void test_complete(void)
{
    uint8_t f[64], want[64];

    for (size_t len = 0; len < 40; len++) {
        for (size_t start = 0; start < 44; start++) {
            for (size_t off = 0; off < 44; off++) {
                g_autofree uint8_t *b = g_malloc(MAX(len, 1));

                memset(b, 0x5a, len);
                bool ok = net_csum_complete(b, len, start, off);
                g_assert_cmpint(ok, ==, start < len && start + off + 2 <= len);
                for (size_t i = 0; i < len; i++) {
                    g_assert_true(b[i] == 0x5a || (ok && i - start - off < 2));
                }
            }
        }
    }
    g_assert_false(net_csum_complete(f, sizeof f, 0xffff, 0xffff));
    g_assert_false(net_csum_complete(f, sizeof f, 10, SIZE_MAX - 10));
    /* The sum of all is zero then; a sum of zero is written as the other zero (RFC 768). */
    memset(f, 0, sizeof f);
    g_assert_true(net_csum_complete(f, sizeof f, 20, 6));
    g_assert_cmphex(net_be16(f + 26), ==, 0xffff);
    for (unsigned i = 0; i < sizeof f; i++) {
        f[i] = want[i] = (uint8_t)(i * 7);
    }
    g_assert_true(net_csum_complete(f, 63, 21, 4));
    want[25] = (uint8_t)(~plain_sum(want + 21, 42, 0) >> 8);
    want[26] = (uint8_t)~plain_sum(want + 21, 42, 0);
    g_assert_cmpmem(f, 64, want, 64);
}

/* ---- frames ---- */

typedef struct Made {
    uint8_t *f;
    size_t len, ip, transport, body;
    uint8_t type;
    unsigned size;
} Made;

static void put(GByteArray *b, const char *bytes, unsigned n)
{
    g_byte_array_append(b, (const uint8_t *)bytes, n);
}

static void noise(GByteArray *b, GRand *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t v = (uint8_t)g_rand_int(r);

        g_byte_array_append(b, &v, 1);
    }
}

static void make_ip6(GByteArray *b, GRand *r, uint8_t proto)
{
    static const uint8_t kind[] = { 0, 60, 43 };
    unsigned ext = (unsigned)g_rand_int_range(r, 0, 4), link = b->len + 6;

    put(b, "\x60\0\0\0\0\0\0\x40", 8);
    noise(b, r, 32);
    for (unsigned i = 0; i < ext; i++) {
        unsigned eights = (unsigned)g_rand_int_range(r, 0, 3);

        b->data[link] = kind[i];
        link = b->len;
        noise(b, r, 8 + eights * 8);
        b->data[link + 1] = (uint8_t)eights;
        if (kind[i] == 43) {
            b->data[link + 3] = 0; /* no segments left: the destination is the last */
        }
    }
    b->data[link] = proto;
}

static void make_ip4(GByteArray *b, GRand *r, uint8_t proto)
{
    unsigned words = (unsigned)g_rand_int_range(r, 0, 11), at = b->len;

    put(b, "\x45\0\0\0\x12\x34\x40\0\x40\0\0\0", 12);
    noise(b, r, 8 + words * 4);
    b->data[at] = (uint8_t)(0x45 + words);
    b->data[at + 9] = proto;
}

/* The pseudo header of a packet (RFC 9293, 3.1; RFC 8200, 8.1). */
static uint32_t pseudo(const Made *m, const uint8_t *ip, size_t len)
{
    bool ip6 = ip[0] >> 4 == 6;
    bool tcp = m->type == NET_GSO_TCPV4 || m->type == NET_GSO_TCPV6;

    return plain_sum(ip + (ip6 ? 8 : 12), ip6 ? 32 : 8, (uint32_t)len + (tcp ? 6 : 17));
}

static void make(Made *m, GRand *r)
{
    static const uint8_t types[] = { NET_GSO_TCPV4, NET_GSO_TCPV6, NET_GSO_UDP, NET_GSO_UDP_L4 };
    GByteArray *b = g_byte_array_new();
    uint8_t type = types[g_rand_int_range(r, 0, 4)];
    bool tcp = type == NET_GSO_TCPV4 || type == NET_GSO_TCPV6;
    bool ip6 = tcp ? type == NET_GSO_TCPV6 : g_rand_boolean(r);
    unsigned tags = (unsigned)g_rand_int_range(r, 0, 3);

    noise(b, r, 12);
    put(b, "\x88\xa8\0\x07\x81\0\0\x05" + (2 - tags) * 4, tags * 4);
    put(b, ip6 ? "\x86\xdd" : "\x08\0", 2);
    *m = (Made){ .ip = b->len, .type = type };
    (ip6 ? make_ip6 : make_ip4)(b, r, tcp ? 6 : 17);
    m->transport = b->len;
    unsigned options = tcp ? (unsigned)g_rand_int_range(r, 0, 11) : 0;

    noise(b, r, tcp ? 20 + options * 4 : 8);
    if (tcp) {
        b->data[m->transport + 12] = (uint8_t)((5 + options) << 4);
    }
    m->body = b->len;
    m->size = (unsigned)g_rand_int_range(r, 64, 3000);
    noise(b, r, (unsigned)g_rand_int_range(r, 1, g_rand_boolean(r) ? 40000 : 5000));
    m->len = b->len;
    m->f = g_byte_array_free(b, FALSE);
    net_put_be16(
        m->f + m->transport + (tcp ? 16 : 6), pseudo(m, m->f + m->ip, m->len - m->transport));
}

/* A segment in one piece; its memory is as long as it is. */
static uint8_t *flat(const NetSegs *g, size_t *ret_len)
{
    uint8_t head[NET_SEG_HEAD];
    const uint8_t *body;
    size_t blen, hlen = net_segs_make(g, head, &body, &blen);
    uint8_t *f = g_malloc(hlen + blen);

    memcpy(f, head, hlen);
    memcpy(f + hlen, body, blen);
    *ret_len = hlen + blen;
    return f;
}

static void check_ip(const Made *m, const uint8_t *f, size_t len, unsigned i)
{
    const uint8_t *ip = f + m->ip;

    g_assert_cmpmem(f, m->ip, m->f, m->ip);
    if (ip[0] >> 4 == 4) {
        g_assert_cmpuint(net_be16(ip + 2), ==, len - m->ip);
        g_assert_cmphex(plain_sum(ip, (ip[0] & 15) * 4u, 0), ==, 0xffff);
        g_assert_cmpuint(net_be16(ip + 4), ==, 0x1234 + (m->type == NET_GSO_UDP ? 0 : i));
    } else {
        g_assert_cmpuint(net_be16(ip + 4), ==, len - m->ip - 40);
    }
}

/* TCP and USO: each segment is a whole packet. */
static void check_packets(const Made *m, NetSegs *g)
{
    bool tcp = m->type != NET_GSO_UDP_L4;
    size_t done = 0;

    for (g->next = 0; g->next < g->n; g->next++) {
        size_t len;
        g_autofree uint8_t *f = flat(g, &len);
        const uint8_t *tu = f + m->transport, *was = m->f + m->transport;
        size_t body = len - m->body;

        check_ip(m, f, len, g->next);
        g_assert_cmpuint(body, ==, MIN(m->size, m->len - m->body - done));
        g_assert_cmpmem(f + m->body, body, m->f + m->body + done, body);
        /* The sum of a right packet is all ones. */
        g_assert_cmphex(plain_sum(tu, len - m->transport, pseudo(m, f + m->ip, len - m->transport)),
            ==, 0xffff);
        if (tcp) {
            bool last = g->next + 1 == g->n;
            uint32_t seq = GUINT32_FROM_BE(*(const uint32_t *)(const void *)(was + 4));

            g_assert_cmpuint(
                (uint32_t)net_be16(tu + 4) << 16 | net_be16(tu + 6), ==, (uint32_t)(seq + done));
            g_assert_cmphex(
                tu[13], ==, was[13] & ~((last ? 0 : 9) | (g->next ? 0x80 : 0))); /* FIN, PSH; CWR */
            g_assert_cmpmem(
                tu + 18, m->body - m->transport - 18, was + 18, m->body - m->transport - 18);
        } else {
            g_assert_cmpuint(net_be16(tu + 4), ==, len - m->transport);
        }
        done += body;
    }
    g_assert_cmpuint(done, ==, m->len - m->body);
}

/* UFO: together they are the datagram (RFC 791, 3.2; RFC 8200, 4.5). */
static void check_fragments(const Made *m, NetSegs *g)
{
    bool ip6 = m->f[m->ip] >> 4 == 6;
    size_t done = 0;

    for (g->next = 0; g->next < g->n; g->next++) {
        size_t len, at;
        g_autofree uint8_t *f = flat(g, &len);
        size_t head = m->transport + (ip6 && g->n > 1 ? 8 : 0);
        bool more;

        check_ip(m, f, len, g->next);
        if (ip6) {
            const uint8_t *p = f + m->transport;

            at = g->n > 1 ? net_be16(p + 2) & 0xfff8u : 0;
            more = g->n > 1 && p[3] & 1;
            if (g->n > 1) {
                g_assert_cmpuint(p[0], ==, 17);
                g_assert_cmphex((uint32_t)net_be16(p + 4) << 16 | net_be16(p + 6), ==, 0xabcd0123);
            }
        } else {
            at = (net_be16(f + m->ip + 6) & 0x1fffu) * 8;
            more = f[m->ip + 6] & 0x20;
            g_assert_cmphex(f[m->ip + 6] & 0xc0, ==, 0); /* DF would be a lie */
        }
        g_assert_cmpuint(at, ==, done);
        g_assert_cmpint(more, ==, g->next + 1 < g->n);
        g_assert_cmpmem(f + head, len - head, m->f + m->transport + done, len - head);
        g_assert_cmpuint(len - head, <=, m->size);
        done += len - head;
    }
    g_assert_cmpuint(done, ==, m->len - m->transport);
}

static void test_segments(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(7);

    for (unsigned i = 0; i < ROUNDS; i++) {
        NetSegs g;
        Made m;

        make(&m, r);
        g_assert_true(net_segs_init(&g, m.f, m.len, m.type, m.size, 0xabcd0123));
        (m.type == NET_GSO_UDP ? check_fragments : check_packets)(&m, &g);
        g_free(m.f);
    }
}

/* What is not what its type says is refused. */
static void test_refused(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(8);
    NetSegs g;

    for (unsigned i = 0; i < ROUNDS; i++) {
        Made m;

        make(&m, r);
        bool tcp = m.type == NET_GSO_TCPV4 || m.type == NET_GSO_TCPV6;

        g_assert_false(net_segs_init(&g, m.f, m.len, NET_GSO_NONE, m.size, 0));
        g_assert_false(net_segs_init(&g, m.f, m.len, m.type, 0, 0));
        g_assert_false(net_segs_init(&g, m.f, m.len, 2, m.size, 0));
        g_assert_false(net_segs_init(&g, m.f, m.len, tcp ? NET_GSO_UDP : NET_GSO_TCPV4, m.size, 0));
        g_assert_false(net_segs_init(&g, m.f, m.len, tcp ? 5 - m.type : NET_GSO_TCPV6, m.size, 0));
        for (size_t len = 0; len < m.body && len < 80; len++) {
            g_autofree uint8_t *cut = g_memdup2(m.f, MAX(len, 1));

            g_assert_false(net_segs_init(&g, cut, len, m.type, m.size, 0));
        }
        if (m.len - m.body > NET_SEGS_MAX + 8) {
            g_assert_false(net_segs_init(&g, m.f, m.len, m.type, 1, 0));
        }
        if (m.f[m.ip] >> 4 == 4) {
            m.f[m.ip + 6] = 0x20; /* a fragment already */
            g_assert_false(net_segs_init(&g, m.f, m.len, m.type, m.size, 0));
        }
        g_free(m.f);
    }
}

/* Frames with a few bytes changed, and noise: whatever is accepted can be cut to the end. */
static void test_hostile(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(9);
    unsigned taken = 0;

    for (unsigned i = 0; i < ROUNDS * 4; i++) {
        NetSegs g;
        Made m;
        size_t sum = 0, len;

        make(&m, r);
        len = (size_t)g_rand_int_range(r, 1, (gint32)m.len + 1);
        g_autofree uint8_t *f = g_memdup2(m.f, len);
        for (unsigned k = (unsigned)g_rand_int_range(r, 0, 6); k--;) {
            f[g_rand_int_range(r, 0, (gint32)MIN(len, 120))] = (uint8_t)g_rand_int(r);
        }
        if (net_segs_init(&g, f, len, m.type, g_rand_int(r) & 0xffff, 0)) {
            taken++;
            g_assert_cmpuint(g.n, <=, NET_SEGS_MAX);
            for (; g.next < g.n; g.next++) {
                size_t n;
                g_autofree uint8_t *s = flat(&g, &n);

                sum += n;
            }
            g_assert_cmpuint(sum, >=, len);
        }
        g_free(m.f);
    }
    g_assert_cmpuint(taken, >, ROUNDS);
}

/* A TCP or UDP packet with its sums, noise otherwise. The length of it. */
static size_t summed(uint8_t *f, GRand *r, uint8_t proto, size_t head)
{
    size_t body = (size_t)g_rand_int_range(r, 20, 1400);
    uint8_t *ip = f + 14, *tu = ip + head;
    unsigned at = proto == 6 ? 16 : 6;

    for (size_t i = 0; i < 14 + head + body; i++) {
        f[i] = (uint8_t)g_rand_int(r);
    }
    net_put_be16(f + 12, 0x0800);
    ip[0] = (uint8_t)(0x40 | head / 4);
    net_put_be16(ip + 2, (uint32_t)(head + body));
    net_put_be16(ip + 6, 0x4000);
    ip[9] = proto;
    net_put_be16(ip + 10, 0);
    net_put_be16(ip + 10, (uint16_t)~plain_sum(ip, head, 0));
    if (proto == 17) {
        net_put_be16(tu + 4, (uint32_t)body);
    }
    net_put_be16(tu + at, 0);
    uint16_t v = (uint16_t)~plain_sum(tu, body, plain_sum(ip + 12, 8, proto + (uint32_t)body));

    net_put_be16(tu + at, v ? v : 0xffff);
    return 14 + head + body;
}

/* What a card says of a received packet: right, wrong, not summed, cut off. */
static void test_seen(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(9);
    uint8_t f[14 + 60 + 1500];

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t proto = round % 2 ? 6 : 17, *ip = f + 14;
        size_t head = 20 + 4 * (size_t)g_rand_int_range(r, 0, 11), len = summed(f, r, proto, head);
        unsigned want = NET_SEEN_IP4 | (proto == 6 ? NET_SEEN_TCP : NET_SEEN_UDP);

        g_assert_cmphex(net_csum_seen(f, len), ==, want);
        g_assert_cmphex(net_csum_seen(f, len + 4), ==, want); /* what pads a frame is not of it */
        g_assert_cmphex(net_csum_seen(f, len - 1), ==, 0);
        f[len - 1] ^= 1;
        g_assert_cmphex(net_csum_seen(f, len), ==, want | NET_SEEN_SUM_BAD);
        ip[8] ^= 1;
        g_assert_cmphex(net_csum_seen(f, len), ==, NET_SEEN_IP4 | NET_SEEN_IP4_BAD);
        ip[8] ^= 1;
        if (proto == 17) {
            net_put_be16(ip + head + 6, 0); /* no checksum */
            g_assert_cmphex(net_csum_seen(f, len), ==, NET_SEEN_IP4);
            net_put_be16(ip + head + 6, 1);
            ip[head + 5] ^= 1; /* another length than IP's */
            g_assert_cmphex(net_csum_seen(f, len), ==, NET_SEEN_IP4);
        }
        net_put_be16(ip + 6, 0x2000); /* a fragment */
        net_put_be16(ip + 10, 0);
        net_put_be16(ip + 10, (uint16_t)~plain_sum(ip, head, 0));
        g_assert_cmphex(net_csum_seen(f, len), ==, NET_SEEN_IP4);
    }
    for (size_t n = 0; n < 34; n++) {
        g_autofree uint8_t *cut = g_memdup2(f, MAX(n, 1));

        g_assert_cmphex(net_csum_seen(cut, n), ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net-csum/sum", test_sum);
    g_test_add_func("/net-csum/complete", test_complete);
    g_test_add_func("/net-csum/segments", test_segments);
    g_test_add_func("/net-csum/refused", test_refused);
    g_test_add_func("/net-csum/seen", test_seen);
    g_test_add_func("/net-csum/hostile", test_hostile);
    return g_test_run();
}
