/* MMX and SSE data movement (SDM vol. 2: MOVAPS and its kin, MOVD, MOVQ, MASKMOV): plain copies, no
 * host unit needed. */
#include "fpsimd.h"

static void ld16(SoftCpu *c, uint64_t la, uint8_t *dst)
{
    const uint8_t *p = soft_hit_r(c->tlb, la, 16);

    if (__builtin_expect(p != NULL, 1)) {
        memcpy(dst, p, 16);
    } else {
        uint8_t tmp[16];

        soft_ld_bytes(c, la, tmp, 16);
        memcpy(dst, tmp, 16);
    }
}

static void st16(SoftCpu *c, uint64_t la, const uint8_t *src)
{
    uint8_t *p = soft_hit_w(c->tlb, la, 16);

    if (__builtin_expect(p != NULL, 1)) {
        memcpy(p, src, 16);
    } else {
        soft_st_bytes(c, la, src, 16);
    }
}

static uint64_t lane(SoftCpu *c, unsigned reg, unsigned half)
{
    uint64_t v;

    memcpy(&v, fx_xmm(c, reg) + half * 8, 8);
    return v;
}

static void set_lane(SoftCpu *c, unsigned reg, unsigned half, uint64_t v)
{
    memcpy(fx_xmm(c, reg) + half * 8, &v, 8);
}

static void set_zext(SoftCpu *c, unsigned reg, uint64_t v)
{
    set_lane(c, reg, 0, v);
    set_lane(c, reg, 1, 0);
}

static uint64_t ld64(SoftCpu *c, const Insn *in)
{
    return soft_ld64(c, insn_la(c, in, 8, false));
}

static void st64(SoftCpu *c, const Insn *in, uint64_t v)
{
    soft_st64(c, insn_la(c, in, 8, true), v);
}

static void move_full(SoftCpu *c, const Insn *in, unsigned move)
{
    bool store = move == MV_STOREA || move == MV_STOREU || move == MV_STORENT;
    bool aligned = move == MV_LOADA || move == MV_STOREA || move == MV_STORENT;
    uint64_t la;

    if (!(in->flags & INSN_MEM)) {
        memmove(fx_xmm(c, store ? in->rm : in->reg), fx_xmm(c, store ? in->reg : in->rm), 16);
        return;
    }
    la = aligned ? sse_la16(c, in, store) : insn_la(c, in, 16, store);
    if (store) {
        st16(c, la, fx_xmm(c, in->reg));
    } else {
        ld16(c, la, fx_xmm(c, in->reg));
    }
}

static void move_scalar(SoftCpu *c, const Insn *in, unsigned move)
{
    unsigned n = move == MV_LOADSS || move == MV_STORESS ? 4 : 8;
    bool store = move == MV_STORESS || move == MV_STORESD;

    if (!(in->flags & INSN_MEM)) {
        memmove(fx_xmm(c, store ? in->rm : in->reg), fx_xmm(c, store ? in->reg : in->rm), n);
    } else if (store) {
        mem_st(c, insn_la(c, in, n, true), n, lane(c, in->reg, 0));
    } else {
        set_zext(c, in->reg, mem_ld(c, insn_la(c, in, n, false), n));
    }
}

static void move_half(SoftCpu *c, const Insn *in, unsigned move)
{
    bool mem = in->flags & INSN_MEM;

    if (move == MV_LOADL || move == MV_LOADL_PD) {
        set_lane(c, in->reg, 0, mem ? ld64(c, in) : lane(c, in->rm, 1)); /* MOVHLPS */
    } else if (move == MV_LOADH || move == MV_LOADH_PD) {
        set_lane(c, in->reg, 1, mem ? ld64(c, in) : lane(c, in->rm, 0)); /* MOVLHPS */
    } else {
        st64(c, in, lane(c, in->reg, move == MV_STOREH));
    }
}

/* MOVD/MOVQ between a general register or memory and MMX or XMM. */
static void move_gpr(SoftCpu *c, const Insn *in, unsigned move)
{
    unsigned n = in->flags & INSN_REXW ? 8 : 4;
    bool load = move == MV_MOVD_M || move == MV_MOVD_X,
         mmx = move == MV_MOVD_M || move == MV_MOVD_RM;
    uint64_t v;

    if (load) {
        v = insn_get_rm(c, in, n);
        if (mmx) {
            mmx_enter(c);
            mmx_set(c, in->reg, v);
        } else {
            set_zext(c, in->reg, v);
        }
        return;
    }
    if (mmx) {
        x87_set_top(c, 0);
    }
    v = mmx ? mmx_get(c, in->reg) : lane(c, in->reg, 0);
    insn_set_rm(c, in, n, n == 4 ? (uint32_t)v : v);
    if (mmx) {
        mmx_enter(c);
    }
}

