/* util/loop.c and util/vmlock.c: descriptors, posts, rendezvous, the token. */
#include "util/fd.h"
#include "util/loop.h"

#include <fcntl.h>

typedef struct Log {
    GString *text;
    LoopFd *victim;
    Loop *loop;
    LoopIdle idle;
    int again;
} Log;

static void log_a(void *opaque)
{
    g_string_append_c(((Log *)opaque)->text, 'a');
}

static void log_b(void *opaque)
{
    g_string_append_c(((Log *)opaque)->text, 'b');
}

static void test_posts(void)
{
    Log log = { .text = g_string_new(NULL) };
    Loop *l = loop_new("t");

    loop_post(l, log_a, &log);
    loop_post(l, log_b, &log);
    loop_post(l, log_a, &log);
    g_assert_true(loop_turn(l, true));
    g_assert_cmpstr(log.text->str, ==, "aba");
    g_assert_false(loop_turn(l, false));
    loop_free(l);
    g_string_free(log.text, TRUE);
}

static void read_and_kill(void *opaque, uint32_t events)
{
    Log *log = opaque;

    g_assert_cmpuint(events, ==, EPOLLIN);
    g_string_append_c(log->text, 'r');
    loop_fd_del(log->victim);
    log->victim = NULL;
}

static void test_fd_deleted_in_its_turn(void)
{
    Log log = { .text = g_string_new(NULL) };
    Loop *l = loop_new("t");
    autofd a = fd_eventfd(), b = fd_eventfd();
    LoopFd *fa = loop_fd_add(l, a, EPOLLIN, read_and_kill, &log);
    LoopFd *fb = loop_fd_add(l, b, EPOLLIN, read_and_kill, &log);

    /* Whichever comes first deletes the other, which must not run. */
    log.victim = fb;
    fd_signal(a);
    g_assert_true(loop_turn(l, true));
    g_assert_cmpstr(log.text->str, ==, "r");
    fd_signal(b);
    fd_drain(a);
    g_assert_false(loop_turn(l, false));
    loop_fd_del(fa);
    loop_free(l);
    g_string_free(log.text, TRUE);
}

static void test_fd_mask(void)
{
    Log log = { .text = g_string_new(NULL) };
    Loop *l = loop_new("t");
    int p[2];

    g_assert_cmpint(pipe2(p, O_CLOEXEC), ==, 0);
    LoopFd *f = loop_fd_add(l, p[0], 0, read_and_kill, &log);

    close(p[1]); /* a hang-up, which an empty mask must not report */
    g_assert_false(loop_turn(l, false));
    g_assert_cmpstr(log.text->str, ==, "");
    loop_fd_del(f);
    close(p[0]);
    loop_free(l);
    g_string_free(log.text, TRUE);
}

static void count_ready(void *opaque, uint32_t events)
{
    *(unsigned *)opaque += events == EPOLLIN;
}

static void test_regular_file_is_always_ready(void)
{
    Loop *l = loop_new("t");
    unsigned ready = 0;
    autofd fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    LoopFd *f = loop_fd_add(l, fd, EPOLLIN, count_ready, &ready);

    loop_turn(l, true);
    loop_turn(l, true);
    loop_fd_set(f, 0);
    loop_turn(l, false);
    g_assert_cmpuint(ready, ==, 2);
    loop_fd_del(f);
    loop_free(l);
}

static void idle_again(void *opaque)
{
    Log *log = opaque;

    g_string_append_c(log->text, 'i');
    if (log->again-- > 0) {
        loop_idle(log->loop, &log->idle);
    }
}

static void test_idle(void)
{
    Loop *l = loop_new("t");
    Log log = { .text = g_string_new(NULL), .loop = l, .again = 3 };

    log.idle = (LoopIdle){ .fn = idle_again, .opaque = &log };
    loop_idle(l, &log.idle);
    loop_idle(l, &log.idle); /* once is enough */
    while (loop_turn(l, false)) {
    }
    g_assert_cmpstr(log.text->str, ==, "iiii");
    loop_idle(l, &log.idle);
    loop_idle_cancel(l, &log.idle);
    g_assert_false(loop_turn(l, false));
    loop_free(l);
    g_string_free(log.text, TRUE);
}

static void hook_prepare(void *opaque, int64_t *timeout_ns)
{
    g_string_append(((Log *)opaque)->text, "p");
    *timeout_ns = 0;
}

