/*
 * Global system interrupts of a PC: each one reaches its PIC input (0..15) and its I/O APIC pin.
 * ISA interrupt 0 is pin 2 there, as the MADT's override says; input 2 itself is the PIC's cascade
 * and is connected to nothing.
 */
#pragma once

#include "hw/intc/ioapic.h"
#include "hw/intc/pic.h"

typedef struct Gsi {
    Irq in[IOAPIC_PINS];
    Pic *pic;       /* NULL: none */
    Ioapic *ioapic; /* NULL: none */
} Gsi;

void gsi_init(Gsi *g, Pic *pic, Ioapic *ioapic);
static inline Irq *gsi_irq(Gsi *g, unsigned n)
{
    return &g->in[n];
}
