/*
 * Virtqueues: the handler loop, the element pool and the calls devices make (VIRTIO 1.4, 2.6). What
 * a ring looks like is in vq-split.c and vq-packed.c. Covered by tests/unit/test-vq-split.c.
 */
#include "hw/virtio/vq-internal.h"
#include "util/fd.h"

#include <inttypes.h>
#include <string.h>

unsigned vq_index(const VirtQueue *vq)
{
    return vq->index;
}

VirtioDev *vq_dev(const VirtQueue *vq)
{
    return vq->d;
}

Loop *vq_loop(const VirtQueue *vq)
{
    return vq->loop;
}

uint16_t vq_size(const VirtQueue *vq)
{
    return vq->enabled ? vq->at.size : 0;
}

/* The queue is enabled and whole, and its device runs. */
static inline bool sound(const VirtQueue *vq, const VirtioDev *d)
{
    return vq->live && !atomic_load_explicit(&d->halted, memory_order_acquire);
}

static inline bool ready(const VirtQueue *vq)
{
    return vq->d && sound(vq, vq->d);
}

bool vq_ready(const VirtQueue *vq)
{
    return ready(vq);
}

bool vq_open(const VirtQueue *vq)
{
    return vq->open;
}

void vq_fail(VirtQueue *vq, const char *fmt, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    vq->broken = true;
    vq->open = false; /* two stores: clang takes no chain of atomics */
    vq->live = false;
    virtio_fail(vq->d, "queue %u (%s): %s", vq->index, vq->spec->name, why);
}

static inline bool elem_is_current(const VirtQueue *vq, VqElem *e)
{
    return vq_block_of(e)->epoch == vq->epoch && vq->enabled;
}

/* Only this thread writes vq->out. */
static inline void count_out(VirtQueue *vq, int by)
{
    unsigned n = atomic_load_explicit(&vq->out, memory_order_relaxed);

    /* Pairs with the acquire in virtio_queue_busy(). */
    atomic_store_explicit(&vq->out, n + (unsigned)by, memory_order_release);
}

/* n chains are no longer out, of them so many of an older epoch. */
static inline void release_held(VirtQueue *vq, unsigned n, unsigned strangers)
{
    VirtioDev *d = vq->d;

    vq->strangers -= strangers;
    count_out(vq, -(int)n);
    if (VQ_UNLIKELY(atomic_load_explicit(&d->reset_pending, memory_order_relaxed) |
                    atomic_load_explicit(&d->suspending, memory_order_relaxed))) {
        /* The last chain of a reset or a suspend that waits for it. Our count before the others':
         * queues may finish in several threads. */
        atomic_thread_fence(memory_order_seq_cst);
        if (!virtio_held(d)) {
            virtio_drained(d);
        }
    }
}

/* Taking chains. */
static VqElem *take_redone(VirtQueue *vq)
{
    VqBlock *b = vq->redo_head;

    vq->redo_head = b->redo_next;
    b->redone = true;
    b->plain = false;
    count_out(vq, 1);
    return vq_elem_of(b);
}

/* From first to last they are linked already. */
static inline void order_add(VirtQueue *vq, VqBlock *first, VqBlock *last)
{
    last->next = NULL;
    *(vq->order_head ? &vq->order_tail->next : &vq->order_head) = first;
    vq->order_tail = last;
}

/* One, by the long way or from the redo list. */
static VQ_COLD unsigned take_slow(VirtQueue *vq, bool in_order)
{
    VqElem *e;

    vq->plain = false;
    if (vq->redo_head) {
        e = take_redone(vq);
    } else {
        e = vq->ops->pop(vq);
        if (!e) {
            return 0;
        }
        count_out(vq, 1);
        if (in_order) {
            order_add(vq, vq_block_of(e), vq_block_of(e));
        }
    }
    vq->first = vq->last = vq_block_of(e);
    return 1;
}

/* Several at once: vq->first up to vq->last. The queue is ready. */
VQ_INLINE unsigned take_some(VirtQueue *vq, unsigned max, bool in_order)
{
    unsigned n;

    if (VQ_UNLIKELY(vq->redo_head)) {
        return take_slow(vq, in_order);
    }
    if (VQ_UNLIKELY(vq->nfree[0] < max)) {
        vq_small_blocks(vq, max);
    }
    n = vq->ops->take(vq, max);
    if (!n) {
        return VQ_UNLIKELY(vq->more) ? take_slow(vq, in_order) : 0;
    }
    vq->plain = true;
    count_out(vq, (int)n);
    if (vq->elem_extra) {
        VqBlock *b = vq->first;

        for (unsigned i = 0; i < n; i++, b = b->next) {
            memset(vq_elem_of(b) + 1, 0, vq->elem_extra);
        }
    }
    if (in_order) {
        order_add(vq, vq->first, vq->last);
    }
    return n;
}

