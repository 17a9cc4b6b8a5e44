/*
 * virtio over PCI: identity, BAR plan, capabilities, life cycle (VIRTIO 1.4, 4.1). Covered by
 * tests/unit/test-virtio-pci.c.
 *
 *   BAR 0  legacy registers, I/O            (transitional devices)
 *   BAR 1  MSI-X table and pending bits     (vectors > 0)
 *   BAR 2  one notification port, I/O       (modern-pio-notify)
 *   BAR 2  shared memory, 64-bit            (devices that have some)
 *   BAR 4  common 0000, ISR 1000, device 2000, notifications 3000; 64-bit, prefetchable
 */
#include "hw/virtio/virtio-pci-internal.h"
#include "util/log.h"

#include <string.h>

static VirtioPci *vpci_of(PciFn *f)
{
    return (VirtioPci *)f;
}

Obj *virtio_pci_child(Obj *o)
{
    return &((VirtioPci *)o)->vd->dev.obj;
}

size_t virtio_pci_size(void)
{
    return sizeof(VirtioPci);
}

VirtioPci *virtio_pci_of(const VirtioDev *d)
{
    return d->bus_ops == &vpci_bus_ops ? (VirtioPci *)d->transport : NULL;
}

/* Registers. */
void vpci_reset_registers(VirtioPci *p)
{
    p->device_feature_select = p->driver_feature_select = 0;
    memset(p->driver_features, 0, sizeof p->driver_features);
    p->features_invalid = false;
    p->queue_select = 0;
    atomic_store_explicit(&p->config_vector, VIRTIO_MSI_NO_VECTOR, memory_order_relaxed);
    for (unsigned i = 0; i < p->vd->nvqs; i++) {
        VpciQueue *q = &p->q[i];

        q->size = virtio_queue_max(p->vd, i);
        q->enabled = q->resetting = false;
        q->desc = q->driver = q->device = 0;
        atomic_store_explicit(&q->vector, VIRTIO_MSI_NO_VECTOR, memory_order_relaxed);
    }
    for (unsigned v = 0; v < msix_vectors(&p->fn); v++) {
        msix_clear_pending(&p->fn, v);
    }
    vpci_isr_read(p);
}

/* Registers that both layouts have (4.1.4.3, 4.1.4.10). */
VpciQueue *vpci_selected(VirtioPci *p)
{
    return p->queue_select < p->vd->nvqs ? &p->q[p->queue_select] : NULL;
}

uint64_t vpci_r_status(void *o)
{
    return ((VirtioPci *)o)->vd->status;
}

uint64_t vpci_r_queue_select(void *o)
{
    return ((VirtioPci *)o)->queue_select;
}

void vpci_w_queue_select(void *o, uint64_t v)
{
    ((VirtioPci *)o)->queue_select = (uint16_t)v;
}

uint64_t vpci_r_config_vector(void *o)
{
    return atomic_load_explicit(&((VirtioPci *)o)->config_vector, memory_order_relaxed);
}

void vpci_w_config_vector(void *o, uint64_t v)
{
    VirtioPci *p = o;

    vpci_set_vector(p, &p->config_vector, (uint16_t)v);
}

uint64_t vpci_r_queue_vector(void *o)
{
    const VpciQueue *q = vpci_selected(o);

    return q ? atomic_load_explicit(&q->vector, memory_order_relaxed) : VIRTIO_MSI_NO_VECTOR;
}

void vpci_w_queue_vector(void *o, uint64_t v)
{
    VpciQueue *q = vpci_selected(o);

    if (q) {
        vpci_set_vector(o, &q->vector, (uint16_t)v);
    }
}

