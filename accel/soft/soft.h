/*
 * The CPU engine's inside: one vCPU's state and the calls its files share.
 * Nothing outside accel/soft includes this; the world sees include/accel/accel.h.
 *
 * Rules every file keeps (Intel SDM vol. 1-3 are the source of the semantics):
 *  - An exception is raised with soft_raise*(): it unwinds to the run loop (longjmp) and is
 * delivered through the IDT there. Before anything that may raise, an instruction has changed no
 * guest-visible state; the order is: compute addresses, probe all (write probe first for
 * read-modify-write), modify.
 *  - While an instruction runs, c->ip_cur is its IP and c->ip_next the IP behind it. Cold
 * instructions (InsnFn) get both set by the dispatcher; hot handlers store c->op before anything
 * that may raise and soft_raise() derives the IP from it (see exec.h).
 *  - Guest memory goes through mem.h; I/O ports and MMIO through c->bus.
 */
#pragma once

#include "accel/x86-state.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SoftCpu SoftCpu;
typedef struct Insn Insn;
typedef struct Op Op;
typedef struct SoftBlocks SoftBlocks;
typedef struct SoftTlb SoftTlb;
struct Lapic;

enum { R_AX, R_CX, R_DX, R_BX, R_SP, R_BP, R_SI, R_DI, R_ZERO = 16, SOFT_NREGS = 17 };
/* Segment registers: SEG_ES.. from accel/x86-state.h, in encoding order. */

/* Exception vectors (SDM vol. 3, 6.3.1). */
enum {
    EXC_DE = 0,
    EXC_DB = 1,
    EXC_NMI = 2,
    EXC_BP = 3,
    EXC_OF = 4,
    EXC_BR = 5,
    EXC_UD = 6,
    EXC_NM = 7,
    EXC_DF = 8,
    EXC_TS = 10,
    EXC_NP = 11,
    EXC_SS = 12,
    EXC_GP = 13,
    EXC_PF = 14,
    EXC_MF = 16,
    EXC_AC = 17,
    EXC_MC = 18,
    EXC_XM = 19,
};

/* Why the run loop must look up (bits of SoftCpu.poll; any thread sets them with soft_kick()). */
enum {
    SOFT_POLL_IRQ = 1 << 0, /* the local APIC or the PIC may have something */
    SOFT_POLL_NMI = 1 << 1,
    SOFT_POLL_INIT = 1 << 2,
    SOFT_POLL_SIPI = 1 << 3,
    SOFT_POLL_EXIT = 1 << 4,  /* leave soft_run(): pause, reset, quit, gdb */
    SOFT_POLL_FLUSH = 1 << 5, /* flush the whole TLB (memory map changed, dirty log) */
    SOFT_POLL_INVAL = 1 << 6, /* another vCPU or a device queued code invalidations */
    SOFT_POLL_SMI = 1 << 7,   /* unused: no SMM */
};

/*
 * What the engine needs of the machine. Tests implement it in a few lines; accel/soft/soft-accel.c
 * does it with memory/. All functions are called from vCPU threads.
 */
enum { SOFT_PAGE_RAM = 1, SOFT_PAGE_ROM = 2, SOFT_PAGE_MMIO = 4 };
typedef struct SoftBus {
    /*
     * Host address of the page that holds gpa (already A20 masked), or NULL for MMIO or a hole.
     * *ret_flags: SOFT_PAGE_*. *ret_codemask: this page's code mask word, one bit per 64-byte
     * granule that some vCPU has decoded; NULL for MMIO. *ret_dirty: true if a first write must
     * call dirtied().
     */
    uint8_t *(*page)(void *opaque, uint64_t gpa, unsigned *ret_flags,
        _Atomic uint64_t **ret_codemask, bool *ret_dirty_logged);
    void (*dirtied)(void *opaque, uint64_t gpa); /* first write after a dirty-log clear */
    uint64_t (*mmio_read)(void *opaque, uint64_t gpa, unsigned size);
    void (*mmio_write)(void *opaque, uint64_t gpa, unsigned size, uint64_t val);
    uint32_t (*pio_in)(void *opaque, uint16_t port, unsigned size);
    void (*pio_out)(void *opaque, uint16_t port, unsigned size, uint32_t val);
    uint64_t (*tsc)(void *opaque); /* guest TSC before TSC_ADJUST */
    /* Interrupts. pending: would ack return a vector now (TPR honoured). ack: vector or -1. */
    bool (*irq_pending)(void *opaque);
    int (*irq_ack)(void *opaque);
    uint64_t (*apic_base)(void *opaque);               /* IA32_APIC_BASE */
    bool (*apic_base_set)(void *opaque, uint64_t val); /* false: #GP */
    bool (*x2apic_read)(
        void *opaque, uint32_t msr, uint64_t *ret); /* 0x800..0x8ff and 0x6e0; false: #GP */
    bool (*x2apic_write)(void *opaque, uint32_t msr, uint64_t val);
    uint8_t (*tpr_get)(void *opaque); /* CR8: bits 7:4 of TPR */
    void (*tpr_set)(void *opaque, uint8_t cr8);
    void (*a20_changed)(void *opaque); /* unused by most */
    void (*code_written)(
        void *opaque, SoftCpu *by, uint64_t gpa, uint64_t granules); /* tell other vCPUs */
    /*
     * NULL (one vCPU) or: a page got its first code bits; other vCPUs must lose their write tags
     * for it. Returns when they have: soft_code_sync() does that given the list of vCPUs. Called
     * from the dispatcher, no instruction is under way.
     */
    void (*code_protected)(void *opaque, SoftCpu *by, const uint8_t *page);
} SoftBus;

