/*
 * kvmclock (KVM's CPUID leaves 4000_0000h and 4000_0001h, and its clock's MSRs): the page that the
 * kernel keeps for a processor, beside the time stamp counter; and what of it a stop of the machine
 * takes away.
 */
#include "tests/guest/metal/metal.h"

enum { MSR_WALL = 0x4b564d00, MSR_SYSTEM = 0x4b564d01, PAGE = 0x700000, SHOWN = 0x701000 };
enum { CLOCKSOURCE2 = 1 << 3, STEP_NS = 20000000 };

typedef struct __attribute__((packed)) TimeInfo {
    uint32_t version, pad0;
    uint64_t tsc_timestamp, system_time;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad[2];
} TimeInfo;
typedef struct Wall {
    uint32_t version, sec, nsec;
} Wall;

static void cpuid(uint32_t leaf, uint32_t *ret)
{
    __asm__ volatile("cpuid"
                     : "=a"(ret[0]), "=b"(ret[1]), "=c"(ret[2]), "=d"(ret[3])
                     : "a"(leaf), "c"(0));
}

static void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static uint64_t scaled(uint64_t ticks, uint32_t mul, int shift)
{
    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    return (uint64_t)((unsigned __int128)ticks * mul >> 32);
}

/* An odd version: it is being written. */
static uint64_t clock_now(const volatile TimeInfo *t)
{
    for (;;) {
        uint32_t version = t->version;
        uint64_t delta = tsc() - t->tsc_timestamp, at = t->system_time;
        uint32_t mul = t->mul;
        int shift = t->shift;

        __asm__ volatile("" ::: "memory");
        if (!(version & 1) && version == t->version) {
            return at + scaled(delta, mul, shift);
        }
    }
}

/* Both advance together: the one's reads lie between the other's, so a busy host does not matter
 * but to what the interval timer said of the counter's rate. */
static void advance(const volatile TimeInfo *t)
{
    for (unsigned i = 0; i < 5; i++) {
        uint64_t outer = clock_now(t), at = tsc(), inner = clock_now(t), end, took;

        while (tsc_to_ns(tsc() - at) < STEP_NS) {
        }
        end = clock_now(t);
        took = tsc_to_ns(tsc() - at);
        CHECK(end > inner && end - inner <= took * 2);
        CHECK(clock_now(t) - outer >= took / 2);
    }
    for (uint64_t i = 0, was = 0, now; i < 10000; i++, was = now) {
        now = clock_now(t);
        CHECK(now >= was);
    }
}

/* Shows the time by both clocks until somebody writes to the third number. */
static void show(const volatile TimeInfo *t)
{
    volatile uint64_t *at = (volatile uint64_t *)(uintptr_t)SHOWN;
    uint64_t c = clock_now(t), s = tsc();

    at[0] = at[1] = at[2] = 0;
    put("showing\n");
    while (!at[2]) {
        at[0] = clock_now(t) - c;
        at[1] = scaled(tsc() - s, t->mul, t->shift);
    }
}

void clock_test(void)
{
    volatile TimeInfo *t = (volatile TimeInfo *)(uintptr_t)PAGE;
    volatile Wall *w = (volatile Wall *)(uintptr_t)(PAGE + 64);
    uint32_t r[4], features = 0;

    cpuid(0x40000000, r);
    if (r[1] == 0x4b4d564b && r[0] >= 0x40000001) { /* "KVMK" */
        cpuid(0x40000001, r);
        features = r[0];
    }
    put("features=");
    put_hex(features);
    put("\n");
    if (features & CLOCKSOURCE2) {
        t->version = w->version = 0;
        wrmsr(MSR_SYSTEM, (uintptr_t)t | 1);
        CHECK(t->version && t->mul);
        wrmsr(MSR_WALL, (uintptr_t)w);
        CHECK(w->version && !(w->version & 1));
        advance(t);
        put_pair("wall", w->sec + clock_now(t) / 1000000000);
        put("\n");
        if (opt.n) {
            show(t);
        }
        wrmsr(MSR_SYSTEM, 0);
    }
    put("RESULT clock");
    put_pair("clock", (features & CLOCKSOURCE2) != 0);
    put("\n");
}