static bool accept_features(VirtioPci *p)
{
    VirtioFeatures f = { 0 };

    for (unsigned i = 0; i < 4; i++) {
        f.word[i / 2] |= (uint64_t)p->driver_features[i] << (i % 2 * 32);
    }
    if (p->features_invalid) {
        virtio_guest_error(p->vd, "features refused: bits above 127 (VIRTIO 1.4, 2.2.1)");
        return false;
    }
    /* The modern interface is VERSION_1's: a driver that does not accept it has no business here.
     */
    if (!vf_has(f, VIRTIO_F_VERSION_1)) {
        virtio_guest_error(
            p->vd, "features refused: VERSION_1 is not among them (VIRTIO 1.4, 6.1)");
        return false;
    }
    return virtio_accept(p->vd, f);
}

void vpci_set_status(VirtioPci *p, uint8_t status, bool legacy)
{
    if (!status) {
        virtio_set_status(p->vd, 0);
        vpci_reset_registers(p);
        return;
    }
    if (!legacy && status & VIRTIO_STATUS_FEATURES_OK &&
        !(p->vd->status & VIRTIO_STATUS_FEATURES_OK) && !accept_features(p)) {
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK; /* the driver reads it back: 3.1.1 */
    }
    virtio_set_status(p->vd, status);
}

bool vpci_enable_queue(VirtioPci *p, unsigned i)
{
    VpciQueue *q = &p->q[i];
    VqLayout at = { .size = q->size, .desc = q->desc, .driver = q->driver, .device = q->device };
    g_autoptr(GError) err = NULL;

    if (!virtio_enable_queue(p->vd, i, &at, &err)) {
        virtio_fail(p->vd, "%s", err->message);
        return false;
    }
    q->enabled = true;
    q->resetting = false;
    vpci_update_bells(p);
    return true;
}

/* Capabilities (4.1.4): the fields behind the generic header. */
static unsigned add_virtio_cap(
    PciFn *f, unsigned type, unsigned bar, uint32_t at, uint32_t length, unsigned len)
{
    unsigned off = pci_add_cap(f, 0x09, len);

    f->config[off + 2] = (uint8_t)len;
    f->config[off + 3] = (uint8_t)type;
    f->config[off + 4] = (uint8_t)bar;
    pci_set32(f, off + 8, at);
    pci_set32(f, off + 12, length);
    return off;
}

static void add_modern(VirtioPci *p)
{
    PciFn *f = &p->fn;
    Obj *o = &f->dev.obj;
    unsigned off;
    uint64_t notify_len = p->page_per_vq ? 0x400000 : VPCI_PART;
    unsigned bar = vpci_modern_bar(p);
    uint32_t common_at = p->vga_layout ? VPCI_VGA_COMMON_AT : VPCI_COMMON_AT,
             isr_at = p->vga_layout ? VPCI_VGA_ISR_AT : VPCI_ISR_AT,
             half = p->vga_layout ? VPCI_VGA_PART : VPCI_PART;
    uint64_t size = p->page_per_vq ? 0x800000 : 0x4000;

    p->notify_mult = p->page_per_vq ? 4096 : 4;
    region_init_container(&p->bar_modern, o, "virtio-pci", size);
    region_init_io(&p->common, o, "virtio-pci-common", &vpci_common_ops, p, half);
    region_init_io(&p->isr_mr, o, "virtio-pci-isr", &vpci_isr_ops, p, half);
    region_init_io(&p->device, o, "virtio-pci-device", &vpci_device_ops, p, VPCI_PART);
    region_init_io(&p->notify, o, "virtio-pci-notify", &vpci_notify_ops, p, notify_len);
    region_map(&p->bar_modern, common_at, &p->common, 0);
    region_map(&p->bar_modern, isr_at, &p->isr_mr, 0);
    region_map(&p->bar_modern, VPCI_DEVICE_AT, &p->device, 0);
    region_map(&p->bar_modern, VPCI_NOTIFY_AT, &p->notify, 0);
    p->common.guard_reentry = p->isr_mr.guard_reentry = p->device.guard_reentry =
        p->notify.guard_reentry = true;
    pci_set_bar(f, bar, PCI_BAR_MEM64_PREF, &p->bar_modern);

    add_virtio_cap(f, VIRTIO_PCI_CAP_COMMON, bar, common_at, half, 16);
    add_virtio_cap(f, VIRTIO_PCI_CAP_ISR, bar, isr_at, half, 16);
    add_virtio_cap(f, VIRTIO_PCI_CAP_DEVICE, bar, VPCI_DEVICE_AT, VPCI_PART, 16);
    off = add_virtio_cap(f, VIRTIO_PCI_CAP_NOTIFY, bar, VPCI_NOTIFY_AT, (uint32_t)notify_len, 20);
    pci_set32(f, off + 16, p->notify_mult);
    if (p->modern_pio_notify) {
        region_init_io(&p->bar_pio, o, "virtio-pci-notify-pio", &vpci_pio_ops, p, 4);
        pci_set_bar(f, 2, PCI_BAR_IO, &p->bar_pio);
        add_virtio_cap(f, VIRTIO_PCI_CAP_NOTIFY, 2, 0, 4, 20);
    }
    p->cfg_cap = add_virtio_cap(f, VIRTIO_PCI_CAP_PCI, 0, 0, 0, 20);
    f->wmask[p->cfg_cap + 4] = 0xff;
    memset(f->wmask + p->cfg_cap + 8, 0xff, 12);
}

