/*
 * Clocks and timers. Every clock a guest can see derives from one reading of CLOCK_MONOTONIC: the
 * time stamp counter is the virtual clock in other units, so that TSC, PIT, HPET and PM timer
 * always agree.
 */
#include "util/timer.h"

#include "loop-internal.h"

#include <time.h>

enum { NS_PER_S = 1000000000 };

/* The process's clocks. seq is odd while a writer (main, VM lock) changes the rest. */
static struct {
    atomic_uint seq;
    _Atomic int64_t base; /* running: added to real time; else: the time itself */
    atomic_bool running;
    bool qtest;
    gsize tsc_hz;
} clocks;

static int64_t clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t clock_virtual(void)
{
    for (;;) {
        /* Pairs with clock_change(). */
        unsigned seq = atomic_load_explicit(&clocks.seq, memory_order_acquire);
        int64_t base = atomic_load_explicit(&clocks.base, memory_order_relaxed);
        bool on = atomic_load_explicit(&clocks.running, memory_order_relaxed);

        atomic_thread_fence(memory_order_acquire);
        if (!(seq & 1) && seq == atomic_load_explicit(&clocks.seq, memory_order_relaxed)) {
            return on ? base + clock_read(CLOCK_MONOTONIC) : base;
        }
    }
}

static void clock_change(int64_t base, bool on)
{
    atomic_fetch_add_explicit(&clocks.seq, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&clocks.base, base, memory_order_relaxed);
    atomic_store_explicit(&clocks.running, on, memory_order_relaxed);
    atomic_fetch_add_explicit(&clocks.seq, 1, memory_order_release);
    loop_kick_all();
}

int64_t clock_ns(ClockKind k)
{
    switch (k) {
    case CLOCK_KIND_VIRTUAL:
        return clock_virtual();
    case CLOCK_KIND_REALTIME:
        return clock_read(CLOCK_MONOTONIC);
    case CLOCK_KIND_HOST:
        return clock_read(CLOCK_REALTIME);
    case CLOCK_KINDS:
        break;
    }
    g_assert_not_reached();
}

void clock_virtual_start(void)
{
    if (!clocks.qtest && !clocks.running) {
        clock_change(clocks.base - clock_read(CLOCK_MONOTONIC), true);
    }
}

void clock_virtual_stop(void)
{
    if (!clocks.qtest && clocks.running) {
        clock_change(clock_virtual(), false);
    }
}

bool clock_virtual_running(void)
{
    return atomic_load_explicit(&clocks.running, memory_order_relaxed);
}

/* Ticks of the host's counter in 200 µs, to about 0.01 %; where there is no such counter, 1 GHz. */
static uint64_t tsc_measure(void)
{
#if defined(__x86_64__)
    int64_t t0 = clock_read(CLOCK_MONOTONIC), t1;
    uint64_t c0 = __builtin_ia32_rdtsc();

    do {
        t1 = clock_read(CLOCK_MONOTONIC);
    } while (t1 - t0 < 200000);
    uint64_t hz = (__builtin_ia32_rdtsc() - c0) * NS_PER_S / (uint64_t)(t1 - t0);

    hz -= hz % 100000;
    if (hz >= 100000000) {
        return hz;
    }
#endif
    return NS_PER_S;
}

uint64_t clock_tsc_hz(void)
{
    if (g_once_init_enter(&clocks.tsc_hz)) {
        g_once_init_leave(&clocks.tsc_hz, tsc_measure());
    }
    return clocks.tsc_hz;
}

uint64_t clock_tsc(void)
{
    return (uint64_t)((unsigned __int128)(uint64_t)clock_virtual() * clock_tsc_hz() / NS_PER_S);
}

void clock_virtual_use_qtest(void)
{
    clocks.qtest = true;
    clock_change(0, false);
}

bool clock_is_qtest(void)
{
    return clocks.qtest;
}

/* The heap: children of i are 2i+1 and 2i+2. */

static void heap_put(TimerHeap *h, unsigned i, Timer *t)
{
    h->v[i] = t;
    t->heap_index = i;
}

