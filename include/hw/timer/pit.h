/* 8254 interval timer (ports 0x40..0x43) and port 0x61: channel 2's gate, the speaker bit and OUT2.
 */
#pragma once

#include "hw/core/dev.h"

typedef struct Pit Pit;
extern const ObjClass pit_class;   /* "isa-pit" */
extern const ObjClass pcspk_class; /* "isa-pcspk" */

enum { PIT_HZ = 1193182 };

/* irq0: wire of channel 0's output; may be NULL. Makes port 0x61 too. */
Pit *pit_new(Obj *tree, Region *io, Irq *irq0);
/* Output level and current count of a channel at virtual time now_ns, from the clock alone. */
bool pit_out(const Pit *p, unsigned ch, int64_t now_ns);
uint16_t pit_count(const Pit *p, unsigned ch, int64_t now_ns);
