/* Segments of 32-bit protected mode: limits, types, expand-down, LDT, conforming code, call gates,
 * LAR, LSL, VERR, ARPL. */
#include "mini32.h"

static void load_fs(u32 sel)
{
    __asm__ volatile("mov %0, %%fs" ::"r"(sel));
}
static void load_ds(u32 sel)
{
    __asm__ volatile("mov %0, %%ds\n mov %1, %%ds" ::"r"(sel), "r"(KDS));
}
static void load_ss(u32 sel)
{
    __asm__ volatile("mov %0, %%ss\n mov %1, %%ss" ::"r"(sel), "r"(KDS));
}
static void read8(u32 off)
{
    __asm__ volatile("movb %%fs:(%0), %%al" ::"r"(off) : "eax");
}
static void read32(u32 off)
{
    __asm__ volatile("movl %%fs:(%0), %%eax" ::"r"(off) : "eax");
}
static void write8(u32 off)
{
    __asm__ volatile("movb $0x5a, %%fs:(%0)" ::"r"(off) : "memory");
}

static void limits(void)
{
    gdt[FREE >> 3] = descriptor(0x200000, 0xfff, 0x4093);
    load_fs(FREE);
    CHECK(gdt[FREE >> 3] >> 40 & 1);
    CHECK_EQ(try_call(read8, 0xfff), -1);
    CHECK_EQ(try_call(read8, 0x1000), 13);
    CHECK_EQ(trap.error, 0);
    CHECK_EQ(try_call(read32, 0xffc), -1);
    load_fs(FREE);
    CHECK_EQ(try_call(read32, 0xffd), 13);
    load_fs(FREE);
    CHECK_EQ(try_call(write8, 5), -1);
    CHECK_EQ(*(volatile u8 *)0x200005, 0x5a);
    gdt[FREE >> 3] = descriptor(0x200000, 0xfff, 0x4091); /* read only */
    load_fs(FREE);
    CHECK_EQ(try_call(write8, 5), 13);
    gdt[FREE >> 3] = descriptor(0x200000, 0xfff, 0x4097); /* expand down */
    load_fs(FREE);
    CHECK_EQ(try_call(read8, 0xfff), 13);
    load_fs(FREE);
    CHECK_EQ(try_call(read8, 0x1000), -1);
    gdt[FREE >> 3] = descriptor(0, 0xfffff, 0xc099); /* execute only */
    load_fs(KDS);
    CHECK_EQ(try_call(load_fs, FREE), 13);
    CHECK_EQ(trap.error, FREE);
    load_fs(0);
    CHECK_EQ(try_call(read8, 0), 13); /* null */
    CHECK_EQ(trap.error, 0);
    load_fs(KDS);
}

static void checks(void)
{
    gdt[FREE >> 3] = descriptor(0, 0xfffff, 0xc013); /* not present */
    CHECK_EQ(try_call(load_ds, FREE), 11);
    CHECK_EQ(trap.error, FREE);
    CHECK_EQ(try_call(load_ss, FREE), 12);
    CHECK_EQ(try_call(load_ss, 0), 13);
    CHECK_EQ(trap.error, 0);
    CHECK_EQ(try_call(load_ss, UDS), 13);
    CHECK_EQ(trap.error, UDS & ~3);
    CHECK_EQ(try_call(load_ds, 0x204), 13); /* no LDT */
    CHECK_EQ(trap.error, 0x204);
    CHECK_EQ(try_call(load_ds, TSS_SEL), 13);
    static u64 ldt[2];
    ldt[1] = descriptor(0x300000, 0xfffff, 0xc093);
    gdt[FREE >> 3] = descriptor((u32)ldt, sizeof ldt - 1, 0x82);
    __asm__ volatile("lldt %w0" ::"r"(FREE));
    CHECK_EQ(try_call(load_ds, 0x0c), -1);
    CHECK_EQ(try_call(load_ds, 0x14), 13);
    CHECK_EQ(trap.error, 0x14);
    load_fs(0x0c);
    CHECK_EQ(try_call(write8, 9), -1);
    CHECK_EQ(*(volatile u8 *)0x300009, 0x5a);
    load_fs(KDS);
}

static void questions(void)
{
    u32 v = 0;
    bool z;

    __asm__ volatile("lar %2, %0\n setz %1" : "+r"(v), "=q"(z) : "r"(KCS) : "cc");
    CHECK(z);
    CHECK_EQ(v, 0x00c09b00);
    __asm__ volatile("lsl %2, %0\n setz %1" : "+r"(v), "=q"(z) : "r"(TSS_SEL) : "cc");
    CHECK(z);
    CHECK_EQ(v, sizeof tss - 1);
    __asm__ volatile("lsl %2, %0\n setz %1" : "+r"(v), "=q"(z) : "r"(0x1f8) : "cc");
    CHECK(!z);
    __asm__ volatile("verw %w1\n setz %0" : "=q"(z) : "r"(KCS) : "cc");
    CHECK(!z);
    __asm__ volatile("verr %w1\n setz %0" : "=q"(z) : "r"(KCS) : "cc");
    CHECK(z);
    u16 a = 0x08, b = 3;
    __asm__ volatile("arpl %2, %0\n setz %1" : "+r"(a), "=q"(z) : "r"(b) : "cc");
    CHECK(z);
    CHECK_EQ(a, 0x0b);
}

