/* The block layer: the node graph and the handles devices hold. Tested by test-block. */
#include "block-internal.h"
#include "util/keyval.h"
#include "util/log.h"

#include <string.h>

const BlkDriver *const blk_drivers[] = { &blk_file, &blk_host_device, &blk_raw, &blk_qcow2,
    &blk_null_co, &blk_null_aio, &blk_blkdebug, &blk_throttle, &blk_overlay, NULL };

enum { MAX_DEPTH = 200 };

/* The process's drives and nodes: made from the command line and QMP, found by name. Main loop
 * only. */
static struct {
    GPtrArray *blks, *nodes;
    unsigned next_node;
    unsigned opening; /* how deep: a backing file may name the image above it */
} graph;

const char *const blk_discard_values[] = { "ignore", "unmap", "off", "on", NULL };
static PROP_ENUM_TYPE(prop_discard, "BlockdevDiscardOptions", blk_discard_values);
const char *const blk_detect_values[] = { "off", "on", "unmap", NULL };
static PROP_ENUM_TYPE(prop_detect, "BlockdevDetectZeroesOptions", blk_detect_values);
static const char *const on_error_values[] = { "auto", "report", "ignore", "enospc", "stop", NULL };
PROP_ENUM_TYPE(prop_blk_on_error, "BlockdevOnError", on_error_values);

/* What every node takes besides its driver's options. */
typedef struct NodeOpts {
    char *driver, *name;
    bool read_only, auto_read_only, force_share;
    int discard, detect_zeroes;
    Json *cache, *file, *backing;
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
    PROP_JSON("backing", NodeOpts, backing, "the image below; null: none"),
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
    for (unsigned i = graph.nodes ? graph.nodes->len : 0; i-- > 0;) {
        fn(g_ptr_array_index(graph.nodes, i), opaque);
    }
}

static void node_free(BlkNode *n)
{
    blk_node_unguard(n);
    blk_node_unref(n->backing);
    blk_node_unref(n->file);
    if (n->drv->props) {
        prop_release(n->drv->props, n->opts);
    }
    g_free(n->opts);
    g_free(n->state);
    g_free(n->name);
    g_free(n->filename);
    g_free(n->shown);
    json_unref(n->options);
    g_free(n->backing_name);
    g_free(n->backing_format);
    g_free(n);
}

void blk_node_unref(BlkNode *n)
{
    if (!n || --n->refs) {
        return;
    }
    g_ptr_array_remove(graph.nodes, n);
    n->drv->close(n);
    node_free(n);
}

/* Splits args into the common members (ret_mine) and the driver's own (ret_rest). */
static void split_args(const Json *args, const char *child, Json *ret_mine, Json *ret_rest)
{
    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        bool mine = false;
        for (const PropSpec *p = node_props; p->name; p++) {
            mine |= !strcmp(p->name, key);
        }
        if (child && !strcmp(key, child)) {
            key = "file";
            mine = true;
        } else if (child && !strcmp(key, "file")) {
            mine = false;
        }
        json_set(mine ? ret_mine : ret_rest, key, json_ref(json_val_at(args, i)));
    }
}

bool blk_driver_takes(const BlkDriver *drv, const char *option)
{
    size_t len = strcspn(option, "."); /* of "cache.direct" the first */

    for (const PropSpec *rows = node_props; rows; rows = rows == drv->props ? NULL : drv->props) {
        for (const PropSpec *p = rows; p->name; p++) {
            if (!strncmp(p->name, option, len) && !p->name[len] && !(p->flags & PROP_INTERNAL)) {
                return true;
            }
        }
    }
    return drv->child && !strncmp(drv->child, option, len) && !drv->child[len];
}

bool blk_name_child(GError **err, const char *child)
{
    static const char *const about[] = { "Parameter '", "Invalid parameter type for '" };

    for (unsigned i = 0; err && *err && i < G_N_ELEMENTS(about); i++) {
        size_t at = strlen(about[i]);
        char *was = (*err)->message;

        if (g_str_has_prefix(was, about[i]) && !strstr(was, "does not accept value")) {
            (*err)->message = g_strdup_printf("%.*s%s.%s", (int)at, was, child, was + at);
            g_free(was);
            return true;
        }
    }
    return false;
}

void blk_set_default(Json *to, const char *key, Json *v)
{
    if (json_get(to, key)) {
        json_unref(v);
    } else {
        json_set(to, key, v);
    }
}

