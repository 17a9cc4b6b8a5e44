/* Frames for the feature table: both ways with the header's fields, and the control queue (VIRTIO
 * 1.4, 5.1). The other end is a port of our own that takes and gives the virtio-net header. */
#include "net/csum.h"
#include "net/net.h"
#include "tests/features/feat.h"

#include <string.h>

enum { RX, TX, CTRL };
enum {
    CSUM = 0,
    GUEST_CSUM = 1,
    GUEST_OFFLOADS = 2,
    MTU = 3,
    MAC = 5,
    GSO = 6,
    G_TSO4 = 7,
    G_TSO6 = 8,
    G_ECN = 9,
    G_UFO = 10,
    H_TSO4 = 11,
    H_TSO6 = 12,
    H_ECN = 13,
    H_UFO = 14,
    MRG_RXBUF = 15,
    STATUS = 16,
    CTRL_VQ = 17,
    CTRL_RX = 18,
    CTRL_VLAN = 19,
    RX_EXTRA = 20,
    ANNOUNCE = 21,
    MQ = 22,
    MAC_ADDR = 23,
    VQ_COAL = 52,
    COAL = 53,
    G_USO4 = 54,
    G_USO6 = 55,
    H_USO = 56,
    HASH = 57,
    RSS = 60,
    RSC = 61,
    SPEED = 63,
    G_TUNNEL = 65,
    G_TUNNEL_CSUM = 66,
    H_TUNNEL = 67,
    H_TUNNEL_CSUM = 68
};

enum { NEEDS_CSUM = 1, DATA_VALID = 2, RSC_INFO = 4, OUTER_CSUM = 8 };
enum { IP_AT = 14, TCP_AT = 34, SEGMENT = 500 };
enum { OFFLOAD_TUNNEL = 46 }; /* bits 65 and 66 in the command: 5.1.9.5.9.1 */

const FeatBit feat_net_bits[] = {
    { CSUM, ALONE, "a frame with NEEDS_CSUM arrives with its header" },
    { GUEST_CSUM, ALONE, "a frame with NEEDS_CSUM is received with its header" },
    { GUEST_OFFLOADS, NEEDS(CTRL_VQ), "the command reaches the back end" },
    { MTU, ALONE, "configuration; a longer frame does not come" },
    { MAC, ALONE, "configuration" },
    { GSO, NEEDS(CSUM), "legacy: any gso_type sent, with ECN, too" },
    { G_TSO4, NEEDS(GUEST_CSUM), "gso_type 1 received" },
    { G_TSO6, NEEDS(GUEST_CSUM), "gso_type 4 received" },
    { G_ECN, { G_TSO4, G_TSO6 }, "gso_type with ECN received" },
    { G_UFO, NEEDS(GUEST_CSUM), "gso_type 3 received" },
    { H_TSO4, NEEDS(CSUM), "gso_type 1 sent" },
    { H_TSO6, NEEDS(CSUM), "gso_type 4 sent" },
    { H_ECN, { H_TSO4, H_TSO6 }, "gso_type with ECN sent" },
    { H_UFO, NEEDS(CSUM), "gso_type 3 sent" },
    { MRG_RXBUF, ALONE, "a frame over two buffers" },
    { STATUS, ALONE, "configuration, and a change with its interrupt" },
    { CTRL_VQ, ALONE, "an unknown command is answered" },
    { CTRL_RX, NEEDS(CTRL_VQ), "promiscuous off keeps a stranger's frame away" },
    { CTRL_VLAN, NEEDS(CTRL_VQ), "only VLANs that were added pass, without promiscuous mode" },
    { RX_EXTRA, NEEDS(CTRL_VQ), "no broadcast, no broadcast" },
    { ANNOUNCE, NEEDS(CTRL_VQ), "the acknowledgement is answered" },
    { MQ, NEEDS(CTRL_VQ), "one pair is set, two are refused" },
    { MAC_ADDR, NEEDS(CTRL_VQ), "frames for the new address arrive" },
    { VQ_COAL, NEEDS(CTRL_VQ), "a queue's numbers are set and read; frames come" },
    { COAL, NEEDS(CTRL_VQ), "all queues' numbers are set; frames come" },
    { G_USO4, NEEDS(GUEST_CSUM), "gso_type 5 received" },
    { G_USO6, NEEDS(GUEST_CSUM), "gso_type 5 received" },
    { H_USO, NEEDS(CSUM), "gso_type 5 sent" },
    { HASH, NEEDS(CTRL_VQ), "a frame's hash stands in its header" },
    { RSS, NEEDS(CTRL_VQ), "a table is set, wrong ones are refused; frames come" },
    { RSC, { H_TSO4, H_TSO6 }, "with GUEST_TSO4: two segments come as one, and are counted" },
    { SPEED, ALONE, "configuration" },
    { G_TUNNEL, NEEDS(G_TSO4), "packets in tunnels received, with their offsets" },
    { G_TUNNEL, NEEDS(G_TSO6), NULL },
    { G_TUNNEL, NEEDS(G_USO4), NULL },
    { G_TUNNEL, NEEDS(G_USO6), NULL },
    { G_TUNNEL_CSUM, NEEDS(G_TUNNEL), "the outer checksum's flag received; else no such packet" },
    { H_TUNNEL, NEEDS(H_TSO4), "packets in tunnels sent, with their offsets" },
    { H_TUNNEL, NEEDS(H_TSO6), NULL },
    { H_TUNNEL, NEEDS(H_USO), NULL },
    { H_TUNNEL_CSUM, NEEDS(H_TUNNEL), "the outer checksum's flag sent; else it is ignored" },
    { NONE, ALONE, NULL },
};

