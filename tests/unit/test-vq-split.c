/* Both rings through a programmable device: used lengths, verdicts, suppression, and what a hostile
 * driver may try. */
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"
#include "util/fd.h"
#include "util/log.h"

#include <glib/gstdio.h>
#include <string.h>

enum { PACKED = 1, NO_EVENT = 2, IN_ORDER = 4 };
#define EVENT_IDX (1ull << 29)

typedef struct Fix {
    Board *b;
    Dev *dev;
    Dummy *s;
    VDriver d;
    VRing *r; /* request queue */
    uint64_t page;
    char *log; /* -d guest_errors */
} Fix;

static void log_open(Fix *x)
{
    g_autoptr(GError) err = NULL;
    autofd fd = g_file_open_tmp("vq-XXXXXX", &x->log, &err);

    g_assert_no_error(err);
    g_assert_true(log_set_file(x->log, &err) && log_set_items("guest_errors", &err));
}

static void up(Fix *x, const void *how)
{
    unsigned f = GPOINTER_TO_UINT(how);

    log_open(x);
    x->b = board_new(false);
    x->dev = board_add(
        x->b, f & PACKED ? "{'driver': 'dummy-pci', 'addr': '4', 'packed': true, 'in_order': true}"
                         : "{'driver': 'dummy-pci', 'addr': '4', 'in_order': true}");
    x->s = dummy_of(x->dev);
    vd_open(&x->d, &x->b->port, 0, 4 << 3, false);
    vd_enable_msix(&x->d);
    vd_start(&x->d, (f & NO_EVENT ? EVENT_IDX : 0) | (f & IN_ORDER ? 0 : 1ull << 35));
    board_run(x->b);
    x->r = &x->d.ring[0];
    x->page = vd_page(&x->d, 0x10000);
}

static void down(Fix *x, const void *how)
{
    x->s->keep_on_stop = false;
    while (x->s->held->len) {
        vq_drop(g_ptr_array_steal_index(x->s->held, 0));
    }
    board_free(x->b);
    g_unlink(x->log);
    g_free(x->log);
}

/* One line: the device, the queue, what is wrong, and where the standard says so. */
static void expect_reason(Fix *x)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(x->log, &text, NULL, NULL));
    g_test_message("%s", text);
    g_assert_true(g_regex_match_simple(
        "\\Adummy-pci \\(/machine/\\S+\\): needs a reset: queue 0 \\(\\w+\\): [^\n]+ "
        "\\(VIRTIO 1\\.4, \\d[0-9.]+(, [0-9.]+)?\\)\n\\z",
        text, 0, 0));
}

static void kick(Fix *x)
{
    vd_kick(&x->d, 0);
    board_run(x->b);
}

static void expect_used(Fix *x, uint32_t id, uint32_t len)
{
    uint32_t got_id, got_len;

    g_assert_true(vring_used(x->r, &got_id, &got_len));
    g_assert_cmpuint(got_id, ==, id);
    g_assert_cmpuint(got_len, ==, len);
}

static void expect_no_used(Fix *x)
{
    uint32_t id, len;

    g_assert_false(vring_used(x->r, &id, &len));
}

static void expect_broken(Fix *x)
{
    expect_reason(x);
    g_assert_cmphex(vd_status(&x->d), ==, 15 | 0x40);
    g_assert_cmphex(vd_msi(&x->d, 0), ==, 0x4000); /* a configuration change notification: 2.1.2 */
    expect_no_used(x);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
}

static void test_echo(Fix *x, const void *how)
{
    const VBuf buf[] = { { x->page, 5, false }, { x->page + 100, 40, true },
        { x->page + 200, 24, true } };
    char got[6] = "";
    uint16_t id;

    x->b->port.write(x->b, x->page, "hello", 5);
    id = vring_add(x->r, buf, 3, 0);
    kick(x);
    expect_used(x, id, 5);
    x->b->port.read(x->b, x->page + 100, got, 5);
    g_assert_cmpstr(got, ==, "hello");
    g_assert_cmphex(vd_msi(&x->d, 1), ==, 0x4001);
    expect_no_used(x);
}

