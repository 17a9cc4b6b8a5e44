/* rtl8139, both directions: the four transmit registers and the receive buffer of the RTL8139, the
 * descriptor rings, checksums and large send of the C+ mode (RTL8139C+ data sheet, 5 and 9). */
#include "hw/net/rtl8139.h"
#include "net/csum.h"
#include "util/giov.h"
#include "util/le.h"

#include <string.h>
#include <zlib.h>

enum { /* word 0 of a C+ descriptor */
    D_OWN = 1u << 31,
    D_EOR = 1 << 30,
    D_FS = 1 << 29,
    D_LS = 1 << 28,
    D_LGSEN = 1 << 27,
    D_MAR = 1 << 27,
    D_PAM = 1 << 26,
    D_BAR = 1 << 25,
    D_IPCS = 1 << 18,
    D_UDPCS = 1 << 17,
    D_TCPCS = 1 << 16,
    D_TAG = 1 << 17,  /* word 1, transmit */
    D_TAVA = 1 << 16, /* word 1, receive */
    D_TCP = 1 << 16,  /* word 0, receive: what the packet is; both: other IP */
    D_UDP = 1 << 17,
    D_IPF = 1 << 15, /* and whose checksum is wrong */
    D_UDPF = 1 << 14,
    D_TCPF = 1 << 13,
    TSD_OWN = 1 << 13,
    TSD_TOK = 1 << 15,
    RCR_AAP = 1,
    RCR_APM = 2,
    RCR_AM = 4,
    RCR_AB = 8,
    RCR_WRAP = 128,
    RX_OK = 1,
    MIN_FRAME = 60,
    DESCRIPTORS = 64, /* a ring has no more */
    TURN = 128
};

typedef struct Desc {
    le32 word[2];
    le64 addr;
} Desc;

/* ---- transmit ---- */

static NetVerdict send_bytes(Rtl8139 *s, const uint8_t *p, size_t len)
{
    static const uint8_t zero[MIN_FRAME];
    uint8_t tag[4] = { 0x81, 0 };
    struct iovec iov[4];
    unsigned n = 0;
    size_t total = len;

    if (s->tx.tagged && len >= 12) {
        net_put_be16(tag + 2, s->tx.tag);
        iov[n++] = (struct iovec){ (void *)(uintptr_t)p, 12 };
        iov[n++] = (struct iovec){ tag, sizeof tag };
        p += 12;
        len -= 12;
        total += sizeof tag;
    }
    iov[n++] = (struct iovec){ (void *)(uintptr_t)p, len };
    if (total < MIN_FRAME) {
        iov[n++] = (struct iovec){ (void *)(uintptr_t)zero, MIN_FRAME - total };
        total = MIN_FRAME;
    }
    if (rtl_r32(s, R_TCR) >> 17 & 3) { /* loopback */
        NetVerdict v = rtl_receive(s, iov, n, total);

        return v == NET_QUEUED ? NET_DROPPED : v;
    }
    NetVerdict v = net_send(&s->port, iov, n, total);

    s->tally.tx += v != NET_QUEUED;
    return v;
}

/* Where an IPv4 packet's parts are; false: it is none. */
static bool ip4_parts(const uint8_t *p, size_t len, size_t *ret_ihl, size_t *ret_total)
{
    if (len < 34 || net_be16(p + 12) != 0x0800 || p[14] >> 4 != 4) {
        return false;
    }
    *ret_ihl = (p[14] & 15) * 4u;
    *ret_total = net_be16(p + 16);
    return *ret_ihl >= 20 && *ret_total >= *ret_ihl && 14 + *ret_total <= len;
}

static void ip4_checksum(uint8_t *ip, size_t ihl)
{
    net_put_be16(ip + 10, 0);
    net_put_be16(ip + 10, (uint16_t)~net_fold(net_sum(0, ip, ihl)));
}

