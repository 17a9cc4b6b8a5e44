/*
 * MMX, SSE, SSE2 and SSE3 (SDM vol. 1, chapters 9 to 12; vol. 2). A computing instruction runs on
 * the host's unit through the thunk of its encoding, with the guest's MXCSR but all exceptions
 * masked; the flags it leaves tell whether the guest's masks would have trapped, before anything is
 * written back.
 */
#include "fpsimd-run.h"

#define SSE_OP(pfx, opc, name, text, ...) extern SseThunk soft_sse_##name;
#define SSE_OPW(pfx, opc, name, text, textw, ...)                                                  \
    extern SseThunk soft_sse_##name, soft_sse_##name##_w;
#define SSE_IMM(pfx, opc, name, text, ...) extern SseThunk soft_sse_##name;
#include "fpsimd-ops.h"
#undef SSE_OP
#undef SSE_OPW
#undef SSE_IMM
extern SseThunk soft_sse_psrldq, soft_sse_pslldq;

#define SSE_OP(pfx, opc, name, text, d, s, m, f)                                                   \
    [pfx][opc] = { .fn = soft_sse_##name, .dst = d, .src = s, .mem = m, .flags = f },
#define SSE_OPW(pfx, opc, name, text, textw, d, s, m, f)                                           \
    [pfx][opc] = { .fn = soft_sse_##name,                                                          \
        .fnw = soft_sse_##name##_w,                                                                \
        .dst = d,                                                                                  \
        .src = s,                                                                                  \
        .mem = m,                                                                                  \
        .flags = f },
#define SSE_IMM(pfx, opc, name, text, d, s, m, f)                                                  \
    [pfx][opc] = { .fn = soft_sse_##name, .dst = d, .src = s, .mem = m, .flags = (f) | SSE_TABLE },
#define MV(pfx, opc, mv) [pfx][opc] = { .move = mv },

static const SseOp sse_ops[4][256] = {
#include "fpsimd-ops.h"
    /* clang-format off */
    MV(0, 0x10, MV_LOADU) MV(0, 0x11, MV_STOREU) MV(1, 0x10, MV_LOADU) MV(1, 0x11, MV_STOREU)
    MV(2, 0x10, MV_LOADSS) MV(2, 0x11, MV_STORESS) MV(3, 0x10, MV_LOADSD) MV(3, 0x11, MV_STORESD)
    MV(0, 0x12, MV_LOADL) MV(0, 0x13, MV_STOREL) MV(0, 0x16, MV_LOADH) MV(0, 0x17, MV_STOREH)
    MV(1, 0x12, MV_LOADL_PD) MV(1, 0x13, MV_STOREL) MV(1, 0x16, MV_LOADH_PD) MV(1, 0x17, MV_STOREH)
    MV(0, 0x28, MV_LOADA) MV(0, 0x29, MV_STOREA) MV(1, 0x28, MV_LOADA) MV(1, 0x29, MV_STOREA)
    MV(0, 0x2b, MV_STORENT) MV(1, 0x2b, MV_STORENT) MV(1, 0xe7, MV_STORENT)
    MV(1, 0x6f, MV_LOADA) MV(2, 0x6f, MV_LOADU) MV(1, 0x7f, MV_STOREA) MV(2, 0x7f, MV_STOREU) MV(3, 0xf0, MV_LDDQU)
    MV(0, 0x6e, MV_MOVD_M) MV(1, 0x6e, MV_MOVD_X) MV(0, 0x7e, MV_MOVD_RM) MV(1, 0x7e, MV_MOVD_RX)
    MV(2, 0x7e, MV_MOVQ_X) MV(1, 0xd6, MV_MOVQ_ST) MV(0, 0x6f, MV_MOVQ_M) MV(0, 0x7f, MV_MOVQ_MST)
    MV(0, 0xe7, MV_MOVNTQ) MV(2, 0xd6, MV_MOVQ2DQ) MV(3, 0xd6, MV_MOVDQ2Q) MV(0, 0xf7, MV_MASKQ) MV(1, 0xf7, MV_MASKDQ)
    /* clang-format on */
};

/* The thunk is called below the red zone. */
void sse_run_xmm(SseThunk *fn, SseArgs *a)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
                     "movdqa (%[a]), %%xmm2\n\tmovdqa 16(%[a]), %%xmm1\n\tmovdqa 80(%[a]), "
                     "%%xmm0\n\tmov 48(%[a]), %%rax\n\t"
                     "call *%[fn]\n\t"
                     "mov %%rax, 48(%[a])\n\tmovdqa %%xmm2, (%[a])\n\t"
                     "lea 128(%%rsp), %%rsp"
                     :
                     : [a] "b"(a), [fn] "r"(fn)
                     : "rax", "xmm0", "xmm1", "xmm2", "cc", "memory");
}

