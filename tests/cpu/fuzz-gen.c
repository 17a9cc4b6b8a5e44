/* Makes the fuzzer's cases: every case is a function of the seed, the encoding, the mode and its
 * number. */
#include "fuzz.h"

#include <string.h>

typedef struct Gen {
    FuzzCase *c;
    const Encoding *e;
    uint64_t x;    /* generator state */
    uint8_t *p;    /* where the next byte goes */
    uint8_t *disp; /* RIP-relative displacement to patch, or NULL */
    unsigned seg;  /* segment override, 0: none */
    unsigned adsize;
    uint8_t rex;
    bool lock;
} Gen;

enum { REG_SP = 4, REG_BP = 5 };
enum { F_ARITH = 0x8d5, F_DF = 0x400 };

uint64_t fuzz_hash(uint64_t a, uint64_t b)
{
    uint64_t z = a * 0x9e3779b97f4a7c15ull + b + 0x632be59bd9b4e019ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint64_t rnd(Gen *g)
{
    g->x += 0x9e3779b97f4a7c15ull;
    return fuzz_hash(g->x, 1);
}

static unsigned below(Gen *g, unsigned n)
{
    return (unsigned)((rnd(g) >> 32) * n >> 32);
}

static bool chance(Gen *g, unsigned percent)
{
    return below(g, 100) < percent;
}

static uint64_t edge(Gen *g)
{
    uint64_t r = rnd(g);

    switch (r & 15) {
    case 0:
        return 0;
    case 1:
        return ~0ull;
    case 2:
        return 1ull << (r >> 8 & 63);
    case 3:
        return (1ull << (r >> 8 & 63)) - 1;
    case 4:
        return ~(1ull << (r >> 8 & 63));
    case 5:
        return r >> 8 & 0xff;
    case 6:
        return 0x8000000080008080ull;
    case 7:
        return 0x7fffffff7fff7f7full;
    case 8:
        return r >> (r >> 8 & 63);
    case 9:
        return 0 - (r >> 8 & 0xff);
    default:
        return r;
    }
}

static uint64_t edge_double(Gen *g)
{
    static const uint64_t v[] = { 0, 1ull << 63, 0x3ff0000000000000, 0xbff0000000000000,
        0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000001, 0x7ff0000000000001, 1,
        0x000fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff, 0x43e0000000000000,
        0xc1e0000000000000, 0x41dfffffffc00000, 0x3fe0000000000000, 0x36a0000000000000,
        0x47efffffe0000000 };
    uint64_t r = rnd(g);

    if (r & 1) {
        return v[(r >> 8) % (sizeof v / sizeof *v)];
    }
    if (r & 2) { /* near one: sums and products that round */
        return (r >> 12 & 0x800fffffffffffffull) | (0x3f0ull + (r >> 3 & 31)) << 52 | (r & 4) << 61;
    }
    return rnd(g);
}

static uint32_t edge_single(Gen *g)
{
    static const uint32_t v[] = { 0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
        0x7fc00001, 0x7f800001, 1, 0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000,
        0x5f000000, 0x3f000000, 0x4effffff };
    uint64_t r = rnd(g);

    if (r & 1) {
        return v[(r >> 8) % (sizeof v / sizeof *v)];
    }
    if (r & 2) {
        return (
            uint32_t)((r >> 8 & 0x007fffff) | (0x70 + (r >> 40 & 31)) << 23 | (r >> 50 & 1) << 31);
    }
    return (uint32_t)(r >> 16);
}

static void edge_extended(Gen *g, uint8_t *out)
{
    static const struct {
        uint16_t se;
        uint64_t m;
    } v[] = { { 0, 0 }, { 0x8000, 0 }, { 0x3fff, 1ull << 63 }, { 0xbfff, 1ull << 63 },
        { 0x7fff, 1ull << 63 }, { 0xffff, 1ull << 63 }, { 0x7fff, 0xc000000000000001 },
        { 0x7fff, 0x8000000000000001 }, { 0, 1 }, { 0, 1ull << 63 }, { 1, 1ull << 63 },
        { 0x7ffe, ~0ull }, { 0x3fff, 1 }, { 0x7fff, 0 }, { 0x403e, 1ull << 63 },
        { 0xc01e, 1ull << 63 }, { 0x3f80, 1ull << 63 }, { 0x3c00, 1ull << 63 },
        { 0x43fe, 0xfffffffffffff800 }, { 0x407e, 0xffffff8000000000 },
        { 0x3ffe, 0xb504f333f9de6484 } };
    uint64_t r = rnd(g), m;
    uint16_t se;

    if (r & 1) {
        unsigned i = (unsigned)((r >> 8) % (sizeof v / sizeof *v));
        se = v[i].se;
        m = v[i].m;
    } else if (r & 6) {
        se = (uint16_t)((0x3ff0 + (r >> 8 & 31)) | (r >> 20 & 1) << 15);
        m = edge(g) | 1ull << 63;
    } else {
        se = (uint16_t)(r >> 8);
        m = rnd(g) | 1ull << 63;
    }
    memcpy(out, &m, 8);
    memcpy(out + 8, &se, 2);
}

static void edge_fill(Gen *g, uint8_t *out, unsigned n)
{
    for (unsigned i = 0; i < n; i += 8) {
        uint64_t v = edge(g);

        if (g->e->flags & E_DOUBLE) {
            v = edge_double(g);
        } else if (g->e->flags & E_SINGLE) {
            v = edge_single(g) | (uint64_t)edge_single(g) << 32;
        }
        memcpy(out + i, &v, n - i < 8 ? n - i : 8);
    }
}

static void poke(Gen *g, uint64_t la, const void *bytes, unsigned n)
{
    FuzzCase *c = g->c;
    uint64_t off = la - FUZZ_AREA;
    FuzzPoke *k = &c->pokes[c->npokes];

    if (off >= FUZZ_SIZE || off + n > FUZZ_SIZE || c->npokes == 6 ||
        fuzz_page_kind((unsigned)(off >> 12)) != PAGE_RW ||
        fuzz_page_kind((unsigned)((off + n - 1) >> 12)) != PAGE_RW) {
        return;
    }
    k->off = (uint32_t)off;
    k->n = (uint8_t)n;
    memcpy(k->bytes, bytes, n);
    c->npokes++;
}

static uint64_t seg_base(const Gen *g)
{
    return g->c->mode == FUZZ_16 || g->seg == 0x65 ? FUZZ_AREA : 0;
}

/* A linear address for an operand: mostly good, sometimes on a page's edge, read-only, missing or
 * non-canonical. */
static uint64_t pick_target(Gen *g, unsigned size)
{
    unsigned w = below(g, 100);
    uint64_t t;

    if (w < 70) {
        t = FUZZ_AREA + 0x1080 + below(g, 0x1e00);
    } else if (w < 80) {
        t = FUZZ_AREA + 0x2000 - below(g, size + 2);
    } else if (w < 85) {
        t = FUZZ_AREA + 0x3000 - below(g, size + 1);
    } else if (w < 88) {
        t = FUZZ_AREA + 0x1000 - below(g, size + 1);
    } else if (w < 93) {
        t = FUZZ_AREA + 0x4000 + below(g, 0xe00);
    } else if (w < 97) {
        t = FUZZ_AREA + 0x3000 + below(g, 0x800);
    } else {
        t = g->c->mode == FUZZ_64 ? edge(g) : FUZZ_AREA + below(g, 0x10000);
        if (g->c->mode == FUZZ_64 && t < (1ull << 47) && !(t - FUZZ_AREA < FUZZ_SIZE)) {
            t |= 1ull << 62; /* the process's own memory must not be hit */
        }
    }
    if (g->lock || g->e->flags & E_ALWAYSLOCK) {
        t &= ~15ull; /* the host may punish locks that cross a cache line */
    } else if (g->e->flags & E_ALIGN16 && chance(g, 88)) {
        t &= ~15ull;
    } else if (chance(g, 50)) {
        t &= ~7ull;
    }
    return t;
}

static void put(Gen *g, uint64_t v, unsigned n)
{
    memcpy(g->p, &v, n);
    g->p += n;
}

static void set_low(uint64_t *r, uint64_t v, unsigned size)
{
    uint64_t mask = size == 8 ? ~0ull : (1ull << size * 8) - 1;

    *r = (*r & ~mask) | (v & mask);
}

static uint64_t get_low(uint64_t r, unsigned size)
{
    return size == 8 ? r : r & ((1ull << size * 8) - 1);
}

static void mem16(Gen *g, unsigned reg, uint64_t off)
{
    static const uint8_t base[8] = { 3, 3, 5, 5, 6, 7, 5, 3 },
                         index[8] = { 6, 7, 6, 7, 0xff, 0xff, 0xff, 0xff };
    unsigned mod = below(g, 3), rm = below(g, 8);
    int disp = mod == 1 ? (int8_t)rnd(g) : mod == 2 ? (int16_t)rnd(g) : 0;
    uint64_t *r = g->c->in.r;

    put(g, mod << 6 | reg << 3 | rm, 1);
    if (mod == 0 && rm == 6) {
        put(g, off, 2);
        return;
    }
    put(g, (uint64_t)(int64_t)disp, mod);
    if (index[rm] != 0xff) {
        off -= r[index[rm]];
    }
    set_low(&r[base[rm]], off - (uint64_t)(int64_t)disp, 2);
}

static void mem_sib(Gen *g, unsigned reg, uint64_t off)
{
    uint64_t *r = g->c->in.r;
    unsigned n = g->c->mode == FUZZ_64 ? 16 : 8, mod = below(g, 3), base = below(g, n),
             index = below(g, n);
    unsigned scale = below(g, 4), idx = index == REG_SP ? 0xff : index;
    int64_t disp = mod == 1 ? (int8_t)rnd(g) : mod == 2 ? (int32_t)rnd(g) : 0;

    while (idx == base) {
        base = below(g, n);
    }
    g->rex |= (uint8_t)(base >> 3 | (index >> 3) << 1);
    put(g, mod << 6 | reg << 3 | 4, 1);
    put(g, scale << 6 | (index & 7) << 3 | (base & 7), 1);
    if (mod == 0 && (base & 7) == 5) { /* no base */
        if (idx != 0xff) {
            r[idx] = below(g, 64);
            off -= r[idx] << scale;
        }
        put(g, off, 4);
        return;
    }
    put(g, (uint64_t)disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
    if (idx != 0xff) {
        off -= get_low(r[idx], g->adsize) << scale;
    }
    set_low(&r[base], off - (uint64_t)disp, g->adsize);
}

static void mem_flat(Gen *g, unsigned reg, uint64_t off)
{
    unsigned w = below(g, 100), n = g->c->mode == FUZZ_64 ? 16 : 8, mod = below(g, 3), base;
    int64_t disp;

    if (w < 10) {
        put(g, reg << 3 | 5, 1);
        if (g->c->mode == FUZZ_64) {
            g->disp = g->p;
        }
        put(g, off, 4);
        return;
    }
    if (w < 50) {
        mem_sib(g, reg, off);
        return;
    }
    do {
        base = below(g, n);
    } while ((base & 7) == 4 || (mod == 0 && (base & 7) == 5));
    disp = mod == 1 ? (int8_t)rnd(g) : mod == 2 ? (int32_t)rnd(g) : 0;
    g->rex |= (uint8_t)(base >> 3);
    put(g, mod << 6 | reg << 3 | (base & 7), 1);
    put(g, (uint64_t)disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
    set_low(&g->c->in.r[base], off - (uint64_t)disp, g->adsize);
}

/* One of the selectors for which host and engine have the same descriptor, or none. */
static uint16_t pick_selector(Gen *g)
{
    static const uint16_t sel[] = { 0, 1, 3, 0x2b, 0x2b, 0x28, 0x2a, 0x23, 0x33, 0x20, 0x07, 0x0f,
        0x0f, 0x0e, 0x0c, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x10, 0x18, 0x08, 0x40, 0x50 };

    return chance(g, 10) ? (uint16_t)(rnd(g) | 0x80) : sel[below(g, sizeof sel / sizeof *sel)];
}

static void gen_modrm(Gen *g, uint8_t *opend)
{
    const Encoding *e = g->e;
    unsigned reg = e->ext1 ? e->ext1 - 1u : below(g, 8),
             size = e->memsize ? e->memsize : g->c->opsize;
    uint8_t buf[64];

    (void)opend;
    if (e->modrm) {
        put(g, e->modrm, 1);
        return;
    }
    if (e->quirk == Q_FXSAVE || e->quirk == Q_FXRSTOR) {
        size = 512;
    }
    if (e->flags & E_REGONLY || (!(e->flags & E_MEMONLY) && chance(g, 50))) {
        unsigned rm = below(g, 8);

        if (e->flags & E_BRANCH && chance(g, 80)) {
            uint64_t *r = &g->c->in.r[rm | ((g->rex & 1) << 3)];
            *r = g->c->code + 0x100 - (g->c->mode == FUZZ_16 ? FUZZ_AREA : 0);
        }
        if (e->flags & E_SEG) {
            set_low(&g->c->in.r[rm | (g->rex & 1) << 3], pick_selector(g), 2);
        }
        put(g, 0xc0 | reg << 3 | rm, 1);
        return;
    }
    g->rex &= 0xfc; /* X and B follow from the address chosen */
    g->c->target = pick_target(g, size);
    if (e->quirk == Q_BT && chance(g, 80)) {
        uint64_t *r = &g->c->in.r[reg | (g->rex & 4) << 1];
        bool near = chance(g, 30); /* the operand is at the address itself */
        set_low(r, near ? below(g, 16) : (uint64_t)(int64_t)((int)below(g, 0x4000) - 0x2000),
            g->c->opsize);
    }
    if (g->adsize == 2) {
        mem16(g, reg, g->c->target - seg_base(g));
    } else {
        mem_flat(g, reg, g->c->target - seg_base(g));
    }
    edge_fill(g, buf, 32);
    if (e->flags & E_BRANCH && chance(g, 80)) {
        uint64_t v = g->c->code + 0x100 - (g->c->mode == FUZZ_16 ? FUZZ_AREA : 0);
        memcpy(buf, &v, 8);
    }
    if (e->flags & E_SEG) {
        uint16_t sel = pick_selector(g);
        memcpy(buf + (e->memsize ? 0 : g->c->opsize), &sel, 2);
    }
    if (e->flags & E_FX && !(e->flags & E_SIMD) && e->memsize == 10) {
        edge_extended(g, buf);
        if (e->op == 0xdf) { /* packed BCD: digits, mostly */
            for (unsigned i = 0; i < 9 && chance(g, 90); i++) {
                buf[i] = (uint8_t)(below(g, 10) << 4 | below(g, 10));
            }
        }
    }
    if (e->op == 0x1ae && e->ext1 == 3 && chance(g, 90)) {
        buf[2] = buf[3] = 0;
    }
    poke(g, g->c->target, buf, e->quirk == Q_FXRSTOR ? 16 : 32);
    if (e->quirk == Q_FXRSTOR) {
        uint32_t mxcsr = (uint32_t)rnd(g) & (chance(g, 90) ? 0xffff : 0x1ffff);
        poke(g, g->c->target + 24, &mxcsr, 4);
    }
}

static unsigned imm_size(const Gen *g)
{
    unsigned z = g->c->opsize == 2 ? 2 : 4;

    switch (g->e->imm) {
    case IMM_B:
    case IMM_RELB:
        return 1;
    case IMM_W:
        return 2;
    case IMM_Z:
        return z;
    case IMM_RELZ:
        return g->c->mode == FUZZ_64 ? 4 : z;
    case IMM_V:
        return g->c->opsize;
    case IMM_MOFFS:
        return g->adsize;
    case IMM_WB:
        return 3;
    default:
        return 0;
    }
}

static void gen_imm(Gen *g)
{
    FuzzCase *c = g->c;
    unsigned n = imm_size(g);
    uint64_t v = edge(g);

    if (g->e->imm == IMM_MOFFS) {
        c->target = pick_target(g, c->opsize);
        v = c->target - seg_base(g);
    } else if (g->e->imm == IMM_RELB || g->e->imm == IMM_RELZ) {
        int len = (int)(g->p + n - c->bytes);
        do { /* never into the instruction itself: that could loop */
            v = rnd(g);
            if (g->e->imm == IMM_RELZ && chance(g, 80)) {
                v = (uint64_t)(int64_t)(int16_t)v / 32;
            }
            v = n == 1   ? (uint64_t)(int64_t)(int8_t)v
                : n == 2 ? (uint64_t)(int64_t)(int16_t)v
                         : (uint64_t)(int64_t)(int32_t)v;
        } while ((int64_t)v >= -len - 1 && (int64_t)v < 1);
    } else if (g->e->imm == IMM_WB) {
        v = (chance(g, 80) ? below(g, 64) : rnd(g) & 0xffff) |
            (uint64_t)(chance(g, 50) ? 0 : below(g, 64)) << 16;
    } else if (g->e->quirk == Q_RET) {
        v &= 0xff;
    }
    c->imm = (uint32_t)get_low(v, n < 4 ? n : 4);
    put(g, v, n);
}

static void gen_fx(Gen *g)
{
    uint8_t *fx = g->c->in.fx;
    uint16_t fcw = 0x37f, fsw = 0;
    uint32_t mxcsr = 0x1f80, mask = 0xffff;

    fx[4] = 0;
    if (g->e->flags & E_FX) {
        bool x87 = !(g->e->flags & E_SIMD);
        fcw = (uint16_t)((chance(g, 75) ? 0x37f : 0x340 | (rnd(g) & 0x3f)) &
                         (chance(g, 50) ? 0xfff : 0x0ff));
        fcw |= (uint16_t)(below(g, 4) << 10) | 0x40;
        fsw = (uint16_t)((x87 || chance(g, 20) ? rnd(g) & 0x7f00 : 0) |
                         (chance(g, 20) ? rnd(g) & 0x3f : 0));
        if (fsw & ~fcw & 0x3f) {
            if (chance(g, 70)) {
                fsw &= (uint16_t)(0xff40 | fcw);
            } else {
                fsw |= 0x8080;
            }
        }
        fx[4] = (uint8_t)(chance(g, 60) ? 0xff : rnd(g));
        mxcsr = (uint32_t)((chance(g, 75) ? 0x1f80 : rnd(g) & 0x1f80) | (rnd(g) & 0x6000) |
                           (chance(g, 50) ? rnd(g) & 0x3f : 0));
        mxcsr |= chance(g, 10) ? 0x8000u : 0;
        mxcsr |= chance(g, 10) ? 0x40u : 0;
        for (unsigned i = 0; i < 8; i++) {
            if (x87) {
                edge_extended(g, fx + 32 + i * 16);
            } else {
                edge_fill(g, fx + 32 + i * 16, 8);
                fx[40 + i * 16] = fx[41 + i * 16] = (uint8_t)rnd(g);
            }
        }
        edge_fill(g, fx + 160, g->c->mode == FUZZ_64 ? 256 : 128);
        if (chance(g, 30)) { /* equal operands */
            memcpy(fx + 160 + below(g, 8) * 16, fx + 160 + below(g, 8) * 16, 16);
        }
    }
    memcpy(fx, &fcw, 2);
    memcpy(fx + 2, &fsw, 2);
    memcpy(fx + 24, &mxcsr, 4);
    memcpy(fx + 28, &mask, 4);
}

static void gen_regs(Gen *g)
{
    FuzzCase *c = g->c;
    /* POPF: the flags must come from a poke, or AC and NT would stay with us. */
    unsigned w = g->e->quirk == Q_POPF ? 0 : below(g, 100);
    uint64_t sp;

    for (unsigned i = 0; i < (c->mode == FUZZ_64 ? 16 : 8); i++) {
        c->in.r[i] = c->mode == FUZZ_64 ? edge(g) : (uint32_t)edge(g);
    }
    sp = w < 85   ? 0x5400 + below(g, 0x800)
         : w < 90 ? 0x2000 - 16 + below(g, 32)
         : w < 95 ? 0x1000 - 16 + below(g, 48)
                  : 0x6000 + 8 - below(g, 16);
    sp = (chance(g, w < 85 ? 85 : 50) ? sp & ~7ull : sp) + (c->mode == FUZZ_16 ? 0 : FUZZ_AREA);
    if (g->e->quirk == Q_POPF && chance(g, 12)) { /* a hole, or the last byte before one */
        sp = (chance(g, 50) ? 0x2fff : 0x3008 + 8 * below(g, 400)) +
             (c->mode == FUZZ_16 ? 0 : FUZZ_AREA);
    }
    c->in.r[REG_SP] = sp;
    if (g->e->flags & E_STACK) {
        c->in.r[REG_BP] = chance(g, 90) ? sp + below(g, 128) - 64 : c->in.r[REG_BP];
    }
    c->in.rflags =
        0x202 | (rnd(g) & F_ARITH) | (chance(g, g->e->flags & E_STR ? 30 : 5) ? F_DF : 0);
    if (g->e->quirk == Q_RCX) {
        c->in.r[1] = chance(g, 50) ? below(g, 3) : c->in.r[1];
    }
}

static void gen_implicit(Gen *g)
{
    FuzzCase *c = g->c;
    uint64_t *r = c->in.r, base = seg_base(g), es = c->mode == FUZZ_16 ? FUZZ_AREA : 0;
    uint8_t buf[64];

    if (g->e->flags & E_STR) {
        uint64_t src = pick_target(g, 8),
                 dst = chance(g, 30) ? src + below(g, 64) - 32 : pick_target(g, 8);

        set_low(&r[6], src - base, g->adsize);
        set_low(&r[7], dst - es, g->adsize);
        set_low(&r[1],
            chance(g, 60)   ? below(g, 70)
            : chance(g, 80) ? below(g, 2000)
                            : edge(g),
            g->adsize);
        if (chance(g, 50)) { /* equal runs for CMPS and SCAS */
            memset(buf, (int)rnd(g), 40);
            poke(g, src, buf, 40);
            poke(g, dst, buf, 40);
            memcpy(r, buf, g->c->mode == FUZZ_64 ? 8 : 4);
        }
    }
    if (g->e->flags & E_XLAT) {
        set_low(&r[3], pick_target(g, 1) - base - (r[0] & 0xff), g->adsize);
    }
    if (g->e->flags & E_MASKMOV) {
        set_low(&r[7], pick_target(g, 16) - base, g->adsize);
    }
    if (g->e->flags & E_STACK) {
        uint64_t sp = r[REG_SP] + es, v;

        edge_fill(g, buf, 64);
        memcpy(&v, buf, 8);
        if (g->e->quirk == Q_RET && chance(g, 85)) {
            v = c->code + 0x200 - es;
        } else if (g->e->quirk == Q_POPF) {
            v &= chance(g, 95) ? 0xffd9beffull : 0xffd9bfffull; /* no AC, NT, ID; TF seldom */
        }
        memcpy(buf, &v, 8);
        if (g->e->flags & E_SEG) {
            uint16_t sel = pick_selector(g);
            memcpy(buf, &sel, 2);
        }
        if (g->e->op != 0xc9) {
            poke(g, sp, buf, 64);
        } else {
            poke(g, r[REG_BP] + es, buf, 16);
        }
    }
}

static void gen_prefixes(Gen *g)
{
    static const uint8_t segs[6] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
    const Encoding *e = g->e;
    FuzzMode m = g->c->mode;
    bool p66 = false, branch = e->imm == IMM_RELB || e->imm == IMM_RELZ || e->flags & E_BRANCH ||
                               e->quirk == Q_RET;

    if (m == FUZZ_64 && chance(g, 60)) {
        g->rex = (uint8_t)(0x40 | below(g, 16));
        if (e->flags & E_NOREXW) {
            g->rex &= 0xf7;
        }
    }
    if (chance(g, 8)) {
        g->seg = segs[below(g, 6)];
        if (m == FUZZ_64 && g->seg == 0x64) { /* FS is the thread pointer here */
            g->seg = 0x65;
        }
        put(g, g->seg, 1);
    }
    g->adsize = m == FUZZ_64 ? 8 : m == FUZZ_32 ? 4 : 2;
    if (chance(g, 8)) {
        put(g, 0x67, 1);
        g->adsize = m == FUZZ_32 ? 2 : 4;
    }
    if (!(e->flags & E_SIMD) && chance(g, 25) && !(m == FUZZ_64 && branch)) {
        p66 = true;
        put(g, 0x66, 1);
    }
    g->lock = e->flags & E_LOCK && chance(g, 25);
    /* Elsewhere LOCK is #UD; where it is allowed pick_target() keeps it from splitting a line. */
    bool wrong = !(e->flags & E_LOCK) && chance(g, 1) && !(e->flags & E_SIMD && e->pfx);
    if (g->lock || wrong) {
        put(g, 0xf0, 1);
    }
    if (e->flags & E_STR && chance(g, 66)) {
        put(g, chance(g, 50) ? 0xf3 : 0xf2, 1);
    }
    if (e->pfx) {
        put(g, e->pfx, 1);
    }
    g->c->opsize = e->flags & E_BYTE ? 1 : g->rex & 8 ? 8 : p66 == (m == FUZZ_16) ? 4 : 2;
}

static void gen_place(Gen *g)
{
    unsigned w = below(g, 100);

    g->c->code = FUZZ_CODE + 0x400 + below(g, 0x800);
    if (w < 4) {
        g->c->code = FUZZ_CODE + 0x1000 - 1 - below(g, 8);
    } else if (w < 5) {
        g->c->code = FUZZ_CODE + 0x2000 - 1 - below(g, 8);
    }
}

/*
 * A second instruction that consumes the first one's flags: the engine keeps flags lazily and fuses
 * such pairs. Only behind instructions that define all flags a condition can see.
 */
static void gen_tail(Gen *g)
{
    const Encoding *e = g->e;
    uint32_t no = E_STACK | E_BRANCH | E_STR;
    unsigned cc = below(g, 16);

    if (e->undef & ~0x10u || e->quirk != Q_NONE || e->flags & no || e->imm == IMM_RELB ||
        e->imm == IMM_RELZ || !chance(g, 40)) {
        return;
    }
    switch (below(g, 4)) {
    case 0:
        put(g, 0x70 | cc, 1); /* Jcc */
        put(g, 0x10 + below(g, 64), 1);
        break;
    case 1:
        put(g, 0x900f | cc << 8, 2); /* SETcc */
        put(g, 0xc0 | below(g, 8), 1);
        break;
    case 2:
        put(g, 0x400f | cc << 8, 2); /* CMOVcc, never ESP */
        put(g, 0xc0 | below(g, 4) << 3 | below(g, 8), 1);
        break;
    default:
        put(g, below(g, 2) ? 0x11 : 0x19, 1); /* ADC, SBB */
        put(g, 0xc0 | below(g, 8) << 3 | below(g, 4), 1);
        break;
    }
}

void fuzz_gen(FuzzCase *c, const Encoding *enc, FuzzMode mode, uint64_t seed, uint64_t k)
{
    Gen g = { .c = c, .e = enc };
    uint8_t body[16], *rexpos;
    unsigned nbody;

    memset(c, 0, sizeof *c);
    c->enc = enc;
    c->mode = mode;
    c->k = k;
    g.x = fuzz_hash(seed ^ (uint64_t)mode << 60,
        fuzz_hash(enc->op | (uint64_t)enc->pfx << 16 | (uint64_t)enc->ext1 << 24 |
                      (uint64_t)enc->modrm << 32 | (uint64_t)enc->flags << 40,
            k));
    g.p = c->bytes;
    gen_place(&g);
    gen_prefixes(&g);
    gen_regs(&g);
    gen_fx(&g);
    /* The REX prefix goes last before the opcode, but its X and B bits are known only after the
     * address. */
    rexpos = g.p;
    if (enc->op >= 0x100) {
        put(&g, 0x0f, 1);
        if (enc->op >= 0x200) {
            put(&g, enc->op >= 0x300 ? 0x3a : 0x38, 1);
        }
    }
    put(&g, (enc->op & 0xffu) + (enc->flags & E_PLUSR ? below(&g, 8) : 0), 1);
    gen_implicit(&g);
    if (enc->flags & E_MODRM) {
        gen_modrm(&g, g.p);
    }
    gen_imm(&g);
    if (g.rex) {
        g.rex |= 0x40;
        nbody = (unsigned)(g.p - rexpos);
        memcpy(body, rexpos, nbody);
        memcpy(rexpos + 1, body, nbody);
        *rexpos = g.rex;
        g.p++;
        if (g.disp) {
            g.disp++;
        }
    }
    c->len = (unsigned)(g.p - c->bytes);
    if (g.disp) {
        uint32_t d = (uint32_t)(c->target - seg_base(&g) - (c->code + c->len));
        memcpy(g.disp, &d, 4);
    }
    gen_tail(&g);
    c->len = (unsigned)(g.p - c->bytes);
    c->in.rip = c->code - (mode == FUZZ_16 ? FUZZ_AREA : 0);
}
