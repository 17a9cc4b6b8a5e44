/* util/log.c and util/err.c: items, the guest-error budget, message shapes. */
#include "util/err.h"
#include "util/log.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

static void test_items(void)
{
    g_autoptr(GError) err = NULL;

    g_assert_true(log_set_items("guest_errors,int", &err));
    g_assert_cmpuint(log_mask, ==, LOG_GUEST_ERROR | LOG_INT);
    g_assert_false(log_set_items("int,bogus", &err));
    g_assert_cmpstr(err->message, ==, "unknown log item 'bogus'");
    g_assert_cmpuint(log_mask, ==, LOG_GUEST_ERROR | LOG_INT);
}

static void test_guest_errors_are_limited(void)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *path = NULL, *text = NULL;
    int fd = g_file_open_tmp("log-XXXXXX", &path, &err);

    g_assert_no_error(err);
    g_close(fd, NULL);
    g_assert_true(log_set_file(path, &err));
    g_assert_true(log_set_items("guest_errors", &err));
    for (int i = 0; i < 1000; i++) {
        log_guest_error("line %d", i);
    }
    g_assert_true(g_file_get_contents(path, &text, NULL, &err));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    /* 10 lines a second; the loop may cross one second's end, which adds a line about what was
     * dropped. */
    g_assert_cmpuint(g_strv_length(lines), <=, 23);
    g_assert_cmpstr(lines[0], ==, "line 0");
    g_unlink(path);
    g_assert_false(log_set_file("/nonexistent/x", &err));
    g_assert_cmpstr(
        err->message, ==, "Error opening logfile /nonexistent/x: No such file or directory");
}

static void test_errors(void)
{
    GError *err = NULL;

    g_assert_false(err_set_class(&err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", "x"));
    g_assert_cmpstr(err_class_name(err), ==, "DeviceNotFound");
    err_hint(&err, "Try %s", "another");
    g_assert_cmpstr(err->message, ==, "Device 'x' not found\nTry another");
    g_autofree char *line = err_first_line(err);

    g_assert_cmpstr(line, ==, "Device 'x' not found");
    g_clear_error(&err);
    errno = ENOENT;
    g_assert_false(err_set_errno(&err, "cannot open '%s'", "f"));
    g_assert_cmpstr(err->message, ==, "cannot open 'f': No such file or directory");
    g_assert_cmpstr(err_class_name(err), ==, "GenericError");
    g_clear_error(&err);
    g_assert_false(err_set(NULL, "nobody listens"));
    err_hint(NULL, "nobody listens");
}

static void test_report(void)
{
    if (g_test_subprocess()) {
        g_autoptr(GError) err = NULL;

        err_set(&err, "bad");
        err_hint(&err, "hint");
        report_gerror("-device foo", err);
        report_warning("odd");
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*test-log: -device foo: bad\nhint\n*test-log: warning: odd\n*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/log/items/known-or-refused", test_items);
    g_test_add_func("/log/guest-errors/limited", test_guest_errors_are_limited);
    g_test_add_func("/err/classes-hints-errno", test_errors);
    g_test_add_func("/log/report/shape", test_report);
    return g_test_run();
}
