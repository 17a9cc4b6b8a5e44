/* virtio over PCI: identity, BARs, capabilities, interrupts, doorbells, window; and virtio-rng
 * through all of it. */
#include "tests/lib/board.h"
#include "tests/lib/fakes.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"
#include "util/timer.h"

#include <string.h>

enum { DEVFN = 4 << 3 };

static uint32_t rd(const Board *b, unsigned reg, unsigned size)
{
    return vd_cfg_read(&b->port, 0, DEVFN, reg, size);
}

static Board *with(const char *opts)
{
    Board *b = board_new(false);
    g_autofree char *json = g_strdup_printf("{'driver': %s, 'addr': '4'}", opts);

    board_add(b, json);
    return b;
}

/* "98:11 84:09/5 …": the list in its order. */
static char *caps(const Board *b)
{
    GString *s = g_string_new(NULL);

    for (unsigned c = rd(b, 0x34, 1); c; c = rd(b, c + 1, 1)) {
        g_string_append_printf(s, "%s%02x:%02x", s->len ? " " : "", c, rd(b, c, 1));
        if (rd(b, c, 1) == 9) {
            g_string_append_printf(s, "/%u", rd(b, c + 3, 1));
        }
    }
    return g_string_free(s, FALSE);
}

static char *sizes(const Board *b)
{
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < 6; i++) {
        vd_cfg_write(&b->port, 0, DEVFN, 0x10 + 4 * i, 4, UINT32_MAX);
        g_string_append_printf(s, "%s%08x", i ? " " : "", rd(b, 0x10 + 4 * i, 4));
    }
    return g_string_free(s, FALSE);
}

/* As observed on QEMU 10.0. */
static void layout(const char *opts, uint32_t id, uint32_t sub, uint8_t rev, const char *want_bars,
    const char *want_caps)
{
    Board *b = with(opts);
    g_autofree char *c = caps(b), *s = sizes(b);

    g_assert_cmphex(rd(b, 0, 4), ==, id);
    g_assert_cmphex(rd(b, 0x2c, 4), ==, sub);
    g_assert_cmphex(rd(b, 8, 1), ==, rev);
    g_assert_cmphex(rd(b, 9, 2), ==, 0xff00);
    g_assert_cmpstr(s, ==, want_bars);
    g_assert_cmpstr(c, ==, want_caps);
    board_free(b);
}

static void test_layout(void)
{
    layout("'virtio-rng-pci'", 0x10051af4, 0x00041af4, 0,
        "ffffffe1 fffff000 00000000 00000000 ffffc00c ffffffff",
        "98:11 84:09/5 70:09/2 60:09/4 50:09/3 40:09/1");
    layout("'virtio-rng-pci-transitional'", 0x10051af4, 0x00041af4, 0,
        "ffffffe1 fffff000 00000000 00000000 ffffc00c ffffffff",
        "98:11 84:09/5 70:09/2 60:09/4 50:09/3 40:09/1");
    layout("'virtio-rng-pci-non-transitional'", 0x10441af4, 0x11001af4, 1,
        "00000000 fffff000 00000000 00000000 ffffc00c ffffffff",
        "98:11 84:09/5 70:09/2 60:09/4 50:09/3 40:09/1");
    layout("'virtio-rng-pci', 'disable-modern': true", 0x10051af4, 0x00041af4, 0,
        "ffffffe1 fffff000 00000000 00000000 00000000 00000000", "40:11");
    layout("'virtio-rng-pci', 'vectors': 0", 0x10051af4, 0x00041af4, 0,
        "ffffffe1 00000000 00000000 00000000 ffffc00c ffffffff",
        "84:09/5 70:09/2 60:09/4 50:09/3 40:09/1");
    layout("'virtio-rng-pci', 'page-per-vq': true", 0x10051af4, 0x00041af4, 0,
        "ffffffe1 fffff000 00000000 00000000 ff80000c ffffffff",
        "98:11 84:09/5 70:09/2 60:09/4 50:09/3 40:09/1");
    layout("'virtio-rng-pci', 'modern-pio-notify': true", 0x10051af4, 0x00041af4, 0,
        "ffffffe1 fffff000 fffffffd 00000000 ffffc00c ffffffff",
        "ac:11 98:09/5 84:09/2 70:09/2 60:09/4 50:09/3 40:09/1");
    layout("'virtio-rng-pci', 'vectors': 2048", 0x10051af4, 0x00041af4, 0,
        "ffffffe1 ffff0000 00000000 00000000 ffffc00c ffffffff",
        "98:11 84:09/5 70:09/2 60:09/4 50:09/3 40:09/1");
}

