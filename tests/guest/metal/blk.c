/* virtio-blk (VIRTIO 1.4, 5.2): data checked both ways, and as many requests as asked for, timed.
 */
#include "tests/guest/metal/metal.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, F_FLUSH = 9, SECTOR = 512 };

typedef struct Header {
    uint32_t type, reserved;
    uint64_t sector;
} Header;
typedef struct Request {
    Header header;
    volatile uint8_t status;
} Request;
typedef struct Blk {
    VDriver d;
    Ring r;
    uint64_t sectors;
    uint64_t requests, data; /* guest memory: SLOTS of each */
    unsigned data_size;
    unsigned submitted, done;
    uint32_t random;
} Blk;

static Blk blk;

static Request *request(const Blk *b, unsigned slot)
{
    return (Request *)(uintptr_t)(b->requests + slot * 64u);
}

static uint64_t *data(const Blk *b, unsigned slot)
{
    return (uint64_t *)(uintptr_t)(b->data + (uint64_t)slot * b->data_size);
}

static void open_disk(Blk *b, unsigned chain, unsigned data_size)
{
    VDriver *d = &b->d;
    unsigned in_use;

    CHECK(pci_find(2, 0, d));
    CHECK(vd_negotiate(d, base_features(d, 1u << F_FLUSH)));
    if (opt.intx) {
        pci_enable_intx(d, 1);
    } else if (opt.msix) {
        pci_enable_msix(d, 0);
    }
    vd_setup_queue(d, 0, (uint16_t)opt.queue_size);
    in_use = opt.indirect ? 1 : chain;
    CHECK(opt.depth <= SLOTS && opt.depth * in_use <= d->ring[0].size);
    ring_init(&b->r, d, 0, chain, 1);
    if (opt.legacy) { /* behind the MSI-X fields if there are any: VIRTIO 1.4, 4.1.4.10 */
        uint64_t at = d->bar[0] + (d->msix ? 24 : 20);

        b->sectors = metal_port.load(NULL, true, at, 4) | metal_port.load(NULL, true, at + 4, 4)
                                                              << 32;
    } else {
        b->sectors = metal_port.load(NULL, false, d->device, 4) |
                     metal_port.load(NULL, false, d->device + 4, 4) << 32;
    }
    b->requests = vd_page(d, SLOTS * 64);
    b->data_size = data_size;
    b->data = d->alloc;
    d->alloc += (uint64_t)SLOTS * data_size;
    b->random = 1;
    vd_driver_ok(d);
    put("blk");
    put_pair("sectors", b->sectors);
    put_pair("size", d->ring[0].size);
    put(" features=");
    put_hex(d->features);
    put("\n");
}

/* Waits for one completion, checks its status; returns the slot. */
static unsigned complete(Blk *b)
{
    unsigned slot;
    uint32_t len;

    while (!ring_get(&b->r, &slot, &len)) {
        if (opt.msix) {
            ring_wait(&b->r);
        } else {
            __asm__ volatile("pause" ::: "memory");
        }
    }
    const Request *q = request(b, slot);
    uint32_t want = 1 + (q->header.type == T_IN ? opt.size : 0);

    if (q->status) {
        metal_die("block request failed, status", q->status);
    }
    if (len != want && len != LEN_UNKNOWN) {
        metal_die("wrong used length", len);
    }
    b->done++;
    return slot;
}

/* The check: every sector's contents name the sector. */

static uint64_t word_of(uint64_t sector, unsigned i, bool written)
{
    uint64_t v = sector * UINT64_C(0x9e3779b97f4a7c15) + i;

    return written ? ~v : v;
}

static void fill(Blk *b, unsigned slot, bool written, uint64_t *ret_bad)
{
    const Request *q = request(b, slot);
    uint64_t *p = data(b, slot);

    for (unsigned i = 0; i < opt.size / 8; i++) {
        uint64_t w = word_of(q->header.sector + i / 64, i % 64, written);

        if (!ret_bad) {
            p[i] = w;
        } else if (p[i] != w) {
            *ret_bad = q->header.sector + i / 64;
            return;
        }
    }
}

static void submit(Blk *b, unsigned slot, unsigned type, uint64_t sector)
{
    Request *q = request(b, slot);
    uint64_t at = b->data + (uint64_t)slot * b->data_size;
    bool in = type == T_IN;
    uint32_t cut = 1 + (b->random = b->random * 1664525 + 1013904223) % (opt.size - 1);
    VBuf buf[4] = { { b->requests + slot * 64u, 16, false }, { at, cut, in },
        { at + cut, opt.size - cut, in }, { b->requests + slot * 64u + 16, 1, true } };

    q->header = (Header){ .type = type, .sector = sector };
    q->status = 0xff;
    if (in) {
        memset(data(b, slot), 0xee, opt.size);
    } else if (type == T_OUT) {
        fill(b, slot, true, NULL);
    }
    if (type == T_FLUSH) {
        buf[1] = buf[3];
    }
    ring_prepare(&b->r, slot, buf, type == T_FLUSH ? 2 : 4);
    ring_put(&b->r, slot);
}

/* All of [from, to) in requests of opt.size, opt.depth at once. Reads are compared. */
static void pass(Blk *b, unsigned type, uint64_t from, uint64_t to, bool written)
{
    unsigned per = opt.size / SECTOR, flying = 0;
    uint64_t at = from, bad = UINT64_MAX;

    for (unsigned i = 0; i < opt.depth && at < to; i++, at += per, flying++) {
        submit(b, i, type, at);
    }
    ring_kick(&b->r);
    while (flying) {
        unsigned slot = complete(b);

        if (type == T_IN) {
            fill(b, slot, written, &bad);
            if (bad != UINT64_MAX) {
                metal_die("wrong data in sector", bad);
            }
        }
        if (at < to) {
            submit(b, slot, type, at);
            at += per;
            ring_kick(&b->r);
        } else {
            flying--;
        }
    }
}

