/* Generated code of moves, arithmetic, shifts, the stack and conditional moves. */
#include "hot.h"
#include "insn-fns.h"
#include "jit.h"

static unsigned op_bits(const Insn *in)
{
    return in->opsize * 8u;
}

/* RAX, zero-extended from 32 bits if that is its size, to a guest register. */
static void set_reg(JitBlock *b, Rm to, unsigned bits, unsigned from)
{
    emit_store(&b->e, bits == 32 ? 64 : bits, to, from);
}

/* The r/m operand: a guest register or memory. */
static Rm rm_operand(JitBlock *b, const Insn *in, unsigned bits, bool write)
{
    return in->flags & INSN_MEM ? jit_mem(b, bits, write) : jit_reg(in, in->rm, bits);
}

/* The same for an instruction that needs RAX beside it. */
static Rm rm_beside(JitBlock *b, const Insn *in, unsigned bits, bool write)
{
    Rm m = rm_operand(b, in, bits, write);

    if (m.mem && m.base == H_AX) {
        emit_mov(&b->e, 64, H_8, rm_reg(H_AX));
        m.base = H_8;
    }
    return m;
}

static void mov_imm(JitBlock *b, const Insn *in, unsigned bits)
{
    Rm to = rm_operand(b, in, bits, /* write= */ true);
    uint64_t v = bits == 32 && !(in->flags & INSN_MEM) ? (uint32_t)in->imm : in->imm;

    if (bits == 64 || (bits == 32 && !(in->flags & INSN_MEM))) {
        if (!fits32((int64_t)v)) {
            emit_load_imm(&b->e, H_CX, v);
            emit_store(&b->e, 64, to, H_CX);
            return;
        }
        bits = 64;
    }
    emit_store_imm(&b->e, bits, to, (int64_t)v);
}

static bool op_mov(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);
    bool mem = in->flags & INSN_MEM;
    Rm reg = jit_reg(in, in->reg, bits);

    if ((in->opcode & 0xfc) == 0xa0) {
        return false;
    }
    if (in->opcode < 0x88 || in->opcode > 0x8b) {
        mov_imm(b, in, bits);
    } else if (in->opcode < 0x8a) {
        Rm to = rm_operand(b, in, bits, /* write= */ true);
        emit_extend(&b->e, false, bits, H_CX, reg);
        if (mem) {
            emit_store(&b->e, bits, to, H_CX);
        } else {
            set_reg(b, to, bits, H_CX);
        }
    } else {
        emit_extend(&b->e, false, bits, H_AX, rm_operand(b, in, bits, /* write= */ false));
        set_reg(b, reg, bits, H_AX);
    }
    return true;
}

static bool op_movx(JitBlock *b, const Insn *in)
{
    bool dword = in->fn == insn_movsxd, sign = dword || (in->opcode & 8);
    unsigned from = dword ? 32 : in->opcode & 1 ? 16 : 8, to = op_bits(in);

    Rm m = rm_operand(b, in, from, /* write= */ false);
    if (dword) {
        emit_extend(&b->e, to == 64, 32, H_AX, m);
    } else {
        emit_op(&b->e, sign && to == 64 ? 64 : 32, (sign ? 0x1be : 0x1b6) + (from == 16), H_AX, m);
    }
    emit_store(&b->e, 64, jit_guest(in->reg), H_AX);
    return true;
}

static bool op_lea(JitBlock *b, const Insn *in)
{
    jit_ea(b, /* segment= */ false);
    if (in->opsize == 4) {
        emit_mov(&b->e, 32, H_AX, rm_reg(H_AX));
    }
    emit_store(&b->e, 64, jit_guest(in->reg), H_AX);
    return true;
}

/* Arithmetic. The operands are in RAX and RCX, or RAX and imm, sign-extended. */

typedef struct Alu {
    unsigned k, bits;
    bool imm;
    int64_t v;
} Alu;

