/* hw/virtio/virtio-net-rsc.c: which segments become one packet, when it goes, and what of it there
 * is when there are no buffers (VIRTIO 1.4, 5.1.9.4). Packets are written as words: see send(). */
#include "backends/iothread.h"
#include "net/csum.h"
#include "net/net.h"
#include "tests/unit/vdev.h"
#include "util/timer.h"

#include <stdlib.h>

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net), &iothread_class);

enum { HDR = 12, ROOM = 0x12000, ROOMS = 24, MAX_FRAME = 65600, PAIRS = 2 };
enum { F_GUEST_CSUM = 1, F_TSO4 = 7, F_TSO6 = 8, F_MRG = 15, F_MQ = 22, F_HASH = 57, F_RSC = 61 };
enum { NEEDS_CSUM = 1, DATA_VALID = 2, RSC_INFO = 4 };
enum { HINT = 2000 }; /* hdr_len of the back end, and wrong */
enum { ETH = 14, SEQ = 1000000, INTERVAL = 300000 };

typedef struct Fix {
    VDev v;
    NetPort wire, second; /* second: a back end's other queue */
    NetPort *more;
    unsigned ready; /* times that the device could take packets again */
    uint64_t room;  /* receive buffers, for each pair ROOMS */
    unsigned rx;    /* the pair that gives and takes them now */
    unsigned next[PAIRS], taken[PAIRS];
    GString *out; /* what the driver found */
} Fix;

static uint64_t wire_offloads(NetPort *p)
{
    return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
}

static bool wire_set_offload(NetPort *p, uint64_t offloads, uint32_t hdr)
{
    p->vnet_hdr_len = hdr;
    return true;
}

static void wire_writable(NetPort *p)
{
    ((Fix *)((char *)p - offsetof(Fix, wire)))->ready++;
}

static void wire_move(NetPort *p, Loop *loop)
{
    p->loop = loop;
}

static const NetPortOps wire_ops = { .writable = wire_writable };
static const NetBackend wire_backend = {
    .type = "wire", .offloads = wire_offloads, .set_offload = wire_set_offload, .move = wire_move
};

static void plug(Fix *x, const char *props)
{
    g_autofree char *dev = g_strdup_printf("{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': "
                                           "'4', 'netdev': 'w', 'romfile': ''%s}",
        props);

    x->v.dev = board_add(x->v.b, dev);
    vd_open(&x->v.d, &x->v.b->port, 0, 4 << 3, false);
}

static void open_with(Fix *x, const char *props)
{
    net_port_init(&x->wire, &wire_ops, "wire", "w");
    x->wire.backend = &wire_backend;
    x->wire.vnet_hdr_len = HDR;
    net_port_init(&x->second, &wire_ops, "wire", "w");
    x->second.backend = &wire_backend;
    x->second.vnet_hdr_len = HDR;
    x->second.index = 1;
    x->more = &x->second;
    x->wire.queue = &x->more;
    x->wire.nqueues = 2;
    x->v.b = board_new(false);
    vdev_thread(x->v.b, "t0");
    plug(x, props);
    x->room = vd_page(&x->v.d, ROOM * ROOMS * PAIRS);
    x->out = g_string_new(NULL);
}

static void up(Fix *x, const void *unused)
{
    open_with(x, ", 'guest_rsc_ext': true");
    vd_start(&x->v.d, 1ull << F_MRG);
}

static void up_in_thread(Fix *x, const void *unused)
{
    open_with(x, ", 'guest_rsc_ext': true, 'x-iothread': 't0'");
    vd_start(&x->v.d, 1ull << F_MRG);
}

static void up_pairs(Fix *x, const void *unused)
{
    open_with(x, ", 'guest_rsc_ext': true, 'mq': true, 'rss': true");
    vd_start(&x->v.d, 1ull << F_MRG);
    g_assert_cmphex(x->v.d.features >> F_MQ & 1, ==, 1);
}

static void down(Fix *x, const void *unused)
{
    dev_unplug_done(x->v.b->m, x->v.dev);
    board_run(x->v.b);
    vdev_close(&x->v);
    net_port_fini(&x->wire);
    net_port_fini(&x->second);
    g_string_free(x->out, TRUE);
}

static void nothing(void *unused) {}

/* What was asked of the device's loop, and of ours, is done. */
static void settle(Fix *x)
{
    loop_call(x->wire.loop, nothing, NULL);
    board_run(x->v.b);
}

static uint64_t buffer(const Fix *x, unsigned i)
{
    return x->room + (uint64_t)ROOM * (x->rx * ROOMS + i % ROOMS);
}

