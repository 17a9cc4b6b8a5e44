/* The kinds of values properties have: switches, numbers, sizes, texts, addresses. Tested by
 * test-prop. */
#include "prop-internal.h"
#include "util/keyval.h"

#include <string.h>

static bool wrong_type(GError **err, const char *expected)
{
    return err_set(err, "Invalid parameter type for '{name}', expected: %s", expected);
}

static bool bool_set(void *field, const Json *val, GError **err)
{
    if (json_type(val) != JSON_BOOL) {
        return wrong_type(err, "boolean");
    }
    *(bool *)field = json_get_bool(val);
    return true;
}

static bool bool_parse(void *field, const char *text, GError **err)
{
    return parse_bool(text, field) || err_set(err, "Parameter '{name}' expects 'on' or 'off'");
}

static void bool_get(const void *field, JsonWriter *w, const char *name)
{
    jw_bool(w, name, *(const bool *)field);
}

const PropType prop_bool = {
    .name = "bool", .set = bool_set, .parse = bool_parse, .get = bool_get
};
/* Never called through its slots: prop.c knows the bit. */
const PropType prop_feature = { .name = "bool" };

/* Unsigned numbers. QEMU compat: -1 is 2^64 - 1 before the range is checked. */

static bool uint_from_json(const Json *val, uint64_t *ret, GError **err)
{
    if (json_type(val) != JSON_INT && json_type(val) != JSON_UINT) {
        return err_set(err, "Parameter '{name}' expects uint64");
    }
    *ret = json_type(val) == JSON_UINT ? json_get_uint(val) : (uint64_t)json_get_int(val);
    return true;
}

static bool uint_from_text(const char *text, uint64_t *ret, GError **err)
{
    int64_t negative;

    if (parse_uint(text, UINT64_MAX, ret)) {
        return true;
    }
    if (!parse_int(text, &negative)) {
        return err_set(err, "Parameter '{name}' expects {uint}");
    }
    *ret = (uint64_t)negative;
    return true;
}

