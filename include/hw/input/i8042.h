/* 8042 keyboard controller with its keyboard and mouse (ports 0x60, 0x64). VM lock held. */
#pragma once

#include "hw/core/dev.h"
#include "hw/input/ps2.h"

typedef struct I8042 I8042;
extern const ObjClass i8042_class; /* "i8042" */

/*
 * kbd_irq, mouse_irq: ISA 1 and 12. a20: raised while A20 is enabled (set by output port bit 1).
 * reset: pulsed on the reset command. Any may be NULL.
 */
I8042 *i8042_new(Obj *tree, Region *io, Irq *kbd_irq, Irq *mouse_irq, Irq *a20, Irq *reset);
Ps2Kbd *i8042_kbd(I8042 *k);
Ps2Mouse *i8042_mouse(I8042 *k);
