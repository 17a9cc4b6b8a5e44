/* A virtqueue from inside: shared by vq.c, vq-elem.c, vq-split.c, vq-packed.c and virtio.c only.
 * All of it belongs to the queue's loop. */
#pragma once

#include "hw/virtio/virtio.h"
#include "memory/ram.h"
#include "util/fd.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>

/* So likely that a branch is better than a conditional move. */
#define VQ_LIKELY(x)   __builtin_expect_with_probability(!!(x), 1, 0.999)
#define VQ_UNLIKELY(x) __builtin_expect_with_probability(!!(x), 0, 0.999)
#define VQ_COLD        __attribute__((noinline, cold))
#define VQ_NOINLINE    __attribute__((noinline))
/* For what is made twice from one text, with another constant in each. */
#define VQ_INLINE static inline __attribute__((always_inline))

enum {
    VQ_SIZE_MAX = 32768, /* VIRTIO 1.4, 2.7 and 2.8 */
    VQ_TABLE_MIN = 1024, /* descriptors an indirect table may always have */
    VQ_IOV_EXTRA = 64,   /* host pieces beyond descriptors: a buffer splits where RAM blocks meet */
    VQ_BUDGET = 256,     /* chains per turn of the loop, so that one queue starves nobody */
    VQ_TAKE = 16,        /* chains taken together by the short way at most */
    VQ_BATCH = 64,       /* finished chains published together at most */
    VQ_UNSURE = 8,       /* turns of a polling loop between two sure looks at the driver's wish */
    VQ_CLASSES = 3,      /* block sizes of the element pool */
    VQ_SMALL_KEEP = 256, /* blocks of the smallest size that stay in the pool */
    VQ_SMALL_IOVS = 8,   /* pieces in a block of the smallest size */
};
/* VIRTIO 1.4, 2.7.5 and 2.8.13: the same in both rings and in indirect tables. */
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_KIND = DESC_WRITE | DESC_INDIRECT };

/* One stretch of a ring part in host memory. */
typedef struct RingSeg {
    size_t off, len;
    uint8_t *host;
    DmaWin *win;
} RingSeg;

/* One ring part, kept while the space's generation stands. */
typedef struct RingMap {
    uint8_t *host; /* all of it; NULL: in several stretches, as behind an IOMMU */
    RingSeg *segs;
    unsigned n;
} RingMap;

/* What a ring has to remember; saved, loaded, and put back by VQ_STOP. */
typedef struct VqRingState {
    uint16_t avail, used;       /* split: running counters. packed: positions */
    bool avail_wrap, used_wrap; /* packed only */
} VqRingState;

typedef struct VqBlock VqBlock;

/*
 * A chain while it is collected: straight into the small block that will carry it, or, when it has
 * more pieces, into the queue's big arrays.
 */
typedef struct VqGather {
    struct iovec *iov;
    DmaWin **wins; /* of each piece; filled only while win is NULL */
    DmaWin *win;   /* the one window of all pieces so far; NULL: they differ */
    unsigned n, nout, max;
    uint64_t out_len, total;
    VqBlock *small;
    /* made when a chain is long for the first time */
    struct iovec *big_iov;
    DmaWin **big_wins;
    unsigned big_max;
    uint8_t *table; /* a copy of an indirect table that is not in one stretch */
} VqGather;

/* One used entry: of one chain, or with IN_ORDER of several whose last it names. */
typedef struct VqDone {
    uint16_t id, ndescs; /* ring descriptors, in a split ring heads, of all of them */
    uint32_t len;
} VqDone;

typedef struct VqRingOps {
    /* Takes up to max chains of a few buffers in one stretch of RAM, in the blocks that are next
     * in the pool and stay linked: vq->first up to vq->last. It stops without a trace at one that
     * is anything else, or wrong: pop() will tell. vq->more says whether it saw any behind those it
     * took. */
    unsigned (*take)(VirtQueue *vq, unsigned max);
    VqElem *(*pop)(
        VirtQueue *vq); /* validates and maps one chain; NULL: none, or vq_fail() was called */
    void (*publish)(VirtQueue *vq, const VqDone *done, unsigned n);
    /* The same for n linked plain chains in one window as they come from the device, in one go: the
     * last of them. NULL: somebody watches the ring or the buffers, or the ring is gone. */
    VqBlock *(*use)(VirtQueue *vq, VqBlock *b, unsigned n, bool in_order);
    /* sure: waits until the driver sees what was used before its wish is read; only then "no" is
     * an answer. */
    bool (*wants_notify)(VirtQueue *vq, bool sure);
    void (*arm)(VirtQueue *vq, bool on); /* ask for (or spare) notifications by the driver */
    bool (*empty)(VirtQueue *vq);
    VqRingState (*save)(const VirtQueue *vq);
    bool (*load)(VirtQueue *vq, VqRingState s); /* false: impossible values */
} VqRingOps;
extern const VqRingOps vq_split_ops, vq_packed_ops;

