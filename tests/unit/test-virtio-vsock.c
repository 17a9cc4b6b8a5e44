/* hw/virtio/virtio-vsock.c, virtio-vsock-conn.c: packets, credit, ends and refusals
 * (VIRTIO 1.4, 5.10). */
#include "tests/unit/vdev.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern const ObjClass virtio_vsock_class, virtio_vsock_pci_class, virtio_vsock_pci_base_class;
VDEV_TYPES(&pci_device_class, &virtio_pci_class, &virtio_device_class, &virtio_vsock_class,
    &virtio_vsock_pci_class, &virtio_vsock_pci_base_class);

enum { RX, TX, EVENT };
enum { REQUEST = 1, RESPONSE = 2, RST = 3, SHUTDOWN = 4, RW = 5, UPDATE = 6, ASK = 7 };
enum { STREAM = 1, SEQ = 2, HEAD = 44, NBUF = 16, BUFLEN = 4096 };

typedef struct Packet {
    uint64_t src, dst;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed)) Packet;
_Static_assert(sizeof(Packet) == HEAD, "VIRTIO 1.4, 5.10.6");

typedef struct Fix {
    VDev v;
    char *dir, *path;
    uint64_t rx, tx;
    unsigned given; /* receive buffers so far */
    int listener;
} Fix;

static void give(Fix *x, unsigned n)
{
    while (n--) {
        const VBuf b = { x->rx + (x->given++ % NBUF) * BUFLEN, BUFLEN, true };

        vring_add(&x->v.d.ring[RX], &b, 1, 0);
    }
    vd_kick(&x->v.d, RX);
    board_run(x->v.b);
}

static void start(Fix *x, uint64_t without)
{
    vd_start(&x->v.d, without);
    give(x, NBUF);
}

static int listen_on(const char *path, int type)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    g_strlcpy(a.sun_path, path, sizeof a.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&a, sizeof a), ==, 0);
    g_assert_cmpint(listen(fd, 16), ==, 0);
    return fd;
}

static int dial(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    g_strlcpy(a.sun_path, path, sizeof a.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&a, sizeof a), ==, 0);
    return fd;
}

static void up(Fix *x, const void *unused)
{
    g_autofree char *port = NULL;

    x->dir = g_dir_make_tmp("virtue-vsock-XXXXXX", NULL);
    x->path = g_build_filename(x->dir, "v", NULL);
    port = g_strconcat(x->path, "_80", NULL);
    g_autofree char *json = g_strdup_printf(
        "{'driver': 'virtio-vsock-pci', 'guest-cid': 3, 'x-path': '%s', 'addr': '4'}", x->path);

    vdev_open(&x->v, json, false);
    x->rx = vd_page(&x->v.d, NBUF * BUFLEN);
    x->tx = vd_page(&x->v.d, 1 << 20);
    x->listener = listen_on(port, SOCK_STREAM);
}

static void down(Fix *x, const void *unused)
{
    g_autofree char *port = g_strconcat(x->path, "_80", NULL);

    vdev_close(&x->v);
    g_assert_false(g_file_test(x->path, G_FILE_TEST_EXISTS));
    close(x->listener);
    g_unlink(port);
    g_assert_cmpint(g_rmdir(x->dir), ==, 0);
    g_free(x->path);
    g_free(x->dir);
}

/* The next packet for the guest, its payload copied to data; op 0: none. */
static Packet next(Fix *x, void *data)
{
    Packet p = { 0 };
    uint32_t id, len;

    board_run(x->v.b);
    if (!vring_used(&x->v.d.ring[RX], &id, &len)) {
        return p;
    }
    uint64_t at = x->rx + (id % NBUF) * BUFLEN;

    vdev_get(&x->v, at, &p, sizeof p);
    g_assert_cmpuint(len, ==, HEAD + p.len);
    if (data && p.len) {
        vdev_get(&x->v, at + HEAD, data, p.len);
    }
    return p;
}

#define EXPECT(x, o)                                                                               \
    do {                                                                                           \
        Packet p_ = next(x, NULL);                                                                 \
        g_assert_cmpuint(p_.op, ==, o);                                                            \
        g_assert_cmpuint(p_.src, ==, 2);                                                           \
        g_assert_cmpuint(p_.dst, ==, 3);                                                           \
    } while (0)

