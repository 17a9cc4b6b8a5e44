/*
 * Multiply, divide and decimal adjustment (SDM vol. 2: MUL IMUL DIV IDIV DAA DAS AAA AAS AAM AAD).
 * Flags left undefined there are as processors leave them: after multiplication SF and PF follow
 * the low half, ZF and AF are clear; division changes none.
 */
#include "operand.h"

typedef unsigned __int128 Wide;
typedef __int128 SWide;

static void mul_flags(SoftCpu *c, uint64_t lo, unsigned size, bool over)
{
    uint64_t r = flags_sext(lo, size);

    flags_set(c, (over ? FL_CF | FL_OF : 0) | (r >> 63 ? FL_SF : 0) |
                     (__builtin_parity(r & 0xff) ? 0 : FL_PF));
}

/* The double-width result: AX, or DX:AX and its wider forms. */
static void set_wide(SoftCpu *c, const Insn *in, uint64_t lo, uint64_t hi)
{
    if (in->opsize == 1) {
        insn_set_reg(c, in, R_AX, 2, (lo & 0xff) | (hi & 0xff) << 8);
    } else {
        insn_set_reg(c, in, R_AX, in->opsize, lo);
        insn_set_reg(c, in, R_DX, in->opsize, hi);
    }
}

void insn_mul(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize, bits = size * 8;
    Wide r = (Wide)(c->r[R_AX] & size_mask(size)) * insn_get_rm(c, in, size);
    uint64_t hi = (uint64_t)(r >> bits);

    set_wide(c, in, (uint64_t)r, hi);
    mul_flags(c, (uint64_t)r, size, hi != 0);
}

void insn_imul1(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize, bits = size * 8;
    SWide r = (SWide)(int64_t)flags_sext(c->r[R_AX], size) * (int64_t)rm_sget(c, in, size);

    set_wide(c, in, (uint64_t)r, (uint64_t)(r >> bits));
    mul_flags(c, (uint64_t)r, size, r != (SWide)(int64_t)flags_sext((uint64_t)r, size));
}

void insn_imul(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;
    uint64_t a = rm_sget(c, in, size);
    uint64_t b = in->opcode == 0x1af ? sreg_get(c, in, in->reg, size) : in->imm;
    SWide r = (SWide)(int64_t)a * (int64_t)b;

    insn_set_reg(c, in, in->reg, size, (uint64_t)r);
    mul_flags(c, (uint64_t)r, size, r != (SWide)(int64_t)flags_sext((uint64_t)r, size));
}

/* The dividend, zero-extended. */
static Wide get_wide(SoftCpu *c, unsigned size)
{
    if (size == 1) {
        return c->r[R_AX] & 0xffff;
    }
    return (Wide)(c->r[R_DX] & size_mask(size)) << (size * 8) | (c->r[R_AX] & size_mask(size));
}

void insn_div(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;
    uint64_t v = insn_get_rm(c, in, size);
    Wide n = get_wide(c, size);

    if (!v || (uint64_t)(n >> (size * 8)) >= v) {
        soft_raise(c, EXC_DE);
    }
    if (!(n >> 64)) {
        set_wide(c, in, (uint64_t)n / v, (uint64_t)n % v);
    } else {
        set_wide(c, in, (uint64_t)(n / v), (uint64_t)(n % v));
    }
}

void insn_idiv(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize, spare = 128 - size * 16;
    int64_t v = (int64_t)rm_sget(c, in, size);
    SWide n = (SWide)(get_wide(c, size) << spare) >> spare;

    if (!v || (v == -1 && n == (SWide)((Wide)1 << 127))) {
        soft_raise(c, EXC_DE);
    }
    SWide q = n / v;
    if (q != (SWide)(int64_t)flags_sext((uint64_t)q, size)) {
        soft_raise(c, EXC_DE);
    }
    set_wide(c, in, (uint64_t)q, (uint64_t)(n - q * v));
}

static void set_al(SoftCpu *c, unsigned al)
{
    c->r[R_AX] = (c->r[R_AX] & ~0xffull) | (al & 0xff);
}

/* ZF SF PF of a byte as RFLAGS bits. */
static uint32_t byte_flags(unsigned v)
{
    return ((v & 0xff) ? 0 : FL_ZF) | (v & 0x80 ? FL_SF : 0) |
           (__builtin_parity(v & 0xff) ? 0 : FL_PF);
}

void insn_daa(SoftCpu *c, const Insn *in)
{
    bool sub = in->opcode == 0x2f;
    unsigned old = c->r[R_AX] & 0xff, al = old;
    uint32_t f = flags_peek(c), r = 0;
    bool adjust = (old & 0xf) > 9 || (f & FL_AF);
    bool carry = old > 0x99 || (f & FL_CF);

    if (adjust) {
        al = sub ? al - 6 : al + 6;
        r |= FL_AF;
        /* DAS: a borrow out of the low adjustment is a carry by itself. */
        if (sub && old < 6) {
            r |= FL_CF;
        }
    }
    if (carry) {
        al = sub ? al - 0x60 : al + 0x60;
        r |= FL_CF;
    }
    set_al(c, al);
    flags_set(c, r | byte_flags(al));
}

void insn_aaa(SoftCpu *c, const Insn *in)
{
    bool sub = in->opcode == 0x3f;
    uint32_t f = flags_peek(c);
    unsigned ax = c->r[R_AX] & 0xffff;
    bool adjust = (ax & 0xf) > 9 || (f & FL_AF);

    if (adjust) {
        ax = sub ? ax - 0x106 : ax + 0x106;
    }
    insn_set_reg(c, in, R_AX, 2, ax & 0xff0f);
    flags_set(c, (adjust ? FL_AF | FL_CF : 0) | byte_flags(ax & 0xf));
}

void insn_aam(SoftCpu *c, const Insn *in)
{
    unsigned base = in->imm & 0xff, al = c->r[R_AX] & 0xff;

    if (!base) {
        soft_raise(c, EXC_DE);
    }
    insn_set_reg(c, in, R_AX, 2, (al / base) << 8 | al % base);
    flags_set(c, byte_flags(al % base));
}

void insn_aad(SoftCpu *c, const Insn *in)
{
    unsigned al = (c->r[R_AX] & 0xff) + ((c->r[R_AX] >> 8) & 0xff) * (in->imm & 0xff);

    insn_set_reg(c, in, R_AX, 2, al & 0xff);
    flags_set(c, byte_flags(al));
}
