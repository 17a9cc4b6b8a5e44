/* hw/virtio/virtio-console.c: ports, control messages, data both ways without losing a byte
 * (VIRTIO 1.4, 5.3). */
#include "chardev/chardev.h"
#include "tests/unit/vdev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

VDEV_EXTERN(virtio_serial);
extern const ObjClass virtconsole_class, virtserialport_class;
VDEV_TYPES(VDEV_CLASSES(virtio_serial), &virtconsole_class, &virtserialport_class);

enum { READY = 0, ADD = 1, REMOVE = 2, PORT_READY = 3, CONSOLE = 4, OPEN = 6, NAME = 7 };
enum { RX0 = 0, TX0 = 1, CRX = 2, CTX = 3, RX1 = 4, TX1 = 5 };

typedef struct Fix {
    VDev v;
    int host[2]; /* the other ends of chardevs "c0" and "c1" */
    GString *events;
    uint64_t ctrl; /* 16 control buffers of 64 bytes */
    uint64_t p;
} Fix;

static void on_event(void *opaque, const char *name, const Json *data)
{
    g_autofree char *text = json_to_string(data, false);

    g_string_append_printf(opaque, "%s%s ", name, text);
}

static int pair(const char *id)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), ==, 0);
    g_autofree char *json =
        g_strdup_printf("{'backend': 'socket', 'id': '%s', 'fd': '%d'}", id, sv[0]);
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    g_assert_nonnull(chardev_create(args, NULL));
    return sv[1];
}

static void up_with(Fix *x, const char *dev, bool legacy)
{
    x->events = g_string_new(NULL);
    qmp_event_set_sink(on_event, x->events);
    x->host[0] = pair("c0");
    x->host[1] = pair("c1");
    vdev_open(&x->v, dev, legacy);
    x->ctrl = vd_page(&x->v.d, 4096);
    x->p = vd_page(&x->v.d, 1 << 20);
}

static void up(Fix *x, const void *legacy)
{
    up_with(x, "{'driver': 'virtio-serial-pci', 'id': 's', 'addr': '4'}", legacy != NULL);
    board_add(x->v.b, "{'driver': 'virtconsole', 'chardev': 'c0', 'id': 'con'}");
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    chardev_cleanup();
    close(x->host[0]);
    close(x->host[1]);
    qmp_event_set_sink(NULL, NULL);
    g_string_free(x->events, TRUE);
}

static void give(Fix *x, unsigned q, uint64_t at, uint32_t len)
{
    const VBuf b = { at, len, true };

    vring_add(&x->v.d.ring[q], &b, 1, 0);
    vd_kick(&x->v.d, q);
}

static void start(Fix *x, uint64_t without)
{
    vd_start(&x->v.d, without);
    for (unsigned i = 0; i < 16; i++) {
        give(x, CRX, x->ctrl + 64 * i, 64);
    }
    board_run(x->v.b);
}

static void tell(Fix *x, uint32_t port, uint16_t event, uint16_t value)
{
    const VBuf b = { x->p, 8, false };

    vport_w32(x->v.d.port, x->p, port);
    vport_w16(x->v.d.port, x->p + 4, event);
    vport_w16(x->v.d.port, x->p + 6, value);
    g_assert_cmpuint(vdev_do(&x->v, CTX, &b, 1, 0), ==, 0);
    board_run(x->v.b);
}

/* All control messages that came: "add0 console0=1 name1:text " … */
static char *told(Fix *x)
{
    static const char *const name[] = { "ready", "add", "remove", "port-ready", "console", "resize",
        "open", "name" };
    GString *s = g_string_new(NULL);
    uint32_t id, len;

    board_run(x->v.b);
    while (vring_used(&x->v.d.ring[CRX], &id, &len)) {
        uint64_t at = x->ctrl + 64 * (id % 16);
        char text[64] = "";
        g_assert_cmpuint(len, >=, 8);
        unsigned ev = vport_r16(x->v.d.port, at + 4);
        vdev_get(&x->v, at + 8, text, len - 8);
        g_string_append_printf(s, "%s%u=%u%s%s ", name[ev], vport_r32(x->v.d.port, at),
            vport_r16(x->v.d.port, at + 6), len > 8 ? ":" : "", text);
        give(x, CRX, at, 64);
    }
    return g_string_free(s, FALSE);
}

