/* hw/i386/acpi*.c: the tables after the loader script, their checksums, and iasl's opinion of every
 * one of them. */
#include "hw/i386/acpi.h"

#include <glib/gstdio.h>
#include <string.h>

static uint32_t get32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static const uint32_t ids[] = { 0, 1, 2, 3 };

static AcpiBoard board_of(PciBus *root, bool q35)
{
    return (AcpiBoard){ .q35 = q35,
        .hpet = true,
        .i8042 = true,
        .pcihp = true,
        .s3 = true,
        .s4 = true,
        .s4_val = 2,
        .ncpus = 4,
        .apic_ids = ids,
        .pm_base = 0x600,
        .gpe_base = q35 ? 0x620 : 0xafe0,
        .gpe_len = q35 ? 16 : 4,
        .pcihp_base = q35 ? 0xcc0 : 0xae00,
        .hole_start = 0x20000000,
        .hole64_start = UINT64_C(0x100000000),
        .hole64_size = UINT64_C(0x80000000),
        .mcfg_base = q35 ? 0xb0000000 : 0,
        .mcfg_size = 0x10000000,
        .com = { true, true },
        .pvpanic = true,
        .pvpanic_port = 0x505,
        .root = root,
        .oem_id = "BOCHS ",
        .oem_table_id = "BXPC    " };
}

/* A root bus with the bridges' functions and a device, and on q35 a root port; no device code is
 * needed for that. */
typedef struct FakeBus {
    PciBus root, port_bus;
    PciFn host, isa, dev, port;
    PciOps dev_ops, port_ops;
    ObjClass board_class, user_class;
} FakeBus;

static void fake_bus(FakeBus *f, bool q35)
{
    memset(f, 0, sizeof(*f));
    f->board_class.flags = OBJ_DEVICE | OBJ_NOT_USER;
    f->user_class.flags = OBJ_DEVICE;
    f->port_ops.is_bridge = true;
    f->host.ops = f->isa.ops = f->dev.ops = &f->dev_ops;
    f->port.ops = &f->port_ops;
    f->host.dev.obj.cls = f->isa.dev.obj.cls = &f->board_class;
    f->dev.dev.obj.cls = f->port.dev.obj.cls = &f->user_class;
    f->root.fn[0] = &f->host;
    f->root.fn[q35 ? 0xf8 : 0x08] = &f->isa;
    f->root.fn[4 << 3] = &f->dev;
    f->root.bus.hotplug = !q35;
    f->root.express = q35;
    if (q35) {
        f->root.fn[1 << 3] = &f->port;
        f->port_bus.bridge = &f->port;
        f->port_bus.express = true;
        f->port_bus.bus.hotplug = true;
        f->port_bus.one_slot = true;
        f->port.secondary = &f->port_bus;
    }
}

/* A guest's memory of one megabyte at 0x10000. */
typedef struct Mem {
    AcpiFiles files;
    uint8_t ram[1 << 20];
    uint64_t next;
} Mem;
enum { MEM_BASE = 0x10000 };

static const void *mem_find(void *opaque, const char *name, size_t *ret_len)
{
    Mem *m = opaque;
    GByteArray *f = !strcmp(name, "etc/acpi/tables") ? m->files.tables
                    : !strcmp(name, "etc/acpi/rsdp") ? m->files.rsdp
                                                     : NULL;

    *ret_len = f ? f->len : 0;
    return f ? f->data : NULL;
}

static uint64_t mem_place(void *opaque, const char *name, size_t len, uint32_t align, bool fseg)
{
    Mem *m = opaque;
    uint64_t at = (m->next + align - 1) & ~(uint64_t)(align - 1);

    m->next = at + len;
    return at;
}

static bool mem_write(void *opaque, uint64_t at, const void *data, size_t len)
{
    Mem *m = opaque;

    g_assert_cmpuint(at + len, <=, MEM_BASE + sizeof(m->ram));
    memcpy(m->ram + at - MEM_BASE, data, len);
    return true;
}

