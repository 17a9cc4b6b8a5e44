/* VIRTIO 1.4, 5.1.9.2.2 and 5.1.9.4.1: what stands in front of a packet, and what does not. */
#include "hw/virtio/virtio-net.h"
#include "net/csum.h"
#include "tests/conformance/norm-net.h"

enum { TCP = 34, TCP_BODY = 54, RSC_INFO = 4, OUTER_CSUM = 8 };
enum { LEN = 200, IP = 14, UDP = 34, SUM = 6, NEEDS = 1, TUNNEL4 = 0x20, TUNNEL6 = 0x40 };

/* Fields of features that are not there begin where the packet begins: its bytes are its own. */
static void whole_out(Norm *x)
{
    static const uint8_t hdr[NET_HDR];

    norm_net_open(x, "", 0, true);
    norm_net_start(x, 0);
    GBytes *out = norm_net_send(x, hdr, LEN);
    size_t n;
    const uint8_t *p;

    g_assert_nonnull(out);
    p = g_bytes_get_data(out, &n);
    g_assert_cmpuint(n, ==, NET_HDR + LEN);
    for (size_t i = NET_HDR; i < n; i++) {
        g_assert_cmpuint(p[i], ==, 'p');
    }
    norm_net_close(x);
}

static void txt_tx_2(Norm *x)
{
    NORM("TXT-NET-TX-2");
    whole_out(x);
}

static void tx_4(Norm *x)
{
    NORM("NET-TX-4");
    whole_out(x);
}

static void tx_9(Norm *x)
{
    NORM("NET-TX-9");
    whole_out(x);
}

static void tx_12(Norm *x)
{
    NORM("NET-TX-12");
    whole_out(x);
}

/* A UDP packet whose checksum is that of the pseudo header, and a header that says so. */
static void make(uint8_t *hdr, uint8_t *f)
{
    memset(hdr, 0, NET_HDR);
    hdr[0] = NEEDS;
    hdr[6] = UDP;
    hdr[8] = SUM;
    memset(f, 'f', LEN);
    memcpy(f, (const uint8_t[6]){ 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc }, 6);
    f[12] = 8;
    f[13] = 0;
    f[IP] = 0x45;
    f[IP + 9] = 17;
    net_put_be16(f + UDP + 4, LEN - UDP);
    net_put_be16(f + UDP + SUM, net_fold(net_sum(17 + LEN - UDP, f + IP + 12, 8)));
}

/* The packet as the driver finds it: header, frame. */
static void arrives(Norm *x, const uint8_t *hdr, const uint8_t *f, uint8_t *ret)
{
    uint32_t id, len;

    norm_net_give(x, 1, 2000);
    g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_SENT);
    g_assert_true(vring_used(&x->d.ring[NET_RX], &id, &len));
    g_assert_cmpuint(len, ==, NET_HDR + LEN);
    x->b->port.read(x->b, x->page, ret, len);
}

static void opened(Norm *x, uint8_t *hdr, uint8_t *f)
{
    make(hdr, f);
    norm_net_open(x, "", 0, true);
    norm_net_start(x, 0);
}

static void never(const char *what)
{
    norm_note("%s: never", what);
}

static void txt_rx_1(Norm *x)
{
    NORM("TXT-NET-RX-1");
    norm_net_open(x, "", 0, true);
    g_assert_cmphex(vd_read(&x->d, 0, 4), ==, 0); /* no feature above 63 is offered by default */
    never("outer_nh_offset");
    norm_net_close(x);
}

static void txt_rx_3(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN], got[NET_HDR + LEN];

    NORM("TXT-NET-RX-3");
    opened(x, hdr, f);
    arrives(x, hdr, f, got);
    g_assert_cmphex(got[1] & (TUNNEL4 | TUNNEL6), ==, 0);
    never("packets in UDP tunnels");
    norm_net_close(x);
}

static void whole_in(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN], got[NET_HDR + LEN];

    opened(x, hdr, f);
    arrives(x, hdr, f, got);
    g_assert_cmpmem(got + NET_HDR, LEN, f, LEN);
    norm_net_close(x);
}

static void rx_13(Norm *x)
{
    NORM("NET-RX-13");
    whole_in(x);
    never("outer_nh_offset");
}

static void rx_14(Norm *x)
{
    NORM("NET-RX-14");
    whole_in(x);
}

/* A checksum that cannot be where the header says is not one that was looked at. */
static void rx_15(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN];
    uint32_t id, len;

    NORM("NET-RX-15");
    opened(x, hdr, f);
    norm_net_give(x, 1, 2000);
    hdr[8] = LEN - UDP - 1; /* its second byte is behind the packet */
    g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_DROPPED);
    g_assert_false(vring_used(&x->d.ring[NET_RX], &id, &len));
    norm_net_close(x);
}

