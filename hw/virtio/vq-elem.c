/*
 * What a virtqueue element is made of: ring parts and buffers in host memory, the collecting of a
 * chain, the pool of element blocks, and the used length (VIRTIO 1.4, 2.7). Covered by
 * tests/unit/test-vq-split.c and test-iommu.c.
 */
#include "hw/virtio/vq-internal.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

static const uint16_t class_iovs[VQ_CLASSES - 1] = { VQ_SMALL_IOVS, 72 };
static const uint16_t class_keep[VQ_CLASSES] = { VQ_SMALL_KEEP, 64, 0 };

/* Ring parts in host memory. */
static void ring_unmap(RingMap *m)
{
    for (unsigned i = 0; i < m->n; i++) {
        dma_win_put(m->segs[i].win, 1);
    }
    g_clear_pointer(&m->segs, g_free);
    m->n = 0;
    m->host = NULL;
}

static bool ring_map(VirtQueue *vq, RingMap *m, uint64_t at, size_t len, DmaDir dir)
{
    uint64_t here = 0;

    for (size_t off = 0; off < len; off += here) {
        DmaWin *w = dma_tlb_find(vq->tlb, at + off, len - off, dir == DMA_TO_GUEST, &here);

        if (!w) {
            ring_unmap(m);
            return false;
        }
        w->refs++;
        m->segs = g_renew(RingSeg, m->segs, m->n + 1);
        m->segs[m->n++] = (RingSeg){ off, here, w->host + (at + off - w->at), w };
    }
    m->host = m->n == 1 ? m->segs[0].host : NULL;
    return true;
}

void vq_unmap_rings(void *opaque)
{
    VirtQueue *vq = opaque;

    ring_unmap(&vq->desc);
    ring_unmap(&vq->driver);
    ring_unmap(&vq->device);
    vq->mapped = false;
}

/* The packed ring's descriptors are read and written: both must be allowed. */
static bool ring_readable(VirtQueue *vq, const RingMap *m, uint64_t at)
{
    uint64_t here;

    for (unsigned i = 0; i < m->n; i++) {
        DmaWin *w = dma_tlb_find(vq->tlb, at + m->segs[i].off, 1, /* write= */ false, &here);

        if (!w || w->host + (at + m->segs[i].off - w->at) != m->segs[i].host) {
            return false;
        }
    }
    return true;
}

bool vq_map_rings(VirtQueue *vq, size_t desc_len, size_t driver_len, size_t device_len)
{
    bool packed = vq->ops == &vq_packed_ops;
    /* Read first: a change while we map makes the next check translate again. */
    uint64_t generation = dma_clock_now(vq->clock);

    vq_unmap_rings(vq);
    dma_tlb_flush(vq->tlb);
    vq->generation = generation;
    if (!dma_space_master(vq->d->dma)) {
        return false; /* not the driver's fault yet: it may turn bus mastering on again */
    }
    if (!ring_map(vq, &vq->desc, vq->at.desc, desc_len, packed ? DMA_TO_GUEST : DMA_FROM_GUEST) ||
        (packed && !ring_readable(vq, &vq->desc, vq->at.desc)) ||
        !ring_map(vq, &vq->driver, vq->at.driver, driver_len, DMA_FROM_GUEST) ||
        !ring_map(vq, &vq->device, vq->at.device, device_len, DMA_TO_GUEST)) {
        vq_unmap_rings(vq);
        if (dma_space_master(vq->d->dma)) {
            vq_fail(vq,
                "rings at 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64
                " are not in RAM (VIRTIO 1.4, 2.6)",
                vq->at.desc, vq->at.driver, vq->at.device);
        }
        return false;
    }
    vq->mapped = true;
    return true;
}

static const RingSeg *seg_of(const RingMap *m, size_t off)
{
    unsigned lo = 0, hi = m->n;

    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;

        if (m->segs[mid].off <= off) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return &m->segs[lo];
}

uint8_t *vq_ring_seg(const RingMap *m, size_t off)
{
    const RingSeg *s = seg_of(m, off);

    return s->host + (off - s->off);
}

void vq_ring_written_slow(const RingMap *m, size_t off, size_t len)
{
    while (len) {
        const RingSeg *s = seg_of(m, off);
        size_t here = MIN(len, s->len - (off - s->off));
        RamBlock *b = s->win->block;

        ram_written(b, (uint64_t)(s->host + (off - s->off) - b->host), here);
        off += here;
        len -= here;
    }
}

