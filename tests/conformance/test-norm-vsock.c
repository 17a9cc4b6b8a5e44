/* Normative sentences about the socket device (VIRTIO 1.4, 5.10). */
#include "object/prop.h"
#include "tests/conformance/norm.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RX, TX, EVENT };
enum { REQUEST = 1, RESPONSE = 2, RST = 3, SHUTDOWN = 4, RW = 5, UPDATE = 6, ASK = 7 };
enum { STREAM = 1, SEQ = 2, HEAD = 44, BUFS = 8, BUFLEN = 2048, ALLOC = 262144 };
#define F_STREAM            NORM_BIT(0)
#define F_SEQPACKET         NORM_BIT(1)
#define F_NO_IMPLIED_STREAM NORM_BIT(2)

typedef struct Packet {
    uint64_t src, dst;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed)) Packet;
_Static_assert(sizeof(Packet) == HEAD, "VIRTIO 1.4, 5.10.6");

static int listener; /* of the host, for the guest's connections to port 80 */
static char *listens_at;

static void vsock(Norm *x, int type)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    norm_open(x, "virtio-vsock-pci", NULL, 0);
    listens_at = g_strdup_printf("%s/vsock_80", x->dir);
    listener = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    g_strlcpy(a.sun_path, listens_at, sizeof a.sun_path);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&a, sizeof a), ==, 0);
    g_assert_cmpint(listen(listener, 16), ==, 0);
}

static void end(Norm *x)
{
    close(listener);
    unlink(listens_at);
    g_clear_pointer(&listens_at, g_free);
    norm_close(x);
    x->b = NULL;
}

static void give(Norm *x, unsigned i)
{
    const VBuf b = { x->page + BUFLEN * i, BUFLEN, true };

    vring_add(&x->d.ring[RX], &b, 1, 0);
    vd_kick(&x->d, RX);
    board_run(x->b);
}

static void start(Norm *x, uint64_t without)
{
    norm_start(x, without);
    for (unsigned i = 0; i < BUFS; i++) {
        give(x, i);
    }
}

/* The next packet; op 0: none. Its buffer is given again. */
static Packet next(Norm *x)
{
    Packet p = { 0 };
    uint32_t id, len;

    board_run(x->b);
    if (vring_used(&x->d.ring[RX], &id, &len)) {
        x->b->port.read(x->b, x->page + BUFLEN * (id % BUFS), &p, sizeof p);
        g_assert_cmpuint(len, ==, HEAD + p.len);
        give(x, id % BUFS);
    }
    return p;
}

/* False: the device has not used it. */
static bool put(Norm *x, Packet p)
{
    const VBuf b = { x->page + BUFS * BUFLEN, HEAD + p.len, false };
    uint32_t id, len;

    x->b->port.write(x->b, b.at, &p, sizeof p);
    vring_add(&x->d.ring[TX], &b, 1, 0);
    vd_kick(&x->d, TX);
    board_run(x->b);
    return vring_used(&x->d.ring[TX], &id, &len);
}

static Packet to_host(uint16_t type, uint16_t op, uint32_t window)
{
    return (Packet){ .src = 3,
        .dst = 2,
        .src_port = 1234,
        .dst_port = 80,
        .type = type,
        .op = op,
        .buf_alloc = window };
}

/* A connection of the guest; returns the host's end, -1: it was refused. */
static int dial(Norm *x, uint16_t type, uint32_t window)
{
    g_assert_true(put(x, to_host(type, REQUEST, window)));
    Packet p = next(x);

    if (p.op != RESPONSE) {
        g_assert_cmpuint(p.op, ==, RST);
        return -1;
    }
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* Five bytes each way. */
static void talk(Norm *x, int fd, uint16_t type)
{
    Packet p = to_host(type, RW, 1000);
    char buf[8];

    p.len = 5;
    p.flags = type == SEQ ? 1 : 0;
    norm_put(x, x->page + BUFS * BUFLEN + HEAD, "hello");
    g_assert_true(put(x, p));
    g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 5);
    g_assert_cmpmem(buf, 5, "hello", 5);
    g_assert_cmpint((int)write(fd, "there", 5), ==, 5);
    p = next(x);
    g_assert_cmpuint(p.op, ==, RW);
    g_assert_cmpuint(p.len, ==, 5);
    close(fd);
}

