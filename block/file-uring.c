/* The fast path of raw files: reads, writes and flushes by io_uring on the submitting loop
 * (io_uring(7)). What it does not do as a whole goes to the worker pool. Tested by test-uring. */
#include "block-internal.h"

#include <errno.h>
#include <stdatomic.h>

enum { IOV_LIMIT = 1024 };

static BlkReq *req_of(UringOp *op)
{
    return (BlkReq *)((char *)op - offsetof(BlkReq, op_uring));
}

static void rw_done(UringOp *op, int res)
{
    BlkReq *r = req_of(op);

    if (r->op == BLK_WRITE) {
        blk_file_write_end(r->taker->state);
    }
    if (res >= 0 && (uint64_t)res == r->len) {
        blk_req_finish(r, 0);
    } else if (res >= 0 || res == -EINTR || res == -EAGAIN || res == -EINVAL) {
        /* Short: the end of the file, a signal, a limit. Reading or writing all of it again by
         * system calls is correct and rare. */
        blk_req_to_pool(r);
    } else {
        blk_req_finish(r, res);
    }
}

static void flush_done(UringOp *op, int res)
{
    BlkReq *r = req_of(op);

    if (res == -EINTR || res == -EAGAIN) {
        blk_req_to_pool(r);
        return;
    }
    blk_req_finish(r, blk_file_flushed(r->taker->state, MIN(res, 0)));
}

BlkTaken blk_file_submit(BlkNode *n, BlkReq *r)
{
    BlkFile *f = n->state;
    bool flush = r->op == BLK_FLUSH;

    if (!f->uring || (!flush && r->op != BLK_READ && r->op != BLK_WRITE)) {
        return BLK_NOT_TAKEN;
    }
    if (!flush && (r->niov > IOV_LIMIT || r->len > INT32_MAX ||
                      (n->align > 1 && !blk_file_aligned(n, r->off, r->iov, r->niov, r->len)))) {
        return BLK_NOT_TAKEN;
    }
    if (flush && (n->cache_no_flush || atomic_load_explicit(&f->lost, memory_order_relaxed))) {
        return BLK_NOT_TAKEN;
    }
    Uring *u = uring_of(r->loop);

    if (!u || (r->op == BLK_WRITE && !blk_file_write_begin(f))) {
        return BLK_NOT_TAKEN;
    }
    static const UringCode code[] = {
        [BLK_READ] = URING_READV, [BLK_WRITE] = URING_WRITEV, [BLK_FLUSH] = URING_FDATASYNC
    };

    r->taker = n;
    r->op_uring.done = flush ? flush_done : rw_done;
    if (!uring_queue(u, &r->op_uring, code[r->op], f->fd, r->iov, r->niov, r->off)) {
        if (r->op == BLK_WRITE) {
            blk_file_write_end(f);
        }
        return BLK_NOT_TAKEN;
    }
    return BLK_TAKEN;
}
