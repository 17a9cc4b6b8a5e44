/* hw/virtio/virtio-net-tunnel.c: the header with tunnels between the driver and a back end that
 * takes it, what is no such packet, and back ends without (VIRTIO 1.4, 5.1.9.2.2, 5.1.9.4.1). */
#include "net/net.h"
#include "tests/unit/vdev.h"

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum { RX, TX, CTRL, LEN = 400, NEEDS_CSUM = 1, DATA_VALID = 2, OUTER_CSUM = 8 };
enum { TCP4 = 1, UDP = 3, TCP6 = 4, UDP_L4 = 5, IN4 = 0x20, IN6 = 0x40, ECN = 0x80 };
enum { GUEST = 2, GUEST_CSUM = 4, HOST = 8, HOST_CSUM = 16 }; /* of features 64 and up */
#define ALL_OFFLOADS 0x1ffull

/* VIRTIO 1.4, 5.1.9 */
typedef struct Header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
    uint32_t hash_value;
    uint16_t hash_report, padding, outer_th_offset, inner_nh_offset;
} Header;
_Static_assert(sizeof(Header) == 24, "VIRTIO 1.4, 5.1.9");

typedef struct Fix {
    VDev v;
    NetPort wire;
    NetBackend backend;
    uint64_t can, asked;
    GByteArray *sent;
    unsigned nsent;
    uint64_t p;
} Fix;

static Fix *fix_of(NetPort *p)
{
    return (Fix *)((char *)p - offsetof(Fix, wire));
}

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Fix *x = fix_of(p);

    g_byte_array_set_size(x->sent, 0);
    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(x->sent, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    g_assert_cmpuint(x->sent->len, ==, len);
    x->nsent++;
    return NET_SENT;
}

static uint64_t wire_offloads(NetPort *p)
{
    return fix_of(p)->can;
}

static bool wire_set_offload(NetPort *p, uint64_t offloads, uint32_t hdr)
{
    fix_of(p)->asked = offloads;
    p->vnet_hdr_len = hdr;
    return true;
}

static const NetPortOps wire_ops = { .receive = wire_receive };

static void make_wire(Fix *x, uint64_t can)
{
    x->can = can;
    x->backend =
        (NetBackend){ .type = "wire", .offloads = wire_offloads, .set_offload = wire_set_offload };
    net_port_init(&x->wire, &wire_ops, "wire", "w");
    x->wire.backend = &x->backend;
    x->wire.vnet_hdr_len = 12;
    x->sent = g_byte_array_new();
}

#define DEVICE                                                                                     \
    "{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': '4', 'netdev': 'w', 'romfile': ''"
#define TUNNELS                                                                                    \
    ", 'x-guest_tunnel': true, 'x-guest_tunnel_csum': true, 'x-host_tunnel': true,"                \
    " 'x-host_tunnel_csum': true"

static void open_with(Fix *x, const char *more)
{
    g_autofree char *json = g_strdup_printf(DEVICE "%s}", more);

    make_wire(x, ALL_OFFLOADS);
    vdev_open(&x->v, json, false);
    x->p = vd_page(&x->v.d, 1 << 20);
}

/* accepted: of GUEST, HOST...; NULL: all */
static void up(Fix *x, const void *accepted)
{
    open_with(x, TUNNELS);
    x->v.d.features_more =
        accepted ? *(const unsigned *)accepted : GUEST | GUEST_CSUM | HOST | HOST_CSUM;
    vd_start(&x->v.d, 1 << 15);
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    net_port_fini(&x->wire);
    g_byte_array_free(x->sent, TRUE);
}

