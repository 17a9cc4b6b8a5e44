/* The instruction decoder: prefixes, opcode maps, ModRM and SIB, immediates (SDM vol. 2, chapter
 * 2). */
#include "decode-tables.h"
#include "flags.h"

#include <string.h>

typedef struct Reader {
    const uint8_t *bytes;
    unsigned n, pos;
    bool overrun; /* wanted more than n bytes */
} Reader;

enum { INSN_MAX = 15 };

static uint64_t read_le(Reader *r, unsigned size)
{
    uint64_t v = 0;

    if (__builtin_expect(r->pos + size > r->n, 0)) {
        r->overrun = true;
        return 0;
    }
    memcpy(&v, r->bytes + r->pos, size);
    r->pos += size;
    return v;
}

static int64_t read_sle(Reader *r, unsigned size)
{
    return (int64_t)flags_sext(read_le(r, size), size);
}

/* SDM vol. 2, table 2-1 */
static void modrm16(Reader *r, Insn *in, bool seg_given)
{
    static const uint8_t bases[8] = { R_BX, R_BX, R_BP, R_BP, R_SI, R_DI, R_BP, R_BX };
    static const uint8_t indices[8] = { R_SI, R_DI, R_SI, R_DI, R_ZERO, R_ZERO, R_ZERO, R_ZERO };
    unsigned rm = in->modrm & 7;

    in->base = bases[rm];
    in->index = indices[rm];
    if (in->mod == 0 && rm == 6) {
        in->base = R_ZERO;
        in->disp = read_sle(r, 2);
    } else if (in->mod == 1) {
        in->disp = read_sle(r, 1);
    } else if (in->mod == 2) {
        in->disp = read_sle(r, 2);
    }
    if (in->base == R_BP && !seg_given) {
        in->seg = SEG_SS;
    }
}

/* SDM vol. 2, tables 2-2, 2-3 and 2.2.1.3 */
static void modrm32(Reader *r, Insn *in, unsigned rex, bool code64, bool seg_given)
{
    unsigned rm = in->modrm & 7;

    if (rm == 4) {
        unsigned sib = (unsigned)read_le(r, 1);
        unsigned index = ((sib >> 3) & 7) | (rex & 2) << 2;
        in->scale = sib >> 6;
        in->index = index == 4 ? R_ZERO : index;
        in->base = (sib & 7) | (rex & 1) << 3;
        if ((sib & 7) == 5 && in->mod == 0) {
            in->base = R_ZERO;
            in->disp = read_sle(r, 4);
        }
    } else if (rm == 5 && in->mod == 0) {
        in->disp = read_sle(r, 4);
        in->flags |= code64 ? INSN_RIP : 0;
    } else {
        in->base = rm | (rex & 1) << 3;
    }
    if (in->mod == 1) {
        in->disp = read_sle(r, 1);
    } else if (in->mod == 2) {
        in->disp = read_sle(r, 4);
    }
    if ((in->base == R_SP || in->base == R_BP) && !seg_given) {
        in->seg = SEG_SS;
    }
}

static void read_imm(Reader *r, Insn *in, unsigned kind)
{
    unsigned z = in->opsize == 2 ? 2 : 4;

    switch (kind) {
    case I_B:
    case I_JB:
        in->imm = (uint64_t)read_sle(r, 1);
        break;
    case I_Z:
    case I_JZ:
        in->imm = (uint64_t)read_sle(r, z);
        break;
    case I_V:
        in->imm = (uint64_t)read_sle(r, in->opsize);
        break;
    case I_W:
        in->imm = read_le(r, 2);
        break;
    case I_MOFFS:
        in->imm = read_le(r, in->adsize);
        in->disp = (int64_t)in->imm;
        in->flags |= INSN_MEM;
        in->mod = 0;
        break;
    case I_FAR:
        in->imm = read_le(r, z);
        in->disp = (int64_t)read_le(r, 2);
        break;
    case I_ENTER:
        in->imm = read_le(r, 2);
        in->imm2 = (uint8_t)read_le(r, 1);
        break;
    default:
        break;
    }
}

typedef struct Prefixes {
    unsigned rex;
    bool seg_given;
    uint8_t opcode; /* the first byte behind them */
} Prefixes;

/* Legacy prefixes in any order; a REX counts only right before the opcode. */
static void read_prefixes(Reader *r, Insn *in, bool code64, Prefixes *p)
{
    for (;;) {
        uint8_t b = (uint8_t)read_le(r, 1);
        p->opcode = b;
        if (r->overrun) {
            return;
        }
        switch (b) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            /* In 64-bit code these four do nothing, not even undo an earlier FS or GS. */
            if (!code64) {
                in->seg = (b >> 3) & 3;
                in->flags |= INSN_SEG_PREFIX;
                p->seg_given = true;
            }
            break;
        case 0x64:
        case 0x65:
            in->seg = SEG_FS + (b & 1);
            in->flags |= INSN_SEG_PREFIX;
            p->seg_given = true;
            break;
        case 0x66:
            in->flags |= INSN_66;
            break;
        case 0x67:
            in->flags |= INSN_67;
            break;
        case 0xf0:
            in->flags |= INSN_LOCK;
            break;
        case 0xf2:
            in->rep = REP_NE;
            break;
        case 0xf3:
            in->rep = REP_E;
            break;
        default:
            if (!code64 || (b & 0xf0) != 0x40) {
                return;
            }
            p->rex = b;
            continue;
        }
        p->rex = 0;
    }
}

