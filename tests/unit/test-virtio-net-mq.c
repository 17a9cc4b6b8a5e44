/* hw/virtio/virtio-net-mq.c: pairs come and go under traffic, hashes, RSS, tx=timer; and a seeded
 * run through everything that makes packets wait (VIRTIO 1.4, 5.1.9). */
#include "net/net.h"
#include "tests/unit/vdev.h"
#include "util/timer.h"

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum { PAIRS = 3, CTRL = PAIRS * 2, F_MQ = 22, F_MRG = 15, F_PACKED = 34, F_HASH = 57, F_RSS = 60 };

/* One queue of a back end of ours: it sends numbered packets and checks those that come. */
typedef struct Wire {
    NetPort p;
    struct Fix *x;
    bool full;                 /* takes nothing */
    bool waits;                /* its last packet was refused */
    uint32_t next_rx, sent_tx; /* numbers: of the next packet to the guest; taken from the guest */
    unsigned enabled;
} Wire;

typedef struct Fix {
    VDev v;
    Wire w[PAIRS];
    NetPort *more[PAIRS];
    uint64_t p;
} Fix;

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Wire *w = (Wire *)p;
    uint32_t number = 0;
    uint8_t b[64] = { 0 };
    size_t at = 0;

    if (w->full) {
        return NET_QUEUED;
    }
    for (unsigned i = 0; i < n && at < sizeof b; i++) {
        size_t k = MIN(iov[i].iov_len, sizeof b - at);

        memcpy(b + at, iov[i].iov_base, k);
        at += k;
    }
    memcpy(&number, b + 12 + 14, 4);
    g_assert_cmpuint(number, ==, w->sent_tx); /* once, in order */
    w->sent_tx++;
    return NET_SENT;
}

static void wire_writable(NetPort *p)
{
    ((Wire *)p)->waits = false;
}

static bool wire_enable(NetPort *p, bool on)
{
    ((Wire *)p)->enabled = on;
    return true;
}

static uint64_t wire_offloads(NetPort *p)
{
    return NET_OFFLOAD_CSUM;
}

static bool wire_set_offload(NetPort *p, uint64_t offloads, uint32_t hdr)
{
    p->vnet_hdr_len = hdr;
    return true;
}

static const NetPortOps wire_ops = { .receive = wire_receive, .writable = wire_writable };
static const NetBackend wire_backend = { .type = "wire",
    .offloads = wire_offloads,
    .set_offload = wire_set_offload,
    .enable = wire_enable };

static void up(Fix *x, const void *props)
{
    g_autofree char *dev =
        g_strdup_printf("{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': '4', "
                        "'netdev': 'w', 'romfile': ''%s}",
            (const char *)props);

    for (unsigned i = 0; i < PAIRS; i++) {
        net_port_init(&x->w[i].p, &wire_ops, "wire", "w");
        x->w[i].p.backend = &wire_backend;
        x->w[i].p.index = i;
        x->w[i].p.vnet_hdr_len = 12;
        x->w[i].x = x;
        x->w[i].enabled = true;
        if (i) {
            x->more[i - 1] = &x->w[i].p;
        }
    }
    x->w[0].p.queue = x->more;
    x->w[0].p.nqueues = PAIRS;
    vdev_open(&x->v, dev, false);
    x->p = vd_page(&x->v.d, 4 << 20);
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    for (unsigned i = 0; i < PAIRS; i++) {
        net_port_fini(&x->w[i].p);
    }
}

static uint8_t command(
    Fix *x, unsigned q, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
    const VBuf b[] = { { x->p, 2, false }, { x->p + 0x100, len, false }, { x->p + 0x10, 1, true } };
    const uint8_t head[2] = { class, cmd };
    uint8_t ack = 0xee;

    vdev_put(&x->v, b[0].at, head, 2);
    vdev_put(&x->v, b[1].at, data, len);
    vdev_put(&x->v, b[2].at, &ack, 1);
    g_assert_cmpuint(vdev_do(&x->v, q, b, 3, 0), ==, 1);
    vdev_get(&x->v, b[2].at, &ack, 1);
    return ack;
}