static void give(Fix *x, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const VBuf b = { buffer(x, x->next[x->rx]++), ROOM, true };

        vring_add(&x->v.d.ring[x->rx * 2], &b, 1, 0);
    }
    vd_kick(&x->v.d, x->rx * 2);
    board_run(x->v.b);
    settle(x);
}

static void tick(Fix *x, int64_t ns)
{
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + ns);
    board_run(x->v.b);
}

static uint8_t pattern(uint32_t seq)
{
    return (uint8_t)(seq * 7 ^ seq >> 8);
}

/* Behind the flow's letter. */
static bool has(const char *word, char c)
{
    return strchr(word + 1, c) != NULL;
}

static uint64_t pseudo(const uint8_t *f, bool ip6, size_t tcp, size_t len)
{
    return net_sum(6 + len - tcp, f + ETH + (ip6 ? 8 : 12), ip6 ? 32 : 8);
}

static void make_ip(uint8_t *ip, const char *word, size_t len)
{
    if (has(word, 'x')) {
        ip[0] = 0x60;
        ip[1] = has(word, 'e') ? 0x30 : 0;
        net_put_be16(ip + 4, (uint32_t)(len - 40));
        ip[6] = 6;
        ip[7] = has(word, 'h') ? 63 : 64;
        memset(ip + 8, 0x20, 32);
        ip[39] = (uint8_t)word[0];
        return;
    }
    ip[0] = 0x45;
    ip[1] = has(word, 'e') ? 3 : 0;
    net_put_be16(ip + 2, (uint32_t)len);
    net_put_be16(ip + 6, has(word, 'g') ? 0 : 0x4000);
    ip[8] = has(word, 'h') ? 63 : 64;
    ip[9] = 6;
    memset(ip + 12, 10, 8);
    ip[19] = (uint8_t)word[0];
    net_put_be16(ip + 10, (uint16_t)~net_fold(net_sum(0, ip, 20)) ^ (has(word, 'i') ? 1 : 0));
}

/* Options: t timestamps, T other ones, o one that is not known. */
static unsigned make_tcp(uint8_t *t, const char *word, uint32_t seq)
{
    static const uint8_t stamp[12] = { 1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6 };
    static const struct {
        char c;
        uint8_t bit;
    } flag[] = { { 'f', 1 }, { 's', 2 }, { 'r', 4 }, { 'p', 8 }, { 'u', 32 }, { 'c', 64 } };
    unsigned len = has(word, 't') || has(word, 'T') ? 32 : has(word, 'o') ? 24 : 20;

    net_put_be16(t, 80);
    net_put_be16(t + 2, (uint8_t)word[0]);
    net_put_be16(t + 4, seq >> 16);
    net_put_be16(t + 6, seq);
    t[11] = has(word, 'a') ? 2 : 1;
    t[12] = (uint8_t)(len << 2);
    t[13] = 16;
    for (unsigned i = 0; i < G_N_ELEMENTS(flag); i++) {
        t[13] |= has(word, flag[i].c) ? flag[i].bit : 0;
    }
    net_put_be16(t + 14, has(word, 'w') ? 500 : 1000);
    memcpy(t + 20, stamp, len == 32 ? 12 : 0);
    t[27] += len == 32 && has(word, 'T') ? 1 : 0;
    memcpy(t + 20, "\2\4\5\264", len == 24 ? 4 : 0);
    return len;
}

typedef struct Sending {
    NetPort *from;
    const struct iovec *v; /* three */
    size_t len;
    NetVerdict verdict;
} Sending;

static void loop_send(void *opaque)
{
    Sending *s = opaque;

    s->verdict = net_send(s->from, s->v, 3, s->len);
}

static NetVerdict send_by(Fix *x, NetPort *from, const struct iovec *v, size_t len)
{
    Sending s = { from, v, len };

    loop_call(x->wire.loop, loop_send, &s);
    settle(x);
    return s.verdict;
}

/* A packet of flow A, B, ...: "A1000+500": sequence number and payload, then what is special about
 * it: flags p f s r u c, options t T o, acknowledgement a, window w, ECN e, hops h, no DF g, IPv6
 * 6, VLAN v, padding z, wrong checksums b (TCP) i (IP); in front of it: n NEEDS_CSUM, d DATA_VALID,
 * G: three segments already; q: it comes by the back end's second queue. "U" is a UDP packet. */
