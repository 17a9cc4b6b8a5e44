/*
 * io_uring on a loop: one ring for each loop that asks. Operations queued in a turn go to the
 * kernel together before the loop sleeps; done() runs in the loop, never inside uring_queue().
 * io_uring(7).
 */
#pragma once

#include "util/loop.h"

#include <sys/uio.h>

typedef struct Uring Uring;
typedef struct UringOp UringOp;
struct UringOp {                        /* embedded in the caller's request */
    void (*done)(UringOp *op, int res); /* the system call's result, or -errno */
};
typedef enum UringCode { URING_READV, URING_WRITEV, URING_FDATASYNC } UringCode;

/* Whether this host (and this build) has it. False: why not. Any thread. */
bool uring_available(GError **err);
/* The loop's ring, made by the first call; own thread. NULL: the host refuses another one. */
Uring *uring_of(Loop *l);
/* Queues one operation; iov must stay until done(). False: the ring has no room, nothing queued. */
bool uring_queue(Uring *u, UringOp *op, UringCode code, int fd, const struct iovec *iov,
    unsigned niov, uint64_t off);

/*
 * Reads or writes of one descriptor, by one system call and in their order; all have ended when it
 * returns, and none waits. For packets, which have no sendmmsg(2) but on sockets.
 */
typedef struct UringBatch UringBatch;
UringBatch *uring_batch_new(unsigned max); /* NULL: the host refuses, or it was not built in */
void uring_batch_free(UringBatch *b);      /* NULL is fine */
/* iov[i] is operation i, at most max of them; ret[i]: bytes or -errno, -EOPNOTSUPP: not with such a
 * descriptor. chain: behind one that fails none is tried, they end with -ECANCELED. code: not
 * URING_FDATASYNC. */
void uring_batch_run(UringBatch *b, UringCode code, int fd, const struct iovec *iov, unsigned n,
    bool chain, int *ret);