static uint8_t set_pairs(Fix *x, uint16_t n)
{
    return command(x, CTRL, 4, 0, &n, 2);
}

static uint64_t rx_page(const Fix *x, unsigned q, unsigned i)
{
    return x->p + 0x10000 + (q * 64u + i) * 4096u;
}

static void give(Fix *x, unsigned q, unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++) {
        const VBuf b = { rx_page(x, q, i % 64), len, true };

        vring_add(&x->v.d.ring[q * 2], &b, 1, 0);
    }
    vd_kick(&x->v.d, q * 2);
    board_run(x->v.b);
}

/* A frame of that many bytes from queue q of the back end. */
static NetVerdict from_wire(Fix *x, unsigned q, const uint8_t *frame, size_t len)
{
    uint8_t head[12] = { 0 };
    struct iovec v[2] = { { head, 12 }, { (void *)(uintptr_t)frame, len } };
    NetVerdict r = net_send(&x->w[q].p, v, 2, 12 + len);

    x->w[q].waits = r == NET_QUEUED;
    return r;
}

static unsigned used_of(Fix *x, unsigned q)
{
    unsigned n = 0;
    uint32_t id, len;

    while (vring_used(&x->v.d.ring[q * 2], &id, &len)) {
        n++;
    }
    return n;
}

static const char mq[] = ", 'mq': true";

static void test_pairs(Fix *x, const void *unused)
{
    uint8_t f[60] = { 0 };

    g_assert_cmpuint(vdev_cfg(&x->v, 8, 2), ==, PAIRS);
    g_assert_cmpuint(x->w[0].enabled, ==, 1);
    g_assert_cmpuint(x->w[1].enabled, ==, 0);
    vd_start(&x->v.d, 0);
    g_assert_cmpuint(set_pairs(x, 0), ==, 1);
    g_assert_cmpuint(set_pairs(x, PAIRS + 1), ==, 1);
    for (unsigned q = 0; q < PAIRS; q++) {
        give(x, q, 8, 2000);
    }
    /* Until told otherwise everything goes to the first queue (5.1.9.5.6.2). */
    for (unsigned q = 0; q < PAIRS; q++) {
        g_assert_cmpint(from_wire(x, q, f, sizeof f), ==, NET_SENT);
    }
    g_assert_cmpuint(used_of(x, 0), ==, PAIRS);
    g_assert_cmpuint(set_pairs(x, PAIRS), ==, 0);
    for (unsigned q = 0; q < PAIRS; q++) {
        g_assert_true(x->w[q].enabled);
        g_assert_cmpint(from_wire(x, q, f, sizeof f), ==, NET_SENT);
        g_assert_cmpuint(used_of(x, q), ==, 1);
    }
    /* A packet that waits for a pair that rests soon has another place. */
    for (unsigned i = 0; i < 7; i++) {
        g_assert_cmpint(from_wire(x, 2, f, sizeof f), ==, NET_SENT);
    }
    g_assert_cmpint(from_wire(x, 2, f, sizeof f), ==, NET_QUEUED);
    g_assert_cmpuint(set_pairs(x, 2), ==, 0);
    g_assert_false(x->w[2].waits);
    g_assert_cmpuint(x->w[2].enabled, ==, 0);
    g_assert_cmpint(from_wire(x, 2, f, sizeof f), ==, NET_SENT);
    g_assert_cmpuint(used_of(x, 0), ==, 1);
}

/* Without the feature the control queue is the third (5.1.2), and there is one pair. */
static void test_no_mq(Fix *x, const void *unused)
{
    uint8_t on = 0;
    uint16_t n = 2;

    vd_start(&x->v.d, 1ull << F_MQ);
    g_assert_cmpuint(command(x, 2, 0, 0, &on, 1), ==, 0);
    g_assert_cmpuint(command(x, 2, 4, 0, &n, 2), ==, 1);
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
}

