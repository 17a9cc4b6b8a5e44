/* virtio-net with several queue pairs: which of them are used, receive-side scaling and hashes
 * (VIRTIO 1.4, 5.1.9.4.3, 5.1.9.5.6, 5.1.9.5.7), and tx=timer. Tested by test-virtio-net-mq. */
#include "virtio-net-rsc.h"

#include <string.h>

enum { HASH_LOOK = 256 }; /* bytes of a frame that decide its hash, at most */
enum { ETH_IP4 = 0x0800, ETH_IP6 = 0x86dd, ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8 };
enum { IP_TCP = 6, IP_UDP = 17, IP6_HOP = 0, IP6_ROUTING = 43, IP6_FRAGMENT = 44, IP6_DEST = 60 };
enum {
    TYPE_IP4 = 1,
    TYPE_TCP4 = 2,
    TYPE_UDP4 = 4,
    TYPE_IP6 = 8,
    TYPE_TCP6 = 16,
    TYPE_UDP6 = 32,
    TYPE_IP_EX = 64,
    TYPE_TCP_EX = 128,
    TYPE_UDP_EX = 256
};
enum {
    REPORT_NONE,
    REPORT_IP4,
    REPORT_TCP4,
    REPORT_UDP4,
    REPORT_IP6,
    REPORT_TCP6,
    REPORT_UDP6,
    REPORT_IP6_EX,
    REPORT_TCP6_EX,
    REPORT_UDP6_EX
};

/* ---- hashes ---- */

/* What a frame holds. */
typedef struct Headers {
    unsigned size; /* of an address: 4, 16; 0: no IP */
    const uint8_t *src, *dst;
    const uint8_t *home, *route; /* of IPv6 extension headers, else src and dst */
    bool extended;
    uint8_t proto;        /* TCP or UDP with its ports, else 0 */
    const uint8_t *ports; /* source, destination */
} Headers;

static void find_ports(Headers *h, uint8_t proto, const uint8_t *at, const uint8_t *end)
{
    size_t need = proto == IP_TCP ? 20 : 8;

    if ((proto == IP_TCP || proto == IP_UDP) && (size_t)(end - at) >= need) {
        h->proto = proto;
        h->ports = at;
    }
}

static void find_ip4(Headers *h, const uint8_t *p, const uint8_t *end)
{
    size_t len = end - p < 20 ? 0 : (size_t)(p[0] & 15) * 4;

    if (len < 20 || p[0] >> 4 != 4 || (size_t)(end - p) < len) {
        return;
    }
    h->size = 4;
    h->src = h->home = p + 12;
    h->dst = h->route = p + 16;
    /* Only the first fragment has ports: the others would go elsewhere. */
    if (!((p[6] & 0x3f) | p[7])) {
        find_ports(h, p[9], p + len, end);
    }
}

/* The home address among destination options (RFC 6275, 6.3). */
static void find_home(Headers *h, const uint8_t *p, const uint8_t *end)
{
    while (end - p >= 2) {
        size_t len = p[0] ? (size_t)p[1] + 2 : 1; /* Pad1 has no length */

        if ((size_t)(end - p) < len) {
            return;
        }
        if (p[0] == 0xc9 && len == 18) {
            h->home = p + 2;
        }
        p += len;
    }
}

static void find_ip6(Headers *h, const uint8_t *p, const uint8_t *end)
{
    if (end - p < 40 || p[0] >> 4 != 6) {
        return;
    }
    uint8_t next = p[6];

    h->size = 16;
    h->src = h->home = p + 8;
    h->dst = h->route = p + 24;
    p += 40;
    for (;;) {
        if (next != IP6_HOP && next != IP6_ROUTING && next != IP6_DEST && next != IP6_FRAGMENT) {
            find_ports(h, next, p, end);
            return;
        }
        size_t len = next == IP6_FRAGMENT ? 8 : end - p < 8 ? 0 : ((size_t)p[1] + 1) * 8;

        h->extended = true;
        if (!len || (size_t)(end - p) < len || next == IP6_FRAGMENT) {
            return;
        }
        if (next == IP6_DEST) {
            find_home(h, p + 2, p + len);
        } else if (next == IP6_ROUTING && p[2] == 2 && len == 24) {
            h->route = p + 8; /* RFC 6275, 6.4 */
        }
        next = p[0];
        p += len;
    }
}

