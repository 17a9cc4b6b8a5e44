/* Sockets as character devices: unix and TCP, listening or connecting, with reconnection and
 * descriptor passing. Tested by test-chardev. */
#include "chardev-internal.h"
#include "util/fd.h"
#include "util/keyval.h"
#include "util/sock.h"
#include "util/timer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

typedef struct CharSocket {
    Chardev c;
    SockAddr addr;
    bool server, nodelay;
    uint64_t reconnect_ms;
    int listen_fd, fd, passed_fd;
    LoopFd *wlisten, *w;
    bool gone; /* the peer closed, what it sent is not read yet: the next client takes its place */
    Timer retry;
} CharSocket;

typedef struct SocketOpts {
    char *path, *host, *port, *fd;
    int32_t to;
    bool server, delay, nodelay, telnet, websocket, abstract_, tight;
    OnOffAuto wait, ipv4, ipv6;
    char *tls_creds;
    uint32_t reconnect;
    uint64_t reconnect_ms;
} SocketOpts;
static const PropSpec socket_props[] = {
    PROP_STR("path", SocketOpts, path, "unix socket"),
    PROP_STR("host", SocketOpts, host, "address; empty: any"),
    PROP_STR("port", SocketOpts, port, "TCP port"),
    PROP_STR("fd", SocketOpts, fd, "inherited descriptor"),
    PROP_OPT_U16("to", SocketOpts, to, "server: last port to try"),
    PROP_STR("tls-creds", SocketOpts, tls_creds, "refused: no TLS"),
    PROP_BOOL("server", SocketOpts, server, false, "listen instead of connecting"),
    PROP_GIVEN("wait", SocketOpts, wait, "server: block until a client is there"),
    PROP_BOOL("delay", SocketOpts, delay, true, "use the Nagle algorithm"),
    PROP_BOOL("nodelay", SocketOpts, nodelay, false, "do not use the Nagle algorithm"),
    PROP_BOOL("telnet", SocketOpts, telnet, false, "refused: no telnet"),
    PROP_BOOL("websocket", SocketOpts, websocket, false, "refused: no websocket"),
    PROP_BOOL("abstract", SocketOpts, abstract_, false, "abstract unix name"),
    PROP_BOOL("tight", SocketOpts, tight, true, "abstract name without padding"),
    PROP_GIVEN("ipv4", SocketOpts, ipv4, "allow IPv4"),
    PROP_GIVEN("ipv6", SocketOpts, ipv6, "allow IPv6"),
    PROP_U32("reconnect", SocketOpts, reconnect, 0, "seconds between tries"),
    PROP_U64("reconnect-ms", SocketOpts, reconnect_ms, 0, "milliseconds between tries"),
    PROP_END,
};

static bool given_store(void *field, bool on)
{
    *(OnOffAuto *)field = on ? ON_OFF_AUTO_ON : ON_OFF_AUTO_OFF;
    return true;
}

static bool given_set(void *field, const Json *val, GError **err)
{
    bool on = false;

    return prop_bool.set(&on, val, err) && given_store(field, on);
}

static bool given_parse(void *field, const char *text, GError **err)
{
    bool on = false;

    return prop_bool.parse(&on, text, err) && given_store(field, on);
}

const PropType prop_given = { .name = "bool", .set = given_set, .parse = given_parse };

void char_set_families(SockAddr *a, OnOffAuto ipv4, OnOffAuto ipv6)
{
    a->has_ipv4 = ipv4 != ON_OFF_AUTO_AUTO;
    a->ipv4 = ipv4 == ON_OFF_AUTO_ON;
    a->has_ipv6 = ipv6 != ON_OFF_AUTO_AUTO;
    a->ipv6 = ipv6 == ON_OFF_AUTO_ON;
}

static void sock_readable(void *opaque, uint32_t events);

