/*
 * The picture of a VGA: text, planes, CGA's two bits, packed pixels (IBM PS/2 Video Subsystem, 2;
 * DISPI). Drawn when a viewer asks and only where memory changed. Tested by test-vga.
 */
#include "hw/display/vga.h"
#include "ui/surface.h"
#include "util/bitmap.h"

#include <string.h>

enum { FONT_CHAR = 32, PAGE_SHIFT = 12 };

static const uint8_t *vram_of(const Vga *s)
{
    return region_host(&s->vram);
}

/* ---- what the registers say ---- */

static unsigned scan_lines(const Vga *s)
{
    unsigned end = s->crtc[0x12] | (s->crtc[7] & 2u) << 7 | (s->crtc[7] & 0x40u) << 3;

    return end + 1;
}

static uint32_t font_at(const Vga *s, unsigned select)
{
    return (select & 3) * 0x4000 + (select & 4 ? 0x2000 : 0);
}

static void text_mode(const Vga *s, VgaMode *m)
{
    unsigned map = s->seq[3];
    unsigned columns = s->crtc[1] + 1u, lines = scan_lines(s);

    m->kind = VGA_TEXT;
    m->char_h = (s->crtc[9] & 0x1fu) + 1;
    m->char_w = s->seq[1] & 8 ? 16 : s->seq[1] & 1 ? 8 : 9;
    m->repeat = 1u << (s->crtc[9] >> 7);
    m->width = columns * m->char_w;
    m->height = MAX(lines / m->repeat / m->char_h, 1) * m->char_h;
    m->font[0] = font_at(s, (map & 3) | (map >> 2 & 4)); /* attribute bit 3 is 0: map B */
    m->font[1] = font_at(s, (map >> 2 & 3) | (map >> 3 & 4));
}

static void graphics_mode(const Vga *s, VgaMode *m)
{
    m->wide = s->seq[1] & 8 ? 2 : 1; /* half the dot clock */
    m->width = (s->crtc[1] + 1u) * 8 * m->wide;
    m->repeat = ((s->crtc[9] & 0x1fu) + 1) << (s->crtc[9] >> 7);
    m->height = scan_lines(s);
    switch (s->gfx[5] >> 5 & 3) {
    case 0:
        m->kind = VGA_PLANAR;
        break;
    case 1:
        m->kind = VGA_CGA4;
        break;
    default:
        m->kind = VGA_PACKED;
        m->bpp = 8;
        m->wide *= 2; /* two dot clocks each */
        break;
    }
}

static void dispi_mode(const Vga *s, VgaMode *m)
{
    const uint16_t *r = s->dispi;
    unsigned bytes = vga_pixel_bytes(r[VGA_DISPI_BPP]);

    m->width = r[VGA_DISPI_XRES];
    m->height = r[VGA_DISPI_YRES];
    m->bpp = r[VGA_DISPI_BPP];
    m->wide = m->repeat = 1;
    m->split = UINT32_MAX;
    if (m->bpp == 4) {
        m->kind = VGA_PLANAR;
        m->line = r[VGA_DISPI_VIRT_WIDTH] / 8u * 4;
        m->start = r[VGA_DISPI_X_OFFSET] / 8u * 4 + r[VGA_DISPI_Y_OFFSET] * m->line;
    } else {
        m->kind = VGA_PACKED;
        m->line = r[VGA_DISPI_VIRT_WIDTH] * bytes;
        m->start = r[VGA_DISPI_X_OFFSET] * bytes + r[VGA_DISPI_Y_OFFSET] * m->line;
    }
}

void vga_mode(const Vga *s, VgaMode *m)
{
    *m = (VgaMode){ .kind = VGA_BLANK };
    if (!(s->attr_index & 0x20)) {
        return; /* the attribute controller has the palette to itself: no picture */
    }
    if (s->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLED) {
        dispi_mode(s, m);
        return;
    }
    if (s->seq[1] & 0x20) {
        return;
    }
    if (s->gfx[6] & 1) {
        graphics_mode(s, m);
    } else {
        text_mode(s, m);
    }
    m->start = (s->crtc[0x0c] << 8 | s->crtc[0x0d]) * 4u;
    m->line = s->crtc[0x13] * 8u;
    m->split = s->crtc[0x18] | (s->crtc[7] & 0x10u) << 4 | (s->crtc[9] & 0x40u) << 3;
}

/* ---- colours ---- */

