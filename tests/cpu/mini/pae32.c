/*
 * PAE paging outside long mode: the page-directory-pointer entries are registers, loaded with CR3
 * and checked then (SDM vol. 3, 4.4.1), rights and NX of the lower levels.
 */
#include "mini32.h"

static u64 pdpt[4] __attribute__((aligned(32)));
static u64 other[4] __attribute__((aligned(32)));
static u64 pd[512] __attribute__((aligned(4096))), pt[512] __attribute__((aligned(4096)));

static void set_cr3(u32 v)
{
    __asm__ volatile("mov %0, %%cr3" ::"r"(v) : "memory");
}

static void set_cr4(u32 v)
{
    __asm__ volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}

static void set_cr0(u32 v)
{
    __asm__ volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}

static u32 cr0(void)
{
    u32 v;
    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}

static u32 cr4(void)
{
    u32 v;
    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

static void read_at(u32 la)
{
    (void)*(volatile u32 *)la;
}

static void write_at(u32 la)
{
    *(volatile u32 *)la = 0x5a5a;
}

static void page(u32 la)
{
    __asm__ volatile("invlpg (%0)" ::"r"(la) : "memory");
}

static void build(void)
{
    for (u32 i = 0; i < 512; i++) {
        pd[i] = (u64)i << 21 | 0x83; /* the first GiB one to one */
    }
    pd[511] = (u32)pt | 3; /* 3fe00000h */
    pt[0] = 0x700000 | 3;
    pt[1] = 0x701000 | 1;
    pdpt[0] = (u32)pd | 1;
    pdpt[2] = (u32)pd | 1; /* and once more at 2 GiB */
    other[0] = (u32)pd | 1;
}

static void latched(void)
{
    CHECK_EQ(try_call(read_at, 0x80500000), -1);
    pdpt[2] = 0; /* memory does not count until CR3 is loaded */
    page(0x80500000);
    page(0x80700000);
    CHECK_EQ(try_call(read_at, 0x80700000), -1);
    set_cr3((u32)pdpt);
    CHECK_EQ(try_call(read_at, 0x80500000), 14);
    CHECK_EQ(trap.error, 0);
    pdpt[1] = (u32)pd | 1;
    page(0x40500000);
    CHECK_EQ(try_call(read_at, 0x40500000), 14);
    set_cr4(cr4() ^ 0x80); /* PGE loads them too */
    CHECK_EQ(try_call(read_at, 0x40500000), -1);
    pdpt[1] = 0;
    set_cr0(cr0() ^ 0x40000000); /* so does CD, which flushes nothing */
    page(0x40500000);
    CHECK_EQ(try_call(read_at, 0x40500000), 14);
    set_cr0(cr0() ^ 0x40000000);
}

static void reserved(void)
{
    static const u64 bad[] = { 2, 4, 0x20, 0x40, 0x80, 0x100, 1ull << 63, 1ull << 52, 1ull << 41 };
    u32 old;

    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        other[3] = bad[i] | 1;
        CHECK_EQ(try_call(set_cr3, (u32)other), 13);
        CHECK_EQ(trap.error, 0);
        __asm__ volatile("mov %%cr3, %0" : "=r"(old));
        CHECK_EQ(old, (u32)pdpt);
        other[3] = bad[i]; /* not present: nothing is checked */
        CHECK_EQ(try_call(set_cr3, (u32)other), -1);
        set_cr3((u32)pdpt);
    }
    pdpt[3] = 0x21;
    CHECK_EQ(try_call(set_cr4, cr4() ^ 0x80), 13);
    pdpt[3] = 0;
    other[3] = 0xe18; /* ignored bits and PWT, PCD */
    CHECK_EQ(try_call(set_cr3, (u32)other), -1);
    set_cr3((u32)pdpt);
}

static void rights(void)
{
    CHECK_EQ(try_call(write_at, 0x3fe00010), -1);
    CHECK_EQ(*(volatile u32 *)0x700010, 0x5a5a);
    CHECK_EQ(try_call(read_at, 0x3fe01000), -1);
    set_cr0(cr0() | 0x10000);
    CHECK_EQ(try_call(write_at, 0x3fe01000), 14);
    CHECK_EQ(trap.error, 3);
    CHECK_EQ(trap.cr2, 0x3fe01000);
    CHECK_EQ(try_call(read_at, 0x3fe02000), 14);
    CHECK_EQ(trap.error, 0);
    CHECK(pt[0] & 0x40);
    CHECK(!(pt[1] & 0x40));
    pt[1] |= 1ull << 63; /* NXE is clear: reserved */
    page(0x3fe01000);
    CHECK_EQ(try_call(read_at, 0x3fe01000), 14);
    CHECK_EQ(trap.error, 9);
}

void test(void)
{
    build();
    set_cr3((u32)pdpt);
    set_cr4(cr4() | 0x20);
    set_cr0(cr0() | 0x80000000);
    latched();
    reserved();
    rights();
    set_cr0(cr0() & 0x7fffffff);
}
