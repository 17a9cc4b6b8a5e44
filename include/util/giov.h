/* A bounded cursor over borrowed iovecs: the only way device code reads and writes guest bytes. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

typedef struct GIov {
    size_t left;           /* bytes left in all: where they end, the entries end */
    const struct iovec *v; /* borrowed from the owner (a VqElem) */
    size_t off;            /* offset into v[0] */
} GIov;

void giov_init(GIov *g, const struct iovec *v, unsigned n); /* sums up the length */
/* The calls below for what lies in several entries. */
bool giov_get_slow(GIov *g, void *dst, size_t len);
bool giov_put_slow(GIov *g, const void *src, size_t len);
bool giov_skip_slow(GIov *g, size_t len);

/* True: len bytes (not 0) lie in one entry, and the cursor stands there. */
static inline bool giov_whole(GIov *g, size_t len)
{
    if (!len || len > g->left) {
        return false;
    }
    if (g->off == g->v->iov_len) {
        g->v++;
        g->off = 0;
    }
    return len <= g->v->iov_len - g->off;
}

/* Copies exactly len bytes or none at all; false means the guest sent too little. */
G_GNUC_WARN_UNUSED_RESULT static inline bool giov_get(GIov *g, void *dst, size_t len)
{
    if (!G_LIKELY(giov_whole(g, len))) {
        return giov_get_slow(g, dst, len);
    }
    memcpy(dst, (const char *)g->v->iov_base + g->off, len);
    g->off += len;
    g->left -= len;
    return true;
}

G_GNUC_WARN_UNUSED_RESULT static inline bool giov_put(GIov *g, const void *src, size_t len)
{
    if (!G_LIKELY(giov_whole(g, len))) {
        return giov_put_slow(g, src, len);
    }
    memcpy((char *)g->v->iov_base + g->off, src, len);
    g->off += len;
    g->left -= len;
    return true;
}

G_GNUC_WARN_UNUSED_RESULT static inline bool giov_skip(GIov *g, size_t len)
{
    if (!G_LIKELY(giov_whole(g, len))) {
        return giov_skip_slow(g, len);
    }
    g->off += len;
    g->left -= len;
    return true;
}

bool giov_fill(GIov *g, int byte, size_t len) G_GNUC_WARN_UNUSED_RESULT;
/* Copies without moving the cursor. */
bool giov_peek(const GIov *g, void *dst, size_t len) G_GNUC_WARN_UNUSED_RESULT;
/* g keeps its first `at` bytes, ret_rest gets what follows. */
G_GNUC_WARN_UNUSED_RESULT static inline bool giov_split(GIov *g, size_t at, GIov *ret_rest)
{
    GIov rest = *g;

    if (!giov_skip(&rest, at)) {
        return false;
    }
    g->left = at;
    *ret_rest = rest;
    return true;
}
/* For system calls only: borrows at most max entries. Returns the count. */
unsigned giov_iovec(const GIov *g, struct iovec *ret_iov, unsigned max);
unsigned giov_pieces(const GIov *g); /* entries that are not empty */
