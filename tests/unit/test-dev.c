/* hw/core: dev_create's messages, placement, compat and globals, unplug, reset order, wires,
 * register tables. */
#include "hw/core/machine.h"
#include "hw/core/regs.h"
#include "object/qmp.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <glib/gstdio.h>
#include <string.h>

/* A slot bus ("PCI"), an adapter on it that provides a "SCSI" bus, and a disk for that. */
typedef struct Card {
    Dev dev;
    uint32_t width;
    bool fail;
    Bus scsi;
    bool has_bus;
    Dev inner;
} Card;

static GString *trace;
static GString *events;

static const BusClass scsi_bus;

static bool card_realize(Obj *o, GError **err)
{
    Card *c = (Card *)o;

    g_string_append_printf(trace, "realize %s;", o->name);
    return c->fail ? err_set(err, "the card is broken") : true;
}

static void card_unrealize(Obj *o)
{
    g_string_append_printf(trace, "unrealize %s;", o->name);
}

static void card_reset(Obj *o)
{
    g_string_append_printf(trace, "reset %s;", o->name);
}

static void card_fini(Obj *o)
{
    Card *c = (Card *)o;

    g_string_append_printf(trace, "fini %s;", o->cls->name);
    if (c->has_bus) {
        bus_fini(&c->scsi);
    }
}

static void hba_init(Obj *o)
{
    Card *c = (Card *)o;

    bus_init(&c->scsi, &scsi_bus, &c->dev, o, NULL);
    c->scsi.hotplug = true;
    c->has_bus = true;
}

static const ObjClass inner_class = { .name = "inner-device",
    .parent = "device",
    .size = sizeof(Dev),
    .flags = OBJ_DEVICE | OBJ_NOT_USER };

static void proxy_init(Obj *o)
{
    Card *c = (Card *)o;

    obj_init_static(&c->inner.obj, &inner_class);
    obj_add(o, "virtio-backend", &c->inner.obj);
}

/* clang-format off */
static const PropSpec card_props[] = {
    PROP_U32("width", Card, width, 7, "width of the card"),
    PROP_BOOL("fail", Card, fail, false, "fails to realize"),
    PROP_END,
};
static const PropGroup card_groups[] = { { card_props, NULL }, { NULL, NULL } };
#define CARD(var, nm, par, b, in, fl) \
    static const ObjClass var = { .name = nm, .parent = par, .size = sizeof(Card), .bus = b, .props = card_groups, \
        .flags = OBJ_DEVICE | (fl), .init = in, .realize = card_realize, .unrealize = card_unrealize, .fini = card_fini, \
        .reset = card_reset }
CARD(card_class, "card", "pci-device", "PCI", NULL, 0);
CARD(fixed_class, "fixed", "pci-device", "PCI", NULL, OBJ_NO_HOTPLUG);
CARD(hba_class, "hba", "pci-device", "PCI", hba_init, 0);
CARD(proxy_class, "proxy", "pci-device", "PCI", proxy_init, 0);
CARD(disk_class, "scsi-hd", "device", "SCSI", NULL, 0);
CARD(chip_class, "chip", "ioapic-common", NULL, NULL, OBJ_NOT_USER);
static const ObjClass abstract_class = { .name = "pci-device", .parent = "device", .size = sizeof(Card),
    .flags = OBJ_DEVICE | OBJ_ABSTRACT };
static const ObjClass user_object = { .name = "memory", .size = sizeof(Obj), .flags = OBJ_USER_OBJECT };

const ObjClass *const obj_classes[] = { &card_class, &fixed_class, &hba_class, &proxy_class, &disk_class, &chip_class,
    &abstract_class, &user_object, NULL };
const ObjAlias obj_aliases[] = { { "old-card", "card" }, { NULL, NULL } };
/* clang-format on */

static const CompatProp compat_new[] = { { "card", "width", "20" }, { NULL } };
static const CompatProp compat_old[] = { { "pci-device", "width", "30" }, { NULL } };
static const CompatProp *const lists_new[] = { compat_new, NULL };
static const CompatProp *const lists_old[] = { compat_new, compat_old, NULL };
static const MachineClass plain = { .name = "plain-1.0", .alias = "plain", .default_ram = 1 << 20 };
static const MachineClass newer = { .name = "newer-1.0", .compat = lists_new };
static const MachineClass older = { .name = "older-1.0", .compat = lists_old };
const MachineClass *const machine_classes[] = { &plain, &newer, &older, NULL };

