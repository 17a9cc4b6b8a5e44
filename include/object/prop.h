/*
 * One table language for everything a user can set: -device, -netdev, every option, every QMP
 * argument. Parsing, help, introspection and documentation are walks over PropSpec tables.
 */
#pragma once

#include "util/err.h"
#include "util/json.h"

#include <stddef.h>

struct Obj;

typedef struct VirtioFeatures {
    uint64_t word[2];
} VirtioFeatures; /* 128 feature bits */

/*
 * Error texts of set and parse may hold {name}, {qom} (class.property), {value} (the text given),
 * {int}, {uint} and {size} ("integer", "size"; in -object and option structs "an int64 value", "a
 * uint64 value", "a size value"), {negative} in front of a type a negative number does not fit in:
 * the caller fills them in.
 */
typedef struct PropType {
    /* "bool", "uint32", "size", "OnOffAuto" */
    const char *name;
    /* from QMP/JSON; err: only what is wrong, the caller names it */
    bool (*set)(void *field, const Json *val, GError **err);
    bool (*parse)(void *field, const char *text, GError **err); /* from the command line */
    void (*get)(const void *field, JsonWriter *w, const char *name);
    /* NULL where the field owns nothing */
    void (*release)(void *field);
    /* enums: the names, NULL-terminated; else NULL */
    const char *const *values;
    /* names of other things (chardev=, netdev=, drive=): set, parse and get stay NULL */
    const struct PropRef *ref;
} PropType;

/* What a name stands for; the field is a pointer to it, NULL for the empty name. */
typedef struct PropRef {
    /* NULL: not there; or *err says why it cannot be taken */
    void *(*find)(const char *id, GError **err);
    /* the name to show; NULL: it is gone */
    const char *(*name)(const void *target);
} PropRef;

typedef struct PropSpec {
    const char *name;
    const PropType *type;
    size_t offset;
    /* prop_feature: bit number in a VirtioFeatures */
    int bit;
    union {
        uint64_t u;
        int64_t i;
        const char *s;
    } def;
    unsigned flags;
    const char *help;
} PropSpec;
enum {
    PROP_NO_DEFAULT = 1 << 0, /* not shown, field stays zero */
    PROP_RUNTIME = 1 << 1,    /* may be set after realize */
    PROP_INTERNAL = 1 << 2,   /* not in help, not for users */
    PROP_REQUIRED = 1 << 3,   /* QMP arguments and -netdev: "Parameter 'x' is missing" */
    PROP_READONLY = 1 << 4,
};

/* Several tables make one type: PCI's, virtio-pci's, virtio's, the device's own. */
typedef struct PropGroup {
    const PropSpec *props;
    struct Obj *(*target)(struct Obj *o); /* NULL: the object itself */
} PropGroup;                              /* arrays end with { NULL, NULL } */

/*
 * Fields: prop_pci_addr int32_t (slot << 3 | function, -1: any), prop_str_list char ** (from
 * "x=a,x=b" or a JSON list), prop_json Json *, prop_feature VirtioFeatures + bit. prop_size32 is a
 * size that fits uint32_t.
 */
extern const PropType prop_bool, prop_u8, prop_u16, prop_u32, prop_u64, prop_i32, prop_i64,
    prop_size, prop_size32, prop_str, prop_feature, prop_on_off_auto, prop_mac, prop_pci_addr,
    prop_json, prop_double, prop_str_list, prop_opt_u16;
typedef enum OnOffAuto { ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON, ON_OFF_AUTO_OFF } OnOffAuto;
typedef struct MacAddr {
    uint8_t a[6];
    bool set;
} MacAddr;

/* Data only. _Generic rejects a field of the wrong C type. */
#define PROP_AT(T, f, C) _Generic(&((T *)0)->f, C * : offsetof(T, f))
#define PROP_ROW(n, T, f, C, ty, d, h)                                                             \
    {                                                                                              \
        .name = (n), .type = &(ty), .offset = PROP_AT(T, f, C), .bit = -1, .def.u = (d),           \
        .help = (h)                                                                                \
    }
#define PROP_BOOL(n, T, f, d, h)   PROP_ROW(n, T, f, bool, prop_bool, d, h)
#define PROP_U8(n, T, f, d, h)     PROP_ROW(n, T, f, uint8_t, prop_u8, d, h)
#define PROP_U16(n, T, f, d, h)    PROP_ROW(n, T, f, uint16_t, prop_u16, d, h)
#define PROP_U32(n, T, f, d, h)    PROP_ROW(n, T, f, uint32_t, prop_u32, d, h)
#define PROP_U64(n, T, f, d, h)    PROP_ROW(n, T, f, uint64_t, prop_u64, d, h)
#define PROP_SIZE(n, T, f, d, h)   PROP_ROW(n, T, f, uint64_t, prop_size, d, h)
#define PROP_SIZE32(n, T, f, d, h) PROP_ROW(n, T, f, uint32_t, prop_size32, d, h)
#define PROP_I32(n, T, f, d, h)                                                                    \
    {                                                                                              \
        .name = (n), .type = &prop_i32, .offset = PROP_AT(T, f, int32_t), .bit = -1, .def.i = (d), \
        .help = (h)                                                                                \
    }
