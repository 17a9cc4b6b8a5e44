/* -netdev stream: packets over a connected socket, each behind its length. Tested by
 * test-net-socket and tests/system/test_net.py. */
#include "stream.h"

#include "framing.h"
#include "net-addr.h"
#include "net-internal.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/timer.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum { STREAM_IOV = 64, STREAM_BUDGET = 16 };

typedef struct Stream {
    NetPort p;
    SockAddr addr;
    bool server, old, stalled, want_write;
    int64_t reconnect_ms;
    int listen_fd, fd; /* -1: none */
    LoopFd *wlisten, *w;
    NetDial *dial;
    Timer retry;
    Framing in;
    GByteArray *out; /* the rest of a packet the socket took in part; out_at: how much is gone */
    size_t out_at;
} Stream;

static void stream_event(void *opaque, uint32_t events);
static void stream_dial(Stream *s);

static void stream_watch(Stream *s)
{
    if (s->w) {
        loop_fd_set(
            s->w, (s->stalled ? 0 : (uint32_t)EPOLLIN) | (s->want_write ? (uint32_t)EPOLLOUT : 0));
    }
}

/* An event's data. Takes addr, which may be NULL. */
static Json *stream_data(const Stream *s, Json *addr)
{
    Json *data = json_object();

    json_set(data, "netdev-id", json_str(s->p.id));
    if (addr) {
        json_set(data, "addr", addr);
    }
    return data;
}

static void stream_up(Stream *s, int fd)
{
    g_autofree char *info = NULL;
    int one = 1;

    s->fd = fd;
    fd_set_nonblock(fd, true);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on unix: no matter */
    s->stalled = s->want_write = false;
    if (s->wlisten) {
        loop_fd_set(s->wlisten, 0); /* one peer at a time */
    }
    s->w = loop_fd_add(loop_main(), fd, EPOLLIN, stream_event, s);
    Json *addr = net_peer_describe(&s->addr, fd, s->server, &info);

    if (!s->old) {
        net_set_info(&s->p, "%s", info);
    } else if (s->server) {
        net_set_info(&s->p, "socket: connection from %s", strchr(info, ':') + 1);
    }
    if (s->old) {
        json_unref(addr);
    } else {
        qmp_event("NETDEV_STREAM_CONNECTED", stream_data(s, addr));
    }
}

static void stream_down(Stream *s)
{
    loop_fd_del(s->w);
    s->w = NULL;
    close(s->fd);
    s->fd = -1;
    s->stalled = s->want_write = false;
    framing_clear(&s->in);
    g_byte_array_set_size(s->out, 0);
    if (s->wlisten) {
        loop_fd_set(s->wlisten, EPOLLIN);
    }
    net_set_info(&s->p, "%s", s->old ? "" : s->server ? "listening" : "connecting");
    if (!s->old) {
        qmp_event("NETDEV_STREAM_DISCONNECTED", stream_data(s, NULL));
    }
    if (!s->server && s->reconnect_ms) {
        timer_mod(&s->retry, clock_ns(CLOCK_KIND_REALTIME) + s->reconnect_ms * 1000000);
    }
    net_ready(&s->p); /* who waited goes on: without a peer its packets are lost */
}

/* ---- from the peer ---- */

/* Hands out what is whole. False: the peer is gone, or talks nonsense. */
static bool stream_give(Stream *s)
{
    const uint8_t *data;
    size_t len;
    uint32_t vnet;
    bool bad = false;

    while (!s->stalled && framing_next(&s->in, &data, &len, &vnet, &bad)) {
        struct iovec v = { (void *)(uintptr_t)data, len };

        if (len && net_send(&s->p, &v, 1, len) == NET_QUEUED) {
            s->stalled = true;
            return true;
        }
        if (s->fd < 0) {
            return true; /* what it led to ended the connection */
        }
        framing_done(&s->in);
    }
    if (bad) {
        log_guest_error("netdev %s: a packet's length is impossible: connection closed", s->p.id);
        stream_down(s);
    }
    return !bad;
}

static void stream_read(Stream *s)
{
    for (unsigned i = 0; i < STREAM_BUDGET && !s->stalled && s->fd >= 0; i++) {
        size_t room;
        uint8_t *at = framing_space(&s->in, &room);
        ssize_t n = recv(s->fd, at, room, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            stream_down(s);
            return;
        }
        framing_add(&s->in, (size_t)n);
        if (!stream_give(s) || (size_t)n < room) {
            return;
        }
    }
}

