/* hw/virtio/virtio-net.c and virtio-net-ctrl.c: both directions, filters, control commands
 * (VIRTIO 1.4, 5.1). */
#include "net/net.h"
#include "tests/unit/vdev.h"

#include <stdio.h>

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum { RX, TX, CTRL };
enum {
    F_MRG = 15,
    F_STATUS = 16,
    F_CTRL_VQ = 17,
    F_CTRL_RX = 18,
    F_VLAN = 19,
    F_RX_EXTRA = 20,
    F_MAC_ADDR = 23
};

typedef struct Fix {
    VDev v;
    NetPort *nic;    /* the device's end of its cable */
    NetPort wire;    /* ours */
    GPtrArray *sent; /* GBytes: what the guest sent */
    bool full;
    unsigned writable;
    uint64_t p;
} Fix;

static Fix *fix_of(NetPort *p)
{
    return (Fix *)((char *)p - offsetof(Fix, wire));
}

static NetVerdict wire_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    Fix *x = fix_of(p);
    g_autoptr(GByteArray) b = g_byte_array_new();

    if (x->full) {
        return NET_QUEUED;
    }
    for (unsigned i = 0; i < n; i++) {
        g_byte_array_append(b, iov[i].iov_base, (guint)iov[i].iov_len);
    }
    g_assert_cmpuint(b->len, ==, len);
    g_ptr_array_add(x->sent, g_byte_array_free_to_bytes(g_steal_pointer(&b)));
    return NET_SENT;
}

static void wire_writable(NetPort *p)
{
    fix_of(p)->writable++;
}

static const NetPortOps wire_ops = { .receive = wire_receive, .writable = wire_writable };

static void find_nic(NetPort *p, void *opaque)
{
    if (!strcmp(p->type, "nic")) {
        *(NetPort **)opaque = p;
    }
}

static void up(Fix *x, const void *legacy)
{
    x->sent = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    vdev_open(&x->v,
        "{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': '4', 'mac': '52:54:00:aa:bb:cc', "
        "'romfile': ''}",
        legacy != NULL);
    net_each(find_nic, &x->nic);
    net_port_init(&x->wire, &wire_ops, "wire", "wire");
    net_connect(x->nic, &x->wire);
    x->p = vd_page(&x->v.d, 1 << 20);
}

static void down(Fix *x, const void *unused)
{
    net_port_fini(&x->wire);
    vdev_close(&x->v);
    g_ptr_array_free(x->sent, TRUE);
}

static void give(Fix *x, unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++) {
        const VBuf b = { x->p + 4096 * i, len, true };
        vring_add(&x->v.d.ring[RX], &b, 1, 0);
    }
    vd_kick(&x->v.d, RX);
    board_run(x->v.b);
}

/* A frame to the guest: destination, 6 bytes of source, type and filling. */
static NetVerdict frame(Fix *x, const char *dst, uint16_t type, size_t len)
{
    g_autofree uint8_t *f = g_malloc(MAX(len, 18));
    unsigned m[6];

    memset(f, 0x77, MAX(len, 18));
    g_assert_cmpint(
        sscanf(dst, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]), ==, 6);
    for (unsigned i = 0; i < 6; i++) {
        f[i] = (uint8_t)m[i];
    }
    f[12] = (uint8_t)(type >> 8);
    f[13] = (uint8_t)type;
    if (type == 0x8100) {
        f[14] = 0x20; /* priority 1, VLAN 5 */
        f[15] = 5;
    }
    struct iovec v[2] = { { f, MIN(len, 9) }, { f + MIN(len, 9), len - MIN(len, 9) } };
    NetVerdict r = net_send(&x->wire, v, 2, len);
    board_run(x->v.b);
    return r;
}

static const char me[] = "52:54:00:aa:bb:cc";

/* used.len of the next frame the guest finds, 0: none. */
static uint32_t arrived(Fix *x)
{
    uint32_t id, len;

    return vring_used(&x->v.d.ring[RX], &id, &len) ? len : 0;
}

static uint8_t command(Fix *x, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
    const VBuf b[] = { { x->p + 0x80000, 2, false }, { x->p + 0x80100, len, false },
        { x->p + 0x80010, 1, true } };
    const VBuf none[] = { b[0], b[2] };
    const uint8_t head[2] = { class, cmd };
    uint8_t ack = 0xee;

    vdev_put(&x->v, b[0].at, head, 2);
    if (len) {
        vdev_put(&x->v, b[1].at, data, len);
    }
    vdev_put(&x->v, b[2].at, &ack, 1);
    g_assert_cmpuint(vdev_do(&x->v, CTRL, len ? b : none, len ? 3 : 2, 0), ==, 1);
    vdev_get(&x->v, b[2].at, &ack, 1);
    return ack;
}

