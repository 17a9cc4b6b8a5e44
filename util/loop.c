/* The event loop: epoll for descriptors, an eventfd for calls from elsewhere, timers, hooks. One
 * per thread. */
#include "util/loop.h"

#include "loop-internal.h"
#include "util/fd.h"
#include "util/rcu.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

enum { LOOP_EVENTS = 64, IDLE_PASSES = 4, NS_PER_MS = 1000000 };

typedef struct PostWait {
    GMutex lock;
    GCond cond;
    bool done;
} PostWait;

struct Post {
    LoopFn *fn;
    void *opaque;
    PostWait *wait; /* loop_call: the caller sleeps on it */
    Post *next;
};

struct LoopFd {
    Loop *loop;
    int fd;
    uint32_t events;
    LoopFdFn *fn; /* NULL: deleted */
    void *opaque;
    bool in_epoll, always;
    LoopFd *next; /* in loop->always or loop->dead */
};

static struct {
    GMutex lock;
    Loop *first; /* GUARDED_BY(lock) */
    Loop *main;
} loops;

/* The loop this thread is running a turn of (or will for its whole life). */
static __thread Loop *running;

static void loop_epoll(Loop *l, int op, int fd, uint32_t events, void *ptr)
{
    struct epoll_event ev = { .events = events, .data.ptr = ptr };

    if (epoll_ctl(l->epoll_fd, op, fd, &ev) < 0) {
        /* Closed before it was taken out: epoll forgot it by itself. */
        g_assert(op == EPOLL_CTL_DEL && (errno == EBADF || errno == ENOENT));
    }
}

Loop *loop_new(const char *name)
{
    Loop *l = g_new0(Loop, 1);

    l->name = g_strdup(name);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        g_error("no epoll instance left on this host: %s", g_strerror(errno));
    }
    l->wake_fd = fd_eventfd();
    l->posts_tail = &l->posts;
    l->idle_tail = &l->idle;
    g_mutex_init(&l->lock);
    /* One thread sleeps here: each kick is one event for it, and nobody reads the counter. */
    loop_epoll(l, EPOLL_CTL_ADD, l->wake_fd, EPOLLIN | EPOLLET, NULL);
    g_mutex_lock(&loops.lock);
    l->next = loops.first;
    loops.first = l;
    g_mutex_unlock(&loops.lock);
    return l;
}

static void loop_free_dead(Loop *l)
{
    while (l->dead) {
        LoopFd *f = l->dead;

        l->dead = f->next;
        g_free(f);
    }
}

void loop_free(Loop *l)
{
    if (!l) {
        return;
    }
    g_assert(!l->depth);
    while (atomic_load_explicit(&l->kickers, memory_order_acquire)) {
        g_thread_yield();
    }
    g_mutex_lock(&loops.lock);
    for (Loop **at = &loops.first; *at; at = &(*at)->next) {
        if (*at == l) {
            *at = l->next;
            break;
        }
    }
    if (loops.main == l) {
        loops.main = NULL;
    }
    g_mutex_unlock(&loops.lock);
    while (l->posts) {
        Post *p = l->posts;

        l->posts = p->next;
        g_free(p);
    }
    if (l->fini) {
        l->fini(l);
    }
    loop_free_dead(l);
    timers_fini(l);
    close(l->wake_fd);
    close(l->epoll_fd);
    g_mutex_clear(&l->lock);
    g_free(l->name);
    g_free(l);
}

const char *loop_name(const Loop *l)
{
    return l->name;
}

Loop *loop_main(void)
{
    if (!loops.main) {
        Loop *l = loop_new("main");

        l->is_main = true;
        /* Here a vCPU that holds the token may sleep, too: both have to see it. */
        loop_epoll(l, EPOLL_CTL_MOD, l->wake_fd, EPOLLIN, NULL);
        rcu_thread_register();
        vm_lock();
        loops.main = l;
    }
    return loops.main;
}

Loop *loop_current(void)
{
    return vm_lock_held() ? loops.main : running && !running->is_main ? running : NULL;
}

static bool loop_may_act(const Loop *l)
{
    if (l->is_main) {
        return vm_lock_held();
    }
    GThread *owner = atomic_load_explicit(&l->owner, memory_order_acquire);

    return !owner || owner == g_thread_self();
}

