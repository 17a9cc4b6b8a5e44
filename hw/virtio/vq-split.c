/*
 * The split ring (VIRTIO 1.4, 2.7): descriptor table, available ring, used ring. Ring words are
 * read once into locals; the indirect table is copied before it is looked at. Covered by
 * tests/unit/test-vq-split.c.
 *
 *   driver area: le16 flags, idx, ring[N], used_event        device area: le16 flags, idx, {le32
 * id, len}[N], le16 avail_event
 */
#include "hw/virtio/vq-internal.h"

enum {
    AVAIL_NO_INTERRUPT = 1,
    USED_NO_NOTIFY = 1,
};

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} Desc;

/* Guest-shared words: atomic, so that the compiler reads each of them once and whole. */
static uint16_t load16(const uint8_t *p)
{
    return le16toh(
        atomic_load_explicit((const _Atomic uint16_t *)(const void *)p, memory_order_relaxed));
}

static void store16(uint8_t *p, uint16_t v, memory_order order)
{
    atomic_store_explicit((_Atomic uint16_t *)(void *)p, htole16(v), order);
}

static Desc desc_of(uint64_t addr, uint64_t rest)
{
    return (Desc){ addr, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48) };
}

/* Each half once; returns the address. */
static inline uint64_t load_desc(const uint8_t *at, uint64_t *ret_rest)
{
    const _Atomic uint64_t *p = (const _Atomic uint64_t *)(const void *)at;

    *ret_rest = le64toh(atomic_load_explicit(p + 1, memory_order_relaxed));
    return le64toh(atomic_load_explicit(p, memory_order_relaxed));
}

static Desc ring_desc(const VirtQueue *vq, unsigned i)
{
    uint64_t rest, addr = load_desc(vq_ring_at(&vq->desc, i * 16u), &rest);

    return desc_of(addr, rest);
}

static VQ_COLD bool map_slow(VirtQueue *vq)
{
    size_t event = vq_feature(vq, VIRTIO_F_EVENT_IDX) ? 2 : 0;

    return vq_map_rings(
        vq, vq->at.size * 16u, 4 + vq->at.size * 2u + event, 4 + vq->at.size * 8u + event);
}

static inline bool map(VirtQueue *vq)
{
    return VQ_LIKELY(vq->mapped && vq->generation == dma_clock_now(vq->clock)) || map_slow(vq);
}

/* 2.7.5.3: the table replaces the rest of the chain; no nesting. */
static bool walk_indirect(VirtQueue *vq, const Desc *head)
{
    const uint8_t *table;
    unsigned n = head->len / 16, i = 0;

    if (!vq_feature(vq, VIRTIO_F_INDIRECT_DESC)) {
        vq_fail(vq, "indirect descriptor, which was not negotiated (VIRTIO 1.4, 2.7.5.3.1)");
        return false;
    }
    if (head->flags & DESC_NEXT) {
        vq_fail(vq, "descriptor with both INDIRECT and NEXT (VIRTIO 1.4, 2.7.5.3.1)");
        return false;
    }
    table = vq_gather_table(vq, head->addr, head->len);
    if (!table) {
        return false;
    }
    for (unsigned steps = 0; steps < n; steps++) {
        uint64_t addr, rest = vq_table_desc(table, i, &addr);
        Desc d = desc_of(addr, rest);

        if (d.flags & DESC_INDIRECT) {
            vq_fail(vq, "indirect descriptor inside an indirect table (VIRTIO 1.4, 2.7.5.3.1)");
            return false;
        }
        if (!vq_gather_add(vq, d.addr, d.len, d.flags & DESC_WRITE)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            return true;
        }
        i = d.next;
        if (i >= n) {
            vq_fail(vq, "next %u is outside an indirect table of %u (VIRTIO 1.4, 2.7.5.3)", i, n);
            return false;
        }
    }
    vq_fail(vq, "descriptor loop in an indirect table of %u (VIRTIO 1.4, 2.7.5.2)", n);
    return false;
}

