/* util/keyval.c: option texts, sizes, numbers. */
#include "util/keyval.h"

static void check(const char *text, const char *implied, bool dotted, const char *expected)
{
    g_autoptr(GError) err = NULL;
    bool help = false;
    g_autoptr(Json) j = keyval_parse(text, implied, dotted, &help, &err);

    g_assert_no_error(err);
    g_autofree char *back = json_to_string(j, false);

    g_assert_cmpstr(back, ==, expected);
}

static void test_flat(void)
{
    check("virtio-rng-pci,id=a,addr=04.0", "driver", false,
        "{\"driver\": \"virtio-rng-pci\", \"id\": \"a\", \"addr\": \"04.0\"}");
    check("a=x,,y,b=", NULL, false, "{\"a\": \"x,y\", \"b\": \"\"}");
    check("path,,with,server,nowait", "path", false,
        "{\"path\": \"path,with\", \"server\": \"on\", \"wait\": \"off\"}");
    check("memory-backend-memfd,id=mem,size=256M,", "qom-type", false,
        "{\"qom-type\": \"memory-backend-memfd\", \"id\": \"mem\", \"size\": \"256M\"}");
    check("f=1,f=2", NULL, false, "{\"f\": \"1\", \"f\": \"2\"}");
    check("file.read-zeroes=on", NULL, false, "{\"file.read-zeroes\": \"on\"}");
    check("", "driver", false, "{}");
}

static void test_dotted(void)
{
    check("raw,file.driver=null-co,file.size=5", "driver", true,
        "{\"driver\": \"raw\", \"file\": {\"driver\": \"null-co\", \"size\": \"5\"}}");
    check("a.0=x,a.1.b=y", NULL, true, "{\"a\": [\"x\", {\"b\": \"y\"}]}");
}

static void check_bad(const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(keyval_parse(text, NULL, true, NULL, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_dotted_errors(void)
{
    check_bad("a=1,a.b=2", "Parameters 'a.*' used inconsistently");
    check_bad("a.b=2,a=1", "Parameters 'a.*' used inconsistently");
    check_bad("a.0=2,a.x=1", "Parameters 'a.*' used inconsistently");
    check_bad("a.0=2,a.2=1", "Parameter 'a.1' missing");
}

static void test_help(void)
{
    bool help = false;
    g_autoptr(Json) j = keyval_parse("virtio-rng-pci,help", "driver", false, &help, NULL);
    bool no = false;
    g_autoptr(Json) k = keyval_parse("a=help", "driver", false, &no, NULL);

    g_assert_true(help);
    g_assert_cmpstr(json_get_str(json_get(j, "driver")), ==, "virtio-rng-pci");
    g_assert_false(no);
    g_assert_true(json_is_text(json_get(k, "a")));
}

static void check_size(const char *text, uint64_t unit, uint64_t expected)
{
    uint64_t v = 0;

    g_assert_true(parse_size(text, unit, &v));
    g_assert_cmpuint(v, ==, expected);
}

static void test_sizes(void)
{
    uint64_t v;

    check_size("512", 1 << 20, 512ull << 20);
    check_size("512M", 1, 512ull << 20);
    check_size("1.5G", 1, 3ull << 29);
    check_size("0x10", 1, 16);
    check_size("16k", 1 << 20, 16384);
    check_size("7B", 1 << 20, 7);
    check_size("18446744073709551615", 1, UINT64_MAX);
    g_assert_false(parse_size("18446744073709551616", 1, &v));
    g_assert_false(parse_size("17E", 1, &v));
    g_assert_false(parse_size("1X", 1, &v));
    g_assert_false(parse_size("1.5", 1, &v));
    g_assert_false(parse_size("-1", 1, &v));
    g_assert_false(parse_size("", 1, &v));
    g_assert_false(parse_size("abc", 1, &v));
}

static void test_numbers(void)
{
    uint64_t u;
    int64_t i;
    bool b;

    g_assert_true(parse_uint("0x20", 255, &u) && u == 32);
    g_assert_false(parse_uint("256", 255, &u));
    g_assert_false(parse_uint("-1", UINT64_MAX, &u));
    g_assert_false(parse_uint("1 ", 255, &u));
    g_assert_true(parse_int("-5", &i) && i == -5);
    g_assert_false(parse_int("5x", &i));
    g_assert_false(parse_int("- 5", &i));
    g_assert_true(parse_bool("yes", &b) && b);
    g_assert_true(parse_bool("off", &b) && !b);
    g_assert_false(parse_bool("1", &b));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/keyval/flat/keys-and-flags", test_flat);
    g_test_add_func("/keyval/dotted/nests", test_dotted);
    g_test_add_func("/keyval/dotted/names-conflicts", test_dotted_errors);
    g_test_add_func("/keyval/help/is-seen", test_help);
    g_test_add_func("/keyval/size/units-and-overflow", test_sizes);
    g_test_add_func("/keyval/numbers/whole-text-only", test_numbers);
    return g_test_run();
}
