/* Kernels and firmware into guest memory: bzImage, PVH and plain ELF, multiboot 1, initrd, ROM
 * images. */
#pragma once

#include "hw/core/machine.h"

typedef struct RomEntry RomEntry; /* written again at every machine reset */
/* copies */
void rom_add_bytes(Machine *m, const char *name, uint64_t gpa, const void *data, size_t len);
void rom_reset_all(Machine *m);

typedef enum KernelKind { KERNEL_BZIMAGE, KERNEL_PVH, KERNEL_MULTIBOOT } KernelKind;
/* How the boot CPU starts after reset; the board applies it. */
typedef struct KernelEntry {
    KernelKind kind;
    uint64_t entry, info, stack, cmdline;
    uint32_t magic;
} KernelEntry;

/* A piece of the file that belongs at a guest-physical address; what lies past `filesz` is zero. */
typedef struct LoadSegment {
    uint64_t gpa, off, filesz, memsz;
} LoadSegment;

/* A kernel file as its headers describe it. data stays the file's (mapped) or the caller's. */
typedef struct KernelImage {
    KernelKind kind;
    GMappedFile *file; /* NULL: data is the caller's */
    const uint8_t *data;
    size_t len;
    GArray *segs;       /* LoadSegment */
    uint64_t low, high; /* span of the segments */
    uint64_t entry;     /* 32-bit entry point */
    /* bzImage: the setup header (Linux, Documentation/arch/x86/boot.rst). */
    uint16_t protocol, xloadflags;
    uint32_t header_len;  /* of the setup header, from 0x1f1 */
    uint32_t initrd_max;  /* highest address of the initrd's last byte */
    uint32_t cmdline_max; /* without the terminating zero */
    uint64_t span_end;    /* end of what the kernel may use while it unpacks itself */
    uint32_t multiboot_flags;
} KernelImage;

/* Opens and parses. Error texts are QEMU's: "could not open kernel file 'x': …", "invalid kernel
 * header". */
bool kernel_image_open(const char *path, KernelImage *ret, GError **err);
/* data and len are set. False: *err, nothing to free. */
bool kernel_image_parse(KernelImage *k, GError **err);
void kernel_image_close(KernelImage *k);
/* Copies the segments to guest memory. */
bool kernel_image_place(const KernelImage *k, AddrSpace *mem, GError **err);

/* loader-elf.c, loader-multiboot.c: false without an error: it is not of this kind. */
bool elf_is(const uint8_t *data, size_t len);
bool elf_parse(KernelImage *k, bool want_pvh, GError **err);
bool multiboot_parse(KernelImage *k, bool *ret_is, GError **err);
