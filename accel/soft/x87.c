/*
 * x87 (SDM vol. 1, chapter 8; vol. 2). The guest's registers are loaded into the host's unit with
 * FXRSTOR, the instruction itself runs from a table assembled at compile time, FXSAVE takes the
 * result. x87 exceptions are deferred, so even unmasked ones never trap here: they end up in the
 * status word and the guest's next waiting instruction raises #MF.
 */
#include "x87.h"

/*
 * Register forms: D8 C0 .. DF FF, 8 bytes apart. Memory forms: D8 /0 .. DF /7 on (%rdi), 8 bytes
 * apart. Encodings that must not run (undefined ones, FNSAVE ...) are there but never called.
 */
__asm__(".pushsection .text.soft_x87, \"ax\", @progbits\n"
        ".balign 8\n.globl soft_x87_reg\n.hidden soft_x87_reg\n.type soft_x87_reg, "
        "@function\nsoft_x87_reg:\n"
        ".set .Lx87_i, 0\n.rept 512\n.balign 8\n"
        ".byte 0xd8 + .Lx87_i / 64, 0xc0 + .Lx87_i % 64\nret\n"
        ".set .Lx87_i, .Lx87_i + 1\n.endr\n"
        ".balign 8\n.globl soft_x87_mem\n.hidden soft_x87_mem\n.type soft_x87_mem, "
        "@function\nsoft_x87_mem:\n"
        ".set .Lx87_i, 0\n.rept 64\n.balign 8\n"
        ".byte 0xd8 + .Lx87_i / 8, 7 + 8 * (.Lx87_i % 8)\nret\n"
        ".set .Lx87_i, .Lx87_i + 1\n.endr\n.popsection");
extern const char soft_x87_reg[], soft_x87_mem[];
enum { X87_STRIDE = 8 };

/* The host's view: an FXSAVE image, the memory operand, flags in and out. */
typedef struct X87Run {
    alignas(16) uint8_t img[512];
    uint8_t mem[16];
    uint64_t ah;
} X87Run;

/* MXCSR is part of the image: the host's own goes in and comes back. */
static void run_host(const char *fn, X87Run *r)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
                     "stmxcsr 24(%[r])\n\tfxrstor64 (%[r])\n\t"
                     "mov 528(%[r]), %%rax\n\tsahf\n\t"
                     "call *%[fn]\n\t"
                     "lahf\n\tmov %%rax, 528(%[r])\n\t"
                     "fxsave64 (%[r])\n\tfninit\n\t"
                     "lea 128(%%rsp), %%rsp"
                     :
                     : [r] "b"(r), [fn] "r"(fn), "D"(r->mem)
                     : "rax", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                     "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                     "xmm15");
}
_Static_assert(offsetof(X87Run, ah) == 528, "the assembly knows the offset");

/* Memory operand bytes by opcode and ModRM.reg; negative: a store; 0: handled elsewhere or
 * undefined. */
static const int8_t mem_size[8][8] = {
    { 4, 4, 4, 4, 4, 4, 4, 4 },
    { 4, 0, -4, -4, 0, 0, 0, 0 },
    { 4, 4, 4, 4, 4, 4, 4, 4 },
    { 4, -4, -4, -4, 0, 10, 0, -10 },
    { 8, 8, 8, 8, 8, 8, 8, 8 },
    { 8, -8, -8, -8, 0, 0, 0, 0 },
    { 2, 2, 2, 2, 2, 2, 2, 2 },
    { 2, -2, -2, -2, 10, 8, -10, -8 },
};

/* Register forms that exist, one bit for each ModRM byte C0..FF; the documented aliases of FCOM,
 * FXCH and FSTP are in. */
