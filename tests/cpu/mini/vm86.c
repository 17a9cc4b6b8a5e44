/* Virtual-8086 mode: entry by IRET, sensitive instructions at IOPL 0 and 3, interrupts out of it,
 * segment arithmetic. */
#include "mini32.h"

enum { CODE = 0x20000, VM = 0x20000 };

static void copy(const char *code, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        ((volatile u8 *)CODE)[i] = (u8)code[i];
    }
}

/* Runs CODE at 2000:0000 with SS:SP 3000:1000; comes back at the next trap. */
int try_vm86(u32 eflags);
__asm__("try_vm86:\n"
        "  pushl %ebp; pushl %ebx; pushl %esi; pushl %edi\n"
        "  movl %esp, resume_sp\n"
        "  movl $9f, resume_ip\n"
        "  movl $-1, trap\n"
        "  movl 20(%esp), %edx\n"
        "  pushl $0x7000; pushl $0x6000; pushl $0x5000; pushl $0x4000\n"
        "  pushl $0x3000; pushl $0x1000; pushl %edx; pushl $0x2000; pushl $0\n"
        "  iretl\n"
        "9: movl $0, resume_ip\n"
        "  movl resume_sp, %esp\n"
        "  popl %edi; popl %esi; popl %ebx; popl %ebp\n"
        "  movl trap, %eax\n"
        "  ret\n");

static u32 saved[4];
static bool on_frame(Frame *f)
{
    const u32 *behind = &f->ss + 1;

    for (unsigned i = 0; i < 4; i++) {
        saved[i] = behind[i];
    }
    u32 ds, es;
    __asm__ volatile("mov %%fs, %0\n mov %%gs, %1" : "=r"(ds), "=r"(es));
    CHECK_EQ(ds, 0);
    CHECK_EQ(es, 0);
    return false;
}

void test(void)
{
    on_trap = on_frame;
    copy("\xcc", 1);
    CHECK_EQ(try_vm86(VM | 2), 3);
    CHECK_EQ(trap.cs, 0x2000);
    CHECK_EQ(trap.ip, 1);
    CHECK_EQ(trap.ss, 0x3000);
    CHECK_EQ(trap.sp, 0x1000);
    CHECK(trap.flags & VM);
    CHECK_EQ(saved[0], 0x4000); /* ES DS FS GS */
    CHECK_EQ(saved[1], 0x5000);
    CHECK_EQ(saved[2], 0x6000);
    CHECK_EQ(saved[3], 0x7000);
    /* IOPL 0: these trap with #GP(0) */
    static const char *const sensitive[] = { "\xfa", "\xfb", "\x9c", "\x9d", "\xcf", "\xcd\x20",
        "\xf4", "\x0f\x20\xc0" };
    for (unsigned i = 0; i < sizeof sensitive / sizeof sensitive[0]; i++) {
        copy(sensitive[i], 3);
        CHECK_EQ(try_vm86(VM | 2), 13);
        CHECK_EQ(trap.error, 0);
        CHECK_EQ(trap.ip, 0);
    }
    /* protected-mode instructions do not exist */
    copy("\x0f\x00\xd0", 3); /* lldt */
    CHECK_EQ(try_vm86(VM | 2), 6);
    /* IOPL 3: cli; pushf; pop ax; mov [0], ax; int3. VM is not visible, IF is clear */
    copy("\xfa\x9c\x58\xa3\x00\x00\xcc", 7);
    CHECK_EQ(try_vm86(VM | 0x3202), 3);
    CHECK_EQ(*(volatile u16 *)0x50000 & 0x3200, 0x3000);
    /* mov ax, 1234; mov es, ax; mov byte es:[5], 77; int3 */
    copy("\xb8\x34\x12\x8e\xc0\x26\xc6\x06\x05\x00\x77\xcc", 12);
    CHECK_EQ(try_vm86(VM | 2), 3);
    CHECK_EQ(*(volatile u8 *)0x12345, 0x77);
    CHECK_EQ(saved[0], 0x1234);
    /* beyond 64 KiB: mov al, [ffff] is fine, mov ax, [ffff] is not */
    copy("\xa0\xff\xff\xcc", 4);
    CHECK_EQ(try_vm86(VM | 2), 3);
    copy("\xa1\xff\xff\xcc", 4);
    CHECK_EQ(try_vm86(VM | 2), 13);
    /* far jump: ea 10 00 10 20: 2010:0010 = 20110 */
    copy("\xea\x10\x00\x10\x20", 5);
    *(volatile u8 *)0x20110 = 0xcc;
    CHECK_EQ(try_vm86(VM | 2), 3);
    CHECK_EQ(trap.cs, 0x2010);
    CHECK_EQ(trap.ip, 0x11);
}
