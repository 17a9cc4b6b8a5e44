/* Every back end between guests, hubs and filters: numbered packets both ways while receivers are
 * full, links flap, back ends are unplugged with packets on the way. Each that was accepted arrives
 * once and in order; nobody waits for ever. VIRTUE_NET_PACKETS: how many, VIRTUE_NET_SEED: which.
 */
#include "chardev/chardev.h"
#include "net/filter.h"
#include "util/timer.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>

const ObjClass *const obj_classes[] = { &netfilter_class, &filter_dump_class, &filter_mirror_class,
    &filter_redirector_class, &filter_buffer_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { SIDES = 2, LEN_MIN = 60, LEN_MAX = 9018 };

/* What stands between two cards; @d: a folder of the test's own, @0 and @1: a pair of sockets. */
typedef struct Way {
    const char *name;
    int pair;                     /* SOCK_* of that pair; 0: none */
    const char *backend[SIDES];   /* of each card, its id is "n0" or "n1" */
    const char *more[4];          /* other back ends, before those */
    const char *const *filter;    /* on "n0"; NULL: none */
    const char *const *character; /* devices for them */
} Way;

static const char *const ring_chars[] = {
    "{'id': 'out', 'backend': 'socket', 'path': '@d/ring', 'server': true, 'wait': false}",
    "{'id': 'in', 'backend': 'socket', 'path': '@d/ring', 'server': false}", NULL
};
/* Out of a redirector, through a socket, and in by the next; behind it packets are held for a
 * while. */
static const char *const ring_filters[] = {
    "{'qom-type': 'filter-dump', 'id': 'f0', 'netdev': 'n0', 'file': '/dev/null'}",
    "{'qom-type': 'filter-redirector', 'id': 'f1', 'netdev': 'n0', 'queue': 'tx', 'outdev': 'out'}",
    "{'qom-type': 'filter-redirector', 'id': 'f2', 'netdev': 'n0', 'queue': 'tx', 'indev': 'in'}",
    "{'qom-type': 'filter-buffer', 'id': 'f3', 'netdev': 'n0', 'queue': 'rx', 'interval': 50}", NULL
};

static const Way ways[] = {
    { .name = "dgram-unix",
        .backend = { "{'type': 'dgram', 'id': 'n0', 'local': {'type': 'unix', 'path': '@d/0'}, "
                     "'remote': {'type': 'unix', 'path': '@d/1'}}",
            "{'type': 'dgram', 'id': 'n1', 'local': {'type': 'unix', 'path': '@d/1'}, "
            "'remote': {'type': 'unix', 'path': '@d/0'}}" } },
    { .name = "dgram-fd",
        .pair = SOCK_DGRAM,
        .backend = { "{'type': 'dgram', 'id': 'n0', 'local': {'type': 'fd', 'str': '@0'}}",
            "{'type': 'dgram', 'id': 'n1', 'local': {'type': 'fd', 'str': '@1'}}" } },
    { .name = "stream-unix",
        .backend = { "{'type': 'stream', 'id': 'n0', 'server': true, 'addr': {'type': 'unix', "
                     "'path': '@d/0'}}",
            "{'type': 'stream', 'id': 'n1', 'reconnect-ms': 1, 'addr': {'type': 'unix', 'path': "
            "'@d/0'}}" } },
    { .name = "stream-fd",
        .pair = SOCK_STREAM,
        .backend = { "{'type': 'stream', 'id': 'n0', 'addr': {'type': 'fd', 'str': '@0'}}",
            "{'type': 'stream', 'id': 'n1', 'addr': {'type': 'fd', 'str': '@1'}}" } },
    { .name = "socket-stream",
        .pair = SOCK_STREAM,
        .backend = { "{'type': 'socket', 'id': 'n0', 'fd': '@0'}",
            "{'type': 'socket', 'id': 'n1', 'fd': '@1'}" } },
    { .name = "socket-dgram",
        .pair = SOCK_DGRAM,
        .backend = { "{'type': 'socket', 'id': 'n0', 'fd': '@0'}",
            "{'type': 'socket', 'id': 'n1', 'fd': '@1'}" } },
    { .name = "hub",
        .backend = { "{'type': 'hubport', 'id': 'n0', 'hubid': 0}",
            "{'type': 'hubport', 'id': 'n1', 'hubid': 0}" } },
    { .name = "hub-and-stream",
        .pair = SOCK_STREAM,
        .more = { "{'type': 'stream', 'id': 'far', 'addr': {'type': 'fd', 'str': '@0'}}",
            "{'type': 'hubport', 'id': 'h', 'hubid': 0, 'netdev': 'far'}" },
        .backend = { "{'type': 'hubport', 'id': 'n0', 'hubid': 0}",
            "{'type': 'stream', 'id': 'n1', 'addr': {'type': 'fd', 'str': '@1'}}" } },
    { .name = "filters",
        .pair = SOCK_STREAM,
        .backend = { "{'type': 'stream', 'id': 'n0', 'addr': {'type': 'fd', 'str': '@0'}}",
            "{'type': 'stream', 'id': 'n1', 'addr': {'type': 'fd', 'str': '@1'}}" },
        .filter = ring_filters,
        .character = ring_chars },
};

/* A card that takes what comes while it is not full. */
typedef struct Card {
    NetPort p;
    struct Storm *s;
    bool full, waits;
    uint32_t sent, got; /* numbers of the next packets out and in */
} Card;

typedef struct Storm {
    const Way *way;
    char *dir;
    GRand *r;
    Card card[SIDES];
    Obj *objects; /* where filters hang */
    uint64_t packets, full, flaps, unplugs, stops;
    Timer guard;
} Storm;

static size_t length_of(uint32_t number)
{
    return LEN_MIN + number * 2654435761u % (LEN_MAX - LEN_MIN);
}

static NetVerdict card_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Card *c = (Card *)p;
    uint8_t head[4] = { 0 };
    uint32_t number;

    if (c->full) {
        return NET_QUEUED;
    }
    for (unsigned i = 0, at = 0; i < n && at < sizeof head; i++) {
        size_t k = MIN(iov[i].iov_len, sizeof head - at);

        memcpy(head + at, iov[i].iov_base, k);
        at += k;
    }
    memcpy(&number, head, sizeof number);
    g_assert_cmpuint(number, ==, c->got); /* once, in order */
    g_assert_cmpuint(len, ==, length_of(number));
    c->got++;
    c->s->packets++;
    return NET_SENT;
}