/* Lies right before the VqElem in one allocation; iovecs and windows follow the device's request.
 */
struct VqBlock {
    VqBlock
        *next; /* in the pool; with IN_ORDER, while it is out: the next younger one. Stays first */
    VqBlock *redo_next;
    struct iovec *iov;
    const struct iovec *end; /* of the pieces */
    DmaWin **wins;           /* of each piece, when win is NULL */
    DmaWin *win;             /* that all pieces lie in */
    uint32_t epoch, used_len;
    uint8_t cls;
    bool plain;  /* of the smallest size, all in one window, not redone */
    bool done;   /* IN_ORDER: finished, waits for older ones */
    bool full;   /* IN_ORDER: all of the writable part was written */
    bool redone; /* came from the redo list: VQ_STOP puts it back there */
};
/* The block whose next is *link, or what stands for one. */
static inline VqBlock *vq_block_at(VqBlock **link)
{
    return (VqBlock *)(void *)link;
}
enum { BLOCK_HEAD = (sizeof(VqBlock) + 15) / 16 * 16 };
static inline VqBlock *vq_block_of(VqElem *e)
{
    return (VqBlock *)((char *)e - BLOCK_HEAD);
}

static inline VqElem *vq_elem_of(VqBlock *b)
{
    return (VqElem *)((char *)b + BLOCK_HEAD);
}

struct VirtQueue {
    VirtioDev *d; /* NULL after unrealize */
    const VqRingOps *ops;
    const VqSpec *spec;
    const DmaClock *clock;
    DmaTlb *tlb;
    uint64_t generation; /* that the rings and the windows were found in */
    bool enabled, broken;
    bool live;         /* enabled, not broken, not quiet */
    _Atomic bool open; /* enabled, not broken; for others to read */
    bool mapped;
    bool stopped; /* VQ_STOP: until vq_resume() */
    bool armed, need_notify;
    bool polling;        /* the loop looks by itself: the driver is not asked to notify */
    bool more;           /* take() left chains: beyond max, or the next one is for pop() */
    bool plain;          /* what was taken last came from take() */
    bool shown;          /* the driver sees all that was used before */
    uint8_t unsure;      /* polling: turns in which "no interrupt" was taken on trust */
    uint16_t pool_descs; /* VqElem.ndescs in the pool: split 1; packed writes it each time */
    bool signalled_valid;
    bool signalled_wrap;
    VqRingState rs;
    uint16_t avail_seen; /* split: avail.idx as read last */
    uint16_t wish;       /* split: avail.flags, read with it */
    uint16_t signalled;  /* used index at the last interrupt, for EVENT_IDX */
    VqLayout at;
    RingMap desc, driver, device;
    uint8_t *inflight; /* split: heads that are out; packed: buffer ids. A byte each */
    size_t inflight_len;
    unsigned since;         /* packed: descriptors used since the last interrupt */
    unsigned ring_out;      /* ring descriptors of the chains that are out */
    unsigned took;          /* packed: ring descriptors of what take() took last */
    unsigned ahead;         /* descriptors seen beyond rs.avail: chains that were put back */
    _Atomic unsigned out;   /* chains of any epoch that are out; written in the loop only */
    unsigned strangers;     /* of them: chains of an older epoch */
    uint32_t epoch;         /* a reset starts a new one; older chains publish nothing */
    VqBlock *first, *last;  /* what was taken last */
    VqElem *taken[VQ_TAKE]; /* the same, once not all of it is done at once */
    unsigned ndone;
    bool done_full;        /* the last one was written in full */
    VqDone done[VQ_BATCH]; /* finished, not published yet; empty between turns */
    VqGather g;
    VqBlock *free[VQ_CLASSES];
    unsigned nfree[VQ_CLASSES];
    VqBlock *order_head, *order_tail; /* IN_ORDER: chains out, oldest first */
    VqBlock *redo_head, *redo_tail;   /* dropped because the VM stopped; taken again first */
    Loop *loop;
    bool quiet;      /* of a device with several loops that does not run, or is about to stop */
    bool loop_first; /* of those with this loop: one visit is enough for all of them */
    unsigned index;
    size_t elem_extra; /* what the device's request has behind the VqElem: zeroed for it */
    uint16_t max_size;
    int kick_fd;
    _Atomic bool *rung; /* Doorbell.rung of kick_fd */
    LoopFd *kick_watch;
    LoopPoll poll;
    LoopIdle notify;  /* vq_notify_soon() */
    bool hold_notify; /* vq_hold_notify() */
    _Atomic bool kick_posted;
    _Atomic unsigned refs; /* the device, and posted calls */
};

