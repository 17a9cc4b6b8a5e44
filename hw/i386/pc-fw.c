/*
 * What the firmware is told: fw_cfg's keys and files, and CMOS (SeaBIOS's docs and src/fw describe
 * both). ACPI files are built again when the guest selects one, because the firmware programs the
 * chipset before it reads them.
 */
#include "hw/i386/pc.h"
#include "hw/i386/smbios.h"
#include "util/le.h"

#include <string.h>

static const char default_boot_order[] = "cad";

static void fw_keys(PcMachine *pc)
{
    Machine *m = &pc->m;
    /* One timer block: its ID register's low word, base, minimum tick, page protection (IA-PC
     * HPET 1.0a, 3.2.4). */
    static const uint8_t hpet[] = { 1, 0x01, 0xa2, 0x86, 0x80, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0, 0, 0,
        0 };
    uint32_t limit = pc->apic_ids[m->smp.cpus - 1] + 1;
    g_autofree uint64_t *numa = NULL;

    limit = MAX(limit, m->smp.maxcpus);
    numa = g_new0(uint64_t, 1 + limit);
    fw_cfg_add_bytes(pc->fw, FW_CFG_UUID, m->uuid, sizeof(m->uuid));
    fw_cfg_add_u64(pc->fw, FW_CFG_RAM_SIZE, m->ram_size);
    fw_cfg_add_u16(pc->fw, FW_CFG_NOGRAPHIC, !m->graphics || m->nographic);
    fw_cfg_add_u16(pc->fw, FW_CFG_NB_CPUS, (uint16_t)m->smp.cpus);
    fw_cfg_add_u16(pc->fw, FW_CFG_MAX_CPUS, (uint16_t)limit);
    fw_cfg_add_u16(pc->fw, FW_CFG_BOOT_MENU, m->boot_menu);
    fw_cfg_add_bytes(pc->fw, FW_CFG_NUMA, numa, (1 + limit) * sizeof(*numa));
    fw_cfg_add_u32(pc->fw, FW_CFG_IRQ0_OVERRIDE, 1);
    if (pc->hpet) {
        fw_cfg_add_bytes(pc->fw, FW_CFG_HPET, hpet, sizeof(hpet));
    }
}

static void cmos16(Rtc *r, unsigned reg, uint64_t v)
{
    rtc_set_cmos(r, reg, (uint8_t)MIN(v, 0xffff));
    rtc_set_cmos(r, reg + 1, (uint8_t)(MIN(v, 0xffff) >> 8));
}

static unsigned boot_nibble(char c)
{
    return c == 'a' || c == 'b' ? 1 : c == 'c' ? 2 : c == 'd' ? 3 : c == 'n' ? 4 : 0;
}

static bool cmos_boot(PcMachine *pc, GError **err)
{
    const Machine *m = &pc->m;
    const char *order = m->boot_once    ? m->boot_once
                        : m->boot_order ? m->boot_order
                                        : default_boot_order;
    unsigned n[3] = { 0 };

    if (strlen(order) > 3) {
        return err_set(err, "Too many boot devices for PC");
    }
    for (unsigned i = 0; order[i]; i++) {
        n[i] = boot_nibble(order[i]);
        if (!n[i]) {
            return err_set(err, "Invalid boot device for PC: '%c'", order[i]);
        }
    }
    rtc_set_cmos(pc->rtc, 0x3d, (uint8_t)(n[1] << 4 | n[0]));
    rtc_set_cmos(pc->rtc, 0x38, (uint8_t)(n[2] << 4 | !pc->opt_fd_bootchk));
    return true;
}

