/* Checksums and segments in software, for who sends where no hardware does it (RFC 1071; RFC 9293,
 * 3.1; RFC 768; RFC 791, 3.2; RFC 8200, 4). Frames are a guest's: nothing in them is believed.
 * Tested by test-net-csum, fuzzed by fuzz-net. */
#include "net/csum.h"

#include <byteswap.h>
#include <endian.h>
#include <glib.h>
#include <string.h>

enum { ETH_IP4 = 0x0800, ETH_IP6 = 0x86dd, ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8, VLAN_TAGS = 2 };
enum { IP_TCP = 6, IP_UDP = 17, IP6_HOP = 0, IP6_ROUTING = 43, IP6_FRAGMENT = 44, IP6_DEST = 60 };
enum { IP6_LEN = 40, FRAG_LEN = 8, UDP_LEN = 8, TCP_MIN = 20, IP4_MIN = 20, IP4_MF = 0x2000 };
enum { TCP_FIN = 1, TCP_PSH = 8, TCP_CWR = 0x80, TCP_FLAGS = 13, TCP_SUM = 16, UDP_SUM = 6 };

uint64_t net_sum(uint64_t sum, const uint8_t *p, size_t n)
{
    uint64_t words = 0;
    uint32_t w;
    uint16_t h;

    /* Sums of the machine's own words are those of the other order with their bytes swapped
     * (RFC 1071, 2 (B)). */
    for (; n >= 4; p += 4, n -= 4) {
        memcpy(&w, p, 4);
        words += w;
    }
    if (n >= 2) {
        memcpy(&h, p, 2);
        words += h;
        p += 2;
        n -= 2;
    }
    sum += be16toh(net_fold(words));
    return n ? sum + ((uint64_t)p[0] << 8) : sum;
}

bool net_csum_complete(uint8_t *frame, size_t len, size_t start, size_t offset)
{
    if (start >= len || offset > len || start + offset + 2 > len) {
        return false;
    }
    uint16_t v = (uint16_t)~net_fold(net_sum(0, frame + start, len - start));

    /* Zero is "none" for UDP, and both are the same number for everybody (RFC 768). */
    net_put_be16(frame + start + offset, v ? v : 0xffff);
    return true;
}

unsigned net_csum_seen(const uint8_t *frame, size_t len)
{
    enum { ETHER = 14, FRAGMENT = IP4_MF | 0x1fff };
    const uint8_t *ip = frame + ETHER;

    if (len < ETHER + IP4_MIN || net_be16(frame + 12) != ETH_IP4 || ip[0] >> 4 != 4) {
        return 0;
    }
    size_t head = (ip[0] & 15) * 4u, total = net_be16(ip + 2), body = total - head;
    unsigned seen = NET_SEEN_IP4;

    if (head < IP4_MIN || total < head || total > len - ETHER) {
        return 0;
    }
    if (net_fold(net_sum(0, ip, head)) != 0xffff) {
        return seen | NET_SEEN_IP4_BAD;
    }
    if (net_be16(ip + 6) & FRAGMENT) {
        return seen;
    }
    if (ip[9] == IP_TCP && body >= TCP_MIN) {
        seen |= NET_SEEN_TCP;
    } else if (ip[9] == IP_UDP && body >= UDP_LEN && net_be16(ip + head + 4) == body &&
               net_be16(ip + head + UDP_SUM)) { /* 0: the sender made none */
        seen |= NET_SEEN_UDP;
    } else {
        return seen;
    }
    uint64_t sum = net_sum(net_sum(ip[9] + body, ip + 12, 8), ip + head, body);

    return seen | (net_fold(sum) == 0xffff ? 0 : NET_SEEN_SUM_BAD);
}

/* ---- what a frame is ---- */

