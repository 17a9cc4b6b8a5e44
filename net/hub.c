/* hubport: what one port takes, all others of the same number get. A port is a NIC's back end, or
 * joins another back end by netdev=. What an end does not take now waits in its port; who sends
 * waits when no port has room any more. Tested by test-net and test-net-storm. */
#include "net-internal.h"
#include "util/log.h"

#include <string.h>

typedef struct HubOpts {
    int32_t hubid;
    char *netdev;
} HubOpts;
static const PropSpec hub_props[] = {
    { .name = "hubid",
        .type = &prop_i32,
        .offset = PROP_AT(HubOpts, hubid, int32_t),
        .bit = -1,
        .flags = PROP_REQUIRED,
        .help = "number of the hub" },
    PROP_STR("netdev", HubOpts, netdev, "back end to join"),
    PROP_END,
};
/* Packets that wait for a port's other end; QEMU compat: what comes on top is lost there, as long
 * as others take it. */
enum { HUB_HELD_MAX = 256, HUB_BYTES_MAX = 1 << 20 };
typedef struct HubPort {
    NetPort p;
    int32_t hub;
    GQueue held;  /* GBytes* */
    size_t bytes; /* in it */
} HubPort;

static bool is_full(const HubPort *h)
{
    return h->held.length >= HUB_HELD_MAX || h->bytes >= HUB_BYTES_MAX;
}

static const HubPort *hub_of(const NetPort *p)
{
    return p->backend == &net_hubport ? (const HubPort *)p : NULL;
}

typedef struct Forward {
    NetPort *from;
    const struct iovec *iov;
    unsigned n;
    size_t len;
    bool others, room; /* somebody else is on the hub; and takes a packet, or keeps one */
} Forward;

static HubPort *other_end(NetPort *p, const Forward *f)
{
    HubPort *h = (HubPort *)p;

    return hub_of(p) && p != f->from && p->peer && h->hub == hub_of(f->from)->hub ? h : NULL;
}

static void look_for_room(NetPort *p, void *opaque)
{
    Forward *f = opaque;
    const HubPort *h = other_end(p, f);

    f->others |= h != NULL;
    f->room |= h && !is_full(h);
}

static void hub_forward(NetPort *p, void *opaque)
{
    const Forward *f = opaque;
    HubPort *h = other_end(p, f);

    if (!h || (!h->held.length && net_send(p, f->iov, f->n, f->len) != NET_QUEUED)) {
        return;
    }
    if (!is_full(h)) {
        uint8_t *flat = g_malloc(MAX(f->len, 1));

        g_queue_push_tail(
            &h->held, g_bytes_new_take(flat, net_flatten(f->iov, f->n, flat, f->len)));
        h->bytes += f->len;
    }
}

static NetVerdict hub_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Forward f = { p, iov, n, len, false, false };

    net_each(look_for_room, &f);
    if (f.others && !f.room) {
        return NET_QUEUED;
    }
    net_each(hub_forward, &f);
    return NET_SENT;
}

static void hub_ready(NetPort *p, void *opaque)
{
    const HubPort *roomy = opaque;

    if (hub_of(p) && p != &roomy->p && hub_of(p)->hub == roomy->hub) {
        net_ready(p);
    }
}

static void hub_writable(NetPort *p)
{
    HubPort *h = (HubPort *)p;
    bool was_full = is_full(h);
    GBytes *b;

    while ((b = g_queue_peek_head(&h->held))) {
        gsize len;
        struct iovec v = { .iov_base = (void *)(uintptr_t)g_bytes_get_data(b, &len) };

        v.iov_len = len;
        if (net_send(p, &v, 1, len) == NET_QUEUED) {
            break;
        }
        h->bytes -= len;
        g_bytes_unref(g_queue_pop_head(&h->held));
    }
    if (was_full && !is_full(h)) {
        net_each(hub_ready, h);
    }
}

static const NetPortOps hub_ops = { .receive = hub_receive, .writable = hub_writable };

/* A way from one hub to another by the ports that join them. Hubs are a tree: a frame that came
 * back would go round for ever. */
typedef struct Way {
    int32_t from, to;
    const NetPort *came; /* the port that led here; NULL: the way begins */
    bool found;
} Way;

static void hub_walk(NetPort *p, void *opaque)
{
    Way *w = opaque;
    const HubPort *far = p->peer ? hub_of(p->peer) : NULL;

    if (!w->found && hub_of(p) && hub_of(p)->hub == w->from && far && p->peer != w->came) {
        Way on = { far->hub, w->to, p, far->hub == w->to };

        if (!on.found) {
            net_each(hub_walk, &on);
        }
        w->found = on.found;
    }
}

