/* Network ports, cables between them, the registry of -netdev back ends, and what QMP does with
 * them. Tested by test-net. */
#include "net-addr.h"
#include "net-internal.h"
#include "util/keyval.h"
#include "util/log.h"

#include <string.h>

const NetBackend *const net_backends[] = {
#ifdef CONFIG_SLIRP
    &net_user,
#endif
    &net_tap,
    &net_bridge,
    &net_socket,
    &net_stream,
    &net_dgram,
    &net_hubport,
    NULL,
};

/* The process's network ports, back ends and NICs, found by name; and the next default MAC. Main
 * loop only. */
static struct {
    GPtrArray *ports;
    unsigned next_mac;
} reg;

NetPort *net_port_find(const char *id, bool backends_only)
{
    for (unsigned i = 0; reg.ports && i < reg.ports->len; i++) {
        NetPort *p = g_ptr_array_index(reg.ports, i);
        if (!p->index && p->id && !strcmp(p->id, id) && (p->backend || !backends_only)) {
            return p;
        }
    }
    return NULL;
}

NetVerdict net_send(NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    NetPort *to = from->peer;

    if (!to || from->link_down || to->link_down || !to->ops->receive) {
        return NET_DROPPED;
    }
    if (G_UNLIKELY(from->filters || to->filters || from->held)) {
        return net_filter_send(from, iov, n, len);
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
        /* What a filter let go before is first in line. */
        if (net_filter_flush(from) && from->ops->writable) {
            from->ops->writable(from);
        }
    }
}

NetPort *net_queue(NetPort *p, unsigned i)
{
    return i && i < net_queues(p) ? p->queue[i - 1] : p;
}