static bool slow_unplug(Bus *b, Dev *d, GError **err)
{
    return true; /* the guest will say when */
}

static bool quick_unplug(Bus *b, Dev *d, GError **err)
{
    dev_unplug_done(dev_machine(d), d);
    return true;
}

static void was_unplugged(Bus *b, Dev *d)
{
    g_string_append_printf(trace, "off %s;", bus_name(b));
}

static const BusClass pci_bus = {
    .type = "PCI", .max_devs = 3, .unplug_request = slow_unplug, .unplugged = was_unplugged
};
static const BusClass pcie_bus = { .type = "PCIE", .fits = "PCI", .unplug_request = slow_unplug };
static const BusClass scsi_bus = { .type = "SCSI", .unplug_request = quick_unplug };

typedef struct Fixture {
    Machine *m;
    Bus pci;
} Fixture;

static void on_event(void *opaque, const char *name, const Json *data)
{
    g_autofree char *text = json_to_string(data, false);

    g_string_append_printf(events, "%s %s;", name, text);
}

static void set_up(Fixture *f, const MachineClass *mc)
{
    g_string_truncate(trace, 0);
    g_string_truncate(events, 0);
    f->m = machine_new(mc);
    bus_init(&f->pci, &pci_bus, NULL, &f->m->obj, "pci.0");
    f->pci.hotplug = true;
}

static void tear_down(Fixture *f)
{
    machine_free(f->m);
    bus_fini(&f->pci);
    rcu_drain();
    while (loop_turn(loop_main(), false)) {
    }
}

static Dev *create(Fixture *f, const char *json, bool hotplug, GError **err)
{
    g_autoptr(Json) args = json_parse(json, -1, NULL);

    return dev_create(f->m, args, hotplug, err);
}

static void assert_fails(
    Fixture *f, const char *json, bool hotplug, ErrClass cls, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(create(f, json, hotplug, &err));
    g_assert_cmpstr(err->message, ==, message);
    g_assert_cmpint(err->code, ==, (int)cls);
}

static void test_messages(void)
{
    Fixture f;
    Bus fixed;

    set_up(&f, &plain);
    bus_init(&fixed, &pcie_bus, NULL, &f.m->obj, "pcie.0");
    g_assert_nonnull(create(&f, "{'driver':'card','id':'a'}", false, NULL));
    assert_fails(
        &f, "{'driver':'nope'}", true, ERR_GENERIC, "'nope' is not a valid device model name");
    assert_fails(
        &f, "{'driver':'memory'}", true, ERR_GENERIC, "'memory' is not a valid device model name");
    assert_fails(&f, "{'id':'x'}", true, ERR_GENERIC, "Parameter 'driver' is missing");
    assert_fails(&f, "{'driver':5}", true, ERR_GENERIC, "Parameter 'driver' is missing");
    assert_fails(&f, "{'driver':'pci-device'}", true, ERR_GENERIC,
        "Parameter 'driver' expects a non-abstract device type");
    assert_fails(&f, "{'driver':'chip'}", true, ERR_GENERIC,
        "Parameter 'driver' expects a pluggable device type");
    assert_fails(&f, "{'driver':'card','bus':'foo'}", true, ERR_GENERIC, "Bus 'foo' not found");
    assert_fails(&f, "{'driver':'card','bus':'/foo/bar'}", true, ERR_DEVICE_NOT_FOUND,
        "Device 'foo' not found");
    assert_fails(
        &f, "{'driver':'scsi-hd'}", true, ERR_GENERIC, "No 'SCSI' bus found for device 'scsi-hd'");
    assert_fails(&f, "{'driver':'scsi-hd','bus':'pci.0'}", true, ERR_GENERIC,
        "Device 'scsi-hd' can't go on PCI bus");
    assert_fails(&f, "{'driver':'card','bus':'pcie.0'}", true, ERR_GENERIC,
        "Bus 'pcie.0' does not support hotplugging");
    assert_fails(
        &f, "{'driver':'fixed'}", true, ERR_GENERIC, "Device 'fixed' does not support hotplugging");
    assert_fails(&f, "{'driver':'card','id':'a'}", true, ERR_GENERIC, "Duplicate device ID 'a'");
    assert_fails(&f, "{'driver':'card','id':'b','foo':1}", true, ERR_GENERIC,
        "Property 'card.foo' not found");
    assert_fails(
        &f, "{'driver':'card','id':'b','fail':true}", true, ERR_GENERIC, "the card is broken");
    g_assert_null(obj_child(f.m->peripheral, "b"));
    g_assert_cmpuint(f.pci.devs->len, ==, 1);
    g_assert_nonnull(create(&f, "{'driver':'old-card','id':'b','width':9}", true, NULL));
    g_assert_nonnull(create(&f, "{'driver':'card'}", true, NULL));
    assert_fails(&f, "{'driver':'card','bus':'pci.0'}", true, ERR_GENERIC, "Bus 'pci.0' is full");
    /* The full bus is passed over. */
    const Dev *d = create(&f, "{'driver':'card'}", false, NULL);
    g_assert_true(d->bus == &fixed);
    tear_down(&f);
    bus_fini(&fixed);
}

