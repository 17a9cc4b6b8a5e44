/* virtio-blk: a disk (VIRTIO 1.4, 5.2). Requests go straight from the chain's memory to the block
 * layer. Tested by test-virtio-blk. */
#include "backends/iothread.h"
#include "block/block.h"
#include "hw/core/machine.h"
#include "hw/virtio/virtio-pci.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum {
    BLK_F_SEG_MAX = 2,
    BLK_F_GEOMETRY = 4,
    BLK_F_RO = 5,
    BLK_F_BLK_SIZE = 6,
    BLK_F_SCSI = 7,
    BLK_F_FLUSH = 9,
    BLK_F_TOPOLOGY = 10,
    BLK_F_CONFIG_WCE = 11,
    BLK_F_MQ = 12,
    BLK_F_DISCARD = 13,
    BLK_F_WRITE_ZEROES = 14,
};
enum {
    T_IN = 0,
    T_OUT = 1,
    T_SCSI_CMD = 2,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13
};
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum {
    SECTOR_BITS = 9,
    ID_BYTES = 20,
    SECTORS_MAX = 4194303, /* of one discard or write-zeroes: 2 GiB less a sector */
    INLINE_IOV = 8,
    MERGE_IOV = 1024, /* of requests that go to the host as one */
    MERGE_BYTES = 1 << 20,
    ANSWERS = 64,
    QUEUES_AUTO = UINT16_MAX,
    LEGACY_BARRIER = 0x80000000
};

typedef struct BlkConfig {
    le64 capacity;
    le32 size_max, seg_max;
    struct {
        le16 cylinders;
        uint8_t heads, sectors;
    } geometry;
    le32 blk_size;
    uint8_t physical_block_exp, alignment_offset;
    le16 min_io_size;
    le32 opt_io_size;
    uint8_t writeback, unused0;
    le16 num_queues;
    le32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
    le32 max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed)) BlkConfig;
_Static_assert(sizeof(BlkConfig) == 60, "VIRTIO 1.4, 5.2.4");
_Static_assert(offsetof(BlkConfig, writeback) == 32, "VIRTIO 1.4, 5.2.4");
_Static_assert(offsetof(BlkConfig, max_discard_sectors) == 36, "VIRTIO 1.4, 5.2.4");

typedef struct BlkHeader {
    le32 type, reserved;
    le64 sector;
} BlkHeader;
_Static_assert(sizeof(BlkHeader) == 16, "VIRTIO 1.4, 5.2.6");

typedef struct BlkRange { /* discard, write zeroes */
    le64 sector;
    le32 num_sectors, flags;
} BlkRange;
_Static_assert(sizeof(BlkRange) == 16, "VIRTIO 1.4, 5.2.6");

typedef struct VirtioBlk {
    VirtioDev vd;
    Blk *blk;
    uint16_t num_queues, queue_size;
    BlkConf conf;
    uint32_t lcyls, lheads, lsecs;
    uint32_t max_discard, max_write_zeroes;
    char *serial;
    IoThreadUse threads;
    bool config_wce, discard, write_zeroes, seg_max_adjust, merging, share_rw, report_granularity,
        wce_if_config_wce;
    OnOffAuto write_cache, account_failed, account_invalid, backend_defaults;
    int32_t bootindex;
    VqSpec spec;
    struct BlkQueue *q; /* num_queues of them */
    bool attached, wce; /* the cache mode a reset goes back to */
} VirtioBlk;

typedef struct BlkQueue { /* its loop's own */
    VirtioBlk *s;
    Loop *loop;
    struct VBlkReq *first, *last;     /* reads and writes of this turn, linked by e.next */
    struct VBlkReq *held, *held_last; /* failed, and the VM stops for it; linked by e.next */
    VqElem *answered[ANSWERS];        /* for the driver, in one go before the loop sleeps */
    unsigned nanswered;
    LoopIdle answer;
} BlkQueue;

