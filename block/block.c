/* The block layer: the node graph, the handles devices hold, and -drive / -blockdev. */
#include "block-internal.h"
#include "util/keyval.h"
#include "util/log.h"

#include <string.h>

const BlkDriver *const blk_drivers[] = { &blk_file, &blk_host_device, &blk_raw, &blk_null_co,
    &blk_null_aio, NULL };

/* The process's drives and nodes: made from the command line and QMP, found by name. Main loop
 * only. */
static struct {
    GPtrArray *blks, *nodes;
    unsigned next_node;
} graph;

static const char *const discard_values[] = { "ignore", "unmap", "off", "on", NULL };
static PROP_ENUM_TYPE(prop_discard, "BlockdevDiscardOptions", discard_values);
static const char *const detect_values[] = { "off", "on", "unmap", NULL };
static PROP_ENUM_TYPE(prop_detect, "BlockdevDetectZeroesOptions", detect_values);
static const char *const on_error_values[] = { "auto", "report", "ignore", "enospc", "stop", NULL };
PROP_ENUM_TYPE(prop_blk_on_error, "BlockdevOnError", on_error_values);

/* What every node takes besides its driver's options. */
typedef struct NodeOpts {
    char *driver, *name;
    bool read_only, auto_read_only, force_share;
    int discard, detect_zeroes;
    Json *cache, *file;
} NodeOpts;
static const PropSpec node_props[] = {
    PROP_STR("driver", NodeOpts, driver, "block driver"),
    PROP_STR("node-name", NodeOpts, name, "name in the graph"),
    PROP_BOOL("read-only", NodeOpts, read_only, false, "refuse writes"),
    PROP_BOOL("auto-read-only", NodeOpts, auto_read_only, false,
        "open read-only when writing is not allowed"),
    PROP_BOOL("force-share", NodeOpts, force_share, false, "take no locks"),
    PROP_ENUM("discard", NodeOpts, discard, prop_discard, 0, "pass discards on"),
    PROP_ENUM("detect-zeroes", NodeOpts, detect_zeroes, prop_detect, 0,
        "turn zero writes into write-zeroes"),
    PROP_JSON("cache", NodeOpts, cache, "direct, no-flush"),
    PROP_JSON("file", NodeOpts, file, "the node below"),
    PROP_END,
};
typedef struct CacheOpts {
    bool direct, no_flush;
} CacheOpts;
static const PropSpec cache_props[] = {
    PROP_BOOL("direct", CacheOpts, direct, false, "bypass the host's page cache"),
    PROP_BOOL("no-flush", CacheOpts, no_flush, false, "ignore flushes"),
    PROP_END,
};

const BlkDriver *blk_driver_find(const char *name)
{
    for (unsigned i = 0; blk_drivers[i]; i++) {
        if (!strcmp(blk_drivers[i]->name, name)) {
            return blk_drivers[i];
        }
    }
    return NULL;
}

BlkNode *blk_node_find(const char *name)
{
    for (unsigned i = 0; graph.nodes && i < graph.nodes->len; i++) {
        BlkNode *n = g_ptr_array_index(graph.nodes, i);
        if (!strcmp(n->name, name)) {
            return n;
        }
    }
    return NULL;
}

void blk_nodes_each(void (*fn)(BlkNode *n, void *opaque), void *opaque)
{
    for (unsigned i = 0; graph.nodes && i < graph.nodes->len; i++) {
        fn(g_ptr_array_index(graph.nodes, i), opaque);
    }
}

void blk_node_unref(BlkNode *n)
{
    if (!n || --n->refs) {
        return;
    }
    g_ptr_array_remove(graph.nodes, n);
    n->drv->close(n);
    blk_node_unref(n->file);
    if (n->drv->props) {
        prop_release(n->drv->props, n->opts);
    }
    g_free(n->opts);
    g_free(n->state);
    g_free(n->name);
    g_free(n->filename);
    g_free(n);
}

/* Splits args into the common members (ret_mine) and the driver's own (ret_rest). */
static void split_args(const Json *args, Json *ret_mine, Json *ret_rest)
{
    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        bool mine = false;
        for (const PropSpec *p = node_props; p->name; p++) {
            mine |= !strcmp(p->name, key);
        }
        json_set(mine ? ret_mine : ret_rest, key, json_ref(json_val_at(args, i)));
    }
}

