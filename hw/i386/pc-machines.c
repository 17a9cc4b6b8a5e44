/* Machine classes: pc and q35 with their versions, and none. Version differences are lists of
 * property values. */
#include "hw/i386/pc.h"

static const char *const smbios_entry_names[] = { "auto", "32", "64", NULL };
static PROP_ENUM_TYPE(prop_smbios_entry, "SmbiosEntryPointType", smbios_entry_names);

/* clang-format off */
#define PC_COMMON_PROPS \
    PROP_BOOL("hpet", PcMachine, opt_hpet, true, "HPET"), \
    PROP_BOOL("i8042", PcMachine, opt_i8042, true, "keyboard controller"), \
    PROP_BOOL("pit", PcMachine, opt_pit, true, "interval timer"), \
    PROP_BOOL("smbus", PcMachine, opt_smbus, true, "SMBus controller"), \
    PROP_BOOL("fd-bootchk", PcMachine, opt_fd_bootchk, true, "boot signature check of floppies"), \
    PROP_ON_OFF_AUTO("smm", PcMachine, opt_smm, ON_OFF_AUTO_AUTO, "system management mode (auto is off)"), \
    PROP_ON_OFF_AUTO("vmport", PcMachine, opt_vmport, ON_OFF_AUTO_AUTO, "VMware port (auto is off)"), \
    PROP_SIZE("max-ram-below-4g", PcMachine, opt_max_below_4g, 0, "RAM below 4 GiB at most"), \
    PROP_ENUM("smbios-entry-point-type", PcMachine, opt_smbios_entry, prop_smbios_entry, 0, "SMBIOS entry point"), \
    PROP_STR("pcspk-audiodev", PcMachine, opt_pcspk, "audio back end of the PC speaker"), \
    PROP_STR("pflash0", PcMachine, opt_pflash[0], "block node of the first flash chip, at 4 GiB"), \
    PROP_STR("pflash1", PcMachine, opt_pflash[1], "block node of the second one, below"), \
    PROP_STR("x-oem-id", PcMachine, opt_oem_id, "OEM ID of ACPI tables"), \
    PROP_STR("x-oem-table-id", PcMachine, opt_oem_table_id, "OEM table ID of ACPI tables")

const PropSpec pc_props[] = {
    PC_COMMON_PROPS,
    PROP_END,
};
const PropSpec q35_props[] = {
    PC_COMMON_PROPS,
    PROP_BOOL("sata", PcMachine, opt_sata, false, "SATA controller (not available)"),
    PROP_END,
};

static const PcBoard pc_board = { .hole64_size = UINT64_C(2) << 30, .dimm_size = UINT64_C(2) << 40 };
static const PcBoard pc_board_9_1 = { .hole64_size = UINT64_C(2) << 30, .dimm_size = UINT64_C(16) << 30 };
static const PcBoard q35_board = { .q35 = true, .hole64_size = UINT64_C(32) << 30, .dimm_size = UINT64_C(2) << 40 };
static const PcBoard q35_board_9_1 = { .q35 = true, .hole64_size = UINT64_C(32) << 30, .dimm_size = UINT64_C(16) << 30 };

/* What changed after each version, as QEMU's query-machines shows it, in the classes that exist here. */
static const CompatProp compat_9_2[] = {
    { "virtio-balloon-pci", "vectors", "0" },
    { "virtio-balloon-pci-transitional", "vectors", "0" },
    { "virtio-balloon-pci-non-transitional", "vectors", "0" },
    { NULL, NULL, NULL },
};
static const CompatProp compat_9_1[] = {
    { "pci-device", "x-pcie-ext-tag", "false" },
    { NULL, NULL, NULL },
};
static const CompatProp compat_9_0[] = {
    { "virtio-pci", "x-pcie-pm-no-soft-reset", "off" },
    { NULL, NULL, NULL },
};
static const CompatProp compat_8_1[] = {
    { "virtio-net-device", "host_uso", "off" },
    { "virtio-net-device", "guest_uso4", "off" },
    { "virtio-net-device", "guest_uso6", "off" },
    { NULL, NULL, NULL },
};
static const CompatProp compat_8_0[] = {
    { "pci-device", "x-pcie-ari-nextfn-1", "on" },
    { NULL, NULL, NULL },
};
static const CompatProp compat_7_2[] = {
    { "pci-device", "x-pcie-err-unc-mask", "off" },
    { NULL, NULL, NULL },
};
static const CompatProp compat_5_2[] = { /* and of 6.0 to 7.1 */
    { "virtio-pci", "queue_reset", "false" }, /* the transport shows its device's row */
    { "virtio-rng-pci", "vectors", "0" },
    { "virtio-rng-pci-transitional", "vectors", "0" },
    { "virtio-rng-pci-non-transitional", "vectors", "0" },
    { "ICH9-LPC", "acpi-pci-hotplug-with-bridge-support", "off" },
    { "virtio-blk-device", "report-discard-granularity", "off" },
    { "virtio-net-pci-base", "vectors", "3" },
    { NULL, NULL, NULL },
};

#define SINCE_9_2 compat_9_2
#define SINCE_9_1 compat_9_2, compat_9_1
#define SINCE_9_0 SINCE_9_1, compat_9_0
#define SINCE_8_2 SINCE_9_0
#define SINCE_8_1 SINCE_8_2, compat_8_1
#define SINCE_8_0 SINCE_8_1, compat_8_0
#define SINCE_7_2 SINCE_8_0, compat_7_2
#define SINCE_5_2 SINCE_7_2, compat_5_2
#define COMPAT(list) (const CompatProp *const[]){ list, NULL }

