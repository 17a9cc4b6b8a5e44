/* A PCI function's DMA: the only place where an Iova becomes a Gpa. */
#pragma once

#include "memory/addrspace.h"

struct iovec;
typedef struct Iommu Iommu; /* memory/iommu.h */

DmaSpace *dma_space_new(AddrSpace *as); /* bus master off */
void dma_space_free(DmaSpace *s);
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
bool dma_read(DmaSpace *s, Iova at, void *dst, size_t len); /* any thread */
/* any thread; MMIO targets are allowed only for MSI */
bool dma_write(DmaSpace *s, Iova at, const void *src, size_t len);
/* MSI: 0xfeexxxxx goes to the machine's MSI sink (LAPIC), any other address is an ordinary write of
 * 4 bytes. Any thread. */
void dma_msi(DmaSpace *s, uint64_t addr, uint32_t data);
typedef void MsiSink(void *opaque, uint64_t addr, uint32_t data);
void dma_set_msi_sink(AddrSpace *as, MsiSink *fn, void *opaque);
