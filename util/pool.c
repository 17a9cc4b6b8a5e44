/*
 * Worker threads for blocking work: started on demand, gone after ten idle seconds, at most 64.
 * Somebody is on its way to the queue as long as there is something in it; whoever is going to wait
 * sends for the next first. So quick jobs are done by one thread without waking another, what they
 * finish comes home together, and long ones get a thread each. Tested by test-pool.
 */
#include "util/pool.h"

#include <stdatomic.h>

#if defined __x86_64__
#include <immintrin.h>
#define relax() _mm_pause()
#else
#define relax() ((void)0)
#endif

enum {
    POOL_MAX = 64,
    POOL_IDLE_SECONDS = 10,
    SPIN_US =
        20, /* behind its last job a worker looks for another so long: waking one costs more */
    TOGETHER = 48, /* quick jobs that come home at once */
};

/* The process's pool; guarded by lock but for filled. */
static struct {
    GMutex lock;
    GCond work;
    PoolJob *head, *tail;
    _Atomic bool filled; /* a hint for who spins */
    unsigned threads, idle;
    bool coming;   /* somebody was woken or is being made, and has not looked yet */
    unsigned near; /* who look again soon: at a quick job, spinning */
    bool spinning;
} pool;

typedef struct Finished { /* a worker's, for one loop */
    PoolJob *head, **tail;
    unsigned n;
} Finished;

typedef enum Send { SEND_NOBODY, SEND_WAKE, SEND_MAKE } Send;

static gpointer pool_thread(gpointer unused);

static void pool_done(void *opaque)
{
    for (PoolJob *j = opaque, *next; j; j = next) {
        next = j->next;
        j->done(j); /* may free j */
    }
}

static void go_home(Finished *f)
{
    if (f->n) {
        *f->tail = NULL;
        loop_post(f->head->loop, pool_done, f->head); /* not touched any more */
        f->n = 0;
    }
}

static void finished(Finished *f, PoolJob *j)
{
    if (f->n == TOGETHER || (f->n && f->head->loop != j->loop)) {
        go_home(f);
    }
    *(f->n++ ? f->tail : &f->head) = j;
    f->tail = &j->next;
}

static PoolJob *pool_take(void)
{
    PoolJob *j = pool.head;

    if (j) {
        pool.head = j->next;
        if (!pool.head) {
            pool.tail = NULL;
            atomic_store_explicit(&pool.filled, false, memory_order_relaxed);
        }
    }
    return j;
}

/* Whatever is queued needs somebody; what to do without the lock, by pool_send(). */
static Send pool_whom(void)
{
    if (!pool.head || pool.coming || pool.near || (!pool.idle && pool.threads == POOL_MAX)) {
        return SEND_NOBODY;
    }
    pool.coming = true;
    if (pool.idle) {
        return SEND_WAKE;
    }
    pool.threads++;
    return SEND_MAKE;
}

/* The lock is not held. */
static void pool_send(Send whom)
{
    if (whom == SEND_WAKE) {
        g_cond_signal(&pool.work); /* one that is idle now, or was when the lock was held */
    }
    GThread *t = whom == SEND_MAKE ? g_thread_try_new("pool", pool_thread, NULL, NULL) : NULL;

    if (t) {
        g_thread_unref(t);
    } else if (whom == SEND_MAKE) {
        /* The host refused one: another comes to the job when its own is done, or it is done here.
         */
        g_mutex_lock(&pool.lock);
        pool.coming = false;
        PoolJob *j = --pool.threads ? NULL : pool_take();

        g_mutex_unlock(&pool.lock);
        if (j) {
            Finished f = { 0 };

            j->work(j);
            finished(&f, j);
            go_home(&f);
        }
    }
}

/* With the lock, which it gives away meanwhile. */
static void run(PoolJob *j, Finished *f)
{
    bool quick = j->quick, done = false;

    if (quick) {
        pool.near++;
        g_mutex_unlock(&pool.lock);
        done = j->quick(j);
        g_mutex_lock(&pool.lock);
        pool.near--;
    }
    if (!done) {
        Send whom = pool_whom();

        g_mutex_unlock(&pool.lock);
        pool_send(whom);
        go_home(f); /* they were to wait for quick ones only */
        j->work(j);
        finished(f, j);
        go_home(f);
        g_mutex_lock(&pool.lock);
    } else {
        finished(f, j);
    }
}

/* With the lock: looks for a job without sleeping. */
static void spin(void)
{
    gint64 until = g_get_monotonic_time() + SPIN_US;

    if (pool.spinning || pool.head) {
        return;
    }
    pool.spinning = true;
    pool.near++;
    g_mutex_unlock(&pool.lock);
    while (!atomic_load_explicit(&pool.filled, memory_order_relaxed) &&
           g_get_monotonic_time() < until) {
        relax();
    }
    g_mutex_lock(&pool.lock);
    pool.near--;
    pool.spinning = false;
}

/* Sleeps until somebody sends; false: nobody has for long. */
static bool pool_sleep(void)
{
    gint64 until = g_get_monotonic_time() + POOL_IDLE_SECONDS * G_TIME_SPAN_SECOND;

    pool.idle++;
    bool sent = g_cond_wait_until(&pool.work, &pool.lock, until);

    pool.idle--;
    return sent || pool.head || pool.coming;
}

static gpointer pool_thread(G_GNUC_UNUSED gpointer unused)
{
    Finished f = { 0 };
    bool sent = true; /* whether it is this thread that is awaited */
    bool worked = false;

    g_mutex_lock(&pool.lock);
    for (;;) {
        PoolJob *j = pool_take();

        if (sent) {
            pool.coming = sent = false;
        }
        if (j) {
            run(j, &f);
            worked = true;
        } else if (f.n) {
            g_mutex_unlock(&pool.lock);
            go_home(&f);
            g_mutex_lock(&pool.lock);
        } else if (worked) {
            spin();
            worked = false;
        } else {
            if (!pool_sleep()) {
                break;
            }
            sent = true; /* whoever wakes: the one that was signalled may sleep on */
        }
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
    atomic_store_explicit(&pool.filled, true, memory_order_relaxed);
    Send whom = pool_whom();

    g_mutex_unlock(&pool.lock);
    pool_send(whom);
}