/* VIRTIO 1.4, 5.1.9; of it as much as was negotiated. */
typedef struct Header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
    uint32_t hash_value;
    uint16_t hash_report, padding, outer_th_offset, inner_nh_offset;
} Header;
_Static_assert(sizeof(Header) == 24, "VIRTIO 1.4, 5.1.9");
enum { HEADER_V1 = 12, HEADER_HASH = 20 };

static struct {
    NetPort *port; /* the back end that the device is given */
    const NetBackend *was_backend;
    const NetPortOps *was_ops;
    GByteArray *sent; /* the last frame of the guest, header first */
    unsigned nsent;
    uint64_t offloads;
} wire;

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    g_byte_array_set_size(wire.sent, 0);
    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(wire.sent, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    g_assert_cmpuint(wire.sent->len, ==, len);
    wire.nsent++;
    return NET_SENT;
}

static uint64_t wire_offloads(NetPort *p)
{
    return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
           NET_OFFLOAD_UFO | NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6 | NET_OFFLOAD_TUNNEL |
           NET_OFFLOAD_TUNNEL_CSUM;
}

static bool wire_set_offload(NetPort *p, uint64_t offloads, uint32_t vnet_hdr_len)
{
    wire.offloads = offloads;
    p->vnet_hdr_len = vnet_hdr_len;
    return true;
}

static const NetPortOps wire_ops = { .receive = wire_receive };
static const NetBackend wire_backend = {
    .type = "wire", .offloads = wire_offloads, .set_offload = wire_set_offload
};

/* A hub port by name, then a wire in its place. */
void feat_net_up(Feat *x)
{
    g_autoptr(Json) args = json_parse("{'type': 'hubport', 'hubid': 0, 'id': 'n0'}", -1, NULL);

    wire.port = net_backend_create(args, NULL);
    g_assert_nonnull(wire.port);
    wire.was_backend = wire.port->backend;
    wire.was_ops = wire.port->ops;
    wire.port->backend = &wire_backend;
    wire.port->ops = &wire_ops;
    wire.port->vnet_hdr_len = HEADER_V1;
    wire.sent = g_byte_array_new();
    wire.nsent = 0;
}

