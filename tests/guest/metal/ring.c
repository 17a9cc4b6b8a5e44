/* The work itself: split and packed rings (VIRTIO 1.4, 2.7 and 2.8) driven without calls through
 * the port. */
#include "tests/guest/metal/metal.h"

#define RAM(T, at) ((volatile T *)(uintptr_t)(at))

enum { EV_ENABLE = 0, EV_DISABLE = 1, EV_DESC = 2 }; /* VIRTIO 1.4, 2.8.10 */

static inline void store_load(void)
{
    __asm__ volatile("lock; addl $0, (%%rsp)" ::: "memory");
}

static inline void compiler_fence(void)
{
    __asm__ volatile("" ::: "memory");
}

void ring_init(Ring *r, VDriver *d, unsigned queue, unsigned chain, unsigned irq)
{
    VRing *v = &d->ring[queue];
    unsigned off = 0;

    *r = (Ring){ .v = v,
        .d = d,
        .queue = queue,
        .chain = chain,
        .irq = irq,
        .indirect = d->features >> 28 & 1 && opt.indirect,
        .event = v->event_idx,
        .in_order = d->features >> 35 & 1,
        .kick_val = queue };
    if (d->legacy) {
        r->kick_at = d->bar[0] + 0x10;
        r->kick_io = true;
        r->kick_size = 2;
    } else {
        vd_write(d, 0x16, 2, queue);
        off = (unsigned)vd_read(d, 0x1e, 2);
        r->kick_at = d->notify + off * d->notify_mult;
        r->kick_io = d->notify_io;
        r->kick_size = d->features >> 38 & 1 ? 4 : 2;
    }
    if (v->packed) {
        *RAM(uint16_t, v->driver + 2) = EV_DISABLE;
    } else {
        *RAM(uint16_t, v->driver) = 1; /* no interrupts until asked for */
    }
}

void ring_prepare(Ring *r, unsigned s, const VBuf *buf, unsigned n)
{
    Slot *slot = &r->slot[s];
    VRing *v = r->v;

    CHECK(n <= CHAIN_MAX && s < SLOTS);
    for (unsigned i = 0; i < n; i++) {
        slot->buf[i] = buf[i];
    }
    slot->n = r->indirect ? 1 : n;
    if (r->indirect) {
        if (!slot->table) {
            slot->table = vd_page((VDriver *)(uintptr_t)r->d, 4096);
        }
        for (unsigned i = 0; i < n; i++) {
            uint64_t at = slot->table + i * 16u;
            bool next = !v->packed && i + 1 < n;

            *RAM(uint64_t, at) = buf[i].at;
            *RAM(uint32_t, at + 8) = buf[i].len;
            uint16_t flags = (uint16_t)((buf[i].write ? VRING_WRITE : 0) | (next ? VRING_NEXT : 0));
            *RAM(uint16_t, at + (v->packed ? 14 : 12)) = flags;
            *RAM(uint16_t, at + (v->packed ? 12 : 14)) = (uint16_t)(next ? i + 1 : 0);
        }
        slot->buf[0] = (VBuf){ slot->table, n * 16, false };
    }
    for (unsigned i = 0; i < slot->n; i++) {
        slot->flags[i] =
            (uint16_t)((slot->buf[i].write && !r->indirect ? VRING_WRITE : 0) |
                       (i + 1 < slot->n ? VRING_NEXT : 0) | (r->indirect ? VRING_INDIRECT : 0));
    }
    CHECK(v->packed || (s + 1) * (r->indirect ? 1 : r->chain) <= v->size);
}

/* All that makes a descriptor available is in its second half: one store. The first one's comes
 * last. */
