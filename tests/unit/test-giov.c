/* util/giov.c and util/bitmap.c: cursors never pass their end. */
#include "util/bitmap.h"
#include "util/giov.h"

#include <string.h>

static char part_a[3], part_b[5], part_c[4];

static GIov cursor(struct iovec *v)
{
    GIov g;

    memcpy(part_a, "abc", 3);
    memcpy(part_b, "defgh", 5);
    memcpy(part_c, "ijkl", 4);
    v[0] = (struct iovec){ part_a, 3 };
    v[1] = (struct iovec){ NULL, 0 };
    v[2] = (struct iovec){ part_b, 5 };
    v[3] = (struct iovec){ part_c, 4 };
    giov_init(&g, v, 4);
    return g;
}

static void test_get(void)
{
    struct iovec v[4];
    GIov g = cursor(v);
    char buf[16] = { 0 };

    g_assert_cmpuint(g.left, ==, 12);
    g_assert_cmpuint(giov_pieces(&g), ==, 3);
    g_assert_true(giov_peek(&g, buf, 4));
    g_assert_cmpstr(buf, ==, "abcd");
    g_assert_true(giov_get(&g, buf, 5));
    g_assert_cmpstr(buf, ==, "abcde");
    g_assert_true(giov_skip(&g, 2));
    g_assert_false(giov_get(&g, buf, 6));
    g_assert_cmpuint(g.left, ==, 5);
    g_assert_cmpuint(giov_pieces(&g), ==, 2);
    g_assert_true(giov_get(&g, buf, 5));
    g_assert_cmpstr(buf, ==, "hijkl");
    g_assert_true(giov_get(&g, buf, 0));
    g_assert_false(giov_skip(&g, 1));
}

static void test_put(void)
{
    struct iovec v[4];
    GIov g = cursor(v);

    g_assert_true(giov_skip(&g, 2));
    g_assert_true(giov_put(&g, "12345", 5));
    g_assert_true(giov_fill(&g, 'z', 2));
    g_assert_false(giov_put(&g, "1234", 4));
    g_assert_false(giov_fill(&g, 0, 4));
    g_assert_cmpmem(part_a, 3, "ab1", 3);
    g_assert_cmpmem(part_b, 5, "2345z", 5);
    g_assert_cmpmem(part_c, 4, "zjkl", 4);
}

static void test_split(void)
{
    struct iovec v[4], out[4];
    GIov g = cursor(v), rest;
    char buf[16] = { 0 };

    g_assert_false(giov_split(&g, 13, &rest));
    g_assert_true(giov_split(&g, 4, &rest));
    g_assert_cmpuint(g.left, ==, 4);
    g_assert_cmpuint(rest.left, ==, 8);
    g_assert_false(giov_get(&g, buf, 5));
    g_assert_cmpuint(giov_iovec(&g, out, 4), ==, 2);
    g_assert_cmpuint(out[1].iov_len, ==, 1);
    g_assert_cmpuint(giov_iovec(&rest, out, 4), ==, 2);
    g_assert_cmpuint(out[0].iov_len, ==, 4);
    g_assert_cmpuint(giov_iovec(&rest, out, 1), ==, 1);
    g_assert_true(giov_get(&rest, buf, 8));
    g_assert_cmpstr(buf, ==, "efghijkl");
}

static void test_bitmap(void)
{
    uint64_t m[BITMAP_WORDS(130)] = { 0 };

    g_assert_cmpuint(bitmap_next(m, 130, 0), ==, 130);
    bitmap_set(m, 129);
    bitmap_set_atomic(m, 64);
    g_assert_cmpuint(bitmap_next(m, 130, 0), ==, 64);
    g_assert_cmpuint(bitmap_next(m, 130, 65), ==, 129);
    g_assert_cmpuint(bitmap_next(m, 129, 65), ==, 129);
    g_assert_true(bitmap_test_and_clear_atomic(m, 64));
    g_assert_false(bitmap_test_and_clear_atomic(m, 64));
    bitmap_clear(m, 129);
    g_assert_false(bitmap_test(m, 129));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/giov/get/all-or-nothing", test_get);
    g_test_add_func("/giov/put/all-or-nothing", test_put);
    g_test_add_func("/giov/split/two-cursors", test_split);
    g_test_add_func("/bitmap/next-and-atomic", test_bitmap);
    return g_test_run();
}