static VqElem *take(VirtQueue *vq)
{
    return ready(vq) && take_some(vq, 1, vq_feature(vq, VIRTIO_F_IN_ORDER)) ? vq_elem_of(vq->first)
                                                                            : NULL;
}

static void order_remove(VirtQueue *vq, VqBlock *b)
{
    VqBlock **p = &vq->order_head, *prev = NULL;

    while (*p && *p != b) {
        prev = *p;
        p = &(*p)->next;
    }
    if (*p) {
        *p = b->next;
        if (vq->order_tail == b) {
            vq->order_tail = prev;
        }
    }
}

/* The chain counts as not taken. Newest first when there are several. */
static void untake(VqElem *e)
{
    VqBlock *b = vq_block_of(e);
    VirtQueue *vq = e->vq;

    if (!elem_is_current(vq, e)) {
        vq_elem_free(e);
        release_held(vq, 1, 1);
        return;
    }
    if (b->redone) {
        b->redo_next = vq->redo_head;
        vq->redo_head = b;
        if (!b->redo_next) {
            vq->redo_tail = b;
        }
        memset((char *)e + sizeof *e, 0, MAX(vq->spec->elem_size, sizeof *e) - sizeof *e);
        vq_elem_rewind(e);
    } else {
        VqRingState s = vq->ops->save(vq);
        unsigned n = vq_ring_descs(e);
        bool ok;

        vq->inflight[e->id] = false;
        order_remove(vq, b);
        vq->ring_out -= n;
        vq->ahead += n;
        if (vq->ops == &vq_packed_ops && s.avail < n) {
            s.avail = (uint16_t)(s.avail + vq->at.size);
            s.avail_wrap = !s.avail_wrap;
        }
        s.avail = (uint16_t)(s.avail - n); /* it is the youngest */
        ok = vq->ops->load(vq, s);
        g_assert(ok);
        vq_elem_free(e);
    }
    release_held(vq, 1, 0);
}

static inline void disarm(VirtQueue *vq)
{
    if (vq->armed) {
        vq->ops->arm(vq, false);
    }
}

VqElem *vq_pop(VirtQueue *vq)
{
    VqElem *e = take(vq);

    if (!e && vq->spec->refilled && vq_ready(vq)) {
        vq->ops->arm(vq, true);
        e = take(vq);
    }
    if (e && vq->spec->refilled) {
        disarm(vq);
    }
    return e;
}

unsigned vq_pop_bytes(VirtQueue *vq, size_t bytes, VqElem **ret, unsigned max)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        size_t total = 0;
        unsigned n = 0;

        while (total < bytes && n < max) {
            VqElem *e = take(vq);

            if (!e) {
                break;
            }
            total += e->in.left;
            ret[n++] = e;
        }
        if (total >= bytes && n) {
            disarm(vq);
            return n;
        }
        while (n) {
            untake(ret[--n]);
        }
        if (!vq_ready(vq)) {
            break;
        }
        vq->ops->arm(vq, true); /* then look once more: buffers may have come in between */
    }
    return 0;
}

bool vq_empty(VirtQueue *vq)
{
    if (!vq_ready(vq)) {
        return true;
    }
    if (vq->redo_head || !vq->ops->empty(vq)) {
        return false;
    }
    if (vq->spec->refilled) {
        vq->ops->arm(vq, true);
        return vq->ops->empty(vq);
    }
    return true;
}

/* Giving chains back. */

/*
 * Adds a finished chain to those that are published next. IN_ORDER: the driver takes the ones
 * before the named one as used in full, so an entry that says just that is left out (VIRTIO 1.4,
 * 2.7.9, 2.8.8).
 */