/* Memory sizes in the units and places of IBM's AT and its successors. */
static bool fill_cmos(PcMachine *pc, GError **err)
{
    uint64_t low = pc->below_4g, ext = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;

    cmos16(pc->rtc, 0x15, MIN(low >> 10, 640));
    cmos16(pc->rtc, 0x17, ext);
    cmos16(pc->rtc, 0x30, ext);
    cmos16(pc->rtc, 0x34, low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0);
    rtc_set_cmos(pc->rtc, 0x5b, (uint8_t)(pc->above_4g >> 16));
    rtc_set_cmos(pc->rtc, 0x5c, (uint8_t)(pc->above_4g >> 24));
    rtc_set_cmos(pc->rtc, 0x5d, (uint8_t)(pc->above_4g >> 32));
    rtc_set_cmos(pc->rtc, 0x5f, (uint8_t)MIN(pc->m.smp.cpus - 1, 255));
    rtc_set_cmos(pc->rtc, 0x14, 0x06); /* FPU and pointing device */
    rtc_set_cmos(pc->rtc, 0x37, 0x20); /* the century once more, where PS/2 machines have it */
    return cmos_boot(pc, err);
}

bool pc_fw_init(PcMachine *pc, GError **err)
{
    pc->fw = fw_cfg_new(&pc->m.obj, &pc->m.io_root, pc->m.mem, err);
    if (!pc->fw) {
        return false;
    }
    fw_keys(pc);
    return fill_cmos(pc, err);
}

unsigned pc_e820_fw(const PcMachine *pc, E820 *ret)
{
    const AccelClass *cls = pc->m.accel ? pc->m.accel->cls : NULL;
    unsigned n = 0;

    /* Addresses that AMD's IOMMUs take for HyperTransport: no RAM may lie there (AMD IOMMU
     * 48882, 2.1.2). */
    ret[n++] = (E820){ UINT64_C(0xfd00000000), UINT64_C(0x300000000), E820_RESERVED };
    ret[n++] = (E820){ 0, pc->below_4g, E820_RAM };
    if (cls && cls->reserved_size) {
        ret[n++] = (E820){ cls->reserved_at, cls->reserved_size, E820_RESERVED };
    }
    if (pc->above_4g) {
        ret[n++] = (E820){ UINT64_C(1) << 32, pc->above_4g, E820_RAM };
    }
    return n;
}

static bool add_e820(PcMachine *pc, GError **err)
{
    E820 map[PC_E820_MAX];
    uint8_t buf[PC_E820_MAX * 20];
    unsigned n = pc_e820_fw(pc, map);

    for (unsigned i = 0; i < n; i++) {
        le64 at = le64_of(map[i].at), size = le64_of(map[i].size);
        le32 type = le32_of(map[i].type);

        memcpy(buf + i * 20, &at, 8);
        memcpy(buf + i * 20 + 8, &size, 8);
        memcpy(buf + i * 20 + 16, &type, 4);
    }
    return fw_cfg_add_file(pc->fw, "etc/e820", buf, n * 20, err);
}

static bool add_boot_files(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    static const uint8_t states[6] = { 0x80, 0, 0, 0x01, 0x82,
        0x80 }; /* S0, S4 as type 2, S5; no S3 */
    g_autofree char *order = boot_order_text(m);
    le32 fail = le32_of((uint32_t)m->boot_reboot_timeout);
    le16 menu = le16_of((uint16_t)m->boot_splash_time);

    if (m->boot_reboot_timeout < -1 || m->boot_reboot_timeout > 0xffff) {
        return err_set(err, "reboot timeout is invalid,it should be a value between -1 and 65535");
    }
    if (m->boot_splash_time < -1 || m->boot_splash_time > 0xffff) {
        return err_set(err, "splash-time is invalid,it should be a value between 0 and 65535");
    }
    return fw_cfg_add_file(pc->fw, "bootorder", order, order ? strlen(order) + 1 : 0, err) &&
           fw_cfg_add_file(pc->fw, "bios-geometry", NULL, 0, err) &&
           fw_cfg_add_file(pc->fw, "etc/boot-fail-wait", &fail, sizeof(fail), err) &&
           (m->boot_splash_time <= 0 ||
               fw_cfg_add_file(pc->fw, "etc/boot-menu-wait", &menu, sizeof(menu), err)) &&
           fw_cfg_add_file(pc->fw, "etc/system-states", states, sizeof(states), err);
}

