/* What system/'s files share: the steps of the start, in the order of main.c. */
#pragma once

#include "hw/core/machine.h"
#include "monitor/monitor.h"
#include "options.h"

/* machine-setup.c */
const MachineClass *setup_machine_class(const Options *o, GError **err);
bool setup_machine_options(Machine *m, const Options *o, GError **err);
bool setup_ram(Machine *m, const Options *o, GError **err);
bool setup_cpu_model(Machine *m, const Options *o, GError **err);
/* accel-setup.c */
void accel_take_machine_options(Machine *m, Json *args); /* takes those of an accelerator out */
bool setup_accel(Machine *m, const Options *o, GError **err);
void setup_run_state(Machine *m, const Options *o);

/* smp.c: fills what -smp left open. */
bool setup_smp(Machine *m, const Options *o, GError **err);

/* device-setup.c: each creates what the command line asks for, of its kind. */
bool setup_objects(Machine *m, const Options *o, GError **err);
bool setup_chardevs(Machine *m, const Options *o, GError **err);
bool setup_netdevs(Machine *m, Options *o, GError **err);
bool setup_drives(Machine *m, Options *o, GError **err);
void setup_display(Machine *m, Options *o); /* display-setup.c: -vga; before the devices */
bool setup_devices(Machine *m, const Options *o, GError **err);

/* char-setup.c: -serial, -monitor, -qmp, -mon, -qtest and what nobody has to ask for. */
bool setup_serials(Machine *m, const Options *o, GError **err);
bool setup_monitors(Machine *m, const Options *o, GError **err);
bool setup_qtest(Machine *m, const Options *o, GError **err);

/* daemon.c */
bool daemon_fork(
    GError **err); /* -daemonize: the child returns; the parent waits for daemon_ready() */
bool daemon_ready(GError **err); /* the parent may leave */
bool pidfile_write(const char *path, GError **err);
void pidfile_remove(void);
void signals_block(void);        /* before the first thread */
void signals_watch(RunState *r); /* SIGTERM, SIGINT and SIGHUP end the machine */

/* gdb-server.c: -gdb and -s. */
bool setup_vnc(Machine *m, const Options *o, GError **err);
bool setup_gdb(Machine *m, const Options *o, GError **err);

/* cmd-x86.c */
extern const QmpCmd system_qmp_cmds[];
extern const QomTypes system_cpu_types;
