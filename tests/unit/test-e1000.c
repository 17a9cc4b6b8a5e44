/* hw/net/e1000: descriptors both ways, segmentation, filters, EEPROM, interrupts, and drivers that
 * break the rules (317453). */
#include "hw/net/e1000.h"
#include "tests/unit/wire.h"

#include <zlib.h>

extern const ObjClass e1000_class, e1000_base_class;
const ObjClass *const obj_classes[] = { &pci_device_class, &e1000_base_class, &e1000_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

enum { RING = 0x100000, RX_RING = 0x110000, BUF = 0x200000, RX_BUF = 0x300000, N = 8 };
enum { EOP = 1, IFCS = 2, IC = 4, TSE = 4, RS = 8, DEXT = 32, VLE = 64 };

static uint32_t rd(const Wire *x, unsigned off)
{
    return (uint32_t)x->b->port.load(x->b, false, WIRE_BAR + off, 4);
}

static void wr(const Wire *x, unsigned off, uint32_t v)
{
    x->b->port.store(x->b, false, WIRE_BAR + off, 4, v);
}

static void rings(Wire *x)
{
    wr(x, E_TDBAL, RING);
    wr(x, E_TDLEN, N * 16);
    wr(x, E_TCTL, TCTL_EN | TCTL_PSP);
    for (unsigned i = 0; i < N; i++) {
        vport_w64(&x->b->port, RX_RING + i * 16, RX_BUF + i * 2048);
        vport_w64(&x->b->port, RX_RING + i * 16 + 8, 0);
    }
    wr(x, E_RDBAL, RX_RING);
    wr(x, E_RDLEN, N * 16);
    wr(x, E_RDT, N - 1);
    wr(x, E_RCTL, RCTL_EN | RCTL_BAM);
}

static void up(Wire *x, G_GNUC_UNUSED const void *unused)
{
    wire_up(x,
        "{'driver': 'e1000', 'id': 'nic0', 'addr': '4', 'mac': '52:54:00:aa:bb:cc', 'romfile': ''}",
        0x10);
    rings(x);
}

/* Descriptor i of the transmit ring. */
static void desc(const Wire *x, unsigned i, uint64_t addr, uint32_t low, uint32_t high)
{
    vport_w64(&x->b->port, RING + i * 16, addr);
    vport_w32(&x->b->port, RING + i * 16 + 8, low);
    vport_w32(&x->b->port, RING + i * 16 + 12, high);
}

static void test_transmit(Wire *x, G_GNUC_UNUSED const void *unused)
{
    wire_fill(x, BUF, 300);
    wr(x, E_IMS, INT_TXDW);
    desc(x, 0, BUF, 100 | (uint32_t)IFCS << 24, 0);
    desc(x, 1, BUF + 100, 200 | (uint32_t)(EOP | RS | IFCS) << 24, 0);
    desc(x, 2, BUF, 20 | (uint32_t)(EOP | VLE) << 24, 0xabcd0000);
    wr(x, E_TDT, 2);
    const uint8_t *p = wire_sent(x, 0, 300);
    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmpuint(p[i], ==, (uint8_t)(i * 7 + 2));
    }
    g_assert_cmpuint(vport_r32(&x->b->port, RING + 12) & 1, ==, 0); /* no RS */
    g_assert_cmpuint(vport_r32(&x->b->port, RING + 28) & 1, ==, 1);
    g_assert_cmpuint(rd(x, E_TDH), ==, 2);
    g_assert_true(x->b->intx[4][0]);
    g_assert_cmphex(rd(x, E_ICR) & (INT_TXDW | INT_TXQE), ==, INT_TXDW | INT_TXQE);
    g_assert_false(x->b->intx[4][0]);
    wr(x, E_CTRL, CTRL_VME); /* the tag goes behind the addresses; short frames are padded */
    wr(x, E_TDT, 3);
    p = wire_sent(x, 1, 64);
    g_assert_cmpmem(p + 12, 4, "\x81\x00\xab\xcd", 4);
    g_assert_cmpuint(p[16], ==, (uint8_t)(12 * 7 + 2));
    g_assert_cmpuint(p[63], ==, 0);
    g_assert_cmpuint(rd(x, E_GPTC), ==, 2);
    g_assert_cmpuint(rd(x, E_GPTC), ==, 0); /* reading clears */
}

