/*
 * Hardware task switches through 32- and 16-bit TSSs: JMP, CALL, interrupts through task gates,
 * IRET with NT (SDM vol. 3, 7.3). Not in long mode. Covered by tests/cpu/mini.
 */
#include "flags.h"
#include "seg.h"

/* Offsets in a TSS (SDM vol. 3, figures 7-2 and 7-10). */
typedef struct TssLayout {
    uint8_t ip, flags, regs, segs, ldt, cr3, reg_size, nsegs;
    uint16_t min_limit;
} TssLayout;

static const TssLayout tss32 = { .ip = 0x20,
    .flags = 0x24,
    .regs = 0x28,
    .segs = 0x48,
    .ldt = 0x60,
    .cr3 = 0x1c,
    .reg_size = 4,
    .nsegs = 6,
    .min_limit = 0x67 };
static const TssLayout tss16 = { .ip = 0x0e,
    .flags = 0x10,
    .regs = 0x12,
    .segs = 0x22,
    .ldt = 0x2a,
    .reg_size = 2,
    .nsegs = 4,
    .min_limit = 0x2b };

/* Everything a switch reads before it changes anything. */
typedef struct NewTask {
    uint64_t ip, flags, cr3;
    uint32_t r[8];
    uint16_t seg[X86_NSEGS], ldt;
} NewTask;

static const TssLayout *layout_of(unsigned type)
{
    return type & 8 ? &tss32 : &tss16;
}

static uint64_t field(SoftCpu *c, uint64_t base, unsigned off, unsigned size)
{
    return soft_ld_sys(c, (uint32_t)(base + off), size);
}

static void read_task(SoftCpu *c, const TssLayout *l, uint64_t base, NewTask *t)
{
    *t = (NewTask){ .ip = field(c, base, l->ip, l->reg_size),
        .flags = field(c, base, l->flags, l->reg_size),
        .ldt = (uint16_t)field(c, base, l->ldt, 2),
        .cr3 = l->cr3 ? field(c, base, l->cr3, 4) : c->cr3 };
    for (unsigned i = 0; i < 8; i++) {
        t->r[i] = (uint32_t)field(c, base, l->regs + i * l->reg_size, l->reg_size);
    }
    for (unsigned i = 0; i < l->nsegs; i++) {
        t->seg[i] = (uint16_t)field(c, base, l->segs + i * l->reg_size, 2);
    }
}

static void save_task(SoftCpu *c, uint64_t flags, uint64_t ip)
{
    const TssLayout *l = layout_of(c->tr.attr & ATTR_TYPE);
    uint64_t base = c->tr.base;

    soft_st_sys(c, (uint32_t)(base + l->ip), l->reg_size, ip);
    soft_st_sys(c, (uint32_t)(base + l->flags), l->reg_size, flags);
    for (unsigned i = 0; i < 8; i++) {
        soft_st_sys(c, (uint32_t)(base + l->regs + i * l->reg_size), l->reg_size, c->r[i]);
    }
    for (unsigned i = 0; i < l->nsegs; i++) {
        soft_st_sys(c, (uint32_t)(base + l->segs + i * l->reg_size), 2, c->seg[i].sel);
    }
}

