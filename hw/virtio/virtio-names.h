/* Names of devices, feature bits and status bits, as x-query-virtio* shows them. */
#pragma once

#include "hw/virtio/virtio.h"

/* "virtio-blk"; NULL: no such type. */
const char *virtio_type_name(uint16_t id);
/* {"transports", "dev-features", "unknown-dev-features"} of a device type's feature bits. */
Json *virtio_feature_names(uint16_t id, VirtioFeatures f);
/* {"statuses", "unknown-statuses"} */
Json *virtio_status_names(uint8_t status);
