/* Listening and connecting stream sockets, datagrams to one peer; address text both ways. Used by
 * chardev, net stream/socket, gdb, QMP. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct SockAddr {
    enum { SOCK_ADDR_UNIX, SOCK_ADDR_INET, SOCK_ADDR_FD } kind;
    char *path;        /* unix */
    bool abstract_;    /* unix, Linux abstract name */
    char *host, *port; /* inet; host may be empty: any */
    bool ipv4, ipv6, has_ipv4, has_ipv6;
    long to; /* inet: the last port to try for sock_listen_up_to() */
    int fd;
} SockAddr;
void sock_addr_clear(SockAddr *a);
/* fd, non-blocking; "Failed to bind socket to …: Address already in use" */
int sock_listen(const SockAddr *a, GError **err);
/* The same, or at the first free port from there up to a->to, which is a's port then. */
int sock_listen_up_to(SockAddr *a, GError **err);
int sock_connect(const SockAddr *a, GError **err); /* fd, non-blocking after a blocking connect */
/* fd, non-blocking, of UDP between two inet addresses; local's port may be "0". */
int sock_udp(const SockAddr *remote, const SockAddr *local, GError **err);
/* The socket file goes when the process ends, or earlier by sock_unlink(). Main loop. */
void sock_keep(const char *path);
void sock_unlink(const char *path);
void sock_cleanup(void);        /* all that were kept */
int sock_accept(int listen_fd); /* -1: nothing there */
/* "unix:/path,server=on" as query-chardev's filename; g_free */
char *sock_describe(const SockAddr *a, bool server);
char *sock_local_text(int fd);
