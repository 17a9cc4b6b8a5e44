/*
 * Exceptions and interrupts: raising, the double-fault rules, and delivery through the real mode
 * table, 16-, 32- and 64-bit gates (SDM vol. 3, 6.10 to 6.15, 20.1.4, 20.3). Covered by
 * tests/cpu/mini.
 */
#include "seg.h"

#include <glib.h>

void soft_unwind(SoftCpu *c)
{
    soft_split_unlock(c);
    siglongjmp(c->unwind, 1);
}

static _Noreturn void raise_any(SoftCpu *c, int vector, bool has_error, uint32_t error)
{
    c->exc_vector = vector;
    c->exc_has_error = has_error;
    c->exc_error = error;
    c->exc_soft = false;
    soft_unwind(c);
}

void soft_raise(SoftCpu *c, int vector)
{
    raise_any(c, vector, false, 0);
}

void soft_raise_err(SoftCpu *c, int vector, uint32_t error)
{
    raise_any(c, vector, true, error);
}

void soft_raise_pf(SoftCpu *c, uint64_t la, uint32_t error)
{
    c->cr2 = la;
    raise_any(c, EXC_PF, true, error);
}

/* Gates */

/* One delivery. */
typedef struct Event {
    int vector;
    bool soft; /* by INT n, INT3, INTO: the gate's DPL counts */
    bool has_error;
    uint32_t error;
    uint64_t ip;    /* to push */
    uint64_t flags; /* to push */
} Event;

static void deliver_real(SoftCpu *c, const Event *e)
{
    if (e->vector * 4u + 3 > c->idtr.limit) {
        soft_raise_err(c, EXC_GP, (uint32_t)e->vector * 8 + 2);
    }
    uint64_t la = c->idtr.base + e->vector * 4u;
    uint32_t entry = (uint32_t)soft_ld_sys(c, la, 4);
    Frame f = frame_current(c, 2);
    frame_push(c, &f, e->flags);
    frame_push(c, &f, c->seg[SEG_CS].sel);
    frame_push(c, &f, e->ip);
    frame_commit(c, &f);
    soft_set_seg_real(c, SEG_CS, (uint16_t)(entry >> 16));
    c->sysflags &= ~(FL_IF | FL_TF | FL_RF | FL_AC);
    cpu_jump(c, entry & 0xffff);
    soft_mode_update(c);
}

static _Noreturn void raise_idt(SoftCpu *c, int exception, int vector)
{
    soft_raise_err(c, exception, (uint32_t)vector * 8 + 2 + c->ext);
}

/* The gate and its checks; *ret_high: bits 63:32 of a 64-bit offset. */
static Desc gate_find(SoftCpu *c, const Event *e, uint32_t *ret_high)
{
    bool lma = cpu_lma(c);
    unsigned size = lma ? 16 : 8;
    Desc g = { .la = c->idtr.base + (unsigned)e->vector * size };

    if (e->vector * size + size - 1 > c->idtr.limit) {
        raise_idt(c, EXC_GP, e->vector);
    }
    if (!lma) {
        g.la = (uint32_t)g.la;
    }
    g.raw = soft_ld_sys(c, g.la, 8);
    *ret_high = lma ? (uint32_t)soft_ld_sys(c, g.la + 8, 4) : 0;
    unsigned type = desc_type(&g);
    bool known = type == SYS_INT || type == SYS_TRAP ||
                 (!lma && (type == SYS_INT16 || type == SYS_TRAP16 || type == SYS_TASK));
    if (desc_is_app(&g) || !known || (e->soft && desc_dpl(&g) < c->cpl)) {
        raise_idt(c, EXC_GP, e->vector);
    }
    if (!desc_present(&g)) {
        raise_idt(c, EXC_NP, e->vector);
    }
    return g;
}

