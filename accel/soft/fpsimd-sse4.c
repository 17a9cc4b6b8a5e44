/*
 * SSSE3, SSE4.1 and SSE4.2 (SDM vol. 1, chapter 12; vol. 2): maps 0F 38 and 0F 3A. Undefined unless
 * the CPU model offers them; models take these features from the host only, since they run on its
 * unit.
 */
#include "fpsimd-run.h"

#define SSE_OP(pfx, opc, name, text, ...)  extern SseThunk soft_sse_##name;
#define SSE_IMM(pfx, opc, name, text, ...) extern SseThunk soft_sse_##name;
#define SSE_IMMW(pfx, opc, name, text, textw, ...)                                                 \
    extern SseThunk soft_sse_##name, soft_sse_##name##_w;
#include "fpsimd-ops4.h"
#undef SSE_OP
#undef SSE_IMM
#undef SSE_IMMW

#define SSE_OP(pfx, opc, name, text, d, s, m, f)                                                   \
    [pfx][opc] = { .fn = soft_sse_##name, .dst = d, .src = s, .mem = m, .flags = f },
#define SSE_IMM(pfx, opc, name, text, d, s, m, f)                                                  \
    [pfx][opc] = { .fn = soft_sse_##name, .dst = d, .src = s, .mem = m, .flags = (f) | SSE_TABLE },
#define SSE_IMMW(pfx, opc, name, text, textw, d, s, m, f)                                          \
    [pfx][opc] = { .fn = soft_sse_##name,                                                          \
        .fnw = soft_sse_##name##_w,                                                                \
        .dst = d,                                                                                  \
        .src = s,                                                                                  \
        .mem = m,                                                                                  \
        .flags = (f) | SSE_TABLE },
static const SseOp sse4_ops[2][512] = {
#include "fpsimd-ops4.h"
};

enum { F1_ECX_SSSE3 = 1 << 9, F1_ECX_SSE41 = 1 << 19, F1_ECX_SSE42 = 1 << 20 };

static bool offered(const SoftCpu *c, unsigned flags)
{
    uint32_t f = c->model->f1_ecx;

    if (flags & SSE_SSSE3) {
        return f & F1_ECX_SSSE3 && __builtin_cpu_supports("ssse3");
    }
    if (flags & SSE_SSE41) {
        return f & F1_ECX_SSE41 && __builtin_cpu_supports("sse4.1");
    }
    return f & F1_ECX_SSE42 && __builtin_cpu_supports("sse4.2");
}

/* PEXTRB, PEXTRW, PEXTRD/Q, EXTRACTPS: to a register zero-extended to 32 bits at least. */
static void extract(SoftCpu *c, const Insn *in, const SseOp *op)
{
    unsigned wide = in->flags & INSN_REXW ? 8 : 4, n = op->mem ? op->mem : wide;
    SseArgs a = { 0 };

    fp_check_sse(c);
    memcpy(a.dst, fx_xmm(c, in->reg), 16);
    sse_run_xmm(sse_thunk(in, op), &a);
    if (in->flags & INSN_MEM) {
        mem_st(c, insn_la(c, in, n, true), n, a.gpr);
    } else {
        c->r[in->rm] = op->mem || wide == 4 ? (uint32_t)a.gpr : a.gpr;
    }
}

/* An explicit length: beyond the range of 32 bits only "too long" matters. */
static uint64_t string_length(const SoftCpu *c, const Insn *in, unsigned reg)
{
    int64_t v = (int64_t)c->r[reg];

    if (!(in->flags & INSN_REXW)) {
        return (uint32_t)v;
    }
    return (uint32_t)(v > 64 ? 64 : v < -64 ? -64 : v);
}

static void run_string(SseThunk *fn, SseArgs *a)
{
    uint32_t of;

    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\t"
        "movdqa (%[a]), %%xmm2\n\tmovdqa 16(%[a]), %%xmm1\n\tmov 48(%[a]), %%rax\n\t"
        "mov 72(%[a]), %%rdx\n\t"
        "call *%[fn]\n\t"
        "mov $0, %%eax\n\tseto %%al\n\tmov %%eax, %%edx\n\tlahf\n\tmovzbl %%ah, %%eax\n\t"
        "mov %%rcx, 48(%[a])\n\tmov %%rax, 64(%[a])\n\tmovdqa %%xmm0, 80(%[a])\n\t"
        "lea 128(%%rsp), %%rsp"
        : "=&d"(of)
        : [a] "b"(a), [fn] "r"(fn)
        : "rax", "rcx", "xmm0", "xmm1", "xmm2", "cc", "memory");
    a->eflags |= of ? FL_OF : 0;
}

/* PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI; the memory operand need not be aligned. */
static void string_compare(SoftCpu *c, const Insn *in, const SseOp *op)
{
    SseArgs a = { 0 };

    fp_check_sse(c);
    memcpy(a.dst, fx_xmm(c, in->reg), 16);
    if (in->flags & INSN_MEM) {
        soft_ld_bytes(c, insn_la(c, in, 16, false), a.src, 16);
    } else {
        memcpy(a.src, fx_xmm(c, in->rm), 16);
    }
    a.gpr = string_length(c, in, R_AX);
    a.gpr2 = string_length(c, in, R_DX);
    run_string(sse_thunk(in, op), &a);
    if (in->opcode & 1) {
        c->r[R_CX] = (uint32_t)a.gpr;
    } else {
        memcpy(fx_xmm(c, 0), a.imp, 16);
    }
    flags_set(c, (uint32_t)a.eflags & (FL_CF | FL_ZF | FL_SF | FL_OF));
}

/* CRC32 r, r/m: the Castagnoli polynomial, reflected; bit by bit. */
static void crc32(SoftCpu *c, const Insn *in)
{
    unsigned n = in->opcode == 0x2f0 ? 1 : in->opsize;
    uint64_t v = insn_get_rm(c, in, n);
    uint32_t crc = (uint32_t)c->r[in->reg];

    for (unsigned i = 0; i < n * 8; i++, v >>= 1) {
        crc = crc >> 1 ^ ((crc ^ v) & 1 ? 0x82f63b78u : 0);
    }
    c->r[in->reg] = crc;
}

void insn_sse4(SoftCpu *c, const Insn *in)
{
    unsigned pfx = sse_prefix(in);
    const SseOp *op = pfx < 2 ? &sse4_ops[pfx][in->opcode - 0x200] : NULL;

    if (pfx == 3 && (in->opcode == 0x2f0 || in->opcode == 0x2f1) && offered(c, SSE_SSE42)) {
        crc32(c, in);
        return;
    }
    if (!op || !op->fn || !offered(c, op->flags)) {
        soft_raise(c, EXC_UD);
    }
    if (op->flags & SSE_EXTRACT) {
        extract(c, in, op);
    } else if (op->flags & SSE_STRING) {
        string_compare(c, in, op);
    } else if (in->opcode == 0x321 && in->flags & INSN_MEM) {
        Insn m = *in; /* INSERTPS from memory has no source lane to choose */

        m.imm &= 0x3f;
        sse_compute(c, &m, op);
    } else {
        sse_compute(c, in, op);
    }
}
