/*
 * The PC boards: i440FX/PIIX ("pc") and Q35/ICH9 ("q35").
 *
 *   0          640K  a0000      c0000                100000        below_4g      fec0 fed0 fee0
 * bios   4G    above_4g RAM ........... | VGA hole | PAM regions: ROM/RAM | RAM ......... | PCI
 * hole ... | IOAPIC HPET APIC | ROM | RAM ......
 */
#pragma once

#include "hw/core/fw-cfg.h"
#include "hw/core/loader.h"
#include "hw/core/machine.h"
#include "hw/i386/acpi.h"
#include "hw/intc/gsi.h"
#include "hw/intc/lapic.h"
#include "hw/misc/isa.h"
#include "hw/misc/pc-ports.h"
#include "hw/pci/pci.h"
#include "hw/timer/acpi-hotplug.h"
#include "hw/timer/acpi-pm.h"
#include "hw/timer/hpet.h"
#include "hw/timer/rtc.h"

typedef struct PcMachine PcMachine;
struct DirectBoot;

/* What distinguishes the boards and their versions (MachineClass.data). */
typedef struct PcBoard {
    bool q35;
    uint64_t hole64_size;
    uint64_t dimm_size; /* largest module that SMBIOS shows */
    /* Direct boot: what firmware would leave behind; NULL: as SeaBIOS does. */
    bool (*firmware)(PcMachine *pc, struct DirectBoot *b, GError **err);
    uint64_t pci_end; /* of 32-bit PCI memory; 0: 0xfec00000 */
    bool takes_dtb;
} PcBoard;

/*
 * Programmable attribute map (i440FX 82441FX data sheet, 3.2.18; Q35's registers are the same):
 * c0000-fffff is PCI space or RAM, read-only or writable, in thirteen pieces.
 */
enum { PAM_PIECES = 13 };
typedef struct Pam {
    Region ram[PAM_PIECES], pci[PAM_PIECES];
    Region vga; /* a0000-bffff */
} Pam;
void pam_init(Pam *p, Region *mem, Region *ram, Region *pci_mem);
void pam_update(Pam *p, const uint8_t *regs); /* the seven registers from 0x59 or 0x90 on */
void pam_fini(Pam *p);

/* SMBus host controller of the south bridges (ICH9 data sheet, 18.2) with nothing on the bus: every
 * address is refused. */
typedef struct SmBus {
    Region io;
    uint8_t sts, cnt, cmd, add, dat0, dat1, blk;
} SmBus;
void smbus_init(SmBus *s, Obj *owner, uint64_t size);
void smbus_fini(SmBus *s);
void smbus_reset(SmBus *s);

/* Reset control register at port 0xcf9 (ICH9 data sheet, 13.7.5). */
typedef struct ResetPort {
    Region io;
    RunState *run;
    uint8_t val;
} ResetPort;
void reset_port_init(ResetPort *r, Obj *owner, Region *io, RunState *run);
void reset_port_fini(ResetPort *r);

struct PcMachine {
    Machine m;
    const PcBoard *board;
    /* -machine options. */
    bool opt_hpet, opt_i8042, opt_sata, opt_smbus, opt_pit, opt_fd_bootchk;
    OnOffAuto opt_smm, opt_vmport;
    int opt_smbios_entry;
    uint64_t opt_max_below_4g;
    char *opt_pflash[2]; /* names of drives or block nodes */
    char *opt_pcspk, *opt_oem_id, *opt_oem_table_id;

    uint64_t below_4g, above_4g;
    Region ram, ram_low, ram_high, pci_mem, option_rom, rom, rom_shadow, apic_page;
    struct Pflash *flash[2]; /* instead of rom */
    LapicBus *lapics;
    Gsi gsi;
    Pic *pic;
    Ioapic *ioapic;
    Hpet *hpet;
    Rtc *rtc;
    FwCfg *fw;
    Irq pic_out, a20[2], reset_wire;
    bool a20_on[2], com[4];
    PcPorts ports;
    IsaBus isa;