static void test_placement(void)
{
    Fixture f;

    set_up(&f, &plain);
    Dev *hba = create(&f, "{'driver':'hba','id':'vs0'}", false, NULL);
    Dev *anon = create(&f, "{'driver':'hba'}", false, NULL);
    Dev *disk = create(&f, "{'driver':'scsi-hd','bus':'vs0.0'}", false, NULL);
    g_autofree char *p1 = obj_path(&hba->obj), *p2 = obj_path(&anon->obj),
                    *p3 = obj_path(&disk->obj);
    g_autofree char *n1 = dev_name(hba), *n2 = dev_name(anon);
    g_assert_cmpstr(p1, ==, "/machine/peripheral/vs0");
    g_assert_cmpstr(p2, ==, "/machine/peripheral-anon/device[0]");
    g_assert_cmpstr(p3, ==, "/machine/peripheral-anon/device[1]");
    g_assert_cmpstr(n1, ==, "hba,id=vs0");
    g_assert_cmpstr(n2, ==, "hba");
    g_assert_cmpstr(bus_name(&((Card *)hba)->scsi), ==, "vs0.0");
    g_assert_cmpstr(bus_name(&((Card *)anon)->scsi), ==, "scsi.0"); /* by its type */
    g_assert_true(bus_find(f.m, "scsi.0") == &((Card *)anon)->scsi);
    g_assert_true(bus_find(f.m, "/machine/pci.0") == &f.pci);
    g_assert_true(disk->bus == &((Card *)hba)->scsi);
    g_assert_true(dev_machine(disk) == f.m);
    tear_down(&f);
}

static uint32_t width_on(const MachineClass *mc, const char *global, const char *args)
{
    Fixture f;

    set_up(&f, mc);
    if (global) {
        DeviceGlobal *g = g_new0(DeviceGlobal, 1);
        *g = (DeviceGlobal){ g_strdup("old-card"), g_strdup("width"), g_strdup(global), false };
        g_ptr_array_add(f.m->globals, g);
    }
    uint32_t width = ((Card *)create(&f, args, false, NULL))->width;
    tear_down(&f);
    return width;
}

static void test_compat(void)
{
    g_assert_cmpuint(width_on(&plain, NULL, "{'driver':'card'}"), ==, 7);
    g_assert_cmpuint(width_on(&newer, NULL, "{'driver':'card'}"), ==, 20);
    g_assert_cmpuint(width_on(&newer, NULL, "{'driver':'hba'}"), ==, 7);
    g_assert_cmpuint(width_on(&older, NULL, "{'driver':'card'}"), ==,
        30); /* a parent's row, the older machine's */
    g_assert_cmpuint(width_on(&older, "40", "{'driver':'card'}"), ==, 40);
    g_assert_cmpuint(width_on(&older, "40", "{'driver':'card','width':50}"), ==, 50);
}