/* The verification suite of "RSS Hashing" that NIC data sheets reprint. */
static const uint8_t rss_key[40] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
    0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb,
    0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa };

static void ip4_frame(uint8_t *f, const uint8_t *src, const uint8_t *dst, uint8_t proto,
    uint16_t sport, uint16_t dport)
{
    memset(f, 0, 60);
    f[12] = 8;
    f[14] = 0x45;
    f[23] = proto;
    memcpy(f + 26, src, 4);
    memcpy(f + 30, dst, 4);
    f[34] = (uint8_t)(sport >> 8);
    f[35] = (uint8_t)sport;
    f[36] = (uint8_t)(dport >> 8);
    f[37] = (uint8_t)dport;
}

static void hash_config(Fix *x, uint32_t types, uint8_t want)
{
    uint8_t c[12 + 1 + 40] = { 0 };

    memcpy(c, &types, 4);
    c[12] = 40;
    memcpy(c + 13, rss_key, 40);
    g_assert_cmpuint(command(x, CTRL, 4, 2, c, sizeof c), ==, want);
}

static void report(Fix *x, const uint8_t *f, size_t len, uint32_t want, uint16_t kind)
{
    uint8_t h[20];
    uint32_t id, used;

    give(x, 0, 1, 2000);
    g_assert_cmpint(from_wire(x, 0, f, len), ==, NET_SENT);
    g_assert_true(vring_used(&x->v.d.ring[0], &id, &used));
    g_assert_cmpuint(used, ==, 20 + len);
    vdev_get(&x->v, rx_page(x, 0, 0), h, 20);
    g_assert_cmphex(
        (uint32_t)h[12] | (uint32_t)h[13] << 8 | (uint32_t)h[14] << 16 | (uint32_t)h[15] << 24, ==,
        want);
    g_assert_cmpuint(h[16] | h[17] << 8, ==, kind);
    g_assert_cmpuint(h[18] | h[19], ==, 0);
}

static void test_hash(Fix *x, const void *unused)
{
    static const uint8_t src[4] = { 66, 9, 149, 187 }, dst[4] = { 161, 142, 100, 80 };
    static const uint8_t src6[16] = { 0x3f, 0xfe, 0x25, 0x01, 0x02, 0, 0x1f, 0xff, 0, 0, 0, 0, 0, 0,
        0, 7 },
                         dst6[16] = { 0x3f, 0xfe, 0x25, 0x01, 0x02, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
                             1 };
    uint8_t f[200];

    vd_start(&x->v.d, 1ull << F_MRG);
    ip4_frame(f, src, dst, 6, 2794, 1766);
    report(x, f, 60, 0, 0); /* all types are off at first */
    hash_config(x, 0x200, 1);
    hash_config(x, 0x1ff, 0);
    report(x, f, 60, 0x51ccc178, 2);
    f[23] = 17;
    report(x, f, 60, 0x51ccc178, 3);
    f[20] = 0x20; /* the first fragment */
    report(x, f, 60, 0x323e8fc2, 1);
    f[20] = 0;
    hash_config(x, 1, 0);
    report(x, f, 60, 0x323e8fc2, 1);
    hash_config(x, 2, 0);
    report(x, f, 60, 0, 0); /* UDP, and only TCP is asked for */
    /* Short frames and lengths that lie (C11). */
    hash_config(x, 0x1ff, 0);
    f[14] = 0x4f;
    report(x, f, 60, 0, 0);
    for (size_t n = 14; n < 34; n++) {
        report(x, f, n, 0, 0);
    }
    memset(f, 0, sizeof f);
    f[12] = 0x86;
    f[13] = 0xdd;
    f[14] = 0x60;
    f[20] = 6;
    memcpy(f + 22, src6, 16);
    memcpy(f + 38, dst6, 16);
    f[54] = 2794 >> 8;
    f[55] = 2794 & 255;
    f[56] = 1766 >> 8;
    f[57] = 1766 & 255;
    report(x, f, 80, 0x40207d3d, 5);
    f[20] = 59;
    report(x, f, 80, 0x2cc18cd5, 4);
    /* Behind an extension header the same fields count, under another name. */
    f[20] = 0;
    memmove(f + 62, f + 54, 4);
    memset(f + 54, 0, 8);
    f[54] = 6;
    report(x, f, 90, 0x40207d3d, 8);
    hash_config(x, 0x3f, 0);
    report(x, f, 90, 0x40207d3d, 5);
    f[55] = 200; /* longer than the frame */
    report(x, f, 90, 0x2cc18cd5, 4);
}