static void feat_1(Norm *x)
{
    NORM("VSOCK-FEAT-1");
    for (unsigned seq = 0; seq < 2; seq++) {
        norm_open(x, "virtio-vsock-pci", seq ? NULL : ", 'seqpacket': 'off'", 0);
        g_assert_cmphex(vd_offered(&x->d) & F_NO_IMPLIED_STREAM, !=, 0);
        g_assert_cmphex(vd_offered(&x->d) & F_STREAM, !=, 0);
        g_assert_cmpint(!!(vd_offered(&x->d) & F_SEQPACKET), ==, seq);
        norm_close(x);
    }
    x->b = NULL;
}

static void feat_2(Norm *x)
{
    NORM("VSOCK-FEAT-2");
    vsock(x, SOCK_STREAM);
    start(x, F_STREAM | F_SEQPACKET | F_NO_IMPLIED_STREAM);
    int fd = dial(x, STREAM, 1000);

    g_assert_cmpint(fd, >=, 0);
    talk(x, fd, STREAM);
    end(x);
}

static void feat_3(Norm *x)
{
    int fd;

    NORM("VSOCK-FEAT-3");
    vsock(x, SOCK_STREAM);
    start(x, F_STREAM | F_NO_IMPLIED_STREAM); /* messages alone, streams are implied */
    fd = dial(x, STREAM, 1000);
    norm_note("streams %s with SEQPACKET alone", fd < 0 ? "are refused" : "work");
    if (fd >= 0) {
        talk(x, fd, STREAM);
    }
    start(x, F_STREAM); /* they are not: it said so */
    g_assert_cmpint(dial(x, STREAM, 1000), ==, -1);
    end(x);
}

static void vqflow_1(Norm *x)
{
    unsigned n = 0;

    NORM("VSOCK-VQFLOW-1");
    vsock(x, SOCK_STREAM);
    norm_start(x, 0); /* no receive buffers: each answer has to wait */
    while (n < 5000 && put(x, to_host(STREAM, RW, 1000))) {
        n++;
    }
    norm_note("%u answers wait beside the receive queue", n);
    g_assert_cmpuint(n, >=, 128); /* more than a queue holds */
    g_assert_cmpuint(n, <, 5000); /* and what is kept has a bound */
    for (unsigned i = 0; i < BUFS; i++) {
        give(x, i);
    }
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpuint(next(x).op, ==, RST);
    }
    end(x);
}

/* All that comes until nothing does: bytes of data; each packet keeps to the window. */
static uint32_t take(Norm *x, uint32_t window)
{
    uint32_t got = 0;

    for (Packet p = next(x); p.op; p = next(x)) {
        if (p.op == RW) {
            got += p.len;
            g_assert_cmpuint(got, <=, window);
        }
    }
    return got;
}

static void credit_1(Norm *x)
{
    static const uint32_t windows[] = { 0, 1, 1000, BUFLEN - HEAD, 20000 };
    static char data[50000];

    NORM("VSOCK-CREDIT-1");
    for (unsigned seq = 0; seq < 2; seq++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(windows); i++) {
            uint16_t type = seq ? SEQ : STREAM;

            vsock(x, seq ? SOCK_SEQPACKET : SOCK_STREAM);
            start(x, 0);
            int fd = dial(x, type, windows[i]);

            g_assert_cmpint((int)write(fd, data, sizeof data), ==, sizeof data);
            g_assert_cmpuint(take(x, windows[i]), ==, windows[i]);
            /* The guest took half of it; then it has more room than ever. */
            Packet p = to_host(type, UPDATE, windows[i]);

            p.fwd_cnt = windows[i] / 2;
            g_assert_true(put(x, p));
            g_assert_cmpuint(take(x, p.fwd_cnt), ==, p.fwd_cnt);
            p.buf_alloc = 40000;
            g_assert_true(put(x, p));
            g_assert_cmpuint(take(x, 40000 - windows[i]), ==, 40000 - windows[i]);
            /* Less than is on the way: nothing. */
            p.buf_alloc = 10;
            g_assert_true(put(x, p));
            g_assert_cmpuint(take(x, 0), ==, 0);
            close(fd);
            end(x);
        }
    }
}

static void expect_credit(Norm *x, unsigned op, uint32_t taken)
{
    Packet p = next(x);

    g_assert_cmpuint(p.op, ==, op);
    g_assert_cmpuint(p.buf_alloc, ==, ALLOC);
    g_assert_cmpuint(p.fwd_cnt, ==, taken);
}

