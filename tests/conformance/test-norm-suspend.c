/* Normative sentences about suspending a device (VIRTIO 1.4, 3.4.2). */
#include "tests/conformance/norm.h"
#include "tests/lib/fakes.h"

enum {
    UP = 15,
    SUSPEND = 16,
    DRIVER_OK = 4,
    NEEDS_RESET = 64,
    ASLEEP = (UP & ~DRIVER_OK) | SUSPEND
};

static void suspend(Norm *x)
{
    vd_set_status(&x->d, UP | SUSPEND);
    board_run(x->b);
}

static void expect_asleep(Norm *x)
{
    g_assert_cmphex(vd_status(&x->d), ==, ASLEEP);
}

static void wake(Norm *x)
{
    vd_set_status(&x->d, vd_status(&x->d) | DRIVER_OK);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d), ==, UP);
}

static void expect_silence(Norm *x)
{
    for (unsigned v = 0; v < 3; v++) {
        g_assert_cmphex(vd_msi(&x->d, v), ==, 0);
    }
}

/* Nor when the driver did not accept the feature: it is no bit of this device then. */
static void suspend_1(Norm *x)
{
    static const uint8_t early[] = { 1, 3 };

    NORM("INIT-SUSPEND-1");
    for (unsigned i = 0; i < G_N_ELEMENTS(early); i++) {
        vd_set_status(&x->d, 0);
        vd_set_status(&x->d, early[i]);
        vd_set_status(&x->d, early[i] | SUSPEND);
        g_assert_cmphex(vd_status(&x->d), ==, early[i]);
    }
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_set_status(&x->d, 11 | SUSPEND);
    g_assert_cmphex(vd_status(&x->d), ==, 11);
    norm_start(x, 0);
    norm_one(x);
    vd_set_status(&x->d, 0);
    norm_start(x, NORM_BIT(43));
    suspend(x);
    g_assert_cmphex(vd_status(&x->d), ==, UP);
    norm_one(x);
}

static void suspend_2(Norm *x)
{
    NORM("INIT-SUSPEND-2");
    norm_dev_write(x, 0, 4, 0x11223344);
    suspend(x);
    norm_dev_write(x, 0, 4, 0x55667788);
    g_assert_cmphex(norm_dev(x, 0, 4), ==, 0x11223344);
    vd_set_status(&x->d, ASLEEP); /* this one is heard, and says nothing new */
    expect_asleep(x);
    wake(x);
    g_assert_cmphex(norm_dev(x, 0, 4), ==, 0x11223344);
    norm_dev_write(x, 0, 4, 0x55667788);
    g_assert_cmphex(norm_dev(x, 0, 4), ==, 0x55667788);
}

/* A kick, what lies in the rings, a completion of its own, the machine's pause: none wakes it. */
static void suspend_3(Norm *x)
{
    const VBuf in = { x->page + 0x3000, 8, true };
    uint16_t id;

    NORM("INIT-SUSPEND-3");
    suspend(x);
    id = norm_add(x);
    vring_add(&x->d.ring[1], &in, 1, 0);
    norm_go(x);
    vd_kick(&x->d, 1);
    board_run(x->b);
    g_assert_null(vq_pop(virtio_queue(&x->s->vd, DUMMY_EVENTQ)));
    vq_notify(virtio_queue(&x->s->vd, DUMMY_EVENTQ));
    fake_run_set(false);
    fake_run_set(true);
    board_run(x->b);
    x->s->config[0] = 0x5a; /* the host changes it */
    virtio_config_changed(&x->s->vd);
    g_assert_cmphex(norm_dev(x, 0, 1), ==, 0);
    g_assert_true(norm_idle(x));
    g_assert_cmpuint(x->s->requests, ==, 0);
    expect_silence(x);
    expect_asleep(x);
    wake(x);
    norm_used(x, id, 4);
    g_assert_cmphex(norm_dev(x, 0, 1), ==, 0x5a);
}

static void suspend_4(Norm *x)
{
    uint8_t generation;

    NORM("INIT-SUSPEND-4");
    suspend(x);
    generation = (uint8_t)vd_read(&x->d, 0x15, 1);
    for (unsigned i = 0; i < 3; i++) {
        x->s->config[0]++;
        virtio_config_changed(&x->s->vd);
        board_run(x->b);
    }
    expect_silence(x);
    g_assert_cmpuint(vd_read(&x->d, 0x15, 1), ==, generation);
    expect_asleep(x);
}

