/* chardev-add's and chardev-change's description of a back end, checked against QMP's shape of it
 * and turned into the flat arguments of -chardev. Tested by test-chardev and test_backends.py. */
#include "chardev-internal.h"

#include <string.h>

/* A member that a back end's "data" or an address may have. Tables end with { NULL }. */
typedef struct Member {
    const char *name;
    JsonType type;
    bool required;
    const char *option;    /* its name for -chardev; NULL: the same */
    const struct Kind *of; /* an object: the kinds of address it may be */
} Member;

/* What {"type", "data"} may be. Tables end with { NULL }. */
typedef struct Kind {
    const char *type;
    const Member *data;
} Kind;

static const Member inet[] = {
    { "host", JSON_STR, .required = true },
    { "port", JSON_STR, .required = true },
    { "to", JSON_INT },
    { "ipv4", JSON_BOOL },
    { "ipv6", JSON_BOOL },
    { NULL },
};
static const Member local_inet[] = {
    { "host", JSON_STR, .required = true, .option = "localaddr" },
    { "port", JSON_STR, .required = true, .option = "localport" },
    { NULL },
};
static const Member unix_path[] = {
    { "path", JSON_STR, .required = true },
    { "abstract", JSON_BOOL },
    { "tight", JSON_BOOL },
    { NULL },
};
static const Member fd[] = { { "str", JSON_STR, .required = true, .option = "fd" }, { NULL } };
static const Kind stream[] = { { "inet", inet }, { "unix", unix_path }, { "fd", fd }, { NULL } };
static const Kind remote[] = { { "inet", inet }, { NULL } };
static const Kind local[] = { { "inet", local_inet }, { NULL } };

/* Every back end may keep a copy of what goes out. */
#define LOG                                                                                        \
    { "logfile", JSON_STR },                                                                       \
    {                                                                                              \
        "logappend", JSON_BOOL                                                                     \
    }
static const Member null_data[] = { LOG, { NULL } };
static const Member stdio_data[] = { LOG, { "signal", JSON_BOOL }, { NULL } };
static const Member file_data[] = {
    LOG,
    { "in", JSON_STR, .option = "input-path" },
    { "out", JSON_STR, .required = true, .option = "path" },
    { "append", JSON_BOOL },
    { NULL },
};
static const Member device_data[] = {
    LOG,
    { "device", JSON_STR, .required = true, .option = "path" },
    { NULL },
};
static const Member pty_data[] = { LOG, { "path", JSON_STR }, { NULL } };
static const Member ringbuf_data[] = { LOG, { "size", JSON_INT }, { NULL } };
static const Member socket_data[] = {
    LOG,
    { "addr", JSON_OBJECT, .required = true, .of = stream },
    { "tls-creds", JSON_STR },
    { "server", JSON_BOOL },
    { "wait", JSON_BOOL },
    { "nodelay", JSON_BOOL },
    { "telnet", JSON_BOOL },
    { "websocket", JSON_BOOL },
    { "reconnect", JSON_INT },
    { "reconnect-ms", JSON_INT },
    { NULL },
};
static const Member udp_data[] = {
    LOG,
    { "remote", JSON_OBJECT, .required = true, .of = remote },
    { "local", JSON_OBJECT, .of = local },
    { NULL },
};
static const Kind backends[] = {
    { "null", null_data },
    { "stdio", stdio_data },
    { "file", file_data },
    { "pipe", device_data },
    { "serial", device_data },
    { "pty", pty_data },
    { "ringbuf", ringbuf_data },
    { "memory", ringbuf_data },
    { "socket", socket_data },
    { "udp", udp_data },
    { NULL },
};

/* The member of that type; NULL: err says that it is missing or of another type. */
static const Json *typed(
    const Json *from, const char *name, JsonType type, const char *path, GError **err)
{
    const Json *v = json_get(from, name);

    if (!v) {
        err_set(err, "Parameter '%s.%s' is missing", path, name);
        return NULL;
    }
    if (json_type(v) != type) {
        err_set(err, "Invalid parameter type for '%s.%s', expected: %s", path, name,
            type == JSON_OBJECT ? "object"
            : type == JSON_BOOL ? "boolean"
            : type == JSON_INT  ? "integer"
                                : "string");
        return NULL;
    }
    return v;
}

static bool add_members(
    Json *to, const Json *from, const Member *m, const char *path, GError **err);

/* {"type", "data"} of one of the kinds. */
static bool add_kind(Json *to, const Json *from, const Kind *k, const char *path, GError **err)
{
    const Json *type = typed(from, "type", JSON_STR, path, err);
    g_autofree char *inside = g_strconcat(path, ".data", NULL);

    while (type && k->type && strcmp(k->type, json_get_str(type))) {
        k++;
    }
    if (type && !k->type) {
        return err_set(err, "Parameter 'type' does not accept value '%s'", json_get_str(type));
    }
    const Json *data = type ? typed(from, "data", JSON_OBJECT, path, err) : NULL;

    return data && add_members(to, data, k->data, inside, err);
}

static bool add_member(Json *to, const Json *from, const Member *m, const char *path, GError **err)
{
    g_autofree char *inside = g_strconcat(path, ".", m->name, NULL);
    const Json *v = typed(from, m->name, m->type, path, err);

    if (v && m->of) {
        return add_kind(to, v, m->of, inside, err);
    }
    if (v) {
        json_set(to, m->option ? m->option : m->name, json_copy(v));
    }
    return v != NULL;
}

static bool add_members(Json *to, const Json *from, const Member *m, const char *path, GError **err)
{
    unsigned known = 0;

    for (const Member *at = m; at->name; at++) {
        bool there = json_get(from, at->name) != NULL;

        if ((there || at->required) && !add_member(to, from, at, path, err)) {
            return false;
        }
        known += there;
    }
    for (unsigned i = 0; known < json_len(from); i++) {
        const char *key = json_key_at(from, i);
        const Member *at = m;

        while (at->name && strcmp(at->name, key)) {
            at++;
        }
        if (!at->name) {
            return err_set(err, "Parameter '%s.%s' is unexpected", path, key);
        }
    }
    return true;
}

Json *chardev_flat_args(const Json *args, GError **err)
{
    const char *id = json_get_str_or(args, "id", NULL);
    const Json *backend = json_get(args, "backend");

    if (!id || !backend) {
        err_set(err, "Parameter '%s' is missing", id ? "backend" : "id");
        return NULL;
    }
    if (json_type(backend) != JSON_OBJECT) {
        err_set(err, "Invalid parameter type for 'backend', expected: object");
        return NULL;
    }
    g_autoptr(Json) flat = json_object();

    if (!add_kind(flat, backend, backends, "backend", err)) {
        return NULL;
    }
    const char *type = json_get_str(json_get(backend, "type"));

    if (!strcmp(type, "socket")) { /* QMP's defaults differ from the command line's */
        if (!json_get(flat, "server")) {
            json_set(flat, "server", json_bool(true));
        }
        if (json_get_bool(json_get(flat, "server")) && !json_get(flat, "wait")) {
            json_set(flat, "wait", json_bool(false));
        }
    }
    json_set(flat, "id", json_str(id));
    json_set(flat, "backend", json_str(type));
    return g_steal_pointer(&flat);
}
