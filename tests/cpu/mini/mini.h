/* What the 32- and 64-bit mini-kernels share: ports, text, checks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned long word;

static inline void out8(u16 port, u8 v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static void put(const char *s)
{
    while (*s) {
        out8(0xe9, (u8)*s++);
    }
}

static void put_hex(u64 v)
{
    char digits[20] = "0x";

    for (int i = 0; i < 16; i++) {
        digits[2 + i] = "0123456789abcdef"[v >> (60 - 4 * i) & 15];
    }
    digits[18] = 0;
    put(digits);
}

static _Noreturn void quit(u8 status)
{
    out8(0xf4, status);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

static void fail(const char *file, int line, const char *what, u64 got)
{
    (void)line;
    put(file);
    put(": ");
    put(what);
    put(": ");
    put_hex(got);
    put("\n");
    quit(1);
}

#define STR2(x) #x
#define STR(x)  STR2(x)
/* Both fail with the place, the text and the value met. */
#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        u64 got_ = (u64)(a);                                                                       \
        if (got_ != (u64)(b)) {                                                                    \
            fail(__FILE__ ":" STR(__LINE__), __LINE__, #a " == " #b, got_);                        \
        }                                                                                          \
    } while (0)
#define CHECK(a) CHECK_EQ(!!(a), 1)

/* The last trap. vector is -1 if none came. */
typedef struct Trap {
    int vector;
    word error, cr2, ip, cs, flags, sp, ss;
    unsigned count;
} Trap;
static volatile Trap trap;
