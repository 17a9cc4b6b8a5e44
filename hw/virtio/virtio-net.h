/* Inside virtio-net: the device's state, shared by the data path and the control queue. */
#pragma once

#include "backends/iothread.h"
#include "hw/virtio/virtio-pci.h"
#include "net/csum.h"
#include "net/net.h"
#include "util/timer.h"

#include <stddef.h>

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
    NET_F_VQ_NOTF_COAL = 52,
    NET_F_NOTF_COAL = 53,
    NET_F_GUEST_USO4 = 54,
    NET_F_GUEST_USO6 = 55,
    NET_F_HOST_USO = 56,
    NET_F_HASH_REPORT = 57,
    NET_F_RSS = 60,
    NET_F_RSC_EXT = 61,
    NET_F_STANDBY = 62,
    NET_F_SPEED_DUPLEX = 63,
    /* the standard's ..._UDP_TUNNEL_GSO and ..._UDP_TUNNEL_GSO_CSUM */
    NET_F_GUEST_TUNNEL = 65,
    NET_F_GUEST_TUNNEL_CSUM = 66,
    NET_F_HOST_TUNNEL = 67,
    NET_F_HOST_TUNNEL_CSUM = 68,
};
/* Where the command that switches offloads has bits 65 and 66 (VIRTIO 1.4, 5.1.9.5.9.1). */
enum { NET_OFFLOAD_BIT_TUNNEL = 46, NET_OFFLOAD_BIT_TUNNEL_CSUM = 47 };
enum { NET_HDR_MAX = 24, NET_RSS_KEY = 40, NET_RSS_TABLE = 128, NET_HASH_TYPES = 0x1ff };
enum { NET_TX_IOV = 1100, NET_RX_CHAINS = 1024 };
enum { NET_FRAME_MAX = 65536 + 64, NET_HDR_PEER = 12 }; /* header of a host without tunnels */
enum {
    NET_HDR_NEEDS_CSUM = 1,
    NET_HDR_DATA_VALID = 2,
    NET_HDR_RSC_INFO = 4,
    NET_HDR_TUNNEL_CSUM = 8
};
enum { NET_S_LINK_UP = 1, NET_S_ANNOUNCE = 2, NET_MAC_TABLE = 64, NET_VLANS = 4096 };

typedef struct NetConfig {
    uint8_t mac[6];
    le16 status, max_virtqueue_pairs, mtu;
    le32 speed;
    uint8_t duplex, rss_max_key_size;
    le16 rss_max_indirection_table_length;
    le32 supported_hash_types;
} __attribute__((packed)) NetConfig;
_Static_assert(sizeof(NetConfig) == 24, "VIRTIO 1.4, 5.1.4");

typedef struct MacTable {
    unsigned n;
    bool overflow;
    uint8_t a[NET_MAC_TABLE][6];
} MacTable;

/* In front of each packet (VIRTIO 1.4, 5.1.9): 10 bytes, 12, 20 with a hash, or 24 with tunnels.
 * The host has the same: struct virtio_net_hdr_v1_hash_tunnel of linux/virtio_net.h. */
typedef struct NetHeader {
    uint8_t flags, gso_type;
    le16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
    le32 hash_value;
    le16 hash_report, padding;
    le16 outer_th_offset, inner_nh_offset;
} NetHeader;
_Static_assert(sizeof(NetHeader) == NET_HDR_MAX, "VIRTIO 1.4, 5.1.9");

/* What came to other pairs, whose loops are not this one's (virtio-net-loop.c). */
typedef struct NetParcel NetParcel;
typedef struct NetInbox {
    GMutex lock;
    NetParcel *first, *last;
    _Atomic unsigned packets; /* written under the lock */
    size_t bytes;
    bool posted, refused; /* its loop was told; somebody found no room */
} NetInbox;