static void run_xmm_fp(SseThunk *fn, SseArgs *a)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
                     "stmxcsr 60(%[a])\n\tldmxcsr 56(%[a])\n\t"
                     "movdqa (%[a]), %%xmm2\n\tmovdqa 16(%[a]), %%xmm1\n\tmov 48(%[a]), %%rax\n\t"
                     "call *%[fn]\n\t"
                     "mov %%rax, 48(%[a])\n\tmovdqa %%xmm2, (%[a])\n\t"
                     "lahf\n\tmovzbl %%ah, %%eax\n\tmov %%rax, 64(%[a])\n\t"
                     "stmxcsr 56(%[a])\n\tldmxcsr 60(%[a])\n\t"
                     "lea 128(%%rsp), %%rsp"
                     :
                     : [a] "b"(a), [fn] "r"(fn)
                     : "rax", "xmm1", "xmm2", "cc", "memory");
}

/*
 * The same for a guest MXCSR with the default controls: the host's register may then hold the
 * guest's sticky flags, so it is loaded only when it differs and never put back.
 */
static void run_xmm_default(SseThunk *fn, SseArgs *a)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
                     "stmxcsr 60(%[a])\n\tmov 56(%[a]), %%eax\n\tcmp 60(%[a]), %%eax\n\tje 1f\n\t"
                     "ldmxcsr 56(%[a])\n1:\n\t"
                     "movdqa (%[a]), %%xmm2\n\tmovdqa 16(%[a]), %%xmm1\n\tmov 48(%[a]), %%rax\n\t"
                     "call *%[fn]\n\t"
                     "mov %%rax, 48(%[a])\n\tmovdqa %%xmm2, (%[a])\n\t"
                     "lahf\n\tmovzbl %%ah, %%eax\n\tmov %%rax, 64(%[a])\n\t"
                     "stmxcsr 56(%[a])\n\t"
                     "lea 128(%%rsp), %%rsp"
                     :
                     : [a] "b"(a), [fn] "r"(fn)
                     : "rax", "xmm1", "xmm2", "cc", "memory");
}

/* With MMX registers; EMMS leaves the host's x87 unit empty again. */
static void run_mmx(SseThunk *fn, SseArgs *a)
{
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\t"
        "stmxcsr 60(%[a])\n\tldmxcsr 56(%[a])\n\t"
        "movdqa (%[a]), %%xmm2\n\tmovdqa 16(%[a]), %%xmm1\n\tmov 48(%[a]), %%rax\n\t"
        "movq 32(%[a]), %%mm2\n\tmovq 40(%[a]), %%mm1\n\t"
        "call *%[fn]\n\t"
        "mov %%rax, 48(%[a])\n\tmovdqa %%xmm2, (%[a])\n\tmovq %%mm2, 32(%[a])\n\temms\n\t"
        "stmxcsr 56(%[a])\n\tldmxcsr 60(%[a])\n\t"
        "lea 128(%%rsp), %%rsp"
        :
        : [a] "b"(a), [fn] "r"(fn)
        : "rax", "xmm1", "xmm2", "cc", "memory");
}

typedef void SseRun(SseThunk *fn, SseArgs *a);

