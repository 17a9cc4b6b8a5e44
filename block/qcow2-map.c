/* qcow2: from guest clusters to host clusters through L1 and L2 tables (Spec, "Cluster mapping"),
 * and who may touch which guest clusters meanwhile. Tested by test-qcow2. */
#include "qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static uint64_t slice_entries(const Qcow2 *q)
{
    return q->l2.size / 8;
}

uint64_t q2_slice_left(const Qcow2 *q, uint64_t gcluster)
{
    return slice_entries(q) - (gcluster & (slice_entries(q) - 1));
}

static uint64_t entry_at(const Q2Slice *s, uint64_t i)
{
    uint64_t v;

    memcpy(&v, s->data + i * 8, sizeof v);
    return GUINT64_FROM_BE(v);
}

/* The slice with a guest cluster's entry. *ret NULL: there is no table. */
static int l2_slice(Qcow2 *q, uint64_t gcluster, Q2Slice **ret)
{
    uint64_t i = gcluster >> q->l2_bits, in = gcluster & ((1ull << q->l2_bits) - 1);
    uint64_t table = i < q->l1_size ? q->l1[i] & Q2_OFFSET : 0;

    *ret = NULL;
    if (!table) {
        return 0;
    }
    if (table & (q->cluster - 1)) {
        return q2_corrupt(q, UINT64_MAX, 0,
            "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64 ")", table, i);
    }
    int rc = q2_cache_get(q, &q->l2, table + (in / slice_entries(q)) * q->l2.size, ret);
    if (!rc) {
        (*ret)->l1_index = (uint32_t)i;
    }
    return rc;
}

void q2_packed_at(const Qcow2 *q, uint64_t entry, uint64_t *ret_off, uint64_t *ret_len)
{
    unsigned x = 62 - (q->cluster_bits - 8); /* Spec, "Compressed Clusters Descriptor" */
    uint64_t off = entry & ((1ull << x) - 1) & ((1ull << 56) - 1);
    uint64_t sectors = (entry >> x & ((1ull << (q->cluster_bits - 8)) - 1)) + 1;

    *ret_off = off;
    *ret_len = sectors * 512 - (off & 511);
}

static Q2Kind kind_of(const Qcow2 *q, uint64_t e)
{
    if (e & Q2_COMPRESSED) {
        return Q2_PACKED;
    }
    if (q->version >= 3 && e & Q2_ZERO) {
        return Q2_ZEROES;
    }
    return e & Q2_OFFSET ? Q2_DATA : Q2_NONE;
}

static int check_entry(Qcow2 *q, uint64_t gcluster, uint64_t e, const Q2Slice *s)
{
    if (e & Q2_COMPRESSED) {
        return 0;
    }
    if (q->version < 3 && e & Q2_ZERO) {
        return q2_corrupt(q, UINT64_MAX, 0,
            "Zero cluster entry found in pre-v3 image (L2 offset: %#" PRIx64 ", L2 index: %#" PRIx64
            ")",
            s->off & ~(q->cluster - 1), (uint64_t)(gcluster & ((1ull << q->l2_bits) - 1)));
    }
    if (e & Q2_OFFSET & (q->cluster - 1)) {
        return q2_corrupt(q, UINT64_MAX, 0,
            "Cluster allocation offset %#" PRIx64 " unaligned (L2 offset: %#" PRIx64
            ", L2 index: %#" PRIx64 ")",
            (uint64_t)(e & Q2_OFFSET), s->off & ~(q->cluster - 1),
            (uint64_t)(gcluster & ((1ull << q->l2_bits) - 1)));
    }
    return 0;
}

int q2_map(Qcow2 *q, uint64_t gcluster, uint64_t max, Q2Map *ret)
{
    uint64_t at = gcluster & (slice_entries(q) - 1), n = MIN(max, q2_slice_left(q, gcluster));
    Q2Slice *s;
    int rc = q->broken ? -EIO : l2_slice(q, gcluster, &s);

    if (rc) {
        return rc;
    }
    *ret = (Q2Map){ .kind = Q2_NONE, .n = n };
    if (!s) {
        return 0;
    }
    uint64_t e = ret->entry = entry_at(s, at);

    rc = check_entry(q, gcluster, e, s);
    if (rc) {
        return rc;
    }
    ret->kind = kind_of(q, e);
    ret->in_place =
        ret->kind == Q2_DATA && e & Q2_COPIED && q->l1[gcluster >> q->l2_bits] & Q2_COPIED;
    ret->host = ret->kind == Q2_PACKED ? 0 : e & Q2_OFFSET;
    for (ret->n = 1; ret->n < n && ret->kind != Q2_PACKED; ret->n++) {
        uint64_t next = entry_at(s, at + ret->n);
        if (kind_of(q, next) != ret->kind ||
            (ret->kind == Q2_DATA && ((next ^ e) & Q2_COPIED ||
                                         (next & Q2_OFFSET) != ret->host + ret->n * q->cluster))) {
            break;
        }
    }
    return 0;
}

