/* Random sequences of frequent instructions, for comparing ways to execute them. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct Gen {
    uint8_t code[1024];
    unsigned n;
    GRand *rand;
    unsigned bits;
    bool sse;
} Gen;

static unsigned pick(Gen *g, unsigned n)
{
    return (unsigned)g_rand_int_range(g->rand, 0, (int)n);
}

static void put(Gen *g, unsigned byte)
{
    g->code[g->n++] = (uint8_t)byte;
}

static void put32(Gen *g, uint32_t v)
{
    memcpy(g->code + g->n, &v, 4);
    g->n += 4;
}

/* ModRM of registers 0..3 (or high bytes) or memory at rsi + disp, sometimes + rdi * 4. */
static void put_rm(Gen *g, unsigned reg, bool byte_op)
{
    unsigned kind = pick(g, 4);
    unsigned disp = pick(g, 8) ? 0x40 + pick(g, 64) : 0xff9 + pick(g, 10);

    if (kind < 2) {
        put(g, 0xc0 | reg << 3 | pick(g, byte_op ? 8 : 4));
    } else if (kind == 2) {
        put(g, 0x86 | reg << 3);
        put32(g, disp);
    } else {
        put(g, 0x84 | reg << 3);
        put(g, 0xbe);
        put32(g, disp);
    }
}

static void put_prefixes(Gen *g, bool byte_op)
{
    unsigned p = pick(g, 8);

    if (p == 0) {
        put(g, 0x66);
    } else if (g->bits == 64 && p < 4 && !byte_op) {
        put(g, 0x48);
    }
}

enum {
    GEN_MEM = 1,
    GEN_REG = 2,
    GEN_ALIGN = 4,
    GEN_IMM = 8,
    GEN_GPR = 16,
    GEN_SHIFT = 32,
    GEN_BOTH = GEN_MEM | GEN_REG,
    GEN_ALIGNED = GEN_BOTH | GEN_ALIGN
};
typedef struct GenSse {
    uint8_t prefix, opcode, how;
} GenSse;

/* XMM0 to XMM3, or general registers where the encoding has them, and memory as in put_rm(). */
static void put_sse(Gen *g)
{
    static const GenSse forms[] = { { 0, 0x10, GEN_BOTH }, { 0, 0x11, GEN_BOTH },
        { 0xf3, 0x10, GEN_BOTH }, { 0xf2, 0x11, GEN_BOTH }, { 0xf3, 0x11, GEN_BOTH },
        { 0xf2, 0x10, GEN_BOTH }, { 0, 0x12, GEN_BOTH }, { 0x66, 0x13, GEN_MEM },
        { 0, 0x16, GEN_BOTH }, { 0, 0x17, GEN_MEM }, { 0, 0x28, GEN_ALIGNED },
        { 0x66, 0x29, GEN_ALIGNED }, { 0x66, 0x6f, GEN_ALIGNED }, { 0x66, 0x7f, GEN_ALIGNED },
        { 0xf3, 0x6f, GEN_BOTH }, { 0xf3, 0x7f, GEN_BOTH }, { 0xf2, 0xf0, GEN_MEM },
        { 0x66, 0xe7, GEN_MEM | GEN_ALIGN }, { 0x66, 0x6e, GEN_BOTH | GEN_GPR },
        { 0x66, 0x7e, GEN_BOTH | GEN_GPR }, { 0xf3, 0x7e, GEN_BOTH }, { 0x66, 0xd6, GEN_BOTH },
        { 0x66, 0x74, GEN_ALIGNED }, { 0x66, 0xdb, GEN_ALIGNED }, { 0x66, 0xef, GEN_ALIGNED },
        { 0x66, 0xd7, GEN_REG | GEN_GPR }, { 0, 0x50, GEN_REG | GEN_GPR },
        { 0x66, 0x70, GEN_ALIGNED | GEN_IMM }, { 0x66, 0xfe, GEN_ALIGNED },
        { 0x66, 0x62, GEN_ALIGNED }, { 0x66, 0xf4, GEN_ALIGNED }, { 0, 0x57, GEN_ALIGNED },
        { 0xf2, 0x12, GEN_BOTH }, { 0x66, 0xf3, GEN_ALIGNED },
        { 0x66, 0xc5, GEN_REG | GEN_GPR | GEN_IMM }, { 0x66, 0x73, GEN_REG | GEN_SHIFT },
        { 0x66, 0x72, GEN_REG | GEN_SHIFT }, { 0x66, 0x58, GEN_ALIGNED } };
    const GenSse *f = &forms[pick(g, G_N_ELEMENTS(forms))];
    unsigned reg = pick(g, 4);

    if (f->prefix) {
        put(g, f->prefix);
    }
    if (f->how & GEN_GPR && pick(g, 2)) {
        put(g, 0x48);
    }
    put(g, 0x0f);
    put(g, f->opcode);
    if (f->how & GEN_SHIFT) {
        reg = (const uint8_t[]){ 2, 6 }[pick(g, 2)];
    }
    if (f->how & GEN_MEM && (!(f->how & GEN_REG) || pick(g, 3))) {
        put(g, 0x86 | reg << 3);
        put32(g, (0x40 + pick(g, 0x100)) & (f->how & GEN_ALIGN ? ~15u : ~0u));
    } else {
        put(g, 0xc0 | reg << 3 | pick(g, 4));
    }
    if (f->how & (GEN_IMM | GEN_SHIFT)) {
        put(g, pick(g, 256));
    }
}