static void set_sizes(Insn *in, unsigned attr, uint32_t mode, unsigned rex)
{
    bool p66 = in->flags & INSN_66, p67 = in->flags & INSN_67;

    if (mode & MODE_CODE64) {
        in->adsize = p67 ? 4 : 8;
        in->opsize = rex & 8 ? 8 : p66 ? 2 : 4;
        in->stsize = p66 && !(rex & 8) ? 2 : 8;
        if (attr & A_F64) {
            in->opsize = 8;
            in->stsize = 8;
        } else if (attr & A_D64) {
            in->opsize = in->stsize;
        }
    } else {
        bool c32 = mode & MODE_CODE32;
        in->adsize = c32 != p67 ? 4 : 2;
        in->opsize = c32 != p66 ? 4 : 2;
        in->stsize = in->opsize;
    }
    if (attr & (A_B | A_W | A_MAX4)) {
        if (attr & A_B) {
            in->opsize = 1;
        } else if (attr & A_W) {
            in->opsize = 2;
        } else if (in->opsize == 8) {
            in->opsize = 4;
        }
    }
}

static const DecEntry movsxd_entry = { .fn = insn_movsxd, A_M };

static const DecEntry map_0f38 = { .fn = insn_sse4, A_M }, map_0f3a = { .fn = insn_sse4, A_M, I_B };

/* The entry for the opcode. */
static const DecEntry *read_opcode(Reader *r, Insn *in, uint8_t first, bool code64)
{
    if (first != 0x0f) {
        in->opcode = first;
        return first == 0x63 && code64 ? &movsxd_entry : &dec_one[first];
    }
    uint8_t second = (uint8_t)read_le(r, 1);
    if (second == 0x38 || second == 0x3a) {
        in->opcode = (uint16_t)((second == 0x38 ? 0x200 : 0x300) + read_le(r, 1));
        return second == 0x38 ? &map_0f38 : &map_0f3a;
    }
    in->opcode = 0x100 + second;
    return &dec_0f[second];
}

static int fail(const Reader *r, int exc, int *ret_exc)
{
    /* Out of bytes: an instruction over 15 bytes is #GP, else the caller gets more first. */
    if (r->overrun) {
        if (r->n < INSN_MAX) {
            return 0;
        }
        exc = EXC_GP;
    }
    *ret_exc = exc;
    return -1;
}

static bool lock_ok(const Insn *in, const DecEntry *e)
{
    return (in->flags & INSN_MEM) && ((e->lock >> (in->modrm >> 3 & 7)) & 1);
}

int insn_decode(
    const uint8_t *bytes, unsigned n, uint64_t ip, uint32_t mode, Insn *in, int *ret_exc)
{
    Reader r = { bytes, n > INSN_MAX ? INSN_MAX : n, 0, false };
    bool code64 = mode & MODE_CODE64;
    Prefixes p = { 0 };

    memset(in, 0, sizeof *in);
    in->ip = ip;
    in->seg = SEG_DS;
    in->base = in->index = R_ZERO;
    read_prefixes(&r, in, code64, &p);
    const DecEntry *e = read_opcode(&r, in, p.opcode, code64);
    if (r.overrun || !e) {
        return fail(&r, EXC_UD, ret_exc);
    }
    in->flags |= (p.rex ? INSN_REX : 0) | (p.rex & 8 ? INSN_REXW : 0);
    in->mod = 3;
    if (e->attr & A_M) {
        in->modrm = (uint8_t)read_le(&r, 1);
        if (e->attr & A_SUB) {
            e = &e->sub[(in->modrm >> 3) & 7];
        }
    }
    unsigned attr = e->attr;
    if (r.overrun || !e->fn || (code64 && (attr & A_N64))) {
        return fail(&r, EXC_UD, ret_exc);
    }
    in->fn = e->fn;
    in->flags |= attr & A_END ? INSN_ENDS : 0;
    set_sizes(in, attr, mode, p.rex);
    if (attr & A_M) {
        in->mod = attr & A_REG ? 3 : in->modrm >> 6;
        in->reg = ((in->modrm >> 3) & 7) | (attr & A_GRP ? 0 : (p.rex & 4) << 1);
        in->rm = (in->modrm & 7) | (p.rex & 1) << 3;
        if (in->mod != 3) {
            in->flags |= INSN_MEM;
            if (in->adsize == 2) {
                modrm16(&r, in, p.seg_given);
            } else {
                modrm32(&r, in, p.rex, code64, p.seg_given);
            }
        } else if (attr & A_MEM) {
            return fail(&r, EXC_UD, ret_exc);
        }
    } else {
        in->rm = (in->opcode & 7) | (p.rex & 1) << 3;
    }
    read_imm(&r, in, e->imm);
    if (r.overrun || ((in->flags & INSN_LOCK) && !lock_ok(in, e))) {
        return fail(&r, EXC_UD, ret_exc);
    }
    in->len = (uint8_t)r.pos;
    if (in->flags & INSN_RIP) {
        in->disp += (int64_t)(ip + r.pos);
    }
    return (int)r.pos;
}
