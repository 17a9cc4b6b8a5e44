/* The Internet checksum (RFC 1071) for cards that compute it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline uint16_t net_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void net_put_be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline uint16_t net_fold(uint64_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

/* Adds n bytes to a sum that is not yet folded. */
static inline uint64_t net_sum(uint64_t sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i += 2) {
        sum += net_be16(p + i);
    }
    return n % 2 ? sum + ((uint64_t)p[n - 1] << 8) : sum;
}
