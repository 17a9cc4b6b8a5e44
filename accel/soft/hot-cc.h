/* Conditions when the translator knows which kind of instruction set the flags. */
#pragma once

#include "hot.h"

/* After SUB, CMP, NEG: d - s = r, all sign-extended. */
INLINE bool sub_cond(uint64_t d, uint64_t s, uint64_t r, unsigned cc)
{
    bool v;

    switch (cc >> 1) {
    case 0:
        v = ((d ^ s) & (d ^ r)) >> 63;
        break;
    case 1:
        v = d < s;
        break;
    case 2:
        v = d == s;
        break;
    case 3:
        v = d <= s;
        break;
    case 4:
        v = r >> 63;
        break;
    case 5:
        v = !__builtin_parity(r & 0xff);
        break;
    case 6:
        v = (int64_t)d < (int64_t)s;
        break;
    default:
        v = (int64_t)d <= (int64_t)s;
        break;
    }
    return v != (cc & 1);
}

/* After AND OR XOR TEST: CF and OF are clear. */
INLINE bool logic_cond(uint64_t r, unsigned cc)
{
    bool v;

    switch (cc >> 1) {
    case 0:
    case 1:
        v = false;
        break;
    case 2:
    case 3:
        v = r == 0;
        break;
    case 5:
        v = !__builtin_parity(r & 0xff);
        break;
    case 7:
        v = (int64_t)r <= 0;
        break;
    default:
        v = r >> 63;
        break;
    }
    return v != (cc & 1);
}

INLINE bool known_cond(const SoftCpu *c, unsigned known, unsigned cc)
{
    switch (known) {
    case HOT_CC_SUB:
        return sub_cond(c->fl.dst, c->fl.src, c->fl.res, cc);
    case HOT_CC_LOGIC:
        return logic_cond(c->fl.res, cc);
    default:
        return flags_cond(c, cc);
    }
}
