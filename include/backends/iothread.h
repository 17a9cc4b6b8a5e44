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
/* iothread=ID: the field keeps the id. */
extern const PropType prop_iothread_link;
#define PROP_IOTHREAD(n, T, f, h)                                                                  \
    {                                                                                              \
        .name = (n), .type = &prop_iothread_link, .offset = PROP_AT(T, f, char *), .bit = -1,      \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
