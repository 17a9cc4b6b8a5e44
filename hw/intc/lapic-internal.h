/*
 * The local APIC's inside, shared by lapic.c (registers), lapic-bus.c (messages) and lapic-timer.c.
 *
 * Threads: everything another thread may look at while the vCPU runs is atomic: messages set IRR
 * and TMR bits and read the addressing registers; the timer's state has its own lock (lock order:
 * VM lock, timer lock, none).
 */
#pragma once

#include "hw/core/dev.h"
#include "hw/intc/lapic.h"
#include "util/timer.h"

#include <stdatomic.h>

enum {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_APR = 0x90,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_RRD = 0xc0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR = 0x300,
    APIC_ICR2 = 0x310,
    APIC_LVT = 0x320,
    APIC_TIMER_ICR = 0x380,
    APIC_TIMER_CCR = 0x390,
    APIC_TIMER_DCR = 0x3e0,
    APIC_SELF_IPI = 0x3f0,
    APIC_PAGE = 0x1000,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
};
/* Index in lvt[]: the registers 0x320, 0x330 … */
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
enum {
    MODE_FIXED,
    MODE_LOWEST,
    MODE_SMI,
    MODE_RESERVED,
    MODE_NMI,
    MODE_INIT,
    MODE_SIPI,
    MODE_EXTINT
};
enum { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

#define LVT_MASKED        (1u << 16)
#define LVT_MODE(v)       ((v) >> 8 & 7)
#define LVT_TIMER_MODE(v) ((v) >> 17 & 3)
#define SVR_ENABLE        (1u << 8)
#define BASE_BSP          (1ull << 8)
#define BASE_X2APIC       (1ull << 10)
#define BASE_ENABLE       (1ull << 11)
#define ESR_SEND_VECTOR   (1u << 5)
#define ESR_RECV_VECTOR   (1u << 6)
#define ESR_REGISTER      (1u << 7)
#define BROADCAST         0xffffffffu
#define NEVER             INT64_MAX

typedef struct LapicTimer {
    GMutex lock;
    unsigned mode, shift; /* one count lasts 1 << shift ns: the bus runs at 1 GHz */
    uint32_t initial;
    int64_t start; /* virtual ns at which the count was `initial` */
    bool running;
    uint64_t deadline; /* TSC, 0: none */
    int64_t tsc_offset;
    int64_t want, armed; /* virtual ns or NEVER: next expiry, and what the loop's timer is set to */
    bool posted;         /* a call that arms the timer is on its way to the main loop */
    Timer timer;
} LapicTimer;

struct Lapic {
    Dev dev;
    LapicBus *bus;
    const LapicOps *ops;
    void *cpu;
    uint32_t initial_id;
    bool bsp, x2apic_ok;
    _Atomic uint64_t base;
    _Atomic uint32_t id, ldr, dfr, svr; /* id and ldr as the mode's registers show them */
    _Atomic uint32_t irr[8], isr[8], tmr[8];
    _Atomic uint32_t tpr;
    _Atomic uint32_t lvt[LVT_COUNT];
    _Atomic uint32_t esr, esr_pending;
    _Atomic bool extint, nmi_pin;
    uint32_t icr, icr2;
    LapicTimer tm;
};

struct LapicBus {
    unsigned max, n;
    _Atomic unsigned count; /* entries of apics[] that are complete */
    Lapic **apics;
    struct {
        void (*fn)(void *opaque, uint8_t vector);
        void *opaque;
    } eoi[8];
    unsigned neoi;
    int (*pic_ack)(void *opaque);
    void *pic_opaque;
    Lapic *(*current)(void);
    void (*sink)(void *opaque, uint64_t addr, uint32_t data); /* NULL: the list above */
    void *sink_opaque;
};

static inline uint32_t lapic_get(const _Atomic uint32_t *r)
{
    return atomic_load_explicit(r, memory_order_relaxed);
}
static inline void lapic_put(_Atomic uint32_t *r, uint32_t v)
{
    atomic_store_explicit(r, v, memory_order_relaxed);
}
static inline bool lapic_is_x2apic(const Lapic *l)
{
    return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_X2APIC;
}
static inline bool lapic_is_enabled(const Lapic *l) /* by IA32_APIC_BASE */
{
    return atomic_load_explicit(&l->base, memory_order_relaxed) & BASE_ENABLE;
}

/* lapic.c */
void lapic_accept(Lapic *l, uint8_t vector, bool level); /* a fixed interrupt arrives; any thread */
void lapic_error(Lapic *l, uint32_t bit);
void lapic_local(Lapic *l, unsigned lvt); /* a local source fires */
uint8_t lapic_ppr(const Lapic *l);

/* lapic-bus.c */
void lapic_bus_add(LapicBus *b, Lapic *l);
void lapic_bus_remove(LapicBus *b, Lapic *l);
/* x2: dest is a 32-bit x2APIC destination. self: what shorthands refer to; NULL for others'
 * messages. */
void lapic_bus_send(
    LapicBus *b, uint32_t dest, bool logical, bool x2, uint8_t mode, uint8_t vector, bool level);
void lapic_bus_one(Lapic *l, uint8_t mode, uint8_t vector, bool level);

/* lapic-timer.c */
void lapic_timer_init(Lapic *l);
void lapic_timer_fini(Lapic *l);
void lapic_timer_reset(Lapic *l);
void lapic_timer_lvt(Lapic *l, uint32_t lvt); /* the mode may have changed */
void lapic_timer_set_initial(Lapic *l, uint32_t val);
uint32_t lapic_timer_initial(Lapic *l);
uint32_t lapic_timer_current(Lapic *l);
void lapic_timer_set_divider(Lapic *l, uint32_t dcr);
uint32_t lapic_timer_divider(Lapic *l);
void lapic_timer_set_deadline(Lapic *l, uint64_t tsc);
uint64_t lapic_timer_deadline(Lapic *l);
