/* The start order, readable top to bottom, and the end. */
#include "block/block.h"
#include "hw/i386/cpu-model.h"
#include "net/net.h"
#include "system.h"
#include "ui/input.h"
#include "ui/vnc.h"
#include "util/fdset.h"
#include "util/log.h"
#include "util/sock.h"
#include "util/timer.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static bool process_setup(Options *o, GError **err)
{
    if (o->cpu && !strcmp(o->cpu, "help")) {
        g_autofree char *text = x86_cpu_help();

        g_print("%s", text);
        exit(0);
    }
    report_timestamps(o->timestamps);
    if (o->process_name) {
        prctl(PR_SET_NAME, o->process_name);
    }
    if (o->log_file && !log_set_file(o->log_file, err)) {
        return false;
    }
    return !o->daemonize || daemon_fork(err); /* before the first thread */
}

static void quit_key(void *opaque)
{
    run_request_shutdown(opaque, SHUTDOWN_HOST_UI);
}

/* Everything but running. *ret_m is set as soon as there is a machine. */
static bool start(Options *o, Machine **ret_m, GError **err)
{
    const MachineClass *mc = setup_machine_class(o, err);

    if (!mc) {
        return false;
    }
    Machine *m = machine_new(mc);

    *ret_m = m;
    m->run = run_state_new();
    chardev_set_quit(quit_key, m->run);
    if (!setup_machine_options(m, o, err)) {
        return false;
    }
    /* What may wait for a peer comes while signals still end the process at once. */
    if (!setup_chardevs(m, o, err) || !setup_serials(m, o, err)) {
        return false;
    }
    signals_block();
    if (!setup_objects(m, o, err) || !setup_netdevs(m, o, err) || !setup_drives(m, o, err)) {
        return false;
    }
    /* The machine: memory, vCPUs, board. */
    if (!setup_ram(m, o, err) || !setup_accel(m, o, err) || !setup_cpu_model(m, o, err) ||
        !m->mc->init(m, err)) {
        return false;
    }
    setup_run_state(m, o);
    setup_display(m, o);
    input_init(m->run);
    if (!setup_devices(m, o, err) || (mc->ready && !mc->ready(m, err))) {
        return false;
    }
    machine_check_globals(m);
    if (!setup_qtest(m, o, err) || !setup_gdb(m, o, err) || !setup_monitors(m, o, err) ||
        !setup_vnc(m, o, err)) {
        return false;
    }
    /* Power on. */
    if (mc->reset) {
        mc->reset(m);
    } else {
        machine_reset_default(m);
    }
    signals_watch(m->run);
    accel_start(m->accel);
    return (!o->pidfile || pidfile_write(o->pidfile, err)) && daemon_ready(err);
}

/* Guests first, then what their requests went to, then the host's things. */
static void finish(Machine *m)
{
    if (m) {
        monitors_close(); /* SHUTDOWN was the last word */
        run_stop(m->run, RUN_STATE_SHUTDOWN);
        if (m->accel) {
            accel_quit(m->accel);
        }
        vnc_stop_all();
        net_cleanup();
        blk_cleanup();
    }
    chardev_cleanup();
    fdset_cleanup();
    sock_cleanup();
    pidfile_remove();
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Machine *m = NULL;
    int status = 1;

    g_autofree char *program = g_path_get_basename(argv[0]);

    g_set_prgname(program);
    Options *o = options_new();

    if (!options_parse(o, argc, argv, &err) || !process_setup(o, &err)) {
        report_gerror(NULL, err);
        return 1;
    }
    if (start(o, &m, &err)) {
        if (!clock_is_qtest()) {
            /* Rings are looked at for a while before the main loop sleeps, as in an iothread. Not
             * for qtest's clients: what they wrote begins with their notification. */
            loop_poll_tune(loop_main(), /* max_ns= */ 32768, /* grow= */ 0, /* shrink= */ 0);
        }
        if (!o->stopped) {
            run_start(m->run);
        }
        status = run_main(m->run);
    } else {
        report_gerror(NULL, err);
    }
    finish(m);
    options_free(o);
    return status;
}
