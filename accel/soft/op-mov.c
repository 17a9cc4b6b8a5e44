/* Moves, stack, conversions, conditions and flag instructions, the complete forms (SDM vol. 2). */
#include "operand.h"

void insn_mov(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;

    switch (in->opcode) {
    case 0x88:
    case 0x89:
        insn_set_rm(c, in, size, insn_get_reg(c, in, in->reg, size));
        break;
    case 0x8a:
    case 0x8b:
        insn_set_reg(c, in, in->reg, size, insn_get_rm(c, in, size));
        break;
    case 0xa0:
    case 0xa1:
        insn_set_reg(c, in, R_AX, size, insn_get_rm(c, in, size));
        break;
    case 0xa2:
    case 0xa3:
        insn_set_rm(c, in, size, c->r[R_AX]);
        break;
    case 0xc6:
    case 0xc7:
        insn_set_rm(c, in, size, in->imm);
        break;
    default: /* B0..BF */
        insn_set_reg(c, in, in->rm, size, in->imm);
        break;
    }
}

void insn_lea(SoftCpu *c, const Insn *in)
{
    insn_set_reg(c, in, in->reg, in->opsize, insn_ea(c, in));
}

static uint64_t take_src(uint64_t d, const RmwArg *a)
{
    return a->src;
}

void insn_xchg(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;

    if (in->opcode >= 0x90) {
        bool pause = in->opcode == 0x90 && in->rep == REP_E; /* whatever REX.B says */
        if (in->rm != R_AX && !pause) {                      /* 90h is NOP */
            uint64_t v = insn_get_reg(c, in, in->rm, size);
            insn_set_reg(c, in, in->rm, size, c->r[R_AX]);
            insn_set_reg(c, in, R_AX, size, v);
        }
        return;
    }
    RmwArg a = { .size = size, .src = insn_get_reg(c, in, in->reg, size) };
    uint64_t old;
    if (in->flags & INSN_MEM) {
        /* Locked with or without the prefix. */
        old = mem_rmw(c, insn_la(c, in, size, true), /* lock= */ true, take_src, &a);
    } else {
        old = insn_rmw(c, in, take_src, &a);
    }
    insn_set_reg(c, in, in->reg, size, old);
}

void insn_xlat(SoftCpu *c, const Insn *in)
{
    uint64_t ea = (c->r[R_BX] + (c->r[R_AX] & 0xff)) & size_mask(in->adsize);
    insn_set_reg(c, in, R_AX, 1, soft_ld8(c, seg_la(c, in->seg, ea, 1, false)));
}

void insn_movx(SoftCpu *c, const Insn *in)
{
    unsigned from = in->opcode & 1 ? 2 : 1;
    uint64_t v = insn_get_rm(c, in, from);

    insn_set_reg(c, in, in->reg, in->opsize, in->opcode & 8 ? flags_sext(v, from) : v);
}

void insn_movsxd(SoftCpu *c, const Insn *in)
{
    unsigned from = in->opsize == 8 ? 4 : in->opsize;
    insn_set_reg(c, in, in->reg, in->opsize, rm_sget(c, in, from));
}

void insn_cbw(SoftCpu *c, const Insn *in)
{
    insn_set_reg(c, in, R_AX, in->opsize, flags_sext(c->r[R_AX], in->opsize / 2));
}

void insn_cwd(SoftCpu *c, const Insn *in)
{
    bool neg = flags_sext(c->r[R_AX], in->opsize) >> 63;
    insn_set_reg(c, in, R_DX, in->opsize, neg ? ~0ull : 0);
}

static void push(SoftCpu *c, unsigned size, uint64_t val)
{
    Frame f = frame_current(c, size);

    frame_push(c, &f, val);
    frame_commit(c, &f);
}

void insn_push_rm(SoftCpu *c, const Insn *in)
{
    push(c, in->stsize, insn_get_rm(c, in, in->stsize));
}

void insn_push_imm(SoftCpu *c, const Insn *in)
{
    push(c, in->stsize, in->imm);
}

void insn_pop_rm(SoftCpu *c, const Insn *in)
{
    Frame f = frame_current(c, in->stsize);
    uint64_t v = frame_pop(c, &f);

    if (!(in->flags & INSN_MEM)) {
        frame_commit(c, &f);
        insn_set_reg(c, in, in->rm, in->stsize, v);
        return;
    }
    /* An address by RSP uses its new value; RSP itself changes only if the store works. */
    uint64_t sp = c->r[R_SP];
    frame_commit(c, &f);
    uint64_t ea = insn_ea(c, in);
    c->r[R_SP] = sp;
    mem_st(c, seg_la(c, in->seg, ea, in->stsize, true), in->stsize, v);
    frame_commit(c, &f);
}

