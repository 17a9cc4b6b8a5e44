/* Local APIC: registers, priorities, messages in every addressing mode, timers by the stepped
 * clock. */
#include "chips.h"
#include "hw/intc/lapic.h"

const ObjClass *const obj_classes[] = { &lapic_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

typedef struct Cpu {
    Lapic *l;
    _Atomic unsigned irq;
    unsigned nmi, init, sipi;
    uint8_t sipi_vector;
} Cpu;

static void cpu_irq(void *cpu)
{
    ((Cpu *)cpu)->irq++;
}
static void cpu_nmi(void *cpu)
{
    ((Cpu *)cpu)->nmi++;
}
static void cpu_init(void *cpu)
{
    ((Cpu *)cpu)->init++;
}
static void cpu_sipi(void *cpu, uint8_t vector)
{
    ((Cpu *)cpu)->sipi++;
    ((Cpu *)cpu)->sipi_vector = vector;
}
static const LapicOps cpu_ops = {
    .irq = cpu_irq, .nmi = cpu_nmi, .init = cpu_init, .sipi = cpu_sipi
};

typedef struct Board {
    Chips *c;
    LapicBus *bus;
    Cpu cpu[4];
    int eoi;
    int pic_vector;
} Board;

static void board_eoi(void *opaque, uint8_t vector)
{
    ((Board *)opaque)->eoi = vector;
}

static int board_pic_ack(void *opaque)
{
    return ((Board *)opaque)->pic_vector;
}

/* Four processors with enabled APICs, IDs 0..3. */
static Board *board_new(void)
{
    Board *b = g_new0(Board, 1);

    b->c = chips_new();
    b->bus = lapic_bus_new(4);
    b->eoi = -1;
    lapic_bus_on_eoi(b->bus, board_eoi, b);
    lapic_bus_set_pic(b->bus, board_pic_ack, b);
    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *name = g_strdup_printf("cpu%u", i);

        b->cpu[i].l = lapic_new(
            b->bus, obj_container(b->c->tree, name), i, i == 0, true, &cpu_ops, &b->cpu[i]);
        lapic_mmio_write(b->cpu[i].l, 0xf0, 0x1ff);
    }
    return b;
}

static void board_free(Board *b)
{
    chips_free(b->c);
    lapic_bus_free(b->bus);
    g_free(b);
}

static void x2apic_on(Board *b)
{
    for (unsigned i = 0; i < 4; i++) {
        g_assert_true(lapic_base_write(b->cpu[i].l, 0xfee00c00));
    }
}

/* Bit i: processor i has this vector pending; it is taken and completed. */
static unsigned who(Board *b, int vector)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < 4; i++) {
        if (lapic_ack(b->cpu[i].l) == vector) {
            mask |= 1u << i;
            if (lapic_base(b->cpu[i].l) & 0x400) {
                g_assert_true(lapic_msr_write(b->cpu[i].l, 0x80b, 0));
            } else {
                lapic_mmio_write(b->cpu[i].l, 0xb0, 0);
            }
        }
    }
    return mask;
}

static const struct {
    uint16_t off;
    uint32_t reset, ones;
} regs[] = {
    { 0x20, 0x00000000, 0xff000000 },
    { 0x30, 0x00050014, 0x00050014 },
    { 0x80, 0, 0xff },
    { 0xa0, 0, 0 },
    { 0xd0, 0, 0xff000000 },
    { 0xe0, 0xffffffff, 0xffffffff },
    { 0xf0, 0xff, 0x1ff },
    { 0x310, 0, 0xff000000 },
    { 0x320, 0x10000, 0x700ff },
    { 0x330, 0x10000, 0x107ff },
    { 0x340, 0x10000, 0x107ff },
    { 0x350, 0x10000, 0x1a7ff },
    { 0x360, 0x10000, 0x1a7ff },
    { 0x370, 0x10000, 0x100ff },
    { 0x380, 0, 0 },
    { 0x390, 0, 0 },
    { 0x3e0, 0, 0xb },
};