static bool walk(VirtQueue *vq, unsigned head)
{
    unsigned i = head;

    for (unsigned steps = 0; steps < vq->at.size; steps++) {
        Desc d = ring_desc(vq, i);

        if (d.flags & DESC_INDIRECT) {
            /* A chain may end in an indirect table: drivers that send a direct header first exist.
             */
            return walk_indirect(vq, &d);
        }
        if (!vq_gather_add(vq, d.addr, d.len, d.flags & DESC_WRITE)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            return true;
        }
        i = d.next;
        if (i >= vq->at.size) {
            vq_fail(vq, "next %u is outside the descriptor table of %u (VIRTIO 1.4, 2.7.5)", i,
                vq->at.size);
            return false;
        }
    }
    vq_fail(vq,
        "descriptor loop: more than %u in the chain that starts at %u (VIRTIO 1.4, 2.7.5.2)",
        vq->at.size, head);
    return false;
}

/* Reads avail.idx again; false: nothing new, or nonsense. */
static inline bool look(VirtQueue *vq)
{
    uint16_t idx = load16(vq_ring_at(&vq->driver, 2));

    /* Entries are read after the index that covers them. Pairs with the driver's barrier:
     * VIRTIO 1.4, 2.7.13.3. */
    atomic_thread_fence(memory_order_acquire);
    if (VQ_UNLIKELY((uint16_t)(idx - vq->rs.avail) > vq->at.size)) {
        vq_fail(
            vq, "available index jumped from %u to %u (VIRTIO 1.4, 2.7.6.1)", vq->rs.avail, idx);
        return false;
    }
    vq->avail_seen = idx;
    vq->wish = load16(vq_ring_at(&vq->driver, 0));
    return idx != vq->rs.avail;
}

static VqElem *split_pop(VirtQueue *vq)
{
    unsigned head;
    VqElem *e;

    if (!map(vq) || (vq->avail_seen == vq->rs.avail && !look(vq))) {
        return NULL;
    }
    head = load16(vq_ring_at(&vq->driver, 4 + (vq->rs.avail & (vq->at.size - 1u)) * 2u));
    if (head >= vq->at.size) {
        vq_fail(vq, "head %u is outside the descriptor table of %u (VIRTIO 1.4, 2.7.6)", head,
            vq->at.size);
        return NULL;
    }
    if (vq->inflight[head]) {
        vq_fail(vq, "head %u is available while it is in use (VIRTIO 1.4, 2.7.13.1)", head);
        return NULL;
    }
    vq_gather_begin(vq);
    if (!walk(vq, head) || !vq_gather_ok(vq)) {
        vq_gather_undo(vq);
        return NULL;
    }
    e = vq_gather_elem(vq, (uint16_t)head, 1);
    vq->inflight[head] = true;
    vq->ring_out++;
    vq->rs.avail++;
    return e;
}

/* Parts of a descriptor, each read once. */
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

/* Readable buffers, then writable ones, into b; false: pop() will tell. */
VQ_INLINE bool take_one(
    const VqFast *f, VqBlock *b, const uint8_t *table, unsigned mask, uint64_t i)
{
    struct iovec *iov = b->iov, *const end = iov + VQ_SMALL_IOVS;
    uint64_t total = 0, len;
    const uint8_t *d = table + i * 16;
    unsigned flags = load16(d + 12);

    while (!(flags & DESC_KIND)) {
        len = part32(d + 8);
        total += len;
        if (!vq_fast_add(f, iov++, part64(d), len)) {
            return false;
        }
        if (!(flags & DESC_NEXT)) {
            vq_elem_readable(b, iov, total);
            vq_elem_writable(b, iov, 0);
            goto out;
        }
        i = load16(d + 14);
        if (VQ_UNLIKELY(i > mask || iov == end)) {
            return false;
        }
        d = table + i * 16;
        flags = load16(d + 12);
    }
    vq_elem_readable(b, iov, total);
    total = 0;
    for (;;) {
        flags ^= DESC_WRITE;
        len = part32(d + 8);
        total += len;
        if (VQ_UNLIKELY(flags & DESC_KIND) || !vq_fast_add(f, iov++, part64(d), len)) {
            return false;
        }
        if (!(flags & DESC_NEXT)) {
            break;
        }
        i = load16(d + 14);
        if (VQ_UNLIKELY(i > mask || iov == end)) {
            return false;
        }
        d = table + i * 16;
        flags = load16(d + 12);
    }
    vq_elem_writable(b, iov, total);
    total += vq_elem_of(b)->out.left;
out:
    return VQ_LIKELY(total <= UINT32_MAX); /* 2.7.4.2 */
}

