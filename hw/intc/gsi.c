/* Global system interrupts: PIC input and I/O APIC pin together. Covered by
 * tests/unit/test-ioapic.c. */
#include "hw/intc/gsi.h"

static void gsi_set(void *opaque, unsigned n, bool level)
{
    Gsi *g = opaque;

    if (g->pic && n < 16) {
        irq_set(pic_irq(g->pic, n), level);
    }
    if (g->ioapic && n != 2) {
        irq_set(ioapic_irq(g->ioapic, n ? n : 2), level);
    }
}

/* Through the chip whose input is open. */
static bool gsi_busy(void *opaque, unsigned n)
{
    const Gsi *g = opaque;

    return (g->ioapic && n != 2 && ioapic_busy(g->ioapic, n ? n : 2)) ||
           (g->pic && n < 16 && pic_busy(g->pic, n));
}

void gsi_init(Gsi *g, Pic *pic, Ioapic *ioapic)
{
    g->pic = pic;
    g->ioapic = ioapic;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        irq_init(&g->in[n], gsi_set, g, n);
        g->in[n].busy = gsi_busy;
    }
}