static inline void put_packed(Ring *r, unsigned s)
{
    VRing *v = r->v;
    const Slot *slot = &r->slot[s];
    unsigned n = slot->n, at = v->avail;
    uint64_t first = v->desc + at * 16u + 8, first_rest = 0, lap = v->avail_wrap ? 1 << 7 : 1 << 15;

    v->len_of[s] = (uint16_t)n;
    for (unsigned i = 0; i < n; i++) {
        uint64_t rest = slot->buf[i].len | (uint64_t)s << 32 | (slot->flags[i] | lap) << 48;

        *RAM(uint64_t, v->desc + at * 16u) = slot->buf[i].at;
        if (i) {
            *RAM(uint64_t, v->desc + at * 16u + 8) = rest;
        } else {
            first_rest = rest;
        }
        if (++at == v->size) {
            at = 0;
            lap ^= 1 << 7 | 1 << 15;
            v->avail_wrap = !v->avail_wrap;
        }
    }
    v->avail = (uint16_t)at;
    r->unshown = (uint16_t)(r->unshown + n);
    compiler_fence(); /* x86 keeps stores in order */
    *RAM(uint64_t, first) = first_rest;
}

/* Written each time, as a driver does whose buffers are not always the same. */
static inline void put_split(Ring *r, unsigned s)
{
    VRing *v = r->v;
    const Slot *slot = &r->slot[s];
    unsigned head = r->indirect ? s : s * r->chain;

    for (unsigned i = 0; i < slot->n; i++) {
        uint64_t at = v->desc + (head + i) * 16u;

        *RAM(uint64_t, at) = slot->buf[i].at;
        *RAM(uint64_t, at + 8) =
            slot->buf[i].len | (uint64_t)slot->flags[i] << 32 | (uint64_t)(head + i + 1) << 48;
    }
    *RAM(uint16_t, v->driver + 4 + v->avail % v->size * 2u) = (uint16_t)head;
    v->avail++;
}

void ring_put(Ring *r, unsigned s)
{
    VRing *v = r->v;

    if (r->in_order) {
        r->order[r->tail++ % SLOTS] = (uint16_t)s;
    }
    if (v->packed) {
        put_packed(r, s);
        return;
    }
    put_split(r, s);
}

static bool wants_kick(Ring *r)
{
    VRing *v = r->v;

    if (v->packed) { /* VIRTIO 1.4, 2.8.10 */
        uint32_t e = *RAM(uint32_t, v->device);
        uint16_t n = r->unshown, off = e & 0x7fff, flags = e >> 16 & 3;
        bool wrap = e >> 15 & 1;

        r->unshown = 0;
        if (flags < 2) {
            return flags == EV_ENABLE;
        }
        int want = off;

        if (wrap != v->avail_wrap) {
            want -= v->size;
        }
        return (uint16_t)(v->avail - want - 1) < n;
    }
    uint16_t before = r->published;

    r->published = v->avail;
    if (r->event) {
        uint16_t event = *RAM(uint16_t, v->device + 4 + v->size * 8u);

        return (uint16_t)(v->avail - event - 1) < (uint16_t)(v->avail - before);
    }
    return !(*RAM(uint16_t, v->device) & 1);
}

void ring_kick(Ring *r)
{
    VRing *v = r->v;
    uint32_t val = r->kick_val;

    compiler_fence();
    if (!v->packed) {
        *RAM(uint16_t, v->driver + 2) = v->avail;
    }
    store_load();
    if (!wants_kick(r)) {
        return;
    }
    if (r->kick_size == 4) { /* VIRTIO 1.4, 2.9 */
        val |= (uint32_t)v->avail << 16 | (uint32_t)(v->packed && v->avail_wrap) << 31;
    }
    r->kicks++;
    metal_port.store(NULL, r->kick_io, r->kick_at, r->kick_size, val);
}

