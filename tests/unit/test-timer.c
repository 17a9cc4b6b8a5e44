/* util/timer.c: the heap, the stopping clock, qtest's steps. */
#include "util/timer.h"

#include <string.h>

enum { MS = 1000000 };

typedef struct Shot {
    Timer t;
    GString *log;
    char name;
    int64_t every; /* re-arms itself */
} Shot;

static void fire(void *opaque)
{
    Shot *s = opaque;

    g_string_append_c(s->log, s->name);
    if (s->every) {
        timer_mod(&s->t, clock_ns(CLOCK_KIND_VIRTUAL) + s->every);
    }
}

static void test_order(void)
{
    Loop *l = loop_new("t");
    GString *log = g_string_new(NULL);
    Shot s[20];

    for (unsigned i = 0; i < 20; i++) {
        s[i] = (Shot){ .log = log, .name = (char)('a' + i) };
        timer_init(&s[i].t, l, CLOCK_KIND_REALTIME, fire, &s[i]);
        timer_mod(&s[i].t, (i * 7) % 20); /* long ago */
    }
    timer_del(&s[3].t);
    timer_del(&s[3].t);
    timer_mod(&s[0].t, 1000);
    g_assert_true(loop_turn(l, false));
    char expected[20], *to = expected;

    for (unsigned at = 1; at < 20; at++) {
        for (unsigned i = 1; i < 20; i++) {
            if ((i * 7) % 20 == at && i != 3) {
                *to++ = (char)('a' + i);
            }
        }
    }
    strcpy(to, "a");
    g_assert_cmpstr(log->str, ==, expected);
    g_assert_false(timer_pending(&s[5].t));
    loop_free(l);
    g_string_free(log, TRUE);
}

static void test_loop_sleeps_until(void)
{
    Loop *l = loop_new("t");
    g_autoptr(GString) log = g_string_new(NULL);
    Shot s = { .log = log, .name = 'x' };
    int64_t at = clock_ns(CLOCK_KIND_REALTIME) + 2 * MS;

    timer_init(&s.t, l, CLOCK_KIND_REALTIME, fire, &s);
    timer_mod(&s.t, at);
    while (!log->len) {
        loop_turn(l, true);
    }
    g_assert_cmpint(clock_ns(CLOCK_KIND_REALTIME), >=, at);
    loop_free(l);
}

static void test_virtual_stands_while_stopped(void)
{
    clock_virtual_stop();
    int64_t a = clock_ns(CLOCK_KIND_VIRTUAL);
    uint64_t ticks = clock_tsc();
    int64_t until = clock_ns(CLOCK_KIND_REALTIME) + 1 * MS;

    while (clock_ns(CLOCK_KIND_REALTIME) < until) {
    }
    g_assert_cmpint(clock_ns(CLOCK_KIND_VIRTUAL), ==, a);
    g_assert_cmpuint(clock_tsc(), ==, ticks);
    clock_virtual_start();
    int64_t b = clock_ns(CLOCK_KIND_VIRTUAL);

    g_assert_cmpint(b, >=, a);
    g_assert_cmpint(b, <, a + 1000 * (int64_t)MS);
    g_assert_true(clock_virtual_running());
    clock_virtual_stop();
}

static void test_tsc_is_the_virtual_clock(void)
{
    g_assert_cmpuint(clock_tsc_hz(), >=, 100000000);
    clock_virtual_stop();
    double ns = (double)clock_ns(CLOCK_KIND_VIRTUAL);
    double expected = ns * (double)clock_tsc_hz() / 1e9;

    g_assert_cmpfloat_with_epsilon((double)clock_tsc(), expected, 4.0 + expected * 1e-9);
}

static void test_qtest_steps(void)
{
    g_autoptr(GString) log = g_string_new(NULL);
    Shot a = { .log = log, .name = 'a', .every = 10 }, b = { .log = log, .name = 'b' };

    clock_virtual_use_qtest();
    g_assert_cmpint(clock_ns(CLOCK_KIND_VIRTUAL), ==, 0);
    g_assert_cmpint(clock_virtual_deadline(), ==, -1);
    timer_init(&a.t, loop_main(), CLOCK_KIND_VIRTUAL, fire, &a);
    timer_init(&b.t, loop_main(), CLOCK_KIND_VIRTUAL, fire, &b);
    timer_mod(&a.t, 10);
    timer_mod(&b.t, 25);
    g_assert_cmpint(clock_virtual_deadline(), ==, 10);
    while (loop_turn(
        loop_main(), false)) { /* the steps before kicked the loop; no timer fires by itself */
    }
    g_assert_cmpstr(log->str, ==, "");
    clock_virtual_advance_to(30);
    g_assert_cmpstr(log->str, ==, "aaba");
    g_assert_cmpint(clock_ns(CLOCK_KIND_VIRTUAL), ==, 30);
    g_assert_cmpint(clock_virtual_deadline(), ==, 40);
    clock_virtual_start();
    g_assert_cmpint(clock_ns(CLOCK_KIND_VIRTUAL), ==, 30);
    timer_del(&a.t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/timer/heap/fires-in-order", test_order);
    g_test_add_func("/timer/loop/sleeps-until-deadline", test_loop_sleeps_until);
    g_test_add_func("/timer/virtual/stands-while-stopped", test_virtual_stands_while_stopped);
    g_test_add_func("/timer/tsc/is-the-virtual-clock", test_tsc_is_the_virtual_clock);
    g_test_add_func("/timer/qtest/moves-by-command", test_qtest_steps);
    return g_test_run();
}
