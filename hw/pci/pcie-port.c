/*
 * pcie-root-port and pcie-pci-bridge: places for devices on a PCIe root bus (PCIe 5.0, 7.5.3).
 * Registers read as QEMU 10.0's do. Covered by tests/unit/test-bridge.c.
 */
#include "hw/pci/bridge.h"
#include "hw/pci/pci-internal.h"

typedef struct RootPort {
    PciBridge br;
    Region bar;
    uint8_t chassis, port;
    uint16_t slot, aer_log_max;
    bool hotplug, disable_acs, power_controller, no_native_hotplug, migrate_msix;
    uint64_t io_reserve, mem_reserve, pref32_reserve, pref64_reserve;
    uint32_t bus_reserve;
    int speed, width; /* of the link */
    unsigned cap;
} RootPort;

/* The link (PCIe 5.0, 7.5.3.6): numbers as in the registers. */
static const char *const speed_names[] = { "2_5", "5", "8", "16", "32", "64", NULL };
static const char *const width_names[] = { "1", "2", "4", "8", "12", "16", "32", NULL };
static const uint8_t widths[] = { 1, 2, 4, 8, 12, 16, 32 };
static PROP_ENUM_TYPE(prop_link_speed, "PCIELinkSpeed", speed_names);
static PROP_ENUM_TYPE(prop_link_width, "PCIELinkWidth", width_names);
enum { SPEED_2_5 = 1, SPEED_5, SPEED_8 };
enum { LNK_DLLLARC = 1 << 20, LNK_LBNC = 1 << 21 };
/* Slot capabilities and control (7.5.3.9, 7.5.3.10). */
enum {
    SLOT_BUTTON = 1,
    SLOT_POWER = 2,
    SLOT_INDICATORS = 0x18,
    SLOT_HOTPLUG = 0x60,
    SLOT_NUMBER = 19
};
enum { SLTCTL_INDICATORS_OFF = 0x3c0, SLTCTL_POWER_OFF = 0x400 };

static void allow16(PciFn *f, unsigned off, uint16_t bits)
{
    f->wmask[off] |= (uint8_t)bits;
    f->wmask[off + 1] |= (uint8_t)(bits >> 8);
}

static void add_ssvid(PciFn *f)
{
    unsigned off = pci_add_cap(f, PCI_CAP_SSVID, 8);

    pci_set16(f, off + 4, f->ops->vendor);
}

static unsigned speed_of(const RootPort *p)
{
    return (unsigned)p->speed + 1;
}

static bool native_hotplug(const RootPort *p)
{
    return p->hotplug && !p->no_native_hotplug;
}

/* An empty slot shows what the port can do, and no power; else what both ends can: our endpoints
 * run at 2.5 GT/s on one lane. */
static void port_status(RootPort *p)
{
    PciFn *f = &p->br.fn;
    bool empty = !p->br.sec.bus.devs->len;

    pci_set16(f, p->cap + 0x12,
        empty ? (uint16_t)((unsigned)widths[p->width] << 4 | speed_of(p)) : 0x0011);
    pci_set16(f, p->cap + 0x18,
        SLTCTL_INDICATORS_OFF | (empty && p->power_controller ? SLTCTL_POWER_OFF : 0));
}

static void add_port_cap(RootPort *p)
{
    PciFn *f = &p->br.fn;
    unsigned off = p->cap = pci_add_cap(f, PCI_CAP_PCIE, 0x3c), speed = speed_of(p),
             width = widths[p->width];
    uint32_t link = 0x400 | width << 4 | speed, slot = SLOT_BUTTON | SLOT_INDICATORS;

    link |= (speed > SPEED_2_5 ? LNK_DLLLARC : 0) | (speed > SPEED_2_5 || width > 1 ? LNK_LBNC : 0);
    slot |= (p->power_controller ? SLOT_POWER : 0) | (native_hotplug(p) ? SLOT_HOTPLUG : 0);
    pci_set16(f, off + 2, 0x0142); /* version 2, root port, slot implemented */
    pci_set32(f, off + 4, 0x8020);
    allow16(f, off + 8, 0x000f);
    pci_set32(f, off + 0x0c, link | (uint32_t)p->port << 24);
    pci_set32(f, off + 0x14, slot | (uint32_t)p->slot << SLOT_NUMBER | 1 << 17);
    allow16(f, off + 0x18, 0x07f9);
    allow16(f, off + 0x1c, 0x0007);
    pci_set32(f, off + 0x24, 0x00300020);
    allow16(f, off + 0x28, 0x8020);
    /* All speeds up to its own; QEMU compat: only from 8 GT/s on. */
    pci_set32(f, off + 0x2c, speed >= SPEED_8 ? (1u << (speed + 1)) - 2 : 0);
    pci_set16(f, off + 0x30, speed > SPEED_2_5 ? (uint16_t)speed : 0);
    port_status(p);
}

/*
 * What firmware should keep free behind the port for devices that come later: a vendor capability
 * that SeaBIOS and OVMF know. All ones: their own choice.
 *   +2 length, +3 type 1, +4 bus numbers, +8 I/O (64 bits), +10h memory, +14h 32-bit prefetchable,
 *   +18h 64-bit prefetchable (64 bits)
 */