void net_set_info(NetPort *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_free(p->info);
    p->info = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

void net_set_nic(NetPort *p, const char *model, const uint8_t mac[6])
{
    memcpy(p->mac, mac, sizeof p->mac);
    net_set_info(p, "model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", model, mac[0], mac[1], mac[2],
        mac[3], mac[4], mac[5]);
}

char *net_nic_name(const char *model)
{
    for (unsigned n = 0;; n++) {
        char *name = g_strdup_printf("%s.%u", model, n);

        if (!net_port_find(name, false)) {
            return name;
        }
        g_free(name);
    }
}

void net_port_init(NetPort *p, const NetPortOps *ops, const char *type, const char *id)
{
    *p = (NetPort){ .ops = ops, .type = type, .id = g_strdup(id), .loop = loop_main() };
    if (!reg.ports) {
        reg.ports = g_ptr_array_new();
    }
    g_ptr_array_add(reg.ports, p);
}

void net_port_fini(NetPort *p)
{
    NetPort *o = p->peer;

    net_filter_forget(p);
    net_disconnect(p);
    if (o && p->backend && !p->index && o->ops->link) {
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

static void loop_disconnect(void *opaque)
{
    NetPort *p = opaque, *o = p->peer;

    p->peer = o->peer = NULL;
    /* Who waited for the other end goes on: its packets are dropped now. */
    for (unsigned i = 0; i < 2; i++) {
        NetPort *w = i ? o : p;
        if (w->blocked) {
            w->blocked = false;
            net_filter_flush(w);
            if (w->ops->writable) {
                w->ops->writable(w);
            }
        }
    }
}

void net_disconnect(NetPort *p)
{
    if (p->peer) {
        loop_call(p->loop, loop_disconnect, p);
    }
}

bool net_move(NetPort *nic, Loop *loop, GError **err)
{
    NetPort *b = nic->peer;

    if (loop == nic->loop) {
        return true;
    }
    if (b && !b->backend->move) {
        return err_set(err, "netdev '%s' of type '%s' cannot leave the main loop", b->id, b->type);
    }
    if (b && b->filters) {
        return err_set(err, "netdev '%s' has filters, which cannot leave the main loop", b->id);
    }
    if (b) {
        b->backend->move(b, loop);
    }
    nic->loop = loop;
    return true;
}

NetPort *net_find(const char *id)
{
    return net_port_find(id, true);
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

static bool known_members(const PropSpec *props, const Json *args, GError **err)
{
    for (unsigned i = 0; i < json_len(args); i++) {
        const PropSpec *s = props;

        while (s->name && strcmp(s->name, json_key_at(args, i)) != 0) {
            s++;
        }
        if (!s->name) {
            return err_set(err, "Parameter '%s' is unexpected", json_key_at(args, i));
        }
    }
    return true;
}

static const NetBackend *backend_of(const char *type, GError **err)
{
    for (unsigned i = 0; net_backends[i]; i++) {
        if (!strcmp(net_backends[i]->type, type)) {
            return net_backends[i];
        }
    }
    /* QEMU compat: words of the older command line, which are no back ends. */
    err_set(err,
        !strcmp(type, "none") || !strcmp(type, "nic")
            ? "network backend '%s' is not compiled into this binary"
            : "Parameter 'type' does not accept value '%s'",
        type);
    return NULL;
}

/* The text of a member that has to be there. */
static const char *needed_text(const Json *args, const char *name, GError **err)
{
    const Json *val = json_get(args, name);

    if (!val) {
        err_set(err, "Parameter '%s' is missing", name);
    } else if (json_type(val) != JSON_STR) {
        err_set(err, "Invalid parameter type for '%s', expected: string", name);
    } else {
        return json_get_str(val);
    }
    return NULL;
}

NetPort *net_backend_create(const Json *args, GError **err)
{
    const char *id = needed_text(args, "id", err), *type = id ? needed_text(args, "type", err) : id;
    const NetBackend *b = type ? backend_of(type, err) : NULL;

    if (!b) {
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
    /* QEMU compat: the newer types have words of their own for what they do not know. */
    bool newer = b == &net_stream || b == &net_dgram;
    if (newer ? known_members(b->props, rest, err) && net_apply_newer(b->props, cfg, rest, "", err)
              : prop_apply_struct(b->props, cfg, rest, err)) {
        if (net_find(id)) {
            err_set(err, "Duplicate ID '%s' for netdev", id);
        } else {
            p = b->open(id, cfg, err);
        }
    }
    prop_release(b->props, cfg);
    for (unsigned i = 0; p && i < net_queues(p); i++) {
        net_queue(p, i)->backend = b;
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
        NetPort *p = i < reg.ports->len ? g_ptr_array_index(reg.ports, i) : NULL;
        if (p && p->backend && !p->index) {
            p->backend->close(p);
        }
    }
}

typedef struct LinkCall {
    NetPort *q;
    bool up;
} LinkCall;

static void loop_link(void *opaque)
{
    const LinkCall *c = opaque;
    NetPort *q = c->q;

    q->link_down = !c->up;
    /* A back end's link is its NIC's carrier. */
    if (q->peer && q->backend && q->peer->ops->link) {
        q->peer->link_down = !c->up;
    }
}

static void loop_both_ready(void *opaque)
{
    NetPort *q = opaque;

    net_ready(q);
    if (q->peer) {
        net_ready(q->peer);
    }
}

bool net_set_link(const char *id, bool up, GError **err)
{
    NetPort *p = net_port_find(id, false);

    if (!p) {
        return err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    for (unsigned i = 0; i < net_queues(p); i++) {
        LinkCall c = { net_queue(p, i), up };

        loop_call(c.q->loop, loop_link, &c);
    }
    if (p->ops->link) {
        p->ops->link(p, up);
    }
    if (p->peer && p->backend && p->peer->ops->link) {
        p->peer->ops->link(p->peer, up);
    }
    /* Up: what waited goes. Down: it is lost on the wire, and nobody waits for it. */
    for (unsigned i = 0; i < net_queues(p); i++) {
        NetPort *q = net_queue(p, i);

        loop_call(q->loop, loop_both_ready, q);
    }
    return true;
}

void net_describe_end(GString *out, const char *indent, const NetPort *p)
{
    g_string_append_printf(out, "%s%s: index=%u,type=%s,%s\n", indent, p->id, p->index, p->type,
        p->info ? p->info : "");
    net_filter_describe_all(p, out);
}

static void describe_one(NetPort *p, void *opaque)
{
    GString *out = opaque;

    if (p->backend && p->peer && !p->peer->backend) {
        return; /* shown below its NIC */
    }
    if (p->backend == &net_hubport || (p->peer && p->peer->backend == &net_hubport)) {
        return; /* shown with its hub */
    }
    net_describe_end(out, "", p);
    if (p->peer) {
        net_describe_end(out, " \\ ", p->peer);
    }
}

void net_describe(GString *out)
{
    hub_describe(out);
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

#ifndef CONFIG_SLIRP
bool net_user_forward(const char *id, const char *rule, bool add, GError **err)
{
    return err_set(err, "user mode network stack not in use");
}

void net_user_describe(GString *out) {}
#endif

static void warn_unplugged(NetPort *p, void *opaque)
{
    if (!p->peer && !p->index) {
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
