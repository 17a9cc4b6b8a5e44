/* Normative sentences about virtio-net's control commands (VIRTIO 1.4, 5.1.9.5). */
#include "hw/virtio/virtio-net.h"
#include "tests/conformance/norm-net.h"

enum { RX = 0, MAC = 1, VLAN = 2, ANNOUNCE = 3, MQ = 4, OFFLOADS = 5 };
enum { PROMISC, ALLMULTI, ALLUNI, NOMULTI, NOUNI, NOBCAST };
static const char third[] = "52:54:00:00:00:02";

static void mode(Norm *x, uint8_t cmd, uint8_t on)
{
    g_assert_cmpuint(norm_net_command(x, RX, cmd, &on, 1), ==, 0);
}

/* One address of each kind in the tables. */
static void set_table(Norm *x)
{
    static const uint8_t data[20] = { 1, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 1, /* NET_OTHER */
        1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1 };                                /* NET_MULTI */

    g_assert_cmpuint(norm_net_command(x, MAC, 0, data, sizeof data), ==, 0);
}

/* Not promiscuous: what the filters say counts. */
static void filtered(Norm *x, const char *opts, unsigned how, uint64_t without)
{
    norm_net_open(x, opts, how, false);
    norm_net_start(x, without);
    mode(x, PROMISC, 0);
}

static void rx_1(Norm *x)
{
    NORM("NET-CTRL-RX-1");
    filtered(x, "", 0, 0);
    g_assert_false(norm_net_takes(x, NET_OTHER));
    mode(x, PROMISC, 1);
    g_assert_true(norm_net_takes(x, NET_ME));
    g_assert_true(norm_net_takes(x, NET_OTHER));
    g_assert_true(norm_net_takes(x, NET_MULTI));
    g_assert_true(norm_net_takes(x, NET_ALL));
    norm_net_close(x);
}

static void rx_2(Norm *x)
{
    NORM("NET-CTRL-RX-2");
    filtered(x, "", 0, 0);
    mode(x, PROMISC, 1);
    for (uint8_t other = NOMULTI; other <= NOBCAST; other++) {
        mode(x, other, 1);
    }
    g_assert_true(norm_net_takes(x, NET_ME));
    g_assert_true(norm_net_takes(x, NET_OTHER));
    g_assert_true(norm_net_takes(x, NET_MULTI));
    g_assert_true(norm_net_takes(x, NET_ALL));
    norm_net_close(x);
}

/* With the mode off `before`, with it on `after`; over: another mode that is on as well. */
static void switches(Norm *x, uint8_t cmd, int over, const char *dst, bool before, bool after)
{
    filtered(x, "", 0, 0);
    if (over >= 0) {
        mode(x, (uint8_t)over, 1);
    }
    g_assert_cmpint(norm_net_takes(x, dst), ==, before);
    mode(x, cmd, 1);
    g_assert_cmpint(norm_net_takes(x, dst), ==, after);
    mode(x, cmd, 0);
    g_assert_cmpint(norm_net_takes(x, dst), ==, before);
    norm_net_close(x);
}

static void rx_3(Norm *x)
{
    NORM("NET-CTRL-RX-3");
    switches(x, ALLMULTI, -1, NET_MULTI, false, true);
}

static void rx_4(Norm *x)
{
    NORM("NET-CTRL-RX-4");
    switches(x, ALLUNI, -1, NET_OTHER, false, true);
}

static void rx_5(Norm *x)
{
    NORM("NET-CTRL-RX-5");
    filtered(x, "", 0, 0);
    set_table(x);
    g_assert_true(norm_net_takes(x, NET_MULTI));
    mode(x, NOMULTI, 1);
    g_assert_false(norm_net_takes(x, NET_MULTI));
    norm_net_close(x);
}

static void rx_6(Norm *x)
{
    NORM("NET-CTRL-RX-6");
    switches(x, NOMULTI, ALLMULTI, NET_MULTI, true, false);
}

static void rx_7(Norm *x)
{
    NORM("NET-CTRL-RX-7");
    switches(x, NOMULTI, ALLMULTI, NET_ALL, true, true);
}

static void rx_8(Norm *x)
{
    NORM("NET-CTRL-RX-8");
    switches(x, NOUNI, -1, NET_ME, true, false);
}

static void rx_9(Norm *x)
{
    NORM("NET-CTRL-RX-9");
    switches(x, NOUNI, ALLUNI, NET_OTHER, true, false);
}

static void rx_10(Norm *x)
{
    NORM("NET-CTRL-RX-10");
    switches(x, NOBCAST, -1, NET_ALL, true, false);
}

static void rx_11(Norm *x)
{
    NORM("NET-CTRL-RX-11");
    switches(x, NOBCAST, ALLMULTI, NET_ALL, true, false);
}

