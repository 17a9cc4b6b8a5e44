/* Rings of every size, laps around them, chains and tables as long as they may be, queues that are
 * reset and come back elsewhere, and VQ_STOP at every place of a ring (VIRTIO 1.4, 2.6-2.8). */
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"

#include <stdio.h>

enum { PACKED = 1, IN_ORDER = 2, DATA_AT = 0x800000, TABLE_AT = 0xa00000 };

typedef struct Fix {
    Board *b;
    Dummy *s;
    VDriver d;
    VRing *r; /* request queue */
    uint16_t lens[1 << 16];
} Fix;

static void up_without(Fix *x, unsigned how, unsigned max_size)
{
    g_autofree char *json =
        g_strdup_printf("{'driver': 'dummy-pci', 'addr': '4', 'packed': %s, 'in_order': %s, "
                        "'queue-size': %u}",
            how & PACKED ? "true" : "false", how & IN_ORDER ? "true" : "false", max_size);

    x->b = board_new(false);
    x->s = dummy_of(board_add(x->b, json));
    vd_open(&x->d, &x->b->port, 0, 4 << 3, false);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    x->r = &x->d.ring[0];
}

static void set_up_queue(Fix *x, unsigned size)
{
    vd_setup_queue(&x->d, 0, (uint16_t)size);
    x->r->len_more = x->lens;
    g_assert_cmpuint(x->r->size, ==, size);
}

static Fix *up(unsigned how, unsigned max_size, unsigned size)
{
    Fix *x = g_new0(Fix, 1);

    up_without(x, how, max_size);
    set_up_queue(x, size);
    vd_driver_ok(&x->d);
    board_run(x->b);
    return x;
}

static void down(Fix *x)
{
    board_free(x->b);
    g_free(x);
}

static void kick(Fix *x)
{
    vd_kick(&x->d, 0);
    board_run(x->b);
}

/* Request number n: out and in, each 4 bytes, in n buffers. */
static uint16_t add(Fix *x, unsigned number, unsigned n)
{
    uint64_t at = DATA_AT + number % 4096 * 64;
    VBuf buf[4] = { { at, n == 2 ? 4 : 2, false }, { at + 32, 4, true } };

    if (n == 3) {
        buf[1] = (VBuf){ at + 2, 2, false };
        buf[2] = (VBuf){ at + 32, 4, true };
    } else if (n == 1) {
        buf[0].len = 4;
    }
    vport_w32(&x->b->port, at, number);
    vport_w32(&x->b->port, at + 32, 0);
    return vring_add(x->r, buf, n, 0);
}

static void expect(Fix *x, unsigned number, uint16_t want, unsigned n)
{
    uint32_t id, len;

    g_assert_true(vring_used(x->r, &id, &len));
    g_assert_cmpuint(id, ==, want);
    g_assert_cmpuint(len, ==, n == 1 ? 0 : 4);
    if (n > 1) {
        g_assert_cmpuint(vport_r32(&x->b->port, DATA_AT + number % 4096 * 64 + 32), ==, number);
    }
}

/* Laps: as many requests at once as fit, until the ring has gone around more than twice. */
static void laps(Fix *x, unsigned total)
{
    unsigned size = x->r->size, n = MIN(size, 2), number = 0;

    while (number < total) {
        unsigned batch = MIN(MIN(size / n, 4000), total - number);
        g_autofree uint16_t *ids = g_new(uint16_t, batch);

        for (unsigned i = 0; i < batch; i++) {
            ids[i] = add(x, number + i, n);
        }
        kick(x);
        for (unsigned i = 0; i < batch; i++) {
            expect(x, number + i, ids[i], n);
        }
        number += batch;
    }
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

static void test_laps(gconstpointer arg)
{
    unsigned how = GPOINTER_TO_UINT(arg) & 3, size = GPOINTER_TO_UINT(arg) >> 2;
    Fix *x = up(how, 32768, size);

    laps(x, size > 4000 ? size + 100 : MAX(3 * size + 1, 10));
    down(x);
}

static void test_refused(gconstpointer arg)
{
    static const uint16_t odd[] = { 3, 100, 32767 };
    unsigned how = GPOINTER_TO_UINT(arg);
    g_autofree Fix *x = g_new0(Fix, 1);

    up_without(x, how, 32768);
    vd_write(&x->d, 0x16, 2, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 32768);
    vd_write(&x->d, 0x18, 2, 32769); /* more than there is */
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 32768);
    for (unsigned i = 0; i < G_N_ELEMENTS(odd); i++) {
        vd_write(&x->d, 0x18, 2, odd[i]);
        g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, how & PACKED ? odd[i] : 32768);
    }
    board_free(x->b);
}

static VqVerdict count_pieces(Dummy *s, VqElem *e)
{
    s->refills = giov_pieces(&e->out);
    return VQ_DONE;
}

