/*
 * virtio-keyboard, -mouse, -tablet and -multitouch: events of the input layer as Linux' evdev has
 * them (VIRTIO 1.4, 5.8; linux/input-event-codes.h; Linux' multi-touch protocol B). Names, numbers
 * and bitmaps are those of QEMU 10.0. Tested by tests/features, tests/system/test_input.py.
 */
#include "hw/virtio/virtio-input.h"
#include "hw/virtio/virtio-pci.h"
#include "ui/input.h"

#include <linux/input-event-codes.h>
#include <string.h>

enum { BUSTYPE_VIRTUAL = 6, VENDOR = 0x0627, TOUCH_IDS = 10, NO_SLOT = 0xff };

typedef struct Hid {
    VirtioInput vi;
    char *display;
    uint32_t head;
    bool wheel_axis;
    InputHandler *handler;
    uint8_t slot; /* the driver's current one */
    uint8_t leds;
} Hid;

/* ---- from the layer ---- */

static const uint16_t button_codes[INPUT_NBUTTONS] = {
    [INPUT_LEFT] = BTN_LEFT,
    [INPUT_MIDDLE] = BTN_MIDDLE,
    [INPUT_RIGHT] = BTN_RIGHT,
    [INPUT_WHEEL_UP] = BTN_GEAR_UP,
    [INPUT_WHEEL_DOWN] = BTN_GEAR_DOWN,
    [INPUT_SIDE] = BTN_SIDE,
    [INPUT_EXTRA] = BTN_EXTRA,
    [INPUT_TOUCH] = BTN_TOUCH,
};

static void hid_button(Hid *s, const InputEvent *ev)
{
    bool is_wheel = ev->button == INPUT_WHEEL_UP || ev->button == INPUT_WHEEL_DOWN;

    if (is_wheel && s->wheel_axis && ev->down) {
        virtio_input_send(&s->vi, EV_REL, REL_WHEEL, ev->button == INPUT_WHEEL_UP ? 1 : -1);
    } else if (button_codes[ev->button]) {
        virtio_input_send(&s->vi, EV_KEY, button_codes[ev->button], ev->down);
    }
}

static void hid_slot(Hid *s, uint8_t slot)
{
    virtio_input_send(&s->vi, EV_ABS, ABS_MT_SLOT, slot);
    s->slot = slot;
}

static void hid_touch(Hid *s, const InputEvent *ev)
{
    switch (ev->touch) {
    case INPUT_TOUCH_BEGIN:
    case INPUT_TOUCH_UPDATE:
        hid_slot(s, ev->slot);
        virtio_input_send(&s->vi, EV_ABS, ABS_MT_TRACKING_ID, ev->tracking_id);
        break;
    case INPUT_TOUCH_END:
    case INPUT_TOUCH_CANCEL:
        hid_slot(s, ev->slot);
        virtio_input_send(&s->vi, EV_ABS, ABS_MT_TRACKING_ID, -1);
        break;
    case INPUT_TOUCH_DATA:
        if (ev->slot != s->slot) {
            hid_slot(s, ev->slot);
        }
        virtio_input_send(
            &s->vi, EV_ABS, ev->axis == INPUT_X ? ABS_MT_POSITION_X : ABS_MT_POSITION_Y, ev->value);
        break;
    }
}

static void hid_event(void *opaque, const InputEvent *ev)
{
    Hid *s = opaque;

    switch (ev->kind) {
    case INPUT_KEY:
        virtio_input_send(&s->vi, EV_KEY, ev->key, ev->down);
        break;
    case INPUT_BTN:
        hid_button(s, ev);
        break;
    case INPUT_REL:
        virtio_input_send(&s->vi, EV_REL, ev->axis == INPUT_X ? REL_X : REL_Y, ev->value);
        break;
    case INPUT_ABS:
        virtio_input_send(&s->vi, EV_ABS, ev->axis == INPUT_X ? ABS_X : ABS_Y, ev->value);
        break;
    case INPUT_MTT:
        hid_touch(s, ev);
        break;
    }
}

static void hid_sync(void *opaque)
{
    virtio_input_send(&((Hid *)opaque)->vi, EV_SYN, SYN_REPORT, 0);
}

/* ---- from the driver ---- */

static void hid_active(VirtioInput *vi, bool on)
{
    Hid *s = (Hid *)vi;

    s->slot = NO_SLOT;
    if (on) {
        input_handler_first(s->handler);
    } else {
        input_handler_last(s->handler);
        s->leds = 0;
        input_set_leds(s->handler, 0);
    }
}

static void hid_status(VirtioInput *vi, uint16_t type, uint16_t code, int32_t value)
{
    static const uint8_t bits[] = {
        [LED_NUML] = INPUT_LED_NUM, [LED_CAPSL] = INPUT_LED_CAPS, [LED_SCROLLL] = INPUT_LED_SCROLL
    };
    Hid *s = (Hid *)vi;

    if (type == EV_LED && code < G_N_ELEMENTS(bits)) {
        s->leds = value ? s->leds | bits[code] : s->leds & (uint8_t)~bits[code];
        input_set_leds(s->handler, s->leds);
    }
}

