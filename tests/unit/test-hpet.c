/* HPET: registers as QEMU 10.0 shows them, counter, comparators, legacy replacement. */
#include "chips.h"
#include "hw/timer/hpet.h"

const ObjClass *const obj_classes[] = { &hpet_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { BASE = 0xfed00000, CFG = BASE + 0x10, ISR = BASE + 0x20, COUNTER = BASE + 0xf0 };
#define T_CFG(n) (BASE + 0x100u + 0x20u * (n))
#define T_CMP(n) (BASE + 0x108u + 0x20u * (n))

static uint64_t readq(Chips *c, uint64_t at)
{
    return addrspace_load(c->mem_as, at, 8, NULL);
}
static void writeq(Chips *c, uint64_t at, uint64_t val)
{
    addrspace_store(c->mem_as, at, 8, val, NULL);
}

static void test_reset(void)
{
    Chips *c = chips_new();

    hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0xff0104);
    g_assert_cmphex(readl(c, BASE), ==, 0x8086a201);
    g_assert_cmphex(readl(c, BASE + 4), ==, 0x989680);
    g_assert_cmphex(readq(c, BASE), ==, 0x009896808086a201);
    g_assert_cmphex(readq(c, CFG), ==, 0);
    g_assert_cmphex(readq(c, ISR), ==, 0);
    g_assert_cmphex(readq(c, COUNTER), ==, 0);
    for (unsigned n = 0; n < 3; n++) {
        g_assert_cmphex(readq(c, T_CFG(n)), ==, 0x00ff010400000030);
        g_assert_cmphex(readq(c, T_CMP(n)), ==, UINT64_MAX);
        writel(c, T_CFG(n), 0xffffffff);
        g_assert_cmphex(readl(c, T_CFG(n)), ==, 0x3f7e); /* no FSB delivery */
    }
    g_assert_cmphex(readq(c, T_CFG(3)), ==, 0);
    writel(c, CFG, 0xfffffffe);
    g_assert_cmphex(readl(c, CFG), ==, 2);
    chips_free(c);
}

static void test_counter(void)
{
    Chips *c = chips_new();

    hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0x4);
    writel(c, COUNTER, 0x1234), writel(c, COUNTER + 4, 5);
    g_assert_cmphex(readq(c, COUNTER), ==, 0x500001234);
    writel(c, CFG, 1);
    step(1000);
    g_assert_cmphex(readq(c, COUNTER), ==, 0x500001234 + 100);
    g_assert_cmphex(readl(c, COUNTER + 4), ==, 5);
    writel(c, COUNTER, 0); /* only while halted */
    g_assert_cmphex(readq(c, COUNTER), ==, 0x500001234 + 100);
    writel(c, CFG, 0);
    step(1000);
    g_assert_cmphex(readq(c, COUNTER), ==, 0x500001234 + 100);
    chips_free(c);
}

static void test_oneshot(void)
{
    Chips *c = chips_new();

    hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0xff0104);
    writel(c, T_CFG(0), 20 << 9 | 4);
    writeq(c, T_CMP(0), 1000);
    writel(c, CFG, 1);
    step(9999);
    g_assert_cmpuint(c->rises[20], ==, 0);
    step(1);
    g_assert_cmpuint(c->rises[20], ==, 1);
    g_assert_false(c->level[20]); /* an edge */
    g_assert_cmphex(readl(c, ISR), ==, 0);
    step(100000);
    g_assert_cmpuint(c->rises[20], ==, 1);
    writel(c, T_CMP(0), readl(c, COUNTER) + 50);
    step(500);
    g_assert_cmpuint(c->rises[20], ==, 2);
    chips_free(c);
}

static void test_periodic(void)
{
    Chips *c = chips_new();

    hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0xff0104);
    writel(c, T_CFG(1), 21 << 9 | 0x14c); /* as Linux: 32 bits, value set, then the period */
    writel(c, T_CMP(1), 20000);
    g_assert_cmphex(readl(c, T_CFG(1)), ==, (21 << 9 | 0x13c));
    writel(c, T_CMP(1), 10000);
    g_assert_cmphex(readl(c, T_CMP(1)), ==, 20000);
    writel(c, CFG, 1);
    step(199999);
    g_assert_cmpuint(c->rises[21], ==, 0);
    step(1);
    g_assert_cmpuint(c->rises[21], ==, 1);
    step(1000000);
    g_assert_cmpuint(c->rises[21], ==, 11);
    g_assert_cmphex(readl(c, T_CMP(1)), ==, 130000);
    chips_free(c);
}

