/*
 * The modern interface of virtio-pci: common configuration, notifications, ISR, device
 * configuration and the configuration access window (VIRTIO 1.4, 4.1.4.3-4.1.4.9). Covered by
 * tests/unit/test-virtio-pci.c.
 */
#include "hw/core/regs.h"
#include "hw/virtio/virtio-pci-internal.h"
#include "memory/ram.h"
#include "util/log.h"

#include <string.h>

/* 32 bits of a 128-bit set; 0 for words that no feature reaches (4.1.4.3.1). */
static uint32_t feature_word(VirtioFeatures f, uint32_t n)
{
    return n < 4 ? (uint32_t)(f.word[n / 2] >> (n % 2 * 32)) : 0;
}

static uint64_t r_dfselect(void *o)
{
    return ((VirtioPci *)o)->device_feature_select;
}

static void w_dfselect(void *o, uint64_t v)
{
    ((VirtioPci *)o)->device_feature_select = (uint32_t)v;
}

static uint64_t r_device_feature(void *o)
{
    VirtioPci *p = o;

    return feature_word(virtio_offered(p->vd, /* legacy= */ false), p->device_feature_select);
}

static uint64_t r_gfselect(void *o)
{
    return ((VirtioPci *)o)->driver_feature_select;
}

static void w_gfselect(void *o, uint64_t v)
{
    ((VirtioPci *)o)->driver_feature_select = (uint32_t)v;
}

static uint64_t r_driver_feature(void *o)
{
    VirtioPci *p = o;

    return p->driver_feature_select < 4 ? p->driver_features[p->driver_feature_select] : 0;
}

/* Mirrors what the driver wrote; checked when FEATURES_OK is set (the note in 4.1.4.3.1). */
static void w_driver_feature(void *o, uint64_t v)
{
    VirtioPci *p = o;

    if (p->vd->status & VIRTIO_STATUS_FEATURES_OK) {
        virtio_guest_error(p->vd, "feature bits written after FEATURES_OK");
        return;
    }
    if (p->driver_feature_select < 4) {
        p->driver_features[p->driver_feature_select] = (uint32_t)v;
    } else if (v) {
        p->features_invalid = true;
    }
}

static uint64_t r_num_queues(void *o)
{
    return ((VirtioPci *)o)->vd->nvqs;
}

static void w_status(void *o, uint64_t v)
{
    vpci_set_status(o, (uint8_t)v, /* legacy= */ false);
}

static uint64_t r_generation(void *o)
{
    return virtio_config_generation(((VirtioPci *)o)->vd);
}

static uint64_t r_queue_size(void *o)
{
    const VpciQueue *q = vpci_selected(o);

    return q ? q->size : 0;
}

static bool settable(VirtioPci *p, const VpciQueue *q, const char *what)
{
    if (q && q->enabled) {
        virtio_guest_error(
            p->vd, "%s of queue %u written while it is enabled", what, p->queue_select);
    }
    return q && !q->enabled;
}

static void w_queue_size(void *o, uint64_t v)
{
    VirtioPci *p = o;
    VpciQueue *q = vpci_selected(p);
    bool packed = virtio_has(p->vd, VIRTIO_F_RING_PACKED); /* negotiated, not merely written */

    if (!settable(p, q, "size")) {
        return;
    }
    /* 4.1.4.3.1: what we present is 0 or a power of two unless the ring is packed. */
    if (!v || v > virtio_queue_max(p->vd, p->queue_select) || (!packed && (v & (v - 1)))) {
        virtio_guest_error(
            p->vd, "size %u for queue %u is not possible", (unsigned)v, p->queue_select);
        return;
    }
    q->size = (uint16_t)v;
}

static uint64_t r_queue_enable(void *o)
{
    const VpciQueue *q = vpci_selected(o);

    return q && q->enabled;
}

static void w_queue_enable(void *o, uint64_t v)
{
    VirtioPci *p = o;

    if (v == 1 && vpci_selected(p) && !vpci_selected(p)->enabled) {
        vpci_enable_queue(p, p->queue_select);
    }
}

static uint64_t r_notify_off(void *o)
{
    return ((VirtioPci *)o)->queue_select; /* the queue's own slot of notify_mult bytes */
}

/* Addresses: two independent halves each (4.1.3.1). */
static uint64_t r_half(void *o, size_t field, unsigned half)
{
    const VpciQueue *q = vpci_selected(o);
    uint64_t v = 0;

    if (q) {
        memcpy(&v, (const char *)q + field, sizeof v);
    }
    return (uint32_t)(v >> (32 * half));
}