static bool add_smbios(PcMachine *pc, GError **err)
{
    Machine *m = &pc->m;
    SmbiosInfo info = { .manufacturer = "QEMU",
        .product = m->mc->desc,
        .version = m->mc->name,
        .cpu = m->cpu_model,
        .smp = m->smp,
        .ram_size = m->ram_size,
        .dimm_size = pc->board->dimm_size,
        .uuid = m->has_uuid ? m->uuid : NULL,
        .entry64 = pc->opt_smbios_entry == 2 };
    GByteArray *tables, *anchor;
    bool ok;

    info.smp.maxcpus = MAX(m->smp.maxcpus, m->smp.cpus);
    info.smp.sockets = MAX(m->smp.sockets, 1);
    info.smp.threads = MAX(m->smp.threads, 1);
    info.area[info.nareas].size = pc->below_4g;
    info.nareas++;
    if (pc->above_4g) {
        info.area[info.nareas].start = UINT64_C(1) << 32;
        info.area[info.nareas].size = pc->above_4g;
        info.nareas++;
    }
    if (!smbios_build(&info, m->smbios_entries, &tables, &anchor, err)) {
        return false;
    }
    ok = fw_cfg_add_file(pc->fw, "etc/smbios/smbios-tables", tables->data, tables->len, err) &&
         fw_cfg_add_file(pc->fw, "etc/smbios/smbios-anchor", anchor->data, anchor->len, err);
    g_byte_array_unref(tables);
    g_byte_array_unref(anchor);
    return ok;
}

/* ACPI. */

typedef struct Window {
    uint64_t low, high;
} Window;

/* Where the firmware put 64-bit BARs and bridge windows. */
static void window_of(PciFn *f, void *opaque)
{
    Window *w = opaque;

    for (unsigned i = 0; i < 6; i++) {
        const PciBar *b = &f->bar[i];

        if (b->region && b->kind >= PCI_BAR_MEM64 && b->mapped && b->addr >> 32) {
            w->low = MIN(w->low, b->addr);
            w->high = MAX(w->high, b->addr + b->size);
        }
    }
    if (f->ops->is_bridge) {
        uint64_t base = (uint64_t)pci_get32(f, 0x28) << 32 | (uint64_t)(pci_get16(f, 0x24) & 0xfff0)
                                                                 << 16;
        uint64_t limit = (uint64_t)pci_get32(f, 0x2c) << 32 |
                         (uint64_t)(pci_get16(f, 0x26) & 0xfff0) << 16 | 0xfffff;

        if (base >> 32 && base < limit) {
            w->low = MIN(w->low, base);
            w->high = MAX(w->high, limit + 1);
        }
    }
}

unsigned pc_com_ports(const PcMachine *pc)
{
    static const uint64_t com_ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    unsigned found = 0;

    for (unsigned n = 0; n < 4; n++) {
        found |= (unsigned)pc->com[n] << n;
    }
    for (unsigned i = 0; i < pc->isa.bus.devs->len; i++) {
        Obj *o = g_ptr_array_index(pc->isa.bus.devs, i);
        g_autoptr(Json) port = obj_is(o, "isa-serial") ? prop_get(o, "iobase", NULL) : NULL;

        for (unsigned n = 0; port && n < 4; n++) {
            found |= (unsigned)(json_get_uint(port) == com_ports[n]) << n;
        }
    }
    return found;
}

static void find_devices(PcMachine *pc, AcpiBoard *b)
{
    for (unsigned n = 0; n < 4; n++) {
        b->com[n] = pc_com_ports(pc) >> n & 1;
    }
    for (unsigned i = 0; i < pc->isa.bus.devs->len; i++) {
        Obj *o = g_ptr_array_index(pc->isa.bus.devs, i);
        g_autoptr(Json) port = obj_is(o, "pvpanic") ? prop_get(o, "ioport", NULL) : NULL;

        if (port) {
            b->pvpanic = true;
            b->pvpanic_port = (uint16_t)json_get_uint(port);
        }
    }
}

