/* Shared by the files of hw/pci only. */
#pragma once

#include "hw/pci/pci.h"

enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS_PROG = 0x09,
    PCI_CLASS_DEVICE = 0x0a,
    PCI_CACHE_LINE = 0x0c,
    PCI_LATENCY = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYS_VENDOR = 0x2c,
    PCI_SUBSYS_ID = 0x2e,
    PCI_ROM = 0x30,
    PCI_CAP_PTR = 0x34,
    PCI_INT_LINE = 0x3c,
    PCI_INT_PIN = 0x3d,
    /* Type 1 header (PCI-to-PCI Bridge 1.2, 3.2) */
    PCI_PRIMARY_BUS = 0x18,
    PCI_SECONDARY_BUS = 0x19,
    PCI_SUBORDINATE_BUS = 0x1a,
    PCI_IO_BASE = 0x1c,
    PCI_IO_LIMIT = 0x1d,
    PCI_SEC_STATUS = 0x1e,
    PCI_MEM_BASE = 0x20,
    PCI_MEM_LIMIT = 0x22,
    PCI_PREF_BASE = 0x24,
    PCI_PREF_LIMIT = 0x26,
    PCI_PREF_BASE_HI = 0x28,
    PCI_PREF_LIMIT_HI = 0x2c,
    PCI_IO_BASE_HI = 0x30,
    PCI_IO_LIMIT_HI = 0x32,
    PCI_ROM_BRIDGE = 0x38,
    PCI_BRIDGE_CONTROL = 0x3e,
};
enum {
    PCI_CMD_IO = 1 << 0,
    PCI_CMD_MEM = 1 << 1,
    PCI_CMD_MASTER = 1 << 2,
    PCI_CMD_SERR = 1 << 8,
    PCI_CMD_INTX_OFF = 1 << 10,
    PCI_ST_INTERRUPT = 1 << 3,
    PCI_ST_CAPS = 1 << 4,
};
enum {
    PCI_CAP_PM = 0x01,
    PCI_CAP_MSI = 0x05,
    PCI_CAP_VNDR = 0x09,
    PCI_CAP_SSVID = 0x0d,
    PCI_CAP_PCIE = 0x10,
    PCI_CAP_MSIX = 0x11
};
enum { PCI_EXT_AER = 0x0001, PCI_EXT_ATS = 0x000f };

/* pci.c */
void pci_fn_function_reset(PciFn *f);
unsigned pci_rom_offset(const PciFn *f);

/* Loads what romfile= names, or the class's default; false with an error for a bad romfile=. */
bool pci_rom_realize(PciFn *f, GError **err);
/* pci-bus.c */
void pci_bus_set_intx(PciBus *b, unsigned devfn, unsigned pin, bool level);
void pci_bus_setup(PciBus *b, Machine *m, bool express);
/* pcie.c */
void pcie_config_wrote(PciFn *f, unsigned off, unsigned len);
/* bridge.c */
void pci_bridge_update(PciFn *f);
