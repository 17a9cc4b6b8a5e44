/* 8254 and port 0x61 by the stepped clock: counts, outputs, gate, latches, IRQ 0. */
#include "chips.h"
#include "hw/timer/pit.h"

const ObjClass *const obj_classes[] = { &pit_class, &pcspk_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { TICK = 839 /* ns, a little more than one */ };

/* Virtual time that `ticks` clocks of 1.193182 MHz take, rounded up. */
static int64_t ticks(int64_t n)
{
    return (n * 1000000000 + PIT_HZ - 1) / PIT_HZ;
}

static void load(Chips *c, unsigned ch, unsigned mode, uint16_t count)
{
    outb(c, 0x43, (uint8_t)(ch << 6 | 0x30 | mode << 1));
    outb(c, (uint16_t)(0x40 + ch), (uint8_t)count);
    outb(c, (uint16_t)(0x40 + ch), (uint8_t)(count >> 8));
}

static uint16_t count(Chips *c, unsigned ch)
{
    uint8_t lo;

    outb(c, 0x43, (uint8_t)(ch << 6));
    lo = inb(c, (uint16_t)(0x40 + ch));
    return (uint16_t)(lo | inb(c, (uint16_t)(0x40 + ch)) << 8);
}

static bool out2(Chips *c)
{
    return inb(c, 0x61) & 0x20;
}

static Chips *board(void)
{
    Chips *c = chips_new();

    pit_new(c->tree, &c->io, &c->wire[0]);
    return c;
}

static void test_reset(void)
{
    Chips *c = board();

    outb(c, 0x43, 0xee); /* read-back of all three: status only */
    g_assert_cmphex(inb(c, 0x40), ==, 0x86);
    g_assert_cmphex(inb(c, 0x41), ==, 0x86);
    g_assert_cmphex(inb(c, 0x42), ==, 0x86);
    g_assert_cmphex(inb(c, 0x43), ==, 0);
    g_assert_cmphex(inb(c, 0x61) & 0xef, ==, 0x20);
    chips_free(c);
}

/* Mode, count read and OUT2 right after loading 1000, after 400, at 1000 and at 1100 clocks. */
static const struct {
    unsigned mode;
    uint16_t at400, at1000, at1100;
    bool out0, out400, out1000, out1100;
} modes[] = {
    { 0, 600, 0, 65436, false, false, true, true },
    { 2, 600, 1000, 900, true, true, true, true },
    { 3, 200, 1000, 800, true, true, true, true },
    { 4, 600, 0, 65436, true, true, false, true },
};

static void test_modes(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        Chips *c = board();

        outb(c, 0x61, 0x01);
        load(c, 2, modes[i].mode, 1000);
        g_assert_cmpuint(count(c, 2), ==, 1000);
        g_assert_cmpint(out2(c), ==, modes[i].out0);
        step(ticks(400));
        g_assert_cmpuint(count(c, 2), ==, modes[i].at400);
        g_assert_cmpint(out2(c), ==, modes[i].out400);
        step(ticks(1000) - ticks(400));
        g_assert_cmpuint(count(c, 2), ==, modes[i].at1000);
        g_assert_cmpint(out2(c), ==, modes[i].out1000);
        step(ticks(1100) - ticks(1000));
        g_assert_cmpuint(count(c, 2), ==, modes[i].at1100);
        g_assert_cmpint(out2(c), ==, modes[i].out1100);
        chips_free(c);
    }
}

static void test_square_wave(void)
{
    Chips *c = board();

    outb(c, 0x61, 0x01);
    load(c, 2, 3, 1001); /* odd: 501 high, 500 low */
    step(ticks(500));
    g_assert_true(out2(c));
    step(ticks(501) - ticks(500));
    g_assert_false(out2(c));
    step(ticks(1001) - ticks(501));
    g_assert_true(out2(c));
    chips_free(c);
}

/* Mode 1 and 5 start with the gate's rising edge, and again with each. */
static void test_gate_triggers(void)
{
    Chips *c = board();

    outb(c, 0x61, 0);
    load(c, 2, 1, 1000);
    g_assert_true(out2(c));
    step(ticks(5000));
    g_assert_true(out2(c));
    outb(c, 0x61, 1);
    g_assert_false(out2(c));
    step(ticks(999));
    g_assert_false(out2(c));
    outb(c, 0x61, 0);
    outb(c, 0x61, 1);
    step(ticks(999));
    g_assert_false(out2(c));
    step(2 * TICK);
    g_assert_true(out2(c));
    chips_free(c);
}

