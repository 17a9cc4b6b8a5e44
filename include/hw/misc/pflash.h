/*
 * A flash chip with Intel's command set (JEDEC JEP137, command set 0001; Intel 28F data sheets):
 * what firmware runs from and keeps its variables in. VM lock.
 */
#pragma once

#include "block/block.h"
#include "hw/core/dev.h"

enum { PFLASH_SECTOR = 4096 }; /* erase block, as on QEMU's PCs */

typedef struct Pflash Pflash;
extern const ObjClass pflash_class; /* "cfi.pflash01" */

/* With the content of b, whole sectors, whose medium it keeps. name: "system.flash0". NULL: *err.
 */
Pflash *pflash_new(Obj *tree, const char *name, Blk *b, GError **err);
uint64_t pflash_size(const Pflash *f);
/* Its memory at this address; ROM for aliases of it. */
void pflash_map(Pflash *f, Region *mem, uint64_t at);
Region *pflash_rom(Pflash *f);
