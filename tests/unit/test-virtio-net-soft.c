/* hw/virtio/virtio-net-soft.c: checksums and segments where the back end makes none, and a peer
 * that is full in the middle of a packet (VIRTIO 1.4, 5.1.9.2.2, 5.1.9.4.1). */
#include "net/csum.h"
#include "net/net.h"
#include "tests/unit/vdev.h"

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum {
    HEAD = 14 + 20 + 20,
    HDR = 12,
    F_CSUM = 0,
    F_GUEST_CSUM = 1,
    F_HOST_TSO4 = 11,
    NEEDS_CSUM = 1
};

/* The back end: with a header when it can anything. */
typedef struct Fix {
    VDev v;
    NetPort wire;
    NetBackend backend;
    uint64_t can;
    GPtrArray *got; /* GBytes: what left the guest */
    unsigned room;  /* packets that it takes yet */
    uint64_t p;
} Fix;

static Fix *fix_of(NetPort *p)
{
    return (Fix *)((char *)p - offsetof(Fix, wire));
}

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Fix *x = fix_of(p);
    g_autoptr(GByteArray) b = g_byte_array_new();

    if (!x->room) {
        return NET_QUEUED;
    }
    x->room--;
    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(b, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    g_assert_cmpuint(b->len, ==, len);
    g_ptr_array_add(x->got, g_byte_array_free_to_bytes(g_steal_pointer(&b)));
    return NET_SENT;
}

static uint64_t wire_offloads(NetPort *p)
{
    return fix_of(p)->can;
}

static bool wire_set_offload(NetPort *p, uint64_t offloads, uint32_t hdr)
{
    p->vnet_hdr_len = hdr;
    return true;
}

static const NetPortOps wire_ops = { .receive = wire_receive };

typedef struct How {
    uint64_t can;
    const char *props;
} How;

static void up(Fix *x, const void *how)
{
    const How *h = how;
    g_autofree char *dev = g_strdup_printf("{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': "
                                           "'4', 'netdev': 'w', 'romfile': ''%s}",
        h->props);

    x->got = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    x->can = h->can;
    x->room = UINT_MAX;
    x->backend = (NetBackend){
        .type = "wire", .offloads = wire_offloads, .set_offload = x->can ? wire_set_offload : NULL
    };
    net_port_init(&x->wire, &wire_ops, "wire", "w");
    x->wire.backend = &x->backend;
    x->wire.vnet_hdr_len = x->can ? HDR : 0;
    vdev_open(&x->v, dev, false);
    x->p = vd_page(&x->v.d, 1 << 20);
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    net_port_fini(&x->wire);
    g_ptr_array_free(x->got, TRUE);
}

static const uint8_t *got(const Fix *x, unsigned i, size_t *ret_len)
{
    g_assert_cmpuint(i, <, x->got->len);
    return g_bytes_get_data(x->got->pdata[i], ret_len);
}

/* An IPv4 frame; proto: 6, 17. Its transport checksum is that of the pseudo header alone. */
static size_t make(uint8_t *f, uint8_t proto, size_t body)
{
    size_t at = proto == 6 ? 54 : 42, field = proto == 6 ? 50 : 40;

    memset(f, 0x33, 34);
    f[12] = 8;
    f[13] = 0;
    f[14] = 0x45;
    net_put_be16(f + 16, (uint32_t)(at - 14 + body));
    net_put_be16(f + 20, 0x4000);
    f[23] = proto;
    memset(f + 34, 0, at - 34);
    f[46] = proto == 6 ? 5 << 4 : 0;
    for (size_t i = 0; i < body; i++) {
        f[at + i] = (uint8_t)(i * 31 >> 3);
    }
    net_put_be16(f + field, net_fold(net_sum(proto + at - 34 + body, f + 26, 8)));
    return at + body;
}

/* The sum over a packet's pseudo header and its transport part: all ones when it is right. */
static uint16_t verify(const uint8_t *f, size_t len)
{
    return net_fold(net_sum(net_sum(f[23] + len - 34, f + 26, 8), f + 34, len - 34));
}

static void queue_tx(Fix *x, uint64_t at, const uint8_t *head, const uint8_t *f, size_t len)
{
    const VBuf b[] = { { at, HDR, false }, { at + HDR, (uint32_t)len, false } };

    vdev_put(&x->v, at, head, HDR);
    vdev_put(&x->v, at + HDR, f, len);
    vring_add(&x->v.d.ring[1], b, 2, 0);
    vd_kick(&x->v.d, 1);
    board_run(x->v.b);
}

