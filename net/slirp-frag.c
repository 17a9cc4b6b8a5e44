/* IPv4 reassembly (RFC 791, 3.2) in front of libslirp, which follows a bad pointer when a guest's
 * fragments end beyond a datagram or overlap (4.7.0). As RFC 5722 asks of IPv6, an overlap costs
 * the whole datagram. Tested by test-slirp-frag and tests/system/test_net.py. */
#include "slirp-frag.h"

#include "net/csum.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

enum {
    DATAGRAMS = 16, /* at once; the oldest makes room */
    ETHER = 14,
    HEADER_MIN = 20,
    HEADER_MAX = 60,
    PACKET_MAX = 65535,
    DATA_MAX = PACKET_MAX - HEADER_MIN,
    KEY = 12, /* both addresses, identification, protocol */
    MORE = 0x2000,
    OFFSET = 0x1fff
};
static const int64_t AGE_NS = 30 * (int64_t)1000000000;

typedef struct Datagram {
    bool used;
    uint8_t key[KEY];
    int64_t since;
    uint32_t total, have, end; /* 0 until the last fragment comes; bytes here; furthest of them */
    uint32_t header;           /* length of what stands in front of the data; 0: not here yet */
    uint8_t seen[65536 / 8 / 8];
    uint8_t frame[ETHER + HEADER_MAX + DATA_MAX];
} Datagram;

struct FragPool {
    Datagram *slot[DATAGRAMS];
};

typedef struct Fragment {
    uint8_t key[KEY];
    const uint8_t *data;
    uint32_t header, start, len;
    bool more;
} Fragment;

FragPool *frag_pool_new(void)
{
    return g_new0(FragPool, 1);
}

void frag_pool_free(FragPool *p)
{
    for (unsigned i = 0; i < DATAGRAMS; i++) {
        g_free(p->slot[i]);
    }
    g_free(p);
}

static bool is_fragment(const uint8_t *frame, size_t len)
{
    return len >= ETHER + HEADER_MIN && net_be16(frame + 12) == 0x0800 &&
           net_be16(frame + ETHER + 6) & (MORE | OFFSET);
}

/* False: no good fragment. */
static bool parse(const uint8_t *frame, size_t len, Fragment *ret)
{
    const uint8_t *ip = frame + ETHER;
    uint32_t words = (ip[0] & 15u) * 4, total = net_be16(ip + 2), flags = net_be16(ip + 6);

    if (ip[0] >> 4 != 4 || words < HEADER_MIN || total <= words || total > len - ETHER ||
        net_fold(net_sum(0, ip, words)) != 0xffff) {
        return false;
    }
    *ret = (Fragment){ .data = ip + words,
        .header = ETHER + words,
        .start = (flags & OFFSET) * 8,
        .len = total - words,
        .more = flags & MORE };
    memcpy(ret->key, ip + 12, 8);
    memcpy(ret->key + 8, ip + 4, 2);
    ret->key[10] = ip[9];
    return ret->start + ret->len <= DATA_MAX && (!ret->more || ret->len % 8 == 0);
}

static Datagram *datagram_of(FragPool *p, const Fragment *f, int64_t now)
{
    Datagram **best = &p->slot[0];

    for (unsigned i = 0; i < DATAGRAMS; i++) {
        Datagram *d = p->slot[i];

        if (d && d->used && now - d->since > AGE_NS) {
            d->used = false;
        }
        if (d && d->used && !memcmp(d->key, f->key, KEY)) {
            return d;
        }
        if (*best && (*best)->used && (!d || !d->used || d->since < (*best)->since)) {
            best = &p->slot[i];
        }
    }
    if (!*best) {
        *best = g_new(Datagram, 1);
    }
    memset(*best, 0, offsetof(Datagram, frame));
    (*best)->used = true;
    (*best)->since = now;
    memcpy((*best)->key, f->key, KEY);
    return *best;
}

/* Marks the fragment's blocks of eight bytes. False: one was there, or they end where nothing may
 * be. */
static bool claim(Datagram *d, const Fragment *f)
{
    uint32_t end = f->start + f->len;

    if (f->more ? d->total && end > d->total : d->total || end < d->end) {
        return false;
    }
    for (uint32_t b = f->start / 8; b < (end + 7) / 8; b++) {
        if (d->seen[b / 8] >> b % 8 & 1) {
            return false;
        }
        d->seen[b / 8] |= (uint8_t)(1u << b % 8);
    }
    d->total = f->more ? d->total : end;
    d->end = MAX(d->end, end);
    d->have += f->len;
    return true;
}

/* NULL: longer than a packet can be with this header. */
static const uint8_t *whole(Datagram *d, size_t *ret_len)
{
    uint8_t *at = d->frame + ETHER + HEADER_MAX - d->header, *ip = at + ETHER;
    uint32_t words = d->header - ETHER;

    d->used = false;
    if (words + d->total > PACKET_MAX) {
        return NULL;
    }
    net_put_be16(ip + 2, words + d->total);
    net_put_be16(ip + 6, 0);
    net_put_be16(ip + 10, 0);
    net_put_be16(ip + 10, (uint16_t)~net_fold(net_sum(0, ip, words)));
    *ret_len = d->header + d->total;
    return at;
}

const uint8_t *frag_take(FragPool *p, const uint8_t *frame, size_t *len, int64_t now_ns)
{
    Fragment f;

    if (!is_fragment(frame, *len)) {
        return frame;
    }
    if (!parse(frame, *len, &f)) {
        return NULL;
    }
    Datagram *d = datagram_of(p, &f, now_ns);

    if (!claim(d, &f)) {
        d->used = false;
        return NULL;
    }
    memcpy(d->frame + ETHER + HEADER_MAX + f.start, f.data, f.len);
    if (!f.start) {
        d->header = f.header;
        memcpy(d->frame + ETHER + HEADER_MAX - f.header, frame, f.header);
    }
    return d->have == d->total && d->header ? whole(d, len) : NULL;
}
