/*
 * Segment registers: descriptor loads with their checks (SDM vol. 2, MOV, LDS, LLDT, LTR, LAR, LSL,
 * VERR; vol. 3, 3.4 and 5.5 to 5.8), real mode and virtual-8086 forms, and the mode word. Covered
 * by tests/cpu/mini.
 */
#include "seg.h"

void raise_sel(SoftCpu *c, int vector, uint16_t sel)
{
    soft_raise_err(c, vector, (sel & 0xfffcu) | c->ext);
}

/* Mode */

/* Base 0, 4 GiB, and of a type that every access passes. */
static bool seg_flat(const SoftSeg *s, bool code)
{
    unsigned want = ATTR_P | ATTR_S | (code ? ATTR_CODE | ATTR_R : ATTR_W);
    unsigned mask = want | ATTR_CODE | (code ? 0 : ATTR_E);

    return s->base == 0 && s->limit == 0xffffffff && (s->attr & mask) == want;
}

void soft_mode_update(SoftCpu *c)
{
    uint32_t m = 0;

    if (c->cr0 & CR0_PE) {
        m |= MODE_PE;
        m |= c->sysflags & FL_VM ? MODE_VM86 : 0;
    }
    m |= c->efer & X86_EFER_LMA ? MODE_LMA : 0;
    m |= c->cr0 & (1ull << 31) ? MODE_PAGING : 0;
    bool code64 = (m & MODE_LMA) && (c->seg[SEG_CS].attr & ATTR_L);
    if (code64) {
        m |= MODE_CODE64;
    } else {
        m |= c->seg[SEG_CS].attr & ATTR_DB ? MODE_CODE32 : 0;
        m |= c->seg[SEG_SS].attr & ATTR_DB ? MODE_SS32 : 0;
    }
    if (code64 || (seg_flat(&c->seg[SEG_CS], true) && seg_flat(&c->seg[SEG_SS], false) &&
                      seg_flat(&c->seg[SEG_DS], false) && seg_flat(&c->seg[SEG_ES], false))) {
        m |= MODE_FLAT;
    }
    m |= c->cpl == 3 ? MODE_CPL3 : 0;
    if ((c->sysflags & FL_TF) || (c->dr[7] & 0xff) || c->step) {
        m |= MODE_STEP;
    }
    m |= c->cr0 & (CR0_EM | CR0_TS) ? MODE_FPU_TRAP : 0;
    m |= (c->cr4 & 0x200) && !(c->cr0 & CR0_EM) ? MODE_SSE_OK : 0;
    m |= c->cr4 & (1u << 21) ? MODE_SMAP : 0;
    c->mode = m;
    c->jump_gen = c->jump_gens[!!(m & MODE_CPL3)];
    soft_tlb_select(c);
}

/* Descriptors */

bool desc_find(SoftCpu *c, uint16_t sel, Desc *ret)
{
    uint32_t off = sel & ~7u;
    uint64_t base = c->gdtr.base;
    uint32_t limit = c->gdtr.limit;

    if (sel & 4) {
        if (!(c->ldtr.attr & ATTR_P)) {
            return false;
        }
        base = c->ldtr.base;
        limit = c->ldtr.limit;
    }
    if (off + 7 > limit) {
        return false;
    }
    ret->la = base + off;
    if (!cpu_lma(c)) {
        ret->la = (uint32_t)ret->la;
    }
    ret->raw = soft_ld_sys(c, ret->la, 8);
    ret->sel = sel;
    return true;
}

Desc desc_get(SoftCpu *c, uint16_t sel, int vector)
{
    Desc d;

    if (!desc_find(c, sel, &d)) {
        raise_sel(c, vector, sel);
    }
    return d;
}

