/*
 * The network's parsers beside hostile guests and peers. One input is one life of one of them,
 * which its first byte chooses, or --mode=NAME: what becomes segments, packets in a byte stream,
 * the stream and dgram back ends, frames for the user network, and virtio-net itself with control
 * commands, frames behind any header and packets to send (VIRTIO 1.4, 5.1).
 */
#include "net/csum.h"
#include "net/framing.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/vdev.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum {
    PAIRS = 2,
    CTRL = PAIRS * 2,
    HDR = 12,
    HDR_MAX = 24,
    FRAME_ROOM = 66000,
    MAX_OPS = 64,
    SLOT = 0x11000
};

/* Our end of a cable: counts, and refuses as often as the input says. */
typedef struct End {
    NetPort p;
    GByteArray *got; /* all that came, one after the other; NULL: nobody asks */
    unsigned packets, refuse;
    bool full;
} End;

static struct {
    int mode; /* -1: the input's first byte */
    VDev v;
    End wire[PAIRS];
    NetPort *more[PAIRS];
    uint64_t memory;
    End guest; /* of the user network */
} fn = { .mode = -1 };

static NetVerdict end_receive(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    End *e = (End *)p;
    size_t sum = 0;

    if (e->full || (e->refuse && ++e->packets % e->refuse == 0)) {
        return NET_QUEUED;
    }
    for (unsigned i = 0; i < n; i++) {
        if (e->got) {
            g_byte_array_append(e->got, iov[i].iov_base, (guint)iov[i].iov_len);
        }
        sum += iov[i].iov_len;
    }
    g_assert_cmpuint(sum, ==, len);
    return NET_SENT;
}

static uint64_t end_offloads(NetPort *p)
{
    return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
           NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6 | NET_OFFLOAD_TUNNEL | NET_OFFLOAD_TUNNEL_CSUM;
}

static bool end_set_offload(NetPort *p, uint64_t offloads, uint32_t hdr)
{
    p->vnet_hdr_len = hdr;
    return true;
}

static const NetPortOps end_ops = { .receive = end_receive };
static const NetBackend end_backend = {
    .type = "wire", .offloads = end_offloads, .set_offload = end_set_offload
};

static void end_init(End *e, const char *type, unsigned refuse)
{
    *e = (End){ .got = g_byte_array_new(), .refuse = refuse };
    net_port_init(&e->p, &end_ops, type, type);
}

static void end_fini(End *e)
{
    net_port_fini(&e->p);
    g_byte_array_unref(e->got);
}

static void turn(void)
{
    for (unsigned i = 0; i < 50 && loop_turn(loop_main(), /* block= */ false); i++) {
    }
}

static NetPort *backend(const char *json)
{
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    NetPort *p = net_backend_create(args, NULL);

    g_assert_nonnull(p);
    return p;
}

/* ---- frames ---- */

/* One of a few that mean something, then changed where the input says. The length of it. */
static size_t frame_of(Input *in, uint8_t *f)
{
    static const struct {
        uint8_t at, byte;
    } set[][6] = { { { 12, 0x08 }, { 14, 0x45 }, { 23, 6 }, { 46, 0x50 } },
        { { 12, 0x08 }, { 14, 0x4f }, { 23, 17 } },
        { { 12, 0x86 }, { 13, 0xdd }, { 14, 0x60 }, { 20, 6 }, { 66, 0x80 } },
        { { 12, 0x86 }, { 13, 0xdd }, { 14, 0x60 }, { 20, 0 }, { 54, 43 }, { 62, 17 } },
        { { 12, 0x81 }, { 16, 0x08 }, { 18, 0x45 }, { 27, 6 }, { 50, 0x50 } },
        { { 12, 0x88 }, { 13, 0xa8 }, { 16, 0x81 }, { 20, 0x86 }, { 21, 0xdd }, { 22, 0x60 } },
        { { 12, 0x08 }, { 13, 0x06 }, { 15, 1 }, { 16, 8 }, { 21, 1 } } };
    unsigned kind = u8(in);
    size_t len = kind & 8 ? u16(in) : kind & 16 ? u8(in) : 60 + (kind >> 5) * 200u;

    memset(f, 0, MIN(len, (size_t)512));
    for (unsigned i = 0; kind % 8 < G_N_ELEMENTS(set) && i < 6 && set[kind % 8][i].at; i++) {
        f[set[kind % 8][i].at] = set[kind % 8][i].byte;
    }
    for (unsigned n = u8(in) % 24; n-- && in->left;) {
        unsigned at = u8(in);

        f[at] = u8(in);
    }
    return len;
}