/* TCP's or UDP's, with its pseudo header. */
static void tu_checksum(uint8_t *ip, size_t ihl, size_t total, unsigned at)
{
    size_t n = total - ihl;
    uint16_t v;

    if (at + 2 > n) {
        return;
    }
    net_put_be16(ip + ihl + at, 0);
    v = (uint16_t)~net_fold(net_sum(net_sum(ip[9] + n, ip + 12, 8), ip + ihl, n));
    net_put_be16(ip + ihl + at, ip[9] == 17 && !v ? 0xffff : v);
}

static void offload(RtlTx *t)
{
    uint8_t *ip = t->frame + 14;
    size_t ihl, total;

    if (!(t->options & (D_IPCS | D_UDPCS | D_TCPCS)) ||
        !ip4_parts(t->frame, t->len, &ihl, &total)) {
        return;
    }
    if (t->options & D_TCPCS && ip[9] == 6) {
        tu_checksum(ip, ihl, total, 16);
    } else if (t->options & D_UDPCS && ip[9] == 17) {
        tu_checksum(ip, ihl, total, 6);
    }
    if (t->options & D_IPCS) {
        ip4_checksum(ip, ihl);
    }
}

/* The next segment of a large send, built in t->segment. 0: it is no TCP packet to cut. */
static size_t cut(RtlTx *t, size_t *ret_payload, bool *ret_last)
{
    size_t ihl, total, mss = t->options >> 16 & 0x7ff, head, n;
    uint8_t *ip = t->segment + 14, *tcp;

    if (!mss || !ip4_parts(t->frame, t->len, &ihl, &total) || t->frame[23] != 6 ||
        total < ihl + 20) {
        return 0;
    }
    head = 14 + ihl + (size_t)(t->frame[14 + ihl + 12] >> 4) * 4;
    if (head < 34 + ihl || head > 14 + total || t->payload > 14 + total - head) {
        return 0;
    }
    n = MIN(mss, 14 + total - head - t->payload);
    memcpy(t->segment, t->frame, head);
    memcpy(t->segment + head, t->frame + head + t->payload, n);
    *ret_last = head + t->payload + n == 14 + total;
    *ret_payload = n;
    tcp = ip + ihl;
    uint32_t seq = ((uint32_t)net_be16(tcp + 4) << 16 | net_be16(tcp + 6)) + t->payload;
    net_put_be16(tcp + 4, seq >> 16);
    net_put_be16(tcp + 6, seq);
    if (!*ret_last) {
        tcp[13] &= (uint8_t)~9u;
    }
    net_put_be16(ip + 2, (uint32_t)(head - 14 + n));
    net_put_be16(ip + 4, net_be16(ip + 4) + (uint32_t)(t->payload / mss));
    tu_checksum(ip, ihl, head - 14 + n, 16);
    ip4_checksum(ip, ihl);
    return head + n;
}

/* The packet in frame. False: the back end does not take it now; it is called again. */
static bool send_packet(Rtl8139 *s)
{
    RtlTx *t = &s->tx;
    bool last = true;

    t->blocked = false;
    do {
        size_t n = 0, payload = 0;
        const uint8_t *p = t->frame;

        if (t->drop || !t->len) {
            break;
        }
        if (t->options & D_LGSEN) {
            n = cut(t, &payload, &last);
            p = t->segment;
        }
        if (!n) {
            offload(t);
            n = t->len;
            p = t->frame;
            last = true;
        }
        if (send_bytes(s, p, n) == NET_QUEUED) {
            t->blocked = true;
            return false;
        }
        t->payload += (uint32_t)payload;
    } while (!last);
    t->len = t->payload = t->options = 0;
    t->drop = t->tagged = false;
    return true;
}