static void test_bad_global(void)
{
    Fixture f;

    set_up(&f, &plain);
    DeviceGlobal *g = g_new0(DeviceGlobal, 1);
    *g = (DeviceGlobal){ g_strdup("card"), g_strdup("foo"), g_strdup("1"), false };
    g_ptr_array_add(f.m->globals, g);
    assert_fails(&f, "{'driver':'card'}", false, ERR_GENERIC,
        "can't apply global card.foo=1: Property 'card.foo' not found");
    g_assert_true(g->used);
    tear_down(&f);
}

static void test_unplug(void)
{
    Fixture f;
    g_autoptr(GError) e1 = NULL, e2 = NULL, e3 = NULL, e4 = NULL;

    set_up(&f, &plain);
    create(&f, "{'driver':'proxy','id':'net0'}", true, NULL);
    create(&f, "{'driver':'fixed','id':'fix'}", false, NULL);
    Dev *board = (Dev *)obj_new(&chip_class);
    g_assert_true(dev_realize_on(f.m, board, NULL, "chip", NULL));
    g_assert_false(dev_del(f.m, "nope", &e1));
    g_assert_cmpstr(e1->message, ==, "Device 'nope' not found");
    g_assert_cmpint(e1->code, ==, ERR_DEVICE_NOT_FOUND);
    g_assert_false(dev_del(f.m, "fix", &e2));
    g_assert_cmpstr(e2->message, ==, "Device 'fixed' does not support hotplugging");
    g_assert_false(dev_del(f.m, "/machine/chip", &e3));
    g_assert_cmpstr(e3->message, ==, "Bus 'main-system-bus' does not support hotplugging");
    g_assert_true(dev_del(f.m, "net0", NULL));
    g_assert_cmpstr(events->str, ==, "");
    g_assert_false(dev_del(f.m, "/machine/peripheral/net0", &e4));
    g_assert_cmpstr(
        e4->message, ==, "Device /machine/peripheral/net0 is already in the process of unplug");
    g_string_truncate(trace, 0);
    dev_unplug_done(f.m, dev_find(f.m, "net0", NULL));
    loop_turn(loop_main(), false);
    g_assert_cmpstr(events->str, ==,
        "DEVICE_DELETED {\"path\": \"/machine/peripheral/net0/virtio-backend\"};"
        "DEVICE_DELETED {\"device\": \"net0\", \"path\": \"/machine/peripheral/net0\"};");
    g_assert_cmpstr(trace->str, ==, "unrealize net0;off pci.0;"); /* the memory goes later */
    g_assert_null(dev_find(f.m, "net0", NULL));
    rcu_drain();
    loop_turn(loop_main(), false);
    g_assert_nonnull(strstr(trace->str, "fini proxy;"));
    g_assert_nonnull(
        create(&f, "{'driver':'proxy','id':'net0'}", true, NULL)); /* the id is free again */
    tear_down(&f);
}

static void test_unplug_at_once_and_with_children(void)
{
    Fixture f;

    set_up(&f, &plain);
    create(&f, "{'driver':'hba','id':'vs0'}", false, NULL);
    create(&f, "{'driver':'scsi-hd','id':'d0'}", true, NULL);
    g_assert_true(dev_del(f.m, "d0", NULL));
    loop_turn(loop_main(), false);
    g_assert_cmpstr(events->str, ==,
        "DEVICE_DELETED {\"device\": \"d0\", \"path\": \"/machine/peripheral/d0\"};");
    create(&f, "{'driver':'scsi-hd','id':'d1'}", true, NULL);
    g_assert_true(dev_del(f.m, "vs0", NULL));
    g_string_truncate(events, 0);
    machine_reset(f.m, "host-qmp-system-reset", false); /* completes it */
    loop_turn(loop_main(), false);
    g_assert_cmpstr(events->str, ==,
        "RESET {\"guest\": false, \"reason\": \"host-qmp-system-reset\"};"
        "DEVICE_DELETED {\"device\": \"d1\", \"path\": \"/machine/peripheral/d1\"};"
        "DEVICE_DELETED {\"device\": \"vs0\", \"path\": \"/machine/peripheral/vs0\"};");
    g_assert_null(bus_find(f.m, "vs0.0"));
    tear_down(&f);
}

