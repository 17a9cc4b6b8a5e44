/*
 * Hostile drivers and back ends that stand still, against the real binary: whatever a device waits
 * for, a reset of any kind ends it, and it works again (C9); a hundred thousand malformed commands
 * leave nothing behind, neither memory nor descriptors (C7); large requests are served in pieces
 * (C8).
 */
#include "tests/qtest/hostile.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    LIST = 0x400000,
    LIST_LEN = 4 << 20,
    SCRATCH = 0xa00000,
    MIB = 1 << 20,
    BATCH = 100,
    BATCHES = 1000
};
enum { VSOCK_REQUEST = 1, VSOCK_RW = 5, VSOCK_HEAD = 44 };

static struct {
    int peer, listener; /* -1: none */
    unsigned seed;
} host;

typedef struct Packet {
    uint64_t src, dst;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed)) Packet;

static unsigned rnd(unsigned n)
{
    host.seed = host.seed * 1664525u + 1013904223u;
    return (host.seed >> 8) % n;
}

static void step(const Hostile *x)
{
    x->port.step(x->port.opaque);
}

/* ---- what makes each device wait ---- */

static void stall_requests(Hostile *x)
{
    for (unsigned i = 0; i < 4; i++) {
        hostile_good(x);
    }
}

static void revive_rng(Hostile *x)
{
    g_free(qtv_cmd(x->q, "clock_step 1000000000"));
}

/* Nothing comes in: the driver's buffers wait. */
static void stall_receive(Hostile *x)
{
    for (unsigned i = 0; i < MIN(x->d.ring[0].size - 1u, 100u); i++) {
        const VBuf b = { LIST + 4096 * i, 4096, true };

        vring_add(&x->d.ring[0], &b, 1, 0);
    }
    vd_kick(&x->d, 0);
    stall_requests(x);
}

/* The far end of the cable reads nothing: one packet waits for it, and the rest for that one. */
static void stall_transmit(Hostile *x)
{
    unsigned back = 0, n = MIN(x->r->size - 1u, 255u);

    for (unsigned round = 0; round < 2; round++) { /* more than any socket holds */
        for (unsigned i = 0; i < (round ? back : n); i++) {
            const VBuf b = { LIST + 60000 * (i % 60), 60000, false };

            vring_add(x->r, &b, 1, 0);
        }
        hostile_kick(x);
        for (unsigned quiet = 0; quiet < 20; quiet++) {
            back += hostile_drain(x->r);
            step(x);
        }
    }
    g_assert_cmpuint(back, <, n);
}

static void revive_transmit(Hostile *x)
{
    char buf[64];

    for (unsigned quiet = 0; quiet < 20; quiet++) {
        while (recv(x->peer, buf, sizeof buf, MSG_DONTWAIT) > 0) {
            quiet = 0;
        }
        step(x);
    }
}

static int dial(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(a.sun_path, path, sizeof a.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&a, sizeof a), ==, 0);
    return fd;
}

/* The other end of the character device reads nothing. */
static void stall_serial(Hostile *x)
{
    unsigned back = 0;

    if (host.peer < 0) {
        g_autofree char *path = g_build_filename(x->dir, "c", NULL);

        host.peer = dial(path);
        for (bool there = false; !there;) { /* until it was accepted */
            g_autoptr(Json) all = qtv_qmp(x->q, "{'execute': 'query-chardev'}");

            for (unsigned i = 0; i < json_len(all); i++) {
                const Json *c = json_at(all, i);

                there |= !strcmp(json_get_str_or(c, "label", ""), "c") &&
                         !g_str_has_prefix(json_get_str_or(c, "filename", ""), "disconnected");
            }
        }
    }
    for (unsigned i = 0; i < 60; i++) {
        const VBuf b = { LIST + 60000 * i, 60000, false };

        vring_add(x->r, &b, 1, 0);
    }
    hostile_kick(x);
    for (unsigned quiet = 0; quiet < 20; quiet++) {
        unsigned n = hostile_drain(x->r);

        back += n;
        quiet = n ? 0 : quiet;
        step(x);
    }
    g_assert_cmpuint(back, <, 60);
}

static void revive_serial(Hostile *x)
{
    char buf[65536];

    for (unsigned quiet = 0; quiet < 20; quiet++) {
        if (recv(host.peer, buf, sizeof buf, MSG_DONTWAIT) > 0) {
            quiet = 0;
        }
        step(x);
    }
}

