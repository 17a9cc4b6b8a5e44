/* hw/i386/aml.c: encodings of ACPI 6.5, 20.2 and 6.4, byte by byte. */
#include "hw/i386/aml.h"

#include <string.h>

static void expect(Aml *a, const void *bytes, size_t len)
{
    g_assert_cmpmem(a->code->data, a->code->len, bytes, len);
    aml_fini(a);
}

static void test_ints(void)
{
    Aml a;

    aml_init(&a);
    aml_asm(&a, "0 1 2 0x100 0x10000");
    aml_int(&a, UINT64_C(0x100000000));
    expect(&a,
        "\x00\x01\x0a\x02\x0b\x00\x01\x0c\x00\x00\x01\x00\x0e\x00\x00\x00\x00\x01\x00\x00\x00", 21);
}

static void test_paths(void)
{
    Aml a;

    aml_init(&a);
    aml_asm(&a, "FOO \\_SB ^A.B \\A.B.C");
    expect(&a,
        "FOO_\\_SB_^.A___B___\\/\x03"
        "A___B___C___",
        34);
}

static void test_strings_and_ids(void)
{
    Aml a;

    aml_init(&a);
    aml_asm(&a, "name _HID @PNP0A03 name _UID 'a b' ''");
    expect(&a,
        "\x08_HID\x0c\x41\xd0\x0a\x03\x08_UID\x0d"
        "a b\0\x0d\0",
        22);
}

static void test_short_block(void)
{
    Aml a;

    aml_init(&a);
    aml_asm(&a, "scope \\ { method FOO 9 { return arg0 } }");
    expect(&a,
        "\x10\x0c\\\x00\x14\x08"
        "FOO_\x09\xa4\x68",
        13);
}

static void test_long_block_has_two_length_bytes(void)
{
    uint8_t data[61] = { 0 };
    Aml a;

    aml_init(&a);
    aml_buffer(&a, data, 60); /* 60 + 2 + 1 = 63: still one byte */
    g_assert_cmpuint(a.code->data[1], ==, 63);
    aml_fini(&a);
    aml_init(&a);
    aml_buffer(&a, data, 61); /* 61 + 2 + 2 = 65 */
    g_assert_cmpuint(a.code->data[1], ==, 0x41);
    g_assert_cmpuint(a.code->data[2], ==, 0x04);
    aml_fini(&a);
}

static void test_huge_block_has_three_length_bytes(void)
{
    g_autofree uint8_t *data = g_malloc0(5000);
    Aml a;

    aml_init(&a);
    aml_buffer(&a, data, 5000); /* 5000 + 3 + 3 = 5006 = 0x138e */
    g_assert_cmpuint(a.code->data[1], ==, 0x8e);
    g_assert_cmpuint(a.code->data[2], ==, 0x38);
    g_assert_cmpuint(a.code->data[3], ==, 0x01);
    aml_fini(&a);
}

static void test_fields(void)
{
    Aml a;

    aml_init(&a);
    aml_asm(&a, "field REG 1 { A:8 :32 B:64 }");
    expect(&a,
        "\x5b\x81\x13REG_\x01"
        "A___\x08\x00\x20"
        "B___\x40\x04",
        21);
}

static void test_resources(void)
{
    static const uint8_t want[] = { 0x11, 0x2d, 0x0a, 0x2a, 0x47, 1, 0x60, 0, 0x60, 0, 1, 2, 0x22,
        0, 0x10, 0x89, 6, 0, 9, 1, 16, 0, 0, 0, 0x88, 13, 0, 2, 0x0c, 0, 0, 0, 0, 0, 255, 0, 0, 0,
        0, 1, 0x79, 0 };
    const uint32_t gsi = 16;
    AmlRes r;
    Aml a;

    aml_init(&a);
    aml_res_begin(&r);
    aml_res_io(&r, 0x60, 1, 2);
    aml_res_irq(&r, 12);
    aml_res_interrupt(&r, &gsi, 1);
    aml_res_bus(&r, 0, 255);
    aml_res_end(&r, &a);
    g_assert_cmpmem(a.code->data + 4, a.code->len - 4, want + 4, sizeof(want) - 4);
    g_assert_cmpuint(a.code->data[1], ==, a.code->len - 1);
    g_assert_cmpuint(a.code->data[3], ==, a.code->len - 4);
    aml_fini(&a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aml/ints", test_ints);
    g_test_add_func("/aml/paths", test_paths);
    g_test_add_func("/aml/strings-and-ids", test_strings_and_ids);
    g_test_add_func("/aml/short-block", test_short_block);
    g_test_add_func("/aml/two-length-bytes", test_long_block_has_two_length_bytes);
    g_test_add_func("/aml/three-length-bytes", test_huge_block_has_three_length_bytes);
    g_test_add_func("/aml/fields", test_fields);
    g_test_add_func("/aml/resources", test_resources);
    return g_test_run();
}
