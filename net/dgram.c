/* -netdev dgram: one packet, one datagram. Tested by test-net-socket and tests/system/test_net.py.
 */
#include "dgram.h"

#include "framing.h"
#include "net-addr.h"
#include "net-internal.h"
#include "util/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

enum { DGRAM_BUDGET = 64 };

typedef struct Dgram {
    NetPort p;
    int fd;
    LoopFd *w;
    bool stalled, want_write;
    struct sockaddr_storage to;
    socklen_t to_len; /* 0: connected */
    socklen_t pinned; /* to's length when we connected to it ourselves, else 0 */
    /* A unix receiver's full queue is seen only by a socket connected to it (unix(7), poll). */
    int probe;
    LoopFd *wprobe;
    char *path;
    size_t held; /* a packet read but refused, kept in buf */
    uint8_t buf[FRAMING_MAX];
} Dgram;

static void dgram_watch(Dgram *d)
{
    bool probing = d->wprobe != NULL;

    loop_fd_set(d->w, (d->stalled ? 0 : (uint32_t)EPOLLIN) |
                          (d->want_write && !probing ? (uint32_t)EPOLLOUT : 0));
    if (probing) {
        loop_fd_set(d->wprobe, d->want_write ? (uint32_t)EPOLLOUT : 0);
    }
}

static void probe_drop(Dgram *d)
{
    if (d->wprobe) {
        loop_fd_del(d->wprobe);
        d->wprobe = NULL;
        close(d->probe);
    }
}

static bool dgram_give(Dgram *d)
{
    struct iovec v = { d->buf, d->held };

    if (net_send(&d->p, &v, 1, d->held) == NET_QUEUED) {
        d->stalled = true;
        return false;
    }
    d->held = 0;
    return true;
}

static void dgram_event(void *opaque, uint32_t events)
{
    Dgram *d = opaque;

    if (events & EPOLLOUT && d->want_write) {
        d->want_write = false;
        net_ready(&d->p);
    }
    for (unsigned i = 0; i < DGRAM_BUDGET && !d->stalled; i++) {
        ssize_t n = recv(d->fd, d->buf, sizeof d->buf, MSG_DONTWAIT);

        if (n < 0 && (errno == ECONNREFUSED || errno == ECONNRESET || errno == EINTR)) {
            continue; /* news about what was sent; the next call reads on */
        }
        if (n < 0) {
            break;
        }
        d->held = (size_t)n;
        if (n && !dgram_give(d)) {
            break;
        }
    }
    dgram_watch(d);
}

static void probe_event(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    Dgram *d = opaque;

    d->want_write = false;
    dgram_watch(d);
    net_ready(&d->p);
}

static void dgram_writable(NetPort *p)
{
    Dgram *d = (Dgram *)p;

    d->stalled = false;
    if (d->held) {
        dgram_give(d);
    }
    dgram_watch(d);
}

/* The peer's queue is full: makes sure that somebody tells when it is not. */
static void dgram_wait(Dgram *d)
{
    d->want_write = true;
    if (d->to_len && d->to.ss_family == AF_UNIX) {
        if (!d->wprobe) {
            d->probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
            if (d->probe >= 0) {
                d->wprobe = loop_fd_add(loop_main(), d->probe, 0, probe_event, d);
            }
        }
        /* Each time: the peer may be another one by now. One that is connected to us takes no
         * connection but ours. */
        if (!d->wprobe || connect(d->probe, (struct sockaddr *)&d->to, d->to_len) < 0) {
            probe_drop(d);
            if (connect(d->fd, (struct sockaddr *)&d->to, d->to_len) == 0) {
                d->pinned = d->to_len;
                d->to_len = 0;
            }
        }
    }
    dgram_watch(d);
}

/* The peer we are connected to is gone: another may have its name. */
static bool dgram_unpin(Dgram *d, struct msghdr *m)
{
    const struct sockaddr none = { .sa_family = AF_UNSPEC };

    if (d->pinned && connect(d->fd, &none, sizeof none) == 0) {
        m->msg_name = &d->to;
        m->msg_namelen = d->to_len = d->pinned;
        d->pinned = 0;
    }
    return true;
}