static void mode_segments(Input *in)
{
    g_autofree uint8_t *room = g_malloc(FRAME_ROOM);
    uint8_t type = u8(in), head[NET_SEG_HEAD];
    unsigned size = u16(in), start = u16(in), offset = u16(in);
    size_t len = frame_of(in, room);
    g_autofree uint8_t *f = g_memdup2(room, MAX(len, 1)); /* as long as it says */
    NetSegs g;

    net_csum_complete(f, len, start, offset);
    if (!net_segs_init(&g, f, len, type, size, 1)) {
        return;
    }
    for (size_t sum = 0; g.next < g.n; g.next++) {
        const uint8_t *body;
        size_t n, hlen = net_segs_make(&g, head, &body, &n);

        g_assert_cmpuint(hlen, <=, sizeof head);
        g_assert_true(body >= f && n && body + n <= f + len);
        sum += n;
        g_assert_true(g.next + 1 < g.n || sum == len - g.body);
    }
}

/* ---- byte streams ---- */

/* What a stream says, read plainly: the packets, one after the other. */
static GByteArray *plain(const uint8_t *p, size_t len, size_t head, bool *ret_bad)
{
    GByteArray *out = g_byte_array_new();
    size_t at = 0;

    *ret_bad = false;
    while (len - at >= 4) {
        uint32_t n = (uint32_t)net_be16(p + at) << 16 | net_be16(p + at + 2);

        if (n > FRAMING_MAX) {
            *ret_bad = true;
            break;
        }
        if (len - at < head + n) {
            break;
        }
        if (head == 8 && ((uint32_t)net_be16(p + at + 4) << 16 | net_be16(p + at + 6)) > n) {
            *ret_bad = true;
            break;
        }
        g_byte_array_append(out, p + at + head, n);
        at += head + n;
    }
    return out;
}

/* Packets of small and giant lengths, whole and half. */
static GByteArray *stream_of(Input *in, size_t head)
{
    GByteArray *b = g_byte_array_new();

    for (unsigned i = 0; in->left && i < MAX_OPS && b->len < 80000; i++) {
        unsigned how = u8(in);
        uint32_t n = how < 200 ? how : how < 240 ? u16(in) : how < 250 ? FRAMING_MAX : u32(in);
        uint32_t have = how & 1 ? MIN(n, FRAMING_MAX) : MIN(n, u16(in));
        const uint8_t h[8] = { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
            (uint8_t)n, 0, 0, how & 4 ? u8(in) : 0, how & 2 ? u8(in) : 0 };
        guint at = b->len + (guint)head;

        g_byte_array_append(b, h, (guint)head);
        g_byte_array_set_size(b, at + have);
        memset(b->data + at, (int)i, have);
    }
    return b;
}

static void mode_framing(Input *in)
{
    size_t head = u8(in) & 1 ? 4 : 8, at = 0, step = 1 + u16(in);
    g_autoptr(GByteArray) b = stream_of(in, head);
    g_autoptr(GByteArray) got = g_byte_array_new();
    bool bad = false, want_bad;
    g_autoptr(GByteArray) want = plain(b->data, b->len, head, &want_bad);
    Framing f;

    framing_init(&f, head);
    while (at < b->len && !bad) {
        size_t room, len;
        const uint8_t *data;
        uint32_t vnet;
        uint8_t *to = framing_space(&f, &room);

        g_assert_cmpuint(room, >, 0);
        room = MIN(MIN(room, step), b->len - at);
        memcpy(to, b->data + at, room);
        at += room;
        framing_add(&f, room);
        while (framing_next(&f, &data, &len, &vnet, &bad)) {
            g_assert_cmpuint(vnet, <=, len);
            g_byte_array_append(got, data, (guint)len);
            framing_done(&f);
        }
    }
    g_assert_cmpint(bad, ==, want_bad);
    g_assert_cmpmem(got->data, got->len, want->data, want->len);
    framing_fini(&f);
}

