/*
 * virtio-vga: a virtio-gpu that is a VGA until a driver sets a scanout (VIRTIO 1.4, 5.7.7). BAR 0:
 * 8 MiB of video memory; BAR 2: the VGA's registers by memory and virtio's structures; BAR 4:
 * MSI-X. Tested by tests/system/test_display.py.
 */
#include "hw/display/vga.h"
#include "hw/virtio/virtio-gpu.h"
#include "hw/virtio/virtio-pci.h"
#include "util/err.h"

enum { VGA_MB = 8 };

typedef struct VirtioVga {
    VirtioPci p;
    Vga vga;
    bool big_endian;
} VirtioVga;

static VirtioGpu *gpu_of(VirtioVga *v)
{
    return (VirtioGpu *)v->p.vd;
}

static void vv_refresh(void *opaque)
{
    VirtioVga *v = opaque;

    vga_refresh(&v->vga, gpu_of(v)->head[0].display);
}

static void vv_invalidate(void *opaque)
{
    vga_invalidate(&((VirtioVga *)opaque)->vga);
}

static void vv_unwatched(void *opaque)
{
    vga_unwatched(&((VirtioVga *)opaque)->vga);
}

static const DisplayOps vv_ops = {
    .refresh = vv_refresh, .invalidate = vv_invalidate, .unwatched = vv_unwatched
};

static bool vv_realize(PciFn *f, GError **err)
{
    VirtioVga *v = (VirtioVga *)f;
    VirtioGpu *g = gpu_of(v);

    if (v->big_endian) {
        return err_set(err, "big-endian-framebuffer=on is not available");
    }
    if (v->p.modern_pio_notify) {
        return err_set(err, "modern-pio-notify=on is not possible: BAR 2 is the VGA's");
    }
    if (!vga_init(&v->vga, &f->dev.obj, VGA_MB, err)) {
        return false;
    }
    g->vga_ops = &vv_ops;
    g->vga_opaque = v;
    v->p.vga_layout = true;
    if (!virtio_pci_ops.realize(f, err)) {
        vga_fini(&v->vga);
        return false;
    }
    pci_set_bar(f, 0, PCI_BAR_MEM32_PREF, &v->vga.vram);
    vga_map_mmio(&v->vga, &v->p.bar_modern, /* extended= */ true);
    vga_map(&v->vga, pci_bus_of(f)->mem, pci_bus_of(f)->io);
    f->config[0x0b] = 0x03; /* a VGA: 5.7.7 */
    f->config[0x0a] = 0x00;
    return true;
}

static void vv_unrealize(PciFn *f)
{
    VirtioVga *v = (VirtioVga *)f;

    vga_fini(&v->vga); /* out of the BARs, which go next */
    f->bar[0].region = NULL;
    virtio_pci_ops.unrealize(f);
}

static void vv_reset(PciFn *f)
{
    virtio_pci_ops.reset(f);
    vga_reset(&((VirtioVga *)f)->vga);
}

static void vv_config_wrote(PciFn *f, unsigned off, unsigned len)
{
    virtio_pci_ops.config_wrote(f, off, len);
}

static uint32_t vv_config_read(PciFn *f, unsigned off, unsigned len, uint32_t val)
{
    return virtio_pci_ops.config_read(f, off, len, val);
}

static void vv_bridge_changed(PciFn *f)
{
    virtio_pci_ops.bridge_changed(f);
}

static void vv_run_changed(PciFn *f, bool running)
{
    virtio_pci_ops.run_changed(f, running);
}

static const PciOps vv_pci_ops = {
    .vendor = 0x1af4,
    .class_code = 0x030000,
    .is_express = true,
    .realize = vv_realize,
    .unrealize = vv_unrealize,
    .reset = vv_reset,
    .config_wrote = vv_config_wrote,
    .config_read = vv_config_read,
    .bridge_changed = vv_bridge_changed,
    .run_changed = vv_run_changed,
    .romfile = "vgabios-virtio.bin",
};

static const PropSpec vv_props[] = {
    { .name = "big-endian-framebuffer",
        .type = &prop_bool,
        .offset = PROP_AT(VirtioVga, big_endian, bool),
        .bit = -1,
        .flags = PROP_NO_DEFAULT,
        .help = "refused when on" },
    PROP_END,
};
static const PropGroup vv_groups[] = {
    { pci_fn_props, NULL },
    { virtio_gpu_pci_props, NULL },
    { vv_props, NULL },
    { virtio_pci_props, NULL },
    { virtio_pci_disable_props, NULL },
    { virtio_props, virtio_pci_child },
    { virtio_gpu_props, virtio_pci_child },
    { NULL, NULL },
};

const ObjClass virtio_vga_class = {
    .name = "virtio-vga",
    .parent = "virtio-vga-base",
    .category = "Display",
    .size = sizeof(VirtioVga),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .props = vv_groups,
    .ops = &vv_pci_ops,
    VIRTIO_PCI_SLOTS(virtio_gpu_class),
};
const ObjClass virtio_vga_base_class = {
    .name = "virtio-vga-base",
    .parent = "virtio-pci",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(VirtioVga),
};
