/* Hot handlers: moves, extensions, LEA, the stack, conversions. */
#include "hot.h"

#include <sched.h>

INLINE void mov_load(SoftCpu *c, const Op *op, unsigned bits, unsigned form)
{
    uint64_t la = op_ea(c, op, form);
    const uint8_t *p = hot_r(c, la, bits);

    if (__builtin_expect(!p, 0)) {
        OpDevLoad d = op_dev_load(c, op, la, bits / 8);

        if (d.dev == OP_DEV_NONE) {
            return op_slow(c, op);
        }
        reg_set(c, op->dst, bits, d.v);
        return d.dev == OP_DEV_NEXT ? OP_NEXT(c, op) : (void)0;
    }
    reg_set(c, op->dst, bits, host_get(p, bits));
    return OP_NEXT(c, op);
}

INLINE void mov_store(SoftCpu *c, const Op *op, unsigned bits, unsigned form, uint64_t v)
{
    uint64_t la = op_ea(c, op, form);
    uint8_t *p = hot_w(c, la, bits);

    if (__builtin_expect(!p, 0)) {
        OpDev dev = op_dev_store(c, op, la, bits / 8, v);

        if (dev == OP_DEV_NONE) {
            return op_slow(c, op);
        }
        return dev == OP_DEV_NEXT ? OP_NEXT(c, op) : (void)0;
    }
    host_set(p, bits, v);
    return OP_NEXT(c, op);
}

#define MOV_FORM(n, f, F)                                                                          \
    static void load##n##_##f(SoftCpu *c, const Op *op)                                            \
    {                                                                                              \
        return mov_load(c, op, n, F);                                                              \
    }                                                                                              \
    static void store##n##_##f(SoftCpu *c, const Op *op)                                           \
    {                                                                                              \
        return mov_store(c, op, n, F, reg_get(c, op->src, n));                                     \
    }                                                                                              \
    static void storei##n##_##f(SoftCpu *c, const Op *op)                                          \
    {                                                                                              \
        return mov_store(c, op, n, F, op->imm);                                                    \
    }
