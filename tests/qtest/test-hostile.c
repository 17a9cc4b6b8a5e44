/*
 * Hostile drivers against every virtio device of the real binary, one class of bugs after another:
 * descriptors that point at devices, chains that loop, indices that jump, registers changed while
 * the device runs, memory that changes while it is read, resets with requests in flight. What is
 * broken is noticed once, with one line in the log and little work; a reset makes it good.
 */
#include "tests/qtest/hostile.h"

#include <stdatomic.h>
#include <string.h>

enum { N = VRING_NEXT, W = VRING_WRITE, I = VRING_INDIRECT, TABLE = 0x900000, DATA = 0xa00000 };

/* One descriptor that points where no memory is. The device itself, others, the interrupt
 * controllers: refused, so nothing is entered from within. */
static void c1(Hostile *x)
{
    const VDriver *d = &x->d;
    const uint64_t places[] = { d->notify, d->common, d->device, d->bar[1], 0xfec00000, 0xe0000000,
        HOSTILE_RAM, UINT64_MAX - 7 };

    for (unsigned packed = 0; packed < 2; packed++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
            hostile_start(x, packed);
            if (i % 2) {
                hostile_desc(x, 0, places[i], 8, W, 0);
                hostile_avail(x, 0);
            } else {
                hostile_desc(x, 0, DATA, 8, N, 1);
                hostile_desc(x, 1, places[i], 8, W, 0);
                hostile_avail(x, 0);
            }
            hostile_noticed(x);
        }
    }
    /* The rings themselves in a BAR. */
    hostile_start(x, false);
    vd_set_status(d, 0);
    g_assert_true(vd_negotiate(&x->d, vd_offered(d) & ~(1ull << 34)));
    vd_write(d, 0x16, 2, x->t->queue);
    for (unsigned reg = 0x20; reg < 0x38; reg += 8) {
        vd_write(d, reg, 4, (uint32_t)d->common);
    }
    vd_write(d, 0x1c, 2, 1);
    vd_driver_ok(&x->d);
    hostile_noticed(x);
    /* A message to the device's own notify address: a write that goes nowhere. */
    x->d.alloc = 0x100000;
    vd_enable_msix(&x->d);
    for (unsigned v = 0; v < 2; v++) {
        x->port.store(x->port.opaque, false, x->d.bar[1] + v * 16, 4, x->d.notify);
    }
    hostile_start(x, false);
    hostile_alive(x);
    vd_cfg_write(&x->port, d->bus, d->devfn, d->cap_msix + 2, 2, 0);
    x->d.msix = false;
    hostile_start(x, true);
    hostile_alive(x);
}

/* Shapes of chains (VIRTIO 1.4, 2.7.4, 2.7.5, 2.8.6-2.8.8). */
static void table(Hostile *x, unsigned i, uint64_t at, uint32_t len, unsigned flags, unsigned next)
{
    VRing t = { .port = &x->port, .packed = x->packed, .size = 256, .desc = TABLE };

    vring_desc(&t, i, at, len, (uint16_t)flags, (uint16_t)next);
}

static void all_next(Hostile *x)
{
    for (unsigned i = 0; i < x->r->size; i++) {
        hostile_desc(x, i, DATA, 4, N, (i + 1) % x->r->size);
    }
}

static void self_link(Hostile *x)
{
    hostile_desc(x, 0, DATA, 4, N, 0);
    if (x->packed) {
        all_next(x);
    }
}

static void next_outside(Hostile *x)
{
    hostile_desc(x, 0, DATA, 4, N, x->r->size);
    if (x->packed) {
        all_next(x);
    }
}

static void no_length(Hostile *x)
{
    hostile_desc(x, 0, DATA, 0, W, 0);
}

static void four_gigabytes(Hostile *x)
{
    hostile_desc(x, 0, DATA, UINT32_MAX, W, 0);
}

static void read_after_write(Hostile *x)
{
    hostile_desc(x, 0, DATA, 8, W | N, 1);
    hostile_desc(x, 1, DATA, 8, 0, 0);
}

static void nested_table(Hostile *x)
{
    hostile_desc(x, 0, TABLE, 16, I, 0);
    table(x, 0, TABLE, 16, I, 0);
}

static void odd_table(Hostile *x)
{
    hostile_desc(x, 0, TABLE, 17, I, 0);
    table(x, 0, DATA, 8, W, 0);
}

static void empty_table(Hostile *x)
{
    hostile_desc(x, 0, TABLE, 0, I, 0);
}

static void long_table(Hostile *x)
{
    hostile_desc(x, 0, TABLE, 16u << 20, I, 0);
}

