/*
 * PCI Express capabilities of endpoints (PCIe 5.0, 7.5.3): the capability itself with Function
 * Level Reset (6.6.2), AER (7.8.4) and ATS (10.5.1). Covered by tests/unit/test-pci.c.
 */
#include "hw/pci/pci-internal.h"

enum {
    DEVCAP = 4,
    DEVCTL = 8,
    LNKCAP = 0x0c,
    LNKCTL = 0x10,
    LNKSTA = 0x12,
    DEVCAP2 = 0x24,
    DEVCTL2 = 0x28,
    LNKCAP2 = 0x2c
};
enum { DEVCAP_RBER = 1 << 15, DEVCAP_EXT_TAG = 1 << 5, DEVCAP_FLR = 1 << 28, DEVCTL_FLR = 1 << 15 };

static void allow16(PciFn *f, unsigned off, uint16_t bits)
{
    f->wmask[off] |= (uint8_t)bits;
    f->wmask[off + 1] |= (uint8_t)(bits >> 8);
}

static void allow32(PciFn *f, unsigned off, uint32_t bits)
{
    allow16(f, off, (uint16_t)bits);
    allow16(f, off + 2, (uint16_t)(bits >> 16));
}

unsigned pcie_add_endpoint_cap(PciFn *f, bool flr, bool ext_tag)
{
    unsigned off = pci_add_cap(f, PCI_CAP_PCIE, 0x3c);

    pci_set16(f, off + 2, 0x0002); /* version 2, endpoint */
    pci_set32(
        f, off + DEVCAP, DEVCAP_RBER | (ext_tag ? DEVCAP_EXT_TAG : 0) | (flr ? DEVCAP_FLR : 0));
    allow16(f, off + DEVCTL, 0x000f | (ext_tag ? 0x100 : 0));
    if (flr) {
        allow16(f, off + DEVCTL, DEVCTL_FLR);
    }
    pci_set32(f, off + LNKCAP, 0x411); /* 2.5 GT/s, one lane, L0s */
    allow16(f, off + LNKCTL, 0xc0);
    pci_set16(f, off + LNKSTA, 0x11);
    pci_set32(f, off + DEVCAP2, 0x00300000); /* extended fmt field, end-end TLP prefixes */
    allow16(f, off + DEVCTL2, 0x8000);
    f->pcie_cap = (uint16_t)off;
    return off;
}

void pcie_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    unsigned ctl = f->pcie_cap + DEVCTL;

    if (off <= ctl + 1 && ctl + 1 < off + len && f->config[ctl + 1] & DEVCTL_FLR >> 8) {
        f->config[ctl + 1] &= (uint8_t) ~(DEVCTL_FLR >> 8); /* reads 0: PCIe 5.0, 7.5.3.4 */
        pci_fn_function_reset(f);
    }
}

void pcie_add_ats_cap(PciFn *f, bool page_aligned)
{
    unsigned off = pci_add_ext_cap(f, PCI_EXT_ATS, 1, 8);

    pci_set16(f, off + 4, page_aligned ? 1 << 5 : 0); /* queue depth 0: 32 */
    allow16(f, off + 6, 0x801f);
}

void pcie_add_aer_cap(PciFn *f, uint32_t uncorrectable_mask)
{
    unsigned off = pci_add_ext_cap(f, PCI_EXT_AER, 2, 0x48);
    const uint32_t uncorrectable = 0x0147f030, correctable = 0x000031c1 | 0x0000c000;

    for (unsigned i = 0; i < 4; i++) {
        f->w1cmask[off + 4 + i] = (uint8_t)(uncorrectable >> (8 * i));
        f->w1cmask[off + 0x10 + i] = (uint8_t)(correctable >> (8 * i));
    }
    pci_set32(f, off + 8, uncorrectable_mask);
    allow32(f, off + 8, uncorrectable);
    pci_set32(f, off + 0x0c, 0x00462030); /* severity after reset: PCIe 5.0, 7.8.4.4 */
    allow32(f, off + 0x0c, uncorrectable);
    pci_set32(f, off + 0x14, 0x0000e000);
    allow32(f, off + 0x14, correctable);
    pci_set32(f, off + 0x18, 1 << 5 | 1 << 7);
    allow32(f, off + 0x18, 1 << 6 | 1 << 8);
}
