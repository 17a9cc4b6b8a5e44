/*
 * Runs a case in the engine: a vCPU in long mode at CPL 3 with its page tables, GDT, LDT, IDT and
 * TSS in a small fake RAM. Every IDT gate leads to a HLT of its own, so that the final RIP tells
 * the vector and the stack holds the frame.
 */
#include "accel/soft/flags.h"
#include "accel/soft/soft.h"
#include "fuzz.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    RAM_SIZE = 0x20000,
    PML4 = 0x1000,
    PDPT_LO = 0x2000,
    PD_LO = 0x3000,
    PT_LO = 0x4000,
    PDPT_HI = 0x5000,
    PD_HI = 0x6000,
    PT_HI = 0x7000,
    GDT = 0x8000,
    IDT = 0x9000,
    TSS = 0xa000,
    LDT = 0xb000,
    GATES = 0xc000,
    KSTACK = 0xd000,
    AREA_GPA = 0x10000,
};
#define KERNEL 0xffffffff80000000ull

struct Engine {
    SoftCpu *c;
    uint8_t *ram;
    _Atomic uint64_t codemask[RAM_SIZE / 4096];
    SoftBus bus;
    X86CpuModel model;
    EngineIo io;
};

static uint8_t *bus_page(void *opaque, uint64_t gpa, unsigned *ret_flags,
    _Atomic uint64_t **ret_codemask, bool *ret_logged)
{
    Engine *e = opaque;

    *ret_logged = false;
    if (gpa >= RAM_SIZE) {
        *ret_flags = SOFT_PAGE_MMIO;
        *ret_codemask = NULL;
        return NULL;
    }
    *ret_flags = SOFT_PAGE_RAM;
    *ret_codemask = &e->codemask[gpa >> 12];
    return e->ram + (gpa & ~0xfffull);
}

static uint64_t bus_read(void *opaque, uint64_t gpa, unsigned size)
{
    return ~0ull;
}

static void bus_write(void *opaque, uint64_t gpa, unsigned size, uint64_t val) {}

static void count_io(Engine *e, uint16_t port)
{
    e->io.last_port = port;
    if (e->io.kick_at && e->io.ins + e->io.outs == e->io.kick_at) {
        soft_kick(e->c, SOFT_POLL_EXIT);
    }
}

static uint32_t bus_in(void *opaque, uint16_t port, unsigned size)
{
    Engine *e = opaque;

    e->io.ins++;
    count_io(e, port);
    return 0x12345678;
}

static void bus_out(void *opaque, uint16_t port, unsigned size, uint32_t val)
{
    Engine *e = opaque;

    e->io.outs++;
    e->io.last_out = val;
    count_io(e, port);
}

static uint64_t bus_tsc(void *opaque)
{
    return 0;
}

static bool bus_no_irq(void *opaque)
{
    return false;
}

static int bus_no_ack(void *opaque)
{
    return -1;
}

static void bus_dirtied(void *opaque, uint64_t gpa) {}

static uint64_t bus_apic_base(void *opaque)
{
    return 0xfee00900;
}

static uint8_t bus_tpr(void *opaque)
{
    return 0;
}

static void bus_code_written(void *opaque, SoftCpu *by, uint64_t gpa, uint64_t granules) {}

static void st64(Engine *e, uint64_t gpa, uint64_t v)
{
    memcpy(e->ram + gpa, &v, 8);
}

static uint64_t ld64(Engine *e, uint64_t gpa)
{
    uint64_t v;

    memcpy(&v, e->ram + gpa, 8);
    return v;
}

