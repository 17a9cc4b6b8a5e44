/* chardev/char-socket.c: servers and clients, peers that come and go, descriptor passing. */
#include "tests/unit/front.h"

static void test_socket_server(void)
{
    Front f;

    front_init(&f,
        make("{'backend': 'socket', 'id': 's', 'path': '@/s.sock', 'server': true, 'wait': false}"),
        100);
    g_autofree char *idle = query("s"), *p = path("s.sock");
    g_autofree char *want = g_strdup_printf("disconnected:unix:%s,server=on", p);
    g_assert_cmpstr(idle, ==, want);
    g_assert_cmpstr(f.events->str, ==, "");
    g_assert_cmpuint(chardev_write(&f.fe, "lost", 4), ==, 4);
    int fd = dial("s.sock");
    wait_events(&f, "O");
    g_assert_cmpint((int)write(fd, "ping", 4), ==, 4);
    wait_in(&f, "ping");
    chardev_write_all(&f.fe, "pong", 4);
    expect_read(fd, "pong");
    close(fd);
    wait_events(&f, "OC");
    fd = dial("s.sock"); /* the next one */
    wait_events(&f, "OCO");
    close(fd);
    wait_events(&f, "OCOC");
    front_fini(&f);
    drop("s");
    g_assert_false(g_file_test(p, G_FILE_TEST_EXISTS));
}

/* A front end that reads nothing still notices that its peer left, and the next one gets in. */
static void test_socket_leaves_unread(void)
{
    Front f;

    front_init(&f,
        make("{'backend': 'socket', 'id': 's', 'path': '@/s.sock', 'server': true, 'wait': false}"),
        0);
    int fd = dial("s.sock");
    wait_events(&f, "O");
    close(fd);
    wait_events(&f, "OC");
    fd = dial("s.sock");
    wait_events(&f, "OCO");
    g_assert_cmpint((int)write(fd, "bye", 3), ==, 3);
    close(fd);
    settle();
    f.room = 9; /* what it said before it left is not lost */
    chardev_fe_accept(&f.fe);
    wait_in(&f, "bye");
    wait_events(&f, "OCOC");
    f.room = 0;
    fd = dial("s.sock");
    wait_events(&f, "OCOCO");
    g_assert_cmpint((int)write(fd, "gone", 4), ==, 4);
    close(fd);
    settle();
    fd = dial("s.sock"); /* unless somebody else comes first */
    wait_events(&f, "OCOCOCO");
    close(fd);
    front_fini(&f);
    drop("s");
}

static void test_socket_client_reconnects(void)
{
    g_autofree char *p = path("c.sock");
    SockAddr a = { .kind = SOCK_ADDR_UNIX, .path = p, .fd = -1 };
    Front f;

    front_init(
        &f, make("{'backend': 'socket', 'id': 'c', 'path': '@/c.sock', 'reconnect-ms': 5}"), 9);
    g_assert_cmpstr(f.events->str, ==, "");
    int l = sock_listen(&a, NULL);
    wait_events(&f, "O");
    int fd = sock_accept(l);
    close(fd);
    wait_events(&f, "OCO");
    fd = sock_accept(l);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    close(l);
    front_fini(&f);
    drop("c");
    g_unlink(p);
}