static NetVerdict send(Fix *x, const char *word)
{
    g_autofree uint8_t *f = g_malloc0(MAX_FRAME);
    uint16_t hdr[HDR / 2] = { 0 };
    char *at;
    uint32_t seq = (uint32_t)strtoul(word + 1, &at, 10);
    size_t body = strtoul(at, NULL, 10), tag = has(word, 'v') ? 4 : 0, tcp, len;
    bool ip6 = has(word, 'x'), udp = word[0] == 'U';

    memset(f, 0x52, 12);
    net_put_be16(f + 12, ip6 ? 0x86dd : 0x0800);
    tcp = (size_t)ETH + (ip6 ? 40 : 20);
    len = tcp + make_tcp(f + tcp, word, SEQ + seq) + body;
    for (size_t i = 0; i < body; i++) {
        f[len - body + i] = pattern(seq + (uint32_t)i);
    }
    make_ip(f + ETH, word, len - ETH);
    if (udp) {
        f[ETH + 9] = 17;
    }
    uint16_t sum = net_fold(net_sum(pseudo(f, ip6, tcp, len), f + tcp, len - tcp));
    uint16_t partial = net_fold(pseudo(f, ip6, tcp, len));

    net_put_be16(f + tcp + 16, (has(word, 'n') ? partial : (uint16_t)~sum) ^ has(word, 'b'));
    hdr[0] = (uint16_t)(has(word, 'n') ? NEEDS_CSUM : has(word, 'd') ? DATA_VALID : 0);
    hdr[0] |= (uint16_t)(has(word, 'G') ? (ip6 ? 4 : 1) << 8 : 0);
    hdr[1] = HINT;
    hdr[2] = (uint16_t)(has(word, 'G') ? (body + 2) / 3 : 0);
    hdr[3] = (uint16_t)(has(word, 'n') ? tcp : 0);
    hdr[4] = (uint16_t)(has(word, 'n') ? 16 : 0);
    if (tag) {
        memmove(f + 16, f + 12, len - 12);
        net_put_be16(f + 12, 0x8100);
        net_put_be16(f + 14, 7);
    }
    len += tag + (has(word, 'z') ? 6 : 0);
    const struct iovec v[3] = { { hdr, HDR }, { f, MIN(len, (size_t)41) },
        { f + 41, len - MIN(len, (size_t)41) } };

    return send_by(x, has(word, 'q') ? &x->second : &x->wire, v, HDR + len);
}

/* What a large packet has to be: lengths, checksums, sizes (VIRTIO 1.4, 5.1.9.4.1). */
static void check_large(const uint8_t *h, const uint8_t *f, size_t len, size_t tcp, size_t body)
{
    bool ip6 = tcp > 34;
    uint16_t v[5];

    memcpy(v, h + 2, sizeof v);
    g_assert_cmphex(h[0], ==, NEEDS_CSUM | RSC_INFO);
    g_assert_cmphex(h[1], ==, ip6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4);
    g_assert_true(v[0] == len - body || v[0] == HINT); /* HINT: the back end's own */
    g_assert_cmpuint(v[1], >, 0);
    g_assert_cmpuint((body + v[1] - 1) / v[1], ==, v[2]); /* of one size, but the last */
    g_assert_cmphex(net_be16(f + tcp + 16), ==, net_fold(pseudo(f, ip6, tcp, len)));
    g_assert_cmpuint(v[4], ==, 1);
}

/* Adds the next packet's word to x->out; of a large one: "A0+1000*2", with acknowledgements
 * "A0+1000*2/1". */
static bool arrived(Fix *x)
{
    g_autofree uint8_t *f = g_malloc0(MAX_FRAME + HDR);
    uint32_t id, len;
    uint16_t info[2];

    if (!vring_used(&x->v.d.ring[x->rx * 2], &id, &len)) {
        return false;
    }
    /* Buffers are used in their order. */
    vdev_get(&x->v, buffer(x, x->taken[x->rx]++), f, len);
    uint8_t *h = f, *p = f + HDR;
    size_t size = len - HDR;

    memcpy(info, h + 6, sizeof info);
    if (net_be16(p + 12) == 0x8100) {
        memmove(p + 12, p + 16, size - 16);
        size -= 4;
        g_string_append_c(x->out, 'v');
    }
    bool ip6 = net_be16(p + 12) == 0x86dd;
    size_t tcp = ip6 ? 54 : 34;
    uint32_t seq = ((uint32_t)net_be16(p + tcp + 4) << 16 | net_be16(p + tcp + 6)) - SEQ;
    size_t all = ip6 ? tcp + net_be16(p + ETH + 4) : (size_t)ETH + net_be16(p + ETH + 2);
    size_t at = tcp + (p[tcp + 12] >> 4) * 4u, body = all - at;

    g_assert_cmpuint(all, <=, size);
    for (size_t i = 0; i < body; i++) {
        g_assert_cmphex(p[at + i], ==, pattern(seq + (uint32_t)i));
    }
    g_string_append_printf(x->out, "%c%u+%zu", p[tcp + 3], seq, body);
    g_string_append(x->out, p[tcp + 13] & 8 ? "p" : "");
    if (h[0] & RSC_INFO) {
        check_large(h, p, size, tcp, body);
        g_string_append_printf(x->out, "*%u", info[0]);
        g_string_append_printf(x->out, info[1] ? "/%u" : "", info[1]);
        if (!ip6) {
            g_assert_cmphex(net_fold(net_sum(0, p + ETH, 20)), ==, 0xffff);
        }
    } else {
        g_assert_cmphex(h[1], ==, 0);
        g_assert_cmphex(h[0] & NEEDS_CSUM && info[0] != tcp, ==, 0);
    }
    g_string_append_c(x->out, ' ');
    return true;
}

