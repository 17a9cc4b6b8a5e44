/*
 * PCI-to-PCI bridges: the type 1 header, its windows and the bus behind (PCI-to-PCI
 * Bridge 1.2, 3.2). The bus's containers hold BARs at their absolute addresses; a window is an
 * alias that lets a piece of them through. Covered by tests/unit/test-bridge.c.
 */
#include "hw/pci/bridge.h"

#include "hw/pci/pci-internal.h"

#include <string.h>

enum { BRIDGE_CTL_RESET = 1 << 6 };

static void window(
    PciBridge *b, Region *alias, Region *target, bool on, uint64_t base, uint64_t limit, Region *up)
{
    on = on && base <= limit;
    if (region_is_mapped(alias)) {
        region_unmap(alias);
    }
    if (on) {
        region_set_alias_off(alias, base);
        region_set_size(alias, limit - base + 1);
        region_map(up, base, alias, 1);
    }
}

static void tell_bridge_changed(PciFn *f, void *opaque)
{
    if (f->ops->bridge_changed && f->config) {
        f->ops->bridge_changed(f);
    }
}

void pci_bridge_update(PciFn *f)
{
    PciBridge *b = (PciBridge *)f;
    const uint8_t *c = f->config;
    uint16_t cmd = pci_get16(f, PCI_COMMAND);
    PciBus *up = pci_bus_of(f);
    uint64_t io_base = (uint64_t)(c[PCI_IO_BASE] & 0xf0) << 8,
             io_limit = (uint64_t)(c[PCI_IO_LIMIT] & 0xf0) << 8 | 0xfff;
    uint64_t base = (uint64_t)(pci_get16(f, PCI_MEM_BASE) & 0xfff0) << 16;
    uint64_t limit = (uint64_t)(pci_get16(f, PCI_MEM_LIMIT) & 0xfff0) << 16 | 0xfffff;
    uint64_t pref_base = (uint64_t)(pci_get16(f, PCI_PREF_BASE) & 0xfff0) << 16 |
                         (uint64_t)pci_get32(f, PCI_PREF_BASE_HI) << 32;
    uint64_t pref_limit = (uint64_t)(pci_get16(f, PCI_PREF_LIMIT) & 0xfff0) << 16 | 0xfffff |
                          (uint64_t)pci_get32(f, PCI_PREF_LIMIT_HI) << 32;
    bool reset = c[PCI_BRIDGE_CONTROL] & BRIDGE_CTL_RESET;

    if (!f->secondary) {
        return;
    }
    mem_begin();
    window(b, &b->win_io, &b->io, cmd & PCI_CMD_IO, io_base, io_limit, up->io);
    window(b, &b->win_mem, &b->mem, cmd & PCI_CMD_MEM, base, limit, up->mem);
    window(b, &b->win_pref, &b->mem, cmd & PCI_CMD_MEM, pref_base, pref_limit, up->mem);
    mem_commit();
    b->sec.number = c[PCI_SECONDARY_BUS];
    pci_bus_walk(&b->sec, tell_bridge_changed, NULL);
    if (reset && !b->in_reset) {
        for (unsigned i = 0; i < 256; i++) {
            if (b->sec.fn[i]) {
                pci_fn_function_reset(b->sec.fn[i]); /* 3.2.5.18: secondary bus reset */
            }
        }
    }
    b->in_reset = reset;
}

static void allow(PciFn *f, unsigned off, uint32_t mask, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        f->wmask[off + i] = (uint8_t)(mask >> (8 * i));
    }
}

static void window_defaults(PciFn *f)
{
    memset(f->config + PCI_PRIMARY_BUS, 0, 3);
    pci_set16(f, PCI_IO_BASE, 0x00f0); /* base above limit: nothing passes */
    pci_set32(f, PCI_MEM_BASE, 0x0000fff0);
    pci_set32(f, PCI_PREF_BASE, 0x0001fff1);
    pci_set32(f, PCI_PREF_BASE_HI, 0);
    pci_set32(f, PCI_PREF_LIMIT_HI, 0);
    pci_set16(f, PCI_BRIDGE_CONTROL, 0);
}

void pci_bridge_realize(PciBridge *b, bool express, const char *bus_name_or_null)
{
    PciFn *f = &b->fn;
    Obj *o = &f->dev.obj;

    allow(f, PCI_PRIMARY_BUS, 0xffffff, 3);
    allow(f, PCI_IO_BASE, 0xf0f0, 2);
    allow(f, PCI_MEM_BASE, 0xfff0fff0, 4);
    allow(f, PCI_PREF_BASE, 0xfff0fff0, 4);
    allow(f, PCI_PREF_BASE_HI, UINT32_MAX, 4);
    allow(f, PCI_PREF_LIMIT_HI, UINT32_MAX, 4);
    allow(f, PCI_BRIDGE_CONTROL, 0x005f, 2);
    f->w1cmask[PCI_SEC_STATUS + 1] = 0xf9;
    window_defaults(f);
    region_init_container(&b->mem, o, "pci-bridge-mem", UINT64_MAX);
    region_init_container(&b->io, o, "pci-bridge-io", 0x10000);
    region_init_alias(&b->win_io, o, "pci-bridge-io-window", &b->io, 0, 0x1000);
    region_init_alias(&b->win_mem, o, "pci-bridge-mem-window", &b->mem, 0, 0x100000);
    region_init_alias(&b->win_pref, o, "pci-bridge-pref-window", &b->mem, 0, 0x100000);
    pci_bus_setup(&b->sec, pci_bus_of(f)->machine, express);
    b->sec.mem = &b->mem;
    b->sec.io = &b->io;
    b->sec.bridge = f;
    b->sec.number = 0;
    bus_init(&b->sec.bus, express ? &pcie_bus_class : &pci_bus_class, &f->dev, o, bus_name_or_null);
    b->sec.bus.hotplug = true;
    f->secondary = &b->sec;
}

void pci_bridge_unrealize(PciBridge *b)
{
    Region *all[] = { &b->win_io, &b->win_mem, &b->win_pref, &b->mem, &b->io };

    b->fn.secondary = NULL;
    mem_begin();
    for (unsigned i = 0; i < 3; i++) {
        if (region_is_mapped(all[i])) {
            region_unmap(all[i]);
        }
    }
    mem_commit();
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        region_fini(all[i]);
    }
    bus_fini(&b->sec.bus);
}

void pci_bridge_reset(PciFn *f)
{
    window_defaults(f);
}

/* The running state concerns what sits behind, which the root's walk reaches by itself. */