typedef struct SoftSeg {
    uint64_t base;
    uint32_t limit; /* byte granular, inclusive */
    uint16_t sel;
    uint16_t
        attr; /* descriptor bits 40..55: type, S, DPL, P, -, AVL, L, D/B, G (limit bits zero) */
} SoftSeg;

/* Bits of SoftSeg.attr. */
enum {
    ATTR_TYPE = 0xf,
    ATTR_A = 1,
    ATTR_W = 2,
    ATTR_R = 2,
    ATTR_E = 4,
    ATTR_C = 4,
    ATTR_CODE = 8,
    ATTR_S = 0x10,
    ATTR_DPL_SHIFT = 5,
    ATTR_P = 0x80,
    ATTR_AVL = 0x1000,
    ATTR_L = 0x2000,
    ATTR_DB = 0x4000,
    ATTR_G = 0x8000,
};

/* Mode word: recomputed by soft_mode_update() at every change; part of every block's key. */
enum {
    MODE_CODE64 = 1 << 0, /* CS.L with EFER.LMA */
    MODE_CODE32 = 1 << 1, /* CS.D */
    MODE_SS32 = 1 << 2,   /* SS.B: stack pointer is ESP; never in 64-bit code */
    MODE_FLAT =
        1 << 3, /* ES, CS, SS, DS have base 0 and 4 GiB limits (or 64-bit code): no checks needed */
    MODE_PE = 1 << 4,
    MODE_VM86 = 1 << 5,
    MODE_LMA = 1 << 6,
    MODE_CPL3 = 1 << 7, /* CPL == 3: user view of the TLB */
    MODE_PAGING = 1 << 8,
    MODE_STEP =
        1 << 9, /* TF, enabled breakpoints in DR7 or gdb single-step: one instruction at a time */
    MODE_FPU_TRAP = 1 << 10, /* CR0.EM or CR0.TS: FP instructions take #NM/#UD */
    MODE_SSE_OK = 1 << 11,   /* CR4.OSFXSR and not CR0.EM */
    MODE_SMAP = 1 << 12,
};

/* Lazy arithmetic flags; op and size are in flags.h. */
typedef struct SoftFlags {
    uint64_t dst, src, res;
    uint32_t op; /* FLAGS_OP_*; FLAGS_OP_NONE: val holds all six flags */
    uint32_t val;
} SoftFlags;

struct SoftCpu {
    /* What generated code uses most comes first: offsets below 128 take one byte there. */
    alignas(64) SoftFlags fl;
    /* mode and jump_gen are compared as one word (exec.h): they validate jump cache entries. */
    alignas(8) uint32_t mode; /* MODE_* */
    uint32_t jump_gen;        /* jump_gens[] of this CPL */
    SoftTlb *tlb;             /* the view in use: kernel or user */
    uint64_t icount; /* instructions executed; exact between instructions of the dispatcher only */
    uint64_t r[SOFT_NREGS]; /* r[R_ZERO] is always 0 */
    uint32_t sysflags;      /* RFLAGS without CF PF AF ZF SF OF; bit 1 set. DF is kept here */
    uint32_t cpl;
    uint32_t jump_gens[2];       /* CPL 0..2, CPL 3: count TLB flushes and code invalidations */
    _Atomic uint32_t poll;       /* SOFT_POLL_*; 0: nothing to do */
    _Atomic uint32_t flush_done; /* counts SOFT_POLL_FLUSH requests served (soft_code_sync) */
    _Atomic bool in_guest;       /* inside soft_run() */
    const Op *op;                /* hot handlers store it before anything that may raise */
    uint64_t ip;                 /* between blocks: where to go on (offset in CS) */
    uint64_t ip_cur, ip_next;    /* during a cold instruction */
    uint32_t npauses;            /* PAUSE executed: every 64th yields */