static void test_registers(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_reset(l);
    g_assert_cmphex(lapic_base(l), ==, 0xfee00900);
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        g_assert_cmphex(lapic_mmio_read(l, regs[i].off), ==, regs[i].reset);
    }
    lapic_mmio_write(l, 0xf0, 0x1ff);
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        if (regs[i].off != 0x380) {
            lapic_mmio_write(l, regs[i].off, 0xffffffff);
            g_assert_cmphex(lapic_mmio_read(l, regs[i].off), ==, regs[i].ones);
            lapic_mmio_write(l, regs[i].off, regs[i].off == 0xf0 ? 0x1ff : regs[i].reset);
        }
    }
    lapic_mmio_write(l, 0x350, 0x700);
    lapic_mmio_write(l, 0xf0, 0xff); /* software disable masks the table */
    g_assert_cmphex(lapic_mmio_read(l, 0x350), ==, 0x10700);
    board_free(b);
}

static void test_priority(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_bus_deliver(b->bus, 0, false, 0, 0x51, false);
    lapic_bus_deliver(b->bus, 0, false, 0, 0x62, false);
    g_assert_cmpint(lapic_ack(l), ==, 0x62);
    g_assert_cmphex(lapic_mmio_read(l, 0xa0), ==, 0x60);
    g_assert_false(lapic_pending(l)); /* 0x51 waits behind 0x62 */
    lapic_mmio_write(l, 0xb0, 0);
    g_assert_true(lapic_pending(l));
    lapic_set_cr8(l, 5);
    g_assert_cmphex(lapic_mmio_read(l, 0x80), ==, 0x50);
    g_assert_cmpint(lapic_ack(l), ==, -1);
    lapic_mmio_write(l, 0x80, 0x4f);
    g_assert_cmphex(lapic_cr8(l), ==, 4);
    g_assert_cmpint(lapic_ack(l), ==, 0x51);
    g_assert_cmphex(lapic_mmio_read(l, 0x100 + 0x20), ==, 1u << (0x51 - 0x40));
    board_free(b);
}

static void test_eoi(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_bus_deliver(b->bus, 0, false, 0, 0x71, /* level= */ true);
    g_assert_cmphex(lapic_mmio_read(l, 0x180 + 0x30), ==, 1u << (0x71 - 0x60));
    g_assert_cmpint(lapic_ack(l), ==, 0x71);
    lapic_mmio_write(l, 0xb0, 0);
    g_assert_cmpint(b->eoi, ==, 0x71);
    b->eoi = -1;
    lapic_bus_deliver(b->bus, 0, false, 0, 0x71, /* level= */ false);
    g_assert_cmpint(lapic_ack(l), ==, 0x71);
    lapic_mmio_write(l, 0xb0, 0);
    g_assert_cmpint(b->eoi, ==, -1);
    board_free(b);
}

/* ICR low, high; which processors get the interrupt when processor 1 sends it. */
static const struct {
    uint32_t icr, dest;
    unsigned who;
} ipis[] = {
    { 0x000040, 2u << 24, 1 << 2 },
    { 0x000040, 0xffu << 24, 0xf },
    { 0x000040, 9u << 24, 0 },
    { 0x040040, 0, 1 << 1 },
    { 0x080040, 0, 0xf },
    { 0x0c0040, 0, 0xd },
    { 0x000140, 3u << 24, 1 << 3 },
};

static void test_ipi(void)
{
    Board *b = board_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(ipis); i++) {
        lapic_mmio_write(b->cpu[1].l, 0x310, ipis[i].dest);
        lapic_mmio_write(b->cpu[1].l, 0x300, ipis[i].icr);
        g_assert_cmphex(who(b, 0x40), ==, ipis[i].who);
    }
    board_free(b);
}

static void test_logical(void)
{
    Board *b = board_new();

    for (unsigned i = 0; i < 4; i++) {
        lapic_mmio_write(b->cpu[i].l, 0xd0, 0x01000000u << i);
    }
    lapic_bus_deliver(b->bus, 0x05, true, 0, 0x40, false);
    g_assert_cmphex(who(b, 0x40), ==, 0x5);
    lapic_bus_deliver(b->bus, 0xff, true, 0, 0x40, false);
    g_assert_cmphex(who(b, 0x40), ==, 0xf);
    for (unsigned i = 0; i < 4; i++) { /* cluster model: two clusters of two */
        lapic_mmio_write(b->cpu[i].l, 0xe0, 0);
        lapic_mmio_write(b->cpu[i].l, 0xd0, (i / 2) << 28 | 0x01000000u << (i % 2));
    }
    lapic_bus_deliver(b->bus, 0x13, true, 0, 0x40, false);
    g_assert_cmphex(who(b, 0x40), ==, 0xc);
    lapic_bus_deliver(b->bus, 0x01, true, 0, 0x40, false);
    g_assert_cmphex(who(b, 0x40), ==, 0x1);
    board_free(b);
}