static bool hubs_meet(int32_t a, int32_t b)
{
    Way w = { a, b, NULL, a == b };

    if (!w.found) {
        net_each(hub_walk, &w);
    }
    return w.found;
}

static NetPort *hub_open(const char *id, void *cfg, GError **err)
{
    const HubOpts *o = cfg;
    NetPort *join = o->netdev ? net_find(o->netdev) : NULL;

    if (o->netdev && (!join || join->peer)) {
        err_set(err, join ? "netdev '%s' is in use" : "netdev '%s' not found", o->netdev);
        return NULL;
    }
    if (join && hub_of(join) && hubs_meet(o->hubid, hub_of(join)->hub)) {
        err_set(err, "netdev '%s' is on hub %d, which hub %d is joined to already", o->netdev,
            hub_of(join)->hub, o->hubid);
        return NULL;
    }
    if (join && join->backend->offloads && join->backend->offloads(join)) {
        /* Its packets begin with a header that other ports of the hub do not know. */
        if (!join->backend->set_offload || !join->backend->set_offload(join, 0, 0)) {
            err_set(err, "netdev '%s' cannot be on a hub: it needs vnet_hdr=off", o->netdev);
            return NULL;
        }
    }
    HubPort *h = g_new0(HubPort, 1);

    net_port_init(&h->p, &hub_ops, "hubport", id);
    h->hub = o->hubid;
    if (join) {
        net_connect(&h->p, join);
    }
    return &h->p;
}

static void hub_close(NetPort *p)
{
    HubPort *h = (HubPort *)p;

    net_port_fini(p);
    net_each(hub_ready, h); /* who waited for this one alone */
    g_queue_clear_full(&h->held, (GDestroyNotify)g_bytes_unref);
    g_free(p);
}

/* What is on a hub. */
typedef struct Census {
    int32_t hub;
    bool nic, host;
    GPtrArray *idle; /* NetPort*: ports without a peer */
} Census;

static void count(NetPort *p, void *opaque)
{
    Census *c = opaque;

    if (!hub_of(p) || hub_of(p)->hub != c->hub) {
        return;
    }
    if (!p->peer) {
        g_ptr_array_add(c->idle, p);
    } else if (p->peer->backend) {
        c->host = true;
    } else {
        c->nic = true;
    }
}

static void collect_hubs(NetPort *p, void *opaque)
{
    GArray *hubs = opaque;

    for (unsigned i = 0; hub_of(p) && i < hubs->len; i++) {
        if (g_array_index(hubs, int32_t, i) == hub_of(p)->hub) {
            return;
        }
    }
    if (hub_of(p)) {
        g_array_append_val(hubs, hub_of(p)->hub);
    }
}

void hub_check(void)
{
    g_autoptr(GArray) hubs = g_array_new(FALSE, FALSE, sizeof(int32_t));

    net_each(collect_hubs, hubs);
    for (unsigned i = hubs->len; i-- > 0;) { /* the latest first, as QEMU */
        g_autoptr(GPtrArray) idle = g_ptr_array_new();
        Census c = { .hub = g_array_index(hubs, int32_t, i), .idle = idle };

        net_each(count, &c);
        for (unsigned k = idle->len; k-- > 0;) {
            report_warning("hub port %s has no peer", ((const NetPort *)idle->pdata[k])->id);
        }
        if (c.host && !c.nic) {
            report_warning("hub %d with no nics", c.hub);
        }
        if (c.nic && !c.host) {
            report_warning("hub %d is not connected to host network", c.hub);
        }
    }
}

typedef struct Members {
    int32_t hub;
    GPtrArray *ports; /* NetPort* */
} Members;

static void collect_ports(NetPort *p, void *opaque)
{
    const Members *m = opaque;

    if (hub_of(p) && hub_of(p)->hub == m->hub) {
        g_ptr_array_add(m->ports, p);
    }
}

void hub_describe(GString *out)
{
    g_autoptr(GArray) hubs = g_array_new(FALSE, FALSE, sizeof(int32_t));

    net_each(collect_hubs, hubs);
    for (unsigned i = hubs->len; i-- > 0;) {
        g_autoptr(GPtrArray) ports = g_ptr_array_new();
        Members m = { g_array_index(hubs, int32_t, i), ports };

        net_each(collect_ports, &m);
        g_string_append_printf(out, "hub %d\n", m.hub);
        for (unsigned k = ports->len; k-- > 0;) {
            const NetPort *p = ports->pdata[k];

            g_string_append_printf(out, " \\ %s%s", p->id, p->peer ? "" : "\n");
            if (p->peer) {
                net_describe_end(out, ": ", p->peer);
            }
        }
    }
}

const NetBackend net_hubport = { .type = "hubport",
    .help = "port of a hub",
    .size = sizeof(HubOpts),
    .props = hub_props,
    .open = hub_open,
    .close = hub_close };
