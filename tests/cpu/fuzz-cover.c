/*
 * What the fuzzer covered: cases by exact encoding and mode, and the faults among them, compared
 * with the list of encodings that boots execute (boot-encodings.txt).
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { P_66 = 1, P_F2 = 2, P_F3 = 4, P_LOCK = 8, NPFX = 16, NOPS = 0x400, NEXT = 1 + 8 + 64 };
enum { SAW_FIRST = 1, SAW_SECOND = 2, WANT_FIRST = 4, WANT_SECOND = 8 };

typedef struct Count {
    uint32_t n, faults;
} Count;

typedef struct Key {
    unsigned pfx, op, ext; /* ext: 0 any, 1..8 ModRM.reg, 9.. the byte from C0 on */
} Key;

static Count *counts[FUZZ_NMODES];

static Count *count_at(FuzzMode m, Key k)
{
    if (!counts[m]) {
        counts[m] = calloc((size_t)NPFX * NOPS * NEXT, sizeof(Count));
    }
    return &counts[m][((size_t)k.pfx * NOPS + k.op) * NEXT + k.ext];
}

/* Prefixes and opcode of a case; *ret_modrm: where the ModRM byte would be. */
static Key key_of(const FuzzCase *c, const uint8_t **ret_modrm)
{
    const uint8_t *p = c->bytes;
    Key k = { 0 };

    for (;; p++) {
        if (*p == 0x66) {
            k.pfx |= P_66;
        } else if (*p == 0xf2 || *p == 0xf3) {
            k.pfx = (k.pfx & ~(unsigned)(P_F2 | P_F3)) | (*p == 0xf2 ? P_F2 : P_F3);
        } else if (*p == 0xf0) {
            k.pfx |= P_LOCK;
        } else if (*p != 0x67 && *p != 0x26 && *p != 0x2e && *p != 0x36 && *p != 0x3e &&
                   *p != 0x64 && *p != 0x65) {
            break;
        }
    }
    if (c->mode == FUZZ_64 && (*p & 0xf0) == 0x40) {
        p++;
    }
    if (*p != 0x0f) {
        k.op = *p;
    } else if (*++p == 0x38 || *p == 0x3a) {
        k.op = *p == 0x38 ? 0x200u : 0x300u;
        k.op |= *++p;
    } else {
        k.op = 0x100u | *p;
    }
    *ret_modrm = p + 1;
    return k;
}

/* Which faults an encoding with a memory operand must have met: WANT_*. */
static uint32_t wanted_faults(const FuzzCase *c, unsigned pfx)
{
    const Encoding *e = c->enc;
    uint32_t whole = E_ALIGN16 | E_ALWAYSLOCK | E_MASKMOV;
    bool hint = e->op == 0x8d || e->op == 0x11f || e->op == 0x118 || e->op == 0x10d;
    bool mem = (e->flags & E_MODRM && !(e->flags & E_REGONLY)) || e->imm == IMM_MOFFS ||
               e->flags & (E_STR | E_STACK);

    /* Faults on undefined encodings and of LOCK with a register are not accesses. */
    if (!mem || hint || !strncmp(e->name, "ud", 2) || !strncmp(e->name, "io", 2)) {
        return 0;
    }
    bool wide = e->flags & E_STR || (!(e->flags & E_BYTE) && e->memsize != 1);
    return WANT_FIRST | (wide && !(e->flags & whole) && !(pfx & P_LOCK) ? WANT_SECOND : 0u);
}

void cover_note(const FuzzCase *c, const FuzzResult *n)
{
    const uint8_t *modrm;
    Key k = key_of(c, &modrm);
    uint32_t f = wanted_faults(c, k.pfx);
    unsigned exts[3] = { 0, 1 + (*modrm >> 3 & 7u), *modrm >= 0xc0 ? 9u + (*modrm & 63u) : 0 };

    if (n->vector == 14) { /* CR2 is the operand's first byte, or the first of its second page */
        f |= n->cr2 & 0xfff ? SAW_FIRST : SAW_SECOND;
    }
    for (unsigned i = 0; i < 3 && (i == 0 || (c->enc->flags & E_MODRM && exts[i])); i++) {
        Count *t;
        k.ext = exts[i];
        t = count_at(c->mode, k);
        t->n++;
        t->faults |= f;
    }
}

/* "66 F3 A5", "L 0FBA/5", "DB/E2". */
static bool key_parse(char *text, Key *ret)
{
    char *slash = strchr(text, '/'), *save, *t;

    *ret = (Key){ 0 };
    if (slash) {
        *slash = 0;
        ret->ext = (unsigned)strtoul(slash + 1, NULL, 16);
        ret->ext = ret->ext < 8 ? ret->ext + 1 : ret->ext - 0xc0 + 9;
    }
    for (t = strtok_r(text, " ", &save); t; t = strtok_r(NULL, " ", &save)) {
        char *next = save && *save ? save : NULL;
        if (!next) {
            unsigned long v = strtoul(t, NULL, 16);
            ret->op = strlen(t) == 2            ? (unsigned)v
                      : strlen(t) == 4          ? 0x100u | (v & 0xff)
                      : (v >> 8 & 0xff) == 0x38 ? 0x200u | (v & 0xff)
                                                : 0x300u | (v & 0xff);
            return true;
        }
        ret->pfx |= !strcmp(t, "66")   ? P_66
                    : !strcmp(t, "F2") ? P_F2
                    : !strcmp(t, "F3") ? P_F3
                                       : P_LOCK;
    }
    return false;
}

/* A row that makes cases of this encoding in this mode. */
static bool row_makes(const Encoding *e, FuzzMode m, Key k)
{
    unsigned op = e->flags & E_PLUSR ? k.op & ~7u : k.op;
    bool branch =
        e->imm == IMM_RELB || e->imm == IMM_RELZ || e->flags & E_BRANCH || e->quirk == Q_RET;
    unsigned fixed = e->pfx == 0x66 ? P_66 : e->pfx == 0xf2 ? P_F2 : e->pfx == 0xf3 ? P_F3 : 0u;
    unsigned may = fixed | (e->flags & E_SIMD || (m == FUZZ_64 && branch) ? 0u : P_66) |
                   (e->flags & E_LOCK ? P_LOCK : 0u) | (e->flags & E_STR ? P_F2 | P_F3 : 0u);

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
static void check_one(Check *c, const char *text, Key k, FuzzMode m)
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
        printf("coverage: %s in mode %u: %u cases%s%s\n", text,
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
            Key k;

            t += *t == ' ';
            snprintf(text, sizeof text, "%s", t);
            if (!*t || !key_parse(t, &k)) {
                printf("coverage: cannot read '%s'\n", text);
                c.bad++;
                continue;
            }
            for (int m = 0; m < FUZZ_NMODES; m++) {
                if (native_mode_ok((FuzzMode)m)) {
                    check_one(&c, text, k, (FuzzMode)m);
                }
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
