/*
 * The 8042 keyboard controller of a PC (IBM PS/2 Hardware Interface Technical Reference, "Keyboard
 * and auxiliary device controller"): command byte, output port, and one output buffer that
 * keyboard, mouse and controller share.
 */
#include "hw/input/i8042.h"

#include "ui/input.h"

struct I8042 {
    Dev dev;
    Region data, cmd;
    Irq *kbd_irq, *mouse_irq, *a20, *reset;
    Ps2Kbd kbd;
    Ps2Mouse mouse;
    uint8_t status, mode, outport;
    uint8_t obuf;
    int pending;      /* controller command that waits for its byte on port 0x60; -1: none */
    uint8_t reply[4]; /* controller's own answers go first */
    bool reply_aux[4];
    unsigned nreply;
    InputHandler *kbd_in, *mouse_in;
    Ps2Motion motion; /* of this update */
    uint8_t buttons;
};

enum {
    ST_OBF = 0x01,
    ST_SYS = 0x04,
    ST_CMD = 0x08,
    ST_UNLOCKED = 0x10,
    ST_AUX = 0x20,
    MODE_KBD_INT = 0x01,
    MODE_AUX_INT = 0x02,
    MODE_SYS = 0x04,
    MODE_NO_KBD = 0x10,
    MODE_NO_AUX = 0x20,
    MODE_XLATE = 0x40,
    OUT_RESET = 0x01,
    OUT_A20 = 0x02,
    OUT_OBF = 0x10,
    OUT_AUX_OBF = 0x20,
    OUT_ONES = 0xcc,
    CMD_READ_MODE = 0x20,
    CMD_WRITE_MODE = 0x60,
    CMD_NO_AUX = 0xa7,
    CMD_AUX = 0xa8,
    CMD_TEST_AUX = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_TEST_KBD = 0xab,
    CMD_NO_KBD = 0xad,
    CMD_KBD = 0xae,
    CMD_READ_IN = 0xc0,
    CMD_READ_OUT = 0xd0,
    CMD_WRITE_OUT = 0xd1,
    CMD_WRITE_KBD_OBUF = 0xd2,
    CMD_WRITE_AUX_OBUF = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_PULSE = 0xf0,
};

static void i8042_irqs(I8042 *k)
{
    bool full = k->status & ST_OBF, aux = k->status & ST_AUX;

    if (k->kbd_irq) {
        irq_set(k->kbd_irq, full && !aux && (k->mode & MODE_KBD_INT));
    }
    if (k->mouse_irq) {
        irq_set(k->mouse_irq, full && aux && (k->mode & MODE_AUX_INT));
    }
}

static void i8042_fill(I8042 *k, uint8_t byte, bool aux)
{
    k->obuf = byte;
    k->status = (uint8_t)((k->status & ~ST_AUX) | ST_OBF | (aux ? ST_AUX : 0));
    i8042_irqs(k);
}

/* Moves the next byte into the output buffer when that is free. */
static void i8042_next(I8042 *k)
{
    if (k->status & ST_OBF) {
        return;
    }
    ps2_mouse_flush(&k->mouse);
    if (k->nreply) {
        uint8_t byte = k->reply[0];
        bool aux = k->reply_aux[0];

        k->nreply--;
        for (unsigned i = 0; i < k->nreply; i++) {
            k->reply[i] = k->reply[i + 1];
            k->reply_aux[i] = k->reply_aux[i + 1];
        }
        i8042_fill(k, byte, aux);
    } else if (!(k->mode & MODE_NO_KBD) && ps2_pending(&k->kbd.q)) {
        i8042_fill(k, ps2_read(&k->kbd.q), false);
    } else if (!(k->mode & MODE_NO_AUX) && ps2_pending(&k->mouse.q)) {
        i8042_fill(k, ps2_read(&k->mouse.q), true);
    }
}

static void i8042_changed(void *opaque)
{
    i8042_next(opaque);
}

static void i8042_reply(I8042 *k, uint8_t byte, bool aux)
{
    if (k->nreply < G_N_ELEMENTS(k->reply)) {
        k->reply[k->nreply] = byte;
        k->reply_aux[k->nreply++] = aux;
    }
    i8042_next(k);
}

static void i8042_set_mode(I8042 *k, uint8_t val)
{
    k->mode = val;
    k->kbd.translate = val & MODE_XLATE;
    k->status |= val & MODE_SYS; /* the same bit; QEMU compat: only reset clears it */
    i8042_irqs(k);
    i8042_next(k);
}

static void i8042_pulse_reset(I8042 *k)
{
    if (k->reset) {
        irq_pulse(k->reset);
    }
}

