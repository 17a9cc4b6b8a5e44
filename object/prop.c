/* Property tables at work: defaults, setting, reading, in plain structs and in objects. Tested by
 * test-prop. */
#include "object/prop.h"

#include "object/obj.h"
#include "prop-internal.h"

#include <string.h>

/* Whose row it is, for messages. */
typedef struct PropPlace {
    const char *name;
    const char *cls; /* NULL: a plain struct */
    bool device;     /* QEMU compat: numbers in the text of -device have words of their own */
} PropPlace;

/* "{negative}uint32_t": what a negative number is not. */
static void finish_negative(GString *text, bool device)
{
    const char *at = strstr(text->str, "{negative}");

    if (at && !device) {
        g_string_truncate(text, (gsize)(at - text->str));
        g_string_append(text, "a uint64 value");
    }
    g_string_replace(text, "{negative}", "", 0);
}

/* Fills in {name} and its like; see PropType. */
static void finish_error(GError **err, const PropPlace *at, const char *value)
{
    if (!err || !*err || !strchr((*err)->message, '{')) {
        return;
    }
    GString *text = g_string_new((*err)->message);

    g_string_replace(text, "{int}", at->device ? "integer" : "an int64 value", 0);
    g_string_replace(text, "{uint}", at->device ? "integer" : "a uint64 value", 0);
    finish_negative(text, at->device);
    g_string_replace(text, "{size}", at->cls ? "size" : "a size value", 0);
    if (at->cls) {
        g_autofree char *qom = g_strdup_printf("%s.%s", at->cls, at->name);

        g_string_replace(text, "{qom}", qom, 0);
    } else {
        g_string_replace(text, "{qom}", at->name, 0);
    }
    g_string_replace(text, "{name}", at->name, 0);
    g_string_replace(text, "{value}", value ? value : "", 1);
    g_free((*err)->message);
    (*err)->message = g_string_free(text, FALSE);
}

static bool store_enum(const PropType *type, int *field, const Json *val, GError **err)
{
    if (json_type(val) != JSON_STR) {
        return err_set(err, "Invalid parameter type for '{name}', expected: string");
    }
    int i = prop_enum_find(type, json_get_str(val));

    if (i < 0) {
        return err_set(err, "Parameter '{name}' does not accept value '{value}'");
    }
    *field = i;
    return true;
}

static bool store_feature(const PropSpec *spec, VirtioFeatures *f, const Json *val, GError **err)
{
    uint64_t mask = 1ull << (spec->bit % 64);
    bool on;

    if (json_is_text(val) ? !prop_bool.parse(&on, json_get_str(val), err)
                          : !prop_bool.set(&on, val, err)) {
        return false;
    }
    if (on) {
        f->word[spec->bit / 64] |= mask;
    } else {
        f->word[spec->bit / 64] &= ~mask;
    }
    return true;
}

static bool store(
    const PropSpec *spec, void *base, const PropPlace *at, const Json *val, GError **err)
{
    void *field = (char *)base + spec->offset;
    const PropType *t = spec->type;
    GError *local = NULL;
    bool ok;

    if (t == &prop_feature) {
        ok = store_feature(spec, field, val, &local);
    } else if (t->values) {
        ok = store_enum(t, field, val, &local);
    } else if (t->ref) {
        ok = prop_ref_set(t, field, val, &local);
    } else if (json_is_text(val)) {
        ok = t->parse(field, json_get_str(val), &local);
    } else {
        ok = t->set(field, val, &local);
    }
    if (!ok) {
        finish_error(&local, at, json_type(val) == JSON_STR ? json_get_str(val) : NULL);
        g_propagate_error(err, local);
    }
    return ok;
}

void prop_defaults(const PropSpec *specs, void *target)
{
    for (const PropSpec *s = specs; s && s->name; s++) {
        prop_type_default(s, (char *)target + s->offset);
    }
}

void prop_release(const PropSpec *specs, void *target)
{
    for (const PropSpec *s = specs; s && s->name; s++) {
        if (s->type->release) {
            s->type->release((char *)target + s->offset);
        }
    }
}

