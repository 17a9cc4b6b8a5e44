/* Typed loads and stores through the flat map: RAM directly, MMIO by its region's rules. Test:
 * tests/unit/test-addrspace.c */
#include "memory-internal.h"
#include "memory/ram.h"
#include "util/log.h"
#include "util/loop.h"

#include <string.h>

#define NO_TSAN __attribute__((no_sanitize("thread")))

/* The sanitizer sees memcpy(), whoever calls it. */
static inline NO_TSAN void copy_bytes(void *dst, const void *src, size_t len)
{
#ifdef __SANITIZE_THREAD__
    volatile uint8_t *d = dst;
    const volatile uint8_t *s = src;

    while (len--) {
        *d++ = *s++;
    }
#else
    memcpy(dst, src, len);
#endif
}

static uint64_t mask_of(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

NO_TSAN void mem_copy_from(void *dst, const void *guest, size_t len)
{
    uintptr_t align = (uintptr_t)guest & (len - 1);

    if (len == 8 && !align) {
        uint64_t v = __atomic_load_n((const uint64_t *)guest, __ATOMIC_RELAXED);
        memcpy(dst, &v, 8);
    } else if (len == 4 && !align) {
        uint32_t v = __atomic_load_n((const uint32_t *)guest, __ATOMIC_RELAXED);
        memcpy(dst, &v, 4);
    } else if (len == 2 && !align) {
        uint16_t v = __atomic_load_n((const uint16_t *)guest, __ATOMIC_RELAXED);
        memcpy(dst, &v, 2);
    } else {
        copy_bytes(dst, guest, len);
    }
}

NO_TSAN void mem_copy_to(void *guest, const void *src, size_t len)
{
    uintptr_t align = (uintptr_t)guest & (len - 1);

    if (len == 8 && !align) {
        uint64_t v;
        memcpy(&v, src, 8);
        __atomic_store_n((uint64_t *)guest, v, __ATOMIC_RELAXED);
    } else if (len == 4 && !align) {
        uint32_t v;
        memcpy(&v, src, 4);
        __atomic_store_n((uint32_t *)guest, v, __ATOMIC_RELAXED);
    } else if (len == 2 && !align) {
        uint16_t v;
        memcpy(&v, src, 2);
        __atomic_store_n((uint16_t *)guest, v, __ATOMIC_RELAXED);
    } else {
        copy_bytes(guest, src, len);
    }
}

/* What the device takes: defaults filled in. */
static unsigned ops_max(const RegionOps *o)
{
    return o->max_access ? o->max_access : 8;
}

static unsigned ops_min(const RegionOps *o)
{
    return o->min_access ? o->min_access : 1;
}

static bool size_valid(const RegionOps *o, unsigned size)
{
    return size >= (o->valid_min ? o->valid_min : 1) && size <= (o->valid_max ? o->valid_max : 8);
}

/* The widest power of two that len, the alignment of off and max allow; below min_access what lies
 * in one lane. */
static unsigned piece_size(const RegionOps *o, uint64_t off, uint64_t len, unsigned max)
{
    unsigned size = 1, min = ops_min(o);

    while (size * 2 <= max && size * 2 <= len && (o->unaligned || !(off & (size * 2 - 1)))) {
        size *= 2;
    }
    return size < min ? MIN(size, min - (unsigned)(off & (min - 1))) : size;
}

/* A piece below min_access: the device is read at its own width and the bytes are cut out. */
static uint64_t narrow_read(Region *r, uint64_t off, unsigned size)
{
    unsigned min = ops_min(r->ops);
    unsigned shift = (unsigned)(off & (min - 1)) * 8;

    return r->ops->read(r->opaque, off & ~(uint64_t)(min - 1), min) >> shift & mask_of(size);
}

static uint64_t io_read(Region *r, uint64_t off, unsigned size)
{
    const RegionOps *o = r->ops;
    uint64_t val = 0;

    if (!size_valid(o, size)) {
        return 0;
    }
    for (unsigned done = 0; done < size;) {
        unsigned n = piece_size(o, off + done, size - done, ops_max(o));
        uint64_t v =
            n < ops_min(o) ? narrow_read(r, off + done, n) : o->read(r->opaque, off + done, n);
        val |= (v & mask_of(n)) << (done * 8);
        done += n;
    }
    return val;
}

static void io_write(Region *r, uint64_t off, unsigned size, uint64_t val)
{
    const RegionOps *o = r->ops;

    if (!size_valid(o, size)) {
        return;
    }
    for (unsigned done = 0; done < size;) {
        unsigned n = piece_size(o, off + done, size - done, ops_max(o));
        uint64_t v = val >> (done * 8) & mask_of(n), at = off + done;
        if (n < ops_min(o)) {
            /* Widened: the bytes in their lane, zeros beside them. */
            unsigned min = ops_min(o);
            o->write(r->opaque, at & ~(uint64_t)(min - 1), min, v << ((at & (min - 1)) * 8));
        } else {
            o->write(r->opaque, at, n, v);
        }
        done += n;
    }
}

/* An access on its way to a device. Waiting for the VM lock lets the map change, so whoever waited
 * looks the range up again. */
typedef struct Dispatch {
    Region *region;
    bool locked, guarded;
} Dispatch;

static bool is_io(const FlatRange *f, bool write)
{
    return f->region->kind == REGION_IO || (write && f->readonly && f->region->ops);
}

static bool dispatch_begin(Dispatch *d, Region *r)
{
    d->region = r;
    d->guarded = r->guard_reentry && !r->ops->lockless;
    if (d->guarded && r->in_dispatch) {
        log_guest_error("%s: access to a device from within itself refused", r->name);
        return false;
    }
    if (d->guarded) {
        r->in_dispatch = true;
    }
    return true;
}

static void dispatch_end(Dispatch *d)
{
    if (d->guarded) {
        d->region->in_dispatch = false;
    }
}

/*
 * One piece of an access: at most len bytes at `at` that lie in one range and, for MMIO, in one
 * access of the device. Returns how many bytes it dealt with; *ok becomes false where there was
 * nothing.
 */
typedef struct Access {
    AddrSpace *as;
    bool write, rom_too;
    bool exact; /* a CPU access: MMIO takes it as one, whatever the region's valid sizes say */
    bool ok;
    unsigned *hint; /* NULL, or the range that the caller met last */
} Access;

static const FlatRange *range_of(const Access *a, uint64_t at)
{
    const FlatMap *m = addrspace_map(a->as);

    if (a->hint && *a->hint < m->n && flatrange_has(&m->range[*a->hint], at)) {
        return &m->range[*a->hint];
    }
    const FlatRange *f = flatmap_find(m, at);

    if (f && a->hint) {
        *a->hint = (unsigned)(f - m->range);
    }
    return f;
}

static void ram_access(const Access *a, const FlatRange *f, uint64_t off, uint8_t *buf, uint64_t n)
{
    uint8_t *host = f->region->ram->host + off;

    if (a->write) {
        mem_copy_to(host, buf, n);
        ram_written(f->region->ram, off, n);
    } else {
        mem_copy_from(buf, host, n);
    }
}

static void io_access(const Access *a, Region *r, uint64_t off, uint8_t *buf, unsigned n)
{
    uint64_t v = 0;

    if (a->write) {
        memcpy(&v, buf, n);
        io_write(r, off, n, v);
    } else {
        v = io_read(r, off, n);
        memcpy(buf, &v, n);
    }
}

static unsigned io_width(const Access *a, const RegionOps *o, uint64_t off, uint64_t len)
{
    unsigned max = o->valid_max ? o->valid_max : 8;

    return a->exact ? (unsigned)len : piece_size(o, off, len, max);
}

static uint64_t hole_access(Access *a, uint64_t at, uint8_t *buf, uint64_t len)
{
    const FlatMap *m = addrspace_map(a->as);
    uint64_t n = len;

    for (unsigned i = 0; i < m->n; i++) {
        if (m->range[i].at > at) {
            n = MIN(n, m->range[i].at - at);
            break;
        }
    }
    if (!a->write) {
        for (uint64_t i = 0; i < n; i++) {
            buf[i] = (uint8_t)(a->as->hole >> (i % 8 * 8));
        }
    }
    a->ok = false;
    return n;
}

static uint64_t access_locked_io(Access *a, uint64_t at, uint8_t *buf, uint64_t len);

static uint64_t access_piece(Access *a, uint64_t at, uint8_t *buf, uint64_t len)
{
    const FlatRange *f = range_of(a, at);

    if (!f) {
        return hole_access(a, at, buf, len);
    }
    uint64_t off = f->off + (at - f->at), n = MIN(len, f->size - (at - f->at));
    Region *r = f->region;

    if (is_io(f, a->write) && !(a->rom_too && r->ram)) {
        if (!r->ops->lockless && !vm_lock_held()) {
            return access_locked_io(a, at, buf, len);
        }
        /* A CPU access goes whole to where it begins: port 0xcf9 lies over CONFIG_ADDRESS. */
        n = io_width(a, r->ops, off, a->exact ? MIN(len, r->size - off) : n);
        Dispatch d;
        if (dispatch_begin(&d, r)) {
            io_access(a, r, off, buf, (unsigned)n);
            dispatch_end(&d);
        } else {
            memset(buf, 0, a->write ? 0 : n);
            a->ok = false;
        }
    } else if (a->write && f->readonly && !a->rom_too) {
        a->ok = false;
    } else {
        ram_access(a, f, off, buf, n);
    }
    return n;
}

static uint64_t access_locked_io(Access *a, uint64_t at, uint8_t *buf, uint64_t len)
{
    vm_lock();
    uint64_t n = access_piece(a, at, buf, len);
    vm_unlock();
    return n;
}

static void access_all(Access *a, uint64_t at, void *buf, uint64_t len)
{
    uint8_t *p = buf;

    while (len) {
        uint64_t n = access_piece(a, at, p, len);
        at += n; /* wraps at 2^64 like the bus */
        p += n;
        len -= n;
    }
}

uint64_t addrspace_load(AddrSpace *as, uint64_t at, unsigned size, bool *ret_hole)
{
    Access a = { .as = as, .exact = true, .ok = true };
    uint64_t val = 0;

    g_assert(size == 1 || size == 2 || size == 4 || size == 8);
    access_all(&a, at, &val, size);
    if (ret_hole) {
        *ret_hole = !a.ok;
    }
    return val;
}

void addrspace_store(AddrSpace *as, uint64_t at, unsigned size, uint64_t val, bool *ret_hole)
{
    Access a = { .as = as, .write = true, .exact = true, .ok = true };

    g_assert(size == 1 || size == 2 || size == 4 || size == 8);
    access_all(&a, at, &val, size);
    if (ret_hole) {
        *ret_hole = !a.ok;
    }
}

/* The range met last, if the access is one that its device takes as it is. */
static const FlatRange *near_io(const FlatMap *m, uint64_t at, unsigned size, const unsigned *hint)
{
    const FlatRange *f = &m->range[*hint];

    if (*hint >= m->n || at - f->at >= f->size || size > f->size - (at - f->at) ||
        f->region->kind != REGION_IO || !(f->region->whole_sizes & size) ||
        (((f->off + (at - f->at)) & (size - 1)) && !f->region->ops->unaligned)) {
        return NULL;
    }
    return f;
}

/* The usual device read, without the general way's bookkeeping. False: nothing was done. */
static bool near_read(
    AddrSpace *as, uint64_t at, unsigned size, const unsigned *hint, uint64_t *ret)
{
    const FlatMap *m = atomic_load_explicit(&as->map, memory_order_acquire); /* addrspace_map() */
    const FlatRange *f = near_io(m, at, size, hint);

    if (G_UNLIKELY(!f)) {
        return false;
    }
    Region *r = f->region;
    const RegionOps *o = r->ops;
    uint64_t off = f->off + (at - f->at);

    if (o->peek && o->peek(r->opaque, off, size, ret)) {
        return true;
    }
    if (o->lockless) {
        *ret = o->read(r->opaque, off, size) & mask_of(size);
        return true;
    }
    if (vm_lock_held()) {
        return false;
    }
    vm_lock();
    /* While we waited the map may have become another one. */
    bool ok = addrspace_map(as) == m && !(r->guard_reentry && r->in_dispatch);

    if (ok) {
        r->in_dispatch = r->guard_reentry;
        *ret = o->read(r->opaque, off, size) & mask_of(size);
        r->in_dispatch = false;
    }
    vm_unlock();
    return ok;
}

static __attribute__((noinline)) uint64_t far_load(
    AddrSpace *as, uint64_t at, unsigned size, unsigned *hint)
{
    Access a = { .as = as, .exact = true, .ok = true, .hint = hint };
    uint64_t val = 0;

    access_all(&a, at, &val, size);
    return val;
}

uint64_t addrspace_load_near(AddrSpace *as, uint64_t at, unsigned size, unsigned *hint)
{
    uint64_t val;

    return near_read(as, at, size, hint, &val) ? val : far_load(as, at, size, hint);
}

void addrspace_store_near(AddrSpace *as, uint64_t at, unsigned size, uint64_t val, unsigned *hint)
{
    Access a = { .as = as, .write = true, .exact = true, .ok = true, .hint = hint };

    access_all(&a, at, &val, size);
}

bool addrspace_read(AddrSpace *as, uint64_t at, void *dst, uint64_t len)
{
    Access a = { .as = as, .ok = true };

    access_all(&a, at, dst, len);
    return a.ok;
}

/* access_piece() takes one buffer for both directions and only reads it when it writes to the
 * guest. */
static bool write_common(Access *a, uint64_t at, const void *src, uint64_t len)
{
    const uint8_t *p = src;
    uint8_t chunk[512];

    while (len) {
        uint64_t n = MIN(len, sizeof chunk);
        memcpy(chunk, p, n);
        access_all(a, at, chunk, n);
        at += n;
        p += n;
        len -= n;
    }
    return a->ok;
}

bool addrspace_write(AddrSpace *as, uint64_t at, const void *src, uint64_t len)
{
    Access a = { .as = as, .write = true, .ok = true };

    return write_common(&a, at, src, len);
}

bool addrspace_write_rom(AddrSpace *as, uint64_t at, const void *src, uint64_t len)
{
    Access a = { .as = as, .write = true, .rom_too = true, .ok = true };

    return write_common(&a, at, src, len);
}

bool addrspace_fill(AddrSpace *as, uint64_t at, int byte, uint64_t len)
{
    Access a = { .as = as, .write = true, .ok = true };
    uint8_t chunk[512];

    memset(chunk, byte, sizeof chunk);
    while (len) {
        uint64_t n = MIN(len, sizeof chunk);
        access_all(&a, at, chunk, n);
        at += n;
        len -= n;
    }
    return a.ok;
}

void *addrspace_host(AddrSpace *as, uint64_t at, uint64_t len, bool write, RamBlock **ret_block)
{
    const FlatRange *f = flatmap_find(addrspace_map(as), at);

    if (!f || !f->region->ram || is_io(f, write) || (write && f->readonly) ||
        len > f->size - (at - f->at)) {
        return NULL;
    }
    if (ret_block) {
        *ret_block = f->region->ram;
    }
    return f->region->ram->host + f->off + (at - f->at);
}