static void mac_1(Norm *x)
{
    NORM("NET-CTRL-MAC-1");
    filtered(x, "", 0, 0);
    set_table(x);
    vd_set_status(&x->d, 0);
    norm_net_start(x, 0);
    mode(x, PROMISC, 0);
    g_assert_false(norm_net_takes(x, NET_OTHER));
    g_assert_false(norm_net_takes(x, NET_MULTI));
    g_assert_true(norm_net_takes(x, NET_ME));
    norm_net_close(x);
}

static void mac_2(Norm *x)
{
    static const uint8_t none[8];

    NORM("NET-CTRL-MAC-2");
    filtered(x, "", 0, 0);
    g_assert_false(norm_net_takes(x, NET_OTHER));
    set_table(x); /* as soon as the command is used */
    g_assert_true(norm_net_takes(x, NET_OTHER));
    g_assert_true(norm_net_takes(x, NET_MULTI));
    g_assert_cmpuint(norm_net_command(x, MAC, 0, none, sizeof none), ==, 0);
    g_assert_false(norm_net_takes(x, NET_OTHER));
    g_assert_false(norm_net_takes(x, NET_MULTI));
    norm_net_close(x);
}

/* config.mac at each moment that the driver could see the command as used. */
static bool mac_late;

static void see_mac(void *opaque)
{
    const Norm *x = opaque;

    if (vring_used_idx(&x->d.ring[NET_CTRL]) == 2) {
        mac_late |= norm_dev(x, 5, 1) != 2;
    }
}

static void mac_3(Norm *x)
{
    static const uint8_t mac[6] = { 0x52, 0x54, 0, 0, 0, 2 };

    NORM("NET-CTRL-MAC-3");
    filtered(x, "", 0, 0);
    mac_late = false;
    norm_watch(x, x->d.ring[NET_CTRL].device, see_mac, x);
    g_assert_cmpuint(norm_net_command(x, MAC, 1, mac, 6), ==, 0);
    g_assert_cmpuint(norm_unwatch(), >, 0);
    g_assert_false(mac_late);
    for (unsigned i = 0; i < 6; i++) {
        g_assert_cmphex(norm_dev(x, i, 1), ==, mac[i]);
    }
    norm_net_close(x);
}

static void mac_4(Norm *x)
{
    static const uint8_t mac[6] = { 0x52, 0x54, 0, 0, 0, 2 };

    NORM("NET-CTRL-MAC-4");
    filtered(x, "", 0, 0);
    set_table(x);
    g_assert_true(norm_net_takes(x, NET_ME));
    g_assert_false(norm_net_takes(x, third));
    g_assert_cmpuint(norm_net_command(x, MAC, 1, mac, 6), ==, 0);
    g_assert_true(norm_net_takes(x, third));
    g_assert_false(norm_net_takes(x, NET_ME));
    g_assert_false(norm_net_takes(x, "01:00:5e:00:00:02"));
    norm_net_close(x);
}

static void leg_mac_1(Norm *x)
{
    NORM("LEG-NET-CTRL-MAC-1");
    filtered(x, "", NORM_LEGACY, 0);
    set_table(x); /* its counts are little-endian, as an x86 writes them */
    g_assert_true(norm_net_takes(x, NET_OTHER));
    g_assert_true(norm_net_takes(x, NET_MULTI));
    norm_net_close(x);
}

static void leg_mac_2(Norm *x)
{
    static const uint8_t mac[6] = { 0x52, 0x54, 0, 0, 0, 2 };
    bool early;

    NORM("LEG-NET-CTRL-MAC-2");
    filtered(x, "", NORM_LEGACY, NORM_BIT(NET_F_CTRL_MAC_ADDR));
    norm_dev_write(x, 0, 1, 0x56); /* the first byte: 56:54:00:aa:bb:cc */
    early = norm_net_takes(x, "56:54:00:aa:bb:cc");
    norm_note("an address takes effect %s", early ? "byte by byte" : "with its last byte");
    for (unsigned i = 0; i < 6; i++) {
        norm_dev_write(x, i, 1, mac[i]);
    }
    g_assert_true(norm_net_takes(x, third));
    norm_net_close(x);
}

static bool takes_vlan(Norm *x, uint16_t id)
{
    norm_net_give(x, 1, 2000);
    norm_net_vlan(x, NET_ME, id);
    return norm_net_arrived(x, NULL);
}

static void vlan_1(Norm *x)
{
    NORM("NET-CTRL-VLAN-1");
    filtered(x, "", 0, NORM_BIT(NET_F_CTRL_VLAN));
    for (uint16_t id = 0; id < 4096; id += 273) {
        g_assert_true(takes_vlan(x, id));
    }
    norm_net_close(x);
}

