/*
 * Feature x data path: each feature bit that a device type offers, by itself and with what it
 * needs, over split and packed rings, the legacy, transitional and modern interface, MSI-X and
 * INTx. Every combination moves data that is checked byte by byte. What is offered is asked of the
 * devices: a type without a row, or a bit that no row explains, fails.
 */
#include "chardev/chardev.h"
#include "hw/core/machine.h"
#include "tests/features/feat.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEVFN = 4 << 3 };
enum {
    NOTIFY_ON_EMPTY = 24,
    ANY_LAYOUT = 27,
    INDIRECT = 28,
    EVENT_IDX = 29,
    BAD_FEATURE = 30,
    VERSION_1 = 32,
    ACCESS_PLATFORM = 33,
    PACKED = 34,
    IN_ORDER = 35,
    NOTIFICATION_DATA = 38,
    NOTIF_CONFIG_DATA = 39,
    RING_RESET = 40,
    SUSPEND = 43
};

/* Bits that any device may offer (6). VERSION_1, RING_PACKED and ACCESS_PLATFORM are dimensions. */
static const FeatBit transport_bits[] = {
    { NOTIFY_ON_EMPTY, ALONE, "an interrupt although the driver asked for none" },
    { ANY_LAYOUT, ALONE, "headers in odd pieces" },
    { INDIRECT, ALONE, "every chain in a table" },
    { EVENT_IDX, ALONE, "an interrupt at used_event" },
    { BAD_FEATURE, ALONE, "nothing" },
    { VERSION_1, ALONE, "the modern interface" },
    { ACCESS_PLATFORM, ALONE, "accepted whenever it is offered" },
    { PACKED, ALONE, "packed rings" },
    { IN_ORDER, ALONE, "used in the order made available" },
    { NOTIFICATION_DATA, ALONE, "kicks carry the ring's end" },
    { NOTIF_CONFIG_DATA, ALONE, "kicks carry the device's number" },
    { RING_RESET, ALONE, "data moves again after a queue reset" },
    { SUSPEND, ALONE, "data moves again after a suspend" },
    { NONE, ALONE, NULL },
};

typedef struct Column {
    const char *name, *opts;
    bool legacy;
} Column;
static const Column columns[] = {
    { "legacy", "'disable-modern': true", true },
    { "transitional-legacy", "'disable-modern': false", true },
    { "transitional-modern", "'disable-modern': false", false },
    { "modern", "'disable-legacy': 'on', 'iommu_platform': true", false },
};

static unsigned moved; /* combinations of the whole run */

/* What movers use. */
uint64_t feat_cfg(const Feat *x, unsigned off, unsigned size)
{
    return x->d.legacy
               ? x->b->port.load(x->b, true, x->d.bar[0] + (x->d.msix ? 24 : 20) + off, size)
               : x->b->port.load(x->b, false, x->d.device + off, size);
}

void feat_cfg_write(const Feat *x, unsigned off, unsigned size, uint64_t v)
{
    if (x->d.legacy) {
        x->b->port.store(x->b, true, x->d.bar[0] + (x->d.msix ? 24 : 20) + off, size, v);
    } else {
        x->b->port.store(x->b, false, x->d.device + off, size, v);
    }
}

void feat_put(const Feat *x, uint64_t at, const void *src, size_t len)
{
    x->b->port.write(x->b, at, src, len);
}

void feat_get(const Feat *x, uint64_t at, void *dst, size_t len)
{
    x->b->port.read(x->b, at, dst, len);
}

void feat_pattern(const Feat *x, uint8_t *dst, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        dst[i] = (uint8_t)(i * 7 + i / 256 * 11 + seed * 29 + x->round * 3 + 1);
    }
}

/* What the driver wishes: an interrupt for the next used buffer. */
static void want_interrupt(Feat *x, unsigned q)
{
    const VRing *r = &x->d.ring[q];

    if (!r->packed && feat_has(x, EVENT_IDX)) {
        vport_w16(x->d.port, r->driver + 4 + 2u * r->size, r->used);
    } else if (!r->packed && feat_has(x, NOTIFY_ON_EMPTY)) {
        vport_w16(x->d.port, r->driver, 1);
    }
}

static void expect_interrupt(Feat *x, unsigned q)
{
    if (x->d.msix) {
        g_assert_cmphex(vd_msi(&x->d, 1 + q), ==, 0x4001 + q);
        g_assert_false(x->b->intx[4][0]);
    } else {
        g_assert_true(x->b->intx[4][0]);
        g_assert_cmphex(vd_isr(&x->d) & 1, ==, 1);
        g_assert_false(x->b->intx[4][0]);
    }
}

