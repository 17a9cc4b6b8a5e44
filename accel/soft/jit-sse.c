/*
 * Generated code of SSE: data movement, and what computes on integers and bits, that is without
 * MXCSR. The guest's XMM registers are in SoftCpu.fx; of the host's XMM0 and XMM1 serve. Whether
 * the guest may use SSE now is part of the block's mode.
 */
#include "fpsimd-run.h"
#include "insn-fns.h"
#include "jit.h"

enum { X_0, X_1 };

static const uint8_t prefixes[] = { 0, 0x66, 0xf3, 0xf2 };

static void emit_sse(Emit *e, unsigned pfx, unsigned opcode, unsigned reg, Rm m)
{
    if (pfx) {
        emit8(e, prefixes[pfx]);
    }
    emit_op(e, 32, 0x100 | (opcode & 0xff), reg, m);
}

/* Half of a guest's XMM register, or the whole from half 0 on. */
static Rm xmm(unsigned reg, unsigned half)
{
    return rm_at(H_DI, (int32_t)(offsetof(SoftCpu, fx) + FX_XMM + reg * 16 + half * 8));
}

/* Forms */

enum { SHIFT_GROUP = 0x171 };

/* SDM vol. 2, groups 12 to 14: which rows of 66 0F 71..73 there are, by the reg field. */
static bool shift_form(const Insn *in, JitSse *ret)
{
    static const uint8_t rows[] = { 1 << 2 | 1 << 4 | 1 << 6, 1 << 2 | 1 << 4 | 1 << 6,
        1 << 2 | 1 << 3 | 1 << 6 | 1 << 7 };

    *ret = (JitSse){ .kind = JIT_SSE_SHIFT };
    return !(in->flags & INSN_MEM) && sse_prefix(in) == 1 &&
           rows[in->opcode - SHIFT_GROUP] & 1u << (in->reg & 7);
}

static bool compute_form(const Insn *in, const SseOp *op, JitSse *ret)
{
    bool mem = in->flags & INSN_MEM;

    *ret = (JitSse){ .kind = JIT_SSE_COMPUTE, .size = op->mem };
    ret->aligned = op->flags & SSE_ALIGN;
    if (!op->fn || op->src != OPD_X || (op->flags & ~(unsigned)(SSE_ALIGN | SSE_TABLE))) {
        return false;
    }
    if (op->dst == OPD_G) {
        ret->kind = JIT_SSE_MASK;
        ret->written = 1u << in->reg;
        return !mem;
    }
    return op->dst == OPD_X && (!mem || op->mem);
}

static bool move_full_form(const Insn *in, unsigned move, JitSse *ret)
{
    bool store = move == MV_STOREA || move == MV_STOREU || move == MV_STORENT;

    *ret = (JitSse){ .kind = JIT_SSE_FULL, .size = 16, .store = store };
    ret->aligned = move == MV_LOADA || move == MV_STOREA || move == MV_STORENT;
    return in->flags & INSN_MEM || (move != MV_STORENT && move != MV_LDDQU);
}

/* Four or eight bytes from or to a half of a register. */
static bool move_half_form(const Insn *in, unsigned move, JitSse *ret)
{
    bool mem = in->flags & INSN_MEM;
    unsigned gpr_size = in->flags & INSN_REXW ? 8 : 4;
    JitSse *f = ret;

    *f = (JitSse){ .kind = JIT_SSE_HALF, .size = 8 };
    switch (move) {
    case MV_LOADSS:
    case MV_LOADSD:
        f->size = move == MV_LOADSS ? 4 : 8;
        f->zext = mem;
        return true;
    case MV_STORESS:
    case MV_STORESD:
        f->size = move == MV_STORESS ? 4 : 8;
        f->store = true;
        return true;
    case MV_LOADL:
    case MV_LOADL_PD:
        f->rm_half = 1; /* MOVHLPS */
        return mem || move == MV_LOADL;
    case MV_LOADH:
    case MV_LOADH_PD:
        f->reg_half = 1;
        return mem || move == MV_LOADH;
    case MV_STOREL:
    case MV_STOREH:
        f->store = true;
        f->reg_half = move == MV_STOREH;
        return mem;
    case MV_MOVQ_X:
        f->zext = true;
        return true;
    case MV_MOVQ_ST:
        f->store = true;
        f->zext = !mem;
        return true;
    case MV_MOVD_X:
        f->size = (uint8_t)gpr_size;
        f->zext = true;
        f->gpr = !mem;
        return true;
    case MV_MOVD_RX:
        f->size = (uint8_t)gpr_size;
        f->store = true;
        f->gpr = !mem;
        f->written = mem ? 0 : 1u << in->rm;
        return true;
    default:
        return false;
    }
}

