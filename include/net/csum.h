/* The Internet checksum (RFC 1071), and what a virtio-net header asks of who sends a frame: to
 * complete a checksum, to make segments of a large frame (VIRTIO 1.4, 5.1.9.2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline uint16_t net_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void net_put_be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline uint16_t net_fold(uint64_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

/* Adds n bytes to a sum that is not yet folded; only the last part of several may be odd. */
uint64_t net_sum(uint64_t sum, const uint8_t *p, size_t n);

/* gso_type, VIRTIO 1.4, 5.1.9 */
enum {
    NET_GSO_NONE = 0,
    NET_GSO_TCPV4 = 1,
    NET_GSO_UDP = 3,
    NET_GSO_TCPV6 = 4,
    NET_GSO_UDP_L4 = 5,
    NET_GSO_TUNNEL = 0x60, /* in UDP over IPv4: 0x20, over IPv6: 0x40 */
    NET_GSO_ECN = 0x80
};

/* From start to the end of the frame, whose sum so far is at start + offset. False: not in it. */
bool net_csum_complete(uint8_t *frame, size_t len, size_t start, size_t offset);

/* What a card tells its driver of a received frame. A fragment has no other sum than its header's;
 * 0: no IPv4 packet, or not all of one. */
enum {
    NET_SEEN_IP4 = 1,
    NET_SEEN_IP4_BAD = 2,
    NET_SEEN_TCP = 4, /* NET_SEEN_SUM_BAD says whether its sum is right */
    NET_SEEN_UDP = 8,
    NET_SEEN_SUM_BAD = 16
};
unsigned net_csum_seen(const uint8_t *frame, size_t len);

/*
 * A large frame on its way to be several. Each has at most NET_SEG_HEAD bytes of headers of its
 * own, and a piece of the frame's payload.
 */
enum { NET_SEG_HEAD = 14 + 8 + 512, NET_SEGS_MAX = 1024 };
typedef struct NetSegs {
    const uint8_t *frame;
    size_t len;
    uint8_t type;             /* NET_GSO_* without ECN */
    bool ip6;                 /* else IPv4 */
    unsigned ip, link;        /* where the IP header is; IPv6: where its last "next header" is */
    unsigned transport, body; /* where TCP or UDP begins; and what follows each segment's headers */
    unsigned piece;           /* bytes of body in each, but for the last */
    unsigned n, next;
    uint32_t id; /* of IPv6 fragments */
} NetSegs;

/*
 * Looks at the frame, which stays the caller's until the last segment is made. False: it is not
 * what type says, or would be more than NET_SEGS_MAX. id: another each time.
 */
bool net_segs_init(
    NetSegs *g, const uint8_t *frame, size_t len, uint8_t type, unsigned size, uint32_t id);
/* Segment `next`, which is not counted up: its headers are put in head, the rest is at ret_body. */
size_t net_segs_make(
    const NetSegs *g, uint8_t head[NET_SEG_HEAD], const uint8_t **ret_body, size_t *ret_len);