#define EXPECT_TOLD(x, text)                                                                       \
    do {                                                                                           \
        g_autofree char *t_ = told(x);                                                             \
        g_assert_cmpstr(t_, ==, text);                                                             \
    } while (0)

static void host_says(Fix *x, unsigned c, const char *text)
{
    g_assert_cmpint((int)write(x->host[c], text, strlen(text)), ==, (int)strlen(text));
    board_run(x->v.b);
}

static void expect_host(Fix *x, unsigned c, const char *want)
{
    char buf[256];
    ssize_t n = read(x->host[c], buf, sizeof buf);

    g_assert_cmpmem(buf, n < 0 ? 0 : (size_t)n, want, strlen(want));
}

/* Sends text on a transmit queue; false: the chain is still with the device. */
static bool guest_says(Fix *x, unsigned q, const char *text)
{
    const VBuf b = { x->p + 4096, (uint32_t)strlen(text), false };
    uint32_t id, len;

    vdev_put(&x->v, b.at, text, b.len);
    vring_add(&x->v.d.ring[q], &b, 1, 0);
    vd_kick(&x->v.d, q);
    board_run(x->v.b);
    return vring_used(&x->v.d.ring[q], &id, &len);
}

static void expect_guest(Fix *x, unsigned q, uint64_t at, const char *want)
{
    uint32_t id, len;
    char buf[256];

    board_run(x->v.b);
    g_assert_true(vring_used(&x->v.d.ring[q], &id, &len));
    g_assert_cmpuint(len, ==, strlen(want));
    vdev_get(&x->v, at, buf, len);
    g_assert_cmpmem(buf, len, want, len);
}

static void test_identity(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_offered(&x->v.d), ==, 0x10130000006ull);
    g_assert_cmpuint(vd_read(&x->v.d, 0x12, 2), ==, 64);
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 4), ==, 0);
    g_assert_cmpuint(vdev_cfg(&x->v, 4, 4), ==, 31);
}

static void test_legacy(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_offered(&x->v.d), ==, 0x79000006);
    g_assert_true(vd_negotiate(&x->v.d, 0)); /* an old driver: one port, one pair of queues */
    vd_setup_queue(&x->v.d, RX0, 0);
    vd_setup_queue(&x->v.d, TX0, 0);
    vd_driver_ok(&x->v.d);
    g_assert_true(guest_says(x, TX0, "hello"));
    expect_host(x, 0, "hello");
}

/* 5.3.6.2: ready, ports, what each is. */
static void test_handshake(Fix *x, const void *unused)
{
    board_add(
        x->v.b, "{'driver': 'virtserialport', 'chardev': 'c1', 'id': 'org', 'name': 'org.test.0'}");
    start(x, 0);
    EXPECT_TOLD(x, "");
    tell(x, 0, READY, 1);
    EXPECT_TOLD(x, "add0=1 add1=1 ");
    tell(x, 0, PORT_READY, 1);
    EXPECT_TOLD(x, "console0=1 open0=1 ");
    tell(x, 1, PORT_READY, 1);
    EXPECT_TOLD(x, "name1=1:org.test.0 open1=1 ");
    tell(x, 1, PORT_READY, 0);
    EXPECT_TOLD(x, "");
}