typedef struct VBlkReq {
    VqElem e; /* first: vq.h */
    BlkReq b;
    struct iovec *iov, inline_iov[INLINE_IOV];
    struct iovec *merged; /* of this one and those behind e.next; NULL: not merged */
    uint32_t type;
} VBlkReq;

static inline BlkQueue *queue_of(const VBlkReq *r)
{
    return &((VirtioBlk *)vq_dev(r->e.vq))->q[vq_index(r->e.vq)];
}

/* What was answered goes to the driver. */
static void answer(BlkQueue *q)
{
    unsigned n = q->nanswered;

    if (n) {
        VirtQueue *vq = q->answered[0]->vq;

        q->nanswered = 0;
        vq_push_all(q->answered, n);
        vq_notify(vq);
    }
}

static void answer_idle(void *opaque)
{
    answer(opaque);
}

/* The request has its status; the core pushes it, or finish() does. */
static inline void set_status(VBlkReq *r, uint8_t status)
{
    if (r->iov != r->inline_iov) {
        g_clear_pointer(&r->iov, g_free);
    }
    /* A failed read publishes no data: the prefix written is empty (VIRTIO 1.4, 2.7.8.2). */
    bool ok = status != S_OK || r->type != T_IN || giov_skip(&r->e.in, r->e.in.left);
    ok = ok && giov_put(&r->e.in2, &status, 1);
    g_assert(ok);
}

static void finish(VBlkReq *r, uint8_t status)
{
    BlkQueue *q = queue_of(r);

    set_status(r, status);
    if (q->nanswered == ANSWERS) {
        answer(q);
    }
    if (!q->nanswered) {
        loop_idle(q->loop, &q->answer);
    }
    q->answered[q->nanswered++] = &r->e;
}

/* Not answered. While the VM stands the core keeps it, and it is done anew when the VM goes on. */
static void forget(VBlkReq *r)
{
    if (r->iov != r->inline_iov) {
        g_clear_pointer(&r->iov, g_free);
    }
    r->e.next = NULL;
    vq_drop(&r->e);
}

static void forget_held(BlkQueue *q)
{
    VBlkReq *r = q->held;

    q->held = q->held_last = NULL;
    for (VBlkReq *next; r; r = next) {
        next = (VBlkReq *)r->e.next;
        forget(r);
    }
}

/* The VM is about to stop for r and those behind it. */
static void hold(VBlkReq *r)
{
    BlkQueue *q = queue_of(r);

    if (q->held) {
        q->held_last->e.next = &r->e;
    } else {
        q->held = r;
    }
    while (r->e.next) {
        r = (VBlkReq *)r->e.next;
    }
    q->held_last = r;
    if (!q->s->vd.started) { /* a reset was faster: nobody waits for the answer */
        forget_held(q);
    }
}

static void blk_done(BlkReq *b)
{
    VBlkReq *r = (VBlkReq *)((char *)b - offsetof(VBlkReq, b));
    BlkOnError action = b->error ? blk_error_action(b) : BLK_ON_ERROR_IGNORE;

    g_clear_pointer(&r->merged, g_free);
    if (action == BLK_ON_ERROR_STOP) {
        hold(r);
        return;
    }
    uint8_t status = action == BLK_ON_ERROR_IGNORE ? S_OK
                     : b->error == -ENOTSUP        ? S_UNSUPP
                                                   : S_IOERR;
    for (VBlkReq *next; r; r = next) {
        next = (VBlkReq *)r->e.next;
        finish(r, status);
    }
}

/* Neighbours in the queue that are neighbours on the disk go to the host as one request. */
static VBlkReq *merge(VBlkReq *r)
{
    VBlkReq *last = r, *n;
    uint64_t len = r->b.len;
    unsigned niov = r->b.niov, at = 0, joined = 0;

    while ((n = (VBlkReq *)last->e.next) && n->b.op == r->b.op && n->b.off == r->b.off + len &&
           niov + n->b.niov <= MERGE_IOV && len + n->b.len <= MERGE_BYTES) {
        joined++;
        len += n->b.len;
        niov += n->b.niov;
        last = n;
    }
    if (last == r || !(r->merged = g_try_new(struct iovec, niov))) {
        return r;
    }
    for (n = r; at < niov; n = (VBlkReq *)n->e.next) {
        memcpy(r->merged + at, n->b.iov, n->b.niov * sizeof *n->b.iov);
        at += n->b.niov;
    }
    r->b.iov = r->merged;
    r->b.niov = niov;
    r->b.len = len;
    r->b.joined = joined;
    return last;
}

