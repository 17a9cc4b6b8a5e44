/* What the human monitor says of the block layer: info block, info blockstats. Tested by
 * tests/system/test_queries.py. */
#include "block-internal.h"

#include <inttypes.h>
#include <string.h>

static const char *const limit_kinds[] = { "bps", "iops" };

static void add_limits(GString *out, const Blk *b)
{
    ThrottleLimits l = { 0 };

    if (b->limits.g) {
        l = throttle_group_limits(b->limits.g);
    }
    if (!throttle_limits_any(&l)) {
        return;
    }
    g_string_append(out, "    I/O throttling:  ");
    for (unsigned k = 0; k < G_N_ELEMENTS(limit_kinds); k++) {
        const char *kind = limit_kinds[k];
        const int64_t *a = l.avg + 3 * k, *x = l.max + 3 * k;

        g_string_append_printf(out, " %s=%" PRId64 " %s_rd=%" PRId64 " %s_wr=%" PRId64, kind, a[0],
            kind, a[1], kind, a[2]);
        g_string_append_printf(out, " %s_max=%" PRId64 " %s_rd_max=%" PRId64 " %s_wr_max=%" PRId64,
            kind, x[0], kind, x[1], kind, x[2]);
    }
    g_string_append_printf(
        out, " iops_size=%" PRId64 " group=%s\n", l.op_size, throttle_group_name(b->limits.g));
}

