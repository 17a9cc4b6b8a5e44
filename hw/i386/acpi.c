/*
 * ACPI tables other than the DSDT (ACPI 6.5, 5.2), and the loader script: the firmware allocates
 * each file, then adds the files' addresses to the pointers named and finally computes the
 * checksums.
 */
#include "hw/i386/acpi.h"

#include <string.h>

enum {
    CMD_ALLOCATE = 1,
    CMD_POINTER = 2,
    CMD_CHECKSUM = 3,
    CMD_SIZE = 128,
    NAME_SIZE = 56,
    ZONE_HIGH = 1,
    ZONE_FSEG = 2
};
enum { HEADER_LEN = 36, HEADER_CHECKSUM = 9 };

static const char file_tables[] = "etc/acpi/tables", file_rsdp[] = "etc/acpi/rsdp";

typedef struct AcpiBuild {
    const AcpiBoard *board;
    GByteArray *t; /* the tables' file */
    GByteArray *script;
    uint32_t listed[8]; /* offsets of what the RSDT lists */
    unsigned nlisted;
} AcpiBuild;

static void put(GByteArray *t, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t x = (uint8_t)(v >> (8 * i));

        g_byte_array_append(t, &x, 1);
    }
}

static void put_text(GByteArray *t, const char *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t x = i < strlen(s) ? (uint8_t)s[i] : ' ';

        g_byte_array_append(t, &x, 1);
    }
}

static void put_name(GByteArray *t, const char *name)
{
    char buf[NAME_SIZE] = { 0 };

    g_strlcpy(buf, name, sizeof(buf));
    g_byte_array_append(t, (const uint8_t *)buf, sizeof(buf));
}

static void script_pad(AcpiBuild *b)
{
    while (b->script->len % CMD_SIZE) {
        put(b->script, 0, 1);
    }
}

static void script_allocate(AcpiBuild *b, const char *file, uint32_t align, uint8_t zone)
{
    put(b->script, CMD_ALLOCATE, 4);
    put_name(b->script, file);
    put(b->script, align, 4);
    put(b->script, zone, 1);
    script_pad(b);
}

/* The pointer of `size` bytes at off of file holds an offset into the tables; their address is
 * added to it. */
static void script_pointer(AcpiBuild *b, const char *file, uint32_t off, uint8_t size)
{
    put(b->script, CMD_POINTER, 4);
    put_name(b->script, file);
    put_name(b->script, file_tables);
    put(b->script, off, 4);
    put(b->script, size, 1);
    script_pad(b);
}

static void script_checksum(
    AcpiBuild *b, const char *file, uint32_t at, uint32_t start, uint32_t len)
{
    put(b->script, CMD_CHECKSUM, 4);
    put_name(b->script, file);
    put(b->script, at, 4);
    put(b->script, start, 4);
    put(b->script, len, 4);
    script_pad(b);
}

/* ACPI 6.5, 5.2.6: the length is filled in by table_end(). */
static uint32_t table_begin(AcpiBuild *b, const char *signature, uint8_t revision)
{
    uint32_t at = b->t->len;

    put_text(b->t, signature, 4);
    put(b->t, 0, 4);
    put(b->t, revision, 1);
    put(b->t, 0, 1);
    put_text(b->t, b->board->oem_id, 6);
    put_text(b->t, b->board->oem_table_id, 8);
    put(b->t, 1, 4);
    put_text(b->t, "BXPC", 4); /* the creator QEMU's tables name: firmware quirks are keyed by it */
    put(b->t, 1, 4);
    return at;
}

static void table_end(AcpiBuild *b, uint32_t at, bool listed)
{
    uint32_t len = b->t->len - at, le = GUINT32_TO_LE(len);

    memcpy(b->t->data + at + 4, &le, 4);
    script_checksum(b, file_tables, at + HEADER_CHECKSUM, at, len);
    if (listed) {
        b->listed[b->nlisted++] = at;
    }
}

static void put_gas(GByteArray *t, uint8_t space, uint8_t bits, uint64_t addr)
{
    put(t, space, 1);
    put(t, bits, 1);
    put(t, 0, 2);
    put(t, addr, 8);
}

/* ACPI 6.5, 5.2.9. The q35 board has revision 3 with the reset register, the older board
 * ACPI 1.0's. */