static void table_outside(Hostile *x)
{
    hostile_desc(x, 0, x->d.common, 32, I, 0);
}

static void looping_table(Hostile *x)
{
    hostile_desc(x, 0, TABLE, 32, I, 0);
    table(x, 0, DATA, 8, x->packed ? I : N, 0);
    table(x, 1, DATA, 8, W, 0);
}

static void table_and_next(Hostile *x)
{
    hostile_desc(x, 0, TABLE, 16, I | N, 1);
    table(x, 0, DATA, 0, W, 0);
    hostile_desc(x, 1, DATA, 8, W, 0);
}

/* Flags in a packed ring's table are reserved and ignored, but for WRITE (2.8.7): what would be a
 * fault there is a buffer like any other. */
static const struct {
    void (*make)(Hostile *x);
    bool split_only;
} shapes[] = {
    { self_link, false },
    { all_next, false },
    { next_outside, false },
    { no_length, false },
    { four_gigabytes, false },
    { read_after_write, false },
    { nested_table, true },
    { odd_table, false },
    { empty_table, false },
    { long_table, false },
    { table_outside, false },
    { looping_table, true },
    { table_and_next, false },
};

static void c2(Hostile *x)
{
    double cpu = hostile_cpu(x);

    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(shapes); i++) {
        hostile_start(x, i & 1);
        shapes[i / 2].make(x);
        hostile_avail(x, 0);
        if (x->packed && shapes[i / 2].split_only) {
            hostile_kick(x);
            x->port.step(x->port.opaque);
        } else {
            hostile_noticed(x);
        }
    }
    g_assert_cmpfloat(hostile_cpu(x) - cpu, <, 2);
    hostile_start(x, false);
    hostile_alive(x);
}

/* Indices (2.7.6, 2.8.1). */
static void c3(Hostile *x)
{
    uint32_t id, len;

    for (unsigned i = 0; i < 3; i++) {
        hostile_start(x, false);
        hostile_alive(x);
        vring_set_avail_idx(x->r, (uint16_t)(x->r->avail + (i == 0      ? x->r->size + 1u
                                                               : i == 1 ? 0x8000u
                                                                        : 0xffffu)));
        hostile_noticed(x);
    }
    hostile_start(x, false);
    hostile_avail(x, x->r->size);
    hostile_noticed(x);
    hostile_start(x, false);
    hostile_avail(x, 0xffff);
    hostile_noticed(x);
    /* Flags of another lap: not available, whatever else the descriptor says. */
    for (unsigned flags = 0; flags < 4; flags++) {
        if (flags == 1) {
            continue;
        }
        hostile_start(x, true);
        vring_desc(x->r, 0, DATA, 8, (uint16_t)(W | (flags & 1) << 7 | (flags >> 1) << 15), 0);
        hostile_kick(x);
        x->port.step(x->port.opaque);
        g_assert_cmphex(vd_status(&x->d), ==, 15);
    }
    hostile_start(x, true);
    hostile_alive(x);
    g_assert_false(vring_used(x->r, &id, &len));
}

/* A head, or a buffer id, that is out already: noticed when the first is still in flight. A device
 * that answers at once may have served it before it sees the second. */
static void c3_twice(Hostile *x)
{
    bool slow = strstr(x->t->driver, "blk") != NULL; /* each request goes to a slow back end */

    for (unsigned i = 0; i < 16; i++) {
        uint32_t id, len;
        unsigned served = 0, want = 2 + i / 2 % 2;

        hostile_start(x, i & 1);
        unsigned head = hostile_put(x);

        for (unsigned more = 1; more < want; more++) {
            if (x->packed) {
                x->r->free_head = (uint16_t)head;
                g_assert_cmpuint(hostile_put(x), ==, head);
            } else {
                vring_avail(x->r, (uint16_t)head);
            }
        }
        hostile_kick(x);
        for (gint64 until = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
             served < want && !(vd_status(&x->d) & 0x40);) {
            g_assert_cmpint(g_get_monotonic_time(), <, until);
            if (x->t->fed) { /* a frame for each */
                hostile_kick(x);
            }
            x->port.step(x->port.opaque);
            while (served < want && vring_used(x->r, &id, &len)) {
                g_assert_cmpuint(id, ==, head);
                served++;
            }
        }
        g_assert_cmpuint(vd_status(&x->d) & 0x40, ==, served < want ? 0x40 : 0);
        g_assert_true(!slow || served < want);
        vd_set_status(&x->d, 0);
        hostile_wait_reset(x);
    }
    hostile_start(x, false);
    hostile_alive(x);
}

