/* add-fd, remove-fd, query-fdsets. Tested by tests/system/test_backends.py. */
#include "monitor-internal.h"
#include "util/fdset.h"

#include <inttypes.h>
#include <string.h>

enum { ABSENT = -2 }; /* neither a number of a set nor one that means something here */

typedef struct SetArgs {
    int64_t set, fd;
    char *opaque;
} SetArgs;

#define NUMBER(n, f, fl)                                                                           \
    {                                                                                              \
        .name = (n), .type = &prop_i64, .offset = PROP_AT(SetArgs, f, int64_t), .bit = -1,         \
        .def.i = ABSENT, .flags = (fl)                                                             \
    }
static const PropSpec add_args[] = {
    NUMBER("fdset-id", set, 0),
    PROP_STR("opaque", SetArgs, opaque, NULL),
    PROP_END,
};
static const PropSpec remove_args[] = {
    NUMBER("fdset-id", set, PROP_REQUIRED),
    NUMBER("fd", fd, 0),
    PROP_END,
};

static Json *run_add(void *machine, const void *opaque, GError **err)
{
    const SetArgs *args = opaque;
    ChardevFe *fe = monitor_current_fe();
    int fd = fe ? chardev_take_fd(fe) : -1;

    if (fd < 0) {
        err_set(err, "No file descriptor supplied via SCM_RIGHTS");
        return NULL;
    }
    if (args->set < 0 && args->set != ABSENT) {
        close(fd);
        err_set(err, "Parameter 'fdset-id' expects a non-negative value");
        return NULL;
    }
    int64_t set = fdset_add(args->set == ABSENT ? FDSET_NEW : args->set, fd, args->opaque);
    Json *j = json_object();

    json_set(j, "fd", json_int(fd));
    json_set(j, "fdset-id", json_int(set));
    return j;
}

static Json *run_remove(void *machine, const void *opaque, GError **err)
{
    const SetArgs *args = opaque;

    if (fdset_remove(args->set, args->fd == ABSENT ? FDSET_ALL : args->fd)) {
        return json_object();
    }
    if (args->fd == ABSENT) {
        err_set(err, "File descriptor named 'fdset-id:%" PRId64 "' not found", args->set);
    } else {
        err_set(err, "File descriptor named 'fdset-id:%" PRId64 ", fd:%" PRId64 "' not found",
            args->set, args->fd);
    }
    return NULL;
}

static void add_one(int64_t set, int fd, const char *text, void *opaque)
{
    Json *sets = opaque, *entry = json_object(), *fds = NULL;
    unsigned n = json_len(sets);

    if (n && json_get_int(json_get(json_at(sets, n - 1), "fdset-id")) == set) {
        fds = json_get(json_at(sets, n - 1), "fds");
    } else {
        Json *s = json_object();

        fds = json_array();
        json_set(s, "fds", fds);
        json_set(s, "fdset-id", json_int(set));
        json_append(sets, s);
    }
    json_set(entry, "fd", json_int(fd));
    if (text) {
        json_set(entry, "opaque", json_str(text));
    }
    json_append(fds, entry);
}

static Json *run_query(void *machine, const void *args, GError **err)
{
    g_autoptr(Json) sets = json_array();
    Json *list = json_array();

    fdset_each(add_one, sets);
    for (unsigned i = json_len(sets); i-- > 0;) { /* the highest first, as QEMU */
        json_append(list, json_ref(json_at(sets, i)));
    }
    return list;
}

const QmpCmd monitor_fdset_cmds[] = {
    { .name = "add-fd", .args_spec = add_args, .args_size = sizeof(SetArgs), .run = run_add },
    { .name = "remove-fd",
        .args_spec = remove_args,
        .args_size = sizeof(SetArgs),
        .run = run_remove },
    { .name = "query-fdsets", .run = run_query },
    { .name = NULL },
};
