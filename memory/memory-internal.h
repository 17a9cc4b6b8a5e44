/* What the files of memory/ share: the transaction's state and the address space's inside. */
#pragma once

#include "memory/addrspace.h"
#include "memory/dma.h"
#include "memory/iommu.h"

#include <stdatomic.h>

struct AddrSpace {
    char *name;
    Region *root;
    FlatMap *_Atomic map;        /* replaced under the VM lock, freed through RCU */
    _Atomic uint64_t generation; /* map's, readable without RCU */
    uint64_t hole;
    MapListener *listeners;
    MsiSink *_Atomic msi_fn;
    void *_Atomic msi_opaque;
    AddrSpace *next;
};

struct DmaSpace {
    AddrSpace *as;
    atomic_bool master;
    DmaClock clock;
    Iommu *_Atomic iommu; /* set under the VM lock */
    atomic_bool bypass;
    DmaTlb *users; /* VM lock */
};
void dma_space_stale(DmaSpace *s); /* what was translated before may be wrong now */
/* *at becomes a physical address; *len shrinks to what the translation covers. */
bool dma_translate(const DmaSpace *s, uint64_t *at, bool write, uint64_t *len);

void addrspace_publish_all(void); /* the outermost mem_commit() */
void addrspace_touched(void); /* a region changed: publish now or at the outermost mem_commit() */
/* Calls ram_unref(b) once no reader of an older map can reach it. */
void ram_unref_later(RamBlock *b);

/* Single-copy copies for 1, 2, 4 and 8 aligned bytes, memcpy otherwise; guest memory races are the
 * guest's affair. */
void mem_copy_from(void *dst, const void *guest, size_t len);
void mem_copy_to(void *guest, const void *src, size_t len);
