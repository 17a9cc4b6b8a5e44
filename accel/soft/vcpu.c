/* A vCPU's life: birth, reset, INIT and SIPI, events between instructions, state in and out.
 * Covered by tests/cpu/mini. */
#include "exec.h"
#include "mmu.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#define EFER_LMA (1ull << 10)

enum { FX_FCW = 0, FX_FTW = 4, FX_MXCSR = 24, FX_MXCSR_MASK = 28 };

SoftCpu *soft_new(
    const SoftBus *bus, void *opaque, const X86CpuModel *model, uint32_t index, uint32_t apic_id)
{
    SoftCpu *c = aligned_alloc(alignof(SoftCpu), sizeof(SoftCpu));

    g_assert(c);
    memset(c, 0, sizeof *c);
    c->bus = bus;
    c->bus_opaque = opaque;
    c->model = model;
    c->index = index;
    c->apic_id = apic_id;
    c->a20_mask = ~0ull;
    c->jit_after = SOFT_JIT_AFTER;
    c->views[0] = soft_tlb_new();
    c->views[1] = soft_tlb_new();
    c->slow_view = soft_tlb_new();
    c->code_tlb = soft_code_tlb_new();
    c->wrote = soft_wrote_new();
    c->blocks = soft_blocks_new();
    soft_reset(c, index == 0);
    return c;
}

void soft_free(SoftCpu *c)
{
    if (!c) {
        return;
    }
    soft_tlb_free(c->views[0]);
    soft_tlb_free(c->views[1]);
    soft_tlb_free(c->slow_view);
    soft_code_tlb_free(c->code_tlb);
    soft_wrote_free(c->wrote);
    soft_blocks_free(c->blocks);
    free(c);
}

static uint32_t signature(const X86CpuModel *m)
{
    X86CpuidLeaf l = { .leaf = 1 };

    x86_cpuid(m, 0, &l);
    return l.eax;
}

/* What RESET and INIT have in common (SDM vol. 3, table 10-1). */
static void reset_core(SoftCpu *c)
{
    memset(c->r, 0, sizeof c->r);
    c->r[R_DX] = signature(c->model);
    flags_set(c, 0);
    c->sysflags = 2;
    c->ip = c->ip_cur = c->ip_next = 0xfff0;
    c->cpl = 0;
    for (int i = 0; i < X86_NSEGS; i++) {
        c->seg[i] = (SoftSeg){ .limit = 0xffff, .attr = ATTR_P | ATTR_S | ATTR_W | ATTR_A };
    }
    c->seg[SEG_CS].sel = 0xf000;
    c->seg[SEG_CS].base = 0xffff0000;
    c->seg[SEG_CS].attr |= ATTR_CODE;
    c->ldtr = (SoftSeg){ .limit = 0xffff, .attr = ATTR_P | 2 };
    c->tr = (SoftSeg){ .limit = 0xffff, .attr = ATTR_P | 11 };
    c->gdtr.base = c->idtr.base = 0;
    c->gdtr.limit = c->idtr.limit = 0xffff;
    c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
    memset(c->dr, 0, sizeof c->dr);
    c->dr[6] = 0xffff0ff0;
    c->dr[7] = 0x400;
    c->halted = c->irq_shadow = c->nmi_blocked = c->nmi_pending = c->shutdown = false;
    c->exc_vector = c->exc_delivering = -1;
    c->ext = 0;
    c->db_pending = 0;
    c->db_fault = false;
    soft_mode_update(c);
    soft_tlb_flush(c, /* global= */ true);
}

static void reset_fpu(SoftCpu *c)
{
    memset(c->fx, 0, sizeof c->fx);
    uint16_t fcw = 0x40;
    uint32_t mxcsr = 0x1f80;
    memcpy(c->fx + FX_FCW, &fcw, sizeof fcw);
    c->fx[FX_FTW] = 0xff;
    memcpy(c->fx + FX_MXCSR, &mxcsr, sizeof mxcsr);
    if (!c->mxcsr_mask) {
        c->mxcsr_mask = 0xffff;
    }
    memcpy(c->fx + FX_MXCSR_MASK, &c->mxcsr_mask, sizeof c->mxcsr_mask);
}