/* Each bit needs what 5.1.3.1 says. */
static void test_offer(void)
{
    static const struct {
        const char *props;
        uint32_t offered;
    } t[] = { { "", 0 }, { TUNNELS, GUEST | GUEST_CSUM | HOST | HOST_CSUM },
        { TUNNELS ", 'host_uso': false", GUEST | GUEST_CSUM },
        { TUNNELS ", 'host_tso4': false", GUEST | GUEST_CSUM },
        { TUNNELS ", 'guest_tso6': false", HOST | HOST_CSUM },
        { TUNNELS ", 'guest_uso4': false", HOST | HOST_CSUM }, { ", 'x-host_tunnel': true", HOST },
        { ", 'x-guest_tunnel': true", GUEST },
        { ", 'x-host_tunnel_csum': true, 'x-guest_tunnel_csum': true", 0 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fix x = { 0 };

        open_with(&x, t[i].props);
        g_assert_cmphex(vd_offered_more(&x.v.d), ==, t[i].offered);
        down(&x, NULL);
    }
}

/* A back end that cannot: a property that is on is refused by its name. */
static void test_refused(void)
{
    static const struct {
        uint64_t can;
        const char *prop;
        bool refused;
    } t[] = { { 0x7f, "x-host_tunnel", true }, { 0x7f, "x-guest_tunnel", true },
        { 0xff, "x-host_tunnel_csum", true }, { 0xff, "x-guest_tunnel_csum", true },
        { 0xff, "x-host_tunnel", false }, { 0, "x-guest_tunnel", true } };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *json = g_strdup_printf(DEVICE ", '%s': true}", t[i].prop);
        g_autofree char *want =
            g_strdup_printf("'%s' needs a tap that segments UDP tunnels (Linux 6.17)", t[i].prop);
        Fix x = { 0 };

        make_wire(&x, t[i].can);
        x.v.b = board_new(false);
        if (t[i].refused) {
            g_autofree char *text = board_add_error(x.v.b, json);

            g_assert_cmpstr(text, ==, want);
        } else {
            board_add(x.v.b, json);
        }
        down(&x, NULL);
    }
}

/* The frame's bytes; header first when the driver's header has hlen bytes. */
static bool transmit(Fix *x, const Header *h, size_t hlen)
{
    const VBuf b[] = { { x->p, (uint32_t)hlen, false }, { x->p + 64, LEN, false } };
    unsigned before = x->nsent;
    uint32_t id, len;

    vdev_put(&x->v, x->p, h, hlen);
    vdev_fill(&x->v, x->p + 64, 'p', LEN);
    vring_add(&x->v.d.ring[TX], b, 2, 0);
    vd_kick(&x->v.d, TX);
    board_run(x->v.b);
    g_assert_true(vring_used(&x->v.d.ring[TX], &id, &len));
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
    return x->nsent != before;
}

static const Header good = { .flags = NEEDS_CSUM,
    .gso_type = TCP4 | IN4,
    .hdr_len = 118,
    .gso_size = 100,
    .csum_start = 98,
    .csum_offset = 16,
    .outer_th_offset = 34,
    .inner_nh_offset = 64 };

static void test_transmit(Fix *x, const void *unused)
{
    static const struct {
        uint8_t flags, gso_type;
        bool passes;
    } t[] = { { NEEDS_CSUM, TCP4 | IN4, true }, { NEEDS_CSUM | OUTER_CSUM, TCP4 | IN4, true },
        { NEEDS_CSUM, TCP6 | IN6, true }, { NEEDS_CSUM, UDP_L4 | IN6, true },
        { NEEDS_CSUM, TCP4 | ECN | IN4, true }, { NEEDS_CSUM, TCP4 | IN4 | IN6, false },
        { 0, TCP4 | IN4, false }, { NEEDS_CSUM | DATA_VALID, TCP4 | IN4, false },
        { NEEDS_CSUM, IN4, false }, { NEEDS_CSUM, IN6, false }, { NEEDS_CSUM, UDP | IN4, false },
        { NEEDS_CSUM | OUTER_CSUM, TCP4, false }, { OUTER_CSUM, 0, false },
        { NEEDS_CSUM | 0x40, TCP4 | IN4, true } };

    g_assert_cmpuint(x->wire.vnet_hdr_len, ==, sizeof good);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Header h = good, got;

        h.flags = t[i].flags;
        h.gso_type = t[i].gso_type;
        h.hash_value = 7; /* nothing of the driver's to say */
        g_assert_cmpint(transmit(x, &h, sizeof h), ==, t[i].passes);
        if (t[i].passes) {
            g_assert_cmpuint(x->sent->len, ==, sizeof h + LEN);
            h.flags &= NEEDS_CSUM | OUTER_CSUM;
            h.hash_value = 0;
            memcpy(&got, x->sent->data, sizeof got);
            g_assert_cmpmem(&got, sizeof got, &h, sizeof h);
            g_assert_cmphex(x->sent->data[sizeof h], ==, 'p');
        }
    }
    /* Without a tunnel its fields are not used: 5.1.9.2.2. */
    Header plain = good;

    plain.gso_type = TCP4;
    g_assert_true(transmit(x, &plain, sizeof plain));
    g_assert_cmphex(x->sent->data[20] | x->sent->data[22], ==, 0);
}

