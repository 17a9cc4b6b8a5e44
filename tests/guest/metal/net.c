/* virtio-net (VIRTIO 1.4, 5.1): frames from one function to another, compared byte by byte, and
 * transmission alone, timed. */
#include "tests/guest/metal/metal.h"

enum { F_MAC = 5, RX = 0, TX = 1, FRAME_MAX = 1514, BUF_SIZE = 2048, ETHERTYPE = 0x88b5 };

typedef struct Nic {
    VDriver d;
    Ring ring[2];
    uint64_t buf[2]; /* guest memory: depth buffers for each direction */
    unsigned header; /* bytes before the frame: VIRTIO 1.4, 5.1.6 */
    uint8_t mac[6];
    unsigned sent, reaped, received;
    bool busy[SLOTS]; /* transmit slots that the device has */
} Nic;

static Nic nics[2];

static uint8_t *buffer(const Nic *n, unsigned dir, unsigned slot)
{
    return (uint8_t *)(uintptr_t)(n->buf[dir] + slot * BUF_SIZE);
}

static void open_nic(Nic *n, unsigned nth)
{
    VDriver *d = &n->d;

    if (!pci_find(1, nth, d)) {
        metal_die("no network function number", nth);
    }
    CHECK(vd_negotiate(d, base_features(d, 1u << F_MAC)));
    CHECK(d->features >> F_MAC & 1);
    n->header = opt.legacy ? 10 : 12;
    if (opt.msix) {
        pci_enable_msix(d, nth * 8);
    }
    for (unsigned q = 0; q < 2; q++) {
        vd_setup_queue(d, q, (uint16_t)opt.queue_size);
        CHECK(opt.depth <= SLOTS && opt.depth * 2 <= d->ring[q].size);
        ring_init(&n->ring[q], d, q, 2, nth * 8 + 1 + q);
        n->buf[q] = vd_page(d, opt.depth * BUF_SIZE);
    }
    for (unsigned i = 0; i < 6; i++) {
        uint64_t at = opt.legacy ? d->bar[0] + (d->msix ? 24 : 20) : d->device;

        n->mac[i] = (uint8_t)metal_port.load(NULL, opt.legacy, at + i, 1);
    }
    vd_driver_ok(d);
}

static void prepare(Nic *n, unsigned dir, unsigned slot, unsigned len)
{
    uint64_t at = n->buf[dir] + slot * BUF_SIZE;
    VBuf buf[2] = { { at, n->header, dir == RX }, { at + n->header, len, dir == RX } };

    if (opt.legacy || slot % 2) { /* without ANY_LAYOUT the header is alone */
        ring_prepare(&n->ring[dir], slot, buf, 2);
    } else {
        buf[0].len += len;
        ring_prepare(&n->ring[dir], slot, buf, 1);
    }
}

static unsigned length_of(unsigned seq)
{
    return 60 + seq * 37 % (FRAME_MAX - 59);
}

static void make_frame(const Nic *from, const Nic *to, unsigned seq, uint8_t *f)
{
    memcpy(f, to->mac, 6);
    memcpy(f + 6, from->mac, 6);
    f[12] = ETHERTYPE >> 8;
    f[13] = ETHERTYPE & 0xff;
    for (unsigned i = 14; i < length_of(seq); i++) {
        f[i] = (uint8_t)(seq * 131 + i * 7 + (seq >> 8));
    }
}

static void send(Nic *from, const Nic *to, unsigned slot)
{
    uint8_t *b = buffer(from, TX, slot);

    memset(b, 0, from->header);
    make_frame(from, to, from->sent, b + from->header);
    prepare(from, TX, slot, length_of(from->sent));
    ring_put(&from->ring[TX], slot);
    from->sent++;
}

static bool is_ours(const uint8_t *frame)
{
    return frame[12] == ETHERTYPE >> 8 && frame[13] == (ETHERTYPE & 0xff);
}

/* Takes what arrived at n, compares it with what `from` sent, gives the buffer back. */
static bool receive(Nic *n, const Nic *from)
{
    static uint8_t want[FRAME_MAX];
    Ring *r = &n->ring[RX];
    unsigned slot;
    uint32_t len;

    if (!ring_get(r, &slot, &len)) {
        return false;
    }
    const uint8_t *b = buffer(n, RX, slot);

    if (is_ours(b + n->header)) {
        make_frame(from, n, n->received, want);
        if (len != LEN_UNKNOWN && len != n->header + length_of(n->received)) {
            metal_die("wrong length of a received frame", len);
        }
        if (memcmp(b + n->header, want, length_of(n->received))) {
            metal_die("wrong contents of frame", n->received);
        }
        n->received++;
    }
    ring_put(r, slot);
    ring_kick(r);
    return true;
}

