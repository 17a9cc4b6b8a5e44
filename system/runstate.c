/* Run, pause, reset and shutdown: requests come from anywhere, the main loop acts on them. Tested
 * by test-runstate. */
#include "system/runstate.h"

#include "object/qmp.h"
#include "util/timer.h"

#include <stdatomic.h>

enum {
    WANT_DEBUG = 1 << 0,
    WANT_SHUTDOWN = 1 << 1,
    WANT_RESET = 1 << 2,
    WANT_POWERDOWN = 1 << 3,
    WANT_EXIT = 1 << 4,
};

typedef struct RunListener {
    RunListenFn *fn;
    void *opaque;
    int order;
} RunListener;

typedef struct PowerdownFn {
    LoopFn *fn;
    void *opaque;
} PowerdownFn;

struct RunState {
    RunStateKind kind;
    RunOps ops;
    GArray *listeners; /* RunListener, by order */
    GArray *powerdown; /* PowerdownFn */
    int status;
    bool exiting;
    bool stopping, start_again; /* run_stop() is at it: what drains may ask for either */
    /* Written by any thread; run_act() takes them. The first cause stays until it is taken. */
    atomic_uint want;
    atomic_int shutdown_cause, reset_cause, exit_status;
};

static const char *const state_names[] = {
    [RUN_STATE_PRELAUNCH] = "prelaunch",
    [RUN_STATE_RUNNING] = "running",
    [RUN_STATE_PAUSED] = "paused",
    [RUN_STATE_SHUTDOWN] = "shutdown",
    [RUN_STATE_IO_ERROR] = "io-error",
    [RUN_STATE_INTERNAL_ERROR] = "internal-error",
    [RUN_STATE_DEBUG] = "debug",
    [RUN_STATE_SUSPENDED] = "suspended",
    [RUN_STATE_INMIGRATE] = "inmigrate",
    [RUN_STATE_GUEST_PANICKED] = "guest-panicked",
};

static const char *const cause_names[] = {
    [SHUTDOWN_HOST_QMP_QUIT] = "host-qmp-quit",
    [SHUTDOWN_HOST_QMP_RESET] = "host-qmp-system-reset",
    [SHUTDOWN_HOST_SIGNAL] = "host-signal",
    [SHUTDOWN_HOST_UI] = "host-ui",
    [SHUTDOWN_GUEST_SHUTDOWN] = "guest-shutdown",
    [SHUTDOWN_GUEST_RESET] = "guest-reset",
    [SHUTDOWN_GUEST_PANIC] = "guest-panic",
    [SHUTDOWN_HOST_ERROR] = "host-error",
};

RunState *run_state_new(void)
{
    RunState *r = g_new0(RunState, 1);

    r->kind = RUN_STATE_PRELAUNCH;
    r->listeners = g_array_new(FALSE, FALSE, sizeof(RunListener));
    r->powerdown = g_array_new(FALSE, FALSE, sizeof(PowerdownFn));
    return r;
}

void run_state_free(RunState *r)
{
    if (r) {
        g_array_unref(r->listeners);
        g_array_unref(r->powerdown);
        g_free(r);
    }
}

const char *run_state_name(const RunState *r)
{
    return state_names[r->kind];
}

RunStateKind run_state(const RunState *r)
{
    return r->kind;
}

bool run_is_running(const RunState *r)
{
    return r->kind == RUN_STATE_RUNNING;
}

bool shutdown_cause_is_guest(ShutdownCause c)
{
    return c == SHUTDOWN_GUEST_SHUTDOWN || c == SHUTDOWN_GUEST_RESET || c == SHUTDOWN_GUEST_PANIC;
}

const char *shutdown_cause_name(ShutdownCause c)
{
    return cause_names[c];
}

void run_listen(RunState *r, RunListenFn *fn, void *opaque, int order)
{
    RunListener l = { .fn = fn, .opaque = opaque, .order = order };
    unsigned at = 0;

    while (at < r->listeners->len && g_array_index(r->listeners, RunListener, at).order <= order) {
        at++;
    }
    g_array_insert_val(r->listeners, at, l);
}

void run_unlisten(RunState *r, RunListenFn *fn, void *opaque)
{
    for (unsigned i = 0; i < r->listeners->len; i++) {
        const RunListener *l = &g_array_index(r->listeners, RunListener, i);

        if (l->fn == fn && l->opaque == opaque) {
            g_array_remove_index(r->listeners, i);
            return;
        }
    }
}

void run_on_powerdown(RunState *r, LoopFn *fn, void *opaque)
{
    PowerdownFn p = { .fn = fn, .opaque = opaque };

    g_array_append_val(r->powerdown, p);
}

void run_set_ops(RunState *r, const RunOps *ops)
{
    r->ops = *ops;
}

void run_start(RunState *r)
{
    loop_assert(loop_main());
    if (run_is_running(r)) {
        r->start_again = r->stopping;
        return;
    }
    r->kind = RUN_STATE_RUNNING;
    qmp_event("RESUME", NULL);
    clock_virtual_start();
    for (unsigned i = 0; i < r->listeners->len; i++) {
        const RunListener *l = &g_array_index(r->listeners, RunListener, i);

        l->fn(l->opaque, true);
    }
}

