/* null-co and null-aio: a disk that forgets; for tests and measurements. Tested by test-block. */
#include "block-internal.h"

#include <string.h>

typedef struct NullOpts {
    uint64_t size, latency_ns;
    bool read_zeroes;
} NullOpts;
static const PropSpec null_props[] = {
    PROP_SIZE("size", NullOpts, size, 1ull << 30, "bytes"),
    PROP_U64("latency-ns", NullOpts, latency_ns, 0, "how long a request takes"),
    PROP_BOOL("read-zeroes", NullOpts, read_zeroes, false,
        "reads give zeroes instead of leaving memory alone"),
    PROP_END,
};

static bool null_open(BlkNode *n, GError **err)
{
    const NullOpts *o = n->opts;

    if ((int64_t)o->latency_ns < 0) {
        return err_set(err, "latency-ns is invalid");
    }
    if ((int64_t)o->size < 0) {
        return err_set(
            err, "Value '%lld' is out of range for parameter 'size'", (long long)o->size);
    }

    n->size = o->size;
    n->filename = g_strconcat(n->drv->name, "://", NULL);
    n->instant = !o->latency_ns;
    return true;
}

static void null_close(G_GNUC_UNUSED BlkNode *n) {}

static void null_wait(const BlkNode *n)
{
    const NullOpts *o = n->opts;

    if (o->latency_ns) {
        g_usleep((o->latency_ns + 999) / 1000); /* in a worker */
    }
}

static void null_fill(const BlkNode *n, const struct iovec *iov, unsigned niov)
{
    const NullOpts *o = n->opts;

    for (unsigned i = 0; o->read_zeroes && i < niov; i++) {
        memset(iov[i].iov_base, 0, iov[i].iov_len);
    }
}

static int null_preadv(BlkNode *n, G_GNUC_UNUSED uint64_t off, const struct iovec *iov,
    unsigned niov, G_GNUC_UNUSED uint64_t len)
{
    null_wait(n);
    null_fill(n, iov, niov);
    return 0;
}

static int null_pwritev(BlkNode *n, G_GNUC_UNUSED uint64_t off,
    G_GNUC_UNUSED const struct iovec *iov, G_GNUC_UNUSED unsigned niov, G_GNUC_UNUSED uint64_t len,
    G_GNUC_UNUSED unsigned flags)
{
    null_wait(n);
    return 0;
}

static int null_flush(BlkNode *n)
{
    null_wait(n);
    return 0;
}

static int null_discard(BlkNode *n, G_GNUC_UNUSED uint64_t off, G_GNUC_UNUSED uint64_t len)
{
    null_wait(n);
    return 0;
}

static int null_zeroes(BlkNode *n, G_GNUC_UNUSED uint64_t off, G_GNUC_UNUSED uint64_t len,
    G_GNUC_UNUSED unsigned flags)
{
    null_wait(n);
    return 0;
}

static int null_truncate(G_GNUC_UNUSED BlkNode *n, uint64_t size)
{
    n->size = size;
    return 0;
}

static void null_now(BlkNode *n, const BlkReq *r)
{
    if (r->op == BLK_READ) {
        null_fill(n, r->iov, r->niov);
    }
}

/* Without latency there is nothing to wait for: done at once, no worker. */
static BlkTaken null_submit(BlkNode *n, BlkReq *r)
{
    const NullOpts *o = n->opts;

    if (o->latency_ns) {
        return BLK_NOT_TAKEN;
    }
    if (r->op == BLK_READ) {
        null_fill(n, r->iov, r->niov);
    }
    return BLK_TAKEN_DONE;
}

static int64_t null_allocated(G_GNUC_UNUSED BlkNode *n)
{
    return 0;
}

static const char *const null_strong[] = { "size", "read-zeroes", NULL };

#define NULL_DRIVER(var, nm)                                                                       \
    const BlkDriver var = { .name = nm,                                                            \
        .help = "a disk that forgets",                                                             \
        .props = null_props,                                                                       \
        .opts_size = sizeof(NullOpts),                                                             \
        .protocol = true,                                                                          \
        .strong = null_strong,                                                                     \
        .allocated = null_allocated,                                                               \
        .open = null_open,                                                                         \
        .close = null_close,                                                                       \
        .preadv = null_preadv,                                                                     \
        .pwritev = null_pwritev,                                                                   \
        .flush = null_flush,                                                                       \
        .discard = null_discard,                                                                   \
        .write_zeroes = null_zeroes,                                                               \
        .truncate = null_truncate,                                                                 \
        .submit = null_submit,                                                                     \
        .now = null_now }
NULL_DRIVER(blk_null_co, "null-co");
NULL_DRIVER(blk_null_aio, "null-aio");