static void listen_at(Hostile *x)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    g_snprintf(a.sun_path, sizeof a.sun_path, "%s/vsock_80", x->dir);
    host.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(host.listener, (struct sockaddr *)&a, sizeof a), ==, 0);
    g_assert_cmpint(listen(host.listener, 64), ==, 0);
}

static void vsock_send(Hostile *x, uint64_t at, Packet p)
{
    const VBuf b = { at, VSOCK_HEAD + p.len, false };

    p.src = 3;
    p.dst = 2;
    memcpy(x->ram + at, &p, sizeof p);
    vring_add(x->r, &b, 1, 0);
}

/* A peer that reads nothing, and answers that no buffer is there for. */
static void stall_vsock(Hostile *x)
{
    Packet p = { .src_port = 1, .dst_port = 80, .type = 1, .op = VSOCK_REQUEST, .buf_alloc = 100 };
    unsigned back = 0, sent = 1;

    if (host.listener < 0) {
        listen_at(x);
    }
    vsock_send(x, SCRATCH, p);
    p.op = VSOCK_RW;
    p.len = 65536;
    for (; sent < 5; sent++) {
        vsock_send(x, LIST + 0x11000 * sent, p);
    }
    hostile_kick(x);
    p.len = 0;
    p.dst_port = 81;
    for (unsigned turns = 0; turns < 40; turns++) {
        for (; sent - back < 64; sent++) {
            vsock_send(x, SCRATCH + 64 * (sent % 512), p);
        }
        hostile_kick(x);
        step(x);
        back += hostile_drain(x->r);
    }
    g_assert_cmpuint(back, <, sent); /* it is not taken for ever */
    g_assert_cmpuint(back, >=, 1024);
}

/* A long list of pages, of which it is somewhere in the middle. */
static void stall_balloon(Hostile *x)
{
    const VBuf b = { LIST, LIST_LEN / 4, false };
    uint32_t *pfn = (uint32_t *)(void *)(x->ram + LIST);

    for (unsigned i = 0; i < LIST_LEN / 16; i++) {
        pfn[i] = (SCRATCH >> 12) + 2 * (i & 1); /* no two are neighbours */
    }
    vring_add(x->r, &b, 1, 0);
    hostile_kick(x);
}

/* ---- C9 ---- */

typedef struct Stall {
    HostileType t;
    void (*stall)(Hostile *x);
    void (*revive)(Hostile *x); /* NULL: a reset is enough */
} Stall;

#define SLOW "-blockdev driver=null-co,node-name=d,read-zeroes=on,size=64M,latency-ns=200000000 "
static const Stall stalls[] = {
    { { "virtio-rng-pci", "", ",max-bytes=4,period=1000", "", 0, 0, 0, 16, { 0 } }, stall_requests,
        revive_rng },
    { { "virtio-blk-pci", SLOW, ",drive=d", "", 0, 0, 16, 513, { 0 } }, stall_requests, NULL },
    { { "virtio-net-pci", "-netdev hubport,hubid=0,id=n", ",netdev=n", "", 0, 1, 76, 0, { 0 } },
        stall_receive, NULL },
    { { "virtio-net-pci", HOSTILE_WIRE, ",netdev=n", "", 0, 1, 76, 0, { 0 }, "full-peer" },
        stall_transmit, revive_transmit },
    { { "virtio-serial-pci", "-chardev socket,id=c,path=DIR/c,server=on,wait=off", ",id=s",
          "-device virtconsole,chardev=c,bus=s.0", 2, 1, 8, 0, { 'h', 'e', 'l', 'l', 'o' } },
        stall_serial, revive_serial },
    { { "virtio-balloon-pci", "", "", "", 0, 0, 4, 0, { 0, 0xa } }, stall_balloon, NULL },
    /* READ(6) of one block */
    { { "virtio-scsi-pci", SLOW, ",id=s", "-device scsi-hd,drive=d,bus=s.0", 0, 2, 51, 620,
          { 1, 0, 0x40, [19] = 8, [23] = 1 } },
        stall_requests, NULL },
    { { "virtio-vsock-pci", "", ",guest-cid=3,x-path=DIR/vsock", "", 0, 1, 44, 0,
          { 3, 0, 0, 0, 0, 0, 0, 0, 2 } },
        stall_vsock, NULL },
};

static void bus_master_off(Hostile *x)
{
    const VDriver *d = &x->d;

    vd_cfg_write(&x->port, d->bus, d->devfn, 4, 2, 3);
    step(x);
    vd_cfg_write(&x->port, d->bus, d->devfn, 4, 2, 7);
    vd_set_status(d, 0);
}

