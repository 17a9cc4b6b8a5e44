/*
 * secret: bytes that others need and nobody should see on a command line, such as a password. Raw
 * or base64, from the command line or from a file. Its data is never shown again. Covered by
 * tests/system/test_cli.py.
 */
#include "backends/secret.h"

#include <string.h>

enum { FORMAT_RAW, FORMAT_BASE64 };
enum { SECRET_MAX = 1 << 20 };

typedef struct Secret {
    Obj obj;
    char *data, *file, *keyid, *iv;
    int format;
    GByteArray *bytes;
} Secret;

static const char *const format_names[] = { "raw", "base64", NULL };
static PROP_ENUM_TYPE(prop_secret_format, "QCryptoSecretFormat", format_names);

static bool read_file(const Secret *s, GByteArray *ret, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *text = NULL;
    gsize len;

    if (!g_file_get_contents(s->file, &text, &len, &why)) {
        return err_set(err, "Unable to read %s: %s", s->file, why->message);
    }
    if (len > SECRET_MAX) {
        return err_set(err, "secret in '%s' is longer than %d bytes", s->file, SECRET_MAX);
    }
    g_byte_array_append(ret, (const guint8 *)text, (guint)len);
    return true;
}

static bool decode(GByteArray *bytes, GError **err)
{
    static const char known[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n";
    g_autofree char *text = g_strndup((const char *)bytes->data, bytes->len);
    gsize len;

    if (strspn(text, known) != bytes->len) {
        return err_set(err, "Base64 data contains invalid characters");
    }
    g_autofree guchar *raw = g_base64_decode(text, &len);

    g_byte_array_set_size(bytes, 0);
    g_byte_array_append(bytes, raw, (guint)len);
    return true;
}

static bool secret_realize(Obj *o, GError **err)
{
    Secret *s = (Secret *)o;
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    if (s->keyid || s->iv) {
        return err_set(err, "encrypted secrets (keyid, iv) are not available");
    }
    if (s->data && s->file) {
        return err_set(err, "'file' and 'data' are mutually exclusive");
    }
    if (!s->data && !s->file) {
        return err_set(err, "Either 'file' or 'data' must be provided");
    }
    if (s->data) {
        g_byte_array_append(bytes, (const guint8 *)s->data, (guint)strlen(s->data));
    } else if (!read_file(s, bytes, err)) {
        return false;
    }
    if (s->format == FORMAT_BASE64 && !decode(bytes, err)) {
        return false;
    }
    s->bytes = g_steal_pointer(&bytes);
    return true;
}

static void secret_fini(Obj *o)
{
    Secret *s = (Secret *)o;

    if (s->bytes) {
        explicit_bzero(s->bytes->data, s->bytes->len);
        g_byte_array_unref(s->bytes);
    }
}

GBytes *secret_get(Obj *root, const char *id, GError **err)
{
    const Obj *objects = obj_child(root, "objects");
    const Obj *o = objects ? obj_child(objects, id) : NULL;

    if (!o || o->cls != &secret_class) {
        err_set(err, o ? "Object with id '%s' is not a secret" : "No secret with id '%s'", id);
        return NULL;
    }
    const Secret *s = (const Secret *)o;

    return g_bytes_new(s->bytes->data, s->bytes->len);
}

static void hidden_get(const void *field, JsonWriter *w, const char *name)
{
    jw_str(w, name, "");
}

static const PropType prop_hidden = { .name = "str",
    .set = prop_str_set,
    .parse = prop_str_parse,
    .get = hidden_get,
    .release = prop_str_release };

static const PropSpec secret_props[] = {
    { .name = "data",
        .type = &prop_hidden,
        .offset = PROP_AT(Secret, data, char *),
        .bit = -1,
        .flags = PROP_NO_DEFAULT,
        .help = "the bytes themselves" },
    PROP_STR("file", Secret, file, "file that holds them"),
    PROP_ENUM("format", Secret, format, prop_secret_format, FORMAT_RAW, "how they are written"),
    PROP_STR("iv", Secret, iv, "refused: encrypted secrets are not available"),
    PROP_STR("keyid", Secret, keyid, "refused: encrypted secrets are not available"),
    PROP_END,
};
static const PropGroup secret_groups[] = { { secret_props, NULL }, { NULL, NULL } };

const ObjClass secret_class = {
    .name = "secret",
    .parent = "secret_common",
    .size = sizeof(Secret),
    .flags = OBJ_USER_OBJECT,
    .props = secret_groups,
    .realize = secret_realize,
    .fini = secret_fini,
};