static uint8_t level(const Vga *s, uint8_t v)
{
    if (s->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_8BIT_DAC) {
        return v;
    }
    v &= 0x3f;
    return (uint8_t)(v << 2 | v >> 4);
}

static uint32_t dac_colour(const Vga *s, unsigned i)
{
    const uint8_t *c = &s->dac[(i & s->dac_mask) * 3];

    return (uint32_t)level(s, c[0]) << 16 | (uint32_t)level(s, c[1]) << 8 | level(s, c[2]);
}

/* The 16 colours of text and planes through the attribute controller; all 256 for packed pixels. */
static void take_colours(Vga *s, bool packed)
{
    for (unsigned i = 0; i < (packed ? 256 : 16); i++) {
        unsigned v = i;

        if (!packed) {
            v = s->attr[i] & 0x3f;
            v = s->attr[0x10] & 0x80 ? (v & 0x0f) | (s->attr[0x14] & 0x0fu) << 4
                                     : v | (s->attr[0x14] & 0x0cu) << 4;
        }
        s->rgb[i] = dac_colour(s, v);
    }
}

/* ---- text ---- */

static uint32_t load_word(const Vga *s, uint32_t at)
{
    uint32_t v = 0;

    if (at <= s->size - 4) {
        memcpy(&v, vram_of(s) + at, 4);
    }
    return v;
}

static void draw_char(const Vga *s, uint8_t *to, unsigned stride, uint32_t cell)
{
    const VgaMode *m = &s->mode;
    uint8_t ch = (uint8_t)cell, attr = (uint8_t)(cell >> 8);
    bool blink = s->attr[0x10] & 8, line = s->attr[0x10] & 4 && ch >= 0xc0 && ch <= 0xdf;
    uint32_t front = s->rgb[attr & 15], back = s->rgb[blink ? attr >> 4 & 7 : attr >> 4];
    uint32_t font = (m->font[attr >> 3 & 1] + ch * FONT_CHAR) * 4;
    unsigned wide = m->char_w >= 16 ? 2 : 1, columns = m->char_w / wide;

    for (unsigned y = 0; y < m->char_h; y++, to += stride) {
        unsigned shape = load_word(s, font + y * 4) >> 16 & 0xff;
        uint32_t *px = (uint32_t *)(void *)to;

        shape = shape << 1 | (line ? shape & 1 : 0); /* the ninth column */
        for (unsigned x = 0; x < columns; x++) {
            uint32_t v = shape >> (8 - x) & 1 ? front : back;

            for (unsigned w = 0; w < wide; w++) {
                *px++ = v;
            }
        }
    }
}

/* Steady: a picture of the same screen is always the same. */
static void draw_cursor(const Vga *s, uint8_t *to, unsigned stride, uint32_t cell)
{
    unsigned from = s->crtc[0x0a] & 0x1f, last = MIN(s->crtc[0x0b] & 0x1fu, s->mode.char_h - 1);
    uint32_t front = s->rgb[cell >> 8 & 15];

    for (unsigned y = from; y <= last; y++) {
        uint32_t *px = (uint32_t *)(void *)(to + (size_t)y * stride);

        for (unsigned x = 0; x < s->mode.char_w; x++) {
            px[x] = front;
        }
    }
}

static void draw_text(Vga *s, Display *d, bool all)
{
    pixman_image_t *img = display_surface(d);
    const VgaMode *m = &s->mode;
    unsigned stride = surface_stride(img), columns = m->width / m->char_w,
             rows = m->height / m->char_h;
    uint32_t cursor = (uint32_t)(s->crtc[0x0e] << 8 | s->crtc[0x0f]) * 4;
    bool shown = !(s->crtc[0x0a] & 0x20);
    uint32_t now = (cursor << 8) ^ (uint32_t)(s->crtc[0x0a] << 5 | (s->crtc[0x0b] & 0x1f));
    uint32_t before = s->text_cursor;
    bool moved = now != before;

    for (unsigned row = 0; row < rows; row++) {
        unsigned left = columns, right = 0;

        for (unsigned col = 0; col < columns; col++) {
            uint32_t at = m->start + row * m->line + col * 4;
            uint32_t cell = load_word(s, at) & 0xffff, *old = &s->text[row * columns + col];
            uint8_t *to = surface_row(img, row * m->char_h) + (size_t)col * m->char_w * 4;
            bool here = shown && at == cursor;

            /* The cell it stands on, and those where it may have stood. */
            if (!all && cell == (*old & 0xffff) && !(moved && (here || *old >> 16))) {
                continue;
            }
            draw_char(s, to, stride, cell);
            if (here) {
                draw_cursor(s, to, stride, cell);
            }
            *old = cell | (here ? 1u << 16 : 0);
            left = MIN(left, col);
            right = col + 1;
        }
        if (right) {
            display_updated(d, (int)(left * m->char_w), (int)(row * m->char_h),
                (int)((right - left) * m->char_w), (int)m->char_h);
        }
    }
    s->text_cursor = now;
}

