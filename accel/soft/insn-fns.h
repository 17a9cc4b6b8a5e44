/* The cold instructions' functions, as the decode tables name them. A group function looks at in->opcode and in->reg itself. */
#pragma once

#include "insn.h"

/* seg.c / intr.c / sys.c: segments, far transfers, system instructions */
InsnFn insn_mov_sreg_rm;   /* 8E */
InsnFn insn_mov_rm_sreg;   /* 8C */
InsnFn insn_push_sreg;     /* 06 0E 16 1E 0FA0 0FA8 */
InsnFn insn_pop_sreg;      /* 07 17 1F 0FA1 0FA9 */
InsnFn insn_load_far_ptr;  /* LES C4, LDS C5, LSS 0FB2, LFS 0FB4, LGS 0FB5 */
InsnFn insn_jmp_far;       /* EA, FF /5 */
InsnFn insn_call_far;      /* 9A, FF /3 */
InsnFn insn_ret_far;       /* CA, CB */
InsnFn insn_iret;          /* CF */
InsnFn insn_int;           /* CC, CD, CE, F1 */
InsnFn insn_syscall, insn_sysret, insn_sysenter, insn_sysexit; /* 0F05 0F07 0F34 0F35 */
InsnFn insn_grp6;          /* 0F00: SLDT STR LLDT LTR VERR VERW */
InsnFn insn_grp7;          /* 0F01: SGDT SIDT LGDT LIDT SMSW LMSW INVLPG SWAPGS RDTSCP, XGETBV.. #UD */
InsnFn insn_lar, insn_lsl; /* 0F02 0F03 */
InsnFn insn_arpl;          /* 63 outside 64-bit mode */
InsnFn insn_clts, insn_wbinvd; /* 0F06; 0F08 0F09 */
InsnFn insn_mov_cr, insn_mov_dr; /* 0F20 0F22; 0F21 0F23 */
InsnFn insn_wrmsr, insn_rdmsr, insn_rdtsc, insn_rdpmc, insn_cpuid; /* 0F30 0F32 0F31 0F33 0FA2 */
InsnFn insn_hlt;           /* F4 */
InsnFn insn_cli, insn_sti; /* FA FB */
InsnFn insn_pushf, insn_popf; /* 9C 9D */
InsnFn insn_ud;            /* 0F0B 0FB9 0FFF, RSM 0FAA and all undefined ones that the decoder accepts */

/* op-string.c, op-io.c */
InsnFn insn_movs, insn_cmps, insn_stos, insn_lods, insn_scas; /* A4.. AF with and without REP */
InsnFn insn_ins, insn_outs;   /* 6C 6D 6E 6F */
InsnFn insn_in, insn_out;     /* E4 E5 EC ED; E6 E7 EE EF */

/* fpsimd.c */
InsnFn insn_x87;              /* D8..DF */
InsnFn insn_fwait;            /* 9B */
InsnFn insn_sse;              /* every MMX, SSE, SSE2 opcode of the 0F map that computes or moves */
InsnFn insn_grp15;            /* 0FAE: FXSAVE FXRSTOR LDMXCSR STMXCSR LFENCE MFENCE SFENCE CLFLUSH */
InsnFn insn_movnti;           /* 0FC3 */
InsnFn insn_emms;             /* 0F77 */