static void move_q(SoftCpu *c, const Insn *in, unsigned move)
{
    bool mem = in->flags & INSN_MEM;
    uint64_t v;

    switch (move) {
    case MV_MOVQ_X:
        set_zext(c, in->reg, mem ? ld64(c, in) : lane(c, in->rm, 0));
        break;
    case MV_MOVQ_ST:
        if (mem) {
            st64(c, in, lane(c, in->reg, 0));
        } else {
            set_zext(c, in->rm, lane(c, in->reg, 0));
        }
        break;
    case MV_MOVQ_M:
        v = mem ? ld64(c, in) : mmx_get(c, in->rm);
        mmx_enter(c);
        mmx_set(c, in->reg, v);
        break;
    case MV_MOVQ2DQ:
        v = mmx_get(c, in->rm);
        mmx_enter(c);
        set_zext(c, in->reg, v);
        break;
    case MV_MOVDQ2Q:
        mmx_enter(c);
        mmx_set(c, in->reg, lane(c, in->rm, 0));
        break;
    default:               /* MV_MOVQ_MST, MV_MOVNTQ */
        x87_set_top(c, 0); /* a page fault finds it so, but the tags as before: as on real CPUs */
        v = mmx_get(c, in->reg);
        if (mem) {
            st64(c, in, v);
        } else {
            mmx_set(c, in->rm, v);
        }
        mmx_enter(c);
        break;
    }
}

/* Stores the bytes whose mask byte has its top bit set to DS:rDI; the others are neither read nor
 * written. */
static void move_masked(SoftCpu *c, const Insn *in, bool mmx)
{
    unsigned n = mmx ? 8 : 16;
    uint8_t data[16], mask[16];
    Insn m = *in;
    uint64_t v, la;

    if (mmx) {
        mmx_enter(c);
        v = mmx_get(c, in->reg);
        memcpy(data, &v, 8);
        v = mmx_get(c, in->rm);
        memcpy(mask, &v, 8);
    } else {
        memcpy(data, fx_xmm(c, in->reg), 16);
        memcpy(mask, fx_xmm(c, in->rm), 16);
    }
    m.flags |= INSN_MEM;
    m.base = R_DI;
    m.index = R_ZERO;
    m.disp = 0;
    la = insn_la(c, &m, n, true);
    soft_check(c, la, n, true);
    for (unsigned i = 0; i < n; i++) {
        if (mask[i] >> 7) {
            soft_st8(c, la + i, data[i]);
        }
    }
}

static bool is_mmx(unsigned move)
{
    return move == MV_MOVD_M || move == MV_MOVD_RM || move == MV_MOVQ_M || move == MV_MOVQ_MST ||
           move == MV_MOVNTQ || move == MV_MASKQ;
}

/* Wrong operand kind for the encoding. */
static bool bad_form(const Insn *in, unsigned move)
{
    switch (move) {
    case MV_STORENT:
    case MV_LDDQU:
    case MV_MOVNTQ:
    case MV_LOADL_PD:
    case MV_LOADH_PD:
    case MV_STOREL:
    case MV_STOREH:
        return !(in->flags & INSN_MEM);
    case MV_MOVQ2DQ:
    case MV_MOVDQ2Q:
    case MV_MASKQ:
    case MV_MASKDQ:
        return in->flags & INSN_MEM;
    default:
        return false;
    }
}

void sse_move(SoftCpu *c, const Insn *in, unsigned move)
{
    if (move >= MV_LOADA && move <= MV_STOREU) {
        fp_check_sse(c);
        move_full(c, in, move);
        return;
    }
    if (bad_form(in, move)) {
        soft_raise(c, EXC_UD);
    }
    if (is_mmx(move)) {
        fp_check_mmx(c);
    } else {
        fp_check_sse(c);
        if (move == MV_MOVQ2DQ || move == MV_MOVDQ2Q) {
            fp_check_pending(c);
        }
    }
    switch (move) {
    case MV_LDDQU:
    case MV_STORENT:
        move_full(c, in, move);
        break;
    case MV_LOADSS:
    case MV_LOADSD:
    case MV_STORESS:
    case MV_STORESD:
        move_scalar(c, in, move);
        break;
    case MV_LOADL:
    case MV_LOADH:
    case MV_LOADL_PD:
    case MV_LOADH_PD:
    case MV_STOREL:
    case MV_STOREH:
        move_half(c, in, move);
        break;
    case MV_MOVD_M:
    case MV_MOVD_X:
    case MV_MOVD_RM:
    case MV_MOVD_RX:
        move_gpr(c, in, move);
        break;
    case MV_MASKQ:
    case MV_MASKDQ:
        move_masked(c, in, move == MV_MASKQ);
        break;
    default:
        move_q(c, in, move);
        break;
    }
}
