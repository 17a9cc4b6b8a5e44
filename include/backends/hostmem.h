/* Guest memory as user objects: -object memory-backend-ram, -file, -memfd and -shm. Main loop. */
#pragma once

#include "memory/ram.h"
#include "object/obj.h"

/* Host NUMA nodes 0 to 127. */
typedef struct HostNodes {
    uint64_t word[2];
} HostNodes;

typedef struct HostMem {
    Obj obj;
    uint64_t size;
    bool merge, dump, share, reserve, prealloc, canonical_id;
    uint32_t prealloc_threads;
    int policy;
    HostNodes nodes;
    /* memory-backend-file */
    char *path;
    uint64_t align, offset;
    bool readonly, discard_data, pmem;
    OnOffAuto rom;
    /* memory-backend-memfd */
    bool hugetlb, seal;
    uint64_t hugetlbsize;

    RamBlock *ram;
    bool used; /* somebody's memory: nobody else's */
} HostMem;

/* The back end of this name in container, not yet used. NULL: there is none. */
HostMem *hostmem_find(const Obj *container, const char *id);
/* Its memory becomes the caller's: a reference to the block and one to the object, which can not be
 * deleted any more. False: it is in use, or read-only. */
bool hostmem_take(HostMem *h, RamBlock **ret_ram, GError **err);
extern const ObjClass memory_backend_class, memory_backend_ram_class, memory_backend_file_class,
    memory_backend_memfd_class, memory_backend_shm_class;
