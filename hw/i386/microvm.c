/*
 * The microvm board: the least that Linux with virtio-pci needs. No firmware runs; -kernel is
 * entered directly. Covered by tests/guest.
 */
#include "hw/i386/microvm.h"

#include "hw/char/debugcon.h"
#include "hw/char/serial.h"
#include "hw/i386/boot.h"
#include "hw/timer/pit.h"

static const uint64_t four_gib = UINT64_C(1) << 32;

/* The root bus's own function: PCIe wants one at 00.0, and kernels look for it. */
static bool host_realize(G_GNUC_UNUSED PciFn *f, G_GNUC_UNUSED GError **err)
{
    return true; /* identity is all it has */
}

static const PciOps host_ops = {
    .vendor = 0x1b36, .device = 0x0008, .class_code = 0x060000, .realize = host_realize
};

const ObjClass microvm_host_class = {
    .name = "gpex-root",
    .parent = "pci-device",
    .help = "Host bridge",
    .category = "Controller/Bridge/Hub",
    .size = sizeof(PciFn),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { NULL, NULL } },
    .ops = &host_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};

static void map_ram(PcMachine *pc)
{
    Machine *m = &pc->m;

    pc->below_4g = MIN(m->ram_size, (uint64_t)MICROVM_PCI_BASE);
    pc->above_4g = m->ram_size - pc->below_4g;
    region_init_ram_block(&pc->ram, &m->obj, m->mc->default_ram_id, m->ram);
    region_init_alias(&pc->ram_low, &m->obj, "ram-below-4g", &pc->ram, 0, pc->below_4g);
    region_map(&m->mem_root, 0, &pc->ram_low, 0);
    if (pc->above_4g) {
        region_init_alias(
            &pc->ram_high, &m->obj, "ram-above-4g", &pc->ram, pc->below_4g, pc->above_4g);
        region_map(&m->mem_root, four_gib, &pc->ram_high, 0);
    }
    region_init_container(&pc->pci_mem, &m->obj, "pci", UINT64_MAX);
    region_map(&m->mem_root, 0, &pc->pci_mem, -1);
}

/* The wires turn with the slot, so up to eight slots share one. */
static void set_intx(void *opaque, unsigned devfn, unsigned pin, bool level)
{
    Microvm *v = opaque;
    unsigned wire = ((devfn >> 3) + pin) & 3;

    v->intx[wire] += level ? 1u : -1u;
    irq_set(gsi_irq(&v->pc.gsi, MICROVM_INTX_BASE + wire), v->intx[wire] != 0);
}

static bool make_pci(Microvm *v, GError **err)
{
    PcMachine *pc = &v->pc;
    Machine *m = &pc->m;

    pci_bus_init_root(&pc->root, m, obj_container(&m->obj, "microvm"), "pcie.0",
        /* express= */ true, &pc->pci_mem, &m->io_root);
    pci_host_init(&pc->host, &pc->root, &m->obj, &m->io_root);
    pci_host_ecam_map(&pc->host, &m->mem_root, true, MICROVM_ECAM_BASE, MICROVM_ECAM_SIZE);
    pc->root.set_intx = set_intx;
    pc->root.intx_opaque = v;
    pc->host_fn = pci_create_simple(m, &pc->root, 0x00, "gpex-root", err);
    return pc->host_fn != NULL;
}

static void sci_changed(void *opaque, G_GNUC_UNUSED unsigned n, bool level)
{
    irq_set(gsi_irq(&((Microvm *)opaque)->pc.gsi, MICROVM_SCI), level);
}

static void make_pm(Microvm *v)
{
    Machine *m = &v->pc.m;

    reset_port_init(&v->reset_port, &m->obj, &m->io_root, m->run);
    if (!m->acpi || m->no_acpi) {
        return;
    }
    irq_init(&v->sci, sci_changed, v, 0);
    acpi_pm_init(&v->pm, &m->obj, m->run, &v->sci, 4);
    region_map(&m->io_root, MICROVM_PM_BASE, &v->pm.io, 0);
    v->pc.pm = &v->pm;
}

