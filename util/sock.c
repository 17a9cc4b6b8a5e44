/* Sockets: listening, connecting, datagrams to one peer, and the text their addresses have in
 * queries. Tested by test-sock. */
#include "util/sock.h"

#include "util/err.h"
#include "util/fd.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

void sock_addr_clear(SockAddr *a)
{
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
    *a = (SockAddr){ .fd = -1 };
}

static bool unix_addr(const SockAddr *a, struct sockaddr_un *ret, socklen_t *ret_len, GError **err)
{
    size_t len = strlen(a->path);

    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (len >= sizeof ret->sun_path) {
        err_set(err, "UNIX socket path '%s' is too long", a->path);
        err_hint(err, "Path must be less than %zu bytes", sizeof ret->sun_path);
        return false;
    }
    if (a->abstract_) {
        memcpy(ret->sun_path + 1, a->path, len);
        *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
    } else {
        memcpy(ret->sun_path, a->path, len);
        *ret_len = sizeof *ret;
    }
    return true;
}

/* type: SOCK_STREAM or SOCK_DGRAM; family: AF_UNSPEC where the address is free to choose. */
static struct addrinfo *inet_addrs(
    const SockAddr *a, int type, int family, bool passive, GError **err)
{
    struct addrinfo hints = { .ai_socktype = type, .ai_family = family };
    struct addrinfo *res = NULL;
    bool any = !a->host || !*a->host;

    if (a->has_ipv4 && !a->ipv4 && a->has_ipv6 && !a->ipv6) {
        err_set(err, "Cannot disable IPv4 and IPv6 at same time");
        return NULL;
    }
    hints.ai_flags = AI_ADDRCONFIG | (passive ? AI_PASSIVE : 0);
    if ((a->has_ipv4 && a->ipv4 && !(a->has_ipv6 && a->ipv6)) || (a->has_ipv6 && !a->ipv6)) {
        hints.ai_family = AF_INET;
    } else if ((a->has_ipv6 && a->ipv6 && !a->ipv4) || (a->has_ipv4 && !a->ipv4)) {
        hints.ai_family = AF_INET6;
    }
    int rc = getaddrinfo(any ? NULL : a->host, a->port, &hints, &res);

    if (rc) { /* AI_ADDRCONFIG does not count the loopback interface: it may be all there is */
        hints.ai_flags &= ~AI_ADDRCONFIG;
        rc = getaddrinfo(any ? NULL : a->host, a->port, &hints, &res);
    }
    if (rc) {
        err_set(err, "address resolution failed for %s:%s: %s", a->host ? a->host : "", a->port,
            gai_strerror(rc));
        return NULL;
    }
    return res;
}

static int unix_socket(GError **err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        err_set_errno(err, "Failed to create Unix socket");
    }
    return fd;
}

static int listen_unix(const SockAddr *a, GError **err)
{
    struct sockaddr_un un;
    socklen_t len;
    autofd fd = -1;

    if (!unix_addr(a, &un, &len, err) || (fd = unix_socket(err)) < 0) {
        return -1;
    }
    if (!a->abstract_ && unlink(a->path) < 0 && errno != ENOENT) {
        err_set_errno(err, "Failed to unlink socket %s", a->path);
        return -1;
    }
    if (bind(fd, (struct sockaddr *)&un, len) < 0) {
        err_set_errno(err, "Failed to bind socket to %s", a->path);
        return -1;
    }
    if (listen(fd, 1) < 0) {
        err_set_errno(err, "Failed to listen on socket");
        return -1;
    }
    return fd_steal(&fd);
}

