/* qcow2: discards, zeroes without writing them, and another size. Tested by test-qcow2. */
#include "qcow2.h"

#include <errno.h>
#include <string.h>

typedef enum Q2How { Q2_FORGET, Q2_ZERO_KEEP, Q2_ZERO_UNMAP } Q2How;

/* Whether clusters the tables do not know read as zeroes, here and for who opens the image next. */
static bool none_is_zero(const Qcow2 *q)
{
    return !q->n->backing && !q->header_backing;
}

/* What an entry becomes. *ret_gone: what it pointed to is released. */
static uint64_t emptied(const Qcow2 *q, uint64_t e, Q2How how, bool own, bool *ret_gone)
{
    bool packed = e & Q2_COMPRESSED;
    uint64_t host = packed ? 0 : e & Q2_OFFSET;

    *ret_gone = false;
    if (!e && (none_is_zero(q) || q->version < 3)) {
        return e;
    }
    /* A place of its own may be kept for the next write. */
    if (host && e & Q2_COPIED && own && q->version >= 3 && (how == Q2_ZERO_KEEP || q->no_unref)) {
        return e | Q2_ZERO;
    }
    *ret_gone = packed || host;
    return none_is_zero(q) ? 0 : Q2_ZERO;
}

/* Clusters first..last, as far as one slice of a table goes. Returns how many, or -errno. */
static int64_t empty_some(Qcow2 *q, uint64_t first, uint64_t last, Q2How how)
{
    uint64_t n = MIN(last - first + 1, q2_slice_left(q, first));
    Q2Range r;
    int rc = 0;

    g_mutex_lock(&q->lock);
    q2_range_begin(q, &r, first, first + n - 1, /* exclusive= */ true);
    for (uint64_t g = first; g < first + n && !rc; g++) {
        Q2Map m;
        bool gone = false;

        rc = q2_reserve(q);
        rc = rc ? rc : q2_map(q, g, first + n - g, &m);
        if (!rc && m.kind == Q2_NONE && (none_is_zero(q) || q->version < 3)) {
            g += m.n - 1; /* nothing to do */
            continue;
        }
        uint64_t e = 0;
        if (!rc) {
            bool own = q->l1[g >> q->l2_bits] & Q2_COPIED;
            e = emptied(q, m.entry, how, own, &gone);
        }
        if (!rc && e != m.entry) {
            rc = q2_entry_set(q, g, e);
        }
        if (!rc && gone) {
            q2_release_entry(q, m.entry, how == Q2_FORGET);
        }
    }
    q2_range_end(q, &r);
    g_mutex_unlock(&q->lock);
    return rc ? rc : (int64_t)n;
}

static int empty_all(Qcow2 *q, uint64_t first, uint64_t last, Q2How how)
{
    while (first <= last) {
        int64_t n = empty_some(q, first, last, how);
        if (n < 0) {
            return (int)n;
        }
        first += (uint64_t)n;
    }
    return 0;
}

/* Whole clusters of a range; the last one of the disk counts as whole. False: none. */
static bool whole(
    const Qcow2 *q, uint64_t off, uint64_t len, uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t end = off + len;

    *ret_first = q2_align_up(q, off) >> q->cluster_bits;
    *ret_end = (end == q->n->size ? q2_align_up(q, end) : end) >> q->cluster_bits;
    return *ret_first < *ret_end;
}

int q2_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    Qcow2 *q = n->state;
    uint64_t first, end;

    /* Version 2 cannot say "not what lies below". */
    if (!whole(q, off, len, &first, &end) || (q->version < 3 && !none_is_zero(q))) {
        return 0;
    }
    return empty_all(q, first, end - 1, Q2_FORGET);
}

static int zero_edge(BlkNode *n, uint64_t off, uint64_t len)
{
    Qcow2 *q = n->state;
    Q2Map m;

    if (!len) {
        return 0;
    }
    g_mutex_lock(&q->lock);
    int rc = q2_reserve(q);

    rc = rc ? rc : q2_map(q, off >> q->cluster_bits, 1, &m);
    g_mutex_unlock(&q->lock);
    if (rc || m.kind == Q2_ZEROES || (m.kind == Q2_NONE && !n->backing)) {
        return rc;
    }
    return blk_node_zero_by_write(n, off, len);
}