static void fill_rx(Nic *n)
{
    for (unsigned i = 0; i < opt.depth; i++) {
        prepare(n, RX, i, FRAME_MAX);
        ring_put(&n->ring[RX], i);
    }
    ring_kick(&n->ring[RX]);
}

static void one_way(Nic *from, Nic *to)
{
    unsigned slot, first = to->received, sent0 = from->sent, window = opt.depth / 2;
    uint32_t len;

    CHECK(window);
    if (opt.msix) { /* the first one by interrupt, however fast the device is */
        uint32_t seen = ring_arm(&to->ring[RX]);

        slot = from->sent % opt.depth;
        CHECK(!from->busy[slot]);
        from->busy[slot] = true;
        send(from, to, slot);
        ring_kick(&from->ring[TX]);
        cpu_wait_irq(to->ring[RX].irq, seen);
        ring_disarm(&to->ring[RX]);
    }
    while (to->received - first < opt.n) {
        bool any = false;

        while (from->sent - sent0 < opt.n && from->sent - sent0 - (to->received - first) < window &&
               from->sent - from->reaped < opt.depth) {
            slot = from->sent % opt.depth;
            if (from->busy[slot]) {
                break;
            }
            from->busy[slot] = true;
            send(from, to, slot);
            any = true;
        }
        if (any) {
            ring_kick(&from->ring[TX]);
        }
        while (ring_get(&from->ring[TX], &slot, &len)) {
            CHECK(opt.packed || len == 0 || len == LEN_UNKNOWN);
            CHECK(from->busy[slot]);
            from->busy[slot] = false;
            from->reaped++;
        }
        /* Asleep only while a frame is on its way; else it is the sent buffers that are missing. */
        if (!receive(to, from) && !any && opt.msix && to->received - first != from->sent - sent0) {
            ring_wait(&to->ring[RX]);
        }
    }
    while (from->reaped < from->sent) {
        if (ring_get(&from->ring[TX], &slot, &len)) {
            from->busy[slot] = false;
            from->reaped++;
        }
    }
}

static void test_work(void *opaque)
{
    (void)opaque;
    fill_rx(&nics[0]);
    fill_rx(&nics[1]);
    one_way(&nics[0], &nics[1]);
    one_way(&nics[1], &nics[0]);
}

void net_test(void)
{
    open_nic(&nics[0], 0);
    open_nic(&nics[1], 1);
    cpu_run(test_work, NULL);
    put("RESULT test=net");
    put_pair("frames", nics[0].received + nics[1].received);
    put_pair("kicks", nics[0].ring[TX].kicks + nics[1].ring[TX].kicks);
    put_pair("waits", nics[0].ring[RX].irq_waits + nics[1].ring[RX].irq_waits);
    put_pair("irqs", irq_count[1] + irq_count[9]);
    put("\n");
    CHECK(!opt.msix || (irq_count[1] && irq_count[9]));
}

static void bench_work(void *opaque)
{
    Nic *n = opaque;
    Ring *r = &n->ring[TX];
    unsigned slot, waiting = 0;
    uint32_t len;

    for (unsigned i = 0; i < opt.depth && n->sent < opt.n; i++, n->sent++) {
        ring_put(r, i);
    }
    ring_kick(r);
    while (n->reaped < opt.n) {
        bool any = false;

        while (ring_get(r, &slot, &len)) {
            n->reaped++;
            any = true;
            if (n->sent < opt.n) {
                n->sent++;
                ring_put(r, slot);
                if (opt.batch && ++waiting >= opt.batch) {
                    ring_kick(r);
                    waiting = 0;
                }
            }
        }
        if (any) {
            ring_kick(r);
            waiting = 0;
        } else if (opt.msix && n->reaped < opt.n) {
            ring_wait(r);
        } else {
            __asm__ volatile("pause" ::: "memory");
        }
    }
}

void net_bench(void)
{
    Nic *n = &nics[0];
    uint64_t took;

    open_nic(n, 0);
    for (unsigned i = 0; i < opt.depth; i++) {
        uint64_t at = n->buf[TX] + i * BUF_SIZE;
        VBuf buf[2] = { { at, n->header + (opt.legacy ? 0 : opt.size), false },
            { at + n->header, opt.size, false } };

        make_frame(n, n, i, buffer(n, TX, i) + n->header);
        ring_prepare(&n->ring[TX], i, buf, opt.legacy ? 2 : 1);
    }
    took = tsc();
    cpu_run(bench_work, n);
    took = tsc() - took;
    put("RESULT test=netbench");
    put_pair("requests", n->reaped);
    put_pair("ns", tsc_to_ns(took));
    put_pair("kicks", n->ring[TX].kicks);
    put_pair("waits", n->ring[TX].irq_waits);
    put_pair("irqs", irq_count[2]);
    put("\n");
}
