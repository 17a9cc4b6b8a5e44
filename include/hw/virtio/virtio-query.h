/* x-query-virtio and friends: what a virtio device and its queues look like from outside. */
#pragma once

#include "object/qmp.h"

extern const QmpCmd virtio_qmp_cmds[];