static void test_indirect(Fix *x, const void *how)
{
    const VBuf buf[] = { { x->page, 3, false }, { x->page + 100, 2, true },
        { x->page + 200, 24, true } };
    uint16_t id = vring_add(x->r, buf, 3, x->page + 0x1000);

    kick(x);
    expect_used(x, id, 3);
}

/* The ring goes around several times, also with chains that cross its end. */
static void test_wrap(Fix *x, const void *how)
{
    const VBuf buf[] = { { x->page, 8, false }, { x->page + 64, 8, true },
        { x->page + 128, 8, true } };

    for (unsigned i = 0; i < 1000; i++) {
        uint16_t id = vring_add(x->r, buf, 2 + i % 2, 0);

        kick(x);
        expect_used(x, id, 8);
    }
    g_assert_cmpuint(x->s->requests, ==, 1000);
}

static VqVerdict answer_513(Dummy *s, VqElem *e)
{
    uint8_t status = 0;

    g_assert_true(vq_split_in(e, e->in.left - 1));
    g_assert_true(giov_fill(&e->in, 7, 512));
    g_assert_true(giov_put(&e->in2, &status, 1));
    return VQ_DONE;
}

static VqVerdict answer_status_only(Dummy *s, VqElem *e)
{
    uint8_t status = 1;

    g_assert_true(vq_split_in(e, e->in.left - 1));
    g_assert_true(giov_put(&e->in2, &status, 1));
    return VQ_DONE;
}

static VqVerdict answer_scsi(Dummy *s, VqElem *e)
{
    g_assert_true(vq_split_in(e, 108));
    g_assert_true(giov_fill(&e->in2, 1, 50));
    g_assert_true(giov_fill(&e->in, 2, 108));
    return VQ_DONE;
}

/* used.len is the written prefix: VIRTIO 1.4, 2.7.8.2. */
static void used_len_case(Fix *x, VqVerdict (*fn)(Dummy *, VqElem *), uint32_t in, uint32_t want)
{
    const VBuf buf[] = { { x->page, 16, false }, { x->page + 0x1000, in - 1, true },
        { x->page + 0x3000, 1, true } };
    uint16_t id;

    x->s->on_request = fn;
    id = vring_add(x->r, buf, 3, 0);
    kick(x);
    expect_used(x, id, want);
}

static void test_used_len(Fix *x, const void *how)
{
    used_len_case(x, answer_513, 513, 513);
    used_len_case(x, answer_status_only, 513, 0);
    used_len_case(x, answer_scsi, 208, 158);
}

static VqVerdict hold(Dummy *s, VqElem *e)
{
    g_ptr_array_add(s->held, e);
    return VQ_HELD;
}

static void finish(Fix *x, unsigned i)
{
    VqElem *e = g_ptr_array_steal_index(x->s->held, i);
    VirtQueue *vq = e->vq;

    g_assert_true(giov_fill(&e->in, 1, 4));
    vq_push(e);
    vq_notify(vq);
}

static uint16_t add_simple(Fix *x)
{
    const VBuf buf[] = { { x->page, 4, false }, { x->page + 64, 4, true } };

    return vring_add(x->r, buf, 2, 0);
}

static void test_out_of_order(Fix *x, const void *how)
{
    uint16_t a, b;

    x->s->on_request = hold;
    a = add_simple(x);
    b = add_simple(x);
    kick(x);
    g_assert_cmpuint(x->s->held->len, ==, 2);
    finish(x, 1);
    if (GPOINTER_TO_UINT(how) & IN_ORDER) {
        expect_no_used(x);
        finish(x, 0);
        expect_used(x, a, 4);
        expect_used(x, b, 4);
    } else {
        expect_used(x, b, 4);
        finish(x, 0);
        expect_used(x, a, 4);
    }
}

static VqVerdict refuse(Dummy *s, VqElem *e)
{
    return VQ_STOP;
}

/* The chain counts as not taken and comes again, unchanged, after vq_resume(). */
static void test_stop(Fix *x, const void *how)
{
    uint16_t a, b;

    x->s->on_request = refuse;
    a = add_simple(x);
    b = add_simple(x);
    kick(x);
    kick(x);
    g_assert_cmpuint(x->s->requests, ==, 1);
    expect_no_used(x);
    x->s->on_request = NULL;
    vq_resume(virtio_queue(&x->s->vd, 0));
    board_run(x->b);
    expect_used(x, a, 4);
    expect_used(x, b, 4);
    g_assert_cmpuint(x->s->requests, ==, 3);
}

