/* Host instructions for the translator (SDM vol. 2, 2.1: prefixes, opcode, ModRM, SIB). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { H_AX, H_CX, H_DX, H_BX, H_SP, H_BP, H_SI, H_DI, H_8, H_9, H_10, H_11, H_NONE = 16 };
/* Conditions by their encoding (SDM vol. 1, appendix B). */
enum { H_O, H_NO, H_B, H_AE, H_E, H_NE, H_BE, H_A, H_S, H_NS };

typedef struct Emit {
    uint8_t *p;    /* where the next byte is written */
    ptrdiff_t run; /* from there to where it runs */
} Emit;

/* A register or memory operand. */
typedef struct Rm {
    uint8_t base, index, scale;
    bool mem;
    int32_t disp;
} Rm;

static inline Rm rm_reg(unsigned r)
{
    return (Rm){ .base = (uint8_t)r };
}

static inline Rm rm_at(unsigned base, int32_t disp)
{
    return (Rm){ .base = (uint8_t)base, .index = H_NONE, .mem = true, .disp = disp };
}

static inline Rm rm_sib(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    return (Rm){ (uint8_t)base, (uint8_t)index, (uint8_t)scale, true, disp };
}

static inline void emit8(Emit *e, unsigned v)
{
    *e->p++ = (uint8_t)v;
}

static inline void emit32(Emit *e, uint32_t v)
{
    memcpy(e->p, &v, 4);
    e->p += 4;
}

static inline void emit64(Emit *e, uint64_t v)
{
    memcpy(e->p, &v, 8);
    e->p += 8;
}

static inline bool fits8(int64_t v)
{
    return v == (int8_t)v;
}

static inline bool fits32(int64_t v)
{
    return v == (int32_t)v;
}

/* ModRM, SIB and displacement. */
static inline void emit_rm(Emit *e, unsigned reg, Rm m)
{
    reg = (reg & 7) << 3;
    if (!m.mem) {
        emit8(e, 0xc0 | reg | (m.base & 7));
        return;
    }
    if (m.base == H_NONE) {
        emit8(e, reg | 4);
        emit8(e, (unsigned)m.scale << 6 | (m.index & 7) << 3 | 5);
        emit32(e, (uint32_t)m.disp);
        return;
    }
    unsigned mod = !m.disp && (m.base & 7) != H_BP ? 0 : fits8(m.disp) ? 0x40 : 0x80;
    if (m.index == H_NONE && (m.base & 7) != H_SP) {
        emit8(e, mod | reg | (m.base & 7));
    } else {
        emit8(e, mod | reg | 4);
        emit8(
            e, (unsigned)m.scale << 6 | (m.index == H_NONE ? 4 : m.index & 7) << 3 | (m.base & 7));
    }
    if (mod == 0x40) {
        emit8(e, (uint8_t)m.disp);
    } else if (mod) {
        emit32(e, (uint32_t)m.disp);
    }
}

/*
 * An instruction of the given operand size. op: the opcode of the 16-, 32- and 64-bit form, 0x1xx
 * for two bytes; the 8-bit form is the one before. 8-bit registers are AL, CL, DL or R8B and up.
 */
static inline void emit_op(Emit *e, unsigned bits, unsigned op, unsigned reg, Rm m)
{
    unsigned rex = (bits == 64 ? 8u : 0) | (reg & 8) >> 1 | (m.base & 8) >> 3;

    if (m.mem && m.index != H_NONE) {
        rex |= (m.index & 8) >> 2;
    }
    if (bits == 16) {
        emit8(e, 0x66);
    }
    if (rex) {
        emit8(e, 0x40 | rex);
    }
    if (op >= 0x100) {
        emit8(e, 0x0f);
    }
    emit8(e, bits == 8 ? op - 1 : op);
    emit_rm(e, reg, m);
}

static inline void emit_imm(Emit *e, unsigned bits, int64_t v)
{
    switch (bits) {
    case 8:
        emit8(e, (uint8_t)v);
        break;
    case 16:
        emit8(e, (uint8_t)v);
        emit8(e, (uint8_t)(v >> 8));
        break;
    default:
        emit32(e, (uint32_t)v);
        break;
    }
}