/* Does anything up to the flags' end want CF as it is now, with others in between? */
static bool carry_wanted(const JitBlock *b)
{
    for (unsigned i = b->i + 1; i < b->n; i++) {
        const Insn *in = &b->in[i];
        unsigned k = in->opcode < 0x40 ? (in->opcode >> 3) & 7 : in->reg;

        if (in->fn == insn_alu) {
            return k == HOT_ADC || k == HOT_SBB;
        }
        if (in->fn != insn_mov && in->fn != insn_lea && in->fn != insn_incdec) {
            return false;
        }
    }
    return false;
}

/* R11B gets CF, for whom carry_wanted() found. */
static void keep_carry(JitBlock *b)
{
    b->cf11 = carry_wanted(b);
    if (b->cf11) {
        emit_op(&b->e, 8, 0x191 + H_B, 0, rm_reg(H_11));
    }
}

/* CF to the host's; destroys RDX. False: it is not known how. */
static bool carry_in(JitBlock *b)
{
    if (b->cf11) {
        emit_alu_imm(&b->e, 8, HOT_ADD, rm_reg(H_11), 0xff);
        return true;
    }
    switch (b->known) {
    case JIT_SUB:
        emit_mov(&b->e, 64, H_DX, JIT_CPU(fl.dst));
        emit_op(&b->e, 64, 0x3b, H_DX, JIT_CPU(fl.src));
        return true;
    case JIT_ADD:
        emit_mov(&b->e, 64, H_DX, JIT_CPU(fl.res));
        emit_op(&b->e, 64, 0x3b, H_DX, JIT_CPU(fl.dst));
        return true;
    case JIT_LOGIC:
        emit8(&b->e, 0xf8); /* CLC */
        return true;
    default:
        return false;
    }
}

static bool carry_known(const JitBlock *b)
{
    return b->cf11 || b->known == JIT_SUB || b->known == JIT_ADD || b->known == JIT_LOGIC;
}

/* The lazy flags' result from a register, which need not be extended. The flags stay. */
static void set_res(JitBlock *b, unsigned bits, unsigned reg)
{
    if (bits == 64) {
        emit_store(&b->e, 64, JIT_CPU(fl.res), reg);
        return;
    }
    emit_extend(&b->e, true, bits, H_DX, rm_reg(reg));
    emit_store(&b->e, 64, JIT_CPU(fl.res), H_DX);
}

/* Both words: no carry beside. */
static void set_flags_op(JitBlock *b, uint32_t op)
{
    emit_store_imm(&b->e, 64, JIT_CPU(fl.op), (int32_t)op);
}

static bool alu_logic(unsigned k)
{
    return k == HOT_AND || k == HOT_OR || k == HOT_XOR || k == HOT_TEST;
}

static bool alu_carries(unsigned k)
{
    return k == HOT_ADC || k == HOT_SBB;
}

static bool alu_writes(unsigned k)
{
    return k != HOT_CMP && k != HOT_TEST;
}

/* All but the result, which is not there yet. Leaves the host's flags alone. */
static void set_lazy(JitBlock *b, const Alu *a)
{
    static const uint8_t ops[HOT_ALUS] = { [HOT_ADD] = FLAGS_OP_ADD,
        [HOT_ADC] = FLAGS_OP_ADC,
        [HOT_SBB] = FLAGS_OP_SBB,
        [HOT_SUB] = FLAGS_OP_SUB,
        [HOT_CMP] = FLAGS_OP_SUB };

    if (alu_logic(a->k)) {
        set_flags_op(b, FLAGS_OP_RES);
        return;
    }
    emit_store(&b->e, 64, JIT_CPU(fl.dst), H_AX);
    if (a->imm) {
        emit_store_imm(&b->e, 64, JIT_CPU(fl.src), a->v);
    } else {
        emit_store(&b->e, 64, JIT_CPU(fl.src), H_CX);
    }
    set_flags_op(b, ops[a->k]);
}

static JitKnown alu_known(unsigned k)
{
    return alu_logic(k)                   ? JIT_LOGIC
           : k == HOT_SUB || k == HOT_CMP ? JIT_SUB
           : k == HOT_ADD                 ? JIT_ADD
                                          : JIT_RES;
}