static void test_lowest_priority(void)
{
    Board *b = board_new();

    lapic_set_cr8(b->cpu[0].l, 3);
    lapic_set_cr8(b->cpu[1].l, 2);
    lapic_set_cr8(b->cpu[2].l, 1);
    lapic_set_cr8(b->cpu[3].l, 2);
    lapic_bus_deliver(b->bus, 0xff, false, 1, 0x40, false);
    g_assert_cmphex(who(b, 0x40), ==, 1 << 2);
    board_free(b);
}

static void test_nmi_init_sipi(void)
{
    Board *b = board_new();

    lapic_mmio_write(b->cpu[0].l, 0x310, 1u << 24);
    lapic_mmio_write(b->cpu[0].l, 0x300, 0x4400);
    g_assert_cmpuint(b->cpu[1].nmi, ==, 1);
    lapic_mmio_write(b->cpu[0].l, 0x300, 0xc500); /* INIT assert */
    lapic_mmio_write(b->cpu[0].l, 0x300, 0x8500); /* INIT level de-assert: nothing */
    g_assert_cmpuint(b->cpu[1].init, ==, 1);
    lapic_mmio_write(b->cpu[0].l, 0x300, 0x4699);
    g_assert_cmpuint(b->cpu[1].sipi, ==, 1);
    g_assert_cmphex(b->cpu[1].sipi_vector, ==, 0x99);
    lapic_mmio_write(b->cpu[0].l, 0x300, 0xc4500); /* all but self */
    g_assert_cmpuint(b->cpu[0].init, ==, 0);
    g_assert_cmpuint(b->cpu[3].init, ==, 1);
    lapic_init_signal(b->cpu[1].l);
    g_assert_cmphex(lapic_mmio_read(b->cpu[1].l, 0x20), ==, 1u << 24);
    g_assert_cmphex(lapic_mmio_read(b->cpu[1].l, 0xf0), ==, 0xff);
    board_free(b);
}

static void test_x2apic(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[2].l;
    uint64_t v;

    g_assert_false(lapic_msr_read(l, 0x802, &v)); /* not in x2APIC mode */
    g_assert_false(lapic_base_write(l, 0xfee00400));
    g_assert_true(lapic_base_write(l, 0xfee00c00));
    g_assert_false(lapic_base_write(l, 0xfee00800)); /* not back to xAPIC */
    g_assert_true(lapic_msr_read(l, 0x802, &v) && v == 2);
    g_assert_true(lapic_msr_read(l, 0x80d, &v) && v == 4);
    g_assert_false(lapic_msr_read(l, 0x80b, &v));
    g_assert_false(lapic_msr_read(l, 0x80e, &v));
    g_assert_false(lapic_msr_read(l, 0x831, &v));
    g_assert_false(lapic_msr_write(l, 0x802, 1));
    g_assert_false(lapic_msr_write(l, 0x80b, 1));
    g_assert_false(lapic_msr_write(l, 0x808, 0x100));
    g_assert_true(lapic_msr_write(l, 0x808, 0x20) && lapic_cr8(l) == 2);
    g_assert_cmphex(lapic_mmio_read(l, 0x30), ==, 0xffffffff);
    g_assert_true(lapic_base_write(l, 0xfee00000));
    g_assert_false(lapic_base_write(l, 0xfee00c00)); /* from disabled by way of xAPIC only */
    g_assert_true(lapic_base_write(l, 0xfee00800));
    g_assert_cmphex(lapic_mmio_read(l, 0x20), ==, 2u << 24);
    board_free(b);
}