static void system_reset(Hostile *x)
{
    json_unref(qtv_qmp(x->q, "{'execute': 'system_reset'}"));
    g_assert_true(qtv_wait_event(x->q, "RESET"));
    vd_open(&x->d, &x->port, 0, HOSTILE_DEVFN, false);
}

static void function_reset(Hostile *x)
{
    vd_cfg_write(&x->port, 1, 0, x->d.cap_pcie + 8, 2, 0x8000);
    vd_open(&x->d, &x->port, 1, 0, false);
}

static void status_reset(Hostile *x)
{
    vd_set_status(&x->d, 0);
}

static void queue_reset(Hostile *x)
{
    vd_write(&x->d, 0x16, 2, x->t->queue);
    vd_write(&x->d, 0x3a, 2, 1);
    for (gint64 until = g_get_monotonic_time() + 30 * G_USEC_PER_SEC; vd_read(&x->d, 0x3a, 2);) {
        g_assert_cmpint(g_get_monotonic_time(), <, until);
    }
    vd_set_status(&x->d, 0);
}

/* The guest goes on in the middle of it. */
static void stop_and_go(Hostile *x)
{
    json_unref(qtv_qmp(x->q, "{'execute': 'stop'}"));
    json_unref(qtv_qmp(x->q, "{'execute': 'cont'}"));
    vd_set_status(&x->d, 0);
}

static bool up(Hostile *x, const HostileType *t, bool express)
{
    host.peer = host.listener = -1;
    host.seed = 1;
    return hostile_up(x, t, /* slow= */ false, express);
}

static void down(Hostile *x)
{
    if (x->q) {
        g_autofree char *l = g_build_filename(x->dir, "vsock_80", NULL);

        if (host.listener >= 0) {
            close(host.listener);
            g_unlink(l);
        }
        hostile_down(x);
    }
    if (host.peer >= 0) {
        close(host.peer);
    }
}

static void c9(const Stall *s, bool express)
{
    static void (*const ways[])(
        Hostile * x) = { status_reset, queue_reset, bus_master_off, stop_and_go, system_reset };
    Hostile x;

    if (up(&x, &s->t, express)) {
        for (unsigned i = 0; i < 2 * (express ? 1 : G_N_ELEMENTS(ways)); i++) {
            hostile_start(&x, i & 1);
            s->stall(&x);
            (express ? function_reset : ways[i / 2])(&x);
            hostile_wait_reset(&x);
            if (s->revive) {
                s->revive(&x);
            }
            hostile_start(&x, i & 1);
            hostile_alive(&x);
        }
    }
    down(&x);
}

static void test_c9(const void *data)
{
    c9(data, false);
}

static void test_c9_function(const void *data)
{
    c9(data, true);
}

static void add_c9(const Stall *s)
{
    g_autofree char *name = g_strjoin("-", s->t.driver, s->t.part, NULL),
                    *plain = g_strdup_printf("/stall/%s/c9-resets", name),
                    *flr = g_strdup_printf("/stall/%s/c9-function-reset", name);

    g_test_add_data_func(plain, s, test_c9);
    g_test_add_data_func(flr, s, test_c9_function);
}

/* A device type that has no line above: requests, and buffers that wait for what comes in. */
static void add_others(Stall *more, unsigned nmore)
{
    unsigned n = 0;

    for (unsigned i = 0; i < hostile_ntypes; i++) {
        bool known = false;

        for (unsigned k = 0; k < G_N_ELEMENTS(stalls); k++) {
            known |= !strcmp(stalls[k].t.driver, hostile_types[i].driver);
        }
        if (!known) {
            g_assert_cmpuint(n, <, nmore);
            more[n] = (Stall){ hostile_types[i],
                hostile_types[i].queue == 1 ? stall_receive : stall_requests, NULL };
            add_c9(&more[n++]);
        }
    }
}

/* ---- C7 ---- */

/* Packets with everything in them but a length that is not there. */
static void bad_vsock(Hostile *x)
{
    static const uint16_t ops[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffff };

    for (unsigned i = 0; i < BATCH; i++) {
        const VBuf in = { LIST + 4096 * i, 4096, true };
        Packet p = { .src_port = rnd(8),
            .dst_port = rnd(4) ? 80 : rnd(100),
            .type = (uint16_t)rnd(4),
            .op = ops[rnd(G_N_ELEMENTS(ops))],
            .len = rnd(3) ? 0 : rnd(1000),
            .flags = rnd(8),
            .buf_alloc = rnd(2) ? rnd(UINT32_MAX) : rnd(100),
            .fwd_cnt = rnd(2) ? rnd(UINT32_MAX) : 0 };

        vring_add(&x->d.ring[0], &in, 1, 0);
        vsock_send(x, LIST + (1 << 20) + 2048 * i, p);
    }
    vd_kick(&x->d, 0);
    hostile_kick(x);
    hostile_finish(x, x->r, BATCH);
    /* What was given and not used stays with the device; the rest of the ring is enough. */
    hostile_drain(&x->d.ring[0]);
}