static inline bool get_packed(Ring *r, unsigned *ret_slot, uint32_t *ret_len)
{
    VRing *v = r->v;
    uint64_t rest = *RAM(uint64_t, v->desc + v->used * 16u + 8); /* length, id, flags */
    unsigned flags = (unsigned)(rest >> 48), slot = (unsigned)(rest >> 32) & 0xffff, n;

    if ((flags & (1 << 7 | 1 << 15)) != (v->used_wrap ? 1 << 7 | 1 << 15 : 0)) {
        return false;
    }
    compiler_fence();
    *ret_slot = slot;
    *ret_len = (uint32_t)rest;
    CHECK(slot < SLOTS);
    n = v->len_of[slot];
    CHECK(n);
    n += v->used;
    if (n >= v->size) {
        n -= v->size;
        v->used_wrap = !v->used_wrap;
    }
    v->used = (uint16_t)n;
    return true;
}

static bool get_split(Ring *r, unsigned *ret_slot, uint32_t *ret_len)
{
    VRing *v = r->v;

    if (*RAM(uint16_t, v->device + 2) == v->used) {
        return false;
    }
    compiler_fence();
    uint64_t at = v->device + 4 + v->used % v->size * 8u;

    *ret_slot = *RAM(uint32_t, at) / (r->indirect ? 1 : r->chain);
    *ret_len = *RAM(uint32_t, at + 4);
    v->used++;
    CHECK(*ret_slot < SLOTS);
    return true;
}

bool ring_get(Ring *r, unsigned *ret_slot, uint32_t *ret_len)
{
    VRing *v = r->v;

    if (!r->in_order) {
        return v->packed ? get_packed(r, ret_slot, ret_len) : get_split(r, ret_slot, ret_len);
    }
    if (!r->skip) {
        unsigned last;

        if (v->packed ? !get_packed(r, &last, &r->last_len) : !get_split(r, &last, &r->last_len)) {
            return false;
        }
        /* One used entry stands for all before it: VIRTIO 1.4, 2.7.14 and 2.8.9. */
        for (unsigned i = r->head; r->order[i % SLOTS] != last; i++) {
            CHECK(i < r->tail);
            r->skip++;
            v->used = (uint16_t)(v->used + (v->packed ? v->len_of[r->order[i % SLOTS]] : 1));
        }
        if (v->packed && v->used >= v->size) {
            v->used = (uint16_t)(v->used - v->size);
            v->used_wrap = !v->used_wrap;
        }
        r->skip++;
    }
    *ret_slot = r->order[r->head++ % SLOTS];
    *ret_len = --r->skip ? LEN_UNKNOWN : r->last_len;
    return true;
}

static bool used_there(const Ring *r)
{
    const VRing *v = r->v;

    if (r->skip) {
        return true;
    }
    if (v->packed) {
        uint16_t flags = *RAM(uint16_t, v->desc + v->used * 16u + 14);

        return !!(flags & 1 << 7) == v->used_wrap && !!(flags & 1 << 15) == v->used_wrap;
    }
    return *RAM(uint16_t, v->device + 2) != v->used;
}

uint32_t ring_arm(Ring *r)
{
    VRing *v = r->v;
    uint32_t seen = irq_count[r->irq];

    if (v->packed && r->event) {
        *RAM(uint16_t, v->driver) = (uint16_t)(v->used | (v->used_wrap ? 1 << 15 : 0));
        compiler_fence();
        *RAM(uint16_t, v->driver + 2) = EV_DESC;
    } else if (v->packed) {
        *RAM(uint16_t, v->driver + 2) = EV_ENABLE;
    } else if (r->event) {
        *RAM(uint16_t, v->driver + 4 + v->size * 2u) = v->used;
    } else {
        *RAM(uint16_t, v->driver) = 0;
    }
    store_load();
    return seen;
}

void ring_disarm(Ring *r)
{
    VRing *v = r->v;

    if (v->packed) {
        *RAM(uint16_t, v->driver + 2) = EV_DISABLE;
    } else if (!r->event) {
        *RAM(uint16_t, v->driver) = 1;
    }
}

void ring_wait(Ring *r)
{
    uint32_t seen = ring_arm(r);

    if (!used_there(r)) {
        r->irq_waits++;
        cpu_wait_irq(r->irq, seen);
    }
    ring_disarm(r);
}