void feat_net_down(Feat *x)
{
    wire.port->backend = wire.was_backend;
    wire.port->ops = wire.was_ops;
    net_backend_delete("n0", NULL);
    g_byte_array_free(wire.sent, TRUE);
}

static unsigned header_len(const Feat *x)
{
    return feat_has(x, H_TUNNEL) || feat_has(x, G_TUNNEL) ? sizeof(Header)
           : feat_has(x, HASH)                            ? HEADER_HASH
           : feat_has(x, 32) || feat_has(x, MRG_RXBUF)    ? HEADER_V1
                                                          : HEADER_V1 - 2;
}

/* A frame from the guest, with a header of its choice. */
static void transmit(Feat *x, const Header *h, size_t len, unsigned seed)
{
    unsigned hlen = header_len(x);
    g_autofree uint8_t *f = g_malloc(len);
    unsigned before = wire.nsent;
    const VBuf buf[] = { { x->page, hlen, false }, { x->page + 64, 14, false },
        { x->page + 78, (uint32_t)len - 14, false } };
    uint32_t peer = wire.port->vnet_hdr_len;
    Header got = { 0 };

    feat_pattern(x, f, len, seed);
    feat_put(x, x->page, h, hlen);
    feat_put(x, x->page + 64, f, len);
    g_assert_cmpuint(feat_go(x, TX, buf, 3), ==, 0);
    g_assert_cmpuint(wire.nsent, ==, before + 1);
    g_assert_cmpuint(peer, ==, hlen == HEADER_HASH ? HEADER_V1 : hlen);
    g_assert_cmpuint(wire.sent->len, ==, peer + len);
    memcpy(&got, wire.sent->data, peer);
    g_assert_cmphex(got.flags, ==, h->flags & (feat_has(x, H_TUNNEL_CSUM) ? 0xff : ~OUTER_CSUM));
    g_assert_cmphex(got.gso_type, ==, h->gso_type);
    g_assert_cmphex(got.hdr_len, ==, h->hdr_len);
    g_assert_cmphex(got.outer_th_offset, ==, h->outer_th_offset);
    g_assert_cmphex(got.inner_nh_offset, ==, h->inner_nh_offset);
    g_assert_cmphex(got.gso_size, ==, h->gso_size);
    g_assert_cmphex(got.csum_start, ==, h->csum_start);
    g_assert_cmphex(got.csum_offset, ==, h->csum_offset);
    g_assert_cmpmem(wire.sent->data + peer, len, f, len);
}

static void to_us(const Feat *x, uint8_t *f)
{
    for (unsigned i = 0; i < 6; i++) {
        f[i] = (uint8_t)feat_cfg(x, i, 1);
    }
}

static void send_frame(Feat *x, const Header *h, const uint8_t *f, size_t len)
{
    uint32_t hlen = wire.port->vnet_hdr_len;
    struct iovec v[2] = { { (void *)(uintptr_t)h, hlen }, { (void *)(uintptr_t)f, len } };

    net_send(wire.port, v, 2, hlen + len);
    board_run(x->b);
}

static uint16_t rx_buffer(Feat *x, unsigned i, uint32_t len)
{
    const VBuf b = { x->page + 0x10000 + i * 0x10000u, len, true };
    uint16_t id =
        vring_add(&x->d.ring[RX], &b, 1, feat_has(x, 28) ? x->page + 0x8000 + i * 64u : 0);

    vd_kick(&x->d, RX);
    board_run(x->b);
    return id;
}

