/*
 * The machine: its tree, memory, options, version differences and reset. Test:
 * tests/unit/test-dev.c
 */
#include "hw/core/machine.h"

#include "config-host.h"
#include "object/qmp.h"
#include "util/log.h"

#include <string.h>
#include <unistd.h>

static const char machine_tag[] = "machine"; /* ObjClass.ops2 of the machine */

/* Where firmware lies besides -L: QEMU's own folder first, then those of Debian's firmware
 * packages. */
static const char *const data_dirs[] = {
    VIRTUE_DATADIR "/qemu",
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/usr/lib/ipxe/qemu",
};

typedef struct ResetHook {
    LoopFn *fn;
    void *opaque;
} ResetHook;

/* clang-format off */
const PropSpec machine_props[] = {
    PROP_STR("accel", Machine, accel_text, "accelerators to try, separated by colons"),
    PROP_BOOL("acpi", Machine, acpi, true, "ACPI tables"),
    PROP_STR("append", Machine, append, "kernel command line"),
    PROP_STR("dtb", Machine, dtb, "device tree file"),
    PROP_BOOL("dump-guest-core", Machine, dump_guest_core, true, "guest memory in core dumps"),
    PROP_STR("firmware", Machine, firmware, "firmware image"),
    PROP_BOOL("graphics", Machine, graphics, true, "graphics output"),
    PROP_STR("initrd", Machine, initrd, "initial ramdisk file"),
    PROP_STR("kernel", Machine, kernel, "kernel image file"),
    PROP_BOOL("mem-merge", Machine, mem_merge, true, "let the host merge equal pages"),
    PROP_STR("memory-backend", Machine, memory_backend, "id of the memory back end that is RAM"),
    PROP_STR("memory-encryption", Machine, memory_encryption, "id of a memory encryption object"),
    PROP_BOOL("usb", Machine, usb, false, "USB controller of the chipset"),
    PROP_END,
};
/* clang-format on */

Machine *machine_from_obj(const Obj *o)
{
    return o && o->cls->ops2 == machine_tag ? (Machine *)(uintptr_t)o : NULL;
}

static void machine_fini(Obj *o);

static ObjClass *class_of(const MachineClass *mc)
{
    ObjClass *oc = g_new0(ObjClass, 1);
    PropGroup *groups = g_new0(PropGroup, 3);
    unsigned n = 0;

    if (mc->props) {
        groups[n++].props =
            mc->props; /* first: a board's own row goes before a common one of that name */
    }
    groups[n++].props = machine_props;
    oc->name = g_strdup_printf("%s-machine", mc->name);
    oc->parent = "machine";
    oc->size = MAX(mc->size, sizeof(Machine));
    oc->flags = OBJ_NOT_USER;
    oc->props = groups;
    oc->fini = machine_fini;
    oc->ops2 = machine_tag;
    return oc;
}

static void init_arrays(Machine *m)
{
    m->cpus = g_ptr_array_new();
    m->buses = g_ptr_array_new();
    m->globals = g_ptr_array_new();
    m->fw_cfg_entries = g_ptr_array_new();
    m->smbios_entries = g_ptr_array_new();
    m->data_dirs = g_ptr_array_new_with_free_func(g_free);
    m->serials = g_ptr_array_new();
    m->reset_hooks = g_ptr_array_new_with_free_func(g_free);
}

Machine *machine_new(const MachineClass *mc)
{
    ObjClass *oc = class_of(mc);
    Machine *m = (Machine *)obj_new(oc);
    Obj *root = obj_new(&obj_container_class);

    m->mc = mc;
    m->oc = oc;
    m->root = root;
    init_arrays(m);
    obj_add(root, "machine", &m->obj);
    obj_unref(&m->obj); /* the tree's reference stays */
    m->peripheral = obj_container(&m->obj, "peripheral");
    m->peripheral_anon = obj_container(&m->obj, "peripheral-anon");
    m->unattached = obj_container(&m->obj, "unattached");
    m->objects = obj_container(root, "objects");
    region_init_container(&m->mem_root, NULL, "system", UINT64_MAX);
    region_init_container(&m->io_root, NULL, "io", 0x10000);
    m->mem = addrspace_new("memory", &m->mem_root);
    m->io = addrspace_new("I/O", &m->io_root);
    addrspace_set_hole_value(m->io, UINT64_MAX); /* nobody drives the bus: it floats high */
    m->ram_size = mc->default_ram;
    unsigned cpus = mc->default_cpus ? mc->default_cpus : 1;
    m->smp = (SmpSpec){ cpus, cpus, cpus, 1, 1, 1, 1 };
    return m;
}

