/* VNC servers: options, viewers that come and go, the frame they see and what they send. See
 * vnc-internal.h. Tested by tests/system/test_vnc.py. */
#include "ui/surface.h"
#include "util/err.h"
#include "util/fd.h"
#include "util/keyval.h"
#include "util/sock.h"
#include "vnc-internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

static struct {
    GPtrArray *servers; /* VncServer* */
    unsigned nclients;  /* of all of them */
} vnc;

enum { BLANK_WIDTH = 640, BLANK_HEIGHT = 480 };

GPtrArray *vnc_servers(void)
{
    return vnc.servers;
}

/* ---- events for QMP ---- */

static Json *address(const char *host, const char *service, const char *family)
{
    Json *j = json_object();

    json_set(j, "host", json_str(host));
    json_set(j, "service", json_str(service));
    json_set(j, "family", json_str(family));
    json_set(j, "websocket", json_bool(false));
    return j;
}

static Json *peers(const VncClient *c)
{
    const VncServer *s = c->server;
    Json *data = json_object(), *server = address(c->at->host, c->at->service, c->at->family);

    json_set(server, "auth", json_str(s->auth ? "vnc" : "none"));
    json_set(data, "server", server);
    json_set(data, "client", address(c->host, c->service, c->family));
    return data;
}

/* ---- what viewers see ---- */

static bool overlap(const VncRect *a, const VncRect *b)
{
    return a->x1 <= b->x2 && b->x1 <= a->x2 && a->y1 <= b->y2 && b->y1 <= a->y2;
}

static void join(VncRect *a, const VncRect *b)
{
    *a = (VncRect){ MIN(a->x1, b->x1), MIN(a->y1, b->y1), MAX(a->x2, b->x2), MAX(a->y2, b->y2) };
}

void vnc_rect_add(VncRect *list, unsigned *n, VncRect r)
{
    for (unsigned i = 0; i < *n; i++) {
        if (overlap(&list[i], &r) || *n == VNC_RECTS) {
            join(&list[i], &r);
            return;
        }
    }
    list[(*n)++] = r;
}

void vnc_set_password(VncFrame *f, const char *text, size_t len)
{
    g_mutex_lock(&f->lock);
    memset(f->password, 0, sizeof f->password);
    memcpy(f->password, text, strnlen(text, MIN(len, VNC_PASSWORD)));
    f->has_password = f->password[0];
    g_mutex_unlock(&f->lock);
}

static void wake_all(VncServer *s)
{
    for (unsigned i = 0; i < s->clients->len; i++) {
        fd_signal(((VncClient *)s->clients->pdata[i])->wake);
    }
}

static void blank(VncFrame *f)
{
    g_free(f->px);
    f->width = BLANK_WIDTH;
    f->height = BLANK_HEIGHT;
    f->px = g_new0(uint32_t, (size_t)f->width * f->height);
    f->serial++;
}

/* Under the frame's lock. */
static void copy_rect(VncFrame *f, pixman_image_t *from, const VncRect *r)
{
    for (int y = r->y1; y < r->y2; y++) {
        memcpy(f->px + (size_t)y * f->width + r->x1,
            surface_row(from, (unsigned)y) + (size_t)r->x1 * sizeof *f->px,
            (size_t)(r->x2 - r->x1) * sizeof *f->px);
    }
}

static bool new_size(VncServer *s, pixman_image_t *from)
{
    VncFrame *f = &s->frame;
    unsigned width = surface_width(from), height = surface_height(from);
    uint32_t *px = f->px;

    if (width != f->width || height != f->height) {
        px = g_try_new(uint32_t, (size_t)width * height);
        if (!px) {
            return false; /* tried again at the next tick */
        }
        g_free(f->px);
        f->px = px;
        f->width = width;
        f->height = height;
        f->serial++;
    }
    s->ndirty = 1;
    s->dirty[0] = (VncRect){ 0, 0, (int)width, (int)height };
    s->resize = false;
    return true;
}

