/* net/tap.c over a real interface, in a network namespace of its own; skipped where the host gives
 * none. */
#include "../../net/tap-io.h"
#include "net/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

const struct ObjClass *const obj_classes[] = { NULL };
const struct ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { HDR = 10, TYPE = 0x88b5 }; /* a type for local experiments: IEEE 802, 9.2.4 */

typedef struct Nic {
    NetPort p;
    GPtrArray *got; /* GBytes of our type */
    bool full;
    unsigned refused;
    int wire; /* a packet socket on the interface */
} Nic;

static bool have_tap;

static NetVerdict nic_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Nic *x = (Nic *)p;
    g_autoptr(GByteArray) b = g_byte_array_new();

    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(b, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    /* The kernel greets a new interface with packets of its own. */
    const uint8_t *type = b->data + p->peer->vnet_hdr_len + 12;
    if (b->len < HDR + 16 || type[0] != TYPE >> 8 || type[1] != (TYPE & 0xff)) {
        return NET_SENT;
    }
    if (x->full) {
        x->refused++;
        return NET_QUEUED;
    }
    g_ptr_array_add(x->got, g_byte_array_free_to_bytes(g_steal_pointer(&b)));
    return NET_SENT;
}

static const NetPortOps nic_ops = { .receive = nic_receive };

static NetPort *tap(const char *more, char **ret_err)
{
    g_autofree char *json = g_strdup_printf("{'type': 'tap', 'id': 't'%s}", more);
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(json, -1, &err);

    g_assert_no_error(err);
    NetPort *p = net_backend_create(args, &err);
    if (ret_err) {
        *ret_err = err ? g_strdup(err->message) : NULL;
    } else {
        g_assert_no_error(err);
    }
    return p;
}

static void up(Nic *x, const void *unused)
{
    struct ifreq r = { .ifr_name = "vt0" };

    *x = (Nic){ .got = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref), .wire = -1 };
    if (!have_tap) {
        return;
    }
    net_port_init(&x->p, &nic_ops, "nic", "nic");
    net_connect(&x->p, tap(", 'ifname': 'vt0', 'script': 'no', 'downscript': 'no'", NULL));
    x->wire = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(TYPE));
    g_assert_cmpint(x->wire, >=, 0);
    g_assert_cmpint(ioctl(x->wire, SIOCGIFFLAGS, &r), ==, 0);
    r.ifr_flags |= IFF_UP;
    g_assert_cmpint(ioctl(x->wire, SIOCSIFFLAGS, &r), ==, 0);
    struct sockaddr_ll a = { .sll_family = AF_PACKET,
        .sll_protocol = htons(TYPE),
        .sll_ifindex = (int)if_nametoindex("vt0") };
    g_assert_cmpint(bind(x->wire, (struct sockaddr *)&a, sizeof a), ==, 0);
}

static void down(Nic *x, const void *unused)
{
    if (have_tap) {
        net_port_fini(&x->p);
        net_cleanup();
        close(x->wire);
        g_assert_cmpuint(if_nametoindex("vt0"), ==, 0); /* gone with its back end */
    }
    g_ptr_array_free(x->got, TRUE);
}

static void host_sends(Nic *x, uint8_t mark)
{
    uint8_t f[60] = { 0x52, 0x54, 0, 1, 2, 3, 2, 0, 0, 0, 0, 1, TYPE >> 8, TYPE & 0xff, mark };

    g_assert_cmpint((int)write(x->wire, f, sizeof f), ==, sizeof f);
}

static uint8_t mark_of(const Nic *x, unsigned i)
{
    gsize len;
    const uint8_t *f = g_bytes_get_data(x->got->pdata[i], &len);

    g_assert_cmpuint(len, ==, HDR + 60);
    return f[HDR + 14];
}

static void test_both_ways(Nic *x, const void *unused)
{
    uint8_t hdr[HDR] = { 0 },
            f[60] = { 2, 0, 0, 0, 0, 1, 0x52, 0x54, 0, 1, 2, 3, TYPE >> 8, TYPE & 0xff, 0x42 },
            got[100];
    struct iovec v[3] = { { hdr, HDR }, { f, 14 }, { f + 14, 46 } };

    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    g_assert_cmpuint(x->p.peer->vnet_hdr_len, ==, HDR);
    host_sends(x, 0x17);
    while (!x->got->len) {
        loop_turn(loop_main(), /* block= */ true);
    }
    g_assert_cmphex(mark_of(x, 0), ==, 0x17);
    g_assert_cmpint(net_send(&x->p, v, 3, HDR + 60), ==, NET_SENT);
    loop_turn(loop_main(), /* block= */ false);
    g_assert_cmpint((int)read(x->wire, got, sizeof got), ==, 60);
    g_assert_cmpmem(got, 60, f, 60);
}

