/* io_uring on a loop: submission once a turn, completion by the ring's descriptor or by polling.
 * Batches: without a loop, at once. Tested by test-uring. */
#include "util/uring.h"

#include "config-host.h"
#include "loop-internal.h"
#include "util/err.h"

#ifdef CONFIG_URING
#include <errno.h>
#include <liburing.h>
#include <string.h>

enum { ENTRIES = 256 };

struct Uring {
    struct io_uring ring;
    Loop *loop;
    LoopFd *watch;
    LoopIdle submit;
    LoopPoll poll;
    unsigned queued; /* prepared, the kernel does not know yet */
};

static bool reap(Uring *u)
{
    struct io_uring_cqe *cqe;
    bool any = false;

    while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        UringOp *op = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&u->ring, cqe);
        any = true;
        op->done(op, res);
    }
    return any;
}

static bool poll_ring(void *opaque)
{
    return reap(opaque);
}

static void ring_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    reap(opaque);
}

/* False: no memory for more at the moment, what is under way has to end first. */
static bool submit(Uring *u)
{
    while (u->queued) {
        int n = io_uring_submit(&u->ring);

        if (n > 0) {
            u->queued -= MIN((unsigned)n, u->queued);
        } else if (n == -EAGAIN || n == -EBUSY) {
            return false;
        } else if (n < 0 && n != -EINTR) {
            g_error("io_uring_submit: %s", g_strerror(-n));
        }
    }
    return true;
}

static void submit_and_reap(void *opaque)
{
    Uring *u = opaque;

    while (!submit(u)) {
        if (!reap(u)) {
            struct __kernel_timespec ms = { .tv_nsec = 1000000 };
            struct io_uring_cqe *cqe;

            io_uring_wait_cqe_timeout(&u->ring, &cqe, &ms);
        }
    }
    reap(u); /* what the page cache had is there already */
}

static void uring_fini(Loop *l)
{
    Uring *u = l->uring;

    l->uring = NULL;
    loop_fd_del(u->watch);
    loop_poll_del(l, &u->poll);
    io_uring_queue_exit(&u->ring);
    g_free(u);
}

bool uring_available(GError **err)
{
    struct io_uring r;
    int rc = io_uring_queue_init(2, &r, 0);

    if (rc < 0) {
        return err_set(err, "Unable to use linux io_uring: %s", g_strerror(-rc));
    }
    io_uring_queue_exit(&r);
    return true;
}

Uring *uring_of(Loop *l)
{
    if (l->uring || l->no_uring) {
        return l->uring;
    }
    loop_assert(l);
    Uring *u = g_new0(Uring, 1);

    if (io_uring_queue_init(ENTRIES, &u->ring, 0) < 0) {
        l->no_uring = true; /* asked once */
        g_free(u);
        return NULL;
    }
    u->loop = l;
    u->submit = (LoopIdle){ .fn = submit_and_reap, .opaque = u };
    u->poll = (LoopPoll){ .poll = poll_ring, .opaque = u };
    u->watch = loop_fd_add(l, u->ring.ring_fd, EPOLLIN, ring_readable, u);
    loop_poll_add(l, &u->poll);
    l->uring = u;
    l->fini = uring_fini;
    return u;
}

bool uring_queue(Uring *u, UringOp *op, UringCode code, int fd, const struct iovec *iov,
    unsigned niov, uint64_t off)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (!sqe) {
        submit(u);
        sqe = io_uring_get_sqe(&u->ring);
        if (!sqe) {
            return false;
        }
    }
    switch (code) {
    case URING_READV:
        io_uring_prep_readv(sqe, fd, iov, niov, off);
        break;
    case URING_WRITEV:
        io_uring_prep_writev(sqe, fd, iov, niov, off);
        break;
    case URING_FDATASYNC:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
    u->queued++;
    if (!u->submit.queued) {
        loop_idle(u->loop, &u->submit);
    }
    return true;
}

struct UringBatch {
    struct io_uring ring;
    unsigned max;
};

UringBatch *uring_batch_new(unsigned max)
{
    UringBatch *b = g_new0(UringBatch, 1);

    b->max = max;
    if (io_uring_queue_init(max, &b->ring, 0) < 0) {
        g_free(b);
        return NULL;
    }
    return b;
}

void uring_batch_free(UringBatch *b)
{
    if (b) {
        io_uring_queue_exit(&b->ring);
        g_free(b);
    }
}

/* Takes what has ended; returns how many. */
static unsigned batch_reap(UringBatch *b, int *ret)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&b->ring, head, cqe)
    {
        ret[io_uring_cqe_get_data64(cqe)] = cqe->res;
        n++;
    }
    io_uring_cq_advance(&b->ring, n);
    return n;
}

void uring_batch_run(UringBatch *b, UringCode code, int fd, const struct iovec *iov, unsigned n,
    bool chain, int *ret)
{
    g_assert(n <= b->max && code != URING_FDATASYNC);
    for (unsigned i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring); /* the last batch left none behind */

        io_uring_prep_rw(code == URING_READV ? IORING_OP_READ : IORING_OP_WRITE, sqe, fd,
            iov[i].iov_base, (unsigned)iov[i].iov_len, 0);
        sqe->rw_flags = RWF_NOWAIT; /* else it would wait for the descriptor to get ready */
        io_uring_sqe_set_data64(sqe, i);
        sqe->flags |= chain && i + 1 < n ? IOSQE_IO_LINK : 0;
    }
    for (unsigned left = n; left;) {
        int rc = io_uring_submit_and_wait(&b->ring, left);

        /* EAGAIN, EBUSY: the kernel has no memory just now. */
        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
            g_error("io_uring_submit_and_wait: %s", g_strerror(-rc));
        }
        left -= batch_reap(b, ret);
    }
}
#else
bool uring_available(GError **err)
{
    return err_set(err, "aio=io_uring was not built in: liburing is missing");
}

Uring *uring_of(G_GNUC_UNUSED Loop *l)
{
    return NULL;
}

bool uring_queue(G_GNUC_UNUSED Uring *u, G_GNUC_UNUSED UringOp *op, G_GNUC_UNUSED UringCode code,
    G_GNUC_UNUSED int fd, G_GNUC_UNUSED const struct iovec *iov, G_GNUC_UNUSED unsigned niov,
    G_GNUC_UNUSED uint64_t off)
{
    return false;
}

UringBatch *uring_batch_new(G_GNUC_UNUSED unsigned max)
{
    return NULL;
}

void uring_batch_free(G_GNUC_UNUSED UringBatch *b) {}

void uring_batch_run(G_GNUC_UNUSED UringBatch *b, G_GNUC_UNUSED UringCode code,
    G_GNUC_UNUSED int fd, G_GNUC_UNUSED const struct iovec *iov, G_GNUC_UNUSED unsigned n,
    G_GNUC_UNUSED bool chain, G_GNUC_UNUSED int *ret)
{
    g_assert_not_reached(); /* nobody has one */
}
#endif
