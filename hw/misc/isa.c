/* The ISA bus of a PC. Covered by tests/unit/test-serial.c. */
#include "hw/misc/isa.h"

const BusClass isa_bus_class = { .type = "ISA" };

void isa_bus_init(IsaBus *b, Dev *parent, Obj *tree_parent, Region *io, Irq *irqs)
{
    bus_init(&b->bus, &isa_bus_class, parent, tree_parent, "isa.0");
    b->io = io;
    for (unsigned n = 0; n < 16; n++) {
        b->irqs[n] = irqs ? &irqs[n] : NULL;
    }
}

IsaBus *isa_bus_of(const Dev *d)
{
    return d->bus && d->bus->cls == &isa_bus_class ? (IsaBus *)d->bus : NULL;
}
