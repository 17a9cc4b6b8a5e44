/* hw/net/rtl8139: the RTL8139's registers and buffer, the C+ rings, checksums, large send, filters,
 * EEPROM, timer, and drivers that break the rules. */
#include "hw/net/rtl8139.h"
#include "net/csum.h"
#include "tests/unit/wire.h"

#include <zlib.h>

extern const ObjClass rtl8139_class;
const ObjClass *const obj_classes[] = { &pci_device_class, &rtl8139_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

enum { TX = 0x100000, RX = 0x110000, BUF = 0x200000, RX_BUF = 0x300000 };
static const uint32_t OWN = 1u << 31, EOR = 1 << 30, FS = 1 << 29, LS = 1 << 28;

static uint32_t rd(const Wire *x, unsigned reg, unsigned size)
{
    return (uint32_t)x->b->port.load(x->b, false, WIRE_BAR + reg, size);
}

static void wr(const Wire *x, unsigned reg, unsigned size, uint32_t v)
{
    x->b->port.store(x->b, false, WIRE_BAR + reg, size, v);
}

static void up(Wire *x, G_GNUC_UNUSED const void *unused)
{
    wire_up(x,
        "{'driver': 'rtl8139', 'id': 'nic0', 'addr': '4', 'mac': '52:54:00:aa:bb:cc', 'romfile': "
        "''}",
        0x14);
    wr(x, R_CR, 1, CR_TE | CR_RE);
    wr(x, R_RCR, 4, 0x0e);
    wr(x, R_RBSTART, 4, RX_BUF);
}

static void test_plain_transmit(Wire *x, G_GNUC_UNUSED const void *unused)
{
    wire_fill(x, BUF, 300);
    wr(x, R_IMR, 2, INT_TOK);
    wr(x, R_TSAD, 4, BUF);
    wr(x, R_TSD, 4, 300);
    const uint8_t *p = wire_sent(x, 0, 300);
    g_assert_cmpuint(p[299], ==, (uint8_t)(299 * 7 + 2));
    g_assert_cmphex(rd(x, R_TSD, 4), ==, 300 | 1 << 13 | 1 << 15);
    g_assert_true(x->b->intx[4][0]);
    wr(x, R_ISR, 2, INT_TOK);
    g_assert_false(x->b->intx[4][0]);
    /* Two that wait go in order, and once. */
    x->full = true;
    wr(x, R_TSAD + 4, 4, BUF);
    wr(x, R_TSAD + 8, 4, BUF + 1);
    wr(x, R_TSD + 4, 4, 100);
    wr(x, R_TSD + 8, 4, 20);
    g_assert_cmpuint(x->sent->len, ==, 1);
    x->full = false;
    net_ready(&x->wire);
    g_assert_cmpuint(wire_sent(x, 1, 100)[0], ==, 2);
    g_assert_cmpuint(wire_sent(x, 2, 60)[0], ==, 9);
    g_assert_cmphex(rd(x, R_TSAS, 2), ==, 0x700f);
}

static void test_plain_receive(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[1500] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 0x52, 0x54, 0, 1, 2, 3, 8, 0 }, got[64];
    uint32_t crc, at = 0;

    g_assert_true(rd(x, R_CR, 1) & CR_BUFE);
    g_assert_cmpint(wire_give(x, f, 20), ==, NET_SENT);
    g_assert_false(rd(x, R_CR, 1) & CR_BUFE);
    g_assert_cmphex(vport_r32(&x->b->port, RX_BUF), ==, 64 << 16 | 0x4001);
    x->b->port.read(x->b, RX_BUF + 4, got, sizeof got);
    crc = (uint32_t)crc32(0, f, 60);
    g_assert_cmpmem(got, 60, f, 60);
    g_assert_cmpmem(got + 60, 4, &crc, 4);
    g_assert_cmpuint(rd(x, R_CBR, 2), ==, 68);
    f[5] = 0;
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_DROPPED);
    memcpy(f, "\x01\x00\x5e\x00\x00\x01", 6); /* hashes to 31: the group of all hosts */
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_DROPPED);
    wr(x, R_MAR, 4, 1u << 31);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
    memset(f, 0xff, 6);
    /* Round the buffer of 8 KiB: full, read, and over its end. */
    for (at = 136; 8192 - at > 1512; at += 1508) {
        g_assert_cmpint(wire_give(x, f, 1500), ==, NET_SENT);
    }
    g_assert_cmpint(wire_give(x, f, 1500), ==, NET_QUEUED);
    wr(x, R_CAPR, 2, 4000 - 16);
    g_assert_cmpuint(x->writable, ==, 1);
    f[1499] = 0x5a;
    g_assert_cmpint(wire_give(x, f, 1500), ==, NET_SENT);
    uint8_t last;
    x->b->port.read(x->b, RX_BUF + (at + 4 + 1499) % 8192, &last, 1);
    g_assert_cmphex(last, ==, 0x5a);
    g_assert_cmpuint(rd(x, R_CBR, 2), ==, (at + 1508) % 8192);
    g_assert_cmpuint(rd(x, R_CBR, 2), <, 4000);
}

