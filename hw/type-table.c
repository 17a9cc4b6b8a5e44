/* Every class there is, one line each: the only list that names devices, machines and user objects.
 */
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
extern const ObjClass obj_container_class;
extern const ObjClass pcie_root_port_class, pcie_root_port_base_class, pcie_pci_bridge_class, pcie_port_class, pcie_slot_class,
    pci_bridge_base_class;
extern const ObjClass e1000_class, e1000_base_class, rtl8139_class;
extern const ObjClass pci_device_class, virtio_pci_class, virtio_device_class;
extern const ObjClass secret_class;
extern const ObjClass netfilter_class, filter_dump_class, filter_mirror_class, filter_redirector_class, filter_buffer_class;
extern const ObjClass rng_backend_class, rng_builtin_class, rng_random_class, rng_egd_class;
extern const ObjClass memory_backend_class, memory_backend_ram_class, memory_backend_file_class, memory_backend_memfd_class,
    memory_backend_shm_class, iothread_class, throttle_group_class;
extern const ObjClass pflash_class;
extern const ObjClass vga_pci_base_class, vga_pci_class;
extern const ObjClass virtio_gpu_class, virtio_gpu_base_class, virtio_gpu_pci_base_class, virtio_gpu_pci_class, virtio_vga_base_class,
    virtio_vga_class; /* virtio-gpu, virtio-vga */
extern const ObjClass virtio_vsock_class, virtio_vsock_pci_base_class, virtio_vsock_pci_class, vhost_vsock_class,
    vhost_vsock_pci_base_class, vhost_vsock_pci_class;
extern const ObjClass virtio_scsi_class, virtio_scsi_pci_base_class, virtio_scsi_pci_class,
    virtio_scsi_pci_transitional_class, virtio_scsi_pci_non_transitional_class, scsi_device_class,
    scsi_disk_base_class, scsi_hd_class, scsi_cd_class;
extern const ObjClass virtio_balloon_class, virtio_balloon_pci_base_class, virtio_balloon_pci_class,
    virtio_balloon_pci_transitional_class, virtio_balloon_pci_non_transitional_class;
extern const ObjClass virtio_input_class, virtio_input_hid_class, virtio_keyboard_class, virtio_keyboard_pci_base_class,
    virtio_keyboard_pci_class, virtio_mouse_class, virtio_mouse_pci_base_class, virtio_mouse_pci_class, virtio_tablet_class,
    virtio_tablet_pci_base_class, virtio_tablet_pci_class, virtio_multitouch_class, virtio_multitouch_pci_base_class,
    virtio_multitouch_pci_class, virtio_input_host_class, virtio_input_host_pci_base_class, virtio_input_host_pci_class;
extern const ObjClass virtio_rng_class, virtio_rng_pci_base_class, virtio_rng_pci_class, virtio_rng_pci_transitional_class,
    virtio_rng_pci_non_transitional_class;
extern const ObjClass fw_cfg_class, i440fx_class, piix3_class, piix4_pm_class, mch_class, ich9_lpc_class, ich9_smb_class;
extern const ObjClass kernel_lapic_class, kernel_ioapic_class, kernel_pic_class, kernel_pit_class, kernel_clock_class;
extern const ObjClass ioapic_class, pic_class, lapic_class, hpet_class, pit_class, pcspk_class, rtc_class, i8042_class, port92_class,
    dma8237_class, isa_serial_class, isa_debugcon_class, isa_debug_exit_class, pvpanic_class;
extern const MachineClass pc_i440fx_10_0, pc_i440fx_9_2, pc_i440fx_9_1, pc_i440fx_9_0, pc_i440fx_8_2, pc_i440fx_8_1, pc_i440fx_8_0,
    pc_i440fx_7_2, pc_q35_10_0, pc_q35_9_2, pc_q35_9_1, pc_q35_9_0, pc_q35_8_2, pc_q35_8_1, pc_q35_8_0, pc_q35_7_2, pc_q35_5_2,
    machine_microvm, machine_none;
extern const ObjClass microvm_host_class;

