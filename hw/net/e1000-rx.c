/* e1000, receive: the address filters, descriptors (317453, 3.2 and 13.5). */
#include "hw/net/e1000.h"
#include "net/csum.h"
#include "util/giov.h"

#include <string.h>
#include <zlib.h>

enum {
    DESC_DONE = 1,
    DESC_EOP = 2,
    DESC_IXSM = 4,
    DESC_VP = 8,
    DESC_TCPCS = 32,
    DESC_IPCS = 64,
    DESC_PIF = 128,
    ERR_TCPE = 32,
    ERR_IPE = 64,
    RXCSUM_IPOFL = 256,
    RXCSUM_TUOFL = 512,
    MIN_FRAME = 60,
    ADDRESSES = 16
};

typedef struct RxDesc {
    le64 addr;
    le16 length, checksum;
    uint8_t status, errors;
    le16 special;
} RxDesc;
_Static_assert(sizeof(RxDesc) == 16, "317453, 3.2.3");

static bool is_tagged(E1000 *s, const uint8_t *head, size_t len)
{
    return len >= 18 && (head[12] << 8 | head[13]) == (int)(*e1000_reg(s, E_VET) & 0xffff);
}

static bool address_known(E1000 *s, const uint8_t *to)
{
    uint32_t low =
        (uint32_t)to[0] | (uint32_t)to[1] << 8 | (uint32_t)to[2] << 16 | (uint32_t)to[3] << 24;
    uint32_t high = (uint32_t)to[4] | (uint32_t)to[5] << 8;

    for (unsigned i = 0; i < ADDRESSES; i++) {
        uint32_t rah = *e1000_reg(s, E_RAL + i * 8 + 4);

        if (rah >> 31 && (rah & 0xffff) == high && *e1000_reg(s, E_RAL + i * 8) == low) {
            return true;
        }
    }
    return false;
}

/* 13.5: exact addresses, then the multicast table, then what the modes let through. */
static bool accepts(E1000 *s, const uint8_t *head, size_t len, bool *ret_inexact)
{
    static const uint8_t shift[] = { 4, 3, 2, 0 };
    uint32_t rctl = *e1000_reg(s, E_RCTL);

    *ret_inexact = false;
    if (rctl & RCTL_VFE && is_tagged(s, head, len)) {
        unsigned vid = (unsigned)(head[14] << 8 | head[15]) & 0xfff;

        if (!(*e1000_reg(s, E_VFTA + (vid >> 5) * 4) >> (vid & 31) & 1)) {
            return false;
        }
    }
    if (address_known(s, head)) {
        return true;
    }
    if (!(head[0] & 1)) {
        return rctl & RCTL_UPE;
    }
    if (!memcmp(head, "\xff\xff\xff\xff\xff\xff", 6)) {
        return rctl & (RCTL_BAM | RCTL_MPE);
    }
    if (rctl & RCTL_MPE) {
        return true;
    }
    unsigned hash = (unsigned)(head[5] << 8 | head[4]) >> shift[rctl >> 12 & 3] & 0xfff;
    *ret_inexact = true;
    return *e1000_reg(s, E_MTA + (hash >> 5) * 4) >> (hash & 31) & 1;
}

static unsigned buffer_size(uint32_t rctl)
{
    unsigned size = 2048u >> (rctl >> 16 & 3);

    return rctl & RCTL_BSEX && size < 2048 ? size * 16 : size;
}

static void count(E1000 *s, const uint8_t *head, size_t len)
{
    static const uint16_t bound[] = { 64, 127, 255, 511, 1023 };
    unsigned i = 0;

    while (i < G_N_ELEMENTS(bound) && len > bound[i]) {
        i++;
    }
    e1000_count(s, E_PRC64 + i * 4, 1, false);
    e1000_count(s, E_GPRC, 1, false);
    e1000_count(s, E_TPR, 1, false);
    e1000_count(s, E_GORCL, len, true);
    e1000_count(s, E_TORL, len, true);
    if (head[0] & 1) {
        bool all = !memcmp(head, "\xff\xff\xff\xff\xff\xff", 6);

        e1000_count(s, all ? E_BPRC : E_MPRC, 1, false);
    }
}