static void rx_16(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN], got[NET_HDR + LEN];

    NORM("NET-RX-16");
    opened(x, hdr, f);
    arrives(x, hdr, f, got);
    g_assert_cmphex(got[0], ==, NEEDS);
    g_assert_cmphex(
        net_be16(got + NET_HDR + UDP + SUM), ==, net_fold(net_sum(17 + LEN - UDP, f + IP + 12, 8)));
    norm_net_close(x);
}

/* What the driver does with the two numbers makes a right packet; others do not come. */
static void rx_17(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN], got[NET_HDR + LEN], *p = got + NET_HDR;

    NORM("NET-RX-17");
    opened(x, hdr, f);
    arrives(x, hdr, f, got);
    g_assert_true(net_csum_complete(p, LEN, got[6] | got[7] << 8, got[8] | got[9] << 8));
    g_assert_cmphex(
        net_fold(net_sum(net_sum(17 + LEN - UDP, p + IP + 12, 8), p + UDP, LEN - UDP)), ==, 0xffff);
    hdr[7] = 0xff;
    g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_DROPPED);
    norm_net_close(x);
}

static void no_tunnel(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN];

    opened(x, hdr, f);
    norm_net_give(x, 1, 2000);
    hdr[4] = 100; /* gso_size */
    for (unsigned i = 0; i < 4; i++) {
        hdr[1] = (uint8_t)((i & 1 ? TUNNEL4 : TUNNEL6) | (i & 2 ? 4 : 1));
        hdr[0] = NEEDS | 2;
        g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_DROPPED);
    }
    g_assert_cmpuint(norm_net_used(x, NET_RX), ==, 0);
    norm_net_close(x);
}

static void rx_19(Norm *x)
{
    NORM("NET-RX-19");
    no_tunnel(x);
}

static void rx_26(Norm *x)
{
    NORM("NET-RX-26");
    no_tunnel(x);
}

/* The device looks at no checksum itself: it says nothing that its back end did not say. */
static void rx_25(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN], got[NET_HDR + LEN];

    NORM("NET-RX-25");
    opened(x, hdr, f);
    memset(hdr, 0, sizeof hdr);
    arrives(x, hdr, f, got);
    g_assert_cmphex(got[0], ==, 0);
    norm_net_close(x);
}

/* A TCP segment behind others of its flow, and DATA_VALID. */
static void make_segment(uint8_t *hdr, uint8_t *f, uint32_t seq, uint8_t flags, size_t body)
{
    make(hdr, f);
    memset(hdr, 0, NET_HDR);
    hdr[0] = 2;
    memset(f + IP + 1, 0, TCP_BODY - IP - 1);
    net_put_be16(f + IP + 2, (uint32_t)(TCP_BODY - IP + body));
    f[IP + 6] = 0x40;
    f[IP + 9] = 6;
    net_put_be16(f + IP + 10, (uint16_t)~net_fold(net_sum(0, f + IP, 20)));
    net_put_be16(f + TCP + 6, seq);
    f[TCP + 12] = 5 << 4;
    f[TCP + 13] = flags;
}

/* Three segments that the device makes one of, and an acknowledgement that came twice; then one
 * that its back end had made. */
static void rx_22(Norm *x)
{
    enum { ACK = 0x10, BODY = LEN - TCP_BODY };
    uint8_t hdr[NET_HDR], f[LEN], got[NET_HDR + TCP_BODY];
    uint32_t len;

    NORM("NET-RX-22");
    norm_net_open(x, ", 'guest_rsc_ext': true", 0, true);
    norm_net_start(x, 0);
    norm_net_give(x, 4, 4000);
    for (unsigned i = 0; i < 3; i++) {
        make_segment(hdr, f, i * BODY, ACK, BODY);
        g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_SENT);
    }
    make_segment(hdr, f, 3 * BODY, ACK, 0);
    g_assert_cmpint(norm_net_with(x, 0, hdr, f, TCP_BODY), ==, NET_SENT);
    make_segment(hdr, f, 3 * BODY, ACK, BODY); /* ends what came before it */
    g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_SENT);
    len = norm_net_arrived(x, got);
    g_assert_cmpuint(len, ==, NET_HDR + TCP_BODY + 3 * BODY);
    g_assert_cmphex(got[0], ==, NEEDS | RSC_INFO);
    g_assert_cmphex(got[1], ==, 1);
    g_assert_cmpuint(got[4] | got[5] << 8, ==, BODY);
    g_assert_cmpuint(got[6] | got[7] << 8, ==, 3);
    g_assert_cmpuint(got[8] | got[9] << 8, ==, 1);
    make_segment(hdr, f, 4 * BODY, ACK, BODY);
    hdr[0] = NEEDS;
    hdr[1] = 1;
    hdr[4] = (BODY + 4) / 5;
    hdr[6] = TCP;
    hdr[8] = 16;
    g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_SENT);
    g_assert_cmpuint(norm_net_arrived(x, got), ==, NET_HDR + LEN); /* the one that ended them */
    g_assert_cmphex(got[0] & RSC_INFO, ==, 0);
    g_assert_cmpuint(norm_net_arrived(x, got), ==, NET_HDR + LEN);
    g_assert_cmphex(got[0], ==, NEEDS | RSC_INFO);
    g_assert_cmpuint(got[6] | got[7] << 8, ==, 5);
    g_assert_cmpuint(got[8] | got[9] << 8, ==, 0);
    norm_net_close(x);
}

