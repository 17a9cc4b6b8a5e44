/* The PC boards: memory, CPUs and the order in which the parts are made. Tested through tests/qtest
 * and tests/guest. */
#include "hw/i386/pc.h"

#include "hw/misc/pflash.h"
#include "util/fd.h"
#include "util/log.h"

#include <inttypes.h>
#include <string.h>

enum {
    LOW_PC = 0xe0000000,
    LOW_PC_ALIGNED = 0xc0000000,
    LOW_Q35 = 0xb0000000,
    LOW_Q35_ALIGNED = 0x80000000
};
enum { FLASH_MAX = 8 << 20 }; /* together */
enum { ROM_SHADOW_MAX = 0x20000, ROM_GRANULE = 0x10000, ROM_MAX = 16 << 20 };
static const uint64_t four_gib = UINT64_C(1) << 32;

/* RAM that would reach into the PCI hole continues above 4 GiB, and then the part below ends at a
 * whole gigabyte. */
static void split_ram(PcMachine *pc)
{
    uint64_t size = pc->m.ram_size, max = pc->opt_max_below_4g, limit;

    if (pc->board->q35) {
        limit = LOW_Q35;
        pc->below_4g = size >= limit ? LOW_Q35_ALIGNED : size;
        pc->below_4g = max && max < pc->below_4g ? max : pc->below_4g;
    } else {
        limit = max ? max : LOW_PC;
        pc->below_4g = size >= limit ? MIN(limit, LOW_PC_ALIGNED) : size;
    }
    pc->above_4g = size - pc->below_4g;
}

