/*
 * virtio-vsock without a kernel module: the guest's sockets meet unix sockets of the host
 * (VIRTIO 1.4, 5.10). Connections are in virtio-vsock-conn.c. Tested by test-virtio-vsock.
 */
#include "util/fd.h"
#include "util/sock.h"
#include "virtio-vsock-conn.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { F_STREAM = 0, F_SEQPACKET = 1, F_NO_IMPLIED_STREAM = 2 };
enum { Q_RX, Q_TX, Q_EVENT };
enum { EVENT_TRANSPORT_RESET = 0 };

ssize_t vsock_send(VirtioVsock *s, VsockHeader h, const void *data, size_t len, uint32_t flags)
{
    VirtQueue *vq = virtio_queue(&s->vd, Q_RX);
    VqElem *e = vq_ready(vq) ? vq_pop(vq) : NULL;

    if (!e) {
        return -1;
    }
    if (e->in.left < sizeof h || (len && e->in.left == sizeof h)) {
        vq_fail(vq, "receive buffer is too short (VIRTIO 1.4, 5.10.6)");
        vq_drop(e);
        return -1;
    }
    size_t some = MIN(len, e->in.left - sizeof h);

    h.len = le32_of((uint32_t)some);
    h.flags = le32_of(some == len ? flags : 0);
    bool ok = giov_put(&e->in, &h, sizeof h) && giov_put(&e->in, data, some);

    g_assert(ok);
    vq_push(e);
    vq_notify_soon(vq);
    return (ssize_t)some;
}

static void rx_refilled(VirtioDev *d, G_GNUC_UNUSED VirtQueue *vq)
{
    VirtioVsock *s = (VirtioVsock *)d;

    vsock_pump(s);
    if (s->resets.length < VSOCK_RESETS_MAX) {
        vq_resume(virtio_queue(d, Q_TX));
    }
}

/* An answer to a packet that belongs to nothing. */
static void refuse(VirtioVsock *s, const VsockHeader *h)
{
    VsockHeader *r = g_new(VsockHeader, 1);

    *r = (VsockHeader){ .src_cid = h->dst_cid,
        .dst_cid = h->src_cid,
        .src_port = h->dst_port,
        .dst_port = h->src_port,
        .type = h->type,
        .op = le16_of(VSOCK_OP_RST) };
    g_queue_push_tail(&s->resets, r);
    vsock_pump(s);
}

static bool type_known(const VirtioVsock *s, unsigned type)
{
    bool seq = virtio_has(&s->vd, F_SEQPACKET);

    /* Without any bit it is a stream device (5.10.3.2). */
    return type == VSOCK_STREAM
               ? virtio_has(&s->vd, F_STREAM) || !seq || !virtio_has(&s->vd, F_NO_IMPLIED_STREAM)
               : type == VSOCK_SEQPACKET && seq;
}

static VqVerdict tx_request(VirtioDev *d, VqElem *e)
{
    VirtioVsock *s = (VirtioVsock *)d;
    VsockHeader h;
    GIov rest;

    /* The receive queue is full and so is what we keep beside it (5.10.6.1). */
    if (s->resets.length >= VSOCK_RESETS_MAX) {
        return VQ_STOP;
    }
    if (!giov_get(&e->out, &h, sizeof h) || le32_get(h.len) > e->out.left) {
        vq_fail(e->vq, "packet is shorter than its header says (VIRTIO 1.4, 5.10.6)");
        return VQ_DONE;
    }
    bool ok = giov_split(&e->out, le32_get(h.len), &rest);

    g_assert(ok);
    if (le64_get(h.src_cid) != s->guest_cid) {
        return VQ_DONE; /* from a context that is not the guest's: nobody to answer */
    }
    VsockConn *c = le64_get(h.dst_cid) == VSOCK_HOST_CID
                       ? vsock_find(s, le32_get(h.src_port), le32_get(h.dst_port), le16_get(h.type))
                       : NULL;
    bool known = le64_get(h.dst_cid) == VSOCK_HOST_CID && type_known(s, le16_get(h.type));

    if (c) {
        vsock_packet(c, &h, &e->out);
    } else if (le16_get(h.op) == VSOCK_OP_REQUEST && known && vsock_connect(s, &h)) {
        vsock_pump(s);
    } else if (le16_get(h.op) != VSOCK_OP_RST) {
        refuse(s, &h);
    }
    return VQ_DONE;
}