bool feat_none(Feat *x, unsigned q)
{
    uint32_t id, len;

    return !vring_used(&x->d.ring[q], &id, &len);
}

uint32_t feat_taken(Feat *x, unsigned q, uint32_t want_id)
{
    uint32_t id, len;

    board_run(x->b);
    vd_wait_used(&x->d, q, &id, &len);
    g_assert_cmpuint(id, ==, want_id);
    return len;
}

uint32_t feat_go(Feat *x, unsigned q, const VBuf *buf, unsigned n)
{
    uint64_t table = feat_has(x, INDIRECT) ? x->page + 0xf0000 : 0;
    uint32_t len;

    board_run(x->b);
    (void)(x->d.msix ? vd_msi(&x->d, 1 + q) : vd_isr(&x->d));
    want_interrupt(x, q);
    uint16_t id = vring_add(&x->d.ring[q], buf, n, table);

    vd_kick(&x->d, q);
    len = feat_taken(x, q, id);
    board_run(x->b);
    expect_interrupt(x, q);
    return len;
}

/* rng: bytes come, and not the same ones. */
static void rng_move(Feat *x)
{
    uint8_t a[64], b[64];
    const VBuf buf[] = { { x->page, 40, true }, { x->page + 0x1000, 24, true } };

    g_assert_cmpuint(feat_go(x, 0, buf, 2), ==, 64);
    feat_get(x, x->page, a, 40);
    feat_get(x, x->page + 0x1000, a + 40, 24);
    g_assert_cmpuint(feat_go(x, 0, buf, 2), ==, 64);
    feat_get(x, x->page, b, 40);
    feat_get(x, x->page + 0x1000, b + 40, 24);
    for (unsigned i = 0; i < 64; i += 16) {
        g_assert_true(memcmp(a + i, b + i, 16));
    }
}

static const FeatBit no_bits[] = { { NONE, ALONE, NULL } };

/* console: port 0 both ways, the control queue with MULTIPORT. */
static int host = -1;
enum { SIZE, MULTIPORT, EMERG_WRITE };
static const FeatBit serial_bits[] = {
    { MULTIPORT, ALONE, "control messages; the port opens" },
    { EMERG_WRITE, ALONE, "a byte through configuration space" },
    { NONE, ALONE, NULL },
};

static void serial_up(Feat *x)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), ==, 0);
    g_autofree char *json = g_strdup_printf("{'backend': 'socket', 'id': 'c0', 'fd': '%d'}", sv[0]);
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    g_assert_nonnull(chardev_create(args, NULL));
    host = sv[1];
}

static void serial_added(Feat *x)
{
    board_add(x->b, "{'driver': 'virtconsole', 'chardev': 'c0', 'id': 'con'}");
}

static void serial_down(Feat *x)
{
    chardev_cleanup();
    close(host);
}

static void serial_control(Feat *x)
{
    static const uint8_t ready[8] = { 0, 0, 0, 0, 0, 0, 1 },
                         port_ready[8] = { 0, 0, 0, 0, 3, 0, 1 }, open[8] = { 0, 0, 0, 0, 6, 0, 1 };
    const VBuf out = { x->page + 0x800, 8, false }, in = { x->page + 0x900, 64, true };
    uint8_t got[8];
    uint16_t id = vring_add(&x->d.ring[2], &in, 1, 0);

    vd_kick(&x->d, 2);
    feat_put(x, out.at, ready, 8);
    g_assert_cmpuint(feat_go(x, 3, &out, 1), ==, 0);
    g_assert_cmpuint(feat_taken(x, 2, id), ==, 8);
    feat_get(x, in.at, got, 8);
    g_assert_cmpuint(got[4], ==, 1); /* PORT_ADD */
    feat_put(x, out.at, port_ready, 8);
    g_assert_cmpuint(feat_go(x, 3, &out, 1), ==, 0);
    feat_put(x, out.at, open, 8);
    g_assert_cmpuint(feat_go(x, 3, &out, 1), ==, 0);
}

static void to_host(Feat *x, const uint8_t *want, size_t len)
{
    uint8_t got[512];
    size_t n = 0;

    while (n < len) {
        ssize_t r = read(host, got + n, sizeof got - n);

        n += r > 0 ? (size_t)r : 0;
        board_run(x->b);
    }
    g_assert_cmpmem(got, n, want, len);
}

