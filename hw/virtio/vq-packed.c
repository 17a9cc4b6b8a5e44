/*
 * The packed ring (VIRTIO 1.4, 2.8): one ring of descriptors that both sides write; wrap counters
 * tell old from new. Covered by tests/unit/test-vq-split.c, which runs its cases on both rings.
 *
 *   descriptor: le64 addr, le32 len, le16 id, le16 flags      event suppression: le16 offset | wrap
 * << 15, le16 flags
 */
#include "hw/virtio/vq-internal.h"

enum { DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15, AVAIL_BITS = DESC_AVAIL | DESC_USED };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t id, flags;
} Desc;

static _Atomic uint16_t *word16(uint8_t *p)
{
    return (_Atomic uint16_t *)(void *)p;
}

static uint16_t load16(uint8_t *p)
{
    return le16toh(atomic_load_explicit(word16(p), memory_order_relaxed));
}

static void store16(uint8_t *p, uint16_t v, memory_order order)
{
    atomic_store_explicit(word16(p), htole16(v), order);
}

static Desc desc_of(uint64_t addr, uint64_t rest)
{
    return (Desc){ addr, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48) };
}

/* The half with the flags first: if they say "available", the rest was written before (2.8.17.1).
 */
static inline uint64_t load_rest(const uint8_t *at, uint64_t *ret_addr)
{
    const _Atomic uint64_t *p = (const _Atomic uint64_t *)(const void *)at;
    uint64_t rest = le64toh(atomic_load_explicit(p + 1, memory_order_acquire));

    *ret_addr = le64toh(atomic_load_explicit(p, memory_order_relaxed));
    return rest;
}

static Desc ring_desc(const VirtQueue *vq, unsigned pos)
{
    uint64_t addr, rest = load_rest(vq_ring_at(&vq->desc, pos * 16u), &addr);

    return desc_of(addr, rest);
}

static inline bool map(VirtQueue *vq)
{
    return VQ_LIKELY(vq->mapped && vq->generation == dma_clock_now(vq->clock)) ||
           vq_map_rings(vq, vq->at.size * 16u, 4, 4);
}

/* wanted: as an available descriptor has AVAIL and USED in this lap. */
VQ_INLINE bool is_new(unsigned flags, unsigned wanted)
{
    return !((flags ^ wanted) & AVAIL_BITS);
}

/* 2.8.1: available when AVAIL is the wrap counter and USED its inverse. */
static inline unsigned wanted_now(const VirtQueue *vq)
{
    return vq->rs.avail_wrap ? DESC_AVAIL : DESC_USED;
}

static inline bool next_is_new(const VirtQueue *vq)
{
    return is_new(load16(vq_ring_at(&vq->desc, vq->rs.avail * 16u + 14)), wanted_now(vq));
}

static inline void advance(uint16_t *pos, bool *wrap, unsigned n, uint16_t size)
{
    unsigned p = *pos + n;

    if (p >= size) {
        p -= size;
        *wrap = !*wrap;
    }
    *pos = (uint16_t)p;
}

/* A chain of n descriptors is out. */
static inline void took(VirtQueue *vq, uint16_t id, unsigned n)
{
    vq->inflight[id] = true;
    vq->ring_out += n;
    if (VQ_UNLIKELY(vq->ahead)) {
        vq->ahead -= MIN(vq->ahead, n);
    }
    advance(&vq->rs.avail, &vq->rs.avail_wrap, n, vq->at.size);
}

/* 2.8.7: all of the table belongs to the buffer; only WRITE counts in it. */
static bool walk_indirect(VirtQueue *vq, const Desc *head)
{
    const uint8_t *table;

    if (!vq_feature(vq, VIRTIO_F_INDIRECT_DESC)) {
        vq_fail(vq, "indirect descriptor, which was not negotiated (VIRTIO 1.4, 2.8.19)");
        return false;
    }
    table = vq_gather_table(vq, head->addr, head->len);
    for (unsigned i = 0; table && i < head->len / 16; i++) {
        uint64_t addr, rest = vq_table_desc(table, i, &addr);
        Desc d = desc_of(addr, rest);

        if (!vq_gather_add(vq, d.addr, d.len, d.flags & DESC_WRITE)) {
            return false;
        }
    }
    return table != NULL;
}

