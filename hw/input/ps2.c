/*
 * PS/2 keyboard and mouse (IBM PS/2 Hardware Interface Technical Reference, "Keyboard" and
 * "Auxiliary device"). The keyboard knows scan code sets 1 and 2; set 3 is refused as keyboards
 * without it do. Covered by tests/unit/test-i8042.c.
 */
#include "hw/input/ps2.h"

#include <glib.h>

enum {
    PS2_ACK = 0xfa,
    PS2_RESEND = 0xfe,
    PS2_BAT_OK = 0xaa,
    PS2_ECHO = 0xee,
    KBD_LEDS = 0xed,
    KBD_SET = 0xf0,
    KBD_ID = 0xf2,
    KBD_RATE = 0xf3,
    KBD_ENABLE = 0xf4,
    KBD_DISABLE = 0xf5,
    KBD_DEFAULTS = 0xf6,
    KBD_RESET = 0xff,
    MOUSE_SCALE11 = 0xe6,
    MOUSE_SCALE21 = 0xe7,
    MOUSE_RESOLUTION = 0xe8,
    MOUSE_STATUS = 0xe9,
    MOUSE_STREAM = 0xea,
    MOUSE_POLL = 0xeb,
    MOUSE_UNWRAP = 0xec,
    MOUSE_WRAP = 0xee,
    MOUSE_REMOTE = 0xf0,
    MOUSE_ID = 0xf2,
    MOUSE_RATE = 0xf3,
    MOUSE_ENABLE = 0xf4,
    MOUSE_DISABLE = 0xf5,
    MOUSE_DEFAULTS = 0xf6,
    MOUSE_RESET = 0xff,
    /* set 1 */
    PS2_PRINT = 0xe037,
    PS2_BREAK = 0xe046,
    PS2_FAKE_SHIFT = 0xe02a,
    PS2_HANJA = 0x71,
    PS2_HANGEUL = 0x72,
};

/* Scan code set 2 by set 1 make code; 0: no such key. */
static const uint8_t set2_of_set1[128] = {
    0x00, 0x76, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66,
    0x0d, /* 00: esc 1 2 … */
    0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x14, 0x1c,
    0x1b, /* 10: q w e … */
    0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5d, 0x1a, 0x22, 0x21,
    0x2a, /* 20: d f g … */
    0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7c, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0c,
    0x03, /* 30: b n m … */
    0x0b, 0x83, 0x0a, 0x01, 0x09, 0x77, 0x7e, 0x6c, 0x75, 0x7d, 0x7b, 0x6b, 0x73, 0x74, 0x79,
    0x69, /* 40: F6 … */
    0x72, 0x7a, 0x70, 0x71, 0x84, 0x60, 0x61, 0x78, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37,
    0x3f, /* 50 */
    0x47, 0x4f, 0x56, 0x5e, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x57,
    0x6f, /* 60 */
    0x13, 0x19, 0x39, 0x51, 0x53, 0x5c, 0x5f, 0x62, 0x63, 0x64, 0x65, 0x67, 0x68, 0x6a, 0x6d,
    0x6e, /* 70 */
};

static unsigned q_room(const Ps2Queue *q)
{
    return PS2_QUEUE - q->n;
}

static void q_put(Ps2Queue *q, uint8_t byte)
{
    if (q_room(q)) {
        q->b[(q->head + q->n++) % PS2_QUEUE] = byte;
    }
}

static void q_clear(Ps2Queue *q)
{
    q->head = q->n = 0;
}

bool ps2_pending(const Ps2Queue *q)
{
    return q->n != 0;
}

uint8_t ps2_read(Ps2Queue *q)
{
    uint8_t byte = q->b[q->head];

    if (q->n) {
        q->head = (q->head + 1) % PS2_QUEUE;
        q->n--;
    }
    return byte;
}

/* Make codes as the controller's translation turns set 2 into set 1; bytes that are no key stay as
 * they are. */
static uint8_t set1_of_set2(uint8_t code)
{
    if (code == 0x02) { /* an alias of 0x83 in the controller's table: scan code set 2's number
                           reads 0x41 */
        return 0x41;
    }
    for (unsigned i = 1; i < 128; i++) {
        if (set2_of_set1[i] == code) {
            return (uint8_t)i;
        }
    }
    return code;
}

static void kbd_put(Ps2Kbd *k, uint8_t byte)
{
    q_put(&k->q, byte);
    k->last = byte;
}