bool jit_sse_form(const Insn *in, JitSse *ret)
{
    const SseOp *op;

    if (in->fn != insn_sse) {
        return false;
    }
    if (in->opcode >= SHIFT_GROUP && in->opcode < SHIFT_GROUP + 3) {
        return shift_form(in, ret);
    }
    op = sse_op(in);
    if (!op->move) {
        return compute_form(in, op, ret);
    }
    return (op->move >= MV_LOADA && op->move <= MV_STORENT) || op->move == MV_LDDQU
               ? move_full_form(in, op->move, ret)
               : move_half_form(in, op->move, ret);
}

/* Code */

/* The memory operand. SDM vol. 2: an operand that is not aligned is #GP, where it must be. */
static Rm operand(JitBlock *b, const JitSse *f)
{
    Rm m = jit_mem(b, f->size * 8u, f->store);

    if (f->aligned) {
        if (m.base != H_AX || m.disp) {
            emit_op(&b->e, 64, 0x8d, H_AX, m);
        }
        emit8(&b->e, 0xa8); /* TEST AL */
        emit8(&b->e, 15);
        jit_miss(b, H_NE);
        b->host = JIT_HOST_NONE;
        return rm_at(H_AX, 0);
    }
    return m;
}

static void full(JitBlock *b, const Insn *in, const JitSse *f)
{
    enum { LOAD_UNALIGNED = 0x10, LOAD = 0x28, STORE_UNALIGNED = 0x11, STORE };
    bool mem = in->flags & INSN_MEM;
    Rm rm = mem ? operand(b, f) : xmm(in->rm, 0), reg = xmm(in->reg, 0);
    Rm from = f->store ? reg : rm, to = f->store ? rm : reg;

    emit_sse(&b->e, 0, mem && !f->store ? LOAD_UNALIGNED : LOAD, X_0, from);
    emit_sse(&b->e, 0, mem && f->store ? STORE_UNALIGNED : LOAD + 1, X_0, to);
}

static void half(JitBlock *b, const Insn *in, const JitSse *f)
{
    Rm reg = xmm(in->reg, f->reg_half), rm;

    if (in->flags & INSN_MEM) {
        rm = operand(b, f);
    } else {
        rm = f->gpr ? jit_guest(in->rm) : xmm(in->rm, f->rm_half);
    }
    bool wide = f->zext || (f->gpr && f->store);
    emit_mov(&b->e, f->size * 8u, H_CX, f->store ? reg : rm);
    emit_store(&b->e, wide ? 64 : f->size * 8u, f->store ? rm : reg, H_CX);
    if (f->zext) {
        emit_store_imm(&b->e, 64, xmm(f->store ? in->rm : in->reg, 1), 0);
    }
}

static void opcode_on(JitBlock *b, const Insn *in, unsigned reg, Rm m)
{
    emit_sse(&b->e, sse_prefix(in), in->opcode, reg, m);
    if (sse_op(in)->flags & SSE_TABLE) {
        emit8(&b->e, (uint8_t)in->imm);
    }
}

static void compute(JitBlock *b, const Insn *in, const JitSse *f)
{
    Rm src = in->flags & INSN_MEM ? operand(b, f) : xmm(in->rm, 0);

    emit_sse(&b->e, 0, 0x28, X_0, xmm(in->reg, 0));
    opcode_on(b, in, X_0, src);
    emit_sse(&b->e, 0, 0x29, X_0, xmm(in->reg, 0));
}

static void mask(JitBlock *b, const Insn *in)
{
    emit_sse(&b->e, 0, 0x28, X_0, xmm(in->rm, 0));
    opcode_on(b, in, H_AX, rm_reg(X_0));
    emit_store(&b->e, 64, jit_guest(in->reg), H_AX);
}

static void shift(JitBlock *b, const Insn *in)
{
    emit_sse(&b->e, 0, 0x28, X_0, xmm(in->rm, 0));
    emit_sse(&b->e, 1, in->opcode, in->reg & 7, rm_reg(X_0));
    emit8(&b->e, (uint8_t)in->imm);
    emit_sse(&b->e, 0, 0x29, X_0, xmm(in->rm, 0));
}

bool jit_sse(JitBlock *b)
{
    const Insn *in = &b->in[b->i];
    JitSse f;

    if (!jit_sse_allowed(b) || !jit_sse_form(in, &f)) {
        return false;
    }
    switch (f.kind) {
    case JIT_SSE_FULL:
        full(b, in, &f);
        break;
    case JIT_SSE_HALF:
        half(b, in, &f);
        break;
    case JIT_SSE_COMPUTE:
        compute(b, in, &f);
        break;
    case JIT_SSE_MASK:
        mask(b, in);
        break;
    case JIT_SSE_SHIFT:
        shift(b, in);
        break;
    }
    return true;
}