static inline void done_add(VirtQueue *vq, VqElem *e, uint32_t len, bool full, bool in_order)
{
    VqDone *at = &vq->done[vq->ndone];
    unsigned n = vq_ring_descs(e);

    if (in_order) {
        if (vq->ndone && vq->done_full) {
            at--;
            at->ndescs = (uint16_t)(at->ndescs + n);
        } else {
            at->ndescs = (uint16_t)n;
            vq->ndone++;
        }
        vq->done_full = full;
    } else {
        at->ndescs = (uint16_t)n;
        vq->ndone++;
    }
    at->id = e->id;
    at->len = len;
    vq->ring_out -= n;
    vq->inflight[e->id] = false;
}

static inline void flush_done(VirtQueue *vq)
{
    if (vq->ndone) {
        unsigned n = vq->ndone;

        vq->ndone = 0;
        if (vq->enabled && !atomic_load_explicit(&vq->d->reset_pending, memory_order_relaxed)) {
            vq->ops->publish(vq, vq->done, n);
            vq->need_notify = true;
            vq->shown = false;
        }
    }
}

static VQ_COLD void collect_in_order(VirtQueue *vq)
{
    while (vq->order_head && vq->order_head->done) {
        VqBlock *b = vq->order_head;

        if (vq->ndone == VQ_BATCH) {
            flush_done(vq);
        }
        vq->order_head = b->next;
        done_add(vq, vq_elem_of(b), b->used_len, b->full, /* in_order= */ true);
        vq_block_put(vq, b);
    }
}

/* Chains of a reset queue, or of one that failed: nothing is published. */
static VQ_COLD void finish_stranger(VirtQueue *vq, VqElem *e, bool current)
{
    if (current) {
        vq->ring_out -= vq_ring_descs(e);
        vq->inflight[e->id] = false;
        order_remove(vq, vq_block_of(e));
    }
    vq_elem_free(e);
    release_held(vq, 1, !current);
}

/* Takes e, which is of this epoch; the caller flushes, and counts it out. */
static void finish_current(VirtQueue *vq, VqElem *e, bool in_order)
{
    VqBlock *b = vq_block_of(e);
    uint32_t len = vq_used_len(e);
    bool full = !e->in.left && !e->in2.left;

    if (vq->ndone == VQ_BATCH) {
        flush_done(vq);
    }
    if (in_order && (vq->order_head != b || (b->next && b->next->done))) {
        /* VIRTIO 1.4, 2.7.9: used in the order made available */
        vq_elem_unmap(e);
        b->used_len = len;
        b->full = full;
        b->done = true;
        collect_in_order(vq);
        return;
    }
    done_add(vq, e, len, full, in_order);
    if (in_order) {
        vq->order_head = b->next;
    }
    vq_elem_done(vq, e, len);
}

static void finish(VirtQueue *vq, VqElem *e, bool in_order)
{
    if (VQ_UNLIKELY(!elem_is_current(vq, e) || vq->broken)) {
        finish_stranger(vq, e, elem_is_current(vq, e));
    } else {
        finish_current(vq, e, in_order);
        release_held(vq, 1, 0);
    }
}

void vq_push_all(VqElem *const *e, unsigned n)
{
    if (n) {
        VirtQueue *vq = e[0]->vq;
        bool in_order = vq_feature(vq, VIRTIO_F_IN_ORDER);

        loop_assert(vq->loop);
        for (unsigned i = 0; i < n; i++) {
            g_assert(e[i]->vq == vq && !vq_block_of(e[i])->done);
            finish(vq, e[i], in_order);
        }
        flush_done(vq);
        if (VQ_UNLIKELY(vq->nfree[0] > VQ_SMALL_KEEP)) {
            vq_trim(vq);
        }
    }
}

void vq_push(VqElem *e)
{
    vq_push_all(&e, 1);
}

void vq_drop(VqElem *e)
{
    VirtQueue *vq = e->vq;
    VqBlock *b = vq_block_of(e);
    bool current = elem_is_current(vq, e);

    loop_assert(vq->loop);
    if (current && vq->d->paused && !vq->broken) {
        memset((char *)e + sizeof *e, 0, MAX(vq->spec->elem_size, sizeof *e) - sizeof *e);
        vq_elem_rewind(e);
        b->redo_next = NULL;
        *(vq->redo_head ? &vq->redo_tail->redo_next : &vq->redo_head) = b;
        vq->redo_tail = b;
        release_held(vq, 1, 0);
        return;
    }
    if (current) {
        vq->ring_out -= vq_ring_descs(e);
        vq->inflight[e->id] = false;
        /* IN_ORDER: its place stays empty for good, only a reset follows. */
        order_remove(vq, b);
    }
    vq_elem_free(e);
    release_held(vq, 1, !current);
}