/* RAX = RAX k RCX or the immediate; the lazy flags and the host's. */
static void alu(JitBlock *b, const Alu *a)
{
    static const uint8_t host_k[HOT_ALUS] = { HOT_ADD, HOT_OR, HOT_ADC, HOT_SBB, HOT_AND, HOT_SUB,
        HOT_XOR, HOT_SUB, HOT_AND };
    bool dead = b->dead[b->i];

    if (alu_carries(a->k)) {
        carry_in(b);
    }
    if (!dead) {
        set_lazy(b, a);
    }
    if (a->imm) {
        emit_alu_imm(&b->e, a->bits, host_k[a->k], rm_reg(H_AX), a->v);
    } else {
        emit_op(&b->e, a->bits, host_k[a->k] * 8u + 1, H_CX, rm_reg(H_AX));
    }
    b->host = dead ? JIT_HOST_NONE : JIT_HOST_ALL;
    b->known = dead ? JIT_NOTHING : alu_known(a->k);
    b->cf11 = false;
    if (!dead) {
        keep_carry(b);
        set_res(b, a->bits, H_AX);
    }
}

/* k of a register or memory operand with RCX (loaded from src) or the immediate. */
static void alu_to_rm(JitBlock *b, const Insn *in, const Alu *a, unsigned rm, const Rm *src)
{
    bool mem = in->flags & INSN_MEM;
    Rm to = mem ? rm_beside(b, in, a->bits, alu_writes(a->k)) : jit_reg(in, rm, a->bits);

    emit_extend(&b->e, true, a->bits, H_AX, to);
    if (src) {
        emit_extend(&b->e, true, a->bits, H_CX, *src);
    }
    alu(b, a);
    if (alu_writes(a->k)) {
        emit_store(&b->e, a->bits == 32 && !mem ? 64 : a->bits, to, H_AX);
    }
}

/* XOR and SUB of a register with itself. */
static bool alu_zero(JitBlock *b, const Insn *in, const Alu *a)
{
    if (in->flags & INSN_MEM || in->reg != in->rm || a->k != HOT_XOR || a->bits < 32) {
        return false;
    }
    if (!b->dead[b->i]) {
        set_flags_op(b, FLAGS_OP_RES);
        emit_store_imm(&b->e, 64, JIT_CPU(fl.res), 0);
    }
    emit_store_imm(&b->e, 64, jit_guest(in->reg), 0);
    b->known = b->dead[b->i] ? JIT_NOTHING : JIT_LOGIC;
    b->host = JIT_HOST_NONE;
    b->cf11 = false;
    return true;
}

static bool alu_imm(JitBlock *b, const Insn *in, unsigned k, bool acc)
{
    Alu a = { .k = k, .bits = op_bits(in), .imm = true };

    a.v = (int64_t)flags_sext(in->imm, in->opsize);
    if (alu_carries(k) && !carry_known(b)) {
        return false;
    }
    alu_to_rm(b, in, &a, acc ? R_AX : in->rm, NULL);
    return true;
}

static bool op_alu(JitBlock *b, const Insn *in)
{
    Alu a = { .k = (in->opcode >> 3) & 7, .bits = op_bits(in) };
    Rm reg = jit_reg(in, in->reg, a.bits);

    if (in->opcode >= 0x80) {
        return alu_imm(b, in, in->reg, /* acc= */ false);
    }
    if ((in->opcode & 7) >= 4) {
        return alu_imm(b, in, a.k, /* acc= */ true);
    }
    if (alu_carries(a.k) && !carry_known(b)) {
        return false;
    }
    if (alu_zero(b, in, &a)) {
        return true;
    }
    if ((in->opcode & 7) < 2) {
        alu_to_rm(b, in, &a, in->rm, &reg);
        return true;
    }
    emit_extend(&b->e, true, a.bits, H_CX, rm_operand(b, in, a.bits, /* write= */ false));
    emit_extend(&b->e, true, a.bits, H_AX, reg);
    alu(b, &a);
    if (alu_writes(a.k)) {
        set_reg(b, reg, a.bits, H_AX);
    }
    return true;
}

static bool op_test(JitBlock *b, const Insn *in)
{
    Alu a = { .k = HOT_TEST, .bits = op_bits(in) };
    Rm reg = jit_reg(in, in->reg, a.bits);

    if (in->opcode >= 0xa8) {
        return alu_imm(b, in, HOT_TEST, in->opcode < 0xf6);
    }
    alu_to_rm(b, in, &a, in->rm, &reg);
    return true;
}