static void test_console_both_ways(Fix *x, const void *unused)
{
    start(x, 0);
    tell(x, 0, READY, 1);
    tell(x, 0, OPEN, 1);
    g_assert_true(guest_says(x, TX0, "login: "));
    expect_host(x, 0, "login: ");
    give(x, RX0, x->p + 8192, 100);
    host_says(x, 0, "root\r");
    expect_guest(x, RX0, x->p + 8192, "root\r");
    g_assert_cmpstr(x->events->str, ==, ""); /* consoles have no events */
}

static void test_without_multiport(Fix *x, const void *unused)
{
    start(x, 2);
    give(x, RX0, x->p + 8192, 100);
    host_says(x, 0, "hi");
    expect_guest(x, RX0, x->p + 8192, "hi");
}

static void test_port_opens_and_closes(Fix *x, const void *unused)
{
    board_add(x->v.b, "{'driver': 'virtserialport', 'chardev': 'c1', 'id': 'org'}");
    start(x, 0);
    tell(x, 0, READY, 1);
    tell(x, 1, PORT_READY, 1);
    give(x, RX1, x->p + 8192, 100);
    host_says(x, 1, "early");
    uint32_t id, len;
    g_assert_false(vring_used(&x->v.d.ring[RX1], &id, &len)); /* nobody has it open */
    tell(x, 1, OPEN, 1);
    g_assert_cmpstr(x->events->str, ==, "VSERPORT_CHANGE{\"open\": true, \"id\": \"org\"} ");
    expect_guest(x, RX1, x->p + 8192, "early");
    tell(x, 1, OPEN, 1); /* again: no news */
    tell(x, 1, OPEN, 0);
    g_assert_cmpstr(x->events->str, ==,
        "VSERPORT_CHANGE{\"open\": true, \"id\": \"org\"} VSERPORT_CHANGE{\"open\": false, \"id\": "
        "\"org\"} ");
    EXPECT_TOLD(x, "add0=1 add1=1 open1=1 ");
    close(x->host[1]);
    x->host[1] = -1;
    EXPECT_TOLD(x, "open1=0 ");
}

/* Host input meets small buffers, then none: it waits, in order. */
static void test_receive_in_pieces(Fix *x, const void *unused)
{
    start(x, 2);
    for (unsigned i = 0; i < 3; i++) {
        give(x, RX0, x->p + 8192 + 16 * i, 3);
    }
    host_says(x, 0, "0123456789abcdef");
    expect_guest(x, RX0, x->p + 8192, "012");
    expect_guest(x, RX0, x->p + 8192 + 16, "345");
    expect_guest(x, RX0, x->p + 8192 + 32, "678");
    host_says(x, 0, "XY");
    give(x, RX0, x->p + 9000, 4);
    expect_guest(x, RX0, x->p + 9000, "9abc");
    give(x, RX0, x->p + 9000, 64);
    expect_guest(x, RX0, x->p + 9000, "def");
    give(x, RX0, x->p + 9000, 64);
    expect_guest(x, RX0, x->p + 9000, "XY");
}

enum { MANY = 300000, PIECE = 30000 };

