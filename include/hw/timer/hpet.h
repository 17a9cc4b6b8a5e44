/* IA-PC HPET 1.0a: three 64-bit comparators, legacy replacement, 100 MHz. No FSB delivery. VM lock
 * held. */
#pragma once

#include "hw/core/dev.h"

typedef struct Hpet Hpet;
extern const ObjClass hpet_class; /* "hpet" */

/*
 * Maps 1 KiB at base (0xfed00000) of mem. irqs: the board's GSI wires, nirqs of them. route_caps:
 * Tn_INT_ROUTE_CAP (pc: 0x4, q35: 0xff0104).
 */
Hpet *hpet_new(
    Obj *tree, Region *mem, uint64_t base, Irq *irqs, unsigned nirqs, uint32_t route_caps);
/* Inputs the PIT's channel 0 (n = 0) and the RTC (n = 1) drive instead of GSI 0 and 8: cut off in
 * legacy replacement mode. */
Irq *hpet_legacy_in(Hpet *h, unsigned n);
/* Told when legacy replacement is switched: a timer that has no wire here stops driving interrupt
 * 0. */
void hpet_on_legacy(Hpet *h, void (*fn)(void *opaque, bool on), void *opaque);
