/* util/pool.c: work happens elsewhere, results come home. */
#include "util/pool.h"

typedef struct Job {
    PoolJob j;
    GThread *worker;
    unsigned *done;
} Job;

static void work(PoolJob *j)
{
    ((Job *)j)->worker = g_thread_self();
}

static void done(PoolJob *j)
{
    Job *job = (Job *)j;

    loop_assert(j->loop);
    g_assert_true(job->worker && job->worker != g_thread_self());
    ++*job->done;
}

static void test_results_come_home(void)
{
    Loop *l = loop_new("t");
    unsigned finished = 0;
    Job jobs[200];

    for (unsigned i = 0; i < 200; i++) {
        jobs[i] = (Job){ .j = { .work = work, .done = done, .loop = l }, .done = &finished };
        pool_submit(&jobs[i].j);
    }
    while (finished < 200) {
        loop_turn(l, true);
    }
    loop_free(l);
}

typedef struct Pair {
    PoolJob j;
    struct Pair *other;
    GMutex *lock;
    GCond *cond;
    unsigned *arrived, *done;
} Pair;

/* Both must be in a worker at the same time to get on. */
static void meet(PoolJob *j)
{
    Pair *p = (Pair *)j;

    g_mutex_lock(p->lock);
    ++*p->arrived;
    g_cond_broadcast(p->cond);
    while (*p->arrived < 2) {
        g_cond_wait(p->cond, p->lock);
    }
    g_mutex_unlock(p->lock);
}

static void met(PoolJob *j)
{
    ++*((Pair *)j)->done;
}

static void test_jobs_run_in_parallel(void)
{
    Loop *l = loop_new("t");
    GMutex lock;
    GCond cond;
    unsigned arrived = 0, finished = 0;

    g_mutex_init(&lock);
    g_cond_init(&cond);
    Pair p[2];

    for (unsigned i = 0; i < 2; i++) {
        p[i] = (Pair){ .j = { .work = meet, .done = met, .loop = l },
            .lock = &lock,
            .cond = &cond,
            .arrived = &arrived,
            .done = &finished };
        pool_submit(&p[i].j);
    }
    while (finished < 2) {
        loop_turn(l, true);
    }
    g_mutex_clear(&lock);
    g_cond_clear(&cond);
    loop_free(l);
}

typedef struct Quick {
    PoolJob j;
    bool waits; /* quick() refuses, work() waits for the one before it */
    struct Quick *before;
    GMutex *lock;
    GCond *cond;
    bool home;
    GThread *worker;
    unsigned *finished;
} Quick;

static bool quick(PoolJob *j)
{
    Quick *q = (Quick *)j;

    q->worker = g_thread_self();
    return !q->waits;
}

static void wait_for_it(PoolJob *j)
{
    Quick *q = (Quick *)j;

    g_assert_true(q->waits);
    g_mutex_lock(q->lock);
    while (q->before && !q->before->home) {
        g_cond_wait(q->cond, q->lock);
    }
    g_mutex_unlock(q->lock);
}

static void is_home(PoolJob *j)
{
    Quick *q = (Quick *)j;

    g_mutex_lock(q->lock);
    q->home = true;
    g_cond_broadcast(q->cond);
    g_mutex_unlock(q->lock);
    ++*q->finished;
}

/* every: each so manieth has to wait until the one before it is home; 0: none. */
static void quick_jobs(unsigned every)
{
    enum { N = 300 };
    static Quick q[N];
    GMutex lock;
    GCond cond;
    Loop *l = loop_new("t");
    unsigned finished = 0, threads = 0;
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    g_mutex_init(&lock);
    g_cond_init(&cond);
    for (unsigned i = 0; i < N; i++) {
        q[i] = (Quick){ .j = { .quick = quick, .work = wait_for_it, .done = is_home, .loop = l },
            .waits = every && i % every == every - 1,
            .before = i ? &q[i - 1] : NULL,
            .lock = &lock,
            .cond = &cond,
            .finished = &finished };
        pool_submit(&q[i].j);
    }
    while (finished < N) {
        loop_turn(l, true);
    }
    for (unsigned i = 0; i < N; i++) {
        threads += g_hash_table_add(seen, q[i].worker);
    }
    if (!every) {
        /* One comes back to the queue soon: others are sent for only where it had just begun
         * to sleep. */
        g_assert_cmpuint(threads, <=, 16);
    }
    g_mutex_clear(&lock);
    g_cond_clear(&cond);
    loop_free(l);
}

static void test_quick(void)
{
    quick_jobs(0);
}

/* One that waits sends home what was finished before it, and another thread to those behind. */
static void test_quick_and_slow(void)
{
    for (unsigned every = 2; every < 8; every++) {
        quick_jobs(every);
    }
    quick_jobs(1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pool/results-come-home", test_results_come_home);
    g_test_add_func("/pool/jobs-run-in-parallel", test_jobs_run_in_parallel);
    g_test_add_func("/pool/quick", test_quick);
    g_test_add_func("/pool/quick-and-slow", test_quick_and_slow);
    return g_test_run();
}
