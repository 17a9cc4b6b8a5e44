/* AML assembler (ACPI 6.5, 20.2) and resource descriptors (ACPI 6.5, 6.4). tests/unit/test-aml.c
 * disassembles what it makes. */
#include "hw/i386/aml.h"

#include <stdlib.h>
#include <string.h>

/* Operands that are no terms: p name path, b byte, w word, d double word. Terms follow as ordinary
 * words. */
typedef struct AmlWord {
    const char *word;
    uint8_t op[2];
    uint8_t nop;
    bool block;
    const char *operands;
} AmlWord;

/* clang-format off */
static const AmlWord aml_words[] = {
    { "scope",       { 0x10 },       1, true,  "p" },
    { "device",      { 0x5b, 0x82 }, 2, true,  "p" },
    { "processor",   { 0x5b, 0x83 }, 2, true,  "pbdb" },
    { "method",      { 0x14 },       1, true,  "pb" },   /* flags: arguments, 8 serialized */
    { "if",          { 0xa0 },       1, true,  "" },
    { "else",        { 0xa1 },       1, true,  "" },
    { "while",       { 0xa2 },       1, true,  "" },
    { "package",     { 0x12 },       1, true,  "b" },
    { "field",       { 0x5b, 0x81 }, 2, true,  "pb" },   /* flags: access 1 byte 3 dword, 0x10 lock, 0x40 write as zeros */
    { "name",        { 0x08 },       1, false, "p" },
    { "mutex",       { 0x5b, 0x01 }, 2, false, "pb" },
    { "opregion",    { 0x5b, 0x80 }, 2, false, "pb" },   /* space: 0 memory, 1 port, 2 PCI configuration */
    { "acquire",     { 0x5b, 0x23 }, 2, false, "pw" },
    { "release",     { 0x5b, 0x27 }, 2, false, "p" },
    { "createdword", { 0x8a },       1, false, "" },
    { "store",       { 0x70 },       1, false, "" },
    { "add",         { 0x72 },       1, false, "" },
    { "subtract",    { 0x74 },       1, false, "" },
    { "increment",   { 0x75 },       1, false, "" },
    { "shl",         { 0x79 },       1, false, "" },
    { "shr",         { 0x7a },       1, false, "" },
    { "and",         { 0x7b },       1, false, "" },
    { "or",          { 0x7d },       1, false, "" },
    { "derefof",     { 0x83 },       1, false, "" },
    { "notify",      { 0x86 },       1, false, "" },
    { "sizeof",      { 0x87 },       1, false, "" },
    { "index",       { 0x88 },       1, false, "" },
    { "land",        { 0x90 },       1, false, "" },
    { "lor",         { 0x91 },       1, false, "" },
    { "lnot",        { 0x92 },       1, false, "" },
    { "equal",       { 0x93 },       1, false, "" },
    { "greater",     { 0x94 },       1, false, "" },
    { "less",        { 0x95 },       1, false, "" },
    { "notequal",    { 0x92, 0x93 }, 2, false, "" },
    { "return",      { 0xa4 },       1, false, "" },
    { "null",        { 0x00 },       1, false, "" },
    { "arg0",        { 0x68 },       1, false, "" },
    { "arg1",        { 0x69 },       1, false, "" },
    { "arg2",        { 0x6a },       1, false, "" },
    { "arg3",        { 0x6b },       1, false, "" },
    { "arg4",        { 0x6c },       1, false, "" },
    { "local0",      { 0x60 },       1, false, "" },
    { "local1",      { 0x61 },       1, false, "" },
    { "local2",      { 0x62 },       1, false, "" },
    { "local3",      { 0x63 },       1, false, "" },
    { "local4",      { 0x64 },       1, false, "" },
    { "local5",      { 0x65 },       1, false, "" },
};
/* clang-format on */

static void aml_bytes(GByteArray *b, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t x = (uint8_t)(v >> (8 * i));

        g_byte_array_append(b, &x, 1);
    }
}

void aml_init(Aml *a)
{
    a->code = g_byte_array_new();
    a->depth = 0;
}

void aml_fini(Aml *a)
{
    g_assert(a->depth == 0);
    g_byte_array_unref(a->code);
    a->code = NULL;
}

/* ACPI 6.5, 20.2.3 */
void aml_int(Aml *a, uint64_t v)
{
    if (v <= 1) {
        aml_bytes(a->code, v, 1); /* ZeroOp, OneOp */
    } else if (v <= UINT8_MAX) {
        aml_bytes(a->code, 0x0a | v << 8, 2);
    } else if (v <= UINT16_MAX) {
        aml_bytes(a->code, 0x0b | v << 8, 3);
    } else if (v <= UINT32_MAX) {
        aml_bytes(a->code, 0x0c | v << 8, 5);
    } else {
        aml_bytes(a->code, 0x0e, 1);
        aml_bytes(a->code, v, 8);
    }
}

void aml_str(Aml *a, const char *s)
{
    aml_bytes(a->code, 0x0d, 1);
    g_byte_array_append(a->code, (const uint8_t *)s, (guint)strlen(s) + 1);
}

