/*
 * The life of a virtqueue, and how its loop hears of kicks: eventfd, posted call, poller. Covered
 * by tests/unit/test-vq-split.c and test-virtio-loop.c.
 */
#include "hw/virtio/vq-internal.h"
#include "util/rcu.h"

#include <inttypes.h>

static void idle_notify(void *opaque)
{
    vq_notify(opaque);
}

static void posted_run(void *opaque)
{
    VirtQueue *vq = opaque;

    /* Pairs with the exchange in vq_post_run(): a kick from now on posts again, and what came with
     * one that did not is seen below. */
    atomic_exchange_explicit(&vq->kick_posted, false, memory_order_acq_rel);
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
        loop_post(vq->loop, posted_run, vq);
    }
}

static void kick_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    VirtQueue *vq = opaque;

    /* Pairs with the exchange in accel_doorbell_ring(). */
    atomic_exchange(vq->rung, false);
    vq_run(vq);
}

/* The loop's poller. */
static void poll_begin(void *opaque)
{
    vq_poll_begin(opaque);
}

static bool poll_look(void *opaque)
{
    return vq_poll(opaque);
}

static bool poll_end(void *opaque)
{
    return vq_poll_end(opaque);
}

static void kick_watch_add(void *opaque)
{
    VirtQueue *vq = opaque;

    /* Each signal is an edge of its own, so nobody has to read the counter down. */
    vq->kick_watch = loop_fd_add(vq->loop, vq->kick_fd, EPOLLIN | EPOLLET, kick_readable, vq);
    vq->poll = (LoopPoll){ .poll = poll_look, .begin = poll_begin, .end = poll_end, .opaque = vq };
    loop_poll_add(vq->loop, &vq->poll);
}

static void kick_watch_del(void *opaque)
{
    VirtQueue *vq = opaque;

    loop_fd_del(vq->kick_watch);
    vq->kick_watch = NULL;
    loop_poll_del(vq->loop, &vq->poll);
    poll_end(vq);
}

int vq_kick_fd(VirtQueue *vq)
{
    if (vq->kick_fd < 0) {
        vq->kick_fd = fd_eventfd();
        vq->rung = g_new0(_Atomic bool, 1);
        loop_call(vq->loop, kick_watch_add, vq);
    }
    return vq->kick_fd;
}

void vq_kick_fd_close(VirtQueue *vq)
{
    if (vq->kick_fd >= 0) {
        loop_call(vq->loop, kick_watch_del, vq);
        close(fd_steal(&vq->kick_fd));
        rcu_defer(g_free, (void *)(uintptr_t)g_steal_pointer(&vq->rung));
    }
}

/* Life. */
VirtQueue *vq_new(VirtioDev *d, unsigned index, const VqSpec *spec, uint16_t max_size, Loop *loop)
{
    VirtQueue *vq = g_new0(VirtQueue, 1);

    g_assert(max_size && max_size <= VQ_SIZE_MAX);
    g_assert(spec->elem_size == 0 || spec->elem_size >= sizeof(VqElem));
    vq->d = d;
    vq->loop = loop;
    vq->quiet = d->spread;
    vq->index = index;
    vq->spec = spec;
    vq->max_size = max_size;
    vq->elem_extra = spec->unclean ? 0 : MAX(spec->elem_size, sizeof(VqElem)) - sizeof(VqElem);
    vq->kick_fd = -1;
    vq->notify = (LoopIdle){ .fn = idle_notify, .opaque = vq };
    vq->clock = dma_space_clock(d->dma);
    vq->tlb = dma_tlb_new(d->dma, loop, vq_unmap_rings, vq);
    atomic_init(&vq->refs, 1);
    return vq;
}

void vq_set_quiet(VirtQueue *vq, bool quiet)
{
    vq->quiet = quiet;
    vq->live = vq->enabled && !vq->broken && !quiet;
}

void vq_close(VirtQueue *vq)
{
    dma_tlb_close(vq->tlb);
    vq->tlb = NULL;
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
    vq_flags_free(vq->inflight, vq->inflight_len);
    vq_gather_fini(vq);
    g_free(vq);
}

bool vq_enable(VirtQueue *vq, const VqLayout *at, GError **err)
{
    bool packed = vq_feature(vq, VIRTIO_F_RING_PACKED);
    uint64_t end;

    if (!at->size || at->size > vq->max_size || (!packed && (at->size & (at->size - 1)))) {
        return err_set(err,
            "queue %u: size %u is not possible, at most %u (VIRTIO 1.4, 2.7, 2.8.10.1)", vq->index,
            at->size, vq->max_size);
    }
    /* Alignments of VIRTIO 1.4, 2.7 and 2.8; nor may a part wrap around the address space. */
    if (at->desc % 16 || at->driver % (packed ? 4 : 2) || at->device % 4 ||
        __builtin_add_overflow(at->desc, at->size * 16ull, &end) ||
        __builtin_add_overflow(at->driver, at->size * 2ull + 6, &end) ||
        __builtin_add_overflow(at->device, at->size * 8ull + 6, &end)) {
        return err_set(err,
            "queue %u: rings at 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64
            " are misplaced (VIRTIO 1.4, 2.7, 2.8.10.1)",
            vq->index, at->desc, at->driver, at->device);
    }
    vq->pool_descs = !packed;
    vq_disable(vq);
    vq->ops = packed ? &vq_packed_ops : &vq_split_ops;
    vq->at = *at;
    /* A packed ring's ids may be any number: pages that no id reaches are never touched. */
    if (vq->inflight_len != (packed ? UINT16_MAX + 1 : at->size)) {
        vq_flags_free(vq->inflight, vq->inflight_len);
        vq->inflight_len = packed ? UINT16_MAX + 1 : at->size;
        vq->inflight = vq_flags_new(vq->inflight_len);
    }
    vq->rs = (VqRingState){ .avail_wrap = packed, .used_wrap = packed };
    vq->avail_seen = vq->signalled = 0;
    vq->signalled_valid = true; /* nothing was used since the indices were 0 */
    vq->signalled_wrap = packed;
    vq->armed = true;
    vq->enabled = true;
    vq->live = !vq->quiet;
    vq->open = true;
    return true;
}

void vq_disable(VirtQueue *vq)
{
    VqBlock *next;

    if (vq->ring_out) { /* else every flag was taken back, and the table serves again */
        vq_flags_free(vq->inflight, vq->inflight_len);
        vq->inflight = NULL;
        vq->inflight_len = 0;
    }
    for (VqBlock *b = vq->redo_head; b; b = next) {
        next = b->redo_next;
        vq_elem_free(vq_elem_of(b));
    }
    for (VqBlock *b = vq->order_head; b; b = next) {
        next = b->next;
        if (b->done) {
            vq_block_put(vq, b);
        }
    }
    vq->redo_head = vq->redo_tail = vq->order_head = vq->order_tail = NULL;
    vq_unmap_rings(vq);
    if (vq->d) {
        loop_idle_cancel(vq->loop, &vq->notify);
    }
    vq->epoch++;
    vq_blocks_renew(vq);
    vq->strangers = atomic_load_explicit(&vq->out, memory_order_relaxed);
    vq->ring_out = vq->ahead = vq->since = 0;
    vq->ndone = 0;
    vq->open = false;
    vq->enabled = vq->live = vq->broken = vq->stopped = vq->need_notify = false;
}
