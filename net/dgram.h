/* A back end whose packets are datagrams: -netdev dgram, and socket with udp=, mcast= and a
 * datagram fd=. Main loop. */
#pragma once

#include "net/net.h"

#include <sys/socket.h>

/* Takes fd. to: where packets go; to_len 0: fd is connected. path: our socket file, which goes with
 * the port; NULL. */
NetPort *net_dgram_new(const char *id, const char *type, int fd, const struct sockaddr *to,
    socklen_t to_len, const char *path);
void net_dgram_close(NetPort *p);
/* Sockets: bound to local, or in the multicast group; -1 and *err. localaddr: which interface,
 * NULL: any. */
struct sockaddr_in;
struct in_addr;
int net_udp_socket(const struct sockaddr_in *local, GError **err);
int net_mcast_socket(
    const struct sockaddr_in *group, const struct in_addr *localaddr, GError **err);