static void build_fadt(AcpiBuild *b, uint32_t facs, uint32_t dsdt)
{
    const AcpiBoard *m = b->board;
    GByteArray *t = b->t;
    uint32_t at = table_begin(b, "FACP", m->q35 ? 3 : 1);
    uint32_t flags = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 7 |
                     1 << 15; /* WBINVD, C1, no sleep button, S4 RTC wake, timer */

    flags |= m->q35 ? 1 << 10 : 0; /* reset register */
    flags |=
        m->ncpus > 8 ? 1 << 18 : 0; /* logical destination mode reaches them only in clusters */
    put(t, facs, 4);
    put(t, dsdt, 4);
    script_pointer(b, file_tables, at + 36, 4);
    script_pointer(b, file_tables, at + 40, 4);
    put(t, 1, 1); /* interrupt model: ACPI 1.0's field */
    put(t, 0, 1);
    put(t, 9, 2); /* SCI */
    put(t, 0, 8); /* no SMI command: the machine is in ACPI mode from reset, there is no SMM */
    put(t, m->pm_base, 4);
    put(t, 0, 4);
    put(t, m->pm_base + 4u, 4);
    put(t, 0, 8);
    put(t, m->pm_base + 8u, 4);
    put(t, m->gpe_base, 4);
    put(t, 0, 4);
    put(t, 4, 1);
    put(t, 2, 1);
    put(t, 0, 1);
    put(t, 4, 1);
    put(t, m->gpe_len, 1);
    put(t, 0, 3);
    put(t, 0x0fff, 2); /* no C2 */
    put(t, 0x0fff, 2); /* no C3 */
    put(t, 0, 8);
    put(t, 0x32, 1); /* century */
    put(t, m->q35 && m->i8042 ? 1 << 1 : 0, 2);
    put(t, 0, 1);
    put(t, flags, 4);
    if (m->q35) {
        put_gas(t, 1, 8, 0xcf9);
        put(t, 0x0f, 1);
        put(t, 0, 3);
        put(t, 0, 8);
        put(t, dsdt, 8);
        script_pointer(b, file_tables, at + 140, 8);
        put_gas(t, 1, 32, m->pm_base);
        put_gas(t, 0, 0, 0);
        put_gas(t, 1, 16, m->pm_base + 4u);
        put_gas(t, 0, 0, 0);
        put_gas(t, 0, 0, 0);
        put_gas(t, 1, 32, m->pm_base + 8u);
        put_gas(t, 1, 128, m->gpe_base);
        put_gas(t, 0, 0, 0);
    }
    table_end(b, at, true);
}

/* ACPI 6.5, 5.2.12 */
static void build_madt(AcpiBuild *b)
{
    static const uint8_t level_irqs[] = { 5, 9, 10, 11 }; /* what PCI links and the SCI may use */
    const AcpiBoard *m = b->board;
    GByteArray *t = b->t;
    uint32_t at = table_begin(b, "APIC", 3);
    bool x2 = false;

    put(t, 0xfee00000, 4);
    put(t, 1, 4); /* a pair of 8259s is there too */
    for (unsigned i = 0; i < m->ncpus; i++) {
        if (m->apic_ids[i] < 255) {
            put(t, 0x0800, 2);
            put(t, i, 1);
            put(t, m->apic_ids[i], 1);
            put(t, 1, 4);
        } else {
            put(t, 0x1009, 4);
            put(t, m->apic_ids[i], 4);
            put(t, 1, 4);
            put(t, i, 4);
            x2 = true;
        }
    }
    put(t, 0x0c01, 2);
    put(t, 0, 2);
    put(t, 0xfec00000, 4);
    put(t, 0, 4);
    put(t, 0x0a02, 2); /* ISA interrupt 0 is pin 2 */
    put(t, 0, 2);
    put(t, 2, 4);
    put(t, 0, 2);
    for (unsigned i = 0; i < sizeof(level_irqs); i++) {
        put(t, 0x0a02, 2);
        put(t, level_irqs[i] << 8, 2);
        put(t, level_irqs[i], 4);
        put(t, 0x0d, 2); /* active high, level */
    }
    if (x2) {
        put(t, 0x0c0a, 2);
        put(t, 0, 2);
        put(t, 0xffffffff, 4);
        put(t, 1, 1);
        put(t, 0, 3);
    } else {
        put(t, 0x0604, 2);
        put(t, 0xff, 1);
        put(t, 0, 2);
        put(t, 1, 1); /* LINT1 */
    }
    table_end(b, at, true);
}