static void heap_up(TimerHeap *h, unsigned i, Timer *t)
{
    while (i && h->v[(i - 1) / 2]->expire > t->expire) {
        heap_put(h, i, h->v[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(h, i, t);
}

static void heap_down(TimerHeap *h, unsigned i, Timer *t)
{
    for (;;) {
        unsigned c = 2 * i + 1;

        if (c + 1 < h->n && h->v[c + 1]->expire < h->v[c]->expire) {
            c++;
        }
        if (c >= h->n || h->v[c]->expire >= t->expire) {
            break;
        }
        heap_put(h, i, h->v[c]);
        i = c;
    }
    heap_put(h, i, t);
}

static void heap_remove(TimerHeap *h, Timer *t)
{
    unsigned i = t->heap_index;
    Timer *last = h->v[--h->n];

    t->expire = -1;
    if (last == t) {
        return;
    }
    if (i && h->v[(i - 1) / 2]->expire > last->expire) {
        heap_up(h, i, last);
    } else {
        heap_down(h, i, last);
    }
}

void timer_init(Timer *t, Loop *l, ClockKind k, TimerFn *fn, void *opaque)
{
    *t = (Timer){ .loop = l, .fn = fn, .opaque = opaque, .expire = -1, .kind = k };
}

void timer_mod(Timer *t, int64_t expire_ns)
{
    Loop *l = t->loop;
    TimerHeap *h = &l->heap[t->kind];

    loop_assert(l);
    expire_ns = MAX(expire_ns, 0);
    if (t->expire == expire_ns) {
        return;
    }
    if (t->expire >= 0) {
        heap_remove(h, t);
    }
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 16;
        h->v = g_renew(Timer *, h->v, h->cap);
    }
    t->expire = expire_ns;
    heap_up(h, h->n++, t);
    /* A vCPU with the token moved the main loop's deadline while that one may be asleep. */
    if (expire_ns < l->planned[t->kind]) {
        l->planned[t->kind] = expire_ns;
        loop_kick(l);
    }
}

void timer_del(Timer *t)
{
    if (t->expire >= 0) {
        loop_assert(t->loop);
        heap_remove(&t->loop->heap[t->kind], t);
    }
}

bool timer_pending(const Timer *t)
{
    return t->expire >= 0;
}

int64_t timers_timeout(Loop *l)
{
    int64_t timeout = -1;

    for (ClockKind k = 0; k < CLOCK_KINDS; k++) {
        const TimerHeap *h = &l->heap[k];

        l->planned[k] = h->n ? h->v[0]->expire : INT64_MAX;
        if (!h->n) {
            continue;
        }
        int64_t now = clock_ns(k); /* read once: MAX() evaluates its arguments twice */
        int64_t left = MAX(h->v[0]->expire - now, 0);

        if (k == CLOCK_KIND_VIRTUAL && left && !clock_virtual_running()) {
            continue; /* start and qtest's steps wake every loop */
        }
        if (k == CLOCK_KIND_HOST) {
            left = MIN(left, NS_PER_S); /* the host's clock may be set */
        }
        timeout = timeout < 0 ? left : MIN(timeout, left);
    }
    return timeout;
}

static bool timers_run_kind(Loop *l, ClockKind k)
{
    TimerHeap *h = &l->heap[k];
    unsigned budget = h->n;

    if (l->depth <= 1) {
        l->planned[k] = INT64_MIN; /* awake: no need to kick. A vCPU's nested turn leaves it to the
                                      sleeper below */
    }
    if (!budget) {
        return false;
    }
    int64_t now = clock_ns(k);
    bool any = false;

    while (budget-- && h->n && h->v[0]->expire <= now) {
        Timer *t = h->v[0];

        heap_remove(h, t);
        t->fn(t->opaque);
        any = true;
    }
    return any;
}

bool timers_run(Loop *l)
{
    bool any = false;

    for (ClockKind k = 0; k < CLOCK_KINDS; k++) {
        any |= timers_run_kind(l, k);
    }
    return any;
}

void timers_fini(Loop *l)
{
    for (ClockKind k = 0; k < CLOCK_KINDS; k++) {
        g_free(l->heap[k].v);
    }
}

int64_t clock_virtual_deadline(void)
{
    const TimerHeap *h = &loop_main()->heap[CLOCK_KIND_VIRTUAL];

    return h->n ? h->v[0]->expire : -1;
}

void clock_virtual_advance_to(int64_t ns)
{
    Loop *l = loop_main();

    loop_assert(l);
    g_assert(clocks.qtest);
    for (;;) {
        int64_t at = clock_virtual_deadline();

        if (at < 0 || at > ns) {
            break;
        }
        clock_change(MAX(at, clocks.base), false);
        timers_run_kind(l, CLOCK_KIND_VIRTUAL);
    }
    clock_change(MAX(ns, clocks.base), false);
}
