/* -drive: the options of a drive, made into a node over a protocol node and the handle a device
 * takes. Tested by test-block. */
#include "block-internal.h"
#include "util/keyval.h"
#include "util/log.h"

#include <string.h>

typedef struct CacheMode {
    bool direct, no_flush, wce;
} CacheMode;
typedef struct DriveOpts {
    CacheMode mode;
    char *file, *if_, *id, *node_name, *format, *driver, *cache, *media, *serial, *aio, *bus, *unit,
        *index, *discard, *detect_zeroes, *werror, *rerror, *locking;
    bool stats_failed, stats_invalid;
    bool read_only, snapshot, copy_on_read, auto_read_only, force_share;
} DriveOpts;
static const PropSpec drive_props[] = {
    PROP_STR("file", DriveOpts, file, "image file or protocol"),
    PROP_STR("if", DriveOpts, if_, "interface: virtio, none"),
    PROP_STR("id", DriveOpts, id, "name of the drive"),
    PROP_STR("node-name", DriveOpts, node_name, "name of its node"),
    PROP_STR("format", DriveOpts, format, "image format"),
    PROP_STR("driver", DriveOpts, driver, "image format, or the protocol where there is none"),
    PROP_STR("cache", DriveOpts, cache, "writeback, none, writethrough, directsync, unsafe"),
    PROP_BOOL("cache.writeback", DriveOpts, mode.wce, true, "the disk has a write cache"),
    PROP_BOOL("cache.direct", DriveOpts, mode.direct, false, "bypass the host's page cache"),
    PROP_BOOL("cache.no-flush", DriveOpts, mode.no_flush, false, "ignore flushes"),
    PROP_STR("media", DriveOpts, media, "disk or cdrom"),
    PROP_STR("serial", DriveOpts, serial, "serial number"),
    PROP_STR("aio", DriveOpts, aio, "threads"),
    PROP_STR("bus", DriveOpts, bus, "bus number"),
    PROP_STR("unit", DriveOpts, unit, "unit number"),
    PROP_STR("index", DriveOpts, index, "index number"),
    PROP_BOOL("read-only", DriveOpts, read_only, false, "refuse writes"),
    PROP_BOOL("readonly", DriveOpts, read_only, false, "the same"),
    PROP_BOOL("auto-read-only", DriveOpts, auto_read_only, true,
        "open read-only when writing is not allowed"),
    PROP_BOOL("snapshot", DriveOpts, snapshot, false, "writes go to a temporary file"),
    PROP_BOOL("copy-on-read", DriveOpts, copy_on_read, false, "refused"),
    PROP_BOOL("force-share", DriveOpts, force_share, false, "take no locks"),
    PROP_STR("discard", DriveOpts, discard, "ignore or unmap: pass discards on"),
    PROP_STR("detect-zeroes", DriveOpts, detect_zeroes, "on, off, unmap: look for zero writes"),
    PROP_BOOL("stats-account-failed", DriveOpts, stats_failed, true, "failed requests count"),
    PROP_BOOL("stats-account-invalid", DriveOpts, stats_invalid, true, "invalid requests count"),
    PROP_STR("werror", DriveOpts, werror, "what a write error does"),
    PROP_STR("rerror", DriveOpts, rerror, "what a read error does"),
    PROP_END,
};

static const PropSpec *drive_row(const char *key)
{
    const PropSpec *p = drive_props;

    while (p->name && strcmp(p->name, key)) {
        p++;
    }
    return p->name ? p : NULL;
}

/* Not the format's matter. */
static bool is_drive_key(const char *key)
{
    return drive_row(key) || throttle_drive_key(key) || g_str_has_prefix(key, "file.");
}

/* cache=: the table in QEMU's documentation of -drive. What cache.X says stands. */
static bool cache_mode(DriveOpts *o, const Json *args, GError **err)
{
    static const struct {
        const char *name;
        CacheMode mode;
    } modes[] = {
        { "writeback", { false, false, true } },
        { "none", { true, false, true } },
        { "off", { true, false, true } },
        { "writethrough", { false, false, false } },
        { "directsync", { true, false, false } },
        { "unsafe", { false, true, true } },
    };
    const CacheMode said = o->mode;
    unsigned i = 0;

    if (!o->cache) {
        return true;
    }
    while (i < G_N_ELEMENTS(modes) && strcmp(modes[i].name, o->cache)) {
        i++;
    }
    if (i == G_N_ELEMENTS(modes)) {
        return err_set(err, "invalid cache option");
    }
    o->mode = modes[i].mode;
    o->mode.direct = json_get(args, "cache.direct") ? said.direct : o->mode.direct;
    o->mode.no_flush = json_get(args, "cache.no-flush") ? said.no_flush : o->mode.no_flush;
    o->mode.wce = json_get(args, "cache.writeback") ? said.wce : o->mode.wce;
    return true;
}