static void test_x2apic_ipi(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[1].l;

    x2apic_on(b);
    g_assert_true(lapic_msr_write(l, 0x830, 3ull << 32 | 0x40));
    g_assert_cmphex(who(b, 0x40), ==, 1 << 3);
    g_assert_true(
        lapic_msr_write(l, 0x830, 0xffull << 32 | 0x40)); /* processor 255, not everyone */
    g_assert_cmphex(who(b, 0x40), ==, 0);
    g_assert_true(lapic_msr_write(l, 0x830, 0xffffffffull << 32 | 0x40));
    g_assert_cmphex(who(b, 0x40), ==, 0xf);
    g_assert_true(lapic_msr_write(l, 0x830, 0x9ull << 32 | 0x840));
    g_assert_cmphex(who(b, 0x40), ==, 0x9);
    g_assert_true(lapic_msr_write(l, 0x830, 0x10009ull << 32 | 0x840)); /* cluster 1 is empty */
    g_assert_cmphex(who(b, 0x40), ==, 0);
    g_assert_true(lapic_msr_write(l, 0x83f, 0x40));
    g_assert_cmphex(who(b, 0x40), ==, 1 << 1);
    board_free(b);
}

static void test_msi(void)
{
    Board *b = board_new();

    lapic_bus_msi(b->bus, 0xfee02000, 0x41);
    g_assert_cmphex(who(b, 0x41), ==, 1 << 2);
    lapic_mmio_write(b->cpu[3].l, 0xd0, 0x08000000);
    lapic_bus_msi(b->bus, 0xfee08004, 0x42);
    g_assert_cmphex(who(b, 0x42), ==, 1 << 3);
    lapic_bus_msi(b->bus, 0xfee02000, 0x400);
    g_assert_cmpuint(b->cpu[2].nmi, ==, 1);
    lapic_bus_msi(b->bus, 0xfee02000, 0x8043); /* level de-assert */
    g_assert_cmphex(who(b, 0x43), ==, 0);
    lapic_mmio_write(b->cpu[2].l, 0xf0, 0xff); /* software disabled */
    lapic_bus_msi(b->bus, 0xfee02000, 0x41);
    lapic_mmio_write(b->cpu[2].l, 0xf0, 0x1ff);
    g_assert_cmphex(who(b, 0x41), ==, 0);
    board_free(b);
}

static void test_errors(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_mmio_write(l, 0x370, 0xfe);
    lapic_mmio_write(l, 0x300, 0x4000f); /* vector below 16 */
    g_assert_cmphex(lapic_mmio_read(l, 0x280), ==, 0);
    lapic_mmio_write(l, 0x280, 0);
    g_assert_cmphex(lapic_mmio_read(l, 0x280), ==, 0x20);
    g_assert_cmphex(who(b, 0xfe), ==, 1);
    lapic_bus_msi(b->bus, 0xfee00000, 0x05);
    lapic_mmio_read(l, 0x400);
    lapic_mmio_write(l, 0x280, 0);
    g_assert_cmphex(lapic_mmio_read(l, 0x280), ==, 0xc0);
    lapic_mmio_write(l, 0x280, 0);
    g_assert_cmphex(lapic_mmio_read(l, 0x280), ==, 0);
    lapic_mmio_write(l, 0x370, 0x03); /* an illegal error vector ends */
    lapic_mmio_write(l, 0x300, 0x4000f);
    board_free(b);
}

static void test_extint(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    b->pic_vector = 0x08;
    lapic_set_extint(l, true);
    g_assert_false(lapic_pending(l)); /* LINT0 is masked */
    lapic_mmio_write(l, 0x350, 0x700);
    g_assert_true(lapic_pending(l));
    lapic_set_cr8(l, 15); /* priorities do not concern it */
    g_assert_cmpint(lapic_ack(l), ==, 0x08);
    lapic_set_extint(l, false);
    g_assert_cmpint(lapic_ack(l), ==, -1);
    lapic_set_extint(l, true);
    lapic_mmio_write(l, 0x350, 0x10700);
    g_assert_false(lapic_pending(l));
    g_assert_true(lapic_base_write(l, 0xfee00000)); /* switched off: the pin is INTR */
    g_assert_cmpint(lapic_ack(l), ==, 0x08);
    board_free(b);
}

static void test_nmi_pin(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_nmi_pin(l, true);
    lapic_nmi_pin(l, false);
    g_assert_cmpuint(b->cpu[0].nmi, ==, 0);
    lapic_mmio_write(l, 0x360, 0x400);
    lapic_nmi_pin(l, true);
    lapic_nmi_pin(l, true);
    g_assert_cmpuint(b->cpu[0].nmi, ==, 1);
    board_free(b);
}