/* Each region begins at a multiple of its size rounded up to a power of two, and of 4 KiB: a driver
 * can map it by itself with large pages (4.1.4.7). */
static void add_shm(VirtioPci *p)
{
    const VirtioDev *d = p->vd;
    uint64_t end = 0, at[VIRTIO_SHM_MAX], size = 4096;

    for (unsigned i = 0; i < d->nshm; i++) {
        uint64_t align = 4096;

        while (align < d->shm[i].region->size) {
            align <<= 1;
        }
        at[i] = (end + align - 1) & ~(align - 1);
        end = at[i] + d->shm[i].region->size;
    }
    while (size < end) {
        size <<= 1;
    }
    region_init_container(&p->bar_shm, &p->fn.dev.obj, "virtio-pci-shm", size);
    for (unsigned i = 0; i < d->nshm; i++) {
        const VirtioShm *m = &d->shm[i];
        unsigned off = add_virtio_cap(&p->fn, VIRTIO_PCI_CAP_SHARED_MEMORY, 2, (uint32_t)at[i],
            (uint32_t)m->region->size, 24);

        p->fn.config[off + 5] = m->id;
        pci_set32(&p->fn, off + 16, (uint32_t)(at[i] >> 32));
        pci_set32(&p->fn, off + 20, (uint32_t)(m->region->size >> 32));
        region_map(&p->bar_shm, at[i], m->region, 0);
    }
    pci_set_bar(&p->fn, 2, PCI_BAR_MEM64_PREF, &p->bar_shm);
}

static void unmap_shm(VirtioPci *p)
{
    for (unsigned i = 0; i < p->vd->nshm; i++) {
        if (region_is_mapped(p->vd->shm[i].region)) {
            region_unmap(p->vd->shm[i].region);
        }
    }
}

/* Table at 0, pending bits at 800h or behind a longer table; a BAR of 4 KiB or what they need. */
static void add_msix(VirtioPci *p)
{
    uint64_t pba = MAX(0x800u, p->vectors * 16u), size = 4096;
    g_autoptr(GError) err = NULL;
    unsigned bar = p->vga_layout ? 4 : 1;

    while (size < pba + (p->vectors + 63) / 64 * 8) {
        size <<= 1;
    }
    if (p->vectors > 2048) {
        report_warning("unable to init msix vectors to %u", p->vectors);
        p->vectors = 0;
        return;
    }
    region_init_container(&p->bar_msix, &p->fn.dev.obj, "virtio-pci-msix", size);
    if (!msix_init(&p->fn, p->vectors, &p->bar_msix, bar, 0, pba, 0, &err)) {
        g_assert_not_reached(); /* the BAR was made to fit */
    }
    pci_set_bar(&p->fn, bar, PCI_BAR_MEM32, &p->bar_msix);
}