uint64_t desc_base_high(SoftCpu *c, const Desc *d, int vector)
{
    uint32_t limit = d->sel & 4 ? c->ldtr.limit : c->gdtr.limit;

    if ((d->sel & ~7u) + 15 > limit) {
        raise_sel(c, vector, d->sel);
    }
    uint64_t high = soft_ld_sys(c, d->la + 8, 8);
    if (high >> 40 & 0x1f) { /* the second half's type must be 0 */
        raise_sel(c, vector, d->sel);
    }
    return (high & 0xffffffff) << 32;
}

void desc_accessed(SoftCpu *c, const Desc *d)
{
    if (!(desc_type(d) & ATTR_A)) {
        soft_st_sys(c, d->la + 5, 1, (d->raw >> 40 & 0xff) | ATTR_A);
    }
}

SoftSeg desc_cache(const Desc *d, uint16_t sel)
{
    return (SoftSeg){ .base = desc_base(d),
        .limit = desc_limit(d),
        .sel = sel,
        .attr = (uint16_t)((d->raw >> 40 & 0xf0ff) | (desc_is_app(d) ? ATTR_A : 0)) };
}

void seg_null(SoftCpu *c, int seg, uint16_t sel)
{
    c->seg[seg] = (SoftSeg){ .sel = sel };
}

void soft_set_seg_real(SoftCpu *c, int seg, uint16_t sel)
{
    SoftSeg *s = &c->seg[seg];

    if (!(s->attr & ATTR_P)) {
        s->limit = 0xffff; /* null in protected mode: QEMU compat, hardware keeps the old limit */
    }
    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    if (c->sysflags & FL_VM) {
        s->limit = 0xffff;
        s->attr = ATTR_P | ATTR_S | ATTR_W | ATTR_A | 3 << ATTR_DPL_SHIFT;
        return;
    }
    /* Real mode keeps the cached limit and D/B ("unreal mode") but not the type: CS is writable
     * there. */
    s->attr = (s->attr & (ATTR_DB | ATTR_G)) | ATTR_P | ATTR_S | ATTR_W | ATTR_A;
}

SoftSeg seg_check_ss(SoftCpu *c, uint16_t sel, unsigned pl, int vector)
{
    if (sel_null(sel)) {
        raise_sel(c, vector, 0);
    }
    Desc d = desc_get(c, sel, vector);
    if ((sel & 3u) != pl || !desc_is_app(&d) || desc_is_code(&d) || !(desc_type(&d) & ATTR_W) ||
        desc_dpl(&d) != pl) {
        raise_sel(c, vector, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_SS, sel);
    }
    desc_accessed(c, &d);
    return desc_cache(&d, sel);
}