static void submit_batch(BlkQueue *q)
{
    while (q->first) {
        VBlkReq *r = q->first, *last = merge(r);

        q->first = (VBlkReq *)last->e.next;
        last->e.next = NULL;
        blk_submit(q->s->blk, &r->b);
    }
    q->last = NULL;
}

static void blk_batch_end(VirtioDev *d, VirtQueue *vq)
{
    submit_batch(&((VirtioBlk *)d)->q[vq_index(vq)]);
}

/* Borrows the chain's own iovecs where they fit; copies them where header or status share a
 * descriptor with data. */
static bool map_data(VBlkReq *r, const GIov *g)
{
    const struct iovec *v = g->v;
    size_t off = g->off, sum = 0;
    unsigned n = 0;

    if (off && off == v->iov_len) { /* the header had a descriptor of its own */
        v++;
        off = 0;
    }
    while (sum < g->left) {
        sum += v[n].iov_len - (n ? 0 : off);
        n++;
    }
    if (G_LIKELY(!off && sum == g->left)) {
        r->b.iov = v;
        r->b.niov = n;
        return true;
    }
    if (n > INLINE_IOV) {
        r->iov = g_try_new(struct iovec, n);
        if (!r->iov) {
            r->iov = r->inline_iov;
            return false;
        }
    }
    r->b.niov = giov_iovec(g, r->iov, n);
    r->b.iov = r->iov;
    return true;
}

static bool range_ok(const VirtioBlk *s, uint64_t sector, uint64_t bytes)
{
    uint64_t cap = blk_size(s->blk) >> SECTOR_BITS, n = bytes >> SECTOR_BITS;
    uint64_t mask = (s->conf.logical_block >> SECTOR_BITS) - 1;

    return !(bytes & ((1u << SECTOR_BITS) - 1)) && sector <= cap && n <= cap - sector &&
           !(sector & mask) && !(n & mask);
}

static VqVerdict submit_rw(VirtioBlk *s, VBlkReq *r, uint64_t sector)
{
    const GIov *g = r->type == T_IN ? &r->e.in : &r->e.out;

    if (!range_ok(s, sector, g->left) || (r->type == T_OUT && blk_read_only(s->blk)) ||
        !map_data(r, g)) {
        blk_count_invalid(s->blk, r->b.lane, r->type == T_IN ? BLK_READ : BLK_WRITE);
        finish(r, S_IOERR);
        return VQ_HELD;
    }
    r->b.op = r->type == T_IN ? BLK_READ : BLK_WRITE;
    r->b.off = sector << SECTOR_BITS;
    r->b.len = g->left;
    if (blk_submit_now(s->blk, &r->b)) {
        set_status(r, S_OK);
        return VQ_DONE;
    }
    if (!s->merging) {
        blk_submit(s->blk, &r->b);
        return VQ_HELD;
    }
    BlkQueue *q = queue_of(r);

    r->e.next = NULL;
    if (q->last) {
        q->last->e.next = &r->e;
    } else {
        q->first = r;
    }
    q->last = r;
    return VQ_HELD;
}