/* The chain at rs.avail; 0: vq_fail() was called, else its length in the ring. The buffer id is in
 * the last one (2.8.6). */
static unsigned walk(VirtQueue *vq, Desc d, uint16_t *ret_id)
{
    uint16_t pos = vq->rs.avail;

    for (unsigned n = 1; n <= vq->at.size; n++) {
        if (d.flags & DESC_INDIRECT) {
            if (n > 1 || d.flags & DESC_NEXT) {
                vq_fail(vq, "indirect descriptor inside a chain (VIRTIO 1.4, 2.8.19)");
                return 0;
            }
            *ret_id = d.id;
            return walk_indirect(vq, &d) ? 1 : 0;
        }
        if (!vq_gather_add(vq, d.addr, d.len, d.flags & DESC_WRITE)) {
            return 0;
        }
        if (!(d.flags & DESC_NEXT)) {
            *ret_id = d.id;
            return n;
        }
        pos = (uint16_t)(pos + 1 == vq->at.size ? 0 : pos + 1);
        d = ring_desc(vq, pos);
    }
    vq_fail(vq, "chain of more than %u descriptors (VIRTIO 1.4, 2.8.17)", vq->at.size);
    return 0;
}

static VqElem *packed_pop(VirtQueue *vq)
{
    unsigned n;
    uint16_t id = 0;
    VqElem *e;
    Desc d;

    if (!map(vq)) {
        return NULL;
    }
    d = ring_desc(vq, vq->rs.avail);
    if (!is_new(d.flags, wanted_now(vq))) {
        return NULL;
    }
    vq_gather_begin(vq);
    n = walk(vq, d, &id);
    if (n && !vq_gather_ok(vq)) {
        n = 0;
    }
    if (n && vq->ring_out + n > vq->at.size) {
        vq_fail(vq, "more descriptors available than the ring has (VIRTIO 1.4, 2.8.17)");
        n = 0;
    }
    if (n && vq->inflight[id]) {
        vq_fail(vq, "buffer id %u is available while it is in use (VIRTIO 1.4, 2.8.21)", id);
        n = 0;
    }
    if (!n) {
        vq_gather_undo(vq);
        return NULL;
    }
    e = vq_gather_elem(vq, id, (uint16_t)n);
    took(vq, id, n);
    return e;
}

/* Parts of a descriptor, each read once. Those behind one that is available were written before it
 * (2.8.17.1). */
VQ_INLINE uint16_t part16(const uint8_t *p, memory_order order)
{
    return le16toh(atomic_load_explicit((const _Atomic uint16_t *)(const void *)p, order));
}

VQ_INLINE uint32_t part32(const uint8_t *p)
{
    return le32toh(
        atomic_load_explicit((const _Atomic uint32_t *)(const void *)p, memory_order_relaxed));
}

VQ_INLINE uint64_t part64(const uint8_t *p)
{
    return le64toh(
        atomic_load_explicit((const _Atomic uint64_t *)(const void *)p, memory_order_relaxed));
}

/* The ring as the short way sees it. */
typedef struct Lap {
    const uint8_t *ring, *stop;
    unsigned flags; /* AVAIL and USED of what is new in this lap */
} Lap;

/* Behind the last descriptor of the ring, or at the end of what a small block holds: where it goes
 * on; NULL: nowhere. *limit moves along. */