static NetVerdict receive(Fix *x, const Header *h, Header *ret, size_t hlen)
{
    const VBuf b = { x->p + 0x1000, 2000, true };
    uint8_t frame[LEN];
    size_t have = x->wire.vnet_hdr_len;
    const struct iovec v[2] = { { (void *)(uintptr_t)h, have }, { frame, LEN } };
    uint32_t id, len;

    memset(frame, 'f', LEN);
    vring_add(&x->v.d.ring[RX], &b, 1, 0);
    vd_kick(&x->v.d, RX);
    board_run(x->v.b);
    NetVerdict r = net_send(&x->wire, v, 2, have + LEN);

    g_assert_cmpint(vring_used(&x->v.d.ring[RX], &id, &len), ==, r == NET_SENT);
    if (r == NET_SENT) {
        g_assert_cmpuint(len, ==, hlen + LEN);
        *ret = (Header){ 0 };
        vdev_get(&x->v, x->p + 0x1000, ret, hlen);
    }
    return r;
}

static void test_receive(Fix *x, const void *unused)
{
    static const struct {
        uint8_t flags, gso_type;
        bool passes;
    } t[] = { { NEEDS_CSUM, TCP4 | IN4, true }, { NEEDS_CSUM | OUTER_CSUM, UDP_L4 | IN4, true },
        { NEEDS_CSUM, TCP6 | IN6, true }, { NEEDS_CSUM | DATA_VALID, TCP4 | IN4, false },
        { NEEDS_CSUM, TCP4 | IN4 | IN6, false }, { NEEDS_CSUM, IN4, false },
        { NEEDS_CSUM | OUTER_CSUM, TCP4, false }, { NEEDS_CSUM, UDP | IN6, false } };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Header h = good, got;

        h.flags = t[i].flags;
        h.gso_type = t[i].gso_type;
        h.hash_value = 0x1234; /* the host's field has nothing in it */
        g_assert_cmpint(receive(x, &h, &got, sizeof h), ==, t[i].passes ? NET_SENT : NET_DROPPED);
        if (t[i].passes) {
            h.hash_value = 0;
            h.num_buffers = 1;
            g_assert_cmpmem(&got, sizeof got, &h, sizeof h);
        }
    }
}

static uint8_t set_offloads(Fix *x, uint64_t bits)
{
    const VBuf b[] = { { x->p + 0x4000, 2, false }, { x->p + 0x4008, 8, false },
        { x->p + 0x4010, 1, true } };
    const uint8_t head[2] = { 5, 0 };
    uint8_t ack = 9;

    vdev_put(&x->v, b[0].at, head, 2);
    vdev_put(&x->v, b[1].at, &bits, 8);
    vring_add(&x->v.d.ring[CTRL], b, 3, 0);
    vd_kick(&x->v.d, CTRL);
    board_run(x->v.b);
    vdev_get(&x->v, b[2].at, &ack, 1);
    return ack;
}

