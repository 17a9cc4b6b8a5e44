/* Blocks of guest RAM: anonymous, memfd or file memory, with reference counts, code mask and dirty
 * bitmap. */
#pragma once

#include "memory/addr.h"
#include "util/err.h"

#include <stdatomic.h>

struct RamBlock {
    uint8_t *host;
    uint64_t size;
    int fd; /* -1: anonymous */
    bool share;
    bool readonly;   /* of the file below */
    uint64_t offset; /* into fd */
    char *id;        /* "pc.ram" */
    _Atomic uint32_t refs;
    /* One word per 4 KiB page: granules that hold decoded code. NULL until an engine asks
     * (ram_codemask). Lazily backed. */
    _Atomic uint64_t *_Atomic codemask;
    /* one bit a page, NULL while no client logs (memory/dirty.h) */
    _Atomic uint64_t *_Atomic dirty;
    void *log; /* dirty.c's clients; VM lock */
};
typedef struct RamSpec {
    uint64_t size;
    const char *path; /* a file, or a folder for an unlinked one */
    bool memfd, seal; /* seal: the memfd never changes its size again */
    bool shm;         /* POSIX shared memory, unlinked at once */
    bool share, prealloc;
    bool reserve;     /* count it against the host's memory when it is made */
    bool readonly;    /* the file is only read: private pages, or read-only shared ones */
    uint64_t hugetlb; /* page size of the memfd, 0: ordinary pages */
    uint64_t align;   /* of the mapping; 0: huge pages' */
    uint64_t offset;  /* into the file */
} RamSpec;
RamBlock *ram_new(const char *id, const RamSpec *spec, GError **err);
/* Gives every page its memory now, with so many threads. */
bool ram_populate(RamBlock *b, unsigned threads, GError **err);
/* The content of [off, off+len) may go, and its memory with it: whole pages inside are given back
 * to the host and read as zeroes (a private file: as the file). Any thread. */
void ram_discard(RamBlock *b, uint64_t off, uint64_t len);
RamBlock *ram_ref(RamBlock *b);
void ram_unref(RamBlock *b);
_Atomic uint64_t *ram_codemask(RamBlock *b); /* allocates on first use */
/* To be called after every write by anyone but a vCPU: marks dirty, tells the engine when the pages
 * hold code. Any thread. */
void ram_written(RamBlock *b, uint64_t off, uint64_t len);
/* The soft engine's hook; one per process. */
typedef void RamCodeHook(void *opaque, RamBlock *b, uint64_t off, uint64_t len);
void ram_set_code_hook(RamCodeHook *fn, void *opaque);
