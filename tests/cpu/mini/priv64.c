/* Privilege in 64-bit mode: CPL 3 against system instructions, SYSCALL, SYSRET, SWAPGS, IRET, POPF,
 * UMIP. */
#include "mini64.h"

#define UCODE 0x500000ull

/* Puts code at UCODE and runs it at CPL 3 with rdi = arg. */
static u64 user(const char *code, unsigned len, u64 rflags, u64 arg)
{
    for (unsigned i = 0; i < len; i++) {
        ((volatile u8 *)UCODE)[i] = (u8)code[i];
    }
    return try_user(UCODE, USER_STACK, rflags, arg);
}
#define USER(code) user(code, sizeof(code) - 1, 2, 0)

static void privileged(void)
{
    static const struct {
        const char *code;
        unsigned len;
    } all[] = {
        { "\xf4", 1 },         /* hlt */
        { "\xfa", 1 },         /* cli */
        { "\xfb", 1 },         /* sti */
        { "\x0f\x20\xc0", 3 }, /* mov cr0 */
        { "\x0f\x22\xd8", 3 }, /* mov to cr3 */
        { "\x0f\x21\xf8", 3 }, /* mov dr7 */
        { "\x0f\x32", 2 },     /* rdmsr */
        { "\x0f\x30", 2 },     /* wrmsr */
        { "\x0f\x06", 2 },     /* clts */
        { "\x0f\x09", 2 },     /* wbinvd */
        { "\x0f\x01\x38", 3 }, /* invlpg (rax) */
        { "\x0f\x01\x17", 3 }, /* lgdt (rdi) */
        { "\x0f\x01\x1f", 3 }, /* lidt (rdi) */
        { "\x0f\x01\xf0", 3 }, /* lmsw ax */
        { "\x0f\x00\xd0", 3 }, /* lldt ax */
        { "\x0f\x00\xd8", 3 }, /* ltr ax */
        { "\x0f\x01\xf8", 3 }, /* swapgs */
        { "\x0f\x33", 2 },     /* rdpmc */
        { "\xe4\x80", 2 },     /* in */
        { "\xe6\x80", 2 },     /* out */
        { "\xcd\x20", 2 },     /* int 20h: gate DPL 0 */
        { "\x48\x0f\x07", 3 }, /* sysretq */
    };
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        u64 v = user(all[i].code, all[i].len, 2, 0x600000);
        if (v != 13) {
            put_hex(i);
        }
        CHECK_EQ(v, 13);
        CHECK_EQ(trap.error, all[i].code[0] == '\xcd' ? 0x20 * 8 + 2 : 0);
        CHECK_EQ(trap.ip, UCODE);
        CHECK_EQ(trap.cs, UCS);
        CHECK_EQ(trap.ss, UDS);
        CHECK_EQ(trap.sp, USER_STACK);
    }
    CHECK_EQ(USER("\xcd\x80"), 0x80); /* gate DPL 3 */
    CHECK_EQ(USER("\xcc"), 3);
}

static void popf_at_3(void)
{
    /* pushq $0x3202; popfq; int3: IF and IOPL stay as they were */
    CHECK_EQ(USER("\x68\x02\x32\x00\x00\x9d\xcc"), 3);
    CHECK_EQ(trap.flags & 0x3200, 0);
    /* with IOPL 3: cli and sti are fine, popf changes IF but not IOPL */
    CHECK_EQ(user("\xfa\xcc", 2, 0x3202, 0), 3);
    CHECK_EQ(trap.flags & 0x3200, 0x3000);
    CHECK_EQ(user("\x6a\x02\x9d\xcc", 4, 0x3202, 0), 3);
    CHECK_EQ(trap.flags & 0x3200, 0x3000);
}

u64 seen_rcx, seen_r11, seen_gs, seen_flags;

/* Comes by SYSCALL: records and goes back by SYSRET. */
__asm__("syscall_entry:\n"
        "  swapgs\n"
        "  movq %gs:0, %rax\n"
        "  movq %rax, seen_gs(%rip)\n"
        "  swapgs\n"
        "  movq %rcx, seen_rcx(%rip)\n"
        "  movq %r11, seen_r11(%rip)\n"
        "  movq %rsp, %rax\n"
        "  movq $0x2f0000, %rsp\n"
        "  pushfq\n"
        "  popq seen_flags(%rip)\n"
        "  movq %rax, %rsp\n"
        "  sysretq\n");
