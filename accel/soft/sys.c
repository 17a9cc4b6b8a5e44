/*
 * Control and debug registers, RFLAGS, descriptor table registers, and the instructions that change
 * the CPU's mode (SDM vol. 2; vol. 3, 2.5, 2.8, 17.2). SYSCALL and its kin are in syscall.c.
 * Covered by tests/cpu/mini.
 */
#include "flags.h"
#include "mmu.h"
#include "seg.h"

#include <glib.h>

#define CR0_ET  (1ull << 4)
#define CR0_WP  (1ull << 16)
#define CR0_AM  (1ull << 18)
#define CR0_NW  (1ull << 29)
#define CR0_CD  (1ull << 30)
#define CR0_PG  (1ull << 31)
#define CR0_ALL (0x3full | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

enum {
    CR4_VME = 1 << 0,
    CR4_PVI = 1 << 1,
    CR4_TSD = 1 << 2,
    CR4_DE = 1 << 3,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_MCE = 1 << 6,
    CR4_PGE = 1 << 7,
    CR4_PCE = 1 << 8,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMM = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_FSGSBASE = 1 << 16,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
};
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

uint64_t soft_get_rflags(SoftCpu *c)
{
    return c->sysflags | flags_peek(c) | 2;
}

void soft_set_rflags(SoftCpu *c, uint64_t val, uint64_t mask)
{
    uint32_t sys =
        (uint32_t)mask & ~FL_ARITH &
        (FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID);
    uint32_t old = c->sysflags;

    if (mask & FL_ARITH) {
        flags_change(c, (uint32_t)mask & FL_ARITH, (uint32_t)val & FL_ARITH);
    }
    c->sysflags = (old & ~sys) | ((uint32_t)val & sys) | 2;
    uint32_t changed = old ^ c->sysflags;
    if (changed & (FL_TF | FL_VM | FL_AC)) {
        soft_mode_update(c);
    }
    if (changed & c->sysflags & FL_IF) {
        soft_kick(c, SOFT_POLL_IRQ);
    }
}

/* Control registers */

void soft_set_cr0(SoftCpu *c, uint64_t v)
{
    uint64_t changed = c->cr0 ^ v;
    bool was_lma = c->efer & EFER_LMA;

    v = (v & CR0_ALL) | CR0_ET;
    c->cr0 = v;
    if (changed & CR0_PG) {
        if ((v & CR0_PG) && (c->efer & EFER_LME)) {
            c->efer |= EFER_LMA;
        } else {
            c->efer &= ~EFER_LMA;
        }
    }
    if ((changed & CR0_PE) && !(v & CR0_PE)) {
        c->cpl = 0;
    }
    soft_mode_update(c);
    if ((changed & (CR0_PG | CR0_WP | CR0_PE)) || was_lma != !!(c->efer & EFER_LMA)) {
        soft_tlb_flush(c, /* global= */ true);
    }
    if (changed & (CR0_PG | CR0_CD | CR0_NW)) {
        soft_pdptes_load(c);
    }
}

static void check_pdptes(SoftCpu *c, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    if (!soft_pdptes_valid(c, cr0, cr3, cr4)) {
        soft_raise_err(c, EXC_GP, 0);
    }
}

/* MOV CR0 and LMSW: what the manual forbids (SDM vol. 3, 2.5, 4.1.2). */
static void write_cr0(SoftCpu *c, uint64_t v)
{
    bool pg = v & CR0_PG;

    if ((v >> 32) || (pg && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD))) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (pg && !(c->cr0 & CR0_PG) && (c->efer & EFER_LME) &&
        (!(c->cr4 & CR4_PAE) || (c->seg[SEG_CS].attr & ATTR_L))) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (!pg && (c->cr0 & CR0_PG) && soft_code64(c)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if ((c->cr0 ^ v) & (CR0_PG | CR0_CD | CR0_NW)) {
        check_pdptes(c, v, c->cr3, c->cr4);
    }
    soft_set_cr0(c, v);
}

void soft_set_cr3(SoftCpu *c, uint64_t v)
{
    c->cr3 = v;
    soft_pdptes_load(c);
    soft_tlb_flush(c, /* global= */ false);
}

void soft_set_cr4(SoftCpu *c, uint64_t v)
{
    uint64_t flush = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP;
    uint64_t changed = c->cr4 ^ v;

    c->cr4 = v;
    soft_mode_update(c);
    if (changed & flush) {
        soft_pdptes_load(c);
        soft_tlb_flush(c, /* global= */ true);
    }
}

/* The bits of CR4 that this CPU model has. */
static uint64_t cr4_known(const SoftCpu *c)
{
    const X86CpuModel *m = c->model;
    uint64_t v = CR4_TSD | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PCE | CR4_DE;

    v |= m->f1_edx & 1u << 13 ? CR4_PGE : 0;
    v |= m->f1_edx & 1u << 24 ? CR4_OSFXSR : 0;
    v |= m->f1_edx & 1u << 25 ? CR4_OSXMM : 0;
    v |= m->f1_edx & 1u << 1 ? CR4_VME | CR4_PVI : 0;
    v |= m->f7_ebx & 1u << 0 ? CR4_FSGSBASE : 0;
    v |= m->f7_ebx & 1u << 7 ? CR4_SMEP : 0;
    v |= m->f7_ebx & 1u << 20 ? CR4_SMAP : 0;
    v |= m->f7_ecx & 1u << 2 ? CR4_UMIP : 0;
    return v;
}