static const char *protocol_for(const char *path)
{
    bool dev = g_str_has_prefix(path, "/dev/") && !g_str_has_prefix(path, "/dev/shm/") &&
               !g_str_has_prefix(path, "/dev/fd");

    return dev ? "host_device" : "file";
}

/* A node that is described by a file name alone, and those below it: the name says which driver. */
static void add_drivers(Json *node)
{
    static const char *const children[] = { "file", "image" };
    const char *path = json_get_str_or(node, "filename", NULL);

    if (path) {
        blk_set_default(node, "driver", json_str(protocol_for(path)));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(children); i++) {
        Json *child = json_get(node, children[i]);

        if (child && json_type(child) == JSON_OBJECT) {
            add_drivers(child);
        }
    }
}

/* A backing file whose format nobody said: its first bytes tell it, as where a header is silent. */
static bool guess_backing(Json *format, GError **err)
{
    Json *backing = json_get(format, "backing");

    if (!backing || json_type(backing) != JSON_OBJECT) {
        return true;
    }
    add_drivers(backing);
    const Json *file = json_get(backing, "file");

    if (json_get(backing, "driver") || !file || json_type(file) != JSON_OBJECT) {
        return true;
    }
    BlkNode *n = blk_node_open(file, true, err);

    if (!n) {
        g_prefix_error(err, "Could not open backing file: ");
        return false;
    }
    const char *fmt = blk_probe(n);

    json_set(backing, "driver", json_str(fmt ? fmt : "raw"));
    blk_node_unref(n);
    return true;
}

/* What "file.X" made of a protocol node; the errors are -drive's own. */
static bool protocol_ok(const Json *p, GError **err)
{
    const char *name = json_get_str_or(p, "driver", "file");
    const BlkDriver *drv = blk_driver_find(name);

    if (!drv) {
        return err_set(err, "Unknown driver '%s'", name);
    }
    for (unsigned i = 0; i < json_len(p); i++) {
        if (!blk_driver_takes(drv, json_key_at(p, i))) {
            return err_set(err, "Block protocol '%s' doesn't support the option '%s'", name,
                json_key_at(p, i));
        }
    }
    return (drv != &blk_file && drv != &blk_host_device) || json_get(p, "filename") ||
           err_set(err, "The '%s' block driver requires a file name", name);
}

/* What the drive says of all its nodes. */
static void add_defaults(const DriveOpts *o, Json *p)
{
    blk_set_default(p, "cache.direct", json_bool(o->mode.direct));
    blk_set_default(p, "cache.no-flush", json_bool(o->mode.no_flush));
    blk_set_default(p, "auto-read-only", json_bool(o->auto_read_only));
    blk_set_default(p, "read-only", json_bool(o->read_only || o->snapshot));
    blk_set_default(p, "discard", json_str(o->discard ? o->discard : "ignore"));
    blk_set_default(p, "force-share", json_bool(o->force_share));
}

