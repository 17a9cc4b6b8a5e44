/* Hot handlers: INC DEC NOT NEG, shifts and rotates of registers, multiplication, BT. */
#include "hot.h"

INLINE uint64_t unary(SoftCpu *c, unsigned k, unsigned bits, uint64_t d)
{
    uint64_t r;

    switch (k) {
    case HOT_INC:
    case HOT_DEC: {
        bool cf = flags_cf(c);
        r = hot_sext(k == HOT_INC ? d + 1 : d - 1, bits);
        c->fl.dst = d;
        c->fl.res = r;
        flags_set_op(c, k == HOT_INC ? FLAGS_OP_INC : FLAGS_OP_DEC, cf);
        return r;
    }
    case HOT_NOT:
        return ~d;
    default:
        r = hot_sext(-d, bits);
        flags_arith(c, FLAGS_OP_SUB, 0, d, r);
        return r;
    }
}

INLINE void unary_reg(SoftCpu *c, const Op *op, unsigned k, unsigned bits)
{
    unsigned dst = op->dst;

    reg_set(c, dst, bits, unary(c, k, bits, reg_get(c, dst, bits)));
    return OP_NEXT(c, op);
}

INLINE void unary_mem(SoftCpu *c, const Op *op, unsigned k, unsigned bits, unsigned form)
{
    uint8_t *p = hot_w(c, op_ea(c, op, form), bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    host_set(p, bits, unary(c, k, bits, host_get(p, bits)));
    return OP_NEXT(c, op);
}

INLINE void unary_nf(SoftCpu *c, const Op *op, unsigned k, unsigned bits)
{
    uint64_t d = reg64(c, op->dst);

    reg_set(c, op->dst, bits, k == HOT_INC ? d + 1 : k == HOT_DEC ? d - 1 : -d);
    return OP_NEXT(c, op);
}

#define U_MEM(K, n, f, F)                                                                          \
    static void K##_m##n##_##f(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        return unary_mem(c, op, K, n, F);                                                          \
    }
#define U_SIZE(K, n)                                                                               \
    static void K##_r##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        return unary_reg(c, op, K, n);                                                             \
    }                                                                                              \
    U_MEM(K, n, b, EA_BASE)                                                                        \
    U_MEM(K, n, i, EA_INDEX)                                                                       \
    U_MEM(K, n, a, EA_ANY)
#define U_ALL(K) U_SIZE(K, 8) U_SIZE(K, 16) U_SIZE(K, 32) U_SIZE(K, 64)
U_ALL(HOT_INC)
U_ALL(HOT_DEC)
U_ALL(HOT_NOT)
U_ALL(HOT_NEG)
#define U_NF(K, n)                                                                                 \
    static void K##_nf##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        return unary_nf(c, op, K, n);                                                              \
    }
U_NF(HOT_INC, 32)
U_NF(HOT_INC, 64)
U_NF(HOT_DEC, 32)
U_NF(HOT_DEC, 64)
U_NF(HOT_NEG, 32)
U_NF(HOT_NEG, 64)

#define U_ROW(K) [K] = { K##_r8, K##_r16, K##_r32, K##_r64 }
OpFn *const hot_unary[HOT_UNARIES][4] = { U_ROW(HOT_INC), U_ROW(HOT_DEC), U_ROW(HOT_NOT),
    U_ROW(HOT_NEG) };
#define U_M(K, n)                                                                                  \
    {                                                                                              \
        K##_m##n##_b, K##_m##n##_i, K##_m##n##_a                                                   \
    }
#define U_MROW(K) [K] = { U_M(K, 8), U_M(K, 16), U_M(K, 32), U_M(K, 64) }
OpFn *const hot_unary_mem[HOT_UNARIES][4][EA_FORMS] = { U_MROW(HOT_INC), U_MROW(HOT_DEC),
    U_MROW(HOT_NOT), U_MROW(HOT_NEG) };
OpFn *const hot_unary_nf[HOT_UNARIES][2] = { [HOT_INC] = { HOT_INC_nf32, HOT_INC_nf64 },
    [HOT_DEC] = { HOT_DEC_nf32, HOT_DEC_nf64 },
    [HOT_NEG] = { HOT_NEG_nf32, HOT_NEG_nf64 } };

