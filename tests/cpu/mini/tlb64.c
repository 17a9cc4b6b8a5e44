/* What a TLB may keep and must drop: INVLPG, CR3, global pages, many pages at one index. */
#include "mini64.h"

#define VA MAP_BASE

static void set_cr4(u64 clear, u64 set)
{
    u64 v;
    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    __asm__ volatile("mov %0, %%cr4" ::"r"((v & ~clear) | set) : "memory");
}

static u64 peek(u64 va)
{
    return *(volatile u64 *)va;
}

static void invlpg_drops(void)
{
    *(volatile u64 *)0x800000 = 1;
    *(volatile u64 *)0x801000 = 2;
    volatile u64 *pte = map(VA, 0x800000 | PT_P | PT_W);
    CHECK_EQ(peek(VA), 1);
    *pte = 0x801000 | PT_P | PT_W;
    invlpg(VA);
    CHECK_EQ(peek(VA), 2);
    *pte = 0x800000 | PT_P | PT_W;
    reload_cr3();
    CHECK_EQ(peek(VA), 1);
}

static void global_stays(void)
{
    set_cr4(0, 0x80);
    volatile u64 *pte = map(VA, 0x800000 | PT_P | PT_W | PT_G);
    CHECK_EQ(peek(VA), 1);
    *pte = 0x801000 | PT_P | PT_W | PT_G;
    reload_cr3();
    CHECK_EQ(peek(VA), 1); /* this engine keeps it, as hardware would */
    set_cr4(0x80, 0);
    CHECK_EQ(peek(VA), 2);
    set_cr4(0, 0x80);
    *pte = 0x800000 | PT_P | PT_W;
    invlpg(VA); /* drops global ones too */
    CHECK_EQ(peek(VA), 1);
    set_cr4(0x80, 0);
}

/* Addresses 256 MiB apart share an index. */
static void conflicts(void)
{
    for (u64 i = 0; i < 8; i++) {
        map(VA + (i << 28), (0x800000 + (i << 12)) | PT_P | PT_W);
        *(volatile u64 *)(VA + (i << 28)) = 100 + i;
    }
    for (u64 i = 0; i < 8; i++) {
        CHECK_EQ(peek(VA + (i << 28)), 100 + i);
        CHECK_EQ(peek(0x800000 + (i << 12)), 100 + i);
    }
}

/* More fills than the fill log holds, then a flush. */
static void overflow(void)
{
    for (u64 i = 0; i < 20000; i++) {
        *pte_of(VA + 0x40000000 + (i << 12)) = (0x800000 + ((i & 7) << 12)) | PT_P;
        CHECK_EQ(peek(VA + 0x40000000 + (i << 12)), 100 + (i & 7));
        if (i == 600) {
            table_pool = 0x400000; /* room for the tables */
        }
    }
    for (u64 i = 0; i < 20000; i++) {
        *pte_of(VA + 0x40000000 + (i << 12)) = (0x800000 + (((i + 1) & 7) << 12)) | PT_P;
    }
    reload_cr3();
    for (u64 i = 0; i < 20000; i += 7) {
        CHECK_EQ(peek(VA + 0x40000000 + (i << 12)), 100 + ((i + 1) & 7));
    }
}

/* Rights are by mode: what the kernel may write, the user may not. */
static void views(void)
{
    static const u8 code[] = { 0x48, 0x89, 0x07, 0xcc }; /* mov %rax, (%rdi); int3 */

    for (unsigned i = 0; i < sizeof code; i++) {
        ((volatile u8 *)0x810000)[i] = code[i];
    }
    map(VA + 0x1000, 0x810000 | PT_P | PT_U);
    map(VA, 0x800000 | PT_P | PT_W);
    *(volatile u64 *)VA = 7;
    CHECK_EQ(try_user(VA + 0x1000, USER_STACK, 2, VA), 14);
    CHECK_EQ(trap.error, 7);
    *(volatile u64 *)VA = 8;
    CHECK_EQ(peek(VA), 8);
}

/* MOV $n, (%rdi); RET or, for ring 3, INT3 */
static void put_code(u64 pa, u8 n, u8 end)
{
    u8 *p = (u8 *)pa;

    p[0] = 0xc6;
    p[1] = 0x07;
    p[2] = n;
    p[3] = end;
}

/* What the code at va stores, often enough that the engine knows the way there by heart. */
static u8 run_kernel(u64 va)
{
    volatile u8 got;

    for (unsigned i = 0; i < 40; i++) {
        got = 0;
        ((void (*)(volatile u8 *))va)(&got);
    }
    return got;
}

static u8 run_user(u64 va)
{
    volatile u8 *got = (u8 *)0x600000;

    for (unsigned i = 0; i < 40; i++) {
        *got = 0;
        CHECK_EQ(try_user(va, USER_STACK, 2, 0x600000), 3);
    }
    return *got;
}

/* Code behind a translation that changes: what was known of the old one is gone, whichever page of
 * its neighbourhood ran last. */