static void test_errors(void)
{
    static const char *const cases[][2] = {
        { "'virtio-rng-pci', 'disable-legacy': 'on', 'disable-modern': true",
            "device cannot work as neither modern nor legacy mode is enabled\nSet either "
            "disable-modern or disable-legacy to off" },
        { "'virtio-rng-pci', 'iommu_platform': true",
            "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device" },
        { "'virtio-rng-pci', 'rng': 'foo'", "Device 'foo' not found" },
        { "'virtio-rng-pci', 'max-bytes': 0",
            "'max-bytes' parameter must be positive, and less than 2^63" },
        { "'virtio-rng-pci', 'period': 0", "'period' parameter expects a positive integer" },
    };
    Board *b = board_new(false);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *json = g_strdup_printf("{'driver': %s}", cases[i][0]);
        g_autofree char *got = board_add_error(b, json);

        g_assert_true(g_str_has_prefix(cases[i][1], got) || g_str_has_prefix(got, cases[i][1]));
    }
    board_free(b);
}

/* One request through every way to drive the device. */
static void rng_round(Board *b, bool legacy, bool msix)
{
    VDriver d;
    uint64_t page;
    uint8_t got[256] = { 0 }, zero[256] = { 0 };
    uint32_t id, len;

    vd_open(&d, &b->port, 0, DEVFN, legacy);
    if (msix) {
        vd_enable_msix(&d);
    }
    vd_start(&d, 0);
    page = vd_page(&d, 4096);
    for (unsigned i = 0; i < 20; i++) {
        const VBuf buf[] = { { page, 40, true }, { page + 0x100, 24, true } };
        uint16_t head = vring_add(&d.ring[0], buf, 2, i % 2 && !legacy ? page + 0x800 : 0);

        vd_kick(&d, 0);
        vd_wait_used(&d, 0, &id, &len);
        g_assert_cmpuint(id, ==, head);
        g_assert_cmpuint(len, ==, 64);
        if (msix) {
            g_assert_cmphex(vd_msi(&d, 1), ==, 0x4001);
            g_assert_false(b->intx[4][0]);
        } else {
            g_assert_true(b->intx[4][0]);
            g_assert_cmphex(rd(b, 6, 2) & 8, ==, 8);
            g_assert_cmphex(vd_isr(&d), ==, 1);
            g_assert_false(b->intx[4][0]);
            g_assert_cmphex(vd_isr(&d), ==, 0);
        }
        /* Each interrupt is wanted. */
        if (d.features >> 29 & 1 && !d.ring[0].packed) {
            vport_w16(&b->port, d.ring[0].driver + 4 + d.ring[0].size * 2u, d.ring[0].used);
        }
    }
    b->port.read(b, page, got, 40);
    g_assert_cmpint(memcmp(got, zero, 40), !=, 0);
    vd_set_status(&d, 0);
    g_assert_cmphex(vd_status(&d), ==, 0);
}

static void test_rng(void)
{
    static const char *const opts[] = { "'virtio-rng-pci'", "'virtio-rng-pci', 'packed': true",
        "'virtio-rng-pci', 'event_idx': false", "'virtio-rng-pci', 'page-per-vq': true",
        "'virtio-rng-pci', 'in_order': true, 'ioeventfd': false" };

    for (unsigned i = 0; i < G_N_ELEMENTS(opts); i++) {
        Board *b = with(opts[i]);

        rng_round(b, false, false);
        rng_round(b, false, true);
        vd_cfg_write(&b->port, 0, DEVFN, 0x9a, 2, 0);
        rng_round(b, true, false);
        rng_round(b, true, true);
        board_free(b);
    }
}

