/* Operands: effective and linear addresses (SDM vol. 1, 3.7; vol. 3, 5.3), registers, r/m,
 * read-modify-write. */
#include "operand.h"

uint64_t insn_ea(const SoftCpu *c, const Insn *in)
{
    uint64_t ea = c->r[in->base] + (c->r[in->index] << in->scale) + (uint64_t)in->disp;
    return ea & size_mask(in->adsize);
}

static _Noreturn void seg_fault(SoftCpu *c, unsigned seg)
{
    soft_raise_err(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

static uint64_t seg_la_64(SoftCpu *c, unsigned seg, uint64_t off, unsigned size)
{
    uint64_t la = off + (seg >= SEG_FS ? c->seg[seg].base : 0);

    if (!soft_canonical48(la) || !soft_canonical48(la + size - 1)) {
        seg_fault(c, seg);
    }
    return la;
}

uint64_t seg_la(SoftCpu *c, unsigned seg, uint64_t off, unsigned size, bool write)
{
    const SoftSeg *s = &c->seg[seg];

    if (soft_code64(c)) {
        return seg_la_64(c, seg, off, size);
    }
    if ((c->mode & MODE_FLAT) && seg < SEG_FS && (seg != SEG_CS || !write)) {
        return (uint32_t)off;
    }
    if (cpu_prot(c)) {
        unsigned right =
            s->attr & ATTR_CODE ? (write ? 0 : ATTR_R) : (write ? ATTR_W : ATTR_A | ATTR_S);
        /* A null selector leaves attr without P. Data is always readable, the A bit is set by
         * loading. */
        if (!(s->attr & ATTR_P) || !(s->attr & right)) {
            seg_fault(c, seg);
        }
    }
    uint64_t last = off + size - 1;
    if (!(s->attr & ATTR_CODE) && (s->attr & ATTR_E) && (s->attr & ATTR_P)) {
        /* Expand-down: the valid offsets are above the limit. */
        uint64_t top = s->attr & ATTR_DB ? 0xffffffff : 0xffff;
        if (off <= s->limit || last > top) {
            seg_fault(c, seg);
        }
    } else if (last > s->limit &&
               !(s->limit == 0xffffffff && last > 0xffffffff && off <= 0xffffffff)) {
        seg_fault(c, seg);
    }
    return (uint32_t)(s->base + off);
}

uint64_t insn_la(SoftCpu *c, const Insn *in, unsigned size, bool write)
{
    return seg_la(c, in->seg, insn_ea(c, in), size, write);
}

static inline bool high_byte(const Insn *in, unsigned reg, unsigned size)
{
    return size == 1 && reg >= 4 && reg < 8 && !(in->flags & INSN_REX);
}

uint64_t insn_get_reg(const SoftCpu *c, const Insn *in, unsigned reg, unsigned size)
{
    if (high_byte(in, reg, size)) {
        return (c->r[reg - 4] >> 8) & 0xff;
    }
    return c->r[reg] & size_mask(size);
}

void insn_set_reg(SoftCpu *c, const Insn *in, unsigned reg, unsigned size, uint64_t val)
{
    if (size >= 4) {
        c->r[reg] = val & size_mask(size);
    } else if (high_byte(in, reg, size)) {
        c->r[reg - 4] = (c->r[reg - 4] & ~0xff00ull) | (val & 0xff) << 8;
    } else {
        uint64_t m = size_mask(size);
        c->r[reg] = (c->r[reg] & ~m) | (val & m);
    }
}

uint64_t insn_get_rm(SoftCpu *c, const Insn *in, unsigned size)
{
    if (!(in->flags & INSN_MEM)) {
        return insn_get_reg(c, in, in->rm, size);
    }
    return mem_ld(c, insn_la(c, in, size, false), size);
}

void insn_set_rm(SoftCpu *c, const Insn *in, unsigned size, uint64_t val)
{
    if (in->flags & INSN_MEM) {
        mem_st(c, insn_la(c, in, size, true), size, val);
    } else {
        insn_set_reg(c, in, in->rm, size, val);
    }
}

static uint64_t load_n(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1:
        return __atomic_load_n(p, __ATOMIC_RELAXED);
    case 2:
        return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
    case 4:
        return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
    default:
        return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
    }
}

#define CAS_FN(bits)                                                                               \
    static bool cas##bits(uint8_t *p, uint64_t *old, uint64_t val)                                 \
    {                                                                                              \
        uint##bits##_t o = (uint##bits##_t) * old;                                                 \
        bool ok = __atomic_compare_exchange_n((uint##bits##_t *)(void *)p, &o,                     \
            (uint##bits##_t)val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                       \
        *old = o;                                                                                  \
        return ok;                                                                                 \
    }
CAS_FN(8)
CAS_FN(16)
CAS_FN(32)
CAS_FN(64)

static bool cas_n(uint8_t *p, unsigned size, uint64_t *old, uint64_t val)
{
    switch (size) {
    case 1:
        return cas8(p, old, val);
    case 2:
        return cas16(p, old, val);
    case 4:
        return cas32(p, old, val);
    default:
        return cas64(p, old, val);
    }
}

/* A host compare-and-swap loop where there is a host pointer, else under the split lock. */
static uint64_t locked_rmw(SoftCpu *c, uint64_t la, RmwFn *fn, const RmwArg *a)
{
    uint8_t *p = rmw_host(c, la, a->size);

    if (p) {
        uint64_t old = load_n(p, a->size);
        while (!cas_n(p, a->size, &old, fn(old, a))) {
        }
        soft_rmw_done(c, a->size);
        return old;
    }
    soft_check(c, la, a->size, /* write= */ true);
    soft_split_lock(c);
    uint64_t old = mem_ld(c, la, a->size);
    mem_st(c, la, a->size, fn(old, a));
    soft_split_unlock(c);
    return old;
}

uint64_t mem_rmw(SoftCpu *c, uint64_t la, bool lock, RmwFn *fn, const RmwArg *a)
{
    if (lock) {
        return locked_rmw(c, la, fn, a);
    }
    if (!soft_hit_w(c->tlb, la, a->size)) {
        soft_check(c, la, a->size, /* write= */ true);
    }
    uint64_t old = mem_ld(c, la, a->size);
    mem_st(c, la, a->size, fn(old, a));
    return old;
}

uint64_t insn_rmw(SoftCpu *c, const Insn *in, RmwFn *fn, const RmwArg *a)
{
    if (in->flags & INSN_MEM) {
        return mem_rmw(c, insn_la(c, in, a->size, true), in->flags & INSN_LOCK, fn, a);
    }
    uint64_t old = insn_get_reg(c, in, in->rm, a->size);
    insn_set_reg(c, in, in->rm, a->size, fn(old, a));
    return old;
}
