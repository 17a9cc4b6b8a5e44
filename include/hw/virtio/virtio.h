/* A virtio device and its transport (VIRTIO 1.4, 2.1-2.5, 3): features, status, config space,
 * queues. Knows no PCI. */
#pragma once

#include "hw/core/dev.h"
#include "hw/virtio/vq.h"
#include "util/loop.h"

#include <stdatomic.h>

enum { VIRTIO_QUEUE_MAX = 1024 };
enum {
    VIRTIO_F_NOTIFY_ON_EMPTY = 24,
    VIRTIO_F_ANY_LAYOUT = 27,
    VIRTIO_F_INDIRECT_DESC = 28,
    VIRTIO_F_EVENT_IDX = 29,
    VIRTIO_F_BAD_FEATURE = 30,
    VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_ACCESS_PLATFORM = 33,
    VIRTIO_F_RING_PACKED = 34,
    VIRTIO_F_IN_ORDER = 35,
    VIRTIO_F_ORDER_PLATFORM = 36,
    VIRTIO_F_SR_IOV = 37,
    VIRTIO_F_NOTIFICATION_DATA = 38,
    VIRTIO_F_NOTIF_CONFIG_DATA = 39,
    VIRTIO_F_RING_RESET = 40,
    VIRTIO_F_ADMIN_VQ = 41,
    VIRTIO_F_SUSPEND = 43
};
enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1,
    VIRTIO_STATUS_DRIVER = 2,
    VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8,
    VIRTIO_STATUS_SUSPEND = 16,
    VIRTIO_STATUS_NEEDS_RESET = 64,
    VIRTIO_STATUS_FAILED = 128
};
#define VIRTIO_BIT(b)                                                                              \
    {                                                                                              \
        .word = { [(b) / 64] = 1ull << ((b) % 64) }                                                \
    }

/* VIRTIO 1.4, 2.2.2: a feature is not offered unless one of those that it requires is. */
typedef struct VirtioNeed {
    uint8_t feature, one_of[2];
} VirtioNeed;

/* The constants of one virtio device type: ObjClass.ops of "virtio-X-device". */
typedef struct VirtioOps {
    uint16_t id;              /* VIRTIO 1.4, 5 */
    uint16_t transitional_id; /* PCI: 0x1000.., 0: none, modern only */
    uint32_t pci_class;
    VirtioFeatures features; /* always offered; properties add more */
    /* what is required comes first in the table */
    const VirtioNeed *needs;
    unsigned nneeds;
    const VqSpec *vqs;
    unsigned nvqs;
    /* Number of queues and the spec of each when it depends on properties (net pairs, blk
     * num-queues, serial ports). NULL: vqs. */
    unsigned (*queue_count)(VirtioDev *d);
    const VqSpec *(*queue_spec)(VirtioDev *d, unsigned i, uint16_t *ret_size);
    /* vectors=auto: this when > 0, else queues + 1 */
    unsigned default_vectors;
    size_t config_size; /* 0: none */
    /* Whatever changes a field calls virtio_config_changed() or _stale() behind it: the transport
     * may answer from a copy. False: each read asks. */
    bool config_told;
    /* NULL: config_size. By offered features, as QEMU 10.0 does */
    size_t (*config_len)(VirtioDev *d);
    VirtioFeatures (*offer)(VirtioDev *d, VirtioFeatures f); /* ask the backend what it can do */
    /* the legacy window differs (blk SCSI, net GSO); NULL */
    VirtioFeatures (*offer_legacy)(VirtioDev *d, VirtioFeatures f);
    /* a subset it refuses; NULL: all valid ones are fine */
    bool (*features_ok)(VirtioDev *d);
    void (*config)(VirtioDev *d, void *cfg); /* fill config_size bytes */
    /* cfg: what would be read, with the write in */
    void (*config_wrote)(VirtioDev *d, const void *cfg, size_t off, size_t len);
    /* DRIVER_OK was set (legacy: or first kick) */
    bool (*start)(VirtioDev *d, GError **err);
    /* reset, unplug, or the VM stopped: finishes or drops all held elems */
    void (*stop)(VirtioDev *d);
    /* the driver suspends: drops held elems that only the host would ask for; NULL: none */
    void (*suspend)(VirtioDev *d);
    /* RING_RESET: give back what is held of queue i; NULL: nothing held */
    void (*queue_reset)(VirtioDev *d, unsigned i);
    /* properties are set; before queues are made */
    bool (*realize)(VirtioDev *d, GError **err);
    void (*unrealize)(VirtioDev *d);
    /* The loop of queue i's requests. Another than d->loop, which is main then: start, stop and
     * queue_reset are called there while no queue takes anything, and see to the queues' own state
     * by loop_call(). NULL: d->loop */
    Loop *(*queue_loop)(VirtioDev *d, unsigned i);
    /* device state to defaults, after stop; NULL */
    void (*reset)(VirtioDev *d);
    void (*plugged)(VirtioDev *d); /* queues exist, transport is up; NULL */
    const char *romfile;           /* PCI: default option ROM; NULL: none */
    /* its first queues are the kernel's (hw/virtio/vhost.h); NULL: all are ours */
    struct Vhost *(*vhost)(const VirtioDev *d);
} VirtioOps;