/* ---- configuration ---- */

/* product, version: as QEMU's */
static void cfg_identity(Hid *s, const char *name, uint16_t product, uint16_t version)
{
    const le16 ids[] = { le16_of(BUSTYPE_VIRTUAL), le16_of(VENDOR), le16_of(product),
        le16_of(version) };

    /* QEMU compat: with the NUL. */
    virtio_input_cfg(&s->vi, VIRTIO_INPUT_CFG_ID_NAME, 0, name, strlen(name) + 1);
    virtio_input_cfg(&s->vi, VIRTIO_INPUT_CFG_ID_DEVIDS, 0, ids, sizeof ids);
}

static void set_bit(uint8_t *bits, unsigned n)
{
    bits[n / 8] |= (uint8_t)(1u << n % 8);
}

static void cfg_buttons(Hid *s)
{
    uint8_t bits[KEY_CNT / 8] = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(button_codes); i++) {
        if (button_codes[i]) {
            set_bit(bits, button_codes[i]);
        }
    }
    virtio_input_cfg_bits(&s->vi, VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, bits, sizeof bits);
}

static void cfg_axis(Hid *s, uint8_t axis, uint32_t max)
{
    const le32 info[5] = { [1] = le32_of(max) }; /* min, max, fuzz, flat, res */

    virtio_input_cfg(&s->vi, VIRTIO_INPUT_CFG_ABS_INFO, axis, info, sizeof info);
}

static void hid_join(Hid *s, const InputHandlerOps *ops)
{
    s->handler = input_handler_add(ops, s, s->display, s->head);
    s->slot = NO_SLOT;
}

static bool keyboard_realize(VirtioInput *vi, GError **err)
{
    static const InputHandlerOps ops = { .name = "QEMU Virtio Keyboard",
        .kinds = 1 << INPUT_KEY,
        .event = hid_event,
        .sync = hid_sync };
    static const uint8_t repeat = 0, leds = 1 << LED_NUML | 1 << LED_CAPSL | 1 << LED_SCROLLL;
    uint8_t bits[KEY_CNT / 8] = { 0 };
    uint16_t key;
    Hid *s = (Hid *)vi;

    cfg_identity(s, ops.name, 1, 1);
    for (unsigned i = 0; (key = input_key_nth(i)) != UINT16_MAX; i++) {
        set_bit(bits, key);
    }
    bits[0] &= (uint8_t)~1; /* KEY_RESERVED */
    virtio_input_cfg_bits(vi, VIRTIO_INPUT_CFG_EV_BITS, EV_KEY, bits, sizeof bits);
    /* The guest repeats keys by itself. */
    virtio_input_cfg(vi, VIRTIO_INPUT_CFG_EV_BITS, EV_REP, &repeat, sizeof repeat);
    virtio_input_cfg(vi, VIRTIO_INPUT_CFG_EV_BITS, EV_LED, &leds, sizeof leds);
    hid_join(s, &ops);
    return true;
}

static bool mouse_realize(VirtioInput *vi, GError **err)
{
    static const InputHandlerOps ops = { .name = "QEMU Virtio Mouse",
        .kinds = 1 << INPUT_BTN | 1 << INPUT_REL,
        .event = hid_event,
        .sync = hid_sync };
    /* QEMU compat: the wheel is announced with wheel-axis=off, too. */
    static const uint8_t axes[] = { 1 << REL_X | 1 << REL_Y, 1 << (REL_WHEEL - 8) };
    Hid *s = (Hid *)vi;

    cfg_identity(s, ops.name, 2, 2);
    cfg_buttons(s);
    virtio_input_cfg(vi, VIRTIO_INPUT_CFG_EV_BITS, EV_REL, axes, sizeof axes);
    hid_join(s, &ops);
    return true;
}

static bool tablet_realize(VirtioInput *vi, GError **err)
{
    static const InputHandlerOps ops = { .name = "QEMU Virtio Tablet",
        .kinds = 1 << INPUT_BTN | 1 << INPUT_ABS,
        .event = hid_event,
        .sync = hid_sync };
    static const uint8_t wheel[2] = { 0, 1 << (REL_WHEEL - 8) }, axes = 1 << ABS_X | 1 << ABS_Y;
    Hid *s = (Hid *)vi;

    cfg_identity(s, ops.name, 3, 2);
    cfg_buttons(s);
    virtio_input_cfg(vi, VIRTIO_INPUT_CFG_EV_BITS, EV_REL, wheel, sizeof wheel);
    virtio_input_cfg(vi, VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, &axes, sizeof axes);
    cfg_axis(s, ABS_X, INPUT_ABS_MAX);
    cfg_axis(s, ABS_Y, INPUT_ABS_MAX);
    hid_join(s, &ops);
    return true;
}

