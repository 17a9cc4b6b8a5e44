/*
 * The block interpreter: decoded blocks, their Op records and how handlers go from one to the next.
 *
 * A block is a run of instructions of one page. Each instruction is one Op; its handler ends in a
 * sibling call of the next one. There are two kinds of handlers:
 *  - hot ones do a frequent instruction in a frequent form and never raise: where a TLB probe
 * misses or something unusual comes up they change nothing and call op_slow(), which decodes the
 * instruction again from the block's own copy of its bytes and runs its InsnFn. So every
 * instruction has exactly one complete implementation, the InsnFn.
 *  - op_cold runs an InsnFn directly.
 *
 * What an InsnFn sees and does:
 *  - c->ip_cur is the instruction's IP, c->ip_next the one behind it. A transfer of control writes
 * c->ip_next. A REP instruction that stops in the middle (poll, chunk) writes c->ip_next =
 * c->ip_cur.
 *  - After it the interpreter goes on in the block only if ip_next is the next instruction, mode
 * and jump_gen are as before, and none of irq_shadow, halted, db_pending is set. Flushes and mode
 * changes therefore need no other signal.
 *  - soft_unwind() with exc_vector < 0 leaves to the dispatcher, which goes on at c->ip (set by the
 * caller).
 *  - An exception is pushed with c->ip_cur (faults) or c->ip_next (soft: INT n).
 *  - Interrupts and traps (#DB) come in between instructions; then ip_cur == ip_next == c->ip.
 */
#pragma once

#include "flags.h"
#include "insn.h"
#include "mem.h"

#include <string.h>

typedef void OpFn(SoftCpu *c, const Op *op);

/* Register numbers in an Op are byte offsets into c->r. 48 bytes. */
struct Op {
    OpFn *fn;
    union {
        uint64_t imm;     /* branches: target IP when taken */
        const Insn *insn; /* op_cold: behind the block's ops */
    };
    union {
        int64_t disp;
        const Op *taken; /* chained target; NULL: not yet or never */
    };
    const Op *fall; /* the same for the not-taken side */
    uint64_t ip;
    uint8_t dst, src, base, index;
    uint8_t mul; /* index factor: 1, 2, 4, 8 */
    uint8_t len;
    uint8_t idx; /* number of this Op in its block */
    uint8_t aux; /* OP_ADDR32 and segment of odd addresses; branches: OP_CHAIN_*; cc */
};
_Static_assert(sizeof(struct Op) == 48, "Op is sized for the cache");

enum { OP_ADDR32 = 0x80, OP_SEG = 0x0f }; /* aux: OP_SEG holds SEG_* + 1 */

enum { BLOCK_MAX_INSNS = 60, BLOCK_MAX_BYTES = BLOCK_MAX_INSNS * 15 };

/* Where generated code leaves a block for a target known in advance. */
typedef struct BlockLink {
    uint32_t at;  /* of the jump's displacement; 0: no generated code */
    uint32_t out; /* of the code that asks for the target */
    bool keyed;   /* to another page: it holds for one value of jump_gen */
} BlockLink;

typedef struct Block Block;
struct Block {
    /* The key. The host address tells apart what the memory map puts at the same place, ROM and its
     * shadow. */
    const uint8_t *host;  /* of the first byte */
    const uint8_t *host2; /* NULL or the second page of an instruction that crosses */
    uint64_t gpa, gpa2;   /* of the pages */
    uint64_t ip;
    uint32_t mode;
    uint16_t nbytes; /* of guest code */
    uint8_t nops;
    bool chains;         /* the last Op has chain pointers */
    uint8_t heat;        /* how often it was entered, until it is translated */
    OpFn *first;         /* the first Op's handler meanwhile */
    const uint8_t *code; /* NULL: not translated */
    BlockLink link[2];   /* not taken, taken */
    Block *hash_next;
    Block *page_next[2]; /* in the lists of the first and the second page */
    uint64_t granules[2];
    const uint8_t *bytes; /* own copy of the code */
    Op ops[];
};

/* The jump cache: linear IP to first Op. Valid if ip and (mode, jump_gen) match. */
enum { JUMP_BITS = 14, JUMP_SIZE = 1 << JUMP_BITS };
typedef struct JumpEntry {
    uint64_t ip;
    uint64_t key;
    const Op *op;
    uint64_t gen; /* SoftBlocks.gen: as long as it is the same, op is a block's first */
} JumpEntry;

/* Instructions that took op_slow() lately, by IP; valid while mode and bytes are the same. */
enum { SLOW_INSNS = 16 };
typedef struct SlowInsn {
    Insn in; /* in.len 0: empty */
    uint32_t mode;
    uint8_t bytes[15];
} SlowInsn;

/* blocks.c owns the rest of it. */
struct SoftBlocks {
    SlowInsn slow[SLOW_INSNS];
    JumpEntry jump[JUMP_SIZE];
    uint64_t gen;    /* counts flushes and invalidations of blocks */
    struct Jit *jit; /* made when the first block is hot */
    bool jit_off;    /* the host has none */
    struct BlockStore *store;
};

/* The mode and jump_gen words as one. */
static inline uint64_t jump_key(const SoftCpu *c)
{
    uint64_t k;
    memcpy(&k, &c->mode, sizeof k);
    return k;
}

static inline JumpEntry *jump_entry(SoftCpu *c, uint64_t ip)
{
    return &c->blocks->jump[(ip ^ (ip >> JUMP_BITS)) & (JUMP_SIZE - 1)];
}

