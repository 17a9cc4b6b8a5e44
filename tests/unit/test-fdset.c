/* util/fdset.c: sets come and go, "/dev/fdset/N" opens what fits. */
#include "util/fd.h"
#include "util/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>

static void show(int64_t set, int fd, const char *text, void *opaque)
{
    g_string_append_printf(opaque, "%d%s%s ", (int)set, text ? ":" : "", text ? text : "");
}

static void expect(const char *want)
{
    g_autoptr(GString) got = g_string_new(NULL);

    fdset_each(show, got);
    g_assert_cmpstr(got->str, ==, want);
}

static int scratch(int flags)
{
    g_autofree char *name = NULL;
    int fd = g_file_open_tmp("fdset-XXXXXX", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    if (flags != O_RDWR) {
        close(fd);
        fd = open(name, flags);
    }
    g_unlink(name);
    return fd;
}

static void test_sets(void)
{
    int a = scratch(O_RDWR), b = scratch(O_RDWR);

    g_assert_cmpint(fdset_add(FDSET_NEW, a, "first"), ==, 0);
    g_assert_cmpint(fdset_add(5, b, NULL), ==, 5);
    g_assert_cmpint(fdset_add(FDSET_NEW, scratch(O_RDWR), NULL), ==, 1);
    fdset_add(0, scratch(O_RDWR), "second");
    expect("0:first 0:second 1 5 ");
    g_assert_false(fdset_remove(0, b));
    g_assert_true(fdset_remove(0, a));
    g_assert_cmpint(fcntl(a, F_GETFD), ==, -1); /* closed */
    g_assert_true(fdset_remove(1, FDSET_ALL));
    g_assert_false(fdset_remove(1, FDSET_ALL));
    expect("0:second 5 ");
    g_assert_cmpint(fdset_add(FDSET_NEW, scratch(O_RDWR), NULL), ==, 1);
    fdset_cleanup();
    expect("");
}

static void test_open(void)
{
    char buf[8] = { 0 };
    int rw = scratch(O_RDWR);

    fdset_add(3, scratch(O_RDONLY), NULL);
    fdset_add(3, rw, NULL);
    g_assert_cmpint(fdset_open("/dev/fdset/4", O_RDWR, 0), ==, -1);
    g_assert_cmpint(errno, ==, ENOENT);
    g_assert_cmpint(fdset_open("/dev/fdset/3x", O_RDWR, 0), ==, -1);
    g_assert_cmpint(errno, ==, ENOENT);
    g_assert_cmpint(fdset_open("/dev/fdset/3", O_WRONLY, 0), ==, -1);
    g_assert_cmpint(errno, ==, EACCES);

    int fd = fdset_open("/dev/fdset/3", O_RDWR | O_APPEND, 0);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    g_assert_cmpint((int)write(fd, "abc", 3), ==, 3);
    close(fd); /* the set keeps its own */
    g_assert_cmpint((int)pread(rw, buf, sizeof buf, 0), ==, 3);
    fd = fdset_open("/dev/fdset/3", O_RDWR | O_TRUNC, 0);
    g_assert_cmpint((int)pread(rw, buf, sizeof buf, 0), ==, 0);
    fdset_remove(3, FDSET_ALL); /* whoever opened it keeps it */
    g_assert_cmpint((int)write(fd, "x", 1), ==, 1);
    close(fd);
    fdset_cleanup();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fdset/sets-come-and-go", test_sets);
    g_test_add_func("/fdset/open-what-fits", test_open);
    return g_test_run();
}