/* What is put into memory: the frame, zeroes up to the shortest frame, the check sequence. */
typedef struct Wire {
    GIov data;
    size_t pad;
    uint8_t fcs[4];
    size_t fcs_at, fcs_len;
} Wire;

static size_t wire_take(Wire *w, uint8_t *to, size_t max)
{
    size_t n = MIN(w->data.left, max), had = n;

    if (n && !giov_get(&w->data, to, n)) {
        return 0;
    }
    n = MIN(w->pad, max - had);
    memset(to + had, 0, n);
    w->pad -= n;
    had += n;
    n = MIN(w->fcs_len - w->fcs_at, max - had);
    memcpy(to + had, w->fcs + w->fcs_at, n);
    w->fcs_at += n;
    return had + n;
}

static uint32_t check_sequence(GIov data, size_t pad)
{
    static const uint8_t zero[MIN_FRAME];
    uint8_t piece[512];
    uLong crc = crc32(0, NULL, 0);

    while (data.left) {
        size_t n = MIN(data.left, sizeof piece);

        if (!giov_get(&data, piece, n)) {
            break;
        }
        crc = crc32(crc, piece, (uInt)n);
    }
    return (uint32_t)crc32(crc, zero, (uInt)pad);
}

/* What RXCSUM wants checked: the bits of status that say what was (3.2.3.1), and of the errors. */
static uint8_t checked(E1000 *s, const GIov *data, uint8_t *ret_errors)
{
    uint32_t want = *e1000_reg(s, E_RXCSUM);
    uint8_t frame[E1000_FRAME_MAX], status = 0;
    unsigned seen = 0;

    *ret_errors = 0;
    if (want & (RXCSUM_IPOFL | RXCSUM_TUOFL) && giov_peek(data, frame, data->left)) {
        seen = net_csum_seen(frame, data->left);
    }
    if (want & RXCSUM_IPOFL && seen & NET_SEEN_IP4) {
        status |= DESC_IPCS;
        *ret_errors |= seen & NET_SEEN_IP4_BAD ? ERR_IPE : 0;
    }
    if (want & RXCSUM_TUOFL && seen & (NET_SEEN_TCP | NET_SEEN_UDP)) {
        status |= DESC_TCPCS;
        *ret_errors |= seen & NET_SEEN_SUM_BAD ? ERR_TCPE : 0;
    }
    return status ? status : DESC_IXSM;
}

/* What the descriptors of a frame say of all of it. */
typedef struct Report {
    uint8_t status, errors;
    uint16_t special;
} Report;

/* Puts the frame into as many buffers as it takes; the ring has enough. */
static bool put(E1000 *s, Wire *w, size_t total, const Report *r)
{
    uint32_t n = *e1000_reg(s, E_RDLEN) / sizeof(RxDesc), *head = e1000_reg(s, E_RDH);
    uint64_t base = *e1000_reg(s, E_RDBAL) | (uint64_t)*e1000_reg(s, E_RDBAH) << 32;
    unsigned size = buffer_size(*e1000_reg(s, E_RCTL));
    uint8_t buffer[16384];

    while (total) {
        Iova at = { base + (uint64_t)*head * sizeof(RxDesc) };
        size_t take = wire_take(w, buffer, MIN(total, size));
        RxDesc d;

        if (!take || !dma_read(s->fn.dma, at, &d, sizeof d)) {
            return false;
        }
        total -= take;
        /* A buffer that cannot be written is the driver's fault: the frame is lost, not the ring.
         * None at all is a place to skip. */
        if (le64_get(d.addr) && !dma_write(s->fn.dma, (Iova){ le64_get(d.addr) }, buffer, take)) {
            e1000_count(s, E_MPC, 1, false);
        }
        d.length = le16_of((uint16_t)take);
        d.checksum = le16_of(0);
        d.errors = r->errors;
        d.special = le16_of(r->special);
        d.status = (uint8_t)(DESC_DONE | r->status | (total ? 0 : DESC_EOP));
        /* The status last: it makes the rest the driver's. */
        if (!dma_write(s->fn.dma, (Iova){ at.v + 8 }, &d.length, 4) ||
            !dma_write(s->fn.dma, (Iova){ at.v + 13 }, &d.errors, 3)) {
            return false;
        }
        atomic_thread_fence(memory_order_release);
        if (!dma_write(s->fn.dma, (Iova){ at.v + 12 }, &d.status, 1)) {
            return false;
        }
        *head = *head + 1 == n ? 0 : *head + 1;
    }
    return true;
}

