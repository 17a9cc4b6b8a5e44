/* hw/virtio/virtio-net-loop.c: queue pairs in threads of their own. A back end of ours, whose
 * queues are in the pairs' loops, sends numbered packets and checks those that come, while pairs,
 * tables, filters, links and queues change, the machine stops and goes on, and the driver resets:
 * each packet once, and in order for each queue. */
#include "net/net.h"
#include "tests/unit/vdev.h"
#include "util/timer.h"

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net), &iothread_class);

enum {
    PAIRS = 3,
    CTRL = PAIRS * 2,
    THREADS = 2,
    RX_PAGE = 256,
    TX_SLOT = 128,
    TX_MAX = 100,
    FLOWS = 64
};
enum { HDR = 12, FRAME = 60, NUMBER_AT = 42, FROM_AT = 46 }; /* behind UDP's header */
enum {
    F_MQ = 22,
    F_MRG = 15,
    F_PACKED = 34,
    F_RSS = 60,
    CLASS_RX = 0,
    CLASS_MQ = 4,
    CLASS_COAL = 6
};

/* One queue of the back end; its loop's own. */
typedef struct Wire {
    NetPort p;
    bool full;         /* takes nothing */
    bool waits;        /* its last packet was refused */
    bool lossy;        /* the guest may have no use for a packet */
    unsigned todo;     /* packets to be sent */
    uint32_t next_rx;  /* the number of the next one to the guest */
    uint32_t taken_tx; /* the number of the next one from the guest */
    const Loop *loop;  /* that must be current */
    unsigned enabled;
} Wire;

typedef struct Fix {
    VDev v;
    Wire w[PAIRS];
    NetPort *more[PAIRS];
    IoThread *io[THREADS];
    GRand *r;
    uint64_t p, memory;
    bool mq; /* negotiated */
    unsigned active, commands;
    unsigned nrx[PAIRS], ntx[PAIRS], slot[PAIRS]; /* buffers out; the ring's first */
    uint32_t put_tx[PAIRS];
    GByteArray *seen[PAIRS];           /* how often packets of a wire's queue came */
    int64_t last[PAIRS][PAIRS][FLOWS]; /* of a wire's flow on a ring */
    uint64_t rx, tx, far;              /* packets; those that came by another pair's queue */
} Fix;

/* ---- the back end ---- */

static void number_of(const struct iovec *iov, unsigned n, uint32_t *ret)
{
    uint8_t b[HDR + FRAME] = { 0 };
    size_t at = 0;

    for (unsigned i = 0; i < n && at < sizeof b; i++) {
        size_t k = MIN(iov[i].iov_len, sizeof b - at);

        memcpy(b + at, iov[i].iov_base, k);
        at += k;
    }
    memcpy(ret, b + HDR + NUMBER_AT, 4);
}

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Wire *w = (Wire *)p;
    uint32_t number;

    g_assert_true(loop_current() == w->loop);
    if (w->full) {
        return NET_QUEUED;
    }
    number_of(iov, n, &number);
    g_assert_cmpuint(number, ==, w->taken_tx); /* once, in order */
    w->taken_tx++;
    return NET_SENT;
}

/* A few packets, and then others between. */
static uint8_t flow_of(uint32_t number)
{
    return number / 7 % FLOWS;
}

static void frame_make(uint8_t *f, uint32_t number, uint32_t from)
{
    static const uint8_t head[14] = { 0x52, 0x54, 0, 1, 2, 3, 2, 0, 0, 0, 0, 1, 8, 0 };

    memset(f, 0, FRAME);
    memcpy(f, head, sizeof head);
    f[14] = 0x45;
    f[23] = 17;
    f[29] = (uint8_t)from;
    f[37] = flow_of(number);
    memcpy(f + NUMBER_AT, &number, 4);
    memcpy(f + FROM_AT, &from, 4);
}

