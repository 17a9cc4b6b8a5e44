/* e1000, transmit: descriptors, checksums, TCP segmentation (317453, 3.3 to 3.5). */
#include "hw/net/e1000.h"
#include "net/csum.h"
#include "util/log.h"

#include <string.h>

enum { /* commands of a descriptor, 3.3.3.1 and 3.3.7.2; TUCMD of a context, 3.3.6.1 */
    CMD_EOP = 1,
    CMD_IC = 4,
    CMD_TSE = 4, /* extended descriptors */
    CMD_RS = 8,
    CMD_RPS = 16,
    CMD_DEXT = 32,
    CMD_VLE = 64,
    TUCMD_TCP = 1,
    TUCMD_IP = 2,
    POPTS_IXSM = 1,
    POPTS_TXSM = 2,
    DESC_DONE = 1,
    TURN = 256, /* descriptors and frames of one turn */
    MIN_FRAME = 60
};

typedef struct TxDesc {
    le64 addr;
    le32 low;              /* legacy: length, CSO, command; extended: length, type, command */
    uint8_t status, popts; /* legacy: CSS */
    le16 special;
} TxDesc;
_Static_assert(sizeof(TxDesc) == 16, "317453, 3.3.3");

/* The Internet checksum of [start, end] goes to at; end 0: all there is (3.5). */
static void insert_checksum(E1000Tx *t, unsigned start, unsigned at, unsigned end, bool udp)
{
    uint16_t value;

    if (start >= t->len || at + 2 > t->len) {
        return;
    }
    end = end && end < t->len ? end + 1 : t->len;
    value = (uint16_t)~net_fold(net_sum(0, t->frame + start, end > start ? end - start : 0));
    net_put_be16(t->frame + at, udp && !value ? 0xffff : value);
}

/* A segment's headers: lengths, identification, sequence number, flags (3.5.7). */
static void patch_headers(E1000Tx *t, bool last)
{
    const E1000Context *c = &t->offload;
    uint8_t *ip = t->frame + c->ipcss, *tu = t->frame + c->tucss;

    if (!t->segments) {
        memcpy(t->header, t->frame, MIN(c->hdrlen, t->len));
    } else {
        memcpy(t->frame, t->header, c->hdrlen);
    }
    if (c->ipcss + 6u <= t->len) {
        if (c->ip4) {
            net_put_be16(ip + 2, t->len - c->ipcss);
            net_put_be16(ip + 4, net_be16(ip + 4) + t->segments);
        } else {
            net_put_be16(ip + 4, t->len - c->ipcss - 40);
        }
    }
    if (c->tcp && c->tucss + 14u <= t->len) {
        uint32_t seq = ((uint32_t)net_be16(tu + 4) << 16 | net_be16(tu + 6)) + t->sent;

        net_put_be16(tu + 4, seq >> 16);
        net_put_be16(tu + 6, seq);
        if (!last) {
            tu[13] &= (uint8_t)~9u; /* FIN and PSH are the last segment's */
        }
    } else if (!c->tcp && c->tucss + 6u <= t->len) {
        net_put_be16(tu + 4, t->len - c->tucss);
    }
    /* The driver's pseudo header has no length. */
    if (t->popts & POPTS_TXSM && c->tucso + 2u <= t->len && t->len > c->tucss) {
        net_put_be16(t->frame + c->tucso,
            net_fold((uint64_t)net_be16(t->frame + c->tucso) + (t->len - c->tucss)));
    }
}