static inline const Op *jump_find(SoftCpu *c, uint64_t ip)
{
    const JumpEntry *e = jump_entry(c, ip);
    return __builtin_expect(e->ip == ip && e->key == jump_key(c), 1) ? e->op : NULL;
}

/* True: leave to the dispatcher at the next transfer of control. */
static inline bool op_polled(SoftCpu *c)
{
    return __builtin_expect(atomic_load_explicit(&c->poll, memory_order_relaxed) != 0, 0);
}

static inline Block *op_block(const Op *op)
{
    return (Block *)((uintptr_t)(op - op->idx) - offsetof(Block, ops));
}

/* exec.c: handlers and what the hot ones fall back to. */
OpFn op_cold; /* op->insn by its InsnFn */
OpFn op_slow; /* a hot Op's instruction the complete way */
/*
 * A hot load or store that met no RAM: a register on a device's page that was met before, without
 * decoding. The whole instruction is done but for the destination register, unless the answer is
 * NONE; LEAVE: the block ends here.
 */
typedef enum OpDev { OP_DEV_NONE, OP_DEV_NEXT, OP_DEV_LEAVE } OpDev;
typedef struct OpDevLoad { /* in two registers: no local of a handler is in memory */
    uint64_t v;
    OpDev dev;
} OpDevLoad;
OpDevLoad op_dev_load(SoftCpu *c, const Op *op, uint64_t la, unsigned size);
OpDev op_dev_store(SoftCpu *c, const Op *op, uint64_t la, unsigned size, uint64_t v);
OpFn op_leave; /* end of a block without a transfer: to the dispatcher at op->ip */
OpFn op_break; /* gdb breakpoint */
OpFn op_warm;  /* the first Op of a block that may be translated: counts */
OpFn op_taken_slow, op_fall_slow; /* a branch without a chained target, or polled */
OpFn op_taken_out, op_fall_out;   /* the same from generated code, which has counted */

/* aux of an Op with chains: the dispatcher may fill in the pointer. */
enum { OP_CHAIN_TAKEN = 1, OP_CHAIN_FALL = 2 };

#define OP_NEXT(c, op) ((op)[1].fn((c), (op) + 1))

/* The taken side of a branch. */
static inline void op_taken(SoftCpu *c, const Op *op)
{
    const Op *t = op->taken;

    if (__builtin_expect(!t || op_polled(c), 0)) {
        return op_taken_slow(c, op);
    }
    c->icount += op->idx + 1u;
    return t->fn(c, t);
}

/* The other side: no poll, it goes forward. */
static inline void op_fall_through(SoftCpu *c, const Op *op)
{
    const Op *t = op->fall;

    if (__builtin_expect(!t, 0)) {
        return op_fall_slow(c, op);
    }
    c->icount += op->idx + 1u;
    return t->fn(c, t);
}

/* Code whose hot memory, stack and branch handlers may be used: 64-bit, or 32-bit over flat
 * segments. */
static inline bool mode_hot(uint32_t mode)
{
    uint32_t flat32 = MODE_CODE32 | MODE_FLAT | MODE_SS32;
    return (mode & MODE_CODE64) || (mode & flat32) == flat32;
}

/* IP arithmetic wraps at 4 GiB outside 64-bit code. */
static inline uint64_t mode_ip(uint32_t mode, uint64_t ip)
{
    return mode & MODE_CODE64 ? ip : (uint32_t)ip;
}

/*
 * blocks.c. The first Op of the block at c->ip, decoded if need be; NULL: run one instruction by
 * itself (code not in RAM, limits). May raise with c->ip_cur, set by the caller.
 */
const Op *block_get(SoftCpu *c);
/* A block has become hot: generated code, if there can be. op->fn is the first handler again. */
void block_translate(SoftCpu *c, Block *b);
/* Serves SOFT_POLL_FLUSH and SOFT_POLL_INVAL. */
void blocks_poll(SoftCpu *c);
/* A branch to ip asks for its chain pointer, and its link in generated code, to be set: to target
 * if it is known, else to the block that block_get() finds next, if that is the one at ip: an
 * interrupt may come first. */
void block_want_chain(SoftCpu *c, const Op *from, bool taken, uint64_t ip, const Op *target);

/* translate.c: Ops for n decoded instructions; cold ones go to insns. Returns the number of Ops (at
 * most n + 1). */
typedef struct Translation {
    const Insn *in;
    unsigned n;
    uint32_t mode;
    uint64_t page_ip; /* IP of the page's first byte */
    bool one_page;    /* chains within the page are allowed */
    Op *ops;
    Insn *insns;     /* room for n */
    unsigned ninsns; /* used */
    bool chains;     /* the last Op has chain pointers */
} Translation;
unsigned translate(Translation *t);
/* Of n instructions: which change flags that are never seen. */
void flags_dead(const Insn *in, unsigned n, bool *ret_dead);
/* Where a register operand is in c->r. */
static inline uint8_t op_reg_off(const Insn *in, unsigned reg, unsigned size)
{
    bool high = size == 1 && reg >= 4 && reg < 8 && !(in->flags & INSN_REX);
    return (uint8_t)(high ? (reg - 4) * 8 + 1 : reg * 8);
}
/* For tests: every instruction by its InsnFn. */
enum { SOFT_NO_HOT = 1u << 31 };