static uint8_t rss(Fix *x, uint32_t types, uint16_t mask, uint16_t unclassified, uint16_t queue0,
    uint16_t max_tx, uint8_t keylen)
{
    uint8_t c[8 + 2 * 256 + 3 + 41] = { 0 };
    unsigned n = MIN(mask + 1u, 256u), at = 8;

    memcpy(c, &types, 4);
    memcpy(c + 4, &mask, 2);
    memcpy(c + 6, &unclassified, 2);
    for (unsigned i = 0; i < n; i++, at += 2) {
        c[at] = (uint8_t)(i ? i % PAIRS : queue0);
    }
    memcpy(c + at, &max_tx, 2);
    c[at + 2] = keylen;
    memcpy(c + at + 3, rss_key, 40);
    return command(x, CTRL, 4, 1, c, at + 3 + keylen);
}

static void test_rss(Fix *x, const void *unused)
{
    static const uint8_t src[4] = { 66, 9, 149, 187 }, dst[4] = { 161, 142, 100, 80 };
    uint8_t f[60];

    g_assert_cmpuint(vdev_cfg(&x->v, 17, 1), ==, 40);
    g_assert_cmpuint(vdev_cfg(&x->v, 18, 2), ==, 128);
    g_assert_cmphex(vdev_cfg(&x->v, 20, 4), ==, 0x1ff);
    vd_start(&x->v.d, 1ull << F_HASH);
    for (unsigned q = 0; q < PAIRS; q++) {
        give(x, q, 8, 2000);
    }
    g_assert_cmpuint(rss(x, 0x1ff, 127, 0, PAIRS, PAIRS, 40), ==, 1); /* no such queue */
    g_assert_cmpuint(rss(x, 0x1ff, 127, PAIRS, 0, PAIRS, 40), ==, 1);
    g_assert_cmpuint(rss(x, 0x1ff, 2, 0, 0, PAIRS, 40), ==, 1); /* no power of two */
    g_assert_cmpuint(rss(x, 0x1ff, 255, 0, 0, PAIRS, 40), ==, 1);
    g_assert_cmpuint(rss(x, 0x3ff, 127, 0, 0, PAIRS, 40), ==, 1);
    g_assert_cmpuint(rss(x, 0x1ff, 127, 0, 0, 0, 40), ==, 1);
    g_assert_cmpuint(rss(x, 0x1ff, 127, 0, 0, PAIRS + 1, 40), ==, 1);
    g_assert_cmpuint(rss(x, 0x1ff, 127, 0, 0, PAIRS, 41), ==, 1);
    g_assert_cmpuint(rss(x, 0x1ff, 127, 1, 0, PAIRS, 40), ==, 0);
    /* 0x51ccc178 & 127 = 0x78, which the table leads to pair 0x78 % 4. */
    ip4_frame(f, src, dst, 6, 2794, 1766);
    g_assert_cmpint(from_wire(x, 2, f, 60), ==, NET_SENT);
    g_assert_cmpuint(used_of(x, 0x78 % PAIRS), ==, 1);
    f[36] ^= 4;           /* another port, another hash */
    memset(f + 12, 0, 2); /* no IP: the unclassified one */
    g_assert_cmpint(from_wire(x, 2, f, 60), ==, NET_SENT);
    g_assert_cmpuint(used_of(x, 1), ==, 1);
    /* VQ_PAIRS_SET ends it. */
    g_assert_cmpuint(set_pairs(x, PAIRS), ==, 0);
    g_assert_cmpint(from_wire(x, 2, f, 60), ==, NET_SENT);
    g_assert_cmpuint(used_of(x, 2), ==, 1);
}

