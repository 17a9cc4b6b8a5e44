/* filter-dump writes packets to a file (pcap), filter-mirror and filter-redirector send them to
 * character devices. Tested by tests/system/test_net.py. */
#include "chardev/chardev.h"
#include "framing.h"
#include "net-internal.h"
#include "net/filter.h"
#include "util/fd.h"
#include "util/giov.h"
#include "util/log.h"
#include "util/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

/* ---- filter-dump ---- */

typedef struct FilterDump {
    NetFilter f;
    char *file;
    uint32_t maxlen;
    int fd;
    int64_t start; /* virtual clock when the file began, and the wall clock then */
    int64_t wall;
    uint8_t *flat;
} FilterDump;

static const PropSpec dump_props[] = {
    PROP_STR("file", FilterDump, file, "file to write"),
    PROP_U32("maxlen", FilterDump, maxlen, 65536, "bytes kept of each packet"),
    PROP_END,
};
static const PropGroup dump_groups[] = { { net_filter_props, NULL }, { dump_props, NULL },
    { NULL, NULL } };

/* The capture file's headers, in the host's byte order: readers go by the magic. */
typedef struct PcapFile {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, snaplen, linktype;
} PcapFile;
typedef struct PcapPacket {
    uint32_t sec, usec, caplen, len;
} PcapPacket;
_Static_assert(sizeof(PcapFile) == 24 && sizeof(PcapPacket) == 16, "pcap");
enum { PCAP_MAGIC = 0xa1b2c3d4, LINK_ETHERNET = 1 };

static bool write_whole(int fd, const struct iovec *iov, int n)
{
    size_t want = 0;
    ssize_t got;

    for (int i = 0; i < n; i++) {
        want += iov[i].iov_len;
    }
    do {
        got = writev(fd, iov, n);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)want;
}

static bool dump_packet(
    NetFilter *f, NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    FilterDump *d = (FilterDump *)f;
    size_t skip = MIN(f->port->vnet_hdr_len, len);
    size_t keep = MIN(len - skip, d->maxlen);
    int64_t us = d->wall + (clock_ns(CLOCK_KIND_VIRTUAL) - d->start) / 1000;
    PcapPacket h = { (uint32_t)(us / 1000000), (uint32_t)(us % 1000000), (uint32_t)keep,
        (uint32_t)(len - skip) };

    if (d->fd < 0) {
        return false;
    }
    net_flatten(iov, n, d->flat, skip + keep);
    const struct iovec v[2] = { { &h, sizeof h }, { d->flat + skip, keep } };

    if (!write_whole(d->fd, v, 2)) {
        report_warning("network dump write error - stopping dump");
        close(d->fd);
        d->fd = -1;
    }
    return false;
}