void loop_assert(const Loop *l)
{
    g_assert(loop_may_act(l));
}

void loop_kick(Loop *l)
{
    fd_signal(l->wake_fd);
}

void loop_kick_all(void)
{
    g_mutex_lock(&loops.lock);
    for (Loop *l = loops.first; l; l = l->next) {
        loop_kick(l);
    }
    g_mutex_unlock(&loops.lock);
}

LoopFd *loop_fd_add(Loop *l, int fd, uint32_t events, LoopFdFn *fn, void *opaque)
{
    LoopFd *f = g_new0(LoopFd, 1);

    loop_assert(l);
    *f = (LoopFd){ .loop = l, .fd = fd, .fn = fn, .opaque = opaque };
    loop_fd_set(f, events);
    return f;
}

/* A regular file or /dev/null: always ready, as poll(2) would say. */
static void loop_fd_watch_always(LoopFd *f)
{
    if (!f->always) {
        f->always = true;
        f->next = f->loop->always;
        f->loop->always = f;
    }
}

void loop_fd_set(LoopFd *f, uint32_t events)
{
    Loop *l = f->loop;

    loop_assert(l);
    if (events == f->events) {
        return;
    }
    f->events = events;
    if (f->always) {
        if (running != l) {
            loop_kick(l);
        }
    } else if (!events) {
        /* epoll reports hang-ups even for an empty mask, so the descriptor leaves the set. */
        if (f->in_epoll) {
            loop_epoll(l, EPOLL_CTL_DEL, f->fd, 0, NULL);
            f->in_epoll = false;
        }
    } else if (f->in_epoll) {
        loop_epoll(l, EPOLL_CTL_MOD, f->fd, events, f);
    } else {
        struct epoll_event ev = { .events = events, .data.ptr = f };

        if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, f->fd, &ev) == 0) {
            f->in_epoll = true;
        } else if (errno == EPERM) {
            loop_fd_watch_always(f);
        } else {
            g_error("loop %s cannot watch descriptor %d: %s", l->name, f->fd, g_strerror(errno));
        }
    }
}

void loop_fd_del(LoopFd *f)
{
    if (!f) {
        return;
    }
    Loop *l = f->loop;

    loop_fd_set(f, 0);
    f->fn = NULL;
    if (f->always) {
        for (LoopFd **at = &l->always; *at; at = &(*at)->next) {
            if (*at == f) {
                *at = f->next;
                break;
            }
        }
    }
    f->next = l->dead;
    l->dead = f;
    if (!l->depth) {
        loop_free_dead(l);
    }
}

static void loop_post_wait(Loop *l, LoopFn *fn, void *opaque, PostWait *wait)
{
    Post *p = g_new(Post, 1);

    *p = (Post){ .fn = fn, .opaque = opaque, .wait = wait };
    g_mutex_lock(&l->lock);
    bool first = !l->posts;

    *l->posts_tail = p;
    l->posts_tail = &p->next;
    atomic_store_explicit(&l->posted, true, memory_order_relaxed); /* a hint, see loop-poll.c */
    bool kick = first && l->asleep;

    /* Whom it wakes would only run into the lock. Counted, because the loop may have run this and
     * be freed before the kick: loop_free() waits. */
    if (kick) {
        atomic_fetch_add_explicit(&l->kickers, 1, memory_order_relaxed);
    }
    g_mutex_unlock(&l->lock);
    if (kick) {
        loop_kick(l);
        atomic_fetch_sub_explicit(&l->kickers, 1, memory_order_release);
    }
}

void loop_post(Loop *l, LoopFn *fn, void *opaque)
{
    loop_post_wait(l, fn, opaque, NULL);
}

void loop_call(Loop *l, LoopFn *fn, void *opaque)
{
    if (loop_may_act(l)) {
        fn(opaque);
        return;
    }
    /* An iothread never waits for main: only threads without a loop, or with the token, may come
     * here. */
    g_assert(!running || running->is_main);
    PostWait wait = { .done = false };

    g_mutex_init(&wait.lock);
    g_cond_init(&wait.cond);
    loop_post_wait(l, fn, opaque, &wait);
    g_mutex_lock(&wait.lock);
    while (!wait.done) {
        g_cond_wait(&wait.cond, &wait.lock);
    }
    g_mutex_unlock(&wait.lock);
    g_mutex_clear(&wait.lock);
    g_cond_clear(&wait.cond);
}

