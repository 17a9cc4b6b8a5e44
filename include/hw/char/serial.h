/* 16550A UART behind a Chardev; "isa-serial" puts one on ports 0x3f8, 0x2f8, 0x3e8 or 0x2e8. Main
 * loop, VM lock held. */
#pragma once

#include "hw/core/dev.h"
#include "hw/misc/isa.h"

typedef struct Chardev Chardev;
typedef struct Serial Serial;
extern const ObjClass isa_serial_class; /* "isa-serial": chardev, iobase, irq, index */

/* COM1..COM4 for index 0..3. chr NULL: nothing attached. Returns NULL when another front end has
 * chr. */
Serial *isa_serial_new(Obj *tree, IsaBus *bus, unsigned index, Chardev *chr, GError **err);