/* A large packet in a tunnel at the driver; outer: the UDP header's checksum. Its header's flags.
 */
static uint8_t tunnelled(Norm *x, uint8_t flags, uint16_t outer)
{
    enum { LONG = 24, INNER_IP = 64, INNER_TCP = 84 };
    uint8_t hdr[LONG] = { NEEDS | flags, 1 | TUNNEL4, 0, 0, 50 }, f[LEN], got[LONG + LEN];
    uint32_t id, len;

    make(got, f);
    net_put_be16(f + UDP + SUM, outer);
    hdr[6] = INNER_TCP;
    hdr[8] = 16;
    hdr[20] = UDP;
    hdr[22] = INNER_IP;
    norm_net_open(
        x, ", 'x-guest_tunnel': true, 'x-guest_tunnel_csum': true, 'x-host_tunnel': true", 0, true);
    x->d.features_more = 1 << 1 | 1 << 2; /* GUEST_UDP_TUNNEL_GSO, ..._CSUM */
    norm_net_start(x, 0);
    norm_net_give(x, 1, 2000);
    g_assert_cmpint(norm_net_with(x, 0, hdr, f, LEN), ==, NET_SENT);
    g_assert_true(vring_used(&x->d.ring[NET_RX], &id, &len));
    g_assert_cmpuint(len, ==, LONG + LEN);
    x->b->port.read(x->b, x->page, got, len);
    g_assert_cmphex(got[1], ==, 1 | TUNNEL4);
    g_assert_cmpmem(got + 20, 4, hdr + 20, 4);
    g_assert_cmphex(net_be16(got + LONG + UDP + SUM), ==, outer);
    norm_net_close(x);
    return got[0];
}

static void rx_27(Norm *x)
{
    uint8_t hdr[NET_HDR], f[LEN];

    NORM("NET-RX-27");
    make(hdr, f);
    g_assert_cmphex(tunnelled(x, OUTER_CSUM, net_be16(f + UDP + SUM)), ==, NEEDS | OUTER_CSUM);
}

static void rx_28(Norm *x)
{
    NORM("NET-RX-28");
    g_assert_cmphex(tunnelled(x, 0, 0), ==, NEEDS);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "TXT-NET-TX-2", txt_tx_2, NORM_BARE, NULL },
        { "NET-TX-4", tx_4, NORM_BARE, NULL },
        { "NET-TX-9", tx_9, NORM_BARE, NULL },
        { "NET-TX-12", tx_12, NORM_BARE, NULL },
        { "TXT-NET-RX-1", txt_rx_1, NORM_BARE, NULL },
        { "TXT-NET-RX-3", txt_rx_3, NORM_BARE, NULL },
        { "NET-RX-13", rx_13, NORM_BARE, NULL },
        { "NET-RX-14", rx_14, NORM_BARE, NULL },
        { "NET-RX-15", rx_15, NORM_BARE, NULL },
        { "NET-RX-16", rx_16, NORM_BARE, NULL },
        { "NET-RX-17", rx_17, NORM_BARE, NULL },
        { "NET-RX-19", rx_19, NORM_BARE, NULL },
        { "NET-RX-22", rx_22, NORM_BARE, NULL },
        { "NET-RX-25", rx_25, NORM_BARE, NULL },
        { "NET-RX-26", rx_26, NORM_BARE, NULL },
        { "NET-RX-27", rx_27, NORM_BARE, NULL },
        { "NET-RX-28", rx_28, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
