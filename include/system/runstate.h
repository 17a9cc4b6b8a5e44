/* Run, pause, reset and shutdown requests. Layer "run": knows util and object only. */
#pragma once

#include "util/err.h"
#include "util/loop.h"

typedef enum RunStateKind {
    RUN_STATE_PRELAUNCH,
    RUN_STATE_RUNNING,
    RUN_STATE_PAUSED,
    RUN_STATE_SHUTDOWN,
    RUN_STATE_IO_ERROR,
    RUN_STATE_INTERNAL_ERROR,
    RUN_STATE_DEBUG,
    RUN_STATE_SUSPENDED,
    RUN_STATE_INMIGRATE,
    RUN_STATE_GUEST_PANICKED,
} RunStateKind;
typedef enum ShutdownCause {
    SHUTDOWN_HOST_QMP_QUIT,
    SHUTDOWN_HOST_QMP_RESET,
    SHUTDOWN_HOST_SIGNAL,
    SHUTDOWN_HOST_UI,
    SHUTDOWN_GUEST_SHUTDOWN,
    SHUTDOWN_GUEST_RESET,
    SHUTDOWN_GUEST_PANIC,
    SHUTDOWN_HOST_ERROR,
} ShutdownCause;
typedef struct RunState RunState;

RunState *run_state_new(void);
void run_state_free(RunState *r);
const char *run_state_name(const RunState *r); /* "running", "prelaunch" … */
RunStateKind run_state(const RunState *r);
bool run_is_running(const RunState *r);
/* Main loop. Listeners hear running/stopped: vCPUs, block drain, clocks. Emits STOP/RESUME. */
void run_start(RunState *r);
void run_stop(RunState *r, RunStateKind why);
typedef void RunListenFn(void *opaque, bool running);
/* smaller order first on start, last on stop */
void run_listen(RunState *r, RunListenFn *fn, void *opaque, int order);
void run_unlisten(RunState *r, RunListenFn *fn, void *opaque);
/* Requests: any thread; acted on by the main loop. */
void run_request_reset(RunState *r, ShutdownCause why);
void run_request_shutdown(RunState *r, ShutdownCause why);
/* system_powerdown: asks the guest (ACPI button) */
void run_request_powerdown(RunState *r);
void run_request_debug(RunState *r);
void run_request_exit(RunState *r, int status); /* isa-debug-exit, quit */
/* Acts on what was asked for, now: a QMP command's events come before its reply. Main loop. */
void run_act_now(RunState *r);
bool run_is_exiting(const RunState *r); /* the main loop will not come back */
/* What the top does about them; set by system/main.c. */
typedef struct RunOps {
    void (*reset)(void *opaque, ShutdownCause why);
    void (*powerdown)(void *opaque);
    bool no_reboot, no_shutdown; /* -no-reboot: guest resets become shutdowns */
    void *opaque;
} RunOps;
void run_set_ops(RunState *r, const RunOps *ops);
/* runs the main loop until exit; returns the status */
int run_main(RunState *r);
bool shutdown_cause_is_guest(ShutdownCause c);
const char *shutdown_cause_name(ShutdownCause c); /* "guest-shutdown", "host-qmp-system-reset" */
/* Powerdown notifiers (ACPI power button). */
void run_on_powerdown(RunState *r, LoopFn *fn, void *opaque);