static void put_tx(Fix *x, unsigned q, uint32_t number)
{
    uint64_t at = x->p + 0x200000 + (q * 256u + number % 256) * 128u;
    uint8_t b[72] = { 0 };
    const VBuf v = { at, sizeof b, false };

    memcpy(b + 12 + 14, &number, 4);
    vdev_put(&x->v, at, b, sizeof b);
    vring_add(&x->v.d.ring[q * 2 + 1], &v, 1, 0);
}

/* Each command, a byte shorter than it is, two bytes shorter..., and a byte longer. */
static void test_lengths(Fix *x, const void *unused)
{
    static const struct {
        uint8_t class, cmd;
        uint32_t len;
        const char *data;
    } t[] = { { 0, 0, 1, "" }, { 0, 5, 1, "" }, { 1, 0, 20, "\1\0\0\0AAAAAA\1\0\0\0CCCCCC" },
        { 1, 1, 6, "RTRTRT" }, { 2, 0, 2, "\1\0" }, { 2, 1, 2, "\1\0" }, { 4, 0, 2, "\1\0" },
        { 4, 1, 18, "\1\0\0\0\1\0\0\0\1\0\2\0\3\0\3KEY" },
        { 4, 1, 13, "\1\0\0\0\0\0\0\0\0\0\1\0\0" }, { 4, 2, 16, "\1\0\0\0\0\0\0\0\0\0\0\0\3KEY" },
        { 4, 2, 13, "\1\0\0\0\0\0\0\0\0\0\0\0\0" }, { 5, 0, 8, "\0\0\0\0\0\0\0\0" },
        { 6, 0, 8, "\1\0\0\0\1\0\0\0" }, { 6, 1, 8, "\1\0\0\0\1\0\0\0" },
        { 6, 2, 12, "\1\0\0\0\1\0\0\0\1\0\0\0" } };

    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        uint8_t longer[32] = { 0 };

        memcpy(longer, t[i].data, t[i].len);
        for (uint32_t len = 1; len < t[i].len; len++) {
            g_assert_cmpuint(command(x, CTRL, t[i].class, t[i].cmd, longer, len), ==, 1);
        }
        g_assert_cmpuint(command(x, CTRL, t[i].class, t[i].cmd, longer, t[i].len), ==, 0);
        g_assert_cmpuint(command(x, CTRL, t[i].class, t[i].cmd, longer, t[i].len + 1), ==, 1);
    }
}

/* A card of one pair has no use for the back end's other queues. */
static void test_one_pair(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        g_assert_cmpuint(x->w[i].enabled, ==, i == 0);
    }
}

/* Nothing of what a driver set is there for the next one. */
static void test_reset(Fix *x, const void *unused)
{
    uint8_t f[60] = { 0 };
    uint64_t memory = x->v.d.alloc;

    vd_start(&x->v.d, 0);
    g_assert_cmpuint(set_pairs(x, PAIRS), ==, 0);
    g_assert_cmpuint(rss(x, 0x1ff, 127, 2, 0, PAIRS, 40), ==, 0);
    vd_set_status(&x->v.d, 0);
    g_assert_cmpuint(x->w[0].enabled, ==, 1);
    g_assert_cmpuint(x->w[2].enabled, ==, 0);
    x->v.d.alloc = memory;
    vd_start(&x->v.d, 1ull << F_RSS | 1ull << F_HASH);
    give(x, 0, 8, 2000);
    give(x, 2, 8, 2000);
    g_assert_cmpint(from_wire(x, 0, f, sizeof f), ==, NET_SENT);
    g_assert_cmpuint(used_of(x, 0), ==, 1);
}

