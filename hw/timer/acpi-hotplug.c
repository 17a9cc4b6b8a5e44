/*
 * Registers of ACPI PCI hot plug, as the DSDT's methods use them. The layout is QEMU's published
 * interface. Covered by tests/unit/test-acpi-pm.c.
 */
#include "hw/timer/acpi-hotplug.h"

#include <string.h>

enum {
    REG_UP = 0x00,
    REG_DOWN = 0x04,
    REG_EJECT = 0x08,
    REG_REMOVABLE = 0x0c,
    REG_BSEL = 0x10,
    REG_INDEX = 0x14
};

static uint64_t pcihp_read(void *opaque, uint64_t off, unsigned size)
{
    AcpiPciHp *h = opaque;
    uint32_t val;

    if (h->bsel >= ACPI_PCIHP_BUSES) {
        return off == REG_BSEL ? h->bsel : off == REG_REMOVABLE ? UINT32_MAX : 0;
    }
    switch (off) {
    case REG_UP: /* reading takes the news */
        val = h->up[h->bsel];
        h->up[h->bsel] = 0;
        return val;
    case REG_DOWN:
        return h->down[h->bsel];
    case REG_EJECT:
        return 0; /* feature bits: none beyond the registers above */
    case REG_REMOVABLE:
        return h->ops->removable(h->opaque, h->bsel);
    case REG_BSEL:
        return h->bsel;
    case REG_INDEX:
        return h->ops->acpi_index ? h->ops->acpi_index(h->opaque, h->bsel, h->slot_index) : 0;
    default:
        return 0;
    }
}

static void pcihp_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    AcpiPciHp *h = opaque;

    if (off == REG_BSEL) {
        h->bsel = (uint32_t)val;
    } else if (off == REG_INDEX) {
        h->slot_index = (uint32_t)val & 31;
    } else if (off == REG_EJECT && h->bsel < ACPI_PCIHP_BUSES) {
        for (unsigned slot = 0; slot < 32; slot++) {
            if (val >> slot & 1) {
                h->down[h->bsel] &= ~(1u << slot);
                h->ops->eject(h->opaque, h->bsel, slot);
            }
        }
    }
}

static const RegionOps pcihp_ops = { .read = pcihp_read,
    .write = pcihp_write,
    .min_access = 4,
    .max_access = 4,
    .valid_min = 4,
    .valid_max = 4 };

void acpi_pcihp_init(AcpiPciHp *h, Obj *owner, AcpiPm *pm, const AcpiPciHpOps *ops, void *opaque)
{
    *h = (AcpiPciHp){ .pm = pm, .ops = ops, .opaque = opaque };
    region_init_io(&h->io, owner, "acpi-pci-hotplug", &pcihp_ops, h, ACPI_PCIHP_SIZE);
}

void acpi_pcihp_fini(AcpiPciHp *h)
{
    region_fini(&h->io);
}

void acpi_pcihp_reset(AcpiPciHp *h)
{
    h->bsel = h->slot_index = 0;
    memset(h->up, 0, sizeof(h->up));
    memset(h->down, 0, sizeof(h->down));
}

void acpi_pcihp_plugged(AcpiPciHp *h, unsigned bsel, unsigned slot)
{
    g_assert(bsel < ACPI_PCIHP_BUSES && slot < 32);
    h->up[bsel] |= 1u << slot;
    acpi_gpe_raise(h->pm, ACPI_GPE_PCI_HOTPLUG);
}

void acpi_pcihp_unplug_request(AcpiPciHp *h, unsigned bsel, unsigned slot)
{
    g_assert(bsel < ACPI_PCIHP_BUSES && slot < 32);
    h->down[bsel] |= 1u << slot;
    acpi_gpe_raise(h->pm, ACPI_GPE_PCI_HOTPLUG);
}