static void w_half(void *o, size_t field, unsigned half, uint64_t val)
{
    VpciQueue *q = vpci_selected(o);
    uint64_t v;

    if (settable(o, q, "address")) {
        memcpy(&v, (const char *)q + field, sizeof v);
        v = half ? (v & UINT32_MAX) | val << 32 : (v & ~(uint64_t)UINT32_MAX) | (uint32_t)val;
        memcpy((char *)q + field, &v, sizeof v);
    }
}

#define HALF(name, field, n)                                                                       \
    static uint64_t r_##name(void *o)                                                              \
    {                                                                                              \
        return r_half(o, offsetof(VpciQueue, field), n);                                           \
    }                                                                                              \
    static void w_##name(void *o, uint64_t v)                                                      \
    {                                                                                              \
        w_half(o, offsetof(VpciQueue, field), n, v);                                               \
    }
HALF(desc_lo, desc, 0)
HALF(desc_hi, desc, 1)
HALF(driver_lo, driver, 0)
HALF(driver_hi, driver, 1)
HALF(device_lo, device, 0)
HALF(device_hi, device, 1)

static bool ring_reset_on(const VirtioPci *p)
{
    return virtio_has(p->vd, VIRTIO_F_RING_RESET);
}

/* What the driver's notification calls the queue (4.1.4.3, 4.1.5.2): here its index. */
static uint64_t r_notif_config(void *o)
{
    const VirtioPci *p = o;

    return virtio_has(p->vd, VIRTIO_F_NOTIF_CONFIG_DATA) ? p->queue_select : 0;
}

/* 2.6.1, 4.1.4.3.1: reads 1 while chains are still out. */
static uint64_t r_queue_reset(void *o)
{
    VirtioPci *p = o;
    VpciQueue *q = vpci_selected(p);

    if (q && q->resetting && !virtio_queue_busy(p->vd, p->queue_select)) {
        q->resetting = false;
    }
    return q && q->resetting;
}

static void w_queue_reset(void *o, uint64_t v)
{
    VirtioPci *p = o;
    VpciQueue *q = vpci_selected(p);

    if (v != 1 || !q || !q->enabled || !ring_reset_on(p)) {
        return;
    }
    virtio_reset_queue(p->vd, p->queue_select);
    q->enabled = false;
    q->resetting = true;
    q->size = virtio_queue_max(p->vd, p->queue_select);
    q->desc = q->driver = q->device = 0;
    vpci_set_vector(p, &q->vector, VIRTIO_MSI_NO_VECTOR);
    vpci_update_bells(p);
}

/* clang-format off */
static const Reg common_regs[] = {
    { 0x00, 4, false, "device_feature_select", r_dfselect, w_dfselect },
    { 0x04, 4, true, "device_feature", r_device_feature, NULL },
    { 0x08, 4, false, "driver_feature_select", r_gfselect, w_gfselect },
    { 0x0c, 4, false, "driver_feature", r_driver_feature, w_driver_feature },
    { 0x10, 2, false, "config_msix_vector", vpci_r_config_vector, vpci_w_config_vector },
    { 0x12, 2, true, "num_queues", r_num_queues, NULL },
    { 0x14, 1, false, "device_status", vpci_r_status, w_status },
    { 0x15, 1, true, "config_generation", r_generation, NULL },
    { 0x16, 2, false, "queue_select", vpci_r_queue_select, vpci_w_queue_select },
    { 0x18, 2, false, "queue_size", r_queue_size, w_queue_size },
    { 0x1a, 2, false, "queue_msix_vector", vpci_r_queue_vector, vpci_w_queue_vector },
    { 0x1c, 2, false, "queue_enable", r_queue_enable, w_queue_enable },
    { 0x1e, 2, true, "queue_notify_off", r_notify_off, NULL },
    { 0x20, 4, false, "queue_desc_lo", r_desc_lo, w_desc_lo },
    { 0x24, 4, false, "queue_desc_hi", r_desc_hi, w_desc_hi },
    { 0x28, 4, false, "queue_driver_lo", r_driver_lo, w_driver_lo },
    { 0x2c, 4, false, "queue_driver_hi", r_driver_hi, w_driver_hi },
    { 0x30, 4, false, "queue_device_lo", r_device_lo, w_device_lo },
    { 0x34, 4, false, "queue_device_hi", r_device_hi, w_device_hi },
    { 0x38, 2, true, "queue_notif_config_data", r_notif_config, NULL },
    { 0x3a, 2, false, "queue_reset", r_queue_reset, w_queue_reset },
};
/* clang-format on */

