/* QMP commands about objects, their types and properties; devices and user objects come and go
 * here. */
#include "monitor-internal.h"
#include "util/keyval.h"

#include <string.h>

/* Argument rows that are texts. */
#define STR_ARG(n, T, f, fl)                                                                       \
    {                                                                                              \
        .name = (n), .type = &prop_str, .offset = PROP_AT(T, f, char *), .bit = -1,                \
        .flags = PROP_NO_DEFAULT | (fl)                                                            \
    }

typedef struct TypesArgs {
    char *implements;
    bool abstract_;
} TypesArgs;

static const PropSpec types_args[] = {
    STR_ARG("implements", TypesArgs, implements, 0),
    PROP_BOOL("abstract", TypesArgs, abstract_, false, NULL),
    PROP_END,
};

static void add_type(Json *list, const char *name, const char *parent)
{
    Json *t = json_object();

    json_set(t, "name", json_str(name));
    if (parent) {
        json_set(t, "parent", json_str(parent));
    }
    json_append(list, t);
}

static void add_classes(Json *list, const TypesArgs *args)
{
    for (const ObjClass *const *c = obj_classes; *c; c++) {
        bool wanted = !args->implements || obj_class_is(*c, args->implements);

        if (wanted && (args->abstract_ || !((*c)->flags & OBJ_ABSTRACT))) {
            add_type(list, (*c)->name, (*c)->parent);
        }
    }
}

/* Accelerators and machines are no ObjClasses of the list but have types all the same. */
static void add_others(Json *list, const TypesArgs *args)
{
    const char *only = args->implements;

    for (const AccelClass *const *c = accel_classes; *c; c++) {
        g_autofree char *name = g_strdup_printf("%s-accel", (*c)->name);

        if (!only || !strcmp(only, "accel") || !strcmp(only, name)) {
            add_type(list, name, "accel");
        }
    }
    for (const MachineClass *const *c = machine_classes; *c; c++) {
        g_autofree char *name = g_strdup_printf("%s-machine", (*c)->name);

        if (!only || !strcmp(only, "machine") || !strcmp(only, name)) {
            add_type(list, name, "machine");
        }
    }
}

typedef struct TypeList {
    Json *list;
    const TypesArgs *args;
} TypeList;

static void add_named(const char *name, const char *parent, bool abstract, void *opaque)
{
    const TypeList *t = opaque;
    const char *only = t->args->implements;

    if ((!abstract || t->args->abstract_) &&
        (!only || !strcmp(only, name) || !strcmp(only, parent) || !strcmp(only, "object") ||
            !strcmp(only, "device") || !strcmp(only, "cpu"))) {
        add_type(t->list, name, parent);
    }
}

static Json *list_types(void *machine, const void *args, GError **err)
{
    Json *list = json_array();

    add_classes(list, args);
    add_others(list, args);
    TypeList t = { list, args };

    for (const QomTypes *const *q = qom_types; *q; q++) {
        (*q)->each(add_named, &t);
    }
    return list;
}

typedef struct PathArgs {
    char *path, *property;
    Json *value;
} PathArgs;

static const PropSpec path_args[] = {
    STR_ARG("path", PathArgs, path, PROP_REQUIRED),
    PROP_END,
};
static const PropSpec get_args[] = {
    STR_ARG("path", PathArgs, path, PROP_REQUIRED),
    STR_ARG("property", PathArgs, property, PROP_REQUIRED),
    PROP_END,
};
static const PropSpec set_args[] = {
    STR_ARG("path", PathArgs, path, PROP_REQUIRED),
    STR_ARG("property", PathArgs, property, PROP_REQUIRED),
    { .name = "value",
        .type = &prop_json,
        .offset = offsetof(PathArgs, value),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT },
    PROP_END,
};

static Obj *resolve(Machine *m, const char *path, GError **err)
{
    bool ambiguous;
    Obj *o = obj_resolve(m->root, path, &ambiguous);

    if (ambiguous) {
        err_set(err, "Path '%s' is ambiguous", path);
    } else if (!o) {
        err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", path);
    }
    return o;
}