/* The head is all of the chain in the ring, and names a table. */
static bool take_table(const VirtQueue *vq, VqBlock *b, const uint8_t *d)
{
    return (load16(d + 12) & (DESC_KIND | DESC_NEXT)) == DESC_INDIRECT &&
           vq_fast_table(vq, b, part64(d), part32(d + 8), /* linked= */ true);
}

/* The rings lie in one stretch each. */
VQ_INLINE unsigned take_some(VirtQueue *vq, unsigned max)
{
    unsigned mask = vq->at.size - 1u, avail = vq->rs.avail, n;
    const uint8_t *ring = vq->driver.host + 4, *table = vq->desc.host;
    VqBlock **link = &vq->free[0];
    uint8_t *inflight = vq->inflight;
    const VqFast f = vq_fast_of(vq);

    max = MIN(max, (uint16_t)(vq->avail_seen - avail));
    for (n = 0; n < max; n++) {
        size_t head = load16(ring + ((avail + n) & mask) * (size_t)2);
        VqBlock *b = *link;

        if (VQ_UNLIKELY(head > mask || inflight[head])) {
            break;
        }
        inflight[head] = true;
        vq_elem_of(b)->id = (uint16_t)head;
        if (!take_one(&f, b, table, mask, head) &&
            !take_table(vq, b, table + vq_elem_of(b)->id * (size_t)16)) {
            inflight[vq_elem_of(b)->id] = false;
            break;
        }
        b->win = f.win;
        link = &b->next;
    }
    vq->first = vq->free[0];
    vq->last = vq_block_at(link);
    vq->free[0] = *link;
    vq->nfree[0] -= n;
    vq->rs.avail = (uint16_t)(avail + n);
    vq->more = vq->rs.avail != vq->avail_seen;
    vq->ring_out += n;
    f.win->refs += n;
    return n;
}

static unsigned split_take(VirtQueue *vq, unsigned max)
{
    vq->more = false;
    if (!map(vq) || (vq->avail_seen == vq->rs.avail && !look(vq))) {
        return 0;
    }
    vq->more = true;
    return VQ_LIKELY(vq->desc.host && vq->driver.host && vq_fast_usable(vq)) ? take_some(vq, max)
                                                                             : 0;
}

static void split_publish(VirtQueue *vq, const VqDone *done, unsigned n)
{
    unsigned mask = vq->at.size - 1u, used = vq->rs.used;
    bool watched;

    if (!map(vq)) {
        return;
    }
    watched = vq_ring_watched(&vq->device);
    for (unsigned i = 0; i < n; used += done[i++].ndescs) {
        size_t at = 4 + (used & mask) * 8u;
        _Atomic uint32_t *id = (_Atomic uint32_t *)(void *)vq_ring_at(&vq->device, at);
        _Atomic uint32_t *len =
            watched ? (_Atomic uint32_t *)(void *)vq_ring_at(&vq->device, at + 4) : id + 1;

        atomic_store_explicit(id, htole32(done[i].id), memory_order_relaxed);
        atomic_store_explicit(len, htole32(done[i].len), memory_order_relaxed);
        if (VQ_UNLIKELY(watched)) {
            vq_ring_written_slow(&vq->device, at, 8);
        }
    }
    vq->since += (uint16_t)(used - vq->rs.used);
    vq->rs.used = (uint16_t)used;
    /* The driver reads entries and data after the index: VIRTIO 1.4, 2.7.8.2. */
    store16(vq_ring_at(&vq->device, 2), vq->rs.used, memory_order_release);
    vq_ring_written(&vq->device, 0, 4);
}

VQ_INLINE VqBlock *use(VirtQueue *vq, VqBlock *b, unsigned n, bool in_order)
{
    unsigned mask = vq->at.size - 1u, used = vq->rs.used, slot = used, end = used + n;
    uint8_t *ring, *inflight = vq->inflight;

    if (!map(vq) || vq_ring_watched(&vq->device) || vq_watched(b->win->block)) {
        return NULL;
    }
    ring = vq->device.host + 4;
    for (;; b = b->next) {
        const VqElem *e = vq_elem_of(b);
        size_t id = e->id;

        used++;
        inflight[id] = false;
        if (!in_order || used == end || !vq_used_full(e)) {
            _Atomic uint32_t *at = (_Atomic uint32_t *)(void *)(ring + (size_t)(slot & mask) * 8);

            atomic_store_explicit(at, htole32((uint32_t)id), memory_order_relaxed);
            atomic_store_explicit(at + 1, htole32(vq_used_len(e)), memory_order_relaxed);
            slot = used;
        }
        if (used == end) {
            break;
        }
    }
    vq->since += n;
    vq->ring_out -= n;
    vq->rs.used = (uint16_t)used;
    /* The driver reads entries and data after the index: VIRTIO 1.4, 2.7.8.2. */
    store16(vq->device.host + 2, vq->rs.used, memory_order_release);
    return b;
}

