/* Devices behind an IOMMU (VIRTIO 1.4, 6: ACCESS_PLATFORM): rings and buffers in scattered pages,
 * permissions, faults, and invalidation that waits for the requests that used what it covers. */
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"
#include "tests/lib/viommu.h"
#include "util/rcu.h"

#include <string.h>

enum { PACKED = 1, IN_ORDER = 2, OWN_LOOP = 4 };
enum { RW = VIOMMU_READ | VIOMMU_WRITE, PAGE = VIOMMU_PAGE };
/* Addresses of the bus; none is one of memory. Pages lead to memory in falling order. */
static const uint64_t bus_base = 1ull << 40;
enum { RAM_TOP = BOARD_RAM - PAGE, PAGES = 512 };

typedef struct Fix {
    Board *b;
    Dev *dev;
    Dummy *s;
    Viommu v;
    VDriver d;
    VRing *r;
    uint64_t page; /* eight pages of the bus */
    GThread *thread;
} Fix;

static void *thread_body(void *loop)
{
    rcu_thread_register();
    loop_run(loop);
    rcu_thread_unregister();
    return NULL;
}

static uint64_t ram_page(unsigned i)
{
    return RAM_TOP - (uint64_t)i * PAGE;
}

static DmaSpace *dma(const Fix *x)
{
    return ((PciFn *)x->dev)->dma;
}

static void up(Fix *x, const void *arg)
{
    unsigned how = GPOINTER_TO_UINT(arg);
    g_autofree char *json = g_strdup_printf(
        "{'driver': 'dummy-pci', 'addr': '4', 'disable-legacy': 'on', 'iommu_platform': true, "
        "'queue-size': 1024, 'packed': %s, 'in_order': %s}",
        how & PACKED ? "true" : "false", how & IN_ORDER ? "true" : "false");

    if (how & OWN_LOOP) {
        dummy_loop = loop_new("io");
        x->thread = g_thread_new("io", thread_body, dummy_loop);
    }
    x->b = board_new(false);
    x->dev = board_add(x->b, json);
    x->s = dummy_of(x->dev);
    viommu_init(&x->v, &x->b->port);
    for (unsigned i = 0; i < PAGES; i++) {
        viommu_map(&x->v, bus_base + (uint64_t)i * PAGE, ram_page(i), RW);
    }
    dma_space_set_iommu(dma(x), &x->v.iommu);
    vd_open(&x->d, &x->v.port, 0, 4 << 3, false);
    x->d.alloc = bus_base;
    vd_start(&x->d, 0);
    x->r = &x->d.ring[0];
    x->page = vd_page(&x->d, 8 * PAGE);
}

static void down(Fix *x, const void *arg)
{
    x->s->keep_on_stop = false;
    while (x->s->held->len) {
        vq_drop(g_ptr_array_steal_index(x->s->held, 0));
    }
    board_free(x->b);
    viommu_fini(&x->v);
    if (x->thread) {
        loop_quit(dummy_loop);
        g_thread_join(x->thread);
        loop_free(dummy_loop);
        dummy_loop = NULL;
    }
}

static void kick(Fix *x)
{
    vd_kick(&x->d, 0);
    board_run(x->b);
}

static uint16_t add(Fix *x, uint64_t out, uint32_t out_len, uint64_t in, uint32_t in_len)
{
    const VBuf buf[] = { { out, out_len, false }, { in, in_len, true } };

    return vring_add(x->r, buf, 2, 0);
}

static void expect(Fix *x, uint32_t id, uint32_t len)
{
    uint32_t got, got_len;

    g_assert_true(vring_used(x->r, &got, &got_len));
    g_assert_cmpuint(got, ==, id);
    g_assert_cmpuint(got_len, ==, len);
}

static void fill(Fix *x, uint64_t at, uint8_t seed, size_t len)
{
    g_autofree uint8_t *v = g_malloc(len);

    for (size_t i = 0; i < len; i++) {
        v[i] = (uint8_t)(seed + i * 7);
    }
    x->v.port.write(&x->v, at, v, len);
}