static void set_identity(VirtioPci *p)
{
    PciFn *f = &p->fn;
    const VirtioOps *ops = p->vd->ops;

    pci_set16(f, 0x00, 0x1af4);
    f->config[0x09] = (uint8_t)ops->pci_class;
    pci_set16(f, 0x0a, (uint16_t)(p->vd->pci_class ? p->vd->pci_class : ops->pci_class >> 8));
    if (p->legacy) { /* 4.1.2.3 */
        pci_set16(f, 0x02, ops->transitional_id);
        pci_set16(f, 0x2e, ops->id);
        f->config[0x08] = 0;
    } else { /* 4.1.2.1 */
        pci_set16(f, 0x02, (uint16_t)(0x1040 + ops->id));
        pci_set16(f, 0x2e, 0x1100);
        f->config[0x08] = 1;
    }
    pci_config_set_pin(f, 1);
}

/* Which interfaces: legacy needs a transitional id, and behind a PCIe port "auto" means modern
 * only. */
static bool choose_interfaces(VirtioPci *p, GError **err)
{
    bool behind_port = pci_on_express(&p->fn) && !pci_on_root(&p->fn);
    bool has_legacy_id = p->fn.ops == &virtio_pci_transitional_ops ||
                         ((const VirtioOps *)p->vd->dev.obj.cls->ops)->transitional_id;
    OnOffAuto disable = p->disable_legacy;

    if (p->fn.ops == &virtio_pci_transitional_ops) {
        disable = ON_OFF_AUTO_OFF;
    } else if (p->fn.ops == &virtio_pci_non_transitional_ops || !has_legacy_id) {
        disable = ON_OFF_AUTO_ON;
    }
    if (disable == ON_OFF_AUTO_AUTO) {
        disable = behind_port ? ON_OFF_AUTO_ON : ON_OFF_AUTO_OFF;
    }
    p->modern = !p->disable_modern || !has_legacy_id;
    p->legacy = disable == ON_OFF_AUTO_OFF;
    p->vd->legacy_only = !p->modern;
    p->express = behind_port && !p->disable_pcie &&
                 p->modern; /* QEMU compat: legacy only has no express capability */
    if (!p->express) {
        p->fn.config_size = 256; /* a conventional function, as on QEMU's root bus */
    }
    if (!p->modern && !p->legacy) {
        err_set(err, "device cannot work as neither modern nor legacy mode is enabled");
        err_hint(err, "Set either disable-modern or disable-legacy to off");
        return false;
    }
    if (p->legacy && vf_has(p->vd->prop_features, VIRTIO_F_ACCESS_PLATFORM)) {
        return err_set(
            err, "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device");
    }
    return true;
}

static void add_express(VirtioPci *p)
{
    PciFn *f = &p->fn;

    pcie_add_endpoint_cap(f, p->init_flr, f->flag_bits[2]);
    pci_add_pm_cap(f, p->pm_no_soft_reset);
    if (p->aer) {
        pcie_add_aer_cap(f, f->flag_bits[1] ? 0x02400000 : 0);
    }
    if (p->ats) {
        pcie_add_ats_cap(f, p->ats_aligned);
    }
}

