/*
 * Memory operands of generated code, and windows: where a block goes to memory several times by the
 * same register and displacements (a stack frame, a structure), the first access probes the whole
 * range and R10 keeps the register's value as a host address. The others need no probe.
 */
#include "hot.h"
#include "insn-fns.h"
#include "jit.h"

enum { WINDOW_MAX = 512 };

/* An access: by which register, where relative to it. False: none, or not by one register alone. */
typedef struct Access {
    unsigned base, size;
    int64_t disp;
    bool write;
} Access;

static bool writes_memory(const Insn *in)
{
    unsigned k = in->opcode < 0x40 ? (in->opcode >> 3) & 7 : in->reg;

    if (in->fn == insn_mov) {
        return !(in->opcode & 2) || in->opcode >= 0xc6;
    }
    if (in->fn == insn_alu) {
        return k != HOT_CMP && (in->opcode >= 0x80 || (in->opcode & 7) < 2);
    }
    return in->fn == insn_incdec;
}

static bool access_of(const Insn *in, Access *ret)
{
    JitSse f;

    if (in->flags & INSN_MEM) {
        *ret = (Access){ .base = in->base, .size = in->opsize, .disp = in->disp };
        ret->write = writes_memory(in);
        if (jit_sse_form(in, &f)) {
            ret->size = f.size;
            ret->write = f.store;
        }
        if (in->fn == insn_movx) {
            ret->size = in->opcode & 1 ? 2 : 1;
        } else if (in->fn == insn_movsxd) {
            ret->size = 4;
        }
        return in->fn != insn_lea && in->base != R_ZERO && in->index == R_ZERO &&
               in->seg < SEG_FS && in->adsize == 8;
    }
    *ret = (Access){ .base = R_SP, .size = 8 };
    if (in->fn == insn_push_rm || in->fn == insn_push_imm || in->fn == insn_call_rel) {
        ret->write = true;
        ret->disp = -8;
        return true;
    }
    return in->fn == insn_pop_rm || in->fn == insn_ret;
}

/* Register operands that instructions with an emitter write; all where that is not known. */
static uint32_t written(const Insn *in)
{
    bool mem = in->flags & INSN_MEM;
    uint32_t rm = mem ? 0 : 1u << in->rm, reg = 1u << in->reg;
    JitSse f;

    if (jit_sse_form(in, &f)) {
        return f.written;
    }
    if (in->opsize == 1) {
        rm |= rm >> 4; /* AH to BH */
        reg |= reg >> 4;
    }
    if (in->fn == insn_mov) {
        return in->opcode == 0x8a || in->opcode == 0x8b ? reg : rm;
    }
    if (in->fn == insn_alu) {
        bool to_reg = in->opcode < 0x40 && (in->opcode & 7) >= 2;
        return to_reg ? reg | 1u << R_AX : rm;
    }
    if (in->fn == insn_movx || in->fn == insn_movsxd || in->fn == insn_lea || in->fn == insn_cmov ||
        in->fn == insn_imul) {
        return reg;
    }
    if (in->fn == insn_shift || in->fn == insn_incdec || in->fn == insn_not ||
        in->fn == insn_setcc || in->fn == insn_bswap) {
        return rm | (in->fn == insn_setcc ? rm >> 4 : 0);
    }
    if (in->fn == insn_test || in->fn == insn_nop || in->fn == insn_push_imm) {
        return 0;
    }
    return in->fn == insn_push_rm && !mem ? 0 : in->fn == insn_pop_rm && !mem ? rm : ~0u;
}

/* What the instruction adds to a register, if that is a constant. */
static bool moves(const Insn *in, unsigned base, int64_t *ret)
{
    bool sum = in->fn == insn_alu && in->opcode >= 0x80 && !(in->flags & INSN_MEM) &&
               in->rm == base && in->opsize == 8 && (in->reg == HOT_ADD || in->reg == HOT_SUB);

    *ret = 0;
    if (sum) {
        *ret = in->reg == HOT_ADD ? (int64_t)in->imm : -(int64_t)in->imm;
        return fits32(*ret);
    }
    if (written(in) & 1u << base) {
        return false;
    }
    if (base == R_SP && (in->fn == insn_push_rm || in->fn == insn_push_imm)) {
        *ret = -8;
    } else if (base == R_SP && in->fn == insn_pop_rm) {
        *ret = 8;
    }
    return true;
}