static NetVerdict send_frame(E1000 *s)
{
    E1000Tx *t = &s->tx;
    uint8_t tag[4];
    struct iovec iov[3];
    unsigned n = 0, split = 0;
    NetVerdict v;

    if (t->tagged && *e1000_reg(s, E_CTRL) & CTRL_VME && t->len >= 12) {
        net_put_be16(tag, *e1000_reg(s, E_VET));
        net_put_be16(tag + 2, t->tag);
        split = 12;
        iov[n++] = (struct iovec){ t->frame, split };
        iov[n++] = (struct iovec){ tag, sizeof tag };
    }
    iov[n++] = (struct iovec){ t->frame + split, t->len - split };
    size_t len = t->len + (split ? sizeof tag : 0);
    if (*e1000_reg(s, E_RCTL) & RCTL_LBM) {
        v = e1000_receive(s, iov, n, len);
        v = v == NET_QUEUED ? NET_DROPPED : v;
    } else {
        v = net_send(&s->port, iov, n, len);
    }
    if (v != NET_QUEUED) {
        static const uint16_t bound[] = { 64, 127, 255, 511, 1023, 1522 };
        unsigned i = 0;

        while (i < 5 && len + 4 > bound[i]) {
            i++;
        }
        e1000_count(s, E_PTC64 + i * 4, 1, false);
        e1000_count(s, E_GPTC, 1, false);
        e1000_count(s, E_TPT, 1, false);
        e1000_count(s, E_GOTCL, len + 4, true);
        e1000_count(s, E_TOTL, len + 4, true);
        if (t->frame[0] & 1) {
            bool all = !memcmp(t->frame, "\xff\xff\xff\xff\xff\xff", 6);

            e1000_count(s, all ? E_BPTC : E_MPTC, 1, false);
        }
    }
    return v;
}

/* The frame has gone, one way or the other: what stays is the header of the next segment. */
static void frame_gone(E1000Tx *t)
{
    uint32_t keep = t->tso ? MIN(t->offload.hdrlen, t->len) : 0;

    t->sent += t->len - keep;
    t->segments++;
    t->len = keep;
    t->blocked = false;
}

/* False: the back end takes nothing now. */
static bool emit(E1000 *s, bool last)
{
    E1000Tx *t = &s->tx;
    const E1000Context *c = &t->offload;

    if (t->drop || !t->len) {
        frame_gone(t);
        return true;
    }
    if (t->tso) {
        patch_headers(t, last);
    }
    if (t->insert_csum) {
        insert_checksum(t, t->css, t->cso, 0, false);
    }
    if (t->popts & POPTS_TXSM) {
        insert_checksum(t, c->tucss, c->tucso, c->tucse, !c->tcp);
    }
    if (t->popts & POPTS_IXSM) {
        insert_checksum(t, c->ipcss, c->ipcso, c->ipcse, false);
    }
    if (t->len < MIN_FRAME && *e1000_reg(s, E_TCTL) & TCTL_PSP) {
        memset(t->frame + t->len, 0, MIN_FRAME - t->len);
        t->len = MIN_FRAME;
    }
    t->budget -= t->budget > 0;
    if (send_frame(s) == NET_QUEUED) {
        t->blocked = true;
        return false;
    }
    frame_gone(t);
    return true;
}

static void take_context(E1000Tx *t, const TxDesc *d)
{
    uint64_t a = le64_get(d->addr);
    uint8_t tucmd = (uint8_t)(le32_get(d->low) >> 24);

    if (t->begun) {
        log_guest_error("e1000: a context descriptor inside a packet");
        t->drop = true;
    }
    t->offload = (E1000Context){
        .ipcss = (uint8_t)a,
        .ipcso = (uint8_t)(a >> 8),
        .ipcse = (uint16_t)(a >> 16),
        .tucss = (uint8_t)(a >> 32),
        .tucso = (uint8_t)(a >> 40),
        .tucse = (uint16_t)(a >> 48),
        .tcp = tucmd & TUCMD_TCP,
        .ip4 = tucmd & TUCMD_IP,
        .hdrlen = d->popts,
        .mss = le16_get(d->special),
    };
}

/* What the packet's descriptors say about it. */
static void take_options(E1000Tx *t, const TxDesc *d, bool extended)
{
    uint32_t low = le32_get(d->low);
    uint8_t cmd = (uint8_t)(low >> 24);

    if (cmd & CMD_VLE) {
        t->tagged = true;
        t->tag = le16_get(d->special);
    }
    if (!extended) {
        if (cmd & CMD_IC) {
            t->insert_csum = true;
            t->cso = (uint8_t)(low >> 16);
            t->css = d->popts;
        }
    } else if (!t->begun) {
        t->popts = d->popts;
        t->tso = cmd & CMD_TSE;
        if (t->tso && (!t->offload.mss || !t->offload.hdrlen)) {
            log_guest_error("e1000: segmentation without a size");
            t->drop = true;
            t->tso = false;
        }
    }
    t->begun = true;
}

