/*
 * EDID: see include/hw/display/edid.h. A base block, a CTA extension with the modes of televisions,
 * and DisplayID where the preferred mode is too large for the base block. Guests see the same
 * monitor as on QEMU 10.0. Tested by test-edid.
 */
#include "hw/display/edid.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

enum { DESC = 18, DESC_FIRST = 54, DESC_END = 126, DTD_MAX = 4095 };

/* Blanking in the proportions of an ordinary monitor's timings. */
typedef struct Timing {
    uint32_t width, height, clock_10khz;
    uint32_t hblank, hfront, hsync, vblank, vfront, vsync;
    uint32_t width_mm, height_mm;
} Timing;

static void make_timing(const EdidInfo *i, Timing *t)
{
    uint32_t w = i->width ? i->width : 1280, h = i->height ? i->height : 800;

    *t = (Timing){ .width = w,
        .height = h,
        .hblank = w * 35 / 100,
        .hfront = w * 25 / 100,
        .hsync = w * 3 / 100,
        .vblank = h * 35 / 1000,
        .vfront = h * 5 / 1000,
        .vsync = h * 5 / 1000,
        .width_mm = i->width_mm ? i->width_mm : w * 254 / 1000,
        .height_mm = i->height_mm ? i->height_mm : h * 254 / 1000 };
    uint64_t rate = i->refresh_mhz ? i->refresh_mhz : 75000;

    t->clock_10khz = (uint32_t)MIN(
        rate * (w + t->hblank) / 1000 * (h + t->vblank) / 10000, (uint64_t)UINT32_MAX);
}

static void put16(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

/* VESA E-EDID A2, 3.10.2. */
static void put_timing(uint8_t *d, const Timing *t)
{
    put16(d, t->clock_10khz);
    d[2] = (uint8_t)t->width;
    d[3] = (uint8_t)t->hblank;
    d[4] = (uint8_t)((t->width >> 8 & 15) << 4 | (t->hblank >> 8 & 15));
    d[5] = (uint8_t)t->height;
    d[6] = (uint8_t)t->vblank;
    d[7] = (uint8_t)((t->height >> 8 & 15) << 4 | (t->vblank >> 8 & 15));
    d[8] = (uint8_t)t->hfront;
    d[9] = (uint8_t)t->hsync;
    d[10] = (uint8_t)((t->vfront & 15) << 4 | (t->vsync & 15));
    d[11] = (uint8_t)((t->hfront >> 8 & 3) << 6 | (t->hsync >> 8 & 3) << 4 |
                      (t->vfront >> 4 & 3) << 2 | (t->vsync >> 4 & 3));
    d[12] = (uint8_t)t->width_mm;
    d[13] = (uint8_t)t->height_mm;
    d[14] = (uint8_t)((t->width_mm >> 8 & 15) << 4 | (t->height_mm >> 8 & 15));
    d[17] = 0x18; /* digital, separate syncs */
}

static bool fits(const EdidInfo *i, unsigned w, unsigned h)
{
    return (!i->max_width || w <= i->max_width) && (!i->max_height || h <= i->max_height);
}

/* 640x480, 800x600 and 1024x768 at 60 Hz (3.8), then modes of two bytes each (3.9). */
static void put_modes(uint8_t *b, const EdidInfo *i)
{
    static const struct {
        uint16_t w, h;
        uint8_t code[2];
    } modes[] = { { 2048, 1152, { 0xe1, 0xc0 } }, { 1920, 1080, { 0xd1, 0xc0 } },
        { 1920, 1200, { 0xd1, 0x00 } }, { 1600, 1200, { 0xa9, 0x40 } },
        { 1680, 1050, { 0xb3, 0x00 } }, { 1440, 900, { 0x95, 0x00 } },
        { 1280, 1024, { 0x81, 0x80 } }, { 1280, 960, { 0x81, 0x40 } } };
    unsigned n = 0;

    b[35] = (uint8_t)((fits(i, 640, 480) ? 0x20 : 0) | (fits(i, 800, 600) ? 0x01 : 0));
    b[36] = fits(i, 1024, 768) ? 0x08 : 0;
    memset(b + 38, 0x01, 16);
    for (unsigned k = 0; k < G_N_ELEMENTS(modes); k++) {
        if (fits(i, modes[k].w, modes[k].h)) {
            memcpy(b + 38 + 2 * n++, modes[k].code, 2);
        }
    }
}

static void checksum(uint8_t *b, unsigned len)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < len - 1; i++) {
        sum += b[i];
    }
    b[len - 1] = (uint8_t)-sum;
}