NetVerdict e1000_receive(E1000 *s, const struct iovec *iov, unsigned niov, size_t len)
{
    uint32_t rctl = *e1000_reg(s, E_RCTL), n = *e1000_reg(s, E_RDLEN) / sizeof(RxDesc);
    uint32_t rdh = *e1000_reg(s, E_RDH), rdt = *e1000_reg(s, E_RDT);
    uint8_t head[18] = { 0 };
    struct iovec untagged[16];
    Wire w = { 0 };
    bool inexact;

    if (!s->running) {
        return NET_QUEUED;
    }
    if (!(*e1000_reg(s, E_STATUS) & STATUS_LU) || !(rctl & RCTL_EN) ||
        !dma_space_master(s->fn.dma)) {
        return NET_DROPPED;
    }
    giov_init(&w.data, iov, niov);
    if (len < 14 || !giov_peek(&w.data, head, MIN(len, sizeof head)) ||
        !accepts(s, head, len, &inexact)) {
        return NET_DROPPED;
    }
    if (len > E1000_FRAME_MAX - 4 || (len > 1518 && !(rctl & (RCTL_LPE | RCTL_SBP)))) {
        e1000_count(s, E_ROC, 1, false);
        return NET_DROPPED;
    }
    Report r = { 0 };
    if (*e1000_reg(s, E_CTRL) & CTRL_VME && is_tagged(s, head, len)) {
        GIov rest = w.data;
        unsigned k;

        if (!giov_skip(&rest, 16)) {
            return NET_DROPPED;
        }
        untagged[0] = (struct iovec){ head, 12 };
        k = giov_iovec(&rest, untagged + 1, G_N_ELEMENTS(untagged) - 1);
        giov_init(&w.data, untagged, k + 1);
        if (w.data.left != len - 4) {
            return NET_DROPPED; /* in more pieces than any back end makes */
        }
        len -= 4;
        r.special = (uint16_t)(head[14] << 8 | head[15]);
        r.status |= DESC_VP;
    }
    w.pad = len < MIN_FRAME ? MIN_FRAME - len : 0;
    w.fcs_len = rctl & RCTL_SECRC ? 0 : 4;
    size_t total = len + w.pad + w.fcs_len;
    uint32_t need = (uint32_t)((total + buffer_size(rctl) - 1) / buffer_size(rctl));
    uint32_t avail = n && rdh < n && rdt < n ? (rdt >= rdh ? rdt - rdh : n - rdh + rdt) : 0;
    if (need > avail) {
        e1000_cause(s, INT_RXO);
        return need >= n ? NET_DROPPED : NET_QUEUED; /* RDT tells the back end */
    }
    r.status |= checked(s, &w.data, &r.errors);
    if (w.fcs_len) {
        uint32_t crc = check_sequence(w.data, w.pad);

        memcpy(w.fcs, &(le32){ le32_of(crc).raw }, sizeof w.fcs);
    }
    if (inexact) {
        r.status |= DESC_PIF;
    }
    if (!put(s, &w, total, &r)) {
        return NET_DROPPED;
    }
    count(s, head, len + w.pad + 4);
    avail -= need;
    e1000_cause(s, INT_RXT0 | (avail <= n >> (1 + (rctl >> 8 & 3)) ? INT_RXDMT0 : 0));
    return NET_SENT;
}
