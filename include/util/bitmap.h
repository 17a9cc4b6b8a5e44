/* Dense bitmaps; the atomic forms may be used from any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_WORDS(nbits) (((nbits) + 63) / 64)
static inline bool bitmap_test(const uint64_t *m, size_t i)
{
    return m[i / 64] >> (i % 64) & 1;
}
static inline void bitmap_set(uint64_t *m, size_t i)
{
    m[i / 64] |= 1ull << (i % 64);
}
static inline void bitmap_clear(uint64_t *m, size_t i)
{
    m[i / 64] &= ~(1ull << (i % 64));
}
void bitmap_set_atomic(uint64_t *m, size_t i);
bool bitmap_test_and_clear_atomic(uint64_t *m, size_t i);
size_t bitmap_next(const uint64_t *m, size_t nbits, size_t from); /* nbits: none */