/* A package length counts its own bytes: ACPI 6.5, 20.2.4. self: false for fields, where it is a
 * width in bits. */
static unsigned aml_pkg_length(uint8_t ret[4], size_t len, bool self)
{
    unsigned n = len + (self ? 1 : 0) < 1 << 6    ? 1
                 : len + (self ? 2 : 0) < 1 << 12 ? 2
                 : len + (self ? 3 : 0) < 1 << 20 ? 3
                                                  : 4;

    len += self ? n : 0;
    if (n == 1) {
        ret[0] = (uint8_t)len;
        return 1;
    }
    ret[0] = (uint8_t)((n - 1) << 6 | (len & 15));
    for (unsigned i = 1; i < n; i++) {
        ret[i] = (uint8_t)(len >> (8 * i - 4));
    }
    return n;
}

static void aml_insert(GByteArray *b, unsigned at, const uint8_t *data, unsigned n)
{
    unsigned tail = b->len - at;

    g_byte_array_set_size(b, b->len + n);
    memmove(b->data + at + n, b->data + at, tail);
    memcpy(b->data + at, data, n);
}

static void aml_open(Aml *a, bool field)
{
    g_assert(a->depth < AML_DEPTH_MAX);
    a->open[a->depth].at = a->code->len;
    a->open[a->depth++].field = field;
}

static void aml_close(Aml *a)
{
    uint8_t len[4];
    unsigned at, n;

    g_assert(a->depth > 0);
    at = a->open[--a->depth].at;
    n = aml_pkg_length(len, a->code->len - at, true);
    aml_insert(a->code, at, len, n);
}

/* One name segment, filled up with underscores. */
static const char *aml_seg(Aml *a, const char *s)
{
    char seg[5] = "____";
    unsigned n = 0;

    while (g_ascii_isupper(s[n]) || g_ascii_isdigit(s[n]) || s[n] == '_') {
        g_assert(n < 4);
        seg[n] = s[n];
        n++;
    }
    g_assert(n > 0);
    g_byte_array_append(a->code, (const uint8_t *)seg, 4);
    return s + n;
}

/* ACPI 6.5, 20.2.2 */
static void aml_path(Aml *a, const char *s)
{
    unsigned segs = 1;

    while (*s == '\\' || *s == '^') {
        aml_bytes(a->code, (uint8_t)*s++, 1);
    }
    if (!*s) {
        aml_bytes(a->code, 0, 1);
        return;
    }
    for (const char *p = s; *p; p++) {
        segs += *p == '.';
    }
    if (segs == 2) {
        aml_bytes(a->code, 0x2e, 1);
    } else if (segs > 2) {
        aml_bytes(a->code, 0x2f | segs << 8, 2);
    }
    for (; segs; segs--) {
        s = aml_seg(a, s);
        g_assert(*s == (segs > 1 ? '.' : '\0'));
        s++;
    }
}

/* "PNP0A03" packed: three letters of five bits, four hexadecimal digits, big-endian
 * (ACPI 6.5, 19.3.4). */
static void aml_eisa(Aml *a, const char *id)
{
    uint32_t v;

    g_assert(strlen(id) == 7);
    v = (uint32_t)(id[0] - 0x40) << 26 | (uint32_t)(id[1] - 0x40) << 21 |
        (uint32_t)(id[2] - 0x40) << 16 | (uint32_t)strtoul(id + 3, NULL, 16);
    aml_bytes(a->code, 0x0c, 1);
    aml_bytes(a->code, GUINT32_SWAP_LE_BE(v), 4);
}

static void aml_field_item(Aml *a, const char *w)
{
    const char *colon = strchr(w, ':');
    uint8_t len[4];
    unsigned n;

    g_assert(colon);
    if (colon == w) {
        aml_bytes(a->code, 0, 1);
    } else {
        aml_seg(a, w);
    }
    n = aml_pkg_length(len, strtoul(colon + 1, NULL, 0), false);
    g_byte_array_append(a->code, len, n);
}

/* The next word of *s, or NULL. Strings keep their opening quote. */
static char *aml_next(const char **s)
{
    const char *p = *s + strspn(*s, " \n");
    const char *e = *p == '\'' ? strchr(p + 1, '\'') : p + strcspn(p, " \n");

    g_assert(e);
    *s = *p == '\'' ? e + 1 : e;
    return *p ? g_strndup(p, (gsize)(e - p)) : NULL;
}

static void aml_operands(Aml *a, const char *kinds, const char **s)
{
    for (; *kinds; kinds++) {
        g_autofree char *w = aml_next(s);

        g_assert(w);
        switch (*kinds) {
        case 'p':
            aml_path(a, w);
            break;
        case 'b':
            aml_bytes(a->code, strtoul(w, NULL, 0), 1);
            break;
        case 'w':
            aml_bytes(a->code, strtoul(w, NULL, 0), 2);
            break;
        default:
            aml_bytes(a->code, strtoul(w, NULL, 0), 4);
        }
    }
}

