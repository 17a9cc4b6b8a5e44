/* What viewers type and point at, for the input layer. Main loop. Tested by
 * tests/system/test_vnc.py. */
#include "vnc-internal.h"

#include <string.h>

/* Bits of a viewer's pointer events: RFC 6143, 7.5.5, and what viewers add. */
static const InputButton buttons[] = { INPUT_LEFT, INPUT_MIDDLE, INPUT_RIGHT, INPUT_WHEEL_UP,
    INPUT_WHEEL_DOWN, INPUT_WHEEL_LEFT, INPUT_WHEEL_RIGHT, INPUT_SIDE };

void vnc_client_buttons(VncClient *c, uint32_t now)
{
    for (unsigned b = 0; b < G_N_ELEMENTS(buttons); b++) {
        if ((now ^ c->buttons) >> b & 1) {
            input_button(c->server->display, buttons[b], now >> b & 1);
        }
    }
    c->buttons = now;
}

static void pointer(VncClient *c, const VncEvent *ev)
{
    const VncServer *s = c->server;

    if (input_is_absolute(s->display)) {
        input_abs(s->display, INPUT_X, ev->x, (int32_t)s->frame.width);
        input_abs(s->display, INPUT_Y, ev->y, (int32_t)s->frame.height);
    } else if (c->last_x >= 0) {
        input_rel(s->display, INPUT_X, ev->x - c->last_x);
        input_rel(s->display, INPUT_Y, ev->y - c->last_y);
    }
    c->last_x = ev->x;
    c->last_y = ev->y;
    vnc_client_buttons(c, ev->code);
    input_sync();
}

static gboolean is_key(gpointer id, gpointer key, gpointer wanted)
{
    return key == wanted;
}

/* What a release lets go: the key that a press of the same name was, whatever the name stands for
 * by now; or, as viewers may press "a" and release "A", one that is held and stands for the same.
 */
static uint16_t released(VncClient *c, gpointer id, uint16_t k)
{
    uint16_t was = (uint16_t)GPOINTER_TO_UINT(g_hash_table_lookup(c->held, id));
    gpointer key = GUINT_TO_POINTER(k);

    if (was) {
        g_hash_table_remove(c->held, id);
        return was;
    }
    return k && g_hash_table_foreach_remove(c->held, is_key, key) ? k : 0;
}

static void key(VncClient *c, uint32_t code, uint16_t k, bool down)
{
    gpointer id = GUINT_TO_POINTER(code);

    if (!down) {
        k = released(c, id, k);
    } else if (k && g_hash_table_size(c->held) < VNC_EVENTS) {
        g_hash_table_insert(c->held, id, GUINT_TO_POINTER(k));
    } else {
        return;
    }
    if (k) {
        input_key(c->server->display, k, down);
        input_sync();
    }
}

static void event(VncClient *c, const VncEvent *ev)
{
    DisplayWish w = { .width = ev->x, .height = ev->y };

    switch (ev->kind) {
    case VNC_EV_KEYSYM:
        key(c, ev->code, vnc_key(ev->code), ev->down);
        break;
    case VNC_EV_KEY: /* apart from keysyms */
        key(c, ev->code | 0x80000000, input_key_by_number(ev->code), ev->down);
        break;
    case VNC_EV_POINTER:
        pointer(c, ev);
        break;
    case VNC_EV_INIT:
        vnc_client_initialized(c, ev->down);
        break;
    case VNC_EV_WISH:
        if (c->server->display) {
            display_wish(c->server->display, &w);
        }
        break;
    }
}

void vnc_client_events(void *opaque)
{
    VncClient *c = opaque;
    VncEvent ev[VNC_EVENTS];
    unsigned n;

    g_mutex_lock(&c->lock);
    n = c->nev;
    memcpy(ev, c->ev, n * sizeof ev[0]);
    c->nev = 0;
    c->posted = false;
    g_cond_signal(&c->room);
    g_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < n; i++) {
        event(c, &ev[i]);
    }
}
