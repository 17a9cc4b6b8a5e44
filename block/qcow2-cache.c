/* qcow2: caches of L2 tables and reference counts, in slices, and the order in which they go to the
 * file. Tested by test-qcow2. */
#include "qcow2.h"

#include <string.h>

void q2_cache_init(Q2Cache *c, uint64_t bytes, uint32_t slice)
{
    c->by_off = g_hash_table_new(g_int64_hash, g_int64_equal);
    c->size = slice;
    c->max = (unsigned)CLAMP(bytes / slice, (uint64_t)Q2_MIN_SLICES, (uint64_t)INT32_MAX);
}

static void lru_remove(Q2Cache *c, Q2Slice *s)
{
    *(s->newer ? &s->newer->older : &c->newest) = s->older;
    *(s->older ? &s->older->newer : &c->oldest) = s->newer;
}

static void lru_add(Q2Cache *c, Q2Slice *s)
{
    s->newer = NULL;
    s->older = c->newest;
    *(s->older ? &s->older->newer : &c->oldest) = s;
    c->newest = s;
}

static void slice_free(Q2Cache *c, Q2Slice *s)
{
    g_hash_table_remove(c->by_off, &s->off);
    lru_remove(c, s);
    c->ndirty -= s->dirty;
    c->n--;
    g_free(s->data);
    g_free(s);
}

void q2_cache_fini(Q2Cache *c)
{
    while (c->newest) {
        slice_free(c, c->newest);
    }
    g_clear_pointer(&c->by_off, g_hash_table_destroy);
}

static int slice_write(Qcow2 *q, Q2Cache *c, Q2Slice *s)
{
    int rc = blk_node_pwrite(q->file, s->off, s->data, c->size);

    if (!rc) {
        s->dirty = false;
        c->ndirty--;
    }
    return rc;
}

/* A clean slice makes room; of reference counts a dirty one may: they can go to the file at any
 * time, since they are raised before and lowered after what points to the clusters. */
static int evict(Qcow2 *q, Q2Cache *c)
{
    Q2Slice *s = c->oldest;

    while (s && s->dirty && c != &q->ref) {
        s = s->newer;
    }
    g_assert(s); /* q2_reserve() */
    int rc = s->dirty ? slice_write(q, c, s) : 0;

    if (!rc) {
        slice_free(c, s);
    }
    return rc;
}

int q2_cache_get(Qcow2 *q, Q2Cache *c, uint64_t off, Q2Slice **ret)
{
    Q2Slice *s = g_hash_table_lookup(c->by_off, &off);
    int rc;

    if (s) {
        if (s->newer) {
            lru_remove(c, s);
            lru_add(c, s);
        }
        *ret = s;
        return 0;
    }
    if (c->n >= c->max && (rc = evict(q, c))) {
        return rc;
    }
    g_autofree uint8_t *data = g_malloc(c->size);

    rc = blk_node_pread(q->file, off, data, c->size);
    if (rc) {
        return rc;
    }
    s = g_new0(Q2Slice, 1);
    s->off = off;
    s->data = g_steal_pointer(&data);
    g_hash_table_insert(c->by_off, &s->off, s);
    lru_add(c, s);
    c->n++;
    *ret = s;
    return 0;
}

void q2_cache_dirty(Q2Cache *c, Q2Slice *s)
{
    c->ndirty += !s->dirty;
    s->dirty = true;
}

void q2_cache_drop(Q2Cache *c, uint64_t off, uint64_t len)
{
    for (uint64_t at = off; at < off + len; at += c->size) {
        Q2Slice *s = g_hash_table_lookup(c->by_off, &at);
        if (s) {
            slice_free(c, s);
        }
    }
}

static int by_offset(gconstpointer a, gconstpointer b)
{
    uint64_t x = (*(Q2Slice *const *)a)->off, y = (*(Q2Slice *const *)b)->off;
    return x < y ? -1 : x > y;
}

