/*
 * Hostile drivers and peers of virtio-net against the real binary, what is its own of the classes:
 * short headers, and no byte that nobody wrote (C6); a hundred thousand malformed commands and
 * packets (C7); what grows with what a driver or a peer sends (C8); lengths, indices and offsets of
 * every structure (C11). VIRTIO 1.4, 5.1.6. The rings are test-hostile.c's, peers that stand still
 * test-hostile-stall.c's.
 */
#include "tests/qtest/hostile.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { RX, TX, CTRL, ROLES };
enum { HDR = 12, DATA = 0x400000, ROOM = 0x400000, MIB = 1 << 20, FRAME = 1500 };
enum { CSUM_MAX = 65536 + 64 }; /* no wire takes a longer frame */
enum {
    CLASS_RX,
    CLASS_MAC,
    CLASS_VLAN,
    CLASS_ANNOUNCE,
    CLASS_MQ,
    CLASS_OFFLOADS,
    CLASSES = 8,
    COMMANDS = 8
};
enum { OK = 0, ERR = 1 };
enum { POISON = 0x5a };

/* The same card; what hostile_kick() and hostile_noticed() mean by "its queue". */
#define CARD ",netdev=n,x-soft-offloads=on,rss=on"
static const HostileType card[ROLES] = {
    [RX] = { "virtio-net-pci", HOSTILE_WIRE, CARD, "", 0, RX, 0, 1600, { 0 }, NULL, true },
    [TX] = { "virtio-net-pci", HOSTILE_WIRE, CARD, "", 0, TX, 76, 0, { 0 }, NULL, false },
    [CTRL] = { "virtio-net-pci", HOSTILE_WIRE, CARD, "", 0, CTRL, 3, 1, { 0 }, NULL, false },
};

static uint32_t rnd(uint32_t n)
{
    static uint32_t s = 1; /* every program run is the same */

    s = s * 1664525u + 1013904223u;
    return (s >> 8) % n;
}

static void step(const Hostile *x)
{
    x->port.step(x->port.opaque);
}

/* All three queues; then the one that the type names. */
static void start(Hostile *x, unsigned role, bool packed)
{
    x->t = &card[CTRL];
    hostile_start(x, packed);
    x->t = &card[role];
    x->r = &x->d.ring[role];
}

static void add(Hostile *x, unsigned role, uint64_t at, uint32_t len, bool write)
{
    const VBuf b = { at, len, write };

    vring_add(&x->d.ring[role], &b, 1, 0);
}

static uint32_t used_len(Hostile *x, unsigned role)
{
    uint32_t id, len;

    vd_wait_used(&x->d, role, &id, &len);
    return len;
}

static void peer_sends(const Hostile *x, const void *frame, size_t len)
{
    g_assert_cmpint(send(x->peer, frame, len, 0), ==, (ssize_t)len);
}

/* What the peer has got: how many frames; each no longer than `most`. */
static unsigned peer_drains(const Hostile *x, size_t most)
{
    static uint8_t buf[1 << 17];
    unsigned n = 0;
    ssize_t len;

    for (; (len = recv(x->peer, buf, sizeof buf, MSG_DONTWAIT)) >= 0; n++) {
        g_assert_cmpuint((size_t)len, <=, most);
    }
    return n;
}

/* A command in `out`, its answer; in the answer's memory nothing else. */
static uint8_t command(Hostile *x, unsigned class, unsigned cmd, const void *data, uint32_t len)
{
    enum { IN = 64 };
    uint8_t *in = x->ram + DATA - IN;
    const uint8_t head[2] = { (uint8_t) class, (uint8_t)cmd };

    memcpy(x->ram + DATA, head, sizeof head);
    memcpy(x->ram + DATA + sizeof head, data, len);
    memset(in, POISON, IN);
    const VBuf b[] = { { DATA, 2 + len, false }, { DATA - IN, IN, true } };

    vring_add(&x->d.ring[CTRL], b, 2, 0);
    vd_kick(&x->d, CTRL);
    g_assert_cmpuint(used_len(x, CTRL), ==, 1);
    for (unsigned i = 1; i < IN; i++) {
        g_assert_cmphex(in[i], ==, POISON);
    }
    return in[0];
}

