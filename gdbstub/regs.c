/* The registers gdb sees, their numbers and the target description (gdb manual, G.5.8 and "Target
 * Description Format"). */
#include "internal.h"

#include <string.h>

typedef enum RegKind {
    GR_GPR,
    GR_RIP,
    GR_EFLAGS,
    GR_SEG,
    GR_ST,
    GR_FCTRL,
    GR_FSTAT,
    GR_FTAG,
    GR_FIOFF,
    GR_FOOFF,
    GR_FOP,
    GR_ZERO,
    GR_XMM,
    GR_MXCSR,
    GR_BASE,
    GR_KGS,
    GR_CR,
    GR_EFER,
} RegKind;

typedef struct Reg {
    const char *name, *type;
    uint8_t size, kind, index;
} Reg;

typedef struct Feature {
    const char *name;
    unsigned first; /* register number */
} Feature;

/* clang-format off */
#define GPR(n, i) { n, "int64", 8, GR_GPR, i }
#define SEG(n, i) { n, "int32", 4, GR_SEG, i }
#define ST(i)     { "st" #i, "i387_ext", 10, GR_ST, i }
#define FP(n, k)  { n, "int", 4, k, 0 }
#define XMM(i)    { "xmm" #i, "vec128", 16, GR_XMM, i }
static const Reg regs[] = {
    GPR("rax", 0), GPR("rbx", 3), GPR("rcx", 1), GPR("rdx", 2), GPR("rsi", 6), GPR("rdi", 7), { "rbp", "data_ptr", 8, GR_GPR, 5 },
    { "rsp", "data_ptr", 8, GR_GPR, 4 }, GPR("r8", 8), GPR("r9", 9), GPR("r10", 10), GPR("r11", 11), GPR("r12", 12),
    GPR("r13", 13), GPR("r14", 14), GPR("r15", 15), { "rip", "code_ptr", 8, GR_RIP, 0 }, { "eflags", "i386_eflags", 4, GR_EFLAGS, 0 },
    SEG("cs", SEG_CS), SEG("ss", SEG_SS), SEG("ds", SEG_DS), SEG("es", SEG_ES), SEG("fs", SEG_FS), SEG("gs", SEG_GS),
    ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
    FP("fctrl", GR_FCTRL), FP("fstat", GR_FSTAT), FP("ftag", GR_FTAG), FP("fiseg", GR_ZERO), FP("fioff", GR_FIOFF),
    FP("foseg", GR_ZERO), FP("fooff", GR_FOOFF), FP("fop", GR_FOP),
    XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7), XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14),
    XMM(15), { "mxcsr", "i386_mxcsr", 4, GR_MXCSR, 0 },
    { "fs_base", "int", 8, GR_BASE, SEG_FS }, { "gs_base", "int", 8, GR_BASE, SEG_GS },
    { "k_gs_base", "int64", 8, GR_KGS, 0 }, { "cr0", "int64", 8, GR_CR, 0 }, { "cr2", "int64", 8, GR_CR, 2 },
    { "cr3", "int64", 8, GR_CR, 3 }, { "cr4", "int64", 8, GR_CR, 4 }, { "cr8", "int64", 8, GR_CR, 8 },
    { "efer", "int64", 8, GR_EFER, 0 },
};
/* clang-format on */
enum { NREGS = sizeof regs / sizeof *regs, FIRST_XMM = 40, FIRST_BASE = 57, FIRST_CR = 59 };

static const Feature features[] = {
    { "org.gnu.gdb.i386.core", 0 },
    { "org.gnu.gdb.i386.sse", FIRST_XMM },
    { "org.gnu.gdb.i386.segments", FIRST_BASE },
    { "org.virtue.i386.control", FIRST_CR },
};

enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160
};

unsigned gdb_nregs(void)
{
    return NREGS;
}

unsigned gdb_reg_size(unsigned n)
{
    return regs[n].size;
}

static uint64_t *control(X86State *s, unsigned n)
{
    switch (n) {
    case 0:
        return &s->cr0;
    case 2:
        return &s->cr2;
    case 3:
        return &s->cr3;
    case 4:
        return &s->cr4;
    default:
        return &s->cr8;
    }
}

/* Where a register lies in the state; NULL: it needs a conversion. */
static void *place(X86State *s, const Reg *r)
{
    switch ((RegKind)r->kind) {
    case GR_GPR:
        return &s->r[r->index];
    case GR_RIP:
        return &s->rip;
    case GR_ST:
        return s->fx + FX_ST + r->index * 16;
    case GR_XMM:
        return s->fx + FX_XMM + r->index * 16;
    case GR_MXCSR:
        return s->fx + FX_MXCSR;
    case GR_FIOFF:
        return s->fx + FX_FIP;
    case GR_FOOFF:
        return s->fx + FX_FDP;
    case GR_BASE:
        return &s->seg[r->index].base;
    case GR_KGS:
        return &s->kernel_gs_base;
    case GR_CR:
        return control(s, r->index);
    case GR_EFER:
        return &s->efer;
    case GR_EFLAGS:
    case GR_SEG:
    case GR_FCTRL:
    case GR_FSTAT:
    case GR_FTAG:
    case GR_FOP:
    case GR_ZERO:
        break;
    }
    return NULL;
}