/* Of the tables that the file's L1 table does not know (fresh), or of all. In the file's order. */
static int write_slices(Qcow2 *q, Q2Cache *c, bool only_fresh)
{
    int rc = 0;

    if (!c->ndirty) {
        return 0;
    }
    g_autoptr(GPtrArray) todo = g_ptr_array_sized_new(c->ndirty);
    g_autoptr(GHashTable) fresh = g_hash_table_new(NULL, NULL);

    for (unsigned i = 0; only_fresh && i < q->l1_dirty->len; i++) {
        g_hash_table_add(fresh, GUINT_TO_POINTER(g_array_index(q->l1_dirty, uint32_t, i)));
    }
    for (Q2Slice *s = c->oldest; s; s = s->newer) {
        if (s->dirty &&
            (!only_fresh || g_hash_table_contains(fresh, GUINT_TO_POINTER(s->l1_index)))) {
            g_ptr_array_add(todo, s);
        }
    }
    g_ptr_array_sort(todo, by_offset);
    for (unsigned i = 0; i < todo->len && !rc; i++) {
        rc = slice_write(q, c, todo->pdata[i]);
    }
    return rc;
}

int q2_write_refcounts(Qcow2 *q)
{
    return write_slices(q, &q->ref, false);
}

static int write_l1(Qcow2 *q)
{
    for (unsigned i = 0; i < q->l1_dirty->len; i++) {
        uint32_t at = g_array_index(q->l1_dirty, uint32_t, i);
        uint64_t v = GUINT64_TO_BE(q->l1[at]);
        int rc = blk_node_pwrite(q->file, q->l1_off + at * 8ull, &v, sizeof v);
        if (rc) {
            return rc;
        }
    }
    g_array_set_size(q->l1_dirty, 0);
    return 0;
}

int q2_write_out(Qcow2 *q)
{
    int rc;

    if (q->broken) {
        return -EIO;
    }
    if ((!q->lazy && (rc = q2_write_refcounts(q))) ||
        (q->l1_dirty->len && (rc = write_slices(q, &q->l2, true)))) {
        return rc;
    }
    if (q->barrier && (q->l2.ndirty || q->l1_dirty->len)) {
        rc = blk_node_flush(q->file);
        if (rc) {
            return rc;
        }
        q->barrier = false;
    }
    rc = write_slices(q, &q->l2, false);
    return rc ? rc : write_l1(q);
}

/* The second barrier is behind us: the file points to none of these. */
static int release(Qcow2 *q, GArray *runs)
{
    int rc = 0;

    for (unsigned i = 0; i < runs->len; i++) {
        const Q2Run *r = &g_array_index(runs, Q2Run, i);
        int one = q2_unref_now(q, r->off, r->len, r->discard);
        rc = rc ? rc : one;
    }
    return rc;
}

static GArray *take_frees(Qcow2 *q)
{
    GArray *f = q->frees;

    q->frees = g_array_new(FALSE, FALSE, sizeof(Q2Run));
    q->frees_bytes = 0;
    return f;
}

static void put_back(Qcow2 *q, GArray *runs)
{
    for (unsigned i = 0; i < runs->len; i++) {
        q->frees_bytes += g_array_index(runs, Q2Run, i).len;
    }
    g_array_append_vals(q->frees, runs->data, runs->len);
}

int q2_sync(Qcow2 *q)
{
    int rc = q2_write_out(q);

    rc = rc ? rc : blk_node_flush(q->file);
    if (!rc) {
        g_autoptr(GArray) runs = take_frees(q);
        rc = release(q, runs);
    }
    return rc;
}

int q2_reserve(Qcow2 *q)
{
    enum { AT_ONCE = 4, MAX_RUNS = 16384 };
    uint64_t most = MAX(64ull << 20, q->cluster * 64);

    if (q->broken) {
        return -EIO;
    }
    if (q->l2.ndirty + AT_ONCE > q->l2.max || q->frees->len > MAX_RUNS || q->frees_bytes > most) {
        return q2_sync(q);
    }
    return 0;
}

int q2_flush(BlkNode *n)
{
    Qcow2 *q = n->state;
    g_autoptr(GArray) runs = NULL;

    if (n->read_only) {
        return 0;
    }
    g_mutex_lock(&q->lock);
    int rc = q2_write_out(q);

    runs = rc ? NULL : take_frees(q);
    g_mutex_unlock(&q->lock);
    if (rc) {
        return rc;
    }
    rc = blk_node_flush(q->file);
    if (runs->len) {
        g_mutex_lock(&q->lock);
        if (rc) {
            put_back(q, runs);
        } else {
            rc = release(q, runs);
        }
        g_mutex_unlock(&q->lock);
    }
    return rc;
}
