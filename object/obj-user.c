/* Objects that users make by -object and object-add. Tested by test-obj. */
#include "object/obj.h"
#include "util/keyval.h"

#include <string.h>

static bool set_props(Obj *o, const Json *args, GError **err)
{
    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        const Json *val = json_val_at(args, i);

        if (!strcmp(key, "qom-type") || !strcmp(key, "id")) {
            continue;
        }
        if (!prop_find(o, key, NULL)) {
            return err_set(err,
                json_is_text(val) ? "Invalid parameter '%s'" : "Parameter '%s' is unexpected", key);
        }
        if (!prop_set(o, key, val, err)) {
            return false;
        }
    }
    for (const PropGroup *g = o->cls->props; g && g->props; g++) {
        for (const PropSpec *s = g->props; s->name; s++) {
            if (s->flags & PROP_REQUIRED && !json_get(args, s->name)) {
                return err_set(err, "Parameter '%s' is missing", s->name);
            }
        }
    }
    return true;
}

Obj *obj_create_user(Obj *container, const Json *args, GError **err)
{
    const char *type = json_get_str_or(args, "qom-type", NULL);
    const char *id = json_get_str_or(args, "id", NULL);

    const ObjClass *cls = type ? obj_class_find(type) : NULL;

    if (type && (!cls || !(cls->flags & OBJ_USER_OBJECT) || cls->flags & OBJ_ABSTRACT)) {
        err_set(err, "Parameter 'qom-type' does not accept value '%s'", type);
        return NULL;
    }
    if (!type || !id) {
        err_set(err, "Parameter '%s' is missing", type ? "id" : "qom-type");
        return NULL;
    }
    if (!id_check(id, err)) {
        return NULL;
    }
    if (obj_child(container, id)) {
        err_set(err, "attempt to add duplicate property '%s' to object (type 'container')", id);
        return NULL;
    }
    Obj *o = obj_new(cls);
    bool ok = set_props(o, args, err);

    if (ok) {
        obj_add(container, id, o); /* before realize: it may want to know its name */
        ok = obj_realize(o, err);
        if (!ok) {
            obj_detach(o);
        }
    }
    obj_unref(o);
    return ok ? o : NULL;
}

bool obj_delete_user(Obj *container, const char *id, GError **err)
{
    Obj *o = obj_child(container, id);

    if (!o || !(o->cls->flags & OBJ_USER_OBJECT)) {
        return err_set(err, "object '%s' not found", id);
    }
    if (__atomic_load_n(&o->refs, __ATOMIC_ACQUIRE) > 1) {
        return err_set(err, "object '%s' is in use, can not be deleted", id);
    }
    obj_unrealize(o);
    obj_detach(o);
    return true;
}