static void wire_run(Wire *w)
{
    g_assert_true(loop_current() == w->loop);
    while (w->todo && !w->waits) {
        uint8_t head[HDR] = { 0 }, f[FRAME];
        struct iovec v[2] = { { head, HDR }, { f, FRAME } };

        frame_make(f, w->next_rx, w->p.index);
        NetVerdict r = net_send(&w->p, v, 2, HDR + FRAME);

        g_assert_true(r != NET_DROPPED || w->lossy);
        w->waits = r == NET_QUEUED;
        w->todo -= !w->waits;
        w->next_rx += !w->waits;
    }
}

static void wire_writable(NetPort *p)
{
    ((Wire *)p)->waits = false;
    wire_run((Wire *)p);
}

static bool wire_enable(NetPort *p, bool on)
{
    g_assert_true(loop_current() == ((Wire *)p)->loop);
    ((Wire *)p)->enabled = on;
    return true;
}

static uint64_t wire_offloads(NetPort *p)
{
    return NET_OFFLOAD_CSUM;
}

static bool wire_set_offload(NetPort *p, uint64_t offloads, uint32_t hdr)
{
    g_assert_true(loop_current() == ((Wire *)p)->loop);
    p->vnet_hdr_len = hdr;
    return true;
}

static void wire_move(NetPort *p, Loop *loop)
{
    p->loop = loop;
    ((Wire *)p)->loop = loop;
}

static const NetPortOps wire_ops = { .receive = wire_receive, .writable = wire_writable };
static const NetBackend wire_backend = { .type = "wire",
    .offloads = wire_offloads,
    .set_offload = wire_set_offload,
    .enable = wire_enable,
    .move = wire_move };

typedef struct Ask {
    Wire *w;
    unsigned n;
    bool full, lossy;
} Ask;

/* Goes on by itself, beside the test. */
static void posted_more(void *opaque)
{
    g_autofree Ask *a = opaque;

    a->w->todo += a->n;
    wire_run(a->w);
}

static void loop_full(void *opaque)
{
    const Ask *a = opaque;

    a->w->full = a->full;
    if (!a->full) {
        net_ready(&a->w->p);
    }
}

static void loop_lossy(void *opaque)
{
    const Ask *a = opaque;

    a->w->lossy = a->lossy;
}

static void wire_sends(Fix *x, unsigned q, unsigned n)
{
    Ask *a = g_new(Ask, 1);

    *a = (Ask){ .w = &x->w[q], .n = n };
    loop_post(x->w[q].p.loop, posted_more, a);
}

static void wire_full(Fix *x, unsigned q, bool full)
{
    Ask a = { .w = &x->w[q], .full = full };

    loop_call(x->w[q].p.loop, loop_full, &a);
}

static void wires_lossy(Fix *x, bool lossy)
{
    for (unsigned q = 0; q < PAIRS; q++) {
        Ask a = { .w = &x->w[q], .lossy = lossy };

        loop_call(x->w[q].p.loop, loop_lossy, &a);
    }
}

static void loop_copy(void *opaque)
{
    Wire **both = opaque;

    *both[1] = *both[0];
}

/* As it is now, in its loop. */
static Wire wire_now(Fix *x, unsigned q)
{
    Wire now, *both[2] = { &x->w[q], &now };

    loop_call(x->w[q].p.loop, loop_copy, both);
    return now;
}

/* ---- the machine ---- */

