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

void gsi_init(Gsi *g, Pic *pic, Ioapic *ioapic)
{
    g->pic = pic;
    g->ioapic = ioapic;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        irq_init(&g->in[n], gsi_set, g, n);
    }
}
