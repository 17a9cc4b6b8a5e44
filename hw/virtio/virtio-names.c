/*
 * Names of devices, feature bits and status bits (VIRTIO 1.4, 2.1, 5 and 6). Texts and order are
 * QEMU 10.0's answers to the same query, so that scripts read both. Covered by
 * tests/system/test_virtio.py.
 */
#include "hw/virtio/virtio-names.h"

typedef struct BitName {
    uint8_t bit;
    const char *text; /* NULL: the end */
} BitName;

/* clang-format off */
static const BitName ring_bits[] = {
    { 29, "VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled" },
    { 28, "VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported" },
    { 43, "VIRTIO_F_SUSPEND: Driver can suspend the device" },
    { 41, "VIRTIO_F_ADMIN_VQ: Device has administration virtqueues" },
    { 40, "VIRTIO_F_RING_RESET: Driver can reset a queue individually" },
    { 39, "VIRTIO_F_NOTIF_CONFIG_DATA: Device has data for the driver to notify with" },
    { 38, "VIRTIO_F_NOTIFICATION_DATA: Driver passes extra data in its notifications" },
    { 37, "VIRTIO_F_SR_IOV: Device supports single root I/O virtualization" },
    { 36, "VIRTIO_F_ORDER_PLATFORM: Memory accesses ordered by platform" },
    { 35, "VIRTIO_F_IN_ORDER: Device uses buffers in same order as made available by driver" },
    { 34, "VIRTIO_F_RING_PACKED: Device supports packed VQ layout" },
    { 33, "VIRTIO_F_IOMMU_PLATFORM: Device can be used on IOMMU platform" },
    { 32, "VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)" },
    { 27, "VIRTIO_F_ANY_LAYOUT: Device accepts arbitrary desc. layouts" },
    { 24, "VIRTIO_F_NOTIFY_ON_EMPTY: Notify when device runs out of avail. descs. on VQ" },
    { 0, NULL },
};
static const BitName blk_bits[] = {
    { 11, "VIRTIO_BLK_F_CONFIG_WCE: Cache writeback and writethrough modes supported" },
    { 9, "VIRTIO_BLK_F_FLUSH: Flush command supported" },
    { 7, "VIRTIO_BLK_F_SCSI: SCSI packet commands supported" },
    { 0, "VIRTIO_BLK_F_BARRIER: Request barriers supported" },
    { 17, "VIRTIO_BLK_F_ZONED: Zoned block devices" },
    { 16, "VIRTIO_BLK_F_SECURE_ERASE: Secure erase supported" },
    { 14, "VIRTIO_BLK_F_WRITE_ZEROES: Write zeroes command supported" },
    { 13, "VIRTIO_BLK_F_DISCARD: Discard command supported" },
    { 12, "VIRTIO_BLK_F_MQ: Multiqueue supported" },
    { 10, "VIRTIO_BLK_F_TOPOLOGY: Topology information available" },
    { 6, "VIRTIO_BLK_F_BLK_SIZE: Block size of disk available" },
    { 5, "VIRTIO_BLK_F_RO: Device is read-only" },
    { 4, "VIRTIO_BLK_F_GEOMETRY: Legacy geometry available" },
    { 2, "VIRTIO_BLK_F_SEG_MAX: Max segments in a request is seg_max" },
    { 1, "VIRTIO_BLK_F_SIZE_MAX: Max segment size is size_max" },
    { 0, NULL },
};
static const BitName net_bits[] = {
    { 6, "VIRTIO_NET_F_GSO: Handling GSO-type packets supported" },
    { 63, "VIRTIO_NET_F_SPEED_DUPLEX: Device set linkspeed and duplex" },
    { 62, "VIRTIO_NET_F_STANDBY: Device acting as standby for primary device with same MAC addr. supported" },
    { 61, "VIRTIO_NET_F_RSC_EXT: Extended coalescing info supported" },
    { 60, "VIRTIO_NET_F_RSS: RSS RX steering supported" },
    { 57, "VIRTIO_NET_F_HASH_REPORT: Hash reporting supported" },
    { 56, "VIRTIO_NET_F_HOST_USO: Device can receive USO" },
    { 55, "VIRTIO_NET_F_GUEST_USO6: Driver can receive USOv6" },
    { 54, "VIRTIO_NET_F_GUEST_USO4: Driver can receive USOv4" },
    { 53, "VIRTIO_NET_F_NOTF_COAL: Device supports coalescing notifications" },
    { 23, "VIRTIO_NET_F_CTRL_MAC_ADDR: MAC address set through control channel" },
    { 22, "VIRTIO_NET_F_MQ: Multiqueue with automatic receive steering supported" },
    { 21, "VIRTIO_NET_F_GUEST_ANNOUNCE: Driver sending gratuitous packets supported" },
    { 20, "VIRTIO_NET_F_CTRL_RX_EXTRA: Extra RX mode control supported" },
    { 19, "VIRTIO_NET_F_CTRL_VLAN: Control channel VLAN filtering supported" },
    { 18, "VIRTIO_NET_F_CTRL_RX: Control channel RX mode supported" },
    { 17, "VIRTIO_NET_F_CTRL_VQ: Control channel available" },
    { 16, "VIRTIO_NET_F_STATUS: Configuration status field available" },
    { 15, "VIRTIO_NET_F_MRG_RXBUF: Driver can merge receive buffers" },
    { 14, "VIRTIO_NET_F_HOST_UFO: Device can receive UFO" },
    { 13, "VIRTIO_NET_F_HOST_ECN: Device can receive TSO with ECN" },
    { 12, "VIRTIO_NET_F_HOST_TSO6: Device can receive TSOv6" },
    { 11, "VIRTIO_NET_F_HOST_TSO4: Device can receive TSOv4" },
    { 10, "VIRTIO_NET_F_GUEST_UFO: Driver can receive UFO" },
    { 9, "VIRTIO_NET_F_GUEST_ECN: Driver can receive TSO with ECN" },
    { 8, "VIRTIO_NET_F_GUEST_TSO6: Driver can receive TSOv6" },
    { 7, "VIRTIO_NET_F_GUEST_TSO4: Driver can receive TSOv4" },
    { 5, "VIRTIO_NET_F_MAC: Device has given MAC address" },
    { 3, "VIRTIO_NET_F_MTU: Device max MTU reporting supported" },
    { 2, "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS: Control channel offloading reconfig. supported" },
    { 1, "VIRTIO_NET_F_GUEST_CSUM: Driver handling packets with partial checksum supported" },
    { 0, "VIRTIO_NET_F_CSUM: Device handling packets with partial checksum supported" },
    { 0, NULL },
};
static const BitName console_bits[] = {
    { 2, "VIRTIO_CONSOLE_F_EMERG_WRITE: Emergency write supported" },
    { 1, "VIRTIO_CONSOLE_F_MULTIPORT: Multiple ports for device supported" },
    { 0, "VIRTIO_CONSOLE_F_SIZE: Console size available in the configuration" },
    { 0, NULL },
};
static const BitName balloon_bits[] = {
    { 5, "VIRTIO_BALLOON_F_REPORTING: Page reporting VQ enabled" },
    { 4, "VIRTIO_BALLOON_F_PAGE_POISON: Guest page poisoning enabled" },
    { 3, "VIRTIO_BALLOON_F_FREE_PAGE_HINT: VQ reporting free pages enabled" },
    { 2, "VIRTIO_BALLOON_F_DEFLATE_ON_OOM: Deflate balloon when guest OOM" },
    { 1, "VIRTIO_BALLOON_F_STATS_VQ: Guest memory stats VQ available" },
    { 0, "VIRTIO_BALLOON_F_MUST_TELL_HOST: Driver tells before it uses pages again" },
    { 0, NULL },
};
static const BitName scsi_bits[] = {
    { 3, "VIRTIO_SCSI_F_T10_PI: T10 info included in request header" },
    { 2, "VIRTIO_SCSI_F_CHANGE: Reporting and handling LUN changes supported" },
    { 1, "VIRTIO_SCSI_F_HOTPLUG: Reporting and handling hot-plug events supported" },
    { 0, "VIRTIO_SCSI_F_INOUT: Requests including read and writable data buffers supported" },
    { 0, NULL },
};
static const BitName gpu_bits[] = {
    { 4, "VIRTIO_GPU_F_CONTEXT_INIT: Context types and synchronization timelines supported" },
    { 3, "VIRTIO_GPU_F_RESOURCE_BLOB: Resource blob supported" },
    { 2, "VIRTIO_GPU_F_RESOURCE_UUID: Resource UUID supported" },
    { 1, "VIRTIO_GPU_F_EDID: EDID metadata supported" },
    { 0, "VIRTIO_GPU_F_VIRGL: Virgl 3D mode supported" },
    { 0, NULL },
};
static const BitName vsock_bits[] = {
    { 1, "VIRTIO_VSOCK_F_SEQPACKET: SOCK_SEQPACKET supported" },
    { 0, NULL },
};
static const BitName iommu_bits[] = {
    { 6, "VIRTIO_IOMMU_F_BYPASS_CONFIG: Bypass field of IOMMU config available" },
    { 5, "VIRTIO_IOMMU_F_MMIO: VIRTIO_IOMMU_MAP_F_MMIO flag available" },
    { 4, "VIRTIO_IOMMU_F_PROBE: Probe requests available" },
    { 3, "VIRTIO_IOMMU_F_BYPASS: Bypass mode available" },
    { 2, "VIRTIO_IOMMU_F_MAP_UNMAP: Map and unmap requests available" },
    { 1, "VIRTIO_IOMMU_F_DOMAIN_RANGE: Number of supported domains available" },
    { 0, "VIRTIO_IOMMU_F_INPUT_RANGE: Range of available virtual addrs. available" },
    { 0, NULL },
};
static const BitName mem_bits[] = {
    { 2, "VIRTIO_MEM_F_PERSISTENT_SUSPEND: Plugged memory will remain plugged when suspending+resuming" },
    { 1, "VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE: Unplugged memory cannot be accessed" },
    { 0, "VIRTIO_MEM_F_ACPI_PXM: Node of the memory available" },
    { 0, NULL },
};
static const BitName p9_bits[] = {
    { 0, "VIRTIO_9P_MOUNT_TAG: The tag to mount by is in the configuration" },
    { 0, NULL },
};
static const BitName status_bits[] = {
    { 0, "VIRTIO_CONFIG_S_ACKNOWLEDGE: Valid virtio device found" },
    { 7, "VIRTIO_CONFIG_S_FAILED: Error in guest, device failed" },
    { 6, "VIRTIO_CONFIG_S_NEEDS_RESET: Irrecoverable error, device needs reset" },
    { 1, "VIRTIO_CONFIG_S_DRIVER: Guest OS compatible with device" },
    { 3, "VIRTIO_CONFIG_S_FEATURES_OK: Feature negotiation complete" },
    { 2, "VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready" },
    { 4, "VIRTIO_CONFIG_S_SUSPEND: Device suspended by its driver" },
    { 0, NULL },
};
static const BitName no_bits[] = { { 0, NULL } };

