/* What the monitor's files share. */
#pragma once

#include "monitor/monitor.h"

/* The chardev end of the QMP monitor whose command runs now; NULL: none (the human monitor, a
 * test). */
ChardevFe *monitor_current_fe(void);
/* qmp.c: a QMP monitor; hmp.c: a human one. monitor.c keeps the list. */
struct Monitor {
    ChardevFe fe;
    Machine *machine;
    void (*event)(Monitor *mon, const Json *event); /* NULL: not interested */
    void (*close)(Monitor *mon);
};
void monitor_add(Monitor *mon);
Monitor *monitor_set_current(Monitor *mon); /* returns the previous one */

/* hmp-expr.c: "0x10+4", "$rip-8". Moves *text behind it. */
bool hmp_expr(Machine *m, const char **text, uint64_t *ret, GError **err);
/* hmp-mem.c: x and xp; text begins behind the command's name, "/4xw 0x100". */
void hmp_examine(Machine *m, const char *text, bool physical, GString *out);
/* A command of the human monitor. */
typedef struct HmpCmd {
    const char *name; /* "stop|s" */
    const char *params, *help;
    void (*run)(Machine *m, const char *arg, GString *out);
    bool no_args;
    bool needs_arg; /* "device_del: string expected" */
    /* instead of run: the line taken apart by args, as HmpInfo.args */
    void (*run_args)(Machine *m, const Json *args, GString *out);
    const char *args;
} HmpCmd;
/* hmp-backend.c: character devices, networks, objects; ends with { NULL } */
extern const HmpCmd hmp_backend_cmds[];
/* hmp-block.c: disks */
extern const HmpCmd hmp_block_cmds[];
/* hmp-input.c: keys and mice */
extern const HmpCmd hmp_input_cmds[];
/* "Error: …" */
void hmp_report(GString *out, const GError *err);

/* hmp-args.c: takes the text apart as spec says (HmpInfo.args). NULL: out says what is wrong. */
Json *hmp_parse(
    Machine *m, const char *cmd, bool is_info, const char *spec, const char *text, GString *out);