static uint16_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

/* An IPv4 TCP packet of 2500 bytes of payload in segments of 1000, through a slow back end. */
static void test_segments(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t head[54] = { 0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 8, 0, 0x45, 0, 0,
        0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2, 0x10, 0x20, 0, 80, 0, 0,
        0x10, 0, 0, 0, 0, 1, 0x50, 0x19, 0xff, 0xff, 0, 0, 0, 0 };
    uint16_t pseudo = sum16(head + 26, 8, 6);
    const size_t payload[] = { 1000, 1000, 500 };

    head[50] = (uint8_t)(pseudo >> 8);
    head[51] = (uint8_t)pseudo;
    wire_fill(x, BUF + 54, 2500);
    x->b->port.write(x->b, BUF, head, sizeof head);
    desc(x, 0, 14 | 24 << 8 | (uint64_t)33 << 16 | (uint64_t)34 << 32 | (uint64_t)50 << 40,
        2500 | (uint32_t)(DEXT | TSE | 3) << 24, 54 << 8 | 1000u << 16);
    desc(x, 1, BUF, 54 | 1 << 20 | (uint32_t)(DEXT | TSE) << 24, 3 << 8);
    desc(x, 2, BUF + 54, 2500 | 1 << 20 | (uint32_t)(DEXT | TSE | EOP | RS) << 24, 3 << 8);
    x->full = true;
    wr(x, E_TDT, 3);
    g_assert_cmpuint(rd(x, E_TDH), ==, 2); /* stuck inside the third */
    x->full = false;
    net_ready(&x->wire);
    g_assert_cmpuint(rd(x, E_TDH), ==, 3);
    g_assert_cmpuint(x->sent->len, ==, 3);
    for (unsigned i = 0, at = 0; i < 3; at += (unsigned)payload[i++]) {
        const uint8_t *p = wire_sent(x, i, 54 + payload[i]);

        g_assert_cmpuint(p[16] << 8 | p[17], ==, 40 + payload[i]);
        g_assert_cmpuint(p[18] << 8 | p[19], ==, 0x1234 + i);
        g_assert_cmpuint(sum16(p + 14, 20, 0), ==, 0xffff);
        g_assert_cmpuint(
            GUINT32_FROM_BE(*(const uint32_t *)(const void *)(p + 38)), ==, 0x1000 + at);
        g_assert_cmpuint(p[47], ==, i == 2 ? 0x19 : 0x10);
        g_assert_cmpuint(
            sum16(p + 34, 20 + payload[i], sum16(p + 26, 8, 6 + 20 + (uint32_t)payload[i])), ==,
            0xffff);
        for (unsigned k = 0; k < payload[i]; k++) {
            g_assert_cmpuint(p[54 + k], ==, (uint8_t)((at + k) * 7 + 2));
        }
    }
}