static VqVerdict submit_range(VirtioBlk *s, VBlkReq *r)
{
    bool zeroes = r->type == T_WRITE_ZEROES;
    BlkRange seg;

    if (!virtio_has(&s->vd, zeroes ? BLK_F_WRITE_ZEROES : BLK_F_DISCARD)) {
        finish(r, S_UNSUPP);
        return VQ_HELD;
    }
    /* One segment a request is what we offer (max_discard_seg, max_write_zeroes_seg). */
    if (r->e.out.left != sizeof seg || !giov_get(&r->e.out, &seg, sizeof seg)) {
        finish(r, S_IOERR);
        return VQ_HELD;
    }
    uint32_t n = le32_get(seg.num_sectors), flags = le32_get(seg.flags);
    /* VIRTIO 1.4, 5.2.6.2: unknown flags, and unmap in a discard, are unsupported. */
    if (flags & ~(zeroes ? 1u : 0u)) {
        finish(r, S_UNSUPP);
        return VQ_HELD;
    }
    if (n > (zeroes ? s->max_write_zeroes : s->max_discard) ||
        !range_ok(s, le64_get(seg.sector), (uint64_t)n << SECTOR_BITS) || blk_read_only(s->blk)) {
        blk_count_invalid(s->blk, r->b.lane, zeroes ? BLK_WRITE : BLK_DISCARD);
        finish(r, S_IOERR);
        return VQ_HELD;
    }
    r->b.op = zeroes ? BLK_WRITE_ZEROES : BLK_DISCARD;
    r->b.flags = flags & 1 ? BLK_MAY_UNMAP : 0;
    r->b.off = le64_get(seg.sector) << SECTOR_BITS;
    r->b.len = (uint64_t)n << SECTOR_BITS;
    blk_submit(s->blk, &r->b);
    return VQ_HELD;
}

static VqVerdict get_id(const VirtioBlk *s, VBlkReq *r)
{
    char id[ID_BYTES] = { 0 };
    const char *text = s->serial ? s->serial : blk_serial(s->blk);

    /* Padded with NUL; not terminated when it fills the field (VIRTIO 1.4, 5.2.6). */
    memcpy(id, text ? text : "", text ? MIN(strlen(text), sizeof id) : 0);
    bool ok = giov_put(&r->e.in, id, MIN(r->e.in.left, sizeof id));
    finish(r, ok ? S_OK : S_IOERR);
    return VQ_HELD;
}

static VqVerdict blk_request(VirtioDev *d, VqElem *e)
{
    VirtioBlk *s = (VirtioBlk *)d;
    VBlkReq *r = (VBlkReq *)e;
    BlkHeader h;

    r->iov = r->inline_iov;
    r->merged = NULL;
    r->b.done = blk_done;
    r->b.flags = 0;
    r->b.joined = 0;
    r->b.lane = vq_index(e->vq);
    if (!giov_get(&e->out, &h, sizeof h) || !e->in.left || !vq_split_in(e, e->in.left - 1)) {
        vq_fail(e->vq, "request without header or status (VIRTIO 1.4, 5.2.6)");
        return VQ_DONE;
    }
    r->type = le32_get(h.type) & ~(d->legacy ? (uint32_t)LEGACY_BARRIER : 0u);
    switch (r->type) {
    case T_IN:
    case T_OUT:
        return submit_rw(s, r, le64_get(h.sector));
    case T_FLUSH:
        submit_batch(queue_of(r));
        r->b.op = BLK_FLUSH;
        r->b.off = r->b.len = 0;
        blk_submit(s->blk, &r->b);
        return VQ_HELD;
    case T_GET_ID:
        return get_id(s, r);
    case T_DISCARD:
    case T_WRITE_ZEROES:
        submit_batch(queue_of(r));
        return submit_range(s, r);
    default:
        finish(r, S_UNSUPP); /* SCSI commands too, as QEMU does (VIRTIO 1.4, 5.2.6.2) */
        return VQ_HELD;
    }
}

/* ---- configuration ---- */

static size_t blk_config_len(VirtioDev *d)
{
    const VirtioBlk *s = (VirtioBlk *)d;

    /* QEMU compat: as long as the last field whose feature is offered; with the padding behind it,
     * which has to read 0: VIRTIO 1.4, 5.2.5.2. */
    return s->write_zeroes ? sizeof(BlkConfig)
           : s->discard    ? offsetof(BlkConfig, max_write_zeroes_sectors)
                           : offsetof(BlkConfig, max_discard_sectors);
}

