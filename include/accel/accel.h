/*
 * Accelerators behind one table: tcg (our own engine), kvm, qtest. Nothing above this header knows
 * which one runs. One thread per vCPU; all of it is paused by accel_pause() and resumed by
 * accel_resume().
 */
#pragma once

#include "accel/x86-state.h"
#include "memory/addrspace.h"

typedef struct Accel Accel;
typedef struct VCpu VCpu;
typedef struct Chardev Chardev;
typedef struct Lapic Lapic;
struct Machine;

/* Where the interrupt controllers are: devices of ours, the local APICs alone in the kernel, or all
 * of them and the PIT there. */
typedef enum AccelIrqchip {
    ACCEL_IRQCHIP_SOFT,
    ACCEL_IRQCHIP_SPLIT,
    ACCEL_IRQCHIP_KERNEL
} AccelIrqchip;
typedef enum AccelChip { ACCEL_CHIP_PIC, ACCEL_CHIP_IOAPIC, ACCEL_CHIP_PIT } AccelChip;

/* Interrupts that the accelerator delivers itself. Rows may be NULL where irqchip() is SOFT. */
typedef struct AccelIrqOps {
    AccelIrqchip (*irqchip)(const Accel *a);
    void (*line)(Accel *a, unsigned gsi, bool level);         /* KERNEL; VM lock */
    void (*msi)(Accel *a, uint64_t addr, uint32_t data);      /* any thread */
    int (*route_add)(Accel *a, uint64_t addr, uint32_t data); /* a GSI; -1: none left */
    bool (*route_set)(Accel *a, int gsi, uint64_t addr, uint32_t data);
    void (*route_del)(Accel *a, int gsi);
    /* resample -1: edges. add false: takes it away */
    bool (*irqfd)(Accel *a, unsigned gsi, int fd, int resample, bool add);
    /* SPLIT: the I/O APIC's pin sends this message; masked: none */
    void (*ioapic_pin)(Accel *a, unsigned pin, bool masked, uint64_t addr, uint32_t data);
    bool (*pit_new)(Accel *a, GError **err);      /* KERNEL */
    void (*pit_legacy)(Accel *a, bool hpet);      /* the HPET took over interrupt 0 */
    void (*chip_reset)(Accel *a, AccelChip chip); /* KERNEL */
    void (*chips_firmware)(Accel *a, const uint8_t imr[2], const uint8_t elcr[2]); /* KERNEL */
} AccelIrqOps;

typedef struct AccelClass {
    const char *name;        /* "tcg", "qtest", "kvm" */
    size_t size;             /* of its Accel struct */
    const PropSpec *props;   /* -accel NAME,prop=…; may be NULL */
    bool (*available)(void); /* NULL: always */
    bool (*init)(Accel *a, struct Machine *m, GError **err);
    void (*fini)(Accel *a);
    bool (*vcpu_init)(Accel *a, VCpu *cpu, GError **err);
    void (*vcpu_fini)(VCpu *cpu);
    void (*vcpu_loop)(VCpu *cpu); /* the thread's body; NULL: no thread (qtest) */
    void (*vcpu_kick)(VCpu *cpu); /* any thread: leave guest code soon, look at cpu->request */
    void (*get_state)(VCpu *cpu, X86State *ret); /* paused */
    void (*set_state)(VCpu *cpu, const X86State *s);
    void (*reset)(VCpu *cpu); /* paused */
    /* paused or its own thread; NULL: addresses are physical */
    bool (*debug_translate)(VCpu *cpu, uint64_t la, Gpa *ret);
    /* gdb; paused: it stops with debug_hit before any of these linear addresses, or after one
     * instruction. False: too many. */
    bool (*set_debug)(VCpu *cpu, const uint64_t *at, unsigned n, bool step); /* NULL: not offered */
    void (*set_a20)(VCpu *cpu, bool on); /* any thread, VM lock; NULL: nothing to do */
    bool doorbells;                      /* the table of doorbell.c works */
    /* NULL: doorbells says it. False: not possible, the device takes the access itself */
    bool (*ioeventfd)(Accel *a, const Doorbell *d, bool add);
    const AccelIrqOps *irq; /* NULL: ACCEL_IRQCHIP_SOFT, messages by a call */
    /* What the host's CPU can show: each feature word, signature, names. NULL: the engine's own. */
    bool (*host_model)(Accel *a, X86CpuModel *ret);
    void (*run_changed)(Accel *a, bool running); /* before the vCPUs go, after they stand; NULL */
    /* Writes to [at, at + size) may reach their region later, before any other access. NULL: no */
    void (*coalesce)(Accel *a, const AddrSpace *as, uint64_t at, unsigned size);
    /* A local APIC that is not ours. NULL: there is none */
    uint32_t (*lapic_read)(VCpu *cpu, unsigned off); /* paused */
    void (*lapic_write)(VCpu *cpu, unsigned off, uint32_t val);
    unsigned max_breakpoints;            /* for set_debug; 0: the stub's own bound */
    uint64_t reserved_at, reserved_size; /* guest memory the host keeps for itself */
} AccelClass;
extern const AccelClass *const accel_classes[]; /* accel/accel.c */

