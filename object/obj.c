/* The composition tree: references, phases, names and paths; and the classes' names. Tested by
 * test-obj. */
#include "object/obj.h"

#include <string.h>

const ObjClass obj_container_class = {
    .name = "container",
    .parent = "object",
    .size = sizeof(Obj),
    .flags = OBJ_NOT_USER,
};

/* Parents that exist as names only. */
static const struct {
    const char *name, *parent;
} base_types[] = {
    { "device", "object" },
    { "bus", "object" },
    { "container", "object" },
};

static void obj_prepare(Obj *o, const ObjClass *cls)
{
    o->cls = cls;
    o->refs = 1;
    for (const PropGroup *g = cls->props; g && g->props; g++) {
        if (!g->target) {
            prop_defaults(g->props, o);
        }
    }
    if (cls->init) {
        cls->init(o);
    }
}

Obj *obj_new(const ObjClass *cls)
{
    Obj *o = g_malloc0(cls->size);

    g_assert(!(cls->flags & OBJ_ABSTRACT));
    g_assert(cls->size >= sizeof(Obj));
    obj_prepare(o, cls);
    return o;
}

void obj_init_static(Obj *o, const ObjClass *cls)
{
    memset(o, 0, cls->size);
    o->is_static = true;
    obj_prepare(o, cls);
}

Obj *obj_ref(Obj *o)
{
    __atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
    return o;
}

static void obj_destroy(Obj *o)
{
    g_assert(!o->parent);
    if (o->phase == OBJ_REALIZED || o->phase == OBJ_LEAVING) {
        obj_unrealize(o);
    }
    while (o->children && o->children->len) {
        Obj *child = g_ptr_array_index(o->children, o->children->len - 1);

        obj_detach(child);
    }
    g_clear_pointer(&o->children, g_ptr_array_unref);
    o->phase = OBJ_DEAD;
    if (o->cls->fini) {
        o->cls->fini(o);
    }
    for (const PropGroup *g = o->cls->props; g && g->props; g++) {
        if (!g->target) {
            prop_release(g->props, o);
        }
    }
    g_clear_pointer(&o->props_set, g_hash_table_unref);
    g_clear_pointer(&o->name, g_free);
    if (!o->is_static) {
        g_free(o);
    }
}

void obj_unref(Obj *o)
{
    if (o && __atomic_fetch_sub(&o->refs, 1, __ATOMIC_ACQ_REL) == 1) {
        obj_destroy(o);
    }
}

void obj_add(Obj *parent, const char *name, Obj *child)
{
    g_assert(!child->parent && !obj_child(parent, name));
    if (!parent->children) {
        parent->children = g_ptr_array_new();
    }
    g_free(child->name);
    child->name = g_strdup(name);
    child->parent = parent;
    g_ptr_array_add(parent->children, child);
    if (!child->is_static) {
        obj_ref(child);
    }
}

void obj_add_array(Obj *parent, const char *base, Obj *child)
{
    for (unsigned n = 0;; n++) {
        g_autofree char *name = g_strdup_printf("%s[%u]", base, n);

        if (!obj_child(parent, name)) {
            obj_add(parent, name, child);
            return;
        }
    }
}

void obj_detach(Obj *child)
{
    Obj *parent = child->parent;

    if (parent) {
        child->parent = NULL;
        g_ptr_array_remove(parent->children, child);
        obj_unref(child); /* a static child's only reference is the tree's */
    }
}

Obj *obj_child(const Obj *parent, const char *name)
{
    for (unsigned i = 0; parent->children && i < parent->children->len; i++) {
        Obj *child = g_ptr_array_index(parent->children, i);

        if (!strcmp(child->name, name)) {
            return child;
        }
    }
    return NULL;
}

Obj *obj_container(Obj *parent, const char *name)
{
    Obj *o = obj_child(parent, name);

    if (!o) {
        o = obj_new(&obj_container_class);
        obj_add(parent, name, o);
        obj_unref(o); /* the tree's reference stays */
    }
    return o;
}

