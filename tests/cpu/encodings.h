/*
 * The encodings the fuzzer covers: everything ring 3 can execute with a defined result (and some
 * that must fault). One row an encoding family; prefixes, registers, addressing forms and
 * immediates are chosen by fuzz-gen.c.
 */
#pragma once

#include <stdint.h>

enum { /* Encoding.imm */
    IMM_NONE,
    IMM_B,
    IMM_W,
    IMM_Z,
    IMM_V,
    IMM_MOFFS,
    IMM_RELB,
    IMM_RELZ,
    IMM_WB,
};

enum { /* Encoding.flags */
    E_MODRM = 1 << 0,
    E_REGONLY = 1 << 1,     /* mod is 3 */
    E_MEMONLY = 1 << 2,     /* mod is not 3 */
    E_PLUSR = 1 << 3,       /* a register number in the opcode's low three bits */
    E_LOCK = 1 << 4,        /* LOCK is allowed with a memory destination */
    E_BYTE = 1 << 5,        /* the operation's size is one byte */
    E_SIMD = 1 << 6,        /* 66, F2 and F3 are part of the opcode, no free prefixes */
    E_FX = 1 << 7,          /* reads or writes FP state: randomise it */
    E_STR = 1 << 8,         /* a string instruction: REP, RSI, RDI, RCX */
    E_STACK = 1 << 9,       /* uses RSP */
    E_ALIGN16 = 1 << 10,    /* the memory operand must be aligned */
    E_ALWAYSLOCK = 1 << 11, /* XCHG: keep the operand inside a cache line */
    E_XLAT = 1 << 12,       /* implicit operand at RBX + AL */
    E_MASKMOV = 1 << 13,    /* implicit operand at RDI */
    E_NOREXW = 1 << 14,
    E_SINGLE = 1 << 15, /* float data: single, double; neither: 80-bit and integers */
    E_DOUBLE = 1 << 16,
    E_BRANCH = 1 << 17, /* indirect near branch: the operand is a code address */
    E_SEG = 1 << 18,    /* loads a segment register: the operand is or ends in a selector */
};

enum { M64 = 1, M32 = 2, M16 = 4, MALL = 7, M3216 = 6 };

enum { /* Encoding.quirk: what the architecture leaves undefined beyond .undef */
    Q_NONE,
    Q_SHIFT,
    Q_ROT,
    Q_RCX,
    Q_SHLD,
    Q_BSF,
    Q_DIV,
    Q_ENV,
    Q_POPF,
    Q_FXSAVE,
    Q_FXRSTOR,
    Q_BSWAP,
    Q_BT,
    Q_RET,
    Q_SREG, /* a 32-bit push may write 16 bits only (SDM vol. 2, PUSH) */
    Q_POPA,
    Q_TZCNT, /* F3 BSF: TZCNT where the CPU has BMI1, equal if the source is not zero */
};

typedef struct Encoding {
    char name[28];
    uint32_t flags;
    uint16_t op;    /* 0x1xx: 0F xx, 0x2xx: 0F 38 xx, 0x3xx: 0F 3A xx */
    uint16_t undef; /* flags left undefined */
    uint8_t pfx;    /* mandatory prefix, 0: none */
    uint8_t ext1;   /* ModRM.reg plus one, 0: any */
    uint8_t imm, modes, quirk;
    uint8_t memsize; /* 0: the operation's size */
    uint8_t modrm;   /* non-zero: the exact ModRM byte */
} Encoding;

/* The whole table, built on first use; *ret_n rows. */
const Encoding *encodings_get(unsigned *ret_n);
