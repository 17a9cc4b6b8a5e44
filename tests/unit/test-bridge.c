/* Root ports and bridges: windows, routing, interrupts, what devices look like behind them;
 * query-pci and info pci. */
#include "hw/pci/bridge.h"
#include "object/qmp.h"
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"

#include <string.h>

enum { PORT = 2 << 3 };

static uint32_t rd(const Board *b, unsigned bus, unsigned devfn, unsigned reg, unsigned size)
{
    return vd_cfg_read(&b->port, bus, devfn, reg, size);
}

static void wr(
    const Board *b, unsigned bus, unsigned devfn, unsigned reg, unsigned size, uint32_t v)
{
    vd_cfg_write(&b->port, bus, devfn, reg, size, v);
}

/* Bus 1 behind 00:02.0 with I/O c000-cfff, memory e0000000-e01fffff. */
static void program(const Board *b)
{
    wr(b, 0, PORT, 0x18, 4, 0x00010100);
    wr(b, 0, PORT, 0x1c, 2, 0xc0c0);
    wr(b, 0, PORT, 0x20, 4, 0xe010e000);
    wr(b, 0, PORT, 4, 2, 7);
}

static Board *with_port(const char *dev)
{
    Board *b = board_new(true);

    board_add(b, "{'driver': 'pcie-root-port', 'id': 'rp', 'addr': '2'}");
    board_add(b, dev);
    program(b);
    return b;
}

static char *caps(const Board *b, unsigned bus, unsigned devfn)
{
    GString *s = g_string_new(NULL);

    for (unsigned c = rd(b, bus, devfn, 0x34, 1); c; c = rd(b, bus, devfn, c + 1, 1)) {
        g_string_append_printf(s, "%s%02x:%02x", s->len ? " " : "", c, rd(b, bus, devfn, c, 1));
    }
    return g_string_free(s, FALSE);
}

/* As observed on QEMU 10.0. */
static void test_port_registers(void)
{
    Board *b = board_new(true);
    g_autofree char *c = NULL;

    board_add(b, "{'driver': 'pcie-root-port', 'id': 'rp', 'addr': '2'}");
    c = caps(b, 0, PORT);
    g_assert_cmpstr(c, ==, "54:10 48:11 40:0d");
    g_assert_cmphex(rd(b, 0, PORT, 0, 4), ==, 0x000c1b36);
    g_assert_cmphex(rd(b, 0, PORT, 0x0c, 4), ==, 0x00010000);
    g_assert_cmphex(rd(b, 0, PORT, 0x1c, 4), ==, 0x000000f0);
    g_assert_cmphex(rd(b, 0, PORT, 0x20, 4), ==, 0x0000fff0);
    g_assert_cmphex(rd(b, 0, PORT, 0x24, 4), ==, 0x0001fff1);
    g_assert_cmphex(rd(b, 0, PORT, 0x54, 4), ==, 0x01424810);
    g_assert_cmphex(rd(b, 0, PORT, 0x68, 4), ==, 0x0002007b);
    board_free(b);
}

/* Registers of 54h-90h and behind them, one by one as QEMU 10.0 shows them. */
static void expect_regs(const char *opts, unsigned from, const uint32_t *want, unsigned n)
{
    Board *b = board_new(true);
    g_autofree char *json =
        g_strdup_printf("{'driver': 'pcie-root-port', 'id': 'rp', 'addr': '2'%s}", opts);

    board_add(b, json);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(rd(b, 0, PORT, from + 4 * i, 4), ==, want[i]);
    }
    board_free(b);
}

#define EXPECT_REGS(opts, from, ...)                                                               \
    expect_regs(opts, from, (const uint32_t[]){ __VA_ARGS__ },                                     \
        sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)

static void test_link(void)
{
    EXPECT_REGS("", 0x60, 0x00300604, 0x02040000, 0x0002007b, 0x000007c0);
    EXPECT_REGS(", 'x-speed': '2_5', 'x-width': '1'", 0x60, 0x411, 0x00110000);
    EXPECT_REGS(", 'x-speed': '2_5', 'x-width': '4'", 0x60, 0x00200441, 0x00410000);
    EXPECT_REGS(", 'x-speed': '5', 'x-width': '2'", 0x60, 0x00300422, 0x00220000);
    EXPECT_REGS(", 'x-speed': '8', 'x-width': '16'", 0x60, 0x00300503, 0x01030000);
    EXPECT_REGS(", 'x-speed': '64', 'x-width': '12'", 0x60, 0x003004c6, 0x00c60000);
    EXPECT_REGS(", 'x-speed': '5'", 0x80, 0, 2);
    EXPECT_REGS(", 'x-speed': '8'", 0x80, 0xe, 3);
    EXPECT_REGS(", 'x-speed': '64'", 0x80, 0x7e, 6);
    EXPECT_REGS(", 'hotplug': false", 0x68, 0x0002001b, 0x000007c0);
    EXPECT_REGS(", 'power_controller_present': false", 0x68, 0x00020079, 0x000003c0);
    EXPECT_REGS(", 'x-do-not-expose-native-hotplug-cap': true", 0x68, 0x0002001b);

    Board *b = with_port("{'driver': 'virtio-rng-pci', 'bus': 'rp'}");

    pci_fn_reset(&((Dev *)b->bus.bus.devs->pdata[0])->obj);
    g_assert_cmphex(rd(b, 0, PORT, 0x66, 2), ==, 0x0011);
    g_assert_cmphex(rd(b, 0, PORT, 0x6c, 2), ==, 0x03c0);
    board_free(b);
}