/* Collecting a chain: one place for all that a buffer may not be (VIRTIO 1.4, 2.7.4, 2.7.5). */

/* Pieces from several windows: each names its own. */
static void gather_mixed(VqGather *g)
{
    if (g->win) {
        for (unsigned i = 0; i < g->n; i++) {
            g->wins[i] = g->win;
        }
        g->win->refs += g->n;
        g->win = NULL;
    }
}

static bool gather_grow(VirtQueue *vq)
{
    VqGather *g = &vq->g;
    unsigned want = MAX(VQ_TABLE_MIN, vq->at.size) + VQ_IOV_EXTRA;

    if (g->iov == g->big_iov && g->big_iov) {
        return false;
    }
    if (g->big_max < want) {
        g_free(g->big_iov);
        g_free(g->big_wins);
        g->big_iov = g_new(struct iovec, want);
        g->big_wins = g_new(DmaWin *, want);
        g->big_max = want;
    }
    memcpy(g->big_iov, g->iov, g->n * sizeof g->iov[0]);
    memcpy(g->big_wins, g->wins, g->win ? 0 : g->n * sizeof g->wins[0]);
    g->iov = g->big_iov;
    g->wins = g->big_wins;
    g->max = g->big_max;
    return true;
}

static bool gather_pieces(VirtQueue *vq, uint64_t addr, uint32_t len, bool write)
{
    VqGather *g = &vq->g;
    uint64_t here = 0;

    for (uint64_t done = 0; done < len; done += here) {
        DmaWin *w = dma_tlb_find(vq->tlb, addr + done, len - done, write, &here);

        if (!w || (g->n == g->max && !gather_grow(vq))) {
            return false;
        }
        if (!g->n) {
            g->win = w;
        } else if (w != g->win) {
            gather_mixed(g);
        }
        if (!g->win) {
            g->wins[g->n] = w;
            w->refs++;
        }
        g->iov[g->n++] = (struct iovec){ w->host + (addr + done - w->at), here };
    }
    return true;
}

bool vq_gather_add(VirtQueue *vq, uint64_t addr, uint32_t len, bool write)
{
    VqGather *g = &vq->g;
    uint64_t end;

    if (!len) {
        vq_fail(vq, "zero-length buffer (VIRTIO 1.4, 2.7.5, 2.8.4)");
        return false;
    }
    if (!write && g->n > g->nout) {
        vq_fail(
            vq, "device-readable buffer after a device-writable one (VIRTIO 1.4, 2.7.4.2, 2.8.17)");
        return false;
    }
    if (__builtin_add_overflow(addr, len - 1, &end) || !gather_pieces(vq, addr, len, write)) {
        if (dma_space_master(vq->d->dma)) { /* else the chain waits until it is on again */
            vq_fail(vq,
                "buffer of %u bytes at 0x%" PRIx64 " is not in RAM (VIRTIO 1.4, 2.7.5, 2.8.4)", len,
                addr);
        }
        return false;
    }
    g->total += len;
    if (!write) {
        g->nout = g->n;
        g->out_len = g->total;
    }
    return true;
}

const uint8_t *vq_gather_table(VirtQueue *vq, uint64_t addr, uint32_t len)
{
    uint32_t max = MAX(VQ_TABLE_MIN, vq->at.size) * 16u;
    uint64_t here = 0;
    const DmaWin *w;

    if (!len || len % 16) {
        vq_fail(vq, "indirect table of %u bytes (VIRTIO 1.4, 2.7.5.3, 2.8.7)", len);
        return NULL;
    }
    if (len > max) {
        vq_fail(vq, "indirect table of %u descriptors (VIRTIO 1.4, 2.7.5.3.1, 2.8.19)", len / 16);
        return NULL;
    }
    w = dma_tlb_find(vq->tlb, addr, len, /* write= */ false, &here);
    if (!vq->g.n) {
        vq->g.win = vq->tlb->slot[0];
    }
    if (w && here == len) {
        return w->host + (addr - w->at); /* each descriptor is read once where it lies */
    }
    if (!vq->g.table) {
        vq->g.table = g_malloc(MAX(VQ_TABLE_MIN, vq->max_size) * 16u);
    }
    if (!w || !dma_read(vq->d->dma, (Iova){ addr }, vq->g.table, len)) {
        if (dma_space_master(vq->d->dma)) {
            vq_fail(vq,
                "indirect table at 0x%" PRIx64 " is not in RAM (VIRTIO 1.4, 2.7.5.3, 2.8.7)", addr);
        }
        return NULL;
    }
    return vq->g.table;
}

