/* Debug registers and alignment: code and data breakpoints, RF, GD, single step over REP, #AC. */
#include "mini64.h"

static volatile unsigned hits;
static volatile u64 hit_ip, hit_dr6;

static u64 get_dr6(void)
{
    u64 v;
    __asm__ volatile("mov %%dr6, %0" : "=r"(v));
    return v;
}

static void set_dr7(u64 v)
{
    __asm__ volatile("mov %0, %%dr7" ::"r"(v) : "memory");
}
static void set_dr0(u64 v)
{
    __asm__ volatile("mov %0, %%dr0" ::"r"(v) : "memory");
}
static void set_dr6(u64 v)
{
    __asm__ volatile("mov %0, %%dr6" ::"r"(v) : "memory");
}

static bool on_db(Frame *f)
{
    if (f->vector != 1) {
        return false;
    }
    hits++;
    hit_ip = f->rip;
    hit_dr6 = get_dr6();
    f->rflags |= 0x10000; /* RF: do not stop there again */
    set_dr6(0xffff0ff0);
    return true;
}

extern char bp_here[];
static void code(void)
{
    hits = 0;
    set_dr0((u64)bp_here);
    set_dr7(0x401);
    u64 n = 3;
    __asm__ volatile("1: nop\n .globl bp_here\n bp_here: nop\n dec %0\n jnz 1b"
                     : "+r"(n)::"memory", "cc");
    set_dr7(0x400);
    CHECK_EQ(hits, 3);
    CHECK_EQ(hit_ip, bp_here); /* a fault: before the instruction */
    CHECK_EQ(hit_dr6 & 0xf, 1);
}

static volatile u64 watched[2] __attribute__((aligned(16)));
static void data(void)
{
    u64 v;

    hits = 0;
    set_dr0((u64)watched);
    set_dr7(0x401 | 0x90000); /* 8 bytes, write */
    __asm__ volatile("mov %1, %0" : "=r"(v) : "m"(watched[0]));
    CHECK_EQ(hits, 0);
    __asm__ volatile("movl $1, %0\n .globl after_store\n after_store: nop" : "=m"(watched[0]));
    extern char after_store[];
    CHECK_EQ(hits, 1);
    CHECK_EQ(hit_ip, after_store); /* a trap: behind it */
    CHECK_EQ(hit_dr6 & 0xf, 1);
    watched[1] = 5;
    CHECK_EQ(hits, 1);
    __asm__ volatile("movb $1, 7(%0)" ::"r"(&watched[0]) : "memory");
    CHECK_EQ(hits, 2);
    set_dr7(0x401 | 0xb0000); /* read or write */
    __asm__ volatile("mov %1, %0" : "=r"(v) : "m"(watched[0]));
    CHECK_EQ(hits, 3);
    __asm__ volatile("push %%rax\n pop %%rax" ::: "memory");
    CHECK_EQ(hits, 3);
    set_gate(1, (u64)stubs + 16, 0x0e, 1); /* the stack is what is watched */
    __asm__ volatile("mov %%rsp, %%rbx\n mov %0, %%rsp\n pop %%rax\n .globl after_pop\n"
                     "after_pop: mov %%rbx, %%rsp" ::"r"(watched)
                     : "rax", "rbx", "memory");
    extern char after_pop[];
    CHECK_EQ(hits, 4);
    CHECK_EQ(hit_ip, after_pop);
    set_gate(1, (u64)stubs + 16, 0x0e, 0);
    set_dr7(0x400);
    watched[0] = 1;
    CHECK_EQ(hits, 4);
}

static void read_dr0(u64 a)
{
    __asm__ volatile("mov %%dr0, %%rax" ::: "rax");
}
static bool on_gd(Frame *f)
{
    CHECK_EQ(get_dr6() & 0x2000, 0x2000); /* BD; the handler may: GD is off */
    set_dr7(0x400);
    set_dr6(0xffff0ff0);
    return false;
}

static void general_detect(void)
{
    on_trap = on_gd;
    set_dr7(0x2400);
    CHECK_EQ(try_call(read_dr0, 0), 1);
    on_trap = on_db;
}

static void rep_steps(void)
{
    static u8 a[4], b[4];
    void *s = a, *d = b;
    u64 n = 4;

    hits = 0;
    __asm__ volatile(
        "pushfq\n orl $0x100, (%%rsp)\n popfq\n rep movsb\n pushfq\n andl $~0x100, (%%rsp)\n popfq"
        : "+S"(s), "+D"(d), "+c"(n)::"memory", "cc");
    CHECK_EQ(hits, 4 + 3); /* each iteration, pushfq, andl, popfq */
}

static void alignment(void)
{
    /* mov 1(%rdi), %eax; int3 */
    static const u8 code[] = { 0x8b, 0x47, 0x01, 0xcc };
    u64 cr0;

    for (unsigned i = 0; i < sizeof code; i++) {
        ((volatile u8 *)0x500000)[i] = code[i];
    }
    on_trap = 0;
    __asm__ volatile("mov %%cr0, %0\n or $0x40000, %0\n mov %0, %%cr0" : "=&r"(cr0));
    CHECK_EQ(try_user(0x500000, USER_STACK, 2, 0x600000), 3); /* AC clear */
    CHECK_EQ(try_user(0x500000, USER_STACK, 0x40002, 0x600000), 17);
    CHECK_EQ(trap.error, 0);
    CHECK_EQ(trap.ip, 0x500000);
    CHECK_EQ(try_user(0x500000, USER_STACK, 0x40002, 0x600003), 3);
    __asm__ volatile("mov %%cr0, %0\n and $~0x40000, %0\n mov %0, %%cr0" : "=&r"(cr0));
    CHECK_EQ(try_user(0x500000, USER_STACK, 0x40002, 0x600000), 3);
}

void test(void)
{
    on_trap = on_db;
    code();
    data();
    general_detect();
    rep_steps();
    alignment();
}
