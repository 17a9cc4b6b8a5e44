/* Character devices: the registry, front ends, the multiplexer with its escape keys. Tested by
 * test-chardev. */
#include "chardev-internal.h"
#include "util/fd.h"
#include "util/fdset.h"
#include "util/keyval.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

const ChardevClass *const chardev_class_list[] = {
    &chardev_null,
    &chardev_stdio,
    &chardev_file,
    &chardev_pipe,
    &chardev_serial,
    &chardev_pty,
    &chardev_ringbuf,
    &chardev_socket,
    &chardev_udp,
    NULL,
};

/* The process's character devices: made from the command line and QMP, found by name. Main loop
 * only. */
static struct {
    GPtrArray *all;
    int escape;
    void (*quit)(void *opaque);
    void *quit_opaque;
} reg = { .escape = 1 };

typedef struct CommonOpts {
    bool mux, logappend;
    char *logfile;
} CommonOpts;
static const PropSpec common_props[] = {
    PROP_BOOL("mux", CommonOpts, mux, false, "share it between several front ends"),
    PROP_STR("logfile", CommonOpts, logfile, "file that gets a copy of the output"),
    PROP_BOOL("logappend", CommonOpts, logappend, false, "append to the log file"),
    PROP_END,
};

static const ChardevClass *class_find(const char *name)
{
    static const char *const alias[][2] = { { "tty", "serial" }, { "memory", "ringbuf" } };

    for (unsigned i = 0; i < G_N_ELEMENTS(alias); i++) {
        name = strcmp(name, alias[i][0]) ? name : alias[i][1];
    }
    for (unsigned i = 0; chardev_class_list[i]; i++) {
        if (!strcmp(chardev_class_list[i]->name, name)) {
            return chardev_class_list[i];
        }
    }
    return NULL;
}

bool chardev_help(GString *out)
{
    g_string_append(out, "Available chardev backend types: \n");
    for (unsigned i = 0; chardev_class_list[i]; i++) {
        g_string_append_printf(out, "  %s\n", chardev_class_list[i]->name);
    }
    return true;
}

Chardev *chardev_find(const char *id)
{
    for (unsigned i = 0; reg.all && i < reg.all->len; i++) {
        Chardev *c = g_ptr_array_index(reg.all, i);
        if (!strcmp(c->id, id)) {
            return c;
        }
    }
    return NULL;
}

const char *chardev_id(const Chardev *c)
{
    return c->id;
}

bool chardev_is_mux(const Chardev *c)
{
    return c->mux;
}

void chardev_each(void (*fn)(Chardev *c, void *opaque), void *opaque)
{
    for (unsigned i = 0; reg.all && i < reg.all->len; i++) {
        fn(g_ptr_array_index(reg.all, i), opaque);
    }
}

static void chardev_free(Chardev *c)
{
    if (c->cls->close) {
        c->cls->close(c);
    }
    if (c->log_fd >= 0) {
        close(c->log_fd);
    }
    if (c->out) {
        g_byte_array_free(c->out, TRUE);
    }
    g_free(c->id);
    g_free(c);
}

static bool open_log(Chardev *c, const CommonOpts *o, GError **err)
{
    if (!o->logfile) {
        return true;
    }
    c->log_fd =
        fdset_open(o->logfile, O_WRONLY | O_CREAT | (o->logappend ? O_APPEND : O_TRUNC), 0666);
    return c->log_fd >= 0 || err_set_errno(err, "Could not create '%s'", o->logfile);
}

/* Moves the members that every back end has from args into o. */
static bool take_common(Json *args, CommonOpts *o, GError **err)
{
    g_autoptr(Json) mine = json_object();

    for (const PropSpec *p = common_props; p->name; p++) {
        Json *v = json_get(args, p->name);
        if (v) {
            json_set(mine, p->name, json_ref(v));
            json_remove(args, p->name);
        }
    }
    prop_defaults(common_props, o);
    return prop_apply_struct(common_props, o, mine, err);
}