static const char *all(Fix *x)
{
    g_string_truncate(x->out, 0);
    while (arrived(x)) {
    }
    return g_strchomp(x->out->str);
}

/* Sends the words, each taken; "-" is the interval gone by. */
static void play(Fix *x, const char *words)
{
    g_auto(GStrv) w = g_strsplit(words, " ", -1);

    for (unsigned i = 0; w[i]; i++) {
        if (w[i][0] == '-') {
            tick(x, INTERVAL);
        } else {
            g_assert_cmpint(send(x, w[i]), ==, NET_SENT);
        }
    }
}

typedef struct Row {
    const char *name, *in, *out;
} Row;
static const Row rows[] = {
    { "pair", "A0+500 A500+500 -", "A0+1000*2" },
    { "one-stays-as-it-is", "A0+500 -", "A0+500" },
    { "three-sources", "A0+100 B0+100 A100+100 C0+100 B100+100 -", "A0+200*2 B0+200*2 C0+100" },
    { "vouched-for", "A0+500n A500+500d A1000+500 -", "A0+1500*3" },
    { "vouched-for-alone", "A0+500n -", "A0+500" },
    { "interval", "A0+500 - A500+500 -", "A0+500 A500+500" },
    { "push-ends", "A0+500 A500+500p", "A0+1000p*2" },
    { "push-alone", "A0+500p", "A0+500p" },
    { "push-then-more", "A0+500 A500+500p A1000+500 A1500+500 -", "A0+1000p*2 A1000+1000*2" },
    { "short-ends", "A0+500 A500+499", "A0+999*2" },
    { "short-then-more", "A0+500 A500+499 A999+500 -", "A0+999*2 A999+500" },
    { "longer", "A0+500 A500+501 A1001+501 -", "A0+500 A500+1002*2" },
    { "fin", "A0+500 A500+500 A1000+500f", "A0+1000*2 A1000+500" },
    { "fin-alone", "A0+500f", "A0+500" },
    { "syn", "A0+500 A500+0s", "A0+500 A500+0" },
    { "rst", "A0+500 A500+0r", "A0+500 A500+0" },
    { "urg", "A0+500 A500+500u", "A0+500 A500+500" },
    { "ece", "A0+500 A500+500c", "A0+500 A500+500" },
    { "gap", "A0+500 A600+500 -", "A0+500 A600+500" },
    { "again", "A0+500 A0+500 A500+500 -", "A0+500 A0+1000*2" },
    { "backwards", "A500+500 A0+500 A1000+500 -", "A500+500 A0+500 A1000+500" },
    { "stamps", "A0+500t A500+500t A1000+500T -", "A0+1000*2 A1000+500" },
    { "options", "A0+500 A500+500o A1000+500 -", "A0+500 A500+500 A1000+500" },
    { "window", "A0+500 A500+500w A1000+500w -", "A0+500 A500+1000*2" },
    { "acknowledgement", "A0+500 A500+500a -", "A0+500 A500+500" },
    { "congestion", "A0+500 A500+500e A1000+500e -", "A0+500 A500+1000*2" },
    { "hops", "A0+500 A500+500h -", "A0+500 A500+500" },
    { "fragmentable", "B0+9 A0+500g A500+500g", "B0+9 A0+500 A500+500" },
    { "vlan", "B0+9 A0+500v A500+500v", "B0+9 vA0+500 vA500+500" },
    { "padded", "A0+500 A500+4z A504+500 -", "A0+500 A500+4 A504+500" },
    { "wrong-tcp-sum", "A0+500 A500+500b A500+500 -", "A0+500 A500+500 A500+500" },
    { "wrong-first", "A0+500b A500+500 -", "A0+500 A500+500" },
    { "wrong-ip-sum", "A0+500 A500+500i", "A0+500 A500+500" },
    { "not-tcp", "A0+500 B0+500 A500+500 U0+9 A1000+500 -", "A0+1000*2 B0+500 U0+9 A1000+500" },
    { "ack-apart", "A0+500 B0+0 A500+500 -", "B0+0 A0+1000*2" },
    { "ack-new", "A0+500 A500+0a A500+500a -", "A0+500 A500+0 A500+500" },
    { "ack-again", "A0+500 A500+500 A1000+0 A1000+0z -", "A0+1000*2/2" },
    { "ack-again-after-one", "A0+500 A500+0 -", "A0+500*1/1" },
    { "ack-again-then-data", "A0+500 A500+0 A500+500 -", "A0+500*1/1 A500+500" },
    { "ack-of-other-place", "A0+500 A400+0 -", "A0+500 A400+0" },
    { "ack-wrong-sum", "A0+500 A500+0b -", "A0+500 A500+0" },
    { "ip6", "A0+500x A500+500x B0+100xt B100+100xtp -", "B0+200p*2 A0+1000*2" },
    { "ip6-and-ip4", "A0+500x A500+500 -", "A0+500 A500+500" },
    { "ip6-congestion", "A0+500x A500+500xe -", "A0+500 A500+500" },
    { "large-already", "A0+500 A500+900nG A1400+500 -", "A0+500 A500+900*3 A1400+500" },
    { "large-already-ip6", "A0+900xntG", "A0+900*3" },
    { "eight-flows", "A0+9 B0+9 C0+9 D0+9 E0+9 F0+9 G0+9 H0+9 I0+9 B9+9 A9+9 -",
        "A0+9 B0+18*2 C0+9 D0+9 E0+9 F0+9 G0+9 H0+9 I0+9 A9+9" },
    { "most", "A0+32000 A32000+32000 A64000+32000 -", "A0+64000*2 A64000+32000" },
    { "most-of-all", "A0+32740 A32740+32740 A65480+15 A65495+15 -", "A0+65495*3 A65495+15" },
};