static void test_reset_order(void)
{
    Fixture f;

    set_up(&f, &plain);
    Dev *chip = (Dev *)obj_new(&chip_class);
    g_assert_true(dev_realize_on(f.m, chip, NULL, "chip", NULL));
    Dev *by_hand = (Dev *)obj_new(&chip_class); /* as boards make a LAPIC: never realized */
    obj_add(&f.m->obj, "lapic", &by_hand->obj);
    obj_unref(&by_hand->obj);
    create(&f, "{'driver':'hba','id':'vs0'}", false, NULL);
    create(&f, "{'driver':'scsi-hd','id':'d0'}", false, NULL);
    create(&f, "{'driver':'card','id':'c0'}", false, NULL);
    g_string_truncate(trace, 0);
    machine_reset(f.m, "guest-reset", true);
    g_assert_cmpstr(trace->str, ==, "reset d0;reset vs0;reset c0;reset chip;reset lapic;");
    g_assert_cmpstr(events->str, ==, "RESET {\"guest\": true, \"reason\": \"guest-reset\"};");
    g_string_truncate(trace, 0);
    reset_tree(&dev_find(f.m, "vs0", NULL)->obj);
    g_assert_cmpstr(trace->str, ==, "reset d0;reset vs0;");
    g_string_truncate(trace, 0);
    reset_tree(&f.pci.obj);
    g_assert_cmpstr(trace->str, ==, "reset d0;reset vs0;reset c0;");
    tear_down(&f);
}

static void test_machine(void)
{
    Fixture f;
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) good = json_parse("{'type':'plain','usb':true,'kernel':'/k'}", -1, NULL);
    g_autoptr(Json) bad = json_parse("{'foo':1}", -1, NULL);

    g_assert_true(machine_class_find("plain") == &plain);
    g_assert_true(machine_class_find("plain-1.0") == &plain);
    g_assert_null(machine_class_find("nope"));
    set_up(&f, &plain);
    g_assert_true(machine_set_options(f.m, good, NULL));
    g_assert_true(f.m->usb && f.m->mem_merge && f.m->acpi);
    g_assert_cmpstr(f.m->kernel, ==, "/k");
    g_assert_false(machine_set_options(f.m, bad, &err));
    g_assert_cmpstr(err->message, ==, "Property 'plain-1.0-machine.foo' not found");
    g_assert_cmphex(addrspace_load(f.m->io, 0x80, 4, NULL), ==, 0xffffffff);
    g_assert_cmphex(addrspace_load(f.m->mem, 0x80, 4, NULL), ==, 0);

    g_autofree char *dir = g_dir_make_tmp("virtue-XXXXXX", NULL);
    g_autofree char *file = g_build_filename(dir, "virtue-test.rom", NULL);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_assert_null(machine_find_file(f.m, "virtue-test.rom"));
    g_assert_null(machine_find_file(f.m, "/virtue-test.rom"));
    g_ptr_array_add(f.m->data_dirs, g_strdup(dir));
    g_autofree char *found = machine_find_file(f.m, "virtue-test.rom"),
                    *direct = machine_find_file(f.m, file);
    g_assert_cmpstr(found, ==, file);
    g_assert_cmpstr(direct, ==, file);
    g_unlink(file);
    g_rmdir(dir);
    tear_down(&f);
}

typedef struct Wire {
    unsigned calls, n;
    bool level;
} Wire;

static void on_wire(void *opaque, unsigned n, bool level)
{
    Wire *w = opaque;

    w->calls++;
    w->n = n;
    w->level = level;
}