/* A receive and a transmit queue, and their end of the cable. All but s and loop is the loop's. */
typedef struct NetPair {
    NetPort port;
    struct VirtioNet *s;
    Loop *loop;
    bool held; /* nothing passes: no driver runs, or something changes */
    NetInbox inbox;
    unsigned parcels;           /* given to other pairs so far */
    Timer tx_timer;             /* tx=timer */
    unsigned tx_count;          /* packets of a batch */
    unsigned tx_quota;          /* packets that may go before the timer is asked again */
    NetSegs segs;               /* n: a packet that is sent in software, and waits for the peer */
    uint8_t *soft_tx, *soft_rx; /* NET_FRAME_MAX bytes: the copies; NULL: not yet */
    uint32_t fragment_id;       /* the last that was used */
    struct NetRsc *rsc;         /* segments on their way to be one; NULL: RSC_EXT is not wanted */
    /* of the packet at hand, as an element holds for one call only */
    struct iovec tx_iov[NET_TX_IOV];
    VqElem *rx[NET_RX_CHAINS];
} NetPair;

/* Receive-side scaling and hashing as the driver wants it (VIRTIO 1.4, 5.1.6.4.3). */
typedef struct NetRss {
    bool steer;     /* RSS_CONFIG chooses the queue */
    uint32_t types; /* of hashes */
    uint16_t mask, unclassified, table[NET_RSS_TABLE];
    uint8_t key[NET_RSS_KEY];
} NetRss;

/* Notification coalescing (VIRTIO 1.4, 5.1.9.5.10): what the driver set for all queues of a kind,
 * and a queue. */
typedef struct NetCoalSet {
    uint32_t max_packets, max_usecs;
} NetCoalSet;
typedef struct NetCoal {
    struct VirtioNet *s;
    uint32_t max_packets, max_usecs, count;
    Timer timer;
} NetCoal;

typedef struct VirtioNet {
    VirtioDev vd;
    NetPair *pair; /* npairs */
    unsigned npairs, active;
    bool special; /* frames are looked at for more than the filter: hashes, pairs that rest */
    bool tx_timed, coalescing, tx_watched; /* tx_watched: either of the others */
    NetCoal *coal;                         /* of each data queue */
    NetCoalSet coal_set[2];                /* receive, transmit */
    bool soft_offloads;                    /* property: offered whatever the back end can */
    NetRss rss;
    NetPort **ports; /* of pairs 1 and up */
    NetPort *netdev; /* property: the back end */
    MacAddr mac_prop;
    uint8_t mac[6];
    uint16_t rx_size, tx_size, host_mtu;
    int32_t speed, bootindex, tx_burst;
    uint32_t tx_timer, rsc_interval;
    char *duplex, *tx, *failover_id;
    bool failover, mtu_bypass, port_ready;
    Json *ebpf_fds;
    VqSpec *spec; /* of npairs * 2 + 1 queues; by role, which features decide */
    IoThreadUse threads;
    Loop **loop; /* those of the pairs, each once */
    unsigned nloops;
    unsigned ctrl_life; /* counts resets of the control queue */
    size_t hdr_len;     /* 10, 12, 20 or 24: VIRTIO 1.4, 5.1.9.3.1 */
    uint16_t status;
    /* Receive filter (control queue). */
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    MacTable uni, multi;
    uint64_t vlans[NET_VLANS / 64];
    uint64_t guest_wanted;   /* feature bits of receive offloads, as the driver switched them */
    bool guest_switched;     /* there is a driver, whose they are */
    uint64_t guest_offloads; /* NET_OFFLOAD_* in force */
    uint64_t peer_offloads;  /* NET_OFFLOAD_* that the back end can */
} VirtioNet;

/* virtio-net.c: a packet to the driver; data: behind the header. */
NetVerdict net_rx_deliver(VirtioNet *s, VirtQueue *rxq, NetHeader *h, GIov *data);
/* The same, by way of what coalesces segments. In the pair's loop. */
NetVerdict net_rx_pair(NetPair *q, NetHeader *h, GIov *data);
/* The address, where it is looked at and shown. */
void net_set_mac(VirtioNet *s, const uint8_t *mac);
/* Feature bits of receive offloads; both here and at the back end. */
void net_apply_offloads(VirtioNet *s, uint64_t features);

/* virtio-net-loop.c. What all pairs look at is changed by the main loop between net_hold() and
 * net_go_on(). */
