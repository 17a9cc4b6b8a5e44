/* Normative sentences about the console device (VIRTIO 1.4, 5.3) and the entropy device (5.4). */
#include "chardev/chardev.h"
#include "tests/conformance/norm.h"

#include <sys/socket.h>
#include <unistd.h>

enum { READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME };
enum { CTRL_RX = 2, CTRL_TX = 3, BUFFERS = 8, BUFFER = 64 };
enum { MAX_PORTS = 4, EMERG_WR = 8 };

static int host; /* the other end of chardev "c" */

/* A device of four ports at most with a console at port 0. */
static void console(Norm *x, unsigned how)
{
    int sv[2];
    g_autofree char *json = NULL;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), ==, 0);
    json = g_strdup_printf("{'backend': 'socket', 'id': 'c', 'fd': '%d'}", sv[0]);
    host = sv[1];
    g_autoptr(Json) args = json_parse(json, -1, NULL);

    g_assert_nonnull(chardev_create(args, NULL));
    norm_open(x, "virtio-serial-pci", ", 'id': 's', 'max_ports': 4", how);
    board_add(x->b, "{'driver': 'virtconsole', 'chardev': 'c', 'id': 'con'}");
}

static void end(Norm *x)
{
    norm_close(x);
    x->b = NULL;
    chardev_cleanup();
    close(host);
}

static void expect_host(const char *want)
{
    char buf[64];
    ssize_t n = read(host, buf, sizeof buf);

    g_assert_cmpmem(buf, n < 0 ? 0 : (size_t)n, want, strlen(want));
}

static void give(Norm *x, unsigned i)
{
    const VBuf b = { x->page + BUFFER * i, BUFFER, true };

    vring_add(&x->d.ring[CTRL_RX], &b, 1, 0);
    vd_kick(&x->d, CTRL_RX);
}

static void start(Norm *x)
{
    norm_start(x, 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        give(x, i);
    }
    board_run(x->b);
}

static void tell(Norm *x, uint32_t port, uint16_t event, uint16_t value)
{
    const VBuf b = { x->page + 0x1000, 8, false };
    uint32_t id, len;

    vport_w32(&x->b->port, b.at, port);
    vport_w16(&x->b->port, b.at + 4, event);
    vport_w16(&x->b->port, b.at + 6, value);
    vring_add(&x->d.ring[CTRL_TX], &b, 1, 0);
    vd_kick(&x->d, CTRL_TX);
    vd_wait_used(&x->d, CTRL_TX, &id, &len);
    board_run(x->b);
}

typedef struct Told {
    uint32_t port;
    uint16_t event, value;
} Told;

/* The next message; false: none. */
static bool told(Norm *x, Told *ret)
{
    uint32_t id, len;
    uint64_t at;

    if (!vring_used(&x->d.ring[CTRL_RX], &id, &len)) {
        return false;
    }
    g_assert_cmpuint(len, >=, 8);
    at = x->page + BUFFER * (id % BUFFERS);
    *ret = (Told){ vport_r32(&x->b->port, at), vport_r16(&x->b->port, at + 4),
        vport_r16(&x->b->port, at + 6) };
    give(x, id % BUFFERS);
    board_run(x->b);
    return true;
}

/* What a driver knows from ADD and REMOVE; both have to make sense to it. */
typedef struct Ports {
    bool there[MAX_PORTS];
    unsigned adds, removes;
} Ports;

static void follow(Norm *x, Ports *p)
{
    for (Told t; told(x, &t);) {
        if (t.event == ADD) {
            g_assert_cmpuint(t.port, <, MAX_PORTS);
            g_assert_false(p->there[t.port]);
            p->there[t.port] = true;
            p->adds++;
        } else if (t.event == REMOVE) {
            g_assert_cmpuint(t.port, <, MAX_PORTS);
            g_assert_true(p->there[t.port]);
            p->there[t.port] = false;
            p->removes++;
        }
    }
}

static Dev *plug(Norm *x)
{
    return board_add(x->b, "{'driver': 'virtserialport', 'id': 'p'}");
}

