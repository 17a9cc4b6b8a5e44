/*
 * RCU by quiescent states, over liburcu's QSBR flavour: its readers are plain loads, and every
 * thread of ours has natural points where it holds nothing (a loop turn, a VM exit). Threads that
 * never registered may call everything here.
 */
#define _LGPL_SOURCE 1 /* liburcu's inline fast paths */
#include "util/rcu.h"

#include <glib.h>
#include <stdbool.h>
#include <urcu-qsbr.h>

typedef struct RcuDeferred {
    struct rcu_head head;
    void (*fn)(void *);
    void *ptr;
} RcuDeferred;

static __thread unsigned registered;

/* What ThreadSanitizer cannot see, since liburcu is not instrumented: what a thread did before a
 * quiescent point is over when a deferred call runs, and rcu_defer() is. */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *at);
void __tsan_release(void *at);
static char grace, drained; /* only their addresses */
#define TOLD_RELEASE(at) __tsan_release(at)
#define TOLD_ACQUIRE(at) __tsan_acquire(at)
#else
#define TOLD_RELEASE(at) ((void)0)
#define TOLD_ACQUIRE(at) ((void)0)
#endif

void rcu_thread_register(void)
{
    if (!registered++) {
        rcu_register_thread();
    }
}

void rcu_thread_unregister(void)
{
    g_assert(registered);
    if (!--registered) {
        TOLD_RELEASE(&grace);
        rcu_unregister_thread();
    }
}

void rcu_offline(void)
{
    if (registered) {
        TOLD_RELEASE(&grace);
        rcu_thread_offline();
    }
}

void rcu_online(void)
{
    if (registered) {
        rcu_thread_online();
    }
}

void rcu_quiescent(void)
{
    if (registered) {
        TOLD_RELEASE(&grace);
        rcu_quiescent_state();
    }
}

static void rcu_run(struct rcu_head *head)
{
    RcuDeferred *d = caa_container_of(head, RcuDeferred, head);

    TOLD_ACQUIRE(&grace);
    TOLD_ACQUIRE(d);
    d->fn(d->ptr);
    g_free(d);
    TOLD_RELEASE(&drained);
}

void rcu_defer(void (*fn)(void *), void *ptr)
{
    RcuDeferred *d = g_new(RcuDeferred, 1);

    d->fn = fn;
    d->ptr = ptr;
    TOLD_RELEASE(d);
    call_rcu(&d->head, rcu_run);
}

void rcu_drain(void)
{
    rcu_offline();
    rcu_barrier();
    TOLD_ACQUIRE(&drained);
    rcu_online();
}
