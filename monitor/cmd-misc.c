/* QMP commands about the process and the run state. */
#include "config-host.h"
#include "monitor-internal.h"

#include <string.h>

Json *qmp_version(void)
{
    g_auto(GStrv) parts = g_strsplit(QEMU_VERSION, ".", 3);
    Json *v = json_object(), *q = json_object();

    json_set(q, "micro", json_int(g_ascii_strtoll(parts[2], NULL, 10)));
    json_set(q, "minor", json_int(g_ascii_strtoll(parts[1], NULL, 10)));
    json_set(q, "major", json_int(g_ascii_strtoll(parts[0], NULL, 10)));
    json_set(v, "qemu", q);
    json_set(v, "package", json_str("Virtue " VIRTUE_VERSION));
    return v;
}

static Json *one(const char *name, Json *val)
{
    Json *j = json_object();

    json_set(j, name, val);
    return j;
}

static Json *query_version(void *machine, const void *args, GError **err)
{
    return qmp_version();
}

static void add_name(const QmpCmd *cmd, void *opaque)
{
    json_append(opaque, one("name", json_str(cmd->name)));
}

static Json *query_commands(void *machine, const void *args, GError **err)
{
    Json *list = json_array();

    qmp_each(add_name, list);
    return list;
}

static Json *query_schema(void *machine, const void *args, GError **err)
{
    return qmp_schema();
}

static Json *query_status(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;
    Json *j = one("status", json_str(run_state_name(m->run)));

    json_set(j, "running", json_bool(run_is_running(m->run)));
    return j;
}

static Json *query_name(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;

    return m->name ? one("name", json_str(m->name)) : json_object();
}

static Json *query_uuid(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;

    return one(
        "UUID", json_str(m->has_uuid ? m->uuid_text : "00000000-0000-0000-0000-000000000000"));
}

static Json *query_kvm(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;
    Json *j = one("enabled", json_bool(m->accel && !strcmp(m->accel->cls->name, "kvm")));
    bool present = false;

    for (const AccelClass *const *c = accel_classes; *c; c++) {
        present |= !strcmp((*c)->name, "kvm");
    }
    json_set(j, "present", json_bool(present));
    return j;
}

static Json *query_target(void *machine, const void *args, GError **err)
{
    return one("arch", json_str("x86_64"));
}

static Json *run_stop_cmd(void *machine, const void *args, GError **err)
{
    run_stop(((Machine *)machine)->run, RUN_STATE_PAUSED);
    return json_object();
}

static Json *run_cont(void *machine, const void *args, GError **err)
{
    const Machine *m = machine;

    switch (run_state(m->run)) {
    case RUN_STATE_SHUTDOWN:
    case RUN_STATE_INTERNAL_ERROR:
    case RUN_STATE_GUEST_PANICKED:
        err_set(err, "Resetting the Virtual Machine is required");
        return NULL;
    case RUN_STATE_INMIGRATE:
        err_set(err, "the machine waits for its saved state");
        return NULL;
    case RUN_STATE_PRELAUNCH:
    case RUN_STATE_RUNNING:
    case RUN_STATE_PAUSED:
    case RUN_STATE_IO_ERROR:
    case RUN_STATE_DEBUG:
    case RUN_STATE_SUSPENDED:
        break;
    }
    run_start(m->run);
    return json_object();
}

static Json *run_reset(void *machine, const void *args, GError **err)
{
    run_request_reset(((Machine *)machine)->run, SHUTDOWN_HOST_QMP_RESET);
    return json_object();
}

static Json *run_powerdown(void *machine, const void *args, GError **err)
{
    run_request_powerdown(((Machine *)machine)->run);
    return json_object();
}

static Json *run_quit(void *machine, const void *args, GError **err)
{
    run_request_shutdown(((Machine *)machine)->run, SHUTDOWN_HOST_QMP_QUIT);
    return json_object();
}

typedef struct HmpArgs {
    char *line;
    int64_t cpu;
} HmpArgs;

static const PropSpec hmp_args[] = {
    { .name = "command-line",
        .type = &prop_str,
        .offset = offsetof(HmpArgs, line),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT },
    PROP_ROW("cpu-index", HmpArgs, cpu, int64_t, prop_i64, 0, NULL),
    PROP_END,
};