static void build_tables(Engine *e)
{
    st64(e, PML4, PDPT_LO | 7);
    st64(e, PML4 + 511 * 8, PDPT_HI | 3);
    st64(e, PDPT_LO, PD_LO | 7);
    st64(e, PDPT_HI + 510 * 8, PD_HI | 3);
    st64(e, PD_LO + (FUZZ_AREA >> 21) * 8, PT_LO | 7);
    st64(e, PD_HI, PT_HI | 3);
    for (unsigned i = 0; i < FUZZ_PAGES; i++) {
        unsigned kind = fuzz_page_kind(i);
        if (kind != PAGE_HOLE) {
            st64(e, PT_LO + i * 8,
                (AREA_GPA + i * 4096u) | 0x65 | (kind == PAGE_RO || kind == PAGE_CODE ? 0 : 2) |
                    (kind == PAGE_CODE ? 0 : 1ull << 63));
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        st64(e, PT_HI + i * 8, i * 4096u | 0x63);
    }
}

static void build_descriptors(Engine *e)
{
    static const uint64_t gdt[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff,
        0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff };
    uint64_t base = FUZZ_AREA, lo = 0xffff | (base & 0xffffff) << 16 | (base >> 24) << 56;

    memcpy(e->ram + GDT, gdt, sizeof gdt);
    st64(e, LDT, lo | 0x0000fb0000000000);
    static const uint8_t type[] = { 0xf3, 0x73, 0xf1, 0xf9, 0xf7 }; /* as set_ldt() makes them */
    for (unsigned i = 0; i < sizeof type; i++) {
        st64(e, LDT + 8 + i * 8, lo | (uint64_t)type[i] << 40);
    }
    for (unsigned v = 0; v < 256; v++) {
        uint64_t h = KERNEL + GATES + v;
        uint64_t dpl = v == 3 || v == 4 ? 3 : 0;
        st64(e, IDT + v * 16,
            (h & 0xffff) | 0x10 << 16 | (0x8e00 | dpl << 13) << 32 | (h >> 16 & 0xffff) << 48);
        st64(e, IDT + v * 16 + 8, h >> 32);
    }
    memset(e->ram + GATES, 0xf4, 256);
    st64(e, TSS + 4, KERNEL + KSTACK + 4096);
    e->ram[TSS + 0x66] = 0x68; /* I/O map base: behind the limit */
}

Engine *engine_new(void)
{
    Engine *e = calloc(1, sizeof *e);
    SoftCpu *c;

    e->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    e->bus = (SoftBus){ .page = bus_page,
        .dirtied = bus_dirtied,
        .mmio_read = bus_read,
        .mmio_write = bus_write,
        .pio_in = bus_in,
        .pio_out = bus_out,
        .tsc = bus_tsc,
        .irq_pending = bus_no_irq,
        .irq_ack = bus_no_ack,
        .apic_base = bus_apic_base,
        .tpr_get = bus_tpr,
        .code_written = bus_code_written };
    strcpy(e->model.vendor, "GenuineIntel");
    e->model.level = 7;
    e->model.f1_edx = 0x078bfbff;
    e->model.f1_ecx = 0x00982201; /* SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT */
    e->model.f80000001_edx = 0x2c100800;
    e->model.f80000001_ecx = 1;
    e->model.phys_bits = 40;
    build_tables(e);
    build_descriptors(e);
    memset(e->ram + AREA_GPA + 0x8000, 0xcc, 0x2000);
    c = soft_new(&e->bus, e, &e->model, 0, 0);
    soft_reset(c, true);
    e->c = c;
    c->efer = 0xd01;
    c->cr4 = 0x6f0 & ~0x40u;
    c->cr3 = PML4;
    c->cr0 = 0x80050033;
    c->gdtr.base = KERNEL + GDT;
    c->gdtr.limit = 0x7f;
    c->idtr.base = KERNEL + IDT;
    c->idtr.limit = 0xfff;
    c->tr = (SoftSeg){ .base = KERNEL + TSS, .limit = 0x67, .sel = 0x40, .attr = 0x8b };
    c->ldtr = (SoftSeg){ .base = KERNEL + LDT, .limit = 0x2f, .sel = 0x50, .attr = 0x82 };
    return e;
}

void engine_free(Engine *e)
{
    soft_free(e->c);
    munmap(e->ram, RAM_SIZE);
    free(e);
}

uint8_t *engine_area(Engine *e)
{
    return e->ram + AREA_GPA;
}

uint8_t *engine_tss(Engine *e)
{
    return e->ram + TSS;
}

SoftCpu *engine_cpu(Engine *e)
{
    return e->c;
}

EngineIo *engine_io(Engine *e)
{
    return &e->io;
}

static void set_segs(SoftCpu *c, FuzzMode mode)
{
    const SoftSeg flat = { .limit = ~0u, .sel = 0x2b, .attr = 0xc0f3 }, null = { 0 };
    const SoftSeg data16 = { .base = FUZZ_AREA, .limit = 0xffff, .sel = 0x0f, .attr = 0x00f3 };
    SoftSeg gs = data16;

    c->seg[SEG_DS] = c->seg[SEG_ES] = c->seg[SEG_SS] = mode == FUZZ_16 ? data16 : flat;
    c->seg[SEG_CS] = (SoftSeg){ .limit = ~0u, .sel = 0x33, .attr = 0xa0fb };
    if (mode == FUZZ_32) {
        c->seg[SEG_CS] = (SoftSeg){ .limit = ~0u, .sel = 0x23, .attr = 0xc0fb };
    } else if (mode == FUZZ_16) {
        c->seg[SEG_CS] =
            (SoftSeg){ .base = FUZZ_AREA, .limit = 0xffff, .sel = 0x07, .attr = 0x00fb };
    }
    c->seg[SEG_FS] = null;
    if (mode == FUZZ_64) {
        gs = null;
        gs.base = FUZZ_AREA;
    }
    c->seg[SEG_GS] = gs;
}

bool engine_run(Engine *e, const FuzzCase *fc, FuzzResult *ret)
{
    SoftCpu *c = e->c;
    SoftExit exit = SOFT_EXIT_KICK;
    uint64_t frame;

    memcpy(c->r, fc->in.r, sizeof fc->in.r);
    c->r[R_ZERO] = 0;
    memcpy(c->fx, fc->in.fx, 416);
    c->ip = fc->in.rip;
    c->cpl = 3;
    c->cr2 = 0;
    set_segs(c, fc->mode);
    c->fl = (SoftFlags){ .op = FLAGS_OP_NONE, .val = (uint32_t)fc->in.rflags & FL_ARITH };
    c->sysflags = (uint32_t)(fc->in.rflags & ~(uint64_t)FL_ARITH) | 2;
    c->halted = c->irq_shadow = c->nmi_blocked = c->shutdown = false;
    c->db_pending = 0;
    /* Half of the cases as generated code, by something that comes back with the case. */
    c->jit_after = __builtin_parityll(fc->in.r[R_AX]) ? 0 : SOFT_NO_JIT;
    soft_mode_update(c);
    soft_blocks_invalidate(c, AREA_GPA + 0x8000, ~0ull);
    soft_blocks_invalidate(c, AREA_GPA + 0x9000, ~0ull);
    for (unsigned i = 0; i < 16 && exit == SOFT_EXIT_KICK; i++) {
        exit = soft_run(c);
    }
    ret->vector = 1000u + exit;
    if (exit != SOFT_EXIT_HALT || c->cpl != 0 || c->ip - (KERNEL + GATES + 1) >= 256) {
        return false;
    }
    ret->vector = (unsigned)(c->ip - (KERNEL + GATES + 1));
    frame = c->r[R_SP] - KERNEL;
    ret->error = 0;
    if (frame == KSTACK + 4096 - 48) {
        ret->error = (uint32_t)ld64(e, frame);
        frame += 8;
    } else if (frame != KSTACK + 4096 - 40) {
        return false;
    }
    memcpy(ret->s.r, c->r, sizeof ret->s.r);
    memcpy(ret->s.fx, c->fx, 416);
    ret->s.rip = ld64(e, frame);
    ret->s.rflags = ld64(e, frame + 16);
    ret->s.r[R_SP] = ld64(e, frame + 24);
    ret->cr2 = c->cr2;
    static const uint8_t seg[6] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < 6; i++) {
        ret->sel[i] = c->seg[seg[i]].sel;
    }
    ret->sel[1] = (uint16_t)ld64(e, frame + 8);
    ret->sel[2] = (uint16_t)ld64(e, frame + 32);
    return true;
}
