/* Filters between a NIC and its back end: their order, what they let go, and filter-buffer. Tested
 * by test-net and tests/system/test_net.py. */
#include "net/filter.h"

#include "net-internal.h"
#include "util/timer.h"

#include <string.h>

/* What filters let go and a receiver does not take, at most. */
enum { HELD_MAX = 10000, BUFFER_BYTES_MAX = 32 << 20 };

static const char *const queue_names[] = { "all", "rx", "tx", NULL };
static PROP_ENUM_TYPE(prop_filter_queue, "NetFilterDirection", queue_names);

const PropSpec net_filter_props[] = {
    PROP_STR("netdev", NetFilter, netdev, "back end whose packets it sees"),
    PROP_ENUM("queue", NetFilter, queue, prop_filter_queue, FILTER_ALL,
        "rx: to the back end, tx: from it"),
    { .name = "status",
        .type = &prop_str,
        .offset = PROP_AT(NetFilter, status, char *),
        .bit = -1,
        .flags = PROP_RUNTIME | PROP_NO_DEFAULT,
        .help = "on or off" },
    PROP_STR("position", NetFilter, position, "head, tail or id=FILTER"),
    PROP_STR("insert", NetFilter, insert, "before or behind that filter"),
    PROP_END,
};

const ObjClass netfilter_class = { .name = "netfilter", .flags = OBJ_ABSTRACT };

bool net_is_filter(const char *type)
{
    return type && g_str_has_prefix(type, "filter-");
}

static const NetFilterOps *ops_of(const NetFilter *f)
{
    return f->obj.cls->ops;
}

size_t net_flatten(const struct iovec *iov, unsigned n, uint8_t *dst, size_t max)
{
    size_t at = 0;

    for (unsigned i = 0; i < n && at < max; i++) {
        size_t k = MIN(iov[i].iov_len, max - at);

        memcpy(dst + at, iov[i].iov_base, k);
        at += k;
    }
    return at;
}

/* ---- the way of a packet ---- */

/* The back end of a cable's two ends: it has the filters. */
static NetPort *filtered(NetPort *from)
{
    return from->filters ? from : from->peer;
}

static bool sees(const NetFilter *f, bool tx)
{
    return f->on && f->queue != (tx ? FILTER_RX : FILTER_TX);
}

/* True: a filter took it. after: the filter that let it go, NULL: it is new. Towards the back end
 * the order is reversed. */
static bool run_filters(
    NetPort *from, const NetFilter *after, const struct iovec *iov, unsigned n, size_t len)
{
    NetPort *b = filtered(from);
    const GPtrArray *list = b ? b->filters : NULL;
    bool tx = b == from, on = !after;

    for (unsigned i = 0; list && i < list->len; i++) {
        NetFilter *f = list->pdata[tx ? i : list->len - 1 - i];

        if (on && sees(f, tx) && ops_of(f)->packet(f, from, iov, n, len)) {
            return true;
        }
        on = on || f == after;
    }
    return false;
}

static NetVerdict deliver(NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    NetPort *to = from->peer;

    if (!to || from->link_down || to->link_down || !to->ops->receive) {
        return NET_DROPPED;
    }
    return to->ops->receive(to, iov, n, len);
}

static bool waits(const NetPort *from)
{
    return from->held && from->held->length;
}

static void hold(NetPort *from, const void *data, size_t len)
{
    if (!from->held) {
        from->held = g_queue_new();
    }
    if (from->held->length < HELD_MAX) {
        g_queue_push_tail(from->held, g_bytes_new(data, len));
    }
    from->blocked = true;
}

static bool any_full(NetPort *from)
{
    const NetPort *b = filtered(from);
    const GPtrArray *list = b ? b->filters : NULL;

    for (unsigned i = 0; list && i < list->len; i++) {
        NetFilter *f = list->pdata[i];

        if (ops_of(f)->full && sees(f, b == from) && ops_of(f)->full(f)) {
            return true;
        }
    }
    return false;
}

