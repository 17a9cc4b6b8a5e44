/* A PCI function's DMA: the only place where an Iova becomes a Gpa. */
#pragma once

#include "memory/addrspace.h"
#include "util/loop.h"

#include <stdatomic.h>

struct iovec;
typedef struct Iommu Iommu; /* memory/iommu.h */

DmaSpace *dma_space_new(AddrSpace *as); /* bus master off */
void dma_space_free(DmaSpace *s);
AddrSpace *dma_space_memory(
    const DmaSpace *s); /* what lies behind it, by the machine's addresses */
void dma_space_set_master(DmaSpace *s, bool on); /* off: every access fails */
bool dma_space_master(const DmaSpace *s);
/* Changes whenever a translation made earlier may be stale (map published, bus master toggled). */
uint64_t dma_space_generation(const DmaSpace *s);

/*
 * Appends host pointers for [at, at+len); returns entries added, 0 on a fault or when max is too
 * small. Takes a reference on each RAM block (once per entry); dma_unmap gives it back and marks
 * what was written. Only plain RAM can be mapped: a buffer in MMIO is a fault (a device that would
 * re-enter itself through its own BAR is refused here).
 */
unsigned dma_map(DmaSpace *s, Iova at, size_t len, DmaDir dir, struct iovec *iov,
    RamBlock **ret_blocks, unsigned max);
void dma_unmap(DmaSpace *s, const struct iovec *iov, RamBlock *const *blocks, unsigned n,
    DmaDir dir, size_t written);

/*
 * A stretch of plain RAM as one thread knows it: what begins at `at` on the bus lies at host. It
 * keeps the RAM, and holds back an invalidation of its addresses, until refs is 0. refs belongs to
 * the thread that made it: no atomics on the way of a request.
 */
typedef struct DmaWin DmaWin;
struct DmaWin {
    uint64_t at;
    uint64_t len[2]; /* for reads, for writes: 0 where that is not allowed */
    uint8_t *host;
    uint32_t refs;
    RamBlock *block;
    struct DmaTlb *tlb;
    DmaWin *next, **prev;       /* tlb->live */
    struct DmaInvalWait *waits; /* invalidations that wait for it */
};
enum { DMA_TLB_SLOTS = 4 };
/* The windows one data path found last; valid while generation is the space's. */
typedef struct DmaTlb {
    DmaWin *slot[DMA_TLB_SLOTS]; /* never NULL: an empty window matches nothing */
    uint64_t generation;
    DmaSpace *space;
    Loop *loop; /* its thread owns this */
    void (*drop)(void *opaque);
    void *opaque;
    DmaWin *live;
    struct DmaTlb *next_user; /* the space's list; VM lock */
    bool closed;
    _Atomic unsigned refs;
} DmaTlb;
/* drop: gives back what the owner keeps beside requests (ring parts); in the loop. VM lock. */
DmaTlb *dma_tlb_new(DmaSpace *s, Loop *loop, void (*drop)(void *opaque), void *opaque);
/* VM lock; drop is not called any more. All windows are given back, here or soon after. */
void dma_tlb_close(DmaTlb *t);
void dma_tlb_flush(DmaTlb *t); /* forgets all slots; in the loop */
/*
 * The window that holds `at`; *ret_len: how many of len bytes lie in it. NULL: a fault, or no bus
 * master. The slot keeps a reference; the caller takes its own with refs++.
 */
DmaWin *dma_tlb_find(DmaTlb *t, uint64_t at, uint64_t len, bool write, uint64_t *ret_len);
void dma_win_free(DmaWin *w); /* refs went to 0 */
static inline void dma_win_put(DmaWin *w, unsigned refs)
{
    w->refs -= refs;
    if (__builtin_expect(!w->refs, 0)) {
        dma_win_free(w);
    }
}

/* What dma_space_generation() sums up, for readers that ask with every request. */
typedef struct DmaClock {
    const _Atomic uint64_t *map;
    _Atomic uint64_t own;
} DmaClock;
const DmaClock *dma_space_clock(const DmaSpace *s);
static inline uint64_t dma_clock_now(const DmaClock *c)
{
    /* Both only grow, so the sum changes whenever one does. Pairs with the releases in publish()
     * and dma_space_set_master(). */
    return atomic_load_explicit(c->map, memory_order_acquire) +
           atomic_load_explicit(&c->own, memory_order_acquire);
}

bool dma_read(DmaSpace *s, Iova at, void *dst, size_t len); /* any thread */
/* any thread; MMIO targets are allowed only for MSI */
bool dma_write(DmaSpace *s, Iova at, const void *src, size_t len);
/* MSI: 0xfeexxxxx goes to the machine's MSI sink (LAPIC), any other address is an ordinary write of
 * 4 bytes. Any thread. */
void dma_msi(DmaSpace *s, uint64_t addr, uint32_t data);
typedef void MsiSink(void *opaque, uint64_t addr, uint32_t data);
void dma_set_msi_sink(AddrSpace *as, MsiSink *fn, void *opaque);