static void unplug(Norm *x, Dev *port)
{
    dev_unplug_done(x->b->m, port);
    board_run(x->b);
}

static void console_1(Norm *x)
{
    NORM("TXT-CON-CONSOLE-1");
    console(x, 0);
    norm_note("up to max_ports (%u here) ports, with MULTIPORT", (unsigned)norm_dev(x, 4, 4));
    g_assert_cmpuint(norm_dev(x, 4, 4), ==, MAX_PORTS);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(1), !=, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x12, 2), ==, 2 * MAX_PORTS + 2);
    end(x);
}

static void leg_cfg_1(Norm *x)
{
    NORM("LEG-CON-CFG-1");
    console(x, NORM_LEGACY);
    g_assert_cmphex(norm_dev(x, 4, 1), ==, MAX_PORTS); /* an x86 is little-endian */
    for (unsigned off = 5; off < 8; off++) {
        g_assert_cmphex(norm_dev(x, off, 1), ==, 0);
    }
    end(x);
}

static void init_1(Norm *x)
{
    NORM("CON-INIT-1");
    console(x, 0);
    for (unsigned status = 0; status <= 3; status += status + 1) { /* 0, 1, 3 */
        vd_set_status(&x->d, (uint8_t)status);
        norm_dev_write(x, EMERG_WR, 4, 'a' + status);
        g_assert_cmphex(vd_status(&x->d), ==, status);
    }
    expect_host("abd");
    start(x);
    norm_dev_write(x, EMERG_WR, 4, 'z');
    expect_host("z");
    end(x);
}

static void init_2(Norm *x)
{
    NORM("CON-INIT-2");
    console(x, 0);
    norm_dev_write(x, EMERG_WR, 4, 0x61626364); /* the lower byte */
    expect_host("d");
    norm_dev_write(x, EMERG_WR, 1, 'E');
    expect_host("E");
    end(x);
}

static void txt_multiport_1(Norm *x)
{
    unsigned consoles = 0;

    NORM("TXT-CON-MULTIPORT-1");
    console(x, 0);
    board_add(x->b, "{'driver': 'virtconsole', 'id': 'con2'}");
    start(x);
    tell(x, 0, READY, 1);
    for (Told t; told(x, &t);) {
        if (t.event == ADD) {
            tell(x, t.port, PORT_READY, 1);
        }
        consoles += t.event == CONSOLE;
    }
    norm_note("%u console ports", consoles);
    g_assert_cmpuint(consoles, ==, 2);
    end(x);
}

static void multiport_1(Norm *x)
{
    NORM("CON-MULTIPORT-1");
    console(x, 0);
    for (unsigned round = 0; round < 2; round++) { /* after a reset, all anew */
        Ports p = { 0 };
        Dev *port;

        start(x);
        tell(x, 0, READY, 1);
        follow(x, &p);
        g_assert_cmpuint(p.adds, ==, 1);
        port = plug(x);
        follow(x, &p);
        g_assert_cmpuint(p.adds, ==, 2);
        tell(x, 0, READY, 1); /* said twice: nothing is new */
        tell(x, 1, PORT_READY, 1);
        tell(x, 0, READY, 1);
        follow(x, &p);
        unplug(x, port);
        port = plug(x); /* the same number, after it was removed */
        follow(x, &p);
        g_assert_cmpuint(p.adds, ==, 3);
        unplug(x, port);
        follow(x, &p);
        vd_set_status(&x->d, 0);
    }
    board_add(x->b, "{'driver': 'virtserialport', 'nr': 3}");
    g_autofree char *too_high = board_add_error(x->b, "{'driver': 'virtserialport', 'nr': 4}");

    g_assert_nonnull(too_high);
    end(x);
}