/* A data byte of a reply: the controller translates it like a scan code. */
static void kbd_put_data(Ps2Kbd *k, uint8_t byte)
{
    kbd_put(k, k->translate && byte < 0x85 ? set1_of_set2(byte) : byte);
}

static void kbd_defaults(Ps2Kbd *k)
{
    k->set = 2;
    k->leds = 0;
    k->cmd = -1;
    k->enabled = true;
    k->shift = k->ctrl = k->alt = 0;
}

void ps2_kbd_init(Ps2Kbd *k, void (*changed)(void *), void *opaque)
{
    *k = (Ps2Kbd){ .q = { .changed = changed, .opaque = opaque } };
    kbd_defaults(k);
}

void ps2_kbd_reset(Ps2Kbd *k)
{
    q_clear(&k->q);
    kbd_defaults(k);
    k->last = 0;
}

static void kbd_argument(Ps2Kbd *k, int cmd, uint8_t byte)
{
    switch (cmd) {
    case KBD_LEDS:
        k->leds = byte & 7;
        kbd_put(k, PS2_ACK);
        break;
    case KBD_SET:
        if (byte > 2) {
            kbd_put(k, PS2_RESEND);
            break;
        }
        kbd_put(k, PS2_ACK);
        if (byte == 0) {
            kbd_put_data(k, k->set);
        } else {
            k->set = byte;
        }
        break;
    default: /* typematic rate: keys repeat at the host */
        kbd_put(k, PS2_ACK);
        break;
    }
}

static void kbd_command(Ps2Kbd *k, uint8_t byte)
{
    switch (byte) {
    case KBD_LEDS:
    case KBD_SET:
    case KBD_RATE:
        k->cmd = byte;
        kbd_put(k, PS2_ACK);
        break;
    case PS2_ECHO:
        kbd_put(k, PS2_ECHO);
        break;
    case KBD_ID:
        kbd_put(k, PS2_ACK);
        kbd_put(k, 0xab);
        kbd_put_data(k, 0x83);
        break;
    case KBD_ENABLE:
        k->enabled = true;
        kbd_put(k, PS2_ACK);
        break;
    case KBD_DISABLE:
        kbd_defaults(k);
        k->enabled = false;
        kbd_put(k, PS2_ACK);
        break;
    case KBD_DEFAULTS:
        kbd_defaults(k);
        kbd_put(k, PS2_ACK);
        break;
    case PS2_RESEND:
        kbd_put(k, k->last);
        break;
    case KBD_RESET:
        ps2_kbd_reset(k);
        kbd_put(k, PS2_ACK);
        kbd_put(k, PS2_BAT_OK);
        break;
    default:
        kbd_put(k, PS2_RESEND);
        break;
    }
}

void ps2_kbd_write(Ps2Kbd *k, uint8_t byte)
{
    int cmd = k->cmd;

    k->cmd = -1;
    if (cmd >= 0 && byte < 0xed) {
        kbd_argument(k, cmd, byte);
    } else {
        kbd_command(k, byte);
    }
    k->q.changed(k->q.opaque);
}

/* One key's bytes in the set that the host gets. */
static void kbd_code(Ps2Kbd *k, uint16_t code, bool down)
{
    uint8_t make = code & 0x7f;

    if (code >> 8) {
        q_put(&k->q, 0xe0);
    }
    if (k->translate || k->set == 1) {
        q_put(&k->q, down ? make : make | 0x80);
    } else {
        if (!down) {
            q_put(&k->q, 0xf0);
        }
        q_put(&k->q, set2_of_set1[make]);
    }
}

/* With Alt, which looks let go and pressed again around it, Print is SysRq: a key of its own. */
static void kbd_sysrq(Ps2Kbd *k, bool down)
{
    uint16_t alt = k->alt & 1 ? 0x38 : 0xe038;

    if (down) {
        kbd_code(k, alt, false);
        kbd_code(k, alt, true);
    }
    if (k->translate || k->set == 1) {
        q_put(&k->q, down ? 0x54 : 0xd4);
    } else {
        if (!down) {
            q_put(&k->q, 0xf0);
        }
        q_put(&k->q, 0x84);
    }
    if (!down) {
        kbd_code(k, alt, false);
        kbd_code(k, alt, true);
    }
}

