/*
 * PCI buses: slots and where -device puts a function, config routing across bridges, INTx swizzling
 * (PCI Local Bus 3.0, 2.2.6; PCI-to-PCI Bridge 1.2, 3.1 and 9.1). Covered by tests/unit/test-pci.c.
 */
#include "hw/pci/pci-internal.h"
#include "util/log.h"

static bool slot_taken(const PciBus *b, unsigned slot)
{
    if (b->slots_taken >> slot & 1) {
        return true;
    }
    for (unsigned fn = 0; fn < 8; fn++) {
        if (b->fn[slot * 8 + fn]) {
            return true;
        }
    }
    return false;
}

/* Is some device plugged (perhaps not realized yet) at devfn? Slots are reserved from plug() on. */
static bool choose_slot(const PciBus *b, const PciFn *f, int *ret_devfn, GError **err)
{
    unsigned last = b->one_slot ? 1 : 32;

    for (unsigned slot = b->slot_min; slot < last; slot++) {
        if (!slot_taken(b, slot)) {
            *ret_devfn = (int)slot * 8;
            return true;
        }
    }
    return err_set(err, "PCI: no slot/function available for %s, all in use or reserved",
        f->dev.obj.cls->name);
}

/* One function or several in a slot: function 0 must say which (PCI 3.0, 6.2.1). */
static bool check_multifunction(const PciBus *b, const PciFn *f, unsigned devfn, GError **err)
{
    unsigned slot = devfn / 8;

    if (devfn & 7) {
        const PciFn *f0 = b->fn[slot * 8];

        if (f0 && !f0->multifunction) {
            return err_set(err, "PCI: single function device can't be populated in function %x.%x",
                slot, devfn & 7);
        }
        return true;
    }
    if (f->multifunction) {
        return true;
    }
    for (unsigned fn = 1; fn < 8; fn++) {
        if (b->fn[slot * 8 + fn]) {
            return err_set(err,
                "PCI: %x.0 indicates single function, but %x.%x is already populated.", slot, slot,
                fn);
        }
    }
    return true;
}

static bool pci_plug(Bus *bus, Dev *d, GError **err)
{
    PciBus *b = (PciBus *)bus;
    PciFn *f = (PciFn *)d;
    int devfn = f->addr_prop;

    if (devfn < 0 && !choose_slot(b, f, &devfn, err)) {
        return false;
    }
    if (devfn > 255) {
        return err_set(err, "PCI: slot %d is out of range", devfn / 8);
    }
    if (b->fn[devfn]) {
        const Dev *other = &b->fn[devfn]->dev;

        return err_set(err, "PCI: slot %d function %d not available for %s, in use by %s,id=%s",
            devfn / 8, devfn % 8, d->obj.cls->name, other->obj.cls->name,
            other->id ? other->id : "(null)");
    }
    if (b->slots_taken >> (devfn / 8) & 1) {
        return err_set(err, "PCI: slot %d function %d not available for %s, reserved", devfn / 8,
            devfn % 8, d->obj.cls->name);
    }
    if (b->one_slot && devfn >= 8) {
        report_warning(
            "PCI: slot %d is not valid for %s, parent device only allows plugging into slot 0.",
            devfn / 8, d->obj.cls->name);
    }
    if (!check_multifunction(b, f, (unsigned)devfn, err)) {
        return false;
    }
    f->devfn = (uint8_t)devfn;
    f->addr_prop = devfn;
    return true;
}

static void pci_unplugged(Bus *bus, Dev *d)
{
    PciBus *b = (PciBus *)bus;
    PciFn *f = (PciFn *)d;

    if (b->fn[f->devfn] == f) {
        b->fn[f->devfn] = NULL;
    }
}

static bool pci_unplug_request(Bus *bus, Dev *d, GError **err)
{
    PciBus *b = (PciBus *)bus;

    if (b->unplug_request) {
        return b->unplug_request(b->hotplug_opaque, (PciFn *)d, err);
    }
    dev_unplug_done(b->machine, d);
    return true;
}

static char *pci_dev_path(const Bus *bus, const Dev *d)
{
    const PciFn *f = (const PciFn *)d;
    const PciBus *b = (const PciBus *)bus;
    g_autofree char *up = NULL;
    const char *kind = f->ops->class_code >> 16 == 2       ? "ethernet"
                       : f->ops->class_code >> 8 == 0x0604 ? "pci-bridge"
                                                           : NULL;
    uint16_t cls = f->config ? pci_get16(f, PCI_CLASS_DEVICE) : (uint16_t)(f->ops->class_code >> 8);

    if (b->bridge) {
        g_autofree char *above = pci_dev_path(b->bridge->dev.bus, &b->bridge->dev);

        up = g_strdup(above);
    }
    if (cls >> 8 == 2) {
        kind = "ethernet";
    } else if (cls == 0x0100) {
        kind = "scsi";
    } else if (cls == 0x0604) {
        kind = "pci-bridge";
    }
    if (!kind) {
        g_autofree char *generic =
            g_strdup_printf("pci%04x,%04x", f->config ? pci_get16(f, 0) : f->ops->vendor,
                f->config ? pci_get16(f, 2) : f->ops->device);

        return f->devfn & 7
                   ? g_strdup_printf("%s/%s@%x,%x", up ? up : "/pci@i0cf8", generic, f->devfn >> 3,
                         f->devfn & 7u)
                   : g_strdup_printf("%s/%s@%x", up ? up : "/pci@i0cf8", generic, f->devfn >> 3);
    }
    return f->devfn & 7 ? g_strdup_printf("%s/%s@%x,%x", up ? up : "/pci@i0cf8", kind,
                              f->devfn >> 3, f->devfn & 7u)
                        : g_strdup_printf("%s/%s@%x", up ? up : "/pci@i0cf8", kind, f->devfn >> 3);
}