static void test_reserve(void)
{
    static const struct {
        const char *opts, *why;
    } bad[] = {
        { ", 'pref32-reserve': 16777216, 'pref64-reserve': 1048576",
            "PCI resource reserve cap: PREF32 and PREF64 conflict" },
        { ", 'mem-reserve': 8589934592",
            "PCI resource reserve cap: mem-reserve must be less than 4G" },
        { ", 'pref32-reserve': 5368709120",
            "PCI resource reserve cap: pref32-reserve  must be less than 4G" },
    };
    const uint32_t none = UINT32_MAX;

    EXPECT_REGS("", 0x34, 0x54);
    EXPECT_REGS(", 'bus-reserve': 5", 0x34, 0x90);
    EXPECT_REGS(", 'bus-reserve': 5", 0x90, 0x01205409, 5, none, none, none, none, none, none);
    EXPECT_REGS(", 'bus-reserve': 0", 0x90, 0x01205409, 0, none, none, none, none, none, none);
    EXPECT_REGS(", 'io-reserve': 8192, 'mem-reserve': 4194304", 0x90, 0x01205409, none, 0x2000, 0,
        0x400000, none, none, none);
    EXPECT_REGS(", 'bus-reserve': 3, 'mem-reserve': 2097152, 'pref64-reserve': 67108864, "
                "'io-reserve': 4096",
        0x90, 0x01205409, 3, 0x1000, 0, 0x200000, none, 0x04000000, 0);
    EXPECT_REGS(", 'pref32-reserve': 16777216", 0x90, 0x01205409, none, none, none, none,
        0x01000000, none, none);
    EXPECT_REGS(", 'x-do-not-expose-native-hotplug-cap': true", 0x90, 0x01205409, none, 0x1000, 0,
        none, none, none, none);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        Board *b = board_new(true);
        g_autofree char *json =
            g_strdup_printf("{'driver': 'pcie-root-port', 'id': 'rp', 'addr': '2'%s}", bad[i].opts);
        g_autofree char *why = board_add_error(b, json);

        g_assert_cmpstr(why, ==, bad[i].why);
        board_free(b);
    }
}

/* PCI PM 1.2, 5.4: in D3hot the function begins nothing; back in D0 it has lost its state, unless
 * it says otherwise. */
static void power(bool keeps)
{
    g_autofree char *json =
        g_strdup_printf("{'driver': 'dummy-pci', 'bus': 'rp', 'x-pcie-pm-no-soft-reset': %s}",
            keeps ? "true" : "false");
    Board *b = with_port(json);
    const VBuf buf[] = { { 0x2000, 4, false }, { 0x3000, 4, true } };
    VDriver *d = g_new0(VDriver, 1);
    PciFn *f;
    uint32_t id, len;
    unsigned pm;

    vd_open(d, &b->port, 1, 0, false);
    vd_enable_msix(d);
    vd_start(d, 0);
    for (pm = rd(b, 1, 0, 0x34, 1); rd(b, 1, 0, pm, 1) != 1;) {
        pm = rd(b, 1, 0, pm + 1, 1);
    }
    g_assert_cmpuint(rd(b, 1, 0, pm + 4, 2) >> 3 & 1, ==, keeps);
    vring_add(&d->ring[0], buf, 2, 0);
    wr(b, 1, 0, pm + 4, 2, 3);
    f = (PciFn *)((PciBridge *)b->bus.bus.devs->pdata[0])->sec.bus.devs->pdata[0];
    g_assert_cmphex(vd_status(d), ==, 0); /* a hole now */
    virtio_kick(((VirtioPci *)f)->vd, 0);
    virtio_config_changed(((VirtioPci *)f)->vd);
    board_run(b);
    g_assert_false(vring_used(&d->ring[0], &id, &len)); /* no DMA */
    g_assert_cmphex(vd_msi(d, 0), ==, 0);               /* no message */
    wr(b, 1, 0, pm + 4, 2, 0);
    board_run(b);
    if (keeps) {
        g_assert_cmphex(vd_status(d), ==, 15);
        g_assert_true(vring_used(&d->ring[0], &id, &len));
        g_assert_cmpuint(len, ==, 4);
    } else {
        g_assert_cmphex(rd(b, 1, 0, 4, 2), ==, 0);
        wr(b, 1, 0, 0x20, 4, (uint32_t)d->bar[4]);
        wr(b, 1, 0, 4, 2, 7);
        g_assert_cmphex(vd_status(d), ==, 0);
        g_assert_false(vring_used(&d->ring[0], &id, &len));
    }
    board_free(b);
    g_free(d);
}

