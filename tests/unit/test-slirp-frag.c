/* net/slirp-frag.c: datagrams cut at random come out whole, in any order; what overlaps, lies about
 * its end, has a hole or comes too late does not, and nothing grows (RFC 791, 3.2; RFC 1858; RFC
 * 5722 for what an overlap costs). */
#include "net/csum.h"
#include "net/slirp-frag.h"

#include <glib.h>
#include <malloc.h>
#include <stdbool.h>
#include <string.h>

enum { ETHER = 14, IP = 20, UDP = 17, MORE = 0x2000, DATA_MAX = 65535 - IP, OPTIONS = 40 };
#define SECOND INT64_C(1000000000)

typedef struct Piece {
    uint16_t id;
    uint8_t proto, from; /* of the source address, the last byte */
    uint32_t at, len;
    bool more;
    unsigned options; /* bytes of them behind the header */
} Piece;

static uint8_t byte_at(uint32_t at, uint16_t id)
{
    return (uint8_t)(at * 31 + (at >> 8) + id);
}

/* The frame of a fragment. The length of it. */
static size_t make(uint8_t *f, Piece p)
{
    unsigned words = IP + p.options;

    memset(f, 0, ETHER + words);
    memset(f, 0x52, 12);
    f[12] = 8;
    f[14] = (uint8_t)(0x40 | words / 4);
    net_put_be16(f + 16, words + p.len);
    net_put_be16(f + 18, p.id);
    net_put_be16(f + 20, p.at / 8 | (p.more ? MORE : 0u));
    f[22] = 64;
    f[23] = p.proto ? p.proto : UDP;
    memcpy(f + 26, (const uint8_t[]){ 10, 0, 2, p.from ? p.from : 15, 10, 0, 2, 2 }, 8);
    memset(f + 34, 1, p.options); /* "no operation" */
    net_put_be16(f + 24, (uint16_t)~net_fold(net_sum(0, f + ETHER, words)));
    for (uint32_t i = 0; i < p.len; i++) {
        f[ETHER + words + i] = byte_at(p.at + i, p.id);
    }
    return ETHER + words + p.len;
}

static const uint8_t *give(FragPool *pool, Piece p, size_t *ret_len, int64_t now)
{
    static uint8_t frame[ETHER + IP + OPTIONS + 65536]; /* of this test, one at a time */

    *ret_len = make(frame, p);
    return frag_take(pool, frame, ret_len, now);
}

/* It does not complete anything. */
static void lost(FragPool *pool, Piece p)
{
    size_t len;

    g_assert_null(give(pool, p, &len, 0));
}

static void is_whole(const uint8_t *f, size_t len, uint16_t id, uint32_t size, unsigned options)
{
    unsigned words = IP + options;

    g_assert_cmpuint(len, ==, ETHER + words + size);
    g_assert_cmphex(f[14], ==, 0x40 | words / 4);
    g_assert_cmpuint(net_be16(f + 16), ==, words + size);
    g_assert_cmpuint(net_be16(f + 20), ==, 0);
    g_assert_cmphex(net_fold(net_sum(0, f + ETHER, words)), ==, 0xffff);
    for (uint32_t i = 0; i < size; i++) {
        g_assert_cmphex(f[ETHER + words + i], ==, byte_at(i, id));
    }
}

/* With it a datagram of that size is there. */
static void completes_at(FragPool *pool, Piece p, uint32_t size, unsigned options, int64_t now)
{
    size_t len;
    const uint8_t *f = give(pool, p, &len, now);

    g_assert_nonnull(f);
    is_whole(f, len, p.id, size, options);
}

static void completes(FragPool *pool, Piece p, uint32_t size)
{
    completes_at(pool, p, size, /* options= */ 0, /* now= */ 0);
}

/* A datagram of two fragments, which nothing is wrong with. */
static void works(FragPool *pool, uint16_t id)
{
    lost(pool, (Piece){ .id = id, .len = 64, .more = true });
    completes(pool, (Piece){ .id = id, .at = 64, .len = 33 }, 97);
}