static void blk_config(VirtioDev *d, void *cfg)
{
    const VirtioBlk *s = (VirtioBlk *)d;
    uint64_t cap = blk_size(s->blk) >> SECTOR_BITS;
    int shift = __builtin_ctzll(s->conf.logical_block);
    uint64_t cyls = s->conf.cyls ? s->conf.cyls : CLAMP(cap / (16 * 63), 2, 16383);
    BlkConfig c = {
        .capacity = le64_of(cap),
        .seg_max = le32_of(s->seg_max_adjust ? s->queue_size - 2u : 128 - 2),
        .geometry = { le16_of((uint16_t)cyls), (uint8_t)(s->conf.heads ? s->conf.heads : 16),
            /* QEMU compat: whole logical blocks in a track. */
            (uint8_t)((s->conf.secs ? s->conf.secs : 63) &
                      ~((s->conf.logical_block >> SECTOR_BITS) - 1)) },
        .blk_size = le32_of((uint32_t)s->conf.logical_block),
        .physical_block_exp = (uint8_t)(__builtin_ctzll(s->conf.physical_block) - shift),
        .min_io_size = le16_of((uint16_t)(s->conf.min_io >> shift)),
        .opt_io_size = le32_of(s->conf.opt_io >> shift),
        .writeback = blk_write_cache(s->blk),
        .num_queues = le16_of(s->num_queues),
        .max_discard_sectors = le32_of(s->max_discard),
        .max_discard_seg = le32_of(1),
        .discard_sector_alignment = le32_of((uint32_t)(s->conf.logical_block >> SECTOR_BITS)),
        .max_write_zeroes_sectors = le32_of(s->max_write_zeroes),
        .max_write_zeroes_seg = le32_of(1),
        .write_zeroes_may_unmap = 1,
    };

    if (s->conf.discard_granularity != UINT32_MAX && s->report_granularity) {
        c.discard_sector_alignment =
            le32_of((uint32_t)(s->conf.discard_granularity >> SECTOR_BITS));
    }
    memcpy(cfg, &c, blk_config_len(d));
}

static void blk_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len)
{
    VirtioBlk *s = (VirtioBlk *)d;
    size_t at = offsetof(BlkConfig, writeback);

    /* The driver owns this byte once it accepted CONFIG_WCE (VIRTIO 1.4, 5.2.5). */
    if (virtio_has(d, BLK_F_CONFIG_WCE) && off <= at && at - off < len) {
        blk_set_write_cache(s->blk, ((const uint8_t *)cfg)[at] != 0);
    }
}

static VirtioFeatures blk_offer(VirtioDev *d, VirtioFeatures f)
{
    const VirtioBlk *s = (VirtioBlk *)d;
    /* QEMU compat: a legacy-only device offers the SCSI bit, whose commands answer "unsupported",
     * and no ANY_LAYOUT. */
    bool modern = vf_has(f, VIRTIO_F_VERSION_1);
    static const unsigned always[] = { BLK_F_SEG_MAX, BLK_F_GEOMETRY, BLK_F_BLK_SIZE,
        BLK_F_TOPOLOGY };

    for (unsigned i = 0; i < G_N_ELEMENTS(always); i++) {
        vf_set(&f, always[i], true);
    }
    vf_set(&f, BLK_F_SCSI, !modern);
    vf_set(&f, VIRTIO_F_ANY_LAYOUT, modern && vf_has(f, VIRTIO_F_ANY_LAYOUT));
    vf_set(&f, BLK_F_RO, blk_read_only(s->blk));
    vf_set(&f, BLK_F_CONFIG_WCE, s->config_wce);
    vf_set(&f, BLK_F_FLUSH, s->config_wce || blk_write_cache(s->blk));
    vf_set(&f, BLK_F_MQ, s->num_queues > 1);
    vf_set(&f, BLK_F_DISCARD, s->discard);
    vf_set(&f, BLK_F_WRITE_ZEROES, s->write_zeroes);
    return f;
}

