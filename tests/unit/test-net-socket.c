/* net/stream.c, net/dgram.c, net/framing.c: peers that are full, slow, gone, hostile. What a back
 * end accepted arrives once and in order. */
#include "net/framing.h"
#include "net/net.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

const struct ObjClass *const obj_classes[] = { NULL };
const struct ObjAlias obj_aliases[] = { { NULL, NULL } };

/* The NIC: takes credit packets, and sends numbered ones whenever it may. */
typedef struct Nic {
    NetPort p;
    unsigned credit, got; /* packets it may take; took */
    unsigned next, total; /* number of the next packet to send */
    size_t len;
    bool refused; /* it waits for writable() */
    unsigned nwritable;
} Nic;

static void fill(uint8_t *b, size_t len, unsigned n)
{
    memset(b, (int)(n & 0xff), len);
    memcpy(b, &n, sizeof n);
}

static void check(const uint8_t *b, size_t len, size_t want, unsigned n)
{
    unsigned got;

    memcpy(&got, b, sizeof got);
    g_assert_cmpuint(len, ==, want);
    g_assert_cmpuint(got, ==, n);
    g_assert_cmpuint(b[len - 1], ==, n & 0xff);
}

static NetVerdict nic_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Nic *x = (Nic *)p;

    if (!x->credit) {
        return NET_QUEUED;
    }
    g_assert_cmpuint(n, ==, 1);
    check(iov->iov_base, len, x->len, x->got);
    x->credit--;
    x->got++;
    return NET_SENT;
}

static void nic_send(Nic *x)
{
    g_autofree uint8_t *b = g_malloc(x->len);

    while (x->next < x->total) {
        struct iovec v[2] = { { b, 10 }, { b + 10, x->len - 10 } };

        fill(b, x->len, x->next);
        NetVerdict r = net_send(&x->p, v, 2, x->len);

        x->refused = r == NET_QUEUED;
        if (x->refused) {
            return;
        }
        g_assert_cmpint(r, ==, NET_SENT);
        x->next++;
    }
}

static void nic_writable(NetPort *p)
{
    Nic *x = (Nic *)p;

    g_assert_true(x->refused);
    x->nwritable++;
    nic_send(x);
}

static const NetPortOps nic_ops = { .receive = nic_receive, .writable = nic_writable };

static void nic_up(Nic *x, const char *json, size_t len)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, &err);
    NetPort *b = args ? net_backend_create(args, &err) : NULL;

    g_assert_no_error(err);
    *x = (Nic){ .len = len };
    net_port_init(&x->p, &nic_ops, "nic", "nic");
    net_connect(&x->p, b);
}

static void nic_down(Nic *x)
{
    net_cleanup();
    net_port_fini(&x->p);
}

static char *dir;

static int unix_bound(const char *name, char **ret_path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    *ret_path = g_build_filename(dir, name, NULL);
    g_strlcpy(un.sun_path, *ret_path, sizeof un.sun_path);
    unlink(*ret_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&un, sizeof un), ==, 0);
    return fd;
}

/* Reads all there is; the packets have to be the next ones. */
static void drain_dgrams(int fd, const Nic *x, unsigned *io_next, unsigned max)
{
    g_autofree uint8_t *b = g_malloc(x->len + 1);
    ssize_t n;

    while (max-- && (n = recv(fd, b, x->len + 1, MSG_DONTWAIT)) >= 0) {
        check(b, (size_t)n, x->len, (*io_next)++);
    }
}

