/* -netdev user: the user-mode TCP/IP stack of libslirp behind a network port. Tested by test-slirp.
 */
#include "net-internal.h"
#include "slirp-frag.h"
#include "slirp-fwd.h"
#include "util/fd.h"
#include "util/keyval.h"
#include "util/log.h"
#include "util/timer.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>

enum { USER_QUEUE_MAX = 512, USER_FDS_MAX = 4096, FRAME_MAX = 65536 + 64 };

typedef struct UserOpts {
    char *hostname, *net, *host, *dhcpstart, *dns, *ipv6_net, *ipv6_host, *ipv6_dns, *tftp,
        *bootfile, *smb, *smbserver, *domainname, *tftp_server_name, *ipv6_prefix;
    bool ipv4, ipv6, restrict_;
    char **hostfwd, **guestfwd, **dnssearch;
    int64_t ipv6_prefixlen;
} UserOpts;
#define USER_LIST(n, f, h)                                                                         \
    {                                                                                              \
        .name = (n), .type = &prop_str_list, .offset = PROP_AT(UserOpts, f, char **), .bit = -1,   \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
static const PropSpec user_props[] = {
    PROP_STR("hostname", UserOpts, hostname, "client name DHCP reports"),
    PROP_BOOL("ipv4", UserOpts, ipv4, true, "IPv4"),
    PROP_BOOL("ipv6", UserOpts, ipv6, true, "IPv6"),
    PROP_BOOL("restrict", UserOpts, restrict_, false, "isolate the guest from the host"),
    PROP_STR("net", UserOpts, net, "network, default 10.0.2.0/24"),
    PROP_STR("host", UserOpts, host, "the host's address, default .2"),
    PROP_STR("dhcpstart", UserOpts, dhcpstart, "first DHCP address, default .15"),
    PROP_STR("dns", UserOpts, dns, "name server's address, default .3"),
    USER_LIST("dnssearch", dnssearch, "search domains"),
    PROP_STR("domainname", UserOpts, domainname, "domain DHCP reports"),
    PROP_STR("ipv6-net", UserOpts, ipv6_net, "IPv6 prefix/length"),
    PROP_STR("ipv6-prefix", UserOpts, ipv6_prefix, "IPv6 prefix"),
    { .name = "ipv6-prefixlen",
        .type = &prop_i64,
        .offset = PROP_AT(UserOpts, ipv6_prefixlen, int64_t),
        .bit = -1,
        .def.i = 64,
        .help = "IPv6 prefix length" },
    PROP_STR("ipv6-host", UserOpts, ipv6_host, "the host's IPv6 address"),
    PROP_STR("ipv6-dns", UserOpts, ipv6_dns, "name server's IPv6 address"),
    PROP_STR("tftp", UserOpts, tftp, "folder served by TFTP"),
    PROP_STR("bootfile", UserOpts, bootfile, "boot file DHCP reports"),
    PROP_STR("tftp-server-name", UserOpts, tftp_server_name, "TFTP server DHCP reports"),
    PROP_STR("smb", UserOpts, smb, "refused: no SMB server"),
    PROP_STR("smbserver", UserOpts, smbserver, "refused: no SMB server"),
    USER_LIST("hostfwd", hostfwd, "[tcp|udp]:[host]:port-[guest]:port"),
    USER_LIST("guestfwd", guestfwd, "tcp:server:port-dev, or …-cmd:command"),
    PROP_END,
};

typedef struct UserFd {
    struct UserNet *u;
    LoopFd *w;
    int fd;
    uint32_t wanted, got; /* EPOLL* asked for this turn; seen */
    int slirp_events;
} UserFd;

typedef struct UserNet {
    NetPort p;
    Slirp *slirp;
    LoopHook hook;
    GHashTable *fds; /* int → UserFd */
    GuestFwd *guests;
    guint log; /* g_log_set_handler()'s */
    FragPool *fragments;
    UserFd *turn[USER_FDS_MAX]; /* this turn's, by index given to libslirp */
    unsigned nturn;
    GQueue queue; /* GBytes for a guest that takes nothing now; libslirp is not polled while it is
                     long */
    uint8_t frame[FRAME_MAX]; /* a frame from the guest that came in pieces */
} UserNet;

/* ---- towards the guest ---- */

static ssize_t user_send_packet(const void *buf, size_t len, void *opaque)
{
    UserNet *u = opaque;
    struct iovec v = { (void *)(uintptr_t)buf, len };

    if (!u->queue.length && net_send(&u->p, &v, 1, len) != NET_QUEUED) {
        return (ssize_t)len;
    }
    if (u->queue.length < USER_QUEUE_MAX) {
        g_queue_push_tail(&u->queue, g_bytes_new(buf, len));
    }
    return (ssize_t)len; /* TCP sends again what was dropped here */
}

static void user_writable(NetPort *p)
{
    UserNet *u = (UserNet *)p;

    while (u->queue.length) {
        GBytes *b = g_queue_peek_head(&u->queue);
        gsize len;
        const void *data = g_bytes_get_data(b, &len);
        struct iovec v = { (void *)(uintptr_t)data, len };
        if (net_send(p, &v, 1, len) == NET_QUEUED) {
            return;
        }
        g_queue_pop_head(&u->queue);
        g_bytes_unref(b);
    }
}

/* ---- from the guest ---- */

static NetVerdict user_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    UserNet *u = (UserNet *)p;

    const uint8_t *frame = iov[0].iov_base;

    if (len > FRAME_MAX) {
        return NET_DROPPED;
    }
    if (n > 1) {
        size_t at = 0;
        for (unsigned i = 0; i < n && at < len; i++) {
            size_t k = MIN(iov[i].iov_len, len - at);
            memcpy(u->frame + at, iov[i].iov_base, k);
            at += k;
        }
        frame = u->frame;
        len = at;
    }
    frame = frag_take(u->fragments, frame, &len, clock_ns(CLOCK_KIND_VIRTUAL));
    if (frame && fwd_takes(u->guests, frame, len)) {
        slirp_input(u->slirp, frame, (int)len);
    }
    return NET_SENT;
}

