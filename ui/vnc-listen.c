/* Where a VNC server listens, and addresses as QMP shows them. Tested by tests/system/test_vnc.py.
 */
#include "util/err.h"
#include "util/fd.h"
#include "util/sock.h"
#include "vnc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { PORT_BASE = 5900, BACKLOG = 8 };

void vnc_address(int fd, bool peer, char **ret_host, char **ret_service, const char **ret_family)
{
    struct sockaddr_storage a = { 0 };
    socklen_t len = sizeof a;
    char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
    int rc = peer ? getpeername(fd, (struct sockaddr *)&a, &len)
                  : getsockname(fd, (struct sockaddr *)&a, &len);

    *ret_family = rc                        ? "unknown"
                  : a.ss_family == AF_INET  ? "ipv4"
                  : a.ss_family == AF_INET6 ? "ipv6"
                  : a.ss_family == AF_UNIX  ? "unix"
                                            : "unknown";
    if (a.ss_family == AF_UNIX) {
        const struct sockaddr_un *u = (const struct sockaddr_un *)&a;
        size_t path = len > offsetof(struct sockaddr_un, sun_path)
                          ? len - offsetof(struct sockaddr_un, sun_path)
                          : 0;

        *ret_host = g_strdup("");
        *ret_service = g_strndup(u->sun_path, path);
        return;
    }
    if (!rc) {
        rc = getnameinfo((struct sockaddr *)&a, len, host, sizeof host, service, sizeof service,
            NI_NUMERICHOST | NI_NUMERICSERV);
    }
    *ret_host = g_strdup(rc ? "" : host);
    *ret_service = g_strdup(rc ? "" : service);
}

static void add_socket(VncServer *s, int fd)
{
    VncSocket *k = &s->sock[s->nsocks++];

    *k = (VncSocket){ .fd = fd, .server = s };
    vnc_address(fd, /* peer= */ false, &k->host, &k->service, &k->family);
}

static int listen_on(const struct addrinfo *a)
{
    const int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        (a->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on)) ||
        bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, BACKLOG)) {
        int e = errno;

        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static bool listen_inet(
    VncServer *s, const char *host, int64_t display, int64_t to, int family, GError **err)
{
    int last = EADDRNOTAVAIL;

    for (int64_t d = display; d <= MAX(to, display); d++) {
        struct addrinfo hints = { .ai_flags = AI_PASSIVE,
            .ai_family = family,
            .ai_socktype = SOCK_STREAM },
                        *all = NULL;
        g_autofree char *port = g_strdup_printf("%d", (int)(PORT_BASE + d));
        int rc = getaddrinfo(*host ? host : NULL, port, &hints, &all);

        if (rc) {
            return err_set(
                err, "address resolution failed for %s:%s: %s", host, port, gai_strerror(rc));
        }
        for (const struct addrinfo *a = all; a && s->nsocks < VNC_SOCKETS; a = a->ai_next) {
            int fd = listen_on(a);

            last = fd < 0 ? errno : last;
            if (fd >= 0) {
                add_socket(s, fd);
            }
        }
        freeaddrinfo(all);
        if (s->nsocks) {
            return true;
        }
        if (last != EADDRINUSE) {
            break;
        }
    }
    errno = last;
    return err_set_errno(err, "Failed to find an available port");
}

static bool listen_unix(VncServer *s, const char *path, GError **err)
{
    SockAddr a = { .kind = SOCK_ADDR_UNIX, .path = (char *)(uintptr_t)path };
    int fd = sock_listen(&a, err);

    if (fd < 0) {
        return false;
    }
    add_socket(s, fd);
    sock_keep(path);
    s->sock[s->nsocks - 1].unlink = g_strdup(path);
    return true;
}

bool vnc_listen(VncServer *s, const char *where, int64_t to, int family, GError **err)
{
    const char *colon = strrchr(where, ':');
    g_autofree char *host = NULL;
    guint64 display;
    char *end;

    if (g_str_has_prefix(where, "unix:")) {
        return where[5] ? listen_unix(s, where + 5, err) : err_set(err, "no vnc socket specified");
    }
    if (!colon) {
        return err_set(err, "no vnc port specified");
    }
    display = g_ascii_strtoull(colon + 1, &end, 10);
    if (!g_ascii_isdigit(colon[1]) || *end) {
        return err_set(err, "can't convert to a number: %s", colon + 1);
    }
    if (display > 65535 - PORT_BASE) {
        return err_set(err, "port %s out of range", colon + 1);
    }
    host = g_strndup(where, (gsize)(colon - where));
    if (host[0] == '[' && g_str_has_suffix(host, "]")) {
        host[strlen(host) - 1] = '\0';
        memmove(host, host + 1, strlen(host));
    }
    return listen_inet(s, host, (int64_t)display, MIN(to, 65535 - PORT_BASE), family, err);
}