static void test_timer_oneshot(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_mmio_write(l, 0x320, 0x50);
    lapic_mmio_write(l, 0x3e0, 0x3); /* by 16: 16 ns a count */
    lapic_mmio_write(l, 0x380, 1000);
    g_assert_cmpuint(lapic_mmio_read(l, 0x390), ==, 1000);
    step(8000);
    g_assert_cmpuint(lapic_mmio_read(l, 0x390), ==, 500);
    step(7999);
    g_assert_cmphex(who(b, 0x50), ==, 0);
    step(1);
    g_assert_cmphex(who(b, 0x50), ==, 1);
    g_assert_cmpuint(lapic_mmio_read(l, 0x390), ==, 0);
    g_assert_cmpuint(lapic_mmio_read(l, 0x380), ==, 1000);
    step(1000000);
    g_assert_cmphex(who(b, 0x50), ==, 0);
    board_free(b);
}

static void test_timer_periodic(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_mmio_write(l, 0x320, 0x20051);
    lapic_mmio_write(l, 0x3e0, 0xb); /* by 1 */
    lapic_mmio_write(l, 0x380, 1000000);
    step(999999);
    g_assert_cmphex(who(b, 0x51), ==, 0);
    step(1);
    g_assert_cmphex(who(b, 0x51), ==, 1);
    step(250000);
    g_assert_cmpuint(lapic_mmio_read(l, 0x390), ==, 750000);
    step(750000);
    g_assert_cmphex(who(b, 0x51), ==, 1);
    lapic_mmio_write(l, 0x320, 0x30051); /* masked: it runs on in silence */
    step(1000000);
    g_assert_cmphex(who(b, 0x51), ==, 0);
    lapic_mmio_write(l, 0x320, 0x20051);
    step(1000000);
    g_assert_cmphex(who(b, 0x51), ==, 1);
    lapic_mmio_write(l, 0x380, 0);
    step(5000000);
    g_assert_cmphex(who(b, 0x51), ==, 0);
    board_free(b);
}

/* The timer is re-armed later and earlier than what the loop sleeps for. */
static void test_timer_rearm(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_mmio_write(l, 0x320, 0x52);
    lapic_mmio_write(l, 0x3e0, 0xb);
    lapic_mmio_write(l, 0x380, 1000);
    step(500);
    lapic_mmio_write(l, 0x380, 5000);
    step(4999);
    g_assert_cmphex(who(b, 0x52), ==, 0);
    step(1);
    g_assert_cmphex(who(b, 0x52), ==, 1);
    lapic_mmio_write(l, 0x380, 100000);
    lapic_mmio_write(l, 0x380, 10);
    step(10);
    g_assert_cmphex(who(b, 0x52), ==, 1);
    board_free(b);
}

static gpointer arm_from_thread(gpointer l)
{
    lapic_mmio_write(l, 0x380, 1000);
    return NULL;
}

static void test_timer_other_thread(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;

    lapic_mmio_write(l, 0x320, 0x54);
    lapic_mmio_write(l, 0x3e0, 0xb);
    g_thread_join(g_thread_new("vcpu", arm_from_thread, l)); /* without the VM lock: posts */
    loop_turn(loop_main(), false);
    step(1000);
    g_assert_cmphex(who(b, 0x54), ==, 1);
    board_free(b);
}

static void test_timer_deadline(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;
    uint64_t v, ms = clock_tsc_hz() / 1000;

    g_assert_true(lapic_msr_write(l, 0x6e0, clock_tsc() + ms)); /* another mode: ignored */
    g_assert_true(lapic_msr_read(l, 0x6e0, &v) && v == 0);
    lapic_mmio_write(l, 0x320, 0x40053);
    v = clock_tsc() + ms;
    g_assert_true(lapic_msr_write(l, 0x6e0, v));
    g_assert_true(lapic_msr_read(l, 0x6e0, &v) && v != 0);
    step(990000);
    g_assert_cmphex(who(b, 0x53), ==, 0);
    step(20000);
    g_assert_cmphex(who(b, 0x53), ==, 1);
    g_assert_true(lapic_msr_read(l, 0x6e0, &v) && v == 0);
    lapic_set_tsc_offset(l, (int64_t)(10 * ms)); /* the guest's TSC is ahead */
    g_assert_true(lapic_msr_write(l, 0x6e0, clock_tsc() + 11 * ms));
    step(1010000);
    g_assert_cmphex(who(b, 0x53), ==, 1);
    g_assert_true(lapic_msr_write(l, 0x6e0, clock_tsc() + 11 * ms));
    g_assert_true(lapic_msr_write(l, 0x6e0, 0)); /* disarms */
    step(5000000);
    g_assert_cmphex(who(b, 0x53), ==, 0);
    g_assert_true(lapic_msr_write(l, 0x6e0, 1)); /* long past */
    step(0);
    g_assert_cmphex(who(b, 0x53), ==, 1);
    board_free(b);
}