static void desc(const Wire *x, uint64_t at, uint32_t w0, uint32_t w1, uint64_t addr)
{
    vport_w32(&x->b->port, at, w0);
    vport_w32(&x->b->port, at + 4, w1);
    vport_w64(&x->b->port, at + 8, addr);
}

static void cplus(Wire *x)
{
    wr(x, R_CPCR, 2, CPCR_TX | CPCR_RX | CPCR_VLAN);
    wr(x, R_TNPDS, 4, TX);
    wr(x, R_THPDS, 4, TX + 0x1000);
    wr(x, R_RDSAR, 4, RX);
}

/* An IPv4 TCP packet with 2500 bytes of payload. */
static void tcp_packet(const Wire *x)
{
    static const uint8_t head[54] = { 0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 8, 0,
        0x45, 0, 2540 >> 8, 2540 & 255, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2,
        0x10, 0x20, 0, 80, 0, 0, 0x10, 0, 0, 0, 0, 1, 0x50, 0x19, 0xff, 0xff };

    wire_fill(x, BUF + 54, 2500);
    x->b->port.write(x->b, BUF, head, sizeof head);
}

static void check_tcp(const uint8_t *p, size_t payload, unsigned id, uint32_t at, uint8_t flags)
{
    g_assert_cmpuint(net_be16(p + 16), ==, 40 + payload);
    g_assert_cmpuint(net_be16(p + 18), ==, 0x1234 + id);
    g_assert_cmphex(net_fold(net_sum(0, p + 14, 20)), ==, 0xffff);
    g_assert_cmpuint(net_be16(p + 40), ==, 0x1000 + at);
    g_assert_cmphex(p[47], ==, flags);
    g_assert_cmphex(
        net_fold(net_sum(net_sum(26 + payload, p + 26, 8), p + 34, 20 + payload)), ==, 0xffff);
    for (size_t i = 0; i < payload; i++) {
        g_assert_cmpuint(p[54 + i], ==, (uint8_t)((at + i) * 7 + 2));
    }
}

static void test_rings_transmit(Wire *x, G_GNUC_UNUSED const void *unused)
{
    cplus(x);
    tcp_packet(x);
    /* Two pieces with checksums and a tag; then a large send through a back end that stops it. */
    desc(x, TX, OWN | FS | 54 | 5 << 16, 1 << 17 | 0x0520, BUF);
    desc(x, TX + 16, OWN | LS | 2500 | 5 << 16, 0, BUF + 54);
    desc(x, TX + 32, OWN | EOR | FS | LS | 1 << 27 | 1000 << 16 | 2554, 0, BUF);
    wr(x, R_TPPOLL, 1, 64);
    uint8_t whole[2558];
    memcpy(whole, wire_sent(x, 0, 2558), 2558);
    g_assert_cmpmem(whole + 12, 4, "\x81\x00\x20\x05", 4);
    memmove(whole + 12, whole + 16, 2542);
    check_tcp(whole, 2500, 0, 0, 0x19);
    check_tcp(wire_sent(x, 1, 1054), 1000, 0, 0, 0x10);
    check_tcp(wire_sent(x, 2, 1054), 1000, 1, 1000, 0x10);
    check_tcp(wire_sent(x, 3, 554), 500, 2, 2000, 0x19);
    g_assert_cmphex(vport_r32(&x->b->port, TX + 32), ==, EOR | FS | LS | 2554); /* no errors */
    g_assert_true(rd(x, R_ISR, 2) & INT_TDU);
    desc(x, TX, OWN | FS | LS | 1 << 27 | 1000 << 16 | 2554, 0, BUF);
    x->full = true;
    wr(x, R_TPPOLL, 1, 64);
    g_assert_true(vport_r32(&x->b->port, TX) >> 31);
    x->full = false;
    net_ready(&x->wire);
    check_tcp(wire_sent(x, 6, 554), 500, 2, 2000, 0x19);
    g_assert_cmpuint(x->sent->len, ==, 7);
    desc(x, TX + 0x1000, OWN | EOR | FS | LS | 60, 0, BUF); /* the ring of high priority */
    wr(x, R_TPPOLL, 1, 128);
    wire_sent(x, 7, 60);
}

