/*
 * The packed ring (VIRTIO 1.4, 2.8): one ring of descriptors that both sides write; wrap counters
 * tell old from new. Covered by tests/unit/test-vq-split.c, which runs its cases on both rings.
 *
 *   descriptor: le64 addr, le32 len, le16 id, le16 flags      event suppression: le16 offset | wrap
 * << 15, le16 flags
 */
#include "hw/virtio/vq-internal.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15 };
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

/* 2.8.1: available when AVAIL is the wrap counter and USED its inverse. */
static inline bool is_available(const VirtQueue *vq, uint16_t flags)
{
    return (flags & (DESC_AVAIL | DESC_USED)) == (vq->rs.avail_wrap ? DESC_AVAIL : DESC_USED);
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

/* One behind another that is available: the driver wrote it before (2.8.17.1). */
static inline uint64_t load_desc(const uint8_t *at, uint64_t *ret_rest)
{
    const _Atomic uint64_t *p = (const _Atomic uint64_t *)(const void *)at;

    *ret_rest = le64toh(atomic_load_explicit(p + 1, memory_order_relaxed));
    return le64toh(atomic_load_explicit(p, memory_order_relaxed));
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
    if (!is_available(vq, d.flags)) {
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

/* Flags where they lie in the second half of a descriptor. */
#define KIND_BITS ((uint64_t)(DESC_WRITE | DESC_INDIRECT) << 48)
#define WRITE_BIT ((uint64_t)DESC_WRITE << 48)
#define NEXT_BIT  ((uint64_t)DESC_NEXT << 48)

/* Readable buffers, then writable ones, into b: how many descriptors; 0: pop() will tell. The first
 * one was read already. What a chain may not be is gathered and looked at once. */
static inline unsigned take_one(
    VirtQueue *vq, const VqFast *f, VqBlock *b, unsigned pos, uint64_t addr, uint64_t rest)
{
    const uint8_t *ring = vq->desc.host, *stop = ring + vq->at.size * 16u, *at = ring + pos * 16u;
    struct iovec *iov = b->iov, *end = iov + vq->fast_max, *in;
    uint64_t total = 0, out_len, any_0 = 0;
    VqElem *e = vq_elem_of(b);
    unsigned n;

    while (!(rest & KIND_BITS)) {
        if (!vq_fast_add(f, iov, addr, (uint32_t)rest)) {
            return 0;
        }
        total += (uint32_t)rest;
        any_0 |= (uint64_t)(uint32_t)rest - 1;
        if (++iov == end) {
            return 0;
        }
        if (!(rest & NEXT_BIT)) {
            break;
        }
        at = at + 16 == stop ? ring : at + 16;
        addr = load_desc(at, &rest);
    }
    in = iov;
    out_len = total;
    if (rest & KIND_BITS) {
        for (;;) {
            if ((rest & KIND_BITS) != WRITE_BIT || !vq_fast_add(f, iov, addr, (uint32_t)rest)) {
                return 0;
            }
            total += (uint32_t)rest;
            any_0 |= (uint64_t)(uint32_t)rest - 1;
            if (++iov == end) {
                return 0;
            }
            if (!(rest & NEXT_BIT)) {
                break;
            }
            at = at + 16 == stop ? ring : at + 16;
            addr = load_desc(at, &rest);
        }
    }
    n = (unsigned)(iov - b->iov);
    e->id = (uint16_t)(rest >> 32); /* in the last one: 2.8.6 */
    if (!vq_fast_ok(f, total, any_0) || vq->inflight[e->id] || vq->ring_out + n > vq->at.size) {
        return 0;
    }
    b->win = f->win;
    vq_elem_init(vq, b, in, iov, out_len, total - out_len);
    e->ndescs = (uint16_t)n;
    return n;
}

static unsigned packed_take(VirtQueue *vq, VqElem **ret, unsigned max)
{
    unsigned n, size = vq->at.size, pos = vq->rs.avail, wanted;
    VqBlock *b = vq->free[0];
    VqFast f;

    if (!map(vq) || !vq->desc.host || !vq_fast_begin(vq, &f)) {
        return 0;
    }
    wanted = vq->rs.avail_wrap ? DESC_AVAIL : DESC_USED;
    for (n = 0; n < max; n++) {
        uint64_t addr, rest = load_rest(vq->desc.host + pos * 16u, &addr);
        VqElem *e = vq_elem_of(b);
        unsigned len;

        if ((rest >> 48 & (DESC_AVAIL | DESC_USED)) != wanted) {
            break;
        }
        len = take_one(vq, &f, b, pos, addr, rest);
        if (VQ_UNLIKELY(!len)) {
            break;
        }
        b->before = (uint16_t)pos;
        b->before_wrap = wanted == DESC_AVAIL;
        vq->inflight[e->id] = true;
        vq->ring_out += len;
        pos += len;
        if (pos >= size) {
            pos -= size;
            wanted ^= DESC_AVAIL | DESC_USED;
        }
        if (VQ_UNLIKELY(vq->ahead)) {
            vq->ahead -= MIN(vq->ahead, len);
        }
        ret[n] = e;
        b = b->next;
    }
    vq->rs.avail = (uint16_t)pos;
    vq->rs.avail_wrap = wanted == DESC_AVAIL;
    vq->free[0] = b;
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

static bool packed_use(VirtQueue *vq, VqElem *const *e, unsigned n, bool in_order)
{
    unsigned used = vq->rs.used, slot = used, size = vq->at.size, sum = 0;
    uint16_t now = vq->rs.used_wrap ? DESC_AVAIL | DESC_USED : 0, slot_now = now, first_flags = 0;
    uint8_t *first = NULL;

    if (!map(vq) || vq_ring_watched(&vq->desc)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t len = vq_used_len(e[i]);

        sum += e[i]->ndescs;
        used += e[i]->ndescs;
        if (used >= size) {
            used -= size;
            now ^= DESC_AVAIL | DESC_USED;
        }
        vq->inflight[e[i]->id] = false;
        if (!in_order || i + 1 == n || !vq_used_full(e[i])) {
            uint8_t *d = vq->desc.host + slot * 16u;
            uint16_t flags = (uint16_t)(slot_now | (len ? DESC_WRITE : 0));

            atomic_store_explicit(
                (_Atomic uint32_t *)(void *)(d + 8), htole32(len), memory_order_relaxed);
            store16(d + 12, e[i]->id, memory_order_relaxed);
            if (first) {
                store16(d + 14, flags, memory_order_release);
            } else {
                first = d;
                first_flags = flags;
            }
            slot = used;
            slot_now = now;
        }
        vq_elem_done(vq, e[i], len);
    }
    vq->since += sum;
    vq->ring_out -= sum;
    vq->rs.used = (uint16_t)used;
    vq->rs.used_wrap = now & DESC_USED;
    /* Shown last, as in packed_publish(). */
    store16(first + 14, first_flags, memory_order_release);
    return true;
}

static bool packed_empty(VirtQueue *vq)
{
    return !map(vq) || !is_available(vq, ring_desc(vq, vq->rs.avail).flags);
}

/* 2.8.10: the driver's event suppression structure. */
static bool packed_wants_notify(VirtQueue *vq)
{
    int size = vq->at.size, old = vq->signalled, now = vq->rs.used, event;
    bool valid = vq->signalled_valid && vq->since < vq->at.size,
         wrapped = vq->signalled_wrap != vq->rs.used_wrap;
    uint16_t off_wrap, flags;

    if (!map(vq)) {
        return false;
    }
    /* What we used must be visible before the driver's wish is read. Pairs with the driver's
     * barrier. */
    atomic_thread_fence(memory_order_seq_cst);
    flags = load16(vq_ring_at(&vq->driver, 2)) & 3;
    vq->signalled = vq->rs.used;
    vq->signalled_wrap = vq->rs.used_wrap;
    vq->signalled_valid = true;
    vq->since = 0;
    if (flags != EVENT_DESC || !vq_feature(vq, VIRTIO_F_EVENT_IDX)) {
        return flags != EVENT_DISABLE;
    }
    if (!valid) {
        return true;
    }
    off_wrap = load16(vq_ring_at(&vq->driver, 0));
    /* All three on one line, where the current lap begins at 0. */
    event = (off_wrap & 0x7fff) - ((off_wrap >> 15) == vq->rs.used_wrap ? 0 : size);
    if (wrapped) {
        old -= size;
    }
    return old <= event && event < now;
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
