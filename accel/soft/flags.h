/*
 * Lazy arithmetic flags (SDM vol. 1, 3.4.3.1). Operands and result are kept sign-extended to 64
 * bits, so one set of formulas serves all sizes: sign extension keeps both the signed and the
 * unsigned order, and bit 63 is the operation's top bit.
 */
#pragma once

#include "soft.h"

enum {
    FLAGS_OP_NONE, /* val holds all six */
    FLAGS_OP_RES,  /* ZF SF PF from res; val holds CF AF OF (logic: 0) */
    FLAGS_OP_ADD,  /* dst + src = res */
    FLAGS_OP_SUB,  /* dst - src = res */
    FLAGS_OP_ADC,  /* with a carry in: res tells */
    FLAGS_OP_SBB,
    FLAGS_OP_INC, /* dst + 1 = res; val holds CF */
    FLAGS_OP_DEC,
    FLAGS_OP_SHL, /* dst: operand left-aligned, src: count (not 0); AF is 0 */
    FLAGS_OP_SHR, /* dst: operand zero-extended, src: count, val: number of the top bit */
    FLAGS_OP_SAR, /* dst: operand sign-extended, src: count; OF is 0 */
};

/* Sign-extends a value of size bytes. */
static inline uint64_t flags_sext(uint64_t v, unsigned size)
{
    unsigned sh = 64 - 8 * size;
    return (uint64_t)((int64_t)(v << sh) >> sh);
}

static inline void flags_set_op(SoftCpu *c, uint32_t op, uint32_t val)
{
    c->fl.op = op;
    c->fl.val = val;
}

/* All arguments sign-extended. */
static inline void flags_arith(SoftCpu *c, uint32_t op, uint64_t d, uint64_t s, uint64_t r)
{
    c->fl.dst = d;
    c->fl.src = s;
    c->fl.res = r;
    flags_set_op(c, op, 0);
}

static inline void flags_logic(SoftCpu *c, uint64_t r)
{
    c->fl.res = r;
    flags_set_op(c, FLAGS_OP_RES, 0);
}

/* ZF SF PF from r, the others given. */
static inline void flags_res(SoftCpu *c, uint64_t r, uint32_t cf_af_of)
{
    c->fl.res = r;
    flags_set_op(c, FLAGS_OP_RES, cf_af_of);
}

static inline void flags_set(SoftCpu *c, uint32_t val)
{
    flags_set_op(c, FLAGS_OP_NONE, val & FL_ARITH);
}

static inline bool flags_cf(const SoftCpu *c)
{
    const SoftFlags *f = &c->fl;

    switch (f->op) {
    case FLAGS_OP_ADD:
        return f->res < f->dst;
    case FLAGS_OP_SUB:
        return f->dst < f->src;
    case FLAGS_OP_ADC:
        return ((f->dst & f->src) | ((f->dst | f->src) & ~f->res)) >> 63;
    case FLAGS_OP_SBB:
        return ((~f->dst & f->src) | ((~f->dst | f->src) & f->res)) >> 63;
    case FLAGS_OP_SHL:
        return (f->dst << (f->src - 1)) >> 63;
    case FLAGS_OP_SHR:
    case FLAGS_OP_SAR:
        return (f->dst >> (f->src - 1)) & 1;
    default:
        return f->val & FL_CF;
    }
}

static inline bool flags_of(const SoftCpu *c)
{
    const SoftFlags *f = &c->fl;

    switch (f->op) {
    case FLAGS_OP_ADD:
    case FLAGS_OP_ADC:
        return ((f->dst ^ f->res) & (f->src ^ f->res)) >> 63;
    case FLAGS_OP_SUB:
    case FLAGS_OP_SBB:
        return ((f->dst ^ f->src) & (f->dst ^ f->res)) >> 63;
    case FLAGS_OP_INC:
        return (~f->dst & f->res) >> 63;
    case FLAGS_OP_DEC:
        return (f->dst & ~f->res) >> 63;
    case FLAGS_OP_SHL:
        return (f->dst ^ (f->dst << 1)) >> 63;
    case FLAGS_OP_SHR:
        return (f->dst >> f->val) & 1;
    case FLAGS_OP_SAR:
        return false;
    default:
        return f->val & FL_OF;
    }
}

static inline bool flags_zf(const SoftCpu *c)
{
    return c->fl.op == FLAGS_OP_NONE ? (c->fl.val & FL_ZF) != 0 : c->fl.res == 0;
}

static inline bool flags_sf(const SoftCpu *c)
{
    return c->fl.op == FLAGS_OP_NONE ? (c->fl.val & FL_SF) != 0 : c->fl.res >> 63;
}

static inline bool flags_pf(const SoftCpu *c)
{
    return c->fl.op == FLAGS_OP_NONE ? (c->fl.val & FL_PF) != 0
                                     : !__builtin_parity(c->fl.res & 0xff);
}

static inline bool flags_af(const SoftCpu *c)
{
    const SoftFlags *f = &c->fl;

    switch (f->op) {
    case FLAGS_OP_NONE:
    case FLAGS_OP_RES:
        return f->val & FL_AF;
    case FLAGS_OP_INC:
    case FLAGS_OP_DEC:
        return (f->dst ^ f->res) & 0x10;
    case FLAGS_OP_SHL:
    case FLAGS_OP_SHR:
    case FLAGS_OP_SAR:
        return false;
    default:
        return (f->dst ^ f->src ^ f->res) & 0x10;
    }
}

/* A condition by its encoding (SDM vol. 1, appendix B). cc is a constant at the fast callers. */
static inline bool flags_cond(const SoftCpu *c, unsigned cc)
{
    bool v;

    switch (cc >> 1) {
    case 0:
        v = flags_of(c);
        break;
    case 1:
        v = flags_cf(c);
        break;
    case 2:
        v = flags_zf(c);
        break;
    case 3:
        v = flags_cf(c) || flags_zf(c);
        break;
    case 4:
        v = flags_sf(c);
        break;
    case 5:
        v = flags_pf(c);
        break;
    case 6:
        v = flags_sf(c) != flags_of(c);
        break;
    default:
        v = flags_zf(c) || flags_sf(c) != flags_of(c);
        break;
    }
    return v != (cc & 1);
}

/* flags.c: the six flags as RFLAGS bits; after it the state is FLAGS_OP_NONE. */
uint32_t flags_get(SoftCpu *c);
/* The six flags, the state stays as it is. */
uint32_t flags_peek(const SoftCpu *c);
/* Replaces the flags in mask. */
void flags_change(SoftCpu *c, uint32_t mask, uint32_t val);