static bool open_child(BlkNode *n, const NodeOpts *o, GError **err)
{
    if (n->drv->protocol) {
        return !o->file ||
               err_set(err, "Block protocol '%s' doesn't support the option 'file'", n->drv->name);
    }
    if (!o->file) {
        return err_set(err, "A block device must be specified for \"file\"");
    }
    if (json_type(o->file) == JSON_STR) {
        const char *ref = json_get_str(o->file);
        n->file = blk_node_find(ref);
        if (!n->file) {
            return err_set(err, "Cannot find device='' nor node-name='%s'", ref);
        }
        n->file->refs++;
        return true;
    }
    n->file = blk_node_open(o->file, n->read_only, err);
    return n->file != NULL;
}

static bool node_setup(BlkNode *n, const NodeOpts *o, const Json *rest, GError **err)
{
    static const PropSpec none[] = { PROP_END };
    CacheOpts cache = { 0 };

    if (o->cache && !prop_apply_struct(cache_props, &cache, o->cache, err)) {
        return false;
    }
    n->cache_direct = cache.direct;
    n->cache_no_flush = cache.no_flush;
    if (n->drv->props) {
        prop_defaults(n->drv->props, n->opts);
    }
    return prop_apply_struct(n->drv->props ? n->drv->props : none, n->opts, rest, err) &&
           open_child(n, o, err) && n->drv->open(n, err);
}

BlkNode *blk_node_open(const Json *args, bool inherit_ro, GError **err)
{
    NodeOpts o = { 0 };
    g_autoptr(Json) mine = json_object();
    g_autoptr(Json) rest = json_object();
    BlkNode *n = NULL;

    if (json_type(args) != JSON_OBJECT) {
        err_set(err, "Invalid parameter type for 'file', expected: object");
        return NULL;
    }
    split_args(args, mine, rest);
    prop_defaults(node_props, &o);
    if (!prop_apply_struct(node_props, &o, mine, err)) {
        goto out;
    }
    const BlkDriver *drv = o.driver ? blk_driver_find(o.driver) : NULL;
    if (!drv) {
        err_set(err, o.driver ? "Unknown driver '%s'" : "Parameter 'driver' is missing", o.driver);
        goto out;
    }
    if (o.name && (blk_node_find(o.name) || blk_find(o.name))) {
        err_set(err, "Duplicate nodes with node-name='%s'", o.name);
        goto out;
    }
    n = g_new0(BlkNode, 1);
    n->drv = drv;
    n->name = o.name ? g_strdup(o.name) : g_strdup_printf("#block%03u", graph.next_node++);
    n->read_only = o.read_only || inherit_ro;
    n->auto_read_only = o.auto_read_only;
    n->discard_unmap = o.discard == 1 || o.discard == 3;
    n->detect_zeroes = o.detect_zeroes != 0;
    n->align = 1;
    n->refs = 1;
    n->state = g_malloc0(MAX(drv->size, 1));
    n->opts = g_malloc0(MAX(drv->opts_size, 1));
    if (!node_setup(n, &o, rest, err)) {
        blk_node_unref(n->file);
        if (drv->props) {
            prop_release(drv->props, n->opts);
        }
        g_free(n->opts);
        g_free(n->state);
        g_free(n->name);
        g_free(n->filename);
        g_clear_pointer(&n, g_free);
        goto out;
    }
    if (!graph.nodes) {
        graph.nodes = g_ptr_array_new();
    }
    g_ptr_array_add(graph.nodes, n);
out:
    prop_release(node_props, &o);
    return n;
}

BlkNode *blk_node_create(const Json *args, GError **err)
{
    if (!json_get_str_or(args, "node-name", NULL)) {
        err_set(err, "'node-name' must be specified for the root node");
        return NULL;
    }
    return blk_node_open(args, false, err);
}

static bool node_in_use(const BlkNode *n)
{
    return n->refs > 1;
}

bool blk_node_delete(const char *name, GError **err)
{
    BlkNode *n = blk_node_find(name);

    if (!n) {
        return err_set(err, "Failed to find node with node-name='%s'", name);
    }
    if (node_in_use(n)) {
        return err_set(err, "Node %s is in use", name);
    }
    blk_node_unref(n);
    return true;
}

