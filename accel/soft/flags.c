/* Lazy flags: the whole register at once. The fast forms are in flags.h. */
#include "flags.h"

uint32_t flags_peek(const SoftCpu *c)
{
    if (c->fl.op == FLAGS_OP_NONE) {
        return c->fl.val;
    }
    return (flags_cf(c) ? FL_CF : 0) | (flags_pf(c) ? FL_PF : 0) | (flags_af(c) ? FL_AF : 0) |
           (flags_zf(c) ? FL_ZF : 0) | (flags_sf(c) ? FL_SF : 0) | (flags_of(c) ? FL_OF : 0);
}

uint32_t flags_get(SoftCpu *c)
{
    uint32_t v = flags_peek(c);

    flags_set(c, v);
    return v;
}

void flags_change(SoftCpu *c, uint32_t mask, uint32_t val)
{
    flags_set(c, (flags_peek(c) & ~mask) | (val & mask));
}