static void hook_dispatch(void *opaque)
{
    g_string_append(((Log *)opaque)->text, "d");
}

static void test_hooks(void)
{
    Log log = { .text = g_string_new(NULL) };
    Loop *l = loop_new("t");
    LoopHook h = { .prepare = hook_prepare, .dispatch = hook_dispatch, .opaque = &log };

    loop_hook_add(l, &h);
    loop_turn(l, true);
    loop_hook_del(l, &h);
    loop_turn(l, false);
    g_assert_cmpstr(log.text->str, ==, "pd");
    loop_free(l);
    g_string_free(log.text, TRUE);
}

static gpointer io_thread(gpointer opaque)
{
    loop_run(opaque);
    return NULL;
}

static void where_am_i(void *opaque)
{
    *(Loop **)opaque = loop_current();
}

static void test_call_crosses_threads(void)
{
    Loop *l = loop_new("io");
    GThread *t = g_thread_new("io", io_thread, l);
    Loop *seen = NULL;

    while (seen != l) { /* as long as no thread runs the loop, the call is a plain one */
        loop_call(l, where_am_i, &seen);
        g_thread_yield();
    }
    g_assert_true(seen == l);
    g_assert_true(loop_current() == loop_main());
    loop_quit(l);
    g_thread_join(t);
    loop_free(l);
}

typedef struct Token {
    GCond cond;
    unsigned turns, wanted;
    bool go, done;
} Token;

/* A vCPU that wants the token all the time. */
static gpointer greedy(gpointer opaque)
{
    Token *t = opaque;

    for (bool more = true; more;) {
        vm_lock();
        g_assert_true(vm_lock_held());
        g_assert_true(loop_current() == loop_main());
        more = ++t->turns < t->wanted;
        vm_unlock();
    }
    vm_lock();
    t->done = true;
    loop_quit(loop_main());
    vm_unlock();
    return NULL;
}

static void again(void *opaque)
{
    Token *t = opaque;

    t->turns++;
    if (!t->done) {
        loop_post(loop_main(), again, t);
    }
}

static void test_token_is_fair(void)
{
    Token vcpu = { .wanted = 20000 };
    Token *busy = g_new0(Token, 1);
    GThread *a = g_thread_new("a", greedy, &vcpu);

    /* A main loop that never sleeps must let the vCPU through, and the vCPU must let it run. */
    loop_post(loop_main(), again, busy);
    loop_run(loop_main());
    g_thread_join(a);
    g_assert_cmpuint(vcpu.turns, ==, 20000);
    g_assert_cmpuint(busy->turns, >, 10);
    busy->done = true;
    loop_turn(loop_main(), false);
    g_free(busy);
}

static gpointer waiter(gpointer opaque)
{
    Token *t = opaque;

    vm_lock();
    while (!t->go) {
        vm_cond_wait(&t->cond);
    }
    t->done = true;
    loop_quit(loop_main());
    vm_unlock();
    return NULL;
}

static void let_go(void *opaque)
{
    Token *t = opaque;

    t->go = true;
    g_cond_broadcast(&t->cond);
}

static void test_cond_releases_token(void)
{
    Token t = { .go = false };
    GThread *a = g_thread_new("a", waiter, &t);

    loop_post(loop_main(), let_go, &t);
    loop_run(loop_main());
    g_thread_join(a);
    g_assert_true(t.done);
    g_assert_true(vm_lock_held());
}

static void test_recursion_aborts(void)
{
    if (g_test_subprocess()) {
        vm_lock();
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*assertion failed*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/loop/post/runs-in-order", test_posts);
    g_test_add_func("/loop/fd/deleted-in-its-turn", test_fd_deleted_in_its_turn);
    g_test_add_func("/loop/fd/empty-mask-hides-hangup", test_fd_mask);
    g_test_add_func("/loop/fd/regular-file-is-ready", test_regular_file_is_always_ready);
    g_test_add_func("/loop/idle/once-and-again", test_idle);
    g_test_add_func("/loop/hook/prepare-and-dispatch", test_hooks);
    g_test_add_func("/loop/call/crosses-threads", test_call_crosses_threads);
    g_test_add_func("/loop/token/fair-both-ways", test_token_is_fair);
    g_test_add_func("/loop/token/cond-releases", test_cond_releases_token);
    g_test_add_func("/loop/token/recursion-aborts", test_recursion_aborts);
    return g_test_run();
}
