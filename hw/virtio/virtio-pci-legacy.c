/*
 * The legacy interface of transitional devices: registers in I/O BAR 0, which move by four bytes
 * while MSI-X is enabled (VIRTIO 1.4, 4.1.4.10). Covered by tests/unit/test-virtio-pci.c.
 */
#include "hw/core/regs.h"
#include "hw/virtio/virtio-pci-internal.h"
#include "util/log.h"

enum { LEGACY_ALIGN = 4096, CONFIG_AT = 20, CONFIG_AT_MSIX = 24 };

static uint64_t r_device_features(void *o)
{
    return (uint32_t)virtio_offered(((VirtioPci *)o)->vd, /* legacy= */ true).word[0];
}

static uint64_t r_driver_features(void *o)
{
    return ((VirtioPci *)o)->driver_features[0];
}

/* There is no FEATURES_OK: each write takes effect, cut down to what is offered (2.2.3). */
static void w_driver_features(void *o, uint64_t v)
{
    VirtioPci *p = o;
    VirtioFeatures f = { .word = {
                             (uint32_t)v & virtio_offered(p->vd, /* legacy= */ true).word[0] } };

    if (p->vd->started) {
        virtio_guest_error(p->vd, "feature bits written while the device runs");
        return;
    }
    if (virtio_accept(p->vd, f)) {
        p->driver_features[0] = (uint32_t)f.word[0];
        p->driver_features[1] = p->driver_features[2] = p->driver_features[3] = 0;
    }
}

static uint64_t r_pfn(void *o)
{
    const VpciQueue *q = vpci_selected(o);

    return q && q->enabled ? (uint32_t)(q->desc / LEGACY_ALIGN) : 0;
}

/* 2.7.2: descriptor table, available ring right behind, used ring at the next multiple of 4096. */
static void w_pfn(void *o, uint64_t v)
{
    VirtioPci *p = o;
    VpciQueue *q = vpci_selected(p);

    if (!v) {
        vpci_set_status(
            p, 0, /* legacy= */ true); /* tearing a queue down is how old drivers reset */
        return;
    }
    if (!q || q->enabled) {
        return;
    }
    q->size = virtio_queue_max(p->vd, p->queue_select);
    q->desc = v * LEGACY_ALIGN;
    q->driver = q->desc + q->size * 16u;
    q->device = (q->driver + 6 + q->size * 2u + LEGACY_ALIGN - 1) / LEGACY_ALIGN * LEGACY_ALIGN;
    vpci_enable_queue(p, p->queue_select);
}

static uint64_t r_queue_size(void *o)
{
    VirtioPci *p = o;

    return virtio_queue_max(p->vd, p->queue_select);
}

static void w_notify(void *o, uint64_t v)
{
    virtio_kick_legacy(((VirtioPci *)o)->vd, (unsigned)v);
}

static void w_status(void *o, uint64_t v)
{
    vpci_set_status(o, (uint8_t)v, /* legacy= */ true);
}

static uint64_t r_isr(void *o)
{
    return vpci_isr_read(o);
}

/* clang-format off */
static const Reg legacy_regs[] = {
    { 0x00, 4, true, "device_features", r_device_features, NULL },
    { 0x04, 4, false, "driver_features", r_driver_features, w_driver_features },
    { 0x08, 4, false, "queue_address", r_pfn, w_pfn },
    { 0x0c, 2, true, "queue_size", r_queue_size, NULL },
    { 0x0e, 2, false, "queue_select", vpci_r_queue_select, vpci_w_queue_select },
    { 0x10, 2, false, "queue_notify", NULL, w_notify },
    { 0x12, 1, false, "device_status", vpci_r_status, w_status },
    { 0x13, 1, true, "isr", r_isr, NULL },
    { 0x14, 2, false, "config_msix_vector", vpci_r_config_vector, vpci_w_config_vector },
    { 0x16, 2, false, "queue_msix_vector", vpci_r_queue_vector, vpci_w_queue_vector },
};
/* clang-format on */

static unsigned config_at(const VirtioPci *p)
{
    return msix_enabled(&p->fn) ? CONFIG_AT_MSIX : CONFIG_AT;
}

static unsigned nregs(const VirtioPci *p)
{
    return G_N_ELEMENTS(legacy_regs) - (msix_enabled(&p->fn) ? 0 : 2);
}

/* Header fields in their own width, device configuration in any, guest endian: little here. */
static uint64_t legacy_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioPci *p = opaque;
    uint64_t le = 0;

    if (off < config_at(p)) {
        return regs_read(legacy_regs, nregs(p), p, off, size);
    }
    virtio_config_read(p->vd, off - config_at(p), &le, size);
    return GUINT64_FROM_LE(le);
}

static void legacy_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    VirtioPci *p = opaque;
    uint64_t le = GUINT64_TO_LE(val);

    if (off < config_at(p)) {
        regs_write(legacy_regs, nregs(p), p, off, size, val);
    } else {
        virtio_config_write(p->vd, off - config_at(p), &le, size);
    }
}

const RegionOps vpci_legacy_ops = {
    .read = legacy_read, .write = legacy_write, .max_access = 4, .unaligned = true
};

uint64_t vpci_legacy_size(const VirtioPci *p)
{
    uint64_t need = (p->vectors ? CONFIG_AT_MSIX : CONFIG_AT) + virtio_config_len(p->vd);
    uint64_t size = 1;

    while (size < need) {
        size <<= 1;
    }
    return size;
}
