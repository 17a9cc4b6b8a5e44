/* How the computing SIMD instructions are described and run; shared by fpsimd.c and fpsimd-sse4.c.
 */
#pragma once

#include "fpsimd.h"

enum { OPD_NONE, OPD_X, OPD_M, OPD_G };
enum {
    SSE_ALIGN = 1,        /* a memory operand must be aligned to 16 bytes */
    SSE_FP = 2,           /* uses MXCSR */
    SSE_EFL = 4,          /* writes EFLAGS */
    SSE_TABLE = 8,        /* 256 thunks, indexed by the immediate */
    SSE_MEM_NOMMX = 0x10, /* with a memory source the x87 state is not touched */
    SSE_IMPLICIT = 0x20,  /* XMM0 is a third operand */
    SSE_MEMONLY = 0x40,
    SSE_EXTRACT = 0x80, /* the r/m operand is the destination */
    SSE_STRING = 0x100, /* PCMPxSTRx */
    SSE_SSSE3 = 0x200,
    SSE_SSE41 = 0x400,
    SSE_SSE42 = 0x800,
};
enum { THUNK_STRIDE = 16 };

typedef void SseThunk(void);
typedef struct SseOp {
    SseThunk *fn, *fnw; /* fnw: with REX.W */
    uint16_t flags;
    uint8_t dst, src, mem, move;
} SseOp;

/* Operands of a thunk; the assembly knows the offsets. */
typedef struct SseArgs {
    alignas(16) uint8_t dst[16];
    uint8_t src[16];
    uint64_t mdst, msrc;        /* 32, 40 */
    uint64_t gpr;               /* 48 */
    uint32_t mxcsr, host_mxcsr; /* 56, 60 */
    uint64_t eflags;            /* 64: AH after LAHF */
    uint64_t gpr2;              /* 72 */
    uint8_t imp[16];            /* 80: XMM0 */
} SseArgs;
_Static_assert(offsetof(SseArgs, imp) == 80, "the assembly knows the offsets");

/* Mandatory prefix: none, 66, F3, F2. */
static inline unsigned sse_prefix(const Insn *in)
{
    return in->rep == REP_E ? 2 : in->rep == REP_NE ? 3 : in->flags & INSN_66 ? 1 : 0;
}

/* The description of an insn_sse. */
const SseOp *sse_op(const Insn *in);
/* The whole instruction: checks, operands, host instruction, result. */
void sse_compute(SoftCpu *c, const Insn *in, const SseOp *op);
/* Runs a thunk on xmm0, xmm1, xmm2 and rax. */
void sse_run_xmm(SseThunk *fn, SseArgs *a);
SseThunk *sse_thunk(const Insn *in, const SseOp *op);
