/* The ISA bus: port space and sixteen interrupt wires for the devices that sit on it. */
#pragma once

#include "hw/core/dev.h"

typedef struct IsaBus {
    Bus bus; /* "ISA", name "isa.0" */
    Region *io;
    Irq *irqs[16]; /* the board's GSI wires; entries may be NULL */
} IsaBus;

extern const BusClass isa_bus_class;

/* parent: the bridge, NULL: the machine. tree_parent: where it hangs in the tree. irqs: sixteen
 * wires, may be NULL. */
void isa_bus_init(IsaBus *b, Dev *parent, Obj *tree_parent, Region *io, Irq *irqs);
/* d sits on an ISA bus: its bus, else NULL. */
IsaBus *isa_bus_of(const Dev *d);
