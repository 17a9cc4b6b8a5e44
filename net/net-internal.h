/* Inside net/: the back ends' table entries. */
#pragma once

#include "config-host.h"
#include "net/net.h"

extern const NetBackend net_user, net_tap, net_bridge, net_socket, net_stream, net_dgram,
    net_hubport;
/* A port of that name, queue 0. */
NetPort *net_port_find(const char *id, bool backends_only);
void hub_check(void); /* hub.c: warns of hubs that lead nowhere */

void hub_describe(GString *out);
void net_describe_end(GString *out, const char *indent, const NetPort *p);

/* filter.c: what net.c asks of filters */
NetVerdict net_filter_send(NetPort *from, const struct iovec *iov, unsigned n, size_t len);
/* True: nothing of from's waits any more. */
bool net_filter_flush(NetPort *from);
void net_filter_forget(NetPort *p); /* the port goes, its filters with it */
void net_filter_describe_all(const NetPort *p, GString *out);
/* At most max bytes of a packet in one piece. Returns how many. */
size_t net_flatten(const struct iovec *iov, unsigned n, uint8_t *dst, size_t max);
