/* A bounded cursor over borrowed iovecs. Copies are all or nothing, so a short guest buffer leaves
 * no half state. */
#include "util/giov.h"

#include <stdint.h>
#include <string.h>

void giov_init(GIov *g, const struct iovec *v, unsigned n)
{
    size_t left = 0;

    for (unsigned i = 0; i < n; i++) {
        left += v[i].iov_len;
    }
    *g = (GIov){ .v = v, .left = left };
}

/* Bytes that lie contiguous at the cursor, of which there are some left; steps over empty and
 * used-up entries. */
static size_t giov_run(GIov *g)
{
    while (g->off == g->v->iov_len) {
        g->v++;
        g->off = 0;
    }
    return g->v->iov_len - g->off;
}

static void giov_advance(GIov *g, size_t len)
{
    g->off += len;
    g->left -= len;
}

bool giov_get_slow(GIov *g, void *dst, size_t len)
{
    uint8_t *to = dst;

    if (len > g->left) {
        return false;
    }
    while (len) {
        size_t run = MIN(giov_run(g), len);

        memcpy(to, (const uint8_t *)g->v->iov_base + g->off, run);
        giov_advance(g, run);
        to += run;
        len -= run;
    }
    return true;
}

bool giov_peek(const GIov *g, void *dst, size_t len)
{
    GIov copy = *g;

    return giov_get(&copy, dst, len);
}

bool giov_put_slow(GIov *g, const void *src, size_t len)
{
    const uint8_t *from = src;

    if (len > g->left) {
        return false;
    }
    while (len) {
        size_t run = MIN(giov_run(g), len);

        memcpy((uint8_t *)g->v->iov_base + g->off, from, run);
        giov_advance(g, run);
        from += run;
        len -= run;
    }
    return true;
}

bool giov_fill(GIov *g, int byte, size_t len)
{
    if (len > g->left) {
        return false;
    }
    while (len) {
        size_t run = MIN(giov_run(g), len);

        memset((uint8_t *)g->v->iov_base + g->off, byte, run);
        giov_advance(g, run);
        len -= run;
    }
    return true;
}

bool giov_skip_slow(GIov *g, size_t len)
{
    if (len > g->left) {
        return false;
    }
    while (len) {
        size_t run = MIN(giov_run(g), len);

        giov_advance(g, run);
        len -= run;
    }
    return true;
}

unsigned giov_iovec(const GIov *g, struct iovec *ret_iov, unsigned max)
{
    size_t left = g->left;
    size_t off = g->off;
    unsigned count = 0;

    for (unsigned i = 0; left && count < max; i++) {
        size_t len = MIN(g->v[i].iov_len - off, left);

        if (len) {
            ret_iov[count++] =
                (struct iovec){ .iov_base = (uint8_t *)g->v[i].iov_base + off, .iov_len = len };
            left -= len;
        }
        off = 0;
    }
    return count;
}

unsigned giov_pieces(const GIov *g)
{
    size_t left = g->left, off = g->off;
    unsigned count = 0;

    for (unsigned i = 0; left; i++) {
        size_t len = MIN(g->v[i].iov_len - off, left);

        count += len != 0;
        left -= len;
        off = 0;
    }
    return count;
}
