/* Network ports, cables between them, the registry of -netdev back ends, and what QMP does with
 * them. Tested by test-net. */
#include "net-internal.h"
#include "util/keyval.h"
#include "util/log.h"

#include <string.h>

const NetBackend *const net_backends[] = {
#ifdef CONFIG_SLIRP
    &net_user,
#endif
    &net_tap,
    &net_hubport,
    NULL,
};

/* The process's network ports, back ends and NICs, found by name; and the next default MAC. Main
 * loop only. */
static struct {
    GPtrArray *ports;
    unsigned next_mac;
} reg;

NetVerdict net_send(NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    NetPort *to = from->peer;

    if (!to || from->link_down || to->link_down || !to->ops->receive) {
        return NET_DROPPED;
    }
    NetVerdict v = to->ops->receive(to, iov, n, len);
    from->blocked = v == NET_QUEUED;
    return v;
}

void net_ready(NetPort *receiver)
{
    NetPort *from = receiver->peer;

    if (from && from->blocked) {
        from->blocked = false;
        if (from->ops->writable) {
            from->ops->writable(from);
        }
    }
}

void net_port_init(NetPort *p, const NetPortOps *ops, const char *type, const char *id)
{
    *p = (NetPort){ .ops = ops, .type = type, .id = g_strdup(id) };
    if (!reg.ports) {
        reg.ports = g_ptr_array_new();
    }
    g_ptr_array_add(reg.ports, p);
}

void net_port_fini(NetPort *p)
{
    NetPort *o = p->peer;

    net_disconnect(p);
    if (o && p->backend && o->ops->link) {
        o->link_down = true; /* QEMU compat: a NIC whose back end is gone has no carrier */
        o->ops->link(o, false);
    }
    g_ptr_array_remove(reg.ports, p);
    g_clear_pointer(&p->id, g_free);
    g_clear_pointer(&p->info, g_free);
}

void net_connect(NetPort *a, NetPort *b)
{
    g_assert(!a->peer && !b->peer);
    a->peer = b;
    b->peer = a;
}

void net_disconnect(NetPort *p)
{
    NetPort *o = p->peer;

    if (!o) {
        return;
    }
    p->peer = o->peer = NULL;
    /* Who waited for the other end goes on: its packets are dropped now. */
    for (unsigned i = 0; i < 2; i++) {
        NetPort *w = i ? o : p;
        if (w->blocked) {
            w->blocked = false;
            if (w->ops->writable) {
                w->ops->writable(w);
            }
        }
    }
}

static NetPort *port_find(const char *id, bool backends_only)
{
    for (unsigned i = 0; reg.ports && i < reg.ports->len; i++) {
        NetPort *p = g_ptr_array_index(reg.ports, i);
        if (p->id && !strcmp(p->id, id) && (p->backend || !backends_only)) {
            return p;
        }
    }
    return NULL;
}

NetPort *net_find(const char *id)
{
    return port_find(id, true);
}

void net_each(void (*fn)(NetPort *p, void *opaque), void *opaque)
{
    for (unsigned i = 0; reg.ports && i < reg.ports->len; i++) {
        fn(g_ptr_array_index(reg.ports, i), opaque);
    }
}

void net_default_mac(MacAddr *ret)
{
    *ret = (MacAddr){ .a = { 0x52, 0x54, 0x00, 0x12, 0x34, (uint8_t)(0x56 + reg.next_mac++) },
        .set = true };
}

NetPort *net_backend_create(const Json *args, GError **err)
{
    const char *type = json_get_str_or(args, "type", NULL), *id = json_get_str_or(args, "id", NULL);
    const NetBackend *b = NULL;

    if (!type || !id) {
        err_set(err, "Parameter '%s' is missing", type ? "id" : "type");
        return NULL;
    }
    for (unsigned i = 0; net_backends[i]; i++) {
        if (!strcmp(net_backends[i]->type, type)) {
            b = net_backends[i];
        }
    }
    if (!b) {
        err_set(err, "Parameter 'type' does not accept value '%s'", type);
        return NULL;
    }
    /* -nic makes names that begin with '#', which no user can give. */
    if (*id != '#' && !id_check(id, err)) {
        return NULL;
    }
    g_autoptr(Json) rest = json_copy(args);
    json_remove(rest, "type");
    json_remove(rest, "id");
    g_autofree void *cfg = g_malloc0(MAX(b->size, 1));
    prop_defaults(b->props, cfg);
    NetPort *p = NULL;
    if (prop_apply_struct(b->props, cfg, rest, err)) {
        if (net_find(id)) {
            err_set(err, "Duplicate ID '%s' for netdev", id);
        } else {
            p = b->open(id, cfg, err);
        }
    }
    prop_release(b->props, cfg);
    if (p) {
        p->backend = b;
    }
    return p;
}

