/*
 * RDMSR, WRMSR, RDTSC, RDPMC (SDM vol. 3, chapter on MSRs; vol. 4). An MSR we do not know reads 0
 * and ignores writes. QEMU compat: TCG does the same where hardware raises #GP; see
 * docs/user/compat.md. Covered by tests/cpu/mini.
 */
#include "seg.h"

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)
#define CR0_PG   (1ull << 31)
#define CR4_TSD  (1ull << 2)
#define CR4_PCE  (1ull << 8)

enum {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_SMI_COUNT = 0x34,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_BIOS_SIGN_ID = 0x8b,
    MSR_MTRRCAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_MTRR_VAR = 0x200,
    MSR_MTRR_VAR_END = 0x20f,
    MSR_MTRR_64K = 0x250,
    MSR_MTRR_16K = 0x258,
    MSR_MTRR_16K_1 = 0x259,
    MSR_MTRR_4K = 0x268,
    MSR_MTRR_4K_END = 0x26f,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff,
    MSR_MC0 = 0x400,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_X2APIC_END = 0x8ff,
};
enum {
    MSR_EFER = 0xc0000080u,
    MSR_STAR,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_FMASK,
    MSR_FS_BASE = 0xc0000100u,
    MSR_GS_BASE,
    MSR_KERNEL_GS_BASE,
    MSR_TSC_AUX,
};

enum { MC_BANKS = 10 };

uint64_t soft_rdtsc(SoftCpu *c)
{
    return c->bus->tsc(c->bus_opaque) + c->tsc_adjust;
}

static bool has_tsc_deadline(const SoftCpu *c)
{
    return c->model->f1_ecx & 1u << 24;
}

static _Noreturn void raise_gp(SoftCpu *c)
{
    soft_raise_err(c, EXC_GP, 0);
}

/* The fixed-range MTRR of an MSR number, or -1. */
static int mtrr_fixed_index(uint32_t msr)
{
    if (msr == MSR_MTRR_64K) {
        return 0;
    }
    if (msr == MSR_MTRR_16K || msr == MSR_MTRR_16K_1) {
        return 1 + (int)(msr - MSR_MTRR_16K);
    }
    if (msr >= MSR_MTRR_4K && msr <= MSR_MTRR_4K_END) {
        return 3 + (int)(msr - MSR_MTRR_4K);
    }
    return -1;
}

/* Where an MSR that just stores its value lives; NULL: it does not. */
static uint64_t *plain_msr(SoftCpu *c, uint32_t msr)
{
    int fixed = mtrr_fixed_index(msr);

    if (fixed >= 0) {
        return &c->mtrr_fixed[fixed];
    }
    if (msr >= MSR_MTRR_VAR && msr <= MSR_MTRR_VAR_END) {
        return &c->mtrr_var[msr - MSR_MTRR_VAR];
    }
    if (msr >= MSR_MC0 && msr < MSR_MC0 + 4 * MC_BANKS) {
        return &c->mc_bank[msr - MSR_MC0];
    }
    switch (msr) {
    case MSR_SYSENTER_CS:
        return &c->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &c->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &c->sysenter_eip;
    case MSR_MCG_STATUS:
        return &c->mcg_status;
    case MSR_MCG_CTL:
        return &c->mcg_ctl;
    case MSR_MISC_ENABLE:
        return &c->misc_enable;
    case MSR_PAT:
        return &c->pat;
    case MSR_MTRR_DEF:
        return &c->mtrr_def;
    case MSR_STAR:
        return &c->star;
    case MSR_LSTAR:
        return &c->lstar;
    case MSR_CSTAR:
        return &c->cstar;
    case MSR_FMASK:
        return &c->fmask;
    case MSR_FS_BASE:
        return &c->seg[SEG_FS].base;
    case MSR_GS_BASE:
        return &c->seg[SEG_GS].base;
    case MSR_KERNEL_GS_BASE:
        return &c->kernel_gs_base;
    case MSR_TSC_AUX:
        return &c->tsc_aux;
    default:
        return NULL;
    }
}