/* vq.c, for virtio.c */
VirtQueue *vq_new(VirtioDev *d, unsigned index, const VqSpec *spec, uint16_t max_size, Loop *loop);
void vq_close(VirtQueue *vq); /* nothing is held: translations go; VM lock */
void vq_unref(VirtQueue *vq);
bool vq_enable(VirtQueue *vq, const VqLayout *at, GError **err);
void vq_disable(
    VirtQueue *vq); /* reset: ring state, mappings, redo list; chains out become strangers */
void vq_run(VirtQueue *vq);
void vq_post_run(VirtQueue *vq);              /* any thread */
void vq_set_quiet(VirtQueue *vq, bool quiet); /* takes nothing meanwhile; in its loop */
int vq_kick_fd(VirtQueue *vq);                /* makes vq->rung, too */
void vq_kick_fd_close(VirtQueue *vq);
/* virtio.c: nothing is held any more and a reset waits for that; d->loop */
void virtio_drained(VirtioDev *d);
unsigned virtio_held(const VirtioDev *d); /* chains out, all queues */
/* vq-elem.c, for vq.c */
void vq_unmap_rings(void *vq);
void vq_block_put(VirtQueue *vq, VqBlock *b);
void vq_blocks_renew(VirtQueue *vq); /* the pool's, for a new epoch */
void vq_trim(VirtQueue *vq);         /* frees small blocks beyond what a pool keeps */
void vq_elem_rewind(VqElem *e);      /* as it was when it was taken */
void vq_elem_free(VqElem *e);        /* unmaps; gives the block back */
void vq_elem_unmap(VqElem *e);
void vq_gather_fini(VirtQueue *vq);
uint8_t *vq_flags_new(size_t n); /* zeroed bytes; long ones cost only what is touched */
void vq_flags_free(uint8_t *flags, size_t n);
/* for the ring files */
bool vq_map_rings(VirtQueue *vq, size_t desc_len, size_t driver_len, size_t device_len);
void vq_small_blocks(VirtQueue *vq, unsigned n); /* at least n of them are free now */
void vq_gather_begin(VirtQueue *vq);
/* Adds one buffer to the chain; false: it may not be there, vq_fail() was called. */
bool vq_gather_add(VirtQueue *vq, uint64_t addr, uint32_t len, bool write);
/* An indirect table: where it lies, or a copy of it; NULL: vq_fail() was called. */
const uint8_t *vq_gather_table(VirtQueue *vq, uint64_t addr, uint32_t len);
VqElem *vq_gather_elem(VirtQueue *vq, uint16_t id, uint16_t ndescs);
void vq_gather_undo(VirtQueue *vq);
uint8_t *vq_ring_seg(const RingMap *m, size_t off);
void vq_ring_written_slow(const RingMap *m, size_t off, size_t len);

static inline bool vq_feature(const VirtQueue *vq, unsigned bit)
{
    return virtio_has(vq->d, bit);
}

/* Chains of this epoch that are out. */
static inline unsigned vq_held(const VirtQueue *vq)
{
    return atomic_load_explicit(&vq->out, memory_order_relaxed) - vq->strangers;
}

/* Where byte off of a ring part lies. A field never crosses a page. */
static inline uint8_t *vq_ring_at(const RingMap *m, size_t off)
{
    return VQ_LIKELY(m->host != NULL) ? m->host + off : vq_ring_seg(m, off);
}

/* True while somebody wants to know what is written to guest memory. */
static inline bool vq_watched(const RamBlock *b)
{
    return atomic_load_explicit(&b->dirty, memory_order_acquire) ||
           atomic_load_explicit(&b->codemask, memory_order_acquire);
}

static inline bool vq_ring_watched(const RingMap *m)
{
    return !m->host || vq_watched(m->segs[0].win->block);
}

static inline void vq_ring_written(const RingMap *m, size_t off, size_t len)
{
    if (VQ_UNLIKELY(vq_ring_watched(m))) {
        vq_ring_written_slow(m, off, len);
    }
}

/*
 * A chain in block b. What to read is in b->iov up to in, len bytes; what is the same for every
 * chain of the block stands there already.
 */
VQ_INLINE void vq_elem_readable(VqBlock *b, const struct iovec *in, uint64_t len)
{
    VqElem *e = vq_elem_of(b);

    e->out.v = b->iov;
    e->out.off = 0;
    e->out.left = len;
    e->in.v = in;
}