/* The far end is ours: it writes, it reads or does not, it goes. */
static void mode_stream(Input *in)
{
    unsigned how = u8(in);
    size_t at = 0, step = 1 + u16(in) % 8000;
    g_autoptr(GByteArray) b = stream_of(in, 4);

    step = MAX(step, b->len / 40); /* single bytes, but not of much */
    bool bad;
    g_autoptr(GByteArray) want = plain(b->data, b->len, 4, &bad);
    g_autofree char *json = NULL;
    uint8_t out[3000] = { 0 };
    End e;
    int fd[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), ==, 0);
    json = g_strdup_printf(
        "{'type': 'stream', 'id': 's', 'addr': {'type': 'fd', 'str': '%d'}}", fd[0]);
    end_init(&e, "nic", how & 1 ? 1 + (how >> 4) : 0);
    net_connect(&e.p, backend(json));
    while (at < b->len) {
        struct iovec v = { out, sizeof out };
        ssize_t n = send(fd[1], b->data + at, MIN(step, b->len - at), MSG_DONTWAIT | MSG_NOSIGNAL);

        at += n > 0 ? (size_t)n : 0;
        if (how & 2) {
            net_send(&e.p, &v, 1, sizeof out);
        }
        turn();
        e.refuse = e.refuse > 1 ? e.refuse - 1 : e.refuse ? 2 : 0;
        net_ready(&e.p);
        if (n < 0 && errno != EAGAIN) {
            break; /* it was told off */
        }
    }
    e.refuse = 0;
    net_ready(&e.p);
    turn();
    if (!bad) {
        g_assert_cmpmem(e.got->data, e.got->len, want->data, want->len);
    } else {
        g_assert_cmpuint(e.got->len, <=, want->len);
    }
    close(fd[1]);
    turn();
    end_fini(&e);
    net_backend_delete("s", NULL);
}

