/* Hot handlers: branches, calls, returns, conditions. */
#include "hot-cc.h"

/* clang-format off */
#define CC_LIST(X, ...) \
    X(0, __VA_ARGS__) X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__) \
    X(4, __VA_ARGS__) X(5, __VA_ARGS__) X(6, __VA_ARGS__) X(7, __VA_ARGS__) \
    X(8, __VA_ARGS__) X(9, __VA_ARGS__) X(10, __VA_ARGS__) X(11, __VA_ARGS__) \
    X(12, __VA_ARGS__) X(13, __VA_ARGS__) X(14, __VA_ARGS__) X(15, __VA_ARGS__)
/* clang-format on */

#define CC_FNS(cc, K)                                                                              \
    static void jcc_##K##_##cc(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        if (known_cond(c, K, cc)) {                                                                \
            return op_taken(c, op);                                                                \
        }                                                                                          \
        return op_fall_through(c, op);                                                             \
    }                                                                                              \
    static void set_##K##_##cc(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        reg_set(c, op->dst, 8, known_cond(c, K, cc));                                              \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    static void cmov32_##K##_##cc(SoftCpu *c, const Op *op)                                        \
    {                                                                                              \
        uint64_t d = reg64(c, op->dst), s = reg64(c, op->src);                                     \
        reg_set(c, op->dst, 32, known_cond(c, K, cc) ? s : d);                                     \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    static void cmov64_##K##_##cc(SoftCpu *c, const Op *op)                                        \
    {                                                                                              \
        uint64_t d = reg64(c, op->dst), s = reg64(c, op->src);                                     \
        reg_set(c, op->dst, 64, known_cond(c, K, cc) ? s : d);                                     \
        return OP_NEXT(c, op);                                                                     \
    }
CC_LIST(CC_FNS, HOT_CC_ANY)
CC_LIST(CC_FNS, HOT_CC_SUB)
CC_LIST(CC_FNS, HOT_CC_LOGIC)
#define JCC_AT(cc, K)  jcc_##K##_##cc,
#define SET_AT(cc, K)  set_##K##_##cc,
#define CMOV_AT(cc, K) { cmov32_##K##_##cc, cmov64_##K##_##cc },
OpFn *const hot_jcc[HOT_CCS][16] = { { CC_LIST(JCC_AT, HOT_CC_ANY) },
    { CC_LIST(JCC_AT, HOT_CC_SUB) }, { CC_LIST(JCC_AT, HOT_CC_LOGIC) } };
OpFn *const hot_setcc[HOT_CCS][16] = { { CC_LIST(SET_AT, HOT_CC_ANY) },
    { CC_LIST(SET_AT, HOT_CC_SUB) }, { CC_LIST(SET_AT, HOT_CC_LOGIC) } };
OpFn *const hot_cmov[HOT_CCS][16][2] = { { CC_LIST(CMOV_AT, HOT_CC_ANY) },
    { CC_LIST(CMOV_AT, HOT_CC_SUB) }, { CC_LIST(CMOV_AT, HOT_CC_LOGIC) } };

/* From memory: the condition is in imm. */
INLINE void cmov_mem(SoftCpu *c, const Op *op, unsigned bits, unsigned form)
{
    const uint8_t *p = hot_r(c, op_ea(c, op, form), bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    uint64_t v = host_get(p, bits);
    reg_set(c, op->dst, bits, flags_cond(c, (unsigned)op->imm) ? v : reg64(c, op->dst));
    return OP_NEXT(c, op);
}

void hot_jmp(SoftCpu *c, const Op *op)
{
    return op_taken(c, op);
}

/* The block ended without a transfer; it counts as idx instructions, this Op being none. */
void hot_fall(SoftCpu *c, const Op *op)
{
    const Op *t = op->fall;

    if (__builtin_expect(!t, 0)) {
        return op_fall_slow(c, op);
    }
    c->icount += op->idx;
    return t->fn(c, t);
}

/* A transfer to an address known only now. A target without an entry goes the complete way, with
 * all checks. */
INLINE void jump_to(SoftCpu *c, const Op *op, const Op *t)
{
    c->icount += op->idx + 1u;
    return t->fn(c, t);
}

INLINE uint64_t narrow(uint64_t v, unsigned bits)
{
    return bits == 64 ? v : (uint32_t)v;
}

INLINE void ret(SoftCpu *c, const Op *op, unsigned bits)
{
    uint64_t sp = narrow(c->r[R_SP], bits);
    const uint8_t *p = hot_r(c, sp, bits);

    if (__builtin_expect(!p || op_polled(c), 0)) {
        return op_slow(c, op);
    }
    const Op *t = jump_find(c, narrow(host_get(p, bits), bits));
    if (__builtin_expect(!t, 0)) {
        return op_slow(c, op);
    }
    c->r[R_SP] = narrow(sp + bits / 8 + op->imm, bits);
    return jump_to(c, op, t);
}

INLINE uint8_t *push_slot(SoftCpu *c, unsigned bits)
{
    return hot_w(c, narrow(c->r[R_SP] - bits / 8, bits), bits);
}

INLINE void push_return(SoftCpu *c, const Op *op, unsigned bits, uint8_t *slot)
{
    host_set(slot, bits, op->ip + op->len);
    c->r[R_SP] = narrow(c->r[R_SP] - bits / 8, bits);
}

INLINE void call(SoftCpu *c, const Op *op, unsigned bits)
{
    uint8_t *p = push_slot(c, bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    push_return(c, op, bits, p);
    return op_taken(c, op);
}

INLINE void indirect(SoftCpu *c, const Op *op, unsigned bits, uint64_t target, bool is_call)
{
    const Op *t = jump_find(c, narrow(target, bits));
    uint8_t *p = is_call ? push_slot(c, bits) : NULL;

    if (__builtin_expect(!t || (is_call && !p) || op_polled(c), 0)) {
        return op_slow(c, op);
    }
    if (is_call) {
        push_return(c, op, bits, p);
    }
    return jump_to(c, op, t);
}

INLINE void indirect_mem(SoftCpu *c, const Op *op, unsigned bits, unsigned form, bool is_call)
{
    const uint8_t *p = hot_r(c, op_ea(c, op, form), bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    return indirect(c, op, bits, host_get(p, bits), is_call);
}

#define CTL_FORM(n, f, F)                                                                          \
    static void cmov_m##n##_##f(SoftCpu *c, const Op *op)                                          \
    {                                                                                              \
        return cmov_mem(c, op, n, F);                                                              \
    }                                                                                              \
    static void jmp_m##n##_##f(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        return indirect_mem(c, op, n, F, false);                                                   \
    }                                                                                              \
    static void call_m##n##_##f(SoftCpu *c, const Op *op)                                          \
    {                                                                                              \
        return indirect_mem(c, op, n, F, true);                                                    \
    }
#define CTL(n)                                                                                     \
    static void ret##n(SoftCpu *c, const Op *op)                                                   \
    {                                                                                              \
        return ret(c, op, n);                                                                      \
    }                                                                                              \
    static void call##n(SoftCpu *c, const Op *op)                                                  \
    {                                                                                              \
        return call(c, op, n);                                                                     \
    }                                                                                              \
    static void jmp_r##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        return indirect(c, op, n, reg64(c, op->src), false);                                       \
    }                                                                                              \
    static void call_r##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        return indirect(c, op, n, reg64(c, op->src), true);                                        \
    }                                                                                              \
    CTL_FORM(n, b, EA_BASE)                                                                        \
    CTL_FORM(n, i, EA_INDEX)                                                                       \
    CTL_FORM(n, a, EA_ANY)
CTL(32)
CTL(64)
#define CTL_ROW(name, n)                                                                           \
    {                                                                                              \
        name##n##_b, name##n##_i, name##n##_a                                                      \
    }
OpFn *const hot_cmov_mem[2][EA_FORMS] = { CTL_ROW(cmov_m, 32), CTL_ROW(cmov_m, 64) };
OpFn *const hot_jmp_m[2][EA_FORMS] = { CTL_ROW(jmp_m, 32), CTL_ROW(jmp_m, 64) };
OpFn *const hot_call_m[2][EA_FORMS] = { CTL_ROW(call_m, 32), CTL_ROW(call_m, 64) };
OpFn *const hot_ret[2] = { ret32, ret64 };
OpFn *const hot_call[2] = { call32, call64 };
OpFn *const hot_jmp_r[2] = { jmp_r32, jmp_r64 };
OpFn *const hot_call_r[2] = { call_r32, call_r64 };
