/*
 * A device's life: -device and device_add, places in the tree and on a bus, device_del, and the
 * end. Error texts are QEMU 10.0's. Test: tests/unit/test-dev.c
 */
#include "hw/core/machine.h"
#include "object/qmp.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <string.h>

Dev *dev_from_obj(const Obj *o)
{
    return o && (o->cls->flags & OBJ_DEVICE) ? (Dev *)(uintptr_t)o : NULL;
}

Machine *dev_machine(const Dev *d)
{
    for (const Obj *o = &d->obj; o; o = o->parent) {
        Machine *m = machine_from_obj(o);
        if (m) {
            return m;
        }
    }
    return NULL;
}

char *dev_name(const Dev *d)
{
    return d->id ? g_strdup_printf("%s,id=%s", d->obj.cls->name, d->id)
                 : g_strdup(d->obj.cls->name);
}

static const ObjClass *find_class(const Json *args, GError **err)
{
    const Json *driver = json_get(args, "driver");

    if (!driver || json_type(driver) != JSON_STR) {
        err_set(err, "Parameter 'driver' is missing");
        return NULL;
    }
    const char *name = json_get_str(driver);
    const ObjClass *cls = obj_class_find(name);
    if (!cls || !obj_class_is(cls, "device")) {
        err_set(err, "'%s' is not a valid device model name", name);
        return NULL;
    }
    if (cls->flags & OBJ_ABSTRACT) {
        err_set(err, "Parameter 'driver' expects a non-abstract device type");
        return NULL;
    }
    if (cls->flags & OBJ_NOT_USER) {
        err_set(err, "Parameter 'driver' expects a pluggable device type");
        return NULL;
    }
    return cls;
}

static bool named_bus(
    Machine *m, const ObjClass *cls, const char *driver, const char *name, Bus **ret, GError **err)
{
    Bus *b = bus_find(m, name);

    if (!b && name[0] == '/') {
        g_auto(GStrv) parts = g_strsplit(name + 1, "/", 2);
        return err_set_class(
            err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", parts[0] ? parts[0] : name);
    }
    if (!b) {
        return err_set(err, "Bus '%s' not found", name);
    }
    if (!bus_takes(b, cls->bus)) {
        return err_set(err, "Device '%s' can't go on %s bus", driver, b->cls->type);
    }
    if (bus_is_full(b)) {
        return err_set(err, "Bus '%s' is full", bus_name(b));
    }
    *ret = b;
    return true;
}

/* *ret_bus: NULL for a class that sits on none. */
static bool find_bus(
    Machine *m, const ObjClass *cls, const Json *args, bool hotplug, Bus **ret_bus, GError **err)
{
    const char *driver = cls->name;
    const char *name = json_get_str_or(args, "bus", NULL);
    Bus *b = NULL;
    bool full = false;

    *ret_bus = NULL;
    if (!cls->bus) {
        return true;
    }
    if (name) {
        if (!named_bus(m, cls, driver, name, &b, err)) {
            return false;
        }
    } else {
        b = bus_find_for(m, cls->bus, &full);
    }
    if (!b) {
        return err_set(err, "No '%s' bus found for device '%s'", cls->bus, driver);
    }
    if (hotplug && !b->hotplug) {
        return err_set(err, "Bus '%s' does not support hotplugging", bus_name(b));
    }
    *ret_bus = b;
    return true;
}

static bool set_props(Obj *o, const Json *args, GError **err)
{
    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        bool ours =
            !strcmp(key, "driver") || !strcmp(key, "id") || (!strcmp(key, "bus") && o->cls->bus);
        if (!ours && !prop_set(o, key, json_val_at(args, i), err)) {
            return false;
        }
    }
    return true;
}

void dev_leave_bus(Dev *d)
{
    Bus *b = d->bus;

    if (b && g_ptr_array_remove(b->devs, d)) {
        if (b->cls->unplugged) {
            b->cls->unplugged(b, d);
        }
    }
    d->bus = NULL;
}

/* The device has its place in the tree: puts it on the bus and realizes it. On failure it is off
 * the bus again. */
static bool plug_and_realize(Dev *d, Bus *bus, GError **err)
{
    d->bus = bus;
    if (bus && bus->cls->plug && !bus->cls->plug(bus, d, err)) {
        d->bus = NULL;
        return false;
    }
    if (bus) {
        g_ptr_array_add(bus->devs, d);
    }
    bus_attach_all(d);
    if (!obj_realize(&d->obj, err)) {
        dev_leave_bus(d);
        return false;
    }
    bus_attach_all(d);
    return true;
}

