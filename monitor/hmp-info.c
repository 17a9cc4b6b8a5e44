/* The human monitor's info topics, most of them told by QMP commands. */
#include "block/block.h"
#include "config-host.h"
#include "monitor-internal.h"
#include "net/net.h"

#include <string.h>

static void show_status(Machine *m, const char *arg, GString *out)
{
    const char *name = run_state_name(m->run);

    if (run_is_running(m->run)) {
        g_string_append(out, "VM status: running\n");
    } else if (!strcmp(name, "paused")) {
        g_string_append(out, "VM status: paused\n");
    } else {
        g_string_append_printf(out, "VM status: paused (%s)\n", name);
    }
}

static void show_version(Machine *m, const char *arg, GString *out)
{
    g_string_append(out, QEMU_VERSION "Virtue " VIRTUE_VERSION "\n");
}

static void show_name(Machine *m, const char *arg, GString *out)
{
    if (m->name) {
        g_string_append_printf(out, "%s\n", m->name);
    }
}

static void show_uuid(Machine *m, const char *arg, GString *out)
{
    g_string_append_printf(
        out, "%s\n", m->has_uuid ? m->uuid_text : "00000000-0000-0000-0000-000000000000");
}

static void show_kvm(Machine *m, const char *arg, GString *out)
{
    bool on = m->accel && !strcmp(m->accel->cls->name, "kvm");

    g_string_append_printf(out, "kvm support: %s\n", on ? "enabled" : "disabled");
}

static void show_cpus(Machine *m, const char *arg, GString *out)
{
    for (unsigned i = 0; i < m->cpus->len; i++) {
        const VCpu *cpu = m->cpus->pdata[i];

        g_string_append_printf(
            out, "%c CPU #%u: thread_id=%d\n", i ? ' ' : '*', cpu->index, cpu->thread_id);
    }
}

static void show_registers(Machine *m, const char *arg, GString *out)
{
    uint64_t only = 0;
    bool all = !strcmp(arg, "-a");

    if (!m->cpus->len) {
        g_string_append(out, "No CPU available\n");
        return;
    }
    if (!all && *arg) {
        g_autoptr(GError) err = NULL;

        if (!hmp_expr(m, &arg, &only, &err) || *arg || only >= m->cpus->len) {
            g_string_append(out, "CPU#x not available\n");
            return;
        }
    }
    for (unsigned i = 0; i < m->cpus->len; i++) {
        X86State s;

        if (all || i == only) {
            vcpu_get_state(m->cpus->pdata[i], &s);
            g_string_append_printf(out, "\nCPU#%u\n", i);
            x86_state_describe(&s, out);
        }
    }
}

static void show_chardev(Machine *m, const char *arg, GString *out)
{
    g_autoptr(Json) list = qmp_run(m, "query-chardev", NULL, NULL);

    for (unsigned i = 0; list && i < json_len(list); i++) {
        const Json *c = json_at(list, i);

        g_string_append_printf(out, "%s: filename=%s\n", json_get_str_or(c, "label", ""),
            json_get_str_or(c, "filename", ""));
    }
}

static void show_iothreads(Machine *m, const char *arg, GString *out)
{
    static const char *const rows[][2] = { { "thread-id", "thread_id" },
        { "poll-max-ns", "poll-max-ns" }, { "poll-grow", "poll-grow" },
        { "poll-shrink", "poll-shrink" }, { "aio-max-batch", "aio-max-batch" } };
    g_autoptr(Json) list = qmp_run(m, "query-iothreads", NULL, NULL);

    for (unsigned i = 0; list && i < json_len(list); i++) {
        const Json *t = json_at(list, i);

        g_string_append_printf(out, "%s:\n", json_get_str_or(t, "id", ""));
        for (unsigned k = 0; k < G_N_ELEMENTS(rows); k++) {
            g_autofree char *text = json_to_string(json_get(t, rows[k][0]), false);

            g_string_append_printf(out, "  %s=%s\n", rows[k][1], text);
        }
    }
}

static void show_memory_size(Machine *m, const char *arg, GString *out)
{
    g_string_append_printf(
        out, "base memory: %" G_GUINT64_FORMAT "\nplugged memory: 0\n", m->ram_size);
}

