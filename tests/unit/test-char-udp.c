/* chardev/char-udp.c: datagrams both ways, a slow reader, a peer that is not there yet, texts and
 * mistakes. */
#include "tests/unit/front.h"

#include <arpa/inet.h>
#include <netinet/in.h>

typedef struct Peer {
    int fd;
    char port[8]; /* its own */
} Peer;

/* port 0: any. */
static void peer_init(Peer *p, unsigned port)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;

    p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(p->fd, (struct sockaddr *)&in, len), ==, 0);
    g_assert_cmpint(getsockname(p->fd, (struct sockaddr *)&in, &len), ==, 0);
    g_snprintf(p->port, sizeof p->port, "%u", ntohs(in.sin_port));
}

/* Waits for a datagram, which must be these bytes, and answers whoever sent it from now on. */
static void peer_expect(Peer *p, const char *want)
{
    char buf[64];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(p->fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &len);

    g_assert_cmpint((int)n, >, 0);
    g_assert_cmpmem(buf, (size_t)n, want, strlen(want));
    g_assert_cmpint(connect(p->fd, (struct sockaddr *)&from, len), ==, 0);
}

static Chardev *make_udp(const Peer *p, const char *more)
{
    g_autofree char *json = g_strdup_printf(
        "{'backend': 'udp', 'id': 'u', 'host': '127.0.0.1', 'port': '%s'%s}", p->port, more);

    return make(json);
}

static void test_datagrams(void)
{
    Peer p;
    Front f;

    peer_init(&p, 0);
    front_init(&f, make_udp(&p, ""), 100);
    g_autofree char *name = query("u");
    g_assert_cmpstr(name, ==, "udp");
    g_assert_cmpstr(f.events->str, ==, "O"); /* there is nobody to wait for */
    g_assert_cmpuint(chardev_write(&f.fe, "ping", 4), ==, 4);
    chardev_write_all(&f.fe, "two", 3);
    peer_expect(&p, "ping");
    peer_expect(&p, "two");
    g_assert_cmpint((int)write(p.fd, "po", 2), ==, 2);
    g_assert_cmpint((int)write(p.fd, "", 0), ==, 0);
    g_assert_cmpint((int)write(p.fd, "ng", 2), ==, 2);
    wait_in(&f, "pong");
    close(p.fd);
    front_fini(&f);
    drop("u");
}

static void test_slow_reader(void)
{
    Peer p;
    Front f;

    peer_init(&p, 0);
    front_init(&f, make_udp(&p, ""), 3);
    g_assert_cmpuint(chardev_write(&f.fe, "x", 1), ==, 1);
    peer_expect(&p, "x");
    g_assert_cmpint((int)write(p.fd, "01234567", 8), ==, 8);
    g_assert_cmpint((int)write(p.fd, "89", 2), ==, 2);
    wait_in(&f, "012");
    settle();
    g_assert_cmpstr(f.in->str, ==, "012");
    f.room = 4;
    chardev_fe_accept(&f.fe);
    wait_in(&f, "0123456");
    f.room = 9;
    chardev_fe_accept(&f.fe);
    wait_in(&f, "0123456789");
    close(p.fd);
    front_fini(&f);
    drop("u");
}

/* More than a datagram holds goes out as several, in order. */
static void test_long_write(void)
{
    enum { LEN = 70000, DATAGRAM = 65507 };
    g_autofree char *out = g_malloc(LEN), *in = g_malloc(LEN);
    Peer p;
    Front f;

    for (unsigned i = 0; i < LEN; i++) {
        out[i] = (char)(i * 7 >> 3);
    }
    peer_init(&p, 0);
    front_init(&f, make_udp(&p, ""), 0);
    chardev_write_all(&f.fe, out, LEN);
    g_assert_cmpint((int)recv(p.fd, in, LEN, 0), ==, DATAGRAM);
    settle();
    g_assert_cmpint((int)recv(p.fd, in + DATAGRAM, LEN - DATAGRAM, 0), ==, LEN - DATAGRAM);
    g_assert_cmpmem(in, LEN, out, LEN);
    close(p.fd);
    front_fini(&f);
    drop("u");
}

/* ICMP says that nobody is there; who comes later is served all the same. */
static void test_absent_peer(void)
{
    Peer p;
    Front f;

    peer_init(&p, 0);
    front_init(&f, make_udp(&p, ", 'localaddr': '127.0.0.1', 'localport': '0'"), 9);
    close(p.fd);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpuint(chardev_write(&f.fe, "lost", 4), ==, 4);
        settle();
    }
    peer_init(&p, (unsigned)atoi(p.port));
    while (chardev_write(&f.fe, "here", 4) != 4) {
        settle();
    }
    peer_expect(&p, "here");
    g_assert_cmpint((int)write(p.fd, "too", 3), ==, 3);
    wait_in(&f, "too");
    close(p.fd);
    front_fini(&f);
    drop("u");
}

static void test_errors(void)
{
    Peer busy;
    static const struct {
        const char *more, *text;
    } t[] = {
        { "", "chardev: udp: remote port not specified" },
        { ", 'port': 'abc'",
            "address resolution failed for :abc: Servname not supported for ai_socktype" },
        { ", 'port': '1', 'localaddr': '192.0.2.1'",
            "Failed to bind socket: Cannot assign requested address" },
        { ", 'port': '1', 'ipv4': false, 'ipv6': false",
            "Cannot disable IPv4 and IPv6 at same time" },
        { ", 'port': '1', 'host': '::1', 'ipv6': false",
            "address resolution failed for ::1:1: Address family for hostname not supported" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *json = g_strdup_printf("{'backend': 'udp', 'id': 'e'%s}", t[i].more);
        g_autofree char *text = make_error(json);
        g_assert_cmpstr(text, ==, t[i].text);
        g_assert_null(chardev_find("e"));
    }
    peer_init(&busy, 0);
    g_autofree char *json = g_strdup_printf("{'backend': 'udp', 'id': 'e', 'port': '1', "
                                            "'localaddr': '127.0.0.1', 'localport': '%s'}",
        busy.port);
    g_autofree char *text = make_error(json);
    g_assert_cmpstr(text, ==, "Failed to bind socket: Address already in use");
    close(busy.fd);
}

static void test_texts(void)
{
    static const char *const good[] = { "udp::5000", "udp:127.0.0.1:5000", "udp:127.0.0.1:5000@:0",
        "mon:udp::5000@127.0.0.1:0" };
    static const char *const bad[] = { "udp:", "udp::", "udp:a", "udp::5000@",
        "udp:127.0.0.1:5000@127.0.0.1" };
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_nonnull(chardev_from_text("t", good[i], &err));
        g_assert_no_error(err);
        drop("t");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) local = NULL;
        g_autofree char *want = g_strconcat("parse error: ", bad[i], NULL);
        g_assert_null(chardev_from_text("t", bad[i], &local));
        g_assert_cmpstr(local->message, ==, want);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/char-udp/datagrams", test_datagrams);
    g_test_add_func("/char-udp/slow-reader", test_slow_reader);
    g_test_add_func("/char-udp/long-write", test_long_write);
    g_test_add_func("/char-udp/absent-peer", test_absent_peer);
    g_test_add_func("/char-udp/errors", test_errors);
    g_test_add_func("/char-udp/texts", test_texts);
    return front_run();
}