/* Whatever is no fragment of IPv4 is not touched: libslirp has its own view of IPv6's (RFC 8200,
 * 4.5), which it does not put together. */
static void test_others(void)
{
    static const struct {
        uint8_t type[2], first, byte20;
    } t[] = { { { 8, 0 }, 0x45, 0 }, { { 8, 0 }, 0x45, 0x40 }, { { 8, 6 }, 0, 0x20 },
        { { 0x86, 0xdd }, 0x60, 44 }, { { 0x81, 0 }, 0x45, 0x20 } };
    FragPool *pool = frag_pool_new();
    uint8_t f[100] = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        memcpy(f + 12, t[i].type, 2);
        f[14] = t[i].first;
        f[20] = t[i].byte20;
        for (size_t n = 0; n <= sizeof f; n++) {
            size_t len = n;

            g_assert_true(frag_take(pool, f, &len, 0) == f);
            g_assert_cmpuint(len, ==, n);
        }
    }
    frag_pool_free(pool);
}

static void test_random(void)
{
    enum { ROUNDS = 400, PIECES = 64 };
    g_autoptr(GRand) r = g_rand_new_with_seed(1);
    FragPool *pool = frag_pool_new();

    for (unsigned round = 0; round < ROUNDS; round++) {
        Piece p[PIECES];
        uint16_t id = (uint16_t)round;
        unsigned n = 0, options = 4 * (unsigned)g_rand_int_range(r, 0, 11);
        uint32_t at = 0, most = round % 10 ? 8000 : DATA_MAX - OPTIONS;

        while (n < PIECES - 1 && at < most - 1) {
            uint32_t k = 8 * (uint32_t)g_rand_int_range(r, 1, (int)most / 80 + 2);

            k = MIN(k, (most - 1 - at) & ~7u);
            if (!k) {
                break;
            }
            p[n++] = (Piece){ .id = id, .at = at, .len = k, .more = true, .options = options };
            at += k;
        }
        p[n] = (Piece){ .id = id, .at = at, .options = options };
        p[n++].len = (uint32_t)g_rand_int_range(r, 1, (int)(most - at) + 1);
        at += p[n - 1].len;
        for (unsigned i = n; i > 1; i--) {
            unsigned k = (unsigned)g_rand_int_range(r, 0, (int)i);
            Piece was = p[k];

            p[k] = p[i - 1];
            p[i - 1] = was;
        }
        for (unsigned i = 0; i + 1 < n; i++) {
            lost(pool, p[i]);
        }
        completes_at(pool, p[n - 1], at, options, 0);
    }
    frag_pool_free(pool);
}

/* What IP allows: 65535 bytes with the header; one more is the "ping of death". */
static void test_largest(void)
{
    FragPool *pool = frag_pool_new();
    const uint32_t half = 32768;

    lost(pool, (Piece){ .id = 1, .at = half, .len = DATA_MAX - half });
    completes(pool, (Piece){ .id = 1, .len = half, .more = true }, DATA_MAX);
    lost(pool, (Piece){ .id = 2, .at = half, .len = DATA_MAX - half + 1 });
    lost(pool, (Piece){ .id = 2, .len = half, .more = true });
    lost(pool, (Piece){ .id = 3, .at = 65528, .len = 1000 });
    lost(pool, (Piece){ .id = 3, .len = 65528 - half, .more = true });
    /* A header with options leaves less. */
    lost(pool, (Piece){ .id = 4, .at = half, .len = DATA_MAX - half });
    lost(pool, (Piece){ .id = 4, .len = half, .more = true, .options = 4 });
    works(pool, 5);
    frag_pool_free(pool);
}

