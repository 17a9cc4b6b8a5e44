/* The decoder's output, shared by the interpreter, the FP thunks, the disassembler of faults and a
 * later translator. */
#pragma once

#include "soft.h"

/* A cold instruction: everything that is not worth a handler of its own in the block interpreter.
 */
typedef void InsnFn(SoftCpu *c, const Insn *in);

enum { REP_NONE, REP_E, REP_NE }; /* F3, F2 */
enum {
    INSN_LOCK = 1 << 0,
    INSN_66 = 1 << 1,
    INSN_67 = 1 << 2,
    INSN_REX = 1 << 3,
    INSN_REXW = 1 << 4,
    INSN_MEM = 1 << 5,
    INSN_RIP = 1 << 6,
    INSN_SEG_PREFIX = 1 << 7,
    INSN_ENDS = 1 << 8 /* a block ends here: control goes elsewhere */
};

struct Insn {
    InsnFn *fn;      /* executes it; set by the tables */
    uint64_t ip;     /* offset in CS of its first byte */
    uint64_t imm;    /* sign-extended as the encoding says; MOV r64,imm64 in full; moffs in full */
    int64_t disp;    /* displacement; RIP-relative: already ip + len + disp32 */
    uint16_t opcode; /* 0x00..0xff one byte, 0x100..0x1ff 0F xx, 0x200.. 0F38 xx, 0x300.. 0F3A xx */
    uint16_t flags;  /* INSN_* */
    uint8_t len;
    uint8_t opsize;             /* 1, 2, 4, 8: the operation's size after prefixes and defaults */
    uint8_t adsize;             /* 2, 4, 8 */
    uint8_t stsize;             /* stack operation's size: 2, 4, 8 */
    uint8_t rep;                /* REP_* */
    uint8_t modrm;              /* raw byte, 0 if none */
    uint8_t mod;                /* 0..3 */
    uint8_t reg;                /* with REX.R */
    uint8_t rm;                 /* with REX.B; register number when mod == 3 */
    uint8_t base, index, scale; /* register numbers, R_ZERO for none; scale is a shift count */
    uint8_t seg;                /* segment of the memory operand after defaults and prefixes */
    uint8_t imm2; /* ENTER's second immediate, far pointers keep the selector in disp */
};

/*
 * Decodes at bytes[0..n). mode: MODE_CODE64/MODE_CODE32 bits. Returns the length, 0 if n bytes are
 * too few (the caller has fewer than 15), -1 for an undefined opcode or more than 15 bytes (#UD and
 * #GP: *ret_exc).
 */
int insn_decode(
    const uint8_t *bytes, unsigned n, uint64_t ip, uint32_t mode, Insn *ret, int *ret_exc);

/* Effective address (offset in the segment, wrapped to the address size) and linear address of the
 * memory operand. */
uint64_t insn_ea(const SoftCpu *c, const Insn *in);
uint64_t insn_la(SoftCpu *c, const Insn *in, unsigned size,
    bool write); /* adds the base, checks the limit; may raise */

/* Register access by encoding, with the legacy high bytes when there is no REX and size is 1. */
uint64_t insn_get_reg(const SoftCpu *c, const Insn *in, unsigned reg, unsigned size);
void insn_set_reg(
    SoftCpu *c, const Insn *in, unsigned reg, unsigned size, uint64_t val); /* 4 zero-extends */
/* r/m operand of the given size. */
uint64_t insn_get_rm(SoftCpu *c, const Insn *in, unsigned size);
void insn_set_rm(SoftCpu *c, const Insn *in, unsigned size, uint64_t val);