/* One request whose end is told by an interrupt, however fast the device is. */
static void one_by_irq(Blk *b)
{
    uint32_t seen = ring_arm(&b->r);

    submit(b, 0, T_IN, 0);
    ring_kick(&b->r);
    cpu_wait_irq(b->r.irq, seen);
    ring_disarm(&b->r);
    complete(b);
}

static void test_work(void *opaque)
{
    Blk *b = opaque;
    uint64_t half = b->sectors / 2 / (opt.size / SECTOR) * (opt.size / SECTOR);

    if (opt.msix) {
        one_by_irq(b);
    }
    pass(b, T_IN, 0, half, false);
    pass(b, T_OUT, half, 2 * half, true);
    if (b->d.features >> F_FLUSH & 1) {
        submit(b, 0, T_FLUSH, 0);
        ring_kick(&b->r);
        complete(b);
    }
    pass(b, T_IN, half, 2 * half, true);
    pass(b, T_IN, 0, half, false);
}

void blk_test(void)
{
    Blk *b = &blk;

    open_disk(b, 4, opt.size);
    CHECK(opt.size % SECTOR == 0 && b->sectors >= 2);
    cpu_run(test_work, b);
    put("RESULT test=blk");
    put_pair("requests", b->done);
    put_pair("kicks", b->r.kicks);
    put_pair("waits", b->r.irq_waits);
    put_pair("irqs", irq_count[1]);
    put("\n");
    CHECK(!opt.msix || irq_count[1]);
    CHECK(opt.msix || !irq_count[1]);
}

/* The measurement. */

static void bench_work(void *opaque)
{
    Blk *b = opaque;
    Ring *r = &b->r;
    unsigned waiting = 0;

    for (unsigned i = 0; i < opt.depth && b->submitted < opt.n; i++, b->submitted++) {
        ring_put(r, i);
    }
    ring_kick(r);
    while (b->done < opt.n) {
        unsigned slot, got = 0;
        uint32_t len;

        while (ring_get(r, &slot, &len)) {
            if (request(b, slot)->status) {
                metal_die("block request failed, status", request(b, slot)->status);
            }
            b->done++;
            got++;
            if (b->submitted < opt.n) {
                b->submitted++;
                ring_put(r, slot);
                if (opt.batch && ++waiting >= opt.batch) {
                    ring_kick(r);
                    waiting = 0;
                }
            }
        }
        if (got) {
            ring_kick(r);
            waiting = 0;
        } else if (opt.msix && b->done < opt.n) {
            ring_wait(r);
        } else {
            __asm__ volatile("pause" ::: "memory");
        }
    }
}

void blk_bench(void)
{
    Blk *b = &blk;
    uint64_t took, per = (1u + opt.gap) * (opt.size / SECTOR);

    open_disk(b, 3, opt.size);
    for (unsigned i = 0; i < opt.depth; i++) {
        Request *q = request(b, i);
        VBuf buf[3] = { { b->requests + i * 64u, 16, false },
            { b->data + (uint64_t)i * b->data_size, opt.size, !opt.write },
            { b->requests + i * 64u + 16, 1, true } };

        q->header = (Header){ .type = opt.write ? T_OUT : T_IN,
            .sector = (uint64_t)i * per % (b->sectors - per) };
        ring_prepare(&b->r, i, buf, 3);
    }
    took = tsc();
    cpu_run(bench_work, b);
    took = tsc() - took;
    put("RESULT test=blkbench");
    put_pair("requests", b->done);
    put_pair("ns", tsc_to_ns(took));
    put_pair("kicks", b->r.kicks);
    put_pair("waits", b->r.irq_waits);
    put_pair("irqs", irq_count[1]);
    put("\n");
}

/* Registers and doorbells of an idle device: VIRTIO 1.4, 4.1.4.3 and 4.1.4.4. */

static uint64_t took_read, took_config, took_notify;

static void reg_work(void *opaque)
{
    Blk *b = opaque;
    const VDriver *d = &b->d;
    volatile uint8_t *status = (volatile uint8_t *)(uintptr_t)(d->common + 0x14);
    volatile uint32_t *config = (volatile uint32_t *)(uintptr_t)d->device;
    uint64_t at = tsc();

    for (unsigned i = 0; i < opt.n; i++) {
        (void)*status;
    }
    took_read = tsc() - at;
    at = tsc();
    for (unsigned i = 0; i < opt.n; i++) {
        (void)*config;
    }
    took_config = tsc() - at;
    at = tsc();
    for (unsigned i = 0; i < opt.n; i++) {
        metal_port.store(NULL, b->r.kick_io, b->r.kick_at, b->r.kick_size, 0);
    }
    took_notify = tsc() - at;
}

void reg_bench(void)
{
    Blk *b = &blk;

    CHECK(!opt.legacy);
    open_disk(b, 3, opt.size);
    cpu_run(reg_work, b);
    CHECK(vd_status(&b->d) == 15);
    put("RESULT test=regbench");
    put_pair("n", opt.n);
    put_pair("read_ns", tsc_to_ns(took_read));
    put_pair("config_ns", tsc_to_ns(took_config));
    put_pair("notify_ns", tsc_to_ns(took_notify));
    put("\n");
}