/* Three digits and a binary unit. */
static char *size_text(int64_t bytes)
{
    static const char *const unit[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    double v = (double)bytes;
    unsigned u = 0;

    /* 999.5 would be shown as 1e+03 */
    for (; v >= 999.5 && u + 1 < G_N_ELEMENTS(unit); u++) {
        v /= 1024;
    }
    return g_strdup_printf("%.3g %sB", v, unit[u]);
}

/* {"type": "qcow2", "data": {"lazy-refcounts": false}} */
static void add_specific(GString *out, const Json *specific)
{
    const Json *data = specific ? json_get(specific, "data") : NULL;

    for (unsigned i = 0; data && i < json_len(data); i++) {
        const Json *v = json_val_at(data, i);
        g_autofree char *name = g_strdelimit(g_strdup(json_key_at(data, i)), "-", ' '),
                        *text = json_type(v) == JSON_STR ? g_strdup(json_get_str(v))
                                                         : json_to_string(v, false);

        g_string_append_printf(
            out, "%s    %s: %s\n", i ? "" : "Format specific information:\n", name, text);
    }
}

/* As qemu-img info has it: the image and all below. */
static void add_images(GString *out, const Json *image)
{
    g_string_append(out, "\nImages:\n");
    for (; image; image = json_get(image, "backing-image")) {
        int64_t size = json_get_int(json_get(image, "virtual-size"));
        const Json *actual = json_get(image, "actual-size"),
                   *cluster = json_get(image, "cluster-size");
        const char *backing = json_get_str_or(image, "backing-filename", NULL),
                   *format = json_get_str_or(image, "backing-filename-format", NULL);
        g_autofree char *virtual_text = size_text(size),
                        *disk = actual ? size_text(json_get_int(actual)) : g_strdup("unavailable");

        g_string_append_printf(out,
            "image: %s\nfile format: %s\nvirtual size: %s (%" PRId64 " bytes)\ndisk size: %s\n",
            json_get_str_or(image, "filename", ""), json_get_str_or(image, "format", ""),
            virtual_text, size, disk);
        if (cluster) {
            g_string_append_printf(out, "cluster_size: %" PRId64 "\n", json_get_int(cluster));
        }
        if (backing) {
            const char *full = json_get_str_or(image, "full-backing-filename", backing);

            g_string_append_printf(out, "backing file: %s", backing);
            if (strcmp(full, backing)) {
                g_string_append_printf(out, " (actual path: %s)", full);
            }
            g_string_append_c(out, '\n');
        }
        if (format) {
            g_string_append_printf(out, "backing file format: %s\n", format);
        }
        add_specific(out, json_get(image, "format-specific"));
    }
}

/* b: whose node it is; NULL: it stands for itself. */
static void add_node(GString *out, BlkNode *n, const Blk *b, bool verbose)
{
    g_string_append_printf(out, "    Cache mode:       %s%s%s\n",
        !b || b->write_cache ? "writeback" : "writethrough", n->cache_direct ? ", direct" : "",
        n->cache_no_flush ? ", ignore flushes" : "");
    if (n->detect_zeroes) {
        g_string_append_printf(
            out, "    Detect zeroes:    %s\n", n->discard_unmap ? "unmap" : "on");
    }
    if (n->backing) {
        g_string_append_printf(out, "    Backing file:     %s (chain depth: %u)\n",
            blk_node_shown(n->backing), blk_chain_depth(n));
    }
    if (b) {
        add_limits(out, b);
    }
    if (verbose) {
        g_autoptr(Json) image = blk_image_info(n);
        add_images(out, image);
    }
}

static void add_heading(GString *out, const char *name, const BlkNode *n, bool its_own)
{
    g_string_append_printf(out, "%s%s", out->len ? "\n" : "", name);
    if (!n) {
        g_string_append(out, ": [not inserted]\n");
        return;
    }
    if (!its_own) {
        g_string_append_printf(out, " (%s)", n->name);
    }
    g_string_append_printf(
        out, ": %s (%s%s)\n", blk_node_shown(n), n->drv->name, n->read_only ? ", read-only" : "");
}

typedef struct Describing {
    const BlkDescribe *what;
    GString *out;
} Describing;

static void describe_drive(Blk *b, void *opaque)
{
    const Describing *d = opaque;
    g_autofree char *dev = b->dev ? blk_dev_name(b) : NULL;
    const char *id = b->id && *b->id ? b->id : NULL,
               *name = id    ? id
                       : dev ? dev
                             : "",
               *wanted = d->what->name;

    if (!id && b->node) {
        name = b->node->name;
    }
    if (wanted && strcmp(wanted, name) && g_strcmp0(wanted, dev) != 0) {
        return;
    }
    add_heading(d->out, name, b->node, id == NULL);
    if (dev) {
        g_string_append_printf(d->out, "    Attached to:      %s\n", dev);
    }
    if (blk_removable(b)) {
        g_string_append_printf(d->out, "    Removable device: %slocked, tray %s\n",
            blk_tray_locked(b) ? "" : "not ", b->tray && blk_tray_open(b) ? "open" : "closed");
    }
    if (b->io_status != BLK_IO_OK) {
        g_string_append_printf(d->out, "    I/O status:       %s\n",
            b->io_status == BLK_IO_NOSPACE ? "nospace" : "failed");
    }
    if (b->node) {
        add_node(d->out, b->node, b, d->what->verbose);
    }
}

static void describe_node(BlkNode *n, void *opaque)
{
    const Describing *d = opaque;

    if (!d->what->name || !strcmp(d->what->name, n->name)) {
        add_heading(d->out, n->name, n, true);
        add_node(d->out, n, NULL, d->what->verbose);
    }
}

void blk_describe(const BlkDescribe *what, GString *out)
{
    Describing d = { what, out };

    if (what->nodes) {
        blk_nodes_each(describe_node, &d);
    } else {
        blk_each(describe_drive, &d);
    }
}

static void describe_counts(Blk *b, void *opaque)
{
    const BlkCount rd = blk_count(b, BLK_READ), wr = blk_count(b, BLK_WRITE),
                   flush = blk_count(b, BLK_FLUSH);
    int64_t last = blk_last_ns(b);

    g_string_append_printf(opaque,
        "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
        " wr_operations=%" PRIu64 " flush_operations=%" PRIu64,
        b->id ? b->id : "", rd.bytes, wr.bytes, rd.ops, wr.ops, flush.ops);
    g_string_append_printf(opaque,
        " wr_total_time_ns=%" PRIu64 " rd_total_time_ns=%" PRIu64 " flush_total_time_ns=%" PRIu64
        " rd_merged=%" PRIu64 " wr_merged=%" PRIu64 " idle_time_ns=%" PRId64 "\n",
        wr.ns, rd.ns, flush.ns, rd.merged, wr.merged,
        last ? MAX(clock_ns(CLOCK_KIND_REALTIME) - last, 0) : 0);
}

void blk_describe_stats(GString *out)
{
    blk_each(describe_counts, out);
}
