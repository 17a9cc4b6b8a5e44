/* Large packets in UDP tunnels through real taps (VIRTIO 1.4, bits 65 to 68): from a virtio-net
 * driver over two taps on a bridge to a port of ours, and back, whole where both sides take them so
 * and in segments of the kernel's where one does not. In a network namespace of its own; skipped
 * where the host gives none, or its tap knows no tunnels. */
#include "net/csum.h"
#include "net/net.h"
#include "tests/unit/vdev.h"

#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum { RX, TX, HDR = 24, MSS = 1000, BODY = 3500, NEEDS_CSUM = 1, OUTER_CSUM = 8, TCP4_IN4 = 0x21 };
/* Ethernet, IPv4, UDP, VXLAN, Ethernet, IPv4, TCP */
enum { OUTER = 14, UDP = 34, VXLAN = 42, INNER = 50, IP = 64, TCP = 84, HEAD = 104 };
enum { GUEST = 2, GUEST_CSUM = 4, HOST = 8, HOST_CSUM = 16 }; /* of features 64 and up */
#define TUNNELS (NET_OFFLOAD_TUNNEL | NET_OFFLOAD_TUNNEL_CSUM)
#define PLAIN                                                                                      \
    (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6)

typedef struct Fix {
    VDev v;
    NetPort far; /* our port, on tap b */
    GPtrArray *got;
    unsigned next; /* buffer of the driver's */
    uint64_t p;
} Fix;

static const char *why_not;

static NetVerdict far_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Fix *x = (Fix *)((char *)p - offsetof(Fix, far));
    g_autoptr(GByteArray) b = g_byte_array_new();
    size_t hdr = p->peer->vnet_hdr_len;

    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(b, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    /* The kernel greets new interfaces with packets of its own. */
    if (len > hdr + HEAD && b->data[hdr] == 2 && net_be16(b->data + hdr + UDP + 2) == 4789) {
        g_ptr_array_add(x->got, g_byte_array_free_to_bytes(g_steal_pointer(&b)));
    }
    return NET_SENT;
}

static const NetPortOps far_ops = { .receive = far_receive };

static NetPort *tap(const char *name)
{
    g_autofree char *json = g_strdup_printf(
        "{'type': 'tap', 'id': '%s', 'ifname': '%s', 'script': 'no', 'downscript': 'no'}", name,
        name);
    g_autoptr(Json) args = json_parse(json, -1, NULL);

    return net_backend_create(args, NULL);
}

static void interface_up(int s, const char *name, const char *bridge)
{
    struct ifreq r = { 0 };

    if (bridge) {
        g_strlcpy(r.ifr_name, bridge, IFNAMSIZ);
        r.ifr_ifindex = (int)if_nametoindex(name);
        g_assert_cmpint(ioctl(s, SIOCBRADDIF, &r), ==, 0);
    }
    r = (struct ifreq){ 0 };
    g_strlcpy(r.ifr_name, name, IFNAMSIZ);
    g_assert_cmpint(ioctl(s, SIOCGIFFLAGS, &r), ==, 0);
    r.ifr_flags |= IFF_UP;
    g_assert_cmpint(ioctl(s, SIOCSIFFLAGS, &r), ==, 0);
}

/* accepted: features 64 and up */
static void up(Fix *x, const void *accepted)
{
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    x->got = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    if (why_not) {
        close(s);
        return;
    }
    g_assert_cmpint(ioctl(s, SIOCBRADDBR, "br0"), ==, 0);
    tap("a");
    net_port_init(&x->far, &far_ops, "nic", "far");
    net_connect(&x->far, tap("b"));
    vdev_open(&x->v,
        "{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': '4', 'netdev': 'a', 'romfile': '',"
        " 'x-guest_tunnel': true, 'x-guest_tunnel_csum': true, 'x-host_tunnel': true,"
        " 'x-host_tunnel_csum': true}",
        false);
    interface_up(s, "a", "br0");
    interface_up(s, "b", "br0");
    interface_up(s, "br0", NULL);
    close(s);
    x->p = vd_page(&x->v.d, 0x200000);
    x->v.d.features_more = *(const unsigned *)accepted;
    vd_start(&x->v.d, 1 << 15);
    for (unsigned i = 0; i < 16; i++) {
        const VBuf b = { x->p + 0x20000 + i * 0x11000, 0x11000, true };

        vring_add(&x->v.d.ring[RX], &b, 1, 0);
    }
    vd_kick(&x->v.d, RX);
    board_run(x->v.b);
}

static void down(Fix *x, const void *unused)
{
    if (!why_not) {
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq r = { .ifr_name = "br0" };

        vdev_close(&x->v);
        net_port_fini(&x->far);
        net_cleanup();
        g_assert_cmpint(ioctl(s, SIOCSIFFLAGS, &r), ==, 0);
        g_assert_cmpint(ioctl(s, SIOCBRDELBR, "br0"), ==, 0);
        close(s);
    }
    g_ptr_array_free(x->got, TRUE);
}

