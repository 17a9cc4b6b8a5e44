/* Normative sentences about virtio-net's configuration and packets
 * (VIRTIO 1.4, 5.1.3, 5.1.4, 5.1.9). Control commands: test-norm-net-ctrl.c. */
#include "tests/conformance/norm-net.h"

enum { F_GUEST_CSUM = 1, F_MTU = 3, F_GUEST_TSO4 = 7, F_GUEST_TSO6, F_GUEST_ECN, F_GUEST_UFO };
enum { F_CSUM = 0, F_HOST_TSO4 = 11, F_HOST_TSO6, F_HOST_ECN, F_HOST_UFO, F_MRG_RXBUF };
enum { F_CTRL_VQ = 17, F_RX_EXTRA = 20, F_MQ = 22, F_HASH = 57, F_RSS = 60, F_STANDBY = 62 };
enum { MAX_PAIRS = 8, MTU = 10, SPEED = 12, DUPLEX = 16 };
enum { NEEDS_CSUM = 1, DATA_VALID = 2, TCPV4 = 1, UDP = 3, TCPV6 = 4, UDP_L4 = 5, ECN = 0x80 };
#define SEGMENTS (0xfull << F_GUEST_TSO4)

/* 5.1.4.1 */
static void cfg_1(Norm *x)
{
    NORM("NET-CFG-1");
    for (unsigned mq = 0; mq < 2; mq++) {
        norm_net_open(x, mq ? ", 'mq': true" : "", 0, false);
        g_assert_cmpint(vd_offered(&x->d) >> F_MQ & 1, ==, mq);
        if (mq) {
            g_assert_cmpuint(norm_dev(x, MAX_PAIRS, 2), >=, 1);
            g_assert_cmpuint(norm_dev(x, MAX_PAIRS, 2), <=, 0x8000);
        }
        norm_net_close(x);
    }
}

static void cfg_2(Norm *x)
{
    static const unsigned good[] = { 68, 1280, 1500, 65535 }, bad[] = { 1, 67 };

    NORM("NET-CFG-2");
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *opts = g_strdup_printf(", 'host_mtu': %u", good[i]);

        norm_net_open(x, opts, 0, false);
        g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(F_MTU), !=, 0);
        g_assert_cmpuint(norm_dev(x, MTU, 2), ==, good[i]);
        norm_net_close(x);
    }
    x->b = board_new(false);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *json =
            g_strdup_printf("{'driver': 'virtio-net-pci', 'host_mtu': %u}", bad[i]);
        g_autofree char *message = board_add_error(x->b, json);

        g_assert_cmpstr(message, ==, "'host_mtu' must be at least 68");
    }
}

static void cfg_3(Norm *x)
{
    NORM("NET-CFG-3");
    norm_net_open(x, "", 0, false);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(F_MTU), ==, 0); /* unless asked for */
    norm_note("mtu is what host_mtu= says, from 68");
    norm_net_close(x);
}

static void cfg_4(Norm *x)
{
    NORM("NET-CFG-4");
    norm_net_open(x, ", 'host_mtu': 1500", 0, false);
    norm_net_start(x, 0);
    norm_dev_write(x, MTU, 2, 9000);
    g_assert_cmpuint(norm_dev(x, MTU, 2), ==, 1500);
    vd_set_status(&x->d, 0);
    norm_dev_write(x, MTU, 2, 9000);
    g_assert_cmpuint(norm_dev(x, MTU, 2), ==, 1500);
    norm_net_close(x);
}

