/* The qcow2 format: options, opening and closing. What it is and how it goes about a crash:
 * qcow2.h. Tested by test-qcow2, tests/block. */
#include "qcow2.h"

#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool switch_set(void *field, const Json *val, GError **err)
{
    Q2Switch *s = field;

    s->said = true;
    return prop_bool.set(&s->on, val, err);
}

static bool switch_parse(void *field, const char *text, GError **err)
{
    Q2Switch *s = field;

    s->said = true;
    return prop_bool.parse(&s->on, text, err);
}

static void switch_get(const void *field, JsonWriter *w, const char *name)
{
    jw_bool(w, name, ((const Q2Switch *)field)->on);
}

static const PropType prop_switch = {
    .name = "bool", .set = switch_set, .parse = switch_parse, .get = switch_get
};

#define SWITCH(n, f, h)                                                                            \
    {                                                                                              \
        .name = (n), .type = &prop_switch, .offset = PROP_AT(Q2Opts, f, Q2Switch), .bit = -1,      \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
#define OPT(n, f, h) PROP_JSON(n, Q2Opts, f, h)
static const PropSpec qcow2_props[] = {
    SWITCH("lazy-refcounts", lazy, "postpone reference counts; default: the image's"),
    SWITCH("pass-discard-request", pass_request, "discard below; default: discard=unmap"),
    SWITCH("pass-discard-snapshot", pass_snapshot, "no effect: snapshots are not deleted"),
    SWITCH("pass-discard-other", pass_other, "give back other freed space too"),
    SWITCH("discard-no-unref", no_unref, "a discarded cluster keeps its place"),
    OPT("overlap-check", overlap, "none, constant, cached, all"),
    PROP_SIZE("cache-size", Q2Opts, cache_size, 0, "both caches, in bytes"),
    PROP_SIZE("l2-cache-size", Q2Opts, l2_cache_size, 0, "L2 tables kept, in bytes"),
    PROP_SIZE("l2-cache-entry-size", Q2Opts, l2_entry_size, 0, "piece of an L2 table, in bytes"),
    PROP_SIZE("refcount-cache-size", Q2Opts, ref_cache_size, 0, "counts kept, in bytes"),
    PROP_U64("cache-clean-interval", Q2Opts, clean_interval, 600, "no effect, seconds"),
    OPT("encrypt", encrypt, "refused: no encryption"),
    OPT("data-file", data_file, "refused: no external data files"),
    PROP_END,
};

static bool is_on(const Q2Switch *s, bool def)
{
    return s->said ? s->on : def;
}

static bool opt_overlap(Qcow2 *q, const Json *v, GError **err)
{
    static const char *const modes[] = { "none", "constant", "cached", "all", NULL };
    const Json *mode = v && json_type(v) == JSON_OBJECT ? json_get(v, "template") : v;
    const char *s = mode && json_type(mode) == JSON_STR ? json_get_str(mode) : NULL;

    if (mode && (!s || !g_strv_contains(modes, s))) {
        return err_set(err, "Parameter 'overlap-check' does not accept value '%s'", s ? s : "");
    }
    q->overlap_off |= s && !strcmp(s, "none");
    return true;
}

static bool read_options(Qcow2 *q, GError **err)
{
    const Q2Opts *o = q->n->opts;

    if (o->encrypt || o->data_file) {
        return err_set(err, "'%s' is not supported", o->encrypt ? "encrypt" : "data-file");
    }
    if (!opt_overlap(q, o->overlap, err)) {
        return false;
    }
    q->lazy = is_on(&o->lazy, q->compat & Q2_LAZY);
    q->pass_request = is_on(&o->pass_request, q->n->discard_unmap);
    q->pass_other = is_on(&o->pass_other, false);
    q->no_unref = is_on(&o->no_unref, false);
    if (q->version < 3 && (q->lazy || q->no_unref)) {
        return err_set(err,
            q->lazy ? "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility "
                      "level"
                    : "discard-no-unref is only supported since qcow2 version 3");
    }
    return true;
}

/* The caches: as QEMU shares them out. */
static bool open_caches(Qcow2 *q, GError **err)
{
    enum { DEF_L2 = 32 << 20 };
    const Q2Opts *o = q->n->opts;
    uint64_t entry = o->l2_entry_size ? o->l2_entry_size : MIN(q->cluster, (uint64_t)Q2_SLICE);
    uint64_t whole = ((q->n->size >> q->cluster_bits) + 1) * 8, l2 = o->l2_cache_size,
             ref = o->ref_cache_size;

    if (o->cache_size) {
        if (l2 && ref) {
            return err_set(err, "cache-size, l2-cache-size and refcount-cache-size may not be set "
                                "at the same time");
        }
        if (l2 > o->cache_size || ref > o->cache_size) {
            return err_set(err, "%s may not exceed cache-size",
                l2 > o->cache_size ? "l2-cache-size" : "refcount-cache-size");
        }
        if (!l2) {
            l2 = ref ? o->cache_size - ref : MIN(whole, o->cache_size);
        }
        ref = ref ? ref : o->cache_size - l2;
    }
    if (entry < 512 || entry > q->cluster || entry & (entry - 1)) {
        return err_set(err,
            "L2 cache entry size must be a power of two between 512 and the cluster size "
            "(%" PRIu64 ")",
            q->cluster);
    }
    q2_cache_init(&q->l2, MIN(l2 ? l2 : DEF_L2, whole + entry), (uint32_t)entry);
    q2_cache_init(&q->ref, MAX(ref, q->cluster * 4), (uint32_t)MIN(q->cluster, (uint64_t)Q2_SLICE));
    return true;
}

static void free_all(Qcow2 *q)
{
    if (q->l2.by_off) {
        q2_cache_fini(&q->l2);
    }
    if (q->ref.by_off) {
        q2_cache_fini(&q->ref);
    }
    g_clear_pointer(&q->l1_dirty, g_array_unref);
    g_clear_pointer(&q->frees, g_array_unref);
    g_clear_pointer(&q->l1, g_free);
    g_clear_pointer(&q->rt, g_free);
    g_clear_pointer(&q->snaps, g_free);
    g_mutex_clear(&q->lock);
    g_cond_clear(&q->cond);
}

/* What has to be done to an image before it may be written. */
static bool prepare_write(Qcow2 *q, GError **err)
{
    if (q->incompat & Q2_CORRUPT) {
        return err_set(err, "qcow2: Image is corrupt; cannot be opened read/write");
    }
    if (q->autoclear) { /* nothing there that is kept up to date */
        int rc = q2_header_set(q, Q2_AT_AUTOCLEAR, 0, 8);

        rc = rc ? rc : blk_node_flush(q->file);
        if (rc) {
            return err_set(err, "Could not update qcow2 header: %s", g_strerror(-rc));
        }
        if (q->ext_bitmaps && q->autoclear & Q2_BITMAPS) {
            report_warning(
                "the dirty bitmaps of '%s' are not kept and become invalid", q->file->filename);
        }
        q->autoclear = 0;
    }
    return !(q->incompat & Q2_DIRTY) || q2_repair(q, err);
}

static bool qcow2_open(BlkNode *n, GError **err)
{
    Qcow2 *q = n->state;

    q->n = n;
    q->file = n->file;
    g_mutex_init(&q->lock);
    g_cond_init(&q->cond);
    q->l1_dirty = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    q->frees = g_array_new(FALSE, FALSE, sizeof(Q2Run));
    q->opened_size = q->file->size;
    n->read_only |= n->file->read_only;
    n->align = 1;
    n->filename = g_strdup(n->file->filename);
    if (!q2_read_header(q, err) || !read_options(q, err) || !open_caches(q, err)) {
        free_all(q);
        return false;
    }
    q->virgin = q2_align_up(q, q->file->size);
    if (!n->read_only && !prepare_write(q, err)) {
        free_all(q);
        return false;
    }
    return true;
}

/* All that is owed to the file; then it is clean. */
static int settle(Qcow2 *q)
{
    int rc = q2_sync(q);

    rc = rc ? rc : q2_write_refcounts(q);
    rc = rc ? rc : blk_node_flush(q->file);
    if (!rc && q->incompat & Q2_DIRTY) {
        rc = q2_header_set(q, Q2_AT_INCOMPAT, q->incompat & ~(uint64_t)Q2_DIRTY, 8);
        rc = rc ? rc : blk_node_flush(q->file);
    }
    uint64_t end = MAX(q->opened_size, q->used_end);

    if (!rc && q->file->size > end) {
        blk_node_truncate(q->file, end); /* grown ahead of its use */
    }
    return rc;
}

static void qcow2_close(BlkNode *n)
{
    Qcow2 *q = n->state;

    if (!n->read_only && !q->broken) {
        g_mutex_lock(&q->lock);
        int rc = settle(q);
        g_mutex_unlock(&q->lock);
        if (rc) {
            report_error("Could not write the tables of '%s': %s", n->filename, g_strerror(-rc));
        }
    }
    free_all(q);
}

const BlkDriver blk_qcow2 = { .name = "qcow2",
    .help = "images that grow, with a backing file",
    .size = sizeof(Qcow2),
    .props = qcow2_props,
    .opts_size = sizeof(Q2Opts),
    .backing = true,
    .guards = true,
    .open = qcow2_open,
    .close = qcow2_close,
    .preadv = q2_preadv,
    .pwritev = q2_pwritev,
    .flush = q2_flush,
    .discard = q2_discard,
    .write_zeroes = q2_zeroes,
    .truncate = q2_truncate,
    .describe = q2_describe };
