/* The main loop, single steps, and the handlers that the hot ones fall back to. */
#include "exec.h"

#include "insn-fns.h"

static inline void insn_begins(SoftCpu *c, const Op *op, uint64_t ip, uint64_t next)
{
    c->op = op;
    c->ip_cur = ip;
    c->ip_next = next;
}

/* True: go on with the next Op. */
static inline bool insn_ended(SoftCpu *c, const Op *op, uint64_t key, uint64_t next)
{
    c->op = NULL;
    uint32_t poll = atomic_load_explicit(&c->poll, memory_order_relaxed);
    uint32_t stop = c->irq_shadow | c->halted | c->db_pending | (poll & ~(uint32_t)SOFT_POLL_IRQ) |
                    ((poll & SOFT_POLL_IRQ) && (c->sysflags & FL_IF));
    if (__builtin_expect(c->ip_next == next && jump_key(c) == key && !stop, 1)) {
        return true;
    }
    /*
     * STI and the like: with nothing pending the next instruction may follow at once, which is what
     * the shadow is for. What comes in from now on waits for the next poll behind that instruction.
     */
    if (c->irq_shadow && !c->halted && !c->db_pending && !poll && c->ip_next == next &&
        jump_key(c) == key && op[1].len) {
        c->irq_shadow = false;
        return true;
    }
    c->icount += op->idx + 1u;
    c->ip = c->ip_next;
    return false;
}

/* Runs an instruction by its InsnFn. True: go on with the next Op. */
static inline bool run_insn(SoftCpu *c, const Op *op, const Insn *in)
{
    uint64_t key = jump_key(c), next = mode_ip(c->mode, in->ip + in->len);

    insn_begins(c, op, in->ip, next);
    in->fn(c, in);
    return insn_ended(c, op, key, next);
}

OpDevLoad op_dev_load(SoftCpu *c, const Op *op, uint64_t la, unsigned size)
{
    const SoftTlbMmio *m = c->slow_checks ? NULL : soft_mmio_hit(c, la, size, 1);
    uint64_t key = jump_key(c), next = mode_ip(c->mode, op->ip + op->len);

    if (!m) {
        return (OpDevLoad){ 0, OP_DEV_NONE };
    }
    insn_begins(c, op, op->ip, next);
    uint64_t v = c->bus->mmio_read(c->bus_opaque, m->gpa | (la & 0xfff), size);

    return (OpDevLoad){ v, insn_ended(c, op, key, next) ? OP_DEV_NEXT : OP_DEV_LEAVE };
}

OpDev op_dev_store(SoftCpu *c, const Op *op, uint64_t la, unsigned size, uint64_t v)
{
    const SoftTlbMmio *m = c->slow_checks ? NULL : soft_mmio_hit(c, la, size, 3);
    uint64_t key = jump_key(c), next = mode_ip(c->mode, op->ip + op->len);

    if (!m) {
        return OP_DEV_NONE;
    }
    insn_begins(c, op, op->ip, next);
    c->bus->mmio_write(c->bus_opaque, m->gpa | (la & 0xfff), size, v);
    return insn_ended(c, op, key, next) ? OP_DEV_NEXT : OP_DEV_LEAVE;
}

void op_cold(SoftCpu *c, const Op *op)
{
    if (run_insn(c, op, op->insn)) {
        return OP_NEXT(c, op);
    }
}

/* Device registers are read by the same few instructions again and again. */
static __attribute__((noinline)) bool run_again(SoftCpu *c, const Op *op)
{
    const Block *b = op_block(op);
    unsigned off = (unsigned)(op->ip - b->ip), left = b->nbytes - off;
    SlowInsn *s = &c->blocks->slow[(op->ip ^ op->ip >> 4) % SLOW_INSNS];
    const uint8_t *bytes = b->bytes + off;
    int exc;

    if (s->in.ip != op->ip || s->mode != b->mode || !s->in.len || s->in.len > left ||
        memcmp(s->bytes, bytes, s->in.len)) {
        insn_decode(bytes, left, op->ip, b->mode, &s->in, &exc);
        s->mode = b->mode;
        memcpy(s->bytes, bytes, s->in.len);
    }
    Insn in = s->in; /* an InsnFn may run other code before it ends */

    return run_insn(c, op, &in);
}

