/*
 * The bare-metal test guest: a PVH or multiboot kernel that drives virtio devices without an
 * operating system. Options come on its command line as name=value; results go to the debug port
 * (0xe9) and the first serial line; it leaves through isa-debug-exit (0xf4), status 33 is success.
 */
#pragma once

#include "tests/lib/vdriver.h"

#include <string.h>

enum { EXIT_PASS = 0x10, EXIT_FAIL = 0x11 };
enum { IRQ_BASE = 0x40, IRQ_MAX = 16 };

typedef struct Options {
    char test[16];
    bool packed, legacy, ring3, event, indirect, in_order, write;
    bool msix, intx; /* interrupts are used; intx: those of the function's wire */
    bool gap;        /* blkbench: neighbours in the ring are no neighbours on the disk */
    unsigned depth, n, size, chain, queue_size;
    unsigned batch; /* notify after this many requests, 0: the whole depth */
    uint64_t ecam;  /* PCIe configuration space; 0: ports 0xcf8 and 0xcfc */
    uint64_t mem;   /* where BARs go; 0: 0xe0000000 */
    uint64_t tsc_khz;
} Options;
extern Options opt;
extern const VPort metal_port;

/* text.c */
void out8(uint16_t port, uint8_t v);
uint8_t in8(uint16_t port);
void put(const char *s);
void put_u(uint64_t v);
void put_hex(uint64_t v);
void put_pair(const char *name, uint64_t v); /* " name=v" */
_Noreturn void metal_exit(uint8_t status);
_Noreturn void metal_die(const char *what, uint64_t value);
#define CHECK(e) ((e) ? (void)0 : metal_fail(__FILE__, __LINE__, #e))

/* cpu.c: interrupts, rings, time. */
void cpu_init(void);
extern volatile uint32_t irq_count[IRQ_MAX];
/* An interrupt returns with interrupts off: one whose line stays up comes no more than asked for.
 */
extern volatile bool irq_once;
/* Asked before an interrupt ends: false: it was none of ours and does not count. NULL: all are. */
extern bool (*irq_ack)(void);
/* Sleeps until the count differs from seen; from any ring. */
void cpu_wait_irq(unsigned irq, uint32_t seen);
/* Runs fn in ring 3 with access to all memory if opt.ring3, else here. */
void cpu_run(void (*fn)(void *), void *arg);
/* From any ring: fn runs in ring 0. Ports are reached so. */
typedef void CpuFn0(uint64_t a, uint64_t b, uint64_t c, uint64_t d);
void cpu_call0(CpuFn0 *fn, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
bool cpu_in_user(void);
uint64_t tsc(void);
uint64_t tsc_to_ns(uint64_t ticks);
void cpu_calibrate(void);

/* plat.c: an I/O APIC pin's entry, to APIC 0; low: its low word (82093AA, 3.2.4). */
void ioapic_pin(unsigned pin, uint32_t low);

/* pci.c: devices of this type in the order of their slots. virtio_id is VIRTIO 1.4, 5's. */
bool pci_find(unsigned virtio_id, unsigned nth, VDriver *d);
/* Vector i of the function interrupts with irq_count[i]. */
void pci_enable_msix(VDriver *d, unsigned first_irq);
/* The function's wire does: level-triggered, so its handler reads the ISR byte. */
void pci_enable_intx(VDriver *d, unsigned irq);

/* ring.c: a fast driver side for the work itself, on a queue that vdriver has set up. Slot s owns
 * descriptors s * chain and up. */
enum { SLOTS = 256, CHAIN_MAX = 4 };
#define LEN_UNKNOWN UINT32_MAX /* IN_ORDER: covered by a later entry */
typedef struct Slot {
    VBuf buf[CHAIN_MAX];
    uint16_t flags[CHAIN_MAX];
    unsigned n;
    uint64_t table; /* indirect table */
} Slot;
typedef struct Ring {
    VRing *v;
    const VDriver *d;
    unsigned queue, chain, irq;
    bool indirect, event, in_order, irq_on;
    uint16_t published; /* split: index last shown; packed: entries since then */
    uint16_t unshown;
    uint64_t kick_at;
    uint32_t kick_val;
    unsigned kick_size;
    bool kick_io;
    uint32_t kicks, irq_waits;
    Slot slot[SLOTS];
    uint16_t order[SLOTS]; /* slots in flight, in their order: IN_ORDER's used entries */
    unsigned head, tail;
    uint32_t skip, last_len; /* IN_ORDER: slots that one used entry covers, its length */
} Ring;
void ring_init(Ring *r, VDriver *d, unsigned queue, unsigned chain, unsigned irq);
void ring_prepare(Ring *r, unsigned slot, const VBuf *buf, unsigned n);
void ring_put(Ring *r, unsigned slot); /* makes it available, without telling */
void ring_kick(Ring *r);               /* shows what was put; notifies if the device asks for it */
bool ring_get(Ring *r, unsigned *ret_slot, uint32_t *ret_len);
/* Interrupts on, and asleep unless a used entry is there already. */
void ring_wait(Ring *r);
/* The two halves: interrupts on, returns the count so far; off again. */
uint32_t ring_arm(Ring *r);
void ring_disarm(Ring *r);

/* Tests. */
void blk_test(void);
void blk_bench(void);
void net_test(void);
void net_bench(void);
void reg_bench(void);
void irqs_test(void); /* needs a disk */
/* plat.c: the machine itself. */
void plat_test(void);
void reset_test(void);
void spin_test(void);
void lost_test(void);
void gather_test(void);
void clock_test(void); /* clock.c */
uint64_t base_features(const VDriver *d, uint64_t also);