typedef void NetPairFn(NetPair *q);
void net_each_pair(VirtioNet *s, NetPairFn *fn); /* each in its loop; main waits for them */
void net_hold(VirtioNet *s);
void net_go_on(VirtioNet *s);
void net_pair_go(NetPair *q);
void net_pair_ready(NetPair *q); /* who waited for it tries again */
void net_pair_stop(NetPair *q);
void net_pair_reset(NetPair *q);
void net_queue_reset(VirtioDev *d, unsigned i);
/* A packet that came to `from` goes to a pair, which may be another loop's. */
NetVerdict net_rx_to(NetPair *from, unsigned to, NetHeader *h, GIov *data);
void net_inbox_run(NetPair *q);
void net_inbox_clear(NetPair *q);
/* What waits in inboxes gets another place, by the rules of now; all pairs are held. */
void net_sort_again(VirtioNet *s);
VqVerdict net_ctrl_request(VirtioDev *d, VqElem *e);
Loop *net_queue_loop(VirtioDev *d, unsigned i);
bool net_loops_new(VirtioNet *s, GError **err); /* the pairs are there, and their cables */
void net_loops_free(VirtioNet *s);

/* virtio-net-ctrl.c: a command, whose header and answer have their bytes. */
void net_ctrl_run(VirtioNet *s, VqElem *e);
void net_filter_reset(VirtioNet *s);
Json *net_filter_describe(NetPort *p);
bool net_filter_accepts(const VirtioNet *s, const uint8_t *frame,
    size_t len); /* len: at least 18 are looked at if there */

/* virtio-net-soft.c: the packet of the header h, with what h asks for done. q->segs says what of it
 * waits. */
VqVerdict net_soft_send(NetPair *q, GIov *data, const NetHeader *h);
/* data becomes a copy with its checksum in it. False: h's numbers are not in the frame. */
bool net_soft_complete(NetPair *q, GIov *data, const NetHeader *h, struct iovec *ret);
void net_soft_free(NetPair *q);

/* virtio-net-tunnel.c: what a header says of tunnels may be said, before anything else is taken out
 * of it; properties that the back end has nothing for; feature bits as the command numbers them. */
bool net_tunnel_check(const VirtioNet *s, NetHeader *h, bool rx);
static inline bool net_tunnel_ok(const VirtioNet *s, NetHeader *h, bool rx)
{
    return !(h->gso_type & NET_GSO_TUNNEL || h->flags & NET_HDR_TUNNEL_CSUM) ||
           net_tunnel_check(s, h, rx);
}
bool net_tunnel_props_ok(const VirtioNet *s, uint64_t can, GError **err);
uint64_t net_tunnel_offload_bits(const VirtioNet *s);

/* virtio-net-mq.c */
static inline NetPair *net_pair_of(const NetPort *p)
{
    return (NetPair *)((char *)(uintptr_t)p - offsetof(NetPair, port));
}
static inline VirtQueue *net_rxq(const VirtioNet *s, unsigned i)
{
    return virtio_queue((VirtioDev *)(uintptr_t)&s->vd, i * 2);
}
/* The pair whose queue a frame goes to, and its hash in h. data: behind the header. */
unsigned net_steer(const VirtioNet *s, unsigned from, const GIov *data, NetHeader *h);
/* That many pairs are in use: the back end's others rest. */
void net_set_pairs(VirtioNet *s, unsigned n);
void net_rss_reset(VirtioNet *s);
bool net_ctrl_mq(VirtioNet *s, uint8_t cmd, GIov *in);
/* virtio-net-coal.c: the counters of all queues; n more packets are used; a command. */
void net_coal_new(VirtioNet *s);
void net_coal_count(VirtioNet *s, unsigned queue, unsigned n);
void net_coal_flush(NetPair *q); /* the machine stops: what has gathered is told */
void net_coal_reset_queue(VirtioNet *s, unsigned i);
void net_coal_reset_pair(NetPair *q);
void net_coal_reset(VirtioNet *s); /* what new queues begin with */
bool net_ctrl_coal(VirtioNet *s, uint8_t cmd, GIov *in, GIov *result);

/* tx=timer: whether a packet may go now; and it is counted. */
bool net_tx_turn(NetPair *q, VirtQueue *vq);
void net_tx_timer(void *opaque);
void net_tx_batch_end(VirtioDev *d, VirtQueue *vq);
uint32_t net_hash(const NetRss *r, const uint8_t *frame, size_t len, uint16_t *ret_report);