void blk_node_inherit(const BlkNode *n, Json *args)
{
    const Json *said = json_get(args, "cache");

    if (!said || json_type(said) == JSON_OBJECT) {
        Json *cache = said ? json_copy(said) : json_object();

        blk_set_default(cache, "direct", json_bool(n->cache_direct));
        blk_set_default(cache, "no-flush", json_bool(n->cache_no_flush));
        json_set(args, "cache", cache);
    }
    if (n->force_share) {
        blk_set_default(args, "force-share", json_bool(true));
    }
}

static bool open_child(BlkNode *n, const NodeOpts *o, GError **err)
{
    if (n->drv->protocol) {
        return !o->file ||
               err_set(err, "Block protocol '%s' doesn't support the option 'file'", n->drv->name);
    }
    if (!o->file) {
        return err_set(err, "Parameter '%s' is missing", n->drv->child ? n->drv->child : "file");
    }
    if (json_type(o->file) == JSON_STR) {
        const char *ref = json_get_str(o->file);
        n->file = blk_node_find(ref);
        if (!n->file) {
            return err_set(err, "Cannot find device='%s' nor node-name='%s'", ref, ref);
        }
        n->file->refs++;
        return true;
    }
    g_autoptr(Json) args = json_copy(o->file);

    if (json_type(args) == JSON_OBJECT) {
        blk_node_inherit(n, args);
        /* What reaches the node below is meant for it: whether, that was decided above. */
        blk_set_default(args, "discard", json_str("unmap"));
        blk_set_default(args, "auto-read-only", json_bool(n->auto_read_only));
    }
    n->file = blk_node_open(args, n->read_only, err);
    if (!n->file) {
        blk_name_child(err, n->drv->child ? n->drv->child : "file");
    }
    return n->file != NULL;
}

static bool open_format(BlkNode *n, const NodeOpts *o, GError **err)
{
    if (o->backing && !n->drv->backing) {
        return err_set(err, "Parameter 'backing' is unexpected");
    }
    if (n->drv->guards && !blk_node_guard(n, err)) {
        return false;
    }
    if (!n->drv->open(n, err)) {
        return false;
    }
    if (n->drv->backing && !blk_node_open_backing(n, o->backing, err)) {
        n->drv->close(n);
        return false;
    }
    return true;
}

/* Unknown members are named by their path. */
static bool cache_ok(const Json *cache, GError **err)
{
    if (cache && json_type(cache) != JSON_OBJECT) {
        return err_set(err, "Invalid parameter type for 'cache', expected: object");
    }
    for (unsigned i = 0; cache && i < json_len(cache); i++) {
        const PropSpec *p = cache_props;

        while (p->name && strcmp(p->name, json_key_at(cache, i)) != 0) {
            p++;
        }
        if (!p->name) {
            return err_set(err, "Parameter 'cache.%s' is unexpected", json_key_at(cache, i));
        }
    }
    return true;
}

static bool node_setup(BlkNode *n, const NodeOpts *o, const Json *rest, GError **err)
{
    static const PropSpec none[] = { PROP_END };
    CacheOpts cache = { 0 };

    if (!cache_ok(o->cache, err) ||
        (o->cache && !prop_apply_struct(cache_props, &cache, o->cache, err))) {
        return false;
    }
    n->cache_direct = cache.direct;
    n->cache_no_flush = cache.no_flush;
    if (n->drv->props) {
        prop_defaults(n->drv->props, n->opts);
    }
    if (!prop_apply_struct(n->drv->props ? n->drv->props : none, n->opts, rest, err) ||
        !open_child(n, o, err) || !open_format(n, o, err)) {
        return false;
    }
    blk_node_name_it(n, rest);
    return true;
}

static bool name_ok(const char *name, GError **err)
{
    enum { NAME_MAX_LEN = 31 };

    if (!id_check(name, NULL)) {
        return err_set(err, "Invalid node-name: '%s'", name);
    }
    return strlen(name) <= NAME_MAX_LEN || err_set(err, "Node name too long");
}

