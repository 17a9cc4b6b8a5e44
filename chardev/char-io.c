/* Back ends over plain descriptors: stdio, file, pipe, serial, pty, null, and the ring buffer in
 * memory. Tested by test-chardev. */
#include "chardev-internal.h"
#include "util/fd.h"
#include "util/fdset.h"
#include "util/keyval.h"
#include "util/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>

typedef struct CharFd {
    Chardev c;
    int in, out; /* -1: none */
    LoopFd *win, *wout, *wsize;
    int size_fd;   /* stdio: says when the terminal has another size; 0: not watched */
    LoopIdle idle; /* input that epoll does not take (files, /dev/null) is read from here */
    bool in_polled, out_polled, eof;
    char *path, *link;    /* pty: a link of ours to path */
    struct termios saved; /* stdio: the terminal as it was */
    bool is_tty, nonblock_in, nonblock_out;
    int keep_open; /* pty: our own slave, so that a leaving peer is no hang-up */
    Timer pty_timer;
} CharFd;

static bool pollable(int fd)
{
    struct stat st;

    /* epoll refuses regular files, folders and devices without poll, /dev/null among them. */
    if (fstat(fd, &st) < 0) {
        return false;
    }
    autofd ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = { 0 };
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0;
}

static void fd_read(CharFd *f)
{
    uint8_t buf[4096];
    size_t room = MIN(chardev_be_room(&f->c), sizeof buf);

    if (!room) {
        chardev_be_update(&f->c);
        return;
    }
    ssize_t n = read(f->in, buf, room);
    if (n > 0) {
        chardev_be_connected(&f->c, true);
        chardev_be_input(&f->c, buf, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        f->eof = true; /* a pty without peer says EIO: pty_poll() looks again */
        if (f->keep_open == -2) {
            chardev_be_connected(&f->c, false);
        }
    }
    chardev_be_update(&f->c);
}

static void fd_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    fd_read(opaque);
}

static void fd_idle(void *opaque)
{
    CharFd *f = opaque;

    if (!f->eof && f->c.want_read) {
        fd_read(f);
    }
}

static void fd_writable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    chardev_be_writable(&((CharFd *)opaque)->c);
}

static void fd_watch(Chardev *c)
{
    CharFd *f = (CharFd *)c;

    if (f->win) {
        loop_fd_set(f->win, c->want_read && !f->eof ? EPOLLIN : 0);
    } else if (f->in >= 0 && !f->in_polled && c->want_read && !f->eof) {
        loop_idle(loop_main(), &f->idle);
    }
    if (f->wout) {
        loop_fd_set(f->wout, c->want_write || (c->out && c->out->len) ? EPOLLOUT : 0);
    }
}

static ssize_t fd_write(Chardev *c, const void *buf, size_t len)
{
    CharFd *f = (CharFd *)c;

    if (f->out < 0) {
        return -1;
    }
    ssize_t n = write(f->out, buf, len);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    return n;
}

static void fd_start(CharFd *f)
{
    f->idle = (LoopIdle){ .fn = fd_idle, .opaque = f };
    if (f->in >= 0) {
        f->in_polled = pollable(f->in);
        if (f->in_polled) {
            f->win = loop_fd_add(loop_main(), f->in, 0, fd_readable, f);
        }
    }
    if (f->out >= 0 && f->out != f->in && pollable(f->out)) {
        f->wout = loop_fd_add(loop_main(), f->out, 0, fd_writable, f);
    } else if (f->out >= 0 && f->out == f->in && f->in_polled) {
        /* One descriptor for both: a duplicate can be watched on its own. */
        f->out = fcntl(f->in, F_DUPFD_CLOEXEC, 3);
        f->wout = loop_fd_add(loop_main(), f->out, 0, fd_writable, f);
    }
    f->c.connected = true;
}

/* How many columns and rows the terminal has now. */
static void look_at_size(CharFd *f)
{
    struct winsize w;

    if (ioctl(f->in, TIOCGWINSZ, &w) == 0) {
        chardev_be_size(&f->c, w.ws_col, w.ws_row);
    }
}