static void serial_move(Feat *x)
{
    uint8_t text[300], got[300];
    const VBuf out[] = { { x->page, 100, false }, { x->page + 100, 200, false } };
    const VBuf in = { x->page + 0x1000, 400, true };
    uint32_t len = 0;

    if (feat_has(x, MULTIPORT) && !x->round) {
        serial_control(x);
    }
    feat_pattern(x, text, sizeof text, 1);
    feat_put(x, x->page, text, sizeof text);
    g_assert_cmpuint(feat_go(x, 1, out, 2), ==, 0);
    to_host(x, text, sizeof text);
    feat_pattern(x, text, sizeof text, 2);
    g_assert_cmpint(write(host, text, sizeof text), ==, sizeof text);
    while (len < sizeof text) { /* as many buffers as it takes */
        uint16_t id = vring_add(&x->d.ring[0], &in, 1, 0);
        uint32_t n;

        vd_kick(&x->d, 0);
        n = feat_taken(x, 0, id);
        g_assert_cmpuint(len + n, <=, sizeof text);
        feat_get(x, in.at, got + len, n);
        len += n;
    }
    g_assert_cmpmem(got, len, text, sizeof text);
    if (feat_has(x, EMERG_WRITE)) {
        feat_cfg_write(x, 8, 4, 'Q');
        to_host(x, (const uint8_t *)"Q", 1);
    }
}

/* The programmable device echoes. */
static void dummy_move(Feat *x)
{
    uint8_t want[96], got[96];
    const VBuf buf[] = { { x->page, 32, false }, { x->page + 32, 64, false },
        { x->page + 0x1000, 50, true }, { x->page + 0x2000, 46, true } };

    feat_pattern(x, want, sizeof want, 5);
    feat_put(x, x->page, want, sizeof want);
    g_assert_cmpuint(feat_go(x, 0, buf, 4), ==, sizeof want);
    feat_get(x, x->page + 0x1000, got, 50);
    feat_get(x, x->page + 0x2000, got + 50, 46);
    g_assert_cmpmem(got, sizeof got, want, sizeof want);
}

#define EVERY                                                                                      \
    "'packed': true, 'in_order': true, 'x-notification-data': true, 'x-notif-config-data': true,"  \
    " 'x-suspend': true"
const FeatType feat_types[] = {
    { "virtio-rng", NULL, EVERY, NULL, NULL, rng_move, NULL, no_bits },
    { "virtio-serial", NULL, EVERY ", 'id': 's', 'max_ports': 2", serial_up, serial_added,
        serial_move, serial_down, serial_bits },
    { "virtio-blk", NULL, EVERY ", 'drive': 'd', 'num-queues': 2", feat_blk_up, NULL, feat_blk_move,
        feat_blk_down, feat_blk_bits },
    { "virtio-blk", "read-only", EVERY ", 'drive': 'd', 'num-queues': 2", feat_blk_up, NULL,
        feat_blk_ro_move, feat_blk_down, feat_blk_ro_bits },
    { "virtio-net", NULL,
        EVERY ", 'netdev': 'n0', 'romfile': '', 'mac': '52:54:00:aa:bb:cc', 'host_mtu': 1400,"
              " 'speed': 1000, 'duplex': 'full', 'mq': true, 'rss': true, 'hash': true,"
              " 'x-notf-coal': true, 'x-vq-notf-coal': true, 'guest_rsc_ext': true,"
              " 'x-host_tunnel': true, 'x-host_tunnel_csum': true, 'x-guest_tunnel': true,"
              " 'x-guest_tunnel_csum': true",
        feat_net_up, NULL, feat_net_move, feat_net_down, feat_net_bits },
    { "virtio-balloon", NULL, EVERY ", 'free-page-reporting': true, 'deflate-on-oom': true", NULL,
        NULL, feat_balloon_move, NULL, feat_balloon_bits },
    { "virtio-scsi", NULL, EVERY ", 'id': 's'", feat_blk_up, feat_scsi_added, feat_scsi_move,
        feat_blk_down, feat_scsi_bits },
    { "virtio-vsock", NULL, EVERY ", 'guest-cid': 3, 'x-path': 'v'", feat_vsock_up, NULL,
        feat_vsock_move, feat_vsock_down, feat_vsock_bits, true },
    { "virtio-keyboard", NULL, EVERY, NULL, NULL, feat_keyboard_move, NULL, feat_input_bits, true },
    { "virtio-mouse", NULL, EVERY, NULL, NULL, feat_mouse_move, NULL, feat_input_bits, true },
    { "virtio-tablet", NULL, EVERY, NULL, NULL, feat_tablet_move, NULL, feat_input_bits, true },
    { "virtio-multitouch", NULL, EVERY, NULL, NULL, feat_multitouch_move, NULL, feat_input_bits,
        true },
    { "virtio-gpu", NULL, EVERY ", 'blob': true", NULL, NULL, feat_gpu_move, NULL, feat_gpu_bits,
        true },
    { "dummy", NULL, EVERY, NULL, NULL, dummy_move, NULL, no_bits },
};
enum { NTYPES = 14 };