/* A chain may have as many buffers as the queue, a table as many as that or 1024. */
static void one_chain(Fix *x, unsigned n, uint64_t table, bool good)
{
    g_autofree VBuf *buf = g_new(VBuf, n);
    uint32_t id, len;

    for (unsigned i = 0; i < n; i++) {
        buf[i] = (VBuf){ DATA_AT + i * 8, 4, false };
    }
    x->s->on_request = count_pieces;
    x->s->refills = 0;
    vring_add(x->r, buf, n, table);
    kick(x);
    g_assert_true(vring_used(x->r, &id, &len) == good);
    g_assert_cmpuint(x->s->refills, ==, good ? n : 0);
    g_assert_cmphex(vd_status(&x->d), ==, good ? 15 : 0x4f);
}

static void test_longest(gconstpointer arg)
{
    static const unsigned sizes[] = { 4, 1024, 4096, 32768 };
    unsigned how = GPOINTER_TO_UINT(arg);

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        unsigned most = MAX(sizes[i], 1024);
        Fix *x = up(how, sizes[i], sizes[i]);

        one_chain(x, sizes[i], 0, true);
        one_chain(x, most, TABLE_AT, true);
        one_chain(x, most + 1, TABLE_AT, false);
        down(x);
    }
}

/* RING_RESET: back with another size, elsewhere, again and again. */
static void test_reset_resize(gconstpointer arg)
{
    static const uint16_t split[] = { 256, 2, 32768, 16, 1024, 1, 64 };
    static const uint16_t packed[] = { 256, 3, 32768, 17, 1000, 1, 77 };
    unsigned how = GPOINTER_TO_UINT(arg);
    Fix *x = up(how, 32768, 128);

    for (unsigned i = 0; i < G_N_ELEMENTS(split); i++) {
        uint64_t was = x->r->desc;

        laps(x, 200);
        vd_write(&x->d, 0x16, 2, 0);
        vd_write(&x->d, 0x3a, 2, 1);
        g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
        g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
        g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 32768);
        add(x, 1, 1);
        kick(x); /* nobody looks at the old ring any more */
        g_assert_cmpuint(x->s->requests, ==, 200 * (i + 1));
        if (x->d.alloc > 0x500000) {
            x->d.alloc = 0x140000;
        }
        set_up_queue(x, how & PACKED ? packed[i] : split[i]);
        g_assert_cmphex(x->r->desc, !=, was);
    }
    laps(x, 100);
    down(x);
}

/* Where the next chains stop, once. */
static unsigned stop_at, seen;

static VqVerdict stop_once(Dummy *s, VqElem *e)
{
    uint8_t buf[4];

    if (seen++ == stop_at) {
        uint8_t junk;

        g_assert_true(giov_get(&e->out, &junk, 1)); /* what it did to the cursors is forgotten */
        return VQ_STOP;
    }
    g_assert_true(giov_get(&e->out, buf, 4));
    return !e->in.left || giov_put(&e->in, buf, 4) ? VQ_DONE : VQ_STOP;
}

static VqVerdict hold(Dummy *s, VqElem *e)
{
    g_ptr_array_add(s->held, e);
    return VQ_HELD;
}

/* Five chains from each place of a ring, the device stops at each of them: it comes again first,
 * and the ones behind it in order. Older chains may still be out. */
static void stop_from(unsigned how, unsigned size, unsigned from, unsigned at, bool older)
{
    Fix *x = up(how, 16, size);
    uint16_t ids[5], old_id = 0;

    laps(x, from);
    if (older) {
        x->s->on_request = hold;
        old_id = add(x, 77, 2);
        kick(x);
    }
    x->s->on_request = stop_once;
    stop_at = at;
    seen = 0;
    for (unsigned i = 0; i < 5; i++) {
        ids[i] = add(x, 100 + i, 1 + i % 3);
    }
    kick(x);
    kick(x);
    g_assert_cmpuint(seen, ==, at + 1);
    vq_resume(virtio_queue(&x->s->vd, 0));
    board_run(x->b);
    g_assert_cmpuint(seen, ==, 6);
    if (older) {
        VqElem *e = g_ptr_array_steal_index(x->s->held, 0);
        VirtQueue *vq = e->vq;
        uint32_t word = 77;

        if (how & IN_ORDER) {
            uint32_t id, len;

            g_assert_false(vring_used(x->r, &id, &len));
        }
        g_assert_true(giov_put(&e->in, &word, 4));
        vq_push(e);
        vq_notify(vq);
        if (how & IN_ORDER) {
            expect(x, 77, old_id, 2);
        }
    }
    for (unsigned i = 0; i < 5; i++) {
        expect(x, 100 + i, ids[i], 1 + i % 3);
    }
    if (older && !(how & IN_ORDER)) {
        expect(x, 77, old_id, 2);
    }
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    down(x);
}

static void test_stop(gconstpointer arg)
{
    unsigned how = GPOINTER_TO_UINT(arg), size = how & PACKED ? 13 : 16;

    for (unsigned from = 0; from <= size; from++) {
        for (unsigned at = 0; at < 5; at++) {
            stop_from(how, size, from, at, (from + at) % 2);
        }
    }
}

