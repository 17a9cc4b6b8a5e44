/*
 * Direct boot: the kernel is entered without firmware, and finds the machine as SeaBIOS leaves it.
 * Everything here runs after each machine reset, with the vCPUs paused.
 */
#pragma once

#include "hw/i386/pc.h"

/* Low memory that direct boot uses; the kernel owns it all once it runs. */
enum {
    BOOT_GDT = 0x1000,
    BOOT_TABLES = 0x2000,   /* page tables for 4 GiB: six pages */
    BOOT_INFO = 0x10000,    /* zero page, PVH start info or multiboot info */
    BOOT_LISTS = 0x12000,   /* memory map and modules */
    BOOT_CMDLINE = 0x20000, /* and module texts */
    BOOT_CMDLINE_END = 0x30000,
    BOOT_STACK = 0x7000,    /* grows down; the page tables end below it */
    BOOT_LOW_END = 0x9fc00, /* extended BIOS data area */
    BOOT_E820_MAX = 128,
};

typedef struct BootModule {
    GMappedFile *file;
    char *text; /* multiboot: the module's own text, path first */
    uint64_t at, len;
} BootModule;

struct DirectBoot {
    KernelImage kernel;
    GArray *modules; /* BootModule; -initrd is one, multiboot takes a list */
    char *cmdline;
    GMappedFile *dtb; /* for boards that take -dtb: setup_data of a bzImage; NULL: none */
    /* Filled by boot_firmware(). */
    E820 e820[BOOT_E820_MAX];
    unsigned ne820;
    uint64_t rsdp;
    uint64_t ram_top; /* below it the kernel and its files go */
};

/* hw/i386/boot-fw.c: ACPI, SMBIOS, BIOS data area, memory map, interrupt controllers, MTRRs. */
bool boot_firmware(PcMachine *pc, struct DirectBoot *b, GError **err);
/* A part of it: interrupt controllers, timer, MTRRs, local APICs. */
void boot_chips(PcMachine *pc);
/* hw/i386/boot-pci.c: BARs, bridge windows, bus numbers, interrupt lines, chipset registers. */
void boot_pci(PcMachine *pc);
/* hw/i386/boot-linux.c, boot-pvh.c: the kernel's information block; *ret says where to begin. */
bool boot_linux(PcMachine *pc, struct DirectBoot *b, KernelEntry *ret, GError **err);
bool boot_pvh(PcMachine *pc, struct DirectBoot *b, KernelEntry *ret, GError **err);
bool boot_multiboot(PcMachine *pc, struct DirectBoot *b, KernelEntry *ret, GError **err);
/* Helpers of boot.c. Writes to RAM; false: *err. */
bool boot_write(PcMachine *pc, uint64_t at, const void *data, size_t len, GError **err);
bool boot_write_string(PcMachine *pc, uint64_t at, const char *text, GError **err);
/* The highest place for each module, below limit and ram_top; writes it there. */
bool boot_place_modules(PcMachine *pc, struct DirectBoot *b, uint64_t limit, GError **err);
void put_le(uint8_t *p, uint64_t v, unsigned bytes);