/* ---- polling ---- */

static void user_fd_event(void *opaque, uint32_t events)
{
    ((UserFd *)opaque)->got |= events;
}

static UserFd *user_fd(UserNet *u, int fd)
{
    UserFd *f = g_hash_table_lookup(u->fds, GINT_TO_POINTER(fd));

    if (!f) {
        f = g_new0(UserFd, 1);
        f->u = u;
        f->fd = fd;
        f->w = loop_fd_add(loop_main(), fd, 0, user_fd_event, f);
        g_hash_table_insert(u->fds, GINT_TO_POINTER(fd), f);
    }
    return f;
}

static void user_fd_free(void *p)
{
    UserFd *f = p;

    loop_fd_del(f->w);
    g_free(f);
}

static void user_unregister_fd(int fd, void *opaque)
{
    UserNet *u = opaque;
    UserFd *f = g_hash_table_lookup(u->fds, GINT_TO_POINTER(fd));

    for (unsigned i = 0; f && i < u->nturn; i++) {
        if (u->turn[i] == f) {
            u->turn[i] = NULL;
        }
    }
    g_hash_table_remove(u->fds, GINT_TO_POINTER(fd));
}

static void user_register_fd(G_GNUC_UNUSED int fd, G_GNUC_UNUSED void *opaque) {}

