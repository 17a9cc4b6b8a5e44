/* hw/virtio/virtio-balloon.c: pages given back and reported, statistics, events (VIRTIO 1.4, 5.5).
 */
#include "hw/virtio/virtio-balloon.h"
#include "object/qmp.h"
#include "tests/unit/vdev.h"
#include "util/timer.h"

#include <sys/mman.h>

VDEV_EXTERN(virtio_balloon);
VDEV_TYPES(VDEV_CLASSES(virtio_balloon));

enum { INFLATE, DEFLATE, STATS, REPORTING };
enum { PAGE = 4096, NUM = 0, ACTUAL = 4, POISON = 12 };

typedef struct Fix {
    VDev v;
    GString *events;
    uint64_t pages; /* 1 MiB of the guest's memory, full of 0xaa */
    uint64_t list;  /* room for a list of page numbers */
} Fix;

static void on_event(void *opaque, const char *name, const Json *data)
{
    g_autofree char *text = json_to_string(data, false);

    g_string_append_printf(opaque, "%s%s ", name, text);
}

static void up_with(Fix *x, const char *options, bool legacy)
{
    g_autofree char *json =
        g_strdup_printf("{'driver': 'virtio-balloon-pci', 'id': 'b', 'addr': '4'%s}", options);

    x->events = g_string_new(NULL);
    qmp_event_set_sink(on_event, x->events);
    vdev_open(&x->v, json, legacy);
    x->v.b->m->ram_size = BOARD_RAM;
    x->list = vd_page(&x->v.d, 1 << 20);
    x->pages = vd_page(&x->v.d, 1 << 20);
    vdev_fill(&x->v, x->pages, 0xaa, 1 << 20);
}

static void up(Fix *x, const void *legacy)
{
    up_with(x, "", legacy != NULL);
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    qmp_event_set_sink(NULL, NULL);
    g_string_free(x->events, TRUE);
}

static uint8_t byte_at(Fix *x, uint64_t at)
{
    uint8_t v;

    vdev_get(&x->v, at, &v, 1);
    return v;
}

static bool resident(Fix *x, uint64_t at)
{
    unsigned char in = 0;
    RamBlock *b;
    void *p = addrspace_host(x->v.b->m->mem, at, PAGE, false, &b);

    g_assert_cmpint(mincore(p, PAGE, &in), ==, 0);
    return in & 1;
}

/* n page numbers from x->pages + first on, going up or down. */
static uint32_t tell(Fix *x, unsigned q, unsigned first, unsigned n, int step)
{
    for (unsigned i = 0; i < n; i++) {
        vport_w32(x->v.d.port, x->list + 4 * i,
            (uint32_t)((x->pages >> 12) + (uint64_t)((int)first + step * (int)i)));
    }
    const VBuf b = { x->list, 4 * n, false };

    return vdev_do(&x->v, q, &b, 1, 0);
}

static void test_inflate(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    g_assert_cmpuint(tell(x, INFLATE, 16, 16, 1), ==, 0);
    g_assert_cmpuint(tell(x, INFLATE, 63, 16, -1), ==, 0);
    g_assert_cmpuint(tell(x, INFLATE, 100, 20, 2), ==, 0); /* every other one */
    for (unsigned i = 0; i < 256; i++) {
        bool gone =
            (i >= 16 && i < 32) || (i > 47 && i <= 63) || (i >= 100 && i < 140 && i % 2 == 0);

        g_assert_true(resident(x, x->pages + i * PAGE) == !gone);
        g_assert_cmphex(byte_at(x, x->pages + i * PAGE + 9), ==, gone ? 0 : 0xaa);
    }
    g_assert_cmpuint(tell(x, DEFLATE, 16, 16, 1), ==, 0);
    vdev_fill(&x->v, x->pages + 16 * PAGE, 0x55, PAGE);
    g_assert_cmphex(byte_at(x, x->pages + 16 * PAGE), ==, 0x55);
}

/* Numbers of no memory, of a device's registers, of the last page there can be; half a number. */
static void test_wild_numbers(Fix *x, const void *unused)
{
    static const uint32_t wild[] = { 0xffffffff, 0xfee00, 0xe0000, (BOARD_RAM >> 12), 0x80000000 };

    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(wild); i++) {
        vport_w32(x->v.d.port, x->list + 4 * i, wild[i]);
    }
    const VBuf b = { x->list, sizeof wild + 3, false };

    g_assert_cmpuint(vdev_do(&x->v, INFLATE, &b, 1, 0), ==, 0);
    g_assert_cmphex(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET, ==, 0);
    g_assert_cmphex(byte_at(x, x->pages), ==, 0xaa);
}