static bool vpci_realize(PciFn *f, GError **err)
{
    VirtioPci *p = vpci_of(f);
    VirtioDev *d = p->vd;
    const Machine *m = pci_bus_of(f)->machine;

    if (!choose_interfaces(p, err) || !virtio_realize(d, &f->dev.obj, &vpci_bus_ops, err)) {
        return false;
    }
    if (d->nshm && p->modern_pio_notify) {
        virtio_unrealize(d);
        return err_set(err, "modern-pio-notify=on is not possible with shared memory: both are "
                            "BAR 2");
    }
    p->q = g_new0(VpciQueue, d->nvqs);
    if (p->vectors == UINT32_MAX) {
        p->vectors = virtio_default_vectors(d);
    }
    set_identity(p);
    if (p->express) {
        add_express(p);
    }
    if (p->modern) {
        add_modern(p);
        if (d->nshm) {
            add_shm(p);
        }
    }
    if (p->vectors) {
        add_msix(p);
    }
    if (p->legacy) {
        region_init_io(&p->bar_legacy, &f->dev.obj, "virtio-pci-legacy", &vpci_legacy_ops, p,
            vpci_legacy_size(p));
        pci_set_bar(f, 0, PCI_BAR_IO, &p->bar_legacy);
    }
    if (d->ops->romfile) {
        pci_rom_default(f, d->ops->romfile);
    }
    vpci_reset_registers(p);
    bus_attach_all(&f->dev);
    if (d->dev.obj.phase == OBJ_NEW && !obj_realize(&d->dev.obj, err)) {
        g_assert_not_reached(); /* a backend class has no realize of its own */
    }
    virtio_run_changed(d, !m->run || run_is_running(m->run));
    if (d->ops->plugged) {
        d->ops->plugged(d);
    }
    return true;
}

static void fini_region(Region *r)
{
    if (r->size) {
        if (region_is_mapped(r)) {
            region_unmap(r);
        }
        region_fini(r);
        memset(r, 0, sizeof *r);
    }
}

static void vpci_unrealize(PciFn *f)
{
    VirtioPci *p = vpci_of(f);

    vpci_remove_bells(p);
    unmap_shm(p);
    virtio_unrealize(p->vd);
    msix_fini(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(f->bar); i++) {
        if (f->bar[i].region != &f->rom) {
            f->bar[i].region = NULL;
        }
    }
    Region *all[] = { &p->common, &p->isr_mr, &p->device, &p->notify, &p->bar_modern, &p->bar_msix,
        &p->bar_pio, &p->bar_shm, &p->bar_legacy };

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        fini_region(all[i]);
    }
    g_clear_pointer(&p->q, g_free);
    p->cfg_cap = 0;
}

static void vpci_reset(PciFn *f)
{
    VirtioPci *p = vpci_of(f);

    virtio_reset_now(p->vd);
    vpci_reset_registers(p);
}

static void vpci_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    VirtioPci *p = vpci_of(f);

    vpci_cfg_window_wrote(p, off, len);
    vpci_update_intx(p);
    if (((off <= 4 && off + len > 4) || (f->pm_cap && off <= f->pm_cap + 4u)) &&
        dma_space_master(f->dma)) {
        for (unsigned i = 0; i < p->vd->nvqs; i++) {
            virtio_kick(p->vd, i); /* rings that could not be read before */
        }
    }
    vpci_update_bells(p);
}

static void vpci_bridge_changed(PciFn *f)
{
    vpci_update_bells(vpci_of(f));
}

static uint32_t vpci_config_read(PciFn *f, unsigned off, unsigned len, uint32_t val)
{
    return vpci_cfg_window_read(vpci_of(f), off, len, val);
}

static void vpci_run_changed(PciFn *f, bool running)
{
    virtio_run_changed(vpci_of(f)->vd, running);
}

#define VPCI_OPS                                                                                   \
    .vendor = 0x1af4, .class_code = 0x00ff00, .is_express = true, .realize = vpci_realize,         \
    .unrealize = vpci_unrealize, .reset = vpci_reset, .config_wrote = vpci_config_wrote,           \
    .config_read = vpci_config_read, .bridge_changed = vpci_bridge_changed,                        \
    .run_changed = vpci_run_changed
const PciOps virtio_pci_ops = { VPCI_OPS };
const PciOps virtio_pci_transitional_ops = { VPCI_OPS };
const PciOps virtio_pci_non_transitional_ops = { VPCI_OPS };

/* Object slots. */
static const BusClass virtio_bus_class = { .type = "virtio-bus", .max_devs = 1 };