static void suspend_5(Norm *x)
{
    uint8_t generation;

    NORM("INIT-SUSPEND-5");
    suspend(x);
    wake(x);
    expect_silence(x); /* nothing changed */
    suspend(x);
    norm_dev(x, 0, 1);
    generation = (uint8_t)vd_read(&x->d, 0x15, 1);
    x->s->config[0] = 7;
    virtio_config_changed(&x->s->vd);
    expect_silence(x);
    wake(x);
    g_assert_cmphex(vd_msi(&x->d, 0), ==, 0x4000);
    g_assert_cmphex(norm_dev(x, 0, 1), ==, 7);
    g_assert_cmpuint(vd_read(&x->d, 0x15, 1), !=, generation);
}

static void suspend_6(Norm *x)
{
    NORM("INIT-SUSPEND-6");
    suspend(x);
    expect_asleep(x);
    wake(x);
    /* It fails while chains come back: the last one breaks the queue. */
    x->s->on_request = norm_hold;
    norm_add(x);
    norm_go(x);
    suspend(x);
    g_assert_cmphex(vd_status(&x->d), ==, UP);
    vq_fail(virtio_queue(&x->s->vd, DUMMY_REQUESTQ), "test");
    norm_push(x, 0);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d) & (NEEDS_RESET | SUSPEND), ==, NEEDS_RESET);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
}

static void suspend_7(Norm *x)
{
    NORM("INIT-SUSPEND-7");
    for (unsigned i = 0; i < 20; i++) {
        norm_one(x);
        suspend(x);
        expect_asleep(x);
        wake(x);
    }
    norm_one(x);
    suspend(x);
    x->s->refuse_start = true;
    vd_set_status(&x->d, ASLEEP | DRIVER_OK);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d) & NEEDS_RESET, ==, NEEDS_RESET);
    x->s->refuse_start = false;
    vd_set_status(&x->d, 0);
    norm_start(x, 0);
    norm_one(x);
}

static void suspend_8(Norm *x)
{
    uint16_t a, b;

    NORM("INIT-SUSPEND-8");
    x->s->on_request = norm_hold;
    a = norm_add(x);
    norm_go(x);
    suspend(x);
    b = norm_add(x);
    norm_go(x);
    g_assert_cmpuint(x->s->requests, ==, 1);
    norm_push(x, 0);
    board_run(x->b);
    expect_asleep(x);
    norm_used(x, a, 0);
    g_assert_true(norm_idle(x));
    x->s->on_request = NULL;
    wake(x);
    norm_used(x, b, 4);
}

static void suspend_9(Norm *x)
{
    uint16_t id[3];

    NORM("INIT-SUSPEND-9");
    x->s->on_request = norm_hold;
    for (unsigned i = 0; i < 3; i++) {
        id[i] = norm_add(x);
    }
    norm_go(x);
    suspend(x);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(vd_status(&x->d), ==, UP);
        vd_set_status(&x->d, UP | SUSPEND); /* again: it does not hasten anything */
        norm_push(x, 0);
        board_run(x->b);
        norm_used(x, id[i], 0);
    }
    expect_asleep(x);
    /* A reset does not wait for the end of it. */
    x->s->on_request = norm_hold;
    wake(x);
    norm_add(x);
    norm_go(x);
    suspend(x);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
}

static void suspend_10(Norm *x)
{
    uint16_t id;

    NORM("INIT-SUSPEND-10");
    x->s->on_request = norm_hold;
    id = norm_add(x);
    norm_go(x);
    suspend(x);
    vq_push(g_ptr_array_steal_index(x->s->held, 0)); /* the device does not call vq_notify() */
    board_run(x->b);
    expect_asleep(x);
    g_assert_cmphex(vd_msi(&x->d, 1), ==, 0x4001);
    norm_used(x, id, 0);
}

int main(int argc, char **argv)
{
#define OPTS ", 'x-suspend': true, 'packed': true"
    static const NormTest tests[] = {
        { "INIT-SUSPEND-1", suspend_1, 0, OPTS },
        { "INIT-SUSPEND-2", suspend_2, NORM_START, OPTS },
        { "INIT-SUSPEND-3", suspend_3, NORM_START | NORM_MSIX, OPTS },
        { "INIT-SUSPEND-4", suspend_4, NORM_START | NORM_MSIX, OPTS },
        { "INIT-SUSPEND-5", suspend_5, NORM_START | NORM_MSIX, OPTS },
        { "INIT-SUSPEND-6", suspend_6, NORM_START, OPTS },
        { "INIT-SUSPEND-7", suspend_7, NORM_START, OPTS },
        { "INIT-SUSPEND-8", suspend_8, NORM_START, OPTS },
        { "INIT-SUSPEND-9", suspend_9, NORM_START, OPTS },
        { "INIT-SUSPEND-10", suspend_10, NORM_START | NORM_MSIX, OPTS },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