/* ---- handles ---- */

static Blk *blk_new(const char *id, BlkNode *n)
{
    Blk *b = g_new0(Blk, 1);

    b->id = g_strdup(id);
    b->node = n;
    b->write_cache = true;
    if (!graph.blks) {
        graph.blks = g_ptr_array_new();
    }
    g_ptr_array_add(graph.blks, b);
    return b;
}

static void blk_free(Blk *b)
{
    blk_drain(b);
    g_ptr_array_remove(graph.blks, b);
    blk_node_unref(b->node);
    g_free(b->id);
    g_free(b->drive_if);
    g_free(b->serial);
    g_free(b);
}

Blk *blk_find(const char *id)
{
    for (unsigned i = 0; graph.blks && i < graph.blks->len; i++) {
        Blk *b = g_ptr_array_index(graph.blks, i);
        if (b->id && !strcmp(b->id, id)) {
            return b;
        }
    }
    return NULL;
}

void blk_each(void (*fn)(Blk *b, void *opaque), void *opaque)
{
    for (unsigned i = 0; graph.blks && i < graph.blks->len; i++) {
        fn(g_ptr_array_index(graph.blks, i), opaque);
    }
}

void blk_cleanup(void)
{
    while (graph.blks && graph.blks->len) {
        blk_free(g_ptr_array_index(graph.blks, graph.blks->len - 1));
    }
    /* What remains are root nodes of -blockdev; parents were made after their children. */
    while (graph.nodes && graph.nodes->len) {
        BlkNode *n = g_ptr_array_index(graph.nodes, graph.nodes->len - 1);
        n->refs = 1;
        blk_node_unref(n);
    }
}

bool blk_attach(Blk *b, Obj *dev, GError **err)
{
    if (b->dev) {
        return err_set(err, "Drive '%s' is already in use by another block device",
            b->id ? b->id : b->node->name);
    }
    b->dev = dev;
    return true;
}

void blk_detach(Blk *b)
{
    blk_drain(b);
    b->dev = NULL;
    b->resized.fn = NULL;
    if (!b->id) {
        blk_free(b); /* a device's own handle on a node ends with it */
    }
}

bool blk_inserted(const Blk *b)
{
    return b->node != NULL;
}

bool blk_read_only(const Blk *b)
{
    return b->node && b->node->read_only;
}

uint64_t blk_size(const Blk *b)
{
    return b->node ? b->node->size : 0;
}

bool blk_write_cache(const Blk *b)
{
    return b->write_cache;
}

void blk_set_write_cache(Blk *b, bool on)
{
    b->write_cache = on;
}

const char *blk_id(const Blk *b)
{
    return b->id ? b->id : b->node ? b->node->name : "";
}

const char *blk_serial(const Blk *b)
{
    return b->serial;
}

const char *blk_drive_if(const Blk *b)
{
    return b->drive_if;
}

BlkNode *blk_node(const Blk *b)
{
    return b->node;
}

BlkOnError blk_on_error(const Blk *b, bool write)
{
    return (BlkOnError)(write ? b->werror : b->rerror);
}

void blk_on_resize(Blk *b, LoopFn *fn, void *opaque)
{
    b->resized.fn = fn;
    b->resized.opaque = opaque;
}

/* ---- -drive ---- */

