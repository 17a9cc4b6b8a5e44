/* virtio-net's receive segment coalescing (VIRTIO 1.4, 5.1.9.4 and 5.1.9.4.1: RSC_EXT). Segments
 * of a flow become one packet only if that packet, cut again, would give them back: same headers,
 * each where the one before ended, all but the last of one size. Tested by test-virtio-net-rsc. */
#include "virtio-net-rsc.h"

#include <string.h>

/* What a queue holds at most, and the headers of a segment that is looked at. */
enum { RSC_FLOWS = 8, RSC_HEAD = 14 + 40 + 60, RSC_IP_MAX = 65535 };
enum { ETH_LEN = 14, IP4_LEN = 20, IP6_LEN = 40, TCP_LEN = 20, TCP_STAMPED = 32, UDP_LEN = 8 };
enum { IP_TCP = 6, TCP_PSH = 8, TCP_ACK = 16, TCP_FLAGS = 13, TCP_SUM = 16, IP4_DF = 0x4000 };

typedef enum RscKind {
    RSC_OTHER, /* no segment of a flow that is known: behind all that is held */
    RSC_ALONE, /* behind what is held of its flow */
    RSC_ACK,   /* no data */
    RSC_DATA
} RscKind;

/* A segment as it came: its headers, and what they say. */
typedef struct RscSeg {
    uint8_t head[RSC_HEAD];
    size_t len; /* without what pads the frame */
    bool ip6, push, padded;
    unsigned tcp, body; /* where they begin */
    uint32_t seq;
} RscSeg;

typedef struct RscFlow {
    uint8_t *frame; /* NET_FRAME_MAX bytes; NULL: not yet */
    size_t len;     /* 0: free */
    unsigned age;
    NetHeader h; /* the first one's */
    RscSeg first;
    unsigned size, segments, dup_acks; /* size: of all segments but the last */
    bool ended;                        /* nothing may follow */
    NetSegs cut;                       /* n: it goes in pieces */
} RscFlow;

typedef struct NetRsc {
    RscFlow flow[RSC_FLOWS];
    Timer timer;
    unsigned age; /* of the flow that began last */
    bool due;     /* something waits for buffers only */
} NetRsc;

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)net_be16(p) << 16 | net_be16(p + 2);
}

/* ---- what a packet is ---- */

/* True: an IP header without options, and TCP behind it. A packet that may be fragmented on its
 * way has an identification, which one large packet has no place for (RFC 6864, 4). */
static bool look_ip(RscSeg *g, size_t have)
{
    const uint8_t *ip = g->head + ETH_LEN;
    unsigned type = net_be16(g->head + 12);
    size_t len = g->len;
    bool tcp = false;

    if (have >= ETH_LEN + IP4_LEN + TCP_LEN && type == 0x0800) {
        g->tcp = ETH_LEN + IP4_LEN;
        g->len = (size_t)ETH_LEN + net_be16(ip + 2);
        tcp = ip[0] == 0x45 && ip[9] == IP_TCP && net_be16(ip + 6) == IP4_DF &&
              net_fold(net_sum(0, ip, IP4_LEN)) == UINT16_MAX;
    } else if (have >= ETH_LEN + IP6_LEN + TCP_LEN && type == 0x86dd) {
        g->ip6 = true;
        g->tcp = ETH_LEN + IP6_LEN;
        g->len = (size_t)g->tcp + net_be16(ip + 4);
        tcp = ip[0] >> 4 == 6 && ip[6] == IP_TCP;
    }
    g->padded = g->len < len;
    return tcp && g->len <= len;
}

static RscKind look(const VirtioNet *s, const NetHeader *h, const GIov *data, RscSeg *g)
{
    size_t have = MIN(data->left, sizeof g->head);

    *g = (RscSeg){ .len = data->left };
    if (!giov_peek(data, g->head, have) || !look_ip(g, have)) {
        return RSC_OTHER;
    }
    const uint8_t *t = g->head + g->tcp;
    uint8_t flags = t[TCP_FLAGS];

    g->seq = get_be32(t + 4);
    g->body = g->tcp + (t[12] >> 4) * 4u;
    g->push = flags & TCP_PSH;
    if (!(s->guest_offloads & (g->ip6 ? NET_OFFLOAD_TSO6 : NET_OFFLOAD_TSO4)) || h->gso_type ||
        g->body > have || g->body > g->len || (t[12] & 15) || (flags & ~TCP_PSH) != TCP_ACK ||
        net_be16(t + 18)) {
        return RSC_ALONE;
    }
    /* No options, or timestamps where everybody has them (RFC 7323, appendix A). */
    if (g->body != g->tcp + TCP_LEN &&
        (g->body != g->tcp + TCP_STAMPED || get_be32(t + TCP_LEN) != 0x0101080a)) {
        return RSC_ALONE;
    }
    if (g->len == g->body) {
        return g->push ? RSC_ALONE : RSC_ACK;
    }
    return g->padded ? RSC_ALONE : RSC_DATA;
}