static void take_cursor(VncServer *s)
{
    VncFrame *f = &s->frame;
    const DisplayCursor *c = display_cursor(s->display);

    g_clear_pointer(&f->cursor, g_free);
    if (c) {
        f->cursor_width = c->width;
        f->cursor_height = c->height;
        f->hot_x = c->hot_x;
        f->hot_y = c->hot_y;
        f->cursor = g_memdup2(c->argb, (size_t)c->width * c->height * sizeof c->argb[0]);
    }
    f->cursor_serial++;
    s->cursor_new = false;
}

/* What changed goes into the frame, unless a viewer's thread is just reading that. */
static void take_frame(VncServer *s)
{
    VncFrame *f = &s->frame;
    pixman_image_t *from;

    if (!(s->resize || s->ndirty || s->cursor_new) || !g_mutex_trylock(&f->lock)) {
        return;
    }
    from = display_surface(s->display);
    if (from && (!s->resize || new_size(s, from))) {
        for (unsigned i = 0; i < s->ndirty; i++) {
            copy_rect(f, from, &s->dirty[i]);
            for (unsigned k = 0; k < s->clients->len; k++) {
                VncClient *c = s->clients->pdata[k];

                vnc_rect_add(c->rect, &c->nrects, s->dirty[i]);
            }
        }
        s->ndirty = 0;
    }
    if (s->cursor_new) {
        take_cursor(s);
    }
    g_mutex_unlock(&f->lock);
    wake_all(s);
}

static void tick(void *opaque)
{
    VncServer *s = opaque;

    if (s->display) {
        display_refresh(s->display);
        s->takes_wish = display_takes_wish(s->display);
        take_frame(s);
    }
    if (s->clients->len) {
        timer_mod(&s->tick, clock_ns(CLOCK_KIND_REALTIME) + VNC_TICK_MS * INT64_C(1000000));
    }
}

static void on_resized(DisplayListener *l)
{
    ((VncServer *)l->opaque)->resize = true;
}

static void on_updated(DisplayListener *l, int x, int y, int width, int height)
{
    VncServer *s = l->opaque;

    if (!s->resize) {
        vnc_rect_add(s->dirty, &s->ndirty, (VncRect){ x, y, x + width, y + height });
    }
}

static void on_cursor(DisplayListener *l)
{
    ((VncServer *)l->opaque)->cursor_new = true;
}

static void on_gone(DisplayListener *l)
{
    VncServer *s = l->opaque;

    s->display = NULL;
    s->takes_wish = false;
    g_mutex_lock(&s->frame.lock);
    blank(&s->frame);
    g_clear_pointer(&s->frame.cursor, g_free);
    s->frame.cursor_serial++;
    g_mutex_unlock(&s->frame.lock);
    wake_all(s);
}

static const DisplayListenerOps listener_ops = {
    .resized = on_resized, .updated = on_updated, .cursor = on_cursor, .gone = on_gone
};

/* Without a viewer the display has no listener, and nothing is drawn. */
static void look(VncServer *s, bool on)
{
    if (!on) {
        display_unlisten(&s->listener);
        timer_del(&s->tick);
        return;
    }
    if (!s->display) {
        s->display = s->device ? display_find(s->root, s->device, s->head, NULL) : display_nth(0);
    }
    if (s->display) {
        s->listener = (DisplayListener){ .ops = &listener_ops, .opaque = s };
        display_listen(s->display, &s->listener);
        s->resize = s->cursor_new = true;
        s->ndirty = 0;
    }
    tick(s);
}

static void display_came(G_GNUC_UNUSED void *opaque, G_GNUC_UNUSED Display *d)
{
    for (unsigned i = 0; vnc.servers && i < vnc.servers->len; i++) {
        VncServer *s = vnc.servers->pdata[i];

        if (!s->display && s->clients->len) {
            look(s, true);
        }
    }
}

/* ---- viewers ---- */

static void client_stop(VncClient *c)
{
    c->stop = true;
    shutdown(c->ctl, SHUT_RDWR); /* ends what the thread waits in */
    g_mutex_lock(&c->lock);
    g_cond_signal(&c->room);
    g_mutex_unlock(&c->lock);
    fd_signal(c->wake);
}

static void client_free(VncClient *c)
{
    close(c->ctl);
    close(c->wake);
    g_mutex_clear(&c->lock);
    g_cond_clear(&c->room);
    g_hash_table_unref(c->held);
    g_free(c->host);
    g_free(c->service);
    g_free(c);
}

