/*
 * Virtqueues: the handler loop, the element pool and the calls devices make (VIRTIO 1.4, 2.6). What
 * a ring looks like is in vq-split.c and vq-packed.c. Covered by tests/unit/test-vq-split.c.
 */
#include "hw/virtio/vq-internal.h"
#include "util/bitmap.h"

#include <inttypes.h>
#include <string.h>

/* Lies right before the VqElem in one allocation; iovecs and block references follow the device's
 * request. */
struct VqBlock {
    VqBlock *next;       /* free or redo list */
    VqBlock *order_next; /* IN_ORDER */
    struct iovec *iov;
    RamBlock **blocks;
    uint32_t epoch, used_len;
    uint16_t nout, nin;
    uint8_t cls;
    bool done;          /* IN_ORDER: finished, waits for older ones */
    bool redone;        /* came from the redo list: VQ_STOP puts it back there */
    VqRingState before; /* the ring before this chain was taken */
};

enum { BLOCK_HEAD = (sizeof(VqBlock) + 15) / 16 * 16 };
static const uint16_t class_iovs[VQ_CLASSES] = { 8, 72, VQ_IOV_MAX };
static const uint16_t class_keep[VQ_CLASSES] = { 256, 64, 2 };

static VqBlock *block_of(VqElem *e)
{
    return (VqBlock *)((char *)e - BLOCK_HEAD);
}

static VqElem *elem_of(VqBlock *b)
{
    return (VqElem *)((char *)b + BLOCK_HEAD);
}

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

/* Ring parts in host memory. */
static void ring_unmap(VirtQueue *vq, RingMap *m)
{
    if (m->host) {
        /* What we wrote was marked at once by vq_ring_written(). */
        dma_unmap(vq->d->dma, m->iov, m->blocks, m->n, m->dir, 0);
        m->host = NULL;
    }
}

static bool ring_map(VirtQueue *vq, RingMap *m, uint64_t at, size_t len, DmaDir dir)
{
    m->dir = dir;
    m->len = len;
    m->n = dma_map(vq->d->dma, (Iova){ at }, len, dir, m->iov, m->blocks, G_N_ELEMENTS(m->iov));
    if (!m->n) {
        return false;
    }
    m->host = m->iov[0].iov_base;
    for (unsigned i = 1; i < m->n; i++) {
        if ((uint8_t *)m->iov[i - 1].iov_base + m->iov[i - 1].iov_len != m->iov[i].iov_base) {
            ring_unmap(vq, m); /* parts that do not meet in the host: two RAM blocks */
            return false;
        }
    }
    return true;
}

static void rings_unmap(VirtQueue *vq)
{
    ring_unmap(vq, &vq->desc);
    ring_unmap(vq, &vq->driver);
    ring_unmap(vq, &vq->device);
    vq->mapped = false;
}

bool vq_map_rings(VirtQueue *vq, size_t desc_len, size_t driver_len, size_t device_len)
{
    /* Read first: a change while we map makes the next check translate again. */
    uint64_t generation = dma_space_generation(vq->d->dma);

    if (vq->mapped && vq->generation == generation) {
        return true;
    }
    rings_unmap(vq);
    if (!dma_space_master(vq->d->dma)) {
        return false; /* not the driver's fault yet: it may turn bus mastering on again */
    }
    if (!ring_map(vq, &vq->desc, vq->at.desc, desc_len,
            vq->ops == &vq_packed_ops ? DMA_TO_GUEST : DMA_FROM_GUEST) ||
        !ring_map(vq, &vq->driver, vq->at.driver, driver_len, DMA_FROM_GUEST) ||
        !ring_map(vq, &vq->device, vq->at.device, device_len, DMA_TO_GUEST)) {
        rings_unmap(vq);
        if (dma_space_master(vq->d->dma)) {
            vq_fail(vq, "rings at 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 " are not in RAM",
                vq->at.desc, vq->at.driver, vq->at.device);
        }
        return false;
    }
    vq->generation = generation;
    vq->mapped = true;
    return true;
}

void vq_ring_written(VirtQueue *vq, const RingMap *m, const void *at, size_t len)
{
    RamBlock *b = m->blocks[0];

    ram_written(b, (uint64_t)((const uint8_t *)at - b->host), len);
}