/* Page numbers of no memory and half numbers; tags that nobody knows. */
static void bad_balloon(Hostile *x)
{
    static const uint32_t odd[] = { 0xffffffff, 0x80000000, 0x1000, 0xfee00, 0xa00, 0xa01,
        0xe0000 };

    for (unsigned i = 0; i < BATCH; i++) {
        const VBuf b = { LIST + 256 * i, 1 + rnd(200), false };

        for (unsigned n = 0; n < 50; n++) {
            ((uint32_t *)(void *)(x->ram + b.at))[n] = odd[rnd(G_N_ELEMENTS(odd))];
        }
        vring_add(x->r, &b, 1, 0);
    }
    hostile_kick(x);
    hostile_finish(x, x->r, BATCH);
}

/* Commands of any kind and length for few resources, heads and places, some of them of no memory.
 */
static void bad_gpu(Hostile *x)
{
    static const uint32_t odd[] = { 0, 0, 1, 1, 2, 3, 4, 16, 64, 134, 255, 4096, 16384, 0x7fffffff,
        0x80000000, UINT32_MAX };
    enum { ROOM = 512, AT_ONCE = 20, RESOURCE_CREATE_2D = 0x101, UPDATE_CURSOR = 0x300 };

    for (unsigned i = 0; i < BATCH; i++) {
        const uint64_t at = LIST + ROOM * (i % AT_ONCE);
        const VBuf b[2] = { { at, rnd(8) ? 24 + 8 * rnd(16) : 1 + rnd(40), false },
            { LIST + MIB + ROOM * (i % AT_ONCE), rnd(8) ? 24 + rnd(400) : 1 + rnd(40), true } };
        uint32_t *word = (uint32_t *)(void *)(x->ram + at);

        word[0] = rnd(50) ? 0x100 + rnd(14) : UPDATE_CURSOR + rnd(2);
        word[1] = rnd(4);
        for (unsigned n = 2; n < ROOM / 4; n++) {
            word[n] = rnd(16) ? odd[rnd(G_N_ELEMENTS(odd))] : LIST;
        }
        if (rnd(4) == 0) { /* some that are right, so that there is something to be wrong about */
            word[0] = RESOURCE_CREATE_2D;
            word[6] = 1 + rnd(4);
            word[7] = 2;
            word[8] = word[9] = 64;
        }
        vring_add(x->r, b, 2, 0);
        if (i % AT_ONCE == AT_ONCE - 1) {
            hostile_kick(x);
            hostile_finish(x, x->r, AT_ONCE);
        }
    }
}

static void many(Hostile *x, void (*bad)(Hostile *x))
{
    uint64_t rss = 0;
    unsigned fds = 0;

    for (unsigned i = 0; i < BATCHES; i++) {
        if (i % 50 == 0) {
            vd_set_status(&x->d, 0);
            hostile_wait_reset(x);
            step(x);
            if (i == 100) {
                rss = hostile_rss(x);
                fds = hostile_fds(x);
            }
            hostile_start(x, i / 50 % 2);
        }
        bad(x);
        if (x->t->queue == 1) { /* rings of receive buffers fill up */
            vd_set_status(&x->d, 0);
            hostile_wait_reset(x);
            hostile_start(x, i / 50 % 2);
        }
    }
    vd_set_status(&x->d, 0);
    hostile_wait_reset(x);
    step(x);
    g_assert_cmpuint(hostile_rss(x), <, rss + (1 << 20));
    g_assert_cmpuint(hostile_fds(x), ==, fds);
    hostile_start(x, false);
    hostile_alive(x);
}

static void c7(const HostileType *t, void (*bad)(Hostile *x))
{
    Hostile x;

    if (up(&x, t, false)) {
        if (x.t->queue == 1) {
            listen_at(&x);
        }
        many(&x, bad);
    }
    down(&x);
}

enum { RNG = 0, BALLOON = 5, SCSI = 6, VSOCK = 7 };

static void test_c7_balloon(void)
{
    c7(&stalls[BALLOON].t, bad_balloon);
}