static void i8042_set_outport(I8042 *k, uint8_t val)
{
    k->outport = val;
    if (k->a20) {
        irq_set(k->a20, val & OUT_A20);
    }
    if (!(val & OUT_RESET)) {
        i8042_pulse_reset(k);
    }
}

static uint8_t i8042_outport(const I8042 *k)
{
    uint8_t full = !(k->status & ST_OBF) ? 0 : k->status & ST_AUX ? OUT_AUX_OBF : OUT_OBF;

    return k->outport | full;
}

static void i8042_command(I8042 *k, uint8_t cmd)
{
    k->pending = -1;
    switch (cmd) {
    case CMD_READ_MODE:
        i8042_reply(k, k->mode, false);
        break;
    case CMD_WRITE_MODE:
    case CMD_WRITE_OUT:
    case CMD_WRITE_KBD_OBUF:
    case CMD_WRITE_AUX_OBUF:
    case CMD_WRITE_AUX:
        k->pending = cmd;
        break;
    case CMD_NO_AUX:
        i8042_set_mode(k, k->mode | MODE_NO_AUX);
        break;
    case CMD_AUX:
        i8042_set_mode(k, k->mode & (uint8_t)~MODE_NO_AUX);
        break;
    case CMD_TEST_AUX:
    case CMD_TEST_KBD:
        i8042_reply(k, 0x00, false);
        break;
    case CMD_SELF_TEST:
        k->status |= ST_SYS;
        i8042_reply(k, 0x55, false);
        break;
    case CMD_NO_KBD:
        i8042_set_mode(k, k->mode | MODE_NO_KBD);
        break;
    case CMD_KBD:
        i8042_set_mode(k, k->mode & (uint8_t)~MODE_NO_KBD);
        break;
    case CMD_READ_IN:
        i8042_reply(k, 0x80, false); /* keyboard not locked */
        break;
    case CMD_READ_OUT:
        i8042_reply(k, i8042_outport(k), false);
        break;
    case CMD_A20_OFF:
        i8042_set_outport(k, k->outport & (uint8_t)~OUT_A20);
        break;
    case CMD_A20_ON:
        i8042_set_outport(k, k->outport | OUT_A20);
        break;
    case CMD_PULSE ... 0xff: /* a clear bit pulses its line; bit 0 is the reset line */
        if (!(cmd & OUT_RESET)) {
            i8042_pulse_reset(k);
        }
        break;
    default: /* unknown commands do nothing */
        break;
    }
}

static uint64_t i8042_read_cmd(void *opaque, uint64_t off, unsigned size)
{
    return ((I8042 *)opaque)->status;
}

static void i8042_write_cmd(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    I8042 *k = opaque;

    k->status |= ST_CMD;
    i8042_command(k, (uint8_t)val);
}

static uint64_t i8042_read_data(void *opaque, uint64_t off, unsigned size)
{
    I8042 *k = opaque;
    uint8_t byte = k->obuf;

    if (k->status & ST_OBF) {
        k->status &= (uint8_t)~ST_OBF; /* AUX keeps telling where the last byte came from */
        i8042_irqs(k);
        i8042_next(k);
    }
    return byte;
}

static void i8042_write_data(void *opaque, uint64_t off, unsigned size, uint64_t v)
{
    I8042 *k = opaque;
    uint8_t val = (uint8_t)v;
    int cmd = k->pending;

    k->pending = -1;
    switch (cmd) {
    case CMD_WRITE_MODE:
        i8042_set_mode(k, val);
        break;
    case CMD_WRITE_OUT:
        i8042_set_outport(k, val);
        break;
    case CMD_WRITE_KBD_OBUF:
        i8042_reply(k, val, false);
        break;
    case CMD_WRITE_AUX_OBUF:
        i8042_reply(k, val, true);
        break;
    case CMD_WRITE_AUX:
        ps2_mouse_write(&k->mouse, val);
        i8042_set_mode(k, k->mode & (uint8_t)~MODE_NO_AUX);
        break;
    default: /* to the keyboard, whose clock is started by it */
        ps2_kbd_write(&k->kbd, val);
        if (k->kbd_in) {
            input_set_leds(k->kbd_in, k->kbd.leds);
        }
        i8042_set_mode(k, k->mode & (uint8_t)~MODE_NO_KBD);
        break;
    }
}

/* ---- input ---- */

static void kbd_event(void *opaque, const InputEvent *ev)
{
    I8042 *k = opaque;
    uint16_t code = input_key_set1(ev->key);

    if (code) {
        ps2_key(&k->kbd, code, ev->down);
    }
}

