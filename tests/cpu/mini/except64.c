/* Exceptions of 64-bit mode: vectors, error codes, saved RIP, stack alignment, IST, double fault.
 */
#include "mini64.h"

static void do_ud(u64 a)
{
    __asm__ volatile("ud2");
}
static void do_div(u64 a)
{
    __asm__ volatile("xor %%edx, %%edx\n xor %%ecx, %%ecx\n div %%ecx" ::: "rax", "rcx", "rdx");
}
static void do_int3(u64 a)
{
    __asm__ volatile("int3");
}
static void do_int80(u64 a)
{
    __asm__ volatile("int $0x80");
}
static void do_icebp(u64 a)
{
    __asm__ volatile(".byte 0xf1");
}
static void do_read(u64 a)
{
    __asm__ volatile("movq (%0), %%rax" ::"r"(a) : "rax");
}
static void do_load_ds(u64 a)
{
    __asm__ volatile("mov %w0, %%ds" ::"r"(a));
}
static void do_load_ss(u64 a)
{
    __asm__ volatile("mov %w0, %%ss" ::"r"(a));
}
static void do_bad_push(u64 a)
{
    __asm__ volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n push %%rax\n mov %%rbx, %%rsp" ::"r"(a)
                     : "rbx");
}
static void do_hlt_user(u64 a) {}

static void vectors(void)
{
    CHECK_EQ(try_call(do_ud, 0), 6);
    CHECK_EQ(*(u16 *)trap.ip, 0x0b0f);
    CHECK_EQ(try_call(do_div, 0), 0);
    CHECK_EQ(*(u16 *)trap.ip, 0xf1f7);
    CHECK_EQ(try_call(do_int3, 0), 3);
    CHECK_EQ(*(u8 *)(trap.ip - 1), 0xcc);
    CHECK_EQ(try_call(do_int80, 0), 0x80);
    CHECK_EQ(*(u8 *)(trap.ip - 1), 0x80);
    CHECK_EQ(try_call(do_icebp, 0), 1);
    CHECK_EQ(*(u8 *)(trap.ip - 1), 0xf1);
    /* A fault's image has RF set, a trap's has not. */
    try_call(do_ud, 0);
    CHECK(trap.flags & 0x10000);
    try_call(do_int3, 0);
    CHECK(!(trap.flags & 0x10000));
}

static void error_codes(void)
{
    CHECK_EQ(try_call(do_read, 0x1000000000000000), 13);
    CHECK_EQ(trap.error, 0);
    CHECK_EQ(try_call(do_load_ds, 0x1003), 13); /* beyond the GDT */
    CHECK_EQ(trap.error, 0x1000);
    CHECK_EQ(try_call(do_load_ss, 0x0c * 8), 13); /* a null descriptor there */
    CHECK_EQ(trap.error, 0x60);
    gdt[12] = 0x00cf13000000ffff; /* data, not present */
    CHECK_EQ(try_call(do_load_ds, 0x60), 11);
    CHECK_EQ(trap.error, 0x60);
    CHECK_EQ(try_call(do_load_ss, 0x60), 12);
    CHECK_EQ(trap.error, 0x60);
    /* A gate that is not present: #NP with the IDT bit; one of a wrong type: #GP. */
    idt[2 * 0x80] &= ~(0x80ull << 40);
    CHECK_EQ(try_call(do_int80, 0), 11);
    CHECK_EQ(trap.error, 0x80 * 8 + 2);
    set_gate(0x80, (u64)stubs + 16 * 0x80, 0x65, 0);
    CHECK_EQ(try_call(do_int80, 0), 13);
    CHECK_EQ(trap.error, 0x80 * 8 + 2);
    set_gate(0x80, (u64)stubs + 16 * 0x80, 0x6e, 0);
}

static bool on_aligned(Frame *f)
{
    CHECK_EQ((u64)(f + 1) & 15, 0);
    CHECK_EQ(f->rsp, resume_sp - 8 - 5); /* as it was, not aligned */
    return false;
}

static void do_odd_stack(u64 a)
{
    __asm__ volatile("sub $5, %rsp\n sub $8, %rsp\n add $8, %rsp\n ud2");
}

static bool on_ist(Frame *f)
{
    CHECK((u64)f > (u64)ist_stack && (u64)f < (u64)(ist_stack + sizeof ist_stack));
    CHECK_EQ((u64)(f + 1), (u64)(ist_stack + sizeof ist_stack));
    return false;
}

static void stacks(void)
{
    on_trap = on_aligned;
    trap.count = 0;
    try_call(do_odd_stack, 0);
    CHECK_EQ(trap.count, 1);
    on_trap = on_ist;
    set_gate(6, (u64)stubs + 16 * 6, 0x0e, 1);
    CHECK_EQ(try_call(do_ud, 0), 6);
    on_trap = 0;
    set_gate(6, (u64)stubs + 16 * 6, 0x0e, 0);
}

static void double_fault(void)
{
    /* A push to a non-present page: the #PF cannot push either, #DF runs on its IST. */
    set_gate(8, (u64)stubs + 16 * 8, 0x0e, 1);
    pte_of(MAP_BASE);
    CHECK_EQ(try_call(do_bad_push, MAP_BASE + 0x1000), 8);
    CHECK_EQ(trap.error, 0);
    /* #GP while a #GP is delivered. */
    u64 gp = idt[2 * 13];
    idt[2 * 13] &= ~(0x80ull << 40);
    CHECK_EQ(try_call(do_read, 0x1000000000000000), 8);
    idt[2 * 13] = gp;
    /* #NP while #UD is delivered is no double fault: #UD is benign. */
    u64 ud = idt[2 * 6];
    idt[2 * 6] &= ~(0x80ull << 40);
    CHECK_EQ(try_call(do_ud, 0), 11);
    CHECK_EQ(trap.error, 6 * 8 + 3); /* EXT */
    idt[2 * 6] = ud;
    set_gate(8, (u64)stubs + 16 * 8, 0x0e, 0);
}

static volatile unsigned steps;
static bool on_step(Frame *f)
{
    if (f->vector != 1) {
        return false;
    }
    steps++;
    return true;
}

static void single_step(void)
{
    u64 dr6;

    on_trap = on_step;
    steps = 0;
    __asm__ volatile("pushfq\n orl $0x100, (%%rsp)\n popfq\n nop\n nop\n pushfq\n andl $~0x100, "
                     "(%%rsp)\n popfq\n nop" ::
                         : "memory", "cc");
    CHECK_EQ(steps, 5); /* after: nop, nop, pushfq, andl, popfq */
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    CHECK_EQ(dr6 & 0x4000, 0x4000);
    on_trap = 0;
}

void test(void)
{
    (void)do_hlt_user;
    vectors();
    error_codes();
    stacks();
    double_fault();
    single_step();
}