static void mode(Fix *x, uint8_t cmd, uint8_t on)
{
    g_assert_cmpuint(command(x, 0, cmd, &on, 1), ==, 0);
}

static void test_identity(Fix *x, const void *unused)
{
    /* QEMU 10.0 with a peer without headers. */
    g_assert_cmphex(vd_offered(&x->v.d), ==, 0x10130bf8024ull);
    g_assert_cmphex(vdev_cfg(&x->v, 0, 4), ==, 0xaa005452);
    g_assert_cmphex(vdev_cfg(&x->v, 4, 2), ==, 0xccbb);
    g_assert_cmpuint(vdev_cfg(&x->v, 6, 2), ==, 1);
    g_assert_cmpuint(vd_read(&x->v.d, 0x12, 2), ==, 3);
}

static void test_identity_legacy(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_offered(&x->v.d), ==, 0x79bf8064);
}

/* 5.1.6.1: 12 bytes with VERSION_1 or MRG_RXBUF, 10 without. */
static void test_header_modern(Fix *x, const void *unused)
{
    uint8_t h[12];

    vd_start(&x->v.d, 1ull << F_MRG);
    give(x, 1, 2000);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_SENT);
    g_assert_cmpuint(arrived(x), ==, 72);
    vdev_get(&x->v, x->p, h, 12);
    g_assert_cmpmem(h, 12, "\0\0\0\0\0\0\0\0\0\0\1\0", 12); /* num_buffers is 1 */
    vdev_get(&x->v, x->p + 12, h, 6);
    g_assert_cmpmem(h, 6, "\x52\x54\0\xaa\xbb\xcc", 6);
}

static void legacy_queues(Fix *x, uint64_t features)
{
    g_assert_true(vd_negotiate(&x->v.d, features));
    for (unsigned i = 0; i < 3; i++) {
        vd_setup_queue(&x->v.d, i, 0);
    }
    vd_driver_ok(&x->v.d);
}

static void test_header_legacy(Fix *x, const void *unused)
{
    const VBuf out[] = { { x->p + 8192, 10, false }, { x->p + 9000, 60, false } };

    legacy_queues(x, 0);
    give(x, 1, 2000);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_SENT);
    g_assert_cmpuint(arrived(x), ==, 70);
    g_assert_cmpuint(vdev_do(&x->v, TX, out, 2, 0), ==, 0);
    g_assert_cmpuint(g_bytes_get_size(x->sent->pdata[0]), ==, 60);
}

static void test_header_legacy_mergeable(Fix *x, const void *unused)
{
    legacy_queues(x, 1ull << F_MRG);
    give(x, 1, 2000);
    frame(x, me, 0x0800, 60);
    g_assert_cmpuint(arrived(x), ==, 72);
}

/* 5.1.6.4: a packet over several chains, told of at once. */
static void test_mergeable(Fix *x, const void *unused)
{
    uint8_t h[12], tail;

    vd_start(&x->v.d, 0);
    give(x, 3, 100);
    g_assert_cmpint(frame(x, me, 0x0800, 250), ==, NET_SENT);
    g_assert_cmpuint(arrived(x), ==, 100);
    g_assert_cmpuint(arrived(x), ==, 100);
    g_assert_cmpuint(arrived(x), ==, 62);
    vdev_get(&x->v, x->p, h, 12);
    g_assert_cmphex(h[10], ==, 3);
    vdev_get(&x->v, x->p + 2 * 4096 + 61, &tail, 1);
    g_assert_cmphex(tail, ==, 0x77);
}

/* Not enough room: the packet waits with its sender, no chain is lost. */
static void test_waits_for_buffers(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_QUEUED);
    give(x, 1, 100);
    g_assert_cmpuint(x->writable, ==, 1);
    g_assert_cmpint(frame(x, me, 0x0800, 250), ==, NET_QUEUED);
    g_assert_cmpuint(arrived(x), ==, 0);
    give(x, 1, 2000);
    g_assert_cmpuint(x->writable, ==, 2);
    g_assert_cmpint(frame(x, me, 0x0800, 250), ==, NET_SENT);
    g_assert_cmpuint(arrived(x), ==, 100);
    g_assert_cmpuint(arrived(x), ==, 162);
}

