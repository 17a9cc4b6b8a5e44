/* chardev/: back ends over real descriptors, the multiplexer, texts of the command line. */
#include "tests/unit/front.h"

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

/* What nobody reads is in the log all the same. */
static void test_log_without_peer(void)
{
    static const char *const kinds[] = { "{'backend': 'pty', 'id': 'u', 'logfile': '@/ulog'}",
        "{'backend': 'socket', 'id': 'u', 'path': '@/usock', 'server': true, 'wait': false, "
        "'logfile': '@/ulog'}" };

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *log = path("ulog"), *copy = NULL;
        Front f;

        front_init(&f, make(kinds[i]), 0);
        g_assert_cmpuint(chardev_write(&f.fe, "early\n", 6), ==, 6);
        front_fini(&f);
        drop("u");
        g_assert_true(g_file_get_contents(log, &copy, NULL, NULL));
        g_assert_cmpstr(copy, ==, "early\n");
    }
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
    char name[] = "r", data[] = "YWI=", nobody[] = "zz", nonsense[] = "Y!";
    struct {
        char *device, *data;
        int format;
        int64_t size;
    } a = { name, data, /* base64 */ 1, 100 }, bad = { .device = nobody };
    g_autofree char *odd = make_error("{'backend': 'ringbuf', 'id': 'r', 'size': 3}");
    g_assert_cmpstr(odd, ==, "size of ringbuf chardev must be power of two");
    front_init(&f, make("{'backend': 'ringbuf', 'id': 'r', 'size': 8}"), 0);
    g_assert_cmpuint(chardev_write(&f.fe, "0123456789", 10), ==, 10); /* the oldest are lost */
    g_autoptr(Json) ok = write->run(NULL, &a, &err);
    a.data = nonsense;
    g_assert_null(write->run(NULL, &a, &err));
    g_assert_cmpstr(err->message, ==, "Base64 data contains invalid characters");
    g_clear_error(&err);
    a.format = 0;
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
    g_test_add_func("/chardev/names-and-options", test_names);
    g_test_add_func("/chardev/one-user", test_one_user);
    g_test_add_func("/chardev/file-and-log", test_file_and_log);
    g_test_add_func("/chardev/log-without-peer", test_log_without_peer);
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
    g_test_add_func("/chardev/texts", test_texts);
    g_test_add_func("/chardev/qmp-add", test_qmp_add);
    g_test_add_func("/chardev/cleanup", test_cleanup);
    return front_run();
}