static void sock_drop(CharSocket *s)
{
    loop_fd_del(s->w);
    s->w = NULL;
    s->gone = false;
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    if (s->passed_fd >= 0) {
        close(s->passed_fd);
        s->passed_fd = -1;
    }
    if (s->wlisten) {
        loop_fd_set(s->wlisten, EPOLLIN);
    }
    chardev_be_connected(&s->c, false);
    if (!s->server && s->reconnect_ms) {
        timer_mod(&s->retry, clock_ns(CLOCK_KIND_REALTIME) + (int64_t)s->reconnect_ms * 1000000);
    }
}

static void sock_up(CharSocket *s, int fd)
{
    int one = 1;

    s->fd = fd;
    fd_set_nonblock(fd, true);
    if (s->addr.kind == SOCK_ADDR_INET && s->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (s->wlisten) {
        loop_fd_set(s->wlisten, 0); /* one client at a time */
    }
    s->w = loop_fd_add(loop_main(), fd, EPOLLIN, sock_readable, s);
    chardev_be_connected(&s->c, true);
    chardev_be_update(&s->c);
}

static void sock_accepted(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    CharSocket *s = opaque;

    if (s->gone) {
        sock_drop(s);
    }
    int fd = s->fd < 0 ? sock_accept(s->listen_fd) : -1;

    if (fd >= 0) {
        sock_up(s, fd);
    }
}

static void sock_retry(void *opaque)
{
    CharSocket *s = opaque;
    int fd = sock_connect(&s->addr, NULL);

    if (fd >= 0) {
        sock_up(s, fd);
    } else {
        timer_mod(&s->retry, clock_ns(CLOCK_KIND_REALTIME) + (int64_t)s->reconnect_ms * 1000000);
    }
}

/* Reads, and keeps the last descriptor that came along (SCM_RIGHTS). */
static ssize_t sock_recv(CharSocket *s, void *buf, size_t len)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(16 * sizeof(int))];
    } ctl;
    struct iovec iov = { buf, len };
    struct msghdr msg = { .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = ctl.space,
        .msg_controllen = sizeof ctl.space };
    ssize_t n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC);

    if (n < 0) {
        return n;
    }
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t nfd = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < nfd; i++) {
            if (s->passed_fd >= 0) {
                close(s->passed_fd);
            }
            memcpy(&s->passed_fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
        }
    }
    return n;
}

static void sock_readable(void *opaque, uint32_t events)
{
    CharSocket *s = opaque;
    uint8_t buf[4096];

    if (events & EPOLLOUT) {
        chardev_be_writable(&s->c);
        if (s->fd < 0) {
            return;
        }
    }
    size_t room = MIN(chardev_be_room(&s->c), sizeof buf);
    if (!room) {
        int unread = 0;
        if (!(events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))) {
            chardev_be_update(&s->c);
        } else if (ioctl(s->fd, FIONREAD, &unread) == 0 && unread) {
            s->gone = true;
            if (s->wlisten) {
                loop_fd_set(s->wlisten, EPOLLIN);
            }
            loop_fd_set(s->w, 0);
        } else {
            sock_drop(s);
        }
        return;
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
        return;
    }
    ssize_t n = sock_recv(s, buf, room);
    if (n > 0) {
        chardev_be_input(&s->c, buf, (size_t)n);
        chardev_be_update(&s->c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        sock_drop(s);
    }
}

static void sock_watch(Chardev *c)
{
    CharSocket *s = (CharSocket *)c;

    if (s->w) {
        /* Who does not read still wants to know that the peer left. */
        loop_fd_set(s->w, (c->want_read ? (uint32_t)EPOLLIN
                              : s->gone ? 0
                                        : (uint32_t)EPOLLRDHUP) |
                              (c->want_write || (c->out && c->out->len) ? (uint32_t)EPOLLOUT : 0));
    }
}

static ssize_t sock_write(Chardev *c, const void *buf, size_t len)
{
    CharSocket *s = (CharSocket *)c;

    if (s->fd < 0) {
        return -1;
    }
    ssize_t n = send(s->fd, buf, len, MSG_NOSIGNAL);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    return n;
}