void soft_reset(SoftCpu *c, bool bsp)
{
    c->cr0 = 0x60000010;
    reset_core(c);
    reset_fpu(c);
    c->star = c->lstar = c->cstar = c->fmask = c->kernel_gs_base = c->tsc_aux = c->tsc_adjust = 0;
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    c->pat = 0x0007040600070406ull;
    c->mtrr_def = 0;
    memset(c->mtrr_fixed, 0, sizeof c->mtrr_fixed);
    memset(c->mtrr_var, 0, sizeof c->mtrr_var);
    c->misc_enable = 1;
    c->mcg_status = 0;
    c->mcg_ctl = ~0ull;
    memset(c->mc_bank, 0, sizeof c->mc_bank);
    for (unsigned i = 0; i < 10; i++) {
        c->mc_bank[4 * i] = ~0ull; /* CTL */
    }
    c->smi_count = c->spec_ctrl = 0;
    c->bios_sign_id = c->model->vendor[0] == 'A' ? 0x01000065 : 0x100000000ull;
    c->wait_sipi = !bsp;
    atomic_fetch_and(&c->poll, ~(SOFT_POLL_INIT | SOFT_POLL_SIPI | SOFT_POLL_NMI));
    soft_blocks_flush(c);
}

void soft_init_signal(SoftCpu *c)
{
    c->cr0 = 0x10 | (c->cr0 & 0x60000000);
    reset_core(c);
    c->wait_sipi = !(c->bus->apic_base(c->bus_opaque) & 1u << 8);
}

void soft_kick(SoftCpu *c, uint32_t bits)
{
    atomic_fetch_or(&c->poll, bits);
}

/* Events */

static void start_ap(SoftCpu *c)
{
    c->seg[SEG_CS].sel = (uint16_t)(c->sipi_vector << 8);
    c->seg[SEG_CS].base = (uint32_t)c->sipi_vector << 12;
    c->ip = c->ip_cur = c->ip_next = 0;
    c->wait_sipi = false;
    soft_mode_update(c);
}

/* Bits that need no look at the guest's state. False: leave. */
static bool service_bits(SoftCpu *c, uint32_t bits, SoftExit *ret_exit)
{
    blocks_poll(c);
    if (bits & SOFT_POLL_EXIT) {
        atomic_fetch_and(&c->poll, ~(uint32_t)SOFT_POLL_EXIT);
        *ret_exit = SOFT_EXIT_KICK;
        return false;
    }
    if (bits & SOFT_POLL_INIT) {
        /* A SIPI sent before this INIT is lost, one sent behind it sets its bit again. */
        atomic_fetch_and(&c->poll, ~(uint32_t)SOFT_POLL_INIT);
        soft_init_signal(c);
    }
    if (bits & SOFT_POLL_SIPI) {
        atomic_fetch_and(&c->poll, ~(uint32_t)SOFT_POLL_SIPI);
        if (c->wait_sipi) {
            start_ap(c);
        }
    }
    if (bits & SOFT_POLL_NMI) {
        atomic_fetch_and(&c->poll, ~(uint32_t)SOFT_POLL_NMI);
        c->nmi_pending = true;
    }
    atomic_fetch_and(&c->poll, ~(uint32_t)SOFT_POLL_SMI);
    return true;
}

bool soft_service(SoftCpu *c, SoftExit *ret_exit)
{
    if (!service_bits(c, atomic_load(&c->poll), ret_exit)) {
        return false;
    }
    if (c->wait_sipi) {
        *ret_exit = SOFT_EXIT_HALT;
        return false;
    }
    if (c->halted) {
        c->irq_shadow = false; /* HLT was the instruction in the shadow */
    }
    /* It also holds off an NMI: MOV SS and the load of SP belong together (SDM vol. 3, 6.8.3). */
    if (c->irq_shadow) {
        soft_kick(c, c->nmi_pending ? SOFT_POLL_NMI : 0);
        return true;
    }
    if (c->nmi_pending && !c->nmi_blocked) {
        c->nmi_pending = false;
        c->nmi_blocked = true;
        soft_deliver_irq(c, EXC_NMI);
        return true;
    }
    /* Cleared first: whoever raises an interrupt behind this sets it again. So does IF going to 1.
     */
    atomic_fetch_and(&c->poll, ~(uint32_t)SOFT_POLL_IRQ);
    if ((c->sysflags & FL_IF) && c->bus->irq_pending(c->bus_opaque)) {
        int vector = c->bus->irq_ack(c->bus_opaque);
        soft_kick(c, SOFT_POLL_IRQ); /* there may be more */
        if (vector >= 0) {
            soft_deliver_irq(c, vector);
            return true;
        }
    }
    if (c->halted) {
        *ret_exit = SOFT_EXIT_HALT;
        return false;
    }
    return true;
}

/* State */

static X86Seg seg_out(const SoftSeg *s)
{
    return (X86Seg){ .base = s->base, .limit = s->limit, .sel = s->sel, .attr = s->attr };
}

static SoftSeg seg_in(const X86Seg *s)
{
    return (SoftSeg){ .base = s->base, .limit = s->limit, .sel = s->sel, .attr = s->attr };
}

