/* Host and guest forwards of -netdev user: the rules' text and what libslirp makes of them. Tested
 * by test-slirp and tests/system/test_net.py. */
#include "slirp-fwd.h"

#include "chardev/chardev.h"
#include "net/csum.h"
#include "util/err.h"
#include "util/keyval.h"

#include <arpa/inet.h>
#include <string.h>

typedef struct Fwd {
    bool udp;
    struct in_addr host, guest;
    uint64_t host_port, guest_port;
} Fwd;

/* Cuts *text at the first sep; *ret_part is what stood before it. */
static bool cut(char **text, char sep, char **ret_part)
{
    char *at = strchr(*text, sep);

    if (!at) {
        return false;
    }
    *at = 0;
    *ret_part = *text;
    *text = at + 1;
    return true;
}

static bool fwd_parse(const char *rule, bool with_guest, Fwd *ret, GError **err)
{
    g_autofree char *copy = g_strdup(rule);
    char *p = copy, *proto, *host, *port, *guest;
    const char *why = "No : separators";

    *ret = (Fwd){ .host.s_addr = INADDR_ANY };
    if (!cut(&p, ':', &proto)) {
        goto bad;
    }
    why = "Bad protocol name";
    ret->udp = !strcmp(proto, "udp");
    if (*proto && !ret->udp && strcmp(proto, "tcp")) {
        goto bad;
    }
    why = "Missing : separator";
    if (!cut(&p, ':', &host)) {
        goto bad;
    }
    why = "Bad host address";
    if (*host && !inet_aton(host, &ret->host)) {
        goto bad;
    }
    if (!with_guest) {
        why = "Bad host port";
        if (!parse_uint(p, 65535, &ret->host_port)) {
            goto bad;
        }
        return true;
    }
    why = "Bad host port separator";
    if (!cut(&p, '-', &port)) {
        goto bad;
    }
    why = "Bad host port";
    if (!parse_uint(port, 65535, &ret->host_port)) {
        goto bad;
    }
    why = "Missing guest address";
    if (!cut(&p, ':', &guest)) {
        goto bad;
    }
    why = "Bad guest address";
    if (*guest && inet_pton(AF_INET, guest, &ret->guest) != 1) {
        goto bad;
    }
    why = "Bad guest port";
    if (!parse_uint(p, 65535, &ret->guest_port) || !ret->guest_port) {
        goto bad;
    }
    return true;
bad:
    return err_set(err, "Invalid host forwarding rule '%s' (%s)", rule, why);
}

bool fwd_add_host(Slirp *s, const char *rule, GError **err)
{
    Fwd f;

    if (!fwd_parse(rule, true, &f, err)) {
        return false;
    }
    if (slirp_add_hostfwd(s, f.udp, f.host, (int)f.host_port, f.guest, (int)f.guest_port) < 0) {
        return err_set(err, "Could not set up host forwarding rule '%s'", rule);
    }
    return true;
}

bool fwd_del_host(Slirp *s, const char *rule, GError **err)
{
    Fwd f;

    if (!fwd_parse(rule, false, &f, NULL)) {
        return err_set(err, "invalid format");
    }
    return slirp_remove_hostfwd(s, f.udp, f.host, (int)f.host_port) == 0 ||
           err_set(err, "host forwarding rule for %s not found", rule);
}

/* ---- guest forwards ---- */

struct GuestFwd {
    GuestFwd *next;
    Slirp *slirp;
    struct in_addr server;
    int port;
    ChardevFe fe;
    bool open;
    char *chardev;       /* ours: goes with the forward */
    GByteArray *pending; /* what the device did not take yet */
    size_t pending_at;   /* how much of it is gone */
};

/* Segments for a forward with that much are lost: TCP sends them again. */
enum { PENDING_MAX = 256 << 10 };

static size_t guest_room(void *opaque)
{
    const GuestFwd *g = opaque;

    return slirp_socket_can_recv(g->slirp, g->server, g->port);
}

static void guest_data(void *opaque, const uint8_t *buf, size_t len)
{
    const GuestFwd *g = opaque;

    slirp_socket_recv(g->slirp, g->server, g->port, buf, (int)len);
}