const ObjClass *const obj_classes[] = {
    &obj_container_class,
    &fw_cfg_class, &i440fx_class, &piix3_class, &piix4_pm_class, &mch_class, &ich9_lpc_class, &ich9_smb_class, &microvm_host_class,
    &kernel_lapic_class, &kernel_ioapic_class, &kernel_pic_class, &kernel_pit_class, &kernel_clock_class,
    &ioapic_class, &pic_class, &lapic_class, &hpet_class, &pit_class, &pcspk_class, &rtc_class, &i8042_class, &port92_class,
    &dma8237_class, &isa_serial_class, &isa_debugcon_class, &isa_debug_exit_class, &pvpanic_class,
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
    &e1000_class, &e1000_base_class, &rtl8139_class,
    &pci_device_class, &virtio_pci_class, &virtio_device_class,
    &pcie_root_port_class, &pcie_root_port_base_class, &pcie_pci_bridge_class, &pcie_port_class, &pcie_slot_class,
    &pci_bridge_base_class,
    &secret_class,
    &netfilter_class, &filter_dump_class, &filter_mirror_class, &filter_redirector_class, &filter_buffer_class,
    &rng_backend_class, &rng_builtin_class, &rng_random_class, &rng_egd_class,
    &memory_backend_class, &memory_backend_ram_class, &memory_backend_file_class, &memory_backend_memfd_class,
    &memory_backend_shm_class, &iothread_class, &throttle_group_class,
    &virtio_vsock_class, &virtio_vsock_pci_base_class, &virtio_vsock_pci_class,
    &vhost_vsock_class, &vhost_vsock_pci_base_class, &vhost_vsock_pci_class,
    &pflash_class,
    &vga_pci_base_class, &vga_pci_class,
    &virtio_gpu_class, &virtio_gpu_base_class, &virtio_gpu_pci_base_class, &virtio_gpu_pci_class, &virtio_vga_base_class, &virtio_vga_class,
    &virtio_scsi_class, &virtio_scsi_pci_base_class, &virtio_scsi_pci_class,
    &virtio_scsi_pci_transitional_class, &virtio_scsi_pci_non_transitional_class,
    &scsi_device_class, &scsi_disk_base_class, &scsi_hd_class, &scsi_cd_class,
    &virtio_balloon_class, &virtio_balloon_pci_base_class, &virtio_balloon_pci_class,
    &virtio_balloon_pci_transitional_class, &virtio_balloon_pci_non_transitional_class,
    &virtio_rng_class, &virtio_rng_pci_base_class, &virtio_rng_pci_class, &virtio_rng_pci_transitional_class,
    &virtio_rng_pci_non_transitional_class,
    &virtio_input_class, &virtio_input_hid_class, &virtio_keyboard_class, &virtio_keyboard_pci_base_class, &virtio_keyboard_pci_class,
    &virtio_mouse_class, &virtio_mouse_pci_base_class, &virtio_mouse_pci_class,
    &virtio_tablet_class, &virtio_tablet_pci_base_class, &virtio_tablet_pci_class,
    &virtio_multitouch_class, &virtio_multitouch_pci_base_class, &virtio_multitouch_pci_class,
    &virtio_input_host_class, &virtio_input_host_pci_base_class, &virtio_input_host_pci_class,
    NULL,
};

const ObjAlias obj_aliases[] = {
    { "virtio-keyboard", "virtio-keyboard-pci" },
    { "virtio-mouse", "virtio-mouse-pci" },
    { "virtio-tablet", "virtio-tablet-pci" },
    { "virtio-input-host", "virtio-input-host-pci" },
    { "virtio-scsi", "virtio-scsi-pci" },
    { "virtio-balloon", "virtio-balloon-pci" },
    { "virtio-gpu", "virtio-gpu-pci" },
    { "virtio-rng", "virtio-rng-pci" },
    { "virtio-blk", "virtio-blk-pci" },
    { "virtio-net", "virtio-net-pci" },
    { "virtio-serial", "virtio-serial-pci" },
    { "e1000-82540em", "e1000" },
    { NULL, NULL },
};

const MachineClass *const machine_classes[] = {
    &pc_i440fx_10_0, &pc_i440fx_9_2, &pc_i440fx_9_1, &pc_i440fx_9_0, &pc_i440fx_8_2, &pc_i440fx_8_1, &pc_i440fx_8_0, &pc_i440fx_7_2,
    &pc_q35_10_0, &pc_q35_9_2, &pc_q35_9_1, &pc_q35_9_0, &pc_q35_8_2, &pc_q35_8_1, &pc_q35_8_0, &pc_q35_7_2, &pc_q35_5_2,
    &machine_microvm, &machine_none,
    NULL,
};
/* clang-format on */
