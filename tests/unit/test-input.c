/* The input layer (ui/input.c): who gets an event, what is released, what is typed. */
#include "ui/input.h"
#include "util/err.h"
#include "util/timer.h"

#include <linux/input-event-codes.h>
#include <string.h>

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

typedef struct Dev {
    InputHandler *h;
    GString *seen; /* "+30 -30 S" */
} Dev;

static void on_event(void *opaque, const InputEvent *ev)
{
    GString *s = ((Dev *)opaque)->seen;

    switch (ev->kind) {
    case INPUT_KEY:
        g_string_append_printf(s, "%c%u ", ev->down ? '+' : '-', ev->key);
        break;
    case INPUT_BTN:
        g_string_append_printf(s, "%cb%u ", ev->down ? '+' : '-', ev->button);
        break;
    case INPUT_REL:
    case INPUT_ABS:
        g_string_append_printf(s, "%c%c=%d ", ev->kind == INPUT_REL ? 'r' : 'a',
            ev->axis == INPUT_X ? 'x' : 'y', ev->value);
        break;
    case INPUT_MTT:
        g_string_append_printf(s, "t%u:%u id%d ", ev->slot, ev->touch, ev->tracking_id);
        break;
    }
}

static void on_sync(void *opaque)
{
    g_string_append(((Dev *)opaque)->seen, "S ");
}

static const InputHandlerOps keyboard = {
    .name = "Keys", .kinds = 1 << INPUT_KEY, .event = on_event, .sync = on_sync
};
static const InputHandlerOps mouse = {
    .name = "Mouse", .kinds = 1 << INPUT_BTN | 1 << INPUT_REL, .event = on_event, .sync = on_sync
};
static const InputHandlerOps tablet = {
    .name = "Tablet", .kinds = 1 << INPUT_BTN | 1 << INPUT_ABS, .event = on_event, .sync = on_sync
};
static const InputHandlerOps touch = {
    .name = "Touch", .kinds = 1 << INPUT_MTT, .event = on_event, .sync = on_sync
};

static Dev dev(const InputHandlerOps *ops)
{
    return (Dev){ .seen = g_string_new(NULL) };
}

static void plug(Dev *d, const InputHandlerOps *ops, const char *display, uint32_t head)
{
    *d = dev(ops);
    d->h = input_handler_add(ops, d, display, head);
}

static void pull(Dev *d)
{
    input_handler_remove(d->h);
    g_string_free(d->seen, TRUE);
}

static void assert_saw(Dev *d, const char *what)
{
    g_assert_cmpstr(d->seen->str, ==, what);
    g_string_truncate(d->seen, 0);
}

static void test_order(void)
{
    Dev a, b;

    plug(&a, &keyboard, NULL, 0);
    plug(&b, &keyboard, NULL, 0);
    input_key(NULL, KEY_A, true);
    input_sync();
    assert_saw(&a, "+30 S ");
    /* Another comes into use while the key is down: the release goes where the press went. */
    input_handler_first(b.h);
    input_key(NULL, KEY_B, true);
    input_key(NULL, KEY_A, false);
    input_sync();
    assert_saw(&a, "-30 S ");
    assert_saw(&b, "+48 S ");
    /* Out of use: what it holds is let go. */
    input_handler_last(b.h);
    assert_saw(&b, "-48 S ");
    input_key(NULL, KEY_B, false); /* nobody holds it */
    input_sync();
    assert_saw(&a, "");
    assert_saw(&b, "");
    input_key(NULL, 0, true);
    assert_saw(&a, "");
    pull(&b);
    pull(&a);
    input_key(NULL, KEY_A, true); /* nobody there */
}

static void test_removed(void)
{
    Dev d;
    g_autoptr(GString) seen = g_string_new(NULL);
    InputHandler *h = NULL;

    plug(&d, &mouse, NULL, 0);
    input_button(NULL, INPUT_LEFT, true);
    input_button(NULL, INPUT_SIDE, true);
    input_sync();
    assert_saw(&d, "+b0 +b5 S ");
    h = d.h;
    input_handler_remove(h);
    assert_saw(&d, "-b0 -b5 S ");
    g_string_free(d.seen, TRUE);
    input_handler_remove(NULL);

    plug(&d, &touch, NULL, 0);
    input_send(NULL, &(InputEvent){ .kind = INPUT_MTT, .slot = 3, .tracking_id = 9 });
    input_sync();
    assert_saw(&d, "t3:0 id9 S ");
    input_handler_last(d.h);
    assert_saw(&d, "t3:2 id-1 S ");
    pull(&d);
}

/* A display's own devices come first, and take nothing from others. */
static void test_displays(void)
{
    static const DisplayOps ops = { 0 };
    Obj *root = obj_new(&obj_container_class),
        *vga = obj_container(obj_container(root, "peripheral"), "vga1");
    Display *head0 = display_new(vga, 0, &ops, NULL), *head1 = display_new(vga, 1, &ops, NULL);
    Dev all, own, on_head1;

    plug(&own, &keyboard, "vga1", 0);
    plug(&all, &keyboard, NULL, 0);
    plug(&on_head1, &keyboard, "vga1", 1);
    input_key(head0, KEY_A, true);
    input_key(head1, KEY_B, true);
    input_key(NULL, KEY_C, true);
    input_sync();
    assert_saw(&own, "+30 S ");
    assert_saw(&on_head1, "+48 S ");
    assert_saw(&all, "+46 S ");
    input_handler_first(all.h);
    input_key(head0, KEY_D, true);
    assert_saw(&own, "+32 ");
    pull(&own);
    input_key(head0, KEY_D, true);
    assert_saw(&all, "+32 ");
    pull(&on_head1);
    pull(&all);
    display_free(head1);
    display_free(head0);
    obj_unref(root);
}