static Json *run_hmp(void *machine, const void *opaque, GError **err)
{
    const HmpArgs *args = opaque;
    g_autoptr(GString) out = g_string_new(NULL);

    hmp_run(machine, args->line, out);
    g_string_replace(out, "\n", "\r\n", 0);
    return json_str(out->str);
}

/*
 * Nothing is saved or migrated: of the capabilities there is the one that every libvirt sets before
 * it starts a domain. It asks for events of migrations, of which there are none.
 */
static const char *const capability_names[] = { "events", NULL };
static PROP_ENUM_TYPE(capability_type, "MigrationCapability", capability_names);

typedef struct Capability {
    int which;
    bool state;
} Capability;

/* clang-format off */
static const PropSpec capability_rows[] = {
    { .name = "capability", .type = &capability_type, .offset = PROP_AT(Capability, which, int), .bit = -1, .flags = PROP_REQUIRED },
    { .name = "state", .type = &prop_bool, .offset = PROP_AT(Capability, state, bool), .bit = -1, .flags = PROP_REQUIRED },
    PROP_END,
};
static const PropSpec capabilities_args[] = {
    { .name = "capabilities", .type = &prop_json, .offset = 0, .bit = -1, .flags = PROP_NO_DEFAULT | PROP_REQUIRED },
    PROP_END,
};
/* clang-format on */

static Json *set_capabilities(void *machine, const void *args, GError **err)
{
    Machine *m = machine;
    const Json *list = *(Json *const *)args;
    Capability c = { .state = m->migrate_events };

    if (json_type(list) != JSON_ARRAY) {
        err_set(err, "Invalid parameter type for 'capabilities', expected: array");
        return NULL;
    }
    for (unsigned i = 0; i < json_len(list); i++) {
        const Json *item = json_at(list, i);

        if (json_type(item) != JSON_OBJECT) {
            err_set(err, "Invalid parameter type for 'capabilities[%u]', expected: object", i);
            return NULL;
        }
        if (!prop_apply_struct(capability_rows, &c, item, err)) {
            return NULL;
        }
    }
    m->migrate_events = c.state;
    return json_object();
}

static Json *query_capabilities(void *machine, const void *args, GError **err)
{
    Json *list = json_array(), *j = one("capability", json_str(capability_names[0]));

    json_set(j, "state", json_bool(((const Machine *)machine)->migrate_events));
    json_append(list, j);
    return list;
}

/* There is no TPM: nothing to list. */
static Json *query_nothing(void *machine, const void *args, GError **err)
{
    return json_array();
}

/* qmp_capabilities itself belongs to the protocol (qmp.c); the row lists it. */
static Json *run_capabilities(void *machine, const Json *args, GError **err)
{
    err_set_class(err, ERR_COMMAND_NOT_FOUND,
        "Capabilities negotiation is already complete, command ignored");
    return NULL;
}

const QmpCmd monitor_misc_cmds[] = {
    { .name = "qmp_capabilities", .run_raw = run_capabilities },
    { .name = "query-version", .run = query_version },
    { .name = "query-commands", .run = query_commands },
    { .name = "query-qmp-schema", .run = query_schema },
    { .name = "query-status", .run = query_status },
    { .name = "query-name", .run = query_name },
    { .name = "query-uuid", .run = query_uuid },
    { .name = "query-kvm", .run = query_kvm },
    { .name = "query-target", .run = query_target },
    { .name = "query-migrate-capabilities", .run = query_capabilities },
    { .name = "migrate-set-capabilities",
        .args_spec = capabilities_args,
        .args_size = sizeof(Json *),
        .run = set_capabilities },
    { .name = "query-tpm-models", .run = query_nothing },
    { .name = "query-tpm-types", .run = query_nothing },
    { .name = "stop", .run = run_stop_cmd },
    { .name = "cont", .run = run_cont },
    { .name = "system_reset", .run = run_reset },
    { .name = "system_powerdown", .run = run_powerdown },
    { .name = "quit", .run = run_quit },
    { .name = "human-monitor-command",
        .args_spec = hmp_args,
        .args_size = sizeof(HmpArgs),
        .run = run_hmp },
    { .name = NULL },
};