static void vlan(Norm *x, uint8_t cmd, uint16_t id)
{
    const uint8_t data[2] = { (uint8_t)id, (uint8_t)(id >> 8) };

    g_assert_cmpuint(norm_net_command(x, VLAN, cmd, data, 2), ==, 0);
}

static void vlan_2(Norm *x)
{
    static const uint16_t ids[] = { 0, 1, 255, 256, 4094, 4095 };

    NORM("NET-CTRL-VLAN-2");
    filtered(x, "", 0, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_assert_false(takes_vlan(x, ids[i]));
        vlan(x, 0, ids[i]);
        for (unsigned j = 0; j < G_N_ELEMENTS(ids); j++) {
            g_assert_cmpint(takes_vlan(x, ids[j]), ==, j <= i);
        }
    }
    vlan(x, 1, 256);
    g_assert_false(takes_vlan(x, 256));
    g_assert_true(takes_vlan(x, 255));
    norm_net_close(x);
}

static void leg_vlan_1(Norm *x)
{
    NORM("LEG-NET-CTRL-VLAN-1");
    filtered(x, "", NORM_LEGACY, 0);
    vlan(x, 0, 0x102);
    g_assert_true(takes_vlan(x, 0x102));
    g_assert_false(takes_vlan(x, 0x201));
    norm_net_close(x);
}

static bool announce_late;

static void see_announce(void *opaque)
{
    const Norm *x = opaque;

    if (vring_used_idx(&x->d.ring[NET_CTRL]) == 1) {
        announce_late |= norm_dev(x, 6, 2) & NET_S_ANNOUNCE;
    }
}

static void announce_1(Norm *x)
{
    NORM("NET-CTRL-ANNOUNCE-1");
    norm_net_open(x, "", 0, false);
    norm_net_start(x, 0);
    ((VirtioNet *)norm_pci(x)->vd)->status |= NET_S_ANNOUNCE;
    g_assert_cmphex(norm_dev(x, 6, 2) & NET_S_ANNOUNCE, !=, 0);
    announce_late = false;
    norm_watch(x, x->d.ring[NET_CTRL].device, see_announce, x);
    g_assert_cmpuint(norm_net_command(x, ANNOUNCE, 0, NULL, 0), ==, 0);
    g_assert_cmpuint(norm_unwatch(), >, 0);
    g_assert_false(announce_late);
    g_assert_cmphex(norm_dev(x, 6, 2), ==, NET_S_LINK_UP);
    norm_net_close(x);
}

static void mode_1(Norm *x)
{
    NORM("TXT-NET-MULTIQUEUE-MODE-1");
    norm_net_open(x, ", 'mq': true", 0, false);
    norm_note("automatic steering: MQ with mq=on, %u pairs", (unsigned)norm_dev(x, 8, 2));
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(NET_F_MQ), !=, 0);
    norm_net_close(x);
}

static void mq_1(Norm *x)
{
    NORM("NET-CTRL-MQ-1");
    norm_net_open(x, ", 'mq': true", 0, false);
    for (unsigned round = 0; round < 2; round++) {
        norm_net_start(x, 0);
        for (unsigned i = 0; i < 4; i++) {
            g_assert_true(norm_net_takes(x, i % 2 ? NET_ME : NET_OTHER));
        }
        vd_set_status(&x->d, 0);
    }
    norm_net_close(x);
}

static void leg_mq_1(Norm *x)
{
    static const uint8_t one[2] = { 1, 0 }, swapped[2] = { 0, 1 };

    NORM("LEG-NET-CTRL-MQ-1");
    norm_net_open(x, ", 'mq': true", NORM_LEGACY, false);
    norm_net_start(x, 0);
    g_assert_cmpuint(norm_net_command(x, MQ, 0, one, 2), ==, 0);
    g_assert_cmpuint(norm_net_command(x, MQ, 0, swapped, 2), ==, 1); /* 256 pairs are not there */
    norm_net_close(x);
}

static void cfg_7(Norm *x)
{
    NORM("NET-CFG-7");
    for (unsigned i = 0; i < 2; i++) {
        norm_net_open(x, i ? ", 'hash': true" : ", 'rss': true", 0, true);
        g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(i ? NET_F_HASH_REPORT : NET_F_RSS), !=, 0);
        g_assert_cmpuint(norm_dev(x, 17, 1), >=, 40);
        norm_net_close(x);
    }
}

static void cfg_8(Norm *x)
{
    NORM("NET-CFG-8");
    norm_net_open(x, ", 'rss': true", 0, true);
    g_assert_cmpuint(norm_dev(x, 18, 2), >=, 128);
    norm_net_close(x);
}

