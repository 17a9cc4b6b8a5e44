/* What the fuzzers of displays share: a machine with virtio-vga, which has three heads, and what
 * its driver sends. */
#pragma once

#include "tests/fuzz/fuzz.h"
#include "tests/lib/vgpu.h"

enum { FUZZ_HEADS = 3, FUZZ_HOSTMEM = 8 << 20, FUZZ_SLOT = 4 };

typedef struct FuzzDisplay {
    Board *b;
    Dev *dev;
    VirtioGpu *gpu;
    VDriver drv;
    VGpu g;
    uint64_t first_page; /* of the driver's memory for rings */
    uint32_t bar[6];     /* as firmware sets them */
} FuzzDisplay;
extern FuzzDisplay fd;

void fuzz_display_open(void);  /* once: fuzz_prepare() */
void fuzz_display_start(void); /* a driver begins */
void fuzz_display_reset(void); /* everything as it was in the beginning, and nothing is used */
/* A command of n words behind its header, room for the answer; not all of it need be done. */
void fuzz_display_send(
    unsigned q, uint32_t head[6], const uint32_t *words, unsigned n, uint32_t room);
/* Blocks of 128 bytes whose sums are 0 (E-EDID A2, 3.11), as many as the first one says. */
void fuzz_display_edid(const uint8_t *edid, uint32_t size);
uint32_t fuzz_word(Input *in); /* numbers that mean something, more often than others */