static void all_alive(Hostile *x, bool packed)
{
    for (unsigned role = 0; role < ROLES; role++) {
        start(x, role, packed);
        hostile_alive(x);
        peer_drains(x, CSUM_MAX);
    }
}

/* ---- C6 ---- */

static void c6_short(Hostile *x, bool packed)
{
    for (unsigned len = 1; len < HDR; len++) {
        start(x, TX, packed);
        add(x, TX, DATA, len, false);
        hostile_noticed(x);
    }
    start(x, CTRL, packed);
    add(x, CTRL, DATA, 1, true); /* no command */
    hostile_noticed(x);
    start(x, CTRL, packed);
    add(x, CTRL, DATA, 64, false); /* no place for an answer */
    hostile_noticed(x);
    start(x, CTRL, packed);
    const VBuf b[] = { { DATA, 1, false }, { DATA + 64, 1, true } }; /* half a header */

    vring_add(x->r, b, 2, 0);
    hostile_noticed(x);
}

/* Frames into pieces of any size: what is used was written, and the rest was not. */
static void c6_written(Hostile *x, bool packed)
{
    static const uint32_t pieces[] = { 12, 13, 60, 64, 100, 1000, 4096 };
    uint8_t frame[FRAME];

    for (unsigned i = 0; i < sizeof frame; i++) {
        frame[i] = (uint8_t)(i * 7 + 1);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        for (uint32_t len = 1; len <= FRAME; len += len < 64 ? 1 : 359) {
            uint32_t piece = pieces[i], got = 0, n = (HDR + len + piece - 1) / piece;
            uint8_t *at = x->ram + DATA;

            start(x, RX, packed);
            memset(at, POISON, 2 * 4096 + FRAME);
            for (unsigned k = 0; k < n + 1; k++) {
                add(x, RX, DATA + (uint64_t)k * piece, piece, true);
            }
            vd_kick(&x->d, RX);
            peer_sends(x, frame, len);
            for (unsigned k = 0; k < n; k++) {
                got += used_len(x, RX);
            }
            g_assert_cmpuint(got, ==, HDR + len);
            const uint8_t head[HDR] = { [10] = (uint8_t)n, (uint8_t)(n >> 8) };

            g_assert_cmpmem(at, HDR, head, HDR);
            g_assert_cmpmem(at + HDR, len, frame, len);
            for (uint32_t k = HDR + len; k < 2 * 4096; k++) {
                g_assert_cmphex(at[k], ==, POISON);
            }
        }
    }
}

/* Buffers that the header does not fit into: the frame is lost, nothing is written. */
static void c6_no_room(Hostile *x, bool packed)
{
    static const uint8_t frame[60] = { 0xff, 0xff };

    for (uint32_t len = 1; len < HDR; len++) {
        start(x, RX, packed);
        memset(x->ram + DATA, POISON, 0x1000);
        for (unsigned i = 0; i < 100; i++) {
            add(x, RX, DATA + 16 * i, len, true);
        }
        vd_kick(&x->d, RX);
        peer_sends(x, frame, sizeof frame);
        uint32_t id, used;

        vd_wait_used(&x->d, RX, &id, &used);
        g_assert_cmpuint(used, ==, 0);
        for (unsigned i = 0; i < 0x1000; i++) {
            g_assert_cmphex(x->ram[DATA + i], ==, POISON);
        }
        x->lines = hostile_log_lines(x);
    }
}

/* ---- C7 ---- */

enum { BATCH = 25, BATCHES = 2000, CHAIN = 2048 }; /* the control queue has 64 descriptors */

