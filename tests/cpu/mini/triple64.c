/* A fault that no handler can take: the CPU shuts down. */
#include "mini64.h"

void test(void)
{
    struct TableReg none = { 0, 0 };

    __asm__ volatile("lidt %0\n ud2" ::"m"(none));
}