/* The bytes of one data descriptor. False: not through with it, it is looked at again. */
static bool take_data(E1000 *s, const TxDesc *d, bool extended)
{
    E1000Tx *t = &s->tx;
    uint32_t low = le32_get(d->low), len = low & (extended ? 0xfffff : 0xffff);

    take_options(t, d, extended);
    while (t->at < len && !t->drop) {
        uint32_t limit = t->tso ? (uint32_t)t->offload.hdrlen + t->offload.mss : E1000_FRAME_MAX;

        if (t->len >= limit) {
            if (!t->tso) {
                t->drop = true; /* longer than any frame */
                break;
            }
            if (!t->budget || !emit(s, false)) {
                return false;
            }
            continue;
        }
        uint32_t n = MIN(len - t->at, limit - t->len);
        if (!dma_read(s->fn.dma, (Iova){ le64_get(d->addr) + t->at }, t->frame + t->len, n)) {
            t->drop = true;
            break;
        }
        t->at += n;
        t->len += n;
    }
    if (low >> 24 & CMD_EOP) {
        if (!t->ended) {
            t->ended = true;
            if (t->tso && t->segments) {
                e1000_count(s, E_TSCTC, 1, false);
            }
            if (!emit(s, true)) {
                return false;
            }
        }
        t->begun = t->tso = t->drop = t->insert_csum = t->tagged = t->ended = false;
        t->popts = 0;
        t->len = t->sent = 0;
        t->segments = 0;
    }
    t->at = 0;
    return true;
}

static bool take(E1000 *s, const TxDesc *d)
{
    uint32_t low = le32_get(d->low);

    if (!(low >> 24 & CMD_DEXT)) {
        return take_data(s, d, false);
    }
    switch (low >> 20 & 15) {
    case 0:
        take_context(&s->tx, d);
        return true;
    case 1:
        return take_data(s, d, true);
    default:
        return true; /* reserved: passed over */
    }
}

void e1000_transmit(E1000 *s)
{
    E1000Tx *t = &s->tx;
    uint32_t cause = 0;

    if (t->blocked) {
        if (!s->running || send_frame(s) == NET_QUEUED) {
            return;
        }
        frame_gone(t);
    }
    t->budget = TURN;
    while (s->running && *e1000_reg(s, E_TCTL) & TCTL_EN) {
        uint32_t n = *e1000_reg(s, E_TDLEN) / sizeof(TxDesc), *head = e1000_reg(s, E_TDH);
        uint64_t base = *e1000_reg(s, E_TDBAL) | (uint64_t)*e1000_reg(s, E_TDBAH) << 32;
        Iova at = { base + (uint64_t)*head * sizeof(TxDesc) };
        TxDesc d;

        if (*head == *e1000_reg(s, E_TDT) || *head >= n || *e1000_reg(s, E_TDT) >= n) {
            break;
        }
        if (!t->budget) {
            loop_idle(loop_main(), &s->tx_more);
            break;
        }
        t->budget--;
        if (!dma_read(s->fn.dma, at, &d, sizeof d)) {
            break;
        }
        if (!take(s, &d)) {
            if (!t->blocked) {
                loop_idle(loop_main(), &s->tx_more);
            }
            break;
        }
        if (le32_get(d.low) >> 24 & (CMD_RS | CMD_RPS)) {
            uint8_t done = d.status | DESC_DONE;

            if (!dma_write(s->fn.dma, (Iova){ at.v + offsetof(TxDesc, status) }, &done, 1)) {
                break;
            }
            cause |= INT_TXDW;
        }
        *head = *head + 1 == n ? 0 : *head + 1;
        if (*head == *e1000_reg(s, E_TDT)) {
            cause |= INT_TXQE;
        }
    }
    if (cause) {
        e1000_cause(s, cause);
    }
}

void e1000_tx_reset(E1000 *s)
{
    memset(&s->tx, 0, offsetof(E1000Tx, header));
    loop_idle_cancel(loop_main(), &s->tx_more);
}
