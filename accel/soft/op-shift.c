/*
 * Shifts, rotates and double shifts (SDM vol. 2: SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD).
 * OF, which is defined for a count of 1 only, is for every count what a count of 1 would make of
 * the operand, and AF is clear after shifts: so processors do it.
 */
#include "operand.h"

enum { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAL, SH_SAR };

/* d zero-extended, count masked and not 0. */
static uint64_t shift_result(uint64_t d, const RmwArg *a)
{
    unsigned bits = a->size * 8, n = (unsigned)a->src;
    unsigned r = n & (bits - 1);
    unsigned rc = n % (bits + 1);
    uint64_t carry = a->carry;

    switch (a->op) {
    case SH_ROL:
        return r ? d << r | d >> (bits - r) : d;
    case SH_ROR:
        return r ? d >> r | d << (bits - r) : d;
    case SH_RCL:
        if (!rc) {
            return d;
        }
        return (rc == 64 ? 0 : d << rc) | carry << (rc - 1) | (rc > 1 ? d >> (bits + 1 - rc) : 0);
    case SH_RCR:
        if (!rc) {
            return d;
        }
        return (rc == 64 ? 0 : d >> rc) | carry << (bits - rc) |
               (rc > 1 ? d << (bits + 1 - rc) : 0);
    case SH_SHR:
        return d >> n;
    case SH_SAR:
        return (uint64_t)((int64_t)flags_sext(d, a->size) >> n);
    default:
        return d << n;
    }
}

static inline unsigned bit(uint64_t v, unsigned n)
{
    return (unsigned)(v >> n) & 1;
}

/* Rotates touch CF and OF only. */
static void rotate_flags(SoftCpu *c, uint64_t d, uint64_t r, const RmwArg *a)
{
    unsigned top = a->size * 8 - 1, rc = (unsigned)a->src % (top + 2);
    unsigned cf, of;

    switch (a->op) {
    case SH_ROL:
        cf = bit(r, 0);
        of = bit(d, top) ^ bit(d, top - 1);
        break;
    case SH_ROR:
        cf = bit(r, top);
        of = bit(d, 0) ^ bit(d, top);
        break;
    case SH_RCL:
        if (!rc) {
            return;
        }
        cf = bit(d, top + 1 - rc);
        of = bit(d, top) ^ bit(d, top - 1);
        break;
    default:
        if (!rc) {
            return;
        }
        cf = bit(d, rc - 1);
        of = a->carry ^ bit(d, top);
        break;
    }
    flags_change(c, FL_CF | FL_OF, (cf ? FL_CF : 0) | (of ? FL_OF : 0));
}

static void shift_flags(SoftCpu *c, uint64_t d, uint64_t r, const RmwArg *a)
{
    unsigned top = a->size * 8 - 1, n = (unsigned)a->src;
    unsigned cf, of;

    if (a->op < SH_SHL) {
        rotate_flags(c, d, r, a);
        return;
    }
    switch (a->op) {
    case SH_SHR:
        cf = bit(d, n - 1);
        of = bit(d, top);
        break;
    case SH_SAR:
        cf = bit(flags_sext(d, a->size), n - 1);
        of = 0;
        break;
    default:
        cf = n <= top + 1 ? bit(d, top + 1 - n) : 0;
        of = bit(d, top) ^ bit(d, top - 1);
        break;
    }
    flags_res(c, flags_sext(r, a->size), (cf ? FL_CF : 0) | (of ? FL_OF : 0));
}

void insn_shift(SoftCpu *c, const Insn *in)
{
    uint64_t count = in->opcode < 0xd0 ? in->imm : in->opcode < 0xd2 ? 1 : c->r[R_CX];
    RmwArg a = { .size = in->opsize, .op = in->reg, .carry = flags_cf(c) };

    a.src = count & (a.size == 8 ? 63 : 31);
    if (!a.src) {
        /* Nothing is written, no flag changes, but a 32-bit register is zero-extended and memory is
         * touched for write. */
        if (in->flags & INSN_MEM) {
            soft_check(c, insn_la(c, in, a.size, true), a.size, true);
        } else if (a.size == 4) {
            insn_set_reg(c, in, in->rm, 4, c->r[in->rm]);
        }
        return;
    }
    uint64_t d = insn_rmw(c, in, shift_result, &a);
    shift_flags(c, d, shift_result(d, &a) & size_mask(a.size), &a);
}

/* Operands of a double shift: op 1 is SHRD; carry holds the count, src the register. */
static uint64_t shd_result(uint64_t d, const RmwArg *a)
{
    unsigned bits = a->size * 8, n = a->carry;
    uint64_t s = a->src;

    if (bits == 16) {
        /* Counts over 16 rotate the destination in again. */
        uint64_t v = d << 32 | s << 16 | d;
        return a->op ? v >> n : (v << n) >> 32;
    }
    return a->op ? d >> n | s << (bits - n) : d << n | s >> (bits - n);
}

void insn_shd(SoftCpu *c, const Insn *in)
{
    uint64_t count = in->opcode & 1 ? c->r[R_CX] : in->imm;
    RmwArg a = { .size = in->opsize, .op = in->opcode >= 0x1ac };
    unsigned top = a.size * 8 - 1;

    a.carry = count & (a.size == 8 ? 63 : 31);
    a.src = insn_get_reg(c, in, in->reg, a.size);
    if (!a.carry) {
        if (in->flags & INSN_MEM) {
            soft_check(c, insn_la(c, in, a.size, true), a.size, true);
        } else if (a.size == 4) {
            insn_set_reg(c, in, in->rm, 4, c->r[in->rm]);
        }
        return;
    }
    uint64_t d = insn_rmw(c, in, shd_result, &a);
    uint64_t r = shd_result(d, &a) & size_mask(a.size);
    uint64_t wide = a.size == 2 ? d << 32 | a.src << 16 | d : d;
    unsigned cf = a.op ? bit(wide, a.carry - 1) : bit(wide, (a.size == 2 ? 47 : top) + 1 - a.carry);
    unsigned of = a.op ? bit(a.src, 0) ^ bit(d, top) : bit(d, top) ^ bit(d, top - 1);

    flags_res(c, flags_sext(r, a.size), (cf ? FL_CF : 0) | (of ? FL_OF : 0));
}