static void test_rings_receive(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[200] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 0x52, 0x54, 0, 1, 2, 3, 0x81, 0, 0x20, 5, 8,
        0 },
            got[14];

    cplus(x);
    desc(x, RX, OWN | 1500, 7, RX_BUF);
    desc(x, RX + 16, OWN | EOR | 100, 7, RX_BUF + 2048);
    g_assert_cmpint(wire_give(x, f, 100), ==, NET_SENT);
    g_assert_cmphex(
        vport_r32(&x->b->port, RX), ==, FS | LS | 1 << 26 | 100); /* without the tag, with FCS */
    g_assert_cmphex(vport_r32(&x->b->port, RX + 4), ==, 1 << 16 | 0x0520);
    x->b->port.read(x->b, RX_BUF, got, sizeof got);
    g_assert_cmpmem(got + 12, 2, "\x08\x00", 2);
    g_assert_cmpint(wire_give(x, f, 200), ==, NET_DROPPED); /* too long for its buffer */
    g_assert_true(rd(x, R_ISR, 2) & INT_RXOVW);
    g_assert_cmpuint(rd(x, R_MPC, 4), ==, 1);
    g_assert_cmpint(wire_give(x, f, 90), ==, NET_SENT);
    g_assert_cmpint(
        wire_give(x, f, 90), ==, NET_DROPPED); /* the first again: the driver still has it */
}

/* With RxChkSum a descriptor says what the packet is, and which of its sums is wrong. */
static void test_checksums(Wire *x, G_GNUC_UNUSED const void *unused)
{
    static const struct {
        bool asked;
        uint8_t spoil;
        uint32_t want;
    } t[] = { { false, 0, 0 }, { true, 0, 2 << 16 }, { true, 59, 2 << 16 | 1 << 14 },
        { true, 22, 3 << 16 | 1 << 15 }, { true, 12, 0 } };
    uint8_t f[60];

    cplus(x);
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        wire_udp(f);
        f[t[i].spoil] ^= t[i].spoil ? 1 : 0;
        wr(x, R_CPCR, 2, CPCR_RX | (t[i].asked ? CPCR_CHECK : 0));
        desc(x, RX + i * 16, OWN | 2048, 0, RX_BUF);
        g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
        g_assert_cmphex(
            vport_r32(&x->b->port, RX + i * 16), ==, FS | LS | 1 << 26 | t[i].want | 64);
    }
}

/* Counters in the driver's memory: what was sent, received and missed. */
static void test_tally(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[100] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

    wr(x, R_RCR, 4, 0x0f);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
    memset(f, 0xff, 6);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
    f[0] = 1;
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_SENT);
    cplus(x);
    g_assert_cmpint(wire_give(x, f, 60), ==, NET_DROPPED); /* no descriptor */
    desc(x, TX, OWN | EOR | FS | LS | 100, 0, BUF);
    wr(x, R_TPPOLL, 1, 64);
    wr(x, R_DTCCR + 4, 4, 0);
    wr(x, R_DTCCR, 4, BUF | DTCCR_DUMP);
    g_assert_cmphex(rd(x, R_DTCCR, 4), ==, BUF);
    g_assert_cmpuint(vport_r32(&x->b->port, BUF), ==, 1);
    g_assert_cmpuint(vport_r32(&x->b->port, BUF + 8), ==, 3);
    g_assert_cmpuint(vport_r16(&x->b->port, BUF + 28), ==, 1);
    g_assert_cmpuint(vport_r32(&x->b->port, BUF + 40), ==, 1);
    g_assert_cmpuint(vport_r32(&x->b->port, BUF + 48), ==, 1);
    g_assert_cmpuint(vport_r32(&x->b->port, BUF + 56), ==, 1);
    wr(x, R_DTCCR + 4, 4, 0xffffffff); /* no memory: it is never done */
    wr(x, R_DTCCR, 4, BUF | DTCCR_DUMP);
    g_assert_cmphex(rd(x, R_DTCCR, 4), ==, BUF | DTCCR_DUMP);
}

