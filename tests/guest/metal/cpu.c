/* Interrupt table, local APIC, ring 3, time stamps. SDM vol. 3, 6, 7.7, 11 and 18.17. */
#include "tests/guest/metal/metal.h"

enum { LAPIC = 0xfee00000u, KERNEL_CODE = 8, TASK = 0x28, INVALID_OPCODE = 6 };

typedef struct Frame {
    uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax, vector, error, rip, cs, rflags, rsp, ss;
} Frame;
typedef struct __attribute__((packed)) Tss {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, iomap;
} Tss;

extern uint64_t metal_gdt[];
extern char metal_stubs[], metal_trap_stack_end[];
void metal_user(void (*fn)(void *), void *arg, void *stack);
void metal_trap(Frame *f);

static uint64_t idt[512];
static Tss tss;
static uint8_t user_stack[16384] __attribute__((aligned(16)));
volatile uint32_t irq_count[IRQ_MAX];
volatile bool irq_once;
bool (*irq_ack)(void);

static volatile uint32_t *lapic(unsigned reg)
{
    return (volatile uint32_t *)(uintptr_t)(LAPIC + reg);
}

bool cpu_in_user(void)
{
    uint64_t cs;

    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    return cs & 3;
}

/* Software KVM gives a guest that it does not know neither INT n nor SYSCALL; an invalid opcode
 * reaches ring 0 everywhere. */
void cpu_call0(CpuFn0 *fn, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    if (!cpu_in_user()) {
        fn(a, b, c, d);
        return;
    }
    __asm__ volatile("ud2" ::"a"(fn), "D"(a), "S"(b), "d"(c), "c"(d) : "memory");
}

static void wait_in_kernel(uint64_t irq, uint64_t seen, uint64_t unused1, uint64_t unused2)
{
    (void)unused1;
    (void)unused2;
    __asm__ volatile("cli" ::: "memory");
    while (irq_count[irq] == (uint32_t)seen) {
        __asm__ volatile("sti\n hlt\n cli" ::: "memory");
    }
}

void cpu_wait_irq(unsigned irq, uint32_t seen)
{
    cpu_call0(wait_in_kernel, irq, seen, 0, 0);
    if (!cpu_in_user()) {
        __asm__ volatile("sti" ::: "memory");
    }
}

void metal_trap(Frame *f)
{
    if (f->vector >= IRQ_BASE && f->vector < IRQ_BASE + IRQ_MAX) {
        if (!irq_ack || irq_ack()) {
            irq_count[f->vector - IRQ_BASE]++;
        }
        *lapic(0xb0) = 0;
        f->rflags &= irq_once ? ~UINT64_C(0x200) : ~UINT64_C(0);
        return;
    }
    if (f->vector == INVALID_OPCODE && f->cs & 3 &&
        *(const uint16_t *)(uintptr_t)f->rip == 0x0b0f) {
        f->rip += 2;
        ((CpuFn0 *)(uintptr_t)f->rax)(f->rdi, f->rsi, f->rdx, f->rcx);
        return;
    }
    if (f->vector == 0xff) {
        return; /* spurious */
    }
    put("trap");
    put_pair("vector", f->vector);
    put_pair("error", f->error);
    put(" rip=");
    put_hex(f->rip);
    uint64_t cr2;

    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    metal_die(" unexpected trap, cr2", cr2);
}

static void set_gate(unsigned n, const void *fn)
{
    uint64_t at = (uint64_t)(uintptr_t)fn;

    idt[2 * n] =
        (at & 0xffff) | KERNEL_CODE << 16 | UINT64_C(0x8e) << 40 | (at >> 16 & 0xffff) << 48;
    idt[2 * n + 1] = at >> 32;
}

void cpu_init(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr = { sizeof(idt) - 1, (uint64_t)(uintptr_t)idt };
    uint64_t base = (uint64_t)(uintptr_t)&tss;

    for (unsigned n = 0; n < 256; n++) {
        set_gate(n, metal_stubs + 16u * n);
    }
    tss.rsp[0] = (uint64_t)(uintptr_t)metal_trap_stack_end;
    tss.iomap = sizeof(tss);
    metal_gdt[5] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
                   (base >> 24 & 0xff) << 56;
    metal_gdt[6] = base >> 32;
    __asm__ volatile("lidt %0\n ltr %w1" ::"m"(idtr), "r"(TASK) : "memory");
    out8(0x21, 0xff); /* the 8259s stay silent */
    out8(0xa1, 0xff);
    *lapic(0xf0) = 0x1ff;
    *lapic(0x80) = 0;
}

void cpu_run(void (*fn)(void *), void *arg)
{
    if (opt.ring3) {
        metal_user(fn, arg, user_stack + sizeof(user_stack) - 16);
    } else {
        __asm__ volatile("sti" ::: "memory");
        fn(arg);
        __asm__ volatile("cli" ::: "memory");
    }
}

uint64_t tsc(void)
{
    uint32_t a, d;

    __asm__ volatile("lfence\n rdtsc" : "=a"(a), "=d"(d)::"memory");
    return a | (uint64_t)d << 32;
}

/* What channel 2 of the interval timer, gated by port 0x61, counts as so many of its ticks: never
 * less than it took. 0: it does not count. */
static uint64_t time_pit(unsigned ticks)
{
    uint64_t at;

    out8(0x61, (uint8_t)((in8(0x61) & ~2u) | 1));
    out8(0x43, 0xb0);
    out8(0x42, (uint8_t)ticks);
    at = tsc();
    out8(0x42, (uint8_t)(ticks >> 8));
    while (!(in8(0x61) & 0x20)) {
        if (tsc() - at > UINT64_C(4000000000)) {
            return 0;
        }
    }
    return tsc() - at;
}

/* 20 ms, until the two tries that the host disturbed least agree. */
static uint64_t calibrate_pit(void)
{
    enum { TICKS = 23864, TRIES = 50 };
    uint64_t best = UINT64_MAX, second = UINT64_MAX;

    for (unsigned i = 0; i < TRIES && (second == UINT64_MAX || second - best > best / 32); i++) {
        uint64_t took = time_pit(TICKS);

        if (!took) {
            return 0;
        }
        if (took < second) {
            second = took < best ? best : took;
            best = took < best ? took : best;
        }
    }
    return best * 1193182 / TICKS / 1000;
}

void cpu_calibrate(void)
{
    if (!opt.tsc_khz) {
        opt.tsc_khz = calibrate_pit();
    }
    opt.tsc_khz = opt.tsc_khz ? opt.tsc_khz : 1000000;
}

uint64_t tsc_to_ns(uint64_t ticks)
{
    return ticks / opt.tsc_khz * 1000000 + ticks % opt.tsc_khz * 1000000 / opt.tsc_khz;
}
