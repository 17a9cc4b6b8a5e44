/*
 * A viewer's thread: RFC 6143 by libvncserver, loaded with the first server. It blocks on its own
 * viewer only, works on its own copy of the frame, and reaches the main loop through a ring of
 * events. What comes from the network is read nowhere else. Tested by tests/system/test_vnc.py.
 */
#include "util/err.h"
#include "util/fd.h"
#include "vnc-internal.h"

#include <dlfcn.h>
#include <poll.h>
#include <rfb/rfb.h>
#include <string.h>
#include <sys/socket.h>

/* The functions used, as rfb.h declares them. */
static struct {
    __typeof__(&rfbGetScreen) get_screen;
    __typeof__(&rfbScreenCleanup) screen_cleanup;
    __typeof__(&rfbNewClient) new_client;
    __typeof__(&rfbProcessClientMessage) message;
    __typeof__(&rfbUpdateClient) update;
    __typeof__(&rfbCloseClient) close;
    __typeof__(&rfbClientConnectionGone) gone;
    __typeof__(&rfbMarkRectAsModified) mark;
    __typeof__(&rfbNewFramebuffer) new_framebuffer;
    __typeof__(&rfbSetCursor) set_cursor;
    __typeof__(&rfbEncryptBytes) encrypt;
    __typeof__(&rfbRegisterProtocolExtension) extend;
    __typeof__(&rfbReadExact) read_exact;
    __typeof__(&rfbWriteExact) write_exact;
    rfbLogProc *log, *err;
    /* What each screen begins as: rfbGetScreen() makes the lock of all lists of clients anew, which
     * other viewers' threads may hold. */
    rfbScreenInfoPtr model;
    bool loaded;
} rfb;

/* A thread's own things. */
typedef struct View {
    VncClient *c;
    VncFrame *frame;
    rfbScreenInfoPtr screen;
    rfbClientPtr cl;
    uint32_t *px;
    unsigned width, height;
    uint64_t serial, cursor_serial;
    bool shared, initialized;
} View;

enum { EXT_KEY_ENCODING = -258, QEMU_MESSAGE = 255, EXT_KEY_MESSAGE = 0 };
enum { REQUEST_FORWARDED = 4 }; /* of ExtendedDesktopSize's: the RFB protocol, 7.8.2 */

/* ---- to the main loop ---- */

/* Waits while the ring is full: who floods us waits for the main loop, not the other way round. */
static void post(View *v, VncEvent ev)
{
    VncClient *c = v->c;

    g_mutex_lock(&c->lock);
    while (c->nev == VNC_EVENTS && !c->stop) {
        g_cond_wait(&c->room, &c->lock);
    }
    if (!c->stop) {
        c->ev[c->nev++] = ev;
        if (!c->posted) {
            c->posted = true;
            loop_post(loop_main(), vnc_client_events, c);
        }
    }
    g_mutex_unlock(&c->lock);
}

static View *view_of(rfbClientPtr cl)
{
    return cl->screen->screenData;
}

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr cl)
{
    post(view_of(cl), (VncEvent){ .kind = VNC_EV_KEYSYM, .down = down, .code = keysym });
}

static void on_pointer(int buttons, int x, int y, rfbClientPtr cl)
{
    View *v = view_of(cl);

    post(v, (VncEvent){ .kind = VNC_EV_POINTER,
                .code = (uint32_t)buttons,
                .x = (uint16_t)CLAMP(x, 0, (int)v->width - 1),
                .y = (uint16_t)CLAMP(y, 0, (int)v->height - 1) });
}

static int on_size(
    int width, int height, int nscreens, struct rfbExtDesktopScreen *screens, rfbClientPtr cl)
{
    View *v = view_of(cl);

    if (!v->c->server->takes_wish || width < 1 || height < 1 || width > DISPLAY_SIDE_MAX ||
        height > DISPLAY_SIDE_MAX || nscreens != 1) {
        return rfbExtDesktopSize_InvalidScreenLayout; /* as QEMU says */
    }
    post(v, (VncEvent){ .kind = VNC_EV_WISH, .x = (uint16_t)width, .y = (uint16_t)height });
    return REQUEST_FORWARDED; /* the guest follows when it likes */
}