static void add_prop(Json *list, const char *name, const char *type)
{
    Json *p = json_object();

    json_set(p, "name", json_str(name));
    json_set(p, "type", json_str(type));
    json_append(list, p);
}

static bool add_row(const PropSpec *row, void *opaque)
{
    add_prop(opaque, row->name, prop_type_name(row));
    return true;
}

/* What every device shows besides its table. */
static const char *const dev_props[][2] = { { "parent_bus", "link<bus>" }, { "realized", "bool" },
    { "hotplugged", "bool" }, { "hotpluggable", "bool" } };

static void add_dev_props(Json *list)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(dev_props); i++) {
        add_prop(list, dev_props[i][0], dev_props[i][1]);
    }
}

static Json *qom_list(void *machine, const void *opaque, GError **err)
{
    const PathArgs *args = opaque;
    const Obj *o = resolve(machine, args->path, err);

    if (!o) {
        return NULL;
    }
    Json *list = json_array();

    add_prop(list, "type", "string");
    if (dev_from_obj(o)) {
        add_dev_props(list);
    }
    prop_walk_class(o->cls, add_row, list);
    for (unsigned i = 0; o->children && i < o->children->len; i++) {
        const Obj *child = o->children->pdata[i];
        g_autofree char *type = g_strdup_printf("child<%s>", child->cls->name);

        add_prop(list, child->name, type);
    }
    return list;
}

/* "realized", "hotplugged" … and children; NULL without an error: no such name here. */
static Json *get_builtin(const Obj *o, const char *name)
{
    const Dev *d = dev_from_obj(o);
    const Obj *child = obj_child(o, name);

    if (!strcmp(name, "type")) {
        return json_str(o->cls->name);
    }
    if (child) {
        g_autofree char *path = obj_path(child);

        return json_str(path);
    }
    if (!d) {
        return NULL;
    }
    if (!strcmp(name, "realized")) {
        return json_bool(o->phase == OBJ_REALIZED || o->phase == OBJ_LEAVING);
    }
    if (!strcmp(name, "hotplugged")) {
        return json_bool(d->hotplugged);
    }
    if (!strcmp(name, "hotpluggable")) {
        return json_bool(!(o->cls->flags & OBJ_NO_HOTPLUG));
    }
    if (!strcmp(name, "parent_bus")) {
        g_autofree char *path = d->bus ? obj_path(&d->bus->obj) : g_strdup("");

        return json_str(path);
    }
    return NULL;
}

static Json *qom_get(void *machine, const void *opaque, GError **err)
{
    const PathArgs *args = opaque;
    Obj *o = resolve(machine, args->path, err);

    if (!o) {
        return NULL;
    }
    Json *val = get_builtin(o, args->property);

    return val ? val : prop_get(o, args->property, err);
}

static Json *qom_set(void *machine, const void *opaque, GError **err)
{
    const PathArgs *args = opaque;
    Obj *o = resolve(machine, args->path, err);

    if (!o || !prop_set(o, args->property, args->value, err)) {
        return NULL;
    }
    return json_object();
}

typedef struct TypeArgs {
    char *type;
} TypeArgs;

static const PropSpec type_args[] = {
    STR_ARG("typename", TypeArgs, type, PROP_REQUIRED),
    PROP_END,
};

static Json *named_type_properties(const char *type)
{
    for (const QomTypes *const *q = qom_types; *q; q++) {
        Json *list = (*q)->properties(type);

        if (list) {
            return list;
        }
    }
    return NULL;
}