static bool blk_start(VirtioDev *d, G_GNUC_UNUSED GError **err)
{
    VirtioBlk *s = (VirtioBlk *)d;

    /* A driver that cannot flush gets write-through (VIRTIO 1.4, 5.2.5.1, 5.2.5.3). */
    if (!virtio_has(d, BLK_F_CONFIG_WCE)) {
        blk_set_write_cache(s->blk, virtio_has(d, BLK_F_FLUSH) && s->wce);
    }
    return true;
}

static bool blk_features_ok(VirtioDev *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    /* VIRTIO 1.4, 5.2.5.2: writeback starts as 0 for a driver that can switch it but not flush.
     * A legacy driver's feature bits change nothing (5.2.5.3). */
    if (!d->legacy && virtio_has(d, BLK_F_CONFIG_WCE) && !virtio_has(d, BLK_F_FLUSH)) {
        blk_set_write_cache(s->blk, false);
    }
    return true;
}

/* In the queue's loop: no chain stays here. */
static void leave(void *opaque)
{
    BlkQueue *q = opaque;

    answer(q);
    forget_held(q);
    loop_idle_cancel(q->loop, &q->answer);
}

/* On a reset the core waits for what is still out; nothing else has to. */
static void blk_stop(VirtioDev *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    if (d->paused) {
        blk_drain(s->blk);
    }
    for (unsigned i = 0; i < s->num_queues; i++) {
        loop_call(s->q[i].loop, leave, &s->q[i]);
    }
}

/* A machine's reset does not wait in the core: the guest's memory must not change under the next
 * boot. */
static void blk_reset(VirtioDev *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    blk_drain(s->blk);
    blk_set_write_cache(s->blk, s->wce);
}

static void blk_queue_reset(VirtioDev *d, unsigned i)
{
    VirtioBlk *s = (VirtioBlk *)d;

    blk_drain_lane(s->blk, i); /* others go on: not until all is still */
    loop_call(s->q[i].loop, leave, &s->q[i]);
}

static void blk_resized(void *opaque)
{
    virtio_config_changed(opaque);
}

static unsigned blk_queue_count(VirtioDev *d)
{
    return ((VirtioBlk *)d)->num_queues;
}

static const VqSpec *blk_queue_spec(VirtioDev *d, G_GNUC_UNUSED unsigned i, uint16_t *ret_size)
{
    *ret_size = ((VirtioBlk *)d)->queue_size;
    return &((VirtioBlk *)d)->spec;
}

static bool blk_props_ok(VirtioBlk *s, GError **err)
{
    if (!s->blk) {
        return err_set(err, "drive property not set");
    }
    if (!blk_inserted(s->blk)) {
        return err_set(err, "Device needs media, but drive is empty");
    }
    if (s->num_queues == QUEUES_AUTO) {
        s->num_queues = (uint16_t)(s->vd.bus_ops && s->vd.bus_ops->default_queues
                                       ? s->vd.bus_ops->default_queues(s->vd.transport)
                                       : 1);
    }
    if (!s->num_queues || s->num_queues > VIRTIO_QUEUE_MAX) {
        return err_set(err,
            s->num_queues ? "num-queues property must be at most %d"
                          : "num-queues property must be larger than 0",
            VIRTIO_QUEUE_MAX);
    }
    if (s->queue_size <= 2) {
        return err_set(err, "invalid queue-size property (%u), must be > 2", s->queue_size);
    }
    if ((s->queue_size & (s->queue_size - 1)) || s->queue_size > 1024) {
        return err_set(err, "invalid queue-size property (%u), must be a power of 2 (max 1024)",
            s->queue_size);
    }
    if (s->discard && (!s->max_discard || s->max_discard > SECTORS_MAX)) {
        return err_set(err, "invalid max-discard-sectors property (%u), must be between 1 and %d",
            s->max_discard, SECTORS_MAX);
    }
    if (s->write_zeroes && (!s->max_write_zeroes || s->max_write_zeroes > SECTORS_MAX)) {
        return err_set(err,
            "invalid max-write-zeroes-sectors property (%u), must be between 1 and %d",
            s->max_write_zeroes, SECTORS_MAX);
    }
    return blk_conf_check(&s->conf, s->blk, 512, err);
}

