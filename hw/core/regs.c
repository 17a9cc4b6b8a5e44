/* Table-driven register blocks. Test: tests/unit/test-dev.c */
#include "hw/core/regs.h"

#include "util/log.h"

#include <inttypes.h>

static uint64_t bytes_mask(unsigned n)
{
    return n >= 8 ? UINT64_MAX : (1ull << (n * 8)) - 1;
}

/* The register that holds the byte at off, or the next one behind it. */
static const Reg *reg_at(const Reg *tab, unsigned n, uint64_t off)
{
    unsigned lo = 0, hi = n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (tab[mid].off + tab[mid].width <= off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < n ? &tab[lo] : NULL;
}

uint64_t regs_read(const Reg *tab, unsigned n, void *dev, uint64_t off, unsigned width)
{
    uint64_t val = 0, end = off + width;

    for (const Reg *r = reg_at(tab, n, off); r && r < tab + n && r->off < end; r++) {
        uint64_t v = r->read ? r->read(dev) & bytes_mask(r->width) : 0;
        val |= r->off >= off ? v << ((r->off - off) * 8) : v >> ((off - r->off) * 8);
    }
    return val & bytes_mask(width);
}

static void reg_write(const Reg *r, void *dev, uint64_t mask, uint64_t val)
{
    if (r->ro || !r->write) {
        log_guest_error("write of 0x%" PRIx64 " to read-only register %s", val, r->name);
        return;
    }
    if (mask != bytes_mask(r->width)) {
        uint64_t old = r->read ? r->read(dev) : 0;
        val = (old & ~mask) | (val & mask);
    }
    r->write(dev, val & bytes_mask(r->width));
}

void regs_write(const Reg *tab, unsigned n, void *dev, uint64_t off, unsigned width, uint64_t val)
{
    uint64_t end = off + width;
    bool any = false;

    val &= bytes_mask(width);
    for (const Reg *r = reg_at(tab, n, off); r && r < tab + n && r->off < end; r++) {
        uint64_t mask = bytes_mask(width), v = val;
        if (r->off >= off) {
            unsigned shift = (unsigned)(r->off - off) * 8;
            mask >>= shift;
            v >>= shift;
        } else {
            unsigned shift = (unsigned)(off - r->off) * 8;
            mask <<= shift;
            v <<= shift;
        }
        reg_write(r, dev, mask & bytes_mask(r->width), v & bytes_mask(r->width));
        any = true;
    }
    if (!any) {
        log_guest_error(
            "write of 0x%" PRIx64 " to offset 0x%" PRIx64 " where no register is", val, off);
    }
}