static inline void emit_mov(Emit *e, unsigned bits, unsigned reg, Rm from)
{
    emit_op(e, bits, 0x8b, reg, from);
}

static inline void emit_store(Emit *e, unsigned bits, Rm to, unsigned reg)
{
    emit_op(e, bits, 0x89, reg, to);
}

/* v: sign-extended, fits 32 bits. */
static inline void emit_store_imm(Emit *e, unsigned bits, Rm to, int64_t v)
{
    emit_op(e, bits, 0xc7, 0, to);
    emit_imm(e, bits, v);
}

/* Does not touch the flags. */
static inline void emit_load_imm(Emit *e, unsigned reg, uint64_t v)
{
    if (v == (uint32_t)v) {
        if (reg & 8) {
            emit8(e, 0x41);
        }
        emit8(e, 0xb8 | (reg & 7));
        emit32(e, (uint32_t)v);
    } else if (fits32((int64_t)v)) {
        emit_store_imm(e, 64, rm_reg(reg), (int64_t)v);
    } else {
        emit8(e, 0x48 | reg >> 3);
        emit8(e, 0xb8 | (reg & 7));
        emit64(e, v);
    }
}

/* One of the eight operations (0 ADD .. 7 CMP) with an immediate. */
static inline void emit_alu_imm(Emit *e, unsigned bits, unsigned k, Rm m, int64_t v)
{
    if (bits != 8 && fits8(v)) {
        emit_op(e, bits, 0x83, k, m);
        emit8(e, (uint8_t)v);
        return;
    }
    emit_op(e, bits, 0x81, k, m);
    emit_imm(e, bits, v);
}

/* Sign- or zero-extends bits to 64; a 32-bit zero extension is a plain move. */
static inline void emit_extend(Emit *e, bool sign, unsigned bits, unsigned reg, Rm from)
{
    switch (bits) {
    case 64:
        emit_mov(e, 64, reg, from);
        break;
    case 32:
        if (sign) {
            emit_op(e, 64, 0x63, reg, from);
        } else {
            emit_mov(e, 32, reg, from);
        }
        break;
    default:
        emit_op(e, sign ? 64 : 32, (sign ? 0x1be : 0x1b6) + (bits == 16), reg, from);
        break;
    }
}

static inline int64_t emit_distance(const Emit *e, const void *target, unsigned len)
{
    return (int64_t)((uintptr_t)target - ((uintptr_t)e->p + (uintptr_t)e->run + len));
}

/* To an address outside; destroys RAX. */
static inline void emit_jmp(Emit *e, const void *target)
{
    int64_t d = emit_distance(e, target, 5);

    if (fits32(d)) {
        emit8(e, 0xe9);
        emit32(e, (uint32_t)d);
        return;
    }
    emit_load_imm(e, H_AX, (uintptr_t)target);
    emit_op(e, 32, 0xff, 4, rm_reg(H_AX));
}

/* A short or long branch forward to where emit_here() is called with what it returns. */
static inline uint8_t *emit_jcc(Emit *e, unsigned cc)
{
    emit8(e, 0x0f);
    emit8(e, 0x80 | cc);
    emit32(e, 0);
    return e->p;
}

static inline void emit_here(Emit *e, uint8_t *from)
{
    uint32_t d = (uint32_t)(e->p - from);
    memcpy(from - 4, &d, 4);
}

/* A conditional branch to an address outside; destroys RAX. */
static inline void emit_jcc_to(Emit *e, unsigned cc, const void *target)
{
    int64_t d = emit_distance(e, target, 6);

    if (fits32(d)) {
        emit8(e, 0x0f);
        emit8(e, 0x80 | cc);
        emit32(e, (uint32_t)d);
        return;
    }
    uint8_t *over = emit_jcc(e, cc ^ 1);
    emit_jmp(e, target);
    emit_here(e, over);
}

/* An address into a register, flags untouched. */
static inline void emit_address(Emit *e, unsigned reg, const void *p)
{
    int64_t d = emit_distance(e, p, 7);

    if (!fits32(d)) {
        emit_load_imm(e, reg, (uintptr_t)p);
        return;
    }
    emit8(e, 0x48 | (reg & 8) >> 1);
    emit8(e, 0x8d);
    emit8(e, (reg & 7) << 3 | 5);
    emit32(e, (uint32_t)d);
}
