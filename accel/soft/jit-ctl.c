/* Generated code of branches, calls and returns: how control goes from block to block. */
#include "insn-fns.h"
#include "jit.h"

_Static_assert(offsetof(Op, fn) == 0, "jumps go through [Op]");
_Static_assert(sizeof(JumpEntry) == 32 && sizeof(Op *) == 8, "the jump cache is indexed by shifts");

static void count(JitBlock *b, unsigned ninsns)
{
    emit_alu_imm(&b->e, 64, 0, JIT_CPU(icount), ninsns);
}

/* RAX: the Op to go on at. */
static void go(JitBlock *b)
{
    count(b, b->i + 1);
    emit_mov(&b->e, 64, H_SI, rm_reg(H_AX));
    emit_op(&b->e, 32, 0xff, 4, rm_at(H_AX, 0));
}

static void compare_poll(JitBlock *b)
{
    emit_alu_imm(&b->e, 32, 7, JIT_CPU(poll), 0);
}

/*
 * To a target known now: a jump to the way out until jit_link() has it go to the block itself. It
 * holds for good within the page, else as long as jump_gen is the same, as for the jump cache; the
 * mode is the block's. Only backward branches poll: no loop is without one or an indirect transfer.
 */
static void branch(JitBlock *b, const Op *op, uint64_t target, bool taken, unsigned ninsns)
{
    JitStub *out = jit_stub(b, op, taken ? op_taken_out : op_fall_out);
    BlockLink *l = &b->block->link[taken];
    Emit *e = &b->e;

    count(b, ninsns);
    if (taken && target <= op->ip) {
        compare_poll(b);
        jit_to(b, out, H_NE);
    }
    l->keyed = !(op->aux & (taken ? OP_CHAIN_TAKEN : OP_CHAIN_FALL));
    if (l->keyed) {
        emit_op(e, 32, 0x81, 7, JIT_CPU(jump_gen));
        emit32(e, b->c->jump_gen);
        jit_to(b, out, H_NE);
    }
    emit8(e, 0xe9);
    emit32(e, 0);
    out->from[out->nfrom++] = e->p;
    out->ret_at = &l->out;
    b->link[taken] = e->p - 4;
}

static uint64_t next_ip(const Insn *in)
{
    return in->ip + in->len;
}

void jit_fall(JitBlock *b)
{
    const Op *op = &b->block->ops[b->n];

    branch(b, op, op->ip, /* taken= */ false, b->n);
}

/* RAX = the jump cache's Op for the address in RAX; else all is left to the handler in C. */
static void find(JitBlock *b)
{
    Emit *e = &b->e;

    compare_poll(b);
    jit_miss(b, H_NE);
    emit_mov(e, 64, H_CX, rm_reg(H_AX));
    emit_op(e, 64, 0xc1, 5, rm_reg(H_CX));
    emit8(e, JUMP_BITS);
    emit_op(e, 32, 0x33, H_CX, rm_reg(H_AX));
    emit_alu_imm(e, 32, 4, rm_reg(H_CX), JUMP_SIZE - 1);
    emit_op(e, 32, 0xc1, 4, rm_reg(H_CX));
    emit8(e, 5);
    emit_load_imm(e, H_DX, (uintptr_t)b->c->blocks->jump);
    emit_op(e, 64, 0x03, H_CX, rm_reg(H_DX));
    emit_op(e, 64, 0x3b, H_AX, rm_at(H_CX, offsetof(JumpEntry, ip)));
    jit_miss(b, H_NE);
    emit_mov(e, 64, H_DX, JIT_CPU(mode));
    emit_op(e, 64, 0x3b, H_DX, rm_at(H_CX, offsetof(JumpEntry, key)));
    jit_miss(b, H_NE);
    emit_mov(e, 64, H_AX, rm_at(H_CX, offsetof(JumpEntry, op)));
}

/* Pushes the address behind a call. */
static void push_return(JitBlock *b, Rm slot)
{
    emit_load_imm(&b->e, H_CX, next_ip(&b->in[b->i]));
    emit_store(&b->e, 64, slot, H_CX);
    emit_alu_imm(&b->e, 64, 0, jit_guest(R_SP), -8);
}

static bool ctl_ret(JitBlock *b, const Insn *in)
{
    emit_mov(&b->e, 64, H_AX, jit_mem(b, 64, /* write= */ false));
    find(b);
    emit_alu_imm(&b->e, 64, 0, jit_guest(R_SP), (int64_t)in->imm + 8);
    go(b);
    return true;
}

static bool ctl_indirect(JitBlock *b, const Insn *in)
{
    Emit *e = &b->e;

    if (in->flags & INSN_MEM) {
        emit_mov(e, 64, H_AX, jit_mem(b, 64, /* write= */ false));
    } else {
        emit_mov(e, 64, H_AX, jit_guest(in->rm));
    }
    find(b);
    if (in->fn == insn_call_rm) {
        emit_mov(e, 64, H_9, rm_reg(H_AX));
        emit_mov(e, 64, H_AX, jit_guest(R_SP));
        emit_op(e, 64, 0x8d, H_AX, rm_at(H_AX, -8));
        jit_probe(b, 8, /* write= */ true);
        push_return(b, rm_at(H_AX, 0));
        emit_mov(e, 64, H_AX, rm_reg(H_9));
    }
    go(b);
    return true;
}

static bool ctl_direct(JitBlock *b, const Insn *in)
{
    const Op *op = &b->block->ops[b->i];

    if (in->fn == insn_call_rel) {
        push_return(b, jit_mem(b, 64, /* write= */ true));
    }
    branch(b, op, next_ip(in) + in->imm, /* taken= */ true, b->i + 1);
    return true;
}

static bool ctl_jcc(JitBlock *b, const Insn *in)
{
    const Op *op = &b->block->ops[b->i];
    unsigned cc = in->opcode & 15;

    if (!jit_cond(b, cc)) {
        return false;
    }
    uint8_t *taken = emit_jcc(&b->e, cc);
    branch(b, op, next_ip(in), /* taken= */ false, b->i + 1);
    emit_here(&b->e, taken);
    branch(b, op, next_ip(in) + in->imm, /* taken= */ true, b->i + 1);
    return true;
}

bool jit_ctl(JitBlock *b)
{
    const Insn *in = &b->in[b->i];

    if (in->fn == insn_jcc) {
        return ctl_jcc(b, in);
    }
    if (in->fn == insn_jmp_rel || in->fn == insn_call_rel) {
        return ctl_direct(b, in);
    }
    if (in->fn == insn_ret) {
        return ctl_ret(b, in);
    }
    return (in->fn == insn_jmp_rm || in->fn == insn_call_rm) && ctl_indirect(b, in);
}
