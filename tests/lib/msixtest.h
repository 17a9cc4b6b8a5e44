/*
 * Masks and changes of MSI-X against a device at work (PCI 3.0, 6.8.3.4-6.8.3.5): each request must
 * give exactly one interrupt, at the vector and message in force, pending while masked; runs in the
 * bare-metal guest and over qtest.
 */
#pragma once

#include "tests/lib/vdriver.h"

enum { MSIXTEST_MESSAGES = 4 };
typedef struct MsixTest {
    VDriver *d; /* MSI-X enabled, queue set up with size 4 or more, DRIVER_OK */
    unsigned queue;
    unsigned vectors; /* 0..vectors-1 may be used */
    /* Puts one request into the ring (no kick). */
    void (*submit)(struct MsixTest *t);
    /* What makes message m: 0..MSIXTEST_MESSAGES - 1 */
    void (*message)(struct MsixTest *t, unsigned m, uint32_t *ret_addr, uint32_t *ret_data);
    /* Interrupts by each message since the last call. */
    void (*took)(struct MsixTest *t, unsigned ret[MSIXTEST_MESSAGES]);
    /* state */
    unsigned vector, current; /* the queue's vector and its message */
    uint64_t table, pba;
    uint32_t random;
    unsigned moves, races, races_pending; /* what happened, for the report */
} MsixTest;

void msixtest_init(MsixTest *t);
void msixtest_step(MsixTest *t); /* one operation */
