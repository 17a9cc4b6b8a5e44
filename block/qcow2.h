/*
 * qcow2, inside the driver. "Spec" in its files is the public "Qcow2 Image File Format".
 *
 * Requests run in worker threads; the lock guards tables and caches, never data I/O. A request
 * holds a Q2Range over its guest clusters: shared to read them and to write into them, exclusive
 * to move them.
 *
 * What a crash may find is settled by the order of write-out (q2_write_out()): first reference
 * counts of what is new, new L2 tables, data in new places; barrier; then L2 entries and L1
 * entries; barrier; then what nobody points to any more is released, and not before taken again.
 */
#pragma once

#include "block-internal.h"

enum {
    Q2_MAGIC = 0x514649fb,
    Q2_MIN_BITS = 9,
    Q2_MAX_BITS = 21,
    Q2_MAX_L1 = 32 << 20, /* bytes */
    Q2_MAX_REFTABLE = 8 << 20,
    Q2_MAX_SNAPSHOTS = 65536,
    Q2_MAX_SNAPSHOT_TABLE = 64 << 20,
    Q2_SLICE = 4096,
    Q2_MIN_SLICES = 8,
};
enum { /* incompatible features */
    Q2_DIRTY = 1 << 0,
    Q2_CORRUPT = 1 << 1,
    Q2_DATA_FILE = 1 << 2,
    Q2_COMPRESSION = 1 << 3,
    Q2_EXTENDED_L2 = 1 << 4,
};
enum { Q2_LAZY = 1 << 0 /* compatible */, Q2_BITMAPS = 1 << 0 /* autoclear */ };

#define Q2_COPIED     (1ull << 63)
#define Q2_COMPRESSED (1ull << 62)
#define Q2_ZERO       1ull
#define Q2_OFFSET     0x00fffffffffffe00ull

/* Offsets of header fields that change while the image is open. */
enum {
    Q2_AT_SIZE = 24,
    Q2_AT_L1_SIZE = 36,
    Q2_AT_L1_OFFSET = 40,
    Q2_AT_REFTABLE = 48,
    Q2_AT_INCOMPAT = 72,
    Q2_AT_AUTOCLEAR = 88
};

typedef struct Q2Switch { /* an option that may be left out */
    bool on, said;
} Q2Switch;
typedef struct Q2Opts {
    Q2Switch lazy, pass_request, pass_snapshot, pass_other, no_unref;
    Json *overlap, *encrypt, *data_file;
    uint64_t cache_size, l2_cache_size, l2_entry_size, ref_cache_size, clean_interval;
} Q2Opts;

/* A piece of a table, big endian as in the file. */
typedef struct Q2Slice {
    uint64_t off;      /* in the file */
    uint32_t l1_index; /* L2 slices: whose table */
    bool dirty;
    struct Q2Slice *newer, *older;
    uint8_t *data;
} Q2Slice;
typedef struct Q2Cache {
    GHashTable *by_off;
    Q2Slice *newest, *oldest;
    unsigned n, max, ndirty;
    uint32_t size; /* of a slice */
} Q2Cache;

typedef struct Q2Range {
    uint64_t first, last; /* guest clusters */
    bool exclusive, active;
    struct Q2Range *prev, *next;
} Q2Range;
typedef struct Q2Run { /* host clusters */
    uint64_t off, len;
    bool discard; /* give it back to the host */
} Q2Run;
typedef struct Q2Snapshot {
    uint64_t l1_off;
    uint32_t l1_size;
} Q2Snapshot;

typedef struct Qcow2 {
    BlkNode *n, *file;
    GMutex lock;
    GCond cond; /* a range has ended */
    unsigned version, cluster_bits, l2_bits, refcount_order, header_length;
    uint64_t cluster;
    uint64_t incompat, compat, autoclear;
    uint64_t l1_off, *l1;
    uint32_t l1_size;
    GArray *l1_dirty; /* uint32_t: entries the file does not have yet */
    uint64_t rt_off, *rt;
    uint32_t rt_size; /* entries */
    Q2Snapshot *snaps;
    uint32_t nsnaps;
    uint64_t snap_off, snap_len;
    uint32_t ext_bitmaps; /* the header speaks of bitmaps */
    Q2Cache l2, ref;
    Q2Range *first_range, *last_range;
    GArray *frees; /* Q2Run: released, but maybe the file still points there */
    uint64_t frees_bytes;
    uint64_t hint;   /* cluster where the search for a free one begins */
    uint64_t virgin; /* from here on nothing was ever written */
    uint64_t opened_size, used_end;
    bool lazy, barrier; /* the next write-out needs its first barrier */
    bool header_backing;
    bool pass_request, pass_other, no_unref; /* options */
    unsigned waiting;
    bool overlap_off;
    bool told;   /* of a corrupt image */
    bool broken; /* corrupt: nothing goes on */
} Qcow2;