/* The pseudo header's sum for so much of TCP (RFC 9293, 3.1; RFC 8200, 8.1). */
static uint64_t pseudo_sum(const RscSeg *g, const uint8_t *frame, size_t len)
{
    const uint8_t *ip = frame + ETH_LEN;

    return g->ip6 ? net_sum(IP_TCP + len, ip + 8, 32) : net_sum(IP_TCP + len, ip + 12, 8);
}

/* Somebody vouches for the checksum, or it is right (5.1.9.4.1: "the device MUST validate"). */
static bool checksum_ok(const RscSeg *g, const NetHeader *h, const uint8_t *body)
{
    size_t head = g->body - g->tcp;

    if (h->flags & NET_HDR_NEEDS_CSUM) {
        return le16_get(h->csum_start) == g->tcp && le16_get(h->csum_offset) == TCP_SUM;
    }
    if (h->flags & NET_HDR_DATA_VALID) {
        return true;
    }
    uint64_t sum = pseudo_sum(g, g->head, g->len - g->tcp);

    /* Headers have an even number of bytes: the parts can be summed one by one. */
    return net_fold(net_sum(net_sum(sum, g->head + g->tcp, head), body, g->len - g->body)) ==
           UINT16_MAX;
}

static bool same_flow(const RscSeg *a, const RscSeg *b)
{
    unsigned at = ETH_LEN + (a->ip6 ? 8 : 12); /* addresses and ports stand in a row */

    return a->ip6 == b->ip6 && !memcmp(a->head + at, b->head + at, a->tcp + 4 - at);
}

/* All but lengths, identification, checksums, the sequence number and PSH. */
static bool same_headers(const RscSeg *a, const RscSeg *b)
{
    const uint8_t *x = a->head, *y = b->head;
    unsigned t = a->tcp, ttl = ETH_LEN + (a->ip6 ? 6 : 8), tos = ETH_LEN + (a->ip6 ? 4 : 2);

    return same_flow(a, b) && a->body == b->body && !memcmp(x, y, tos) && x[ttl] == y[ttl] &&
           x[ttl + 1] == y[ttl + 1] &&
           !memcmp(x + t + 8, y + t + 8, 5) &&   /* acknowledgement, data offset */
           !memcmp(x + t + 14, y + t + 14, 2) && /* window */
           !memcmp(x + t + TCP_LEN, y + t + TCP_LEN, a->body - t - TCP_LEN);
}

/* ---- what is held ---- */

/* The frame becomes one large segment, whose checksum the driver completes. */
static void finish(RscFlow *f, NetHeader *ret)
{
    const RscSeg *g = &f->first;
    uint8_t *ip = f->frame + ETH_LEN, *t = f->frame + g->tcp;

    if (g->ip6) {
        net_put_be16(ip + 4, (uint32_t)(f->len - g->tcp));
    } else {
        net_put_be16(ip + 2, (uint32_t)(f->len - ETH_LEN));
        net_put_be16(ip + 10, 0);
        net_put_be16(ip + 10, (uint16_t)~net_fold(net_sum(0, ip, IP4_LEN)));
    }
    net_put_be16(t + TCP_SUM, net_fold(pseudo_sum(g, f->frame, f->len - g->tcp)));
    ret->flags = NET_HDR_NEEDS_CSUM | NET_HDR_RSC_INFO;
    ret->gso_type = g->ip6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4;
    ret->hdr_len = le16_of((uint16_t)g->body);
    ret->gso_size = le16_of((uint16_t)f->size);
    ret->csum_start = le16_of((uint16_t)f->segments);
    ret->csum_offset = le16_of((uint16_t)f->dup_acks);
}

static NetVerdict deliver(NetPair *q, NetHeader *h, GIov *data)
{
    VirtioNet *s = q->s;
    unsigned to = q->port.index;

    /* The driver gave the pair up meanwhile. */
    if (!s->rss.steer && to >= s->active) {
        to %= s->active;
    }
    return s->pair[to].loop == q->loop ? net_rx_deliver(s, net_rxq(s, to), h, data)
                                       : net_rx_to(q, to, h, data);
}

