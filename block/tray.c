/* Removable media: a drive's tray, its medium coming and going by QMP (eject, blockdev-open-tray
 * …). Main loop. Tested by tests/system/test_tray.py. */
#include "block-internal.h"
#include "util/log.h"

#include <string.h>

void blk_set_tray(Blk *b, const BlkTray *tray, void *opaque)
{
    b->tray = tray;
    b->tray_opaque = opaque;
}

bool blk_removable(const Blk *b)
{
    return b->dev ? b->tray != NULL : true;
}

bool blk_tray_open(const Blk *b)
{
    return b->tray && b->tray->is_open(b->tray_opaque);
}

bool blk_tray_locked(const Blk *b)
{
    return b->tray && b->tray->is_locked(b->tray_opaque);
}

char *blk_dev_name(const Blk *b)
{
    static const char peripheral[] = "/machine/peripheral/";
    char *path = b->dev ? obj_path(b->dev) : NULL;

    /* QEMU compat: a device with an id of its own is called by it. */
    if (path && g_str_has_prefix(path, peripheral) && !strchr(path + sizeof peripheral - 1, '/')) {
        char *id = g_strdup(path + sizeof peripheral - 1);

        g_free(path);
        return id;
    }
    return path;
}

/* ---- the medium ---- */

typedef struct Swap {
    Blk *b;
    BlkNode *node;
} Swap;

/* In the loop that submits: nothing is out. */
static void swap_there(void *opaque)
{
    Swap *s = opaque;
    BlkNode *old = s->b->node;

    s->b->node = s->node;
    s->node = old;
}

static void swap(Blk *b, BlkNode *n)
{
    Swap s = { b, n };

    blk_drain(b);
    loop_call(b->lane->loop ? b->lane->loop : loop_main(), swap_there, &s);
    if (s.node) {
        blk_release_node(b, s.node);
    }
    if (b->tray && b->tray->changed) {
        b->tray->changed(b->tray_opaque);
    }
}

static bool insert(Blk *b, BlkNode *n, GError **err)
{
    if (!blk_claim_node(b, n, err)) {
        return false;
    }
    n->refs++;
    swap(b, n);
    return true;
}

/* ---- QMP ---- */

typedef struct TrayArgs {
    char *device, *id, *node, *filename, *format, *mode;
    bool force;
} TrayArgs;

static const PropSpec open_args[] = {
    PROP_STR("device", TrayArgs, device, "drive"),
    PROP_STR("id", TrayArgs, id, "device"),
    PROP_BOOL("force", TrayArgs, force, false, "also when the guest has locked it"),
    PROP_END,
};
static const PropSpec close_args[] = {
    PROP_STR("device", TrayArgs, device, "drive"),
    PROP_STR("id", TrayArgs, id, "device"),
    PROP_END,
};
#define REQUIRED_STR(n, f, h)                                                                      \
    {                                                                                              \
        .name = n, .type = &prop_str, .offset = PROP_AT(TrayArgs, f, char *), .bit = -1,           \
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT, .help = h                                        \
    }
static const PropSpec remove_args[] = { REQUIRED_STR("id", id, "device"), PROP_END };
static const PropSpec insert_args[] = {
    REQUIRED_STR("id", id, "device"),
    REQUIRED_STR("node-name", node, "node of the medium"),
    PROP_END,
};
static const PropSpec change_args[] = {
    PROP_STR("device", TrayArgs, device, "drive"),
    PROP_STR("id", TrayArgs, id, "device"),
    REQUIRED_STR("filename", filename, "image of the medium"),
    PROP_STR("format", TrayArgs, format, "of the image; guessed when absent"),
    PROP_STR("read-only-mode", TrayArgs, mode, "retain, read-only, read-write"),
    PROP_BOOL("force", TrayArgs, force, false, "also when the guest has locked it"),
    PROP_END,
};

typedef struct Find {
    const TrayArgs *a;
    Blk *found;
} Find;

static void match(Blk *b, void *opaque)
{
    Find *f = opaque;
    g_autofree char *name = blk_dev_name(b), *path = b->dev ? obj_path(b->dev) : NULL;

    if ((f->a->device && b->id && !strcmp(b->id, f->a->device)) ||
        (f->a->id && name && (!strcmp(name, f->a->id) || !strcmp(path, f->a->id)))) {
        f->found = b;
    }
}

