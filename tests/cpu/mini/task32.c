/* Hardware task switches: JMP, CALL with IRET back, a task gate for #DF, busy bits, NT. */
#include "mini32.h"

enum { SEL_A = FREE, SEL_GATE = FREE + 8, SEL_DF = FREE + 16 };
static Tss a, df;
static u8 stack_a[4096], stack_df[4096];
volatile u32 a_runs, df_runs, df_error;
u64 good_gate;

/* Task A: counts, goes back by IRET, goes on there at the next switch. */
__asm__("task_a:\n"
        "  incl a_runs\n"
        "  iretl\n"
        "  jmp task_a\n"
        "task_df:\n"
        "  popl df_error\n"
        "  incl df_runs\n"
        "  movl good_gate, %eax\n"
        "  movl %eax, idt+13*8\n"
        "  movl good_gate+4, %eax\n"
        "  movl %eax, idt+13*8+4\n"
        "  iretl\n"
        "  jmp task_df\n");
extern char task_a[], task_df[];

static void init(Tss *t, u32 eip, u8 *stack_top)
{
    *t = (Tss){ .eip = eip,
        .eflags = 2,
        .esp = (u32)stack_top,
        .cs = KCS,
        .ss = KDS,
        .ds = KDS,
        .es = KDS,
        .iomap = sizeof *t };
}

static u8 type_of(u16 sel)
{
    return gdt[sel >> 3] >> 40 & 15;
}
static void call_a(u32 x)
{
    __asm__ volatile("lcall %0, $0" ::"i"(SEL_A) : "memory");
}
static void call_gate_a(u32 x)
{
    __asm__ volatile("lcall %0, $0" ::"i"(SEL_GATE) : "memory");
}

static void load_bad_ds(u32 sel)
{
    __asm__ volatile("mov %0, %%ds" ::"r"(sel));
}

void test(void)
{
    init(&a, (u32)task_a, stack_a + sizeof stack_a);
    gdt[SEL_A >> 3] = descriptor((u32)&a, sizeof a - 1, 0x89);
    gdt[SEL_GATE >> 3] = (u64)SEL_A << 16 | 0x85ull << 40;
    u32 kept;
    __asm__ volatile("mov $0x1234567, %%esi\n lcall %1, $0\n mov %%esi, %0"
                     : "=r"(kept)
                     : "i"(SEL_A)
                     : "esi", "memory");
    CHECK_EQ(kept, 0x1234567);
    CHECK_EQ(a_runs, 1);
    CHECK_EQ(a.link, TSS_SEL);
    CHECK_EQ(type_of(SEL_A), 9);
    CHECK_EQ(type_of(TSS_SEL), 11);
    CHECK_EQ(a.eflags & 0x4000, 0); /* IRET cleared NT in what it saved */
    CHECK_EQ(try_call(call_a, 0), -1);
    CHECK_EQ(try_call(call_gate_a, 0), -1);
    CHECK_EQ(a_runs, 3);
    u32 cr0;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    CHECK(cr0 & 8);                /* TS */
    gdt[SEL_A >> 3] |= 2ull << 40; /* busy */
    CHECK_EQ(try_call(call_a, 0), 13);
    CHECK_EQ(trap.error, SEL_A);
    gdt[SEL_A >> 3] &= ~(2ull << 40);
    gdt[SEL_A >> 3] &= ~(0x80ull << 40); /* not present */
    CHECK_EQ(try_call(call_a, 0), 11);
    gdt[SEL_A >> 3] |= 0x80ull << 40;
    /* an interrupt through a task gate */
    idt[0x41] = (u64)SEL_A << 16 | 0x85ull << 40;
    __asm__ volatile("int $0x41" ::: "memory");
    CHECK_EQ(a_runs, 4);
    /* #DF on a task of its own: #GP has no valid gate. The task repairs it and goes back to the
     * instruction. */
    init(&df, (u32)task_df, stack_df + sizeof stack_df);
    gdt[SEL_DF >> 3] = descriptor((u32)&df, sizeof df - 1, 0x89);
    idt[8] = (u64)SEL_DF << 16 | 0x85ull << 40;
    good_gate = idt[13];
    idt[13] = 0;
    df_error = 1;
    CHECK_EQ(try_call(load_bad_ds, 0x1f8), 13);
    CHECK_EQ(trap.error, 0x1f8);
    CHECK_EQ(df_runs, 1);
    CHECK_EQ(df_error, 0);
}