static void test_small_buffer(Fix *x, const void *unused)
{
    uint32_t id, len = 77;

    vd_start(&x->v.d, 1ull << F_MRG);
    give(x, 1, 50);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_DROPPED);
    g_assert_true(vring_used(&x->v.d.ring[RX], &id, &len)); /* given back, with nothing in it */
    g_assert_cmpuint(len, ==, 0);
    give(x, 1, 8);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_DROPPED);
    give(x, 1, 2000);
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
}

/* C11: frames of 0 to 14 bytes. */
static void test_short_frames(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    give(x, 20, 100);
    for (unsigned n = 0; n <= 14; n++) {
        g_assert_cmpint(frame(x, me, 0x0800, n), ==, NET_SENT);
        g_assert_cmpuint(arrived(x), ==, 12 + n);
    }
    mode(x, 0, 0);
    g_assert_cmpint(frame(x, me, 0x0800, 13), ==, NET_SENT);
}

static void test_filter(Fix *x, const void *unused)
{
    static const struct {
        const char *dst;
        NetVerdict want;
    } t[] = { { me, NET_SENT }, { "52:54:00:00:00:01", NET_DROPPED },
        { "ff:ff:ff:ff:ff:ff", NET_SENT }, { "01:00:5e:00:00:01", NET_DROPPED } };

    vd_start(&x->v.d, 0);
    give(x, 100, 2000);
    g_assert_cmpint(frame(x, "52:54:00:00:00:01", 0x0800, 60), ==,
        NET_SENT); /* promiscuous until told otherwise */
    mode(x, 0, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_assert_cmpint(frame(x, t[i].dst, 0x0800, 60), ==, t[i].want);
    }
    mode(x, 1, 1); /* all multicast */
    g_assert_cmpint(frame(x, "01:00:5e:00:00:01", 0x0800, 60), ==, NET_SENT);
    mode(x, 3, 1); /* none */
    g_assert_cmpint(frame(x, "01:00:5e:00:00:01", 0x0800, 60), ==, NET_DROPPED);
    mode(x, 2, 1); /* all unicast */
    g_assert_cmpint(frame(x, "52:54:00:00:00:01", 0x0800, 60), ==, NET_SENT);
    mode(x, 4, 1); /* none */
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_DROPPED);
    mode(x, 5, 1); /* no broadcast */
    g_assert_cmpint(frame(x, "ff:ff:ff:ff:ff:ff", 0x0800, 60), ==, NET_DROPPED);
    vd_start(&x->v.d, 0); /* a reset forgets all of it */
    give(x, 1, 2000);
    g_assert_cmpint(frame(x, "52:54:00:00:00:01", 0x0800, 60), ==, NET_SENT);
}

static void test_mac_table(Fix *x, const void *unused)
{
    g_autofree uint8_t *many = g_malloc0(8 + 70 * 6);
    static const uint8_t table[] = { 1, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 9, 2, 0, 0, 0, 1, 0, 0x5e, 0,
        0, 1, 1, 0, 0x5e, 0, 0, 2 };

    vd_start(&x->v.d, 0);
    give(x, 50, 2000);
    mode(x, 0, 0);
    g_assert_cmpuint(command(x, 1, 0, table, sizeof table), ==, 0);
    g_assert_cmpint(frame(x, "52:54:00:00:00:09", 0x0800, 60), ==, NET_SENT);
    g_assert_cmpint(frame(x, "52:54:00:00:00:08", 0x0800, 60), ==, NET_DROPPED);
    g_assert_cmpint(frame(x, "01:00:5e:00:00:02", 0x0800, 60), ==, NET_SENT);
    g_assert_cmpint(frame(x, "01:00:5e:00:00:03", 0x0800, 60), ==, NET_DROPPED);
    many[0] = 70; /* more unicast addresses than we keep: all are let in */
    g_assert_cmpuint(command(x, 1, 0, many, 8 + 70 * 6), ==, 0);
    g_assert_cmpint(frame(x, "52:54:00:00:00:08", 0x0800, 60), ==, NET_SENT);
    g_assert_cmpint(frame(x, "01:00:5e:00:00:02", 0x0800, 60), ==, NET_DROPPED);
    g_assert_cmpuint(command(x, 1, 1, "\x52\x54\0\0\0\x33", 6), ==, 0);
    g_assert_cmphex(vdev_cfg(&x->v, 4, 2), ==, 0x3300);
    g_assert_cmpmem(x->nic->mac, 6, "\x52\x54\0\0\0\x33", 6); /* what announce-self says */
    vd_set_status(&x->v.d, 0);
    g_assert_cmpmem(x->nic->mac, 6, "\x52\x54\0\xaa\xbb\xcc", 6);
}

