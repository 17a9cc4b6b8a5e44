/* The block builder's second half: decoded instructions to Ops, hot where there is a handler for
 * the form, else cold. */
#include "hot.h"
#include "insn-fns.h"
#include "mmu.h"

/* What is known of the lazy flags at this point of the block. */
typedef enum Known {
    KNOWN_NOTHING,
    KNOWN_SUB,
    KNOWN_LOGIC,
    KNOWN_RES, /* not FLAGS_OP_NONE: ZF SF PF come from res */
} Known;

typedef struct Builder {
    Translation *t;
    bool hot_mode;
    unsigned width; /* of addresses and stack items in hot mode: 32, 64 as 0, 1 */
    Known known;
    bool flags_dead; /* what the instruction at hand does to the flags is never seen */
} Builder;

/* What an instruction does to the flags, for finding dead ones. */
typedef enum FlagUse { FLAGS_USED, FLAGS_UNTOUCHED, FLAGS_KILLED } FlagUse;

static inline unsigned log2_size(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

static bool is_mem(const Insn *in)
{
    return in->flags & INSN_MEM;
}

/* Register forms of 4 or 8 bytes: FLAGS_UNTOUCHED and FLAGS_KILLED ones must be hot and unable to
 * raise. */
static FlagUse flag_use(const Insn *in)
{
    if (in->flags & (INSN_LOCK | INSN_MEM)) {
        return in->opcode == 0x8d && in->opsize >= 4 && in->adsize >= 4 ? FLAGS_UNTOUCHED
                                                                        : FLAGS_USED;
    }
    if (in->fn == insn_alu) {
        unsigned k = in->opcode < 0x40 ? (in->opcode >> 3) & 7 : in->reg;
        return k == HOT_ADC || k == HOT_SBB ? FLAGS_USED : FLAGS_KILLED;
    }
    if (in->fn == insn_test || in->fn == insn_neg) {
        return FLAGS_KILLED;
    }
    if (in->fn == insn_shift) {
        bool imm =
            in->opcode < 0xd2 && (in->opcode >= 0xd0 || (in->imm & (in->opsize == 8 ? 63 : 31)));
        return imm && in->reg >= 4 ? FLAGS_KILLED : FLAGS_USED;
    }
    if (in->fn == insn_mov || in->fn == insn_xchg || in->fn == insn_cbw || in->fn == insn_cwd ||
        in->fn == insn_nop || in->fn == insn_not) {
        return FLAGS_UNTOUCHED;
    }
    if ((in->fn == insn_movx || in->fn == insn_movsxd || in->fn == insn_bswap) && in->opsize >= 4) {
        return FLAGS_UNTOUCHED;
    }
    if (in->fn == insn_imul && in->opsize >= 4) {
        return FLAGS_KILLED;
    }
    return FLAGS_USED;
}

/* The memory operand's address form, or EA_FORMS: cold. */
static unsigned set_ea(const Builder *b, const Insn *in, Op *op)
{
    bool code64 = b->t->mode & MODE_CODE64;

    if (!b->hot_mode || in->adsize == 2 || (!code64 && (in->seg >= SEG_FS || in->seg == SEG_CS))) {
        return EA_FORMS;
    }
    op->base = (uint8_t)(in->base * 8);
    op->index = (uint8_t)(in->index * 8);
    op->mul = (uint8_t)(1 << in->scale);
    op->disp = in->disp;
    if (in->adsize == 4) {
        op->aux |= OP_ADDR32;
    }
    if (in->seg >= SEG_FS) {
        op->aux |= (uint8_t)(in->seg + 1);
    }
    if (op->aux) {
        return EA_ANY;
    }
    return in->index == R_ZERO ? EA_BASE : EA_INDEX;
}

/* Finishes an Op with a register or memory form. mem: one handler per address form. */
static bool pick(const Builder *b, const Insn *in, Op *op, OpFn *reg, OpFn *const *mem)
{
    if (!is_mem(in)) {
        op->fn = reg;
        return reg != NULL;
    }
    unsigned form = mem ? set_ea(b, in, op) : EA_FORMS;
    if (form == EA_FORMS) {
        return false;
    }
    op->fn = mem[form];
    return true;
}

static Known alu_known(unsigned k)
{
    switch (k) {
    case HOT_SUB:
    case HOT_CMP:
        return KNOWN_SUB;
    case HOT_AND:
    case HOT_OR:
    case HOT_XOR:
    case HOT_TEST:
        return KNOWN_LOGIC;
    default:
        return KNOWN_RES;
    }
}

/* k of r/m with the immediate in in->imm. */
static bool alu_imm(Builder *b, const Insn *in, Op *op, unsigned k)
{
    const HotAlu *h = &hot_alu[k][log2_size(in->opsize)];
    OpFn *reg = h->ri;

    op->imm = flags_sext(in->imm, in->opsize);
    op->dst = op_reg_off(in, in->rm, in->opsize);
    if (!is_mem(in) && b->flags_dead && in->opsize >= 4 && hot_alu_nf[k][1][in->opsize == 8]) {
        reg = hot_alu_nf[k][1][in->opsize == 8];
    }
    b->known = alu_known(k);
    return pick(b, in, op, reg, h->mi);
}

static bool hot_alu_op(Builder *b, const Insn *in, Op *op)
{
    unsigned k = (in->opcode >> 3) & 7, form = in->opcode & 7;
    const HotAlu *h = &hot_alu[k][log2_size(in->opsize)];
    OpFn *reg = h->rr;

    if (in->opcode >= 0x80) {
        return alu_imm(b, in, op, in->reg);
    }
    if (form >= 4) {
        Insn acc = *in;
        acc.rm = R_AX;
        return alu_imm(b, &acc, op, k);
    }
    uint8_t r = op_reg_off(in, in->reg, in->opsize), m = op_reg_off(in, in->rm, in->opsize);
    op->dst = form < 2 ? m : r;
    op->src = form < 2 ? r : m;
    if (!is_mem(in) && b->flags_dead && in->opsize >= 4 && hot_alu_nf[k][0][in->opsize == 8]) {
        reg = hot_alu_nf[k][0][in->opsize == 8];
    }
    b->known = alu_known(k);
    return pick(b, in, op, reg, form < 2 ? h->mr : h->rm);
}

static bool hot_test_op(Builder *b, const Insn *in, Op *op)
{
    const HotAlu *h = &hot_alu[HOT_TEST][log2_size(in->opsize)];

    if (in->opcode >= 0xf6) {
        return alu_imm(b, in, op, HOT_TEST);
    }
    if (in->opcode >= 0xa8) {
        Insn acc = *in;
        acc.rm = R_AX;
        return alu_imm(b, &acc, op, HOT_TEST);
    }
    op->dst = op_reg_off(in, in->rm, in->opsize);
    op->src = op_reg_off(in, in->reg, in->opsize);
    b->known = KNOWN_LOGIC;
    return pick(b, in, op, h->rr, h->mr);
}

static bool hot_mov_op(Builder *b, const Insn *in, Op *op)
{
    const HotMov *h = &hot_mov[log2_size(in->opsize)];
    uint8_t r = op_reg_off(in, in->reg, in->opsize), m = op_reg_off(in, in->rm, in->opsize);

    op->imm = in->imm;
    switch (in->opcode) {
    case 0x88:
    case 0x89:
        op->dst = m;
        op->src = r;
        return pick(b, in, op, h->rr, h->store);
    case 0x8a:
    case 0x8b:
        op->dst = r;
        op->src = m;
        return pick(b, in, op, h->rr, h->load);
    case 0xa0:
    case 0xa1:
        op->dst = R_AX * 8;
        return pick(b, in, op, NULL, h->load);
    case 0xa2:
    case 0xa3:
        op->src = R_AX * 8;
        return pick(b, in, op, NULL, h->store);
    default: /* B0..BF, C6, C7 */
        op->dst = m;
        return pick(b, in, op, h->ri, h->storei);
    }
}

static bool hot_movx_op(Builder *b, const Insn *in, Op *op)
{
    bool wide = in->opsize == 8, word = in->opcode & 1;
    unsigned k;

    if (in->opsize < 4) {
        return false;
    }
    if (in->fn == insn_movsxd) {
        if (!wide) {
            op->dst = (uint8_t)(in->reg * 8);
            op->src = (uint8_t)(in->rm * 8);
            return pick(b, in, op, hot_mov[2].rr, hot_mov[2].load);
        }
        k = HOT_SX32_64;
    } else if (in->opcode & 8) {
        k = word ? HOT_SX16_32 + wide : HOT_SX8_32 + wide;
    } else {
        k = word ? HOT_ZX16 : HOT_ZX8;
    }
    op->dst = (uint8_t)(in->reg * 8);
    op->src = op_reg_off(in, in->rm, in->fn == insn_movx && !word ? 1 : 4);
    return pick(b, in, op, hot_movx[k], hot_movx_mem[k]);
}

static bool hot_lea_op(Builder *b, const Insn *in, Op *op)
{
    if (in->opsize < 4 || in->adsize < 4) {
        return false;
    }
    op->dst = (uint8_t)(in->reg * 8);
    op->base = (uint8_t)(in->base * 8);
    op->index = (uint8_t)(in->index * 8);
    op->mul = (uint8_t)(1 << in->scale);
    op->disp = in->disp;
    if (in->opsize == 8 && in->adsize == 4) {
        op->aux = OP_ADDR32;
        op->fn = hot_lea[1][EA_ANY];
    } else {
        op->fn = hot_lea[in->opsize == 8][in->index == R_ZERO ? EA_BASE : EA_INDEX];
    }
    return true;
}

static bool hot_shift_op(Builder *b, const Insn *in, Op *op)
{
    unsigned lg = log2_size(in->opsize);

    if (is_mem(in) || in->reg == 2 || in->reg == 3) {
        return false;
    }
    op->dst = op_reg_off(in, in->rm, in->opsize);
    b->known = KNOWN_NOTHING;
    if (in->opcode >= 0xd2) {
        op->fn = hot_shift_cl[in->reg][lg];
        return true;
    }
    op->imm = (in->opcode >= 0xd0 ? 1 : in->imm) & (in->opsize == 8 ? 63 : 31);
    if (!op->imm) {
        return false;
    }
    op->fn = b->flags_dead && lg >= 2 ? hot_shift_nf[in->reg][lg - 2] : hot_shift_imm[in->reg][lg];
    b->known = in->reg >= 4 ? KNOWN_RES : KNOWN_NOTHING;
    return true;
}

static bool hot_unary_op(Builder *b, const Insn *in, Op *op, unsigned k)
{
    unsigned lg = log2_size(in->opsize);
    OpFn *reg = hot_unary[k][lg];

    op->dst = op_reg_off(in, in->rm, in->opsize);
    if (b->flags_dead && lg >= 2 && hot_unary_nf[k][lg - 2]) {
        reg = hot_unary_nf[k][lg - 2];
    }
    if (k != HOT_NOT) {
        b->known = k == HOT_NEG ? KNOWN_SUB : KNOWN_RES;
    }
    return pick(b, in, op, reg, hot_unary_mem[k][lg]);
}

static bool hot_imul_op(Builder *b, const Insn *in, Op *op)
{
    bool wide = in->opsize == 8;

    b->known = KNOWN_NOTHING;
    if (in->opsize < 4) {
        return false;
    }
    op->dst = (uint8_t)(in->reg * 8);
    op->src = (uint8_t)(in->rm * 8);
    if (in->opcode == 0x1af) {
        return pick(b, in, op, hot_imul_rr[wide], hot_imul_rm[wide]);
    }
    op->imm = in->imm;
    return pick(b, in, op, hot_imul_rri[wide], NULL);
}

static bool hot_bt_op(Builder *b, const Insn *in, Op *op)
{
    if (is_mem(in) || in->opsize < 4 ||
        (in->opcode == 0x1ba ? in->reg != 4 : in->opcode != 0x1a3)) {
        return false;
    }
    op->dst = (uint8_t)(in->rm * 8);
    op->src = (uint8_t)(in->reg * 8);
    op->imm = in->imm;
    op->fn = in->opcode == 0x1ba ? hot_bt_ri[in->opsize == 8] : hot_bt_rr[in->opsize == 8];
    b->known = KNOWN_NOTHING;
    return true;
}

/* The cc's row: a kind of flags that serves this condition. */
static unsigned cc_row(const Builder *b, unsigned cc)
{
    switch (b->known) {
    case KNOWN_SUB:
        return HOT_CC_SUB;
    case KNOWN_LOGIC:
        return HOT_CC_LOGIC;
    case KNOWN_RES:
        /* ZF, SF and PF are the result's whatever the operation. */
        return cc >> 1 == 2 || cc >> 1 == 4 || cc >> 1 == 5 ? HOT_CC_LOGIC : HOT_CC_ANY;
    case KNOWN_NOTHING:
        break;
    }
    return HOT_CC_ANY;
}

static bool hot_cond_op(Builder *b, const Insn *in, Op *op)
{
    unsigned cc = in->opcode & 15, row = cc_row(b, cc);

    if (in->fn == insn_setcc) {
        op->dst = op_reg_off(in, in->rm, 1);
        return pick(b, in, op, hot_setcc[row][cc], NULL);
    }
    if (in->opsize < 4) {
        return false;
    }
    op->dst = (uint8_t)(in->reg * 8);
    op->src = (uint8_t)(in->rm * 8);
    op->imm = cc;
    return pick(b, in, op, hot_cmov[row][cc][in->opsize == 8], hot_cmov_mem[in->opsize == 8]);
}

static bool hot_stack_op(Builder *b, const Insn *in, Op *op)
{
    unsigned w = b->width;

    if (!b->hot_mode || in->stsize != (w ? 8 : 4)) {
        return false;
    }
    op->src = op->dst = (uint8_t)(in->rm * 8);
    op->imm = in->imm;
    if (in->fn == insn_push_rm) {
        return pick(b, in, op, hot_push_r[w], hot_push_m[w]);
    }
    if (in->fn == insn_pop_rm) {
        return pick(b, in, op, hot_pop_r[w], NULL);
    }
    op->fn = in->fn == insn_push_imm ? hot_push_i[w] : hot_leave[w];
    return true;
}

static bool in_page(const Builder *b, uint64_t ip)
{
    return b->t->one_page && ip - b->t->page_ip < 4096;
}

/* A relative branch: target and what may be chained. */
static bool set_branch(Builder *b, const Insn *in, Op *op)
{
    uint64_t next = mode_ip(b->t->mode, in->ip + in->len);
    uint64_t target = mode_ip(b->t->mode, in->ip + in->len + in->imm);

    if (!soft_canonical48(target)) {
        return false;
    }
    op->imm = target;
    op->taken = op->fall = NULL;
    op->aux = (in_page(b, target) ? OP_CHAIN_TAKEN : 0) | (in_page(b, next) ? OP_CHAIN_FALL : 0);
    b->t->chains = true;
    return true;
}

static bool hot_ctl_op(Builder *b, const Insn *in, Op *op)
{
    unsigned w = b->width;

    if (!b->hot_mode || in->opsize != (w ? 8 : 4)) {
        return false;
    }
    if (in->fn == insn_jcc) {
        op->fn = hot_jcc[cc_row(b, in->opcode & 15)][in->opcode & 15];
        return set_branch(b, in, op);
    }
    if (in->fn == insn_jmp_rel || in->fn == insn_call_rel) {
        op->fn = in->fn == insn_jmp_rel ? hot_jmp : hot_call[w];
        return set_branch(b, in, op);
    }
    if (in->fn == insn_ret) {
        op->fn = hot_ret[w];
        op->imm = in->imm;
        return true;
    }
    op->src = (uint8_t)(in->rm * 8);
    if (in->fn == insn_jmp_rm) {
        return pick(b, in, op, hot_jmp_r[w], hot_jmp_m[w]);
    }
    return pick(b, in, op, hot_call_r[w], hot_call_m[w]);
}

static bool hot_misc_op(Builder *b, const Insn *in, Op *op)
{
    unsigned lg = log2_size(in->opsize);

    if (in->fn == insn_xchg) {
        if (in->opcode == 0x90 && (in->rm == R_AX || in->rep == REP_E)) {
            op->fn = in->rep == REP_E ? hot_pause : hot_nop;
            return true;
        }
        op->dst = op_reg_off(in, in->rm, in->opsize);
        op->src = in->opcode >= 0x90 ? R_AX * 8 : op_reg_off(in, in->reg, in->opsize);
        return pick(b, in, op, hot_mov[lg].xchg, NULL);
    }
    if (in->fn == insn_nop) {
        op->fn = hot_nop;
    } else if (in->fn == insn_cbw) {
        op->fn = hot_cbw[lg];
    } else if (in->fn == insn_cwd) {
        op->fn = hot_cwd[lg];
    } else if (in->fn == insn_bswap && lg >= 2) {
        op->dst = (uint8_t)(in->rm * 8);
        op->fn = hot_bswap[lg - 2];
    } else if (in->fn == insn_mul && !is_mem(in) && lg >= 2) {
        op->src = (uint8_t)(in->rm * 8);
        op->fn = hot_mul_r[lg - 2];
        b->known = KNOWN_NOTHING;
    } else {
        return false;
    }
    return true;
}

typedef bool HotFn(Builder *b, const Insn *in, Op *op);

static bool hot_incdec_op(Builder *b, const Insn *in, Op *op)
{
    return hot_unary_op(
        b, in, op, (in->opcode < 0x80 ? in->opcode & 8 : in->reg) ? HOT_DEC : HOT_INC);
}

static bool hot_notneg_op(Builder *b, const Insn *in, Op *op)
{
    return hot_unary_op(b, in, op, in->fn == insn_neg ? HOT_NEG : HOT_NOT);
}

static HotFn *hot_fn(const Insn *in)
{
    static const struct {
        InsnFn *insn;
        HotFn *hot;
    } map[] = {
        { insn_mov, hot_mov_op },
        { insn_alu, hot_alu_op },
        { insn_jcc, hot_ctl_op },
        { insn_test, hot_test_op },
        { insn_lea, hot_lea_op },
        { insn_push_rm, hot_stack_op },
        { insn_pop_rm, hot_stack_op },
        { insn_call_rel, hot_ctl_op },
        { insn_jmp_rel, hot_ctl_op },
        { insn_ret, hot_ctl_op },
        { insn_movx, hot_movx_op },
        { insn_shift, hot_shift_op },
        { insn_nop, hot_misc_op },
        { insn_movsxd, hot_movx_op },
        { insn_incdec, hot_incdec_op },
        { insn_xchg, hot_misc_op },
        { insn_cmov, hot_cond_op },
        { insn_setcc, hot_cond_op },
        { insn_imul, hot_imul_op },
        { insn_jmp_rm, hot_ctl_op },
        { insn_call_rm, hot_ctl_op },
        { insn_not, hot_notneg_op },
        { insn_neg, hot_notneg_op },
        { insn_bt, hot_bt_op },
        { insn_push_imm, hot_stack_op },
        { insn_leave, hot_stack_op },
        { insn_cbw, hot_misc_op },
        { insn_cwd, hot_misc_op },
        { insn_bswap, hot_misc_op },
        { insn_mul, hot_misc_op },
    };

    for (unsigned i = 0; i < sizeof map / sizeof map[0]; i++) {
        if (map[i].insn == in->fn) {
            return map[i].hot;
        }
    }
    return NULL;
}

/* Joins a register comparison at op with the branch behind it. */
static void fuse(const Builder *b, const Insn *cmp, Op *op, const Insn *jcc)
{
    static const int8_t size_rows[9] = { [1] = 1, [4] = 2, [8] = 3 };
    int row = size_rows[cmp->opsize] - 1;
    const HotAlu *c = &hot_alu[HOT_CMP][log2_size(cmp->opsize)];
    const HotAlu *t = &hot_alu[HOT_TEST][log2_size(cmp->opsize)];
    bool test = op->fn == t->rr || op->fn == t->ri;
    bool imm = op->fn == c->ri || op->fn == t->ri;

    if (row >= 0 && (test || imm || op->fn == c->rr)) {
        op->fn = hot_fuse[test][imm][row][jcc->opcode & 15];
    }
}

static void translate_one(Builder *b, unsigned i, bool use_hot)
{
    Translation *t = b->t;
    const Insn *in = &t->in[i];
    Op *op = &t->ops[i];
    HotFn *hot = use_hot && !(in->flags & INSN_LOCK) ? hot_fn(in) : NULL;

    *op = (Op){ .ip = in->ip, .len = in->len, .idx = (uint8_t)i };
    if (hot && hot(b, in, op)) {
        if (i && in->fn == insn_jcc) {
            fuse(b, in - 1, op - 1, in);
        }
        return;
    }
    t->insns[t->ninsns] = *in;
    *op = (Op){ .fn = op_cold,
        .insn = &t->insns[t->ninsns++],
        .ip = in->ip,
        .len = in->len,
        .idx = (uint8_t)i };
    b->known = KNOWN_NOTHING;
}

void flags_dead(const Insn *in, unsigned n, bool *ret_dead)
{
    ret_dead[n - 1] = false;
    for (unsigned i = n - 1; i-- > 0;) {
        FlagUse u = flag_use(&in[i + 1]);
        ret_dead[i] = u == FLAGS_KILLED || (u == FLAGS_UNTOUCHED && ret_dead[i + 1]);
    }
}

unsigned translate(Translation *t)
{
    Builder b = { .t = t, .hot_mode = mode_hot(t->mode), .width = t->mode & MODE_CODE64 ? 1 : 0 };
    bool use_hot = !(t->mode & SOFT_NO_HOT);
    bool dead[BLOCK_MAX_INSNS];
    const Insn *last = &t->in[t->n - 1];

    flags_dead(t->in, t->n, dead);
    for (unsigned i = 0; i < t->n; i++) {
        b.flags_dead = dead[i];
        translate_one(&b, i, use_hot);
    }
    Op *end = &t->ops[t->n];
    *end =
        (Op){ .ip = mode_ip(t->mode, last->ip + last->len), .idx = (uint8_t)t->n, .fn = op_leave };
    if (t->chains) {
        return t->n; /* the branch goes on both ways */
    }
    if (b.hot_mode && use_hot) {
        end->fn = hot_fall;
        end->aux = in_page(&b, end->ip) ? OP_CHAIN_FALL : 0;
        t->chains = true;
    }
    return t->n + 1;
}