/* The RTL8139's way: a register says where a whole frame is and how long. */
static void transmit_plain(Rtl8139 *s)
{
    RtlTx *t = &s->tx;

    while (t->pending && s->running && s->r[R_CR] & CR_TE) {
        while (!(t->pending >> t->next & 1)) {
            t->next = (t->next + 1) & 3;
        }
        unsigned at = R_TSD + t->next * 4u;
        uint32_t tsd = rtl_r32(s, at);

        if (!t->blocked) {
            Iova from = { rtl_r32(s, R_TSAD + t->next * 4u) };

            t->len = tsd & 0x1fff;
            if (!dma_read(s->fn.dma, from, t->frame, t->len)) {
                t->len = 0;
            }
        }
        if (!send_packet(s)) {
            return;
        }
        t->pending &= (uint8_t) ~(1u << t->next);
        t->next = (t->next + 1) & 3;
        rtl_w32(s, at, tsd | TSD_OWN | TSD_TOK);
        rtl_cause(s, INT_TOK);
    }
}

/* One descriptor of a C+ ring. False: the ring has nothing to send now. */
static bool transmit_one(Rtl8139 *s, unsigned ring)
{
    RtlTx *t = &s->tx;
    unsigned reg = ring ? R_THPDS : R_TNPDS;
    uint64_t base = rtl_r32(s, reg) | (uint64_t)rtl_r32(s, reg + 4) << 32;
    Iova at = { base + t->at[ring] * sizeof(Desc) };
    Desc d;
    uint32_t w, len;

    if (!dma_read(s->fn.dma, at, &d, sizeof d) || !((w = le32_get(d.word[0])) & D_OWN)) {
        t->blocked = false; /* if a packet waited, the driver took it back */
        return false;
    }
    if (!t->blocked) {
        if (w & D_FS) {
            t->len = t->payload = 0;
            t->drop = false;
            t->options = w;
            t->tagged = le32_get(d.word[1]) & D_TAG;
            t->tag = GUINT16_SWAP_LE_BE((uint16_t)le32_get(d.word[1]));
        }
        len = w & 0xffff;
        if (len > RTL_FRAME_MAX - t->len ||
            !dma_read(s->fn.dma, (Iova){ le64_get(d.addr) }, t->frame + t->len, len)) {
            t->drop = true;
        } else {
            t->len += len;
        }
    }
    if (w & D_LS && !send_packet(s)) {
        return false;
    }
    /* What the driver asked for makes room for what became of it (9.1.4): no error. */
    d.word[0] = le32_of(w & (D_EOR | D_FS | D_LS | 0xffff));
    if (!dma_write(s->fn.dma, at, &d.word[0], 4)) {
        return false;
    }
    t->at[ring] = w & D_EOR || t->at[ring] + 1 == DESCRIPTORS ? 0 : t->at[ring] + 1;
    if (w & D_LS) {
        rtl_cause(s, INT_TOK);
    }
    return true;
}

void rtl_transmit(Rtl8139 *s)
{
    unsigned budget = TURN;

    if (!(rtl_r16(s, R_CPCR) & CPCR_TX)) {
        transmit_plain(s);
        return;
    }
    for (int ring = 1; ring >= 0; ring--) {
        uint8_t bit = ring ? 128 : 64;

        while (s->running && s->r[R_CR] & CR_TE && s->r[R_TPPOLL] & bit) {
            if (!budget--) {
                loop_idle(loop_main(), &s->tx_more);
                return;
            }
            if (!transmit_one(s, (unsigned)ring)) {
                if (s->tx.blocked) {
                    return;
                }
                s->r[R_TPPOLL] &= (uint8_t)~bit; /* the ring is empty */
                rtl_cause(s, INT_TDU);
            }
        }
    }
}

/* ---- receive ---- */

static size_t buffer_size(const Rtl8139 *s)
{
    return (size_t)8192 << (rtl_r32(s, R_RCR) >> 11 & 3);
}

static size_t read_pointer(const Rtl8139 *s)
{
    return (size_t)(rtl_r16(s, R_CAPR) + 16) % buffer_size(s);
}

bool rtl_buffer_empty(const Rtl8139 *s)
{
    return rtl_r16(s, R_CBR) % buffer_size(s) == read_pointer(s);
}

