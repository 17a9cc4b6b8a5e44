/* In-process vsock: what the device and its connections share (VIRTIO 1.4, 5.10). */
#pragma once

#include "hw/virtio/virtio-pci.h"
#include "util/timer.h"

enum { VSOCK_STREAM = 1, VSOCK_SEQPACKET = 2 };
enum {
    VSOCK_OP_REQUEST = 1,
    VSOCK_OP_RESPONSE = 2,
    VSOCK_OP_RST = 3,
    VSOCK_OP_SHUTDOWN = 4,
    VSOCK_OP_RW = 5,
    VSOCK_OP_CREDIT_UPDATE = 6,
    VSOCK_OP_CREDIT_REQUEST = 7
};
enum { VSOCK_SHUT_RECEIVE = 1, VSOCK_SHUT_SEND = 2, VSOCK_EOM = 1, VSOCK_EOR = 2 };
enum {
    VSOCK_HOST_CID = 2,
    VSOCK_LINE_MAX = 32,
    VSOCK_BUFFER = 256 << 10, /* bytes of one connection that wait for the host, at most */
    VSOCK_PIECE = 64 << 10,   /* read from the host at once */
    VSOCK_CONNS_MAX = 16384,  /* or half of the descriptors this process may have */
    VSOCK_RESETS_MAX = 1024,  /* replies to strangers that wait for a receive buffer */
};

typedef struct VsockHeader {
    le64 src_cid, dst_cid;
    le32 src_port, dst_port, len;
    le16 type, op;
    le32 flags, buf_alloc, fwd_cnt;
} __attribute__((packed)) VsockHeader;
_Static_assert(sizeof(VsockHeader) == 44, "VIRTIO 1.4, 5.10.6");

typedef struct VsockConn VsockConn;
typedef struct VirtioVsock {
    VirtioDev vd;
    uint64_t guest_cid;
    char *path; /* unix socket of the host; <path>_<port> is what the guest reaches */
    OnOffAuto seqpacket;
    int listen_fd[2]; /* stream, seqpacket */
    LoopFd *listen_watch[2];
    GHashTable *conns; /* VsockConn by ports and type; the value owns itself */
    GQueue handshakes; /* accepted, "CONNECT <port>" has not come yet */
    GQueue control;    /* VsockConn* that have a packet for the guest besides data */
    GQueue waiting;    /* VsockConn* whose data waits for a receive buffer */
    GQueue resets;     /* VsockHeader*: answers to packets of no connection */
    unsigned conns_max;
    uint32_t next_port; /* for connections the host begins */
    bool event_missed, pumping;
    VqSpec rx, tx, event;
} VirtioVsock;

/* One side is a socket of the host, the other a socket of the guest. */
struct VsockConn {
    VirtioVsock *s;
    uint32_t guest_port, host_port;
    uint16_t type;
    enum { VSOCK_HANDSHAKE, VSOCK_ASKED, VSOCK_OPEN } state;
    int fd;
    LoopFd *watch;
    uint32_t events;
    Timer timer;                   /* handshake, or a clean end that does not come */
    char line[VSOCK_LINE_MAX + 1]; /* of the handshake, as far as it came */
    unsigned nline;
    /* guest to host */
    GByteArray *out;            /* what the host has not taken yet; of a message its parts so far */
    GArray *messages;           /* seqpacket: VsockMessage, what `out` holds in whole ones */
    size_t part;                /* seqpacket: bytes of the message that is not whole yet */
    uint32_t fwd_cnt, told_fwd; /* bytes the host took; as the guest knows it */
    /* host to guest */
    GByteArray *in; /* read, not yet given to the guest */
    size_t in_at;
    bool in_message; /* seqpacket: `in` is one message */
    uint32_t in_flags;
    uint32_t peer_alloc, peer_fwd, sent;
    uint8_t guest_shut, host_shut, told_shut;
    bool want_response, want_request, want_credit, ask_credit;
    bool in_control, in_waiting, host_gone;
};
typedef struct VsockMessage {
    uint32_t len, flags;
} VsockMessage;

/* virtio-vsock.c */
/* One packet to the guest with as much of the payload as its buffer takes; flags are set when that
 * is all. Returns the payload bytes sent, -1: no buffer now, vsock_pump() will be called. */
ssize_t vsock_send(VirtioVsock *s, VsockHeader h, const void *data, size_t len, uint32_t flags);

/* virtio-vsock-conn.c */
VsockConn *vsock_find(VirtioVsock *s, uint32_t guest_port, uint32_t host_port, uint16_t type);
/* The guest asks for a connection: true when the host answered. */
bool vsock_connect(VirtioVsock *s, const VsockHeader *h);
/* A packet of the guest for c; the payload is the rest of *data. */
void vsock_packet(VsockConn *c, const VsockHeader *h, GIov *data);
void vsock_accept(VirtioVsock *s, unsigned kind);
/* Buffers came: what waits goes. */
void vsock_pump(VirtioVsock *s);
void vsock_close_all(VirtioVsock *s);
