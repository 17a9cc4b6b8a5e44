/*
 * JSON text to trees, at once or as a stream. RFC 8259 plus single-quoted strings. Error texts are
 * QEMU's, because management tools and people know them. Tested by test-json.
 */
#include "util/err.h"
#include "util/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_MAX_DEPTH = 1024, JSON_MAX_BYTES = 64 << 20 };

typedef struct Parser {
    const char *at, *end;
    unsigned depth;
    GError **err;
} Parser;

static Json *parse_value(Parser *p);

static Json *parse_fail(Parser *p, const char *what)
{
    err_set(p->err, "JSON parse error, %s", what);
    return NULL;
}

static Json *parse_stray(Parser *p, const char *from)
{
    /* The broken token and the byte that broke it; bytes that are no UTF-8 become U+FFFD. */
    size_t len = (size_t)(MIN(p->at + 1, p->end) - from);
    g_autofree char *raw = g_strndup(from, MIN(len, 64));
    g_autofree char *valid = g_utf8_make_valid(raw, -1);

    err_set(p->err, "JSON parse error, stray '%s'", valid);
    return NULL;
}

static void skip_space(Parser *p)
{
    while (p->at < p->end && strchr(" \t\r\n", *p->at) && *p->at) {
        p->at++;
    }
}

static bool hex4(Parser *p, unsigned *ret)
{
    unsigned v = 0;

    if (p->end - p->at < 4) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(p->at[i]);

        if (digit < 0) {
            return false;
        }
        v = v << 4 | (unsigned)digit;
    }
    p->at += 4;
    *ret = v;
    return true;
}

/* Behind "\u". U+0000 is kept as the two bytes C0 80, since strings end with a zero byte. */
static bool parse_unicode(Parser *p, GString *out)
{
    const char *from = p->at;
    unsigned c, low;

    if (!hex4(p, &c)) {
        goto bad;
    }
    if (c >= 0xd800 && c < 0xdc00) {
        if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u') {
            goto bad;
        }
        p->at += 2;
        if (!hex4(p, &low) || low < 0xdc00 || low > 0xdfff) {
            goto bad;
        }
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
        goto bad;
    }
    if (c) {
        g_string_append_unichar(out, c);
    } else {
        g_string_append_len(out, "\xc0\x80", 2);
    }
    return true;
bad:;
    size_t len = strnlen(from, MIN(4, (size_t)(p->end - from)));

    err_set(p->err, "JSON parse error, \\u%.*s is not a valid Unicode character", (int)len, from);
    return false;
}

static bool parse_escape(Parser *p, GString *out)
{
    static const char codes[] = "\"\\/'bfnrt", chars[] = "\"\\/'\b\f\n\r\t";
    const char *which = p->at < p->end && *p->at ? strchr(codes, *p->at) : NULL;

    if (which) {
        g_string_append_c(out, chars[which - codes]);
        p->at++;
        return true;
    }
    if (p->at < p->end && *p->at == 'u') {
        p->at++;
        return parse_unicode(p, out);
    }
    parse_fail(p, "invalid escape sequence in string");
    return false;
}

static char *parse_str(Parser *p)
{
    const char *from = p->at;
    char quote = *p->at++;
    g_autoptr(GString) out = g_string_new(NULL);

    while (p->at < p->end) {
        unsigned char c = (unsigned char)*p->at;

        if (c == (unsigned char)quote) {
            p->at++;
            if (!g_utf8_validate(from, p->at - from, NULL)) {
                parse_fail(p, "invalid UTF-8 sequence in string");
                return NULL;
            }
            return g_strdup(out->str);
        }
        if (c == '\\') {
            p->at++;
            if (!parse_escape(p, out)) {
                return NULL;
            }
        } else if (c < 0x20 || c >= 0xfe) {
            parse_stray(p, from);
            return NULL;
        } else {
            g_string_append_c(out, (char)c);
            p->at++;
        }
    }
    parse_stray(p, from);
    return NULL;
}

static bool digit_at(const Parser *p)
{
    return p->at < p->end && g_ascii_isdigit(*p->at);
}

static bool skip_digits(Parser *p)
{
    if (!digit_at(p)) {
        return false;
    }
    while (digit_at(p)) {
        p->at++;
    }
    return true;
}

