/*
 * The host instructions behind fpsimd-ops.h, assembled at compile time: nothing executable is made
 * at run time. Operands: source xmm1, mm1 or rax; destination xmm2, mm2 or rax. An instruction with
 * an immediate is a table of 256, 16 bytes apart.
 */
#ifndef __x86_64__
#error "FP and SIMD run on the host's unit: an x86-64 host is needed"
#endif

#define THUNK_BEGIN(name)                                                                          \
    ".pushsection .text.soft_sse, \"ax\", @progbits\n.balign 16\n.globl soft_sse_" #name           \
    "\n.hidden soft_sse_" #name "\n.type soft_sse_" #name ", @function\nsoft_sse_" #name ":\n"
#define THUNK_END                         "\nret\n.popsection\n"
#define SSE_OP(pfx, opc, name, text, ...) __asm__(THUNK_BEGIN(name) text THUNK_END);
#define SSE_OPW(pfx, opc, name, text, textw, ...)                                                  \
    __asm__(THUNK_BEGIN(name) text THUNK_END);                                                     \
    __asm__(THUNK_BEGIN(name##_w) textw THUNK_END);
#define SSE_IMM(pfx, opc, name, text, ...)                                                         \
    __asm__(THUNK_BEGIN(name) ".set .Lsse_i, 0\n.rept 256\n.balign 16\n" text                      \
                              "\nret\n.set .Lsse_i, .Lsse_i + 1\n.endr\n.popsection\n");
#define SSE_IMMW(pfx, opc, name, text, textw, ...)                                                 \
    SSE_IMM(pfx, opc, name, text, 0)                                                               \
    SSE_IMM(pfx, opc, name##_w, textw, 0)
#include "fpsimd-ops.h"
#include "fpsimd-ops4.h"
SSE_IMM(1, 0x73, psrldq, "psrldq $.Lsse_i, %xmm2", 0)
SSE_IMM(1, 0x73, pslldq, "pslldq $.Lsse_i, %xmm2", 0)
