/*
 * String instructions (SDM vol. 2: MOVS, CMPS, STOS, LODS, SCAS, REP). Each runs in chunks within
 * one page of either operand on host memory where both are plain RAM, element by element elsewhere.
 * RCX, RSI and RDI are written back after every chunk and before anything that may fault, so a
 * fault or an interrupt finds the instruction half done and able to go on.
 */
#include "op-string.h"

#include "exec.h"
#include "seg.h"

enum { CHUNKS_MAX = 64 }; /* then the dispatcher gets a look at poll */

uint64_t string_reg(const SoftCpu *c, const Insn *in, unsigned reg)
{
    uint64_t v = c->r[reg];

    return in->adsize == 8 ? v : in->adsize == 4 ? (uint32_t)v : (uint16_t)v;
}

void string_set_reg(SoftCpu *c, const Insn *in, unsigned reg, uint64_t v)
{
    if (in->adsize == 2) {
        c->r[reg] = (c->r[reg] & ~0xffffull) | (v & 0xffff);
    } else {
        c->r[reg] = in->adsize == 4 ? (uint32_t)v : v;
    }
}

uint64_t string_la(SoftCpu *c, const Insn *in, unsigned reg, unsigned seg, bool write)
{
    Insn m = { .flags = INSN_MEM,
        .opsize = in->opsize,
        .adsize = in->adsize,
        .base = (uint8_t)reg,
        .index = R_ZERO,
        .seg = (uint8_t)seg };

    return insn_la(c, &m, in->opsize, write);
}

/* Bytes from the register's offset on that need no further segment check and do not wrap; 0: check
 * each element. */
static uint64_t seg_span(const SoftCpu *c, const Insn *in, unsigned reg, unsigned seg)
{
    uint64_t off = string_reg(c, in, reg),
             wrap = in->adsize == 8 ? 4096 : (1ull << in->adsize * 8) - off;
    const SoftSeg *s = &c->seg[seg];
    uint64_t limit;

    if (soft_code64(c)) {
        return wrap;
    }
    if ((s->attr & (ATTR_CODE | ATTR_E)) == ATTR_E ||
        off > s->limit) { /* expand-down: not worth a fast path */
        return 0;
    }
    limit = (uint64_t)s->limit - off + 1;
    return limit < wrap ? limit : wrap;
}

/* The count of a REP. With 32-bit addresses RCX loses its upper half even if nothing is done; so do
 * the others of a move. */
static uint64_t rep_begin(SoftCpu *c, const Insn *in, bool src, bool dst)
{
    if (in->adsize == 4) {
        c->r[R_CX] = (uint32_t)c->r[R_CX];
        c->r[R_SI] = src ? (uint32_t)c->r[R_SI] : c->r[R_SI];
        c->r[R_DI] = dst ? (uint32_t)c->r[R_DI] : c->r[R_DI];
    }
    return string_reg(c, in, R_CX);
}