static void up(Fix *x, const void *props)
{
    g_autofree char *dev =
        g_strdup_printf("{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': '4', 'netdev': 'w', "
                        "'mq': true, 'rss': true, 'packed': true, 'x-notf-coal': true, "
                        "'romfile': ''%s}",
            (const char *)props);

    for (unsigned i = 0; i < PAIRS; i++) {
        Wire *w = &x->w[i];

        net_port_init(&w->p, &wire_ops, "wire", "w");
        w->p.backend = &wire_backend;
        w->p.index = i;
        w->p.vnet_hdr_len = HDR;
        w->loop = loop_main();
        w->enabled = true;
        x->seen[i] = g_byte_array_new();
        if (i) {
            x->more[i - 1] = &w->p;
        }
    }
    x->w[0].p.queue = x->more;
    x->w[0].p.nqueues = PAIRS;
    x->r = g_rand_new_with_seed((guint32)vdev_env("VIRTUE_NET_SEED", 30));
    x->v.b = board_new(false);
    x->io[0] = vdev_thread(x->v.b, "t0");
    x->io[1] = vdev_thread(x->v.b, "t1");
    x->v.dev = board_add(x->v.b, dev);
    vd_open(&x->v.d, &x->v.b->port, 0, 4 << 3, false);
    vd_enable_msix(&x->v.d);
    x->p = vd_page(&x->v.d, 1 << 20);
    x->memory = x->v.d.alloc;
}

static void down(Fix *x, const void *unused)
{
    wires_lossy(x, true);
    for (unsigned q = 0; q < PAIRS; q++) {
        wire_sends(x, q, 50); /* unplugged under traffic */
    }
    if (x->v.dev) {
        dev_unplug_done(x->v.b->m, x->v.dev);
    }
    for (unsigned q = 0; q < PAIRS; q++) {
        g_assert_true(x->w[q].p.loop == loop_main());
        net_port_fini(&x->w[q].p);
        g_byte_array_unref(x->seen[q]);
    }
    board_run(x->v.b);
    board_free(x->v.b);
    g_rand_free(x->r);
}

static unsigned any(Fix *x, unsigned below)
{
    return (unsigned)g_rand_int_range(x->r, 0, (gint32)below);
}

static uint64_t rx_page(const Fix *x, unsigned q, unsigned i)
{
    return x->p + 0x10000 + (q * 64u + i % 64) * RX_PAGE;
}

/* ---- the guest ---- */

static void collect_rx(Fix *x, unsigned q)
{
    uint32_t id, len;

    while (vring_used(&x->v.d.ring[q * 2], &id, &len)) {
        uint8_t b[HDR + FRAME];
        uint32_t from, number;

        vdev_get(&x->v, rx_page(x, q, x->slot[q]++), b, sizeof b);
        memcpy(&number, b + HDR + NUMBER_AT, 4);
        memcpy(&from, b + HDR + FROM_AT, 4);
        g_assert_cmpuint(len, ==, HDR + FRAME);
        g_assert_cmpuint(from, <, PAIRS);
        int64_t *last = &x->last[from][q][flow_of(number)];

        g_assert_cmpint(number, >, *last); /* in order */
        *last = number;
        if (number >= x->seen[from]->len) {
            guint had = x->seen[from]->len;

            g_byte_array_set_size(x->seen[from], number + 1);
            memset(x->seen[from]->data + had, 0, number + 1 - had);
        }
        g_assert_cmpuint(x->seen[from]->data[number]++, ==, 0); /* once */
        x->far += from != q;
        x->nrx[q]--;
        x->rx++;
    }
}

static void collect(Fix *x)
{
    uint32_t id, len;

    for (unsigned q = 0; q < (x->mq ? PAIRS : 1); q++) {
        collect_rx(x, q);
        while (vring_used(&x->v.d.ring[q * 2 + 1], &id, &len)) {
            x->ntx[q]--;
            x->tx++;
        }
    }
}

static void turn(Fix *x)
{
    loop_turn(loop_main(), /* block= */ false);
    collect(x);
    g_thread_yield();
}

static void give(Fix *x, unsigned q, unsigned n)
{
    for (; n && x->nrx[q] < 64; n--) {
        const VBuf b = { rx_page(x, q, x->slot[q] + x->nrx[q]), RX_PAGE, true };

        vring_add(&x->v.d.ring[q * 2], &b, 1, 0);
        x->nrx[q]++;
    }
    vd_kick(&x->v.d, q * 2);
}

