/* memory/ram.c, dirty.c: back ends, references, code mask, dirty logs. */
#include "memory/dirty.h"
#include "memory/ram.h"
#include "util/rcu.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_anonymous(void)
{
    RamSpec spec = { .size = (3 << 20) + 1 };
    RamBlock *b = ram_new("pc.ram", &spec, NULL);

    g_assert_nonnull(b);
    g_assert_cmpstr(b->id, ==, "pc.ram");
    g_assert_cmpint(b->fd, ==, -1);
    g_assert_cmpuint(b->size, ==, (3 << 20) + 4096); /* whole pages */
    g_assert_cmpuint((uintptr_t)b->host & ((2 << 20) - 1), ==, 0);
    g_assert_cmpuint(b->host[0] | b->host[b->size - 1], ==, 0);
    ram_ref(b);
    ram_unref(b);
    b->host[0] = 1;
    ram_unref(b);
}

static void test_memfd_share(void)
{
    RamSpec spec = { .size = 1 << 20, .memfd = true, .share = true, .prealloc = true };
    RamBlock *b = ram_new("mem", &spec, NULL);
    uint8_t byte = 0;

    g_assert_nonnull(b);
    g_assert_cmpint(b->fd, >=, 0);
    b->host[4097] = 0x5a;
    g_assert_cmpint(pread(b->fd, &byte, 1, 4097), ==, 1);
    g_assert_cmphex(byte, ==, 0x5a);
    ram_unref(b);
}

static void test_file(void)
{
    g_autofree char *dir = g_dir_make_tmp("virtue-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "ram", NULL);
    RamSpec spec = { .size = 8192, .path = path, .share = true };
    RamBlock *b = ram_new("mem", &spec, NULL);
    struct stat st;

    g_assert_nonnull(b);
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 8192);
    ram_unref(b);
    spec.size = 16384; /* an existing file is never grown behind its owner's back */
    g_autoptr(GError) err = NULL;
    g_assert_null(ram_new("mem", &spec, &err));
    g_assert_cmpstr(err->message, ==,
        "mem backing store size 0x2000 is too small for 'size' option 0x4000 plus 'offset' option "
        "0x0");
    g_unlink(path);
    spec.path = dir; /* a folder: an unlinked file in it */
    b = ram_new("mem", &spec, NULL);
    g_assert_nonnull(b);
    ram_unref(b);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

static void test_errors(void)
{
    g_autoptr(GError) err = NULL, err2 = NULL, err3 = NULL;
    RamSpec zero = { 0 }, huge = { .size = 1ull << 62 },
            gone = { .size = 4096, .path = "/nonexistent/x" };

    g_assert_null(ram_new("z", &zero, &err));
    g_assert_cmpstr(err->message, ==, "cannot set up guest memory 'z': size is 0");
    g_assert_null(ram_new("h", &huge, &err2));
    g_assert_cmpstr(err2->message, ==, "cannot set up guest memory 'h': Cannot allocate memory");
    g_assert_null(ram_new("g", &gone, &err3));
    g_assert_nonnull(strstr(err3->message, "/nonexistent/x"));
}

typedef struct Hooked {
    unsigned calls;
    uint64_t off, len;
} Hooked;

static void hook(void *opaque, RamBlock *b, uint64_t off, uint64_t len)
{
    Hooked *h = opaque;

    h->calls++;
    h->off = off;
    h->len = len;
}

static void test_code_hook(void)
{
    RamSpec spec = { .size = 1 << 20 };
    RamBlock *b = ram_new("ram", &spec, NULL);
    Hooked h = { 0 };

    ram_set_code_hook(hook, &h);
    ram_written(b, 0, 4096); /* no engine asked for a mask yet */
    _Atomic uint64_t *mask = ram_codemask(b);
    g_assert_true(mask == ram_codemask(b));
    ram_written(b, 0, 1 << 20);
    g_assert_cmpuint(h.calls, ==, 0);
    atomic_store(&mask[2], 1);
    ram_written(b, 4096, 4096);
    g_assert_cmpuint(h.calls, ==, 0);
    ram_written(b, 8191, 2);
    g_assert_cmpuint(h.calls, ==, 1);
    g_assert_cmpuint(h.off, ==, 8191);
    g_assert_cmpuint(h.len, ==, 2);
    ram_set_code_hook(NULL, NULL);
    ram_unref(b);
}

static void count_clean(void *opaque, RamBlock *b)
{
    ++*(unsigned *)opaque;
}

static void test_dirty(void)
{
    RamSpec spec = { .size = 1 << 20 };
    RamBlock *b = ram_new("ram", &spec, NULL);
    unsigned cleaned = 0;

    ram_set_clean_hook(count_clean, &cleaned);
    ram_written(b, 0, 1 << 20); /* nobody listens */
    DirtyLog *one = dirty_log_new(b);
    g_assert_cmpuint(cleaned, ==, 1);
    ram_set_clean_hook(NULL, NULL);
    g_assert_false(dirty_log_take(one, 0, 1 << 20));
    ram_written(b, 4095, 2);
    DirtyLog *two = dirty_log_new(b); /* begins clean */
    ram_written(b, 70 * 4096, 1);
    g_assert_true(dirty_log_take(one, 4096, 1));
    g_assert_false(dirty_log_take(one, 4096, 1));
    g_assert_true(dirty_log_take(one, 0, 1));
    g_assert_true(dirty_log_take(one, 70 * 4096 + 5, 1));
    g_assert_false(dirty_log_take(one, 0, 1 << 20));
    g_assert_false(dirty_log_take(two, 0, 4096 * 70));
    g_assert_true(dirty_log_page(two, 70));
    g_assert_true(dirty_log_take(two, 0, 1 << 20));
    g_assert_false(dirty_log_page(two, 70));
    dirty_log_free(one);
    g_assert_nonnull(b->dirty);
    dirty_log_free(two);
    g_assert_null(b->dirty);
    ram_unref(b);
}

/* vCPUs hear a moment later that a page is clean, and are silent about what they write until then.
 */
static void test_dirty_again(void)
{
    RamSpec spec = { .size = 1 << 20 };
    RamBlock *b = ram_new("ram", &spec, NULL);
    unsigned cleaned = 0;

    ram_set_clean_hook(count_clean, &cleaned);
    DirtyLog *l = dirty_log_new(b);
    ram_written(b, 4096, 1);
    g_assert_true(dirty_log_take(l, 4096, 1));
    g_assert_cmpuint(cleaned, ==, 2);
    g_assert_true(dirty_log_take(l, 4096, 1));
    g_assert_false(dirty_log_take(l, 4096, 1));
    g_assert_cmpuint(cleaned, ==, 2);
    dirty_log_free(l);
    ram_set_clean_hook(NULL, NULL);
    ram_unref(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rcu_thread_register();
    g_test_add_func("/ram/anonymous", test_anonymous);
    g_test_add_func("/ram/memfd-shared", test_memfd_share);
    g_test_add_func("/ram/file", test_file);
    g_test_add_func("/ram/errors", test_errors);
    g_test_add_func("/ram/code-hook-only-for-code-pages", test_code_hook);
    g_test_add_func("/ram/dirty-logs", test_dirty);
    g_test_add_func("/ram/dirty-once-more-with-an-engine", test_dirty_again);
    return g_test_run();
}