/* The full tag word: 3 for an empty register, else 0; gdb derives the rest from the contents. */
static uint16_t tags_full(uint8_t abridged)
{
    uint16_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        tags |= (uint16_t)((abridged >> i & 1 ? 0 : 3) << i * 2);
    }
    return tags;
}

static uint16_t word_at(const X86State *s, unsigned off)
{
    uint16_t v;

    memcpy(&v, s->fx + off, 2);
    return v;
}

static uint32_t convert_get(const X86State *s, const Reg *r)
{
    switch ((RegKind)r->kind) {
    case GR_EFLAGS:
        return (uint32_t)s->rflags;
    case GR_SEG:
        return s->seg[r->index].sel;
    case GR_FCTRL:
        return word_at(s, FX_FCW);
    case GR_FSTAT:
        return word_at(s, FX_FSW);
    case GR_FTAG:
        return tags_full(s->fx[FX_FTW]);
    case GR_FOP:
        return word_at(s, FX_FOP) & 0x7ff;
    default:
        return 0;
    }
}

static void convert_set(X86State *s, const Reg *r, uint32_t v)
{
    uint16_t w = (uint16_t)v;

    switch ((RegKind)r->kind) {
    case GR_EFLAGS:
        s->rflags = (s->rflags & ~0xffffffffull) | v;
        break;
    case GR_FCTRL:
        memcpy(s->fx + FX_FCW, &w, 2);
        break;
    case GR_FSTAT:
        memcpy(s->fx + FX_FSW, &w, 2);
        break;
    case GR_FTAG:
        s->fx[FX_FTW] = 0;
        for (unsigned i = 0; i < 8; i++) {
            s->fx[FX_FTW] |= (uint8_t)(((w >> i * 2 & 3) != 3) << i);
        }
        break;
    case GR_FOP:
        memcpy(s->fx + FX_FOP, &w, 2);
        break;
    default:
        /* A selector alone does not make a segment: writing it would leave base and limit of
         * another. */
        break;
    }
}

void gdb_reg_get(const X86State *s, unsigned n, uint8_t *ret)
{
    X86State copy = *s;
    const void *p = place(&copy, &regs[n]);
    uint32_t v;

    if (p) {
        memcpy(ret, p, regs[n].size);
        return;
    }
    v = convert_get(s, &regs[n]);
    memcpy(ret, &v, 4);
}

void gdb_reg_set(X86State *s, unsigned n, const uint8_t *val)
{
    void *p = place(s, &regs[n]);
    uint32_t v;

    if (p) {
        memcpy(p, val, regs[n].size);
        if (regs[n].kind == GR_MXCSR) {
            s->fx[FX_MXCSR + 2] = s->fx[FX_MXCSR + 3] = 0;
        }
        return;
    }
    memcpy(&v, val, 4);
    convert_set(s, &regs[n], v);
}

static void xml_types(GString *x, const char *feature)
{
    static const char *const flags[] = { "CF", "", "PF", "", "AF", "", "ZF", "SF", "TF", "IF", "DF",
        "OF", "", "", "NT", "", "RF", "VM", "AC", "VIF", "VIP", "ID" };
    static const char *const mxcsr[] = { "IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM",
        "ZM", "OM", "UM", "PM", "", "", "FZ" };
    bool core = strstr(feature, "core") != NULL;
    const char *const *names = core ? flags : mxcsr;
    unsigned n = core ? G_N_ELEMENTS(flags) : G_N_ELEMENTS(mxcsr);

    if (!core) {
        g_string_append(x,
            "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" "
            "type=\"ieee_double\" count=\"2\"/>"
            "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" "
            "count=\"8\"/>"
            "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" "
            "count=\"2\"/>"
            "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" "
            "type=\"v2d\"/>"
            "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
            "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
            "<field name=\"uint128\" type=\"uint128\"/></union>");
    }
    g_string_append_printf(x, "<flags id=\"%s\" size=\"4\">", core ? "i386_eflags" : "i386_mxcsr");
    for (unsigned i = 0; i < n; i++) {
        if (names[i][0]) {
            g_string_append_printf(
                x, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", names[i], i, i);
        }
    }
    g_string_append(x, "</flags>");
}

char *gdb_target_xml(void)
{
    GString *x =
        g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
                     "<architecture>i386:x86-64</architecture>");

    for (unsigned f = 0; f < G_N_ELEMENTS(features); f++) {
        unsigned end = f + 1 < G_N_ELEMENTS(features) ? features[f + 1].first : NREGS;

        g_string_append_printf(x, "<feature name=\"%s\">", features[f].name);
        if (f < 2) {
            xml_types(x, features[f].name);
        }
        for (unsigned i = features[f].first; i < end; i++) {
            g_string_append_printf(x, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"/>",
                regs[i].name, regs[i].size * 8u, regs[i].type, i);
        }
        g_string_append(x, "</feature>");
    }
    g_string_append(x, "</target>");
    return g_string_free(x, FALSE);
}