/* Collecting a chain: one place for all that a buffer may not be (VIRTIO 1.4, 2.7.4, 2.7.5). */
bool vq_gather_add(VirtQueue *vq, uint64_t addr, uint32_t len, bool write)
{
    VqGather *g = vq->gather;
    unsigned n;

    if (!len) {
        vq_fail(vq, "zero-length buffer");
        return false;
    }
    if (!write && g->n > g->nout) {
        vq_fail(vq, "device-readable buffer after a device-writable one");
        return false;
    }
    g->total += len;
    if (g->total >
        UINT32_MAX) { /* 2.7.4.2: 2^32 bytes in all; we stay below, so that used.len can say it */
        vq_fail(vq, "chain of 4 GiB or more");
        return false;
    }
    n = dma_map(vq->d->dma, (Iova){ addr }, len, write ? DMA_TO_GUEST : DMA_FROM_GUEST,
        g->iov + g->n, g->blocks + g->n, VQ_IOV_MAX - g->n);
    if (!n) {
        vq_fail(vq, "buffer of %u bytes at 0x%" PRIx64 " is not in RAM", len, addr);
        return false;
    }
    g->n += n;
    if (!write) {
        g->nout = g->n;
    }
    return true;
}

const uint8_t *vq_gather_table(VirtQueue *vq, uint64_t addr, uint32_t len)
{
    uint32_t max = MAX(VQ_TABLE_MAX, vq->at.size) * 16u;

    if (!len || len % 16) {
        vq_fail(vq, "indirect table of %u bytes", len);
        return NULL;
    }
    if (len > MIN(max, sizeof vq->gather->table)) {
        vq_fail(vq, "indirect table of %u descriptors", len / 16);
        return NULL;
    }
    if (!dma_read(vq->d->dma, (Iova){ addr }, vq->gather->table, len)) {
        vq_fail(vq, "indirect table at 0x%" PRIx64 " is not in RAM", addr);
        return NULL;
    }
    return vq->gather->table;
}

void vq_gather_undo(VirtQueue *vq)
{
    VqGather *g = vq->gather;

    dma_unmap(vq->d->dma, g->iov, g->blocks, g->nout, DMA_FROM_GUEST, 0);
    dma_unmap(vq->d->dma, g->iov + g->nout, g->blocks + g->nout, g->n - g->nout, DMA_TO_GUEST, 0);
    g->n = g->nout = 0;
}

/* The element pool. */
static size_t block_iov_offset(const VirtQueue *vq)
{
    return (BLOCK_HEAD + MAX(vq->spec->elem_size, sizeof(VqElem)) + 15) / 16 * 16;
}

static VqBlock *block_get(VirtQueue *vq, unsigned niov)
{
    unsigned cls = 0;
    size_t at = block_iov_offset(vq);
    VqBlock *b;

    while (class_iovs[cls] < niov) {
        cls++;
    }
    b = vq->free[cls];
    if (b) {
        vq->free[cls] = b->next;
        vq->nfree[cls]--;
    } else {
        b = g_malloc(at + class_iovs[cls] * (sizeof(struct iovec) + sizeof(RamBlock *)));
    }
    memset(b, 0, at);
    b->cls = (uint8_t)cls;
    b->iov = (struct iovec *)((char *)b + at);
    b->blocks = (RamBlock **)(b->iov + class_iovs[cls]);
    return b;
}

static void block_put(VirtQueue *vq, VqBlock *b)
{
    if (vq->nfree[b->cls] >= class_keep[b->cls]) {
        g_free(b);
        return;
    }
    b->next = vq->free[b->cls];
    vq->free[b->cls] = b;
    vq->nfree[b->cls]++;
}

static void elem_rewind(VqElem *e)
{
    VqBlock *b = block_of(e);

    giov_init(&e->out, b->iov, b->nout);
    giov_init(&e->in, b->iov + b->nout, b->nin);
    e->in_size = e->in.left;
    e->in2 = (GIov){ 0 };
    e->in2_size = 0;
}

VqElem *vq_gather_elem(VirtQueue *vq, uint16_t id, uint16_t ndescs)
{
    const VqGather *g = vq->gather;
    VqBlock *b = block_get(vq, g->n);
    VqElem *e = elem_of(b);

    memcpy(b->iov, g->iov, g->n * sizeof g->iov[0]);
    memcpy(b->blocks, g->blocks, g->n * sizeof(RamBlock *));
    b->nout = (uint16_t)g->nout;
    b->nin = (uint16_t)(g->n - g->nout);
    b->epoch = vq->epoch;
    e->vq = vq;
    e->id = id;
    e->ndescs = ndescs;
    elem_rewind(e);
    return e;
}

