/* virtio-net: receive and transmit (VIRTIO 1.4, 5.1). The control queue is in virtio-net-ctrl.c,
 * what concerns several queue pairs in virtio-net-mq.c. Tested by test-virtio-net. */
#include "virtio-net.h"

#include "util/log.h"
#include "virtio-net-rsc.h"

#include <stddef.h>
#include <string.h>

enum { NET_MTU_MIN = 68 };

/* Each kind of segmentation has its feature (VIRTIO 1.4, 5.1.9.2.2, 5.1.9.4.1). */
static bool segments_ok(const VirtioNet *s, const NetHeader *h, bool rx)
{
    static const struct {
        uint8_t type, rx, tx;
    } kind[] = { { NET_GSO_TCPV4, NET_F_GUEST_TSO4, NET_F_HOST_TSO4 },
        { NET_GSO_TCPV6, NET_F_GUEST_TSO6, NET_F_HOST_TSO6 },
        { NET_GSO_UDP, NET_F_GUEST_UFO, NET_F_HOST_UFO },
        { NET_GSO_UDP_L4, NET_F_GUEST_USO4, NET_F_HOST_USO },
        { NET_GSO_UDP_L4, NET_F_GUEST_USO6, NET_F_HOST_USO } };
    uint8_t type = h->gso_type & (uint8_t) ~(NET_GSO_ECN | NET_GSO_TUNNEL);
    bool any = !rx && virtio_has(&s->vd, NET_F_GSO); /* legacy: every kind at once */

    for (unsigned i = 0; i < G_N_ELEMENTS(kind); i++) {
        if (type == kind[i].type && (any || virtio_has(&s->vd, rx ? kind[i].rx : kind[i].tx))) {
            return any || !(h->gso_type & NET_GSO_ECN) ||
                   virtio_has(&s->vd, rx ? NET_F_GUEST_ECN : NET_F_HOST_ECN);
        }
    }
    return type == NET_GSO_NONE;
}

/* Bits that have no meaning here, and fields whose bits are not set, go no further. */
static void header_clean(NetHeader *h, uint8_t flags)
{
    bool tunnel = h->gso_type & NET_GSO_TUNNEL;

    h->flags &= flags | (tunnel ? NET_HDR_TUNNEL_CSUM : 0);
    h->hash_value = le32_of(0);
    h->hash_report = h->padding = le16_of(0);
    if (!tunnel) {
        h->outer_th_offset = h->inner_nh_offset = le16_of(0);
    }
    if (!(h->flags & NET_HDR_NEEDS_CSUM)) {
        h->csum_start = h->csum_offset = le16_of(0);
    }
}

void net_set_mac(VirtioNet *s, const uint8_t *mac)
{
    memcpy(s->mac, mac, 6);
    net_set_nic(&s->pair[0].port, "virtio-net-pci", mac);
}

/* ---- receive ---- */

/* A checksum that the driver is to complete lies in the packet. */
static bool csum_fits(const NetHeader *h, size_t len)
{
    return !(h->flags & NET_HDR_NEEDS_CSUM) ||
           (size_t)le16_get(h->csum_start) + le16_get(h->csum_offset) + 2 <= len;
}

/* The packet behind the back end's header, which is put in ret_hdr. ret_copy: where it is when the
 * driver wants no partial checksums (any more). */
static bool rx_header(NetPair *q, const struct iovec *iov, unsigned n, NetHeader *ret_hdr,
    GIov *ret_data, struct iovec *ret_copy)
{
    const VirtioNet *s = q->s;
    size_t have = q->port.peer ? q->port.peer->vnet_hdr_len : 0;

    *ret_hdr = (NetHeader){ 0 };
    giov_init(ret_data, iov, n);
    if (have && !giov_get(ret_data, ret_hdr, MIN(have, sizeof *ret_hdr))) {
        return false;
    }
    if (have && !(s->guest_offloads & NET_OFFLOAD_CSUM)) {
        bool ok =
            !(ret_hdr->flags & NET_HDR_NEEDS_CSUM) ||
            (ret_data->left <= NET_FRAME_MAX && net_soft_complete(q, ret_data, ret_hdr, ret_copy));

        if (!ok || ret_hdr->gso_type) {
            return false;
        }
        *ret_hdr = (NetHeader){ 0 }; /* VIRTIO 1.4, 5.1.9.4.1: flags and gso_type are 0 */
    }
    if (!net_tunnel_ok(s, ret_hdr, /* rx= */ true)) {
        return false;
    }
    header_clean(ret_hdr, NET_HDR_NEEDS_CSUM | NET_HDR_DATA_VALID);
    return csum_fits(ret_hdr, ret_data->left) &&
           (!ret_hdr->gso_type ||
               (segments_ok(s, ret_hdr, /* rx= */ true) && ret_hdr->flags & NET_HDR_NEEDS_CSUM &&
                   le16_get(ret_hdr->gso_size)));
}

