/* -netdev tap: a Linux tap interface, with the virtio-net header and offloads of tun(4). */
#include "net-addr.h"
#include "net-internal.h"
#include "tap-host.h"
#include "tap-io.h"
#include "util/fd.h"
#include "util/log.h"

#include <errno.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef TUN_F_UDP_TUNNEL_GSO /* Linux 6.17 */
#define TUN_F_UDP_TUNNEL_GSO      0x080
#define TUN_F_UDP_TUNNEL_GSO_CSUM 0x100
#endif

enum { TAP_BUDGET = 64, TAP_QUEUES_MAX = 256 };
enum { TAP_QUEUES_UNSET = UINT32_MAX };

/* vnet_hdr: a descriptor has it or not, and may not be told so. */
typedef enum VnetHdr { VNET_UNSET, VNET_OFF, VNET_ON } VnetHdr;

static bool vnet_set(void *field, const Json *val, GError **err)
{
    bool on = false, ok = prop_bool.set(&on, val, err);

    *(VnetHdr *)field = on ? VNET_ON : VNET_OFF;
    return ok;
}

static bool vnet_parse(void *field, const char *text, GError **err)
{
    bool on = false, ok = prop_bool.parse(&on, text, err);

    *(VnetHdr *)field = on ? VNET_ON : VNET_OFF;
    return ok;
}

static const PropType prop_vnet = { .name = "bool", .set = vnet_set, .parse = vnet_parse };

typedef struct TapOpts {
    char *fd, *fds, *ifname, *script, *downscript, *br, *helper, *vhostfd, *vhostfds;
    VnetHdr vnet_hdr;
    bool vhost, vhostforce;
    uint64_t sndbuf;
    uint32_t queues, poll_us;
} TapOpts;
static const PropSpec tap_props[] = {
    PROP_STR("fd", TapOpts, fd, "open tap descriptor"),
    PROP_STR("fds", TapOpts, fds, "x:y:z: open descriptors of a tap with queues"),
    PROP_STR("ifname", TapOpts, ifname, "interface name"),
    PROP_STR("script", TapOpts, script, "program that sets it up; no: none"),
    PROP_STR("downscript", TapOpts, downscript, "program that takes it down; no: none"),
    PROP_STR("br", TapOpts, br, "bridge for the helper"),
    PROP_STR("helper", TapOpts, helper, "program that opens a tap on a bridge"),
    { .name = "vnet_hdr",
        .type = &prop_vnet,
        .offset = PROP_AT(TapOpts, vnet_hdr, VnetHdr),
        .bit = -1,
        .flags = PROP_NO_DEFAULT,
        .help = "virtio-net header and offloads; default on" },
    PROP_BOOL("vhost", TapOpts, vhost, false, "refused: no vhost"),
    PROP_STR("vhostfd", TapOpts, vhostfd, "refused: no vhost"),
    PROP_STR("vhostfds", TapOpts, vhostfds, "refused: no vhost"),
    PROP_BOOL("vhostforce", TapOpts, vhostforce, false, "refused: no vhost"),
    PROP_SIZE("sndbuf", TapOpts, sndbuf, 0, "send buffer limit; 0: none"),
    PROP_U32("queues", TapOpts, queues, TAP_QUEUES_UNSET, "queue pairs; 4294967295: one"),
    PROP_U32("poll-us", TapOpts, poll_us, 0, "accepted, for vhost only"),
    PROP_END,
};

typedef struct Tap {
    NetPort p;
    TapIo io;
    int fd;
    LoopFd *w;
    LoopIdle flush;           /* sends what a turn of the loop has gathered */
    bool stalled, want_write; /* the NIC takes nothing; the kernel's queue is full */
    bool enabled;
    bool gone, told_gone; /* the interface; of queue 0: the user knows */
    unsigned can;         /* TUN_F_* of the host */
    uint32_t kernel_hdr;  /* bytes of header the kernel puts there, whatever the cable has */
    char *downscript, ifname[IFNAMSIZ];
} Tap;