static void test_pause_keeps_chains(Fix *x, const void *how)
{
    uint16_t a, b;

    x->s->on_request = hold;
    a = add_simple(x);
    b = add_simple(x);
    kick(x);
    fake_run_set(false);
    g_assert_cmpuint(x->s->held->len, ==, 0);
    board_run(x->b);
    x->s->on_request = NULL;
    fake_run_set(true);
    board_run(x->b);
    expect_used(x, a, 4);
    expect_used(x, b, 4);
    g_assert_cmpuint(x->s->starts, ==, 2);
}

static void test_reset_waits(Fix *x, const void *how)
{
    x->s->on_request = hold;
    add_simple(x);
    kick(x);
    x->s->keep_on_stop = true;
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    vd_set_status(&x->d, 1); /* not yet */
    finish(x, 0);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    expect_no_used(x);
    g_assert_cmphex(vd_msi(&x->d, 1), ==, 0);
}

static void test_batch_and_budget(Fix *x, const void *how)
{
    for (unsigned i = 0; i < 5; i++) {
        add_simple(x);
    }
    kick(x);
    g_assert_cmpuint(x->s->requests, ==, 5);
    g_assert_cmpuint(x->s->batches, ==, 1);
    g_assert_cmphex(vd_msi(&x->d, 1), ==, 0x4001);
}

static void test_pop_bytes(Fix *x, const void *how)
{
    VirtQueue *vq = virtio_queue(&x->s->vd, 1);
    VRing *r = &x->d.ring[1];
    const VBuf small = { x->page, 10, true };
    VqElem *e[4];
    uint32_t id, len;
    uint16_t a, b;

    g_assert_true(vq_empty(vq));
    a = vring_add(r, &small, 1, 0);
    g_assert_cmpuint(vq_pop_bytes(vq, 15, e, 4), ==, 0);
    g_assert_false(vq_empty(vq));
    b = vring_add(r, &small, 1, 0);
    vd_kick(&x->d, 1);
    board_run(x->b);
    g_assert_cmpuint(x->s->refills, >, 0);
    g_assert_cmpuint(vq_pop_bytes(vq, 15, e, 4), ==, 2);
    g_assert_true(giov_fill(&e[0]->in, 1, 10));
    g_assert_true(giov_fill(&e[1]->in, 1, 5));
    vq_push_all(e, 2);
    vq_notify(vq);
    g_assert_true(vring_used(r, &id, &len));
    g_assert_cmpuint(id, ==, a);
    g_assert_true(vring_used(r, &id, &len));
    g_assert_cmpuint(id, ==, b);
    g_assert_cmpuint(len, ==, 5);
    g_assert_cmphex(vd_msi(&x->d, 2), ==, 0x4002);
    g_assert_null(vq_pop(vq));
}

/* 2.7.7.2: flags; with EVENT_IDX the index decides. Split only. */
static void test_suppression(Fix *x, const void *how)
{
    uint16_t before;

    if (GPOINTER_TO_UINT(how) & NO_EVENT) {
        vport_w16(&x->b->port, x->r->driver, 1);
        add_simple(x);
        kick(x);
        g_assert_cmphex(vd_msi(&x->d, 1), ==, 0);
        g_assert_true(vring_wants_kick(x->r, x->r->avail));
        return;
    }
    vport_w16(&x->b->port, x->r->driver + 4 + x->r->size * 2u, 2); /* used_event */
    for (unsigned i = 0; i < 3; i++) {
        before = x->r->avail;
        add_simple(x);
        g_assert_true(vring_wants_kick(x->r, before));
        kick(x);
        g_assert_cmphex(vd_msi(&x->d, 1), ==, i == 2 ? 0x4001 : 0);
    }
}

static void test_queue_reset(Fix *x, const void *how)
{
    x->s->on_request = hold;
    add_simple(x);
    kick(x);
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x3a, 2, 1);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
    g_assert_cmpuint(x->s->held->len, ==, 0);
    x->s->on_request = NULL;
    vd_setup_queue(&x->d, 0, 8);
    uint16_t a = add_simple(x);

    kick(x);
    expect_used(x, a, 4);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

