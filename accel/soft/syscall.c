/* SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2; vol. 3, 5.8.7 and 5.8.8). Covered by
 * tests/cpu/mini. */
#include "flags.h"
#include "seg.h"

#define EFER_SCE 1ull

static SoftSeg flat_code(uint16_t sel, unsigned pl, bool wide)
{
    unsigned attr = ATTR_G | (wide ? ATTR_L : ATTR_DB) | ATTR_P | ATTR_S | ATTR_CODE | ATTR_R |
                    ATTR_A | pl << ATTR_DPL_SHIFT;

    return (SoftSeg){ .limit = 0xffffffff, .sel = sel, .attr = (uint16_t)attr };
}

static SoftSeg flat_stack(uint16_t sel, unsigned pl)
{
    unsigned attr = ATTR_G | ATTR_DB | ATTR_P | ATTR_S | ATTR_W | ATTR_A | pl << ATTR_DPL_SHIFT;

    return (SoftSeg){ .limit = 0xffffffff, .sel = sel, .attr = (uint16_t)attr };
}

static void enter(SoftCpu *c, uint16_t cs, uint16_t ss, unsigned pl, bool wide, uint64_t ip)
{
    c->seg[SEG_CS] = flat_code(cs, pl, wide);
    c->seg[SEG_SS] = flat_stack(ss, pl);
    c->cpl = pl;
    cpu_jump(c, ip);
}

void insn_syscall(SoftCpu *c, const Insn *in)
{
    uint16_t cs = c->star >> 32 & 0xfffc;

    (void)in;
    if (!(c->efer & EFER_SCE)) {
        soft_raise(c, EXC_UD);
    }
    if (!cpu_lma(c)) {
        /* AMD's legacy form: EIP from STAR, no mask (AMD64 APM vol. 3, SYSCALL). */
        if (!(c->mode & MODE_PE) || c->model->vendor[0] == 'G') {
            soft_raise(c, EXC_UD);
        }
        c->r[R_CX] = (uint32_t)c->ip_next;
        soft_set_rflags(c, 0, FL_IF | FL_VM | FL_RF);
        enter(c, cs, (uint16_t)(cs + 8), 0, false, (uint32_t)c->star);
        soft_mode_update(c);
        return;
    }
    bool from64 = soft_code64(c);
    if (!from64 && c->model->vendor[0] == 'G') { /* GenuineIntel: 64-bit mode only */
        soft_raise(c, EXC_UD);
    }
    c->r[R_CX] = c->ip_next;
    c->r[11] = soft_get_rflags(c) & ~(uint64_t)FL_RF;
    enter(c, cs, (uint16_t)(cs + 8), 0, true, from64 ? c->lstar : c->cstar);
    soft_set_rflags(c, 0, c->fmask | FL_RF);
    soft_mode_update(c);
}

void insn_sysret(SoftCpu *c, const Insn *in)
{
    bool wide = in->flags & INSN_REXW;
    uint16_t cs = (uint16_t)(c->star >> 48);

    if (!(c->efer & EFER_SCE) ||
        (!cpu_lma(c) && (!(c->mode & MODE_PE) || c->model->vendor[0] == 'G'))) {
        soft_raise(c, EXC_UD);
    }
    need_cpl0(c);
    if (!cpu_lma(c)) {
        enter(c, (uint16_t)(cs | 3), (uint16_t)((cs + 8) | 3), 3, false, (uint32_t)c->r[R_CX]);
        soft_set_rflags(c, FL_IF, FL_IF);
        soft_mode_update(c);
        return;
    }
    if (!soft_code64(c) && c->model->vendor[0] == 'G') {
        soft_raise(c, EXC_UD);
    }
    if (wide && !soft_canonical48(c->r[R_CX])) {
        soft_raise_err(c, EXC_GP, 0);
    }
    uint64_t ip = wide ? c->r[R_CX] : (uint32_t)c->r[R_CX];
    /* SS's selector has RPL 3 and fixed attributes whatever the table says. */
    enter(c, (uint16_t)((wide ? cs + 16 : cs) | 3), (uint16_t)((cs + 8) | 3), 3, wide, ip);
    soft_set_rflags(c, c->r[11], ~(uint64_t)(FL_RF | FL_VM));
    soft_mode_update(c);
}

void insn_sysenter(SoftCpu *c, const Insn *in)
{
    uint16_t cs = c->sysenter_cs & 0xfffc;
    bool lma = cpu_lma(c);

    (void)in;
    if (!(c->model->f1_edx & 1u << 11)) {
        soft_raise(c, EXC_UD);
    }
    if (!(c->mode & MODE_PE) || !cs) {
        soft_raise_err(c, EXC_GP, 0);
    }
    if (lma && c->model->vendor[0] == 'A') { /* AuthenticAMD: legacy mode only */
        soft_raise(c, EXC_UD);
    }
    soft_set_rflags(c, 0, FL_VM | FL_IF | FL_RF);
    enter(c, cs, (uint16_t)(cs + 8), 0, lma, lma ? c->sysenter_eip : (uint32_t)c->sysenter_eip);
    c->r[R_SP] = lma ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    soft_mode_update(c);
}

void insn_sysexit(SoftCpu *c, const Insn *in)
{
    uint16_t cs = c->sysenter_cs & 0xfffc;
    bool wide = in->flags & INSN_REXW;

    if (!(c->model->f1_edx & 1u << 11) || (cpu_lma(c) && c->model->vendor[0] == 'A')) {
        soft_raise(c, EXC_UD);
    }
    if (!(c->mode & MODE_PE) || c->cpl || !cs) {
        soft_raise_err(c, EXC_GP, 0);
    }
    uint64_t ip = c->r[R_DX], sp = c->r[R_CX];
    if (wide && (!soft_canonical48(ip) || !soft_canonical48(sp))) {
        soft_raise_err(c, EXC_GP, 0);
    }
    enter(c, (uint16_t)((cs + (wide ? 32 : 16)) | 3), (uint16_t)((cs + (wide ? 40 : 24)) | 3), 3,
        wide, wide ? ip : (uint32_t)ip);
    c->r[R_SP] = wide ? sp : (uint32_t)sp;
    soft_mode_update(c);
}
