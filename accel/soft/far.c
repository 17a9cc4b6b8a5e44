/*
 * Far JMP, CALL and RET: direct, through call gates, through task gates (SDM vol. 2, those
 * instructions; vol. 3, 5.8). Covered by tests/cpu/mini.
 */
#include "seg.h"

void cs_check_ip(SoftCpu *c, const SoftSeg *cs, uint64_t ip)
{
    bool ok = cpu_lma(c) && (cs->attr & ATTR_L) ? soft_canonical48(ip) : ip <= cs->limit;

    if (!ok) {
        soft_raise_err(c, EXC_GP, 0);
    }
}

/* Commits CS and the IP; nothing fails behind it. */
static void set_cs(SoftCpu *c, const SoftSeg *cs, unsigned cpl, uint64_t ip)
{
    c->seg[SEG_CS] = *cs;
    c->seg[SEG_CS].sel = (uint16_t)((cs->sel & ~3u) | cpl);
    c->cpl = cpl;
    cpu_jump(c, ip);
    soft_mode_update(c);
}

void tss_stack(SoftCpu *c, unsigned pl, SoftSeg *ret_ss, uint64_t *ret_sp)
{
    unsigned type = c->tr.attr & ATTR_TYPE;

    if (cpu_lma(c)) {
        unsigned off = 4 + 8 * pl;
        if (off + 7 > c->tr.limit) {
            raise_sel(c, EXC_TS, c->tr.sel);
        }
        *ret_sp = soft_ld_sys(c, c->tr.base + off, 8);
        *ret_ss = (SoftSeg){ .sel = (uint16_t)pl, .attr = (uint16_t)(pl << ATTR_DPL_SHIFT) };
        return;
    }
    bool wide = type & 8;
    unsigned size = wide ? 4 : 2, off = size + 2 * size * pl;
    if (off + size + 1 > c->tr.limit) {
        raise_sel(c, EXC_TS, c->tr.sel);
    }
    *ret_sp = soft_ld_sys(c, (uint32_t)(c->tr.base + off), size);
    uint16_t sel = (uint16_t)soft_ld_sys(c, (uint32_t)(c->tr.base + off + size), 2);
    *ret_ss = seg_check_ss(c, sel, pl, EXC_TS);
}

/* Code segment of a direct transfer: rights of JMP and CALL (SDM vol. 2, CALL, CONFORMING- and
 * NONCONFORMING-CODE-SEGMENT). */
static SoftSeg check_direct(SoftCpu *c, const Desc *d, uint64_t ip)
{
    unsigned rpl = d->sel & 3;

    if (desc_conforming(d) ? desc_dpl(d) > c->cpl : rpl > c->cpl || desc_dpl(d) != c->cpl) {
        raise_sel(c, EXC_GP, d->sel);
    }
    if (cpu_lma(c) && desc_long(d) && desc_db(d)) {
        raise_sel(c, EXC_GP, d->sel);
    }
    if (!desc_present(d)) {
        raise_sel(c, EXC_NP, d->sel);
    }
    SoftSeg cs = desc_cache(d, d->sel);
    cs_check_ip(c, &cs, ip);
    return cs;
}

typedef struct Gate {
    uint16_t sel;
    uint64_t ip;
    unsigned count, size;
} Gate;

/* A call gate's own checks and contents. */
static Gate gate_read(SoftCpu *c, const Desc *d)
{
    unsigned rpl = d->sel & 3;
    bool wide = desc_type(d) & 8;

    if (desc_dpl(d) < c->cpl || desc_dpl(d) < rpl) {
        raise_sel(c, EXC_GP, d->sel);
    }
    if (!desc_present(d)) {
        raise_sel(c, EXC_NP, d->sel);
    }
    Gate g = { .sel = (uint16_t)(d->raw >> 16),
        .ip = (d->raw & 0xffff),
        .count = d->raw >> 32 & 31,
        .size = wide ? 4 : 2 };
    if (wide) {
        g.ip |= d->raw >> 32 & 0xffff0000;
    }
    if (cpu_lma(c)) {
        g.ip |= desc_base_high(c, d, EXC_GP);
        g.size = 8;
        g.count = 0;
    }
    return g;
}