/* IPv6's headers up to TCP or UDP. Fragments have none of their own to speak of. */
static uint8_t walk_ip6(NetSegs *g)
{
    uint8_t next;

    g->transport = g->ip + IP6_LEN;
    g->link = g->ip + 6;
    if (g->len < g->transport) {
        return IP6_FRAGMENT;
    }
    next = g->frame[g->link];
    while (next == IP6_HOP || next == IP6_ROUTING || next == IP6_DEST) {
        if (g->len - g->transport < 8) {
            return IP6_FRAGMENT;
        }
        const uint8_t *p = g->frame + g->transport;
        size_t size = ((size_t)p[1] + 1) * 8;

        if (g->len - g->transport < size) {
            return IP6_FRAGMENT;
        }
        g->link = g->transport;
        g->transport += (unsigned)size;
        next = p[0];
    }
    return next;
}

/* The protocol behind the IP header; IP6_FRAGMENT: none that can be segmented. */
static uint8_t walk(NetSegs *g)
{
    unsigned at = 12;

    for (unsigned tags = 0; tags <= VLAN_TAGS && at + 2 <= g->len; tags++, at += 4) {
        unsigned type = net_be16(g->frame + at);

        if (type == ETH_VLAN || type == ETH_QINQ) {
            continue;
        }
        g->ip = at + 2;
        g->ip6 = type == ETH_IP6;
        if (g->ip6) {
            return walk_ip6(g);
        }
        if (type != ETH_IP4 || g->len < g->ip + IP4_MIN) {
            return IP6_FRAGMENT;
        }
        const uint8_t *p = g->frame + g->ip;

        g->transport = g->ip + (p[0] & 15) * 4u;
        /* A fragment is not fragmented here again. */
        return p[0] >> 4 != 4 || g->transport < g->ip + IP4_MIN || net_be16(p + 6) & 0x3fff
                   ? IP6_FRAGMENT
                   : p[9];
    }
    return IP6_FRAGMENT;
}

bool net_segs_init(
    NetSegs *g, const uint8_t *frame, size_t len, uint8_t type, unsigned size, uint32_t id)
{
    *g = (NetSegs){
        .frame = frame, .len = len, .type = type & (uint8_t)~NET_GSO_ECN, .piece = size, .id = id
    };
    bool tcp = g->type == NET_GSO_TCPV4 || g->type == NET_GSO_TCPV6;
    bool udp = g->type == NET_GSO_UDP || g->type == NET_GSO_UDP_L4;
    uint8_t proto = walk(g);
    unsigned least = tcp ? TCP_MIN : UDP_LEN;

    if (!(tcp && proto == IP_TCP) && !(udp && proto == IP_UDP)) {
        return false;
    }
    if ((tcp && g->ip6 != (g->type == NET_GSO_TCPV6)) || len < g->transport + least) {
        return false;
    }
    g->body = g->transport + (tcp ? (frame[g->transport + 12] >> 4) * 4u : least);
    if (g->type == NET_GSO_UDP) {
        /* Fragments: the UDP header is in the first one's body, lengths count in eights. */
        g->body = g->transport;
        g->piece &= ~7u;
    }
    if (g->body < g->transport + (g->type == NET_GSO_UDP ? 0 : least) || g->body >= len ||
        g->body + FRAG_LEN > NET_SEG_HEAD || !g->piece) {
        return false;
    }
    size_t n = (len - g->body + g->piece - 1) / g->piece;

    /* An IP packet has no more than 64 KiB, and a piece no more than one. */
    if (n > NET_SEGS_MAX || g->body - g->ip + MIN(g->piece, len - g->body) > UINT16_MAX) {
        return false;
    }
    g->n = (unsigned)n;
    return true;
}

/* ---- a segment ---- */

static void seg_ip4(const NetSegs *g, uint8_t *ip, size_t payload, size_t at, bool last)
{
    size_t size = g->transport - g->ip;

    net_put_be16(ip + 2, (uint32_t)(size + payload));
    if (g->type == NET_GSO_UDP) {
        net_put_be16(ip + 6, (uint32_t)(at / 8) | (last ? 0 : IP4_MF));
    } else {
        net_put_be16(ip + 4, net_be16(ip + 4) + g->next);
    }
    net_put_be16(ip + 10, 0);
    net_put_be16(ip + 10, (uint16_t)~net_fold(net_sum(0, ip, size)));
}