void op_slow(SoftCpu *c, const Op *op)
{
    if (run_again(c, op)) {
        return OP_NEXT(c, op);
    }
}

void op_leave(SoftCpu *c, const Op *op)
{
    c->icount += op->idx;
    c->ip = op->ip;
}

void op_break(SoftCpu *c, const Op *op)
{
    c->ip = op->ip;
    c->at_breakpoint = true;
}

void op_warm(SoftCpu *c, const Op *op)
{
    Block *b = op_block(op);

    if (b->heat++ < c->jit_after) {
        return b->first(c, op);
    }
    b->ops[0].fn = b->first;
    block_translate(c, b);
    return op->fn(c, op);
}

/* Goes to ip through the jump cache, or leaves. want: from's chain pointer or link may be set. */
static inline void go_on(SoftCpu *c, const Op *from, bool taken, uint64_t ip, bool want)
{
    const Op *t = jump_find(c, ip);

    if (want) {
        block_want_chain(c, from, taken, ip, t);
    }
    if (t && !op_polled(c)) {
        return t->fn(c, t);
    }
    c->ip = ip;
}

static uint64_t fall_ip(const SoftCpu *c, const Op *op)
{
    return mode_ip(c->mode, op->ip + op->len);
}

void op_taken_slow(SoftCpu *c, const Op *op)
{
    c->icount += op->idx + 1u;
    return go_on(c, op, true, op->imm, !op->taken && (op->aux & OP_CHAIN_TAKEN));
}

/* An Op without length is the end of a block, not an instruction. */
void op_fall_slow(SoftCpu *c, const Op *op)
{
    c->icount += op->idx + (op->len != 0);
    return go_on(c, op, false, fall_ip(c, op), op->aux & OP_CHAIN_FALL);
}

void op_taken_out(SoftCpu *c, const Op *op)
{
    return go_on(c, op, true, op->imm, true);
}

void op_fall_out(SoftCpu *c, const Op *op)
{
    return go_on(c, op, false, fall_ip(c, op), true);
}

/* The instruction at c->ip, decoded from what a fetch gives. May raise. */
static void fetch_insn(SoftCpu *c, uint64_t la, Insn *ret)
{
    uint8_t bytes[15];
    uint64_t gpa;
    unsigned n = 15, page = 4096 - (la & 0xfff);
    int exc = 0, len;

    if (!soft_code64(c)) {
        uint32_t limit = c->seg[SEG_CS].limit;
        if (c->ip > limit) {
            soft_raise_err(c, EXC_GP, 0);
        }
        n = limit - c->ip < 15 ? (unsigned)(limit - c->ip) + 1 : 15;
    }
    unsigned first = n < page ? n : page;
    soft_fetch(c, la, bytes, first, &gpa);
    len = insn_decode(bytes, first, c->ip, c->mode, ret, &exc);
    if (len == 0 && first < n) {
        soft_fetch(c, la, bytes, n, &gpa);
        len = insn_decode(bytes, n, c->ip, c->mode, ret, &exc);
    }
    if (len == 0 || (len < 0 && exc == EXC_GP)) {
        soft_raise_err(c, EXC_GP, 0); /* beyond the segment's limit, or too long */
    }
    if (len < 0) {
        soft_raise(c, exc);
    }
}

/* SS loads hold back debug traps as well as interrupts (SDM vol. 3, 6.8.3). */
static bool loads_ss(const Insn *in)
{
    return in->fn == insn_mov_sreg_rm || in->fn == insn_pop_sreg;
}

