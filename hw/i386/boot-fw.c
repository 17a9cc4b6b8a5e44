/*
 * What firmware leaves in memory and chips besides PCI: attribute map, ACPI and SMBIOS tables, BIOS
 * data area, memory map, interrupt controllers, timer, MTRRs. Addresses of the tables are free; the
 * rest follows SeaBIOS.
 */
#include "config-host.h"
#include "hw/i386/boot.h"

#include <string.h>

enum {
    FSEG = 0xf0000,
    FSEG_RSDP = 0xf5000,
    FSEG_SMBIOS = 0xf5100,
    FSEG_TABLES = 0xf6000,
    FSEG_END = 0x100000
};
enum { FSEG_REFUSE = 0xff40, FSEG_IRET = 0xff53 };
enum { PM_PAM = 0x59, MCH_PAM = 0x90, EBDA = 0x9fc00 };

typedef struct Place {
    PcMachine *pc;
    struct DirectBoot *b;
    uint64_t top;  /* of what is free below 4 GiB */
    uint64_t fseg; /* next free place for the RSDP */
} Place;

/* c0000-fffff is RAM: everything writable while the tables are written, then read-only but for
 * e8000-effff. */
static void set_pam(PcMachine *pc, bool open)
{
    unsigned first = pc->board->q35 ? MCH_PAM : PM_PAM;

    for (unsigned i = 0; i < 7; i++) {
        uint32_t v = open || i == 6 ? 0x33 : 0x11;

        pci_fn_config_write(pc->host_fn, first + i, 1, i == 0 ? v & 0x30 : v);
    }
}

static const void *find_file(void *opaque, const char *name, size_t *ret_len)
{
    return fw_cfg_file(((Place *)opaque)->pc->fw, name, ret_len);
}

static uint64_t place_file(void *opaque, const char *name, size_t len, uint32_t align, bool fseg)
{
    Place *p = opaque;
    uint64_t at;

    if (fseg) {
        at = (p->fseg + align - 1) & ~(uint64_t)(align - 1);
        if (at + len > FSEG_SMBIOS) {
            return 0;
        }
        p->fseg = at + len;
        return at;
    }
    if (len > p->top - (1 << 20)) {
        return 0;
    }
    p->top = (p->top - len) & ~(uint64_t)(align - 1);
    return p->top;
}

static bool write_file(void *opaque, uint64_t at, const void *data, size_t len)
{
    return addrspace_write(((Place *)opaque)->pc->m.mem, at, data, len);
}

static bool place_acpi(Place *p, GError **err)
{
    AcpiLoader l = { find_file, place_file, write_file, p };
    const void *script;
    size_t len;

    p->b->rsdp = 0;
    pc_acpi_refresh(p->pc);
    script = fw_cfg_file(p->pc->fw, "etc/table-loader", &len);
    return !script || acpi_loader_run(&l, script, len, &p->b->rsdp, err);
}

/* SMBIOS. */

static uint8_t sum_of(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    while (len--) {
        s += *p++;
    }
    return s;
}

/*
 * DSP0134, 7.1: firmware describes itself where the user did not. The date is SeaBIOS's, because
 * kernels choose quirks by its year.
 */
static void prepend_type0(GByteArray *t, unsigned *ret_len)
{
    static const char text[] = "Virtue\0" VIRTUE_VERSION "\0"
                               "04/01/2014\0";
    uint8_t s[24] = { 0, 24, 0, 0, 1, 2, 0x00, 0xe8, 3, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x04, 0,
        0, 0xff, 0xff };

    *ret_len = sizeof(s) + sizeof(text);
    g_byte_array_prepend(t, (const uint8_t *)text, sizeof(text));
    g_byte_array_prepend(t, s, sizeof(s));
}

static bool place_smbios(Place *p, GError **err)
{
    size_t len, alen;
    const uint8_t *data = fw_cfg_file(p->pc->fw, "etc/smbios/smbios-tables", &len);
    const uint8_t *file = fw_cfg_file(p->pc->fw, "etc/smbios/smbios-anchor", &alen);
    uint8_t anchor[0x1f] = { 0 };
    g_autoptr(GByteArray) t = g_byte_array_new();
    uint64_t at = FSEG_TABLES;
    bool v3;

    if (!data || !file || alen > sizeof(anchor) || !len) {
        return true;
    }
    memcpy(anchor, file, alen);
    v3 = !memcmp(anchor, "_SM3_", 5);
    g_byte_array_append(t, data, (guint)len);
    if (t->data[0] != 0) {
        unsigned added;

        prepend_type0(t, &added);
        put_le(anchor + 8, MAX(added, anchor[8] | (unsigned)anchor[9] << 8), v3 ? 0 : 2);
        put_le(anchor + 0x1c, (anchor[0x1c] | (unsigned)anchor[0x1d] << 8) + 1u, v3 ? 0 : 2);
    }
    if (t->len > FSEG + FSEG_REFUSE - FSEG_TABLES) {
        at = place_file(p, "smbios", t->len, 16, false);
    }
    if (v3) {
        put_le(anchor + 0x0c, t->len, 4);
        put_le(anchor + 0x10, at, 8);
        anchor[5] = (uint8_t)-sum_of(anchor, alen);
    } else {
        put_le(anchor + 0x16, t->len, 2);
        put_le(anchor + 0x18, at, 4);
        anchor[0x15] = (uint8_t)-sum_of(anchor + 0x10, 0x0f);
        anchor[4] = (uint8_t)-sum_of(anchor, alen);
    }
    return boot_write(p->pc, FSEG_SMBIOS, anchor, alen, err) &&
           boot_write(p->pc, at, t->data, t->len, err);
}

