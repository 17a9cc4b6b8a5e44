/* -netdev socket: the older way to write stream and dgram (IPv4 only). Tested by
 * tests/system/test_net.py. */
#include "dgram.h"
#include "net-addr.h"
#include "net-internal.h"
#include "stream.h"
#include "util/fd.h"
#include "util/keyval.h"

#include <arpa/inet.h>
#include <string.h>

typedef struct SocketOpts {
    char *fd, *listen, *connect, *mcast, *localaddr, *udp;
} SocketOpts;
static const PropSpec socket_props[] = {
    PROP_STR("fd", SocketOpts, fd, "open socket"),
    PROP_STR("listen", SocketOpts, listen, "[host]:port to wait on"),
    PROP_STR("connect", SocketOpts, connect, "host:port to connect to"),
    PROP_STR("mcast", SocketOpts, mcast, "group:port"),
    PROP_STR("localaddr", SocketOpts, localaddr, "with mcast and udp: our address"),
    PROP_STR("udp", SocketOpts, udp, "host:port packets go to"),
    PROP_END,
};

static SockAddr inet_addr_of(const struct sockaddr_in *a)
{
    char host[INET_ADDRSTRLEN];

    return (SockAddr){ .kind = SOCK_ADDR_INET,
        .host = g_strdup(inet_ntop(AF_INET, &a->sin_addr, host, sizeof host)),
        .port = g_strdup_printf("%u", ntohs(a->sin_port)),
        .ipv4 = true,
        .has_ipv4 = true,
        .fd = -1 };
}

static NetPort *open_stream(const char *id, const char *text, bool server, GError **err)
{
    struct sockaddr_in at;

    if (!net_hostport(text, &at, err)) {
        return NULL;
    }
    StreamStart how = { .addr = inet_addr_of(&at), .server = server, .old = true };
    NetPort *p = net_stream_new(id, "socket", &how, err);

    if (!p && err && *err && server && (*err)->message) {
        char host[INET_ADDRSTRLEN];
        const char *why = strrchr((*err)->message, ':');
        g_autofree char *reason = g_strdup(why ? why : "");

        g_clear_error(err);
        err_set(err, "can't bind ip=%s to socket%s",
            inet_ntop(AF_INET, &at.sin_addr, host, sizeof host), reason);
    }
    if (p && !server) {
        g_autofree char *to = net_hostport_text(&at);

        net_set_info(p, "socket: connect to %s", to);
    }
    return p;
}

static NetPort *open_fd(const char *id, const char *text, GError **err)
{
    g_autoptr(GError) why = NULL;
    int type = 0, fd = fd_from_text(text, &why);
    socklen_t len = sizeof type;
    uint64_t number;

    if (fd < 0 && !parse_uint(text, INT32_MAX, &number)) {
        err_set(err, "%s", why->message);
        return NULL;
    }
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
        err_set(err, "can't get socket option SO_TYPE");
        return NULL;
    }
    if (type == SOCK_STREAM) {
        StreamStart how = { .addr = { .kind = SOCK_ADDR_FD, .fd = fd }, .old = true };

        return net_stream_new(id, "socket", &how, err);
    }
    if (type != SOCK_DGRAM) {
        err_set(err, "socket type=%d for fd=%d must be either SOCK_DGRAM or SOCK_STREAM", type, fd);
        return NULL;
    }
    NetPort *p = net_dgram_new(id, "socket", fd, NULL, 0, NULL);

    net_set_info(p, "socket: fd=%d", fd);
    return p;
}

static NetPort *open_udp(const char *id, const SocketOpts *o, GError **err)
{
    struct sockaddr_in local, to;

    if (!net_hostport(o->localaddr, &local, err) || !net_hostport(o->udp, &to, err)) {
        return NULL;
    }
    int fd = net_udp_socket(&local, err);

    if (fd < 0) {
        return NULL;
    }
    NetPort *p = net_dgram_new(id, "socket", fd, (struct sockaddr *)&to, sizeof to, NULL);
    g_autofree char *at = net_hostport_text(&to);

    net_set_info(p, "socket: udp=%s", at);
    return p;
}

static NetPort *open_mcast(const char *id, const SocketOpts *o, GError **err)
{
    struct sockaddr_in group;
    struct in_addr from;

    if (!net_hostport(o->mcast, &group, err)) {
        return NULL;
    }
    if (o->localaddr && inet_pton(AF_INET, o->localaddr, &from) != 1) {
        err_set(err, "localaddr '%s' is not a valid IPv4 address", o->localaddr);
        return NULL;
    }
    int fd = net_mcast_socket(&group, o->localaddr ? &from : NULL, err);

    if (fd < 0) {
        return NULL;
    }
    NetPort *p = net_dgram_new(id, "socket", fd, (struct sockaddr *)&group, sizeof group, NULL);
    g_autofree char *at = net_hostport_text(&group);

    net_set_info(p, "socket: mcast=%s", at);
    return p;
}

static NetPort *socket_open(const char *id, void *cfg, GError **err)
{
    const SocketOpts *o = cfg;

    if (!!o->fd + !!o->listen + !!o->connect + !!o->mcast + !!o->udp != 1) {
        err_set(err, "exactly one of listen=, connect=, mcast= or udp= is required");
    } else if (o->localaddr && !o->mcast && !o->udp) {
        err_set(err, "localaddr= is only valid with mcast= or udp=");
    } else if (o->udp && !o->localaddr) {
        err_set(err, "localaddr= is mandatory with udp=");
    } else if (o->fd) {
        return open_fd(id, o->fd, err);
    } else if (o->listen || o->connect) {
        return open_stream(id, o->listen ? o->listen : o->connect, o->listen != NULL, err);
    } else {
        return o->udp ? open_udp(id, o, err) : open_mcast(id, o, err);
    }
    return NULL;
}

static void socket_close(NetPort *p)
{
    if (net_is_stream(p)) {
        net_stream_close(p);
    } else {
        net_dgram_close(p);
    }
}

const NetBackend net_socket = { .type = "socket",
    .help = "packets over TCP, UDP or a multicast group",
    .size = sizeof(SocketOpts),
    .props = socket_props,
    .open = socket_open,
    .close = socket_close };
