/* I/O APIC and GSI wiring: registers, every pin with edges and levels, EOI. */
#include "chips.h"
#include "hw/intc/gsi.h"

const ObjClass *const obj_classes[] = { &pic_class, &ioapic_class, &lapic_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { BASE = 0xfec00000 };

static void cpu_nothing(void *cpu) {}
static void cpu_sipi(void *cpu, uint8_t vector) {}
static const LapicOps cpu_ops = {
    .irq = cpu_nothing, .nmi = cpu_nothing, .init = cpu_nothing, .sipi = cpu_sipi
};

typedef struct Board {
    Chips *c;
    LapicBus *bus;
    Lapic *cpu;
    Ioapic *io;
} Board;

static Board board_new(void)
{
    Board b = { .c = chips_new(), .bus = lapic_bus_new(1) };

    b.cpu = lapic_new(b.bus, b.c->tree, 0, /* bsp= */ true, /* x2apic= */ false, &cpu_ops, NULL);
    lapic_mmio_write(b.cpu, 0xf0, 0x1ff);
    b.io = ioapic_new(b.c->tree, &b.c->mem, BASE, b.bus);
    return b;
}

static void board_free(Board b)
{
    chips_free(b.c);
    lapic_bus_free(b.bus);
}

static uint32_t reg(Board b, uint8_t n)
{
    writel(b.c, BASE, n);
    return readl(b.c, BASE + 0x10);
}

static void set_reg(Board b, uint8_t n, uint32_t val)
{
    writel(b.c, BASE, n);
    writel(b.c, BASE + 0x10, val);
}

/* The interrupt is taken and completed by the guest's handler; -1: none. */
static int take(Board b)
{
    return lapic_ack(b.cpu);
}

static void eoi(Board b)
{
    lapic_mmio_write(b.cpu, 0xb0, 0);
}

static void test_registers(void)
{
    Board b = board_new();

    g_assert_cmphex(reg(b, 0), ==, 0);
    g_assert_cmphex(reg(b, 1), ==, 0x00170020);
    g_assert_cmphex(reg(b, 2), ==, 0);
    g_assert_cmphex(reg(b, 0x10), ==, 0x10000);
    g_assert_cmphex(reg(b, 0x11), ==, 0);
    g_assert_cmphex(reg(b, 0x3e), ==, 0x10000);
    set_reg(b, 0, 0xffffffff);
    g_assert_cmphex(reg(b, 0), ==, 0x0f000000);
    g_assert_cmphex(reg(b, 2), ==, 0x0f000000);
    set_reg(b, 1, 0xffffffff);
    g_assert_cmphex(reg(b, 1), ==, 0x00170020);
    set_reg(b, 0x10, 0xffffffff); /* 12 and 14 are read-only */
    g_assert_cmphex(reg(b, 0x10), ==, 0x1afff);
    set_reg(b, 0x11, 0xffffffff);
    g_assert_cmphex(reg(b, 0x11), ==, 0xff000000);
    g_assert_cmphex(reg(b, 0x40), ==, 0);
    board_free(b);
}

static void test_edge(void)
{
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        Board b = board_new();

        irq_set(ioapic_irq(b.io, n), true); /* masked: lost */
        irq_set(ioapic_irq(b.io, n), false);
        set_reg(b, (uint8_t)(0x10 + 2 * n), 0x30 + n);
        g_assert_cmpint(take(b), ==, -1);
        irq_set(ioapic_irq(b.io, n), true);
        irq_set(ioapic_irq(b.io, n), true); /* no edge */
        g_assert_cmpint(take(b), ==, 0x30 + n);
        eoi(b);
        g_assert_cmpint(take(b), ==, -1);
        g_assert_cmphex(reg(b, (uint8_t)(0x10 + 2 * n)), ==, 0x30 + n);
        board_free(b);
    }
}

static void test_level(void)
{
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        Board b = board_new();
        uint8_t r = (uint8_t)(0x10 + 2 * n);

        set_reg(b, r, 0x8000 + 0x30 + n);
        irq_set(ioapic_irq(b.io, n), true);
        g_assert_cmphex(reg(b, r), ==, 0xc000 + 0x30 + n); /* remote IRR */
        g_assert_cmpint(take(b), ==, 0x30 + n);
        g_assert_cmpint(take(b), ==, -1);
        eoi(b); /* still high: again */
        g_assert_cmpint(take(b), ==, 0x30 + n);
        irq_set(ioapic_irq(b.io, n), false);
        eoi(b);
        g_assert_cmpint(take(b), ==, -1);
        g_assert_cmphex(reg(b, r), ==, 0x8000 + 0x30 + n);
        board_free(b);
    }
}