/* VIRTIO 1.4, 5.1.4.1: what is not to be segmented has to fit. frame: at least 14 bytes, when len
 * says so. */
static bool over_mtu(const VirtioNet *s, const NetHeader *h, const uint8_t *frame, size_t len)
{
    size_t head = frame[12] == 0x81 && frame[13] == 0x00 ? 18 : 14;

    return virtio_has(&s->vd, NET_F_MTU) && !(h->gso_type & ~NET_GSO_ECN) &&
           len > s->host_mtu + head;
}

/* Copies what is left of src into as much of dst as there is. */
static void copy_some(GIov *dst, GIov *src)
{
    struct iovec v;

    while (dst->left && src->left && giov_iovec(src, &v, 1)) {
        size_t n = MIN(dst->left, v.iov_len);
        bool ok = giov_put(dst, v.iov_base, n) && giov_skip(src, n);
        g_assert(ok);
    }
}

NetVerdict net_rx_deliver(VirtioNet *s, VirtQueue *rxq, NetHeader *h, GIov *data)
{
    bool mergeable = virtio_has(&s->vd, NET_F_MRG_RXBUF);
    VqElem **e = s->pair[vq_index(rxq) / 2].rx;
    unsigned n;

    if (mergeable) {
        n = vq_pop_bytes(rxq, s->hdr_len + data->left, e, NET_RX_CHAINS);
    } else {
        n = vq_pop_bytes(rxq, 1, e, 1);
    }
    if (!n) {
        /* One that stands still for a moment is run again behind that. */
        return vq_open(rxq) && !s->vd.broken ? NET_QUEUED : NET_DROPPED;
    }
    /* num_buffers is 1 without MRG_RXBUF where the field exists (VIRTIO 1.4, 5.1.6.4.1). */
    h->num_buffers = le16_of((uint16_t)n);
    if ((!mergeable && e[0]->in.left < s->hdr_len + data->left) ||
        !giov_put(&e[0]->in, h, s->hdr_len)) {
        log_guest_error(
            "virtio-net: receive buffer of %zu bytes is too small for a packet", e[0]->in.left);
        vq_push_all(e, n);
        vq_notify(rxq);
        return NET_DROPPED;
    }
    for (unsigned i = 0; i < n; i++) {
        copy_some(&e[i]->in, data);
    }
    vq_push_all(e, n);
    if (G_UNLIKELY(s->coalescing)) {
        net_coal_count(s, vq_index(rxq), 1);
    }
    vq_notify(rxq);
    return NET_SENT;
}

NetVerdict net_rx_pair(NetPair *q, NetHeader *h, GIov *data)
{
    return G_UNLIKELY(q->rsc) ? net_rsc_receive(q, h, data)
                              : net_rx_deliver(q->s, net_rxq(q->s, q->port.index), h, data);
}

static NetVerdict net_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    NetPair *q = net_pair_of(p);
    VirtioNet *s = q->s;
    uint8_t head[18] = { 0 };
    struct iovec copy;
    NetHeader h;
    GIov data;

    if (q->held) {
        /* A stopped machine's packets wait; a driver that is not there has no use for them. */
        return s->vd.status & VIRTIO_STATUS_DRIVER_OK && !s->vd.broken ? NET_QUEUED : NET_DROPPED;
    }
    if (len > NET_FRAME_MAX || !rx_header(q, iov, n, &h, &data, &copy)) {
        return NET_DROPPED;
    }
    size_t look = MIN(data.left, sizeof head);
    if (!giov_peek(&data, head, look) || !net_filter_accepts(s, head, look) ||
        over_mtu(s, &h, head, data.left)) {
        return NET_DROPPED;
    }
    return G_UNLIKELY(s->special) ? net_rx_to(q, net_steer(s, p->index, &data, &h), &h, &data)
                                  : net_rx_pair(q, &h, &data);
}

static void rx_refilled(VirtioDev *d, VirtQueue *vq)
{
    VirtioNet *s = (VirtioNet *)d;
    const Loop *here = vq_loop(vq);

    net_inbox_run(&s->pair[vq_index(vq) / 2]);
    /* With hashes and resting pairs any port may have waited for this queue; one of another loop
     * waits for the inbox. */
    for (unsigned i = 0; i < s->npairs; i++) {
        if (s->pair[i].loop == here) {
            net_rsc_refilled(&s->pair[i]);
            net_ready(&s->pair[i].port);
        }
    }
}

/* ---- transmit ---- */

/* Segments that the driver may ask for, and that the back end does not make. */
static bool tx_soft_gso(const VirtioNet *s, const NetHeader *h)
{
    uint64_t can = s->peer_offloads;
    uint8_t type = h->gso_type & (uint8_t)~NET_GSO_ECN;

    return (type == NET_GSO_UDP && !(can & NET_OFFLOAD_UFO)) ||
           (type == NET_GSO_UDP_L4 && !(can & NET_OFFLOAD_USO4 && can & NET_OFFLOAD_USO6));
}