static void test_socket_errors(void)
{
    static const struct {
        const char *json, *text;
    } t[] = {
        { "{'backend': 'socket', 'id': 'e', 'path': '/nonexist/x', 'server': true, 'wait': false}",
            "Failed to bind socket to /nonexist/x: No such file or directory" },
        { "{'backend': 'socket', 'id': 'e', 'path': '/nonexist/x'}",
            "Failed to connect to '/nonexist/x': No such file or directory" },
        { "{'backend': 'socket', 'id': 'e', 'host': 'localhost'}",
            "chardev: socket: no port given" },
        { "{'backend': 'socket', 'id': 'e', 'host': '127.0.0.1', 'port': '1', 'ipv4': false}",
            "address resolution failed for 127.0.0.1:1: Address family for hostname not "
            "supported" },
        { "{'backend': 'socket', 'id': 'e', 'path': 'x', 'telnet': true}",
            "chardev socket: 'telnet' is not supported" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *text = make_error(t[i].json);
        g_assert_cmpstr(text, ==, t[i].text);
        g_assert_null(chardev_find("e"));
    }
}

static void test_tcp(void)
{
    Front f;

    front_init(&f,
        make("{'backend': 'socket', 'id': 't', 'host': '127.0.0.1', 'port': '0', 'server': true, "
             "'wait': false}"),
        9);
    g_autofree char *name = query("t");
    g_assert_true(g_str_has_prefix(name, "disconnected:tcp:127.0.0.1:"));
    g_assert_true(g_str_has_suffix(name, ",server=on"));
    g_autofree char *port = g_strndup(name + 27, strcspn(name + 27, ","));
    g_assert_cmpstr(port, !=, "0");
    char host[] = "127.0.0.1";
    SockAddr a = { .kind = SOCK_ADDR_INET, .host = host, .port = port, .fd = -1 };
    int fd = sock_connect(&a, NULL);
    wait_events(&f, "O");
    g_autofree char *up = query("t"), *mine = sock_local_text(fd);
    g_autofree char *want = g_strdup_printf("tcp:127.0.0.1:%s,server=on <-> %s", port, mine + 4);
    g_assert_cmpstr(up, ==, want);
    g_assert_cmpint((int)write(fd, "t", 1), ==, 1);
    wait_in(&f, "t");
    close(fd);
    front_fini(&f);
    drop("t");
}

/* to=: the first free port behind the one that is asked for. */
static void test_next_port(void)
{
    char host[] = "127.0.0.1", any[] = "0";
    SockAddr a = { .kind = SOCK_ADDR_INET, .host = host, .port = any, .fd = -1 };
    int taken = sock_listen(&a, NULL);
    g_autofree char *at = sock_local_text(taken);
    int port = atoi(strrchr(at, ':') + 1);
    static const char form[] = "{'backend': 'socket', 'id': 't', 'host': '127.0.0.1', 'port': "
                               "'%d', 'to': %d, 'server': true, 'wait': false}";

    g_assert_cmpint(port, >, 0);
    g_autofree char *none = g_strdup_printf(form, port, port);
    g_autofree char *why = make_error(none);
    g_assert_cmpstr(why, ==, "Failed to find an available port: Address already in use");
    g_autofree char *some = g_strdup_printf(form, port, MIN(port + 100, 65535));
    make(some);
    g_autofree char *name = query("t");
    int got = atoi(name + strlen("disconnected:tcp:127.0.0.1:"));
    g_assert_cmpint(got, >, port);
    g_assert_cmpint(got, <=, port + 100);
    drop("t");
    close(taken);
}

static void test_fd_passing(void)
{
    Front f;
    union {
        struct cmsghdr h;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } ctl = { .h = { .cmsg_len = CMSG_LEN(2 * sizeof(int)),
                  .cmsg_level = SOL_SOCKET,
                  .cmsg_type = SCM_RIGHTS } };
    char byte = 'f';
    struct iovec v = { &byte, 1 };
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl.space, .msg_controllen = sizeof ctl.space
    };
    int p[2];

    g_assert_cmpint(pipe(p), ==, 0);
    front_init(&f,
        make("{'backend': 'socket', 'id': 's', 'path': '@/s.sock', 'server': true, 'wait': false}"),
        9);
    int fd = dial("s.sock");
    memcpy(CMSG_DATA(&ctl.h), p, sizeof p);
    g_assert_cmpint((int)sendmsg(fd, &m, 0), ==, 1);
    wait_in(&f, "f");
    int got = chardev_take_fd(&f.fe);
    g_assert_cmpint(got, >=, 0);
    g_assert_cmpint(chardev_take_fd(&f.fe), ==, -1);
    g_assert_cmpint(
        (int)write(got, "z", 1), ==, 1); /* the last of the two: the pipe's writing end */
    char z = 0;
    g_assert_cmpint((int)read(p[0], &z, 1), ==, 1);
    g_assert_cmpint(z, ==, 'z');
    close(got);
    close(fd);
    front_fini(&f);
    drop("s");
    close(p[0]);
    close(p[1]);
}

/* server=on,wait=on blocks until somebody is there. */
static gpointer dialler(gpointer unused)
{
    g_autofree char *p = path("w.sock");
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(un.sun_path, p, sizeof un.sun_path);
    while (connect(fd, (struct sockaddr *)&un, sizeof un) < 0) {
        g_thread_yield();
    }
    return GINT_TO_POINTER(fd);
}

static void test_socket_wait(void)
{
    GThread *t = g_thread_new("dial", dialler, NULL);
    Front f;

    front_init(&f, make("{'backend': 'socket', 'id': 'w', 'path': '@/w.sock', 'server': true}"), 9);
    g_assert_cmpstr(f.events->str, ==, "O");
    close(GPOINTER_TO_INT(g_thread_join(t)));
    wait_events(&f, "OC");
    front_fini(&f);
    drop("w");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/char-socket/socket-server", test_socket_server);
    g_test_add_func("/char-socket/socket-peer-leaves-unread", test_socket_leaves_unread);
    g_test_add_func("/char-socket/socket-client-reconnects", test_socket_client_reconnects);
    g_test_add_func("/char-socket/socket-errors", test_socket_errors);
    g_test_add_func("/char-socket/tcp", test_tcp);
    g_test_add_func("/char-socket/next-port", test_next_port);
    g_test_add_func("/char-socket/descriptor-passing", test_fd_passing);
    g_test_add_func("/char-socket/socket-wait", test_socket_wait);
    return front_run();
}