VQ_INLINE const uint8_t *turn(
    Lap *l, const VqBlock *b, const struct iovec *iov, const uint8_t **limit)
{
    ptrdiff_t room = b->iov + VQ_SMALL_IOVS - iov;

    l->flags ^= AVAIL_BITS;
    *limit = l->ring + room * 16;
    return room ? l->ring : NULL;
}

/* One buffer of a chain; false: pop() will tell. */
VQ_INLINE bool take_desc(const VqFast *f, struct iovec **iov, const uint8_t *d, uint64_t *total)
{
    uint64_t len = part32(d + 8);

    *total += len;
    return vq_fast_add(f, (*iov)++, part64(d), len);
}

/* A chain while it is read. */
typedef struct Walk {
    const uint8_t *d, *limit;
    struct iovec *iov;
    uint64_t total;
    uint16_t kind; /* NEXT, WRITE and INDIRECT of d */
} Walk;

/* Buffers up to the last one of this kind, which is left; false: pop() will tell. */
VQ_INLINE bool take_run(const VqFast *f, VqBlock *b, Walk *w, uint16_t kind, Lap *l)
{
    w->total = 0;
    /* Chains are short: a loop that is expected to be long is aligned, which costs more. */
    while (__builtin_expect_with_probability(w->kind == kind, 1, 0.6)) {
        if (!take_desc(f, &w->iov, w->d, &w->total)) {
            return false;
        }
        w->d += 16;
        if (VQ_UNLIKELY(w->d == w->limit) && !(w->d = turn(l, b, w->iov, &w->limit))) {
            return false;
        }
        w->kind = part16(w->d + 14, memory_order_relaxed) & (DESC_KIND | DESC_NEXT);
    }
    return true;
}

/* Readable buffers, then writable ones, into b, up to *ret_last; false: pop() will tell. The flags
 * of the first one were read already. */
VQ_INLINE bool take_chain(
    const VqFast *f, VqBlock *b, const uint8_t *d, unsigned flags, Lap *l, const uint8_t **ret_last)
{
    Walk w = { .d = d,
        .limit = MIN(d + VQ_SMALL_IOVS * 16, l->stop),
        .iov = b->iov,
        .kind = flags & (DESC_KIND | DESC_NEXT) };

    if (!take_run(f, b, &w, DESC_NEXT, l)) {
        return false;
    }
    if (!w.kind) {
        if (!take_desc(f, &w.iov, w.d, &w.total)) {
            return false;
        }
        vq_elem_readable(b, w.iov, w.total);
        vq_elem_writable(b, w.iov, 0);
    } else {
        vq_elem_readable(b, w.iov, w.total);
        if (!take_run(f, b, &w, DESC_NEXT | DESC_WRITE, l) || w.kind != DESC_WRITE ||
            !take_desc(f, &w.iov, w.d, &w.total)) {
            return false;
        }
        vq_elem_writable(b, w.iov, w.total);
        w.total += vq_elem_of(b)->out.left;
    }
    *ret_last = w.d;
    return VQ_LIKELY(w.total <= UINT32_MAX); /* 2.7.4.2 */
}

/* The same for a chain of one readable buffer. */
VQ_INLINE bool take_one(const VqFast *f, VqBlock *b, const uint8_t *d)
{
    struct iovec *iov = b->iov;
    uint64_t len = 0;

    if (!take_desc(f, &iov, d, &len)) {
        return false;
    }
    vq_elem_readable(b, iov, len);
    vq_elem_writable(b, iov, 0);
    return true;
}

/* And for one that is a table (2.8.7). */
static VQ_NOINLINE bool take_table(const VirtQueue *vq, VqBlock *b, const uint8_t *d)
{
    unsigned flags = part16(d + 14, memory_order_relaxed);

    return (flags & (DESC_KIND | DESC_NEXT)) == DESC_INDIRECT &&
           vq_fast_table(vq, b, part64(d), part32(d + 8), /* linked= */ false);
}

