/*
 * What the fuzzer covered: cases by exact encoding and mode, and the faults among them, compared
 * with the list of encodings that boots execute (boot-encodings.txt).
 */
#include "fuzz.h"
#include "insn-key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAW_FIRST = 1, SAW_SECOND = 2, WANT_FIRST = 4, WANT_SECOND = 8 };

typedef struct Count {
    uint32_t n, faults;
} Count;

static Count *counts[FUZZ_NMODES];

static Count *count_at(FuzzMode m, InsnKey k)
{
    if (!counts[m]) {
        counts[m] = calloc((size_t)KEY_NPFX * KEY_NOPS * KEY_NEXT, sizeof(Count));
    }
    return &counts[m][((size_t)k.pfx * KEY_NOPS + k.op) * KEY_NEXT + k.ext];
}

/* Which faults an encoding with a memory operand must have met: WANT_*. */
static uint32_t wanted_faults(const FuzzCase *c, unsigned pfx)
{
    const Encoding *e = c->enc;
    uint32_t whole = E_ALIGN16 | E_ALWAYSLOCK | E_MASKMOV;
    bool hint = e->op == 0x8d || e->op == 0x11f || e->op == 0x118 || e->op == 0x10d;
    bool mem = (e->flags & E_MODRM && !(e->flags & E_REGONLY)) || e->imm == IMM_MOFFS ||
               e->flags & (E_STR | E_STACK | E_XLAT);

    /* Faults on undefined encodings and of LOCK with a register are not accesses. */
    if (!mem || hint || !strncmp(e->name, "ud", 2) || !strncmp(e->name, "io", 2)) {
        return 0;
    }
    bool pair = e->op == 0x1c7 && pfx & KEY_W; /* CMPXCHG16B is aligned */
    /* An element of one byte lies on one page, repeated or not. */
    bool wide = !(e->flags & E_BYTE) && e->memsize != 1 && !(e->flags & E_STR && !(e->op & 1));
    return WANT_FIRST |
           (wide && !pair && !(e->flags & whole) && !(pfx & KEY_LOCK) ? WANT_SECOND : 0u);
}

static bool low_equal(uint64_t a, uint64_t b)
{
    return (uint32_t)a == (uint32_t)b;
}

/*
 * Which page of its operand a case's #PF was on. CR2 is the operand's first byte, or the first byte
 * of its second page; a fetch is no operand. What the operand's first byte was is known from the
 * address chosen, or from the registers: a string instruction stops at its faulting element, the
 * stack moves by whole elements.
 */
static uint32_t seen_fault(const FuzzCase *c, const FuzzResult *n)
{
    uint64_t base = c->mode == FUZZ_16 ? FUZZ_AREA : 0;
    unsigned w = c->mode == FUZZ_64 && c->opsize != 2 ? 8 : c->opsize;

    if (n->vector != 14 || n->error & 0x10) {
        return 0;
    }
    if (n->cr2 & 0xfff || (c->target && low_equal(n->cr2, c->target))) {
        return SAW_FIRST;
    }
    if (c->enc->flags & E_STR) {
        bool first = low_equal(n->cr2, n->s.r[6] + base) || low_equal(n->cr2, n->s.r[7] + base) ||
                     low_equal(n->cr2, (n->s.r[6] & 0xffff) + FUZZ_AREA) ||
                     low_equal(n->cr2, (n->s.r[7] & 0xffff) + FUZZ_AREA);
        return first ? SAW_FIRST : SAW_SECOND;
    }
    if (c->enc->flags & E_STACK && !c->target) {
        uint64_t from = c->enc->op == 0xc9 ? c->in.r[5] : c->in.r[4];
        return (n->cr2 - from - base) % w == 0 ? SAW_FIRST : SAW_SECOND;
    }
    return c->target ? SAW_SECOND : SAW_FIRST;
}

void cover_note(const FuzzCase *c, const FuzzResult *n)
{
    const uint8_t *modrm;
    InsnKey k = insn_key(c->bytes, c->mode == FUZZ_64, &modrm);
    uint32_t f = wanted_faults(c, k.pfx);
    unsigned exts[3] = { 0 }, n_exts = 1;

    if (c->enc->flags & E_MODRM) {
        n_exts += insn_key_exts(*modrm, exts + 1);
    }
    f |= seen_fault(c, n);
    for (unsigned i = 0; i < n_exts; i++) {
        Count *t;
        k.ext = exts[i];
        t = count_at(c->mode, k);
        t->n++;
        t->faults |= f;
    }
}