static int listen_inet(const SockAddr *a, GError **err)
{
    struct addrinfo *res = inet_addrs(a, SOCK_STREAM, AF_UNSPEC, /* passive= */ true, err);
    const int one = 1;
    int saved = 0;

    for (struct addrinfo *r = res; r; r = r->ai_next) {
        autofd fd = socket(r->ai_family, r->ai_socktype | SOCK_CLOEXEC, r->ai_protocol);

        if (fd < 0) {
            saved = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (r->ai_family == AF_INET6) {
            const int only = a->has_ipv4 && !a->ipv4;

            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
        }
        if (bind(fd, r->ai_addr, r->ai_addrlen) == 0 && listen(fd, 1) == 0) {
            freeaddrinfo(res);
            return fd_steal(&fd);
        }
        saved = errno;
    }
    if (res) {
        freeaddrinfo(res);
        errno = saved;
        if (saved == EADDRINUSE) {
            err_set_errno(err, "Failed to find an available port");
        } else {
            err_set_errno(err, "Failed to bind socket to %s:%s", a->host ? a->host : "", a->port);
        }
    }
    return -1;
}

int sock_listen(const SockAddr *a, GError **err)
{
    int fd = -1;

    switch (a->kind) {
    case SOCK_ADDR_UNIX:
        fd = listen_unix(a, err);
        break;
    case SOCK_ADDR_INET:
        fd = listen_inet(a, err);
        break;
    case SOCK_ADDR_FD:
        fd = a->fd;
        if (listen(fd, 1) < 0) {
            err_set_errno(err, "Failed to listen on socket");
            return -1;
        }
        break;
    }
    if (fd >= 0) {
        fd_set_nonblock(fd, true);
    }
    return fd;
}

static int connect_retry(int fd, const struct sockaddr *addr, socklen_t len)
{
    int rc;

    do {
        rc = connect(fd, addr, len);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

static int connect_unix(const SockAddr *a, GError **err)
{
    struct sockaddr_un un;
    socklen_t len;
    autofd fd = -1;

    if (!unix_addr(a, &un, &len, err) || (fd = unix_socket(err)) < 0) {
        return -1;
    }
    if (connect_retry(fd, (struct sockaddr *)&un, len) < 0) {
        err_set_errno(err, "Failed to connect to '%s'", a->path);
        return -1;
    }
    return fd_steal(&fd);
}

static int connect_inet(const SockAddr *a, GError **err)
{
    struct addrinfo *res = inet_addrs(a, SOCK_STREAM, AF_UNSPEC, /* passive= */ false, err);
    const int one = 1;
    int saved = 0;

    for (struct addrinfo *r = res; r; r = r->ai_next) {
        autofd fd = socket(r->ai_family, r->ai_socktype | SOCK_CLOEXEC, r->ai_protocol);

        if (fd >= 0 && connect_retry(fd, r->ai_addr, r->ai_addrlen) == 0) {
            freeaddrinfo(res);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd_steal(&fd);
        }
        saved = errno;
    }
    if (res) {
        freeaddrinfo(res);
        errno = saved;
        err_set_errno(err, "Failed to connect to '%s:%s'", a->host ? a->host : "", a->port);
    }
    return -1;
}

/* One of the peer's addresses: bound to ours, which is of its family, and connected. */
static int udp_to(const struct addrinfo *peer, const SockAddr *local, GError **err)
{
    struct addrinfo *mine =
        inet_addrs(local, SOCK_DGRAM, peer->ai_family, /* passive= */ true, err);

    if (!mine) {
        return -1;
    }
    autofd fd = socket(mine->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool bound = fd >= 0 && bind(fd, mine->ai_addr, mine->ai_addrlen) == 0;
    int saved = errno;

    freeaddrinfo(mine);
    errno = saved;
    if (!bound) {
        err_set_errno(err, fd < 0 ? "Failed to create socket" : "Failed to bind socket");
        return -1;
    }
    if (connect_retry(fd, peer->ai_addr, peer->ai_addrlen) < 0) {
        err_set_errno(err, "Failed to connect socket");
        return -1;
    }
    return fd_steal(&fd);
}

int sock_udp(const SockAddr *remote, const SockAddr *local, GError **err)
{
    struct addrinfo *res = inet_addrs(remote, SOCK_DGRAM, AF_UNSPEC, /* passive= */ false, err);
    int fd = -1;

    for (const struct addrinfo *r = res; r && fd < 0; r = r->ai_next) {
        /* What is wrong with the last address is what is said. */
        fd = udp_to(r, local, r->ai_next ? NULL : err);
    }
    if (res) {
        freeaddrinfo(res);
    }
    return fd;
}

int sock_listen_up_to(SockAddr *a, GError **err)
{
    long port = a->kind == SOCK_ADDR_INET ? strtol(a->port, NULL, 10) : a->to;

    while (port < a->to) {
        int fd = sock_listen(a, NULL);

        if (fd >= 0) {
            return fd;
        }
        g_free(a->port);
        a->port = g_strdup_printf("%ld", ++port);
    }
    return sock_listen(a, err);
}

int sock_connect(const SockAddr *a, GError **err)
{
    int fd = -1;

    switch (a->kind) {
    case SOCK_ADDR_UNIX:
        fd = connect_unix(a, err);
        break;
    case SOCK_ADDR_INET:
        fd = connect_inet(a, err);
        break;
    case SOCK_ADDR_FD:
        fd = a->fd;
        break;
    }
    if (fd >= 0) {
        fd_set_nonblock(fd, true);
    }
    return fd;
}

int sock_accept(int listen_fd)
{
    int fd;

    do {
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    return fd;
}

char *sock_describe(const SockAddr *a, bool server)
{
    const char *tail = server ? ",server=on" : "";

    switch (a->kind) {
    case SOCK_ADDR_UNIX:
        return g_strdup_printf("unix:%s%s%s", a->path, a->abstract_ ? ",abstract=on" : "", tail);
    case SOCK_ADDR_INET:
        if (a->host && strchr(a->host, ':')) {
            return g_strdup_printf("tcp:[%s]:%s%s", a->host, a->port, tail);
        }
        return g_strdup_printf("tcp:%s:%s%s", a->host ? a->host : "", a->port, tail);
    case SOCK_ADDR_FD:
        return g_strdup_printf("fd:%d%s", a->fd, tail);
    }
    g_assert_not_reached();
}

char *sock_local_text(int fd)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t len = sizeof ss;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0) {
        return g_strdup("");
    }
    if (ss.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&ss;
        size_t n = len - offsetof(struct sockaddr_un, sun_path);

        if (n > 1 && !un->sun_path[0]) {
            return g_strdup_printf("unix:%.*s,abstract=on", (int)n - 1, un->sun_path + 1);
        }
        return g_strdup_printf("unix:%.*s", (int)n, un->sun_path);
    }
    if (getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
            NI_NUMERICHOST | NI_NUMERICSERV)) {
        return g_strdup("");
    }
    return g_strdup_printf(strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}

/* Socket files of devices that live as long as the process. */
static GPtrArray *kept;

void sock_keep(const char *path)
{
    if (!kept) {
        kept = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(kept, g_strdup(path));
}

void sock_unlink(const char *path)
{
    guint i;

    if (kept && g_ptr_array_find_with_equal_func(kept, path, g_str_equal, &i)) {
        unlink(path);
        g_ptr_array_remove_index_fast(kept, i);
    }
}

void sock_cleanup(void)
{
    while (kept && kept->len) {
        sock_unlink(g_ptr_array_index(kept, 0));
    }
    g_clear_pointer(&kept, g_ptr_array_unref);
}