static int on_leds(rfbScreenInfoPtr screen)
{
    return (int)((View *)screen->screenData)->c->server->leds;
}

/* VNC authentication: RFC 6143, 7.2.2. */
static rfbBool on_password(rfbClientPtr cl, const char *response, int len)
{
    VncFrame *f = view_of(cl)->frame;
    uint8_t want[CHALLENGESIZE];
    char password[VNC_PASSWORD + 1];
    unsigned differs = 0;
    bool valid;

    g_mutex_lock(&f->lock);
    valid = f->has_password && f->expires_s > g_get_real_time() / G_USEC_PER_SEC;
    memcpy(password, f->password, sizeof password);
    g_mutex_unlock(&f->lock);
    if (!valid || len != CHALLENGESIZE) {
        return FALSE;
    }
    memcpy(want, cl->authChallenge, sizeof want);
    rfb.encrypt(want, password);
    for (unsigned i = 0; i < sizeof want; i++) {
        differs |= want[i] ^ (uint8_t)response[i];
    }
    return !differs;
}

/* ---- QEMU's extended key events: scan codes, whatever the viewer's layout is ---- */

static rfbBool ext_new(rfbClientPtr cl, void **data)
{
    return TRUE;
}

static rfbBool ext_enable(rfbClientPtr cl, void **data, int encoding)
{
    /* FramebufferUpdate with one pseudo-rectangle says that it is understood. */
    static const uint8_t yes[16] = { 0, 0, 0, 1, [12] = 0xff, 0xff, 0xfe, 0xfe };

    if (encoding != EXT_KEY_ENCODING) {
        return FALSE;
    }
    rfb.write_exact(cl, (const char *)yes, sizeof yes);
    return TRUE;
}

static rfbBool ext_message(rfbClientPtr cl, void *data, const rfbClientToServerMsg *m)
{
    uint8_t b[11]; /* kind, down (2), keysym (4), scan code (4) */

    if (m->type != QEMU_MESSAGE) {
        return FALSE;
    }
    if (rfb.read_exact(cl, (char *)b, sizeof b) <= 0 || b[0] != EXT_KEY_MESSAGE) {
        rfb.close(cl);
        return TRUE;
    }
    post(
        view_of(cl), (VncEvent){ .kind = VNC_EV_KEY,
                         .down = b[1] || b[2],
                         .code = (uint32_t)b[7] << 24 | (uint32_t)b[8] << 16 | b[9] << 8 | b[10] });
    return TRUE;
}

static int ext_encodings[] = { EXT_KEY_ENCODING, 0 };
static rfbProtocolExtension ext_keys = { .newClient = ext_new,
    .pseudoEncodings = ext_encodings,
    .enablePseudoEncoding = ext_enable,
    .handleMessage = ext_message };

/* ---- the library ---- */

static void quiet(const char *format, ...) {}

static bool take(void *lib, const char *name, void *slot)
{
    void *fn = dlsym(lib, name);

    *(void **)slot = fn;
    return fn != NULL;
}

bool vnc_lib_load(GError **err)
{
    void *lib;

    if (rfb.loaded) {
        return true;
    }
    lib = dlopen("libvncserver.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        return err_set(err, "cannot load libvncserver.so.1: install Debian package libvncserver1");
    }
    rfb.loaded =
        take(lib, "rfbGetScreen", &rfb.get_screen) &&
        take(lib, "rfbScreenCleanup", &rfb.screen_cleanup) &&
        take(lib, "rfbNewClient", &rfb.new_client) &&
        take(lib, "rfbProcessClientMessage", &rfb.message) &&
        take(lib, "rfbUpdateClient", &rfb.update) && take(lib, "rfbCloseClient", &rfb.close) &&
        take(lib, "rfbClientConnectionGone", &rfb.gone) &&
        take(lib, "rfbMarkRectAsModified", &rfb.mark) &&
        take(lib, "rfbNewFramebuffer", &rfb.new_framebuffer) &&
        take(lib, "rfbSetCursor", &rfb.set_cursor) && take(lib, "rfbEncryptBytes", &rfb.encrypt) &&
        take(lib, "rfbRegisterProtocolExtension", &rfb.extend) &&
        take(lib, "rfbReadExact", &rfb.read_exact) &&
        take(lib, "rfbWriteExact", &rfb.write_exact) && take(lib, "rfbLog", &rfb.log) &&
        take(lib, "rfbErr", &rfb.err);
    if (!rfb.loaded) {
        dlclose(lib);
        return err_set(err, "libvncserver.so.1 is not the library that was built with");
    }
    *rfb.log = *rfb.err = quiet;
    rfb.model = rfb.get_screen(NULL, NULL, 4, 4, 8, 3, 4);
    if (rfb.model) {
        rfb.model->cursor = NULL; /* one that all would share */
    }
    rfb.extend(&ext_keys);
    return true;
}