bool net_backend_delete(const char *id, GError **err)
{
    NetPort *p = net_find(id);

    if (!p) {
        return err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    p->backend->close(p);
    return true;
}

void net_cleanup(void)
{
    for (unsigned i = reg.ports ? reg.ports->len : 0; i-- > 0;) {
        NetPort *p = g_ptr_array_index(reg.ports, i);
        if (p->backend) {
            p->backend->close(p);
        }
    }
}

bool net_set_link(const char *id, bool up, GError **err)
{
    NetPort *p = port_find(id, false);

    if (!p) {
        return err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    p->link_down = !up;
    if (p->ops->link) {
        p->ops->link(p, up);
    }
    /* A back end's link is its NIC's carrier. */
    if (p->peer && p->backend && p->peer->ops->link) {
        p->peer->link_down = !up;
        p->peer->ops->link(p->peer, up);
    }
    if (up) {
        net_ready(p);
        if (p->peer) {
            net_ready(p->peer);
        }
    }
    return true;
}

static void describe_one(NetPort *p, void *opaque)
{
    GString *out = opaque;

    if (p->backend && p->peer && !p->peer->backend) {
        return; /* shown below its NIC */
    }
    g_string_append_printf(out, "%s: index=0,type=%s,%s\n", p->id, p->type, p->info ? p->info : "");
    if (p->peer) {
        g_string_append_printf(out, " \\ %s: index=0,type=%s,%s\n", p->peer->id, p->peer->type,
            p->peer->info ? p->peer->info : "");
    }
}

void net_describe(GString *out)
{
    net_each(describe_one, out);
}

/* ---- netdev=ID on devices ---- */

static void *netdev_ref_find(const char *id, GError **err)
{
    NetPort *p = net_find(id);

    if (p && p->peer) {
        err_set(err, "Property '{qom}' can't take value '%s', it's in use", id);
        return NULL;
    }
    return p;
}

/* The back end may be gone, and another may have its name: only the address tells. */
static const char *netdev_ref_name(const void *target)
{
    bool there = reg.ports && g_ptr_array_find(reg.ports, target, NULL);

    return there ? ((const NetPort *)target)->id : NULL;
}

static const PropRef netdev_ref = { .find = netdev_ref_find, .name = netdev_ref_name };
const PropType prop_netdev = { .name = "str", .ref = &netdev_ref };

/* ---- QMP ---- */

static Json *qmp_netdev_add(G_GNUC_UNUSED void *m, const Json *args, GError **err)
{
    const char *id = json_get_str_or(args, "id", NULL);

    return (!id || id_check(id, err)) && net_backend_create(args, err) ? json_object() : NULL;
}

typedef struct IdArgs {
    char *id, *name;
    bool up;
} IdArgs;
static const PropSpec id_props[] = {
    { .name = "id",
        .type = &prop_str,
        .offset = PROP_AT(IdArgs, id, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "back end" },
    PROP_END,
};

static Json *qmp_netdev_del(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    return net_backend_delete(((const IdArgs *)args)->id, err) ? json_object() : NULL;
}

static const PropSpec link_props[] = {
    { .name = "name",
        .type = &prop_str,
        .offset = PROP_AT(IdArgs, name, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "NIC or back end" },
    { .name = "up",
        .type = &prop_bool,
        .offset = PROP_AT(IdArgs, up, bool),
        .bit = -1,
        .flags = PROP_REQUIRED,
        .help = "carrier" },
    PROP_END,
};

static Json *qmp_set_link(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const IdArgs *a = args;
    return net_set_link(a->name, a->up, err) ? json_object() : NULL;
}

static void warn_unplugged(NetPort *p, void *opaque)
{
    if (!p->peer) {
        report_warning("%s %s has no peer", p->backend ? "netdev" : "nic", p->id);
    }
}

void net_check(void)
{
    hub_check();
    net_each(warn_unplugged, NULL);
}

void net_rx_filter_changed(NetPort *p, const char *path)
{
    if (p->filter_told) {
        return;
    }
    p->filter_told = true;
    Json *data = json_object();

    json_set(data, "name", json_str(p->id));
    json_set(data, "path", json_str(path));
    qmp_event("NIC_RX_FILTER_CHANGED", data);
}

typedef struct FilterQuery {
    const char *name;
    Json *list;
} FilterQuery;

static void add_filter(NetPort *p, void *opaque)
{
    const FilterQuery *q = opaque;

    if (p->ops->rx_filter && (!q->name || !strcmp(q->name, p->id))) {
        Json *j = p->ops->rx_filter(p);

        json_set(j, "name", json_str(p->id));
        json_append(q->list, j);
        p->filter_told = false;
    }
}

static Json *qmp_rx_filter(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const IdArgs *a = args;
    const NetPort *p = a->name ? port_find(a->name, false) : NULL;

    if (a->name && (!p || p->backend || !p->ops->rx_filter)) {
        err_set(err,
            !p           ? "invalid net client name: %s"
            : p->backend ? "net client(%s) isn't a NIC"
                         : "net client(%s) doesn't support rx-filter querying",
            a->name);
        return NULL;
    }
    FilterQuery q = { a->name, json_array() };

    net_each(add_filter, &q);
    return q.list;
}

static const PropSpec filter_props[] = {
    PROP_STR("name", IdArgs, name, "NIC"),
    PROP_END,
};

const QmpCmd net_qmp_cmds[] = {
    { .name = "query-rx-filter",
        .args_spec = filter_props,
        .args_size = sizeof(IdArgs),
        .run = qmp_rx_filter },
    { .name = "netdev_add", .run_raw = qmp_netdev_add },
    { .name = "netdev_del",
        .args_spec = id_props,
        .args_size = sizeof(IdArgs),
        .run = qmp_netdev_del },
    { .name = "set_link",
        .args_spec = link_props,
        .args_size = sizeof(IdArgs),
        .run = qmp_set_link },
    { .name = NULL },
};
