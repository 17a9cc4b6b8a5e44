/* FP and SIMD state: checks before FP instructions, FXSAVE and its kin, MXCSR, MMX register view
 * (SDM vol. 1, 8, 9, 10.5). */
#include "fpsimd.h"

void fp_check_pending(SoftCpu *c)
{
    /* Without CR0.NE the exception goes out on FERR#; nothing is connected there, so it is as if
     * IGNNE# were asserted. */
    if (x87_pending(c) && (c->cr0 & CR0_NE)) {
        soft_raise(c, EXC_MF);
    }
}

void fp_check_x87(SoftCpu *c)
{
    if (c->mode & MODE_FPU_TRAP) {
        soft_raise(c, EXC_NM);
    }
}

void fp_check_mmx(SoftCpu *c)
{
    if (c->mode & MODE_FPU_TRAP) {
        soft_raise(c, c->cr0 & CR0_EM ? EXC_UD : EXC_NM);
    }
    fp_check_pending(c);
}

void fp_check_sse_slow(SoftCpu *c)
{
    if (!(c->mode & MODE_SSE_OK)) {
        soft_raise(c, EXC_UD);
    }
    if (c->cr0 & CR0_TS) {
        soft_raise(c, EXC_NM);
    }
}

static unsigned x87_top(const SoftCpu *c)
{
    return fx_get16(c, FX_FSW) >> 11 & 7;
}

/* The image keeps ST(i) in stack order; MMX registers are the physical ones. */
static uint8_t *physical(SoftCpu *c, unsigned i)
{
    return c->fx + FX_ST + ((i - x87_top(c)) & 7) * 16;
}

uint64_t mmx_get(SoftCpu *c, unsigned i)
{
    uint64_t v;

    memcpy(&v, physical(c, i & 7), 8);
    return v;
}

void mmx_set(SoftCpu *c, unsigned i, uint64_t v)
{
    uint8_t *p = physical(c, i & 7);

    memcpy(p, &v, 8);
    p[8] = p[9] = 0xff;
}

void x87_set_top(SoftCpu *c, unsigned top)
{
    uint8_t old[128];
    unsigned by = (top - x87_top(c)) & 7;

    if (by) {
        memcpy(old, c->fx + FX_ST, 128);
        for (unsigned i = 0; i < 8; i++) {
            memcpy(c->fx + FX_ST + i * 16, old + ((i + by) & 7) * 16, 16);
        }
        fx_set16(c, FX_FSW, (uint16_t)((fx_get16(c, FX_FSW) & ~(7 << 11)) | top << 11));
    }
}

void mmx_enter(SoftCpu *c)
{
    x87_set_top(c, 0);
    c->fx[FX_FTW] = 0xff;
}

void insn_emms(SoftCpu *c, const Insn *in)
{
    if (in->rep != REP_NONE || in->flags & INSN_66) {
        soft_raise(c, EXC_UD);
    }
    fp_check_mmx(c);
    mmx_enter(c);
    c->fx[FX_FTW] = 0;
}

void insn_movnti(SoftCpu *c, const Insn *in)
{
    if (in->rep != REP_NONE || in->flags & INSN_66) {
        soft_raise(c, EXC_UD);
    }
    insn_set_rm(c, in, in->flags & INSN_REXW ? 8 : 4,
        insn_get_reg(c, in, in->reg, in->flags & INSN_REXW ? 8 : 4));
}

static unsigned fx_size(const SoftCpu *c)
{
    return soft_code64(c) ? FX_END : FX_XMM8; /* XMM8..15 exist in 64-bit mode only */
}

static uint64_t fxsave_la(SoftCpu *c, const Insn *in, bool write)
{
    uint64_t la;

    if (c->mode & MODE_FPU_TRAP) {
        soft_raise(c, EXC_NM);
    }
    la = insn_la(c, in, 512, write);
    if (la & 15) {
        soft_raise_err(c, EXC_GP, 0);
    }
    soft_check(c, la, 512, write);
    return la;
}

static void fxsave(SoftCpu *c, const Insn *in)
{
    uint64_t la = fxsave_la(c, in, true);
    uint32_t mask = c->mxcsr_mask ? c->mxcsr_mask : MXCSR_VALID;
    uint8_t img[FX_END];

    memcpy(img, c->fx, FX_END);
    img[5] = 0;
    memcpy(img + FX_MXCSR + 4, &mask, 4);
    for (unsigned i = 0; i < 8; i++) {
        memset(img + FX_ST + i * 16 + 10, 0, 6);
    }
    if (!(in->flags & INSN_REXW)) { /* 32-bit pointers; FCS and FDS read as zero */
        memset(img + FX_FIP + 4, 0, 4);
        memset(img + FX_FDP + 4, 0, 4);
    }
    for (unsigned i = 0; i < fx_size(c); i += 32) {
        soft_st_bytes(c, la + i, img + i, 32);
    }
}

static void fxrstor(SoftCpu *c, const Insn *in)
{
    uint64_t la = fxsave_la(c, in, false);
    uint8_t img[FX_END];
    uint32_t mxcsr, mask;

    for (unsigned i = 0; i < fx_size(c); i += 32) {
        soft_ld_bytes(c, la + i, img + i, 32);
    }
    memcpy(&mxcsr, img + FX_MXCSR, 4);
    if (mxcsr & ~(uint32_t)MXCSR_VALID) {
        soft_raise_err(c, EXC_GP, 0);
    }
    img[5] = 0;
    memcpy(&mask, c->fx + FX_MXCSR + 4, 4);
    memcpy(img + FX_MXCSR + 4, &mask, 4);
    if (!(in->flags & INSN_REXW)) {
        memset(img + FX_FIP + 4, 0, 4);
        memset(img + FX_FDP + 4, 0, 4);
    }
    memcpy(c->fx, img, fx_size(c));
    fx_set16(c, FX_FCW, (uint16_t)((fx_get16(c, FX_FCW) & 0x1f3f) | 0x40));
    fx_set16(c, FX_FSW, fsw_with_es(fx_get16(c, FX_FSW), fx_get16(c, FX_FCW)));
}

static void ldmxcsr(SoftCpu *c, const Insn *in)
{
    uint32_t v;

    fp_check_sse(c);
    v = soft_ld32(c, insn_la(c, in, 4, false));
    if (v & ~(uint32_t)MXCSR_VALID) {
        soft_raise_err(c, EXC_GP, 0);
    }
    fx_set_mxcsr(c, v);
}

void insn_grp15(SoftCpu *c, const Insn *in)
{
    unsigned reg = in->reg & 7;

    if (in->rep != REP_NONE || in->flags & INSN_66) {
        soft_raise(c, EXC_UD); /* RDFSBASE.., CLFLUSHOPT and others are not offered */
    }
    if (!(in->flags & INSN_MEM)) {
        if (reg < 5) {
            soft_raise(c, EXC_UD);
        }
        atomic_thread_fence(memory_order_seq_cst); /* LFENCE, MFENCE, SFENCE */
        return;
    }
    switch (reg) {
    case 0:
        fxsave(c, in);
        break;
    case 1:
        fxrstor(c, in);
        break;
    case 2:
        ldmxcsr(c, in);
        break;
    case 3:
        fp_check_sse(c);
        soft_st32(c, insn_la(c, in, 4, true), fx_mxcsr(c));
        break;
    case 7: /* CLFLUSH: checked like a byte load */
        soft_check(c, insn_la(c, in, 1, false), 1, false);
        break;
    default: /* XSAVE and its kin */
        soft_raise(c, EXC_UD);
    }
}
