/* net/slirp.c: a guest made of a network port gets an address and serves TCP through a host
 * forward. */
#include "config-host.h"
#include "net/net.h"
#include "util/fd.h"
#include "util/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const struct ObjClass *const obj_classes[] = { NULL };
const struct ObjAlias obj_aliases[] = { { NULL, NULL } };

enum { FRAMES = 64 };
static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

/* A guest: keeps what it receives. */
typedef struct Guest {
    NetPort p;
    GPtrArray *got; /* GBytes */
    bool full;
} Guest;

static NetVerdict guest_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Guest *g = (Guest *)p;
    g_autofree uint8_t *frame = g_malloc(len);
    size_t at = 0;

    if (g->full) {
        return NET_QUEUED;
    }
    for (unsigned i = 0; i < n; i++) {
        memcpy(frame + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    g_ptr_array_add(g->got, g_bytes_new(frame, len));
    return NET_SENT;
}

static const NetPortOps guest_ops = { .receive = guest_receive };

static NetPort *user(const char *more, char **ret_err)
{
    g_autofree char *json = g_strdup_printf("{'type': 'user', 'id': 'u'%s}", more);
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

static void guest_init(Guest *g, const char *more)
{
    *g = (Guest){ .got = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref) };
    net_port_init(&g->p, &guest_ops, "nic", "guest");
    net_connect(&g->p, user(more, NULL));
}

static void guest_fini(Guest *g)
{
    net_port_fini(&g->p);
    net_cleanup();
    g_ptr_array_free(g->got, TRUE);
}

static uint16_t sum16(uint32_t s, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    }
    while (s >> 16) {
        s = (s & 0xffff) + (s >> 16);
    }
    return (uint16_t)~s;
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Ethernet and IPv4 around a payload; sent in two pieces, as drivers do. */
static void send_ip(
    Guest *g, uint8_t proto, uint32_t src, uint32_t dst, const uint8_t *payload, size_t len)
{
    uint8_t f[1514] = { 0x52, 0x55, 0x0a, 0, 2, 2 };

    memcpy(f + 6, mac, 6);
    put16(f + 12, 0x0800);
    f[14] = 0x45;
    put16(f + 16, (unsigned)(20 + len));
    f[22] = 64;
    f[23] = proto;
    put32(f + 26, src);
    put32(f + 30, dst);
    put16(f + 24, sum16(0, f + 14, 20));
    memcpy(f + 34, payload, len);
    struct iovec v[2] = { { f, 34 }, { f + 34, len } };
    g_assert_cmpint(net_send(&g->p, v, 2, 34 + len), ==, NET_SENT);
}

/* The next frame of a protocol (IP number, or 0 for ARP), waited for. */
static const uint8_t *await(Guest *g, uint8_t proto, size_t *ret_len)
{
    for (;;) {
        for (unsigned i = 0; i < g->got->len; i++) {
            gsize len;
            const uint8_t *f = g_bytes_get_data(g->got->pdata[i], &len);
            bool arp = f[12] == 8 && f[13] == 6, ip = f[12] == 8 && f[13] == 0;
            if ((!proto && arp) || (proto && ip && f[23] == proto)) {
                uint8_t *copy = g_memdup2(f, len);
                g_ptr_array_remove_index(g->got, i);
                *ret_len = len;
                return copy;
            }
        }
        loop_turn(loop_main(), /* block= */ true);
    }
}

static const uint8_t *dhcp(Guest *g, uint8_t type)
{
    uint8_t m[8 + 240 + 8] = { 0 };
    size_t len;

    put16(m, 68);
    put16(m + 2, 67);
    put16(m + 4, sizeof m);
    m[8] = 1; /* request, Ethernet */
    m[9] = 1;
    m[10] = 6;
    put32(m + 12, 0x12345678);
    memcpy(m + 8 + 28, mac, 6);
    put32(m + 8 + 236, 0x63825363);
    m[248] = 53;
    m[249] = 1;
    m[250] = type;
    m[251] = 255;
    send_ip(g, 17, 0, 0xffffffff, m, sizeof m);
    const uint8_t *f = await(g, 17, &len);
    g_assert_cmpuint(len, >, 14 + 20 + 8 + 240);
    return f;
}

static void test_dhcp(void)
{
    Guest g;

    guest_init(&g, "");
    g_autofree uint8_t *offer = (uint8_t *)(uintptr_t)dhcp(&g, 1);
    const uint8_t *m = offer + 14 + 20 + 8;
    g_assert_cmphex(get32(m + 4), ==, 0x12345678);
    g_assert_cmphex(get32(m + 16), ==, 0x0a00020f); /* 10.0.2.15 */
    g_assert_cmpuint(m[240 + 2], ==, 2);            /* offer */
    guest_fini(&g);
}

static void test_own_network(void)
{
    Guest g;

    guest_init(&g, ", 'net': '192.168.76.0/24', 'dhcpstart': '192.168.76.9', 'hostname': 'box'");
    g_autofree uint8_t *offer = (uint8_t *)(uintptr_t)dhcp(&g, 1);
    g_assert_cmphex(get32(offer + 14 + 20 + 8 + 16), ==, 0xc0a84c09);
    guest_fini(&g);
}

static void test_arp(void)
{
    uint8_t f[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct iovec v = { f, sizeof f };
    Guest g;
    size_t len;

    guest_init(&g, "");
    memcpy(f + 6, mac, 6);
    put16(f + 12, 0x0806);
    put32(f + 14, 0x00010800);
    put32(f + 18, 0x06040001);
    memcpy(f + 22, mac, 6);
    put32(f + 28, 0x0a00020f);
    put32(f + 38, 0x0a000202); /* who has 10.0.2.2? */
    g_assert_cmpint(net_send(&g.p, &v, 1, sizeof f), ==, NET_SENT);
    g_autofree uint8_t *r = (uint8_t *)(uintptr_t)await(&g, 0, &len);
    g_assert_cmpuint(r[21], ==, 2);
    g_assert_cmphex(get32(r + 28), ==, 0x0a000202);
    guest_fini(&g);
}

/* A full guest keeps its packets in the back end, and gets them in order afterwards. */
static void test_full_guest(void)
{
    Guest g;

    guest_init(&g, "");
    g_autofree uint8_t *offer =
        (uint8_t *)(uintptr_t)dhcp(&g, 1); /* libslirp learns who is 10.0.2.15 */
    g_autofree uint8_t *ack = (uint8_t *)(uintptr_t)dhcp(&g, 3);
    g.full = true;
    uint8_t ping[64] = { 8 };
    g_autofree uint8_t *first = NULL, *second = NULL;
    size_t len;
    for (unsigned i = 0; i < 2; i++) {
        put16(ping + 6, i);
        put16(ping + 2, 0);
        put16(ping + 2, sum16(0, ping, sizeof ping));
        send_ip(&g, 1, 0x0a00020f, 0x0a000202, ping, sizeof ping);
    }
    while (!g.p.peer->blocked) {
        loop_turn(loop_main(), /* block= */ true);
    }
    g_assert_cmpuint(g.got->len, ==, 0);
    g.full = false;
    net_ready(&g.p);
    first = (uint8_t *)(uintptr_t)await(&g, 1, &len);
    second = (uint8_t *)(uintptr_t)await(&g, 1, &len);
    g_assert_cmpuint(first[34], ==, 0); /* echo reply */
    g_assert_cmpuint(first[41], ==, 0);
    g_assert_cmpuint(second[41], ==, 1);
    guest_fini(&g);
}

static void send_tcp(
    Guest *g, unsigned to, uint32_t seq, uint32_t ack, uint8_t flags, const char *text)
{
    uint8_t t[128] = { 0 };
    size_t n = 20 + strlen(text);
    uint8_t pseudo[12];

    put16(t, 22);
    put16(t + 2, to);
    put32(t + 4, seq);
    put32(t + 8, ack);
    t[12] = 0x50;
    t[13] = flags;
    put16(t + 14, 8192);
    memcpy(t + 20, text, strlen(text));
    put32(pseudo, 0x0a00020f);
    put32(pseudo + 4, 0x0a000202);
    put16(pseudo + 8, 6);
    put16(pseudo + 10, (unsigned)n);
    put16(t + 16, sum16((uint16_t)~sum16(0, pseudo, 12), t, n));
    send_ip(g, 6, 0x0a00020f, 0x0a000202, t, n);
}

static unsigned free_port(void)
{
    char host[] = "127.0.0.1", port[] = "0";
    SockAddr a = { .kind = SOCK_ADDR_INET, .host = host, .port = port, .fd = -1 };
    autofd fd = sock_listen(&a, NULL);
    g_autofree char *text = sock_local_text(fd);

    return (unsigned)strtoul(strrchr(text, ':') + 1, NULL, 10);
}

/* Host client → 127.0.0.1:port → guest 10.0.2.15:22, bytes both ways. */
static void test_forward(void)
{
    Guest g;
    size_t len;
    g_autofree char *port = g_strdup_printf("%u", free_port());
    g_autofree char *rule = g_strdup_printf(", 'hostfwd': [{'str': 'tcp:127.0.0.1:%s-:22'}]", port);
    char host[] = "127.0.0.1", buf[8];

    guest_init(&g, rule);
    g_autofree uint8_t *lease =
        (uint8_t *)(uintptr_t)dhcp(&g, 1); /* libslirp learns who is 10.0.2.15 */
    g_autofree uint8_t *more = (uint8_t *)(uintptr_t)dhcp(&g, 3);
    uint8_t ping[8] = { 8 };
    put16(ping + 2, sum16(0, ping, 8));
    send_ip(&g, 1, 0x0a00020f, 0x0a000202, ping, 8);
    SockAddr a = { .kind = SOCK_ADDR_INET, .host = host, .port = port, .fd = -1 };
    g_autoptr(GError) err = NULL;
    autofd fd = sock_connect(&a, &err);
    g_assert_no_error(err);
    g_autofree uint8_t *syn = NULL;
    /* It asks by ARP first when it does not know the address. */
    for (;;) {
        bool have = false;
        for (unsigned i = 0; i < g.got->len && !have; i++) {
            gsize n;
            const uint8_t *f = g_bytes_get_data(g.got->pdata[i], &n);
            if (f[12] == 8 && f[13] == 6 && f[21] == 1) {
                uint8_t reply[42];
                memcpy(reply, f + 6, 6);
                memcpy(reply + 6, mac, 6);
                memcpy(reply + 12, f + 12, 10);
                reply[21] = 2;
                memcpy(reply + 22, mac, 6);
                memcpy(reply + 28, f + 38, 4);
                memcpy(reply + 32, f + 22, 10);
                struct iovec v = { reply, sizeof reply };
                g_ptr_array_remove_index(g.got, i);
                net_send(&g.p, &v, 1, sizeof reply);
                break;
            }
            have = f[12] == 8 && f[13] == 0 && f[23] == 6;
        }
        if (have) {
            break;
        }
        loop_turn(loop_main(), /* block= */ true);
    }
    syn = (uint8_t *)(uintptr_t)await(&g, 6, &len);
    const uint8_t *t = syn + 34;
    g_assert_cmpuint(t[3], ==, 22);
    g_assert_cmphex(t[13] & 0x12, ==, 0x02);
    unsigned peer = (unsigned)t[0] << 8 | t[1];
    uint32_t theirs = get32(t + 4) + 1;
    send_tcp(&g, peer, 1000, theirs, 0x12, "");
    send_tcp(&g, peer, 1001, theirs, 0x18, "hello");
    size_t at = 0;
    while (at < 5) {
        ssize_t n = read(fd, buf + at, 5 - at);
        if (n > 0) {
            at += (size_t)n;
        } else {
            g_assert_cmpint(errno, ==, EAGAIN);
            loop_turn(loop_main(), /* block= */ true);
        }
    }
    g_assert_cmpmem(buf, 5, "hello", 5);
    g_assert_cmpint((int)write(fd, "world", 5), ==, 5);
    for (;;) {
        g_autofree uint8_t *f = (uint8_t *)(uintptr_t)await(&g, 6, &len);
        size_t head = 34 + (size_t)(f[46] >> 4) * 4, ip = 14 + ((size_t)f[16] << 8 | f[17]);
        if (ip > head) {
            g_assert_cmpmem(f + head, ip - head, "world", 5);
            break;
        }
    }
    guest_fini(&g);
}

/* Each wrong option's message, as QEMU 10.0 has it. */
static void test_errors(void)
{
    static const struct {
        const char *more, *text;
    } t[] = {
        { "'hostfwd': ['foo']", "Invalid host forwarding rule 'foo' (No : separators)" },
        { "'hostfwd': ['tcp:']", "Invalid host forwarding rule 'tcp:' (Missing : separator)" },
        { "'hostfwd': ['sctp::22-:22']",
            "Invalid host forwarding rule 'sctp::22-:22' (Bad protocol name)" },
        { "'hostfwd': ['tcp::22']",
            "Invalid host forwarding rule 'tcp::22' (Bad host port separator)" },
        { "'hostfwd': ['tcp:x:22-:22']",
            "Invalid host forwarding rule 'tcp:x:22-:22' (Bad host address)" },
        { "'hostfwd': ['tcp::x-:22']",
            "Invalid host forwarding rule 'tcp::x-:22' (Bad host port)" },
        { "'hostfwd': ['tcp::99999-:22']",
            "Invalid host forwarding rule 'tcp::99999-:22' (Bad host port)" },
        { "'hostfwd': ['tcp::-:22']", "Invalid host forwarding rule 'tcp::-:22' (Bad host port)" },
        { "'hostfwd': ['tcp::2222-22']",
            "Invalid host forwarding rule 'tcp::2222-22' (Missing guest address)" },
        { "'hostfwd': ['tcp::2222-x:22']",
            "Invalid host forwarding rule 'tcp::2222-x:22' (Bad guest address)" },
        { "'hostfwd': ['tcp::2222-:0']",
            "Invalid host forwarding rule 'tcp::2222-:0' (Bad guest port)" },
        { "'hostfwd': ['tcp:192.0.2.1:2222-:22']",
            "Could not set up host forwarding rule 'tcp:192.0.2.1:2222-:22'" },
        { "'net': 'xx'", "Failed to parse netmask" },
        { "'net': '10.0.0.0/99'", "Invalid netmask provided (must be in range 4-32)" },
        { "'net': '10.0.0.0/x'", "Failed to parse netmask (trailing chars)" },
        { "'host': '1.1.1.1'", "Host doesn't belong to network" },
        { "'host': 'x'", "Failed to parse host" },
        { "'dns': 'x'", "Failed to parse DNS" },
        { "'dns': '10.0.2.2'", "DNS must be different from host" },
        { "'dhcpstart': '1.1.1.1'", "DHCP doesn't belong to network" },
        { "'dhcpstart': 'x'", "Failed to parse DHCP start address" },
        { "'ipv6-net': 'x'", "Failed to parse IPv6 prefix" },
        { "'ipv6-net': 'fec0::/200'",
            "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 and 126)" },
        { "'ipv6-host': 'x'", "Failed to parse IPv6 host" },
        { "'ipv6-dns': 'x'", "Failed to parse IPv6 DNS" },
        { "'ipv4': false, 'ipv6': false", "IPv4 and IPv6 disabled" },
        { "'smb': '/x'", "user network: 'smb' is not supported" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *more = g_strdup_printf(", %s", t[i].more), *text = NULL;
        g_assert_null(user(more, &text));
        g_assert_cmpstr(text, ==, t[i].text);
        g_assert_null(net_find("u"));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/slirp/dhcp", test_dhcp);
    g_test_add_func("/slirp/own-network", test_own_network);
    g_test_add_func("/slirp/arp", test_arp);
    g_test_add_func("/slirp/full-guest", test_full_guest);
    g_test_add_func("/slirp/host-forward", test_forward);
    g_test_add_func("/slirp/errors", test_errors);
    return g_test_run();
}
