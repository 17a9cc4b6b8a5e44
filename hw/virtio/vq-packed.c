/*
 * The packed ring (VIRTIO 1.4, 2.8): one ring of descriptors that both sides write; wrap counters
 * tell old from new. Covered by tests/unit/test-vq-split.c, which runs its cases on both rings.
 *
 *   descriptor: le64 addr, le32 len, le16 id, le16 flags      event suppression: le16 offset | wrap
 * << 15, le16 flags
 */
#include "hw/virtio/vq-internal.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15 };
enum { KIND_BITS = DESC_WRITE | DESC_INDIRECT, AVAIL_BITS = DESC_AVAIL | DESC_USED };
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
        vq_fail(vq, "indirect descriptor, which was not negotiated");
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
                vq_fail(vq, "indirect descriptor inside a chain");
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
    vq_fail(vq, "chain of more than %u descriptors", vq->at.size);
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
        vq_fail(vq, "more descriptors available than the ring has");
        n = 0;
    }
    if (n && vq->inflight[id]) {
        vq_fail(vq, "buffer id %u is available while it is in use", id);
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
static const uint8_t *turn(Lap *l, const VqBlock *b, const struct iovec *iov, const uint8_t **limit)
{
    ptrdiff_t room = b->iov + VQ_SMALL_IOVS - iov;

    l->flags ^= AVAIL_BITS;
    *limit = l->ring + room * 16;
    return room ? l->ring : NULL;
}

/* Readable buffers, then writable ones, into b: its last descriptor; NULL: pop() will tell. The
 * flags of the first one were read already. */
VQ_INLINE const uint8_t *take_one(
    const VqFast *f, VqBlock *b, const uint8_t *d, unsigned flags, Lap *l)
{
    const uint8_t *limit = MIN(d + VQ_SMALL_IOVS * 16, l->stop);
    struct iovec *iov = b->iov;
    uint64_t total = 0, len;

    while (!(flags & KIND_BITS)) {
        len = part32(d + 8);
        total += len;
        if (!vq_fast_add(f, iov++, part64(d), len)) {
            return NULL;
        }
        if (!(flags & DESC_NEXT)) {
            vq_elem_readable(b, iov, total);
            vq_elem_writable(b, iov, 0);
            goto out;
        }
        d += 16;
        if (VQ_UNLIKELY(d == limit) && !(d = turn(l, b, iov, &limit))) {
            return NULL;
        }
        flags = part16(d + 14, memory_order_relaxed);
    }
    vq_elem_readable(b, iov, total);
    total = 0;
    for (;;) {
        flags ^= DESC_WRITE;
        len = part32(d + 8);
        total += len;
        if (VQ_UNLIKELY(flags & KIND_BITS) || !vq_fast_add(f, iov++, part64(d), len)) {
            return NULL;
        }
        if (!(flags & DESC_NEXT)) {
            break;
        }
        d += 16;
        if (VQ_UNLIKELY(d == limit) && !(d = turn(l, b, iov, &limit))) {
            return NULL;
        }
        flags = part16(d + 14, memory_order_relaxed);
    }
    vq_elem_writable(b, iov, total);
    total += vq_elem_of(b)->out.left;
out:
    return VQ_LIKELY(total <= UINT32_MAX) ? d : NULL; /* 2.7.4.2 */
}

/* More descriptors than the ring has: pop() will find which chain that is. */
static VQ_COLD unsigned take_back(VirtQueue *vq, unsigned n)
{
    for (VqBlock *b = vq->free[0]; n; b = b->next, n--) {
        vq->inflight[vq_elem_of(b)->id] = false;
    }
    return 0;
}

static unsigned packed_take(VirtQueue *vq, unsigned max)
{
    unsigned n, pos = vq->rs.avail, end, sum, size = vq->at.size;
    VqBlock **link = &vq->free[0];
    uint8_t *inflight = vq->inflight;
    const uint8_t *at, *last;
    VqFast f;
    Lap l;

    vq->more = false;
    if (!map(vq)) {
        return 0;
    }
    vq->more = true;
    l = (Lap){ vq->desc.host, vq->desc.host + size * 16u, wanted_now(vq) };
    if (VQ_UNLIKELY(!l.ring || !vq_fast_begin(vq, &f))) {
        return 0;
    }
    at = l.ring + pos * 16u;
    max = MIN(max, size / VQ_SMALL_IOVS); /* not more than once around */
    for (n = 0; n < max; n++) {
        unsigned flags = part16(at + 14, memory_order_acquire);
        VqBlock *b = *link;
        size_t id;

        if (!is_new(flags, l.flags)) {
            break;
        }
        last = take_one(&f, b, at, flags, &l);
        if (VQ_UNLIKELY(!last)) {
            break;
        }
        id = part16(last + 12, memory_order_relaxed); /* 2.8.6 */
        if (VQ_UNLIKELY(inflight[id])) {
            break;
        }
        inflight[id] = true;
        at = last + 16;
        if (VQ_UNLIKELY(at == l.stop)) {
            at = l.ring;
            l.flags ^= AVAIL_BITS;
        }
        b->win = f.win;
        vq_elem_of(b)->id = (uint16_t)id;
        link = &b->next;
    }
    end = (unsigned)(at - l.ring) / 16;
    sum = end > pos || !n ? end - pos : end - pos + size;
    if (VQ_UNLIKELY(vq->ring_out + sum > size)) {
        return take_back(vq, n);
    }
    if (VQ_UNLIKELY(vq->ahead)) {
        vq->ahead -= MIN(vq->ahead, sum);
    }
    /* A chain that was left may have turned l.flags: the position tells. */
    vq->rs.avail_wrap ^= pos + sum >= size;
    vq->rs.avail = (uint16_t)end;
    vq->more = is_new(part16(at + 14, memory_order_relaxed), wanted_now(vq));
    vq->ring_out += sum;
    vq->first = vq->free[0];
    vq->last = vq_block_at(link);
    vq->free[0] = *link;
    vq->nfree[0] -= n;
    f.win->refs += n;
    return n;
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

/* len: bytes, not more than the ring has. */
VQ_INLINE void place_step(Place *l, size_t len, uint8_t *ring, const uint8_t *stop)
{
    l->at += len;
    if (VQ_UNLIKELY(l->at >= stop)) {
        l->at -= stop - ring;
        l->flags ^= (uint32_t)AVAIL_BITS << 16;
    }
}

/* A used descriptor: the length, then id and flags. */
VQ_INLINE void write_used(uint8_t *d, size_t id, uint32_t len, uint32_t flags)
{
    uint32_t last = (uint32_t)id | flags;

    if (VQ_UNLIKELY(len)) { /* a branch, not arithmetic: devices do the same again and again */
        last |= (uint32_t)DESC_WRITE << 16;
    }
    atomic_store_explicit((_Atomic uint32_t *)(void *)(d + 8), htole32(len), memory_order_relaxed);
    atomic_store_explicit(
        (_Atomic uint32_t *)(void *)(d + 12), htole32(last), memory_order_release);
}

/* Plain chains take as many descriptors as pieces, and both have 16 bytes. */
_Static_assert(sizeof(struct iovec) == 16, "a piece is as long as a descriptor");
VQ_INLINE size_t ring_bytes(const VqBlock *b)
{
    return (size_t)((const char *)b->end - (const char *)b->iov);
}

/* The driver stops at the first one it finds unused, so that one is shown last, as in
 * packed_publish(). IN_ORDER: those used in full have no entry of their own, but are part of the
 * next one (2.8.8). */
VQ_INLINE VqBlock *use(VirtQueue *vq, VqBlock *b, unsigned n, bool in_order)
{
    uint8_t *inflight = vq->inflight, *ring, *stop;
    unsigned sum, size = vq->at.size;
    VqElem *e = vq_elem_of(b), *first;
    Place l, begin, slot;

    if (!map(vq) || vq_ring_watched(&vq->desc) || vq_watched(b->win->block)) {
        return NULL;
    }
    ring = vq->desc.host;
    stop = ring + size * 16u;
    begin = l =
        (Place){ ring + vq->rs.used * 16u, vq->rs.used_wrap ? (uint32_t)AVAIL_BITS << 16 : 0 };
    for (;;) {
        first = e;
        inflight[e->id] = false;
        place_step(&l, ring_bytes(b), ring, stop);
        if (!--n || !in_order || !vq_used_full(e)) {
            break;
        }
        b = b->next;
        e = vq_elem_of(b);
    }
    for (slot = l; n; n--) {
        size_t id;

        b = b->next;
        e = vq_elem_of(b);
        id = e->id;
        inflight[id] = false;
        if (!in_order) {
            write_used(l.at, id, vq_used_len(e), l.flags);
            place_step(&l, ring_bytes(b), ring, stop);
            continue;
        }
        place_step(&l, ring_bytes(b), ring, stop);
        if (n == 1 || !vq_used_full(e)) {
            write_used(slot.at, id, vq_used_len(e), slot.flags);
            slot = l;
        }
    }
    sum = (unsigned)(l.at - ring) / 16 - vq->rs.used + (l.flags != begin.flags ? size : 0);
    vq->since += sum;
    vq->ring_out -= sum;
    vq->rs.used = (uint16_t)((unsigned)(l.at - ring) / 16);
    vq->rs.used_wrap = l.flags != 0;
    write_used(begin.at, first->id, vq_used_len(first), begin.flags);
    return b;
}

static VqBlock *packed_use(VirtQueue *vq, VqBlock *b, unsigned n, bool in_order)
{
    return in_order ? use(vq, b, n, true) : use(vq, b, n, false);
}

static bool packed_empty(VirtQueue *vq)
{
    return !map(vq) ||
           !is_new(load16(vq_ring_at(&vq->desc, vq->rs.avail * 16u + 14)), wanted_now(vq));
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
static bool packed_wants_notify(VirtQueue *vq, bool sure)
{
    uint16_t flags;
    bool wanted;

    if (!map(vq)) {
        return false;
    }
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