static void bad_command(Hostile *x, unsigned i)
{
    const uint64_t at = DATA + (uint64_t)CHAIN * i;
    const VBuf b[] = { { at, 2 + rnd(CHAIN / 2), false }, { at + CHAIN - 64, 1 + rnd(64), true } };
    uint8_t *p = x->ram + at;

    for (unsigned n = 0; n < 40; n++) {
        p[n] = (uint8_t)(rnd(3) ? rnd(3) : rnd(256));
    }
    p[0] = (uint8_t)rnd(CLASSES);
    p[1] = (uint8_t)rnd(COMMANDS);
    vring_add(&x->d.ring[CTRL], b, 2, 0);
}

/* A TCP segment behind a header of any kind. */
static void bad_packet(Hostile *x, unsigned i)
{
    static const uint8_t types[] = { 0, 1, 1, 3, 4, 5, 0x81, 0xff };
    const uint64_t at = DATA + MIB + (uint64_t)CHAIN * i;
    uint8_t *p = x->ram + at, *f = p + HDR;

    memset(p, 0, HDR + 80);
    f[12] = 8;
    f[14] = 0x45;
    f[23] = rnd(2) ? 6 : 17;
    f[46] = (uint8_t)(rnd(16) << 4);
    p[0] = (uint8_t)rnd(4);
    p[1] = types[rnd(G_N_ELEMENTS(types))];
    p[2] = (uint8_t)rnd(256);
    p[4] = (uint8_t)(rnd(4) ? 200 : rnd(256));
    p[6] = (uint8_t)rnd(80);
    p[8] = (uint8_t)rnd(20);
    p[9] = rnd(20) ? 0 : 0xff;
    f[rnd(80)] = (uint8_t)rnd(256);
    add(x, TX, at, HDR + rnd(600), false);
}

static void c7(Hostile *x)
{
    uint64_t rss = 0;
    unsigned fds = 0;

    for (unsigned i = 0; i < BATCHES; i++) {
        if (i % 200 == 0) {
            start(x, CTRL, i / 200 % 2);
        }
        if (i == 400) {
            rss = hostile_rss(x);
            fds = hostile_fds(x);
        }
        for (unsigned n = 0; n < BATCH; n++) {
            bad_command(x, n);
            bad_packet(x, n);
        }
        vd_kick(&x->d, CTRL);
        vd_kick(&x->d, TX);
        for (unsigned left = BATCH; left;) {
            step(x);
            left -= hostile_drain(&x->d.ring[TX]);
            peer_drains(x, CSUM_MAX);
        }
        hostile_finish(x, &x->d.ring[CTRL], BATCH);
    }
    g_assert_cmpuint(hostile_rss(x), <, rss + MIB);
    g_assert_cmpuint(hostile_fds(x), ==, fds);
}

static void test_c7(Hostile *x)
{
    c7(x);
    all_alive(x, false);
}

/* ---- C8 ---- */

/* A table of addresses as large as the driver's memory: all are let in, none is kept. */
static void c8_table(Hostile *x, bool packed)
{
    enum { ENTRIES = 600000, END = 4 + ENTRIES * 6 + 4 };
    g_autofree uint8_t *table = g_malloc0(END);
    uint64_t rss;

    start(x, CTRL, packed);
    g_assert_cmpuint(command(x, CLASS_MAC, 0, table, 8), ==, OK);
    rss = hostile_rss(x);
    memcpy(table, &(uint32_t){ ENTRIES }, 4);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpuint(command(x, CLASS_MAC, 0, table, END), ==, OK);
    }
    memcpy(table, &(uint32_t){ ENTRIES + 1 }, 4);
    g_assert_cmpuint(command(x, CLASS_MAC, 0, table, END), ==, ERR);
    memcpy(table, &(uint32_t){ UINT32_MAX }, 4);
    g_assert_cmpuint(command(x, CLASS_MAC, 0, table, END), ==, ERR);
    g_assert_cmpuint(hostile_rss(x), <, rss + MIB);
}