/* Whether the address is wanted, and the bits of the status that say how. */
static bool accepts(const Rtl8139 *s, const uint8_t *to, uint16_t *ret_plain, uint32_t *ret_desc)
{
    uint32_t rcr = rtl_r32(s, R_RCR), crc;

    *ret_plain = RX_OK;
    *ret_desc = 0;
    if (!memcmp(to, "\xff\xff\xff\xff\xff\xff", 6)) {
        *ret_plain |= 1 << 13;
        *ret_desc = D_BAR;
        return rcr & (RCR_AB | RCR_AAP);
    }
    if (to[0] & 1) {
        unsigned index = 0;

        crc = ~(uint32_t)crc32(0, to, 6);
        for (unsigned i = 0; i < 6; i++) { /* its six low bits, reversed */
            index = index << 1 | (crc >> i & 1);
        }
        *ret_plain |= 1 << 15;
        *ret_desc = D_MAR;
        return rcr & RCR_AAP || (rcr & RCR_AM && s->r[R_MAR + index / 8] >> (index % 8) & 1);
    }
    if (!memcmp(to, s->r + R_IDR, 6)) {
        *ret_plain |= 1 << 14;
        *ret_desc = D_PAM;
        return rcr & (RCR_APM | RCR_AAP);
    }
    return rcr & RCR_AAP;
}

/* Into the buffer: a header, the frame, its check sequence; the next one at a multiple of four. */
static NetVerdict receive_plain(Rtl8139 *s, const uint8_t *frame, size_t len, uint16_t status)
{
    size_t size = buffer_size(s), at = rtl_r16(s, R_CBR) % size,
           used = (at + size - read_pointer(s)) % size;
    size_t need = (4 + len + 3) & ~(size_t)3;
    bool wrap = rtl_r32(s, R_RCR) & RCR_WRAP && size < 65536;
    uint8_t head[4] = { (uint8_t)status, (uint8_t)(status >> 8), (uint8_t)len,
        (uint8_t)(len >> 8) };
    uint64_t base = rtl_r32(s, R_RBSTART);
    size_t first = wrap ? len : MIN(len, size - at - 4);

    if (need >= size) {
        return NET_DROPPED;
    }
    if (used + need >= size) {
        rtl_cause(s, INT_RXOVW);
        return NET_QUEUED; /* CAPR tells the back end */
    }
    if (!dma_write(s->fn.dma, (Iova){ base + at + 4 }, frame, first) ||
        !dma_write(s->fn.dma, (Iova){ base }, frame + first, len - first) ||
        !dma_write(s->fn.dma, (Iova){ base + at }, head, sizeof head)) {
        return NET_DROPPED;
    }
    rtl_w16(s, R_CBR, (uint16_t)((at + need) % size));
    return NET_SENT;
}

/* With RxChkSum the descriptor says what was checked (9.2.2). */
static uint32_t checked(const Rtl8139 *s, const uint8_t *frame, size_t len)
{
    unsigned seen = rtl_r16(s, R_CPCR) & CPCR_CHECK ? net_csum_seen(frame, len) : 0;
    uint32_t kind = seen & NET_SEEN_TCP   ? D_TCP
                    : seen & NET_SEEN_UDP ? D_UDP
                    : seen & NET_SEEN_IP4 ? D_TCP | D_UDP
                                          : 0;

    if (seen & NET_SEEN_IP4_BAD) {
        kind |= D_IPF;
    }
    if (seen & NET_SEEN_SUM_BAD) {
        kind |= seen & NET_SEEN_TCP ? D_TCPF : D_UDPF;
    }
    return kind;
}

