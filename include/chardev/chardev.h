/*
 * Character devices: a byte pipe between a front end (serial port, monitor, virtconsole, qtest,
 * gdb) and a host back end (stdio, socket, file, pty, null, ringbuf, mux). Main loop only.
 */
#pragma once

#include "object/obj.h"
#include "object/qmp.h"
#include "util/loop.h"

typedef struct Chardev Chardev;
typedef struct ChardevFe ChardevFe;
typedef enum ChardevEvent {
    CHARDEV_OPENED,
    CHARDEV_CLOSED,
    CHARDEV_BREAK,
    CHARDEV_MUX_IN,
    CHARDEV_MUX_OUT
} ChardevEvent;

typedef struct ChardevFeOps {
    /* How many bytes receive() may be given now; 0 stops reading from the host until
     * chardev_fe_accept(). */
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *buf, size_t len); /* len <= can_receive() */
    void (*event)(void *opaque, ChardevEvent ev);                  /* NULL: not interested */
    void (*writable)(void *opaque); /* NULL; after a short chardev_write */
    /* chardev-change put another device in its place, which fe->chr is already; NULL: that is
     * refused */
    void (*changed)(void *opaque, Chardev *c);
    void (*resized)(void *opaque); /* NULL; chardev_size() says something else now */
} ChardevFeOps;
struct ChardevFe { /* embedded in the front end */
    Chardev *chr;
    const ChardevFeOps *ops;
    void *opaque;
    unsigned tag; /* mux: which front end */
    bool open;
};

/* -chardev / chardev-add: args has backend ("socket"), id and the back end's options (nested
 * "data"/"addr" for QMP). */
Chardev *chardev_create(const Json *args, GError **err);
/* Legacy texts of -serial, -monitor, -qmp, -qtest, -gdb: "stdio", "mon:stdio",
 * "unix:/p,server=on,wait=off", "tcp::1234,server", "null", "none" (returns NULL without error),
 * "pty", "file:/p", "chardev:id". id: name to give it. */
Chardev *chardev_from_text(const char *id, const char *text, GError **err);
Chardev *chardev_find(const char *id);
bool chardev_remove(const char *id, GError **err); /* "Chardev 'x' is busy" */
/* Puts a new device in the place of one, with its name and its front end. args: as for
 * chardev_create(), with that id. The old one stands after a failure. */
Chardev *chardev_change(const Json *args, GError **err);
/* A break as if it had come from the back end. */
bool chardev_receive_break(const char *id, GError **err);
const char *chardev_id(const Chardev *c);
void chardev_each(void (*fn)(Chardev *c, void *opaque), void *opaque);
void chardev_cleanup(void); /* at exit: terminal modes, sockets' files */

/* "Chardev 'x' is busy" when another front end has it (mux takes several). */
bool chardev_fe_init(
    ChardevFe *fe, Chardev *c, const ChardevFeOps *ops, void *opaque, GError **err);
void chardev_fe_fini(ChardevFe *fe);
void chardev_fe_accept(ChardevFe *fe);              /* can_receive() grew */
void chardev_fe_set_open(ChardevFe *fe, bool open); /* guest side opened (virtconsole) */
/* Takes as much as the back end does now, never blocks; then writable() is called later when it
 * took less. */
size_t chardev_write(ChardevFe *fe, const void *buf, size_t len);
/* Queues what does not fit (bounded: monitors and logs, 16 MiB, then drops the peer). */
void chardev_write_all(ChardevFe *fe, const void *buf, size_t len);
bool chardev_connected(const ChardevFe *fe);
/* Of the terminal at the other end (stdio, pty); false: there is none, or it does not say. */
bool chardev_size(const ChardevFe *fe, uint16_t *ret_cols, uint16_t *ret_rows);
int chardev_take_fd(ChardevFe *fe); /* SCM_RIGHTS descriptor received last, -1: none */
void chardev_break(ChardevFe *fe);
bool chardev_is_mux(const Chardev *c);
void chardev_set_escape(int ch); /* -echr; Ctrl-a x quits, c switches focus, b break, h help */
void chardev_set_quit(void (*fn)(void *opaque), void *opaque); /* what Ctrl-a x does */
bool chardev_help(GString *out);                               /* -chardev help */

extern const QmpCmd chardev_qmp_cmds[]; /* query-chardev, chardev-add, chardev-remove, ringbuf-* */

/* prop type for -device …,chardev=ID: keeps a Chardev*. */
extern const PropType prop_chardev;
#define PROP_CHARDEV(n, T, f, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = &prop_chardev, .offset = PROP_AT(T, f, Chardev *), .bit = -1,         \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