typedef struct DriveOpts {
    char *file, *if_, *id, *format, *driver, *cache, *media, *serial, *aio, *bus, *unit, *index;
    bool read_only, readonly, snapshot, copy_on_read, auto_read_only;
    int discard, detect_zeroes, werror, rerror;
} DriveOpts;
static const PropSpec drive_props[] = {
    PROP_STR("file", DriveOpts, file, "image file or protocol"),
    PROP_STR("if", DriveOpts, if_, "interface: virtio, none"),
    PROP_STR("id", DriveOpts, id, "name of the drive"),
    PROP_STR("format", DriveOpts, format, "image format"),
    PROP_STR("driver", DriveOpts, driver, "image format"),
    PROP_STR("cache", DriveOpts, cache, "writeback, none, writethrough, directsync, unsafe"),
    PROP_STR("media", DriveOpts, media, "disk or cdrom"),
    PROP_STR("serial", DriveOpts, serial, "serial number"),
    PROP_STR("aio", DriveOpts, aio, "threads"),
    PROP_STR("bus", DriveOpts, bus, "bus number"),
    PROP_STR("unit", DriveOpts, unit, "unit number"),
    PROP_STR("index", DriveOpts, index, "index number"),
    PROP_BOOL("read-only", DriveOpts, read_only, false, "refuse writes"),
    PROP_BOOL("readonly", DriveOpts, readonly, false, "refuse writes"),
    PROP_BOOL("auto-read-only", DriveOpts, auto_read_only, true,
        "open read-only when writing is not allowed"),
    PROP_BOOL("snapshot", DriveOpts, snapshot, false, "refused: no temporary snapshots"),
    PROP_BOOL("copy-on-read", DriveOpts, copy_on_read, false, "refused: no backing files"),
    PROP_ENUM("discard", DriveOpts, discard, prop_discard, 0, "pass discards on"),
    PROP_ENUM("detect-zeroes", DriveOpts, detect_zeroes, prop_detect, 0,
        "turn zero writes into write-zeroes"),
    PROP_ENUM("werror", DriveOpts, werror, prop_blk_on_error, 0, "what a write error does"),
    PROP_ENUM("rerror", DriveOpts, rerror, prop_blk_on_error, 0, "what a read error does"),
    PROP_END,
};

/* cache=: direct, no-flush, write cache (the table in QEMU's documentation of -drive). */
static bool cache_mode(
    const char *text, bool *ret_direct, bool *ret_no_flush, bool *ret_wce, GError **err)
{
    static const struct {
        const char *name;
        bool direct, no_flush, wce;
    } modes[] = {
        { "writeback", false, false, true },
        { "none", true, false, true },
        { "off", true, false, true },
        { "writethrough", false, false, false },
        { "directsync", true, false, false },
        { "unsafe", false, true, true },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(modes[i].name, text)) {
            *ret_direct = modes[i].direct;
            *ret_no_flush = modes[i].no_flush;
            *ret_wce = modes[i].wce;
            return true;
        }
    }
    return err_set(err, "invalid cache option");
}

/* "file" as -drive knows it: a protocol URL or a path; "file.X" options belong to it. */
static Json *protocol_args(const DriveOpts *o, const Json *args, bool direct, bool no_flush)
{
    Json *p = json_object(), *cache = json_object();

    if (g_str_has_prefix(o->file, "null-co://") || g_str_has_prefix(o->file, "null-aio://")) {
        json_set(p, "driver", json_str(o->file[5] == 'c' ? "null-co" : "null-aio"));
    } else {
        bool dev = g_str_has_prefix(o->file, "/dev/") && !g_str_has_prefix(o->file, "/dev/shm/") &&
                   !g_str_has_prefix(o->file, "/dev/fd");
        json_set(p, "driver", json_str(dev ? "host_device" : "file"));
        json_set(
            p, "filename", json_str(g_str_has_prefix(o->file, "file:") ? o->file + 5 : o->file));
        if (o->aio) {
            json_set(p, "aio", json_text(o->aio));
        }
    }
    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        if (g_str_has_prefix(key, "file.")) {
            json_set(p, key + 5, json_ref(json_val_at(args, i)));
        }
    }
    json_set(cache, "direct", json_bool(direct));
    json_set(cache, "no-flush", json_bool(no_flush));
    json_set(p, "cache", cache);
    json_set(p, "auto-read-only", json_bool(o->auto_read_only));
    json_set(p, "read-only", json_bool(o->read_only || o->readonly));
    json_set(p, "discard", json_str(discard_values[o->discard]));
    return p;
}

static bool drive_refused(const DriveOpts *o, GError **err)
{
    const char *what = o->snapshot ? "snapshot" : o->copy_on_read ? "copy-on-read" : NULL;

    if (what) {
        return !err_set(err, "'%s' is not supported", what);
    }
    const char *fmt = o->driver ? o->driver : o->format;
    if (fmt && (!blk_driver_find(fmt) || (blk_driver_find(fmt)->protocol && strcmp(fmt, "raw")))) {
        return !err_set(err, "Unknown driver '%s'", fmt);
    }
    return false;
}