typedef struct VirtioBusOps {
    void (*irq_queue)(Obj *transport, unsigned vq); /* from the device's loop */
    void (*irq_config)(Obj *transport);
    DmaSpace *(*dma)(Obj *transport);
    /* num-queues=auto: number of vCPUs; NULL: 1 */
    unsigned (*default_queues)(Obj *transport);
    /* the data path runs or stands: doorbells; NULL */
    void (*started)(Obj *transport, bool on);
} VirtioBusOps;

/* A shared memory region (VIRTIO 1.4, 2.10): RAM of the device that the driver maps. */
enum { VIRTIO_SHM_MAX = 4 };
typedef struct VirtioShm {
    uint8_t id; /* shmid, unique in the device */
    Region *region;
} VirtioShm;

struct VirtioDev {
    Dev dev;
    const VirtioOps *ops;
    Loop *loop;  /* its thread owns all that follows */
    bool spread; /* there are queues with other loops */
    Obj *transport;
    const VirtioBusOps *bus_ops;
    /* 128 bits: VIRTIO 1.4 net uses bits above 63 */
    VirtioFeatures host_features, features;
    /* set by PROP_FEATURE rows of devices and transport */
    VirtioFeatures prop_features;
    _Atomic uint8_t status; /* written under the VM lock, read without it too */
    /* driven through the legacy interface (VERSION_1 not accepted) */
    bool legacy;
    /* the transport has no modern interface; set before virtio_realize() */
    bool legacy_only;
    /* written in its loop, read by the control plane too */
    _Atomic bool started, broken;
    _Atomic bool halted; /* not started, or broken: no request is taken */
    uint32_t config_gen;
    _Atomic bool config_gen_read;
    _Atomic uint32_t config_edition; /* counted behind each change of a field */
    VirtQueue **vqs;
    unsigned nvqs;
    VirtioShm shm[VIRTIO_SHM_MAX];
    unsigned nshm;
    void *config_cache; /* config_len bytes */
    DmaSpace *dma;
    /* the VM runs and the transport lets us reach memory */
    bool running;
    /* ops->stop was called because the VM stops: vq_drop() keeps the chain for the next start, so
     * nothing is lost */
    bool paused;
    /* reset asked, held chains are still out; status keeps its value */
    _Atomic bool reset_pending;
    /* SUSPEND (VIRTIO 1.4, 3.4): asked, chains are still out; then reached. Nothing is taken in
     * both, and while it lasts the configuration space stays as it was */
    _Atomic bool suspending;
    bool suspended, config_changed_asleep;
    _Atomic bool fail_posted;
    /* QEMU's property names */
    uint32_t pci_class; /* base class and sub-class; 0: the type's own */
    bool use_started, use_disabled_flag, disable_legacy_check, x_ignore_backend_features;
};
/* indirect_desc, event_idx, packed, in_order, … */
extern const PropSpec virtio_props[];

