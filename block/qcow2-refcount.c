/* qcow2: reference counts and the search for free clusters (Spec, "Host cluster management").
 * Tested by test-qcow2. */
#include "qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static unsigned block_bits(const Qcow2 *q) /* log2 of the counts in a refcount block */
{
    return q->cluster_bits + 3 - q->refcount_order;
}

static uint64_t count_get(const Qcow2 *q, const uint8_t *p, uint64_t i)
{
    uint64_t v = 0;

    if (q->refcount_order < 3) {
        unsigned per = 8u >> q->refcount_order, width = 1u << q->refcount_order;
        return p[i / per] >> (i % per * width) & ((1u << width) - 1);
    }
    unsigned n = 1u << (q->refcount_order - 3);

    for (unsigned k = 0; k < n; k++) {
        v = v << 8 | p[i * n + k];
    }
    return v;
}

static void count_put(const Qcow2 *q, uint8_t *p, uint64_t i, uint64_t v)
{
    if (q->refcount_order < 3) {
        unsigned per = 8u >> q->refcount_order, width = 1u << q->refcount_order,
                 shift = i % per * width;
        uint8_t mask = (uint8_t)(((1u << width) - 1) << shift);

        p[i / per] = (uint8_t)((p[i / per] & ~mask) | (v << shift));
        return;
    }
    unsigned n = 1u << (q->refcount_order - 3);

    for (unsigned k = n; k--; v >>= 8) {
        p[i * n + k] = (uint8_t)v;
    }
}

static uint64_t count_max(const Qcow2 *q)
{
    return q->refcount_order == 6 ? UINT64_MAX : (1ull << (1u << q->refcount_order)) - 1;
}

/* The slice that holds a cluster's count and its place there. *ret NULL: no block, all are zero. */
static int count_slice(Qcow2 *q, uint64_t cluster, Q2Slice **ret, uint64_t *ret_at)
{
    uint64_t index = cluster >> block_bits(q), in = cluster & ((1ull << block_bits(q)) - 1);
    uint64_t byte = in << q->refcount_order >> 3;

    *ret = NULL;
    if (index >= q->rt_size || !q->rt[index]) {
        return 0;
    }
    if (q->rt[index] & (q->cluster - 1)) {
        return q2_corrupt(q, UINT64_MAX, 0,
            "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")", q->rt[index],
            index);
    }
    *ret_at = in & (((uint64_t)q->ref.size << 3 >> q->refcount_order) - 1);
    return q2_cache_get(q, &q->ref, q->rt[index] + (byte & ~((uint64_t)q->ref.size - 1)), ret);
}

int q2_refcount(Qcow2 *q, uint64_t cluster, uint64_t *ret)
{
    Q2Slice *s;
    uint64_t at = 0;
    int rc = count_slice(q, cluster, &s, &at);

    *ret = !rc && s ? count_get(q, s->data, at) : 0;
    return rc;
}

int q2_refcount_set(Qcow2 *q, uint64_t cluster, uint64_t v)
{
    Q2Slice *s;
    uint64_t at = 0;
    int rc = q2_touch(q);

    rc = rc ? rc : count_slice(q, cluster, &s, &at);
    if (rc) {
        return rc;
    }
    if (!s) {
        return -EIO;
    }
    if (v > count_max(q)) {
        return -EINVAL;
    }
    count_put(q, s->data, at, v);
    q2_cache_dirty(&q->ref, s);
    q->barrier |= !q->lazy;
    return 0;
}

int q2_grow_file(Qcow2 *q, uint64_t end)
{
    uint64_t step = MAX(q->cluster, 1ull << 20), to = (end + step - 1) & ~(step - 1);

    q->used_end = MAX(q->used_end, end);
    q->virgin = MAX(q->virgin, q2_align_up(q, end));
    if (end <= q->file->size) {
        return 0;
    }
    int rc = blk_node_truncate(q->file, to);
    return rc == -ENOTSUP ? -ENOSPC : rc;
}

/* An empty table in the file; new space is zero already. */
static int zero_area(Qcow2 *q, uint64_t off, uint64_t len)
{
    bool fresh = off >= q->virgin;
    int rc = q2_grow_file(q, off + len);

    return rc || (fresh && q->file->drv->truncate) ? rc : blk_node_zeroes(q->file, off, len, 0);
}

/*
 * Gives n clusters in a row a place of their own at the beginning of a part of the file that no
 * refcount block describes (reftable index first): new blocks, then the n clusters, all counted.
 * The blocks are in the file when this returns, the table's entries in memory alone.
 */
