/* hw/virtio/virtio-net-coal.c: what gathers on transmit queues, over a batch, in time, and when the
 * machine stops (VIRTIO 1.4, 5.1.9.5.10). Receive queues and the commands: test-norm-net-mq. */
#include "net/net.h"
#include "tests/unit/vdev.h"
#include "util/timer.h"

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum { RX, TX, CTRL, TX_SET = 0, RX_SET = 1, F_EVENT_IDX = 29, F_PACKED = 34 };

typedef struct Fix {
    VDev v;
    NetPort wire;
    uint64_t p;
} Fix;

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    return NET_SENT;
}

static const NetPortOps wire_ops = { .receive = wire_receive };
static const NetBackend wire_backend = { .type = "wire" };

/* without: features that the driver does not take. */
static void up(Fix *x, const void *without)
{
    net_port_init(&x->wire, &wire_ops, "wire", "w");
    x->wire.backend = &wire_backend;
    vdev_open(&x->v,
        "{'driver': 'virtio-net-pci', 'addr': '4', 'netdev': 'w', 'romfile': '', 'packed': true,"
        " 'x-notf-coal': true, 'x-vq-notf-coal': true}",
        false);
    x->p = vd_page(&x->v.d, 1 << 16);
    vd_enable_msix(&x->v.d);
    vd_start(&x->v.d, *(const uint64_t *)without);
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    net_port_fini(&x->wire);
}

static void set(Fix *x, uint8_t which, uint32_t packets, uint32_t usecs)
{
    const uint32_t data[2] = { packets, usecs };
    const VBuf b[] = { { x->p, 2, false }, { x->p + 8, 8, false }, { x->p + 16, 1, true } };
    uint8_t head[2] = { 6, which }, ack = 9;

    vdev_put(&x->v, b[0].at, head, 2);
    vdev_put(&x->v, b[1].at, data, 8);
    g_assert_cmpuint(vdev_do(&x->v, CTRL, b, 3, 0), ==, 1);
    vdev_get(&x->v, b[2].at, &ack, 1);
    g_assert_cmpuint(ack, ==, 0);
}

/* So many packets with one kick, all sent; whether the driver was told. */
static bool send(Fix *x, unsigned n)
{
    const VBuf b = { x->p + 0x100, 12 + 60, false };
    uint32_t id, len;
    unsigned used = 0;

    vd_msi(&x->v.d, 1 + TX);
    for (unsigned i = 0; i < n; i++) {
        vring_add(&x->v.d.ring[TX], &b, 1, 0);
    }
    vd_kick(&x->v.d, TX);
    board_run(x->v.b);
    while (vring_used(&x->v.d.ring[TX], &id, &len)) {
        used++;
    }
    g_assert_cmpuint(used, ==, n);
    return vd_msi(&x->v.d, 1 + TX);
}

static bool told_after(Fix *x, unsigned usecs)
{
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)usecs * 1000);
    board_run(x->v.b);
    return vd_msi(&x->v.d, 1 + TX);
}

/* Packets count, not batches. */
static void test_transmit(Fix *x, const void *unused)
{
    g_assert_true(send(x, 1));
    set(x, TX_SET, 8, 100);
    g_assert_false(send(x, 7));
    g_assert_true(send(x, 1));
    g_assert_true(send(x, 20)); /* more than asked for, at once */
    g_assert_false(send(x, 3));
    g_assert_false(told_after(x, 60));
    g_assert_false(send(x, 3)); /* the time began with the first */
    g_assert_false(told_after(x, 39));
    g_assert_true(told_after(x, 1));
    g_assert_false(told_after(x, 1000)); /* once */
    set(x, RX_SET, 1, 1);                /* the other direction's numbers */
    g_assert_false(send(x, 7));
    set(x, TX_SET, 0, 0); /* what has gathered is told, and from now on every packet */
    g_assert_true(vd_msi(&x->v.d, 1 + TX));
    g_assert_true(send(x, 1));
}

/* A machine that stops has told all there is; when it goes on, the numbers are still those. */
static void test_stop(Fix *x, const void *unused)
{
    VirtioDev *d = ((VirtioPci *)x->v.dev)->vd;

    set(x, TX_SET, 8, 100);
    g_assert_false(send(x, 5));
    virtio_run_changed(d, false);
    board_run(x->v.b);
    g_assert_true(vd_msi(&x->v.d, 1 + TX));
    g_assert_false(told_after(x, 1000));
    virtio_run_changed(d, true);
    board_run(x->v.b);
    g_assert_false(send(x, 7));
    g_assert_true(told_after(x, 100));
}

int main(int argc, char **argv)
{
    static const uint64_t split[] = { 1ull << F_PACKED | 1ull << F_EVENT_IDX },
                          packed[] = { 1ull << F_EVENT_IDX };

    g_test_init(&argc, &argv, NULL);
    clock_virtual_use_qtest();
    g_test_add("/virtio-net-coal/transmit/split", Fix, split, up, test_transmit, down);
    g_test_add("/virtio-net-coal/transmit/packed", Fix, packed, up, test_transmit, down);
    g_test_add("/virtio-net-coal/stop/split", Fix, split, up, test_stop, down);
    g_test_add("/virtio-net-coal/stop/packed", Fix, packed, up, test_stop, down);
    return g_test_run();
}