    SoftSeg seg[6], ldtr, tr;
    struct {
        uint64_t base;
        uint16_t limit;
    } gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, efer;
    uint64_t pdpte[4]; /* PAE paging outside long mode: soft_pdptes_load() */
    uint64_t dr[8];
    uint64_t a20_mask; /* all ones, or bit 20 clear */

    /* FPU, MMX and SSE state, always here between instructions; layout of FXSAVE. */
    alignas(64) uint8_t fx[512];
    uint32_t mxcsr_mask;

    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, tsc_adjust;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, mtrr_def, mtrr_fixed[11], mtrr_var[16], misc_enable, mcg_status, mcg_ctl,
        mc_bank[10 * 4];
    uint64_t smi_count, bios_sign_id, spec_ctrl;

    bool halted;      /* HLT: woken by an unmasked interrupt, NMI, INIT */
    bool wait_sipi;   /* an AP before its SIPI */
    bool irq_shadow;  /* STI, MOV SS, POP SS: no interrupt before the next instruction has run */
    bool nmi_blocked; /* until IRET */
    bool nmi_pending;
    bool shutdown; /* triple fault: soft_run() returned SOFT_EXIT_TRIPLE */
    uint8_t sipi_vector;
    bool step; /* gdb: run one instruction, then SOFT_EXIT_DEBUG */

    /* The exception being delivered (soft_raise to the run loop). */
    int exc_vector;               /* -1: none */
    bool exc_has_error, exc_soft; /* soft: INT n, INT3, INTO: DPL is checked, IP is behind */
    uint32_t exc_error;
    int exc_delivering;  /* vector in delivery, for double faults; -1 */
    uint32_t db_pending; /* DR6 bits to raise #DB with after this instruction */
    bool db_fault;       /* a code breakpoint: the pending #DB is a fault */
    sigjmp_buf unwind; /* filled with _setjmp(): no signal mask; siglongjmp(c->unwind, 1) leaves */

    const SoftBus *bus;
    void *bus_opaque;
    const X86CpuModel *model; /* CPUID */
    uint32_t index, apic_id;
    SoftBlocks *blocks;
    SoftTlb *views[2];  /* kernel, user */
    SoftTlb *slow_view; /* always empty: in use while slow_checks is set */
    bool slow_checks;   /* every access must be looked at: alignment checks or data breakpoints */
    _Atomic uint64_t *rmw_mask; /* code mask of the page of the atomic operation in progress */
    uint64_t rmw_gpa;
    bool split_locked; /* holds the split lock; given up when an exception unwinds */
    uint8_t ext;       /* the EXT bit of error codes: delivering an interrupt or exception */
    struct SoftCodeTlb *code_tlb;
    _Atomic uint64_t *wrote;  /* bits pages it may have a write tag for (mem.h) */
    uint64_t breakpoints[32]; /* gdb software breakpoints by linear address; soft_blocks_flush()
                                 after a change */
    unsigned nbreakpoints;
    bool at_breakpoint; /* a block met one */
    bool no_hot;        /* tests: every instruction by its InsnFn */
    uint8_t jit_after;  /* runs of a block before it is translated; SOFT_NO_JIT: never */
};

/* SoftCpu.jit_after */
enum { SOFT_JIT_AFTER = 16, SOFT_NO_JIT = 255 };

typedef enum SoftExit {
    SOFT_EXIT_KICK,  /* SOFT_POLL_EXIT was set */
    SOFT_EXIT_HALT,  /* halted or waiting for SIPI, nothing pending: sleep until poll is non-zero */
    SOFT_EXIT_DEBUG, /* gdb breakpoint or step */
    SOFT_EXIT_TRIPLE,  /* shutdown: the machine resets */
    SOFT_EXIT_INTERNAL /* the engine met something it cannot do; a line was logged */
} SoftExit;

/* vcpu.c. soft_new: bus is borrowed. mem_size hint unused. NULL never. */
SoftCpu *soft_new(
    const SoftBus *bus, void *opaque, const X86CpuModel *model, uint32_t index, uint32_t apic_id);
void soft_free(SoftCpu *c);
void soft_reset(SoftCpu *c, bool bsp); /* power-on state (SDM vol. 3, table 9-1) */
void soft_init_signal(SoftCpu *c);     /* INIT: like reset, but caches, FPU, MTRRs stay */
SoftExit soft_run(SoftCpu *c);         /* until something in SoftExit happens */
void soft_kick(SoftCpu *c,
    uint32_t bits); /* any thread; wakes nothing by itself: the owner of the thread does */