/* A list of 262144 numbers goes in slices: the loop has its turns between them. */
static void test_long_list(Fix *x, const void *unused)
{
    enum { N = 262144 };
    uint32_t id, len;

    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < N; i++) {
        vport_w32(x->v.d.port, x->list + 4 * i,
            (uint32_t)(x->pages >> 12) + 7 * i % 256); /* no neighbours */
    }
    const VBuf b = { x->list, 4 * N, false };

    vring_add(&x->v.d.ring[INFLATE], &b, 1, 0);
    vd_kick(&x->v.d, INFLATE);
    unsigned turns = 0;

    while (!vring_used(&x->v.d.ring[INFLATE], &id, &len)) {
        loop_turn(loop_main(), false);
        turns++;
    }
    g_assert_cmpuint(turns, >, 8);
    g_assert_cmphex(byte_at(x, x->pages + 255 * PAGE), ==, 0);
    /* And a reset in the middle of one leaves nothing behind. */
    vring_add(&x->v.d.ring[INFLATE], &b, 1, 0);
    vd_kick(&x->v.d, INFLATE);
    loop_turn(loop_main(), false);
    vd_set_status(&x->v.d, 0);
    board_run(x->v.b);
    g_assert_cmphex(vd_status(&x->v.d), ==, 0);
}

static void test_reporting(Fix *x, const void *unused)
{
    down(x, NULL);
    up_with(x, ", 'free-page-reporting': true", false);
    vd_start(&x->v.d, 0);
    VBuf b[2] = { { x->pages, 64 * 1024, true }, { x->pages + 128 * 1024 + 100, 8192, true } };

    g_assert_cmpuint(vdev_do(&x->v, REPORTING, b, 2, 0), ==, 0);
    g_assert_false(resident(x, x->pages));
    g_assert_cmphex(byte_at(x, x->pages + 65535), ==, 0);
    g_assert_cmphex(byte_at(x, x->pages + 65536), ==, 0xaa);
    /* Only whole pages: what lies around stays. */
    g_assert_cmphex(byte_at(x, x->pages + 128 * 1024 + 100), ==, 0xaa);
    g_assert_cmphex(byte_at(x, x->pages + 132 * 1024), ==, 0);
    g_assert_cmphex(byte_at(x, x->pages + 136 * 1024), ==, 0xaa);
}

static void test_poison(Fix *x, const void *unused)
{
    down(x, NULL);
    up_with(x, ", 'free-page-reporting': true", false);
    vd_start(&x->v.d, 0);
    vdev_cfg_write(&x->v, POISON, 4, 0xaaaaaaaa);
    g_assert_cmphex(vdev_cfg(&x->v, POISON, 4), ==, 0xaaaaaaaa);
    VBuf b = { x->pages, 64 * 1024, true };

    g_assert_cmpuint(vdev_do(&x->v, REPORTING, &b, 1, 0), ==, 0);
    g_assert_cmphex(byte_at(x, x->pages), ==, 0xaa); /* kept, as it is not zero */
}

static Json *get(Fix *x, const char *name)
{
    g_autoptr(GError) err = NULL;
    Json *j = prop_get(&x->v.dev->obj, name, &err);

    g_assert_no_error(err);
    return j;
}

static uint64_t stat_of(Fix *x, const char *name)
{
    g_autoptr(Json) all = get(x, "guest-stats");

    return json_get_uint(json_get(json_get(all, "stats"), name));
}

static void put_stat(Fix *x, unsigned i, uint16_t tag, uint64_t val)
{
    vport_w16(x->v.d.port, x->list + 10 * i, tag);
    vdev_put(&x->v, x->list + 10 * i + 2, &val, sizeof val);
}

static void give_stats(Fix *x, unsigned n)
{
    const VBuf b = { x->list, 10 * n, false };

    vring_add(&x->v.d.ring[STATS], &b, 1, 0);
    vd_kick(&x->v.d, STATS);
    board_run(x->v.b);
}

static void test_stats(Fix *x, const void *unused)
{
    uint32_t id, len;
    g_autoptr(GError) err = NULL;

    vd_start(&x->v.d, 0);
    g_assert_cmphex(stat_of(x, "stat-free-memory"), ==, UINT64_MAX);
    put_stat(x, 0, 5, 1 << 24);
    put_stat(x, 1, 999, 7); /* an unknown tag, and any order */
    put_stat(x, 2, 4, 12345);
    put_stat(x, 3, 15, 77);
    give_stats(x, 4);
    g_assert_cmpuint(stat_of(x, "stat-free-memory"), ==, 12345);
    g_assert_cmpuint(stat_of(x, "stat-total-memory"), ==, 1 << 24);
    g_assert_cmpuint(stat_of(x, "stat-direct-reclaims"), ==, 77);
    g_assert_cmphex(stat_of(x, "stat-swap-in"), ==, UINT64_MAX);
    /* The buffer is ours until the next question; with an interval it comes by itself. */
    g_assert_false(vring_used(&x->v.d.ring[STATS], &id, &len));
    clock_virtual_use_qtest();
    g_assert_true(prop_set_text(&x->v.dev->obj, "guest-stats-polling-interval", "2", &err));
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + 1900000000);
    board_run(x->v.b);
    g_assert_false(vring_used(&x->v.d.ring[STATS], &id, &len));
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + 200000000);
    board_run(x->v.b);
    g_assert_true(vring_used(&x->v.d.ring[STATS], &id, &len));
    g_assert_cmpuint(len, ==, 0);
    put_stat(x, 0, 4, 54321);
    give_stats(x, 1);
    g_assert_cmpuint(stat_of(x, "stat-free-memory"), ==, 54321);
    g_assert_false(prop_set_text(&x->v.dev->obj, "guest-stats-polling-interval", "-1", &err));
    g_assert_cmpstr(err->message, ==, "timer value must be greater than zero");
    g_clear_error(&err);
    g_assert_false(
        prop_set_text(&x->v.dev->obj, "guest-stats-polling-interval", "4294967296", &err));
    g_assert_cmpstr(err->message, ==, "timer value is too big");
    g_clear_error(&err);
    g_assert_false(prop_set_text(&x->v.dev->obj, "guest-stats", "1", &err));
    g_assert_cmpstr(
        err->message, ==, "Property 'virtio-balloon-device.guest-stats' is not writable");
}