static inline void notify(VirtQueue *vq, bool sure)
{
    VirtioDev *d = vq->d;

    if (!vq->need_notify || vq->hold_notify || !vq->enabled || vq->broken) {
        return;
    }
    if (vq->ops->wants_notify(vq, sure)) {
        d->bus_ops->irq_queue(d->transport, vq->index);
    } else if (!sure) {
        return; /* asked again */
    }
    vq->need_notify = false;
    vq->unsure = 0;
}

void vq_notify(VirtQueue *vq)
{
    notify(vq, /* sure= */ true);
}

void vq_hold_notify(VirtQueue *vq, bool hold)
{
    vq->hold_notify = hold;
}

void vq_notify_soon(VirtQueue *vq)
{
    if (vq->need_notify && vq->d) {
        loop_idle(vq->loop, &vq->notify);
    }
}

void vq_resume(VirtQueue *vq)
{
    if (vq->stopped) {
        vq->stopped = false;
        vq_post_run(vq);
    }
}

/* The handler loop. */

/* Request i of n stopped the work, by its verdict or because the queue failed: what was taken
 * behind it was never seen by the device. After a failure the verdict no longer counts, but an
 * element the device keeps stays the device's until stop. */
static VQ_COLD void run_ended(VirtQueue *vq, unsigned i, unsigned n, VqVerdict v)
{
    bool failed = !sound(vq, vq->d);

    while (n > i + 1) {
        untake(vq->taken[--n]);
    }
    if (!failed) {
        untake(vq->taken[i]);
        vq->stopped = true;
    } else if (v != VQ_HELD) {
        vq_drop(vq->taken[i]);
    }
}

/* Publishes n linked plain chains of one window and gives back what they hold. */
static inline bool use(VirtQueue *vq, VqBlock *first, unsigned n, bool in_order)
{
    DmaWin *win = first->win;
    VqBlock *last;

    if (atomic_load_explicit(&vq->d->reset_pending, memory_order_relaxed) ||
        !(last = vq->ops->use(vq, first, n, in_order))) {
        return false;
    }
    last->next = vq->free[0];
    vq->free[0] = first;
    vq->nfree[0] += n;
    dma_win_put(win, n);
    vq->need_notify = true;
    vq->shown = false;
    return true;
}

/* All that was taken together is done. IN_ORDER: and nothing else is out. */
static inline void finish_all(VirtQueue *vq, unsigned n, bool in_order)
{
    VqBlock *b = vq->first, *next;

    if (VQ_LIKELY(vq->plain) &&
        (!in_order || (vq->order_head == b && vq->order_tail == vq->last)) &&
        use(vq, b, n, in_order)) {
        vq->order_head = NULL;
        return;
    }
    for (; n; b = next, n--) {
        next = b->next;
        finish_current(vq, vq_elem_of(b), in_order);
    }
}

static void list_taken(VirtQueue *vq, unsigned n)
{
    VqBlock *b = vq->first;

    for (unsigned i = 0; i < n; i++, b = b->next) {
        vq->taken[i] = vq_elem_of(b);
    }
}

/* A request said something else than "done", or the queue broke in it: it and those behind it, each
 * by itself. */
static bool run_rest(VirtQueue *vq, unsigned i, unsigned n, VqVerdict v, VqBlock *next,
    uint32_t epoch, bool in_order)
{
    VqVerdict (*request)(VirtioDev * d, VqElem * e) = vq->spec->request;
    VirtioDev *d = vq->d;
    unsigned ndone = i;

    for (unsigned k = i + 1; k < n; k++, next = next->next) {
        vq->taken[k] = vq_elem_of(next);
    }
    while (i < n && sound(vq, d) && v != VQ_STOP) {
        if (v == VQ_DONE) {
            vq->taken[ndone++] = vq->taken[i]; /* where one of those before it was */
        }
        v = ++i < n ? request(d, vq->taken[i]) : v;
    }
    for (unsigned k = 0; k < ndone; k++) {
        if (VQ_UNLIKELY(vq->epoch != epoch)) { /* a request reset the queue: all are strangers */
            finish_stranger(vq, vq->taken[k], /* current= */ false);
        } else {
            finish_current(vq, vq->taken[k], in_order);
        }
    }
    if (ndone && vq->epoch == epoch) {
        release_held(vq, ndone, 0);
    }
    if (VQ_UNLIKELY(i < n)) {
        run_ended(vq, i, n, v);
    }
    return i == n;
}

