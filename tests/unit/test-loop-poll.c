/* util/loop-poll.c: when a loop polls, what its begin and end promise, and posts in nested turns.
 */
#include "util/fd.h"
#include "util/loop.h"
#include "util/timer.h"

#include <stdatomic.h>

typedef struct Source {
    LoopPoll poll;
    Loop *loop;
    GString *log;
    unsigned work;   /* looks until there is work, 0: none comes */
    bool at_the_end; /* work shows up only when the poll has ended */
} Source;

static bool look(void *opaque)
{
    Source *s = opaque;

    if (s->work && !--s->work) {
        g_string_append_c(s->log, 'w');
        return true;
    }
    return false;
}

static void begin(void *opaque)
{
    g_string_append_c(((Source *)opaque)->log, 'b');
}

static bool end(void *opaque)
{
    Source *s = opaque;

    g_string_append_c(s->log, 'e');
    return s->at_the_end;
}

static void drained(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    fd_drain(*(int *)opaque);
}

static Source *source_new(void)
{
    Source *s = g_new0(Source, 1);

    s->loop = loop_new("poll");
    s->log = g_string_new(NULL);
    s->poll = (LoopPoll){ .poll = look, .begin = begin, .end = end, .opaque = s };
    loop_poll_add(s->loop, &s->poll);
    return s;
}

static void source_free(Source *s)
{
    loop_poll_del(s->loop, &s->poll);
    loop_free(s->loop);
    g_string_free(s->log, TRUE);
    g_free(s);
}

/* Two quick events teach the loop to poll as long as it may: one second here. */
static void teach(Source *s, int *fd, LoopFd **ret)
{
    *fd = fd_eventfd();
    *ret = loop_fd_add(s->loop, *fd, EPOLLIN, drained, fd);
    loop_poll_tune(s->loop, 1000000000, /* grow= */ 1000000, /* shrink= */ 0);
    for (unsigned i = 0; i < 2; i++) {
        fd_signal(*fd);
        g_assert_true(loop_turn(s->loop, true));
    }
    g_string_truncate(s->log, 0);
}

static void test_work_comes(void)
{
    Source *s = source_new();
    LoopFd *f;
    int fd;

    teach(s, &fd, &f);
    s->work = 1000;
    g_assert_true(loop_turn(s->loop, true));
    /* Found by looking; the poll goes on, so no end yet and no second begin in the next turn. */
    s->work = 1000;
    g_assert_true(loop_turn(s->loop, true));
    g_assert_cmpuint(s->work, ==, 0);
    g_assert_null(strchr(s->log->str, 'e'));
    g_assert_cmpstr(strchr(s->log->str, 'w') ? s->log->str : "", !=, "");
    loop_fd_del(f);
    close(fd);
    source_free(s);
}

static void test_end_before_sleep(void)
{
    Source *s = source_new();
    LoopFd *f;
    int fd;

    teach(s, &fd, &f);
    loop_poll_tune(s->loop, 1000, 2, 0); /* one microsecond, then it sleeps */
    s->at_the_end = true;                /* what came at the very last moment keeps it awake */
    g_assert_true(loop_turn(s->loop, true));
    g_assert_true(g_str_has_suffix(s->log->str, "e"));
    s->at_the_end = false;
    fd_signal(fd);
    g_assert_true(loop_turn(s->loop, true));
    g_assert_true(g_str_has_suffix(s->log->str, "eb")); /* behind the event it will look again */
    loop_fd_del(f);
    close(fd);
    source_free(s);
}

static void test_off_ends(void)
{
    Source *s = source_new();
    LoopFd *f;
    int fd;

    teach(s, &fd, &f);
    s->work = 10;
    g_assert_true(loop_turn(s->loop, true));
    loop_poll_tune(s->loop, 0, 0, 0);
    fd_signal(fd);
    g_assert_true(loop_turn(s->loop, true));
    g_assert_true(g_str_has_suffix(s->log->str, "e"));
    s->work = 1;
    g_string_truncate(s->log, 0);
    loop_turn(s->loop, false); /* nobody asks any more */
    g_assert_cmpstr(s->log->str, ==, "");
    loop_fd_del(f);
    close(fd);
    source_free(s);
}

/* A turn without time to poll still asks, since nobody rings meanwhile. */
static void test_asked_when_busy(void)
{
    Source *s = source_new();
    LoopFd *f;
    int fd;

    teach(s, &fd, &f);
    s->work = 10;
    g_assert_true(loop_turn(s->loop, true));
    s->work = 1;
    g_assert_true(loop_turn(s->loop, false));
    g_assert_cmpuint(s->work, ==, 0);
    loop_fd_del(f);
    close(fd);
    source_free(s);
}

static void rung(void *opaque, G_GNUC_UNUSED uint32_t events)
{
    g_string_append_c(((Source *)opaque)->log, 'r');
}