static void send_packet(Fix *x, Packet p, const void *data, uint32_t room)
{
    uint32_t id, len;
    VBuf b = { x->tx, HEAD + room, false };

    vdev_put(&x->v, x->tx, &p, sizeof p);
    if (p.len) {
        vdev_put(&x->v, x->tx + HEAD, data, p.len);
    }
    vring_add(&x->v.d.ring[TX], &b, 1, 0);
    vd_kick(&x->v.d, TX);
    vd_wait_used(&x->v.d, TX, &id, &len);
    g_assert_cmpuint(len, ==, 0);
}

static Packet to_host(uint16_t op)
{
    return (Packet){ .src = 3,
        .dst = 2,
        .src_port = 1234,
        .dst_port = 80,
        .type = STREAM,
        .op = op,
        .buf_alloc = 8192 };
}

static int connected(Fix *x)
{
    send_packet(x, to_host(REQUEST), NULL, 0);
    Packet p = next(x, NULL);

    g_assert_cmpuint(p.op, ==, RESPONSE);
    g_assert_cmpuint(p.src_port, ==, 80);
    g_assert_cmpuint(p.dst_port, ==, 1234);
    g_assert_cmpuint(p.buf_alloc, ==, 262144); /* valid from the first packet on (5.10.6.3.2) */
    int fd = accept4(x->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static void test_data(Fix *x, const void *unused)
{
    char buf[64] = "";

    start(x, 0);
    int fd = connected(x);
    Packet p = to_host(RW);

    p.len = 5;
    send_packet(x, p, "hello", 100); /* a longer buffer than the header says */
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 5);
    g_assert_cmpstr(buf, ==, "hello");
    g_assert_cmpint((int)write(fd, "world!", 6), ==, 6);
    p = next(x, buf);
    g_assert_cmpuint(p.op, ==, RW);
    g_assert_cmpuint(p.fwd_cnt, ==, 5);
    g_assert_cmpmem(buf, p.len, "world!", 6);
    close(fd);
}

/* Never more than the guest's window; more when it says so (5.10.6.3.2). */
static void test_credit(Fix *x, const void *unused)
{
    char piece[65536] = { 0 };
    uint32_t got = 0;

    start(x, 0);
    int fd = connected(x);

    g_assert_cmpint((int)write(fd, piece, 20000), ==, 20000);
    for (Packet p = next(x, NULL); p.op == RW; p = next(x, NULL)) {
        got += p.len;
    }
    g_assert_cmpuint(got, ==, 8192);
    Packet p = to_host(UPDATE);

    give(x, 4);
    p.fwd_cnt = 5000;
    send_packet(x, p, NULL, 0);
    for (p = next(x, NULL); p.op; p = next(x, NULL)) {
        got += p.op == RW ? p.len : 0;
    }
    g_assert_cmpuint(got, ==, 13192);
    /* Asked for ours, and told of it. */
    give(x, 4);
    send_packet(x, to_host(ASK), NULL, 0);
    EXPECT(x, UPDATE);
    close(fd);
}

/* What the host does not take waits, but no more than the guest was promised. */
static void test_slow_host(Fix *x, const void *unused)
{
    g_autofree char *piece = g_malloc0(65536);
    unsigned sent = 0;
    Packet p = to_host(RW), last = { 0 };

    start(x, 0);
    int fd = connected(x);

    p.len = 65536;
    while (last.op != RST && sent < 64) {
        send_packet(x, p, piece, 65536);
        sent++;
        for (Packet q = next(x, NULL); q.op; q = next(x, NULL)) {
            last = q;
            give(x, 1);
        }
    }
    /* The guest overran its window: the connection ends, memory does not grow. */
    g_assert_cmpuint(last.op, ==, RST);
    g_assert_cmpuint(sent, <, 64);
    close(fd);
}

static void test_half_close(Fix *x, const void *unused)
{
    char buf[16];
    Packet p = to_host(SHUTDOWN);

    start(x, 0);
    int fd = connected(x);

    p.flags = 2; /* the guest will not send any more */
    send_packet(x, p, NULL, 0);
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 0);
    g_assert_cmpint((int)write(fd, "still", 5), ==, 5);
    p = next(x, buf);
    g_assert_cmpuint(p.op, ==, RW);
    g_assert_cmpint(shutdown(fd, SHUT_WR), ==, 0);
    p = next(x, NULL);
    g_assert_cmpuint(p.op, ==, SHUTDOWN);
    g_assert_cmpuint(p.flags & 2, ==, 2);
    p = to_host(SHUTDOWN);
    p.flags = 3;
    send_packet(x, p, NULL, 0);
    EXPECT(x, RST); /* the clean end (5.10.6.5) */
    close(fd);
    /* The pair of addresses is free again. */
    close(connected(x));
}

