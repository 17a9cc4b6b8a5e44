/*
 * Shared by the files of the KVM accelerator only. What an ioctl does is said in the kernel's
 * Documentation/virt/kvm/api.rst ("KVM API" below), named by its section.
 */
#pragma once

#include "accel/kvm/kvm-accel.h"
#include "memory/dirty.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

enum { KVM_GSI_PINS = 24, KVM_SIG_KICK = 10 /* SIGUSR1 */ };

/* What this kernel has. */
typedef struct KvmCaps {
    bool readonly_mem, ioeventfd_any, irqfd, resample, signal_msi, xsave, xcrs, debugregs, events,
        adjust_clock, clock_ctrl, coalesced_pio, tsc_deadline;
    unsigned slots, routes, coalesced_page;
    unsigned dirty_ring_max;
    int dirty_ring_cap;
} KvmCaps;

/* One piece of guest RAM that the kernel knows. */
typedef struct KvmSlot {
    uint32_t id;
    uint64_t at, size;
    RamBlock *block; /* referenced */
    uint64_t off;    /* of at in block */
    bool readonly, log;
} KvmSlot;

typedef struct KvmAccel {
    Accel a;
    /* properties */
    int irqchip_prop;
    uint64_t shadow_mem;
    uint64_t dirty_ring; /* entries of each vCPU's ring; 0: bitmaps */
    char *device;
    uint32_t max_routes; /* 0: the kernel's number */
    /* as made */
    int kvm_fd, vm_fd;
    size_t run_size;
    KvmCaps caps;
    AccelIrqchip irqchip;
    uint32_t *msrs; /* those of ours that the kernel has */
    unsigned nmsrs;
    struct kvm_cpuid2 *cpuid; /* what the kernel can show */
    /* kvm-mem.c; VM lock */
    MapListener listener;
    GArray *slots; /* KvmSlot, by address */
    /* vCPUs stand outside KVM_RUN while it is raised */
    _Atomic uint32_t gate;
    /* kvm-irq.c */
    GMutex route_lock;
    struct kvm_irq_routing *routes; /* route_lock */
    unsigned route_room;            /* entries that fit */
    uint64_t *gsi_used;             /* a bit per GSI */
    struct kvm_irqchip chip_at_reset[3];
    struct kvm_pit_state2 pit_at_reset;
    bool has_pit;
    /* kvm-ioeventfd.c */
    struct kvm_coalesced_mmio_ring *_Atomic coalesced;
    /* kvmclock: stopped with the machine */
    uint64_t clock;
    bool clock_saved;
} KvmAccel;

typedef struct KvmVcpu {
    VCpu *cpu;
    KvmAccel *ka;
    int fd;
    struct kvm_run *run;
    struct kvm_dirty_gfn *ring; /* dirty-ring-size */
    uint32_t ring_next;
    pthread_t self;
    _Atomic bool has_thread;
    _Atomic uint32_t in_run; /* inside KVM_RUN, or about to enter */
    bool io_pending;         /* an access was answered; the instruction ends with the next entry */
    bool stopped;            /* triple fault or internal error: until a reset */
    struct kvm_lapic_state lapic_at_reset;
    bool has_lapic;
    X86State *seen; /* what the last get said; NULL: none yet */
    /* only with a local APIC of our own */
    bool halted, wait_sipi;
} KvmVcpu;

static inline KvmAccel *kvm_of(Accel *a)
{
    return (KvmAccel *)a;
}
static inline KvmVcpu *kvm_vcpu_of(const VCpu *cpu)
{
    return cpu->impl;
}

/* kvm.c. -1 and errno as ioctl(), but an interrupted call is made again. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
/* Of a call that cannot fail unless host or program is broken. */
void kvm_must(int ret, const char *what);
int kvm_cap(const KvmAccel *ka, int cap);

/* kvm-vcpu.c */
bool kvm_vcpu_init(Accel *a, VCpu *cpu, GError **err);
void kvm_vcpu_fini(VCpu *cpu);
void kvm_vcpu_loop(VCpu *cpu);
void kvm_vcpu_kick(VCpu *cpu);
void kvm_signals_init(void);
/* Returns when every vCPU but the caller's stands outside KVM_RUN; until the gate opens. VM lock.
 */
void kvm_gate_close(KvmAccel *ka);
void kvm_gate_open(KvmAccel *ka);

/* kvm-inject.c: interrupts that do not come from the kernel's own chips. vCPU's thread. */
void kvm_inject(KvmVcpu *v);
void kvm_after_run(KvmVcpu *v);
/* Events of a soft local APIC: INIT, SIPI, NMI. */
void kvm_take_requests(KvmVcpu *v);

/* kvm-mem.c */
bool kvm_mem_init(KvmAccel *ka, GError **err);
void kvm_mem_fini(KvmAccel *ka);
/* Empties the vCPUs' dirty rings into the blocks' bitmaps. VM lock. */
void kvm_rings_reap(KvmAccel *ka);

/* kvm-irq.c */
bool kvm_irq_init(KvmAccel *ka, GError **err);
void kvm_irq_fini(KvmAccel *ka);
extern const AccelIrqOps kvm_irq_ops;

/* kvm-ioeventfd.c */
bool kvm_ioeventfd(Accel *a, const Doorbell *d, bool add);
void kvm_coalesce(Accel *a, const AddrSpace *as, uint64_t at, unsigned size);
/* Stores that the kernel gathered are made now; cheap when there are none. */
void kvm_coalesced_flush(KvmAccel *ka);

/* kvm-cpuid.c */
bool kvm_cpuid_init(KvmAccel *ka, GError **err);
bool kvm_host_model(Accel *a, X86CpuModel *ret);
bool kvm_vcpu_set_cpuid(KvmVcpu *v, GError **err);

/* kvm-x86.c */
bool kvm_x86_init(KvmAccel *ka, GError **err);
void kvm_get_state(VCpu *cpu, X86State *ret);
void kvm_set_state(VCpu *cpu, const X86State *s);
void kvm_reset(VCpu *cpu);
/* INIT: general registers and segments as after power-on, the rest stays. */
void kvm_init_signal(KvmVcpu *v);
void kvm_start_ap(KvmVcpu *v, uint8_t vector);
bool kvm_debug_translate(VCpu *cpu, uint64_t la, Gpa *ret);
bool kvm_set_debug(VCpu *cpu, const uint64_t *at, unsigned n, bool step);
uint32_t kvm_lapic_read(VCpu *cpu, unsigned off);
void kvm_lapic_write(VCpu *cpu, unsigned off, uint32_t val);