/* INC and DEC leave CF: it is known, or nobody will see the flags. */
static bool op_incdec(JitBlock *b, const Insn *in)
{
    bool dead = b->dead[b->i], mem = in->flags & INSN_MEM;
    bool dec = in->opcode < 0x80 ? in->opcode & 8 : in->reg;
    unsigned bits = op_bits(in);

    if (!dead && !carry_known(b)) {
        return false;
    }
    Rm to = rm_beside(b, in, bits, /* write= */ true);
    emit_extend(&b->e, true, bits, H_AX, to);
    if (!dead) {
        bool kept = b->cf11;
        if (!kept) {
            carry_in(b);
            emit_op(&b->e, 8, 0x191 + H_B, 0, rm_reg(H_11));
        }
        emit_op(&b->e, 32, 0x1b6, H_DX, rm_reg(H_11));
        emit_store(&b->e, 32, JIT_CPU(fl.val), H_DX);
        emit_store(&b->e, 64, JIT_CPU(fl.dst), H_AX);
        emit_store_imm(&b->e, 32, JIT_CPU(fl.op), dec ? FLAGS_OP_DEC : FLAGS_OP_INC);
    }
    emit_op(&b->e, bits, 0xff, dec, rm_reg(H_AX));
    if (!dead) {
        set_res(b, bits, H_AX);
    }
    emit_store(&b->e, bits == 32 && !mem ? 64 : bits, to, H_AX);
    b->known = dead ? JIT_NOTHING : JIT_RES;
    b->host = JIT_HOST_NONE; /* the host's CF is another one */
    b->cf11 = !dead && carry_wanted(b);
    return true;
}

static bool op_not(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);

    if (in->flags & INSN_MEM) {
        return false;
    }
    emit_extend(&b->e, false, bits, H_AX, jit_reg(in, in->rm, bits));
    emit_op(&b->e, bits, 0xf7, 2, rm_reg(H_AX));
    set_reg(b, jit_reg(in, in->rm, bits), bits, H_AX);
    return true;
}

/* Shifts of registers */

enum { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAL, SH_SAR };

/* RAX holds the operand, extended as the operation's flags want it. */
static void shift_lazy(JitBlock *b, unsigned k, unsigned bits, unsigned count)
{
    uint32_t op = k == SH_SHR ? FLAGS_OP_SHR : k == SH_SAR ? FLAGS_OP_SAR : FLAGS_OP_SHL;
    unsigned reg = H_AX;

    if (op == FLAGS_OP_SHL && bits == 32) {
        emit_mov(&b->e, 64, H_CX, rm_reg(H_AX));
        emit_op(&b->e, 64, 0xc1, 4, rm_reg(H_CX));
        emit8(&b->e, 32);
        reg = H_CX;
    }
    emit_store(&b->e, 64, JIT_CPU(fl.dst), reg);
    emit_store_imm(&b->e, 64, JIT_CPU(fl.src), count);
    set_flags_op(b, op);
    if (op == FLAGS_OP_SHR) {
        emit_store_imm(&b->e, 32, JIT_CPU(fl.val), (int32_t)bits - 1);
    }
}

static bool shift_imm(JitBlock *b, const Insn *in, unsigned bits)
{
    bool dead = b->dead[b->i];
    unsigned k = in->reg;
    unsigned count = (in->opcode >= 0xd0 ? 1 : (unsigned)in->imm) & (bits - 1);

    if (!count || (k < SH_SHL && !dead)) {
        return false;
    }
    emit_extend(&b->e, k == SH_SAR, bits, H_AX, jit_guest(in->rm));
    if (!dead) {
        shift_lazy(b, k, bits, count);
    }
    emit_op(&b->e, bits, 0xc1, k == SH_SAL ? SH_SHL : k, rm_reg(H_AX));
    emit8(&b->e, count);
    if (!dead) {
        set_res(b, bits, H_AX);
    }
    set_reg(b, jit_guest(in->rm), bits, H_AX);
    b->known = dead ? JIT_NOTHING : JIT_RES;
    b->host = dead ? JIT_HOST_NONE : JIT_HOST_NO_OF;
    b->cf11 = false;
    return true;
}