/* ---- the frame ---- */

static void copy_rect(View *v, const VncRect *r)
{
    for (int y = r->y1; y < r->y2; y++) {
        size_t at = (size_t)y * v->width + (size_t)r->x1;

        memcpy(v->px + at, v->frame->px + at, (size_t)(r->x2 - r->x1) * sizeof *v->px);
    }
}

/* x8r8g8b8, where libvncserver begins with the bytes the other way round. */
static void set_format(View *v)
{
    v->screen->serverFormat.redShift = 16;
    v->screen->serverFormat.greenShift = 8;
    v->screen->serverFormat.blueShift = 0;
}

/* Under the frame's lock. The old memory, to be freed when libvncserver has the new; NULL: as it
 * was. */
static uint32_t *resize(View *v)
{
    const VncFrame *f = v->frame;
    size_t size = (size_t)f->width * f->height * sizeof *f->px;
    uint32_t *px = g_try_malloc(size), *old = v->px;

    if (!px) {
        return NULL; /* the viewer keeps what it sees */
    }
    memcpy(px, f->px, size);
    v->px = px;
    v->width = f->width;
    v->height = f->height;
    v->serial = f->serial;
    return old;
}

static rfbCursorPtr make_cursor(const VncFrame *f)
{
    unsigned n = f->cursor_width * f->cursor_height, row = (f->cursor_width + 7) / 8;
    rfbCursorPtr c = calloc(1, sizeof *c);

    c->cleanup = c->cleanupMask = c->cleanupRichSource = TRUE;
    c->width = (unsigned short)f->cursor_width;
    c->height = (unsigned short)f->cursor_height;
    c->xhot = (unsigned short)f->hot_x;
    c->yhot = (unsigned short)f->hot_y;
    c->richSource = malloc(n * 4);
    c->alphaSource = malloc(n);
    c->mask = calloc(row, f->cursor_height);
    for (unsigned i = 0; i < n; i++) {
        uint32_t argb = f->cursor[i], rgb = argb & 0xffffff;

        memcpy(c->richSource + 4 * i, &rgb, 4);
        c->alphaSource[i] = (unsigned char)(argb >> 24);
        if (argb >> 31) {
            unsigned x = i % f->cursor_width;

            c->mask[i / f->cursor_width * row + x / 8] |= (unsigned char)(0x80 >> x % 8);
        }
    }
    return c;
}

static void take_cursor(View *v)
{
    VncFrame *f = v->frame;
    rfbCursorPtr c = NULL;

    g_mutex_lock(&f->lock);
    if (v->cursor_serial == f->cursor_serial) {
        g_mutex_unlock(&f->lock);
        return;
    }
    v->cursor_serial = f->cursor_serial;
    c = f->cursor ? make_cursor(f) : NULL;
    g_mutex_unlock(&f->lock);
    rfb.set_cursor(v->screen, c);
}

static void take_frame(View *v)
{
    VncFrame *f = v->frame;
    VncRect rect[VNC_RECTS];
    uint32_t *old = NULL;
    unsigned n;

    g_mutex_lock(&f->lock);
    n = v->c->nrects;
    memcpy(rect, v->c->rect, n * sizeof rect[0]);
    v->c->nrects = 0;
    if (v->serial != f->serial) {
        old = resize(v);
        n = 0;
    }
    for (unsigned i = 0; i < n; i++) {
        copy_rect(v, &rect[i]);
    }
    g_mutex_unlock(&f->lock);
    if (old) {
        rfb.new_framebuffer(v->screen, (char *)v->px, (int)v->width, (int)v->height, 8, 3, 4);
        set_format(v);
        v->screen->setTranslateFunction(v->cl);
        /* An answer to a wish that has not gone yet would take the new size along, and say that it
         * does not count. */
        v->cl->requestedDesktopSizeChange = 0;
        v->cl->lastDesktopSizeChangeError = 0;
        g_free(old);
    }
    for (unsigned i = 0; i < n; i++) {
        rfb.mark(v->screen, rect[i].x1, rect[i].y1, rect[i].x2, rect[i].y2);
    }
}