void soft_get_state(SoftCpu *c, X86State *ret)
{
    *ret = (X86State){ .rip = c->ip,
        .rflags = soft_get_rflags(c),
        .ldt = seg_out(&c->ldtr),
        .tr = seg_out(&c->tr),
        .gdt = { c->gdtr.base, c->gdtr.limit },
        .idt = { c->idtr.base, c->idtr.limit },
        .cr0 = c->cr0,
        .cr2 = c->cr2,
        .cr3 = c->cr3,
        .cr4 = c->cr4,
        .cr8 = c->bus->tpr_get(c->bus_opaque),
        .efer = c->efer,
        .star = c->star,
        .lstar = c->lstar,
        .cstar = c->cstar,
        .fmask = c->fmask,
        .kernel_gs_base = c->kernel_gs_base,
        .tsc_aux = c->tsc_aux,
        .tsc = soft_rdtsc(c),
        .sysenter_cs = c->sysenter_cs,
        .sysenter_esp = c->sysenter_esp,
        .sysenter_eip = c->sysenter_eip,
        .pat = c->pat,
        .mtrr_def = c->mtrr_def,
        .misc_enable = c->misc_enable,
        .apic_base = c->bus->apic_base(c->bus_opaque),
        .halted = c->halted,
        .wait_sipi = c->wait_sipi,
        .irq_shadow = c->irq_shadow,
        .nmi_blocked = c->nmi_blocked,
        .nmi_pending = c->nmi_pending };
    memcpy(ret->r, c->r, sizeof ret->r);
    memcpy(ret->dr, c->dr, sizeof ret->dr);
    memcpy(ret->fx, c->fx, sizeof ret->fx);
    memcpy(ret->mtrr_fixed, c->mtrr_fixed, sizeof ret->mtrr_fixed);
    memcpy(ret->mtrr_var, c->mtrr_var, sizeof ret->mtrr_var);
    for (int i = 0; i < X86_NSEGS; i++) {
        ret->seg[i] = seg_out(&c->seg[i]);
    }
}

void soft_set_state(SoftCpu *c, const X86State *s)
{
    memcpy(c->r, s->r, sizeof s->r);
    memcpy(c->dr, s->dr, sizeof s->dr);
    memcpy(c->fx, s->fx, sizeof s->fx);
    memcpy(c->mtrr_fixed, s->mtrr_fixed, sizeof s->mtrr_fixed);
    memcpy(c->mtrr_var, s->mtrr_var, sizeof s->mtrr_var);
    for (int i = 0; i < X86_NSEGS; i++) {
        c->seg[i] = seg_in(&s->seg[i]);
    }
    c->ldtr = seg_in(&s->ldt);
    c->tr = seg_in(&s->tr);
    c->gdtr.base = s->gdt.base;
    c->gdtr.limit = s->gdt.limit;
    c->idtr.base = s->idt.base;
    c->idtr.limit = s->idt.limit;
    c->cr0 = s->cr0;
    c->cr2 = s->cr2;
    c->cr3 = s->cr3;
    c->cr4 = s->cr4;
    c->efer = s->efer;
    soft_pdptes_load(c);
    c->star = s->star;
    c->lstar = s->lstar;
    c->cstar = s->cstar;
    c->fmask = s->fmask;
    c->kernel_gs_base = s->kernel_gs_base;
    c->tsc_aux = s->tsc_aux;
    c->tsc_adjust += s->tsc - soft_rdtsc(c);
    c->sysenter_cs = s->sysenter_cs;
    c->sysenter_esp = s->sysenter_esp;
    c->sysenter_eip = s->sysenter_eip;
    c->pat = s->pat;
    c->mtrr_def = s->mtrr_def;
    c->misc_enable = s->misc_enable;
    c->halted = s->halted;
    c->wait_sipi = s->wait_sipi;
    c->irq_shadow = s->irq_shadow;
    c->nmi_blocked = s->nmi_blocked;
    c->nmi_pending = s->nmi_pending;
    c->bus->apic_base_set(c->bus_opaque, s->apic_base);
    c->bus->tpr_set(c->bus_opaque, (uint8_t)s->cr8);
    c->ip = c->ip_cur = c->ip_next = s->rip;
    c->exc_vector = c->exc_delivering = -1;
    c->shutdown = false;
    flags_set(c, (uint32_t)s->rflags);
    c->sysflags = ((uint32_t)s->rflags & ~(uint32_t)FL_ARITH) | 2;
    /* CPL is SS's DPL in protected mode, 3 in VM86 (SDM vol. 3, 5.5: CS.RPL, which equals it). */
    c->cpl = !(s->cr0 & 1) ? 0 : c->sysflags & FL_VM ? 3 : s->seg[SEG_CS].sel & 3;
    soft_mode_update(c);
    soft_tlb_flush(c, /* global= */ true);
    soft_blocks_flush(c);
    soft_kick(c, SOFT_POLL_IRQ);
}
