/*
 * Worker threads for blocking work: started on demand, gone after ten idle seconds, at most 64. One
 * at a time is on its way to the queue; when it finds more than it takes it sends for the next. So
 * short jobs are done by few threads without waking the others, and long ones get a thread each.
 * Tested by test-pool.
 */
#include "util/pool.h"

enum { POOL_MAX = 64, POOL_IDLE_SECONDS = 10 };

/* The process's pool; everything guarded by lock. */
static struct {
    GMutex lock;
    GCond work;
    PoolJob *head, *tail;
    unsigned threads, idle;
    bool coming; /* somebody was woken or is being made, and has not looked yet */
} pool;

static gpointer pool_thread(gpointer unused);

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
        if (!pool.head) {
            pool.tail = NULL;
        }
    }
    return j;
}

static void pool_run(PoolJob *j)
{
    j->work(j);
    loop_post(j->loop, pool_done, j); /* done() may free j: not touched any more */
}

/* Whatever is queued needs somebody: true: a thread has to be made, by pool_start(). */
static bool pool_send(void)
{
    if (!pool.head || pool.coming || (!pool.idle && pool.threads == POOL_MAX)) {
        return false;
    }
    pool.coming = true;
    if (pool.idle) {
        g_cond_signal(&pool.work);
        return false;
    }
    pool.threads++;
    return true;
}

/* The lock is not held. */
static void pool_start(void)
{
    GThread *t = g_thread_try_new("pool", pool_thread, NULL, NULL);

    if (t) {
        g_thread_unref(t);
        return;
    }
    /* The host refused one: another comes to the job when its own is done, or it is done here. */
    g_mutex_lock(&pool.lock);
    pool.coming = false;
    PoolJob *j = --pool.threads ? NULL : pool_take();

    g_mutex_unlock(&pool.lock);
    if (j) {
        pool_run(j);
    }
}

static gpointer pool_thread(G_GNUC_UNUSED gpointer unused)
{
    bool sent = true; /* whether it is this thread that is awaited */

    g_mutex_lock(&pool.lock);
    for (;;) {
        PoolJob *j = pool_take();

        if (sent) {
            pool.coming = sent = false;
        }
        if (!j) {
            gint64 until = g_get_monotonic_time() + POOL_IDLE_SECONDS * G_TIME_SPAN_SECOND;

            pool.idle++;
            sent = g_cond_wait_until(&pool.work, &pool.lock, until);
            pool.idle--;
            if (!sent && !pool.head && !pool.coming) {
                break;
            }
            sent = true; /* whoever wakes: the one that was signalled may sleep on */
            continue;
        }
        bool start = pool_send();

        g_mutex_unlock(&pool.lock);
        if (start) {
            pool_start();
        }
        pool_run(j);
        g_mutex_lock(&pool.lock);
    }
    pool.threads--;
    g_mutex_unlock(&pool.lock);
    return NULL;
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
    bool start = pool_send();

    g_mutex_unlock(&pool.lock);
    if (start) {
        pool_start();
    }
}
