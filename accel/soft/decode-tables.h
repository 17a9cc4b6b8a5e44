/* The opcode tables' format, between decode.c and decode-tables.c. */
#pragma once

#include "insn-fns.h"

enum {
    A_M = 1 << 0,    /* has a ModRM byte */
    A_B = 1 << 1,    /* byte operation */
    A_D64 = 1 << 2,  /* 64-bit code: operand size defaults to 8, 66h makes it 2 */
    A_F64 = 1 << 3,  /* 64-bit code: operand size is 8, 66h is ignored (near branches) */
    A_N64 = 1 << 4,  /* undefined in 64-bit code */
    A_GRP = 1 << 5,  /* ModRM.reg is an opcode or a short number: REX.R does not extend it */
    A_MEM = 1 << 6,  /* undefined with a register operand */
    A_REG = 1 << 7,  /* ModRM.mod is ignored: always a register (MOV CRn, DRn) */
    A_MAX4 = 1 << 8, /* operand size 8 means 4 (I/O) */
    A_SUB = 1 << 9,  /* group: go on in a table of eight, indexed by ModRM.reg */
    A_W = 1 << 10,   /* word operation */
    A_END = 1 << 11, /* ends a block: control goes elsewhere */
};

/* Kinds of immediates. */
enum {
    I_NONE,
    I_B,     /* byte, sign-extended */
    I_Z,     /* 2 or 4 bytes by operand size, sign-extended */
    I_V,     /* 2, 4 or 8 bytes by operand size */
    I_W,     /* word, zero-extended */
    I_JB,    /* branch displacement, byte */
    I_JZ,    /* branch displacement, 2 or 4 bytes */
    I_MOFFS, /* an offset of the address size */
    I_FAR,   /* offset of 2 or 4 bytes, selector */
    I_ENTER, /* word, byte */
};

typedef struct DecEntry {
    union {
        InsnFn *fn;                 /* NULL: undefined */
        const struct DecEntry *sub; /* with A_SUB */
    };
    uint16_t attr;
    uint8_t imm;
    /* with a memory operand LOCK is allowed for these values of ModRM.reg (bit mask) */
    uint8_t lock;
} DecEntry;

extern const DecEntry dec_one[256];
extern const DecEntry dec_0f[256];