static void test_c7_vsock(void)
{
    c7(&stalls[VSOCK].t, bad_vsock);
}

static void test_c7_gpu(void)
{
    HostileType t = { "virtio-gpu-pci", "", ",blob=on,max_hostmem=4194304", "", 0, 0, 24, 408,
        { 0, 1 } };

    c7(&t, bad_gpu);
}

/* ---- C8 ---- */

static void test_c8_rng(void)
{
    const VBuf b = { LIST, LIST_LEN, true };
    uint32_t id, len;
    Hostile x;

    if (up(&x, &(HostileType){ "virtio-rng-pci", "", "", "", 0, 0, 0, 16, { 0 } }, false)) {
        for (unsigned i = 0; i < 20; i++) {
            hostile_start(&x, i & 1);
            vring_add(x.r, &b, 1, 0);
            hostile_kick(&x);
            vd_wait_used(&x.d, 0, &id, &len);
            g_assert_cmpuint(len, >=, 1);
            g_assert_cmpuint(len, <=, 64 << 10);
        }
        hostile_alive(&x);
    }
    down(&x);
}

/* More connections than the host takes: each further one is refused, memory does not grow. */
static void test_c8_vsock(void)
{
    Packet p = { .dst_port = 80, .type = 1, .op = VSOCK_REQUEST };
    uint64_t rss = 0;
    Hostile x;

    if (up(&x, &stalls[VSOCK].t, false)) {
        listen_at(&x);
        for (unsigned i = 0; i < 100; i++) {
            hostile_start(&x, false);
            for (unsigned n = 0; n < BATCH; n++) {
                p.src_port = i * BATCH + n;
                vsock_send(&x, LIST + 64 * n, p);
            }
            hostile_kick(&x);
            hostile_finish(&x, x.r, BATCH);
            g_assert_cmpuint(hostile_fds(&x), <, 200);
            if (i == 20) {
                rss = hostile_rss(&x);
            }
        }
        g_assert_cmpuint(hostile_rss(&x), <, rss + (1 << 20));
    }
    down(&x);
}

/* Commands that need a buffer of ours, while the disk stands still: of so many at once the unit
 * takes some, the rest gets TASK SET FULL, and memory is what was taken. */
static void test_c8_scsi(void)
{
    enum { AT = 640, CDB = 19, FULL = 0x28, STATUS = 10, AT_ONCE = 64 };
    uint8_t head[51] = { 1, 0, 0x40, [CDB] = 0x2f, [CDB + 1] = 6, [CDB + 8] = 1 }; /* VERIFY */
    unsigned full = 0;
    Hostile x;

    if (up(&x, &stalls[SCSI].t, false)) {
        hostile_start(&x, false);
        uint64_t rss = hostile_rss(&x);

        for (unsigned i = 0; i < AT_ONCE; i++) {
            uint64_t at = LIST + AT * 2 * i;
            const VBuf b[] = { { at, sizeof head, false }, { at + AT, 512, false },
                { at + 64, 108, true } };

            x.port.write(x.port.opaque, at, head, sizeof head);
            vring_add(x.r, b, 3, 0);
        }
        hostile_kick(&x);
        step(&x);
        g_assert_cmpuint(hostile_rss(&x), <, rss + (20 << 20));
        for (unsigned i = 0; i < AT_ONCE; i++) {
            uint8_t status;

            x.port.read(x.port.opaque, LIST + AT * 2 * i + 64 + STATUS, &status, 1);
            full += status == FULL;
        }
        g_assert_cmpuint(full, >=, AT_ONCE / 2 - 1);
        vd_set_status(&x.d, 0);
        hostile_wait_reset(&x);
        hostile_start(&x, false);
        hostile_alive(&x);
    }
    down(&x);
}

int main(int argc, char **argv)
{
    static Stall more[32];

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(stalls); i++) {
        add_c9(&stalls[i]);
    }
    add_others(more, G_N_ELEMENTS(more));
    g_test_add_func("/stall/virtio-balloon-pci/c7-malformed", test_c7_balloon);
    g_test_add_func("/stall/virtio-vsock-pci/c7-malformed", test_c7_vsock);
    g_test_add_func("/stall/virtio-gpu-pci/c7-malformed", test_c7_gpu);
    g_test_add_func("/stall/virtio-rng-pci/c8-large-request", test_c8_rng);
    g_test_add_func("/stall/virtio-vsock-pci/c8-many-connections", test_c8_vsock);
    g_test_add_func("/stall/virtio-scsi-pci/c8-many-buffers", test_c8_scsi);
    return g_test_run();
}