static void send_event(VirtioVsock *s)
{
    VirtQueue *vq = virtio_queue(&s->vd, Q_EVENT);
    VqElem *e = vq_ready(vq) ? vq_pop(vq) : NULL;
    le32 id = le32_of(EVENT_TRANSPORT_RESET);

    s->event_missed = !e;
    if (!e) {
        return;
    }
    if (!giov_put(&e->in, &id, sizeof id)) {
        vq_fail(vq, "event buffer is too short (VIRTIO 1.4, 5.10.6.7)");
        vq_drop(e);
        return;
    }
    vq_push(e);
    vq_notify(vq);
}

static void event_refilled(VirtioDev *d, G_GNUC_UNUSED VirtQueue *vq)
{
    VirtioVsock *s = (VirtioVsock *)d;

    if (s->event_missed) {
        send_event(s);
    }
}

/* ---- configuration, life ---- */

static void vsock_config(VirtioDev *d, void *cfg)
{
    le64 cid = le64_of(((VirtioVsock *)d)->guest_cid);

    memcpy(cfg, &cid, sizeof cid);
}

static VirtioFeatures vsock_offer(VirtioDev *d, VirtioFeatures f)
{
    vf_set(&f, F_STREAM, true);
    vf_set(&f, F_SEQPACKET, ((VirtioVsock *)d)->seqpacket != ON_OFF_AUTO_OFF);
    vf_set(&f, F_NO_IMPLIED_STREAM, true); /* 5.10.3.2 */
    return f;
}

static bool vsock_start(VirtioDev *d, G_GNUC_UNUSED GError **err)
{
    vsock_pump((VirtioVsock *)d);
    return true;
}

static void vsock_stop(VirtioDev *d)
{
    if (!d->paused) {
        vsock_close_all((VirtioVsock *)d);
    }
}

static void vsock_reset(VirtioDev *d)
{
    VirtioVsock *s = (VirtioVsock *)d;

    vsock_close_all(s);
    s->event_missed = false;
}

static bool cid_ok(uint64_t cid, GError **err)
{
    if (cid <= VSOCK_HOST_CID) {
        return err_set(err, "guest-cid property must be greater than 2");
    }
    return cid < UINT32_MAX || err_set(err, "guest-cid property must be a 32-bit number");
}

static bool cid_set(void *field, const Json *val, GError **err)
{
    uint64_t v;

    if (!prop_u64.set(&v, val, err) || !cid_ok(v, err)) {
        return false;
    }
    *(uint64_t *)field = v;
    return true;
}

static bool cid_parse(void *field, const char *text, GError **err)
{
    uint64_t v;

    if (!prop_u64.parse(&v, text, err) || !cid_ok(v, err)) {
        return false;
    }
    *(uint64_t *)field = v;
    return true;
}

static void cid_get(const void *field, JsonWriter *w, const char *name)
{
    jw_uint(w, name, *(const uint64_t *)field);
}

static const PropType prop_cid = {
    .name = "uint64", .set = cid_set, .parse = cid_parse, .get = cid_get
};

/* The guest gets another context: its connections are over, it reads the new number (5.10.6.7). */
static void vsock_prop_changed(Obj *o, G_GNUC_UNUSED const PropSpec *row)
{
    VirtioVsock *s = (VirtioVsock *)o;

    vsock_close_all(s);
    virtio_config_changed(&s->vd);
    if (s->vd.started) {
        send_event(s);
    }
}

static void stream_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    vsock_accept(opaque, 0);
}

static void seqpacket_readable(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    vsock_accept(opaque, 1);
}

/* A socket that nobody listens at any more is in the way and goes; anything else stays. */
static bool make_place(int kind, const struct sockaddr_un *a, GError **err)
{
    struct stat st;

    if (lstat(a->sun_path, &st) < 0) {
        return true; /* bind() knows why, if that is a problem */
    }
    if (!S_ISSOCK(st.st_mode)) {
        return err_set(err, "x-path: '%s' is there and is not a socket", a->sun_path);
    }
    autofd fd = socket(AF_UNIX, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (connect(fd, (const struct sockaddr *)a, sizeof *a) == 0 || errno != ECONNREFUSED) {
        return err_set(err, "x-path: the socket '%s' is in use", a->sun_path);
    }
    unlink(a->sun_path);
    return true;
}

static bool listen_at(VirtioVsock *s, unsigned kind, GError **err)
{
    g_autofree char *path = g_strconcat(s->path, kind ? ".seqpacket" : "", NULL);
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int type = kind ? SOCK_SEQPACKET : SOCK_STREAM;
    autofd fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return err_set_errno(err, "Failed to create Unix socket");
    }
    /* Each port of the host has a name of its own behind it: "_4294967295". */
    if (strlen(s->path) + strlen("_4294967295") >= sizeof a.sun_path) {
        return err_set(err, "x-path: '%s' is too long, up to %zu bytes are possible", s->path,
            sizeof a.sun_path - sizeof "_4294967295");
    }
    memcpy(a.sun_path, path, strlen(path));
    if (!make_place(type, &a, err)) {
        return false;
    }
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 128) < 0) {
        return err_set_errno(err, "Failed to bind socket to %s", path);
    }
    sock_keep(path);
    s->listen_fd[kind] = fd_steal(&fd);
    s->listen_watch[kind] = loop_fd_add(
        s->vd.loop, s->listen_fd[kind], EPOLLIN, kind ? seqpacket_readable : stream_readable, s);
    return true;
}