static void test_pointers(void)
{
    Dev m, t;
    unsigned n;

    g_assert_false(input_is_absolute(NULL));
    plug(&m, &mouse, NULL, 0);
    plug(&t, &tablet, NULL, 0);
    g_assert_false(input_is_absolute(NULL)); /* the first one says */
    input_rel(NULL, INPUT_X, -3);
    input_abs(NULL, INPUT_Y, 799, 800);
    input_abs(NULL, INPUT_X, 0, 1280);
    input_abs(NULL, INPUT_X, 5, 1);
    input_abs(NULL, INPUT_X, 400, 801);
    input_button(NULL, INPUT_RIGHT, true);
    input_sync();
    assert_saw(&m, "rx=-3 +b2 S ");
    assert_saw(&t, "ay=32767 ax=0 ax=0 ax=16383 S ");

    g_autofree InputMouse *mice = input_mice(&n);

    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpstr(mice[0].name, ==, "Tablet");
    g_assert_true(mice[0].absolute && !mice[0].current && mice[1].current && !mice[1].absolute);
    g_autoptr(GError) err = NULL;

    g_assert_true(input_mouse_set(mice[0].index, NULL));
    g_assert_true(input_is_absolute(NULL));
    g_assert_false(input_mouse_set(12345, &err));
    g_assert_cmpstr(err->message, ==, "Mouse at index '12345' not found");
    input_button(NULL, INPUT_RIGHT, false);
    assert_saw(&m, "-b2 ");
    pull(&t);
    pull(&m);
}

static void test_typing(void)
{
    Dev d;
    g_autoptr(GError) err = NULL;
    uint16_t many[513] = { 0 };
    const int64_t ms = 1000000;

    plug(&d, &keyboard, NULL, 0);
    g_assert_true(input_type_text("ctrl-alt-f1", 10, NULL));
    g_assert_true(input_type_text("<", 10, NULL)); /* waits its turn */
    assert_saw(&d, "+29 S ");
    clock_virtual_advance_to(9 * ms);
    assert_saw(&d, "");
    clock_virtual_advance_to(10 * ms);
    assert_saw(&d, "+56 S ");
    clock_virtual_advance_to(59 * ms);
    assert_saw(&d, "+59 S -59 S -56 S -29 S ");
    clock_virtual_advance_to(100 * ms);
    assert_saw(&d, "+86 S -86 S ");
    g_assert_true(input_type_text("0x1e", 10, NULL));
    clock_virtual_advance_to(200 * ms);
    assert_saw(&d, "+30 S -30 S ");
    g_assert_false(input_type_text("a-foo", 10, &err));
    g_assert_cmpstr(err->message, ==, "invalid parameter: foo");
    g_clear_error(&err);
    g_assert_false(input_type(many, G_N_ELEMENTS(many), 10, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    g_assert_false(input_type_text("0x1g", 10, &err));
    g_assert_cmpstr(err->message, ==, "invalid parameter: 0x1g");
    pull(&d);
}

/* Each key has one code of set 1 and comes back by its number. */
static void test_keys(void)
{
    unsigned n = 0;

    for (uint16_t k = 1; k < INPUT_NKEYS; k++) {
        uint16_t code = input_key_set1(k);
        uint64_t number = code == 0xe037 ? 0x54 : code >> 8 ? 0x80 | (code & 0x7f) : code;

        if (!code) {
            continue;
        }
        n++;
        g_assert_cmpuint(input_key_by_number(number), ==, k);
        g_assert_cmpuint(input_key_by_name(input_key_name(k)), ==, k);
        g_assert_cmphex(code & 0x80, ==, 0);
    }
    g_assert_cmpuint(n, >=, 150);
    g_assert_cmpuint(input_key_by_name("sysrq"), ==, KEY_SYSRQ);
    g_assert_cmpuint(input_key_by_name("unmapped"), ==, 0);
    g_assert_cmpuint(input_key_by_name("A"), ==, UINT16_MAX);
    g_assert_cmpuint(input_key_by_number(0x9d), ==, KEY_RIGHTCTRL);
    g_assert_cmpuint(input_key_by_number(0x100), ==, 0);
    g_assert_cmpuint(input_key_by_number(0), ==, 0);
}

static void test_stopped(void)
{
    Dev d;
    RunState *r = run_state_new();

    plug(&d, &keyboard, NULL, 0);
    input_init(r);
    g_assert_false(input_running());
    input_key(NULL, KEY_A, true);
    assert_saw(&d, "");
    run_start(r);
    input_key(NULL, KEY_A, true);
    run_stop(r, RUN_STATE_PAUSED);
    input_key(NULL, KEY_A, false); /* not heard … */
    g_assert_true(input_type_text("b", 10, NULL));
    assert_saw(&d, "+30 ");
    run_start(r); /* … but not forgotten */
    assert_saw(&d, "-30 S ");
    pull(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    clock_virtual_use_qtest();
    loop_main();
    g_test_add_func("/input/order", test_order);
    g_test_add_func("/input/removed", test_removed);
    g_test_add_func("/input/displays", test_displays);
    g_test_add_func("/input/pointers", test_pointers);
    g_test_add_func("/input/typing", test_typing);
    g_test_add_func("/input/keys", test_keys);
    g_test_add_func("/input/stopped", test_stopped);
    return g_test_run();
}
