/* Inside virtio-net: the device's state, shared by the data path and the control queue. */
#pragma once

#include "hw/virtio/virtio-pci.h"
#include "net/net.h"

enum {
    NET_F_CSUM = 0,
    NET_F_GUEST_CSUM = 1,
    NET_F_CTRL_GUEST_OFFLOADS = 2,
    NET_F_MTU = 3,
    NET_F_MAC = 5,
    NET_F_GSO = 6,
    NET_F_GUEST_TSO4 = 7,
    NET_F_GUEST_TSO6 = 8,
    NET_F_GUEST_ECN = 9,
    NET_F_GUEST_UFO = 10,
    NET_F_HOST_TSO4 = 11,
    NET_F_HOST_TSO6 = 12,
    NET_F_HOST_ECN = 13,
    NET_F_HOST_UFO = 14,
    NET_F_MRG_RXBUF = 15,
    NET_F_STATUS = 16,
    NET_F_CTRL_VQ = 17,
    NET_F_CTRL_RX = 18,
    NET_F_CTRL_VLAN = 19,
    NET_F_CTRL_RX_EXTRA = 20,
    NET_F_GUEST_ANNOUNCE = 21,
    NET_F_MQ = 22,
    NET_F_CTRL_MAC_ADDR = 23,
    NET_F_GUEST_USO4 = 54,
    NET_F_GUEST_USO6 = 55,
    NET_F_HOST_USO = 56,
    NET_F_HASH_REPORT = 57,
    NET_F_RSS = 60,
    NET_F_RSC_EXT = 61,
    NET_F_STANDBY = 62,
    NET_F_SPEED_DUPLEX = 63,
};
enum { NET_TX_IOV = 1100, NET_RX_CHAINS = 1024 };
enum { NET_S_LINK_UP = 1, NET_S_ANNOUNCE = 2, NET_MAC_TABLE = 64, NET_VLANS = 4096 };

typedef struct NetConfig {
    uint8_t mac[6];
    le16 status, max_virtqueue_pairs, mtu;
    le32 speed;
    uint8_t duplex;
} __attribute__((packed)) NetConfig;
_Static_assert(sizeof(NetConfig) == 17, "VIRTIO 1.4, 5.1.4");

typedef struct MacTable {
    unsigned n;
    bool overflow;
    uint8_t a[NET_MAC_TABLE][6];
} MacTable;

typedef struct VirtioNet {
    VirtioDev vd;
    NetPort port;
    NetPort *netdev; /* property: the back end */
    MacAddr mac_prop;
    uint8_t mac[6];
    uint16_t rx_size, tx_size, host_mtu;
    int32_t speed, bootindex, tx_burst;
    uint32_t tx_timer, rsc_interval;
    char *duplex, *tx, *failover_id;
    bool failover, mtu_bypass, port_ready;
    Json *ebpf_fds;
    VqSpec spec[3];
    struct iovec
        tx_iov[NET_TX_IOV]; /* of the packet at hand, as the element holds for one call only */
    VqElem *rx[NET_RX_CHAINS];
    size_t hdr_len; /* 10 or 12: VIRTIO 1.4, 5.1.6.1 */
    uint16_t status;
    /* Receive filter (control queue). */
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    MacTable uni, multi;
    uint64_t vlans[NET_VLANS / 64];
    uint64_t guest_offloads; /* NET_OFFLOAD_* in force */
} VirtioNet;

/* virtio-net-ctrl.c */
VqVerdict net_ctrl_request(VirtioDev *d, VqElem *e);
void net_filter_reset(VirtioNet *s);
Json *net_filter_describe(NetPort *p);
bool net_filter_accepts(const VirtioNet *s, const uint8_t *frame,
    size_t len); /* len: at least 18 are looked at if there */
void net_apply_offloads(VirtioNet *s, uint64_t features);
