/* Input: see include/ui/input.h. Tested by tests/unit/test-input.c. */
#include "ui/input.h"

#include "util/err.h"
#include "util/timer.h"

#include <string.h>

struct InputHandler {
    const InputHandlerOps *ops;
    void *opaque;
    char *device; /* NULL: bound to no display */
    uint32_t head;
    unsigned index, leds;
    bool dirty; /* events since its last sync() */
    uint64_t keys[INPUT_NKEYS / 64];
    uint32_t buttons;
    uint32_t slots; /* fingers that are down */
};

/* A step of input_type(): a key, then a pause. */
typedef struct Step {
    uint16_t key;
    bool down;
    uint32_t pause_ms;
} Step;
enum { STEPS_MAX = 1024 };

static struct {
    GList *handlers; /* InputHandler*: the first one that takes an event gets it */
    unsigned last_index;
    RunState *run;
    void (*changed)(void *opaque);
    void *opaque;
    GQueue steps; /* Step* */
    Timer pause;
    bool timer_made;
} input;

static void tell(void)
{
    if (input.changed) {
        input.changed(input.opaque);
    }
}

bool input_running(void)
{
    return !input.run || run_is_running(input.run);
}

/* ---- handlers ---- */

static bool has_key(const InputHandler *h, uint16_t key)
{
    return h->keys[key / 64] >> (key % 64) & 1;
}

static bool holds(const InputHandler *h, const InputEvent *ev)
{
    return ev->kind == INPUT_KEY ? has_key(h, ev->key) : h->buttons >> ev->button & 1;
}

static bool is_release(const InputEvent *ev)
{
    return (ev->kind == INPUT_KEY || ev->kind == INPUT_BTN) && !ev->down;
}

static bool comes_from(const InputHandler *h, const Display *from)
{
    return from && display_is_of(from, h->device) && display_head(from) == h->head;
}

/* The first handler for one of these kinds. */
static InputHandler *find(const Display *from, unsigned kinds)
{
    InputHandler *unbound = NULL;

    for (GList *l = input.handlers; l; l = l->next) {
        InputHandler *h = l->data;

        if (!(h->ops->kinds & kinds)) {
            continue;
        }
        if (h->device ? comes_from(h, from) : !unbound) {
            if (h->device) {
                return h;
            }
            unbound = h;
        }
    }
    return unbound;
}

static void sync_one(InputHandler *h)
{
    if (h->dirty) {
        h->dirty = false;
        if (h->ops->sync) {
            h->ops->sync(h->opaque);
        }
    }
}

static void give(InputHandler *h, const InputEvent *ev)
{
    uint64_t bit = 1ull << (ev->key % 64);

    if (ev->kind == INPUT_KEY) {
        uint64_t *word = &h->keys[ev->key / 64];

        *word = ev->down ? *word | bit : *word & ~bit;
    } else if (ev->kind == INPUT_BTN) {
        uint32_t b = 1u << ev->button;

        h->buttons = ev->down ? h->buttons | b : h->buttons & ~b;
    } else if (ev->kind == INPUT_MTT) {
        uint32_t b = 1u << ev->slot;

        if (ev->touch == INPUT_TOUCH_BEGIN) {
            h->slots |= b;
        } else if (ev->touch == INPUT_TOUCH_END || ev->touch == INPUT_TOUCH_CANCEL) {
            h->slots &= ~b;
        }
    }
    h->dirty = true;
    h->ops->event(h->opaque, ev);
}

static void release_all(InputHandler *h)
{
    for (uint16_t k = 0; k < INPUT_NKEYS; k++) {
        if (has_key(h, k)) {
            give(h, &(InputEvent){ .kind = INPUT_KEY, .key = k });
        }
    }
    for (unsigned b = 0; b < INPUT_NBUTTONS; b++) {
        if (h->buttons >> b & 1) {
            give(h, &(InputEvent){ .kind = INPUT_BTN, .button = b });
        }
    }
    for (unsigned s = 0; s < INPUT_SLOTS; s++) {
        if (h->slots >> s & 1) {
            give(h, &(InputEvent){ .kind = INPUT_MTT,
                        .touch = INPUT_TOUCH_END,
                        .slot = (uint8_t)s,
                        .tracking_id = -1 });
        }
    }
    sync_one(h);
}

InputHandler *input_handler_add(
    const InputHandlerOps *ops, void *opaque, const char *device, uint32_t head)
{
    InputHandler *h = g_new0(InputHandler, 1);

    loop_assert(loop_main());
    *h = (InputHandler){ .ops = ops,
        .opaque = opaque,
        .device = g_strdup(device),
        .head = head,
        .index = ++input.last_index };
    input.handlers = g_list_append(input.handlers, h);
    tell();
    return h;
}

void input_handler_remove(InputHandler *h)
{
    if (!h) {
        return;
    }
    release_all(h);
    input.handlers = g_list_remove(input.handlers, h);
    g_free(h->device);
    g_free(h);
    tell();
}

void input_handler_first(InputHandler *h)
{
    input.handlers = g_list_prepend(g_list_remove(input.handlers, h), h);
    tell();
}

void input_handler_last(InputHandler *h)
{
    release_all(h);
    input.handlers = g_list_append(g_list_remove(input.handlers, h), h);
    tell();
}

void input_set_leds(InputHandler *h, unsigned leds)
{
    if (h->leds != leds) {
        h->leds = leds;
        tell();
    }
}

/* ---- events ---- */