static const struct {
    uint16_t id;
    const char *name;
    const BitName *bits;
} types[] = {
    { 1, "virtio-net", net_bits },
    { 2, "virtio-blk", blk_bits },
    { 3, "virtio-serial", console_bits },
    { 4, "virtio-rng", no_bits },
    { 5, "virtio-balloon", balloon_bits },
    { 8, "virtio-scsi", scsi_bits },
    { 9, "virtio-9p", p9_bits },
    { 16, "virtio-gpu", gpu_bits },
    { 18, "virtio-input", no_bits },
    { 19, "vhost-vsock", vsock_bits },
    { 20, "virtio-crypto", no_bits },
    { 23, "virtio-iommu", iommu_bits },
    { 24, "virtio-mem", mem_bits },
    { 25, "virtio-sound", no_bits },
    { 26, "virtio-user-fs", no_bits },
    { 27, "virtio-pmem", no_bits },
};
/* clang-format on */

const char *virtio_type_name(uint16_t id)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i].id == id) {
            return types[i].name;
        }
    }
    return NULL;
}

static const BitName *type_bits(uint16_t id)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i].id == id) {
            return types[i].bits;
        }
    }
    return no_bits;
}

/* Names what is in the table and takes it out of f. */
static Json *name_bits(const BitName *table, VirtioFeatures *f)
{
    Json *list = json_array();

    for (; table->text; table++) {
        if (vf_has(*f, table->bit)) {
            json_append(list, json_str(table->text));
            vf_set(f, table->bit, false);
        }
    }
    return list;
}

Json *virtio_feature_names(uint16_t id, VirtioFeatures f)
{
    Json *j = json_object(), *ring = name_bits(ring_bits, &f);

    json_set(j, "transports", ring);
    json_set(j, "dev-features", name_bits(type_bits(id), &f));
    if (f.word[0]) {
        json_set(j, "unknown-dev-features", json_uint(f.word[0]));
    }
    if (f.word[1]) {
        json_set(j, "unknown-dev-features2", json_uint(f.word[1]));
    }
    return j;
}

Json *virtio_status_names(uint8_t status)
{
    VirtioFeatures f = { .word = { status } };
    Json *j = json_object();

    json_set(j, "statuses", name_bits(status_bits, &f));
    if (f.word[0]) {
        json_set(j, "unknown-statuses", json_uint(f.word[0]));
    }
    return j;
}