static void test_host_goes(Fix *x, const void *unused)
{
    start(x, 0);
    int fd = connected(x);

    g_assert_cmpint((int)write(fd, "last", 4), ==, 4);
    close(fd);
    EXPECT(x, RW); /* nothing that was sent is lost */
    Packet p = next(x, NULL);

    while (p.op == SHUTDOWN && p.flags != 3) {
        p = next(x, NULL);
    }
    g_assert_cmpuint(p.op, ==, SHUTDOWN);
    g_assert_cmpuint(p.flags, ==, 3);
    send_packet(x, to_host(RST), NULL, 0);
    g_assert_cmpuint(next(x, NULL).op, ==, 0);
}

static void test_refused(Fix *x, const void *unused)
{
    Packet p = to_host(REQUEST);

    start(x, 0);
    p.dst_port = 81; /* nobody listens */
    send_packet(x, p, NULL, 0);
    EXPECT(x, RST);
    p = to_host(RW); /* no connection */
    send_packet(x, p, NULL, 0);
    EXPECT(x, RST);
    p = to_host(REQUEST);
    p.type = 77; /* an unknown type: 5.10.6.4.2 */
    send_packet(x, p, NULL, 0);
    EXPECT(x, RST);
    p = to_host(RST); /* never an answer to the end itself */
    send_packet(x, p, NULL, 0);
    g_assert_cmpuint(next(x, NULL).op, ==, 0);
    p = to_host(REQUEST);
    p.src = 4; /* not the guest's context */
    send_packet(x, p, NULL, 0);
    g_assert_cmpuint(next(x, NULL).op, ==, 0);
    p = to_host(99);
    int fd = connected(x);
    send_packet(x, p, NULL, 0);
    EXPECT(x, RST);
    close(fd);
    g_assert_cmphex(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET, ==, 0);
}

/* The transmit queue goes on while nothing can be received (5.10.6.1.2), up to a bound. */
static void test_no_buffers(Fix *x, const void *unused)
{
    uint32_t id, len;
    unsigned done = 0;
    Packet p = to_host(RW);
    VBuf b = { x->tx, HEAD, false };

    vd_start(&x->v.d, 0);
    vdev_put(&x->v, x->tx, &p, sizeof p);
    for (unsigned i = 0; i < 3000; i++) {
        vring_add(&x->v.d.ring[TX], &b, 1, 0);
        vd_kick(&x->v.d, TX);
        board_run(x->v.b);
        if (!vring_used(&x->v.d.ring[TX], &id, &len)) {
            break;
        }
        done++;
    }
    g_assert_cmpuint(done, ==, 1024);
    give(x, NBUF);
    board_run(x->v.b);
    EXPECT(x, RST);
    g_assert_true(vring_used(&x->v.d.ring[TX], &id, &len)); /* and it goes on */
}