static bool reserve_ok(const RootPort *p, GError **err)
{
    const char *what = "PCI resource reserve cap";

    if (p->pref32_reserve != UINT64_MAX && p->pref64_reserve != UINT64_MAX) {
        return err_set(err, "%s: PREF32 and PREF64 conflict", what);
    }
    if (p->mem_reserve != UINT64_MAX && p->mem_reserve > UINT32_MAX) {
        return err_set(err, "%s: mem-reserve must be less than 4G", what);
    }
    if (p->pref32_reserve != UINT64_MAX && p->pref32_reserve > UINT32_MAX) {
        return err_set(err, "%s: pref32-reserve  must be less than 4G", what);
    }
    return true;
}

static void add_reserve_cap(RootPort *p)
{
    uint64_t io = p->io_reserve;
    unsigned off;

    /* QEMU compat: with hot plug by ACPI only, firmware is asked for some I/O in any case. */
    if (io == UINT64_MAX && p->hotplug && p->no_native_hotplug) {
        io = 4096;
    }
    if (p->bus_reserve == UINT32_MAX &&
        (io & p->mem_reserve & p->pref32_reserve & p->pref64_reserve) == UINT64_MAX) {
        return;
    }
    off = pci_add_cap(&p->br.fn, 0x09, 0x20);
    p->br.fn.config[off + 2] = 0x20;
    p->br.fn.config[off + 3] = 1;
    pci_set32(&p->br.fn, off + 4, p->bus_reserve);
    pci_set32(&p->br.fn, off + 8, (uint32_t)io);
    pci_set32(&p->br.fn, off + 0x0c, (uint32_t)(io >> 32));
    pci_set32(&p->br.fn, off + 0x10, (uint32_t)p->mem_reserve);
    pci_set32(&p->br.fn, off + 0x14, (uint32_t)p->pref32_reserve);
    pci_set32(&p->br.fn, off + 0x18, (uint32_t)p->pref64_reserve);
    pci_set32(&p->br.fn, off + 0x1c, (uint32_t)(p->pref64_reserve >> 32));
}

/* One chassis and slot number for each port: two ports with the same are one slot to a driver. */
static bool chassis_taken(const RootPort *p)
{
    const Machine *m = pci_bus_of(&p->br.fn)->machine;

    for (unsigned i = 0; i < m->buses->len; i++) {
        const Bus *b = m->buses->pdata[i];

        if (b->parent && b->parent != &p->br.fn.dev &&
            obj_is(&b->parent->obj, "pcie-root-port-base")) {
            const RootPort *q = (const RootPort *)b->parent;

            if (q->chassis == p->chassis && q->slot == p->slot) {
                return true;
            }
        }
    }
    return false;
}

static bool port_realize(PciFn *f, GError **err)
{
    RootPort *p = (RootPort *)f;

    if (!pci_bus_of(f)->express) {
        return err_set(err, "pcie-root-port can only be plugged into a PCI Express bus");
    }
    if (chassis_taken(p)) {
        return err_set(err, "Can't add chassis slot, error -16");
    }
    if (!reserve_ok(p, err)) {
        return false;
    }
    pci_config_set_pin(f, 1);
    add_ssvid(f);
    region_init_container(&p->bar, &f->dev.obj, "pcie-root-port", 4096);
    if (!msix_init(f, 1, &p->bar, 0, 0, 0x800, 0, err)) {
        region_fini(&p->bar);
        return false;
    }
    pci_set_bar(f, 0, PCI_BAR_MEM32, &p->bar);
    pci_bridge_realize(&p->br, /* express= */ true, f->dev.id);
    add_port_cap(p);
    add_reserve_cap(p);
    pcie_add_aer_cap(f, 0x02400000);
    pci_set32(f, 0x118, 0x000002a0);
    if (!p->disable_acs) {
        unsigned off = pci_add_ext_cap(f, 0x000d, 1, 8);

        pci_set16(f, off + 4, 0x005f);
        allow16(f, off + 6, 0x005f);
    }
    p->br.sec.one_slot = true;
    p->br.sec.bus.hotplug = p->hotplug;
    return true;
}

static void port_unrealize(PciFn *f)
{
    RootPort *p = (RootPort *)f;

    pci_bridge_unrealize(&p->br);
    msix_fini(f);
    f->bar[0].region = NULL;
    region_fini(&p->bar);
}

static void port_reset(PciFn *f)
{
    RootPort *p = (RootPort *)f;

    pci_bridge_reset(f);
    pci_set16(f, p->cap + 8, 0);
    pci_set16(f, p->cap + 0x1c, 0);
    port_status(p);
}

static const PciOps port_ops = {
    .vendor = 0x1b36,
    .device = 0x000c,
    .class_code = 0x060400,
    .is_express = true,
    .is_bridge = true,
    .realize = port_realize,
    .unrealize = port_unrealize,
    .reset = port_reset,
};