static bool aml_keyword(Aml *a, const char *w, const char **s)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(aml_words); i++) {
        const AmlWord *k = &aml_words[i];

        if (!strcmp(w, k->word)) {
            g_byte_array_append(a->code, k->op, k->nop);
            if (k->block) {
                aml_open(a, !strcmp(w, "field"));
            }
            aml_operands(a, k->operands, s);
            return true;
        }
    }
    return false;
}

static void aml_word(Aml *a, const char *w, const char **s)
{
    if (!strcmp(w, "{")) {
        return;
    }
    if (!strcmp(w, "}")) {
        aml_close(a);
    } else if (a->depth && a->open[a->depth - 1].field) {
        aml_field_item(a, w);
    } else if (g_ascii_isdigit(*w)) {
        aml_int(a, g_ascii_strtoull(w, NULL, 0));
    } else if (*w == '\'') {
        aml_str(a, w + 1);
    } else if (*w == '@') {
        aml_eisa(a, w + 1);
    } else if (!aml_keyword(a, w, s)) {
        aml_path(a, w);
    }
}

void aml_asm(Aml *a, const char *fmt, ...)
{
    va_list ap;
    g_autofree char *text = NULL;
    const char *s;
    char *w;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    s = text;
    while ((w = aml_next(&s))) {
        aml_word(a, w, &s);
        g_free(w);
    }
}

void aml_buffer(Aml *a, const void *data, size_t len)
{
    aml_bytes(a->code, 0x11, 1);
    aml_open(a, false);
    aml_int(a, len);
    g_byte_array_append(a->code, data, (guint)len);
    aml_close(a);
}

/* Resource descriptors. */

void aml_res_begin(AmlRes *r)
{
    r->b = g_byte_array_new();
}

void aml_res_end(AmlRes *r, Aml *a)
{
    aml_bytes(r->b, 0x79, 2); /* end tag; a checksum of zero counts as correct: ACPI 6.5, 6.4.2.9 */
    aml_buffer(a, r->b->data, r->b->len);
    g_byte_array_unref(r->b);
    r->b = NULL;
}

/* ACPI 6.5, 6.4.2.5 */
void aml_res_io(AmlRes *r, uint16_t base, uint8_t align, uint8_t len)
{
    aml_bytes(r->b, 0x0147, 2);
    aml_bytes(r->b, base, 2);
    aml_bytes(r->b, base, 2);
    aml_bytes(r->b, align, 1);
    aml_bytes(r->b, len, 1);
}

/* ACPI 6.5, 6.4.2.1 */
void aml_res_irq(AmlRes *r, unsigned irq)
{
    aml_bytes(r->b, 0x22, 1);
    aml_bytes(r->b, 1u << irq, 2);
}

/* ACPI 6.5, 6.4.3.4 */
void aml_res_mem32(AmlRes *r, bool writable, uint32_t base, uint32_t len)
{
    aml_bytes(r->b, 0x000986, 3);
    aml_bytes(r->b, writable, 1);
    aml_bytes(r->b, base, 4);
    aml_bytes(r->b, len, 4);
}

/* ACPI 6.5, 6.4.3.6: resource consumer, level, active high, shared. */
void aml_res_interrupt(AmlRes *r, const uint32_t *gsi, unsigned n)
{
    aml_bytes(r->b, 0x89, 1);
    aml_bytes(r->b, 2 + 4 * n, 2);
    aml_bytes(r->b, 0x09, 1);
    aml_bytes(r->b, n, 1);
    for (unsigned i = 0; i < n; i++) {
        aml_bytes(r->b, gsi[i], 4);
    }
}

/* ACPI 6.5, 6.4.3.5: a fixed range that the bridge produces. tag: 0x88 word, 0x87 double word, 0x8a
 * quad word. */
static void aml_res_range(
    AmlRes *r, uint8_t tag, uint8_t type, uint8_t type_flags, uint64_t first, uint64_t last)
{
    unsigned w = tag == 0x88 ? 2 : tag == 0x87 ? 4 : 8;

    aml_bytes(r->b, tag, 1);
    aml_bytes(r->b, 3 + 5 * w, 2);
    aml_bytes(r->b, type, 1);
    aml_bytes(r->b, 0x0c, 1); /* minimum and maximum fixed, positive decode */
    aml_bytes(r->b, type_flags, 1);
    aml_bytes(r->b, 0, w);
    aml_bytes(r->b, first, w);
    aml_bytes(r->b, last, w);
    aml_bytes(r->b, 0, w);
    aml_bytes(r->b, last - first + 1, w);
}

void aml_res_bus(AmlRes *r, uint16_t first, uint16_t last)
{
    aml_res_range(r, 0x88, 2, 0, first, last);
}

void aml_res_word_io(AmlRes *r, uint16_t first, uint16_t last)
{
    aml_res_range(r, 0x88, 1, 3, first, last);
}

void aml_res_dword_mem(AmlRes *r, bool cacheable, uint32_t first, uint32_t last)
{
    aml_res_range(r, 0x87, 0, cacheable ? 3 : 1, first, last);
}

void aml_res_qword_mem(AmlRes *r, bool cacheable, uint64_t first, uint64_t last)
{
    aml_res_range(r, 0x8a, 0, cacheable ? 3 : 1, first, last);
}