static void kbd_print(Ps2Kbd *k, bool down)
{
    if (k->alt) {
        kbd_sysrq(k, down);
    } else if (k->shift || k->ctrl) {
        kbd_code(k, PS2_PRINT, down);
    } else {
        kbd_code(k, down ? PS2_FAKE_SHIFT : PS2_PRINT, down);
        kbd_code(k, down ? PS2_PRINT : PS2_FAKE_SHIFT, down);
    }
}

/* Pause has no break code: all of it comes with the press. */
static void kbd_pause(Ps2Kbd *k)
{
    static const uint8_t set1[] = { 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5 },
                         set2[] = { 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77 };
    bool is_set1 = k->translate || k->set == 1;

    if (k->ctrl) { /* Break */
        kbd_code(k, PS2_BREAK, true);
        kbd_code(k, PS2_BREAK, false);
        return;
    }
    for (unsigned i = 0; i < (is_set1 ? sizeof set1 : sizeof set2); i++) {
        q_put(&k->q, is_set1 ? set1[i] : set2[i]);
    }
}

static void kbd_modifier(uint8_t *held, uint8_t bit, bool down)
{
    *held = down ? *held | bit : *held & (uint8_t)~bit;
}

bool ps2_key(Ps2Kbd *k, uint16_t code, bool down)
{
    /* Presses leave room for the replies to commands; what was pressed can also be released. */
    if (!k->enabled || k->q.n + 10 > (down ? PS2_EVENTS + 6 : PS2_RELEASES)) {
        return false;
    }
    switch (code) {
    case 0x2a:
    case 0x36:
        kbd_modifier(&k->shift, code == 0x2a ? 1 : 2, down);
        break;
    case 0x1d:
    case 0xe01d:
        kbd_modifier(&k->ctrl, code == 0x1d ? 1 : 2, down);
        break;
    case 0x38:
    case 0xe038:
        kbd_modifier(&k->alt, code == 0x38 ? 1 : 2, down);
        break;
    default:
        break;
    }
    if (code == PS2_PRINT) {
        kbd_print(k, down);
    } else if (code == PS2_BREAK) {
        if (down) {
            kbd_pause(k);
        }
    } else if (code == PS2_HANJA ||
               code == PS2_HANGEUL) { /* no break code, and none to translate */
        if (down && (k->translate || k->set == 1)) {
            q_put(&k->q, (uint8_t)code);
        }
    } else {
        kbd_code(k, code, down);
    }
    k->q.changed(k->q.opaque);
    return true;
}

static void mouse_defaults(Ps2Mouse *m)
{
    m->enabled = m->remote = m->wrap = m->scale21 = false;
    m->rate = 100;
    m->resolution = 2;
    m->cmd = -1;
    m->magic = 0;
    m->dx = m->dy = m->dz = m->dw = 0;
    m->stale = false;
}

void ps2_mouse_init(Ps2Mouse *m, void (*changed)(void *), void *opaque)
{
    *m = (Ps2Mouse){ .q = { .changed = changed, .opaque = opaque } };
    mouse_defaults(m);
}

void ps2_mouse_reset(Ps2Mouse *m)
{
    q_clear(&m->q);
    mouse_defaults(m);
    m->id = 0;
    m->buttons = 0;
}

static int mouse_take(int *acc, int min, int max)
{
    int v = CLAMP(*acc, min, max);

    *acc -= v;
    return v;
}