extern char syscall_entry[];

static void syscalls(void)
{
    static u64 kernel_gs[1] = { 0x1234 };

    wrmsr(0xc0000081, 0x001b000800000000ull); /* STAR: SYSRET base 1Bh: CS 2Bh.. see below */
    gdt[5] = 0x00cff3000000ffff;
    wrmsr(0xc0000081, (u64)(UCS32) << 48 | (u64)KCS << 32);
    wrmsr(0xc0000082, (u64)syscall_entry);
    wrmsr(0xc0000084, 0x200 | 0x400);
    wrmsr(0xc0000102, (u64)kernel_gs);
    wrmsr(0xc0000101, 0x777000);
    CHECK_EQ(user("\x0f\x05\xcc", 3, 0x202, 0), 3); /* syscall; int3 */
    CHECK_EQ(seen_rcx, UCODE + 2);
    CHECK_EQ(seen_r11 & 0x202, 0x202);
    CHECK_EQ(seen_flags & 0x200, 0);
    CHECK_EQ(seen_gs, 0x1234);
    CHECK_EQ(trap.ip, UCODE + 3);
    CHECK_EQ(trap.cs, UCS);
    CHECK_EQ(trap.ss, UDS);
    CHECK_EQ(trap.flags & 0x200, 0x200);
    CHECK_EQ(rdmsr(0xc0000101), 0x777000);
    /* SCE off: #UD */
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
    CHECK_EQ(USER("\x0f\x05"), 6);
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
}

static void do_iret_bad(u64 rip)
{
    __asm__ volatile(
        "pushq $0x2b\n pushq $0x300000\n pushq $2\n pushq $0x33\n pushq %0\n iretq" ::"r"(rip));
}

static void do_wrmsr_lstar(u64 v)
{
    wrmsr(0xc0000082, v);
}
static void do_efer(u64 v)
{
    wrmsr(0xc0000080, v);
}
static void do_cr0(u64 v)
{
    __asm__ volatile("mov %0, %%cr0" ::"r"(v));
}
static void do_cr4(u64 v)
{
    __asm__ volatile("mov %0, %%cr4" ::"r"(v));
}
static void do_cr8(u64 v)
{
    __asm__ volatile("mov %0, %%cr8" ::"r"(v));
}

/* Each uses the stack at an address that is not canonical: #SS, not #GP (SDM vol. 3, 6.15). */
#define ON_STACK(name, code)                                                                       \
    static void name(u64 sp)                                                                       \
    {                                                                                              \
        __asm__ volatile("mov %0, %%rsp\n mov %0, %%rbp\n" code ::"r"(sp) : "rax", "memory");      \
    }
ON_STACK(nc_push, "push %%rax")
ON_STACK(nc_push_mem, "pushq nc_word(%%rip)")
ON_STACK(nc_pop, "pop %%rax")
ON_STACK(nc_pop_mem, "popq nc_word(%%rip)")
ON_STACK(nc_call, "call 1f\n 1:")
ON_STACK(nc_ret, "ret")
ON_STACK(nc_lret, "lretq")
ON_STACK(nc_iret, "iretq")
ON_STACK(nc_pushf, "pushfq")
ON_STACK(nc_popf, "popfq")
ON_STACK(nc_enter, "enter $16, $0")
ON_STACK(nc_leave, "leave")
ON_STACK(nc_load, "mov 8(%%rsp), %%rax")
ON_STACK(nc_store, "mov %%rax, 8(%%rbp)")
ON_STACK(nc_rmw, "lock incq 8(%%rbp)")
ON_STACK(nc_push_fs, "push %%fs")
ON_STACK(nc_other, "mov 8(%%rsp), %%rbx\n mov %%ds:8(%%rbp), %%rax")
u64 nc_word;