#define PC_MACHINE(var, ver, al, def, brd, lists) \
    const MachineClass var = { .name = "pc-i440fx-" ver, .alias = al, .is_default = def, .desc = "Standard PC (i440FX + PIIX, 1996)", \
        .family = "pc_piix", .max_cpus = 255, .default_cpus = 1, .default_ram = 128 << 20, .default_ram_id = "pc.ram", .default_vga = "std", \
        .default_cpu = "qemu64", .default_nic = "e1000", .compat = lists, .size = sizeof(PcMachine), .props = pc_props, .init = pc_init, \
        .ready = pc_ready, .reset = pc_reset, .data = &brd, .acpi = true, .hotpluggable_cpus = true }
#define Q35_MACHINE(var, ver, al, old, cpus, brd, lists) \
    const MachineClass var = { .name = "pc-q35-" ver, .alias = al, .desc = "Standard PC (Q35 + ICH9, 2009)", .family = "pc_q35", \
        .deprecated = old, .max_cpus = cpus, .default_cpus = 1, .default_ram = 128 << 20, .default_ram_id = "pc.ram", .default_vga = "std", .default_cpu = "qemu64", .default_nic = "e1000", \
        .compat = lists, .size = sizeof(PcMachine), .props = q35_props, .init = pc_init, .ready = pc_ready, \
        .reset = pc_reset, .data = &brd, .acpi = true, .hotpluggable_cpus = true }

extern const MachineClass pc_i440fx_10_0, pc_i440fx_9_2, pc_i440fx_9_1, pc_i440fx_9_0, pc_i440fx_8_2, pc_i440fx_8_1, pc_i440fx_8_0,
    pc_i440fx_7_2, pc_q35_10_0, pc_q35_9_2, pc_q35_9_1, pc_q35_9_0, pc_q35_8_2, pc_q35_8_1, pc_q35_8_0, pc_q35_7_2, pc_q35_5_2,
    machine_none;

PC_MACHINE(pc_i440fx_10_0, "10.0", "pc", true, pc_board, NULL);
PC_MACHINE(pc_i440fx_9_2, "9.2", NULL, false, pc_board, COMPAT(SINCE_9_2));
PC_MACHINE(pc_i440fx_9_1, "9.1", NULL, false, pc_board_9_1, COMPAT(SINCE_9_1));
PC_MACHINE(pc_i440fx_9_0, "9.0", NULL, false, pc_board_9_1, COMPAT(SINCE_9_0));
PC_MACHINE(pc_i440fx_8_2, "8.2", NULL, false, pc_board_9_1, COMPAT(SINCE_8_2));
PC_MACHINE(pc_i440fx_8_1, "8.1", NULL, false, pc_board_9_1, COMPAT(SINCE_8_1));
PC_MACHINE(pc_i440fx_8_0, "8.0", NULL, false, pc_board_9_1, COMPAT(SINCE_8_0));
PC_MACHINE(pc_i440fx_7_2, "7.2", NULL, false, pc_board_9_1, COMPAT(SINCE_7_2));
Q35_MACHINE(pc_q35_10_0, "10.0", "q35", false, 4096, q35_board, NULL);
Q35_MACHINE(pc_q35_9_2, "9.2", NULL, false, 4096, q35_board, COMPAT(SINCE_9_2));
Q35_MACHINE(pc_q35_9_1, "9.1", NULL, false, 4096, q35_board_9_1, COMPAT(SINCE_9_1));
Q35_MACHINE(pc_q35_9_0, "9.0", NULL, false, 4096, q35_board_9_1, COMPAT(SINCE_9_0));
Q35_MACHINE(pc_q35_8_2, "8.2", NULL, false, 1024, q35_board_9_1, COMPAT(SINCE_8_2));
Q35_MACHINE(pc_q35_8_1, "8.1", NULL, false, 1024, q35_board_9_1, COMPAT(SINCE_8_1));
Q35_MACHINE(pc_q35_8_0, "8.0", NULL, false, 288, q35_board_9_1, COMPAT(SINCE_8_0));
Q35_MACHINE(pc_q35_7_2, "7.2", NULL, false, 288, q35_board_9_1, COMPAT(SINCE_7_2));
Q35_MACHINE(pc_q35_5_2, "5.2", NULL, true, 288, q35_board_9_1, COMPAT(SINCE_5_2));
/* clang-format on */

/* An empty machine: RAM if -m says so, no bus, at most one CPU. */
static bool none_init(Machine *m, GError **err)
{
    static const char not_supported[] =
        "The -%s parameter is not supported (use the generic 'loader' device instead).";

    if (m->kernel) {
        return err_set(err, not_supported, "kernel");
    }
    if (m->smp.cpus > 1) {
        return err_set(
            err, "Invalid SMP CPUs %u. The max CPUs supported by machine 'none' is 1", m->smp.cpus);
    }
    return true;
}

const MachineClass machine_none = {
    .name = "none",
    .desc = "empty machine",
    .family = "none",
    .max_cpus = 1,
    .default_cpus = 1,
    .default_ram_id = "ram",
    .size = sizeof(Machine),
    .init = none_init,
};