/* A frame to the guest; its bytes and its header. */
static void receive(Feat *x, const Header *h, size_t len, unsigned seed)
{
    unsigned hlen = header_len(x);
    g_autofree uint8_t *f = g_malloc(len), *got = g_malloc(len + hlen);
    uint16_t id = rx_buffer(x, 0, 0x4000);
    Header in = { 0 };

    feat_pattern(x, f, len, seed);
    to_us(x, f);
    f[12] = 0x08;
    send_frame(x, h, f, len);
    g_assert_cmpuint(feat_taken(x, RX, id), ==, hlen + len);
    feat_get(x, x->page + 0x10000, got, hlen + len);
    memcpy(&in, got, hlen);
    g_assert_cmphex(in.flags, ==, h->flags | (feat_has(x, RSC) && h->gso_type ? RSC_INFO : 0));
    g_assert_cmphex(in.gso_type, ==, h->gso_type);
    g_assert_cmphex(in.gso_size, ==, h->gso_size);
    g_assert_cmphex(in.hdr_len, ==, h->hdr_len);
    g_assert_cmphex(in.outer_th_offset, ==, h->outer_th_offset);
    g_assert_cmphex(in.inner_nh_offset, ==, h->inner_nh_offset);
    if (hlen >= 12) {
        g_assert_cmpuint(in.num_buffers, ==, 1);
    }
    g_assert_cmpmem(got + hlen, len, f, len);
}

static bool passes_whole(Feat *x, const uint8_t *f, uint16_t id)
{
    static const Header none;
    uint32_t got_id, len;

    send_frame(x, &none, f, 64);
    if (!vring_used(&x->d.ring[RX], &got_id, &len)) {
        return false;
    }
    g_assert_cmpuint(got_id, ==, id);
    g_assert_cmpuint(len, ==, header_len(x) + 64);
    return true;
}

/* Does a frame with these first bytes come through? The buffer stays for the next one if not. */
static bool passes(Feat *x, const uint8_t *head, uint16_t id)
{
    uint8_t f[64] = { 0 };

    memcpy(f, head, 18);
    return passes_whole(x, f, id);
}

static uint8_t command(Feat *x, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
    const VBuf b[] = { { x->page + 0x4000, 2, false }, { x->page + 0x4010, MAX(len, 1), false },
        { x->page + 0x4100, 1, true } };
    const uint8_t head[2] = { class, cmd };
    uint8_t ack = 0xee;

    feat_put(x, b[0].at, head, 2);
    feat_put(x, b[1].at, data, len);
    g_assert_cmpuint(feat_go(x, CTRL, b, 3), ==, 1);
    feat_get(x, b[2].at, &ack, 1);
    return ack;
}

static void move_rx_filters(Feat *x)
{
    uint8_t off = 0, on = 1, vlan[2] = { 5, 0 }, mine[18] = { 0 };
    const uint8_t stranger[18] = { 0x52, 9, 9, 9, 9, 9, 1, 1, 1, 1, 1, 1, 8 };
    const uint8_t broadcast[18] = { 255, 255, 255, 255, 255, 255, 1, 1, 1, 1, 1, 1, 8 };
    uint16_t id = rx_buffer(x, 1, 0x1000);

    to_us(x, mine);
    if (feat_has(x, CTRL_RX)) {
        g_assert_cmpuint(command(x, 0, 0, &off, 1), ==, 0);
        g_assert_false(passes(x, stranger, id));
        g_assert_cmpuint(command(x, 0, 0, &on, 1), ==, 0);
        g_assert_true(passes(x, stranger, id));
        id = rx_buffer(x, 1, 0x1000);
    }
    if (feat_has(x, RX_EXTRA)) {
        g_assert_cmpuint(command(x, 0, 5, &on, 1), ==, 0); /* NOBCAST */
        if (feat_has(x, CTRL_RX)) {
            g_assert_cmpuint(command(x, 0, 0, &off, 1), ==, 0);
            g_assert_false(passes(x, broadcast, id));
        }
        g_assert_cmpuint(command(x, 0, 5, &off, 1), ==, 0);
        g_assert_true(passes(x, broadcast, id));
        id = rx_buffer(x, 1, 0x1000);
    }
    if (feat_has(x, CTRL_VLAN) && !feat_has(x, CTRL_RX)) { /* promiscuous: all VLANs */
        mine[12] = 0x81;
        g_assert_cmpuint(command(x, 2, 0, vlan, 2), ==, 0);
        g_assert_true(passes(x, mine, id));
    } else if (feat_has(x, CTRL_VLAN)) {
        g_assert_cmpuint(command(x, 0, 0, &off, 1), ==, 0);
        mine[12] = 0x81;
        mine[15] = 5;
        g_assert_cmpuint(command(x, 2, 0, vlan, 2), ==, 0);
        g_assert_true(passes(x, mine, id));
        id = rx_buffer(x, 1, 0x1000);
        mine[15] = 6;
        g_assert_false(passes(x, mine, id));
        g_assert_cmpuint(command(x, 2, 1, vlan, 2), ==, 0);
        mine[15] = 5;
        g_assert_false(passes(x, mine, id));
        mine[12] = 0x08;
        g_assert_true(passes(x, mine, id));
        g_assert_cmpuint(command(x, 0, 0, &on, 1), ==, 0);
    } else {
        mine[12] = 0x08;
        g_assert_true(passes(x, mine, id));
    }
}

