/*
 * The VM lock: the main loop's token. Whoever releases it wakes the thread that waits longest,
 * which then competes with newcomers; after eight of them went first it is handed over. So a busy
 * main loop cannot starve a vCPU, nor vCPUs the main loop, and the usual uncontended case needs no
 * context switch. Tested by test-loop.
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

static struct {
    GMutex m; /* guards the rest; held for a few instructions only */
    bool held;
    unsigned passed; /* newcomers that went before the first waiter */
    VmWaiter *head, **tail;
    atomic_bool wanted; /* head is not NULL: a hint for who holds it */
} vm = { .tail = &vm.head };

static __thread bool vm_mine;

static void vm_wait(void)
{
    VmWaiter self = { 0 };

    g_cond_init(&self.cond);
    *vm.tail = &self;
    vm.tail = &self.next;
    atomic_store_explicit(&vm.wanted, true, memory_order_relaxed);
    while (!self.granted && (vm.held || vm.head != &self)) {
        self.woken = false;
        g_cond_wait(&self.cond, &vm.m);
    }
    g_assert(vm.head == &self);
    vm.head = self.next;
    if (!vm.head) {
        vm.tail = &vm.head;
        atomic_store_explicit(&vm.wanted, false, memory_order_relaxed);
    }
    vm.held = true;
    vm.passed = 0;
    g_cond_clear(&self.cond);
}

static void vm_acquire(void)
{
    if (!vm.held && (!vm.head || vm.passed < VM_LOCK_PATIENCE)) {
        vm.held = true;
        vm.passed += vm.head != NULL;
    } else {
        vm_wait();
    }
    vm_mine = true;
}

static void vm_release(void)
{
    VmWaiter *first = vm.head;

    vm_mine = false;
    if (first && vm.passed >= VM_LOCK_PATIENCE) {
        first->granted = true;
        g_cond_signal(&first->cond);
        return;
    }
    vm.held = false;
    if (first && !first->woken) {
        first->woken = true;
        g_cond_signal(&first->cond);
    }
}

void vm_lock(void)
{
    /* Recursion, and an iothread taking the lock, are programming errors: house rule "an iothread
     * never waits for main". */
    g_assert(!vm_mine);
    g_assert(!loop_current());
    g_mutex_lock(&vm.m);
    vm_acquire();
    g_mutex_unlock(&vm.m);
}

void vm_unlock(void)
{
    g_assert(vm_mine);
    g_mutex_lock(&vm.m);
    vm_release();
    g_mutex_unlock(&vm.m);
}

bool vm_lock_wanted(void)
{
    return atomic_load_explicit(&vm.wanted, memory_order_relaxed);
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
    vm_release();
    g_cond_wait(cond, &vm.m); /* nobody can have the VM lock, and so signal, before m is free */
    vm_acquire();
    g_mutex_unlock(&vm.m);
    rcu_online();
}