typedef enum TxWay { TX_PEER, TX_SOFT, TX_BAD } TxWay;

/* Who does what a header asks for. */
static TxWay tx_way(const VirtioNet *s, const NetPair *q, NetHeader *h)
{
    if (q->segs.n) {
        return TX_SOFT; /* a packet has begun to go */
    }
    if (!virtio_has(&s->vd, NET_F_CSUM)) {
        *h = (NetHeader){ 0 }; /* offloads that were not negotiated are not asked of the host */
        return TX_PEER;
    }
    bool tunnel_ok = net_tunnel_ok(s, h, /* rx= */ false);

    header_clean(h, NET_HDR_NEEDS_CSUM);
    if (!tunnel_ok || !segments_ok(s, h, /* rx= */ false)) {
        log_guest_error("virtio-net: segmentation %u was not negotiated", h->gso_type);
        return TX_BAD;
    }
    return q->port.peer->vnet_hdr_len ? (tx_soft_gso(s, h) ? TX_SOFT : TX_PEER)
           : h->flags | h->gso_type   ? TX_SOFT
                                      : TX_PEER;
}

/* To the peer. */
static G_NO_INLINE VqVerdict tx_send(VirtioNet *s, NetPair *q, const VqElem *e)
{
    const NetPort *peer = q->port.peer;
    struct iovec *iov = q->tx_iov;
    NetHeader h = { 0 };
    GIov g = e->out;
    unsigned at = 0;
    bool ok = giov_get(&g, &h, s->hdr_len);

    g_assert(ok);
    if (h.flags | h.gso_type || q->segs.n) {
        TxWay way = tx_way(s, q, &h);

        if (way != TX_PEER) {
            return way == TX_BAD ? VQ_DONE : net_soft_send(q, &g, &h);
        }
    } else {
        h = (NetHeader){ 0 };
    }
    if (peer->vnet_hdr_len) {
        iov[at++] = (struct iovec){ &h, MIN(peer->vnet_hdr_len, (uint32_t)NET_HDR_MAX) };
    }
    at += giov_iovec(&g, iov + at, NET_TX_IOV - at);
    return net_send(&q->port, iov, at, g.left + (peer->vnet_hdr_len ? peer->vnet_hdr_len : 0)) ==
                   NET_QUEUED
               ? VQ_STOP
               : VQ_DONE;
}

static VqVerdict net_tx(VirtioDev *d, VqElem *e)
{
    VirtioNet *s = (VirtioNet *)d;
    NetPair *q = s->npairs == 1 ? s->pair : &s->pair[vq_index(e->vq) / 2];

    if (G_UNLIKELY(q->held) || (G_UNLIKELY(s->tx_watched) && !net_tx_turn(q, e->vq))) {
        return VQ_STOP;
    }
    if (e->out.left < s->hdr_len) {
        vq_fail(e->vq, "virtio-net: packet of %zu bytes has no header", e->out.left);
        return VQ_DONE;
    }
    if (!q->port.peer || e->out.left - s->hdr_len > NET_FRAME_MAX) {
        return VQ_DONE; /* no cable, or no wire takes such a frame: gone */
    }
    return tx_send(s, q, e);
}

static void net_writable(NetPort *p)
{
    NetPair *q = net_pair_of(p);

    if (!p->peer) {
        q->segs.n = 0; /* the rest of a packet has nowhere to go */
    }
    if (!q->held) {
        vq_resume(virtio_queue(&q->s->vd, p->index * 2 + 1));
    }
}

static void net_link(NetPort *p, bool up)
{
    VirtioNet *s = net_pair_of(p)->s;
    uint16_t was = s->status;

    s->status = (uint16_t)(up ? was | NET_S_LINK_UP : was & ~NET_S_LINK_UP);
    if (s->status != was) {
        virtio_config_changed(&s->vd);
    }
}

static void net_announce(NetPort *p)
{
    VirtioNet *s = net_pair_of(p)->s;

    /* The guest knows its addresses better than anybody: it is asked (VIRTIO 1.4, 5.1.6.5.4). */
    if (s->vd.started && virtio_has(&s->vd, NET_F_GUEST_ANNOUNCE) &&
        virtio_has(&s->vd, NET_F_CTRL_VQ)) {
        s->status |= NET_S_ANNOUNCE;
        virtio_config_changed(&s->vd);
    }
}

static const NetPortOps net_ops = { .announce = net_announce,
    .receive = net_receive,
    .writable = net_writable,
    .link = net_link,
    .rx_filter = net_filter_describe };

/* ---- configuration ---- */

static uint64_t peer_offloads(const VirtioNet *s)
{
    const NetPort *b = s->netdev;

    return b && b->backend && b->backend->offloads ? b->backend->offloads((NetPort *)(uintptr_t)b)
                                                   : 0;
}

