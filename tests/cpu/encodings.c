/* The fuzzer's table of encodings, in our words from the opcode maps of SDM vol. 2, appendix A. */
#include "encodings.h"

#include <stdio.h>
#include <string.h>

enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, ALLF = 0x8d5 };
enum { MAX_ROWS = 1400 };

static Encoding rows[MAX_ROWS];
static unsigned nrows;

static Encoding *add(const char *name, unsigned op, uint32_t flags)
{
    Encoding *e = &rows[nrows++];

    *e = (Encoding){ .op = (uint16_t)op, .flags = flags, .modes = MALL };
    snprintf(e->name, sizeof e->name, "%s", name);
    return e;
}

static Encoding *add_ext(const char *name, unsigned op, unsigned ext, uint32_t flags)
{
    Encoding *e = add(name, op, flags | E_MODRM);

    e->ext1 = (uint8_t)(ext + 1);
    return e;
}

static Encoding *with(Encoding *e, unsigned imm, unsigned undef, unsigned modes)
{
    e->imm = (uint8_t)imm;
    e->undef = (uint16_t)undef;
    e->modes = (uint8_t)modes;
    return e;
}

static void add_alu(void)
{
    static const char *const names[8] = { "add", "or", "adc", "sbb", "and", "sub", "xor", "cmp" };
    char n[24];

    for (unsigned i = 0; i < 8; i++) {
        unsigned undef = i == 1 || i == 4 || i == 6 ? AF : 0, b = i * 8, lock = i == 7 ? 0 : E_LOCK;

        snprintf(n, sizeof n, "%s rm,r", names[i]);
        with(add(n, b, E_MODRM | E_BYTE | lock), 0, undef, MALL);
        with(add(n, b + 1, E_MODRM | lock), 0, undef, MALL);
        snprintf(n, sizeof n, "%s r,rm", names[i]);
        with(add(n, b + 2, E_MODRM | E_BYTE), 0, undef, MALL);
        with(add(n, b + 3, E_MODRM), 0, undef, MALL);
        snprintf(n, sizeof n, "%s a,imm", names[i]);
        with(add(n, b + 4, E_BYTE), IMM_B, undef, MALL);
        with(add(n, b + 5, 0), IMM_Z, undef, MALL);
        snprintf(n, sizeof n, "%s rm,imm", names[i]);
        with(add_ext(n, 0x80, i, E_BYTE | lock), IMM_B, undef, MALL);
        with(add_ext(n, 0x81, i, lock), IMM_Z, undef, MALL);
        with(add_ext(n, 0x83, i, lock), IMM_B, undef, MALL);
        with(add_ext(n, 0x82, i, E_BYTE | lock), IMM_B, undef, M3216);
    }
}

