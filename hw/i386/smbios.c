/* SMBIOS structures (DMTF DSP0134 3.0, chapter 7) and entry points (5.2). Values that -smbios does
 * not set equal QEMU's. */
#include "hw/i386/smbios.h"

#include <stdlib.h>
#include <string.h>

typedef struct Smbios {
    const SmbiosInfo *info;
    const GPtrArray *entries;
    GByteArray *t;
    unsigned count, largest;
    uint32_t from_file[4]; /* types that came by file=: one bit each */
    /* The structure being built. */
    unsigned start, nstrings;
    GByteArray *strings;
} Smbios;

/* What may stand beside type=; the text after the name is its meaning's place in the builders
 * below. */
static const struct SmbiosFields {
    unsigned type;
    const char *const names[12];
} smbios_fields[] = {
    { 0, { "vendor", "version", "date", "release", "uefi", "vm" } },
    { 1, { "manufacturer", "product", "version", "serial", "uuid", "sku", "family" } },
    { 2, { "manufacturer", "product", "version", "serial", "asset", "location" } },
    { 3, { "manufacturer", "version", "serial", "asset", "sku" } },
    { 4, { "sock_pfx", "manufacturer", "version", "max-speed", "current-speed", "serial", "asset",
             "part", "processor-family", "processor-id" } },
    { 11, { "value", "path" } },
    { 17, { "loc_pfx", "bank", "manufacturer", "serial", "asset", "part", "speed" } },
};

static void put(Smbios *s, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t x = (uint8_t)(v >> (8 * i));

        g_byte_array_append(s->t, &x, 1);
    }
}

/* DSP0134, 6.1.3: strings follow the structure and are named by their number, 0 for none. */
static void put_string(Smbios *s, const char *text)
{
    if (!text || !*text || s->nstrings == 255) {
        put(s, 0, 1);
        return;
    }
    g_byte_array_append(s->strings, (const uint8_t *)text, (guint)strlen(text) + 1);
    put(s, ++s->nstrings, 1);
}

static void begin(Smbios *s, uint8_t type, uint16_t handle)
{
    s->start = s->t->len;
    s->nstrings = 0;
    g_byte_array_set_size(s->strings, 0);
    put(s, type, 1);
    put(s, 0, 1);
    put(s, handle, 2);
}

static void end(Smbios *s)
{
    s->t->data[s->start + 1] = (uint8_t)(s->t->len - s->start);
    g_byte_array_append(s->t, s->strings->data, s->strings->len);
    put(s, 0, s->strings->len ? 1 : 2);
    s->count++;
    s->largest = MAX(s->largest, s->t->len - s->start);
}

/* The last -smbios type=N that names the field. */
static const char *field(const Smbios *s, unsigned type, const char *name, const char *otherwise)
{
    for (unsigned i = 0; s->entries && i < s->entries->len; i++) {
        const Json *e = g_ptr_array_index(s->entries, i);
        const char *t = json_get_str_or(e, "type", NULL);
        const Json *v = t && strtoul(t, NULL, 0) == type ? json_get(e, name) : NULL;

        if (v && json_type(v) == JSON_STR) {
            otherwise = json_get_str(v);
        }
    }
    return otherwise;
}

static uint64_t number(const Smbios *s, unsigned type, const char *name, uint64_t otherwise)
{
    const char *v = field(s, type, name, NULL);

    return v ? strtoull(v, NULL, 0) : otherwise;
}

static bool is_on(const Smbios *s, unsigned type, const char *name, bool otherwise)
{
    const char *v = field(s, type, name, NULL);

    return v ? !strcmp(v, "on") || !strcmp(v, "yes") || !strcmp(v, "true") || !strcmp(v, "y")
             : otherwise;
}

static bool asked(const Smbios *s, unsigned type)
{
    for (unsigned i = 0; s->entries && i < s->entries->len; i++) {
        const char *t = json_get_str_or(g_ptr_array_index(s->entries, i), "type", NULL);

        if (t && strtoul(t, NULL, 0) == type) {
            return true;
        }
    }
    return false;
}

static bool built_in(const Smbios *s, unsigned type)
{
    return !(s->from_file[type / 32] >> (type % 32) & 1);
}

static void type0_bios(Smbios *s)
{
    unsigned major = 0, minor = 0;
    const char *release = field(s, 0, "release", NULL);

    if (!asked(s, 0) || !built_in(s, 0)) {
        return;
    }
    if (release) {
        char *dot;

        major = (unsigned)strtoul(release, &dot, 10);
        minor = *dot == '.' ? (unsigned)strtoul(dot + 1, NULL, 10) : 0;
    }
    begin(s, 0, 0);
    put_string(s, field(s, 0, "vendor", NULL));
    put_string(s, field(s, 0, "version", NULL));
    put(s, 0xe800, 2);
    put_string(s, field(s, 0, "date", NULL));
    put(s, 0, 1);
    put(s, 0x08, 8); /* characteristics are not supported */
    put(s, 0, 1);
    put(s, 0x04 | (is_on(s, 0, "uefi", false) ? 0x08 : 0) | (is_on(s, 0, "vm", true) ? 0x10 : 0),
        1);
    put(s, major, 1);
    put(s, minor, 1);
    put(s, 0xffff, 2);
    end(s);
}

