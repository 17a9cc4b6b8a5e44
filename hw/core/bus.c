/* Buses: names, places in the tree, and finding the one where a -device goes. Test:
 * tests/unit/test-dev.c */
#include "hw/core/machine.h"

#include <string.h>

static const char bus_tag[] = "bus"; /* ObjClass.ops2 of every bus */

Bus *bus_from_obj(const Obj *o)
{
    return o && o->cls->ops2 == bus_tag ? (Bus *)(uintptr_t)o : NULL;
}

/* QEMU compat: "<parent's id>.<n>", else "<type in lower case>.<n>" counting the buses of that type
 * without a name of their own. */
static char *auto_name(const Bus *b, const Machine *m)
{
    unsigned n = 0;

    if (b->parent && b->parent->id) {
        while (b->parent->buses->pdata[n] != b) {
            n++;
        }
        return g_strdup_printf("%s.%u", b->parent->id, n);
    }
    for (unsigned i = 0; i < m->buses->len; i++) {
        const Bus *other = m->buses->pdata[i];
        n += other->cls == b->cls && !other->given_name && !(other->parent && other->parent->id);
    }
    g_autofree char *type = g_ascii_strdown(b->cls->type, -1);
    return g_strdup_printf("%s.%u", type, n);
}

static Machine *machine_above(const Obj *o)
{
    while (o && !machine_from_obj(o)) {
        o = o->parent;
    }
    return o ? machine_from_obj(o) : NULL;
}

static void bus_attach(Bus *b)
{
    Machine *m = machine_above(b->tree_parent);

    if (!m || b->obj.parent) {
        return;
    }
    g_autofree char *name = b->given_name ? g_strdup(b->given_name) : auto_name(b, m);
    obj_add(b->tree_parent, name, &b->obj);
    g_ptr_array_add(m->buses, b);
    b->machine = m;
}

static void bus_forget(Bus *b)
{
    if (b->machine) {
        g_ptr_array_remove(b->machine->buses, b);
        b->machine = NULL;
    }
}

void bus_forget_all(Dev *d)
{
    for (unsigned i = 0; d->buses && i < d->buses->len; i++) {
        bus_forget(d->buses->pdata[i]);
    }
}

void bus_attach_all(Dev *d)
{
    for (unsigned i = 0; d->buses && i < d->buses->len; i++) {
        bus_attach(d->buses->pdata[i]);
    }
}

void bus_init(Bus *b, const BusClass *cls, Dev *parent, Obj *tree_parent, const char *name)
{
    b->oc = (ObjClass){ .name = cls->type,
        .parent = "bus",
        .size = sizeof(Obj),
        .flags = OBJ_NOT_USER,
        .ops2 = bus_tag };
    obj_init_static(&b->obj, &b->oc);
    b->machine = NULL;
    b->hotplug = false;
    b->cls = cls;
    b->parent = parent;
    b->devs = g_ptr_array_new();
    b->tree_parent = tree_parent;
    b->given_name = g_strdup(name);
    if (parent) {
        if (!parent->buses) {
            parent->buses = g_ptr_array_new();
        }
        g_ptr_array_add(parent->buses, b);
    }
    /* A bus made before its device has a place is attached by dev.c, which then knows the id it is
     * named after. */
    bus_attach(b);
}

void bus_fini(Bus *b)
{
    g_assert(!b->devs->len);
    bus_forget(b);
    if (b->parent) {
        g_ptr_array_remove(b->parent->buses, b);
        if (!b->parent->buses->len) {
            g_ptr_array_free(g_steal_pointer(&b->parent->buses), TRUE);
        }
    }
    if (b->obj.parent) {
        obj_detach(&b->obj);
    } else if (b->obj.phase != OBJ_DEAD) { /* never had a place */
        obj_unref(&b->obj);
    }
    g_ptr_array_free(g_steal_pointer(&b->devs), TRUE);
    g_clear_pointer(&b->given_name, g_free);
}

const char *bus_name(const Bus *b)
{
    return b->obj.name;
}

bool bus_takes(const Bus *b, const char *type)
{
    if (!strcmp(b->cls->type, type)) {
        return true;
    }
    if (!b->cls->fits) {
        return false;
    }
    g_auto(GStrv) names = g_strsplit(b->cls->fits, ",", -1);
    return g_strv_contains((const char *const *)names, type);
}

bool bus_is_full(const Bus *b)
{
    return b->cls->max_devs && b->devs->len >= b->cls->max_devs;
}

Bus *bus_find(Machine *m, const char *name_or_path)
{
    if (name_or_path[0] == '/') {
        bool ambiguous = false;
        return bus_from_obj(obj_resolve(m->root, name_or_path, &ambiguous));
    }
    for (unsigned i = 0; i < m->buses->len; i++) {
        Bus *b = m->buses->pdata[i];
        if (!strcmp(bus_name(b), name_or_path)) {
            return b;
        }
    }
    return NULL;
}

Bus *bus_find_for(Machine *m, const char *type, bool *ret_full)
{
    *ret_full = false;
    for (unsigned i = 0; i < m->buses->len; i++) {
        Bus *b = m->buses->pdata[i];
        if (!bus_takes(b, type)) {
            continue;
        }
        if (!bus_is_full(b)) {
            *ret_full = false;
            return b;
        }
        *ret_full = true;
    }
    return NULL;
}