static void make_ip(uint8_t *ip, uint8_t proto, size_t len)
{
    ip[0] = 0x45;
    net_put_be16(ip + 2, (uint32_t)len);
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = proto;
    memset(ip + 12, 10, 7);
    ip[19] = 11;
    net_put_be16(ip + 10, (uint16_t)~net_fold(net_sum(0, ip, 20)));
}

/* Header and frame; csum: the outer checksum is the other side's work, too. */
static size_t make(uint8_t *p, bool csum)
{
    const uint16_t v[] = { HEAD, MSS, TCP, 16 }, at[2] = { UDP, IP };
    uint8_t *f = p + HDR;
    size_t len = HEAD + BODY;

    memset(p, 0, HDR + HEAD);
    p[0] = NEEDS_CSUM | (csum ? OUTER_CSUM : 0);
    p[1] = TCP4_IN4;
    memcpy(p + 2, v, sizeof v);
    memcpy(p + 20, at, sizeof at);
    f[0] = f[6] = f[INNER] = f[INNER + 6] = 2;
    f[11] = f[INNER + 11] = 1;
    f[12] = f[INNER + 12] = 8;
    make_ip(f + OUTER, 17, len - OUTER);
    net_put_be16(f + UDP, 5000);
    net_put_be16(f + UDP + 2, 4789);
    net_put_be16(f + UDP + 4, (uint32_t)(len - UDP));
    net_put_be16(f + UDP + 6, csum ? net_fold(net_sum(17 + len - UDP, f + OUTER + 12, 8)) : 0);
    f[VXLAN] = 8;
    make_ip(f + IP, 6, len - IP);
    net_put_be16(f + TCP + 2, 80);
    f[TCP + 12] = 5 << 4;
    f[TCP + 13] = 16;
    net_put_be16(f + TCP + 16, net_fold(net_sum(6 + len - TCP, f + IP + 12, 8)));
    for (size_t i = 0; i < BODY; i++) {
        f[HEAD + i] = (uint8_t)(i * 31 >> 3);
    }
    return HDR + len;
}

static uint16_t sum_of(const uint8_t *f, size_t len, size_t ip, size_t at)
{
    return net_fold(net_sum(net_sum(f[ip + 9] + len - at, f + ip + 12, 8), f + at, len - at));
}

/* One of the segments that the kernel made; its checksums are whole. */
static void check_segment(const uint8_t *f, size_t len, unsigned i, bool csum)
{
    size_t body = MIN((size_t)MSS, (size_t)BODY - i * MSS);

    g_assert_cmpuint(len, ==, HEAD + body);
    g_assert_cmpuint(net_be16(f + OUTER + 2), ==, len - OUTER);
    g_assert_cmpuint(net_be16(f + UDP + 4), ==, len - UDP);
    g_assert_cmpuint(net_be16(f + IP + 2), ==, len - IP);
    g_assert_cmpuint(net_be16(f + TCP + 6), ==, i * MSS);
    g_assert_cmphex(sum_of(f, len, IP, TCP), ==, 0xffff);
    if (csum) {
        g_assert_cmphex(sum_of(f, len, OUTER, UDP), ==, 0xffff);
    } else {
        g_assert_cmphex(net_be16(f + UDP + 6), ==, 0);
    }
    for (size_t k = 0; k < body; k++) {
        g_assert_cmphex(f[HEAD + k], ==, (uint8_t)((i * MSS + k) * 31 >> 3));
    }
}

/* The packet as it was made, but for what hdr_len hints at. */
static void check_whole(const uint8_t *p, size_t len, const uint8_t *sent)
{
    g_assert_cmpuint(len, ==, HDR + HEAD + BODY);
    g_assert_cmphex(p[0], ==, sent[0]);
    g_assert_cmphex(p[1], ==, TCP4_IN4);
    g_assert_cmpmem(p + 4, 6, sent + 4, 6);
    g_assert_cmpmem(p + 20, 4, sent + 20, 4);
    g_assert_cmpmem(p + HDR, len - HDR, sent + HDR, len - HDR);
}

static void transmit(Fix *x, const uint8_t *p, size_t len)
{
    const VBuf b = { x->p, (uint32_t)len, false };
    uint32_t id, used;

    vdev_put(&x->v, x->p, p, len);
    vring_add(&x->v.d.ring[TX], &b, 1, 0);
    vd_kick(&x->v.d, TX);
    board_run(x->v.b);
    g_assert_true(vring_used(&x->v.d.ring[TX], &id, &used));
}

