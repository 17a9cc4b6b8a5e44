/*
 * Virtqueues: the handler loop, the element pool and the calls devices make (VIRTIO 1.4, 2.6). What
 * a ring looks like is in vq-split.c and vq-packed.c. Covered by tests/unit/test-vq-split.c.
 */
#include "hw/virtio/vq-internal.h"
#include "util/bitmap.h"

#include <inttypes.h>
#include <string.h>

bool vq_feature(const VirtQueue *vq, unsigned bit)
{
    return virtio_has(vq->d, bit);
}

unsigned vq_index(const VirtQueue *vq)
{
    return vq->index;
}

VirtioDev *vq_dev(const VirtQueue *vq)
{
    return vq->d;
}

uint16_t vq_size(const VirtQueue *vq)
{
    return vq->enabled ? vq->at.size : 0;
}

bool vq_ready(const VirtQueue *vq)
{
    const VirtioDev *d = vq->d;

    return d && vq->enabled && !vq->broken && !d->broken && d->started;
}

void vq_fail(VirtQueue *vq, const char *fmt, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    vq->broken = true;
    virtio_fail(vq->d, "queue %u (%s): %s", vq->index, vq->spec->name, why);
}

static bool elem_is_current(const VirtQueue *vq, VqElem *e)
{
    return vq_block_of(e)->epoch == vq->epoch && vq->enabled;
}

static void release_held(VirtQueue *vq, bool current)
{
    VirtioDev *d = vq->d;

    if (current) {
        g_assert(vq->held);
        vq->held--;
    }
    atomic_fetch_sub_explicit(
        &vq->out, 1, memory_order_release); /* pairs with virtio_queue_busy() */
    /* The last chain of a reset that waits for it. Pairs with the load in virtio_reset(). */
    if (atomic_fetch_sub_explicit(&d->nheld, 1, memory_order_acq_rel) == 1 && d->reset_pending) {
        virtio_drained(d);
    }
}

/* Taking chains. */
static VqElem *take(VirtQueue *vq)
{
    VqBlock *b = vq->redo_head;
    VqRingState before = vq->rs;
    VqElem *e;

    if (!vq_ready(vq)) {
        return NULL;
    }
    if (b) {
        vq->redo_head = b->next;
        b->redone = true;
        e = vq_elem_of(b);
    } else {
        e = vq->ops->pop(vq);
        if (!e) {
            return NULL;
        }
        b = vq_block_of(e);
        b->before = before;
        vq->ring_out += e->ndescs;
        vq->ahead -= MIN(vq->ahead, e->ndescs);
        if (vq_feature(vq, VIRTIO_F_IN_ORDER)) {
            *(vq->order_head ? &vq->order_tail->order_next : &vq->order_head) = b;
            vq->order_tail = b;
        }
    }
    vq->held++;
    atomic_fetch_add_explicit(&vq->out, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&vq->d->nheld, 1, memory_order_relaxed);
    return e;
}

static void order_remove(VirtQueue *vq, VqBlock *b)
{
    VqBlock **p = &vq->order_head, *prev = NULL;

    while (*p && *p != b) {
        prev = *p;
        p = &(*p)->order_next;
    }
    if (*p) {
        *p = b->order_next;
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
        release_held(vq, false);
        return;
    }
    if (b->redone) {
        b->next = vq->redo_head;
        vq->redo_head = b;
        if (!b->next) {
            vq->redo_tail = b;
        }
        memset((char *)e + sizeof *e, 0, MAX(vq->spec->elem_size, sizeof *e) - sizeof *e);
        vq_elem_rewind(e);
    } else {
        VqRingState s = vq->ops->save(vq);
        bool ok;

        bitmap_clear(vq->inflight, e->id);
        order_remove(vq, b);
        vq->ring_out -= e->ndescs;
        vq->ahead += e->ndescs;
        s.avail = b->before.avail;
        s.avail_wrap = b->before.avail_wrap;
        ok = vq->ops->load(vq, s);
        g_assert(ok);
        vq_elem_free(e);
    }
    release_held(vq, true);
}