static void find_headers(Headers *h, const uint8_t *frame, size_t len)
{
    size_t at = 12;

    *h = (Headers){ 0 };
    for (unsigned tags = 0; at + 2 <= len && tags < 3; tags++) {
        unsigned type = (unsigned)frame[at] << 8 | frame[at + 1];

        if (type == ETH_IP4) {
            find_ip4(h, frame + at + 2, frame + len);
        } else if (type == ETH_IP6) {
            find_ip6(h, frame + at + 2, frame + len);
        }
        if (type != ETH_VLAN && type != ETH_QINQ) {
            return;
        }
        at += 4;
    }
}

/* Toeplitz: for each set bit of the input, the 32 bits of the key that begin there. */
static uint32_t toeplitz(const uint8_t *key, const uint8_t *in, size_t len)
{
    uint32_t hash = 0;
    uint64_t window = 0;

    for (unsigned i = 0; i < 8; i++) {
        window = window << 8 | key[i];
    }
    for (size_t i = 0; i < len; i++) {
        for (unsigned b = 0; b < 8; b++) {
            hash ^= in[i] & (0x80u >> b) ? (uint32_t)(window >> (32 - b)) : 0;
        }
        window = window << 8 | (i + 8 < NET_RSS_KEY ? key[i + 8] : 0);
    }
    return hash;
}

uint32_t net_hash(const NetRss *r, const uint8_t *frame, size_t len, uint16_t *ret_report)
{
    static const struct {
        uint16_t type;
        uint8_t report, size, proto; /* proto 0: addresses alone */
        bool ex;
    } rows[] = { { TYPE_TCP4, REPORT_TCP4, 4, IP_TCP, false },
        { TYPE_UDP4, REPORT_UDP4, 4, IP_UDP, false }, { TYPE_IP4, REPORT_IP4, 4, 0, false },
        { TYPE_TCP_EX, REPORT_TCP6_EX, 16, IP_TCP, true },
        { TYPE_UDP_EX, REPORT_UDP6_EX, 16, IP_UDP, true },
        { TYPE_IP_EX, REPORT_IP6_EX, 16, 0, true }, { TYPE_TCP6, REPORT_TCP6, 16, IP_TCP, false },
        { TYPE_UDP6, REPORT_UDP6, 16, IP_UDP, false }, { TYPE_IP6, REPORT_IP6, 16, 0, false } };
    Headers h;
    uint8_t in[36];

    find_headers(&h, frame, len);
    for (unsigned i = 0; h.size && i < G_N_ELEMENTS(rows); i++) {
        if (!(r->types & rows[i].type) || rows[i].size != h.size ||
            (rows[i].proto && rows[i].proto != h.proto) || (rows[i].ex && !h.extended)) {
            continue;
        }
        memcpy(in, rows[i].ex ? h.home : h.src, h.size);
        memcpy(in + h.size, rows[i].ex ? h.route : h.dst, h.size);
        if (rows[i].proto) {
            memcpy(in + h.size * 2, h.ports, 4);
        }
        *ret_report = rows[i].report;
        return toeplitz(r->key, in, h.size * 2 + (rows[i].proto ? 4 : 0));
    }
    *ret_report = REPORT_NONE;
    return 0;
}

/* ---- which pair ---- */

unsigned net_steer(const VirtioNet *s, unsigned from, const GIov *data, NetHeader *h)
{
    uint8_t look[HASH_LOOK];
    size_t len = MIN(data->left, sizeof look);
    uint16_t report = REPORT_NONE;
    uint32_t hash = 0;

    if (s->rss.types && giov_peek(data, look, len)) {
        hash = net_hash(&s->rss, look, len, &report);
    }
    if (virtio_has(&s->vd, NET_F_HASH_REPORT)) {
        h->hash_value = le32_of(hash);
        h->hash_report = le16_of(report);
    }
    if (s->rss.steer) {
        return report == REPORT_NONE ? s->rss.unclassified : s->rss.table[hash & s->rss.mask];
    }
    /* What came for a pair that rests now, or whose queue is being reset (5.1.9.5.6.2). */
    unsigned to = from % s->active;

    for (unsigned i = 0; i < s->active; i++) {
        if (vq_open(net_rxq(s, (to + i) % s->active))) {
            return (to + i) % s->active;
        }
    }
    return to;
}

/* What is held came for the pairs there were. */
static void pair_flush(NetPair *q)
{
    if (q->rsc) {
        net_rsc_flush(q);
    }
}

static void enable(NetPort *b, bool on)
{
    if (b->backend && b->backend->enable) {
        b->backend->enable(b, on);
    }
}

static void pair_enable(NetPair *q)
{
    if (q->port.peer) {
        enable(q->port.peer, q->port.index < q->s->active);
    }
    net_ready(&q->port); /* what waited may have another place now */
}

