/* Everything that ends with "help": lists of what there is, printed from the tables. */
#include "config-host.h"
#include "hw/i386/cpu-model.h"
#include "net/net.h"
#include "system.h"

#include <string.h>

void help_version(void)
{
    g_print("QEMU emulator version " QEMU_VERSION " (Virtue " VIRTUE_VERSION ")\n"
            "Virtue is a machine emulator of its own with QEMU's command line\n");
}

void help_options(void)
{
    help_version();
    g_print("usage: qemu-system-x86_64 [options]\n\n");
    for (const OptRow *row = option_rows; row->name; row++) {
        if (!row->help) {
            continue; /* another name of an option, or one that only refuses */
        }
        g_autofree char *head = g_strdup_printf(
            "-%s%s%s", row->name, row->params ? " " : "", row->params ? row->params : "");

        if (strlen(head) > 15) {
            g_print("%s\n%16s%s\n", head, "", row->help);
        } else {
            g_print("%-15s %s\n", head, row->help);
        }
    }
    g_print("\nDuring emulation, with -nographic, the following keys are useful:\n"
            "ctrl-a h        list the keys\n"
            "ctrl-a x        exit emulator\n"
            "ctrl-a c        switch between console and monitor\n");
}

static void help_machines(void)
{
    g_print("Supported machines are:\n");
    for (const MachineClass *const *c = machine_classes; *c; c++) {
        if ((*c)->alias) {
            g_print("%-20s %s (alias of %s)\n", (*c)->alias, (*c)->desc, (*c)->name);
        }
        g_print("%-20s %s%s%s\n", (*c)->name, (*c)->desc, (*c)->is_default ? " (default)" : "",
            (*c)->deprecated ? " (deprecated)" : "");
    }
}

static void help_machine(const char *type)
{
    const MachineClass *mc = machine_class_find(type);

    if (!mc) {
        return; /* the start says so */
    }
    g_autofree char *name = g_strdup_printf("%s-machine", mc->name);
    const PropGroup groups[] = { { mc->props ? mc->props : machine_props, NULL },
        { machine_props, NULL }, { NULL, NULL } };
    const ObjClass cls = { .name = name, .props = groups };
    g_autofree char *text = prop_class_help(&cls);

    g_print("%s", text);
    exit(0);
}

static const char *alias_of(const ObjClass *cls)
{
    for (const ObjAlias *a = obj_aliases; a->alias; a++) {
        if (!strcmp(a->name, cls->name)) {
            return a->alias;
        }
    }
    return NULL;
}

static int compare_classes(gconstpointer a, gconstpointer b)
{
    const ObjClass *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static void help_category(const char *category, const GPtrArray *all, bool *first)
{
    bool head = false;

    for (unsigned i = 0; i < all->len; i++) {
        const ObjClass *cls = all->pdata[i];
        const char *alias = alias_of(cls);

        if (strcmp(cls->category ? cls->category : "Uncategorized", category) != 0) {
            continue;
        }
        if (!head) {
            g_print("%s%s devices:\n", *first ? "" : "\n", category);
            head = true;
            *first = false;
        }
        g_print("name \"%s\"", cls->name);
        if (cls->bus) {
            g_print(", bus %s", cls->bus);
        }
        if (alias) {
            g_print(", alias \"%s\"", alias);
        }
        if (cls->help) {
            g_print(", desc \"%s\"", cls->help);
        }
        g_print("\n");
    }
}

static void help_devices(void)
{
    static const char *const categories[] = { "Controller/Bridge/Hub", "USB", "Storage", "Network",
        "Input", "Display", "Sound", "Misc", "CPU", "Watchdog", "Uncategorized" };
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    bool first = true;

    for (const ObjClass *const *c = obj_classes; *c; c++) {
        if ((*c)->flags & OBJ_DEVICE && !((*c)->flags & (OBJ_ABSTRACT | OBJ_NOT_USER))) {
            g_ptr_array_add(all, (gpointer)(uintptr_t)*c);
        }
    }
    g_ptr_array_sort(all, compare_classes);
    for (unsigned i = 0; i < G_N_ELEMENTS(categories); i++) {
        help_category(categories[i], all, &first);
    }
}

static void help_objects(void)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (const ObjClass *const *c = obj_classes; *c; c++) {
        if ((*c)->flags & OBJ_USER_OBJECT && !((*c)->flags & OBJ_ABSTRACT)) {
            g_ptr_array_add(all, (gpointer)(uintptr_t)*c);
        }
    }
    g_ptr_array_sort(all, compare_classes);
    g_print("List of user creatable objects:\n");
    for (unsigned i = 0; i < all->len; i++) {
        g_print("  %s\n", ((const ObjClass *)all->pdata[i])->name);
    }
}

