/* Rings for benchmarks. */
#include "tests/bench/bench-ring.h"

#include <string.h>

enum { F_NEXT = 1, F_WRITE = 2, F_INDIRECT = 4, F_AVAIL = 1 << 7, F_USED = 1 << 15 };
enum { MASK = BENCH_SIZE - 1, BUFFERS = 0x800000, TABLES = 0x700000, BATCH = 64 };

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t a, b; /* split: flags, next. packed: id, flags */
} Desc;

/* The same in two words, as a driver in a hurry writes it. */
typedef struct DescWords {
    _Atomic uint64_t addr, rest;
} DescWords;

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

static inline void write_words(
    uint8_t *ring, unsigned i, uint64_t addr, unsigned len, uint16_t third, uint16_t fourth)
{
    DescWords *d = (DescWords *)(void *)(ring + i * 16u);

    atomic_store_explicit(&d->addr, addr, memory_order_relaxed);
    /* Length, and for a packed ring all that makes it available, in one store. */
    atomic_store_explicit(
        &d->rest, len | (uint64_t)third << 32 | (uint64_t)fourth << 48, memory_order_release);
}

static inline void write_desc(uint8_t *ring, unsigned i, uint16_t third, uint16_t fourth)
{
    write_words(ring, i, BUFFERS + i * 4096u, 512, third, fourth);
}

static inline unsigned kind(unsigned i, unsigned chain)
{
    return (i + 1 < chain ? F_NEXT : 0u) | (i ? F_WRITE : 0u);
}

static void step(uint16_t *pos, bool *wrap, unsigned n)
{
    *pos = (uint16_t)(*pos + n);
    if (*pos >= BENCH_SIZE) {
        *pos = (uint16_t)(*pos - BENCH_SIZE);
        *wrap = !*wrap;
    }
}

/* The table of descriptor i of the ring, and that descriptor. */
static void write_table(
    const BenchRing *r, unsigned i, unsigned chain, uint16_t third, uint16_t fourth)
{
    uint64_t at = TABLES + i * 64u;

    for (unsigned k = 0; k < chain; k++) {
        uint16_t flags = (uint16_t)kind(k, chain);

        if (r->packed) { /* only WRITE means something there: VIRTIO 1.4, 2.8.7 */
            write_desc(r->ram + at, k, 0, flags & F_WRITE);
        } else {
            write_desc(r->ram + at, k, flags, (uint16_t)(k + 1));
        }
    }
    write_words(r->desc, i, at, chain * 16, third, fourth);
}

static void add_tables(BenchRing *r, unsigned chain, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        unsigned at = r->packed ? r->avail : r->head;

        if (r->packed) {
            write_table(r, at, chain, r->next_id,
                (uint16_t)(F_INDIRECT | (r->avail_wrap ? F_AVAIL : F_USED)));
            r->next_id = (uint16_t)((r->next_id + 1) & MASK);
            step(&r->avail, &r->avail_wrap, 1);
        } else {
            write_table(r, at, chain, F_INDIRECT, 0);
            put16(r->driver + 4 + (r->avail++ & MASK) * 2u, (uint16_t)at, memory_order_relaxed);
            r->head = (uint16_t)((at + 1) & MASK);
        }
    }
    if (!r->packed) {
        put16(r->driver + 2, r->avail, memory_order_release);
    }
}

static void add_split(BenchRing *r, unsigned chain, unsigned n)
{
    uint8_t *desc = r->desc, *slots = r->driver + 4;
    uint16_t at = r->head, avail = r->avail;

    for (unsigned k = 0; k < n; k++) {
        put16(slots + (avail++ & MASK) * 2u, at, memory_order_relaxed);
        for (unsigned i = 0; i < chain; i++) {
            uint16_t next = (uint16_t)((at + 1) & MASK);

            write_desc(desc, at, (uint16_t)kind(i, chain), next);
            at = next;
        }
    }
    r->head = at;
    r->avail = avail;
    put16(r->driver + 2, avail, memory_order_release);
}

/* From the last descriptor to the first, so that the device sees all of them or none. */
static void add_packed(BenchRing *r, unsigned chain, unsigned n)
{
    unsigned lap, id = r->next_id + n;
    uint8_t *desc = r->desc;
    uint16_t at;

    r->next_id = (uint16_t)(id & MASK);
    step(&r->avail, &r->avail_wrap, n * chain);
    at = r->avail;
    lap = r->avail_wrap ? F_AVAIL : F_USED;
    while (n--) {
        id--;
        for (unsigned i = chain; i--;) {
            if (!at) {
                at = BENCH_SIZE;
                lap ^= F_AVAIL | F_USED;
            }
            at--;
            write_desc(desc, at, (uint16_t)(id & MASK), (uint16_t)(kind(i, chain) | lap));
        }
    }
}

void bench_add(BenchRing *r, unsigned chain, unsigned n)
{
    r->chain = r->indirect ? 1 : chain;
    if (r->indirect) {
        add_tables(r, chain, n);
    } else if (r->packed) {
        add_packed(r, chain, n);
    } else {
        add_split(r, chain, n);
    }
}

static unsigned reap_split(BenchRing *r)
{
    uint16_t idx = get16(r->device + 2, memory_order_acquire), used = r->used;
    unsigned n = (uint16_t)(idx - used);
    const uint8_t *slots = r->device + 4;

    r->used = idx;
    /* IN_ORDER: the index says it all, requests come back in order and in full. */
    for (; used != idx && !r->in_order; used++) {
        uint32_t id;

        memcpy(&id, slots + (used & MASK) * 8u, 4);
        g_assert(id < BENCH_SIZE);
    }
    return n;
}

static unsigned reap_packed(BenchRing *r)
{
    unsigned n = 0, chain = r->chain, wanted = r->used_wrap ? F_AVAIL | F_USED : 0;
    bool wrap = r->used_wrap, in_order = r->in_order;
    uint16_t at = r->used, last = r->reaped_id;
    uint8_t *desc = r->desc;

    for (;;) {
        const _Atomic uint32_t *p = (const _Atomic uint32_t *)(void *)(desc + at * 16u + 12);
        uint32_t word = atomic_load_explicit(p, memory_order_acquire), id = word & 0xffff;
        unsigned batch = 1;

        if ((word >> 16 & (F_AVAIL | F_USED)) != wanted) {
            break;
        }
        g_assert(id < BENCH_SIZE);
        if (in_order) {
            batch = ((id - last) & MASK) + 1u;
            last = (uint16_t)((last + batch) & MASK);
        }
        n += batch;
        step(&at, &wrap, batch * chain);
        wanted = wrap ? F_AVAIL | F_USED : 0;
    }
    r->used = at;
    r->used_wrap = wrap;
    r->reaped_id = last;
    return n;
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
