/* hw/i386/smbios.c: structures and entry points, compared with what QEMU 10.0 gives for the same
 * options. */
#include "hw/i386/smbios.h"

#include <string.h>

static const X86CpuModel qemu64 = {
    .family = 15, .model = 107, .stepping = 1, .f1_edx = 0x078bfbfd
};

static SmbiosInfo info(void)
{
    return (SmbiosInfo){ .manufacturer = "QEMU",
        .product = "Standard PC (i440FX + PIIX, 1996)",
        .version = "pc-i440fx-10.0",
        .cpu = &qemu64,
        .smp = { 1, 1, 1, 1, 1, 1, 1 },
        .ram_size = 512 << 20,
        .dimm_size = UINT64_C(2) << 40,
        .area = { { 0, 512 << 20 } },
        .nareas = 1 };
}

/* The n-th structure of a type. */
static const uint8_t *find(const GByteArray *t, uint8_t type, unsigned n)
{
    for (unsigned at = 0; at + 4 <= t->len;) {
        const uint8_t *p = t->data + at;

        if (p[0] == type && !n--) {
            return p;
        }
        for (at += p[1]; t->data[at] || t->data[at + 1]; at++) {
        }
        at += 2;
    }
    return NULL;
}

static void test_defaults(void)
{
    static const uint8_t type4[42] = { 4, 42, 0, 4, 1, 3, 0xfe, 2, 0xb1, 0x0f, 0x06, 0, 0xfd, 0xfb,
        0x8b, 0x07, 3, 0, 0, 0, 0xd0, 7, 0xd0, 7, 0x41, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0,
        0, 1, 1, 1, 2, 0, 1, 0 };
    static const uint8_t anchor[31] = { '_', 'S', 'M', '_', 0, 31, 2, 8, 0x52, 0, 0, 0, 0, 0, 0, 0,
        '_', 'D', 'M', 'I', '_', 0, 0x44, 1, 0, 0, 0, 0, 8, 0, 0x28 };
    SmbiosInfo s = info();
    g_autoptr(GByteArray) t = NULL, a = NULL;

    g_assert_true(smbios_build(&s, NULL, &t, &a, NULL));
    g_assert_cmpuint(t->len, ==, 324);
    g_assert_cmpmem(a->data, a->len, anchor, sizeof(anchor));
    g_assert_cmpmem(find(t, 4, 0), 42, type4, 42);
    g_assert_null(find(t, 0, 0));
    g_assert_nonnull(find(t, 127, 0));
}

static void test_entry64_has_long_processors(void)
{
    SmbiosInfo s = info();
    g_autoptr(GByteArray) t = NULL, a = NULL;

    s.entry64 = true;
    g_assert_true(smbios_build(&s, NULL, &t, &a, NULL));
    g_assert_cmpmem(a->data, 5, "_SM3_", 5);
    g_assert_cmpuint(a->len, ==, 24);
    g_assert_cmpuint(find(t, 4, 0)[1], ==, 48);
}

static void test_sockets_and_areas(void)
{
    SmbiosInfo s = info();
    g_autoptr(GByteArray) t = NULL, a = NULL;

    s.smp = (SmpSpec){
        .cpus = 4, .maxcpus = 4, .sockets = 2, .dies = 1, .clusters = 1, .cores = 2, .threads = 1
    };
    s.area[1].start = UINT64_C(1) << 32;
    s.area[1].size = 1 << 30;
    s.nareas = 2;
    g_assert_true(smbios_build(&s, NULL, &t, &a, NULL));
    g_assert_cmpuint(find(t, 4, 1)[2], ==, 1);
    g_assert_cmpuint(find(t, 4, 1)[35], ==, 2);
    g_assert_cmpuint(find(t, 19, 1)[7], ==, 0x00);
    g_assert_nonnull(find(t, 19, 1));
    g_assert_null(find(t, 4, 2));
}

static GPtrArray *entries(const char *json)
{
    GPtrArray *l = g_ptr_array_new_with_free_func((GDestroyNotify)json_unref);

    g_ptr_array_add(l, json_parse(json, -1, NULL));
    return l;
}

static void test_fields(void)
{
    g_autoptr(GPtrArray) l =
        entries("{'type': '0', 'vendor': 'v', 'release': '3.4', 'uefi': 'on'}");
    SmbiosInfo s = info();
    g_autoptr(GByteArray) t = NULL, a = NULL;
    const uint8_t *p;

    g_assert_true(smbios_build(&s, l, &t, &a, NULL));
    p = find(t, 0, 0);
    g_assert_cmpuint(p[4], ==, 1);
    g_assert_cmpuint(p[19], ==, 0x1c);
    g_assert_cmpuint(p[20], ==, 3);
    g_assert_cmpuint(p[21], ==, 4);
    g_assert_cmpstr((const char *)p + 24, ==, "v");
}

static void expect_error(const char *json, const char *text)
{
    g_autoptr(GPtrArray) l = entries(json);
    g_autoptr(GError) err = NULL;
    SmbiosInfo s = info();
    GByteArray *t, *a;

    g_assert_false(smbios_build(&s, l, &t, &a, &err));
    g_assert_cmpstr(err->message, ==, text);
}

static void test_errors(void)
{
    expect_error("{'type': '1', 'foo': 'x'}", "-smbios type=1,foo=x: Invalid parameter 'foo'");
    expect_error(
        "{'type': '99'}", "-smbios type=99: Don't know how to build fields for SMBIOS type 99");
    expect_error("{'file': '/nonexistent'}",
        "-smbios file=/nonexistent: Cannot read SMBIOS file /nonexistent");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/smbios/defaults", test_defaults);
    g_test_add_func("/smbios/entry64", test_entry64_has_long_processors);
    g_test_add_func("/smbios/sockets-and-areas", test_sockets_and_areas);
    g_test_add_func("/smbios/fields", test_fields);
    g_test_add_func("/smbios/errors", test_errors);
    return g_test_run();
}