/* What it held is let go. */
static void client_release(VncClient *c)
{
    GHashTableIter i;
    gpointer key;

    g_hash_table_iter_init(&i, c->held);
    while (g_hash_table_iter_next(&i, NULL, &key)) {
        input_key(c->server->display, (uint16_t)GPOINTER_TO_UINT(key), false);
    }
    g_hash_table_remove_all(c->held);
    vnc_client_buttons(c, 0);
    input_sync();
}

void vnc_client_ended(void *opaque)
{
    VncClient *c = opaque;
    VncServer *s = c->server;

    if (c->thread) {
        g_thread_join(c->thread);
    }
    if (!c->stop) {
        vnc_client_events(c); /* what it sent last */
    }
    client_release(c);
    g_mutex_lock(&s->frame.lock);
    g_ptr_array_remove(s->clients, c);
    g_mutex_unlock(&s->frame.lock);
    vnc.nclients--;
    qmp_event("VNC_DISCONNECTED", peers(c));
    client_free(c);
    if (!s->clients->len) {
        look(s, false);
    }
}

static void client_new(VncServer *s, const VncSocket *at, int fd)
{
    VncClient *c = g_new0(VncClient, 1);

    c->server = s;
    c->at = at;
    c->fd = fd;
    c->ctl = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    c->wake = fd_eventfd();
    c->last_x = c->last_y = -1;
    c->held = g_hash_table_new(NULL, NULL);
    g_mutex_init(&c->lock);
    g_cond_init(&c->room);
    vnc_address(fd, /* peer= */ true, &c->host, &c->service, &c->family);
    g_mutex_lock(&s->frame.lock);
    g_ptr_array_add(s->clients, c);
    g_mutex_unlock(&s->frame.lock);
    vnc.nclients++;
    qmp_event("VNC_CONNECTED", peers(c));
    if (s->clients->len == 1) {
        look(s, true);
    }
    c->thread = g_thread_try_new("vnc", vnc_client_thread, c, NULL);
    if (!c->thread) { /* the host has no room for one more */
        close(fd);
        vnc_client_ended(c);
    }
}

static void on_accept(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    const VncSocket *k = opaque;
    int fd = sock_accept(k->fd);

    if (fd < 0) {
        return;
    }
    if (vnc.nclients >= VNC_CLIENTS || !fd_set_nonblock(fd, true)) {
        close(fd);
        return;
    }
    client_new(k->server, k, fd);
}

void vnc_client_initialized(VncClient *c, bool shares)
{
    VncServer *s = c->server;

    c->initialized = true;
    if (!shares && s->share == VNC_SHARE_FORCE) {
        client_stop(c);
        return;
    }
    for (unsigned i = 0; !shares && s->share == VNC_SHARE_EXCLUSIVE && i < s->clients->len; i++) {
        if (s->clients->pdata[i] != c) {
            client_stop(s->clients->pdata[i]);
        }
    }
    qmp_event("VNC_INITIALIZED", peers(c));
}

/* ---- servers ---- */

typedef struct VncOpts {
    char *where, *share, *display, *id, *audiodev, *secret, *websocket, *tls, *tls_authz,
        *sasl_authz;
    char *to, *head, *connections, *key_delay; /* numbers */
    bool password, lossy, non_adaptive, lock_key_sync, power_control, ipv4, ipv6, sasl, reverse;
} VncOpts;

