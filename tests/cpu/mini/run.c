/*
 * Runs one mini-kernel on the CPU engine with nothing but RAM and a few ports:
 *   0xe9 text, 0xf4 exit (0 passes), 0xf8 raise that interrupt vector, 0xf9 NMI,
 *   0xfa raise this vector when the CPU halts,
 *   0xfb raise 0x40 as soon as the engine asks for this page (32 bits: its number),
 *   0xfc INIT, and a startup IPI with this vector once the CPU waits for it,
 *   0x60 to 0x63 a register, 0x64 bytes that count up (in) or shift into 0x68 to 0x6b (out), 0x6c
 *   sets the count.
 * Usage: mini-run real16|pm32|long64 IMAGE pass|triple [LIST NAME]. With "triple" the kernel passes
 * if it shuts the CPU down. With a list it runs a second time, one instruction at a time, and must
 * execute what the list asks of mini-NAME (cover.h).
 */
#include "cover.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RAM_SIZE = 16 << 20, NPAGES = RAM_SIZE >> 12, MMIO_BASE = 0xfed00000u };

typedef struct Machine {
    uint8_t *ram;
    _Atomic uint64_t *codemask;
    SoftCpu *cpu;
    uint64_t mmio[16];
    uint64_t apic_base, tsc;
    bool irq[256];
    int on_halt; /* vector or -1 */
    int sipi;    /* vector or -1 */
    bool exited, acked;
    uint32_t status, reg, shifted;
    uint8_t tpr, count;
    uint64_t irq_page; /* gpa or 0 */
    MiniCover *cover;  /* NULL: run at full speed */
} Machine;

static uint8_t *bus_page(void *opaque, uint64_t gpa, unsigned *ret_flags,
    _Atomic uint64_t **ret_codemask, bool *ret_dirty_logged)
{
    Machine *m = opaque;

    *ret_dirty_logged = false;
    if (gpa >= RAM_SIZE) {
        *ret_flags = SOFT_PAGE_MMIO;
        *ret_codemask = NULL;
        return NULL;
    }
    if (m->irq_page && gpa >> 12 == m->irq_page >> 12) {
        m->irq_page = 0;
        m->irq[0x40] = true;
        soft_kick(m->cpu, SOFT_POLL_IRQ);
    }
    *ret_flags = SOFT_PAGE_RAM;
    *ret_codemask = &m->codemask[gpa >> 12];
    return m->ram + (gpa & ~0xfffull);
}

static void bus_dirtied(void *opaque, uint64_t gpa) {}

static uint64_t bus_mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
    Machine *m = opaque;
    uint64_t v = ~0ull;

    if (gpa >= MMIO_BASE && gpa + size <= MMIO_BASE + sizeof m->mmio) {
        memcpy(&v, (uint8_t *)m->mmio + (gpa - MMIO_BASE), size);
    }
    return size < 8 ? v & ((1ull << (8 * size)) - 1) : v;
}

static void bus_mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t val)
{
    Machine *m = opaque;

    if (gpa >= MMIO_BASE && gpa + size <= MMIO_BASE + sizeof m->mmio) {
        memcpy((uint8_t *)m->mmio + (gpa - MMIO_BASE), &val, size);
    }
}

static uint32_t bus_pio_in(void *opaque, uint16_t port, unsigned size)
{
    Machine *m = opaque;
    uint32_t v = 0;

    if (port == 0x64) {
        for (unsigned i = 0; i < size; i++) {
            v |= (uint32_t)m->count++ << 8 * i;
        }
        return v;
    }
    return port >= 0x60 && port < 0x64 ? m->reg >> 8 * (port & 3) : port == 0x68 ? m->shifted : ~0u;
}

static void bus_pio_out(void *opaque, uint16_t port, unsigned size, uint32_t val)
{
    Machine *m = opaque;
    uint32_t mask = size < 4 ? (1u << 8 * size) - 1 : ~0u, shift = 8 * (port & 3u);

    switch (port) {
    case 0x60:
    case 0x61:
    case 0x62:
    case 0x63:
        m->reg = (m->reg & ~(mask << shift)) | (val & mask) << shift;
        break;
    case 0x64:
        for (unsigned i = 0; i < size; i++) {
            m->shifted = m->shifted << 8 | (val >> 8 * i & 0xff);
        }
        break;
    case 0x6c:
        m->count = (uint8_t)val;
        break;
    case 0xe9:
        putchar((int)(val & 0xff));
        break;
    case 0xf4:
        m->exited = true;
        m->status = val;
        soft_kick(m->cpu, SOFT_POLL_EXIT);
        break;
    case 0xf8:
        m->irq[val & 0xff] = true;
        soft_kick(m->cpu, SOFT_POLL_IRQ);
        break;
    case 0xf9:
        soft_kick(m->cpu, SOFT_POLL_NMI);
        break;
    case 0xfa:
        m->on_halt = (int)(val & 0xff);
        break;
    case 0xfb:
        m->irq_page = (uint64_t)val << 12;
        break;
    case 0xfc:
        m->sipi = (int)(val & 0xff);
        m->apic_base &= ~0x100ull; /* not the boot processor: INIT waits */
        soft_kick(m->cpu, SOFT_POLL_INIT);
        break;
    default:
        break;
    }
}

