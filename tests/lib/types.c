/* The classes that unit tests of hw/pci and hw/virtio know. */
#include "backends/rng.h"
#include "hw/core/machine.h"
#include "hw/pci/bridge.h"
#include "tests/lib/vdummy.h"

extern const ObjClass virtio_rng_class, virtio_rng_pci_base_class, virtio_rng_pci_class,
    virtio_rng_pci_transitional_class, virtio_rng_pci_non_transitional_class, plain_pci_class;

const ObjClass *const obj_classes[] = {
    &pci_device_class,
    &virtio_pci_class,
    &virtio_device_class,
    &rng_backend_class,
    &rng_builtin_class,
    &rng_random_class,
    &virtio_rng_class,
    &virtio_rng_pci_base_class,
    &virtio_rng_pci_class,
    &virtio_rng_pci_transitional_class,
    &virtio_rng_pci_non_transitional_class,
    &dummy_class,
    &dummy_pci_base_class,
    &dummy_pci_class,
    &dummy_pci_transitional_class,
    &dummy_pci_non_transitional_class,
    &plain_pci_class,
    &pcie_root_port_class,
    &pcie_root_port_base_class,
    &pcie_pci_bridge_class,
    &pcie_port_class,
    &pcie_slot_class,
    &pci_bridge_base_class,
    NULL,
};
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

/* A conventional function with one BAR of each kind and an interrupt pin. */
typedef struct PlainPci {
    PciFn fn;
    Region io, mem, mem64;
} PlainPci;

static uint64_t plain_read(void *opaque, uint64_t off, unsigned size)
{
    return 0x5a5a5a5a00000000 | off;
}

static void plain_write(void *opaque, uint64_t off, unsigned size, uint64_t val) {}

static const RegionOps plain_region = { .read = plain_read, .write = plain_write, .max_access = 4 };

static bool plain_realize(PciFn *f, GError **err)
{
    PlainPci *p = (PlainPci *)f;

    region_init_io(&p->io, &f->dev.obj, "plain-io", &plain_region, p, 0x20);
    region_init_io(&p->mem, &f->dev.obj, "plain-mem", &plain_region, p, 0x1000);
    region_init_io(&p->mem64, &f->dev.obj, "plain-mem64", &plain_region, p, 0x4000);
    pci_set_bar(f, 0, PCI_BAR_IO, &p->io);
    pci_set_bar(f, 1, PCI_BAR_MEM32, &p->mem);
    pci_set_bar(f, 2, PCI_BAR_MEM64_PREF, &p->mem64);
    pci_config_set_pin(f, 1);
    pci_add_pm_cap(f, false);
    return true;
}

static void plain_unrealize(PciFn *f)
{
    PlainPci *p = (PlainPci *)f;

    region_fini(&p->io);
    region_fini(&p->mem);
    region_fini(&p->mem64);
}

static const PciOps plain_ops = { .vendor = 0x1234,
    .device = 0x5678,
    .class_code = 0xff0000,
    .revision = 3,
    .realize = plain_realize,
    .unrealize = plain_unrealize };

const ObjClass plain_pci_class = {
    .name = "plain-pci",
    .parent = "pci-device",
    .size = sizeof(PlainPci),
    .flags = OBJ_DEVICE,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &plain_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};
