/* virtio-net's control queue and the receive filter it sets (VIRTIO 1.4, 5.1.6.5). */
#include "util/bitmap.h"
#include "virtio-net-rsc.h"

#include <string.h>

enum {
    CLASS_RX = 0,
    CLASS_MAC = 1,
    CLASS_VLAN = 2,
    CLASS_ANNOUNCE = 3,
    CLASS_MQ = 4,
    CLASS_GUEST_OFFLOADS = 5,
    CLASS_NOTF_COAL = 6
};
enum { ACK_OK = 0, ACK_ERR = 1 };

void net_filter_reset(VirtioNet *s)
{
    s->promisc = true; /* until the driver says otherwise: a legacy driver without the queue sees
                          everything */
    s->allmulti = s->alluni = s->nomulti = s->nouni = s->nobcast = false;
    s->uni = s->multi = (MacTable){ 0 };
    memset(s->vlans, 0, sizeof s->vlans);
}

static bool table_has(const MacTable *t, const uint8_t *mac)
{
    for (unsigned i = 0; i < t->n; i++) {
        if (!memcmp(t->a[i], mac, 6)) {
            return true;
        }
    }
    return t->overflow;
}

bool net_filter_accepts(const VirtioNet *s, const uint8_t *frame, size_t len)
{
    static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

    if (s->promisc || len < 14) {
        return true;
    }
    if (len >= 18 && frame[12] == 0x81 && frame[13] == 0x00 &&
        virtio_has(&s->vd, NET_F_CTRL_VLAN) &&
        !bitmap_test(s->vlans, (size_t)((frame[14] & 0xf) << 8 | frame[15]))) {
        return false;
    }
    if (!memcmp(frame, broadcast, 6)) {
        return !s->nobcast;
    }
    if (frame[0] & 1) {
        return !s->nomulti && (s->allmulti || table_has(&s->multi, frame));
    }
    return !s->nouni && (s->alluni || !memcmp(frame, s->mac, 6) || table_has(&s->uni, frame));
}

