/* Creates what -object, -chardev, -netdev, -nic, -blockdev, -drive and -device ask for. */
#include "block/block.h"
#include "config-host.h"
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

static bool create_early(Machine *m, const OptItem *item, GError **err)
{
    return net_is_filter(json_get_str_or(item->args, "qom-type", NULL)) ||
           create_object(m, item, err);
}

/* Filters look for their back end. */
static bool create_filter(Machine *m, const OptItem *item, GError **err)
{
    return !net_is_filter(json_get_str_or(item->args, "qom-type", NULL)) ||
           create_object(m, item, err);
}

bool setup_objects(Machine *m, const Options *o, GError **err)
{
    return each(m, o, OPT_OBJECT, create_early, err);
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

/* QEMU compat: cards of -nic and -net come before what -device names. */
typedef struct Nics {
    Options *o;
    const char *model; /* without model= */
    unsigned placed;
} Nics;

static void nic_add(Nics *n, const char *typed, const char *text, Json *dev)
{
    GPtrArray *all = n->o->items[OPT_DEVICE];

    options_add(n->o, OPT_DEVICE, typed, text, dev);
    g_ptr_array_insert(all, (int)n->placed++, g_ptr_array_steal_index(all, all->len - 1));
}

/* QEMU compat: its words for what is written behind mac= and macaddr=, where it says more. */
static bool nic_mac_ok(const Json *dev, const char *more, GError **err)
{
    const char *text = json_get_str_or(dev, "mac", NULL);
    MacAddr mac = { .set = false };

    if (text && !prop_mac.parse(&mac, text, NULL)) {
        return err_set(err, "invalid syntax for ethernet address");
    }
    return !text || !(mac.a[0] & 1) ||
           err_set(err, "NIC cannot have multicast MAC address%s", more);
}

/* -nic user,model=…,mac=…,id=…: a back end, which the id names, and the device on it. */
static bool create_nic(Nics *n, unsigned index, const OptItem *item, GError **err)
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
    const char *model = json_get_str_or(net, "model", n->model);

    if (!strcmp(model, "help") || !strcmp(model, "?")) {
        help_nics(/* backends= */ false);
        exit(0);
    }
    if (strcmp(type, "none") != 0) {
        json_set(dev, "driver", json_text(!strcmp(model, "virtio") ? "virtio-net-pci" : model));
        json_set(dev, "netdev", json_text(id));
        if (json_get(net, "mac")) {
            json_set(dev, "mac", json_ref(json_get(net, "mac")));
        }
        json_remove(net, "model");
        json_remove(net, "mac");
        json_set(net, "type", json_text(type));
        json_set(net, "id", json_text(id));
        ok = nic_mac_ok(dev, "", err) &&
             (!net_find(id) || err_set(err, "Duplicate ID '%s' for nic", id)) &&
             net_backend_create(net, err);
    }
    if (!ok || !strcmp(type, "none")) {
        json_unref(dev);
        return ok;
    }
    nic_add(n, item->typed, item->text, dev);
    return true;
}

/* -net user, -net tap…: a back end and a port of hub 0 that joins it. */
static bool create_net_backend(const OptItem *item, unsigned index, unsigned port, GError **err)
{
    g_autoptr(Json) net = json_copy(item->args), hub = json_object();
    const char *given = json_get_str_or(net, "id", NULL), *type = json_get_str_or(net, "type", "");
    g_autofree char *id = given ? g_strdup(given) : g_strdup_printf("#net%03u", index);
    g_autofree char *name = g_strdup_printf("hub0port%u", port);

    if (given && !id_check(given, err)) {
        return false;
    }
    if (!strcmp(type, "hubport")) {
        return err_set(err, "network backend '%s' is only supported with -netdev/-nic", type);
    }
    json_set(net, "id", json_text(id));
    json_set(hub, "type", json_text("hubport"));
    json_set(hub, "id", json_text(name));
    json_set(hub, "hubid", json_text("0"));
    json_set(hub, "netdev", json_text(id));
    return net_backend_create(net, err) && net_backend_create(hub, err);
}

