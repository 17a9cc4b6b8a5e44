/* Virtqueues as a device sees them (VIRTIO 1.4, 2.6-2.8): the core runs the ring, the device
 * answers one request at a time. */
#pragma once

#include "memory/dma.h"
#include "util/giov.h"
#include "util/le.h"

typedef struct VirtioDev VirtioDev;
typedef struct VirtQueue VirtQueue;

/*
 * One chain of buffers, taken from the driver and not yet given back.
 * Whoever holds the pointer owns it. vq_push() and vq_drop() take it away.
 */
typedef struct VqElem {
    VirtQueue *vq;
    GIov out;            /* device-readable part */
    GIov in;             /* device-writable part */
    size_t in2_size;     /* used.len is derived from sizes and cursors */
    struct VqElem *next; /* NULL; free for the holder's lists */
    GIov in2;            /* only after vq_split_in() */
    size_t in_size;
    uint16_t id, ndescs; /* ring bookkeeping */
} VqElem;

typedef enum VqVerdict {
    VQ_DONE, /* finished: the core pushes it */
    VQ_HELD, /* the device keeps it and calls vq_push() later */
    VQ_STOP, /* not taken: stays first in line until vq_resume() */
} VqVerdict;

typedef struct VqSpec {
    const char *name;
    uint16_t size;                                  /* default; the queue-size property overrides */
    size_t elem_size;                               /* the device's request, VqElem first */
    VqVerdict (*request)(VirtioDev *d, VqElem *e);  /* the driver sends: one call per chain */
    void (*batch_end)(VirtioDev *d, VirtQueue *vq); /* optional: submit what was gathered */
    void (*refilled)(VirtioDev *d, VirtQueue *vq);  /* the device sends: buffers arrived */
    bool unclean; /* nobody zeroes the device's request behind the VqElem */
} VqSpec;

/* Data and status, or response and data: two cursors. False: fewer than `at` bytes. */
bool vq_split_in(VqElem *e, size_t at) G_GNUC_WARN_UNUSED_RESULT;

VqElem *vq_pop(VirtQueue *vq); /* NULL: none, or the queue is broken */
/* enough, or none */
unsigned vq_pop_bytes(VirtQueue *vq, size_t bytes, VqElem **ret, unsigned max);
void vq_push(VqElem *e);
void vq_push_all(VqElem *const *e, unsigned n); /* one index update for all of them */
void vq_drop(VqElem *e);                        /* on reset: forget, publish nothing */
void vq_resume(VirtQueue *vq);                  /* after VQ_STOP */
void vq_notify(VirtQueue *vq);                  /* interrupt, if the driver wants one */
/* The same before the loop sleeps: one decision for all that finish in this turn. */
void vq_notify_soon(VirtQueue *vq);
/* True: vq_notify() waits, and so does all else that would tell the driver of what is used, until
 * false. */
void vq_hold_notify(VirtQueue *vq, bool hold);
void vq_fail(VirtQueue *vq, const char *fmt, ...) G_GNUC_PRINTF(2, 3); /* sets DEVICE_NEEDS_RESET */
unsigned vq_index(const VirtQueue *vq);
VirtioDev *vq_dev(const VirtQueue *vq);
/* Its thread owns the queue and the chains taken from it; VirtioOps.queue_loop chose it. */
Loop *vq_loop(const VirtQueue *vq);
/* enabled and not broken, DRIVER_OK (or legacy use) */
bool vq_ready(const VirtQueue *vq);
/* Any thread: the driver enabled it, and it is not broken; whether or not the device runs. */
bool vq_open(const VirtQueue *vq);
/*
 * For a loop that looks by itself instead of sleeping: between begin and end the driver is not
 * asked to notify. vq_poll() takes what is there; true: there was something. vq_poll_end() true:
 * something came meanwhile and is on its way. Queues with a request handler; in the loop.
 */
void vq_poll_begin(VirtQueue *vq);
bool vq_poll(VirtQueue *vq);
bool vq_poll_end(VirtQueue *vq);
/* The driver has made nothing available. True also asks the driver for its next notification, so
 * that refilled() follows. */
bool vq_empty(VirtQueue *vq);
uint16_t vq_size(const VirtQueue *vq); /* as the driver chose it; 0: not enabled */
