/* system/runstate.c: states, order of listeners, what requests lead to, events. */
#include "object/qmp.h"
#include "system/runstate.h"
#include "util/timer.h"

static GString *seen;

static void on_event(G_GNUC_UNUSED void *opaque, const char *name, const Json *data)
{
    g_string_append_printf(
        seen, "%s%s%s ", name, data ? ":" : "", data ? json_get_str_or(data, "reason", "") : "");
}

static void listener(void *opaque, bool running)
{
    g_string_append_printf(seen, "%s%c ", (const char *)opaque, running ? '+' : '-');
}

static void on_reset(G_GNUC_UNUSED void *opaque, ShutdownCause why)
{
    g_string_append_printf(seen, "reset:%s ", shutdown_cause_name(why));
}

static void on_powerdown(G_GNUC_UNUSED void *opaque)
{
    g_string_append(seen, "button ");
}

static RunState *fresh(bool no_reboot, bool no_shutdown)
{
    RunState *r = run_state_new();
    RunOps ops = { .reset = on_reset, .no_reboot = no_reboot, .no_shutdown = no_shutdown };

    run_set_ops(r, &ops);
    run_on_powerdown(r, on_powerdown, NULL);
    g_string_truncate(seen, 0);
    return r;
}

static void turn(void)
{
    while (loop_turn(loop_main(), false)) {
    }
}

static char last_name[] = "last", first_name[] = "first";

static void test_start_and_stop(void)
{
    RunState *r = fresh(false, false);

    run_listen(r, listener, last_name, 1000);
    run_listen(r, listener, first_name, 1);
    g_assert_cmpstr(run_state_name(r), ==, "prelaunch");
    run_stop(r, RUN_STATE_PAUSED);
    g_assert_cmpstr(run_state_name(r), ==, "prelaunch");
    run_start(r);
    run_start(r);
    g_assert_true(run_is_running(r) && clock_virtual_running());
    run_stop(r, RUN_STATE_PAUSED);
    g_assert_cmpstr(run_state_name(r), ==, "paused");
    g_assert_false(clock_virtual_running());
    g_assert_cmpstr(seen->str, ==, "RESUME first+ last+ last- first- STOP ");
    run_unlisten(r, listener, last_name);
    run_start(r);
    g_assert_true(g_str_has_suffix(seen->str, "RESUME first+ "));
    run_stop(r, RUN_STATE_PAUSED);
    run_state_free(r);
}

static void test_reset(void)
{
    RunState *r = fresh(false, false);

    run_request_reset(r, SHUTDOWN_GUEST_RESET);
    run_request_reset(
        r, SHUTDOWN_HOST_QMP_RESET); /* the first cause stays, and one reset is enough */
    turn();
    g_assert_cmpstr(seen->str, ==, "reset:guest-reset ");
    run_state_free(r);
}

static void test_no_reboot(void)
{
    RunState *r = fresh(true, false);

    run_request_reset(r, SHUTDOWN_GUEST_RESET);
    g_assert_cmpint(run_main(r), ==, 0);
    g_assert_cmpstr(seen->str, ==, "SHUTDOWN:guest-reset ");
    run_state_free(r);
}

static void test_no_shutdown(void)
{
    RunState *r = fresh(false, true);

    run_start(r);
    run_request_shutdown(r, SHUTDOWN_GUEST_SHUTDOWN);
    turn();
    g_assert_cmpstr(run_state_name(r), ==, "shutdown");
    run_request_reset(r, SHUTDOWN_HOST_QMP_RESET);
    turn();
    g_assert_cmpstr(run_state_name(r), ==, "prelaunch");
    run_request_shutdown(r, SHUTDOWN_HOST_SIGNAL); /* the host's word is final */
    g_assert_cmpint(run_main(r), ==, 0);
    g_assert_cmpstr(seen->str, ==,
        "RESUME SHUTDOWN:guest-shutdown STOP reset:host-qmp-system-reset SHUTDOWN:host-signal ");
    run_state_free(r);
}

static void test_powerdown(void)
{
    RunState *r = fresh(false, false);

    run_request_powerdown(r);
    turn();
    g_assert_cmpstr(seen->str, ==, "POWERDOWN button ");
    run_state_free(r);
}

static void test_exit_status(void)
{
    RunState *r = fresh(false, true);

    run_request_exit(r, 35);
    g_assert_cmpint(run_main(r), ==, 35);
    run_state_free(r);
    r = fresh(false, false);
    run_request_shutdown(r, SHUTDOWN_HOST_ERROR);
    g_assert_cmpint(run_main(r), ==, 1);
    run_state_free(r);
}

static void test_debug(void)
{
    RunState *r = fresh(false, false);

    run_start(r);
    run_request_debug(r);
    turn();
    g_assert_cmpstr(run_state_name(r), ==, "debug");
    run_state_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    seen = g_string_new(NULL);
    qmp_event_set_sink(on_event, NULL);
    g_test_add_func("/runstate/start-stop/order-and-events", test_start_and_stop);
    g_test_add_func("/runstate/reset/once-with-first-cause", test_reset);
    g_test_add_func("/runstate/no-reboot/shuts-down", test_no_reboot);
    g_test_add_func("/runstate/no-shutdown/pauses", test_no_shutdown);
    g_test_add_func("/runstate/powerdown/asks-the-guest", test_powerdown);
    g_test_add_func("/runstate/exit/status", test_exit_status);
    g_test_add_func("/runstate/debug/stops", test_debug);
    int rc = g_test_run();

    g_string_free(seen, TRUE);
    return rc;
}