static void test_host_connects(Fix *x, const void *unused)
{
    char line[64] = "";

    start(x, 0);
    int fd = dial(x->path);

    g_assert_cmpint((int)write(fd, "CONN", 4), ==, 4); /* in two pieces */
    board_run(x->v.b);
    g_assert_cmpint((int)write(fd, "ECT 22\nearly", 12), ==, 12);
    Packet p = next(x, NULL);

    g_assert_cmpuint(p.op, ==, REQUEST);
    g_assert_cmpuint(p.dst_port, ==, 22);
    g_assert_cmpuint(p.type, ==, STREAM);
    Packet r = { .src = 3,
        .dst = 2,
        .src_port = 22,
        .dst_port = p.src_port,
        .type = STREAM,
        .op = RESPONSE,
        .buf_alloc = 1000 };

    g_assert_cmpint((int)read(fd, line, sizeof line), ==, -1);
    send_packet(x, r, NULL, 0);
    g_autofree char *want = g_strdup_printf("OK %u\n", p.src_port);

    g_assert_cmpint((int)read(fd, line, sizeof line), ==, (int)strlen(want));
    g_assert_cmpstr(line, ==, want);
    Packet d = next(x, line);

    g_assert_cmpuint(d.op, ==, RW);
    g_assert_cmpmem(line, d.len, "early", 5);
    close(fd);
    /* No such line. */
    fd = dial(x->path);
    g_assert_cmpint((int)write(fd, "GET / HTTP/1.0\n", 15), ==, 15);
    board_run(x->v.b);
    g_assert_cmpint((int)read(fd, line, 1), <=, 0);
    close(fd);
}

static void test_seqpacket(Fix *x, const void *unused)
{
    g_autofree char *path = g_strconcat(x->path, "_90", NULL);
    int l = listen_on(path, SOCK_SEQPACKET);
    Packet p = to_host(REQUEST);
    char buf[64];

    start(x, 0);
    p.type = SEQ;
    p.dst_port = 90;
    send_packet(x, p, NULL, 0);
    EXPECT(x, RESPONSE);
    int fd = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    /* A message in three packets, then one in one. */
    p.op = RW;
    p.len = 3;
    send_packet(x, p, "one", 3);
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, -1); /* not whole yet */
    send_packet(x, p, "two", 3);
    p.flags = 1;
    send_packet(x, p, "end", 3);
    p.len = 1;
    send_packet(x, p, "x", 1);
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 9);
    g_assert_cmpmem(buf, 9, "onetwoend", 9);
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 1);
    /* The end of a record is the end of a message too; an empty one is not lost. */
    p.flags = 3;
    p.len = 2;
    send_packet(x, p, "yz", 2);
    p.flags = 1;
    p.len = 0;
    send_packet(x, p, "", 0);
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 2);
    g_assert_cmpmem(buf, 2, "yz", 2);
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 0);
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, -1);
    g_assert_cmpint((int)write(fd, "abc", 3), ==, 3);
    g_assert_cmpint((int)write(fd, "de", 2), ==, 2);
    p = next(x, buf);
    g_assert_cmpuint(p.len, ==, 3);
    g_assert_cmpuint(p.flags & 1, ==, 1);
    p = next(x, buf);
    g_assert_cmpuint(p.len, ==, 2);
    g_assert_cmpuint(p.flags & 1, ==, 1);
    close(fd);
    close(l);
    g_unlink(path);
}

static void test_new_context(Fix *x, const void *unused)
{
    g_autoptr(GError) err = NULL;
    uint64_t page = vd_page(&x->v.d, 4096);
    const VBuf b = { page, 8, true };
    uint32_t id, len;
    char c;

    start(x, 0);
    vring_add(&x->v.d.ring[EVENT], &b, 1, 0);
    vd_kick(&x->v.d, EVENT);
    int fd = connected(x);

    g_assert_true(prop_set_text(&x->v.dev->obj, "guest-cid", "77", &err));
    board_run(x->v.b);
    g_assert_true(vring_used(&x->v.d.ring[EVENT], &id, &len)); /* transport reset (5.10.6.7) */
    g_assert_cmpuint(len, ==, 4);
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 4), ==, 77);
    g_assert_cmpint((int)read(fd, &c, 1), ==, 0);
    g_assert_false(prop_set_text(&x->v.dev->obj, "guest-cid", "2", &err));
    close(fd);
}

static void test_short_packets(Fix *x, const void *unused)
{
    Packet p = to_host(RW);
    VBuf b = { x->tx, HEAD - 1, false };

    start(x, 0);
    vdev_put(&x->v, x->tx, &p, sizeof p);
    g_assert_cmphex(vdev_bad(&x->v, TX, &b, 1) & VIRTIO_STATUS_NEEDS_RESET, !=, 0);
    vd_start(&x->v.d, 0);
    p.len = 100;
    vdev_put(&x->v, x->tx, &p, sizeof p);
    b.len = HEAD + 99;
    g_assert_cmphex(vdev_bad(&x->v, TX, &b, 1) & VIRTIO_STATUS_NEEDS_RESET, !=, 0);
}