static NetVerdict deliver_bytes(NetPair *q, const NetHeader *h, const struct iovec *iov, unsigned n)
{
    NetHeader copy = *h;
    GIov data;

    giov_init(&data, iov, n);
    return deliver(q, &copy, &data);
}

/* As the segments that it was made of. False: the rest waits. */
static bool deliver_cut(NetPair *q, RscFlow *f)
{
    NetHeader h = f->h;

    h.flags = h.gso_type = 0;
    h.hdr_len = h.gso_size = h.csum_start = h.csum_offset = le16_of(0);
    for (; f->cut.next < f->cut.n; f->cut.next++) {
        uint8_t head[NET_SEG_HEAD];
        const uint8_t *body;
        size_t len, hlen = net_segs_make(&f->cut, head, &body, &len);
        const struct iovec iov[2] = { { head, hlen }, { (void *)(uintptr_t)body, len } };

        if (deliver_bytes(q, &h, iov, 2) == NET_QUEUED) {
            return false;
        }
    }
    return true;
}

/* False: the driver has no buffers for it, it stays. */
static bool flush(NetPair *q, RscFlow *f)
{
    const struct iovec iov = { f->frame, f->len };
    NetHeader h = f->h;

    if (f->segments + f->dup_acks > 1) {
        finish(f, &h);
    }
    if (f->cut.n ? !deliver_cut(q, f) : deliver_bytes(q, &h, &iov, 1) == NET_QUEUED) {
        q->rsc->due = true;
        return false;
    }
    f->len = 0;
    return true;
}

/* Of two, the one that began first; a free one has begun before all. */
static RscFlow *oldest(NetRsc *r, bool held)
{
    RscFlow *best = NULL;

    for (unsigned i = 0; i < RSC_FLOWS; i++) {
        RscFlow *f = &r->flow[i];

        if (!f->len && !held) {
            return f;
        }
        /* Ages wrap around; those that are held are not far from each other. */
        if (f->len && (!best || (int)(f->age - best->age) < 0)) {
            best = f;
        }
    }
    return best;
}

bool net_rsc_flush(NetPair *q)
{
    RscFlow *f;

    while ((f = oldest(q->rsc, /* held= */ true))) {
        if (!flush(q, f)) {
            return false;
        }
    }
    q->rsc->due = false;
    return true;
}

static RscFlow *find(NetRsc *r, const RscSeg *g)
{
    for (unsigned i = 0; i < RSC_FLOWS; i++) {
        if (r->flow[i].len && same_flow(&r->flow[i].first, g)) {
            return &r->flow[i];
        }
    }
    return NULL;
}

/* ---- what comes ---- */

/* Whether g goes on where f ends. */
static bool follows(const RscFlow *f, const RscSeg *g)
{
    return !f->ended && g->seq == f->first.seq + (uint32_t)(f->len - f->first.body) &&
           same_headers(&f->first, g);
}

static bool append(RscFlow *f, const RscSeg *g, const NetHeader *h, const GIov *data)
{
    size_t len = g->len - g->body;
    GIov body = *data;

    if (f->dup_acks || len > f->size || f->len - ETH_LEN + len > RSC_IP_MAX || !follows(f, g) ||
        !giov_skip(&body, g->body) || !giov_peek(&body, f->frame + f->len, len) ||
        !checksum_ok(g, h, f->frame + f->len)) {
        return false;
    }
    f->len += len;
    f->segments++;
    f->frame[f->first.tcp + TCP_FLAGS] |= g->head[g->tcp + TCP_FLAGS];
    f->ended = g->push || len < f->size;
    return true;
}

/* An acknowledgement that says again what the flow's last segment said (RFC 5681, 2). */
static bool count_ack(RscFlow *f, const RscSeg *g, const NetHeader *h)
{
    if (f->dup_acks == UINT16_MAX || !follows(f, g) || !checksum_ok(g, h, g->head + g->body)) {
        return false;
    }
    f->dup_acks++;
    return true;
}

/* A flow begins with g. False: it cannot be held. */
static bool hold(NetPair *q, const RscSeg *g, const NetHeader *h, const GIov *data)
{
    NetRsc *r = q->rsc;
    RscFlow *f = oldest(r, /* held= */ false);

    if (g->push || g->len > NET_FRAME_MAX || (f->len && !flush(q, f))) {
        return false;
    }
    if (!f->frame) {
        f->frame = g_malloc(NET_FRAME_MAX);
    }
    if (!giov_peek(data, f->frame, g->len) || !checksum_ok(g, h, f->frame + g->body)) {
        return false;
    }
    uint8_t *frame = f->frame;

    *f = (RscFlow){ .frame = frame,
        .len = g->len,
        .age = ++r->age,
        .h = *h,
        .first = *g,
        .size = (unsigned)(g->len - g->body),
        .segments = 1 };
    if (!timer_pending(&r->timer)) {
        timer_mod(&r->timer, clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)q->s->rsc_interval);
    }
    return true;
}

