/* SMBIOS structures (DMTF DSP0134) as the firmware finds them: files etc/smbios/smbios-tables and
 * etc/smbios/smbios-anchor. */
#pragma once

#include "hw/core/machine.h"

typedef struct SmbiosInfo {
    const char *manufacturer, *product, *version; /* defaults of types 1 to 4 and 17 */
    const X86CpuModel *cpu;
    SmpSpec smp;
    uint64_t ram_size, dimm_size;
    struct {
        uint64_t start, size;
    } area[4]; /* RAM by address: type 19 */
    unsigned nareas;
    const uint8_t *uuid; /* 16 bytes in text order, NULL: zero */
    bool entry64;        /* 3.0 entry point instead of 2.8 */
} SmbiosInfo;

/* entries: Json objects of -smbios. Both arrays are the caller's. */
bool smbios_build(const SmbiosInfo *s, const GPtrArray *entries, GByteArray **ret_tables,
    GByteArray **ret_anchor, GError **err);
