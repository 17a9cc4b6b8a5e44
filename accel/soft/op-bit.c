/* Bit tests with bit-string addressing, bit scans, POPCNT (SDM vol. 2: BT BTS BTR BTC BSF BSR
 * POPCNT; vol. 1, 4.6.3). */
#include "operand.h"

enum { BIT_T = 4, BIT_S, BIT_R, BIT_C };

static uint64_t bit_result(uint64_t d, const RmwArg *a)
{
    uint64_t m = 1ull << a->src;

    return a->op == BIT_S ? d | m : a->op == BIT_R ? d & ~m : d ^ m;
}

void insn_bt(SoftCpu *c, const Insn *in)
{
    unsigned bits = in->opsize * 8;
    RmwArg a = { .size = in->opsize };
    uint64_t d;

    if (in->opcode == 0x1ba) {
        a.op = in->reg;
        a.src = in->imm & (bits - 1);
        d = a.op == BIT_T ? insn_get_rm(c, in, a.size) : insn_rmw(c, in, bit_result, &a);
    } else {
        uint64_t n = sreg_get(c, in, in->reg, a.size);
        a.op = BIT_T + ((in->opcode >> 3) & 3);
        a.src = n & (bits - 1);
        if (in->flags & INSN_MEM) {
            /* The register is a signed bit number from the operand's address on. */
            uint64_t off = (uint64_t)((int64_t)n >> __builtin_ctz(bits)) * a.size;
            uint64_t ea = (insn_ea(c, in) + off) & size_mask(in->adsize);
            uint64_t la = seg_la(c, in->seg, ea, a.size, a.op != BIT_T);
            d = a.op == BIT_T ? mem_ld(c, la, a.size)
                              : mem_rmw(c, la, in->flags & INSN_LOCK, bit_result, &a);
        } else {
            d = a.op == BIT_T ? insn_get_rm(c, in, a.size) : insn_rmw(c, in, bit_result, &a);
        }
    }
    flags_change(c, FL_CF, (d >> a.src) & 1 ? FL_CF : 0);
}

void insn_bsf(SoftCpu *c, const Insn *in)
{
    uint64_t v = insn_get_rm(c, in, in->opsize);

    if (!v) {
        /* The destination stays as it is; processors leave ZF and PF set, the others clear. */
        flags_set(c, FL_ZF | FL_PF);
        return;
    }
    uint64_t n = in->opcode & 1 ? 63u - (unsigned)__builtin_clzll(v) : (unsigned)__builtin_ctzll(v);
    insn_set_reg(c, in, in->reg, in->opsize, n);
    flags_set(c, __builtin_parity((unsigned)n) ? 0 : FL_PF);
}

void insn_popcnt(SoftCpu *c, const Insn *in)
{
    if (in->rep != REP_E || !(c->model->f1_ecx & 1u << 23)) {
        soft_raise(c, EXC_UD);
    }
    uint64_t v = insn_get_rm(c, in, in->opsize);
    insn_set_reg(c, in, in->reg, in->opsize, (uint64_t)__builtin_popcountll(v));
    flags_set(c, v ? 0 : FL_ZF);
}
