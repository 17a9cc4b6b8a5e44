/* 82093AA I/O APIC: 24 pins, version 0x20 with an EOI register. Pins: VM lock held; EOIs: any
 * thread, no lock. */
#pragma once

#include "hw/core/dev.h"
#include "hw/intc/lapic.h"

enum { IOAPIC_PINS = 24 };
typedef struct Ioapic Ioapic;
extern const ObjClass ioapic_class; /* "ioapic" */

/* Maps its 4 KiB window at base (0xfec00000) of mem. Messages go through bus; its EOI listener is
 * registered here. */
Ioapic *ioapic_new(Obj *tree, Region *mem, uint64_t base, LapicBus *bus);
Irq *ioapic_irq(Ioapic *i,
    unsigned pin); /* input 0..23, level as on the wire after polarity: true is asserted */
/* The pin's edge was sent and waits in a local APIC. VM lock held. */
bool ioapic_busy(Ioapic *i, unsigned pin);
/* Told of each pin's message when it changes (KVM's routes); masked: the pin sends none. VM lock or
 * the pins' lock held. */
typedef void IoapicPinFn(void *opaque, unsigned pin, bool masked, uint64_t addr, uint32_t data);
void ioapic_on_change(Ioapic *i, IoapicPinFn *fn, void *opaque);
void ioapic_describe(const Ioapic *i, GString *out);