static const NetPortOps tap_ops;

/* A queue that is off, or whose interface is gone, is in error all the time: nobody looks. */
static void tap_watch(Tap *t)
{
    uint32_t in = t->stalled ? 0 : EPOLLIN, out = t->want_write ? EPOLLOUT : 0;

    if (t->w) {
        loop_fd_set(t->w, t->enabled && !t->gone ? in | out : 0);
    }
}

/* The descriptor answers nothing else any more (tun(4)). */
static bool fd_is_gone(int fd)
{
    struct ifreq r = { 0 };

    return ioctl(fd, TUNGETIFF, &r) < 0 && errno == EBADFD;
}

/* In the main loop: says it once for all queues, and takes the carrier from the card. */
static void posted_gone(void *opaque)
{
    g_autofree char *id = opaque;
    Tap *first = (Tap *)net_find(id);

    /* The name may be another one's by now. */
    if (first && first->p.ops == &tap_ops && !first->told_gone && fd_is_gone(first->fd)) {
        first->told_gone = true;
        report_error("netdev '%s': interface '%s' is gone", id, first->ifname);
        net_set_link(id, false, NULL);
    }
}

/* Was the interface deleted? A queue that is off looks the same. */
static bool tap_is_gone(Tap *t)
{
    if (!t->gone && t->enabled && fd_is_gone(t->fd)) {
        t->gone = true;
        t->want_write = false;
        tap_io_forget(&t->io);
        tap_watch(t);
        loop_post(loop_main(), posted_gone, g_strdup(t->p.id));
        net_ready(&t->p); /* who waits for it goes on, and loses its packets */
    }
    return t->gone;
}

/* Passes on what was read, until the NIC takes no more; returns how many. */
static unsigned tap_deliver(Tap *t)
{
    const struct iovec *packet;
    unsigned n = 0;

    for (; (packet = tap_io_first(&t->io)); n++) {
        size_t skip = t->p.vnet_hdr_len ? 0 : MIN(t->kernel_hdr, packet->iov_len);
        struct iovec v = { (uint8_t *)packet->iov_base + skip, packet->iov_len - skip };

        if (net_send(&t->p, &v, 1, v.iov_len) == NET_QUEUED) {
            t->stalled = true;
            break;
        }
        tap_io_next(&t->io);
    }
    return n;
}

/* False: the rest waits until the kernel has room. */
static bool tap_flush(Tap *t)
{
    bool sent = !t->want_write && tap_io_flush(&t->io);

    if (!sent && !t->want_write) {
        t->want_write = true;
        tap_watch(t);
    }
    return sent;
}

static void tap_flush_idle(void *opaque)
{
    tap_flush(opaque);
}

static void tap_event(void *opaque, uint32_t events)
{
    Tap *t = opaque;
    unsigned n = 0;
    bool more = true;

    if (events & (EPOLLERR | EPOLLHUP) && tap_is_gone(t)) {
        return;
    }
    if (events & EPOLLOUT) {
        t->want_write = false;
        if (tap_flush(t)) {
            net_ready(&t->p);
        }
    }
    while (more && !t->stalled && n < TAP_BUDGET) {
        more = tap_io_fill(&t->io);
        n += tap_deliver(t);
    }
    tap_watch(t);
}

static void tap_writable(NetPort *p)
{
    Tap *t = (Tap *)p;

    t->stalled = false;
    tap_deliver(t);
    tap_watch(t);
}