static void base_block(const EdidInfo *i, const Timing *t, bool large, uint8_t *b)
{
    static const uint8_t head[] = { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x49, 0x14, 0x34,
        0x12, 0, 0, 0, 0, 42, 24, 1, 4, 0xa5 };
    /* Gamma 2.2, the colours of sRGB. */
    static const uint8_t colour[] = { 120, 0x06, 0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f,
        0x50, 0x54 };
    static const uint8_t more_modes[] = { 0, 0, 0, 0xf7, 0, 0x0a, 0, 0x40, 0x82, 0, 0x28, 0x20 };
    static const uint8_t ranges[] = { 0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 255, 1, 0x0a, 0x20, 0x20,
        0x20, 0x20, 0x20, 0x20 };
    uint8_t *d = b + DESC_FIRST;

    memcpy(b, head, sizeof head);
    b[21] = (uint8_t)MIN(t->width_mm / 10, 255u);
    b[22] = (uint8_t)MIN(t->height_mm / 10, 255u);
    memcpy(b + 23, colour, sizeof colour);
    put_modes(b, i);
    if (!large) {
        put_timing(d, t);
        d += DESC;
    }
    memcpy(d, more_modes, sizeof more_modes);
    d += DESC;
    memcpy(d, ranges, sizeof ranges);
    d += DESC;
    d[3] = 0xfc;
    memcpy(d + 5, "QEMU Monitor\n", 13);
    d += DESC;
    if (d < b + DESC_END) {
        d[3] = 0x10; /* nothing */
    }
    b[126] = large ? 2 : 1;
    checksum(b, EDID_BLOCK);
}

/* CTA-861-G, 7: the video data block, then descriptors of nothing. */
static void cta_block(const EdidInfo *i, uint8_t *b)
{
    static const struct {
        uint16_t w, h;
        uint8_t code;
    } modes[] = { { 5120, 2160, 125 }, { 4096, 2160, 101 }, { 3840, 2160, 96 }, { 2560, 1080, 89 },
        { 1920, 1080, 31 }, { 3840, 2160, 97 } };
    unsigned n = 0;

    b[0] = 0x02;
    b[1] = 3;
    for (unsigned k = 0; k < G_N_ELEMENTS(modes); k++) {
        if (fits(i, modes[k].w, modes[k].h)) {
            b[5 + n++] = modes[k].code;
        }
    }
    b[4] = (uint8_t)(0x40 | n);
    b[2] = (uint8_t)(5 + n);
    for (unsigned at = b[2]; at + DESC < EDID_BLOCK; at += DESC) {
        b[at + 3] = 0x10;
    }
    checksum(b, EDID_BLOCK);
}

/* DisplayID 1.3, 4.3: one detailed timing of type I. */
static void displayid_block(const Timing *t, uint8_t *b)
{
    uint8_t *d = b + 8;

    b[0] = 0x70;
    b[1] = 0x13;
    b[2] = 23;
    b[3] = 3;
    b[5] = 3;
    b[7] = 20;
    d[0] = (uint8_t)t->clock_10khz;
    d[1] = (uint8_t)(t->clock_10khz >> 8);
    d[2] = (uint8_t)(t->clock_10khz >> 16);
    d[3] = 0x88;
    put16(d + 4, t->width - 1);
    put16(d + 6, t->hblank - 1);
    put16(d + 8, t->hfront - 1);
    put16(d + 10, t->hsync - 1);
    put16(d + 12, t->height - 1);
    put16(d + 14, t->vblank - 1);
    put16(d + 16, t->vfront - 1);
    put16(d + 18, t->vsync - 1);
    checksum(b + 1, 28); /* the section's own */
    checksum(b, EDID_BLOCK);
}

size_t edid_build(const EdidInfo *info, uint8_t *out)
{
    Timing t;

    make_timing(info, &t);
    bool large = t.width > DTD_MAX || t.height > DTD_MAX || t.clock_10khz > UINT16_MAX;

    memset(out, 0, EDID_MAX);
    base_block(info, &t, large, out);
    cta_block(info, out + EDID_BLOCK);
    if (large) {
        displayid_block(&t, out + 2 * EDID_BLOCK);
    }
    return large ? EDID_MAX : 2 * EDID_BLOCK;
}
