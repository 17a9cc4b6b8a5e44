/* The human monitor's commands about back ends: character devices, networks, user objects. Callers
 * of QMP, or of what the command line calls. Tested by tests/system/test_backends.py. */
#include "chardev/chardev.h"
#include "monitor-internal.h"
#include "net/net.h"
#include "util/keyval.h"

#include <string.h>

static void run_qmp(Machine *m, const char *cmd, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) ret = qmp_run(m, cmd, args, &err);

    if (!ret) {
        hmp_report(out, err);
    }
}

/* "null,id=x" as -chardev takes it. */
static void run_chardev_add(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    bool help = false;
    const char *text = json_get_str_or(args, "args", "");
    g_autoptr(Json) opts = opts_parse(text, "backend", false, &help, &err);

    if (opts && (help || !strcmp(json_get_str_or(opts, "backend", ""), "help"))) {
        chardev_help(out);
    } else if (!opts || !chardev_create(opts, &err)) {
        hmp_report(out, err);
    }
}

static void run_chardev_change(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) opts =
        opts_parse(json_get_str_or(args, "args", ""), "backend", false, NULL, &err);

    if (opts) {
        json_set(opts, "id", json_str(json_get_str_or(args, "id", "")));
    }
    if (!opts || !chardev_change(opts, &err)) {
        hmp_report(out, err);
    }
}

static void run_chardev_remove(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "chardev-remove", args, out);
}

static void run_send_break(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "chardev-send-break", args, out);
}

static void run_ringbuf_write(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "ringbuf-write", args, out);
}

static void run_ringbuf_read(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) text = qmp_run(m, "ringbuf-read", args, &err);

    if (text) {
        g_string_append_printf(out, "%s\n", json_get_str(text));
    } else {
        hmp_report(out, err);
    }
}

static void run_netdev_add(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    bool help = false;
    g_autoptr(Json) opts =
        opts_parse(json_get_str_or(args, "netdev", ""), "type", true, &help, &err);

    if (opts && (help || !strcmp(json_get_str_or(opts, "type", ""), "help"))) {
        g_string_append(out, "Available netdev backend types:\n");
        for (unsigned i = 0; net_backends[i]; i++) {
            g_string_append_printf(out, "%s\n", net_backends[i]->type);
        }
        return;
    }
    g_autoptr(Json) ret = opts ? qmp_run(m, "netdev_add", opts, &err) : NULL;

    if (!ret) {
        hmp_report(out, err);
    }
}

static void run_netdev_del(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "netdev_del", args, out);
}

static void run_set_link(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "set_link", args, out);
}

static void run_announce(Machine *m, const Json *args, GString *out)
{
    g_autoptr(Json) a = json_object();
    static const char *const names[] = { "initial", "max", "rounds", "step" };
    static const int values[] = { 50, 550, 5, 100 };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        json_set(a, names[i], json_int(values[i]));
    }
    if (json_get(args, "id")) {
        json_set(a, "id", json_ref(json_get(args, "id")));
    }
    const char *list = json_get_str_or(args, "interfaces", NULL);

    if (list) {
        g_auto(GStrv) name = g_strsplit(list, ",", -1);
        Json *all = json_array();

        for (unsigned i = 0; name[i]; i++) {
            json_append(all, json_str(name[i]));
        }
        json_set(a, "interfaces", all);
    }
    run_qmp(m, "announce-self", a, out);
}

/* One word: a rule for the first user network; two: the network comes first. */
static void run_hostfwd(const Json *args, bool add, GString *out)
{
    const char *one = json_get_str_or(args, "arg1", ""), *two = json_get_str_or(args, "arg2", NULL);
    const char *rule = two ? two : one;
    g_autoptr(GError) err = NULL;

    if (!net_user_forward(two ? one : NULL, rule, add, &err)) {
        g_string_append_printf(out, "%s\n", err->message);
    } else if (!add) {
        g_string_append_printf(out, "host forwarding rule for %s removed\n", rule);
    }
}