static void expect_bytes(Fix *x, uint64_t at, uint8_t seed, size_t len)
{
    g_autofree uint8_t *v = g_malloc(len);

    x->v.port.read(&x->v, at, v, len);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(v[i], ==, (uint8_t)(seed + i * 7));
    }
}

static void expect_broken(Fix *x)
{
    uint32_t id, len;

    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d), ==, 15 | 0x40);
    g_assert_false(vring_used(x->r, &id, &len));
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
}

/* Buffers that cross pages in the middle of both parts, many times around the ring. */
static void test_scattered(Fix *x, const void *arg)
{
    for (unsigned i = 0; i < 1500; i++) {
        uint32_t len = 1 + i * 37 % 6000;
        uint64_t out = x->page + i % 700, in = x->page + 4 * PAGE + i % 900;
        uint16_t id;

        fill(x, out, (uint8_t)i, len);
        id = add(x, out, len, in, len + 8);
        kick(x);
        expect(x, id, len);
        expect_bytes(x, in, (uint8_t)i, len);
    }
    g_assert_cmpuint(x->v.translations, >, 0);
    g_assert_cmpuint(x->v.faults, ==, 0);
}

static void test_indirect(Fix *x, const void *arg)
{
    const VBuf buf[] = { { x->page, 3, false }, { x->page + 100, 2, true },
        { x->page + 200, 24, true } };
    uint16_t id = vring_add(x->r, buf, 3, x->page + PAGE - 24); /* over the end of a page */

    kick(x);
    expect(x, id, 3);
}

static void test_permissions(Fix *x, const void *arg)
{
    uint64_t other = x->page + 4 * PAGE;
    uint16_t id;

    viommu_map(&x->v, x->page, viommu_gpa(&x->v, x->page), VIOMMU_READ);
    viommu_map(&x->v, other, viommu_gpa(&x->v, other), VIOMMU_WRITE);
    id = add(x, x->page, 64, other, 64);
    kick(x);
    expect(x, id, 64);
    add(x, other, 64, other, 64); /* reads where it may only write */
    kick(x);
    expect_broken(x);
    vd_start(&x->d, 0);
    id = add(x, x->page, 64, other, 64);
    kick(x);
    expect(x, id, 64);
    add(x, x->page, 64, x->page, 64); /* writes where it may only read */
    kick(x);
    expect_broken(x);
    vd_start(&x->d, 0);
    add(x, x->page, 64, other + PAGE - 8, 64); /* the second page is fine, but a third is not */
    kick(x);
    vd_set_status(&x->d, 0);
}

static void test_fault(Fix *x, const void *arg)
{
    uint64_t gpa = viommu_gpa(&x->v, x->page + PAGE), ring = x->r->desc + 2 * PAGE;

    viommu_map(&x->v, x->page + PAGE, gpa, 0);
    add(x, x->page + PAGE - 16, 32, x->page + 4 * PAGE, 64); /* runs into the hole */
    kick(x);
    expect_broken(x);
    g_assert_cmpuint(x->v.faults, ==, 1);
    vd_start(&x->d, 0);
    add(x, gpa, 4, x->page, 4); /* memory's address is none of the bus */
    kick(x);
    expect_broken(x);
    vd_start(&x->d, 0);
    add(x, x->page, 4, x->page + 64, 4);
    ring = x->r->desc + 2 * PAGE;
    gpa = viommu_gpa(&x->v, ring);
    viommu_map(&x->v, ring, gpa, 0);
    dma_space_invalidate(dma(x), (Iova){ ring }, PAGE, (DmaInvalidated *)g_free, NULL);
    vd_kick(&x->d, 0); /* a part of the ring is gone */
    board_run(x->b);
    viommu_map(&x->v, ring, gpa, RW);
    expect_broken(x);
}

static VqVerdict hold(Dummy *s, VqElem *e)
{
    g_ptr_array_add(s->held, e);
    return VQ_HELD;
}