static Loop *blk_queue_loop(VirtioDev *d, unsigned i)
{
    return ((VirtioBlk *)d)->q[i].loop;
}

/* The data path moves to the threads' loops: requests, their completion, interrupts. */
static bool use_threads(VirtioBlk *s, GError **err)
{
    const Machine *m = dev_machine((Dev *)s->vd.transport);
    const IoThreadUse *u = &s->threads;

    if (!iothread_use_take(&s->threads, m ? m->objects : NULL, s->num_queues, err)) {
        return false;
    }
    s->vd.loop = u->nthreads == 1 ? u->loop[0] : loop_main();
    g_autofree Loop **loop = g_new(Loop *, s->num_queues);

    s->q = g_new0(BlkQueue, s->num_queues);
    for (unsigned i = 0; i < s->num_queues; i++) {
        loop[i] = u->loop ? u->loop[i] : s->vd.loop;
        s->q[i] = (BlkQueue){
            .s = s, .loop = loop[i], .answer = { .fn = answer_idle, .opaque = &s->q[i] }
        };
    }
    blk_set_loops(s->blk, loop, s->num_queues); /* BlkReq.lane is the queue's number */
    return true;
}

static bool blk_realize(VirtioDev *d, GError **err)
{
    VirtioBlk *s = (VirtioBlk *)d;

    if (!blk_props_ok(s, err) || !blk_attach(s->blk, &d->dev.obj, s->share_rw, err)) {
        return false;
    }
    s->attached = true;
    if (!use_threads(s, err)) {
        blk_detach(s->blk);
        s->attached = false;
        return false;
    }
    if (s->write_cache != ON_OFF_AUTO_AUTO) {
        blk_set_write_cache(s->blk, s->write_cache == ON_OFF_AUTO_ON);
    }
    s->wce = blk_write_cache(s->blk);
    s->spec = (VqSpec){ .name = "requests",
        .size = s->queue_size,
        .elem_size = sizeof(VBlkReq),
        .unclean = true,
        .request = blk_request,
        .batch_end = blk_batch_end };
    blk_set_accounting(s->blk, s->account_failed, s->account_invalid);
    blk_on_resize(s->blk, blk_resized, s);
    return true;
}

static void blk_unrealize(VirtioDev *d)
{
    VirtioBlk *s = (VirtioBlk *)d;

    if (s->q) {
        blk_drain(s->blk);
        for (unsigned i = 0; i < s->num_queues; i++) {
            loop_call(s->q[i].loop, leave, &s->q[i]);
        }
        g_clear_pointer(&s->q, g_free);
    }
    if (s->attached) {
        blk_leave(s->blk);
        s->attached = false;
        s->blk = NULL;
    }
    d->loop = loop_main();
    iothread_use_release(&s->threads);
}

