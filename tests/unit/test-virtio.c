/* hw/virtio/virtio.c: status machine, features, configuration space, start and stop. */
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"

#include <string.h>

typedef struct Fix {
    Board *b;
    Dummy *s;
    VDriver d;
} Fix;

static void up(Fix *x, const void *legacy)
{
    x->b = board_new(false);
    x->s = dummy_of(board_add(x->b, "{'driver': 'dummy-pci', 'addr': '4'}"));
    vd_open(&x->d, &x->b->port, 0, 4 << 3, legacy != NULL);
}

static void down(Fix *x, const void *unused)
{
    board_free(x->b);
}

static void test_offered(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_offered(&x->d), ==, 1ull << 28 | 1ull << 29 | 1ull << 32 | 1ull << 40);
}

static void test_offered_legacy(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_offered(&x->d), ==, 0x79000000);
}

static void test_status(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    vd_start(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    g_assert_cmpuint(x->s->starts, ==, 1);
    g_assert_true(virtio_has(&x->s->vd, VIRTIO_F_EVENT_IDX));
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    g_assert_cmpuint(x->s->stops, ==, 1);
    g_assert_cmpuint(x->s->resets, ==, 2); /* the driver began with one */
    g_assert_false(virtio_has(&x->s->vd, VIRTIO_F_EVENT_IDX));
}

static void test_refuses_unoffered(Fix *x, const void *unused)
{
    g_assert_false(vd_negotiate(&x->d, vd_offered(&x->d) | 1));
    g_assert_cmphex(vd_status(&x->d), ==, 3);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
}

static void test_refuses_without_version_1(Fix *x, const void *unused)
{
    g_assert_false(vd_negotiate(&x->d, 1ull << 29));
}

static void test_refuses_high_words(Fix *x, const void *unused)
{
    vd_negotiate(&x->d, 0);
    vd_set_status(&x->d, 0);
    vd_set_status(&x->d, 3);
    vd_write(&x->d, 8, 4, 1);
    vd_write(&x->d, 0xc, 4, 1);
    vd_write(&x->d, 8, 4, 7);
    vd_write(&x->d, 0xc, 4, 1);
    g_assert_cmphex(vd_read(&x->d, 0xc, 4), ==, 0);
    vd_set_status(&x->d, 11);
    g_assert_cmphex(vd_status(&x->d), ==, 3);
}

static void test_features_are_frozen(Fix *x, const void *unused)
{
    g_assert_true(vd_negotiate(&x->d, 1ull << 32));
    vd_write(&x->d, 8, 4, 0);
    vd_write(&x->d, 0xc, 4, 1u << 29);
    vd_driver_ok(&x->d);
    g_assert_false(virtio_has(&x->s->vd, VIRTIO_F_EVENT_IDX));
}

/* VIRTIO 1.4, 3.1.1: nothing is consumed before DRIVER_OK. */
static void test_waits_for_driver_ok(Fix *x, const void *unused)
{
    uint64_t page = vd_page(&x->d, 4096);
    const VBuf buf[] = { { page, 4, false }, { page + 64, 4, true } };
    uint32_t id, len;

    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_setup_queue(&x->d, 0, 0);
    vring_add(&x->d.ring[0], buf, 2, 0);
    vd_kick(&x->d, 0);
    board_run(x->b);
    g_assert_cmpuint(x->s->requests, ==, 0);
    vd_driver_ok(&x->d);
    vd_wait_used(&x->d, 0, &id, &len);
    g_assert_cmpuint(len, ==, 4);
}

/* 3.1.2: a legacy driver may use its queue before DRIVER_OK. */
static void test_legacy_first_use(Fix *x, const void *unused)
{
    uint64_t page = vd_page(&x->d, 4096);
    const VBuf buf[] = { { page, 4, false }, { page + 64, 4, true } };
    uint32_t id, len;

    g_assert_true(vd_negotiate(&x->d, 0));
    vd_setup_queue(&x->d, 0, 0);
    vring_add(&x->d.ring[0], buf, 2, 0);
    vd_kick(&x->d, 0);
    vd_wait_used(&x->d, 0, &id, &len);
    g_assert_true(x->s->vd.legacy);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
}

static uint64_t cfg(const Fix *x, unsigned off, unsigned size)
{
    return x->b->port.load(x->b, false, x->d.device + off, size);
}

static void test_config(Fix *x, const void *unused)
{
    memcpy(x->s->config, "\1\2\3\4\5\6\7\10", 8);
    g_assert_cmphex(cfg(x, 0, 4), ==, 0x04030201);
    g_assert_cmphex(cfg(x, 0, 8), ==, 0x0807060504030201);
    g_assert_cmphex(cfg(x, 6, 2), ==, 0x0807);
    g_assert_cmphex(cfg(x, 8, 4), ==, 0xffffffff);
    x->b->port.store(x->b, false, x->d.device + 4, 2, 0xbbaa);
    g_assert_cmpuint(x->s->wrote_off, ==, 4);
    g_assert_cmpuint(x->s->wrote_len, ==, 2);
    g_assert_cmphex(cfg(x, 4, 4), ==, 0x0807bbaa);
    x->s->wrote_len = 0;
    x->b->port.store(x->b, false, x->d.device + 8, 4, 1);
    g_assert_cmpuint(x->s->wrote_len, ==, 0);
}

static void test_generation(Fix *x, const void *unused)
{
    uint64_t g;

    vd_start(&x->d, 0);
    g = vd_read(&x->d, 0x15, 1);
    cfg(x, 0, 4);
    virtio_config_changed(&x->s->vd);
    g_assert_cmpuint(vd_read(&x->d, 0x15, 1), ==, g + 1);
    for (unsigned i = 0; i < 256; i++) {
        virtio_config_changed(&x->s->vd); /* without a read in between it need not count */
    }
    g_assert_cmpuint(vd_read(&x->d, 0x15, 1), ==, g + 1);
    g_assert_cmphex(vd_isr(&x->d), ==, 2);
    g_assert_true(!x->b->intx[4][0]);
}

static void test_needs_reset_sticks(Fix *x, const void *unused)
{
    vd_start(&x->d, 0);
    virtio_fail(&x->s->vd, "test");
    g_assert_cmphex(vd_status(&x->d), ==, 0x4f);
    g_assert_cmphex(vd_isr(&x->d) & 2, ==, 2);
    vd_set_status(&x->d, 15);
    g_assert_cmphex(vd_status(&x->d), ==, 0x4f);
    vd_set_status(&x->d, 0);
    vd_start(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

/* C4: what is wrong about a queue is found when it is enabled, and is not fatal to anyone else. */
static void test_bad_queue(Fix *x, const void *unused)
{
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x18, 2, 0);
    vd_write(&x->d, 0x18, 2, 3);
    vd_write(&x->d, 0x18, 2, 32);
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 16);
    vd_write(&x->d, 0x16, 2, 77);
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 0);
    g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 0xffff);
    vd_write(&x->d, 0x1c, 2, 1);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x20, 4, 0x1008); /* misaligned */
    vd_write(&x->d, 0x1c, 2, 1);
    g_assert_cmphex(vd_status(&x->d), ==, 0x4b);
}