static int place(Qcow2 *q, uint64_t first, uint64_t n, uint64_t *ret_off, uint64_t *ret_blocks)
{
    uint64_t per = 1ull << block_bits(q), nb = 1, at = first * per;

    while (nb * per < nb + n) {
        nb++;
    }
    if (first + nb > q->rt_size) {
        return -EFBIG;
    }
    int rc = q2_check_overlap(q, at << q->cluster_bits, (nb + n) << q->cluster_bits);

    rc = rc ? rc : zero_area(q, at << q->cluster_bits, (nb + n) << q->cluster_bits);
    for (uint64_t i = 0; i < nb && !rc; i++) {
        q->rt[first + i] = (at + i) << q->cluster_bits;
        q2_cache_drop(&q->ref, q->rt[first + i], q->cluster);
    }
    for (uint64_t i = 0; i < nb + n && !rc; i++) {
        rc = q2_refcount_set(q, at + i, 1);
    }
    rc = rc ? rc : q2_write_refcounts(q);
    rc = rc ? rc : blk_node_flush(q->file);
    for (uint64_t i = 0; i < nb && rc; i++) { /* as if nothing had been */
        q2_cache_drop(&q->ref, (at + i) << q->cluster_bits, q->cluster);
        q->rt[first + i] = 0;
    }
    *ret_off = (at + nb) << q->cluster_bits;
    *ret_blocks = nb;
    return rc;
}