/* What the host has coalesced is counted like what was coalesced here (5.1.9.4.1). Its hdr_len is
 * a hint: the headers end where those of TCP or UDP do, which begin where the checksum does. */
static void tell_segments(NetHeader *h, const GIov *data)
{
    uint8_t type = h->gso_type & (uint8_t)~NET_GSO_TUNNEL;
    bool udp = type == NET_GSO_UDP || type == NET_GSO_UDP_L4;
    size_t head = le16_get(h->csum_start), size = le16_get(h->gso_size), body = 0;
    uint8_t tcp[TCP_LEN] = { 0 };
    GIov at = *data;

    /* One that was merged for a pair that rests now has its numbers. */
    if (!h->gso_type || h->flags & NET_HDR_RSC_INFO) {
        return;
    }
    if (giov_skip(&at, head) && (udp || giov_get(&at, tcp, sizeof tcp))) {
        head += udp ? UDP_LEN : (tcp[12] >> 4) * 4u;
        body = data->left > head ? data->left - head : 0;
    }
    h->flags |= NET_HDR_RSC_INFO;
    h->csum_start = le16_of((uint16_t)MIN((body + size - 1) / size, (size_t)UINT16_MAX));
    h->csum_offset = le16_of(0);
}

NetVerdict net_rsc_receive(NetPair *q, NetHeader *h, GIov *data)
{
    RscSeg g;
    RscKind kind = look(q->s, h, data, &g);
    RscFlow *f = kind == RSC_OTHER ? NULL : find(q->rsc, &g);

    if (kind == RSC_OTHER && !net_rsc_flush(q)) {
        return NET_QUEUED;
    }
    if (f && kind == RSC_DATA && append(f, &g, h, data)) {
        if (f->ended) {
            flush(q, f);
        }
        return NET_SENT;
    }
    if (f && kind == RSC_ACK && count_ack(f, &g, h)) {
        return NET_SENT;
    }
    if (f && !flush(q, f)) {
        return NET_QUEUED;
    }
    if (kind == RSC_DATA && hold(q, &g, h, data)) {
        return NET_SENT;
    }
    tell_segments(h, data);
    return deliver(q, h, data);
}

void net_rsc_refilled(NetPair *q)
{
    if (q->rsc && q->rsc->due) {
        net_rsc_flush(q);
    }
}

/* While something changes for all pairs it waits for net_rsc_refilled(). */
static void rsc_timer(void *opaque)
{
    NetPair *q = opaque;

    q->rsc->due = true;
    if (!q->held) {
        net_rsc_flush(q);
    }
}

void net_rsc_start(NetPair *q)
{
    if (!q->rsc) {
        q->rsc = g_new0(NetRsc, 1);
        timer_init(&q->rsc->timer, q->loop, CLOCK_KIND_VIRTUAL, rsc_timer, q);
    } else if (oldest(q->rsc, /* held= */ true)) { /* the machine goes on */
        timer_mod(&q->rsc->timer, clock_ns(CLOCK_KIND_VIRTUAL));
    }
}

void net_rsc_stop(NetPair *q)
{
    if (q->rsc) {
        timer_del(&q->rsc->timer);
    }
}

void net_rsc_free(NetPair *q)
{
    if (!q->rsc) {
        return;
    }
    timer_del(&q->rsc->timer);
    for (unsigned i = 0; i < RSC_FLOWS; i++) {
        g_free(q->rsc->flow[i].frame);
    }
    g_clear_pointer(&q->rsc, g_free);
}

void net_rsc_cut(NetPair *q)
{
    NetRsc *r = q->rsc;

    for (unsigned k = 0; r && !net_rsc_flush(q) && k < RSC_FLOWS; k++) {
        RscFlow *f = &r->flow[k];
        unsigned type = f->first.ip6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4;

        /* Counts of acknowledgements are lost with the header that has a place for them. */
        f->dup_acks = 0;
        if (f->len && f->segments > 1 && !f->cut.n) {
            NetHeader unused = f->h;

            finish(f, &unused);
            f->ended = true;
            bool ok = net_segs_init(&f->cut, f->frame, f->len, (uint8_t)type, f->size, 0);

            g_assert(ok);
        }
    }
}