const MachineClass *machine_class_find(const char *name)
{
    for (const MachineClass *const *c = machine_classes; *c; c++) {
        if (!strcmp((*c)->name, name) || ((*c)->alias && !strcmp((*c)->alias, name))) {
            return *c;
        }
    }
    return NULL;
}

bool machine_set_options(Machine *m, const Json *args, GError **err)
{
    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i);
        if (strcmp(key, "type") && !prop_set(&m->obj, key, json_val_at(args, i), err)) {
            return false;
        }
    }
    return true;
}

/* One object's compat rows: the lists go from the newest version back, and the older machine has
 * the last word. */
static bool apply_compat_one(const Machine *m, Obj *o, GError **err)
{
    for (const CompatProp *const *list = m->mc->compat; list && *list; list++) {
        for (const CompatProp *c = *list; c->cls; c++) {
            if (obj_is(o, c->cls) && !prop_set_text(o, c->prop, c->value, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool global_fits(const DeviceGlobal *g, const Obj *o)
{
    const ObjClass *cls = obj_class_find(g->driver);

    return obj_is(o, cls ? cls->name : g->driver);
}

static bool apply_globals_one(const Machine *m, Obj *o, GError **err)
{
    for (unsigned i = 0; i < m->globals->len; i++) {
        DeviceGlobal *g = m->globals->pdata[i];
        g_autoptr(GError) why = NULL;

        if (!global_fits(g, o)) {
            continue;
        }
        g->used = true;
        if (prop_set_text(o, g->prop, g->value, &why)) {
            continue;
        }
        const Dev *d = dev_from_obj(o);
        g_autofree char *text = g_strdup_printf(
            "can't apply global %s.%s=%s: %s", g->driver, g->prop, g->value, why->message);
        if (d && d->hotplugged) { /* QEMU compat: too late to stop for it */
            report_warning("%s", text);
            continue;
        }
        return err_set(err, "%s", text);
    }
    return true;
}

/* Inner objects first: what is said of a proxy wins over what is said of the device inside. */
bool machine_apply_defaults(Machine *m, Obj *o, GError **err)
{
    for (unsigned i = 0; o->children && i < o->children->len; i++) {
        if (!machine_apply_defaults(m, o->children->pdata[i], err)) {
            return false;
        }
    }
    return apply_compat_one(m, o, err) && apply_globals_one(m, o, err);
}

void machine_apply_compat(Machine *m, Obj *o)
{
    g_autoptr(GError) err = NULL;

    if (!machine_apply_defaults(m, o, &err)) {
        report_warning("%s", err->message);
    }
}

void machine_check_globals(const Machine *m)
{
    for (unsigned i = 0; i < m->globals->len; i++) {
        const DeviceGlobal *g = m->globals->pdata[i];
        bool known = obj_class_find(g->driver) != NULL;

        for (const ObjClass *const *c = obj_classes; !known && *c; c++) {
            known = obj_class_is(*c, g->driver);
        }
        if (!g->used && !known) {
            report_warning("global %s.%s has invalid class name", g->driver, g->prop);
        }
    }
}

void machine_on_reset(Machine *m, LoopFn *fn, void *opaque)
{
    ResetHook *h = g_new(ResetHook, 1);

    *h = (ResetHook){ fn, opaque };
    g_ptr_array_add(m->reset_hooks, h);
}

/* A reset lets go of what the guest was asked to let go. */
static void finish_unplugs(Machine *m)
{
    GPtrArray *places[] = { m->peripheral->children, m->peripheral_anon->children };

    for (unsigned p = 0; p < G_N_ELEMENTS(places); p++) {
        for (unsigned i = 0; places[p] && i < places[p]->len;) {
            Dev *d = dev_from_obj(places[p]->pdata[i]);
            if (d && d->unplug_pending) {
                dev_unplug_done(m, d);
                i = 0; /* others may have gone with it */
            } else {
                i++;
            }
        }
    }
}

void machine_reset_default(Machine *m)
{
    reset_tree(&m->obj);
    for (unsigned i = 0; i < m->reset_hooks->len; i++) {
        const ResetHook *h = m->reset_hooks->pdata[i];
        h->fn(h->opaque);
    }
    for (unsigned i = 0; i < m->cpus->len; i++) {
        vcpu_reset(m->cpus->pdata[i]);
    }
}

void machine_reset(Machine *m, const char *reason, bool guest)
{
    bool was_running = m->accel && accel_is_running(m->accel);
    Json *data = json_object();

    if (was_running) {
        accel_pause(m->accel);
    }
    finish_unplugs(m);
    if (m->mc->reset) {
        m->mc->reset(m);
    } else {
        machine_reset_default(m);
    }
    json_set(data, "guest", json_bool(guest));
    json_set(data, "reason", json_str(reason));
    qmp_event("RESET", data);
    if (was_running) {
        accel_resume(m->accel);
    }
}

char *machine_find_file(const Machine *m, const char *name)
{
    if (access(name, R_OK) == 0) {
        return g_strdup(name);
    }
    if (g_path_is_absolute(name)) {
        return NULL;
    }
    for (unsigned i = 0; i < m->data_dirs->len + G_N_ELEMENTS(data_dirs); i++) {
        const char *dir =
            i < m->data_dirs->len ? m->data_dirs->pdata[i] : data_dirs[i - m->data_dirs->len];
        g_autofree char *path = g_build_filename(dir, name, NULL);
        if (access(path, R_OK) == 0) {
            return g_steal_pointer(&path);
        }
    }
    return NULL;
}

static void free_globals(Machine *m)
{
    for (unsigned i = 0; i < m->globals->len; i++) {
        DeviceGlobal *g = m->globals->pdata[i];
        g_free(g->driver);
        g_free(g->prop);
        g_free(g->value);
        g_free(g);
    }
    g_ptr_array_unref(m->globals);
}

static void free_jsons(GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        json_unref(list->pdata[i]);
    }
    g_ptr_array_unref(list);
}

static void machine_fini(Obj *o)
{
    Machine *m = (Machine *)o;

    free_globals(m);
    free_jsons(m->fw_cfg_entries);
    free_jsons(m->smbios_entries);
    g_ptr_array_unref(m->cpus);
    for (unsigned i = 0; i < m->buses->len; i++) {
        ((Bus *)m->buses->pdata[i])->machine = NULL; /* a board's own, finished behind us */
    }
    g_ptr_array_unref(m->buses);
    g_ptr_array_unref(m->data_dirs);
    g_ptr_array_unref(m->serials);
    g_ptr_array_unref(m->reset_hooks);
    addrspace_free(m->mem);
    addrspace_free(m->io);
    g_ptr_array_unref(m->mem_root.subs);
    g_ptr_array_unref(m->io_root.subs);
    ram_unref(m->ram);
    g_free(m->cpu_text);
    json_unref(m->kvm_options);
    g_free(m->name);
    g_free(m->uuid_text);
    g_free(m->boot_order);
    g_free(m->boot_once);
}

/* Off the buses, the innermost ones first, so that no bus goes before what sits on it. */
static void remove_devices(Machine *m)
{
    for (unsigned i = m->buses->len; i-- > 0;) {
        const Bus *b = i < m->buses->len ? m->buses->pdata[i] : NULL;
        while (b && b->devs->len) {
            Dev *d = b->devs->pdata[b->devs->len - 1];
            obj_unrealize(&d->obj);
            dev_leave_bus(d);
            g_clear_pointer(&d->id, g_free);
        }
    }
}

void machine_free(Machine *m)
{
    if (!m) {
        return;
    }
    Obj *root = m->root;
    ObjClass *oc = m->oc;

    remove_devices(m);
    obj_ref(&m->obj);
    obj_detach(&m->obj);
    obj_unref(root);
    obj_unref(&m->obj);
    g_free((char *)(uintptr_t)oc->name);
    g_free((PropGroup *)(uintptr_t)oc->props);
    g_free(oc);
}