static Chardev *create(const ChardevClass *cls, const char *id, Json *args, GError **err)
{
    CommonOpts common = { 0 };
    g_autofree void *opts = g_malloc0(MAX(cls->opts_size, 1));
    Chardev *c = g_malloc0(cls->size);

    c->cls = cls;
    c->id = g_strdup(id);
    c->log_fd = -1;
    if (cls->props) {
        prop_defaults(cls->props, opts);
    }
    static const PropSpec none[] = { PROP_END };
    bool ok = take_common(args, &common, err) &&
              prop_apply_struct(cls->props ? cls->props : none, opts, args, err) &&
              open_log(c, &common, err);
    c->mux = common.mux;
    if (ok) {
        if (!reg.all) {
            reg.all = g_ptr_array_new();
        }
        ok = cls->open(c, opts, err);
    }
    if (cls->props) {
        prop_release(cls->props, opts);
    }
    prop_release(common_props, &common);
    if (!ok) {
        if (c->log_fd >= 0) {
            close(c->log_fd);
        }
        g_free(c->id);
        g_free(c);
        return NULL;
    }
    g_ptr_array_add(reg.all, c);
    return c;
}

Chardev *chardev_create(const Json *args, GError **err)
{
    const char *backend = json_get_str_or(args, "backend", NULL),
               *id = json_get_str_or(args, "id", NULL);

    if (!backend) {
        err_set(err, "chardev: \"%s\" missing backend", id ? id : "(null)");
        return NULL;
    }
    if (!id) {
        err_set(err, "chardev: no id specified");
        return NULL;
    }
    if (!id_check(id, err)) {
        return NULL;
    }
    if (chardev_find(id)) {
        err_set(err,
            json_is_text(json_get(args, "id")) ? "Duplicate ID '%s' for chardev"
                                               : "Chardev with id '%s' already exists",
            id);
        return NULL;
    }
    const ChardevClass *cls = class_find(backend);
    if (!cls) {
        err_set(err, "'%s' is not a valid char driver name", backend);
        return NULL;
    }
    g_autoptr(Json) rest = json_copy(args);
    json_remove(rest, "backend");
    json_remove(rest, "id");
    return create(cls, id, rest, err);
}

Chardev *chardev_from_text(const char *id, const char *text, GError **err)
{
    g_autoptr(Json) args = json_object();
    const char *p = text;

    if (g_str_has_prefix(text, "chardev:")) {
        Chardev *c = chardev_find(text + 8);
        if (!c) {
            err_set(err, "chardev \"%s\" not found", text + 8);
        }
        return c;
    }
    if (!strcmp(text, "none")) {
        return NULL;
    }
    json_set(args, "id", json_str(id));
    if (g_str_has_prefix(p, "mon:")) {
        p += 4;
        json_set(args, "mux", json_bool(true));
        if (!strcmp(p, "stdio")) {
            json_set(args, "signal", json_bool(false)); /* Ctrl-C is the guest's */
        }
    }
    if (!strcmp(p, "stdio") || !strcmp(p, "null") || !strcmp(p, "pty")) {
        json_set(args, "backend", json_str(p));
    } else if (g_str_has_prefix(p, "file:") || g_str_has_prefix(p, "pipe:")) {
        json_set(args, "backend", json_str(p[0] == 'f' ? "file" : "pipe"));
        json_set(args, "path", json_text(p + 5));
    } else if (g_str_has_prefix(p, "/dev/")) {
        json_set(args, "backend", json_str("serial"));
        json_set(args, "path", json_text(p));
    } else if (g_str_has_prefix(p, "udp:")) {
        if (!char_udp_from_text(p + 4, args, err)) {
            return NULL;
        }
    } else {
        GError *local = NULL;
        if (!char_socket_from_text(p, args, &local)) {
            if (local) {
                g_propagate_error(err, local);
            } else {
                err_set(err, "'%s' is not a valid char driver", p);
            }
            return NULL;
        }
    }
    return chardev_create(args, err);
}

bool chardev_remove(const char *id, GError **err)
{
    Chardev *c = chardev_find(id);

    if (!c) {
        return err_set(err, "Chardev '%s' not found", id);
    }
    if (c->nfe) {
        return err_set(err, "Chardev '%s' is busy", id);
    }
    g_ptr_array_remove(reg.all, c);
    chardev_free(c);
    return true;
}

static void fe_event(ChardevFe *fe, ChardevEvent ev);