/* The table. */
static const FeatBit *row_of(const FeatType *t, unsigned bit)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (const FeatBit *b = pass ? transport_bits : t->bits; b->bit != NONE; b++) {
            if (b->bit == bit) {
                return b;
            }
        }
    }
    return NULL;
}

/* The bit and all that it needs; alt: which of two where there is a choice. *ret_choice: there was.
 */
static FeatSet closure(const FeatType *t, unsigned bit, unsigned alt, bool *ret_choice)
{
    FeatSet f = FEAT(bit);

    for (const FeatBit *b = row_of(t, bit); b->bit == bit; b++) {
        if (b->one_of[0] != NONE) {
            *ret_choice |= b->one_of[0] != b->one_of[1];
            f |= closure(t, b->one_of[alt], alt, ret_choice);
        }
    }
    return f;
}

static void reset_rings(Feat *x)
{
    for (unsigned q = 0; q < vd_read(&x->d, 0x12, 2) && q < VD_QUEUES; q++) {
        vd_write(&x->d, 0x16, 2, q);
        vd_write(&x->d, 0x3a, 2, 1);
        board_run(x->b);
        g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
        g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
        vd_setup_queue(&x->d, q, 0);
    }
}

static void one(Feat *x, const char *name, FeatSet f, bool msix)
{
    VDriver *d = &x->d;
    unsigned n;

    if (g_test_verbose()) {
        g_test_message("%s %016" G_GINT64_MODIFIER "x%016" G_GINT64_MODIFIER "x %s", name,
            (uint64_t)(f >> 64), (uint64_t)f, msix ? "MSI-X" : "INTx");
    }
    d->alloc = 0x100000;
    x->page = vd_page(d, 1 << 20);
    d->msix = false;
    if (msix) {
        vd_enable_msix(d);
    } else {
        vd_cfg_write(d->port, 0, DEVFN, d->cap_msix + 2, 2, 0);
    }
    d->features_more = (uint64_t)(f >> 64);
    g_assert_true(vd_negotiate(d, (uint64_t)f));
    x->f = f & ~FEAT(BAD_FEATURE);
    if (msix && d->legacy) {
        d->port->store(d->port->opaque, true, d->bar[0] + 0x14, 2, 0);
    } else if (msix) {
        vd_write(d, 0x10, 2, 0);
    }
    n = d->legacy ? VD_QUEUES : (unsigned)vd_read(d, 0x12, 2);
    for (unsigned q = 0; q < n && q < VD_QUEUES; q++) {
        if (!d->legacy || virtio_queue_max(((VirtioPci *)x->dev)->vd, q)) {
            vd_setup_queue(d, q, 0);
        }
    }
    vd_driver_ok(d);
    board_run(x->b);
    x->round = 0;
    x->t->move(x);
    if (feat_has(x, SUSPEND)) { /* 3.4 */
        x->round = 1;
        vd_set_status(d, 15 | 16);
        board_run(x->b);
        g_assert_cmphex(vd_status(d), ==, 11 | 16);
        vd_set_status(d, 15);
        g_assert_cmphex(vd_status(d), ==, 15);
        x->t->move(x);
    }
    if (feat_has(x, RING_RESET)) {
        x->round = 1;
        reset_rings(x);
        x->t->move(x);
    }
    g_assert_cmphex(vd_status(d), ==, d->legacy ? 7 : 15);
    vd_set_status(d, 0);
    board_run(x->b);
    g_assert_cmphex(vd_status(d), ==, 0);
    moved++;
}

/* One set of bits over both rings and both kinds of interrupt. */
static void each_way(Feat *x, const Column *c, FeatSet f, FeatSet offered)
{
    for (unsigned packed = 0; packed < (offered >> PACKED & 1 ? 2 : 1); packed++) {
        for (unsigned msix = 0; msix < 2; msix++) {
            one(x, c->name, f | (FeatSet)packed << PACKED, msix);
        }
    }
}

