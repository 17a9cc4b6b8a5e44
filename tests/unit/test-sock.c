/* util/sock.c and util/fd.c: both ends of a connection, address texts, clear errors. */
#include "util/fd.h"
#include "util/sock.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

static void check_round_trip(SockAddr *a)
{
    g_autoptr(GError) err = NULL;
    autofd listener = sock_listen(a, &err);

    g_assert_no_error(err);
    g_assert_cmpint(sock_accept(listener), ==, -1);
    if (a->kind == SOCK_ADDR_INET) {
        g_autofree char *text = sock_local_text(listener);

        g_assert_true(g_str_has_prefix(text, "tcp:127.0.0.1:"));
        g_free(a->port);
        a->port = g_strdup(strrchr(text, ':') + 1);
    }
    autofd client = sock_connect(a, &err);

    g_assert_no_error(err);
    autofd server = sock_accept(listener);
    char buf[4] = { 0 };

    g_assert_cmpint(server, >=, 0);
    g_assert_cmpint(write(client, "hey", 3), ==, 3);
    g_assert_cmpint(read(server, buf, 3), ==, 3);
    g_assert_cmpstr(buf, ==, "hey");
    g_assert_cmpint(read(server, buf, 1), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
}

static void test_unix(void)
{
    g_autofree char *dir = g_dir_make_tmp("sock-XXXXXX", NULL);
    SockAddr a = { .kind = SOCK_ADDR_UNIX, .path = g_build_filename(dir, "s", NULL) };

    check_round_trip(&a);
    check_round_trip(&a); /* a stale socket file is no obstacle */
    g_autofree char *text = sock_describe(&a, true);
    g_autofree char *expected = g_strdup_printf("unix:%s,server=on", a.path);

    g_assert_cmpstr(text, ==, expected);
    g_unlink(a.path);
    g_rmdir(dir);
    sock_addr_clear(&a);
}

static void test_inet(void)
{
    SockAddr a = { .kind = SOCK_ADDR_INET, .host = g_strdup("127.0.0.1"), .port = g_strdup("0") };

    check_round_trip(&a);
    g_autoptr(GError) err = NULL;
    autofd taken = sock_listen(&a, &err);

    g_assert_no_error(err);
    g_assert_cmpint(sock_listen(&a, &err), ==, -1);
    g_assert_cmpstr(err->message, ==, "Failed to find an available port: Address already in use");
    sock_addr_clear(&a);
}

static void test_errors(void)
{
    g_autoptr(GError) err = NULL;
    SockAddr a = { .kind = SOCK_ADDR_UNIX, .path = g_strdup("/nonexistent/s") };

    g_assert_cmpint(sock_connect(&a, &err), ==, -1);
    g_assert_cmpstr(
        err->message, ==, "Failed to connect to '/nonexistent/s': No such file or directory");
    g_clear_error(&err);
    g_free(a.path);
    a.path = g_strnfill(200, 'x');
    g_assert_cmpint(sock_listen(&a, &err), ==, -1);
    g_assert_true(strstr(err->message, "is too long\nPath must be less than 108 bytes"));
    sock_addr_clear(&a);
}

static int take_seven(const char *name)
{
    return strcmp(name, "seven") ? -1 : 7;
}

static void test_fd_text(void)
{
    g_autoptr(GError) err = NULL;
    autofd fd = fd_memfd("t", 4096, &err);
    g_autofree char *text = g_strdup_printf("%d", fd);
    struct stat st;

    g_assert_no_error(err);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_size, ==, 4096);
    g_assert_cmpint(fd_from_text(text, &err), ==, fd);
    g_assert_cmpint(fd_from_text("abc", &err), ==, -1);
    g_assert_cmpstr(err->message, ==, "Invalid file descriptor number 'abc'");
    g_clear_error(&err);
    g_assert_cmpint(fd_from_text("9999", &err), ==, -1);
    g_assert_cmpstr(err->message, ==, "File descriptor '9999' is not open: Bad file descriptor");
    g_clear_error(&err);
    fd_set_names(take_seven);
    g_assert_cmpint(fd_from_text("seven", &err), ==, 7);
    g_assert_cmpint(fd_from_text("eight", &err), ==, -1);
    g_assert_cmpstr(err->message, ==, "File descriptor named 'eight' has not been found");
    g_assert_cmpint(fd_from_text(text, NULL), ==, fd);
    fd_set_names(NULL);
}

static void test_eventfd(void)
{
    autofd fd = fd_eventfd();

    g_assert_false(fd_drain(fd));
    fd_signal(fd);
    fd_signal(fd);
    g_assert_true(fd_drain(fd));
    g_assert_false(fd_drain(fd));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sock/unix/both-ends", test_unix);
    g_test_add_func("/sock/inet/both-ends-and-port-taken", test_inet);
    g_test_add_func("/sock/errors/name-the-address", test_errors);
    g_test_add_func("/fd/text-and-memfd", test_fd_text);
    g_test_add_func("/fd/eventfd", test_eventfd);
    return g_test_run();
}