static VirtioFeatures net_offer(VirtioDev *d, VirtioFeatures f)
{
    const VirtioNet *s = (VirtioNet *)d;
    static const unsigned guest[] = { NET_F_GUEST_CSUM, NET_F_GUEST_TSO4, NET_F_GUEST_TSO6,
        NET_F_GUEST_ECN, NET_F_GUEST_UFO, NET_F_GUEST_USO4, NET_F_GUEST_USO6,
        /* QEMU compat: where there is no header there is no hash report. */
        NET_F_HASH_REPORT };
    static const unsigned host[] = { NET_F_CSUM, NET_F_HOST_TSO4, NET_F_HOST_TSO6, NET_F_HOST_ECN,
        NET_F_HOST_UFO, NET_F_HOST_USO };
    uint64_t can = peer_offloads(s);
    /* tun(4) segments both kinds of UDP or none. */
    bool uso = can & NET_OFFLOAD_USO4 && can & NET_OFFLOAD_USO6;

    vf_set(&f, NET_F_MAC, true);
    for (unsigned i = 0; !can && i < G_N_ELEMENTS(guest); i++) {
        vf_set(&f, guest[i], false);
    }
    /* QEMU compat: what the back end cannot is not offered, unless the user wants it done here. */
    for (unsigned i = 0; !can && !s->soft_offloads && i < G_N_ELEMENTS(host); i++) {
        vf_set(&f, host[i], false);
    }
    if (!(can & NET_OFFLOAD_UFO)) {
        vf_set(&f, NET_F_GUEST_UFO, false);
        vf_set(&f, NET_F_HOST_UFO, s->soft_offloads && vf_has(f, NET_F_HOST_UFO));
    }
    if (!uso) {
        vf_set(&f, NET_F_GUEST_USO4, false);
        vf_set(&f, NET_F_GUEST_USO6, false);
        vf_set(&f, NET_F_HOST_USO, s->soft_offloads && vf_has(f, NET_F_HOST_USO));
    }
    vf_set(&f, NET_F_GSO, false);
    vf_set(&f, NET_F_MTU, s->host_mtu != 0);
    vf_set(&f, NET_F_SPEED_DUPLEX, s->speed >= 0 || s->duplex);
    return f;
}

static VirtioFeatures net_offer_legacy(VirtioDev *d, VirtioFeatures f)
{
    /* QEMU compat: the old "handles any GSO" bit, which means nothing without CSUM. */
    vf_set(&f, NET_F_GSO, vf_has(d->prop_features, NET_F_GSO));
    return f;
}

static size_t net_config_len(VirtioDev *d)
{
    const VirtioNet *s = (VirtioNet *)d;
    VirtioFeatures f = d->host_features;

    /* QEMU compat: as long as the last field whose feature is offered. */
    return vf_has(f, NET_F_RSS) || vf_has(f, NET_F_HASH_REPORT) ? sizeof(NetConfig)
           : vf_has(f, NET_F_SPEED_DUPLEX) ? offsetof(NetConfig, rss_max_key_size)
           : s->host_mtu                   ? offsetof(NetConfig, speed)
           : vf_has(f, NET_F_MQ)           ? offsetof(NetConfig, mtu)
           : vf_has(f, NET_F_STATUS)       ? offsetof(NetConfig, max_virtqueue_pairs)
                                           : offsetof(NetConfig, status);
}

static void net_config(VirtioDev *d, void *cfg)
{
    const VirtioNet *s = (VirtioNet *)d;
    NetConfig c = {
        .status = le16_of(s->status),
        .max_virtqueue_pairs = le16_of((uint16_t)s->npairs),
        .mtu = le16_of(s->host_mtu),
        .speed = le32_of((uint32_t)s->speed),
        .duplex = !s->duplex ? 0xff : !strcmp(s->duplex, "full"),
        .rss_max_key_size = NET_RSS_KEY,
        .rss_max_indirection_table_length = le16_of(NET_RSS_TABLE),
        .supported_hash_types = le32_of(NET_HASH_TYPES),
    };

    memcpy(c.mac, s->mac, 6);
    memcpy(cfg, &c, net_config_len(d));
}

static void net_config_wrote(VirtioDev *d, const void *cfg, size_t off, G_GNUC_UNUSED size_t len)
{
    VirtioNet *s = (VirtioNet *)d;

    /* Only a legacy driver sets its address here (VIRTIO 1.4, 5.1.4.3). */
    if (d->legacy && off < 6 && !virtio_has(d, NET_F_CTRL_MAC_ADDR)) {
        net_hold(s);
        net_set_mac(s, cfg);
        net_go_on(s);
    }
}

static void pair_offloads(NetPair *q)
{
    NetPort *peer = q->port.peer;

    if (peer && peer->backend && peer->backend->set_offload && peer->vnet_hdr_len) {
        size_t len = q->s->hdr_len;

        peer->backend->set_offload(peer, q->s->guest_offloads,
            (uint32_t)(len == NET_HDR_MAX ? len : MIN(len, (size_t)NET_HDR_PEER)));
    }
}

