/* Shared memory regions of a device as the driver finds and maps them (VIRTIO 1.4, 2.10 and
 * 4.1.4.7). */
#include "memory/ram.h"
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"

enum { DEVFN = 4 << 3 };

typedef struct Shm {
    unsigned bar;
    uint64_t at, len;
} Shm;

static uint32_t cfg(Board *b, unsigned reg, unsigned size)
{
    return vd_cfg_read(&b->port, 0, DEVFN, reg, size);
}

/* The capability with that id; len 0: there is none. */
static Shm find(Board *b, unsigned id)
{
    Shm s = { 0 };

    for (unsigned cap = cfg(b, 0x34, 1), n = 0; cap && n < 48; cap = cfg(b, cap + 1, 1), n++) {
        if (cfg(b, cap, 1) == 0x09 && cfg(b, cap + 3, 1) == 8 && cfg(b, cap + 5, 1) == id) {
            g_assert_cmpuint(s.len, ==, 0); /* unique */
            g_assert_cmpuint(cfg(b, cap + 2, 1), ==, 24);
            s.bar = cfg(b, cap + 4, 1);
            s.at = cfg(b, cap + 8, 4) | (uint64_t)cfg(b, cap + 16, 4) << 32;
            s.len = cfg(b, cap + 12, 4) | (uint64_t)cfg(b, cap + 20, 4) << 32;
        }
    }
    return s;
}

static uint64_t bar_size(Board *b, unsigned bar)
{
    unsigned at = 0x10 + 4 * bar;
    uint64_t mask;

    g_assert_cmphex(cfg(b, at, 4) & 15, ==, 12); /* 64-bit, prefetchable */
    vd_cfg_write(&b->port, 0, DEVFN, at, 4, UINT32_MAX);
    vd_cfg_write(&b->port, 0, DEVFN, at + 4, 4, UINT32_MAX);
    mask = (cfg(b, at, 4) & ~15u) | (uint64_t)cfg(b, at + 4, 4) << 32;
    return ~mask + 1;
}

static void place(Board *b, unsigned bar, uint64_t at)
{
    vd_cfg_write(&b->port, 0, DEVFN, 0x10 + 4 * bar, 4, (uint32_t)at);
    vd_cfg_write(&b->port, 0, DEVFN, 0x14 + 4 * bar, 4, (uint32_t)(at >> 32));
    vd_cfg_write(&b->port, 0, DEVFN, 4, 2, 7);
}

static void check(uint64_t size)
{
    Board *b = board_new(false);
    g_autofree char *json = g_strdup_printf(
        "{'driver': 'dummy-pci', 'addr': '4', 'shm-size': %" G_GUINT64_FORMAT "}", size);
    Dummy *s = dummy_of(board_add(b, json));
    Shm one = find(b, 3), two = find(b, 200);
    uint64_t base = 1ull << 38, whole = bar_size(b, one.bar);

    g_assert_cmphex(one.len, ==, size);
    g_assert_cmphex(two.len, ==, 0x10000);
    g_assert_cmpuint(find(b, 0).len, ==, 0);
    g_assert_cmpuint(one.bar, ==, two.bar);
    g_assert_true(one.at >= two.at + two.len || two.at >= one.at + one.len);
    g_assert_cmphex(one.at + one.len, <=, whole);
    g_assert_cmphex(two.at + two.len, <=, whole);
    place(b, one.bar, base);
    vport_w32(&b->port, base + one.at + size - 4, 0x12345678);
    vport_w32(&b->port, base + two.at, 0x9abcdef0);
    g_assert_cmphex(*(uint32_t *)(s->shm[0].ram->host + size - 4), ==, 0x12345678);
    g_assert_cmphex(*(uint32_t *)s->shm[1].ram->host, ==, 0x9abcdef0);
    s->shm[1].ram->host[9] = 0x77; /* the device writes */
    g_assert_cmphex(b->port.load(b, false, base + two.at + 9, 1), ==, 0x77);
    place(b, one.bar, 1ull << 39);
    g_assert_cmphex(vport_r32(&b->port, (1ull << 39) + two.at), ==, 0x9abcdef0);
    board_free(b);
}

static void test_small(void)
{
    check(0x3000);
    check(1 << 20);
}

/* Offset and length need all of their 64 bits. */
static void test_large(void)
{
    check(5ull << 30);
}

/* A buffer may lie in it: it is memory like any other. */
static void test_buffer(void)
{
    Board *b = board_new(false);
    Dummy *s = dummy_of(board_add(b, "{'driver': 'dummy-pci', 'addr': '4', 'shm-size': 65536}"));
    VDriver *d = g_new0(VDriver, 1);
    Shm one = find(b, 3);
    uint32_t id, len;

    vd_open(d, &b->port, 0, DEVFN, false);
    vd_start(d, 0);
    uint64_t at = d->bar[one.bar] + one.at;
    const VBuf buf[] = { { at, 4, false }, { at + 64, 4, true } };

    vport_w32(&b->port, at, 0xcafe1234);
    vring_add(&d->ring[0], buf, 2, 0);
    vd_kick(d, 0);
    vd_wait_used(d, 0, &id, &len);
    g_assert_cmphex(*(uint32_t *)(s->shm[0].ram->host + 64), ==, 0xcafe1234);
    board_free(b);
    g_free(d);
}

static void test_refused(void)
{
    Board *b = board_new(false);
    g_autofree char *why = board_add_error(b, "{'driver': 'dummy-pci', 'addr': '4', 'shm-size': "
                                              "4096, 'modern-pio-notify': true}");

    g_assert_cmpstr(
        why, ==, "modern-pio-notify=on is not possible with shared memory: both are BAR 2");
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/virtio-shm/found-and-mapped", test_small);
    g_test_add_func("/virtio-shm/above-4-gib", test_large);
    g_test_add_func("/virtio-shm/buffer-in-it", test_buffer);
    g_test_add_func("/virtio-shm/refused-beside-pio-notify", test_refused);
    return g_test_run();
}
