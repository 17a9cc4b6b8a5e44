/* Page rights and bits: error codes of every refusal, A and D, NX, WP, reserved bits, large pages,
 * crossing accesses. */
#include "mini64.h"

#define VA MAP_BASE
#define PA 0x800000ull

static void do_read(u64 a)
{
    __asm__ volatile("movq (%0), %%rax" ::"r"(a) : "rax");
}
static void do_write(u64 a)
{
    __asm__ volatile("movq %0, (%0)" ::"r"(a) : "memory");
}
static void do_rmw(u64 a)
{
    __asm__ volatile("lock incq (%0)" ::"r"(a) : "memory");
}
static void do_exec(u64 a)
{
    ((void (*)(void))a)();
}

static void set_cr0(u64 clear, u64 set)
{
    u64 v;
    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    __asm__ volatile("mov %0, %%cr0" ::"r"((v & ~clear) | set) : "memory");
}

static void set_cr4(u64 clear, u64 set)
{
    u64 v;
    __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    __asm__ volatile("mov %0, %%cr4" ::"r"((v & ~clear) | set) : "memory");
}

static void expect_pf(void (*fn)(u64), u64 va, u64 error, u64 cr2)
{
    CHECK_EQ(try_call(fn, va), 14);
    CHECK_EQ(trap.error, error);
    CHECK_EQ(trap.cr2, cr2);
}

static void kernel_rights(void)
{
    volatile u64 *pte = map(VA, 0);

    *(u8 *)PA = 0xc3; /* ret */
    expect_pf(do_read, VA, 0, VA);
    expect_pf(do_write, VA, 2, VA);
    expect_pf(do_exec, VA, 0x10, VA);
    *pte = PA | PT_P; /* not present before: no invlpg needed */
    CHECK_EQ(try_call(do_read, VA), -1);
    CHECK_EQ(*pte, PA | PT_P | PT_A);
    expect_pf(do_write, VA, 3, VA);
    expect_pf(do_rmw, VA + 8, 3, VA + 8);
    CHECK_EQ(try_call(do_exec, VA), -1);
    set_cr0(0x10000, 0);
    CHECK_EQ(try_call(do_write, VA), -1); /* WP off */
    CHECK_EQ(*pte, PA | PT_P | PT_A | PT_D);
    set_cr0(0, 0x10000);
    expect_pf(do_write, VA, 3, VA);
    *pte = PA | PT_P | PT_W;
    CHECK_EQ(try_call(do_write, VA), -1); /* more rights need no invlpg */
    CHECK_EQ(*pte, PA | PT_P | PT_W | PT_A | PT_D);
    *(u8 *)PA = 0xc3;
    map(VA, PA | PT_P | PT_NX);
    CHECK_EQ(try_call(do_read, VA), -1);
    expect_pf(do_exec, VA, 0x11, VA);
    map(VA, PA | PT_P | 1ull << 45);
    expect_pf(do_read, VA, 9, VA);
    expect_pf(do_write, VA, 0xb, VA);
    map(VA, PA | PT_P | PT_W);
    pte_of(VA + 0x1000);
    map(VA + 0x1000, 0);
    expect_pf(do_write, VA + 0xffc, 2, VA + 0x1000);
    map(VA + 0x1000, (PA + 0x3000) | PT_P | PT_W);
    *(u64 *)(PA + 0xff8) = *(u64 *)(PA + 0x3000) = 0;
    CHECK_EQ(try_call(do_write, VA + 0xffc), -1);
    CHECK_EQ(*(u32 *)(PA + 0xffc), (u32)(VA + 0xffc));
    CHECK_EQ(*(u32 *)(PA + 0x3000), (VA + 0xffc) >> 32);
}