void net_apply_offloads(VirtioNet *s, uint64_t features)
{
    static const struct {
        unsigned bit;
        uint64_t offload;
    } map[] = {
        { NET_F_GUEST_CSUM, NET_OFFLOAD_CSUM },
        { NET_F_GUEST_TSO4, NET_OFFLOAD_TSO4 },
        { NET_F_GUEST_TSO6, NET_OFFLOAD_TSO6 },
        { NET_F_GUEST_ECN, NET_OFFLOAD_ECN },
        { NET_F_GUEST_UFO, NET_OFFLOAD_UFO },
        { NET_F_GUEST_USO4, NET_OFFLOAD_USO4 },
        { NET_F_GUEST_USO6, NET_OFFLOAD_USO6 },
        { NET_OFFLOAD_BIT_TUNNEL, NET_OFFLOAD_TUNNEL },
        { NET_OFFLOAD_BIT_TUNNEL_CSUM, NET_OFFLOAD_TUNNEL_CSUM },
    };

    s->guest_wanted = features;
    s->guest_offloads = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(map); i++) {
        s->guest_offloads |= features >> map[i].bit & 1 ? map[i].offload : 0;
    }
    if (!(s->guest_offloads & NET_OFFLOAD_CSUM)) {
        s->guest_offloads = 0; /* what is segmented has no checksums yet (5.1.3.1) */
    }
    net_each_pair(s, pair_offloads);
}

/* VIRTIO 1.4, 5.1.2: where the control queue is depends on MQ and RSS; the queues behind it are
 * nobody's then. */
static void net_roles(VirtioNet *s, bool multi)
{
    unsigned pairs = multi ? s->npairs : 1;

    for (unsigned i = 0; i <= s->npairs * 2; i++) {
        VqSpec *v = &s->spec[i];
        bool data = i < pairs * 2;

        v->name = data ? (i & 1 ? "transmitq" : "receiveq") : "controlq";
        v->request = data ? (i & 1 ? net_tx : NULL) : i == pairs * 2 ? net_ctrl_request : NULL;
        v->refilled = data && !(i & 1) ? rx_refilled : NULL;
        v->batch_end = data && i & 1 && s->tx_watched ? net_tx_batch_end : NULL;
    }
}

static bool net_start(VirtioDev *d, G_GNUC_UNUSED GError **err)
{
    VirtioNet *s = (VirtioNet *)d;

    s->hdr_len = virtio_has(d, NET_F_HOST_TUNNEL) || virtio_has(d, NET_F_GUEST_TUNNEL) ? NET_HDR_MAX
                 : virtio_has(d, NET_F_HASH_REPORT)                                    ? 20
                 : virtio_has(d, VIRTIO_F_VERSION_1) || virtio_has(d, NET_F_MRG_RXBUF) ? 12
                                                                                       : 10;
    s->peer_offloads = peer_offloads(s);
    s->coalescing = virtio_has(d, NET_F_NOTF_COAL) || virtio_has(d, NET_F_VQ_NOTF_COAL);
    s->tx_watched = s->tx_timed || s->coalescing;
    net_roles(s, virtio_has(d, NET_F_MQ) || virtio_has(d, NET_F_RSS));
    /* What the driver switched stays through a stop of the machine. */
    net_apply_offloads(
        s, s->guest_switched ? s->guest_wanted : d->features.word[0] | net_tunnel_offload_bits(s));
    s->guest_switched = true;
    if (virtio_has(d, NET_F_RSC_EXT)) {
        net_each_pair(s, net_rsc_start);
    }
    net_each_pair(s, net_pair_go);
    return true;
}

static void net_stop(VirtioDev *d)
{
    net_each_pair((VirtioNet *)d, net_pair_stop);
}

static void net_reset(VirtioDev *d)
{
    VirtioNet *s = (VirtioNet *)d;

    net_coal_reset(s);
    net_each_pair(s, net_pair_reset);
    s->ctrl_life++;
    s->guest_switched = false;
    net_filter_reset(s);
    s->status &= (uint16_t)~NET_S_ANNOUNCE;
    net_set_mac(s, s->mac_prop.a);
    net_rss_reset(s);
    net_set_pairs(s, 1);
    net_each_pair(s, net_pair_ready); /* what waited for the old driver's buffers is dropped now */
}

static unsigned net_queue_count(VirtioDev *d)
{
    return ((VirtioNet *)d)->npairs * 2 + 1;
}

static const VqSpec *net_queue_spec(VirtioDev *d, unsigned i, uint16_t *ret_size)
{
    VirtioNet *s = (VirtioNet *)d;

    *ret_size = s->spec[i].size;
    return &s->spec[i];
}

