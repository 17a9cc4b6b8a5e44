/* net/net.c: cables, back pressure, carrier, hubs, the registry. */
#include "net/net.h"
#include "util/log.h"

#include <string.h>

const struct ObjClass *const obj_classes[] = { NULL };
const struct ObjAlias obj_aliases[] = { { NULL, NULL } };

typedef struct End {
    NetPort p;
    GString *got;
    NetVerdict say;
    unsigned writable, links;
    bool up;
} End;

static NetVerdict end_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    End *e = (End *)p;

    if (e->say == NET_SENT) {
        size_t sum = 0;
        for (unsigned i = 0; i < n; i++) {
            g_string_append_len(e->got, iov[i].iov_base, (gssize)iov[i].iov_len);
            sum += iov[i].iov_len;
        }
        g_assert_cmpuint(sum, ==, len);
        g_string_append_c(e->got, '.');
    }
    return e->say;
}

static void end_writable(NetPort *p)
{
    ((End *)p)->writable++;
}

static void end_link(NetPort *p, bool up)
{
    End *e = (End *)p;

    e->links++;
    e->up = up;
}

static const NetPortOps end_ops = { end_receive, end_writable, end_link };

static void end_init(End *e, const char *id)
{
    *e = (End){ .got = g_string_new(NULL), .say = NET_SENT, .up = true };
    net_port_init(&e->p, &end_ops, "nic", id);
}

static void end_fini(End *e)
{
    net_port_fini(&e->p);
    g_string_free(e->got, TRUE);
}

static NetVerdict say(NetPort *p, const char *text)
{
    g_autofree char *copy = g_strdup(text);
    size_t half = strlen(text) / 2;
    struct iovec v[2] = { { copy, half }, { copy + half, strlen(text) - half } };

    return net_send(p, v, 2, strlen(text));
}

static NetPort *backend(const char *json, char **ret_err)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, &err);

    g_assert_no_error(err);
    NetPort *p = net_backend_create(args, &err);
    if (ret_err) {
        *ret_err = err ? err_first_line(err) : NULL;
    } else {
        g_assert_no_error(err);
    }
    return p;
}

static void test_cable(void)
{
    End a, b;

    end_init(&a, "a");
    end_init(&b, "b");
    g_assert_cmpint(say(&a.p, "lost"), ==, NET_DROPPED); /* no cable */
    net_connect(&a.p, &b.p);
    g_assert_cmpint(say(&a.p, "ping"), ==, NET_SENT);
    g_assert_cmpint(say(&b.p, "pong"), ==, NET_SENT);
    g_assert_cmpstr(a.got->str, ==, "pong.");
    g_assert_cmpstr(b.got->str, ==, "ping.");
    net_disconnect(&b.p);
    g_assert_cmpint(say(&a.p, "lost"), ==, NET_DROPPED);
    end_fini(&a);
    end_fini(&b);
}

static void test_back_pressure(void)
{
    End a, b;

    end_init(&a, "a");
    end_init(&b, "b");
    net_connect(&a.p, &b.p);
    net_ready(&b.p);
    g_assert_cmpuint(a.writable, ==, 0); /* nobody waited */
    b.say = NET_QUEUED;
    g_assert_cmpint(say(&a.p, "1"), ==, NET_QUEUED);
    g_assert_true(a.p.blocked);
    b.say = NET_SENT;
    net_ready(&b.p);
    net_ready(&b.p);
    g_assert_cmpuint(a.writable, ==, 1);
    g_assert_cmpuint(b.writable, ==, 0);
    g_assert_cmpint(say(&a.p, "1"), ==, NET_SENT);
    g_assert_cmpstr(b.got->str, ==, "1.");
    b.say = NET_QUEUED;
    g_assert_cmpint(say(&a.p, "2"), ==, NET_QUEUED);
    net_disconnect(&a.p); /* who waits for a cable that is pulled out goes on */
    g_assert_cmpuint(a.writable, ==, 2);
    g_assert_false(a.p.blocked);
    end_fini(&a);
    end_fini(&b);
}

static void test_link(void)
{
    End a, b;
    g_autoptr(GError) err = NULL;

    end_init(&a, "a");
    end_init(&b, "b");
    net_connect(&a.p, &b.p);
    b.say = NET_QUEUED;
    say(&a.p, "x");
    b.say = NET_SENT;
    g_assert_true(net_set_link("a", false, &err));
    g_assert_false(a.up);
    g_assert_cmpint(say(&a.p, "lost"), ==, NET_DROPPED);
    g_assert_cmpint(say(&b.p, "lost"), ==, NET_DROPPED);
    g_assert_true(net_set_link("a", true, &err));
    g_assert_true(a.up);
    g_assert_cmpint(say(&a.p, "back"), ==, NET_SENT);
    g_assert_false(net_set_link("zz", true, &err));
    g_assert_cmpstr(err->message, ==, "Device 'zz' not found");
    g_assert_cmpstr(err_class_name(err), ==, "DeviceNotFound");
    end_fini(&a);
    end_fini(&b);
}