    /* Host bridge: hw/i386/i440fx.c or q35-host.c. */
    PciBus root;
    PciHost host;
    PciFn *host_fn, *isa_fn;

    /* South bridge: hw/i386/piix.c or ich9.c. */
    AcpiPm *pm;
    bool acpi_hotplug;
    AcpiPciHp hp;
    GPtrArray *hp_buses; /* PciBus* by BSEL, fixed when the machine is ready */
    uint32_t *apic_ids;

    /* Direct boot: hw/i386/boot*.c. */
    struct DirectBoot *boot;
};
static inline PcMachine *pc_of(const PciFn *f)
{
    return (PcMachine *)dev_machine(&f->dev);
}

/* hw/i386/pc.c, pc-chips.c, pc-hotplug.c, pc-fw.c, boot-order.c, none.c */
bool pc_init(Machine *m, GError **err);
bool pc_ready(Machine *m, GError **err);
void pc_reset(Machine *m);
bool pc_cpus_init(PcMachine *pc, GError **err);     /* local APICs and vCPUs */
bool pc_irqchips_init(PcMachine *pc, GError **err); /* before PCI */
bool pc_chips_init(PcMachine *pc, GError **err);    /* timers, ports, serial lines */
Irq *pc_pic_irq(PcMachine *pc, unsigned n);         /* the PIC's input alone, where there is one */
void pc_isa_init(PcMachine *pc);                    /* behind the ISA bridge's function */
void pc_hotplug_init(PcMachine *pc, uint16_t port);
void pc_hotplug_ready(PcMachine *pc);
bool pc_fw_init(PcMachine *pc, GError **err);      /* fw_cfg's fixed keys, CMOS */
bool pc_fw_ready(PcMachine *pc, GError **err);     /* ACPI, SMBIOS, boot order, -fw_cfg */
unsigned pc_com_ports(const PcMachine *pc);        /* bit n: a serial line at COM(n+1)'s ports */
void pc_acpi_board(PcMachine *pc, AcpiBoard *ret); /* as the chipset is programmed now */
void pc_acpi_refresh(PcMachine *pc);               /* builds the ACPI files again */
/* contents of "bootorder"; g_free. NULL: nobody has a bootindex */
char *boot_order_text(Machine *m);
extern const PropSpec pc_props[], q35_props[];

/* hw/i386/kernel-chips.c: stand-ins for chips that the accelerator has, so that the tree shows and
 * resets them. */
extern const ObjClass kernel_lapic_class, kernel_ioapic_class, kernel_pic_class, kernel_pit_class,
    kernel_clock_class;
void kernel_lapic_new(VCpu *cpu);
void kernel_chips_new(PcMachine *pc); /* PIC, I/O APIC and the wires to them */
bool kernel_pit_new(PcMachine *pc, GError **err);
void kernel_clock_new(PcMachine *pc);

/* hw/i386/e820.c: the memory map that firmware and direct boot show. */
typedef struct E820 {
    uint64_t at, size;
    uint32_t type;
} E820;
enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4, PC_E820_MAX = 16 };
/* etc/e820: RAM and what the firmware cannot know */
unsigned pc_e820_fw(const PcMachine *pc, E820 *ret);

/* Chipset functions. */
extern const ObjClass i440fx_class, piix3_class, piix4_pm_class, mch_class, ich9_lpc_class,
    ich9_smb_class;
/* Root-bus interrupts: installed on pc->root. */
void piix3_set_intx(void *pc, unsigned devfn, unsigned pin, bool level);
void ich9_set_intx(void *pc, unsigned devfn, unsigned pin, bool level);
uint16_t piix4_pm_base(const PcMachine *pc); /* 0: off */
uint16_t ich9_pm_base(const PcMachine *pc);
bool mch_ecam(const PcMachine *pc, uint64_t *ret_base, uint32_t *ret_size);

/* hw/i386/boot.c: -kernel. */
bool boot_load(PcMachine *pc, GError **err); /* reads the files; pc->m.kernel is set */
/* after each reset: firmware's work in memory and chips, then the entry state */
bool boot_apply(PcMachine *pc, GError **err);
