/* Worker threads for blocking work; the result is posted back to the submitting loop. */
#pragma once

#include "util/loop.h"

typedef struct PoolJob {
    /* In a worker, NULL: none. The work where it needs no wait; false: it would, and nothing is
     * done. Short: those behind it stand in line. */
    bool (*quick)(struct PoolJob *j);
    void (*work)(struct PoolJob *j); /* in a worker */
    void (*done)(struct PoolJob *j); /* in the submitting loop */
    Loop *loop;
    struct PoolJob *next;
} PoolJob; /* embedded in the request */
/* from j->loop's thread; the pool is the process's, threads start on demand (max 64) */
void pool_submit(PoolJob *j);
