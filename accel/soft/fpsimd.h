/* What the FP and SIMD files share: the FXSAVE-shaped state in SoftCpu.fx and the checks before
 * every FP instruction. */
#pragma once

#include "exec.h"
#include "seg.h"

/* Offsets in SoftCpu.fx (SDM vol. 1, table 10-2). */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160
};
enum { FX_FP_END = 160, FX_XMM8 = 288, FX_END = 416 };

enum { MXCSR_FLAGS = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_FTZ = 0x8000, MXCSR_VALID = 0xffff };
enum {
    FP_IE = 1,
    FP_DE = 2,
    FP_ZE = 4,
    FP_OE = 8,
    FP_UE = 0x10,
    FP_PE = 0x20,
    FSW_SF = 0x40,
    FSW_ES = 0x80,
    FSW_B = 0x8000
};
enum { FP_CR4_OSXMMEXCPT = 0x400 };

static inline uint16_t fx_get16(const SoftCpu *c, unsigned off)
{
    uint16_t v;

    memcpy(&v, c->fx + off, 2);
    return v;
}

static inline void fx_set16(SoftCpu *c, unsigned off, uint16_t v)
{
    memcpy(c->fx + off, &v, 2);
}

static inline uint32_t fx_mxcsr(const SoftCpu *c)
{
    uint32_t v;

    memcpy(&v, c->fx + FX_MXCSR, 4);
    return v;
}

static inline void fx_set_mxcsr(SoftCpu *c, uint32_t v)
{
    memcpy(c->fx + FX_MXCSR, &v, 4);
}

static inline uint8_t *fx_xmm(SoftCpu *c, unsigned i)
{
    return c->fx + FX_XMM + i * 16;
}

/* MMX register i; valid once TOP is 0, see mmx_enter(). */
static inline uint8_t *fx_mm(SoftCpu *c, unsigned i)
{
    return c->fx + FX_ST + (i & 7) * 16;
}

/* ES and B follow the unmasked exception flags (SDM vol. 1, 8.1.3.3). */
static inline uint16_t fsw_with_es(uint16_t fsw, uint16_t fcw)
{
    fsw &= (uint16_t) ~(FSW_ES | FSW_B);
    return fsw & ~fcw & MXCSR_FLAGS ? fsw | FSW_ES | FSW_B : fsw;
}

static inline bool x87_pending(const SoftCpu *c)
{
    return fx_get16(c, FX_FSW) & ~fx_get16(c, FX_FCW) & MXCSR_FLAGS;
}

/* fpsimd-state.c: raise #UD, #NM or #MF if the instruction may not run now (SDM vol. 3, 2.5, tables
 * 11-1 and 13-1). */
void fp_check_x87(SoftCpu *c);
void fp_check_pending(
    SoftCpu *c); /* #MF; with CR0.NE clear the exception is ignored, as with IGNNE# asserted */
void fp_check_mmx(SoftCpu *c);
void fp_check_sse_slow(SoftCpu *c);
static inline void fp_check_sse(SoftCpu *c)
{
    if ((c->mode & (MODE_SSE_OK | MODE_FPU_TRAP)) != MODE_SSE_OK) {
        fp_check_sse_slow(c);
    }
}
/* The registers become MMX ones: TOP 0, all tags valid (SDM vol. 1, 9.6.2). */
void mmx_enter(SoftCpu *c);
void mmx_set(SoftCpu *c, unsigned i, uint64_t v);
uint64_t mmx_get(SoftCpu *c, unsigned i);
/* Changes TOP; the physical registers keep their contents, so the stack-ordered image turns. */
void x87_set_top(SoftCpu *c, unsigned top);
/* The state after FNINIT. */
void x87_init(SoftCpu *c);

/* fpsimd-move.c: the data movement instructions, by SseOp.move. */
void sse_move(SoftCpu *c, const Insn *in, unsigned move);

enum { /* SseOp.move */
    MV_NONE,
    MV_LOADA,
    MV_LOADU,
    MV_STOREA,
    MV_STOREU,
    MV_STORENT,
    MV_LOADSS,
    MV_LOADSD,
    MV_STORESS,
    MV_STORESD,
    MV_LOADL,
    MV_LOADH,
    MV_STOREL,
    MV_STOREH,
    MV_MOVD_M,
    MV_MOVD_X,
    MV_MOVD_RM,
    MV_MOVD_RX,
    MV_MOVQ_X,
    MV_MOVQ_ST,
    MV_MOVQ_M,
    MV_MOVQ_MST,
    MV_MOVNTQ,
    MV_MOVQ2DQ,
    MV_MOVDQ2Q,
    MV_MASKQ,
    MV_MASKDQ,
    MV_LDDQU,
    MV_LOADL_PD,
    MV_LOADH_PD,
};

/* Linear address of a 16-byte operand that must be aligned. */
static inline uint64_t sse_la16(SoftCpu *c, const Insn *in, bool write)
{
    bool based = in->seg >= SEG_FS || !soft_code64(c);
    uint64_t la = insn_ea(c, in) + (based ? c->seg[in->seg].base : 0);

    /* Alignment is checked even before limits and canonicality, which may give #SS. */
    if (la & 15) {
        soft_raise_err(c, EXC_GP, 0);
    }
    la = insn_la(c, in, 16, write);
    if (la & 15) {
        soft_raise_err(c, EXC_GP, 0);
    }
    return la;
}
