/* ACPI PM1 block, PM timer, GPE0 and PCI hot-plug registers. */
#include "chips.h"
#include "hw/timer/acpi-hotplug.h"

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

/* The run state's side: what the block asks for. */
static struct {
    unsigned shutdowns, suspends;
    LoopFn *powerdown;
    void *opaque;
} run;

void run_request_shutdown(RunState *r, ShutdownCause why)
{
    g_assert_cmpint(why, ==, SHUTDOWN_GUEST_SHUTDOWN);
    run.shutdowns++;
}

void run_on_powerdown(RunState *r, LoopFn *fn, void *opaque)
{
    run.powerdown = fn;
    run.opaque = opaque;
}

typedef struct Board {
    Chips *c;
    AcpiPm pm;
} Board;

static Board *board_new(uint8_t gpe_len)
{
    Board *b = g_new0(Board, 1);

    memset(&run, 0, sizeof(run));
    b->c = chips_new();
    acpi_pm_init(&b->pm, b->c->tree, (RunState *)b, &b->c->wire[9], gpe_len);
    region_map(&b->c->io, 0x600, &b->pm.io, 0);
    region_map(&b->c->io, 0xafe0, &b->pm.gpe, 0);
    return b;
}

static void board_free(Board *b)
{
    region_unmap(&b->pm.io);
    region_unmap(&b->pm.gpe);
    acpi_pm_fini(&b->pm);
    chips_free(b->c);
    g_free(b);
}

static uint32_t in(Board *b, uint16_t port, unsigned size)
{
    return chips_in(b->c, port, size);
}
static void out(Board *b, uint16_t port, unsigned size, uint32_t val)
{
    addrspace_store(b->c->io_as, port, size, val, NULL);
}

static void test_registers(void)
{
    Board *b = board_new(16);

    g_assert_cmphex(in(b, 0x600, 2), ==, 0);
    g_assert_cmphex(in(b, 0x602, 2), ==, 0);
    g_assert_cmphex(in(b, 0x604, 2), ==, 0);
    out(b, 0x602, 2, 0xffff);
    g_assert_cmphex(in(b, 0x602, 2), ==, 0xffff);
    out(b, 0x603, 1, 0);
    g_assert_cmphex(in(b, 0x602, 2), ==, 0x00ff);
    out(b, 0x604, 2, 0xc3ff);
    g_assert_cmphex(in(b, 0x604, 2), ==, 0xc3ff);
    acpi_pm_set_enable(&b->pm, false);
    g_assert_cmphex(in(b, 0x604, 2), ==, 0xc3fe);
    acpi_pm_set_enable(&b->pm, true);
    g_assert_cmphex(in(b, 0x604, 2), ==, 0xc3ff);
    for (unsigned i = 0; i < 16; i++) {
        out(b, (uint16_t)(0xafe0 + i), 1, 0xff);
        g_assert_cmphex(in(b, (uint16_t)(0xafe0 + i), 1), ==, i < 8 ? 0 : 0xff);
    }
    board_free(b);
}

static void test_timer(void)
{
    Board *b = board_new(4);
    uint32_t t0 = in(b, 0x608, 4);

    g_assert_cmphex(t0 >> 24, ==, 0);
    step(1000000000);
    g_assert_cmpuint((in(b, 0x608, 4) - t0) & 0xffffff, ==, 3579545);
    g_assert_cmphex(in(b, 0x609, 1), ==, in(b, 0x608, 4) >> 8 & 0xff);
    out(b, 0x608, 4, 0);
    g_assert_cmpuint((in(b, 0x608, 4) - t0) & 0xffffff, ==, 3579545);
    board_free(b);
}

static void test_timer_overflow(void)
{
    Board *b = board_new(4);

    while (acpi_pm_timer(&b->pm) >= 0x800000) { /* to the lower half */
        step(1000000);
    }
    out(b, 0x600, 2, 1);
    g_assert_cmphex(in(b, 0x600, 2), ==, 0);
    step(
        (0x800000 - acpi_pm_timer(&b->pm)) * G_GINT64_CONSTANT(1000000000) / ACPI_PM_TMR_HZ + 1000);
    g_assert_cmphex(in(b, 0x600, 2), ==, 1); /* without any timer armed */
    g_assert_false(b->c->level[9]);
    out(b, 0x602, 2, 1);
    g_assert_true(b->c->level[9]);
    out(b, 0x600, 2, 1);
    g_assert_false(b->c->level[9]);
    step(2400000000); /* every 2.34 s */
    g_assert_true(b->c->level[9]);
    out(b, 0x600, 2, 0x100); /* another bit leaves it */
    g_assert_cmphex(in(b, 0x600, 2), ==, 1);
    board_free(b);
}

