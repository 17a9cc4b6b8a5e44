/* Inside chardev/: a back end's class and the state all character devices share. */
#pragma once

#include "chardev/chardev.h"
#include "object/qmp.h"
#include "util/sock.h"

enum { CHARDEV_MAX_FE = 4, CHARDEV_MUX_BUF = 512, CHARDEV_OUT_MAX = 16 << 20 };

typedef struct ChardevClass {
    const char *name;
    size_t size;
    const PropSpec *props; /* options behind "id" and the common ones */
    size_t opts_size;
    bool (*open)(Chardev *c, void *opts, GError **err);
    void (*close)(Chardev *c);
    /* Bytes taken now; 0: full, want_write() is asked to watch; -1: the peer is gone, the bytes are
     * dropped. */
    ssize_t (*write)(Chardev *c, const void *buf, size_t len);
    void (*watch)(Chardev *c); /* c->want_read / c->want_write changed; NULL: no descriptors */
    char *(*filename)(const Chardev *c); /* query-chardev */
    void (*send_break)(Chardev *c);      /* NULL: ignored */
    int (*take_fd)(Chardev *c);          /* NULL: none */
} ChardevClass;

struct Chardev {
    const ChardevClass *cls;
    char *id;
    bool connected; /* somebody is at the other end */
    bool mux;
    ChardevFe *fe[CHARDEV_MAX_FE];
    unsigned nfe, focus;
    bool escape; /* mux: the escape character was the last byte */
    struct {
        uint8_t buf[CHARDEV_MUX_BUF];
        unsigned len;
    } held[CHARDEV_MAX_FE]; /* mux: input its front end cannot take yet */
    GByteArray *out;        /* chardev_write_all: not written yet */
    bool want_read, want_write;
    uint16_t cols, rows; /* of a terminal; 0: unknown */
    int log_fd;
};

extern const ChardevClass *const chardev_class_list[]; /* NULL-terminated */

bool chardev_has_place(const Chardev *c, GError **err); /* for one more front end */

/* For back ends. */
size_t chardev_be_room(Chardev *c); /* how much input is wanted now */
void chardev_be_input(Chardev *c, const uint8_t *buf, size_t len); /* len <= room */
void chardev_be_connected(Chardev *c, bool on);
void chardev_be_writable(Chardev *c);
void chardev_be_size(Chardev *c, uint16_t cols, uint16_t rows);
void chardev_be_update(Chardev *c); /* recomputes want_read/want_write, calls watch */

extern const ChardevClass chardev_null, chardev_stdio, chardev_file, chardev_pipe, chardev_serial,
    chardev_pty, chardev_ringbuf, chardev_socket, chardev_udp;
bool ringbuf_write(Chardev *c, const uint8_t *buf, size_t len);
GByteArray *ringbuf_read(Chardev *c, size_t max);
/* Legacy text of a socket ("unix:/p,server", "tcp:h:p,…", "telnet:") into -chardev arguments;
 * false: not a socket. */
bool char_socket_from_text(const char *text, Json *args, GError **err);
/* {"id", "backend": {"type", "data"}} of QMP as chardev_create() wants it. NULL: *err says what is
 * wrong. */
Json *chardev_flat_args(const Json *args, GError **err);
/* As char_socket_from_text() for what stands behind "udp:". */
bool char_udp_from_text(const char *text, Json *args, GError **err);

/* A switch whose not being given is neither on nor off. */
extern const PropType prop_given;
#define PROP_GIVEN(n, T, f, h)                                                                     \
    {                                                                                              \
        .name = (n), .type = &prop_given, .offset = PROP_AT(T, f, OnOffAuto), .bit = -1,           \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
void char_set_families(SockAddr *a, OnOffAuto ipv4, OnOffAuto ipv6);