static Lapic *accessor;

static Lapic *current(void)
{
    return accessor;
}

/* The page belongs to the processor that accesses it; a device's write there is a message. */
static void test_region(void)
{
    Board *b = board_new();
    Region r;

    lapic_bus_init_region(b->bus, &r, current);
    region_map(&b->c->mem, 0xfee00000, &r, 0);
    accessor = b->cpu[2].l;
    g_assert_cmphex(readl(b->c, 0xfee00020), ==, 2u << 24);
    writel(b->c, 0xfee00080, 0x30);
    g_assert_cmphex(lapic_cr8(b->cpu[2].l), ==, 3);
    accessor = NULL;
    g_assert_cmphex(readl(b->c, 0xfee00020), ==, 0);
    writel(b->c, 0xfee03000, 0x41);
    g_assert_cmphex(who(b, 0x41), ==, 1 << 3);
    region_unmap(&r);
    region_fini(&r);
    board_free(b);
}

enum { SENDERS = 3, MESSAGES = 20000 };
typedef struct Sender {
    LapicBus *bus;
    uint8_t vector;
    _Atomic unsigned taken;
} Sender;

/* Sends the next message when the last one was taken: a lost one hangs the test. */
static gpointer sender_run(gpointer opaque)
{
    Sender *s = opaque;

    for (unsigned i = 0; i < MESSAGES; i++) {
        lapic_bus_msi(s->bus, 0xfee00000, s->vector);
        while (s->taken == i) {
            g_thread_yield();
        }
    }
    return NULL;
}

static void test_concurrent_messages(void)
{
    Board *b = board_new();
    Lapic *l = b->cpu[0].l;
    Sender s[SENDERS];
    GThread *t[SENDERS];

    for (unsigned i = 0; i < SENDERS; i++) {
        s[i] = (Sender){ .bus = b->bus, .vector = (uint8_t)(0x40 + i) }; /* one word of IRR */
        t[i] = g_thread_new("sender", sender_run, &s[i]);
    }
    for (unsigned n = 0; n < SENDERS * MESSAGES;) {
        int v = lapic_ack(l);

        if (v >= 0) {
            lapic_mmio_write(l, 0xb0, 0);
            s[v - 0x40].taken++;
            n++;
        }
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        g_thread_join(t[i]);
    }
    g_assert_cmpint(lapic_ack(l), ==, -1);
    board_free(b);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/lapic/registers", test_registers);
    g_test_add_func("/lapic/priority", test_priority);
    g_test_add_func("/lapic/eoi", test_eoi);
    g_test_add_func("/lapic/ipi", test_ipi);
    g_test_add_func("/lapic/logical", test_logical);
    g_test_add_func("/lapic/lowest-priority", test_lowest_priority);
    g_test_add_func("/lapic/nmi-init-sipi", test_nmi_init_sipi);
    g_test_add_func("/lapic/x2apic", test_x2apic);
    g_test_add_func("/lapic/x2apic-ipi", test_x2apic_ipi);
    g_test_add_func("/lapic/msi", test_msi);
    g_test_add_func("/lapic/errors", test_errors);
    g_test_add_func("/lapic/extint", test_extint);
    g_test_add_func("/lapic/nmi-pin", test_nmi_pin);
    g_test_add_func("/lapic/timer/one-shot", test_timer_oneshot);
    g_test_add_func("/lapic/timer/periodic", test_timer_periodic);
    g_test_add_func("/lapic/timer/re-arm", test_timer_rearm);
    g_test_add_func("/lapic/timer/other-thread", test_timer_other_thread);
    g_test_add_func("/lapic/timer/tsc-deadline", test_timer_deadline);
    g_test_add_func("/lapic/region", test_region);
    g_test_add_func("/lapic/concurrent-messages", test_concurrent_messages);
    return g_test_run();
}