static unsigned tx_done(Fix *x)
{
    uint32_t id, len;
    unsigned n = 0;

    while (vring_used(&x->v.d.ring[1], &id, &len)) {
        n++;
    }
    return n;
}

static void header(
    uint8_t *h, uint8_t flags, uint8_t gso, uint16_t size, uint16_t start, uint16_t off)
{
    const uint16_t v[4] = { 0, size, start, off };

    memset(h, 0, HDR);
    h[0] = flags;
    h[1] = gso;
    memcpy(h + 2, v, sizeof v);
}

static const How none = { 0, ", 'x-soft-offloads': true" };
static const How by_default = { 0, "" };
static const How tap = { NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4, ", 'x-soft-offloads': true" };

/* QEMU compat: over such a back end nothing is offered, unless the user asks for it. */
static void test_offer(Fix *x, const void *how)
{
    const uint64_t tx = 1ull << F_CSUM | 0xfull << F_HOST_TSO4 | 1ull << 56, rx = 0xfull << 7 | 2;
    uint64_t f = vd_offered(&x->v.d);

    g_assert_cmphex(f & tx, ==, how == &by_default ? 0 : tx);
    g_assert_cmphex(f & rx, ==, how == &tap ? 1ull << F_GUEST_CSUM | 7ull << 7 : 0);
}

static void test_checksum(Fix *x, const void *unused)
{
    uint8_t f[2000], h[HDR];
    size_t n, len = make(f, 17, 777);

    vd_start(&x->v.d, 0);
    header(h, NEEDS_CSUM, 0, 0, 34, 6);
    queue_tx(x, x->p, h, f, len);
    const uint8_t *g = got(x, 0, &n);

    g_assert_cmpuint(n, ==, len);
    g_assert_cmphex(verify(g, n), ==, 0xffff);
    g_assert_cmpmem(g, 40, f, 40);
    g_assert_cmpmem(g + 42, n - 42, f + 42, len - 42);
    header(h, 0, 0, 0, 34, 6); /* no flag, no checksum */
    queue_tx(x, x->p, h, f, len);
    g = got(x, 1, &n);
    g_assert_cmpmem(g, n, f, len);
    /* Places that are not in the frame: it is no packet, and nobody is hurt. */
    static const uint16_t bad[][2] = { { 34, 786 }, { 818, 0 }, { 819, 0 }, { 0xffff, 0xffff },
        { 0xffff, 2 }, { 0, 0xffff } };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        header(h, NEEDS_CSUM, 0, 0, bad[i][0], bad[i][1]);
        queue_tx(x, x->p, h, f, len);
    }
    g_assert_cmpuint(x->got->len, ==, 2);
    g_assert_cmpuint(tx_done(x), ==, 2 + G_N_ELEMENTS(bad));
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
}

/* The segments of got from `first` on are the frame f. */
static void check_tcp(const Fix *x, unsigned first, const uint8_t *f, size_t len, size_t size)
{
    size_t done = 0;

    for (unsigned i = first; done < len - HEAD; i++) {
        size_t n;
        const uint8_t *g = got(x, i, &n);

        g_assert_cmpuint(n, ==, HEAD + MIN(size, len - HEAD - done));
        g_assert_cmpuint((uint32_t)net_be16(g + 38) << 16 | net_be16(g + 40), ==, done);
        g_assert_cmphex(net_fold(net_sum(0, g + 14, 20)), ==, 0xffff);
        g_assert_cmphex(verify(g, n), ==, 0xffff);
        g_assert_cmpmem(g + HEAD, n - HEAD, f + HEAD + done, n - HEAD);
        done += n - HEAD;
    }
}