static void stream_writable(NetPort *p)
{
    Stream *s = (Stream *)p;

    if (s->fd < 0) {
        return;
    }
    s->stalled = false;
    if (stream_give(s)) {
        stream_watch(s);
    }
}

/* ---- to the peer ---- */

static bool stream_flush(Stream *s)
{
    while (s->out_at < s->out->len) {
        ssize_t n = send(
            s->fd, s->out->data + s->out_at, s->out->len - s->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return false;
        }
        if (n < 0) {
            break; /* the read side sees the end, and cleans up */
        }
        s->out_at += (size_t)n;
    }
    g_byte_array_set_size(s->out, 0);
    s->out_at = 0;
    return true;
}

static void stream_event(void *opaque, uint32_t events)
{
    Stream *s = opaque;

    if (events & EPOLLOUT && s->want_write && stream_flush(s)) {
        s->want_write = false;
        net_ready(&s->p);
    }
    /* While nothing is read the peer's end is not looked at either: what it sent comes first. */
    if (s->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        stream_read(s);
    }
    stream_watch(s);
}

static NetVerdict stream_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Stream *s = (Stream *)p;
    const uint8_t head[4] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
        (uint8_t)len };
    struct iovec v[STREAM_IOV];
    g_autofree uint8_t *flat = NULL;
    unsigned k = 1;

    if (s->fd < 0 || len > FRAMING_MAX) {
        return NET_DROPPED;
    }
    if (s->out->len) {
        return NET_QUEUED;
    }
    v[0] = (struct iovec){ (void *)(uintptr_t)head, sizeof head };
    if (n < STREAM_IOV) {
        memcpy(v + 1, iov, n * sizeof *iov);
        k += n;
    } else {
        flat = g_malloc(len);
        v[k++] = (struct iovec){ flat, net_flatten(iov, n, flat, len) };
    }
    const struct msghdr m = { .msg_iov = v, .msg_iovlen = k };
    ssize_t done;

    do {
        done = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (done < 0 && errno == EINTR);
    if (done < 0 && errno != EAGAIN) {
        return NET_DROPPED;
    }
    if (done < 0 || (size_t)done < len + sizeof head) {
        s->want_write = true;
        stream_watch(s);
    }
    if (done < 0) {
        return NET_QUEUED;
    }
    /* Begun is taken: the rest goes before anything else does. */
    size_t skip = (size_t)done;

    for (unsigned i = 0; i < k; i++) {
        size_t cut = MIN(skip, v[i].iov_len);

        skip -= cut;
        g_byte_array_append(
            s->out, (const uint8_t *)v[i].iov_base + cut, (guint)(v[i].iov_len - cut));
    }
    return NET_SENT;
}

static const NetPortOps stream_ops = { .receive = stream_receive, .writable = stream_writable };

bool net_is_stream(const NetPort *p)
{
    return p->ops == &stream_ops;
}

/* ---- connections ---- */

static void stream_accepted(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    Stream *s = opaque;
    int fd = s->fd < 0 ? sock_accept(s->listen_fd) : -1;

    if (fd >= 0) {
        stream_up(s, fd);
    }
}

static void stream_dialled(void *opaque, int fd, const GError *err)
{
    Stream *s = opaque;

    s->dial = NULL;
    if (fd >= 0) {
        stream_up(s, fd);
        return;
    }
    g_autofree char *why = err_first_line(err);

    if (s->reconnect_ms) {
        net_set_info(&s->p, "connecting");
        timer_mod(&s->retry, clock_ns(CLOCK_KIND_REALTIME) + s->reconnect_ms * 1000000);
    } else {
        net_set_info(&s->p, "error: %s", why);
        report_warning("netdev %s: %s", s->p.id, why);
    }
}

static void stream_dial(Stream *s)
{
    s->dial = net_dial(&s->addr, stream_dialled, s);
}

static void stream_retry(void *opaque)
{
    stream_dial(opaque);
}