static void guest_flush(void *opaque)
{
    GuestFwd *g = opaque;
    GByteArray *p = g->pending;

    g->pending_at += chardev_write(&g->fe, p->data + g->pending_at, p->len - g->pending_at);
    if (g->pending_at == p->len) {
        g_byte_array_set_size(p, 0);
        g->pending_at = 0;
    }
}

static void guest_event(void *opaque, ChardevEvent ev)
{
    GuestFwd *g = opaque;

    if (ev == CHARDEV_CLOSED) { /* the rest is for nobody */
        g_byte_array_set_size(g->pending, 0);
        g->pending_at = 0;
    }
}

static const ChardevFeOps guest_ops = {
    .can_receive = guest_room, .receive = guest_data, .event = guest_event, .writable = guest_flush
};

/* libslirp takes no "less than that": what it gives here is acknowledged. */
static ssize_t guest_write(const void *buf, size_t len, void *opaque)
{
    GuestFwd *g = opaque;
    bool idle = !g->pending->len;

    g_byte_array_append(g->pending, buf, (guint)len);
    if (idle) {
        guest_flush(g);
    }
    return (ssize_t)len;
}

bool fwd_takes(const GuestFwd *list, const uint8_t *frame, size_t len)
{
    enum { ETHER = 14, IP_MIN = 20, TCP = 6 };
    const uint8_t *ip = frame + ETHER;
    size_t head = len < ETHER + IP_MIN + 4 ? 0 : (ip[0] & 15u) * 4;

    if (!head || len < ETHER + head + 4 || net_be16(frame + 12) != 0x0800 || ip[9] != TCP) {
        return true;
    }
    for (; list; list = list->next) {
        if (list->pending->len > PENDING_MAX && net_be16(ip + head + 2) == list->port &&
            !memcmp(ip + 16, &list->server, 4)) {
            return false;
        }
    }
    return true;
}

static bool guest_device(GuestFwd *g, const char *text, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *name = g_strdup_printf("guestfwd.tcp.%d", g->port);
    Chardev *c = chardev_from_text(name, text, &why);

    if (!c) {
        return err_set(err, "Could not open guest forwarding device '%s'%s%s", name,
            why ? ": " : "", why ? why->message : "");
    }
    if (!g_str_has_prefix(text, "chardev:")) {
        g->chardev = g_steal_pointer(&name);
    }
    g->open = chardev_fe_init(&g->fe, c, &guest_ops, g, err);
    return g->open;
}

bool fwd_add_guest(Slirp *s, const char *rule, GuestFwd **list, GError **err)
{
    g_autofree char *copy = g_strdup(rule);
    char *p = copy, *proto, *server, *port;
    uint64_t n;
    GuestFwd *g = g_new0(GuestFwd, 1);

    g->slirp = s;
    g->pending = g_byte_array_new();
    g->next = *list;
    *list = g; /* freed with the others, whatever becomes of it */
    if (!cut(&p, ':', &proto) || (*proto && strcmp(proto, "tcp") != 0) || !cut(&p, ':', &server) ||
        (*server && inet_pton(AF_INET, server, &g->server) != 1) || !cut(&p, '-', &port) ||
        !parse_uint(port, 65535, &n) || !n || !*p) {
        return err_set(err, "Invalid guest forwarding rule '%s'", rule);
    }
    g->port = (int)n;
    bool command = g_str_has_prefix(p, "cmd:");

    if (!command && !guest_device(g, p, err)) {
        return false;
    }
    if ((command ? slirp_add_exec(s, p + 4, &g->server, g->port)
                 : slirp_add_guestfwd(s, guest_write, g, &g->server, g->port)) < 0) {
        return err_set(err, "Conflicting/invalid host:port in guest forwarding rule '%s'", rule);
    }
    return true;
}

void fwd_poll_guests(GuestFwd *list)
{
    for (GuestFwd *g = list; g; g = g->next) {
        if (g->open) {
            chardev_fe_accept(&g->fe);
        }
    }
}

void fwd_free_guests(GuestFwd **list)
{
    for (GuestFwd *g; (g = *list);) {
        *list = g->next;
        if (g->open) {
            chardev_fe_fini(&g->fe);
        }
        if (g->chardev) {
            chardev_remove(g->chardev, NULL);
        }
        g_byte_array_unref(g->pending);
        g_free(g->chardev);
        g_free(g);
    }
}