/* The key is zero but for its first bit, so that the first bit of the source address decides. */
static void move_hash(Feat *x)
{
    uint8_t config[8 + 2 + 2 + 1 + 40] = { 1 }, f[64] = { 0 };
    bool rss = feat_has(x, RSS);
    uint16_t id, report;
    uint32_t value;

    config[12] = 40;
    config[13] = 0x80;
    if (rss) {
        config[10] = 1; /* max_tx_vq, behind a table of one */
    }
    g_assert_cmpuint(command(x, 4, rss ? 1 : 2, config, sizeof config), ==, 0);
    config[0] = 0;
    config[2] = 1; /* a type that is not there */
    g_assert_cmpuint(command(x, 4, rss ? 1 : 2, config, sizeof config), ==, 1);
    to_us(x, f);
    f[12] = 8;
    f[14] = 0x45;
    f[26] = 0x80;
    id = rx_buffer(x, 1, 0x1000);
    g_assert_true(passes_whole(x, f, id));
    if (feat_has(x, HASH)) {
        feat_get(x, x->page + 0x20000 + 12, &value, 4);
        feat_get(x, x->page + 0x20000 + 16, &report, 2);
        g_assert_cmphex(value, ==, 0x80000000);
        g_assert_cmpuint(report, ==, 1);
    }
    config[2] = 0;
    g_assert_cmpuint(command(x, 4, rss ? 1 : 2, config, sizeof config), ==, 0);
}

/* Notifications by number and time: of every frame, as a driver that polls the ring does not see
 * when it is told. */
static void move_coal(Feat *x)
{
    const uint32_t off[2] = { 0, 0 }, every[2] = { 1, 1000 }, queue[3] = { RX, 1, 1000 };
    const Header none = { 0 };

    for (uint8_t which = 0; which < 2; which++) {
        g_assert_cmpuint(command(x, 6, which, every, 8), ==, !feat_has(x, COAL));
        g_assert_cmpuint(command(x, 6, which, every, 7), ==, 1);
    }
    g_assert_cmpuint(command(x, 6, 2, queue, 12), ==, !feat_has(x, VQ_COAL));
    receive(x, &none, 200, 21);
    transmit(x, &none, 200, 22);
    g_assert_cmpuint(command(x, 6, 1, off, 8), ==, !feat_has(x, COAL));
}

