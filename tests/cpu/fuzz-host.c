/*
 * The instruction fuzzer: random instructions with random state run on the host CPU and in the
 * engine, and everything the architecture defines about the outcome is compared (SDM vol. 2). Fails
 * on the first encodings that differ.
 *
 * With VIRTUE_FULL in the environment and --list: 10^8 cases, 10^4 of each listed encoding and
 * mode.
 *
 *   fuzz-host [--cases N] [--seed S] [--mode 64|32|16] [--only OPCODE|NAME] [--min-cases N] [--case
 * K] [--max-fail N] [--list FILE --min-encoding N] [-v]
 */
#include "fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

typedef struct Options {
    uint64_t cases, seed, one;
    long min_cases;
    int mode; /* -1: all */
    const char *only, *list;
    uint64_t min_encoding;
    unsigned max_fail;
    bool verbose, coverage;
} Options;

typedef struct Fuzz {
    Options opt;
    Engine *eng;
    uint8_t template[FUZZ_SIZE];
    unsigned fails, rows_failed;
    uint64_t more; /* number of the next extra case */
} Fuzz;

static const char *const mode_name[FUZZ_NMODES] = { "64", "32", "16" };
static const char *const reg_name[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

/* Flags the case leaves undefined, beyond the table's. */
static uint32_t undef_flags(const FuzzCase *c)
{
    unsigned bits = c->opsize * 8,
             count = c->enc->imm == IMM_B ? c->imm & 0xff : (unsigned)c->in.r[1] & 0xff;
    uint32_t undef = c->enc->undef;

    count &= c->opsize == 8 ? 63 : 31;
    if (c->enc->quirk == Q_SHIFT || c->enc->quirk == Q_ROT || c->enc->quirk == Q_SHLD) {
        bool one = c->enc->op == 0xd0 || c->enc->op == 0xd1;

        if (!one && count == 0) {
            return undef;
        }
        if (!one && count != 1) {
            undef |= 0x800;
        }
        if (c->enc->quirk == Q_SHIFT) {
            undef |= 0x10 | (!one && count >= bits ? 1 : 0);
        } else if (c->enc->quirk == Q_SHLD) {
            undef |= 0x10 | (count > bits ? 0x8d5 : 0);
        }
    }
    return undef;
}

/* True if a register's value is undefined after the case. */
static bool undef_result(const FuzzCase *c, const FuzzResult *n, const FuzzResult *e)
{
    unsigned count = (c->enc->imm == IMM_B ? c->imm : (unsigned)c->in.r[1]) & 31;

    if (c->enc->quirk == Q_POPA && n->vector == 14) { /* some registers may have been loaded */
        return true;
    }
    if (c->enc->quirk == Q_TZCNT && e->s.rflags & 0x40) { /* the engine's BSF met a zero */
        return true;
    }
    return (c->enc->quirk == Q_SHLD && c->opsize == 2 && count > 16) ||
           (c->enc->quirk == Q_BSWAP && c->opsize == 2);
}

/* True if memory is not compared: it holds pointers into the host, or a part may be written before
 * a fault. */
static bool undef_memory(const FuzzCase *c, const FuzzResult *n, const FuzzResult *e)
{
    bool branch = c->enc->flags & E_BRANCH || c->enc->imm == IMM_RELZ;

    return c->enc->quirk == Q_ENV || c->enc->quirk == Q_FXSAVE || c->enc->quirk == Q_SREG ||
           undef_result(c, n, e) || (n->vector == 14 && c->enc->memsize == 10) ||
           (n->vector == 13 && branch);
}

/*
 * Whether an unmasked overflow or underflow also reports a precision loss depends on the result
 * with an unbounded exponent, which the engine does not compute.
 */
static bool same_mxcsr(const FuzzCase *c, const FuzzResult *a, const FuzzResult *b)
{
    uint32_t x, y;

    memcpy(&x, a->s.fx + 24, 4);
    memcpy(&y, b->s.fx + 24, 4);
    if (a->vector == 19 && (c->enc->op == 0x340 || c->enc->op == 0x341)) {
        return true; /* DPPS, DPPD stop at one of several steps */
    }
    return x == y || (a->vector == 19 && ((x ^ y) & ~0x20u) == 0 && x & ~(x >> 7) & 0x18);
}

static bool same_fx(const FuzzCase *c, const FuzzResult *a, const FuzzResult *b)
{
    const uint8_t *x = a->s.fx, *y = b->s.fx;

    if (memcmp(x, y, 5) || !same_mxcsr(c, a, b) ||
        memcmp(x + 160, y + 160, c->mode == FUZZ_64 ? 256 : 128)) {
        return false;
    }
    for (unsigned i = 0; i < 8; i++) {
        if (memcmp(x + 32 + i * 16, y + 32 + i * 16, 10)) {
            return false;
        }
    }
    return true;
}

/* Operands of more than 16 bytes are accessed in an order of the CPU's own. */
static bool same_address(const FuzzCase *c, uint64_t a, uint64_t b)
{
    uint64_t d = (uint32_t)(a - b);

    if (a == b) {
        return true;
    }
    d = (uint32_t)(0 - d) < d ? (uint32_t)(0 - d) : d;
    return (d < 16 && c->enc->flags & E_MASKMOV) ||
           (d < 512 &&
               (c->enc->quirk == Q_ENV || c->enc->quirk == Q_FXSAVE || c->enc->quirk == Q_FXRSTOR));
}

/* The kernel's IRET into the handler has made null selectors zero. SDM vol. 2, IRET */
static bool same_selectors(const FuzzResult *n, const FuzzResult *e)
{
    for (unsigned i = 0; i < 6; i++) {
        if (n->sel[i] != e->sel[i] && (n->sel[i] | e->sel[i]) & ~3) {
            return false;
        }
    }
    return true;
}

/* NULL: equal. */
static const char *compare(Fuzz *f, const FuzzCase *c, const FuzzResult *n, const FuzzResult *e)
{
    uint64_t rmask = c->mode == FUZZ_64 ? ~0ull : 0xffffffff;
    uint32_t fmask = 0x8d5u | 0x500;
    unsigned nregs = c->mode == FUZZ_64 ? 16 : 8;
    uint32_t hidden = 0;

    /* Beyond the top of a 4 GiB segment a #SS or #GP may come instead of the wrapped access. SDM
     * vol. 3, 5.3 */
    if (c->mode != FUZZ_64 && n->vector == 14 && n->cr2 > 0xfffffff0 &&
        (e->vector == 12 || e->vector == 13)) {
        return NULL;
    }
    /* Some CPUs push before they look at a CALL's target. */
    bool call = c->enc->flags & E_STACK && (c->enc->flags & E_BRANCH || c->enc->imm == IMM_RELZ);
    if (call && (n->vector == 14 || n->vector == 12) && e->vector == 13) {
        return NULL;
    }
    /* Misaligned (#GP) and not canonical (#SS) at once. */
    if (c->enc->op == 0x1c7 && n->vector == 13 && e->vector == 12 && c->target & 15) {
        return NULL;
    }
    if (c->enc->flags & E_MASKMOV && n->vector == 14 && e->vector == 13) {
        return NULL; /* an operand across the canonical boundary */
    }
    /* A wide POP of a segment register may read 16 bits only, as Q_SREG's push may write. */
    bool wide_sreg = c->enc->flags & E_STACK && (c->enc->flags & E_SEG || c->enc->quirk == Q_SREG);
    if (wide_sreg && e->vector == 14 && !(n->vector == 14 && n->cr2 == e->cr2) &&
        !(e->cr2 & 0xfff)) {
        return NULL;
    }
    /* Many bytes that reach beyond 64 KiB, of a segment or of 16-bit addresses: CPUs look at both
     * ends in an order of their own, and may wrap. */
    bool image = c->enc->quirk == Q_ENV || c->enc->quirk == Q_FXSAVE || c->enc->quirk == Q_FXRSTOR;
    if (image && c->mode != FUZZ_64 && (c->target & 0xffff) > 0x10000 - 512 && n->vector >= 12 &&
        n->vector <= 14 && e->vector >= 12 && e->vector <= 14) {
        return NULL;
    }
    if (n->vector != e->vector) {
        return "exception vector";
    }
    if (n->s.rip != e->s.rip) {
        return "rip";
    }
    if (n->vector == 14 && !same_address(c, n->cr2, e->cr2)) {
        return "fault address";
    }
    /* Linux reports every user fault on a kernel address as a protection violation. */
    if (n->vector == 14 && n->cr2 != e->cr2) {
        hidden = ~0u; /* another part of the operand */
    } else if (n->vector == 14 && n->cr2 >= (1ull << 47) - 4096) {
        hidden = 1;
    }
    if (n->vector >= 11 && n->vector <= 14 && (n->error ^ e->error) & ~hidden) {
        return "error code";
    }
    for (unsigned i = 0; i < nregs; i++) {
        if ((n->s.r[i] ^ e->s.r[i]) & rmask && !undef_result(c, n, e)) {
            return reg_name[i];
        }
    }
    if ((n->s.rflags ^ e->s.rflags) & fmask & ~undef_flags(c)) {
        return "flags";
    }
    if (!same_fx(c, n, e)) {
        return "FP state";
    }
    if (c->enc->flags & E_SEG && !same_selectors(n, e)) {
        return "segment registers";
    }
    if (!undef_memory(c, n, e)) {
        static const unsigned pages[] = { 1, 2, 4, 5 };
        for (unsigned i = 0; i < 4; i++) {
            if (memcmp(
                    native_area() + pages[i] * 4096, engine_area(f->eng) + pages[i] * 4096, 4096)) {
                return "memory";
            }
        }
    }
    return NULL;
}

static void print_line(const FuzzCase *c, uint64_t seed)
{
    printf("fuzz-host --seed %llu --mode %s --only '%s/%x/%u' --case %llu   # bytes",
        (unsigned long long)seed, mode_name[c->mode], c->enc->name, c->enc->op, c->enc->ext1,
        (unsigned long long)c->k);
    for (unsigned i = 0; i < c->len; i++) {
        printf(" %02x", c->bytes[i]);
    }
    printf(" at %x target %llx\n", c->code, (unsigned long long)c->target);
}

static void print_fx(const uint8_t *a, const uint8_t *n, const uint8_t *e)
{
    for (unsigned i = 0; i < 416; i += i < 32 ? 2 : 16) {
        unsigned w = i < 32 ? 2 : 16;
        if ((i >= 6 && i < 24) || (i == 28) || (i == 30) ||
            (!memcmp(n + i, e + i, w) && !memcmp(a + i, n + i, w))) {
            continue;
        }
        printf("    fx+%-3u", i);
        for (unsigned k = 0; k < 3; k++) {
            const uint8_t *p = k == 0 ? a : k == 1 ? n : e;
            printf(k == 0 ? " before " : k == 1 ? " host " : " engine ");
            for (unsigned b = w; b-- > 0;) {
                printf("%02x", p[i + b]);
            }
        }
        printf("%s\n", memcmp(n + i, e + i, w) ? "  <<<" : "");
    }
}

static void print_note(void)
{
    const NativeNote *t = native_note();

    printf("    host: %u signals, last %d with si_code %d, xstate %llx to %llx, %llu cycles, %ld "
           "switches, %ld page faults\n",
        t->nsignals, t->sig, t->code, (unsigned long long)t->xstate_in,
        (unsigned long long)t->xstate_out, (unsigned long long)t->cycles, t->switches, t->faults);
}

static void print_diff(
    Fuzz *f, const FuzzCase *c, const FuzzResult *n, const FuzzResult *e, const char *what)
{
    printf("MISMATCH %s: ", what);
    print_line(c, f->opt.seed);
    printf("    host: vector %u error %x cr2 %llx rip %llx flags %llx\n  engine: vector %u error "
           "%x cr2 %llx rip %llx flags %llx (undefined "
           "%x) before %llx\n",
        n->vector, n->error, (unsigned long long)n->cr2, (unsigned long long)n->s.rip,
        (unsigned long long)n->s.rflags, e->vector, e->error, (unsigned long long)e->cr2,
        (unsigned long long)e->s.rip, (unsigned long long)e->s.rflags, undef_flags(c),
        (unsigned long long)c->in.rflags);
    print_note();
    if (e->vector >= 1000) {
        return;
    }
    for (unsigned i = 0; i < (c->mode == FUZZ_64 ? 16u : 8u); i++) {
        if (f->opt.verbose || n->s.r[i] != e->s.r[i]) {
            printf("    %s before %llx host %llx engine %llx\n", reg_name[i],
                (unsigned long long)c->in.r[i], (unsigned long long)n->s.r[i],
                (unsigned long long)e->s.r[i]);
        }
    }
    for (unsigned i = 0; i < 6 && c->enc->flags & E_SEG; i++) {
        printf("    %cs host %x engine %x\n", "ecsdfg"[i], n -> sel[i], e -> sel[i]);
    }
    if (c->enc->flags & E_FX || !same_fx(c, n, e)) {
        print_fx(c->in.fx, n->s.fx, e->s.fx);
    }
    for (unsigned i = 0, shown = 0; i < FUZZ_SIZE && shown < 16; i++) {
        unsigned kind = fuzz_page_kind(i >> 12);
        if ((kind == PAGE_RW || kind == PAGE_RO) && native_area()[i] != engine_area(f->eng)[i]) {
            printf("    memory %x template %02x host %02x engine %02x\n", FUZZ_AREA + i,
                f->template[i], native_area()[i], engine_area(f->eng)[i]);
            shown++;
        }
    }
}

static void load_memory(Fuzz *f, const FuzzCase *c)
{
    uint8_t *areas[2] = { native_area(), engine_area(f->eng) };

    for (unsigned a = 0; a < 2; a++) {
        uint8_t *m = areas[a];
        unsigned n = 0x10000 - 0x8000;

        memcpy(m + 0x1000, f->template + 0x1000, 0x2000);
        memcpy(m + 0x5000, f->template + 0x5000, 0x1000);
        for (unsigned i = 0; i < c->npokes; i++) {
            memcpy(m + c->pokes[i].off, c->pokes[i].bytes, c->pokes[i].n);
        }
        n = FUZZ_AREA + FUZZ_SIZE - c->code;
        memcpy((a ? m + 0x8000 : native_code()) + (c->code - FUZZ_CODE), c->bytes,
            c->len < n ? c->len : n);
    }
}

static void unload_code(Fuzz *f, const FuzzCase *c)
{
    unsigned off = c->code - FUZZ_AREA, n = off + 32 < FUZZ_SIZE ? 32 : FUZZ_SIZE - off;

    memset(native_code() + (c->code - FUZZ_CODE), 0xcc, n);
    memset(engine_area(f->eng) + off, 0xcc, n);
}

/* A mismatch is one however often it comes back, but how often says where to look. */
static void repeat_case(Fuzz *f, const FuzzCase *c)
{
    static FuzzResult n, e;
    unsigned again = 0, tries = 20;

    for (unsigned i = 0; i < tries; i++) {
        load_memory(f, c);
        native_run(c, &n);
        again += !engine_run(f->eng, c, &e) || compare(f, c, &n, &e);
        unload_code(f, c);
    }
    printf("    the case differed again %u times of %u\n", again, tries);
}

static bool run_case(Fuzz *f, const Encoding *enc, FuzzMode mode, uint64_t k)
{
    static FuzzCase c;
    static FuzzResult n, e;
    const char *what;

    fuzz_gen(&c, enc, mode, f->opt.seed, k);
    load_memory(f, &c);
    native_run(&c, &n);
    cover_note(&c, &n);
    what = engine_run(f->eng, &c, &e) ? compare(f, &c, &n, &e) : "engine left without an exception";
    if (what || (f->opt.verbose && f->opt.one != UINT64_MAX)) {
        print_diff(f, &c, &n, &e, what ? what : "none");
    }
    unload_code(f, &c);
    if (what && f->opt.one == UINT64_MAX) {
        repeat_case(f, &c);
    }
    return !what;
}

/* For the handler, which has no argument. */
static uint64_t alarm_seed;

/* On the stack of its own that native_init() set up: the stack pointer may be a case's. */
static void on_alarm(int sig)
{
    const FuzzCase *c = native_current();

    printf("HANG: ");
    if (c) {
        print_line(c, alarm_seed);
    }
    fflush(stdout);
    _exit(1);
}

static bool wanted(const Options *o, const Encoding *e)
{
    char exact[64];
    char *end;
    unsigned long op;

    if (!o->only) {
        return true;
    }
    snprintf(exact, sizeof exact, "%s/%x/%u", e->name, e->op, e->ext1);
    op = strtoul(o->only, &end, 16);
    return (*end == 0 && op == e->op) || !strncmp(e->name, o->only, strlen(o->only)) ||
           !strcmp(exact, o->only);
}

static bool run_row(Fuzz *f, const Encoding *e, FuzzMode m, uint64_t k, uint64_t cases)
{
    unsigned fails = 0;

    k = f->opt.one != UINT64_MAX ? f->opt.one : k;
    uint64_t end = f->opt.one != UINT64_MAX ? k + 1 : k + cases;

    struct itimerval limit = { .it_value.tv_sec = 120 }; /* of this process's own time */
    setitimer(ITIMER_PROF, &limit, NULL);
    for (; k < end; k++) {
        if (!run_case(f, e, m, k) && ++fails >= f->opt.max_fail) {
            break;
        }
    }
    if (f->opt.coverage) {
        printf("%-20s op %03x /%d mode %s cases %llu%s\n", e->name, e->op, (int)e->ext1 - 1,
            mode_name[m], (unsigned long long)k, fails ? " FAILED" : "");
    }
    f->fails += fails;
    f->rows_failed += fails != 0;
    return !fails;
}

/* For encodings of the list that came up too seldom. */
static void run_more(void *opaque, const Encoding *e, FuzzMode m, uint64_t n)
{
    Fuzz *f = opaque;

    run_row(f, e, m, f->more, n);
    f->more += n;
}

static bool parse(int argc, char **argv, Options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;

        if (!strcmp(a, "-v")) {
            o->verbose = true;
            continue;
        }
        if (!strcmp(a, "--coverage")) {
            o->coverage = true;
            continue;
        }
        if (!v) {
            return false;
        }
        i++;
        if (!strcmp(a, "--cases")) {
            o->cases = strtoull(v, NULL, 0);
        } else if (!strcmp(a, "--seed")) {
            o->seed = strtoull(v, NULL, 0);
        } else if (!strcmp(a, "--case")) {
            o->one = strtoull(v, NULL, 0);
        } else if (!strcmp(a, "--min-cases")) {
            o->min_cases = atol(v);
        } else if (!strcmp(a, "--list")) {
            o->list = v;
        } else if (!strcmp(a, "--min-encoding")) {
            o->min_encoding = strtoull(v, NULL, 0);
        } else if (!strcmp(a, "--max-fail")) {
            o->max_fail = (unsigned)atoi(v);
        } else if (!strcmp(a, "--only")) {
            o->only = v;
        } else if (!strcmp(a, "--mode")) {
            o->mode = !strcmp(v, "64") ? FUZZ_64 : !strcmp(v, "32") ? FUZZ_32 : FUZZ_16;
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static Fuzz f = {
        .opt = { .cases = 1000000, .seed = 1, .one = UINT64_MAX, .mode = -1, .max_fail = 1 }
    };
    unsigned nrows, npairs = 0, nrun = 0;
    const Encoding *rows = encodings_get(&nrows);
    uint64_t each;

    if (!parse(argc, argv, &f.opt)) {
        fprintf(stderr, "usage: fuzz-host [--cases N] [--seed S] [--mode 64|32|16] [--only OPCODE] "
                        "[--min-cases N] [--case K] [-v]\n");
        return 2;
    }
    if (getenv("VIRTUE_FULL") && f.opt.list) {
        f.opt.cases = 100000000;
        f.opt.min_encoding = 10000;
    }
    if (!native_init()) {
        return 77;
    }
    f.eng = engine_new();
    for (unsigned i = 0; i < FUZZ_SIZE; i += 8) {
        uint64_t v = fuzz_hash(f.opt.seed, i);
        memcpy(f.template + i, &v, 8);
    }
    memcpy(engine_area(f.eng) + 0x4000, native_area() + 0x4000, 4096);
    alarm_seed = f.opt.seed;
    struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK };
    sigaction(SIGPROF, &sa, NULL);
    for (unsigned pass = 0; pass < 2; pass++) {
        each = pass && npairs ? f.opt.cases / npairs + 1 : 0;
        for (int m = 0; m < FUZZ_NMODES; m++) {
            if ((f.opt.mode >= 0 && m != f.opt.mode) || !native_mode_ok((FuzzMode)m)) {
                continue;
            }
            for (unsigned i = 0; i < nrows; i++) {
                if (!(rows[i].modes >> m & 1) || !wanted(&f.opt, &rows[i])) {
                    continue;
                }
                if (pass == 0) {
                    npairs++;
                } else {
                    run_row(&f, &rows[i], (FuzzMode)m, 0, each);
                    nrun++;
                }
            }
        }
    }
    printf(
        "seed %llu: %u encodings in %u encoding/mode pairs, %llu cases each, %u mismatches in %u "
        "pairs\n",
        (unsigned long long)f.opt.seed, nrows, nrun, (unsigned long long)each, f.fails,
        f.rows_failed);
    f.more = 1ull << 40;
    bool covered = !f.opt.list || cover_check(f.opt.list, f.opt.min_encoding, run_more, &f);
    engine_free(f.eng);
    if (!nrun || (f.opt.min_cases && (long)each < f.opt.min_cases && f.opt.one == UINT64_MAX)) {
        printf("too few cases per encoding\n");
        return 1;
    }
    return f.fails || !covered ? 1 : 0;
}