static BlkNode *drive_node(
    const DriveOpts *o, const Json *args, bool direct, bool no_flush, GError **err)
{
    g_autoptr(Json) f = json_object();
    const char *fmt = o->driver ? o->driver : o->format;
    Json *proto = protocol_args(o, args, direct, no_flush);
    bool null = g_str_has_prefix(json_get_str_or(proto, "driver", ""), "null");

    json_set(f, "driver", json_str("raw"));
    json_set(f, "file", proto);
    json_set(f, "read-only", json_bool(o->read_only || o->readonly));
    json_set(f, "detect-zeroes", json_str(detect_values[o->detect_zeroes]));
    json_set(f, "discard", json_str(discard_values[o->discard]));
    if (!fmt && !null) {
        json_set(f, "probed", json_bool(true));
    }
    BlkNode *n = blk_node_open(f, false, err);
    if (n && !fmt && !null) {
        report_warning("Image format was not specified for '%s' and probing guessed raw.\n"
                       "         Automatically detecting the format is dangerous for raw images, "
                       "write operations on "
                       "block 0 will be restricted.\n"
                       "         Specify the 'raw' format explicitly to remove the restrictions.",
            o->file);
    }
    return n;
}

static char *default_id(const char *drive_if)
{
    unsigned n = 0;

    for (unsigned i = 0; graph.blks && i < graph.blks->len; i++) {
        const Blk *b = g_ptr_array_index(graph.blks, i);
        n += b->drive_if && !strcmp(b->drive_if, drive_if);
    }
    return g_strdup_printf("%s%u", drive_if, n);
}

Blk *blk_drive_create(const Json *args, GError **err)
{
    DriveOpts o = { 0 };
    g_autoptr(Json) mine = json_object();
    bool direct = false, no_flush = false, wce = true;
    g_autofree char *id = NULL;
    Blk *b = NULL;
    BlkNode *n = NULL;

    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        if (!g_str_has_prefix(key, "file.")) {
            json_set(mine, key, json_ref(json_val_at(args, i)));
        }
    }
    prop_defaults(drive_props, &o);
    if (!prop_apply_struct(drive_props, &o, mine, err) || drive_refused(&o, err) ||
        (o.cache && !cache_mode(o.cache, &direct, &no_flush, &wce, err))) {
        goto out;
    }
    id = o.id ? g_strdup(o.id) : default_id(o.if_ ? o.if_ : "ide");
    if (blk_find(id)) {
        err_set(err, "Duplicate ID '%s' for drive", id);
        goto out;
    }
    if (o.file && *o.file) {
        n = drive_node(&o, args, direct, no_flush, err);
        if (!n) {
            goto out;
        }
    }
    b = blk_new(id, n);
    b->drive_if = g_strdup(o.if_ ? o.if_ : "ide");
    b->serial = g_strdup(o.serial);
    b->write_cache = wce;
    b->werror = o.werror;
    b->rerror = o.rerror;
out:
    prop_release(drive_props, &o);
    return b;
}

/* ---- drive=ID on devices ---- */

static bool drive_prop_set(void *field, const Json *val, GError **err)
{
    const char *id = json_get_str(val);
    Blk *b = id ? blk_find(id) : NULL;

    if (!id || !*id) {
        *(Blk **)field = NULL;
        return true;
    }
    if (!b) {
        BlkNode *n = blk_node_find(id);
        if (!n) {
            return err_set(err, "can't find value '%s'", id);
        }
        n->refs++;
        b = blk_new(NULL, n);
    }
    *(Blk **)field = b;
    return true;
}

static bool drive_prop_parse(void *field, const char *text, GError **err)
{
    g_autoptr(Json) v = json_str(text);
    return drive_prop_set(field, v, err);
}

static void drive_prop_get(const void *field, JsonWriter *w, const char *name)
{
    Blk *const *b = field;
    jw_str(w, name, *b ? blk_id(*b) : "");
}

const PropType prop_drive = {
    .name = "str", .set = drive_prop_set, .parse = drive_prop_parse, .get = drive_prop_get
};