Chardev *chardev_change(const Json *args, GError **err)
{
    const char *id = json_get_str_or(args, "id", NULL);
    Chardev *old = id ? chardev_find(id) : NULL;
    ChardevFe *fe = old && old->nfe ? old->fe[0] : NULL;

    if (!old) {
        err_set(err, "Chardev '%s' does not exist", id ? id : "(null)");
        return NULL;
    }
    if (old->mux) {
        err_set(err, "For mux or hub device hotswap is not supported yet");
        return NULL;
    }
    if (fe && !fe->ops->changed) {
        err_set(err, "Chardev user does not support chardev hotswap");
        return NULL;
    }
    /* The name is free while the new device is made. */
    g_ptr_array_remove(reg.all, old);
    Chardev *c = chardev_create(args, err);

    if (!c || (fe && c->mux)) {
        if (c) {
            chardev_remove(id, NULL);
            err_set(err, "For mux or hub device hotswap is not supported yet");
        }
        g_ptr_array_add(reg.all, old);
        return NULL;
    }
    if (fe) {
        bool open = fe->open;

        if (old->connected) {
            fe_event(fe, CHARDEV_CLOSED);
        }
        chardev_fe_fini(fe);
        chardev_fe_init(fe, c, fe->ops, fe->opaque, NULL);
        chardev_fe_set_open(fe, open);
        fe->ops->changed(fe->opaque, c);
    }
    chardev_free(old);
    return c;
}

bool chardev_receive_break(const char *id, GError **err)
{
    Chardev *c = chardev_find(id);

    if (!c) {
        return err_set(err, "Chardev '%s' not found", id);
    }
    if (c->nfe) {
        fe_event(c->fe[c->focus], CHARDEV_BREAK);
    }
    return true;
}

void chardev_cleanup(void)
{
    while (reg.all && reg.all->len) {
        Chardev *c = g_ptr_array_index(reg.all, reg.all->len - 1);
        g_ptr_array_set_size(reg.all, (gint)reg.all->len - 1);
        for (unsigned i = 0; i < c->nfe; i++) {
            c->fe[i]->chr = NULL;
        }
        chardev_free(c);
    }
    g_clear_pointer(&reg.all, g_ptr_array_unref);
}

void chardev_set_escape(int ch)
{
    reg.escape = ch;
}

void chardev_set_quit(void (*fn)(void *opaque), void *opaque)
{
    reg.quit = fn;
    reg.quit_opaque = opaque;
}

/* ---- front ends ---- */

static size_t fe_room(const ChardevFe *fe)
{
    return fe->ops && fe->ops->can_receive ? fe->ops->can_receive(fe->opaque) : 0;
}

static void fe_event(ChardevFe *fe, ChardevEvent ev)
{
    if (fe->ops && fe->ops->event) {
        fe->ops->event(fe->opaque, ev);
    }
}

bool chardev_has_place(const Chardev *c, GError **err)
{
    if (c->mux) {
        return c->nfe < CHARDEV_MAX_FE ||
               err_set(err, "too many uses of multiplexed chardev '%s' (maximum is %d)", c->id,
                   CHARDEV_MAX_FE);
    }
    return !c->nfe || err_set(err, "chardev '%s' is already in use", c->id);
}

bool chardev_fe_init(ChardevFe *fe, Chardev *c, const ChardevFeOps *ops, void *opaque, GError **err)
{
    *fe = (ChardevFe){ .chr = c, .ops = ops, .opaque = opaque };
    if (!c) {
        return true;
    }
    if (!chardev_has_place(c, err)) {
        fe->chr = NULL;
        return false;
    }
    fe->tag = c->nfe;
    c->fe[c->nfe++] = fe;
    c->focus = fe->tag; /* the newest has the keyboard first */
    fe->open = true;
    if (c->connected) {
        fe_event(fe, CHARDEV_OPENED);
    }
    chardev_be_update(c);
    return true;
}