/*
 * Real-mode interrupt vectors: kernels that ask a BIOS (Xen's trampoline: video modes, disks) are
 * told that it does not know the function. Everything else returns at once.
 */
static bool write_ivt(PcMachine *pc, GError **err)
{
    static const uint8_t iret[] = { 0xcf },
                         refuse[] = { 0xfb, 0xf9, 0xca, 0x02, 0x00 }; /* sti; stc; retf 2 */
    uint8_t ivt[1024];

    for (unsigned i = 0; i < 256; i++) {
        put_le(
            ivt + 4 * (size_t)i, 0xf0000000 | (i >= 0x10 && i < 0x20 ? FSEG_REFUSE : FSEG_IRET), 4);
    }
    return boot_write(pc, 0, ivt, sizeof(ivt), err) &&
           boot_write(pc, FSEG + FSEG_IRET, iret, sizeof(iret), err) &&
           boot_write(pc, FSEG + FSEG_REFUSE, refuse, sizeof(refuse), err);
}

/* BIOS data area and its extension: what kernels still read from it. */
static bool write_bda(PcMachine *pc, GError **err)
{
    static const uint16_t ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    uint8_t bda[256] = { 0 }, ebda[16] = { 1 }; /* its size in KiB */
    AcpiBoard board;
    unsigned n = 0;

    pc_acpi_board(pc, &board);
    for (unsigned i = 0; i < 4; i++) {
        if (board.com[i]) {
            put_le(bda + 2 * (size_t)n++, ports[i], 2);
        }
    }
    put_le(bda + 0x0e, EBDA >> 4, 2);
    put_le(bda + 0x10, 0x06 | n << 9, 2); /* FPU, pointing device, serial ports */
    put_le(bda + 0x13, EBDA >> 10, 2);
    return boot_write(pc, 0x400, bda, sizeof(bda), err) &&
           boot_write(pc, EBDA, ebda, sizeof(ebda), err);
}

static void add_range(struct DirectBoot *b, uint64_t at, uint64_t end, uint32_t type)
{
    if (at < end) {
        g_assert(b->ne820 < BOOT_E820_MAX);
        b->e820[b->ne820++] = (E820){ at, end - at, type };
    }
}

static void make_e820(PcMachine *pc, struct DirectBoot *b)
{
    E820 fw[PC_E820_MAX];
    unsigned n = pc_e820_fw(pc, fw);
    uint64_t four_gib = UINT64_C(1) << 32;

    b->ne820 = 0;
    add_range(b, 0, EBDA, E820_RAM);
    add_range(b, EBDA, 0xa0000, E820_RESERVED);
    add_range(b, FSEG, FSEG_END, E820_RESERVED);
    add_range(b, 1 << 20, b->ram_top, E820_RAM);
    add_range(b, b->ram_top, pc->below_4g, E820_RESERVED);
    if (pc->board->q35) {
        add_range(b, 0xb0000000, 0xc0000000, E820_RESERVED);
        add_range(b, 0xfed1c000, 0xfed20000, E820_RESERVED);
    }
    if (pc->m.accel->cls->reserved_size) {
        uint64_t at = pc->m.accel->cls->reserved_at;

        add_range(b, at, at + pc->m.accel->cls->reserved_size, E820_RESERVED);
    }
    add_range(b, four_gib - pc->rom.size, four_gib, E820_RESERVED);
    for (unsigned pass = 0; pass < 2; pass++) { /* RAM above, then what is reserved there */
        for (unsigned i = 0; i < n; i++) {
            if (fw[i].at >= four_gib && (fw[i].type == E820_RAM) == !pass) {
                add_range(b, fw[i].at, fw[i].at + fw[i].size, fw[i].type);
            }
        }
    }
}

/* Chips. */