static NetVerdict dgram_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Dgram *d = (Dgram *)p;
    g_autofree uint8_t *flat = NULL;
    struct iovec one;
    ssize_t done;

    if (n > IOV_MAX) {
        one = (struct iovec){ flat = g_malloc(MAX(len, 1)), 0 };
        one.iov_len = net_flatten(iov, n, flat, len);
        iov = &one;
        n = 1;
    }
    struct msghdr m = { .msg_name = d->to_len ? &d->to : NULL,
        .msg_namelen = d->to_len,
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = n };
    unsigned again = 2;

    do {
        done = sendmsg(d->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (done < 0 && (errno == EINTR || ((errno == ECONNREFUSED || errno == ECONNRESET ||
                                                 errno == ENOTCONN || errno == EPIPE) &&
                                                again && again-- && dgram_unpin(d, &m))));
    if (done < 0 && errno == EAGAIN) {
        dgram_wait(d);
        return NET_QUEUED;
    }
    return done < 0 ? NET_DROPPED : NET_SENT; /* nobody there, or too long for this wire */
}

static const NetPortOps dgram_ops = { .receive = dgram_receive, .writable = dgram_writable };

NetPort *net_dgram_new(const char *id, const char *type, int fd, const struct sockaddr *to,
    socklen_t to_len, const char *path)
{
    Dgram *d = g_new0(Dgram, 1);

    net_port_init(&d->p, &dgram_ops, type, id);
    d->fd = fd;
    d->path = g_strdup(path);
    if (to_len) {
        memcpy(&d->to, to, to_len);
        d->to_len = to_len;
    }
    fd_set_nonblock(fd, true);
    d->w = loop_fd_add(loop_main(), fd, EPOLLIN, dgram_event, d);
    return &d->p;
}

void net_dgram_close(NetPort *p)
{
    Dgram *d = (Dgram *)p;

    net_port_fini(p);
    probe_drop(d);
    loop_fd_del(d->w);
    close(d->fd);
    if (d->path) {
        sock_unlink(d->path);
    }
    g_free(d->path);
    g_free(d);
}

int net_udp_socket(const struct sockaddr_in *local, GError **err)
{
    const int one = 1;
    autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        err_set_errno(err, "can't create datagram socket");
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)local, sizeof *local) < 0) {
        char host[INET_ADDRSTRLEN];

        err_set_errno(err, "can't bind ip=%s to socket",
            inet_ntop(AF_INET, &local->sin_addr, host, sizeof host));
        return -1;
    }
    return fd_steal(&fd);
}

int net_mcast_socket(const struct sockaddr_in *group, const struct in_addr *localaddr, GError **err)
{
    const int one = 1;
    const struct ip_mreq member = { .imr_multiaddr = group->sin_addr,
        .imr_interface = { .s_addr = localaddr ? localaddr->s_addr : htonl(INADDR_ANY) } };

    if (!IN_MULTICAST(ntohl(group->sin_addr.s_addr))) {
        char host[INET_ADDRSTRLEN];

        err_set(err, "specified mcastaddr %s (0x%08x) does not contain a multicast address",
            inet_ntop(AF_INET, &group->sin_addr, host, sizeof host), ntohl(group->sin_addr.s_addr));
        return -1;
    }
    autofd fd = net_udp_socket(group, err);

    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &member, sizeof member) < 0) {
        char host[INET_ADDRSTRLEN];

        err_set_errno(err, "can't add socket to multicast group %s",
            inet_ntop(AF_INET, &group->sin_addr, host, sizeof host));
        return -1;
    }
    if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &one, sizeof one) < 0) {
        err_set_errno(err, "can't force multicast message to loopback");
        return -1;
    }
    if (localaddr &&
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, localaddr, sizeof *localaddr) < 0) {
        err_set_errno(err, "can't set the default network send interface");
        return -1;
    }
    return fd_steal(&fd);
}

/* ---- -netdev dgram ---- */

typedef struct DgramOpts {
    Json *local, *remote;
} DgramOpts;
static const PropSpec dgram_props[] = {
    PROP_JSON(
        "local", DgramOpts, local, "type=unix,path= or type=inet,host=,port= or type=fd,str="),
    PROP_JSON("remote", DgramOpts, remote, "where packets go; a multicast address: a group"),
    PROP_END,
};

static bool to_inet(const SockAddr *a, struct sockaddr_in *ret, GError **err)
{
    return net_inet4(a->host, a->port, ret, err);
}

static bool dgram_fd_ok(int fd, struct sockaddr_storage *ret, GError **err)
{
    socklen_t len = sizeof *ret, tlen = sizeof(int);
    int type = 0;

    if (getsockname(fd, (struct sockaddr *)ret, &len) < 0) {
        return err_set_errno(err, "Unable to query local socket address");
    }
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &tlen);
    return type == SOCK_DGRAM || type == SOCK_SEQPACKET ||
           err_set(err, "local.fd is a stream socket: use -netdev stream");
}

static NetPort *open_mcast(
    const char *id, const SockAddr *local, const struct sockaddr_in *group, GError **err)
{
    struct sockaddr_storage ss;
    struct sockaddr_in from;
    int fd = -1;

    if (local && local->kind == SOCK_ADDR_UNIX) {
        err_set(err, "only support inet or fd type for local");
        return NULL;
    }
    if (local && local->kind == SOCK_ADDR_FD) {
        fd = dgram_fd_ok(local->fd, &ss, err) ? local->fd : -1;
    } else if (!local || net_inet4(local->host, "0", &from, err)) {
        fd = net_mcast_socket(group, local ? &from.sin_addr : NULL, err);
    }
    if (fd < 0) {
        return NULL;
    }
    NetPort *p = net_dgram_new(
        id, "dgram", fd, (const struct sockaddr *)group, (socklen_t)sizeof *group, NULL);
    g_autofree char *at = net_hostport_text(group);

    net_set_info(p, "mcast=%s", at);
    return p;
}