/* A batch with tables in it: VqElem.ndescs 0 says one descriptor per piece. */
static VQ_COLD void name_tables(VirtQueue *vq, unsigned n)
{
    for (VqBlock *b = vq->free[0]; n; b = b->next, n--) {
        vq_elem_of(b)->ndescs = 1;
    }
}

/*
 * n chains up to descriptor end; false: more than the ring has, or a mixture of tables and chains
 * of several descriptors. pop() will take one by one.
 */
VQ_INLINE bool took_all(VirtQueue *vq, unsigned n, unsigned end, VqBlock **link, bool tables)
{
    unsigned sum = end - vq->rs.avail, size = vq->at.size;
    bool around = end <= vq->rs.avail;

    if (VQ_UNLIKELY(around)) {
        sum += size;
    }
    if (VQ_UNLIKELY(vq->ring_out + sum > size)) {
        return false;
    }
    if (VQ_UNLIKELY(tables)) {
        if (sum != n) {
            return false;
        }
        name_tables(vq, n);
    }
    if (VQ_UNLIKELY(around)) {
        vq->rs.avail_wrap = !vq->rs.avail_wrap;
    }
    if (VQ_UNLIKELY(vq->ahead)) {
        vq->ahead -= MIN(vq->ahead, sum);
    }
    vq->rs.avail = (uint16_t)end;
    vq->took = sum;
    vq->ring_out += sum;
    vq->first = vq->free[0];
    vq->last = vq_block_at(link);
    vq->free[0] = *link;
    return true;
}

static VQ_COLD unsigned take_back(VirtQueue *vq, unsigned n)
{
    vq->more = true;
    vq->nfree[0] += n;
    for (VqBlock *b = vq->free[0]; n; b = b->next, n--) {
        vq->inflight[vq_elem_of(b)->id] = false;
    }
    return 0;
}

/* The ring lies in one stretch. */
static VQ_NOINLINE unsigned take_some(VirtQueue *vq, unsigned max)
{
    Lap l = { vq->desc.host, vq->desc.host + vq->at.size * 16u, wanted_now(vq) };
    const uint8_t *at = l.ring + vq->rs.avail * 16u, *last;
    VqBlock **link = &vq->free[0];
    uint8_t *inflight = vq->inflight;
    const VqFast f = vq_fast_of(vq);
    unsigned left = max;
    bool tables = false;

    vq->nfree[0] -= max;
    do {
        unsigned flags = part16(at + 14, memory_order_acquire) ^ l.flags;
        VqBlock *b = *link;
        size_t id;

        if (!(flags & (AVAIL_BITS | DESC_KIND | DESC_NEXT))) {
            last = at;
            if (VQ_UNLIKELY(!take_one(&f, b, at))) {
                vq->more = true;
                break;
            }
        } else if (flags & AVAIL_BITS) {
            break;
        } else if (!take_chain(&f, b, at, flags, &l, &last)) {
            if (!take_table(vq, b, at)) {
                vq->more = true;
                break;
            }
            last = at;
            tables = true;
        }
        id = part16(last + 12, memory_order_relaxed); /* 2.8.6 */
        if (VQ_UNLIKELY(inflight[id])) {
            vq->more = true;
            break;
        }
        vq_elem_name(b, (uint32_t)id, 0);
        b->win = f.win;
        inflight[id] = true;
        at = last + 16;
        if (VQ_UNLIKELY(at == l.stop)) {
            at = l.ring;
            l.flags ^= AVAIL_BITS;
        }
        link = &b->next;
    } while (--left);
    vq->nfree[0] += left;
    max -= left;
    if (!max) {
        return 0;
    }
    if (VQ_UNLIKELY(!took_all(vq, max, (unsigned)(at - l.ring) / 16, link, tables))) {
        return take_back(vq, max);
    }
    if (!left) {
        vq->more = next_is_new(vq);
    }
    f.win->refs += max;
    return max;
}

