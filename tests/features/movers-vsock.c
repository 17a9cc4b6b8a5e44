/* Connections for the feature table: a stream and messages, both ways (VIRTIO 1.4, 5.10). */
#include "tests/features/feat.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RX, TX, EVENT };
enum { REQUEST = 1, RESPONSE = 2, RST = 3, SHUTDOWN = 4, RW = 5, UPDATE = 6 };
enum { F_STREAM = 0, F_SEQPACKET = 1, F_NO_IMPLIED_STREAM = 2, STREAM = 1, SEQ = 2 };

const FeatBit feat_vsock_bits[] = {
    { F_STREAM, ALONE, "a stream both ways" },
    { F_SEQPACKET, ALONE, "a message both ways" },
    { F_NO_IMPLIED_STREAM, ALONE, "a stream still, as nothing else was negotiated" },
    { NONE, ALONE, NULL },
};

typedef struct Packet {
    uint64_t src, dst;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed)) Packet;

static struct {
    char *dir, *path[2]; /* where the guest's connections to ports 80 and 81 arrive */
    int listener[2];
    unsigned port;
} host;

static int listen_on(const char *path, int type)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    g_strlcpy(a.sun_path, path, sizeof a.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&a, sizeof a), ==, 0);
    g_assert_cmpint(listen(fd, 16), ==, 0);
    return fd;
}

/* Relative paths: the device's options are constant. */
void feat_vsock_up(Feat *x)
{
    host.dir = g_dir_make_tmp("features-XXXXXX", NULL);
    g_assert_cmpint(g_chdir(host.dir), ==, 0);
    host.listener[0] = listen_on("v_80", SOCK_STREAM);
    host.listener[1] = listen_on("v_81", SOCK_SEQPACKET);
    host.port = 1000;
}

void feat_vsock_down(Feat *x)
{
    close(host.listener[0]);
    close(host.listener[1]);
    g_unlink("v_80");
    g_unlink("v_81");
    g_assert_cmpint(g_chdir("/"), ==, 0);
    g_assert_cmpint(g_rmdir(host.dir), ==, 0);
    g_free(host.dir);
}

static void send_packet(Feat *x, Packet p, const void *data)
{
    const VBuf buf[] = { { x->page, sizeof p, false }, { x->page + 0x100, MAX(p.len, 1), false } };

    feat_put(x, x->page, &p, sizeof p);
    feat_put(x, x->page + 0x100, data, p.len);
    g_assert_cmpuint(feat_go(x, TX, buf, p.len ? 2 : 1), ==, 0);
}

/* The next packet for the guest that is not about credit; its payload is at page + 0x10000 + 44. */
static Packet next(Feat *x)
{
    const VBuf buf = { x->page + 0x10000, 4096, true };
    Packet p;

    do {
        uint16_t id = vring_add(&x->d.ring[RX], &buf, 1, 0);
        uint32_t len;

        vd_kick(&x->d, RX);
        len = feat_taken(x, RX, id);
        feat_get(x, buf.at, &p, sizeof p);
        g_assert_cmpuint(len, ==, sizeof p + p.len);
        g_assert_cmpuint(p.src, ==, 2);
        g_assert_cmpuint(p.dst, ==, 3);
    } while (p.op == UPDATE);
    return p;
}

static void talk(Feat *x, unsigned kind)
{
    uint8_t want[1000], got[1000];
    Packet p = { .src = 3,
        .dst = 2,
        .src_port = host.port++,
        .dst_port = 80 + kind,
        .type = kind ? SEQ : STREAM,
        .op = REQUEST,
        .buf_alloc = 65536 };
    int fd;

    send_packet(x, p, "");
    g_assert_cmpuint(next(x).op, ==, RESPONSE);
    fd = accept4(host.listener[kind], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    p.op = RW;
    p.len = sizeof want;
    p.flags = kind ? 1 : 0; /* the message ends here (5.10.6.4.2) */
    feat_pattern(x, want, sizeof want, kind);
    send_packet(x, p, want);
    board_run(x->b);
    g_assert_cmpint(read(fd, got, sizeof got), ==, sizeof got);
    g_assert_cmpmem(got, sizeof got, want, sizeof want);
    feat_pattern(x, want, sizeof want, kind + 2);
    g_assert_cmpint(write(fd, want, sizeof want), ==, sizeof want);
    p = next(x);
    g_assert_cmpuint(p.op, ==, RW);
    g_assert_cmpuint(p.len, ==, sizeof want);
    g_assert_cmpuint(p.flags & 1, ==, kind);
    feat_get(x, x->page + 0x10000 + sizeof p, got, sizeof got);
    g_assert_cmpmem(got, sizeof got, want, sizeof want);
    close(fd);
    g_assert_cmpuint(next(x).op, ==, SHUTDOWN);
    p = (Packet){ .src = 3,
        .dst = 2,
        .src_port = host.port - 1,
        .dst_port = 80 + kind,
        .type = kind ? SEQ : STREAM,
        .op = RST };
    send_packet(x, p, "");
}

void feat_vsock_move(Feat *x)
{
    bool seq = feat_has(x, F_SEQPACKET);

    if (feat_has(x, F_STREAM) || !seq || !feat_has(x, F_NO_IMPLIED_STREAM)) {
        talk(x, 0);
    }
    if (seq) {
        talk(x, 1);
    }
}