/* The host reads nothing: the guest's window is kept, and goes on when it reads. */
static void test_host_never_reads(Fix *x, const void *unused)
{
    g_autofree char *piece = g_malloc0(65536), *got = g_malloc(1 << 20);
    uint32_t sent = 0, taken = 0;
    Packet p = to_host(RW), credit = { 0 };

    start(x, 0);
    int fd = connected(x);

    /* By the rules: never more than the device said. */
    for (bool more = true; more;) {
        more = 262144 - (sent - credit.fwd_cnt) >= 65536;
        if (more) {
            p.len = 65536;
            send_packet(x, p, piece, 65536);
            sent += p.len;
        }
        for (Packet q = next(x, NULL); q.op; q = next(x, NULL)) {
            g_assert_cmpuint(q.op, ==, UPDATE);
            credit = q;
            more = true;
            give(x, 1);
        }
        g_assert_cmpuint(sent, <, 4 << 20);
    }
    g_assert_cmpuint(sent - credit.fwd_cnt, >, 262144 - 65536);
    for (ssize_t n; (n = read(fd, got, 1 << 20)) > 0;) {
        taken += (uint32_t)n;
        board_run(x->v.b);
    }
    g_assert_cmpuint(taken, ==, sent); /* not a byte is lost */
    for (Packet q = next(x, NULL); q.op; q = next(x, NULL)) {
        credit = q;
        give(x, 1);
    }
    send_packet(x, to_host(ASK), NULL, 0);
    credit = next(x, NULL);
    g_assert_cmpuint(credit.op, ==, UPDATE);
    g_assert_cmpuint(credit.fwd_cnt, ==, sent);
    close(fd);
}

/* A device reset is the end of all connections, for the host too; the next driver begins anew. */
static void test_reset(Fix *x, const void *unused)
{
    char c;

    for (unsigned i = 0; i < 3; i++) {
        start(x, 0);
        int fd = connected(x), waits = dial(x->path);

        g_assert_cmpint((int)write(fd, "unread", 6), ==, 6);
        g_assert_cmpint((int)write(waits, "CONNECT", 7), ==, 7);
        board_run(x->v.b);
        vd_set_status(&x->v.d, 0);
        board_run(x->v.b);
        g_assert_cmpint((int)read(fd, &c, 1), <=, 0);
        g_assert_cmpint((int)read(waits, &c, 1), <=, 0);
        close(fd);
        close(waits);
        x->given = 0;
        x->v.d.alloc = x->tx + (1 << 20);
    }
    start(x, 0);
    int fd = connected(x);

    g_assert_cmpint((int)write(fd, "alive", 5), ==, 5);
    EXPECT(x, RW);
    close(fd);
}

/* No more connections than half of the descriptors there may be; one that ends makes room. */
static void test_many(Fix *x, const void *unused)
{
    g_autofree char *path = g_build_filename(x->dir, "w", NULL),
                    *port = g_strconcat(path, "_80", NULL),
                    *json = g_strdup_printf("{'driver': 'virtio-vsock-pci', 'guest-cid': 3, "
                                            "'x-path': '%s', 'addr': '5'}",
                        path);
    struct rlimit was, few;
    int fd[20];

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &was), ==, 0);
    few = was;
    few.rlim_cur = 40;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
    x->v.dev = board_add(x->v.b, json);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &was), ==, 0);
    close(x->listener);
    x->listener = listen_on(port, SOCK_STREAM);
    vd_open_at(&x->v.d, &x->v.b->port, 0, 5 << 3, false, 0xe8000000);
    x->v.d.alloc = x->tx + (1 << 20);
    start(x, 0);
    Packet p = to_host(REQUEST);

    for (unsigned i = 0; i < G_N_ELEMENTS(fd); i++) {
        p.src_port = 2000 + i;
        send_packet(x, p, NULL, 0);
        EXPECT(x, RESPONSE);
        give(x, 1);
        fd[i] = accept4(x->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        g_assert_cmpint(fd[i], >=, 0);
    }
    p.src_port = 3000;
    send_packet(x, p, NULL, 0);
    EXPECT(x, RST);
    give(x, 1);
    p.src_port = 2000;
    p.op = RST;
    send_packet(x, p, NULL, 0);
    p.src_port = 3000;
    p.op = REQUEST;
    send_packet(x, p, NULL, 0);
    EXPECT(x, RESPONSE);
    for (unsigned i = 0; i < G_N_ELEMENTS(fd); i++) {
        close(fd[i]);
    }
    g_unlink(port);
}