static void test_receive(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[1500] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 0x52, 0x54, 0, 1, 2, 3, 8, 0, 'd' },
            got[64];
    uint32_t crc;

    wr(x, E_IMS, INT_RXT0);
    g_assert_cmpint(wire_give(x, f, 15), ==, NET_SENT);
    g_assert_cmpuint(
        vport_r16(&x->b->port, RX_RING + 8), ==, 64); /* padded, with its check sequence */
    g_assert_cmpuint(vport_r16(&x->b->port, RX_RING + 12), ==, 7);
    x->b->port.read(x->b, RX_BUF, got, sizeof got);
    g_assert_cmpmem(got, 60, f, 60);
    crc = (uint32_t)crc32(0, f, 60);
    g_assert_cmpmem(got + 60, 4, &crc, 4);
    g_assert_true(x->b->intx[4][0]);
    g_assert_true(rd(x, E_ICR) & INT_RXT0);
    f[5] = 0; /* somebody else's */
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_DROPPED);
    wr(x, E_RCTL, RCTL_EN | RCTL_UPE | RCTL_SECRC);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
    g_assert_cmpuint(vport_r16(&x->b->port, RX_RING + 16 + 8), ==, 60);
    g_assert_cmpint(wire_give(x, f, 1600), ==, NET_DROPPED); /* long ones are not wanted */
    memset(f, 0xff, 6);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_DROPPED);
    memcpy(f, "\x01\x00\x5e\x00\x00\xfb", 6); /* bits 47:36 of the address: 0xfb0 */
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_DROPPED);
    wr(x, E_MTA + (0xfb0 >> 5) * 4, 1u << (0xfb0 & 31));
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
    g_assert_true(vport_r16(&x->b->port, RX_RING + 32 + 12) & 128);
    /* A frame in several buffers, and none left: it waits until RDT moves. */
    wr(x, E_RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | 3 << 16);
    g_assert_cmpint(wire_give(x, f, 1000), ==, NET_SENT); /* four buffers of 256 */
    g_assert_cmpint(wire_give(x, f, 1000), ==, NET_QUEUED);
    g_assert_cmpuint(x->writable, ==, 0);
    wr(x, E_RDT, 5);
    g_assert_cmpuint(x->writable, ==, 1);
    g_assert_cmpint(wire_give(x, f, 1000), ==, NET_SENT);
    /* VLANs: the tag goes to the descriptor; the filter knows its numbers. */
    wr(x, E_RDT, 2);
    wr(x, E_RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_SECRC);
    wr(x, E_CTRL, CTRL_VME);
    memcpy(f + 12, "\x81\x00\x20\x05\x08\x00", 6);
    unsigned at = rd(x, E_RDH);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_SENT);
    g_assert_cmpuint(vport_r16(&x->b->port, RX_RING + at * 16 + 8), ==, 96);
    g_assert_cmphex(vport_r16(&x->b->port, RX_RING + at * 16 + 14), ==, 0x2005);
    wr(x, E_RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_VFE);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_DROPPED);
    wr(x, E_VFTA, 1 << 5);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_SENT);
    g_assert_cmpint(wire_give(x, f, 13), ==, NET_DROPPED);
}

/* RXCSUM: what was checked, and what is wrong (3.2.3); nothing is said of what was not. */
static void test_checksums(Wire *x, G_GNUC_UNUSED const void *unused)
{
    enum { DD_EOP = 3, IXSM = 4, TCPCS = 32, IPCS = 64 };
    static const struct {
        uint16_t rxcsum;
        uint8_t spoil, status, errors;
    } t[] = { { 0, 0, IXSM, 0 }, { 0x300, 0, TCPCS | IPCS, 0 }, { 0x200, 0, TCPCS, 0 },
        { 0x100, 0, IPCS, 0 }, { 0x300, 59, TCPCS | IPCS, 32 }, { 0x300, 22, IPCS, 64 },
        { 0x300, 12, IXSM, 0 } };
    uint8_t f[60];

    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        wire_udp(f);
        f[t[i].spoil] ^= t[i].spoil ? 1 : 0;
        wr(x, E_RXCSUM, t[i].rxcsum);
        g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
        g_assert_cmphex(vport_r16(&x->b->port, RX_RING + i * 16 + 12), ==,
            DD_EOP | t[i].status | t[i].errors << 8);
    }
}

/* A ring that is full says so, and keeps nothing; a descriptor without a buffer is passed. */
static void test_overrun(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[60];

    wire_udp(f);
    wr(x, E_IMS, INT_RXO);
    vport_w64(&x->b->port, RX_RING + 16, 0);
    vport_w64(&x->b->port, 0, 0x1122334455667788);
    for (unsigned i = 0; i < N - 1; i++) {
        g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
    }
    g_assert_false(x->b->intx[4][0]);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_QUEUED);
    g_assert_true(x->b->intx[4][0]);
    g_assert_true(rd(x, E_ICR) & INT_RXO);
    g_assert_cmphex(vport_r32(&x->b->port, 0), ==, 0x55667788);
    g_assert_cmphex(vport_r16(&x->b->port, RX_RING + 16 + 12) & 3, ==, 3);
}