static void listen_end(VirtioVsock *s)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        if (s->listen_watch[kind]) {
            g_autofree char *path = g_strconcat(s->path, kind ? ".seqpacket" : "", NULL);

            loop_fd_del(s->listen_watch[kind]);
            s->listen_watch[kind] = NULL;
            close(s->listen_fd[kind]);
            sock_unlink(path);
        }
    }
}

/* A guest cannot take the descriptors that the rest of the emulator needs. */
static unsigned connections_max(void)
{
    struct rlimit r;

    return getrlimit(RLIMIT_NOFILE, &r) < 0 ? VSOCK_CONNS_MAX
                                            : (unsigned)MIN(r.rlim_cur / 2, VSOCK_CONNS_MAX);
}

static bool vsock_realize(VirtioDev *d, GError **err)
{
    VirtioVsock *s = (VirtioVsock *)d;

    if (!cid_ok(s->guest_cid, err)) {
        return false;
    }
    if (!s->path) {
        return err_set(err, "x-path property not set");
    }
    s->next_port = 1 << 30;
    s->conns_max = connections_max();
    s->rx = (VqSpec){ "rx", 128, sizeof(VqElem), .refilled = rx_refilled };
    s->tx = (VqSpec){ "tx", 128, sizeof(VqElem), tx_request };
    s->event = (VqSpec){ "event", 128, sizeof(VqElem), .refilled = event_refilled };
    if (!listen_at(s, 0, err) || (s->seqpacket != ON_OFF_AUTO_OFF && !listen_at(s, 1, err))) {
        listen_end(s);
        return false;
    }
    return true;
}

static void vsock_unrealize(VirtioDev *d)
{
    VirtioVsock *s = (VirtioVsock *)d;

    vsock_close_all(s);
    listen_end(s);
    g_clear_pointer(&s->conns, g_hash_table_unref);
}

static unsigned vsock_queue_count(G_GNUC_UNUSED VirtioDev *d)
{
    return 3;
}

static const VqSpec *vsock_queue_spec(VirtioDev *d, unsigned i, uint16_t *ret_size)
{
    const VirtioVsock *s = (const VirtioVsock *)d;

    *ret_size = 128;
    return i == Q_RX ? &s->rx : i == Q_TX ? &s->tx : &s->event;
}

const PropSpec virtio_vsock_props[] = {
    { .name = "guest-cid",
        .type = &prop_cid,
        .offset = PROP_AT(VirtioVsock, guest_cid, uint64_t),
        .bit = -1,
        .flags = PROP_RUNTIME,
        .help = "context of the guest, 3 or more" },
    PROP_ON_OFF_AUTO("seqpacket", VirtioVsock, seqpacket, ON_OFF_AUTO_AUTO, "sockets of messages"),
    PROP_STR("x-path", VirtioVsock, path,
        "unix socket the host connects to; the guest reaches <x-path>_<port>"),
    PROP_END,
};

static const VirtioOps vsock_ops = {
    .id = 19,
    .pci_class = 0x078000,
    .queue_count = vsock_queue_count,
    .queue_spec = vsock_queue_spec,
    .default_vectors = 3,
    .config_size = 8,
    .offer = vsock_offer,
    .config_told = true,
    .config = vsock_config,
    .start = vsock_start,
    .stop = vsock_stop,
    .reset = vsock_reset,
    .realize = vsock_realize,
    .unrealize = vsock_unrealize,
};

const ObjClass virtio_vsock_class = {
    .name = "virtio-vsock-device",
    .parent = "virtio-device",
    .help = "sockets between guest and host",
    .category = "Misc",
    .size = sizeof(VirtioVsock),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_vsock_props, NULL }, { NULL, NULL } },
    .ops = &vsock_ops,
    .prop_changed = vsock_prop_changed,
};
VIRTIO_PCI_TYPE(virtio_vsock, "virtio-vsock", virtio_vsock_class, virtio_vsock_props, "Misc");
