/* A network device with a back end that the test holds the other end of. */
#pragma once

#include "net/net.h"
#include "tests/conformance/norm.h"

enum { NET_RX, NET_TX, NET_CTRL };
enum { NET_PAIRS = 3 };
enum { NET_HDR = 12, NET_ROOM = 8 }; /* receive buffers: page, page + 1000h, ... */
#define NET_ME    "52:54:00:aa:bb:cc"
#define NET_OTHER "52:54:00:00:00:01"
#define NET_MULTI "01:00:5e:00:00:01"
#define NET_ALL   "ff:ff:ff:ff:ff:ff"

/* opts: ", 'key': value"; offloads: the back end has virtio-net's header and all of NET_OFFLOAD_*;
 * frames then come behind NET_HDR bytes, or behind 24 with a tunnel's feature. */
void norm_net_open(Norm *x, const char *opts, unsigned how, bool offloads);
/* The same with NET_PAIRS queue pairs at the back end, and offloads; then norm_net_start() sets all
 * their queues up, and commands go to the queue behind them: MQ or RSS has to be accepted. */
void norm_net_open_pairs(Norm *x, const char *opts, unsigned how);
void norm_net_close(Norm *x);
/* n buffers for receiveq `pair`; a frame from that queue of the back end; used entries of a queue.
 */
void norm_net_give_to(Norm *x, unsigned pair, unsigned n);
NetVerdict norm_net_from(Norm *x, unsigned pair, const uint8_t *frame, size_t len);
NetVerdict norm_net_with(
    Norm *x, unsigned pair, const uint8_t *hdr, const uint8_t *frame, size_t len);
unsigned norm_net_used(Norm *x, unsigned queue);
/* RING_RESET; again: and set up anew. */
void norm_net_reset_queue(Norm *x, unsigned queue, bool again);
/* With these features of the offered ones, all queues. */
void norm_net_start(Norm *x, uint64_t without);
void norm_net_give(Norm *x, unsigned n, uint32_t len);

/* A frame to the guest; hdr: 12 bytes before it, when there are offloads (NULL: zeroes). */
NetVerdict norm_net_frame(Norm *x, const char *dst, uint16_t type, size_t len, const uint8_t *hdr);
NetVerdict norm_net_vlan(Norm *x, const char *dst, uint16_t id);
/* used.len of the next frame at the guest, 0: none; hdr: its first 12 bytes. */
uint32_t norm_net_arrived(Norm *x, uint8_t *hdr);
/* Frame sent and taken, or not taken; the guest's buffer is given and comes back. */
bool norm_net_takes(Norm *x, const char *dst);

/* A frame of `len` bytes of 'p' from the guest; what came out: NULL, or GBytes with the header. */
GBytes *norm_net_send(Norm *x, const uint8_t *hdr, size_t len);
uint64_t norm_net_asked(void); /* NET_OFFLOAD_* that the device asked of the back end last */

/* The acknowledgement: 0 is OK. */
uint8_t norm_net_command(Norm *x, uint8_t class, uint8_t cmd, const void *data, uint32_t len);