static void test_run_and_link(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[60] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

    wr(x, E_IMS, INT_LSC);
    g_assert_true(net_set_link("nic0", false, NULL));
    g_assert_false(rd(x, E_STATUS) & STATUS_LU);
    g_assert_true(rd(x, E_ICR) & INT_LSC);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_DROPPED);
    g_assert_true(net_set_link("nic0", true, NULL));
    g_assert_true(rd(x, E_STATUS) & STATUS_LU);
    fake_run_set(false);
    ((PciFn *)x->dev)->ops->run_changed((PciFn *)x->dev, false);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_QUEUED);
    desc(x, 0, BUF, 60 | (uint32_t)EOP << 24, 0);
    wr(x, E_TDT, 1);
    g_assert_cmpuint(x->sent->len, ==, 0);
    fake_run_set(true);
    ((PciFn *)x->dev)->ops->run_changed((PciFn *)x->dev, true);
    g_assert_cmpuint(x->sent->len, ==, 1);
    g_assert_cmpuint(x->writable, ==, 1);
}

static unsigned microwire(const Wire *x, unsigned word)
{
    unsigned in = 6u << 6 | word, v = 0;

    wr(x, E_EECD, 2);
    for (int i = 8; i >= 0; i--) {
        uint32_t di = in >> i & 1 ? 4 : 0;

        wr(x, E_EECD, 2 | di);
        wr(x, E_EECD, 3 | di);
    }
    for (unsigned i = 0; i < 16; i++) {
        wr(x, E_EECD, 2);
        wr(x, E_EECD, 3);
        v = v << 1 | !!(rd(x, E_EECD) & 8);
    }
    wr(x, E_EECD, 0);
    return v;
}

static void test_eeprom_and_phy(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint16_t sum = 0;

    for (unsigned i = 0; i < 64; i++) {
        wr(x, E_EERD, i << 8 | 1);
        g_assert_cmphex(rd(x, E_EERD) >> 16, ==, microwire(x, i));
        g_assert_true(rd(x, E_EERD) & 16);
        sum = (uint16_t)(sum + microwire(x, i));
    }
    g_assert_cmphex(sum, ==, 0xbaba);
    g_assert_cmphex(microwire(x, 2), ==, 0xccbb);
    wr(x, E_EERD, 200 << 8 | 1);
    g_assert_cmphex(rd(x, E_EERD) >> 16, ==, 0);
    wr(x, E_MDIC, 2 << 26 | 1 << 21 | 2 << 16);
    g_assert_cmphex(rd(x, E_MDIC) & 0xffff, ==, 0x0141);
    wr(x, E_MDIC, 2 << 26 | 5 << 21 | 2 << 16);
    g_assert_true(rd(x, E_MDIC) >> 30 & 1); /* no such PHY */
    wr(x, 0x5ffc, 1);
    g_assert_cmpuint(rd(x, 0x1fffc), ==, 0);
    wr(x, E_CTRL, CTRL_RST);
    g_assert_cmphex(rd(x, E_CTRL), ==, 0x00140240);
    g_assert_cmphex(rd(x, E_STATUS), ==, 0x80080783);
}

/* ITR: the second interrupt waits for its interval. */
static void test_throttle(Wire *x, G_GNUC_UNUSED const void *unused)
{
    clock_virtual_start();
    wr(x, E_ITR, 4000000 / 256);
    wr(x, E_IMS, INT_TXDW);
    wr(x, E_ICS, INT_TXDW);
    g_assert_true(x->b->intx[4][0]);
    rd(x, E_ICR);
    wr(x, E_ICS, INT_TXDW);
    g_assert_false(x->b->intx[4][0]);
    while (!x->b->intx[4][0]) {
        loop_turn(loop_main(), /* block= */ true);
    }
    rd(x, E_ICR);
}

