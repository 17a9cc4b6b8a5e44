/* A network cable: two ports, packets, back pressure. A NIC owns one end, a back end the other. */
#pragma once

#include "object/obj.h"
#include "object/qmp.h"
#include "util/loop.h"

#include <sys/uio.h>

typedef struct NetPort NetPort;
typedef struct NetBackend NetBackend;
typedef enum NetVerdict { NET_SENT, NET_QUEUED, NET_DROPPED } NetVerdict;

typedef struct NetPortOps {
    /*
     * NET_QUEUED: not taken; the sender keeps it (the bytes stay the sender's) and tries again
     * after its writable(). iov is readable during the call only.
     */
    NetVerdict (*receive)(NetPort *p, const struct iovec *iov, unsigned n, size_t len);
    void (*writable)(NetPort *p); /* the peer can take packets again */
    void (*link)(NetPort *p, bool up);
    /* a NIC: what it takes, as query-rx-filter shows it but for "name"; NULL: it cannot say */
    Json *(*rx_filter)(NetPort *p);
    /* announce-self: a NIC tells the network where it is now; NULL: it cannot */
    void (*announce)(NetPort *p);
} NetPortOps;
struct NetPort {
    const NetPortOps *ops;
    NetPort *peer;
    char *id;                  /* "net0": -netdev's id, or the NIC's name */
    const char *type;          /* "user", "tap", "nic" */
    const NetBackend *backend; /* NULL: a NIC */
    char *info;                /* info network's text; may change */
    bool link_down;
    bool filter_told;      /* NIC_RX_FILTER_CHANGED went out, and nobody has asked since */
    bool blocked;          /* its last send was NET_QUEUED: it waits for writable() */
    uint32_t vnet_hdr_len; /* bytes of virtio-net header in front of each packet; 0: none */
    uint8_t mac[6];        /* a NIC's, as announce-self tells it */
    unsigned index;        /* which queue of its NIC or back end */
    NetPort **queue;       /* queue 0: the others, borrowed from the owner; NULL: none */
    unsigned nqueues;      /* queue 0: how many there are with it; 0: one */
    GPtrArray *filters;    /* NetFilter*, in their order; NULL: none */
    GQueue *held;          /* GBytes: let go by a filter, and refused by the peer; NULL: none */
    Loop *loop;            /* whose packets they are; both ends of a cable have the same */
};

/* Sends from one end to the other. Link down or no peer: NET_DROPPED. In from->loop. */
NetVerdict net_send(NetPort *from, const struct iovec *iov, unsigned n, size_t len);
/* The receiver can take packets again: calls the peer's writable() if it was refused. In its loop.
 */
void net_ready(NetPort *receiver);
void net_port_init(NetPort *p, const NetPortOps *ops, const char *type, const char *id);
void net_port_fini(NetPort *p); /* unlinks first */
/* Queue i of a NIC or back end, p being queue 0. */
NetPort *net_queue(NetPort *p, unsigned i);
static inline unsigned net_queues(const NetPort *p)
{
    return p->nqueues ? p->nqueues : 1;
}
/* "e1000.0": a NIC's name when the user gave none; g_free. */
char *net_nic_name(const char *model);
void net_connect(NetPort *a, NetPort *b);
void net_disconnect(NetPort *p);
/* The NIC's packets, with its back end's, are another loop's from now on. VM lock; false: the back
 * end stays where it is. */
bool net_move(NetPort *nic, Loop *loop, GError **err);
bool net_set_link(const char *id, bool up, GError **err);
void net_set_info(NetPort *p, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* A NIC's address as of now: the port's, and what info network shows. */
void net_set_nic(NetPort *p, const char *model, const uint8_t mac[6]);
/* A NIC's filter changed: NIC_RX_FILTER_CHANGED, once until somebody asks. path: the NIC's object.
 * Main loop. */
void net_rx_filter_changed(NetPort *p, const char *path);
/* Offloads both ways when the back end has a vnet header (tap). */
enum {
    NET_OFFLOAD_CSUM = 1,
    NET_OFFLOAD_TSO4 = 2,
    NET_OFFLOAD_TSO6 = 4,
    NET_OFFLOAD_ECN = 8,
    NET_OFFLOAD_UFO = 16,
    NET_OFFLOAD_USO4 = 32,
    NET_OFFLOAD_USO6 = 64,
    NET_OFFLOAD_TUNNEL = 128, /* in UDP */
    NET_OFFLOAD_TUNNEL_CSUM = 256
};

struct NetBackend {
    const char *type; /* -netdev type= */
    const char *help;
    size_t size; /* of cfg */
    const PropSpec *props;
    NetPort *(*open)(const char *id, void *cfg, GError **err); /* cfg is freed after the call */
    void (*close)(NetPort *p);
    uint64_t (*offloads)(NetPort *p); /* NET_OFFLOAD_*: what it can take and give. NULL: none */
    /* In p->loop, as the next one; NULL: none */
    bool (*set_offload)(NetPort *p, uint64_t offloads, uint32_t vnet_hdr_len);
    bool (*enable)(NetPort *p, bool on); /* a queue takes part, or not; NULL: all always do */
    int (*vhost_fd)(NetPort *p);         /* -1: packets go through receive() */
    /* The descriptors of one queue go to that loop, and p->loop says so. NULL: main only */
    void (*move)(NetPort *p, Loop *loop);
};
extern const NetBackend *const net_backends[]; /* net/net.c */

NetPort *net_backend_create(
    const Json *args, GError **err); /* -netdev, netdev_add: {type, id, …} */
bool net_backend_delete(const char *id, GError **err);
NetPort *net_find(const char *id); /* a back end's queue 0 */
void net_each(void (*fn)(NetPort *p, void *opaque), void *opaque);
/* Says which ports and hubs lead nowhere. After all devices exist. */
void net_check(void);
void net_cleanup(void);
void net_describe(GString *out); /* info network */
/* -object filter-X: made after the back ends. */
bool net_is_filter(const char *type);
/* hostfwd_add, hostfwd_remove, info usernet. id: NULL is the first user network. */
bool net_user_forward(const char *id, const char *rule, bool add, GError **err);
void net_user_describe(GString *out);
/* A default MAC for the n-th NIC without one: 52:54:00:12:34:56 + n. */
void net_default_mac(MacAddr *ret);
/* -nic / -net nic: model, mac, netdev id; boards and main make the devices. */

extern const QmpCmd net_qmp_cmds[];

/* prop type for netdev=ID: keeps a NetPort* that has no peer yet; "Property
 * 'virtio-net-device.netdev' can't find value 'x'". */
extern const PropType prop_netdev;
#define PROP_NETDEV(n, T, f, h)                                                                    \
    {                                                                                              \
        .name = (n), .type = &prop_netdev, .offset = PROP_AT(T, f, NetPort *), .bit = -1,          \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