static void fd_close(Chardev *c)
{
    CharFd *f = (CharFd *)c;

    loop_fd_del(f->wsize);
    if (f->size_fd) {
        close(f->size_fd);
    }
    loop_fd_del(f->win);
    loop_fd_del(f->wout);
    loop_idle_cancel(loop_main(), &f->idle);
    if (f->is_tty) {
        tcsetattr(f->in, TCSANOW, &f->saved);
    }
    if (f->in > 2) {
        close(f->in);
    } else if (f->in >= 0 && f->nonblock_in) {
        fd_set_nonblock(f->in, false);
    }
    if (f->out > 2 && f->out != f->in) {
        close(f->out);
    } else if (f->out >= 0 && f->nonblock_out) {
        fd_set_nonblock(f->out, false);
    }
    if (f->keep_open >= 0) {
        close(f->keep_open);
    }
    if (f->link) {
        unlink(f->link);
    }
    g_free(f->link);
    g_free(f->path);
}

/* ---- null ---- */

static bool null_open(Chardev *c, G_GNUC_UNUSED void *opts, G_GNUC_UNUSED GError **err)
{
    c->connected = true;
    return true;
}

static ssize_t null_write(G_GNUC_UNUSED Chardev *c, G_GNUC_UNUSED const void *buf, size_t len)
{
    return (ssize_t)len;
}

const ChardevClass chardev_null = {
    .name = "null", .size = sizeof(Chardev), .open = null_open, .write = null_write
};

/* ---- stdio ---- */

typedef struct StdioOpts {
    bool signal;
} StdioOpts;
static const PropSpec stdio_props[] = {
    PROP_BOOL("signal", StdioOpts, signal, true, "keys like Ctrl-C end the emulator"),
    PROP_END,
};

static void find_stdio(Chardev *c, void *opaque)
{
    *(bool *)opaque |= c->cls == &chardev_stdio;
}

static void size_changed(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    CharFd *f = opaque;
    struct signalfd_siginfo info;

    while (read(f->size_fd, &info, sizeof info) == sizeof info) {
    }
    look_at_size(f);
}

/* The kernel tells by SIGWINCH, which signals_block() keeps from all threads. */
static void watch_size(CharFd *f)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    f->size_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (f->size_fd < 0) {
        f->size_fd = 0;
        return; /* the size it has at first is all there will be */
    }
    f->wsize = loop_fd_add(loop_main(), f->size_fd, EPOLLIN, size_changed, f);
}