Dev *dev_create(Machine *m, const Json *args, bool hotplug, GError **err)
{
    const ObjClass *cls = find_class(args, err);
    const char *id = json_get_str_or(args, "id", NULL);
    Bus *bus = NULL;

    if (!cls || !find_bus(m, cls, args, hotplug, &bus, err)) {
        return NULL;
    }
    if (hotplug && (cls->flags & OBJ_NO_HOTPLUG)) {
        err_set(err, "Device '%s' does not support hotplugging", cls->name);
        return NULL;
    }
    if (id && obj_child(m->peripheral, id)) {
        err_set(err, "Duplicate device ID '%s'", id);
        return NULL;
    }
    Dev *d = (Dev *)obj_new(cls);
    d->hotplugged = hotplug;
    d->id = g_strdup(id);
    if (!machine_apply_defaults(m, &d->obj, err) || !set_props(&d->obj, args, err)) {
        g_clear_pointer(&d->id, g_free);
        obj_unref(&d->obj);
        return NULL;
    }
    if (id) {
        obj_add(m->peripheral, id, &d->obj);
    } else {
        obj_add_array(m->peripheral_anon, "device", &d->obj);
    }
    bool ok = plug_and_realize(d, bus, err);
    if (!ok) {
        g_clear_pointer(&d->id, g_free);
        obj_detach(&d->obj);
    }
    obj_unref(&d->obj); /* the tree has its own */
    return ok ? d : NULL;
}

bool dev_realize_on(Machine *m, Dev *d, Bus *bus, const char *id, GError **err)
{
    bool placed = d->obj.parent == NULL;

    if (placed) {
        machine_apply_compat(m, &d->obj);
        if (id) {
            obj_add(&m->obj, id, &d->obj);
        } else {
            obj_add_array(m->unattached, "device", &d->obj);
        }
        obj_unref(&d->obj);
    }
    if (plug_and_realize(d, bus, err)) {
        return true;
    }
    if (placed) {
        obj_detach(&d->obj);
    }
    return false;
}

Dev *dev_find(Machine *m, const char *id_or_path, GError **err)
{
    bool ambiguous = false;
    Obj *o = id_or_path[0] == '/' ? obj_resolve(m->root, id_or_path, &ambiguous)
                                  : obj_child(m->peripheral, id_or_path);

    if (!o) {
        err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", id_or_path);
        return NULL;
    }
    if (!dev_from_obj(o)) {
        err_set(err, "%s is not a device", id_or_path);
        return NULL;
    }
    return dev_from_obj(o);
}

bool dev_del(Machine *m, const char *id_or_path, GError **err)
{
    Dev *d = dev_find(m, id_or_path, err);

    if (!d) {
        return false;
    }
    if (d->unplug_pending) {
        return err_set(err, "Device %s is already in the process of unplug", id_or_path);
    }
    if (!d->bus || !d->bus->hotplug || !d->bus->cls->unplug_request) {
        return err_set(err, "Bus '%s' does not support hotplugging",
            d->bus ? bus_name(d->bus) : "main-system-bus");
    }
    if (d->obj.cls->flags & OBJ_NO_HOTPLUG) {
        return err_set(err, "Device '%s' does not support hotplugging", d->obj.cls->name);
    }
    obj_ref(&d->obj); /* the bus may finish the removal inside the request */
    d->unplug_pending = true;
    bool ok = d->bus->cls->unplug_request(d->bus, d, err);
    if (!ok) {
        d->unplug_pending = false;
    }
    obj_unref(&d->obj);
    return ok;
}

/* A device that goes, with what its event will say. */
typedef struct Leaver {
    Dev *d;
    Json *event;
} Leaver;

/* Devices inside o (a transport's back end), innermost first, o last. */
static void collect_leavers(Obj *o, GArray *out)
{
    Dev *d = dev_from_obj(o);

    for (unsigned i = 0; o->children && i < o->children->len; i++) {
        collect_leavers(o->children->pdata[i], out);
    }
    if (d) {
        g_autofree char *path = obj_path(o);
        Leaver l = { d, json_object() };
        if (d->id) {
            json_set(l.event, "device", json_str(d->id));
        }
        json_set(l.event, "path", json_str(path));
        obj_ref(o);
        g_array_append_val(out, l);
    }
}

static void last_unref(void *opaque)
{
    Dev *d = opaque;

    g_clear_pointer(&d->id, g_free);
    obj_unref(&d->obj);
}

/* RCU's own thread: the end of an object belongs to the main loop. */
static void unref_on_main(void *opaque)
{
    loop_post(loop_main(), last_unref, opaque);
}

static void tell_deleted(void *opaque)
{
    qmp_event("DEVICE_DELETED", opaque);
}

void dev_unplug_done(Machine *m, Dev *d)
{
    g_autoptr(GArray) leavers = g_array_new(FALSE, FALSE, sizeof(Leaver));

    /* What sits on its buses goes with it: a host adapter's disks, a bridge's functions. */
    for (unsigned i = 0; d->buses && i < d->buses->len; i++) {
        const Bus *b = d->buses->pdata[i];
        while (b->devs->len) {
            dev_unplug_done(m, b->devs->pdata[b->devs->len - 1]);
        }
    }
    d->unplug_pending = false;
    collect_leavers(&d->obj, leavers);
    obj_unrealize(&d->obj);
    for (unsigned i = 0; i < leavers->len; i++) {
        const Leaver *l = &g_array_index(leavers, Leaver, i);
        dev_leave_bus(l->d);
        bus_forget_all(l->d);
        /* QEMU compat: behind the reply of the device_del that finishes at once. */
        loop_post(loop_main(), tell_deleted, l->event);
        if (l->d != d) {
            obj_unref(&l->d->obj);
        }
    }
    obj_detach(&d->obj);
    /* A vCPU may be looking at one of its lockless regions: the memory goes when nobody can. This
     * is d's leaver reference. */
    rcu_defer(unref_on_main, d);
}