static bool queue_size_ok(const char *name, uint16_t v, unsigned max, GError **err)
{
    return (v >= 256 && v <= max && !(v & (v - 1))) ||
           err_set(
               err, "Invalid %s (= %u), must be a power of 2 between 256 and %u.", name, v, max);
}

static bool net_props_ok(VirtioNet *s, GError **err)
{
    if (s->failover) {
        return err_set(err, "'failover' is not supported");
    }
    if (s->host_mtu && s->host_mtu < NET_MTU_MIN) {
        return err_set(err, "'host_mtu' must be at least %d", NET_MTU_MIN); /* 5.1.4.1 */
    }
    if (!net_tunnel_props_ok(s, peer_offloads(s), err)) {
        return false;
    }
    if (!queue_size_ok("rx_queue_size", s->rx_size, 1024, err)) {
        return false;
    }
    /* QEMU compat: larger transmit rings only with vhost-user and vdpa peers. */
    if (s->tx_size != 256) {
        return err_set(err,
            "Invalid tx_queue_size (= %u), must be a power of 2 between 256 and 256", s->tx_size);
    }
    if (s->duplex && strcmp(s->duplex, "half") && strcmp(s->duplex, "full")) {
        return err_set(err, "'duplex' must be 'half' or 'full'");
    }
    if (s->speed < -1) {
        return err_set(err, "'speed' must be between 0 and INT_MAX");
    }
    if (s->tx && strcmp(s->tx, "bh") && strcmp(s->tx, "timer")) {
        report_warning("virtio-net: Unknown option tx=%s, valid options: \"timer\" \"bh\"", s->tx);
    }
    return true;
}

/* The pairs, each with its end of the cable to a queue of the back end. */
static void net_pairs_new(VirtioNet *s)
{
    const Dev *proxy = (const Dev *)s->vd.transport;
    const char *id = proxy ? proxy->id : NULL;
    bool multi = vf_has(s->vd.prop_features, NET_F_MQ) || vf_has(s->vd.prop_features, NET_F_RSS);
    unsigned n = s->netdev && multi ? net_queues(s->netdev) : 1;

    s->npairs = MIN(n, (unsigned)(VIRTIO_QUEUE_MAX - 1) / 2);
    s->pair = g_new0(NetPair, s->npairs);
    s->ports = g_new0(NetPort *, s->npairs);
    s->spec = g_new0(VqSpec, s->npairs * 2 + 1);
    for (unsigned i = 0; i < s->npairs; i++) {
        NetPair *q = &s->pair[i];
        g_autofree char *name = id ? g_strdup(id) : net_nic_name("virtio-net-pci");

        q->s = s;
        net_port_init(&q->port, &net_ops, "nic", name);
        q->port.index = i;
        s->spec[i * 2] = (VqSpec){ .size = s->rx_size, .elem_size = sizeof(VqElem) };
        s->spec[i * 2 + 1] = (VqSpec){ .size = s->tx_size, .elem_size = sizeof(VqElem) };
        if (i) {
            s->ports[i - 1] = &q->port;
        }
        if (s->netdev) {
            net_connect(&q->port, net_queue(s->netdev, i));
        }
    }
    s->spec[s->npairs * 2] = (VqSpec){ .size = 64, .elem_size = sizeof(VqElem) };
    s->tx_timed = !g_strcmp0(s->tx, "timer");
    net_roles(s, s->npairs > 1);
    NetPort *p = &s->pair[0].port;

    p->queue = s->ports;
    p->nqueues = s->npairs;
    net_set_mac(s, s->mac_prop.a);
}

static void net_unrealize(VirtioDev *d)
{
    VirtioNet *s = (VirtioNet *)d;

    net_loops_free(s);
    g_clear_pointer(&s->coal, g_free);
    for (unsigned i = s->npairs; i-- > 0;) {
        net_port_fini(&s->pair[i].port);
        net_soft_free(&s->pair[i]);
        net_rsc_free(&s->pair[i]);
    }
    s->npairs = 0;
    g_clear_pointer(&s->pair, g_free);
    g_clear_pointer(&s->ports, g_free);
    g_clear_pointer(&s->spec, g_free);
}

static bool net_realize(VirtioDev *d, GError **err)
{
    VirtioNet *s = (VirtioNet *)d;

    if (!net_props_ok(s, err)) {
        return false;
    }
    if (!s->mac_prop.set) {
        net_default_mac(&s->mac_prop);
    }
    net_pairs_new(s);
    if (!net_loops_new(s, err)) {
        net_unrealize(d);
        return false;
    }
    net_coal_new(s);
    s->hdr_len = 12;
    s->status = NET_S_LINK_UP;
    net_filter_reset(s);
    net_set_pairs(s, 1);
    return true;
}