/* A table of its own for L1 entry i: an empty one, or a copy of what a snapshot has too. */
static int own_table(Qcow2 *q, uint64_t i)
{
    uint64_t old = q->l1[i] & Q2_OFFSET, off, n;
    bool fresh;
    int rc = q2_alloc(q, 1, &off, &n, &fresh);

    if (rc) {
        return rc;
    }
    q2_cache_drop(&q->l2, off, q->cluster);
    if (old) {
        g_autofree void *buf = g_malloc(q->cluster);
        rc = blk_node_pread(q->file, old, buf, q->cluster);
        rc = rc ? rc : blk_node_pwrite(q->file, off, buf, q->cluster);
    } else if (!fresh) {
        rc = blk_node_zeroes(q->file, off, q->cluster, 0);
    }
    if (rc) {
        q2_unref_now(q, off, q->cluster, false);
        return rc;
    }
    uint32_t index = (uint32_t)i;

    q->l1[i] = off | Q2_COPIED;
    g_array_append_val(q->l1_dirty, index);
    q->barrier = true;
    if (old) {
        q2_unref_later(q, old, q->cluster, q->pass_other);
    }
    return 0;
}

int q2_entry_set(Qcow2 *q, uint64_t gcluster, uint64_t entry)
{
    uint64_t i = gcluster >> q->l2_bits, be = GUINT64_TO_BE(entry);
    Q2Slice *s;
    int rc = q2_touch(q);

    if (!rc && i >= q->l1_size) {
        rc = -EIO;
    }
    if (!rc && !(q->l1[i] & Q2_COPIED && q->l1[i] & Q2_OFFSET)) {
        rc = own_table(q, i);
    }
    rc = rc ? rc : l2_slice(q, gcluster, &s);
    if (!rc) {
        memcpy(s->data + (gcluster & (slice_entries(q) - 1)) * 8, &be, sizeof be);
        q2_cache_dirty(&q->l2, s);
    }
    return rc;
}

void q2_release_entry(Qcow2 *q, uint64_t entry, bool request)
{
    bool discard = request ? q->pass_request : q->pass_other;
    uint64_t off, len;

    if (entry & Q2_COMPRESSED) {
        q2_packed_at(q, entry, &off, &len);
        q2_unref_later(q, off, len, discard);
    } else if (entry & Q2_OFFSET) {
        q2_unref_later(q, entry & Q2_OFFSET, q->cluster, discard);
    }
}

/* ---- who is where ---- */

static bool must_wait(const Q2Range *r)
{
    for (const Q2Range *o = r->prev; o; o = o->prev) {
        if (o->first <= r->last && r->first <= o->last && (o->exclusive || r->exclusive)) {
            return true;
        }
    }
    for (const Q2Range *o = r->next; o; o = o->next) {
        if (o->active && o->first <= r->last && r->first <= o->last &&
            (o->exclusive || r->exclusive)) {
            return true;
        }
    }
    return false;
}

static void range_wait(Qcow2 *q, Q2Range *r)
{
    while (must_wait(r)) {
        q->waiting++;
        g_cond_wait(&q->cond, &q->lock);
        q->waiting--;
    }
    r->active = true;
}

static void range_changed(Qcow2 *q)
{
    if (q->waiting) {
        g_cond_broadcast(&q->cond);
    }
}

void q2_range_begin(Qcow2 *q, Q2Range *r, uint64_t first, uint64_t last, bool exclusive)
{
    *r = (Q2Range){ .first = first, .last = last, .exclusive = exclusive, .prev = q->last_range };
    *(r->prev ? &r->prev->next : &q->first_range) = r;
    q->last_range = r;
    range_wait(q, r);
}

void q2_range_alone(Qcow2 *q, Q2Range *r)
{
    r->exclusive = true;
    r->active = false; /* two that do this do not wait for one another */
    range_changed(q);
    range_wait(q, r);
}

void q2_range_cut(Qcow2 *q, Q2Range *r, uint64_t last)
{
    if (last < r->last) {
        r->last = last;
        range_changed(q);
    }
}

void q2_range_end(Qcow2 *q, Q2Range *r)
{
    *(r->prev ? &r->prev->next : &q->first_range) = r->next;
    *(r->next ? &r->next->prev : &q->last_range) = r->prev;
    range_changed(q);
}
