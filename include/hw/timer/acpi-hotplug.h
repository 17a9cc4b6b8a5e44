/*
 * The register block through which the DSDT's methods drive PCI hot plug (pc: port 0xae00, q35:
 * 0x0cc0): +0x00 up (slots that got a device), +0x04 down (slots to be emptied), +0x08 write:
 * eject, read: features, +0x0c removable, +0x10 bus selector, +0x14 write: slot, read: its
 * acpi-index.
 */
#pragma once

#include "hw/timer/acpi-pm.h"

enum { ACPI_PCIHP_SIZE = 0x18, ACPI_PCIHP_BUSES = 256 };

/* What the board knows of its buses; bsel is the bus's number in the DSDT. */
typedef struct AcpiPciHpOps {
    void (*eject)(void *opaque, unsigned bsel, unsigned slot); /* the guest let go of the slot */
    uint32_t (*removable)(void *opaque, unsigned bsel);        /* bit per slot */
    uint32_t (*acpi_index)(void *opaque, unsigned bsel, unsigned slot); /* NULL: 0 */
} AcpiPciHpOps;

typedef struct AcpiPciHp {
    Region io;
    AcpiPm *pm;
    const AcpiPciHpOps *ops;
    void *opaque;
    uint32_t bsel, slot_index;
    uint32_t up[ACPI_PCIHP_BUSES], down[ACPI_PCIHP_BUSES];
} AcpiPciHp;

void acpi_pcihp_init(AcpiPciHp *h, Obj *owner, AcpiPm *pm, const AcpiPciHpOps *ops,
    void *opaque); /* board maps h->io */
void acpi_pcihp_fini(AcpiPciHp *h);
void acpi_pcihp_reset(AcpiPciHp *h);
void acpi_pcihp_plugged(AcpiPciHp *h, unsigned bsel, unsigned slot);        /* raises GPE 1 */
void acpi_pcihp_unplug_request(AcpiPciHp *h, unsigned bsel, unsigned slot); /* raises GPE 1 */