static void test_row(Fix *x, const void *data)
{
    const Row *r = data;

    give(x, ROOMS);
    play(x, r->in);
    g_assert_cmpstr(all(x), ==, r->out);
    tick(x, INTERVAL);
    g_assert_cmpstr(all(x), ==, "");
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
}

/* No buffers: the sender waits, in order; nothing is lost, nothing comes twice. */
static void test_full(Fix *x, const void *unused)
{
    play(x, "A0+500 A500+500 B0+500 -");
    g_assert_cmpstr(all(x), ==, "");
    g_assert_cmpint(send(x, "A1000+500"), ==, NET_SENT); /* it still fits */
    g_assert_cmpint(send(x, "A9000+500"), ==, NET_QUEUED);
    g_assert_cmpint(send(x, "U0+9"), ==, NET_QUEUED);
    x->ready = 0;
    give(x, 1);
    g_assert_cmpuint(x->ready, ==, 1);
    g_assert_cmpstr(all(x), ==, "A0+1500*3");
    g_assert_cmpint(send(x, "U0+9"), ==, NET_QUEUED); /* behind B */
    give(x, 3);
    g_assert_cmpstr(all(x), ==, "B0+500");
    play(x, "U0+9 A9000+500 -");
    g_assert_cmpstr(all(x), ==, "U0+9 A9000+500");
}

/* The flow that makes room for another has no buffer. */
static void test_full_flows(Fix *x, const void *unused)
{
    play(x, "A0+9 B0+9 C0+9 D0+9 E0+9 F0+9 G0+9 H0+9");
    g_assert_cmpint(send(x, "I0+9"), ==, NET_QUEUED);
    give(x, ROOMS);
    g_assert_cmpstr(all(x), ==, "A0+9 B0+9 C0+9 D0+9 E0+9 F0+9 G0+9 H0+9");
    play(x, "I0+9 -");
    g_assert_cmpstr(all(x), ==, "I0+9");
}

static void run(Fix *x, bool on)
{
    virtio_run_changed(((VirtioPci *)x->v.dev)->vd, on);
    board_run(x->v.b);
    settle(x);
}

