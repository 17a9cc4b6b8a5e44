/* The PCI transport (VIRTIO 1.4, 4.1): one macro line per device makes its three types. */
#pragma once

#include "hw/pci/pci.h"
#include "hw/virtio/virtio.h"

typedef struct VirtioPci VirtioPci;
extern const PropSpec virtio_pci_props[], virtio_pci_disable_props[];
bool virtio_pci_realize(Obj *o, GError **err);
void virtio_pci_unrealize(Obj *o);
void virtio_pci_init(Obj *o);
void virtio_pci_fini(Obj *o);
void virtio_pci_reset(Obj *o);
void virtio_pci_describe(const Obj *o, JsonWriter *w);
/* the "virtio-backend": target of the device's and virtio's property groups */
Obj *virtio_pci_child(Obj *o);
size_t virtio_pci_size(void);
VirtioPci *virtio_pci_of(const VirtioDev *d);
/*
 * VIRTIO_PCI_TYPES(virtio_rng, "virtio-rng", virtio_rng_class, rng_props, "Misc") defines const
 * ObjClass virtio_rng_pci_class, virtio_rng_pci_transitional_class,
 * virtio_rng_pci_non_transitional_class ("-pci", "-pci-transitional",
 * "-pci-non-transitional", parent "virtio-rng-pci-base"); VIRTIO_PCI_TYPE is the modern-only single
 * type. Defined by the implementation below; the type table lists the classes.
 */
#include "hw/virtio/virtio-pci-types.h"
