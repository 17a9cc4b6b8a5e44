/*
 * Frame of a 64-bit mini-kernel: GDT, IDT with 256 stubs, TSS, try_call() and try_user() which come
 * back when a trap hits, and a private 512 GiB region at MAP_BASE to map pages into. Define void
 * test(void).
 */
#pragma once

#include "mini.h"

enum { KCS = 0x08, KDS = 0x10, KCS32 = 0x18, UCS32 = 0x23, UDS = 0x2b, UCS = 0x33, TSS_SEL = 0x38 };
enum { PT_P = 1, PT_W = 2, PT_U = 4, PT_A = 0x20, PT_D = 0x40, PT_PS = 0x80, PT_G = 0x100 };
#define PT_NX      (1ull << 63)
#define MAP_BASE   0x8000000000ull
#define USER_STACK 0x300000ull

typedef struct Frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error, rip, cs, rflags, rsp, ss;
} Frame;

typedef struct __attribute__((packed)) Tss {
    u32 reserved0;
    u64 rsp[3], reserved1, ist[7], reserved2;
    u16 reserved3, iomap;
} Tss;

u64 gdt[16] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff, 0x00cffb000000ffff,
    0x00cff3000000ffff, 0x00affb000000ffff };
u64 idt[512];
Tss tss;
u8 kernel_stack[8192] __attribute__((aligned(16))), trap_stack[8192] __attribute__((aligned(16))),
    ist_stack[4096] __attribute__((aligned(16)));
/* Where a trap returns to; 0: traps are unexpected. */
u64 resume_ip, resume_sp;
/* A test's own handler: true means handled, go on with the frame. */
bool (*volatile on_trap)(Frame *f);

extern char stubs[];
u64 try_call(void (*fn)(u64), u64 arg);
u64 try_user(u64 rip, u64 rsp, u64 rflags, u64 arg);
void test(void);

__asm__(".section .start,\"ax\"\n"
        ".globl _start\n"
        "_start: leaq kernel_stack+8192(%rip), %rsp\n"
        "  call start64\n"
        "  ud2\n"
        ".text\n"
        ".balign 16\n"
        "stubs:\n"
        ".set i, 0\n"
        ".rept 256\n"
        "  .balign 16\n"
        "  .if i == 8 || (i >= 10 && i <= 14) || i == 17\n"
        "  .else\n"
        "  pushq $0\n"
        "  .endif\n"
        "  pushq $i\n"
        "  jmp trap_common\n"
        "  .set i, i + 1\n"
        ".endr\n"
        "trap_common:\n"
        "  push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi\n"
        "  push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15\n"
        "  movq %rsp, %rdi\n"
        "  cld\n"
        "  call on_any_trap\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8\n"
        "  pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax\n"
        "  addq $16, %rsp\n"
        "  iretq\n"
        "try_call:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "  movq %rsp, resume_sp(%rip)\n"
        "  leaq 1f(%rip), %rax\n"
        "  movq %rax, resume_ip(%rip)\n"
        "  movl $-1, trap(%rip)\n"
        "  movq %rdi, %rax\n"
        "  movq %rsi, %rdi\n"
        "  call *%rax\n"
        "1: movq $0, resume_ip(%rip)\n"
        "  movq resume_sp(%rip), %rsp\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  movslq trap(%rip), %rax\n"
        "  ret\n"
        "try_user:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "  movq %rsp, resume_sp(%rip)\n"
        "  leaq 1b(%rip), %rax\n"
        "  movq %rax, resume_ip(%rip)\n"
        "  movl $-1, trap(%rip)\n"
        "  pushq $0x2b; pushq %rsi; pushq %rdx; pushq $0x33; pushq %rdi\n"
        "  movq %rcx, %rdi\n"
        "  iretq\n");