_Noreturn static void raise_simd(SoftCpu *c, uint32_t flags)
{
    /* What is found before computing wins; only such flags are set then (SDM vol. 1, 11.5.1). */
    uint32_t pre = FP_IE | FP_DE | FP_ZE, unmasked = flags & ~(fx_mxcsr(c) >> 7);

    if (unmasked & pre) {
        flags &= pre;
    }
    fx_set_mxcsr(c, fx_mxcsr(c) | flags);
    soft_raise(c, c->cr4 & FP_CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

/*
 * Runs an instruction that uses MXCSR. A masked underflow needs a tiny and inexact result, an
 * unmasked one only a tiny result (SDM vol. 1, 4.9.1.5): with UM clear the first run flushes to
 * zero, which reports every tiny result.
 */
static void run_fp(SoftCpu *c, SseRun *run, SseThunk *fn, SseArgs *a)
{
    uint32_t guest = fx_mxcsr(c), ctl = (guest | MXCSR_MASKS) & ~(uint32_t)MXCSR_FLAGS, flags;
    bool underflow = false;

    if ((guest & ~(uint32_t)MXCSR_FLAGS) == MXCSR_MASKS && run == run_xmm_fp) {
        a->mxcsr = guest;
        run_xmm_default(fn, a);
        fx_set_mxcsr(c, a->mxcsr);
        return;
    }
    if (!(guest & FP_UE << 7)) {
        const SseArgs in = *a;

        a->mxcsr = ctl | MXCSR_FTZ;
        run(fn, a);
        underflow = a->mxcsr & FP_UE;
        *a = in;
        ctl &= ~(uint32_t)MXCSR_FTZ;
    }
    a->mxcsr = ctl;
    run(fn, a);
    flags = a->mxcsr & MXCSR_FLAGS;
    flags |= underflow ? FP_UE : 0;
    if (flags & ~(guest >> 7)) {
        raise_simd(c, flags);
    }
    fx_set_mxcsr(c, guest | flags);
}

static unsigned gpr_size(const Insn *in)
{
    return in->flags & INSN_REXW ? 8 : 4;
}

static void load_source(SoftCpu *c, const Insn *in, const SseOp *op, SseArgs *a)
{
    if (in->flags & INSN_MEM) {
        unsigned n = op->mem ? op->mem : gpr_size(in);
        void *to = op->src == OPD_M   ? (void *)&a->msrc
                   : op->src == OPD_G ? (void *)&a->gpr
                                      : a->src;
        uint64_t la = op->flags & SSE_ALIGN ? sse_la16(c, in, false) : insn_la(c, in, n, false);

        soft_ld_bytes(c, la, to, n);
    } else if (op->src == OPD_X) {
        memcpy(a->src, fx_xmm(c, in->rm), 16);
    } else if (op->src == OPD_G) {
        a->gpr = c->r[in->rm];
    }
}

static void set_comis(SoftCpu *c, const SseArgs *a)
{
    flags_set(c, (uint32_t)a->eflags & (FL_CF | FL_PF | FL_ZF));
}

/* mmx: the guest's x87 registers become MMX ones. */
static void run_thunk(
    SoftCpu *c, const Insn *in, const SseOp *op, SseThunk *fn, SseArgs *a, bool mmx)
{
    bool mm = op->dst == OPD_M || op->src == OPD_M;
    SseRun *run = mm ? run_mmx : op->flags & SSE_FP ? run_xmm_fp : sse_run_xmm;

    if (op->src == OPD_M && !(in->flags & INSN_MEM)) {
        a->msrc = mmx_get(c, in->rm);
    }
    if (mmx) {
        mmx_enter(c); /* even if the instruction then raises #XM */
    }
    if (op->dst == OPD_X || op->dst == OPD_NONE) {
        memcpy(a->dst, fx_xmm(c, in->reg), 16);
    } else if (op->dst == OPD_M) {
        a->mdst = mmx_get(c, in->reg);
    }
    if (op->flags & SSE_FP) {
        run_fp(c, run, fn, a);
    } else {
        a->mxcsr = MXCSR_MASKS;
        run(fn, a);
    }
    if (op->dst == OPD_X) {
        memcpy(fx_xmm(c, in->reg), a->dst, 16);
    } else if (op->dst == OPD_M) {
        mmx_set(c, in->reg, a->mdst);
    } else if (op->dst == OPD_G) {
        c->r[in->reg] = op->fnw && gpr_size(in) == 8 ? a->gpr : (uint32_t)a->gpr;
    }
    if (op->flags & SSE_EFL) {
        set_comis(c, a);
    }
}

/* 71, 72, 73: shifts by an immediate. The register form with the count in a register does the same.
 */
static void sse_shift_group(SoftCpu *c, const Insn *in, bool xmm)
{
    static const uint8_t opc[3][8] = { { 0, 0, 0xd1, 0, 0xe1, 0, 0xf1, 0 },
        { 0, 0, 0xd2, 0, 0xe2, 0, 0xf2, 0 }, { 0, 0, 0xd3, 0, 0, 0, 0xf3, 0 } };
    unsigned reg = in->reg & 7, imm = in->imm & 0xff, row = in->opcode - 0x171u;
    bool bytes = xmm && row == 2 && (reg == 3 || reg == 7);
    SseArgs a = { 0 };

    if ((in->flags & INSN_MEM) || (!opc[row][reg] && !bytes)) {
        soft_raise(c, EXC_UD);
    }
    if (!xmm) {
        fp_check_mmx(c);
        a.mdst = mmx_get(c, in->rm);
        a.msrc = imm;
        a.mxcsr = MXCSR_MASKS;
        run_mmx(sse_ops[0][opc[row][reg]].fn, &a);
        mmx_enter(c);
        mmx_set(c, in->rm, a.mdst);
        return;
    }
    fp_check_sse(c);
    memcpy(a.dst, fx_xmm(c, in->rm), 16);
    a.src[0] = (uint8_t)imm;
    if (bytes) {
        SseThunk *base = reg == 3 ? soft_sse_psrldq : soft_sse_pslldq;

        sse_run_xmm((SseThunk *)((uintptr_t)base + imm * THUNK_STRIDE), &a);
    } else {
        sse_run_xmm(sse_ops[1][opc[row][reg]].fn, &a);
    }
    memcpy(fx_xmm(c, in->rm), a.dst, 16);
}

SseThunk *sse_thunk(const Insn *in, const SseOp *op)
{
    SseThunk *fn = op->fnw && gpr_size(in) == 8 ? op->fnw : op->fn;

    return op->flags & SSE_TABLE ? (SseThunk *)((uintptr_t)fn + (in->imm & 0xff) * THUNK_STRIDE)
                                 : fn;
}

/* XMM to XMM without MXCSR and without a third operand: straight on the guest's registers. */
static void compute_integer(SoftCpu *c, const Insn *in, const SseOp *op)
{
    const uint8_t *src = fx_xmm(c, in->rm);
    uint8_t *dst = fx_xmm(c, in->reg);
    alignas(16) uint8_t tmp[16] = { 0 };

    if (in->flags & INSN_MEM) {
        uint64_t la =
            op->flags & SSE_ALIGN ? sse_la16(c, in, false) : insn_la(c, in, op->mem, false);

        src = op->mem == 16 ? soft_hit_r(c->tlb, la, 16) : NULL;
        if (!src) {
            soft_ld_bytes(c, la, tmp, op->mem);
            src = tmp;
        }
    }
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
                     "movdqa (%[d]), %%xmm2\n\tmovdqu (%[s]), %%xmm1\n\t"
                     "call *%[fn]\n\t"
                     "movdqa %%xmm2, (%[d])\n\t"
                     "lea 128(%%rsp), %%rsp"
                     :
                     : [d] "b"(dst), [s] "S"(src), [fn] "r"(sse_thunk(in, op))
                     : "rax", "xmm1", "xmm2", "cc", "memory");
}

void sse_compute(SoftCpu *c, const Insn *in, const SseOp *op)
{
    bool mmx, mem = in->flags & INSN_MEM;
    SseArgs a = { 0 };

    if (!op->fn || (mem ? !op->mem && op->src != OPD_G : op->flags & SSE_MEMONLY)) {
        soft_raise(c, EXC_UD);
    }
    if (op->dst == OPD_X && op->src == OPD_X && !(op->flags & (SSE_FP | SSE_IMPLICIT))) {
        fp_check_sse(c);
        compute_integer(c, in, op);
        return;
    }
    mmx = (op->dst == OPD_M || op->src == OPD_M) && !(mem && op->flags & SSE_MEM_NOMMX);
    if (op->dst == OPD_X || op->src == OPD_X) {
        fp_check_sse(c);
        if (mmx) {
            fp_check_pending(c);
        }
    } else {
        fp_check_mmx(c);
    }
    load_source(c, in, op, &a);
    if (op->flags & SSE_IMPLICIT) {
        memcpy(a.imp, fx_xmm(c, 0), 16);
    }
    run_thunk(c, in, op, sse_thunk(in, op), &a, mmx);
}

const SseOp *sse_op(const Insn *in)
{
    return &sse_ops[sse_prefix(in)][in->opcode & 0xff];
}

void insn_sse(SoftCpu *c, const Insn *in)
{
    unsigned pfx = sse_prefix(in);
    const SseOp *op = sse_op(in);

    if (op->move) {
        sse_move(c, in, op->move);
    } else if (in->opcode >= 0x171 && in->opcode <= 0x173 && pfx < 2) {
        sse_shift_group(c, in, pfx == 1);
    } else {
        sse_compute(c, in, op);
    }
}