static Json *parse_number(Parser *p)
{
    const char *from = p->at;
    bool whole = true;

    p->at += *p->at == '-';
    if (p->at < p->end && *p->at == '0') {
        p->at++;
        if (digit_at(p)) {
            return parse_stray(p, from);
        }
    } else if (!skip_digits(p)) {
        return parse_stray(p, from);
    }
    if (p->at < p->end && *p->at == '.') {
        whole = false;
        p->at++;
        if (!skip_digits(p)) {
            return parse_stray(p, from);
        }
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        whole = false;
        p->at++;
        p->at += p->at < p->end && (*p->at == '+' || *p->at == '-');
        if (!skip_digits(p)) {
            return parse_stray(p, from);
        }
    }
    g_autofree char *text = g_strndup(from, (gsize)(p->at - from));

    if (whole) {
        errno = 0;
        if (*text == '-') {
            int64_t v = g_ascii_strtoll(text, NULL, 10);

            if (!errno) {
                return json_int(v);
            }
        } else {
            uint64_t v = g_ascii_strtoull(text, NULL, 10);

            if (!errno) {
                return json_uint(v);
            }
        }
    }
    return json_double(g_ascii_strtod(text, NULL));
}

static Json *parse_word(Parser *p)
{
    const char *from = p->at;

    while (p->at < p->end && g_ascii_islower(*p->at)) {
        p->at++;
    }
    g_autofree char *word = g_strndup(from, (gsize)(p->at - from));

    if (!strcmp(word, "true") || !strcmp(word, "false")) {
        return json_bool(*word == 't');
    }
    if (!strcmp(word, "null")) {
        return json_null();
    }
    err_set(p->err, "JSON parse error, invalid keyword '%s'", word);
    return NULL;
}

/* True: `close` stood there and was taken, or a comma (then *ret_more). False: the error is set. */
static bool parse_separator(Parser *p, char close, const char *where, bool *ret_more)
{
    skip_space(p);
    if (p->at == p->end) {
        parse_fail(p, "premature EOI");
        return false;
    }
    if (*p->at != close && *p->at != ',') {
        g_autofree char *text = g_strdup_printf("expected separator in %s", where);

        parse_fail(p, text);
        return false;
    }
    *ret_more = *p->at++ == ',';
    return true;
}

static bool parse_member(Parser *p, Json *object)
{
    skip_space(p);
    if (p->at < p->end && (*p->at == '}' || *p->at == ',')) {
        parse_fail(p, "expecting value");
        return false;
    }
    g_autoptr(Json) key = parse_value(p);

    if (!key) {
        return false;
    }
    if (json_type(key) != JSON_STR) {
        parse_fail(p, "key is not a string in object");
        return false;
    }
    skip_space(p);
    if (p->at == p->end || *p->at != ':') {
        parse_fail(p, p->at == p->end ? "premature EOI" : "missing : in object pair");
        return false;
    }
    p->at++;
    Json *val = parse_value(p);

    if (!val) {
        return false;
    }
    if (json_get(object, json_get_str(key))) {
        json_unref(val);
        parse_fail(p, "duplicate key");
        return false;
    }
    json_add(object, json_get_str(key), val);
    return true;
}

static Json *parse_object(Parser *p)
{
    g_autoptr(Json) object = json_object();
    bool more = true;

    skip_space(p);
    if (p->at < p->end && *p->at == '}') {
        p->at++;
        return g_steal_pointer(&object);
    }
    while (more) {
        if (!parse_member(p, object) || !parse_separator(p, '}', "dict", &more)) {
            return NULL;
        }
    }
    return g_steal_pointer(&object);
}

static Json *parse_array(Parser *p)
{
    g_autoptr(Json) array = json_array();
    bool more = true;

    skip_space(p);
    if (p->at < p->end && *p->at == ']') {
        p->at++;
        return g_steal_pointer(&array);
    }
    while (more) {
        Json *val = parse_value(p);

        if (!val) {
            return NULL;
        }
        json_append(array, val);
        if (!parse_separator(p, ']', "list", &more)) {
            return NULL;
        }
    }
    return g_steal_pointer(&array);
}

static Json *parse_value(Parser *p)
{
    skip_space(p);
    if (p->at == p->end) {
        return parse_fail(p, "premature EOI");
    }
    char c = *p->at;

    if (c == '{' || c == '[') {
        if (p->depth == JSON_MAX_DEPTH) {
            return parse_fail(p, "nesting too deep");
        }
        p->at++;
        p->depth++;
        Json *val = c == '{' ? parse_object(p) : parse_array(p);

        p->depth--;
        return val;
    }
    if (c == '"' || c == '\'') {
        g_autofree char *text = parse_str(p);

        return text ? json_str(text) : NULL;
    }
    if (c == '-' || g_ascii_isdigit(c)) {
        return parse_number(p);
    }
    if (g_ascii_islower(c)) {
        return parse_word(p);
    }
    if (c && strchr("}],:", c)) {
        return parse_fail(p, "expecting value");
    }
    return parse_stray(p, p->at);
}

