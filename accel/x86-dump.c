/* One vCPU's state in the layout people know: info registers, and what is printed when KVM gives
 * up.
 */
#include "accel/x86-state.h"

#include <inttypes.h>
#include <string.h>

static const char *const seg_names[X86_NSEGS] = { "ES", "CS", "SS", "DS", "FS", "GS" };

/* SDM vol. 3, 3.4.5.1 and 3.5: what the type bits mean. attr's bits 0-3 type, 4 S, 5-6 DPL, 7 P, 13
 * L, 14 D/B. */
static void put_kind(GString *out, const X86Seg *s, bool long_mode)
{
    static const char *const system_types[2][16] = {
        { "Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16",
            "TrapGate16", "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32",
            "Reserved", "IntGate32", "TrapGate32" },
        { "<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
            "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved",
            "IntGate64", "TrapGate64" },
    };
    unsigned type = s->attr & 15;

    g_string_append_printf(out, " DPL=%d ", s->attr >> 5 & 3);
    if (!(s->attr & 0x10)) {
        g_string_append(out, system_types[long_mode][type]);
    } else if (type & 8) {
        g_string_append(out, s->attr & 0x2000 ? "CS64" : s->attr & 0x4000 ? "CS32" : "CS16");
        g_string_append_printf(out, " [%c%c", type & 4 ? 'C' : '-', type & 2 ? 'R' : '-');
        g_string_append_printf(out, "%c]", type & 1 ? 'A' : '-');
    } else {
        g_string_append(out, s->attr & 0x4000 || long_mode ? "DS  " : "DS16");
        g_string_append_printf(out, " [%c%c", type & 4 ? 'E' : '-', type & 2 ? 'W' : '-');
        g_string_append_printf(out, "%c]", type & 1 ? 'A' : '-');
    }
}

static void put_seg(GString *out, const char *name, const X86Seg *s, const X86State *st, bool wide)
{
    g_string_append_printf(out, "%-3s=%04x %0*" PRIx64 " %08x %08x", name, s->sel, wide ? 16 : 8,
        s->base, s->limit, (uint32_t)s->attr << 8 | (s->limit & 0xf0000));
    if (st->cr0 & 1 && s->attr & 0x80) {
        put_kind(out, s, (st->efer & 0x400) != 0);
    }
    g_string_append_c(out, '\n');
}

static void put_general(GString *out, const X86State *s, bool wide)
{
    static const char *const names[] = { "AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP" };
    static const uint8_t order[] = { 0, 3, 1, 2, 6, 7, 5, 4 };

    for (unsigned i = 0; i < 8; i++) {
        g_string_append_printf(out, "%c%s=%0*" PRIx64 "%c", wide ? 'R' : 'E', names[i],
            wide ? 16 : 8, wide ? s->r[order[i]] : s->r[order[i]] & UINT32_MAX,
            i % 4 == 3 ? '\n' : ' ');
    }
    for (unsigned i = 8; wide && i < 16; i++) {
        g_string_append_printf(out, "R%-2u=%016" PRIx64 "%c", i, s->r[i], i % 4 == 3 ? '\n' : ' ');
    }
}

static void put_control(GString *out, const X86State *s, bool wide)
{
    int w = wide ? 16 : 8;

    g_string_append_printf(out, "GDT=     %0*" PRIx64 " %08x\n", w, s->gdt.base, s->gdt.limit);
    g_string_append_printf(out, "IDT=     %0*" PRIx64 " %08x\n", w, s->idt.base, s->idt.limit);
    g_string_append_printf(out, "CR0=%08x CR2=%0*" PRIx64 " CR3=%0*" PRIx64 " CR4=%08x\n",
        (uint32_t)s->cr0, w, s->cr2, w, s->cr3, (uint32_t)s->cr4);
    for (unsigned i = 0; i < 4; i++) {
        g_string_append_printf(out, "DR%u=%016" PRIx64 " ", i, s->dr[i]);
    }
    g_string_append_printf(out, "\nDR6=%016" PRIx64 " DR7=%016" PRIx64 "\n", s->dr[6], s->dr[7]);
    g_string_append_printf(out, "EFER=%016" PRIx64 "\n", s->efer);
}

static uint64_t le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = n; i-- > 0;) {
        v = v << 8 | p[i];
    }
    return v;
}

/* The FXSAVE image: SDM vol. 1, table 10-2. */
static void put_fpu(GString *out, const uint8_t *fx, unsigned nxmm)
{
    unsigned fsw = (unsigned)le(fx + 2, 2);

    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n",
        (unsigned)le(fx, 2), fsw, fsw >> 11 & 7, fx[4], (unsigned)le(fx + 24, 4));
    for (unsigned i = 0; i < 8; i++) {
        g_string_append_printf(out, "FPR%u=%016" PRIx64 " %04x%c", i, le(fx + 32 + 16 * i, 8),
            (unsigned)le(fx + 40 + 16 * i, 2), i & 1 ? '\n' : ' ');
    }
    for (unsigned i = 0; i < nxmm; i++) {
        g_string_append_printf(out, "XMM%02u=%016" PRIx64 " %016" PRIx64 "%c", i,
            le(fx + 168 + 16 * i, 8), le(fx + 160 + 16 * i, 8), i & 1 ? '\n' : ' ');
    }
}

void x86_state_describe(const X86State *s, GString *out)
{
    static const char flags[] = "DOSZAPC";
    static const uint8_t bits[] = { 10, 11, 7, 6, 4, 2, 0 };
    bool wide = s->efer & 0x400 && s->seg[SEG_CS].attr & 0x2000; /* 64-bit code runs */
    char shown[] = "-------";

    for (unsigned i = 0; i < 7; i++) {
        if (s->rflags >> bits[i] & 1) {
            shown[i] = flags[i];
        }
    }
    put_general(out, s, wide);
    g_string_append_printf(out, "%s=%0*" PRIx64 " %s=%08x [%s] CPL=%d II=%d SMM=0 HLT=%d\n",
        wide ? "RIP" : "EIP", wide ? 16 : 8, s->rip, wide ? "RFL" : "EFL", (uint32_t)s->rflags,
        shown, s->seg[SEG_SS].attr >> 5 & 3, s->irq_shadow, s->halted);
    for (unsigned i = 0; i < X86_NSEGS; i++) {
        put_seg(out, seg_names[i], &s->seg[i], s, wide);
    }
    put_seg(out, "LDT", &s->ldt, s, wide);
    put_seg(out, "TR", &s->tr, s, wide);
    put_control(out, s, wide);
    put_fpu(out, s->fx, wide ? 16 : 8);
}