static void cfg_5(Norm *x)
{
    static const uint8_t plain[NET_HDR], tcp[NET_HDR] = { NEEDS_CSUM, TCPV4, 0, 0, 100 };

    NORM("NET-CFG-5");
    norm_net_open(x, ", 'host_mtu': 1000", 0, true);
    for (unsigned mtu = 0; mtu < 2; mtu++) {
        norm_net_start(x, mtu ? 0 : NORM_BIT(F_MTU));
        norm_net_give(x, 6, 3000);
        g_assert_cmpint(norm_net_frame(x, NET_ME, 0x0800, 1014, plain), ==, NET_SENT);
        g_assert_cmpint(norm_net_frame(x, NET_ME, 0x8100, 1018, plain), ==, NET_SENT);
        g_assert_cmpint(
            norm_net_frame(x, NET_ME, 0x0800, 1015, plain), ==, mtu ? NET_DROPPED : NET_SENT);
        g_assert_cmpint(
            norm_net_frame(x, NET_ME, 0x8100, 1019, plain), ==, mtu ? NET_DROPPED : NET_SENT);
        g_assert_cmpint(norm_net_frame(x, NET_ME, 0x0800, 2000, tcp), ==, NET_SENT);
        for (unsigned n = 0; n < (mtu ? 3 : 5); n++) {
            g_assert_cmpuint(norm_net_arrived(x, NULL), !=, 0);
        }
        g_assert_cmpuint(norm_net_arrived(x, NULL), ==, 0);
        vd_set_status(&x->d, 0);
    }
    norm_net_close(x);
}

/* The bytes behind the header, all of them. */
static void expect_payload(GBytes *sent, size_t hdr, size_t len)
{
    gsize got;
    const uint8_t *p;

    g_assert_nonnull(sent);
    p = g_bytes_get_data(sent, &got);
    g_assert_cmpuint(got, ==, hdr + len);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(p[hdr + i], ==, 'p');
    }
}

static void cfg_6(Norm *x)
{
    static const uint8_t plain[NET_HDR];

    NORM("NET-CFG-6");
    norm_net_open(x, ", 'host_mtu': 9000", 0, false);
    norm_net_start(x, 0);
    expect_payload(norm_net_send(x, plain, 9014), 0, 9014);
    expect_payload(norm_net_send(x, plain, 60), 0, 60);
    norm_net_close(x);
}

static void cfg_9(Norm *x)
{
    NORM("NET-CFG-9");
    norm_net_open(x, "", 0, true);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(F_STANDBY), ==, 0);
    norm_note("STANDBY is not offered");
    norm_net_close(x);
}

/* The field's description (5.1.4) is what drivers go by: 0 to 7fffffffh, or ffffffffh. */
static void cfg_10(Norm *x)
{
    NORM("NET-CFG-10");
    norm_net_open(x, ", 'speed': 25000", 0, false);
    norm_net_start(x, 0);
    g_assert_cmpuint(norm_dev(x, SPEED, 4), ==, 25000);
    norm_net_close(x);
    norm_net_open(x, ", 'duplex': 'full'", 0, false);
    norm_net_start(x, 0);
    g_assert_cmphex(norm_dev(x, SPEED, 4), ==, UINT32_MAX);
    norm_net_close(x);
}

static void cfg_11(Norm *x)
{
    static const char *const opts[] = { ", 'speed': 10, 'duplex': 'half'",
        ", 'speed': 10, 'duplex': 'full'", ", 'speed': 10" };
    unsigned v[3];

    NORM("NET-CFG-11");
    for (unsigned i = 0; i < G_N_ELEMENTS(opts); i++) {
        norm_net_open(x, opts[i], 0, false);
        norm_net_start(x, 0);
        v[i] = (unsigned)norm_dev(x, DUPLEX, 1);
        norm_net_close(x);
    }
    norm_note("half is %u and full is %u, as in the field's description", v[0], v[1]);
    g_assert_true(v[0] < 2 && v[1] < 2 && v[0] != v[1] && v[2] == 0xff);
}

static void cfg_12(Norm *x)
{
    NORM("NET-CFG-12");
    norm_net_open(x, ", 'speed': 100, 'duplex': 'full'", 0, false);
    norm_net_start(x, 0);
    uint64_t before = norm_dev(x, SPEED, 4), duplex = norm_dev(x, DUPLEX, 1);

    g_assert_true(net_set_link("wire", false, NULL));
    g_assert_true(net_set_link("wire", true, NULL));
    g_assert_cmphex(norm_dev(x, 6, 2) & 1, ==, 1);
    g_assert_cmpuint(norm_dev(x, SPEED, 4), ==, before);
    g_assert_cmpuint(norm_dev(x, DUPLEX, 1), ==, duplex);
    norm_net_close(x);
}