/* head has room for a fragment header, RFC 8200, 4.5. The length of head then. */
static size_t seg_ip6(const NetSegs *g, uint8_t *head, size_t payload, size_t at, bool last)
{
    size_t len = g->body;

    if (g->type == NET_GSO_UDP && g->n > 1) {
        uint8_t *f = head + g->transport;

        f[0] = head[g->link];
        f[1] = 0;
        net_put_be16(f + 2, (uint32_t)at | !last);
        net_put_be16(f + 4, g->id >> 16);
        net_put_be16(f + 6, g->id);
        head[g->link] = IP6_FRAGMENT;
        len += FRAG_LEN;
        payload += FRAG_LEN;
    }
    net_put_be16(head + g->ip + 4, (uint32_t)(g->transport - g->ip - IP6_LEN + payload));
    return len;
}

/* The checksum of all of a segment: the driver's was for another length. */
static void seg_checksum(
    const NetSegs *g, uint8_t *head, unsigned field, const uint8_t *body, size_t len)
{
    const uint8_t *ip = head + g->ip;
    size_t mine = g->body - g->transport;
    bool tcp = field == TCP_SUM;
    uint64_t sum = (tcp ? IP_TCP : IP_UDP) + (uint64_t)(mine + len);

    /* With a routing header the last of its addresses is the one that counts (RFC 8200, 8.1): it
     * is in the driver's own sum, which has another length. */
    if (g->ip6 && g->transport != g->ip + IP6_LEN) {
        sum = net_be16(head + g->transport + field);
        sum += (uint64_t)UINT16_MAX * 2 - net_fold(g->len - g->transport);
        sum += mine + len;
    } else {
        sum = g->ip6 ? net_sum(sum, ip + 8, 32) : net_sum(sum, ip + 12, 8);
    }
    net_put_be16(head + g->transport + field, 0);
    sum = net_sum(net_sum(sum, head + g->transport, mine), body, len);
    uint16_t v = (uint16_t)~net_fold(sum);

    net_put_be16(head + g->transport + field, v || tcp ? v : 0xffff);
}

size_t net_segs_make(
    const NetSegs *g, uint8_t head[NET_SEG_HEAD], const uint8_t **ret_body, size_t *ret_len)
{
    size_t at = (size_t)g->next * g->piece, len = MIN((size_t)g->piece, g->len - g->body - at);
    const uint8_t *body = g->frame + g->body + at;
    bool last = g->next + 1 == g->n;
    uint8_t *tu = head + g->transport;
    size_t hlen = g->body;

    g_assert(g->next < g->n);
    memcpy(head, g->frame, g->body);
    if (g->ip6) {
        hlen = seg_ip6(g, head, g->body - g->transport + len, at, last);
    } else {
        seg_ip4(g, head + g->ip, g->body - g->transport + len, at, last);
    }
    if (g->type == NET_GSO_UDP_L4) {
        net_put_be16(tu + 4, (uint32_t)(UDP_LEN + len));
        seg_checksum(g, head, UDP_SUM, body, len);
    } else if (g->type != NET_GSO_UDP) {
        uint32_t seq = ((uint32_t)net_be16(tu + 4) << 16 | net_be16(tu + 6)) + (uint32_t)at;

        net_put_be16(tu + 4, seq >> 16);
        net_put_be16(tu + 6, seq);
        /* RFC 3168, 6.1.2: CWR is the first one's. */
        tu[TCP_FLAGS] &= (uint8_t) ~((last ? 0 : TCP_FIN | TCP_PSH) | (g->next ? TCP_CWR : 0));
        seg_checksum(g, head, TCP_SUM, body, len);
    }
    *ret_body = body;
    *ret_len = len;
    return hlen;
}