static void test_vlan(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    give(x, 10, 2000);
    mode(x, 0, 0);
    g_assert_cmpint(frame(x, me, 0x8100, 60), ==, NET_DROPPED);
    g_assert_cmpuint(command(x, 2, 0, "\5\0", 2), ==, 0);
    g_assert_cmpint(frame(x, me, 0x8100, 60), ==, NET_SENT);
    g_assert_cmpuint(command(x, 2, 1, "\5\0", 2), ==, 0);
    g_assert_cmpint(frame(x, me, 0x8100, 60), ==, NET_DROPPED);
    g_assert_cmpuint(command(x, 2, 0, "\0\x10", 2), ==, 1); /* 4096 */
}

static void test_bad_commands(Fix *x, const void *unused)
{
    static const struct {
        uint8_t class, cmd;
        const char *data;
        uint32_t len;
    } t[] = {
        { 0, 6, "\1", 1 },
        { 0, 0, "", 0 },
        { 0, 0, "\1\1", 2 },
        { 0, 255, "\1", 1 },
        { 1, 1, "12345", 5 },
        { 1, 1, "1234567", 7 },
        { 1, 0, "", 0 },
        { 1, 0, "\0\0\0\0", 4 },
        { 1, 0, "\xff\xff\xff\xff\0\0\0\0", 8 },
        { 1, 0, "\1\0\0\0\0\0\0\0", 8 },
        { 1, 0, "\0\0\0\0\0\0\0\0!", 9 },
        { 1, 2, "", 0 },
        { 2, 0, "\1", 1 },
        { 2, 2, "\1\0", 2 },
        { 3, 0, "", 0 },
        { 4, 0, "\1\0", 2 },
        { 5, 0, "\0\0\0\0\0\0\0\x80", 8 },
        { 5, 0, "", 0 },
        { 6, 0, "", 0 },
        { 255, 255, "", 0 },
    };

    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_assert_cmpuint(command(x, t[i].class, t[i].cmd, t[i].data, t[i].len), ==, 1);
    }
    give(x, 1, 2000); /* and nothing of it stuck */
    g_assert_cmpint(frame(x, "52:54:00:00:00:01", 0x0800, 60), ==, NET_SENT);
    g_assert_cmphex(vdev_cfg(&x->v, 4, 2), ==, 0xccbb);
}

static void test_command_without_ack(Fix *x, const void *unused)
{
    const VBuf b = { x->p, 3, false };

    vd_start(&x->v.d, 0);
    g_assert_cmphex(vdev_bad(&x->v, CTRL, &b, 1), ==, 0x4f);
}

static void test_command_without_header(Fix *x, const void *unused)
{
    const VBuf b[] = { { x->p, 1, false }, { x->p + 16, 1, true } };

    vd_start(&x->v.d, 0);
    g_assert_cmphex(vdev_bad(&x->v, CTRL, b, 2), ==, 0x4f);
}

static void send(Fix *x, unsigned i)
{
    const VBuf b[] = { { x->p + 0x40000, 12, false }, { x->p + 0x40100 + 64 * i, 60, false } };

    vdev_fill(&x->v, b[1].at, (uint8_t)i, 60);
    vring_add(&x->v.d.ring[TX], b, 2, 0);
}

static void test_transmit(Fix *x, const void *unused)
{
    const VBuf one = { x->p + 0x50000, 12 + 60,
        false }; /* header and frame in one piece: ANY_LAYOUT */
    gsize n;

    vd_start(&x->v.d, 0);
    vdev_fill(&x->v, one.at + 12, 0x99, 60);
    g_assert_cmpuint(vdev_do(&x->v, TX, &one, 1, 0), ==, 0);
    const uint8_t *f = g_bytes_get_data(x->sent->pdata[0], &n);
    g_assert_cmpuint(n, ==, 60);
    g_assert_cmphex(f[0], ==, 0x99);
    g_assert_cmphex(f[59], ==, 0x99);
}

