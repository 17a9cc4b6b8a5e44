/* Code that changes: own next instruction, a called function, through an alias, across pages, in
 * one page with data. */
#include "mini64.h"

typedef u64 Fn(void);

static void put_mov_ret(volatile u8 *p, u32 v)
{
    p[0] = 0xb8; /* mov $v, %eax; ret */
    *(volatile u32 *)(p + 1) = v;
    p[5] = 0xc3;
}

static void called_function(void)
{
    volatile u8 *p = (u8 *)0x500100;

    for (u32 i = 0; i < 100; i++) {
        put_mov_ret(p, i);
        CHECK_EQ(((Fn *)p)(), i);
    }
}

static void alias(void)
{
    volatile u8 *p = (u8 *)0x501000;

    put_mov_ret(p, 1);
    CHECK_EQ(((Fn *)p)(), 1);
    map(MAP_BASE, 0x501000 | PT_P | PT_W);
    for (u32 i = 0; i < 50; i++) {
        *(volatile u32 *)(MAP_BASE + 1) = i;
        CHECK_EQ(((Fn *)p)(), i);
    }
    /* remap: the same address, other code */
    put_mov_ret((u8 *)0x502000, 1000);
    map(MAP_BASE, 0x502000 | PT_P | PT_W);
    CHECK_EQ(((Fn *)MAP_BASE)(), 1000);
    map(MAP_BASE, 0x501000 | PT_P | PT_W);
    CHECK_EQ(((Fn *)MAP_BASE)(), 49);
}

static void crossing(void)
{
    volatile u8 *p = (u8 *)0x502ffd;

    for (u32 i = 0; i < 50; i++) {
        put_mov_ret(p, i << 16);
        CHECK_EQ(((Fn *)p)(), i << 16);
        *(volatile u8 *)0x503000 = 0x55; /* byte 2 of the immediate, on the second page */
        CHECK_EQ(((Fn *)p)(), (i << 16 & 0xff00ffff) | 0x550000);
    }
}

/* Overwrites the instruction right behind the store. */
static void next_instruction(void)
{
    u64 v;

    __asm__ volatile("movb $7, 1f+1(%%rip)\n"
                     "1: mov $5, %%eax\n"
                     : "=a"(v)::"memory");
    CHECK_EQ(v, 7);
    /* a loop that increments its own immediate */
    __asm__ volatile("mov $10, %%ecx\n"
                     "2: incb 3f+1(%%rip)\n"
                     "3: mov $0, %%eax\n"
                     "dec %%ecx\n"
                     "jnz 2b\n"
                     : "=a"(v)::"rcx", "memory");
    CHECK_EQ(v, 10);
}

static void data_beside(void)
{
    volatile u8 *p = (u8 *)0x504000;
    volatile u64 *count = (u64 *)0x504800, sum = 0;

    put_mov_ret(p, 3);
    *count = 0;
    for (unsigned i = 0; i < 1000; i++) {
        sum += ((Fn *)p)();
        (*count)++;
        __asm__ volatile("lock incq %0" : "+m"(*count));
    }
    CHECK_EQ(sum, 3000);
    CHECK_EQ(*count, 2000);
    /* a string store over code */
    put_mov_ret(p, 4);
    CHECK_EQ(((Fn *)p)(), 4);
    u64 n = 4;
    void *d = (void *)(p + 1);
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(1) : "memory");
    CHECK_EQ(((Fn *)p)(), 0x01010101);
    /* locked and exchange stores over code */
    u32 x = 77;
    __asm__ volatile("xchg %0, %1" : "+r"(x), "+m"(*(volatile u32 *)(p + 1)));
    CHECK_EQ(((Fn *)p)(), 77);
    __asm__ volatile("lock addl $1, %0" : "+m"(*(volatile u32 *)(p + 1)));
    CHECK_EQ(((Fn *)p)(), 78);
}

void test(void)
{
    called_function();
    alias();
    crossing();
    next_instruction();
    data_beside();
}