/* A machine that stops keeps what is held; a driver that goes does not. */
static void test_stop_reset(Fix *x, const void *unused)
{
    give(x, ROOMS);
    play(x, "A0+500 A500+500");
    run(x, false);
    tick(x, INTERVAL * 10);
    g_assert_cmpint(send(x, "A1000+500"), ==, NET_QUEUED);
    g_assert_cmpstr(all(x), ==, "");
    run(x, true);
    g_assert_cmpstr(all(x), ==, "A0+1000*2");
    play(x, "A1000+500 A1500+500");
    vd_set_status(&x->v.d, 0);
    tick(x, INTERVAL);
    g_assert_cmpint(send(x, "A1500+500"), ==, NET_DROPPED);
    vdev_fill(&x->v, x->room, 0, ROOM);
    vd_start(&x->v.d, 1ull << F_MRG);
    x->next[0] = x->taken[0] = 0;
    give(x, 2);
    tick(x, INTERVAL);
    g_assert_cmpstr(all(x), ==, "");
    play(x, "A2000+500 -");
    g_assert_cmpstr(all(x), ==, "A2000+500");
}

static uint8_t command(Fix *x, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
    const uint64_t at = x->room + (uint64_t)ROOM * ROOMS * PAIRS - 256;
    const VBuf b[] = { { at, 2, false }, { at + 8, len, false }, { at + 128, 1, true } };
    const uint8_t head[2] = { class, cmd };
    unsigned queue = x->v.d.features >> F_MQ & 1 ? PAIRS * 2 : 2;
    uint8_t ack = 9;

    vdev_put(&x->v, at, head, 2);
    vdev_put(&x->v, at + 8, data, len);
    vring_add(&x->v.d.ring[queue], b, 3, 0);
    vd_kick(&x->v.d, queue);
    board_run(x->v.b);
    vdev_get(&x->v, at + 128, &ack, 1);
    return ack;
}

static uint8_t set_offloads(Fix *x, uint64_t bits)
{
    return command(x, 5, 0, &bits, sizeof bits);
}

/* Switched off, with and without buffers for what is held then; and over a stop. */
static void test_offloads(Fix *x, const void *unused)
{
    uint64_t csum = 1 << F_GUEST_CSUM, tso4 = csum | 1 << F_TSO4;

    play(x, "A0+500t A500+500t A1000+500t A1500+500t A2000+0t B0+500x B500+500x C0+5 C5+0");
    g_assert_cmpuint(set_offloads(x, csum), ==, 0);
    g_assert_cmpint(send(x, "A2000+500"), ==, NET_QUEUED);
    give(x, 3);
    g_assert_cmpstr(all(x), ==, "A0+500 A500+500 A1000+500");
    give(x, ROOMS - 8);
    g_assert_cmpstr(all(x), ==, "A1500+500 B0+500 B500+500 C0+5");
    play(x, "A2000+500 A2500+500");
    g_assert_cmpstr(all(x), ==, "A2000+500 A2500+500");
    g_assert_cmpuint(set_offloads(x, tso4 | 1ull << F_RSC), ==, 0);
    play(x, "A2800+500 A3300+500 B1000+500x B1500+500x");
    run(x, false);
    run(x, true);
    g_assert_cmpstr(all(x), ==, "B1000+500 B1500+500 A2800+1000*2");
    play(x, "A3800+500 B2000+500x B2500+500x -"); /* the driver's choice is still the same */
    g_assert_cmpstr(all(x), ==, "B2000+500 B2500+500 A3800+500");
    g_assert_cmpuint(set_offloads(x, tso4), ==, 0);
    play(x, "A4300+500 A4800+500");
    g_assert_cmpuint(set_offloads(x, csum), ==, 0); /* there are buffers: it goes as it is */
    g_assert_cmpstr(all(x), ==, "A4300+1000*2");
}

static void expect_untouched(Fix *x)
{
    static uint8_t got[ROOM];

    vdev_get(&x->v, buffer(x, 0), got, ROOM);
    for (unsigned i = 0; i < ROOM; i++) {
        g_assert_cmphex(got[i], ==, 0);
    }
}

static void reset_queue(Fix *x)
{
    vd_write(&x->v.d, 0x16, 2, 0);
    vd_write(&x->v.d, 0x3a, 2, 1);
    settle(x);
    g_assert_cmpuint(vd_read(&x->v.d, 0x3a, 2), ==, 0);
}

static void enable_queue(Fix *x)
{
    vd_setup_queue(&x->v.d, 0, 0);
    settle(x);
    x->next[0] = x->taken[0] = 0;
}

/* What is held when its queue is reset goes to the new one; if its time comes before there is one,
 * it is lost, as any packet is then. The old buffers are the driver's again (2.6.1.1.1). */
