/* Requests: bounds, the path to a driver, write-through, counting, drain. Blocking drivers run in
 * the worker pool. Tested by test-block, test-virtio-blk. */
#include "block-internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static bool all_zero(const struct iovec *iov, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const unsigned char *p = iov[i].iov_base;
        size_t len = iov[i].iov_len;
        if (len && (p[0] || memcmp(p, p + 1, len - 1))) {
            return false;
        }
    }
    return true;
}

int blk_node_run(BlkNode *n, BlkReq *r)
{
    int rc = -ENOTSUP;

    switch (r->op) {
    case BLK_READ:
        return n->drv->preadv(n, r->off, r->iov, r->niov, r->len);
    case BLK_WRITE:
        if (n->detect_zeroes && n->drv->write_zeroes && all_zero(r->iov, r->niov)) {
            rc = n->drv->write_zeroes(n, r->off, r->len, n->discard_unmap ? BLK_MAY_UNMAP : 0);
        }
        if (rc == -ENOTSUP) {
            rc = n->drv->pwritev(n, r->off, r->iov, r->niov, r->len, r->flags);
        }
        break;
    case BLK_FLUSH:
        return blk_node_flush(n);
    case BLK_DISCARD:
        /* A hint: where the host cannot or must not, nothing happens. */
        rc = n->discard_unmap && n->drv->discard ? n->drv->discard(n, r->off, r->len) : 0;
        return rc == -ENOTSUP ? 0 : rc;
    case BLK_WRITE_ZEROES:
        if (n->drv->write_zeroes) {
            rc = n->drv->write_zeroes(n, r->off, r->len,
                n->discard_unmap ? r->flags : r->flags & ~(unsigned)BLK_MAY_UNMAP);
        }
        if (rc == -ENOTSUP) {
            rc = blk_node_zero_by_write(n, r->off, r->len);
        }
        break;
    }
    if (rc == 0 && (r->flags & BLK_FUA || !blk_write_cache(r->blk))) {
        rc = blk_node_flush(n);
    }
    return rc;
}