static void test_rng_without_buffer(void)
{
    Board *b = with("'virtio-rng-pci'");
    VDriver d;
    const VBuf buf = { 0x200000, 8, false };

    vd_open(&d, &b->port, 0, DEVFN, false);
    vd_start(&d, 0);
    vring_add(&d.ring[0], &buf, 1, 0);
    vd_kick(&d, 0);
    board_run(b);
    g_assert_cmphex(vd_status(&d), ==, 0x4f);
    board_free(b);
}

static void test_rng_rate(void)
{
    Board *b = with("'virtio-rng-pci', 'max-bytes': 10, 'period': 1000");
    VDriver d;
    const VBuf buf = { 0x200000, 64, true };
    uint32_t id, len;

    vd_open(&d, &b->port, 0, DEVFN, false);
    vd_start(&d, 0);
    vring_add(&d.ring[0], &buf, 1, 0);
    vring_add(&d.ring[0], &buf, 1, 0);
    vd_kick(&d, 0);
    vd_wait_used(&d, 0, &id, &len);
    g_assert_cmpuint(len, ==, 10);
    board_run(b);
    g_assert_false(vring_used(&d.ring[0], &id, &len));
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + 999000000);
    board_run(b);
    g_assert_false(vring_used(&d.ring[0], &id, &len));
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + 2000000);
    vd_wait_used(&d, 0, &id, &len);
    g_assert_cmpuint(len, ==, 10);
    board_free(b);
}

/* 4.1.5.1.2: a vector that does not exist reads back as NO_VECTOR, and nothing is sent. */
static void test_no_vector(void)
{
    Board *b = with("'dummy-pci'");
    VDriver d;

    vd_open(&d, &b->port, 0, DEVFN, false);
    vd_enable_msix(&d);
    vd_write(&d, 0x10, 2, 3);
    g_assert_cmphex(vd_read(&d, 0x10, 2), ==, 0xffff);
    vd_write(&d, 0x10, 2, 2);
    g_assert_cmphex(vd_read(&d, 0x10, 2), ==, 2);
    vd_write(&d, 0x10, 2, 0xffff);
    g_assert_cmphex(vd_read(&d, 0x10, 2), ==, 0xffff);
    vd_write(&d, 0x1a, 2, 9);
    g_assert_cmphex(vd_read(&d, 0x1a, 2), ==, 0xffff);
    vd_write(&d, 0x1a, 2, 1);
    vd_set_status(&d, 0);
    g_assert_cmphex(vd_read(&d, 0x1a, 2), ==, 0xffff);
    board_free(b);
}

/* What a vCPU reads without the VM lock; -1: it has to take it. */
static int64_t peek(const Dummy *s, uint64_t off, unsigned size)
{
    VirtioPci *p = virtio_pci_of(&s->vd);
    uint64_t v;

    return p->device.ops->peek(p, off, size, &v) ? (int64_t)v : -1;
}