static void test_back_pressure(Nic *x, const void *unused)
{
    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    enum { MANY = 40 }; /* several batches */
    x->full = true;
    for (unsigned i = 0; i < MANY; i++) {
        host_sends(x, (uint8_t)i);
    }
    while (!x->refused) {
        loop_turn(loop_main(), /* block= */ true);
    }
    while (loop_turn(loop_main(), /* block= */ false)) {
    }
    g_assert_cmpuint(x->refused, ==, 1); /* asked once, not in circles */
    x->full = false;
    net_ready(&x->p);
    while (x->got->len < MANY) {
        loop_turn(loop_main(), /* block= */ true);
    }
    for (unsigned i = 0; i < MANY; i++) {
        g_assert_cmphex(mark_of(x, i), ==, i);
    }
}

static void nic_sends(Nic *x, uint8_t mark, size_t len)
{
    g_autofree uint8_t *f = g_malloc0(x->p.peer->vnet_hdr_len + len);
    uint8_t *frame = f + x->p.peer->vnet_hdr_len;
    struct iovec v = { f, x->p.peer->vnet_hdr_len + len };

    frame[0] = 2;
    frame[12] = TYPE >> 8;
    frame[13] = TYPE & 0xff;
    frame[14] = mark;
    g_assert_cmpint(net_send(&x->p, &v, 1, v.iov_len), ==, NET_SENT);
}

/* The next frame on the wire; -1: none. */
static int wire_mark(const Nic *x, size_t len)
{
    g_autofree uint8_t *f = g_malloc(len + 1);
    ssize_t n;

    do {
        n = read(x->wire, f, len + 1);
    } while (n < 0 && errno == ENETDOWN);
    g_assert_true(n == (ssize_t)len || (n < 0 && errno == EAGAIN));
    return n < 0 ? -1 : f[14];
}

/* What is sent in one turn of the loop goes out together, before the loop sleeps. */
static void test_batch(Nic *x, const void *unused)
{
    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    for (unsigned i = 0; i < 10; i++) {
        nic_sends(x, (uint8_t)i, 60);
    }
    if (uring_available(NULL)) {
        g_assert_cmpint(wire_mark(x, 60), ==, -1);
    }
    loop_turn(loop_main(), /* block= */ false);
    for (int i = 0; i < 10; i++) {
        g_assert_cmpint(wire_mark(x, 60), ==, i);
    }
    /* More than are gathered at once. */
    for (unsigned i = 0; i < TAP_TX_MAX * 3 + 1; i++) {
        nic_sends(x, (uint8_t)i, 60);
    }
    loop_turn(loop_main(), /* block= */ false);
    for (int i = 0; i < TAP_TX_MAX * 3 + 1; i++) {
        g_assert_cmpint(wire_mark(x, 60), ==, i);
    }
    g_assert_cmpint(wire_mark(x, 60), ==, -1);
}

/* One too long to be gathered does not overtake those that are. */
static void test_long_behind_short(Nic *x, const void *unused)
{
    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    nic_sends(x, 1, 60);
    nic_sends(x, 2, 60);
    nic_sends(x, 3, TAP_TX_SLOT);
    nic_sends(x, 4, 60);
    g_assert_cmpint(wire_mark(x, 60), ==, 1);
    g_assert_cmpint(wire_mark(x, 60), ==, 2);
    g_assert_cmpint(wire_mark(x, TAP_TX_SLOT), ==, 3);
    loop_turn(loop_main(), /* block= */ false);
    g_assert_cmpint(wire_mark(x, 60), ==, 4);
}

/* A new length of the header: packets out had the old one, packets that wait are dropped. */
static void test_header_changes(Nic *x, const void *unused)
{
    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    const NetBackend *b = x->p.peer->backend;

    x->full = true;
    for (uint8_t i = 0; i < 8; i++) {
        host_sends(x, i);
    }
    while (!x->refused) {
        loop_turn(loop_main(), /* block= */ true);
    }
    nic_sends(x, 1, 60);
    g_assert_true(b->set_offload(x->p.peer, 0, 12));
    nic_sends(x, 2, 60);
    x->full = false;
    net_ready(&x->p);
    host_sends(x, 99);
    while (!x->got->len || ((const uint8_t *)g_bytes_get_data(
                               x->got->pdata[x->got->len - 1], NULL))[12 + 14] != 99) {
        loop_turn(loop_main(), /* block= */ true);
    }
    for (unsigned i = 0; i < x->got->len; i++) {
        g_assert_cmpuint(g_bytes_get_size(x->got->pdata[i]), ==, 12 + 60);
    }
    g_assert_cmpint(wire_mark(x, 60), ==, 1);
    g_assert_cmpint(wire_mark(x, 60), ==, 2);
}

/* What was gathered when the back end goes is on the wire. */
static void test_close(Nic *x, const void *unused)
{
    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        nic_sends(x, (uint8_t)i, 60);
    }
    g_assert_true(net_backend_delete("t", NULL));
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(wire_mark(x, 60), ==, i);
    }
}

