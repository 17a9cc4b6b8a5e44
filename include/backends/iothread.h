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
