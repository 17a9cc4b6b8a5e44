/* VNC over QMP: passwords and their end, who listens, who looks. Texts as QEMU 10.0. Tested by
 * tests/system/test_vnc.py. */
#include "util/err.h"
#include "vnc-internal.h"

#include <string.h>

static VncServer *find(const char *id)
{
    const GPtrArray *all = vnc_servers();

    for (unsigned i = 0; all && i < all->len; i++) {
        VncServer *s = all->pdata[i];

        if (id ? !strcmp(s->id, id) : i == 0) {
            return s;
        }
    }
    return NULL;
}

/* ---- passwords ---- */

static bool set_password(const char *display, const char *password, GError **err)
{
    VncServer *s = find(display);

    if (!s || !s->auth) {
        return err_set(err, "Could not set password");
    }
    vnc_set_password(&s->frame, password, strlen(password));
    return true;
}

static bool expire_password(const char *display, const char *time, GError **err)
{
    VncServer *s = find(display);
    int64_t at = g_get_real_time() / G_USEC_PER_SEC;
    const char *number = time + (*time == '+');
    char *end = NULL;
    guint64 n = g_ascii_isdigit(*number) ? g_ascii_strtoull(number, &end, 10) : 0;

    if (!strcmp(time, "never")) {
        at = INT64_MAX;
    } else if (strcmp(time, "now")) {
        if (!end || *end || n > INT32_MAX * 1000ull) {
            return err_set(err, "Parameter 'time' doesn't take value '%s'", time);
        }
        at = *time == '+' ? at + (int64_t)n : (int64_t)n;
    }
    if (!s) {
        return err_set(err, "Could not set password expire time");
    }
    g_mutex_lock(&s->frame.lock);
    s->frame.expires_s = at;
    g_mutex_unlock(&s->frame.lock);
    return true;
}

typedef struct PasswordArgs {
    int protocol, connected;
    char *password, *time, *display;
} PasswordArgs;

static const char *const protocols[] = { "vnc", "spice", NULL };
static const char *const kept[] = { "keep", "fail", "disconnect", NULL };
static PROP_ENUM_TYPE(prop_protocol, "DisplayProtocol", protocols);
static PROP_ENUM_TYPE(prop_kept, "SetPasswordAction", kept);

/* clang-format off */
static const PropSpec set_args[] = {
    { .name = "protocol", .type = &prop_protocol, .offset = PROP_AT(PasswordArgs, protocol, int), .bit = -1, .flags = PROP_REQUIRED },
    { .name = "password", .type = &prop_str, .offset = PROP_AT(PasswordArgs, password, char *), .bit = -1,
      .flags = PROP_NO_DEFAULT | PROP_REQUIRED },
    PROP_ENUM("connected", PasswordArgs, connected, prop_kept, 0, "what becomes of the connected"),
    PROP_STR("display", PasswordArgs, display, "the server's id"),
    PROP_END,
};
static const PropSpec expire_args[] = {
    { .name = "protocol", .type = &prop_protocol, .offset = PROP_AT(PasswordArgs, protocol, int), .bit = -1, .flags = PROP_REQUIRED },
    { .name = "time", .type = &prop_str, .offset = PROP_AT(PasswordArgs, time, char *), .bit = -1,
      .flags = PROP_NO_DEFAULT | PROP_REQUIRED },
    PROP_STR("display", PasswordArgs, display, "the server's id"),
    PROP_END,
};
static const PropSpec change_args[] = {
    { .name = "password", .type = &prop_str, .offset = PROP_AT(PasswordArgs, password, char *), .bit = -1,
      .flags = PROP_NO_DEFAULT | PROP_REQUIRED },
    PROP_END,
};
/* clang-format on */

static bool is_vnc(const PasswordArgs *a, GError **err)
{
    return a->protocol == 0 || err_set_class(err, ERR_DEVICE_NOT_ACTIVE, "SPICE is not in use");
}

static Json *qmp_set_password(void *machine, const void *args, GError **err)
{
    const PasswordArgs *a = args;

    if (!is_vnc(a, err)) {
        return NULL;
    }
    if (a->connected) {
        err_set(err, "parameter 'connected' must be 'keep' when 'protocol' is 'vnc'");
        return NULL;
    }
    return set_password(a->display, a->password, err) ? json_object() : NULL;
}