static void add_shift(void)
{
    static const char *const names[8] = { "rol", "ror", "rcl", "rcr", "shl", "shr", "sal6", "sar" };

    for (unsigned i = 0; i < 8; i++) {
        for (unsigned op = 0xc0; op <= 0xd3; op++) {
            if (op != 0xc0 && op != 0xc1 && op < 0xd0) {
                continue;
            }
            Encoding *e = add_ext(names[i], op, i, op & 1 ? 0 : E_BYTE);
            e->imm = op < 0xd0 ? IMM_B : IMM_NONE;
            e->quirk = i < 4 ? Q_ROT : Q_SHIFT;
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        static const uint16_t op[4] = { 0x1a4, 0x1a5, 0x1ac, 0x1ad };
        Encoding *e = add(i < 2 ? "shld" : "shrd", op[i], E_MODRM);
        e->imm = i & 1 ? IMM_NONE : IMM_B;
        e->quirk = Q_SHLD;
    }
}

static void add_moves(void)
{
    add("mov rm,r", 0x88, E_MODRM | E_BYTE);
    add("mov rm,r", 0x89, E_MODRM);
    add("mov r,rm", 0x8a, E_MODRM | E_BYTE);
    add("mov r,rm", 0x8b, E_MODRM);
    add_ext("mov rm,imm", 0xc6, 0, E_BYTE)->imm = IMM_B;
    add_ext("mov rm,imm", 0xc7, 0, 0)->imm = IMM_Z;
    add("mov r8,imm", 0xb0, E_BYTE | E_PLUSR)->imm = IMM_B;
    add("mov r,imm", 0xb8, E_PLUSR)->imm = IMM_V;
    for (unsigned i = 0; i < 4; i++) {
        add("mov moffs", 0xa0 + i, i & 1 ? 0 : E_BYTE)->imm = IMM_MOFFS;
    }
    add("lea", 0x8d, E_MODRM | E_MEMONLY);
    add("movzx b", 0x1b6, E_MODRM)->memsize = 1;
    add("movzx w", 0x1b7, E_MODRM)->memsize = 2;
    add("movsx b", 0x1be, E_MODRM)->memsize = 1;
    add("movsx w", 0x1bf, E_MODRM)->memsize = 2;
    with(add("movsxd", 0x63, E_MODRM), 0, 0, M64)->memsize = 4;
    add("mov rm,sreg", 0x8c, E_MODRM)->memsize = 2;
    add("xchg", 0x86, E_MODRM | E_BYTE | E_LOCK | E_ALWAYSLOCK);
    add("xchg", 0x87, E_MODRM | E_LOCK | E_ALWAYSLOCK);
    add("xchg a,r", 0x90, E_PLUSR);
    add("cbw", 0x98, 0);
    add("cwd", 0x99, 0);
    add("lahf", 0x9f, 0);
    add("sahf", 0x9e, 0);
    add("xlat", 0xd7, E_XLAT);
    add("bswap", 0x1c8, E_PLUSR)->quirk = Q_BSWAP;
    add("pause", 0x90, 0)->pfx = 0xf3;
    add("nop rm", 0x11f, E_MODRM);
    Encoding *e = add("endbr64", 0x11e, E_MODRM | E_REGONLY);
    e->pfx = 0xf3;
    e->modrm = 0xfa;
    add("prefetch", 0x118, E_MODRM | E_MEMONLY);
    add("prefetchw", 0x10d, E_MODRM | E_MEMONLY);
    for (unsigned i = 0; i < 16; i++) {
        add("cmov", 0x140 + i, E_MODRM);
        add("setcc", 0x190 + i, E_MODRM | E_BYTE);
    }
}

static void add_arith(void)
{
    with(add("test rm,r", 0x84, E_MODRM | E_BYTE), 0, AF, MALL);
    with(add("test rm,r", 0x85, E_MODRM), 0, AF, MALL);
    with(add("test a,imm", 0xa8, E_BYTE), IMM_B, AF, MALL);
    with(add("test a,imm", 0xa9, 0), IMM_Z, AF, MALL);
    for (unsigned i = 0; i < 2; i++) {
        unsigned b = i ? 0 : E_BYTE;

        with(add_ext("test rm,imm", 0xf6 + i, 0, b), i ? IMM_Z : IMM_B, AF, MALL);
        with(add_ext("test1 rm,imm", 0xf6 + i, 1, b), i ? IMM_Z : IMM_B, AF, MALL);
        add_ext("not", 0xf6 + i, 2, b | E_LOCK);
        add_ext("neg", 0xf6 + i, 3, b | E_LOCK);
        with(add_ext("mul", 0xf6 + i, 4, b), 0, SF | ZF | AF | PF, MALL);
        with(add_ext("imul", 0xf6 + i, 5, b), 0, SF | ZF | AF | PF, MALL);
        with(add_ext("div", 0xf6 + i, 6, b), 0, ALLF, MALL)->quirk = Q_DIV;
        with(add_ext("idiv", 0xf6 + i, 7, b), 0, ALLF, MALL)->quirk = Q_DIV;
        add_ext("inc", 0xfe + i, 0, b | E_LOCK);
        add_ext("dec", 0xfe + i, 1, b | E_LOCK);
        add("cmpxchg", 0x1b0 + i, E_MODRM | b | E_LOCK);
        add("xadd", 0x1c0 + i, E_MODRM | b | E_LOCK);
    }
    with(add("inc r", 0x40, E_PLUSR), 0, 0, M3216);
    with(add("dec r", 0x48, E_PLUSR), 0, 0, M3216);
    with(add("imul r,rm", 0x1af, E_MODRM), 0, SF | ZF | AF | PF, MALL);
    with(add("imul r,rm,iz", 0x69, E_MODRM), IMM_Z, SF | ZF | AF | PF, MALL);
    with(add("imul r,rm,ib", 0x6b, E_MODRM), IMM_B, SF | ZF | AF | PF, MALL);
    add_ext("cmpxchg8b/16b", 0x1c7, 1, E_MEMONLY | E_LOCK)->memsize = 16;
    with(add("daa", 0x27, 0), 0, OF, M3216);
    with(add("das", 0x2f, 0), 0, OF, M3216);
    with(add("aaa", 0x37, 0), 0, OF | SF | ZF | PF, M3216);
    with(add("aas", 0x3f, 0), 0, OF | SF | ZF | PF, M3216);
    with(add("aam", 0xd4, 0), IMM_B, OF | AF | CF, M3216);
    with(add("aad", 0xd5, 0), IMM_B, OF | AF | CF, M3216);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const names[4] = { "bt", "bts", "btr", "btc" };
        with(add(names[i], 0x1a3 + i * 8, E_MODRM | (i ? E_LOCK : 0)), 0, OF | SF | AF | PF, MALL)
            ->quirk = Q_BT;
        with(add_ext(names[i], 0x1ba, 4 + i, i ? E_LOCK : 0), IMM_B, OF | SF | AF | PF, MALL);
    }
    with(add("bsf", 0x1bc, E_MODRM), 0, ALLF & ~ZF, MALL)->quirk = Q_BSF;
    Encoding *e = with(add("rep bsf", 0x1bc, E_MODRM), 0, ALLF, MALL);
    e->quirk = Q_TZCNT;
    e->pfx = 0xf3;
    with(add("bsr", 0x1bd, E_MODRM), 0, ALLF & ~ZF, MALL)->quirk = Q_BSF;
    for (unsigned op = 0xf5; op <= 0xfd; op++) {
        if (op == 0xf5 || op == 0xf8 || op == 0xf9 || op == 0xfc || op == 0xfd) {
            add("flag op", op, 0);
        }
    }
}