static bool op_shift(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);

    if (in->flags & INSN_MEM || bits < 32 || in->reg == SH_RCL || in->reg == SH_RCR) {
        return false;
    }
    if (in->opcode < 0xd2) {
        return shift_imm(b, in, bits);
    }
    if (!b->dead[b->i]) {
        return false;
    }
    emit_mov(&b->e, 32, H_CX, jit_guest(R_CX));
    emit_mov(&b->e, bits, H_AX, jit_guest(in->rm));
    emit_op(&b->e, bits, 0xd3, in->reg == SH_SAL ? SH_SHL : in->reg, rm_reg(H_AX));
    set_reg(b, jit_guest(in->rm), bits, H_AX);
    b->known = JIT_NOTHING;
    b->host = JIT_HOST_NONE;
    b->cf11 = false;
    return true;
}

/* Multiplication where nobody sees the flags. */
static bool op_imul(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);

    if (!b->dead[b->i] || bits < 32) {
        return false;
    }
    Rm src = rm_operand(b, in, bits, /* write= */ false);
    if (in->opcode == 0x1af) {
        emit_mov(&b->e, bits, H_CX, jit_guest(in->reg));
        emit_op(&b->e, bits, 0x1af, H_CX, src);
    } else {
        emit_op(&b->e, bits, 0x69, H_CX, src);
        emit32(&b->e, (uint32_t)in->imm);
    }
    set_reg(b, jit_guest(in->reg), bits, H_CX);
    b->known = JIT_NOTHING;
    b->host = JIT_HOST_NONE;
    b->cf11 = false;
    return true;
}

/* The stack */

/* Does the next instruction do the same without leaving the window? Then RSP may wait for it. */
static bool stack_goes_on(const JitBlock *b)
{
    const Insn *in = &b->in[b->i], *next = in + 1;
    JitWindow w = b->win;

    w.delta += in->fn == insn_pop_rm ? 8 : -8;
    return w.on && w.base == R_SP && b->i + 1 < b->n && next->fn == in->fn &&
           b->fn[b->i + 1] != op_cold && !(next->flags & INSN_MEM) && next->rm != R_SP &&
           jit_covered(&w, next);
}

static void move_sp(JitBlock *b, int by)
{
    b->sp_lag += by;
    if (!stack_goes_on(b)) {
        emit_alu_imm(&b->e, 64, HOT_ADD, jit_guest(R_SP), b->sp_lag);
        b->sp_lag = 0;
        b->host = JIT_HOST_NONE;
    }
}

static bool op_push(JitBlock *b, const Insn *in)
{
    if (in->flags & INSN_MEM) {
        return false;
    }
    Rm slot = jit_mem(b, 64, /* write= */ true);
    if (in->fn == insn_push_imm) {
        emit_store_imm(&b->e, 64, slot, (int64_t)in->imm);
    } else {
        emit_mov(&b->e, 64, H_CX, jit_guest(in->rm));
        emit_store(&b->e, 64, slot, H_CX);
    }
    move_sp(b, -8);
    return true;
}

static bool op_pop(JitBlock *b, const Insn *in)
{
    if (in->flags & INSN_MEM || in->rm == R_SP) {
        return false;
    }
    emit_mov(&b->e, 64, H_AX, jit_mem(b, 64, /* write= */ false));
    emit_store(&b->e, 64, jit_guest(in->rm), H_AX);
    move_sp(b, 8);
    return true;
}

static bool op_leave_bp(JitBlock *b, const Insn *in)
{
    (void)in;
    emit_mov(&b->e, 64, H_8, jit_guest(R_BP));
    emit_mov(&b->e, 64, H_AX, rm_reg(H_8));
    jit_probe(b, 8, /* write= */ false);
    emit_mov(&b->e, 64, H_AX, rm_at(H_AX, 0));
    emit_op(&b->e, 64, 0x8d, H_8, rm_at(H_8, 8));
    emit_store(&b->e, 64, jit_guest(R_SP), H_8);
    emit_store(&b->e, 64, jit_guest(R_BP), H_AX);
    b->host = JIT_HOST_NONE;
    return true;
}

