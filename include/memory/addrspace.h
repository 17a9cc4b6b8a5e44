/* An address space: a root region, its published flat map, typed access with dispatch to MMIO, and
 * listeners. */
#pragma once

#include "memory/region.h"

typedef struct FlatRange {
    uint64_t at, size;
    Region *region; /* the leaf: RAM, ROM or IO */
    uint64_t off;   /* of at in region */
    bool readonly;
} FlatRange;
struct FlatMap {
    unsigned n;
    uint64_t generation;
    FlatRange range[]; /* sorted by at */
};

AddrSpace *addrspace_new(const char *name, Region *root);
void addrspace_free(AddrSpace *as);
/* Valid until this thread's next quiescent point. Any registered thread. */
const FlatMap *addrspace_map(const AddrSpace *as);
const FlatRange *flatmap_find(const FlatMap *m, uint64_t at); /* NULL: a hole */

bool flatrange_has(const FlatRange *r, uint64_t at);
/* of the published map. Any thread, registered or not */
uint64_t addrspace_generation(const AddrSpace *as);
const char *addrspace_name(const AddrSpace *as);

/* Reads in a hole give 0 from memory (all ones: port space asks for it at creation) and are no
 * error unless *ret_hole is asked. */
void addrspace_set_hole_value(AddrSpace *as, uint64_t v);
/*
 * CPU accesses of 1, 2, 4 or 8 bytes: one access to the device where its region allows, else split.
 * The VM lock is taken inside for regions that need it and not held already. Any thread.
 */
uint64_t addrspace_load(AddrSpace *as, uint64_t at, unsigned size, bool *ret_hole);
void addrspace_store(AddrSpace *as, uint64_t at, unsigned size, uint64_t val, bool *ret_hole);
/* The same for a caller that keeps the index of the range it met last (any value to begin with). */
uint64_t addrspace_load_near(AddrSpace *as, uint64_t at, unsigned size, unsigned *hint);
void addrspace_store_near(AddrSpace *as, uint64_t at, unsigned size, uint64_t val, unsigned *hint);
/*
 * Any length: RAM by memcpy, MMIO in the widest pieces its rules and the alignment allow (8 at
 * most). False if any byte was a hole or a write hit ROM.
 */
bool addrspace_read(AddrSpace *as, uint64_t at, void *dst, uint64_t len);
bool addrspace_write(AddrSpace *as, uint64_t at, const void *src, uint64_t len);
/* also into ROM: loader, gdb */
bool addrspace_write_rom(AddrSpace *as, uint64_t at, const void *src, uint64_t len);
bool addrspace_fill(AddrSpace *as, uint64_t at, int byte, uint64_t len);
/* Host pointer for [at, at+len) if it is plain RAM without a seam; NULL otherwise. */
void *addrspace_host(AddrSpace *as, uint64_t at, uint64_t len, bool write, RamBlock **ret_block);

/* Called with the VM lock after each publication: accelerators and IOMMUs. old may be NULL the
 * first time. */
typedef struct MapListener {
    void (*changed)(struct MapListener *l, const FlatMap *old, const FlatMap *now);
    struct MapListener *next;
} MapListener;
void addrspace_listen(AddrSpace *as, MapListener *l);
void addrspace_unlisten(AddrSpace *as, MapListener *l);
void addrspace_describe(const AddrSpace *as, GString *out); /* info mtree */

/*
 * Doorbells: a store of any value (or exactly `match`, has_match) and size to at signals the
 * eventfd without the VM lock. Under KVM the accelerator mirrors the table as ioeventfds.
 */
typedef struct Doorbell {
    AddrSpace *as;
    uint64_t at;
    unsigned size;
    bool has_match;
    uint64_t match;
    int eventfd;
    /* NULL, or set by the ringer and cleared by the listener: rung already and not heard yet, so
     * there is no need to signal again. Lives until an RCU grace period after the bell. */
    _Atomic bool *rung;
} Doorbell;