static void show_hotpluggable(Machine *m, const char *arg, GString *out)
{
    static const char *const ids[] = { "socket-id", "die-id", "core-id", "thread-id" };
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) list = qmp_run(m, "query-hotpluggable-cpus", NULL, &err);

    if (!list) {
        g_string_append_printf(out, "Error: %s\n", err->message);
        return;
    }
    g_string_append(out, "Hotpluggable CPUs:\n");
    for (unsigned i = 0; i < json_len(list); i++) {
        const Json *c = json_at(list, i), *props = json_get(c, "props");
        const char *path = json_get_str_or(c, "qom-path", NULL);

        g_string_append_printf(out, "  type: \"%s\"\n  vcpus_count: \"%d\"\n",
            json_get_str_or(c, "type", ""), (int)json_get_int(json_get(c, "vcpus-count")));
        if (path) {
            g_string_append_printf(out, "  qom_path: \"%s\"\n", path);
        }
        g_string_append(out, "  CPUInstance Properties:\n");
        for (unsigned k = 0; k < G_N_ELEMENTS(ids); k++) {
            const Json *v = json_get(props, ids[k]);

            if (v) {
                g_string_append_printf(out, "    %s: \"%d\"\n", ids[k], (int)json_get_int(v));
            }
        }
    }
}

static void show_block(Machine *m, const Json *args, GString *out)
{
    const BlkDescribe what = { .name = json_get_str_or(args, "device", NULL),
        .nodes = json_get(args, "n"),
        .verbose = json_get(args, "v") };

    blk_describe(&what, out);
}

static void show_blockstats(Machine *m, const char *arg, GString *out)
{
    blk_describe_stats(out);
}

static void show_memdev(Machine *m, const char *arg, GString *out)
{
    static const char *const rows[][2] = { { "size", "  size:  " }, { "merge", "  merge: " },
        { "dump", "  dump: " }, { "prealloc", "  prealloc: " }, { "share", "  share: " },
        { "reserve", "  reserve: " } };
    g_autoptr(Json) list = qmp_run(m, "query-memdev", NULL, NULL);

    for (unsigned i = 0; list && i < json_len(list); i++) {
        const Json *b = json_at(list, i);

        g_string_append_printf(out, "memory backend: %s\n", json_get_str_or(b, "id", ""));
        for (unsigned k = 0; k < G_N_ELEMENTS(rows); k++) {
            g_autofree char *text = json_to_string(json_get(b, rows[k][0]), false);

            g_string_append_printf(out, "%s%s\n", rows[k][1], text);
        }
        g_string_append_printf(
            out, "  policy: %s\n  host nodes: \n", json_get_str_or(b, "policy", ""));
    }
    g_string_append_c(out, '\n');
}

static void show_usernet(G_GNUC_UNUSED Machine *m, G_GNUC_UNUSED const char *arg, GString *out)
{
    net_user_describe(out);
}

static void show_network(Machine *m, const char *arg, GString *out)
{
    net_describe(out);
}

const HmpInfo monitor_infos[] = {
    { "block", "[-n] [-v] [device]",
        "show info of one block device or all block devices (-n: show named nodes; -v: show "
        "details)",
        .args = "n:- v:- device:s?", .run = show_block },
    { "blockstats", "", "show block device statistics", show_blockstats },
    { "chardev", "", "show the character devices", show_chardev },
    { "cpus", "", "show infos for each CPU", show_cpus },
    { "hotpluggable-cpus", "", "Show information about hotpluggable CPUs", show_hotpluggable },
    { "iothreads", "", "show iothreads", show_iothreads },
    { "kvm", "", "show KVM information", show_kvm },
    { "memdev", "", "show memory backends", show_memdev },
    { "memory_size_summary", "", "show the amount of memory in bytes", show_memory_size },
    { "name", "", "show the current VM name", show_name },
    { "network", "", "show the network state", show_network },
    { "usernet", "", "show user network stack connection states", show_usernet },
    { "registers", "[-a|vcpu]", "show the cpu registers (-a: of all cpus; vcpu: of this one)",
        show_registers },
    { "status", "", "show the current VM status (running|paused)", show_status },
    { "uuid", "", "show the current VM UUID", show_uuid },
    { "version", "", "show the version of QEMU", show_version },
    { NULL },
};