static void card_writable(NetPort *p)
{
    ((Card *)p)->waits = false;
}

static void card_link(NetPort *p, bool up) {}

static const NetPortOps card_ops = { card_receive, card_writable, card_link };

static void card_send(Card *c, unsigned n)
{
    static const uint8_t zero[LEN_MAX];

    while (n-- && !c->waits) {
        uint32_t number = c->sent;
        size_t len = length_of(number), cut = len / 2 - 4;
        struct iovec v[3] = { { &number, 4 }, { (void *)(uintptr_t)zero, cut },
            { (void *)(uintptr_t)zero, len - cut - 4 } };
        NetVerdict verdict = net_send(&c->p, v, 3, len);

        g_assert_cmpint(verdict, !=, NET_DROPPED);
        c->waits = verdict == NET_QUEUED;
        c->sent += verdict == NET_SENT;
    }
}

static Json *made(const Storm *s, const char *pattern, const int fd[2])
{
    g_autoptr(GString) text = g_string_new(pattern);
    g_autoptr(GError) err = NULL;

    g_string_replace(text, "@d", s->dir, 0);
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *number = g_strdup_printf("'%d'", fd[i]);

        g_string_replace(text, i ? "'@1'" : "'@0'", number, 0);
    }
    Json *j = json_parse(text->str, -1, &err);

    g_assert_no_error(err);
    return j;
}

static void backend(const Storm *s, const char *text, const int fd[2])
{
    g_autoptr(Json) args = made(s, text, fd);
    g_autoptr(GError) err = NULL;

    net_backend_create(args, &err);
    g_assert_no_error(err);
}

/* Fires when nothing happens for so long that nothing will. */
static void stalled(void *opaque)
{
    const Storm *s = opaque;

    g_error("%s: stalled: %u of %u, %u of %u packets have arrived", s->way->name, s->card[1].got,
        s->card[0].sent, s->card[0].got, s->card[1].sent);
}

static void turn(Storm *s, bool (*done)(const Storm *s))
{
    timer_mod(&s->guard, clock_ns(CLOCK_KIND_REALTIME) + 60 * INT64_C(1000000000));
    while (!done(s)) {
        loop_turn(loop_main(), true);
    }
    timer_del(&s->guard);
}

static bool connected(const Storm *s)
{
    for (unsigned i = 0; i < SIDES; i++) {
        const char *info = s->card[i].p.peer->info;

        if (info && (!strcmp(info, "connecting") || !strcmp(info, "listening"))) {
            return false;
        }
    }
    return true;
}

static void plug(Storm *s)
{
    const Way *w = s->way;
    int fd[2] = { -1, -1 };

    g_assert_true(!w->pair || !socketpair(AF_UNIX, w->pair | SOCK_CLOEXEC, 0, fd));
    for (unsigned i = 0; w->character && w->character[i]; i++) {
        g_autoptr(Json) args = made(s, w->character[i], fd);

        g_assert_nonnull(chardev_create(args, NULL));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(w->more) && w->more[i]; i++) {
        backend(s, w->more[i], fd);
    }
    for (unsigned i = 0; i < SIDES; i++) {
        g_autofree char *id = g_strdup_printf("n%u", i);

        backend(s, w->backend[i], fd);
        s->card[i].p.link_down = false;
        net_connect(&s->card[i].p, net_find(id));
    }
    for (unsigned i = 0; w->filter && w->filter[i]; i++) {
        g_autoptr(Json) args = made(s, w->filter[i], fd);
        g_autoptr(GError) err = NULL;

        obj_create_user(s->objects, args, &err);
        g_assert_no_error(err);
    }
    turn(s, connected);
}