static void open_row(Feat *x, const FeatType *t, const Column *c)
{
    g_autofree char *json = g_strdup_printf(
        "{'driver': '%s-pci', 'addr': '4', 'vectors': 8, %s, %s}", t->base, t->opts, c->opts);

    *x = (Feat){ .t = t };
    if (t->up) {
        t->up(x);
    }
    x->b = board_new(false);
    x->dev = board_add(x->b, json);
    if (t->added) {
        t->added(x);
    }
    vd_open(&x->d, &x->b->port, 0, DEVFN, c->legacy);
}

static void test_row(const void *data)
{
    const FeatType *t = &feat_types[GPOINTER_TO_UINT(data) / G_N_ELEMENTS(columns)];
    const Column *c = &columns[GPOINTER_TO_UINT(data) % G_N_ELEMENTS(columns)];
    FeatSet offered, always;
    unsigned before = moved;
    Feat x;

    open_row(&x, t, c);
    offered = vd_offered(&x.d) | (FeatSet)vd_offered_more(&x.d) << 64;
    always = offered & (FEAT(VERSION_1) | FEAT(ACCESS_PLATFORM));
    each_way(&x, c, always, offered);
    for (unsigned bit = 0; bit < FEAT_BITS; bit++) {
        if (!(offered >> bit & 1) || bit == PACKED || always >> bit & 1) {
            continue;
        }
        if (!row_of(t, bit)) {
            g_error("%s offers bit %u, and nothing here moves data with it", t->base, bit);
        }
        bool choice = false;

        for (unsigned alt = 0; alt < (choice ? 2 : 1); alt++) {
            FeatSet f = closure(t, bit, alt, &choice);

            if (f & ~offered) { /* 2.2.2: what is offered must be acceptable */
                g_error("%s offers bit %u, but not all that it needs", t->base, bit);
            }
            each_way(&x, c, f | always, offered);
        }
    }
    each_way(&x, c, offered & ~FEAT(PACKED), offered);
    g_test_message("%u combinations", moved - before);
    board_free(x.b);
    if (t->down) {
        t->down(&x);
    }
}

static bool has_row(const char *base)
{
    for (unsigned t = 0; t < NTYPES; t++) {
        if (!strcmp(feat_types[t].base, base)) {
            return true;
        }
    }
    return false;
}

/* Every type in the emulator's own table (FEATURES_TYPE_TABLE names its source) has its row: a new
 * device does not slip by. */
static void test_every_type(void)
{
    const char *path = g_getenv("FEATURES_TYPE_TABLE");
    g_autofree char *text = NULL;
    g_autoptr(GRegex) re = g_regex_new("&(virtio_\\w+?)_pci_class\\b", 0, 0, NULL);
    g_autoptr(GMatchInfo) m = NULL;
    unsigned n = 0;

    if (!path) {
        g_test_skip("FEATURES_TYPE_TABLE is not set");
        return;
    }
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    for (g_regex_match(re, text, 0, &m); g_match_info_matches(m); g_match_info_next(m, NULL)) {
        g_autofree char *name = g_match_info_fetch(m, 1);
        g_autofree char *base = g_strdelimit(g_strdup(name), "_", '-');

        n++;
        /* It needs an evdev; its data path is that of the other input devices. */
        if (strcmp(base, "virtio-input-host") && !has_row(base)) {
            g_test_message("%s has no row in tests/features", base);
            g_test_fail();
        }
    }
    g_assert_cmpuint(n, >=, 4);
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_assert_cmpuint(G_N_ELEMENTS(feat_types), ==, NTYPES);
    g_test_add_func("/features/every-type", test_every_type);
    for (unsigned i = 0; i < NTYPES * G_N_ELEMENTS(columns); i++) {
        const FeatType *t = &feat_types[i / G_N_ELEMENTS(columns)];
        g_autofree char *path =
            g_strdup_printf("/features/%s%s%s/%s", t->base, t->variant ? "-" : "",
                t->variant ? t->variant : "", columns[i % G_N_ELEMENTS(columns)].name);

        if (!t->modern_only || !strcmp(columns[i % G_N_ELEMENTS(columns)].name, "modern")) {
            g_test_add_data_func(path, GUINT_TO_POINTER(i), test_row);
        }
    }
    rc = g_test_run();
    g_printerr("# %u combinations moved data\n", moved);
    return rc;
}
