/* QMP commands that need to see the CPU models and the option table. */
#include "hw/i386/cpu-model.h"
#include "system.h"

#include <string.h>

static Json *query_cpu_definitions(void *machine, const void *args, GError **err)
{
    unsigned n;
    const X86CpuModelInfo *models = x86_cpu_models(&n);
    Json *list = json_array();

    for (unsigned i = 0; i < n; i++) {
        Json *j = json_object(), *missing = json_array();
        g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", models[i].name);

        if (models[i].kvm_only) {
            json_append(missing, json_str("kvm"));
        }
        json_set(j, "name", json_str(models[i].name));
        json_set(j, "typename", json_str(type));
        json_set(j, "unavailable-features", missing);
        if (models[i].alias_of) {
            json_set(j, "alias-of", json_str(models[i].alias_of));
        }
        json_set(j, "static", json_bool(models[i].is_static));
        json_set(j, "migration-safe", json_bool(models[i].migration_safe));
        json_set(j, "deprecated", json_bool(false));
        json_append(list, j);
    }
    return list;
}

typedef struct OptionArgs {
    char *option;
} OptionArgs;

static const PropSpec option_args[] = {
    PROP_STR("option", OptionArgs, option, NULL),
    PROP_END,
};

static Json *describe_option(const OptRow *row, const char *name)
{
    Json *j = json_object(), *params = json_array();

    for (const PropSpec *s = row->table; s && s->name; s++) {
        Json *p = json_object();
        const char *type = s->type == &prop_bool            ? "boolean"
                           : prop_is_number(s->type)        ? "number"
                           : !strcmp(s->type->name, "size") ? "size"
                                                            : "string";

        json_set(p, "name", json_str(s->name));
        json_set(p, "type", json_str(type));
        json_append(params, p);
    }
    json_set(j, "parameters", params);
    json_set(j, "option", json_str(name));
    return j;
}

static Json *query_options(void *machine, const void *opaque, GError **err)
{
    const OptionArgs *args = opaque;
    Json *list = json_array();

    for (const OptRow *row = option_rows; row->name; row++) {
        const char *name = row->qmp_name ? row->qmp_name : row->name;
        bool lists = row->params && row->help; /* one row for each option that has an argument */

        if (lists && (!args->option || !strcmp(args->option, name))) {
            json_append(list, describe_option(row, name));
        }
    }
    if (args->option && !json_len(list)) {
        json_unref(list);
        err_set(err, "invalid option name: %s", args->option);
        return NULL;
    }
    return list;
}

const QmpCmd system_qmp_cmds[] = {
    { .name = "query-cpu-definitions", .run = query_cpu_definitions },
    { .name = "query-command-line-options",
        .args_spec = option_args,
        .args_size = sizeof(OptionArgs),
        .run = query_options },
    { .name = NULL },
};