/* The code segment behind a gate; its privilege is at least ours. */
static Desc gate_target(SoftCpu *c, const Gate *g, bool call)
{
    if (sel_null(g->sel)) {
        raise_sel(c, EXC_GP, 0);
    }
    Desc d = desc_get(c, g->sel, EXC_GP);
    bool dpl_ok = call || desc_conforming(&d) ? desc_dpl(&d) <= c->cpl : desc_dpl(&d) == c->cpl;
    if (!desc_is_code(&d) || !dpl_ok || (cpu_lma(c) && (!desc_long(&d) || desc_db(&d)))) {
        raise_sel(c, EXC_GP, g->sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, g->sel);
    }
    return d;
}

static void call_inner(SoftCpu *c, const Gate *g, const Desc *d)
{
    unsigned pl = desc_dpl(d);
    bool lma = cpu_lma(c);
    SoftSeg ss, cs = desc_cache(d, g->sel);
    uint64_t sp;

    tss_stack(c, pl, &ss, &sp);
    cs_check_ip(c, &cs, g->ip);
    Frame old = frame_current(c, g->size);
    Frame f = frame_on(&ss, sp, g->size, pl, lma);
    f.error_sel = ss.sel;
    frame_push(c, &f, c->seg[SEG_SS].sel);
    frame_push(c, &f, c->r[R_SP]);
    uint32_t params[31];
    for (unsigned i = 0; i < g->count; i++) {
        params[i] = (uint32_t)frame_pop(c, &old);
    }
    for (unsigned i = g->count; i > 0; i--) {
        frame_push(c, &f, params[i - 1]);
    }
    frame_push(c, &f, c->seg[SEG_CS].sel);
    frame_push(c, &f, c->ip_next);
    desc_accessed(c, d);
    c->seg[SEG_SS] = ss;
    frame_commit(c, &f);
    set_cs(c, &cs, pl, g->ip);
}

static void through_gate(SoftCpu *c, const Desc *gate, bool call)
{
    Gate g = gate_read(c, gate);
    Desc d = gate_target(c, &g, call);

    if (call && !desc_conforming(&d) && desc_dpl(&d) < c->cpl) {
        call_inner(c, &g, &d);
        return;
    }
    SoftSeg cs = desc_cache(&d, g.sel);
    cs_check_ip(c, &cs, g.ip);
    if (call) {
        Frame f = frame_current(c, g.size);
        frame_push(c, &f, c->seg[SEG_CS].sel);
        frame_push(c, &f, c->ip_next);
        frame_commit(c, &f);
    }
    desc_accessed(c, &d);
    set_cs(c, &cs, c->cpl, g.ip);
}

/* A system descriptor as the target: a gate or a TSS. */
static void through_system(SoftCpu *c, const Desc *d, bool call)
{
    unsigned type = desc_type(d), rpl = d->sel & 3;

    if (type == SYS_CALL || (type == SYS_CALL16 && !cpu_lma(c))) {
        through_gate(c, d, call);
        return;
    }
    bool tss = type == SYS_TSS || type == SYS_TSS16;
    if (cpu_lma(c) || (!tss && type != SYS_TASK) || desc_dpl(d) < c->cpl || desc_dpl(d) < rpl) {
        raise_sel(c, EXC_GP, d->sel);
    }
    if (!desc_present(d)) {
        raise_sel(c, EXC_NP, d->sel);
    }
    uint16_t sel = tss ? d->sel : (uint16_t)(d->raw >> 16);
    task_switch(c, sel, call ? TASK_CALL : TASK_JMP, false, 0, c->ip_next);
}

static void far_real(SoftCpu *c, uint16_t sel, uint64_t ip, unsigned size, bool call)
{
    if (ip > c->seg[SEG_CS].limit) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (call) {
        Frame f = frame_current(c, size);
        frame_push(c, &f, c->seg[SEG_CS].sel);
        frame_push(c, &f, c->ip_next);
        frame_commit(c, &f);
    }
    soft_set_seg_real(c, SEG_CS, sel);
    cpu_jump(c, ip);
    soft_mode_update(c);
}