/* Registers while the device runs (4.1.4.3.2): they keep what they had, and data moves on. */
static void c4(Hostile *x)
{
    static const struct {
        uint8_t reg, size;
        uint32_t val;
    } writes[] = { { 0x18, 2, 4 }, { 0x18, 2, 0 }, { 0x18, 2, 3 }, { 0x18, 2, 0xffff },
        { 0x20, 4, 0x123000 }, { 0x24, 4, 1 }, { 0x28, 4, 0xffffffff }, { 0x30, 4, 0 },
        { 0x1c, 2, 0 }, { 0x1c, 2, 1 }, { 0x1c, 2, 0xffff }, { 0x1e, 2, 7 }, { 0x12, 2, 1 },
        { 0x04, 4, 0xffffffff }, { 0x3a, 2, 0 }, { 0x3a, 2, 0xfffe } };

    for (unsigned packed = 0; packed < 2; packed++) {
        hostile_start(x, packed);
        const VDriver *d = &x->d;

        for (unsigned i = 0; i < G_N_ELEMENTS(writes); i++) {
            vd_write(d, 0x16, 2, x->t->queue);
            uint64_t before = vd_read(d, writes[i].reg, writes[i].size);

            vd_write(d, writes[i].reg, writes[i].size, writes[i].val);
            g_assert_cmphex(vd_read(d, writes[i].reg, writes[i].size), ==, before);
        }
        hostile_alive(x);
        vd_write(d, 8, 4, 0); /* features: negotiated is negotiated */
        vd_write(d, 0x0c, 4, 0);
        vd_write(d, 8, 4, 1);
        vd_write(d, 0x0c, 4, 0);
        hostile_alive(x);
        for (unsigned q = 0; q < 4; q++) { /* queues that are not there */
            static const uint16_t none[] = { 1024, 0x7fff, 0x8000, 0xffff };

            vd_write(d, 0x16, 2, none[q]);
            g_assert_cmpuint(vd_read(d, 0x18, 2), ==, 0);
            vd_write(d, 0x18, 2, 16);
            vd_write(d, 0x20, 4, 0x100000);
            vd_write(d, 0x1a, 2, 0);
            vd_write(d, 0x1c, 2, 1);
            g_assert_cmpuint(vd_read(d, 0x1c, 2), ==, 0);
            x->port.store(
                x->port.opaque, d->notify_io, d->notify + none[q] % 0x400 * 4, 2, none[q]);
        }
        vd_write(d, 0x10, 2, 0x7ff); /* vectors that are not there */
        g_assert_cmphex(vd_read(d, 0x10, 2), ==, 0xffff);
        vd_write(d, 0x16, 2, x->t->queue);
        vd_write(d, 0x1a, 2, 0xfff0);
        g_assert_cmphex(vd_read(d, 0x1a, 2), ==, 0xffff);
        hostile_alive(x);
    }
    /* Sizes that cannot be, before the queue is enabled. */
    vd_set_status(&x->d, 0);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d) & ~(1ull << 34)));
    vd_write(&x->d, 0x16, 2, x->t->queue);
    uint64_t max = vd_read(&x->d, 0x18, 2);
    const uint64_t sizes[] = { 0, 3, max - 1, max * 2, 0xffff };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        vd_write(&x->d, 0x18, 2, sizes[i]);
        g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, max);
    }
    hostile_start(x, false);
    hostile_alive(x);
}

/* Memory that another processor changes while the device reads it. */
typedef struct Flip {
    _Atomic bool stop;
    uint8_t *ring, *data;
    size_t len;
} Flip;

static void *flip(void *opaque)
{
    Flip *f = opaque;
    uint64_t s = 88172645463325252;

    while (!atomic_load(&f->stop)) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        _Atomic uint8_t *at = (_Atomic uint8_t *)(s & 1 ? f->data + s % 64 : f->ring + s % f->len);
        uint8_t was = atomic_load(at);

        atomic_store(at, (uint8_t)(s >> 32));
        if (s >> 40 & 3) {
            atomic_store(at, was);
        }
    }
    return NULL;
}

static void c5(Hostile *x)
{
    double cpu = hostile_cpu(x);

    for (unsigned round = 0; round < 40; round++) {
        hostile_start(x, round & 1);
        Flip f = { .ring = x->ram + x->r->desc,
            .data = x->ram + 0x800000,
            .len = x->packed ? 16u * 8 : vring_end(x->r) - x->r->desc };
        GThread *t = g_thread_new("flip", flip, &f);

        for (unsigned i = 0; i < 20 && !(vd_status(&x->d) & 0x40); i++) {
            hostile_good(x);
        }
        atomic_store(&f.stop, true);
        g_thread_join(t);
        vd_set_status(&x->d, 0);
        for (unsigned steps = 0; vd_status(&x->d); steps++) {
            g_assert_cmpuint(steps, <, 100000);
        }
    }
    hostile_start(x, false);
    hostile_alive(x);
    g_assert_cmpfloat(hostile_cpu(x) - cpu, <, 5);
}

