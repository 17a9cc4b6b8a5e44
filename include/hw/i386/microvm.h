/*
 * The microvm board: PCIe, interrupt controllers, timer, clock and a serial line; direct boot only.
 *
 *   0 .. RAM .. c0000000        e0000000   f0000000  fec00000 fee00000   4G
 *                  PCI memory     ECAM               I/O APIC  APICs     RAM above
 */
#pragma once

#include "hw/i386/pc.h"

enum {
    MICROVM_PCI_BASE = 0xc0000000,
    MICROVM_ECAM_BASE = 0xe0000000,
    MICROVM_ECAM_SIZE = 0x10000000,
    MICROVM_PM_BASE = 0x600,
    MICROVM_SCI = 9,
    MICROVM_INTX_BASE = 16, /* INTA of slot 0; four of them in turn */
    MICROVM_TABLES = 0xe0000,
    MICROVM_TABLES_END = 0x100000,
};

typedef struct Microvm {
    PcMachine pc;
    OnOffAuto opt_pcie, opt_pic, opt_pit, opt_rtc, opt_ioapic2;
    bool opt_serial, opt_cmdline, opt_option_roms;
    char *opt_dumpdtb;
    AcpiPm pm;
    Irq sci;
    ResetPort reset_port;
    unsigned intx[4]; /* slots that drive each of the four wires */
} Microvm;

/* acpi-microvm.c: the tables at MICROVM_TABLES. Free with g_byte_array_unref(). */
GByteArray *microvm_acpi(const Microvm *v);
/* microvm-dt.c: the machine as a device tree. Free with g_byte_array_unref(). */
GByteArray *microvm_dt(const Microvm *v);
bool microvm_dt_check(const void *data, size_t len); /* well-formed, all of it within len */
extern const ObjClass microvm_host_class;