static bool stdio_open(Chardev *c, void *opts, GError **err)
{
    CharFd *f = (CharFd *)c;
    const StdioOpts *o = opts;
    bool taken = false;

    chardev_each(find_stdio, &taken);
    if (taken) {
        return err_set(err, "cannot use stdio by multiple character devices");
    }

    for (int fd = 0; fd < 2; fd++) {
        if (fcntl(fd, F_GETFL) < 0) {
            return err_set_errno(err, "cannot use stdio");
        }
    }
    f->in = 0;
    f->out = 1;
    f->keep_open = -1;
    f->is_tty = tcgetattr(0, &f->saved) == 0;
    if (f->is_tty) {
        struct termios t = f->saved;
        t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
        t.c_oflag |= OPOST;
        t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
        if (!o->signal) {
            t.c_lflag &= ~(tcflag_t)ISIG;
        }
        t.c_cflag = (t.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
        t.c_cc[VMIN] = 1;
        t.c_cc[VTIME] = 0;
        tcsetattr(0, TCSANOW, &t);
    }
    f->nonblock_in = !(fcntl(0, F_GETFL) & O_NONBLOCK) && fd_set_nonblock(0, true);
    f->nonblock_out = !(fcntl(1, F_GETFL) & O_NONBLOCK) && fd_set_nonblock(1, true);
    fd_start(f);
    if (f->is_tty) {
        look_at_size(f);
        watch_size(f);
    }
    return true;
}

const ChardevClass chardev_stdio = { .name = "stdio",
    .size = sizeof(CharFd),
    .props = stdio_props,
    .opts_size = sizeof(StdioOpts),
    .open = stdio_open,
    .close = fd_close,
    .write = fd_write,
    .watch = fd_watch };

/* ---- file, pipe ---- */

typedef struct FileOpts {
    char *path, *input;
    bool append;
} FileOpts;
static const PropSpec file_props[] = {
    PROP_STR("path", FileOpts, path, "file to write"),
    PROP_STR("input-path", FileOpts, input, "file to read from"),
    PROP_BOOL("append", FileOpts, append, false, "append instead of truncating"),
    PROP_END,
};

static bool file_open(Chardev *c, void *opts, GError **err)
{
    CharFd *f = (CharFd *)c;
    const FileOpts *o = opts;

    f->in = f->out = f->keep_open = -1;
    if (!o->path) {
        return err_set(err, "chardev: file: no filename given");
    }
    f->out = fdset_open(o->path,
        O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | (o->append ? O_APPEND : O_TRUNC), 0666);
    if (f->out < 0) {
        return err_set_errno(err, "Could not open '%s'", o->path);
    }
    if (o->input) {
        f->in = open(o->input, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (f->in < 0) {
            err_set_errno(err, "Could not open '%s'", o->input);
            close(f->out);
            return false;
        }
    }
    f->path = g_strdup(o->path);
    fd_start(f);
    return true;
}

static char *file_filename(G_GNUC_UNUSED const Chardev *c)
{
    return g_strdup("file");
}

const ChardevClass chardev_file = { .name = "file",
    .size = sizeof(CharFd),
    .props = file_props,
    .opts_size = sizeof(FileOpts),
    .open = file_open,
    .close = fd_close,
    .write = fd_write,
    .watch = fd_watch,
    .filename = file_filename };

static bool pipe_open(Chardev *c, void *opts, GError **err)
{
    CharFd *f = (CharFd *)c;
    const FileOpts *o = opts;

    f->in = f->out = f->keep_open = -1;
    if (!o->path) {
        return err_set(err, "chardev: pipe: no device path given");
    }
    g_autofree char *in = g_strconcat(o->path, ".in", NULL),
                    *out = g_strconcat(o->path, ".out", NULL);
    f->in = open(in, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    f->out = open(out, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (f->in < 0 || f->out < 0) {
        if (f->in >= 0) {
            close(f->in);
        }
        if (f->out >= 0) {
            close(f->out);
        }
        f->in = f->out = open(o->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (f->in < 0) {
            return err_set_errno(err, "Could not open '%s'", o->path);
        }
    }
    f->path = g_strdup(o->path);
    fd_start(f);
    return true;
}

const ChardevClass chardev_pipe = { .name = "pipe",
    .size = sizeof(CharFd),
    .props = file_props,
    .opts_size = sizeof(FileOpts),
    .open = pipe_open,
    .close = fd_close,
    .write = fd_write,
    .watch = fd_watch };

/* ---- serial: a terminal line of the host ---- */

static bool serial_open(Chardev *c, void *opts, GError **err)
{
    CharFd *f = (CharFd *)c;
    const FileOpts *o = opts;
    struct termios t;

    f->in = f->out = f->keep_open = -1;
    if (!o->path) {
        return err_set(err, "chardev: serial/tty: no device path given");
    }
    f->in = open(o->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->in < 0) {
        return err_set_errno(err, "Could not open '%s'", o->path);
    }
    if (tcgetattr(f->in, &t) < 0) {
        err_set_errno(err, "'%s' is not a terminal line", o->path);
        close(f->in);
        return false;
    }
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    cfsetspeed(&t, B115200);
    tcsetattr(f->in, TCSANOW, &t);
    f->out = f->in;
    f->path = g_strdup(o->path);
    fd_start(f);
    return true;
}

static void serial_break(Chardev *c)
{
    tcsendbreak(((CharFd *)c)->in, 0);
}

const ChardevClass chardev_serial = { .name = "serial",
    .size = sizeof(CharFd),
    .props = file_props,
    .opts_size = sizeof(FileOpts),
    .open = serial_open,
    .close = fd_close,
    .write = fd_write,
    .watch = fd_watch,
    .send_break = serial_break };

/* ---- pty ---- */

static void pty_poll(void *opaque)
{
    CharFd *f = opaque;

    /* Without a slave open elsewhere the master hangs up and reads EIO; look twice a second whether
     * somebody came or went. */
    struct pollfd p = { .fd = f->in, .events = POLLIN };
    bool there = poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);

    f->eof = !there && !(p.revents & POLLIN);
    if (there || f->eof) {
        chardev_be_connected(&f->c, there);
    }
    if (there) {
        look_at_size(f);
    }
    chardev_be_update(&f->c);
    timer_mod(&f->pty_timer, clock_ns(CLOCK_KIND_REALTIME) + 500000000);
}

typedef struct PtyOpts {
    char *path;
} PtyOpts;
static const PropSpec pty_props[] = {
    PROP_STR("path", PtyOpts, path, "link to the terminal that is made"),
    PROP_END,
};

static bool pty_open(Chardev *c, void *opts, GError **err)
{
    CharFd *f = (CharFd *)c;
    const PtyOpts *o = opts;
    char name[128];
    int slave;

    f->in = f->out = f->keep_open = -1;
    if (openpty(&f->in, &slave, name, NULL, NULL) < 0) {
        return err_set_errno(err, "Failed to create PTY");
    }
    struct termios t;
    if (tcgetattr(slave, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(slave, TCSAFLUSH, &t);
    }
    close(slave);
    if (o->path && symlink(name, o->path) < 0) {
        err_set_errno(err, "Failed to create PTY symlink");
        close(f->in);
        return false;
    }
    f->link = g_strdup(o->path);
    fcntl(f->in, F_SETFD, FD_CLOEXEC);
    fd_set_nonblock(f->in, true);
    f->out = f->in;
    f->path = g_strdup(name);
    f->keep_open = -2;
    fd_start(f);
    c->connected = false;
    fprintf(stderr, "char device redirected to %s (label %s)\n", name, c->id);
    timer_init(&f->pty_timer, loop_main(), CLOCK_KIND_REALTIME, pty_poll, f);
    timer_mod(&f->pty_timer, clock_ns(CLOCK_KIND_REALTIME) + 500000000);
    return true;
}

static ssize_t pty_write(Chardev *c, const void *buf, size_t len)
{
    return c->connected ? fd_write(c, buf, len) : -1;
}

static void pty_close(Chardev *c)
{
    timer_del(&((CharFd *)c)->pty_timer);
    fd_close(c);
}

static char *pty_filename(const Chardev *c)
{
    return g_strconcat("pty:", ((const CharFd *)c)->path, NULL);
}

const ChardevClass chardev_pty = { .name = "pty",
    .size = sizeof(CharFd),
    .props = pty_props,
    .opts_size = sizeof(PtyOpts),
    .open = pty_open,
    .close = pty_close,
    .write = pty_write,
    .watch = fd_watch,
    .filename = pty_filename };

/* ---- ring buffer ---- */

typedef struct CharRing {
    Chardev c;
    uint8_t *buf;
    size_t size, head, len;
} CharRing;
typedef struct RingOpts {
    uint64_t size;
} RingOpts;
static const PropSpec ringbuf_props[] = {
    PROP_SIZE("size", RingOpts, size, 65536, "bytes kept, a power of two"),
    PROP_END,
};

static bool ring_open(Chardev *c, void *opts, GError **err)
{
    CharRing *r = (CharRing *)c;
    const RingOpts *o = opts;

    if (!o->size || (o->size & (o->size - 1)) || o->size > 1u << 30) {
        return err_set(err, "size of ringbuf chardev must be power of two");
    }
    r->size = o->size;
    r->buf = g_malloc0(r->size);
    c->connected = true;
    return true;
}

static void ring_close(Chardev *c)
{
    g_free(((CharRing *)c)->buf);
}

static ssize_t ring_write(Chardev *c, const void *buf, size_t len)
{
    ringbuf_write(c, buf, len);
    return (ssize_t)len;
}

bool ringbuf_write(Chardev *c, const uint8_t *buf, size_t len)
{
    CharRing *r = (CharRing *)c;

    for (size_t i = 0; i < len; i++) {
        r->buf[(r->head + r->len) & (r->size - 1)] = buf[i];
        if (r->len < r->size) {
            r->len++;
        } else {
            r->head++;
        }
    }
    return true;
}

GByteArray *ringbuf_read(Chardev *c, size_t max)
{
    CharRing *r = (CharRing *)c;
    GByteArray *b = g_byte_array_new();

    for (; max && r->len; max--, r->len--, r->head++) {
        g_byte_array_append(b, &r->buf[r->head & (r->size - 1)], 1);
    }
    return b;
}

const ChardevClass chardev_ringbuf = { .name = "ringbuf",
    .size = sizeof(CharRing),
    .props = ringbuf_props,
    .opts_size = sizeof(RingOpts),
    .open = ring_open,
    .close = ring_close,
    .write = ring_write };