/* The first three fields are little-endian: DSP0134, 7.2.1. */
static void put_uuid(Smbios *s)
{
    static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

    for (unsigned i = 0; i < 16; i++) {
        put(s, s->info->uuid ? s->info->uuid[order[i]] : 0, 1);
    }
}

static void type1_system(Smbios *s)
{
    if (!built_in(s, 1)) {
        return;
    }
    begin(s, 1, 0x100);
    put_string(s, field(s, 1, "manufacturer", s->info->manufacturer));
    put_string(s, field(s, 1, "product", s->info->product));
    put_string(s, field(s, 1, "version", s->info->version));
    put_string(s, field(s, 1, "serial", NULL));
    put_uuid(s);
    put(s, 6, 1); /* power switch */
    put_string(s, field(s, 1, "sku", NULL));
    put_string(s, field(s, 1, "family", NULL));
    end(s);
}

static void type2_board(Smbios *s)
{
    if (!asked(s, 2) || !built_in(s, 2)) {
        return;
    }
    begin(s, 2, 0x200);
    put_string(s, field(s, 2, "manufacturer", s->info->manufacturer));
    put_string(s, field(s, 2, "product", s->info->product));
    put_string(s, field(s, 2, "version", s->info->version));
    put_string(s, field(s, 2, "serial", NULL));
    put_string(s, field(s, 2, "asset", NULL));
    put(s, 1, 1);
    put_string(s, field(s, 2, "location", NULL));
    put(s, 0x300, 2);
    put(s, 0x0a, 1);
    put(s, 0, 1);
    end(s);
}

static void type3_chassis(Smbios *s)
{
    if (!built_in(s, 3)) {
        return;
    }
    begin(s, 3, 0x300);
    put_string(s, field(s, 3, "manufacturer", s->info->manufacturer));
    put(s, 1, 1);
    put_string(s, field(s, 3, "version", s->info->version));
    put_string(s, field(s, 3, "serial", NULL));
    put_string(s, field(s, 3, "asset", NULL));
    put(s, 0x02030303, 4); /* states safe, security unknown */
    put(s, 0, 8);
    put_string(s, field(s, 3, "sku", NULL));
    end(s);
}

static uint32_t cpu_signature(const X86CpuModel *m)
{
    uint32_t v = m->stepping | (m->model & 15) << 4 | (m->model >> 4) << 16;

    return v | (m->family > 15 ? 15u << 8 | (m->family - 15) << 20 : m->family << 8);
}

static void type4_processor(Smbios *s, unsigned socket)
{
    const SmpSpec *smp = &s->info->smp;
    unsigned cores = smp->maxcpus / smp->sockets / smp->threads;
    unsigned threads = smp->maxcpus / smp->sockets;
    g_autofree char *name = g_strdup_printf("%s %u", field(s, 4, "sock_pfx", "CPU"), socket);
    uint64_t id =
        s->info->cpu ? cpu_signature(s->info->cpu) | (uint64_t)s->info->cpu->f1_edx << 32 : 0;

    begin(s, 4, (uint16_t)(0x400 + socket));
    put_string(s, name);
    put(s, 3, 1);
    put(s, MIN(number(s, 4, "processor-family", 0xfe), 0xfe), 1); /* 0xfe: see family 2 */
    put_string(s, field(s, 4, "manufacturer", s->info->manufacturer));
    put(s, number(s, 4, "processor-id", id), 8);
    put_string(s, field(s, 4, "version", s->info->version));
    put(s, 0, 3);
    put(s, number(s, 4, "max-speed", 2000), 2);
    put(s, number(s, 4, "current-speed", 2000), 2);
    put(s, 0x41, 1); /* populated, enabled */
    put(s, 1, 1);
    put(s, UINT64_C(0xffffffffffff), 6);
    put_string(s, field(s, 4, "serial", NULL));
    put_string(s, field(s, 4, "asset", NULL));
    put_string(s, field(s, 4, "part", NULL));
    put(s, MIN(cores, 255), 1);
    put(s, MIN(cores, 255), 1);
    put(s, MIN(threads, 255), 1);
    put(s, 2, 2);
    put(s, number(s, 4, "processor-family", 1), 2);
    if (s->info->entry64) { /* DSP0134 3.0 */
        put(s, cores, 2);
        put(s, cores, 2);
        put(s, threads, 2);
    }
    end(s);
}

