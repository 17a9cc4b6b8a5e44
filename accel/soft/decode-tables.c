/* Opcode maps (SDM vol. 2, appendix A): one-byte, 0F, and the groups that need a table of their
 * own. */
#include "decode-tables.h"

/* clang-format off */
#define ALU(b, lk) \
    [b] = { .fn = insn_alu, A_M | A_B, 0, lk }, [b + 1] = { .fn = insn_alu, A_M, 0, lk }, \
    [b + 2] = { .fn = insn_alu, A_M | A_B }, [b + 3] = { .fn = insn_alu, A_M }, \
    [b + 4] = { .fn = insn_alu, A_B, I_B }, [b + 5] = { .fn = insn_alu, 0, I_Z }

static const DecEntry grp_8f[8] = { [0] = { .fn = insn_pop_rm, A_M | A_GRP | A_D64 } };
static const DecEntry grp_c6[8] = { [0] = { .fn = insn_mov, A_M | A_GRP | A_B, I_B } };
static const DecEntry grp_c7[8] = { [0] = { .fn = insn_mov, A_M | A_GRP, I_Z } };
static const DecEntry grp_f6[8] = {
    [0 ... 1] = { .fn = insn_test, A_M | A_GRP | A_B, I_B }, [2] = { .fn = insn_not, A_M | A_GRP | A_B, 0, 0xff },
    [3] = { .fn = insn_neg, A_M | A_GRP | A_B, 0, 0xff }, [4] = { .fn = insn_mul, A_M | A_GRP | A_B },
    [5] = { .fn = insn_imul1, A_M | A_GRP | A_B }, [6] = { .fn = insn_div, A_M | A_GRP | A_B },
    [7] = { .fn = insn_idiv, A_M | A_GRP | A_B },
};
static const DecEntry grp_f7[8] = {
    [0 ... 1] = { .fn = insn_test, A_M | A_GRP, I_Z }, [2] = { .fn = insn_not, A_M | A_GRP, 0, 0xff },
    [3] = { .fn = insn_neg, A_M | A_GRP, 0, 0xff }, [4] = { .fn = insn_mul, A_M | A_GRP },
    [5] = { .fn = insn_imul1, A_M | A_GRP }, [6] = { .fn = insn_div, A_M | A_GRP },
    [7] = { .fn = insn_idiv, A_M | A_GRP },
};
static const DecEntry grp_fe[8] = { [0 ... 1] = { .fn = insn_incdec, A_M | A_GRP | A_B, 0, 0xff } };
static const DecEntry grp_ff[8] = {
    [0 ... 1] = { .fn = insn_incdec, A_M | A_GRP, 0, 0xff }, [2] = { .fn = insn_call_rm, A_M | A_GRP | A_F64 | A_END },
    [3] = { .fn = insn_call_far, A_M | A_GRP | A_MEM | A_END }, [4] = { .fn = insn_jmp_rm, A_M | A_GRP | A_F64 | A_END },
    [5] = { .fn = insn_jmp_far, A_M | A_GRP | A_MEM | A_END }, [6] = { .fn = insn_push_rm, A_M | A_GRP | A_D64 },
};
static const DecEntry grp_0fba[8] = {
    [4] = { .fn = insn_bt, A_M | A_GRP, I_B }, [5 ... 7] = { .fn = insn_bt, A_M | A_GRP, I_B, 0xff },
};