static void test_hub(void)
{
    End nic[3];

    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *id = g_strdup_printf("n%u", i),
                        *json = g_strdup_printf(
                            "{'type': 'hubport', 'id': 'h%u', 'hubid': %u}", i, i == 2 ? 7 : 1);
        end_init(&nic[i], id);
        net_connect(&nic[i].p, backend(json, NULL));
    }
    g_assert_cmpint(say(&nic[0].p, "all"), ==, NET_SENT);
    g_assert_cmpstr(nic[0].got->str, ==, "");
    g_assert_cmpstr(nic[1].got->str, ==, "all.");
    g_assert_cmpstr(nic[2].got->str, ==, ""); /* another hub */
    nic[1].say = NET_QUEUED;
    g_assert_cmpint(say(&nic[0].p, "busy"), ==, NET_SENT); /* kept for it */
    g_assert_false(nic[0].p.blocked);
    g_string_truncate(nic[1].got, 0);
    nic[1].say = NET_SENT;
    net_ready(&nic[1].p);
    g_assert_cmpstr(nic[1].got->str, ==, "busy.");
    nic[1].say = NET_QUEUED;
    unsigned kept = 0;

    while (say(&nic[0].p, "x") == NET_SENT) {
        kept++;
    }
    g_assert_cmpuint(kept, ==, 256);
    g_assert_true(nic[0].p.blocked); /* nobody else is there */
    nic[1].say = NET_SENT;
    net_ready(&nic[1].p);
    g_assert_cmpuint(nic[0].writable, ==, 1);
    g_assert_cmpuint(nic[1].got->len, ==, strlen("busy.") + 256 * strlen("x."));
    /* A third end takes it all: the one that takes nothing loses what is too much for its port. */
    NetPort *other = nic[2].p.peer;

    net_disconnect(&nic[2].p);
    g_assert_true(net_backend_delete(other->id, NULL));
    net_connect(&nic[2].p, backend("{'type': 'hubport', 'id': 'h2', 'hubid': 1}", NULL));
    nic[1].say = NET_QUEUED;
    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmpint(say(&nic[0].p, "y"), ==, NET_SENT);
    }
    g_assert_cmpuint(nic[2].got->len, ==, 300 * strlen("y."));
    g_string_truncate(nic[1].got, 0);
    nic[1].say = NET_SENT;
    net_ready(&nic[1].p);
    g_assert_cmpuint(nic[1].got->len, ==, 256 * strlen("y."));
    for (unsigned i = 0; i < 3; i++) {
        end_fini(&nic[i]);
    }
    net_cleanup();
}

/* netdev_del under a NIC: its carrier goes, its property names nobody. */
static void test_backend_goes(void)
{
    End nic;
    NetPort *field = NULL;
    g_autoptr(Json) id = json_str("h");
    g_autoptr(GError) err = NULL;

    backend("{'type': 'hubport', 'id': 'h', 'hubid': 0}", NULL);
    g_assert_true(prop_ref_set(&prop_netdev, &field, id, NULL));
    g_assert_true(field == net_find("h"));
    end_init(&nic, "nic");
    net_connect(&nic.p, field);
    NetPort *second = NULL;
    g_assert_false(prop_ref_set(&prop_netdev, &second, id, &err));
    g_assert_cmpstr(err->message, ==, "Property '{qom}' can't take value 'h', it's in use");
    g_assert_true(net_backend_delete("h", NULL));
    g_assert_null(nic.p.peer);
    g_assert_false(nic.up);
    g_assert_cmpstr(prop_ref_get(&prop_netdev, &field), ==, "");
    g_clear_error(&err);
    g_assert_false(net_backend_delete("h", &err));
    g_assert_cmpstr(err->message, ==, "Device 'h' not found");
    end_fini(&nic);
}

/* netdev=: a hub's port on another back end's cable, which then has no other place. */
static void test_hub_joins(void)
{
    End nic;
    g_autofree char *text = NULL;

    backend("{'type': 'hubport', 'id': 'far', 'hubid': 7}", NULL); /* stands for any back end */
    NetPort *joined = backend("{'type': 'hubport', 'id': 'in', 'hubid': 3, 'netdev': 'far'}", NULL);

    g_assert_true(joined->peer == net_find("far"));
    g_assert_null(backend("{'type': 'hubport', 'id': 'two', 'hubid': 3, 'netdev': 'far'}", &text));
    g_assert_cmpstr(text, ==, "netdev 'far' is in use");
    end_init(&nic, "nic");
    net_connect(&nic.p, backend("{'type': 'hubport', 'id': 'out', 'hubid': 3}", NULL));
    net_send(net_find("far"), &(struct iovec){ (char[]){ "x" }, 1 }, 1, 1);
    g_assert_cmpstr(nic.got->str, ==, "x.");
    net_cleanup();
    end_fini(&nic);
}

