/* query-blockstats: what devices asked for, and how far their images were written. Tested by
 * tests/system/test_block.py. */
#include "block-internal.h"

/* QEMU's names of operations, and where ours are counted: zeroes are writes, zones are not offered.
 */
static const struct {
    const char *name;
    unsigned ops; /* 1 << BlkOp */
    bool moves;
} kinds[] = {
    { "rd", 1 << BLK_READ, true },
    { "wr", 1 << BLK_WRITE | 1 << BLK_WRITE_ZEROES, true },
    { "flush", 1 << BLK_FLUSH, false },
    { "unmap", 1 << BLK_DISCARD, true },
    { "zone_append", 0, true },
};

static BlkCount count_of(const Blk *b, unsigned ops)
{
    BlkCount sum = { 0 };

    for (unsigned op = 0; b && op < BLK_OPS; op++) {
        if (ops >> op & 1) {
            BlkCount c = blk_count(b, (BlkOp)op);

            sum.ops += c.ops;
            sum.bytes += c.bytes;
            sum.failed += c.failed;
            sum.invalid += c.invalid;
            sum.merged += c.merged;
            sum.ns += c.ns;
        }
    }
    return sum;
}

static void put(JsonWriter *w, const char *before, const char *name, const char *after, uint64_t n)
{
    g_autofree char *key = g_strconcat(before, name, after, NULL);

    jw_uint(w, key, n);
}

/* b NULL: of a node, which counts nothing but the end of what was written. */
static void put_counts(JsonWriter *w, const Blk *b, const BlkNode *n)
{
    int64_t last = b ? blk_last_ns(b) : 0;

    jw_begin_object(w, "stats");
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        const char *name = kinds[i].name;
        BlkCount c = count_of(b, kinds[i].ops);

        put(w, "", name, "_operations", c.ops);
        put(w, "failed_", name, "_operations", c.failed);
        put(w, "invalid_", name, "_operations", c.invalid);
        put(w, "", name, "_total_time_ns", c.ns);
        if (kinds[i].moves) {
            put(w, "", name, "_bytes", c.bytes);
            put(w, "", name, "_merged", c.merged);
        }
    }
    jw_uint(w, "wr_highest_offset", n ? blk_node_highest(n) : 0);
    if (last) {
        jw_int(w, "idle_time_ns", MAX(clock_ns(CLOCK_KIND_REALTIME) - last, 0));
    }
    jw_bool(w, "account_failed", b && b->account_failed);
    jw_bool(w, "account_invalid", b && b->account_invalid);
    jw_begin_array(w, "timed_stats");
    jw_end_array(w);
    jw_end_object(w);
}

static void put_node(JsonWriter *w, const char *name, BlkNode *n, const Blk *b, bool chain);

static void put_members(JsonWriter *w, BlkNode *n, const Blk *b, bool chain)
{
    if (n) {
        jw_str(w, "node-name", n->name);
    }
    put_counts(w, b, n);
    if (n && n->drv->put_stats) {
        jw_begin_object(w, "driver-specific");
        jw_str(w, "driver", n->drv->name);
        n->drv->put_stats(n, w);
        jw_end_object(w);
    }
    if (n && n->file) {
        put_node(w, "parent", n->file, NULL, chain);
    }
    BlkNode *below = n && chain ? blk_node_cow(n) : NULL;

    if (below) {
        put_node(w, "backing", below, NULL, chain);
    }
}

static void put_node(JsonWriter *w, const char *name, BlkNode *n, const Blk *b, bool chain)
{
    jw_begin_object(w, name);
    put_members(w, n, b, chain);
    jw_end_object(w);
}

static void put_drive(Blk *b, void *opaque)
{
    JsonWriter *w = opaque;

    jw_begin_object(w, NULL);
    jw_str(w, "device", b->id ? b->id : "");
    if (b->dev) {
        g_autofree char *name = blk_dev_name(b);
        jw_str(w, "qdev", name);
    }
    put_members(w, b->node, b, true);
    jw_end_object(w);
}

static void put_named(BlkNode *n, void *opaque)
{
    put_node(opaque, NULL, n, NULL, false);
}

const PropSpec blk_stats_args[] = {
    PROP_BOOL("query-nodes", BlkStatsArgs, nodes, false, "nodes instead of devices"),
    PROP_END,
};

Json *blk_query_stats(G_GNUC_UNUSED void *m, const void *args, G_GNUC_UNUSED GError **err)
{
    const BlkStatsArgs *a = args;
    JsonWriter *w = json_writer_new();

    jw_begin_array(w, NULL);
    if (a && a->nodes) {
        blk_nodes_each(put_named, w);
    } else {
        blk_each(put_drive, w);
    }
    jw_end_array(w);
    return json_writer_free(w);
}