void chardev_fe_fini(ChardevFe *fe)
{
    Chardev *c = fe->chr;

    if (!c) {
        return;
    }
    unsigned at = fe->tag;
    for (unsigned i = at; i + 1 < c->nfe; i++) {
        c->fe[i] = c->fe[i + 1];
        c->fe[i]->tag = i;
        c->held[i] = c->held[i + 1];
    }
    c->nfe--;
    c->held[c->nfe].len = 0;
    if (c->focus >= c->nfe || c->focus > at) {
        c->focus = c->focus ? c->focus - 1 : 0;
    }
    fe->chr = NULL;
    chardev_be_update(c);
}

/* Gives a mux front end what was held back for it. */
static void flush_held(Chardev *c, unsigned i)
{
    while (i < c->nfe && c->held[i].len) {
        size_t n = MIN(fe_room(c->fe[i]), c->held[i].len);
        if (!n) {
            return;
        }
        uint8_t tmp[CHARDEV_MUX_BUF];
        memcpy(tmp, c->held[i].buf, n);
        c->held[i].len -= (unsigned)n;
        memmove(c->held[i].buf, c->held[i].buf + n, c->held[i].len);
        c->fe[i]->ops->receive(c->fe[i]->opaque, tmp, n);
    }
}

void chardev_fe_accept(ChardevFe *fe)
{
    if (fe->chr) {
        if (fe->chr->mux) {
            flush_held(fe->chr, fe->tag);
        }
        chardev_be_update(fe->chr);
    }
}

void chardev_fe_set_open(ChardevFe *fe, bool open)
{
    fe->open = open;
    if (fe->chr) {
        chardev_be_update(fe->chr);
    }
}

bool chardev_connected(const ChardevFe *fe)
{
    return fe->chr && fe->chr->connected;
}

bool chardev_size(const ChardevFe *fe, uint16_t *ret_cols, uint16_t *ret_rows)
{
    const Chardev *c = fe->chr;

    *ret_cols = c ? c->cols : 0;
    *ret_rows = c ? c->rows : 0;
    return *ret_cols && *ret_rows;
}

int chardev_take_fd(ChardevFe *fe)
{
    return fe->chr && fe->chr->cls->take_fd ? fe->chr->cls->take_fd(fe->chr) : -1;
}

void chardev_break(ChardevFe *fe)
{
    if (fe->chr && fe->chr->cls->send_break) {
        fe->chr->cls->send_break(fe->chr);
    }
}

static void write_log(Chardev *c, const void *buf, size_t len)
{
    if (c->log_fd >= 0 && len && write(c->log_fd, buf, len) < 0) {
        report_warning("chardev %s: cannot write its log: %s", c->id, strerror(errno));
        close(c->log_fd);
        c->log_fd = -1;
    }
}

/* How many bytes went. Where nobody is there all of them do, lost as on a wire; the log has them.
 */
static size_t write_out(Chardev *c, const void *buf, size_t len)
{
    ssize_t n = c->cls->write(c, buf, len);
    size_t done = n < 0 ? len : (size_t)n;

    write_log(c, buf, done);
    return done;
}

size_t chardev_write(ChardevFe *fe, const void *buf, size_t len)
{
    Chardev *c = fe->chr;

    if (!c || !len) {
        return len; /* nobody listens: the bytes are gone, as on a real port */
    }
    if (c->out && c->out->len) {
        c->want_write = true;
        chardev_be_update(c);
        return 0;
    }
    size_t n = write_out(c, buf, len);
    if (n < len) {
        c->want_write = true;
        chardev_be_update(c);
    }
    return n;
}

void chardev_write_all(ChardevFe *fe, const void *buf, size_t len)
{
    size_t n = chardev_write(fe, buf, len);
    Chardev *c = fe->chr;

    if (n == len || !c) {
        return;
    }
    if (!c->out) {
        c->out = g_byte_array_new();
    }
    if (c->out->len + (len - n) > CHARDEV_OUT_MAX) {
        log_guest_error("chardev %s: its peer does not read, output dropped", c->id);
        g_byte_array_set_size(c->out, 0);
        return;
    }
    g_byte_array_append(c->out, (const uint8_t *)buf + n, (guint)(len - n));
    c->want_write = true;
    chardev_be_update(c);
}

/* ---- back ends ---- */

void chardev_be_update(Chardev *c)
{
    bool read = c->nfe && chardev_be_room(c) > 0;

    if (read != c->want_read || c->cls->watch) {
        c->want_read = read;
        if (c->cls->watch) {
            c->cls->watch(c);
        }
    }
}

