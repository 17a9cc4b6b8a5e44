/* virtio-net's offloads where the back end has none: the device completes checksums and makes the
 * segments itself (VIRTIO 1.4, 5.1.9.2.2). Tested by test-virtio-net-soft. */
#include "net/csum.h"
#include "util/log.h"
#include "virtio-net.h"

/* A frame that is looked into lies in memory that the driver cannot change. */
static uint8_t *soft_copy(uint8_t **at, GIov *data, size_t *ret_len)
{
    *ret_len = data->left;
    if (!*at) {
        *at = g_malloc(NET_FRAME_MAX);
    }
    bool ok = data->left <= NET_FRAME_MAX && giov_get(data, *at, *ret_len);

    g_assert(ok);
    return *at;
}

static bool soft_complete(uint8_t *frame, size_t len, const NetHeader *h)
{
    return !(h->flags & NET_HDR_NEEDS_CSUM) ||
           net_csum_complete(frame, len, le16_get(h->csum_start), le16_get(h->csum_offset));
}

/* Makes q->segs of the frame. False: the header asks for what cannot be. */
static bool soft_begin(NetPair *q, GIov *data, const NetHeader *h)
{
    uint8_t type = h->gso_type & (uint8_t)~NET_GSO_ECN;
    size_t len;
    uint8_t *f = soft_copy(&q->soft_tx, data, &len);

    /* Of a packet that becomes fragments the one checksum covers all. */
    if ((type == NET_GSO_NONE || type == NET_GSO_UDP) && !soft_complete(f, len, h)) {
        return false;
    }
    if (type != NET_GSO_NONE) {
        return net_segs_init(&q->segs, f, len, type, le16_get(h->gso_size), ++q->fragment_id);
    }
    q->segs = (NetSegs){ .frame = f, .len = len, .n = 1 };
    return true;
}

VqVerdict net_soft_send(NetPair *q, GIov *data, const NetHeader *h)
{
    NetSegs *g = &q->segs;
    uint32_t hdr = q->port.peer->vnet_hdr_len;
    uint8_t none[NET_HDR_MAX] = { 0 }, head[NET_SEG_HEAD];

    /* What has begun goes on where it stopped: the driver cannot take it back. */
    if (!g->n && !soft_begin(q, data, h)) {
        log_guest_error("virtio-net: a packet of type %u, size %u, checksum at %u + %u is not one",
            h->gso_type, le16_get(h->gso_size), le16_get(h->csum_start), le16_get(h->csum_offset));
        g->n = 0;
        return VQ_DONE;
    }
    for (; g->next < g->n; g->next++) {
        const uint8_t *body = g->frame;
        size_t len = g->len, hlen = g->type ? net_segs_make(g, head, &body, &len) : 0;
        const struct iovec iov[3] = { { none, hdr }, { head, hlen },
            { (void *)(uintptr_t)body, len } };
        unsigned skip = hdr ? 0 : 1;

        if (net_send(&q->port, iov + skip, 3 - skip, hdr + hlen + len) == NET_QUEUED) {
            return VQ_STOP;
        }
    }
    g->n = 0;
    return VQ_DONE;
}

void net_soft_free(NetPair *q)
{
    g_clear_pointer(&q->soft_tx, g_free);
    g_clear_pointer(&q->soft_rx, g_free);
}

bool net_soft_complete(NetPair *q, GIov *data, const NetHeader *h, struct iovec *ret)
{
    size_t len;
    uint8_t *f = soft_copy(&q->soft_rx, data, &len);

    *ret = (struct iovec){ f, len };
    giov_init(data, ret, 1);
    return soft_complete(f, len, h);
}