static void add_stack(void)
{
    Encoding *e;

    add("push r", 0x50, E_PLUSR | E_STACK);
    add("pop r", 0x58, E_PLUSR | E_STACK);
    add_ext("push rm", 0xff, 6, E_STACK);
    add_ext("pop rm", 0x8f, 0, E_STACK);
    add("push iz", 0x68, E_STACK)->imm = IMM_Z;
    add("push ib", 0x6a, E_STACK)->imm = IMM_B;
    for (unsigned i = 0; i < 4; i++) {
        with(add("push sreg", 0x06 + i * 8, E_STACK), 0, 0, M3216)->quirk = Q_SREG;
    }
    add("push fs", 0x1a0, E_STACK)->quirk = Q_SREG;
    add("push gs", 0x1a8, E_STACK)->quirk = Q_SREG;
    with(add("pusha", 0x60, E_STACK), 0, 0, M3216);
    with(add("popa", 0x61, E_STACK), 0, 0, M3216)->quirk = Q_POPA;
    add("pushf", 0x9c, E_STACK);
    add("popf", 0x9d, E_STACK)->quirk = Q_POPF;
    add("enter", 0xc8, E_STACK)->imm = IMM_WB;
    add("leave", 0xc9, E_STACK);
    e = add("call", 0xe8, E_STACK);
    e->imm = IMM_RELZ;
    add("jmp", 0xe9, 0)->imm = IMM_RELZ;
    add("jmp short", 0xeb, 0)->imm = IMM_RELB;
    add_ext("call rm", 0xff, 2, E_STACK | E_BRANCH);
    add_ext("jmp rm", 0xff, 4, E_BRANCH);
    add("ret", 0xc3, E_STACK)->quirk = Q_RET;
    e = add("rep ret", 0xc3, E_STACK);
    e->quirk = Q_RET;
    e->pfx = 0xf3;
    e = add("ret iw", 0xc2, E_STACK);
    e->imm = IMM_W;
    e->quirk = Q_RET;
    for (unsigned i = 0; i < 16; i++) {
        add("jcc short", 0x70 + i, 0)->imm = IMM_RELB;
        add("jcc", 0x180 + i, 0)->imm = IMM_RELZ;
    }
    for (unsigned i = 0; i < 4; i++) {
        e = add("loop/jcxz", 0xe0 + i, 0);
        e->imm = IMM_RELB;
        e->quirk = Q_RCX;
    }
    with(add("bound", 0x62, E_MODRM | E_MEMONLY), 0, 0, M3216);
    with(add("into", 0xce, 0), 0, 0, M3216);
    with(add("arpl", 0x63, E_MODRM), 0, 0, M3216)->memsize = 2;
    add("int3", 0xcc, 0);
    add("icebp", 0xf1, 0);
    add("ud2", 0x10b, 0);
    add("ud1", 0x1b9, E_MODRM);
}

