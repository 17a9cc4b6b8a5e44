/*
 * An IOMMU between functions and memory (VIRTIO 1.4, 6: ACCESS_PLATFORM). It translates; whoever
 * holds a translation keeps a DmaWin of it, and an invalidation is complete when the last request
 * that used one it covers has given it back.
 */
#pragma once

#include "memory/dma.h"

/* [hit->at, hit->at + len) answers for [iova, iova + len): at least one byte, ends at a page. */
typedef struct IommuHit {
    Gpa at;
    uint64_t len;
    bool read, write;
} IommuHit;

struct Iommu {
    /* false: a fault. Any thread that runs a data path, under RCU; the table's owner sees to it. */
    bool (*translate)(Iommu *i, Iova at, bool write, IommuHit *ret);
    void *opaque;
};

/* The function's requests go through it from now on; NULL: none. VM lock. */
void dma_space_set_iommu(DmaSpace *s, Iommu *i);
Iommu *dma_space_iommu(const DmaSpace *s); /* NULL: none, or bypassed */
/* The driver knows nothing of the IOMMU: addresses are physical (VIRTIO 1.4, 6). VM lock. */
void dma_space_set_bypass(DmaSpace *s, bool on);

/*
 * The mapping of [at, at+len) changed (len 0: all of them): call after the table has changed. done
 * runs in the main loop once nothing uses an old translation any more. VM lock; never waits.
 */
typedef void DmaInvalidated(void *opaque);
void dma_space_invalidate(DmaSpace *s, Iova at, uint64_t len, DmaInvalidated *done, void *opaque);
