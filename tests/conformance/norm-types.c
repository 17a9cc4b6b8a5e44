/* The classes that the tests of normative sentences know: every virtio device there is, and the
 * programmable one. */
#include "backends/rng.h"
#include "hw/core/machine.h"
#include "hw/pci/bridge.h"
#include "tests/lib/vdummy.h"

#define DEVICE(p)                                                                                  \
    extern const ObjClass p##_class, p##_pci_base_class, p##_pci_class,                            \
        p##_pci_transitional_class, p##_pci_non_transitional_class
#define CLASSES(p)                                                                                 \
    &p##_class, &p##_pci_base_class, &p##_pci_class, &p##_pci_transitional_class,                  \
        &p##_pci_non_transitional_class

DEVICE(virtio_rng);
DEVICE(virtio_blk);
DEVICE(virtio_net);
DEVICE(virtio_serial);
DEVICE(virtio_balloon);
DEVICE(virtio_scsi);
extern const ObjClass virtio_vsock_class, virtio_vsock_pci_base_class, virtio_vsock_pci_class;
#define MODERN(p)         extern const ObjClass p##_class, p##_pci_base_class, p##_pci_class
#define MODERN_CLASSES(p) &p##_class, &p##_pci_base_class, &p##_pci_class
MODERN(virtio_keyboard);
MODERN(virtio_mouse);
MODERN(virtio_tablet);
MODERN(virtio_multitouch);
extern const ObjClass virtio_input_class, virtio_input_hid_class;
extern const ObjClass virtio_gpu_class, virtio_gpu_base_class, virtio_gpu_pci_base_class,
    virtio_gpu_pci_class;
extern const ObjClass virtconsole_class, virtserialport_class;
extern const ObjClass scsi_device_class, scsi_disk_base_class, scsi_hd_class, scsi_cd_class;

const ObjClass *const obj_classes[] = {
    &pci_device_class,
    &virtio_pci_class,
    &virtio_device_class,
    &rng_backend_class,
    &rng_builtin_class,
    &rng_random_class,
    CLASSES(virtio_rng),
    CLASSES(virtio_blk),
    CLASSES(virtio_net),
    CLASSES(virtio_serial),
    CLASSES(virtio_balloon),
    CLASSES(virtio_scsi),
    &virtio_vsock_class,
    &virtio_vsock_pci_base_class,
    &virtio_vsock_pci_class,
    &virtio_input_class,
    &virtio_input_hid_class,
    MODERN_CLASSES(virtio_keyboard),
    MODERN_CLASSES(virtio_mouse),
    MODERN_CLASSES(virtio_tablet),
    MODERN_CLASSES(virtio_multitouch),
    &virtio_gpu_class,
    &virtio_gpu_base_class,
    &virtio_gpu_pci_base_class,
    &virtio_gpu_pci_class,
    CLASSES(dummy),
    &virtconsole_class,
    &virtserialport_class,
    &scsi_device_class,
    &scsi_disk_base_class,
    &scsi_hd_class,
    &scsi_cd_class,
    &pcie_root_port_class,
    &pcie_root_port_base_class,
    &pcie_port_class,
    &pcie_slot_class,
    NULL,
};
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };
