/* VIRTIO 1.4, 5.1.9.5.5 to 5.1.9.5.7 and 5.1.9.5.10: several queues, receive-side scaling,
 * notification coalescing. */
#include "hw/virtio/virtio-net.h"
#include "tests/conformance/norm-net.h"
#include "util/timer.h"

enum { MQ = 4, COAL = 6, TX_SET = 0, RX_SET, VQ_SET, VQ_GET };

/* From the table that "RSS Hashing" has in NIC data sheets: 66.9.149.187:2794 to
 * 161.142.100.80:1766. */
enum { HASH_TCP = 0x51ccc178, HASH_IP = 0x323e8fc2, TYPE_IP = 1, TYPE_TCP = 2 };
static const uint8_t key[40] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25,
    0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d,
    0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa };
static const uint8_t tcp[60] = { 0x52, 0x54, 0, 0xaa, 0xbb,
    0xcc, [12] = 8, [14] = 0x45, [23] = 6, [26] = 66, 9, 149, 187, 161, 142, 100, 80, 2794 >> 8,
    2794 & 255, 1766 >> 8, 1766 & 255 };
static const uint8_t arp[60] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, [12] = 8, 6 };

static uint8_t set_pairs(Norm *x, uint16_t n)
{
    return norm_net_command(x, MQ, 0, &n, 2);
}

static void with_pairs(Norm *x, const char *opts, unsigned n)
{
    norm_net_open_pairs(x, opts, 0);
    norm_net_start(x, 0);
    for (unsigned q = 0; q < NET_PAIRS; q++) {
        norm_net_give_to(x, q, 16);
    }
    if (n) {
        g_assert_cmpuint(set_pairs(x, (uint16_t)n), ==, 0);
    }
}

static void mode(Norm *x, const char *opts, unsigned bit, const char *what)
{
    norm_net_open_pairs(x, opts, 0);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(bit), !=, 0);
    norm_note("%s", what);
    norm_net_close(x);
}

static void mode_2(Norm *x)
{
    NORM("TXT-NET-MULTIQUEUE-MODE-2");
    mode(x, ", 'rss': true", NET_F_RSS, "receive-side scaling: rss=on");
}

static void mode_3(Norm *x)
{
    NORM("TXT-NET-MULTIQUEUE-MODE-3");
    mode(x, ", 'rss': true, 'mq': true", NET_F_MQ, "both modes");
}

/* The back end's queues are the flows' places: a frame of queue 1 comes on receiveq 1. */
static void mq_flow(Norm *x)
{
    with_pairs(x, ", 'mq': true", NET_PAIRS);
    for (unsigned q = 0; q < NET_PAIRS; q++) {
        const VBuf b[] = { { x->page + 0x4000, 12, false }, { x->page + 0x5000, 60, false } };

        norm_fill(x, x->page + 0x4000, 0, 12);
        vring_add(&x->d.ring[q * 2 + 1], b, 2, 0);
        vd_kick(&x->d, q * 2 + 1);
        board_run(x->b);
        g_assert_cmpuint(norm_net_used(x, q * 2 + 1), ==, 1);
        g_assert_cmpint(norm_net_from(x, q, tcp, sizeof tcp), ==, NET_SENT);
        g_assert_cmpuint(norm_net_used(x, q * 2), ==, 1);
    }
    norm_net_close(x);
}

static void txt_mq_3(Norm *x)
{
    NORM("TXT-NET-CTRL-MQ-3");
    mq_flow(x);
}

static void txt_mq_4(Norm *x)
{
    NORM("TXT-NET-CTRL-MQ-4");
    mq_flow(x);
}

static void txt_mq_5(Norm *x)
{
    unsigned at = 0;

    NORM("TXT-NET-CTRL-MQ-5");
    with_pairs(x, ", 'mq': true", NET_PAIRS);
    g_assert_cmpint(norm_net_from(x, 2, tcp, sizeof tcp), ==, NET_SENT);
    while (at < NET_PAIRS && !norm_net_used(x, at * 2)) {
        at++;
    }
    g_assert_cmpuint(at, <, NET_PAIRS);
    norm_note("a flow without a packet sent: the pair of the back end's queue");
    norm_net_close(x);
}

static void mq_2(Norm *x)
{
    NORM("NET-CTRL-MQ-2");
    with_pairs(x, ", 'mq': true", NET_PAIRS);
    for (uint16_t n = NET_PAIRS; n > 0; n--) {
        g_assert_cmpuint(set_pairs(x, n), ==, 0);
        for (unsigned q = 0; q < NET_PAIRS; q++) {
            g_assert_cmpint(norm_net_from(x, q, tcp, sizeof tcp), ==, NET_SENT);
        }
        for (unsigned q = n; q < NET_PAIRS; q++) {
            g_assert_cmpuint(norm_net_used(x, q * 2), ==, 0);
        }
        for (unsigned q = 0; q < n; q++) {
            g_assert_cmpuint(norm_net_used(x, q * 2), >, 0);
        }
    }
    norm_net_close(x);
}

static void mq_3(Norm *x)
{
    unsigned there = 0;

    NORM("NET-CTRL-MQ-3");
    with_pairs(x, ", 'mq': true", NET_PAIRS);
    norm_net_reset_queue(x, 2, false);
    g_assert_cmpint(norm_net_from(x, 1, tcp, sizeof tcp), ==, NET_SENT);
    there = norm_net_used(x, 0) + norm_net_used(x, 4);
    g_assert_cmpuint(there, ==, 1);
    norm_net_close(x);
}

static void mq_4(Norm *x)
{
    NORM("NET-CTRL-MQ-4");
    with_pairs(x, ", 'mq': true", NET_PAIRS);
    for (unsigned q = 0; q < NET_PAIRS; q++) {
        norm_net_reset_queue(x, q * 2, false);
    }
    for (unsigned q = 0; q < NET_PAIRS; q++) {
        g_assert_cmpint(norm_net_from(x, q, tcp, sizeof tcp), ==, NET_DROPPED);
    }
    norm_net_close(x);
}

/* ---- RSS ---- */

enum { TABLE = 8, UNCLASSIFIED = 2 };

/* A table of eight entries, one of which leads to the second pair. */
static void rss(Norm *x, uint32_t types, unsigned special)
{
    uint8_t c[8 + TABLE * 2 + 3 + sizeof key] = { 0 };

    memcpy(c, &types, 4);
    c[4] = TABLE - 1;
    c[6] = UNCLASSIFIED;
    c[8 + special * 2] = 1;
    c[8 + TABLE * 2] = NET_PAIRS;
    c[8 + TABLE * 2 + 2] = sizeof key;
    memcpy(c + 8 + TABLE * 2 + 3, key, sizeof key);
    g_assert_cmpuint(norm_net_command(x, MQ, 1, c, sizeof c), ==, 0);
}

static const char rss_on[] = ", 'rss': true, 'mq': true";

static unsigned lands(Norm *x, const uint8_t *frame)
{
    unsigned at = 0;

    g_assert_cmpint(norm_net_from(x, 0, frame, 60), ==, NET_SENT);
    while (!norm_net_used(x, at * 2)) {
        g_assert_cmpuint(++at, <, NET_PAIRS);
    }
    return at;
}

/* The hash of ports and addresses decides, then that of addresses alone. */
static void rss_1(Norm *x)
{
    NORM("NET-CTRL-RSS-1");
    with_pairs(x, rss_on, 0);
    rss(x, TYPE_TCP, HASH_TCP % TABLE);
    g_assert_cmpuint(lands(x, tcp), ==, 1);
    rss(x, TYPE_IP, HASH_IP % TABLE);
    g_assert_cmpuint(lands(x, tcp), ==, 1);
    rss(x, TYPE_TCP, HASH_IP % TABLE);
    g_assert_cmpuint(lands(x, tcp), ==, 0);
    norm_net_close(x);
}

static void rss_2(Norm *x)
{
    NORM("NET-CTRL-RSS-2");
    with_pairs(x, rss_on, 0);
    rss(x, TYPE_TCP | TYPE_IP, 1);
    g_assert_cmpuint(lands(x, arp), ==, UNCLASSIFIED);
    norm_net_close(x);
}

static void rss_3(Norm *x)
{
    NORM("NET-CTRL-RSS-3");
    with_pairs(x, rss_on, 0);
    for (unsigned i = 0; i < TABLE; i++) {
        rss(x, TYPE_TCP, i);
        g_assert_cmpuint(lands(x, tcp), ==, i == HASH_TCP % TABLE);
    }
    norm_net_close(x);
}

static void rss_4(Norm *x)
{
    NORM("NET-CTRL-RSS-4");
    with_pairs(x, rss_on, 0);
    rss(x, TYPE_TCP, HASH_TCP % TABLE);
    norm_net_reset_queue(x, 2, false);
    g_assert_cmpint(norm_net_from(x, 0, tcp, sizeof tcp), ==, NET_DROPPED);
    g_assert_cmpuint(norm_net_used(x, 0) + norm_net_used(x, 4), ==, 0);
    norm_net_close(x);
}

/* ---- notification coalescing ---- */

static void coal_open(Norm *x)
{
    norm_net_open_pairs(
        x, ", 'mq': true, 'vectors': 8, 'x-notf-coal': true, 'x-vq-notf-coal': true", NORM_MSIX);
    norm_net_start(x, NORM_BIT(VIRTIO_F_EVENT_IDX));
    for (unsigned q = 0; q < NET_PAIRS; q++) {
        norm_net_give_to(x, q, 32);
    }
    g_assert_cmpuint(set_pairs(x, NET_PAIRS), ==, 0);
}

static uint8_t set_all(Norm *x, uint8_t which, uint32_t packets, uint32_t usecs)
{
    const uint32_t c[2] = { packets, usecs };

    return norm_net_command(x, COAL, which, c, sizeof c);
}

static uint8_t set_queue(Norm *x, uint16_t queue, uint16_t reserved, uint32_t packets)
{
    const struct {
        uint16_t queue, reserved;
        uint32_t packets, usecs;
    } c = { queue, reserved, packets, 1000 };

    return norm_net_command(x, COAL, VQ_SET, &c, sizeof c);
}

/* The answer has to be 0, and the numbers these. */
static uint8_t get_queue(Norm *x, uint16_t queue, uint32_t *ret)
{
    uint64_t at = x->page + 0x9000;
    const uint8_t head[2] = { COAL, VQ_GET };
    const uint16_t which[2] = { queue, 0 };
    const VBuf b[] = { { at, 2, false }, { at + 16, 4, false }, { at + 32, 1, true },
        { at + 48, 8, true } };
    uint32_t id, used;
    uint8_t ack = 0xee;

    x->b->port.write(x->b, at, head, 2);
    x->b->port.write(x->b, at + 16, which, 4);
    vring_add(&x->d.ring[NET_PAIRS * 2], b, 4, 0);
    vd_kick(&x->d, NET_PAIRS * 2);
    vd_wait_used(&x->d, NET_PAIRS * 2, &id, &used);
    x->b->port.read(x->b, at + 32, &ack, 1);
    x->b->port.read(x->b, at + 48, ret, 8);
    g_assert_cmpuint(used, ==, ack ? 1 : 9);
    return ack;
}

static void expect(Norm *x, uint16_t queue, uint32_t packets, uint32_t usecs)
{
    uint32_t c[2];

    g_assert_cmpuint(get_queue(x, queue, c), ==, 0);
    g_assert_cmpuint(c[0], ==, packets);
    g_assert_cmpuint(c[1], ==, usecs);
}

/* n frames to a pair; how many interrupts they made. */
static unsigned interrupts(Norm *x, unsigned pair, unsigned n)
{
    unsigned told = 0;

    vd_msi(&x->d, 1 + pair * 2);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(norm_net_from(x, pair, tcp, sizeof tcp), ==, NET_SENT);
        told += vd_msi(&x->d, 1 + pair * 2) != 0;
    }
    return told;
}