static void multiport_2(Norm *x)
{
    Ports p = { 0 };
    Dev *port;

    NORM("CON-MULTIPORT-2");
    console(x, 0);
    port = plug(x);
    unplug(x, port); /* no driver yet */
    start(x);
    port = plug(x);
    unplug(x, port); /* one that does not ask for messages yet */
    follow(x, &p);
    tell(x, 0, READY, 1);
    follow(x, &p);
    g_assert_cmpuint(p.removes, ==, 0);
    port = plug(x);
    unplug(x, port);
    follow(x, &p);
    g_assert_cmpuint(p.removes, ==, 1);
    port = plug(x);
    follow(x, &p);
    vd_set_status(&x->d, 0); /* the next driver knows nothing of it */
    start(x);
    p = (Ports){ 0 };
    unplug(x, port);
    tell(x, 0, READY, 1);
    follow(x, &p);
    g_assert_cmpuint(p.adds, ==, 1);
    g_assert_cmpuint(p.removes, ==, 0);
    end(x);
}

/* Without MULTIPORT's queues in tests of legacy drivers: the driver library makes one; here, all.
 */
static void leg_op_1(Norm *x)
{
    uint8_t got[8];
    uint32_t id, len;

    NORM("LEG-CON-OP-1");
    console(x, NORM_LEGACY);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    for (unsigned q = 0; q < 4; q++) {
        vd_setup_queue(&x->d, q, 0);
    }
    vd_driver_ok(&x->d);
    give(x, 0);
    plug(x);
    tell(x, 0, READY, 1);
    g_assert_true(vring_used(&x->d.ring[CTRL_RX], &id, &len));
    x->b->port.read(x->b, x->page, got, 8);
    g_assert_cmpmem(got, 8, "\0\0\0\0\1\0\1\0", 8); /* port 0, ADD, 1 */
    give(x, 0);
    board_run(x->b);
    g_assert_true(vring_used(&x->d.ring[CTRL_RX], &id, &len));
    x->b->port.read(x->b, x->page, got, 8);
    g_assert_cmpmem(got, 8, "\1\0\0\0\1\0\1\0", 8);
    end(x);
}

/* 5.4.6.2: some bytes each time, whatever the buffer, never none; random ones. */
static void rng_op_1(Norm *x)
{
    static const uint32_t lens[] = { 1, 2, 63, 512, 4096, 60000 };
    uint8_t a[32], b[32];
    uint32_t id, len;

    NORM("RNG-OP-1");
    norm_open(x, "virtio-rng-pci", NULL, NORM_START);
    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        const VBuf buf = { x->page, lens[i], true };

        norm_fill(x, x->page, 0, 64);
        vring_add(x->r, &buf, 1, 0);
        vd_kick(&x->d, 0);
        vd_wait_used(&x->d, 0, &id, &len);
        g_assert_cmpuint(len, >=, 1);
        g_assert_cmpuint(len, <=, lens[i]);
        memcpy(b, a, sizeof a);
        x->b->port.read(x->b, x->page, a, sizeof a);
        g_assert_true(i < 3 || len < 32 || memcmp(a, b, sizeof a));
    }
    norm_note("%u of %u bytes are given at once", len, lens[5]);
    norm_close(x);
    /* A source that has given all it may for now: the buffer waits. */
    norm_open(x, "virtio-rng-pci", ", 'max-bytes': 8, 'period': 1000000", NORM_START);
    for (unsigned i = 0; i < 2; i++) {
        const VBuf buf = { x->page, 64, true };

        vring_add(x->r, &buf, 1, 0);
        norm_go(x);
        g_assert_cmpint(vring_used(x->r, &id, &len), ==, !i);
        g_assert_true(i || len == 8);
    }
    norm_close(x);
    x->b = NULL;
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "TXT-CON-CONSOLE-1", console_1, NORM_BARE, NULL },
        { "LEG-CON-CFG-1", leg_cfg_1, NORM_BARE, NULL },
        { "CON-INIT-1", init_1, NORM_BARE, NULL },
        { "CON-INIT-2", init_2, NORM_BARE, NULL },
        { "TXT-CON-MULTIPORT-1", txt_multiport_1, NORM_BARE, NULL },
        { "CON-MULTIPORT-1", multiport_1, NORM_BARE, NULL },
        { "CON-MULTIPORT-2", multiport_2, NORM_BARE, NULL },
        { "LEG-CON-OP-1", leg_op_1, NORM_BARE, NULL },
        { "RNG-OP-1", rng_op_1, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
