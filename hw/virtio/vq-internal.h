/* A virtqueue from inside: shared by vq.c, vq-split.c, vq-packed.c and virtio.c only. All of it
 * belongs to d->loop. */
#pragma once

#include "hw/virtio/virtio.h"
#include "memory/ram.h"
#include "util/fd.h"

#include <stdatomic.h>
#include <sys/uio.h>

enum {
    VQ_TABLE_MAX =
        1024, /* descriptors in one chain: also the least an indirect table may always have */
    VQ_IOV_MAX = VQ_TABLE_MAX + 64, /* host pieces: a buffer splits where RAM blocks meet */
    VQ_BUDGET = 256, /* chains per turn of the loop, so that one queue starves nobody */
    VQ_CLASSES = 3,  /* block sizes of the element pool */
};

/* One ring part in host memory, kept while dma_space_generation() stands. */
typedef struct RingMap {
    uint8_t *host; /* NULL: not mapped */
    size_t len;
    DmaDir dir;
    unsigned n;
    struct iovec iov[4];
    RamBlock *blocks[4];
} RingMap;

/* What a ring has to remember; saved, loaded, and put back by VQ_STOP. */
typedef struct VqRingState {
    uint16_t avail, used;       /* split: running counters. packed: positions */
    bool avail_wrap, used_wrap; /* packed only */
} VqRingState;

/* Where a chain is collected before its element is sized. One per queue, made when it is first
 * enabled. */
typedef struct VqGather {
    unsigned nout, n;
    uint64_t total;
    struct iovec iov[VQ_IOV_MAX];
    RamBlock *blocks[VQ_IOV_MAX];
    uint8_t table[VQ_TABLE_MAX * 16]; /* a copy of the indirect table: no word is read twice */
} VqGather;

typedef struct VqDone {
    uint16_t id, ndescs;
    uint32_t len;
} VqDone;

typedef struct VqRingOps {
    VqElem *(*pop)(
        VirtQueue *vq); /* validates and maps one chain; NULL: none, or vq_fail() was called */
    void (*publish)(VirtQueue *vq, const VqDone *done, unsigned n);
    bool (*wants_notify)(VirtQueue *vq);
    void (*arm)(VirtQueue *vq, bool on); /* ask for (or spare) notifications by the driver */
    bool (*empty)(VirtQueue *vq);
    VqRingState (*save)(const VirtQueue *vq);
    bool (*load)(VirtQueue *vq, VqRingState s); /* false: impossible values */
} VqRingOps;
extern const VqRingOps vq_split_ops, vq_packed_ops;

/* Lies right before the VqElem in one allocation; iovecs and block references follow the device's
 * request. */
typedef struct VqBlock VqBlock;
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
    unsigned index;
    const VqSpec *spec;
    uint16_t max_size;
    const VqRingOps *ops;
    VqLayout at;
    bool enabled, broken;
    bool stopped; /* VQ_STOP: until vq_resume() */
    bool armed, need_notify;
    VqRingState rs;
    uint16_t avail_seen; /* split: avail.idx as read last */
    uint16_t signalled;  /* used index at the last interrupt, for EVENT_IDX */
    bool signalled_valid;
    bool signalled_wrap;
    unsigned since;    /* packed: descriptors used since the last interrupt */
    unsigned ring_out; /* ring descriptors of the chains that are out */
    unsigned ahead;    /* descriptors seen beyond rs.avail: chains that were put back */
    RingMap desc, driver, device;
    uint64_t generation;
    bool mapped;
    uint64_t *inflight; /* split: heads that are out; packed: buffer ids */
    size_t inflight_bits;
    unsigned held;        /* chains of this epoch that are out */
    _Atomic unsigned out; /* chains of any epoch that are out */
    uint32_t epoch;       /* a reset starts a new one; older chains publish nothing */
    VqBlock *free[VQ_CLASSES];
    unsigned nfree[VQ_CLASSES];
    VqBlock *order_head, *order_tail; /* IN_ORDER: chains out, oldest first */
    VqBlock *redo_head, *redo_tail;   /* dropped because the VM stopped; taken again first */
    VqGather *gather;
    int kick_fd;
    LoopFd *kick_watch;
    _Atomic bool kick_posted;
    _Atomic unsigned refs; /* the device, and posted calls */
};

/* vq.c, for virtio.c */
VirtQueue *vq_new(VirtioDev *d, unsigned index, const VqSpec *spec, uint16_t max_size);
void vq_unref(VirtQueue *vq);
bool vq_enable(VirtQueue *vq, const VqLayout *at, GError **err);
void vq_disable(
    VirtQueue *vq); /* reset: ring state, mappings, redo list; chains out become strangers */
void vq_run(VirtQueue *vq);
void vq_post_run(VirtQueue *vq); /* any thread */
int vq_kick_fd(VirtQueue *vq);
void vq_kick_fd_close(VirtQueue *vq);
/* virtio.c: nothing is held any more and a reset waits for that; d->loop */
void virtio_drained(VirtioDev *d);
/* vq-elem.c, for vq.c */
void vq_unmap_rings(VirtQueue *vq);
void vq_block_put(VirtQueue *vq, VqBlock *b);
void vq_elem_rewind(VqElem *e); /* as it was when it was taken */
uint32_t vq_elem_used_len(const VqElem *e);
void vq_elem_unmap(VqElem *e);
void vq_elem_free(VqElem *e); /* unmaps; gives the block back */
/* for the ring files */
bool vq_map_rings(VirtQueue *vq, size_t desc_len, size_t driver_len, size_t device_len);
bool vq_gather_add(VirtQueue *vq, uint64_t addr, uint32_t len, bool write);
const uint8_t *vq_gather_table(VirtQueue *vq, uint64_t addr,
    uint32_t len); /* reads an indirect table; NULL: vq_fail() was called */
VqElem *vq_gather_elem(VirtQueue *vq, uint16_t id, uint16_t ndescs);
void vq_gather_undo(VirtQueue *vq);
void vq_ring_written(VirtQueue *vq, const RingMap *m, const void *at, size_t len);
bool vq_feature(const VirtQueue *vq, unsigned bit);