static void pass(Norm *x, int64_t usecs)
{
    clock_virtual_advance_to(clock_ns(CLOCK_KIND_VIRTUAL) + usecs * 1000);
    board_run(x->b);
}

static void coal_1(Norm *x)
{
    NORM("NET-CTRL-COAL-1");
    coal_open(x);
    g_assert_cmpuint(set_queue(x, 0, 0xffff, 7), ==, 0);
    expect(x, 0, 7, 1000);
    norm_net_close(x);
}

/* What cannot be set: a command of another length. */
static void coal_2(Norm *x)
{
    const uint32_t c[4] = { 5, 5, 5, 5 };

    NORM("NET-CTRL-COAL-2");
    coal_open(x);
    for (uint8_t which = TX_SET; which <= RX_SET; which++) {
        g_assert_cmpuint(norm_net_command(x, COAL, which, c, 4), ==, 1);
        g_assert_cmpuint(norm_net_command(x, COAL, which, c, 12), ==, 1);
    }
    expect(x, 0, 0, 0);
    expect(x, 1, 0, 0);
    norm_net_close(x);
}

static void coal_3(Norm *x)
{
    const uint32_t c[4] = { 0, 5, 5, 5 };

    NORM("NET-CTRL-COAL-3");
    coal_open(x);
    g_assert_cmpuint(norm_net_command(x, COAL, VQ_SET, c, 4), ==, 1);
    g_assert_cmpuint(norm_net_command(x, COAL, VQ_SET, c, 16), ==, 1);
    expect(x, 0, 0, 0);
    norm_net_close(x);
}

static void coal_4(Norm *x)
{
    uint32_t c[2];

    NORM("NET-CTRL-COAL-4");
    coal_open(x);
    norm_net_reset_queue(x, 3, false);
    for (unsigned i = 0; i < 4; i++) {
        static const uint16_t none[] = { NET_PAIRS * 2, NET_PAIRS * 2 + 1, 3, 0xffff };

        g_assert_cmpuint(set_queue(x, none[i], 0, 7), ==, 1);
        g_assert_cmpuint(get_queue(x, none[i], c), ==, 1);
    }
    norm_net_close(x);
}

/* Disabled and enabled again: what the command for all queues said, and 0 before that. */
static void coal_again(Norm *x, unsigned queue, uint8_t which)
{
    coal_open(x);
    g_assert_cmpuint(set_queue(x, (uint16_t)queue, 0, 7), ==, 0);
    norm_net_reset_queue(x, queue, true);
    expect(x, (uint16_t)queue, 0, 0);
    g_assert_cmpuint(set_all(x, which, 15, 10), ==, 0);
    g_assert_cmpuint(set_all(x, !which, 3, 4), ==, 0);
    g_assert_cmpuint(set_queue(x, (uint16_t)queue, 0, 7), ==, 0);
    expect(x, (uint16_t)queue, 7, 1000);
    norm_net_reset_queue(x, queue, true);
    expect(x, (uint16_t)queue, 15, 10);
    norm_net_close(x);
}

static void coal_5(Norm *x)
{
    NORM("NET-CTRL-COAL-5");
    coal_again(x, 3, TX_SET);
}

static void coal_6(Norm *x)
{
    NORM("NET-CTRL-COAL-6");
    coal_again(x, 2, RX_SET);
}

/* By number, by time, and at once when the numbers change (5.1.9.5.10.1, 10.4). */
static void coal_7(Norm *x)
{
    NORM("NET-CTRL-COAL-7");
    coal_open(x);
    g_assert_cmpuint(interrupts(x, 0, 4), ==, 4);
    g_assert_cmpuint(set_all(x, RX_SET, 5, 100), ==, 0);
    g_assert_cmpuint(interrupts(x, 0, 15), ==, 3);
    g_assert_cmpuint(interrupts(x, 0, 2), ==, 0);
    pass(x, 99);
    g_assert_cmphex(vd_msi(&x->d, 1), ==, 0);
    pass(x, 1);
    g_assert_cmphex(vd_msi(&x->d, 1), !=, 0);
    g_assert_cmpuint(interrupts(x, 0, 4), ==, 0);
    g_assert_cmpuint(set_all(x, RX_SET, 3, 100), ==, 0);
    g_assert_cmphex(vd_msi(&x->d, 1), !=, 0);
    g_assert_cmpuint(interrupts(x, 0, 2), ==, 0);
    g_assert_cmpuint(set_all(x, RX_SET, 0, 100), ==, 0);
    g_assert_cmphex(vd_msi(&x->d, 1), !=, 0);
    norm_note("exactly as often as the numbers say, for frames that come one by one");
    norm_net_close(x);
}

