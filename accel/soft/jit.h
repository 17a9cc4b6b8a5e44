/*
 * Translation of hot blocks to host code: x86-64 hosts, 64-bit guest code. The interpreter stays
 * the reference and the fallback. Generated code is a handler (OpFn) like the others: it does what
 * is frequent and simple, leaves to the handlers in C by sibling calls for everything else and is
 * entered again by them at the next Op. docs/devel/cpu-engine.md says more.
 */
#pragma once

#include "exec.h"
#include "jit-emit.h"

typedef struct Jit Jit;

/* NULL: the host cannot or may not run generated code. */
Jit *jit_new(void);
void jit_free(Jit *j);
/* All code is forgotten; nothing may be in it or come back to it. */
void jit_reset(Jit *j);
/* A block's way out goes straight to another block: to is where c goes on from there now. */
void jit_link(SoftCpu *c, Block *from, bool taken, const Block *to);
/* Ways out within the page go through the dispatcher again. */
void jit_unlink(Jit *j, Block *from);
/* Ops of b get generated code as their handlers. in: its n instructions. False: no room left. */
bool jit_block(Jit *j, SoftCpu *c, Block *b, const Insn *in, unsigned n);

/* What the lazy flags in memory are, as far as the block tells. */
typedef enum JitKnown { JIT_NOTHING, JIT_SUB, JIT_ADD, JIT_LOGIC, JIT_RES } JitKnown;
/* Which of the guest's flags stand in the host's right now. */
typedef enum JitHost { JIT_HOST_NONE, JIT_HOST_ALL, JIT_HOST_NO_OF } JitHost;

/* A way out to a handler in C, beside the code, and the branches there. */
enum { JIT_STUB_FROM = 6 };
typedef struct JitStub {
    const Op *op;
    OpFn *fn;
    uint8_t *from[JIT_STUB_FROM];
    unsigned nfrom;
    uint32_t *ret_at; /* gets its place in the code */
} JitStub;

/* A range of memory that was probed at once; off when R10 is not valid. */
typedef struct JitWindow {
    bool on, write;
    unsigned base;  /* the guest register */
    int32_t lo, hi; /* relative to its value when R10 was set */
    int64_t delta;  /* what was added to it since */
} JitWindow;

/* A block under translation. */
typedef struct JitBlock {
    Emit e;
    SoftCpu *c;
    Block *block;
    const Insn *in;
    unsigned n, i; /* instructions, the one at hand */
    JitKnown known;
    JitHost host;
    bool cf11; /* R11B holds CF */
    JitWindow win;
    int sp_lag;                    /* RSP in SoftCpu is to be moved by this */
    bool dead[BLOCK_MAX_INSNS];    /* what the instruction does to the flags is never seen */
    OpFn *fn[BLOCK_MAX_INSNS + 1]; /* the handlers in C */
    uint8_t *link[2];              /* behind the jumps of the ways out: not taken, taken */
    unsigned nstubs;
    JitStub stubs[BLOCK_MAX_INSNS + 3];
} JitBlock;

/* jit-ops.c, jit-ctl.c: the code of instruction b->i. False: nothing was emitted. */
bool jit_op(JitBlock *b);
bool jit_ctl(JitBlock *b);
/* The end of a block that is no transfer. */
void jit_fall(JitBlock *b);

/*
 * jit-sse.c: what generated code there is for an SSE instruction, whatever the mode. The r/m
 * operand is memory, a general register (gpr) or an XMM one.
 */
typedef struct JitSse {
    enum { JIT_SSE_FULL, JIT_SSE_HALF, JIT_SSE_COMPUTE, JIT_SSE_MASK, JIT_SSE_SHIFT } kind;
    uint8_t size; /* of the memory operand, or of what is moved */
    uint8_t reg_half, rm_half;
    bool store;       /* from reg to r/m */
    bool aligned;     /* memory must be */
    bool zext, gpr;   /* JIT_SSE_HALF: the XMM register's other bits become 0; as said above */
    uint32_t written; /* general registers */
} JitSse;
bool jit_sse_form(const Insn *in, JitSse *ret);
bool jit_sse(JitBlock *b);

/* SSE neither is undefined nor traps (SDM vol. 3, table 13-1): part of a block's key. */
static inline bool jit_sse_allowed(const JitBlock *b)
{
    return (b->block->mode & (MODE_SSE_OK | MODE_FPU_TRAP)) == MODE_SSE_OK;
}

/* jit.c: has instruction i a form that may have an emitter? The others are C's. */
bool jit_known_form(const JitBlock *b, unsigned i);

/* jit.c: shared pieces. */
Rm jit_reg(const Insn *in, unsigned reg, unsigned bits); /* a guest register in c->r */
void jit_ea(JitBlock *b, bool segment);                  /* memory operand's address to RAX */
/* RAX from linear to host address; to the handler in C if that fails. Destroys RCX, RDX, flags. */
void jit_probe(JitBlock *b, unsigned size, bool write);
void jit_miss(JitBlock *b, unsigned cc);
/* A way out; jit_to() branches there. */
JitStub *jit_stub(JitBlock *b, const Op *op, OpFn *fn);
void jit_to(JitBlock *b, JitStub *s, unsigned cc);
/* The host's flags for condition cc; may destroy RAX and the other flags. False: cannot. */
bool jit_cond(JitBlock *b, unsigned cc);

/* The field of SoftCpu, a guest register. */
static inline Rm jit_guest(unsigned r)
{
    return rm_at(H_DI, (int32_t)(offsetof(SoftCpu, r) + r * 8));
}

#define JIT_CPU(field) rm_at(H_DI, (int32_t)offsetof(SoftCpu, field))

/*
 * jit-window.c. The memory operand of instruction b->i, or its stack slot: behind RAX or R10.
 * Destroys RAX, RCX, RDX and the flags, unless a window has it.
 */
Rm jit_mem(JitBlock *b, unsigned bits, bool write);
/* Is the access of an instruction in the window? */
bool jit_covered(const JitWindow *w, const Insn *in);
void jit_window_check(JitBlock *b); /* before an instruction: closes it if nobody wants it */
void jit_window_step(JitBlock *b);  /* behind an instruction: follows its register */