/* A queue that fills up, which a real interface hardly does: nothing is lost or overtakes. */
static void test_full_queue(gconstpointer chain)
{
    enum { N = 3000 };
    int pair[2], small = 4096, want = 0;
    TapIo io;
    unsigned sent = 0, full = 0;

    if (!uring_available(NULL)) {
        g_test_skip("no io_uring");
        return;
    }
    g_assert_cmpint(
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), ==, 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    tap_io_init(&io, pair[0], chain != NULL);
    while (want < N) {
        uint8_t got[64];
        int n;

        for (; sent < N && tap_io_room(&io); sent++) {
            uint8_t half[2][8] = { { 0 } };
            struct iovec v[2] = { { half[0], 8 }, { half[1], 8 } };

            memcpy(half[1] + 4, &sent, sizeof sent);
            g_assert_true(tap_io_gather(&io, 4, v, 2, 16));
        }
        full += !tap_io_flush(&io);
        while (read(pair[1], got, sizeof got) == 20) {
            memcpy(&n, got + 16, sizeof n);
            g_assert_cmpint(n, ==, want);
            want++;
        }
    }
    g_assert_cmpuint(full, >, 0);
    /* A reader that has gone: an error, not a wait. */
    close(pair[1]);
    struct iovec v = { &small, sizeof small };

    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(tap_io_gather(&io, 0, &v, 1, sizeof small));
    }
    g_assert_true(tap_io_flush(&io));
    tap_io_fini(&io);
    close(pair[0]);
}

/* More pieces than writev(2) takes. */
static void test_many_pieces(Nic *x, const void *unused)
{
    enum { N = 1200 };
    static uint8_t f[HDR + N] = {
        [HDR + 12] = TYPE >> 8, [HDR + 13] = TYPE & 0xff, [HDR + N - 1] = 0x99
    };
    struct iovec v[N + 1] = { { f, HDR } };
    uint8_t got[2000];

    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    for (unsigned i = 0; i < N; i++) {
        v[1 + i] = (struct iovec){ f + HDR + i, 1 };
    }
    g_assert_cmpint(net_send(&x->p, v, N + 1, HDR + N), ==, NET_SENT);
    loop_turn(loop_main(), /* block= */ false);
    g_assert_cmpint((int)read(x->wire, got, sizeof got), ==, N);
    g_assert_cmpmem(got, N, f + HDR, N);
}

static void test_offloads(Nic *x, const void *unused)
{
    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    const NetBackend *b = x->p.peer->backend;
    uint64_t can = b->offloads(x->p.peer);
    g_assert_cmphex(can & (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6), ==,
        NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);
    g_assert_true(b->set_offload(x->p.peer, can, 12));
    g_assert_cmpuint(x->p.peer->vnet_hdr_len, ==, 12);
    g_assert_true(b->set_offload(x->p.peer, 0, 10));
}

static void test_errors(Nic *x, const void *unused)
{
    g_autofree char *name = NULL, *script = NULL, *closed = NULL, *both = NULL;

    if (have_tap) {
        g_assert_true(net_backend_delete("t", NULL)); /* the fixture's */
        g_assert_null(x->p.peer);
    }

    g_assert_null(tap(", 'fd': '0', 'ifname': 'x'", &both));
    g_assert_true(g_str_has_suffix(both, "are invalid with fd="));
    g_assert_null(tap(", 'fd': '999'", &closed));
    g_assert_nonnull(strstr(closed, "999"));
    if (!have_tap) {
        g_test_skip("no tap interface");
        return;
    }
    g_assert_null(tap(", 'ifname': 'a-name-that-is-too-long'", &name));
    g_assert_cmpstr(name, ==, "interface name 'a-name-that-is-too-long' is too long");
    g_assert_null(tap(", 'ifname': 'vt1', 'script': '/bin/false'", &script));
    g_assert_cmpstr(script, ==, "network script /bin/false failed with status 256");
    g_assert_cmpuint(if_nametoindex("vt1"), ==, 0);
}

static void add(const char *name, void (*fn)(Nic *, const void *))
{
    g_autofree char *path = g_strdup_printf("/tap/%s", name);

    g_test_add(path, Nic, NULL, up, fn, down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* Our own interfaces only: nothing of the host's network is touched. Root needs no user
     * namespace, which a changed root directory forbids. */
    have_tap = unshare(CLONE_NEWNET | (geteuid() ? CLONE_NEWUSER : 0)) == 0 &&
               access("/dev/net/tun", R_OK | W_OK) == 0;
    signal(SIGPIPE, SIG_IGN);
    loop_main();
    add("both-ways", test_both_ways);
    add("back-pressure", test_back_pressure);
    add("batch", test_batch);
    add("long-behind-short", test_long_behind_short);
    add("header-changes", test_header_changes);
    add("close", test_close);
    g_test_add_data_func("/tap/full-queue/plain", NULL, test_full_queue);
    g_test_add_data_func("/tap/full-queue/chain", "chain", test_full_queue);
    add("many-pieces", test_many_pieces);
    add("offloads", test_offloads);
    add("errors", test_errors);
    return g_test_run();
}