/* Loads of segment registers; their descriptors are fuzz-native.c's and fuzz-engine.c's. */
static void add_segs(void)
{
    static const uint16_t far[] = { 0xc4, 0xc5, 0x1b2, 0x1b4, 0x1b5 };
    static const uint16_t pop[] = { 0x07, 0x17, 0x1f, 0x1a1, 0x1a9 };

    add("mov sreg,rm", 0x8e, E_MODRM | E_SEG)->memsize = 2;
    for (unsigned i = 0; i < 5; i++) {
        with(add("pop sreg", pop[i], E_STACK | E_SEG), 0, 0, i < 3 ? M3216 : MALL);
        with(add("lds", far[i], E_MODRM | E_MEMONLY | E_SEG), 0, 0, i < 2 ? M3216 : MALL);
    }
}

/* What ring 3 may not do: the fault and its error code are compared. */
static void add_privileged(void)
{
    static const uint16_t plain[] = { 0xf4, 0xfa, 0xfb, 0x106, 0x108, 0x109, 0x130, 0x132, 0xec,
        0xed, 0xee, 0xef };
    static const uint16_t stio[] = { 0x6c, 0x6d, 0x6e, 0x6f };
    static const uint16_t port[] = { 0xe4, 0xe5, 0xe6, 0xe7 };

    for (unsigned i = 0; i < sizeof plain / sizeof *plain; i++) {
        add("privileged", plain[i], 0);
    }
    for (unsigned i = 0; i < sizeof port / sizeof *port; i++) {
        add("io imm", port[i], 0)->imm = IMM_B;
        add("io string", stio[i], E_STR);
    }
    add("mov r,cr", 0x120, E_MODRM | E_REGONLY)->ext1 = 1;
    add("mov cr,r", 0x122, E_MODRM | E_REGONLY)->ext1 = 4;
}

