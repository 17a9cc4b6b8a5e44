/*
 * Hot handlers: what they share, and the tables in which the translator finds them. Values are
 * handled sign-extended, as the lazy flags want them. Tables are indexed by size as log2, address
 * forms by EA_*.
 */
#pragma once

#include "exec.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    EA_BASE,
    EA_INDEX,
    EA_ANY,
    EA_FORMS
}; /* base + disp; base + index * mul + disp; 32-bit wrap, FS and GS */

INLINE uint64_t reg64(const SoftCpu *c, unsigned off)
{
    return *(const uint64_t *)(const void *)((const char *)c->r + off);
}

/* Reads a register's low bits sign-extended. bits is a constant. */
INLINE uint64_t reg_get(const SoftCpu *c, unsigned off, unsigned bits)
{
    const void *p = (const char *)c->r + off;

    switch (bits) {
    case 8:
        return (uint64_t) * (const int8_t *)p;
    case 16:
        return (uint64_t) * (const int16_t *)p;
    case 32:
        return (uint64_t) * (const int32_t *)p;
    default:
        return *(const uint64_t *)p;
    }
}

INLINE void reg_set(SoftCpu *c, unsigned off, unsigned bits, uint64_t v)
{
    void *p = (char *)c->r + off;

    switch (bits) {
    case 8:
        *(uint8_t *)p = (uint8_t)v;
        break;
    case 16:
        *(uint16_t *)p = (uint16_t)v;
        break;
    case 32:
        *(uint64_t *)p = (uint32_t)v;
        break;
    default:
        *(uint64_t *)p = v;
        break;
    }
}

INLINE uint64_t op_ea(const SoftCpu *c, const Op *op, unsigned form)
{
    uint64_t a = reg64(c, op->base) + (uint64_t)op->disp;

    if (form != EA_BASE) {
        a += reg64(c, op->index) * op->mul;
    }
    if (form == EA_ANY) {
        a = op->aux & OP_ADDR32 ? (uint32_t)a : a;
        a += op->aux & OP_SEG ? c->seg[(op->aux & OP_SEG) - 1].base : 0;
    }
    return a;
}

/* Host address of the operand or NULL: the caller leaves through op_slow(). A hit is never NULL,
 * which saves a second test. */
INLINE uint8_t *hot_hit(uint64_t ntag, uintptr_t addend, uint64_t la, unsigned bits)
{
    if (__builtin_expect((la + (bits / 8 - 1) + ntag) >> 12, 0)) {
        return NULL;
    }
    uint8_t *p = (uint8_t *)(la + addend);
    if (!p) {
        __builtin_unreachable();
    }
    return p;
}

INLINE uint8_t *hot_r(SoftCpu *c, uint64_t la, unsigned bits)
{
    const SoftTlbEntry *e = &c->tlb->e[SOFT_MEM_IDX(la)];
    return hot_hit(e->ntag_r, e->addend, la, bits);
}

INLINE uint8_t *hot_w(SoftCpu *c, uint64_t la, unsigned bits)
{
    const SoftTlbEntry *e = &c->tlb->e[SOFT_MEM_IDX(la)];
    return hot_hit(e->ntag_w, e->addend, la, bits);
}

/* Guest memory as one host access, sign-extended. */
INLINE uint64_t host_get(const uint8_t *p, unsigned bits)
{
    int16_t h;
    int32_t w;
    int64_t d;

    switch (bits) {
    case 8:
        return (uint64_t)(int8_t)*p;
    case 16:
        memcpy(&h, p, 2);
        return (uint64_t)h;
    case 32:
        memcpy(&w, p, 4);
        return (uint64_t)w;
    default:
        memcpy(&d, p, 8);
        return (uint64_t)d;
    }
}

INLINE void host_set(uint8_t *p, unsigned bits, uint64_t v)
{
    memcpy(p, &v, bits / 8);
}

INLINE uint64_t hot_sext(uint64_t v, unsigned bits)
{
    return flags_sext(v, bits / 8);
}

/* hot-alu.c */
enum { HOT_ADD, HOT_OR, HOT_ADC, HOT_SBB, HOT_AND, HOT_SUB, HOT_XOR, HOT_CMP, HOT_TEST, HOT_ALUS };
typedef struct HotAlu {
    OpFn *rr, *ri, *rm[EA_FORMS], *mr[EA_FORMS], *mi[EA_FORMS];
} HotAlu;
extern const HotAlu hot_alu[HOT_ALUS][4];
/* Without flags, for where they are dead: register forms of 32 and 64 bits. */
extern OpFn *const hot_alu_nf[HOT_ALUS][2][2]; /* [][rr, ri][32, 64], NULL for CMP .. */

/* hot-unary.c */
enum { HOT_INC, HOT_DEC, HOT_NOT, HOT_NEG, HOT_UNARIES };
extern OpFn *const hot_unary[HOT_UNARIES][4]; /* register */
extern OpFn *const hot_unary_mem[HOT_UNARIES][4][EA_FORMS];
extern OpFn *const hot_unary_nf[HOT_UNARIES][2];
/* By ModRM.reg of the shift group; NULL: none. imm: count masked and not 0. */
extern OpFn *const hot_shift_imm[8][4], *const hot_shift_cl[8][4], *const hot_shift_nf[8][2];
extern OpFn *const hot_imul_rr[2], *const hot_imul_rri[2], *const hot_imul_rm[2][EA_FORMS],
                                                               *const hot_mul_r[2];
extern OpFn *const hot_bt_ri[2], *const hot_bt_rr[2];

/* hot-mov.c */
typedef struct HotMov {
    OpFn *rr, *ri, *load[EA_FORMS], *store[EA_FORMS], *storei[EA_FORMS], *xchg;
} HotMov;
extern const HotMov hot_mov[4];
enum {
    HOT_ZX8,
    HOT_ZX16,
    HOT_SX8_32,
    HOT_SX8_64,
    HOT_SX16_32,
    HOT_SX16_64,
    HOT_SX32_64,
    HOT_MOVXS
};
extern OpFn *const hot_movx[HOT_MOVXS], *const hot_movx_mem[HOT_MOVXS][EA_FORMS];
extern OpFn *const hot_lea[2][EA_FORMS]; /* 32, 64 */
/* Stack width: 32, 64. */
extern OpFn *const hot_push_r[2], *const hot_push_i[2], *const hot_pop_r[2], *const hot_leave[2];
extern OpFn *const hot_push_m[2][EA_FORMS];
extern OpFn *const hot_cbw[4], *const hot_cwd[4], *const hot_bswap[2];
extern OpFn hot_nop, hot_pause;

/* hot-ctl.c */
enum {
    HOT_CC_ANY,
    HOT_CC_SUB,
    HOT_CC_LOGIC,
    HOT_CCS
}; /* what is known of the flags: nothing, SUB or CMP, logic */
extern OpFn *const hot_jcc[HOT_CCS][16], *const hot_setcc[HOT_CCS][16],
                                             *const hot_cmov[HOT_CCS][16][2];
extern OpFn *const hot_cmov_mem[2][EA_FORMS]; /* cc in dst's place, see hot-ctl.c */
extern OpFn hot_jmp, hot_fall;
extern OpFn *const hot_call[2], *const hot_ret[2], *const hot_jmp_r[2], *const hot_call_r[2];
extern OpFn *const hot_jmp_m[2][EA_FORMS], *const hot_call_m[2][EA_FORMS];
/* hot-fuse.c: CMP or TEST with a register and Jcc in one: [cmp, test][rr, ri][8, 32, 64][cc]; op[1]
 * is the branch. */
extern OpFn *const hot_fuse[2][2][3][16];
