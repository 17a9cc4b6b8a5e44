/* Dense bitmaps: the operations that are more than one line. */
#include "util/bitmap.h"

void bitmap_set_atomic(uint64_t *m, size_t i)
{
    __atomic_fetch_or(&m[i / 64], 1ull << (i % 64), __ATOMIC_RELEASE);
}

bool bitmap_test_and_clear_atomic(uint64_t *m, size_t i)
{
    uint64_t mask = 1ull << (i % 64);

    /* Pairs with the release in bitmap_set_atomic(): what was written before the bit is seen. */
    return (__atomic_fetch_and(&m[i / 64], ~mask, __ATOMIC_ACQUIRE) & mask) != 0;
}

size_t bitmap_next(const uint64_t *m, size_t nbits, size_t from)
{
    if (from >= nbits) {
        return nbits;
    }
    size_t w = from / 64;
    uint64_t word = m[w] & (~0ull << (from % 64));

    while (!word) {
        if (++w >= BITMAP_WORDS(nbits)) {
            return nbits;
        }
        word = m[w];
    }
    size_t i = w * 64 + (size_t)__builtin_ctzll(word);

    return i < nbits ? i : nbits;
}
