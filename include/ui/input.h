/*
 * Input: keys, buttons, motion and touches from monitors and viewers to the devices that take them,
 * and the lights of a keyboard back. The list of handlers is the process's, the one mutable global
 * of ui/input.c. Everything here: main loop, VM lock.
 *
 *   source: input_key(), input_button() … then input_sync(): one update
 *   device: input_handler_add → event() for each event, sync() at the end of an update
 *
 * An event goes to the first handler that takes its kind: of those bound to the display it comes
 * from, then of those bound to none. A release goes where the press went; one without a press, or
 * while the VM does not run, goes nowhere: what is pressed then is released when it runs again.
 */
#pragma once

#include "object/qmp.h"
#include "system/runstate.h"
#include "ui/console.h"

typedef enum InputKind { INPUT_KEY, INPUT_BTN, INPUT_REL, INPUT_ABS, INPUT_MTT } InputKind;
typedef enum InputButton {
    INPUT_LEFT,
    INPUT_MIDDLE,
    INPUT_RIGHT,
    INPUT_WHEEL_UP,
    INPUT_WHEEL_DOWN,
    INPUT_SIDE,
    INPUT_EXTRA,
    INPUT_WHEEL_LEFT,
    INPUT_WHEEL_RIGHT,
    INPUT_TOUCH,
    INPUT_NBUTTONS
} InputButton;
typedef enum InputAxis { INPUT_X, INPUT_Y } InputAxis;
typedef enum InputTouch {
    INPUT_TOUCH_BEGIN,
    INPUT_TOUCH_UPDATE,
    INPUT_TOUCH_END,
    INPUT_TOUCH_CANCEL,
    INPUT_TOUCH_DATA
} InputTouch;
enum {
    INPUT_ABS_MAX = 0x7fff, /* absolute positions go from 0 to this */
    INPUT_SLOTS = 10,       /* fingers */
    INPUT_NKEYS = 0x300     /* keys are Linux' codes (linux/input-event-codes.h) */
};

typedef struct InputEvent {
    InputKind kind;
    bool down;          /* KEY, BTN */
    uint16_t key;       /* KEY: KEY_A …; 0: a key nobody knows */
    InputButton button; /* BTN */
    InputAxis axis;     /* REL, ABS, MTT data */
    int32_t value;      /* REL: steps; ABS and MTT: 0 … INPUT_ABS_MAX */
    InputTouch touch;   /* MTT */
    uint8_t slot;       /* MTT: < INPUT_SLOTS */
    int32_t tracking_id;
} InputEvent;

/* The device's side. */
typedef struct InputHandler InputHandler;
typedef struct InputHandlerOps {
    const char *name; /* query-mice: "QEMU PS/2 Mouse" */
    unsigned kinds;   /* 1 << INPUT_KEY | … */
    void (*event)(void *opaque, const InputEvent *ev);
    void (*sync)(void *opaque); /* NULL: not wanted */
} InputHandlerOps;
/* At the list's end. device, head: takes events of that display only; NULL: bound to none. */
InputHandler *input_handler_add(
    const InputHandlerOps *ops, void *opaque, const char *device, uint32_t head);
/* What is pressed is released first, then the handler goes. NULL is fine. */
void input_handler_remove(InputHandler *h);
void input_handler_first(InputHandler *h); /* it is in use now: before all others */
void input_handler_last(InputHandler *h);  /* not any more; what is pressed is released */
/* Lights: bit 0 scroll lock, 1 num lock, 2 caps lock (the order of the PS/2 command). */
enum { INPUT_LED_SCROLL = 1, INPUT_LED_NUM = 2, INPUT_LED_CAPS = 4 };
void input_set_leds(InputHandler *h, unsigned leds);

/* Without it the VM counts as running (tests). */
void input_init(RunState *run);
bool input_running(void);

/* The source's side. from: the display it belongs to, NULL: none. */
void input_send(const Display *from, const InputEvent *ev);
void input_sync(void);
void input_key(const Display *from, uint16_t key, bool down);
void input_button(const Display *from, InputButton b, bool down);
void input_rel(const Display *from, InputAxis axis, int32_t steps);
/* value of [0, size): a pixel of the display */
void input_abs(const Display *from, InputAxis axis, int32_t value, int32_t size);
/* Some handler that such an event would reach takes absolute positions: no relative ones needed. */
bool input_is_absolute(const Display *from);
unsigned input_leds(const Display *from); /* of the keyboard that gets its keys */
/* Called when an answer of those two may have changed; one per process (the VNC server). NULL ends
 * it. */
void input_on_change(void (*fn)(void *opaque), void *opaque);

/* Keys by their names in QMP ("ctrl_r"), and as a PC keyboard's scan codes of set 1 (0xe01d). */
uint16_t input_key_by_name(const char *name); /* UINT16_MAX: no such name */
const char *input_key_name(uint16_t key);     /* "unmapped": none */
uint16_t input_key_by_number(uint64_t n);     /* sendkey 0x1e, "number"; 0: none */
uint16_t input_key_nth(unsigned i);           /* in the names' order; UINT16_MAX: no more */
uint16_t input_key_set1(uint16_t key);        /* 0: none */

/* What query-mice and mouse_set see: handlers that take motion, the newest last; *ret_n of them. */
typedef struct InputMouse {
    const char *name;
    unsigned index;
    bool current, absolute;
} InputMouse;
InputMouse *input_mice(unsigned *ret_n); /* g_free */
bool input_mouse_set(int64_t index, GError **err);
/* Some handler takes such events from there. */
bool input_taken(const Display *from, InputKind kind);
/*
 * Presses keys one after the other and releases them in reverse order, each held or let go for
 * hold_ms; what comes meanwhile waits its turn. False: too much is waiting.
 */
bool input_type(const uint16_t *keys, unsigned n, uint32_t hold_ms, GError **err);
enum { INPUT_HOLD_MS = 10 };

/* input-send-event, send-key, query-mice; sendkey's text, "ctrl-alt-f1". */
extern const QmpCmd input_qmp_cmds[];
bool input_type_text(const char *keys, uint32_t hold_ms, GError **err);