/* What an event brings is handled while nobody has to ring: the other side may answer at once. */
static void test_begins_before_handlers(void)
{
    Source *s = source_new();
    int fd = fd_eventfd();
    LoopFd *f = loop_fd_add(s->loop, fd, EPOLLIN | EPOLLET, rung, s);

    loop_poll_tune(s->loop, 1, 0, 0);
    fd_signal(fd);
    g_assert_true(loop_turn(s->loop, true));
    g_assert_cmpstr(s->log->str, ==, "br");
    loop_fd_del(f);
    close(fd);
    source_free(s);
}

typedef struct Poster {
    Loop *loop;
    atomic_uint *count;
} Poster;

static void counted(void *opaque)
{
    atomic_fetch_add((atomic_uint *)opaque, 1);
}

static void *post_many(void *opaque)
{
    Poster *p = opaque;

    for (unsigned i = 0; i < 20000; i++) {
        loop_post(p->loop, counted, p->count);
        if (i % 64 == 0) {
            g_thread_yield(); /* so that the loop falls asleep between two of them */
        }
    }
    return NULL;
}

/* A loop that is awake is not woken, and none of its posts waits for the next one. */
static void test_posts_from_threads(void)
{
    atomic_uint count = 0;
    Poster p = { loop_new("posted"), &count };
    GThread *t[2];

    for (unsigned i = 0; i < 2; i++) {
        t[i] = g_thread_new("poster", post_many, &p);
    }
    while (atomic_load(&count) < 40000) {
        loop_turn(p.loop, true);
    }
    for (unsigned i = 0; i < 2; i++) {
        g_thread_join(t[i]);
    }
    loop_free(p.loop);
}

typedef struct Nested {
    Loop *loop;
    bool second;
} Nested;

static void second(void *opaque)
{
    ((Nested *)opaque)->second = true;
}

static void first(void *opaque)
{
    Nested *n = opaque;

    /* A drain inside a call: what it waits for may be the next call in line. */
    for (unsigned i = 0; i < 10 && !n->second; i++) {
        loop_turn(n->loop, false);
    }
    g_assert_true(n->second);
}

static void test_nested_posts(void)
{
    Nested n = { .loop = loop_new("nested") };

    loop_post(n.loop, first, &n);
    loop_post(n.loop, second, &n);
    while (!n.second) {
        loop_turn(n.loop, true);
    }
    loop_free(n.loop);
}

/* However slow the wake-up was, the loop looks for a moment behind an event. */
static void test_slow_wakeup(void)
{
    Source *s = source_new();
    int fd = fd_eventfd();
    LoopFd *f = loop_fd_add(s->loop, fd, EPOLLIN, drained, &fd);

    loop_poll_tune(s->loop, 1, 0, 0); /* each sleep is longer */
    fd_signal(fd);
    g_assert_true(loop_turn(s->loop, true));
    g_assert_cmpstr(s->log->str, ==, "b");
    fd_signal(fd);
    g_assert_true(loop_turn(s->loop, true));
    g_assert_cmpstr(s->log->str, ==, "beb");
    loop_fd_del(f);
    close(fd);
    source_free(s);
}

static void *want_lock(void *got)
{
    vm_lock();
    atomic_store((atomic_bool *)got, true);
    vm_unlock();
    return NULL;
}

/* The main loop polls with the VM lock held, but not while somebody waits for it. */
static void test_gives_way(void)
{
    atomic_bool got = false;
    Source s = { .loop = loop_main(), .log = g_string_new(NULL) };
    int64_t since = clock_ns(CLOCK_KIND_REALTIME);
    int fd;
    LoopFd *f;

    s.poll = (LoopPoll){ .poll = look, .begin = begin, .end = end, .opaque = &s };
    loop_poll_add(s.loop, &s.poll);
    teach(&s, &fd, &f);
    loop_poll_tune(s.loop, INT64_C(60000000000), 1000000, 0);
    fd_signal(fd);
    g_assert_true(loop_turn(s.loop, true)); /* from now on a poll lasts a minute */
    GThread *t = g_thread_new("want", want_lock, &got);

    while (!atomic_load(&got)) {
        loop_turn(s.loop, true);
    }
    g_assert_cmpint(clock_ns(CLOCK_KIND_REALTIME) - since, <, INT64_C(30000000000));
    g_thread_join(t);
    loop_poll_tune(s.loop, 0, 0, 0);
    loop_fd_del(f);
    loop_poll_del(s.loop, &s.poll);
    close(fd);
    g_string_free(s.log, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/loop-poll/work-is-found", test_work_comes);
    g_test_add_func("/loop-poll/ends-before-sleep", test_end_before_sleep);
    g_test_add_func("/loop-poll/switched-off", test_off_ends);
    g_test_add_func("/loop-poll/asked-when-busy", test_asked_when_busy);
    g_test_add_func("/loop-poll/posts-in-nested-turns", test_nested_posts);
    g_test_add_func("/loop-poll/behind-a-slow-wake-up", test_slow_wakeup);
    g_test_add_func("/loop-poll/begins-before-handlers", test_begins_before_handlers);
    g_test_add_func("/loop-poll/posts-from-threads", test_posts_from_threads);
    g_test_add_func("/loop-poll/main-gives-way", test_gives_way);
    return g_test_run();
}