/* Frames that no buffer is there for wait with the peer; a peer that takes none makes packets wait
 * with the driver. */
static void c8_waiting(Hostile *x, bool packed)
{
    enum { MANY = 20000 };
    g_autofree uint8_t *frame = g_malloc0(FRAME);
    unsigned sent = 0, idle = 0, went = 0;
    uint64_t rss;

    all_alive(x, packed); /* all buffers that there can be are there */
    start(x, RX, packed);
    rss = hostile_rss(x);
    while (sent < MANY && idle < 100) {
        if (send(x->peer, frame, FRAME, MSG_DONTWAIT) == FRAME) {
            sent++;
        } else {
            g_assert_cmpint(errno, ==, EAGAIN);
            idle++;
            step(x);
        }
    }
    g_assert_cmpuint(sent, <, MANY);
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = round ? went : 0; i < x->d.ring[TX].size - 1u; i++) {
            add(x, TX, DATA, 1000, false);
        }
        vd_kick(&x->d, TX);
        step(x);
        went = x->d.ring[TX].size - 1u - hostile_drain(&x->d.ring[TX]);
    }
    g_assert_cmpuint(hostile_rss(x), <, rss + MIB);
    peer_drains(x, CSUM_MAX);
}

/* ---- C11 ---- */

static bool good_command(unsigned class, unsigned cmd, uint32_t len)
{
    return (class == CLASS_RX && cmd < 6 && len == 1) ||
           (class == CLASS_MAC && ((cmd == 0 && len == 8) || (cmd == 1 && len == 6))) ||
           (class == CLASS_VLAN && cmd < 2 && len == 2) ||
           (class == CLASS_OFFLOADS && cmd == 0 && len == 8);
}

static void c11_lengths(Hostile *x, bool packed)
{
    static const uint8_t zero[600];

    start(x, CTRL, packed);
    for (unsigned class = 0; class < CLASSES; class ++) {
        for (unsigned cmd = 0; cmd < COMMANDS; cmd++) {
            for (uint32_t len = 0; len < sizeof zero; len += len < 64 ? 1 : 89) {
                g_assert_cmpuint(command(x, class, cmd, zero, len), ==,
                    good_command(class, cmd, len) ? OK : ERR);
            }
        }
    }
    g_assert_cmpuint(command(x, 255, 255, zero, 1), ==, ERR);
}

typedef struct RssCommand {
    uint32_t types;
    uint16_t entries, unclassified, queue, max_tx;
    uint8_t key, sent; /* says; sends */
    uint8_t want;
} RssCommand;

static void c11_rss(Hostile *x, bool packed)
{
    static const RssCommand t[] = { { 0x1ff, 128, 0, 0, 1, 40, 40, OK },
        { 0, 1, 0, 0, 1, 0, 0, OK }, { 0x200, 1, 0, 0, 1, 40, 40, ERR },
        { UINT32_MAX, 1, 0, 0, 1, 40, 40, ERR }, { 1, 3, 0, 0, 1, 40, 40, ERR },
        { 1, 0, 0, 0, 1, 40, 40, ERR }, { 1, 256, 0, 0, 1, 40, 40, ERR },
        { 1, 32768, 0, 0, 1, 40, 40, ERR }, { 1, 1, 1, 0, 1, 40, 40, ERR },
        { 1, 1, 0xffff, 0, 1, 40, 40, ERR }, { 1, 2, 0, 1, 1, 40, 40, ERR },
        { 1, 128, 0, 0xffff, 1, 40, 40, ERR }, { 1, 1, 0, 0, 0, 40, 40, ERR },
        { 1, 1, 0, 0, 2, 40, 40, ERR }, { 1, 1, 0, 0, 0xffff, 40, 40, ERR },
        { 1, 1, 0, 0, 1, 41, 41, ERR }, { 1, 1, 0, 0, 1, 255, 255, ERR },
        { 1, 1, 0, 0, 1, 40, 39, ERR }, { 1, 1, 0, 0, 1, 39, 40, ERR } };
    g_autofree uint8_t *c = g_malloc0(1 << 17);

    start(x, CTRL, packed);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        uint32_t at = 8;

        memcpy(c, &t[i].types, 4);
        memcpy(c + 4, &(uint16_t){ (uint16_t)(t[i].entries - 1) }, 2);
        memcpy(c + 6, &t[i].unclassified, 2);
        for (unsigned n = 0; n < t[i].entries; n++, at += 2) {
            memcpy(c + at, &(uint16_t){ n + 1u == t[i].entries ? t[i].queue : 0 }, 2);
        }
        memcpy(c + at, &t[i].max_tx, 2);
        c[at + 2] = t[i].key;
        memset(c + at + 3, 0, 255);
        g_assert_cmpuint(command(x, CLASS_MQ, 1, c, at + 3 + t[i].sent), ==, t[i].want);
    }
}

