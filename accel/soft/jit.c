/*
 * Generated code: its memory, a block's frame, and the pieces that instructions share.
 *
 * Guest registers and lazy flags stay in SoftCpu; within a block some of the guest's flags may
 * stand in the host's (JitBlock.host), CF in R11B, and an address in R10 (jit-window.c). RDI is the
 * SoftCpu, RSI the Op where a handler in C is entered. All but RAX, RCX, RDX, RSI and R8 to R11 are
 * left alone, and the stack is as the caller's.
 *
 * An Op whose code counts on something that is not in SoftCpu keeps its handler in C, so whoever
 * comes from outside never meets such code.
 */
#include "jit.h"

#include "hot.h"
#include "insn-fns.h"

#include <glib.h>
#include <sys/mman.h>
#include <unistd.h>

#define JIT_SIZE ((size_t)32 << 20)
/* No block's code is longer; a way out is a LEA or MOV and a jump. */
enum { JIT_INSN_MAX = 320, JIT_FRAME = 512, JIT_STUB_MAX = 24 };

struct Jit {
    uint8_t *write; /* the same memory twice: no page can be both written and run */
    uint8_t *run;
    size_t used; /* from the start: code */
    size_t cold; /* to the end: ways out of it */
};

#if defined(__x86_64__)

/* Near this program's own code, so that calls between them are short; the kernel may refuse. */
static void *near_text(void)
{
    return (void *)(((uintptr_t)op_slow & ~0xfffffffull) - 2 * JIT_SIZE);
}