static bool dump_realize(Obj *o, GError **err)
{
    FilterDump *d = (FilterDump *)o;

    d->fd = -1;
    if (!net_filter_named(&d->f, err)) {
        return false;
    }
    if (!d->file) {
        return err_set(err, "Parameter 'file' is missing");
    }
    if (!d->maxlen) {
        return err_set(err, "Property 'filter-dump.maxlen' doesn't take value '0'");
    }
    autofd fd = open(d->file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

    if (fd < 0) {
        return err_set_errno(err, "net dump: can't open %s", d->file);
    }
    const PcapFile head = { PCAP_MAGIC, 2, 4, 0, 0, d->maxlen, LINK_ETHERNET };
    const struct iovec v = { (void *)(uintptr_t)&head, sizeof head };

    if (!write_whole(fd, &v, 1)) {
        return err_set_errno(err, "net dump write error");
    }
    if (!net_filter_attach(&d->f, err)) {
        return false;
    }
    d->fd = fd_steal(&fd);
    d->start = clock_ns(CLOCK_KIND_VIRTUAL);
    d->wall = clock_ns(CLOCK_KIND_HOST) / 1000;
    d->flat = g_malloc((size_t)FRAMING_MAX + 64);
    d->maxlen = MIN(d->maxlen, FRAMING_MAX);
    return true;
}

static void dump_unrealize(Obj *o)
{
    FilterDump *d = (FilterDump *)o;

    net_filter_detach(&d->f);
    if (d->fd >= 0) {
        close(d->fd);
    }
    d->fd = -1;
    g_clear_pointer(&d->flat, g_free);
}

static const NetFilterOps dump_ops = { .packet = dump_packet };

const ObjClass filter_dump_class = {
    .name = "filter-dump",
    .parent = "netfilter",
    .help = "writes packets to a pcap file",
    .size = sizeof(FilterDump),
    .flags = OBJ_USER_OBJECT,
    .props = dump_groups,
    .ops = &dump_ops,
    .realize = dump_realize,
    .unrealize = dump_unrealize,
    .prop_changed = net_filter_prop_changed,
};

/* ---- filter-mirror, filter-redirector ---- */

typedef struct FilterChar {
    NetFilter f;
    char *indev, *outdev;
    bool vnet_hdr_support;
    ChardevFe in, out;
    bool in_open, out_open;
    Framing framing;
    GByteArray *pending; /* packets with their lengths that the device did not take yet */
    size_t pending_at;   /* how much of them is gone */
} FilterChar;

static const PropSpec mirror_props[] = {
    PROP_STR("outdev", FilterChar, outdev, "character device that gets a copy"),
    PROP_BOOL(
        "vnet_hdr_support", FilterChar, vnet_hdr_support, false, "send the virtio-net header too"),
    PROP_END,
};
static const PropSpec redirector_props[] = {
    PROP_STR("indev", FilterChar, indev, "character device packets come from"),
    PROP_STR("outdev", FilterChar, outdev, "character device packets go to"),
    PROP_BOOL(
        "vnet_hdr_support", FilterChar, vnet_hdr_support, false, "with the virtio-net header"),
    PROP_END,
};
static const PropGroup mirror_groups[] = { { net_filter_props, NULL }, { mirror_props, NULL },
    { NULL, NULL } };
static const PropGroup redirector_groups[] = { { net_filter_props, NULL },
    { redirector_props, NULL }, { NULL, NULL } };

static void put_be32(GByteArray *b, uint32_t v)
{
    const uint8_t at[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

    g_byte_array_append(b, at, sizeof at);
}

/* Packets that other filters let go come even to a full one: up to this much, then whole packets
 * are lost. */
enum { PENDING_MAX = 16 << 20 };

static bool char_full(NetFilter *f)
{
    return ((FilterChar *)f)->pending->len != 0;
}

/* True: all has gone. */
static bool char_flush(FilterChar *c)
{
    GByteArray *p = c->pending;

    c->pending_at += chardev_write(&c->out, p->data + c->pending_at, p->len - c->pending_at);
    if (c->pending_at < p->len) {
        return false;
    }
    g_byte_array_set_size(p, 0);
    c->pending_at = 0;
    return true;
}

static void char_send(FilterChar *c, const struct iovec *iov, unsigned n, size_t len)
{
    size_t vnet = c->f.port->vnet_hdr_len;
    /* Without the support the other side gets bare frames. */
    size_t skip = c->vnet_hdr_support ? 0 : MIN(vnet, len);
    bool idle = !c->pending->len;
    GIov g;

    if (len > FRAMING_MAX || c->pending->len > PENDING_MAX || !chardev_connected(&c->out)) {
        return;
    }
    giov_init(&g, iov, n);
    put_be32(c->pending, (uint32_t)(len - skip));
    if (c->vnet_hdr_support) {
        put_be32(c->pending, (uint32_t)MIN(vnet, len));
    }
    unsigned at = c->pending->len;

    g_byte_array_set_size(c->pending, at + (unsigned)(len - skip));
    bool whole = giov_skip(&g, skip) && giov_get(&g, c->pending->data + at, len - skip);

    g_assert(whole); /* len is what the pieces are */
    if (idle) {
        char_flush(c);
    }
}

static void out_writable(void *opaque)
{
    FilterChar *c = opaque;

    if (char_flush(c)) {
        net_filter_ready(&c->f);
    }
}

static void out_event(void *opaque, ChardevEvent ev)
{
    FilterChar *c = opaque;

    if (ev == CHARDEV_CLOSED) {
        /* What is left of a packet is nothing to the next listener; and nobody waits for this one.
         */
        g_byte_array_set_size(c->pending, 0);
        c->pending_at = 0;
        net_filter_ready(&c->f);
    }
}

static bool mirror_packet(
    NetFilter *f, NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    char_send((FilterChar *)f, iov, n, len);
    return false;
}

/* QEMU compat: what a redirector with an outdev takes never goes on, even when nobody listens. */
static bool redirector_packet(
    NetFilter *f, NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    FilterChar *c = (FilterChar *)f;

    if (!c->out_open) {
        return false;
    }
    char_send(c, iov, n, len);
    return true;
}

static void injected(FilterChar *c, const uint8_t *data, size_t len)
{
    NetPort *b = c->f.port;
    uint8_t zero[16] = { 0 };

    if (!b || !c->f.on) {
        return;
    }
    g_autoptr(GByteArray) with = NULL;
    /* Bare frames get the header that this cable's packets have. */
    if (!c->vnet_hdr_support && b->vnet_hdr_len) {
        with = g_byte_array_new();
        g_byte_array_append(with, zero, MIN(b->vnet_hdr_len, (unsigned)sizeof zero));
        g_byte_array_append(with, data, (guint)len);
        data = with->data;
        len = with->len;
    }
    if (c->f.queue != FILTER_RX) {
        net_filter_pass(&c->f, b, data, len);
    }
    if (c->f.queue != FILTER_TX && b->peer) {
        net_filter_pass(&c->f, b->peer, data, len);
    }
}

/* While something waits that came this way, nothing more is read. */
static size_t in_can_receive(void *opaque)
{
    FilterChar *c = opaque;
    size_t len;

    framing_space(&c->framing, &len);
    return net_filter_waits(&c->f) ? 0 : len;
}

static void in_drained(NetFilter *f)
{
    FilterChar *c = (FilterChar *)f;

    if (c->in_open) {
        chardev_fe_accept(&c->in);
    }
}

static void in_receive(void *opaque, const uint8_t *buf, size_t len)
{
    FilterChar *c = opaque;
    const uint8_t *data;
    size_t room, plen;
    uint32_t vnet;
    bool bad;
    uint8_t *at = framing_space(&c->framing, &room);

    len = MIN(len, room);
    memcpy(at, buf, len);
    framing_add(&c->framing, len);
    while (framing_next(&c->framing, &data, &plen, &vnet, &bad)) {
        if (!c->vnet_hdr_support || vnet == (c->f.port ? c->f.port->vnet_hdr_len : 0)) {
            injected(c, data, plen);
        }
        framing_done(&c->framing);
    }
    if (bad) {
        report_warning(
            "filter-redirector %s: a packet's length is impossible: indev is left", c->f.obj.name);
        chardev_fe_fini(&c->in);
        c->in_open = false;
    }
}

static void in_event(void *opaque, ChardevEvent ev)
{
    FilterChar *c = opaque;

    if (ev == CHARDEV_CLOSED) {
        framing_clear(&c->framing); /* half a packet ends with its sender */
    }
}

static const ChardevFeOps in_ops = {
    .can_receive = in_can_receive, .receive = in_receive, .event = in_event
};
static const ChardevFeOps out_ops = { .event = out_event, .writable = out_writable };

static bool char_open(FilterChar *c, const char *name, bool in, bool named, GError **err)
{
    Chardev *dev = chardev_find(name);

    if (!dev) {
        return err_set_class(err, ERR_DEVICE_NOT_FOUND, "%sDevice '%s' not found",
            !named ? ""
            : in   ? "IN "
                   : "OUT ",
            name);
    }
    if (!chardev_fe_init(in ? &c->in : &c->out, dev, in ? &in_ops : &out_ops, c, err)) {
        return false;
    }
    *(in ? &c->in_open : &c->out_open) = true;
    return true;
}

static void char_close(FilterChar *c)
{
    if (c->in_open) {
        chardev_fe_fini(&c->in);
    }
    if (c->out_open) {
        chardev_fe_fini(&c->out);
    }
    c->in_open = c->out_open = false;
    framing_fini(&c->framing);
    g_clear_pointer(&c->pending, g_byte_array_unref);
}

static bool char_realize(FilterChar *c, bool named, GError **err)
{
    framing_init(&c->framing, c->vnet_hdr_support ? 8 : 4);
    c->pending = g_byte_array_new();
    if ((c->indev && !char_open(c, c->indev, true, named, err)) ||
        (c->outdev && !char_open(c, c->outdev, false, named, err)) ||
        !net_filter_attach(&c->f, err)) {
        char_close(c);
        return false;
    }
    return true;
}

static bool mirror_realize(Obj *o, GError **err)
{
    FilterChar *c = (FilterChar *)o;

    return net_filter_named(&c->f, err) &&
           (c->outdev ? char_realize(c, /* named= */ false, err)
                      : err_set(err, "Parameter 'outdev' is missing"));
}

static bool redirector_realize(Obj *o, GError **err)
{
    FilterChar *c = (FilterChar *)o;

    if (!net_filter_named(&c->f, err)) {
        return false;
    }
    if (!c->indev && !c->outdev) {
        return err_set(
            err, "filter redirector needs 'indev' or 'outdev' at least one property set");
    }
    if (c->indev && c->outdev && !strcmp(c->indev, c->outdev)) {
        return err_set(err, "'indev' and 'outdev' could not be same for filter redirector");
    }
    return char_realize(c, /* named= */ true, err);
}

static void char_unrealize(Obj *o)
{
    FilterChar *c = (FilterChar *)o;

    net_filter_detach(&c->f);
    char_close(c);
}

static const NetFilterOps mirror_ops = { .packet = mirror_packet, .full = char_full };
static const NetFilterOps redirector_ops = {
    .packet = redirector_packet, .full = char_full, .drained = in_drained
};

const ObjClass filter_mirror_class = {
    .name = "filter-mirror",
    .parent = "netfilter",
    .help = "copies packets to a character device",
    .size = sizeof(FilterChar),
    .flags = OBJ_USER_OBJECT,
    .props = mirror_groups,
    .ops = &mirror_ops,
    .realize = mirror_realize,
    .unrealize = char_unrealize,
    .prop_changed = net_filter_prop_changed,
};
const ObjClass filter_redirector_class = {
    .name = "filter-redirector",
    .parent = "netfilter",
    .help = "moves packets to and from character devices",
    .size = sizeof(FilterChar),
    .flags = OBJ_USER_OBJECT,
    .props = redirector_groups,
    .ops = &redirector_ops,
    .realize = redirector_realize,
    .unrealize = char_unrealize,
    .prop_changed = net_filter_prop_changed,
};