static void credit_2(Norm *x)
{
    char buf[64];

    NORM("VSOCK-CREDIT-2");
    for (unsigned over = 0; over < 2; over++) {
        vsock(x, SOCK_STREAM);
        start(x, 0);
        g_assert_true(put(x, to_host(STREAM, REQUEST, 10)));
        expect_credit(x, RESPONSE, 0);
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        Packet p = to_host(STREAM, RW, 10);

        p.len = 40;
        g_assert_true(put(x, p));
        g_assert_cmpint((int)read(fd, buf, sizeof buf), ==, 40);
        g_assert_true(put(x, to_host(STREAM, ASK, 10)));
        expect_credit(x, UPDATE, 40);
        g_assert_cmpint((int)write(fd, "0123456789abcdef", 16), ==, 16);
        expect_credit(x, RW, 40);
        p = to_host(STREAM, UPDATE, 100); /* six bytes are left */
        g_assert_true(put(x, p));
        expect_credit(x, RW, 40);
        g_assert_cmpint(shutdown(fd, SHUT_WR), ==, 0);
        expect_credit(x, SHUTDOWN, 40);
        /* A clean end, or a wrong packet. */
        p = to_host(STREAM, over ? 99 : SHUTDOWN, 100);
        p.flags = 3;
        g_assert_true(put(x, p));
        expect_credit(x, RST, 40);
        close(fd);
        end(x);
    }
}

static void rxtx_1(Norm *x)
{
    static const char *const reserved[] = { "0", "1", "2", "4294967295", "18446744073709551615" };
    static const uint64_t good[] = { 3, 4, 0x7fffffff, 0x80000000, 0xfffffffe };

    NORM("VSOCK-RXTX-1");
    vsock(x, SOCK_STREAM);
    for (unsigned i = 0; i < G_N_ELEMENTS(reserved); i++) {
        g_autofree char *json =
            g_strdup_printf("{'driver': 'virtio-vsock-pci', 'guest-cid': %s, 'x-path': '%s/x'}",
                reserved[i], x->dir);
        g_autofree char *no = board_add_error(x->b, json);
        g_autoptr(GError) err = NULL;

        g_assert_nonnull(no);
        (void)prop_set_text(&x->dev->obj, "guest-cid", reserved[i], &err);
        g_assert_cmphex(norm_dev(x, 0, 4), ==, 3); /* the one it has stays */
        g_assert_cmphex(norm_dev(x, 4, 4), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, good[i]);

        g_assert_true(prop_set_text(&x->dev->obj, "guest-cid", text, NULL));
        g_assert_cmphex(norm_dev(x, 0, 4), ==, good[i]);
        g_assert_cmphex(norm_dev(x, 4, 4), ==, 0);
    }
    end(x);
}

static void unknown_types(Norm *x, int listens)
{
    static const uint16_t types[] = { 0, 3, 77, 0xffff };

    vsock(x, listens);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(types) + 1; i++) {
        uint16_t type = types[i / 2 % G_N_ELEMENTS(types)];

        if (i == 2 * G_N_ELEMENTS(types)) {
            start(x, F_SEQPACKET); /* one that was not negotiated is as unknown */
            type = SEQ;
        } else {
            start(x, 0);
        }
        g_assert_true(put(x, to_host(type, i & 1 ? RW : REQUEST, 1000)));
        Packet p = next(x);

        g_assert_cmpuint(p.op, ==, RST);
        g_assert_cmpuint(p.type, ==, type);
        g_assert_cmpuint(p.src, ==, 2);
        g_assert_cmpuint(p.dst, ==, 3);
        g_assert_cmpuint(p.src_port, ==, 80);
        g_assert_cmpuint(p.dst_port, ==, 1234);
        g_assert_cmpuint(next(x).op, ==, 0);
    }
    end(x);
}

static void rxtx_2(Norm *x)
{
    NORM("VSOCK-RXTX-2");
    unknown_types(x, SOCK_STREAM);
    unknown_types(x, SOCK_SEQPACKET);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "VSOCK-FEAT-1", feat_1, NORM_BARE, NULL },
        { "VSOCK-FEAT-2", feat_2, NORM_BARE, NULL },
        { "VSOCK-FEAT-3", feat_3, NORM_BARE, NULL },
        { "VSOCK-VQFLOW-1", vqflow_1, NORM_BARE, NULL },
        { "VSOCK-CREDIT-1", credit_1, NORM_BARE, NULL },
        { "VSOCK-CREDIT-2", credit_2, NORM_BARE, NULL },
        { "VSOCK-RXTX-1", rxtx_1, NORM_BARE, NULL },
        { "VSOCK-RXTX-2", rxtx_2, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