static bool sock_refused(const SocketOpts *o, GError **err)
{
    if (o->telnet || o->websocket || o->tls_creds) {
        return !err_set(err, "chardev socket: '%s' is not supported",
            o->telnet      ? "telnet"
            : o->websocket ? "websocket"
                           : "tls-creds");
    }
    if (!o->path && !o->port && !o->fd) {
        return !err_set(err, "chardev: socket: no %s given", o->host ? "port" : "path");
    }
    if (o->server && (o->reconnect || o->reconnect_ms)) {
        return !err_set(
            err, "'reconnect' option is incompatible with socket in server listen mode");
    }
    if (o->reconnect && o->reconnect_ms) {
        return !err_set(err, "'reconnect' and 'reconnect-ms' are mutually exclusive");
    }
    if (!o->server && o->wait != ON_OFF_AUTO_AUTO) {
        return !err_set(err, "'wait' option is incompatible with socket in client connect mode");
    }
    return false;
}

static bool sock_open_server(CharSocket *s, const SocketOpts *o, GError **err)
{
    s->addr.to = o->to;
    s->listen_fd = sock_listen_up_to(&s->addr, err);
    if (s->listen_fd < 0) {
        return false;
    }
    s->wlisten = loop_fd_add(loop_main(), s->listen_fd, EPOLLIN, sock_accepted, s);
    if (o->wait != ON_OFF_AUTO_OFF) {
        g_autofree char *where = sock_describe(&s->addr, true);
        fprintf(stderr, "%s: info: QEMU waiting for connection on: disconnected:%s\n",
            g_get_prgname(), where);
        while (s->fd < 0) {
            fd_set_nonblock(s->listen_fd, false);
            int fd = sock_accept(s->listen_fd);
            fd_set_nonblock(s->listen_fd, true);
            if (fd < 0) {
                return err_set_errno(err, "Failed to accept a connection");
            }
            sock_up(s, fd);
        }
    }
    return true;
}

static bool sock_start(Chardev *c, const SocketOpts *o, GError **err)
{
    CharSocket *s = (CharSocket *)c;

    s->server = o->server;
    s->nodelay = !o->delay || o->nodelay;
    s->reconnect_ms = o->reconnect ? (uint64_t)o->reconnect * 1000 : o->reconnect_ms;
    s->addr.fd = -1;
    if (o->fd) {
        s->addr.kind = SOCK_ADDR_FD;
        s->addr.fd = fd_from_text(o->fd, err);
        if (s->addr.fd < 0) {
            return false;
        }
    } else if (o->path) {
        s->addr.kind = SOCK_ADDR_UNIX;
        s->addr.path = g_strdup(o->path);
        s->addr.abstract_ = o->abstract_;
    } else {
        s->addr.kind = SOCK_ADDR_INET;
        s->addr.host = g_strdup(o->host ? o->host : "");
        s->addr.port = g_strdup(o->port);
        char_set_families(&s->addr, o->ipv4, o->ipv6);
    }
    if (s->server) {
        return sock_open_server(s, o, err);
    }
    if (s->addr.kind == SOCK_ADDR_FD) {
        sock_up(s, s->addr.fd);
        return true;
    }
    int fd = sock_connect(&s->addr, s->reconnect_ms ? NULL : err);
    if (fd < 0 && s->reconnect_ms) {
        timer_mod(&s->retry, clock_ns(CLOCK_KIND_REALTIME) + (int64_t)s->reconnect_ms * 1000000);
        return true;
    }
    if (fd >= 0) {
        sock_up(s, fd);
    }
    return fd >= 0;
}