/* used.len: the written prefix (VIRTIO 1.4, 2.7.8.2). */
static uint32_t elem_used_len(const VqElem *e)
{
    size_t n = e->in_size - e->in.left;

    if (!e->in.left) {
        n += e->in2_size - e->in2.left;
    }
    return (uint32_t)n;
}

bool vq_split_in(VqElem *e, size_t at)
{
    g_assert(e->in.left == e->in_size && !e->in2_size);
    if (!giov_split(&e->in, at, &e->in2)) {
        return false;
    }
    e->in_size = e->in.left;
    e->in2_size = e->in2.left;
    return true;
}

/* Gives back guest memory and the block. */
static void elem_free(VqElem *e)
{
    VqBlock *b = block_of(e);
    VirtQueue *vq = e->vq;
    size_t in2 = e->in2_size - e->in2.left;
    size_t written = in2 ? e->in_size + in2 : e->in_size - e->in.left;

    dma_unmap(vq->d->dma, b->iov, b->blocks, b->nout, DMA_FROM_GUEST, 0);
    dma_unmap(vq->d->dma, b->iov + b->nout, b->blocks + b->nout, b->nin, DMA_TO_GUEST, written);
    block_put(vq, b);
}

static bool elem_is_current(const VirtQueue *vq, VqElem *e)
{
    return block_of(e)->epoch == vq->epoch && vq->enabled;
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
        e = elem_of(b);
    } else {
        e = vq->ops->pop(vq);
        if (!e) {
            return NULL;
        }
        b = block_of(e);
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
    VqBlock *b = block_of(e);
    VirtQueue *vq = e->vq;

    if (!elem_is_current(vq, e)) {
        elem_free(e);
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
        elem_rewind(e);
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
        elem_free(e);
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
        VqElem *e = elem_of(b);

        vq->order_head = b->order_next;
        done[n++] = (VqDone){ e->id, e->ndescs, b->used_len };
        vq->ring_out -= e->ndescs;
        bitmap_clear(vq->inflight, e->id);
        block_put(vq, b);
    }
    return n;
}

static void push_some(VirtQueue *vq, VqElem *const *e, unsigned n)
{
    VqDone done[64];
    unsigned ndone = 0, strangers = 0;
    bool in_order = vq_feature(vq, VIRTIO_F_IN_ORDER);

    for (unsigned i = 0; i < n; i++) {
        VqBlock *b = block_of(e[i]);

        g_assert(e[i]->vq == vq && !b->done);
        b->used_len = elem_used_len(e[i]);
        if (!elem_is_current(vq, e[i])) {
            elem_free(e[i]);
            strangers++;
            continue;
        }
        if (in_order) { /* VIRTIO 1.4, 2.7.9: used in the order made available */
            size_t in2 = e[i]->in2_size - e[i]->in2.left;
            size_t written = in2 ? e[i]->in_size + in2 : e[i]->in_size - e[i]->in.left;

            dma_unmap(vq->d->dma, b->iov, b->blocks, b->nout, DMA_FROM_GUEST, 0);
            dma_unmap(
                vq->d->dma, b->iov + b->nout, b->blocks + b->nout, b->nin, DMA_TO_GUEST, written);
            b->done = true;
        } else {
            done[ndone++] = (VqDone){ e[i]->id, e[i]->ndescs, b->used_len };
            vq->ring_out -= e[i]->ndescs;
            bitmap_clear(vq->inflight, e[i]->id);
            elem_free(e[i]);
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
    VqBlock *b = block_of(e);
    bool current = elem_is_current(vq, e);

    loop_assert(vq->d->loop);
    if (current && vq->d->paused && !vq->broken) {
        memset((char *)e + sizeof *e, 0, MAX(vq->spec->elem_size, sizeof *e) - sizeof *e);
        elem_rewind(e);
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
    elem_free(e);
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
    vq->signalled_valid = false;
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
        elem_free(elem_of(b));
    }
    for (VqBlock *b = vq->order_head; b; b = next) {
        next = b->order_next;
        b->order_next = NULL;
        if (b->done) {
            block_put(vq, b);
        }
    }
    vq->redo_head = vq->redo_tail = vq->order_head = vq->order_tail = NULL;
    rings_unmap(vq);
    vq->epoch++;
    vq->held = vq->ring_out = vq->ahead = vq->since = 0;
    vq->enabled = vq->broken = vq->stopped = vq->need_notify = false;
    if (vq->inflight) {
        memset(vq->inflight, 0, BITMAP_WORDS(vq->inflight_bits) * 8);
    }
}
