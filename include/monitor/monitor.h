/*
 * Monitors: QMP and the human one, each on a character device. Commands are rows of tables; which
 * tables there are is said in one place, system/tables.c, since only the top sees every folder.
 */
#pragma once

#include "chardev/chardev.h"
#include "hw/core/machine.h"
#include "object/qmp.h"

/* An "info" topic of the human monitor that another folder can show. */
typedef struct HmpInfo {
    const char *name, *params, *help;
    /* arg: the rest of the line, may be empty */
    void (*show)(Machine *m, const char *arg, GString *out);
    /* Instead of show, with the line taken apart by args: "path:s queue:i index:i?". s: a word, S:
     * the rest, i and l: expressions of 32 and 64 bits, b: on or off, -: a switch of that letter.
     */
    void (*run)(Machine *m, const Json *args, GString *out);
    const char *args;
} HmpInfo; /* tables end with { NULL } */

/* Types for qom-list-types that no ObjClass stands for. */
typedef void QomTypeFn(const char *name, const char *parent, bool abstract, void *opaque);
typedef struct QomTypes {
    void (*each)(QomTypeFn *fn, void *opaque);
    /* as device-list-properties shows them; NULL: none of these types */
    Json *(*properties)(const char *type);
} QomTypes;

/* Defined by the top (tests have their own); each ends with NULL. */
extern const QomTypes *const qom_types[];
extern const QmpCmd *const qmp_tables[];
extern const HmpInfo *const hmp_info_tables[];
/* The monitor's own rows, for those lists. */
extern const QmpCmd monitor_misc_cmds[], monitor_fd_cmds[], monitor_fdset_cmds[],
    monitor_qom_cmds[], monitor_machine_cmds[];
extern const HmpInfo monitor_infos[], monitor_tree_infos[], monitor_virtio_infos[],
    monitor_input_infos[];

typedef struct Monitor Monitor;
/* Serves c until monitors_close(). Main loop. */
Monitor *monitor_new_qmp(Machine *m, Chardev *c, bool pretty, GError **err);
Monitor *monitor_new_hmp(Machine *m, Chardev *c, GError **err);
void monitors_close(void);

const QmpCmd *qmp_find(const char *name);
void qmp_each(void (*fn)(const QmpCmd *cmd, void *opaque), void *opaque);
/* Runs one command; args may be NULL. Returns the "return" member or NULL. */
Json *qmp_run(Machine *m, const char *name, const Json *args, GError **err);
/* The reply to one QMP request object, greeting state aside: {"return"} or {"error"}, with the id.
 */
Json *qmp_reply(Machine *m, const Json *request);
Json *qmp_schema(void);
Json *qmp_version(void);

/* Runs one line of the human monitor; output with plain newlines. */
void hmp_run(Machine *m, const char *line, GString *out);
/* getfd: descriptors that came over a monitor's socket. -1: no such name. The name is used up. */
int monitor_take_fd(const char *name);