static void send_many(Fix *x)
{
    g_autofree uint8_t *data = g_malloc(MANY);

    for (unsigned i = 0; i < MANY; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    vdev_put(&x->v, x->p + 65536, data, MANY);
    for (unsigned i = 0; i < MANY / PIECE; i++) {
        const VBuf b[] = { { x->p + 65536 + i * PIECE, 10, false },
            { x->p + 65536 + i * PIECE + 10, PIECE - 10, false } };
        vring_add(&x->v.d.ring[TX0], b, 2, 0);
    }
    vd_kick(&x->v.d, TX0);
    board_run(x->v.b);
}

static void read_many(Fix *x, unsigned from, unsigned to)
{
    uint8_t buf[5000];

    for (unsigned at = from; at < to;) {
        ssize_t n = read(x->host[0], buf, MIN(sizeof buf, to - at));
        if (n < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            board_run(x->v.b);
            continue;
        }
        for (ssize_t i = 0; i < n; i++, at++) {
            g_assert_cmpuint(buf[i], ==, (uint8_t)(at * 2654435761u >> 24));
        }
    }
    board_run(x->v.b);
}

static void test_back_pressure(Fix *x, const void *unused)
{
    uint32_t id, len;
    unsigned back = 0;
    int small = 4096;

    g_assert_cmpint(setsockopt(x->host[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small), ==, 0);
    start(x, 2);
    send_many(x);
    while (vring_used(&x->v.d.ring[TX0], &id, &len)) {
        back++;
    }
    g_assert_cmpuint(back, <, MANY / PIECE); /* the host's buffers are full */
    read_many(x, 0, MANY);
    while (vring_used(&x->v.d.ring[TX0], &id, &len)) {
        back++;
    }
    g_assert_cmpuint(back, ==, MANY / PIECE);
}

/* The machine stops with a chain half written: it goes on where it was. */
static void test_stop_in_between(Fix *x, const void *unused)
{
    start(x, 2);
    send_many(x);
    read_many(x, 0, 7000);
    fake_run_set(false);
    board_run(x->v.b);
    fake_run_set(true);
    board_run(x->v.b);
    read_many(x, 7000, MANY);
    char more;
    g_assert_cmpint((int)read(x->host[0], &more, 1), ==, -1);
}

/* The next driver's first chain begins at its first byte. */
static void test_reset_in_between(Fix *x, const void *unused)
{
    uint8_t buf[65536];

    start(x, 2);
    send_many(x);
    vd_set_status(&x->v.d, 0);
    g_assert_cmphex(vd_status(&x->v.d), ==, 0);
    while (read(x->host[0], buf, sizeof buf) > 0) {
        board_run(x->v.b);
    }
    x->v.d.alloc = x->p + (1 << 20);
    start(x, 2);
    g_assert_true(guest_says(x, TX0, "fresh"));
    expect_host(x, 0, "fresh");
}

static void test_peer_leaves(Fix *x, const void *unused)
{
    uint32_t id, len;
    unsigned back = 0;

    start(x, 2);
    send_many(x);
    close(x->host[0]);
    x->host[0] = -1;
    board_run(x->v.b);
    while (vring_used(&x->v.d.ring[TX0], &id, &len)) {
        back++;
    }
    g_assert_cmpuint(
        back, ==, MANY / PIECE); /* nobody listens: gone, as on a line without a terminal */
}

static void test_emergency_write(Fix *x, const void *unused)
{
    vdev_cfg_write(&x->v, 8, 4, 'E'); /* no driver yet */
    expect_host(x, 0, "E");
    start(x, 0);
    vdev_cfg_write(&x->v, 8, 1, '!');
    expect_host(x, 0, "!");
    vdev_cfg_write(&x->v, 4, 4, 7);
    g_assert_cmpuint(vdev_cfg(&x->v, 4, 4), ==, 31);
    expect_host(x, 0, "");
}

static void test_hotplug(Fix *x, const void *unused)
{
    uint32_t id, len;

    start(x, 0);
    tell(x, 0, READY, 1);
    EXPECT_TOLD(x, "add0=1 ");
    Dev *port = board_add(
        x->v.b, "{'driver': 'virtserialport', 'chardev': 'c1', 'id': 'hot', 'name': 'n'}");
    EXPECT_TOLD(x, "add1=1 ");
    tell(x, 1, PORT_READY, 1);
    tell(x, 1, OPEN, 1);
    EXPECT_TOLD(x, "name1=1:n open1=1 ");
    g_assert_true(guest_says(x, TX1, "plugged"));
    expect_host(x, 1, "plugged");
    for (unsigned i = 0; i < 40; i++) { /* until the host takes no more */
        const VBuf b = { x->p + 65536, 65536, false };
        vring_add(&x->v.d.ring[TX1], &b, 1, 0);
    }
    vd_kick(&x->v.d, TX1);
    board_run(x->v.b);
    unsigned back = 0;
    while (vring_used(&x->v.d.ring[TX1], &id, &len)) {
        back++;
    }
    g_assert_cmpuint(back, <, 40);
    dev_unplug_done(x->v.b->m, port);
    EXPECT_TOLD(x, "remove1=1 ");
    while (vring_used(&x->v.d.ring[TX1], &id, &len)) {
        back++;
    }
    g_assert_cmpuint(back, ==, 40); /* the driver gets its buffers back */
    g_autoptr(GError) err = NULL;
    g_assert_true(chardev_remove("c1", &err)); /* free again */
    board_add(x->v.b, "{'driver': 'virtserialport', 'id': 'hot'}");
    EXPECT_TOLD(x, "add1=1 ");
    g_assert_true(guest_says(x, TX1, "nowhere"));
}

/* Too few control buffers: the messages wait for more. */
static void test_control_waits(Fix *x, const void *unused)
{
    uint32_t id, len;

    for (unsigned i = 0; i < 5; i++) {
        board_add(x->v.b, "{'driver': 'virtserialport'}");
    }
    vd_start(&x->v.d, 0);
    give(x, CRX, x->ctrl, 64);
    give(x, CRX, x->ctrl + 64, 64);
    tell(x, 0, READY, 1);
    g_assert_true(vring_used(&x->v.d.ring[CRX], &id, &len));
    g_assert_true(vring_used(&x->v.d.ring[CRX], &id, &len));
    g_assert_false(vring_used(&x->v.d.ring[CRX], &id, &len));
    for (unsigned i = 2; i < 8; i++) {
        give(x, CRX, x->ctrl + 64 * i, 64);
    }
    EXPECT_TOLD(x, "add2=1 add3=1 add4=1 add5=1 ");
}

/* Hostile control messages change nothing, and come back. */
static void test_odd_control(Fix *x, const void *unused)
{
    const VBuf tiny = { x->p, 7, false }, writable = { x->p, 8, true };

    start(x, 0);
    tell(x, 0, READY, 1);
    EXPECT_TOLD(x, "add0=1 ");
    g_assert_cmpuint(vdev_do(&x->v, CTX, &tiny, 1, 0), ==, 0);
    g_assert_cmpuint(vdev_do(&x->v, CTX, &writable, 1, 0), ==, 0);
    tell(x, 1, OPEN, 1);
    tell(x, UINT32_MAX, PORT_READY, 1);
    tell(x, 0x80000000, OPEN, 1);
    tell(x, 0, 0xffff, 0xffff);
    EXPECT_TOLD(x, "");
    for (unsigned i = 0; i < 5000; i++) { /* more than will ever be kept */
        tell(x, 0, READY, 1);
    }
    board_run(x->v.b);
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
    g_assert_true(guest_says(x, TX0, "alive"));
    expect_host(x, 0, "alive");
}

static void test_odd_data(Fix *x, const void *unused)
{
    const VBuf writable = { x->p, 8, true }, own = { x->v.d.notify, 4, false };

    start(x, 2);
    g_assert_cmpuint(vdev_do(&x->v, TX0, &writable, 1, 0), ==, 0); /* nothing to send in it */
    g_assert_cmphex(vdev_bad(&x->v, TX0, &own, 1), ==, 0x4f);
}

static void test_receive_without_room(Fix *x, const void *unused)
{
    const VBuf readable = { x->p, 8, false };

    start(x, 2);
    vring_add(&x->v.d.ring[RX0], &readable, 1, 0); /* 5.3.6.1 forbids it */
    vd_kick(&x->v.d, RX0);
    host_says(x, 0, "data");
    give(x, RX0, x->p + 8192, 16);
    board_run(x->v.b);
    g_assert_cmphex(vd_status(&x->v.d) & 0x0f, ==, 15);
}

static void test_reset_closes(Fix *x, const void *unused)
{
    board_add(x->v.b, "{'driver': 'virtserialport', 'chardev': 'c1', 'id': 'org'}");
    start(x, 0);
    tell(x, 0, READY, 1);
    tell(x, 1, OPEN, 1);
    g_string_truncate(x->events, 0);
    vd_set_status(&x->v.d, 0);
    g_assert_cmpstr(x->events->str, ==, "VSERPORT_CHANGE{\"open\": false, \"id\": \"org\"} ");
    x->v.d.alloc = x->p + (1 << 20);
    start(x, 0);
    EXPECT_TOLD(x, ""); /* not before the new driver is ready */
    tell(x, 0, READY, 1);
    EXPECT_TOLD(x, "add0=1 add1=1 ");
}

static void test_errors(void)
{
    static const struct {
        const char *json, *text;
    } t[] = {
        { "{'driver': 'virtio-serial-pci', 'max_ports': 0}",
            "Maximum number of serial ports not specified" },
        { "{'driver': 'virtio-serial-pci', 'max_ports': 512}", "maximum ports supported: 511" },
        { "{'driver': 'virtserialport', 'nr': 0}",
            "Port number 0 on virtio-serial devices reserved for virtconsole devices for backward "
            "compatibility." },
        { "{'driver': 'virtserialport', 'nr': 4}",
            "virtio-serial-bus: Out-of-range port id specified, max. allowed: 3" },
        { "{'driver': 'virtserialport', 'nr': 1}",
            "virtio-serial-bus: A port already exists at id 1" },
        { "{'driver': 'virtserialport', 'name': 'a'}",
            "virtio-serial-bus: A port already exists by name a" },
        { "{'driver': 'virtserialport', 'chardev': 'zz'}",
            "Property 'virtserialport.chardev' can't find value 'zz'" },
        { "{'driver': 'virtserialport', 'chardev': 'c'}",
            "Property 'virtserialport.chardev' can't take value 'c': chardev 'c' is already in "
            "use" },
    };
    Board *b = board_new(false);
    g_autoptr(Json) c = json_parse("{'backend': 'null', 'id': 'c'}", -1, NULL);

    g_assert_nonnull(chardev_create(c, NULL));
    board_add(b, "{'driver': 'virtio-serial-pci', 'max_ports': 4}");
    board_add(b, "{'driver': 'virtserialport', 'nr': 1, 'name': 'a', 'chardev': 'c'}");
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *text = board_add_error(b, t[i].json);
        g_assert_cmpstr(text, ==, t[i].text);
    }
    board_add(b, "{'driver': 'virtserialport'}");
    board_add(b, "{'driver': 'virtserialport'}");
    g_autofree char *full = board_add_error(b, "{'driver': 'virtserialport'}");
    g_assert_cmpstr(full, ==, "virtio-serial-bus: Out-of-range port id specified, max. allowed: 3");
    board_free(b);
    chardev_cleanup();
}

/* The name of the terminal behind chardev "t". */
static char *pty_name(void)
{
    const QmpCmd *c = chardev_qmp_cmds;

    while (strcmp(c->name, "query-chardev")) {
        c++;
    }
    g_autoptr(Json) all = c->run(NULL, NULL, NULL);

    for (unsigned i = 0; i < json_len(all); i++) {
        if (!strcmp(json_get_str_or(json_at(all, i), "label", ""), "t")) {
            return g_strdup(json_get_str_or(json_at(all, i), "filename", "") + strlen("pty:"));
        }
    }
    g_assert_not_reached();
}

static void wait_size(Fix *x, int tty, unsigned cols, unsigned rows)
{
    const struct winsize w = { .ws_col = (uint16_t)cols, .ws_row = (uint16_t)rows };

    g_assert_cmpint(ioctl(tty, TIOCSWINSZ, &w), ==, 0);
    while (vdev_cfg(&x->v, 0, 2) != cols || vdev_cfg(&x->v, 2, 2) != rows) {
        loop_turn(loop_main(), true);
    }
}

/* 5.3.6: the size of a terminal in configuration space and, with MULTIPORT, in a message. */
static void size(bool offered, bool multi)
{
    g_autoptr(Json) t = json_parse("{'backend': 'pty', 'id': 't'}", -1, NULL);
    Fix x = { 0 };

    g_assert_nonnull(chardev_create(t, NULL));
    up_with(&x,
        offered ? "{'driver': 'virtio-serial-pci', 'x-size': true, 'addr': '4'}"
                : "{'driver': 'virtio-serial-pci', 'addr': '4'}",
        false);
    board_add(x.v.b, "{'driver': 'virtconsole', 'chardev': 't', 'id': 'con'}");
    g_assert_cmphex(vd_offered(&x.v.d) & 1, ==, offered);
    g_assert_cmpuint(vdev_cfg(&x.v, 0, 4), ==, 0); /* nobody is there yet */
    start(&x, multi ? 0 : 2);
    if (multi) {
        tell(&x, 0, READY, 1);
        tell(&x, 0, PORT_READY, 1);
        EXPECT_TOLD(&x, "add0=1 console0=1 ");
    }
    g_autofree char *name = pty_name();
    int tty = open(name, O_RDWR | O_NOCTTY);

    g_assert_cmpint(tty, >=, 0);
    if (offered) {
        wait_size(&x, tty, 132, 43);
        g_assert_cmphex(vd_isr(&x.v.d) & 2, ==, 2); /* configuration has changed */
        wait_size(&x, tty, 80, 25);
        g_assert_cmphex(vd_isr(&x.v.d) & 2, ==, 2);
    }
    if (offered && multi) {
        uint32_t id, len;
        unsigned n = 0;

        while (vring_used(&x.v.d.ring[CRX], &id, &len)) {
            uint64_t at = x.ctrl + 64 * (id % 16);

            if (vport_r16(x.v.d.port, at + 4) == 5) { /* RESIZE */
                g_assert_cmpuint(len, ==, 12);
                g_assert_cmpuint(vport_r16(x.v.d.port, at + 8), ==, n ? 80 : 132);
                g_assert_cmpuint(vport_r16(x.v.d.port, at + 10), ==, n ? 25 : 43);
                n++;
            }
        }
        g_assert_cmpuint(n, ==, 2);
    }
    close(tty);
    down(&x, NULL);
}

static void test_size(void)
{
    size(true, true);
    size(true, false);
    size(false, true);
}

static void add(const char *name, const void *legacy, void (*fn)(Fix *, const void *))
{
    g_autofree char *path = g_strdup_printf("/virtio-console/%s", name);

    g_test_add(path, Fix, legacy, up, fn, down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    add("identity", NULL, test_identity);
    add("legacy", "legacy", test_legacy);
    add("handshake", NULL, test_handshake);
    add("console-both-ways", NULL, test_console_both_ways);
    add("without-multiport", NULL, test_without_multiport);
    add("port-opens-and-closes", NULL, test_port_opens_and_closes);
    add("receive-in-pieces", NULL, test_receive_in_pieces);
    add("back-pressure", NULL, test_back_pressure);
    add("stop-in-between", NULL, test_stop_in_between);
    add("reset-in-between", NULL, test_reset_in_between);
    add("peer-leaves", NULL, test_peer_leaves);
    add("emergency-write", NULL, test_emergency_write);
    add("hotplug", NULL, test_hotplug);
    add("control-waits-for-buffers", NULL, test_control_waits);
    add("odd-control", NULL, test_odd_control);
    add("odd-data", NULL, test_odd_data);
    add("receive-without-room", NULL, test_receive_without_room);
    add("reset-closes", NULL, test_reset_closes);
    g_test_add_func("/virtio-console/size", test_size);
    g_test_add_func("/virtio-console/errors", test_errors);
    return g_test_run();
}