/* A number that may be left out of a command's arguments: the int32_t field is -1 then. */
#define PROP_OPT_U16(n, T, f, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = &prop_opt_u16, .offset = PROP_AT(T, f, int32_t), .bit = -1,           \
        .def.i = -1, .help = (h)                                                                   \
    }
#define PROP_ON_OFF_AUTO(n, T, f, d, h) PROP_ROW(n, T, f, OnOffAuto, prop_on_off_auto, d, h)
#define PROP_FEATURE(n, T, f, b, d, h)                                                             \
    {                                                                                              \
        .name = (n), .type = &prop_feature, .offset = PROP_AT(T, f, VirtioFeatures), .bit = (b),   \
        .def.u = (d), .help = (h)                                                                  \
    }
#define PROP_STR(n, T, f, h)                                                                       \
    {                                                                                              \
        .name = (n), .type = &prop_str, .offset = PROP_AT(T, f, char *), .bit = -1,                \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
#define PROP_MAC(n, T, f, h)                                                                       \
    {                                                                                              \
        .name = (n), .type = &prop_mac, .offset = PROP_AT(T, f, MacAddr), .bit = -1,               \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
/* An enum kept as int; ty is a PropType with .values made by PROP_ENUM_TYPE. */
#define PROP_ENUM(n, T, f, ty, d, h) PROP_ROW(n, T, f, int, ty, d, h)
/* Any sub-tree, kept as Json* (lists of objects); checked by the owner. */
#define PROP_JSON(n, T, f, h)                                                                      \
    {                                                                                              \
        .name = (n), .type = &prop_json, .offset = PROP_AT(T, f, Json *), .bit = -1,               \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
#define PROP_END                                                                                   \
    {                                                                                              \
        .name = NULL                                                                               \
    }
#define PROP_ENUM_TYPE(var, tyname, vals)                                                          \
    const PropType var = { .name = (tyname), .values = (vals) }

/* A string with a type name of its own: PROP_STR_TYPE(prop_rng_link, "link<rng-backend>"); the
 * owner resolves it. */
bool prop_str_set(void *field, const Json *val, GError **err);
bool prop_str_parse(void *field, const char *text, GError **err);
void prop_str_get(const void *field, JsonWriter *w, const char *name);
void prop_str_release(void *field);
#define PROP_STR_TYPE(var, tyname)                                                                 \
    const PropType var = { .name = (tyname),                                                       \
        .set = prop_str_set,                                                                       \
        .parse = prop_str_parse,                                                                   \
        .get = prop_str_get,                                                                       \
        .release = prop_str_release }

/* A row of such a type by hand. */
bool prop_ref_set(const PropType *type, void *field, const Json *val, GError **err);
const char *prop_ref_get(const PropType *type, const void *field); /* "": none */

/* Enum types are recognised by .values != NULL (PROP_ENUM_TYPE); set, parse and get stay NULL. */

/*
 * Plain structs (option arguments, QMP arguments): call prop_defaults() on zeroed memory, then
 * prop_apply_struct() once or more. Unknown keys are errors: "Invalid parameter 'x'" (text),
 * "Parameter 'x' is unexpected" (JSON). After a failure what was set is still the caller's to
 * prop_release().
 */
void prop_defaults(const PropSpec *specs, void *target);
bool prop_apply_struct(const PropSpec *specs, void *target, const Json *args, GError **err);
void prop_release(const PropSpec *specs, void *target);
/* One row by hand; base is the struct the row's offset counts from. */
Json *prop_get_field(const PropSpec *spec, const void *base);
bool prop_is_number(const PropType *type); /* JSON shows it as a number */

/* Objects: through cls->props groups. Errors are QEMU's: "Property 'virtio-net-pci.foo' not found",
 * "Parameter 'mq' expects 'on' or 'off'". */
bool prop_set(struct Obj *o, const char *name, const Json *val, GError **err);
bool prop_set_text(struct Obj *o, const char *name, const char *text, GError **err);
Json *prop_get(struct Obj *o, const char *name, GError **err);
/* Finds the row and the object it lies in; NULL: none. */
const PropSpec *prop_find(struct Obj *o, const char *name, struct Obj **ret_target);
/* by a user, -global or compat list, since obj_new */
bool prop_was_set(const struct Obj *o, const char *name);

struct ObjClass;
/* Walks over a class's rows. fn: false stops. Rows of the same name: the first counts. */
typedef bool PropRowFn(const PropSpec *row, void *opaque);
void prop_walk_class(const struct ObjClass *cls, PropRowFn *fn, void *opaque);
Json *prop_default_value(const PropSpec *row); /* NULL: none to show */
const char *prop_type_name(const PropSpec *row);
/* device-list-properties: [{"name", "type", "description", "default-value"}]; without PROP_INTERNAL
 * rows unless all. */
Json *prop_class_list(const struct ObjClass *cls, bool all);
/* -device X,help: "X options:" and a sorted line for each row; g_free. */
char *prop_class_help(const struct ObjClass *cls);
/* The same lines for an option's table, without the head line. */
char *prop_specs_help(const PropSpec *specs);
