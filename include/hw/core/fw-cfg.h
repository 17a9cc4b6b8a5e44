/* The firmware configuration device (ports 510-51b, DMA): files and keys that SeaBIOS, OVMF and Linux read. */
#pragma once

#include "hw/core/dev.h"

typedef struct FwCfg FwCfg;
/* Makes the device on the port space; tree: where the object hangs ("/machine/fw_cfg"). */
FwCfg *fw_cfg_new(Obj *tree, Region *io, AddrSpace *mem, GError **err);
void fw_cfg_add_u16(FwCfg *f, uint16_t key, uint16_t v);
void fw_cfg_add_u32(FwCfg *f, uint16_t key, uint32_t v);
void fw_cfg_add_u64(FwCfg *f, uint16_t key, uint64_t v);
void fw_cfg_add_bytes(FwCfg *f, uint16_t key, const void *data, size_t len); /* copies */
/* Files are sorted into the directory when the machine is ready. Copies. */
bool fw_cfg_add_file(FwCfg *f, const char *name, const void *data, size_t len, GError **err); /* "duplicate fw_cfg file name: x" */
/* Replaced contents at reset or select time: fn is called when the guest selects it. */
void fw_cfg_add_file_live(FwCfg *f, const char *name, const void *data, size_t len, void (*selected)(void *opaque), void *opaque,
    bool writable);
bool fw_cfg_set_file(FwCfg *f, const char *name, const void *data, size_t len);
const void *fw_cfg_file(const FwCfg *f, const char *name, size_t *ret_len); /* direct boot applies table-loader from here */
