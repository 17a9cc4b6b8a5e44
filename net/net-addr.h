/* Socket addresses of back ends: as members of a JSON object, and as "host:port". */
#pragma once

#include "net/net.h"
#include "util/sock.h"

#include <netinet/in.h>

/* "addr"'s {type: inet|unix|fd, …} for streams; name is the option's. ret's fd is open. */
bool net_addr_parse(const Json *j, const char *id, const char *name, SockAddr *ret, GError **err);
/* prop_apply_struct() for stream and dgram. QEMU compat: their words for what is no number, and a
 * prefix ("addr.") in front of the parameter's name. */
bool net_apply_newer(
    const PropSpec *props, void *cfg, const Json *args, const char *prefix, GError **err);
/* A descriptor the user named: -1 and *err. id: who wants it, for the message; NULL */
int net_fd(const char *id, const char *text, GError **err);
/* "host:port", IPv4; an empty host is any. */
bool net_hostport(const char *text, struct sockaddr_in *ret, GError **err);
bool net_inet4(const char *host, const char *port, struct sockaddr_in *ret, GError **err);
/* "127.0.0.1:5000"; g_free */
char *net_hostport_text(const struct sockaddr_in *a);
/* What an event says of a connection's far end; *ret_info (g_free): "tcp:1.2.3.4:5", "unix:/path".
 */
Json *net_peer_describe(const SockAddr *a, int fd, bool server, char **ret_info);

/* A connection attempt in a thread of its own: names are looked up and peers take their time while
 * the guest runs. done gets an fd, or -1 and why. Main loop. */
typedef struct NetDial NetDial;
typedef void NetDialFn(void *opaque, int fd, const GError *err);
NetDial *net_dial(const SockAddr *a, NetDialFn *done, void *opaque);
void net_dial_cancel(NetDial *d); /* done is not called; NULL is fine */