/* One that is not gathered. */
static NetVerdict tap_write(Tap *t, size_t head, const struct iovec *iov, unsigned n, size_t len)
{
    g_autofree uint8_t *whole = NULL;
    struct iovec two[2];
    uint8_t none[32] = { 0 };
    ssize_t done;

    /* A sender without a header on a tap with one; or more pieces than a system call takes. */
    if (head || n > IOV_MAX) {
        two[0] = (struct iovec){ none, head };
        two[1] = n == 1 ? *iov : (struct iovec){ whole = g_malloc(MAX(len, 1)), 0 };
        two[1].iov_len = n == 1 ? iov->iov_len : net_flatten(iov, n, whole, len);
        iov = two;
        n = 2;
    }
    do {
        done = writev(t->fd, iov, (int)n);
    } while (done < 0 && errno == EINTR);
    if (done < 0 && errno == EAGAIN) {
        t->want_write = true;
        tap_watch(t);
        return NET_QUEUED;
    }
    return done < 0 ? NET_DROPPED
                    : NET_SENT; /* an interface that is down refuses; so does a wire */
}

static NetVerdict tap_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Tap *t = (Tap *)p;
    size_t head = t->kernel_hdr && !p->vnet_hdr_len ? t->kernel_hdr : 0;

    if (t->gone) {
        return NET_DROPPED;
    }
    if (t->want_write) {
        return NET_QUEUED;
    }
    if (!tap_io_gather(&t->io, head, iov, n, len)) {
        return tap_flush(t) ? tap_write(t, head, iov, n, len) : NET_QUEUED;
    }
    if (!tap_io_room(&t->io)) {
        tap_flush(t); /* what does not go now is kept, this one too */
    } else {
        loop_idle(p->loop, &t->flush);
    }
    return NET_SENT;
}

/* Its descriptor comes to a loop, and leaves it again: each in that loop. */
static void tap_enter(void *opaque)
{
    Tap *t = opaque;

    t->w = loop_fd_add(t->p.loop, t->fd, 0, tap_event, t);
    tap_watch(t);
}

static void tap_leave(void *opaque)
{
    Tap *t = opaque;

    tap_flush(t); /* what the kernel does not take now waits for EPOLLOUT */
    loop_idle_cancel(t->p.loop, &t->flush);
    loop_fd_del(t->w);
    t->w = NULL;
}

static void tap_move(NetPort *p, Loop *loop)
{
    loop_call(p->loop, tap_leave, p);
    p->loop = loop;
    loop_call(loop, tap_enter, p);
}

static void tap_close(NetPort *p);
static const NetPortOps tap_ops = { .receive = tap_receive, .writable = tap_writable };

/* ---- options ---- */

/* QEMU compat: which options exclude each other, in its order and words. */
static const char *tap_excluded(const TapOpts *o)
{
    bool queues = o->queues != TAP_QUEUES_UNSET;
    bool made = o->ifname || o->script || o->downscript || o->vnet_hdr || queues;

    if (o->fd && (made || o->helper || o->fds || o->vhostfds)) {
        return "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and "
               "vhostfds= are invalid with fd=";
    }
    if (!o->fd && o->fds && (made || o->helper || o->vhostfd)) {
        return "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, and "
               "vhostfd= are invalid with fds=";
    }
    if (!o->fd && !o->fds && o->helper && (made || o->vhostfds)) {
        return "ifname=, script=, downscript=, vnet_hdr=, queues=, and vhostfds= are "
               "invalid with helper=";
    }
    return !o->fds && o->vhostfds ? "vhostfds= is invalid if fds= wasn't specified" : NULL;
}

static bool tap_refused(const TapOpts *o, GError **err)
{
    const char *excluded = tap_excluded(o);

    if (excluded) {
        return !err_set(err, "%s", excluded);
    }
    if (o->vhost || o->vhostforce || o->vhostfd || o->vhostfds) {
        return !err_set(err, "tap: 'vhost' is not supported");
    }
    if (!o->queues) {
        return !err_set(err, "queues=0: a tap has at least one");
    }
    return o->queues != TAP_QUEUES_UNSET && o->queues > TAP_QUEUES_MAX &&
           !err_set(err, "queues=%u: a tap has at most %d", o->queues, TAP_QUEUES_MAX);
}