/* Writes the table's new entries: their blocks are in the file. */
static int link_blocks(Qcow2 *q, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++) {
        uint64_t v = GUINT64_TO_BE(q->rt[i]);
        int rc = blk_node_pwrite(q->file, q->rt_off + i * 8, &v, sizeof v);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int header_reftable(Qcow2 *q, uint64_t off, uint64_t clusters)
{
    uint64_t v[2] = { GUINT64_TO_BE(off), 0 };
    uint32_t n = GUINT32_TO_BE((uint32_t)clusters);

    memcpy(&v[1], &n, sizeof n);
    int rc = blk_node_pwrite(q->file, Q2_AT_REFTABLE, v, 12);
    return rc ? rc : blk_node_flush(q->file);
}

/* A longer table, behind everything the old one reaches. */
static int grow_reftable(Qcow2 *q, uint64_t index)
{
    uint64_t per_cluster = q->cluster / 8, old_size = q->rt_size, old_off = q->rt_off;
    uint64_t want = MAX(index + 4, old_size + old_size / 2), blocks = 0, off = 0;
    uint64_t clusters = (want + per_cluster - 1) / per_cluster;
    uint64_t size = clusters * per_cluster;
    uint64_t *old = q->rt;

    if (size * 8 > Q2_MAX_REFTABLE) {
        return -EFBIG;
    }
    q->rt = g_new0(uint64_t, size);
    memcpy(q->rt, old, old_size * 8);
    q->rt_size = (uint32_t)size;
    int rc = place(q, old_size, clusters, &off, &blocks);
    g_autofree uint64_t *be = g_new(uint64_t, size);

    for (uint64_t i = 0; i < size; i++) {
        be[i] = GUINT64_TO_BE(q->rt[i]);
    }
    rc = rc ? rc : blk_node_pwrite(q->file, off, be, size * 8);
    rc = rc ? rc : blk_node_flush(q->file);
    rc = rc ? rc : header_reftable(q, off, clusters);
    if (rc) {
        for (uint64_t i = 0; i < blocks; i++) {
            q2_cache_drop(&q->ref, q->rt[old_size + i], q->cluster);
        }
        g_free(q->rt);
        q->rt = old;
        q->rt_size = (uint32_t)old_size;
        return rc;
    }
    g_free(old);
    q->rt_off = off;
    return q2_unref_now(q, old_off, old_size * 8, q->pass_other);
}

/* A refcount block for reftable index. */
static int add_block(Qcow2 *q, uint64_t index)
{
    uint64_t off, blocks;
    int rc = q2_touch(q);

    if (!rc && index >= q->rt_size) {
        rc = grow_reftable(q, index);
        if (rc || q->rt[index]) {
            return rc;
        }
    }
    rc = rc ? rc : place(q, index, 0, &off, &blocks);
    return rc ? rc : link_blocks(q, index, blocks);
}

/* A row that is longer than a refcount block reaches. */
static int alloc_long(Qcow2 *q, uint64_t n, uint64_t *ret_off)
{
    uint64_t first = (q->virgin >> q->cluster_bits >> block_bits(q)) + 1, blocks, off;
    uint64_t last = first + (n >> block_bits(q)) * 2 + 2;
    int rc = q2_touch(q);

    while (!rc && first < q->rt_size && q->rt[first]) {
        first++;
        last++;
    }
    if (!rc && last >= q->rt_size) {
        rc = grow_reftable(q, last);
        while (!rc && first < q->rt_size && q->rt[first]) {
            first++;
        }
    }
    rc = rc ? rc : place(q, first, n, &off, &blocks);
    if (!rc) {
        rc = link_blocks(q, first, blocks);
        *ret_off = off;
    }
    return rc;
}

/* The first free row of up to max (exact: of max) clusters; in it nothing is counted yet. */
static int find_free(Qcow2 *q, uint64_t max, bool exact, uint64_t *ret_start, uint64_t *ret_n)
{
    enum { FAR = 1 << 22 };
    uint64_t c = q->hint, n = 0, looked = 0, count;

    while (n < max) {
        uint64_t index = c >> block_bits(q);

        if (c > Q2_OFFSET >> q->cluster_bits) {
            return -EFBIG;
        }
        /* A full part, or one that lies about it, is not walked for ever: on behind the end. */
        if (++looked == FAR) {
            c = MAX(c, q->virgin >> q->cluster_bits);
            n = 0;
            continue;
        }
        if (looked > 2ull * FAR) {
            return q2_corrupt(q, UINT64_MAX, 0, "No free cluster behind the end of the image");
        }
        if (index >= q->rt_size || !q->rt[index]) {
            if (n && !exact) {
                break;
            }
            int rc = add_block(q, index);
            if (rc) {
                return rc;
            }
            n = 0; /* the block took the first of them */
            continue;
        }
        int rc = q2_refcount(q, c, &count);
        if (rc) {
            return rc;
        }
        if (!count) {
            n++;
        } else if (n && !exact) {
            break;
        } else {
            n = 0;
        }
        c++;
    }
    *ret_n = n;
    *ret_start = c - n;
    return 0;
}

static int alloc(
    Qcow2 *q, uint64_t max, bool exact, uint64_t *ret_off, uint64_t *ret_n, bool *ret_fresh)
{
    uint64_t start = 0, n = 0;
    int rc = q->broken ? -EIO : find_free(q, max, exact, &start, &n);

    if (rc) {
        return rc;
    }
    uint64_t off = start << q->cluster_bits, len = n << q->cluster_bits;
    bool fresh = off >= q->virgin && q->file->drv->truncate;

    rc = q2_check_overlap(q, off, len);
    rc = rc ? rc : q2_grow_file(q, off + len);
    for (uint64_t i = 0; i < n && !rc; i++) {
        rc = q2_refcount_set(q, start + i, 1);
    }
    if (!rc) {
        q->hint = start + n;
        *ret_off = off;
        *ret_n = n;
        *ret_fresh = fresh;
    }
    return rc;
}

int q2_alloc_row(Qcow2 *q, uint64_t n, uint64_t *ret_off)
{
    uint64_t got;
    bool fresh;

    return n > (1ull << block_bits(q)) / 2 ? alloc_long(q, n, ret_off)
                                           : alloc(q, n, true, ret_off, &got, &fresh);
}

int q2_alloc(Qcow2 *q, uint64_t max, uint64_t *ret_off, uint64_t *ret_n, bool *ret_fresh)
{
    return alloc(q, max, false, ret_off, ret_n, ret_fresh);
}

/* What became free is given back to the host, when that is wanted. */
static void pass_discard(Qcow2 *q, bool want, uint64_t *start, uint64_t *n)
{
    if (*n && want) {
        blk_node_discard(q->file, *start << q->cluster_bits, *n << q->cluster_bits);
    }
    *n = 0;
}

int q2_unref_now(Qcow2 *q, uint64_t off, uint64_t len, bool discard)
{
    uint64_t first = off >> q->cluster_bits, last = (off + len - 1) >> q->cluster_bits;
    uint64_t start = 0, n = 0;
    int rc = 0;

    for (uint64_t c = first; len && c <= last && !rc; c++) {
        uint64_t v;

        rc = q2_refcount(q, c, &v);
        if (!rc && !v) {
            rc = q2_corrupt(q, c << q->cluster_bits, q->cluster,
                "Cluster %#" PRIx64 " was released but was not in use", c << q->cluster_bits);
        }
        rc = rc ? rc : q2_refcount_set(q, c, v - 1);
        if (rc || v != 1) {
            pass_discard(q, discard, &start, &n);
            continue;
        }
        q->hint = MIN(q->hint, c);
        start = n++ ? start : c;
    }
    pass_discard(q, discard, &start, &n);
    return rc;
}

void q2_unref_later(Qcow2 *q, uint64_t off, uint64_t len, bool discard)
{
    uint64_t from = off & ~(q->cluster - 1), size = q2_align_up(q, off + len) - from;
    Q2Run *last = q->frees->len ? &g_array_index(q->frees, Q2Run, q->frees->len - 1) : NULL;

    q->frees_bytes += size;
    if (last && last->off + last->len == from && last->discard == discard) {
        last->len += size;
    } else {
        g_array_append_vals(q->frees, &((Q2Run){ from, size, discard }), 1);
    }
}
