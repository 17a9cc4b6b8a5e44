/* System control port A (0x92): fast A20 and fast reset. */
#pragma once

#include "hw/core/dev.h"

typedef struct Port92 Port92;
extern const ObjClass port92_class; /* "port92" */

Port92 *port92_new(Obj *tree, Region *io, Irq *a20, Irq *reset); /* wires as in i8042_new() */