static void test_power(void)
{
    power(false);
    power(true);
}

static void test_behind_port(void)
{
    Board *b = with_port("{'driver': 'virtio-rng-pci', 'bus': 'rp', 'id': 'r'}");
    g_autofree char *c = caps(b, 1, 0);
    VDriver d;
    uint32_t id, len;
    const VBuf buf = { 0x200000, 32, true };

    g_assert_cmpstr(c, ==, "dc:11 c8:09 b4:09 a4:09 94:09 84:09 7c:01 40:10");
    g_assert_cmphex(rd(b, 1, 0, 0, 4), ==, 0x10441af4);
    g_assert_cmphex(rd(b, 1, 0, 8, 1), ==, 1);
    g_assert_cmphex(rd(b, 1, 1 << 3, 0, 4), ==, UINT32_MAX);
    vd_open(&d, &b->port, 1, 0, false);
    vd_start(&d, 0);
    vring_add(&d.ring[0], &buf, 1, 0);
    vd_kick(&d, 0);
    vd_wait_used(&d, 0, &id, &len);
    g_assert_cmpuint(len, ==, 32);
    g_assert_true(b->intx[2][0]); /* slot 0 behind: INTA stays INTA */
    g_assert_cmphex(vd_isr(&d), ==, 1);
    g_assert_false(b->intx[2][0]);
    board_free(b);
}

static void test_windows(void)
{
    Board *b = with_port("{'driver': 'virtio-rng-pci', 'bus': 'rp'}");
    VDriver d;

    vd_open(&d, &b->port, 1, 0, false);
    g_assert_cmphex(vd_read(&d, 0x12, 2), ==, 1);
    wr(b, 0, PORT, 0x20, 4, 0xe110e100); /* the window moves away */
    g_assert_cmphex(vd_read(&d, 0x12, 2), ==, 0);
    wr(b, 0, PORT, 0x20, 4, 0xe010e000);
    g_assert_cmphex(vd_read(&d, 0x12, 2), ==, 1);
    wr(b, 0, PORT, 4, 2, 4);
    g_assert_cmphex(vd_read(&d, 0x12, 2), ==, 0);
    board_free(b);
}

static void test_flr_and_bus_reset(void)
{
    Board *b = with_port("{'driver': 'dummy-pci', 'bus': 'rp', 'id': 'd'}");
    Dummy *s = dummy_of(dev_find(b->m, "d", NULL));
    VDriver d;

    vd_open(&d, &b->port, 1, 0, false);
    vd_start(&d, 0);
    wr(b, 1, 0, d.cap_pcie + 8, 2, 0x8000);
    g_assert_cmphex(rd(b, 1, 0, d.cap_pcie + 8, 2), ==, 0);
    g_assert_cmphex(rd(b, 1, 0, 4, 2), ==, 0);
    g_assert_cmphex(s->vd.status, ==, 0);
    vd_open(&d, &b->port, 1, 0, false);
    vd_start(&d, 0);
    wr(b, 0, PORT, 0x3e, 2, 0x40);
    g_assert_cmphex(s->vd.status, ==, 0);
    g_assert_cmphex(rd(b, 1, 0, 4, 2), ==, 0);
    board_free(b);
}

static void test_conventional_behind_bridge(void)
{
    Board *b = board_new(true);
    g_autofree char *c = NULL;
    PciFn *f;

    board_add(b, "{'driver': 'pcie-pci-bridge', 'id': 'br', 'addr': '2'}");
    f = (PciFn *)board_add(b, "{'driver': 'virtio-rng-pci', 'bus': 'br', 'addr': '5'}");
    program(b);
    c = caps(b, 1, 5 << 3);
    g_assert_cmpstr(c, ==, "98:11 84:09 70:09 60:09 50:09 40:09");
    g_assert_cmphex(rd(b, 1, 5 << 3, 0, 4), ==, 0x10051af4);
    pci_set_irq(f, true);
    g_assert_true(b->intx[2][1]); /* slot 5: INTA becomes INTB */
    pci_set_irq(f, false);
    board_free(b);
}

