/* REP instructions over faults: registers tell how far they got, and they go on after the fault is
 * repaired. */
#include "mini64.h"

#define SRC MAP_BASE
#define DST (MAP_BASE + 0x100000)

static u64 rsi, rdi, rcx;
static volatile u64 fault_rsi, fault_rdi, fault_rcx;
static volatile u64 *missing;
static u64 repair;
static bool on_fault(Frame *f)
{
    if (f->vector != 14 || !missing) {
        return false;
    }
    fault_rsi = f->rsi;
    fault_rdi = f->rdi;
    fault_rcx = f->rcx;
    *missing = repair;
    missing = 0;
    return true;
}

static void setup(void)
{
    for (u64 i = 0; i < 4; i++) {
        map(SRC + i * 0x1000, (0x800000 + i * 0x1000) | PT_P | PT_W);
        map(DST + i * 0x1000, (0x810000 + i * 0x1000) | PT_P | PT_W);
    }
    for (u64 i = 0; i < 0x4000; i++) {
        ((volatile u8 *)SRC)[i] = (u8)(i * 7 + (i >> 8));
        ((volatile u8 *)DST)[i] = 0;
    }
}

static void break_page(u64 va)
{
    missing = pte_of(va);
    repair = *missing;
    *missing = 0;
    invlpg(va);
}

static void movs(u64 s, u64 d, u64 n)
{
    rsi = s;
    rdi = d;
    rcx = n;
    __asm__ volatile("rep movsb" : "+S"(rsi), "+D"(rdi), "+c"(rcx)::"memory");
    CHECK_EQ(rcx, 0);
    CHECK_EQ(rsi, s + n);
    CHECK_EQ(rdi, d + n);
    for (u64 i = 0; i < n; i++) {
        CHECK_EQ(((volatile u8 *)d)[i], ((volatile u8 *)s)[i]);
    }
}

void test(void)
{
    on_trap = on_fault;
    setup();
    movs(SRC + 3, DST + 100, 0x2000);
    setup();
    break_page(SRC + 0x1000);
    movs(SRC + 0xff0, DST, 0x100);
    CHECK_EQ(fault_rcx, 0xf0);
    CHECK_EQ(fault_rsi, SRC + 0x1000);
    CHECK_EQ(fault_rdi, DST + 0x10);
    CHECK_EQ(trap.cr2, SRC + 0x1000);
    CHECK_EQ(trap.error, 0);
    setup();
    break_page(DST + 0x2000);
    movs(SRC, DST + 0x1f00, 0x200);
    CHECK_EQ(fault_rcx, 0x100);
    CHECK_EQ(fault_rdi, DST + 0x2000);
    CHECK_EQ(trap.error, 2);
    /* elements that cross the page: the one that faults has not happened */
    setup();
    break_page(DST + 0x1000);
    rdi = DST + 0xff4;
    rcx = 4;
    __asm__ volatile("rep stosq" : "+D"(rdi), "+c"(rcx) : "a"(0x1122334455667788) : "memory");
    CHECK_EQ(fault_rcx, 3);
    CHECK_EQ(fault_rdi, DST + 0xffc);
    CHECK_EQ(trap.cr2, DST + 0x1000);
    CHECK_EQ(*(volatile u64 *)(DST + 0x100c), 0x1122334455667788);
    /* downwards, and overlapping forwards replicates */
    setup();
    rsi = SRC + 0x100;
    rdi = DST + 0x100;
    rcx = 0x80;
    __asm__ volatile("std\n rep movsb\n cld" : "+S"(rsi), "+D"(rdi), "+c"(rcx)::"memory");
    CHECK_EQ(rdi, DST + 0x80);
    CHECK_EQ(*(volatile u8 *)(DST + 0x81), *(volatile u8 *)(SRC + 0x81));
    CHECK_EQ(*(volatile u8 *)(DST + 0x80), 0);
    *(volatile u8 *)DST = 0xaa;
    rsi = DST;
    rdi = DST + 1;
    rcx = 0x1800;
    __asm__ volatile("rep movsb" : "+S"(rsi), "+D"(rdi), "+c"(rcx)::"memory");
    CHECK_EQ(*(volatile u8 *)(DST + 0x1800), 0xaa);
    CHECK_EQ(*(volatile u8 *)(DST + 0x1234), 0xaa);
    /* scas and cmps stop where they must */
    *(volatile u8 *)(DST + 0x1111) = 1;
    rdi = DST;
    rcx = 0x1800;
    __asm__ volatile("repe scasb" : "+D"(rdi), "+c"(rcx) : "a"(0xaa));
    CHECK_EQ(rdi, DST + 0x1112);
    setup();
    movs(SRC, DST, 0x1800);
    *(volatile u8 *)(DST + 0x1700) ^= 1;
    rsi = SRC;
    rdi = DST;
    rcx = 0x1800;
    __asm__ volatile("repe cmpsb" : "+S"(rsi), "+D"(rdi), "+c"(rcx));
    CHECK_EQ(rcx, 0x1800 - 0x1701);
    /* into MMIO and out of it */
    rsi = SRC;
    rdi = 0xfed00000;
    rcx = 16;
    __asm__ volatile("rep movsb" : "+S"(rsi), "+D"(rdi), "+c"(rcx)::"memory");
    rsi = 0xfed00000;
    rdi = DST;
    rcx = 4;
    __asm__ volatile("rep movsl" : "+S"(rsi), "+D"(rdi), "+c"(rcx)::"memory");
    CHECK_EQ(*(volatile u64 *)(DST + 8), *(volatile u64 *)(SRC + 8));
}