static void move_control(Feat *x)
{
    uint8_t one[8] = { 1 }, mac[18] = { 0x52, 0x54, 0, 1, 2, 3, 1, 1, 1, 1, 1, 1, 8 };
    uint64_t want = 0;

    g_assert_cmpuint(command(x, 99, 0, one, 1), ==, 1); /* VIRTIO_NET_ERR */
    if (feat_has(x, ANNOUNCE)) {
        g_assert_cmpuint(command(x, 3, 0, one, 0), <=, 1);
    }
    if (feat_has(x, MQ)) {
        uint16_t pairs = 1;

        g_assert_cmpuint(feat_cfg(x, 8, 2), >=, 1);
        g_assert_cmpuint(command(x, 4, 0, &pairs, 2), ==, 0);
        pairs = 0;
        g_assert_cmpuint(command(x, 4, 0, &pairs, 2), ==, 1);
    }
    if (feat_has(x, RSS) || feat_has(x, HASH)) {
        move_hash(x);
    }
    if (feat_has(x, COAL) || feat_has(x, VQ_COAL)) {
        move_coal(x);
    }
    if (feat_has(x, GUEST_OFFLOADS)) {
        uint64_t before = wire.offloads;

        g_assert_cmpuint(command(x, 5, 0, &want, 8), ==, 0);
        g_assert_cmphex(wire.offloads, ==, 0);
        want = feat_has(x, GUEST_CSUM) ? 1 << GUEST_CSUM : 0;
        g_assert_cmpuint(command(x, 5, 0, &want, 8), ==, 0);
        g_assert_cmphex(wire.offloads, ==, want ? NET_OFFLOAD_CSUM : 0);
        want = (uint64_t)(x->f & (FEAT(GUEST_CSUM) | (FeatSet)15 << G_TSO4 | (FeatSet)3 << G_USO4));
        want |= (uint64_t)(x->f >> G_TUNNEL & 3) << OFFLOAD_TUNNEL;
        g_assert_cmpuint(command(x, 5, 0, &want, 8), ==, 0);
        g_assert_cmphex(wire.offloads, ==, before);
    }
    if (feat_has(x, MAC_ADDR)) {
        uint8_t old[6];

        to_us(x, old);
        g_assert_cmpuint(command(x, 1, 1, mac, 6), ==, 0);
        uint16_t id = rx_buffer(x, 1, 0x1000);

        g_assert_true(passes(x, mac, id));
        g_assert_cmpuint(command(x, 1, 1, old, 6), ==, 0);
    }
    if (feat_has(x, CTRL_RX) || feat_has(x, RX_EXTRA) || feat_has(x, CTRL_VLAN)) {
        move_rx_filters(x);
    }
}

static void move_merged(Feat *x)
{
    uint8_t f[1000], got[1000];
    uint16_t a = rx_buffer(x, 0, 512), b = rx_buffer(x, 1, 512), n;
    const Header none = { 0 };

    feat_pattern(x, f, sizeof f, 7);
    to_us(x, f);
    f[12] = 8;
    send_frame(x, &none, f, sizeof f);
    if (feat_has(x, 35) && a != b) { /* IN_ORDER: one entry may stand for both (2.7.9) */
        uint32_t id, len;

        g_assert_true(vring_used(&x->d.ring[RX], &id, &len));
        if (id != b) {
            g_assert_cmpuint(id, ==, a);
            g_assert_cmpuint(len, ==, 512);
            feat_taken(x, RX, b);
        }
    } else {
        g_assert_cmpuint(feat_taken(x, RX, a), ==, 512);
        feat_taken(x, RX, b);
    }
    feat_get(x, x->page + 0x10000 + 10, &n, 2);
    g_assert_cmpuint(n, ==, 2);
    unsigned first = 512 - header_len(x);

    feat_get(x, x->page + 0x10000 + header_len(x), got, first);
    feat_get(x, x->page + 0x20000, got + first, (uint32_t)sizeof got - first);
    g_assert_cmpmem(got, sizeof f, f, sizeof f);
}

