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
