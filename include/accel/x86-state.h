/* An x86 CPU's architectural state as the accelerators, gdbstub, monitor, direct boot and saved
 * state exchange it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, X86_NSEGS };

typedef struct X86Seg {
    uint64_t base;
    uint32_t limit; /* byte granular */
    uint16_t sel;
    uint16_t attr; /* descriptor bits 40..55, limit bits zero */
} X86Seg;

enum { X86_MSRS = 40, X86_XSAVE_MORE = 4096 - 512 };
typedef struct X86Msr {
    uint32_t index;
    uint64_t val;
} X86Msr;

typedef struct X86State {
    uint64_t r[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
    uint64_t rip, rflags;
    X86Seg seg[X86_NSEGS], ldt, tr;
    struct {
        uint64_t base;
        uint16_t limit;
    } gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer;
    uint64_t dr[8];
    uint8_t fx[512]; /* FXSAVE image */
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, tsc;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, mtrr_def, mtrr_fixed[11], mtrr_var[16], misc_enable, apic_base;
    bool halted, wait_sipi, irq_shadow, nmi_blocked, nmi_pending;
    /*
     * What an accelerator has besides, or leaves zero. A set writes of these only what differs from
     * the get before: time and interrupts go on between the two.
     */
    struct X86Event {
        bool active, soft, has_error;
        uint8_t nr;
        uint32_t error;
    } exception, interrupt; /* on their way into the CPU */
    bool nmi_injected;
    uint8_t sipi_vector;
    uint64_t xcr0;                 /* 0: no XSAVE */
    uint8_t xsave[X86_XSAVE_MORE]; /* behind fx: SDM vol. 1, 13.4, standard form */
    X86Msr msr[X86_MSRS];          /* that have no field above */
    unsigned nmsrs;
    bool has_lapic; /* a local APIC of the accelerator's own */
    uint8_t lapic[1024];
} X86State;

/* One CPUID leaf as a CPU model reports it; -cpu's features are already in. */
typedef struct X86CpuidLeaf {
    uint32_t leaf, subleaf;
    bool has_subleaf;
    uint32_t eax, ebx, ecx, edx;
} X86CpuidLeaf;

/* A CPU model with its features resolved, made by system/ or hw/i386/cpu-model.c from -cpu.
 * Immutable. */
typedef struct X86CpuModel {
    char vendor[13];
    char model_id[49];
    uint32_t family, model, stepping;
    uint32_t level, xlevel;
    uint32_t f1_edx, f1_ecx, f7_ebx, f7_ecx, f7_edx, f80000001_edx, f80000001_ecx, f80000007_edx,
        f80000008_ebx, f6_eax, fd1_eax;
    /* topology for leaves 1, 4, 0xb, 0x8000001e */
    uint32_t cores_per_die, threads_per_core, dies, sockets;
    bool hypervisor; /* leaf 0x40000000: "TCGTCGTCGTCG" */
    uint8_t phys_bits;
    /* KVM only */
    bool host;          /* host, max: leaves without a word here are the host's */
    bool kvm_hidden;    /* kvm=off: no leaf 0x40000000 */
    uint32_t f4000_eax; /* CPUID.40000001H:EAX */
} X86CpuModel;

/* Answers CPUID for l->leaf and l->subleaf; fills has_subleaf and the four registers. apic_id: of
 * the asking CPU. */
void x86_cpuid(const X86CpuModel *m, uint32_t apic_id, X86CpuidLeaf *l);
/* Registers as text, whole lines: info registers. */
void x86_state_describe(const X86State *s, GString *out);