/* A row that makes cases of this encoding in this mode. */
static bool row_makes(const Encoding *e, FuzzMode m, InsnKey k)
{
    unsigned op = e->flags & E_PLUSR ? k.op & ~7u : k.op;
    bool branch =
        e->imm == IMM_RELB || e->imm == IMM_RELZ || e->flags & E_BRANCH || e->quirk == Q_RET;
    unsigned fixed = e->pfx == 0x66   ? KEY_66
                     : e->pfx == 0xf2 ? KEY_F2
                     : e->pfx == 0xf3 ? KEY_F3
                                      : 0u;
    unsigned may = fixed | (m == FUZZ_64 && !(e->flags & E_NOREXW) ? KEY_W : 0u) |
                   (e->flags & E_SIMD || (m == FUZZ_64 && branch) ? 0u : KEY_66) |
                   (e->flags & E_LOCK ? KEY_LOCK : 0u) | (e->flags & E_STR ? KEY_F2 | KEY_F3 : 0u);

    if (!(e->modes >> m & 1) || e->op != op || (k.pfx & fixed) != fixed || (k.pfx & ~may)) {
        return false;
    }
    if (k.ext > 8) {
        return e->modrm ? e->modrm == k.ext - 9 + 0xc0
                        : !(e->flags & E_MEMONLY) && (!e->ext1 || e->ext1 == 1 + (k.ext - 9) / 8);
    }
    return !k.ext || (!e->modrm && (!e->ext1 || e->ext1 == k.ext));
}

typedef struct Check {
    uint64_t min;
    CoverRun *run;
    void *opaque;
    unsigned seen, bad;
} Check;

/* Runs more cases until the encoding has its minimum, then looks at the faults. */
static void check_one(Check *c, const char *text, InsnKey k, FuzzMode m)
{
    unsigned nrows;
    const Encoding *rows = encodings_get(&nrows);
    const Count *t = count_at(m, k);
    bool legal = false;

    for (unsigned i = 0; i < nrows; i++) {
        if (!row_makes(&rows[i], m, k)) {
            continue;
        }
        legal = true;
        for (unsigned n = 0; n < 400 && t->n < c->min; n++) {
            c->run(c->opaque, &rows[i], m, c->min / 4 + 100);
        }
    }
    if (!legal) {
        return;
    }
    c->seen++;
    uint32_t missing = t->faults >> 2 & ~t->faults & 3;
    if (t->n < c->min || (c->min >= 1000 && missing)) {
        c->bad++;
        printf("coverage: %s%s in mode %u: %u cases%s%s\n", k.pfx & KEY_W ? "REX.W " : "", text,
            m == FUZZ_64   ? 64
            : m == FUZZ_32 ? 32
                           : 16,
            t->n, missing & SAW_FIRST ? ", no fault on the first page" : "",
            missing & SAW_SECOND ? ", no fault on the second page" : "");
    }
}

bool cover_check(const char *path, uint64_t min, CoverRun *run, void *opaque)
{
    FILE *f = fopen(path, "r");
    Check c = { .min = min, .run = run, .opaque = opaque };
    char line[256];
    unsigned listed = 0;

    if (!f) {
        perror(path);
        return false;
    }
    while (fgets(line, sizeof line, f)) {
        char *save;
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "fuzz: ", 6)) {
            continue;
        }
        for (char *t = strtok_r(line + 6, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
            char text[32];
            unsigned before = c.seen;
            InsnKey k;

            t += *t == ' ';
            snprintf(text, sizeof text, "%s", t);
            if (!*t || !insn_key_parse(t, &k)) {
                printf("coverage: cannot read '%s'\n", text);
                c.bad++;
                continue;
            }
            for (int m = 0; m < FUZZ_NMODES; m++) {
                if (native_mode_ok((FuzzMode)m)) {
                    check_one(&c, text, k, (FuzzMode)m);
                }
            }
            if (native_mode_ok(FUZZ_64)) {
                k.pfx |= KEY_W;
                check_one(&c, text, k, FUZZ_64);
            }
            if (c.seen == before) {
                printf("coverage: no row of the table makes %s\n", text);
                c.bad++;
            }
            listed++;
        }
    }
    fclose(f);
    printf("coverage: %u encodings, %u with modes, at least %llu cases each: %u short\n", listed,
        c.seen, (unsigned long long)min, c.bad);
    return listed && !c.bad;
}