static bool type11_strings(Smbios *s, GError **err)
{
    unsigned at;

    if (!asked(s, 11) || !built_in(s, 11)) {
        return true;
    }
    begin(s, 11, 0xe00);
    at = s->t->len;
    put(s, 0, 1);
    for (unsigned i = 0; i < s->entries->len; i++) {
        const Json *e = g_ptr_array_index(s->entries, i);
        const Json *v = json_get(e, "value");

        if (strtoul(json_get_str_or(e, "type", "0"), NULL, 0) != 11) {
            continue;
        }
        if (json_get(e, "path")) {
            return err_set(err, "-smbios type=11: 'path' is not supported, use 'value'");
        }
        for (unsigned k = 0; v && k < (json_type(v) == JSON_ARRAY ? json_len(v) : 1); k++) {
            const Json *one = json_type(v) == JSON_ARRAY ? json_at(v, k) : v;

            put_string(s, json_get_str(one));
            g_byte_array_set_size(
                s->t, s->t->len - 1); /* the number itself has no field: strings are counted */
        }
    }
    s->t->data[at] = (uint8_t)s->nstrings;
    end(s);
    return true;
}

static void type16_array(Smbios *s, unsigned ndimms)
{
    uint64_t kib = s->info->ram_size >> 10;

    begin(s, 16, 0x1000);
    put(s, 0x060301, 3); /* other location, system memory, multi-bit ECC */
    put(s, kib < 0x80000000 ? kib : 0x80000000, 4);
    put(s, 0xfffe, 2);
    put(s, ndimms, 2);
    put(s, kib < 0x80000000 ? 0 : s->info->ram_size, 8);
    end(s);
}

static void type17_dimm(Smbios *s, unsigned n, uint64_t size)
{
    uint64_t mib = size >> 20, speed = number(s, 17, "speed", 0);
    g_autofree char *name = g_strdup_printf("%s %u", field(s, 17, "loc_pfx", "DIMM"), n);

    begin(s, 17, (uint16_t)(0x1100 + n));
    put(s, 0x1000, 2);
    put(s, 0xfffe, 2);
    put(s, 0xffffffff, 4);
    put(s, mib < 0x7fff ? mib : 0x7fff, 2);
    put(s, 0x0009, 2); /* DIMM, no set */
    put_string(s, name);
    put_string(s, field(s, 17, "bank", NULL));
    put(s, 7, 1);
    put(s, 2, 2);
    put(s, speed, 2);
    put_string(s, field(s, 17, "manufacturer", s->info->manufacturer));
    put_string(s, field(s, 17, "serial", NULL));
    put_string(s, field(s, 17, "asset", NULL));
    put_string(s, field(s, 17, "part", NULL));
    put(s, 0, 1);
    put(s, mib < 0x7fff ? 0 : mib, 4);
    put(s, speed, 2);
    put(s, 0, 6);
    end(s);
}

static void type19_mapped(Smbios *s, unsigned n, uint64_t start, uint64_t size, unsigned width)
{
    uint64_t last = start + size - 1;
    bool ext = last >> 10 >= 0xffffffff;

    begin(s, 19, (uint16_t)(0x1300 + n));
    put(s, ext ? 0xffffffff : start >> 10, 4);
    put(s, ext ? 0xffffffff : last >> 10, 4);
    put(s, 0x1000, 2);
    put(s, width, 1);
    put(s, ext ? start : 0, 8);
    put(s, ext ? last : 0, 8);
    end(s);
}

static void memory_types(Smbios *s)
{
    uint64_t left = s->info->ram_size;
    unsigned n = (unsigned)((left + s->info->dimm_size - 1) / s->info->dimm_size);

    type16_array(s, n);
    for (unsigned i = 0; i < n; i++) {
        type17_dimm(s, i, MIN(left, s->info->dimm_size));
        left -= MIN(left, s->info->dimm_size);
    }
    for (unsigned i = 0; i < s->info->nareas; i++) {
        type19_mapped(s, i, s->info->area[i].start, s->info->area[i].size, n);
    }
}

static void type32_and_127(Smbios *s)
{
    begin(s, 32, 0x2000);
    put(s, 0, 7);
    end(s);
    begin(s, 127, 0x7f00);
    end(s);
}