static uint64_t bus_tsc(void *opaque)
{
    Machine *m = opaque;

    return m->tsc += 100;
}

static int next_irq(const Machine *m)
{
    for (int i = 255; i >= 16; i--) {
        if (m->irq[i] && i >> 4 > m->tpr) {
            return i;
        }
    }
    return -1;
}

static bool bus_irq_pending(void *opaque)
{
    return next_irq(opaque) >= 0;
}

static int bus_irq_ack(void *opaque)
{
    Machine *m = opaque;
    int vector = next_irq(m);

    if (vector >= 0) {
        m->irq[vector] = false;
    }
    m->acked = true;
    return vector;
}

static uint64_t bus_apic_base(void *opaque)
{
    return ((Machine *)opaque)->apic_base;
}

static bool bus_apic_base_set(void *opaque, uint64_t val)
{
    ((Machine *)opaque)->apic_base = val;
    return true;
}

static bool bus_x2apic_read(void *opaque, uint32_t msr, uint64_t *ret)
{
    return false;
}

static bool bus_x2apic_write(void *opaque, uint32_t msr, uint64_t val)
{
    return false;
}

static uint8_t bus_tpr_get(void *opaque)
{
    return ((Machine *)opaque)->tpr;
}

static void bus_tpr_set(void *opaque, uint8_t cr8)
{
    ((Machine *)opaque)->tpr = cr8;
}

static const SoftBus bus = {
    .page = bus_page,
    .dirtied = bus_dirtied,
    .mmio_read = bus_mmio_read,
    .mmio_write = bus_mmio_write,
    .pio_in = bus_pio_in,
    .pio_out = bus_pio_out,
    .tsc = bus_tsc,
    .irq_pending = bus_irq_pending,
    .irq_ack = bus_irq_ack,
    .apic_base = bus_apic_base,
    .apic_base_set = bus_apic_base_set,
    .x2apic_read = bus_x2apic_read,
    .x2apic_write = bus_x2apic_write,
    .tpr_get = bus_tpr_get,
    .tpr_set = bus_tpr_set,
};

/* qemu64 with what the tests look at: SMEP, SMAP, UMIP, 1 GiB pages. */
static const X86CpuModel model = {
    .vendor = "AuthenticAMD",
    .family = 15,
    .model = 107,
    .stepping = 1,
    .level = 13,
    .xlevel = 0x8000000a,
    .f1_edx = 0x078bfbfd,
    .f1_ecx = 0x80002001,
    .f7_ebx = 1 << 7 | 1 << 20,
    .f7_ecx = 1 << 2,
    .f80000001_edx = 0x2d93fbfd,
    .f80000001_ecx = 1,
    .cores_per_die = 1,
    .threads_per_core = 1,
    .dies = 1,
    .sockets = 1,
    .hypervisor = true,
    .phys_bits = 40,
};

static void set_seg(X86Seg *s, uint16_t sel, uint32_t base, uint32_t limit, uint16_t attr)
{
    *s = (X86Seg){ .sel = sel, .base = base, .limit = limit, .attr = attr };
}

static void put64(Machine *m, uint32_t gpa, uint64_t v)
{
    memcpy(m->ram + gpa, &v, sizeof v);
}

/* The first 4 GiB one to one by 2 MiB pages. PML4 at 10000h, PDPT at 11000h, PDs at 12000h. */
static void build_tables(Machine *m)
{
    put64(m, 0x10000, 0x11007);
    for (uint32_t i = 0; i < 4; i++) {
        put64(m, 0x11000 + 8 * i, (0x12000 + 0x1000 * i) | 7);
        for (uint32_t j = 0; j < 512; j++) {
            put64(m, 0x12000 + 0x1000 * i + 8 * j, ((uint64_t)i << 30 | (uint64_t)j << 21) | 0x87);
        }
    }
}

