/*
 * Guest memory by linear address: the software TLB's fast path inline, everything else in tlb.c and
 * mmu.c. A load or store within a page is one host access of its size; TSO on a TSO host.
 */
#pragma once

#include "soft.h"

enum { SOFT_TLB_BITS = 16, SOFT_TLB_SIZE = 1 << SOFT_TLB_BITS };

/*
 * Indexed by bits 12..27 of the linear address, mmapped lazily. ntag is the two's complement of the
 * page's address, so that (la + size - 1 + ntag) >> 12 == 0 is a hit that does not cross the page;
 * soft_tlb_none() never hits. addend is host minus linear address. ntag_w is set only for plain RAM
 * that is writable in this view, is already dirty for all clients and holds no decoded code. One
 * access touches one cache line.
 */
typedef struct SoftTlbEntry {
    uint64_t ntag_r, ntag_w;
    uintptr_t addend;
    uint64_t unused;
} SoftTlbEntry;
/* A translation that leads to no host memory: the slow path need not walk the tables again. Kept
 * until any flush. */
enum { SOFT_TLB_MMIO = 16 };
typedef struct SoftTlbMmio {
    uint64_t page; /* linear, | 1: valid for reads, | 2: for writes too */
    uint64_t gpa;
} SoftTlbMmio;
struct SoftTlb {
    SoftTlbEntry e[SOFT_TLB_SIZE];
    SoftTlbMmio mmio[SOFT_TLB_MMIO]; /* by bits 12..15 of the linear address */
    bool any_mmio;
    uint32_t *log, nlog;   /* indices filled with non-global pages since the last flush */
    uint32_t *glog, nglog; /* the same for global ones */
    uint8_t
        large[128];   /* non-zero: a large page was filled for this 2 MiB slot of the index space */
    uint64_t huge[8]; /* 1 GiB pages (la >> 30) filled since the last full flush; nhuge > 8: too
                         many to list */
    unsigned nhuge;
};

/*
 * The tag of an empty entry. Any value hits some address, so it must be one whose page and the page
 * before it have other indices: 0 (page 0) for all but the two ends of the table.
 */
static inline uint64_t soft_tlb_none(uint64_t index)
{
    return ((index + 1) & (SOFT_TLB_SIZE - 1)) <= 1 ? -0x8000000008000000ull : 0;
}

/*
 * Which vCPUs may hold a write tag for a page: each has a table of bits, by a hash of the page's
 * host address. A bit is set before the page's code mask is looked at, never cleared; so a decoder
 * that has set the mask finds everybody it must wait for.
 */
enum { SOFT_WROTE_BITS = 20 };

static inline bool soft_wrote(const SoftCpu *c, const uint8_t *page)
{
    uint64_t bit = ((uintptr_t)page >> 12) & ((1u << SOFT_WROTE_BITS) - 1);
    return atomic_load(&c->wrote[bit / 64]) >> (bit % 64) & 1;
}

static inline void soft_set_wrote(SoftCpu *c, const uint8_t *page)
{
    uint64_t bit = ((uintptr_t)page >> 12) & ((1u << SOFT_WROTE_BITS) - 1);
    if (!(atomic_load_explicit(&c->wrote[bit / 64], memory_order_relaxed) >> (bit % 64) & 1)) {
        atomic_fetch_or(&c->wrote[bit / 64], 1ull << (bit % 64));
    }
}

/* tlb.c / mmu.c: the slow paths. May raise #PF, #GP, #SS, #AC. seg is only for choosing #SS or #GP
 * on non-canonical. */
uint64_t soft_ld_slow(SoftCpu *c, uint64_t la, unsigned size);
void soft_st_slow(SoftCpu *c, uint64_t la, unsigned size, uint64_t val);
/*
 * Host address for [la, la+size) when it lies in one RAM page with the wanted rights, else NULL
 * (MMIO, ROM write, page crossing, code page for writes); raises if a page is missing. write: also
 * checks write permission and sets D.
 */
uint8_t *soft_probe(SoftCpu *c, uint64_t la, unsigned size, bool write);
/* Raises if any byte of [la, la+size) (at most 4096 bytes) is not accessible; no other effect. */
void soft_check(SoftCpu *c, uint64_t la, unsigned size, bool write);
/* The same as with CPL 0 (descriptor tables, TSS, interrupt frames). */
uint64_t soft_ld_sys(SoftCpu *c, uint64_t la, unsigned size);
void soft_st_sys(SoftCpu *c, uint64_t la, unsigned size, uint64_t val);
/* n <= 64 bytes, any alignment, page crossing handled; both pages are probed before anything is
 * written. */
