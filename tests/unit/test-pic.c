/* The 8259 pair and ELCR: every pin, both trigger modes, priorities, spurious requests. */
#include "chips.h"
#include "hw/intc/pic.h"

const ObjClass *const obj_classes[] = { &pic_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

/* As a PC's firmware and Linux do: vectors 0x20 and 0x28. */
static Pic *pic_ready(Chips *c)
{
    Pic *p = pic_new(c->tree, &c->io, &c->wire[0]);

    outb(c, 0x20, 0x11), outb(c, 0x21, 0x20), outb(c, 0x21, 0x04), outb(c, 0x21, 0x01);
    outb(c, 0xa0, 0x11), outb(c, 0xa1, 0x28), outb(c, 0xa1, 0x02), outb(c, 0xa1, 0x01);
    return p;
}

static uint16_t isr(Chips *c)
{
    outb(c, 0x20, 0x0b), outb(c, 0xa0, 0x0b);
    return (uint16_t)(inb(c, 0x20) | inb(c, 0xa0) << 8);
}

static uint16_t irr(Chips *c)
{
    outb(c, 0x20, 0x0a), outb(c, 0xa0, 0x0a);
    return (uint16_t)(inb(c, 0x20) | inb(c, 0xa0) << 8);
}

static void test_reset(void)
{
    Chips *c = chips_new();
    Pic *p = pic_new(c->tree, &c->io, &c->wire[0]);

    g_assert_false(pic_intr(p));
    g_assert_cmphex(inb(c, 0x20), ==, 0);
    g_assert_cmphex(inb(c, 0x21), ==, 0);
    g_assert_cmphex(inb(c, 0xa0), ==, 0);
    g_assert_cmphex(inb(c, 0xa1), ==, 0);
    g_assert_cmphex(inb(c, 0x4d0), ==, 0);
    g_assert_cmphex(inb(c, 0x4d1), ==, 0);
    outb(c, 0x4d0, 0xff), outb(c, 0x4d1, 0xff);
    g_assert_cmphex(inb(c, 0x4d0), ==, 0xf8);
    g_assert_cmphex(inb(c, 0x4d1), ==, 0xde);
    chips_free(c);
}

static const struct {
    uint8_t irq, vector;
    bool may_be_level;
} pins[] = {
    { 0, 0x20, false },
    { 1, 0x21, false },
    { 3, 0x23, true },
    { 4, 0x24, true },
    { 5, 0x25, true },
    { 6, 0x26, true },
    { 7, 0x27, true },
    { 8, 0x28, false },
    { 9, 0x29, true },
    { 10, 0x2a, true },
    { 11, 0x2b, true },
    { 12, 0x2c, true },
    { 13, 0x2d, false },
    { 14, 0x2e, true },
    { 15, 0x2f, true },
};

static void eoi(Chips *c, unsigned irq)
{
    if (irq >= 8) {
        outb(c, 0xa0, 0x20);
    }
    outb(c, 0x20, 0x20);
}

static void test_edge(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pins); i++) {
        Chips *c = chips_new();
        Pic *p = pic_ready(c);
        unsigned n = pins[i].irq;

        irq_set(pic_irq(p, n), true);
        g_assert_true(c->level[0]);
        g_assert_cmphex(pic_ack(p), ==, pins[i].vector);
        g_assert_false(c->level[0]);
        g_assert_cmphex(isr(c), ==, 1u << n | (n >= 8 ? 4u : 0));
        eoi(c, n);
        g_assert_cmphex(isr(c), ==, 0);
        irq_set(pic_irq(p, n), true); /* still high: no new edge */
        g_assert_false(pic_intr(p));
        irq_set(pic_irq(p, n), false);
        irq_set(pic_irq(p, n), true);
        g_assert_true(pic_intr(p));
        irq_set(pic_irq(p, n), false); /* latched */
        g_assert_cmphex(pic_ack(p), ==, pins[i].vector);
        chips_free(c);
    }
}

static void test_level(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pins); i++) {
        Chips *c = chips_new();
        Pic *p = pic_ready(c);
        unsigned n = pins[i].irq;

        outb(c, 0x4d0, 0xff), outb(c, 0x4d1, 0xff);
        irq_set(pic_irq(p, n), true);
        g_assert_cmphex(pic_ack(p), ==, pins[i].vector);
        eoi(c, n);
        g_assert_cmpint(pic_intr(p), ==, pins[i].may_be_level); /* asks again while it is high */
        irq_set(pic_irq(p, n), false);
        g_assert_false(pic_intr(p));
        chips_free(c);
    }
}