static Blk *find(const TrayArgs *a, GError **err)
{
    Find f = { .a = a };

    if (!a->device == !a->id) {
        err_set(err, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    blk_each(match, &f);
    if (!f.found) {
        err_set_class(
            err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", a->device ? a->device : a->id);
    }
    return f.found;
}

Blk *blk_find_device(const char *device, const char *id, GError **err)
{
    TrayArgs a = { .device = (char *)(uintptr_t)device, .id = (char *)(uintptr_t)id };
    return find(&a, err);
}

static const char *called(const TrayArgs *a)
{
    return a->device ? a->device : a->id;
}

static bool need_removable(const Blk *b, const TrayArgs *a, GError **err)
{
    return blk_removable(b) || err_set(err, "Device '%s' is not removable", called(a));
}

/* Opens it, or asks a guest that has locked it. *ret_asked: it is still closed. */
static bool open_tray(Blk *b, const TrayArgs *a, bool *ret_asked, GError **err)
{
    *ret_asked = false;
    if (!need_removable(b, a, err)) {
        return false;
    }
    if (!b->tray || blk_tray_open(b)) {
        return true;
    }
    bool locked = blk_tray_locked(b);

    if (locked) {
        b->tray->ask_eject(b->tray_opaque, a->force);
    }
    if (!locked || a->force) {
        b->tray->move(b->tray_opaque, true);
    } else {
        *ret_asked = true;
    }
    return true;
}

static bool remove_medium(Blk *b, const TrayArgs *a, GError **err)
{
    if (!need_removable(b, a, err)) {
        return false;
    }
    if (b->tray && !blk_tray_open(b)) {
        return err_set(err, "Tray of device '%s' is not open", called(a));
    }
    if (b->node) {
        swap(b, NULL);
    }
    return true;
}

static Json *qmp_eject(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const TrayArgs *a = args;
    Blk *b = find(a, err);
    bool asked;

    if (!b || !open_tray(b, a, &asked, err)) {
        return NULL;
    }
    if (asked) {
        err_set(err,
            "Device '%s' is locked and force was not specified, wait for tray to open and try "
            "again",
            called(a));
        return NULL;
    }
    return remove_medium(b, a, err) ? json_object() : NULL;
}

static Json *qmp_open_tray(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    Blk *b = find(args, err);
    bool asked;

    return b && open_tray(b, args, &asked, err) ? json_object() : NULL;
}

static Json *qmp_close_tray(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    Blk *b = find(args, err);

    if (!b || !need_removable(b, args, err)) {
        return NULL;
    }
    if (b->tray) {
        b->tray->move(b->tray_opaque, false);
    }
    return json_object();
}

static Json *qmp_remove_medium(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    Blk *b = find(args, err);

    return b && remove_medium(b, args, err) ? json_object() : NULL;
}

static bool insert_into(Blk *b, const TrayArgs *a, BlkNode *n, GError **err)
{
    if (!need_removable(b, a, err)) {
        return false;
    }
    if (b->tray && !blk_tray_open(b)) {
        return err_set(err, "Tray of device '%s' is not open", called(a));
    }
    if (b->node) {
        return err_set(err, "There already is a medium in the device");
    }
    return insert(b, n, err);
}

static Json *qmp_insert_medium(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const TrayArgs *a = args;
    Blk *b = find(a, err);
    BlkNode *n = b ? blk_node_find(a->node) : NULL;

    if (!b) {
        return NULL;
    }
    if (!n) {
        err_set(err, "Node '%s' not found", a->node);
        return NULL;
    }
    if (blk_node_used(n)) {
        err_set(err, "Node '%s' is already in use", n->name);
        return NULL;
    }
    return insert_into(b, a, n, err) ? json_object() : NULL;
}

/* A node for a file, as a -drive would make it. */
static BlkNode *open_medium(const Blk *b, const TrayArgs *a, GError **err)
{
    static const char *const modes[] = { "retain", "read-only", "read-write", NULL };
    bool ro = b->node ? b->node->read_only : b->was_read_only;

    if (a->mode) {
        if (!g_strv_contains(modes, a->mode)) {
            err_set(err, "Parameter 'read-only-mode' does not accept value '%s'", a->mode);
            return NULL;
        }
        ro = strcmp(a->mode, "retain") ? !strcmp(a->mode, "read-only") : ro;
    }
    if (a->format && strcmp(a->format, "raw") && !blk_driver_find(a->format)) {
        err_set(err, "Unknown driver '%s'", a->format);
        return NULL;
    }
    g_autoptr(Json) args = json_object();
    Json *file = json_object();

    json_set(file, "driver", json_str("file"));
    json_set(file, "filename", json_str(a->filename));
    json_set(args, "driver", json_str(a->format ? a->format : "raw"));
    json_set(args, "read-only", json_bool(ro));
    json_set(args, "file", file);
    return blk_node_open(args, ro, err);
}

static Json *qmp_change_medium(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const TrayArgs *a = args;
    Blk *b = find(a, err);
    bool asked;

    if (!b) {
        return NULL;
    }
    BlkNode *n = open_medium(b, a, err); /* a wrong file changes nothing */

    if (!n) {
        return NULL;
    }
    bool ok = open_tray(b, a, &asked, err);

    if (ok && asked) {
        ok = err_set(err,
            "Device '%s' is locked and force was not specified, wait for tray to open and try "
            "again",
            called(a));
    }
    ok = ok && remove_medium(b, a, err) && insert_into(b, a, n, err);
    blk_node_unref(n);
    if (!ok) {
        return NULL;
    }
    if (b->tray) {
        b->tray->move(b->tray_opaque, false);
    }
    return json_object();
}

#define CMD(n, spec, fn)                                                                           \
    {                                                                                              \
        .name = n, .args_spec = spec, .args_size = sizeof(TrayArgs), .run = fn                     \
    }
const QmpCmd block_tray_cmds[] = {
    CMD("eject", open_args, qmp_eject),
    CMD("blockdev-open-tray", open_args, qmp_open_tray),
    CMD("blockdev-close-tray", close_args, qmp_close_tray),
    CMD("blockdev-remove-medium", remove_args, qmp_remove_medium),
    CMD("blockdev-insert-medium", insert_args, qmp_insert_medium),
    CMD("blockdev-change-medium", change_args, qmp_change_medium),
    { .name = NULL },
};