#define MOV_SIZE(n)                                                                                \
    static void mov_rr##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        reg_set(c, op->dst, n, reg_get(c, op->src, n));                                            \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    static void mov_ri##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        reg_set(c, op->dst, n, op->imm);                                                           \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    static void xchg_rr##n(SoftCpu *c, const Op *op)                                               \
    {                                                                                              \
        uint64_t d = reg_get(c, op->dst, n), s = reg_get(c, op->src, n);                           \
        reg_set(c, op->dst, n, s);                                                                 \
        reg_set(c, op->src, n, d);                                                                 \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    MOV_FORM(n, b, EA_BASE)                                                                        \
    MOV_FORM(n, i, EA_INDEX)                                                                       \
    MOV_FORM(n, a, EA_ANY)
MOV_SIZE(8)
MOV_SIZE(16)
MOV_SIZE(32)
MOV_SIZE(64)
#define MOV_ROW(n)                                                                                 \
    {                                                                                              \
        mov_rr##n, mov_ri##n, { load##n##_b, load##n##_i, load##n##_a },                           \
            { store##n##_b, store##n##_i, store##n##_a },                                          \
            { storei##n##_b, storei##n##_i, storei##n##_a }, xchg_rr##n                            \
    }
const HotMov hot_mov[4] = { MOV_ROW(8), MOV_ROW(16), MOV_ROW(32), MOV_ROW(64) };

/* from, to: widths; zero: zero extension (which makes the result's width 64). */
INLINE uint64_t extend(uint64_t v, unsigned from, unsigned to, bool zero)
{
    v = zero ? v & ((1ull << from) - 1) : v;
    return to == 32 ? (uint32_t)v : v;
}

INLINE void movx_mem(SoftCpu *c, const Op *op, unsigned from, unsigned to, bool zero, unsigned form)
{
    uint64_t la = op_ea(c, op, form);
    const uint8_t *p = hot_r(c, la, from);

    if (__builtin_expect(!p, 0)) {
        OpDevLoad d = op_dev_load(c, op, la, from / 8);

        if (d.dev == OP_DEV_NONE) {
            return op_slow(c, op);
        }
        /* Sign-extended like what host_get() gives. */
        d.v = (uint64_t)((int64_t)(d.v << (64 - from)) >> (64 - from));
        reg_set(c, op->dst, 64, extend(d.v, from, to, zero));
        return d.dev == OP_DEV_NEXT ? OP_NEXT(c, op) : (void)0;
    }
    reg_set(c, op->dst, 64, extend(host_get(p, from), from, to, zero));
    return OP_NEXT(c, op);
}

#define MOVX_FORM(name, from, to, zero, f, F)                                                      \
    static void name##_##f(SoftCpu *c, const Op *op)                                               \
    {                                                                                              \
        return movx_mem(c, op, from, to, zero, F);                                                 \
    }
#define MOVX(name, from, to, zero)                                                                 \
    static void name##_r(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        reg_set(c, op->dst, 64, extend(reg_get(c, op->src, from), from, to, zero));                \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    MOVX_FORM(name, from, to, zero, b, EA_BASE)                                                    \
    MOVX_FORM(name, from, to, zero, i, EA_INDEX)                                                   \
    MOVX_FORM(name, from, to, zero, a, EA_ANY)
MOVX(zx8, 8, 64, true)
MOVX(zx16, 16, 64, true)
MOVX(sx8_32, 8, 32, false)
MOVX(sx8_64, 8, 64, false)
MOVX(sx16_32, 16, 32, false)
MOVX(sx16_64, 16, 64, false)
MOVX(sx32_64, 32, 64, false)
OpFn *const hot_movx[HOT_MOVXS] = { zx8_r, zx16_r, sx8_32_r, sx8_64_r, sx16_32_r, sx16_64_r,
    sx32_64_r };
#define MOVX_ROW(name)                                                                             \
    {                                                                                              \
        name##_b, name##_i, name##_a                                                               \
    }
OpFn *const hot_movx_mem[HOT_MOVXS][EA_FORMS] = { MOVX_ROW(zx8), MOVX_ROW(zx16), MOVX_ROW(sx8_32),
    MOVX_ROW(sx8_64), MOVX_ROW(sx16_32), MOVX_ROW(sx16_64), MOVX_ROW(sx32_64) };

#define LEA(n, f, F)                                                                               \
    static void lea##n##_##f(SoftCpu *c, const Op *op)                                             \
    {                                                                                              \
        reg_set(c, op->dst, n, op_ea(c, op, F));                                                   \
        return OP_NEXT(c, op);                                                                     \
    }
LEA(32, b, EA_BASE)
LEA(32, i, EA_INDEX)
LEA(64, b, EA_BASE)
LEA(64, i, EA_INDEX)
LEA(64, a, EA_ANY)
OpFn *const hot_lea[2][EA_FORMS] = { { lea32_b, lea32_i, lea32_i }, { lea64_b, lea64_i, lea64_a } };

/* Stack addresses: RSP, or ESP with 32-bit wrap. */
INLINE uint64_t stack_at(const SoftCpu *c, unsigned bits, int64_t off)
{
    uint64_t a = c->r[R_SP] + (uint64_t)off;
    return bits == 64 ? a : (uint32_t)a;
}

INLINE void push(SoftCpu *c, const Op *op, unsigned bits, uint64_t v)
{
    uint64_t sp = stack_at(c, bits, -(int64_t)(bits / 8));
    uint8_t *p = hot_w(c, sp, bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    host_set(p, bits, v);
    c->r[R_SP] = sp;
    return OP_NEXT(c, op);
}

INLINE void push_mem(SoftCpu *c, const Op *op, unsigned bits, unsigned form)
{
    const uint8_t *p = hot_r(c, op_ea(c, op, form), bits);

    if (__builtin_expect(!p, 0)) {
        return op_slow(c, op);
    }
    return push(c, op, bits, host_get(p, bits));
}

#define STACK_FORM(n, f, F)                                                                        \
    static void push_m##n##_##f(SoftCpu *c, const Op *op)                                          \
    {                                                                                              \
        return push_mem(c, op, n, F);                                                              \
    }
#define STACK(n)                                                                                   \
    static void push_r##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        return push(c, op, n, reg64(c, op->src));                                                  \
    }                                                                                              \
    static void push_i##n(SoftCpu *c, const Op *op)                                                \
    {                                                                                              \
        return push(c, op, n, op->imm);                                                            \
    }                                                                                              \
    static void pop_r##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        const uint8_t *p = hot_r(c, stack_at(c, n, 0), n);                                         \
        if (__builtin_expect(!p, 0)) {                                                             \
            return op_slow(c, op);                                                                 \
        }                                                                                          \
        uint64_t v = host_get(p, n);                                                               \
        c->r[R_SP] = stack_at(c, n, n / 8);                                                        \
        reg_set(c, op->dst, n, v);                                                                 \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    static void leave##n(SoftCpu *c, const Op *op)                                                 \
    {                                                                                              \
        uint64_t bp = n == 64 ? c->r[R_BP] : (uint32_t)c->r[R_BP];                                 \
        const uint8_t *p = hot_r(c, bp, n);                                                        \
        if (__builtin_expect(!p, 0)) {                                                             \
            return op_slow(c, op);                                                                 \
        }                                                                                          \
        c->r[R_SP] = n == 64 ? bp + 8 : (uint32_t)(bp + 4);                                        \
        reg_set(c, R_BP * 8, n, host_get(p, n));                                                   \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    STACK_FORM(n, b, EA_BASE)                                                                      \
    STACK_FORM(n, i, EA_INDEX)                                                                     \
    STACK_FORM(n, a, EA_ANY)
STACK(32)
STACK(64)
OpFn *const hot_push_r[2] = { push_r32, push_r64 };
OpFn *const hot_push_i[2] = { push_i32, push_i64 };
OpFn *const hot_pop_r[2] = { pop_r32, pop_r64 };
OpFn *const hot_leave[2] = { leave32, leave64 };
OpFn *const hot_push_m[2][EA_FORMS] = { { push_m32_b, push_m32_i, push_m32_a },
    { push_m64_b, push_m64_i, push_m64_a } };

/* CBW CWDE CDQE; CWD CDQ CQO: by the operand size. */
#define CONVERT(n, half)                                                                           \
    static void cbw##n(SoftCpu *c, const Op *op)                                                   \
    {                                                                                              \
        reg_set(c, R_AX * 8, n, reg_get(c, R_AX * 8, half));                                       \
        return OP_NEXT(c, op);                                                                     \
    }                                                                                              \
    static void cwd##n(SoftCpu *c, const Op *op)                                                   \
    {                                                                                              \
        reg_set(c, R_DX * 8, n, (uint64_t)((int64_t)reg_get(c, R_AX * 8, n) >> 63));               \
        return OP_NEXT(c, op);                                                                     \
    }
CONVERT(16, 8)
CONVERT(32, 16)
CONVERT(64, 32)
OpFn *const hot_cbw[4] = { NULL, cbw16, cbw32, cbw64 };
OpFn *const hot_cwd[4] = { NULL, cwd16, cwd32, cwd64 };

static void bswap32(SoftCpu *c, const Op *op)
{
    reg_set(c, op->dst, 32, __builtin_bswap32((uint32_t)reg64(c, op->dst)));
    return OP_NEXT(c, op);
}

static void bswap64(SoftCpu *c, const Op *op)
{
    reg_set(c, op->dst, 64, __builtin_bswap64(reg64(c, op->dst)));
    return OP_NEXT(c, op);
}

OpFn *const hot_bswap[2] = { bswap32, bswap64 };

void hot_nop(SoftCpu *c, const Op *op)
{
    return OP_NEXT(c, op);
}

/* The loop around it may wait for a vCPU that has no host processor: let go of ours now and then.
 */
void hot_pause(SoftCpu *c, const Op *op)
{
    if (__builtin_expect(!(++c->npauses & 63), 0)) {
        sched_yield();
    }
    return OP_NEXT(c, op);
}