const DecEntry dec_one[256] = {
    ALU(0x00, 0xff), ALU(0x08, 0xff), ALU(0x10, 0xff), ALU(0x18, 0xff),
    ALU(0x20, 0xff), ALU(0x28, 0xff), ALU(0x30, 0xff), ALU(0x38, 0),
    [0x06] = { .fn = insn_push_sreg, A_N64 }, [0x07] = { .fn = insn_pop_sreg, A_N64 },
    [0x0e] = { .fn = insn_push_sreg, A_N64 },
    [0x16] = { .fn = insn_push_sreg, A_N64 }, [0x17] = { .fn = insn_pop_sreg, A_N64 },
    [0x1e] = { .fn = insn_push_sreg, A_N64 }, [0x1f] = { .fn = insn_pop_sreg, A_N64 },
    [0x27] = { .fn = insn_daa, A_N64 }, [0x2f] = { .fn = insn_daa, A_N64 },
    [0x37] = { .fn = insn_aaa, A_N64 }, [0x3f] = { .fn = insn_aaa, A_N64 },
    [0x40 ... 0x4f] = { .fn = insn_incdec, A_N64 },
    [0x50 ... 0x57] = { .fn = insn_push_rm, A_D64 }, [0x58 ... 0x5f] = { .fn = insn_pop_rm, A_D64 },
    [0x60] = { .fn = insn_pusha, A_N64 }, [0x61] = { .fn = insn_popa, A_N64 },
    [0x62] = { .fn = insn_bound, A_N64 | A_M | A_MEM },
    [0x63] = { .fn = insn_arpl, A_M | A_W }, /* 64-bit code: MOVSXD, see decode.c */
    [0x68] = { .fn = insn_push_imm, A_D64, I_Z }, [0x69] = { .fn = insn_imul, A_M, I_Z },
    [0x6a] = { .fn = insn_push_imm, A_D64, I_B }, [0x6b] = { .fn = insn_imul, A_M, I_B },
    [0x6c] = { .fn = insn_ins, A_B }, [0x6d] = { .fn = insn_ins, A_MAX4 },
    [0x6e] = { .fn = insn_outs, A_B }, [0x6f] = { .fn = insn_outs, A_MAX4 },
    [0x70 ... 0x7f] = { .fn = insn_jcc, A_F64 | A_END, I_JB },
    [0x80] = { .fn = insn_alu, A_M | A_B | A_GRP, I_B, 0x7f }, [0x81] = { .fn = insn_alu, A_M | A_GRP, I_Z, 0x7f },
    [0x82] = { .fn = insn_alu, A_M | A_B | A_GRP | A_N64, I_B, 0x7f },
    [0x83] = { .fn = insn_alu, A_M | A_GRP, I_B, 0x7f },
    [0x84] = { .fn = insn_test, A_M | A_B }, [0x85] = { .fn = insn_test, A_M },
    [0x86] = { .fn = insn_xchg, A_M | A_B, 0, 0xff }, [0x87] = { .fn = insn_xchg, A_M, 0, 0xff },
    [0x88] = { .fn = insn_mov, A_M | A_B }, [0x89] = { .fn = insn_mov, A_M },
    [0x8a] = { .fn = insn_mov, A_M | A_B }, [0x8b] = { .fn = insn_mov, A_M },
    [0x8c] = { .fn = insn_mov_rm_sreg, A_M | A_GRP }, [0x8d] = { .fn = insn_lea, A_M | A_MEM },
    [0x8e] = { .fn = insn_mov_sreg_rm, A_M | A_GRP }, [0x8f] = { .sub = grp_8f, A_M | A_SUB },
    [0x90 ... 0x97] = { .fn = insn_xchg }, /* 90h without REX.B does nothing: insn_xchg knows */
    [0x98] = { .fn = insn_cbw }, [0x99] = { .fn = insn_cwd },
    [0x9a] = { .fn = insn_call_far, A_N64 | A_END, I_FAR }, [0x9b] = { .fn = insn_fwait },
    [0x9c] = { .fn = insn_pushf, A_D64 }, [0x9d] = { .fn = insn_popf, A_D64 },
    [0x9e] = { .fn = insn_sahf }, [0x9f] = { .fn = insn_lahf },
    [0xa0] = { .fn = insn_mov, A_B, I_MOFFS }, [0xa1] = { .fn = insn_mov, 0, I_MOFFS },
    [0xa2] = { .fn = insn_mov, A_B, I_MOFFS }, [0xa3] = { .fn = insn_mov, 0, I_MOFFS },
    [0xa4] = { .fn = insn_movs, A_B }, [0xa5] = { .fn = insn_movs },
    [0xa6] = { .fn = insn_cmps, A_B }, [0xa7] = { .fn = insn_cmps },
    [0xa8] = { .fn = insn_test, A_B, I_B }, [0xa9] = { .fn = insn_test, 0, I_Z },
    [0xaa] = { .fn = insn_stos, A_B }, [0xab] = { .fn = insn_stos },
    [0xac] = { .fn = insn_lods, A_B }, [0xad] = { .fn = insn_lods },
    [0xae] = { .fn = insn_scas, A_B }, [0xaf] = { .fn = insn_scas },
    [0xb0 ... 0xb7] = { .fn = insn_mov, A_B, I_B }, [0xb8 ... 0xbf] = { .fn = insn_mov, 0, I_V },
    [0xc0] = { .fn = insn_shift, A_M | A_B | A_GRP, I_B }, [0xc1] = { .fn = insn_shift, A_M | A_GRP, I_B },
    [0xc2] = { .fn = insn_ret, A_F64 | A_END, I_W }, [0xc3] = { .fn = insn_ret, A_F64 | A_END },
    [0xc4] = { .fn = insn_load_far_ptr, A_M | A_MEM | A_N64 },
    [0xc5] = { .fn = insn_load_far_ptr, A_M | A_MEM | A_N64 },
    [0xc6] = { .sub = grp_c6, A_M | A_SUB }, [0xc7] = { .sub = grp_c7, A_M | A_SUB },
    [0xc8] = { .fn = insn_enter, A_D64, I_ENTER }, [0xc9] = { .fn = insn_leave, A_D64 },
    [0xca] = { .fn = insn_ret_far, A_END, I_W }, [0xcb] = { .fn = insn_ret_far, A_END },
    [0xcc] = { .fn = insn_int, A_END }, [0xcd] = { .fn = insn_int, A_END, I_B },
    [0xce] = { .fn = insn_int, A_N64 | A_END }, [0xcf] = { .fn = insn_iret, A_END },
    [0xd0] = { .fn = insn_shift, A_M | A_B | A_GRP }, [0xd1] = { .fn = insn_shift, A_M | A_GRP },
    [0xd2] = { .fn = insn_shift, A_M | A_B | A_GRP }, [0xd3] = { .fn = insn_shift, A_M | A_GRP },
    [0xd4] = { .fn = insn_aam, A_B | A_N64, I_B }, [0xd5] = { .fn = insn_aad, A_B | A_N64, I_B },
    [0xd6] = { .fn = insn_salc, A_B | A_N64 }, [0xd7] = { .fn = insn_xlat, A_B },
    [0xd8 ... 0xdf] = { .fn = insn_x87, A_M | A_GRP },
    [0xe0 ... 0xe3] = { .fn = insn_loop, A_F64 | A_END, I_JB },
    [0xe4] = { .fn = insn_in, A_B, I_B }, [0xe5] = { .fn = insn_in, A_MAX4, I_B },
    [0xe6] = { .fn = insn_out, A_B, I_B }, [0xe7] = { .fn = insn_out, A_MAX4, I_B },
    [0xe8] = { .fn = insn_call_rel, A_F64 | A_END, I_JZ }, [0xe9] = { .fn = insn_jmp_rel, A_F64 | A_END, I_JZ },
    [0xea] = { .fn = insn_jmp_far, A_N64 | A_END, I_FAR }, [0xeb] = { .fn = insn_jmp_rel, A_F64 | A_END, I_JB },
    [0xec] = { .fn = insn_in, A_B }, [0xed] = { .fn = insn_in, A_MAX4 },
    [0xee] = { .fn = insn_out, A_B }, [0xef] = { .fn = insn_out, A_MAX4 },
    [0xf1] = { .fn = insn_int, A_END }, [0xf4] = { .fn = insn_hlt, A_END }, [0xf5] = { .fn = insn_setflag },
    [0xf6] = { .sub = grp_f6, A_M | A_SUB }, [0xf7] = { .sub = grp_f7, A_M | A_SUB },
    [0xf8 ... 0xf9] = { .fn = insn_setflag }, [0xfa] = { .fn = insn_cli }, [0xfb] = { .fn = insn_sti },
    [0xfc ... 0xfd] = { .fn = insn_setflag },
    [0xfe] = { .sub = grp_fe, A_M | A_SUB }, [0xff] = { .sub = grp_ff, A_M | A_SUB },
};

