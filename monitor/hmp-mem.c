/* x and xp: guest memory in a format like "/4xw". Tested by test-hmp. */
#include "monitor-internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct Format {
    uint64_t count;
    char format; /* x d u o c */
    unsigned size;
} Format;

static bool parse_format(const char **text, Format *f, GError **err)
{
    const char *at = *text;
    char *end;
    bool sized = false;

    if (*at != '/') {
        return true;
    }
    at++;
    if (g_ascii_isdigit(*at)) {
        f->count = g_ascii_strtoull(at, &end, 10);
        at = end;
    }
    for (; *at && !g_ascii_isspace(*at); at++) {
        switch (*at) {
        case 'x':
        case 'd':
        case 'u':
        case 'o':
        case 'c':
            f->format = *at;
            break;
        case 'i':
            return err_set(err, "no disassembler in this build: use gdb on -gdb");
        case 'b':
        case 'h':
        case 'w':
        case 'g':
            f->size = *at == 'b' ? 1 : *at == 'h' ? 2 : *at == 'w' ? 4 : 8;
            sized = true;
            break;
        default:
            return err_set(err, "invalid char in format: '%c'", *at);
        }
    }
    if (f->format == 'c' && !sized) {
        f->size = 1;
    }
    *text = at;
    return true;
}

/* Little-endian. Holes read as they do for a CPU. */
static bool read_guest(Machine *m, uint64_t at, unsigned size, bool physical, uint64_t *ret)
{
    uint8_t buf[8] = { 0 };
    uint64_t v = 0;

    if (physical) {
        addrspace_read(m->mem, at, buf, size);
    }
    for (unsigned i = 0; i < size; i++) {
        Gpa gpa;

        if (!physical) { /* an item may cross a page */
            if (!m->cpus->len || !vcpu_debug_translate(m->cpus->pdata[0], at + i, &gpa)) {
                return false;
            }
            addrspace_read(m->mem, gpa.v, &buf[i],
                1); /* Gpa is opened here: the map's own interface takes numbers */
        }
        v |= (uint64_t)buf[i] << (8 * i);
    }
    *ret = v;
    return true;
}

static void put_char(GString *out, uint8_t c)
{
    if (c == '\'' || c == '\\') {
        g_string_append_printf(out, " '\\%c'", c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        g_string_append_printf(out, " '\\%c'", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    } else if (c >= 0x20 && c < 0x7f) {
        g_string_append_printf(out, " '%c'", c);
    } else {
        g_string_append_printf(out, " '\\x%02x'", c);
    }
}

static void put_item(GString *out, const Format *f, uint64_t v)
{
    int digits = f->size == 1 ? 3 : f->size == 2 ? 5 : f->size == 4 ? 10 : 20;
    int64_t negative = (int64_t)(v << (64 - 8 * f->size)) >> (64 - 8 * f->size);

    switch (f->format) {
    case 'o':
        g_string_append_printf(out, " 0%0*" PRIo64, (int)(8 * f->size + 2) / 3, v);
        break;
    case 'u':
        g_string_append_printf(out, " %*" PRIu64, digits, v);
        break;
    case 'd':
        g_string_append_printf(out, " %*" PRId64, digits, negative);
        break;
    case 'c':
        put_char(out, (uint8_t)v);
        break;
    default:
        g_string_append_printf(out, " 0x%0*" PRIx64, (int)f->size * 2, v);
    }
}

void hmp_examine(Machine *m, const char *text, bool physical, GString *out)
{
    g_autoptr(GError) err = NULL;
    Format f = { .count = 1, .format = 'x', .size = 4 };
    uint64_t at;

    if (!parse_format(&text, &f, &err) || !hmp_expr(m, &text, &at, &err)) {
        g_string_append_printf(
            out, "%s\nTry \"help %s\" for more information\n", err->message, physical ? "xp" : "x");
        return;
    }
    if (*text) {
        const char *name = physical ? "xp" : "x";

        g_string_append_printf(out,
            "%s: extraneous characters at the end of line\nTry \"help %s\" for more information\n",
            name, name);
        return;
    }
    unsigned per_line = f.size == 8 ? 2 : f.size == 4 ? 4 : 8;

    f.count = MIN(f.count, 65536);
    for (uint64_t i = 0; i < f.count; i++, at += f.size) {
        uint64_t v = 0;

        if (i % per_line == 0) {
            g_string_append_printf(out, "%s%016" PRIx64 ":", i ? "\n" : "", at);
        }
        if (!read_guest(m, at, f.size, physical, &v)) {
            g_string_append(out, " Cannot access memory");
            break;
        }
        put_item(out, &f, v);
    }
    g_string_append_c(out, '\n');
}
