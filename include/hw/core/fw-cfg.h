/* The firmware configuration device (ports 510-51b, DMA): files and keys that SeaBIOS, OVMF and
 * Linux read. */
#pragma once

#include "hw/core/dev.h"

typedef struct FwCfg FwCfg;
extern const ObjClass fw_cfg_class; /* "fw_cfg_io" */

/* Well-known keys; files are numbered from FW_CFG_FILE_FIRST in the order of the directory. */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ARCH = 0x8000,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820 = 0x8003,
    FW_CFG_HPET = 0x8004,
};

/* Makes the device on the port space; tree: where the object hangs ("/machine/fw_cfg"). */
FwCfg *fw_cfg_new(Obj *tree, Region *io, AddrSpace *mem, GError **err);
void fw_cfg_add_u16(FwCfg *f, uint16_t key, uint16_t v);
void fw_cfg_add_u32(FwCfg *f, uint16_t key, uint32_t v);
void fw_cfg_add_u64(FwCfg *f, uint16_t key, uint64_t v);
/* copies; replaces an older value */
void fw_cfg_add_bytes(FwCfg *f, uint16_t key, const void *data, size_t len);
/* Files are sorted into the directory when the machine is ready. Copies. */
/* "duplicate fw_cfg file name: x" */
bool fw_cfg_add_file(FwCfg *f, const char *name, const void *data, size_t len, GError **err);
/* Replaced contents at reset or select time: fn is called when the guest selects it. */
void fw_cfg_add_file_live(FwCfg *f, const char *name, const void *data, size_t len,
    void (*selected)(void *opaque), void *opaque, bool writable);
bool fw_cfg_set_file(FwCfg *f, const char *name, const void *data, size_t len);
/* direct boot applies table-loader from here */
const void *fw_cfg_file(const FwCfg *f, const char *name, size_t *ret_len);
/* -fw_cfg name=,string=|file=: one parsed entry. QEMU's error texts. */
bool fw_cfg_add_user(FwCfg *f, const Json *entry, GError **err);
/* Every file, in directory order. */
void fw_cfg_each(const FwCfg *f,
    void (*fn)(void *opaque, const char *name, uint16_t key, size_t len), void *opaque);
