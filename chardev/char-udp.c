/* UDP as a character device: what is written together is a datagram to the one peer, what the peer
 * sends is a stream of bytes. Tested by test-char-udp. */
#include "chardev-internal.h"
#include "util/sock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UDP_MAX = 65507 }; /* a datagram's bytes over IPv4: RFC 768 */

typedef struct CharUdp {
    Chardev c;
    int fd;
    LoopFd *w;
    LoopIdle rest; /* gives the front end more of buf */
    size_t at, len;
    uint8_t buf[UDP_MAX]; /* the datagram that is being read: at of len bytes are taken */
} CharUdp;

typedef struct UdpOpts {
    char *host, *port, *localaddr, *localport;
    OnOffAuto ipv4, ipv6;
} UdpOpts;
static const PropSpec udp_props[] = {
    PROP_STR("host", UdpOpts, host, "the peer; empty: this host"),
    PROP_STR("port", UdpOpts, port, "the peer's port"),
    PROP_STR("localaddr", UdpOpts, localaddr, "own address; empty: any"),
    PROP_STR("localport", UdpOpts, localport, "own port; 0: any"),
    PROP_GIVEN("ipv4", UdpOpts, ipv4, "allow IPv4"),
    PROP_GIVEN("ipv6", UdpOpts, ipv6, "allow IPv6"),
    PROP_END,
};

static void udp_give(CharUdp *u)
{
    size_t n = MIN(chardev_be_room(&u->c), u->len - u->at);

    if (n) {
        u->at += n;
        chardev_be_input(&u->c, u->buf + u->at - n, n);
    }
    chardev_be_update(&u->c);
}

static void udp_rest(void *opaque)
{
    udp_give(opaque);
}

static void udp_event(void *opaque, uint32_t events)
{
    CharUdp *u = opaque;

    if (events & EPOLLOUT) {
        chardev_be_writable(&u->c);
    }
    if (u->at < u->len || !chardev_be_room(&u->c)) {
        return;
    }
    ssize_t n = recv(u->fd, u->buf, sizeof u->buf, 0);
    u->at = 0;
    /* An error is what became of a datagram of ours, ECONNREFUSED say: the peer may come later. */
    u->len = n > 0 ? (size_t)n : 0;
    udp_give(u);
}

static void udp_watch(Chardev *c)
{
    CharUdp *u = (CharUdp *)c;
    bool rest = u->at < u->len;

    if (rest && c->want_read) {
        loop_idle(loop_main(), &u->rest);
    }
    loop_fd_set(u->w, (c->want_read && !rest ? (uint32_t)EPOLLIN : 0) |
                          (c->want_write || (c->out && c->out->len) ? (uint32_t)EPOLLOUT : 0));
}

static ssize_t udp_write(Chardev *c, const void *buf, size_t len)
{
    ssize_t n = send(((CharUdp *)c)->fd, buf, MIN(len, UDP_MAX), MSG_NOSIGNAL);

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1; /* nobody there: the bytes are gone */
    }
    return n;
}

static bool udp_open(Chardev *c, void *opts, GError **err)
{
    CharUdp *u = (CharUdp *)c;
    const UdpOpts *o = opts;
    char any[] = "0";

    if (!o->port || !*o->port) {
        return err_set(err, "chardev: udp: remote port not specified");
    }
    SockAddr remote = { .kind = SOCK_ADDR_INET, .host = o->host, .port = o->port };
    const SockAddr local = { .kind = SOCK_ADDR_INET,
        .host = o->localaddr,
        .port = o->localport && *o->localport ? o->localport : any };

    char_set_families(&remote, o->ipv4, o->ipv6);
    u->fd = sock_udp(&remote, &local, err);
    if (u->fd < 0) {
        return false;
    }
    u->rest = (LoopIdle){ .fn = udp_rest, .opaque = u };
    u->w = loop_fd_add(loop_main(), u->fd, 0, udp_event, u);
    c->connected = true; /* there is no connection that could be missing */
    return true;
}

static void udp_close(Chardev *c)
{
    CharUdp *u = (CharUdp *)c;

    loop_fd_del(u->w);
    loop_idle_cancel(loop_main(), &u->rest);
    close(u->fd);
}

/* "[host]:port[@[localaddr]:localport]"; hosts are names or numbers without colons. */
bool char_udp_from_text(const char *text, Json *args, GError **err)
{
    g_autoptr(GMatchInfo) m = NULL;
    g_autoptr(GRegex) form = g_regex_new("^([^:@]*):([^:@]+)(?:@([^:@]*):([^:@]+))?$", 0, 0, NULL);
    static const char *const key[] = { "host", "port", "localaddr", "localport" };

    if (!g_regex_match(form, text, 0, &m)) {
        return err_set(err, "parse error: udp:%s", text);
    }
    json_set(args, "backend", json_str("udp"));
    for (unsigned i = 0; i < G_N_ELEMENTS(key); i++) {
        g_autofree char *part = g_match_info_fetch(m, (gint)i + 1);
        if (part && *part) {
            json_set(args, key[i], json_text(part));
        }
    }
    return true;
}

const ChardevClass chardev_udp = { .name = "udp",
    .size = sizeof(CharUdp),
    .props = udp_props,
    .opts_size = sizeof(UdpOpts),
    .open = udp_open,
    .close = udp_close,
    .write = udp_write,
    .watch = udp_watch };