/* clang-format off */
static const PropSpec vnc_opts[] = {
    PROP_STR("vnc", VncOpts, where, "host:display or unix:path"),
    PROP_STR("id", VncOpts, id, "name of the server"),
    PROP_STR("share", VncOpts, share, "allow-exclusive, force-shared or ignore"),
    PROP_STR("display", VncOpts, display, "id of the device to show"),
    PROP_STR("head", VncOpts, head, "of its heads"),
    PROP_STR("to", VncOpts, to, "tries displays up to this one"),
    PROP_STR("connections", VncOpts, connections, "kept for compatibility"),
    PROP_STR("key-delay-ms", VncOpts, key_delay, "kept for compatibility"),
    PROP_BOOL("password", VncOpts, password, false, "asks for what set_password said"),
    PROP_BOOL("ipv4", VncOpts, ipv4, false, "IPv4 alone"),
    PROP_BOOL("ipv6", VncOpts, ipv6, false, "IPv6 alone"),
    PROP_BOOL("lossy", VncOpts, lossy, false, "viewers choose by themselves"),
    PROP_BOOL("non-adaptive", VncOpts, non_adaptive, false, "always so"),
    PROP_BOOL("lock-key-sync", VncOpts, lock_key_sync, true, "kept for compatibility"),
    PROP_BOOL("power-control", VncOpts, power_control, false, "refused"),
    PROP_BOOL("reverse", VncOpts, reverse, false, "refused"),
    PROP_BOOL("sasl", VncOpts, sasl, false, "refused"),
    PROP_STR("audiodev", VncOpts, audiodev, "there is no sound"),
    PROP_STR("password-secret", VncOpts, secret, "id of the secret that holds the password"),
    PROP_STR("websocket", VncOpts, websocket, "refused"),
    PROP_STR("tls-creds", VncOpts, tls, "refused"),
    PROP_STR("tls-authz", VncOpts, tls_authz, "refused"),
    PROP_STR("sasl-authz", VncOpts, sasl_authz, "refused"),
    PROP_END,
};
/* clang-format on */

static bool check_opts(const VncOpts *o, const VncPlace *place, GError **err)
{
    const struct {
        bool asked;
        const char *name;
    } no[] = { { o->power_control, "power-control=on" }, { o->reverse, "reverse=on" },
        { o->sasl, "sasl=on" }, { o->websocket && strcmp(o->websocket, "off"), "websocket=" },
        { o->tls != NULL, "tls-creds=" }, { o->tls_authz != NULL, "tls-authz=" },
        { o->sasl_authz != NULL, "sasl-authz=" } };

    for (unsigned i = 0; i < G_N_ELEMENTS(no); i++) {
        if (no[i].asked) {
            return err_set(err, "%s is not supported", no[i].name);
        }
    }
    if (o->audiodev && !g_strv_contains(place->audiodevs, o->audiodev)) {
        return err_set(err, "audiodev '%s' not found", o->audiodev);
    }
    if (o->to && g_str_has_prefix(o->where, "unix:")) {
        return err_set(err, "Port range not support with UNIX socket");
    }
    return true;
}

/* password-secret=: the password from the start, where password=on waits for set_password. */
static bool set_secret(VncServer *s, const VncOpts *o, GError **err)
{
    g_autoptr(GBytes) secret = NULL;
    const char *text;
    gsize len;

    if (!o->secret) {
        return true;
    }
    if (o->password) {
        return err_set(err, "'password' flag is redundant with 'password-secret'");
    }
    secret = s->secret(s->root, o->secret, err);
    if (!secret) {
        return false;
    }
    text = g_bytes_get_data(secret, &len);
    if (!g_utf8_validate(text, (gssize)len, NULL)) {
        return err_set(err, "Data from secret %s is not valid UTF-8", o->secret);
    }
    s->auth = true;
    vnc_set_password(&s->frame, text, len);
    return true;
}

static bool number(const char *name, const char *text, int64_t *ret, GError **err)
{
    uint64_t n;

    if (!text) {
        return true;
    }
    if (!parse_uint(text, INT64_MAX, &n)) {
        return err_set(err, "Parameter '%s' expects a number", name);
    }
    *ret = (int64_t)n;
    return true;
}

static bool set_share(VncServer *s, const char *share, GError **err)
{
    static const char *const names[] = { "allow-exclusive", "force-shared", "ignore" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!share || !strcmp(share, names[i])) {
            s->share = i;
            return true;
        }
    }
    return err_set(err, "unknown vnc share= option");
}

static void server_free(VncServer *s)
{
    for (unsigned i = 0; i < s->nsocks; i++) {
        loop_fd_del(s->sock[i].watch);
        close(s->sock[i].fd);
        if (s->sock[i].unlink) {
            sock_unlink(s->sock[i].unlink);
        }
        g_free(s->sock[i].unlink);
        g_free(s->sock[i].host);
        g_free(s->sock[i].service);
    }
    look(s, false);
    g_ptr_array_unref(s->clients);
    g_mutex_clear(&s->frame.lock);
    g_free(s->frame.px);
    g_free(s->frame.cursor);
    g_free(s->id);
    g_free(s->device);
    g_free(s->title);
    g_free(s);
}