static void far_transfer(SoftCpu *c, uint16_t sel, uint64_t ip, unsigned size, bool call)
{
    if (size == 2) {
        ip &= 0xffff;
    } else if (size == 4) {
        ip &= 0xffffffff;
    }
    if (!cpu_prot(c)) {
        far_real(c, sel, ip, size, call);
        return;
    }
    if (sel_null(sel)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    Desc d = desc_get(c, sel, EXC_GP);
    if (!desc_is_app(&d)) {
        through_system(c, &d, call);
        return;
    }
    if (!desc_is_code(&d)) {
        raise_sel(c, EXC_GP, sel);
    }
    SoftSeg cs = check_direct(c, &d, ip);
    if (call) {
        Frame f = frame_current(c, size);
        frame_push(c, &f, c->seg[SEG_CS].sel);
        frame_push(c, &f, c->ip_next);
        frame_commit(c, &f);
    }
    desc_accessed(c, &d);
    set_cs(c, &cs, c->cpl, ip);
}

/* Far transfers have 32-bit operands in 64-bit mode unless REX.W says 64 (SDM vol. 2, CALL). */
static unsigned far_size(const SoftCpu *c, const Insn *in)
{
    if (!soft_code64(c)) {
        return in->opsize;
    }
    return in->flags & INSN_REXW ? 8 : in->flags & INSN_66 ? 2 : 4;
}

static void far_insn(SoftCpu *c, const Insn *in, bool call)
{
    unsigned size = far_size(c, in);

    if (in->opcode == 0xea || in->opcode == 0x9a) {
        far_transfer(c, (uint16_t)in->disp, in->imm, size, call);
        return;
    }
    if (!(in->flags & INSN_MEM)) {
        soft_raise(c, EXC_UD);
    }
    uint64_t la = insn_la(c, in, size + 2, false);
    uint64_t ip = mem_ld(c, la, size);
    far_transfer(c, (uint16_t)mem_ld(c, la + size, 2), ip, size, call);
}

void insn_jmp_far(SoftCpu *c, const Insn *in)
{
    far_insn(c, in, false);
}

void insn_call_far(SoftCpu *c, const Insn *in)
{
    far_insn(c, in, true);
}

SoftSeg cs_check_return(SoftCpu *c, uint16_t sel)
{
    unsigned rpl = sel & 3;

    if (sel_null(sel)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    Desc d = desc_get(c, sel, EXC_GP);
    if (!desc_is_code(&d) || rpl < c->cpl ||
        (desc_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl) ||
        (cpu_lma(c) && desc_long(&d) && desc_db(&d))) {
        raise_sel(c, EXC_GP, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    desc_accessed(c, &d);
    return desc_cache(&d, sel);
}

SoftSeg ss_check_return(SoftCpu *c, uint16_t sel, unsigned pl, bool to64)
{
    if (sel_null(sel)) {
        if (!to64 || pl == 3 || (sel & 3u) != pl) {
            soft_raise_err(c, EXC_GP, 0);
        }
        return (SoftSeg){ .sel = sel, .attr = (uint16_t)(pl << ATTR_DPL_SHIFT) };
    }
    return seg_check_ss(c, sel, pl, EXC_GP);
}

void insn_ret_far(SoftCpu *c, const Insn *in)
{
    unsigned size = far_size(c, in);
    uint64_t extra = in->opcode == 0xca ? in->imm & 0xffff : 0;
    Frame f = frame_current(c, size);
    uint64_t ip = frame_pop(c, &f);
    uint16_t sel = (uint16_t)frame_pop(c, &f);

    if (!cpu_prot(c)) {
        if (ip > c->seg[SEG_CS].limit) {
            soft_raise_err(c, EXC_GP, 0);
        }
        f.sp += extra;
        frame_commit(c, &f);
        soft_set_seg_real(c, SEG_CS, sel);
        cpu_jump(c, ip);
        soft_mode_update(c);
        return;
    }
    SoftSeg cs = cs_check_return(c, sel);
    unsigned rpl = sel & 3;
    cs_check_ip(c, &cs, ip);
    f.sp += extra;
    if (rpl == c->cpl) {
        frame_commit(c, &f);
        set_cs(c, &cs, rpl, ip);
        return;
    }
    uint64_t sp = frame_pop(c, &f);
    uint16_t ss_sel = (uint16_t)frame_pop(c, &f);
    bool to64 = cpu_lma(c) && (cs.attr & ATTR_L);
    SoftSeg ss = ss_check_return(c, ss_sel, rpl, to64);
    c->seg[SEG_SS] = ss;
    Frame out = frame_on(&ss, sp + extra, size, rpl, to64);
    frame_commit(c, &out);
    set_cs(c, &cs, rpl, ip);
    seg_drop_inner(c);
    soft_mode_update(c);
}
