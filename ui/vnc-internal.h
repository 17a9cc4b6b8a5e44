/*
 * What the files of the VNC server share. Each viewer has a thread of its own, in which
 * libvncserver may block as it likes: it works on a copy of the frame. The main loop copies what
 * changed into the server's frame when nobody holds its lock, and takes events from the viewers'
 * rings; it never waits for a thread but at the end.
 */
#pragma once

#include "ui/input.h"
#include "ui/vnc.h"
#include "util/timer.h"

#include <netdb.h>

enum {
    VNC_RECTS = 16,     /* areas a viewer has not seen yet; more are joined */
    VNC_EVENTS = 256,   /* that wait for the main loop; then the viewer's thread waits */
    VNC_CLIENTS = 32,   /* all servers' */
    VNC_PASSWORD = 8,   /* bytes that count: RFC 6143, 7.2.2 */
    VNC_TICK_MS = 33,   /* between two looks at the display */
    VNC_SOCKETS = 8,    /* addresses a server listens on */
    VNC_HELLO_S = 30,   /* until then the viewer is to be done with the handshake */
    VNC_SEND_MS = 20000 /* a viewer that takes nothing that long is disconnected */
};

typedef struct VncServer VncServer;
typedef struct VncClient VncClient;

typedef struct VncRect {
    int x1, y1, x2, y2;
} VncRect;

/* What viewers' threads see of the server. */
typedef struct VncFrame {
    GMutex lock;
    uint32_t *px; /* x8r8g8b8, no padding */
    unsigned width, height;
    uint64_t serial;  /* of the size */
    uint32_t *cursor; /* argb; NULL: none */
    unsigned cursor_width, cursor_height, hot_x, hot_y;
    uint64_t cursor_serial;
    char password[VNC_PASSWORD + 1];
    bool has_password;
    int64_t expires_s; /* seconds since 1970; INT64_MAX: never */
} VncFrame;

typedef enum VncEventKind {
    VNC_EV_KEYSYM,
    VNC_EV_KEY,
    VNC_EV_POINTER,
    VNC_EV_INIT,
    VNC_EV_WISH
} VncEventKind;
typedef struct VncEvent {
    VncEventKind kind;
    bool down;     /* KEYSYM, KEY; INIT: the viewer shares */
    uint32_t code; /* KEYSYM; KEY: scan code; POINTER: buttons */
    uint16_t x, y; /* POINTER; WISH: size */
} VncEvent;

typedef struct VncSocket {
    int fd;
    LoopFd *watch;
    VncServer *server;
    char *host, *service, *unlink;
    const char *family;
} VncSocket;

struct VncClient {
    VncServer *server;
    GThread *thread;
    int fd;   /* the thread's */
    int ctl;  /* the same socket, to shut it down */
    int wake; /* eventfd */
    _Atomic bool stop;
    /* server->frame.lock */
    VncRect rect[VNC_RECTS];
    unsigned nrects;
    /* lock */
    GMutex lock;
    GCond room;
    VncEvent ev[VNC_EVENTS];
    unsigned nev;
    bool posted;
    /* main loop */
    const VncSocket *at; /* where it came in */
    char *host, *service;
    const char *family;
    bool initialized;
    uint32_t buttons;
    int last_x, last_y; /* -1: nowhere yet */
    GHashTable *held;   /* keys by keysym or scan code: what a release lets go */
};

struct VncServer {
    char *id;
    VncFrame frame;
    bool auth; /* password=on */
    _Atomic bool takes_wish;
    _Atomic unsigned leds;
    /* main loop */
    enum { VNC_SHARE_EXCLUSIVE, VNC_SHARE_FORCE, VNC_SHARE_IGNORE } share;
    char *device, *title;
    int64_t head;
    Obj *root;
    VncSecretFn *secret;
    Display *display;
    DisplayListener listener;
    VncRect dirty[VNC_RECTS];
    unsigned ndirty;
    bool resize, cursor_new;
    Timer tick;
    VncSocket sock[VNC_SOCKETS];
    unsigned nsocks;
    GPtrArray *clients; /* VncClient* */
};

/* vnc-client.c: the viewer's thread; ends by itself after stop and wake, or when the viewer goes,
 * and then posts vnc_client_ended. */
bool vnc_lib_load(GError **err);
gpointer vnc_client_thread(gpointer client);
/* vnc.c, main loop. */
void vnc_client_ended(void *client);
void vnc_client_events(void *client);
GPtrArray *vnc_servers(void);                                     /* VncServer*; NULL: none */
void vnc_set_password(VncFrame *f, const char *text, size_t len); /* empty: none */
void vnc_rect_add(VncRect *list, unsigned *n, VncRect r);
void vnc_client_initialized(VncClient *c, bool shares);
/* vnc-input.c */
void vnc_client_buttons(VncClient *c, uint32_t now);
/* vnc-keys.c: the key a keysym stands for in the chosen layout; 0: none. */
uint16_t vnc_key(uint32_t keysym);
/* vnc-listen.c: "host:display", "unix:path". Adds to s->sock. */
bool vnc_listen(VncServer *s, const char *where, int64_t to, int family, GError **err);
void vnc_address(int fd, bool peer, char **ret_host, char **ret_service, const char **ret_family);
