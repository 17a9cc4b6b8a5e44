/* Hot handlers of the eight ALU operations and TEST: all sizes, register, immediate and memory
 * forms. */
#include "hot.h"

/* d and s sign-extended. Sets the flags, returns the result sign-extended. */
INLINE uint64_t alu(SoftCpu *c, unsigned k, unsigned bits, uint64_t d, uint64_t s)
{
    uint64_t r;

    switch (k) {
    case HOT_ADD:
        r = hot_sext(d + s, bits);
        flags_arith(c, FLAGS_OP_ADD, d, s, r);
        return r;
    case HOT_ADC:
        r = hot_sext(d + s + flags_cf(c), bits);
        flags_arith(c, FLAGS_OP_ADC, d, s, r);
        return r;
    case HOT_SBB:
        r = hot_sext(d - s - flags_cf(c), bits);
        flags_arith(c, FLAGS_OP_SBB, d, s, r);
        return r;
    case HOT_SUB:
    case HOT_CMP:
        r = hot_sext(d - s, bits);
        flags_arith(c, FLAGS_OP_SUB, d, s, r);
        return r;
    case HOT_OR:
        r = d | s;
        break;
    case HOT_XOR:
        r = d ^ s;
        break;
    default:
        r = d & s;
        break;
    }
    flags_logic(c, r);
    return r;
}

INLINE bool alu_writes(unsigned k)
{
    return k != HOT_CMP && k != HOT_TEST;
}

INLINE void alu_reg(SoftCpu *c, const Op *op, unsigned k, unsigned bits, uint64_t s)
{
    unsigned dst = op->dst;
    uint64_t r = alu(c, k, bits, reg_get(c, dst, bits), s);

    if (alu_writes(k)) {
        reg_set(c, dst, bits, r);
    }
    return OP_NEXT(c, op);
}

INLINE void alu_rm(SoftCpu *c, const Op *op, unsigned k, unsigned bits, unsigned form)
{
    const uint8_t *p = hot_r(c, op_ea(c, op, form), bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    return alu_reg(c, op, k, bits, host_get(p, bits));
}

INLINE void alu_mem(SoftCpu *c, const Op *op, unsigned k, unsigned bits, unsigned form, uint64_t s)
{
    uint64_t la = op_ea(c, op, form);
    uint8_t *p = alu_writes(k) ? hot_w(c, la, bits) : hot_r(c, la, bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    uint64_t r = alu(c, k, bits, host_get(p, bits), s);
    if (alu_writes(k)) {
        host_set(p, bits, r);
    }
    return OP_NEXT(c, op);
}

#define MEM_FORMS(K, n, f, F)                                                                      \
    static void K##_rm##n##_##f(SoftCpu *c, const Op *op)                                          \
    {                                                                                              \
        return alu_rm(c, op, K, n, F);                                                             \
    }                                                                                              \
    static void K##_mr##n##_##f(SoftCpu *c, const Op *op)                                          \
    {                                                                                              \
        return alu_mem(c, op, K, n, F, reg_get(c, op->src, n));                                    \
    }                                                                                              \
    static void K##_mi##n##_##f(SoftCpu *c, const Op *op)                                          \
    {                                                                                              \
        return alu_mem(c, op, K, n, F, op->imm);                                                   \
    }
#define SIZE_FORMS(K, n)                                                                           \
    static void K##_rr##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        return alu_reg(c, op, K, n, reg_get(c, op->src, n));                                       \
    }                                                                                              \
    static void K##_ri##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        return alu_reg(c, op, K, n, op->imm);                                                      \
    }                                                                                              \
    MEM_FORMS(K, n, b, EA_BASE)                                                                    \
    MEM_FORMS(K, n, i, EA_INDEX)                                                                   \
    MEM_FORMS(K, n, a, EA_ANY)
#define ALL_SIZES(K) SIZE_FORMS(K, 8) SIZE_FORMS(K, 16) SIZE_FORMS(K, 32) SIZE_FORMS(K, 64)
ALL_SIZES(HOT_ADD)
ALL_SIZES(HOT_OR)
ALL_SIZES(HOT_ADC)
ALL_SIZES(HOT_SBB)
ALL_SIZES(HOT_AND)
ALL_SIZES(HOT_SUB)
ALL_SIZES(HOT_XOR)
ALL_SIZES(HOT_CMP)
ALL_SIZES(HOT_TEST)

#define ROW(K, n)                                                                                  \
    {                                                                                              \
        K##_rr##n, K##_ri##n, { K##_rm##n##_b, K##_rm##n##_i, K##_rm##n##_a },                     \
            { K##_mr##n##_b, K##_mr##n##_i, K##_mr##n##_a },                                       \
            { K##_mi##n##_b, K##_mi##n##_i, K##_mi##n##_a },                                       \
    }
#define ROWS(K) [K] = { ROW(K, 8), ROW(K, 16), ROW(K, 32), ROW(K, 64) }
const HotAlu hot_alu[HOT_ALUS][4] = { ROWS(HOT_ADD), ROWS(HOT_OR), ROWS(HOT_ADC), ROWS(HOT_SBB),
    ROWS(HOT_AND), ROWS(HOT_SUB), ROWS(HOT_XOR), ROWS(HOT_CMP), ROWS(HOT_TEST) };

INLINE void alu_nf(SoftCpu *c, const Op *op, unsigned k, unsigned bits, uint64_t s)
{
    uint64_t d = reg64(c, op->dst);
    uint64_t r = k == HOT_ADD   ? d + s
                 : k == HOT_SUB ? d - s
                 : k == HOT_OR  ? d | s
                 : k == HOT_AND ? d & s
                                : d ^ s;

    reg_set(c, op->dst, bits, r);
    return OP_NEXT(c, op);
}

#define NF(K, n)                                                                                   \
    static void K##_rr_nf##n(SoftCpu *c, const Op *op)                                             \
    {                                                                                              \
        return alu_nf(c, op, K, n, reg64(c, op->src));                                             \
    }                                                                                              \
    static void K##_ri_nf##n(SoftCpu *c, const Op *op)                                             \
    {                                                                                              \
        return alu_nf(c, op, K, n, op->imm);                                                       \
    }
#define NFS(K) NF(K, 32) NF(K, 64)
NFS(HOT_ADD)
NFS(HOT_OR)
NFS(HOT_AND)
NFS(HOT_SUB)
NFS(HOT_XOR)
#define NF_ROW(K) [K] = { { K##_rr_nf32, K##_rr_nf64 }, { K##_ri_nf32, K##_ri_nf64 } }
OpFn *const hot_alu_nf[HOT_ALUS][2][2] = { NF_ROW(HOT_ADD), NF_ROW(HOT_OR), NF_ROW(HOT_AND),
    NF_ROW(HOT_SUB), NF_ROW(HOT_XOR) };