/* Checks a descriptor and makes a queue of it, which owns it. */
static Tap *tap_queue_new(const char *id, const char *type, int fd, uint64_t sndbuf, GError **err)
{
    struct ifreq r = { 0 };
    autofd mine = fd;

    if (ioctl(fd, TUNGETIFF, &r) < 0) {
        err_set_errno(err, "Unable to query TUNGETIFF on FD %d", fd);
        return NULL;
    }
    if (!(r.ifr_flags & IFF_TAP) || !(r.ifr_flags & IFF_NO_PI)) {
        err_set(err, "descriptor %d is no tap interface without packet information", fd);
        return NULL;
    }
    int limit = sndbuf && sndbuf < INT_MAX ? (int)sndbuf : INT_MAX;

    if (ioctl(fd, TUNSETSNDBUF, &limit) < 0 && sndbuf) {
        err_set_errno(err, "TUNSETSNDBUF ioctl failed");
        return NULL;
    }
    fd_set_nonblock(fd, true);
    Tap *t = g_new0(Tap, 1);

    net_port_init(&t->p, &tap_ops, type, id);
    g_strlcpy(t->ifname, r.ifr_name, sizeof t->ifname);
    t->enabled = true;
    if (r.ifr_flags & IFF_VNET_HDR) {
        int len = 10;

        if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0) {
            err_set_errno(err, "TUNSETVNETHDRSZ ioctl() failed");
            net_port_fini(&t->p);
            g_free(t);
            return NULL;
        }
        t->p.vnet_hdr_len = t->kernel_hdr = (uint32_t)len;
        t->can = tap_probe(fd, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO |
                                   TUN_F_USO4 | TUN_F_USO6 | TUN_F_UDP_TUNNEL_GSO |
                                   TUN_F_UDP_TUNNEL_GSO_CSUM);
    }
    t->fd = fd_steal(&mine);
    t->flush = (LoopIdle){ .fn = tap_flush_idle, .opaque = t };
    tap_io_init(&t->io, t->fd, limit != INT_MAX);
    tap_enter(t);
    return t;
}

static bool tap_add_queue(Tap *t, unsigned i, int fd, uint64_t sndbuf, GError **err)
{
    Tap *q = tap_queue_new(t->p.id, t->p.type, fd, sndbuf, err);

    if (!q) {
        return false;
    }
    if ((q->p.vnet_hdr_len != 0) != (t->p.vnet_hdr_len != 0)) {
        tap_close(&q->p);
        return err_set(err, "vnet_hdr differs between the descriptors");
    }
    q->p.index = i;
    t->p.queue[i - 1] = &q->p;
    t->p.nqueues = i + 1;
    net_set_info(&q->p, "%s", t->p.info);
    return true;
}

static NetPort *tap_open_fds(const char *id, const TapOpts *o, GError **err)
{
    g_auto(GStrv) name = g_strsplit(o->fds, ":", -1);
    unsigned n = g_strv_length(name);
    Tap *t = NULL;

    if (!n || n > TAP_QUEUES_MAX) {
        err_set(err, "fds=: a tap has 1 to %d queues", TAP_QUEUES_MAX);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++) {
        int fd = net_fd(id, name[i], err);

        if (fd < 0 || (t && !tap_add_queue(t, i, fd, o->sndbuf, err)) ||
            (!t && !(t = tap_queue_new(id, "tap", fd, o->sndbuf, err)))) {
            break;
        }
        if (!i) {
            net_set_info(&t->p, "fd=%d", fd);
            t->p.queue = g_new0(NetPort *, n);
        }
        if (i + 1 == n) {
            return &t->p;
        }
    }
    if (t) {
        tap_close(&t->p);
    }
    return NULL;
}