/* clang-format off */
const PropSpec virtio_blk_props[] = {
    PROP_DRIVE("drive", VirtioBlk, blk, "block node or drive"),
    PROP_U32("class", VirtioBlk, vd.pci_class, 0, "PCI class and sub-class; 0: mass storage, SCSI"),
    PROP_IOTHREAD_USE(VirtioBlk, threads),
    PROP_U16("num-queues", VirtioBlk, num_queues, QUEUES_AUTO, "request queues; 65535: one per vCPU"),
    PROP_U16("queue-size", VirtioBlk, queue_size, 256, "descriptors in each queue"),
    PROP_STR("serial", VirtioBlk, serial, "serial number, up to 20 bytes"),
    PROP_I32("bootindex", VirtioBlk, bootindex, -1, "place in the boot order"),
    PROP_SIZE("logical_block_size", VirtioBlk, conf.logical_block, 0, "bytes"),
    PROP_SIZE("physical_block_size", VirtioBlk, conf.physical_block, 0, "bytes"),
    PROP_SIZE32("min_io_size", VirtioBlk, conf.min_io, 0, "bytes"),
    PROP_SIZE32("opt_io_size", VirtioBlk, conf.opt_io, 0, "bytes"),
    PROP_SIZE("discard_granularity", VirtioBlk, conf.discard_granularity, UINT32_MAX, "bytes"),
    PROP_U32("cyls", VirtioBlk, conf.cyls, 0, "cylinders"),
    PROP_U32("heads", VirtioBlk, conf.heads, 0, "heads"),
    PROP_U32("secs", VirtioBlk, conf.secs, 0, "sectors per track"),
    PROP_U32("lcyls", VirtioBlk, lcyls, 0, "logical cylinders for the firmware"),
    PROP_U32("lheads", VirtioBlk, lheads, 0, "logical heads for the firmware"),
    PROP_U32("lsecs", VirtioBlk, lsecs, 0, "logical sectors for the firmware"),
    PROP_BOOL("config-wce", VirtioBlk, config_wce, true, "the driver may switch the write cache"),
    PROP_BOOL("discard", VirtioBlk, discard, true, "offer discard"),
    PROP_BOOL("write-zeroes", VirtioBlk, write_zeroes, true, "offer write zeroes"),
    PROP_U32("max-discard-sectors", VirtioBlk, max_discard, 4194303, "sectors in one discard"),
    PROP_U32("max-write-zeroes-sectors", VirtioBlk, max_write_zeroes, 4194303, "sectors in one write zeroes"),
    PROP_BOOL("seg-max-adjust", VirtioBlk, seg_max_adjust, true, "seg_max follows the queue size"),
    PROP_BOOL("request-merging", VirtioBlk, merging, true, "join requests that are neighbours"),
    PROP_BOOL("report-discard-granularity", VirtioBlk, report_granularity, true, "report the granularity"),
    PROP_BOOL("share-rw", VirtioBlk, share_rw, false, "others may write the image too"),
    PROP_BOOL("x-enable-wce-if-config-wce", VirtioBlk, wce_if_config_wce, true, "offer FLUSH with config-wce"),
    PROP_ENUM("werror", VirtioBlk, conf.werror, prop_blk_on_error, 0, "what a write error does"),
    PROP_ENUM("rerror", VirtioBlk, conf.rerror, prop_blk_on_error, 0, "what a read error does"),
    PROP_ON_OFF_AUTO("write-cache", VirtioBlk, write_cache, ON_OFF_AUTO_AUTO, "write-back cache"),
    PROP_ON_OFF_AUTO("account-failed", VirtioBlk, account_failed, ON_OFF_AUTO_AUTO, "count failed requests"),
    PROP_ON_OFF_AUTO("account-invalid", VirtioBlk, account_invalid, ON_OFF_AUTO_AUTO, "count invalid requests"),
    PROP_ON_OFF_AUTO("backend_defaults", VirtioBlk, backend_defaults, ON_OFF_AUTO_AUTO, "take block sizes from the host"),
    PROP_END,
};
/* clang-format on */

static const VirtioOps blk_ops = {
    .id = 2,
    .transitional_id = 0x1001,
    .pci_class = 0x010000,
    .queue_count = blk_queue_count,
    .queue_spec = blk_queue_spec,
    .queue_loop = blk_queue_loop,
    .config_size = sizeof(BlkConfig),
    .config_len = blk_config_len,
    .offer = blk_offer,
    .config_told = true,
    .config = blk_config,
    .config_wrote = blk_config_wrote,
    .start = blk_start,
    .stop = blk_stop,
    .reset = blk_reset,
    .features_ok = blk_features_ok,
    .queue_reset = blk_queue_reset,
    .realize = blk_realize,
    .unrealize = blk_unrealize,
};

const ObjClass virtio_blk_class = {
    .name = "virtio-blk-device",
    .parent = "virtio-device",
    .help = "a disk",
    .category = "Storage",
    .size = sizeof(VirtioBlk),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_blk_props, NULL }, { NULL, NULL } },
    .ops = &blk_ops,
};
VIRTIO_PCI_TYPES(virtio_blk, "virtio-blk", virtio_blk_class, virtio_blk_props, "Storage");