static void test_unmask_level(void)
{
    Board b = board_new();

    set_reg(b, 0x10 + 2 * 20, 0x18051);
    irq_set(ioapic_irq(b.io, 20), true);
    g_assert_cmpint(take(b), ==, -1);
    set_reg(b, 0x10 + 2 * 20, 0x8051);
    g_assert_cmpint(take(b), ==, 0x51);
    board_free(b);
}

static void test_eoi_register(void)
{
    Board b = board_new();

    set_reg(b, 0x10 + 2 * 20, 0x8051);
    irq_set(ioapic_irq(b.io, 20), true);
    irq_set(ioapic_irq(b.io, 20), false);
    writel(b.c, BASE + 0x40, 0x52);
    g_assert_cmphex(reg(b, 0x10 + 2 * 20), ==, 0xc051);
    writel(b.c, BASE + 0x40, 0x51);
    g_assert_cmphex(reg(b, 0x10 + 2 * 20), ==, 0x8051);
    board_free(b);
}

static void test_edge_clears_remote_irr(void)
{
    Board b = board_new();

    set_reg(b, 0x10 + 2 * 20, 0x8051);
    irq_set(ioapic_irq(b.io, 20), true);
    set_reg(b, 0x10 + 2 * 20, 0x10051);
    set_reg(b, 0x10 + 2 * 20, 0x18051);
    g_assert_cmphex(reg(b, 0x10 + 2 * 20), ==, 0x18051);
    board_free(b);
}

/* What each GSI reaches: PIC vector (base 0x20, 0x28) and I/O APIC pin; -1: none. */
static const struct {
    unsigned gsi;
    int pic, pin;
} routes[] = {
    { 0, 0x20, 2 },
    { 1, 0x21, 1 },
    { 3, 0x23, 3 },
    { 4, 0x24, 4 },
    { 5, 0x25, 5 },
    { 6, 0x26, 6 },
    { 7, 0x27, 7 },
    { 8, 0x28, 8 },
    { 9, 0x29, 9 },
    { 10, 0x2a, 10 },
    { 11, 0x2b, 11 },
    { 12, 0x2c, 12 },
    { 13, 0x2d, 13 },
    { 14, 0x2e, 14 },
    { 15, 0x2f, 15 },
    { 16, -1, 16 },
    { 17, -1, 17 },
    { 18, -1, 18 },
    { 19, -1, 19 },
    { 20, -1, 20 },
    { 21, -1, 21 },
    { 22, -1, 22 },
    { 23, -1, 23 },
    { 2, -1, -1 },
};

static void test_gsi(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(routes); i++) {
        Board b = board_new();
        Pic *pic = pic_new(b.c->tree, &b.c->io, NULL);
        Gsi g;

        outb(b.c, 0x20, 0x11), outb(b.c, 0x21, 0x20), outb(b.c, 0x21, 0x04), outb(b.c, 0x21, 0x01);
        outb(b.c, 0xa0, 0x11), outb(b.c, 0xa1, 0x28), outb(b.c, 0xa1, 0x02), outb(b.c, 0xa1, 0x01);
        for (unsigned n = 0; n < IOAPIC_PINS; n++) {
            set_reg(b, (uint8_t)(0x10 + 2 * n), 0x40 + n);
        }
        gsi_init(&g, pic, b.io);
        irq_set(gsi_irq(&g, routes[i].gsi), true);
        g_assert_cmpint(take(b), ==, routes[i].pin < 0 ? -1 : 0x40 + routes[i].pin);
        g_assert_cmpint(pic_intr(pic) ? pic_ack(pic) : -1, ==, routes[i].pic);
        board_free(b);
    }
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/ioapic/registers", test_registers);
    g_test_add_func("/ioapic/pins/edge", test_edge);
    g_test_add_func("/ioapic/pins/level", test_level);
    g_test_add_func("/ioapic/unmask-level", test_unmask_level);
    g_test_add_func("/ioapic/eoi-register", test_eoi_register);
    g_test_add_func("/ioapic/edge-mode-clears-remote-irr", test_edge_clears_remote_irr);
    g_test_add_func("/ioapic/gsi-routes", test_gsi);
    return g_test_run();
}
