/* Packets in a byte stream: each behind its length, 4 bytes, big-endian (stream, socket,
 * filter-mirror and filter-redirector). The other side is not trusted. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { FRAMING_MAX = 4096 + 65536, FRAMING_HEAD_MAX = 8 };

/* What was received and not yet taken apart. */
typedef struct Framing {
    uint8_t *buf;
    size_t size, at, end; /* bytes at..end are to be looked at */
    size_t head;          /* 4, or 8: the second word is the length of a virtio-net header */
} Framing;

void framing_init(Framing *f, size_t head);
void framing_fini(Framing *f);
void framing_clear(Framing *f);
/* Room for more bytes; tell framing_add() how many came. Never 0 when framing_next() said no. */
uint8_t *framing_space(Framing *f, size_t *ret_len);
void framing_add(Framing *f, size_t len);
/*
 * The next whole packet, which stays in place until framing_done(). False: there is none yet, or
 * (*ret_bad) the length is one that no packet has.
 */
bool framing_next(
    Framing *f, const uint8_t **ret_data, size_t *ret_len, uint32_t *ret_vnet_len, bool *ret_bad);
void framing_done(Framing *f);