/* connected: the peer is a socket connected to us, which takes packets from us alone. */
static void dgram_pressure(const void *connected)
{
    g_autofree char *peer = NULL, *self = g_build_filename(dir, "self", NULL);
    int fd = unix_bound("peer", &peer);
    g_autofree char *json =
        g_strdup_printf("{'type': 'dgram', 'id': 'b', 'local': {'type': 'unix', 'path': '%s'}, "
                        "'remote': {'type': 'unix', 'path': '%s'}}",
            self, peer);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    unsigned next = 0;
    Nic x;

    nic_up(&x, json, 1400);
    g_strlcpy(un.sun_path, self, sizeof un.sun_path);
    if (connected) {
        g_assert_cmpint(connect(fd, (struct sockaddr *)&un, sizeof un), ==, 0);
    }
    x.total = 20000;
    nic_send(&x);
    g_assert_true(x.refused);
    while (next < x.total) {
        /* The receiver takes some; when it has taken all, the loop has to be woken. */
        drain_dgrams(fd, &x, &next, next % 1000 < 7 ? UINT_MAX : 7);
        if (x.refused) {
            loop_turn(loop_main(), next == x.next);
        }
    }
    g_assert_cmpuint(next, ==, x.total);
    /* A full peer that goes away and another in its place. */
    x.total += 2000;
    nic_send(&x);
    g_assert_true(x.refused);
    close(fd);
    g_free(peer);
    fd = unix_bound("peer", &peer);
    next = x.next; /* what lay in the old one's queue went with it */
    while (x.refused || next < x.total) {
        loop_turn(loop_main(), x.refused);
        drain_dgrams(fd, &x, &next, UINT_MAX);
        if (!x.refused && x.next < x.total) {
            nic_send(&x);
        }
    }
    nic_down(&x);
    close(fd);
}

static void dgram_receive(void)
{
    g_autofree char *peer = NULL, *self = g_build_filename(dir, "self", NULL);
    int fd = unix_bound("peer", &peer);
    g_autofree char *json =
        g_strdup_printf("{'type': 'dgram', 'id': 'b', 'local': {'type': 'unix', 'path': '%s'}, "
                        "'remote': {'type': 'unix', 'path': '%s'}}",
            self, peer);
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    g_autofree uint8_t *b = g_malloc(9000);
    unsigned sent = 0;
    Nic x;

    nic_up(&x, json, 9000);
    g_strlcpy(un.sun_path, self, sizeof un.sun_path);
    while (x.got < 5000) {
        for (;; sent++) {
            fill(b, 9000, sent);
            if (sent == 5000 ||
                sendto(fd, b, 9000, MSG_DONTWAIT, (struct sockaddr *)&un, sizeof un) < 0) {
                g_assert_true(sent == 5000 || errno == EAGAIN);
                break;
            }
        }
        x.credit = 1 + sent % 5;
        net_ready(&x.p);
        loop_turn(loop_main(), false);
    }
    g_assert_cmpuint(x.got, ==, 5000);
    nic_down(&x);
    close(fd);
}

/* A connected pair of stream sockets; ours has small buffers, so that packets are cut anywhere. */
static void stream_both(void)
{
    int pair[2], small = 4096;
    unsigned next = 0, sent = 0;
    size_t have = 0, pos = 0, begun = 0;
    g_autofree uint8_t *in = g_malloc(1 << 17), *out = g_malloc(1 << 16);
    Nic x;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), ==, 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    g_autofree char *json = g_strdup_printf(
        "{'type': 'stream', 'id': 'b', 'addr': {'type': 'fd', 'str': '%d'}}", pair[0]);

    nic_up(&x, json, 5000);
    x.total = 3000;
    nic_send(&x);
    g_assert_true(x.refused);
    while (next < x.total || x.got < 3000) {
        ssize_t n = recv(pair[1], in + have, 1 + (next * 37) % 9000, MSG_DONTWAIT);

        have += n > 0 ? (size_t)n : 0;
        for (pos = 0; have - pos >= 5004; pos += 5004) {
            g_assert_cmpmem(in + pos, 4, "\0\0\x13\x88", 4);
            check(in + pos + 4, 5000, 5000, next++);
        }
        memmove(in, in + pos, have - pos);
        have -= pos;
        /* The other way, in odd pieces. */
        memcpy(out, "\0\0\x13\x88", 4);
        fill(out + 4, 5000, sent);
        n = sent < 3000 ? send(pair[1], out + begun, MIN(5004 - begun, 1 + (sent * 91) % 4000),
                              MSG_DONTWAIT | MSG_NOSIGNAL)
                        : 0;
        begun += n > 0 ? (size_t)n : 0;
        if (begun == 5004) {
            begun = 0;
            sent++;
        }
        if (sent % 3 == 0 || sent == 3000) {
            x.credit = 2;
            net_ready(&x.p);
        }
        loop_turn(loop_main(), false);
    }
    /* The peer goes while it is full: whoever waits goes on, and its packets are lost. */
    x.total += 1000;
    nic_send(&x);
    g_assert_true(x.refused);
    x.total = x.next; /* ask no more */
    close(pair[1]);
    while (x.p.blocked) {
        loop_turn(loop_main(), true);
    }
    nic_down(&x);
}

