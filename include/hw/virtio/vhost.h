/*
 * Rings that the host's kernel serves (linux/vhost.h): it reads and writes guest memory by itself,
 * is told of kicks and tells of used buffers by eventfds. VM lock, all of it; the device's loop is
 * the main loop.
 */
#pragma once

#include "hw/virtio/virtio.h"

typedef struct Vhost Vhost;

/* Takes fd and makes it this process's; nvqs: the device's first queues are the kernel's. NULL on
 * failure, fd is closed. */
Vhost *vhost_new(VirtioDev *d, int fd, unsigned nvqs, GError **err);
void vhost_free(Vhost *h); /* stopped; NULL is fine */
/* What both can: f without the bits that the kernel does not know. */
VirtioFeatures vhost_offer(const Vhost *h, VirtioFeatures f);
bool vhost_has(const Vhost *h, unsigned feature);
/* A call of the kernel's device; what: for the message. */
bool vhost_call(Vhost *h, unsigned long request, void *arg, const char *what, GError **err);
/* Features, memory and the enabled rings are the kernel's. Its device may run from now on. */
bool vhost_start(Vhost *h, GError **err);
/* The kernel's device stands. Remembers where it was in each ring; what it used is told. */
void vhost_stop(Vhost *h);
void vhost_reset(Vhost *h);                         /* rings begin at 0 again */
void vhost_refilled(Vhost *h, const VirtQueue *vq); /* the driver kicked */
bool vhost_started(const Vhost *h);
/* x-query-virtio-vhost-queue-status; NULL: there is no such ring. */
Json *vhost_describe_ring(const Vhost *h, unsigned i, GError **err);
