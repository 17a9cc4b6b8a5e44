/* util/rcu.c: deferred work waits for every online reader. */
#include "util/rcu.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

static atomic_int freed;
static GMutex lock;
static GCond cond;
static int phase; /* guarded by lock */

static void set_phase(int p)
{
    g_mutex_lock(&lock);
    phase = p;
    g_cond_broadcast(&cond);
    g_mutex_unlock(&lock);
}

static void wait_phase(int p)
{
    g_mutex_lock(&lock);
    while (phase < p) {
        g_cond_wait(&cond, &lock);
    }
    g_mutex_unlock(&lock);
}

static void count(void *ptr)
{
    atomic_fetch_add(&freed, *(int *)ptr);
}

static gpointer reader(G_GNUC_UNUSED gpointer unused)
{
    rcu_thread_register();
    set_phase(1);
    wait_phase(2); /* online: whatever is deferred now must wait */
    g_assert_cmpint(atomic_load(&freed), ==, 0);
    rcu_quiescent();
    rcu_offline();
    set_phase(3);
    wait_phase(4);
    rcu_online();
    rcu_thread_unregister();
    return NULL;
}

static void test_reader_holds_back(void)
{
    static int seven = 7;
    GThread *t = g_thread_new("reader", reader, NULL);

    wait_phase(1);
    rcu_defer(count, &seven);
    set_phase(2);
    wait_phase(3);
    rcu_drain();
    g_assert_cmpint(atomic_load(&freed), ==, 7);
    set_phase(4);
    g_thread_join(t);
}

static void test_unregistered_calls_are_harmless(void)
{
    rcu_offline();
    rcu_online();
    rcu_quiescent();
    rcu_thread_register();
    rcu_thread_register(); /* counted */
    rcu_thread_unregister();
    rcu_quiescent();
    rcu_thread_unregister();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rcu/defer/waits-for-online-reader", test_reader_holds_back);
    g_test_add_func("/rcu/unregistered/harmless", test_unregistered_calls_are_harmless);
    return g_test_run();
}