static const uint64_t reg_valid[8] = {
    ~0ull,
    /* FLD FXCH FNOP FSTP(alias) FCHS FABS FTST FXAM FLD1.. FLDZ, F0..FF */
    0xffff7f33ff01ffffull, 0x00000200ffffffffull, /* FCMOVcc, FUCOMPP */
    0x00ffff1fffffffffull,                        /* FCMOVNcc, FNENI.. FNSETPM, FUCOMI, FCOMI */
    ~0ull, 0x0000ffffffffffffull,                 /* FFREE, FXCH alias, FST, FSTP, FUCOM, FUCOMP */
    0xffffffff02ffffffull,                        /* FADDP .. FCOMPP .. FDIVP */
    0x00ffff01ffffffffull,                        /* FFREEP, aliases, FNSTSW AX, FUCOMIP, FCOMIP */
};

static void set_pointers(SoftCpu *c, const Insn *in)
{
    uint64_t ip = c->ip_cur, dp = in->flags & INSN_MEM ? insn_ea(c, in) : 0;

    fx_set16(c, FX_FOP, (uint16_t)((in->opcode & 7) << 8 | in->modrm));
    memcpy(c->fx + FX_FIP, &ip, 8);
    if (in->flags & INSN_MEM) {
        memcpy(c->fx + FX_FDP, &dp, 8);
    }
}

static void frame_load(SoftCpu *c, X87Run *r, uint16_t *ret_ignored)
{
    uint16_t fsw = fx_get16(c, FX_FSW), fcw = fx_get16(c, FX_FCW);

    memcpy(r->img, c->fx, FX_FP_END);
    memset(r->img + FX_FOP, 0, FX_MXCSR - FX_FOP);
    *ret_ignored = 0;
    if (x87_pending(c)) { /* ignored by CR0.NE: the host must not see it */
        *ret_ignored = fsw & MXCSR_FLAGS & ~fcw;
        fsw &= (uint16_t) ~(FSW_ES | FSW_B | MXCSR_FLAGS);
        memcpy(r->img + FX_FSW, &fsw, 2);
    }
}

static void frame_store(SoftCpu *c, const X87Run *r, uint16_t ignored)
{
    memcpy(c->fx, r->img, FX_FOP);
    memcpy(c->fx + FX_ST, r->img + FX_ST, 128);
    if (ignored) {
        fx_set16(c, FX_FSW, fsw_with_es(fx_get16(c, FX_FSW) | ignored, fx_get16(c, FX_FCW)));
    }
}

static void run_mem(SoftCpu *c, const Insn *in, int size)
{
    unsigned n = size < 0 ? (unsigned)-size : (unsigned)size,
             index = (in->opcode & 7u) * 8 + (in->reg & 7);
    uint16_t ignored, fsw, fcw;
    X87Run r = { 0 };

    if (size > 0) {
        soft_ld_bytes(c, insn_la(c, in, n, false), r.mem, n);
    }
    frame_load(c, &r, &ignored);
    run_host(soft_x87_mem + index * X87_STRIDE, &r);
    memcpy(&fsw, r.img + FX_FSW, 2);
    memcpy(&fcw, r.img + FX_FCW, 2);
    /* An unmasked exception other than precision suppresses the store and its faults (SDM vol.
     * 1, 8.5). */
    if (size < 0 && !(fsw & ~fcw & (MXCSR_FLAGS & ~FP_PE))) {
        soft_st_bytes(c, insn_la(c, in, n, true), r.mem, n);
    }
    frame_store(c, &r, ignored);
    set_pointers(c, in);
}

static void run_reg(SoftCpu *c, const Insn *in)
{
    unsigned op = in->opcode & 7u, m = in->modrm & 0x3fu;
    bool fcomi = (op == 3 || op == 7) && (in->reg == 5 || in->reg == 6);
    bool fcmov = (op == 2 || op == 3) && in->reg < 4;
    uint16_t ignored;
    X87Run r = { 0 };

    if (fcmov) {
        r.ah = (uint64_t)(flags_peek(c) & (FL_CF | FL_PF | FL_ZF)) << 8;
    }
    frame_load(c, &r, &ignored);
    run_host(soft_x87_reg + (op * 64 + m) * X87_STRIDE, &r);
    frame_store(c, &r, ignored);
    if (fcomi) {
        flags_set(c, (uint32_t)(r.ah >> 8) & (FL_CF | FL_PF | FL_ZF));
    }
    set_pointers(c, in);
}