static void test_transmit(Fix *x, const void *unused)
{
    g_autofree uint8_t *p = g_malloc(HDR + HEAD + BODY);

    if (why_not) {
        g_test_skip(why_not);
        return;
    }
    for (unsigned csum = 0; csum < 2; csum++) {
        size_t len = make(p, csum), n;
        NetPort *b = x->far.peer;

        g_ptr_array_set_size(x->got, 0);
        g_assert_true(b->backend->set_offload(b, PLAIN | TUNNELS, HDR));
        transmit(x, p, len);
        while (!x->got->len) {
            loop_turn(loop_main(), /* block= */ true);
        }
        const uint8_t *got = g_bytes_get_data(x->got->pdata[0], &n);

        check_whole(got, n, p);
        g_ptr_array_set_size(x->got, 0);
        g_assert_true(b->backend->set_offload(b, 0, 12));
        transmit(x, p, len);
        while (x->got->len < (BODY + MSS - 1) / MSS) {
            loop_turn(loop_main(), /* block= */ true);
        }
        for (unsigned i = 0; i < x->got->len; i++) {
            got = g_bytes_get_data(x->got->pdata[i], &n);
            g_assert_cmphex(got[0] | got[1], ==, 0);
            check_segment(got + 12, n - 12, i, csum);
        }
    }
}

/* The next of our packets at the driver. */
static uint32_t arrived(Fix *x, uint8_t *ret, size_t hdr)
{
    uint32_t id, len;

    for (;;) {
        if (!vring_used(&x->v.d.ring[RX], &id, &len)) {
            loop_turn(loop_main(), /* block= */ true);
            continue;
        }
        vdev_get(&x->v, x->p + 0x20000 + x->next * 0x11000ull, ret, len);
        const VBuf b = { x->p + 0x20000 + x->next++ * 0x11000, 0x11000, true };

        x->next %= 16;
        vring_add(&x->v.d.ring[RX], &b, 1, 0);
        vd_kick(&x->v.d, RX);
        if (len > hdr + HEAD && ret[hdr] == 2 && net_be16(ret + hdr + UDP + 2) == 4789) {
            return len;
        }
    }
}

static void far_sends(Fix *x, const uint8_t *p, size_t len)
{
    const struct iovec v = { (void *)(uintptr_t)p, len };

    g_assert_cmpint(net_send(&x->far, &v, 1, len), ==, NET_SENT);
    board_run(x->v.b);
}

static void test_receive(Fix *x, const void *accepted)
{
    g_autofree uint8_t *p = g_malloc(HDR + HEAD + BODY), *got = g_malloc(0x11000);
    bool whole = *(const unsigned *)accepted & GUEST;

    if (why_not) {
        g_test_skip(why_not);
        return;
    }
    NetPort *b = x->far.peer;

    g_assert_true(b->backend->set_offload(b, PLAIN | TUNNELS, HDR));
    for (unsigned csum = 0; csum < 2; csum++) {
        far_sends(x, p, make(p, csum));
        if (whole) {
            check_whole(got, arrived(x, got, HDR), p);
            continue;
        }
        for (unsigned i = 0; i < (BODY + MSS - 1) / MSS; i++) {
            uint32_t len = arrived(x, got, 12);

            if (got[0] & NEEDS_CSUM) { /* the driver takes those of simple packets */
                g_assert_true(net_csum_complete(
                    got + 12, len - 12, got[6] | got[7] << 8, got[8] | got[9] << 8));
            }
            check_segment(got + 12, len - 12, i, csum);
        }
    }
}

/* NULL: taps, a bridge, and taps that know tunnels. */
static const char *look(void)
{
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const char *why = NULL;

    if (unshare(CLONE_NEWNET | (geteuid() ? CLONE_NEWUSER : 0)) < 0 ||
        access("/dev/net/tun", R_OK | W_OK) < 0) {
        close(s);
        return "no tap interface";
    }
    close(s);
    s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* of the new namespace */
    if (ioctl(s, SIOCBRADDBR, "br0") < 0) {
        close(s);
        return "no bridge";
    }
    ioctl(s, SIOCBRDELBR, "br0");
    close(s);
    NetPort *t = tap("t");

    why = !t                                                  ? "no tap interface"
          : t->backend->offloads(t) & NET_OFFLOAD_TUNNEL_CSUM ? NULL
                                                              : "the host's tap knows no tunnels";
    net_cleanup();
    return why;
}

int main(int argc, char **argv)
{
    static const unsigned all = GUEST | GUEST_CSUM | HOST | HOST_CSUM, host = HOST | HOST_CSUM,
                          none = 0;

    g_test_init(&argc, &argv, NULL);
    loop_main();
    why_not = look();
    g_test_add("/tap-tunnel/transmit", Fix, &all, up, test_transmit, down);
    g_test_add("/tap-tunnel/transmit-only", Fix, &host, up, test_transmit, down);
    g_test_add("/tap-tunnel/receive", Fix, &all, up, test_receive, down);
    g_test_add("/tap-tunnel/receive-segments", Fix, &none, up, test_receive, down);
    return g_test_run();
}