static void test_segments(Fix *x, const void *unused)
{
    g_autofree uint8_t *f = g_malloc(65000);
    uint8_t h[HDR];
    size_t len = make(f, 6, 10000);

    vd_start(&x->v.d, 0);
    header(h, NEEDS_CSUM, NET_GSO_TCPV4, 1448, 34, 16);
    queue_tx(x, x->p, h, f, len);
    g_assert_cmpuint(x->got->len, ==, 7);
    check_tcp(x, 0, f, len, 1448);
    header(h, NEEDS_CSUM, NET_GSO_TCPV6, 1448, 34, 16); /* it is not */
    queue_tx(x, x->p, h, f, len);
    header(h, NEEDS_CSUM, NET_GSO_TCPV4, 0, 34, 16);
    queue_tx(x, x->p, h, f, len);
    header(h, NEEDS_CSUM, NET_GSO_TCPV4, 1, 34, 16); /* more than anybody sends */
    queue_tx(x, x->p, h, f, len);
    g_assert_cmpuint(x->got->len, ==, 7);
    header(h, NEEDS_CSUM, NET_GSO_UDP_L4, 1000, 34, 6);
    queue_tx(x, x->p, h, f, make(f, 17, 2500));
    g_assert_cmpuint(x->got->len, ==, 10);
    for (unsigned i = 7; i < 10; i++) {
        size_t n;
        const uint8_t *g = got(x, i, &n);

        g_assert_cmpuint(n, ==, i < 9 ? 1042 : 542);
        g_assert_cmphex(verify(g, n), ==, 0xffff);
    }
    g_assert_cmpuint(tx_done(x), ==, 5);
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
}

/* Full after each number of segments: what has gone does not go again, and the order stays. */
static void test_full(Fix *x, const void *unused)
{
    uint8_t f[9000], h[HDR], plain[60] = { 0 };
    size_t len = make(f, 6, 8000), n;

    vd_start(&x->v.d, 0);
    for (unsigned k = 0; k < 8; k++) {
        g_ptr_array_set_size(x->got, 0);
        x->room = k;
        header(h, NEEDS_CSUM, NET_GSO_TCPV4, 1000, 34, 16);
        queue_tx(x, x->p, h, f, len);
        /* The driver changes its mind about what is on its way; and one more waits behind it. */
        header(h, 0, 0, 0, 0, 0);
        vdev_put(&x->v, x->p, h, HDR);
        plain[20] = (uint8_t)k;
        queue_tx(x, x->p + 0x10000, h, plain, sizeof plain);
        g_assert_cmpuint(x->got->len, ==, k);
        g_assert_cmpuint(tx_done(x), ==, 0);
        if (k & 1) { /* a stop keeps the place */
            virtio_run_changed(((VirtioPci *)x->v.dev)->vd, false);
            virtio_run_changed(((VirtioPci *)x->v.dev)->vd, true);
            board_run(x->v.b);
        }
        x->room = UINT_MAX;
        net_ready(&x->wire);
        board_run(x->v.b);
        g_assert_cmpuint(x->got->len, ==, 9);
        check_tcp(x, 0, f, len, 1000);
        g_assert_cmpuint(got(x, 8, &n)[20], ==, k);
        g_assert_cmpuint(tx_done(x), ==, 2);
    }
}

/* Reset, reset of the queue, the link: the rest of a packet does not come later. */
static void test_forgotten(Fix *x, const void *unused)
{
    uint8_t f[9000], h[HDR], plain[60] = { 0 }, zero[HDR] = { 0 };
    size_t len = make(f, 6, 8000), n;
    uint64_t memory = x->v.d.alloc;

    header(h, NEEDS_CSUM, NET_GSO_TCPV4, 1000, 34, 16);
    for (unsigned how = 0; how < 3; how++) {
        vdev_fill(&x->v, memory, 0, x->v.d.alloc - memory);
        x->v.d.alloc = memory;
        vd_start(&x->v.d, 0);
        g_ptr_array_set_size(x->got, 0);
        x->room = 3;
        queue_tx(x, x->p, h, f, len);
        g_assert_cmpuint(x->got->len, ==, 3);
        x->room = UINT_MAX;
        if (how == 0) {
            vd_set_status(&x->v.d, 0);
            vdev_fill(&x->v, memory, 0, x->v.d.alloc - memory);
            x->v.d.alloc = memory;
            vd_start(&x->v.d, 0);
        } else if (how == 1) { /* the queue alone */
            vd_write(&x->v.d, 0x16, 2, 1);
            vd_write(&x->v.d, 0x3a, 2, 1);
            board_run(x->v.b);
            vd_setup_queue(&x->v.d, 1, 0);
        } else { /* lost on the wire, and used */
            net_set_link("w", false, NULL);
            board_run(x->v.b);
            g_assert_cmpuint(tx_done(x), ==, 1);
            net_set_link("w", true, NULL);
        }
        net_ready(&x->wire);
        board_run(x->v.b);
        queue_tx(x, x->p + 0x10000, zero, plain, sizeof plain);
        g_assert_cmpuint(x->got->len, ==, 4);
        got(x, 3, &n);
        g_assert_cmpuint(n, ==, sizeof plain);
        vd_set_status(&x->v.d, 0);
    }
}