/* A movement report: 3 bytes, 4 with a wheel. */
static void mouse_report(Ps2Mouse *m)
{
    /* As far as mice go; the ninth bits would allow 255. */
    int dx = mouse_take(&m->dx, -127, 127), dy = mouse_take(&m->dy, -127, 127);

    q_put(&m->q, (uint8_t)(0x08 | (m->buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    q_put(&m->q, (uint8_t)dx);
    q_put(&m->q, (uint8_t)dy);
    if (m->id == 3) {
        q_put(&m->q, (uint8_t)mouse_take(&m->dz, -127, 127));
    } else if (m->id == 4 && m->dw && !m->dz) { /* wheels that tilt: bits 7:6 are 01 */
        q_put(&m->q, (uint8_t)(0x40 | (mouse_take(&m->dw, -31, 31) & 0x3f)));
    } else if (m->id == 4) {
        q_put(&m->q, (uint8_t)((mouse_take(&m->dz, -7, 7) & 0x0f) | (m->buttons & 0x18) << 1));
    }
    m->stale = false;
}

/* The knock that turns a plain mouse into one with a wheel (200, 100, 80) or five buttons (200,
 * 200, 80). */
static void mouse_set_rate(Ps2Mouse *m, uint8_t rate)
{
    m->rate = rate;
    switch (m->magic) {
    case 1:
        m->magic = rate == 100 ? 2 : rate == 200 ? 3 : 0;
        break;
    case 2:
    case 3:
        if (rate == 80) {
            m->id = m->magic == 2 ? 3 : 4;
        }
        m->magic = 0;
        break;
    default:
        m->magic = rate == 200;
        break;
    }
}

static void mouse_status(Ps2Mouse *m)
{
    uint8_t buttons =
        (uint8_t)((m->buttons & 1) << 2 | (m->buttons & 2) >> 1 | (m->buttons & 4) >> 1);

    q_put(&m->q, (uint8_t)((m->remote ? 0x40 : 0) | (m->enabled ? 0x20 : 0) |
                           (m->scale21 ? 0x10 : 0) | buttons));
    q_put(&m->q, m->resolution);
    q_put(&m->q, m->rate);
}

/* False: not a command. */
static bool mouse_command(Ps2Mouse *m, uint8_t byte)
{
    switch (byte) {
    case MOUSE_SCALE11:
    case MOUSE_SCALE21:
        m->scale21 = byte == MOUSE_SCALE21;
        break;
    case MOUSE_RESOLUTION:
    case MOUSE_RATE:
        m->cmd = byte;
        break;
    case MOUSE_STREAM:
        m->remote = false;
        break;
    case MOUSE_REMOTE:
        m->remote = true;
        break;
    case MOUSE_UNWRAP:
        break;
    case MOUSE_WRAP:
        m->wrap = true;
        break;
    case MOUSE_ENABLE:
        m->enabled = true;
        break;
    case MOUSE_DISABLE:
        m->enabled = false;
        break;
    case MOUSE_DEFAULTS:
        mouse_defaults(m);
        break;
    case MOUSE_RESET:
        ps2_mouse_reset(m);
        break;
    case MOUSE_STATUS:
    case MOUSE_POLL:
    case MOUSE_ID:
        break;
    default:
        return false;
    }
    q_put(&m->q, PS2_ACK);
    switch (byte) {
    case MOUSE_STATUS:
        mouse_status(m);
        break;
    case MOUSE_POLL:
        mouse_report(m);
        break;
    case MOUSE_ID:
        q_put(&m->q, m->id);
        break;
    case MOUSE_RESET:
        q_put(&m->q, PS2_BAT_OK);
        q_put(&m->q, 0);
        break;
    default:
        break;
    }
    return true;
}

void ps2_mouse_write(Ps2Mouse *m, uint8_t byte)
{
    int cmd = m->cmd;

    m->cmd = -1;
    if (m->wrap && byte != MOUSE_UNWRAP && byte != MOUSE_RESET) {
        q_put(&m->q, byte);
    } else if (cmd == MOUSE_RATE || cmd == MOUSE_RESOLUTION) {
        if (cmd == MOUSE_RATE) {
            mouse_set_rate(m, byte);
        } else {
            m->resolution = byte;
        }
        q_put(&m->q, PS2_ACK);
    } else {
        m->wrap = false;
        if (!mouse_command(m, byte)) {
            q_put(&m->q, PS2_RESEND);
        }
    }
    m->q.changed(m->q.opaque);
}

static int add(int a, int b)
{
    return CLAMP(a + CLAMP(b, -4096, 4096), -4096, 4096);
}

static bool mouse_moved(const Ps2Mouse *m)
{
    return m->dx || m->dy || (m->id && m->dz) || (m->id == 4 && m->dw);
}

void ps2_mouse_flush(Ps2Mouse *m)
{
    while (m->enabled && !m->remote && (m->stale || mouse_moved(m)) && m->q.n + 4 <= PS2_EVENTS) {
        mouse_report(m);
    }
}

bool ps2_pointer(Ps2Mouse *m, const Ps2Motion *d, uint8_t buttons)
{
    if (!m->enabled) {
        return false;
    }
    m->dx = add(m->dx, d->dx);
    m->dy = add(m->dy, d->dy);
    m->dz = add(m->dz, d->dz);
    m->dw = add(m->dw, d->dw);
    m->buttons = buttons & 0x1f;
    m->stale = true;
    ps2_mouse_flush(m);
    m->q.changed(m->q.opaque);
    return true;
}