/* Shifts: the count is masked and not 0. */
enum { SH_ROL, SH_ROR, SH_SHL = 4, SH_SHR, SH_SAL, SH_SAR };

INLINE uint64_t rotate(unsigned k, unsigned bits, uint64_t z, unsigned n)
{
    n &= bits - 1;
    if (k == SH_ROL) {
        return z << n | z >> ((bits - n) & (bits - 1));
    }
    return z >> n | z << ((bits - n) & (bits - 1));
}

INLINE void shift(SoftCpu *c, const Op *op, unsigned k, unsigned bits, unsigned n, bool flags)
{
    unsigned dst = op->dst;
    uint64_t d = reg_get(c, dst, bits), z = bits == 64 ? d : d & ((1ull << bits) - 1);
    unsigned top = bits - 1;
    uint64_t r;

    switch (k) {
    case SH_SHL:
        r = hot_sext(d << n, bits);
        if (flags) {
            flags_arith(c, FLAGS_OP_SHL, d << (64 - bits), n, r);
        }
        break;
    case SH_SHR:
        r = hot_sext(z >> n, bits);
        if (flags) {
            flags_arith(c, FLAGS_OP_SHR, z, n, r);
            c->fl.val = top;
        }
        break;
    case SH_SAR:
        r = (uint64_t)((int64_t)d >> n);
        if (flags) {
            flags_arith(c, FLAGS_OP_SAR, d, n, r);
        }
        break;
    default:
        r = rotate(k, bits, z, n);
        if (flags) {
            bool cf = (k == SH_ROL ? r : r >> top) & 1;
            bool of = (k == SH_ROL ? z >> top ^ z >> (top - 1) : z ^ z >> top) & 1;
            flags_change(c, FL_CF | FL_OF, (cf ? FL_CF : 0) | (of ? FL_OF : 0));
        }
        break;
    }
    reg_set(c, dst, bits, r);
    return OP_NEXT(c, op);
}

INLINE void shift_cl(SoftCpu *c, const Op *op, unsigned k, unsigned bits)
{
    unsigned n = c->r[R_CX] & (bits == 64 ? 63 : 31);

    if (!n) {
        if (bits == 32) {
            reg_set(c, op->dst, bits, reg64(c, op->dst));
        }
        return OP_NEXT(c, op);
    }
    return shift(c, op, k, bits, n, true);
}

#define SH_SIZE(K, n)                                                                              \
    static void K##_i##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        return shift(c, op, K, n, (unsigned)op->imm, true);                                        \
    }                                                                                              \
    static void K##_c##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        return shift_cl(c, op, K, n);                                                              \
    }
#define SH_NF(K, n)                                                                                \
    static void K##_nf##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        return shift(c, op, K, n, (unsigned)op->imm, false);                                       \
    }
#define SH_ALL(K)                                                                                  \
    SH_SIZE(K, 8) SH_SIZE(K, 16) SH_SIZE(K, 32) SH_SIZE(K, 64) SH_NF(K, 32) SH_NF(K, 64)
SH_ALL(SH_ROL)
SH_ALL(SH_ROR)
SH_ALL(SH_SHL)
SH_ALL(SH_SHR)
SH_ALL(SH_SAR)
#define SH_ROW(K, x)                                                                               \
    {                                                                                              \
        K##_##x##8, K##_##x##16, K##_##x##32, K##_##x##64                                          \
    }
#define SH_ROWS(x)                                                                                 \
    {                                                                                              \
        [SH_ROL] = SH_ROW(SH_ROL, x), [SH_ROR] = SH_ROW(SH_ROR, x), [SH_SHL] = SH_ROW(SH_SHL, x),  \
        [SH_SHR] = SH_ROW(SH_SHR, x), [SH_SAL] = SH_ROW(SH_SHL, x), [SH_SAR] = SH_ROW(SH_SAR, x)   \
    }
OpFn *const hot_shift_imm[8][4] = SH_ROWS(i);
OpFn *const hot_shift_cl[8][4] = SH_ROWS(c);
#define SH_NFROW(K)                                                                                \
    {                                                                                              \
        K##_nf32, K##_nf64                                                                         \
    }
