/* IPv4 reassembly in front of libslirp. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct FragPool FragPool;

FragPool *frag_pool_new(void);
void frag_pool_free(FragPool *p);
/* A frame of the guest, as libslirp may have it: itself unless it is a fragment; the whole datagram
 * with the last fragment that was missing; NULL for the others. Valid until the next call. */
const uint8_t *frag_take(FragPool *p, const uint8_t *frame, size_t *len, int64_t now_ns);
