/* Receive segment coalescing: small TCP segments become large ones (VIRTIO 1.4, 5.1.9.4,
 * VIRTIO_NET_F_RSC_EXT). */
#pragma once

#include "virtio-net.h"

/* Of a pair, in its receive queue's loop; made when a driver that wants it starts. */
void net_rsc_start(NetPair *q);
void net_rsc_stop(NetPair *q); /* the clock stands; what is held is kept */
void net_rsc_free(NetPair *q); /* what is held is gone */
/* A packet that passed the filter: it is held, or goes to the driver behind what has to go first.
 * data: behind the header. */
NetVerdict net_rsc_receive(NetPair *q, NetHeader *h, GIov *data);
/* What is held goes now, as far as there are buffers. False: some waits for more of them. */
bool net_rsc_flush(NetPair *q);
/* There are buffers, or the pair goes on: what has had its time goes. */
void net_rsc_refilled(NetPair *q);
/* The driver no longer takes large packets: those that could not go yet are cut again. */
void net_rsc_cut(NetPair *q);
