/* Finding a command's row and running it with its arguments filled from the row's table. */
#include "monitor/monitor.h"

#include <string.h>

const QmpCmd *qmp_find(const char *name)
{
    for (const QmpCmd *const *table = qmp_tables; *table; table++) {
        for (const QmpCmd *c = *table; c->name; c++) {
            if (!strcmp(c->name, name)) {
                return c;
            }
        }
    }
    return NULL;
}

void qmp_each(void (*fn)(const QmpCmd *cmd, void *opaque), void *opaque)
{
    for (const QmpCmd *const *table = qmp_tables; *table; table++) {
        for (const QmpCmd *c = *table; c->name; c++) {
            fn(c, opaque);
        }
    }
}

Json *qmp_run(Machine *m, const char *name, const Json *args, GError **err)
{
    const QmpCmd *cmd = qmp_find(name);

    if (!cmd) {
        err_set_class(err, ERR_COMMAND_NOT_FOUND, "The command %s has not been found", name);
        return NULL;
    }
    if (cmd->run_raw) {
        g_autoptr(Json) none = json_object();

        return cmd->run_raw(m, args ? args : none, err);
    }
    if (!cmd->args_spec) {
        if (args && json_len(args)) {
            err_set(err, "Parameter '%s' is unexpected", json_key_at(args, 0));
            return NULL;
        }
        return cmd->run(m, NULL, err);
    }
    g_autofree void *filled = g_malloc0(cmd->args_size);

    prop_defaults(cmd->args_spec, filled);
    Json *ret =
        prop_apply_struct(cmd->args_spec, filled, args, err) ? cmd->run(m, filled, err) : NULL;

    prop_release(cmd->args_spec, filled);
    return ret;
}
