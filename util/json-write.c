/* Trees to JSON text, and the writer that builds trees piece by piece. Tested by test-json. */
#include "util/json.h"

#include <math.h>
#include <string.h>

static void put_string(GString *out, const char *s)
{
    g_string_append_c(out, '"');
    while (*s) {
        gunichar c = g_utf8_get_char_validated(s, -1);

        if ((unsigned char)s[0] == 0xc0 && (unsigned char)s[1] == 0x80) {
            g_string_append(out, "\\u0000"); /* as the parser keeps it */
            s += 2;
            continue;
        }
        if (c == (gunichar)-1 || c == (gunichar)-2) {
            g_string_append(out, "\\uFFFD");
            s++;
            continue;
        }
        switch (c) {
        case '"':
            g_string_append(out, "\\\"");
            break;
        case '\\':
            g_string_append(out, "\\\\");
            break;
        case '\b':
            g_string_append(out, "\\b");
            break;
        case '\f':
            g_string_append(out, "\\f");
            break;
        case '\n':
            g_string_append(out, "\\n");
            break;
        case '\r':
            g_string_append(out, "\\r");
            break;
        case '\t':
            g_string_append(out, "\\t");
            break;
        default:
            if (c >= 0x10000) {
                g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10),
                    0xdc00 + ((c - 0x10000) & 0x3ff));
            } else if (c < 0x20 || c >= 0x7f) {
                g_string_append_printf(out, "\\u%04X", c);
            } else {
                g_string_append_c(out, (char)c);
            }
        }
        s += g_utf8_skip[(unsigned char)*s];
    }
    g_string_append_c(out, '"');
}

static void put_newline(GString *out, bool pretty, unsigned depth)
{
    if (pretty) {
        g_string_append_c(out, '\n');
        for (unsigned i = 0; i < depth; i++) {
            g_string_append(out, "    ");
        }
    }
}

static void put_value(GString *out, const Json *j, bool pretty, unsigned depth)
{
    char num[G_ASCII_DTOSTR_BUF_SIZE];
    bool object = json_type(j) == JSON_OBJECT;

    switch (json_type(j)) {
    case JSON_NULL:
        g_string_append(out, "null");
        return;
    case JSON_BOOL:
        g_string_append(out, json_get_bool(j) ? "true" : "false");
        return;
    case JSON_INT:
        g_string_append_printf(out, "%" G_GINT64_FORMAT, json_get_int(j));
        return;
    case JSON_UINT:
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, json_get_uint(j));
        return;
    case JSON_DOUBLE: {
        double d = json_get_double(j);

        g_string_append(out, isfinite(d) ? g_ascii_formatd(num, sizeof num, "%.17g", d) : "0");
        return;
    }
    case JSON_STR:
        put_string(out, json_get_str(j));
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    unsigned n = json_len(j);

    g_string_append_c(out, object ? '{' : '[');
    for (unsigned i = 0; i < n; i++) {
        if (i) {
            g_string_append(out, pretty ? "," : ", ");
        }
        put_newline(out, pretty, depth + 1);
        if (object) {
            put_string(out, json_key_at(j, i));
            g_string_append(out, ": ");
        }
        put_value(out, object ? json_val_at(j, i) : json_at(j, i), pretty, depth + 1);
    }
    if (n) {
        put_newline(out, pretty, depth);
    }
    g_string_append_c(out, object ? '}' : ']');
}

char *json_to_string(const Json *j, bool pretty)
{
    GString *out = g_string_new(NULL);

    put_value(out, j, pretty, 0);
    return g_string_free(out, FALSE);
}

struct JsonWriter {
    Json *top;
    GPtrArray *open; /* Json*: objects and arrays being filled, borrowed from top */
};

JsonWriter *json_writer_new(void)
{
    JsonWriter *w = g_new0(JsonWriter, 1);

    w->open = g_ptr_array_new();
    return w;
}

Json *json_writer_free(JsonWriter *w)
{
    Json *top = w->top;

    g_assert(!w->open->len);
    g_ptr_array_unref(w->open);
    g_free(w);
    return top ? top : json_null();
}

void jw_json(JsonWriter *w, const char *name, Json *val)
{
    Json *in = w->open->len ? g_ptr_array_index(w->open, w->open->len - 1) : NULL;

    if (!in) {
        g_assert(!w->top);
        w->top = val;
    } else if (json_type(in) == JSON_OBJECT) {
        g_assert(name);
        json_set(in, name, val);
    } else {
        json_append(in, val);
    }
}

void jw_null(JsonWriter *w, const char *name)
{
    jw_json(w, name, json_null());
}

void jw_bool(JsonWriter *w, const char *name, bool v)
{
    jw_json(w, name, json_bool(v));
}

void jw_int(JsonWriter *w, const char *name, int64_t v)
{
    jw_json(w, name, json_int(v));
}

void jw_uint(JsonWriter *w, const char *name, uint64_t v)
{
    jw_json(w, name, json_uint(v));
}

void jw_str(JsonWriter *w, const char *name, const char *v)
{
    jw_json(w, name, json_str(v));
}

void jw_strf(JsonWriter *w, const char *name, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    jw_str(w, name, text);
}

static void jw_begin(JsonWriter *w, const char *name, Json *val)
{
    jw_json(w, name, val);
    g_ptr_array_add(w->open, val);
}

static void jw_end(JsonWriter *w, JsonType type)
{
    g_assert(w->open->len);
    const Json *in = g_ptr_array_index(w->open, w->open->len - 1);

    g_assert(json_type(in) == type);
    g_ptr_array_set_size(w->open, (gint)w->open->len - 1);
}

void jw_begin_object(JsonWriter *w, const char *name)
{
    jw_begin(w, name, json_object());
}

void jw_end_object(JsonWriter *w)
{
    jw_end(w, JSON_OBJECT);
}

void jw_begin_array(JsonWriter *w, const char *name)
{
    jw_begin(w, name, json_array());
}

void jw_end_array(JsonWriter *w)
{
    jw_end(w, JSON_ARRAY);
}
