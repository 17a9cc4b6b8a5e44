/* qcow2: counts all references anew, for an image that was left with the dirty bit (Spec,
 * "incompatible_features", bit 0). Tested by test-qcow2. */
#include "qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { MAX_CLUSTERS = 1 << 27, SPARE = 4096 };

typedef struct Q2Check {
    Qcow2 *q;
    uint32_t *count;
    uint64_t n, max; /* clusters of the file; of the array */
    bool shared;     /* something is used twice */
} Q2Check;

/* One reference more to each cluster that len bytes at off touch. False: they lie outside. */
static bool count_area(Q2Check *c, uint64_t off, uint64_t len)
{
    uint64_t first = off >> c->q->cluster_bits, last = (off + len - 1) >> c->q->cluster_bits;

    if (!len) {
        return true;
    }
    if (off > INT64_MAX || last >= c->n) {
        return false;
    }
    for (uint64_t i = first; i <= last; i++) {
        if (c->count[i] == UINT32_MAX) {
            return false;
        }
        c->shared |= c->count[i]++ > 0;
    }
    return true;
}

static bool count_l2(Q2Check *c, uint64_t off)
{
    Qcow2 *q = c->q;
    uint64_t n = 1ull << q->l2_bits, at, len;
    g_autofree uint64_t *t = g_malloc(q->cluster);

    if (off & (q->cluster - 1) || !count_area(c, off, q->cluster) ||
        blk_node_pread(q->file, off, t, q->cluster)) {
        return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t e = GUINT64_FROM_BE(t[i]);
        bool ok = true;

        if (e & Q2_COMPRESSED) {
            q2_packed_at(q, e, &at, &len);
            ok = count_area(c, at, len);
        } else if (e & Q2_OFFSET) {
            ok = !(e & Q2_OFFSET & (q->cluster - 1)) && count_area(c, e & Q2_OFFSET, q->cluster);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool count_l1(Q2Check *c, uint64_t off, const uint64_t *l1, uint32_t n)
{
    if (!count_area(c, off, n * 8ull)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (l1[i] & Q2_OFFSET && !count_l2(c, l1[i] & Q2_OFFSET)) {
            return false;
        }
    }
    return true;
}

static bool count_snapshot(Q2Check *c, const Q2Snapshot *s)
{
    g_autofree uint64_t *l1 = g_try_malloc0(s->l1_size * 8ull + 8);

    if (!l1 || blk_node_pread(c->q->file, s->l1_off, l1, s->l1_size * 8ull)) {
        return false;
    }
    for (uint32_t i = 0; i < s->l1_size; i++) {
        l1[i] = GUINT64_FROM_BE(l1[i]);
    }
    return count_l1(c, s->l1_off, l1, s->l1_size);
}

static bool count_all(Q2Check *c)
{
    Qcow2 *q = c->q;
    bool ok = count_area(c, 0, q->cluster) && count_area(c, q->rt_off, q->rt_size * 8ull) &&
              count_area(c, q->snap_off, q->nsnaps ? q->snap_len : 0);

    for (uint32_t i = 0; i < q->rt_size && ok; i++) {
        ok = !q->rt[i] || (!(q->rt[i] & (q->cluster - 1)) && count_area(c, q->rt[i], q->cluster));
    }
    ok = ok && !c->shared; /* tables in one another's place */
    ok = ok && count_l1(c, q->l1_off, q->l1, q->l1_size);
    for (uint32_t i = 0; i < q->nsnaps && ok; i++) {
        ok = count_snapshot(c, &q->snaps[i]);
    }
    return ok;
}

/* Blocks where there is none, at the file's end. 0 or -errno. */
static int add_blocks(Q2Check *c, unsigned block_bits)
{
    Qcow2 *q = c->q;

    for (uint64_t i = 0; i < c->n; i++) {
        uint64_t index = i >> block_bits;

        if (!c->count[i] || (index < q->rt_size && q->rt[index])) {
            continue;
        }
        if (index >= q->rt_size || c->n >= c->max) {
            return -EFBIG;
        }
        uint64_t off = c->n << q->cluster_bits;
        int rc = q2_grow_file(q, off + q->cluster);

        rc = rc ? rc : blk_node_zeroes(q->file, off, q->cluster, 0);
        if (rc) {
            return rc;
        }
        c->count[c->n++] = 1;
        q->rt[index] = off;
        q2_cache_drop(&q->ref, off, q->cluster);
    }
    return 0;
}

static int write_counts(Q2Check *c, unsigned block_bits)
{
    Qcow2 *q = c->q;
    uint64_t blocks = MIN((uint64_t)q->rt_size, (c->n >> block_bits) + 1);
    int rc = 0;

    for (uint64_t i = 0; i < blocks << block_bits && !rc; i++) {
        uint64_t want = i < c->n ? c->count[i] : 0, have;

        if (!q->rt[i >> block_bits]) {
            i |= (1ull << block_bits) - 1;
            continue;
        }
        rc = q2_refcount(q, i, &have);
        if (!rc && have != want) {
            rc = q2_refcount_set(q, i, want);
        }
    }
    rc = rc ? rc : q2_write_refcounts(q);
    rc = rc ? rc : blk_node_flush(q->file);
    for (uint64_t i = 0; i < q->rt_size; i++) {
        q->rt[i] = GUINT64_TO_BE(q->rt[i]);
    }
    rc = rc ? rc : blk_node_pwrite(q->file, q->rt_off, q->rt, q->rt_size * 8ull);
    for (uint64_t i = 0; i < q->rt_size; i++) {
        q->rt[i] = GUINT64_FROM_BE(q->rt[i]);
    }
    return rc ? rc : blk_node_flush(q->file);
}

/* Who is used twice may not be written in place. */
static int clear_copied(Q2Check *c)
{
    Qcow2 *q = c->q;
    uint64_t end = q2_align_up(q, q->n->size) >> q->cluster_bits;
    int rc = 0;

    for (uint32_t i = 0; i < q->l1_size; i++) {
        uint64_t at = (q->l1[i] & Q2_OFFSET) >> q->cluster_bits;
        if (at && c->count[at] > 1) {
            q->l1[i] &= ~Q2_COPIED;
            g_array_append_val(q->l1_dirty, i);
        }
    }
    for (uint64_t g = 0; g < end && !rc; g++) {
        Q2Map m;

        if (!(q->l1[g >> q->l2_bits] & Q2_OFFSET)) {
            g |= (1ull << q->l2_bits) - 1;
            continue;
        }
        rc = q2_reserve(q);
        rc = rc ? rc : q2_map(q, g, 1, &m);
        if (!rc && m.host && m.entry & Q2_COPIED && c->count[m.host >> q->cluster_bits] > 1) {
            rc = q2_entry_set(q, g, m.entry & ~Q2_COPIED);
        }
    }
    return rc;
}

static int rewrite(Q2Check *c)
{
    Qcow2 *q = c->q;
    unsigned block_bits = q->cluster_bits + 3 - q->refcount_order;
    int rc = add_blocks(c, block_bits);

    rc = rc ? rc : write_counts(c, block_bits);
    rc = rc || !c->shared ? rc : clear_copied(c);
    rc = rc ? rc : q2_sync(q);
    rc = rc ? rc : q2_write_refcounts(q);
    rc = rc ? rc : blk_node_flush(q->file);
    if (!rc) {
        q->incompat &= ~(uint64_t)Q2_DIRTY;
        rc = q2_header_set(q, Q2_AT_INCOMPAT, q->incompat, 8);
    }
    return rc ? rc : blk_node_flush(q->file);
}

bool q2_repair(Qcow2 *q, GError **err)
{
    Q2Check c = { .q = q, .n = q2_align_up(q, q->file->size) >> q->cluster_bits };

    c.max = c.n + SPARE;
    c.count = c.n <= MAX_CLUSTERS ? g_try_malloc0(c.max * sizeof *c.count) : NULL;
    if (!c.count) {
        return err_set(err, "Could not repair dirty image: it is too large; qemu-img check -r all");
    }
    bool ok = count_all(&c) ||
              err_set(err, "Could not repair dirty image: its tables point outside of it or to one "
                           "another; qemu-img check -r all");
    int rc = ok ? rewrite(&c) : 0;

    g_free(c.count);
    return ok && (!rc || err_set(err, "Could not repair dirty image: %s", g_strerror(-rc)));
}
