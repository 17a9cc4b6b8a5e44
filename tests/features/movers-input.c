/* Input for the feature table: an update arrives as the events it is made of, lights go back
 * (VIRTIO 1.4, 5.8). */
#include "tests/features/feat.h"
#include "ui/input.h"

#include <linux/input-event-codes.h>

enum { EVENTS, STATUS };

const FeatBit feat_input_bits[] = { { NONE, ALONE, NULL } };

typedef struct Wire {
    uint16_t type, code;
    int32_t value;
} Wire;

/* Gives n buffers, lets send() happen, compares what came. */
static void expect(Feat *x, void (*send)(Feat *x), const Wire *want, unsigned n)
{
    uint16_t id[8];

    for (unsigned i = 0; i < n; i++) {
        const VBuf buf = { x->page + 64 * i, sizeof(Wire), true };

        id[i] = vring_add(&x->d.ring[EVENTS], &buf, 1, 0);
    }
    vd_kick(&x->d, EVENTS);
    board_run(x->b);
    g_assert_true(feat_none(x, EVENTS));
    send(x);
    input_sync();
    for (unsigned i = 0; i < n; i++) {
        Wire got;

        g_assert_cmpuint(feat_taken(x, EVENTS, id[i]), ==, sizeof got);
        feat_get(x, x->page + 64 * i, &got, sizeof got);
        g_assert_cmpmem(&got, sizeof got, &want[i], sizeof got);
    }
}

static void send_key(Feat *x)
{
    input_key(NULL, KEY_A + x->round % 5, true);
}

static void release_key(Feat *x)
{
    input_key(NULL, KEY_A + x->round % 5, false);
}

void feat_keyboard_move(Feat *x)
{
    const Wire down[] = { { EV_KEY, KEY_A + x->round % 5, 1 }, { EV_SYN, SYN_REPORT, 0 } },
               up[] = { { EV_KEY, KEY_A + x->round % 5, 0 }, { EV_SYN, SYN_REPORT, 0 } };
    const VBuf lamp = { x->page + 0x1000, sizeof(Wire), false };

    expect(x, send_key, down, 2);
    expect(x, release_key, up, 2);
    for (unsigned on = 2; on--;) {
        const Wire w = { EV_LED, LED_CAPSL, (int32_t)on };

        feat_put(x, lamp.at, &w, sizeof w);
        feat_go(x, STATUS, &lamp, 1);
        g_assert_cmphex(input_leds(NULL), ==, on ? INPUT_LED_CAPS : 0);
    }
}

static void send_motion(Feat *x)
{
    input_rel(NULL, INPUT_X, -3 - (int)x->round);
    input_rel(NULL, INPUT_Y, 70000);
    input_button(NULL, INPUT_WHEEL_UP, true);
}

static void release_wheel(Feat *x)
{
    input_button(NULL, INPUT_WHEEL_UP, false);
}

void feat_mouse_move(Feat *x)
{
    const Wire want[] = { { EV_REL, REL_X, -3 - (int)x->round }, { EV_REL, REL_Y, 70000 },
        { EV_REL, REL_WHEEL, 1 }, { EV_SYN, SYN_REPORT, 0 } },
               up[] = { { EV_KEY, BTN_GEAR_UP, 0 }, { EV_SYN, SYN_REPORT, 0 } };

    expect(x, send_motion, want, 4);
    expect(x, release_wheel, up, 2);
}

static void send_position(Feat *x)
{
    input_abs(NULL, INPUT_X, 1279, 1280);
    input_abs(NULL, INPUT_Y, 0, 800);
    input_button(NULL, INPUT_LEFT, true);
}

static void release_button(Feat *x)
{
    input_button(NULL, INPUT_LEFT, false);
}

void feat_tablet_move(Feat *x)
{
    const Wire want[] = { { EV_ABS, ABS_X, 0x7fff }, { EV_ABS, ABS_Y, 0 }, { EV_KEY, BTN_LEFT, 1 },
        { EV_SYN, SYN_REPORT, 0 } },
               up[] = { { EV_KEY, BTN_LEFT, 0 }, { EV_SYN, SYN_REPORT, 0 } };

    expect(x, send_position, want, 4);
    expect(x, release_button, up, 2);
}

static void send_touch(Feat *x)
{
    input_send(NULL, &(InputEvent){ .kind = INPUT_MTT, .slot = 3, .tracking_id = 5 });
    input_send(NULL, &(InputEvent){ .kind = INPUT_MTT,
                         .touch = INPUT_TOUCH_DATA,
                         .slot = 3,
                         .axis = INPUT_Y,
                         .value = 99 });
}

static void end_touch(Feat *x)
{
    input_send(NULL, &(InputEvent){ .kind = INPUT_MTT, .touch = INPUT_TOUCH_END, .slot = 3 });
}

void feat_multitouch_move(Feat *x)
{
    const Wire want[] = { { EV_ABS, ABS_MT_SLOT, 3 }, { EV_ABS, ABS_MT_TRACKING_ID, 5 },
        { EV_ABS, ABS_MT_POSITION_Y, 99 }, { EV_SYN, SYN_REPORT, 0 } },
               up[] = { { EV_ABS, ABS_MT_SLOT, 3 }, { EV_ABS, ABS_MT_TRACKING_ID, -1 },
                   { EV_SYN, SYN_REPORT, 0 } };

    expect(x, send_touch, want, 4);
    expect(x, end_touch, up, 3);
}