void net_filter_ready(NetFilter *f)
{
    NetPort *b = f->port;

    if (b) {
        net_ready(b);
    }
    if (b && b->peer) {
        net_ready(b->peer);
    }
}

bool net_filter_waits(const NetFilter *f)
{
    const NetPort *b = f->port;

    return b && ((f->queue != FILTER_RX && waits(b)) ||
                    (f->queue != FILTER_TX && b->peer && waits(b->peer)));
}

NetVerdict net_filter_send(NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    /* A packet that has to wait is seen by no filter yet: they see it when it goes. */
    if (waits(from) || any_full(from)) {
        from->blocked = true;
        return NET_QUEUED;
    }
    if (run_filters(from, NULL, iov, n, len)) {
        return NET_SENT;
    }
    NetVerdict v = deliver(from, iov, n, len);

    if (v == NET_QUEUED) {
        /* The filters have seen it: it must not come to them again. */
        g_autofree uint8_t *flat = g_malloc(MAX(len, 1));

        hold(from, flat, net_flatten(iov, n, flat, len));
        return NET_SENT;
    }
    return v;
}

void net_filter_pass(NetFilter *f, NetPort *from, const void *data, size_t len)
{
    struct iovec v = { (void *)(uintptr_t)data, len };

    if (run_filters(from, f, &v, 1, len)) {
        return;
    }
    if (waits(from) || deliver(from, &v, 1, len) == NET_QUEUED) {
        hold(from, data, len);
    }
}

bool net_filter_flush(NetPort *from)
{
    bool waited = waits(from);

    while (waits(from)) {
        GBytes *b = g_queue_peek_head(from->held);
        gsize len;
        const void *data = g_bytes_get_data(b, &len);
        struct iovec v = { (void *)(uintptr_t)data, len };

        if (deliver(from, &v, 1, len) == NET_QUEUED) {
            from->blocked = true;
            return false;
        }
        g_queue_pop_head(from->held);
        g_bytes_unref(b);
    }
    const NetPort *b = filtered(from);

    for (unsigned i = 0; waited && b && b->filters && i < b->filters->len; i++) {
        NetFilter *f = b->filters->pdata[i];

        if (ops_of(f)->drained) {
            ops_of(f)->drained(f);
        }
    }
    return true;
}

/* ---- their list ---- */

void net_filter_forget(NetPort *p)
{
    while (p->filters && p->filters->len) {
        NetFilter *f = p->filters->pdata[p->filters->len - 1];

        /* QEMU compat: a back end takes its filters along. */
        obj_unrealize(&f->obj);
        obj_detach(&f->obj);
    }
    g_clear_pointer(&p->filters, g_ptr_array_unref);
    if (p->held) {
        g_queue_free_full(p->held, (GDestroyNotify)g_bytes_unref);
        p->held = NULL;
    }
}

typedef struct Named {
    const char *name;
    bool found;
} Named;

static void find_filter(NetPort *p, void *opaque)
{
    Named *n = opaque;

    for (unsigned i = 0; p->filters && i < p->filters->len; i++) {
        const NetFilter *f = p->filters->pdata[i];

        n->found |= !g_strcmp0(f->obj.name, n->name);
    }
}

static bool find_place(const NetFilter *f, const NetPort *p, unsigned *ret, GError **err)
{
    const char *pos = f->position ? f->position : "tail";
    unsigned n = p->filters ? p->filters->len : 0;

    *ret = !strcmp(pos, "head") ? 0 : n;
    if (!g_str_has_prefix(pos, "id=")) {
        return true;
    }
    for (unsigned i = 0; i < n; i++) {
        const NetFilter *o = p->filters->pdata[i];

        if (!strcmp(o->obj.name ? o->obj.name : "", pos + 3)) {
            *ret = f->insert && !strcmp(f->insert, "before") ? i : i + 1;
            return true;
        }
    }
    Named other = { pos + 3, !g_strcmp0(f->obj.name, pos + 3) };

    net_each(find_filter, &other);
    return err_set(err,
        other.found ? "filter '%s' belongs to a different netdev" : "filter '%s' not found",
        other.name);
}

