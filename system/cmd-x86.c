/* QMP commands that need to see the CPU models and the option table. Tested by
 * tests/system/test_qmp.py and test_libvirt.py. */
#include "hw/i386/cpu-model.h"
#include "system.h"

#include <string.h>

static Json *query_cpu_definitions(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;
    bool kvm = m->accel && m->accel->cls->host_model;
    unsigned n;
    const X86CpuModelInfo *models = x86_cpu_models(&n);
    Json *list = json_array();

    for (unsigned i = 0; i < n; i++) {
        Json *j = json_object(), *missing = json_array();
        g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", models[i].name);

        if (models[i].kvm_only && !kvm) {
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

/* "max-x86_64-cpu" and the like: what -cpu makes. */
static void each_cpu_type(QomTypeFn *fn, void *opaque)
{
    unsigned n;
    const X86CpuModelInfo *models = x86_cpu_models(&n);

    fn("cpu", "device", true, opaque);
    fn("x86_64-cpu", "cpu", true, opaque);
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *type = g_strdup_printf("%s-x86_64-cpu", models[i].name);

        fn(type, "x86_64-cpu", false, opaque);
    }
}

static void add_feature(void *opaque, const char *name, bool on)
{
    Json *j = json_object();

    json_set(j, "name", json_str(name));
    json_set(j, "type", json_str("bool"));
    json_append(opaque, j);
}

static Json *cpu_type_properties(const char *type)
{
    unsigned n;
    const X86CpuModelInfo *models = x86_cpu_models(&n);
    bool found = !strcmp(type, "x86_64-cpu");

    for (unsigned i = 0; i < n && !found; i++) {
        g_autofree char *name = g_strdup_printf("%s-x86_64-cpu", models[i].name);

        found = !strcmp(name, type);
    }
    if (!found) {
        return NULL;
    }
    /* All models take the same features. */
    g_autofree X86CpuModel *m = x86_cpu_model_new("base", 0, NULL);
    Json *list = json_array();

    x86_cpu_features_foreach(m, add_feature, list);
    return list;
}

typedef struct ExpansionArgs {
    int type;
    Json *model;
} ExpansionArgs;

enum { EXPAND_STATIC, EXPAND_FULL };
static const char *const expansion_names[] = { "static", "full", NULL };
static PROP_ENUM_TYPE(prop_expansion, "CpuModelExpansionType", expansion_names);
static const PropSpec expansion_args[] = {
    { .name = "type",
        .type = &prop_expansion,
        .offset = PROP_AT(ExpansionArgs, type, int),
        .bit = -1,
        .flags = PROP_REQUIRED },
    { .name = "model",
        .type = &prop_json,
        .offset = PROP_AT(ExpansionArgs, model, Json *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT },
    PROP_END,
};

/* {"name", "props"} as -cpu's text. NULL: *err is set. g_free. */
static char *model_text(const Json *model, GError **err)
{
    const char *name = json_get_str_or(model, "name", NULL);
    const Json *props = json_get(model, "props");
    bool known = false;
    unsigned n;

    if (!name || (props && json_type(props) != JSON_OBJECT)) {
        err_set(err, name ? "Invalid parameter type for 'model.props', expected: object"
                          : "Parameter 'model.name' is missing");
        return NULL;
    }
    const X86CpuModelInfo *models = x86_cpu_models(&n);

    for (unsigned i = 0; i < n; i++) {
        known |= !strcmp(models[i].name, name);
    }
    if (!known) {
        err_set(err, "CPU model '%s' not found", name);
        return NULL;
    }
    GString *text = g_string_new(name);

    for (unsigned i = 0; props && i < json_len(props); i++) {
        const Json *v = json_val_at(props, i);
        g_autofree char *plain = json_to_string(v, false);

        g_string_append_printf(text, ",%s=%s", json_key_at(props, i),
            json_type(v) == JSON_BOOL  ? json_get_bool(v) ? "on" : "off"
            : json_type(v) == JSON_STR ? json_get_str(v)
                                       : plain);
    }
    return g_string_free(text, FALSE);
}

static void set_feature(void *opaque, const char *name, bool on)
{
    json_set(opaque, name, json_bool(on));
}

static Json *query_expansion(void *machine, const void *opaque, GError **err)
{
    const ExpansionArgs *args = opaque;

    if (json_type(args->model) != JSON_OBJECT) {
        err_set(err, "Invalid parameter type for 'model', expected: object");
        return NULL;
    }
    g_autofree char *text = model_text(args->model, err);
    g_autofree X86CpuModel *m = text ? x86_cpu_model_new(text, 0, err) : NULL;

    if (!m) {
        return NULL;
    }
    Json *j = json_object(), *model = json_object(), *props = json_object();
    const char *name = json_get_str_or(args->model, "name", NULL);

    x86_cpu_features_foreach(m, set_feature, props);
    json_set(props, "family", json_uint(m->family));
    json_set(props, "model", json_uint(m->model));
    json_set(props, "stepping", json_uint(m->stepping));
    json_set(props, "vendor", json_str(m->vendor));
    json_set(props, "model-id", json_str(m->model_id));
    json_set(props, "level", json_uint(m->level));
    json_set(props, "xlevel", json_uint(m->xlevel));
    json_set(model, "name", json_str(args->type == EXPAND_STATIC ? "base" : name));
    json_set(model, "props", props);
    json_set(j, "model", model);
    return j;
}

const QomTypes system_cpu_types = { .each = each_cpu_type, .properties = cpu_type_properties };

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
    { .name = "query-cpu-model-expansion",
        .args_spec = expansion_args,
        .args_size = sizeof(ExpansionArgs),
        .run = query_expansion },
    { .name = "query-command-line-options",
        .args_spec = option_args,
        .args_size = sizeof(OptionArgs),
        .run = query_options },
    { .name = NULL },
};