static void test_mask(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pins); i++) {
        Chips *c = chips_new();
        Pic *p = pic_ready(c);
        unsigned n = pins[i].irq;

        outb(c, n < 8 ? 0x21 : 0xa1, (uint8_t)(1u << (n & 7)));
        irq_set(pic_irq(p, n), true);
        g_assert_false(pic_intr(p));
        g_assert_cmphex(irr(c), ==, 1u << n);
        outb(c, n < 8 ? 0x21 : 0xa1, 0);
        g_assert_true(pic_intr(p));
        chips_free(c);
    }
}

static void test_nesting(void)
{
    Chips *c = chips_new();
    Pic *p = pic_ready(c);

    irq_set(pic_irq(p, 4), true);
    g_assert_cmphex(pic_ack(p), ==, 0x24);
    irq_set(pic_irq(p, 5), true);
    g_assert_false(pic_intr(p)); /* lower than what is served */
    irq_set(pic_irq(p, 9), true);
    g_assert_true(pic_intr(p)); /* the slave is IRQ 2 */
    g_assert_cmphex(pic_ack(p), ==, 0x29);
    irq_set(pic_irq(p, 8), true);
    g_assert_false(pic_intr(p)); /* fully nested: the master has IRQ 2 in service */
    eoi(c, 9);
    g_assert_cmphex(pic_ack(p), ==, 0x28);
    eoi(c, 8);
    outb(c, 0x20, 0x64); /* specific EOI of 4 */
    g_assert_cmphex(pic_ack(p), ==, 0x25);
    chips_free(c);
}

static void test_spurious(void)
{
    Chips *c = chips_new();
    Pic *p = pic_ready(c);

    g_assert_cmphex(pic_ack(p), ==, 0x27);
    g_assert_cmphex(isr(c), ==, 0);
    irq_set(pic_irq(p, 10), true);
    outb(c, 0xa1, 0xff); /* the slave lets go: so does the master */
    g_assert_false(pic_intr(p));
    chips_free(c);
}

static void test_rotate(void)
{
    Chips *c = chips_new();
    Pic *p = pic_ready(c);

    irq_set(pic_irq(p, 3), true);
    g_assert_cmphex(pic_ack(p), ==, 0x23);
    outb(c, 0x20, 0xa0); /* rotate on non-specific EOI: 3 is the lowest now, 4 the highest */
    irq_set(pic_irq(p, 0), true);
    irq_set(pic_irq(p, 4), true);
    g_assert_cmphex(pic_ack(p), ==, 0x24);
    outb(c, 0x20, 0x20);
    outb(c, 0x20, 0xc7); /* set priority: 7 lowest */
    irq_set(pic_irq(p, 1), true);
    g_assert_cmphex(pic_ack(p), ==, 0x20);
    chips_free(c);
}

static void test_auto_eoi(void)
{
    Chips *c = chips_new();
    Pic *p = pic_new(c->tree, &c->io, &c->wire[0]);

    outb(c, 0x20, 0x11), outb(c, 0x21, 0x40), outb(c, 0x21, 0x04), outb(c, 0x21, 0x03);
    irq_set(pic_irq(p, 6), true);
    g_assert_cmphex(pic_ack(p), ==, 0x46);
    g_assert_cmphex(isr(c), ==, 0);
    chips_free(c);
}

static void test_special_mask(void)
{
    Chips *c = chips_new();
    Pic *p = pic_ready(c);

    irq_set(pic_irq(p, 1), true);
    g_assert_cmphex(pic_ack(p), ==, 0x21);
    irq_set(pic_irq(p, 6), true);
    outb(c, 0x21, 0x02);
    g_assert_false(pic_intr(p));
    outb(c, 0x20, 0x68); /* special mask mode: a masked request in service blocks nothing */
    g_assert_true(pic_intr(p));
    outb(c, 0x20, 0x48);
    g_assert_false(pic_intr(p));
    chips_free(c);
}

static void test_poll(void)
{
    Chips *c = chips_new();
    Pic *p = pic_ready(c);

    outb(c, 0x20, 0x0c);
    g_assert_cmphex(inb(c, 0x20), ==, 0x00);
    irq_set(pic_irq(p, 5), true);
    outb(c, 0x20, 0x0c);
    g_assert_cmphex(inb(c, 0x20), ==, 0x85);
    g_assert_cmphex(isr(c), ==, 0x20);
    g_assert_false(pic_intr(p));
    chips_free(c);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/pic/reset", test_reset);
    g_test_add_func("/pic/pins/edge", test_edge);
    g_test_add_func("/pic/pins/level", test_level);
    g_test_add_func("/pic/pins/mask", test_mask);
    g_test_add_func("/pic/nesting", test_nesting);
    g_test_add_func("/pic/spurious", test_spurious);
    g_test_add_func("/pic/rotate", test_rotate);
    g_test_add_func("/pic/auto-eoi", test_auto_eoi);
    g_test_add_func("/pic/special-mask", test_special_mask);
    g_test_add_func("/pic/poll", test_poll);
    return g_test_run();
}