static uint64_t read_msr(SoftCpu *c, uint32_t msr)
{
    const uint64_t *plain = plain_msr(c, msr);
    uint64_t v = 0;

    if (plain) {
        return *plain;
    }
    if (msr >= MSR_X2APIC && msr <= MSR_X2APIC_END) {
        if (!c->bus->x2apic_read(c->bus_opaque, msr, &v)) {
            raise_gp(c);
        }
        return v;
    }
    switch (msr) {
    case MSR_TSC:
        return soft_rdtsc(c);
    case MSR_APIC_BASE:
        return c->bus->apic_base(c->bus_opaque);
    case MSR_SMI_COUNT:
        return c->smi_count;
    case MSR_TSC_ADJUST:
        return c->tsc_adjust;
    case MSR_SPEC_CTRL:
        return c->spec_ctrl;
    case MSR_BIOS_SIGN_ID:
        return c->bios_sign_id;
    case MSR_MTRRCAP:
        return c->model->f1_edx & 1u << 12 ? 0x508 : 0; /* 8 variable, fixed, WC */
    case MSR_MCG_CAP:
        return c->model->f1_edx & 1u << 14 ? 0x01000100 | MC_BANKS : 0;
    case MSR_PERF_STATUS:
        return 0x00000400000003e8ull; /* QEMU compat */
    case MSR_TSC_DEADLINE:
        if (has_tsc_deadline(c) && !c->bus->x2apic_read(c->bus_opaque, msr, &v)) {
            raise_gp(c);
        }
        return v;
    case MSR_EFER:
        return c->efer;
    default:
        return 0;
    }
}

static void write_efer(SoftCpu *c, uint64_t v)
{
    const X86CpuModel *m = c->model;
    uint64_t known = EFER_LMA;

    known |= m->f80000001_edx & 1u << 11 ? EFER_SCE : 0;
    known |= m->f80000001_edx & 1u << 20 ? EFER_NXE : 0;
    known |= m->f80000001_edx & 1u << 29 ? EFER_LME : 0;
    if ((v & ~known) || (((v ^ c->efer) & EFER_LME) && (c->cr0 & CR0_PG))) {
        raise_gp(c);
    }
    bool nx_changed = (v ^ c->efer) & EFER_NXE;
    c->efer = (v & ~EFER_LMA) | (c->efer & EFER_LMA);
    soft_mode_update(c);
    if (nx_changed) {
        soft_tlb_flush(c, /* global= */ true);
    }
}

static bool pat_valid(uint64_t v)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = v >> (8 * i) & 0xff;
        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

/* MSRs that hold an address, and PAT, reject bad values (SDM vol. 2, WRMSR). */
static bool plain_value_ok(uint32_t msr, uint64_t v)
{
    switch (msr) {
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
        return soft_canonical48(v);
    case MSR_PAT:
        return pat_valid(v);
    case MSR_TSC_AUX:
        return v >> 32 == 0;
    default:
        return true;
    }
}

static void write_msr(SoftCpu *c, uint32_t msr, uint64_t v)
{
    uint64_t *plain = plain_msr(c, msr);

    if (plain) {
        if (!plain_value_ok(msr, v)) {
            raise_gp(c);
        }
        *plain = v;
        return;
    }
    if (msr >= MSR_X2APIC && msr <= MSR_X2APIC_END) {
        if (!c->bus->x2apic_write(c->bus_opaque, msr, v)) {
            raise_gp(c);
        }
        soft_kick(c, SOFT_POLL_IRQ);
        return;
    }
    switch (msr) {
    case MSR_TSC:
        c->tsc_adjust += v - soft_rdtsc(c);
        break;
    case MSR_APIC_BASE:
        if (!c->bus->apic_base_set(c->bus_opaque, v)) {
            raise_gp(c);
        }
        break;
    case MSR_TSC_ADJUST:
        c->tsc_adjust = v;
        break;
    case MSR_SPEC_CTRL:
        c->spec_ctrl = v;
        break;
    case MSR_TSC_DEADLINE:
        if (has_tsc_deadline(c) && !c->bus->x2apic_write(c->bus_opaque, msr, v)) {
            raise_gp(c);
        }
        break;
    case MSR_EFER:
        write_efer(c, v);
        break;
    default:
        break;
    }
}

static void set_edx_eax(SoftCpu *c, uint64_t v)
{
    c->r[R_AX] = (uint32_t)v;
    c->r[R_DX] = v >> 32;
}

void insn_rdmsr(SoftCpu *c, const Insn *in)
{
    (void)in;
    need_cpl0(c);
    set_edx_eax(c, read_msr(c, (uint32_t)c->r[R_CX]));
}

void insn_wrmsr(SoftCpu *c, const Insn *in)
{
    (void)in;
    need_cpl0(c);
    write_msr(c, (uint32_t)c->r[R_CX], (uint32_t)c->r[R_AX] | c->r[R_DX] << 32);
}

void insn_rdtsc(SoftCpu *c, const Insn *in)
{
    (void)in;
    if ((c->cr4 & CR4_TSD) && c->cpl) {
        raise_gp(c);
    }
    set_edx_eax(c, soft_rdtsc(c));
}

void insn_rdpmc(SoftCpu *c, const Insn *in)
{
    (void)in;
    raise_gp(c); /* no performance counters */
}