static void out8(PcMachine *pc, uint16_t port, uint8_t v)
{
    addrspace_store(pc->m.io, port, 1, v, NULL);
}

/* 8259: vectors 8 and 0x70 as in real mode, edge-triggered but for 10 and 11. 8254: channel 0
 * at 18.2 Hz. */
static void set_chips(PcMachine *pc)
{
    static const uint8_t imr[2] = { 0xb8, 0x8f }, elcr[2] = { 0x00, 0x0c };
    static const struct {
        uint16_t port;
        uint8_t val;
    } writes[] = {
        { 0x20, 0x11 },
        { 0xa0, 0x11 },
        { 0x21, 0x08 },
        { 0xa1, 0x70 },
        { 0x21, 0x04 },
        { 0xa1, 0x02 },
        { 0x21, 0x01 },
        { 0xa1, 0x01 },
        { 0x21, 0xb8 },
        { 0xa1, 0x8f },
        { 0x4d0, 0x00 },
        { 0x4d1, 0x0c },
        { 0x43, 0x34 },
        { 0x40, 0x00 },
        { 0x40, 0x00 },
    };

    Accel *a = pc->m.accel;

    if (accel_irqchip(a) == ACCEL_IRQCHIP_KERNEL) {
        a->cls->irq->chips_firmware(a, imr, elcr);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(writes) && pc->pic; i++) {
        out8(pc, writes[i].port, writes[i].val);
    }
    if (pc->opt_i8042) { /* scan codes translated to set 1, keyboard interrupt on, mouse off */
        out8(pc, 0x64, 0x60);
        out8(pc, 0x60, 0x61);
    }
    if (pc->rtc) {
        rtc_set_cmos(pc->rtc, 0x0f, 0);
    }
}

static uint64_t repeat(uint8_t type)
{
    return type * UINT64_C(0x0101010101010101);
}

/* SDM vol. 3, 12.11: write-back but for a0000-bffff, the ROM area (write-protected) and the PCI
 * hole. */
static void set_mtrrs(PcMachine *pc, X86State *s)
{
    uint64_t hole = pc->below_4g > 0xc0000000                      ? 0xe0000000
                    : pc->board->q35 && pc->below_4g <= 0x80000000 ? 0x80000000
                                                                   : 0xc0000000;
    unsigned bits = pc->m.cpu_model && pc->m.cpu_model->phys_bits ? pc->m.cpu_model->phys_bits : 36;
    uint64_t phys = (UINT64_C(1) << bits) - 1;

    s->mtrr_def = 0xc06;
    s->mtrr_fixed[0] = s->mtrr_fixed[1] = repeat(6);
    s->mtrr_fixed[2] = 0;
    for (unsigned i = 3; i < 11; i++) {
        s->mtrr_fixed[i] = repeat(5);
    }
    memset(s->mtrr_var, 0, sizeof(s->mtrr_var));
    s->mtrr_var[0] = hole;
    s->mtrr_var[1] = (phys & ~((UINT64_C(1) << 32) - hole - 1)) | 1 << 11;
}

static void lapic_store(VCpu *cpu, unsigned off, uint32_t val)
{
    if (cpu->lapic) {
        lapic_mmio_write(cpu->lapic, off, val);
    } else {
        cpu->accel->cls->lapic_write(cpu, off, val);
    }
}

/* The boot processor takes the PIC's interrupts through LINT0; the others wait for their start-up
 * message. */
static void set_cpus(PcMachine *pc)
{
    for (unsigned i = 0; i < pc->m.cpus->len; i++) {
        VCpu *cpu = g_ptr_array_index(pc->m.cpus, i);
        X86State s;

        vcpu_get_state(cpu, &s);
        set_mtrrs(pc, &s);
        vcpu_set_state(cpu, &s);
        if (i == 0) {
            lapic_store(cpu, 0xf0, 0x1ff);
            lapic_store(cpu, 0x350, 0x8700);
            lapic_store(cpu, 0x360, 0x8400);
        }
    }
}

void boot_chips(PcMachine *pc)
{
    set_chips(pc);
    set_cpus(pc);
}

bool boot_firmware(PcMachine *pc, struct DirectBoot *b, GError **err)
{
    Place p = { .pc = pc, .b = b, .top = pc->below_4g, .fseg = FSEG_RSDP };

    set_pam(pc, true);
    addrspace_fill(pc->m.mem, 0xe0000, 0, 0x20000);
    if (!place_acpi(&p, err) || !place_smbios(&p, err) || !write_ivt(pc, err) ||
        !write_bda(pc, err)) {
        return false;
    }
    b->ram_top = p.top & ~UINT64_C(4095);
    set_pam(pc, false);
    make_e820(pc, b);
    boot_chips(pc);
    return true;
}