static Json *device_list_properties(void *machine, const void *opaque, GError **err)
{
    const TypeArgs *args = opaque;
    const ObjClass *cls = obj_class_find(args->type);
    Json *named = cls ? NULL : named_type_properties(args->type);

    if (named) {
        return named;
    }
    if (!cls && strcmp(args->type, "container") != 0) {
        err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", args->type);
        return NULL;
    }
    if (!cls || !(cls->flags & OBJ_DEVICE) || cls->flags & OBJ_ABSTRACT) {
        err_set(err, "Parameter 'typename' expects a non-abstract device type");
        return NULL;
    }
    return prop_class_list(cls, /* all= */ false);
}

static Json *machine_type_properties(const char *type)
{
    for (const MachineClass *const *c = machine_classes; *c; c++) {
        g_autofree char *name = g_strdup_printf("%s-machine", (*c)->name);

        if (!strcmp(name, type)) {
            Json *list = json_array();

            add_prop(list, "type", "string");
            for (const PropSpec *s = (*c)->props; s && s->name; s++) {
                add_prop(list, s->name, prop_type_name(s));
            }
            for (const PropSpec *s = machine_props; s->name; s++) {
                add_prop(list, s->name, prop_type_name(s));
            }
            return list;
        }
    }
    return NULL;
}

static Json *qom_list_properties(void *machine, const void *opaque, GError **err)
{
    const TypeArgs *args = opaque;
    const ObjClass *cls = obj_class_find(args->type);
    g_autoptr(Json) named = cls ? NULL : named_type_properties(args->type);
    Json *list = cls || named ? json_array() : machine_type_properties(args->type);

    if (!list) {
        err_set_class(err, ERR_DEVICE_NOT_FOUND, "Class '%s' not found", args->type);
        return NULL;
    }
    if (cls) {
        add_prop(list, "type", "string");
        if (cls->flags & OBJ_DEVICE) {
            add_dev_props(list);
        }
        prop_walk_class(cls, add_row, list);
    } else if (named) {
        add_prop(list, "type", "string");
        add_dev_props(list);
        for (unsigned i = 0; i < json_len(named); i++) {
            json_append(list, json_ref(json_at(named, i)));
        }
    }
    return list;
}

static Json *device_add(void *machine, const Json *args, GError **err)
{
    Machine *m = machine;
    const char *id = json_get_str_or(args, "id", NULL);

    if (id && !id_check(id, err)) {
        return NULL;
    }
    return dev_create(m, args, /* hotplug= */ true, err) ? json_object() : NULL;
}

typedef struct IdArgs {
    char *id;
} IdArgs;

static const PropSpec id_args[] = {
    STR_ARG("id", IdArgs, id, PROP_REQUIRED),
    PROP_END,
};

static Json *device_del(void *machine, const void *opaque, GError **err)
{
    const IdArgs *args = opaque;

    return dev_del(machine, args->id, err) ? json_object() : NULL;
}

static Json *object_add(void *machine, const Json *args, GError **err)
{
    return obj_create_user(((Machine *)machine)->objects, args, err) ? json_object() : NULL;
}

static Json *object_del(void *machine, const void *opaque, GError **err)
{
    const IdArgs *args = opaque;

    return obj_delete_user(((Machine *)machine)->objects, args->id, err) ? json_object() : NULL;
}

#define ROW(n, spec, T, fn)                                                                        \
    {                                                                                              \
        .name = (n), .args_spec = (spec), .args_size = sizeof(T), .run = (fn)                      \
    }

const QmpCmd monitor_qom_cmds[] = {
    ROW("qom-list-types", types_args, TypesArgs, list_types),
    ROW("qom-list", path_args, PathArgs, qom_list),
    ROW("qom-get", get_args, PathArgs, qom_get),
    ROW("qom-set", set_args, PathArgs, qom_set),
    ROW("device-list-properties", type_args, TypeArgs, device_list_properties),
    ROW("qom-list-properties", type_args, TypeArgs, qom_list_properties),
    { .name = "device_add", .run_raw = device_add },
    ROW("device_del", id_args, IdArgs, device_del),
    { .name = "object-add", .run_raw = object_add },
    ROW("object-del", id_args, IdArgs, object_del),
    { .name = NULL },
};
