/*
 * The expansion ROM of a function: an image file behind BAR 6 (PCI Local Bus 3.0, 6.3; PCI Firmware
 * Specification 3.0, 5.1 for what is inside). Covered by tests/unit/test-pci.c; Debian's iPXE ROM
 * runs in tests/guest/.
 */
#include "hw/pci/pci-internal.h"
#include "memory/ram.h"
#include "util/fd.h"

#include <string.h>

enum {
    ROM_DATA = 0x18,     /* header: 16-bit offset of the PCI data structure */
    ROM_CHECKSUM = 6,    /* free for the image in an x86 header; here it makes the sum 0 */
    ROM_DATA_SIZE = 0x18 /* up to and with the indicator */
};

/* One boot ROM serves several device ids, the transitional and the modern virtio-net: the first
 * image of a default ROM gets those of the function, and its bytes still sum up to 0. A ROM that
 * the user names stays as it is (both as on QEMU 10.0). */
static void rom_adopt(const PciFn *f, uint8_t *rom, size_t len)
{
    static const uint8_t offset[] = { 4, 6 }; /* vendor id, device id */
    uint8_t *data, delta = 0;
    size_t at;

    if (len < ROM_DATA + 2 || rom[0] != 0x55 || rom[1] != 0xaa) {
        return;
    }
    at = rom[ROM_DATA] | (size_t)rom[ROM_DATA + 1] << 8;
    if (at + ROM_DATA_SIZE > len || memcmp(rom + at, "PCIR", 4)) {
        return;
    }
    data = rom + at;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t *byte = data + offset[i / 2] + i % 2;

        delta += *byte - f->config[PCI_VENDOR_ID + i];
        *byte = f->config[PCI_VENDOR_ID + i];
    }
    rom[ROM_CHECKSUM] += delta;
}

static bool rom_load(PciFn *f, const char *file, bool adopt, GError **err)
{
    g_autofree char *path = machine_find_file(pci_bus_of(f)->machine, file);
    uint64_t len, size = 2048;

    if (!path) {
        return err_set(err, "failed to find romfile \"%s\"", file);
    }
    autofd fd = fd_open_file(path, &len);
    if (fd < 0) {
        return err_set(err, "failed to load romfile \"%s\"", file);
    }
    if (!len) {
        return err_set(err, "romfile \"%s\" is empty", file);
    }
    if (len > (f->romsize != UINT32_MAX ? f->romsize : 1u << 26)) {
        return err_set(err, "romfile \"%s\" (%u bytes) is too large for ROM size %u", file,
            (unsigned)len, f->romsize);
    }
    while (size < len || (f->romsize != UINT32_MAX && size < f->romsize)) {
        size <<= 1;
    }
    if (!region_init_rom_file(&f->rom, &f->dev.obj, "pci.rom", fd, len, size, NULL)) {
        return err_set(err, "failed to load romfile \"%s\"", file);
    }
    if (adopt) {
        rom_adopt(f, f->rom.ram->host, len);
    }
    pci_set_bar(f, 6, PCI_BAR_MEM32, &f->rom);
    return true;
}

void pci_rom_default(PciFn *f, const char *file)
{
    g_autoptr(GError) ignored = NULL;

    /* Default ROMs come from a firmware package; without it the device just does not boot. */
    if (f->rombar && !f->romfile && !f->bar[6].region) {
        rom_load(f, file, true, &ignored);
    }
}

bool pci_rom_realize(PciFn *f, GError **err)
{
    if (f->rombar && f->romfile) {
        return !*f->romfile || rom_load(f, f->romfile, false, err);
    }
    if (f->ops->romfile) {
        pci_rom_default(f, f->ops->romfile);
    }
    return true;
}