/* One instruction by itself: shadows, single steps, breakpoints, code outside RAM. May raise. */
static void run_one(SoftCpu *c)
{
    uint64_t la = soft_code64(c) ? c->ip : (uint32_t)(c->seg[SEG_CS].base + c->ip);
    bool trap = c->sysflags & FL_TF;
    Insn in;

    c->irq_shadow = false;
    if ((c->mode & MODE_STEP) && soft_code_breakpoint(c, la)) {
        soft_raise(c, EXC_DB);
    }
    fetch_insn(c, la, &in);
    c->ip_next = mode_ip(c->mode, c->ip + in.len);
    in.fn(c, &in);
    c->icount++;
    c->ip = c->ip_next;
    if (in.fn != insn_iret) {
        c->sysflags &= ~(uint32_t)FL_RF;
    }
    bool gone = in.fn == insn_int || in.fn == insn_syscall || in.fn == insn_sysenter;
    if (trap && !gone && !(c->irq_shadow && loads_ss(&in))) {
        c->db_pending |= 1u << 14;
    }
}

static bool at_breakpoint(SoftCpu *c)
{
    uint64_t la = soft_code64(c) ? c->ip : (uint32_t)(c->seg[SEG_CS].base + c->ip);

    for (unsigned i = 0; i < c->nbreakpoints; i++) {
        if (c->breakpoints[i] == la) {
            return true;
        }
    }
    return false;
}

/* What keeps blocks from running. False: leave with *ret_exit. *ret_single: the next instruction
 * goes by itself. */
static bool attend(SoftCpu *c, SoftExit *ret_exit, bool *ret_single)
{
    uint32_t poll = atomic_load(&c->poll);

    *ret_single = c->irq_shadow || c->step || (c->mode & MODE_STEP);
    if (c->irq_shadow && !c->halted) {
        return true;
    }
    if (c->db_pending) {
        soft_raise(c, EXC_DB);
    }
    if (poll || c->halted || c->wait_sipi) {
        if (!soft_service(c, ret_exit)) {
            return false;
        }
        *ret_single = c->irq_shadow || c->step || (c->mode & MODE_STEP);
        c->ip_cur = c->ip_next = c->ip;
    }
    return true;
}

static bool needs_attention(SoftCpu *c)
{
    return atomic_load_explicit(&c->poll, memory_order_relaxed) || c->halted || c->wait_sipi ||
           c->irq_shadow || c->db_pending || c->step || (c->mode & MODE_STEP);
}

/* Runs until an exit; exceptions leave it through c->unwind. */
static __attribute__((noinline)) SoftExit run(SoftCpu *c)
{
    SoftExit ret = SOFT_EXIT_INTERNAL;

    if (c->shutdown) {
        return SOFT_EXIT_TRIPLE;
    }
    if (c->exc_vector >= 0) {
        soft_deliver(c);
        if (c->step) {
            return SOFT_EXIT_DEBUG;
        }
    }
    for (;;) {
        bool single = false;
        blocks_poll(c);
        c->ip_cur = c->ip_next = c->ip;
        if (__builtin_expect(needs_attention(c), 0)) {
            if (!attend(c, &ret, &single)) {
                return ret;
            }
            if (c->shutdown) {
                return SOFT_EXIT_TRIPLE;
            }
        }
        const Op *op = single ? NULL : jump_find(c, c->ip);
        if (!op && !single) {
            op = block_get(c);
        }
        if (__builtin_expect(op != NULL, 1)) {
            op->fn(c, op);
            if (__builtin_expect(c->at_breakpoint, 0)) {
                c->at_breakpoint = false;
                return SOFT_EXIT_DEBUG;
            }
            continue;
        }
        if (c->nbreakpoints && !c->step && at_breakpoint(c)) {
            return SOFT_EXIT_DEBUG;
        }
        run_one(c);
        if (c->step && !c->db_pending) {
            return SOFT_EXIT_DEBUG;
        }
    }
}

SoftExit soft_run(SoftCpu *c)
{
    /* Pairs with soft_code_sync(): in_guest first, then poll is looked at. */
    atomic_store(&c->in_guest, true);
    (void)_setjmp(c->unwind);
    /* Here after every exception: c->op tells how many instructions of its block had run. */
    if (c->op) {
        c->icount += c->op->idx + (c->exc_vector < 0);
        c->op = NULL;
    }
    SoftExit ret = run(c);
    atomic_store(&c->in_guest, false);
    return ret;
}