static void write_cr4(SoftCpu *c, uint64_t v)
{
    if ((v & ~cr4_known(c)) || ((c->efer & EFER_LMA) && !(v & CR4_PAE))) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if ((c->cr4 ^ v) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) {
        check_pdptes(c, c->cr0, c->cr3, v);
    }
    soft_set_cr4(c, v);
}

static void write_cr3(SoftCpu *c, uint64_t v)
{
    if (cpu_lma(c) && (v >> c->model->phys_bits)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    check_pdptes(c, c->cr0, v, c->cr4);
    soft_set_cr3(c, v);
}

void insn_mov_cr(SoftCpu *c, const Insn *in)
{
    unsigned size = soft_code64(c) ? 8 : 4;
    unsigned cr = in->reg;

    if ((cr > 4 && cr != 8) || cr == 1) {
        soft_raise(c, EXC_UD);
    }
    need_cpl0(c);
    if (in->opcode == 0x120) {
        uint64_t v = cr == 0 ? c->cr0 : cr == 2 ? c->cr2 : cr == 3 ? c->cr3 : c->cr4;
        if (cr == 8) {
            v = c->bus->tpr_get(c->bus_opaque);
        }
        insn_set_reg(c, in, in->rm, size, v);
        return;
    }
    uint64_t v = insn_get_reg(c, in, in->rm, size);
    switch (cr) {
    case 0:
        write_cr0(c, v);
        break;
    case 2:
        c->cr2 = v;
        break;
    case 3:
        write_cr3(c, v);
        break;
    case 4:
        write_cr4(c, v);
        break;
    default:
        if (v & ~0xfull) {
            soft_raise_err(c, EXC_GP, 0);
        }
        c->bus->tpr_set(c->bus_opaque, (uint8_t)v);
        soft_kick(c, SOFT_POLL_IRQ);
        break;
    }
}

/* SDM vol. 3, 17.2: DR4 and DR5 are DR6 and DR7 unless CR4.DE; DR7.GD traps every access. */
void insn_mov_dr(SoftCpu *c, const Insn *in)
{
    unsigned size = soft_code64(c) ? 8 : 4, dr = in->reg;

    if (dr > 7 || ((dr == 4 || dr == 5) && (c->cr4 & CR4_DE))) {
        soft_raise(c, EXC_UD);
    }
    need_cpl0(c);
    if (dr == 4 || dr == 5) {
        dr += 2;
    }
    if (c->dr[7] & (1u << 13)) {
        c->db_pending |= 1u << 13;
        c->db_fault = true;
        soft_raise(c, EXC_DB);
    }
    if (in->opcode == 0x121) {
        insn_set_reg(c, in, in->rm, size, c->dr[dr]);
        return;
    }
    uint64_t v = insn_get_reg(c, in, in->rm, size);
    if (dr >= 6 && v >> 32) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (dr == 6) {
        v = (v & 0xe00f) | 0xffff0ff0;
    } else if (dr == 7) {
        v = (v & 0xffff2bff) | 0x400;
    }
    c->dr[dr] = v;
    soft_mode_update(c);
}

void insn_clts(SoftCpu *c, const Insn *in)
{
    (void)in;
    need_cpl0(c);
    c->cr0 &= ~(uint64_t)CR0_TS;
    soft_mode_update(c);
}

void insn_wbinvd(SoftCpu *c, const Insn *in)
{
    (void)in;
    need_cpl0(c); /* no caches: nothing else to do */
}

/* Group 7 */

static void store_table(SoftCpu *c, const Insn *in, uint64_t base, uint16_t limit)
{
    unsigned size = soft_code64(c) ? 8 : 4;

    if ((c->cr4 & CR4_UMIP) && c->cpl) {
        soft_raise_err(c, EXC_GP, 0);
    }
    uint64_t la = insn_la(c, in, 2 + size, true);
    soft_check(c, la, 2 + size, true);
    soft_st16(c, la, limit);
    mem_st(c, la + 2, size, base);
}

static void load_table(SoftCpu *c, const Insn *in, bool idt)
{
    unsigned size = soft_code64(c) ? 8 : 4;

    need_cpl0(c);
    uint64_t la = insn_la(c, in, 2 + size, false);
    uint16_t limit = soft_ld16(c, la);
    uint64_t base = mem_ld(c, la + 2, size);
    if (size == 4 && in->opsize == 2) {
        base &= 0xffffff;
    }
    if (!soft_canonical(c, base)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (idt) {
        c->idtr.base = base;
        c->idtr.limit = limit;
    } else {
        c->gdtr.base = base;
        c->gdtr.limit = limit;
    }
}

static void lmsw(SoftCpu *c, const Insn *in)
{
    need_cpl0(c);
    uint64_t v = insn_get_rm(c, in, 2) & 15;
    /* Sets PE, never clears it. */
    write_cr0(c, (c->cr0 & ~0xeull) | v);
}

static void invlpg(SoftCpu *c, const Insn *in)
{
    need_cpl0(c);
    uint64_t la = insn_ea(c, in);
    if (!soft_code64(c)) {
        la = (uint32_t)(la + c->seg[in->seg].base);
    } else if (in->seg >= SEG_FS) {
        la += c->seg[in->seg].base;
    }
    if (soft_canonical(c, la)) {
        soft_tlb_flush_page(c, la);
    }
}

/* 0F 01 with a register form that is an instruction of its own. */
static void grp7_reg(SoftCpu *c, const Insn *in)
{
    switch (in->modrm) {
    case 0xca: /* CLAC */
    case 0xcb: /* STAC */
        if (c->cpl || !(c->model->f7_ebx & 1u << 20)) {
            soft_raise(c, EXC_UD);
        }
        soft_set_rflags(c, in->modrm == 0xcb ? FL_AC : 0, FL_AC);
        break;
    case 0xf8: /* SWAPGS */
        if (!soft_code64(c)) {
            soft_raise(c, EXC_UD);
        }
        need_cpl0(c);
        uint64_t gs = c->seg[SEG_GS].base;
        c->seg[SEG_GS].base = c->kernel_gs_base;
        c->kernel_gs_base = gs;
        break;
    case 0xf9: /* RDTSCP */
        if (!(c->model->f80000001_edx & 1u << 27)) {
            soft_raise(c, EXC_UD);
        }
        insn_rdtsc(c, in);
        c->r[R_CX] = (uint32_t)c->tsc_aux;
        break;
    default: /* XGETBV, VMX, SVM, MONITOR..: not offered */
        soft_raise(c, EXC_UD);
    }
}

void insn_grp7(SoftCpu *c, const Insn *in)
{
    unsigned op = in->reg & 7;
    bool mem = in->flags & INSN_MEM;

    if (op == 4) { /* SMSW */
        if ((c->cr4 & CR4_UMIP) && c->cpl) {
            soft_raise_err(c, EXC_GP, 0);
        }
        insn_set_rm(c, in, mem ? 2 : in->opsize, c->cr0);
        return;
    }
    if (op == 6) {
        lmsw(c, in);
        return;
    }
    if (!mem) {
        grp7_reg(c, in);
        return;
    }
    switch (op) {
    case 0:
        store_table(c, in, c->gdtr.base, c->gdtr.limit);
        break;
    case 1:
        store_table(c, in, c->idtr.base, c->idtr.limit);
        break;
    case 2:
    case 3:
        load_table(c, in, op == 3);
        break;
    case 7:
        invlpg(c, in);
        break;
    default:
        soft_raise(c, EXC_UD);
    }
}

/* Flags and halting */

void insn_hlt(SoftCpu *c, const Insn *in)
{
    (void)in;
    need_cpl0(c);
    c->halted = true;
}

static bool io_privileged(const SoftCpu *c)
{
    return !(c->mode & MODE_PE) || c->cpl <= (c->sysflags & FL_IOPL) >> 12;
}

void insn_cli(SoftCpu *c, const Insn *in)
{
    (void)in;
    if (!io_privileged(c)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    c->sysflags &= ~FL_IF;
}

void insn_sti(SoftCpu *c, const Insn *in)
{
    (void)in;
    if (!io_privileged(c)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (!(c->sysflags & FL_IF)) {
        c->sysflags |= FL_IF;
        c->irq_shadow = true;
        soft_kick(c, SOFT_POLL_IRQ);
    }
}

void insn_pushf(SoftCpu *c, const Insn *in)
{
    if ((c->mode & MODE_VM86) && (c->sysflags & FL_IOPL) != FL_IOPL) {
        soft_raise_err(c, EXC_GP, 0);
    }
    Frame f = frame_current(c, in->stsize);
    frame_push(c, &f, soft_get_rflags(c) & ~(uint64_t)(FL_VM | FL_RF));
    frame_commit(c, &f);
}

void insn_popf(SoftCpu *c, const Insn *in)
{
    uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT;

    if (c->mode & MODE_VM86) {
        if ((c->sysflags & FL_IOPL) != FL_IOPL) {
            soft_raise_err(c, EXC_GP, 0);
        }
        mask |= FL_IF;
    } else {
        mask |= io_privileged(c) ? FL_IF : 0;
        mask |= c->cpl == 0 ? FL_IOPL : 0;
    }
    if (in->stsize > 2) {
        mask |= FL_AC | FL_ID | FL_RF;
    }
    Frame f = frame_current(c, in->stsize);
    uint64_t v = frame_pop(c, &f) & ~(uint64_t)FL_RF;
    frame_commit(c, &f);
    soft_set_rflags(c, v, mask);
}

void insn_ud(SoftCpu *c, const Insn *in)
{
    (void)in;
    soft_raise(c, EXC_UD);
}