static Json *mac_json(const uint8_t *mac)
{
    g_autofree char *text = g_strdup_printf(
        "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);

    return json_str(text);
}

/* QEMU compat: the last entry is listed first. */
static Json *table_json(const MacTable *t)
{
    Json *list = json_array();

    for (unsigned i = t->n; i-- > 0;) {
        json_append(list, mac_json(t->a[i]));
    }
    return list;
}

static Json *vlans_json(const VirtioNet *s, bool all)
{
    Json *list = json_array();

    for (unsigned i = NET_VLANS; i-- > 0;) {
        if (all || bitmap_test(s->vlans, i)) {
            json_append(list, json_int(i));
        }
    }
    return list;
}

static Json *mode_json(bool none, bool all)
{
    return json_str(none ? "none" : all ? "all" : "normal");
}

Json *net_filter_describe(NetPort *p)
{
    const VirtioNet *s = net_pair_of(p)->s;
    bool all = !virtio_has(&s->vd, NET_F_CTRL_VLAN);
    Json *j = json_object();

    json_set(j, "promiscuous", json_bool(s->promisc));
    json_set(j, "unicast", mode_json(s->nouni, s->alluni));
    json_set(j, "multicast", mode_json(s->nomulti, s->allmulti));
    /* QEMU compat: the driver's "no broadcast" bit under a name that says the opposite. */
    json_set(j, "broadcast-allowed", json_bool(s->nobcast));
    json_set(j, "multicast-overflow", json_bool(s->multi.overflow));
    json_set(j, "unicast-overflow", json_bool(s->uni.overflow));
    json_set(j, "main-mac", mac_json(s->mac));
    json_set(j, "vlan", mode_json(false, all));
    json_set(j, "vlan-table", vlans_json(s, all));
    json_set(j, "unicast-table", table_json(&s->uni));
    json_set(j, "multicast-table", table_json(&s->multi));
    return j;
}

static void filter_changed(VirtioNet *s)
{
    g_autofree char *path = obj_path(&s->vd.dev.obj);

    net_rx_filter_changed(&s->pair[0].port, path);
}

static bool ctrl_rx(VirtioNet *s, uint8_t cmd, GIov *in)
{
    bool *const mode[] = { &s->promisc, &s->allmulti, &s->alluni, &s->nomulti, &s->nouni,
        &s->nobcast };
    uint8_t on;

    if (cmd >= G_N_ELEMENTS(mode) ||
        !virtio_has(&s->vd, cmd < 2 ? NET_F_CTRL_RX : NET_F_CTRL_RX_EXTRA) || in->left != 1 ||
        !giov_get(in, &on, 1)) {
        return false;
    }
    *mode[cmd] = on != 0;
    return true;
}

/* One half of MAC_TABLE_SET. A table that is longer than ours accepts everything of its kind. */
static bool read_table(GIov *in, MacTable *ret)
{
    le32 count;

    *ret = (MacTable){ 0 };
    if (!giov_get(in, &count, sizeof count)) {
        return false;
    }
    uint32_t n = le32_get(count);
    if (n > in->left / 6) {
        return false;
    }
    if (n > NET_MAC_TABLE) {
        ret->overflow = true;
        return giov_skip(in, (size_t)n * 6);
    }
    ret->n = n;
    return giov_get(in, ret->a, (size_t)n * 6);
}

static bool ctrl_mac(VirtioNet *s, uint8_t cmd, GIov *in)
{
    MacTable uni, multi;
    uint8_t mac[6];

    if (cmd == 1) { /* MAC_ADDR_SET */
        if (!virtio_has(&s->vd, NET_F_CTRL_MAC_ADDR) || in->left != 6 || !giov_get(in, mac, 6)) {
            return false;
        }
        net_set_mac(s, mac);
        virtio_config_stale(&s->vd);
        return true;
    }
    if (cmd != 0 || !virtio_has(&s->vd, NET_F_CTRL_RX) || !read_table(in, &uni) ||
        !read_table(in, &multi) || in->left) {
        return false;
    }
    s->uni = uni;
    s->multi = multi;
    return true;
}

static bool ctrl_vlan(VirtioNet *s, uint8_t cmd, GIov *in)
{
    le16 id;

    if (cmd > 1 || !virtio_has(&s->vd, NET_F_CTRL_VLAN) || in->left != 2 ||
        !giov_get(in, &id, sizeof id) || le16_get(id) >= NET_VLANS) {
        return false;
    }
    if (cmd == 0) {
        bitmap_set(s->vlans, le16_get(id));
    } else {
        bitmap_clear(s->vlans, le16_get(id));
    }
    return true;
}

static bool ctrl_offloads(VirtioNet *s, uint8_t cmd, GIov *in)
{
    le64 want;
    uint64_t can = net_tunnel_offload_bits(s);

    can |= s->vd.features.word[0] &
           (1ull << NET_F_GUEST_CSUM | 1ull << NET_F_GUEST_TSO4 | 1ull << NET_F_GUEST_TSO6 |
               1ull << NET_F_GUEST_ECN | 1ull << NET_F_GUEST_UFO | 1ull << NET_F_GUEST_USO4 |
               1ull << NET_F_GUEST_USO6 |
               1ull << NET_F_RSC_EXT); /* QEMU compat: no offload of 5.1.9.5.9's */

    if (cmd != 0 || !virtio_has(&s->vd, NET_F_CTRL_GUEST_OFFLOADS) || in->left != 8 ||
        !giov_get(in, &want, sizeof want) || le64_get(want) & ~can) {
        return false;
    }
    net_apply_offloads(s, le64_get(want));
    net_each_pair(s, net_rsc_cut);
    return true;
}

static bool ctrl_announce(VirtioNet *s, uint8_t cmd)
{
    if (cmd != 0 || !virtio_has(&s->vd, NET_F_GUEST_ANNOUNCE) || !(s->status & NET_S_ANNOUNCE)) {
        return false;
    }
    s->status &= (uint16_t)~NET_S_ANNOUNCE;
    virtio_config_stale(&s->vd);
    return true;
}

void net_ctrl_run(VirtioNet *s, VqElem *e)
{
    uint8_t head[2], ack = ACK_ERR;
    GIov result = e->in;
    bool ok = giov_get(&e->out, head, sizeof head);

    g_assert(ok);
    ok = false;
    switch (head[0]) {
    case CLASS_RX:
        ok = ctrl_rx(s, head[1], &e->out);
        break;
    case CLASS_MAC:
        ok = ctrl_mac(s, head[1], &e->out);
        break;
    case CLASS_VLAN:
        ok = ctrl_vlan(s, head[1], &e->out);
        break;
    case CLASS_ANNOUNCE:
        ok = ctrl_announce(s, head[1]);
        break;
    case CLASS_MQ:
        ok = net_ctrl_mq(s, head[1], &e->out);
        break;
    case CLASS_GUEST_OFFLOADS:
        ok = ctrl_offloads(s, head[1], &e->out);
        break;
    case CLASS_NOTF_COAL:
        ok = net_ctrl_coal(s, head[1], &e->out, &result);
        break;
    default:
        break;
    }
    if (ok && head[0] <= CLASS_VLAN) {
        filter_changed(s);
    }
    ack = ok ? ACK_OK : ACK_ERR;
    bool fits = giov_put(&e->in, &ack, 1);
    g_assert(fits);
    if (ok && result.left < e->in.left) {
        e->in = result; /* the command has one, which follows the acknowledgement */
    }
}