static bool multitouch_realize(VirtioInput *vi, GError **err)
{
    static const InputHandlerOps ops = { .name = "QEMU Virtio MultiTouch",
        .kinds = 1 << INPUT_BTN | 1 << INPUT_MTT,
        .event = hid_event,
        .sync = hid_sync };
    static const uint8_t direct = 1 << INPUT_PROP_DIRECT;
    uint8_t bits[ABS_CNT / 8] = { 0 };
    Hid *s = (Hid *)vi;

    cfg_identity(s, ops.name, 3, 1);
    cfg_buttons(s);
    virtio_input_cfg(vi, VIRTIO_INPUT_CFG_PROP_BITS, 0, &direct, sizeof direct);
    set_bit(bits, ABS_MT_SLOT);
    set_bit(bits, ABS_MT_TRACKING_ID);
    set_bit(bits, ABS_MT_POSITION_X);
    set_bit(bits, ABS_MT_POSITION_Y);
    virtio_input_cfg_bits(vi, VIRTIO_INPUT_CFG_EV_BITS, EV_ABS, bits, sizeof bits);
    cfg_axis(s, ABS_MT_SLOT, INPUT_SLOTS);
    cfg_axis(s, ABS_MT_TRACKING_ID, TOUCH_IDS);
    cfg_axis(s, ABS_MT_POSITION_X, INPUT_ABS_MAX);
    cfg_axis(s, ABS_MT_POSITION_Y, INPUT_ABS_MAX);
    hid_join(s, &ops);
    return true;
}

static void hid_unrealize(VirtioInput *vi)
{
    Hid *s = (Hid *)vi;

    input_handler_remove(s->handler);
    s->handler = NULL;
}

/* ---- the types ---- */

#define HID_KIND(name, lights)                                                                     \
    static const VirtioInputKind name##_kind = { .realize = name##_realize,                        \
        .unrealize = hid_unrealize,                                                                \
        .active = hid_active,                                                                      \
        .status = (lights) };                                                                      \
    static void name##_init(Obj *o)                                                                \
    {                                                                                              \
        ((VirtioInput *)o)->kind = &name##_kind;                                                   \
    }
HID_KIND(keyboard, hid_status)
HID_KIND(mouse, NULL)
HID_KIND(tablet, NULL)
HID_KIND(multitouch, NULL)

#define HID_PROPS                                                                                  \
    PROP_STR("serial", Hid, vi.serial, "what the guest reads as serial number"),                   \
        PROP_STR("display", Hid, display, "takes events of this display device only"),             \
        PROP_U32("head", Hid, head, 0, "of its heads")
static const PropSpec hid_props[] = { HID_PROPS, PROP_END };
static const PropSpec wheel_props[] = { HID_PROPS,
    PROP_BOOL("wheel-axis", Hid, wheel_axis, true, "the wheel is an axis; off: two buttons"),
    PROP_END };

VIRTIO_INPUT_OPS(keyboard_ops, 0x090000);
VIRTIO_INPUT_OPS(mouse_ops, 0x090200);
VIRTIO_INPUT_OPS(tablet_ops, 0x098000);

#define HID_CLASS(sym, tname, what, table, o)                                                      \
    const ObjClass virtio_##sym##_class = {                                                        \
        .name = tname "-device",                                                                   \
        .parent = "virtio-input-hid-device",                                                       \
        .help = (what),                                                                            \
        .category = "Input",                                                                       \
        .size = sizeof(Hid),                                                                       \
        .flags = OBJ_DEVICE,                                                                       \
        .bus = "virtio-bus",                                                                       \
        .props = (const PropGroup[]){ { table, NULL }, { NULL, NULL } },                           \
        .ops = &(o),                                                                               \
        .init = sym##_init,                                                                        \
    }
HID_CLASS(keyboard, "virtio-keyboard", "a keyboard", hid_props, keyboard_ops);
HID_CLASS(mouse, "virtio-mouse", "a mouse", wheel_props, mouse_ops);
HID_CLASS(tablet, "virtio-tablet", "a pointer with absolute positions", wheel_props, tablet_ops);
HID_CLASS(multitouch, "virtio-multitouch", "a touch screen", hid_props, tablet_ops);
VIRTIO_PCI_TYPE_WITH(virtio_keyboard, "virtio-keyboard", virtio_keyboard_class,
    virtio_input_pci_props, hid_props, "Input", 0);
VIRTIO_PCI_TYPE_WITH(virtio_mouse, "virtio-mouse", virtio_mouse_class, virtio_input_pci_props,
    wheel_props, "Input", 0);
VIRTIO_PCI_TYPE_WITH(virtio_tablet, "virtio-tablet", virtio_tablet_class, virtio_input_pci_props,
    wheel_props, "Input", 0);
VIRTIO_PCI_TYPE_WITH(virtio_multitouch, "virtio-multitouch", virtio_multitouch_class,
    virtio_input_pci_props, hid_props, "Input", 0);