void pc_acpi_board(PcMachine *pc, AcpiBoard *ret)
{
    Window w = { UINT64_MAX, 0 };
    bool q35 = pc->board->q35;
    uint64_t ram_end = (UINT64_C(1) << 32) + pc->above_4g;

    *ret = (AcpiBoard){ .q35 = q35,
        .hpet = pc->hpet,
        .i8042 = pc->opt_i8042,
        .pcihp = pc->acpi_hotplug,
        .s4 = true,
        .s4_val = 2,
        .ncpus = pc->m.smp.cpus,
        .apic_ids = pc->apic_ids,
        .gpe_len = q35 ? 16 : 4,
        .pcihp_base = q35 ? 0xcc0 : 0xae00,
        .hole_start = pc->below_4g,
        .root = &pc->root };
    ret->pm_base = q35 ? ich9_pm_base(pc) : piix4_pm_base(pc);
    ret->gpe_base = q35 ? (uint16_t)(ret->pm_base + 0x20) : 0xafe0;
    if (q35) {
        mch_ecam(pc, &ret->mcfg_base, &ret->mcfg_size);
    }
    ret->hole64_start = (ram_end + (1 << 30) - 1) & ~(uint64_t)((1 << 30) - 1);
    ret->hole64_size = pc->board->hole64_size;
    pci_bus_walk(&pc->root, window_of, &w);
    if (w.high) {
        ret->hole64_start = w.low;
        ret->hole64_size = MAX(w.high - w.low, ret->hole64_size);
    }
    ret->oem_id = pc->opt_oem_id ? pc->opt_oem_id : "BOCHS ";
    ret->oem_table_id = pc->opt_oem_table_id ? pc->opt_oem_table_id : "BXPC    ";
    find_devices(pc, ret);
}

static void build_acpi(PcMachine *pc, AcpiFiles *f)
{
    AcpiBoard b;

    pc_acpi_board(pc, &b);
    acpi_build(&b, f);
}

void pc_acpi_refresh(PcMachine *pc)
{
    AcpiFiles f;

    if (!fw_cfg_file(pc->fw, "etc/acpi/tables", NULL)) {
        return;
    }
    build_acpi(pc, &f);
    fw_cfg_set_file(pc->fw, "etc/acpi/tables", f.tables->data, f.tables->len);
    fw_cfg_set_file(pc->fw, "etc/acpi/rsdp", f.rsdp->data, f.rsdp->len);
    fw_cfg_set_file(pc->fw, "etc/table-loader", f.loader->data, f.loader->len);
    acpi_files_free(&f);
}

static void acpi_selected(void *opaque)
{
    pc_acpi_refresh(opaque);
}

static void add_acpi(PcMachine *pc)
{
    AcpiFiles f;

    if (!pc->m.acpi || pc->m.no_acpi) {
        return;
    }
    build_acpi(pc, &f);
    fw_cfg_add_file_live(
        pc->fw, "etc/acpi/tables", f.tables->data, f.tables->len, acpi_selected, pc, false);
    fw_cfg_add_file_live(
        pc->fw, "etc/acpi/rsdp", f.rsdp->data, f.rsdp->len, acpi_selected, pc, false);
    fw_cfg_add_file_live(
        pc->fw, "etc/table-loader", f.loader->data, f.loader->len, acpi_selected, pc, false);
    acpi_files_free(&f);
}

bool pc_fw_ready(PcMachine *pc, GError **err)
{
    const GPtrArray *user = pc->m.fw_cfg_entries;

    if (!add_e820(pc, err) || !add_boot_files(pc, err) || !add_smbios(pc, err)) {
        return false;
    }
    add_acpi(pc);
    for (unsigned i = 0; user && i < user->len; i++) {
        if (!fw_cfg_add_user(pc->fw, g_ptr_array_index(user, i), err)) {
            return false;
        }
    }
    return true;
}