static bool driver_ok(const Json *args, GError **err)
{
    const char *name = json_get_str_or(args, "driver", NULL);

    if (!name) {
        return err_set(err, "Parameter 'driver' is missing");
    }
    return blk_driver_find(name) ||
           err_set(err, "Parameter 'driver' does not accept value '%s'", name);
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
    const BlkDriver *drv = blk_driver_find(json_get_str_or(args, "driver", ""));

    split_args(args, drv ? drv->child : NULL, mine, rest);
    prop_defaults(node_props, &o);
    if (!prop_apply_struct(node_props, &o, mine, err)) {
        goto out;
    }
    if (!drv) {
        driver_ok(args, err);
        goto out;
    }
    if (o.name && !name_ok(o.name, err)) {
        goto out;
    }
    if (o.force_share && !o.read_only && !inherit_ro) {
        err_set(err, "force-share=on can only be used with read-only images");
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
    n->force_share = o.force_share;
    n->discard_unmap = o.discard == 1 || o.discard == 3;
    n->detect_zeroes = o.detect_zeroes != 0;
    n->align = 1;
    n->refs = 1;
    n->state = g_malloc0(MAX(drv->size, 1));
    n->opts = g_malloc0(MAX(drv->opts_size, 1));
    graph.opening++;
    bool ok = graph.opening <= MAX_DEPTH ? node_setup(n, &o, rest, err)
                                         : err_set(err, "Too many images below one another");
    graph.opening--;
    if (!ok) {
        g_clear_pointer(&n, node_free);
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
    if (!driver_ok(args, err)) {
        return NULL;
    }
    if (!json_get_str_or(args, "node-name", NULL)) {
        err_set(err, "'node-name' must be specified for the root node");
        return NULL;
    }
    BlkNode *n = blk_node_open(args, false, err);
    if (n) {
        n->from_monitor = true;
    }
    return n;
}

static bool node_has_device(const BlkNode *n)
{
    for (unsigned i = 0; graph.blks && i < graph.blks->len; i++) {
        const Blk *b = g_ptr_array_index(graph.blks, i);
        if (b->node == n) {
            return true;
        }
    }
    return false;
}

bool blk_node_delete(const char *name, GError **err)
{
    BlkNode *n = blk_node_find(name);

    if (!n) {
        return err_set(err, "Failed to find node with node-name='%s'", name);
    }
    if (!n->from_monitor) {
        return err_set(err, "Node %s is not owned by the monitor", name);
    }
    if (n->refs > 1) {
        return err_set(
            err, node_has_device(n) ? "Node %s is in use" : "Block device %s is in use", name);
    }
    blk_node_unref(n);
    return true;
}

/* ---- handles ---- */

Blk *blk_new(const char *id, BlkNode *n)
{
    Blk *b = g_new0(Blk, 1);

    b->id = g_strdup(id);
    b->node = n;
    b->write_cache = true;
    b->account_failed = b->account_invalid = true;
    blk_lanes_new(b, (Loop *[]){ NULL }, 1);
    blk_error_init(b);
    if (!graph.blks) {
        graph.blks = g_ptr_array_new();
    }
    g_ptr_array_add(graph.blks, b);
    return b;
}

Blk *blk_new_empty(void)
{
    return blk_new(NULL, NULL);
}

static void blk_unlock(Blk *b)
{
    if (b->locked) {
        blk_node_lock(b->node, false, false, NULL);
        b->locked = false;
    }
}

static void blk_free(Blk *b)
{
    blk_drain(b);
    blk_unlock(b);
    throttle_leave(&b->limits);
    g_ptr_array_remove(graph.blks, b);
    blk_node_unref(b->node);
    g_free(b->id);
    g_free(b->drive_if);
    g_free(b->serial);
    g_aligned_free(b->lane);
    blk_error_fini(b);
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

void blk_leave(Blk *b)
{
    bool drive = b->id != NULL;

    blk_detach(b);
    if (drive) {
        blk_free(b);
    }
}

bool blk_drive_delete(const char *id, GError **err)
{
    Blk *b = blk_find(id);

    if (!b) {
        return err_set(err, "Device '%s' not found", id);
    }
    if (b->dev) {
        return err_set(err, "Device '%s' is in use", id);
    }
    blk_free(b);
    return true;
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

/* One writer an image, unless everybody shares. */
static bool guard_conflict(const Blk *b, const Obj *dev, GError **err)
{
    const BlkNode *g = b->node->guard;

    if (!g || (g->read_only && b->node->read_only)) {
        return false;
    }
    g_autofree char *need = obj_path((Obj *)(uintptr_t)dev);
    return !err_set(err,
        "Permission conflict on node '%s': permissions 'write' are both required by block device "
        "'%s' (uses node '%s' as 'root' child) and unshared by node '%s' (uses node '%s' as 'file' "
        "child).",
        b->node->name, need, b->node->name, g->name, b->node->name);
}

static bool node_conflict(const Blk *b, const Obj *dev, bool share_rw, GError **err)
{
    for (unsigned i = 0; i < graph.blks->len; i++) {
        const Blk *o = g_ptr_array_index(graph.blks, i);
        if (o == b || o->node != b->node || !o->dev || b->node->read_only ||
            (share_rw && o->share_rw)) {
            continue;
        }
        g_autofree char *need = obj_path(o->dev), *deny = obj_path((Obj *)(uintptr_t)dev);
        return !err_set(err,
            "Permission conflict on node '%s': permissions 'write' are both required by block "
            "device '%s' (uses node '%s' as 'root' child) and unshared by block device '%s' (uses "
            "node '%s' as 'root' child).",
            b->node->name, need, b->node->name, deny, b->node->name);
    }
    return false;
}

bool blk_claim_node(Blk *b, BlkNode *n, GError **err)
{
    BlkNode *now = b->node;

    b->node = n; /* as it would be */
    bool ok = !guard_conflict(b, b->dev, err) && !node_conflict(b, b->dev, b->share_rw, err) &&
              blk_node_lock(n, true, b->share_rw, err);

    b->node = now;
    b->locked |= ok;
    return ok;
}

void blk_release_node(Blk *b, BlkNode *n)
{
    b->was_read_only = n->read_only;
    if (b->locked) {
        blk_node_lock(n, false, false, NULL);
        b->locked = b->node != NULL;
    }
    blk_node_unref(n);
}

bool blk_node_used(const BlkNode *n)
{
    for (unsigned i = 0; graph.blks && i < graph.blks->len; i++) {
        if (((const Blk *)g_ptr_array_index(graph.blks, i))->node == n) {
            return true;
        }
    }
    return false;
}

bool blk_attach(Blk *b, Obj *dev, bool share_rw, GError **err)
{
    if (b->dev) {
        return err_set(err, "Drive '%s' is already in use by another device", blk_id(b));
    }
    b->dev = dev;
    b->share_rw = share_rw;
    if (b->node && !blk_claim_node(b, b->node, err)) {
        b->dev = NULL;
        return false;
    }
    return true;
}

void blk_detach(Blk *b)
{
    blk_drain(b);
    blk_set_loop(b, NULL);
    blk_unlock(b);
    b->dev = NULL;
    b->tray = NULL;
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
    return __atomic_load_n(&b->write_cache, __ATOMIC_RELAXED);
}

void blk_set_write_cache(Blk *b, bool on)
{
    __atomic_store_n(&b->write_cache, on, __ATOMIC_RELAXED);
}

void blk_set_accounting(Blk *b, OnOffAuto failed, OnOffAuto invalid)
{
    if (failed != ON_OFF_AUTO_AUTO) {
        b->account_failed = failed == ON_OFF_AUTO_ON;
    }
    if (invalid != ON_OFF_AUTO_AUTO) {
        b->account_invalid = invalid == ON_OFF_AUTO_ON;
    }
}

const char *blk_id(const Blk *b)
{
    return b->id ? b->id : b->node ? b->node->name : "";
}

const char *blk_name(const Blk *b)
{
    return b->id ? b->id : "";
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

/* ---- drive=ID on devices ---- */

/* A handle that was made for this property and never came into use. */
static void drive_prop_release(void *field)
{
    Blk **b = field;

    /* At exit the handles may have gone before the devices. */
    if (*b && graph.blks && g_ptr_array_find(graph.blks, *b, NULL) && !(*b)->id && !(*b)->dev) {
        blk_free(*b);
    }
    *b = NULL;
}

/* A drive's handle, or a new one on a node. */
static void *drive_ref_find(const char *id, GError **err)
{
    Blk *b = blk_find(id);
    BlkNode *n = b ? NULL : blk_node_find(id);

    if (n) {
        n->refs++;
        b = blk_new(NULL, n);
    }
    return b;
}

static const char *drive_ref_name(const void *target)
{
    return blk_id(target);
}

static const PropRef drive_ref = { .find = drive_ref_find, .name = drive_ref_name };
const PropType prop_drive = { .name = "str", .ref = &drive_ref, .release = drive_prop_release };