static void code_moves(u8 (*run)(u64), u64 va, u8 end)
{
    enum { A = 0x810000, B = 0x811000, C = 0xa10000, FLAGS = PT_P | PT_W | PT_U };
    volatile u64 *other = map(va + 0x1000, A | FLAGS), *pte = map(va, A | FLAGS);
    volatile u64 *pd;
    u64 large = va + (2ull << 30);

    put_code(A, 1, end);
    put_code(B, 2, end);
    put_code(C, 3, end);
    CHECK_EQ(run(va), 1);
    CHECK_EQ(run(va + 0x1000), 1);
    *pte = B | FLAGS;
    invlpg(va + 0x2000);
    invlpg(va);
    CHECK_EQ(run(va), 2);
    CHECK_EQ(run(va + 0x1000), 1);
    *pte = A | FLAGS;
    reload_cr3();
    CHECK_EQ(run(va), 1);
    set_cr4(0, 0x80);
    *pte = B | FLAGS | PT_G;
    invlpg(va);
    CHECK_EQ(run(va), 2);
    reload_cr3();
    CHECK_EQ(run(va), 2);
    *pte = A | FLAGS | PT_G;
    *other = B | FLAGS;
    invlpg(va);
    invlpg(va + 0x1000);
    CHECK_EQ(run(va), 1);
    CHECK_EQ(run(va + 0x1000), 2);
    set_cr4(0x80, 0);
    /* INVLPG of any address drops the whole large page (SDM vol. 3, 4.10.4.1). */
    pte_of(large);
    pd = (u64 *)(((volatile u64 *)0x10000)[large >> 39 & 511] & ~0xfffull);
    pd = (u64 *)(pd[large >> 30 & 511] & ~0xfffull);
    pd[0] = 0x800000 | FLAGS | PT_PS;
    invlpg(large);
    CHECK_EQ(run(large + 0x10000), 1);
    CHECK_EQ(run(large + 0x11000), 2);
    pd[0] = 0xa00000 | FLAGS | PT_PS;
    invlpg(large + 0x1ff000);
    CHECK_EQ(run(large + 0x10000), 3);
}

/* The top and the bottom of the address space: edges of the table. */
static void do_read(u64 a)
{
    __asm__ volatile("movq (%0), %%rax" ::"r"(a) : "rax");
}
static void edges(void)
{
    CHECK_EQ(try_call(do_read, ~0ull - 3), 14);
    CHECK_EQ(trap.cr2, ~0ull - 3);
    CHECK_EQ(try_call(do_read, 0x8000000000000000), 13);
    CHECK_EQ(try_call(do_read, 0x7fffffffffffffff), 13);
    CHECK_EQ(try_call(do_read, 0x8000000008000000), 13);
    CHECK_EQ(try_call(do_read, 0x00007ffffffffff8), 14);
    CHECK_EQ(try_call(do_read, 0x00007ffffffffffc), 13); /* its end is not canonical */
    CHECK_EQ(try_call(do_read, 0), -1);
    map(0xfffffffffffff000, 0x800000 | PT_P | PT_W);
    *(volatile u64 *)0xfffffffffffffff8 = 99;
    CHECK_EQ(*(volatile u64 *)0x800ff8, 99);
}

static void poke(u64 va)
{
    *(volatile u32 *)va = 7;
}

/* Translations that lead to device registers are kept too: what drops them, and what they allow. */
static void device_pages(void)
{
    enum { REGS = 0xfed00000 };
    u64 va = MAP_BASE + 0x700000;
    volatile u32 *p = (u32 *)va, *ram = (u32 *)0x600000;

    *ram = 0x1234;
    volatile u64 *e = map(va, REGS | PT_P | PT_W);
    *p = 0xabcd;
    CHECK_EQ(*p, 0xabcd);
    *e = 0x600000 | PT_P | PT_W;
    invlpg(va);
    CHECK_EQ(*p, 0x1234);
    *e = REGS | PT_P; /* read-only, not dirty; CR0.WP is set */
    reload_cr3();
    CHECK_EQ(*p, 0xabcd);
    CHECK_EQ(try_call(poke, va), 14);
    CHECK_EQ(*p, 0xabcd);
    *e = REGS | PT_P | PT_W;
    invlpg(va);
    CHECK_EQ(*p, 0xabcd);
    CHECK_EQ(*e & PT_D, 0);
    *p = 0x55;
    CHECK_EQ(*e & PT_D, PT_D);
    *e = 0;
    invlpg(va);
    CHECK_EQ(try_call(poke, va), 14);
}

void test(void)
{
    device_pages();
    code_moves(run_kernel, VA + (8ull << 30), 0xc3);
    code_moves(run_user, VA + (12ull << 30), 0xcc);
    invlpg_drops();
    global_stays();
    conflicts();
    views();
    edges();
    for (u64 i = 0; i < 8; i++) {
        *(volatile u64 *)(0x800000 + (i << 12)) = 100 + i;
    }
    overflow();
}