/* RSS_CONFIG and HASH_CONFIG: a table of one entry, and what stands at its place there; a key. */
static uint8_t hash_command(Norm *x, uint8_t cmd)
{
    uint8_t c[8 + 2 + 2 + 1 + 40] = { 1 };

    c[10] = cmd == 1; /* max_tx_vq */
    c[12] = 40;
    c[13] = 0x80;
    return norm_net_command(x, MQ, cmd, c, sizeof c);
}

static void hash_1(Norm *x)
{
    NORM("TXT-NET-HASH-1");
    norm_net_open(x, ", 'rss': true, 'hash': true", 0, true);
    norm_net_start(x, 0);
    g_assert_cmpuint(hash_command(x, 1), ==, 0);
    norm_net_close(x);
}

static void hash_2(Norm *x)
{
    NORM("TXT-NET-HASH-2");
    norm_net_open(x, ", 'hash': true", 0, true);
    norm_net_start(x, 0);
    g_assert_cmpuint(hash_command(x, 2), ==, 0);
    norm_net_close(x);
}

static void hash2_1(Norm *x)
{
    NORM("TXT-NET-HASH2-1");
    norm_net_open(x, ", 'hash': true, 'mq': true", 0, true);
    norm_net_start(x, 0);
    g_assert_cmpuint(hash_command(x, 2), ==, 0);
    norm_net_close(x);
}

static void leg_offloads_1(Norm *x)
{
    static const uint8_t csum[8] = { 2 };

    NORM("LEG-NET-CTRL-OFFLOADS-1");
    norm_net_open(x, "", NORM_LEGACY, true);
    norm_net_start(x, 0);
    g_assert_cmphex(norm_net_asked(), !=, NET_OFFLOAD_CSUM);
    g_assert_cmpuint(norm_net_command(x, OFFLOADS, 0, csum, 8), ==, 0);
    g_assert_cmphex(norm_net_asked(), ==, NET_OFFLOAD_CSUM);
    norm_net_close(x);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "NET-CTRL-RX-1", rx_1, NORM_BARE, NULL },
        { "NET-CTRL-RX-2", rx_2, NORM_BARE, NULL },
        { "NET-CTRL-RX-3", rx_3, NORM_BARE, NULL },
        { "NET-CTRL-RX-4", rx_4, NORM_BARE, NULL },
        { "NET-CTRL-RX-5", rx_5, NORM_BARE, NULL },
        { "NET-CTRL-RX-6", rx_6, NORM_BARE, NULL },
        { "NET-CTRL-RX-7", rx_7, NORM_BARE, NULL },
        { "NET-CTRL-RX-8", rx_8, NORM_BARE, NULL },
        { "NET-CTRL-RX-9", rx_9, NORM_BARE, NULL },
        { "NET-CTRL-RX-10", rx_10, NORM_BARE, NULL },
        { "NET-CTRL-RX-11", rx_11, NORM_BARE, NULL },
        { "NET-CTRL-MAC-1", mac_1, NORM_BARE, NULL },
        { "NET-CTRL-MAC-2", mac_2, NORM_BARE, NULL },
        { "NET-CTRL-MAC-3", mac_3, NORM_BARE, NULL },
        { "NET-CTRL-MAC-4", mac_4, NORM_BARE, NULL },
        { "LEG-NET-CTRL-MAC-1", leg_mac_1, NORM_BARE, NULL },
        { "LEG-NET-CTRL-MAC-2", leg_mac_2, NORM_BARE, NULL },
        { "NET-CTRL-VLAN-1", vlan_1, NORM_BARE, NULL },
        { "NET-CTRL-VLAN-2", vlan_2, NORM_BARE, NULL },
        { "LEG-NET-CTRL-VLAN-1", leg_vlan_1, NORM_BARE, NULL },
        { "NET-CTRL-ANNOUNCE-1", announce_1, NORM_BARE, NULL },
        { "TXT-NET-MULTIQUEUE-MODE-1", mode_1, NORM_BARE, NULL },
        { "NET-CTRL-MQ-1", mq_1, NORM_BARE, NULL },
        { "LEG-NET-CTRL-MQ-1", leg_mq_1, NORM_BARE, NULL },
        { "NET-CFG-7", cfg_7, NORM_BARE, NULL },
        { "NET-CFG-8", cfg_8, NORM_BARE, NULL },
        { "TXT-NET-HASH-1", hash_1, NORM_BARE, NULL },
        { "TXT-NET-HASH-2", hash_2, NORM_BARE, NULL },
        { "TXT-NET-HASH2-1", hash2_1, NORM_BARE, NULL },
        { "LEG-NET-CTRL-OFFLOADS-1", leg_offloads_1, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