static bool settled(const Storm *s)
{
    return !s->card[0].waits && !s->card[1].waits && s->card[0].sent == s->card[1].got &&
           s->card[1].sent == s->card[0].got;
}

static void card_full(Card *c, bool full)
{
    c->full = full;
    if (!full) {
        net_ready(&c->p);
    }
}

static void quiet(Storm *s)
{
    card_full(&s->card[0], false);
    card_full(&s->card[1], false);
    turn(s, settled);
}

/* What is sent while the link is down is lost on the wire, and nobody waits. */
static void flap(Storm *s, Card *c)
{
    uint8_t lost[LEN_MIN] = { 0xff };
    struct iovec v = { lost, sizeof lost };

    quiet(s);
    net_set_link(c->p.id, false, NULL);
    g_assert_cmpint(net_send(&c->p, &v, 1, sizeof lost), ==, NET_DROPPED);
    net_set_link(c->p.id, true, NULL);
    s->flaps++;
}

/* A VM that is stopped takes nothing, and its time stands still. */
static void stop_and_go(Storm *s)
{
    clock_virtual_stop();
    for (unsigned i = 0; i < SIDES; i++) {
        card_send(&s->card[i], 20);
        card_full(&s->card[i], true);
    }
    while (loop_turn(loop_main(), false)) {
    }
    clock_virtual_start();
    card_full(&s->card[0], false);
    card_full(&s->card[1], false);
    s->stops++;
}

static void unplug_all(Storm *s)
{
    net_cleanup();
    for (unsigned i = 0; s->way->character && i < 2; i++) {
        g_assert_true(chardev_remove(i ? "in" : "out", NULL));
    }
}

/* The back ends go with what is in them; who waited goes on, and nothing old comes later. */
static void unplug(Storm *s)
{
    Card *c = s->card;

    card_full(&c[0], true);
    card_send(&c[1], 200);
    card_send(&c[0], 20);
    unplug_all(s);
    g_assert_false(c[0].waits || c[1].waits);
    c[0].full = c[1].full = false;
    while (loop_turn(loop_main(), false)) {
    }
    c[0].got = c[1].sent;
    c[1].got = c[0].sent;
    plug(s);
    s->unplugs++;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *v = g_getenv(name);

    return v ? g_ascii_strtoull(v, NULL, 10) : otherwise;
}

static void storm(const void *data)
{
    const uint64_t want = number_from("VIRTUE_NET_PACKETS", 450000) / G_N_ELEMENTS(ways);
    Storm s = { .way = data,
        .objects = obj_new(&obj_container_class),
        .dir = g_dir_make_tmp("net-storm-XXXXXX", NULL),
        .r = g_rand_new_with_seed((uint32_t)number_from("VIRTUE_NET_SEED", 20)) };

    timer_init(&s.guard, loop_main(), CLOCK_KIND_REALTIME, stalled, &s);
    for (unsigned i = 0; i < SIDES; i++) {
        g_autofree char *id = g_strdup_printf("card%u", i);

        net_port_init(&s.card[i].p, &card_ops, "nic", id);
        s.card[i].s = &s;
    }
    plug(&s);
    while (s.packets < want) {
        Card *c = &s.card[g_rand_int_range(s.r, 0, SIDES)];
        int what = g_rand_int_range(s.r, 0, 1000);

        if (what < 700) {
            card_send(c, (unsigned)g_rand_int_range(s.r, 1, 64));
        } else if (what < 990) {
            s.full += !c->full;
            card_full(c, !c->full);
        } else if (what < 995) {
            flap(&s, c);
        } else if (what < 997) {
            unplug(&s);
        } else {
            stop_and_go(&s);
        }
        loop_turn(loop_main(), false);
    }
    quiet(&s);
    g_assert_true(want < 40000 || (s.full && s.flaps && s.unplugs && s.stops));
    g_test_message("%s: %" G_GUINT64_FORMAT " packets, %" G_GUINT64_FORMAT
                   " times a full receiver, %" G_GUINT64_FORMAT " flaps, %" G_GUINT64_FORMAT
                   " times unplugged, %" G_GUINT64_FORMAT " times stopped",
        s.way->name, s.packets, s.full, s.flaps, s.unplugs, s.stops);
    unplug_all(&s);
    for (unsigned i = 0; i < SIDES; i++) {
        net_port_fini(&s.card[i].p);
    }
    obj_unref(s.objects);
    g_rand_free(s.r);
    g_rmdir(s.dir);
    g_free(s.dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    clock_virtual_start();
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autofree char *path = g_strdup_printf("/net-storm/%s", ways[i].name);

        g_test_add_data_func(path, &ways[i], storm);
    }
    return g_test_run();
}