char *obj_path(const Obj *o)
{
    g_autoptr(GString) path = g_string_new(NULL);

    for (; o->parent; o = o->parent) {
        g_string_prepend(path, o->name);
        g_string_prepend_c(path, '/');
    }
    return g_strdup(path->len ? path->str : "/");
}

static Obj *resolve_from(Obj *o, char *const *parts)
{
    for (; o && *parts; parts++) {
        if (**parts) {
            o = obj_child(o, *parts);
        }
    }
    return o;
}

typedef struct Partial {
    char *const *parts;
    Obj *found;
    bool ambiguous;
} Partial;

static bool resolve_partial(Obj *o, void *opaque)
{
    Partial *p = opaque;
    Obj *hit = resolve_from(o, p->parts);

    if (hit && hit != p->found) {
        p->ambiguous = p->found != NULL;
        p->found = hit;
    }
    return !p->ambiguous;
}

Obj *obj_resolve(Obj *root, const char *path, bool *ret_ambiguous)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);

    if (ret_ambiguous) {
        *ret_ambiguous = false;
    }
    if (*path == '/') {
        return resolve_from(root, parts);
    }
    if (!*path) {
        return NULL;
    }
    Partial p = { .parts = parts };

    obj_walk(root, resolve_partial, &p);
    if (ret_ambiguous) {
        *ret_ambiguous = p.ambiguous;
    }
    return p.ambiguous ? NULL : p.found;
}

bool obj_realize(Obj *o, GError **err)
{
    g_assert(o->phase == OBJ_NEW);
    if (o->cls->realize && !o->cls->realize(o, err)) {
        return false;
    }
    o->phase = OBJ_REALIZED;
    return true;
}

void obj_unrealize(Obj *o)
{
    if (o->phase != OBJ_REALIZED && o->phase != OBJ_LEAVING) {
        return;
    }
    o->phase = OBJ_LEAVING;
    for (unsigned i = o->children ? o->children->len : 0; i-- > 0;) {
        if (i < o->children->len) { /* a child may take others with it */
            obj_unrealize(g_ptr_array_index(o->children, i));
        }
    }
    if (o->cls->unrealize) {
        o->cls->unrealize(o);
    }
    o->phase = OBJ_DEAD;
}

bool obj_is(const Obj *o, const char *type)
{
    return obj_class_is(o->cls, type);
}

bool obj_walk(Obj *o, bool (*fn)(Obj *o, void *opaque), void *opaque)
{
    if (!fn(o, opaque)) {
        return false;
    }
    for (unsigned i = 0; o->children && i < o->children->len; i++) {
        if (!obj_walk(g_ptr_array_index(o->children, i), fn, opaque)) {
            return false;
        }
    }
    return true;
}

static const ObjClass *class_by_name(const char *name)
{
    for (const ObjClass *const *c = obj_classes; *c; c++) {
        if (!strcmp((*c)->name, name)) {
            return *c;
        }
    }
    return NULL;
}

const ObjClass *obj_class_find(const char *name)
{
    const ObjClass *cls = class_by_name(name);

    for (const ObjAlias *a = obj_aliases; !cls && a->alias; a++) {
        if (!strcmp(a->alias, name)) {
            cls = class_by_name(a->name);
        }
    }
    return cls;
}

static const char *type_parent(const char *name)
{
    const ObjClass *cls = class_by_name(name);

    if (cls) {
        return cls->parent;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(base_types); i++) {
        if (!strcmp(base_types[i].name, name)) {
            return base_types[i].parent;
        }
    }
    return NULL;
}

bool obj_class_is(const ObjClass *cls, const char *type)
{
    if (!strcmp(type, "object") || !strcmp(cls->name, type)) {
        return true;
    }
    if (!strcmp(type, "device") && cls->flags & OBJ_DEVICE) {
        return true;
    }
    if (!strcmp(type, "user-creatable") && cls->flags & OBJ_USER_OBJECT) {
        return true;
    }
    for (const char *name = cls->parent; name; name = type_parent(name)) {
        if (!strcmp(name, type)) {
            return true;
        }
    }
    return false;
}