/* The TSS descriptor with its checks. */
static Desc find_tss(SoftCpu *c, uint16_t sel, TaskHow how)
{
    int vector = how == TASK_IRET ? EXC_TS : EXC_GP;

    if (sel & 4 || sel_null(sel)) {
        raise_sel(c, vector, sel);
    }
    Desc d = desc_get(c, sel, vector);
    unsigned type = desc_type(&d);
    bool busy = type & 2;
    if (desc_is_app(&d) || (type & 5) != 1 || busy != (how == TASK_IRET)) {
        raise_sel(c, vector, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    if (desc_limit(&d) < layout_of(type)->min_limit) {
        raise_sel(c, EXC_TS, sel);
    }
    return d;
}

static void set_busy(SoftCpu *c, uint16_t sel, bool busy)
{
    uint64_t la = (uint32_t)(c->gdtr.base + (sel & ~7u) + 5);
    uint64_t type = soft_ld_sys(c, la, 1);

    soft_st_sys(c, la, 1, busy ? type | 2 : type & ~2ull);
}

static void load_task_ldt(SoftCpu *c, uint16_t sel)
{
    c->ldtr = (SoftSeg){ .sel = sel };
    if (sel_null(sel)) {
        return;
    }
    Desc d;
    if (sel & 4 || !desc_find(c, sel, &d) || desc_is_app(&d) || desc_type(&d) != SYS_LDT ||
        !desc_present(&d)) {
        raise_sel(c, EXC_TS, sel);
    }
    c->ldtr = desc_cache(&d, sel);
}

static void load_task_cs(SoftCpu *c, uint16_t sel)
{
    Desc d;
    unsigned rpl = sel & 3;

    if (sel_null(sel) || !desc_find(c, sel, &d) || !desc_is_code(&d) ||
        (desc_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl)) {
        raise_sel(c, EXC_TS, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    desc_accessed(c, &d);
    c->seg[SEG_CS] = desc_cache(&d, sel);
}

static void load_task_data(SoftCpu *c, int seg, uint16_t sel)
{
    Desc d;
    unsigned rpl = sel & 3;

    if (sel_null(sel)) {
        return;
    }
    if (!desc_find(c, sel, &d) || !desc_is_app(&d) ||
        (desc_is_code(&d) && !(desc_type(&d) & ATTR_R)) ||
        (!(desc_is_code(&d) && desc_conforming(&d)) &&
            (rpl > desc_dpl(&d) || c->cpl > desc_dpl(&d)))) {
        raise_sel(c, EXC_TS, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    desc_accessed(c, &d);
    c->seg[seg] = desc_cache(&d, sel);
}

/* In the new task's context: faults are its own (SDM vol. 3, 7.3, steps 12 on). */
static void load_segments(SoftCpu *c, const NewTask *t)
{
    load_task_ldt(c, t->ldt);
    if (c->sysflags & FL_VM) {
        for (int i = 0; i < X86_NSEGS; i++) {
            soft_set_seg_real(c, i, t->seg[i]);
        }
        c->cpl = 3;
        return;
    }
    c->cpl = t->seg[SEG_CS] & 3;
    c->seg[SEG_SS] = seg_check_ss(c, t->seg[SEG_SS], c->cpl, EXC_TS);
    load_task_data(c, SEG_ES, t->seg[SEG_ES]);
    load_task_data(c, SEG_DS, t->seg[SEG_DS]);
    load_task_data(c, SEG_FS, t->seg[SEG_FS]);
    load_task_data(c, SEG_GS, t->seg[SEG_GS]);
    load_task_cs(c, t->seg[SEG_CS]);
}

void task_switch(
    SoftCpu *c, uint16_t sel, TaskHow how, bool has_error, uint32_t error, uint64_t old_ip)
{
    bool nested = how == TASK_CALL || how == TASK_INT;
    uint16_t old_sel = c->tr.sel;

    if (how == TASK_IRET) {
        sel = (uint16_t)field(c, c->tr.base, 0, 2);
    }
    Desc d = find_tss(c, sel, how);
    const TssLayout *l = layout_of(desc_type(&d));
    NewTask t;
    read_task(c, l, desc_base(&d), &t);
    uint64_t flags = soft_get_rflags(c);
    if (how == TASK_IRET) {
        flags &= ~(uint64_t)FL_NT;
    }
    save_task(c, flags, old_ip);
    if (!nested) {
        set_busy(c, old_sel, false);
    }
    if (nested) {
        soft_st_sys(c, (uint32_t)desc_base(&d), 2, old_sel);
        t.flags |= FL_NT;
    }
    if (how != TASK_IRET) {
        set_busy(c, sel, true);
    }
    c->tr = desc_cache(&d, sel);
    c->tr.attr |= 2;
    c->cr0 |= CR0_TS;
    /* Old descriptors must not be used: a fault from here on belongs to the new task. */
    for (int i = 0; i < X86_NSEGS; i++) {
        c->seg[i] = (SoftSeg){ .sel = t.seg[i] };
    }
    for (unsigned i = 0; i < 8; i++) {
        c->r[i] = l == &tss16 ? 0xffff0000u | t.r[i] : t.r[i];
    }
    flags_change(c, FL_ARITH, (uint32_t)t.flags & FL_ARITH);
    uint32_t image = (uint32_t)t.flags & ~(uint32_t)FL_ARITH;
    c->sysflags = (l == &tss16 ? image & 0xffff : image) | 2;
    c->cpl = 0;
    cpu_jump(c, t.ip);
    c->ip_cur = t.ip;
    if (c->mode & MODE_PAGING && t.cr3 != c->cr3) {
        soft_set_cr3(c, t.cr3);
    }
    load_segments(c, &t);
    soft_mode_update(c);
    c->dr[7] &= ~0x155ull; /* local breakpoints */
    cs_check_ip(c, &c->seg[SEG_CS], t.ip);
    if (has_error) {
        Frame f = frame_current(c, l->reg_size);
        frame_push(c, &f, error);
        frame_commit(c, &f);
    }
    if (c->sysflags & FL_IF) {
        soft_kick(c, SOFT_POLL_IRQ);
    }
    soft_mode_update(c);
}
