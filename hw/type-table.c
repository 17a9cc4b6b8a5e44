/* Every class there is, one line each: the only list that names devices, machines and user objects. */
#include "hw/core/machine.h"
#include "object/obj.h"

/* clang-format off */
extern const ObjClass virtio_blk_class;
extern const ObjClass virtio_blk_pci_base_class;
extern const ObjClass virtio_blk_pci_class;
extern const ObjClass virtio_blk_pci_transitional_class;
extern const ObjClass virtio_blk_pci_non_transitional_class;
extern const ObjClass virtio_net_class;
extern const ObjClass virtio_net_pci_base_class;
extern const ObjClass virtio_net_pci_class;
extern const ObjClass virtio_net_pci_transitional_class;
extern const ObjClass virtio_net_pci_non_transitional_class;
extern const ObjClass virtio_serial_class;
extern const ObjClass virtio_serial_pci_base_class;
extern const ObjClass virtio_serial_pci_class;
extern const ObjClass virtio_serial_pci_transitional_class;
extern const ObjClass virtio_serial_pci_non_transitional_class;
extern const ObjClass virtconsole_class;
extern const ObjClass virtserialport_class;
extern const ObjClass container_class;
extern const ObjClass pci_device_class, virtio_pci_class, virtio_device_class;
extern const ObjClass rng_backend_class, rng_builtin_class, rng_random_class;
extern const ObjClass virtio_rng_class, virtio_rng_pci_base_class, virtio_rng_pci_class, virtio_rng_pci_transitional_class,
    virtio_rng_pci_non_transitional_class;

const ObjClass *const obj_classes[] = {
    &container_class,
    &virtserialport_class,
    &virtconsole_class,
    &virtio_serial_pci_non_transitional_class,
    &virtio_serial_pci_transitional_class,
    &virtio_serial_pci_class,
    &virtio_serial_pci_base_class,
    &virtio_serial_class,
    &virtio_net_pci_non_transitional_class,
    &virtio_net_pci_transitional_class,
    &virtio_net_pci_class,
    &virtio_net_pci_base_class,
    &virtio_net_class,
    &virtio_blk_pci_non_transitional_class,
    &virtio_blk_pci_transitional_class,
    &virtio_blk_pci_class,
    &virtio_blk_pci_base_class,
    &virtio_blk_class,
    &pci_device_class, &virtio_pci_class, &virtio_device_class,
    &rng_backend_class, &rng_builtin_class, &rng_random_class,
    &virtio_rng_class, &virtio_rng_pci_base_class, &virtio_rng_pci_class, &virtio_rng_pci_transitional_class,
    &virtio_rng_pci_non_transitional_class,
    NULL,
};

const ObjAlias obj_aliases[] = {
    { "virtio-rng", "virtio-rng-pci" },
    { "virtio-blk", "virtio-blk-pci" },
    { "virtio-net", "virtio-net-pci" },
    { "virtio-serial", "virtio-serial-pci" },
    { NULL, NULL },
};

const MachineClass *const machine_classes[] = {
    NULL,
};
/* clang-format on */