static void guest_sends(Fix *x, unsigned q, unsigned n)
{
    for (; n && x->ntx[q] < TX_MAX && q < x->active; n--) {
        uint32_t number = x->put_tx[q]++;
        uint64_t at = x->p + 0x80000 + (q * 256u + number % 256) * TX_SLOT;
        uint8_t b[HDR + FRAME] = { 0 };
        const VBuf v = { at, sizeof b, false };

        memcpy(b + HDR + NUMBER_AT, &number, 4);
        vdev_put(&x->v, at, b, sizeof b);
        vring_add(&x->v.d.ring[q * 2 + 1], &v, 1, 0);
        x->ntx[q]++;
    }
    vd_kick(&x->v.d, q * 2 + 1);
}

static uint8_t command(Fix *x, uint8_t class, uint8_t cmd, const void *data, uint32_t size)
{
    unsigned q = x->mq ? CTRL : 2;
    const VBuf b[] = { { x->p, 2, false }, { x->p + 0x100, size, false },
        { x->p + 0x10, 1, true } };
    const uint8_t head[2] = { class, cmd };
    uint32_t id, len;
    uint8_t ack = 0xee;

    vdev_put(&x->v, b[0].at, head, 2);
    vdev_put(&x->v, b[1].at, data, size);
    vring_add(&x->v.d.ring[q], b, 3, 0);
    vd_kick(&x->v.d, q);
    while (!vring_used(&x->v.d.ring[q], &id, &len)) {
        loop_turn(loop_main(), /* block= */ false);
        g_thread_yield();
    }
    g_assert_cmpuint(len, ==, 1);
    vdev_get(&x->v, b[2].at, &ack, 1);
    x->commands++;
    return ack;
}

static void set_pairs(Fix *x, uint16_t n)
{
    g_assert_cmpuint(command(x, CLASS_MQ, 0, &n, 2), ==, 0);
    x->active = n;
}

/* Of rings that rest: nothing comes there any more (VIRTIO 1.4, 5.1.9.5.6.2). */
static void test_rest(Fix *x)
{
    unsigned before[PAIRS];

    collect(x);
    memcpy(before, x->nrx, sizeof before);
    for (unsigned i = 0; i < 20; i++) {
        turn(x);
    }
    for (unsigned q = x->active; q < PAIRS; q++) {
        g_assert_cmpuint(x->nrx[q], ==, before[q]);
    }
}

static void set_rss(Fix *x)
{
    uint8_t c[8 + 16 * 2 + 3 + 40] = { 2 | 4, 0, 0, 0, 15, 0 };
    unsigned at = 8;

    c[6] = (uint8_t)any(x, PAIRS);
    for (unsigned i = 0; i < 16; i++, at += 2) {
        c[at] = (uint8_t)any(x, PAIRS);
    }
    c[at] = PAIRS;
    c[at + 2] = 40;
    for (unsigned i = 0; i < 40; i++) {
        c[at + 3 + i] = (uint8_t)any(x, 256);
    }
    g_assert_cmpuint(command(x, CLASS_MQ, 1, c, sizeof c), ==, 0);
    x->active = PAIRS;
}

static void start(Fix *x, uint64_t without)
{
    vdev_fill(&x->v, x->memory, 0, x->v.d.alloc - x->memory);
    x->v.d.alloc = x->memory;
    memset(x->nrx, 0, sizeof x->nrx);
    memset(x->ntx, 0, sizeof x->ntx);
    memset(x->slot, 0, sizeof x->slot);
    vd_start(&x->v.d, without);
    x->mq = !(without >> F_MQ & 1);
    x->active = 1;
    for (unsigned q = 0; q < PAIRS; q++) {
        x->put_tx[q] = wire_now(x, q).taken_tx;
    }
}