#define FEATURE(n, b, d, h) PROP_FEATURE(n, VirtioNet, vd.prop_features, b, d, h)
/* clang-format off */
const PropSpec virtio_net_props[] = {
    PROP_NETDEV("netdev", VirtioNet, netdev, "back end"),
    PROP_MAC("mac", VirtioNet, mac_prop, "hardware address"),
    PROP_I32("bootindex", VirtioNet, bootindex, -1, "place in the boot order"),
    PROP_IOTHREAD_USE_AS("x-", VirtioNet, threads),
    FEATURE("csum", NET_F_CSUM, true, "checksum offload, transmit"),
    FEATURE("guest_csum", NET_F_GUEST_CSUM, true, "checksum offload, receive"),
    FEATURE("gso", NET_F_GSO, true, "legacy segmentation offload"),
    FEATURE("guest_tso4", NET_F_GUEST_TSO4, true, "large TCPv4, receive"),
    FEATURE("guest_tso6", NET_F_GUEST_TSO6, true, "large TCPv6, receive"),
    FEATURE("guest_ecn", NET_F_GUEST_ECN, true, "large TCP with ECN, receive"),
    FEATURE("guest_ufo", NET_F_GUEST_UFO, true, "large UDP, receive"),
    FEATURE("guest_announce", NET_F_GUEST_ANNOUNCE, true, "ask the guest to announce itself"),
    FEATURE("guest_uso4", NET_F_GUEST_USO4, true, "UDPv4 segmentation, receive"),
    FEATURE("guest_uso6", NET_F_GUEST_USO6, true, "UDPv6 segmentation, receive"),
    FEATURE("host_uso", NET_F_HOST_USO, true, "UDP segmentation, transmit"),
    FEATURE("host_tso4", NET_F_HOST_TSO4, true, "large TCPv4, transmit"),
    FEATURE("host_tso6", NET_F_HOST_TSO6, true, "large TCPv6, transmit"),
    FEATURE("host_ecn", NET_F_HOST_ECN, true, "large TCP with ECN, transmit"),
    FEATURE("host_ufo", NET_F_HOST_UFO, true, "large UDP, transmit"),
    FEATURE("mrg_rxbuf", NET_F_MRG_RXBUF, true, "mergeable receive buffers"),
    FEATURE("status", NET_F_STATUS, true, "link state"),
    FEATURE("ctrl_vq", NET_F_CTRL_VQ, true, "control queue"),
    FEATURE("ctrl_rx", NET_F_CTRL_RX, true, "receive modes"),
    FEATURE("ctrl_vlan", NET_F_CTRL_VLAN, true, "VLAN filter"),
    FEATURE("ctrl_rx_extra", NET_F_CTRL_RX_EXTRA, true, "more receive modes"),
    FEATURE("ctrl_mac_addr", NET_F_CTRL_MAC_ADDR, true, "setting the address"),
    FEATURE("ctrl_guest_offloads", NET_F_CTRL_GUEST_OFFLOADS, true, "switching receive offloads"),
    FEATURE("mq", NET_F_MQ, false, "several queue pairs, as many as the back end has"),
    FEATURE("rss", NET_F_RSS, false, "receive-side scaling"),
    FEATURE("hash", NET_F_HASH_REPORT, false, "hash report; needs a back end with a header"),
    FEATURE("x-notf-coal", NET_F_NOTF_COAL, false, "notifications by number and by time"),
    FEATURE("x-vq-notf-coal", NET_F_VQ_NOTF_COAL, false, "the same for single queues"),
    FEATURE("guest_rsc_ext", NET_F_RSC_EXT, false, "large TCP is made of small, and told so"),
    FEATURE("x-guest_tunnel", NET_F_GUEST_TUNNEL, false, "large packets in UDP tunnels, receive"),
    FEATURE("x-guest_tunnel_csum", NET_F_GUEST_TUNNEL_CSUM, false, "the outer checksum, receive"),
    FEATURE("x-host_tunnel", NET_F_HOST_TUNNEL, false, "large packets in UDP tunnels, transmit"),
    FEATURE("x-host_tunnel_csum", NET_F_HOST_TUNNEL_CSUM, false, "the outer checksum, transmit"),
    PROP_JSON("ebpf-rss-fds", VirtioNet, ebpf_fds, "accepted, unused"),
    PROP_U32("rsc_interval", VirtioNet, rsc_interval, 300000,
        "nanoseconds that a segment waits for others"),
    PROP_BOOL("failover", VirtioNet, failover, false, "refused: no failover"),
    PROP_U16("host_mtu", VirtioNet, host_mtu, 0, "MTU told to the guest"),
    PROP_BOOL("x-mtu-bypass-backend", VirtioNet, mtu_bypass, true, "accepted, unused"),
    PROP_I32("speed", VirtioNet, speed, -1, "link speed in Mb/s"),
    PROP_STR("duplex", VirtioNet, duplex, "half or full"),
    PROP_U16("rx_queue_size", VirtioNet, rx_size, 256, "receive descriptors"),
    PROP_U16("tx_queue_size", VirtioNet, tx_size, 256, "transmit descriptors"),
    PROP_STR("tx", VirtioNet, tx, "timer: sending waits for x-txtimer; bh: it does not"),
    PROP_U32("x-txtimer", VirtioNet, tx_timer, 150000, "nanoseconds tx=timer waits"),
    PROP_BOOL("x-soft-offloads", VirtioNet, soft_offloads, false,
        "transmit offloads that the back end lacks are done here"),
    PROP_I32("x-txburst", VirtioNet, tx_burst, 256, "packets sent at once with tx=timer"),
    PROP_END,
};
/* clang-format on */