/* No good headers; each would be the first half of a datagram that the second completes. */
static void test_refused(void)
{
    static const struct {
        uint8_t at, byte;
        bool sum; /* is right all the same */
    } t[] = { { 14, 0x55, true }, { 14, 0x44, true }, { 14, 0x4f, true }, { 14, 0x40, true },
        { 16, 1, true }, { 16, 0xff, true }, { 17, 20, true }, { 17, 0, true }, { 17, 83, true },
        { 24, 0, false }, { 22, 1, false } };
    FragPool *pool = frag_pool_new();
    uint8_t f[200];

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        size_t len = make(f, (Piece){ .id = (uint16_t)i, .len = 64, .more = true }), cut = len;

        f[t[i].at] = t[i].byte;
        if (t[i].sum) {
            net_put_be16(f + 24, 0);
            net_put_be16(f + 24, (uint16_t)~net_fold(net_sum(0, f + ETHER, IP)));
        }
        g_assert_null(frag_take(pool, f, &cut, 0));
        lost(pool, (Piece){ .id = (uint16_t)i, .at = 64, .len = 33 });
    }
    /* The frame ends before the packet does. */
    for (size_t cut = ETHER + IP; cut < ETHER + IP + 64; cut++) {
        size_t len = cut;

        make(f, (Piece){ .id = 100, .len = 64, .more = true });
        g_assert_null(frag_take(pool, f, &len, 0));
    }
    lost(pool, (Piece){ .id = 100, .at = 64, .len = 33 });
    works(pool, 101);
    frag_pool_free(pool);
}

/* Each is two fragments that cannot be of one datagram: "teardrop" and its relatives. The last one
 * would fill what is left. */
static void test_overlaps(void)
{
    static const Piece t[][3] = {
        { { .len = 64, .more = true }, { .len = 64, .more = true }, { .at = 64, .len = 8 } },
        { { .len = 64, .more = true }, { .at = 56, .len = 16, .more = true },
            { .at = 72, .len = 8 } },
        { { .len = 64, .more = true }, { .at = 8, .len = 8, .more = true },
            { .at = 64, .len = 8 } },
        { { .at = 64, .len = 64, .more = true }, { .len = 72, .more = true },
            { .at = 128, .len = 8 } },
        { { .at = 64, .len = 64, .more = true }, { .len = 256, .more = true },
            { .at = 256, .len = 8 } },
        /* into the last one's half-filled block */
        { { .at = 64, .len = 3 }, { .at = 64, .len = 8, .more = true },
            { .len = 64, .more = true } },
        /* beyond the end; an end before what is here; two ends */
        { { .at = 64, .len = 8 }, { .at = 72, .len = 8, .more = true },
            { .len = 64, .more = true } },
        { { .at = 72, .len = 8, .more = true }, { .at = 64, .len = 8 },
            { .len = 64, .more = true } },
        { { .at = 64, .len = 8 }, { .at = 72, .len = 8 }, { .len = 64, .more = true } },
        { { .at = 72, .len = 8 }, { .at = 64, .len = 8 }, { .len = 64, .more = true } },
    };
    FragPool *pool = frag_pool_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        for (unsigned k = 0; k < 3; k++) {
            Piece p = t[i][k];

            p.id = (uint16_t)i;
            lost(pool, p);
        }
    }
    works(pool, 100);
    frag_pool_free(pool);
}

/* A hole; and fragments of no whole number of eights, which are no middle of anything. */
static void test_holes(void)
{
    FragPool *pool = frag_pool_new();

    lost(pool, (Piece){ .id = 1, .len = 64, .more = true });
    lost(pool, (Piece){ .id = 1, .at = 72, .len = 8 });
    lost(pool, (Piece){ .id = 2, .len = 63, .more = true });
    lost(pool, (Piece){ .id = 2, .at = 64, .len = 8 });
    /* The hole is filled after all. */
    completes(pool, (Piece){ .id = 1, .at = 64, .len = 8, .more = true }, 80);
    frag_pool_free(pool);
}