static void test_gate_stops(void)
{
    Chips *c = board();

    outb(c, 0x61, 1);
    load(c, 2, 0, 1000);
    step(ticks(300));
    outb(c, 0x61, 0);
    step(ticks(9000));
    g_assert_cmpuint(count(c, 2), ==, 700);
    g_assert_false(out2(c));
    outb(c, 0x61, 1);
    step(ticks(700) + TICK);
    g_assert_true(out2(c));
    load(c, 2, 2, 1000);
    step(ticks(300));
    outb(c, 0x61, 0);
    g_assert_true(out2(c));
    step(ticks(5000));
    outb(c, 0x61, 1); /* starts from the whole count */
    g_assert_cmpuint(count(c, 2), ==, 1000);
    chips_free(c);
}

static void test_latches(void)
{
    Chips *c = board();

    load(c, 0, 2, 0x1234);
    outb(c, 0x43, 0xc2); /* read-back: count and status of channel 0 */
    step(ticks(100));
    g_assert_cmphex(inb(c, 0x40), ==, 0xb4); /* OUT high, count valid, both bytes, mode 2 */
    g_assert_cmphex(inb(c, 0x40), ==, 0x34);
    g_assert_cmphex(inb(c, 0x40), ==, 0x12);
    g_assert_cmphex(inb(c, 0x40), ==, (0x1234 - 100) & 0xff); /* live again */
    g_assert_cmphex(inb(c, 0x40), ==, (0x1234 - 100) >> 8);
    outb(c, 0x43, 0x34); /* a mode without a count: null count */
    outb(c, 0x43, 0xe2);
    g_assert_cmphex(inb(c, 0x40), ==, 0xf4);
    outb(c, 0x43, 0x14); /* low byte only */
    outb(c, 0x40, 200);
    outb(c, 0x43, 0x00);
    g_assert_cmpuint(inb(c, 0x40), ==, 200);
    outb(c, 0x43, 0x35); /* BCD */
    outb(c, 0x40, 0x00), outb(c, 0x40, 0x10);
    step(ticks(1));
    g_assert_cmphex(count(c, 0), ==, 0x0999);
    chips_free(c);
}

/* A new count in mode 2 waits for the end of the period. */
static void test_reload(void)
{
    Chips *c = board();

    load(c, 0, 2, 1000);
    step(ticks(100));
    outb(c, 0x40, 500 & 0xff), outb(c, 0x40, 500 >> 8);
    g_assert_cmpuint(count(c, 0), ==, 900);
    step(ticks(1100) - ticks(100) + 1); /* the period ended on a rounded nanosecond */
    g_assert_cmpuint(count(c, 0), ==, 400);
    chips_free(c);
}

static void test_irq(void)
{
    Chips *c = board();
    unsigned before;

    load(c, 0, 2, 11932); /* 100 Hz */
    before = c->rises[0];
    step(ticks(11932) - 1000);
    g_assert_cmpuint(c->rises[0] - before, ==, 0);
    step(1000);
    g_assert_cmpuint(c->rises[0] - before, ==, 1);
    step(ticks(11932 * 9));
    g_assert_cmpuint(c->rises[0] - before, ==, 10);
    load(c, 0, 3, 11932);
    before = c->rises[0];
    step(ticks(11932 * 10));
    g_assert_cmpuint(c->rises[0] - before, ==, 10);
    load(c, 0, 0, 1000); /* one interrupt, then silence */
    before = c->rises[0];
    g_assert_false(c->level[0]);
    step(ticks(1000));
    g_assert_cmpuint(c->rises[0] - before, ==, 1);
    step(ticks(100000));
    g_assert_cmpuint(c->rises[0] - before, ==, 1);
    chips_free(c);
}

/* Two clocks a period would be 600 000 interrupts a second: they are merged, not queued. */
static void test_fast_period_bounded(void)
{
    Chips *c = board();
    unsigned before;

    load(c, 0, 2, 2);
    before = c->rises[0];
    step(1000000);
    g_assert_cmpuint(c->rises[0] - before, <=, 20);
    g_assert_cmpuint(c->rises[0] - before, >=, 19);
    chips_free(c);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/pit/reset", test_reset);
    g_test_add_func("/pit/modes", test_modes);
    g_test_add_func("/pit/square-wave", test_square_wave);
    g_test_add_func("/pit/gate/triggers", test_gate_triggers);
    g_test_add_func("/pit/gate/stops", test_gate_stops);
    g_test_add_func("/pit/latches", test_latches);
    g_test_add_func("/pit/reload", test_reload);
    g_test_add_func("/pit/irq0", test_irq);
    g_test_add_func("/pit/fast-period-bounded", test_fast_period_bounded);
    return g_test_run();
}
