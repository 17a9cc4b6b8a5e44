/* Table-driven register blocks: what a device's registers are, where they lie and who answers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct Reg {
    uint16_t off;
    uint8_t width; /* bytes: 1, 2, 4 or 8 */
    bool ro;
    const char *name; /* for logs */
    uint64_t (*read)(void *dev);
    void (*write)(void *dev, uint64_t val);
} Reg; /* tables are sorted by off and do not overlap; write NULL and read NULL are allowed */

/*
 * An access may cover part of a register, one, or several. Reads of nothing give 0. A partial write
 * is merged with what the register reads as (0 when it cannot be read); writes to a read-only
 * register or to nothing are ignored and logged.
 */
uint64_t regs_read(const Reg *tab, unsigned n, void *dev, uint64_t off, unsigned width);
void regs_write(const Reg *tab, unsigned n, void *dev, uint64_t off, unsigned width, uint64_t val);