/* Only the lane's loop writes it; others look now and then. */
static inline void count(uint64_t *n, uint64_t by)
{
    __atomic_store_n(n, __atomic_load_n(n, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

static void account(BlkLane *l, const BlkReq *r)
{
    if (r->error) {
        count(&l->failed[r->op], 1 + r->joined);
    } else {
        count(&l->ops[r->op], 1 + r->joined);
        count(&l->bytes[r->op], r->len);
        count(&l->merged[r->op], r->joined);
        if (r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES) {
            blk_node_wrote(r->blk->node, r->off + r->len);
        }
    }
    if (!r->error || r->blk->account_failed) {
        int64_t now = clock_ns(CLOCK_KIND_REALTIME);

        count(&l->ns[r->op], (uint64_t)(now - r->start_ns) * (1 + r->joined));
        __atomic_store_n(&l->last_ns, now, __ATOMIC_RELAXED);
    }
}

void blk_count_invalid(Blk *b, unsigned lane, BlkOp op)
{
    BlkLane *l = &b->lane[lane];

    count(&l->invalid[op], 1);
    if (b->account_invalid) {
        __atomic_store_n(&l->last_ns, clock_ns(CLOCK_KIND_REALTIME), __ATOMIC_RELAXED);
    }
}

void blk_node_wrote(BlkNode *n, uint64_t end)
{
    uint64_t was = __atomic_load_n(&n->highest, __ATOMIC_RELAXED);

    while (was < end && !__atomic_compare_exchange_n(&n->highest, &was, end, /* weak= */ true,
                            __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

uint64_t blk_node_highest(const BlkNode *n)
{
    return __atomic_load_n(&n->highest, __ATOMIC_RELAXED);
}

static void req_finish(BlkReq *r)
{
    BlkLane *l = &r->blk->lane[r->lane];

    account(l, r);
    /* Pairs with the acquire in blk_drain(): what done() wrote is seen there. */
    r->done(r);
    __atomic_fetch_sub(&l->in_flight, 1, __ATOMIC_RELEASE);
}

void blk_req_finish(BlkReq *r, int error)
{
    r->error = error;
    req_finish(r);
}

BlkCount blk_count(const Blk *b, BlkOp op)
{
    BlkCount c = { 0 };

    for (unsigned i = 0; i < b->nlanes; i++) {
        const BlkLane *l = &b->lane[i];

        c.ops += __atomic_load_n(&l->ops[op], __ATOMIC_RELAXED);
        c.bytes += __atomic_load_n(&l->bytes[op], __ATOMIC_RELAXED);
        c.failed += __atomic_load_n(&l->failed[op], __ATOMIC_RELAXED);
        c.invalid += __atomic_load_n(&l->invalid[op], __ATOMIC_RELAXED);
        c.merged += __atomic_load_n(&l->merged[op], __ATOMIC_RELAXED);
        c.ns += __atomic_load_n(&l->ns[op], __ATOMIC_RELAXED);
    }
    return c;
}

int64_t blk_last_ns(const Blk *b)
{
    int64_t last = 0;

    for (unsigned i = 0; i < b->nlanes; i++) {
        last = MAX(last, __atomic_load_n(&b->lane[i].last_ns, __ATOMIC_RELAXED));
    }
    return last;
}

static void job_work(PoolJob *j)
{
    BlkReq *r = (BlkReq *)((char *)j - offsetof(BlkReq, job));
    r->error = blk_node_run(r->at, r);
}

static bool job_quick(PoolJob *j)
{
    BlkReq *r = (BlkReq *)((char *)j - offsetof(BlkReq, job));

    r->error = 0;
    return r->at->drv->preadv_quick(r->at, r->off, r->iov, r->niov, r->len);
}

static void job_done(PoolJob *j)
{
    req_finish((BlkReq *)((char *)j - offsetof(BlkReq, job)));
}

static void req_idle(void *opaque)
{
    req_finish(opaque);
}

void blk_req_done(BlkReq *r, int error)
{
    r->error = error;
    r->idle = (LoopIdle){ .fn = req_idle, .opaque = r };
    loop_idle(r->loop, &r->idle);
}

void blk_req_to_pool(BlkReq *r)
{
    bool quick = r->op == BLK_READ && r->at->drv->preadv_quick;

    r->job = (PoolJob){
        .quick = quick ? job_quick : NULL, .work = job_work, .done = job_done, .loop = r->loop
    };
    pool_submit(&r->job);
}

/* What is wrong with a request before any driver sees it: 0 or -errno. */
static int req_check(const Blk *b, const BlkReq *r)
{
    uint64_t end;

    if (!b->node) {
        return -ENOMEDIUM;
    }
    if (r->op == BLK_FLUSH) {
        return 0;
    }
    if (__builtin_add_overflow(r->off, r->len, &end) || end > b->node->size) {
        return -EIO;
    }
    return r->op != BLK_READ && b->node->read_only ? -EACCES : 0;
}

BlkTaken blk_req_pass(BlkReq *r, BlkNode *n)
{
    r->at = n;
    BlkTaken how = n->drv->submit ? n->drv->submit(n, r) : BLK_NOT_TAKEN;

    if (how != BLK_NOT_TAKEN) {
        return how;
    }
    blk_req_to_pool(r);
    return BLK_TAKEN;
}

bool blk_req_enter(BlkReq *r, ThrottleMember *m, void (*go)(BlkWait *w))
{
    r->wait = (BlkWait){ .go = go, .loop = r->loop, .bytes = r->len, .write = r->op != BLK_READ };
    r->waits = true;
    bool now = throttle_enter(m, &r->wait);

    if (now) {
        r->waits = false;
    }
    return now;
}

bool blk_cancel(BlkReq *r)
{
    if (!r->waits || !throttle_cancel(&r->wait)) {
        return false;
    }
    r->waits = false;
    blk_req_done(r, -ECANCELED);
    return true;
}

/* The way to the drivers, when nothing keeps it from them any more. */
static void route(BlkReq *r)
{
    Blk *b = r->blk;
    BlkNode *n = b->node;
    bool plain =
        !n->detect_zeroes && !(r->flags & BLK_FUA) && (r->op == BLK_READ || blk_write_cache(b));

    r->error = 0;
    r->at = n;
    switch (plain && n->drv->submit ? n->drv->submit(n, r) : BLK_NOT_TAKEN) {
    case BLK_TAKEN:
        return;
    case BLK_TAKEN_DONE:
        blk_req_done(r, r->error);
        return;
    case BLK_NOT_TAKEN:
        blk_req_to_pool(r);
        return;
    }
}

static void limit_go(BlkWait *w)
{
    BlkReq *r = (BlkReq *)((char *)w - offsetof(BlkReq, wait));

    r->waits = false;
    route(r);
}

static bool has_limits(const Blk *b)
{
    /* Pairs with throttle_join(). */
    return __atomic_load_n(&b->limits.g, __ATOMIC_ACQUIRE) != NULL;
}

void blk_submit(Blk *b, BlkReq *r)
{
    r->blk = b;
    r->loop = loop_current();
    r->start_ns = clock_ns(CLOCK_KIND_REALTIME);
    g_assert(r->loop);
    __atomic_fetch_add(&b->lane[r->lane].in_flight, 1, __ATOMIC_RELAXED);
    int error = req_check(b, r);

    if (error || (r->op != BLK_FLUSH && !r->len)) {
        blk_req_done(r, error);
        return;
    }
    r->waits = false;
    if (has_limits(b) && (r->op <= BLK_WRITE || r->op == BLK_WRITE_ZEROES) &&
        !blk_req_enter(r, &b->limits, limit_go)) {
        return;
    }
    route(r);
}

bool blk_submit_now(Blk *b, BlkReq *r)
{
    BlkNode *n = b->node;
    uint64_t end;

    if (!n || !n->instant || has_limits(b) || !n->drv->now || n->detect_zeroes ||
        r->op > BLK_WRITE || r->flags || __builtin_add_overflow(r->off, r->len, &end) ||
        end > n->size) {
        return false;
    }
    if (r->op == BLK_WRITE && (n->read_only || !blk_write_cache(b))) {
        return false;
    }
    n->drv->now(n, r);
    BlkLane *l = &b->lane[r->lane];

    count(&l->ops[r->op], 1);
    count(&l->bytes[r->op], r->len);
    if (r->op == BLK_WRITE) {
        blk_node_wrote(n, end);
    }
    return true;
}

unsigned blk_in_flight(const Blk *b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < b->nlanes; i++) {
        n += __atomic_load_n(&b->lane[i].in_flight, __ATOMIC_ACQUIRE);
    }
    return n;
}

static void drain_here(void *opaque)
{
    const BlkLane *l = opaque;

    while (__atomic_load_n(&l->in_flight, __ATOMIC_ACQUIRE)) {
        loop_turn(loop_current(), /* block= */ true);
    }
}

/* Nobody waits under limits of the nodes from n down. */
static void drain_nodes(BlkNode *n, bool on)
{
    for (; n; n = n->file) {
        if (n->drv->drain) {
            n->drv->drain(n, on);
        }
        if (n->backing) {
            drain_nodes(n->backing, on);
        }
    }
}

static void drain_lanes(Blk *b, unsigned from, unsigned to)
{
    throttle_bypass(&b->limits, true);
    drain_nodes(b->node, true);
    for (unsigned i = from; i < to; i++) {
        loop_call(b->lane[i].loop ? b->lane[i].loop : loop_main(), drain_here, &b->lane[i]);
    }
    drain_nodes(b->node, false);
    throttle_bypass(&b->limits, false);
}

void blk_drain(Blk *b)
{
    if (blk_in_flight(b)) {
        drain_lanes(b, 0, b->nlanes);
    }
}

void blk_drain_lane(Blk *b, unsigned lane)
{
    if (__atomic_load_n(&b->lane[lane].in_flight, __ATOMIC_ACQUIRE)) {
        drain_lanes(b, lane, lane + 1);
    }
}

void blk_lanes_new(Blk *b, Loop *const *l, unsigned n)
{
    BlkLane *lane = g_aligned_alloc0(n, sizeof *lane, _Alignof(BlkLane));

    for (unsigned i = 0; i < n; i++) {
        lane[i].loop = l[i];
    }
    for (unsigned op = 0; op < BLK_OPS && b->lane; op++) { /* what was counted stays */
        BlkCount c = blk_count(b, (BlkOp)op);

        lane[0].ops[op] = c.ops;
        lane[0].bytes[op] = c.bytes;
        lane[0].failed[op] = c.failed;
        lane[0].invalid[op] = c.invalid;
        lane[0].merged[op] = c.merged;
        lane[0].ns[op] = c.ns;
    }
    lane[0].last_ns = blk_last_ns(b);
    g_aligned_free(b->lane);
    b->lane = lane;
    b->nlanes = n;
}

void blk_set_loops(Blk *b, Loop *const *l, unsigned n)
{
    g_assert(!blk_in_flight(b) && n);
    blk_lanes_new(b, l, n);
}

void blk_set_loop(Blk *b, Loop *l)
{
    blk_set_loops(b, &l, 1);
}