static void enter(Machine *m, const char *mode)
{
    X86State s;

    soft_get_state(m->cpu, &s);
    s.r[4] = 0x90000;
    if (!strcmp(mode, "real16")) {
        set_seg(&s.seg[SEG_CS], 0, 0, 0xffff, 0x9b);
        s.rip = 0x8000;
        s.r[4] = 0x7000;
    } else {
        bool wide = !strcmp(mode, "long64");
        set_seg(&s.seg[SEG_CS], 8, 0, 0xffffffff, wide ? 0xa09b : 0xc09b);
        for (int i = 0; i < X86_NSEGS; i++) {
            if (i != SEG_CS) {
                set_seg(&s.seg[i], 0x10, 0, 0xffffffff, 0xc093);
            }
        }
        s.cr0 = wide ? 0x80000011 : 0x11;
        s.rip = 0x100000;
        if (wide) {
            build_tables(m);
            s.cr3 = 0x10000;
            s.cr4 = 0x20;
            s.efer = 0x500;
        }
    }
    soft_set_state(m->cpu, &s);
}

static void load(Machine *m, const char *path, uint32_t at)
{
    g_autofree char *data = NULL;
    g_autoptr(GError) err = NULL;
    size_t len;

    if (!g_file_get_contents(path, &data, &len, &err)) {
        g_error("%s", err->message);
    }
    g_assert_cmpuint(at + len, <, RAM_SIZE);
    memcpy(m->ram + at, data, len);
}

/* One instruction, noted if nothing else happened meanwhile. */
static SoftExit run_step(Machine *m)
{
    bool asked = atomic_load(&m->cpu->poll) & ~(uint32_t)SOFT_POLL_IRQ;

    m->acked = false;
    cover_before(m->cover, m->cpu);
    SoftExit why = soft_run(m->cpu);
    cover_after(m->cover, m->cpu, asked || m->acked);
    return why == SOFT_EXIT_DEBUG ? SOFT_EXIT_KICK : why;
}

static int run(Machine *m, bool want_triple)
{
    for (;;) {
        SoftExit why = m->cover ? run_step(m) : soft_run(m->cpu);
        if (m->exited) {
            printf("exit %u\n", m->status);
            return want_triple || m->status != 0;
        }
        switch (why) {
        case SOFT_EXIT_KICK:
            break;
        case SOFT_EXIT_HALT:
            if (m->sipi >= 0) {
                m->cpu->sipi_vector = (uint8_t)m->sipi;
                m->sipi = -1;
                soft_kick(m->cpu, SOFT_POLL_SIPI);
                break;
            }
            if (m->on_halt < 0) {
                printf("halted for good at %#" G_GINT64_MODIFIER "x\n", m->cpu->ip);
                return 1;
            }
            m->irq[m->on_halt] = true;
            m->on_halt = -1;
            soft_kick(m->cpu, SOFT_POLL_IRQ);
            break;
        case SOFT_EXIT_TRIPLE:
            printf("triple fault at %#" G_GINT64_MODIFIER "x\n", m->cpu->ip_cur);
            return !want_triple;
        case SOFT_EXIT_DEBUG:
        case SOFT_EXIT_INTERNAL:
            printf("unexpected exit %d\n", (int)why);
            return 1;
        }
    }
}

/* jit_after: how soon blocks become host code. */
static int run_kernel(char **argv, MiniCover *cover, uint8_t jit_after)
{
    Machine m = { .on_halt = -1, .sipi = -1, .apic_base = 0xfee00900, .cover = cover };

    m.ram = aligned_alloc(4096, RAM_SIZE);
    memset(m.ram, 0, RAM_SIZE);
    m.codemask = calloc(NPAGES, sizeof *m.codemask);
    m.cpu = soft_new(&bus, &m, &model, 0, 0);
    m.cpu->step = cover != NULL;
    m.cpu->jit_after = jit_after;
    load(&m, argv[2], strcmp(argv[1], "real16") ? 0x100000 : 0x8000);
    enter(&m, argv[1]);
    int status = run(&m, !strcmp(argv[3], "triple"));
    soft_free(m.cpu);
    free(m.codemask);
    free(m.ram);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 6) {
        fprintf(stderr, "usage: mini-run real16|pm32|long64 IMAGE pass|triple [LIST NAME]\n");
        return 2;
    }
    int status = run_kernel(argv, NULL, SOFT_NO_JIT);
    if (!status) {
        status = run_kernel(argv, NULL, /* jit_after= */ 0);
    }
    if (!status && argc == 6) {
        MiniCover *cover = cover_new();
        status = run_kernel(argv, cover, SOFT_NO_JIT);
        if (!status && !cover_check(cover, argv[4], argv[5])) {
            status = 1;
        }
        cover_free(cover);
    }
    return status;
}