/* An old driver's first buffer is not filled in yet (5.5.6.3.3). */
static void test_stats_legacy(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    vd_setup_queue(&x->v.d, STATS, 0);
    put_stat(x, 0, 4, 0xdead);
    give_stats(x, 1);
    g_assert_cmphex(stat_of(x, "stat-free-memory"), ==, UINT64_MAX);
    give_stats(x, 1);
    g_assert_cmphex(stat_of(x, "stat-free-memory"), ==, 0xdead);
}

static void test_target(Fix *x, const void *unused)
{
    g_autoptr(GError) err = NULL;
    uint64_t now;

    vd_start(&x->v.d, 0);
    g_assert_true(virtio_balloon_target(x->v.b->m, BOARD_RAM - 5 * PAGE, &err));
    g_assert_cmpuint(vdev_cfg(&x->v, NUM, 4), ==, 5);
    g_assert_true(virtio_balloon_target(x->v.b->m, INT64_MAX, &err)); /* all it has */
    g_assert_cmpuint(vdev_cfg(&x->v, NUM, 4), ==, 0);
    g_assert_false(virtio_balloon_target(x->v.b->m, 0, &err));
    g_assert_cmpstr(err->message, ==, "Parameter 'value' expects a size");
    /* The driver says how far it came: the first time is told at once, then one a second. */
    vdev_cfg_write(&x->v, ACTUAL, 4, 5);
    vdev_cfg_write(&x->v, ACTUAL, 4, 6);
    g_assert_cmpstr(x->events->str, ==, "BALLOON_CHANGE{\"actual\": 16756736} ");
    g_assert_true(virtio_balloon_actual(x->v.b->m, &now, NULL));
    g_assert_cmpuint(now, ==, BOARD_RAM - 6 * PAGE);
    /* More than there is: nothing below zero. */
    vdev_cfg_write(&x->v, ACTUAL, 4, 0xffffffff);
    g_assert_true(virtio_balloon_actual(x->v.b->m, &now, NULL));
    g_assert_cmpuint(now, ==, 0);
    g_assert_cmpuint(vdev_cfg(&x->v, NUM, 4), ==, 0);
    vdev_cfg_write(&x->v, NUM, 4, 77); /* the host's, not the driver's */
    g_assert_cmpuint(vdev_cfg(&x->v, NUM, 4), ==, 0);
}

/* Bytes from the lowest to the highest: the value counts with the last one (5.5.6.2.1). */
static void test_actual_bytewise(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpstr(x->events->str, ==, "");
        vdev_cfg_write(&x->v, ACTUAL + i, 1, i == 1 ? 1 : 0); /* 256 pages */
    }
    g_assert_cmpstr(x->events->str, ==, "BALLOON_CHANGE{\"actual\": 15728640} ");
}

static void test_only_one(Fix *x, const void *unused)
{
    g_autofree char *error =
        board_add_error(x->v.b, "{'driver': 'virtio-balloon-pci', 'addr': '5'}");

    g_assert_cmpstr(error, ==, "Only one balloon device is supported");
    g_autofree char *hint = NULL;
    down(x, NULL);
    x->v.b = board_new(false);
    x->events = g_string_new(NULL);
    hint = board_add_error(
        x->v.b, "{'driver': 'virtio-balloon-pci', 'addr': '5', 'free-page-hint': true}");
    g_assert_cmpstr(
        hint, ==, "free-page-hint=on is not supported, there is no migration to use it");
    uint64_t now;
    g_autoptr(GError) err = NULL;

    g_assert_false(virtio_balloon_actual(x->v.b->m, &now, &err));
    g_assert_cmpstr(err->message, ==, "No balloon device has been activated");
}

#define ADD(path, fn, legacy) g_test_add("/virtio-balloon/" path, Fix, legacy, up, fn, down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    ADD("inflate-gives-memory-back", test_inflate, NULL);
    ADD("inflate-wild-numbers", test_wild_numbers, NULL);
    ADD("inflate-long-list", test_long_list, NULL);
    ADD("reporting", test_reporting, NULL);
    ADD("reporting-with-poison", test_poison, NULL);
    ADD("statistics", test_stats, NULL);
    ADD("statistics-legacy", test_stats_legacy, "legacy");
    ADD("target-and-actual", test_target, NULL);
    ADD("actual-bytewise-legacy", test_actual_bytewise, "legacy");
    ADD("only-one", test_only_one, NULL);
    return g_test_run();
}