static uint64_t page_left(uint64_t la)
{
    return 4096 - (la & 4095);
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int64_t string_step(const SoftCpu *c, const Insn *in)
{
    return c->sysflags & FL_DF ? -(int64_t)in->opsize : in->opsize;
}

static void advance(SoftCpu *c, const Insn *in, unsigned reg, uint64_t n)
{
    string_set_reg(c, in, reg, string_reg(c, in, reg) + n * (uint64_t)string_step(c, in));
}

/* How many elements may go at once from the given sides: both in one page, forward, within their
 * segments. */
static uint64_t chunk(
    const SoftCpu *c, const Insn *in, uint64_t count, unsigned reg, unsigned seg, uint64_t la)
{
    uint64_t bytes = min64(page_left(la), seg_span(c, in, reg, seg));

    return min64(count, bytes / in->opsize);
}

/* True: stop here, the instruction goes on later. */
static bool rep_pause(SoftCpu *c, unsigned *chunks)
{
    if ((c->mode & MODE_STEP) || atomic_load_explicit(&c->poll, memory_order_relaxed) ||
        ++*chunks >= CHUNKS_MAX) {
        c->ip_next = c->ip_cur;
        return true;
    }
    return false;
}

static void move_host(uint8_t *d, const uint8_t *s, uint64_t n, unsigned size)
{
    uint64_t bytes = n * size;

    if (d > s && d < s + bytes) { /* overlap: elements already written are read again */
        for (uint64_t i = 0; i < n; i++) {
            uint64_t v = 0;

            memcpy(&v, s + i * size, size);
            memcpy(d + i * size, &v, size);
        }
        return;
    }
    memmove(d, s, bytes);
}

/* Moves up to count elements; returns how many. */
static uint64_t movs_some(SoftCpu *c, const Insn *in, uint64_t count)
{
    uint64_t src = string_la(c, in, R_SI, in->seg, false), dst, n = 1, v;
    const uint8_t *s = NULL;

    if (count > 1 && !(c->sysflags & FL_DF)) {
        n = chunk(c, in, count, R_SI, in->seg, src);
        s = n > 1 ? soft_probe(c, src, (unsigned)(n * in->opsize), false) : NULL;
    }
    if (s) {
        dst = string_la(c, in, R_DI, SEG_ES, true);
        n = min64(n, chunk(c, in, count, R_DI, SEG_ES, dst));
        uint8_t *d = n > 1 ? soft_probe(c, dst, (unsigned)(n * in->opsize), true) : NULL;

        if (d) {
            move_host(d, s, n, in->opsize);
            return n;
        }
    }
    v = mem_ld(c, src, in->opsize);
    mem_st(c, string_la(c, in, R_DI, SEG_ES, true), in->opsize, v);
    return 1;
}

void insn_movs(SoftCpu *c, const Insn *in)
{
    unsigned chunks = 0;

    if (in->rep == REP_NONE) {
        movs_some(c, in, 1);
        advance(c, in, R_SI, 1);
        advance(c, in, R_DI, 1);
        return;
    }
    for (uint64_t count = rep_begin(c, in, true, true), n; count; count -= n) {
        n = movs_some(c, in, c->mode & MODE_STEP ? 1 : count);
        advance(c, in, R_SI, n);
        advance(c, in, R_DI, n);
        string_set_reg(c, in, R_CX, count - n);
        if (count > n && rep_pause(c, &chunks)) {
            return;
        }
    }
}

static void fill_host(uint8_t *d, uint64_t v, uint64_t n, unsigned size)
{
    if (size == 1 || v == (v & 0xff) * (~0ull / 0xff >> (64 - size * 8))) {
        memset(d, (int)(v & 0xff), n * size);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        memcpy(d + i * size, &v, size);
    }
}

static uint64_t acc_of(const SoftCpu *c, unsigned size)
{
    return size == 8 ? c->r[R_AX] : c->r[R_AX] & ((1ull << size * 8) - 1);
}

static uint64_t stos_some(SoftCpu *c, const Insn *in, uint64_t count)
{
    uint64_t dst = string_la(c, in, R_DI, SEG_ES, true), v = acc_of(c, in->opsize), n;

    if (count > 1 && !(c->sysflags & FL_DF)) {
        n = chunk(c, in, count, R_DI, SEG_ES, dst);
        uint8_t *d = n > 1 ? soft_probe(c, dst, (unsigned)(n * in->opsize), true) : NULL;

        if (d) {
            fill_host(d, v, n, in->opsize);
            return n;
        }
    }
    mem_st(c, dst, in->opsize, v);
    return 1;
}

void insn_stos(SoftCpu *c, const Insn *in)
{
    unsigned chunks = 0;

    if (in->rep == REP_NONE) {
        stos_some(c, in, 1);
        advance(c, in, R_DI, 1);
        return;
    }
    for (uint64_t count = rep_begin(c, in, false, true), n; count; count -= n) {
        n = stos_some(c, in, c->mode & MODE_STEP ? 1 : count);
        advance(c, in, R_DI, n);
        string_set_reg(c, in, R_CX, count - n);
        if (count > n && rep_pause(c, &chunks)) {
            return;
        }
    }
}

void insn_lods(SoftCpu *c, const Insn *in)
{
    unsigned chunks = 0;

    if (in->rep == REP_NONE) {
        uint64_t v = mem_ld(c, string_la(c, in, R_SI, in->seg, false), in->opsize);

        insn_set_reg(c, in, R_AX, in->opsize, v);
        advance(c, in, R_SI, 1);
        return;
    }
    for (uint64_t count = rep_begin(c, in, false, false); count; count--) {
        uint64_t v = mem_ld(c, string_la(c, in, R_SI, in->seg, false), in->opsize);

        insn_set_reg(c, in, R_AX, in->opsize, v);
        advance(c, in, R_SI, 1);
        string_set_reg(c, in, R_CX, count - 1);
        if (count > 1 && (count & 255) == 0 && rep_pause(c, &chunks)) {
            return;
        }
        if (count > 1 && (c->mode & MODE_STEP)) {
            c->ip_next = c->ip_cur;
            return;
        }
    }
}

static void set_cmp(SoftCpu *c, unsigned size, uint64_t a, uint64_t b)
{
    uint64_t d = flags_sext(a, size), s = flags_sext(b, size);

    flags_arith(c, FLAGS_OP_SUB, d, s, flags_sext(d - s, size));
}

static uint64_t load_host(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    return v;
}

/* Runs of comparisons: how many elements were compared, and the last pair. */
typedef struct CmpRun {
    uint64_t n, a, b;
} CmpRun;

/* Does REPE or REPNE go on after this pair? */
static bool rep_goes_on(const Insn *in, const CmpRun *r)
{
    return (r->a == r->b) == (in->rep == REP_E);
}

static CmpRun scan_host(
    const Insn *in, const uint8_t *a, uint64_t acc, const uint8_t *b, uint64_t n)
{
    CmpRun r = { 0 };

    do {
        r.a = a ? load_host(a + r.n * in->opsize, in->opsize) : acc;
        r.b = load_host(b + r.n * in->opsize, in->opsize);
        r.n++;
    } while (r.n < n && rep_goes_on(in, &r));
    return r;
}

/* ES:rDI is read first, as on real CPUs. */
static CmpRun cmps_some(SoftCpu *c, const Insn *in, uint64_t count)
{
    uint64_t dst = string_la(c, in, R_DI, SEG_ES, false), src, n = 1;
    const uint8_t *d = NULL;
    CmpRun r = { .n = 1 };

    if (count > 1 && !(c->sysflags & FL_DF)) {
        n = chunk(c, in, count, R_DI, SEG_ES, dst);
        d = n > 1 ? soft_probe(c, dst, (unsigned)(n * in->opsize), false) : NULL;
    }
    if (d) {
        src = string_la(c, in, R_SI, in->seg, false);
        n = min64(n, chunk(c, in, count, R_SI, in->seg, src));
        const uint8_t *s = n > 1 ? soft_probe(c, src, (unsigned)(n * in->opsize), false) : NULL;

        if (s) {
            return scan_host(in, s, 0, d, n);
        }
    }
    r.b = mem_ld(c, dst, in->opsize);
    r.a = mem_ld(c, string_la(c, in, R_SI, in->seg, false), in->opsize);
    return r;
}

static CmpRun scas_some(SoftCpu *c, const Insn *in, uint64_t count)
{
    uint64_t dst = string_la(c, in, R_DI, SEG_ES, false);
    CmpRun r = { .n = 1, .a = acc_of(c, in->opsize) };

    if (count > 1 && !(c->sysflags & FL_DF)) {
        uint64_t n = chunk(c, in, count, R_DI, SEG_ES, dst);
        const uint8_t *d = n > 1 ? soft_probe(c, dst, (unsigned)(n * in->opsize), false) : NULL;

        if (d) {
            return scan_host(in, NULL, r.a, d, n);
        }
    }
    r.b = mem_ld(c, dst, in->opsize);
    return r;
}

typedef CmpRun CmpFn(SoftCpu *c, const Insn *in, uint64_t count);

static void compare_string(SoftCpu *c, const Insn *in, CmpFn *some, bool both)
{
    bool rep = in->rep != REP_NONE;
    uint64_t count = rep ? rep_begin(c, in, false, false) : 1;
    unsigned chunks = 0;

    while (count) {
        CmpRun r = some(c, in, rep && !(c->mode & MODE_STEP) ? count : 1);

        advance(c, in, R_DI, r.n);
        if (both) {
            advance(c, in, R_SI, r.n);
        }
        if (rep) {
            count -= r.n;
            string_set_reg(c, in, R_CX, count);
        }
        /* A fault in a later iteration finds the flags from before the instruction (SDM vol. 2,
         * REP). */
        if (!rep || !count || !rep_goes_on(in, &r)) {
            set_cmp(c, in->opsize, r.a, r.b);
            return;
        }
        if (rep_pause(c, &chunks)) {
            return;
        }
    }
}

void insn_cmps(SoftCpu *c, const Insn *in)
{
    compare_string(c, in, cmps_some, true);
}

void insn_scas(SoftCpu *c, const Insn *in)
{
    compare_string(c, in, scas_some, false);
}