static const PropSpec *find_row(const PropSpec *specs, const char *name)
{
    for (const PropSpec *s = specs; s && s->name; s++) {
        if (!strcmp(s->name, name)) {
            return s;
        }
    }
    return NULL;
}

bool prop_apply_struct(const PropSpec *specs, void *target, const Json *args, GError **err)
{
    for (unsigned i = 0; args && i < json_len(args); i++) {
        const char *name = json_key_at(args, i);
        const Json *val = json_val_at(args, i);
        const PropSpec *spec = find_row(specs, name);

        if (!spec) {
            return err_set(err,
                json_is_text(val) ? "Invalid parameter '%s'" : "Parameter '%s' is unexpected",
                name);
        }
        if (!store(spec, target, &(PropPlace){ .name = name }, val, err)) {
            return false;
        }
    }
    for (const PropSpec *s = specs; s && s->name; s++) {
        if (s->flags & PROP_REQUIRED && !(args && json_get(args, s->name))) {
            return err_set(err, "Parameter '%s' is missing", s->name);
        }
    }
    return true;
}

const PropSpec *prop_find(Obj *o, const char *name, Obj **ret_target)
{
    for (const PropGroup *g = o->cls->props; g && g->props; g++) {
        const PropSpec *spec = find_row(g->props, name);

        if (spec) {
            if (ret_target) {
                *ret_target = g->target ? g->target(o) : o;
            }
            return spec;
        }
    }
    return NULL;
}

static void mark_set(Obj *o, const char *name)
{
    if (!o->props_set) {
        o->props_set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    g_hash_table_add(o->props_set, g_strdup(name));
}

bool prop_was_set(const Obj *o, const char *name)
{
    return o->props_set && g_hash_table_contains(o->props_set, name);
}

bool prop_set(Obj *o, const char *name, const Json *val, GError **err)
{
    Obj *target;
    const PropSpec *spec = prop_find(o, name, &target);

    if (!spec) {
        return err_set(err, "Property '%s.%s' not found", o->cls->name, name);
    }
    if (spec->flags & PROP_READONLY) {
        return err_set(err, "Property '%s.%s' is not writable", target->cls->name, name);
    }
    if (target->phase != OBJ_NEW && !(spec->flags & PROP_RUNTIME)) {
        return err_set(err,
            "Attempt to set property '%s' on device '%s' (type '%s') after it was realized", name,
            target->name ? target->name : "", target->cls->name);
    }
    const PropPlace at = { name, target->cls->name, !(target->cls->flags & OBJ_USER_OBJECT) };

    if (!store(spec, target, &at, val, err)) {
        return false;
    }
    mark_set(o, name);
    if (target != o) {
        mark_set(target, name);
    }
    if (target->phase == OBJ_REALIZED && target->cls->prop_changed) {
        target->cls->prop_changed(target, spec);
    }
    return true;
}

bool prop_set_text(Obj *o, const char *name, const char *text, GError **err)
{
    g_autoptr(Json) val = json_text(text);

    return prop_set(o, name, val, err);
}

Json *prop_get_field(const PropSpec *spec, const void *base)
{
    const void *field = (const char *)base + spec->offset;

    if (spec->type == &prop_feature) {
        const VirtioFeatures *f = field;

        return json_bool(f->word[spec->bit / 64] >> (spec->bit % 64) & 1);
    }
    if (spec->type->values) {
        return json_str(spec->type->values[*(const int *)field]);
    }
    if (spec->type->ref) {
        return json_str(prop_ref_get(spec->type, field));
    }
    JsonWriter *w = json_writer_new();

    spec->type->get(field, w, NULL);
    return json_writer_free(w);
}

Json *prop_get(Obj *o, const char *name, GError **err)
{
    Obj *target;
    const PropSpec *spec = prop_find(o, name, &target);

    if (!spec) {
        err_set(err, "Property '%s.%s' not found", o->cls->name, name);
        return NULL;
    }
    return prop_get_field(spec, target);
}