static void help_class(const char *name, uint32_t flag)
{
    const ObjClass *cls = obj_class_find(name);

    if (cls && cls->flags & flag) {
        g_autofree char *text = prop_class_help(cls);

        g_print("%s", text);
        exit(0);
    }
}

static void help_netdev(const char *type)
{
    if (!strcmp(type, "help")) {
        g_print("Available netdev backend types:\n");
    }
    for (const NetBackend *const *b = net_backends; *b; b++) {
        if (!strcmp(type, "help")) {
            g_print("%s\n", (*b)->type);
        } else if (!strcmp(type, (*b)->type)) {
            g_autofree char *text = prop_specs_help((*b)->props);

            g_print("%s options:\n%s", type, text);
            exit(0);
        }
    }
}

void help_nics(bool backends)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    if (backends) {
        help_netdev("help");
        g_print("\nAvailable NIC models (use -nic model=help for a filtered list):\n");
    } else {
        g_print("Available NIC models for this configuration:\n");
    }
    for (const ObjClass *const *c = obj_classes; *c; c++) {
        if (!((*c)->flags & (OBJ_ABSTRACT | OBJ_NOT_USER)) &&
            !g_strcmp0((*c)->category, "Network") && (backends || !g_strcmp0((*c)->bus, "PCI"))) {
            g_ptr_array_add(all, (gpointer)(uintptr_t)*c);
        }
    }
    g_ptr_array_sort(all, compare_classes);
    for (unsigned i = 0; i < all->len; i++) {
        const char *name = ((const ObjClass *)all->pdata[i])->name;

        g_print("%s%s\n", name, backends || strcmp(name, "virtio-net-pci") ? "" : " (aka virtio)");
    }
}

static void help_accel(const char *name)
{
    const AccelClass *cls = accel_find(name);

    if (cls) {
        g_autofree char *text = prop_specs_help(cls->props);

        g_print("%s options:\n%s", name, text);
        return;
    }
    g_print("Accelerators supported in QEMU binary:\n");
    for (const AccelClass *const *c = accel_classes; *c; c++) {
        g_print("%s\n", (*c)->name);
    }
}

/* "help" as the name, or NULL args: the list; else what is known about the name. */
void help_for_item(OptKind kind, const OptItem *item)
{
    static const char *const keys[OPT_KINDS] = { [OPT_MACHINE] = "type",
        [OPT_ACCEL] = "accel",
        [OPT_OBJECT] = "qom-type",
        [OPT_NETDEV] = "type",
        [OPT_DEVICE] = "driver",
        [OPT_CHARDEV] = "backend" };
    const char *name = keys[kind] ? json_get_str_or(item->args, keys[kind], "help") : NULL;
    bool list = name && !strcmp(name, "help");
    g_autoptr(GString) text = g_string_new(NULL);

    switch (kind) {
    case OPT_MACHINE:
        if (!list) {
            help_machine(name);
            return;
        }
        help_machines();
        break;
    case OPT_ACCEL:
        help_accel(name);
        break;
    case OPT_OBJECT:
        if (!list) {
            help_class(name, OBJ_USER_OBJECT);
            return;
        }
        help_objects();
        break;
    case OPT_DEVICE:
        if (!list) {
            help_class(name, OBJ_DEVICE);
            return;
        }
        help_devices();
        break;
    case OPT_NETDEV:
        help_netdev(name);
        if (!list) {
            return;
        }
        break;
    case OPT_NIC:
    case OPT_NET:
        help_nics(/* backends= */ true);
        break;
    case OPT_CHARDEV:
        chardev_help(text);
        g_print("%s", text->str);
        break;
    default:
        return; /* QEMU compat: no help for this option */
    }
    exit(0);
}