/* The rest */

static bool op_xchg(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);
    Rm x = jit_reg(in, in->opcode >= 0x90 ? R_AX : in->reg, bits), y = jit_reg(in, in->rm, bits);

    if (in->flags & INSN_MEM || (in->opcode == 0x90 && in->rep == REP_E)) {
        return false;
    }
    if (in->opcode == 0x90 && in->rm == R_AX) {
        return true;
    }
    emit_extend(&b->e, false, bits, H_AX, x);
    emit_extend(&b->e, false, bits, H_CX, y);
    set_reg(b, x, bits, H_CX);
    set_reg(b, y, bits, H_AX);
    return true;
}

/* CWDE and CDQE, CDQ and CQO. */
static bool op_convert(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);

    if (bits < 32) {
        return false;
    }
    if (in->fn == insn_cbw) {
        if (bits == 64) {
            emit_extend(&b->e, true, 32, H_AX, jit_guest(R_AX));
        } else {
            emit_op(&b->e, 32, 0x1bf, H_AX, jit_guest(R_AX));
        }
        emit_store(&b->e, 64, jit_guest(R_AX), H_AX);
        return true;
    }
    emit_mov(&b->e, bits, H_AX, jit_guest(R_AX));
    emit_op(&b->e, bits, 0xc1, SH_SAR, rm_reg(H_AX));
    emit8(&b->e, bits - 1);
    emit_store(&b->e, 64, jit_guest(R_DX), H_AX);
    b->host = JIT_HOST_NONE;
    return true;
}

static bool op_bswap(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);

    emit_mov(&b->e, bits, H_AX, jit_guest(in->rm));
    if (bits == 64) {
        emit8(&b->e, 0x48);
    }
    emit8(&b->e, 0x0f);
    emit8(&b->e, 0xc8);
    emit_store(&b->e, 64, jit_guest(in->rm), H_AX);
    return true;
}

static bool op_setcc(JitBlock *b, const Insn *in)
{
    if (in->flags & INSN_MEM || !jit_cond(b, in->opcode & 15)) {
        return false;
    }
    emit_op(&b->e, 8, 0x191 + (in->opcode & 15), 0, jit_reg(in, in->rm, 8));
    return true;
}

static bool op_cmov(JitBlock *b, const Insn *in)
{
    unsigned bits = op_bits(in);

    if (in->flags & INSN_MEM || !jit_cond(b, in->opcode & 15)) {
        return false;
    }
    emit_mov(&b->e, bits, H_AX, jit_guest(in->reg));
    emit_op(&b->e, bits, 0x140 + (in->opcode & 15), H_AX, jit_guest(in->rm));
    emit_store(&b->e, 64, jit_guest(in->reg), H_AX);
    return true;
}

static bool op_nop(JitBlock *b, const Insn *in)
{
    (void)b;
    (void)in;
    return true;
}

bool jit_op(JitBlock *b)
{
    static const struct {
        InsnFn *fn;
        bool (*emit)(JitBlock *b, const Insn *in);
    } map[] = {
        { insn_mov, op_mov },
        { insn_alu, op_alu },
        { insn_test, op_test },
        { insn_lea, op_lea },
        { insn_push_rm, op_push },
        { insn_pop_rm, op_pop },
        { insn_movx, op_movx },
        { insn_shift, op_shift },
        { insn_nop, op_nop },
        { insn_movsxd, op_movx },
        { insn_incdec, op_incdec },
        { insn_xchg, op_xchg },
        { insn_cmov, op_cmov },
        { insn_setcc, op_setcc },
        { insn_imul, op_imul },
        { insn_not, op_not },
        { insn_push_imm, op_push },
        { insn_leave, op_leave_bp },
        { insn_cbw, op_convert },
        { insn_cwd, op_convert },
        { insn_bswap, op_bswap },
    };
    const Insn *in = &b->in[b->i];

    for (unsigned i = 0; i < sizeof map / sizeof map[0]; i++) {
        if (map[i].fn == in->fn) {
            return map[i].emit(b, in);
        }
    }
    return false;
}