static char *refusal(Fix *x, const char *path, const char *more)
{
    g_autofree char *json =
        g_strdup_printf("{'driver': 'virtio-vsock-pci', 'x-path': '%s'%s}", path, more);

    return board_add_error(x->v.b, json);
}

#define EXPECT_REFUSAL(x, path, more, fmt, ...)                                                    \
    do {                                                                                           \
        g_autofree char *got_ = refusal(x, path, more);                                            \
        g_autofree char *want_ = g_strdup_printf(fmt, __VA_ARGS__);                                \
        g_assert_cmpstr(got_, ==, want_);                                                          \
    } while (0)

static void test_errors(Fix *x, const void *unused)
{
    static const char *const cids[] = { "0", "1", "2" };
    g_autofree char *file = g_build_filename(x->dir, "file", NULL), *content = NULL,
                    *no_dir = g_build_filename(x->dir, "no", "v", NULL),
                    *longer = g_strnfill(97, 'x'), *stale = g_build_filename(x->dir, "stale", NULL),
                    *json = g_strdup_printf(
                        "{'driver': 'virtio-vsock-pci', 'guest-cid': 4, 'x-path': '%s'}", stale);

    for (unsigned i = 0; i < G_N_ELEMENTS(cids); i++) {
        g_autofree char *more = g_strdup_printf(", 'guest-cid': %s", cids[i]);

        EXPECT_REFUSAL(x, stale, more, "guest-cid property must be greater than %d", 2);
    }
    EXPECT_REFUSAL(x, stale, "", "guest-cid property must be greater than %d", 2);
    EXPECT_REFUSAL(
        x, stale, ", 'guest-cid': 4294967295", "guest-cid property must be a %d-bit number", 32);
    g_autofree char *none =
        board_add_error(x->v.b, "{'driver': 'virtio-vsock-pci', 'guest-cid': 4}");

    g_assert_cmpstr(none, ==, "x-path property not set");
    EXPECT_REFUSAL(x, longer, ", 'guest-cid': 4",
        "x-path: '%s' is too long, up to 96 bytes are possible", longer);
    EXPECT_REFUSAL(x, no_dir, ", 'guest-cid': 4",
        "Failed to bind socket to %s: No such file or directory", no_dir);
    EXPECT_REFUSAL(x, x->path, ", 'guest-cid': 4", "x-path: the socket '%s' is in use", x->path);
    g_assert_true(g_file_set_contents(file, "mine", -1, NULL));
    EXPECT_REFUSAL(x, file, ", 'guest-cid': 4", "x-path: '%s' is there and is not a socket", file);
    g_assert_true(g_file_get_contents(file, &content, NULL, NULL));
    g_assert_cmpstr(content, ==, "mine");
    g_unlink(file);
    close(listen_on(stale, SOCK_STREAM)); /* what a process that was killed leaves */
    board_add(x->v.b, json);
    close(dial(stale));
    close(dial(x->path));
}

#define ADD(path, fn) g_test_add("/virtio-vsock/" path, Fix, NULL, up, fn, down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    ADD("data", test_data);
    ADD("credit", test_credit);
    ADD("slow-host", test_slow_host);
    ADD("half-close", test_half_close);
    ADD("host-goes", test_host_goes);
    ADD("refused", test_refused);
    ADD("no-receive-buffers", test_no_buffers);
    ADD("host-connects", test_host_connects);
    ADD("seqpacket", test_seqpacket);
    ADD("new-context", test_new_context);
    ADD("short-packets", test_short_packets);
    ADD("host-never-reads", test_host_never_reads);
    ADD("reset", test_reset);
    ADD("many", test_many);
    ADD("errors", test_errors);
    return g_test_run();
}