static void test_eeprom_timer_link(Wire *x, G_GNUC_UNUSED const void *unused)
{
    unsigned v = 0;

    for (int i = 8; i >= 0; i--) { /* word 7: the address begins */
        uint32_t pins = 0x88 | ((6u << 6 | 7) >> i & 1 ? 2 : 0);

        wr(x, R_9346CR, 1, pins);
        wr(x, R_9346CR, 1, pins | 4);
    }
    for (unsigned i = 0; i < 16; i++) {
        wr(x, R_9346CR, 1, 0x88);
        wr(x, R_9346CR, 1, 0x8c);
        v = v << 1 | (rd(x, R_9346CR, 1) & 1);
    }
    wr(x, R_9346CR, 1, 0);
    g_assert_cmphex(v, ==, 0x5452);
    wr(x, R_IMR, 2, INT_SOFTWARE);
    wr(x, R_TPPOLL, 1, 1);
    g_assert_true(x->b->intx[4][0]); /* an interrupt that the driver asked for */
    wr(x, R_ISR, 2, INT_SOFTWARE);
    g_assert_false(x->b->intx[4][0]);
    wr(x, R_CONFIG1, 1, 0xff); /* locked */
    g_assert_cmphex(rd(x, R_CONFIG1, 1), ==, 0x0c);
    clock_virtual_start();
    wr(x, R_IMR, 2, INT_TIMEOUT | INT_LINK);
    wr(x, R_TCTR, 4, 0);
    wr(x, R_TIMERINT, 4, 33000);
    while (!x->b->intx[4][0]) {
        loop_turn(loop_main(), /* block= */ true);
    }
    g_assert_cmpuint(rd(x, R_TCTR, 4), >=, 33000);
    wr(x, R_TIMERINT, 4, 0);
    wr(x, R_ISR, 2, 0xffff);
    g_assert_false(x->b->intx[4][0]);
    g_assert_true(net_set_link("nic0", false, NULL));
    g_assert_true(x->b->intx[4][0]);
    g_assert_true(rd(x, R_MSR, 1) & MSR_LINKB);
    wr(x, R_CR, 1, CR_RST);
    g_assert_cmphex(rd(x, R_CR, 1), ==, CR_BUFE);
    g_assert_false(x->b->intx[4][0]);
}

/* Nothing of this may crash, hang or grow us. */
static void test_hostile(Wire *x, G_GNUC_UNUSED const void *unused)
{
    uint8_t f[1500] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };

    cplus(x);
    desc(x, TX, OWN | FS | 0xffff, 0, BUF); /* longer than any frame */
    for (unsigned i = 1; i < 64; i++) {     /* no end: the ring ends at 64 */
        desc(x, TX + i * 16, OWN | (i == 63 ? LS : 0) | 0xffff, 0, BUF);
    }
    wr(x, R_TPPOLL, 1, 64);
    board_run(x->b);
    g_assert_cmpuint(x->sent->len, ==, 0);
    g_assert_false(vport_r32(&x->b->port, TX + 63 * 16) >> 31);
    tcp_packet(x);
    desc(x, TX, OWN | EOR | FS | LS | 1 << 27 | 1 << 16 | 2554, 0, BUF); /* a byte a segment */
    wr(x, R_TPPOLL, 1, 64);
    board_run(x->b);
    g_assert_cmpuint(x->sent->len, ==, 2500);
    desc(x, TX, OWN | EOR | FS | LS | 1 << 27 | 1000 << 16 | 40, 0, BUF); /* no TCP header in it */
    wr(x, R_TPPOLL, 1, 64);
    desc(x, TX, OWN | EOR | FS | LS | 60, 0, WIRE_BAR); /* its own registers */
    wr(x, R_TPPOLL, 1, 64);
    wr(x, R_TNPDS + 4, 4, 0xffffffff); /* a ring in no memory */
    wr(x, R_RDSAR + 4, 4, 0xffffffff);
    wr(x, R_TPPOLL, 1, 192);
    wire_give(x, f, 100);
    for (unsigned i = 0; i < 50000; i++) {
        static const uint8_t size[] = { 1, 2, 4 };
        unsigned n = size[g_random_int_range(0, 3)];

        wr(x, g_random_int_range(0, 256 / (int)n) * n, n, g_random_int());
        rd(x, g_random_int_range(0, 256 / (int)n) * n, n);
        if (i % 64 == 0) {
            wr(x, R_CR, 1, CR_TE | CR_RE);
            wire_give(x, f, (size_t)g_random_int_range(0, sizeof f));
            board_run(x->b);
        }
    }
}

#define CASE(name) g_test_add("/rtl8139/" #name, Wire, NULL, up, test_##name, wire_down)

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    g_test_init(&argc, &argv, NULL);
    CASE(plain_transmit);
    CASE(plain_receive);
    CASE(rings_transmit);
    CASE(rings_receive);
    CASE(checksums);
    CASE(tally);
    CASE(eeprom_timer_link);
    CASE(hostile);
    return g_test_run();
}
