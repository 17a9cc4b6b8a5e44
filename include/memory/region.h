/*
 * Regions: RAM, ROM, MMIO, alias, container. A tree of them is turned into an immutable flat map
 * that readers take with one atomic load (RCU). Changes happen under the VM lock between
 * mem_begin() and mem_commit().
 */
#pragma once

#include "memory/addr.h"
#include "object/obj.h"

typedef struct RegionOps {
    uint64_t (*read)(void *opaque, uint64_t off, unsigned size);
    void (*write)(void *opaque, uint64_t off, unsigned size, uint64_t val);
    /* what the device takes, 1..8; 0: 1 and 8. Other sizes are split or widened by the core: wider
     * ones split into max_access pieces, low address first */
    uint8_t min_access, max_access;
    bool unaligned;               /* takes unaligned accesses as they are */
    bool lockless;                /* callable without the VM lock (doorbells, clocks) */
    uint8_t valid_min, valid_max; /* guest accesses outside are ignored/read 0 (0: 1..8) */
    /* Optional, without the VM lock: what read() would say where reading changes nothing. False:
     * read() has to be asked. */
    bool (*peek)(void *opaque, uint64_t off, unsigned size, uint64_t *ret);
} RegionOps;

typedef enum RegionKind {
    REGION_CONTAINER,
    REGION_RAM,
    REGION_ROM,
    REGION_IO,
    REGION_ALIAS
} RegionKind;

struct Region {
    RegionKind kind;
    const char *name; /* static or owned by the creator, for info mtree */
    Obj *owner;       /* NULL: the machine */
    uint64_t size;    /* UINT64_MAX: 2^64 */
    bool enabled;
    /* RAM seen as ROM (PAM): writes are dropped, or go to ops->write when ops is set */
    bool readonly;
    /* being accessed by its own device: re-entry is refused (hostile guests) */
    bool in_dispatch;
    bool guard_reentry;
    uint8_t whole_sizes; /* 1, 2, 4, 8 or-ed: what ops take as one access */
    const RegionOps *ops;
    void *opaque;
    RamBlock *ram;
    Region *target; /* alias */
    uint64_t target_off;
    Region *container; /* where it is mapped */
    uint64_t at;
    int priority;
    GPtrArray *subs; /* container: Region*, highest priority first */
};

void region_init_container(Region *r, Obj *owner, const char *name, uint64_t size);
void region_init_io(
    Region *r, Obj *owner, const char *name, const RegionOps *ops, void *opaque, uint64_t size);
/* anonymous */
bool region_init_ram(Region *r, Obj *owner, const char *name, uint64_t size, GError **err);
/* takes a reference */
void region_init_ram_block(Region *r, Obj *owner, const char *name, RamBlock *block);
bool region_init_rom(Region *r, Obj *owner, const char *name, const void *data, uint64_t len,
    uint64_t size, GError **err);
/* The next len bytes of a file, without a copy of them in between. */
bool region_init_rom_file(
    Region *r, Obj *owner, const char *name, int fd, uint64_t len, uint64_t size, GError **err);
void region_init_alias(
    Region *r, Obj *owner, const char *name, Region *target, uint64_t target_off, uint64_t size);
void region_fini(Region *r); /* must not be mapped; RAM is unreferenced */
/* Mapping; each is a transaction of its own outside mem_begin/mem_commit. Overlaps: higher priority
 * wins, then the later one. */
void region_map(Region *container, uint64_t at, Region *r, int priority);
void region_unmap(Region *r);
bool region_is_mapped(const Region *r);
void region_set_enabled(Region *r, bool on);
void region_set_at(Region *r, uint64_t at);
void region_set_size(Region *r, uint64_t size);
void region_set_readonly(Region *r, bool on);
void region_set_alias_off(Region *r, uint64_t off);
void *region_host(const Region *r); /* RAM or ROM: its bytes */
void mem_begin(void);
/* the outermost one publishes every changed AddrSpace; < 20 us */
void mem_commit(void);
/* The true size: 2^64 for UINT64_MAX. */
static inline unsigned __int128 region_size128(const Region *r)
{
    return r->size == UINT64_MAX ? (unsigned __int128)1 << 64 : r->size;
}