static NetPort *tap_open_new(const char *id, const TapOpts *o, GError **err)
{
    unsigned n = o->queues == TAP_QUEUES_UNSET ? 1 : o->queues;
    const char *script = o->script ? o->script : "/etc/qemu-ifup";
    const char *down = o->downscript ? o->downscript : "/etc/qemu-ifdown";
    char ifname[IFNAMSIZ] = "";
    int fd = tap_create(o->ifname, o->vnet_hdr != VNET_OFF, n > 1, ifname, err);
    Tap *t = NULL;

    if (fd < 0) {
        return NULL;
    }
    if (!tap_script(script, ifname, err)) {
        close(fd);
        return NULL;
    }
    t = tap_queue_new(id, "tap", fd, o->sndbuf, err);
    if (!t) {
        return NULL;
    }
    net_set_info(&t->p, "ifname=%s,script=%s,downscript=%s", ifname, script, down);
    t->downscript = g_strdup(down);
    t->p.queue = g_new0(NetPort *, n);
    for (unsigned i = 1; i < n; i++) {
        fd = tap_create(ifname, o->vnet_hdr != VNET_OFF, true, ifname, err);
        if (fd < 0 || !tap_add_queue(t, i, fd, o->sndbuf, err)) {
            tap_close(&t->p);
            return NULL;
        }
    }
    return &t->p;
}

static NetPort *tap_open_helper(const char *id, const char *type, const char *helper,
    const char *bridge, uint64_t sndbuf, GError **err)
{
    int fd = tap_from_helper(helper, bridge, err);
    Tap *t = fd < 0 ? NULL : tap_queue_new(id, type, fd, sndbuf, err);

    if (t && strcmp(type, "bridge") != 0) {
        net_set_info(&t->p, "helper=%s", helper);
    } else if (t) {
        net_set_info(&t->p, "helper=%s,br=%s", helper, bridge);
    }
    return t ? &t->p : NULL;
}

static NetPort *tap_open(const char *id, void *cfg, GError **err)
{
    const TapOpts *o = cfg;

    if (tap_refused(o, err)) {
        return NULL;
    }
    if (o->fds) {
        return tap_open_fds(id, o, err);
    }
    if (o->helper) {
        return tap_open_helper(id, "tap", o->helper, o->br ? o->br : "br0", o->sndbuf, err);
    }
    if (!o->fd) {
        return tap_open_new(id, o, err);
    }
    int fd = net_fd(id, o->fd, err);
    Tap *t = fd < 0 ? NULL : tap_queue_new(id, "tap", fd, o->sndbuf, err);

    if (t) {
        net_set_info(&t->p, "fd=%d", fd);
    }
    return t ? &t->p : NULL;
}

static void tap_close(NetPort *p)
{
    Tap *t = (Tap *)p;

    for (unsigned i = net_queues(p); i-- > 1;) {
        tap_close(net_queue(p, i));
    }
    p->nqueues = 0;
    loop_call(p->loop, tap_leave, t); /* what the kernel does not take now is lost with the cable */
    net_port_fini(p);
    tap_io_fini(&t->io);
    if (t->downscript) {
        tap_script(t->downscript, t->ifname, NULL);
    }
    close(t->fd);
    g_free(p->queue);
    g_free(t->downscript);
    g_free(t);
}

static uint64_t tap_offloads(NetPort *p)
{
    static const struct {
        unsigned host;
        uint64_t offload;
    } map[] = { { TUN_F_CSUM, NET_OFFLOAD_CSUM }, { TUN_F_TSO4, NET_OFFLOAD_TSO4 },
        { TUN_F_TSO6, NET_OFFLOAD_TSO6 }, { TUN_F_TSO_ECN, NET_OFFLOAD_ECN },
        { TUN_F_UFO, NET_OFFLOAD_UFO }, { TUN_F_USO4, NET_OFFLOAD_USO4 },
        { TUN_F_USO6, NET_OFFLOAD_USO6 }, { TUN_F_UDP_TUNNEL_GSO, NET_OFFLOAD_TUNNEL },
        { TUN_F_UDP_TUNNEL_GSO_CSUM, NET_OFFLOAD_TUNNEL_CSUM } };
    uint64_t all = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(map); i++) {
        all |= p->vnet_hdr_len && ((const Tap *)p)->can & map[i].host ? map[i].offload : 0;
    }
    return all;
}

