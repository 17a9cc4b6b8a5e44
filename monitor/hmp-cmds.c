/* The human monitor's commands: mostly callers of QMP. Tested by test-hmp. */
#include "monitor-internal.h"
#include "util/keyval.h"

#include <inttypes.h>
#include <string.h>

void hmp_report(GString *out, const GError *err)
{
    g_string_append_printf(out, "Error: %s\n", err->message);
}

/* A QMP command without arguments and result. */
static void run_plain(Machine *m, const char *name, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) ret = qmp_run(m, name, NULL, &err);

    if (!ret) {
        hmp_report(out, err);
    }
}

static void cmd_stop(Machine *m, const char *arg, GString *out)
{
    run_plain(m, "stop", out);
}

static void cmd_cont(Machine *m, const char *arg, GString *out)
{
    run_plain(m, "cont", out);
}

static void cmd_quit(Machine *m, const char *arg, GString *out)
{
    run_plain(m, "quit", out);
}

static void cmd_reset(Machine *m, const char *arg, GString *out)
{
    run_plain(m, "system_reset", out);
}

static void cmd_powerdown(Machine *m, const char *arg, GString *out)
{
    run_plain(m, "system_powerdown", out);
}

static void cmd_balloon(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) ret = qmp_run(m, "balloon", args, &err);

    if (!ret) {
        hmp_report(out, err);
    }
}

static void cmd_device_add(Machine *m, const char *arg, GString *out)
{
    g_autoptr(GError) err = NULL;
    bool help = false;
    g_autoptr(Json) args = opts_parse(arg, "driver", false, &help, &err);
    const char *driver = args ? json_get_str_or(args, "driver", NULL) : NULL;
    const ObjClass *cls = help && driver ? obj_class_find(driver) : NULL;

    if (cls) {
        g_autofree char *text = prop_class_help(cls);

        g_string_append(out, text);
        return;
    }
    g_autoptr(Json) ret = args ? qmp_run(m, "device_add", args, &err) : NULL;

    if (!ret) {
        hmp_report(out, err);
    }
}

static void cmd_device_del(Machine *m, const char *arg, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_object();

    json_set(args, "id", json_str(arg));
    g_autoptr(Json) ret = qmp_run(m, "device_del", args, &err);

    if (!ret) {
        hmp_report(out, err);
    }
}

static void cmd_x(Machine *m, const char *arg, GString *out)
{
    hmp_examine(m, arg, /* physical= */ false, out);
}

static void cmd_xp(Machine *m, const char *arg, GString *out)
{
    hmp_examine(m, arg, /* physical= */ true, out);
}

static void cmd_print(Machine *m, const char *arg, GString *out)
{
    g_autoptr(GError) err = NULL;
    uint64_t v;

    if (hmp_expr(m, &arg, &v, &err)) {
        g_string_append_printf(out, "0x%" PRIx64 "\n", v);
    } else {
        g_string_append_printf(out, "%s\n", err->message);
    }
}

static void put_info(const HmpInfo *i, GString *out)
{
    g_string_append_printf(out, "info %s %s -- %s\n", i->name, i->params, i->help);
}

static int compare_infos(gconstpointer a, gconstpointer b)
{
    const HmpInfo *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static void list_infos(GString *out)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (const HmpInfo *const *table = hmp_info_tables; *table; table++) {
        for (const HmpInfo *i = *table; i->name; i++) {
            g_ptr_array_add(all, (gpointer)(uintptr_t)i);
        }
    }
    g_ptr_array_sort(all, compare_infos);
    for (unsigned i = 0; i < all->len; i++) {
        put_info(all->pdata[i], out);
    }
}

static const HmpInfo *find_info(const char *name, size_t len)
{
    for (const HmpInfo *const *table = hmp_info_tables; *table; table++) {
        for (const HmpInfo *i = *table; i->name; i++) {
            if (strlen(i->name) == len && !strncmp(i->name, name, len)) {
                return i;
            }
        }
    }
    return NULL;
}

static void show_info(Machine *m, const HmpInfo *i, const char *arg, GString *out)
{
    if (i->show && *i->params) {
        i->show(m, arg, out);
        return;
    }
    g_autoptr(Json) args =
        hmp_parse(m, i->name, /* is_info= */ true, i->run ? i->args : "", arg, out);

    if (args && i->run) {
        i->run(m, args, out);
    } else if (args) {
        i->show(m, "", out);
    }
}

static void cmd_info(Machine *m, const char *arg, GString *out)
{
    size_t len = strcspn(arg, " ");

    if (!len) {
        list_infos(out);
        return;
    }
    const HmpInfo *i = find_info(arg, len);

    if (i) {
        show_info(m, i, arg + len + strspn(arg + len, " "), out);
        return;
    }
    g_string_append_printf(out, "unknown command: 'info %.*s'\n", (int)len, arg);
}