/* A request whose handler resets the device, by the driver's way or the machine's: nothing that was
 * taken with it is published, and the device starts again. */
static bool by_machine;

static VqVerdict reset_in_third(Dummy *s, VqElem *e)
{
    if (seen++ == 2) {
        if (by_machine) {
            virtio_reset_now(&s->vd);
        } else {
            virtio_set_status(&s->vd, 0);
        }
    }
    return VQ_DONE;
}

static void test_reset_inside(gconstpointer arg)
{
    unsigned how = GPOINTER_TO_UINT(arg);

    for (unsigned i = 0; i < 2; i++) {
        Fix *x = up(how, 64, 64);
        uint32_t id, len;

        by_machine = i;
        seen = 0;
        x->s->on_request = reset_in_third;
        for (unsigned k = 0; k < 5; k++) {
            add(x, k, 2);
        }
        kick(x);
        g_assert_cmpuint(seen, ==, 3);
        g_assert_false(vring_used(x->r, &id, &len));
        g_assert_cmphex(vd_status(&x->d), ==, 0);
        x->s->on_request = NULL;
        vd_set_status(&x->d, 0); /* the transport's registers, after a reset behind its back */
        g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
        set_up_queue(x, 64);
        vd_driver_ok(&x->d);
        laps(x, 40);
        down(x);
    }
}

/* Queues are enabled one by one: what lies in the others waits. */
static void test_enable_one(void)
{
    g_autofree Fix *x = g_new0(Fix, 1);
    uint16_t id;

    up_without(x, 0, 16);
    vd_driver_ok(&x->d);
    vd_write(&x->d, 0x16, 2, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
    set_up_queue(x, 16);
    id = add(x, 5, 2);
    kick(x);
    expect(x, 5, id, 2);
    vd_write(&x->d, 0x16, 2, 1);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
    g_assert_cmpuint(x->s->refills, ==, 0);
    board_free(x->b);
}

static unsigned long rss_kib(void)
{
    g_autofree char *text = NULL;
    unsigned long pages[2] = { 0 };

    g_assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    g_assert_cmpint(sscanf(text, "%lu %lu", &pages[0], &pages[1]), ==, 2);
    return pages[1] * 4;
}

/* The largest rings cost the host little before they are used, and no more after a reset. */
static void test_weight(gconstpointer arg)
{
    unsigned how = GPOINTER_TO_UINT(arg);
    g_autofree Fix *x = g_new0(Fix, 1);
    unsigned long before = 0, after;

    up_without(x, how, 32768);
    set_up_queue(x, 32768);
    vd_driver_ok(&x->d);
    for (unsigned i = 0; i < 20; i++) {
        if (i == 3) { /* by now the ring, which is guest memory, was in all of its places */
            before = rss_kib();
        }
        vd_write(&x->d, 0x16, 2, 0);
        vd_write(&x->d, 0x3a, 2, 1);
        set_up_queue(x, 32768);
        x->d.alloc = 0x140000;
        uint16_t id = add(x, 1, 2);

        kick(x);
        expect(x, 1, id, 2);
    }
    after = rss_kib();
    g_test_message("%lu KiB grown", after - before);
    g_assert_cmpuint(after, <, before + 512);
    board_free(x->b);
}

static void add_test(const char *name, unsigned how, unsigned arg, GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/vq-size/%s%s/%s", how & PACKED ? "packed" : "split",
        how & IN_ORDER ? "-in-order" : "", name);

    g_test_add_data_func(path, GUINT_TO_POINTER(arg), fn);
}

int main(int argc, char **argv)
{
    static const unsigned split[] = { 1, 2, 256, 32768 },
                          packed[] = { 1, 2, 3, 7, 100, 1000, 32767, 32768 };

    g_test_init(&argc, &argv, NULL);
    loop_main();
    for (unsigned how = 0; how < 4; how++) {
        const unsigned *sizes = how & PACKED ? packed : split;
        unsigned n = how & PACKED ? G_N_ELEMENTS(packed) : G_N_ELEMENTS(split);

        for (unsigned i = 0; i < n; i++) {
            g_autofree char *name = g_strdup_printf("laps-of-%u", sizes[i]);

            /* The test's driver remembers 1024 chains in order. */
            if (!(how & IN_ORDER) || sizes[i] <= 1024) {
                add_test(name, how, how | sizes[i] << 2, test_laps);
            }
        }
        add_test("stop-anywhere", how, how, test_stop);
        add_test("reset-inside-a-request", how, how, test_reset_inside);
    }
    for (unsigned how = 0; how < 2; how++) {
        add_test("sizes-refused", how, how, test_refused);
        add_test("longest-chain-and-table", how, how, test_longest);
        add_test("reset-with-new-size-and-place", how, how, test_reset_resize);
        add_test("large-rings-weigh-little", how, how, test_weight);
    }
    g_test_add_func("/vq-size/one-queue-enabled", test_enable_one);
    return g_test_run();
}
