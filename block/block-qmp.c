/* What QMP shows and does of the block layer; the human monitor's words are in describe.c. Tested
 * by tests/system/test_queries.py. */
#include "block-internal.h"

#include <errno.h>
#include <string.h>

static int64_t allocated(BlkNode *n)
{
    return n->drv->allocated ? n->drv->allocated(n) : n->file ? allocated(n->file) : -ENOTSUP;
}

/* QEMU compat: nobody knows of what is not there. */
static bool has_dirty_flag(const BlkNode *n)
{
    return n->file ? has_dirty_flag(n->file) : n->drv->lock != NULL;
}

/* flat: without the images below. */
static void put_image(JsonWriter *w, const char *name, BlkNode *n, bool flat)
{
    BlkNode *below = blk_node_cow(n);
    int64_t bytes = allocated(n);

    jw_begin_object(w, name);
    if (below && !flat) {
        put_image(w, "backing-image", below, false);
    }
    jw_uint(w, "virtual-size", (n->size + 511) & ~511ull); /* QEMU compat: whole sectors */
    jw_str(w, "filename", blk_node_shown(n));
    jw_str(w, "format", n->drv->name);
    if (bytes >= 0) {
        jw_int(w, "actual-size", bytes);
    }
    if (n->drv->describe) {
        n->drv->describe(n, w);
    }
    if (n->backing_name) {
        jw_str(w, "backing-filename", n->backing_name);
        jw_str(
            w, "full-backing-filename", n->backing ? blk_node_shown(n->backing) : n->backing_name);
        if (n->backing_format) {
            jw_str(w, "backing-filename-format", n->backing_format);
        }
    }
    if (has_dirty_flag(n)) {
        jw_bool(w, "dirty-flag", false);
    }
    jw_end_object(w);
}

Json *blk_image_info(BlkNode *n)
{
    JsonWriter *w = json_writer_new();

    put_image(w, NULL, n, false);
    return json_writer_free(w);
}

/* QEMU's names of a drive's limits; the burst's ones only where there is a burst. */
static void put_limits(JsonWriter *w, const Blk *b)
{
    static const char *const names[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };
    ThrottleLimits l = { 0 };
    bool any = false;

    if (b && b->limits.g) {
        l = throttle_group_limits(b->limits.g);
        any = throttle_limits_any(&l);
    }
    for (unsigned i = 0; i < LIMITS; i++) {
        jw_int(w, names[i], l.avg[i]);
        if (l.max[i]) {
            g_autofree char *max = g_strconcat(names[i], "_max", NULL),
                            *length = g_strconcat(names[i], "_max_length", NULL);
            jw_int(w, max, l.max[i]);
            jw_int(w, length, l.length[i]);
        }
    }
    if (l.op_size) {
        jw_int(w, "iops_size", l.op_size);
    }
    if (any) {
        jw_str(w, "group", throttle_group_name(b->limits.g));
    }
}

unsigned blk_chain_depth(const BlkNode *n)
{
    const BlkNode *below = blk_node_cow(n);

    return below ? 1 + blk_chain_depth(below) : 0;
}

static void put_node(JsonWriter *w, const char *name, BlkNode *n, bool wce, bool flat, const Blk *b)
{
    jw_begin_object(w, name);
    jw_str(w, "detect_zeroes", n->detect_zeroes ? (n->discard_unmap ? "unmap" : "on") : "off");
    put_image(w, "image", n, flat);
    jw_bool(w, "ro", n->read_only);
    jw_str(w, "node-name", n->name);
    jw_int(w, "backing_file_depth", flat ? 0 : blk_chain_depth(n));
    if (n->backing) {
        jw_str(w, "backing_file", blk_node_shown(n->backing));
    }
    jw_str(w, "drv", n->drv->name);
    put_limits(w, b);
    jw_int(w, "write_threshold", 0);
    jw_bool(w, "encrypted", false);
    jw_begin_object(w, "cache");
    jw_bool(w, "no-flush", n->cache_no_flush);
    jw_bool(w, "direct", n->cache_direct);
    jw_bool(w, "writeback", wce);
    jw_end_object(w);
    jw_str(w, "file", blk_node_shown(n));
    jw_bool(w, "active", true);
    jw_end_object(w);
}

static void put_blk(Blk *b, void *opaque)
{
    JsonWriter *w = opaque;

    jw_begin_object(w, NULL);
    static const char *const status[] = { "ok", "failed", "nospace" };

    if (b->dev && blk_has_status(b)) {
        jw_str(w, "io-status", status[b->io_status]);
    }
    jw_str(w, "device", b->id ? b->id : "");
    jw_bool(w, "locked", blk_tray_locked(b));
    jw_bool(w, "removable", blk_removable(b));
    if (b->node) {
        put_node(w, "inserted", b->node, b->write_cache, false, b);
    }
    if (b->dev) {
        g_autofree char *name = blk_dev_name(b);
        jw_str(w, "qdev", name);
        if (b->tray) {
            jw_bool(w, "tray_open", blk_tray_open(b));
        }
    }
    jw_str(w, "type", "unknown");
    jw_end_object(w);
}