static void mode_dgram(Input *in)
{
    unsigned how = u8(in);
    g_autoptr(GByteArray) want = g_byte_array_new();
    g_autofree uint8_t *data = g_malloc0(0x10000);
    g_autofree char *json = NULL;
    End e;
    int fd[2];

    g_assert_cmpint(
        socketpair(AF_UNIX, (how & 2 ? SOCK_SEQPACKET : SOCK_DGRAM) | SOCK_NONBLOCK, 0, fd), ==, 0);
    json = g_strdup_printf(
        "{'type': 'dgram', 'id': 'd', 'local': {'type': 'fd', 'str': '%d'}}", fd[0]);
    end_init(&e, "nic", how & 1 ? 1 + (how >> 4) : 0);
    net_connect(&e.p, backend(json));
    for (unsigned i = 0; in->left && i < MAX_OPS; i++) {
        size_t len = u8(in) < 128 ? u8(in) : u16(in);
        struct iovec v = { data, len };

        memset(data, (int)i, MIN(len, (size_t)300));
        if (send(fd[1], data, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            g_byte_array_append(want, data, (guint)len);
        }
        if (how & 4) {
            net_send(&e.p, &v, 1, len);
        }
        turn();
        e.refuse = e.refuse > 1 ? e.refuse - 1 : e.refuse ? 2 : 0;
        net_ready(&e.p);
    }
    e.refuse = 0;
    net_ready(&e.p);
    turn();
    g_assert_cmpmem(e.got->data, e.got->len, want->data, want->len);
    close(fd[1]);
    turn();
    end_fini(&e);
    net_backend_delete("d", NULL);
}

/* ---- the user network ---- */

/* It is isolated: nothing that a frame says leads out of the process. */
static void user_open(void)
{
    static const char json[] = "{'type': 'user', 'id': 'u', 'restrict': true}";

    end_init(&fn.guest, "nic", 0);
    net_connect(&fn.guest.p, backend(json));
}

static void mode_user(Input *in)
{
    g_autofree uint8_t *f = g_malloc(FRAME_ROOM);

    if (!fn.guest.p.peer) {
        user_open();
    }
    while (in->left) {
        unsigned how = u8(in);
        size_t len = MIN(frame_of(in, f), (size_t)FRAME_ROOM), cut = MIN((size_t)how, len);
        g_autofree uint8_t *exact = g_memdup2(f, MAX(len, 1));
        const struct iovec v[2] = { { exact, cut }, { exact + cut, len - cut } };

        fn.guest.full = how & 1;
        net_send(&fn.guest.p, v, 2, len);
        turn();
        net_ready(&fn.guest.p);
    }
    fn.guest.full = false;
    net_ready(&fn.guest.p);
    g_byte_array_set_size(fn.guest.got, 0);
}

/* ---- the device ---- */

static void device_open(void)
{
    for (unsigned i = 0; i < PAIRS; i++) {
        End *e = &fn.wire[i];

        net_port_init(&e->p, &end_ops, "wire", "w");
        e->p.backend = &end_backend;
        e->p.index = i;
        e->p.vnet_hdr_len = HDR;
        if (i) {
            fn.more[i - 1] = &e->p;
        }
    }
    fn.wire[0].p.queue = fn.more;
    fn.wire[0].p.nqueues = PAIRS;
    vdev_open(&fn.v,
        "{'driver': 'virtio-net-pci', 'id': 'nic0', 'addr': '4', 'netdev': 'w', 'romfile': '', "
        "'mq': true, 'rss': true, 'hash': true, 'x-soft-offloads': true, 'guest_rsc_ext': true, "
        "'x-host_tunnel': true, 'x-guest_tunnel': true, "
        "'x-host_tunnel_csum': true, 'x-guest_tunnel_csum': true}",
        false);
    fn.memory = fn.v.d.alloc;
}

/* A chain of up to three buffers, if there is room in the ring for one more. */
static void add(unsigned q, const VBuf *b, unsigned n)
{
    VRing *r = &fn.v.d.ring[q];
    uint32_t id, len;

    while (vring_used(r, &id, &len)) {
    }
    vring_add(r, b, n, 0);
    vd_kick(&fn.v.d, q);
    turn();
}

static void op_control(Input *in)
{
    uint8_t head[2] = { u8(in) % 8, u8(in) % 8 }, data[600] = { 0 };
    uint64_t p = fn.memory + 0x80000;
    unsigned n = u8(in), cut = u8(in), have = MIN(n * 2u, (unsigned)in->left);
    const VBuf b[] = { { p, 2, false }, { p + 2, cut, false }, { p + 2 + cut, n * 2, false },
        { p + 0x1000, u8(in) & 3, true } };

    for (unsigned i = 0; i < have; i++) {
        data[cut + i] = u8(in);
    }
    vdev_put(&fn.v, p, head, 2);
    vdev_put(&fn.v, p + 2, data, cut + have);
    add(CTRL, b, 4);
}

static void op_give(Input *in, unsigned q)
{
    unsigned n = 1 + u8(in) % 8;
    uint32_t len = u8(in) & 1 ? u8(in) : 1 + u16(in);

    for (unsigned i = 0; i < n; i++) {
        const VBuf b = { fn.memory + 0x100000 + i * SLOT, len, true };

        add(q * 2, &b, 1);
    }
}

static void op_receive(Input *in, unsigned q, uint8_t *f)
{
    uint8_t head[HDR_MAX] = { 0 };

    for (unsigned i = 0; i < fn.wire[q].p.vnet_hdr_len; i++) {
        head[i] = u8(in);
    }
    size_t len = frame_of(in, f), hdr = fn.wire[q].p.vnet_hdr_len;
    const struct iovec v[2] = { { head, hdr }, { f, len } };

    if (!fn.wire[q].p.blocked) {
        net_send(&fn.wire[q].p, v, 2, hdr + len);
    }
    turn();
}

/* Segments of a few flows, mostly one behind the other, which the device may make one of. */
static void op_segments(Input *in, unsigned q, uint8_t *f)
{
    unsigned how = u8(in), n = 1 + how % 8, body = how & 8 ? 1 + u16(in) % 40000 : 1 + u8(in);
    size_t hdr = fn.wire[q].p.vnet_hdr_len, tcp = how & 16 ? 54 : 34, len = tcp + 20 + body;
    uint8_t head[HDR_MAX] = { how & 32 ? 1 : 2, 0, 0, 0, 0, 0, (uint8_t)tcp, 0, 16 };
    const struct iovec v[2] = { { head, hdr }, { f, len } };

    memset(f, 0, tcp + 20);
    f[12] = how & 16 ? 0x86 : 8;
    f[13] = how & 16 ? 0xdd : 0;
    f[14] = how & 16 ? 0x60 : 0x45;
    net_put_be16(f + (how & 16 ? 18 : 16), (uint32_t)(len - (how & 16 ? tcp : 14)));
    f[20] = how & 16 ? 6 : 0x40;
    f[23] = how & 16 ? 0 : 6;
    net_put_be16(f + 24, how & 16 ? 0 : (uint16_t)~net_fold(net_sum(0, f + 14, 20)));
    f[tcp + 3] = how >> 6; /* the flow */
    f[tcp + 12] = 5 << 4;
    for (unsigned i = 0; i < n && !fn.wire[q].p.blocked; i++) {
        f[tcp + 13] = i + 1 == n ? u8(in) : 0x10;
        net_send(&fn.wire[q].p, v, 2, hdr + len);
        net_put_be16(f + tcp + 6, net_be16(f + tcp + 6) + body);
    }
    turn();
}

static void op_send(Input *in, unsigned q, uint8_t *f)
{
    uint64_t p = fn.memory + 0x200000 + q * SLOT;
    uint8_t head[20];
    unsigned cut = u8(in) & 1 ? 20 : u8(in);

    for (unsigned i = 0; i < sizeof head; i++) {
        head[i] = i < 10 ? u8(in) : 0;
    }
    size_t len = MIN(frame_of(in, f), (size_t)0x10000 - 64);
    const VBuf b[] = { { p, cut, false }, { p + cut, (uint32_t)(len + 20 - MIN(cut, 20)), false } };

    vdev_put(&fn.v, p, head, sizeof head);
    vdev_put(&fn.v, p + sizeof head, f, MIN(len, (size_t)512));
    add(q * 2 + 1, b, 2);
}

static void device_ops(Input *in, const uint8_t *ops, unsigned nops)
{
    g_autofree uint8_t *f = g_malloc0(FRAME_ROOM);

    if (!fn.v.b) {
        device_open();
    }
    unsigned how = u8(in);
    uint64_t without = how & 1 ? 1ull << 57 : 0;

    without |= how & 2 ? 1ull << 15 : 0;              /* no MRG_RXBUF */
    without |= how & 4 ? 0xfull << 7 | 1ull << 1 : 0; /* no receive offloads */
    without |= how & 8 ? 1ull << 22 | 1ull << 60 : 0; /* one pair */
    without |= how & 16 ? 1ull << 61 : 0;             /* segments stay as they are */
    fn.v.d.features_more = how >> 5 ? how >> 3 & 0x1e : 0;
    fn.v.d.alloc = fn.memory;
    vd_start(&fn.v.d, without);
    for (unsigned i = 0; in->left && i < MAX_OPS; i++) {
        unsigned b = u8(in), q = b >> 7;

        switch (ops[b % 128 % nops]) {
        case 'c':
            op_control(in);
            break;
        case 'g':
            op_give(in, q);
            break;
        case 'r':
            op_receive(in, q, f);
            break;
        case 't':
            op_segments(in, q, f);
            break;
        case 's':
            op_send(in, q, f);
            break;
        default:
            fn.wire[q].full = !fn.wire[q].full;
            net_ready(&fn.wire[q].p);
            turn();
        }
        if (vd_status(&fn.v.d) & 64) {
            break; /* the device wants a reset: so much for this driver */
        }
    }
    vd_set_status(&fn.v.d, 0);
    for (unsigned q = 0; q < PAIRS; q++) {
        fn.wire[q].full = false;
        net_ready(&fn.wire[q].p);
    }
    turn();
}

static void mode_control(Input *in)
{
    device_ops(in, (const uint8_t *)"cccgrs", 6);
}

static void mode_receive(Input *in)
{
    device_ops(in, (const uint8_t *)"grrgrctt", 8);
}

static void mode_transmit(Input *in)
{
    device_ops(in, (const uint8_t *)"sssf", 4);
}

static const struct {
    const char *name;
    void (*run)(Input *in);
} modes[] = { { "segments", mode_segments }, { "framing", mode_framing }, { "stream", mode_stream },
    { "dgram", mode_dgram }, { "user", mode_user }, { "control", mode_control },
    { "receive", mode_receive }, { "transmit", mode_transmit } };

bool fuzz_option(const char *arg)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (g_str_has_prefix(arg, "--mode=") && !strcmp(arg + 7, modes[i].name)) {
            fn.mode = (int)i;
            return true;
        }
    }
    return false;
}

void fuzz_prepare(void)
{
    loop_main();
}

void fuzz_one(Input *in)
{
    unsigned which = u8(in);

    modes[fn.mode < 0 ? which % G_N_ELEMENTS(modes) : (unsigned)fn.mode].run(in);
}
