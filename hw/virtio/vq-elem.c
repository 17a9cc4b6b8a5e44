/*
 * What a virtqueue element is made of: ring parts and buffers in host memory, the collecting of a
 * chain, the pool of element blocks, and the used length (VIRTIO 1.4, 2.7). Covered by
 * tests/unit/test-vq-split.c.
 */
#include "hw/virtio/vq-internal.h"

#include <inttypes.h>
#include <string.h>

static const uint16_t class_iovs[VQ_CLASSES] = { 8, 72, VQ_IOV_MAX };
static const uint16_t class_keep[VQ_CLASSES] = { 256, 64, 2 };

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
        if ((uint8_t *)m->iov[i - 1].iov_base + m->iov[i - 1].iov_len != m->iov[i].iov_base ||
            m->blocks[i] != m->blocks[0]) {
            ring_unmap(vq, m); /* parts that do not meet in the host: two RAM blocks */
            return false;
        }
    }
    return true;
}

void vq_unmap_rings(VirtQueue *vq)
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
    vq_unmap_rings(vq);
    if (!dma_space_master(vq->d->dma)) {
        return false; /* not the driver's fault yet: it may turn bus mastering on again */
    }
    if (!ring_map(vq, &vq->desc, vq->at.desc, desc_len,
            vq->ops == &vq_packed_ops ? DMA_TO_GUEST : DMA_FROM_GUEST) ||
        !ring_map(vq, &vq->driver, vq->at.driver, driver_len, DMA_FROM_GUEST) ||
        !ring_map(vq, &vq->device, vq->at.device, device_len, DMA_TO_GUEST)) {
        vq_unmap_rings(vq);
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

void vq_block_put(VirtQueue *vq, VqBlock *b)
{
    if (vq->nfree[b->cls] >= class_keep[b->cls]) {
        g_free(b);
        return;
    }
    b->next = vq->free[b->cls];
    vq->free[b->cls] = b;
    vq->nfree[b->cls]++;
}

void vq_elem_rewind(VqElem *e)
{
    VqBlock *b = vq_block_of(e);

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
    VqElem *e = vq_elem_of(b);

    memcpy(b->iov, g->iov, g->n * sizeof g->iov[0]);
    memcpy(b->blocks, g->blocks, g->n * sizeof(RamBlock *));
    b->nout = (uint16_t)g->nout;
    b->nin = (uint16_t)(g->n - g->nout);
    b->epoch = vq->epoch;
    e->vq = vq;
    e->id = id;
    e->ndescs = ndescs;
    vq_elem_rewind(e);
    return e;
}

/* used.len: the written prefix (VIRTIO 1.4, 2.7.8.2). */
uint32_t vq_elem_used_len(const VqElem *e)
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

/* Gives back guest memory; what in2 got lies behind all of in. */
void vq_elem_unmap(VqElem *e)
{
    const VqBlock *b = vq_block_of(e);
    DmaSpace *dma = e->vq->d->dma;
    size_t in2 = e->in2_size - e->in2.left;
    size_t written = in2 ? e->in_size + in2 : e->in_size - e->in.left;

    dma_unmap(dma, b->iov, b->blocks, b->nout, DMA_FROM_GUEST, 0);
    dma_unmap(dma, b->iov + b->nout, b->blocks + b->nout, b->nin, DMA_TO_GUEST, written);
}

void vq_elem_free(VqElem *e)
{
    vq_elem_unmap(e);
    vq_block_put(e->vq, vq_block_of(e));
}