/* ---- graphics ---- */

/* Each pixel `wide` times, from the last one to the first. */
static void widen(uint32_t *px, unsigned width, unsigned wide)
{
    for (unsigned x = width; wide > 1 && x-- > 0;) {
        for (unsigned w = wide; w-- > 0;) {
            px[x * wide + w] = px[x];
        }
    }
}

/* Each 32-bit word of planes is eight pixels. */
static void line_planar(const Vga *s, uint32_t *px, uint32_t at, unsigned width)
{
    uint8_t enabled = s->mode.bpp == 4 ? 15 : s->attr[0x12] & 15;

    for (unsigned x = 0; x < width; x += 8, at += 4) {
        uint32_t v = load_word(s, at & (s->size - 1));

        for (unsigned b = 8; b-- > 0;) {
            unsigned i =
                (v >> b & 1) | (v >> (b + 7) & 2) | (v >> (b + 14) & 4) | (v >> (b + 21) & 8);

            *px++ = s->rgb[i & enabled];
        }
    }
}

/* CGA's four colours: two bits a pixel, planes 0 and 1 (2 and 3) are eight pixels. */
static void line_cga4(const Vga *s, uint32_t *px, uint32_t at, unsigned width)
{
    uint8_t enabled = s->attr[0x12] & 15;

    for (unsigned x = 0; x < width; x += 8, at += 4) {
        uint32_t v = load_word(s, at & (s->size - 1));

        for (unsigned b = 0; b < 8; b++) {
            unsigned shift = (b < 4 ? 0 : 8) + 6 - b % 4 * 2;
            unsigned i = (v >> shift & 3) | (v >> (shift + 16) & 3) << 2;

            *px++ = s->rgb[i & enabled];
        }
    }
}

static uint32_t from15(unsigned v)
{
    unsigned r = v >> 10 & 31, g = v >> 5 & 31, b = v & 31;

    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}

static uint32_t from16(unsigned v)
{
    unsigned r = v >> 11, g = v >> 5 & 63, b = v & 31;

    return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}

static void line_packed(const Vga *s, uint32_t *px, uint32_t at, unsigned width)
{
    unsigned bytes = vga_pixel_bytes(s->mode.bpp);
    const uint8_t *from = vram_of(s) + at;

    if ((uint64_t)at + (uint64_t)width * bytes > s->size) {
        width = at < s->size ? (s->size - at) / bytes : 0;
    }
    for (unsigned x = 0; x < width; x++, from += bytes) {
        switch (s->mode.bpp) {
        case 8:
            px[x] = s->rgb[*from];
            break;
        case 15:
            px[x] = from15((unsigned)(from[0] | from[1] << 8));
            break;
        case 16:
            px[x] = from16((unsigned)(from[0] | from[1] << 8));
            break;
        default:
            px[x] = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
            break;
        }
    }
}

/* Where scan line y lies, and how many bytes of memory it shows. */
static uint32_t line_at(const Vga *s, unsigned y)
{
    const VgaMode *m = &s->mode;
    uint32_t start = m->start;

    if (y > m->split) {
        y -= m->split + 1;
        start = 0;
    }
    unsigned row = y / m->repeat;
    uint32_t at = start + row * m->line;

    if (m->kind != VGA_PACKED && m->bpp != 4 && !(s->crtc[0x17] & 1)) {
        /* CGA's two halves: the row scan counter's low bit is address bit 13; where the CRTC counts
         * words that is bit 12 of its count. */
        unsigned scan = y / (1u << (s->crtc[9] >> 7)) % ((s->crtc[9] & 0x1fu) + 1);
        unsigned bit = s->crtc[0x17] & 0x40 ? 13 : 12;

        at = (at & ~(4u << bit)) | (scan & 1) << (bit + 2);
    }
    return at;
}

static uint32_t line_bytes(const VgaMode *m)
{
    return m->kind == VGA_PACKED ? m->width / m->wide * vga_pixel_bytes(m->bpp)
                                 : m->width / m->wide / 8 * 4;
}

