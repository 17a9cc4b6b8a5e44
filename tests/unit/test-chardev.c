/* chardev/: back ends over real descriptors, the multiplexer, sockets, texts of the command line.
 */
#include "chardev/chardev.h"
#include "util/fd.h"
#include "util/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pty.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

typedef struct Front {
    ChardevFe fe;
    size_t room;
    GString *in, *events;
    unsigned writable;
} Front;

static char *dir;

static size_t front_room(void *opaque)
{
    return ((Front *)opaque)->room;
}

static void front_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Front *f = opaque;

    g_assert_cmpuint(len, <=, f->room);
    f->room -= len;
    g_string_append_len(f->in, (const char *)buf, (gssize)len);
}

static void front_event(void *opaque, ChardevEvent ev)
{
    static const char name[] = { "OCBIo" }; /* opened, closed, break, mux in, mux out */

    g_string_append_c(((Front *)opaque)->events, name[ev]);
}

static void front_writable(void *opaque)
{
    ((Front *)opaque)->writable++;
}

static const ChardevFeOps front_ops = { front_room, front_receive, front_event, front_writable };

static void front_init(Front *f, Chardev *c, size_t room)
{
    g_autoptr(GError) err = NULL;

    *f = (Front){ .room = room, .in = g_string_new(NULL), .events = g_string_new(NULL) };
    chardev_fe_init(&f->fe, c, &front_ops, f, &err);
    g_assert_no_error(err);
}

static void front_fini(Front *f)
{
    chardev_fe_fini(&f->fe);
    g_string_free(f->in, TRUE);
    g_string_free(f->events, TRUE);
}

static Chardev *make(const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = g_strdup(json);
    /* "@" in a text stands for the folder of this run. */
    g_auto(GStrv) part = g_strsplit(text, "@", -1);
    g_autofree char *full = g_strjoinv(dir, part);
    g_autoptr(Json) args = json_parse(full, -1, &err);

    g_assert_no_error(err);
    Chardev *c = chardev_create(args, &err);
    g_assert_no_error(err);
    return c;
}

static char *make_error(const char *json)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, &err);

    g_assert_no_error(err);
    g_assert_null(chardev_create(args, &err));
    g_assert_nonnull(err);
    return g_strdup(err->message);
}

static void settle(void)
{
    while (loop_turn(loop_main(), /* block= */ false)) {
    }
}

/* Turns the loop until the text is there; the test's time limit is the only other end. */
static void wait_in(const Front *f, const char *want)
{
    while (strcmp(f->in->str, want)) {
        loop_turn(loop_main(), /* block= */ true);
    }
}

static void wait_events(const Front *f, const char *want)
{
    while (strcmp(f->events->str, want)) {
        loop_turn(loop_main(), /* block= */ true);
    }
}

static void drop(const char *id)
{
    g_autoptr(GError) err = NULL;

    chardev_remove(id, &err);
    g_assert_no_error(err);
}

static char *path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static int dial(const char *name)
{
    g_autofree char *p = path(name);
    SockAddr a = { .kind = SOCK_ADDR_UNIX, .path = p, .fd = -1 };
    g_autoptr(GError) err = NULL;
    int fd = sock_connect(&a, &err);

    g_assert_no_error(err);
    return fd;
}

static void expect_read(int fd, const char *want)
{
    char buf[256] = "";
    size_t at = 0, n = strlen(want);

    while (at < n) {
        ssize_t got = read(fd, buf + at, n - at);
        if (got > 0) {
            at += (size_t)got;
        } else {
            g_assert_true(got < 0 && errno == EAGAIN);
            loop_turn(loop_main(), /* block= */ false);
        }
    }
    g_assert_cmpmem(buf, at, want, n);
}