/* Configuration is answered from a copy until something has changed: then nobody sees the old. */
static void test_config_copy(void)
{
    Board *b = with("'dummy-pci'");
    VDriver d;
    Dummy *s = dummy_of(&b->bus.fn[DEVFN]->dev);

    memcpy(s->config, "abcdefgh", 8);
    vd_open(&d, &b->port, 0, DEVFN, false);
    g_assert_cmpint(peek(s, 0, 1), ==, -1); /* nobody has read it yet */
    g_assert_cmphex(b->port.load(b, false, d.device, 4), ==, 0x64636261);
    g_assert_cmphex(peek(s, 0, 4), ==, 0x64636261);
    g_assert_cmphex(peek(s, 3, 2), ==, 0x6564);
    g_assert_cmphex(peek(s, 7, 1), ==, 'h');
    g_assert_cmpint(peek(s, 7, 2), ==, -1); /* past the end */
    g_assert_cmpint(peek(s, 8, 1), ==, -1);
    g_assert_cmpint(peek(s, 4000, 1), ==, -1);
    /* By the device: at once, and the generation counts it once, since somebody had read. */
    uint32_t gen = vd_read(&d, 0x15, 1);

    s->config[0] = 'A';
    virtio_config_changed(&s->vd);
    g_assert_cmpint(peek(s, 0, 1), ==, -1);
    g_assert_cmphex(vd_read(&d, 0x15, 1), ==, (gen + 1) & 0xff);
    s->config[0] = 'B';
    virtio_config_changed(&s->vd);
    g_assert_cmphex(vd_read(&d, 0x15, 1), ==, (gen + 1) & 0xff); /* nobody saw the one between */
    g_assert_cmphex(b->port.load(b, false, d.device, 1), ==, 'B');
    g_assert_cmphex(peek(s, 0, 1), ==, 'B');
    s->config[0] = 'C';
    virtio_config_changed(&s->vd);
    g_assert_cmphex(vd_read(&d, 0x15, 1), ==, (gen + 2) & 0xff); /* a peek is a read */
    /* By the driver. */
    g_assert_cmphex(b->port.load(b, false, d.device, 1), ==, 'C');
    b->port.store(b, false, d.device, 1, 'D');
    g_assert_cmpint(peek(s, 0, 1), ==, -1);
    g_assert_cmphex(b->port.load(b, false, d.device, 1), ==, 'D');
    /* By a reset. */
    s->config[0] = 'E';
    vd_set_status(&d, 0);
    g_assert_cmpint(peek(s, 0, 1), ==, -1);
    g_assert_cmphex(b->port.load(b, false, d.device, 1), ==, 'E');
    board_free(b);
}

typedef struct Reader {
    const Dummy *s;
    _Atomic bool stop;
    unsigned hits;
} Reader;

static gpointer read_on(gpointer opaque)
{
    Reader *r = opaque;

    while (!r->stop || !r->hits) {
        int64_t v = peek(r->s, 2, 4);

        g_assert_true(v == -1 || (v & 0xff) * 0x01010101 == v);
        r->hits += v != -1;
    }
    return NULL;
}

/* A vCPU reads while another makes the next copy: all of it is old, or new. */
static void test_config_torn(void)
{
    Board *b = with("'dummy-pci'");
    VDriver d;
    Reader r = { .s = dummy_of(&b->bus.fn[DEVFN]->dev) };
    Dummy *s = dummy_of(&b->bus.fn[DEVFN]->dev);

    vd_open(&d, &b->port, 0, DEVFN, false);
    GThread *t = g_thread_new("vcpu", read_on, &r);

    for (unsigned i = 0; i < 20000; i++) {
        memset(s->config, (int)i, 8);
        virtio_config_changed(&s->vd);
        g_assert_cmphex(b->port.load(b, false, d.device, 4), ==, (i & 0xff) * 0x01010101u);
    }
    r.stop = true;
    g_thread_join(t);
    board_free(b);
}

static void test_legacy_layout(void)
{
    Board *b = with("'dummy-pci'");
    VDriver d;
    Dummy *s = dummy_of(&b->bus.fn[DEVFN]->dev);

    memcpy(s->config, "abcdefgh", 8);
    vd_open(&d, &b->port, 0, DEVFN, true);
    g_assert_cmphex(b->port.load(b, true, d.bar[0] + 20, 1), ==, 'a');
    g_assert_cmphex(b->port.load(b, true, d.bar[0] + 0x0c, 2), ==, 16);
    vd_enable_msix(&d);
    g_assert_cmphex(b->port.load(b, true, d.bar[0] + 20, 2), ==, 0xffff); /* config_msix_vector */
    g_assert_cmphex(b->port.load(b, true, d.bar[0] + 24, 1), ==, 'a');
    b->port.store(b, true, d.bar[0] + 24, 1, 'z');
    g_assert_cmphex(s->config[0], ==, 'z');
    b->port.store(b, true, d.bar[0] + 0x0e, 2, 2); /* a queue that is not there */
    b->port.store(b, true, d.bar[0] + 8, 4, 1);
    g_assert_cmphex(b->port.load(b, true, d.bar[0] + 0x0c, 2), ==, 0);
    board_free(b);
}