/* A segment for port 1, its checksum vouched for, or whole. */
static void tcp_segment(Feat *x, uint32_t seq, bool push, uint8_t *f)
{
    const Header h = { .flags = feat_has(x, GUEST_CSUM) ? DATA_VALID : 0 };

    memset(f, 0, TCP_AT + 20);
    to_us(x, f);
    f[12] = 8;
    f[IP_AT] = 0x45;
    net_put_be16(f + IP_AT + 2, SEGMENT - IP_AT);
    f[IP_AT + 6] = 0x40;
    f[IP_AT + 9] = 6;
    net_put_be16(f + IP_AT + 10, (uint16_t)~net_fold(net_sum(0, f + IP_AT, 20)));
    net_put_be16(f + TCP_AT + 6, seq);
    f[TCP_AT + 12] = 5 << 4;
    f[TCP_AT + 13] = push ? 0x18 : 0x10;
    feat_pattern(x, f + TCP_AT + 20, SEGMENT - TCP_AT - 20, seq);
    send_frame(x, &h, f, SEGMENT);
}

/* The second segment ends what the first began: both are one packet, or two. */
static void move_segments(Feat *x)
{
    enum { HEAD = TCP_AT + 20, BODY = SEGMENT - HEAD };
    bool one = feat_has(x, RSC) && feat_has(x, G_TSO4);
    uint8_t f[2][SEGMENT], got[sizeof(Header) + SEGMENT + BODY];
    unsigned hlen = header_len(x);
    uint16_t id = rx_buffer(x, 0, 0x4000), info[2];

    tcp_segment(x, 100, false, f[0]);
    if (!one) {
        g_assert_cmpuint(feat_taken(x, RX, id), ==, hlen + SEGMENT);
        feat_get(x, x->page + 0x10000, got, hlen + SEGMENT);
        g_assert_cmpmem(got + hlen, SEGMENT, f[0], SEGMENT);
        id = rx_buffer(x, 0, 0x4000);
    } else {
        g_assert_true(feat_none(x, RX));
    }
    tcp_segment(x, 100 + BODY, true, f[1]);
    g_assert_cmpuint(feat_taken(x, RX, id), ==, hlen + SEGMENT + (one ? BODY : 0));
    feat_get(x, x->page + 0x10000, got, hlen + SEGMENT + (one ? BODY : 0));
    g_assert_cmpmem(got + hlen + SEGMENT + (one ? 0 : HEAD - SEGMENT), BODY, f[1] + HEAD, BODY);
    g_assert_cmphex(got[0] & RSC_INFO, ==, one ? RSC_INFO : 0);
    memcpy(info, got + 6, sizeof info);
    if (one) {
        g_assert_cmpmem(got + hlen + HEAD, BODY, f[0] + HEAD, BODY);
        g_assert_cmphex(got[1], ==, 1);
        g_assert_cmpuint(info[0], ==, 2);
        g_assert_cmpuint(info[1], ==, 0);
    }
}

static void move_config(Feat *x)
{
    if (feat_has(x, MAC)) {
        g_assert_cmphex(feat_cfg(x, 0, 1), ==, 0x52);
        g_assert_cmphex(feat_cfg(x, 5, 1), ==, 0xcc);
    }
    if (feat_has(x, STATUS)) {
        g_assert_cmphex(feat_cfg(x, 6, 2) & 1, ==, 1);
        net_set_link("n0", false, NULL);
        g_assert_cmphex(feat_cfg(x, 6, 2) & 1, ==, 0);
        g_assert_true(x->d.msix ? vd_msi(&x->d, 0) == 0x4000 : vd_isr(&x->d) & 2);
        net_set_link("n0", true, NULL);
        g_assert_true(x->d.msix ? vd_msi(&x->d, 0) == 0x4000 : vd_isr(&x->d) & 2);
    }
    if (feat_has(x, MTU)) {
        static const Header none;
        static const uint8_t frame[1415] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
        uint16_t id = rx_buffer(x, 0, 0x4000);

        g_assert_cmpuint(feat_cfg(x, 10, 2), ==, 1400);
        send_frame(x, &none, frame, 1415);
        g_assert_true(feat_none(x, RX));
        send_frame(x, &none, frame, 1414);
        g_assert_cmpuint(feat_taken(x, RX, id), ==, header_len(x) + 1414);
    }
    if (feat_has(x, SPEED)) {
        g_assert_cmpuint(feat_cfg(x, 12, 4), ==, 1000);
        g_assert_cmpuint(feat_cfg(x, 16, 1), ==, 1);
    }
}