static char *query(const char *id)
{
    const QmpCmd *cmd = chardev_qmp_cmds;

    while (strcmp(cmd->name, "query-chardev")) {
        cmd++;
    }
    g_autoptr(Json) all = cmd->run(NULL, NULL, NULL);
    for (unsigned i = 0; i < json_len(all); i++) {
        if (!strcmp(json_get_str(json_get(json_at(all, i), "label")), id)) {
            return g_strdup(json_get_str(json_get(json_at(all, i), "filename")));
        }
    }
    return NULL;
}

static void test_names(void)
{
    make("{'backend': 'null', 'id': 'a'}");
    g_autofree char *twice = make_error("{'backend': 'null', 'id': 'a'}");
    g_assert_cmpstr(twice, ==, "Chardev with id 'a' already exists");
    g_autofree char *none = make_error("{'backend': 'null'}");
    g_assert_cmpstr(none, ==, "chardev: no id specified");
    g_autofree char *what = make_error("{'backend': 'foo', 'id': 'b'}");
    g_assert_cmpstr(what, ==, "'foo' is not a valid char driver name");
    g_autofree char *id = make_error("{'backend': 'null', 'id': '1b'}");
    g_assert_cmpint(strncmp(id, "Parameter 'id' expects an identifier", 36), ==, 0);
    g_autofree char *option = make_error("{'backend': 'null', 'id': 'b', 'foo': 1}");
    g_assert_cmpstr(option, ==, "Parameter 'foo' is unexpected");
    g_autofree char *log = make_error("{'backend': 'null', 'id': 'b', 'logfile': '/nonexist/z'}");
    g_assert_cmpstr(log, ==, "Could not create '/nonexist/z': No such file or directory");
    g_assert_nonnull(chardev_find("a"));
    g_assert_null(chardev_find("b"));
    drop("a");
    g_autoptr(GError) err = NULL;
    g_assert_false(chardev_remove("a", &err));
    g_assert_cmpstr(err->message, ==, "Chardev 'a' not found");
}

static void test_one_user(void)
{
    Chardev *c = make("{'backend': 'null', 'id': 'a'}");
    Front f;
    ChardevFe second;
    g_autoptr(GError) err = NULL, busy = NULL;

    front_init(&f, c, 1);
    g_assert_cmpstr(f.events->str, ==, "O");
    g_assert_false(chardev_fe_init(&second, c, &front_ops, &f, &err));
    g_assert_cmpstr(err->message, ==, "chardev 'a' is already in use");
    g_assert_null(second.chr);
    g_assert_false(chardev_remove("a", &busy));
    g_assert_cmpstr(busy->message, ==, "Chardev 'a' is busy");
    front_fini(&f);
    drop("a");
}