VqElem *vq_pop(VirtQueue *vq)
{
    VqElem *e = take(vq);

    if (!e && vq->spec->refilled && vq_ready(vq)) {
        vq->ops->arm(vq, true);
        e = take(vq);
    }
    if (e && vq->spec->refilled) {
        vq->ops->arm(vq, false);
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
            vq->ops->arm(vq, false);
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
static unsigned collect_in_order(VirtQueue *vq, VqDone *done, unsigned max)
{
    unsigned n = 0;

    while (n < max && vq->order_head && vq->order_head->done) {
        VqBlock *b = vq->order_head;
        VqElem *e = vq_elem_of(b);

        vq->order_head = b->order_next;
        done[n++] = (VqDone){ e->id, e->ndescs, b->used_len };
        vq->ring_out -= e->ndescs;
        bitmap_clear(vq->inflight, e->id);
        vq_block_put(vq, b);
    }
    return n;
}

static void push_some(VirtQueue *vq, VqElem *const *e, unsigned n)
{
    VqDone done[64];
    unsigned ndone = 0, strangers = 0;
    bool in_order = vq_feature(vq, VIRTIO_F_IN_ORDER);

    for (unsigned i = 0; i < n; i++) {
        VqBlock *b = vq_block_of(e[i]);

        g_assert(e[i]->vq == vq && !b->done);
        b->used_len = vq_elem_used_len(e[i]);
        if (!elem_is_current(vq, e[i])) {
            vq_elem_free(e[i]);
            strangers++;
            continue;
        }
        if (in_order) { /* VIRTIO 1.4, 2.7.9: used in the order made available */
            vq_elem_unmap(e[i]);
            b->done = true;
        } else {
            done[ndone++] = (VqDone){ e[i]->id, e[i]->ndescs, b->used_len };
            vq->ring_out -= e[i]->ndescs;
            bitmap_clear(vq->inflight, e[i]->id);
            vq_elem_free(e[i]);
        }
    }
    do {
        if (in_order) {
            ndone = collect_in_order(vq, done, G_N_ELEMENTS(done));
        }
        if (ndone && !vq->broken && !vq->d->reset_pending) {
            vq->ops->publish(vq, done, ndone);
            vq->need_notify = true;
        }
    } while (in_order && ndone == G_N_ELEMENTS(done));
    for (unsigned i = 0; i < n; i++) {
        release_held(vq, i >= strangers);
    }
}

void vq_push_all(VqElem *const *e, unsigned n)
{
    while (n) {
        unsigned some = MIN(n, 64u);

        loop_assert(e[0]->vq->d->loop);
        push_some(e[0]->vq, e, some);
        e += some;
        n -= some;
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

    loop_assert(vq->d->loop);
    if (current && vq->d->paused && !vq->broken) {
        memset((char *)e + sizeof *e, 0, MAX(vq->spec->elem_size, sizeof *e) - sizeof *e);
        vq_elem_rewind(e);
        b->next = NULL;
        *(vq->redo_head ? &vq->redo_tail->next : &vq->redo_head) = b;
        vq->redo_tail = b;
        release_held(vq, true);
        return;
    }
    if (current) {
        vq->ring_out -= e->ndescs;
        bitmap_clear(vq->inflight, e->id);
        /* IN_ORDER: its place stays empty for good, only a reset follows. */
        order_remove(vq, b);
    }
    vq_elem_free(e);
    release_held(vq, current);
}

void vq_notify(VirtQueue *vq)
{
    VirtioDev *d = vq->d;

    if (!vq->need_notify || !vq->enabled || vq->broken) {
        return;
    }
    vq->need_notify = false;
    if (vq->ops->wants_notify(vq)) {
        d->bus_ops->irq_queue(d->transport, vq->index);
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
static void run_one(VirtQueue *vq, VqElem *e)
{
    VqVerdict v = vq->spec->request(vq->d, e);

    if (vq->broken || vq->d->broken) {
        /* The verdict no longer counts, but an element the device keeps stays the device's until
         * stop. */
        if (v != VQ_HELD) {
            vq_drop(e);
        }
        return;
    }
    switch (v) {
    case VQ_DONE:
        vq_push(e);
        break;
    case VQ_HELD:
        break;
    case VQ_STOP:
        untake(e);
        vq->stopped = true;
        break;
    }
}

void vq_run(VirtQueue *vq)
{
    const VqSpec *spec = vq->spec;
    unsigned left = VQ_BUDGET;

    if (!vq_ready(vq)) {
        return;
    }
    loop_assert(vq->d->loop);
    if (!spec->request) {
        if (spec->refilled) {
            spec->refilled(vq->d, vq);
        }
        return;
    }
    while (left && !vq->stopped && vq_ready(vq)) {
        unsigned before = left;
        VqElem *e;

        vq->ops->arm(vq, false);
        while (left && !vq->stopped && (e = take(vq))) {
            left--;
            run_one(vq, e);
        }
        if (before != left && spec->batch_end) {
            spec->batch_end(vq->d, vq);
        }
        if (!left || vq->stopped || !vq_ready(vq)) {
            break;
        }
        vq->ops->arm(vq, true);
        if (vq->ops->empty(vq)) {
            break;
        }
    }
    vq_notify(vq);
    if (!left && !vq->stopped) {
        vq_post_run(vq); /* others first */
    }
}

static void posted_run(void *opaque)
{
    VirtQueue *vq = opaque;

    /* Pairs with the exchange in vq_post_run(): a kick from now on posts again. */
    atomic_store_explicit(&vq->kick_posted, false, memory_order_release);
    if (vq->d) {
        vq_run(vq);
    }
    vq_unref(vq);
}

void vq_post_run(VirtQueue *vq)
{
    /* Pairs with posted_run(). */
    if (!atomic_exchange_explicit(&vq->kick_posted, true, memory_order_acq_rel)) {
        atomic_fetch_add_explicit(&vq->refs, 1, memory_order_relaxed);
        loop_post(vq->d->loop, posted_run, vq);
    }
}

static void kick_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    VirtQueue *vq = opaque;

    fd_drain(vq->kick_fd);
    vq_run(vq);
}

static void kick_watch_add(void *opaque)
{
    VirtQueue *vq = opaque;

    vq->kick_watch = loop_fd_add(vq->d->loop, vq->kick_fd, EPOLLIN, kick_readable, vq);
}

static void kick_watch_del(void *opaque)
{
    VirtQueue *vq = opaque;

    loop_fd_del(vq->kick_watch);
    vq->kick_watch = NULL;
}

int vq_kick_fd(VirtQueue *vq)
{
    if (vq->kick_fd < 0) {
        vq->kick_fd = fd_eventfd();
        loop_call(vq->d->loop, kick_watch_add, vq);
    }
    return vq->kick_fd;
}

void vq_kick_fd_close(VirtQueue *vq)
{
    if (vq->kick_fd >= 0) {
        loop_call(vq->d->loop, kick_watch_del, vq);
        close(fd_steal(&vq->kick_fd));
    }
}

/* Life. */
VirtQueue *vq_new(VirtioDev *d, unsigned index, const VqSpec *spec, uint16_t max_size)
{
    VirtQueue *vq = g_new0(VirtQueue, 1);

    g_assert(spec->elem_size == 0 || spec->elem_size >= sizeof(VqElem));
    vq->d = d;
    vq->index = index;
    vq->spec = spec;
    vq->max_size = max_size;
    vq->kick_fd = -1;
    atomic_init(&vq->refs, 1);
    return vq;
}

void vq_unref(VirtQueue *vq)
{
    /* The last one out sees all that the others did. */
    if (atomic_fetch_sub_explicit(&vq->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (unsigned c = 0; c < VQ_CLASSES; c++) {
        for (VqBlock *b = vq->free[c], *next; b; b = next) {
            next = b->next;
            g_free(b);
        }
    }
    g_free(vq->inflight);
    g_free(vq->gather);
    g_free(vq);
}

bool vq_enable(VirtQueue *vq, const VqLayout *at, GError **err)
{
    bool packed = vq_feature(vq, VIRTIO_F_RING_PACKED);
    uint64_t end;

    if (!at->size || at->size > vq->max_size || (!packed && (at->size & (at->size - 1)))) {
        return err_set(err, "queue %u: size %u is not possible (at most %u)", vq->index, at->size,
            vq->max_size);
    }
    /* Alignments of VIRTIO 1.4, 2.7 and 2.8; nor may a part wrap around the address space. */
    if (at->desc % 16 || at->driver % (packed ? 4 : 2) || at->device % 4 ||
        __builtin_add_overflow(at->desc, at->size * 16ull, &end) ||
        __builtin_add_overflow(at->driver, at->size * 2ull + 6, &end) ||
        __builtin_add_overflow(at->device, at->size * 8ull + 6, &end)) {
        return err_set(err,
            "queue %u: rings at 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 " are misplaced",
            vq->index, at->desc, at->driver, at->device);
    }
    vq_disable(vq);
    vq->ops = packed ? &vq_packed_ops : &vq_split_ops;
    vq->at = *at;
    vq->inflight_bits = packed ? 65536 : at->size;
    g_free(vq->inflight);
    vq->inflight = g_new0(uint64_t, BITMAP_WORDS(vq->inflight_bits));
    if (!vq->gather) {
        vq->gather = g_new0(VqGather, 1);
    }
    vq->rs = (VqRingState){ .avail_wrap = packed, .used_wrap = packed };
    vq->avail_seen = vq->signalled = 0;
    vq->signalled_valid = true; /* nothing was used since the indices were 0 */
    vq->signalled_wrap = packed;
    vq->armed = true;
    vq->enabled = true;
    return true;
}

void vq_disable(VirtQueue *vq)
{
    VqBlock *next;

    for (VqBlock *b = vq->redo_head; b; b = next) {
        next = b->next;
        vq_elem_free(vq_elem_of(b));
    }
    for (VqBlock *b = vq->order_head; b; b = next) {
        next = b->order_next;
        b->order_next = NULL;
        if (b->done) {
            vq_block_put(vq, b);
        }
    }
    vq->redo_head = vq->redo_tail = vq->order_head = vq->order_tail = NULL;
    vq_unmap_rings(vq);
    vq->epoch++;
    vq->held = vq->ring_out = vq->ahead = vq->since = 0;
    vq->enabled = vq->broken = vq->stopped = vq->need_notify = false;
    if (vq->inflight) {
        memset(vq->inflight, 0, BITMAP_WORDS(vq->inflight_bits) * 8);
    }
}
