/* Sources of random bytes: -object rng-random, rng-builtin, rng-egd. Main loop. */
#pragma once

#include "object/obj.h"
#include "util/loop.h"

typedef struct RngBackend RngBackend;
/* One who waits for bytes; embedded in the device. fn is called once. */
typedef struct RngWaiter {
    void (*fn)(struct RngWaiter *w);
    struct RngWaiter *next;
    bool queued;
} RngWaiter;

/* ObjClass.ops of a source. */
typedef struct RngOps {
    size_t (*read)(RngBackend *b, void *buf, size_t len); /* what there is now; 0: nothing */
    void (*wait)(RngBackend *b); /* somebody waits: rng_came() is to follow; NULL: watch says so */
} RngOps;

struct RngBackend {
    Obj obj;
    LoopFd *watch;
    RngWaiter *waiters;
};

size_t rng_read(RngBackend *b, void *buf, size_t len);
/* w->fn runs when rng_read() may give something again */
void rng_wait(RngBackend *b, RngWaiter *w);
void rng_came(RngBackend *b);                 /* for sources: there is something */
void rng_forget(RngBackend *b, RngWaiter *w); /* not waiting any more; fine when it was not */
extern const ObjClass rng_backend_class, rng_builtin_class, rng_random_class, rng_egd_class;