static void test_file_and_log(void)
{
    Chardev *c = make("{'backend': 'file', 'id': 'f', 'path': '@/out', 'logfile': '@/log'}");
    Front f;
    g_autofree char *out = path("out"), *log = path("log"), *text = NULL, *copy = NULL;

    front_init(&f, c, 0);
    g_assert_cmpuint(chardev_write(&f.fe, "hello\n", 6), ==, 6);
    chardev_write_all(&f.fe, "world\n", 6);
    front_fini(&f);
    drop("f");
    g_assert_true(g_file_get_contents(out, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "hello\nworld\n");
    g_assert_true(g_file_get_contents(log, &copy, NULL, NULL));
    g_assert_cmpstr(copy, ==, "hello\nworld\n");
}

static void test_file_append_and_input(void)
{
    g_autofree char *out = path("app"), *in = path("input"), *text = NULL;
    Front f;

    g_assert_true(g_file_set_contents(out, "old\n", -1, NULL));
    g_assert_true(g_file_set_contents(in, "typed", -1, NULL));
    front_init(&f,
        make("{'backend': 'file', 'id': 'f', 'path': '@/app', 'append': true, 'input-path': "
             "'@/input'}"),
        3);
    g_assert_cmpuint(chardev_write(&f.fe, "new\n", 4), ==, 4);
    wait_in(&f, "typ");
    f.room = 10;
    chardev_fe_accept(&f.fe);
    wait_in(&f, "typed");
    front_fini(&f);
    drop("f");
    g_assert_true(g_file_get_contents(out, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "old\nnew\n");
}

static void test_pipe(void)
{
    g_autofree char *in = path("p.in"), *out = path("p.out");
    Front f;

    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    front_init(&f, make("{'backend': 'pipe', 'id': 'p', 'path': '@/p'}"), 16);
    autofd w = g_open(in, O_WRONLY | O_NONBLOCK, 0), r = g_open(out, O_RDONLY | O_NONBLOCK, 0);
    g_assert_cmpint((int)write(w, "in", 2), ==, 2);
    wait_in(&f, "in");
    chardev_write_all(&f.fe, "out", 3);
    expect_read(r, "out");
    front_fini(&f);
    drop("p");
}

/* A full pipe takes a part; the rest goes when there is room, and writable() says when. */
static void test_back_pressure(void)
{
    g_autofree char *in = path("b.in"), *out = path("b.out");
    static uint8_t block[1 << 20], got[1 << 20];
    Front f;
    size_t sent = 0, seen = 0;

    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    for (size_t i = 0; i < sizeof block; i++) {
        block[i] = (uint8_t)(i * 31 >> 3);
    }
    front_init(&f, make("{'backend': 'pipe', 'id': 'b', 'path': '@/b'}"), 0);
    autofd r = g_open(out, O_RDONLY | O_NONBLOCK, 0);
    while (seen < sizeof block) {
        unsigned before = f.writable;
        size_t n = chardev_write(&f.fe, block + sent, sizeof block - sent);
        sent += n;
        ssize_t k = read(r, got + seen, sizeof got - seen);
        g_assert_cmpint((int)k, >, 0);
        seen += (size_t)k;
        while (sent < sizeof block && f.writable == before) {
            loop_turn(loop_main(), /* block= */ true);
        }
    }
    g_assert_cmpmem(block, sizeof block, got, sizeof got);
    front_fini(&f);
    drop("b");
}

/* Monitors never wait: what does not fit is kept, and comes in order. */
static void test_write_all_queues(void)
{
    g_autofree char *in = path("q.in"), *out = path("q.out");
    static uint8_t block[300000], got[300003];
    size_t seen = 0;
    Front f;

    g_assert_cmpint(mkfifo(in, 0600), ==, 0);
    g_assert_cmpint(mkfifo(out, 0600), ==, 0);
    memset(block, 'x', sizeof block);
    front_init(&f, make("{'backend': 'pipe', 'id': 'q', 'path': '@/q'}"), 0);
    autofd r = g_open(out, O_RDONLY | O_NONBLOCK, 0);
    chardev_write_all(&f.fe, block, sizeof block);
    chardev_write_all(&f.fe, "end", 3);
    g_assert_cmpuint(chardev_write(&f.fe, "no", 2), ==, 0); /* behind the queue, not past it */
    while (seen < sizeof got) {
        ssize_t k = read(r, got + seen, sizeof got - seen);
        if (k > 0) {
            seen += (size_t)k;
        } else {
            loop_turn(loop_main(), /* block= */ true);
        }
    }
    g_assert_cmpmem(got + sizeof block, 3, "end", 3);
    settle();
    g_assert_cmpuint(f.writable, ==, 1);
    front_fini(&f);
    drop("q");
}

static void test_ringbuf(void)
{
    Front f;
    const QmpCmd *read = NULL, *write = NULL;
    g_autoptr(GError) err = NULL;

    for (const QmpCmd *c = chardev_qmp_cmds; c->name; c++) {
        read = strcmp(c->name, "ringbuf-read") ? read : c;
        write = strcmp(c->name, "ringbuf-write") ? write : c;
    }
    char name[] = "r", data[] = "YWI=", base64[] = "base64", nobody[] = "zz";
    struct {
        char *device, *data, *format;
        uint64_t size;
    } a = { name, data, base64, 100 }, bad = { .device = nobody };
    g_autofree char *odd = make_error("{'backend': 'ringbuf', 'id': 'r', 'size': 3}");
    g_assert_cmpstr(odd, ==, "size of ringbuf chardev must be power of two");
    front_init(&f, make("{'backend': 'ringbuf', 'id': 'r', 'size': 8}"), 0);
    g_assert_cmpuint(chardev_write(&f.fe, "0123456789", 10), ==, 10); /* the oldest are lost */
    g_autoptr(Json) ok = write->run(NULL, &a, &err);
    a.format = NULL;
    g_autoptr(Json) text = read->run(NULL, &a, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(json_get_str(text), ==, "456789ab");
    g_assert_null(read->run(NULL, &bad, &err));
    g_assert_cmpstr(err->message, ==, "Device 'zz' not found");
    front_fini(&f);
    drop("r");
}

/* Nobody has the other side open: output is lost, not kept; a slave that only reads is noticed all
 * the same. */
static void test_pty(void)
{
    Front f;

    front_init(&f, make("{'backend': 'pty', 'id': 't'}"), 64);
    g_autofree char *name = query("t");
    g_assert_true(g_str_has_prefix(name, "pty:/dev/"));
    g_assert_cmpuint(chardev_write(&f.fe, "lost", 4), ==, 4);
    g_assert_false(chardev_connected(&f.fe));
    int slave = g_open(name + 4, O_RDWR | O_NONBLOCK | O_NOCTTY, 0);
    g_assert_cmpint(slave, >=, 0);
    wait_events(&f, "O");
    g_assert_cmpuint(chardev_write(&f.fe, "hi\n", 3), ==, 3);
    expect_read(slave, "hi\n");
    g_assert_cmpint((int)write(slave, "yo", 2), ==, 2);
    wait_in(&f, "yo");
    close(slave);
    wait_events(&f, "OC");
    front_fini(&f);
    drop("t");
}

/* chardev serial talks to a terminal line both ways. */
static void test_serial_line(void)
{
    char name[128];
    int master, slave;
    Front f;

    g_assert_cmpint(openpty(&master, &slave, name, NULL, NULL), ==, 0);
    g_autofree char *json = g_strdup_printf("{'backend': 'serial', 'id': 's', 'path': '%s'}", name);
    front_init(&f, make(json), 16);
    fd_set_nonblock(master, true);
    g_assert_cmpint((int)write(master, "a\r", 2), ==, 2);
    wait_in(&f, "a\r"); /* raw: no translation */
    chardev_write_all(&f.fe, "b\n", 2);
    expect_read(master, "b\n");
    front_fini(&f);
    drop("s");
    close(slave);
    close(master);
    g_autofree char *err = make_error("{'backend': 'serial', 'id': 's', 'path': '/dev/null'}");
    g_assert_true(g_str_has_prefix(err, "'/dev/null' is not a terminal line: "));
}

/* Escape keys: the front ends see everything but them. */
static unsigned quits;
static void quit(void *opaque)
{
    quits++;
}

static void test_mux(void)
{
    int sv[2];
    Front a, b;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), ==, 0);
    g_autofree char *json =
        g_strdup_printf("{'backend': 'socket', 'id': 'm', 'mux': true, 'fd': '%d'}", sv[0]);
    Chardev *c = make(json);
    g_assert_true(chardev_is_mux(c));
    chardev_set_quit(quit, NULL);
    front_init(&a, c, 100);
    front_init(&b, c, 100);
    g_assert_cmpint(
        (int)write(sv[1], "x\1\1y\1cz\1b", 9), ==, 9); /* the newest has the keyboard first */
    wait_in(&a, "z");
    g_assert_cmpstr(b.in->str, ==, "x\1y");
    g_assert_cmpstr(b.events->str, ==, "Oo");
    wait_events(&a, "OIB");
    g_assert_cmpint((int)write(sv[1], "\1qk\1h", 5), ==, 5);
    wait_in(&a, "zk");
    expect_read(sv[1], "\n\rC-a h    print this help\n\r");
    g_assert_cmpint((int)write(sv[1], "\1x", 2), ==, 2);
    while (!quits) {
        loop_turn(loop_main(), /* block= */ true);
    }
    chardev_write_all(&a.fe, "A", 1);
    chardev_write_all(&b.fe, "B", 1); /* out of focus, but output is shared */
    expect_read(sv[1], "C-a x    exit emulator\n\r");
    front_fini(&a);
    g_assert_cmpint((int)write(sv[1], "w", 1), ==, 1);
    wait_in(&b, "x\1yw"); /* the focus went to the one that is left */
    front_fini(&b);
    drop("m");
    close(sv[1]);
}

/* A front end that takes nothing does not stop the escape keys; its input is kept. */
static void test_mux_held(void)
{
    int sv[2];
    Front a, b;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), ==, 0);
    g_autofree char *json =
        g_strdup_printf("{'backend': 'socket', 'id': 'm', 'mux': true, 'fd': '%d'}", sv[0]);
    Chardev *c = make(json);
    front_init(&a, c, 100);
    front_init(&b, c, 2);
    g_assert_cmpint((int)write(sv[1], "1234\1cq", 7), ==, 7);
    wait_in(&a, "q");
    g_assert_cmpstr(b.in->str, ==, "12");
    b.room = 1;
    chardev_fe_accept(&b.fe);
    g_assert_cmpstr(b.in->str, ==, "123");
    b.room = 9;
    chardev_fe_accept(&b.fe);
    g_assert_cmpstr(b.in->str, ==, "1234");
    front_fini(&a);
    front_fini(&b);
    drop("m");
    close(sv[1]);
}