/* True: on with the next ones. */
VQ_INLINE bool run_taken(VirtQueue *vq, unsigned n, bool in_order)
{
    VqVerdict (*request)(VirtioDev * d, VqElem * e) = vq->spec->request;
    VqBlock *b = vq->first, *next;
    VirtioDev *d = vq->d;
    uint32_t epoch = vq->epoch;
    unsigned left = n;

    do { /* as long as each is done at once */
        VqVerdict v;

        next = b->next; /* it may be gone afterwards */
        v = request(d, vq_elem_of(b));
        if (VQ_UNLIKELY(v != VQ_DONE || !sound(vq, d))) {
            list_taken(vq, n - left);
            vq->taken[n - left] = vq_elem_of(b);
            return run_rest(vq, n - left, n, v, next, epoch, in_order);
        }
        b = next;
    } while (--left);
    if (VQ_UNLIKELY(vq->epoch != epoch)) {
        list_taken(vq, n);
        run_rest(vq, n, n, VQ_DONE, NULL, epoch, in_order);
    } else {
        finish_all(vq, n, in_order);
        release_held(vq, n, 0);
    }
    return true;
}

/* Runs what is there, at most max chains; how many it took. */
static unsigned run_some(VirtQueue *vq, unsigned max)
{
    bool in_order = vq_feature(vq, VIRTIO_F_IN_ORDER);
    unsigned ran = 0, n;

    disarm(vq);
    do {
        n = take_some(vq, MIN(max - ran, VQ_TAKE), in_order);
        if (!n) {
            break;
        }
        ran += n;
    } while (run_taken(vq, n, in_order) && ran < max && (vq->more || !vq->plain));
    if (!ran) {
        return 0;
    }
    flush_done(vq);
    if (VQ_UNLIKELY(vq->nfree[0] > VQ_SMALL_KEEP)) {
        vq_trim(vq);
    }
    if (vq->spec->batch_end) {
        vq->spec->batch_end(vq->d, vq);
    }
    return ran;
}

void vq_run(VirtQueue *vq)
{
    unsigned left = VQ_BUDGET;

    if (!ready(vq)) {
        return;
    }
    loop_assert(vq->loop);
    if (!vq->spec->request) {
        if (vq->spec->refilled) {
            vq->spec->refilled(vq->d, vq);
        }
        return;
    }
    while (left && !vq->stopped) {
        unsigned ran = run_some(vq, left);

        left -= ran;
        if (!left || vq->stopped || !ready(vq)) {
            break;
        }
        if (!vq->polling) {
            vq->ops->arm(vq, true);
        }
        if (vq->ops->empty(vq)) {
            break;
        }
        left -= !ran && left < VQ_BUDGET; /* not empty, and yet nothing to take: not for ever */
    }
    vq_notify(vq);
    if (!left && !vq->stopped) {
        vq_post_run(vq); /* others first */
    }
}

void vq_poll_begin(VirtQueue *vq)
{
    vq->polling = true;
    /* Where the device waits for buffers nobody looks: it has to be told. */
    if (ready(vq) && !vq->stopped && vq->spec->request) {
        disarm(vq);
    }
}

bool vq_poll(VirtQueue *vq)
{
    unsigned ran = 0;

    if (VQ_LIKELY(ready(vq) && !vq->stopped && vq->spec->request) &&
        (!vq->ops->empty(vq) || vq->redo_head)) {
        ran = run_some(vq, VQ_BUDGET);
    }
    if (vq->need_notify) {
        /* To be sure means to wait for the driver's core, and a driver that is awake wants nothing:
         * not in every turn. vq_poll_end() is sure, too, and so is the end of the data path. */
        bool sure = ++vq->unsure >= VQ_UNSURE;

        if (ran || sure) {
            notify(vq, sure);
        }
    }
    return ran;
}

bool vq_poll_end(VirtQueue *vq)
{
    vq->polling = false;
    vq_notify(vq);
    if (!ready(vq) || vq->stopped || !vq->spec->request) {
        return false;
    }
    vq->ops->arm(vq, true);
    if (vq->ops->empty(vq)) {
        return false;
    }
    vq_post_run(vq);
    return true;
}