/* -net nic: a card on a port of hub 0, or on the back end it names. */
static bool create_net_nic(Nics *n, const OptItem *item, unsigned port, GError **err)
{
    static const char *const pass[] = { "macaddr", "addr", "vectors", "netdev", "id" };
    static const char *const as[] = { "mac", "addr", "vectors", "netdev", "id" };
    const char *model = json_get_str_or(item->args, "model", n->model);
    g_autofree char *name = g_strdup_printf("hub0port%u", port);
    g_autoptr(Json) dev = json_object(), hub = json_object();

    if (!strcmp(model, "help") || !strcmp(model, "?")) {
        help_nics(/* backends= */ false);
        exit(0);
    }
    json_set(dev, "driver", json_text(!strcmp(model, "virtio") ? "virtio-net-pci" : model));
    for (unsigned i = 0; i < json_len(item->args); i++) {
        const char *key = json_key_at(item->args, i);
        bool known = !strcmp(key, "type") || !strcmp(key, "model");

        for (unsigned k = 0; k < G_N_ELEMENTS(pass); k++) {
            if (!strcmp(key, pass[k])) {
                json_set(dev, as[k], json_ref(json_val_at(item->args, i)));
                known = true;
            }
        }
        if (!known) {
            return err_set(err, "Invalid parameter '%s'", key);
        }
    }
    const char *netdev = json_get_str_or(dev, "netdev", NULL);
    const char *vectors = json_get_str_or(dev, "vectors", "0");
    uint64_t n_vectors;

    if (!parse_uint(vectors, UINT64_MAX, &n_vectors)) {
        return err_set(err, "Parameter 'vectors' expects a uint64 value");
    }
    if (!nic_mac_ok(dev, " (odd 1st byte)", err)) {
        return false;
    }
    if (netdev && !net_find(netdev)) {
        return err_set(err, "netdev '%s' not found", netdev);
    }
    if (!netdev) {
        json_set(hub, "type", json_text("hubport"));
        json_set(hub, "id", json_text(name));
        json_set(hub, "hubid", json_text("0"));
        json_set(dev, "netdev", json_text(name));
        if (!net_backend_create(hub, err)) {
            return false;
        }
    }
    nic_add(n, item->typed, item->text, g_steal_pointer(&dev));
    return true;
}

static bool setup_nets(Nics *n, GError **err)
{
    Options *o = n->o;

    for (unsigned i = 0; i < o->items[OPT_NET]->len; i++) {
        const OptItem *item = o->items[OPT_NET]->pdata[i];
        const char *type = json_get_str_or(item->args, "type", "none");
        bool ok = true;

        if (!strcmp(type, "nic")) {
            ok = create_net_nic(n, item, i, err);
        } else if (strcmp(type, "none") != 0) {
            ok = create_net_backend(item, o->items[OPT_NIC]->len + i, i, err);
        }
        if (!ok) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return true;
}

/* QEMU compat: without a word about networks there is a card, and the user network behind it. */
static void default_net(const Machine *m, Options *o)
{
#ifdef CONFIG_SLIRP
    static const char *const type[] = { "nic", "user" };

    if (o->nodefaults || !m->mc->default_nic || o->items[OPT_NETDEV]->len ||
        o->items[OPT_NIC]->len || o->items[OPT_NET]->len) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(type); i++) {
        g_autofree char *typed = g_strdup_printf("-net %s", type[i]);
        Json *args = json_object();

        json_set(args, "type", json_text(type[i]));
        options_add(o, OPT_NET, typed, type[i], args);
    }
#endif
}