static bool make_timers(Microvm *v, GError **err)
{
    PcMachine *pc = &v->pc;
    Machine *m = &pc->m;
    RtcConfig rtc = { .clock = m->rtc_clock_vm ? CLOCK_KIND_VIRTUAL : CLOCK_KIND_HOST,
        .offset_ns = m->rtc_offset_ns };

    if (v->opt_rtc != ON_OFF_AUTO_OFF) {
        pc->rtc = rtc_new(&m->obj, &m->io_root, &rtc, gsi_irq(&pc->gsi, 8));
    }
    if (v->opt_pit == ON_OFF_AUTO_OFF) {
        return true;
    }
    if (accel_irqchip(m->accel) == ACCEL_IRQCHIP_KERNEL) {
        return kernel_pit_new(pc, err);
    }
    pit_new(m->unattached, &m->io_root, gsi_irq(&pc->gsi, 0));
    return true;
}

static bool make_chips(Microvm *v, GError **err)
{
    PcMachine *pc = &v->pc;
    Machine *m = &pc->m;

    isa_bus_init(&pc->isa, NULL, &m->obj, &m->io_root, pc->gsi.in);
    for (unsigned i = 0; v->opt_serial && i < m->serials->len; i++) {
        Chardev *chr = g_ptr_array_index(m->serials, i);

        if (i >= 1 && chr) {
            return err_set(err, "max isa serial ports reached: -serial number %u", i);
        }
        if (chr && !isa_serial_new(m->unattached, &pc->isa, i, chr, err)) {
            return false;
        }
        pc->com[i] = chr != NULL;
    }
    if (m->debugcon) {
        isa_debugcon_new(m->unattached, &pc->isa, 0xe9, m->debugcon);
    }
    return true;
}

static bool check_options(const Microvm *v, GError **err)
{
    const Machine *m = &v->pc.m;
    static const char no[] = "machine 'microvm': %s is not supported";

    if (v->opt_pcie == ON_OFF_AUTO_OFF) {
        return err_set(err, no, "pcie=off (devices are on PCIe only)");
    }
    if (v->opt_pic == ON_OFF_AUTO_OFF) {
        return err_set(err, no, "pic=off");
    }
    if (v->opt_ioapic2 == ON_OFF_AUTO_ON) {
        return err_set(err, no, "ioapic2=on");
    }
    if (m->firmware) {
        return err_set(err, no, "-bios (it boots -kernel directly)");
    }
    if (m->smbios_entries && m->smbios_entries->len) {
        return err_set(err, no, "-smbios");
    }
    if (m->fw_cfg_entries && m->fw_cfg_entries->len) {
        return err_set(err, no, "-fw_cfg");
    }
    if (!m->kernel) {
        return err_set(err, "machine 'microvm' has no firmware: -kernel is needed");
    }
    return true;
}

static bool microvm_init(Machine *m, GError **err)
{
    Microvm *v = (Microvm *)m;

    v->pc.board = m->mc->data;
    if (!check_options(v, err)) {
        return false;
    }
    mem_begin();
    map_ram(&v->pc);
    bool ok = pc_cpus_init(&v->pc, err) && pc_irqchips_init(&v->pc, err) && make_pci(v, err) &&
              make_timers(v, err) && make_chips(v, err);

    make_pm(v);
    mem_commit();
    return ok;
}

static bool load_dtb(PcMachine *pc, GError **err)
{
    g_autoptr(GError) why = NULL;
    struct DirectBoot *b = pc->boot;

    if (!pc->m.dtb) {
        return true;
    }
    if (b->kernel.kind != KERNEL_BZIMAGE || b->kernel.protocol < 0x209) {
        return err_set(err, "-dtb: this kernel takes no device tree");
    }
    b->dtb = g_mapped_file_new(pc->m.dtb, FALSE, &why);
    if (!b->dtb) {
        return err_set(err, "couldn't open dtb file %s: %s", pc->m.dtb, why->message);
    }
    if (!microvm_dt_check(g_mapped_file_get_contents(b->dtb), g_mapped_file_get_length(b->dtb))) {
        return err_set(err, "%s is not a device tree", pc->m.dtb);
    }
    return true;
}

static bool dump_dtb(Microvm *v, GError **err)
{
    g_autoptr(GByteArray) tree = microvm_dt(v);

    if (!g_file_set_contents(v->opt_dumpdtb, (const char *)tree->data, (gssize)tree->len, err)) {
        return false;
    }
    g_printerr("%s: info: dtb dumped to %s. Exiting.\n", g_get_prgname(), v->opt_dumpdtb);
    run_request_shutdown(v->pc.m.run, SHUTDOWN_HOST_QMP_QUIT);
    return true;
}