OpFn *const hot_shift_nf[8][2] = { [SH_ROL] = SH_NFROW(SH_ROL),
    [SH_ROR] = SH_NFROW(SH_ROR),
    [SH_SHL] = SH_NFROW(SH_SHL),
    [SH_SHR] = SH_NFROW(SH_SHR),
    [SH_SAL] = SH_NFROW(SH_SHL),
    [SH_SAR] = SH_NFROW(SH_SAR) };

/* ZF is clear after multiplication even for 0: only then flags_res() would not do. */
INLINE void mul_flags(SoftCpu *c, uint64_t r, bool over)
{
    uint32_t v = over ? FL_CF | FL_OF : 0;

    if (r) {
        flags_res(c, r, v);
    } else {
        flags_set(c, v | FL_PF);
    }
}

INLINE void imul(SoftCpu *c, const Op *op, unsigned bits, uint64_t a, uint64_t b)
{
    int64_t r;
    bool over;

    if (bits == 64) {
        over = __builtin_mul_overflow((int64_t)a, (int64_t)b, &r);
    } else {
        int64_t w = (int64_t)a * (int64_t)b;
        r = (int32_t)w;
        over = r != w;
    }
    reg_set(c, op->dst, bits, (uint64_t)r);
    mul_flags(c, (uint64_t)r, over);
    return OP_NEXT(c, op);
}

INLINE void imul_rm(SoftCpu *c, const Op *op, unsigned bits, unsigned form)
{
    const uint8_t *p = hot_r(c, op_ea(c, op, form), bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    return imul(c, op, bits, reg_get(c, op->dst, bits), host_get(p, bits));
}

INLINE void mul_r(SoftCpu *c, const Op *op, unsigned bits)
{
    uint64_t a = bits == 64 ? c->r[R_AX] : (uint32_t)c->r[R_AX];
    uint64_t b = bits == 64 ? reg64(c, op->src) : (uint32_t)reg64(c, op->src);
    unsigned __int128 r = (unsigned __int128)a * b;
    uint64_t hi = (uint64_t)(r >> bits);

    reg_set(c, R_AX * 8, bits, (uint64_t)r);
    reg_set(c, R_DX * 8, bits, hi);
    mul_flags(c, hot_sext((uint64_t)r, bits), hi != 0);
    return OP_NEXT(c, op);
}

INLINE void bt(SoftCpu *c, const Op *op, unsigned bits, uint64_t n)
{
    uint32_t f = flags_peek(c) & ~(uint32_t)FL_CF;

    flags_set(c, f | ((reg64(c, op->dst) >> (n & (bits - 1))) & 1));
    return OP_NEXT(c, op);
}

#define MULS(n)                                                                                    \
    static void imul_rr##n(SoftCpu *c, const Op *op)                                               \
    {                                                                                              \
        return imul(c, op, n, reg_get(c, op->dst, n), reg_get(c, op->src, n));                     \
    }                                                                                              \
    static void imul_rri##n(SoftCpu *c, const Op *op)                                              \
    {                                                                                              \
        return imul(c, op, n, reg_get(c, op->src, n), op->imm);                                    \
    }                                                                                              \
    static void imul_rm##n##_b(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        return imul_rm(c, op, n, EA_BASE);                                                         \
    }                                                                                              \
    static void imul_rm##n##_i(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        return imul_rm(c, op, n, EA_INDEX);                                                        \
    }                                                                                              \
    static void imul_rm##n##_a(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        return imul_rm(c, op, n, EA_ANY);                                                          \
    }                                                                                              \
    static void mul_r##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        return mul_r(c, op, n);                                                                    \
    }                                                                                              \
    static void bt_ri##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        return bt(c, op, n, op->imm);                                                              \
    }                                                                                              \
    static void bt_rr##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        return bt(c, op, n, reg64(c, op->src));                                                    \
    }
MULS(32)
MULS(64)
OpFn *const hot_imul_rr[2] = { imul_rr32, imul_rr64 };
OpFn *const hot_imul_rri[2] = { imul_rri32, imul_rri64 };
OpFn *const hot_imul_rm[2][EA_FORMS] = { { imul_rm32_b, imul_rm32_i, imul_rm32_a },
    { imul_rm64_b, imul_rm64_i, imul_rm64_a } };
OpFn *const hot_mul_r[2] = { mul_r32, mul_r64 };
OpFn *const hot_bt_ri[2] = { bt_ri32, bt_ri64 };
OpFn *const hot_bt_rr[2] = { bt_rr32, bt_rr64 };
