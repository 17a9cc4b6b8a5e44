/*
 * Where code is fetched from: a small TLB of its own, and what a flush means to the jump cache
 * (SDM vol. 3, 4.10.4): an INVLPG of a page that holds no code that ran leaves it alone.
 */
#include "mmu.h"

#include <glib.h>
#include <string.h>

enum { CODE_TLB_SIZE = 512, SEEN_PAGES = 4096, SEEN_LARGE = 512 };
enum { CODE_TAG_USER = 1, CODE_TAG_VALID = 2 };

typedef struct CodeEntry {
    uint64_t tag; /* page | CODE_TAG_VALID | user */
    uint64_t gpa;
    uint8_t *host;
    _Atomic uint64_t *codemask;
    uint32_t gen;
    uint8_t page_bits;
    bool global;
} CodeEntry;

/* From where code was entered since the jump cache was flushed: never less than that. */
typedef struct CodeSeen {
    uint64_t pages[SEEN_PAGES / 64]; /* by a hash of the page's number */
    uint64_t large[SEEN_LARGE / 64]; /* large pages: of the 4 MiB */
    bool huge;                       /* a page of 1 GiB */
    bool local;                      /* a page that is not global */
} CodeSeen;

struct SoftCodeTlb {
    CodeEntry e[CODE_TLB_SIZE];
    uint32_t gen, global_gen;
    CodeSeen seen[2]; /* CPL 0..2, CPL 3 */
};

struct SoftCodeTlb *soft_code_tlb_new(void)
{
    struct SoftCodeTlb *t = g_new0(struct SoftCodeTlb, 1);

    t->gen = t->global_gen = 1;
    return t;
}

void soft_code_tlb_free(struct SoftCodeTlb *t)
{
    g_free(t);
}

/* Each half of the address space has its half of the bits: most flushes are of programs' pages, and
 * would meet the kernel's few code pages by chance. */
static unsigned hash(uint64_t number, uint64_t la, unsigned n)
{
    return (unsigned)(number ^ number >> 11) % (n / 2) + (unsigned)(la >> 63) * (n / 2);
}

static unsigned page_hash(uint64_t la)
{
    return hash(la >> 12, la, SEEN_PAGES);
}

static unsigned large_hash(uint64_t la)
{
    return hash(la >> 22, la, SEEN_LARGE);
}

static void see(CodeSeen *s, uint64_t la, const CodeEntry *e)
{
    unsigned page = page_hash(la), large = large_hash(la);

    s->pages[page / 64] |= 1ull << page % 64;
    if (e->page_bits > 12) {
        s->large[large / 64] |= 1ull << large % 64;
        s->huge |= e->page_bits > 22;
    }
    s->local |= !e->global;
}

static bool seen(const CodeSeen *s, uint64_t la)
{
    unsigned page = page_hash(la), large = large_hash(la);

    return s->huge || s->pages[page / 64] >> page % 64 & 1 ||
           s->large[large / 64] >> large % 64 & 1;
}

static void flush_jumps(SoftCpu *c, bool kernel)
{
    struct SoftCodeTlb *t = c->code_tlb;

    soft_jump_flush(c, kernel);
    t->seen[1] = (CodeSeen){ 0 };
    if (kernel) {
        t->seen[0] = (CodeSeen){ 0 };
    }
}

void soft_code_flush(SoftCpu *c, bool global)
{
    struct SoftCodeTlb *t = c->code_tlb;

    t->gen++;
    t->global_gen += global;
    flush_jumps(c, global || t->seen[0].local);
}

void soft_code_flush_page(SoftCpu *c, uint64_t la)
{
    struct SoftCodeTlb *t = c->code_tlb;
    bool kernel = seen(&t->seen[0], la);

    /* A large page may sit in many entries, so all go. */
    t->gen++;
    t->global_gen++;
    if (kernel || seen(&t->seen[1], la)) {
        flush_jumps(c, kernel);
    }
}

static CodeEntry *code_lookup(SoftCpu *c, uint64_t la)
{
    struct SoftCodeTlb *t = c->code_tlb;
    uint64_t tag = (la & ~0xfffull) | CODE_TAG_VALID | (c->cpl == 3 ? CODE_TAG_USER : 0);
    CodeEntry *e = &t->e[((la >> 12) ^ (la >> 21)) & (CODE_TLB_SIZE - 1)];
    CodeSeen *seen = &t->seen[c->cpl == 3];
    SoftWalk w;

    if (e->tag == tag && e->gen == (e->global ? t->global_gen : t->gen)) {
        see(seen, la, e);
        return e;
    }
    if (!soft_canonical(c, la)) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (!soft_walk(c, la, ACC_FETCH | soft_acc(c), &w)) {
        soft_raise_pf(c, la, w.error);
    }
    unsigned flags;
    bool logged;
    e->codemask = NULL;
    e->host = c->bus->page(c->bus_opaque, w.gpa, &flags, &e->codemask, &logged);
    e->gpa = w.gpa;
    e->global = w.global;
    e->page_bits = (uint8_t)w.page_bits;
    e->gen = w.global ? t->global_gen : t->gen;
    e->tag = tag;
    see(seen, la, e);
    return e;
}

uint8_t *soft_code_page(SoftCpu *c, uint64_t la, uint64_t *ret_gpa, _Atomic uint64_t **ret_codemask)
{
    const CodeEntry *e = code_lookup(c, la);

    *ret_gpa = e->gpa;
    *ret_codemask = e->codemask;
    return e->host;
}

static void fetch_part(SoftCpu *c, const CodeEntry *e, uint64_t la, uint8_t *dst, unsigned n)
{
    uint64_t off = la & 0xfff;

    if (e->host) {
        memcpy(dst, e->host + off, n);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        dst[i] = (uint8_t)c->bus->mmio_read(c->bus_opaque, (e->gpa | off) + i, 1);
    }
}

unsigned soft_fetch(SoftCpu *c, uint64_t la, uint8_t *dst, unsigned n, uint64_t *ret_gpa)
{
    unsigned k = soft_first_part(la, n);
    const CodeEntry *e = code_lookup(c, la);

    *ret_gpa = e->gpa | (la & 0xfff);
    fetch_part(c, e, la, dst, k);
    if (k < n) {
        uint64_t next = soft_next_page(c, la);
        if (n - k > 4096) {
            n = k + 4096;
        }
        fetch_part(c, code_lookup(c, next), next, dst + k, n - k);
    }
    return n;
}