int q2_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Qcow2 *q = n->state;
    uint64_t first, end, from, to;

    if (q->version < 3 && !(flags & BLK_MAY_UNMAP && none_is_zero(q))) {
        return -ENOTSUP;
    }
    if (!whole(q, off, len, &first, &end)) {
        /* A piece of one cluster, or of two. */
        uint64_t cut = MIN(len, q2_align_up(q, off + 1) - off);
        int rc = zero_edge(n, off, cut);
        return rc ? rc : zero_edge(n, off + cut, len - cut);
    }
    from = first << q->cluster_bits;
    to = end << q->cluster_bits;
    int rc = zero_edge(n, off, from - off);

    rc = rc ? rc
            : empty_all(q, first, end - 1, flags & BLK_MAY_UNMAP ? Q2_ZERO_UNMAP : Q2_ZERO_KEEP);
    return rc || to >= off + len ? rc : zero_edge(n, to, off + len - to);
}

/* ---- size ---- */

/* A longer L1 table elsewhere. Lock held. */
static int grow_l1(Qcow2 *q, uint64_t size)
{
    uint64_t bytes = q2_align_up(q, size * 8), off;

    if (size * 8 > Q2_MAX_L1) {
        return -EFBIG;
    }
    int rc = q2_sync(q); /* what the old table does not say yet */

    rc = rc ? rc : q2_alloc_row(q, bytes >> q->cluster_bits, &off);
    if (rc) {
        return rc;
    }
    g_autofree uint64_t *be = g_malloc0(bytes);
    uint32_t n = GUINT32_TO_BE((uint32_t)size);
    uint64_t where = GUINT64_TO_BE(off);
    uint8_t head[12];

    for (uint32_t i = 0; i < q->l1_size; i++) {
        be[i] = GUINT64_TO_BE(q->l1[i]);
    }
    memcpy(head, &n, 4);
    memcpy(head + 4, &where, 8);
    rc = blk_node_pwrite(q->file, off, be, bytes);
    rc = rc ? rc : q2_write_refcounts(q);
    rc = rc ? rc : blk_node_flush(q->file);
    rc = rc ? rc : blk_node_pwrite(q->file, Q2_AT_L1_SIZE, head, sizeof head);
    if (rc) {
        q2_unref_now(q, off, bytes, false);
        return rc;
    }
    rc = blk_node_flush(q->file);
    uint64_t old_off = q->l1_off, old_len = q->l1_size * 8ull;

    q->l1 = g_renew(uint64_t, q->l1, size);
    memset(q->l1 + q->l1_size, 0, (size - q->l1_size) * 8);
    q->l1_size = (uint32_t)size;
    q->l1_off = off;
    if (!rc && old_len) {
        q2_unref_later(q, old_off, old_len, q->pass_other);
    }
    return rc;
}

static int set_size(Qcow2 *q, uint64_t size)
{
    g_mutex_lock(&q->lock);
    int rc = q2_header_set(q, Q2_AT_SIZE, size, 8);

    rc = rc ? rc : q2_sync(q);
    g_mutex_unlock(&q->lock);
    if (!rc) {
        q->n->size = size;
    }
    return rc;
}

/* The tables stay as long as they are; what they had behind the end is released. */
static int shrink(Qcow2 *q, uint64_t size)
{
    uint64_t first = q2_align_up(q, size) >> q->cluster_bits,
             end = q2_align_up(q, q->n->size) >> q->cluster_bits;
    int rc = first < end ? empty_all(q, first, end - 1, Q2_FORGET) : 0;

    return rc ? rc : set_size(q, size);
}

int q2_truncate(BlkNode *n, uint64_t size)
{
    Qcow2 *q = n->state;
    uint64_t old = n->size;

    if (n->read_only) {
        return -EACCES;
    }
    if (size % 512) {
        return -EINVAL;
    }
    if (size > INT64_MAX - q->cluster) {
        return -EFBIG;
    }
    if (size < old) {
        return shrink(q, size);
    }
    uint64_t per_table = q->cluster << q->l2_bits, l1 = size / per_table + !!(size % per_table);

    g_mutex_lock(&q->lock);
    int rc = q->broken ? -EIO : l1 > q->l1_size ? grow_l1(q, l1) : 0;
    g_mutex_unlock(&q->lock);
    if (rc) {
        return rc;
    }
    /* What was behind the end is zero now, whatever lies below. */
    uint64_t part = MIN(q2_align_up(q, old), size) - old;
    uint64_t below = n->backing ? MIN(n->backing->size, size) : 0;

    rc = zero_edge(n, old, part);
    if (!rc && below > old + part) {
        rc = blk_node_zeroes(n, old + part, below - old - part, BLK_MAY_UNMAP);
    }
    return rc ? rc : set_size(q, size);
}