bool setup_netdevs(Machine *m, Options *o, GError **err)
{
    Nics n = { o, m->mc->default_nic ? m->mc->default_nic : "virtio-net-pci", 0 };

    default_net(m, o);
    if (!each(m, o, OPT_NETDEV, create_netdev, err)) {
        return false;
    }
    for (unsigned i = 0; i < o->items[OPT_NIC]->len; i++) {
        const OptItem *item = o->items[OPT_NIC]->pdata[i];

        if (!create_nic(&n, i, item, err)) {
            options_prefix(err, item->typed);
            return false;
        }
    }
    return setup_nets(&n, err) && each(m, o, OPT_OBJECT, create_filter, err);
}

static bool create_blockdev(G_GNUC_UNUSED Machine *m, const OptItem *item, GError **err)
{
    return blk_node_create(item->args, err) != NULL;
}

/* The flash chip that -drive names, or the first one that none before it took. */
static bool flash_unit(const OptItem *item, unsigned taken, unsigned *ret, GError **err)
{
    const char *unit = json_get_str_or(item->args, "unit", NULL);
    const char *text = unit ? unit : json_get_str_or(item->args, "index", NULL);

    if (text && strcmp(text, "0") != 0 && strcmp(text, "1") != 0) {
        return err_set(err, "machine type does not support if=pflash,bus=0,unit=%s", text);
    }
    unsigned n = text ? (unsigned)(*text - '0') : (unsigned)__builtin_ctz(~taken);

    if (taken >> n & 1) {
        return err_set(err, "drive with bus=0, unit=%u (index=%d) exists", n, unit ? -1 : (int)n);
    }
    if (n > 1) {
        return err_set(err, "machine type does not support if=pflash,bus=0,unit=%u", n);
    }
    *ret = n;
    return true;
}

/* taken: chips of earlier drives, one bit each. */
static bool take_flash(Machine *m, const OptItem *item, unsigned *taken, GError **err)
{
    g_autoptr(Json) args = json_copy(item->args);
    unsigned n;

    if (!prop_find(&m->obj, "pflash0", NULL)) {
        return err_set(err, "machine type does not support if=pflash,bus=0,unit=0");
    }
    if (!flash_unit(item, *taken, &n, err)) {
        return false;
    }
    g_autofree char *prop = g_strdup_printf("pflash%u", n);
    g_autoptr(Json) now = prop_get(&m->obj, prop, NULL);

    if (now && json_get_str(now) && *json_get_str(now)) {
        return err_set(err, "clashes with -machine");
    }
    if (!json_get(args, "id")) {
        json_set(args, "id", json_text(prop));
    }
    *taken |= 1u << n;
    Blk *b = blk_drive_create(args, err);

    return b && prop_set_text(&m->obj, prop, blk_id(b), err);
}

static bool create_drive(Machine *m, Options *o, const OptItem *item, unsigned *flash, GError **err)
{
    const char *bus = json_get_str_or(item->args, "if", "ide");
    const char *nth = json_get_str_or(item->args, "bus", "0");
    bool virtio = !strcmp(bus, "virtio");

    if (json_get(item->args, "index") && (json_get(item->args, "unit") || strcmp(nth, "0") != 0)) {
        return err_set(err, "index cannot be used with bus and unit");
    }
    if (!strcmp(bus, "pflash")) {
        return take_flash(m, item, flash, err);
    }
    if (!virtio && strcmp(bus, "none") != 0) {
        static const char *const known[] = { "ide", "scsi", "floppy", "sd", "mtd", "xen", NULL };

        return err_set(err,
            g_strv_contains(known, bus) ? "if=%s is not available: use if=virtio"
                                        : "unsupported bus type '%s'",
            bus);
    }
    if (o->snapshot && !json_get(item->args, "snapshot")) {
        json_set(item->args, "snapshot", json_bool(true));
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
    unsigned flash = 0;

    if (!each(m, o, OPT_BLOCKDEV, create_blockdev, err)) {
        return false;
    }
    for (unsigned i = 0; i < o->items[OPT_DRIVE]->len; i++) {
        const OptItem *item = o->items[OPT_DRIVE]->pdata[i];

        if (!create_drive(m, o, item, &flash, err)) {
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