static bool settled(Fix *x)
{
    for (unsigned q = 0; q < PAIRS; q++) {
        Wire w = wire_now(x, q);

        if (w.todo || x->ntx[q] || w.next_rx != x->seen[q]->len ||
            memchr(x->seen[q]->data, 0, x->seen[q]->len)) {
            return false;
        }
    }
    return true;
}

/* All that was sent arrives. */
static void settle(Fix *x)
{
    for (unsigned q = 0; q < PAIRS; q++) {
        wire_full(x, q, false);
    }
    while (!settled(x)) {
        for (unsigned q = 0; q < (x->mq ? PAIRS : 1); q++) {
            give(x, q, 16);
        }
        turn(x);
    }
    for (unsigned q = 0; q < PAIRS; q++) {
        g_assert_cmpuint(wire_now(x, q).taken_tx, ==, x->put_tx[q]);
    }
}

static void reset(Fix *x)
{
    vd_set_status(&x->v.d, 0);
    while (vd_status(&x->v.d)) {
        loop_turn(loop_main(), /* block= */ false);
    }
}

/* In the middle of traffic: what waits is lost, nothing comes later. */
static void reset_under_load(Fix *x)
{
    wires_lossy(x, true);
    reset(x);
    for (unsigned q = 0; q < PAIRS; q++) {
        while (wire_now(x, q).todo) {
        }
        guint had = x->seen[q]->len, now = wire_now(x, q).next_rx;

        g_byte_array_set_size(x->seen[q], now);
        memset(x->seen[q]->data, 1, now);
        g_assert_cmpuint(had, <=, now);
    }
    start(x, any(x, 2) ? 1ull << F_PACKED : 0);
    wires_lossy(x, false);
}

static void set_coal(Fix *x)
{
    uint32_t numbers[2] = { any(x, 2) ? 8 : 0, 50 };

    g_assert_cmpuint(command(x, CLASS_COAL, (uint8_t)any(x, 2), numbers, sizeof numbers), ==, 0);
}

/* A queue of a pair that rests is no loss: others have its packets. */
static void reset_queue(Fix *x)
{
    unsigned q = PAIRS - 1;

    if (x->active == PAIRS) {
        set_pairs(x, PAIRS - 1);
    }
    collect(x);
    vd_write(&x->v.d, 0x16, 2, q * 2);
    vd_write(&x->v.d, 0x3a, 2, 1);
    while (vd_read(&x->v.d, 0x3a, 2)) {
        loop_turn(loop_main(), /* block= */ false);
    }
    x->nrx[q] = x->slot[q] = 0;
    vd_setup_queue(&x->v.d, q * 2, 0);
}

static void change(Fix *x)
{
    uint8_t on = (uint8_t)any(x, 2);

    switch (any(x, 12)) {
    case 0:
    case 1:
    case 2:
        set_pairs(x, (uint16_t)(1 + any(x, PAIRS)));
        test_rest(x);
        break;
    case 3:
    case 4:
        set_rss(x);
        break;
    case 5:
        g_assert_cmpuint(command(x, CLASS_RX, 1, &on, 1), ==, 0); /* all multicast */
        break;
    case 6:
        set_coal(x);
        break;
    case 7:
        fake_run_set(false);
        turn(x);
        fake_run_set(true);
        break;
    case 8:
        reset_queue(x);
        break;
    case 9:
        settle(x);
        net_set_link("nic0", false, NULL);
        net_set_link("nic0", true, NULL);
        break;
    case 10:
        settle(x);
        reset(x);
        start(x, any(x, 2) ? 1ull << F_PACKED : 0);
        break;
    default:
        reset_under_load(x);
        break;
    }
}