static void test_power_button(void)
{
    Board *b = board_new(4);

    out(b, 0x602, 2, 0x100);
    run.powerdown(run.opaque);
    g_assert_cmphex(in(b, 0x600, 2) & 0x100, ==, 0x100);
    g_assert_true(b->c->level[9]);
    out(b, 0x600, 2, 0x100);
    g_assert_false(b->c->level[9]);
    board_free(b);
}

static void suspended(void *opaque)
{
    run.suspends++;
}

static void test_sleep(void)
{
    Board *b = board_new(4);

    out(b, 0x604, 2, 0x2001 | 1 << 10); /* S3 is not offered */
    g_assert_cmpuint(run.shutdowns, ==, 0);
    g_assert_cmphex(in(b, 0x604, 2), ==, 0x0401); /* SLP_EN reads 0 */
    out(b, 0x604, 2, 0x2001);
    g_assert_cmpuint(run.shutdowns, ==, 1);
    b->pm.suspend = suspended;
    out(b, 0x604, 2, 0x2001 | 1 << 10);
    g_assert_cmpuint(run.suspends, ==, 1);
    acpi_pm_wakeup(&b->pm);
    g_assert_cmphex(in(b, 0x600, 2) & 0x8000, ==, 0x8000);
    board_free(b);
}

static unsigned ejected_bsel, ejected;

static void hp_eject(void *opaque, unsigned bsel, unsigned slot)
{
    ejected_bsel = bsel;
    ejected |= 1u << slot;
}
static uint32_t hp_removable(void *opaque, unsigned bsel)
{
    return bsel == 1 ? 0xfffffff8 : 0;
}
static uint32_t hp_index(void *opaque, unsigned bsel, unsigned slot)
{
    return bsel * 100 + slot;
}
static const AcpiPciHpOps hp_ops = {
    .eject = hp_eject, .removable = hp_removable, .acpi_index = hp_index
};

static void test_pci_hotplug(void)
{
    Board *b = board_new(4);
    g_autofree AcpiPciHp *h = g_new0(AcpiPciHp, 1);

    acpi_pcihp_init(h, b->c->tree, &b->pm, &hp_ops, NULL);
    region_map(&b->c->io, 0xae00, &h->io, 0);
    out(b, 0xafe2, 1, 0x02); /* enable GPE 1 */
    acpi_pcihp_plugged(h, 1, 6);
    g_assert_true(b->c->level[9]);
    g_assert_cmphex(in(b, 0xafe0, 1), ==, 0x02);
    out(b, 0xafe0, 1, 0x02);
    g_assert_false(b->c->level[9]);
    g_assert_cmphex(in(b, 0xae00, 4), ==, 0); /* of bus 0 */
    out(b, 0xae10, 4, 1);
    g_assert_cmphex(in(b, 0xae00, 4), ==, 0x40);
    g_assert_cmphex(in(b, 0xae00, 4), ==, 0);
    g_assert_cmphex(in(b, 0xae0c, 4), ==, 0xfffffff8);
    g_assert_cmphex(in(b, 0xae08, 4), ==, 0);
    out(b, 0xae14, 4, 6);
    g_assert_cmpuint(in(b, 0xae14, 4), ==, 106);
    acpi_pcihp_unplug_request(h, 1, 6);
    g_assert_cmphex(in(b, 0xae04, 4), ==, 0x40);
    out(b, 0xae08, 4, 0x40);
    g_assert_cmpuint(ejected_bsel, ==, 1);
    g_assert_cmphex(ejected, ==, 0x40);
    g_assert_cmphex(in(b, 0xae04, 4), ==, 0);
    out(b, 0xae10, 4, 0xffffffff); /* no such bus */
    g_assert_cmphex(in(b, 0xae00, 4), ==, 0);
    g_assert_cmphex(in(b, 0xae0c, 4), ==, 0xffffffff);
    g_assert_cmphex(in(b, 0xae0c, 1), ==, 0); /* dwords only */
    out(b, 0xae08, 4, 1);
    g_assert_cmphex(ejected, ==, 0x40);
    region_unmap(&h->io);
    acpi_pcihp_fini(h);
    board_free(b);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/acpi-pm/registers", test_registers);
    g_test_add_func("/acpi-pm/timer", test_timer);
    g_test_add_func("/acpi-pm/timer-overflow", test_timer_overflow);
    g_test_add_func("/acpi-pm/power-button", test_power_button);
    g_test_add_func("/acpi-pm/sleep", test_sleep);
    g_test_add_func("/acpi-pm/pci-hotplug", test_pci_hotplug);
    return g_test_run();
}