static uint8_t *run(Mem *m, const AcpiBoard *b)
{
    AcpiLoader l = { mem_find, mem_place, mem_write, m };
    uint64_t rsdp = 0;

    memset(m, 0, sizeof(*m));
    m->next = MEM_BASE;
    acpi_build(b, &m->files);
    g_assert_true(acpi_loader_run(&l, m->files.loader->data, m->files.loader->len, &rsdp, NULL));
    g_assert_cmpuint(rsdp % 16, ==, 0);
    return m->ram + rsdp - MEM_BASE;
}

static uint8_t *at(Mem *m, uint32_t gpa)
{
    g_assert_cmpuint(gpa, >=, MEM_BASE);
    g_assert_cmpuint(gpa, <, MEM_BASE + sizeof(m->ram));
    return m->ram + gpa - MEM_BASE;
}

static unsigned sum(const uint8_t *p, size_t len)
{
    unsigned s = 0;

    while (len--) {
        s += *p++;
    }
    return s & 0xff;
}

static uint8_t *table(Mem *m, uint8_t *rsdp, const char *sig)
{
    uint8_t *rsdt = at(m, get32(rsdp + 16));

    g_assert_cmpmem(rsdt, 4, "RSDT", 4);
    for (unsigned i = 36; i < get32(rsdt + 4); i += 4) {
        uint8_t *t = at(m, get32(rsdt + i));

        if (!memcmp(t, sig, 4)) {
            return t;
        }
    }
    return NULL;
}

static void check_iasl(const uint8_t *t, const char *sig)
{
    char disassemble[] = "-d", compile[] = "-ve";
    g_autofree char *iasl = g_find_program_in_path("iasl");
    g_autofree char *dir = g_dir_make_tmp("virtue-acpi-XXXXXX", NULL);
    g_autofree char *aml = g_strdup_printf("%s/%s.aml", dir, sig),
                    *dsl = g_strdup_printf("%s/%s.dsl", dir, sig);
    char *cmds[2][4] = { { iasl, disassemble, aml, NULL }, { iasl, compile, dsl, NULL } };

    if (!iasl) {
        g_test_message("iasl is not installed: tables were not disassembled");
        g_rmdir(dir);
        return;
    }
    g_assert_true(g_file_set_contents(aml, (const char *)t, get32(t + 4), NULL));
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *out = NULL, *err = NULL;
        int status;

        g_assert_true(g_spawn_sync(
            dir, cmds[i], NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, &status, NULL));
        if (status || strstr(out, "Incorrect checksum") || strstr(err, "Error")) {
            g_test_message("%s: %s%s", sig, out, err);
            g_test_fail();
        }
    }
    g_remove(aml);
    g_remove(dsl);
    g_rmdir(dir);
}

static void check_board(bool q35)
{
    const char *const sigs[] = { "FACP", "APIC", "HPET", "WAET", "MCFG" };
    FakeBus f;
    AcpiBoard b;
    Mem *m = g_new(Mem, 1);
    uint8_t *rsdp, *t, *dsdt;

    fake_bus(&f, q35);
    b = board_of(&f.root, q35);
    rsdp = run(m, &b);
    g_assert_cmpmem(rsdp, 8, "RSD PTR ", 8);
    g_assert_cmpuint(sum(rsdp, 20), ==, 0);
    for (unsigned i = 0; i < (q35 ? 5 : 4); i++) {
        t = table(m, rsdp, sigs[i]);
        g_assert_nonnull(t);
        g_assert_cmpuint(sum(t, get32(t + 4)), ==, 0);
        check_iasl(t, sigs[i]);
    }
    t = table(m, rsdp, "FACP");
    g_assert_cmpmem(at(m, get32(t + 36)), 4, "FACS", 4);
    g_assert_cmpuint(get32(t + 36) % 64, ==, 0);
    dsdt = at(m, get32(t + 40));
    g_assert_cmpmem(dsdt, 4, "DSDT", 4);
    g_assert_cmpuint(sum(dsdt, get32(dsdt + 4)), ==, 0);
    check_iasl(dsdt, "DSDT");
    acpi_files_free(&m->files);
    g_free(m);
}

