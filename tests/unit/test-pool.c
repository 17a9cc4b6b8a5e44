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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pool/results-come-home", test_results_come_home);
    g_test_add_func("/pool/jobs-run-in-parallel", test_jobs_run_in_parallel);
    return g_test_run();
}
