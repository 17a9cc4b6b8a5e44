/* Shared by the files of the PCI transport only. */
#pragma once

#include "hw/virtio/virtio-pci.h"

enum { VIRTIO_MSI_NO_VECTOR = 0xffff };
enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };
enum {
    VIRTIO_PCI_CAP_COMMON = 1,
    VIRTIO_PCI_CAP_NOTIFY,
    VIRTIO_PCI_CAP_ISR,
    VIRTIO_PCI_CAP_DEVICE,
    VIRTIO_PCI_CAP_PCI,
    VIRTIO_PCI_CAP_SHARED_MEMORY = 8
};
/* Places in BAR 4 (QEMU compat: 3.1 of the device tables); notifications end the BAR and may need
 * more than 4 KiB. */
enum {
    VPCI_COMMON_AT = 0x0000,
    VPCI_ISR_AT = 0x1000,
    VPCI_DEVICE_AT = 0x2000,
    VPCI_NOTIFY_AT = 0x3000,
    VPCI_PART = 0x1000,
    VPCI_VGA_COMMON_AT = 0x1000, /* virtio-vga: the first 4 KiB are the VGA's */
    VPCI_VGA_ISR_AT = 0x1800,
    VPCI_VGA_PART = 0x800
};
static inline unsigned vpci_modern_bar(const VirtioPci *p)
{
    return p->vga_layout ? 2 : 4;
}
enum { VPCI_BELL_MODERN, VPCI_BELL_PIO, VPCI_BELL_LEGACY };

extern const RegionOps vpci_common_ops, vpci_isr_ops, vpci_device_ops, vpci_notify_ops,
    vpci_pio_ops, vpci_legacy_ops;

/* virtio-pci.c */
void vpci_set_status(VirtioPci *p, uint8_t status, bool legacy);
void vpci_reset_registers(VirtioPci *p);
bool vpci_enable_queue(VirtioPci *p, unsigned i);
VpciQueue *vpci_selected(VirtioPci *p); /* NULL: no such queue */
uint64_t vpci_r_status(void *o);
uint64_t vpci_r_queue_select(void *o);
void vpci_w_queue_select(void *o, uint64_t v);
uint64_t vpci_r_config_vector(void *o);
void vpci_w_config_vector(void *o, uint64_t v);
uint64_t vpci_r_queue_vector(void *o);
void vpci_w_queue_vector(void *o, uint64_t v);
/* virtio-pci-irq.c */
extern const VirtioBusOps vpci_bus_ops;
uint8_t vpci_isr_read(VirtioPci *p);
uint16_t vpci_set_vector(VirtioPci *p, _Atomic uint16_t *vector, uint16_t val);
void vpci_update_intx(VirtioPci *p);
void vpci_update_bells(VirtioPci *p);
void vpci_remove_bells(VirtioPci *p);
/* virtio-pci-modern.c */
void vpci_cfg_window_wrote(VirtioPci *p, unsigned off, unsigned len);
uint32_t vpci_cfg_window_read(VirtioPci *p, unsigned off, unsigned len, uint32_t val);
/* virtio-pci-legacy.c */
uint64_t vpci_legacy_size(const VirtioPci *p);
