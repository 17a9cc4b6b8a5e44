/* Hot handlers of a register comparison and the conditional branch behind it in one. op[1] is the
 * branch. */
#include "hot-cc.h"

INLINE void fuse(SoftCpu *c, const Op *op, bool test, unsigned bits, uint64_t s, unsigned cc)
{
    uint64_t d = reg_get(c, op->dst, bits);
    uint64_t r = test ? d & s : hot_sext(d - s, bits);
    bool go = test ? logic_cond(r, cc) : sub_cond(d, s, r, cc);

    if (test) {
        flags_logic(c, r);
    } else {
        flags_arith(c, FLAGS_OP_SUB, d, s, r);
    }
    if (go) {
        return op_taken(c, op + 1);
    }
    return op_fall_through(c, op + 1);
}

#define FUSE(cc, T, n)                                                                             \
    static void rr_##T##_##n##_##cc(SoftCpu *c, const Op *op)                                      \
    {                                                                                              \
        return fuse(c, op, T, n, reg_get(c, op->src, n), cc);                                      \
    }                                                                                              \
    static void ri_##T##_##n##_##cc(SoftCpu *c, const Op *op)                                      \
    {                                                                                              \
        return fuse(c, op, T, n, op->imm, cc);                                                     \
    }
/* clang-format off */
#define CC_LIST(X, a, b) \
    X(0, a, b) X(1, a, b) X(2, a, b) X(3, a, b) \
    X(4, a, b) X(5, a, b) X(6, a, b) X(7, a, b) \
    X(8, a, b) X(9, a, b) X(10, a, b) X(11, a, b) \
    X(12, a, b) X(13, a, b) X(14, a, b) X(15, a, b)
/* clang-format on */
CC_LIST(FUSE, 0, 8)
CC_LIST(FUSE, 0, 32)
CC_LIST(FUSE, 0, 64)
CC_LIST(FUSE, 1, 8)
CC_LIST(FUSE, 1, 32)
CC_LIST(FUSE, 1, 64)
#define RR_AT(cc, T, n) rr_##T##_##n##_##cc,
#define RI_AT(cc, T, n) ri_##T##_##n##_##cc,
#define FUSE_ROWS(T)                                                                               \
    {                                                                                              \
        { { CC_LIST(RR_AT, T, 8) }, { CC_LIST(RR_AT, T, 32) }, { CC_LIST(RR_AT, T, 64) } },        \
            { { CC_LIST(RI_AT, T, 8) }, { CC_LIST(RI_AT, T, 32) }, { CC_LIST(RI_AT, T, 64) } },    \
    }
OpFn *const hot_fuse[2][2][3][16] = { FUSE_ROWS(0), FUSE_ROWS(1) };