/* ---- the thread ---- */

/* As rfbGetScreen(), in any thread. Freed by rfbScreenCleanup(). */
static rfbScreenInfoPtr new_screen(const View *v)
{
    rfbScreenInfoPtr s = rfb.model ? malloc(sizeof *s) : NULL;

    if (s) {
        *s = *rfb.model;
        INIT_MUTEX(s->cursorMutex);
        rfb.new_framebuffer(s, (char *)v->px, (int)v->width, (int)v->height, 8, 3, 4);
    }
    return s;
}

static bool open_screen(View *v)
{
    static char yes;
    rfbScreenInfoPtr s;

    g_mutex_lock(&v->frame->lock);
    v->serial = v->frame->serial - 1;
    resize(v);
    v->c->nrects = 0;
    g_mutex_unlock(&v->frame->lock);
    s = v->px ? new_screen(v) : NULL;
    if (!s) {
        return false;
    }
    v->screen = s;
    set_format(v);
    s->screenData = v;
    s->desktopName = v->c->server->title;
    s->alwaysShared = TRUE; /* who shares is decided in the main loop */
    s->deferUpdateTime = 0;
    s->maxClientWait = VNC_SEND_MS;
    s->kbdAddEvent = on_key;
    s->ptrAddEvent = on_pointer;
    s->setDesktopSizeHook = on_size;
    s->getKeyboardLedStateHook = on_leds;
    if (v->c->server->auth) {
        s->authPasswdData = &yes; /* not NULL: there is one */
        s->passwordCheck = on_password;
    }
    return true;
}

static void read_message(View *v)
{
    uint8_t shared;

    if (v->cl->state == RFB_INITIALISATION && recv(v->cl->sock, &shared, 1, MSG_PEEK) == 1) {
        v->shared = shared;
    }
    rfb.message(v->cl);
    if (!v->initialized && v->cl->state == RFB_NORMAL && v->cl->sock != RFB_INVALID_SOCKET) {
        v->initialized = true;
        post(v, (VncEvent){ .kind = VNC_EV_INIT, .down = v->shared });
    }
}

static void serve(View *v)
{
    int64_t hello_us = g_get_monotonic_time() + VNC_HELLO_S * G_USEC_PER_SEC;

    while (!v->c->stop && v->cl->sock != RFB_INVALID_SOCKET) {
        struct pollfd p[2] = { { .fd = v->cl->sock, .events = POLLIN },
            { .fd = v->c->wake, .events = POLLIN } };
        int64_t left_us = hello_us - g_get_monotonic_time();

        if (!v->initialized && left_us <= 0) {
            return;
        }
        poll(p, 2, v->initialized ? -1 : (int)(left_us / 1000 + 1));
        if (p[1].revents) {
            fd_drain(v->c->wake);
            take_frame(v);
            take_cursor(v);
        }
        if (p[0].revents) {
            read_message(v);
        }
        if (v->cl->sock != RFB_INVALID_SOCKET && v->initialized) {
            rfb.update(v->cl);
        }
    }
}

gpointer vnc_client_thread(gpointer client)
{
    View v = { .c = client, .frame = &((VncClient *)client)->server->frame };
    int fd = v.c->fd;

    /* libvncserver uses select(). */
    if (fd < FD_SETSIZE && open_screen(&v)) {
        take_cursor(&v);
        v.cl = rfb.new_client(v.screen, fd);
        fd = -1; /* its own from here on, closed when it refuses */
        if (v.cl) {
            serve(&v);
            rfb.close(v.cl);
            rfb.gone(v.cl);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    if (v.screen) {
        v.screen->desktopName = NULL;
        v.screen->frameBuffer = NULL;
        rfb.screen_cleanup(v.screen);
    }
    g_free(v.px);
    loop_post(loop_main(), vnc_client_ended, v.c);
    return NULL;
}