/* clang-format off */
static const PropSpec port_props[] = {
    PROP_U8("chassis", RootPort, chassis, 0, "chassis number"),
    PROP_U16("slot", RootPort, slot, 0, "slot number in the chassis"),
    PROP_U8("port", RootPort, port, 0, "port number"),
    PROP_BOOL("hotplug", RootPort, hotplug, true, "devices may come and go"),
    PROP_BOOL("disable-acs", RootPort, disable_acs, false, "no access control services"),
    PROP_BOOL("power_controller_present", RootPort, power_controller, true, "the slot's power can be switched"),
    PROP_BOOL("x-do-not-expose-native-hotplug-cap", RootPort, no_native_hotplug, false, "hot plug by ACPI only"),
    PROP_ENUM("x-speed", RootPort, speed, prop_link_speed, 3, "GT/s of the link"),
    PROP_ENUM("x-width", RootPort, width, prop_link_width, 6, "lanes of the link"),
    PROP_BOOL("x-migrate-msix", RootPort, migrate_msix, true, "kept for compatibility"),
    PROP_U16("aer_log_max", RootPort, aer_log_max, 8, "kept for compatibility"),
    PROP_U32("bus-reserve", RootPort, bus_reserve, UINT32_MAX, "bus numbers to reserve for hot plug"),
    PROP_SIZE("io-reserve", RootPort, io_reserve, UINT64_MAX, "I/O to reserve for hot plug"),
    PROP_SIZE("mem-reserve", RootPort, mem_reserve, UINT64_MAX, "memory to reserve for hot plug"),
    PROP_SIZE("pref32-reserve", RootPort, pref32_reserve, UINT64_MAX, "32-bit prefetchable memory to reserve"),
    PROP_SIZE("pref64-reserve", RootPort, pref64_reserve, UINT64_MAX, "64-bit prefetchable memory to reserve"),
    PROP_END,
};
/* clang-format on */

const ObjClass pci_bridge_base_class = { .name = "base-pci-bridge",
    .parent = "pci-device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(PciBridge) };
const ObjClass pcie_port_class = { .name = "pcie-port",
    .parent = "base-pci-bridge",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(PciBridge) };
const ObjClass pcie_slot_class = {
    .name = "pcie-slot", .parent = "pcie-port", .flags = OBJ_ABSTRACT, .size = sizeof(PciBridge)
};
const ObjClass pcie_root_port_base_class = { .name = "pcie-root-port-base",
    .parent = "pcie-slot",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(RootPort) };

const ObjClass pcie_root_port_class = {
    .name = "pcie-root-port",
    .parent = "pcie-root-port-base",
    .help = "PCI Express Root Port",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(RootPort),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { port_props, NULL }, { NULL, NULL } },
    .ops = &port_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

/* PCIe to conventional PCI. */
typedef struct PcieBridge {
    PciBridge br;
    OnOffAuto msi;
} PcieBridge;

static bool bridge_realize(PciFn *f, GError **err)
{
    PcieBridge *b = (PcieBridge *)f;
    unsigned off;

    if (!pci_bus_of(f)->express) {
        return err_set(err, "pcie-pci-bridge can only be plugged into a PCI Express bus");
    }
    pci_config_set_pin(f, 1);
    off = pci_add_cap_at(f, PCI_CAP_PCIE, 0x48, 0x3c);
    pci_set16(f, off + 2, 0x0072); /* version 2, PCIe to PCI bridge */
    pci_set32(f, off + 4, 0x8020);
    allow16(f, off + 8, 0x000f);
    pci_set32(f, off + 0x0c, 0x411);
    pci_set16(f, off + 0x12, 0x0011);
    pci_set32(f, off + 0x24, 0x00300020);
    allow16(f, off + 0x28, 0x8020);
    pci_add_pm_cap(f, false);
    pcie_add_aer_cap(f, 0x02400000);
    pci_bridge_realize(&b->br, /* express= */ false, f->dev.id);
    b->br.sec.slot_min =
        1; /* QEMU compat: slot 0 belongs to the standard hot-plug controller there */
    return true;
}

static void bridge_unrealize(PciFn *f)
{
    pci_bridge_unrealize((PciBridge *)f);
}

static const PciOps bridge_ops = {
    .vendor = 0x1b36,
    .device = 0x000e,
    .class_code = 0x060400,
    .is_express = true,
    .is_bridge = true,
    .realize = bridge_realize,
    .unrealize = bridge_unrealize,
    .reset = pci_bridge_reset,
};

static const PropSpec bridge_props[] = {
    PROP_ON_OFF_AUTO(
        "msi", PcieBridge, msi, ON_OFF_AUTO_AUTO, "kept for compatibility; INTx is used"),
    PROP_END,
};

const ObjClass pcie_pci_bridge_class = {
    .name = "pcie-pci-bridge",
    .parent = "base-pci-bridge",
    .help = "PCI Express to PCI bridge",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(PcieBridge),
    .flags = OBJ_DEVICE,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { bridge_props, NULL }, { NULL, NULL } },
    .ops = &bridge_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};