static void sock_close(Chardev *c)
{
    CharSocket *s = (CharSocket *)c;

    timer_del(&s->retry);
    loop_fd_del(s->w);
    loop_fd_del(s->wlisten);
    if (s->fd >= 0) {
        close(s->fd);
    }
    if (s->passed_fd >= 0) {
        close(s->passed_fd);
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        if (s->addr.kind == SOCK_ADDR_UNIX && !s->addr.abstract_) {
            unlink(s->addr.path);
        }
    }
    sock_addr_clear(&s->addr);
}

static bool sock_open(Chardev *c, void *opts, GError **err)
{
    CharSocket *s = (CharSocket *)c;

    s->listen_fd = s->fd = s->passed_fd = -1;
    if (sock_refused(opts, err)) {
        return false;
    }
    timer_init(&s->retry, loop_main(), CLOCK_KIND_REALTIME, sock_retry, s);
    if (!sock_start(c, opts, err)) {
        sock_close(c);
        return false;
    }
    return true;
}

/* "host:port" of the other end. */
static char *sock_peer_text(int fd)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof ss;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0 ||
        getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
            NI_NUMERICHOST | NI_NUMERICSERV)) {
        return g_strdup("");
    }
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* As query-chardev has it; a TCP server tells the port it really has, a connection both ends. */
static char *sock_text(const CharSocket *s)
{
    if (s->addr.kind != SOCK_ADDR_INET) {
        return sock_describe(&s->addr, s->server);
    }
    g_autofree char *local = sock_local_text(s->fd >= 0 ? s->fd : s->listen_fd);
    if (s->fd < 0) {
        return s->server ? g_strconcat(local, ",server=on", NULL) : sock_describe(&s->addr, false);
    }
    g_autofree char *peer = sock_peer_text(s->fd);
    return g_strconcat(local, s->server ? ",server=on" : "", " <-> ", peer, NULL);
}

static char *sock_filename(const Chardev *c)
{
    const CharSocket *s = (const CharSocket *)c;
    g_autofree char *where = sock_text(s);
    return g_strconcat(c->connected ? "" : "disconnected:", where, NULL);
}

static int sock_take_fd(Chardev *c)
{
    return fd_steal(&((CharSocket *)c)->passed_fd);
}

bool char_socket_from_text(const char *text, Json *args, GError **err)
{
    bool unix_ = g_str_has_prefix(text, "unix:"), tcp = g_str_has_prefix(text, "tcp:");

    if (g_str_has_prefix(text, "telnet:") || g_str_has_prefix(text, "websocket:")) {
        return err_set(
            err, "'%.*s' character devices are not supported", (int)strcspn(text, ":"), text);
    }
    if (!unix_ && !tcp) {
        return false;
    }
    const char *rest = text + (unix_ ? 5 : 4);
    g_autoptr(Json) kv = keyval_parse(rest, unix_ ? "path" : "address", false, NULL, err);
    if (!kv) {
        return false;
    }
    json_set(args, "backend", json_str("socket"));
    if (tcp) {
        const char *addr = json_get_str_or(kv, "address", "");
        const char *colon = strrchr(addr, ':');
        if (!colon) {
            return err_set(err, "'%s' is not a valid TCP address (host:port)", addr);
        }
        g_autofree char *host = g_strndup(addr, (gsize)(colon - addr));
        size_t n = strlen(host);
        if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
            memmove(host, host + 1, n - 2);
            host[n - 2] = 0;
        }
        json_set(args, "host", json_text(host));
        json_set(args, "port", json_text(colon + 1));
        json_remove(kv, "address");
    }
    for (unsigned i = 0; i < json_len(kv); i++) {
        json_set(args, json_key_at(kv, i), json_ref(json_val_at(kv, i)));
    }
    return true;
}

const ChardevClass chardev_socket = { .name = "socket",
    .size = sizeof(CharSocket),
    .props = socket_props,
    .opts_size = sizeof(SocketOpts),
    .open = sock_open,
    .close = sock_close,
    .write = sock_write,
    .watch = sock_watch,
    .filename = sock_filename,
    .take_fd = sock_take_fd };