static void test_queue_reset(Fix *x, const void *unused)
{
    give(x, ROOMS);
    play(x, "A0+500 A500+500");
    reset_queue(x);
    tick(x, INTERVAL);
    play(x, "A1000+500");
    expect_untouched(x);
    enable_queue(x);
    give(x, ROOMS);
    play(x, "A1500+500 -");
    g_assert_cmpstr(all(x), ==, "A1000+1000*2");
    reset_queue(x);
    enable_queue(x);
    play(x, "A2000+500 A2500+500 -"); /* no buffers: it waits for them, over another reset */
    reset_queue(x);
    enable_queue(x);
    give(x, 1);
    g_assert_cmpstr(all(x), ==, "A2000+1000*2");
}

/* The card goes with what it holds, and with what waits for buffers; another one knows nothing of
 * it. */
static void test_unplug(Fix *x, const void *unused)
{
    play(x, "A0+500 A500+500 B0+500 - C0+500 C500+500");
    g_assert_cmpuint(set_offloads(x, 1 << F_GUEST_CSUM), ==, 0); /* cut in pieces */
    dev_unplug_done(x->v.b->m, x->v.dev);
    board_run(x->v.b);
    tick(x, INTERVAL);
    g_assert_cmpint(send(x, "A1000+500"), ==, NET_DROPPED);
    plug(x, ", 'guest_rsc_ext': true");
    vd_start(&x->v.d, 1ull << F_MRG);
    give(x, ROOMS);
    tick(x, INTERVAL);
    play(x, "A1000+500 A1500+500 -");
    g_assert_cmpstr(all(x), ==, "A1000+1000*2");
}

/* The memory that the driver gave is unplugged while segments for it are held. */
static void test_memory_unplug(Fix *x, const void *unused)
{
    const uint64_t good = x->room;
    Region more;

    g_assert_true(region_init_ram(&more, NULL, "more", 4 << 20, NULL));
    region_map(&x->v.b->m->mem_root, 1 << 30, &more, 0);
    x->room = 1 << 30;
    give(x, 2);
    play(x, "A0+500 A500+500");
    region_unmap(&more);
    tick(x, INTERVAL);
    settle(x);
    g_assert_cmphex(vd_status(&x->v.d) & 0x40, ==, 0x40);
    g_assert_cmpint(send(x, "A1000+500p"), ==, NET_DROPPED); /* nobody waits for it */
    region_fini(&more);
    x->room = good;
    vd_start(&x->v.d, 1ull << F_MRG);
    x->next[0] = x->taken[0] = 0;
    give(x, 2);
    play(x, "A1000+500 A1500+500 -");
    g_assert_cmpstr(all(x), ==, "A1000+1000*2");
}

/* Pairs that come to rest, and a table that changes, under segments: what is held for a pair goes
 * there, or, when that has no buffers, where it would come now; in its order. */
static void test_pairs(Fix *x, const void *unused)
{
    static const uint16_t one = 1, two = 2;
    uint16_t rss[7] = { 0x3f, 0, 0, 1, 1, 2 }; /* all to pair 1; two pairs; no key */

    g_assert_cmpuint(command(x, 4, 0, &two, 2), ==, 0);
    give(x, 2);
    x->rx = 1;
    give(x, 1);
    play(x, "A0+500q A500+500q B0+500 B500+500");
    g_assert_cmpuint(command(x, 4, 0, &one, 2), ==, 0);
    g_assert_cmpstr(all(x), ==, "A0+1000*2");
    x->rx = 0;
    g_assert_cmpstr(all(x), ==, "B0+1000*2");
    g_assert_cmpuint(command(x, 4, 0, &two, 2), ==, 0);
    play(x, "A1000+500q A1500+500q");
    g_assert_cmpuint(command(x, 4, 0, &one, 2), ==, 0); /* pair 1 has no buffers: it waits */
    g_assert_cmpstr(all(x), ==, "");
    give(x, 1);
    settle(x);
    g_assert_cmpstr(all(x), ==, "A1000+1000*2");
    give(x, ROOMS / 2);
    g_assert_cmpuint(command(x, 4, 1, rss, 13), ==, 0);
    x->rx = 1;
    give(x, ROOMS / 2);
    play(x, "A2000+500 A2500+500");
    rss[3] = rss[4] = 0; /* all to pair 0 */
    g_assert_cmpuint(command(x, 4, 1, rss, 13), ==, 0);
    g_assert_cmpstr(all(x), ==, "A2000+1000*2");
    play(x, "A3000+500 A3500+500 -");
    g_assert_cmpstr(all(x), ==, "");
    x->rx = 0;
    g_assert_cmpstr(all(x), ==, "A3000+1000*2");
}

/* 10^5 segments (2 * 10^4 from a thread) of four flows with few buffers, stops and changes of
 * offloads: each byte comes once, in the order it was sent in. */
