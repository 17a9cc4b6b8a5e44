/* The driver's side of a ring for benchmarks, through a plain pointer, and a device's side that
 * checks nothing: what any core is measured against (VIRTIO 1.4, 2.7 and 2.8). */
#pragma once

#include "tests/lib/vring.h"

#include <stdatomic.h>

enum { BENCH_SIZE = 256 };

typedef struct BenchRing {
    bool packed, in_order;
    bool indirect; /* each chain is one descriptor of the ring, which names a table */
    uint8_t *ram;
    uint8_t *desc, *driver, *device; /* in host memory */
    uint16_t avail, used;            /* split: counters. packed: positions */
    bool avail_wrap, used_wrap;
    uint16_t next_id, head; /* packed: next buffer id. split: next free descriptor */
    unsigned chain;
    uint16_t reaped_id; /* packed in order: id of the oldest request that is out */
} BenchRing;

/* The device's side, bare. */
typedef struct BareRing {
    bool packed, in_order;
    uint8_t *ram, *desc, *driver, *device;
    uint16_t avail, used;
    bool avail_wrap, used_wrap;
    uint64_t sum; /* what was read from buffers: they are looked at */
} BareRing;

void bench_ring_init(BenchRing *r, uint8_t *ram, const VRing *v, bool in_order);
void bench_add(BenchRing *r, unsigned chain, unsigned n); /* n requests, one index update */
unsigned bench_reap(BenchRing *r);                        /* how many came back */
void bare_init(BareRing *b, const BenchRing *r);
/* Uses what is available; each: every request is shown at once, else all of them at the end. True:
 * there was some. */
bool bare_turn(BareRing *b, bool each);
