/* The cold instructions' functions, as the decode tables name them. A group function looks at
 * in->opcode and in->reg itself. */
#pragma once

#include "insn.h"

/* seg.c / intr.c / sys.c: segments, far transfers, system instructions */
InsnFn insn_mov_sreg_rm;  /* 8E */
InsnFn insn_mov_rm_sreg;  /* 8C */
InsnFn insn_push_sreg;    /* 06 0E 16 1E 0FA0 0FA8 */
InsnFn insn_pop_sreg;     /* 07 17 1F 0FA1 0FA9 */
InsnFn insn_load_far_ptr; /* LES C4, LDS C5, LSS 0FB2, LFS 0FB4, LGS 0FB5 */
InsnFn insn_jmp_far;      /* EA, FF /5 */
InsnFn insn_call_far;     /* 9A, FF /3 */
InsnFn insn_ret_far;      /* CA, CB */
InsnFn insn_iret;         /* CF */
InsnFn insn_int;          /* CC, CD, CE, F1 */
InsnFn insn_syscall, insn_sysret, insn_sysenter, insn_sysexit; /* 0F05 0F07 0F34 0F35 */
InsnFn insn_grp6; /* 0F00: SLDT STR LLDT LTR VERR VERW */
/* 0F01: SGDT SIDT LGDT LIDT SMSW LMSW INVLPG SWAPGS RDTSCP, XGETBV.. #UD */
InsnFn insn_grp7;
InsnFn insn_lar, insn_lsl;                                         /* 0F02 0F03 */
InsnFn insn_arpl;                                                  /* 63 outside 64-bit mode */
InsnFn insn_clts, insn_wbinvd;                                     /* 0F06; 0F08 0F09 */
InsnFn insn_mov_cr, insn_mov_dr;                                   /* 0F20 0F22; 0F21 0F23 */
InsnFn insn_wrmsr, insn_rdmsr, insn_rdtsc, insn_rdpmc, insn_cpuid; /* 0F30 0F32 0F31 0F33 0FA2 */
InsnFn insn_hlt;                                                   /* F4 */
InsnFn insn_cli, insn_sti;                                         /* FA FB */
InsnFn insn_pushf, insn_popf;                                      /* 9C 9D */
/* 0F0B 0FB9 0FFF, RSM 0FAA and all undefined ones that the decoder accepts */
InsnFn insn_ud;

/* op-string.c, op-io.c */
InsnFn insn_movs, insn_cmps, insn_stos, insn_lods, insn_scas; /* A4.. AF with and without REP */
InsnFn insn_ins, insn_outs;                                   /* 6C 6D 6E 6F */
InsnFn insn_in, insn_out;                                     /* E4 E5 EC ED; E6 E7 EE EF */

/* fpsimd.c */
InsnFn insn_x87;   /* D8..DF */
InsnFn insn_fwait; /* 9B */
InsnFn insn_sse4;  /* maps 0F38 and 0F3A: SSSE3, SSE4.1, SSE4.2 */
InsnFn insn_sse;   /* every MMX, SSE, SSE2 opcode of the 0F map that computes or moves */
/* 0FAE: FXSAVE FXRSTOR LDMXCSR STMXCSR LFENCE MFENCE SFENCE CLFLUSH */
InsnFn insn_grp15;
InsnFn insn_movnti; /* 0FC3 */
InsnFn insn_emms;   /* 0F77 */

/* op-alu.c, op-shift.c, op-muldiv.c */
InsnFn insn_alu;                                  /* 00..3D but the sixes and sevens, 80..83 */
InsnFn insn_test;                                 /* 84 85 A8 A9, F6 F7 /0 /1 */
InsnFn insn_incdec;                               /* 40..4F, FE FF /0 /1 */
InsnFn insn_not, insn_neg;                        /* F6 F7 /2 /3 */
InsnFn insn_shift;                                /* C0 C1 D0..D3 */
InsnFn insn_shd;                                  /* 0FA4 0FA5 SHLD, 0FAC 0FAD SHRD */
InsnFn insn_mul, insn_imul1, insn_div, insn_idiv; /* F6 F7 /4 .. /7 */
InsnFn insn_imul;                                 /* 69 6B 0FAF */
InsnFn insn_daa, insn_aaa, insn_aam, insn_aad;    /* 27 2F, 37 3F, D4, D5 */

/* op-mov.c */
InsnFn insn_mov;                                      /* 88..8B A0..A3 B0..BF C6 C7 */
InsnFn insn_lea, insn_xchg, insn_xlat;                /* 8D; 86 87 90..97; D7 */
InsnFn insn_movx;                                     /* 0FB6 0FB7 0FBE 0FBF */
InsnFn insn_movsxd;                                   /* 63 in 64-bit code */
InsnFn insn_cbw, insn_cwd;                            /* 98, 99 in all sizes */
InsnFn insn_push_rm, insn_push_imm, insn_pop_rm;      /* 50..57 FF /6; 68 6A; 58..5F 8F /0 */
InsnFn insn_pusha, insn_popa, insn_enter, insn_leave; /* 60 61 C8 C9 */
InsnFn insn_cmov, insn_setcc;                         /* 0F4x, 0F9x */
InsnFn insn_lahf, insn_sahf, insn_salc;
InsnFn insn_setflag; /* F5 F8 F9 FC FD: CMC CLC STC CLD STD */
InsnFn insn_bswap;   /* 0FC8.. */
InsnFn insn_nop;     /* 0F0D, 0F18..0F1F */

/* op-lock.c */
InsnFn insn_xadd, insn_cmpxchg; /* 0FC0 0FC1, 0FB0 0FB1 */
InsnFn insn_grp9;               /* 0FC7: CMPXCHG8B, CMPXCHG16B */

/* op-bit.c */
InsnFn insn_bt;               /* 0FA3 0FAB 0FB3 0FBB 0FBA */
InsnFn insn_bsf, insn_popcnt; /* 0FBC 0FBD; F3 0FB8 */

/* op-ctl.c: near transfers */
InsnFn insn_jcc, insn_jmp_rel, insn_jmp_rm, insn_call_rel, insn_call_rm, insn_ret, insn_loop,
    insn_bound;
