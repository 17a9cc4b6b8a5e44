/* The 8259A pair of a PC with its edge/level control registers (ports 0x20, 0xa0, 0x4d0). VM lock
 * held, except pic_intr(). */
#pragma once

#include "hw/core/dev.h"

typedef struct Pic Pic;
extern const ObjClass pic_class; /* "isa-i8259": both chips */

/*
 * io: port space. intr: the wire the master's INTR drives (LINT0 of the boot processor); may be
 * NULL. The object hangs in tree as "device[N]"; the tree owns it.
 */
Pic *pic_new(Obj *tree, Region *io, Irq *intr);
Irq *pic_irq(Pic *p, unsigned n);        /* input 0..15; 2 is the cascade and goes nowhere */
bool pic_busy(const Pic *p, unsigned n); /* input n's request is open and not acknowledged */
bool pic_intr(const Pic *p);             /* INTR's level; any thread */
/* Interrupt acknowledge cycle: the vector; spurious requests give IRQ 7 or 15. Fits
 * lapic_bus_set_pic(); takes the VM lock if needed. */
int pic_ack(void *pic);
void pic_describe(const Pic *p, GString *out); /* info pic */