/* "file" as -drive knows it: a protocol URL or a path; "file.X" options belong to it. */
static Json *protocol_args(const DriveOpts *o, const Json *args, GError **err)
{
    g_autoptr(Json) p = json_object();

    if (!o->file) {
        /* all by "file.X" */
    } else if (g_str_has_prefix(o->file, "blkdebug:")) {
        g_auto(GStrv) part = g_strsplit(o->file, ":", 3); /* blkdebug:rules:image */
        Json *image = json_object();

        json_set(image, "driver", json_str("file"));
        json_set(image, "filename", json_str(part[1] && part[2] ? part[2] : ""));
        json_set(p, "driver", json_str("blkdebug"));
        json_set(p, "config", json_str(part[1] ? part[1] : ""));
        json_set(p, "image", image);
    } else if (g_str_has_prefix(o->file, "null-co://") ||
               g_str_has_prefix(o->file, "null-aio://")) {
        json_set(p, "driver", json_str(o->file[5] == 'c' ? "null-co" : "null-aio"));
    } else {
        json_set(p, "driver", json_str(protocol_for(o->file)));
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
    if (!protocol_ok(p, err)) {
        return NULL;
    }
    add_defaults(o, p);
    Json *nested = keyval_nest(p, err);

    if (nested) {
        add_drivers(nested);
    }
    return nested;
}

static bool one_of(const char *text, const char *const *values, unsigned *ret_at)
{
    for (unsigned i = 0; text && values[i]; i++) {
        if (!strcmp(values[i], text)) {
            *ret_at = i;
            return true;
        }
    }
    return !text;
}

static bool drive_check(const DriveOpts *o, bool below, GError **err)
{
    static const char *const ifs[] = { "ide", "scsi", "floppy", "pflash", "mtd", "sd", "virtio",
        "xen", "none", NULL };
    static const char *const medias[] = { "disk", "cdrom", NULL };
    static const char *const aios[] = { "threads", "native", "io_uring", NULL };
    static const char *const known[] = { "file", "null-co", "null-aio", "blkdebug", NULL };
    g_autofree char *proto = o->file ? blk_protocol_of(o->file) : NULL;
    const char *fmt = o->driver ? o->driver : o->format;
    unsigned at;

    if (!one_of(o->if_, ifs, &at)) {
        return err_set(err, "unsupported bus type '%s'", o->if_);
    }
    if (!one_of(o->media, medias, &at)) {
        return err_set(err, "'%s' invalid media", o->media);
    }
    if (!one_of(o->aio, aios, &at)) {
        return err_set(err, "invalid aio option");
    }
    if (!one_of(o->discard, blk_discard_values, &at)) {
        return err_set(err, "Invalid discard option");
    }
    if (!one_of(o->detect_zeroes, blk_detect_values, &at)) {
        return err_set(err, "invalid parameter value: %s", o->detect_zeroes);
    }
    if (proto && !one_of(proto, known, &at)) {
        return err_set(err, "Unknown protocol '%s'", proto);
    }
    if (o->copy_on_read) {
        return err_set(err, "'copy-on-read' is not supported");
    }
    if (o->driver && o->format) {
        return err_set(err, "Cannot specify both 'driver' and 'format'");
    }
    const BlkDriver *drv = fmt ? blk_driver_find(fmt) : NULL;

    if (fmt && !drv) {
        return err_set(err, "Unknown driver '%s'", fmt);
    }
    return !fmt || below || err_set(err, "A block device must be specified for \"file\"");
}

static bool on_error(const char *text, const char *what, int *ret, GError **err)
{
    unsigned at = BLK_ON_ERROR_AUTO;

    if (!one_of(text, prop_blk_on_error.values, &at) || (text && at == BLK_ON_ERROR_AUTO) ||
        (at == BLK_ON_ERROR_ENOSPC && !strcmp(what, "read"))) {
        return err_set(err, "'%s' invalid %s error action", text, what);
    }
    *ret = (int)at;
    return true;
}

/* What the format takes besides, "backing" and "backing.X" too: from args to f. */
static bool format_args(const Json *args, const char *fmt, Json *f, GError **err)
{
    const BlkDriver *drv = blk_driver_find(fmt);

    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        const PropSpec *p = drv->props;

        if (is_drive_key(key)) {
            continue;
        }
        size_t len = strcspn(key, "."); /* of "overlap-check.template" the first */

        while (p && p->name &&
               (strncmp(p->name, key, len) || p->name[len] || p->flags & PROP_INTERNAL)) {
            p++;
        }
        bool backing =
            drv->backing && (!strcmp(key, "backing") || g_str_has_prefix(key, "backing."));

        if (!backing && (!p || !p->name)) {
            return err_set(err, "Block format '%s' does not support the option '%s'", fmt, key);
        }
        json_set(f, key, json_ref(json_val_at(args, i)));
    }
    return true;
}

/* No format was said: the first bytes tell it. QEMU compat: only a raw image is dangerous to guess,
 * its first bytes are the guest's. */