static bool line_dirty(const Vga *s, uint32_t at, uint32_t len)
{
    if (at >= s->size || len > s->size - at) {
        return true; /* wraps: seldom */
    }
    for (uint64_t p = at >> PAGE_SHIFT; p <= (at + len - 1) >> PAGE_SHIFT; p++) {
        if (bitmap_test(s->dirty, p)) {
            return true;
        }
    }
    return false;
}

/* The pages written since the last time, into our own bitmap: what is written from now on counts
 * for the next refresh. */
static void take_dirty(Vga *s)
{
    uint64_t pages = s->size >> PAGE_SHIFT;

    dirty_log_sync(s->log);
    for (uint64_t p = 0; p < pages; p++) {
        if (dirty_log_page(s->log, p)) {
            bitmap_set(s->dirty, p);
            dirty_log_clean(s->log, p);
        } else {
            bitmap_clear(s->dirty, p);
        }
    }
}

static void draw_line(const Vga *s, uint32_t *px, uint32_t at)
{
    unsigned width = s->mode.width / s->mode.wide;

    switch (s->mode.kind) {
    case VGA_PLANAR:
        line_planar(s, px, at, width);
        break;
    case VGA_CGA4:
        line_cga4(s, px, at, width);
        break;
    case VGA_PACKED:
        line_packed(s, px, at, width);
        break;
    case VGA_BLANK:
    case VGA_TEXT:
        return;
    }
    widen(px, width, s->mode.wide);
}

static void draw_graphics(Vga *s, Display *d, bool all)
{
    const VgaMode *m = &s->mode;
    pixman_image_t *img = display_surface(d);
    unsigned first = 0, n = 0;
    uint32_t len = line_bytes(m);

    if (s->log) {
        take_dirty(s);
    }
    for (unsigned y = 0; y < m->height; y++) {
        uint32_t at = line_at(s, y);

        if (all || !s->log || line_dirty(s, at, len)) {
            draw_line(s, (uint32_t *)(void *)surface_row(img, y), at);
            first = n ? first : y;
            n = y - first + 1;
        } else if (n) {
            display_updated(d, 0, (int)first, (int)m->width, (int)n);
            n = 0;
        }
    }
    if (n) {
        display_updated(d, 0, (int)first, (int)m->width, (int)n);
    }
}

/* ---- a refresh ---- */

enum { BLANK_WIDTH = 640, BLANK_HEIGHT = 480 };

static bool same_size(Display *d, const VgaMode *m)
{
    return display_active(d) && surface_width(display_surface(d)) == m->width &&
           surface_height(display_surface(d)) == m->height;
}

/* A surface of the mode's size; false: the host has no memory for it. */
static bool resize(Vga *s, Display *d, bool *all)
{
    const VgaMode *m = &s->mode;

    if (!same_size(d, m)) {
        pixman_image_t *img = surface_new(PIXMAN_x8r8g8b8, m->width, m->height);

        display_set_surface(d, img);
        surface_unref(img);
        *all = true;
        if (!img) {
            return false;
        }
    }
    if (m->kind == VGA_TEXT && *all) {
        g_free(s->text);
        s->text = g_new0(uint32_t, (size_t)(m->width / m->char_w) * (m->height / m->char_h));
    }
    return true;
}

void vga_refresh(Vga *s, Display *d)
{
    VgaMode m;

    vga_mode(s, &m);
    bool all = s->redraw || memcmp(&m, &s->mode, sizeof m) != 0;

    s->mode = m;
    s->redraw = false;
    if (m.kind == VGA_BLANK) {
        if (all) {
            display_set_surface(d, NULL);
        }
        return;
    }
    if (!resize(s, d, &all)) {
        return;
    }
    if (all) {
        take_colours(s, m.kind == VGA_PACKED && m.bpp == 8);
    }
    if (m.kind == VGA_TEXT) {
        draw_text(s, d, all);
    } else {
        draw_graphics(s, d, all);
    }
}

void vga_invalidate(Vga *s)
{
    s->redraw = true;
    if (!s->log) {
        s->log = dirty_log_new(s->vram.ram);
        s->dirty = g_new0(uint64_t, BITMAP_WORDS(s->size >> PAGE_SHIFT));
    }
}

void vga_unwatched(Vga *s)
{
    g_clear_pointer(&s->log, dirty_log_free);
    g_clear_pointer(&s->dirty, g_free);
    g_clear_pointer(&s->text, g_free);
    s->redraw = true;
}