/* Lengths that no packet has end the connection; those that are possible do not. */
static void stream_lengths(void)
{
    static const struct {
        uint8_t head[4];
        bool closed;
    } t[] = { { { 0, 0, 0, 0 }, false }, { { 0, 1, 0x10, 0 }, false }, { { 0, 1, 0x10, 1 }, true },
        { { 0xff, 0xff, 0xff, 0xff }, true }, { { 0x80, 0, 0, 0 }, true } };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        int pair[2];
        char c;
        Nic x;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), ==, 0);
        g_autofree char *json = g_strdup_printf(
            "{'type': 'stream', 'id': 'b', 'addr': {'type': 'fd', 'str': '%d'}}", pair[0]);

        nic_up(&x, json, 100);
        g_assert_cmpint(send(pair[1], t[i].head, 4, 0), ==, 4);
        loop_turn(loop_main(), true);
        ssize_t n = recv(pair[1], &c, 1, MSG_DONTWAIT);
        g_assert_cmpint(n, ==, t[i].closed ? 0 : -1);
        g_assert_cmpuint(x.got, ==, 0);
        nic_down(&x);
        close(pair[1]);
    }
}

static int dial(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(un.sun_path, path, sizeof un.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&un, sizeof un), ==, 0);
    return fd;
}

static void turns(unsigned n)
{
    while (n--) {
        loop_turn(loop_main(), false);
    }
}

/* A peer that goes at each byte of what it says, at a NIC that takes all, one, or nothing: whole
 * packets came, half ones did not, and the next peer begins anew. */
static void stream_goes(void)
{
    enum { LEN = 9, HALF = 3 };
    uint8_t say[2 * (4 + LEN) + 4 + HALF];
    g_autofree char *path = g_build_filename(dir, "goes", NULL);
    g_autofree char *json = g_strdup_printf("{'type': 'stream', 'id': 'b', 'server': true, "
                                            "'addr': {'type': 'unix', 'path': '%s'}}",
        path);
    Nic x;

    nic_up(&x, json, LEN);
    for (unsigned n = 0; n < 3; n++) {
        memcpy(say + n * (4 + LEN), "\0\0\0\x09", 4);
        if (n < 2) {
            fill(say + n * (4 + LEN) + 4, LEN, n);
        }
    }
    memset(say + sizeof say - HALF, 0, HALF);
    for (unsigned credit = 0; credit < 4; credit++) {
        for (size_t cut = 0; cut <= sizeof say; cut++) {
            unsigned whole = (unsigned)MIN(cut / (4 + LEN), 2);
            int fd = dial(path);

            x.got = 0;
            x.credit = credit;
            turns(3);
            g_assert_cmpint(send(fd, say, cut, 0), ==, (ssize_t)cut);
            turns(3);
            close(fd);
            turns(3);
            g_assert_cmpuint(x.got, ==, MIN(credit, whole));
            /* What was read before the end is still good. */
            x.credit = 9;
            net_ready(&x.p);
            turns(3);
            g_assert_cmpuint(x.got, ==, whole);
        }
    }
    nic_down(&x);
}

/* The same while it owes us room: what was begun is lost with it, and the next peer gets packets
 * from their first byte. */