static unsigned packed_take(VirtQueue *vq, unsigned max)
{
    unsigned most = vq->at.size / VQ_SMALL_IOVS; /* not more than once around */

    vq->more = false;
    if (!map(vq)) {
        return 0;
    }
    if (VQ_UNLIKELY(!vq->desc.host || !vq_fast_usable(vq))) {
        vq->more = true;
        return 0;
    }
    return take_some(vq, VQ_LIKELY(max <= most) ? max : most);
}

static void packed_publish(VirtQueue *vq, const VqDone *done, unsigned n)
{
    uint16_t first_flags = 0, used = vq->rs.used;
    bool wrap = vq->rs.used_wrap, watched;
    uint8_t *first = NULL;

    if (!map(vq)) {
        return;
    }
    watched = vq_ring_watched(&vq->desc);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *d = vq_ring_at(&vq->desc, used * 16u);
        uint16_t flags =
            (uint16_t)((wrap ? DESC_AVAIL | DESC_USED : 0) | (done[i].len ? DESC_WRITE : 0));

        atomic_store_explicit(
            (_Atomic uint32_t *)(void *)(d + 8), htole32(done[i].len), memory_order_relaxed);
        store16(d + 12, done[i].id, memory_order_relaxed);
        if (first) {
            store16(d + 14, flags, memory_order_release);
        } else {
            first = d;
            first_flags = flags;
        }
        if (VQ_UNLIKELY(watched)) {
            vq_ring_written_slow(&vq->desc, used * 16u, 16);
        }
        vq->since += done[i].ndescs;
        advance(&used, &wrap, done[i].ndescs, vq->at.size);
    }
    vq->rs.used = used;
    vq->rs.used_wrap = wrap;
    /* The driver stops at the first one it finds unused, so that one is shown last. Pairs with its
     * barrier: 2.8.21. */
    store16(first + 14, first_flags, memory_order_release);
}

/* A place in a ring of one stretch. */
typedef struct Place {
    uint8_t *at;
    uint32_t flags; /* AVAIL and USED of this lap, where the last word of a descriptor has them */
} Place;

/* A used descriptor: the length, then id and flags. */
VQ_INLINE void write_used(uint8_t *inflight, Place l, VqBlock *b)
{
    const VqElem *e = vq_elem_of(b);
    size_t id = e->id;
    uint32_t len = vq_used_len(e), last = l.flags | (uint32_t)id;

    if (VQ_UNLIKELY(len)) { /* a branch, not arithmetic: devices do the same again and again */
        last |= (uint32_t)DESC_WRITE << 16;
    }
    atomic_store_explicit(
        (_Atomic uint32_t *)(void *)(l.at + 8), htole32(len), memory_order_relaxed);
    atomic_store_explicit(
        (_Atomic uint32_t *)(void *)(l.at + 12), htole32(last), memory_order_release);
    inflight[id] = false;
}

/* The ring while used descriptors are written; one: each chain has one descriptor. */
typedef struct UsedRing {
    uint8_t *ring, *stop;
    bool one;
} UsedRing;

/* Behind the chain in b. Other chains have as many descriptors as pieces, and both have 16 bytes.
 */
_Static_assert(sizeof(struct iovec) == 16, "a piece is as long as a descriptor");
VQ_INLINE Place place_behind(Place l, const VqBlock *b, UsedRing r)
{
    l.at += r.one ? 16 : (const char *)b->end - (const char *)b->iov;
    if (VQ_UNLIKELY(l.at >= r.stop)) {
        l.at -= r.stop - r.ring;
        l.flags ^= (uint32_t)AVAIL_BITS << 16;
    }
    return l;
}

/* From b on, which has the first entry: all but that, for the driver stops at the first one that it
 * finds unused. The last block. */
VQ_INLINE VqBlock *use_each(uint8_t *inflight, VqBlock *b, unsigned n, Place l, UsedRing r)
{
    while (--n) {
        l = place_behind(l, b, r);
        b = b->next;
        write_used(inflight, l, b);
    }
    return b;
}