/* IA-PC HPET 1.0a, 3.2.4 */
static void build_hpet(AcpiBuild *b)
{
    uint32_t at = table_begin(b, "HPET", 1);

    put(b->t, 0x8086a201, 4);
    put_gas(b->t, 0, 0, 0xfed00000);
    put(b->t, 0, 4);
    table_end(b, at, true);
}

/* PCI Firmware 3.3, 4.1.2 */
static void build_mcfg(AcpiBuild *b)
{
    uint32_t at = table_begin(b, "MCFG", 1);

    put(b->t, 0, 8);
    put(b->t, b->board->mcfg_base, 8);
    put(b->t, 0, 3);
    put(b->t, (b->board->mcfg_size >> 20) - 1, 1);
    put(b->t, 0, 4);
    table_end(b, at, true);
}

static void build_waet(AcpiBuild *b)
{
    uint32_t at = table_begin(b, "WAET", 1);

    put(b->t, 1 << 1, 4); /* one read of the PM timer is enough */
    table_end(b, at, true);
}

static uint32_t build_rsdt(AcpiBuild *b)
{
    uint32_t at = table_begin(b, "RSDT", 1);

    for (unsigned i = 0; i < b->nlisted; i++) {
        put(b->t, b->listed[i], 4);
        script_pointer(b, file_tables, at + HEADER_LEN + 4 * i, 4);
    }
    table_end(b, at, false);
    return at;
}

static void pad_to(GByteArray *t, unsigned align)
{
    unsigned len = t->len, full = (len + align - 1) / align * align;

    g_byte_array_set_size(t, full);
    memset(t->data + len, 0, full - len);
}

void acpi_build(const AcpiBoard *board, AcpiFiles *ret)
{
    AcpiBuild b = { .board = board, .t = g_byte_array_new(), .script = g_byte_array_new() };
    uint32_t facs = 0, dsdt, rsdt;
    Aml aml;

    script_allocate(&b, file_rsdp, 16, ZONE_FSEG);
    script_allocate(&b, file_tables, 64, ZONE_HIGH);
    put_text(b.t, "FACS", 4); /* first, for its alignment of 64: ACPI 6.5, 5.2.10 */
    put(b.t, 64, 4);
    g_byte_array_set_size(b.t, 64);
    memset(b.t->data + 8, 0, 56);

    dsdt = table_begin(&b, "DSDT", 1);
    aml_init(&aml);
    acpi_build_dsdt(board, &aml);
    g_byte_array_append(b.t, aml.code->data, aml.code->len);
    aml_fini(&aml);
    table_end(&b, dsdt, false);

    build_fadt(&b, facs, dsdt);
    build_madt(&b);
    if (board->hpet) {
        build_hpet(&b);
    }
    if (board->mcfg_base) {
        build_mcfg(&b);
    }
    build_waet(&b);
    rsdt = build_rsdt(&b);

    ret->rsdp = g_byte_array_new();
    put_text(ret->rsdp, "RSD PTR ", 8);
    put(ret->rsdp, 0, 1);
    put_text(ret->rsdp, board->oem_id, 6);
    put(ret->rsdp, 0, 1); /* ACPI 1.0: an RSDT only */
    put(ret->rsdp, rsdt, 4);
    script_pointer(&b, file_rsdp, 16, 4);
    script_checksum(&b, file_rsdp, 8, 0, ACPI_RSDP_LEN);

    pad_to(b.t, ACPI_TABLES_ALIGN);
    pad_to(b.script, ACPI_LOADER_ALIGN);
    ret->tables = b.t;
    ret->loader = b.script;
}

void acpi_files_free(AcpiFiles *f)
{
    g_clear_pointer(&f->tables, g_byte_array_unref);
    g_clear_pointer(&f->rsdp, g_byte_array_unref);
    g_clear_pointer(&f->loader, g_byte_array_unref);
}