static bool server_open(VncServer *s, const VncOpts *o, const VncPlace *place, GError **err)
{
    int family = o->ipv4 == o->ipv6 ? AF_UNSPEC : o->ipv4 ? AF_INET : AF_INET6;

    int64_t to = -1, other;

    if (!check_opts(o, place, err) || !set_secret(s, o, err) || !set_share(s, o->share, err) ||
        !number("head", o->head, &s->head, err) || !number("to", o->to, &to, err) ||
        !number("connections", o->connections, &other, err) ||
        !number("key-delay-ms", o->key_delay, &other, err)) {
        return false;
    }
    if (o->display && !display_find(s->root, o->display, s->head, err)) {
        return false;
    }
    if (!o->where || !strcmp(o->where, "none")) {
        return true;
    }
    if (!surface_available(err) || !vnc_lib_load(err) ||
        !vnc_listen(s, o->where, to, family, err)) {
        return false;
    }
    for (unsigned i = 0; i < s->nsocks; i++) {
        s->sock[i].watch = loop_fd_add(loop_main(), s->sock[i].fd, EPOLLIN, on_accept, &s->sock[i]);
    }
    return true;
}

static void leds_changed(G_GNUC_UNUSED void *opaque)
{
    for (unsigned i = 0; vnc.servers && i < vnc.servers->len; i++) {
        VncServer *s = vnc.servers->pdata[i];
        unsigned leds = input_leds(s->display);

        if (s->leds != leds) {
            s->leds = leds;
            wake_all(s);
        }
    }
}

bool vnc_start(const char *text, const VncPlace *place, GError **err)
{
    VncOpts o = { 0 };
    bool help = false, ok;
    g_autoptr(Json) args = opts_parse(text, "vnc", false, &help, err);

    if (!args) {
        return false;
    }
    prop_defaults(vnc_opts, &o);
    if (!prop_apply_struct(vnc_opts, &o, args, err)) {
        prop_release(vnc_opts, &o);
        return false;
    }
    VncServer *s = g_new0(VncServer, 1);

    if (!vnc.servers) {
        vnc.servers = g_ptr_array_new();
    }
    s->id = o.id               ? g_strdup(o.id)
            : vnc.servers->len ? g_strdup_printf("vnc%u", vnc.servers->len + 1)
                               : g_strdup("default");
    s->title = place->name ? g_strdup_printf("QEMU (%s)", place->name) : g_strdup("QEMU");
    s->root = place->root;
    s->secret = place->secret;
    s->device = g_strdup(o.display);
    s->auth = o.password;
    s->clients = g_ptr_array_new();
    g_mutex_init(&s->frame.lock);
    s->frame.expires_s = INT64_MAX;
    blank(&s->frame);
    timer_init(&s->tick, loop_main(), CLOCK_KIND_REALTIME, tick, s);
    ok = server_open(s, &o, place, err);
    prop_release(vnc_opts, &o);
    if (!ok) {
        server_free(s);
        return false;
    }
    g_ptr_array_add(vnc.servers, s);
    display_on_new(display_came, NULL);
    input_on_change(leds_changed, NULL);
    return true;
}

void vnc_stop_all(void)
{
    if (!vnc.servers) {
        return;
    }
    display_on_new(NULL, NULL);
    input_on_change(NULL, NULL);
    for (unsigned i = 0; i < vnc.servers->len; i++) {
        VncServer *s = vnc.servers->pdata[i];

        for (unsigned k = 0; k < s->clients->len; k++) {
            client_stop(s->clients->pdata[k]);
        }
    }
    while (vnc.nclients) { /* each thread's last act is to post its end */
        loop_turn(loop_main(), true);
    }
    for (unsigned i = 0; i < vnc.servers->len; i++) {
        server_free(vnc.servers->pdata[i]);
    }
    g_clear_pointer(&vnc.servers, g_ptr_array_unref);
}