/* Each header that a driver may write, in front of a good TCP segment: nothing longer than it comes
 * out, and the next packet goes. */
static void c11_headers(Hostile *x, bool packed)
{
    static const uint8_t flags[] = { 0, 1, 4, 0xff };
    static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x81, 0xff };
    static const uint16_t hdr_len[] = { 0, 13, 54, 0xffff }, sizes[] = { 0, 1, 500, 0xffff };
    static const uint16_t starts[] = { 0, 34, 0xffff }, offsets[] = { 16, 0xffff };
    static const uint16_t lens[] = { 0, 1, 14, 33, 54, 1400 };
    uint8_t head[HDR] = { 0 };
    unsigned i = 0, n = 4u * 7 * 4 * 4 * 3 * 2 * 6;

    start(x, TX, packed);
    for (; n; n--) {
        unsigned k = n;
        uint8_t *p = x->ram + DATA + (size_t)CHAIN * i, *f = p + HDR;

#define PICK(of) ((of)[k % G_N_ELEMENTS(of)])
        uint16_t len = PICK(lens);
        k /= G_N_ELEMENTS(lens);
        head[0] = PICK(flags);
        k /= G_N_ELEMENTS(flags);
        head[1] = PICK(types);
        k /= G_N_ELEMENTS(types);
        memcpy(head + 2, &PICK(hdr_len), 2);
        k /= G_N_ELEMENTS(hdr_len);
        memcpy(head + 4, &PICK(sizes), 2);
        k /= G_N_ELEMENTS(sizes);
        memcpy(head + 6, &PICK(starts), 2);
        k /= G_N_ELEMENTS(starts);
        memcpy(head + 8, &PICK(offsets), 2);
#undef PICK
        memcpy(p, head, HDR);
        memset(f, 0, 1400);
        memcpy(f + 12, (const uint8_t[]){ 8, 0, 0x45, 0, 5, 0x6a }, 6);
        f[23] = 6;
        f[46] = 0x50;
        add(x, TX, DATA + (uint64_t)CHAIN * i, HDR + len, false);
        if (++i == BATCH || n == 1) {
            vd_kick(&x->d, TX);
            while (i) {
                step(x);
                i -= hostile_drain(x->r);
                peer_drains(x, 1400);
            }
        }
    }
}

/* The largest packet in pieces of one byte: work, but not without end. */
static void c11_pieces(Hostile *x, bool packed)
{
    double cpu = hostile_cpu(x);
    uint8_t *p = x->ram + DATA, *f = p + HDR;
    unsigned pieces = 0;

    start(x, TX, packed);
    memset(p, 0, HDR + 65549);
    memcpy(p, (const uint8_t[]){ 1, 1, 54, 0, 1, 0, 34, 0, 16, 0 }, 10);
    memcpy(f + 12, (const uint8_t[]){ 8, 0, 0x45, 0, 0xff, 0xff }, 6);
    f[23] = 6;
    f[46] = 0x50;
    add(x, TX, DATA, HDR + 65549, false);
    vd_kick(&x->d, TX);
    for (uint32_t id, len; !vring_used(x->r, &id, &len);) {
        step(x);
        pieces += peer_drains(x, 55);
    }
    pieces += peer_drains(x, 55);
    g_assert_cmpuint(pieces, <=, 65549 - 54);
    g_assert_cmpfloat(hostile_cpu(x) - cpu, <, 20);
}