/* 4.1.4.9 */
static void test_window(void)
{
    Board *b = with("'dummy-pci'");
    VDriver d;
    unsigned cap;

    vd_open(&d, &b->port, 0, DEVFN, false);
    cap = d.cap_pci_cfg;
    vd_cfg_write(&b->port, 0, DEVFN, cap + 4, 1, 4);
    vd_cfg_write(&b->port, 0, DEVFN, cap + 8, 4, 0x12);
    vd_cfg_write(&b->port, 0, DEVFN, cap + 12, 4, 2);
    g_assert_cmphex(rd(b, cap + 16, 2), ==, 2); /* num_queues */
    vd_cfg_write(&b->port, 0, DEVFN, cap + 8, 4, 0x14);
    vd_cfg_write(&b->port, 0, DEVFN, cap + 12, 4, 1);
    vd_cfg_write(&b->port, 0, DEVFN, cap + 16, 1, 3);
    g_assert_cmphex(vd_status(&d), ==, 3);
    g_assert_cmphex(rd(b, cap + 16, 1), ==, 3);
    static const uint32_t wild[][3] = { { 0, 0, 4 }, { 255, 0, 4 }, { 4, 0x4000, 4 },
        { 4, 0xfffffffc, 4 }, { 4, 1, 2 }, { 4, 0, 3 }, { 4, 0, 0 }, { 4, 0, UINT32_MAX },
        { 1, 0, 4 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(wild); i++) {
        vd_cfg_write(&b->port, 0, DEVFN, cap + 4, 1, wild[i][0]);
        vd_cfg_write(&b->port, 0, DEVFN, cap + 8, 4, wild[i][1]);
        vd_cfg_write(&b->port, 0, DEVFN, cap + 12, 4, wild[i][2]);
        rd(b, cap + 16, 4);
        rd(b, cap + 13, 2);
        vd_cfg_write(&b->port, 0, DEVFN, cap + 16, 4, UINT32_MAX);
    }
    g_assert_cmphex(vd_status(&d), ==, 3);
    board_free(b);
}

static void test_doorbells(void)
{
    Board *b = with("'dummy-pci'");
    Dummy *s = dummy_of(&b->bus.fn[DEVFN]->dev);
    VDriver d;
    uint64_t page;
    uint32_t id, len;

    b->m->accel = (Accel *)&fake_accel;
    vd_open(&d, &b->port, 0, DEVFN, false);
    vd_start(&d, 0);
    board_run(b);
    g_assert_cmpuint(fake_accel.n, ==, 4); /* two queues, modern and legacy */
    page = vd_page(&d, 4096);
    const VBuf buf[] = { { page, 4, false }, { page + 64, 4, true } };

    vring_add(&d.ring[0], buf, 2, 0);
    g_assert_true(fake_ring(d.notify, 0));
    vd_wait_used(&d, 0, &id, &len);
    g_assert_cmpuint(s->requests, ==, 1);
    g_assert_false(fake_ring(d.bar[0] + 0x10, 7));
    vd_cfg_write(&b->port, 0, DEVFN, 0x20, 4, 0xf0000000);
    g_assert_false(fake_ring(d.notify, 0));
    g_assert_true(fake_ring(0xf0003000, 0));
    vd_cfg_write(&b->port, 0, DEVFN, 4, 2, 4);
    g_assert_cmpuint(fake_accel.n, ==, 0);
    vd_cfg_write(&b->port, 0, DEVFN, 4, 2, 3); /* no bus master: nothing could be read */
    g_assert_cmpuint(fake_accel.n, ==, 0);
    vd_cfg_write(&b->port, 0, DEVFN, 4, 2, 6); /* memory alone */
    g_assert_cmpuint(fake_accel.n, ==, 2);
    vd_cfg_write(&b->port, 0, DEVFN, 4, 2, 5); /* ports alone */
    g_assert_cmpuint(fake_accel.n, ==, 2);
    vd_cfg_write(&b->port, 0, DEVFN, 4, 2, 7);
    g_assert_cmpuint(fake_accel.n, ==, 4);
    pci_fn_reset(&b->bus.fn[DEVFN]->dev.obj);
    g_assert_cmpuint(fake_accel.n, ==, 0);
    b->m->accel = NULL;
    board_free(b);
}

/* 2.9: kicks of four bytes, whose upper half says where the ring ends. */
static void test_notification_data(void)
{
    Board *b = with("'dummy-pci', 'x-notification-data': true, 'x-notif-config-data': true");
    VDriver d;
    uint32_t id, len;

    b->m->accel = (Accel *)&fake_accel;
    vd_open(&d, &b->port, 0, DEVFN, false);
    vd_write(&d, 0x16, 2, 1);
    g_assert_cmphex(vd_read(&d, 0x38, 2), ==, 0);
    vd_start(&d, 0);
    vd_write(&d, 0x16, 2, 1);
    g_assert_cmphex(vd_read(&d, 0x38, 2), ==, 1);
    g_assert_cmpuint(fake_accel.n, ==, 2);            /* none that would have to match a value */
    g_assert_cmpuint(fake_accel.bell[0].size, ==, 0); /* any width */
    g_assert_false(fake_accel.bell[0].has_match);
    uint64_t page = vd_page(&d, 4096);
    const VBuf buf[] = { { page, 4, false }, { page + 64, 4, true } };

    vring_add(&d.ring[0], buf, 2, 0);
    g_assert_true(fake_ring(d.notify, 1 << 16));
    vd_wait_used(&d, 0, &id, &len);
    vring_add(&d.ring[0], buf, 2, 0);
    vd_kick(&d, 0); /* as an access */
    vd_wait_used(&d, 0, &id, &len);
    pci_fn_reset(&b->bus.fn[DEVFN]->dev.obj);
    b->m->accel = NULL;
    board_free(b);
}

static VqVerdict hold(Dummy *s, VqElem *e)
{
    g_ptr_array_add(s->held, e);
    return VQ_HELD;
}

/* C9: unplug and function reset with chains in flight. */
static void test_reset_and_unplug_in_flight(void)
{
    Board *b = with("'dummy-pci'");
    PciFn *f = b->bus.fn[DEVFN];
    Dummy *s = dummy_of(&f->dev);
    const VBuf buf = { 0x200000, 8, true };
    VDriver d;

    for (unsigned i = 0; i < 2; i++) {
        vd_open(&d, &b->port, 0, DEVFN, false);
        vd_start(&d, 0);
        s->on_request = hold;
        vring_add(&d.ring[0], &buf, 1, 0);
        vd_kick(&d, 0);
        board_run(b);
        g_assert_cmpuint(s->held->len, ==, 1);
        if (!i) {
            pci_fn_reset(&f->dev.obj);
            g_assert_cmphex(rd(b, 4, 2), ==, 0);
        }
    }
    vd_kick(&d, 0); /* a kick on its way while the device goes */
    dev_unplug_done(b->m, &f->dev);
    board_run(b);
    g_assert_cmphex(rd(b, 0, 4), ==, UINT32_MAX);
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    clock_virtual_use_qtest();
    g_test_add_func("/virtio-pci/layout", test_layout);
    g_test_add_func("/virtio-pci/errors", test_errors);
    g_test_add_func("/virtio-pci/no-vector", test_no_vector);
    g_test_add_func("/virtio-pci/legacy-registers", test_legacy_layout);
    g_test_add_func("/virtio-pci/config-window", test_window);
    g_test_add_func("/virtio-pci/config-copy", test_config_copy);
    g_test_add_func("/virtio-pci/config-torn", test_config_torn);
    g_test_add_func("/virtio-pci/doorbells", test_doorbells);
    g_test_add_func("/virtio-pci/notification-data", test_notification_data);
    g_test_add_func("/virtio-pci/reset-and-unplug-in-flight", test_reset_and_unplug_in_flight);
    g_test_add_func("/virtio-rng/all-ways", test_rng);
    g_test_add_func("/virtio-rng/no-writable-buffer", test_rng_without_buffer);
    g_test_add_func("/virtio-rng/rate-limit", test_rng_rate);
    return g_test_run();
}
