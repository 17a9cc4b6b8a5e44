/* Port I/O: IN, OUT, INS, OUTS and who may use them (SDM vol. 1, chapter 19.5; vol. 2). */
#include "exec.h"
#include "op-string.h"
#include "seg.h"

/*
 * SDM vol. 1, 19.5.2: with CPL above IOPL, or in VM86 mode, the TSS's permission bitmap decides.
 * Two bytes are always read, because the ports of one access may lie on a byte boundary.
 */
static void check_io(SoftCpu *c, uint16_t port, unsigned size)
{
    unsigned type = c->tr.attr & ATTR_TYPE;
    uint32_t at;
    uint16_t bits;

    if (!(c->mode & MODE_PE)) {
        return;
    }
    if (!(c->mode & MODE_VM86) && c->cpl <= (c->sysflags & FL_IOPL) >> 12) {
        return;
    }
    /* A 16-bit TSS has no bitmap. */
    if (!(c->tr.attr & ATTR_P) || (type != SYS_TSS && type != SYS_TSS_BUSY) || c->tr.limit < 0x67) {
        soft_raise_err(c, EXC_GP, 0);
    }
    at = (uint32_t)soft_ld_sys(c, c->tr.base + 0x66, 2) + port / 8u;
    if (at + 1 > c->tr.limit) {
        soft_raise_err(c, EXC_GP, 0);
    }
    bits = (uint16_t)soft_ld_sys(c, c->tr.base + at, 2);
    if (bits >> (port & 7) & ((1u << size) - 1)) {
        soft_raise_err(c, EXC_GP, 0);
    }
}

static uint16_t io_port(const SoftCpu *c, const Insn *in)
{
    return in->opcode & 8 ? (uint16_t)c->r[R_DX] : (uint8_t)in->imm;
}

static uint32_t pio_in(SoftCpu *c, uint16_t port, unsigned size)
{
    return c->bus->pio_in(c->bus_opaque, port, size);
}

void insn_in(SoftCpu *c, const Insn *in)
{
    uint16_t port = io_port(c, in);
    uint32_t v;

    check_io(c, port, in->opsize);
    v = pio_in(c, port, in->opsize);
    insn_set_reg(c, in, R_AX, in->opsize,
        in->opsize == 1   ? (uint8_t)v
        : in->opsize == 2 ? (uint16_t)v
                          : v);
}

void insn_out(SoftCpu *c, const Insn *in)
{
    uint16_t port = io_port(c, in);
    uint32_t v = (uint32_t)c->r[R_AX];

    check_io(c, port, in->opsize);
    c->bus->pio_out(c->bus_opaque, port, in->opsize,
        in->opsize == 1   ? (uint8_t)v
        : in->opsize == 2 ? (uint16_t)v
                          : v);
}

static void step(SoftCpu *c, const Insn *in, unsigned reg)
{
    uint64_t d = c->sysflags & FL_DF ? 0 - (uint64_t)in->opsize : in->opsize;

    string_set_reg(c, in, reg, string_reg(c, in, reg) + d);
}

/* The port is read only once the store is sure to succeed: a device's FIFO must not lose data to a
 * page fault. */
static void ins_one(SoftCpu *c, const Insn *in)
{
    uint64_t la = string_la(c, in, R_DI, SEG_ES, true);

    soft_check(c, la, in->opsize, true);
    mem_st(c, la, in->opsize, pio_in(c, (uint16_t)c->r[R_DX], in->opsize));
    step(c, in, R_DI);
}

static void outs_one(SoftCpu *c, const Insn *in)
{
    uint32_t v = (uint32_t)mem_ld(c, string_la(c, in, R_SI, in->seg, false), in->opsize);

    c->bus->pio_out(c->bus_opaque, (uint16_t)c->r[R_DX], in->opsize, v);
    step(c, in, R_SI);
}

static void io_string(SoftCpu *c, const Insn *in, void (*one)(SoftCpu *c, const Insn *in))
{
    check_io(c, (uint16_t)c->r[R_DX], in->opsize);
    if (in->rep == REP_NONE) {
        one(c, in);
        return;
    }
    for (uint64_t count = string_reg(c, in, R_CX), n = 0; count; count--) {
        one(c, in);
        string_set_reg(c, in, R_CX, count - 1);
        if (count > 1 && (atomic_load_explicit(&c->poll, memory_order_relaxed) ||
                             (c->mode & MODE_STEP) || ++n == 1024)) {
            c->ip_next = c->ip_cur;
            return;
        }
    }
}

void insn_ins(SoftCpu *c, const Insn *in)
{
    io_string(c, in, ins_one);
}

void insn_outs(SoftCpu *c, const Insn *in)
{
    io_string(c, in, outs_one);
}