static uint64_t common_read(void *opaque, uint64_t off, unsigned size)
{
    return regs_read(common_regs, G_N_ELEMENTS(common_regs), opaque, off, size);
}

/* What drivers poll. Its writers hold the VM lock, and so does whatever follows from it. */
static bool common_peek(void *opaque, uint64_t off, unsigned size, uint64_t *ret)
{
    *ret = atomic_load_explicit(&((VirtioPci *)opaque)->vd->status, memory_order_acquire);
    return off == 0x14 && size == 1;
}

static void common_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    regs_write(common_regs, G_N_ELEMENTS(common_regs), opaque, off, size, val);
}

static uint64_t isr_read(void *opaque, uint64_t off, unsigned size)
{
    return off ? 0 : vpci_isr_read(opaque);
}

static void isr_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    /* Read-only. */
}

/* The driver reads: what follows may have the same answers. Counted before it is read, so that a
 * change in between makes the copy old. */
static void copy_config(VirtioPci *p)
{
    VpciCopy *c = &p->copy;
    uint32_t edition = atomic_load_explicit(&p->vd->config_edition, memory_order_acquire);
    uint32_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);
    size_t len = virtio_config_len(p->vd);
    uint8_t now[VPCI_COPY_MAX];

    if (!p->vd->ops->config_told || p->vd->suspended || len > sizeof now ||
        (seq && atomic_load_explicit(&c->edition, memory_order_relaxed) == edition)) {
        return;
    }
    virtio_config_read(p->vd, 0, now, len);
    atomic_store_explicit(&c->seq, seq + 1, memory_order_relaxed);
    for (size_t i = 0; i < len; i++) {
        /* Release: whoever sees one of them sees the odd number, too. */
        atomic_store_explicit(&c->byte[i], now[i], memory_order_release);
    }
    atomic_store_explicit(&c->len, (uint32_t)len, memory_order_release);
    atomic_store_explicit(&c->edition, edition, memory_order_release);
    atomic_store_explicit(&c->seq, seq + 2, memory_order_release);
}

/* As device_read(), without the VM lock, while nothing has changed since that was called. */
static bool device_peek(void *opaque, uint64_t off, unsigned size, uint64_t *ret)
{
    const VirtioPci *p = opaque;
    const VpciCopy *c = &p->copy;
    /* Looked at before the edition: who changes a field counts an edition first, then the
     * generation, if somebody has read. So a change cannot miss this read. */
    bool counted = atomic_load_explicit(&p->vd->config_gen_read, memory_order_acquire);
    uint32_t seq = atomic_load_explicit(&c->seq, memory_order_acquire);
    uint64_t v = 0;

    if (!counted || seq & 1 || off + size > atomic_load_explicit(&c->len, memory_order_acquire)) {
        return false;
    }
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)atomic_load_explicit(&c->byte[off + i], memory_order_acquire) << 8 * i;
    }
    uint32_t edition = atomic_load_explicit(&c->edition, memory_order_acquire);

    *ret = v;
    return atomic_load_explicit(&c->seq, memory_order_acquire) == seq &&
           atomic_load_explicit(&p->vd->config_edition, memory_order_acquire) == edition;
}

static uint64_t device_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioPci *p = opaque;
    uint64_t le = 0;

    copy_config(p);
    virtio_config_read(p->vd, off, &le, size);
    return GUINT64_FROM_LE(le);
}

static void device_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    const VirtioPci *p = opaque;
    uint64_t le = GUINT64_TO_LE(val);

    virtio_config_write(p->vd, off, &le, size);
}

static uint64_t notify_read(void *opaque, uint64_t off, unsigned size)
{
    return 0;
}

static void notify_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    const VirtioPci *p = opaque;

    virtio_kick(
        p->vd, (unsigned)(off / p->notify_mult)); /* the address says which queue: 4.1.5.2 */
}

static void pio_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    const VirtioPci *p = opaque;

    /* Multiplier 0: the value says which queue. NOTIFICATION_DATA puts the ring's position into the
     * upper half (2.9); the ring itself says that too. */
    virtio_kick(p->vd, (uint16_t)val);
}