/* What a guest offset maps to. */
typedef enum Q2Kind { Q2_NONE, Q2_DATA, Q2_ZEROES, Q2_PACKED } Q2Kind;
typedef struct Q2Map {
    Q2Kind kind;
    bool in_place;  /* may be written where it lies */
    uint64_t entry; /* of the first cluster */
    uint64_t host;  /* of the first cluster's first byte; 0: none */
    uint64_t n;     /* clusters of this kind, one behind the other where they lie somewhere */
} Q2Map;

static inline uint64_t q2_align_up(const Qcow2 *q, uint64_t v)
{
    return (v + q->cluster - 1) & ~(q->cluster - 1);
}

/* qcow2-cache.c; lock held. 0 or -errno. */
void q2_cache_init(Q2Cache *c, uint64_t bytes, uint32_t slice);
void q2_cache_fini(Q2Cache *c);
int q2_cache_get(Qcow2 *q, Q2Cache *c, uint64_t off, Q2Slice **ret);
void q2_cache_dirty(Q2Cache *c, Q2Slice *s);
void q2_cache_drop(Q2Cache *c, uint64_t off, uint64_t len); /* the tables there are gone */
int q2_write_refcounts(Qcow2 *q);
int q2_write_out(Qcow2 *q); /* up to the second barrier, which is the caller's */
int q2_sync(Qcow2 *q);      /* write-out, barrier, release */
int q2_reserve(Qcow2 *q);   /* slices for the next change of a table */
int q2_flush(BlkNode *n);   /* takes the lock */

/* qcow2-refcount.c; lock held. */
int q2_refcount(Qcow2 *q, uint64_t cluster, uint64_t *ret);
int q2_refcount_set(Qcow2 *q, uint64_t cluster, uint64_t v);
/* 1..max clusters in a row, counted once; fresh: the file reads as zeroes there. */
int q2_alloc(Qcow2 *q, uint64_t max, uint64_t *ret_off, uint64_t *ret_n, bool *ret_fresh);
int q2_alloc_row(Qcow2 *q, uint64_t n, uint64_t *ret_off); /* all n */
/* One reference less each; nothing in the file points there any more; or soon. */
int q2_unref_now(Qcow2 *q, uint64_t off, uint64_t len, bool discard);
void q2_unref_later(Qcow2 *q, uint64_t off, uint64_t len, bool discard);
int q2_grow_file(Qcow2 *q, uint64_t end);
/* Before something is written there: no table may lie there. */
int q2_check_overlap(Qcow2 *q, uint64_t off, uint64_t len);
int q2_corrupt(Qcow2 *q, uint64_t off, uint64_t len, const char *fmt, ...) G_GNUC_PRINTF(4, 5);
int q2_header_set(Qcow2 *q, unsigned at, uint64_t v, unsigned bytes);
/* Before tables change: with lazy reference counts the image says so. */
int q2_touch(Qcow2 *q);

/* qcow2-map.c; lock held. */
int q2_map(Qcow2 *q, uint64_t gcluster, uint64_t max, Q2Map *ret);
int q2_entry_set(Qcow2 *q, uint64_t gcluster, uint64_t entry);
/* Where a compressed cluster lies in the file. */
void q2_packed_at(const Qcow2 *q, uint64_t entry, uint64_t *ret_off, uint64_t *ret_len);
/* What an entry pointed to; request: the guest discarded it. */
void q2_release_entry(Qcow2 *q, uint64_t entry, bool request);
uint64_t q2_slice_left(const Qcow2 *q, uint64_t gcluster); /* clusters to the end of its slice */
void q2_range_begin(Qcow2 *q, Q2Range *r, uint64_t first, uint64_t last, bool exclusive);
void q2_range_alone(Qcow2 *q, Q2Range *r); /* shared becomes exclusive */
void q2_range_cut(Qcow2 *q, Q2Range *r, uint64_t last);
void q2_range_end(Qcow2 *q, Q2Range *r);

/* qcow2-io.c */
int q2_preadv(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len);
int q2_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags);
/* qcow2-zero.c */
int q2_discard(BlkNode *n, uint64_t off, uint64_t len);
int q2_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags);
int q2_truncate(BlkNode *n, uint64_t size);
/* qcow2-check.c */
bool q2_repair(Qcow2 *q, GError **err);
/* qcow2-header.c */
bool q2_read_header(Qcow2 *q, GError **err);
void q2_describe(BlkNode *n, JsonWriter *w);