/* VIRTIO 1.4, 5.1.3.1 */
static const VirtioNeed net_needs[] = {
    { NET_F_GUEST_TSO4, { NET_F_GUEST_CSUM, NET_F_GUEST_CSUM } },
    { NET_F_GUEST_TSO6, { NET_F_GUEST_CSUM, NET_F_GUEST_CSUM } },
    { NET_F_GUEST_ECN, { NET_F_GUEST_TSO4, NET_F_GUEST_TSO6 } },
    { NET_F_GUEST_UFO, { NET_F_GUEST_CSUM, NET_F_GUEST_CSUM } },
    { NET_F_HOST_TSO4, { NET_F_CSUM, NET_F_CSUM } },
    { NET_F_HOST_TSO6, { NET_F_CSUM, NET_F_CSUM } },
    { NET_F_HOST_ECN, { NET_F_HOST_TSO4, NET_F_HOST_TSO6 } },
    { NET_F_HOST_UFO, { NET_F_CSUM, NET_F_CSUM } },
    { NET_F_CTRL_RX, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_CTRL_VLAN, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_CTRL_RX_EXTRA, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } }, /* 5.1.4.1 */
    { NET_F_GUEST_ANNOUNCE, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_MQ, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_RSS, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_HASH_REPORT, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_GUEST_USO4, { NET_F_GUEST_CSUM, NET_F_GUEST_CSUM } },
    { NET_F_GUEST_USO6, { NET_F_GUEST_CSUM, NET_F_GUEST_CSUM } },
    { NET_F_HOST_USO, { NET_F_CSUM, NET_F_CSUM } },
    { NET_F_GUEST_TUNNEL, { NET_F_GUEST_TSO4, NET_F_GUEST_TSO4 } },
    { NET_F_GUEST_TUNNEL, { NET_F_GUEST_TSO6, NET_F_GUEST_TSO6 } },
    { NET_F_GUEST_TUNNEL, { NET_F_GUEST_USO4, NET_F_GUEST_USO4 } },
    { NET_F_GUEST_TUNNEL, { NET_F_GUEST_USO6, NET_F_GUEST_USO6 } },
    { NET_F_GUEST_TUNNEL_CSUM, { NET_F_GUEST_TUNNEL, NET_F_GUEST_TUNNEL } },
    { NET_F_HOST_TUNNEL, { NET_F_HOST_TSO4, NET_F_HOST_TSO4 } },
    { NET_F_HOST_TUNNEL, { NET_F_HOST_TSO6, NET_F_HOST_TSO6 } },
    { NET_F_HOST_TUNNEL, { NET_F_HOST_USO, NET_F_HOST_USO } },
    { NET_F_HOST_TUNNEL_CSUM, { NET_F_HOST_TUNNEL, NET_F_HOST_TUNNEL } },
    { NET_F_CTRL_MAC_ADDR, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_RSC_EXT, { NET_F_HOST_TSO4, NET_F_HOST_TSO6 } },
    { NET_F_NOTF_COAL, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
    { NET_F_VQ_NOTF_COAL, { NET_F_CTRL_VQ, NET_F_CTRL_VQ } },
};

static const VirtioOps virtio_net_ops = {
    .id = 1,
    .transitional_id = 0x1000,
    .pci_class = 0x020000,
    .needs = net_needs,
    .nneeds = G_N_ELEMENTS(net_needs),
    .queue_count = net_queue_count,
    .queue_spec = net_queue_spec,
    .queue_loop = net_queue_loop,
    .config_size = sizeof(NetConfig),
    .config_len = net_config_len,
    .offer = net_offer,
    .offer_legacy = net_offer_legacy,
    .config_told = true,
    .config = net_config,
    .config_wrote = net_config_wrote,
    .start = net_start,
    .stop = net_stop,
    .queue_reset = net_queue_reset,
    .reset = net_reset,
    .realize = net_realize,
    .unrealize = net_unrealize,
    .romfile = "efi-virtio.rom", /* of the ipxe-qemu package */
};

const ObjClass virtio_net_class = {
    .name = "virtio-net-device",
    .parent = "virtio-device",
    .help = "a network card",
    .category = "Network",
    .size = sizeof(VirtioNet),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_net_props, NULL }, { NULL, NULL } },
    .ops = &virtio_net_ops,
};
VIRTIO_PCI_TYPES(virtio_net, "virtio-net", virtio_net_class, virtio_net_props, "Network");