static void test_irq(void)
{
    Fixture f;
    Wire w = { 0 }, t = { 0 };
    Irq irq[2], out[1], none = { 0 };
    unsigned n = 0;

    set_up(&f, &plain);
    irq_set(&none, true);
    g_assert_true(none.level);
    irq_init(&irq[0], on_wire, &w, 0);
    irq_init(&irq[1], on_wire, &w, 5);
    irq_init(&out[0], NULL, NULL, 0);
    irq_set(&irq[1], true);
    irq_set(&irq[1], true);
    g_assert_cmpuint(w.calls, ==, 2);
    g_assert_cmpuint(w.n, ==, 5);
    irq_pulse(&irq[0]);
    g_assert_cmpuint(w.calls, ==, 4);
    g_assert_false(w.level);
    irq[0].tap = on_wire;
    irq[0].tap_opaque = &t;
    irq_set(&irq[0], true);
    g_assert_true(w.level && t.level);
    irq[0].tap_only = true;
    irq_set(&irq[0], false);
    g_assert_true(w.level && !t.level);

    Obj *dev = &create(&f, "{'driver':'card','id':'c'}", false, NULL)->obj;
    irq_register_in(dev, NULL, irq, 2);
    irq_register_in(dev, "nmi", &none, 1);
    irq_register_out(dev, NULL, out, 1);
    g_assert_true(irq_find(dev, NULL, false, &n) == irq);
    g_assert_cmpuint(n, ==, 2);
    g_assert_true(irq_find(dev, "nmi", false, &n) == &none);
    g_assert_true(irq_find(dev, NULL, true, &n) == out);
    g_assert_null(irq_find(dev, "nmi", true, &n));
    irq_unregister(dev);
    g_assert_null(irq_find(dev, NULL, false, &n));
    tear_down(&f);
}

typedef struct Block {
    uint32_t ctrl;
    uint8_t byte;
    unsigned writes;
} Block;

static uint64_t ctrl_read(void *dev)
{
    return ((Block *)dev)->ctrl;
}
static void ctrl_write(void *dev, uint64_t val)
{
    ((Block *)dev)->ctrl = (uint32_t)val;
    ((Block *)dev)->writes++;
}
static uint64_t byte_read(void *dev)
{
    return ((Block *)dev)->byte;
}
static void byte_write(void *dev, uint64_t val)
{
    ((Block *)dev)->byte = (uint8_t)val;
}
static uint64_t id_read(void *dev)
{
    return 0xabcd;
}
static const Reg regs[] = {
    { 0x00, 4, false, "ctrl", ctrl_read, ctrl_write },
    { 0x04, 1, false, "byte", byte_read, byte_write },
    { 0x06, 2, true, "id", id_read, NULL },
};

static void test_regs(void)
{
    Block b = { 0 };
    const unsigned n = G_N_ELEMENTS(regs);

    regs_write(regs, n, &b, 0, 4, 0x11223344);
    g_assert_cmphex(b.ctrl, ==, 0x11223344);
    g_assert_cmphex(regs_read(regs, n, &b, 1, 2), ==, 0x2233);
    regs_write(regs, n, &b, 2, 1, 0x99); /* merged */
    g_assert_cmphex(b.ctrl, ==, 0x11993344);
    g_assert_cmpuint(b.writes, ==, 2);
    regs_write(regs, n, &b, 0, 8, 0xffff0077aaaaaaaa); /* three at once, the read-only one stays */
    g_assert_cmphex(b.ctrl, ==, 0xaaaaaaaa);
    g_assert_cmphex(b.byte, ==, 0x77);
    g_assert_cmphex(regs_read(regs, n, &b, 0, 8), ==, 0xabcd0077aaaaaaaa);
    g_assert_cmphex(regs_read(regs, n, &b, 3, 4), ==, 0xcd0077aa & 0xff0077aa);
    g_assert_cmphex(regs_read(regs, n, &b, 8, 4), ==, 0);
    regs_write(regs, n, &b, 5, 1, 1); /* nothing there */
    g_assert_cmphex(b.byte, ==, 0x77);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main(); /* this thread's, with its token: the VM lock */
    trace = g_string_new(NULL);
    events = g_string_new(NULL);
    qmp_event_set_sink(on_event, NULL);
    g_test_add_func("/dev/create-messages", test_messages);
    g_test_add_func("/dev/placement-and-bus-names", test_placement);
    g_test_add_func("/dev/compat-global-user-in-order", test_compat);
    g_test_add_func("/dev/global-that-does-not-fit", test_bad_global);
    g_test_add_func("/dev/unplug", test_unplug);
    g_test_add_func("/dev/unplug-takes-children", test_unplug_at_once_and_with_children);
    g_test_add_func("/dev/reset-order", test_reset_order);
    g_test_add_func("/machine/options-files-spaces", test_machine);
    g_test_add_func("/irq/levels-taps-lists", test_irq);
    g_test_add_func("/regs/merge-split-read-only", test_regs);
    return g_test_run();
}
