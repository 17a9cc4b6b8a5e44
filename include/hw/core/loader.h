/* Kernels and firmware into guest memory: bzImage, PVH and plain ELF, multiboot 1, initrd, ROM images. */
#pragma once

#include "hw/core/machine.h"

typedef struct RomEntry RomEntry; /* written again at every machine reset */
void rom_add_bytes(Machine *m, const char *name, uint64_t gpa, const void *data, size_t len); /* copies */
void rom_reset_all(Machine *m);

typedef enum KernelKind { KERNEL_BZIMAGE, KERNEL_PVH, KERNEL_MULTIBOOT } KernelKind;
/* How the boot CPU starts after reset; the board applies it. */
typedef struct KernelEntry { KernelKind kind; uint64_t entry, info, stack, cmdline; uint32_t magic; } KernelEntry;
