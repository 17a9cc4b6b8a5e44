/* When interrupts come: IF, the shadows of STI and MOV SS, HLT, NMI blocking, TPR, from ring 3. */
#include "mini64.h"

static volatile unsigned irqs;
static volatile u64 irq_ip;
static bool on_irq(Frame *f)
{
    if (f->vector == 0x40 || f->vector == 2) {
        irqs++;
        irq_ip = f->rip;
        return true;
    }
    return false;
}

static void raise(u8 vector)
{
    out8(0xf8, vector);
}
static void sti(void)
{
    __asm__ volatile("sti" ::: "memory");
}
static void cli(void)
{
    __asm__ volatile("cli" ::: "memory");
}

static void interrupt_flag(void)
{
    irqs = 0;
    cli();
    raise(0x40);
    for (volatile int i = 0; i < 100; i++) {
    }
    CHECK_EQ(irqs, 0);
    /* sti shadows one instruction, so cli right behind it lets nothing in. */
    __asm__ volatile("sti\n cli" ::: "memory");
    CHECK_EQ(irqs, 0);
    __asm__ volatile("sti\n nop\n .globl after_nop\n after_nop: nop\n cli" ::: "memory");
    CHECK_EQ(irqs, 1);
    extern char after_nop[];
    CHECK_EQ(irq_ip, after_nop);
    /* sti with IF set shadows nothing */
    sti();
    raise(0x40);
    __asm__ volatile("nop" ::: "memory");
    CHECK_EQ(irqs, 2);
    cli();
    /* popf opens without shadow */
    raise(0x40);
    __asm__ volatile("pushq $0x202\n popfq\n .globl after_popf\n after_popf: nop\n cli" ::
                         : "memory");
    extern char after_popf[];
    CHECK_EQ(irqs, 3);
    CHECK_EQ(irq_ip, after_popf);
}

static void loop_window(void)
{
    /* The window of "sti; nop; cli" in a loop must be seen. */
    irqs = 0;
    raise(0x40);
    for (int i = 0; i < 10; i++) {
        __asm__ volatile("sti\n nop\n cli" ::: "memory");
    }
    CHECK_EQ(irqs, 1);
}

static void mov_ss(void)
{
    irqs = 0;
    cli();
    raise(0x40);
    /* popf opens; the shadow of mov ss covers the instruction behind it */
    __asm__ volatile("mov %%ss, %%eax\n pushq $0x202\n popfq\n 1: cli" ::: "rax", "memory");
    CHECK_EQ(irqs, 1);
    raise(0x40);
    __asm__ volatile("sti\n mov %%ss, %%eax\n mov %%eax, %%ss\n cli" ::: "rax", "memory");
    CHECK(irqs == 2 || irqs == 1);
    sti();
    __asm__ volatile("nop" ::: "memory");
    cli();
    CHECK_EQ(irqs, 2);
}

static void halting(void)
{
    irqs = 0;
    out8(0xfa, 0x40);
    __asm__ volatile("sti\n hlt\n .globl after_hlt\n after_hlt: cli" ::: "memory");
    extern char after_hlt[];
    CHECK_EQ(irqs, 1);
    CHECK_EQ(irq_ip, after_hlt);
    /* pending already: sti; hlt must not sleep */
    raise(0x40);
    __asm__ volatile("sti\n hlt\n cli" ::: "memory");
    CHECK_EQ(irqs, 2);
    CHECK_EQ(irq_ip, irq_ip);
}

static volatile unsigned nested;
static bool on_nmi(Frame *f)
{
    if (f->vector == 2) {
        irqs++;
        if (irqs == 1) {
            out8(0xf9, 0); /* another one: held until IRET */
            __asm__ volatile("nop\n nop" ::: "memory");
            nested = irqs;
        }
        return true;
    }
    return false;
}

static void nmi(void)
{
    irqs = 0;
    on_trap = on_nmi;
    cli();
    out8(0xf9, 0);
    __asm__ volatile("nop\n nop" ::: "memory");
    CHECK_EQ(nested, 1);
    CHECK_EQ(irqs, 2);
    on_trap = on_irq;
}

static void priority(void)
{
    irqs = 0;
    cli();
    __asm__ volatile("mov %0, %%cr8" ::"r"(4ull) : "memory");
    raise(0x40);
    sti();
    __asm__ volatile("nop\n nop" ::: "memory");
    CHECK_EQ(irqs, 0);
    __asm__ volatile("mov %0, %%cr8\n nop" ::"r"(0ull) : "memory");
    CHECK_EQ(irqs, 1);
    cli();
}

static bool on_user_irq(Frame *f)
{
    if (f->vector == 0x40) {
        irqs++;
        CHECK_EQ(f->cs, UCS);
        CHECK_EQ(f->ss, UDS);
        CHECK_EQ(f->rsp, USER_STACK);
        CHECK_EQ((u64)(f + 1), (u64)(trap_stack + sizeof trap_stack));
        return true;
    }
    return false;
}

static void from_user(void)
{
    /* with IOPL 3: mov $0x40, %al; out %al, $0xf8; nop; jmp over; int3 */
    static const u8 code[] = { 0xb0, 0x40, 0xe6, 0xf8, 0x90, 0xeb, 0x00, 0x90, 0xcc };

    for (unsigned i = 0; i < sizeof code; i++) {
        ((volatile u8 *)0x500000)[i] = code[i];
    }
    irqs = 0;
    on_trap = on_user_irq;
    CHECK_EQ(try_user(0x500000, USER_STACK, 0x3202, 0), 3);
    CHECK_EQ(irqs, 1);
    on_trap = on_irq;
}

/*
 * An interrupt that comes up while a block is being decoded is taken behind its branch, whose
 * target is not known yet: the handler's code must not be taken for it the next time.
 */
static void behind_new_branch(void)
{
    static const u8 code[] = { 0xeb, 0x02, 0xcc, 0xcc, 0x8d, 0x47, 0x01, 0xc3 };
    u8 *page = (u8 *)0x510000; /* jmp 1f; 1: lea 1(%rdi), %eax; ret */
    u32 (*volatile fn)(u32) = (u32(*)(u32))page;

    for (unsigned i = 0; i < sizeof code; i++) {
        ((volatile u8 *)page)[i] = code[i];
    }
    irqs = 0;
    sti();
    __asm__ volatile("outl %0, $0xfb" ::"a"(0x510));
    CHECK_EQ(fn(1), 2);
    CHECK_EQ(irqs, 1);
    CHECK(irq_ip == (u64)page + 4 || irq_ip == (u64)page); /* single steps look sooner */
    CHECK_EQ(fn(5), 6);
    CHECK_EQ(fn(7), 8);
    CHECK_EQ(irqs, 1);
    cli();
}

void test(void)
{
    on_trap = on_irq;
    interrupt_flag();
    loop_window();
    mov_ss();
    halting();
    nmi();
    priority();
    from_user();
    behind_new_branch();
}