void insn_pusha(SoftCpu *c, const Insn *in)
{
    Frame f = frame_current(c, in->opsize);

    for (unsigned i = 0; i < 8; i++) {
        frame_push(c, &f, c->r[i]);
    }
    frame_commit(c, &f);
}

void insn_popa(SoftCpu *c, const Insn *in)
{
    Frame f = frame_current(c, in->opsize);
    uint64_t v[8];

    for (unsigned i = 8; i-- > 0;) {
        v[i] = frame_pop(c, &f);
    }
    frame_commit(c, &f);
    for (unsigned i = 0; i < 8; i++) {
        if (i != R_SP) {
            insn_set_reg(c, in, i, in->opsize, v[i]);
        }
    }
}

/* SDM vol. 2, ENTER; vol. 1, 6.5.1 */
void insn_enter(SoftCpu *c, const Insn *in)
{
    unsigned size = in->stsize, level = in->imm2 & 31;
    Frame f = frame_current(c, size);
    uint64_t bp = c->r[R_BP];

    frame_push(c, &f, bp);
    uint64_t frame = f.sp;
    for (unsigned i = 1; i < level; i++) {
        Frame display = f;
        display.sp = (bp - (uint64_t)i * size) & f.mask;
        frame_push(c, &f, frame_pop(c, &display));
    }
    if (level) {
        frame_push(c, &f, frame);
    }
    f.sp = (f.sp - in->imm) & f.mask;
    /* The new top must be writable: the manual's check of the final stack pointer. */
    soft_check(c, seg_la(c, SEG_SS, f.sp, size, true), size, true);
    frame_commit(c, &f);
    insn_set_reg(c, in, R_BP, size, frame);
}

void insn_leave(SoftCpu *c, const Insn *in)
{
    Frame f = frame_current(c, in->stsize);

    f.sp = c->r[R_BP] & f.mask;
    uint64_t v = frame_pop(c, &f);
    frame_commit(c, &f);
    insn_set_reg(c, in, R_BP, in->stsize, v);
}

void insn_cmov(SoftCpu *c, const Insn *in)
{
    uint64_t v = insn_get_rm(c, in, in->opsize);

    /* The load happens anyway, and a 32-bit destination is zero-extended either way. */
    if (!flags_cond(c, in->opcode & 15)) {
        v = c->r[in->reg];
    }
    insn_set_reg(c, in, in->reg, in->opsize, v);
}

void insn_setcc(SoftCpu *c, const Insn *in)
{
    insn_set_rm(c, in, 1, flags_cond(c, in->opcode & 15));
}

static void need_lahf(SoftCpu *c)
{
    /* In 64-bit code they are a feature of their own (CPUID 80000001h ECX bit 0). */
    if (soft_code64(c) && !(c->model->f80000001_ecx & 1)) {
        soft_raise(c, EXC_UD);
    }
}

void insn_lahf(SoftCpu *c, const Insn *in)
{
    need_lahf(c);
    uint64_t v = (flags_peek(c) & (FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF)) | 2;
    c->r[R_AX] = (c->r[R_AX] & ~0xff00ull) | v << 8;
}

void insn_sahf(SoftCpu *c, const Insn *in)
{
    need_lahf(c);
    flags_change(c, FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF, (uint32_t)(c->r[R_AX] >> 8) & 0xff);
}

void insn_salc(SoftCpu *c, const Insn *in)
{
    insn_set_reg(c, in, R_AX, 1, flags_cf(c) ? 0xff : 0);
}

void insn_setflag(SoftCpu *c, const Insn *in)
{
    switch (in->opcode) {
    case 0xf5:
        flags_change(c, FL_CF, flags_cf(c) ? 0 : FL_CF);
        break;
    case 0xf8:
    case 0xf9:
        flags_change(c, FL_CF, in->opcode & 1 ? FL_CF : 0);
        break;
    case 0xfc:
        c->sysflags &= ~(uint32_t)FL_DF;
        break;
    default:
        c->sysflags |= FL_DF;
        break;
    }
}

void insn_bswap(SoftCpu *c, const Insn *in)
{
    uint64_t v = c->r[in->rm];

    /* The 16-bit form is undefined; processors store zero. */
    v = in->opsize == 8   ? __builtin_bswap64(v)
        : in->opsize == 4 ? __builtin_bswap32((uint32_t)v)
                          : 0;
    insn_set_reg(c, in, in->rm, in->opsize, v);
}

void insn_nop(SoftCpu *c, const Insn *in)
{
    (void)c;
    (void)in;
}