/* IN_ORDER: those used in full have no entry of their own, but are part of the next one (2.8.8). */
VQ_INLINE bool has_entry(VqBlock *b, unsigned behind)
{
    return !behind || !vq_used_full(vq_elem_of(b));
}

/* From b on, the one that has the next entry; n: how many are behind it, l: its place. */
VQ_INLINE VqBlock *covered(uint8_t *inflight, VqBlock *b, unsigned *n, Place *l, UsedRing r)
{
    while (!has_entry(b, *n)) {
        inflight[vq_elem_of(b)->id] = false;
        *l = place_behind(*l, b, r);
        b = b->next;
        --*n;
    }
    return b;
}

/* As use_each(); *ret_first: whom the first entry names. */
VQ_INLINE VqBlock *use_in_order(
    uint8_t *inflight, VqBlock *b, unsigned n, Place l, UsedRing r, VqBlock **ret_first)
{
    n--;
    *ret_first = b = covered(inflight, b, &n, &l, r);
    while (n) {
        l = place_behind(l, b, r);
        b = b->next;
        n--;
        if (has_entry(b, n)) {
            write_used(inflight, l, b);
        } else {
            Place slot = l;

            b = covered(inflight, b, &n, &l, r);
            write_used(inflight, slot, b);
        }
    }
    return b;
}

static inline Place place_now(const VirtQueue *vq)
{
    return (Place){ vq->desc.host + vq->rs.used * 16u,
        vq->rs.used_wrap ? (uint32_t)AVAIL_BITS << 16 : 0 };
}

/* All that was taken last counts as used. */
VQ_INLINE void count_used(VirtQueue *vq)
{
    unsigned sum = vq->took, used = vq->rs.used + sum;

    vq->since += sum;
    vq->ring_out -= sum;
    if (VQ_UNLIKELY(used >= vq->at.size)) {
        used -= vq->at.size;
        vq->rs.used_wrap = !vq->rs.used_wrap;
    }
    vq->rs.used = (uint16_t)used;
}

VQ_INLINE VqBlock *use(VirtQueue *vq, VqBlock *first, unsigned n, bool in_order, bool one)
{
    UsedRing r = { vq->desc.host, vq->desc.host + vq->at.size * 16u, one };
    uint8_t *inflight = vq->inflight;
    Place begin = place_now(vq);
    VqBlock *last;

    count_used(vq);
    if (in_order) {
        last = use_in_order(inflight, first, n, begin, r, &first);
    } else {
        last = use_each(inflight, first, n, begin, r);
    }
    write_used(inflight, begin, first);
    return last;
}

static VQ_NOINLINE VqBlock *use_several(VirtQueue *vq, VqBlock *b, unsigned n, bool in_order)
{
    if (vq->took == n) {
        return in_order ? use(vq, b, n, true, true) : use(vq, b, n, false, true);
    }
    return in_order ? use(vq, b, n, true, false) : use(vq, b, n, false, false);
}

/* Somebody wants to know what is written, to the ring or to this block: as a rule the same. */
VQ_INLINE bool watched(const VirtQueue *vq, const RamBlock *b)
{
    return vq_ring_watched(&vq->desc) || (b != vq->desc.segs[0].win->block && vq_watched(b));
}

static VqBlock *packed_use(VirtQueue *vq, VqBlock *b, unsigned n, bool in_order)
{
    Place begin;

    if (!map(vq) || watched(vq, b->win->block)) {
        return NULL;
    }
    if (n > 1) {
        return use_several(vq, b, n, in_order);
    }
    begin = place_now(vq);
    count_used(vq);
    write_used(vq->inflight, begin, b);
    return b;
}

static bool packed_empty(VirtQueue *vq)
{
    return !map(vq) || !next_is_new(vq);
}

