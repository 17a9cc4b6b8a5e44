/* hw/core/loader*.c: what is accepted as a kernel, and that a damaged one is one clear line. */
#include "hw/core/loader.h"

#include <elf.h>
#include <string.h>

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

static void put(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

static bool parse(KernelImage *k, const uint8_t *data, size_t len, GError **err)
{
    memset(k, 0, sizeof(*k));
    k->data = data;
    k->len = len;
    return kernel_image_parse(k, err);
}

static void expect_error(const uint8_t *data, size_t len, const char *text)
{
    g_autoptr(GError) err = NULL;
    KernelImage k;

    g_assert_false(parse(&k, data, len, &err));
    g_assert_cmpstr(err->message, ==, text);
}

/* Boot protocol 2.15: one setup sector, 4 KiB of kernel. */
static void make_bzimage(uint8_t *d, size_t len)
{
    memset(d, 0, len);
    d[0x1f1] = 1;
    put(d + 0x1fe, 0xaa55, 2);
    d[0x201] = 0x6a;
    memcpy(d + 0x202, "HdrS", 4);
    put(d + 0x206, 0x20f, 2);
    d[0x211] = 1;
    put(d + 0x214, 0x100000, 4);
    put(d + 0x22c, 0x7fffffff, 4);
    put(d + 0x236, 1, 2);
    put(d + 0x238, 2047, 4);
    put(d + 0x258, 0x1000000, 8);
    put(d + 0x260, 0x2000000, 4);
}

static void test_bzimage(void)
{
    uint8_t d[1024 + 4096];
    KernelImage k;

    make_bzimage(d, sizeof(d));
    g_assert_true(parse(&k, d, sizeof(d), NULL));
    g_assert_cmpint(k.kind, ==, KERNEL_BZIMAGE);
    g_assert_cmphex(k.protocol, ==, 0x20f);
    g_assert_cmpuint(k.header_len, ==, 0x202 + 0x6a - 0x1f1);
    g_assert_cmphex(g_array_index(k.segs, LoadSegment, 0).off, ==, 1024);
    g_assert_cmphex(g_array_index(k.segs, LoadSegment, 0).gpa, ==, 0x100000);
    g_assert_cmphex(k.span_end, ==, 0x3000000);
    kernel_image_close(&k);
}

static void test_bad_bzimages(void)
{
    uint8_t d[1024 + 4096];

    make_bzimage(d, sizeof(d));
    expect_error(d, 100, "invalid kernel header");
    expect_error(d, 1024, "kernel file is truncated: setup code of 1024 bytes in a file of 1024");
    put(d + 0x206, 0x201, 2);
    expect_error(d, sizeof(d),
        "kernel's boot protocol 2.01 is too old: a bzImage of 2.02 or later is needed");
    make_bzimage(d, sizeof(d));
    put(d + 0x214, 0, 4);
    expect_error(d, sizeof(d),
        "kernel has no 32-bit entry point: its real-mode code needs a BIOS, which loads no kernel "
        "here");
    make_bzimage(d, sizeof(d));
    put(d + 0x258, UINT64_MAX, 8);
    expect_error(d, sizeof(d), "invalid kernel header");
    d[0x202] = 'x';
    expect_error(d, sizeof(d), "invalid kernel header");
}

/* Header, one PT_LOAD of 16 bytes at 0x1000000, one PT_NOTE. */
static size_t make_elf(uint8_t *d, size_t len, uint32_t note_type)
{
    Elf64_Ehdr h = { .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_entry = 0x1000000,
        .e_phoff = sizeof(h),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2 };
    Elf64_Phdr p[2] = {
        { .p_type = PT_LOAD,
            .p_offset = 0x200,
            .p_paddr = 0x1000000,
            .p_filesz = 16,
            .p_memsz = 0x2000 },
        { .p_type = PT_NOTE, .p_offset = 0x180, .p_filesz = 20, .p_memsz = 20, .p_align = 4 },
    };

    memset(d, 0, len);
    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    memcpy(d, &h, sizeof(h));
    memcpy(d + sizeof(h), p, sizeof(p));
    put(d + 0x180, 4, 4);
    put(d + 0x184, 4, 4);
    put(d + 0x188, note_type, 4);
    memcpy(d + 0x18c, "Xen", 4);
    put(d + 0x190, 0x1000100, 4);
    return 0x210;
}

static void test_pvh(void)
{
    uint8_t d[0x300];
    size_t len = make_elf(d, sizeof(d), 18);
    KernelImage k;

    g_assert_true(parse(&k, d, len, NULL));
    g_assert_cmpint(k.kind, ==, KERNEL_PVH);
    g_assert_cmphex(k.entry, ==, 0x1000100);
    g_assert_cmphex(k.high, ==, 0x1002000);
    kernel_image_close(&k);
}

static void test_bad_elves(void)
{
    uint8_t d[0x300];
    size_t len = make_elf(d, sizeof(d), 17);

    expect_error(d, len, "Error loading uncompressed kernel without PVH ELF Note");
    len = make_elf(d, sizeof(d), 18);
    expect_error(d, len - 1, "kernel's ELF segment 0 is corrupt or the file is truncated");
    put(d + 56, 0xffff, 2); /* e_phnum */
    expect_error(d, len, "kernel's ELF program headers are corrupt");
    len = make_elf(d, sizeof(d), 18);
    put(d + 18, EM_AARCH64, 2);
    expect_error(d, len, "kernel is an ELF file of another architecture");
    len = make_elf(d, sizeof(d), 18);
    put(d + 0x190, 0x10, 4);
    expect_error(d, len, "kernel's entry point 0x10 lies outside of its segments");
}

static void make_multiboot(uint8_t *d, size_t len, uint32_t flags)
{
    memset(d, 0, len);
    put(d + 16, 0x1badb002, 4);
    put(d + 20, flags, 4);
    put(d + 24, 0u - 0x1badb002 - flags, 4);
    put(d + 28, 0x100010, 4); /* header_addr */
    put(d + 32, 0x100000, 4);
    put(d + 36, 0, 4);
    put(d + 40, 0x102000, 4);
    put(d + 44, 0x100040, 4);
}

static void test_multiboot(void)
{
    uint8_t d[512];
    KernelImage k;

    make_multiboot(d, sizeof(d), 1 << 16 | 3);
    g_assert_true(parse(&k, d, sizeof(d), NULL));
    g_assert_cmpint(k.kind, ==, KERNEL_MULTIBOOT);
    g_assert_cmphex(k.entry, ==, 0x100040);
    g_assert_cmphex(g_array_index(k.segs, LoadSegment, 0).filesz, ==, sizeof(d));
    g_assert_cmphex(k.high, ==, 0x102000);
    kernel_image_close(&k);
}

static void test_bad_multiboots(void)
{
    uint8_t d[512];

    make_multiboot(d, sizeof(d), 1 << 16 | 3);
    put(d + 44, 0x200000, 4);
    expect_error(d, sizeof(d), "invalid entry_addr address");
    make_multiboot(d, sizeof(d), 1 << 16 | 3);
    put(d + 32, 0x200000, 4);
    expect_error(d, sizeof(d), "invalid load_addr address");
    make_multiboot(d, sizeof(d), 1 << 16 | 3);
    put(d + 36, 0x100000 + 1024, 4);
    expect_error(d, sizeof(d), "kernel file is truncated: its multiboot header asks for more");
    make_multiboot(d, sizeof(d), 1 << 5);
    expect_error(d, sizeof(d), "multiboot kernel needs features 0x20 that are not supported");
    make_multiboot(d, sizeof(d), 0);
    expect_error(d, sizeof(d), "multiboot kernel is no ELF file and names no addresses");
}

static void test_missing_file(void)
{
    g_autoptr(GError) err = NULL;
    KernelImage k;

    g_assert_false(kernel_image_open("/nonexistent/vmlinuz", &k, &err));
    g_assert_cmpstr(err->message, ==,
        "could not open kernel file '/nonexistent/vmlinuz': No such file or directory");
}

/* Every single-byte change and every truncation gives an answer, not a crash. */
static void test_damaged_files_never_crash(void)
{
    uint8_t good[3][1024 + 512], d[1024 + 512];

    make_bzimage(good[0], sizeof(good[0]));
    make_elf(good[1], sizeof(good[1]), 18);
    make_multiboot(good[2], sizeof(good[2]), 1 << 16);
    for (unsigned f = 0; f < 3; f++) {
        for (size_t i = 0; i < sizeof(d); i++) {
            KernelImage k;

            memcpy(d, good[f], sizeof(d));
            d[i] ^= 0xff;
            if (parse(&k, d, sizeof(d), NULL)) {
                g_assert_cmpuint(k.segs->len, >, 0);
                kernel_image_close(&k);
            }
            g_autofree uint8_t *cut = g_memdup2(good[f], i);
            if (parse(&k, cut, i, NULL)) {
                kernel_image_close(&k);
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loader/bzimage", test_bzimage);
    g_test_add_func("/loader/bad-bzimages", test_bad_bzimages);
    g_test_add_func("/loader/pvh", test_pvh);
    g_test_add_func("/loader/bad-elves", test_bad_elves);
    g_test_add_func("/loader/multiboot", test_multiboot);
    g_test_add_func("/loader/bad-multiboots", test_bad_multiboots);
    g_test_add_func("/loader/missing-file", test_missing_file);
    g_test_add_func("/loader/damaged-files", test_damaged_files_never_crash);
    return g_test_run();
}
