/* Addresses of socket back ends, and connecting without waiting. Tested by test-net-socket and
 * tests/system/test_net.py. */
#include "net-addr.h"

#include "util/fd.h"
#include "util/keyval.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct AddrOpts {
    char *path, *host, *port, *str;
    bool abstract_, tight, ipv4, ipv6, keep_alive, mptcp, numeric;
    int32_t to;
} AddrOpts;
static const PropSpec unix_props[] = {
    PROP_STR("path", AddrOpts, path, "socket file"),
    PROP_BOOL("abstract", AddrOpts, abstract_, false, "abstract name"),
    PROP_BOOL("tight", AddrOpts, tight, true, "abstract name without padding"),
    PROP_END,
};
static const PropSpec inet_props[] = {
    PROP_STR("host", AddrOpts, host, "address"),
    PROP_STR("port", AddrOpts, port, "port"),
    PROP_OPT_U16("to", AddrOpts, to, "server: last port to try"),
    PROP_BOOL("ipv4", AddrOpts, ipv4, false, "allow IPv4"),
    PROP_BOOL("ipv6", AddrOpts, ipv6, false, "allow IPv6"),
    PROP_BOOL("numeric", AddrOpts, numeric, false, "no name look-ups"),
    PROP_BOOL("keep-alive", AddrOpts, keep_alive, false, "keep-alive packets"),
    PROP_END,
};
static const PropSpec fd_props[] = {
    PROP_STR("str", AddrOpts, str, "descriptor"),
    PROP_END,
};

static const struct {
    const char *name;
    const PropSpec *props;
    const char *need[3];
} kinds[] = { { "unix", unix_props, { "path" } }, { "inet", inet_props, { "host", "port" } },
    { "fd", fd_props, { "str" } } };

static bool members_ok(const Json *j, const char *name, unsigned k, GError **err)
{
    for (unsigned i = 0; i < json_len(j); i++) {
        const char *key = json_key_at(j, i);
        bool known = !strcmp(key, "type");

        for (const PropSpec *s = kinds[k].props; s->name && !known; s++) {
            known = !strcmp(s->name, key);
        }
        if (!known) {
            return err_set(err, "Parameter '%s.%s' is unexpected", name, key);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds[k].need) && kinds[k].need[i]; i++) {
        if (!json_get(j, kinds[k].need[i])) {
            return err_set(err, "Parameter '%s.%s' is missing", name, kinds[k].need[i]);
        }
    }
    return true;
}

bool net_apply_newer(
    const PropSpec *props, void *cfg, const Json *args, const char *prefix, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (prop_apply_struct(props, cfg, args, &why)) {
        return true;
    }
    g_autoptr(GString) text = g_string_new(why->message);
    g_autofree char *named = g_strdup_printf("'%s", prefix);

    g_string_replace(text, "'", named, 1); /* the first word in quotes is the parameter's name */
    g_string_replace(text, "an int64 value", "integer", 1);
    g_string_replace(text, "a uint64 value", "integer", 1);
    return err_set(err, "%s", text->str);
}

bool net_addr_parse(const Json *j, const char *id, const char *name, SockAddr *ret, GError **err)
{
    *ret = (SockAddr){ .fd = -1 };
    if (!j || json_type(j) != JSON_OBJECT) {
        return err_set(err,
            j ? "Invalid parameter type for '%s', expected: object" : "Parameter '%s' is missing",
            name);
    }
    const char *type = json_get_str_or(j, "type", NULL);
    unsigned k = 0;

    if (!type) {
        return err_set(err, "Parameter '%s.type' is missing", name);
    }
    if (!strcmp(type, "vsock")) {
        return err_set(err, "vsock addresses are not supported");
    }
    while (k < G_N_ELEMENTS(kinds) && strcmp(kinds[k].name, type) != 0) {
        k++;
    }
    if (k == G_N_ELEMENTS(kinds)) {
        return err_set(err, "Parameter 'type' does not accept value '%s'", type);
    }
    if (!members_ok(j, name, k, err)) {
        return false;
    }
    AddrOpts o = { 0 };
    g_autoptr(Json) rest = json_copy(j);

    json_remove(rest, "type");
    prop_defaults(kinds[k].props, &o);
    g_autofree char *prefix = g_strdup_printf("%s.", name);
    bool ok = net_apply_newer(kinds[k].props, &o, rest, prefix, err);

    if (ok && k == 2) {
        ret->kind = SOCK_ADDR_FD;
        ret->fd = net_fd(id, o.str, err);
        ok = ret->fd >= 0;
    } else if (ok) {
        *ret = (SockAddr){ .kind = k ? SOCK_ADDR_INET : SOCK_ADDR_UNIX,
            .path = g_steal_pointer(&o.path),
            .abstract_ = o.abstract_,
            .host = g_steal_pointer(&o.host),
            .port = g_steal_pointer(&o.port),
            .ipv4 = o.ipv4,
            .ipv6 = o.ipv6,
            .has_ipv4 = json_get(j, "ipv4") != NULL,
            .has_ipv6 = json_get(j, "ipv6") != NULL,
            .to = o.to,
            .fd = -1 };
    }
    prop_release(kinds[k].props, &o);
    return ok;
}