/* Nothing of this may crash, hang or grow us. */
static void test_hostile(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[1500] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

    wr(x, E_TDH, 0xffff); /* outside the ring */
    wr(x, E_TDT, 3);
    wr(x, E_TDLEN, 0);
    wr(x, E_TDT, 1);
    rings(x);
    wr(x, E_TDH, 0);
    wr(x, E_TDT, 0);
    desc(x, 0, UINT64_C(0xfffffffffffffff0), 4096 | (uint32_t)(EOP | RS) << 24, 0); /* no memory */
    desc(x, 1, WIRE_BAR, 64 | (uint32_t)(EOP | RS) << 24, 0); /* its own registers */
    desc(x, 2, 14 | 250 << 8 | (uint64_t)255 << 32 | (uint64_t)255 << 40,
        (uint32_t)(DEXT | TSE | 3) << 24, 1 << 16);
    desc(x, 3, BUF, 0xfffff | 1 << 20 | (uint32_t)(DEXT | TSE) << 24,
        3 << 8);                                     /* no header, a byte a segment */
    desc(x, 4, 0, (uint32_t)DEXT << 24, 0xffff0000); /* a context amid the packet */
    desc(x, 5, BUF, 0xfffff | 1 << 20 | (uint32_t)(DEXT | EOP) << 24, 3 << 8);
    desc(x, 6, BUF, 0xffff | 9 << 20 | (uint32_t)(DEXT | EOP) << 24, 0);
    wr(x, E_TDT, 7);
    board_run(x->b);
    g_assert_cmpuint(rd(x, E_TDH), ==, 7);
    g_assert_cmpuint(x->sent->len, ==, 0);
    /* One byte a segment: a turn's worth at a time, all in the end. */
    desc(x, 7, 0, (uint32_t)(DEXT | TSE) << 24, 1u << 16 | 54 << 8);
    desc(x, 0, BUF, 2054 | 1 << 20 | (uint32_t)(DEXT | TSE | EOP) << 24, 3 << 8);
    wr(x, E_TDT, 1);
    g_assert_cmpuint(x->sent->len, <, 300);
    board_run(x->b);
    g_assert_cmpuint(x->sent->len, ==, 2000);
    g_assert_cmpuint(rd(x, E_TDH), ==, 1);
    /* Receive: into its own registers, whose tail would make it send; rings that lie nowhere, that
     * are full of nothing. */
    vport_w64(&x->b->port, RX_RING, WIRE_BAR + E_TDT);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_SENT);
    g_assert_cmpuint(rd(x, E_TDT), ==, 1);
    g_assert_cmpuint(rd(x, E_MPC), ==, 1);
    wr(x, E_RDBAH, 0xffffffff);
    wire_give(x, f, 100);
    wr(x, E_RDBAH, 0);
    wr(x, E_RDH, 0x7777);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_QUEUED);
    wr(x, E_RDLEN, 0);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_DROPPED);
    pci_config_write(&x->b->bus, 0, 4 << 3, 4, 2, 3); /* no bus master */
    wr(x, E_TDT, 5);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_DROPPED);
    for (unsigned i = 0; i < 20000; i++) { /* noise in every register */
        uint32_t r = g_random_int();

        wr(x, r % 0x6000 & ~3u, g_random_int());
        rd(x, g_random_int() % 0x6000 & ~3u);
        if (i % 64 == 0) {
            pci_config_write(&x->b->bus, 0, 4 << 3, 4, 2, 7);
            wire_give(x, f, r % sizeof f);
            board_run(x->b);
        }
    }
}

#define CASE(name) g_test_add("/e1000/" #name, Wire, NULL, up, test_##name, wire_down)

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    g_test_init(&argc, &argv, NULL);
    CASE(transmit);
    CASE(segments);
    CASE(receive);
    CASE(checksums);
    CASE(overrun);
    CASE(run_and_link);
    CASE(eeprom_and_phy);
    CASE(throttle);
    CASE(hostile);
    return g_test_run();
}