void soft_ld_bytes(SoftCpu *c, uint64_t la, void *dst, unsigned n);
void soft_st_bytes(SoftCpu *c, uint64_t la, const void *src, unsigned n);
/*
 * Locked read-modify-write support: a host pointer to RAM that may be used with host atomics, for
 * write; soft_rmw_done() follows the operation. When NULL is returned (MMIO, page crossing) the
 * caller takes soft_split_lock()/unlock() around a plain load and store.
 */
uint8_t *soft_rmw_ptr(SoftCpu *c, uint64_t la, unsigned size);
void soft_rmw_code_written(SoftCpu *c, unsigned size);
static inline void soft_rmw_done(SoftCpu *c, unsigned size)
{
    if (__builtin_expect(c->rmw_mask != NULL, 0)) {
        soft_rmw_code_written(c, size);
    }
}
void soft_split_lock(SoftCpu *c);
void soft_split_unlock(SoftCpu *c);

/* Instruction bytes: copies up to n bytes at la until the end of the second page; *ret_gpa of the
 * first byte; may raise #PF (fetch). */
unsigned soft_fetch(SoftCpu *c, uint64_t la, uint8_t *dst, unsigned n, uint64_t *ret_gpa);
/* Physical address and host pointer of a code page (fetch rights checked); host NULL: MMIO. */
uint8_t *soft_code_page(
    SoftCpu *c, uint64_t la, uint64_t *ret_gpa, _Atomic uint64_t **ret_codemask);

void soft_tlb_flush(SoftCpu *c, bool global); /* CR3 write: non-global only */
void soft_tlb_flush_page(SoftCpu *c, uint64_t la);
/* A page now holds decoded code: its write tags go (own vCPU). */
void soft_tlb_protect_code(SoftCpu *c, uint64_t gpa);
SoftTlb *soft_tlb_new(void);
void soft_tlb_free(SoftTlb *t);

#define SOFT_MEM_IDX(la) (((la) >> 12) & (SOFT_TLB_SIZE - 1))

/* A device's page that was met before; want: 1, or 3 for writing. NULL: the long way. */
static inline const SoftTlbMmio *soft_mmio_hit(
    SoftCpu *c, uint64_t la, unsigned size, uint64_t want)
{
    const SoftTlbMmio *m = &c->views[c->cpl == 3]->mmio[SOFT_MEM_IDX(la) % SOFT_TLB_MMIO];

    return ((m->page ^ la) & ~0xfffull) || (m->page & want) != want || (la & 0xfff) + size > 0x1000
               ? NULL
               : m;
}

/* Host address of [la, la + size) if the fast path may read or write it, else NULL. */
static inline uint8_t *soft_hit_r(const SoftTlb *t, uint64_t la, unsigned size)
{
    const SoftTlbEntry *e = &t->e[SOFT_MEM_IDX(la)];

    return __builtin_expect((la + (size - 1) + e->ntag_r) >> 12, 0) ? NULL
                                                                    : (uint8_t *)(la + e->addend);
}

static inline uint8_t *soft_hit_w(const SoftTlb *t, uint64_t la, unsigned size)
{
    const SoftTlbEntry *e = &t->e[SOFT_MEM_IDX(la)];

    return __builtin_expect((la + (size - 1) + e->ntag_w) >> 12, 0) ? NULL
                                                                    : (uint8_t *)(la + e->addend);
}

#define SOFT_MEM_FN(bits)                                                                          \
    static inline uint##bits##_t soft_ld##bits(SoftCpu *c, uint64_t la)                            \
    {                                                                                              \
        const uint8_t *p = soft_hit_r(c->tlb, la, bits / 8);                                       \
        if (__builtin_expect(!p, 0)) {                                                             \
            return (uint##bits##_t)soft_ld_slow(c, la, bits / 8);                                  \
        }                                                                                          \
        uint##bits##_t v;                                                                          \
        __builtin_memcpy(&v, p, sizeof v);                                                         \
        return v;                                                                                  \
    }                                                                                              \
    static inline void soft_st##bits(SoftCpu *c, uint64_t la, uint##bits##_t v)                    \
    {                                                                                              \
        uint8_t *p = soft_hit_w(c->tlb, la, bits / 8);                                             \
        if (__builtin_expect(!p, 0)) {                                                             \
            soft_st_slow(c, la, bits / 8, v);                                                      \
            return;                                                                                \
        }                                                                                          \
        __builtin_memcpy(p, &v, sizeof v);                                                         \
    }
SOFT_MEM_FN(8)
SOFT_MEM_FN(16)
SOFT_MEM_FN(32)
SOFT_MEM_FN(64)
#undef SOFT_MEM_FN