/* Fragments belong together by both addresses, the protocol and the identification. */
static void test_keys(void)
{
    static const Piece t[] = { { .id = 1 }, { .id = 2 }, { .id = 1, .proto = 1 },
        { .id = 1, .from = 99 }, { .id = 256 } };
    FragPool *pool = frag_pool_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Piece p = t[i];

        p.len = 64;
        p.more = true;
        lost(pool, p);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Piece p = t[i];

        p.at = 64;
        p.len = 8 + i;
        completes(pool, p, 64 + p.len);
    }
    frag_pool_free(pool);
}

static void test_late(void)
{
    const Piece first = { .id = 1, .len = 64, .more = true },
                last = { .id = 1, .at = 64, .len = 8 };
    FragPool *pool = frag_pool_new();
    size_t len;

    g_assert_null(give(pool, first, &len, 0));
    completes_at(pool, last, 72, 0, 30 * SECOND);
    g_assert_null(give(pool, first, &len, 0));
    g_assert_null(give(pool, last, &len, 30 * SECOND + 1));
    /* The late one began anew, and its first half may still come. */
    completes_at(pool, first, 72, 0, 31 * SECOND);
    frag_pool_free(pool);
}

/* Ten thousand beginnings: the youngest are kept, memory is that of a few. */
static void test_many(void)
{
    enum { MANY = 10000, KEPT = 16, CAP = KEPT * (2 * 65536) };
    FragPool *pool = frag_pool_new();
    size_t len, before = mallinfo2().uordblks + mallinfo2().hblkhd;

    for (unsigned i = 0; i < MANY; i++) {
        g_assert_null(
            give(pool, (Piece){ .id = (uint16_t)i, .len = 64, .more = true }, &len, (int64_t)i));
    }
    g_assert_cmpuint(mallinfo2().uordblks + mallinfo2().hblkhd, <, before + CAP);
    for (unsigned i = 1; i <= KEPT; i++) {
        uint16_t id = (uint16_t)(MANY - i);

        completes_at(pool, (Piece){ .id = id, .at = 64, .len = 8 }, 72, 0, MANY);
    }
    g_assert_null(give(pool, (Piece){ .id = MANY - KEPT - 1, .at = 64, .len = 8 }, &len, MANY));
    frag_pool_free(pool);
}

/* Any fragments of few datagrams: what comes out is a datagram. */
static void test_noise(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(7);
    FragPool *pool = frag_pool_new();
    unsigned whole = 0;

    for (unsigned i = 0; i < 100000; i++) {
        Piece p = { .id = (uint16_t)g_rand_int_range(r, 0, 20),
            .at = 8 * (uint32_t)g_rand_int_range(r, 0, 6),
            .len = 8 * (uint32_t)g_rand_int_range(r, 1, 4),
            .more = g_rand_boolean(r),
            .options = 4 * (unsigned)g_rand_int_range(r, 0, 11) };
        size_t len;
        const uint8_t *f = give(pool, p, &len, i);

        if (f && (p.at || p.more)) {
            uint32_t size = (uint32_t)len - ETHER - (f[14] & 15u) * 4;

            is_whole(f, len, p.id, size, (f[14] & 15u) * 4 - IP);
            whole++;
        }
    }
    g_assert_cmpuint(whole, >, 100);
    frag_pool_free(pool);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/slirp-frag/others", test_others);
    g_test_add_func("/slirp-frag/random", test_random);
    g_test_add_func("/slirp-frag/largest", test_largest);
    g_test_add_func("/slirp-frag/refused", test_refused);
    g_test_add_func("/slirp-frag/overlaps", test_overlaps);
    g_test_add_func("/slirp-frag/holes", test_holes);
    g_test_add_func("/slirp-frag/keys", test_keys);
    g_test_add_func("/slirp-frag/late", test_late);
    g_test_add_func("/slirp-frag/many", test_many);
    g_test_add_func("/slirp-frag/noise", test_noise);
    return g_test_run();
}
