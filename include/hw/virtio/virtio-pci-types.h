/*
 * struct VirtioPci, and the macros that make a device's PCI types:
 *   VIRTIO_PCI_TYPES(virtio_rng, "virtio-rng", virtio_rng_class, rng_props, "Misc")
 *     virtio_rng_pci_class ("virtio-rng-pci": transitional unless told otherwise),
 * virtio_rng_pci_transitional_class, virtio_rng_pci_non_transitional_class,
 * virtio_rng_pci_base_class ("virtio-rng-pci-base", abstract) VIRTIO_PCI_TYPE(virtio_keyboard,
 * "virtio-keyboard", virtio_keyboard_class, keyboard_props, "Input") virtio_keyboard_pci_class and
 * virtio_keyboard_pci_base_class ("virtio-keyboard-pci-base") The type table lists every one of
 * them. The child's class is virtio_rng_class, its properties are reached through the proxy. BARs:
 * 0 legacy I/O, 1 MSI-X, 2 notifications by port I/O, 4 modern (see virtio-pci.c).
 */
#pragma once

#include "hw/pci/pci.h"
#include "hw/virtio/virtio.h"

#include <stdatomic.h>

/* One queue as the driver programs it; copied to the device by queue_enable. */
typedef struct VpciQueue {
    uint16_t size;
    bool enabled;
    bool resetting;
    uint64_t desc, driver, device;
    _Atomic uint16_t vector;
    bool bell_on[3];
    Doorbell bell[3]; /* modern, modern by port, legacy */
} VpciQueue;

/* The device's configuration when it counted `edition`, for reads without the VM lock. Written with
 * it; seq is odd meanwhile. */
enum { VPCI_COPY_MAX = 128 };
typedef struct VpciCopy {
    _Atomic uint32_t seq, edition, len;
    _Atomic uint8_t byte[VPCI_COPY_MAX];
} VpciCopy;

struct VirtioPci {
    PciFn fn;
    Bus bus;       /* "virtio-bus": one place, for the backend */
    VirtioDev *vd; /* child "virtio-backend" */
    /* properties */
    uint32_t vectors; /* UINT32_MAX: auto */
    bool ioeventfd, disable_modern, page_per_vq, modern_pio_notify, ats, aer, disable_pcie,
        migrate_extra, bm_bug, ats_aligned;
    bool init_deverr, init_lnkctl, init_pm, init_flr, pm_no_soft_reset;
    OnOffAuto disable_legacy;
    /* as realized */
    bool legacy, modern, express;
    bool vga_layout; /* virtio-vga: modern registers in BAR 2 behind 1000h, MSI-X in BAR 4 */
    Region bar_legacy, bar_msix, bar_modern, bar_pio, bar_shm, common, isr_mr, device, notify;
    uint32_t notify_mult;
    unsigned cfg_cap; /* offset of the PCI_CFG capability, 0: none */
    /* registers */
    uint32_t device_feature_select, driver_feature_select, driver_features[4];
    bool features_invalid; /* the driver asked for bits that were not offered */
    uint16_t queue_select;
    _Atomic uint16_t config_vector;
    _Atomic uint8_t isr; /* any thread */
    _Atomic bool intx_posted;
    VpciCopy copy;
    VpciQueue *q;
    bool started; /* doorbells are wanted */
};

extern const PciOps virtio_pci_ops, virtio_pci_transitional_ops, virtio_pci_non_transitional_ops;

/* What every virtio PCI class has. */
#define VIRTIO_PCI_SLOTS(child)                                                                    \
    .bus = "PCI", .ops2 = &(child), .init = virtio_pci_init, .realize = virtio_pci_realize,        \
    .unrealize = virtio_pci_unrealize, .fini = virtio_pci_fini, .reset = virtio_pci_reset,         \
    .describe = virtio_pci_describe
#define VIRTIO_PCI_CLASS_WITH(var, tname, tparent, child, cat, pciops, groups, more_flags)         \
    const ObjClass var = {                                                                         \
        .name = (tname),                                                                           \
        .parent = (tparent),                                                                       \
        .category = (cat),                                                                         \
        .size = sizeof(VirtioPci),                                                                 \
        .flags = OBJ_DEVICE | (more_flags),                                                        \
        .props = (groups),                                                                         \
        .ops = &(pciops),                                                                          \
        VIRTIO_PCI_SLOTS(child),                                                                   \
    }