void on_any_trap(Frame *f)
{
    u64 cr2;

    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    trap.vector = (int)f->vector;
    trap.error = f->error;
    trap.cr2 = cr2;
    trap.ip = f->rip;
    trap.cs = f->cs;
    trap.flags = f->rflags;
    trap.sp = f->rsp;
    trap.ss = f->ss;
    trap.count++;
    if (on_trap && on_trap(f)) {
        return;
    }
    if (!resume_ip) {
        put("unexpected trap ");
        put_hex(f->vector);
        put(" error ");
        put_hex(f->error);
        put(" at ");
        put_hex(f->rip);
        put(" cr2 ");
        put_hex(cr2);
        put("\n");
        quit(1);
    }
    f->rip = resume_ip;
    f->rsp = resume_sp;
    f->cs = KCS;
    f->ss = KDS;
    f->rflags = 2;
}

static void set_gate(unsigned n, u64 addr, u8 type_dpl, u8 ist)
{
    idt[2 * n] = (addr & 0xffff) | (u64)KCS << 16 | (u64)ist << 32 | (u64)(0x80 | type_dpl) << 40 |
                 (addr >> 16 & 0xffff) << 48;
    idt[2 * n + 1] = addr >> 32;
}

struct __attribute__((packed)) TableReg {
    u16 limit;
    u64 base;
};

void start64(void)
{
    u64 base = (u64)&tss;

    tss.rsp[0] = (u64)(trap_stack + sizeof trap_stack);
    tss.ist[0] = (u64)(ist_stack + sizeof ist_stack);
    tss.iomap = sizeof tss;
    gdt[7] = (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[8] = base >> 32;
    struct TableReg g = { sizeof gdt - 1, (u64)gdt }, i = { sizeof idt - 1, (u64)idt };
    for (unsigned n = 0; n < 256; n++) {
        set_gate(n, (u64)stubs + 16 * n, 0x0e | (n == 3 || n == 0x80 ? 0x60 : 0), 0);
    }
    __asm__ volatile("lgdt %0\n lidt %1\n mov %w2, %%ds\n mov %w2, %%es\n mov %w2, %%ss\n ltr %w3\n"
                     "pushq %4\n leaq 1f(%%rip), %%rax\n push %%rax\n lretq\n 1:"
                     :
                     : "m"(g), "m"(i), "r"(KDS), "r"(TSS_SEL), "i"(KCS)
                     : "rax", "memory");
    /* SYSCALL, NX, WP */
    __asm__ volatile("rdmsr\n or $0x801, %%eax\n wrmsr" ::"c"(0xc0000080) : "rax", "rdx");
    u64 cr0;
    __asm__ volatile("mov %%cr0, %0\n or $0x10000, %0\n mov %0, %%cr0" : "=&r"(cr0));
    test();
    put("passed\n");
    quit(0);
}

static inline u64 rdmsr(u32 n)
{
    u32 a, d;
    __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n));
    return a | (u64)d << 32;
}

static inline void wrmsr(u32 n, u64 v)
{
    __asm__ volatile("wrmsr" ::"c"(n), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline void invlpg(u64 va)
{
    __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

static inline void reload_cr3(void)
{
    u64 v;
    __asm__ volatile("mov %%cr3, %0\n mov %0, %%cr3" : "=r"(v)::"memory");
}

static u64 table_pool = 0x200000;

static u64 *next_table(u64 *entry)
{
    if (!(*entry & PT_P)) {
        *entry = table_pool | PT_P | PT_W | PT_U;
        table_pool += 4096;
    }
    return (u64 *)(*entry & 0xffffffffff000);
}

/* The PTE of va, with tables made as needed. */
static volatile u64 *pte_of(u64 va)
{
    u64 cr3;

    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    u64 *t = (u64 *)(cr3 & ~0xfffull);
    t = next_table(&t[va >> 39 & 511]);
    t = next_table(&t[va >> 30 & 511]);
    t = next_table(&t[va >> 21 & 511]);
    return &t[va >> 12 & 511];
}

static volatile u64 *map(u64 va, u64 pa_flags)
{
    volatile u64 *p = pte_of(va);

    *p = pa_flags;
    invlpg(va);
    return p;
}
