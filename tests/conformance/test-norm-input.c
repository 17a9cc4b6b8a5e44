/* Normative sentences about input devices (VIRTIO 1.4, 5.8), and what a driver's mistakes do. */
#include "tests/conformance/norm.h"
#include "ui/input.h"

#include <linux/input-event-codes.h>

enum { EVENTS, STATUS };
enum { SELECT = 0, SUBSEL = 1, SIZE = 2 };

typedef struct Wire {
    uint16_t type, code;
    int32_t value;
} Wire;

static void keyboard(Norm *x)
{
    norm_open(x, "virtio-keyboard-pci", "", 0);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_setup_queue(&x->d, EVENTS, 0);
    vd_setup_queue(&x->d, STATUS, 0);
    vd_driver_ok(&x->d);
    board_run(x->b);
}

static void end(Norm *x)
{
    norm_close(x);
    x->b = NULL;
}

/* Buffers from..from + n - 1. */
static void give(Norm *x, unsigned from, unsigned n, uint32_t len)
{
    for (unsigned i = from; i < from + n; i++) {
        const VBuf b = { x->page + 64 * i, len, true };

        vring_add(&x->d.ring[EVENTS], &b, 1, 0);
    }
    vd_kick(&x->d, EVENTS);
    board_run(x->b);
}

/* Two keys at once: three events. */
static void two_keys(Norm *x, bool down)
{
    input_key(NULL, KEY_A, down);
    input_key(NULL, KEY_B, down);
    input_sync();
    board_run(x->b);
}

static unsigned used(Norm *x)
{
    uint32_t id, len;
    unsigned n = 0;

    for (; vring_used(&x->d.ring[EVENTS], &id, &len); n++) {
        g_assert_cmpuint(len, ==, sizeof(Wire));
    }
    return n;
}

static void init_1(Norm *x)
{
    unsigned known = 0;

    NORM("INP-INIT-1");
    keyboard(x);
    norm_dev_write(x, SELECT, 1, 1);
    norm_dev_write(x, SUBSEL, 1, 0);
    g_assert_cmpuint(norm_dev(x, SIZE, 1), ==, sizeof "QEMU Virtio Keyboard");
    for (unsigned select = 0; select < 256; select++) {
        norm_dev_write(x, SELECT, 1, select);
        for (unsigned subsel = 0; subsel < 256; subsel++) {
            norm_dev_write(x, SUBSEL, 1, subsel);
            known += norm_dev(x, SIZE, 1) != 0;
            if (norm_dev(x, SIZE, 1) == 0) {
                g_assert_cmphex(norm_dev(x, 8, 8), ==, 0);
            }
        }
    }
    g_assert_cmpuint(known, ==, 5); /* name, ids, keys, repeat, lights */
    end(x);
}

static void op_1(Norm *x)
{
    NORM("INP-OP-1");
    keyboard(x);
    two_keys(x, true); /* no buffers */
    g_assert_cmpuint(used(x), ==, 0);
    give(x, 0, 3, sizeof(Wire));
    g_assert_cmpuint(used(x), ==, 0);
    norm_note("updates are dropped while there are not enough buffers");
    two_keys(x, false);
    g_assert_cmpuint(used(x), ==, 3);
    end(x);
}

/* Buffers that are too short: the driver's fault (5.8.6.1). */
static void short_buffers(Norm *x)
{
    keyboard(x);
    give(x, 0, 3, sizeof(Wire) - 1);
    two_keys(x, true);
    g_assert_cmphex(vd_status(&x->d) & 64, ==, 64);
    end(x);
    keyboard(x);
    const VBuf b = { x->page, 7, false };

    vring_add(&x->d.ring[STATUS], &b, 1, 0);
    vd_kick(&x->d, STATUS);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d) & 64, ==, 64);
    end(x);
}

static void op_2(Norm *x)
{
    NORM("INP-OP-2");
    keyboard(x);
    give(x, 0, 2, sizeof(Wire));
    two_keys(x, true); /* one buffer is missing */
    g_assert_cmpuint(used(x), ==, 0);
    give(x, 2, 1, sizeof(Wire)); /* three now: none was lost */
    two_keys(x, false);
    g_assert_cmpuint(used(x), ==, 3);
    end(x);
    short_buffers(x);
}

static void op_3(Norm *x)
{
    NORM("INP-OP-3");
    keyboard(x);
    give(x, 0, 2, sizeof(Wire));
    two_keys(x, true);
    g_assert_cmpuint(used(x), ==, 0);
    give(x, 2, 4, sizeof(Wire));
    two_keys(x, false);
    g_assert_cmpuint(used(x), ==, 3);
    /* The whole of the second update is there, nothing of the first. */
    g_assert_cmphex(vport_r32(&x->b->port, x->page), ==, EV_KEY | KEY_A << 16);
    g_assert_cmphex(vport_r32(&x->b->port, x->page + 4), ==, 0);
    /* One that is longer than any queue goes, too, and leaves no half. */
    for (unsigned i = 0; i < 100; i++) {
        input_key(NULL, KEY_C, i % 2 == 0);
    }
    input_sync();
    board_run(x->b);
    g_assert_cmpuint(used(x), ==, 0);
    end(x);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "INP-INIT-1", init_1, NORM_BARE, NULL },
        { "INP-OP-1", op_1, NORM_BARE, NULL },
        { "INP-OP-2", op_2, NORM_BARE, NULL },
        { "INP-OP-3", op_3, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
