/*
 * Generated code: its memory, a block's frame, and the pieces that instructions share.
 *
 * Guest registers and lazy flags stay in SoftCpu; within a block some of the guest's flags may
 * stand in the host's (JitBlock.host), and CF in R11B. RDI is the SoftCpu, RSI the Op where a
 * handler in C is entered. All but RAX, RCX, RDX, RSI, R8, R9 and R11 are left alone, and the stack
 * is as the caller's.
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
/* No block's code is longer: an instruction takes less than 320 bytes, its way out 24. */
enum { JIT_INSN_MAX = 352, JIT_FRAME = 512 };

struct Jit {
    uint8_t *write; /* the same memory twice: no page can be both written and run */
    uint8_t *run;
    size_t used;
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
    j->used = 0;
}

/* Shared pieces */

Rm jit_reg(const Insn *in, unsigned reg, unsigned bits)
{
    return rm_at(H_DI, op_reg_off(in, reg, bits / 8));
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
            emit_mov(e, 64, H_AX, rm_at(H_DI, in->base * 8));
        }
        if (index) {
            emit_mov(e, 64, H_CX, rm_at(H_DI, in->index * 8));
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

void jit_miss(JitBlock *b, unsigned cc)
{
    b->miss[b->nmiss].from = emit_jcc(&b->e, cc);
    b->miss[b->nmiss++].i = b->i;
}

_Static_assert(sizeof(SoftTlbEntry) == 32 && offsetof(SoftTlb, e) == 0, "jit_probe() knows them");

void jit_probe(JitBlock *b, unsigned bits, bool write)
{
    Emit *e = &b->e;
    size_t tag = write ? offsetof(SoftTlbEntry, ntag_w) : offsetof(SoftTlbEntry, ntag_r);

    emit_mov(e, 32, H_CX, rm_reg(H_AX));
    emit_op(e, 32, 0xc1, 5, rm_reg(H_CX));
    emit8(e, 12 - 5);
    emit_alu_imm(e, 32, 4, rm_reg(H_CX), (SOFT_TLB_SIZE - 1) << 5);
    emit_op(e, 64, 0x03, H_CX, JIT_CPU(tlb));
    emit_op(e, 64, 0x8d, H_DX, rm_at(H_AX, (int32_t)bits / 8 - 1));
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

static void leave(JitBlock *b, unsigned i)
{
    emit_address(&b->e, H_SI, &b->block->ops[i]);
    emit_jmp(&b->e, (const void *)b->fn[i]);
}

static void one(JitBlock *b)
{
    Op *op = &b->block->ops[b->i];
    Emit at = b->e;
    unsigned nmiss = b->nmiss;

    if (b->host != JIT_HOST_NONE && !host_wanted(b)) {
        b->host = JIT_HOST_NONE;
    }
    if (b->host == JIT_HOST_NONE && !b->cf11) {
        op->fn = (OpFn *)(uintptr_t)(b->e.p + b->e.run);
    }
    if (b->fn[b->i] != op_cold && (jit_op(b) || jit_ctl(b))) {
        return;
    }
    b->e = at;
    b->nmiss = nmiss;
    op->fn = b->fn[b->i];
    leave(b, b->i);
    b->known = JIT_NOTHING;
    b->host = JIT_HOST_NONE;
    b->cf11 = false;
}

bool jit_block(Jit *j, SoftCpu *c, Block *block, const Insn *in, unsigned n)
{
    JitBlock b = { .c = c, .block = block, .in = in, .n = n };

    if (j->used + n * JIT_INSN_MAX + JIT_FRAME > JIT_SIZE) {
        return false;
    }
    b.e.p = j->write + j->used;
    b.e.run = j->run - j->write;
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
            leave(&b, n);
        }
    }
    for (unsigned i = 0; i < b.nmiss; i++) {
        emit_here(&b.e, b.miss[i].from);
        leave(&b, b.miss[i].i);
    }
    j->used = ((size_t)(b.e.p - j->write) + 15) & ~(size_t)15;
    return true;
}
