/* A back end whose packets travel over a byte stream: -netdev stream, and socket with listen=,
 * connect= and a connected fd=. Main loop. */
#pragma once

#include "net/net.h"
#include "util/sock.h"

typedef struct StreamStart {
    SockAddr addr; /* taken over */
    bool server;
    bool old;             /* -netdev socket: its texts, no events */
    int64_t reconnect_ms; /* 0: never */
} StreamStart;
NetPort *net_stream_new(const char *id, const char *type, StreamStart *how, GError **err);
void net_stream_close(NetPort *p);
bool net_is_stream(const NetPort *p);