static void non_canonical_stack(void)
{
    static void (*const all[])(u64) = { nc_push, nc_push_mem, nc_pop, nc_pop_mem, nc_call, nc_ret,
        nc_lret, nc_iret, nc_pushf, nc_popf, nc_enter, nc_leave, nc_load, nc_store, nc_rmw,
        nc_push_fs, nc_other };

    set_gate(12, (u64)stubs + 16 * 12, 0x0e, 1);
    set_gate(13, (u64)stubs + 16 * 13, 0x0e, 1);
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        for (unsigned again = 0; again < 3; again++) {
            u64 sp = again == 2 ? 0xffff7fffffff0000 : 0x1234567800000000, v = try_call(all[i], sp);
            if (v != 12) {
                put_hex(i);
            }
            CHECK_EQ(v, 12);
            CHECK_EQ(trap.error, 0);
            CHECK_EQ(trap.sp, sp);
        }
    }
    set_gate(12, (u64)stubs + 16 * 12, 0x0e, 0);
    set_gate(13, (u64)stubs + 16 * 13, 0x0e, 0);
}

static void bad_values(void)
{
    u64 cr0;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    CHECK_EQ(try_call(do_iret_bad, 0x1000000000000000), 13);
    CHECK_EQ(try_call(do_wrmsr_lstar, 0x1000000000000000), 13);
    CHECK_EQ(try_call(do_efer, rdmsr(0xc0000080) | 2), 13);
    CHECK_EQ(try_call(do_efer, 0), 13); /* LME under paging */
    CHECK_EQ(try_call(do_cr0, cr0 & ~1ull), 13);
    CHECK_EQ(try_call(do_cr0, cr0 & ~0x80000000ull), 13);
    CHECK_EQ(try_call(do_cr0, cr0 | 1ull << 32), 13);
    CHECK_EQ(try_call(do_cr4, 0), 13); /* PAE in long mode */
    CHECK_EQ(try_call(do_cr4, 0x20 | 1 << 15), 13);
    CHECK_EQ(try_call(do_cr8, 16), 13);
    CHECK_EQ(try_call(do_cr8, 0), -1);
}

static void compat_mode(void)
{
    /* In compatibility mode 48h is DEC EAX: mov $5, %eax; dec %eax; int3 */
    static const char code[] = "\xb8\x05\x00\x00\x00\x48\xcc";

    for (unsigned i = 0; i < sizeof code; i++) {
        ((volatile u8 *)UCODE)[i] = (u8)code[i];
    }
    __asm__ volatile("movl $-1, trap(%%rip)\n" ::: "memory");
    extern u64 try_user32(u64 rip, u64 rsp);
    CHECK_EQ(try_user32(UCODE, USER_STACK), 3);
    CHECK_EQ(trap.cs, UCS32);
    CHECK_EQ(trap.ip, UCODE + 7);
}

__asm__("try_user32:\n"
        "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "  movq %rsp, resume_sp(%rip)\n"
        "  leaq 2f(%rip), %rax\n"
        "  movq %rax, resume_ip(%rip)\n"
        "  pushq $0x2b; pushq %rsi; pushq $2; pushq $0x23; pushq %rdi\n"
        "  iretq\n"
        "2: movq $0, resume_ip(%rip)\n"
        "  movq resume_sp(%rip), %rsp\n"
        "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "  movslq trap(%rip), %rax\n"
        "  ret\n");

static void cpuid(u32 leaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
    __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(0));
}

static void msrs_and_cpuid(void)
{
    u32 a, b, c, d;

    cpuid(0, &a, &b, &c, &d);
    CHECK_EQ(a, 13);
    CHECK_EQ(b, 0x68747541);
    cpuid(1, &a, &b, &c, &d);
    CHECK_EQ(a, 0x60fb1);
    CHECK_EQ(rdmsr(0x277), 0x0007040600070406);
    CHECK_EQ(rdmsr(0x1b), 0xfee00900);
    CHECK_EQ(rdmsr(0x12345), 0); /* unknown */
    wrmsr(0x12345, 1);
    u64 t0, t1;
    __asm__ volatile("rdtsc\n shl $32, %%rdx\n or %%rdx, %%rax" : "=a"(t0)::"rdx");
    __asm__ volatile("rdtsc\n shl $32, %%rdx\n or %%rdx, %%rax" : "=a"(t1)::"rdx");
    CHECK(t1 > t0);
    wrmsr(0x10, 1ull << 40);
    CHECK(rdmsr(0x10) >= 1ull << 40 && rdmsr(0x10) < (1ull << 40) + 100000);
}

void test(void)
{
    privileged();
    popf_at_3();
    syscalls();
    non_canonical_stack();
    bad_values();
    compat_mode();
    msrs_and_cpuid();
}