static void put_insn(Gen *g)
{
    if (g->sse && pick(g, 3) == 0) {
        put_sse(g);
        return;
    }

    unsigned kind = pick(g, 12), byte_op = pick(g, 4) == 0, cc = pick(g, 16);

    switch (kind) {
    case 0:
    case 1:
    case 2: /* ALU */
        put_prefixes(g, byte_op);
        put(g, pick(g, 8) << 3 | pick(g, 2) << 1 | !byte_op);
        put_rm(g, pick(g, 4), byte_op);
        break;
    case 3: /* ALU imm8 */
        put_prefixes(g, byte_op);
        put(g, byte_op ? 0x80 : 0x83);
        put_rm(g, pick(g, 8), byte_op);
        put(g, pick(g, 256));
        break;
    case 4: /* shift by a constant or CL */
        put_prefixes(g, byte_op);
        if (pick(g, 2)) {
            put(g, 0xd2 | !byte_op);
            put_rm(g, pick(g, 8), byte_op);
        } else {
            put(g, 0xc0 | !byte_op);
            put_rm(g, pick(g, 8), byte_op);
            put(g, pick(g, 40));
        }
        break;
    case 5: /* TEST, MOV */
        put_prefixes(g, byte_op);
        put(g, (const uint8_t[]){ 0x84, 0x88, 0x8a, 0x86 }[pick(g, 4)] | !byte_op);
        put_rm(g, pick(g, 4), byte_op);
        break;
    case 6: /* CMOVcc, MOVZX, MOVSX, IMUL */
        put_prefixes(g, true);
        put(g, 0x0f);
        put(g, (const unsigned[]){
                   0x40 | cc, 0x40 | cc, 0xb6, 0xb7, 0xbe, 0xbf, 0xaf, 0xaf }[pick(g, 8)]);
        put_rm(g, pick(g, 4), false);
        break;
    case 7: /* SETcc, BT */
        put(g, 0x0f);
        if (pick(g, 4) == 0) {
            put(g, 0xa3);
            put(g, 0xc0 | pick(g, 4) << 3 | pick(g, 4));
            break;
        }
        put(g, 0x90 | cc);
        put_rm(g, 0, true);
        break;
    case 8: /* INC DEC; NOT NEG MUL IMUL */
        put_prefixes(g, byte_op);
        if (pick(g, 2)) {
            put(g, 0xfe | !byte_op);
            put_rm(g, pick(g, 2), byte_op);
        } else {
            put(g, 0xf6 | !byte_op);
            put_rm(g, 2 + pick(g, 4), byte_op);
        }
        break;
    case 9: /* PUSH, POP, CWD, CBW, BSWAP */
        put(g, (const unsigned[]){ 0x50 | (cc & 3), 0x58 | (cc & 3), 0x98, 0x99 }[pick(g, 4)]);
        break;
    case 10: /* LEA */
        put(g, 0x8d);
        put(g, 0x84 | pick(g, 4) << 3);
        put(g, pick(g, 4) << 6 | pick(g, 4) << 3 | pick(g, 4));
        put32(g, pick(g, 1000));
        break;
    default: /* Jcc over the next one */
        put(g, 0x70 | cc);
        put(g, 0);
        unsigned at = g->n;
        put_insn(g);
        g->code[at - 1] = (uint8_t)(g->n - at);
        break;
    }
}
