/* XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B (SDM vol. 2; vol. 3, 9.1): atomic with LOCK through the
 * host's own atomics. */
#include "operand.h"

static uint64_t add_src(uint64_t d, const RmwArg *a)
{
    return d + a->src;
}

void insn_xadd(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;
    RmwArg a = { .size = size, .src = insn_get_reg(c, in, in->reg, size) };
    uint64_t old;

    if (in->flags & INSN_MEM) {
        old = insn_rmw(c, in, add_src, &a);
        insn_set_reg(c, in, in->reg, size, old);
    } else {
        /* The sum is written last: XADD r, r of one register doubles it. */
        old = insn_get_reg(c, in, in->rm, size);
        insn_set_reg(c, in, in->reg, size, old);
        insn_set_reg(c, in, in->rm, size, old + a.src);
    }
    flags_arith(c, FLAGS_OP_ADD, flags_sext(old, size), flags_sext(a.src, size),
        flags_sext(old + a.src, size));
}

typedef struct CmpxchgArg {
    RmwArg a; /* first: what the function below gets */
    uint64_t expect;
} CmpxchgArg;

static uint64_t cmpxchg_result(uint64_t d, const RmwArg *a)
{
    uint64_t expect = ((const CmpxchgArg *)(const void *)a)->expect;
    return d == expect ? a->src : d;
}

void insn_cmpxchg(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;
    CmpxchgArg x = { .a = { .size = size, .src = insn_get_reg(c, in, in->reg, size) },
        .expect = c->r[R_AX] & size_mask(size) };
    uint64_t old;

    if (in->flags & INSN_MEM) {
        old = insn_rmw(c, in, cmpxchg_result, &x.a);
    } else {
        old = insn_get_reg(c, in, in->rm, size);
        if (old == x.expect) {
            insn_set_reg(c, in, in->rm, size, x.a.src);
        }
    }
    flags_arith(c, FLAGS_OP_SUB, flags_sext(x.expect, size), flags_sext(old, size),
        flags_sext(x.expect - old, size));
    if (old != x.expect) {
        insn_set_reg(c, in, R_AX, size, old);
    }
}

static uint64_t pair(const SoftCpu *c, unsigned hi, unsigned lo)
{
    return c->r[hi] << 32 | (uint32_t)c->r[lo];
}

static void cmpxchg8b(SoftCpu *c, const Insn *in)
{
    CmpxchgArg x = { .a = { .size = 8, .src = pair(c, R_CX, R_BX) },
        .expect = pair(c, R_DX, R_AX) };
    uint64_t la = insn_la(c, in, 8, /* write= */ true);
    uint64_t old = mem_rmw(c, la, in->flags & INSN_LOCK, cmpxchg_result, &x.a);
    bool same = old == x.expect;

    if (!same) {
        c->r[R_AX] = (uint32_t)old;
        c->r[R_DX] = old >> 32;
    }
    flags_change(c, FL_ZF, same ? FL_ZF : 0);
}

/* An aligned 16-byte compare and swap; *old gets what was there. */
static bool cas128(uint8_t *p, unsigned __int128 *old, unsigned __int128 val)
{
#ifdef __x86_64__
    uint64_t lo = (uint64_t)*old, hi = (uint64_t)(*old >> 64);
    bool same;

    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(same), "+m"(*(unsigned __int128 *)(void *)p), "+a"(lo), "+d"(hi)
                     : "b"((uint64_t)val), "c"((uint64_t)(val >> 64))
                     : "memory");
    *old = (unsigned __int128)hi << 64 | lo;
    return same;
#else
    return __atomic_compare_exchange_n(
        (unsigned __int128 *)(void *)p, old, val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
#endif
}

static void cmpxchg16b(SoftCpu *c, const Insn *in)
{
    uint64_t la = insn_la(c, in, 16, /* write= */ true);
    unsigned __int128 expect = (unsigned __int128)c->r[R_DX] << 64 | c->r[R_AX];
    unsigned __int128 val = (unsigned __int128)c->r[R_CX] << 64 | c->r[R_BX];
    unsigned __int128 old = expect;

    if (la & 15) {
        soft_raise_err(c, EXC_GP, 0);
    }
    uint8_t *p = rmw_host(c, la, 16);
    if (p) {
        cas128(p, &old, val);
        soft_rmw_done(c, 16);
    } else {
        soft_check(c, la, 16, true);
        soft_split_lock(c);
        soft_ld_bytes(c, la, &old, 16);
        if (old == expect) {
            soft_st_bytes(c, la, &val, 16);
        }
        soft_split_unlock(c);
    }
    if (old != expect) {
        c->r[R_AX] = (uint64_t)old;
        c->r[R_DX] = (uint64_t)(old >> 64);
    }
    flags_change(c, FL_ZF, old == expect ? FL_ZF : 0);
}

void insn_grp9(SoftCpu *c, const Insn *in)
{
    bool wide = in->flags & INSN_REXW;

    /* The register forms (RDRAND, RDSEED, RDPID) and VMX's are not offered. */
    if (in->reg != 1 || in->mod == 3 || (wide && !(c->model->f1_ecx & 1u << 13))) {
        soft_raise(c, EXC_UD);
    }
    if (wide) {
        cmpxchg16b(c, in);
    } else {
        cmpxchg8b(c, in);
    }
}
