/* virtio-balloon for the monitor: the one there is (VIRTIO 1.4, 5.5). Main loop. */
#pragma once

#include "object/obj.h"
#include "object/qmp.h"

typedef struct Machine Machine;

extern const ObjClass virtio_balloon_class;
extern const QmpCmd virtio_balloon_cmds[]; /* balloon, query-balloon */
/* What the guest has, in bytes, or should have; false: no such device, or no size. */
bool virtio_balloon_actual(const Machine *m, uint64_t *ret, GError **err);
bool virtio_balloon_target(const Machine *m, int64_t bytes, GError **err);