static bool filter_status(NetFilter *f, GError **err)
{
    const char *s = f->status;

    if (strcmp(s, "on") != 0 && strcmp(s, "off") != 0) {
        return err_set(err, "Invalid value for netfilter status, should be 'on' or 'off'");
    }
    f->on = !strcmp(s, "on");
    return true;
}

bool net_filter_named(const NetFilter *f, GError **err)
{
    return f->netdev || err_set(err, "Parameter 'netdev' is missing");
}

bool net_filter_attach(NetFilter *f, GError **err)
{
    const char *pos = f->position ? f->position : "tail";
    unsigned at;

    if (f->insert && strcmp(f->insert, "before") != 0 && strcmp(f->insert, "behind") != 0) {
        return err_set(err, "Parameter 'insert' does not accept value '%s'", f->insert);
    }
    if (strcmp(pos, "head") != 0 && strcmp(pos, "tail") != 0 && !g_str_has_prefix(pos, "id=")) {
        return err_set(err, "Parameter 'position' expects 'head', 'tail' or 'id=<id>'");
    }
    if (!f->status) {
        f->status = g_strdup("on");
    }
    NetPort *p = net_find(f->netdev);

    if (!p) {
        return err_set(err, "Parameter 'netdev' expects a network backend id");
    }
    if (net_queues(p) > 1) {
        return err_set(err, "multiqueue is not supported");
    }
    if (p->loop != loop_main()) {
        return err_set(err, "netdev '%s' is in an iothread, where no filter can be", p->id);
    }
    if (!find_place(f, p, &at, err) || !filter_status(f, err)) {
        return false;
    }
    if (!p->filters) {
        p->filters = g_ptr_array_new();
    }
    f->port = p;
    g_ptr_array_insert(p->filters, (int)at, f);
    return true;
}

void net_filter_detach(NetFilter *f)
{
    NetPort *p = f->port;

    if (p && p->filters) {
        g_ptr_array_remove(p->filters, f);
        if (!p->filters->len) {
            g_clear_pointer(&p->filters, g_ptr_array_unref);
        }
    }
    net_filter_ready(f); /* who waited for this one */
    f->port = NULL;
}

void net_filter_prop_changed(Obj *o, G_GNUC_UNUSED const PropSpec *row)
{
    NetFilter *f = (NetFilter *)o;
    bool was = f->on;

    if (!filter_status(f, NULL) || f->on == was) {
        return;
    }
    if (ops_of(f)->status) {
        ops_of(f)->status(f);
    }
    net_filter_ready(f);
}

/* A value between others has a comma. QEMU compat: "filters:" once, then a line for each. */
void net_filter_describe_all(const NetPort *p, GString *out)
{
    for (unsigned i = 0; p->filters && i < p->filters->len; i++) {
        const NetFilter *f = p->filters->pdata[i];

        g_string_append_printf(
            out, "%s  - %s: type=%s", i ? "" : "filters:\n", f->obj.name, f->obj.cls->name);
        for (const PropGroup *g = f->obj.cls->props; g->props; g++) {
            for (const PropSpec *s = g->props; s->name; s++) {
                g_autoptr(Json) val = prop_get_field(s, f);
                g_autofree char *text = NULL;

                if (!val || json_type(val) == JSON_NULL ||
                    (json_type(val) == JSON_STR && !*json_get_str(val))) {
                    continue;
                }
                text = json_type(val) == JSON_STR ? g_strdup(json_get_str(val))
                                                  : json_to_string(val, false);
                g_string_append_printf(out, ",%s=%s", s->name, text);
            }
        }
        g_string_append_c(out, '\n');
    }
}