static void run_hostfwd_add(G_GNUC_UNUSED Machine *m, const Json *args, GString *out)
{
    run_hostfwd(args, true, out);
}

static void run_hostfwd_remove(G_GNUC_UNUSED Machine *m, const Json *args, GString *out)
{
    run_hostfwd(args, false, out);
}

static int compare_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void list_objects(GString *out)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    for (const ObjClass *const *c = obj_classes; *c; c++) {
        if ((*c)->flags & OBJ_USER_OBJECT && !((*c)->flags & OBJ_ABSTRACT)) {
            g_ptr_array_add(all, (gpointer)(uintptr_t)(*c)->name);
        }
    }
    g_ptr_array_sort(all, compare_text);
    g_string_append(out, "List of user creatable objects:\n");
    for (unsigned i = 0; i < all->len; i++) {
        g_string_append_printf(out, "  %s\n", (const char *)all->pdata[i]);
    }
}

static void run_object_add(Machine *m, const Json *args, GString *out)
{
    g_autoptr(GError) err = NULL;
    bool help = false;
    g_autoptr(Json) opts =
        opts_parse(json_get_str_or(args, "object", ""), "qom-type", true, &help, &err);

    if (opts && (help || !strcmp(json_get_str_or(opts, "qom-type", ""), "help"))) {
        list_objects(out);
        return;
    }
    g_autoptr(Json) ret = opts ? qmp_run(m, "object-add", opts, &err) : NULL;

    if (!ret) {
        hmp_report(out, err);
    }
}

static void run_object_del(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "object-del", args, out);
}

static void run_screendump(Machine *m, const Json *args, GString *out)
{
    run_qmp(m, "screendump", args, out);
}

/* clang-format off */
#define ROW(n, p, h, fn, spec) { .name = (n), .params = (p), .help = (h), .run_args = (fn), .args = (spec) }
const HmpCmd hmp_backend_cmds[] = {
    ROW("announce_self", "[interfaces] [id]", "Trigger GARP/RARP announcements", run_announce, "interfaces:s? id:s?"),
    ROW("hostfwd_add", "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport", "redirect TCP or UDP connections from host to guest (requires -net user)", run_hostfwd_add, "arg1:s arg2:s?"),
    ROW("hostfwd_remove", "[netdev_id] [tcp|udp]:[hostaddr]:hostport", "remove host-to-guest TCP or UDP redirection", run_hostfwd_remove, "arg1:s arg2:s?"),
    ROW("chardev-add", "args", "add chardev", run_chardev_add, "args:s"),
    ROW("chardev-change", "id args", "change chardev", run_chardev_change, "id:s args:s"),
    ROW("chardev-remove", "id", "remove chardev", run_chardev_remove, "id:s"),
    ROW("chardev-send-break", "id", "send a break on chardev", run_send_break, "id:s"),
    ROW("netdev_add", "type,id=str[,prop=value][,...]", "add host network device", run_netdev_add, "netdev:s"),
    ROW("netdev_del", "id", "remove host network device", run_netdev_del, "id:s"),
    ROW("object_add", "[qom-type=]type,id=str[,prop=value][,...]", "create QOM object", run_object_add, "object:S"),
    ROW("object_del", "id", "destroy QOM object", run_object_del, "id:s"),
    ROW("ringbuf_read", "device size", "Read from a ring buffer character device", run_ringbuf_read, "device:s size:i"),
    ROW("ringbuf_write", "device data", "Write to a ring buffer character device", run_ringbuf_write, "device:s data:s"),
    ROW("screendump", "filename [-f format] [device [head]]", "save screen from head 'head' of display device 'device'", run_screendump, "filename:s format:-s device:s? head:i?"),
    ROW("set_link", "name on|off", "change the link status of a network adapter", run_set_link, "name:s up:b"),
    { .name = NULL },
};
/* clang-format on */
