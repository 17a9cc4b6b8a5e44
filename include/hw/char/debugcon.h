/* "isa-debugcon": bytes written to its port go to a chardev; reads give `readback` (0xe9). Ports
 * 0xe9 or, for firmware, 0x402. */
#pragma once

#include "hw/core/dev.h"
#include "hw/misc/isa.h"

typedef struct Chardev Chardev;
typedef struct Debugcon Debugcon;
extern const ObjClass isa_debugcon_class; /* "isa-debugcon": chardev, iobase, readback */

/* -debugcon. NULL: another front end has chr. */
Debugcon *isa_debugcon_new(Obj *tree, IsaBus *bus, uint16_t iobase, Chardev *chr);
