/* A test's IOMMU: a table of 4 KiB pages, and a port whose RAM accesses go through it as the
 * driver's would through its own page tables. */
#pragma once

#include "memory/iommu.h"
#include "tests/lib/vport.h"

#include <glib.h>

enum { VIOMMU_READ = 1, VIOMMU_WRITE = 2, VIOMMU_PAGE = 4096 };

typedef struct Viommu {
    Iommu iommu;
    GMutex lock;
    GHashTable *pages; /* iova page -> gpa page | permissions */
    const VPort *plain;
    VPort port;
    unsigned translations, faults;
} Viommu;

void viommu_init(Viommu *v, const VPort *plain);
void viommu_fini(Viommu *v);
void viommu_map(Viommu *v, uint64_t iova, uint64_t gpa, unsigned perm); /* one page; 0: none */
uint64_t viommu_gpa(Viommu *v, uint64_t iova); /* where it leads, whatever the permissions */