static void test_storm(Fix *x, const void *unused)
{
    uint32_t sent[4] = { 0 }, got[4] = { 0 }, packets = 0, merged = 0;
    g_autoptr(GRand) r = g_rand_new_with_seed(7);

    unsigned n = x->wire.loop == loop_main() ? 100000 : 20000;

    for (unsigned i = 0; i < n; i++) {
        unsigned k = g_rand_int_range(r, 0, 4), what = g_rand_int_range(r, 0, 64);
        unsigned len = what == 1 ? 41 : 100;
        g_autofree char *w =
            g_strdup_printf("%c%u+%u%s%s", 'A' + k, sent[k], len, k == 3 ? "x" : "",
                what == 2   ? "p"
                : what == 3 ? "w"
                            : "");

        if (send(x, w) == NET_SENT) {
            sent[k] += len;
        } else {
            give(x, g_rand_int_range(r, 1, 5));
        }
        if (what == 4) {
            run(x, false);
            run(x, true);
        } else if (what == 5) {
            tick(x, INTERVAL);
        } else if (what == 6) {
            g_assert_cmpuint(set_offloads(x, 1 << F_GUEST_CSUM | 1 << F_TSO6), ==, 0);
            g_assert_cmpuint(set_offloads(x, 1 << F_GUEST_CSUM | 1 << F_TSO4 | 1 << F_TSO6), ==, 0);
        }
        g_auto(GStrv) out = g_strsplit(all(x), " ", -1);

        for (unsigned o = 0; out[o] && *out[o]; o++) {
            uint32_t *g = &got[out[o][0] - 'A'];
            char *plus;

            g_assert_cmpuint(strtoul(out[o] + 1, &plus, 10), ==, *g);
            *g += (uint32_t)strtoul(plus, NULL, 10);
            packets++;
            merged += has(out[o], '*');
        }
    }
    for (unsigned k = 0; k < 4; k++) {
        g_assert_cmpuint(sent[k] - got[k], <=, 0x10000);
    }
    g_assert_cmpuint(merged, >, packets / 10);
}

/* VIRTIO 1.4, 5.1.3.1: not without what it requires. */
static void test_offer(void)
{
    static const struct {
        const char *props;
        bool offered;
    } t[] = { { "", false }, { ", 'guest_rsc_ext': true", true },
        { ", 'guest_rsc_ext': true, 'host_tso4': false", true },
        { ", 'guest_rsc_ext': true, 'host_tso4': false, 'host_tso6': false", false } };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fix x = { 0 };

        open_with(&x, t[i].props);
        g_assert_cmpint(vd_offered(&x.v.d) >> F_RSC & 1, ==, t[i].offered);
        down(&x, NULL);
    }
}

/* Not accepted: every segment comes as it is. */
static void test_declined(void)
{
    Fix x = { 0 };

    open_with(&x, ", 'guest_rsc_ext': true");
    vd_start(&x.v.d, 1ull << F_MRG | 1ull << F_RSC);
    give(&x, ROOMS);
    play(&x, "A0+500 A500+500 A1000+900nd");
    g_assert_cmpstr(all(&x), ==, "A0+500 A500+500 A1000+900");
    down(&x, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    clock_virtual_use_qtest();
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *name = g_strdup_printf("/virtio-net-rsc/%s", rows[i].name);

        g_test_add(name, Fix, &rows[i], up, test_row, down);
    }
    g_test_add("/virtio-net-rsc/full", Fix, NULL, up, test_full, down);
    g_test_add("/virtio-net-rsc/full-flows", Fix, NULL, up, test_full_flows, down);
    g_test_add("/virtio-net-rsc/stop-reset", Fix, NULL, up, test_stop_reset, down);
    g_test_add("/virtio-net-rsc/queue-reset", Fix, NULL, up, test_queue_reset, down);
    g_test_add("/virtio-net-rsc/unplug", Fix, NULL, up, test_unplug, down);
    g_test_add("/virtio-net-rsc/memory-unplug", Fix, NULL, up, test_memory_unplug, down);
    g_test_add("/virtio-net-rsc/pairs", Fix, NULL, up_pairs, test_pairs, down);
    g_test_add("/virtio-net-rsc/offloads", Fix, NULL, up, test_offloads, down);
    g_test_add("/virtio-net-rsc/storm", Fix, NULL, up, test_storm, down);
    g_test_add("/virtio-net-rsc/storm-in-a-thread", Fix, NULL, up_in_thread, test_storm, down);
    g_test_add_func("/virtio-net-rsc/offer", test_offer);
    g_test_add_func("/virtio-net-rsc/declined", test_declined);
    return g_test_run();
}
