/* What QMP shows and does of character devices, and the chardev= property. Tested by
 * test-chardev and tests/system/test_backends.py. */
#include "chardev-internal.h"

#include <string.h>

static void *chardev_ref_find(const char *id, GError **err)
{
    g_autoptr(GError) why = NULL;
    Chardev *c = chardev_find(id);

    if (c && !chardev_has_place(c, &why)) {
        err_set(err, "Property '{qom}' can't take value '%s': %s", id, why->message);
        return NULL;
    }
    return c;
}

static const char *chardev_ref_name(const void *target)
{
    return ((const Chardev *)target)->id;
}

static const PropRef chardev_ref = { .find = chardev_ref_find, .name = chardev_ref_name };
const PropType prop_chardev = { .name = "str", .ref = &chardev_ref };

static void query_one(Chardev *c, void *opaque)
{
    JsonWriter *w = opaque;
    g_autofree char *file = c->cls->filename ? c->cls->filename(c) : g_strdup(c->cls->name);

    jw_begin_object(w, NULL);
    bool open = false;
    for (unsigned i = 0; i < c->nfe; i++) {
        open |= c->fe[i]->open;
    }
    jw_bool(w, "frontend-open", open);
    jw_str(w, "filename", c->mux ? "mux" : file);
    jw_str(w, "label", c->id);
    jw_end_object(w);
    if (c->mux) {
        /* QEMU compat: a multiplexer is a device over its back end. */
        jw_begin_object(w, NULL);
        jw_bool(w, "frontend-open", c->nfe != 0);
        jw_str(w, "filename", file);
        jw_strf(w, "label", "%s-base", c->id);
        jw_end_object(w);
    }
}

static Json *qmp_query_chardev(
    G_GNUC_UNUSED void *m, G_GNUC_UNUSED const void *args, G_GNUC_UNUSED GError **err)
{
    JsonWriter *w = json_writer_new();

    jw_begin_array(w, NULL);
    chardev_each(query_one, w);
    jw_end_array(w);
    return json_writer_free(w);
}

static Json *qmp_query_backends(
    G_GNUC_UNUSED void *m, G_GNUC_UNUSED const void *args, G_GNUC_UNUSED GError **err)
{
    Json *list = json_array();

    for (unsigned i = 0; chardev_class_list[i]; i++) {
        Json *o = json_object();
        json_set(o, "name", json_str(chardev_class_list[i]->name));
        json_append(list, o);
    }
    return list;
}

static Json *made(const Chardev *c)
{
    Json *ret = json_object();
    g_autofree char *file = c->cls->filename ? c->cls->filename(c) : NULL;

    if (c->cls == &chardev_pty && file) {
        json_set(ret, "pty", json_str(file + strlen("pty:")));
    }
    return ret;
}

/* What was asked for is right, and still it cannot be had. */
static Json *not_made(const Json *args, GError **err)
{
    if (err && *err && !g_str_has_prefix((*err)->message, "Chardev ") &&
        !g_str_has_prefix((*err)->message, "Parameter ")) {
        g_prefix_error(err, "Failed to add chardev '%s': ", json_get_str_or(args, "id", ""));
    }
    return NULL;
}

static Json *qmp_chardev_add(G_GNUC_UNUSED void *m, const Json *args, GError **err)
{
    g_autoptr(Json) flat = chardev_flat_args(args, err);
    const Chardev *c = flat ? chardev_create(flat, err) : NULL;

    return c ? made(c) : flat ? not_made(args, err) : NULL;
}

static Json *qmp_chardev_change(G_GNUC_UNUSED void *m, const Json *args, GError **err)
{
    g_autoptr(Json) flat = chardev_flat_args(args, err);
    const Chardev *c = flat ? chardev_change(flat, err) : NULL;

    return c ? made(c) : NULL;
}