static NetVerdict receive_ring(Rtl8139 *s, uint8_t *frame, size_t len, uint32_t status)
{
    uint64_t base = rtl_r32(s, R_RDSAR) | (uint64_t)rtl_r32(s, R_RDSAR + 4) << 32;
    Iova at = { base + s->rx_at * sizeof(Desc) };
    uint32_t w;
    Desc d;

    if (!dma_read(s->fn.dma, at, &d, sizeof d)) {
        return NET_DROPPED;
    }
    w = le32_get(d.word[0]);
    if (!(w & D_OWN) || (w & 0x1fff) < len) {
        /* Nothing tells the card of new descriptors: the frame is missed, as by hardware. */
        rtl_w32(s, R_MPC, (rtl_r32(s, R_MPC) + 1) & 0xffffff);
        s->tally.missed++;
        rtl_cause(s, INT_RXOVW);
        return NET_DROPPED;
    }
    d.word[1] = le32_of(0);
    if (rtl_r16(s, R_CPCR) & CPCR_VLAN && len >= 22 && net_be16(frame + 12) == 0x8100) {
        d.word[1] = le32_of(D_TAVA | (uint32_t)frame[15] << 8 | frame[14]);
        memmove(frame + 12, frame + 16, len - 16);
        len -= 4;
    }
    status |= checked(s, frame, len - 4);
    d.word[0] = le32_of((w & D_EOR) | D_FS | D_LS | status | (uint32_t)len);
    if (!dma_write(s->fn.dma, (Iova){ le64_get(d.addr) }, frame, len) ||
        !dma_write(s->fn.dma, (Iova){ at.v + 4 }, &d.word[1], 4) ||
        !dma_write(s->fn.dma, at, &d.word[0], 4)) {
        return NET_DROPPED;
    }
    s->rx_at = w & D_EOR || s->rx_at + 1 == DESCRIPTORS ? 0 : s->rx_at + 1;
    return NET_SENT;
}

NetVerdict rtl_receive(Rtl8139 *s, const struct iovec *iov, unsigned n, size_t len)
{
    uint8_t frame[8192];
    uint16_t plain;
    uint32_t desc, crc;
    NetVerdict v;
    GIov g;

    if (!s->running) {
        return NET_QUEUED;
    }
    giov_init(&g, iov, n);
    if (!(s->r[R_CR] & CR_RE) || s->r[R_MSR] & MSR_LINKB || !dma_space_master(s->fn.dma) ||
        len < 14 || len > sizeof frame - 4 || !giov_get(&g, frame, len) ||
        !accepts(s, frame, &plain, &desc)) {
        return NET_DROPPED;
    }
    if (len < MIN_FRAME) {
        memset(frame + len, 0, MIN_FRAME - len);
        len = MIN_FRAME;
    }
    crc = (uint32_t)crc32(0, frame, (uInt)len);
    memcpy(frame + len, &(le32){ le32_of(crc).raw }, 4);
    len += 4;
    v = rtl_r16(s, R_CPCR) & CPCR_RX ? receive_ring(s, frame, len, desc)
                                     : receive_plain(s, frame, len, plain);
    if (v == NET_SENT) {
        s->tally.rx++;
        s->tally.rx_unicast += desc & D_PAM ? 1 : 0;
        s->tally.rx_broadcast += desc & D_BAR ? 1 : 0;
        s->tally.rx_multicast += desc & D_MAR ? 1 : 0;
        rtl_cause(s, INT_ROK);
    }
    return v;
}

void rtl_dump_tally(Rtl8139 *s)
{
    struct {
        le64 tx, rx, tx_errors;
        le32 rx_errors;
        le16 missed, misaligned;
        le32 collision[2];
        le64 rx_unicast, rx_broadcast;
        le32 rx_multicast;
        le16 aborted, underrun;
    } const d = { .tx = le64_of(s->tally.tx),
        .rx = le64_of(s->tally.rx),
        .missed = le16_of(s->tally.missed),
        .rx_unicast = le64_of(s->tally.rx_unicast),
        .rx_broadcast = le64_of(s->tally.rx_broadcast),
        .rx_multicast = le32_of(s->tally.rx_multicast) };
    uint64_t at = (rtl_r32(s, R_DTCCR) & ~63u) | (uint64_t)rtl_r32(s, R_DTCCR + 4) << 32;

    _Static_assert(sizeof d == 64, "data sheet, 5.21");
    if (dma_write(s->fn.dma, (Iova){ at }, &d, sizeof d)) {
        s->r[R_DTCCR] &= (uint8_t)~DTCCR_DUMP; /* done */
    }
}
