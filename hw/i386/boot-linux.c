/* Linux's zero page (Documentation/arch/x86/zero-page.rst, boot.rst), for the 32- and 64-bit entry
 * points. */
#include "hw/i386/boot.h"

#include <string.h>

enum {
    ZP_EXT_MEM_K = 0x002,
    ZP_ACPI_RSDP = 0x070,
    ZP_EXT_RAMDISK_IMAGE = 0x0c0,
    ZP_EXT_RAMDISK_SIZE = 0x0c4,
    ZP_EXT_CMDLINE = 0x0c8,
    ZP_ALT_MEM_K = 0x1e0,
    ZP_E820_ENTRIES = 0x1e8,
    ZP_SETUP_HEADER = 0x1f1,
    ZP_VID_MODE = 0x1fa,
    ZP_TYPE_OF_LOADER = 0x210,
    ZP_LOADFLAGS = 0x211,
    ZP_RAMDISK_IMAGE = 0x218,
    ZP_RAMDISK_SIZE = 0x21c,
    ZP_HEAP_END = 0x224,
    ZP_SETUP_DATA = 0x250,
    ZP_CMDLINE = 0x228,
    ZP_E820_TABLE = 0x2d0,
    LOADER_OTHER = 0xff,
    VID_NORMAL = 0xffff,
};

/* boot.rst, setup_data: a list; its only entry is the device tree. It goes below everything else.
 */
static bool place_dtb(PcMachine *pc, struct DirectBoot *b, uint8_t *zp, GError **err)
{
    enum { SETUP_DTB = 2, SETUP_HEADER = 16 };
    uint8_t head[SETUP_HEADER] = { 0 };
    size_t len = b->dtb ? g_mapped_file_get_length(b->dtb) : 0;

    if (!len) {
        return true;
    }
    if (len + SETUP_HEADER > b->ram_top / 4) {
        return err_set(err, "device tree is too large: 0x%zx bytes", len);
    }
    b->ram_top = (b->ram_top - len - SETUP_HEADER) & ~UINT64_C(4095);
    put_le(head + 8, SETUP_DTB, 4);
    put_le(head + 12, len, 4);
    put_le(zp + ZP_SETUP_DATA, b->ram_top, 8);
    return boot_write(pc, b->ram_top, head, sizeof(head), err) &&
           boot_write(pc, b->ram_top + SETUP_HEADER, g_mapped_file_get_contents(b->dtb), len, err);
}

bool boot_linux(PcMachine *pc, struct DirectBoot *b, KernelEntry *ret, GError **err)
{
    const KernelImage *k = &b->kernel;
    uint64_t ext_k = (pc->below_4g - (1 << 20)) >> 10;
    uint8_t zp[4096] = { 0 };

    memcpy(zp + ZP_SETUP_HEADER, k->data + ZP_SETUP_HEADER, k->header_len);
    if (!place_dtb(pc, b, zp, err) ||
        !boot_place_modules(pc, b, (uint64_t)k->initrd_max + 1, err)) {
        return false;
    }
    zp[ZP_TYPE_OF_LOADER] = LOADER_OTHER;
    zp[ZP_LOADFLAGS] |= 0x80; /* heap_end_ptr is valid */
    put_le(zp + ZP_HEAP_END, 0xfe00, 2);
    put_le(zp + ZP_VID_MODE, VID_NORMAL, 2);
    put_le(zp + ZP_CMDLINE, BOOT_CMDLINE, 4);
    put_le(zp + ZP_EXT_MEM_K, MIN(ext_k, 0xffff), 2);
    put_le(zp + ZP_ALT_MEM_K, ext_k, 4);
    put_le(zp + ZP_ACPI_RSDP, k->protocol >= 0x20e ? b->rsdp : 0, 8);
    if (b->modules->len) {
        const BootModule *m = &g_array_index(b->modules, BootModule, 0);

        put_le(zp + ZP_RAMDISK_IMAGE, m->at, 4);
        put_le(zp + ZP_RAMDISK_SIZE, m->len, 4);
        put_le(zp + ZP_EXT_RAMDISK_IMAGE, m->at >> 32, 4);
        put_le(zp + ZP_EXT_RAMDISK_SIZE, m->len >> 32, 4);
    }
    zp[ZP_E820_ENTRIES] = (uint8_t)b->ne820;
    for (unsigned i = 0; i < b->ne820; i++) {
        uint8_t *p = zp + ZP_E820_TABLE + (size_t)i * 20;

        put_le(p, b->e820[i].at, 8);
        put_le(p + 8, b->e820[i].size, 8);
        put_le(p + 16, b->e820[i].type, 4);
    }
    ret->entry = k->entry;
    ret->info = BOOT_INFO;
    return boot_write(pc, BOOT_INFO, zp, sizeof(zp), err);
}