static void test_queue_reset_waits(Fix *x, const void *how)
{
    x->s->on_request = hold;
    x->s->keep_on_stop = true;
    add_simple(x);
    kick(x);
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x3a, 2, 1);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 1);
    finish(x, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
    expect_no_used(x);
}

/* Hostile drivers (C1-C3): every one ends in DEVICE_NEEDS_RESET, and a reset heals. Split only
 * where raw descriptors are laid. */
static void raw_case(Fix *x, const uint64_t (*desc)[4], unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        vring_desc(
            x->r, i, desc[i][0], (uint32_t)desc[i][1], (uint16_t)desc[i][2], (uint16_t)desc[i][3]);
    }
    vring_avail(x->r, 0);
    kick(x);
    expect_broken(x);
}

#define RAW(name, ...)                                                                             \
    static void test_##name(Fix *x, const void *how)                                               \
    {                                                                                              \
        const uint64_t d[][4] = { __VA_ARGS__ };                                                   \
        raw_case(x, d, G_N_ELEMENTS(d));                                                           \
    }
RAW(loop, { 0x2000, 4, VRING_NEXT, 0 })
RAW(long_loop, { 0x2000, 4, VRING_NEXT, 1 }, { 0x2000, 4, VRING_NEXT, 0 })
RAW(zero_length, { 0x2000, 0, 0, 0 })
RAW(next_outside, { 0x2000, 4, VRING_NEXT, 16 })
RAW(hole, { 0x50000000, 4, 0, 0 })
RAW(wraps_around, { UINT64_MAX - 1, 4, 0, 0 })
RAW(end_of_ram, { BOARD_RAM - 2, 4, 0, 0 })
RAW(four_gib, { 0x2000, UINT32_MAX, 0, 0 })
RAW(write_before_read, { 0x2000, 4, VRING_NEXT | VRING_WRITE, 1 }, { 0x2000, 4, 0, 0 })
RAW(indirect_and_next, { 0x2000, 16, VRING_NEXT | VRING_INDIRECT, 1 }, { 0x2000, 4, 0, 0 })
RAW(indirect_odd, { 0x2000, 17, VRING_INDIRECT, 0 })
RAW(indirect_empty, { 0x2000, 0, VRING_INDIRECT, 0 })
RAW(indirect_long, { 0x2000, 16 * 1025, VRING_INDIRECT, 0 })
RAW(indirect_hole, { 0x50000000, 16, VRING_INDIRECT, 0 })

static void test_nested(Fix *x, const void *how)
{
    vport_w64(&x->b->port, x->page, x->page);
    vport_w32(&x->b->port, x->page + 8, 16);
    vport_w16(&x->b->port, x->page + (x->r->packed ? 14 : 12), VRING_INDIRECT);
    vring_desc(x->r, 0, x->page, 16, VRING_INDIRECT, 0);
    vring_avail(x->r, 0);
    kick(x);
    expect_broken(x);
}

static void test_own_bar(Fix *x, const void *how)
{
    const VBuf buf[] = { { x->page, 4, false }, { x->d.notify, 4, true } };

    vring_add(x->r, buf, 2, 0);
    kick(x);
    expect_broken(x);
}

static void test_index_jump(Fix *x, const void *how)
{
    vring_set_avail_idx(x->r, 17);
    kick(x);
    expect_broken(x);
}

static void test_head_outside(Fix *x, const void *how)
{
    vring_avail(x->r, 16);
    kick(x);
    expect_broken(x);
}

static void test_head_twice(Fix *x, const void *how)
{
    x->s->on_request = hold;
    add_simple(x);
    kick(x);
    vring_avail(x->r, 0);
    kick(x);
    expect_broken(x);
}

static void test_id_twice(Fix *x, const void *how)
{
    x->s->on_request = hold;
    add_simple(x);
    x->r->free_head = 0;
    add_simple(x);
    kick(x);
    expect_broken(x);
}

static void test_both_wrong_order(Fix *x, const void *how)
{
    const VBuf buf[] = { { x->page, 4, true }, { x->page, 4, false } };

    vring_add(x->r, buf, 2, 0);
    kick(x);
    expect_broken(x);
}

