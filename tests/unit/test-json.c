/* util/json*.c: trees, parsing with QEMU's error texts, streaming, writing. */
#include "util/json.h"

#include <string.h>

static void check_parse(const char *text, const char *expected)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) j = json_parse(text, -1, &err);

    g_assert_no_error(err);
    g_autofree char *back = json_to_string(j, false);

    g_assert_cmpstr(back, ==, expected);
}

static void check_error(const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;

    g_assert_null(json_parse(text, -1, &err));
    g_assert_cmpstr(err->message, ==, message);
}

static void test_values(void)
{
    check_parse(
        "{'a': [1, 2.5, null, true], \"b\": {}}", "{\"a\": [1, 2.5, null, true], \"b\": {}}");
    check_parse("18446744073709551615", "18446744073709551615");
    check_parse("-9223372036854775808", "-9223372036854775808");
    check_parse(" [ ] ", "[]");
    check_parse(
        "'it\\'s \\u00e4 \\ud83d\\ude00 \\u0000'", "\"it's \\u00E4 \\uD83D\\uDE00 \\u0000\"");
    check_parse("\"\xc3\xa4\\n\"", "\"\\u00E4\\n\"");
}

static void test_errors(void)
{
    check_error("{'a':", "JSON parse error, premature EOI");
    check_error("{'a' 1}", "JSON parse error, missing : in object pair");
    check_error("{'a':1,}", "JSON parse error, expecting value");
    check_error("{5:1}", "JSON parse error, key is not a string in object");
    check_error("{'a':1 'b':2}", "JSON parse error, expected separator in dict");
    check_error("[1 2]", "JSON parse error, expected separator in list");
    check_error("foo", "JSON parse error, invalid keyword 'foo'");
    check_error("{'a':1}x", "Expecting at most one JSON value");
    check_error("'\\x'", "JSON parse error, invalid escape sequence in string");
    check_error("'\\ud800'", "JSON parse error, \\ud800 is not a valid Unicode character");
    check_error("01", "JSON parse error, stray '01'");
    check_error("-}", "JSON parse error, stray '-}'");
    check_error("1.}", "JSON parse error, stray '1.}'");
    check_error("@", "JSON parse error, stray '@'");
    check_error("{'a':1,'a':2}", "JSON parse error, duplicate key");
    check_error("", "JSON parse error, premature EOI");
}

static void test_depth(void)
{
    g_autofree char *deep = g_strnfill(1024, '[');
    g_autofree char *deeper = g_strnfill(1025, '[');

    check_error(deep, "JSON parse error, premature EOI");
    check_error(deeper, "JSON parse error, nesting too deep");
}

static void test_object(void)
{
    g_autoptr(Json) j = json_object();

    for (int i = 0; i < 40; i++) {
        g_autofree char *key = g_strdup_printf("k%d", i);

        json_set(j, key, json_int(i));
    }
    g_assert_cmpint(json_get_int(json_get(j, "k33")), ==, 33);
    g_assert_true(json_remove(j, "k3"));
    g_assert_false(json_remove(j, "k3"));
    g_assert_cmpint(json_get_int(json_get(j, "k33")), ==, 33);
    g_assert_cmpstr(json_key_at(j, 3), ==, "k4");
    json_add(j, "k4", json_str("again"));
    g_assert_cmpstr(json_get_str(json_get(j, "k4")), ==, "again");
    g_assert_cmpuint(json_len(j), ==, 40);
    g_autoptr(Json) copy = json_copy(j);

    g_assert_true(json_equal(j, copy));
    json_set(copy, "k5", json_null());
    g_assert_false(json_equal(j, copy));
}

static void collect(void *opaque, Json *val, GError *err)
{
    g_autoptr(Json) j = val;
    g_autofree char *text = j ? json_to_string(j, false) : g_strdup(err->message);

    g_string_append_printf(opaque, "%s|", text);
}

static void check_stream(const char *bytes, const char *expected)
{
    g_autoptr(GString) whole = g_string_new(NULL);
    g_autoptr(GString) single = g_string_new(NULL);
    JsonStream *s = json_stream_new(collect, whole);

    json_stream_feed(s, bytes, strlen(bytes));
    json_stream_eof(s);
    json_stream_free(s);
    g_assert_cmpstr(whole->str, ==, expected);
    s = json_stream_new(collect, single);
    for (const char *b = bytes; *b; b++) {
        json_stream_feed(s, b, 1);
    }
    json_stream_eof(s);
    json_stream_free(s);
    g_assert_cmpstr(single->str, ==, expected);
}

static void test_stream(void)
{
    check_stream("{'a':'}'} [1]\n5 'x'7", "{\"a\": \"}\"}|[1]|5|\"x\"|7|");
    check_stream("foo {}", "JSON parse error, invalid keyword 'foo'|{}|");
    check_stream("]{}", "JSON parse error, expecting value|{}|");
    check_stream(
        "{\"a\"\x01}[]", "JSON parse error, stray '\x01'|JSON parse error, expecting value|[]|");
    check_stream("{\"a\" foo}\n{}", "JSON parse error, missing : in object pair|{}|");
    check_stream("{", "JSON parse error, premature EOI|");
}

static void test_writer(void)
{
    JsonWriter *w = json_writer_new();

    jw_begin_object(w, NULL);
    jw_str(w, "s", "a\"b");
    jw_begin_array(w, "list");
    jw_uint(w, NULL, UINT64_MAX);
    jw_strf(w, NULL, "%d", 5);
    jw_end_array(w);
    jw_end_object(w);
    g_autoptr(Json) j = json_writer_free(w);
    g_autofree char *text = json_to_string(j, false);
    g_autofree char *pretty = json_to_string(j, true);

    g_assert_cmpstr(text, ==, "{\"s\": \"a\\\"b\", \"list\": [18446744073709551615, \"5\"]}");
    g_assert_cmpstr(pretty, ==,
        "{\n    \"s\": \"a\\\"b\",\n    \"list\": [\n        18446744073709551615,\n"
        "        \"5\"\n    ]\n}");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/parse/values-come-back", test_values);
    g_test_add_func("/json/parse/errors-are-named", test_errors);
    g_test_add_func("/json/parse/depth-is-bounded", test_depth);
    g_test_add_func("/json/object/keeps-order-and-index", test_object);
    g_test_add_func("/json/stream/splits-and-recovers", test_stream);
    g_test_add_func("/json/writer/builds-tree", test_writer);
    return g_test_run();
}