Json *json_parse(const char *text, gssize len, GError **err)
{
    size_t n = len < 0 ? strlen(text) : (size_t)len;
    Parser p = { .at = text, .end = text + n, .err = err };

    if (n > JSON_MAX_BYTES) {
        err_set(err, "JSON text is too long");
        return NULL;
    }
    g_autoptr(Json) val = parse_value(&p);

    if (!val) {
        return NULL;
    }
    skip_space(&p);
    if (p.at != p.end) {
        err_set(err, "Expecting at most one JSON value");
        return NULL;
    }
    return g_steal_pointer(&val);
}

/*
 * Streaming: bytes gather until brackets and quotes balance, then json_parse() has the word. A
 * scalar at top level ends at the first byte that cannot continue it.
 */
struct JsonStream {
    JsonStreamFn *fn;
    void *opaque;
    GString *buf;
    unsigned depth;
    char quote; /* inside a string: its quote */
    bool escaped, scalar;
};

JsonStream *json_stream_new(JsonStreamFn *fn, void *opaque)
{
    JsonStream *s = g_new0(JsonStream, 1);

    s->fn = fn;
    s->opaque = opaque;
    s->buf = g_string_new(NULL);
    return s;
}

void json_stream_free(JsonStream *s)
{
    if (s) {
        g_string_free(s->buf, TRUE);
        g_free(s);
    }
}

static void stream_reset(JsonStream *s)
{
    g_string_truncate(s->buf, 0);
    s->depth = 0;
    s->quote = 0;
    s->escaped = s->scalar = false;
}

static void stream_flush(JsonStream *s)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = g_strndup(s->buf->str, s->buf->len);
    Json *val = json_parse(text, (gssize)s->buf->len, &err);

    stream_reset(s);
    s->fn(s->opaque, val, err);
}

/* A byte no JSON text can hold outside strings: it ends what was gathered. */
static void stream_bad(JsonStream *s, const char *bytes, size_t n)
{
    g_autofree char *raw = g_strndup(bytes, n);
    g_autofree char *valid = g_utf8_make_valid(raw, -1);
    g_autoptr(GError) err = NULL;

    err_set(&err, "JSON parse error, stray '%s'", valid);
    stream_reset(s);
    s->fn(s->opaque, NULL, err);
}

static void stream_in_string(JsonStream *s, char c)
{
    if ((unsigned char)c < 0x20 || (unsigned char)c >= 0xfe) {
        stream_bad(s, s->buf->str + s->buf->len - 1, 1);
        return;
    }
    if (s->escaped) {
        s->escaped = false;
    } else if (c == '\\') {
        s->escaped = true;
    } else if (c == s->quote) {
        s->quote = 0;
        if (!s->depth) {
            stream_flush(s);
        }
    }
}

/* A byte outside strings. */
static void stream_byte(JsonStream *s, char c)
{
    bool word = g_ascii_isalnum(c) || c == '-' || c == '+' || c == '.' || c == '_';

    if (s->scalar && !word) {
        stream_flush(s);
    }
    if (strchr(" \t\r\n", c) && c) {
        if (s->buf->len) {
            g_string_append_c(s->buf, c);
        }
        return;
    }
    if (!word && (!c || !strchr("{}[],:\"'", c))) {
        stream_bad(s, &c, 1);
        return;
    }
    g_string_append_c(s->buf, c);
    if (c == '"' || c == '\'') {
        s->quote = c;
    } else if (c == '{' || c == '[') {
        s->depth++;
    } else if (c == '}' || c == ']') {
        s->depth -= s->depth > 0;
        if (!s->depth) {
            stream_flush(s);
        }
    } else if (!s->depth) {
        if (word) {
            s->scalar = true;
        } else {
            stream_flush(s); /* a lone comma or colon: "expecting value" */
        }
    }
}

void json_stream_feed(JsonStream *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s->quote) {
            g_string_append_c(s->buf, bytes[i]);
            stream_in_string(s, bytes[i]);
        } else {
            stream_byte(s, bytes[i]);
        }
        if (s->buf->len > JSON_MAX_BYTES || s->depth > JSON_MAX_DEPTH) {
            g_autoptr(GError) err = NULL;

            err_set(&err, "JSON parse error, %s",
                s->depth > JSON_MAX_DEPTH ? "nesting too deep" : "text too long");
            stream_reset(s);
            s->fn(s->opaque, NULL, err);
        }
    }
}

void json_stream_eof(JsonStream *s)
{
    if (s->scalar || s->buf->len) {
        stream_flush(s);
    }
}