static void add_string(void)
{
    static const uint8_t op[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
    static const char *const names[] = { "movs", "cmps", "stos", "lods", "scas" };

    for (unsigned i = 0; i < 5; i++) {
        add(names[i], op[i], E_STR | E_BYTE);
        add(names[i], op[i] + 1u, E_STR);
    }
}

static void x87_exact(const char *name, unsigned op, unsigned modrm)
{
    Encoding *e = add(name, op, E_MODRM | E_REGONLY | E_FX);

    e->modrm = (uint8_t)modrm;
}

static void add_x87(void)
{
    static const uint8_t msize[8][8] = {
        { 4, 4, 4, 4, 4, 4, 4, 4 },
        { 4, 0, 4, 4, 28, 2, 28, 2 },
        { 4, 4, 4, 4, 4, 4, 4, 4 },
        { 4, 4, 4, 4, 0, 10, 0, 10 },
        { 8, 8, 8, 8, 8, 8, 8, 8 },
        { 8, 8, 8, 8, 108, 0, 108, 2 },
        { 2, 2, 2, 2, 2, 2, 2, 2 },
        { 2, 2, 2, 2, 10, 8, 10, 8 },
    };
    static const uint8_t regs[8] = { 0xff, 0x03, 0x0f, 0x6f, 0xff, 0x3d, 0xf3, 0x60 };
    static const uint8_t d9[] = { 0xd0, 0xe0, 0xe1, 0xe4, 0xe5, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed,
        0xee, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd,
        0xfe, 0xff, 0xd5, 0xe2, 0xe6, 0xef };
    char n[24];

    for (unsigned i = 0; i < 8; i++) {
        for (unsigned j = 0; j < 8; j++) {
            unsigned fl = E_FX | (i == 0 || i == 1 ? E_SINGLE : i == 4 || i == 5 ? E_DOUBLE : 0);

            snprintf(n, sizeof n, "x87 %02x /%u mem", 0xd8 + i, j);
            Encoding *e = add_ext(n, 0xd8 + i, j, E_MEMONLY | fl);
            e->memsize = msize[i][j] ? msize[i][j] : 4;
            e->quirk =
                (i == 1 && (j == 4 || j == 6)) || (i == 5 && (j == 4 || j == 6)) ? Q_ENV : Q_NONE;
            if (regs[i] >> j & 1) {
                snprintf(n, sizeof n, "x87 %02x /%u st", 0xd8 + i, j);
                add_ext(n, 0xd8 + i, j, E_REGONLY | E_FX);
            }
        }
    }
    for (unsigned i = 0; i < sizeof d9; i++) {
        x87_exact("x87 d9", 0xd9, d9[i]);
    }
    x87_exact("fnclex", 0xdb, 0xe2);
    x87_exact("fninit", 0xdb, 0xe3);
    x87_exact("x87 undefined", 0xdb, 0xe6);
    x87_exact("x87 undefined", 0xdb, 0xf8);
    x87_exact("fucompp", 0xda, 0xe9);
    x87_exact("x87 undefined", 0xda, 0xe8);
    x87_exact("fcompp", 0xde, 0xd9);
    x87_exact("x87 undefined", 0xde, 0xd8);
    x87_exact("fnstsw ax", 0xdf, 0xe0);
    x87_exact("x87 undefined", 0xdf, 0xe1);
    x87_exact("x87 undefined", 0xdf, 0xf9);
    add("fwait", 0x9b, E_FX);
}

typedef struct SimdRow {
    uint8_t pfx, first, last; /* opcodes in the 0F map */
    uint8_t memsize, imm;
    uint32_t flags;
} SimdRow;

#define A16 E_ALIGN16
#define SI  E_SINGLE
#define DO  E_DOUBLE
#define MO  E_MEMONLY
#define RO  E_REGONLY
static const SimdRow simd[] = {
    { 0, 0x10, 0x11, 16, 0, SI },
    { 0, 0x12, 0x12, 8, 0, SI },
    { 0, 0x13, 0x13, 8, 0, SI | MO },
    { 0, 0x14, 0x15, 16, 0, SI | A16 },
    { 0, 0x16, 0x16, 8, 0, SI },
    { 0, 0x17, 0x17, 8, 0, SI | MO },
    { 0, 0x28, 0x29, 16, 0, SI | A16 },
    { 0, 0x2a, 0x2a, 8, 0, 0 },
    { 0, 0x2b, 0x2b, 16, 0, SI | MO | A16 },
    { 0, 0x2c, 0x2d, 8, 0, SI },
    { 0, 0x2e, 0x2f, 4, 0, SI },
    { 0, 0x50, 0x50, 16, 0, RO },
    { 0, 0x51, 0x59, 16, 0, SI | A16 },
    { 0, 0x5a, 0x5a, 8, 0, SI },
    { 0, 0x5b, 0x5b, 16, 0, A16 },
    { 0, 0x5c, 0x5f, 16, 0, SI | A16 },
    { 0, 0x60, 0x62, 4, 0, 0 },
    { 0, 0x63, 0x6b, 8, 0, 0 },
    { 0, 0x6e, 0x6e, 0, 0, 0 },
    { 0, 0x6f, 0x6f, 8, 0, 0 },
    { 0, 0x70, 0x70, 8, IMM_B, 0 },
    { 0, 0x71, 0x73, 8, IMM_B, RO },
    { 0, 0x74, 0x76, 8, 0, 0 },
    { 0, 0x7e, 0x7e, 0, 0, 0 },
    { 0, 0x7f, 0x7f, 8, 0, 0 },
    { 0, 0xc2, 0xc2, 16, IMM_B, SI | A16 },
    { 0, 0xc3, 0xc3, 0, 0, MO },
    { 0, 0xc4, 0xc4, 2, IMM_B, 0 },
    { 0, 0xc5, 0xc5, 2, IMM_B, RO },
    { 0, 0xc6, 0xc6, 16, IMM_B, SI | A16 },
    { 0, 0xd1, 0xd5, 8, 0, 0 },
    { 0, 0xd7, 0xd7, 8, 0, RO },
    { 0, 0xd8, 0xe5, 8, 0, 0 },
    { 0, 0xe7, 0xe7, 8, 0, MO },
    { 0, 0xe8, 0xef, 8, 0, 0 },
    { 0, 0xf1, 0xf6, 8, 0, 0 },
    { 0, 0xf7, 0xf7, 8, 0, RO | E_MASKMOV },
    { 0, 0xf8, 0xfe, 8, 0, 0 },
    { 0x66, 0x10, 0x11, 16, 0, DO },
    { 0x66, 0x12, 0x13, 8, 0, DO | MO },
    { 0x66, 0x14, 0x15, 16, 0, DO | A16 },
    { 0x66, 0x16, 0x17, 8, 0, DO | MO },
    { 0x66, 0x28, 0x29, 16, 0, DO | A16 },
    { 0x66, 0x2a, 0x2a, 8, 0, 0 },
    { 0x66, 0x2b, 0x2b, 16, 0, DO | MO | A16 },
    { 0x66, 0x2c, 0x2d, 16, 0, DO | A16 },
    { 0x66, 0x2e, 0x2f, 8, 0, DO },
    { 0x66, 0x50, 0x50, 16, 0, RO },
    { 0x66, 0x51, 0x51, 16, 0, DO | A16 },
    { 0x66, 0x54, 0x5a, 16, 0, DO | A16 },
    { 0x66, 0x5b, 0x5b, 16, 0, SI | A16 },
    { 0x66, 0x5c, 0x5f, 16, 0, DO | A16 },
    { 0x66, 0x60, 0x6d, 16, 0, A16 },
    { 0x66, 0x6e, 0x6e, 0, 0, 0 },
    { 0x66, 0x6f, 0x6f, 16, 0, A16 },
    { 0x66, 0x70, 0x70, 16, IMM_B, A16 },
    { 0x66, 0x71, 0x73, 16, IMM_B, RO },
    { 0x66, 0x74, 0x76, 16, 0, A16 },
    { 0x66, 0x7c, 0x7d, 16, 0, DO | A16 },
    { 0x66, 0x7e, 0x7e, 0, 0, 0 },
    { 0x66, 0x7f, 0x7f, 16, 0, A16 },
    { 0x66, 0xc2, 0xc2, 16, IMM_B, DO | A16 },
    { 0x66, 0xc4, 0xc4, 2, IMM_B, 0 },
    { 0x66, 0xc5, 0xc5, 2, IMM_B, RO },
    { 0x66, 0xc6, 0xc6, 16, IMM_B, DO | A16 },
    { 0x66, 0xd0, 0xd0, 16, 0, DO | A16 },
    { 0x66, 0xd1, 0xd5, 16, 0, A16 },
    { 0x66, 0xd6, 0xd6, 8, 0, 0 },
    { 0x66, 0xd7, 0xd7, 16, 0, RO },
    { 0x66, 0xd8, 0xe5, 16, 0, A16 },
    { 0x66, 0xe6, 0xe6, 16, 0, DO | A16 },
    { 0x66, 0xe7, 0xe7, 16, 0, MO | A16 },
    { 0x66, 0xe8, 0xef, 16, 0, A16 },
    { 0x66, 0xf1, 0xf6, 16, 0, A16 },
    { 0x66, 0xf7, 0xf7, 16, 0, RO | E_MASKMOV },
    { 0x66, 0xf8, 0xfe, 16, 0, A16 },
    { 0xf3, 0x10, 0x11, 4, 0, SI },
    { 0xf3, 0x12, 0x12, 16, 0, SI | A16 },
    { 0xf3, 0x16, 0x16, 16, 0, SI | A16 },
    { 0xf3, 0x2a, 0x2a, 0, 0, 0 },
    { 0xf3, 0x2c, 0x2d, 4, 0, SI },
    { 0xf3, 0x51, 0x53, 4, 0, SI },
    { 0xf3, 0x58, 0x5a, 4, 0, SI },
    { 0xf3, 0x5b, 0x5b, 16, 0, SI | A16 },
    { 0xf3, 0x5c, 0x5f, 4, 0, SI },
    { 0xf3, 0x6f, 0x6f, 16, 0, 0 },
    { 0xf3, 0x70, 0x70, 16, IMM_B, A16 },
    { 0xf3, 0x7e, 0x7e, 8, 0, 0 },
    { 0xf3, 0x7f, 0x7f, 16, 0, 0 },
    { 0xf3, 0xc2, 0xc2, 4, IMM_B, SI },
    { 0xf3, 0xd6, 0xd6, 8, 0, RO },
    { 0xf3, 0xe6, 0xe6, 8, 0, 0 },
    { 0xf2, 0x10, 0x11, 8, 0, DO },
    { 0xf2, 0x12, 0x12, 8, 0, DO },
    { 0xf2, 0x2a, 0x2a, 0, 0, 0 },
    { 0xf2, 0x2c, 0x2d, 8, 0, DO },
    { 0xf2, 0x51, 0x51, 8, 0, DO },
    { 0xf2, 0x58, 0x5a, 8, 0, DO },
    { 0xf2, 0x5c, 0x5f, 8, 0, DO },
    { 0xf2, 0x70, 0x70, 16, IMM_B, A16 },
    { 0xf2, 0x7c, 0x7d, 16, 0, SI | A16 },
    { 0xf2, 0xc2, 0xc2, 8, IMM_B, DO },
    { 0xf2, 0xd0, 0xd0, 16, 0, SI | A16 },
    { 0xf2, 0xd6, 0xd6, 8, 0, RO },
    { 0xf2, 0xe6, 0xe6, 16, 0, DO | A16 },
    { 0xf2, 0xf0, 0xf0, 16, 0, MO },
};

static void add_simd(void)
{
    char n[24];

    for (unsigned i = 0; i < sizeof simd / sizeof *simd; i++) {
        const SimdRow *s = &simd[i];

        for (unsigned op = s->first; op <= s->last; op++) {
            if (s->pfx == 0 && (op == 0x6c || op == 0x6d || op == 0xd6 || op == 0xe6)) {
                continue;
            }
            snprintf(n, sizeof n, "simd %02x 0f %02x", s->pfx, op);
            Encoding *e = add(n, 0x100 + op, E_MODRM | E_SIMD | E_FX | s->flags);
            e->pfx = s->pfx;
            e->memsize = s->memsize;
            e->imm = s->imm;
        }
    }
    add("emms", 0x177, E_SIMD | E_FX);
    add_ext("fxsave", 0x1ae, 0, E_MEMONLY | E_SIMD | E_FX | E_ALIGN16);
    rows[nrows - 1].quirk = Q_FXSAVE;
    add_ext("fxrstor", 0x1ae, 1, E_MEMONLY | E_SIMD | E_FX | E_ALIGN16);
    rows[nrows - 1].quirk = Q_FXRSTOR;
    add_ext("ldmxcsr", 0x1ae, 2, E_MEMONLY | E_SIMD | E_FX)->memsize = 4;
    add_ext("stmxcsr", 0x1ae, 3, E_MEMONLY | E_SIMD | E_FX)->memsize = 4;
    for (unsigned i = 5; i < 8; i++) {
        add_ext("fence", 0x1ae, i, E_REGONLY | E_SIMD);
    }
    add_ext("clflush", 0x1ae, 7, E_MEMONLY | E_SIMD)->memsize = 1;
}

/* Maps 0F 38 and 0F 3A: first and last opcode, memory size, flags. */
static const struct {
    uint8_t pfx;
    uint16_t first, last;
    uint8_t memsize, imm;
    uint32_t flags;
} simd4[] = {
    { 0, 0x200, 0x20b, 8, 0, 0 },
    { 0x66, 0x200, 0x20b, 16, 0, A16 },
    { 0, 0x21c, 0x21e, 8, 0, 0 },
    { 0x66, 0x21c, 0x21e, 16, 0, A16 },
    { 0, 0x30f, 0x30f, 8, IMM_B, 0 },
    { 0x66, 0x30f, 0x30f, 16, IMM_B, A16 },
    { 0x66, 0x210, 0x210, 16, 0, A16 },
    { 0x66, 0x214, 0x215, 16, 0, A16 },
    { 0x66, 0x217, 0x217, 16, 0, A16 },
    { 0x66, 0x220, 0x225, 8, 0, 0 },
    { 0x66, 0x228, 0x229, 16, 0, A16 },
    { 0x66, 0x22a, 0x22a, 16, 0, A16 },
    { 0x66, 0x22b, 0x22b, 16, 0, A16 },
    { 0x66, 0x230, 0x235, 8, 0, 0 },
    { 0x66, 0x237, 0x241, 16, 0, A16 },
    { 0x66, 0x308, 0x308, 16, IMM_B, A16 | SI },
    { 0x66, 0x309, 0x309, 16, IMM_B, A16 | DO },
    { 0x66, 0x30a, 0x30a, 4, IMM_B, SI },
    { 0x66, 0x30b, 0x30b, 8, IMM_B, DO },
    { 0x66, 0x30c, 0x30e, 16, IMM_B, A16 },
    { 0x66, 0x314, 0x314, 1, IMM_B, 0 },
    { 0x66, 0x315, 0x315, 2, IMM_B, 0 },
    { 0x66, 0x316, 0x316, 0, IMM_B, 0 },
    { 0x66, 0x317, 0x317, 4, IMM_B, 0 },
    { 0x66, 0x320, 0x320, 1, IMM_B, 0 },
    { 0x66, 0x321, 0x321, 4, IMM_B, SI },
    { 0x66, 0x322, 0x322, 0, IMM_B, 0 },
    { 0x66, 0x340, 0x340, 16, IMM_B, A16 | SI },
    { 0x66, 0x341, 0x341, 16, IMM_B, A16 | DO },
    { 0x66, 0x342, 0x342, 16, IMM_B, A16 },
    { 0x66, 0x360, 0x363, 16, IMM_B, 0 },
    { 0xf2, 0x2f0, 0x2f1, 0, 0, 0 },
    { 0xf3, 0x1b8, 0x1b8, 0, 0, 0 },
};

static void add_simd4(void)
{
    char n[24];

    for (unsigned i = 0; i < sizeof simd4 / sizeof *simd4; i++) {
        for (unsigned op = simd4[i].first; op <= simd4[i].last; op++) {
            snprintf(n, sizeof n, "simd %02x 0f%s %02x", simd4[i].pfx,
                op < 0x200   ? ""
                : op < 0x300 ? " 38"
                             : " 3a",
                op & 0xff);
            Encoding *e = add(n, op, E_MODRM | E_SIMD | E_FX | simd4[i].flags);
            e->pfx = simd4[i].pfx;
            e->memsize = simd4[i].memsize;
            e->imm = simd4[i].imm;
        }
    }
}

const Encoding *encodings_get(unsigned *ret_n)
{
    if (!nrows) {
        add_alu();
        add_shift();
        add_moves();
        add_arith();
        add_stack();
        add_segs();
        add_privileged();
        add_string();
        add_x87();
        add_simd();
        add_simd4();
    }
    *ret_n = nrows;
    return rows;
}