/* 5.1.9.5.9.1: features 65 and 66 are bits 46 and 47 there. */
static void test_switched(Fix *x, const void *unused)
{
    const uint64_t base = 1 << 1 | 3 << 7 | 3ull << 54, tunnel = 1ull << 46, csum = 1ull << 47;
    Header h = good, got;

    g_assert_cmphex(x->asked & 0x180, ==, 0x180);
    g_assert_cmpuint(set_offloads(x, base), ==, 0);
    g_assert_cmphex(x->asked & 0x180, ==, 0);
    g_assert_cmpint(receive(x, &h, &got, sizeof h), ==, NET_DROPPED); /* on its way meanwhile */
    g_assert_cmpuint(set_offloads(x, base | tunnel), ==, 0);
    g_assert_cmphex(x->asked & 0x180, ==, 0x80);
    h.flags |= OUTER_CSUM;
    g_assert_cmpint(receive(x, &h, &got, sizeof h), ==, NET_DROPPED);
    g_assert_cmpuint(set_offloads(x, base | tunnel | csum), ==, 0);
    g_assert_cmphex(x->asked & 0x180, ==, 0x180);
    g_assert_cmpint(receive(x, &h, &got, sizeof h), ==, NET_SENT);
}

/* One direction alone: the header is as long, the other direction is not there. */
static void test_host_only(Fix *x, const void *unused)
{
    Header h = good, got;

    g_assert_true(transmit(x, &h, sizeof h));
    h.flags |= OUTER_CSUM; /* nobody said that it means something: it is ignored */
    g_assert_true(transmit(x, &h, sizeof h));
    g_assert_cmphex(x->sent->data[0], ==, NEEDS_CSUM);
    g_assert_cmphex(x->asked & 0x180, ==, 0);
    g_assert_cmpint(receive(x, &good, &got, sizeof h), ==, NET_DROPPED);
    g_assert_cmpuint(set_offloads(x, 1ull << 46), ==, 1);
}

/* Headers that are not in the packet, or not in their order, do not come to the driver; what the
 * driver says of them is for the host to check. */
static void test_offsets(Fix *x, const void *unused)
{
    static const struct {
        uint16_t outer, inner, csum;
        bool passes;
    } t[] = { { 34, 64, 98, true }, { 34, 42, 98, true }, { 34, 41, 98, false },
        { 64, 34, 98, false }, { 0, 0, 98, false }, { 34, 98, 98, false }, { 34, 97, 98, true },
        { 0xffff, 64, 98, false }, { 34, 0xffff, 98, false }, { 0xfff0, 0xffff, 98, false },
        { 34, 64, LEN - 18, true }, { 34, 64, LEN - 17, false }, { 34, 64, 0xffff, false } };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Header h = good, got;

        h.outer_th_offset = t[i].outer;
        h.inner_nh_offset = t[i].inner;
        h.csum_start = t[i].csum;
        g_assert_cmpint(receive(x, &h, &got, sizeof h), ==, t[i].passes ? NET_SENT : NET_DROPPED);
        g_assert_true(transmit(x, &h, sizeof h));
        g_assert_cmpmem(x->sent->data + 20, 4, &h.outer_th_offset, 4);
    }
}

/* How long a header is: of a card with hashes, or with tunnels. */
typedef struct Long {
    const char *props;
    unsigned features;
    size_t hlen;
} Long;

static void up_long(Fix *x, const void *data)
{
    const Long *l = data;

    open_with(x, l->props);
    x->v.d.features_more = l->features;
}

/* Packets to send that end in their header. */
static void test_short(Fix *x, const void *data)
{
    const Long *l = data;

    for (uint32_t len = 1; len < l->hlen; len++) {
        const VBuf b = { x->p, len, false };

        vd_start(&x->v.d, 1 << 15);
        g_assert_cmphex(vdev_bad(&x->v, TX, &b, 1), ==, 15 | 0x40);
    }
    vd_start(&x->v.d, 1 << 15);
    g_assert_true(transmit(x, &(Header){ 0 }, l->hlen));
}

/* Buffers that a header does not fit into, or nothing behind it: the packet is lost, and not a byte
 * is written. */
