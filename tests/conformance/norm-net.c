/* A network device with a back end that the test holds the other end of. */
#include "tests/conformance/norm-net.h"

#include <stdio.h>

enum { COMMAND = 0x9000, SENT = 0xa000, FRAME_MAX = 20000 };

static struct {
    NetPort port, more[NET_PAIRS - 1];
    NetPort *queue[NET_PAIRS - 1];
    unsigned pairs;
    GPtrArray *sent;
    uint64_t asked;
} wire;

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    g_autoptr(GByteArray) b = g_byte_array_new();

    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(b, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    g_assert_cmpuint(b->len, ==, len);
    g_ptr_array_add(wire.sent, g_byte_array_free_to_bytes(g_steal_pointer(&b)));
    return NET_SENT;
}

static uint64_t wire_offloads(NetPort *p)
{
    return p->vnet_hdr_len ? 0x1ff : 0;
}

static bool wire_set_offload(NetPort *p, uint64_t offloads, uint32_t vnet_hdr_len)
{
    wire.asked = offloads;
    p->vnet_hdr_len = vnet_hdr_len;
    return true;
}

static void wire_close(NetPort *p) {}

static const NetPortOps wire_ops = { .receive = wire_receive };
static const NetBackend wire_backend = {
    .type = "wire",
    .close = wire_close,
    .offloads = wire_offloads,
    .set_offload = wire_set_offload,
};

void norm_net_open(Norm *x, const char *opts, unsigned how, bool offloads)
{
    g_autofree char *all = g_strdup_printf(", 'mac': '" NET_ME "', 'netdev': 'wire'%s", opts);

    wire.sent = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    wire.asked = 0;
    net_port_init(&wire.port, &wire_ops, "wire", "wire");
    wire.port.backend = &wire_backend;
    wire.port.vnet_hdr_len = offloads ? 10 : 0;
    wire.port.queue = wire.queue;
    wire.port.nqueues = wire.pairs;
    for (unsigned i = 1; i < wire.pairs; i++) {
        net_port_init(&wire.more[i - 1], &wire_ops, "wire", "wire");
        wire.more[i - 1].backend = &wire_backend;
        wire.more[i - 1].vnet_hdr_len = wire.port.vnet_hdr_len;
        wire.more[i - 1].index = i;
        wire.queue[i - 1] = &wire.more[i - 1];
    }
    norm_open(x, "virtio-net-pci", all, how);
}

void norm_net_open_pairs(Norm *x, const char *opts, unsigned how)
{
    wire.pairs = NET_PAIRS;
    norm_net_open(x, opts, how, /* offloads= */ true);
}

void norm_net_close(Norm *x)
{
    for (unsigned i = 1; i < wire.pairs; i++) {
        net_port_fini(&wire.more[i - 1]);
    }
    net_port_fini(&wire.port);
    wire.pairs = 0;
    norm_close(x);
    x->b = NULL;
    g_ptr_array_free(wire.sent, TRUE);
}

void norm_net_start(Norm *x, uint64_t without)
{
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d) & ~without));
    for (unsigned q = 0; q <= (wire.pairs ? wire.pairs * 2 : NET_CTRL); q++) {
        vd_setup_queue(&x->d, q, 0);
    }
    vd_driver_ok(&x->d);
    board_run(x->b);
}

void norm_net_give_to(Norm *x, unsigned pair, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const VBuf b = { x->page + 0x1000, 2000, true };

        vring_add(&x->d.ring[pair * 2], &b, 1, 0);
    }
    vd_kick(&x->d, pair * 2);
    board_run(x->b);
}

NetVerdict norm_net_from(Norm *x, unsigned pair, const uint8_t *frame, size_t len)
{
    const uint8_t none[NET_HDR] = { 0 };

    return norm_net_with(x, pair, none, frame, len);
}

NetVerdict norm_net_with(
    Norm *x, unsigned pair, const uint8_t *hdr, const uint8_t *frame, size_t len)
{
    NetPort *p = pair ? &wire.more[pair - 1] : &wire.port;
    const struct iovec v[2] = { { (void *)(uintptr_t)hdr, p->vnet_hdr_len },
        { (void *)(uintptr_t)frame, len } };
    NetVerdict r = net_send(p, v, 2, p->vnet_hdr_len + len);

    board_run(x->b);
    return r;
}

unsigned norm_net_used(Norm *x, unsigned queue)
{
    uint32_t id, len;
    unsigned n = 0;

    while (vring_used(&x->d.ring[queue], &id, &len)) {
        n++;
    }
    return n;
}

void norm_net_reset_queue(Norm *x, unsigned queue, bool again)
{
    vd_write(&x->d, 0x16, 2, queue); /* queue_select, then queue_reset: VIRTIO 1.4, 4.1.4.3 */
    vd_write(&x->d, 0x3a, 2, 1);
    board_run(x->b);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
    if (again) {
        vd_setup_queue(&x->d, queue, 0);
        board_run(x->b);
    }
}