void virtio_pci_init(Obj *o)
{
    VirtioPci *p = (VirtioPci *)o;

    pci_fn_init(o);
    p->vd = (VirtioDev *)obj_new(o->cls->ops2); /* our own reference, besides the tree's */
    /* The common rows are reached through the proxy; a backend class need not list them itself. */
    prop_defaults(virtio_props, p->vd);
    obj_add(o, "virtio-backend", &p->vd->dev.obj);
    bus_init(&p->bus, &virtio_bus_class, &p->fn.dev, o, "virtio-bus");
    g_ptr_array_add(p->bus.devs, &p->vd->dev);
    p->vd->dev.bus = &p->bus;
}

bool virtio_pci_realize(Obj *o, GError **err)
{
    return pci_fn_realize(o, err);
}

void virtio_pci_unrealize(Obj *o)
{
    pci_fn_unrealize(o);
}

void virtio_pci_fini(Obj *o)
{
    VirtioPci *p = (VirtioPci *)o;

    g_ptr_array_set_size(p->bus.devs, 0); /* the backend went with the children */
    bus_fini(&p->bus);
    p->vd->dev.bus = NULL;
    obj_unref(&p->vd->dev.obj);
    pci_fn_fini(o);
}

void virtio_pci_reset(Obj *o)
{
    pci_fn_reset(o);
}

void virtio_pci_describe(const Obj *o, JsonWriter *w)
{
    virtio_describe(((const VirtioPci *)o)->vd, w);
}

/* clang-format off */
const PropSpec virtio_pci_props[] = {
    PROP_U32("vectors", VirtioPci, vectors, UINT32_MAX, "MSI-X vectors; 4294967295: by queues"),
    PROP_BOOL("ioeventfd", VirtioPci, ioeventfd, true, "notify addresses as eventfds"),
    PROP_BOOL("aer", VirtioPci, aer, false, "advanced error reporting, PCIe only"),
    PROP_BOOL("ats", VirtioPci, ats, false, "address translation service, PCIe only"),
    PROP_BOOL("migrate-extra", VirtioPci, migrate_extra, true, "kept for compatibility"),
    PROP_BOOL("modern-pio-notify", VirtioPci, modern_pio_notify, false, "notifications by port I/O as well"),
    PROP_BOOL("page-per-vq", VirtioPci, page_per_vq, false, "a page of notifications for each queue"),
    PROP_BOOL("virtio-pci-bus-master-bug-migration", VirtioPci, bm_bug, false, "kept for compatibility"),
    PROP_BOOL("x-ats-page-aligned", VirtioPci, ats_aligned, true, "ATS requests are page aligned"),
    PROP_BOOL("x-disable-pcie", VirtioPci, disable_pcie, false, "conventional also behind a PCIe port"),
    PROP_BOOL("x-pcie-deverr-init", VirtioPci, init_deverr, true, "kept for compatibility"),
    PROP_BOOL("x-pcie-flr-init", VirtioPci, init_flr, true, "function level reset"),
    PROP_BOOL("x-pcie-lnkctl-init", VirtioPci, init_lnkctl, true, "kept for compatibility"),
    PROP_BOOL("x-pcie-pm-init", VirtioPci, init_pm, true, "kept for compatibility"),
    PROP_BOOL("x-pcie-pm-no-soft-reset", VirtioPci, pm_no_soft_reset, false, "D3hot to D0 keeps state"),
    PROP_END,
};

const PropSpec virtio_pci_disable_props[] = {
    PROP_ON_OFF_AUTO("disable-legacy", VirtioPci, disable_legacy, ON_OFF_AUTO_AUTO, "no legacy interface"),
    PROP_BOOL("disable-modern", VirtioPci, disable_modern, false, "no modern interface"),
    PROP_END,
};
/* clang-format on */

const ObjClass virtio_pci_class = {
    .name = "virtio-pci",
    .parent = "pci-device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(VirtioPci),
};