bool vq_fast_table(const VirtQueue *vq, VqBlock *b, uint64_t addr, uint32_t len, bool linked)
{
    const VqFast f = vq_fast_of(vq);
    struct iovec table, *iov = b->iov, *in = NULL;
    uint64_t total = 0, out_len = 0;
    bool last = false;

    if (!vq_feature(vq, VIRTIO_F_INDIRECT_DESC) || len % 16 ||
        !vq_fast_add(&f, &table, addr, len)) {
        return false;
    }
    for (unsigned i = 0; !last; iov++) {
        uint64_t rest = vq_table_desc(table.iov_base, i, &addr);
        unsigned flags = (unsigned)(rest >> (linked ? 32 : 48));

        if (i++ == VQ_SMALL_IOVS || (in && !(flags & DESC_WRITE)) ||
            !vq_fast_add(&f, iov, addr, (uint32_t)rest)) {
            return false;
        }
        if (!in && flags & DESC_WRITE) {
            in = iov;
            out_len = total;
        }
        total += (uint32_t)rest;
        last = linked ? !(flags & DESC_NEXT) : i == len / 16;
        if (linked && (flags & DESC_INDIRECT || (!last && (rest >> 48 != i || i == len / 16)))) {
            return false;
        }
    }
    vq_elem_readable(b, in ? in : iov, in ? out_len : total);
    vq_elem_writable(b, iov, in ? total - out_len : 0);
    return total <= UINT32_MAX; /* 2.7.4.2 */
}

void vq_gather_undo(VirtQueue *vq)
{
    VqGather *g = &vq->g;

    for (unsigned i = 0; i < g->n && !g->win; i++) {
        dma_win_put(g->wins[i], 1);
    }
    g->n = g->nout = 0;
}

void vq_gather_fini(VirtQueue *vq)
{
    g_free(vq->g.big_iov);
    g_free(vq->g.big_wins);
    g_free(vq->g.table);
}

/* The element pool. */
static size_t block_iov_offset(const VirtQueue *vq)
{
    return (BLOCK_HEAD + MAX(vq->spec->elem_size, sizeof(VqElem)) + 15) / 16 * 16;
}

/* What stands in a block of the pool for the chain to come. */
static void block_renew(const VirtQueue *vq, VqBlock *b)
{
    b->epoch = vq->epoch;
    vq_elem_of(b)->ndescs = vq->pool_descs;
}

static VqBlock *block_new(VirtQueue *vq, unsigned cls, unsigned niov)
{
    size_t at = block_iov_offset(vq);
    VqBlock *b = g_malloc(at + niov * (sizeof(struct iovec) + sizeof(DmaWin *)));

    memset(b, 0, at);
    vq_elem_of(b)->vq = vq;
    b->cls = (uint8_t)cls;
    b->plain = !cls;
    block_renew(vq, b);
    b->iov = (struct iovec *)((char *)b + at);
    b->wins = (DmaWin **)(b->iov + niov);
    return b;
}

void vq_small_blocks(VirtQueue *vq, unsigned n)
{
    while (vq->nfree[0] < n) {
        VqBlock *b = block_new(vq, 0, VQ_SMALL_IOVS);

        b->next = vq->free[0];
        vq->free[0] = b;
        vq->nfree[0]++;
    }
}

void vq_gather_begin(VirtQueue *vq)
{
    VqGather *g = &vq->g;

    vq_small_blocks(vq, 1);
    g->small = vq->free[0];
    g->iov = g->small->iov;
    g->wins = g->small->wins;
    g->win = vq->tlb->slot[0];
    g->n = g->nout = 0;
    g->max = VQ_SMALL_IOVS;
    g->out_len = g->total = 0;
}

/* For a chain that outgrew the small block. The largest ones are made to measure. */
static VqBlock *block_get(VirtQueue *vq, unsigned niov)
{
    unsigned cls = niov <= class_iovs[1] ? 1 : 2;
    VqBlock *b = vq->free[cls];

    if (!b || cls == 2) {
        return block_new(vq, cls, cls == 1 ? class_iovs[1] : niov);
    }
    vq->free[cls] = b->next;
    vq->nfree[cls]--;
    return b;
}

