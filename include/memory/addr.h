/* Addresses with types of their own, and one PCI function's view of memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t v;
} Gpa; /* guest physical */
typedef struct {
    uint64_t v;
} Iova; /* what a device puts on its bus */
typedef struct Region Region;
typedef struct AddrSpace AddrSpace; /* published map of regions */
typedef struct FlatMap FlatMap;
/* one PCI function's view: AddrSpace + IOMMU + bus master enable */
typedef struct DmaSpace DmaSpace;
typedef struct RamBlock RamBlock;
typedef enum DmaDir { DMA_FROM_GUEST, DMA_TO_GUEST } DmaDir;