/* Atomic: a chain that comes back behind a reset asks in its loop, and takes either answer. */
static inline bool virtio_has(const VirtioDev *d, unsigned bit)
{
    return __atomic_load_n(&d->features.word[bit / 64], __ATOMIC_RELAXED) >> (bit % 64) & 1;
}
static inline void virtio_set_features(VirtioDev *d, VirtioFeatures f)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(f.word); i++) {
        __atomic_store_n(&d->features.word[i], f.word[i], __ATOMIC_RELAXED);
    }
}
static inline bool vf_has(VirtioFeatures f, unsigned bit)
{
    return f.word[bit / 64] >> (bit % 64) & 1;
}
static inline void vf_set(VirtioFeatures *f, unsigned bit, bool on)
{
    f->word[bit / 64] = (f->word[bit / 64] & ~(1ull << (bit % 64))) | (uint64_t)on << (bit % 64);
}
VirtQueue *virtio_queue(VirtioDev *d, unsigned i);
/* Any thread: a field is another now, which the driver itself asked for. Reset, start, features and
 * writes to the configuration need no call. */
static inline void virtio_config_stale(VirtioDev *d)
{
    atomic_fetch_add_explicit(&d->config_edition, 1, memory_order_release);
}
/* main loop or d->loop: generation, ISR, interrupt */
void virtio_config_changed(VirtioDev *d);
/* What the driver did wrong, for -d guest_errors: names the device. The text says which rule. */
void virtio_guest_error(const VirtioDev *d, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* That, and DEVICE_NEEDS_RESET. */
void virtio_fail(VirtioDev *d, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* What a device gives a transport (hw/virtio/virtio.c); the transport knows no device type. VM lock
 * held. */
typedef struct VqLayout {
    uint16_t size;
    uint64_t desc, driver, device;
} VqLayout;
bool virtio_realize(VirtioDev *d, Obj *transport, const VirtioBusOps *bus_ops, GError **err);
void virtio_unrealize(VirtioDev *d);
void virtio_reset_now(VirtioDev *d); /* system reset: waits for nobody */
VirtioFeatures virtio_offered(const VirtioDev *d, bool legacy);
/* FEATURES_OK, or not; legacy: on first use */
bool virtio_accept(VirtioDev *d, VirtioFeatures f);
void virtio_set_status(VirtioDev *d, uint8_t status); /* 0 is reset */
bool virtio_enable_queue(VirtioDev *d, unsigned i, const VqLayout *at, GError **err);
void virtio_reset_queue(VirtioDev *d, unsigned i); /* RING_RESET */
/* chains are still out: the queue's reset goes on */
bool virtio_queue_busy(const VirtioDev *d, unsigned i);
bool virtio_queue_enabled(const VirtioDev *d, unsigned i);
uint16_t virtio_queue_max(const VirtioDev *d, unsigned i); /* 0: no such queue */
void virtio_kick(VirtioDev *d, unsigned i);                /* any thread */
/* VM lock; before DRIVER_OK it starts the device: VIRTIO 1.4, 3.1.2 */
void virtio_kick_legacy(VirtioDev *d, unsigned i);
size_t virtio_config_len(const VirtioDev *d);
void virtio_config_read(VirtioDev *d, size_t off, void *dst, size_t len); /* past the end: 0xff */
void virtio_config_write(VirtioDev *d, size_t off, const void *src, size_t len);
/* From ops->realize: the transport shows r to the driver. It stays the device's, and lives until
 * its ops->unrealize. */
void virtio_add_shm(VirtioDev *d, uint8_t id, Region *r);
uint8_t virtio_config_generation(VirtioDev *d);
/* The VM runs or stands, or bus mastering comes and goes: the data path follows. VM lock held. */
void virtio_run_changed(VirtioDev *d, bool running);
/* The queue's doorbell: an eventfd watched in its loop, made by the first call, and its
 * Doorbell.rung. -1: no such queue. */
int virtio_queue_kick_fd(VirtioDev *d, unsigned i, _Atomic bool **ret_rung);
unsigned virtio_default_vectors(const VirtioDev *d);
/* x-query-virtio-status and friends. */
void virtio_describe(const VirtioDev *d, JsonWriter *w);
/* Class for qom-list-types and compat lists: "virtio-device", abstract. */
extern const ObjClass virtio_device_class;
