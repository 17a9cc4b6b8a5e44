/* What QMP does with networks: netdev_add, set_link, query-rx-filter, announce-self. Tested by
 * test-qmp and tests/system/test_net.py. */
#include "net-internal.h"
#include "util/keyval.h"
#include "util/timer.h"

#include <string.h>

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

typedef struct FilterQuery {
    const char *name;
    Json *list;
} FilterQuery;

static void add_filter(NetPort *p, void *opaque)
{
    const FilterQuery *q = opaque;

    if (!p->index && p->ops->rx_filter && (!q->name || !strcmp(q->name, p->id))) {
        Json *j = p->ops->rx_filter(p);

        json_set(j, "name", json_str(p->id));
        json_append(q->list, j);
        p->filter_told = false;
    }
}

static Json *qmp_rx_filter(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const IdArgs *a = args;
    const NetPort *p = a->name ? net_port_find(a->name, false) : NULL;

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

/* ---- announce-self ---- */

enum { HEADER_MAX = 12 };

typedef struct AnnounceArgs {
    int64_t initial, max, rounds, step;
    char **interfaces;
    char *id;
} AnnounceArgs;
#define ANNOUNCE_NUMBER(n, f, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = &prop_i64, .offset = PROP_AT(AnnounceArgs, f, int64_t), .bit = -1,    \
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT, .help = (h)                                      \
    }
static const PropSpec announce_props[] = {
    ANNOUNCE_NUMBER("initial", initial, "ms before the second round"),
    ANNOUNCE_NUMBER("max", max, "ms between rounds at most"),
    ANNOUNCE_NUMBER("rounds", rounds, "how often"),
    ANNOUNCE_NUMBER("step", step, "ms each pause is longer"),
    { .name = "interfaces",
        .type = &prop_str_list,
        .offset = PROP_AT(AnnounceArgs, interfaces, char **),
        .bit = -1,
        .flags = PROP_NO_DEFAULT,
        .help = "NICs; none named: all" },
    PROP_STR("id", AnnounceArgs, id, "name of this series; another of its name replaces it"),
    PROP_END,
};

typedef struct Announcer {
    Timer timer;
    char *id;
    char **interfaces;
    int64_t initial, max, step;
    int64_t round, rounds; /* done; wanted */
} Announcer;

/* The series that run. Main loop. */
static GPtrArray *announcers;

static void announcer_free(Announcer *a)
{
    timer_del(&a->timer);
    g_strfreev(a->interfaces);
    g_free(a->id);
    g_free(a);
}

/* A reverse request of a NIC's own address (RFC 903): switches learn where it is. */
static void loop_announce_rarp(void *opaque)
{
    NetPort *p = opaque;
    uint8_t f[HEADER_MAX + 60] = { 0 };
    uint32_t head = p->peer ? MIN(p->peer->vnet_hdr_len, (uint32_t)HEADER_MAX) : 0;
    uint8_t *at = f + head;
    static const uint8_t kind[10] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };
    struct iovec v = { f, head + 60 };

    memset(at, 0xff, 6);
    memcpy(at + 6, p->mac, 6);
    memcpy(at + 12, kind, sizeof kind);
    memcpy(at + 22, p->mac, 6);
    memcpy(at + 32, p->mac, 6);
    bool waits = p->blocked;

    net_send(p, &v, 1, v.iov_len); /* one that does not fit now is sent again in the next round */
    p->blocked = p->blocked || waits;
}

static void announce_one(NetPort *p, void *opaque)
{
    const Announcer *a = opaque;

    if (!p->backend && !p->index &&
        (!a->interfaces || g_strv_contains((const char *const *)a->interfaces, p->id))) {
        loop_call(p->loop, loop_announce_rarp, p);
        if (p->ops->announce) {
            p->ops->announce(p);
        }
    }
}

static void announce_round(void *opaque)
{
    Announcer *a = opaque;

    net_each(announce_one, a);
    if (++a->round >= a->rounds) {
        g_ptr_array_remove(announcers, a);
        announcer_free(a);
        return;
    }
    /* QEMU compat: any numbers are taken; never faster than once a millisecond. */
    int64_t ms = (int64_t)CLAMP((double)a->initial + (double)(a->round - 1) * (double)a->step, 1.0,
        (double)CLAMP(a->max, 1, 100000));

    timer_mod(&a->timer, clock_ns(CLOCK_KIND_REALTIME) + ms * 1000000);
}

static Json *qmp_announce(G_GNUC_UNUSED void *m, const void *args, G_GNUC_UNUSED GError **err)
{
    const AnnounceArgs *o = args;

    if (!announcers) {
        announcers = g_ptr_array_new();
    }
    for (unsigned i = announcers->len; i-- > 0;) {
        Announcer *old = announcers->pdata[i];

        if (!g_strcmp0(old->id, o->id)) {
            g_ptr_array_remove_index(announcers, i);
            announcer_free(old);
        }
    }
    Announcer *a = g_new0(Announcer, 1);

    a->id = g_strdup(o->id);
    a->interfaces = o->interfaces && o->interfaces[0] ? g_strdupv(o->interfaces) : NULL;
    a->initial = o->initial;
    a->max = o->max;
    a->step = o->step;
    a->rounds = o->rounds;
    timer_init(&a->timer, loop_main(), CLOCK_KIND_REALTIME, announce_round, a);
    g_ptr_array_add(announcers, a);
    announce_round(a);
    return json_object();
}

const QmpCmd net_qmp_cmds[] = {
    { .name = "announce-self",
        .args_spec = announce_props,
        .args_size = sizeof(AnnounceArgs),
        .run = qmp_announce },
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