void vq_trim(VirtQueue *vq)
{
    while (vq->nfree[0] > VQ_SMALL_KEEP) {
        VqBlock *b = vq->free[0];

        vq->free[0] = b->next;
        vq->nfree[0]--;
        g_free(b);
    }
}

void vq_blocks_renew(VirtQueue *vq)
{
    for (unsigned c = 0; c < VQ_CLASSES; c++) {
        for (VqBlock *b = vq->free[c]; b; b = b->next) {
            block_renew(vq, b);
        }
    }
}

void vq_block_put(VirtQueue *vq, VqBlock *b)
{
    b->done = b->redone = false;
    b->plain = !b->cls;
    block_renew(vq, b);
    if (VQ_UNLIKELY(b->cls == 2 || vq->nfree[b->cls] >= class_keep[b->cls])) {
        g_free(b);
        return;
    }
    b->next = vq->free[b->cls];
    vq->free[b->cls] = b;
    vq->nfree[b->cls]++;
}

/* Where the device-writable part began before the cursors moved: no piece is empty. */
static const struct iovec *first_written(VqElem *e)
{
    const struct iovec *v = vq_block_of(e)->end;

    for (size_t left = e->in_size + e->in2_size; left; left -= v->iov_len) {
        v--;
    }
    return v;
}

void vq_elem_rewind(VqElem *e)
{
    VqBlock *b = vq_block_of(e);
    const struct iovec *in = first_written(e);

    giov_init(&e->out, b->iov, (unsigned)(in - b->iov));
    giov_init(&e->in, in, (unsigned)(b->end - in));
    e->in_size = e->in.left;
    e->in2 = (GIov){ 0 };
    e->in2_size = 0;
}

VqElem *vq_gather_elem(VirtQueue *vq, uint16_t id, uint16_t ndescs)
{
    const VqGather *g = &vq->g;
    VqBlock *b = g->small;
    VqElem *e;

    if (g->iov == b->iov) {
        vq->free[0] = b->next;
        vq->nfree[0]--;
    } else {
        b = block_get(vq, g->n);
        memcpy(b->iov, g->iov, g->n * sizeof g->iov[0]);
        memcpy(b->wins, g->wins, g->win ? 0 : g->n * sizeof g->wins[0]);
    }
    if (g->win) {
        g->win->refs++; /* one for all of the chain */
    }
    e = vq_elem_of(b);
    vq_elem_readable(b, b->iov + g->nout, g->out_len);
    vq_elem_writable(b, b->iov + g->n, g->total - g->out_len);
    b->win = g->win;
    b->plain = g->win && !b->cls;
    e->id = id;
    e->ndescs = ndescs;
    memset(e + 1, 0, vq->elem_extra);
    return e;
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

static void mark_written(VqElem *e, size_t written)
{
    const VqBlock *b = vq_block_of(e);

    for (const struct iovec *v = first_written(e); v < b->end && written; v++) {
        size_t here = MIN(written, v->iov_len);
        RamBlock *ram = (b->win ? b->win : b->wins[v - b->iov])->block;

        ram_written(ram, (uint64_t)((uint8_t *)v->iov_base - ram->host), here);
        written -= here;
    }
}

enum { FLAGS_ON_HEAP = 4096 };

uint8_t *vq_flags_new(size_t n)
{
    void *p;

    if (n <= FLAGS_ON_HEAP) {
        return g_malloc0(n);
    }
    p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(p != MAP_FAILED); /* as any other allocation */
    return p;
}

void vq_flags_free(uint8_t *flags, size_t n)
{
    if (flags && n > FLAGS_ON_HEAP) {
        munmap(flags, n);
    } else {
        g_free(flags);
    }
}

/* Gives back guest memory; what in2 got lies behind all of in. */
void vq_elem_unmap(VqElem *e)
{
    const VqBlock *b = vq_block_of(e);
    size_t in2 = e->in2_size - e->in2.left;
    size_t written = in2 ? e->in_size + in2 : e->in_size - e->in.left;

    if (VQ_LIKELY(b->win != NULL)) {
        if (written && VQ_UNLIKELY(vq_watched(b->win->block))) {
            mark_written(e, written);
        }
        dma_win_put(b->win, 1);
        return;
    }
    mark_written(e, written);
    for (unsigned i = 0, n = (unsigned)(b->end - b->iov); i < n; i++) {
        dma_win_put(b->wins[i], 1);
    }
}

void vq_elem_free(VqElem *e)
{
    vq_elem_unmap(e);
    vq_block_put(e->vq, vq_block_of(e));
}