static VqVerdict complain(Dummy *s, VqElem *e)
{
    vq_fail(e->vq, "does not like it (VIRTIO 1.4, 2.1.2)");
    return VQ_DONE;
}

static void test_device_fails(Fix *x, const void *how)
{
    x->s->on_request = complain;
    add_simple(x);
    kick(x);
    expect_broken(x);
    x->s->on_request = NULL;
    vd_start(&x->d, 1ull << 35);
    uint16_t a = add_simple(x);

    kick(x);
    expect_used(x, a, 4);
}

/* A loop that polls silences the queues it looks at; the one the device sends on it does not. */
static void test_polling_keeps_refills(Fix *x, const void *how)
{
    VirtQueue *refills = virtio_queue(&x->s->vd, DUMMY_EVENTQ);
    VRing *r = &x->d.ring[DUMMY_EVENTQ];
    VqElem *e;

    g_assert_cmpuint(vq_pop_bytes(refills, 1, &e, 1), ==, 0); /* it waits for buffers */
    vq_poll_begin(refills);
    g_assert_cmpuint(vport_r16(r->port, r->device) & 1, ==, 0);
    g_assert_false(vq_poll_end(refills));
}

static void add(const char *name, unsigned how, void (*fn)(Fix *, const void *))
{
    g_autofree char *path = g_strdup_printf("/vq/%s%s%s%s", how & PACKED ? "packed" : "split",
        how & NO_EVENT ? "-flags" : "", how & IN_ORDER ? "-in-order/" : "/", name);

    g_test_add(path, Fix, GUINT_TO_POINTER(how), up, fn, down);
}

static void add_all(unsigned how)
{
    add("echo", how, test_echo);
    add("indirect", how, test_indirect);
    add("wraps", how, test_wrap);
    add("used-len-is-the-written-prefix", how, test_used_len);
    add("completes-out-of-order", how, test_out_of_order);
    add("stop-takes-nothing", how, test_stop);
    add("pause-keeps-chains", how, test_pause_keeps_chains);
    add("reset-waits-for-held-chains", how, test_reset_waits);
    add("one-batch-one-interrupt", how, test_batch_and_budget);
    add("pop-bytes-all-or-none", how, test_pop_bytes);
    add("queue-reset", how, test_queue_reset);
    add("queue-reset-waits", how, test_queue_reset_waits);
    add("device-fails", how, test_device_fails);
    add("buffer-in-own-bar", how, test_own_bar);
    add("writable-before-readable", how, test_both_wrong_order);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Fix *, const void *);
    } hostile[] = {
        { "loop-sets-needs-reset", test_loop },
        { "loop-of-two", test_long_loop },
        { "zero-length", test_zero_length },
        { "next-outside", test_next_outside },
        { "buffer-in-a-hole", test_hole },
        { "buffer-wraps-around", test_wraps_around },
        { "buffer-past-the-end", test_end_of_ram },
        { "buffer-of-4-gib", test_four_gib },
        { "write-before-read", test_write_before_read },
        { "indirect-and-next", test_indirect_and_next },
        { "indirect-length-odd", test_indirect_odd },
        { "indirect-empty", test_indirect_empty },
        { "indirect-too-long", test_indirect_long },
        { "indirect-in-a-hole", test_indirect_hole },
        { "indirect-nested", test_nested },
        { "index-jumps", test_index_jump },
        { "head-outside", test_head_outside },
        { "head-twice", test_head_twice },
    };

    g_test_init(&argc, &argv, NULL);
    loop_main();
    add_all(0);
    add_all(NO_EVENT);
    add_all(IN_ORDER);
    add_all(PACKED);
    add_all(PACKED | NO_EVENT);
    add_all(PACKED | IN_ORDER);
    add("suppression-by-event-index", 0, test_suppression);
    add("suppression-by-flags", NO_EVENT, test_suppression);
    add("polling-keeps-refills", NO_EVENT, test_polling_keeps_refills);
    add("buffer-id-twice", PACKED, test_id_twice);
    for (unsigned i = 0; i < G_N_ELEMENTS(hostile); i++) {
        add(hostile[i].name, 0, hostile[i].fn);
    }
    return g_test_run();
}