void net_set_pairs(VirtioNet *s, unsigned n)
{
    net_each_pair(s, pair_flush);
    s->active = n;
    s->special = s->npairs > 1 || s->rss.steer || s->rss.types;
    NetPort *first = s->pair[0].port.peer; /* the property's back end may be gone */

    net_each_pair(s, pair_enable);
    for (unsigned i = s->npairs; first && first->backend && i < net_queues(first); i++) {
        enable(net_queue(first, i), false);
    }
}

void net_rss_reset(VirtioNet *s)
{
    s->rss = (NetRss){ 0 };
}

/* The end that both commands share: the key. */
static bool read_key(GIov *in, NetRss *ret)
{
    uint8_t len;

    return giov_get(in, &len, 1) && len <= NET_RSS_KEY && in->left == len &&
           (!len || giov_get(in, ret->key, len));
}

static bool hash_config(VirtioNet *s, GIov *in)
{
    struct {
        le32 types;
        le16 reserved[4];
    } head;
    NetRss r = { 0 };

    if (!virtio_has(&s->vd, NET_F_HASH_REPORT) || !giov_get(in, &head, sizeof head) ||
        le32_get(head.types) & ~(uint32_t)NET_HASH_TYPES || !read_key(in, &r)) {
        return false;
    }
    r.types = le32_get(head.types);
    s->rss = r;
    net_set_pairs(s, s->active);
    return true;
}

static bool rss_config(VirtioNet *s, GIov *in)
{
    struct {
        le32 types;
        le16 mask, unclassified;
    } head;
    NetRss r = { .steer = true };
    le16 table[NET_RSS_TABLE], max_tx;

    if (!virtio_has(&s->vd, NET_F_RSS) || !giov_get(in, &head, sizeof head)) {
        return false;
    }
    r.types = le32_get(head.types);
    r.mask = le16_get(head.mask);
    r.unclassified = le16_get(head.unclassified);
    size_t n = (size_t)r.mask + 1;

    if (r.types & ~(uint32_t)NET_HASH_TYPES || n > NET_RSS_TABLE || n & (n - 1) ||
        r.unclassified >= s->npairs || !giov_get(in, table, n * sizeof table[0]) ||
        !giov_get(in, &max_tx, sizeof max_tx) || !le16_get(max_tx) ||
        le16_get(max_tx) > s->npairs || !read_key(in, &r)) {
        return false;
    }
    unsigned used = le16_get(max_tx);

    for (size_t i = 0; i < n; i++) {
        r.table[i] = le16_get(table[i]);
        if (r.table[i] >= s->npairs) {
            return false;
        }
    }
    s->rss = r;
    net_set_pairs(s, used);
    return true;
}

bool net_ctrl_mq(VirtioNet *s, uint8_t cmd, GIov *in)
{
    le16 pairs;

    switch (cmd) {
    case 0: /* VQ_PAIRS_SET */
        if (!virtio_has(&s->vd, NET_F_MQ) || in->left != 2 || !giov_get(in, &pairs, sizeof pairs) ||
            !le16_get(pairs) || le16_get(pairs) > s->npairs) {
            return false;
        }
        s->rss.steer = false; /* automatic steering is back */
        net_set_pairs(s, le16_get(pairs));
        return true;
    case 1:
        return rss_config(s, in);
    case 2:
        return hash_config(s, in);
    default:
        return false;
    }
}

/* ---- tx=timer ---- */

bool net_tx_turn(NetPair *q, VirtQueue *vq)
{
    const VirtioNet *s = q->s;

    if (!s->tx_timed || q->tx_quota) {
        q->tx_quota -= s->tx_timed;
        q->tx_count++; /* one that has to wait for its peer is counted again: no harm */
        return true;
    }
    if (!timer_pending(&q->tx_timer)) {
        timer_mod(&q->tx_timer, clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)s->tx_timer);
    }
    return false;
}

void net_tx_batch_end(VirtioDev *d, VirtQueue *vq)
{
    VirtioNet *s = (VirtioNet *)d;
    NetPair *q = &s->pair[vq_index(vq) / 2];

    if (s->coalescing) {
        net_coal_count(s, vq_index(vq), q->tx_count);
    }
    q->tx_count = 0;
    /* All was sent: the next kick waits for its time. */
    if (s->tx_timed && vq_empty(vq)) {
        q->tx_quota = 0;
    }
}

void net_tx_timer(void *opaque)
{
    NetPair *q = opaque;

    if (!q->held) {
        q->tx_quota = q->s->tx_burst > 0 ? (unsigned)q->s->tx_burst : UINT32_MAX;
        vq_resume(virtio_queue(&q->s->vd, q->port.index * 2 + 1));
    }
}
