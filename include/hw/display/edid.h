/* A monitor's description (VESA E-EDID Standard, release A2; CTA-861; DisplayID 1.3). */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { EDID_BLOCK = 128, EDID_MAX = 3 * EDID_BLOCK };

typedef struct EdidInfo {
    uint32_t width, height;         /* the preferred mode; 0: 1280x800 */
    uint32_t max_width, max_height; /* 0: any */
    uint32_t width_mm, height_mm;   /* 0: as 100 dots an inch make it */
    uint32_t refresh_mhz;           /* of the preferred mode, in 1/1000 Hz; 0: 75 Hz */
} EdidInfo;

/* Returns how many bytes of out (EDID_MAX) are used, whole blocks; the rest is cleared. */
size_t edid_build(const EdidInfo *info, uint8_t *out);
