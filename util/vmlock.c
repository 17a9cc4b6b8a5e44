/*
 * The VM lock: the main loop's token. Whoever releases it wakes the thread that waits longest,
 * which then competes with newcomers; after eight of them went first it is handed over. So a busy
 * main loop cannot starve a vCPU, nor vCPUs the main loop, and the usual uncontended case is one
 * atomic exchange each way. Tested by test-loop.
 */
#include "util/loop.h"
#include "util/rcu.h"

#include <stdatomic.h>

enum { VM_LOCK_PATIENCE = 8 };

typedef struct VmWaiter {
    GCond cond;
    bool granted; /* the lock was handed over: it is still marked held */
    bool woken;
    struct VmWaiter *next;
} VmWaiter;

enum {
    HELD = 1,
    WAITERS = 2, /* the short ways are closed: all who come and go pass by m */
};

static struct {
    _Atomic unsigned state;
    GMutex m;        /* guards the rest; held for a few instructions only */
    unsigned passed; /* newcomers that went before the first waiter */
    VmWaiter *head, **tail;
} vm = { .tail = &vm.head };

static __thread bool vm_mine;

/* With m held: takes it if it is free. */
static bool vm_take(void)
{
    unsigned now = atomic_load_explicit(&vm.state, memory_order_relaxed);

    /* Fails when somebody takes the short way at the same time: then it is held. */
    return !(now & HELD) && atomic_compare_exchange_strong_explicit(&vm.state, &now, now | HELD,
                                memory_order_acquire, memory_order_relaxed);
}

static void vm_wait(void)
{
    VmWaiter self = { 0 };

    g_cond_init(&self.cond);
    *vm.tail = &self;
    vm.tail = &self.next;
    /* From here whoever releases it comes by and sees us. */
    atomic_fetch_or_explicit(&vm.state, WAITERS, memory_order_relaxed);
    while (!self.granted && !(vm.head == &self && vm_take())) {
        self.woken = false;
        g_cond_wait(&self.cond, &vm.m);
    }
    g_assert(vm.head == &self);
    vm.head = self.next;
    if (!vm.head) {
        vm.tail = &vm.head;
    }
    vm.passed = 0;
    g_cond_clear(&self.cond);
}

static void vm_acquire(void)
{
    if ((!vm.head || vm.passed < VM_LOCK_PATIENCE) && vm_take()) {
        vm.passed += vm.head != NULL;
    } else {
        vm_wait();
    }
    if (!vm.head) {
        atomic_fetch_and_explicit(&vm.state, ~(unsigned)WAITERS, memory_order_relaxed);
    }
    vm_mine = true;
}

static void vm_release(void)
{
    VmWaiter *first = vm.head;

    vm_mine = false;
    if (first && vm.passed >= VM_LOCK_PATIENCE) {
        first->granted = true; /* it stays marked as held */
        g_cond_signal(&first->cond);
        return;
    }
    atomic_fetch_and_explicit(&vm.state, ~(unsigned)HELD, memory_order_release);
    if (first && !first->woken) {
        first->woken = true;
        g_cond_signal(&first->cond);
    }
}

void vm_lock(void)
{
    unsigned none = 0;

    /* Recursion, and an iothread taking the lock, are programming errors: house rule "an iothread
     * never waits for main". */
    g_assert(!vm_mine);
    g_assert(!loop_current());
    if (atomic_compare_exchange_strong_explicit(
            &vm.state, &none, HELD, memory_order_acquire, memory_order_relaxed)) {
        vm_mine = true;
        return;
    }
    g_mutex_lock(&vm.m);
    vm_acquire();
    g_mutex_unlock(&vm.m);
}

void vm_unlock(void)
{
    unsigned held = HELD;

    g_assert(vm_mine);
    vm_mine = false;
    if (atomic_compare_exchange_strong_explicit(
            &vm.state, &held, 0, memory_order_release, memory_order_relaxed)) {
        return;
    }
    g_mutex_lock(&vm.m);
    vm_release();
    g_mutex_unlock(&vm.m);
}

bool vm_lock_wanted(void)
{
    return atomic_load_explicit(&vm.state, memory_order_relaxed) & WAITERS;
}

bool vm_lock_held(void)
{
    return vm_mine;
}

void vm_cond_wait(GCond *cond)
{
    g_assert(vm_mine);
    rcu_offline();
    g_mutex_lock(&vm.m);
    /* Nobody can have the VM lock, and so signal, before m is free. */
    atomic_fetch_or_explicit(&vm.state, WAITERS, memory_order_relaxed);
    vm_release();
    g_cond_wait(cond, &vm.m);
    vm_acquire();
    g_mutex_unlock(&vm.m);
    rcu_online();
}