#define VIRTIO_PCI_CLASS(var, tname, tparent, child, cat, pciops, groups)                          \
    VIRTIO_PCI_CLASS_WITH(var, tname, tparent, child, cat, pciops, groups, 0)

#define VIRTIO_PCI_GROUPS(var, devprops)                                                           \
    static const PropGroup var[] = {                                                               \
        { pci_fn_props, NULL },                                                                    \
        { virtio_pci_props, NULL },                                                                \
        { virtio_props, virtio_pci_child },                                                        \
        { devprops, virtio_pci_child },                                                            \
        { NULL, NULL },                                                                            \
    }
#define VIRTIO_PCI_GROUPS_CHOICE(var, devprops)                                                    \
    static const PropGroup var[] = {                                                               \
        { pci_fn_props, NULL },                                                                    \
        { virtio_pci_props, NULL },                                                                \
        { virtio_pci_disable_props, NULL },                                                        \
        { virtio_props, virtio_pci_child },                                                        \
        { devprops, virtio_pci_child },                                                            \
        { NULL, NULL },                                                                            \
    }

/* Rows of the proxy whose defaults differ stand in front: the first row of a name counts. */
#define VIRTIO_PCI_GROUPS_WITH(var, ownprops, devprops)                                            \
    static const PropGroup var[] = {                                                               \
        { pci_fn_props, NULL },                                                                    \
        { ownprops, NULL },                                                                        \
        { virtio_pci_props, NULL },                                                                \
        { virtio_pci_disable_props, NULL },                                                        \
        { virtio_props, virtio_pci_child },                                                        \
        { devprops, virtio_pci_child },                                                            \
        { NULL, NULL },                                                                            \
    }

#define VIRTIO_PCI_BASE(sym, base)                                                                 \
    const ObjClass sym##_pci_base_class = {                                                        \
        .name = base "-pci-base",                                                                  \
        .parent = "virtio-pci",                                                                    \
        .flags = OBJ_ABSTRACT,                                                                     \
        .size = sizeof(VirtioPci),                                                                 \
    }

#define VIRTIO_PCI_TYPES(sym, base, child, devprops, cat)                                          \
    VIRTIO_PCI_BASE(sym, base);                                                                    \
    VIRTIO_PCI_GROUPS_CHOICE(sym##_pci_groups, devprops);                                          \
    VIRTIO_PCI_GROUPS(sym##_pci_fixed_groups, devprops);                                           \
    VIRTIO_PCI_CLASS(sym##_pci_class, base "-pci", base "-pci-base", child, cat, virtio_pci_ops,   \
        sym##_pci_groups);                                                                         \
    VIRTIO_PCI_CLASS(sym##_pci_transitional_class, base "-pci-transitional", base "-pci-base",     \
        child, cat, virtio_pci_transitional_ops, sym##_pci_fixed_groups);                          \
    VIRTIO_PCI_CLASS(sym##_pci_non_transitional_class, base "-pci-non-transitional",               \
        base "-pci-base", child, cat, virtio_pci_non_transitional_ops, sym##_pci_fixed_groups)

#define VIRTIO_PCI_TYPE(sym, base, child, devprops, cat)                                           \
    VIRTIO_PCI_BASE(sym, base);                                                                    \
    VIRTIO_PCI_GROUPS_CHOICE(sym##_pci_groups, devprops);                                          \
    VIRTIO_PCI_CLASS(sym##_pci_class, base "-pci", base "-pci-base", child, cat, virtio_pci_ops,   \
        sym##_pci_groups)

/* The same with rows of the proxy of its own, and flags. */
#define VIRTIO_PCI_TYPE_WITH(sym, base, child, ownprops, devprops, cat, more_flags)                \
    VIRTIO_PCI_BASE(sym, base);                                                                    \
    VIRTIO_PCI_GROUPS_WITH(sym##_pci_groups, ownprops, devprops);                                  \
    VIRTIO_PCI_CLASS_WITH(sym##_pci_class, base "-pci", base "-pci-base", child, cat,              \
        virtio_pci_ops, sym##_pci_groups, more_flags)

extern const ObjClass virtio_pci_class; /* "virtio-pci", abstract */