static void stream_full_goes(void)
{
    g_autofree char *path = g_build_filename(dir, "full", NULL);
    g_autofree char *json = g_strdup_printf("{'type': 'stream', 'id': 'b', 'server': true, "
                                            "'addr': {'type': 'unix', 'path': '%s'}}",
        path);
    uint8_t in[4 + 5000];
    Nic x;

    nic_up(&x, json, 5000);
    for (unsigned round = 0; round < 5; round++) {
        int fd = dial(path);

        turns(3);
        x.total = x.next + 10000;
        nic_send(&x);
        g_assert_true(x.refused);
        x.total = x.next;
        close(fd);
        while (x.p.blocked) {
            loop_turn(loop_main(), true);
        }
        fd = dial(path);
        turns(3);
        x.total = x.next + 1;
        nic_send(&x);
        g_assert_cmpint(recv(fd, in, sizeof in, MSG_WAITALL), ==, sizeof in);
        g_assert_cmpmem(in, 4, "\0\0\x13\x88", 4);
        check(in + 4, 5000, 5000, x.next - 1);
        close(fd);
        turns(3);
    }
    nic_down(&x);
}

/* Random packets cut anywhere come out whole; random bytes never lead beyond the buffer. */
static void framing_random(void)
{
    GRand *r = g_rand_new_with_seed(7);
    uint64_t want = 200000;

    for (unsigned round = 0; round < 40; round++) {
        bool hostile = round % 2, bad = false;
        g_autoptr(GByteArray) stream = g_byte_array_new();
        size_t head = round % 4 < 2 ? 4 : 8, at = 0, room, len;
        unsigned sent = 0, got = 0;
        const uint8_t *data;
        uint32_t vnet;
        Framing f;

        while (stream->len < want) {
            uint32_t n = (uint32_t)g_rand_int_range(r, 8, g_rand_boolean(r) ? 100 : FRAMING_MAX);
            uint32_t be = GUINT32_TO_BE(n), none = 0;
            unsigned from = stream->len + (unsigned)head;

            g_byte_array_append(stream, (const uint8_t *)&be, 4);
            g_byte_array_append(stream, (const uint8_t *)&none, (guint)head - 4);
            g_byte_array_set_size(stream, from + n);
            fill(stream->data + from, n, sent++);
        }
        for (unsigned i = 0; hostile && i < 3; i++) {
            stream->data[g_rand_int_range(r, 0, (gint32)stream->len)] ^= (uint8_t)g_rand_int(r);
        }
        framing_init(&f, head);
        while (at < stream->len && !bad) {
            uint8_t *to = framing_space(&f, &room);

            g_assert_cmpuint(room, >, 0);
            len = (size_t)g_rand_int_range(r, 1, 70000);
            len = MIN(MIN(room, len), stream->len - at);
            memcpy(to, stream->data + at, len);
            framing_add(&f, len);
            at += len;
            while (framing_next(&f, &data, &len, &vnet, &bad)) {
                g_assert_cmpuint(len, <=, FRAMING_MAX);
                g_assert_true(data >= f.buf && data + len <= f.buf + f.end);
                if (!hostile) {
                    check(data, len, len, got++);
                }
                framing_done(&f);
            }
        }
        g_assert_true(hostile || (!bad && got == sent));
        framing_fini(&f);
    }
    g_rand_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    dir = g_dir_make_tmp("virtue-net-XXXXXX", NULL);
    g_test_add_data_func("/net-socket/dgram/full", NULL, dgram_pressure);
    g_test_add_data_func("/net-socket/dgram/full-and-connected", "", dgram_pressure);
    g_test_add_func("/net-socket/dgram/receive", dgram_receive);
    g_test_add_func("/net-socket/stream/both-ways", stream_both);
    g_test_add_func("/net-socket/stream/lengths", stream_lengths);
    g_test_add_func("/net-socket/stream/goes-at-each-byte", stream_goes);
    g_test_add_func("/net-socket/stream/goes-while-full", stream_full_goes);
    g_test_add_func("/net-socket/framing/random", framing_random);
    int rc = g_test_run();
    g_autofree char *peer = g_build_filename(dir, "peer", NULL);

    g_unlink(peer);
    g_rmdir(dir);
    g_free(dir);
    return rc;
}