/* A back end with a header that knows nothing of UFO. */
static void test_part(Fix *x, const void *unused)
{
    uint8_t f[9000], h[HDR];
    size_t n, len = make(f, 17, 4000), at = 34;

    vd_start(&x->v.d, 0);
    header(h, NEEDS_CSUM, NET_GSO_UDP, 1480, 34, 6);
    queue_tx(x, x->p, h, f, len);
    g_assert_cmpuint(x->got->len, ==, 3);
    g_assert_true(net_csum_complete(f, len, 34, 6));
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *g = got(x, i, &n);

        g_assert_cmphex(g[0] | g[1], ==, 0);
        g_assert_cmpuint(net_be16(g + HDR + 20), ==, (at - 34) / 8 | (i < 2 ? 0x2000 : 0));
        g_assert_cmpmem(g + HDR + 34, n - HDR - 34, f + at, n - HDR - 34);
        at += n - HDR - 34;
    }
    g_assert_cmpuint(at, ==, len);
    /* TSO is its own work. */
    len = make(f, 6, 8000);
    header(h, NEEDS_CSUM, NET_GSO_TCPV4, 1448, 34, 16);
    queue_tx(x, x->p, h, f, len);
    g_assert_cmpuint(x->got->len, ==, 4);
    const uint8_t *g = got(x, 3, &n);

    g_assert_cmpmem(g, HDR - 2, h, HDR - 2);
    g_assert_cmpmem(g + HDR, n - HDR, f, len);
}

/* A driver without GUEST_CSUM gets whole checksums, whatever the back end still has on its way. */
static void test_receive(Fix *x, const void *unused)
{
    uint8_t f[2000], h[HDR], b[2000];
    size_t len = make(f, 17, 777);
    const VBuf room = { x->p, 2000, true };
    uint32_t id, used;

    vd_start(&x->v.d, 1ull << F_GUEST_CSUM | 0xfull << 7);
    for (unsigned i = 0; i < 8; i++) {
        vring_add(&x->v.d.ring[0], &room, 1, 0);
    }
    vd_kick(&x->v.d, 0);
    board_run(x->v.b);
    const struct iovec v[2] = { { h, HDR }, { f, len } };

    header(h, NEEDS_CSUM, 0, 0, 34, 6);
    g_assert_cmpint(net_send(&x->wire, v, 2, HDR + len), ==, NET_SENT);
    g_assert_true(vring_used(&x->v.d.ring[0], &id, &used));
    g_assert_cmpuint(used, ==, HDR + len);
    vdev_get(&x->v, x->p, b, used);
    g_assert_cmphex(b[0] | b[1], ==, 0);
    g_assert_cmphex(verify(b + HDR, len), ==, 0xffff);
    header(h, NEEDS_CSUM, 0, 0, 2000, 6);
    g_assert_cmpint(net_send(&x->wire, v, 2, HDR + len), ==, NET_DROPPED);
    header(h, NEEDS_CSUM, NET_GSO_TCPV4, 1000, 34, 16); /* no driver asked for it */
    g_assert_cmpint(net_send(&x->wire, v, 2, HDR + len), ==, NET_DROPPED);
    g_assert_false(vring_used(&x->v.d.ring[0], &id, &used));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/virtio-net-soft/offer/default", Fix, &by_default, up, test_offer, down);
    g_test_add("/virtio-net-soft/offer/asked", Fix, &none, up, test_offer, down);
    g_test_add("/virtio-net-soft/offer/part", Fix, &tap, up, test_offer, down);
    g_test_add("/virtio-net-soft/checksum", Fix, &none, up, test_checksum, down);
    g_test_add("/virtio-net-soft/segments", Fix, &none, up, test_segments, down);
    g_test_add("/virtio-net-soft/full", Fix, &none, up, test_full, down);
    g_test_add("/virtio-net-soft/forgotten", Fix, &none, up, test_forgotten, down);
    g_test_add("/virtio-net-soft/part", Fix, &tap, up, test_part, down);
    g_test_add("/virtio-net-soft/receive", Fix, &tap, up, test_receive, down);
    return g_test_run();
}
