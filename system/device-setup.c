/* Creates what -object, -chardev, -netdev, -nic, -blockdev, -drive and -device ask for. */
#include "block/block.h"
#include "net/net.h"
#include "system.h"
#include "util/keyval.h"

#include <string.h>

typedef bool CreateFn(Machine *m, const OptItem *item, GError **err);

static bool each(Machine *m, const Options *o, OptKind kind, CreateFn *fn, GError **err)
{
    for (unsigned i = 0; i < o->items[kind]->len; i++) {
        const OptItem *item = o->items[kind]->pdata[i];

        if (!fn(m, item, err)) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

static bool create_object(Machine *m, const OptItem *item, GError **err)
{
    const char *id = json_get_str_or(item->args, "id", NULL);

    if (id && obj_child(m->objects, id)) {
        return err_set(err, "Duplicate ID '%s' for object", id);
    }
    return obj_create_user(m->objects, item->args, err) != NULL;
}

bool setup_objects(Machine *m, const Options *o, GError **err)
{
    return each(m, o, OPT_OBJECT, create_object, err);
}

static bool create_chardev(G_GNUC_UNUSED Machine *m, const OptItem *item, GError **err)
{
    const char *id = json_get_str_or(item->args, "id", NULL);

    if (id && !id_check(id, err)) {
        return false;
    }
    if (id && chardev_find(id)) {
        return err_set(err, "Duplicate ID '%s' for chardev", id);
    }
    return chardev_create(item->args, err) != NULL;
}

bool setup_chardevs(Machine *m, const Options *o, GError **err)
{
    return each(m, o, OPT_CHARDEV, create_chardev, err);
}

static bool create_netdev(G_GNUC_UNUSED Machine *m, const OptItem *item, GError **err)
{
    const char *id = json_get_str_or(item->args, "id", NULL);

    return (!id || id_check(id, err)) && net_backend_create(item->args, err);
}

/* -nic user,model=…,mac=…,id=…: a back end, which the id names, and the device on it. */
static bool create_nic(Options *o, unsigned index, const OptItem *item, GError **err)
{
    g_autoptr(Json) net = json_copy(item->args);
    const char *type = json_get_str_or(net, "type", "user");
    Json *dev = json_object();
    const char *given = json_get_str_or(net, "id", NULL);
    g_autofree char *id = given ? g_strdup(given) : g_strdup_printf("#net%03u", index);
    bool ok = true;

    if (given && !id_check(given, err)) {
        json_unref(dev);
        return false;
    }
    const char *model = json_get_str_or(net, "model", "virtio-net-pci");

    if (!strcmp(model, "help") || !strcmp(model, "?")) {
        help_nics(/* backends= */ false);
        exit(0);
    }
    if (strcmp(type, "none") != 0) {
        /* QEMU compat: the cards of its default model are not available; see docs/user/compat.md */
        json_set(dev, "driver", json_text(!strcmp(model, "virtio") ? "virtio-net-pci" : model));
        json_set(dev, "netdev", json_text(id));
        if (json_get(net, "mac")) {
            json_set(dev, "mac", json_ref(json_get(net, "mac")));
        }
        json_remove(net, "model");
        json_remove(net, "mac");
        json_set(net, "type", json_text(type));
        json_set(net, "id", json_text(id));
        ok = net_backend_create(net, err);
    }
    if (!ok || !strcmp(type, "none")) {
        json_unref(dev);
        return ok;
    }
    options_add(o, OPT_DEVICE, item->typed, item->text, dev);
    return true;
}

bool setup_netdevs(Machine *m, Options *o, GError **err)
{
    if (!each(m, o, OPT_NETDEV, create_netdev, err)) {
        return false;
    }
    for (unsigned i = 0; i < o->items[OPT_NIC]->len; i++) {
        const OptItem *item = o->items[OPT_NIC]->pdata[i];

        if (!create_nic(o, i, item, err)) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

static bool create_blockdev(G_GNUC_UNUSED Machine *m, const OptItem *item, GError **err)
{
    return blk_node_create(item->args, err) != NULL;
}

static bool create_drive(Options *o, const OptItem *item, GError **err)
{
    const char *bus = json_get_str_or(item->args, "if", "ide");
    bool virtio = !strcmp(bus, "virtio");

    if (!virtio && strcmp(bus, "none") != 0) {
        static const char *const known[] = { "ide", "scsi", "floppy", "pflash", "sd", "mtd", "xen",
            NULL };

        return err_set(err,
            g_strv_contains(known, bus) ? "if=%s is not available: use if=virtio"
                                        : "unsupported bus type '%s'",
            bus);
    }
    Blk *b = blk_drive_create(item->args, err);

    if (!b) {
        return false;
    }
    if (virtio) {
        Json *dev = json_object();

        json_set(dev, "driver", json_text("virtio-blk-pci"));
        json_set(dev, "drive", json_text(blk_id(b)));
        options_add(o, OPT_DEVICE, item->typed, item->text, dev);
    }
    return true;
}

bool setup_drives(Machine *m, Options *o, GError **err)
{
    if (!each(m, o, OPT_BLOCKDEV, create_blockdev, err)) {
        return false;
    }
    for (unsigned i = 0; i < o->items[OPT_DRIVE]->len; i++) {
        const OptItem *item = o->items[OPT_DRIVE]->pdata[i];

        if (!create_drive(o, item, err)) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

static bool create_device(Machine *m, const OptItem *item, GError **err)
{
    const char *id = json_get_str_or(item->args, "id", NULL);

    if (id && obj_child(m->peripheral, id)) {
        return err_set(err, "Duplicate ID '%s' for device", id);
    }
    return (!id || id_check(id, err)) && dev_create(m, item->args, /* hotplug= */ false, err);
}

bool setup_devices(Machine *m, const Options *o, GError **err)
{
    if (!each(m, o, OPT_DEVICE, create_device, err)) {
        return false;
    }
    if (strcmp(m->accel->cls->name, "qtest") != 0) { /* QEMU compat: tests leave ports open */
        net_check();
    }
    return true;
}
