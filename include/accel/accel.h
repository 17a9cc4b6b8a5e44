/*
 * Accelerators behind one table: tcg (our own engine), qtest, later kvm. Nothing above this header
 * knows which one runs. One thread per vCPU; all of it is paused by accel_pause() and resumed by
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
    bool doorbells;                      /* ioeventfds work */
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
/* names: "kvm:tcg" parts in order; the first that can be made wins. opts: its -accel properties,
 * may be NULL. */
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
/* A vCPU's store: signals the eventfd of a doorbell that lies there. False: none does. Any thread
 * that is RCU-online. */
bool accel_doorbell_ring(Accel *a, const AddrSpace *as, uint64_t at, unsigned size, uint64_t val);
void accel_doorbells_fini(Accel *a);
/* What a LAPIC calls (hw/intc/lapic.h's LapicOps); its cpu is the VCpu. */
extern const struct LapicOps vcpu_lapic_ops;