static void tx_tick(Fix *x, int64_t ns)
{
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + ns);
    board_run(x->v.b);
}

static void tx_kick(Fix *x, unsigned number)
{
    put_tx(x, 0, number);
    vd_kick(&x->v.d, 1);
    board_run(x->v.b);
}

static void test_tx_timer(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < 5; i++) {
        put_tx(x, 0, i);
    }
    vd_kick(&x->v.d, 1);
    board_run(x->v.b);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 0);
    tx_tick(x, 999);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 0);
    tx_tick(x, 1);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 2); /* a burst; the others have their own time */
    tx_tick(x, 5000);
    tx_tick(x, 5000);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 5);
    tx_kick(x, 5); /* what is left of the last burst is not for it */
    g_assert_cmpuint(x->w[0].sent_tx, ==, 5);
    tx_tick(x, 600);
    tx_kick(x, 6); /* the time began with the first */
    tx_tick(x, 399);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 5);
    tx_tick(x, 1);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 7);
    tx_kick(x, 7);
    virtio_run_changed(
        ((VirtioPci *)x->v.dev)->vd, false); /* a machine that stands sends nothing */
    tx_tick(x, 5000);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 7);
    virtio_run_changed(((VirtioPci *)x->v.dev)->vd, true);
    board_run(x->v.b);
    tx_tick(x, 1000);
    g_assert_cmpuint(x->w[0].sent_tx, ==, 8);
}

/* ---- everything that makes packets wait, at random ---- */

typedef struct Storm {
    Fix *x;
    GRand *r;
    uint32_t put_tx[PAIRS], seen_rx[PAIRS]; /* of the guest: sent; received, by back end queue */
    unsigned nrx[PAIRS], ntx[PAIRS];        /* buffers out */
    unsigned slot[PAIRS];
    unsigned active;
    bool link_down;
    uint64_t packets, flaps, stops, resets, full, pairs; /* how often what happened */
    uint64_t memory;                                     /* where the rings begin, each time */
} Storm;

/* What the device has used: received frames are checked, transmit slots come back. */
static void storm_collect(Storm *s)
{
    Fix *x = s->x;
    uint32_t id, len;

    for (unsigned q = 0; q < PAIRS; q++) {
        while (vring_used(&x->v.d.ring[q * 2], &id, &len)) {
            uint8_t b[12 + 14 + 8];
            uint32_t from, number;

            vdev_get(&x->v, rx_page(x, q, s->slot[q]++ % 64), b, sizeof b);
            memcpy(&number, b + 26, 4);
            memcpy(&from, b + 30, 4);
            g_assert_cmpuint(from, <, PAIRS);
            g_assert_cmpuint(len, ==, 12 + 60);
            /* Of one back end queue all come, in order, whichever queue they take. */
            g_assert_cmpuint(number, ==, s->seen_rx[from]);
            s->seen_rx[from]++;
            s->nrx[q]--;
            s->packets++;
        }
        while (vring_used(&x->v.d.ring[q * 2 + 1], &id, &len)) {
            s->ntx[q]--;
            s->packets++;
        }
    }
}

static void storm_wire(Storm *s, unsigned q)
{
    Wire *w = &s->x->w[q];
    uint8_t f[60] = { 0 };

    for (unsigned n = g_rand_int_range(s->r, 1, 24); n-- && !w->waits && !s->link_down;) {
        memcpy(f + 14, &w->next_rx, 4);
        memcpy(f + 18, &q, 4);
        NetVerdict v = from_wire(s->x, q, f, sizeof f);

        g_assert_cmpint(v, !=, NET_DROPPED);
        w->next_rx += v == NET_SENT;
    }
}