static void test_mux_places(void)
{
    Chardev *c = make("{'backend': 'null', 'id': 'm', 'mux': true}");
    Front f[4];
    ChardevFe fifth;
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; i < 4; i++) {
        front_init(&f[i], c, 1);
    }
    g_assert_false(chardev_fe_init(&fifth, c, &front_ops, &f[0], &err));
    g_assert_cmpstr(err->message, ==, "too many uses of multiplexed chardev 'm' (maximum is 4)");
    g_autofree char *name = query("m"), *base = query("m-base");
    g_assert_cmpstr(name, ==, "mux");
    g_assert_cmpstr(base, ==, "null");
    for (unsigned i = 0; i < 4; i++) {
        front_fini(&f[i]);
    }
    drop("m");
}

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

static Chardev *text(const char *t, char **ret_err)
{
    g_autoptr(GError) err = NULL;
    Chardev *c = chardev_from_text("x", t, &err);

    *ret_err = err ? g_strdup(err->message) : NULL;
    return c;
}

static void test_texts(void)
{
    static const struct {
        const char *text, *filename, *error;
    } t[] = {
        { "null", "null", NULL },
        { "none", NULL, NULL },
        { "mon:null", "mux", NULL },
        { "file:@/t", "file", NULL },
        { "unix:@/t.sock,server=on,wait=off", "disconnected:unix:@/t.sock,server=on", NULL },
        { "unix:@/t.sock,server,nowait", "disconnected:unix:@/t.sock,server=on", NULL },
        { "chardev:nope", NULL, "chardev \"nope\" not found" },
        { "foo", NULL, "'foo' is not a valid char driver" },
        { "telnet::23", NULL, "'telnet' character devices are not supported" },
        { "file:/nonexist/x", NULL, "Could not open '/nonexist/x': No such file or directory" },
        { "tcp:1234", NULL, "'1234' is not a valid TCP address (host:port)" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_auto(GStrv) a = g_strsplit(t[i].text, "@", -1),
                      b = g_strsplit(t[i].filename ? t[i].filename : "", "@", -1);
        g_autofree char *in = g_strjoinv(dir, a), *want = g_strjoinv(dir, b), *err = NULL;
        Chardev *c = text(in, &err);
        g_assert_cmpstr(err, ==, t[i].error);
        g_assert_true(!c == !t[i].filename);
        if (c) {
            g_autofree char *name = query("x");
            g_assert_cmpstr(name, ==, want);
            drop("x");
        }
    }
    Chardev *c = make("{'backend': 'null', 'id': 'named'}");
    g_autofree char *err = NULL;
    g_assert_true(text("chardev:named", &err) == c);
    drop("named");
}

static void test_qmp_add(void)
{
    const QmpCmd *add = chardev_qmp_cmds;
    g_autoptr(GError) err = NULL;

    while (strcmp(add->name, "chardev-add")) {
        add++;
    }
    g_autofree char *json =
        g_strdup_printf("{'id': 'q', 'backend': {'type': 'socket', 'data': {'addr': {'type': "
                        "'unix', 'data': {'path': '%s/q.sock'}}}}}",
            dir);
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    g_autoptr(Json) ret = add->run_raw(NULL, args, &err);
    g_assert_no_error(err);
    g_autofree char *name = query("q");
    g_assert_true(g_str_has_suffix(
        name, "q.sock,server=on")); /* QMP's default is a server that does not wait */
    drop("q");
    g_autoptr(Json) pty =
        json_parse("{'id': 'q', 'backend': {'type': 'pty', 'data': {}}}", -1, NULL);
    g_autoptr(Json) got = add->run_raw(NULL, pty, &err);
    g_assert_true(g_str_has_prefix(json_get_str(json_get(got, "pty")), "/dev/"));
    drop("q");
}

/* At exit the front ends outlive their devices: they only see nobody. */
static void test_cleanup(void)
{
    Front f;
    g_autofree char *p = path("z.sock");

    front_init(&f,
        make("{'backend': 'socket', 'id': 'z', 'path': '@/z.sock', 'server': true, 'wait': false}"),
        9);
    g_assert_true(g_file_test(p, G_FILE_TEST_EXISTS));
    chardev_cleanup();
    g_assert_false(g_file_test(p, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(chardev_write(&f.fe, "x", 1), ==, 1);
    front_fini(&f);
    g_assert_null(chardev_find("z"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    dir = g_dir_make_tmp("chardev-XXXXXX", NULL);
    g_test_add_func("/chardev/names-and-options", test_names);
    g_test_add_func("/chardev/one-user", test_one_user);
    g_test_add_func("/chardev/file-and-log", test_file_and_log);
    g_test_add_func("/chardev/file-append-and-input", test_file_append_and_input);
    g_test_add_func("/chardev/pipe", test_pipe);
    g_test_add_func("/chardev/back-pressure-loses-nothing", test_back_pressure);
    g_test_add_func("/chardev/write-all-queues-in-order", test_write_all_queues);
    g_test_add_func("/chardev/ringbuf", test_ringbuf);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/serial-line", test_serial_line);
    g_test_add_func("/chardev/mux-escape-keys", test_mux);
    g_test_add_func("/chardev/mux-holds-input", test_mux_held);
    g_test_add_func("/chardev/mux-has-four-places", test_mux_places);
    g_test_add_func("/chardev/socket-server", test_socket_server);
    g_test_add_func("/chardev/socket-peer-leaves-unread", test_socket_leaves_unread);
    g_test_add_func("/chardev/socket-client-reconnects", test_socket_client_reconnects);
    g_test_add_func("/chardev/socket-errors", test_socket_errors);
    g_test_add_func("/chardev/tcp", test_tcp);
    g_test_add_func("/chardev/descriptor-passing", test_fd_passing);
    g_test_add_func("/chardev/socket-wait", test_socket_wait);
    g_test_add_func("/chardev/texts", test_texts);
    g_test_add_func("/chardev/qmp-add", test_qmp_add);
    g_test_add_func("/chardev/cleanup", test_cleanup);
    int rc = g_test_run();
    g_autofree char *rm = g_strdup_printf("rm -rf '%s'", dir);
    if (system(rm)) {
        rc = 1;
    }
    g_free(dir);
    return rc;
}