/* ---- filter-buffer: packets go on at intervals ---- */

typedef struct Delayed {
    NetPort *from;
    GBytes *data;
} Delayed;

typedef struct FilterBuffer {
    NetFilter f;
    uint32_t interval; /* µs */
    GQueue queue;      /* Delayed* */
    size_t bytes;      /* in it */
    Timer timer;
} FilterBuffer;

static const PropSpec buffer_props[] = {
    { .name = "interval",
        .type = &prop_u32,
        .offset = PROP_AT(FilterBuffer, interval, uint32_t),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "microseconds packets are held" },
    PROP_END,
};
static const PropGroup buffer_groups[] = { { net_filter_props, NULL }, { buffer_props, NULL },
    { NULL, NULL } };

static void buffer_release(FilterBuffer *b, bool pass)
{
    Delayed *d;

    for (unsigned n = b->queue.length; n-- > 0 && (d = g_queue_pop_head(&b->queue));) {
        gsize len;
        const void *data = g_bytes_get_data(d->data, &len);

        b->bytes -= len;
        if (pass && b->f.port && (d->from == b->f.port || d->from == b->f.port->peer)) {
            net_filter_pass(&b->f, d->from, data, len);
        }
        g_bytes_unref(d->data);
        g_free(d);
    }
}

static void buffer_again(FilterBuffer *b)
{
    timer_mod(&b->timer, clock_ns(CLOCK_KIND_VIRTUAL) + (int64_t)b->interval * 1000);
}

static void buffer_fired(void *opaque)
{
    buffer_release(opaque, true);
    buffer_again(opaque);
}

static bool buffer_packet(
    NetFilter *f, NetPort *from, const struct iovec *iov, unsigned n, size_t len)
{
    FilterBuffer *b = (FilterBuffer *)f;
    uint8_t *flat = g_malloc(MAX(len, 1));
    Delayed *d = g_new0(Delayed, 1);

    d->from = from;
    d->data = g_bytes_new_take(flat, net_flatten(iov, n, flat, len));
    g_queue_push_tail(&b->queue, d);
    b->bytes += g_bytes_get_size(d->data);
    if (b->queue.length >= HELD_MAX || b->bytes >= BUFFER_BYTES_MAX) {
        buffer_release(b, true); /* full: time is over early, nothing is lost */
    }
    return true;
}

static void buffer_status(NetFilter *f)
{
    FilterBuffer *b = (FilterBuffer *)f;

    if (f->on) {
        buffer_again(b);
    } else {
        timer_del(&b->timer);
        buffer_release(b, true);
    }
}

static bool buffer_realize(Obj *o, GError **err)
{
    FilterBuffer *b = (FilterBuffer *)o;

    if (!net_filter_named(&b->f, err)) {
        return false;
    }
    if (!b->interval) {
        return err_set(err, "Property 'filter-buffer.interval' requires a positive value");
    }
    if (!net_filter_attach(&b->f, err)) {
        return false;
    }
    timer_init(&b->timer, loop_main(), CLOCK_KIND_VIRTUAL, buffer_fired, b);
    g_queue_init(&b->queue);
    if (b->f.on) {
        buffer_again(b);
    }
    return true;
}

static void buffer_unrealize(Obj *o)
{
    FilterBuffer *b = (FilterBuffer *)o;

    timer_del(&b->timer);
    buffer_release(b, true);
    net_filter_detach(&b->f);
}

static const NetFilterOps buffer_ops = { .packet = buffer_packet, .status = buffer_status };

const ObjClass filter_buffer_class = {
    .name = "filter-buffer",
    .parent = "netfilter",
    .help = "holds packets for a while",
    .size = sizeof(FilterBuffer),
    .flags = OBJ_USER_OBJECT,
    .props = buffer_groups,
    .ops = &buffer_ops,
    .realize = buffer_realize,
    .unrealize = buffer_unrealize,
    .prop_changed = net_filter_prop_changed,
};