static void test_errors(void)
{
    Board *b = board_new(true), *conv;
    g_autofree char *a = NULL, *c = NULL;

    board_add(b, "{'driver': 'pcie-root-port', 'id': 'rp'}");
    a = board_add_error(b, "{'driver': 'pcie-root-port', 'id': 'rp2'}");
    g_assert_cmpstr(a, ==, "Can't add chassis slot, error -16");
    board_add(b, "{'driver': 'pcie-root-port', 'id': 'rp2', 'chassis': 1}");
    board_free(b);
    conv = board_new(false);
    c = board_add_error(conv, "{'driver': 'pcie-root-port'}");
    g_assert_nonnull(c);
    board_free(conv);
}

static void test_extended_caps(void)
{
    Board *b = with_port("{'driver': 'virtio-rng-pci', 'bus': 'rp', 'ats': true, 'aer': true}");
    const VPort *p = &b->port;

    pci_host_ecam_map(&b->host, &b->m->mem_root, true, 0xb0000000, 256 << 20);
    g_assert_cmphex(p->load(p->opaque, false, 0xb0100100, 4), ==, 0x14820001);
    g_assert_cmphex(p->load(p->opaque, false, 0xb0100148, 4), ==, 0x0001000f);
    g_assert_cmphex(p->load(p->opaque, false, 0xb010014c, 4), ==, 0x00000020); /* page aligned */
    g_assert_cmphex(p->load(p->opaque, false, 0xb0010100, 4), ==, 0x14820001);
    pci_host_ecam_map(&b->host, &b->m->mem_root, false, 0, 0);
    board_free(b);
    b = with_port("{'driver': 'virtio-rng-pci', 'bus': 'rp', 'ats': true, 'x-ats-page-aligned': "
                  "false}");
    p = &b->port;
    pci_host_ecam_map(&b->host, &b->m->mem_root, true, 0xb0000000, 256 << 20);
    g_assert_cmphex(p->load(p->opaque, false, 0xb0100100, 4), ==, 0x0001000f);
    g_assert_cmphex(p->load(p->opaque, false, 0xb0100104, 4), ==, 0);
    pci_host_ecam_map(&b->host, &b->m->mem_root, false, 0, 0);
    board_free(b);
}

static void test_info(void)
{
    Board *b = with_port("{'driver': 'virtio-rng-pci', 'bus': 'rp', 'id': 'r0'}");
    g_autoptr(Json) all = pci_qmp_cmds[0].run(b->m, NULL, NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    const Json *port = json_at(json_get(json_at(all, 0), "devices"), 0);
    const Json *rng = json_at(json_get(json_get(port, "pci_bridge"), "devices"), 0);

    g_assert_cmpint(json_get_int(json_get(port, "slot")), ==, 2);
    g_assert_cmpstr(json_get_str(json_get(rng, "qdev_id")), ==, "r0");
    g_assert_cmpint(
        json_get_int(json_get(json_at(json_get(rng, "regions"), 0), "address")), ==, -1);
    pci_describe(b->m, text);
    g_assert_nonnull(strstr(text->str,
        "  Bus  0, device   2, function 0:\n    PCI bridge: PCI device 1b36:000c\n      IRQ 0, pin "
        "A\n      BUS 0.\n"
        "      secondary bus 1.\n      subordinate bus 1.\n      IO range [0xc000, 0xcfff]\n"
        "      memory range [0xe0000000, 0xe01fffff]\n      prefetchable memory range [0xfff00000, "
        "0x000fffff]\n"
        "      BAR0: 32 bit memory (not mapped)\n      id \"rp\"\n"));
    g_assert_nonnull(strstr(text->str, "    Class 0255: PCI device 1af4:1044\n"));
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/bridge/root-port-registers", test_port_registers);
    g_test_add_func("/bridge/root-port-link-and-slot", test_link);
    g_test_add_func("/bridge/resources-reserved", test_reserve);
    g_test_add_func("/bridge/power-states-behind-port", test_power);
    g_test_add_func("/bridge/virtio-behind-port", test_behind_port);
    g_test_add_func("/bridge/windows", test_windows);
    g_test_add_func("/bridge/flr-and-secondary-bus-reset", test_flr_and_bus_reset);
    g_test_add_func("/bridge/conventional-behind-bridge", test_conventional_behind_bridge);
    g_test_add_func("/bridge/errors", test_errors);
    g_test_add_func("/bridge/extended-capabilities", test_extended_caps);
    g_test_add_func("/bridge/query-pci-and-info", test_info);
    return g_test_run();
}
