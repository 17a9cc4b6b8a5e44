/*
 * Adaptive polling: before it sleeps, a loop asks memory for a while whether there is work. How
 * long follows from how soon events came after it had gone to sleep. Tested by test-loop.
 */
#include "loop-internal.h"

#if defined __x86_64__
#include <immintrin.h>
#define relax() _mm_pause()
#else
#define relax() ((void)0)
#endif

enum {
    FIRST_NS = 4000, /* the first poll, behind every event: what a wake-up costs is far more */
    STRETCH_NS =
        200000, /* work may keep the poll going so long; then descriptors have their turn */
    LOOKS_PER_CLOCK = 8,
    WAKE_MAX_NS = 64000,
    WAKE_DRIFT = 256,
};

void loop_poll_add(Loop *l, LoopPoll *p)
{
    loop_assert(l);
    p->next = l->polls;
    l->polls = p;
    if (l->polling && p->begin) {
        p->begin(p->opaque);
    }
}

void loop_poll_del(Loop *l, LoopPoll *p)
{
    loop_assert(l);
    for (LoopPoll **at = &l->polls; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            return;
        }
    }
}

void loop_poll_tune(Loop *l, int64_t max_ns, int64_t grow, int64_t shrink)
{
    /* Three independent numbers, each read once a turn. */
    atomic_store_explicit(&l->poll_grow, grow, memory_order_relaxed);
    atomic_store_explicit(&l->poll_shrink, shrink, memory_order_relaxed);
    atomic_store_explicit(&l->poll_max, max_ns, memory_order_relaxed);
}

static bool poll_end(Loop *l)
{
    bool more = false;

    if (l->polling) {
        l->polling = false;
        for (LoopPoll *p = l->polls; p; p = p->next) {
            more |= p->end && p->end(p->opaque);
        }
    }
    return more;
}

static bool ask_all(Loop *l)
{
    bool any = false;

    for (LoopPoll *p = l->polls, *next; p; p = next) {
        next = p->next;
        any |= p->poll(p->opaque);
    }
    return any;
}

/* span times the factor grow, at least FIRST_NS, at most what is allowed. */
static void lengthen(Loop *l)
{
    int64_t max = atomic_load_explicit(&l->poll_max, memory_order_relaxed);
    int64_t grow = atomic_load_explicit(&l->poll_grow, memory_order_relaxed), longer;

    if (l->poll_ns < FIRST_NS) {
        longer = FIRST_NS;
    } else if (__builtin_mul_overflow(l->poll_ns, grow ? grow : 2, &longer)) {
        longer = max;
    }
    l->poll_ns = MIN(longer, max);
}

static void poll_start(Loop *l)
{
    if (!l->polling) {
        l->polling = true;
        for (LoopPoll *p = l->polls; p; p = p->next) {
            if (p->begin) {
                p->begin(p->opaque);
            }
        }
    }
}

void loop_poll_begin(Loop *l)
{
    if (l->polls && MIN(l->poll_ns, atomic_load_explicit(&l->poll_max, memory_order_relaxed)) > 0) {
        poll_start(l);
    }
}

bool loop_poll_instead(Loop *l, int64_t timeout)
{
    int64_t max = atomic_load_explicit(&l->poll_max, memory_order_relaxed);
    int64_t span = MIN(l->poll_ns, max);
    bool worked = false;

    if (!timeout) {
        ask_all(l); /* no time, but while nobody rings they have to be asked */
        return true;
    }
    if (timeout > 0) {
        span = MIN(span, timeout);
    }
    if (span <= 0) {
        return poll_end(l);
    }
    poll_start(l);
    int64_t now = clock_ns(CLOCK_KIND_REALTIME), until = now + span;
    int64_t stretch = now + MAX(span, timeout < 0 ? STRETCH_NS : MIN(STRETCH_NS, timeout));

    do {
        for (unsigned i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (ask_all(l)) {
                worked = true;
                until = stretch;
            }
            if (l->idle) {
                loop_run_idle(l);
                worked = true;
            }
            if (atomic_load_explicit(&l->posted, memory_order_relaxed) ||
                (l->is_main && vm_lock_wanted())) {
                return true;
            }
            relax();
        }
        now = clock_ns(CLOCK_KIND_REALTIME);
        if (worked && until == stretch && now < stretch) {
            until = MIN(stretch, now + span);
        }
    } while (now < until);
    if (worked) {
        lengthen(l);
    }
    return worked || poll_end(l);
}

/* What waking up costs on this host: the shortest sleep of late that an event ended. */
static int64_t wake_cost(Loop *l, int64_t slept)
{
    int64_t slowly = l->wake_ns + l->wake_ns / WAKE_DRIFT + 1;

    l->wake_ns = MIN(MIN(slept, WAKE_MAX_NS), l->wake_ns ? slowly : WAKE_MAX_NS);
    return l->wake_ns;
}

void loop_poll_learn(Loop *l, int64_t since, bool woken)
{
    int64_t max = atomic_load_explicit(&l->poll_max, memory_order_relaxed);
    int64_t shrink = atomic_load_explicit(&l->poll_shrink, memory_order_relaxed);
    int64_t slept = clock_ns(CLOCK_KIND_REALTIME) - since;

    /* When the event came, not when it was heard: a longer poll would have met it. */
    if (slept - (woken ? wake_cost(l, slept) : 0) > max) {
        l->poll_ns = shrink ? l->poll_ns / shrink : 0;
        /* A host that wakes threads slowly would otherwise never learn that work comes fast. */
        l->poll_ns = woken ? MAX(l->poll_ns, MIN(FIRST_NS, max)) : l->poll_ns;
    } else if (woken && l->poll_ns < max) {
        lengthen(l);
    }
}
