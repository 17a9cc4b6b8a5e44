/* Output, exit and the few functions of a C library that compilers and vdriver call. */
#include "tests/guest/metal/metal.h"

enum { DEBUG_PORT = 0xe9, COM1 = 0x3f8, EXIT_PORT = 0xf4 };

void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

uint8_t in8(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static void put0(uint64_t text, uint64_t unused1, uint64_t unused2, uint64_t unused3)
{
    const char *s = (const char *)(uintptr_t)text;
    bool debug = in8(DEBUG_PORT) == DEBUG_PORT, serial = in8(COM1 + 5) != 0xff;

    (void)unused1;
    (void)unused2;
    (void)unused3;
    for (; *s; s++) {
        if (debug) {
            out8(DEBUG_PORT, (uint8_t)*s);
        }
        if (serial) {
            while (!(in8(COM1 + 5) & 0x20)) {
            }
            out8(COM1, (uint8_t)*s);
        }
    }
}

void put(const char *s)
{
    cpu_call0(put0, (uint64_t)(uintptr_t)s, 0, 0, 0);
}

void put_u(uint64_t v)
{
    char s[21];
    unsigned i = 20;

    s[20] = 0;
    do {
        s[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    put(s + i);
}

void put_hex(uint64_t v)
{
    char s[19] = "0x";

    for (unsigned i = 0; i < 16; i++) {
        s[2 + i] = "0123456789abcdef"[v >> (60 - 4 * i) & 15];
    }
    s[18] = 0;
    put(s);
}

void put_pair(const char *name, uint64_t v)
{
    put(" ");
    put(name);
    put("=");
    put_u(v);
}

static void exit0(uint64_t status, uint64_t unused1, uint64_t unused2, uint64_t unused3)
{
    (void)unused1;
    (void)unused2;
    (void)unused3;
    out8(EXIT_PORT, (uint8_t)status);
    for (;;) { /* no such device: a reset ends the run with -no-reboot */
        out8(0xcf9, 6);
        out8(0x64, 0xfe);
    }
}

void metal_exit(uint8_t status)
{
    cpu_call0(exit0, status, 0, 0, 0);
    __builtin_unreachable();
}

void metal_die(const char *what, uint64_t value)
{
    put("FAIL ");
    put(what);
    put(" ");
    put_hex(value);
    put("\n");
    metal_exit(EXIT_FAIL);
}

void metal_fail(const char *file, int line, const char *what)
{
    put("FAIL ");
    put(file);
    put(":");
    put_u((uint64_t)line);
    put(" ");
    put(what);
    put("\n");
    metal_exit(EXIT_FAIL);
}

static uint8_t arena[256 << 10] __attribute__((aligned(16)));
static size_t arena_top;

void *metal_scratch(size_t len)
{
    uint8_t *p = arena + arena_top;

    CHECK(len <= sizeof(arena) - arena_top);
    __builtin_memset(p, 0, len);
    arena_top += (len + 15) & ~(size_t)15;
    return p;
}

void metal_scratch_free(void *pp)
{
    arena_top = (size_t)(*(uint8_t **)pp - arena);
}

void *memset(void *dst, int c, size_t n)
{
    void *d = dst;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return dst;
}

void *memcpy(void *dst, const void *src, size_t n)
{
    void *d = dst;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n)::"memory");
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            return x[i] - y[i];
        }
    }
    return 0;
}
