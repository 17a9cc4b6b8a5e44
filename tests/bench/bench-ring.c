/* Rings for benchmarks. */
#include "tests/bench/bench-ring.h"

#include <string.h>

enum { F_NEXT = 1, F_WRITE = 2, F_AVAIL = 1 << 7, F_USED = 1 << 15 };
enum { MASK = BENCH_SIZE - 1, BUFFERS = 0x800000, BATCH = 64 };

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t a, b; /* split: flags, next. packed: id, flags */
} Desc;

static _Atomic uint16_t *half(uint8_t *p)
{
    return (_Atomic uint16_t *)(void *)p;
}

static uint16_t get16(uint8_t *p, memory_order order)
{
    return atomic_load_explicit(half(p), order);
}

static void put16(uint8_t *p, uint16_t v, memory_order order)
{
    atomic_store_explicit(half(p), v, order);
}

static Desc *desc_at(uint8_t *ring, unsigned i)
{
    return (Desc *)(void *)(ring + i * 16u);
}

void bench_ring_init(BenchRing *r, uint8_t *ram, const VRing *v, bool in_order)
{
    *r = (BenchRing){ .packed = v->packed,
        .in_order = in_order,
        .ram = ram,
        .desc = ram + v->desc,
        .driver = ram + v->driver,
        .device = ram + v->device,
        .avail_wrap = v->packed,
        .used_wrap = v->packed };
    if (r->packed) {
        put16(r->driver + 2, 1, memory_order_relaxed); /* no interrupts */
    } else {
        put16(r->driver, 1, memory_order_relaxed);
    }
}

static void add_split(BenchRing *r, unsigned chain, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        uint16_t head = r->head;

        for (unsigned i = 0; i < chain; i++) {
            uint16_t flags = (uint16_t)((i + 1 < chain ? F_NEXT : 0) | (i ? F_WRITE : 0));
            uint16_t next = (uint16_t)((r->head + 1) & MASK);

            *desc_at(r->desc, r->head) = (Desc){ BUFFERS + r->head * 4096u, 512, flags, next };
            r->head = next;
        }
        put16(r->driver + 4 + (r->avail & MASK) * 2u, head, memory_order_relaxed);
        r->avail++;
    }
    put16(r->driver + 2, r->avail, memory_order_release);
}

static void step(uint16_t *pos, bool *wrap, unsigned n)
{
    *pos = (uint16_t)(*pos + n);
    if (*pos >= BENCH_SIZE) {
        *pos = (uint16_t)(*pos - BENCH_SIZE);
        *wrap = !*wrap;
    }
}

static void add_packed(BenchRing *r, unsigned chain, unsigned n)
{
    uint8_t *first = NULL;
    uint16_t first_flags = 0;

    for (unsigned k = 0; k < n; k++) {
        for (unsigned i = 0; i < chain; i++) {
            Desc *d = desc_at(r->desc, r->avail);
            uint16_t flags = (uint16_t)((i + 1 < chain ? F_NEXT : 0) | (i ? F_WRITE : 0) |
                                        (r->avail_wrap ? F_AVAIL : F_USED));

            d->addr = BUFFERS + r->avail * 4096u;
            d->len = 512;
            d->a = r->next_id;
            if (first) {
                put16((uint8_t *)d + 14, flags, memory_order_release);
            } else {
                first = (uint8_t *)d;
                first_flags = flags;
            }
            step(&r->avail, &r->avail_wrap, 1);
        }
        r->next_id = (uint16_t)((r->next_id + 1) & MASK);
    }
    put16(first + 14, first_flags, memory_order_release);
}

void bench_add(BenchRing *r, unsigned chain, unsigned n)
{
    r->chain = chain;
    if (r->packed) {
        add_packed(r, chain, n);
    } else {
        add_split(r, chain, n);
    }
}

static unsigned reap_split(BenchRing *r)
{
    uint16_t idx = get16(r->device + 2, memory_order_acquire);
    unsigned n = (uint16_t)(idx - r->used);

    if (r->in_order) { /* the index says it all: requests come back in order and in full */
        r->used = idx;
        return n;
    }
    while (r->used != idx) {
        uint32_t id;

        memcpy(&id, r->device + 4 + (r->used & MASK) * 8u, 4);
        g_assert(id < BENCH_SIZE);
        r->used++;
    }
    return n;
}