size_t chardev_be_room(Chardev *c)
{
    if (!c->nfe) {
        return 0;
    }
    if (!c->mux) {
        return fe_room(c->fe[0]);
    }
    return CHARDEV_MUX_BUF -
           c->held[c->focus].len; /* escape keys work even when the front end is stuck */
}

static void mux_focus(Chardev *c, unsigned to)
{
    fe_event(c->fe[c->focus], CHARDEV_MUX_OUT);
    c->focus = to;
    fe_event(c->fe[c->focus], CHARDEV_MUX_IN);
}

static void mux_say(Chardev *c, const char *text)
{
    chardev_write_all(c->fe[c->focus], text, strlen(text));
}

static void mux_help(Chardev *c)
{
    g_autofree char *esc = reg.escape < 32 ? g_strdup_printf("C-%c", reg.escape + 'a' - 1)
                                           : g_strdup_printf("%c", reg.escape);
    g_autofree char *text = g_strdup_printf("\n\r"
                                            "%s h    print this help\n\r"
                                            "%s x    exit emulator\n\r"
                                            "%s b    send break (magic sysrq)\n\r"
                                            "%s c    switch between console and monitor\n\r"
                                            "%s %s  sends %s\n\r",
        esc, esc, esc, esc, esc, esc, esc);
    mux_say(c, text);
}

/* One byte of input; true if it is for the front end. */
static bool mux_escape(Chardev *c, uint8_t ch)
{
    if (!c->escape) {
        c->escape = reg.escape && ch == reg.escape;
        return !c->escape;
    }
    c->escape = false;
    if (ch == reg.escape) {
        return true;
    }
    switch (ch) {
    case 'h':
    case '?':
        mux_help(c);
        break;
    case 'x':
        mux_say(c, "QEMU: Terminated\n\r");
        if (reg.quit) {
            reg.quit(reg.quit_opaque);
        }
        break;
    case 'b':
        fe_event(c->fe[c->focus], CHARDEV_BREAK);
        break;
    case 'c':
        mux_focus(c, (c->focus + 1) % c->nfe);
        break;
    default:
        break;
    }
    return false;
}

void chardev_be_input(Chardev *c, const uint8_t *buf, size_t len)
{
    if (!c->nfe) {
        return;
    }
    if (!c->mux) {
        c->fe[0]->ops->receive(c->fe[0]->opaque, buf, len);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (mux_escape(c, buf[i]) && c->nfe && c->held[c->focus].len < CHARDEV_MUX_BUF) {
            c->held[c->focus].buf[c->held[c->focus].len++] = buf[i];
            flush_held(c, c->focus);
        }
    }
}

void chardev_be_connected(Chardev *c, bool on)
{
    if (c->connected == on) {
        return;
    }
    c->connected = on;
    if (!on && c->out) {
        g_byte_array_set_size(c->out, 0);
    }
    for (unsigned i = 0; i < c->nfe; i++) {
        fe_event(c->fe[i], on ? CHARDEV_OPENED : CHARDEV_CLOSED);
    }
    if (!on) {
        chardev_be_writable(c); /* a writer that waited goes on; its bytes are dropped */
    }
}

void chardev_be_size(Chardev *c, uint16_t cols, uint16_t rows)
{
    if (c->cols == cols && c->rows == rows) {
        return;
    }
    c->cols = cols;
    c->rows = rows;
    for (unsigned i = 0; i < c->nfe; i++) {
        if (c->fe[i]->ops->resized) {
            c->fe[i]->ops->resized(c->fe[i]->opaque);
        }
    }
}

void chardev_be_writable(Chardev *c)
{
    while (c->out && c->out->len) {
        size_t n = write_out(c, c->out->data, c->out->len);
        if (n == 0) {
            return;
        }
        g_byte_array_remove_range(c->out, 0, (guint)n);
    }
    if (c->want_write) {
        c->want_write = false;
        for (unsigned i = 0; i < c->nfe; i++) {
            if (c->fe[i]->ops->writable) {
                c->fe[i]->ops->writable(c->fe[i]->opaque);
            }
        }
    }
    chardev_be_update(c);
}