int net_fd(const char *id, const char *text, GError **err)
{
    g_autoptr(GError) why = NULL;
    uint64_t n;
    int fd = fd_from_text(text, &why);

    if (fd < 0 && id && parse_uint(text, INT32_MAX, &n)) {
        /* QEMU compat: its words for a number that is no descriptor. */
        err_set(err, "%s: Can't use file descriptor %s: Bad file descriptor", id, text);
    } else if (fd < 0) {
        err_set(err, "%s", why->message);
    }
    return fd;
}

bool net_inet4(const char *host, const char *port, struct sockaddr_in *ret, GError **err)
{
    uint64_t n;

    *ret = (struct sockaddr_in){ .sin_family = AF_INET };
    if (host && *host && inet_pton(AF_INET, host, &ret->sin_addr) != 1) {
        struct addrinfo hints = { .ai_family = AF_INET }, *res = NULL;

        if (g_ascii_isdigit(*host)) {
            return err_set(err, "host address '%s' is not a valid IPv4 address", host);
        }
        if (getaddrinfo(host, NULL, &hints, &res) != 0) {
            return err_set(err, "can't resolve host address '%s'", host);
        }
        ret->sin_addr = ((const struct sockaddr_in *)(const void *)res->ai_addr)->sin_addr;
        freeaddrinfo(res);
    }
    if (!port || !parse_uint(port, 65535, &n)) {
        return err_set(err, "port number '%s' is invalid", port ? port : "");
    }
    ret->sin_port = htons((uint16_t)n);
    return true;
}

bool net_hostport(const char *text, struct sockaddr_in *ret, GError **err)
{
    const char *colon = strchr(text, ':');

    if (!colon) {
        return err_set(
            err, "host address '%s' doesn't contain ':' separating host from port", text);
    }
    g_autofree char *host = g_strndup(text, (gsize)(colon - text));

    return net_inet4(host, colon + 1, ret, err);
}

char *net_hostport_text(const struct sockaddr_in *a)
{
    char host[INET_ADDRSTRLEN];

    return g_strdup_printf(
        "%s:%u", inet_ntop(AF_INET, &a->sin_addr, host, sizeof host), ntohs(a->sin_port));
}

Json *net_peer_describe(const SockAddr *a, int fd, bool server, char **ret_info)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
    Json *j = json_object();

    if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0 &&
        (ss.ss_family == AF_INET || ss.ss_family == AF_INET6) &&
        getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
            NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        json_set(j, "port", json_str(port));
        json_set(j, ss.ss_family == AF_INET ? "ipv4" : "ipv6", json_bool(true));
        json_set(j, "host", json_str(host));
        json_set(j, "type", json_str("inet"));
        *ret_info = g_strdup_printf("tcp:%s:%s", host, port);
        return j;
    }
    struct sockaddr_un un = { 0 };

    len = sizeof un;
    /* A client of a unix server has no name of its own: the server's says where it is. */
    if (!a->path && (server ? getsockname : getpeername)(fd, (struct sockaddr *)&un, &len) != 0) {
        un = (struct sockaddr_un){ 0 };
    }
    const char *path = a->path ? a->path : un.sun_path;

    json_set(j, "path", json_str(path));
    json_set(j, "type", json_str("unix"));
    *ret_info = g_strdup_printf("unix:%s", path);
    return j;
}

/* ---- connecting ---- */

struct NetDial {
    SockAddr addr;
    NetDialFn *done; /* NULL: nobody waits any more. Main loop. */
    void *opaque;
    int fd;
    GError *err;
};

static void dial_done(void *opaque)
{
    NetDial *d = opaque;

    if (d->done) {
        d->done(d->opaque, d->fd, d->err);
    } else if (d->fd >= 0) {
        close(d->fd);
    }
    g_clear_error(&d->err);
    sock_addr_clear(&d->addr);
    g_free(d);
}

static void *dial_thread(void *opaque)
{
    NetDial *d = opaque;

    d->fd = sock_connect(&d->addr, &d->err);
    loop_post(loop_main(), dial_done, d);
    return NULL;
}

NetDial *net_dial(const SockAddr *a, NetDialFn *done, void *opaque)
{
    NetDial *d = g_new0(NetDial, 1);

    d->addr = *a;
    d->addr.path = g_strdup(a->path);
    d->addr.host = g_strdup(a->host);
    d->addr.port = g_strdup(a->port);
    d->done = done;
    d->opaque = opaque;
    g_thread_unref(g_thread_new("dial", dial_thread, d));
    return d;
}

void net_dial_cancel(NetDial *d)
{
    if (d) {
        d->done = NULL;
    }
}
