/* A device whose data path runs in a thread of its own: kicks, interrupts, failures, pause, reset
 * and unplug cross over. */
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"
#include "util/rcu.h"

static void *thread_body(void *loop)
{
    rcu_thread_register();
    loop_run(loop);
    rcu_thread_unregister();
    return NULL;
}

typedef struct Fix {
    Board *b;
    GThread *thread;
    Dummy *s;
    VDriver d;
    uint64_t page;
} Fix;

static void begun(void *queue)
{
    g_async_queue_push(queue, queue);
}

static void up(Fix *x, const void *msix)
{
    g_autoptr(GAsyncQueue) queue = g_async_queue_new();

    dummy_loop = loop_new("io");
    x->thread = g_thread_new("io", thread_body, dummy_loop);
    /* Before it has an owner a loop belongs to everybody. */
    loop_post(dummy_loop, begun, queue);
    g_async_queue_pop(queue);
    x->b = board_new(false);
    x->s = dummy_of(board_add(x->b, "{'driver': 'dummy-pci', 'addr': '4'}"));
    vd_open(&x->d, &x->b->port, 0, 4 << 3, false);
    if (msix) {
        vd_enable_msix(&x->d);
    }
    vd_start(&x->d, 1ull << 29);
    x->page = vd_page(&x->d, 0x4000);
}

static void down(Fix *x, const void *unused)
{
    board_free(x->b);
    loop_quit(dummy_loop);
    g_thread_join(x->thread);
    loop_free(dummy_loop);
    dummy_loop = NULL;
}

static void add_request(Fix *x)
{
    const VBuf buf[] = { { x->page, 4, false }, { x->page + 0x1000, 8, true } };

    vring_add(&x->d.ring[0], buf, 2, 0);
}

static void test_requests(Fix *x, const void *msix)
{
    uint32_t id, len;

    for (unsigned i = 0; i < 500; i++) {
        add_request(x);
        vd_kick(&x->d, 0);
        vd_wait_used(&x->d, 0, &id, &len);
        g_assert_cmpuint(len, ==, 4);
        while (msix ? !vd_msi(&x->d, 1) : !vd_isr(&x->d)) {
            g_thread_yield();
        }
    }
    board_run(x->b);
}

static void test_failure(Fix *x, const void *msix)
{
    vring_avail(&x->d.ring[0], 999);
    vd_kick(&x->d, 0);
    while (vd_status(&x->d) == 15) {
        loop_turn(loop_main(), /* block= */ false);
        g_thread_yield();
    }
    g_assert_cmphex(vd_status(&x->d), ==, 0x4f);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
}

static void test_pause_and_reset_under_load(Fix *x, const void *msix)
{
    for (unsigned i = 0; i < 50; i++) {
        uint32_t id, len;

        add_request(x);
        vd_kick(&x->d, 0);
        fake_run_set(false);
        fake_run_set(true);
        vd_wait_used(&x->d, 0, &id, &len);
        if (i % 10 == 9) {
            vd_set_status(&x->d, 0);
            vd_start(&x->d, 1ull << 29);
        }
    }
    add_request(x);
    vd_kick(&x->d, 0); /* unplugged with a kick on its way */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add("/virtio-loop/requests-intx", Fix, NULL, up, test_requests, down);
    g_test_add("/virtio-loop/requests-msix", Fix, "msix", up, test_requests, down);
    g_test_add("/virtio-loop/failure-crosses-over", Fix, NULL, up, test_failure, down);
    g_test_add("/virtio-loop/pause-reset-unplug-under-load", Fix, "msix", up,
        test_pause_and_reset_under_load, down);
    return g_test_run();
}
