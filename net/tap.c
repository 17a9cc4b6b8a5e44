/* -netdev tap: a Linux tap interface, with the virtio-net header and offloads of tun(4). */
#include "net-internal.h"
#include "util/fd.h"
#include "util/giov.h"
#include "util/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

enum { TAP_FRAME_MAX = 65536 + 64 + 20, TAP_BUDGET = 64 };

typedef struct TapOpts {
    char *fd, *fds, *ifname, *script, *downscript, *br, *helper, *vhostfd;
    bool vnet_hdr, vhost, vhostforce;
    uint64_t sndbuf;
    uint32_t queues, poll_us;
} TapOpts;
static const PropSpec tap_props[] = {
    PROP_STR("fd", TapOpts, fd, "open tap descriptor"),
    PROP_STR("fds", TapOpts, fds, "refused: one queue"),
    PROP_STR("ifname", TapOpts, ifname, "interface name"),
    PROP_STR("script", TapOpts, script, "program that sets it up; no: none"),
    PROP_STR("downscript", TapOpts, downscript, "program that takes it down; no: none"),
    PROP_STR("br", TapOpts, br, "bridge for the helper"),
    PROP_STR("helper", TapOpts, helper, "refused: no bridge helper"),
    PROP_BOOL("vnet_hdr", TapOpts, vnet_hdr, true, "virtio-net header and offloads"),
    PROP_BOOL("vhost", TapOpts, vhost, false, "refused: no vhost"),
    PROP_STR("vhostfd", TapOpts, vhostfd, "refused: no vhost"),
    PROP_BOOL("vhostforce", TapOpts, vhostforce, false, "refused: no vhost"),
    PROP_SIZE("sndbuf", TapOpts, sndbuf, 0, "send buffer limit; 0: none"),
    PROP_U32("queues", TapOpts, queues, 1, "refused above 1"),
    PROP_U32("poll-us", TapOpts, poll_us, 0, "accepted, for vhost only"),
    PROP_END,
};

typedef struct Tap {
    NetPort p;
    int fd;
    LoopFd *w;
    bool stalled, want_write; /* the NIC takes nothing; the kernel's queue is full */
    size_t held;              /* a packet read but refused, kept in buf */
    char *downscript, ifname[IFNAMSIZ];
    uint8_t buf[TAP_FRAME_MAX];
} Tap;

static void tap_watch(Tap *t)
{
    loop_fd_set(
        t->w, (t->stalled ? 0 : (uint32_t)EPOLLIN) | (t->want_write ? (uint32_t)EPOLLOUT : 0));
}

static bool tap_give(Tap *t)
{
    struct iovec v = { t->buf, t->held };

    if (net_send(&t->p, &v, 1, t->held) == NET_QUEUED) {
        t->stalled = true;
        return false;
    }
    t->held = 0;
    return true;
}

static void tap_event(void *opaque, uint32_t events)
{
    Tap *t = opaque;

    if (events & EPOLLOUT) {
        t->want_write = false;
        net_ready(&t->p);
    }
    for (unsigned i = 0; i < TAP_BUDGET && !t->stalled; i++) {
        ssize_t n = read(t->fd, t->buf, sizeof t->buf);
        if (n <= 0) {
            break;
        }
        t->held = (size_t)n;
        tap_give(t);
    }
    tap_watch(t);
}

static void tap_writable(NetPort *p)
{
    Tap *t = (Tap *)p;

    t->stalled = false;
    if (t->held) {
        tap_give(t);
    }
    tap_watch(t);
}