static Json *qmp_expire_password(void *machine, const void *args, GError **err)
{
    const PasswordArgs *a = args;

    return is_vnc(a, err) && expire_password(a->display, a->time, err) ? json_object() : NULL;
}

static Json *qmp_change_password(void *machine, const void *args, GError **err)
{
    return set_password(NULL, ((const PasswordArgs *)args)->password, err) ? json_object() : NULL;
}

/* ---- queries ---- */

static const char *auth_name(const VncServer *s)
{
    return s->auth ? "vnc" : "none";
}

static Json *clients(const VncServer *s)
{
    Json *list = json_array();

    for (unsigned i = 0; i < s->clients->len; i++) {
        const VncClient *c = s->clients->pdata[i];
        Json *j = json_object();

        json_set(j, "host", json_str(c->host));
        json_set(j, "service", json_str(c->service));
        json_set(j, "family", json_str(c->family));
        json_set(j, "websocket", json_bool(false));
        json_append(list, j);
    }
    return list;
}

static Json *qmp_query_vnc(void *machine, const void *args, GError **err)
{
    const VncServer *s = find(NULL);
    Json *j = json_object();

    json_set(j, "enabled", json_bool(s && s->nsocks));
    if (s && s->nsocks) {
        json_set(j, "host", json_str(s->sock[0].host));
        json_set(j, "service", json_str(s->sock[0].service));
        json_set(j, "family", json_str(s->sock[0].family));
        json_set(j, "auth", json_str(auth_name(s)));
        json_set(j, "clients", clients(s));
    }
    return j;
}

static Json *sockets(const VncServer *s)
{
    Json *list = json_array();

    for (unsigned i = s->nsocks; i--;) { /* the last first, as in QEMU */
        Json *j = json_object();

        json_set(j, "host", json_str(s->sock[i].host));
        json_set(j, "service", json_str(s->sock[i].service));
        json_set(j, "family", json_str(s->sock[i].family));
        json_set(j, "websocket", json_bool(false));
        json_set(j, "auth", json_str(auth_name(s)));
        json_append(list, j);
    }
    return list;
}

static Json *qmp_query_servers(void *machine, const void *args, GError **err)
{
    const GPtrArray *all = vnc_servers();
    Json *list = json_array();

    for (unsigned i = 0; all && i < all->len; i++) {
        const VncServer *s = all->pdata[i];
        Json *j = json_object();

        json_set(j, "id", json_str(s->id));
        json_set(j, "server", sockets(s));
        json_set(j, "clients", clients(s));
        json_set(j, "auth", json_str(auth_name(s)));
        if (s->device) {
            json_set(j, "display", json_str(s->device));
        }
        json_append(list, j);
    }
    return list;
}

char *vnc_describe(void)
{
    const GPtrArray *all = vnc_servers();
    GString *out = g_string_new(NULL);

    if (!all || !all->len) {
        return g_string_free(g_string_assign(out, "None\n"), FALSE);
    }
    for (unsigned i = 0; i < all->len; i++) {
        const VncServer *s = all->pdata[i];

        g_string_append_printf(out, "%s:\n", s->id);
        for (unsigned k = s->nsocks; k--;) {
            g_string_append_printf(out, "  Server: %s:%s (%s)\n    Auth: %s (Sub: none)\n",
                s->sock[k].host, s->sock[k].service, s->sock[k].family, auth_name(s));
        }
        if (!s->nsocks) {
            g_string_append_printf(out, "  Auth: %s (Sub: none)\n", auth_name(s));
        }
        for (unsigned k = 0; k < s->clients->len; k++) {
            const VncClient *c = s->clients->pdata[k];

            g_string_append_printf(out,
                "  Client: %s:%s (%s)\n    x509_dname: none\n    sasl_username: none\n", c->host,
                c->service, c->family);
        }
    }
    return g_string_free(out, FALSE);
}

const QmpCmd vnc_qmp_cmds[] = {
    { .name = "set_password",
        .args_spec = set_args,
        .args_size = sizeof(PasswordArgs),
        .run = qmp_set_password },
    { .name = "expire_password",
        .args_spec = expire_args,
        .args_size = sizeof(PasswordArgs),
        .run = qmp_expire_password },
    { .name = "change-vnc-password",
        .args_spec = change_args,
        .args_size = sizeof(PasswordArgs),
        .run = qmp_change_password },
    { .name = "query-vnc", .run = qmp_query_vnc },
    { .name = "query-vnc-servers", .run = qmp_query_servers },
    { .name = NULL },
};