/* The far side of the gate: records CS, SS, the parameter; returns dropping it. */
u32 gate_cs, gate_ss, gate_param, gate_old_ss, gate_calls;
__asm__("gate_entry:\n"
        "  movl %cs, %eax\n"
        "  movl %eax, gate_cs\n"
        "  movl %ss, %eax\n"
        "  movl %eax, gate_ss\n"
        "  movl 8(%esp), %eax\n"
        "  movl %eax, gate_param\n"
        "  movl 16(%esp), %eax\n"
        "  movl %eax, gate_old_ss\n"
        "  incl gate_calls\n"
        "  lret $4\n");
extern char gate_entry[];

static void copy(u32 to, const char *code, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        ((volatile u8 *)to)[i] = (u8)code[i];
    }
}

static void gates(void)
{
    gdt[FREE / 8 + 1] = call_gate(KCS, (u32)gate_entry, 3, 1);
    /* pushl $0x77; lcall $0x3b, $0; int3 */
    static const char code[] = "\x6a\x77\x9a\x00\x00\x00\x00\x3b\x00\xcc";
    copy(0x400000, code, sizeof code);
    CHECK_EQ(try_user(0x400000, 0x410000, 2), 3);
    CHECK_EQ(gate_calls, 1);
    CHECK_EQ(gate_cs, KCS);
    CHECK_EQ(gate_ss, KDS);
    CHECK_EQ(gate_param, 0x77);
    CHECK_EQ(gate_old_ss, UDS);
    CHECK_EQ(trap.ip, 0x40000a);
    CHECK_EQ(trap.sp, 0x410000);
    CHECK_EQ(trap.cs, UCS);
    /* a gate of DPL 0 */
    gdt[FREE / 8 + 1] = call_gate(KCS, (u32)gate_entry, 0, 1);
    CHECK_EQ(try_user(0x400000, 0x410000, 2), 13);
    CHECK_EQ(trap.error, 0x38);
    /* a jump may not gain privilege */
    gdt[FREE / 8 + 1] = call_gate(KCS, (u32)gate_entry, 3, 0);
    copy(0x400000, "\xea\x00\x00\x00\x00\x3b\x00", 7);
    CHECK_EQ(try_user(0x400000, 0x410000, 2), 13);
    CHECK_EQ(trap.error, KCS);
    /* conforming code runs at the caller's level */
    gdt[FREE / 8 + 2] = 0x00cf9f000000ffff;
    copy(0x400000, "\xea\x07\x00\x40\x00\x40\x00\x0e\x58\xcc",
        10); /* ljmp $0x40, next; push %cs; pop %eax; int3 */
    CHECK_EQ(try_user(0x400000, 0x410000, 2), 3);
    CHECK_EQ(trap.cs, 0x43);
    /* ring 3 may not load the kernel's data segment */
    copy(0x400000, "\xb8\x10\x00\x00\x00\x8e\xd8", 7);
    CHECK_EQ(try_user(0x400000, 0x410000, 2), 13);
    CHECK_EQ(trap.error, KDS);
    /* on the way out to ring 3 the kernel's FS and GS become null: mov %fs, %eax; push eax; ... */
    copy(0x400000, "\x8c\xe0\xa3\x00\x00\x42\x00\xcc", 8);
    CHECK_EQ(try_user(0x400000, 0x410000, 2), 3);
    CHECK_EQ(*(volatile u32 *)0x420000, 0);
}

static void stack_limit(u32 sp)
{
    __asm__ volatile("mov %%esp, %%ebx\n mov %1, %%ss\n mov %0, %%esp\n push %%eax\n mov %2, "
                     "%%ss\n mov %%ebx, %%esp" ::"r"(sp),
                     "r"(FREE), "r"(KDS)
                     : "ebx");
}

static void stacks(void)
{
    /* A handler on the same stack cannot push either: take #SS and #DF through a task gate in
     * task32; here only what fits. */
    gdt[FREE >> 3] = descriptor(0x500000, 0xffff, 0x4093);
    CHECK_EQ(try_call(stack_limit, 0x8000), -1);
    CHECK_EQ(*(volatile u32 *)0x507ffc, *(volatile u32 *)0x507ffc);
    /* 16-bit stack: SP wraps within 64 KiB, the upper half of ESP stays */
    gdt[FREE >> 3] = descriptor(0x500000, 0xffff, 0x0093);
    u32 after;
    __asm__ volatile("mov %%esp, %%ebx\n mov %1, %%ss\n mov $0x12340002, %%esp\n pushw $0x1122\n "
                     "pushw $0x3344\n mov %%esp, %0\n"
                     "mov %2, %%ss\n mov %%ebx, %%esp"
                     : "=&r"(after)
                     : "r"(FREE), "r"(KDS)
                     : "ebx", "memory");
    CHECK_EQ(after, 0x1234fffe);
    CHECK_EQ(*(volatile u16 *)0x50fffe, 0x3344);
}

void test(void)
{
    limits();
    checks();
    questions();
    gates();
    stacks();
}