static const char *guess(const DriveOpts *o, BlkNode *proto)
{
    const char *fmt = blk_probe(proto);

    if (fmt && blk_driver_find(fmt)) {
        return fmt;
    }
    if (!fmt) {
        g_printerr("WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
                   "         Automatically detecting the format is dangerous for raw images, "
                   "write operations on "
                   "block 0 will be restricted.\n"
                   "         Specify the 'raw' format explicitly to remove the restrictions.\n",
            o->file ? o->file : proto->filename);
    }
    return "raw";
}

/* A protocol without a format over it: what is not the drive's are its options. */
static BlkNode *protocol_node(
    const DriveOpts *o, const BlkDriver *drv, const Json *args, GError **err)
{
    g_autoptr(Json) p = json_object();

    json_set(p, "driver", json_str(drv->name));
    if (o->node_name) {
        json_set(p, "node-name", json_str(o->node_name));
    }
    if (o->file && blk_driver_takes(drv, "filename")) {
        json_set(p, "filename", json_str(o->file));
    }
    for (unsigned i = 0; i < json_len(args); i++) {
        if (!is_drive_key(json_key_at(args, i))) {
            json_set(p, json_key_at(args, i), json_ref(json_val_at(args, i)));
        }
    }
    if (!protocol_ok(p, err)) {
        return NULL;
    }
    add_defaults(o, p);
    g_autoptr(Json) nested = keyval_nest(p, err);
    return nested ? blk_node_open(nested, false, err) : NULL;
}

static BlkNode *drive_node(const DriveOpts *o, const Json *args, GError **err)
{
    g_autoptr(Json) f = json_object();
    const char *fmt = o->driver ? o->driver : o->format;
    const BlkDriver *said = fmt ? blk_driver_find(fmt) : NULL;

    if (said && said->protocol) {
        return protocol_node(o, said, args, err);
    }
    Json *proto = protocol_args(o, args, err);

    if (!proto) {
        return NULL;
    }
    bool null = g_str_has_prefix(json_get_str_or(proto, "driver", ""), "null"),
         guessed = !fmt && !null;
    BlkNode *p = guessed ? blk_node_open(proto, false, err) : NULL;

    if (guessed) {
        json_unref(proto);
        if (!p) {
            return NULL;
        }
        proto = json_str(p->name);
    }
    const char *driver = fmt ? fmt : guessed ? guess(o, p) : "raw";

    json_set(f, "driver", json_str(driver));
    json_set(f, "file", proto);
    json_set(f, "cache.direct", json_bool(o->mode.direct));
    json_set(f, "cache.no-flush", json_bool(o->mode.no_flush));
    if (o->node_name) {
        json_set(f, "node-name", json_str(o->node_name));
    }
    json_set(f, "read-only", json_bool(o->read_only || o->snapshot));
    json_set(f, "detect-zeroes", json_str(o->detect_zeroes ? o->detect_zeroes : "off"));
    json_set(f, "discard", json_str(o->discard ? o->discard : "ignore"));
    json_set(f, "force-share", json_bool(o->force_share));
    if (guessed && !strcmp(driver, "raw")) {
        json_set(f, "probed", json_bool(true));
    }
    BlkNode *n = NULL;

    if (format_args(args, driver, f, err)) {
        g_autoptr(Json) nested = keyval_nest(f, err);
        n = nested && guess_backing(nested, err) ? blk_node_open(nested, false, err) : NULL;
    }
    blk_node_unref(p);
    return n;
}

/* Writes go to a temporary file; n is only read. */
static BlkNode *snapshot_node(BlkNode *n, GError **err)
{
    g_autoptr(Json) args = json_object();

    json_set(args, "driver", json_str("x-overlay"));
    json_set(args, "file", json_str(n->name));
    BlkNode *top = blk_node_open(args, false, err);

    blk_node_unref(n); /* the overlay has it */
    return top;
}

typedef struct IfCount {
    const char *drive_if;
    unsigned n;
} IfCount;

static void count_if(Blk *b, void *opaque)
{
    IfCount *c = opaque;
    c->n += b->drive_if && !strcmp(b->drive_if, c->drive_if);
}

static char *default_id(const char *drive_if)
{
    IfCount c = { drive_if, 0 };

    blk_each(count_if, &c);
    return g_strdup_printf("%s%u", drive_if, c.n);
}

