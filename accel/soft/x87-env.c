/* The x87 environment in memory: FNSTENV, FLDENV, FNSAVE, FRSTOR in their four formats (SDM vol.
 * 1, 8.1.10, figures 8-9..8-12). */
#include "x87.h"

typedef struct Env {
    uint16_t fcw, fsw, ftw, fop;
    uint64_t fip, fdp;
} Env;

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

/* The image has one bit a register; the full tags follow from the contents (SDM vol. 1, 10.5.1.1).
 */
static uint16_t full_tags(const SoftCpu *c)
{
    unsigned top = fx_get16(c, FX_FSW) >> 11 & 7;
    uint16_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *st = c->fx + FX_ST + ((i - top) & 7) * 16;
        unsigned tag = TAG_VALID, exp = (st[8] | (unsigned)st[9] << 8) & 0x7fff;
        uint64_t m;

        memcpy(&m, st, 8);
        if (!(c->fx[FX_FTW] >> i & 1)) {
            tag = TAG_EMPTY;
        } else if (exp == 0 && m == 0) {
            tag = TAG_ZERO;
        } else if (exp == 0 || exp == 0x7fff || !(m >> 63)) {
            tag = TAG_SPECIAL;
        }
        tags |= (uint16_t)(tag << i * 2);
    }
    return tags;
}

static void put16(uint8_t *p, uint32_t v)
{
    memcpy(p, &(uint16_t){ (uint16_t)v }, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

static uint32_t get16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, 2);
    return v;
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

static bool real_format(const SoftCpu *c)
{
    return !(c->mode & MODE_PE) || c->mode & MODE_VM86;
}

static unsigned env_size(const Insn *in)
{
    return in->opsize == 2 ? 14 : 28;
}

/* In real and VM86 mode the pointers are linear. */
static Env env_now(const SoftCpu *c)
{
    Env e = { .fcw = fx_get16(c, FX_FCW),
        .fsw = fx_get16(c, FX_FSW),
        .ftw = full_tags(c),
        .fop = fx_get16(c, FX_FOP) & 0x7ff };

    memcpy(&e.fip, c->fx + FX_FIP, 8);
    memcpy(&e.fdp, c->fx + FX_FDP, 8);
    if (real_format(c)) {
        e.fip = (uint32_t)(e.fip + c->seg[SEG_CS].base);
        e.fdp = (uint32_t)(e.fdp + c->seg[SEG_DS].base);
    }
    return e;
}

static void env_pack(const SoftCpu *c, const Insn *in, const Env *e, uint8_t *p)
{
    bool real = real_format(c);
    uint32_t fip = (uint32_t)e->fip, fdp = (uint32_t)e->fdp;

    if (in->opsize == 2) {
        put16(p, e->fcw);
        put16(p + 2, e->fsw);
        put16(p + 4, e->ftw);
        put16(p + 6, fip);
        put16(p + 8, real ? (fip >> 4 & 0xf000) | e->fop : 0);
        put16(p + 10, fdp);
        put16(p + 12, real ? fdp >> 4 & 0xf000 : 0);
        return;
    }
    put32(p, 0xffff0000 | e->fcw);
    put32(p + 4, 0xffff0000 | e->fsw);
    put32(p + 8, 0xffff0000 | e->ftw);
    if (real) {
        put32(p + 12, 0xffff0000 | (fip & 0xffff));
        put32(p + 16, (fip >> 16) << 12 | e->fop);
        put32(p + 20, 0xffff0000 | (fdp & 0xffff));
        put32(p + 24, (fdp >> 16) << 12);
    } else {
        put32(p + 12, fip);
        put32(p + 16, (uint32_t)e->fop << 16);
        put32(p + 20, fdp);
        put32(p + 24, 0xffff0000);
    }
}

static void env_unpack(SoftCpu *c, const Insn *in, const uint8_t *p)
{
    bool real = real_format(c), word = in->opsize == 2;
    unsigned step = word ? 2 : 4;
    uint16_t fcw = (uint16_t)((get16(p) & 0x1f3f) | 0x40), tags = (uint16_t)get16(p + step * 2),
             fop;
    uint64_t fip, fdp;

    if (word) {
        fip = get16(p + 6) | (real ? (get16(p + 8) & 0xf000) << 4 : 0);
        fdp = get16(p + 10) | (real ? (get16(p + 12) & 0xf000) << 4 : 0);
        fop = real ? get16(p + 8) & 0x7ff : 0;
    } else if (real) {
        fip = get16(p + 12) | (get32(p + 16) >> 12 & 0xffff) << 16;
        fdp = get16(p + 20) | (get32(p + 24) >> 12 & 0xffff) << 16;
        fop = get16(p + 16) & 0x7ff;
    } else {
        fip = get32(p + 12);
        fdp = get32(p + 20);
        fop = get16(p + 18) & 0x7ff;
    }
    x87_set_top(c, get16(p + step) >> 11 & 7);
    fx_set16(c, FX_FCW, fcw);
    fx_set16(c, FX_FSW, fsw_with_es((uint16_t)get16(p + step), fcw));
    fx_set16(c, FX_FOP, fop);
    c->fx[FX_FTW] = 0;
    for (unsigned i = 0; i < 8; i++) {
        c->fx[FX_FTW] |= (uint8_t)(((tags >> i * 2 & 3) != TAG_EMPTY) << i);
    }
    memcpy(c->fx + FX_FIP, &fip, 8);
    memcpy(c->fx + FX_FDP, &fdp, 8);
}

void x87_stenv(SoftCpu *c, const Insn *in)
{
    unsigned n = env_size(in);
    uint64_t la = insn_la(c, in, n, true);
    uint8_t buf[28];
    Env e = env_now(c);

    env_pack(c, in, &e, buf);
    soft_st_bytes(c, la, buf, n);
    fx_set16(c, FX_FCW, fx_get16(c, FX_FCW) | MXCSR_FLAGS); /* all masked */
    fx_set16(c, FX_FSW, fsw_with_es(fx_get16(c, FX_FSW), fx_get16(c, FX_FCW)));
}

void x87_ldenv(SoftCpu *c, const Insn *in)
{
    unsigned n = env_size(in);
    uint8_t buf[28];

    soft_ld_bytes(c, insn_la(c, in, n, false), buf, n);
    env_unpack(c, in, buf);
}

void x87_save(SoftCpu *c, const Insn *in)
{
    unsigned n = env_size(in);
    uint64_t la = insn_la(c, in, n + 80, true);
    uint8_t buf[28 + 80];
    Env e = env_now(c);

    soft_check(c, la, n + 80, true);
    env_pack(c, in, &e, buf);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(buf + n + i * 10, c->fx + FX_ST + i * 16, 10);
    }
    for (unsigned i = 0; i < n + 80; i += 54) {
        soft_st_bytes(c, la + i, buf + i, n + 80 - i < 54 ? n + 80 - i : 54);
    }
    x87_init(c);
}

void x87_rstor(SoftCpu *c, const Insn *in)
{
    unsigned n = env_size(in);
    uint64_t la = insn_la(c, in, n + 80, false);
    uint8_t buf[28 + 80];

    for (unsigned i = 0; i < n + 80; i += 54) {
        soft_ld_bytes(c, la + i, buf + i, n + 80 - i < 54 ? n + 80 - i : 54);
    }
    env_unpack(c, in, buf);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(c->fx + FX_ST + i * 16, buf + n + i * 10, 10);
    }
}