void run_stop(RunState *r, RunStateKind why)
{
    loop_assert(loop_main());
    if (!run_is_running(r)) {
        if (why != RUN_STATE_PAUSED) {
            r->kind = why; /* a plain stop of what stands anyway changes nothing */
        }
        return;
    }
    if (r->stopping) {
        return;
    }
    r->stopping = true;
    for (unsigned i = r->listeners->len; i-- > 0;) {
        const RunListener *l = &g_array_index(r->listeners, RunListener, i);

        l->fn(l->opaque, false);
    }
    r->stopping = false;
    clock_virtual_stop();
    r->kind = why;
    qmp_event("STOP", NULL);
    if (r->start_again) {
        r->start_again = false;
        run_start(r);
    }
}

static void do_shutdown(RunState *r, ShutdownCause why)
{
    Json *data = json_object();
    bool host_insists =
        why == SHUTDOWN_HOST_QMP_QUIT || why == SHUTDOWN_HOST_SIGNAL || why == SHUTDOWN_HOST_UI;

    json_set(data, "guest", json_bool(shutdown_cause_is_guest(why)));
    json_set(data, "reason", json_str(shutdown_cause_name(why)));
    qmp_event("SHUTDOWN", data);
    if (r->ops.no_shutdown && !host_insists) {
        run_stop(r, RUN_STATE_SHUTDOWN);
        return;
    }
    r->status = why == SHUTDOWN_HOST_ERROR ? 1 : 0;
    r->exiting = true;
    loop_quit(loop_main());
}

static void do_reset(RunState *r, ShutdownCause why)
{
    if (r->ops.no_reboot) {
        do_shutdown(r, why);
        return;
    }
    if (r->ops.reset) {
        r->ops.reset(r->ops.opaque, why);
    }
    /* It stands as it was before its first start; what only a reset could cure may go on. */
    if (!run_is_running(r) && r->kind != RUN_STATE_INMIGRATE) {
        r->kind = RUN_STATE_PRELAUNCH;
    }
}

static void do_powerdown(RunState *r)
{
    qmp_event("POWERDOWN", NULL);
    if (r->ops.powerdown) {
        r->ops.powerdown(r->ops.opaque);
    }
    for (unsigned i = 0; i < r->powerdown->len; i++) {
        const PowerdownFn *p = &g_array_index(r->powerdown, PowerdownFn, i);

        p->fn(p->opaque);
    }
}

/* In the main loop: all that was asked for since it ran last. */
static void run_act(void *opaque)
{
    RunState *r = opaque;
    /* Pairs with run_want(): the causes are read after their bits. */
    unsigned want = atomic_exchange_explicit(&r->want, 0, memory_order_acq_rel);

    if (r->exiting) {
        return;
    }
    if (want & WANT_DEBUG) {
        run_stop(r, RUN_STATE_DEBUG);
    }
    if (want & WANT_SHUTDOWN) {
        do_shutdown(r, (ShutdownCause)atomic_load(&r->shutdown_cause));
    }
    if (want & WANT_RESET && !r->exiting) {
        do_reset(r, (ShutdownCause)atomic_load(&r->reset_cause));
    }
    if (want & WANT_POWERDOWN && !r->exiting) {
        do_powerdown(r);
    }
    if (want & WANT_EXIT) {
        r->status = atomic_load(&r->exit_status);
        r->exiting = true;
        loop_quit(loop_main());
    }
}

void run_act_now(RunState *r)
{
    loop_assert(loop_main());
    if (atomic_load_explicit(&r->want, memory_order_acquire)) { /* pairs with run_want() */
        run_act(r);
    }
}

bool run_is_exiting(const RunState *r)
{
    return r->exiting;
}

static void run_want(RunState *r, unsigned bit)
{
    if (!atomic_fetch_or_explicit(&r->want, bit, memory_order_acq_rel)) {
        loop_post(loop_main(), run_act, r);
    }
}

static void run_want_cause(RunState *r, unsigned bit, atomic_int *cause, int why)
{
    if (!(atomic_load_explicit(&r->want, memory_order_relaxed) & bit)) {
        atomic_store(cause, why);
    }
    run_want(r, bit);
}

void run_request_reset(RunState *r, ShutdownCause why)
{
    run_want_cause(r, WANT_RESET, &r->reset_cause, (int)why);
}

void run_request_shutdown(RunState *r, ShutdownCause why)
{
    run_want_cause(r, WANT_SHUTDOWN, &r->shutdown_cause, (int)why);
}

void run_request_powerdown(RunState *r)
{
    run_want(r, WANT_POWERDOWN);
}

void run_request_debug(RunState *r)
{
    run_want(r, WANT_DEBUG);
}

void run_request_exit(RunState *r, int status)
{
    run_want_cause(r, WANT_EXIT, &r->exit_status, status);
}

int run_main(RunState *r)
{
    while (!r->exiting) {
        loop_run(loop_main());
    }
    return r->status;
}