static void run_post(Post *p)
{
    p->fn(p->opaque);
    if (p->wait) {
        g_mutex_lock(&p->wait->lock);
        p->wait->done = true;
        g_cond_signal(&p->wait->cond);
        g_mutex_unlock(&p->wait->lock);
    }
    g_free(p);
}

/* Those that are there now. One that turns the loop itself (a drain) sees to the rest. */
static bool loop_run_posts(Loop *l)
{
    bool any = false;

    for (unsigned pass = l->taken ? 0 : 1; pass < 2; pass++) {
        if (pass) {
            g_mutex_lock(&l->lock);
            l->taken = l->posts;
            l->posts = NULL;
            l->posts_tail = &l->posts;
            atomic_store_explicit(&l->posted, false, memory_order_relaxed);
            g_mutex_unlock(&l->lock);
        }
        while (l->taken) {
            Post *p = l->taken;

            l->taken = p->next;
            any = true;
            run_post(p);
        }
    }
    return any;
}

void loop_idle(Loop *l, LoopIdle *i)
{
    loop_assert(l);
    if (i->queued) {
        return;
    }
    i->queued = true;
    i->next = NULL;
    *l->idle_tail = i;
    l->idle_tail = &i->next;
    if (running != l) {
        loop_kick(l);
    }
}

void loop_idle_cancel(Loop *l, LoopIdle *i)
{
    loop_assert(l);
    for (LoopIdle **at = &l->idle; i->queued && *at; at = &(*at)->next) {
        if (*at == i) {
            *at = i->next;
            if (l->idle_tail == &i->next) {
                l->idle_tail = at;
            }
            i->queued = false;
            return;
        }
    }
}

/* Each call that is queued now, once; what they queue runs before the next sleep. */
bool loop_run_idle(Loop *l)
{
    unsigned count = 0;

    for (const LoopIdle *i = l->idle; i; i = i->next) {
        count++;
    }
    for (unsigned n = 0; n < count && l->idle; n++) {
        LoopIdle *i = l->idle;

        l->idle = i->next;
        if (!l->idle) {
            l->idle_tail = &l->idle;
        }
        i->queued = false;
        i->fn(i->opaque);
    }
    return count != 0;
}

void loop_hook_add(Loop *l, LoopHook *h)
{
    loop_assert(l);
    h->next = l->hooks;
    l->hooks = h;
}

void loop_hook_del(Loop *l, LoopHook *h)
{
    loop_assert(l);
    for (LoopHook **at = &l->hooks; *at; at = &(*at)->next) {
        if (*at == h) {
            *at = h->next;
            return;
        }
    }
}

static int64_t loop_timeout(Loop *l, bool block)
{
    int64_t timeout = timers_timeout(l);

    for (LoopHook *h = l->hooks, *next; h; h = next) {
        next = h->next;
        if (h->prepare) {
            h->prepare(h->opaque, &timeout);
        }
    }
    for (LoopFd *f = l->always; f; f = f->next) {
        if (f->events) {
            return 0;
        }
    }
    return block && !l->idle ? timeout : 0;
}

static int loop_wait(Loop *l, struct epoll_event *ev, int64_t timeout)
{
    struct timespec ts = { .tv_sec = timeout / 1000000000, .tv_nsec = timeout % 1000000000 };
    int n = epoll_pwait2(l->epoll_fd, ev, LOOP_EVENTS, timeout < 0 ? NULL : &ts, NULL);

    if (n < 0 && errno == ENOSYS) {
        int64_t ms = timeout < 0 ? -1 : (timeout + NS_PER_MS - 1) / NS_PER_MS;

        n = epoll_wait(l->epoll_fd, ev, LOOP_EVENTS, (int)MIN(ms, INT32_MAX));
    }
    g_assert(n >= 0 || errno == EINTR);
    return MAX(n, 0);
}