static NetVerdict tap_receive(
    NetPort *p, const struct iovec *iov, unsigned n, G_GNUC_UNUSED size_t len)
{
    Tap *t = (Tap *)p;
    g_autofree uint8_t *whole = NULL;
    struct iovec one;
    ssize_t done;

    if (n > IOV_MAX) { /* more pieces than a system call takes: a driver in a bad mood */
        GIov g;
        giov_init(&g, iov, n);
        one = (struct iovec){ whole = g_malloc(MIN(g.left, TAP_FRAME_MAX)),
            MIN(g.left, TAP_FRAME_MAX) };
        if (!giov_get(&g, whole, one.iov_len)) {
            return NET_DROPPED;
        }
        iov = &one;
        n = 1;
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

static const NetPortOps tap_ops = { .receive = tap_receive, .writable = tap_writable };

static bool tap_script(const char *script, const char *ifname, GError **err)
{
    const char *argv[] = { script, ifname, NULL };
    int status = 0;

    if (!g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_CHILD_INHERITS_STDIN, NULL,
            NULL, NULL, NULL, &status, NULL) ||
        !WIFEXITED(status) || WEXITSTATUS(status)) {
        return err_set(err, "network script %s failed with status %d", script,
            WIFEXITED(status) ? WEXITSTATUS(status) : status);
    }
    return true;
}

static bool tap_refused(const TapOpts *o, GError **err)
{
    const char *what = o->fds                                    ? "fds"
                       : o->helper                               ? "helper"
                       : o->br                                   ? "br"
                       : o->vhost || o->vhostforce || o->vhostfd ? "vhost"
                       : o->queues != 1                          ? "queues"
                                                                 : NULL;

    if (what) {
        return !err_set(err, "tap: '%s' is not supported", what);
    }
    return o->fd && (o->ifname || o->script || o->downscript) &&
           !err_set(err, "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and "
                         "vhostfds= are invalid with fd=");
}

static int tap_new_fd(const TapOpts *o, char *ifname, GError **err)
{
    struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    unsigned features = 0;
    autofd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        err_set_errno(err, "could not open /dev/net/tun");
        return -1;
    }
    if (o->vnet_hdr && ioctl(fd, TUNGETFEATURES, &features) == 0 && features & IFF_VNET_HDR) {
        r.ifr_flags |= IFF_VNET_HDR;
    }
    if (o->ifname && strlen(o->ifname) >= IFNAMSIZ) {
        err_set(err, "interface name '%s' is too long", o->ifname);
        return -1;
    }
    g_strlcpy(r.ifr_name, o->ifname ? o->ifname : "tap%d", sizeof r.ifr_name);
    if (ioctl(fd, TUNSETIFF, &r) < 0) {
        err_set_errno(err, "could not configure /dev/net/tun (%s)", r.ifr_name);
        return -1;
    }
    g_strlcpy(ifname, r.ifr_name, IFNAMSIZ);
    return fd_steal(&fd);
}

static NetPort *tap_open(const char *id, void *cfg, GError **err)
{
    const TapOpts *o = cfg;
    char ifname[IFNAMSIZ] = "";
    struct ifreq r = { 0 };

    if (tap_refused(o, err)) {
        return NULL;
    }
    autofd fd = o->fd ? fd_from_text(o->fd, err) : tap_new_fd(o, ifname, err);
    if (fd < 0) {
        return NULL;
    }
    if (ioctl(fd, TUNGETIFF, &r) < 0) {
        err_set_errno(err, "TUNGETIFF ioctl() failed");
        return NULL;
    }
    const char *script = o->script ? o->script : "/etc/qemu-ifup";
    if (!o->fd && strcmp(script, "no") && *script && !tap_script(script, ifname, err)) {
        return NULL;
    }
    fd_set_nonblock(fd, true);
    Tap *t = g_new0(Tap, 1);
    net_port_init(&t->p, &tap_ops, "tap", id);
    t->p.info = o->fd ? g_strdup_printf("fd=%d", fd)
                      : g_strdup_printf("ifname=%s,script=%s,downscript=%s", ifname, script,
                            o->downscript ? o->downscript : "no");
    g_strlcpy(t->ifname, ifname, sizeof t->ifname);
    t->downscript = o->fd ? NULL : g_strdup(o->downscript);
    if (r.ifr_flags & IFF_VNET_HDR) {
        int len = 10;
        t->p.vnet_hdr_len = ioctl(fd, TUNSETVNETHDRSZ, &len) == 0 ? 10 : 0;
    }
    t->fd = fd_steal(&fd);
    t->w = loop_fd_add(loop_main(), t->fd, EPOLLIN, tap_event, t);
    return &t->p;
}

static void tap_close(NetPort *p)
{
    Tap *t = (Tap *)p;

    net_port_fini(p); /* may ask to watch once more */
    loop_fd_del(t->w);
    close(t->fd);
    if (t->downscript && strcmp(t->downscript, "no") && *t->downscript) {
        tap_script(t->downscript, t->ifname, NULL);
    }
    g_free(t->downscript);
    g_free(t);
}

static uint64_t tap_offloads(NetPort *p)
{
    return p->vnet_hdr_len ? NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 |
                                 NET_OFFLOAD_ECN | NET_OFFLOAD_UFO
                           : 0;
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
    }
    if (ioctl(t->fd, TUNSETVNETHDRSZ, &len) < 0) {
        return false;
    }
    p->vnet_hdr_len = hdr_len;
    /* Kernels without UFO refuse the flag; the rest still counts. */
    return ioctl(t->fd, TUNSETOFFLOAD, flags) == 0 ||
           ioctl(t->fd, TUNSETOFFLOAD, flags & ~(unsigned)TUN_F_UFO) == 0;
}

const NetBackend net_tap = { .type = "tap",
    .help = "tap interface",
    .size = sizeof(TapOpts),
    .props = tap_props,
    .open = tap_open,
    .close = tap_close,
    .offloads = tap_offloads,
    .set_offload = tap_set_offload };