static int user_add_poll(int fd, int events, void *opaque)
{
    UserNet *u = opaque;

    if (u->nturn >= USER_FDS_MAX) {
        return -1;
    }
    UserFd *f = user_fd(u, fd);
    f->wanted = (events & SLIRP_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                (events & SLIRP_POLL_OUT ? (uint32_t)EPOLLOUT : 0) |
                (events & SLIRP_POLL_PRI ? (uint32_t)EPOLLPRI : 0);
    u->turn[u->nturn] = f;
    return (int)u->nturn++;
}

static int user_get_revents(int idx, void *opaque)
{
    UserNet *u = opaque;
    const UserFd *f = idx >= 0 && (unsigned)idx < u->nturn ? u->turn[idx] : NULL;

    if (!f) {
        return 0;
    }
    return (f->got & EPOLLIN ? SLIRP_POLL_IN : 0) | (f->got & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
           (f->got & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (f->got & EPOLLERR ? SLIRP_POLL_ERR : 0) |
           (f->got & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void user_watch(G_GNUC_UNUSED gpointer key, gpointer val, G_GNUC_UNUSED gpointer data)
{
    UserFd *f = val;

    loop_fd_set(f->w, f->wanted);
}

static void user_clear(G_GNUC_UNUSED gpointer key, gpointer val, G_GNUC_UNUSED gpointer data)
{
    UserFd *f = val;

    f->wanted = f->got = 0;
}

static void user_prepare(void *opaque, int64_t *timeout_ns)
{
    UserNet *u = opaque;
    uint32_t ms = UINT32_MAX;

    u->nturn = 0;
    g_hash_table_foreach(u->fds, user_clear, NULL);
    if (u->queue.length < USER_QUEUE_MAX / 2) {
        slirp_pollfds_fill(u->slirp, &ms, user_add_poll, u);
    }
    g_hash_table_foreach(u->fds, user_watch, NULL);
    if (ms != UINT32_MAX && (*timeout_ns < 0 || *timeout_ns > (int64_t)ms * 1000000)) {
        *timeout_ns = (int64_t)ms * 1000000;
    }
}

static void user_dispatch(void *opaque)
{
    UserNet *u = opaque;

    slirp_pollfds_poll(u->slirp, 0, user_get_revents, u);
    u->nturn = 0;
    fwd_poll_guests(u->guests);
}

/* ---- libslirp's other calls ---- */

static void user_guest_error(const char *msg, G_GNUC_UNUSED void *opaque)
{
    log_guest_error("user network: %s", msg);
}

static int64_t user_clock(G_GNUC_UNUSED void *opaque)
{
    return clock_ns(CLOCK_KIND_VIRTUAL);
}

typedef struct UserTimer {
    Timer t;
    UserNet *u;
    SlirpTimerId id;
    void *opaque;
} UserTimer;

static void user_timer_fired(void *opaque)
{
    UserTimer *t = opaque;

    slirp_handle_timer(t->u->slirp, t->id, t->opaque);
}

static void *user_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    UserTimer *t = g_new0(UserTimer, 1);

    *t = (UserTimer){ .u = opaque, .id = id, .opaque = cb_opaque };
    timer_init(&t->t, loop_main(), CLOCK_KIND_VIRTUAL, user_timer_fired, t);
    return t;
}

static void user_timer_free(void *timer, G_GNUC_UNUSED void *opaque)
{
    UserTimer *t = timer;

    timer_del(&t->t);
    g_free(t);
}

static void user_timer_mod(void *timer, int64_t ms, G_GNUC_UNUSED void *opaque)
{
    timer_mod(&((UserTimer *)timer)->t, ms * 1000000);
}

static void user_notify(G_GNUC_UNUSED void *opaque)
{
    /* Everything of libslirp happens in the main loop, which turns anyway. */
}

static const SlirpCb user_cb = {
    .send_packet = user_send_packet,
    .guest_error = user_guest_error,
    .clock_get_ns = user_clock,
    .timer_free = user_timer_free,
    .timer_mod = user_timer_mod,
    .register_poll_fd = user_register_fd,
    .unregister_poll_fd = user_unregister_fd,
    .notify = user_notify,
    .timer_new_opaque = user_timer_new,
};

static const NetPortOps user_ops = { .receive = user_receive, .writable = user_writable };

/* ---- options ---- */

static bool ip4(const char *text, const char *what, struct in_addr *ret, GError **err)
{
    return !text || inet_pton(AF_INET, text, ret) == 1 || err_set(err, "Failed to parse %s", what);
}

static bool ip6(const char *text, const char *what, struct in6_addr *ret, GError **err)
{
    return !text || inet_pton(AF_INET6, text, ret) == 1 || err_set(err, "Failed to parse %s", what);
}

/* "10.0.2.0", "10.0.2.0/24", "10.0.2.0/255.255.255.0"; without a length, the class's (RFC
 * 791, 2.3).
 */
static bool parse_net4(const char *text, uint32_t *ret_net, uint32_t *ret_mask, GError **err)
{
    g_auto(GStrv) part = g_strsplit(text, "/", 2);
    struct in_addr a;
    char *end;

    if (!part[0] || inet_pton(AF_INET, part[0], &a) != 1) {
        return err_set(err, "Failed to parse netmask");
    }
    *ret_net = ntohl(a.s_addr);
    *ret_mask = *ret_net >> 31 == 0 ? 0xff000000 : *ret_net >> 30 == 2 ? 0xfffff000 : 0xffffff00;
    if (!part[1]) {
        return true;
    }
    if (inet_pton(AF_INET, part[1], &a) == 1) {
        *ret_mask = ntohl(a.s_addr);
        return true;
    }
    unsigned long bits = strtoul(part[1], &end, 10);

    if (*end) {
        return err_set(err, "Failed to parse netmask (trailing chars)");
    }
    if (bits < 4 || bits > 32) {
        return err_set(err, "Invalid netmask provided (must be in range 4-32)");
    }
    *ret_mask = bits == 32 ? UINT32_MAX : ~(UINT32_MAX >> bits);
    return true;
}

static bool user_net4(const UserOpts *o, SlirpConfig *c, GError **err)
{
    uint32_t net = 0x0a000200, mask = 0xffffff00;

    if (o->net && !parse_net4(o->net, &net, &mask, err)) {
        return false;
    }
    net &= mask;
    c->vnetwork.s_addr = htonl(net);
    c->vnetmask.s_addr = htonl(mask);
    /* QEMU compat: .2.2, .2.15 and .2.3 of a network that is so wide. */
    c->vhost.s_addr = htonl(net | (0x202 & ~mask));
    c->vdhcp_start.s_addr = htonl(net | (0x20f & ~mask));
    c->vnameserver.s_addr = htonl(net | (0x203 & ~mask));
    if (!ip4(o->host, "host", &c->vhost, err)) {
        return false;
    }
    if ((ntohl(c->vhost.s_addr) & mask) != net) {
        return err_set(err, "Host doesn't belong to network");
    }
    if (!ip4(o->dns, "DNS", &c->vnameserver, err)) {
        return false;
    }
    if (o->restrict_ && (ntohl(c->vnameserver.s_addr) & mask) != net) {
        return err_set(err, "DNS doesn't belong to network");
    }
    if (c->vnameserver.s_addr == c->vhost.s_addr) {
        return err_set(err, "DNS must be different from host");
    }
    if (!ip4(o->dhcpstart, "DHCP start address", &c->vdhcp_start, err)) {
        return false;
    }
    if ((ntohl(c->vdhcp_start.s_addr) & mask) != net) {
        return err_set(err, "DHCP doesn't belong to network");
    }
    return (c->vdhcp_start.s_addr != c->vhost.s_addr &&
               c->vdhcp_start.s_addr != c->vnameserver.s_addr) ||
           err_set(err, "DHCP must be different from host and DNS");
}

static bool in_net6(const SlirpConfig *c, const struct in6_addr *a)
{
    unsigned whole = c->vprefix_len / 8u, bits = c->vprefix_len % 8u;
    const uint8_t *net = c->vprefix_addr6.s6_addr;

    return !memcmp(a->s6_addr, net, whole) &&
           (!bits || !((a->s6_addr[whole] ^ net[whole]) >> (8 - bits)));
}

static bool user_net6(const UserOpts *o, SlirpConfig *c, GError **err)
{
    g_auto(GStrv) part = g_strsplit(o->ipv6_net      ? o->ipv6_net
                                    : o->ipv6_prefix ? o->ipv6_prefix
                                                     : "fec0::",
        "/", 2);
    int64_t len = o->ipv6_prefixlen;

    if (part[0] && part[1] && !parse_int(part[1], &len)) {
        return err_set(err, "parameter 'ipv6-net' expects a number after '/'");
    }
    if (!ip6(part[0] ? part[0] : "", "IPv6 prefix", &c->vprefix_addr6, err)) {
        return false;
    }
    if (len < 0 || len > 126) {
        return err_set(
            err, "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 and 126)");
    }
    c->vprefix_len = (uint8_t)len;
    c->vhost6 = c->vnameserver6 = c->vprefix_addr6;
    c->vhost6.s6_addr[15] |= 2;
    c->vnameserver6.s6_addr[15] |= 3;
    if (!ip6(o->ipv6_host, "IPv6 host", &c->vhost6, err)) {
        return false;
    }
    if (!in_net6(c, &c->vhost6)) {
        return err_set(err, "IPv6 Host doesn't belong to network");
    }
    if (!ip6(o->ipv6_dns, "IPv6 DNS", &c->vnameserver6, err)) {
        return false;
    }
    return !o->restrict_ || in_net6(c, &c->vnameserver6) ||
           err_set(err, "IPv6 DNS doesn't belong to network");
}

static bool user_refused(const UserOpts *o, GError **err)
{
    if (o->smb || o->smbserver) {
        return !err_set(err, "user network: 'smb' is not supported");
    }
    if (!o->ipv4 && (o->net || o->host || o->dns)) {
        return !err_set(err, "IPv4 disabled but netmask/host/dns provided");
    }
    if (!o->ipv6 && (o->ipv6_net || o->ipv6_prefix || o->ipv6_host || o->ipv6_dns)) {
        return !err_set(err, "IPv6 disabled but prefix/host6/dns6 provided");
    }
    if (!o->ipv4 && !o->ipv6) {
        return !err_set(err, "IPv4 and IPv6 disabled");
    }
    if (o->hostname && strlen(o->hostname) > 255) {
        return !err_set(err, "'vhostname' parameter cannot exceed 255 bytes");
    }
    if (o->tftp_server_name && strlen(o->tftp_server_name) > 255) {
        return !err_set(err, "'tftp-server-name' parameter cannot exceed 255 bytes");
    }
    if (o->domainname && strlen(o->domainname) > 255) {
        return !err_set(err, "'domainname' parameter cannot exceed 255 bytes");
    }
    /* The field of a DHCP answer (RFC 951), of which libslirp would complain by asserting. */
    return o->bootfile && strlen(o->bootfile) > 127 &&
           !err_set(err, "'bootfile' parameter cannot exceed 127 bytes");
}

/* What libslirp finds wrong, as our other warnings look. */
static void user_log(G_GNUC_UNUSED const char *domain, G_GNUC_UNUSED GLogLevelFlags level,
    const char *msg, G_GNUC_UNUSED void *opaque)
{
    report_warning("Slirp: %s", msg);
}

static NetPort *user_open(const char *id, void *cfg, GError **err)
{
    const UserOpts *o = cfg;
    SlirpConfig c = { .version = SLIRP_CONFIG_VERSION_MAX,
        .restricted = o->restrict_,
        .in_enabled = o->ipv4,
        .in6_enabled = o->ipv6,
        .vhostname = o->hostname,
        .tftp_server_name = o->tftp_server_name,
        .tftp_path = o->tftp,
        .bootfile = o->bootfile,
        .vdomainname = o->domainname };

    if (user_refused(o, err) || !user_net4(o, &c, err) || !user_net6(o, &c, err)) {
        return NULL;
    }
    c.vdnssearch = (const char **)(void *)o->dnssearch;
    UserNet *u = g_new0(UserNet, 1);
    u->log = g_log_set_handler("Slirp", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_CRITICAL, user_log, NULL);
    u->fds = g_hash_table_new_full(NULL, NULL, NULL, user_fd_free);
    net_port_init(&u->p, &user_ops, "user", id);
    char net[INET_ADDRSTRLEN];
    u->p.info = g_strdup_printf("net=%s,restrict=%s",
        inet_ntop(AF_INET, &c.vnetwork, net, sizeof net), o->restrict_ ? "on" : "off");
    u->fragments = frag_pool_new();
    u->slirp = slirp_new(&c, &user_cb, u);
    u->hook = (LoopHook){ .prepare = user_prepare, .dispatch = user_dispatch, .opaque = u };
    loop_hook_add(loop_main(), &u->hook);
    /* QEMU compat: the last rule comes first, and is not the one that a busy port is told of. */
    for (unsigned i = o->hostfwd ? g_strv_length(o->hostfwd) : 0; i-- > 0;) {
        if (!fwd_add_host(u->slirp, o->hostfwd[i], err)) {
            net_user.close(&u->p);
            return NULL;
        }
    }
    for (unsigned i = 0; o->guestfwd && o->guestfwd[i]; i++) {
        if (!fwd_add_guest(u->slirp, o->guestfwd[i], &u->guests, err)) {
            net_user.close(&u->p);
            return NULL;
        }
    }
    return &u->p;
}

static void user_close(NetPort *p)
{
    UserNet *u = (UserNet *)p;

    loop_hook_del(loop_main(), &u->hook);
    fwd_free_guests(&u->guests);
    slirp_cleanup(u->slirp);
    g_log_remove_handler("Slirp", u->log);
    frag_pool_free(u->fragments);
    g_hash_table_destroy(u->fds);
    net_port_fini(p);
    g_queue_clear_full(&u->queue, (GDestroyNotify)g_bytes_unref);
    g_free(u);
}

/* ---- while it runs ---- */

static void find_user(NetPort *p, void *opaque)
{
    NetPort **ret = opaque;

    *ret = *ret || p->backend != &net_user ? *ret : p;
}

bool net_user_forward(const char *id, const char *rule, bool add, GError **err)
{
    NetPort *p = id ? net_find(id) : NULL;

    if (!id) {
        net_each(find_user, &p);
    }
    if (!p) {
        return id ? err_set(err, "unrecognized netdev id '%s'", id)
                  : err_set(err, "user mode network stack not in use");
    }
    if (p->backend != &net_user) {
        return err_set(err, "invalid device specified");
    }
    Slirp *s = ((UserNet *)p)->slirp;

    return add ? fwd_add_host(s, rule, err) : fwd_del_host(s, rule, err);
}

static void describe_user(NetPort *p, void *opaque)
{
    if (p->backend == &net_user) {
        g_autofree char *text = slirp_connection_info(((UserNet *)p)->slirp);

        g_string_append_printf(opaque, "Hub -1 (%s):\n%s", p->id, text);
    }
}

void net_user_describe(GString *out)
{
    net_each(describe_user, out);
}

const NetBackend net_user = { .type = "user",
    .help = "user-mode network stack",
    .size = sizeof(UserOpts),
    .props = user_props,
    .open = user_open,
    .close = user_close };