/* A driver that wants no interrupt gets none, and none of those it did not want later. */
static void coal_8(Norm *x)
{
    const uint16_t no = 1, yes = 0;

    NORM("NET-CTRL-COAL-8");
    coal_open(x);
    g_assert_cmpuint(set_all(x, RX_SET, 3, 100), ==, 0);
    x->b->port.write(x->b, x->d.ring[0].driver, &no, 2); /* VIRTQ_AVAIL_F_NO_INTERRUPT */
    g_assert_cmpuint(interrupts(x, 0, 6), ==, 0);
    pass(x, 1000);
    g_assert_cmphex(vd_msi(&x->d, 1), ==, 0);
    x->b->port.write(x->b, x->d.ring[0].driver, &yes, 2);
    g_assert_cmpuint(interrupts(x, 0, 3), ==, 1);
    norm_net_close(x);
}

static void coal_9(Norm *x)
{
    NORM("NET-CTRL-COAL-9");
    coal_open(x);
    g_assert_cmpuint(set_all(x, RX_SET, 30, 100), ==, 0);
    g_assert_cmpuint(set_all(x, TX_SET, 30, 100), ==, 0);
    g_assert_cmpuint(interrupts(x, 0, 2), ==, 0);
    vd_set_status(&x->d, 0);
    norm_net_start(x, 0);
    for (uint16_t q = 0; q < NET_PAIRS * 2; q++) {
        expect(x, q, 0, 0);
    }
    norm_net_close(x);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "TXT-NET-MULTIQUEUE-MODE-2", mode_2, NORM_BARE, NULL },
        { "TXT-NET-MULTIQUEUE-MODE-3", mode_3, NORM_BARE, NULL },
        { "TXT-NET-CTRL-MQ-3", txt_mq_3, NORM_BARE, NULL },
        { "TXT-NET-CTRL-MQ-4", txt_mq_4, NORM_BARE, NULL },
        { "TXT-NET-CTRL-MQ-5", txt_mq_5, NORM_BARE, NULL },
        { "NET-CTRL-MQ-2", mq_2, NORM_BARE, NULL },
        { "NET-CTRL-MQ-3", mq_3, NORM_BARE, NULL },
        { "NET-CTRL-MQ-4", mq_4, NORM_BARE, NULL },
        { "NET-CTRL-RSS-1", rss_1, NORM_BARE, NULL },
        { "NET-CTRL-RSS-2", rss_2, NORM_BARE, NULL },
        { "NET-CTRL-RSS-3", rss_3, NORM_BARE, NULL },
        { "NET-CTRL-RSS-4", rss_4, NORM_BARE, NULL },
        { "NET-CTRL-COAL-1", coal_1, NORM_BARE, NULL },
        { "NET-CTRL-COAL-2", coal_2, NORM_BARE, NULL },
        { "NET-CTRL-COAL-3", coal_3, NORM_BARE, NULL },
        { "NET-CTRL-COAL-4", coal_4, NORM_BARE, NULL },
        { "NET-CTRL-COAL-5", coal_5, NORM_BARE, NULL },
        { "NET-CTRL-COAL-6", coal_6, NORM_BARE, NULL },
        { "NET-CTRL-COAL-7", coal_7, NORM_BARE, NULL },
        { "NET-CTRL-COAL-8", coal_8, NORM_BARE, NULL },
        { "NET-CTRL-COAL-9", coal_9, NORM_BARE, NULL },
    };

    clock_virtual_use_qtest();
    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