void soft_get_state(SoftCpu *c, X86State *ret);
void soft_set_state(SoftCpu *c, const X86State *s); /* thread stopped, or its own */
bool soft_debug_translate(
    SoftCpu *c, uint64_t la, uint64_t *ret_gpa); /* no side effects; gdb, monitor */

/*
 * vcpu.c: called by soft_run() at a poll point between instructions when poll is non-zero or the
 * CPU is halted. Handles the SOFT_POLL_* bits (interrupts, NMI, INIT, SIPI, flushes). False: leave
 * soft_run() with *ret_exit.
 */
bool soft_service(SoftCpu *c, SoftExit *ret_exit);

/* blocks.c: code invalidation. Own blocks at once; another vCPU's through its queue and
 * SOFT_POLL_INVAL. */
SoftBlocks *soft_blocks_new(void);
void soft_blocks_free(SoftBlocks *b);
void soft_blocks_flush(SoftCpu *c); /* all of them */
void soft_blocks_invalidate(SoftCpu *c, uint64_t gpa_page, uint64_t granules);
void soft_blocks_queue_inval(
    SoftCpu *target, uint64_t gpa_page, uint64_t granules); /* any thread */
void soft_blocks_drain_inval(SoftCpu *c);                   /* own thread, at SOFT_POLL_INVAL */
/*
 * For SoftBus.code_protected: makes every other vCPU that ever wrote to the page at this host
 * address flush its TLB and waits until each has, or is outside soft_run() (it will before its next
 * instruction). Serves by's own flush requests meanwhile, so two vCPUs may wait for each other.
 */
void soft_code_sync(SoftCpu *by, SoftCpu *const *cpus, unsigned ncpus, const uint8_t *page);

/* intr.c. Raise: unwinds, never returns. */
_Noreturn void soft_raise(SoftCpu *c, int vector); /* no error code (#UD, #DE, #NM ..) */
_Noreturn void soft_raise_err(SoftCpu *c, int vector, uint32_t error);
_Noreturn void soft_raise_pf(SoftCpu *c, uint64_t la, uint32_t error); /* sets CR2 */
_Noreturn void soft_unwind(SoftCpu *c); /* leave the block, no exception (mode changed …) */
void soft_deliver(SoftCpu *c);          /* run loop: c->exc_* through the IDT */
void soft_deliver_irq(SoftCpu *c, int vector);
void soft_sw_interrupt(SoftCpu *c, int vector); /* INT n / INT3 / INTO; ip_next is pushed */

/*
 * intr.c: in MODE_STEP before each instruction, with its linear address: true if an execution
 * breakpoint of DR7 hits. The caller raises EXC_DB then. After each instruction that runs in
 * MODE_STEP the caller clears FL_RF (it held for this one).
 */
bool soft_code_breakpoint(SoftCpu *c, uint64_t la);

/* seg.c, sys.c */
void soft_mode_update(SoftCpu *c); /* after CR0/CR4/EFER/CS/SS/segment/RFLAGS.VM,TF/DR7 changes */
void soft_load_seg(SoftCpu *c, int seg, uint16_t sel); /* MOV/POP/LDS...: all checks, may raise */
void soft_set_seg_real(SoftCpu *c, int seg, uint16_t sel); /* real and VM86 */
void soft_set_cr0(SoftCpu *c, uint64_t v);
void soft_set_cr3(SoftCpu *c, uint64_t v);
void soft_set_cr4(SoftCpu *c, uint64_t v);
uint64_t soft_rdtsc(SoftCpu *c);

/* flags.h gives the fast forms; these are the whole register. */
uint64_t soft_get_rflags(SoftCpu *c);
/* Writes the bits in mask; TF, VM, IF changes have their effect (soft_mode_update, poll). */
void soft_set_rflags(SoftCpu *c, uint64_t val, uint64_t mask);

enum {
    FL_CF = 1,
    FL_PF = 4,
    FL_AF = 0x10,
    FL_ZF = 0x40,
    FL_SF = 0x80,
    FL_TF = 0x100,
    FL_IF = 0x200,
    FL_DF = 0x400,
    FL_OF = 0x800,
    FL_IOPL = 0x3000,
    FL_NT = 0x4000,
    FL_RF = 0x10000,
    FL_VM = 0x20000,
    FL_AC = 0x40000,
    FL_VIF = 0x80000,
    FL_VIP = 0x100000,
    FL_ID = 0x200000,
    FL_ARITH = 0x8d5,
};

static inline bool soft_code64(const SoftCpu *c)
{
    return c->mode & MODE_CODE64;
}