/* The range that is wanted from here on by base, at least twice. */
static bool window_wanted(const JitBlock *b, unsigned base, JitWindow *ret)
{
    unsigned naccesses = 0;
    int64_t delta = 0, move;
    Access a;

    *ret = (JitWindow){ .on = true, .base = base };
    for (unsigned i = b->i; i < b->n && jit_known_form(b, i); i++) {
        if (access_of(&b->in[i], &a) && a.base == base) {
            int64_t lo = MIN(ret->lo, delta + a.disp), hi = delta + a.disp + a.size;
            hi = MAX(ret->hi, hi);
            if (!naccesses) {
                lo = delta + a.disp;
                hi = lo + a.size;
            }
            if (hi - lo > WINDOW_MAX || !fits32(lo) || !fits32(hi)) {
                break;
            }
            ret->lo = (int32_t)lo;
            ret->hi = (int32_t)hi;
            ret->write |= a.write;
            naccesses++;
        }
        if (!moves(&b->in[i], base, &move)) {
            break;
        }
        delta += move;
    }
    return naccesses >= 2;
}

static bool covers(const JitWindow *w, const Access *a)
{
    int64_t at = w->delta + a->disp;

    return w->on && w->base == a->base && at >= w->lo && at + a->size <= w->hi &&
           (w->write || !a->write);
}

void jit_window_check(JitBlock *b)
{
    int64_t delta = b->win.delta, move;
    Access a;

    for (unsigned i = b->i; b->win.on && i < b->n && jit_known_form(b, i); i++) {
        JitWindow w = b->win;
        w.delta = delta;
        if (access_of(&b->in[i], &a) && covers(&w, &a)) {
            return;
        }
        if (!moves(&b->in[i], w.base, &move)) {
            break;
        }
        delta += move;
    }
    b->win.on = false;
}

void jit_window_step(JitBlock *b)
{
    int64_t move;

    if (b->win.on && moves(&b->in[b->i], b->win.base, &move) && fits32(b->win.delta + move)) {
        b->win.delta += move;
    } else {
        b->win.on = false;
    }
}

bool jit_covered(const JitWindow *w, const Insn *in)
{
    Access a;

    return access_of(in, &a) && covers(w, &a);
}

Rm jit_mem(JitBlock *b, unsigned bits, bool write)
{
    const Insn *in = &b->in[b->i];
    Emit *e = &b->e;
    JitWindow w;
    Access a;

    if (!access_of(in, &a)) {
        b->host = JIT_HOST_NONE;
        jit_ea(b, /* segment= */ true);
        jit_probe(b, bits / 8, write);
        return rm_at(H_AX, 0);
    }
    b->host = covers(&b->win, &a) ? b->host : JIT_HOST_NONE;
    if (!covers(&b->win, &a)) {
        if (!window_wanted(b, a.base, &w)) {
            emit_mov(e, 64, H_AX, jit_guest(a.base));
            if (a.disp) {
                emit_op(e, 64, 0x8d, H_AX, rm_at(H_AX, (int32_t)a.disp));
            }
            jit_probe(b, bits / 8, write);
            return rm_at(H_AX, 0);
        }
        emit_mov(e, 64, H_AX, jit_guest(a.base));
        emit_op(e, 64, 0x8d, H_AX, rm_at(H_AX, w.lo));
        jit_probe(b, (unsigned)(w.hi - w.lo), w.write);
        emit_op(e, 64, 0x8d, H_10, rm_at(H_AX, -w.lo));
        b->win = w;
    }
    return rm_at(H_10, (int32_t)(b->win.delta + a.disp));
}