static void test_rings_in_a_hole(Fix *x, const void *unused)
{
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x20, 4, 0x70000000);
    vd_write(&x->d, 0x28, 4, 0x70001000);
    vd_write(&x->d, 0x30, 4, 0x70002000);
    vd_write(&x->d, 0x1c, 2, 1);
    vd_driver_ok(&x->d);
    vd_kick(&x->d, 0);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d), ==, 0x4f);
}

static void test_addresses_freeze(Fix *x, const void *unused)
{
    uint64_t before;

    vd_start(&x->d, 0);
    vd_write(&x->d, 0x16, 2, 0);
    before = vd_read(&x->d, 0x20, 4);
    vd_write(&x->d, 0x20, 4, 0xdead0000);
    vd_write(&x->d, 0x18, 2, 2);
    g_assert_cmphex(vd_read(&x->d, 0x20, 4), ==, before);
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 16);
}

static void test_bus_master(Fix *x, const void *unused)
{
    uint64_t page = vd_page(&x->d, 4096);
    const VBuf buf[] = { { page, 4, false }, { page + 64, 4, true } };
    uint32_t id, len;

    vd_start(&x->d, 0);
    board_run(x->b);
    vd_cfg_write(&x->b->port, 0, 4 << 3, 4, 2, 3);
    vring_add(&x->d.ring[0], buf, 2, 0);
    vd_kick(&x->d, 0);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    g_assert_false(vring_used(&x->d.ring[0], &id, &len));
    vd_cfg_write(&x->b->port, 0, 4 << 3, 4, 2, 7);
    vd_wait_used(&x->d, 0, &id, &len);
    g_assert_cmpuint(len, ==, 4);
}

static void test_stopped_vm(Fix *x, const void *unused)
{
    uint64_t page = vd_page(&x->d, 4096);
    const VBuf buf[] = { { page, 4, false }, { page + 64, 4, true } };
    uint32_t id, len;

    fake_run_set(false);
    vd_start(&x->d, 0);
    g_assert_cmpuint(x->s->starts, ==, 0);
    vring_add(&x->d.ring[0], buf, 2, 0);
    vd_kick(&x->d, 0);
    board_run(x->b);
    g_assert_false(vring_used(&x->d.ring[0], &id, &len));
    fake_run_set(true);
    vd_wait_used(&x->d, 0, &id, &len);
}

static void add(const char *name, bool legacy, void (*fn)(Fix *, const void *))
{
    g_autofree char *path = g_strdup_printf("/virtio/%s", name);

    g_test_add(path, Fix, GUINT_TO_POINTER(legacy), up, fn, down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    add("offered-modern", false, test_offered);
    add("offered-legacy", true, test_offered_legacy);
    add("status-and-reset", false, test_status);
    add("refuses-unoffered-features", false, test_refuses_unoffered);
    add("refuses-modern-without-version-1", false, test_refuses_without_version_1);
    add("refuses-features-in-high-words", false, test_refuses_high_words);
    add("features-are-frozen-by-features-ok", false, test_features_are_frozen);
    add("waits-for-driver-ok", false, test_waits_for_driver_ok);
    add("legacy-first-use", true, test_legacy_first_use);
    add("config-space", false, test_config);
    add("config-generation", false, test_generation);
    add("needs-reset-until-reset", false, test_needs_reset_sticks);
    add("bad-queue", false, test_bad_queue);
    add("rings-in-a-hole", false, test_rings_in_a_hole);
    add("enabled-queue-is-frozen", false, test_addresses_freeze);
    add("bus-master-off-and-on", false, test_bus_master);
    add("stopped-vm", false, test_stopped_vm);
    return g_test_run();
}