/* A descriptor the user gave is a connected socket, or a listening one. */
static bool adopt_fd(Stream *s, GError **err)
{
    int type = 0, listening = 0;
    socklen_t len = sizeof type;

    if (getsockopt(s->addr.fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
        return err_set_errno(err, "File descriptor '%d' is not a socket", s->addr.fd);
    }
    if (type != SOCK_STREAM) {
        return err_set(err, "File descriptor '%d' is not a stream socket", s->addr.fd);
    }
    len = sizeof listening;
    getsockopt(s->addr.fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
    if (!s->server && listening) {
        return err_set(err, "File descriptor '%d' is not connected", s->addr.fd);
    }
    return true;
}

NetPort *net_stream_new(const char *id, const char *type, StreamStart *how, GError **err)
{
    Stream *s = g_new0(Stream, 1);

    s->addr = how->addr;
    how->addr = (SockAddr){ .fd = -1 };
    s->server = how->server;
    s->old = how->old;
    s->reconnect_ms = how->reconnect_ms;
    s->fd = s->listen_fd = -1;
    s->out = g_byte_array_new();
    framing_init(&s->in, 4);
    timer_init(&s->retry, loop_main(), CLOCK_KIND_REALTIME, stream_retry, s);
    net_port_init(&s->p, &stream_ops, type, id);
    if (s->addr.kind == SOCK_ADDR_FD && !adopt_fd(s, err)) {
        net_stream_close(&s->p);
        return NULL;
    }
    if (s->server) {
        s->listen_fd = sock_listen_up_to(&s->addr, err);
        if (s->listen_fd < 0) {
            net_stream_close(&s->p);
            return NULL;
        }
        if (s->addr.kind == SOCK_ADDR_UNIX && !s->addr.abstract_) {
            sock_keep(s->addr.path);
        }
        s->wlisten = loop_fd_add(loop_main(), s->listen_fd, EPOLLIN, stream_accepted, s);
        net_set_info(&s->p, "%s", s->old ? "" : "listening");
    } else if (s->addr.kind == SOCK_ADDR_FD) {
        int fd = s->addr.fd;

        s->addr.fd = -1;
        stream_up(s, fd);
        if (s->old) {
            net_set_info(&s->p, "socket: fd=%d", fd);
        }
    } else {
        net_set_info(&s->p, "connecting");
        stream_dial(s);
    }
    return &s->p;
}

void net_stream_close(NetPort *p)
{
    Stream *s = (Stream *)p;

    net_dial_cancel(s->dial);
    timer_del(&s->retry);
    s->reconnect_ms = 0;
    if (s->fd >= 0) {
        stream_down(s);
    }
    loop_fd_del(s->wlisten);
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        if (s->addr.kind == SOCK_ADDR_UNIX && !s->addr.abstract_) {
            sock_unlink(s->addr.path);
        }
    }
    net_port_fini(p);
    framing_fini(&s->in);
    g_byte_array_unref(s->out);
    sock_addr_clear(&s->addr);
    g_free(s);
}

/* ---- -netdev stream ---- */

typedef struct StreamOpts {
    Json *addr;
    bool server;
    uint32_t reconnect;
    uint64_t reconnect_ms;
} StreamOpts;
static const PropSpec stream_props[] = {
    { .name = "addr",
        .type = &prop_json,
        .offset = PROP_AT(StreamOpts, addr, Json *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "type=unix,path= or type=inet,host=,port= or type=fd,str=" },
    PROP_BOOL("server", StreamOpts, server, false, "wait for the peer"),
    PROP_U32("reconnect", StreamOpts, reconnect, 0, "seconds between tries"),
    PROP_U64("reconnect-ms", StreamOpts, reconnect_ms, 0, "milliseconds between tries"),
    PROP_END,
};

static NetPort *stream_open(const char *id, void *cfg, GError **err)
{
    const StreamOpts *o = cfg;
    StreamStart how = { .server = o->server };

    if (!net_addr_parse(o->addr, id, "addr", &how.addr, err)) {
        return NULL;
    }
    if (o->server && (o->reconnect || o->reconnect_ms)) {
        err_set(err,
            "'reconnect' and 'reconnect-ms' options are incompatible with socket in server mode");
    } else if (o->reconnect && o->reconnect_ms) {
        err_set(err, "'reconnect' and 'reconnect-ms' are mutually exclusive");
    } else {
        how.reconnect_ms = o->reconnect ? (int64_t)o->reconnect * 1000
                                        : (int64_t)MIN(o->reconnect_ms, (uint64_t)INT32_MAX);
        return net_stream_new(id, "stream", &how, err);
    }
    sock_addr_clear(&how.addr);
    return NULL;
}

const NetBackend net_stream = { .type = "stream",
    .help = "packets over a connected socket",
    .size = sizeof(StreamOpts),
    .props = stream_props,
    .open = stream_open,
    .close = net_stream_close };
