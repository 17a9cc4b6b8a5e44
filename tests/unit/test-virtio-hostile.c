/* What hostile drivers found in the virtio core: each test is one of their tricks, made small. */
#include "memory/dirty.h"
#include "tests/lib/vdummy.h"
#include "tests/unit/vdev.h"

typedef struct Fix {
    VDev v;
    uint64_t p;
} Fix;

static void up(Fix *x, const void *opts)
{
    g_autofree char *json =
        g_strdup_printf("{'driver': 'dummy-pci', 'addr': '4', 'packed': true, 'in_order': true%s}",
            opts ? (const char *)opts : "");

    vdev_open(&x->v, json, false);
    x->p = vd_page(&x->v.d, 1 << 16);
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
}

static bool works(Fix *x)
{
    const VBuf buf[] = { { x->p, 4, false }, { x->p + 64, 4, true } };
    char got[4];

    vdev_put(&x->v, x->p, "ping", 4);
    vdev_do(&x->v, 0, buf, 2, 0);
    vdev_get(&x->v, x->p + 64, got, 4);
    return !memcmp(got, "ping", 4);
}

/* Taking status bits back is forbidden (2.1.1); with rings enabled it must not change what they
 * are. */
static void test_features_under_rings(Fix *x, const void *unused)
{
    static const unsigned bits[] = { 34, 35, 29, 28 };
    VDriver *d = &x->v.d;

    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        uint64_t f = vd_offered(d) & ~(1ull << 34);

        d->alloc = 0x200000;
        g_assert_true(vd_negotiate(d, f));
        vd_setup_queue(d, 0, 16);
        vd_driver_ok(d);
        g_assert_true(works(x));
        vd_set_status(d, 3);
        f ^= 1ull << bits[i];
        for (unsigned half = 0; half < 2; half++) {
            vd_write(d, 8, 4, half);
            vd_write(d, 0x0c, 4, (uint32_t)(f >> (32 * half)));
        }
        vd_set_status(d, 11);
        g_assert_cmphex(vd_status(d) & 8, ==, 0);
        vd_set_status(d, 0);
        g_assert_cmphex(vd_status(d), ==, 0);
    }
}

/* A legacy driver that finds EVENT_IDX after the ring was mapped without it: the used ring is two
 * bytes longer from then on. */
static void test_legacy_event_late(Fix *x, const void *unused)
{
    VDriver *d = &x->v.d;
    const VPort *p = d->port;
    DirtyLog *log = dirty_log_new(x->v.b->ram.ram); /* which is told of each ring word written */

    d->legacy = true;
    g_assert_true(vd_negotiate(d, 0));
    vd_setup_queue(d, 0, 0);
    vd_driver_ok(d);
    g_assert_true(works(x));
    vd_set_status(d, 3);
    p->store(p->opaque, true, d->bar[0] + 4, 4, 1u << 29);
    vd_driver_ok(d);
    d->features = 1u << 29;
    d->ring[0].event_idx = true;
    g_assert_true(works(x));
    g_assert_cmpuint(
        vport_r16(p, d->ring[0].device + 4 + 8u * d->ring[0].size), ==, d->ring[0].avail);
    vd_set_status(d, 0);
    dirty_log_free(log);
}

/* A used ring over an available ring makes its own work: a bounded part of it a turn. */
static void test_overlapping_rings(Fix *x, const void *unused)
{
    VDriver *d = &x->v.d;
    const Dummy *s = dummy_of(x->v.dev);
    uint64_t at = 0x300000;

    g_assert_true(vd_negotiate(d, vd_offered(d) & ~(1ull << 34 | 1ull << 35 | 1ull << 29)));
    vd_write(d, 0x16, 2, 0);
    vd_write(d, 0x18, 2, 16);
    vd_write(d, 0x20, 4, (uint32_t)at);
    vd_write(d, 0x28, 4, (uint32_t)at + 0x100);
    vd_write(d, 0x30, 4, (uint32_t)at + 0x100); /* used.idx is avail.idx */
    vd_write(d, 0x1c, 2, 1);
    vport_zero(d->port, at, 4096);
    vport_w64(d->port, at, x->p);
    vport_w32(d->port, at + 8, 16);
    vport_w16(d->port, at + 0x102, 8);
    vd_driver_ok(d);
    for (unsigned turn = 0; turn < 50; turn++) {
        unsigned before = s->requests;

        loop_turn(loop_main(), /* block= */ false);
        g_assert_cmpuint(s->requests - before, <=, 256);
    }
    vd_set_status(d, 0);
    board_run(x->v.b); /* and it ends with the reset */
    g_assert_cmphex(vd_status(d), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add(
        "/virtio-hostile/features-under-rings", Fix, NULL, up, test_features_under_rings, down);
    g_test_add("/virtio-hostile/legacy-event-late", Fix, NULL, up, test_legacy_event_late, down);
    g_test_add("/virtio-hostile/overlapping-rings", Fix, NULL, up, test_overlapping_rings, down);
    return g_test_run();
}