static void map_ram(PcMachine *pc)
{
    Machine *m = &pc->m;

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

/* Flash chips: the first one ends at 4 GiB, the second one lies below it. */
static bool map_flash(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    static const char *const names[] = { "system.flash0", "system.flash1" };
    uint64_t end = four_gib, max = FLASH_MAX;

    if (!pc->opt_pflash[0] && pc->opt_pflash[1]) {
        return err_set(err, "pflash1 requires pflash0");
    }
    for (unsigned i = 0; i < 2 && pc->opt_pflash[i]; i++) {
        GError *why = NULL;
        Blk *b = prop_drive.ref->find(pc->opt_pflash[i], &why);

        if (why) {
            g_propagate_error(err, why);
            return false;
        }
        if (!b) {
            return err_set(
                err, "Property 'cfi.pflash01.drive' can't find value '%s'", pc->opt_pflash[i]);
        }
        if (!blk_size(b) || blk_size(b) % PFLASH_SECTOR) {
            return err_set(err,
                "system firmware block device pflash%u has invalid size %" PRIu64
                ": its size must be a non-zero multiple of %#x",
                i, blk_size(b), PFLASH_SECTOR);
        }
        if (blk_size(b) > max) {
            return err_set(
                err, "combined size of system firmware exceeds %u bytes", (unsigned)FLASH_MAX);
        }
        pc->flash[i] = pflash_new(&m->obj, names[i], b, err);
        if (!pc->flash[i]) {
            return false;
        }
        max -= pflash_size(pc->flash[i]);
        end -= pflash_size(pc->flash[i]);
        pflash_map(pc->flash[i], &pc->pci_mem, end);
    }
    return true;
}

static bool map_option_rom(PcMachine *pc, GError **err)
{
    if (!region_init_rom(&pc->option_rom, &pc->m.obj, "pc.rom", NULL, 0, 0x20000, err)) {
        return false;
    }
    region_map(&pc->pci_mem, 0xc0000, &pc->option_rom, 1);
    return true;
}

/* The firmware's last 128 KiB show below 1 MiB as well. */
static void map_shadow(PcMachine *pc, Region *rom)
{
    uint64_t shadow = MIN(rom->size, ROM_SHADOW_MAX);

    region_init_alias(&pc->rom_shadow, &pc->m.obj, "isa-bios", rom, rom->size - shadow, shadow);
    region_map(&pc->pci_mem, 0x100000 - shadow, &pc->rom_shadow, 1);
}

/* The firmware ends at 4 GiB; with flash chips -bios means nothing, as on QEMU. */
static bool map_rom(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    const char *name = m->firmware ? m->firmware : "bios-256k.bin";
    g_autofree char *path = machine_find_file(m, name);
    uint64_t len;

    if (!map_flash(pc, err)) {
        return false;
    }
    if (pc->flash[0]) {
        map_shadow(pc, pflash_rom(pc->flash[0]));
        return map_option_rom(pc, err);
    }
    autofd fd = path ? fd_open_file(path, &len) : -1;
    if (fd < 0 || !len || len % ROM_GRANULE || len > ROM_MAX ||
        !region_init_rom_file(&pc->rom, &m->obj, "pc.bios", fd, len, len, NULL)) {
        return err_set(err, "could not load PC BIOS '%s'", name);
    }
    region_map(&pc->pci_mem, four_gib - len, &pc->rom, 0);
    map_shadow(pc, &pc->rom);
    return map_option_rom(pc, err);
}

/* Local APICs and vCPUs. */

static void cpu_irq(void *cpu)
{
    vcpu_request(cpu, VCPU_IRQ);
}

static void cpu_nmi(void *cpu)
{
    vcpu_request(cpu, VCPU_NMI);
}

static void cpu_init_signal(void *cpu)
{
    vcpu_request(cpu, VCPU_INIT);
}

static void cpu_sipi(void *cpu, uint8_t vector)
{
    VCpu *c = cpu;

    c->sipi_vector = vector;
    vcpu_request(c, VCPU_SIPI);
}

static const LapicOps lapic_ops = {
    .irq = cpu_irq, .nmi = cpu_nmi, .init = cpu_init_signal, .sipi = cpu_sipi
};

static Lapic *current_lapic(void)
{
    VCpu *cpu = vcpu_current();

    return cpu ? cpu->lapic : NULL;
}

static void msi_sink(void *opaque, uint64_t addr, uint32_t data)
{
    lapic_bus_msi(opaque, addr, data);
}

/* Local APICs in the kernel: all messages go there. */
static void accel_sink(void *opaque, uint64_t addr, uint32_t data)
{
    Accel *a = opaque;

    a->cls->irq->msi(a, addr, data);
}

static unsigned bits_for(unsigned n)
{
    unsigned b = 0;

    while (1u << b < n) {
        b++;
    }
    return b;
}

/* SDM vol. 3, 9.9.1: each level of the topology has a field of its own in the APIC ID. */
static uint32_t apic_id_of(const SmpSpec *s, unsigned i)
{
    unsigned threads = MAX(s->threads, 1), cores = MAX(s->cores, 1) * MAX(s->clusters, 1),
             dies = MAX(s->dies, 1);
    unsigned thread_bits = bits_for(threads), core_bits = bits_for(cores),
             die_bits = bits_for(dies);
    uint32_t thread = i % threads, core = i / threads % cores, die = i / threads / cores % dies;
    uint32_t socket = i / threads / cores / dies;

    return thread | core << thread_bits | die << (thread_bits + core_bits) |
           socket << (thread_bits + core_bits + die_bits);
}

bool pc_cpus_init(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    bool x2apic = m->cpu_model && m->cpu_model->f1_ecx >> 21 & 1;

    pc->lapics = lapic_bus_new(MAX(m->smp.maxcpus, m->smp.cpus));
    pc->apic_ids = g_new0(uint32_t, m->smp.cpus);
    lapic_bus_init_region(pc->lapics, &pc->apic_page, current_lapic);
    region_map(&m->mem_root, 0xfee00000, &pc->apic_page, 4096);
    dma_set_msi_sink(m->mem, msi_sink, pc->lapics);
    if (accel_irqchip(m->accel) != ACCEL_IRQCHIP_SOFT) {
        lapic_bus_set_sink(pc->lapics, accel_sink, m->accel);
    }
    for (unsigned i = 0; i < m->smp.cpus; i++) {
        VCpu *cpu;

        pc->apic_ids[i] = apic_id_of(&m->smp, i);
        cpu = vcpu_new(m->accel, i, pc->apic_ids[i], err);
        if (!cpu) {
            return false;
        }
        if (accel_irqchip(m->accel) != ACCEL_IRQCHIP_SOFT) {
            kernel_lapic_new(cpu);
            continue;
        }
        cpu->lapic =
            lapic_new(pc->lapics, &cpu->obj, pc->apic_ids[i], i == 0, x2apic, &lapic_ops, cpu);
    }
    return true;
}

/* PCI: the root bus and the chipset's functions. */

static bool make_pci(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    bool q35 = pc->board->q35;
    Obj *tree = obj_container(&m->obj, q35 ? "q35" : "i440fx");

    pci_bus_init_root(&pc->root, m, tree, q35 ? "pcie.0" : "pci.0", q35, &pc->pci_mem, &m->io_root);
    pci_host_init(&pc->host, &pc->root, &m->obj, &m->io_root);
    pc->root.set_intx = q35 ? ich9_set_intx : piix3_set_intx;
    pc->root.intx_opaque = pc;
    if (q35) {
        pc->host_fn = pci_create_simple(m, &pc->root, 0x00, "mch", err);
        return pc->host_fn && pci_create_simple(m, &pc->root, 0xf8, "ICH9-LPC", err) &&
               (!pc->opt_smbus || pci_create_simple(m, &pc->root, 0xfb, "ICH9-SMB", err));
    }
    pc->host_fn = pci_create_simple(m, &pc->root, 0x00, "i440FX", err);
    return pc->host_fn && pci_create_simple(m, &pc->root, 0x08, "PIIX3", err) &&
           (!m->acpi || pci_create_simple(m, &pc->root, 0x0b, "PIIX4_PM", err));
}

static bool check_options(PcMachine *pc, GError **err)
{
    if (pc->opt_smm == ON_OFF_AUTO_ON) {
        return err_set(err, "System Management Mode not supported by this hypervisor.");
    }
    if (pc->opt_vmport == ON_OFF_AUTO_ON) {
        return err_set(err, "vmport is not supported by this machine");
    }
    if (pc->opt_pcspk && *pc->opt_pcspk) {
        return err_set(err, "pcspk-audiodev is not supported by this machine");
    }
    if (pc->opt_max_below_4g > four_gib) {
        return err_set(err,
            "Machine option 'max-ram-below-4g=%" G_GUINT64_FORMAT
            "' expects size less than or equal to 4G",
            pc->opt_max_below_4g);
    }
    if (pc->opt_max_below_4g && pc->opt_max_below_4g < 1 << 20) {
        return err_set(
            err, "Machine option 'max-ram-below-4g' is too small: at least 1M is needed");
    }
    if ((pc->opt_oem_id && strlen(pc->opt_oem_id) > 6) ||
        (pc->opt_oem_table_id && strlen(pc->opt_oem_table_id) > 8)) {
        return err_set(err, "User specified %s value is bigger than %u bytes in size",
            pc->opt_oem_id && strlen(pc->opt_oem_id) > 6 ? "oem-id" : "oem-table-id",
            pc->opt_oem_id && strlen(pc->opt_oem_id) > 6 ? 6u : 8u);
    }
    return true;
}

bool pc_init(Machine *m, GError **err)
{
    PcMachine *pc = (PcMachine *)m;

    pc->board = m->mc->data;
    if (!check_options(pc, err)) {
        return false;
    }
    split_ram(pc);
    mem_begin();
    map_ram(pc);
    bool ok = map_rom(pc, err) && pc_cpus_init(pc, err) && pc_irqchips_init(pc, err) &&
              make_pci(pc, err) && pc_chips_init(pc, err) && pc_fw_init(pc, err);
    mem_commit();
    return ok;
}

bool pc_ready(Machine *m, GError **err)
{
    PcMachine *pc = (PcMachine *)m;

    if (pc->acpi_hotplug) {
        pc_hotplug_ready(pc);
    }
    if (!m->kernel && (m->initrd || m->append || m->dtb)) {
        return err_set(err, "-%s only allowed with -kernel option",
            m->append   ? "append"
            : m->initrd ? "initrd"
                        : "dtb");
    }
    return pc_fw_ready(pc, err) && (!m->kernel || boot_load(pc, err));
}

void pc_reset(Machine *m)
{
    PcMachine *pc = (PcMachine *)m;
    g_autoptr(GError) err = NULL;

    machine_reset_default(m);
    rom_reset_all(m);
    if (pc->boot && !boot_apply(pc, &err)) {
        report_gerror("-kernel", err);
        run_request_shutdown(m->run, SHUTDOWN_HOST_ERROR);
    }
}