static void user_rights(void)
{
    /* mov (%rdi), %rax; mov %rax, (%rdi); int3 */
    static const u8 code[] = { 0x48, 0x8b, 0x07, 0x48, 0x89, 0x07, 0xcc };
    u8 *p = (u8 *)(PA + 0x1000);

    for (unsigned i = 0; i < sizeof code; i++) {
        p[i] = code[i];
    }
    map(VA + 0x2000, (PA + 0x1000) | PT_P | PT_U);
    map(VA, PA | PT_P | PT_W);
    CHECK_EQ(try_user(VA + 0x2000, USER_STACK, 2, VA), 14);
    CHECK_EQ(trap.error, 5);
    map(VA, PA | PT_P | PT_U);
    CHECK_EQ(try_user(VA + 0x2000, USER_STACK, 2, VA), 14);
    CHECK_EQ(trap.error, 7);
    map(VA, PA | PT_P | PT_U | PT_W);
    CHECK_EQ(try_user(VA + 0x2000, USER_STACK, 2, VA), 3);
    map(VA, 0);
    CHECK_EQ(try_user(VA + 0x2000, USER_STACK, 2, VA), 14);
    CHECK_EQ(trap.error, 4);
    map(VA + 0x2000, (PA + 0x1000) | PT_P | PT_U | PT_NX);
    CHECK_EQ(try_user(VA + 0x2000, USER_STACK, 2, VA), 14);
    CHECK_EQ(trap.error, 0x15);
    /* A code address of the kernel. */
    map(VA + 0x2000, (PA + 0x1000) | PT_P);
    CHECK_EQ(try_user(VA + 0x2000, USER_STACK, 2, VA), 14);
    CHECK_EQ(trap.error, 0x15);
    CHECK_EQ(trap.cr2, VA + 0x2000);
}

static void smep_smap(void)
{
    *(u8 *)PA = 0xc3;
    map(VA, PA | PT_P | PT_W | PT_U);
    /* Our own code and stack must be the kernel's: clear U in the identity map's PDPT entry. */
    *(volatile u64 *)0x11000 &= ~4ull;
    reload_cr3();
    CHECK_EQ(try_call(do_exec, VA), -1);
    set_cr4(0, 1 << 20);
    expect_pf(do_exec, VA, 0x11, VA);
    CHECK_EQ(try_call(do_read, VA), -1);
    set_cr4(1 << 20, 1 << 21);
    expect_pf(do_read, VA, 1, VA);
    expect_pf(do_write, VA, 3, VA);
    __asm__ volatile(".byte 0x0f, 0x01, 0xcb"); /* stac */
    *(volatile u64 *)VA = 5;
    __asm__ volatile(".byte 0x0f, 0x01, 0xca"); /* clac */
    CHECK_EQ(*(u64 *)PA, 5);
    expect_pf(do_read, VA, 1, VA);
    set_cr4(1 << 21, 0);
    *(volatile u64 *)0x11000 |= 4;
    reload_cr3();
}

static void large_pages(void)
{
    u64 va = MAP_BASE + (4ull << 30);
    volatile u64 *pte = pte_of(va);
    volatile u64 *pdpt = (u64 *)(((volatile u64 *)0x10000)[va >> 39 & 511] & ~0xfffull);
    volatile u64 *pd = (u64 *)(pdpt[va >> 30 & 511] & ~0xfffull);

    (void)pte;
    pd[0] = 0x800000 | PT_P | PT_W | PT_PS;
    invlpg(va);
    *(volatile u32 *)(va + 0x12345) = 77;
    CHECK_EQ(*(u32 *)0x812345, 77);
    CHECK_EQ(pd[0] & (PT_A | PT_D), PT_A | PT_D);
    pd[0] = 0x802000 | PT_P | PT_PS; /* reserved address bits */
    invlpg(va);
    expect_pf(do_read, va, 9, va);
    pdpt[va >> 30 & 511] = PT_P | PT_W | PT_PS; /* 1 GiB at 0 */
    invlpg(va);
    *(volatile u32 *)(va + 0x912344) = 78;
    CHECK_EQ(*(u32 *)0x912344, 78);
    invlpg(va);
    pdpt[va >> 30 & 511] = 0;
    invlpg(va + 0x800000); /* drops the whole page */
    expect_pf(do_read, va + 0x912344, 0, va + 0x912344);
}

static void mmio(void)
{
    volatile u32 *reg = (u32 *)0xfed00000ull;

    reg[0] = 0x11223344;
    reg[1] = 0x55667788;
    CHECK_EQ(reg[0], 0x11223344);
    CHECK_EQ(*(volatile u64 *)reg, 0x5566778811223344);
    CHECK_EQ(*(volatile u8 *)(0xfed00005ull), 0x77);
    __asm__ volatile("lock addl $1, (%0)" ::"r"(reg) : "memory");
    CHECK_EQ(reg[0], 0x11223345);
}

void test(void)
{
    kernel_rights();
    user_rights();
    smep_smap();
    large_pages();
    mmio();
}