/* Not offered without the control queue. */
static void without_ctrl_vq(Norm *x, unsigned bit)
{
    norm_net_open(x, ", 'ctrl_vq': false", 0, true);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(F_CTRL_VQ), ==, 0);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(bit), ==, 0);
    norm_net_close(x);
}

static void cfg_13(Norm *x)
{
    NORM("NET-CFG-13");
    without_ctrl_vq(x, F_HASH);
}

static void cfg_14(Norm *x)
{
    NORM("NET-CFG-14");
    without_ctrl_vq(x, F_RX_EXTRA);
}

static void txt_feat_1(Norm *x)
{
    NORM("TXT-NET-FEAT-1");
    norm_net_open(x, "", 0, true);
    vd_write(&x->d, 0, 4, 2);
    g_assert_true(!(vd_read(&x->d, 4, 4) >> 6 & 1) || vd_read(&x->d, 4, 4) >> 5 & 1);
    norm_net_close(x);
}

static void leg_cfg_1(Norm *x)
{
    NORM("LEG-NET-CFG-1");
    norm_net_open(x, ", 'mq': true", NORM_LEGACY, false);
    g_assert_cmphex(norm_dev(x, 6, 1), ==, 1); /* LINK_UP; an x86 is little-endian */
    g_assert_cmphex(norm_dev(x, 7, 1), ==, 0);
    g_assert_cmphex(norm_dev(x, MAX_PAIRS, 1), ==, 1);
    g_assert_cmphex(norm_dev(x, MAX_PAIRS + 1, 1), ==, 0);
    norm_net_close(x);
}

static void leg_op_1(Norm *x)
{
    static const uint8_t tcp[NET_HDR] = { NEEDS_CSUM, TCPV4, 54, 0, 0xb4, 5, 34, 0, 16, 0 };
    uint8_t hdr[NET_HDR];

    NORM("LEG-NET-OP-1");
    norm_net_open(x, "", NORM_LEGACY, true);
    norm_net_start(x, 0);
    norm_net_give(x, 4, 3000);
    g_assert_cmpint(norm_net_frame(x, NET_ME, 0x0800, 2500, tcp), ==, NET_SENT);
    g_assert_cmpuint(norm_net_arrived(x, hdr), ==, NET_HDR + 2500);
    g_assert_cmpmem(hdr, 10, tcp, 10);
    g_assert_cmpmem(hdr + 10, 2, "\1\0", 2); /* num_buffers */
    g_assert_cmpmem(g_bytes_get_data(norm_net_send(x, tcp, 2500), NULL), 10, tcp, 10);
    norm_net_close(x);
}

/* 5.1.9.2.2: transmit. What the back end is asked. */
static const uint8_t *asked(Norm *x, const uint8_t *hdr)
{
    GBytes *sent = norm_net_send(x, hdr, 1500);

    if (!sent) {
        return NULL;
    }
    expect_payload(sent, NET_HDR, 1500);
    return g_bytes_get_data(sent, NULL);
}

