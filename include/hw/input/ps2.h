/* PS/2 keyboard and mouse: the device side of the protocol, with the queue of bytes for the host.
 * VM lock held. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    PS2_QUEUE = 256,
    PS2_EVENTS = 16,   /* events stop here: room for replies stays */
    PS2_RELEASES = 128 /* and keys' releases here */
};

typedef struct Ps2Queue {
    uint8_t b[PS2_QUEUE];
    unsigned head, n;
    void (*changed)(void *opaque); /* bytes may be waiting: the controller looks */
    void *opaque;
} Ps2Queue;

typedef struct Ps2Kbd {
    Ps2Queue q;
    bool enabled;
    uint8_t set; /* scan code set 1..3 */
    uint8_t leds;
    int cmd;                  /* command that waits for its argument, -1: none */
    bool translate;           /* the controller turns set 2 into set 1 */
    uint8_t last;             /* for resend */
    uint8_t shift, ctrl, alt; /* held: bit 0 left, 1 right */
} Ps2Kbd;

typedef struct Ps2Mouse {
    Ps2Queue q;
    bool enabled, remote, wrap, scale21;
    uint8_t rate, resolution;
    uint8_t id;    /* 0: plain, 3: wheel, 4: five buttons */
    uint8_t magic; /* progress of the sample-rate knock */
    uint8_t buttons;
    int dx, dy, dz, dw; /* not yet reported */
    bool stale;         /* buttons too */
    int cmd;
    uint8_t last;
} Ps2Mouse;

void ps2_kbd_init(Ps2Kbd *k, void (*changed)(void *), void *opaque);
void ps2_kbd_reset(Ps2Kbd *k);
void ps2_kbd_write(Ps2Kbd *k, uint8_t byte);
void ps2_mouse_init(Ps2Mouse *m, void (*changed)(void *), void *opaque);
void ps2_mouse_reset(Ps2Mouse *m);
void ps2_mouse_write(Ps2Mouse *m, uint8_t byte);
bool ps2_pending(const Ps2Queue *q);
uint8_t ps2_read(Ps2Queue *q);

/*
 * Input events. code: scan code set 1 as a PC keyboard's make code, 0xe0 in bits 15:8 for extended
 * keys (0xe01d: right control; 0xe037: Print, 0xe046: Pause). False: the queue is full or the
 * device is disabled, and the event is lost.
 */
bool ps2_key(Ps2Kbd *k, uint16_t code, bool down);
typedef struct Ps2Motion {
    int dx, dy; /* right and up */
    int dz, dw; /* wheels: down and left */
} Ps2Motion;
/* buttons: 1 left, 2 right, 4 middle, 8 side, 16 extra. False: the device is disabled. Motion adds
 * up until there is room for it. */
bool ps2_pointer(Ps2Mouse *m, const Ps2Motion *d, uint8_t buttons);
void ps2_mouse_flush(Ps2Mouse *m); /* there may be room again */