static VqBlock *split_use(VirtQueue *vq, VqBlock *b, unsigned n, bool in_order)
{
    return in_order ? use(vq, b, n, true) : use(vq, b, n, false);
}

static bool split_empty(VirtQueue *vq)
{
    if (!map(vq)) {
        return true;
    }
    return vq->avail_seen == vq->rs.avail && !look(vq);
}

/* The driver's wish without EVENT_IDX (2.7.7.2). */
static inline bool flags_want(const VirtQueue *vq, uint16_t flags)
{
    return !(flags & AVAIL_NO_INTERRUPT);
}

static VQ_NOINLINE bool wants_notify_now(VirtQueue *vq, bool sure)
{
    uint16_t before = vq->signalled;
    bool valid = vq->signalled_valid && vq->since <= UINT16_MAX; /* else the counter went around */

    if (sure && !vq->shown) {
        /* The used index must be visible before the driver's wish is read. Pairs with the driver's
         * barrier: 2.7.7.2. */
        atomic_thread_fence(memory_order_seq_cst);
        vq->shown = true;
    }
    if (vq_feature(vq, VIRTIO_F_NOTIFY_ON_EMPTY) && !vq_held(vq) && split_empty(vq)) {
        return true;
    }
    if (!vq_feature(vq, VIRTIO_F_EVENT_IDX)) {
        return flags_want(vq, load16(vq_ring_at(&vq->driver, 0)));
    }
    uint16_t event = load16(vq_ring_at(&vq->driver, 4 + vq->at.size * 2u));
    bool wanted = !valid || (uint16_t)(vq->rs.used - event - 1) < (uint16_t)(vq->rs.used - before);

    if (wanted || sure) { /* else the next look begins where this one did */
        vq->signalled = vq->rs.used;
        vq->signalled_valid = true;
        vq->since = 0;
    }
    return wanted;
}

static bool split_wants_notify(VirtQueue *vq, bool sure)
{
    if (!map(vq)) {
        return false;
    }
    if (!sure && !vq_feature(vq, VIRTIO_F_EVENT_IDX)) {
        /* As it was beside the index: the driver's core may have that line again. */
        return flags_want(vq, vq->wish);
    }
    return wants_notify_now(vq, sure);
}

static void split_arm(VirtQueue *vq, bool on)
{
    if (!map(vq)) {
        return;
    }
    if (vq_feature(vq, VIRTIO_F_EVENT_IDX)) {
        size_t event = 4 + vq->at.size * 8u;

        if (on) {
            /* Ask for the first entry that we have not seen: 2.7.10. */
            store16(vq_ring_at(&vq->device, event), vq->avail_seen, memory_order_relaxed);
            vq_ring_written(&vq->device, event, 2);
        }
    } else if (on != vq->armed) {
        store16(vq_ring_at(&vq->device, 0), on ? 0 : USED_NO_NOTIFY, memory_order_relaxed);
        vq_ring_written(&vq->device, 0, 2);
    }
    vq->armed = on;
    if (on) {
        /* Our wish must be visible before the index is looked at once more. Pairs with the driver's
         * barrier: 2.7.13.4. */
        atomic_thread_fence(memory_order_seq_cst);
        vq->shown = true;
    }
}

static VqRingState split_save(const VirtQueue *vq)
{
    return vq->rs;
}

static bool split_load(VirtQueue *vq, VqRingState s)
{
    vq->rs = s;
    /* Chains put back lie between the new position and what was seen before. */
    if ((uint16_t)(vq->avail_seen - s.avail) > vq->at.size) {
        vq->avail_seen = s.avail;
    }
    return (uint16_t)(s.avail - s.used) <= vq->at.size;
}

const VqRingOps vq_split_ops = {
    .take = split_take,
    .pop = split_pop,
    .publish = split_publish,
    .use = split_use,
    .wants_notify = split_wants_notify,
    .arm = split_arm,
    .empty = split_empty,
    .save = split_save,
    .load = split_load,
};