/* VIRTUE_NET_PACKETS: how many, VIRTUE_NET_SEED: which. */
static void test_storm(Fix *x, const void *unused)
{
    uint64_t want = vdev_env("VIRTUE_NET_PACKETS", 100000);

    memset(x->last, 0xff, sizeof x->last);
    start(x, 0);
    while (x->rx + x->tx < want) {
        unsigned q = any(x, PAIRS), what = any(x, 100);

        if (what < 35) {
            if (wire_now(x, q).todo < 200) {
                wire_sends(x, q, 1 + any(x, 40));
            }
        } else if (what < 65) {
            give(x, q, 1 + any(x, 32));
        } else if (what < 85) {
            guest_sends(x, q, 1 + any(x, 24));
        } else if (what < 95) {
            wire_full(x, q, any(x, 3) == 0);
        } else {
            change(x);
        }
        turn(x);
    }
    settle(x);
    g_assert_cmpuint(x->far, >, 0);
    g_test_message("%" G_GUINT64_FORMAT " packets to the guest, %" G_GUINT64_FORMAT
                   " of them by another pair, %" G_GUINT64_FORMAT " from it, %u commands",
        x->rx, x->far, x->tx, x->commands);
}

/* Without MQ the commands are in the second pair's first queue (5.1.2), and that one's loop. */
static void test_no_mq(Fix *x, const void *unused)
{
    uint16_t n = 2;
    uint8_t on = 1;

    memset(x->last, 0xff, sizeof x->last);
    start(x, 1ull << F_MQ | 1ull << F_RSS);
    for (unsigned i = 0; i < 50; i++) {
        wire_sends(x, any(x, PAIRS), 5);
        give(x, 0, 16);
        g_assert_cmpuint(command(x, CLASS_RX, 0, &on, 1), ==, 0);
        g_assert_cmpuint(command(x, CLASS_MQ, 0, &n, 2), ==, 1);
        turn(x);
        if (i % 10 == 9) {
            fake_run_set(false);
            fake_run_set(true);
        }
    }
    settle(x);
}

/* Commands that are on their way when the driver goes. */
static void test_no_mq_reset(Fix *x, const void *unused)
{
    const VBuf b[] = { { x->p, 3, false }, { x->p + 0x10, 1, true } };

    for (unsigned i = 0; i < 30; i++) {
        start(x, 1ull << F_MQ | 1ull << F_RSS);
        vring_add(&x->v.d.ring[2], b, 2, 0);
        vd_kick(&x->v.d, 2);
        for (unsigned k = 0; k < i * 20; k++) {
            g_thread_yield();
        }
        reset(x);
    }
}

static void test_refusals(Fix *x, const void *unused)
{
    static NetPort fixed; /* a back end that knows one loop */
    static const NetBackend kind = { .type = "fixed" };
    g_autofree char *err = NULL, *two = NULL;

    net_port_init(&fixed, &wire_ops, "fixed", "f");
    fixed.backend = &kind;
    err = board_add_error(
        x->v.b, "{'driver': 'virtio-net-pci', 'netdev': 'f', 'x-iothread': 't0', 'romfile': ''}");
    g_assert_cmpstr(err, ==, "netdev 'f' of type 'fixed' cannot leave the main loop");
    g_assert_null(fixed.peer);
    net_port_fini(&fixed);
    two = board_add_error(x->v.b, "{'driver': 'virtio-net-pci', 'x-iothread': 'no'}");
    g_assert_cmpstr(two, ==, "Device 'no' not found");
}

#define TURNS "[{'iothread': 't0'}, {'iothread': 't1'}]"

int main(int argc, char **argv)
{
    static const char turns[] = ", 'x-iothread-vq-mapping': " TURNS, one[] = ", 'x-iothread': 't1'";

    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add("/virtio-net-loops/storm", Fix, turns, up, test_storm, down);
    g_test_add("/virtio-net-loops/storm-one-thread", Fix, one, up, test_storm, down);
    g_test_add("/virtio-net-loops/without-mq", Fix, turns, up, test_no_mq, down);
    g_test_add("/virtio-net-loops/without-mq-reset", Fix, turns, up, test_no_mq_reset, down);
    g_test_add("/virtio-net-loops/refused", Fix, turns, up, test_refusals, down);
    return g_test_run();
}
