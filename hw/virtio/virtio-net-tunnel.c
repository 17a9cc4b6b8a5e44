/* virtio-net's packets in UDP tunnels, which the host's tap segments (VIRTIO 1.4, 5.1.3, bits 65
 * to 68; 5.1.9.2.2, 5.1.9.4.1). Tested by test-virtio-net-tunnel and, through a real tap,
 * test-tap-tunnel. */
#include "virtio-net.h"

/* 5.1.9.4.1: "corresponding header information": UDP, then the inner network header, then what the
 * checksum is of, which lies in the packet (csum_fits()). */
static bool offsets_ok(const NetHeader *h)
{
    enum { UDP_LEN = 8 };
    unsigned inner = le16_get(h->inner_nh_offset);

    return le16_get(h->outer_th_offset) + UDP_LEN <= inner && inner < le16_get(h->csum_start);
}

bool net_tunnel_check(const VirtioNet *s, NetHeader *h, bool rx)
{
    uint8_t tunnel = h->gso_type & NET_GSO_TUNNEL;
    uint8_t type = h->gso_type & (uint8_t) ~(NET_GSO_TUNNEL | NET_GSO_ECN);
    bool known = virtio_has(&s->vd, rx ? NET_F_GUEST_TUNNEL_CSUM : NET_F_HOST_TUNNEL_CSUM);
    bool csum = h->flags & NET_HDR_TUNNEL_CSUM;

    if (!tunnel) {
        return !csum || !known;
    }
    if (!rx && !known) {
        h->flags &= (uint8_t)~NET_HDR_TUNNEL_CSUM; /* it means nothing: the host is not asked */
    }
    /* 5.1.9.2.2: "the device MUST NOT accept the packet"; 5.1.9.4.1 */
    return virtio_has(&s->vd, rx ? NET_F_GUEST_TUNNEL : NET_F_HOST_TUNNEL) &&
           (!rx || s->guest_offloads & NET_OFFLOAD_TUNNEL) && tunnel != NET_GSO_TUNNEL &&
           h->flags & NET_HDR_NEEDS_CSUM && !(h->flags & NET_HDR_DATA_VALID) &&
           (type == NET_GSO_TCPV4 || type == NET_GSO_TCPV6 || type == NET_GSO_UDP_L4) &&
           (!rx || offsets_ok(h)) &&
           (!rx || !csum || (known && s->guest_offloads & NET_OFFLOAD_TUNNEL_CSUM));
}

bool net_tunnel_props_ok(const VirtioNet *s, uint64_t can, GError **err)
{
    static const struct {
        unsigned bit;
        const char *name;
        uint64_t offload;
    } row[] = { { NET_F_GUEST_TUNNEL, "x-guest_tunnel", NET_OFFLOAD_TUNNEL },
        { NET_F_GUEST_TUNNEL_CSUM, "x-guest_tunnel_csum", NET_OFFLOAD_TUNNEL_CSUM },
        { NET_F_HOST_TUNNEL, "x-host_tunnel", NET_OFFLOAD_TUNNEL },
        { NET_F_HOST_TUNNEL_CSUM, "x-host_tunnel_csum", NET_OFFLOAD_TUNNEL_CSUM } };

    for (unsigned i = 0; i < G_N_ELEMENTS(row); i++) {
        if (vf_has(s->vd.prop_features, row[i].bit) && !(can & row[i].offload)) {
            return err_set(
                err, "'%s' needs a tap that segments UDP tunnels (Linux 6.17)", row[i].name);
        }
    }
    return true;
}

uint64_t net_tunnel_offload_bits(const VirtioNet *s)
{
    return (uint64_t)virtio_has(&s->vd, NET_F_GUEST_TUNNEL) << NET_OFFLOAD_BIT_TUNNEL |
           (uint64_t)virtio_has(&s->vd, NET_F_GUEST_TUNNEL_CSUM) << NET_OFFLOAD_BIT_TUNNEL_CSUM;
}