/* From here to loop_awake() whoever posts has to kick; false: somebody has posted already. */
static bool loop_doze(Loop *l)
{
    g_mutex_lock(&l->lock);
    bool quiet = !l->posts && !l->taken;

    l->asleep += quiet;
    g_mutex_unlock(&l->lock);
    return quiet;
}

static void loop_awake(Loop *l)
{
    g_mutex_lock(&l->lock);
    l->asleep--;
    g_mutex_unlock(&l->lock);
}

/* Gives the token away and leaves the RCU reader side while it sleeps. */
static int loop_sleep(Loop *l, struct epoll_event *ev, int64_t timeout)
{
    /* A nested turn stays online: its caller may hold what RCU protects. */
    bool offline = l->depth == 1;

    if (timeout && !loop_doze(l)) {
        timeout = 0;
    }
    if (l->is_main) {
        vm_unlock();
    }
    if (offline) {
        rcu_offline();
    }
    int n = loop_wait(l, ev, timeout);

    if (l->is_main) {
        vm_lock();
    }
    if (offline) {
        rcu_online();
    }
    if (timeout) {
        loop_awake(l);
    }
    return n;
}

static bool loop_run_fds(Loop *l, const struct epoll_event *ev, int n)
{
    bool any = false;

    for (int i = 0; i < n; i++) {
        LoopFd *f = ev[i].data.ptr;
        uint32_t now = f ? ev[i].events & (f->events | EPOLLHUP | EPOLLERR) : 0;

        if (f && f->fn && f->events && now) {
            any = true;
            f->fn(f->opaque, now);
        }
    }
    for (LoopFd *f = l->always, *next; f; f = next) {
        next =
            f->next; /* a handler that deletes the next one leaves its memory until the turn ends */
        uint32_t now = f->events & (EPOLLIN | EPOLLOUT);

        if (f->fn && now) {
            any = true;
            f->fn(f->opaque, now);
            if (next && !next->fn) {
                break; /* the list changed under us; the rest has its turn next time */
            }
        }
    }
    return any;
}

bool loop_turn(Loop *l, bool block)
{
    struct epoll_event ev[LOOP_EVENTS];
    Loop *outer = running;

    loop_assert(l);
    running = l;
    l->depth++;
    bool any = loop_run_idle(l);
    int64_t timeout = loop_timeout(l, block && !any);

    if (l->polls && (timeout || l->polling) && loop_poll_instead(l, timeout)) {
        any = true;
        timeout = 0;
    }
    bool learn = timeout && l->polls && atomic_load_explicit(&l->poll_max, memory_order_relaxed);
    int64_t since = learn ? clock_ns(CLOCK_KIND_REALTIME) : 0;
    int n = loop_sleep(l, ev, timeout);

    if (learn) {
        loop_poll_learn(l, since, n > 0);
    }
    if (n) {
        loop_poll_begin(l);
    }
    for (int i = 0; i < n && l->is_main; i++) {
        if (!ev[i].data.ptr) {
            fd_drain(l->wake_fd);
        }
    }
    any |= loop_run_posts(l);
    any |= loop_run_fds(l, ev, n);
    for (LoopHook *h = l->hooks, *next; h; h = next) {
        next = h->next;
        if (h->dispatch) {
            h->dispatch(h->opaque);
        }
    }
    any |= timers_run(l);
    /* Completions, then what they have queued, too; a chain without end has its next turn. */
    for (unsigned i = 0; i < IDLE_PASSES && loop_run_idle(l); i++) {
        any = true;
    }
    if (!--l->depth) {
        loop_free_dead(l);
    }
    running = outer;
    return any;
}

void loop_run(Loop *l)
{
    loop_assert(l);
    atomic_store_explicit(&l->owner, g_thread_self(), memory_order_release);
    prctl(PR_SET_TIMERSLACK, 1000ul); /* ns: guest timers are as good as the host's */
    rcu_thread_register();
    while (!atomic_load_explicit(&l->quit, memory_order_acquire)) {
        loop_turn(l, /* block= */ true);
    }
    rcu_thread_unregister();
    atomic_store_explicit(&l->quit, false, memory_order_relaxed);
    atomic_store_explicit(&l->owner, NULL, memory_order_release);
}

void loop_quit(Loop *l)
{
    atomic_store_explicit(&l->quit, true, memory_order_release);
    loop_kick(l);
}