static void pci_describe_dev(const Bus *bus, const Dev *d, GString *out)
{
    const PciFn *f = (const PciFn *)d;

    if (f->config) {
        g_string_append_printf(out,
            "class %04x, addr %02x:%02x.%x, pci id %04x:%04x (sub %04x:%04x)\n",
            pci_get16(f, PCI_CLASS_DEVICE), ((const PciBus *)bus)->number, f->devfn >> 3,
            f->devfn & 7u, pci_get16(f, 0), pci_get16(f, 2), pci_get16(f, PCI_SUBSYS_VENDOR),
            pci_get16(f, PCI_SUBSYS_ID));
    }
}

const BusClass pci_bus_class = {
    .type = "PCI",
    .plug = pci_plug,
    .unplugged = pci_unplugged,
    .unplug_request = pci_unplug_request,
    .dev_path = pci_dev_path,
    .describe_dev = pci_describe_dev,
};

const BusClass pcie_bus_class = {
    .type = "PCIE",
    .fits = "PCI",
    .plug = pci_plug,
    .unplugged = pci_unplugged,
    .unplug_request = pci_unplug_request,
    .dev_path = pci_dev_path,
    .describe_dev = pci_describe_dev,
};

/* A bridge's bus number as the guest programmed it. */
static bool bridge_covers(const PciFn *f, unsigned bus)
{
    return f->config[PCI_SECONDARY_BUS] && bus >= f->config[PCI_SECONDARY_BUS] &&
           bus <= f->config[PCI_SUBORDINATE_BUS];
}

PciFn *pci_bus_fn(PciBus *root, unsigned bus, unsigned devfn)
{
    PciBus *b = root;

    if (bus == root->number) {
        return root->fn[devfn];
    }
    for (unsigned depth = 0; b && depth < 256; depth++) {
        PciBus *next = NULL;

        for (unsigned i = 0; i < 256 && !next; i++) {
            if (b->fn[i] && b->fn[i]->secondary && bridge_covers(b->fn[i], bus)) {
                next = b->fn[i]->secondary;
            }
        }
        if (next && next->number == bus) {
            return next->fn[devfn];
        }
        b = next;
    }
    return NULL;
}

uint32_t pci_config_read(PciBus *root, unsigned bus, unsigned devfn, unsigned reg, unsigned len)
{
    PciFn *f = pci_bus_fn(root, bus, devfn);

    /* Nobody answers: a master abort reads all ones (PCI 3.0, 6.1). */
    return f && reg < f->config_size ? pci_fn_config_read(f, reg, len)
                                     : UINT32_MAX >> (32 - 8 * len);
}

void pci_config_write(
    PciBus *root, unsigned bus, unsigned devfn, unsigned reg, unsigned len, uint32_t val)
{
    PciFn *f = pci_bus_fn(root, bus, devfn);

    if (f && reg < f->config_size) {
        pci_fn_config_write(f, reg, len, val);
    }
}

/* Wired-OR of all functions of a slot; the pin rotates by slot at each bridge (PCI-to-PCI
 * Bridge 1.2, 9.1). */
void pci_bus_set_intx(PciBus *b, unsigned devfn, unsigned pin, bool level)
{
    for (;;) {
        uint16_t *count = &b->intx_count[devfn >> 3][pin & 3];

        g_assert(level || *count);
        *count = (uint16_t)(*count + (level ? 1 : -1));
        if (*count != (level ? 1 : 0)) {
            return;
        }
        if (!b->bridge) {
            break;
        }
        pin = (pin + (devfn >> 3)) & 3;
        devfn = b->bridge->devfn;
        b = pci_bus_of(b->bridge);
    }
    if (b->set_intx) {
        b->set_intx(b->intx_opaque, devfn & 0xf8, pin & 3, level);
    }
}

void pci_bus_walk(PciBus *root, void (*fn)(PciFn *f, void *opaque), void *opaque)
{
    for (unsigned i = 0; i < 256; i++) {
        PciFn *f = root->fn[i];

        if (f) {
            fn(f, opaque);
            if (f->secondary) {
                pci_bus_walk(f->secondary, fn, opaque);
            }
        }
    }
}

static void tell_running(PciFn *f, void *opaque)
{
    const bool *running = opaque;

    if (f->ops->run_changed) {
        f->ops->run_changed(f, *running);
    }
}

static void root_run_changed(void *opaque, bool running)
{
    pci_bus_walk(opaque, tell_running, &running);
}

void pci_bus_setup(PciBus *b, Machine *m, bool express)
{
    b->machine = m;
    b->express = express;
}

void pci_bus_init_root(
    PciBus *b, Machine *m, Obj *parent, const char *name, bool express, Region *mem, Region *io)
{
    pci_bus_setup(b, m, express);
    b->mem = mem;
    b->io = io;
    bus_init(&b->bus, express ? &pcie_bus_class : &pci_bus_class, NULL, parent, name);
    b->bus.hotplug = !express; /* QEMU compat: "Bus 'pcie.0' does not support hotplugging" */
    if (m->run) {
        run_listen(m->run, root_run_changed, b, 10);
    }
}

void pci_bus_fini(PciBus *b)
{
    bus_fini(&b->bus);
}

PciFn *pci_create_simple(Machine *m, PciBus *bus, unsigned devfn, const char *type, GError **err)
{
    const ObjClass *cls = obj_class_find(type);
    PciFn *f;

    g_assert(cls && obj_class_is(cls, "pci-device"));
    f = (PciFn *)obj_new(cls);
    f->addr_prop = (int32_t)devfn;
    return dev_realize_on(m, &f->dev, &bus->bus, NULL, err) ? f : NULL;
}