static void load_data_seg(SoftCpu *c, int seg, uint16_t sel)
{
    if (sel_null(sel)) {
        seg_null(c, seg, sel);
        return;
    }
    Desc d = desc_get(c, sel, EXC_GP);
    unsigned rpl = sel & 3;
    bool conforming = desc_is_code(&d) && desc_conforming(&d);
    if (!desc_is_app(&d) || (desc_is_code(&d) && !(desc_type(&d) & ATTR_R)) ||
        (!conforming && (rpl > desc_dpl(&d) || c->cpl > desc_dpl(&d)))) {
        raise_sel(c, EXC_GP, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    desc_accessed(c, &d);
    c->seg[seg] = desc_cache(&d, sel);
}

void soft_load_seg(SoftCpu *c, int seg, uint16_t sel)
{
    if (!cpu_prot(c)) {
        soft_set_seg_real(c, seg, sel);
    } else if (seg != SEG_SS) {
        load_data_seg(c, seg, sel);
    } else if (sel_null(sel) && soft_code64(c) && c->cpl < 3 && (sel & 3u) == c->cpl) {
        seg_null(c, seg, sel);
        c->seg[seg].attr = (uint16_t)(c->cpl << ATTR_DPL_SHIFT);
    } else {
        c->seg[seg] = seg_check_ss(c, sel, c->cpl, EXC_GP);
    }
    /* FS and GS are in no mode bit. */
    if (seg < SEG_FS) {
        soft_mode_update(c);
    }
}

void seg_drop_inner(SoftCpu *c)
{
    static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

    for (unsigned i = 0; i < sizeof data; i++) {
        const SoftSeg *s = &c->seg[data[i]];
        bool conforming = (s->attr & (ATTR_CODE | ATTR_C)) == (ATTR_CODE | ATTR_C);
        if ((s->attr & ATTR_P) && !conforming && seg_dpl(s) < c->cpl) {
            seg_null(c, data[i], 0);
        }
    }
}

/* Frames */

Frame frame_on(const SoftSeg *ss, uint64_t sp, unsigned size, unsigned pl, bool flat64)
{
    return (Frame){ .base = flat64 ? 0 : ss->base,
        .sp = sp,
        .limit = ss->limit,
        .attr = ss->attr,
        .mask = flat64               ? ~0ull
                : ss->attr & ATTR_DB ? 0xffffffff
                                     : 0xffff,
        .size = size,
        .acc = pl == 3 ? ACC_USER : 0,
        .flat64 = flat64 };
}

Frame frame_current(SoftCpu *c, unsigned size)
{
    return frame_on(&c->seg[SEG_SS], c->r[R_SP], size, c->cpl, soft_code64(c));
}

static uint64_t frame_la(SoftCpu *c, const Frame *f, uint64_t off)
{
    if (f->flat64) {
        if (!soft_canonical48(off) || !soft_canonical48(off + f->size - 1)) {
            raise_sel(c, EXC_SS, f->error_sel);
        }
        return off;
    }
    uint64_t last = off + f->size - 1;
    bool down = (f->attr & (ATTR_CODE | ATTR_E)) == ATTR_E;
    uint32_t top = f->attr & ATTR_DB ? 0xffffffff : 0xffff;
    if (down ? off <= f->limit || last > top : last > f->limit) {
        raise_sel(c, EXC_SS, f->error_sel);
    }
    return (uint32_t)(f->base + off);
}

void frame_push(SoftCpu *c, Frame *f, uint64_t val)
{
    uint64_t sp = f->sp - f->size;
    uint64_t la = frame_la(c, f, sp & f->mask);

    if (c->slow_checks && f->acc == soft_acc(c)) {
        soft_st_slow(c, la, f->size, val);
    } else {
        soft_st_acc(c, la, f->size, val, f->acc);
    }
    f->sp = sp;
}

uint64_t frame_pop(SoftCpu *c, Frame *f)
{
    uint64_t la = frame_la(c, f, f->sp & f->mask);
    bool slow = c->slow_checks && f->acc == soft_acc(c);
    uint64_t v = slow ? soft_ld_slow(c, la, f->size) : soft_ld_acc(c, la, f->size, f->acc);

    f->sp += f->size;
    return v;
}

void frame_commit(SoftCpu *c, const Frame *f)
{
    if (f->mask == 0xffff) {
        c->r[R_SP] = (c->r[R_SP] & ~0xffffull) | (f->sp & 0xffff);
    } else {
        c->r[R_SP] = f->sp & f->mask;
    }
}

/* Moves */

void insn_mov_sreg_rm(SoftCpu *c, const Insn *in)
{
    int seg = in->reg & 7;

    if (seg > SEG_GS || seg == SEG_CS) {
        soft_raise(c, EXC_UD);
    }
    soft_load_seg(c, seg, (uint16_t)insn_get_rm(c, in, 2));
    if (seg == SEG_SS) {
        c->irq_shadow = true;
    }
}

void insn_mov_rm_sreg(SoftCpu *c, const Insn *in)
{
    unsigned seg = in->reg & 7;

    if (seg > SEG_GS) {
        soft_raise(c, EXC_UD);
    }
    insn_set_rm(c, in, in->flags & INSN_MEM ? 2 : in->opsize, c->seg[seg].sel);
}

static int sreg_of_opcode(const Insn *in)
{
    return in->opcode >> 3 & 7; /* 06 0E 16 1E; 1A0 1A1, 1A8 1A9 */
}

void insn_push_sreg(SoftCpu *c, const Insn *in)
{
    Frame f = frame_current(c, in->stsize);

    frame_push(c, &f, c->seg[sreg_of_opcode(in)].sel);
    frame_commit(c, &f);
}

void insn_pop_sreg(SoftCpu *c, const Insn *in)
{
    int seg = sreg_of_opcode(in);
    Frame f = frame_current(c, in->stsize);
    uint16_t sel = (uint16_t)frame_pop(c, &f);

    soft_load_seg(c, seg, sel);
    frame_commit(c, &f); /* by the old SS's size */
    if (seg == SEG_SS) {
        c->irq_shadow = true;
    }
}

void insn_load_far_ptr(SoftCpu *c, const Insn *in)
{
    if (!(in->flags & INSN_MEM)) {
        soft_raise(c, EXC_UD);
    }
    int seg = SEG_GS;
    switch (in->opcode) {
    case 0xc4:
        seg = SEG_ES;
        break;
    case 0xc5:
        seg = SEG_DS;
        break;
    case 0x1b2:
        seg = SEG_SS;
        break;
    case 0x1b4:
        seg = SEG_FS;
        break;
    default:
        break;
    }
    uint64_t la = insn_la(c, in, in->opsize + 2, false);
    uint64_t off = mem_ld(c, la, in->opsize);
    uint16_t sel = (uint16_t)mem_ld(c, la + in->opsize, 2);
    soft_load_seg(c, seg, sel);
    insn_set_reg(c, in, in->reg, in->opsize, off);
}

/* LDT, TSS and questions about descriptors
 * ------------------------------------------------------------------------------- */

static void load_ldt(SoftCpu *c, uint16_t sel)
{
    if (sel_null(sel)) {
        c->ldtr = (SoftSeg){ .sel = sel };
        return;
    }
    if (sel & 4) {
        raise_sel(c, EXC_GP, sel);
    }
    Desc d = desc_get(c, sel, EXC_GP);
    if (desc_is_app(&d) || desc_type(&d) != SYS_LDT) {
        raise_sel(c, EXC_GP, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    SoftSeg s = desc_cache(&d, sel);
    if (cpu_lma(c)) {
        s.base |= desc_base_high(c, &d, EXC_GP);
    }
    c->ldtr = s;
}

static void load_tr(SoftCpu *c, uint16_t sel)
{
    if (sel_null(sel)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (sel & 4) {
        raise_sel(c, EXC_GP, sel);
    }
    Desc d = desc_get(c, sel, EXC_GP);
    unsigned type = desc_type(&d);
    if (desc_is_app(&d) || (type != SYS_TSS && (type != SYS_TSS16 || cpu_lma(c)))) {
        raise_sel(c, EXC_GP, sel);
    }
    if (!desc_present(&d)) {
        raise_sel(c, EXC_NP, sel);
    }
    SoftSeg s = desc_cache(&d, sel);
    if (cpu_lma(c)) {
        s.base |= desc_base_high(c, &d, EXC_GP);
    }
    soft_st_sys(c, d.la + 5, 1, (d.raw >> 40 & 0xff) | 2);
    s.attr |= 2;
    c->tr = s;
}

/* VERR and VERW. */
static bool verify(SoftCpu *c, uint16_t sel, bool write)
{
    Desc d;

    if (sel_null(sel) || !desc_find(c, sel, &d) || !desc_is_app(&d)) {
        return false;
    }
    unsigned type = desc_type(&d), rpl = sel & 3;
    bool code = desc_is_code(&d);
    if (!(code && desc_conforming(&d)) && (rpl > desc_dpl(&d) || c->cpl > desc_dpl(&d))) {
        return false;
    }
    return write ? !code && (type & ATTR_W) : !code || (type & ATTR_R);
}

static void set_zf(SoftCpu *c, bool z)
{
    soft_set_rflags(c, z ? FL_ZF : 0, FL_ZF);
}

void insn_grp6(SoftCpu *c, const Insn *in)
{
    unsigned op = in->reg & 7;

    if (!cpu_prot(c) || op > 5) {
        soft_raise(c, EXC_UD);
    }
    switch (op) {
    case 0:
    case 1:
        if ((c->cr4 & (1u << 11)) && c->cpl) { /* UMIP */
            soft_raise_err(c, EXC_GP, 0);
        }
        insn_set_rm(c, in, in->flags & INSN_MEM ? 2 : in->opsize, op ? c->tr.sel : c->ldtr.sel);
        break;
    case 2:
        need_cpl0(c);
        load_ldt(c, (uint16_t)insn_get_rm(c, in, 2));
        break;
    case 3:
        need_cpl0(c);
        load_tr(c, (uint16_t)insn_get_rm(c, in, 2));
        break;
    default:
        set_zf(c, verify(c, (uint16_t)insn_get_rm(c, in, 2), op == 5));
        break;
    }
}

/* LAR and LSL see a descriptor only if its type is in the set and its privilege allows (SDM vol. 2,
 * tables of LAR, LSL). */
static bool look_up(SoftCpu *c, const Insn *in, uint32_t types, Desc *d)
{
    if (!cpu_prot(c)) {
        soft_raise(c, EXC_UD);
    }
    uint16_t sel = (uint16_t)insn_get_rm(c, in, 2);
    if (sel_null(sel) || !desc_find(c, sel, d)) {
        return false;
    }
    if (!desc_is_app(d) && !(types >> desc_type(d) & 1)) {
        return false;
    }
    return (desc_is_code(d) && desc_conforming(d)) ||
           (c->cpl <= desc_dpl(d) && (sel & 3u) <= desc_dpl(d));
}

void insn_lar(SoftCpu *c, const Insn *in)
{
    uint32_t legacy = 1 << SYS_TSS16 | 1 << SYS_LDT | 1 << SYS_TSS16_BUSY | 1 << SYS_CALL16 |
                      1 << SYS_TASK | 1 << SYS_TSS | 1 << SYS_TSS_BUSY | 1 << SYS_CALL;
    uint32_t wide = 1 << SYS_LDT | 1 << SYS_TSS | 1 << SYS_TSS_BUSY | 1 << SYS_CALL;
    Desc d;
    bool ok = look_up(c, in, cpu_lma(c) ? wide : legacy, &d);

    if (ok) {
        insn_set_reg(c, in, in->reg, in->opsize, d.raw >> 32 & 0xf0ff00);
    }
    set_zf(c, ok);
}

void insn_lsl(SoftCpu *c, const Insn *in)
{
    uint32_t legacy =
        1 << SYS_TSS16 | 1 << SYS_LDT | 1 << SYS_TSS16_BUSY | 1 << SYS_TSS | 1 << SYS_TSS_BUSY;
    uint32_t wide = 1 << SYS_LDT | 1 << SYS_TSS | 1 << SYS_TSS_BUSY;
    Desc d;
    bool ok = look_up(c, in, cpu_lma(c) ? wide : legacy, &d);

    if (ok) {
        insn_set_reg(c, in, in->reg, in->opsize, desc_limit(&d));
    }
    set_zf(c, ok);
}

void insn_arpl(SoftCpu *c, const Insn *in)
{
    if (!cpu_prot(c)) {
        soft_raise(c, EXC_UD);
    }
    uint16_t dst = (uint16_t)insn_get_rm(c, in, 2), src = (uint16_t)insn_get_reg(c, in, in->reg, 2);
    bool raise = (dst & 3u) < (src & 3u);
    if (raise) {
        insn_set_rm(c, in, 2, (dst & ~3u) | (src & 3u));
    }
    set_zf(c, raise);
}