static void storm_start(Storm *s)
{
    memset(s->nrx, 0, sizeof s->nrx);
    memset(s->ntx, 0, sizeof s->ntx);
    memset(s->slot, 0, sizeof s->slot);
    vd_set_status(&s->x->v.d, 0);
    vdev_fill(&s->x->v, s->memory, 0, s->x->v.d.alloc - s->memory);
    s->x->v.d.alloc = s->memory;
    vd_start(&s->x->v.d, g_rand_boolean(s->r) ? 1ull << F_PACKED : 0);
    s->active = 1;
    s->resets++;
    for (unsigned q = 0; q < PAIRS; q++) {
        s->put_tx[q] = s->x->w[q].sent_tx;
        s->seen_rx[q] = s->x->w[q].next_rx;
    }
}

static void storm_buffers(Storm *s, unsigned q)
{
    unsigned n = (unsigned)g_rand_int_range(s->r, 1, 32);

    n = MIN(n, 64 - s->nrx[q]);

    for (unsigned i = 0; i < n; i++) {
        const VBuf b = { rx_page(s->x, q, (s->slot[q] + s->nrx[q]) % 64), 200, true };

        vring_add(&s->x->v.d.ring[q * 2], &b, 1, 0);
        s->nrx[q]++;
    }
    vd_kick(&s->x->v.d, q * 2);
}

static void storm_guest_sends(Storm *s, unsigned q)
{
    unsigned n = (unsigned)g_rand_int_range(s->r, 1, 24);

    n = MIN(n, 200 - s->ntx[q]);

    for (unsigned i = 0; i < n && q < s->active; i++) {
        put_tx(s->x, q, s->put_tx[q]++);
        s->ntx[q]++;
    }
    vd_kick(&s->x->v.d, q * 2 + 1);
}

static void storm_pairs(Storm *s)
{
    uint16_t n = (uint16_t)g_rand_int_range(s->r, 1, PAIRS + 1);

    storm_collect(s);
    g_assert_cmpuint(set_pairs(s->x, n), ==, 0);
    s->active = n;
    s->pairs++;
}

/* All that was sent has arrived. */
static bool storm_settled(const Storm *s)
{
    for (unsigned q = 0; q < PAIRS; q++) {
        if (s->ntx[q] || s->x->w[q].waits || s->seen_rx[q] != s->x->w[q].next_rx) {
            return false;
        }
    }
    return true;
}

static void storm_quiet(Storm *s)
{
    Fix *x = s->x;

    for (unsigned q = 0; q < PAIRS; q++) {
        x->w[q].full = false;
        net_ready(&x->w[q].p);
    }
    for (unsigned turns = 0; turns < 400 && !storm_settled(s); turns++) {
        storm_collect(s);
        for (unsigned q = 0; q < PAIRS; q++) {
            storm_buffers(s, q);
        }
        board_run(x->v.b);
    }
    storm_collect(s);
}

static void storm_whole(const Storm *s)
{
    for (unsigned q = 0; q < PAIRS; q++) {
        g_assert_cmpuint(s->x->w[q].sent_tx, ==, s->put_tx[q]);  /* the guest's are out */
        g_assert_cmpuint(s->seen_rx[q], ==, s->x->w[q].next_rx); /* the wire's are in */
    }
}

/* The link flaps; before that all is delivered. */
static void storm_flap(Storm *s)
{
    Fix *x = s->x;

    storm_quiet(s);
    storm_whole(s);
    net_set_link("nic0", false, NULL);
    storm_guest_sends(s, 0);
    board_run(x->v.b);
    storm_collect(s);
    g_assert_cmpuint(s->ntx[0], ==, 0); /* lost on the wire, and not stuck */
    s->put_tx[0] = x->w[0].sent_tx;
    net_set_link("nic0", true, NULL);
    s->flaps++;
}