static void fnclex(SoftCpu *c)
{
    fx_set16(c, FX_FSW, fx_get16(c, FX_FSW) & 0x7f00);
}

void x87_init(SoftCpu *c)
{
    x87_set_top(c, 0);
    fx_set16(c, FX_FCW, 0x37f);
    fx_set16(c, FX_FSW, 0);
    c->fx[FX_FTW] = 0;
    memset(c->fx + FX_FOP, 0, FX_MXCSR - FX_FOP);
}

/* The instructions that do not wait for a pending exception; true if it was one. */
static bool no_wait(SoftCpu *c, const Insn *in)
{
    unsigned op = in->opcode & 7u, reg = in->reg & 7u;

    if (in->flags & INSN_MEM) {
        if (op == 1 && reg == 6) {
            x87_stenv(c, in);
        } else if (op == 1 && reg == 7) {
            soft_st16(c, insn_la(c, in, 2, true), fx_get16(c, FX_FCW));
        } else if (op == 5 && reg == 6) {
            x87_save(c, in);
        } else if (op == 5 && reg == 7) {
            soft_st16(c, insn_la(c, in, 2, true), fx_get16(c, FX_FSW));
        } else {
            return false;
        }
        return true;
    }
    if (op == 7 && in->modrm == 0xe0) {
        insn_set_reg(c, in, R_AX, 2, fx_get16(c, FX_FSW));
    } else if (op == 3 && in->modrm == 0xe2) {
        fnclex(c);
    } else if (op == 3 && in->modrm == 0xe3) {
        x87_init(c);
    } else {
        return op == 3 && (in->modrm == 0xe0 || in->modrm == 0xe1 ||
                              in->modrm == 0xe4); /* FNENI, FNDISI, FNSETPM */
    }
    return true;
}

static void fldcw(SoftCpu *c, const Insn *in)
{
    uint16_t v = soft_ld16(c, insn_la(c, in, 2, false));

    fx_set16(c, FX_FCW, (uint16_t)((v & 0x1f3f) | 0x40));
    fx_set16(c, FX_FSW, fsw_with_es(fx_get16(c, FX_FSW), fx_get16(c, FX_FCW)));
}

void insn_x87(SoftCpu *c, const Insn *in)
{
    unsigned op = in->opcode & 7u, reg = in->reg & 7u;
    bool mem = in->flags & INSN_MEM;
    bool control = mem && ((op == 1 && reg >= 4) || (op == 5 && (reg == 4 || reg >= 6)));

    if (mem ? !control && !mem_size[op][reg] : !(reg_valid[op] >> (in->modrm & 0x3f) & 1)) {
        soft_raise(c, EXC_UD);
    }
    fp_check_x87(c);
    if (no_wait(c, in)) {
        return;
    }
    fp_check_pending(c);
    if (!mem) {
        run_reg(c, in);
    } else if (!control) {
        run_mem(c, in, mem_size[op][reg]);
    } else if (op == 1 && reg == 5) {
        fldcw(c, in);
    } else if (op == 1) {
        x87_ldenv(c, in);
    } else {
        x87_rstor(c, in);
    }
}

/* WAIT: #NM only with both TS and MP (SDM vol. 3, 2.5). */
void insn_fwait(SoftCpu *c, const Insn *in)
{
    (void)in;
    if ((c->cr0 & CR0_TS) && (c->cr0 & CR0_MP)) {
        soft_raise(c, EXC_NM);
    }
    fp_check_pending(c);
}