/* A full wire: packets stay in the ring, and leave it in order. */
static void test_back_pressure(Fix *x, const void *unused)
{
    uint32_t id, len;

    vd_start(&x->v.d, 0);
    x->full = true;
    for (unsigned i = 0; i < 20; i++) {
        send(x, i);
    }
    vd_kick(&x->v.d, TX);
    board_run(x->v.b);
    g_assert_false(vring_used(&x->v.d.ring[TX], &id, &len));
    fake_run_set(false); /* nor does a pause of the machine lose them */
    x->full = false;
    net_ready(&x->wire);
    board_run(x->v.b);
    g_assert_cmpuint(x->sent->len, ==, 0);
    fake_run_set(true);
    board_run(x->v.b);
    g_assert_cmpuint(x->sent->len, ==, 20);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_true(vring_used(&x->v.d.ring[TX], &id, &len));
        g_assert_cmphex(*(const uint8_t *)g_bytes_get_data(x->sent->pdata[i], NULL), ==, i);
    }
    x->full = true;
    send(x, 50);
    vd_kick(&x->v.d, TX);
    board_run(x->v.b);
    net_disconnect(&x->wire); /* the cable is pulled: what waits is gone, the ring goes on */
    board_run(x->v.b);
    g_assert_true(vring_used(&x->v.d.ring[TX], &id, &len));
    g_assert_cmpuint(x->sent->len, ==, 20);
}

static void test_hostile_transmit(Fix *x, const void *unused)
{
    const VBuf tiny = { x->p, 11, false }, bare = { x->p, 12, false }, none = { x->p, 12, true },
               own = { x->v.d.notify, 100, false };
    const VBuf huge[] = { { x->p, 12, false }, { x->p, 1 << 17, false } };

    vd_start(&x->v.d, 0);
    g_assert_cmpuint(vdev_do(&x->v, TX, &bare, 1, 0), ==, 0);
    g_assert_cmpuint(g_bytes_get_size(x->sent->pdata[0]), ==, 0);
    g_assert_cmpuint(vdev_do(&x->v, TX, huge, 2, 0), ==, 0);
    g_assert_cmpuint(x->sent->len, ==, 1); /* no wire takes that */
    g_assert_cmphex(vdev_bad(&x->v, TX, &tiny, 1), ==, 0x4f);
    vd_start(&x->v.d, 0);
    g_assert_cmphex(vdev_bad(&x->v, TX, &none, 1), ==, 0x4f);
    vd_start(&x->v.d, 0);
    g_assert_cmphex(vdev_bad(&x->v, TX, &own, 1), ==, 0x4f);
}

static void test_many_pieces(Fix *x, const void *unused)
{
    static VBuf b[1024];

    vd_start(&x->v.d, 0);
    b[0] = (VBuf){ x->p + 0x40000, 12, false };
    for (unsigned i = 1; i < 1024; i++) {
        b[i] = (VBuf){ x->p + 0x50000 + i * 2, 1, false };
    }
    g_assert_cmpuint(vdev_do(&x->v, TX, b, 1024, x->p + 0x60000), ==, 0);
    g_assert_cmpuint(g_bytes_get_size(x->sent->pdata[0]), ==, 1023);
}

/* A segment of 64 KiB has its link layer's header, with tags, too: 65600 bytes. */
static void test_giants(Fix *x, const void *unused)
{
    enum { MOST = 65600, ROOM = MOST + 64 };
    static const uint32_t lens[] = { 65535, 65536, 65553, MOST, MOST + 1, 70000 };

    vd_start(&x->v.d, 1 << F_MRG);
    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        const VBuf in = { x->p, ROOM, true }, out = { x->p + 0x20000, 12 + lens[i], false };
        bool passes = lens[i] <= MOST;

        vring_add(&x->v.d.ring[RX], &in, 1, 0);
        vd_kick(&x->v.d, RX);
        board_run(x->v.b);
        g_assert_cmpint(frame(x, me, 0x0800, lens[i]), ==, passes ? NET_SENT : NET_DROPPED);
        g_assert_cmpuint(arrived(x), ==, passes ? 12 + lens[i] : 0);
        g_ptr_array_set_size(x->sent, 0);
        g_assert_cmpuint(vdev_do(&x->v, TX, &out, 1, 0), ==, 0);
        g_assert_cmpuint(x->sent->len, ==, passes);
        g_assert_true(!passes || g_bytes_get_size(x->sent->pdata[0]) == lens[i]);
    }
}

