/*
 * Only in a build with ThreadSanitizer: GLib's locks, made of pthread's, which the sanitizer knows.
 * GLib itself is not instrumented and its own are futexes, so each access they order would look
 * like a race. The executable's symbols stand in front of the library's; locks inside GLib stay
 * what they are.
 */
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define MADE(type, at, make)                                                                       \
    type *o = __atomic_load_n(at, __ATOMIC_ACQUIRE);                                               \
    if (!o) {                                                                                      \
        void *none = NULL;                                                                         \
        o = g_malloc(sizeof *o);                                                                   \
        make;                                                                                      \
        if (!__atomic_compare_exchange_n(                                                          \
                at, &none, o, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {                        \
            g_free(o);                                                                             \
            o = none;                                                                              \
        }                                                                                          \
    }                                                                                              \
    return o

static pthread_mutex_t *mutex_of(void **at)
{
    MADE(pthread_mutex_t, at, pthread_mutex_init(o, NULL));
}

static pthread_cond_t *cond_of(GCond *c)
{
    pthread_condattr_t a;

    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    MADE(pthread_cond_t, &c->p, pthread_cond_init(o, &a));
}

static pthread_mutex_t *rec_mutex_of(GRecMutex *m)
{
    pthread_mutexattr_t a;

    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    MADE(pthread_mutex_t, &m->p, pthread_mutex_init(o, &a));
}

static pthread_rwlock_t *rwlock_of(GRWLock *l)
{
    MADE(pthread_rwlock_t, &l->p, pthread_rwlock_init(o, NULL));
}

#define CHECK(call) g_assert((call) == 0)

void g_mutex_init(GMutex *m)
{
    m->p = NULL;
}

void g_mutex_clear(GMutex *m)
{
    if (m->p) {
        CHECK(pthread_mutex_destroy(m->p));
        g_clear_pointer(&m->p, g_free);
    }
}

void g_mutex_lock(GMutex *m)
{
    CHECK(pthread_mutex_lock(mutex_of(&m->p)));
}

gboolean g_mutex_trylock(GMutex *m)
{
    return pthread_mutex_trylock(mutex_of(&m->p)) == 0;
}

void g_mutex_unlock(GMutex *m)
{
    CHECK(pthread_mutex_unlock(mutex_of(&m->p)));
}

void g_cond_init(GCond *c)
{
    c->p = NULL;
}

void g_cond_clear(GCond *c)
{
    if (c->p) {
        CHECK(pthread_cond_destroy(c->p));
        g_clear_pointer(&c->p, g_free);
    }
}

void g_cond_wait(GCond *c, GMutex *m)
{
    CHECK(pthread_cond_wait(cond_of(c), mutex_of(&m->p)));
}

gboolean g_cond_wait_until(GCond *c, GMutex *m, gint64 until)
{
    struct timespec t = { .tv_sec = until / G_USEC_PER_SEC,
        .tv_nsec = until % G_USEC_PER_SEC * 1000 };

    return pthread_cond_timedwait(cond_of(c), mutex_of(&m->p), &t) != ETIMEDOUT;
}

void g_cond_signal(GCond *c)
{
    CHECK(pthread_cond_signal(cond_of(c)));
}

void g_cond_broadcast(GCond *c)
{
    CHECK(pthread_cond_broadcast(cond_of(c)));
}

void g_rw_lock_init(GRWLock *l)
{
    l->p = NULL;
}

void g_rw_lock_clear(GRWLock *l)
{
    if (l->p) {
        CHECK(pthread_rwlock_destroy(l->p));
        g_clear_pointer(&l->p, g_free);
    }
}

void g_rw_lock_writer_lock(GRWLock *l)
{
    CHECK(pthread_rwlock_wrlock(rwlock_of(l)));
}

void g_rw_lock_writer_unlock(GRWLock *l)
{
    CHECK(pthread_rwlock_unlock(rwlock_of(l)));
}

void g_rw_lock_reader_lock(GRWLock *l)
{
    CHECK(pthread_rwlock_rdlock(rwlock_of(l)));
}

void g_rw_lock_reader_unlock(GRWLock *l)
{
    CHECK(pthread_rwlock_unlock(rwlock_of(l)));
}

void g_rec_mutex_init(GRecMutex *m)
{
    m->p = NULL;
}

void g_rec_mutex_clear(GRecMutex *m)
{
    if (m->p) {
        CHECK(pthread_mutex_destroy(m->p));
        g_clear_pointer(&m->p, g_free);
    }
}

void g_rec_mutex_lock(GRecMutex *m)
{
    CHECK(pthread_mutex_lock(rec_mutex_of(m)));
}

void g_rec_mutex_unlock(GRecMutex *m)
{
    CHECK(pthread_mutex_unlock(rec_mutex_of(m)));
}