static NetPort *joins(int hub, const char *id, const char *to, char **ret_err)
{
    g_autofree char *json = g_strdup_printf("{'type': 'hubport', 'id': '%s', 'hubid': %d%s%s%s}",
        id, hub, to ? ", 'netdev': '" : "", to ? to : "", to ? "'" : "");

    return backend(json, ret_err);
}

/* Hubs may be joined to hubs, but not in a circle, in which a frame would never end. */
static void test_hub_circle(void)
{
    g_autofree char *same = NULL, *circle = NULL;
    End a, b;

    joins(0, "a0", NULL, NULL);
    g_assert_null(joins(0, "b0", "a0", &same));
    g_assert_cmpstr(same, ==, "netdev 'a0' is on hub 0, which hub 0 is joined to already");
    joins(1, "a1", "a0", NULL);
    joins(1, "b1", NULL, NULL);
    joins(2, "a2", "b1", NULL);
    joins(2, "b2", NULL, NULL);
    g_assert_null(joins(0, "c0", "b2", &circle));
    g_assert_cmpstr(circle, ==, "netdev 'b2' is on hub 2, which hub 0 is joined to already");
    joins(3, "a3", "b2", NULL);
    end_init(&a, "a");
    end_init(&b, "b");
    net_connect(&a.p, joins(0, "in", NULL, NULL));
    net_connect(&b.p, joins(3, "out", NULL, NULL));
    net_send(&a.p, &(struct iovec){ (char[]){ "x" }, 1 }, 1, 1);
    g_assert_cmpstr(b.got->str, ==, "x.");
    net_cleanup();
    end_fini(&a);
    end_fini(&b);
}

static void test_errors(void)
{
    static const struct {
        const char *json, *text;
    } t[] = {
        { "{'type': 'user'}", "Parameter 'id' is missing" },
        { "{'id': 'n'}", "Parameter 'type' is missing" },
        { "{'type': 'foo', 'id': 'n'}", "Parameter 'type' does not accept value 'foo'" },
        { "{'type': 'hubport', 'id': '1n', 'hubid': 0}", "Parameter 'id' expects an identifier" },
        { "{'type': 'hubport', 'id': 'n'}", "Parameter 'hubid' is missing" },
        { "{'type': 'hubport', 'id': 'there', 'hubid': 1}", "Duplicate ID 'there' for netdev" },
        { "{'type': 'hubport', 'id': 'n', 'hubid': 1, 'netdev': 'x'}", "netdev 'x' not found" },
        { "{'type': 'hubport', 'id': 'n', 'hubid': 1, 'foo': 1}", "Parameter 'foo' is unexpected" },
        { "{'type': 'tap', 'id': 'n', 'helper': '/x'}", "bridge helper failed" },
        { "{'type': 'tap', 'id': 'n', 'queues': 257}", "queues=257: a tap has at most 256" },
        { "{'type': 'tap', 'id': 'n', 'vhost': true}", "tap: 'vhost' is not supported" },
    };

    backend("{'type': 'hubport', 'id': 'there', 'hubid': 1}", NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *text = NULL;
        g_assert_null(backend(t[i].json, &text));
        g_assert_cmpstr(text, ==, t[i].text);
    }
    net_cleanup();
    g_assert_null(net_find("there"));
}

static void test_default_mac(void)
{
    MacAddr a = { 0 }, b = { 0 };
    static const uint8_t first[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

    net_default_mac(&a);
    net_default_mac(&b);
    g_assert_cmpmem(a.a, 6, first, 6);
    g_assert_cmphex(b.a[5], ==, 0x57);
    g_assert_true(a.set);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/net/cable", test_cable);
    g_test_add_func("/net/back-pressure", test_back_pressure);
    g_test_add_func("/net/link", test_link);
    g_test_add_func("/net/hub", test_hub);
    g_test_add_func("/net/back-end-goes", test_backend_goes);
    g_test_add_func("/net/hub/joins-a-back-end", test_hub_joins);
    g_test_add_func("/net/hub/circle", test_hub_circle);
    g_test_add_func("/net/errors", test_errors);
    g_test_add_func("/net/default-mac", test_default_mac);
    return g_test_run();
}