#define UINT_TYPE(bits)                                                                            \
    static bool u##bits##_store(void *field, uint64_t v, GError **err)                             \
    {                                                                                              \
        if (v > UINT##bits##_MAX) {                                                                \
            return err_set(err, "Parameter '{name}' expects uint" #bits "_t");                     \
        }                                                                                          \
        *(uint##bits##_t *)field = (uint##bits##_t)v;                                              \
        return true;                                                                               \
    }                                                                                              \
    static bool u##bits##_set(void *field, const Json *val, GError **err)                          \
    {                                                                                              \
        uint64_t v = 0;                                                                            \
                                                                                                   \
        return uint_from_json(val, &v, err) && u##bits##_store(field, v, err);                     \
    }                                                                                              \
    static bool u##bits##_parse(void *field, const char *text, GError **err)                       \
    {                                                                                              \
        uint64_t v = 0;                                                                            \
                                                                                                   \
        if (!uint_from_text(text, &v, err)) {                                                      \
            return false;                                                                          \
        }                                                                                          \
        if (v > UINT##bits##_MAX && *text == '-') {                                                \
            return err_set(err, "Parameter '{name}' expects {negative}uint" #bits "_t");           \
        }                                                                                          \
        return u##bits##_store(field, v, err);                                                     \
    }                                                                                              \
    static void u##bits##_get(const void *field, JsonWriter *w, const char *name)                  \
    {                                                                                              \
        jw_uint(w, name, *(const uint##bits##_t *)field);                                          \
    }                                                                                              \
    const PropType prop_u##bits = {                                                                \
        .name = "uint" #bits, .set = u##bits##_set, .parse = u##bits##_parse, .get = u##bits##_get \
    }

UINT_TYPE(8);
UINT_TYPE(16);
UINT_TYPE(32);
UINT_TYPE(64);

static bool int_from_json(const Json *val, int64_t *ret, GError **err)
{
    if (json_type(val) != JSON_INT) {
        return wrong_type(err, "integer");
    }
    *ret = json_get_int(val);
    return true;
}

static bool int_from_text(const char *text, int64_t *ret, GError **err)
{
    return parse_int(text, ret) || err_set(err, "Parameter '{name}' expects {int}");
}

#define INT_TYPE(bits)                                                                             \
    static bool i##bits##_store(void *field, int64_t v, GError **err)                              \
    {                                                                                              \
        if (v < INT##bits##_MIN || v > INT##bits##_MAX) {                                          \
            return err_set(err, "Parameter '{name}' expects int" #bits "_t");                      \
        }                                                                                          \
        *(int##bits##_t *)field = (int##bits##_t)v;                                                \
        return true;                                                                               \
    }                                                                                              \
    static bool i##bits##_set(void *field, const Json *val, GError **err)                          \
    {                                                                                              \
        int64_t v = 0;                                                                             \
                                                                                                   \
        return int_from_json(val, &v, err) && i##bits##_store(field, v, err);                      \
    }                                                                                              \
    static bool i##bits##_parse(void *field, const char *text, GError **err)                       \
    {                                                                                              \
        int64_t v = 0;                                                                             \
                                                                                                   \
        return int_from_text(text, &v, err) && i##bits##_store(field, v, err);                     \
    }                                                                                              \
    static void i##bits##_get(const void *field, JsonWriter *w, const char *name)                  \
    {                                                                                              \
        jw_int(w, name, *(const int##bits##_t *)field);                                            \
    }                                                                                              \
    const PropType prop_i##bits = {                                                                \
        .name = "int" #bits, .set = i##bits##_set, .parse = i##bits##_parse, .get = i##bits##_get  \
    }

INT_TYPE(32);
INT_TYPE(64);

/* An argument that may be left out: -1 in an int32_t then. */
static bool opt_u16_set(void *field, const Json *val, GError **err)
{
    uint16_t v = 0;
    bool ok = u16_set(&v, val, err);

    *(int32_t *)field = ok ? v : -1;
    return ok;
}

static bool opt_u16_parse(void *field, const char *text, GError **err)
{
    uint16_t v = 0;
    bool ok = u16_parse(&v, text, err);

    *(int32_t *)field = ok ? v : -1;
    return ok;
}

const PropType prop_opt_u16 = {
    .name = "uint16", .set = opt_u16_set, .parse = opt_u16_parse, .get = i32_get
};

static bool size_parse(void *field, const char *text, GError **err)
{
    uint64_t v;

    if (!parse_size(text, 1, &v)) {
        return err_set(err, "Parameter '{name}' expects {size}");
    }
    *(uint64_t *)field = v;
    return true;
}

static bool size32_parse(void *field, const char *text, GError **err)
{
    uint64_t v;

    return size_parse(&v, text, err) && u32_store(field, v, err);
}

const PropType prop_size = { .name = "size", .set = u64_set, .parse = size_parse, .get = u64_get };
const PropType prop_size32 = {
    .name = "size", .set = u32_set, .parse = size32_parse, .get = u32_get
};

static bool double_set(void *field, const Json *val, GError **err)
{
    JsonType t = json_type(val);

    if (t != JSON_INT && t != JSON_UINT && t != JSON_DOUBLE) {
        return wrong_type(err, "number");
    }
    *(double *)field = json_get_double(val);
    return true;
}

static bool double_parse(void *field, const char *text, GError **err)
{
    char *end;
    double v = g_ascii_strtod(text, &end);

    if (end == text || *end) {
        return err_set(err, "Parameter '{name}' expects number");
    }
    *(double *)field = v;
    return true;
}

static void double_get(const void *field, JsonWriter *w, const char *name)
{
    jw_json(w, name, json_double(*(const double *)field));
}

const PropType prop_double = {
    .name = "number", .set = double_set, .parse = double_parse, .get = double_get
};

bool prop_str_parse(void *field, const char *text, G_GNUC_UNUSED GError **err)
{
    char **s = field;
    char *copy = g_strdup(text); /* text may be the old value */

    g_free(*s);
    *s = copy;
    return true;
}

bool prop_str_set(void *field, const Json *val, GError **err)
{
    if (json_type(val) != JSON_STR) {
        return wrong_type(err, "string");
    }
    return prop_str_parse(field, json_get_str(val), err);
}

void prop_str_get(const void *field, JsonWriter *w, const char *name)
{
    jw_str(w, name, *(char *const *)field);
}

void prop_str_release(void *field)
{
    g_clear_pointer((char **)field, g_free);
}

PROP_STR_TYPE(prop_str, "str");

static bool str_list_parse(void *field, const char *text, G_GNUC_UNUSED GError **err)
{
    char ***list = field;
    unsigned n = *list ? g_strv_length(*list) : 0;

    *list = g_renew(char *, *list, n + 2);
    (*list)[n] = g_strdup(text);
    (*list)[n + 1] = NULL;
    return true;
}

static void str_list_release(void *field)
{
    g_clear_pointer((char ***)field, g_strfreev);
}

/* Items are texts, or objects with one member "str" (QAPI's String). */
static bool str_list_set(void *field, const Json *val, GError **err)
{
    if (json_type(val) != JSON_ARRAY) {
        return wrong_type(err, "array");
    }
    for (unsigned i = 0; i < json_len(val); i++) {
        const Json *item = json_at(val, i);

        if (json_type(item) == JSON_OBJECT && json_get(item, "str")) {
            item = json_get(item, "str");
        }
        if (json_type(item) != JSON_STR) {
            return wrong_type(err, "string");
        }
    }
    str_list_release(field);
    for (unsigned i = 0; i < json_len(val); i++) {
        const Json *item = json_at(val, i);

        item = json_type(item) == JSON_OBJECT ? json_get(item, "str") : item;
        str_list_parse(field, json_get_str(item), err);
    }
    return true;
}

static void str_list_get(const void *field, JsonWriter *w, const char *name)
{
    char *const *list = *(char *const *const *)field;

    jw_begin_array(w, name);
    for (unsigned i = 0; list && list[i]; i++) {
        jw_str(w, NULL, list[i]);
    }
    jw_end_array(w);
}

const PropType prop_str_list = {
    .name = "list",
    .set = str_list_set,
    .parse = str_list_parse,
    .get = str_list_get,
    .release = str_list_release,
};

static bool json_prop_set(void *field, const Json *val, G_GNUC_UNUSED GError **err)
{
    Json **j = field;
    Json *copy = json_copy(val);

    json_unref(*j);
    *j = copy;
    return true;
}

static bool json_prop_parse(void *field, const char *text, G_GNUC_UNUSED GError **err)
{
    Json **j = field;

    json_unref(*j);
    *j = json_text(text);
    return true;
}

static void json_prop_get(const void *field, JsonWriter *w, const char *name)
{
    Json *j = *(Json *const *)field;

    jw_json(w, name, j ? json_ref(j) : json_null());
}

static void json_prop_release(void *field)
{
    g_clear_pointer((Json **)field, json_unref);
}

const PropType prop_json = {
    .name = "struct",
    .set = json_prop_set,
    .parse = json_prop_parse,
    .get = json_prop_get,
    .release = json_prop_release,
};

static bool bad_value(GError **err)
{
    return err_set(err, "Property '{qom}' doesn't take value '{value}'");
}

static bool mac_parse(void *field, const char *text, GError **err)
{
    MacAddr m = { .set = true };
    size_t len = strlen(text);

    if (len != 17) {
        return bad_value(err);
    }
    for (unsigned i = 0; i < 6; i++) {
        const char *at = text + 3 * i;
        int hi = g_ascii_xdigit_value(at[0]), lo = g_ascii_xdigit_value(at[1]);

        if (hi < 0 || lo < 0 || (i < 5 && at[2] != ':' && at[2] != '-')) {
            return bad_value(err);
        }
        m.a[i] = (uint8_t)(hi << 4 | lo);
    }
    *(MacAddr *)field = m;
    return true;
}

static bool mac_set(void *field, const Json *val, GError **err)
{
    return json_type(val) == JSON_STR ? mac_parse(field, json_get_str(val), err)
                                      : wrong_type(err, "string");
}

static void mac_get(const void *field, JsonWriter *w, const char *name)
{
    const MacAddr *m = field;

    jw_strf(w, name, "%02x:%02x:%02x:%02x:%02x:%02x", m->a[0], m->a[1], m->a[2], m->a[3], m->a[4],
        m->a[5]);
}

const PropType prop_mac = { .name = "str", .set = mac_set, .parse = mac_parse, .get = mac_get };

/* "SS[.F]", both hexadecimal; -1 anywhere. */
static bool pci_addr_parse(void *field, const char *text, GError **err)
{
    char *end;

    if (!strcmp(text, "-1")) {
        *(int32_t *)field = -1;
        return true;
    }
    if (!g_ascii_isxdigit(*text)) {
        return bad_value(err);
    }
    uint64_t slot = g_ascii_strtoull(text, &end, 16), fn = 0;

    if (*end == '.') {
        text = end + 1;
        if (!g_ascii_isxdigit(*text)) {
            return bad_value(err);
        }
        fn = g_ascii_strtoull(text, &end, 16);
    }
    if (*end || slot > 31 || fn > 7) {
        return bad_value(err);
    }
    *(int32_t *)field = (int32_t)(slot << 3 | fn);
    return true;
}

static bool pci_addr_set(void *field, const Json *val, GError **err)
{
    if (json_type(val) == JSON_STR) {
        return pci_addr_parse(field, json_get_str(val), err);
    }
    if (json_type(val) != JSON_INT) {
        return err_set(err, "Invalid parameter type for '{name}', expected int or str");
    }
    int64_t v = json_get_int(val);

    if (v < -1 || v > 255) {
        return err_set(err, "PCI devfn %" G_GINT64_FORMAT " is not between -1 and 255", v);
    }
    *(int32_t *)field = (int32_t)v;
    return true;
}

/* QEMU compat: qom-get shows the number. */
static void pci_addr_get(const void *field, JsonWriter *w, const char *name)
{
    jw_int(w, name, *(const int32_t *)field);
}

const PropType prop_pci_addr = {
    .name = "str", .set = pci_addr_set, .parse = pci_addr_parse, .get = pci_addr_get
};

static const char *const on_off_auto[] = { "auto", "on", "off", NULL };

PROP_ENUM_TYPE(prop_on_off_auto, "OnOffAuto", on_off_auto);

bool prop_ref_set(const PropType *type, void *field, const Json *val, GError **err)
{
    GError *local = NULL;

    if (json_type(val) != JSON_STR) {
        return wrong_type(err, "string");
    }
    const char *id = json_get_str(val);
    void *target = *id ? type->ref->find(id, &local) : NULL;

    if (local) {
        g_propagate_error(err, local);
        return false;
    }
    if (*id && !target) {
        return err_set(err, "Property '{qom}' can't find value '{value}'");
    }
    if (type->release) {
        type->release(field);
    }
    memcpy(field, &target, sizeof target); /* a pointer of the owner's own type */
    return true;
}

const char *prop_ref_get(const PropType *type, const void *field)
{
    const void *target;

    memcpy(&target, field, sizeof target);
    const char *name = target ? type->ref->name(target) : NULL;

    return name ? name : "";
}

int prop_enum_find(const PropType *type, const char *name)
{
    for (int i = 0; type->values[i]; i++) {
        if (!strcmp(type->values[i], name)) {
            return i;
        }
    }
    return -1;
}

bool prop_is_number(const PropType *type)
{
    static const PropType *const numbers[] = { &prop_u8, &prop_u16, &prop_u32, &prop_u64, &prop_i32,
        &prop_i64, &prop_size, &prop_size32, &prop_double, &prop_opt_u16 };

    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (type == numbers[i]) {
            return true;
        }
    }
    return false;
}

void prop_type_default(const PropSpec *spec, void *field)
{
    const PropType *t = spec->type;

    if (t == &prop_feature) {
        VirtioFeatures *f = field;
        uint64_t mask = 1ull << (spec->bit % 64);

        f->word[spec->bit / 64] =
            spec->def.u ? f->word[spec->bit / 64] | mask : f->word[spec->bit / 64] & ~mask;
    } else if (spec->flags & PROP_NO_DEFAULT) {
        return;
    } else if (t->values) {
        *(int *)field = (int)spec->def.i;
    } else if (t == &prop_bool) {
        *(bool *)field = spec->def.u != 0;
    } else if (t->release == prop_str_release) {
        *(char **)field = g_strdup(spec->def.s);
    } else if (t == &prop_u8) {
        *(uint8_t *)field = (uint8_t)spec->def.u;
    } else if (t == &prop_u16) {
        *(uint16_t *)field = (uint16_t)spec->def.u;
    } else if (t == &prop_u32 || t == &prop_size32 || t == &prop_i32 || t == &prop_pci_addr) {
        *(uint32_t *)field = (uint32_t)spec->def.u;
    } else if (t == &prop_u64 || t == &prop_size || t == &prop_i64) {
        *(uint64_t *)field = spec->def.u;
    } else if (t == &prop_double) {
        *(double *)field = (double)spec->def.i;
    }
}
