/* Packets in a byte stream. Tested by test-net-socket and fuzzed by fuzz-net. */
#include "framing.h"

#include <string.h>

enum { BUF_SIZE = 4 * (FRAMING_MAX + FRAMING_HEAD_MAX) };

void framing_init(Framing *f, size_t head)
{
    *f = (Framing){ .buf = g_malloc(BUF_SIZE), .size = BUF_SIZE, .head = head };
}

void framing_fini(Framing *f)
{
    g_clear_pointer(&f->buf, g_free);
}

void framing_clear(Framing *f)
{
    f->at = f->end = 0;
}

uint8_t *framing_space(Framing *f, size_t *ret_len)
{
    /* A packet that begins here may not fit behind what is there. */
    if (f->at && f->size - f->at < FRAMING_MAX + FRAMING_HEAD_MAX) {
        memmove(f->buf, f->buf + f->at, f->end - f->at);
        f->end -= f->at;
        f->at = 0;
    }
    *ret_len = f->size - f->end;
    return f->buf + f->end;
}

void framing_add(Framing *f, size_t len)
{
    g_assert(len <= f->size - f->end);
    f->end += len;
}

static uint32_t be32_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool framing_next(
    Framing *f, const uint8_t **ret_data, size_t *ret_len, uint32_t *ret_vnet_len, bool *ret_bad)
{
    const uint8_t *p = f->buf + f->at;
    size_t have = f->end - f->at;

    *ret_bad = false;
    if (have < 4) {
        return false;
    }
    uint32_t len = be32_at(p);

    if (len > FRAMING_MAX) {
        *ret_bad = true;
        return false;
    }
    if (have < f->head + len) {
        return false;
    }
    *ret_vnet_len = f->head == 8 ? be32_at(p + 4) : 0;
    if (*ret_vnet_len > len) {
        *ret_bad = true;
        return false;
    }
    *ret_data = p + f->head;
    *ret_len = len;
    return true;
}

void framing_done(Framing *f)
{
    f->at += f->head + be32_at(f->buf + f->at);
    g_assert(f->at <= f->end);
    if (f->at == f->end) {
        f->at = f->end = 0;
    }
}