static unsigned reap_packed(BenchRing *r)
{
    unsigned n = 0;

    for (;;) {
        Desc *d = desc_at(r->desc, r->used);
        uint16_t flags = get16((uint8_t *)d + 14, memory_order_acquire);

        if (!!(flags & F_AVAIL) != r->used_wrap || !!(flags & F_USED) != r->used_wrap) {
            return n;
        }
        unsigned batch = r->in_order ? ((d->a - r->reaped_id) & MASK) + 1u : 1;

        r->reaped_id = (uint16_t)((r->reaped_id + batch) & MASK);
        step(&r->used, &r->used_wrap, batch * r->chain);
        n += batch;
    }
}

unsigned bench_reap(BenchRing *r)
{
    return r->packed ? reap_packed(r) : reap_split(r);
}

void bare_init(BareRing *b, const BenchRing *r)
{
    *b = (BareRing){ .packed = r->packed,
        .in_order = r->in_order,
        .ram = r->ram,
        .desc = r->desc,
        .driver = r->driver,
        .device = r->device,
        .avail_wrap = r->packed,
        .used_wrap = r->packed };
}

static bool bare_split(BareRing *b, bool each)
{
    uint16_t idx = get16(b->driver + 2, memory_order_acquire), head = 0;
    unsigned n = 0;

    for (; b->avail != idx && n < BATCH; n++) {
        unsigned i = head = get16(b->driver + 4 + (b->avail++ & MASK) * 2u, memory_order_relaxed);
        const Desc *d;

        do {
            d = desc_at(b->desc, i);
            b->sum += d->addr + d->len;
            i = d->b;
        } while (d->a & F_NEXT);
        if (!b->in_order || each) {
            uint8_t *u = b->device + 4 + (b->used++ & MASK) * 8u;

            memcpy(u, &(uint64_t){ head }, 8);
            if (each) {
                put16(b->device + 2, b->used, memory_order_release);
            }
        }
    }
    if (n && !each) {
        if (b->in_order) {
            memcpy(b->device + 4 + (b->used & MASK) * 8u, &(uint64_t){ head }, 8);
            b->used = b->avail;
        }
        put16(b->device + 2, b->used, memory_order_release);
    }
    return n;
}

static bool bare_packed(BareRing *b, bool each)
{
    uint8_t *first = NULL;
    uint16_t first_flags = 0, id = 0;
    unsigned n = 0, len = 0;

    for (; n < BATCH; n++) {
        Desc *d = desc_at(b->desc, b->avail);
        uint16_t flags = get16((uint8_t *)d + 14, memory_order_acquire);
        unsigned chain = 0;

        if ((flags & (F_AVAIL | F_USED)) != (b->avail_wrap ? F_AVAIL : F_USED)) {
            break;
        }
        for (bool more = true; more; chain++) {
            d = desc_at(b->desc, b->avail);
            b->sum += d->addr + d->len;
            id = d->a;
            more = d->b & F_NEXT;
            step(&b->avail, &b->avail_wrap, 1);
        }
        len += chain;
        if (b->in_order && !each) {
            continue;
        }
        d = desc_at(b->desc, b->used);
        flags = b->used_wrap ? F_AVAIL | F_USED : 0;
        d->len = 0;
        d->a = id;
        if (each || first) {
            put16((uint8_t *)d + 14, flags, memory_order_release);
        } else {
            first = (uint8_t *)d;
            first_flags = flags;
        }
        step(&b->used, &b->used_wrap, chain);
    }
    if (n && b->in_order && !each) {
        Desc *d = desc_at(b->desc, b->used);

        d->len = 0;
        d->a = id;
        put16((uint8_t *)d + 14, b->used_wrap ? F_AVAIL | F_USED : 0, memory_order_release);
        step(&b->used, &b->used_wrap, len);
    } else if (first) {
        put16(first + 14, first_flags, memory_order_release);
    }
    return n;
}

bool bare_turn(BareRing *b, bool each)
{
    return b->packed ? bare_packed(b, each) : bare_split(b, each);
}