/* Frames of 0 to 17 bytes both ways, with the filter on: it looks at no more than there is. Frames
 * that no buffer and no wire has. */
static void c11_frames(Hostile *x, bool packed)
{
    static const uint32_t giants[] = { 4096, 65536, CSUM_MAX, CSUM_MAX + 1, 66000, 100000 };
    static const uint8_t off = 0;
    g_autofree uint8_t *frame = g_malloc(100000);

    memset(frame, 0xff, 100000);
    frame[12] = 0x81;
    frame[13] = 0;
    for (uint32_t len = 0; len < 18; len++) {
        start(x, TX, packed);
        add(x, TX, DATA, HDR + len, false);
        hostile_kick(x);
        used_len(x, TX);
        peer_drains(x, 18);

        start(x, RX, packed);
        g_assert_cmpuint(command(x, CLASS_RX, 0, &off, 1), ==, OK);
        add(x, RX, DATA + 4096, 2000, true);
        vd_kick(&x->d, RX);
        peer_sends(x, frame, len);
        peer_sends(x, "\xff\xff\xff\xff\xff\xff\2\0\0\0\0\1\0\0\0\0\0\0\0", 20);
        g_assert_cmpuint(used_len(x, RX), <=, HDR + 20);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(giants); i++) {
        start(x, RX, packed);
        for (unsigned n = 0; n < 20; n++) {
            add(x, RX, DATA + 4096, 2000, true); /* too few for the long ones */
        }
        vd_kick(&x->d, RX);
        peer_sends(x, frame, giants[i]);
        step(x);
        start(x, TX, packed);
        add(x, TX, DATA, HDR + giants[i], false);
        vd_kick(&x->d, TX);
        used_len(x, TX);
        g_assert_cmpuint(peer_drains(x, CSUM_MAX), <=, 1);
    }
}

static const struct {
    const char *name;
    void (*each)(Hostile *x, bool packed);
    void (*once)(Hostile *x);
} tests[] = {
    { "c6-short", c6_short, NULL },
    { "c6-written", c6_written, NULL },
    { "c6-no-room", c6_no_room, NULL },
    { "c7-malformed", NULL, test_c7 },
    { "c8-address-table", c8_table, NULL },
    { "c8-waiting", c8_waiting, NULL },
    { "c11-command-lengths", c11_lengths, NULL },
    { "c11-rss", c11_rss, NULL },
    { "c11-headers", c11_headers, NULL },
    { "c11-pieces-of-one-byte", c11_pieces, NULL },
    { "c11-frame-lengths", c11_frames, NULL },
};

static void run(const void *data)
{
    unsigned i = GPOINTER_TO_UINT(data);
    Hostile x;

    if (hostile_up(&x, &card[CTRL], false, false)) {
        for (unsigned packed = 0; tests[i].each && packed < 2; packed++) {
            tests[i].each(&x, packed);
            all_alive(&x, packed);
        }
        if (tests[i].once) {
            tests[i].once(&x);
        }
        hostile_down(&x);
    }
}

int main(int argc, char **argv)
{
    /* What is not initialised does not look like zeroes. */
    g_setenv("MALLOC_PERTURB_", "90", TRUE);
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/hostile-net/", tests[i].name, NULL);

        g_test_add_data_func(path, GUINT_TO_POINTER(i), run);
    }
    return g_test_run();
}