static void mouse_button_event(I8042 *k, const InputEvent *ev)
{
    static const uint8_t bit[INPUT_NBUTTONS] = { [INPUT_LEFT] = 1,
        [INPUT_RIGHT] = 2,
        [INPUT_MIDDLE] = 4,
        [INPUT_SIDE] = 8,
        [INPUT_EXTRA] = 16 };

    if (ev->down) {
        k->motion.dz += (ev->button == INPUT_WHEEL_DOWN) - (ev->button == INPUT_WHEEL_UP);
        k->motion.dw += (ev->button == INPUT_WHEEL_LEFT) - (ev->button == INPUT_WHEEL_RIGHT);
        k->buttons |= bit[ev->button];
    } else {
        k->buttons &= (uint8_t)~bit[ev->button];
    }
}

static void mouse_event(void *opaque, const InputEvent *ev)
{
    I8042 *k = opaque;

    if (ev->kind == INPUT_BTN) {
        mouse_button_event(k, ev);
    } else if (ev->axis == INPUT_X) {
        k->motion.dx = CLAMP(k->motion.dx + CLAMP(ev->value, -4096, 4096), -4096, 4096);
    } else {
        k->motion.dy = CLAMP(k->motion.dy - CLAMP(ev->value, -4096, 4096), -4096, 4096);
    }
}

static void mouse_sync(void *opaque)
{
    I8042 *k = opaque;

    ps2_pointer(&k->mouse, &k->motion, k->buttons);
    k->motion = (Ps2Motion){ 0 };
}

static const InputHandlerOps kbd_handler = {
    .name = "QEMU PS/2 Keyboard", .kinds = 1 << INPUT_KEY, .event = kbd_event
};
static const InputHandlerOps mouse_handler = { .name = "QEMU PS/2 Mouse",
    .kinds = 1 << INPUT_BTN | 1 << INPUT_REL,
    .event = mouse_event,
    .sync = mouse_sync };

static const RegionOps data_ops = {
    .read = i8042_read_data, .write = i8042_write_data, .min_access = 1, .max_access = 1
};
static const RegionOps cmd_ops = {
    .read = i8042_read_cmd, .write = i8042_write_cmd, .min_access = 1, .max_access = 1
};

Ps2Kbd *i8042_kbd(I8042 *k)
{
    return &k->kbd;
}

Ps2Mouse *i8042_mouse(I8042 *k)
{
    return &k->mouse;
}

static void i8042_reset(Obj *o)
{
    I8042 *k = (I8042 *)o;

    ps2_kbd_reset(&k->kbd);
    ps2_mouse_reset(&k->mouse);
    k->kbd.translate = false;
    k->mode = MODE_KBD_INT | MODE_AUX_INT;
    k->status = ST_CMD | ST_UNLOCKED;
    k->obuf = 0;
    k->pending = -1;
    k->nreply = 0;
    i8042_irqs(k);
    i8042_set_outport(k, OUT_RESET | OUT_A20 | OUT_ONES);
}

static void i8042_init(Obj *o)
{
    I8042 *k = (I8042 *)o;

    ps2_kbd_init(&k->kbd, i8042_changed, k);
    ps2_mouse_init(&k->mouse, i8042_changed, k);
    region_init_io(&k->data, o, "i8042-data", &data_ops, k, 1);
    region_init_io(&k->cmd, o, "i8042-cmd", &cmd_ops, k, 1);
    i8042_reset(o);
}

static void i8042_unrealize(Obj *o)
{
    I8042 *k = (I8042 *)o;

    input_handler_remove(k->kbd_in);
    input_handler_remove(k->mouse_in);
    region_unmap(&k->data);
    region_unmap(&k->cmd);
}

static void i8042_fini(Obj *o)
{
    I8042 *k = (I8042 *)o;

    region_fini(&k->data);
    region_fini(&k->cmd);
}

I8042 *i8042_new(Obj *tree, Region *io, Irq *kbd_irq, Irq *mouse_irq, Irq *a20, Irq *reset)
{
    I8042 *k = (I8042 *)obj_new(&i8042_class);

    k->kbd_irq = kbd_irq;
    k->mouse_irq = mouse_irq;
    k->a20 = a20;
    k->reset = reset;
    region_map(io, 0x60, &k->data, 0);
    region_map(io, 0x64, &k->cmd, 0);
    obj_add_array(tree, "device", &k->dev.obj);
    obj_realize(&k->dev.obj, NULL);
    k->kbd_in = input_handler_add(&kbd_handler, k, NULL, 0);
    k->mouse_in = input_handler_add(&mouse_handler, k, NULL, 0);
    obj_unref(&k->dev.obj);
    return k;
}

const ObjClass i8042_class = {
    .name = "i8042",
    .parent = "isa-device",
    .size = sizeof(I8042),
    .flags = OBJ_DEVICE | OBJ_NOT_USER | OBJ_NO_HOTPLUG,
    .init = i8042_init,
    .unrealize = i8042_unrealize,
    .fini = i8042_fini,
    .reset = i8042_reset,
};