/* "file.driver=…" instead of "file=", or a protocol that needs no file. */
static bool has_image(const DriveOpts *o, const Json *args)
{
    const char *fmt = o->driver ? o->driver : o->format;
    const BlkDriver *drv = fmt ? blk_driver_find(fmt) : NULL;

    return o->file ? *o->file != '\0'
                   : json_get(args, "file.driver") || json_get(args, "file.filename") ||
                         (drv && drv->protocol);
}

/* {"file": {"driver": "x"}} as "file.driver". */
static void add_flat(Json *to, const char *prefix, const Json *from)
{
    bool list = json_type(from) == JSON_ARRAY;

    for (unsigned i = 0; i < json_len(from); i++) {
        Json *v = list ? json_at(from, i) : json_val_at(from, i);
        g_autofree char *at = g_strdup_printf("%u", i),
                        *key = g_strconcat(prefix, list ? at : json_key_at(from, i), NULL),
                        *inside = g_strconcat(key, ".", NULL);

        if (json_type(v) == JSON_OBJECT || json_type(v) == JSON_ARRAY) {
            add_flat(to, inside, v);
        } else {
            blk_set_default(to, key, json_ref(v));
        }
    }
}

/* file=json:{…} is all that it says, in options' place; what is given besides stands. */
static Json *expand_json(const Json *args, GError **err)
{
    const char *file = json_get_str_or(args, "file", "");
    Json *all = json_copy(args);

    if (!g_str_has_prefix(file, "json:")) {
        return all;
    }
    g_autoptr(Json) said = json_parse(file + strlen("json:"), -1, err);

    if (!said || json_type(said) != JSON_OBJECT) {
        if (said) {
            err_set(err, "Invalid JSON object given");
        } else {
            g_prefix_error(err, "Could not parse the JSON options: ");
        }
        json_unref(all);
        return NULL;
    }
    if (json_get(args, "format")) {
        json_remove(said, "driver");
    }
    json_remove(all, "file");
    add_flat(all, "", said);
    return all;
}

static bool drive_apply(DriveOpts *o, const Json *args, GError **err)
{
    g_autoptr(Json) mine = json_object();

    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);

        if (!drive_row(key)) {
            continue;
        }
        /* An old name of the same. */
        json_set(mine, strcmp(key, "readonly") ? key : "read-only", json_ref(json_val_at(args, i)));
    }
    return prop_apply_struct(drive_props, o, mine, err);
}

Blk *blk_drive_create(const Json *given, GError **err)
{
    DriveOpts o = { 0 };
    g_autoptr(Json) args = expand_json(given, err);
    int werror = 0, rerror = 0;
    g_autofree char *id = NULL;
    g_autoptr(Json) no_format = json_object();
    ThrottleLimits limits = { 0 };
    const char *group;
    Blk *b = NULL;
    BlkNode *n = NULL;

    if (!args) {
        return NULL;
    }
    prop_defaults(drive_props, &o);
    if (!drive_apply(&o, args, err) || !drive_check(&o, has_image(&o, args), err) ||
        !on_error(o.werror, "write", &werror, err) || !on_error(o.rerror, "read", &rerror, err) ||
        !cache_mode(&o, args, err) || !throttle_drive_args(args, &limits, &group, err)) {
        goto out;
    }
    if (o.id && !id_check(o.id, err)) {
        goto out;
    }
    o.read_only |= (o.media && !strcmp(o.media, "cdrom"));
    id = o.id ? g_strdup(o.id) : default_id(o.if_ ? o.if_ : "ide");
    if (blk_find(id)) {
        err_set(err, "Duplicate ID '%s' for drive", id);
        goto out;
    }
    if (has_image(&o, args)) {
        n = drive_node(&o, args, err);
        n = n && o.snapshot && !o.read_only ? snapshot_node(n, err) : n;
        if (!n) {
            goto out;
        }
    }
    if (!n && !format_args(args, "raw", no_format, err)) {
        goto out;
    }
    b = blk_new(id, n);
    b->drive_if = g_strdup(o.if_ ? o.if_ : "ide");
    b->serial = g_strdup(o.serial);
    b->write_cache = o.mode.wce;
    b->werror = werror;
    b->rerror = rerror;
    b->account_failed = o.stats_failed;
    b->account_invalid = o.stats_invalid;
    if (throttle_limits_any(&limits) && !blk_set_limits(b, group, &limits, err)) {
        g_assert_not_reached(); /* they were checked */
    }
out:
    prop_release(drive_props, &o);
    return b;
}
