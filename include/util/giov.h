/* A bounded cursor over borrowed iovecs: the only way device code reads and writes guest bytes. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

typedef struct GIov {
    const struct iovec *v; /* borrowed from the owner (a VqElem) */
    size_t off;            /* offset into v[0] */
    size_t left;           /* bytes left in all: where they end, the entries end */
} GIov;

void giov_init(GIov *g, const struct iovec *v, unsigned n); /* sums up the length */
/* Copies exactly len bytes or none at all; false means the guest sent too little. */
bool giov_get(GIov *g, void *dst, size_t len) G_GNUC_WARN_UNUSED_RESULT;
bool giov_put(GIov *g, const void *src, size_t len) G_GNUC_WARN_UNUSED_RESULT;
bool giov_fill(GIov *g, int byte, size_t len) G_GNUC_WARN_UNUSED_RESULT;
bool giov_skip(GIov *g, size_t len) G_GNUC_WARN_UNUSED_RESULT;
/* Copies without moving the cursor. */
bool giov_peek(const GIov *g, void *dst, size_t len) G_GNUC_WARN_UNUSED_RESULT;
/* g keeps its first `at` bytes, ret_rest gets what follows. */
bool giov_split(GIov *g, size_t at, GIov *ret_rest) G_GNUC_WARN_UNUSED_RESULT;
/* For system calls only: borrows at most max entries. Returns the count. */
unsigned giov_iovec(const GIov *g, struct iovec *ret_iov, unsigned max);
unsigned giov_pieces(const GIov *g); /* entries that are not empty */