const DecEntry dec_0f[256] = {
    [0x00] = { .fn = insn_grp6, A_M | A_GRP }, [0x01] = { .fn = insn_grp7, A_M | A_GRP },
    [0x02] = { .fn = insn_lar, A_M }, [0x03] = { .fn = insn_lsl, A_M },
    [0x05] = { .fn = insn_syscall, A_END }, [0x06] = { .fn = insn_clts }, [0x07] = { .fn = insn_sysret, A_END },
    [0x08] = { .fn = insn_wbinvd }, [0x09] = { .fn = insn_wbinvd }, [0x0b] = { .fn = insn_ud, A_END },
    [0x0d] = { .fn = insn_nop, A_M },
    [0x10 ... 0x17] = { .fn = insn_sse, A_M }, [0x18 ... 0x1f] = { .fn = insn_nop, A_M },
    [0x20] = { .fn = insn_mov_cr, A_M | A_REG | A_END }, [0x21] = { .fn = insn_mov_dr, A_M | A_REG },
    [0x22] = { .fn = insn_mov_cr, A_M | A_REG | A_END }, [0x23] = { .fn = insn_mov_dr, A_M | A_REG },
    [0x28 ... 0x2f] = { .fn = insn_sse, A_M },
    [0x30] = { .fn = insn_wrmsr }, [0x31] = { .fn = insn_rdtsc }, [0x32] = { .fn = insn_rdmsr },
    [0x33] = { .fn = insn_rdpmc }, [0x34] = { .fn = insn_sysenter, A_END }, [0x35] = { .fn = insn_sysexit, A_END },
    [0x40 ... 0x4f] = { .fn = insn_cmov, A_M }, [0x50 ... 0x6f] = { .fn = insn_sse, A_M },
    [0x70 ... 0x73] = { .fn = insn_sse, A_M, I_B }, [0x74 ... 0x76] = { .fn = insn_sse, A_M },
    [0x77] = { .fn = insn_emms }, [0x7c ... 0x7f] = { .fn = insn_sse, A_M },
    [0x80 ... 0x8f] = { .fn = insn_jcc, A_F64 | A_END, I_JZ }, [0x90 ... 0x9f] = { .fn = insn_setcc, A_M | A_B },
    [0xa0] = { .fn = insn_push_sreg, A_D64 }, [0xa1] = { .fn = insn_pop_sreg, A_D64 },
    [0xa2] = { .fn = insn_cpuid }, [0xa3] = { .fn = insn_bt, A_M },
    [0xa4] = { .fn = insn_shd, A_M, I_B }, [0xa5] = { .fn = insn_shd, A_M },
    [0xa8] = { .fn = insn_push_sreg, A_D64 }, [0xa9] = { .fn = insn_pop_sreg, A_D64 },
    [0xaa] = { .fn = insn_ud, A_END }, [0xab] = { .fn = insn_bt, A_M, 0, 0xff },
    [0xac] = { .fn = insn_shd, A_M, I_B }, [0xad] = { .fn = insn_shd, A_M },
    [0xae] = { .fn = insn_grp15, A_M | A_GRP }, [0xaf] = { .fn = insn_imul, A_M },
    [0xb0] = { .fn = insn_cmpxchg, A_M | A_B, 0, 0xff }, [0xb1] = { .fn = insn_cmpxchg, A_M, 0, 0xff },
    [0xb2] = { .fn = insn_load_far_ptr, A_M | A_MEM }, [0xb3] = { .fn = insn_bt, A_M, 0, 0xff },
    [0xb4] = { .fn = insn_load_far_ptr, A_M | A_MEM }, [0xb5] = { .fn = insn_load_far_ptr, A_M | A_MEM },
    [0xb6 ... 0xb7] = { .fn = insn_movx, A_M }, [0xb8] = { .fn = insn_popcnt, A_M },
    [0xb9] = { .fn = insn_ud, A_M | A_END }, [0xba] = { .sub = grp_0fba, A_M | A_SUB },
    [0xbb] = { .fn = insn_bt, A_M, 0, 0xff }, [0xbc ... 0xbd] = { .fn = insn_bsf, A_M },
    [0xbe ... 0xbf] = { .fn = insn_movx, A_M },
    [0xc0] = { .fn = insn_xadd, A_M | A_B, 0, 0xff }, [0xc1] = { .fn = insn_xadd, A_M, 0, 0xff },
    [0xc2] = { .fn = insn_sse, A_M, I_B }, [0xc3] = { .fn = insn_movnti, A_M | A_MEM },
    [0xc4 ... 0xc6] = { .fn = insn_sse, A_M, I_B }, [0xc7] = { .fn = insn_grp9, A_M | A_GRP, 0, 1 << 1 },
    [0xc8 ... 0xcf] = { .fn = insn_bswap }, [0xd0 ... 0xfe] = { .fn = insn_sse, A_M },
    [0xff] = { .fn = insn_ud, A_M | A_END },
};
/* clang-format on */
