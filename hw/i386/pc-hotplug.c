/* ACPI hot plug of PCI slots: connects the buses' plug and unplug notices with the register block.
 */
#include "hw/i386/pc.h"

static int bsel_of(const PcMachine *pc, const PciBus *bus)
{
    for (unsigned i = 0; pc->hp_buses && i < pc->hp_buses->len; i++) {
        if (g_ptr_array_index(pc->hp_buses, i) == bus) {
            return (int)i;
        }
    }
    return -1;
}

static PciBus *bus_of(PcMachine *pc, unsigned bsel)
{
    return pc->hp_buses && bsel < pc->hp_buses->len ? g_ptr_array_index(pc->hp_buses, bsel) : NULL;
}

static bool removable(const PciFn *f)
{
    return f && !(f->dev.obj.cls->flags & (OBJ_NOT_USER | OBJ_NO_HOTPLUG)) && !f->ops->is_bridge;
}

/* The guest let go of a slot: all its functions leave, whether device_del asked for it or not. */
static void hp_eject(void *opaque, unsigned bsel, unsigned slot)
{
    PcMachine *pc = opaque;
    PciBus *bus = bus_of(pc, bsel);

    for (unsigned fn = 0; bus && fn < 8; fn++) {
        PciFn *f = bus->fn[slot * 8 + fn];

        if (removable(f)) {
            dev_unplug_done(&pc->m, &f->dev);
        }
    }
}

static uint32_t hp_removable(void *opaque, unsigned bsel)
{
    const PciBus *bus = bus_of(opaque, bsel);
    uint32_t mask = bus ? UINT32_MAX : 0;

    for (unsigned i = 0; bus && i < 256; i++) {
        if (bus->fn[i] && !removable(bus->fn[i])) {
            mask &= ~(1u << (i >> 3));
        }
    }
    return mask;
}

static uint32_t hp_index(void *opaque, unsigned bsel, unsigned slot)
{
    const PciBus *bus = bus_of(opaque, bsel);

    return bus && bus->fn[slot * 8] ? bus->fn[slot * 8]->acpi_index : 0;
}

static const AcpiPciHpOps hp_ops = {
    .eject = hp_eject, .removable = hp_removable, .acpi_index = hp_index
};

static void hp_plugged(void *opaque, PciFn *f)
{
    PcMachine *pc = opaque;
    int bsel = bsel_of(pc, pci_bus_of(f));

    if (bsel >= 0 && !(f->devfn & 7)) { /* function 0 completes a slot */
        acpi_pcihp_plugged(&pc->hp, (unsigned)bsel, f->devfn >> 3);
    }
}

static bool hp_unplug_request(void *opaque, PciFn *f, GError **err)
{
    PcMachine *pc = opaque;
    int bsel = bsel_of(pc, pci_bus_of(f));

    if (bsel < 0) {
        return err_set(err, "Bus '%s' does not support hotplugging", bus_name(&pci_bus_of(f)->bus));
    }
    acpi_pcihp_unplug_request(&pc->hp, (unsigned)bsel, f->devfn >> 3);
    return true;
}

static void hp_reset(void *opaque)
{
    acpi_pcihp_reset(&((PcMachine *)opaque)->hp);
}

void pc_hotplug_init(PcMachine *pc, uint16_t port)
{
    acpi_pcihp_init(&pc->hp, &pc->m.obj, pc->pm, &hp_ops, pc);
    region_map(&pc->m.io_root, port, &pc->hp.io, 0);
    machine_on_reset(&pc->m, hp_reset, pc);
}

/* The DSDT numbers the buses once; those behind bridges that come later have no number. */
void pc_hotplug_ready(PcMachine *pc)
{
    pc->hp_buses = acpi_hotplug_buses(&pc->root);
    for (unsigned i = 0; i < pc->hp_buses->len; i++) {
        PciBus *b = g_ptr_array_index(pc->hp_buses, i);

        b->hotplugged = hp_plugged;
        b->unplug_request = hp_unplug_request;
        b->hotplug_opaque = pc;
    }
}
