/*
 * The `VGA` device: a VGA on PCI with 16 MiB of video memory, an MMIO BAR and a monitor's
 * description. BAR 0: video memory; BAR 2: EDID 000h, ports 400h, DISPI 500h, extended registers
 * 600h; BAR 6: SeaBIOS's VGA BIOS. Tested by tests/system/test_display.py.
 */
#include "hw/display/edid.h"
#include "hw/display/vga.h"
#include "hw/pci/pci.h"
#include "util/err.h"

#include <string.h>

enum { MMIO_SIZE = 4096, MEM_MB_MAX = 512 };

typedef struct VgaPci {
    PciFn fn;
    Vga vga;
    Region mmio, edid_rom;
    Display *display;
    uint8_t edid_data[EDID_MAX];
    uint32_t mem_mb, xres, yres, xmax, ymax, refresh_rate;
    bool use_mmio, extended, edid, global_vmstate, big_endian;
} VgaPci;

static void pci_vga_refresh(void *opaque)
{
    VgaPci *p = opaque;

    vga_refresh(&p->vga, p->display);
}

static void pci_vga_invalidate(void *opaque)
{
    vga_invalidate(&((VgaPci *)opaque)->vga);
}

static void pci_vga_unwatched(void *opaque)
{
    vga_unwatched(&((VgaPci *)opaque)->vga);
}

static const DisplayOps display_ops = {
    .refresh = pci_vga_refresh, .invalidate = pci_vga_invalidate, .unwatched = pci_vga_unwatched
};

static uint64_t edid_read(void *opaque, uint64_t off, unsigned size)
{
    return ((const VgaPci *)opaque)->edid_data[off];
}

static void edid_write(void *opaque, uint64_t off, unsigned size, uint64_t val) {}

static const RegionOps edid_ops = { .read = edid_read, .write = edid_write, .max_access = 1 };

static void make_mmio(VgaPci *p)
{
    EdidInfo info = { .width = p->xres,
        .height = p->yres,
        .max_width = p->xmax,
        .max_height = p->ymax,
        .refresh_mhz = p->refresh_rate };

    region_init_container(&p->mmio, &p->fn.dev.obj, "vga.mmio", MMIO_SIZE);
    if (p->edid) {
        edid_build(&info, p->edid_data);
        region_init_io(&p->edid_rom, &p->fn.dev.obj, "edid", &edid_ops, p, EDID_MAX);
        region_map(&p->mmio, 0, &p->edid_rom, 0);
    }
    vga_map_mmio(&p->vga, &p->mmio, p->extended);
    pci_set_bar(&p->fn, 2, PCI_BAR_MEM32, &p->mmio);
}

static bool pci_vga_realize(PciFn *f, GError **err)
{
    VgaPci *p = (VgaPci *)f;
    unsigned mb = 1;

    if (p->big_endian) {
        return err_set(err, "big-endian-framebuffer=on is not available");
    }
    while (mb < p->mem_mb && mb < MEM_MB_MAX) {
        mb <<= 1;
    }
    if (!vga_init(&p->vga, &f->dev.obj, mb, err)) {
        return false;
    }
    p->mem_mb = mb;
    p->xres = p->xres ? p->xres : 1280;
    p->yres = p->yres ? p->yres : 800;
    pci_set_bar(f, 0, PCI_BAR_MEM32_PREF, &p->vga.vram);
    if (p->use_mmio) {
        make_mmio(p);
    }
    vga_map(&p->vga, pci_bus_of(f)->mem, pci_bus_of(f)->io);
    p->display = display_new(&f->dev.obj, 0, &display_ops, p);
    return true;
}

static void pci_vga_unrealize(PciFn *f)
{
    VgaPci *p = (VgaPci *)f;

    display_free(p->display);
    p->display = NULL;
    if (p->edid && p->use_mmio) {
        region_unmap(&p->edid_rom);
        region_fini(&p->edid_rom);
    }
    vga_fini(&p->vga);
    if (p->use_mmio) {
        region_fini(&p->mmio);
    }
}

static void pci_vga_reset(PciFn *f)
{
    vga_reset(&((VgaPci *)f)->vga);
}

/* clang-format off */
static const PropSpec vga_props[] = {
    PROP_U32("vgamem_mb", VgaPci, mem_mb, 16, "video memory in MiB, a power of two up to 512"),
    PROP_BOOL("mmio", VgaPci, use_mmio, true, "registers in BAR 2 as well"),
    PROP_BOOL("qemu-extended-regs", VgaPci, extended, true, "extended registers in BAR 2"),
    PROP_BOOL("edid", VgaPci, edid, true, "a monitor's description in BAR 2"),
    PROP_U32("xres", VgaPci, xres, 0, "preferred width of the monitor, 0: 1280"),
    PROP_U32("yres", VgaPci, yres, 0, "preferred height of the monitor, 0: 800"),
    PROP_U32("xmax", VgaPci, xmax, 0, "largest width of the monitor, 0: any"),
    PROP_U32("ymax", VgaPci, ymax, 0, "largest height of the monitor, 0: any"),
    PROP_U32("refresh_rate", VgaPci, refresh_rate, 0, "of the monitor in 1/1000 Hz, 0: 75000"),
    PROP_BOOL("global-vmstate", VgaPci, global_vmstate, false, "kept; for migration"),
    { .name = "big-endian-framebuffer", .type = &prop_bool, .offset = PROP_AT(VgaPci, big_endian, bool), .bit = -1,
        .flags = PROP_NO_DEFAULT, .help = "refused when on" },
    PROP_END,
};
/* clang-format on */

static const PciOps pci_vga_ops = {
    .vendor = 0x1234,
    .device = 0x1111,
    .revision = 2,
    .class_code = 0x030000,
    .realize = pci_vga_realize,
    .unrealize = pci_vga_unrealize,
    .reset = pci_vga_reset,
    .romfile = "vgabios-stdvga.bin",
};

const ObjClass vga_pci_class = {
    .name = "VGA",
    .parent = "pci-vga",
    .category = "Display",
    .help = "VGA with Bochs's display extension",
    .size = sizeof(VgaPci),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .bus = "PCI",
    .props = (const PropGroup[]){ { pci_fn_props, NULL }, { vga_props, NULL }, { NULL, NULL } },
    .ops = &pci_vga_ops,
    .init = pci_fn_init,
    .realize = pci_fn_realize,
    .unrealize = pci_fn_unrealize,
    .fini = pci_fn_fini,
    .reset = pci_fn_reset,
};
const ObjClass vga_pci_base_class = {
    .name = "pci-vga",
    .parent = "pci-device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(VgaPci),
};