/* A hundred broken chains and as many resets: the memory of the process stays, the log is short. */
static void repeat(Hostile *x)
{
    uint64_t rss = 0;
    gint64 at = g_get_monotonic_time();
    double cpu = hostile_cpu(x);

    for (unsigned i = 0; i < 400; i++) {
        if (i == 100) {
            rss = hostile_rss(x);
        }
        hostile_start(x, i & 1);
        all_next(x);
        hostile_avail(x, 0);
        hostile_kick(x);
        hostile_broken(x);
        vd_set_status(&x->d, 0);
    }
    g_assert_cmpuint(hostile_rss(x), <, rss + (512 << 10));
    g_assert_cmpuint(
        hostile_log_lines(x), <=, 12 * (2 + (g_get_monotonic_time() - at) / G_USEC_PER_SEC));
    g_assert_cmpfloat(hostile_cpu(x) - cpu, <, 10);
}

/* Resets with requests in flight, and with a back end that takes its time. */
static void in_flight(Hostile *x, bool packed)
{
    hostile_start(x, packed);
    for (unsigned i = 0; i < 4; i++) {
        hostile_good(x);
    }
}

static void again(Hostile *x, bool packed)
{
    hostile_start(x, packed);
    hostile_alive(x);
}

static void c9(Hostile *x)
{
    const VDriver *d = &x->d;

    for (unsigned packed = 0; packed < 2; packed++) {
        in_flight(x, packed);
        vd_set_status(d, 0);
        hostile_wait_reset(x);
        again(x, packed);

        in_flight(x, packed);
        vd_cfg_write(&x->port, d->bus, d->devfn, 4, 2, 3); /* bus master off */
        x->port.step(x->port.opaque);
        vd_cfg_write(&x->port, d->bus, d->devfn, 4, 2, 7);
        vd_set_status(d, 0);
        hostile_wait_reset(x);
        again(x, packed);

        in_flight(x, packed);
        json_unref(qtv_qmp(x->q, "{'execute': 'system_reset'}"));
        g_assert_true(qtv_wait_event(x->q, "RESET"));
        vd_open(&x->d, &x->port, 0, HOSTILE_DEVFN, false);
        again(x, packed);
    }
}

/* Function level reset, which a conventional function does not have (PCIe 5.0, 6.6.2). */
static void c9_flr(Hostile *x)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        VDriver *d = &x->d;

        g_assert_cmpuint(d->cap_pcie, !=, 0);
        in_flight(x, packed);
        vd_cfg_write(&x->port, 1, 0, d->cap_pcie + 8, 2, 0x8000);
        g_assert_cmphex(vd_cfg_read(&x->port, 1, 0, 4, 2) & 7, ==, 0);
        vd_open(d, &x->port, 1, 0, false);
        hostile_wait_reset(x);
        again(x, packed);
    }
}

static const struct {
    const char *name;
    void (*fn)(Hostile *x);
    bool slow, express;
} classes[] = {
    { "c1-devices-as-memory", c1, false, false },
    { "c2-chains", c2, false, false },
    { "c3-indices", c3, false, false },
    { "c3-twice-in-flight", c3_twice, true, false },
    { "c4-registers", c4, false, false },
    { "c5-changing-memory", c5, false, false },
    { "c9-resets", c9, true, false },
    { "c9-function-reset", c9_flr, true, true },
    { "repeated", repeat, false, false },
};

static void run(const void *data)
{
    unsigned i = GPOINTER_TO_UINT(data);
    unsigned class = i % G_N_ELEMENTS(classes);
    Hostile x;

    if (hostile_up(&x, &hostile_types[i / G_N_ELEMENTS(classes)], classes[class].slow,
            classes[class].express)) {
        classes[class].fn(&x);
        hostile_down(&x);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < hostile_ntypes * G_N_ELEMENTS(classes); i++) {
        const HostileType *t = &hostile_types[i / G_N_ELEMENTS(classes)];
        g_autofree char *name = g_strjoin("-", t->driver, t->part, NULL),
                        *path = g_strdup_printf(
                            "/hostile/%s/%s", name, classes[i % G_N_ELEMENTS(classes)].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), run);
    }
    return g_test_run();
}
