/* Near transfers of control, loops, BOUND (SDM vol. 2: Jcc JMP CALL RET LOOP JCXZ BOUND). */
#include "operand.h"

void near_jump(SoftCpu *c, const Insn *in, uint64_t ip)
{
    ip &= size_mask(in->opsize);
    cs_check_ip(c, &c->seg[SEG_CS], ip);
    c->ip_next = ip;
}

void insn_jcc(SoftCpu *c, const Insn *in)
{
    if (flags_cond(c, in->opcode & 15)) {
        near_jump(c, in, rel_target(in));
    }
}

void insn_jmp_rel(SoftCpu *c, const Insn *in)
{
    near_jump(c, in, rel_target(in));
}

void insn_jmp_rm(SoftCpu *c, const Insn *in)
{
    near_jump(c, in, insn_get_rm(c, in, in->opsize));
}

static void near_call(SoftCpu *c, const Insn *in, uint64_t target)
{
    Frame f = frame_current(c, in->opsize);

    cs_check_ip(c, &c->seg[SEG_CS], target & size_mask(in->opsize));
    frame_push(c, &f, c->ip_next);
    frame_commit(c, &f);
    near_jump(c, in, target);
}

void insn_call_rel(SoftCpu *c, const Insn *in)
{
    near_call(c, in, rel_target(in));
}

void insn_call_rm(SoftCpu *c, const Insn *in)
{
    near_call(c, in, insn_get_rm(c, in, in->opsize));
}

void insn_ret(SoftCpu *c, const Insn *in)
{
    Frame f = frame_current(c, in->opsize);
    uint64_t ip = frame_pop(c, &f);

    near_jump(c, in, ip);
    f.sp = (f.sp + in->imm) & f.mask;
    frame_commit(c, &f);
}

void insn_loop(SoftCpu *c, const Insn *in)
{
    uint64_t m = size_mask(in->adsize);
    bool jcxz = in->opcode == 0xe3;
    uint64_t n = (c->r[R_CX] - !jcxz) & m;
    bool go = jcxz ? !n : n != 0;

    if (in->opcode < 0xe2) {
        go = go && flags_zf(c) == (in->opcode & 1);
    }
    if (go) {
        near_jump(c, in, rel_target(in));
    }
    if (!jcxz) {
        /* A 32-bit count zero-extends, a 16-bit one keeps the rest. */
        c->r[R_CX] = in->adsize == 2 ? (c->r[R_CX] & ~m) | n : n;
    }
}

void insn_bound(SoftCpu *c, const Insn *in)
{
    unsigned size = in->opsize;
    uint64_t la = insn_la(c, in, size * 2, /* write= */ false);
    int64_t lo = (int64_t)flags_sext(mem_ld(c, la, size), size);
    int64_t v = (int64_t)sreg_get(c, in, in->reg, size);

    /* The lower bound is judged before the upper one is read. */
    if (v < lo || v > (int64_t)flags_sext(mem_ld(c, la + size, size), size)) {
        soft_raise(c, EXC_BR);
    }
}
