/* -object iothread: a thread with a loop of its own, for the data path of devices. */
#pragma once

#include "object/obj.h"
#include "util/loop.h"

typedef struct IoThread {
    Obj obj;
    int64_t poll_max_ns, poll_grow, poll_shrink, aio_max_batch, pool_min, pool_max;
    Loop *loop;
    GThread *thread;
    int tid;
} IoThread;

extern const ObjClass iothread_class;
/* The -object iothread of that id, with a reference for the caller; it cannot be deleted meanwhile.
 * NULL: QEMU's texts. */
IoThread *iothread_find(const Obj *objects, const char *id, GError **err);
/* What a device says of its queues' threads: iothread=ID, or iothread-vq-mapping=[{"iothread": ID,
 * "vqs": [...]}, ...], and what came of it. */
typedef struct IoThreadUse {
    char *id;
    Json *map; /* checked by prop_iothread_map */
    IoThread **thread;
    unsigned nthreads;
    Loop **loop; /* of each queue; NULL: neither was said */
    unsigned nloops;
} IoThreadUse;
/* Finds and keeps the threads for nqueues queues. False: QEMU's texts, nothing is kept. */
bool iothread_use_take(IoThreadUse *u, const Obj *objects, unsigned nqueues, GError **err);
void iothread_use_release(IoThreadUse *u);

/* iothread=ID: the field keeps the id. */
extern const PropType prop_iothread_link, prop_iothread_map;
#define PROP_IOTHREAD_USE(T, f) PROP_IOTHREAD_USE_AS("", T, f)
#define PROP_IOTHREAD_USE_AS(prefix, T, f)                                                         \
    PROP_IOTHREAD(prefix "iothread", T, f.id, "thread of the data path"),                          \
    {                                                                                              \
        .name = prefix "iothread-vq-mapping", .type = &prop_iothread_map,                          \
        .offset = PROP_AT(T, f.map, Json *), .bit = -1, .flags = PROP_NO_DEFAULT,                  \
        .help = "threads of single queues, a JSON list"                                            \
    }
#define PROP_IOTHREAD(n, T, f, h)                                                                  \
    {                                                                                              \
        .name = (n), .type = &prop_iothread_link, .offset = PROP_AT(T, f, char *), .bit = -1,      \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