static bool is_busy;

static bool busy(void *opaque, unsigned n)
{
    return is_busy;
}

/* While the guest takes no interrupt the edges wait, and follow when it does. */
static void test_catch_up(void)
{
    Chips *c = chips_new();

    hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0xff0104);
    c->wire[21].busy = busy;
    is_busy = false;
    writel(c, T_CFG(1), 21 << 9 | 0x14c);
    writel(c, T_CMP(1), 400000); /* 4 ms */
    writel(c, T_CMP(1), 400000);
    writel(c, CFG, 1);
    step(4000000);
    g_assert_cmpuint(c->rises[21], ==, 1);
    is_busy = true;
    step(40000000);
    g_assert_cmpuint(c->rises[21], ==, 1);
    is_busy = false;
    step(2200000); /* one each 200 us */
    g_assert_cmpuint(c->rises[21], ==, 11);
    step(1800000);
    g_assert_cmpuint(c->rises[21], ==, 12);
    is_busy = true;
    step(8000000);
    writel(c, T_CFG(1), 21 << 9 | 0x10c); /* another setting owes nothing */
    is_busy = false;
    step(2000000);
    g_assert_cmpuint(c->rises[21], ==, 12);
    chips_free(c);
}

static void test_level(void)
{
    Chips *c = chips_new();

    hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0xff0104);
    writel(c, T_CFG(2), 22 << 9 | 6);
    writeq(c, T_CMP(2), 100);
    writel(c, CFG, 1);
    step(1000);
    g_assert_true(c->level[22]);
    g_assert_cmphex(readl(c, ISR), ==, 4);
    writel(c, ISR, 3);
    g_assert_true(c->level[22]);
    writel(c, ISR, 4);
    g_assert_false(c->level[22]);
    g_assert_cmphex(readl(c, ISR), ==, 0);
    chips_free(c);
}

static void test_32bit_wraps(void)
{
    Chips *c = chips_new();

    hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0xff0104);
    writel(c, T_CFG(0), 20 << 9 | 0x104);
    g_assert_cmphex(readq(c, T_CMP(0)), ==, 0xffffffff);
    writeq(c, COUNTER, 0xfffffff0);
    writel(c, T_CMP(0), 0x10);
    writel(c, CFG, 1);
    step(310);
    g_assert_cmpuint(c->rises[20], ==, 0);
    step(10);
    g_assert_cmpuint(c->rises[20], ==, 1);
    chips_free(c);
}

static void test_legacy(void)
{
    Chips *c = chips_new();
    Hpet *h = hpet_new(c->tree, &c->mem, BASE, c->wire, 24, 0xff0104);

    irq_set(hpet_legacy_in(h, 0), true);
    irq_set(hpet_legacy_in(h, 1), true);
    g_assert_true(c->level[0] && c->level[8]);
    irq_set(hpet_legacy_in(h, 0), false);
    irq_set(hpet_legacy_in(h, 1), false);
    writel(c, T_CFG(0), 4);
    writel(c, T_CFG(1), 4);
    writeq(c, T_CMP(0), 100);
    writeq(c, T_CMP(1), 200);
    writel(c, CFG, 3);
    irq_set(hpet_legacy_in(h, 0), true);
    irq_set(hpet_legacy_in(h, 1), true);
    g_assert_false(c->level[0] || c->level[8]); /* cut off */
    step(1000);
    g_assert_cmpuint(c->rises[0], ==, 2);
    g_assert_cmpuint(c->rises[8], ==, 1);
    step(1000);
    g_assert_cmpuint(c->rises[8], ==, 2);
    chips_free(c);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/hpet/reset", test_reset);
    g_test_add_func("/hpet/counter", test_counter);
    g_test_add_func("/hpet/one-shot", test_oneshot);
    g_test_add_func("/hpet/periodic", test_periodic);
    g_test_add_func("/hpet/catch-up", test_catch_up);
    g_test_add_func("/hpet/level", test_level);
    g_test_add_func("/hpet/32-bit-wraps", test_32bit_wraps);
    g_test_add_func("/hpet/legacy-replacement", test_legacy);
    return g_test_run();
}
