/*
 * Host bridge mechanisms: configuration mechanism #1 at ports cf8h/cfch (PCI Local
 * Bus 3.0, 3.2.2.3.2) and ECAM (PCIe 5.0, 7.2.2). Covered by tests/unit/test-pci.c.
 */
#include "hw/pci/pci-internal.h"

static uint64_t conf_read(void *opaque, uint64_t off, unsigned size)
{
    const PciHost *h = opaque;

    return h->config_address >> (8 * (off & 3)) & UINT64_MAX >> (64 - 8 * size);
}

static void conf_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    PciHost *h = opaque;

    /* Only a dword write at cf8h is CONFIG_ADDRESS; the rest passes by. */
    if (size == 4 && !off) {
        h->config_address = (uint32_t)val;
    }
}

/* The low address bits come from CONFIG_ADDRESS as well as from the port: both 2e/cfc and 2c/cfe
 * name register 2eh. */
static unsigned data_register(const PciHost *h, uint64_t off)
{
    return (h->config_address & 0xff) | (unsigned)(off & 3);
}

static uint64_t data_read(void *opaque, uint64_t off, unsigned size)
{
    const PciHost *h = opaque;
    uint32_t a = h->config_address;

    if (!(a & 1u << 31)) {
        return UINT64_MAX >> (64 - 8 * size);
    }
    return pci_config_read(h->root, a >> 16 & 0xff, a >> 8 & 0xff, data_register(h, off), size);
}

static void data_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    const PciHost *h = opaque;
    uint32_t a = h->config_address;

    if (a & 1u << 31) {
        pci_config_write(
            h->root, a >> 16 & 0xff, a >> 8 & 0xff, data_register(h, off), size, (uint32_t)val);
    }
}

static uint64_t ecam_read(void *opaque, uint64_t off, unsigned size)
{
    const PciHost *h = opaque;

    return pci_config_read(
        h->root, (unsigned)(off >> 20) & 0xff, off >> 12 & 0xff, off & 0xfff, size);
}

static void ecam_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    const PciHost *h = opaque;

    pci_config_write(
        h->root, (unsigned)(off >> 20) & 0xff, off >> 12 & 0xff, off & 0xfff, size, (uint32_t)val);
}

static const RegionOps conf_ops = {
    .read = conf_read, .write = conf_write, .min_access = 1, .max_access = 4, .unaligned = true
};
static const RegionOps data_ops = {
    .read = data_read, .write = data_write, .min_access = 1, .max_access = 4, .unaligned = true
};
static const RegionOps ecam_ops = {
    .read = ecam_read, .write = ecam_write, .min_access = 1, .max_access = 4
};

void pci_host_init(PciHost *h, PciBus *root, Obj *owner, Region *io)
{
    h->root = root;
    region_init_io(&h->conf, owner, "pci-conf-idx", &conf_ops, h, 4);
    region_init_io(&h->data, owner, "pci-conf-data", &data_ops, h, 4);
    region_init_io(&h->ecam, owner, "pcie-mmcfg-mmio", &ecam_ops, h, 256 << 20);
    region_map(io, 0xcf8, &h->conf, 0);
    region_map(io, 0xcfc, &h->data, 0);
}

void pci_host_ecam_map(PciHost *h, Region *mem, bool on, uint64_t base, uint64_t size)
{
    mem_begin();
    if (region_is_mapped(&h->ecam)) {
        region_unmap(&h->ecam);
    }
    if (on) {
        region_set_size(&h->ecam, size);
        region_map(mem, base, &h->ecam, 2);
    }
    mem_commit();
}

void pci_host_fini(PciHost *h)
{
    Region *all[] = { &h->conf, &h->data, &h->ecam };

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (region_is_mapped(all[i])) {
            region_unmap(all[i]);
        }
        region_fini(all[i]);
    }
}
