/* Worker threads for blocking work: started on demand, gone after ten idle seconds, at most 64.
 * Tested by test-pool. */
#include "util/pool.h"

enum { POOL_MAX = 64, POOL_IDLE_SECONDS = 10 };

/* The process's pool; everything guarded by lock. */
static struct {
    GMutex lock;
    GCond work;
    PoolJob *head, *tail;
    unsigned threads, idle, queued;
} pool;

static void pool_done(void *opaque)
{
    PoolJob *j = opaque;

    j->done(j);
}

static PoolJob *pool_take(void)
{
    PoolJob *j = pool.head;

    if (j) {
        pool.head = j->next;
        pool.queued--;
        if (!pool.head) {
            pool.tail = NULL;
        }
    }
    return j;
}

static gpointer pool_thread(G_GNUC_UNUSED gpointer unused)
{
    g_mutex_lock(&pool.lock);
    for (;;) {
        PoolJob *j = pool_take();

        if (!j) {
            gint64 until = g_get_monotonic_time() + POOL_IDLE_SECONDS * G_TIME_SPAN_SECOND;

            pool.idle++;
            bool woken = g_cond_wait_until(&pool.work, &pool.lock, until);

            pool.idle--;
            if (!woken && !pool.head) {
                break;
            }
            continue;
        }
        g_mutex_unlock(&pool.lock);
        j->work(j);
        loop_post(j->loop, pool_done, j); /* done() may free j: not touched any more */
        g_mutex_lock(&pool.lock);
    }
    pool.threads--;
    g_mutex_unlock(&pool.lock);
    return NULL;
}

/* The host refused a thread: another one will come to the job, or it is done here. */
static void pool_thread_missing(void)
{
    g_mutex_lock(&pool.lock);
    PoolJob *j = --pool.threads ? NULL : pool_take();

    g_mutex_unlock(&pool.lock);
    if (j) {
        j->work(j);
        loop_post(j->loop, pool_done, j);
    }
}

void pool_submit(PoolJob *j)
{
    loop_assert(j->loop);
    j->next = NULL;
    g_mutex_lock(&pool.lock);
    if (pool.tail) {
        pool.tail->next = j;
    } else {
        pool.head = j;
    }
    pool.tail = j;
    pool.queued++;
    bool start = pool.queued > pool.idle && pool.threads < POOL_MAX;

    if (start) {
        pool.threads++;
    } else {
        g_cond_signal(&pool.work);
    }
    g_mutex_unlock(&pool.lock);
    if (start) {
        GThread *t = g_thread_try_new("pool", pool_thread, NULL, NULL);

        if (!t) {
            pool_thread_missing();
            return;
        }
        g_thread_unref(t);
    }
}