static void cmd_help(Machine *m, const char *arg, GString *out);

static const HmpCmd commands[] = {
    { "cont|c", "", "resume emulation", cmd_cont, .no_args = true },
    { "balloon", "target", "request VM to change its memory allocation (in MB)",
        .run_args = cmd_balloon, .args = "value:M" },
    { "device_add", "driver[,prop=value][,...]", "add device, like -device on the command line",
        cmd_device_add },
    { "device_del", "device", "remove device", cmd_device_del, .needs_arg = true },
    { "help|?", "[cmd]", "show the help", cmd_help },
    { "info", "[subcommand]", "show various information about the system state", cmd_info },
    { "print|p", "expr", "print expression value (use $reg for CPU register access)", cmd_print },
    { "quit|q", "", "quit the emulator", cmd_quit, .no_args = true },
    { "stop|s", "", "stop emulation", cmd_stop, .no_args = true },
    { "system_powerdown", "", "send system power down event", cmd_powerdown, .no_args = true },
    { "system_reset", "", "reset the system", cmd_reset, .no_args = true },
    { "x", "/fmt addr", "virtual memory dump starting at 'addr'", cmd_x },
    { "xp", "/fmt addr", "physical memory dump starting at 'addr'", cmd_xp },
    { NULL },
};

static const HmpCmd *find_in(const HmpCmd *table, const char *name, size_t len)
{
    for (; table->name; table++) {
        for (const char *at = table->name; at; at = strchr(at, '|')) {
            at += *at == '|';
            if (strcspn(at, "|") == len && !strncmp(at, name, len)) {
                return table;
            }
        }
    }
    return NULL;
}

static const HmpCmd *find(const char *name, size_t len)
{
    const HmpCmd *c = find_in(commands, name, len);

    if (!c) {
        c = find_in(hmp_backend_cmds, name, len);
    }
    if (!c) {
        c = find_in(hmp_block_cmds, name, len);
    }
    return c ? c : find_in(hmp_input_cmds, name, len);
}

static void put_help(const HmpCmd *c, GString *out)
{
    g_string_append_printf(out, "%s %s -- %s\n", c->name, c->params, c->help);
}

static int compare_cmds(gconstpointer a, gconstpointer b)
{
    const HmpCmd *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static void list_commands(const char *arg, GString *out)
{
    static const HmpCmd *const tables[] = { commands, hmp_backend_cmds, hmp_block_cmds,
        hmp_input_cmds };
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (unsigned t = 0; !*arg && t < G_N_ELEMENTS(tables); t++) {
        for (const HmpCmd *c = tables[t]; c->name; c++) {
            g_ptr_array_add(all, (gpointer)(uintptr_t)c);
        }
    }
    g_ptr_array_sort(all, compare_cmds);
    for (unsigned i = 0; i < all->len; i++) {
        put_help(all->pdata[i], out);
    }
}

static void cmd_help(Machine *m, const char *arg, GString *out)
{
    const HmpCmd *c = find(arg, strlen(arg));

    const HmpInfo *topic =
        g_str_has_prefix(arg, "info ") ? find_info(arg + 5, strlen(arg + 5)) : NULL;

    if (topic) {
        put_info(topic, out);
    } else if (!strcmp(arg, "info")) {
        list_infos(out);
    } else if (c) {
        put_help(c, out);
    } else {
        list_commands(arg, out);
    }
}

void hmp_run(Machine *m, const char *line, GString *out)
{
    g_autofree char *copy = g_strstrip(g_strdup(line));
    size_t len = strcspn(copy, " /\t"); /* "x/4xw 0" needs no blank */
    const HmpCmd *c = find(copy, len);
    const char *arg = copy + len + strspn(copy + len, " \t");

    if (!*copy) {
        return;
    }
    if (!c) {
        g_string_append_printf(out, "unknown command: '%.*s'\n", (int)strcspn(copy, " \t"), copy);
    } else if (c->no_args && *arg) {
        g_string_append_printf(out,
            "%.*s: extraneous characters at the end of line\n"
            "Try \"help %.*s\" for more information\n",
            (int)len, copy, (int)len, copy);
    } else if (c->needs_arg && !*arg) {
        g_string_append_printf(out,
            "%.*s: string expected\nTry \"help %.*s\" for more information\n", (int)len, copy,
            (int)len, copy);
    } else if (c->run_args) {
        g_autofree char *name = g_strndup(copy, len);
        g_autoptr(Json) args = hmp_parse(m, name, /* is_info= */ false, c->args, arg, out);

        if (args) {
            c->run_args(m, args, out);
        }
    } else {
        c->run(m, arg, out);
    }
}