static void on_done(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void finish(Fix *x, unsigned i)
{
    VqElem *e = g_ptr_array_steal_index(x->s->held, i);
    VirtQueue *vq = e->vq;

    g_assert_true(giov_fill(&e->in, 0x5a, 8));
    vq_push(e);
    vq_notify(vq);
    board_run(x->b);
}

/* One that nothing holds up. */
static void invalidate(Fix *x, uint64_t at, uint64_t len)
{
    unsigned done = 0;

    dma_space_invalidate(dma(x), (Iova){ at }, len, on_done, &done);
    while (!done) { /* the device may have a thread of its own */
        loop_turn(loop_main(), /* block= */ false);
        g_thread_yield();
    }
}

/* Done when the last request that used it is back; others do not hold it up. */
static void test_invalidate_waits(Fix *x, const void *arg)
{
    uint64_t a = x->page, b = x->page + PAGE, c = x->page + 2 * PAGE;
    unsigned done = 0, all = 0;
    uint16_t id[3];

    x->s->on_request = hold;
    id[0] = add(x, a, 8, b, 8);
    id[1] = add(x, a, 8, c, 8);
    id[2] = add(x, c, 8, c + 64, 8);
    kick(x);
    g_assert_cmpuint(x->s->held->len, ==, 3);
    invalidate(x, x->page + 3 * PAGE, PAGE); /* nobody uses it */
    dma_space_invalidate(dma(x), (Iova){ b }, PAGE, on_done, &done);
    dma_space_invalidate(dma(x), (Iova){ 0 }, 0, on_done, &all);
    board_run(x->b);
    g_assert_cmpuint(done, ==, 0);
    finish(x, 2);
    g_assert_cmpuint(done, ==, 0);
    finish(x, 0);
    g_assert_cmpuint(done, ==, 1);
    g_assert_cmpuint(all, ==, 0);
    finish(x, 0);
    g_assert_cmpuint(all, ==, 1);
    if (GPOINTER_TO_UINT(arg) & IN_ORDER) {
        expect(x, id[0], 8);
        expect(x, id[1], 8);
        expect(x, id[2], 8);
    }
}

/* What was held writes to the old page, what comes after to the new one. */
static void test_remap(Fix *x, const void *arg)
{
    uint64_t in = x->page + PAGE, was = viommu_gpa(&x->v, in), now = ram_page(PAGES + 3);
    unsigned done = 0;
    uint16_t id;

    x->s->on_request = hold;
    add(x, x->page, 8, in, 8);
    kick(x);
    viommu_map(&x->v, in, now, RW);
    vport_zero(&x->v.port, in, 8);
    dma_space_invalidate(dma(x), (Iova){ in }, PAGE, on_done, &done);
    board_run(x->b);
    g_assert_cmpuint(done, ==, 0);
    finish(x, 0);
    g_assert_cmpuint(done, ==, 1);
    g_assert_cmphex(vport_r32(&x->b->port, was), ==, 0x5a5a5a5a);
    g_assert_cmphex(vport_r32(&x->b->port, now), ==, 0);
    x->s->on_request = NULL;
    vring_used(x->r, &(uint32_t){ 0 }, &(uint32_t){ 0 });
    fill(x, x->page, 3, 8);
    id = add(x, x->page, 8, in, 8);
    kick(x);
    expect(x, id, 8);
    expect_bytes(x, in, 3, 8);
    g_assert_cmphex(vport_r32(&x->b->port, was), ==, 0x5a5a5a5a);
}

/* Rings move to other pages while nothing is under way. */
static void test_rings_remapped(Fix *x, const void *arg)
{
    for (unsigned i = 0; i < 5; i++) {
        uint64_t at = x->r->desc + i * PAGE, now = ram_page(PAGES + 8 + i);
        uint8_t copy[PAGE];
        uint16_t id;

        x->v.port.read(&x->v, at, copy, PAGE);
        viommu_map(&x->v, at, now, RW);
        x->v.port.write(&x->v, at, copy, PAGE);
        invalidate(x, at, PAGE);
        fill(x, x->page, (uint8_t)i, 16);
        id = add(x, x->page, 16, x->page + 64, 16);
        kick(x);
        expect(x, id, 16);
        expect_bytes(x, x->page + 64, (uint8_t)i, 16);
    }
}

/* Pages come and go under a device with a thread of its own: after each invalidation the device
 * cannot reach the page any more. */
static void test_thread(Fix *x, const void *arg)
{
    for (unsigned i = 0; i < 200; i++) {
        uint64_t in = x->page + PAGE + i % 3 * PAGE, gpa = viommu_gpa(&x->v, in);
        uint32_t id, len;
        uint16_t want;

        fill(x, x->page, (uint8_t)i, 40);
        want = add(x, x->page, 40, in + PAGE - 20, 40); /* over a page's end */
        vd_kick(&x->d, 0);
        if (i % 2) {
            vd_wait_used(&x->d, 0, &id, &len);
        }
        invalidate(x, in, PAGE);
        if (!(i % 2)) {
            vd_wait_used(&x->d, 0, &id, &len);
        }
        g_assert_cmpuint(id, ==, want);
        expect_bytes(x, in + PAGE - 20, (uint8_t)i, 40);
        viommu_map(&x->v, in, gpa == ram_page(PAGES + i % 64) ? gpa : ram_page(PAGES + i % 64), RW);
        invalidate(x, in, PAGE);
    }
    viommu_map(&x->v, x->page, viommu_gpa(&x->v, x->page), 0);
    invalidate(x, x->page, PAGE);
}

/* A device that does not offer ACCESS_PLATFORM, or drives without it, uses memory's addresses. */
static void test_bypass(void)
{
    Fix x = { .b = board_new(false) };
    uint16_t id;

    x.dev = board_add(x.b, "{'driver': 'dummy-pci', 'addr': '4'}");
    x.s = dummy_of(x.dev);
    viommu_init(&x.v, &x.b->port);
    dma_space_set_iommu(dma(&x), &x.v.iommu);
    vd_open(&x.d, &x.b->port, 0, 4 << 3, false);
    vd_start(&x.d, 0);
    x.r = &x.d.ring[0];
    id = add(&x, 0x2000, 8, 0x3000, 8);
    kick(&x);
    expect(&x, id, 8);
    g_assert_cmpuint(x.v.translations, ==, 0);
    g_assert_null(dma_space_iommu(dma(&x)));
    down(&x, NULL);
}

/* Offered, it has to be accepted; and it stays in force until the next negotiation. */
static void test_refused(Fix *x, const void *arg)
{
    g_assert_nonnull(dma_space_iommu(dma(x)));
    g_assert_false(vd_negotiate(&x->d, vd_offered(&x->d) & ~(1ull << 33)));
    g_assert_nonnull(dma_space_iommu(dma(x)));
}

static void add_test(const char *name, unsigned how, void (*fn)(Fix *, const void *))
{
    g_autofree char *path = g_strdup_printf("/iommu/%s%s/%s", how & PACKED ? "packed" : "split",
        how & IN_ORDER ? "-in-order" : "", name);

    g_test_add(path, Fix, GUINT_TO_POINTER(how), up, fn, down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    for (unsigned how = 0; how < 4; how++) {
        add_test("scattered-pages", how, test_scattered);
        add_test("indirect-table-over-a-page", how, test_indirect);
        add_test("permissions", how, test_permissions);
        add_test("faults-need-a-reset", how, test_fault);
        add_test("invalidation-waits-for-requests", how, test_invalidate_waits);
        add_test("old-page-until-done", how, test_remap);
        add_test("rings-remapped", how, test_rings_remapped);
        add_test("has-to-be-accepted", how, test_refused);
    }
    add_test("own-thread", OWN_LOOP, test_thread);
    add_test("own-thread", OWN_LOOP | PACKED, test_thread);
    g_test_add_func("/iommu/bypassed-without-the-feature", test_bypass);
    return g_test_run();
}