/* Header fields that a bit allows, in a direction: GSO types of 5.1.6. */
static void move_gso(Feat *x, void (*move)(Feat *x, const Header *h, size_t len, unsigned seed),
    unsigned csum, unsigned tso4, bool uso, bool any)
{
    static const uint8_t type[] = { 1, 4, 0, 3 };
    Header h = { .flags = 1, .hdr_len = 54, .csum_start = 34, .csum_offset = 16 };

    if (!feat_has(x, csum)) {
        return;
    }
    move(x, &h, 200, 3);
    h.gso_size = 536;
    for (unsigned i = 0; i < 4; i++) {
        if ((any || feat_has(x, tso4 + i)) && i != 2) {
            h.gso_type = type[i];
            move(x, &h, 4000, 4 + i);
            if (i < 2 && (any || feat_has(x, tso4 + 2))) {
                h.gso_type |= 0x80;
                move(x, &h, 4000, 8 + i);
            }
        }
    }
    if (uso) {
        h.gso_type = 5;
        move(x, &h, 4000, 12);
    }
}

static const Header tunneled = { .flags = NEEDS_CSUM,
    .hdr_len = 118,
    .gso_size = 536,
    .csum_start = 98,
    .csum_offset = 16,
    .outer_th_offset = 34,
    .inner_nh_offset = 64 };

/* TCP and UDP behind either network header; with the outer checksum's flag, too. */
static void move_tunnels(Feat *x, unsigned tunnel,
    void (*move)(Feat *x, const Header *h, size_t len, unsigned seed), bool csum)
{
    static const uint8_t type[] = { 0x21, 0x41, 0x24, 0x44, 0x25, 0x45 };

    for (unsigned i = 0; feat_has(x, tunnel) && i < G_N_ELEMENTS(type) * 2; i++) {
        Header h = tunneled;

        h.gso_type = type[i / 2];
        h.flags |= i & 1 && csum ? OUTER_CSUM : 0;
        move(x, &h, 4000, 13 + i);
    }
}

/* What was not negotiated does not come (5.1.9.4.1). */
static void no_tunnel(Feat *x)
{
    Header h = tunneled;
    uint8_t f[600] = { 0 };
    uint16_t id = rx_buffer(x, 0, 0x4000);

    to_us(x, f);
    h.gso_type = 0x21;
    h.flags |= feat_has(x, G_TUNNEL) ? OUTER_CSUM : 0;
    send_frame(x, &h, f, sizeof f);
    g_assert_true(feat_none(x, RX));
    f[12] = 8;
    send_frame(x, &(Header){ 0 }, f, 60);
    g_assert_cmpuint(feat_taken(x, RX, id), ==, header_len(x) + 60);
}

void feat_net_move(Feat *x)
{
    const Header none = { 0 };
    size_t most = feat_has(x, MTU) ? 1414 : 1514;

    transmit(x, &none, 60, 1);
    transmit(x, &none, most, 2);
    receive(x, &none, 60, 1);
    receive(x, &none, most, 2);
    move_gso(x, transmit, CSUM, H_TSO4, feat_has(x, H_USO), feat_has(x, GSO));
    move_gso(x, receive, GUEST_CSUM, G_TSO4, feat_has(x, G_USO4) || feat_has(x, G_USO6), false);
    move_tunnels(x, H_TUNNEL, transmit, true);
    move_tunnels(x, G_TUNNEL, receive, feat_has(x, G_TUNNEL_CSUM));
    if (!feat_has(x, G_TUNNEL_CSUM)) {
        no_tunnel(x);
    }
    move_segments(x);
    move_config(x);
    if (feat_has(x, MRG_RXBUF)) {
        move_merged(x);
    }
    if (feat_has(x, CTRL_VQ)) {
        move_control(x);
    }
}