Jit *jit_new(void)
{
    int fd = memfd_create("virtue-jit", MFD_CLOEXEC);
    void *write = MAP_FAILED, *run = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, JIT_SIZE) == 0) {
        write = mmap(NULL, JIT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        run = mmap(near_text(), JIT_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (write == MAP_FAILED || run == MAP_FAILED) {
        if (write != MAP_FAILED) {
            munmap(write, JIT_SIZE);
        }
        return NULL;
    }
    Jit *j = g_new0(Jit, 1);
    j->write = write;
    j->run = run;
    jit_reset(j);
    return j;
}

#else

Jit *jit_new(void)
{
    return NULL;
}

#endif

void jit_free(Jit *j)
{
    if (j) {
        munmap(j->write, JIT_SIZE);
        munmap(j->run, JIT_SIZE);
        g_free(j);
    }
}

void jit_reset(Jit *j)
{
    j->used = 16; /* 0 is no place */
    j->cold = JIT_SIZE;
}

/* Shared pieces */

Rm jit_reg(const Insn *in, unsigned reg, unsigned bits)
{
    Rm m = jit_guest(0);

    m.disp += op_reg_off(in, reg, bits / 8);
    return m;
}

void jit_ea(JitBlock *b, bool segment)
{
    const Insn *in = &b->in[b->i];
    unsigned bits = in->adsize == 4 ? 32 : 64;
    bool base = in->base != R_ZERO, index = in->index != R_ZERO;
    Emit *e = &b->e;

    if (!base && !index) {
        emit_load_imm(e, H_AX, bits == 32 ? (uint32_t)in->disp : (uint64_t)in->disp);
    } else {
        if (base) {
            emit_mov(e, 64, H_AX, jit_guest(in->base));
        }
        if (index) {
            emit_mov(e, 64, H_CX, jit_guest(in->index));
            Rm m = rm_sib(base ? H_AX : H_NONE, H_CX, in->scale, (int32_t)in->disp);
            emit_op(e, bits, 0x8d, H_AX, m);
        } else if (in->disp || bits == 32) {
            emit_op(e, bits, 0x8d, H_AX, rm_at(H_AX, (int32_t)in->disp));
        }
    }
    if (segment && in->seg >= SEG_FS) {
        size_t at = offsetof(SoftCpu, seg) + in->seg * sizeof(SoftSeg) + offsetof(SoftSeg, base);
        emit_op(e, 64, 0x03, H_AX, rm_at(H_DI, (int32_t)at));
    }
}

JitStub *jit_stub(JitBlock *b, const Op *op, OpFn *fn)
{
    JitStub *s = &b->stubs[b->nstubs++];

    *s = (JitStub){ .op = op, .fn = fn };
    return s;
}

void jit_to(JitBlock *b, JitStub *s, unsigned cc)
{
    g_assert(s->nfrom < JIT_STUB_FROM);
    s->from[s->nfrom++] = emit_jcc(&b->e, cc);
}

void jit_miss(JitBlock *b, unsigned cc)
{
    const Op *op = &b->block->ops[b->i];
    JitStub *s = b->nstubs ? &b->stubs[b->nstubs - 1] : NULL;

    jit_to(b, s && s->op == op && s->fn == b->fn[b->i] ? s : jit_stub(b, op, b->fn[b->i]), cc);
}

_Static_assert(sizeof(SoftTlbEntry) == 32 && offsetof(SoftTlb, e) == 0, "jit_probe() knows them");

void jit_probe(JitBlock *b, unsigned size, bool write)
{
    Emit *e = &b->e;
    size_t tag = write ? offsetof(SoftTlbEntry, ntag_w) : offsetof(SoftTlbEntry, ntag_r);

    emit_mov(e, 32, H_CX, rm_reg(H_AX));
    emit_op(e, 32, 0xc1, 5, rm_reg(H_CX));
    emit8(e, 12 - 5);
    emit_alu_imm(e, 32, 4, rm_reg(H_CX), (SOFT_TLB_SIZE - 1) << 5);
    emit_op(e, 64, 0x03, H_CX, JIT_CPU(tlb));
    emit_op(e, 64, 0x8d, H_DX, rm_at(H_AX, (int32_t)size - 1));
    emit_op(e, 64, 0x03, H_DX, rm_at(H_CX, (int32_t)tag));
    emit_op(e, 64, 0xc1, 5, rm_reg(H_DX));
    emit8(e, 12);
    jit_miss(b, H_NE);
    emit_op(e, 64, 0x03, H_AX, rm_at(H_CX, offsetof(SoftTlbEntry, addend)));
}

static void compare_lazy(JitBlock *b)
{
    emit_mov(&b->e, 64, H_AX, JIT_CPU(fl.dst));
    emit_op(&b->e, 64, 0x3b, H_AX, JIT_CPU(fl.src));
}

static void test_lazy(JitBlock *b)
{
    emit_alu_imm(&b->e, 64, 7, JIT_CPU(fl.res), 0);
}

bool jit_cond(JitBlock *b, unsigned cc)
{
    enum { OF = 1 << 0 | 1 << 6 | 1 << 7, RES = 1 << 2 | 1 << 4 | 1 << 5, PARITY = 1 << 5 };
    unsigned kind = 1u << (cc >> 1);

    if (b->host == JIT_HOST_ALL || (b->host == JIT_HOST_NO_OF && !(kind & OF))) {
        return true;
    }
    if (b->known == JIT_SUB && !(kind & (RES | 1))) {
        compare_lazy(b);
        return true;
    }
    /* What CMP with 0 says of the result: ZF SF PF, and CF OF clear as logic leaves them. */
    if (b->known == JIT_LOGIC || (b->known != JIT_NOTHING && (kind & RES))) {
        test_lazy(b);
        return true;
    }
    return false;
}

/* Blocks */

bool jit_known_form(const JitBlock *b, unsigned i)
{
    JitSse f;

    return b->fn[i] != op_cold || (jit_sse_allowed(b) && jit_sse_form(&b->in[i], &f));
}

/* Is there somebody who wants the flags that stand in the host's now? */
static bool host_wanted(const JitBlock *b)
{
    for (unsigned i = b->i; i < b->n; i++) {
        const Insn *in = &b->in[i];

        if (in->fn == insn_jcc || in->fn == insn_setcc || in->fn == insn_cmov) {
            return true;
        }
        if ((in->flags & INSN_MEM && in->fn != insn_lea) ||
            (in->fn != insn_mov && in->fn != insn_lea && in->fn != insn_movx)) {
            return false;
        }
    }
    return false;
}

static void leave(Emit *e, const Op *op, OpFn *fn)
{
    emit_address(e, H_SI, op);
    emit_jmp(e, (const void *)fn);
}

static void one(JitBlock *b)
{
    Op *op = &b->block->ops[b->i];
    Emit at = b->e;
    unsigned nstubs = b->nstubs;

    if (b->host != JIT_HOST_NONE && !host_wanted(b)) {
        b->host = JIT_HOST_NONE;
    }
    jit_window_check(b);
    if (b->host == JIT_HOST_NONE && !b->cf11 && !b->win.on) {
        op->fn = (OpFn *)(uintptr_t)(b->e.p + b->e.run);
    }
    if (jit_known_form(b, b->i) && (jit_op(b) || jit_ctl(b) || jit_sse(b))) {
        jit_window_step(b);
        return;
    }
    b->e = at;
    b->win.on = false;
    b->nstubs = nstubs;
    leave(&b->e, op, b->fn[b->i]);
    b->known = JIT_NOTHING;
    b->host = JIT_HOST_NONE;
    b->cf11 = false;
}

/* The ways out go to the other end of the memory, so that what runs lies together. */
static void put_stubs(Jit *j, JitBlock *b)
{
    j->cold -= b->nstubs * JIT_STUB_MAX;
    Emit e = { .p = j->write + j->cold, .run = b->e.run };

    for (unsigned i = 0; i < b->nstubs; i++) {
        JitStub *s = &b->stubs[i];
        for (unsigned k = 0; k < s->nfrom; k++) {
            emit_here(&e, s->from[k]);
        }
        if (s->ret_at) {
            *s->ret_at = (uint32_t)(e.p - j->write);
        }
        leave(&e, s->op, s->fn);
    }
}

bool jit_block(Jit *j, SoftCpu *c, Block *block, const Insn *in, unsigned n)
{
    JitBlock b = { .c = c, .block = block, .in = in, .n = n };

    if (j->used + n * JIT_INSN_MAX + JIT_FRAME > j->cold) {
        return false;
    }
    b.e.p = j->write + j->used;
    b.e.run = j->run - j->write;
    block->code = b.e.p + b.e.run;
    flags_dead(in, n, b.dead);
    for (unsigned i = 0; i < block->nops; i++) {
        b.fn[i] = block->ops[i].fn;
    }
    for (b.i = 0; b.i < n; b.i++) {
        one(&b);
    }
    if (block->nops > n && !(in[n - 1].flags & INSN_ENDS)) {
        block->ops[n].fn = (OpFn *)(uintptr_t)(b.e.p + b.e.run);
        if (b.fn[n] == hot_fall) {
            jit_fall(&b);
        } else {
            leave(&b.e, &block->ops[n], b.fn[n]);
        }
    }
    put_stubs(j, &b);
    for (unsigned side = 0; side < 2; side++) {
        if (b.link[side]) {
            block->link[side].at = (uint32_t)(b.link[side] - j->write);
        }
    }
    j->used = ((size_t)(b.e.p - j->write) + 15) & ~(size_t)15;
    return true;
}

/* The displacement of the jump at a way out; in front of it are JNE and, keyed, jump_gen's value.
 */
enum { LINK_KEY = -(1 + 6 + 4) };

static void set_link(Jit *j, uint32_t at, const uint8_t *target)
{
    int32_t d = (int32_t)(target - (j->run + at + 4));

    memcpy(j->write + at, &d, 4);
}

void jit_link(SoftCpu *c, Block *from, bool taken, const Block *to)
{
    Jit *j = c->blocks->jit;
    BlockLink *l = &from->link[taken];

    if (!l->at || !to->code || from->mode != c->mode || (!l->keyed && to->host2)) {
        return;
    }
    if (l->keyed) {
        memcpy(j->write + l->at + LINK_KEY, &c->jump_gen, 4);
    }
    set_link(j, l->at, to->code);
}

void jit_unlink(Jit *j, Block *from)
{
    for (unsigned side = 0; side < 2; side++) {
        if (from->link[side].at) {
            set_link(j, from->link[side].at, j->run + from->link[side].out);
        }
    }
}
