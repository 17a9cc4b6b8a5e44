/* Integer arithmetic and logic, the complete forms (SDM vol. 2: ADD .. XOR, TEST, INC, DEC, NEG,
 * NOT). */
#include "operand.h"

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

static uint64_t alu_result(uint64_t d, const RmwArg *a)
{
    switch (a->op) {
    case ALU_ADD:
        return d + a->src;
    case ALU_OR:
        return d | a->src;
    case ALU_ADC:
        return d + a->src + a->carry;
    case ALU_SBB:
        return d - a->src - a->carry;
    case ALU_AND:
        return d & a->src;
    case ALU_XOR:
        return d ^ a->src;
    default:
        return d - a->src;
    }
}

/* d and src as they were; both of any extension. */
static void alu_flags(SoftCpu *c, uint64_t d, const RmwArg *a)
{
    static const uint8_t ops[8] = { FLAGS_OP_ADD, FLAGS_OP_RES, FLAGS_OP_ADC, FLAGS_OP_SBB,
        FLAGS_OP_RES, FLAGS_OP_SUB, FLAGS_OP_RES, FLAGS_OP_SUB };

    flags_arith(c, ops[a->op], flags_sext(d, a->size), flags_sext(a->src, a->size),
        flags_sext(alu_result(d, a), a->size));
}

void insn_alu(SoftCpu *c, const Insn *in)
{
    unsigned form = in->opcode & 7;
    RmwArg a = { .size = in->opsize, .op = (in->opcode >> 3) & 7, .carry = flags_cf(c) };
    uint64_t d;

    if (in->opcode >= 0x80) {
        a.op = in->reg;
        form = 0;
        a.src = in->imm;
    } else if (form < 2) {
        a.src = insn_get_reg(c, in, in->reg, a.size);
    } else if (form < 4) {
        a.src = insn_get_rm(c, in, a.size);
    } else {
        a.src = in->imm;
    }
    if (form >= 2) {
        unsigned reg = form < 4 ? in->reg : R_AX;
        d = insn_get_reg(c, in, reg, a.size);
        if (a.op != ALU_CMP) {
            insn_set_reg(c, in, reg, a.size, alu_result(d, &a));
        }
    } else if (a.op == ALU_CMP) {
        d = insn_get_rm(c, in, a.size);
    } else {
        d = insn_rmw(c, in, alu_result, &a);
    }
    alu_flags(c, d, &a);
}

void insn_test(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;
    uint64_t d, s;

    if (in->opcode >= 0xf6) {
        s = in->imm;
        d = insn_get_rm(c, in, size);
    } else if (in->opcode >= 0xa8) {
        s = in->imm;
        d = c->r[R_AX];
    } else {
        d = insn_get_rm(c, in, size);
        s = insn_get_reg(c, in, in->reg, size);
    }
    flags_logic(c, flags_sext(d & s, size));
}

static uint64_t add_src(uint64_t d, const RmwArg *a)
{
    return d + a->src;
}

void insn_incdec(SoftCpu *c, const Insn *in)
{
    bool dec = in->opcode < 0x80 ? in->opcode & 8 : in->reg == 1;
    RmwArg a = { .size = in->opsize, .src = dec ? ~0ull : 1 };
    uint64_t d = insn_rmw(c, in, add_src, &a);
    bool cf = flags_cf(c);

    flags_arith(c, dec ? FLAGS_OP_DEC : FLAGS_OP_INC, flags_sext(d, a.size), 0,
        flags_sext(d + a.src, a.size));
    c->fl.val = cf;
}

static uint64_t not_dst(uint64_t d, const RmwArg *a)
{
    return ~d;
}

void insn_not(SoftCpu *c, const Insn *in)
{
    RmwArg a = { .size = in->opsize };
    insn_rmw(c, in, not_dst, &a);
}

static uint64_t neg_dst(uint64_t d, const RmwArg *a)
{
    return -d;
}

void insn_neg(SoftCpu *c, const Insn *in)
{
    RmwArg a = { .size = in->opsize };
    uint64_t d = insn_rmw(c, in, neg_dst, &a);

    flags_arith(c, FLAGS_OP_SUB, 0, flags_sext(d, a.size), flags_sext(-d, a.size));
}
