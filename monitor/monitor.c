/* The list of monitors, events to all of them, and descriptors that clients passed by name. */
#include "monitor-internal.h"
#include "util/fd.h"

/* The process's monitors. Main loop only. */
static struct {
    GPtrArray *all;  /* Monitor* */
    GHashTable *fds; /* name → descriptor + 1 */
    Monitor *current;
} monitors;

static void on_event(G_GNUC_UNUSED void *opaque, const char *name, const Json *data)
{
    gint64 now = g_get_real_time();
    g_autoptr(Json) event = json_object();
    Json *stamp = json_object();

    json_set(stamp, "seconds", json_int(now / G_USEC_PER_SEC));
    json_set(stamp, "microseconds", json_int(now % G_USEC_PER_SEC));
    json_set(event, "timestamp", stamp);
    json_set(event, "event", json_str(name));
    if (data) {
        json_set(event, "data", json_copy(data));
    }
    for (unsigned i = 0; i < monitors.all->len; i++) {
        Monitor *mon = monitors.all->pdata[i];

        if (mon->event) {
            mon->event(mon, event);
        }
    }
}

void monitor_add(Monitor *mon)
{
    if (!monitors.all) {
        monitors.all = g_ptr_array_new();
        qmp_event_set_sink(on_event, NULL);
        fd_set_names(monitor_take_fd); /* from now on fd=NAME means getfd's */
    }
    g_ptr_array_add(monitors.all, mon);
}

void monitors_close(void)
{
    qmp_event_set_sink(NULL, NULL);
    fd_set_names(NULL);
    while (monitors.all && monitors.all->len) {
        Monitor *mon = g_ptr_array_remove_index(monitors.all, monitors.all->len - 1);

        chardev_fe_fini(&mon->fe);
        mon->close(mon);
    }
    g_clear_pointer(&monitors.all, g_ptr_array_unref);
    g_clear_pointer(&monitors.fds, g_hash_table_unref);
}

Monitor *monitor_set_current(Monitor *mon)
{
    Monitor *before = monitors.current;

    monitors.current = mon;
    return before;
}

ChardevFe *monitor_current_fe(void)
{
    return monitors.current ? &monitors.current->fe : NULL;
}

static void close_value(gpointer value)
{
    close(GPOINTER_TO_INT(value) - 1);
}

typedef struct FdArgs {
    char *fdname;
} FdArgs;

static const PropSpec fd_args[] = {
    { .name = "fdname",
        .type = &prop_str,
        .offset = offsetof(FdArgs, fdname),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT },
    PROP_END,
};

static Json *run_getfd(G_GNUC_UNUSED void *machine, const void *opaque, GError **err)
{
    const FdArgs *args = opaque;
    ChardevFe *fe = monitor_current_fe();
    int fd = fe ? chardev_take_fd(fe) : -1;

    if (fd < 0) {
        err_set(err, "No file descriptor supplied via SCM_RIGHTS");
        return NULL;
    }
    if (g_ascii_isdigit(args->fdname[0])) {
        close(fd);
        err_set(err, "Parameter 'fdname' expects a name not starting with a digit");
        return NULL;
    }
    if (!monitors.fds) {
        monitors.fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_value);
    }
    g_hash_table_replace(monitors.fds, g_strdup(args->fdname), GINT_TO_POINTER(fd + 1));
    return json_object();
}

int monitor_take_fd(const char *name)
{
    gpointer key, value;

    if (!monitors.fds || !g_hash_table_steal_extended(monitors.fds, name, &key, &value)) {
        return -1;
    }
    g_free(key);
    return GPOINTER_TO_INT(value) - 1;
}

static Json *run_closefd(G_GNUC_UNUSED void *machine, const void *opaque, GError **err)
{
    const FdArgs *args = opaque;

    if (!monitors.fds || !g_hash_table_remove(monitors.fds, args->fdname)) {
        err_set(err, "File descriptor named '%s' not found", args->fdname);
        return NULL;
    }
    return json_object();
}

const QmpCmd monitor_fd_cmds[] = {
    { .name = "getfd", .args_spec = fd_args, .args_size = sizeof(FdArgs), .run = run_getfd },
    { .name = "closefd", .args_spec = fd_args, .args_size = sizeof(FdArgs), .run = run_closefd },
    { .name = NULL },
};
