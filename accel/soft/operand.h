/* What the integer instructions' InsnFns share: operands and read-modify-write. */
#pragma once

#include "flags.h"
#include "insn-fns.h"
#include "seg.h"

static inline uint64_t size_mask(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

static inline uint64_t sreg_get(const SoftCpu *c, const Insn *in, unsigned reg, unsigned size)
{
    return flags_sext(insn_get_reg(c, in, reg, size), size);
}

/* The r/m operand sign-extended. */
static inline uint64_t rm_sget(SoftCpu *c, const Insn *in, unsigned size)
{
    return flags_sext(insn_get_rm(c, in, size), size);
}

/* What a read-modify-write makes of old: a pure function of its arguments (it may run several times
 * under LOCK). */
typedef struct RmwArg {
    uint64_t src;
    unsigned size, op, carry;
} RmwArg;
typedef uint64_t RmwFn(uint64_t old, const RmwArg *a);

/* r/m = fn(r/m); atomic with LOCK. Returns the old value, zero-extended. Write permission is
 * checked before the read. */
uint64_t insn_rmw(SoftCpu *c, const Insn *in, RmwFn *fn, const RmwArg *a);
/* The same for memory at la. */
uint64_t mem_rmw(SoftCpu *c, uint64_t la, bool lock, RmwFn *fn, const RmwArg *a);

/*
 * Host address for an atomic operation on [la, la + size), NULL: take the split lock. May raise.
 * Across a cache line too: hosts punish split locks, up to stopping the thread for a minute.
 */
static inline uint8_t *rmw_host(SoftCpu *c, uint64_t la, unsigned size)
{
    if ((la & 63) + size > 64) {
        return NULL;
    }
    uint8_t *p = soft_hit_w(c->tlb, la, size);
    return p ? p : soft_rmw_ptr(c, la, size);
}

/* Linear address of [off, off + size) in a segment: limit, rights and canonical checks; may raise.
 */
uint64_t seg_la(SoftCpu *c, unsigned seg, uint64_t off, unsigned size, bool write);

/* Near transfers: target by operand size, limit and canonical checks (#GP), then c->ip_next. */
void near_jump(SoftCpu *c, const Insn *in, uint64_t ip);
/* The operand of a relative branch as an IP. */
static inline uint64_t rel_target(const Insn *in)
{
    return (in->ip + in->len + in->imm) & size_mask(in->opsize);
}