static Json *qmp_query_block(
    G_GNUC_UNUSED void *m, G_GNUC_UNUSED const void *args, G_GNUC_UNUSED GError **err)
{
    JsonWriter *w = json_writer_new();

    jw_begin_array(w, NULL);
    blk_each(put_blk, w);
    jw_end_array(w);
    return json_writer_free(w);
}

typedef struct FlatArgs {
    bool flat;
} FlatArgs;
static const PropSpec flat_props[] = {
    PROP_BOOL("flat", FlatArgs, flat, false, "leave out backing chains"),
    PROP_END,
};

static void put_named(BlkNode *n, void *opaque)
{
    put_node(opaque, NULL, n, true, false, NULL);
}

static void put_named_flat(BlkNode *n, void *opaque)
{
    put_node(opaque, NULL, n, true, true, NULL);
}

static Json *qmp_query_nodes(G_GNUC_UNUSED void *m, const void *args, G_GNUC_UNUSED GError **err)
{
    const FlatArgs *a = args;
    JsonWriter *w = json_writer_new();

    jw_begin_array(w, NULL);
    blk_nodes_each(a && a->flat ? put_named_flat : put_named, w);
    jw_end_array(w);
    return json_writer_free(w);
}

typedef struct ResizeArgs {
    char *device, *node;
    int64_t size;
} ResizeArgs;
static const PropSpec resize_props[] = {
    PROP_STR("device", ResizeArgs, device, "drive"),
    PROP_STR("node-name", ResizeArgs, node, "node"),
    { .name = "size",
        .type = &prop_i64,
        .offset = PROP_AT(ResizeArgs, size, int64_t),
        .bit = -1,
        .flags = PROP_REQUIRED,
        .help = "bytes" },
    PROP_END,
};

static void tell_resized(Blk *b, void *opaque)
{
    if (b->node == opaque && b->resized.fn) {
        b->resized.fn(b->resized.opaque);
    }
}

static Json *qmp_block_resize(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const ResizeArgs *a = args;
    Blk *b = a->device ? blk_find(a->device) : NULL;
    BlkNode *n = b ? b->node : a->node ? blk_node_find(a->node) : NULL;

    if (!n) {
        err_set(err, "Cannot find device='%s' nor node-name='%s'", a->device ? a->device : "",
            a->node ? a->node : "");
        return NULL;
    }
    if (a->size < 0) {
        err_set(err, "Parameter 'size' expects a >0 size");
        return NULL;
    }
    if (b) {
        blk_drain(b);
    }
    int rc = n->drv->truncate ? n->drv->truncate(n, (uint64_t)a->size) : -ENOTSUP;
    if (rc) {
        err_set(err,
            rc == -ENOTSUP ? "Image format driver does not support resize" : "Failed to resize: %s",
            strerror(-rc));
        return NULL;
    }
    blk_each(tell_resized, n);
    return json_object();
}

static Json *qmp_blockdev_add(G_GNUC_UNUSED void *m, const Json *args, GError **err)
{
    return blk_node_create(args, err) ? json_object() : NULL;
}

typedef struct NodeArgs {
    char *node;
} NodeArgs;
static const PropSpec node_args[] = {
    { .name = "node-name",
        .type = &prop_str,
        .offset = PROP_AT(NodeArgs, node, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "node" },
    PROP_END,
};

static Json *qmp_blockdev_del(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const NodeArgs *a = args;
    return blk_node_delete(a->node, err) ? json_object() : NULL;
}

const QmpCmd block_qmp_cmds[] = {
    { .name = "query-block", .run = qmp_query_block },
    { .name = "query-named-block-nodes",
        .args_spec = flat_props,
        .args_size = sizeof(FlatArgs),
        .run = qmp_query_nodes },
    { .name = "query-blockstats",
        .args_spec = blk_stats_args,
        .args_size = sizeof(BlkStatsArgs),
        .run = blk_query_stats },
    { .name = "block_resize",
        .args_spec = resize_props,
        .args_size = sizeof(ResizeArgs),
        .run = qmp_block_resize },
    { .name = "blockdev-add", .run_raw = qmp_blockdev_add },
    { .name = "blockdev-del",
        .args_spec = node_args,
        .args_size = sizeof(NodeArgs),
        .run = qmp_blockdev_del },
    { .name = NULL },
};
