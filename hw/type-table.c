/* Every class there is, one line each: the only list that names devices, machines and user objects. */
#include "hw/core/machine.h"
#include "object/obj.h"

/* clang-format off */
extern const ObjClass container_class;
extern const ObjClass pci_device_class, virtio_pci_class, virtio_device_class;
extern const ObjClass rng_backend_class, rng_builtin_class, rng_random_class;
extern const ObjClass virtio_rng_class, virtio_rng_pci_base_class, virtio_rng_pci_class, virtio_rng_pci_transitional_class,
    virtio_rng_pci_non_transitional_class;

const ObjClass *const obj_classes[] = {
    &container_class,
    &pci_device_class, &virtio_pci_class, &virtio_device_class,
    &rng_backend_class, &rng_builtin_class, &rng_random_class,
    &virtio_rng_class, &virtio_rng_pci_base_class, &virtio_rng_pci_class, &virtio_rng_pci_transitional_class,
    &virtio_rng_pci_non_transitional_class,
    NULL,
};

const ObjAlias obj_aliases[] = {
    { "virtio-rng", "virtio-rng-pci" },
    { NULL, NULL },
};

const MachineClass *const machine_classes[] = {
    NULL,
};
/* clang-format on */