void norm_net_give(Norm *x, unsigned n, uint32_t len)
{
    g_assert_cmpuint(n, <=, NET_ROOM);
    for (unsigned i = 0; i < n; i++) {
        const VBuf b = { x->page + 0x1000 * i, len, true };

        norm_fill(x, b.at, 0xee, MIN(len, 0x1000));
        vring_add(&x->d.ring[NET_RX], &b, 1, 0);
    }
    vd_kick(&x->d, NET_RX);
    board_run(x->b);
}

static NetVerdict send_to(Norm *x, uint8_t *frame, const char *dst, size_t len, const uint8_t *hdr)
{
    static const uint8_t none[NET_HDR];
    size_t have = wire.port.vnet_hdr_len;
    struct iovec v[3] = { { (void *)(uintptr_t)(hdr ? hdr : none), have }, { frame, 9 },
        { frame + 9, len - 9 } };
    unsigned m[6];
    NetVerdict r;

    g_assert_cmpint(
        sscanf(dst, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]), ==, 6);
    for (unsigned i = 0; i < 6; i++) {
        frame[i] = (uint8_t)m[i];
    }
    r = net_send(&wire.port, have ? v : v + 1, have ? 3 : 2, have + len);
    board_run(x->b);
    return r;
}

NetVerdict norm_net_frame(Norm *x, const char *dst, uint16_t type, size_t len, const uint8_t *hdr)
{
    g_autofree uint8_t *f = g_malloc(FRAME_MAX);

    g_assert_cmpuint(len, <=, FRAME_MAX);
    memset(f, 'f', FRAME_MAX);
    f[12] = (uint8_t)(type >> 8);
    f[13] = (uint8_t)type;
    return send_to(x, f, dst, len, hdr);
}

NetVerdict norm_net_vlan(Norm *x, const char *dst, uint16_t id)
{
    uint8_t f[60] = { [12] = 0x81, 0x00, (uint8_t)(id >> 8 | 0x20), (uint8_t)id }; /* priority 1 */

    return send_to(x, f, dst, sizeof f, NULL);
}

uint32_t norm_net_arrived(Norm *x, uint8_t *hdr)
{
    uint32_t id, len;

    if (!vring_used(&x->d.ring[NET_RX], &id, &len)) {
        return 0;
    }
    if (hdr) {
        x->b->port.read(x->b, x->page + 0x1000 * (id % NET_ROOM), hdr, NET_HDR);
    }
    return len;
}

bool norm_net_takes(Norm *x, const char *dst)
{
    norm_net_give(x, 1, 2000);
    NetVerdict r = norm_net_frame(x, dst, 0x0800, 60, NULL);
    uint32_t len = norm_net_arrived(x, NULL);

    g_assert_cmpint(len != 0, ==, r == NET_SENT);
    return len;
}

GBytes *norm_net_send(Norm *x, const uint8_t *hdr, size_t len)
{
    const VBuf b[] = { { x->page + SENT, 12, false },
        { x->page + SENT + 64, (uint32_t)len, false } };
    uint32_t id, used;

    x->b->port.write(x->b, b[0].at, hdr, 12);
    norm_fill(x, b[1].at, 'p', len);
    g_ptr_array_set_size(wire.sent, 0);
    vring_add(&x->d.ring[NET_TX], b, 2, 0);
    vd_kick(&x->d, NET_TX);
    vd_wait_used(&x->d, NET_TX, &id, &used);
    g_assert_cmpuint(used, ==, 0);
    g_assert_cmpuint(wire.sent->len, <=, 1);
    return wire.sent->len ? wire.sent->pdata[0] : NULL;
}

uint64_t norm_net_asked(void)
{
    return wire.asked;
}

uint8_t norm_net_command(Norm *x, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
    uint64_t at = x->page + COMMAND;
    const VBuf b[] = { { at, 2, false }, { at + 0x100, len, false }, { at + 0x10, 1, true } };
    const VBuf bare[] = { b[0], b[2] };
    const uint8_t head[2] = { class, cmd };
    unsigned q = wire.pairs ? wire.pairs * 2 : NET_CTRL;
    uint32_t id, used;
    uint8_t ack = 0xee;

    x->b->port.write(x->b, b[0].at, head, 2);
    if (len) {
        x->b->port.write(x->b, b[1].at, data, len);
    }
    x->b->port.write(x->b, b[2].at, &ack, 1);
    vring_add(&x->d.ring[q], len ? b : bare, len ? 3 : 2, 0);
    vd_kick(&x->d, q);
    vd_wait_used(&x->d, q, &id, &used);
    x->b->port.read(x->b, b[2].at, &ack, 1);
    return ack;
}