/* file=: structures as they are, before the built-in ones. */
static bool add_file(Smbios *s, const char *path, GError **err)
{
    g_autofree char *data = NULL;
    gsize len, at = 0;

    if (!g_file_get_contents(path, &data, &len, NULL) || !len) {
        return err_set(err, "Cannot read SMBIOS file %s", path);
    }
    while (at < len) {
        const uint8_t *p = (const uint8_t *)data + at;
        gsize e = at + (len - at >= 4 ? p[1] : 0);

        if (len - at < 4 || p[1] < 4 || p[0] > 127 || p[1] > len - at) {
            return err_set(err, "Failed to read SMBIOS file %s: bad structure", path);
        }
        while (e + 1 < len && (data[e] || data[e + 1])) {
            e++;
        }
        if (e + 1 >= len) {
            return err_set(err, "Failed to read SMBIOS file %s: strings without an end", path);
        }
        s->from_file[p[0] / 32] |= 1u << (p[0] % 32);
        s->count++;
        s->largest = MAX(s->largest, (unsigned)(e + 2 - at));
        g_byte_array_append(s->t, p, (guint)(e + 2 - at));
        at = e + 2;
    }
    return true;
}

static bool check_entry(const Json *e, GError **err)
{
    const char *type = json_get_str_or(e, "type", NULL);
    const struct SmbiosFields *f = NULL;
    unsigned n = type ? (unsigned)strtoul(type, NULL, 0) : 0;

    if (!type) {
        return err_set(err, "Must specify type= or file=");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(smbios_fields); i++) {
        f = smbios_fields[i].type == n ? &smbios_fields[i] : f;
    }
    if (!f) {
        return err_set(err, "Don't know how to build fields for SMBIOS type %u", n);
    }
    for (unsigned i = 0; i < json_len(e); i++) {
        const char *key = json_key_at(e, i);
        bool known = !strcmp(key, "type");

        for (unsigned k = 0; k < G_N_ELEMENTS(f->names) && f->names[k]; k++) {
            known = known || !strcmp(key, f->names[k]);
        }
        if (!known) {
            return err_set(err, "Invalid parameter '%s'", key);
        }
    }
    return true;
}

/* DSP0134, 5.2: the firmware writes address and checksums. */
static GByteArray *build_anchor(const Smbios *s)
{
    Smbios a = { .t = g_byte_array_new() };

    if (s->info->entry64) {
        g_byte_array_append(a.t, (const uint8_t *)"_SM3_", 5);
        put(&a, 0, 1);
        put(&a, 0x18, 1);
        put(&a, 3, 3);
        put(&a, 1, 2);
        put(&a, s->t->len, 4);
        put(&a, 0, 8);
        return a.t;
    }
    g_byte_array_append(a.t, (const uint8_t *)"_SM_", 4);
    put(&a, 0, 1);
    put(&a, 0x1f, 1);
    put(&a, 0x0802, 2);
    put(&a, s->largest, 2);
    put(&a, 0, 6);
    g_byte_array_append(a.t, (const uint8_t *)"_DMI_", 5);
    put(&a, 0, 1);
    put(&a, s->t->len, 2);
    put(&a, 0, 4);
    put(&a, s->count, 2);
    put(&a, 0x28, 1);
    return a.t;
}

/* Errors name the option as it was written. */
static bool prefix_error(const Json *e, GError **err)
{
    g_autoptr(GString) text = g_string_new("-smbios ");

    for (unsigned i = 0; i < json_len(e); i++) {
        const Json *v = json_val_at(e, i);

        g_string_append_printf(text, "%s%s=%s", i ? "," : "", json_key_at(e, i),
            json_type(v) == JSON_STR ? json_get_str(v) : "...");
    }
    g_prefix_error(err, "%s: ", text->str);
    return false;
}

static bool build_all(Smbios *s, GError **err)
{
    for (unsigned i = 0; s->entries && i < s->entries->len; i++) {
        const Json *e = g_ptr_array_index(s->entries, i);
        const char *file = json_get_str_or(e, "file", NULL);

        if (file ? !add_file(s, file, err) : !check_entry(e, err)) {
            return prefix_error(e, err);
        }
    }
    type0_bios(s);
    type1_system(s);
    type2_board(s);
    type3_chassis(s);
    for (unsigned i = 0; built_in(s, 4) && i < s->info->smp.sockets; i++) {
        type4_processor(s, i);
    }
    if (!type11_strings(s, err)) {
        return false;
    }
    memory_types(s);
    type32_and_127(s);
    if (!s->info->entry64 && s->t->len > 0xffff) {
        return err_set(err, "SMBIOS 2.1 table length %u exceeds 65535", s->t->len);
    }
    return true;
}

bool smbios_build(const SmbiosInfo *info, const GPtrArray *entries, GByteArray **ret_tables,
    GByteArray **ret_anchor, GError **err)
{
    Smbios s = {
        .info = info, .entries = entries, .t = g_byte_array_new(), .strings = g_byte_array_new()
    };
    bool ok = build_all(&s, err);

    g_byte_array_unref(s.strings);
    if (!ok) {
        g_byte_array_unref(s.t);
        return false;
    }
    *ret_tables = s.t;
    *ret_anchor = build_anchor(&s);
    return true;
}