static NetPort *open_fd(const char *id, const SockAddr *local, GError **err)
{
    struct sockaddr_storage ss;

    if (!dgram_fd_ok(local->fd, &ss, err)) {
        return NULL;
    }
    NetPort *p = net_dgram_new(id, "dgram", local->fd, NULL, 0, NULL);

    net_set_info(p, "fd=%d %s", local->fd, ss.ss_family == AF_UNIX ? "unix" : "inet");
    return p;
}

static bool unix_at(const char *path, struct sockaddr_un *ret, GError **err)
{
    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    return g_strlcpy(ret->sun_path, path, sizeof ret->sun_path) < sizeof ret->sun_path ||
           err_set(err, "UNIX socket path '%s' is too long", path);
}

static NetPort *open_unix(
    const char *id, const SockAddr *local, const SockAddr *remote, GError **err)
{
    struct sockaddr_un at, to;
    autofd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (!unix_at(local->path, &at, err) || !unix_at(remote->path, &to, err)) {
        return NULL;
    }
    if (fd < 0) {
        err_set_errno(err, "can't create datagram socket");
        return NULL;
    }
    if (unlink(local->path) < 0 && errno != ENOENT) {
        err_set_errno(err, "failed to unlink socket %s", local->path);
        return NULL;
    }
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        err_set_errno(err, "can't bind unix=%s to socket", local->path);
        return NULL;
    }
    sock_keep(local->path);
    NetPort *p =
        net_dgram_new(id, "dgram", fd_steal(&fd), (struct sockaddr *)&to, sizeof to, local->path);

    net_set_info(p, "udp=%s:%s", local->path, remote->path);
    return p;
}

static NetPort *open_inet(
    const char *id, const SockAddr *local, const SockAddr *remote, GError **err)
{
    struct sockaddr_in at, to;

    if (!to_inet(local, &at, err) || !to_inet(remote, &to, err)) {
        return NULL;
    }
    int fd = net_udp_socket(&at, err);

    if (fd < 0) {
        return NULL;
    }
    NetPort *p = net_dgram_new(id, "dgram", fd, (struct sockaddr *)&to, sizeof to, NULL);
    g_autofree char *a = net_hostport_text(&at), *b = net_hostport_text(&to);

    net_set_info(p, "udp=%s/%s", a, b);
    return p;
}

static NetPort *open_pair(
    const char *id, const SockAddr *local, const SockAddr *remote, GError **err)
{
    struct sockaddr_in to;

    if (remote && remote->kind == SOCK_ADDR_INET) {
        if (!to_inet(remote, &to, err)) {
            return NULL;
        }
        if (IN_MULTICAST(ntohl(to.sin_addr.s_addr))) {
            return open_mcast(id, local, &to, err);
        }
    }
    const char *why = !local                                  ? "dgram requires local= parameter"
                      : local->kind == SOCK_ADDR_FD && remote ? "don't set remote with local.fd"
                      : local->kind != SOCK_ADDR_FD && !remote
                          ? "type=inet or type=unix requires remote parameter"
                      : remote && remote->kind != local->kind
                          ? "remote and local types must be the same"
                          : NULL;

    if (why) {
        err_set(err, "%s", why);
        return NULL;
    }
    return local->kind == SOCK_ADDR_FD     ? open_fd(id, local, err)
           : local->kind == SOCK_ADDR_UNIX ? open_unix(id, local, remote, err)
                                           : open_inet(id, local, remote, err);
}

static NetPort *dgram_open(const char *id, void *cfg, GError **err)
{
    const DgramOpts *o = cfg;
    SockAddr local = { .fd = -1 }, remote = { .fd = -1 };
    NetPort *p = NULL;

    if ((!o->local || net_addr_parse(o->local, id, "local", &local, err)) &&
        (!o->remote || net_addr_parse(o->remote, id, "remote", &remote, err))) {
        if (local.abstract_ || remote.abstract_) {
            err_set(err, "dgram: abstract names are not supported");
        } else {
            p = open_pair(id, o->local ? &local : NULL, o->remote ? &remote : NULL, err);
        }
    }
    sock_addr_clear(&local);
    sock_addr_clear(&remote);
    return p;
}

const NetBackend net_dgram = { .type = "dgram",
    .help = "a packet a datagram",
    .size = sizeof(DgramOpts),
    .props = dgram_props,
    .open = dgram_open,
    .close = net_dgram_close };