static void tx_1(Norm *x)
{
    static const uint8_t odd[NET_HDR] = { 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, plain[NET_HDR];

    NORM("NET-TX-1");
    norm_net_open(x, "", 0, true);
    norm_net_start(x, 0);
    g_assert_cmpmem(asked(x, odd), 10, plain, 10);
    norm_net_close(x);
}

static void tx_2(Norm *x)
{
    static const uint8_t odd[NET_HDR] = { 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
    static const uint8_t other[NET_HDR] = { 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
    static const uint8_t good[NET_HDR] = { NEEDS_CSUM, 0, 0, 0, 0, 0, 34, 0, 16, 0 },
                         plain[NET_HDR];

    NORM("NET-TX-2");
    norm_net_open(x, "", 0, true);
    norm_net_start(x, 0);
    g_assert_cmpmem(asked(x, odd), 10, plain, 10);
    g_assert_cmpmem(asked(x, other), 10, plain, 10);
    g_assert_cmpmem(asked(x, good), 10, good, 10);
    norm_net_close(x);
}

static void any_hdr_len(Norm *x)
{
    static const uint16_t lens[] = { 0, 1, 54, 1500, 0xffff };

    norm_net_open(x, "", 0, true);
    norm_net_start(x, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        const uint8_t hdr[NET_HDR] = { NEEDS_CSUM, TCPV4, (uint8_t)lens[i], (uint8_t)(lens[i] >> 8),
            100, 0, 34, 0, 16, 0 };
        const uint8_t *got = asked(x, hdr);

        g_assert_nonnull(got); /* whatever it says, all of the packet goes out */
        g_assert_cmphex(got[1], ==, TCPV4);
    }
    norm_net_close(x);
}

static void tx_5(Norm *x)
{
    NORM("NET-TX-5");
    norm_net_open(x, "", 0, true);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(59), ==, 0);
    norm_note("GUEST_HDRLEN is not offered");
    norm_net_close(x);
}

static void tx_6(Norm *x)
{
    NORM("NET-TX-6");
    any_hdr_len(x);
    norm_note("hdr_len is handed to the back end, and used for nothing else");
}

static void tx_7(Norm *x)
{
    NORM("NET-TX-7");
    any_hdr_len(x);
}

static void expect_refused(Norm *x, uint8_t flags, uint8_t gso)
{
    const uint8_t hdr[NET_HDR] = { flags, gso, 54, 0, 100, 0, 34, 0, 16, 0 };

    g_assert_null(norm_net_send(x, hdr, 1500));
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

static void tx_8(Norm *x)
{
    NORM("NET-TX-8");
    norm_net_open(x, "", 0, true);
    norm_net_start(x, 0);
    expect_refused(x, NEEDS_CSUM, TCPV4 | 0x60);
    norm_net_close(x);
}

static void tx_10(Norm *x)
{
    NORM("NET-TX-10");
    norm_net_open(x, "", 0, true);
    norm_net_start(x, 0);
    for (uint8_t tunnel = 0x20; tunnel <= 0x40; tunnel *= 2) {
        expect_refused(x, 0, TCPV4 | tunnel);
        expect_refused(x, NEEDS_CSUM | DATA_VALID, TCPV4 | tunnel);
        expect_refused(x, NEEDS_CSUM, tunnel);
    }
    norm_net_close(x);
}

/* No checksum in it is right: 'p' all over. */
static void tx_11(Norm *x)
{
    static const uint8_t plain[NET_HDR];

    NORM("NET-TX-11");
    for (unsigned offloads = 0; offloads < 2; offloads++) {
        norm_net_open(x, "", 0, offloads);
        norm_net_start(x, 0);
        expect_payload(norm_net_send(x, plain, 1000), offloads ? NET_HDR : 0, 1000);
        norm_net_close(x);
    }
}

/* 5.1.9.3.2, 5.1.9.4.1: receive buffers. */
static unsigned num_buffers(const uint8_t *hdr)
{
    return hdr[10] | hdr[11] << 8;
}

static void spread(Norm *x, unsigned n, uint32_t each, size_t frame)
{
    uint8_t hdr[NET_HDR];
    size_t left = frame + NET_HDR;

    norm_net_give(x, NET_ROOM, each);
    g_assert_cmpint(norm_net_frame(x, NET_ME, 0x0800, frame, NULL), ==, NET_SENT);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpuint(norm_net_arrived(x, i ? NULL : hdr), ==, MIN(left, each));
        left -= MIN(left, each);
    }
    g_assert_cmpuint(left, ==, 0);
    g_assert_cmpuint(norm_net_arrived(x, NULL), ==, 0);
    g_assert_cmpuint(num_buffers(hdr), ==, n);
}

static void merge(Norm *x)
{
    norm_net_open(x, "", 0, false);
    for (unsigned n = 1; n <= NET_ROOM; n++) {
        norm_net_start(x, 0);
        spread(x, n, 100, n * 100 - NET_HDR - n % 2 * 7); /* full to the end, and not */
        vd_set_status(&x->d, 0);
    }
    norm_net_close(x);
}

static void rxbuf_1(Norm *x)
{
    NORM("NET-RXBUF-1");
    merge(x);
}

static void no_merge(Norm *x)
{
    norm_net_open(x, "", 0, false);
    norm_net_start(x, NORM_BIT(F_MRG_RXBUF));
    spread(x, 1, 2000, 1514);
    vd_set_status(&x->d, 0);
    norm_net_start(x, NORM_BIT(F_MRG_RXBUF)); /* several would hold it: it is one or none */
    norm_net_give(x, 4, 500);
    g_assert_cmpint(norm_net_frame(x, NET_ME, 0x0800, 1514, NULL), ==, NET_DROPPED);
    uint32_t len = norm_net_arrived(x, NULL);

    g_assert_cmpuint(len, ==, 0); /* given back empty, or kept */
    norm_net_close(x);
}

static void rxbuf_2(Norm *x)
{
    NORM("NET-RXBUF-2");
    no_merge(x);
}

static void rx_1(Norm *x)
{
    NORM("NET-RX-1");
    no_merge(x);
}

static void rx_2(Norm *x)
{
    NORM("NET-RX-2");
    merge(x);
}

static void rx_3(Norm *x)
{
    NORM("NET-RX-3");
    merge(x);
}

/* How many used entries the driver sees after each write to the used ring. */
static unsigned seen_mask;

static void see_used(void *opaque)
{
    seen_mask |= 1u << vring_used_idx(&((const Norm *)opaque)->d.ring[NET_RX]);
}

static void rx_4(Norm *x)
{
    NORM("NET-RX-4");
    norm_net_open(x, "", 0, false);
    norm_net_start(x, 0);
    norm_net_give(x, 6, 100);
    seen_mask = 0;
    norm_watch(x, x->d.ring[NET_RX].device, see_used, x);
    g_assert_cmpint(norm_net_frame(x, NET_ME, 0x0800, 400, NULL), ==, NET_SENT);
    g_assert_cmpuint(norm_unwatch(), >, 0);
    g_assert_cmphex(seen_mask & ~1u, ==, 1u << 5); /* none, then all five */
    norm_net_close(x);
}

/* What the back end says, and what of it a driver with these features may see. */
static bool passes(Norm *x, uint64_t without, uint8_t flags, uint8_t gso, uint8_t *ret)
{
    const uint8_t hdr[NET_HDR] = { flags, gso, 54, 0, gso ? 100 : 0, 0, 34, 0, 16, 0 };
    NetVerdict r;

    norm_net_start(x, without);
    norm_net_give(x, 4, 3000);
    r = norm_net_frame(x, NET_ME, 0x0800, 2500, hdr);
    g_assert_cmpint(norm_net_arrived(x, ret) != 0, ==, r == NET_SENT);
    vd_set_status(&x->d, 0);
    return r == NET_SENT;
}

static void rx_5(Norm *x)
{
    uint8_t hdr[NET_HDR];

    NORM("NET-RX-5");
    norm_net_open(x, "", 0, true);
    for (unsigned flags = 0; flags < 256; flags += 51) {
        if (passes(x, NORM_BIT(F_GUEST_CSUM) | SEGMENTS, (uint8_t)flags, 0, hdr)) {
            g_assert_cmphex(hdr[0], ==, 0);
        }
    }
    norm_net_start(x, NORM_BIT(F_GUEST_CSUM) | SEGMENTS);
    g_assert_cmphex(norm_net_asked(), ==, 0); /* the back end completes checksums then */
    norm_net_close(x);
}

/* Not without its feature; with it, as it came. */
static void segments(Norm *x, unsigned bit, uint8_t gso)
{
    uint8_t hdr[NET_HDR];

    norm_net_open(x, "", 0, true);
    g_assert_true(passes(x, 0, NEEDS_CSUM, gso, hdr));
    g_assert_cmphex(hdr[1], ==, gso);
    if (passes(x, NORM_BIT(bit) | (bit == F_GUEST_ECN ? 0 : NORM_BIT(F_GUEST_ECN)), NEEDS_CSUM, gso,
            hdr)) {
        g_assert_cmphex(hdr[1], !=, gso);
    }
    norm_net_close(x);
}

static void rx_6(Norm *x)
{
    NORM("NET-RX-6");
    segments(x, F_GUEST_TSO4, TCPV4);
}

static void rx_7(Norm *x)
{
    NORM("NET-RX-7");
    segments(x, F_GUEST_UFO, UDP);
}

static void rx_8(Norm *x)
{
    NORM("NET-RX-8");
    segments(x, F_GUEST_TSO6, TCPV6);
}

/* Kinds that none of our features is for. */
static void never(Norm *x, uint8_t flags, uint8_t gso, unsigned at, uint8_t mask)
{
    uint8_t hdr[NET_HDR];

    norm_net_open(x, "", 0, true);
    if (passes(x, 0, flags, gso, hdr)) {
        g_assert_cmphex(hdr[at] & mask, ==, 0);
    }
    norm_net_close(x);
}

static void rx_9(Norm *x)
{
    uint8_t hdr[NET_HDR];

    NORM("NET-RX-9");
    norm_net_open(x, "", 0, true);
    g_assert_true(!passes(x, 3ull << 54, NEEDS_CSUM, UDP_L4, hdr) || hdr[1] != UDP_L4);
    norm_net_close(x);
}

static void rx_10(Norm *x)
{
    NORM("NET-RX-10");
    never(x, NEEDS_CSUM, TCPV4 | 0x20, 1, 0x60);
    never(x, NEEDS_CSUM, TCPV6 | 0x40, 1, 0x60);
}

static void rx_11(Norm *x)
{
    NORM("NET-RX-11");
    never(x, NEEDS_CSUM | 8, TCPV4, 0, 8);
}

static void rx_12(Norm *x)
{
    NORM("NET-RX-12");
    segments(x, F_GUEST_ECN, TCPV4 | ECN);
}

static void rx_18(Norm *x)
{
    uint8_t hdr[NET_HDR];

    NORM("NET-RX-18");
    norm_net_open(x, "", 0, true);
    g_assert_false(passes(x, 0, NEEDS_CSUM, TCPV4 | 0x20, hdr));
    norm_net_close(x);
}

static void rx_20(Norm *x)
{
    static const uint8_t kinds[] = { 0, TCPV4, TCPV6, UDP, UDP_L4, TCPV4 | ECN };
    uint8_t hdr[NET_HDR];

    NORM("NET-RX-20");
    norm_net_open(x, "", 0, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (passes(x, SEGMENTS | 3ull << 54, NEEDS_CSUM, kinds[i], hdr)) {
            g_assert_cmphex(hdr[1], ==, 0);
        }
    }
    norm_net_close(x);
}

static void rx_21(Norm *x)
{
    static const uint8_t no_size[NET_HDR] = { NEEDS_CSUM, TCPV4, 54, 0, 0, 0, 34, 0, 16, 0 };
    uint8_t hdr[NET_HDR];

    NORM("NET-RX-21");
    norm_net_open(x, "", 0, true);
    g_assert_true(passes(x, 0, NEEDS_CSUM, TCPV4, hdr));
    g_assert_cmphex(hdr[0] & NEEDS_CSUM, ==, NEEDS_CSUM);
    g_assert_cmpuint(hdr[4] | hdr[5] << 8, ==, 100);
    g_assert_true(!passes(x, 0, 0, TCPV4, hdr) || hdr[0] & NEEDS_CSUM || !hdr[1]);
    norm_net_start(x, 0);
    norm_net_give(x, 4, 3000);
    if (norm_net_frame(x, NET_ME, 0x0800, 2500, no_size) == NET_SENT) {
        norm_net_arrived(x, hdr);
        g_assert_true(!hdr[1] || hdr[4] | hdr[5]);
    }
    norm_net_close(x);
}

static void rx_23(Norm *x)
{
    NORM("NET-RX-23");
    never(x, 4, 0, 0, 4);
}

static void rx_24(Norm *x)
{
    uint8_t hdr[NET_HDR];

    NORM("NET-RX-24");
    norm_net_open(x, "", 0, true);
    g_assert_true(passes(x, 0, NEEDS_CSUM, TCPV4, hdr));
    norm_note("hdr_len is the back end's");
    g_assert_cmpuint(hdr[2] | hdr[3] << 8, ==, 54);
    norm_net_close(x);
}

static void rx_30(Norm *x)
{
    NORM("NET-RX-30");
    never(x, 0x10, 0, 0, 0x10);
}

static void rx_33(Norm *x)
{
    NORM("NET-RX-33");
    never(x, 0x20, 0, 0, 0x20);
}

static void txt_rx_2(Norm *x)
{
    uint8_t hdr[NET_HDR];

    NORM("TXT-NET-RX-2");
    norm_net_open(x, "", 0, true);
    g_assert_true(passes(x, 0, NEEDS_CSUM, TCPV4, hdr));
    norm_note("gso_type is %u where the back end has such packets", hdr[1]);
    norm_net_close(x);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "TXT-NET-FEAT-1", txt_feat_1, NORM_BARE, NULL },
        { "NET-CFG-1", cfg_1, NORM_BARE, NULL },
        { "NET-CFG-2", cfg_2, NORM_BARE, NULL },
        { "NET-CFG-3", cfg_3, NORM_BARE, NULL },
        { "NET-CFG-4", cfg_4, NORM_BARE, NULL },
        { "NET-CFG-5", cfg_5, NORM_BARE, NULL },
        { "NET-CFG-6", cfg_6, NORM_BARE, NULL },
        { "NET-CFG-9", cfg_9, NORM_BARE, NULL },
        { "NET-CFG-10", cfg_10, NORM_BARE, NULL },
        { "NET-CFG-11", cfg_11, NORM_BARE, NULL },
        { "NET-CFG-12", cfg_12, NORM_BARE, NULL },
        { "NET-CFG-13", cfg_13, NORM_BARE, NULL },
        { "NET-CFG-14", cfg_14, NORM_BARE, NULL },
        { "LEG-NET-CFG-1", leg_cfg_1, NORM_BARE, NULL },
        { "LEG-NET-OP-1", leg_op_1, NORM_BARE, NULL },
        { "NET-TX-1", tx_1, NORM_BARE, NULL },
        { "NET-TX-2", tx_2, NORM_BARE, NULL },
        { "NET-TX-5", tx_5, NORM_BARE, NULL },
        { "NET-TX-6", tx_6, NORM_BARE, NULL },
        { "NET-TX-7", tx_7, NORM_BARE, NULL },
        { "NET-TX-8", tx_8, NORM_BARE, NULL },
        { "NET-TX-10", tx_10, NORM_BARE, NULL },
        { "NET-TX-11", tx_11, NORM_BARE, NULL },
        { "NET-RXBUF-1", rxbuf_1, NORM_BARE, NULL },
        { "NET-RXBUF-2", rxbuf_2, NORM_BARE, NULL },
        { "TXT-NET-RX-2", txt_rx_2, NORM_BARE, NULL },
        { "NET-RX-1", rx_1, NORM_BARE, NULL },
        { "NET-RX-2", rx_2, NORM_BARE, NULL },
        { "NET-RX-3", rx_3, NORM_BARE, NULL },
        { "NET-RX-4", rx_4, NORM_BARE, NULL },
        { "NET-RX-5", rx_5, NORM_BARE, NULL },
        { "NET-RX-6", rx_6, NORM_BARE, NULL },
        { "NET-RX-7", rx_7, NORM_BARE, NULL },
        { "NET-RX-8", rx_8, NORM_BARE, NULL },
        { "NET-RX-9", rx_9, NORM_BARE, NULL },
        { "NET-RX-10", rx_10, NORM_BARE, NULL },
        { "NET-RX-11", rx_11, NORM_BARE, NULL },
        { "NET-RX-12", rx_12, NORM_BARE, NULL },
        { "NET-RX-18", rx_18, NORM_BARE, NULL },
        { "NET-RX-20", rx_20, NORM_BARE, NULL },
        { "NET-RX-21", rx_21, NORM_BARE, NULL },
        { "NET-RX-23", rx_23, NORM_BARE, NULL },
        { "NET-RX-24", rx_24, NORM_BARE, NULL },
        { "NET-RX-30", rx_30, NORM_BARE, NULL },
        { "NET-RX-33", rx_33, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