typedef struct DoorbellTable DoorbellTable;
struct Accel {
    const AccelClass *cls;
    struct Machine *machine;
    GPtrArray *cpus;                  /* VCpu*, by index */
    bool initialized;                 /* AccelClass.init succeeded */
    bool running;                     /* between accel_resume() and accel_pause() */
    DoorbellTable *_Atomic doorbells; /* doorbell.c: immutable, replaced through RCU */
    ObjClass cpu_class;               /* "qemu64-x86_64-cpu" */
    char *cpu_class_name;
    /* The board's chips, for an accelerator with local APICs of its own; set before the first run.
     * Any thread. */
    struct {
        bool (*ext_pending)(void *opaque); /* the PIC's INTR; NULL: no PIC of ours */
        int (*ext_ack)(void *opaque);      /* its vector */
        void *ext_opaque;
        void (*eoi)(void *opaque, uint8_t vector); /* of a level-triggered one; NULL: nobody asks */
        void *eoi_opaque;
    } chips;
};

/* What others ask of a vCPU (bits of VCpu.request, set by vcpu_request()). */
enum {
    VCPU_IRQ = 1 << 0,
    VCPU_NMI = 1 << 1,
    VCPU_INIT = 1 << 2,
    VCPU_SIPI = 1 << 3,
    VCPU_PAUSE = 1 << 4,
    VCPU_QUIT = 1 << 5,
    VCPU_RUN_FN = 1 << 6
};

struct VCpu {
    Obj obj; /* "qemu64-x86_64-cpu" in /machine/unattached */
    Accel *accel;
    unsigned index;
    uint32_t apic_id;
    Lapic *lapic; /* set by the board before the first run; NULL on none */
    _Atomic uint32_t request;
    uint8_t sipi_vector;
    GThread *thread;
    int thread_id;
    bool paused, stop, created; /* VM lock */
    bool halted;                /* for query-cpus and info cpus */
    /* it stopped at a breakpoint or after a step; stands until accel_resume() */
    bool debug_hit;
    void *impl; /* the accelerator's */
    void (*run_fn)(VCpu *cpu, void *opaque);
    void *run_opaque;
    _Atomic uint32_t wake_seq; /* counts vcpu_wake(); what a sleeper waits on */
    _Atomic uint32_t sleeping;
};

const AccelClass *accel_find(const char *name);
/* opts: its -accel properties, may be NULL. */
Accel *accel_make(const AccelClass *cls, struct Machine *m, const Json *opts, GError **err);
/* False: the host does not have it; errno may say why. accel_free() it then. */
bool accel_init(Accel *a, GError **err);
/* both */
Accel *accel_new(const AccelClass *cls, struct Machine *m, const Json *opts, GError **err);
/* made paused; its thread starts in accel_start */
VCpu *vcpu_new(Accel *a, unsigned index, uint32_t apic_id, GError **err);
void accel_start(Accel *a); /* threads exist; still paused */
void accel_pause(Accel *a); /* main, VM lock held; returns when every vCPU stands */
void accel_resume(Accel *a);
void accel_quit(Accel *a);                   /* joins the threads */
void vcpu_request(VCpu *cpu, uint32_t bits); /* any thread */
/* Every vCPU leaves guest code for a moment, so that what waits for RCU can be freed. VM lock. */
void accel_nudge(Accel *a);
VCpu *vcpu_current(void); /* this thread's, or NULL */
bool accel_is_running(const Accel *a);
void accel_free(Accel *a);  /* after accel_quit() */
void vcpu_reset(VCpu *cpu); /* power-on state; paused */
/* The guest's A20 gate (port 92h, the keyboard controller). VM lock. */
void accel_set_a20(Accel *a, bool on);
/*
 * For AccelClass.vcpu_loop, in its thread without the VM lock: waits while the vCPU is paused, runs
 * what vcpu_run_on() asked for. False: the thread is to end. Clears VCPU_PAUSE and VCPU_RUN_FN of
 * cpu->request.
 */
bool vcpu_serve(VCpu *cpu);
/*
 * Sleeping: take vcpu_wake_seq(), look whether there is anything to do, then vcpu_sleep() with that
 * number: it returns when vcpu_wake() was called since. RCU-offline meanwhile.
 */
uint32_t vcpu_wake_seq(VCpu *cpu);
void vcpu_sleep(VCpu *cpu, uint32_t seq);
void vcpu_wake(VCpu *cpu); /* any thread */
/* runs fn in cpu's thread, waits; VM lock held */
void vcpu_run_on(VCpu *cpu, void (*fn)(VCpu *, void *), void *opaque);
/* VM lock; the vCPU is stopped for it when it runs */
void vcpu_get_state(VCpu *cpu, X86State *ret);
void vcpu_set_state(VCpu *cpu, const X86State *s);
/* Guest virtual memory as this vCPU sees it (monitor, gdb). False: not mapped. */
bool vcpu_debug_translate(VCpu *cpu, uint64_t la, Gpa *ret);
bool accel_is_qtest(const Accel *a);

/* Doorbells (ioeventfd) and MSI routes (irqfd): the soft engine keeps its own table, KVM the
 * kernel's. VM lock held. */
/* false: not supported, the device takes the exit itself */
bool accel_ioeventfd_add(Accel *a, const Doorbell *d);
void accel_ioeventfd_del(Accel *a, const Doorbell *d);
bool accel_has_irqfd(const Accel *a);
/* NULL is fine: SOFT. */
AccelIrqchip accel_irqchip(const Accel *a);
void accel_coalesce(Accel *a, const AddrSpace *as, uint64_t at, unsigned size);
/* A vCPU's store: signals the eventfd of a doorbell that lies there. False: none does. Any thread
 * that is RCU-online. */
bool accel_doorbell_ring(Accel *a, const AddrSpace *as, uint64_t at, unsigned size, uint64_t val);
void accel_doorbells_fini(Accel *a);
/* What a LAPIC calls (hw/intc/lapic.h's LapicOps); its cpu is the VCpu. */
extern const struct LapicOps vcpu_lapic_ops;