static void storm_stop(Storm *s, unsigned q)
{
    VirtioDev *vd = ((VirtioPci *)s->x->v.dev)->vd;

    virtio_run_changed(vd, false);
    storm_wire(s, q);
    virtio_run_changed(vd, true);
    s->stops++;
}

static void storm_toggle(Storm *s, unsigned q)
{
    Wire *w = &s->x->w[q];

    w->full = !w->full;
    s->full += w->full;
    if (!w->full) {
        net_ready(&w->p);
    }
}

/* VIRTUE_NET_PACKETS: how many, VIRTUE_NET_SEED: which. */
static void test_storm(Fix *x, const void *unused)
{
    uint64_t want = vdev_env("VIRTUE_NET_PACKETS", 100000);
    uint32_t seed = (uint32_t)vdev_env("VIRTUE_NET_SEED", 20);
    Storm s = { .x = x, .r = g_rand_new_with_seed(seed), .memory = x->v.d.alloc };

    storm_start(&s);
    while (s.packets < want) {
        unsigned q = (unsigned)g_rand_int_range(s.r, 0, PAIRS),
                 what = g_rand_int_range(s.r, 0, 1000);

        if (what < 300) {
            storm_wire(&s, q);
        } else if (what < 600) {
            storm_buffers(&s, q);
        } else if (what < 850) {
            storm_guest_sends(&s, q);
        } else if (what < 950) {
            storm_toggle(&s, q);
        } else if (what < 970) {
            storm_pairs(&s);
        } else if (what < 985) {
            storm_stop(&s, q);
        } else if (what < 995) {
            storm_flap(&s);
        } else {
            storm_quiet(&s);
            storm_whole(&s);
            storm_start(&s);
        }
        board_run(x->v.b);
        storm_collect(&s);
    }
    storm_quiet(&s);
    storm_whole(&s);
    g_assert_true(want < 100000 || (s.flaps && s.stops && s.resets > 1 && s.full && s.pairs));
    g_test_message("seed %u: %" G_GUINT64_FORMAT " packets, %" G_GUINT64_FORMAT
                   " times a full peer, %" G_GUINT64_FORMAT " stops, %" G_GUINT64_FORMAT
                   " resets, %" G_GUINT64_FORMAT " changes of pairs, %" G_GUINT64_FORMAT
                   " flaps of the link",
        seed, s.packets, s.full, s.stops, s.resets, s.pairs, s.flaps);
    g_rand_free(s.r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    clock_virtual_use_qtest();
    g_test_add("/virtio-net-mq/pairs", Fix, mq, up, test_pairs, down);
    g_test_add("/virtio-net-mq/not-negotiated", Fix, mq, up, test_no_mq, down);
    g_test_add("/virtio-net-mq/hash", Fix, ", 'mq': true, 'hash': true", up, test_hash, down);
    g_test_add(
        "/virtio-net-mq/rss", Fix, ", 'mq': true, 'rss': true, 'hash': true", up, test_rss, down);
    g_test_add("/virtio-net-mq/lengths", Fix,
        ", 'mq': true, 'rss': true, 'hash': true, 'x-notf-coal': true, 'x-vq-notf-coal': true", up,
        test_lengths, down);
    g_test_add("/virtio-net-mq/one-pair", Fix, "", up, test_one_pair, down);
    g_test_add("/virtio-net-mq/reset", Fix, ", 'mq': true, 'rss': true", up, test_reset, down);
    g_test_add("/virtio-net-mq/tx-timer", Fix, ", 'tx': 'timer', 'x-txtimer': 1000, 'x-txburst': 2",
        up, test_tx_timer, down);
    g_test_add("/virtio-net-mq/storm", Fix, ", 'mq': true, 'packed': true", up, test_storm, down);
    return g_test_run();
}