static void test_link(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    give(x, 2, 2000);
    vdev_cfg(&x->v, 6, 2);
    vd_isr(&x->v.d);
    g_assert_true(net_set_link("nic0", false, NULL));
    g_assert_cmphex(vd_isr(&x->v.d), ==, 2);
    g_assert_cmpuint(vdev_cfg(&x->v, 6, 2), ==, 0);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_DROPPED);
    g_assert_true(net_set_link("nic0", true, NULL));
    g_assert_cmpuint(vdev_cfg(&x->v, 6, 2), ==, 1);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_SENT);
}

static void test_pause_and_reset(Fix *x, const void *unused)
{
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_DROPPED); /* no driver */
    vd_start(&x->v.d, 0);
    give(x, 2, 2000);
    fake_run_set(false);
    g_assert_cmpint(
        frame(x, me, 0x0800, 60), ==, NET_QUEUED); /* a stopped machine's packets wait */
    fake_run_set(true);
    g_assert_cmpuint(x->writable, ==, 1);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_SENT);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_SENT);
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_QUEUED);
    vd_set_status(&x->v.d, 0);
    g_assert_cmpuint(x->writable, ==, 2); /* who waited for the old driver's buffers goes on */
    g_assert_cmpint(frame(x, me, 0x0800, 60), ==, NET_DROPPED);
}

static void test_errors(void)
{
    static const struct {
        const char *props, *text;
    } t[] = {
        { "'netdev': 'zz'", "Property 'virtio-net-device.netdev' can't find value 'zz'" },
        { "'rx_queue_size': 100",
            "Invalid rx_queue_size (= 100), must be a power of 2 between 256 and 1024." },
        { "'tx_queue_size': 1024",
            "Invalid tx_queue_size (= 1024), must be a power of 2 between 256 and 256" },
        { "'duplex': 'foo'", "'duplex' must be 'half' or 'full'" },
        { "'speed': -2", "'speed' must be between 0 and INT_MAX" },
        { "'mac': 'foo'", "Property 'virtio-net-device.mac' doesn't take value 'foo'" },
        { "'failover': true", "'failover' is not supported" },
    };
    Board *b = board_new(false);
    g_autoptr(Json) h = json_parse("{'type': 'hubport', 'id': 'h', 'hubid': 0}", -1, NULL);

    g_assert_nonnull(net_backend_create(h, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *json =
            g_strdup_printf("{'driver': 'virtio-net-pci', 'romfile': '', %s}", t[i].props);
        g_autofree char *text = board_add_error(b, json);
        g_assert_cmpstr(text, ==, t[i].text);
    }
    board_add(b, "{'driver': 'virtio-net-pci', 'romfile': '', 'netdev': 'h'}");
    g_autofree char *used =
        board_add_error(b, "{'driver': 'virtio-net-pci', 'romfile': '', 'netdev': 'h'}");
    g_assert_cmpstr(
        used, ==, "Property 'virtio-net-device.netdev' can't take value 'h', it's in use");
    g_assert_true(net_backend_delete("h", NULL)); /* under the NIC */
    board_free(b);
    net_cleanup();
}

static void add(const char *name, const void *legacy, void (*fn)(Fix *, const void *))
{
    g_autofree char *path = g_strdup_printf("/virtio-net/%s", name);

    g_test_add(path, Fix, legacy, up, fn, down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    add("identity", NULL, test_identity);
    add("identity-legacy", "legacy", test_identity_legacy);
    add("header-modern", NULL, test_header_modern);
    add("header-legacy", "legacy", test_header_legacy);
    add("header-legacy-mergeable", "legacy", test_header_legacy_mergeable);
    add("mergeable", NULL, test_mergeable);
    add("waits-for-buffers", NULL, test_waits_for_buffers);
    add("small-buffer", NULL, test_small_buffer);
    add("short-frames", NULL, test_short_frames);
    add("filter", NULL, test_filter);
    add("mac-table", NULL, test_mac_table);
    add("vlan", NULL, test_vlan);
    add("bad-commands", NULL, test_bad_commands);
    add("command-without-ack", NULL, test_command_without_ack);
    add("command-without-header", NULL, test_command_without_header);
    add("transmit", NULL, test_transmit);
    add("back-pressure", NULL, test_back_pressure);
    add("hostile-transmit", NULL, test_hostile_transmit);
    add("many-pieces", NULL, test_many_pieces);
    add("giants", NULL, test_giants);
    add("link", NULL, test_link);
    add("pause-and-reset", NULL, test_pause_and_reset);
    g_test_add_func("/virtio-net/errors", test_errors);
    return g_test_run();
}