typedef struct IdArgs {
    char *id;
} IdArgs;
static const PropSpec id_props[] = {
    { .name = "id",
        .type = &prop_str,
        .offset = PROP_AT(IdArgs, id, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "character device" },
    PROP_END,
};

static Json *qmp_chardev_remove(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const IdArgs *a = args;
    return chardev_remove(a->id, err) ? json_object() : NULL;
}

static Json *qmp_chardev_break(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    return chardev_receive_break(((const IdArgs *)args)->id, err) ? json_object() : NULL;
}

typedef struct RingArgs {
    char *device, *data;
    int format;
    int64_t size;
} RingArgs;
enum { FORMAT_UTF8, FORMAT_BASE64 };
static const char *const format_names[] = { "utf8", "base64", NULL };
static PROP_ENUM_TYPE(prop_data_format, "DataFormat", format_names);
static const PropSpec ring_write_props[] = {
    { .name = "device",
        .type = &prop_str,
        .offset = PROP_AT(RingArgs, device, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "ring buffer" },
    { .name = "data",
        .type = &prop_str,
        .offset = PROP_AT(RingArgs, data, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "text to write" },
    PROP_ENUM("format", RingArgs, format, prop_data_format, FORMAT_UTF8, NULL),
    PROP_END,
};
static const PropSpec ring_read_props[] = {
    { .name = "device",
        .type = &prop_str,
        .offset = PROP_AT(RingArgs, device, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "ring buffer" },
    { .name = "size",
        .type = &prop_i64,
        .offset = PROP_AT(RingArgs, size, int64_t),
        .bit = -1,
        .flags = PROP_REQUIRED,
        .help = "bytes to read" },
    PROP_ENUM("format", RingArgs, format, prop_data_format, FORMAT_UTF8, NULL),
    PROP_END,
};

static Chardev *find_ring(const RingArgs *a, GError **err)
{
    Chardev *c = chardev_find(a->device);

    if (!c) {
        err_set(err, "Device '%s' not found", a->device);
    } else if (c->cls != &chardev_ringbuf) {
        err_set(err, "%s is not a ringbuf device", a->device);
        c = NULL;
    }
    return c;
}

static Json *qmp_ringbuf_write(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const RingArgs *a = args;
    Chardev *c = find_ring(a, err);

    if (!c) {
        return NULL;
    }
    gsize n = strlen(a->data);

    if (a->format == FORMAT_BASE64 &&
        strspn(a->data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != n) {
        err_set(err, "Base64 data contains invalid characters");
        return NULL;
    }
    g_autofree guchar *raw = a->format == FORMAT_BASE64 ? g_base64_decode(a->data, &n) : NULL;

    ringbuf_write(c, raw ? raw : (const uint8_t *)a->data, n);
    return json_object();
}

static Json *qmp_ringbuf_read(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const RingArgs *a = args;
    Chardev *c = find_ring(a, err);

    if (!c) {
        return NULL;
    }
    if (a->size <= 0) {
        err_set(err, "size must be greater than zero");
        return NULL;
    }
    g_autoptr(GByteArray) b = ringbuf_read(c, (uint64_t)a->size);
    if (a->format == FORMAT_BASE64) {
        g_autofree char *text = g_base64_encode(b->data, b->len);
        return json_str(text);
    }
    g_autofree char *text = g_utf8_make_valid((const char *)b->data, (gssize)b->len);
    return json_str(text);
}

const QmpCmd chardev_qmp_cmds[] = {
    { .name = "query-chardev", .run = qmp_query_chardev },
    { .name = "query-chardev-backends", .run = qmp_query_backends },
    { .name = "chardev-add", .run_raw = qmp_chardev_add },
    { .name = "chardev-remove",
        .args_spec = id_props,
        .args_size = sizeof(IdArgs),
        .run = qmp_chardev_remove },
    { .name = "chardev-change", .run_raw = qmp_chardev_change },
    { .name = "chardev-send-break",
        .args_spec = id_props,
        .args_size = sizeof(IdArgs),
        .run = qmp_chardev_break },
    { .name = "ringbuf-write",
        .args_spec = ring_write_props,
        .args_size = sizeof(RingArgs),
        .run = qmp_ringbuf_write },
    { .name = "ringbuf-read",
        .args_spec = ring_read_props,
        .args_size = sizeof(RingArgs),
        .run = qmp_ringbuf_read },
    { .name = NULL },
};