static bool tap_set_offload(NetPort *p, uint64_t offloads, uint32_t hdr_len)
{
    Tap *t = (Tap *)p;
    unsigned flags = 0;
    int len = (int)hdr_len;

    if (offloads & NET_OFFLOAD_CSUM) {
        flags = TUN_F_CSUM | (offloads & NET_OFFLOAD_TSO4 ? TUN_F_TSO4 : 0) |
                (offloads & NET_OFFLOAD_TSO6 ? TUN_F_TSO6 : 0);
        flags |=
            flags & (TUN_F_TSO4 | TUN_F_TSO6) && offloads & NET_OFFLOAD_ECN ? TUN_F_TSO_ECN : 0;
        flags |= offloads & NET_OFFLOAD_UFO ? TUN_F_UFO : 0;
        /* tun(4) takes both or none. */
        flags |= offloads & NET_OFFLOAD_USO4 && offloads & NET_OFFLOAD_USO6
                     ? TUN_F_USO4 | TUN_F_USO6
                     : 0;
        flags |= offloads & NET_OFFLOAD_TUNNEL ? TUN_F_UDP_TUNNEL_GSO : 0;
        flags |= offloads & NET_OFFLOAD_TUNNEL && offloads & NET_OFFLOAD_TUNNEL_CSUM
                     ? TUN_F_UDP_TUNNEL_GSO_CSUM
                     : 0;
    }
    if (!t->kernel_hdr) {
        return !offloads && !hdr_len;
    }
    if ((uint32_t)len != p->vnet_hdr_len) {
        /* Packets on the way have the old header: those out go now or never, those in are lost. */
        tap_io_flush(&t->io);
        tap_io_forget(&t->io);
    }
    if (len && ioctl(t->fd, TUNSETVNETHDRSZ, &len) < 0) {
        return false;
    }
    t->kernel_hdr = len ? (uint32_t)len : t->kernel_hdr;
    p->vnet_hdr_len = hdr_len;
    return ioctl(t->fd, TUNSETOFFLOAD, flags & t->can) == 0;
}

/* A queue that no driver serves gets no packets: the kernel spreads them over the others. */
static bool tap_enable(NetPort *p, bool on)
{
    Tap *t = (Tap *)p;
    struct ifreq r = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

    if (t->enabled == on) {
        return true;
    }
    tap_io_flush(&t->io); /* a queue that is off sends nothing */
    t->enabled = on;
    if (!on) {
        tap_watch(t);
    }
    bool ok = ioctl(t->fd, TUNSETQUEUE, &r) == 0;

    if (on) {
        tap_watch(t);
    }
    return ok;
}

const NetBackend net_tap = { .type = "tap",
    .help = "tap interface",
    .size = sizeof(TapOpts),
    .props = tap_props,
    .open = tap_open,
    .close = tap_close,
    .offloads = tap_offloads,
    .set_offload = tap_set_offload,
    .enable = tap_enable,
    .move = tap_move };

/* ---- -netdev bridge ---- */

typedef struct BridgeOpts {
    char *br, *helper;
} BridgeOpts;
static const PropSpec bridge_props[] = {
    PROP_STR("br", BridgeOpts, br, "bridge, default br0"),
    PROP_STR("helper", BridgeOpts, helper, "program that opens a tap on it"),
    PROP_END,
};

static NetPort *bridge_open(const char *id, void *cfg, GError **err)
{
    const BridgeOpts *o = cfg;

    return tap_open_helper(
        id, "bridge", o->helper ? o->helper : TAP_HELPER, o->br ? o->br : "br0", 0, err);
}

const NetBackend net_bridge = { .type = "bridge",
    .help = "tap interface on a bridge, opened by a helper",
    .size = sizeof(BridgeOpts),
    .props = bridge_props,
    .open = bridge_open,
    .close = tap_close,
    .offloads = tap_offloads,
    .set_offload = tap_set_offload,
    .move = tap_move };