static void test_no_room(Fix *x, const void *data)
{
    const Long *l = data;
    uint32_t id, len;
    Header got;

    for (unsigned room = 1; room <= l->hlen; room++) {
        vd_start(&x->v.d, room & 1 ? 0 : 1 << 15); /* mergeable, or not */
        vdev_fill(&x->v, x->p, 0x5a, 0x4000);
        for (unsigned i = 0; i < 200 && room < l->hlen; i++) {
            const VBuf b = { x->p + 64 * i, room, true };

            vring_add(&x->v.d.ring[RX], &b, 1, 0);
        }
        vd_kick(&x->v.d, RX);
        board_run(x->v.b);
        uint8_t frame[24 + 60] = { 0 };
        const struct iovec v = { frame, x->wire.vnet_hdr_len + 60 };

        NetVerdict r = net_send(&x->wire, &v, 1, v.iov_len);

        while (vring_used(&x->v.d.ring[RX], &id, &len)) {
            g_assert_cmpuint(len, ==, 0);
        }
        g_assert_cmpint(r, ==, room < l->hlen ? NET_DROPPED : NET_QUEUED);
        for (unsigned i = 0; i < 0x4000; i++) {
            uint8_t byte;

            vdev_get(&x->v, x->p + i, &byte, 1);
            g_assert_cmphex(byte, ==, 0x5a);
        }
    }
    vd_start(&x->v.d, 1 << 15);
    g_assert_cmpint(receive(x, &(Header){ 0 }, &got, l->hlen), ==, NET_SENT);
}

/* Nobody asked for outer checksums: such a packet is not the driver's. */
static void test_guest_only(Fix *x, const void *unused)
{
    Header h = good, got;

    g_assert_cmpint(receive(x, &h, &got, sizeof h), ==, NET_SENT);
    h.flags |= OUTER_CSUM;
    g_assert_cmpint(receive(x, &h, &got, sizeof h), ==, NET_DROPPED);
    g_assert_cmphex(x->asked & 0x180, ==, 0x80);
    g_assert_false(transmit(x, &good, sizeof good));
}

/* Declined: the short header, and a tunnel is no kind of segmentation. */
static void test_declined(Fix *x, const void *unused)
{
    Header h = good, got;

    g_assert_cmpuint(x->wire.vnet_hdr_len, ==, 12);
    g_assert_false(transmit(x, &h, 12));
    g_assert_cmpint(receive(x, &h, &got, 12), ==, NET_DROPPED);
    h.gso_type = TCP4;
    g_assert_true(transmit(x, &h, 12));
}

int main(int argc, char **argv)
{
    static const Long longs[] = { { ", 'hash': true", 0, 20 },
        { ", 'hash': true" TUNNELS, GUEST | GUEST_CSUM | HOST | HOST_CSUM, 24 } };
    static const unsigned host = HOST, guest = GUEST, none = 0;

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-net-tunnel/offer", test_offer);
    g_test_add_func("/virtio-net-tunnel/refused", test_refused);
    g_test_add("/virtio-net-tunnel/transmit", Fix, NULL, up, test_transmit, down);
    g_test_add("/virtio-net-tunnel/receive", Fix, NULL, up, test_receive, down);
    g_test_add("/virtio-net-tunnel/switched", Fix, NULL, up, test_switched, down);
    g_test_add("/virtio-net-tunnel/host-only", Fix, &host, up, test_host_only, down);
    g_test_add("/virtio-net-tunnel/guest-only", Fix, &guest, up, test_guest_only, down);
    g_test_add("/virtio-net-tunnel/offsets", Fix, NULL, up, test_offsets, down);
    for (unsigned i = 0; i < G_N_ELEMENTS(longs); i++) {
        g_autofree char *tx = g_strdup_printf("/virtio-net-tunnel/short/%zu", longs[i].hlen);
        g_autofree char *rx = g_strdup_printf("/virtio-net-tunnel/no-room/%zu", longs[i].hlen);

        g_test_add(tx, Fix, &longs[i], up_long, test_short, down);
        g_test_add(rx, Fix, &longs[i], up_long, test_no_room, down);
    }
    g_test_add("/virtio-net-tunnel/declined", Fix, &none, up, test_declined, down);
    return g_test_run();
}
