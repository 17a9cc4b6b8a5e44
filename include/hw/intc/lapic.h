/* Local APIC (SDM vol. 3, chapter 11): xAPIC page, x2APIC MSRs, timer with TSC deadline. Used by
 * accel/soft and the boards. */
#pragma once

#include "memory/region.h"
#include "object/obj.h"

typedef struct Lapic Lapic;
typedef struct LapicBus
    LapicBus; /* all local APICs of a machine: interrupt messages find their targets here */

/* Upward calls to the vCPU it belongs to; any thread. */
typedef struct LapicOps {
    void (*irq)(void *cpu); /* something may be pending: look */
    void (*nmi)(void *cpu);
    void (*init)(void *cpu);
    void (*sipi)(void *cpu, uint8_t vector);
} LapicOps;

LapicBus *lapic_bus_new(unsigned max_cpus);
void lapic_bus_free(LapicBus *b);
/* tree: where the object hangs. bsp: boot processor. x2apic: CPUID offers it. */
Lapic *lapic_new(LapicBus *b, Obj *tree, uint32_t apic_id, bool bsp, bool x2apic,
    const LapicOps *ops, void *cpu);
void lapic_reset(Lapic *l); /* power-on or INIT (init: keeps APIC ID, BSP) */
void lapic_init_signal(Lapic *l);

/* vCPU's thread. No VM lock needed: IRR/ISR/TPR are atomics. */
bool lapic_pending(const Lapic
        *l); /* an interrupt above TPR/PPR, or an ExtINT through LINT0 that the PIC raises */
int lapic_ack(Lapic *l); /* vector, or -1; ExtINT asks the PIC through lapic_set_extint */
uint64_t lapic_base(const Lapic *l);           /* IA32_APIC_BASE */
bool lapic_base_write(Lapic *l, uint64_t val); /* false: #GP */
bool lapic_msr_read(
    Lapic *l, uint32_t msr, uint64_t *ret); /* x2APIC 0x800.., 0x6e0 TSC deadline; false: #GP */
bool lapic_msr_write(Lapic *l, uint32_t msr, uint64_t val);
uint8_t lapic_cr8(const Lapic *l);
void lapic_set_cr8(Lapic *l, uint8_t cr8);
/* MMIO at IA32_APIC_BASE: the same page for all CPUs, so the accessor says whose. */
uint32_t lapic_mmio_read(Lapic *l, uint32_t off);
void lapic_mmio_write(Lapic *l, uint32_t off, uint32_t val);
/* The region boards map at 0xfee00000; finds the accessing CPU's LAPIC through this callback (NULL:
 * an MSI write by a device). */
void lapic_bus_init_region(LapicBus *b, Region *r, Lapic *(*current)(void));

/* Messages: MSI writes and the IOAPIC. addr/data as in SDM vol. 3, 11.11. Any thread. */
void lapic_bus_msi(LapicBus *b, uint64_t addr, uint32_t data);
void lapic_bus_deliver(
    LapicBus *b, uint32_t dest, bool logical, uint8_t mode, uint8_t vector, bool level);
/* A local APIC of this destination holds the vector and has not begun to serve it. Any thread. */
bool lapic_bus_waits(const LapicBus *b, uint32_t dest, bool logical, uint8_t vector);
/* The local APICs are elsewhere (KVM): messages go there. Any thread. */
void lapic_bus_set_sink(
    LapicBus *b, void (*fn)(void *opaque, uint64_t addr, uint32_t data), void *opaque);
/* The message that lapic_bus_deliver() would send. */
void lapic_message(uint32_t dest, bool logical, uint8_t mode, uint8_t vector, bool level,
    uint64_t *ret_addr, uint32_t *ret_data);
/* EOI of a level-triggered vector: IOAPICs listen. The LAPIC's, or the accelerator's that has them.
 */
void lapic_bus_eoi(LapicBus *b, uint8_t vector);
void lapic_bus_on_eoi(LapicBus *b, void (*fn)(void *opaque, uint8_t vector), void *opaque);
/* The PIC pair's INTR output, wired to LINT0 of the boot CPU; ack reads the PIC. */
void lapic_set_extint(Lapic *l, bool level);
void lapic_bus_set_pic(LapicBus *b, int (*ack)(void *opaque), void *opaque);
void lapic_nmi_pin(Lapic *l, bool level); /* LINT1 */
void lapic_describe(const Lapic *l, GString *out);

/* For the type table and tests. */
extern const ObjClass lapic_class; /* "apic" */
/* TSC_ADJUST or a written TSC: what the guest reads minus clock_tsc(); the deadline timer follows.
 * The vCPU's thread. */
void lapic_set_tsc_offset(Lapic *l, int64_t ticks);