const RegionOps vpci_common_ops = {
    .read = common_read, .write = common_write, .max_access = 4, .peek = common_peek
};
const RegionOps vpci_isr_ops = { .read = isr_read, .write = isr_write, .max_access = 4 };
const RegionOps vpci_device_ops = { .read = device_read,
    .write = device_write,
    .max_access = 4,
    .unaligned = true,
    .peek = device_peek };
const RegionOps vpci_notify_ops = {
    .read = notify_read, .write = notify_write, .max_access = 4, .unaligned = true
};
const RegionOps vpci_pio_ops = {
    .read = notify_read, .write = pio_write, .max_access = 4, .unaligned = true
};

/* The region that answers at *off of a BAR; *off becomes the offset in it. NULL: none. */
static const Region *region_at(const Region *r, uint64_t *off)
{
    while (r && r->kind == REGION_CONTAINER) {
        const Region *hit = NULL;

        for (unsigned i = 0; i < r->subs->len && !hit; i++) {
            const Region *sub = r->subs->pdata[i];

            hit = sub->enabled && *off >= sub->at && *off - sub->at < sub->size ? sub : NULL;
        }
        *off -= hit ? hit->at : 0;
        r = hit;
    }
    return r && (r->kind == REGION_IO || r->kind == REGION_RAM) && *off < r->size ? r : NULL;
}

static uint32_t region_load(const Region *r, uint64_t off, unsigned len)
{
    uint32_t le = 0;

    if (r->kind == REGION_IO) {
        return (uint32_t)r->ops->read(r->opaque, off, len);
    }
    memcpy(&le, (const uint8_t *)region_host(r) + off, len);
    return GUINT32_FROM_LE(le);
}

static void region_store(const Region *r, uint64_t off, unsigned len, uint32_t val)
{
    uint32_t le = GUINT32_TO_LE(val);

    if (r->kind == REGION_IO) {
        r->ops->write(r->opaque, off, len, val);
        return;
    }
    memcpy((uint8_t *)region_host(r) + off, &le, len);
    ram_written(r->ram, off, len);
}

/* The window in configuration space (4.1.4.9): cap.bar at +4, cap.offset at +8, cap.length at +12,
 * pci_cfg_data at +16. Any BAR, whether it is mapped or not. */
static const Region *window_target(const VirtioPci *p, unsigned *ret_len, uint64_t *ret_off)
{
    unsigned cap = p->cfg_cap, len = pci_get32(&p->fn, cap + 12), bar = p->fn.config[cap + 4];
    const Region *r;

    *ret_len = len;
    *ret_off = pci_get32(&p->fn, cap + 8);
    if ((len != 1 && len != 2 && len != 4) || *ret_off % len || bar >= G_N_ELEMENTS(p->fn.bar)) {
        return NULL;
    }
    r = region_at(p->fn.bar[bar].region, ret_off);
    return r && *ret_off + len <= r->size && (r->kind == REGION_RAM || len >= r->ops->min_access)
               ? r
               : NULL;
}

static bool in_data(const VirtioPci *p, unsigned off, unsigned len)
{
    return p->cfg_cap && off < p->cfg_cap + 20 && off + len > p->cfg_cap + 16;
}

void vpci_cfg_window_wrote(VirtioPci *p, unsigned off, unsigned len)
{
    unsigned n;
    uint64_t at;
    const Region *r;

    if (!in_data(p, off, len)) {
        return;
    }
    r = window_target(p, &n, &at);
    if (r) {
        uint32_t val = pci_get32(&p->fn, p->cfg_cap + 16);

        region_store(r, at, n, n == 4 ? val : val & ((1u << (8 * n)) - 1));
    }
}

uint32_t vpci_cfg_window_read(VirtioPci *p, unsigned off, unsigned len, uint32_t val)
{
    unsigned n;
    uint64_t at;
    const Region *r;

    if (!in_data(p, off, len)) {
        return val;
    }
    r = window_target(p, &n, &at);
    if (!r) {
        return val;
    }
    uint32_t got = region_load(r, at, n);

    for (unsigned i = 0; i < n; i++) {
        p->fn.config[p->cfg_cap + 16 + i] = (uint8_t)(got >> (8 * i));
    }
    val = 0;
    for (unsigned i = 0; i < len; i++) {
        val |= (uint32_t)(off + i < p->fn.config_size ? p->fn.config[off + i] : 0xff) << (8 * i);
    }
    return val;
}
