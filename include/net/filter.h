/* Filters on a network port: -object filter-X,netdev=ID sees packets on their way. Main loop. */
#pragma once

#include "net/net.h"
#include "object/obj.h"

typedef struct NetFilter NetFilter;

/* ObjClass.ops of a filter. */
typedef struct NetFilterOps {
    /* True: the packet is taken and goes no further, unless net_filter_pass() lets it. from: whose
     * packet it is. */
    bool (*packet)(NetFilter *f, NetPort *from, const struct iovec *iov, unsigned n, size_t len);
    void (*status)(NetFilter *f); /* on or off now; NULL */
    /* True: packets that it would see have to wait until net_filter_ready(). NULL: never */
    bool (*full)(NetFilter *f);
    void (*drained)(NetFilter *f); /* what net_filter_pass() left waiting has gone on; NULL */
} NetFilterOps;

enum { FILTER_ALL, FILTER_RX, FILTER_TX }; /* RX: what the back end receives from the NIC */

struct NetFilter {
    Obj obj;
    char *netdev, *status, *position, *insert;
    int queue;
    NetPort *port; /* the back end; NULL: it is gone */
    bool on;
};

/* For a class's realize, and its unrealize. named: first of all. */
bool net_filter_named(const NetFilter *f, GError **err);
bool net_filter_attach(NetFilter *f, GError **err);
void net_filter_detach(NetFilter *f);
void net_filter_prop_changed(Obj *o, const PropSpec *row);
/* Sends on what f took, or made: the next filter is first. What the receiver refuses waits in the
 * port. */
void net_filter_pass(NetFilter *f, NetPort *from, const void *data, size_t len);
/* A filter that was full takes packets again. */
void net_filter_ready(NetFilter *f);
/* Does anything wait that f let go? */
bool net_filter_waits(const NetFilter *f);
extern const PropSpec net_filter_props[];

extern const ObjClass netfilter_class, filter_dump_class, filter_mirror_class,
    filter_redirector_class, filter_buffer_class;