/* The driver named a descriptor: has it been used since the last interrupt (2.8.10)? */
static bool event_used(const VirtQueue *vq)
{
    int size = vq->at.size, old = vq->signalled, now = vq->rs.used, event;
    uint16_t off_wrap = load16(vq_ring_at(&vq->driver, 0));

    if (!vq->signalled_valid || vq->since >= vq->at.size) {
        return true;
    }
    /* All three on one line, where the current lap begins at 0. */
    event = (off_wrap & 0x7fff) - ((off_wrap >> 15) == vq->rs.used_wrap ? 0 : size);
    if (vq->signalled_wrap != vq->rs.used_wrap) {
        old -= size;
    }
    return old <= event && event < now;
}

/* 2.8.10: the driver's event suppression structure. */
static VQ_NOINLINE bool wants_notify_now(VirtQueue *vq, bool sure)
{
    uint16_t flags;
    bool wanted;

    if (sure && !vq->shown) {
        /* What we used must be visible before the driver's wish is read. Pairs with the driver's
         * barrier. */
        atomic_thread_fence(memory_order_seq_cst);
        vq->shown = true;
    }
    flags = load16(vq_ring_at(&vq->driver, 2)) & 3;
    wanted = flags != EVENT_DISABLE;
    if (flags == EVENT_DESC && vq_feature(vq, VIRTIO_F_EVENT_IDX)) {
        wanted = event_used(vq);
    }
    if (wanted || sure) { /* else the next look begins where this one did */
        vq->signalled = vq->rs.used;
        vq->signalled_wrap = vq->rs.used_wrap;
        vq->signalled_valid = true;
        vq->since = 0;
    }
    return wanted;
}

static bool packed_wants_notify(VirtQueue *vq, bool sure)
{
    const uint8_t *wish;

    if (!map(vq)) {
        return false;
    }
    wish = vq->driver.host;
    if (VQ_LIKELY(!sure && wish) && (part16(wish + 2, memory_order_relaxed) & 3) == EVENT_DISABLE) {
        return false;
    }
    return wants_notify_now(vq, sure);
}

static void packed_arm(VirtQueue *vq, bool on)
{
    uint8_t *ev;

    if (!map(vq)) {
        return;
    }
    ev = vq_ring_at(&vq->device, 0);
    if (!on) {
        if (vq->armed) {
            store16(ev + 2, EVENT_DISABLE, memory_order_relaxed);
        }
    } else if (vq_feature(vq, VIRTIO_F_EVENT_IDX)) {
        uint16_t pos = vq->rs.avail;
        bool wrap = vq->rs.avail_wrap;

        advance(&pos, &wrap, vq->ahead, vq->at.size); /* the first one that we have not seen */
        store16(ev, (uint16_t)(pos | wrap << 15), memory_order_relaxed);
        store16(ev + 2, EVENT_DESC, memory_order_release);
    } else if (!vq->armed) {
        store16(ev + 2, EVENT_ENABLE, memory_order_relaxed);
    }
    vq_ring_written(&vq->device, 0, 4);
    vq->armed = on;
    if (on) {
        /* Our wish must be visible before the ring is looked at once more. Pairs with the driver's
         * barrier. */
        atomic_thread_fence(memory_order_seq_cst);
        vq->shown = true;
    }
}

static VqRingState packed_save(const VirtQueue *vq)
{
    return vq->rs;
}

static bool packed_load(VirtQueue *vq, VqRingState s)
{
    if (s.avail >= vq->at.size || s.used >= vq->at.size) {
        return false;
    }
    vq->rs = s;
    return true;
}

const VqRingOps vq_packed_ops = {
    .take = packed_take,
    .pop = packed_pop,
    .publish = packed_publish,
    .use = packed_use,
    .wants_notify = packed_wants_notify,
    .arm = packed_arm,
    .empty = packed_empty,
    .save = packed_save,
    .load = packed_load,
};