static void test_pc(void)
{
    check_board(false);
}

static void test_q35(void)
{
    check_board(true);
}

static void test_lengths_equal_qemus(void)
{
    FakeBus f;
    AcpiBoard b;
    Mem *m = g_new(Mem, 1);
    uint8_t *rsdp;

    fake_bus(&f, true);
    b = board_of(&f.root, true);
    b.ncpus = 1;
    rsdp = run(m, &b);
    g_assert_cmpuint(get32(table(m, rsdp, "FACP") + 4), ==, 244);
    g_assert_cmpuint(get32(table(m, rsdp, "APIC") + 4), ==, 120);
    g_assert_cmpuint(get32(table(m, rsdp, "HPET") + 4), ==, 56);
    g_assert_cmpuint(get32(table(m, rsdp, "MCFG") + 4), ==, 60);
    g_assert_cmpuint(m->files.tables->len, ==, 131072);
    g_assert_cmpuint(m->files.loader->len, ==, 4096);
    acpi_files_free(&m->files);
    g_free(m);
}

static void test_optional_parts_are_absent(void)
{
    FakeBus f;
    AcpiBoard b;
    Mem *m = g_new(Mem, 1);
    uint8_t *rsdp;

    fake_bus(&f, false);
    b = board_of(&f.root, false);
    b.hpet = b.i8042 = b.pcihp = b.s3 = b.s4 = b.pvpanic = false;
    b.hole64_size = 0;
    rsdp = run(m, &b);
    g_assert_null(table(m, rsdp, "HPET"));
    g_assert_null(table(m, rsdp, "MCFG"));
    check_iasl(at(m, get32(table(m, rsdp, "FACP") + 40)), "DSDT");
    acpi_files_free(&m->files);
    g_free(m);
}

static void test_big_apic_ids_are_x2apic(void)
{
    static const uint32_t big[] = { 0, 300 };
    FakeBus f;
    AcpiBoard b;
    Mem *m = g_new(Mem, 1);
    uint8_t *t;

    fake_bus(&f, true);
    b = board_of(&f.root, true);
    b.ncpus = 2;
    b.apic_ids = big;
    t = table(m, run(m, &b), "APIC");
    g_assert_cmpuint(t[52], ==, 9);
    g_assert_cmpuint(get32(t + 56), ==, 300);
    check_iasl(t, "APIC");
    acpi_files_free(&m->files);
    g_free(m);
}

static void test_bad_script_is_refused(void)
{
    static const uint8_t pointer[128] = { 2, 0, 0, 0, 'x' }, unknown[128] = { 9 };
    Mem *m = g_new0(Mem, 1);
    AcpiLoader l = { mem_find, mem_place, mem_write, m };
    g_autoptr(GError) err = NULL;
    uint64_t rsdp;

    g_assert_false(acpi_loader_run(&l, pointer, sizeof(pointer), &rsdp, &err));
    g_assert_cmpstr(err->message, ==, "table-loader: file 'x' is not allocated");
    g_assert_false(acpi_loader_run(&l, unknown, sizeof(unknown), &rsdp, NULL));
    g_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi/pc", test_pc);
    g_test_add_func("/acpi/q35", test_q35);
    g_test_add_func("/acpi/lengths", test_lengths_equal_qemus);
    g_test_add_func("/acpi/optional-parts", test_optional_parts_are_absent);
    g_test_add_func("/acpi/x2apic", test_big_apic_ids_are_x2apic);
    g_test_add_func("/acpi/bad-script", test_bad_script_is_refused);
    return g_test_run();
}