static bool microvm_ready(Machine *m, GError **err)
{
    Microvm *v = (Microvm *)m;

    return boot_load(&v->pc, err) && load_dtb(&v->pc, err) && (!v->opt_dumpdtb || dump_dtb(v, err));
}

static void microvm_reset(Machine *m)
{
    Microvm *v = (Microvm *)m;

    v->reset_port.val = 0;
    if (v->pc.pm) {
        acpi_pm_reset(&v->pm);
        acpi_pm_set_enable(&v->pm, true); /* there is no other mode: FADT's SMI_CMD is 0 */
    }
    pc_reset(m);
}

/* What firmware would leave behind: BARs, tables, the memory map. */
static bool microvm_firmware(PcMachine *pc, struct DirectBoot *b, GError **err)
{
    const Microvm *v = (const Microvm *)pc;
    const AccelClass *cls = pc->m.accel->cls;
    const E820 map[] = {
        { 0, BOOT_LOW_END, E820_RAM },
        { MICROVM_TABLES, MICROVM_TABLES_END - MICROVM_TABLES, E820_RESERVED },
        { 1 << 20, pc->below_4g - (1 << 20), E820_RAM },
        { MICROVM_ECAM_BASE, MICROVM_ECAM_SIZE, E820_RESERVED },
        { four_gib, pc->above_4g, E820_RAM },
        { cls->reserved_at, cls->reserved_size, E820_RESERVED },
    };

    boot_pci(pc);
    boot_chips(pc);
    b->ne820 = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(map); i++) {
        if (map[i].size) {
            b->e820[b->ne820++] = map[i];
        }
    }
    b->ram_top = pc->below_4g;
    b->rsdp = 0;
    if (!pc->pm) {
        return true;
    }
    g_autoptr(GByteArray) tables = microvm_acpi(v);

    b->rsdp = MICROVM_TABLES;
    return boot_write(pc, MICROVM_TABLES, tables->data, tables->len, err);
}

static const PcBoard microvm_board = {
    .firmware = microvm_firmware, .pci_end = MICROVM_ECAM_BASE, .takes_dtb = true
};

/* clang-format off */
static const PropSpec microvm_props[] = {
    PROP_ON_OFF_AUTO("pcie", Microvm, opt_pcie, ON_OFF_AUTO_AUTO, "PCIe (auto is on)"),
    PROP_ON_OFF_AUTO("pic", Microvm, opt_pic, ON_OFF_AUTO_AUTO, "8259 interrupt controllers (auto is on)"),
    PROP_ON_OFF_AUTO("pit", Microvm, opt_pit, ON_OFF_AUTO_AUTO, "interval timer (auto is on)"),
    PROP_ON_OFF_AUTO("rtc", Microvm, opt_rtc, ON_OFF_AUTO_AUTO, "real-time clock (auto is on)"),
    PROP_ON_OFF_AUTO("ioapic2", Microvm, opt_ioapic2, ON_OFF_AUTO_AUTO, "second I/O APIC (auto is off)"),
    PROP_STR("dumpdtb", Microvm, opt_dumpdtb, "writes the device tree there and ends"),
    PROP_BOOL("isa-serial", Microvm, opt_serial, true, "serial line"),
    PROP_BOOL("auto-kernel-cmdline", Microvm, opt_cmdline, true, "no effect: there are no virtio-mmio devices"),
    PROP_BOOL("x-option-roms", Microvm, opt_option_roms, true, "no effect: no firmware runs them"),
    PROP_END,
};
/* clang-format on */

extern const MachineClass machine_microvm;
const MachineClass machine_microvm = {
    .name = "microvm",
    .desc = "microvm (i386)",
    .family = "microvm",
    .max_cpus = 288,
    .default_cpus = 1,
    .default_ram = 128 << 20,
    .default_ram_id = "microvm.ram",
    .default_cpu = "qemu64",
    .size = sizeof(Microvm),
    .props = microvm_props,
    .init = microvm_init,
    .ready = microvm_ready,
    .reset = microvm_reset,
    .data = &microvm_board,
    .acpi = true,
};