/* What to write is from in up to end, len bytes. */
VQ_INLINE void vq_elem_writable(VqBlock *b, const struct iovec *end, uint64_t len)
{
    VqElem *e = vq_elem_of(b);

    b->end = end;
    e->in.left = e->in_size = len;
    /* From in.off to in2.left: two stores, where the compiler alone makes more of it. */
    typedef uint64_t __attribute__((vector_size(16), aligned(8), may_alias)) Pair;
    Pair *zero = (Pair *)(void *)((char *)e + offsetof(VqElem, in.off));
    zero[0] = zero[1] = (Pair){ 0 };
}
_Static_assert(offsetof(VqElem, in2.left) == offsetof(VqElem, in.off) + 24,
    "what is empty in a new chain lies together");

/* In one store: what the ring calls the chain, and VqElem.ndescs. */
VQ_INLINE void vq_elem_name(VqBlock *b, uint32_t id, uint32_t ndescs)
{
    typedef uint32_t __attribute__((may_alias, aligned(2))) Both;

    *(Both *)(void *)&vq_elem_of(b)->id =
        G_BYTE_ORDER == G_LITTLE_ENDIAN ? id | ndescs << 16 : id << 16 | ndescs;
}
_Static_assert(offsetof(VqElem, ndescs) == offsetof(VqElem, id) + 2, "id and ndescs are a pair");

/* The short way: what a turn of the loop knows beforehand of the one window it looks at. */
typedef struct VqFast {
    DmaWin *win;
    uint64_t at, len;
    uint64_t host;
} VqFast;

/* False: the window is not for both directions, or a chain may have less than a small block. */
static inline bool vq_fast_usable(const VirtQueue *vq)
{
    const DmaWin *w = vq->tlb->slot[0];

    return w->len[0] == w->len[1] && vq->at.size >= VQ_SMALL_IOVS;
}

static inline VqFast vq_fast_of(const VirtQueue *vq)
{
    DmaWin *w = vq->tlb->slot[0];

    return (VqFast){ w, w->at, w->len[1], (uintptr_t)w->host };
}

/* One buffer; false: it is empty, or not in the window. */
VQ_INLINE bool vq_fast_add(const VqFast *f, struct iovec *iov, uint64_t addr, uint64_t len)
{
    uint64_t off = addr - f->at, end;

    iov->iov_len = len; /* here, so that one register is enough for both */
    end = off + len;
    if (VQ_UNLIKELY(end <= off) || VQ_UNLIKELY(end > f->len)) {
        return false;
    }
    iov->iov_base = (void *)(uintptr_t)(f->host + off);
    return true;
}

/*
 * The buffers of an indirect table into b, whose head names it; false: pop() will tell. linked: by
 * next, as in a split ring.
 */
bool vq_fast_table(const VirtQueue *vq, VqBlock *b, uint64_t addr, uint32_t len, bool linked);

/* Descriptors of the ring that a chain takes; in a split ring, heads. ndescs 0: one per piece. */
static inline unsigned vq_ring_descs(VqElem *e)
{
    const VqBlock *b = vq_block_of(e);

    return e->ndescs ? e->ndescs : (unsigned)(b->end - b->iov);
}

/* The written prefix: VIRTIO 1.4, 2.7.8.2. */
static inline uint32_t vq_used_len(const VqElem *e)
{
    size_t len = e->in_size - e->in.left;

    return (uint32_t)(e->in.left ? len : len + e->in2_size - e->in2.left);
}

/* IN_ORDER: an entry for it may be left out, since that says "used in full" (2.7.9, 2.8.8). */
static inline bool vq_used_full(const VqElem *e)
{
    return !e->in.left && !e->in2.left;
}

/* Gives back what a finished chain of this epoch holds. */
static inline void vq_elem_done(VirtQueue *vq, VqElem *e, uint32_t len)
{
    VqBlock *b = vq_block_of(e);

    if (VQ_UNLIKELY(!b->plain || (len && vq_watched(b->win->block)))) {
        vq_elem_free(e);
    } else { /* the same for the usual case */
        dma_win_put(b->win, 1);
        b->next = vq->free[0];
        vq->free[0] = b;
        vq->nfree[0]++;
    }
}

/* Reads a descriptor of an indirect table once; returns its second half. */
static inline uint64_t vq_table_desc(const uint8_t *table, unsigned i, uint64_t *ret_addr)
{
    typedef uint64_t __attribute__((aligned(1), may_alias)) Word; /* 2.7.5.3: any address */
    const volatile Word *w = (const volatile Word *)(const void *)(table + i * 16u);

    *ret_addr = le64toh(w[0]);
    return le64toh(w[1]);
}

/* 2.7.4.2: 2^32 bytes in all; we stay below, so that used.len can say it. */
static inline bool vq_gather_ok(VirtQueue *vq)
{
    if (VQ_UNLIKELY(vq->g.total > UINT32_MAX)) {
        vq_fail(vq, "chain of 4 GiB or more");
        return false;
    }
    return true;
}
