/* IRET in every mode (SDM vol. 2, IRET/IRETD/IRETQ). Covered by tests/cpu/mini. */
#include "seg.h"

/* Flags that an IRET of this size at the current CPL and IOPL may write. */
static uint64_t iret_mask(const SoftCpu *c, unsigned size)
{
    uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT;

    if (size > 2) {
        mask |= FL_RF | FL_AC | FL_ID;
    }
    if (c->cpl <= (c->sysflags & FL_IOPL) >> 12) {
        mask |= FL_IF;
    }
    if (c->cpl == 0) {
        mask |= FL_IOPL | (size > 2 ? FL_VIF | FL_VIP : 0);
    }
    return mask;
}

static void iret_real(SoftCpu *c, unsigned size)
{
    uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_IF | FL_IOPL;

    if (c->mode & MODE_VM86) {
        if ((c->sysflags & FL_IOPL) != FL_IOPL) {
            soft_raise_err(c, EXC_GP, 0);
        }
        mask &= ~(uint64_t)FL_IOPL;
    }
    if (size > 2) {
        mask |= FL_RF | FL_AC | FL_ID;
    }
    Frame f = frame_current(c, size);
    uint64_t ip = frame_pop(c, &f);
    uint16_t sel = (uint16_t)frame_pop(c, &f);
    uint64_t flags = frame_pop(c, &f);
    if (ip > c->seg[SEG_CS].limit) {
        soft_raise_err(c, EXC_GP, 0);
    }
    frame_commit(c, &f);
    soft_set_seg_real(c, SEG_CS, sel);
    cpu_jump(c, ip);
    soft_set_rflags(c, flags, mask);
    soft_mode_update(c);
}

/* From CPL 0: EFLAGS.VM was set in the image. */
static void iret_to_vm86(SoftCpu *c, Frame *f, uint64_t ip, uint16_t cs, uint64_t flags)
{
    uint64_t sp = frame_pop(c, f);
    uint16_t sel[X86_NSEGS] = { [SEG_CS] = cs };

    sel[SEG_SS] = (uint16_t)frame_pop(c, f);
    sel[SEG_ES] = (uint16_t)frame_pop(c, f);
    sel[SEG_DS] = (uint16_t)frame_pop(c, f);
    sel[SEG_FS] = (uint16_t)frame_pop(c, f);
    sel[SEG_GS] = (uint16_t)frame_pop(c, f);
    soft_set_rflags(c, flags, ~0ull);
    for (int i = 0; i < X86_NSEGS; i++) {
        soft_set_seg_real(c, i, sel[i]);
    }
    c->cpl = 3;
    c->r[R_SP] = (uint32_t)sp;
    cpu_jump(c, ip & 0xffff);
    soft_mode_update(c);
}

static void iret_prot(SoftCpu *c, unsigned size)
{
    bool code64 = soft_code64(c);
    Frame f = frame_current(c, size);
    uint64_t ip = frame_pop(c, &f);
    uint16_t sel = (uint16_t)frame_pop(c, &f);
    uint64_t flags = frame_pop(c, &f);

    if (size > 2 && (flags & FL_VM) && c->cpl == 0 && !cpu_lma(c)) {
        iret_to_vm86(c, &f, ip, sel, flags);
        return;
    }
    SoftSeg cs = cs_check_return(c, sel);
    unsigned rpl = sel & 3;
    uint64_t mask = iret_mask(c, size);
    bool outer = rpl > c->cpl;
    bool to64 = cpu_lma(c) && (cs.attr & ATTR_L);
    SoftSeg ss = c->seg[SEG_SS];
    uint64_t sp = 0;

    cs_check_ip(c, &cs, ip);
    if (outer || code64) {
        sp = frame_pop(c, &f);
        uint16_t ss_sel = (uint16_t)frame_pop(c, &f);
        ss = ss_check_return(c, ss_sel, rpl, to64);
        Frame out = frame_on(&ss, sp, size, rpl, to64);
        c->seg[SEG_SS] = ss;
        frame_commit(c, &out);
    } else {
        frame_commit(c, &f);
    }
    c->seg[SEG_CS] = cs;
    c->cpl = rpl;
    cpu_jump(c, ip);
    soft_set_rflags(c, flags, mask);
    if (outer) {
        seg_drop_inner(c);
    }
    soft_mode_update(c);
}

void insn_iret(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;

    if (soft_code64(c)) {
        size = in->flags & INSN_REXW ? 8 : in->flags & INSN_66 ? 2 : 4;
    }
    if (!cpu_prot(c)) {
        iret_real(c, size);
    } else if (c->sysflags & FL_NT) {
        if (cpu_lma(c)) {
            soft_raise_err(c, EXC_GP, 0);
        }
        task_switch(c, 0, TASK_IRET, false, 0, c->ip_next);
    } else {
        iret_prot(c, size);
    }
    c->nmi_blocked = false;
    if (c->nmi_pending) {
        soft_kick(c, SOFT_POLL_NMI);
    }
}
