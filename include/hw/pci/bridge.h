/* A PCI-to-PCI bridge function: what root ports and bridge devices embed. */
#pragma once

#include "hw/pci/pci.h"

typedef struct PciBridge {
    PciFn fn;
    PciBus sec;     /* the bus behind */
    Region mem, io; /* its address spaces */
    Region win_io, win_mem, win_pref;
    bool in_reset;
} PciBridge;

/* In ops->realize of a class with is_bridge. name NULL: "<id>.0" or "<bus type>.<n>". */
void pci_bridge_realize(PciBridge *b, bool express, const char *name);
void pci_bridge_unrealize(PciBridge *b);
void pci_bridge_reset(PciFn *f);
extern const ObjClass pcie_root_port_class, pcie_root_port_base_class, pcie_pci_bridge_class,
    pcie_port_class, pcie_slot_class, pci_bridge_base_class;