static InputHandler *holder(const InputEvent *ev)
{
    for (GList *l = input.handlers; l; l = l->next) {
        if (holds(l->data, ev)) {
            return l->data;
        }
    }
    return NULL;
}

void input_send(const Display *from, const InputEvent *ev)
{
    InputHandler *h;

    g_assert(ev->key < INPUT_NKEYS && ev->slot < INPUT_SLOTS);
    if (!input_running() || (ev->kind == INPUT_KEY && !ev->key)) {
        return; /* what is held is let go when the VM runs again */
    }
    h = is_release(ev) ? holder(ev) : find(from, 1u << ev->kind);
    if (h) {
        give(h, ev);
    }
}

void input_sync(void)
{
    for (GList *l = input.handlers; l; l = l->next) {
        sync_one(l->data);
    }
}

void input_key(const Display *from, uint16_t key, bool down)
{
    input_send(from, &(InputEvent){ .kind = INPUT_KEY, .key = key, .down = down });
}

void input_button(const Display *from, InputButton b, bool down)
{
    input_send(from, &(InputEvent){ .kind = INPUT_BTN, .button = b, .down = down });
}

void input_rel(const Display *from, InputAxis axis, int32_t steps)
{
    input_send(from, &(InputEvent){ .kind = INPUT_REL, .axis = axis, .value = steps });
}

void input_abs(const Display *from, InputAxis axis, int32_t value, int32_t size)
{
    int64_t at = size > 1 ? (int64_t)CLAMP(value, 0, size - 1) * INPUT_ABS_MAX / (size - 1) : 0;

    input_send(from, &(InputEvent){ .kind = INPUT_ABS, .axis = axis, .value = (int32_t)at });
}

bool input_is_absolute(const Display *from)
{
    const InputHandler *h = find(from, 1u << INPUT_REL | 1u << INPUT_ABS);

    return h && h->ops->kinds & 1u << INPUT_ABS;
}

bool input_taken(const Display *from, InputKind kind)
{
    return find(from, 1u << kind) != NULL;
}

unsigned input_leds(const Display *from)
{
    const InputHandler *h = find(from, 1u << INPUT_KEY);

    return h ? h->leds : 0;
}

void input_on_change(void (*fn)(void *opaque), void *opaque)
{
    input.changed = fn;
    input.opaque = opaque;
}

/* ---- keys that are typed ---- */

static void go_on(void *opaque)
{
    for (Step *s; (s = g_queue_pop_head(&input.steps));) {
        uint32_t pause_ms = s->pause_ms;

        input_key(NULL, s->key, s->down);
        input_sync();
        g_free(s);
        if (pause_ms) {
            timer_mod(
                &input.pause, clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)pause_ms * INT64_C(1000000));
            return;
        }
    }
}

static void add_step(uint16_t key, bool down, uint32_t pause_ms)
{
    Step *s = g_new(Step, 1);

    *s = (Step){ key, down, pause_ms };
    g_queue_push_tail(&input.steps, s);
}

bool input_type(const uint16_t *keys, unsigned n, uint32_t hold_ms, GError **err)
{
    if (!input_running()) {
        return true;
    }
    if (n > STEPS_MAX / 2 || input.steps.length + 2 * n > STEPS_MAX) {
        return err_set(err, "Too many keys are waiting to be typed");
    }
    if (!input.timer_made) {
        timer_init(&input.pause, loop_main(), CLOCK_KIND_VIRTUAL, go_on, NULL);
        input.timer_made = true;
    }
    for (unsigned i = 0; i < n; i++) {
        add_step(keys[i], true, hold_ms);
    }
    for (unsigned i = n; i--;) {
        add_step(keys[i], false, hold_ms);
    }
    if (!timer_pending(&input.pause)) {
        go_on(NULL);
    }
    return true;
}

/* ---- mice ---- */

static bool is_mouse(const InputHandler *h)
{
    return h->ops->kinds & (1u << INPUT_REL | 1u << INPUT_ABS);
}

InputMouse *input_mice(unsigned *ret_n)
{
    InputMouse *m = g_new0(InputMouse, g_list_length(input.handlers) + 1);
    unsigned n = 0;
    const InputHandler *current = find(NULL, 1u << INPUT_REL | 1u << INPUT_ABS);

    for (GList *l = g_list_last(input.handlers); l; l = l->prev) {
        const InputHandler *h = l->data;

        if (is_mouse(h)) {
            m[n++] = (InputMouse){ .name = h->ops->name,
                .index = h->index,
                .current = h == current,
                .absolute = h->ops->kinds & 1u << INPUT_ABS };
        }
    }
    *ret_n = n;
    return m;
}

bool input_mouse_set(int64_t index, GError **err)
{
    for (GList *l = input.handlers; l; l = l->next) {
        InputHandler *h = l->data;

        if (h->index == index) {
            if (!is_mouse(h)) {
                return err_set(err, "Input device '%s' is not a mouse", h->ops->name);
            }
            input_handler_first(h);
            return true;
        }
    }
    return err_set(err, "Mouse at index '%" G_GINT64_FORMAT "' not found", index);
}

/* ---- the VM stops and goes on ---- */

/* Who held a key when the VM stopped may have let go of it meanwhile: nothing tells. */
static void run_changed(void *opaque, bool runs)
{
    for (GList *l = runs ? input.handlers : NULL; l; l = l->next) {
        release_all(l->data);
    }
}

void input_init(RunState *run)
{
    input.run = run;
    run_listen(run, run_changed, NULL, 100);
}