static Desc handler_find(SoftCpu *c, uint16_t sel)
{
    if (sel_null(sel)) {
        raise_sel(c, EXC_GP, 0);
    }
    Desc d = desc_get(c, sel, EXC_GP);
    bool bad_mode = cpu_lma(c) && (!desc_long(&d) || desc_db(&d));
    bool vm86 = c->mode & MODE_VM86;
    if (!desc_is_code(&d) || desc_dpl(&d) > c->cpl || bad_mode ||
        (vm86 && (desc_conforming(&d) || desc_dpl(&d) != 0))) {
        raise_sel(c, EXC_GP, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    return d;
}

/* Behind the pushes: nothing fails here. */
static void enter_handler(SoftCpu *c, const Desc *d, unsigned pl, uint64_t ip, bool mask_if)
{
    c->sysflags &= ~(FL_TF | FL_NT | FL_RF | FL_VM | (mask_if ? FL_IF : 0));
    c->seg[SEG_CS] = desc_cache(d, (uint16_t)((d->sel & ~3u) | pl));
    c->cpl = pl;
    cpu_jump(c, ip);
    soft_mode_update(c);
}

static void push_frame(SoftCpu *c, Frame *f, const Event *e, bool with_ss)
{
    if (with_ss) {
        frame_push(c, f, c->seg[SEG_SS].sel);
        frame_push(c, f, c->r[R_SP]);
    }
    frame_push(c, f, e->flags);
    frame_push(c, f, c->seg[SEG_CS].sel);
    frame_push(c, f, e->ip);
    if (e->has_error) {
        frame_push(c, f, e->error);
    }
}

static void deliver64(SoftCpu *c, const Event *e)
{
    uint32_t high;
    Desc g = gate_find(c, e, &high), d = handler_find(c, (uint16_t)(g.raw >> 16));
    uint64_t ip = (g.raw & 0xffff) | (g.raw >> 32 & 0xffff0000) | (uint64_t)high << 32;
    unsigned ist = g.raw >> 32 & 7;
    unsigned pl = desc_conforming(&d) ? c->cpl : desc_dpl(&d);
    SoftSeg ss = c->seg[SEG_SS];
    uint64_t sp = c->r[R_SP];

    d.sel = (uint16_t)(g.raw >> 16);
    if (pl < c->cpl) {
        tss_stack(c, pl, &ss, &sp);
    }
    if (ist) {
        unsigned off = 0x1c + 8 * ist;
        if (off + 7 > c->tr.limit) {
            raise_sel(c, EXC_TS, c->tr.sel);
        }
        sp = soft_ld_sys(c, c->tr.base + off, 8);
    }
    if (!soft_canonical48(ip)) {
        raise_sel(c, EXC_GP, 0);
    }
    /* SDM vol. 3, 6.14.2: aligned, SS:RSP always pushed. */
    Frame f = frame_on(&ss, sp & ~15ull, 8, pl, true);
    push_frame(c, &f, e, true);
    desc_accessed(c, &d);
    c->seg[SEG_SS] = ss;
    c->r[R_SP] = f.sp;
    enter_handler(c, &d, pl, ip, desc_type(&g) == SYS_INT);
}

static void deliver_inner(
    SoftCpu *c, const Event *e, const Desc *d, uint64_t ip, unsigned size, bool mask_if)
{
    static const uint8_t data[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
    bool vm86 = c->mode & MODE_VM86;
    unsigned pl = desc_dpl(d);
    SoftSeg ss, cs = desc_cache(d, d->sel);
    uint64_t sp;

    tss_stack(c, pl, &ss, &sp);
    cs_check_ip(c, &cs, ip);
    Frame f = frame_on(&ss, sp, size, pl, false);
    f.error_sel = (uint16_t)(ss.sel | c->ext);
    for (unsigned i = 0; vm86 && i < sizeof data; i++) {
        frame_push(c, &f, c->seg[data[i]].sel);
    }
    push_frame(c, &f, e, true);
    desc_accessed(c, d);
    for (unsigned i = 0; vm86 && i < sizeof data; i++) {
        seg_null(c, data[i], 0);
    }
    c->seg[SEG_SS] = ss;
    frame_commit(c, &f);
    enter_handler(c, d, pl, ip, mask_if);
}

static void deliver_prot(SoftCpu *c, const Event *e)
{
    uint32_t high;
    Desc g = gate_find(c, e, &high);
    unsigned type = desc_type(&g);
    uint16_t sel = (uint16_t)(g.raw >> 16);

    if (type == SYS_TASK) {
        task_switch(c, sel, TASK_INT, e->has_error, e->error, e->ip);
        return;
    }
    Desc d = handler_find(c, sel);
    unsigned size = type & 8 ? 4 : 2;
    uint64_t ip = (g.raw & 0xffff) | (size == 4 ? g.raw >> 32 & 0xffff0000 : 0);
    bool mask_if = (type & 7) == SYS_INT16;
    if (!desc_conforming(&d) && desc_dpl(&d) < c->cpl) {
        deliver_inner(c, e, &d, ip, size, mask_if);
        return;
    }
    SoftSeg cs = desc_cache(&d, sel);
    cs_check_ip(c, &cs, ip);
    Frame f = frame_current(c, size);
    push_frame(c, &f, e, false);
    desc_accessed(c, &d);
    frame_commit(c, &f);
    enter_handler(c, &d, c->cpl, ip, mask_if);
}

static void deliver(SoftCpu *c, const Event *e)
{
    if (!(c->mode & MODE_PE)) {
        deliver_real(c, e);
    } else if (cpu_lma(c)) {
        deliver64(c, e);
    } else {
        deliver_prot(c, e);
    }
}

/* Exceptions */

static bool contributory(int vector)
{
    return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

/* SDM vol. 3, table 6-5. */
static bool makes_double(int first, int second)
{
    if (first == EXC_PF) {
        return second == EXC_PF || contributory(second);
    }
    return contributory(first) && contributory(second);
}

/* Faults push RF set so that an instruction breakpoint does not hit again; traps leave it (SDM vol.
 * 3, 17.3.1.1). */
static bool is_trap(int vector)
{
    return vector == EXC_BP || vector == EXC_OF || vector == EXC_NMI;
}

void soft_deliver(SoftCpu *c)
{
    int vector = c->exc_vector, first = c->exc_delivering;

    c->exc_vector = -1;
    if (first == EXC_DF && vector >= 0 && (contributory(vector) || vector == EXC_PF)) {
        c->exc_delivering = -1;
        c->ext = 0;
        c->shutdown = true;
        return;
    }
    bool has_error = c->exc_has_error;
    uint32_t error = c->exc_error;
    if (first >= 0 && makes_double(first, vector)) {
        vector = EXC_DF;
        has_error = true;
        error = 0;
    }
    c->exc_delivering = vector;
    c->ext = !c->exc_soft;
    Event e = { .vector = vector,
        .soft = c->exc_soft,
        .has_error = has_error,
        .error = error,
        .ip = c->exc_soft ? c->ip_next : c->ip_cur,
        .flags = soft_get_rflags(c) };
    if (vector == EXC_DB) {
        /* Code breakpoints are faults, everything else a trap: soft_code_breakpoint() left RF clear
         * for them. */
        c->dr[6] = (c->dr[6] & ~0xfull) | c->db_pending;
        c->dr[7] &= ~(1ull << 13);
        e.flags |= c->db_fault ? FL_RF : 0;
        c->db_pending = 0;
        c->db_fault = false;
    } else if (!is_trap(vector) && !c->exc_soft) {
        e.flags |= FL_RF;
    }
    if (!(c->mode & MODE_PE)) {
        e.has_error = false;
    }
    deliver(c, &e);
    c->exc_delivering = -1;
    c->ext = 0;
}

void soft_deliver_irq(SoftCpu *c, int vector)
{
    Event e = { .vector = vector, .ip = c->ip, .flags = soft_get_rflags(c) };

    c->ip_cur = c->ip_next = c->ip;
    c->ext = 1;
    c->halted = false;
    deliver(c, &e);
    c->ext = 0;
}

void soft_sw_interrupt(SoftCpu *c, int vector)
{
    Event e = { .vector = vector, .soft = true, .ip = c->ip_next, .flags = soft_get_rflags(c) };

    c->ext = 0;
    deliver(c, &e);
}

bool soft_code_breakpoint(SoftCpu *c, uint64_t la)
{
    uint32_t hit = 0;

    if (c->sysflags & FL_RF) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (((c->dr[7] >> (2 * i)) & 3) && !((c->dr[7] >> (16 + 4 * i)) & 0xf) && c->dr[i] == la) {
            hit |= 1u << i;
        }
    }
    if (!hit) {
        return false;
    }
    c->db_pending |= hit;
    c->db_fault = true;
    return true;
}

/* CC, CD, CE and F1. */
void insn_int(SoftCpu *c, const Insn *in)
{
    switch (in->opcode) {
    case 0xcc:
        soft_sw_interrupt(c, EXC_BP);
        break;
    case 0xce:
        if (soft_get_rflags(c) & FL_OF) {
            soft_sw_interrupt(c, EXC_OF);
        }
        break;
    case 0xf1: {
        /* ICEBP is a trap of the hardware: no DPL check (SDM vol. 3, 6.3.3 does not apply). */
        Event e = { .vector = EXC_DB, .ip = c->ip_next, .flags = soft_get_rflags(c) };
        c->ext = 1;
        deliver(c, &e);
        c->ext = 0;
        break;
    }
    default:
        if ((c->mode & MODE_VM86) && (c->sysflags & FL_IOPL) != FL_IOPL) {
            soft_raise_err(c, EXC_GP, 0);
        }
        soft_sw_interrupt(c, (int)(in->imm & 0xff));
        break;
    }
}
