/*
 * Frame of a 32-bit mini-kernel: flat GDT with room for a test's descriptors, IDT with 256 stubs,
 * TSS for ring 3, try_call() and try_user(). Define void test(void).
 */
#pragma once

#include "mini.h"

enum { KCS = 0x08, KDS = 0x10, UCS = 0x1b, UDS = 0x23, TSS_SEL = 0x28, FREE = 0x30 };

typedef struct Frame {
    u32 es, ds, edi, esi, ebp, esp_unused, ebx, edx, ecx, eax;
    u32 vector, error, eip, cs, eflags, esp, ss; /* esp, ss: only from another ring */
} Frame;

typedef struct Tss {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi,
        edi;
    u32 es, cs, ss, ds, fs, gs, ldt, iomap;
} Tss;

u64 gdt[64] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff };
u64 idt[256];
Tss tss;
u8 kernel_stack[8192] __attribute__((aligned(16))), trap_stack[8192] __attribute__((aligned(16)));
u32 resume_ip, resume_sp;
bool (*volatile on_trap)(Frame *f);

extern char stubs[];
int try_call(void (*fn)(u32), u32 arg);
int try_user(u32 eip, u32 esp, u32 eflags);
void test(void);

__asm__(".section .start,\"ax\"\n"
        ".globl _start\n"
        "_start: movl $kernel_stack+8192, %esp\n"
        "  call start32\n"
        "  ud2\n"
        ".text\n"
        ".balign 16\n"
        "stubs:\n"
        ".set i, 0\n"
        ".rept 256\n"
        "  .balign 16\n"
        "  .if i == 8 || (i >= 10 && i <= 14) || i == 17\n"
        "  .else\n"
        "  pushl $0\n"
        "  .endif\n"
        "  pushl $i\n"
        "  jmp trap_common\n"
        "  .set i, i + 1\n"
        ".endr\n"
        "trap_common:\n"
        "  pushal\n"
        "  pushl %ds\n"
        "  pushl %es\n"
        "  movl $0x10, %eax\n"
        "  movl %eax, %ds\n"
        "  movl %eax, %es\n"
        "  pushl %esp\n"
        "  cld\n"
        "  call on_any_trap\n"
        "  addl $4, %esp\n"
        "  testl %eax, %eax\n"
        "  jnz 3f\n"
        "  popl %es\n"
        "  popl %ds\n"
        "  popal\n"
        "  addl $8, %esp\n"
        "  iretl\n"
        /* Back to try_*: straight, whatever was interrupted. */
        "3: movl $0x10, %eax\n"
        "  movl %eax, %ss\n"
        "  movl resume_sp, %esp\n"
        "  movl %eax, %fs\n"
        "  movl %eax, %gs\n"
        "  pushl $2\n"
        "  popfl\n"
        "  jmp *resume_ip\n"
        "try_call:\n"
        "  pushl %ebp; pushl %ebx; pushl %esi; pushl %edi\n"
        "  movl %esp, resume_sp\n"
        "  movl $1f, resume_ip\n"
        "  movl $-1, trap\n"
        "  movl 20(%esp), %eax\n"
        "  pushl 24(%esp)\n"
        "  call *%eax\n"
        "1: movl $0, resume_ip\n"
        "  movl resume_sp, %esp\n"
        "  popl %edi; popl %esi; popl %ebx; popl %ebp\n"
        "  movl trap, %eax\n"
        "  ret\n"
        "try_user:\n"
        "  pushl %ebp; pushl %ebx; pushl %esi; pushl %edi\n"
        "  movl %esp, resume_sp\n"
        "  movl $1b, resume_ip\n"
        "  movl $-1, trap\n"
        "  movl 20(%esp), %eax\n"
        "  movl 24(%esp), %ecx\n"
        "  movl 28(%esp), %edx\n"
        "  movl $0x23, %ebx\n"
        "  movl %ebx, %ds\n"
        "  movl %ebx, %es\n"
        "  pushl $0x23; pushl %ecx; pushl %edx; pushl $0x1b; pushl %eax\n"
        "  iretl\n");

/* 0: go on with the frame; 1: back to try_*. */
int on_any_trap(Frame *f)
{
    u32 cr2;

    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    trap.vector = (int)f->vector;
    trap.error = f->error;
    trap.cr2 = cr2;
    trap.ip = f->eip;
    trap.cs = f->cs;
    trap.flags = f->eflags;
    trap.sp = f->esp;
    trap.ss = f->ss;
    trap.count++;
    if (on_trap && on_trap(f)) {
        return 0;
    }
    if (!resume_ip) {
        put("unexpected trap ");
        put_hex(f->vector);
        put(" error ");
        put_hex(f->error);
        put(" at ");
        put_hex(f->eip);
        put("\n");
        quit(1);
    }
    return 1;
}

static void set_gate(unsigned n, u16 sel, u32 addr, u8 type_dpl)
{
    idt[n] =
        (addr & 0xffff) | (u64)sel << 16 | (u64)(0x80 | type_dpl) << 40 | (u64)(addr >> 16) << 48;
}

/* attr: descriptor bits 40..55 without the limit. */
static u64 descriptor(u32 base, u32 limit, u16 attr)
{
    return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)attr << 40 |
           (u64)(limit >> 16 & 15) << 48 | (u64)(base >> 24) << 56;
}

static u64 call_gate(u16 sel, u32 addr, u8 dpl, u8 count)
{
    return (addr & 0xffff) | (u64)sel << 16 | (u64)count << 32 | (u64)(0x8c | dpl << 5) << 40 |
           (u64)(addr >> 16) << 48;
}

struct __attribute__((packed)) TableReg {
    u16 limit;
    u32 base;
};

void start32(void)
{
    struct TableReg g = { sizeof gdt - 1, (u32)gdt }, i = { sizeof idt - 1, (u32)idt };

    tss.ss0 = KDS;
    tss.esp0 = (u32)(trap_stack + sizeof trap_stack);
    tss.iomap = sizeof tss;
    gdt[TSS_SEL >> 3] = descriptor((u32)&tss, sizeof tss - 1, 0x89);
    for (unsigned n = 0; n < 256; n++) {
        set_gate(n, KCS, (u32)stubs + 16 * n, 0x0e | (n == 3 || n == 0x80 ? 0x60 : 0));
    }
    __asm__ volatile(
        "lgdt %0\n lidt %1\n ljmp $0x08, $1f\n 1: mov %2, %%ds\n mov %2, %%es\n mov %2, %%ss\n"
        "mov %2, %%fs\n mov %2, %%gs\n ltr %w3"
        :
        : "m"(g), "m"(i), "r"(KDS), "r"(TSS_SEL)
        : "memory");
    test();
    put("passed\n");
    quit(0);
}
