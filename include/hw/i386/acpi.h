/*
 * ACPI tables of the PC boards (ACPI 6.5) and the script by which the firmware places them: files
 * etc/acpi/tables, etc/acpi/rsdp and etc/table-loader.
 */
#pragma once

#include "hw/i386/aml.h"
#include "hw/pci/pci.h"

enum { ACPI_TABLES_ALIGN = 128 * 1024, ACPI_LOADER_ALIGN = 4096, ACPI_RSDP_LEN = 20 };

/* What the tables say about a board. */
typedef struct AcpiBoard {
    bool q35, hpet, i8042, pcihp;
    bool s3, s4;
    uint8_t s4_val;
    unsigned ncpus; /* possible ones; all are present */
    const uint32_t *apic_ids;
    uint16_t pm_base; /* 0: the firmware has not enabled the block yet */
    uint16_t gpe_base;
    uint8_t gpe_len;
    uint16_t pcihp_base;
    uint64_t hole_start;                /* end of RAM below 4 GiB */
    uint64_t hole64_start, hole64_size; /* size 0: none */
    uint64_t mcfg_base;                 /* 0: the firmware has not enabled it */
    uint32_t mcfg_size;
    bool com[4];
    bool pvpanic;
    uint16_t pvpanic_port;
    PciBus *root;
    const char *oem_id, *oem_table_id; /* 6 and 8 characters at most */
} AcpiBoard;

typedef struct AcpiFiles {
    GByteArray *tables, *rsdp, *loader; /* padded to their file sizes */
} AcpiFiles;

void acpi_build(const AcpiBoard *b, AcpiFiles *ret);
void acpi_files_free(AcpiFiles *f);

/* hw/i386/acpi-dsdt.c, acpi-pci.c: the definition block's code. */
void acpi_build_dsdt(const AcpiBoard *b, Aml *a);
void acpi_dsdt_routing(const AcpiBoard *b, Aml *a); /* _PRT and link devices */
void acpi_dsdt_hotplug(const AcpiBoard *b, Aml *a); /* registers and methods in \_SB.PCI0 */
/* devices of every bus, PCNT */
void acpi_dsdt_slots(const AcpiBoard *b, Aml *a, void (*isa)(const AcpiBoard *b, Aml *a));
/* Buses whose slots the guest may empty, in the order of their BSEL numbers. Free with
 * g_ptr_array_unref. */
GPtrArray *acpi_hotplug_buses(PciBus *root);

/*
 * The firmware's side: executes etc/table-loader. find gives a file's bytes; place returns where
 * `len` bytes of file `name` with this alignment go (fseg: below 1 MiB, for the RSDP), 0: no room.
 * write stores the finished file.
 */
typedef struct AcpiLoader {
    const void *(*find)(void *opaque, const char *name, size_t *ret_len);
    uint64_t (*place)(void *opaque, const char *name, size_t len, uint32_t align, bool fseg);
    bool (*write)(void *opaque, uint64_t at, const void *data, size_t len);
    void *opaque;
} AcpiLoader;
bool acpi_loader_run(
    const AcpiLoader *l, const void *script, size_t len, uint64_t *ret_rsdp, GError **err);
