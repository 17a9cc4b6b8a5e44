/* Registers and video memory of a VGA: see include/hw/display/vga.h. Tested by test-vga. */
#include "hw/display/vga.h"

#include "util/err.h"

#include <string.h>
#include <sys/mman.h>

enum { WINDOW_AT = 0xa0000, WINDOW_SIZE = 0x20000, BANK_SIZE = 0x10000 };
enum { DISPI_ID = 0xb0c5, DISPI_ID_FIRST = 0xb0c0, XRES_MAX = 16000, YRES_MAX = 12000 };
enum { EXT_SIZE_REG = 0, EXT_ENDIAN = 4, EXT_LITTLE = 0x1e1e1e1e };

static uint8_t *vram_of(const Vga *s)
{
    return region_host(&s->vram);
}

static void wrote(Vga *s, uint32_t off, uint32_t len)
{
    ram_written(s->vram.ram, off, len);
}

/* ---- DISPI ---- */

unsigned vga_pixel_bytes(unsigned bpp)
{
    return bpp == 4 ? 1 : (bpp + 7) / 8;
}

/* Bytes of a line; with four bits a pixel there are eight pixels to a 32-bit word of planes. */
static uint32_t dispi_line(const Vga *s, unsigned width)
{
    return s->dispi[VGA_DISPI_BPP] == 4 ? width / 8 * 4
                                        : width * vga_pixel_bytes(s->dispi[VGA_DISPI_BPP]);
}

/* What was asked for, as far as video memory goes: all values stay such that each shown pixel lies
 * inside it. */
static void dispi_fix(Vga *s)
{
    static const uint8_t depths[] = { 4, 8, 15, 16, 24, 32 };
    uint16_t *r = s->dispi;

    if (!memchr(depths, r[VGA_DISPI_BPP], sizeof depths)) {
        r[VGA_DISPI_BPP] = 8;
    }
    r[VGA_DISPI_XRES] = (uint16_t)CLAMP(r[VGA_DISPI_XRES] & ~7u, 8, XRES_MAX);
    r[VGA_DISPI_VIRT_WIDTH] =
        (uint16_t)CLAMP(r[VGA_DISPI_VIRT_WIDTH] & ~7u, r[VGA_DISPI_XRES], XRES_MAX);
    uint32_t line = dispi_line(s, r[VGA_DISPI_VIRT_WIDTH]), lines = s->size / line;

    r[VGA_DISPI_VIRT_HEIGHT] = (uint16_t)MIN(lines, UINT16_MAX);
    r[VGA_DISPI_YRES] = (uint16_t)CLAMP(r[VGA_DISPI_YRES], 1, MIN(lines, YRES_MAX));
    uint64_t end = (uint64_t)(r[VGA_DISPI_Y_OFFSET] + r[VGA_DISPI_YRES]) * line;

    if (end > s->size) {
        r[VGA_DISPI_Y_OFFSET] = 0;
        end = (uint64_t)r[VGA_DISPI_YRES] * line;
    }
    if (end + dispi_line(s, (r[VGA_DISPI_X_OFFSET] + 7u) & ~7u) > s->size) {
        r[VGA_DISPI_X_OFFSET] = 0;
    }
}

static void dispi_enable(Vga *s, uint16_t val)
{
    bool was = s->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLED;

    s->dispi[VGA_DISPI_ENABLE] = val;
    if (!(val & VGA_DISPI_ENABLED)) {
        s->dispi[VGA_DISPI_BANK] = 0;
        return;
    }
    if (was) {
        return;
    }
    s->dispi[VGA_DISPI_VIRT_WIDTH] = 0;
    s->dispi[VGA_DISPI_X_OFFSET] = s->dispi[VGA_DISPI_Y_OFFSET] = 0;
    dispi_fix(s);
    if (!(val & VGA_DISPI_NOCLEAR)) {
        uint32_t len = dispi_line(s, s->dispi[VGA_DISPI_XRES]) * s->dispi[VGA_DISPI_YRES];
        uint32_t whole = len & ~4095u;

        ram_discard(s->vram.ram, 0, whole);
        memset(vram_of(s) + whole, 0, len - whole);
        wrote(s, whole, len - whole);
    }
}

static void dispi_write(Vga *s, unsigned i, uint16_t val)
{
    uint16_t *r = s->dispi;

    s->redraw = true;
    switch (i) {
    case VGA_DISPI_ID:
        r[i] = val >= DISPI_ID_FIRST && val <= DISPI_ID ? val : r[i];
        return;
    case VGA_DISPI_ENABLE:
        dispi_enable(s, val);
        return;
    case VGA_DISPI_BANK:
        r[i] = (uint16_t)(val % (s->size / BANK_SIZE));
        return;
    case VGA_DISPI_XRES:
    case VGA_DISPI_YRES:
    case VGA_DISPI_BPP:
    case VGA_DISPI_VIRT_WIDTH:
    case VGA_DISPI_X_OFFSET:
    case VGA_DISPI_Y_OFFSET:
        r[i] = val;
        if (r[VGA_DISPI_ENABLE] & VGA_DISPI_ENABLED) {
            dispi_fix(s);
        }
        return;
    default:
        return;
    }
}

static uint16_t dispi_read(const Vga *s, unsigned i)
{
    if (i == VGA_DISPI_MEMORY_64K) {
        return (uint16_t)(s->size >> 16);
    }
    if (s->dispi[VGA_DISPI_ENABLE] & VGA_DISPI_GETCAPS) {
        switch (i) {
        case VGA_DISPI_XRES:
            return XRES_MAX;
        case VGA_DISPI_YRES:
            return YRES_MAX;
        case VGA_DISPI_BPP:
            return 32;
        default:
            break;
        }
    }
    return i < VGA_DISPI_REGS ? s->dispi[i] : 0;
}

/* Index at 1ceh; data at 1cfh, where PCs have it, and at 1d0h for those that want it even. */
static uint64_t dispi_port_read(void *opaque, uint64_t off, unsigned size)
{
    const Vga *s = ((VgaPorts *)opaque)->vga;

    return off == 0 ? s->dispi_index : off < 3 ? dispi_read(s, s->dispi_index) : 0;
}

static void dispi_port_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Vga *s = ((VgaPorts *)opaque)->vga;

    if (off == 0) {
        s->dispi_index = (uint16_t)val;
    } else if (off < 3) {
        dispi_write(s, s->dispi_index, (uint16_t)val);
    }
}

static const RegionOps dispi_port_ops = { .read = dispi_port_read,
    .write = dispi_port_write,
    .min_access = 2,
    .max_access = 2,
    .unaligned = true };

/* ---- registers ---- */

static const uint8_t seq_mask[8] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e };
static const uint8_t gfx_mask[16] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff };

static uint8_t attr_mask(unsigned i)
{
    return i < 0x10 ? 0x3f : i == 0x10 ? 0xef : i == 0x11 ? 0xff : i == 0x12 ? 0x3f : 0x0f;
}

static void attr_write(Vga *s, uint8_t val)
{
    s->attr_data = !s->attr_data;
    if (s->attr_data) {
        s->redraw |= (s->attr_index ^ val) & 0x20; /* the screen goes on or off */
        s->attr_index = val & 0x3f;
        return;
    }
    unsigned i = s->attr_index & 0x1f;

    if (i <= 0x14) {
        s->attr[i] = val & attr_mask(i);
        s->redraw = true;
    }
}

static void dac_data_write(Vga *s, uint8_t val)
{
    s->dac_cache[s->dac_sub++] = val;
    if (s->dac_sub == 3) {
        memcpy(&s->dac[s->dac_write * 3], s->dac_cache, 3);
        s->dac_sub = 0;
        s->dac_write++;
        s->redraw = true;
    }
}

static uint8_t dac_data_read(Vga *s)
{
    uint8_t v = s->dac[s->dac_read * 3 + s->dac_sub];

    if (++s->dac_sub == 3) {
        s->dac_sub = 0;
        s->dac_read++;
    }
    return v;
}

static void crtc_write(Vga *s, uint8_t val)
{
    unsigned i = s->crtc_index;

    if (i >= sizeof s->crtc) {
        return;
    }
    /* Bit 7 of 11h protects 0-7, but for bit 4 of 7, which belongs to the line compare. */
    if (i <= 7 && s->crtc[0x11] & 0x80) {
        if (i == 7) {
            s->crtc[7] = (uint8_t)((s->crtc[7] & ~0x10) | (val & 0x10));
            s->redraw = true;
        }
        return;
    }
    s->redraw |= s->crtc[i] != val && i != 0x0e && i != 0x0f;
    s->crtc[i] = val;
}

/* 3b4-3bah answer as a monochrome adapter's, 3d4-3dah as a colour adapter's. */
static bool absent(const Vga *s, unsigned port)
{
    return (port < 0x3c0 && s->misc & 1) || (port >= 0x3d0 && !(s->misc & 1));
}

static uint8_t port_read(Vga *s, unsigned port)
{
    if (absent(s, port)) {
        return 0xff;
    }
    switch (port) {
    case 0x3c0:
        return s->attr_data ? 0 : s->attr_index;
    case 0x3c1:
        return s->attr[s->attr_index & 0x1f];
    case 0x3c4:
        return s->seq_index;
    case 0x3c5:
        return s->seq[s->seq_index];
    case 0x3c6:
        return s->dac_mask;
    case 0x3c7:
        return s->dac_reading ? 3 : 0;
    case 0x3c8:
        return s->dac_write;
    case 0x3c9:
        return dac_data_read(s);
    case 0x3cc:
        return s->misc;
    case 0x3ce:
        return s->gfx_index;
    case 0x3cf:
        return s->gfx[s->gfx_index];
    case 0x3b4:
    case 0x3d4:
        return s->crtc_index;
    case 0x3b5:
    case 0x3d5:
        return s->crtc_index < sizeof s->crtc ? s->crtc[s->crtc_index] : 0;
    case 0x3ba:
    case 0x3da:
        /* A guest that waits for the retrace sees it come and go, however fast time passes. */
        s->attr_data = false;
        return s->status ^= 0x09;
    default:
        return 0;
    }
}

static void port_write(Vga *s, unsigned port, uint8_t val)
{
    if (absent(s, port)) {
        return;
    }
    switch (port) {
    case 0x3c0:
        attr_write(s, val);
        return;
    case 0x3c2:
        s->misc = val & 0xef;
        return;
    case 0x3c4:
        s->seq_index = val & 7;
        return;
    case 0x3c5:
        s->seq[s->seq_index] = val & seq_mask[s->seq_index];
        s->redraw |= s->seq_index != 2;
        return;
    case 0x3c6:
        s->dac_mask = val;
        s->redraw = true;
        return;
    case 0x3c7:
        s->dac_read = val;
        s->dac_sub = 0;
        s->dac_reading = true;
        return;
    case 0x3c8:
        s->dac_write = val;
        s->dac_sub = 0;
        s->dac_reading = false;
        return;
    case 0x3c9:
        dac_data_write(s, val);
        return;
    case 0x3ce:
        s->gfx_index = val & 0x0f;
        return;
    case 0x3cf:
        s->gfx[s->gfx_index] = val & gfx_mask[s->gfx_index];
        s->redraw |= s->gfx_index == 5 || s->gfx_index == 6;
        return;
    case 0x3b4:
    case 0x3d4:
        s->crtc_index = val;
        return;
    case 0x3b5:
    case 0x3d5:
        crtc_write(s, val);
        return;
    default:
        return;
    }
}

static uint64_t ports_read(void *opaque, uint64_t off, unsigned size)
{
    VgaPorts *p = opaque;

    return port_read(p->vga, p->base + (unsigned)off);
}

static void ports_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    VgaPorts *p = opaque;

    port_write(p->vga, p->base + (unsigned)off, (uint8_t)val);
}

static const RegionOps port_ops = { .read = ports_read, .write = ports_write, .max_access = 1 };

/* ---- the window at a0000h ---- */

/* A plane's byte in all four. */
static uint32_t spread(uint8_t v)
{
    return v * 0x01010101u;
}

/* A bit for each plane in all bits of its byte. */
static uint32_t planes(unsigned bits)
{
    return (bits & 1 ? 0xffu : 0) | (bits & 2 ? 0xff00u : 0) | (bits & 4 ? 0xff0000u : 0) |
           (bits & 8 ? 0xff000000u : 0);
}

/* Where an access to the window goes: an offset as the CPU counts, UINT32_MAX: nowhere. */
static uint32_t window_off(const Vga *s, uint32_t off)
{
    switch (s->gfx[6] >> 2 & 3) {
    case 0:
        break;
    case 1:
        if (off >= 0x10000) {
            return UINT32_MAX;
        }
        break;
    case 2:
        off -= 0x10000;
        if (off >= 0x8000) {
            return UINT32_MAX;
        }
        break;
    default:
        off -= 0x18000;
        if (off >= 0x8000) {
            return UINT32_MAX;
        }
        break;
    }
    return off + (uint32_t)s->dispi[VGA_DISPI_BANK] * BANK_SIZE;
}

static bool chained(const Vga *s)
{
    return s->seq[4] & 0x08;
}

/* Even addresses are planes 0 and 2, odd ones 1 and 3. The CRTC then counts words, so that each
 * pair is the next place in the planes. */
static bool odd_even(const Vga *s)
{
    return s->gfx[5] & 0x10;
}

static uint32_t load_word(const Vga *s, uint32_t word)
{
    uint32_t v = 0;

    if (word < s->size / 4) {
        memcpy(&v, vram_of(s) + (size_t)word * 4, 4);
    }
    return v;
}

static uint64_t window_read(void *opaque, uint64_t off, unsigned size)
{
    Vga *s = opaque;
    uint32_t at = window_off(s, (uint32_t)off);

    if (at == UINT32_MAX) {
        return 0xff;
    }
    if (chained(s)) {
        return at < s->size ? vram_of(s)[at] : 0xff;
    }
    if (odd_even(s)) {
        unsigned plane = (s->gfx[4] & 2) | (at & 1);

        return (uint8_t)(load_word(s, at >> 1) >> plane * 8);
    }
    s->latch = load_word(s, at);
    if (!(s->gfx[5] & 0x08)) { /* read mode 0 */
        return (uint8_t)(s->latch >> s->gfx[4] * 8);
    }
    /* Read mode 1: pixels whose colour is the one compared with, in the planes that matter. */
    uint32_t diff = (s->latch ^ planes(s->gfx[2])) & planes(s->gfx[7]);

    diff |= diff >> 16;
    return (uint8_t) ~(diff | diff >> 8);
}

/* The four planes' bytes that a write makes of val and the latch. */
static uint32_t write_word(const Vga *s, uint8_t val)
{
    unsigned rotate = s->gfx[3] & 7, mode = s->gfx[5] & 3;
    uint8_t turned = (uint8_t)(val >> rotate | val << (8 - rotate));
    uint32_t mask = spread(s->gfx[8]), v;

    switch (mode) {
    case 0:
        v = spread(turned);
        v = (v & ~planes(s->gfx[1])) | (planes(s->gfx[0]) & planes(s->gfx[1]));
        break;
    case 1:
        return s->latch;
    case 2:
        v = planes(val);
        break;
    default:
        v = planes(s->gfx[0]);
        mask &= spread(turned);
        break;
    }
    switch (s->gfx[3] >> 3 & 3) {
    case 0:
        break;
    case 1:
        v &= s->latch;
        break;
    case 2:
        v |= s->latch;
        break;
    default:
        v ^= s->latch;
        break;
    }
    return (v & mask) | (s->latch & ~mask);
}

static void store_word(Vga *s, uint32_t word, uint32_t v, unsigned map)
{
    uint32_t mask = planes(map);

    if (word >= s->size / 4) {
        return;
    }
    v = (v & mask) | (load_word(s, word) & ~mask);
    memcpy(vram_of(s) + (size_t)word * 4, &v, 4);
    wrote(s, word * 4, 4);
    if (map & 4 && !(s->gfx[6] & 1)) { /* shapes of characters */
        s->redraw = true;
    }
}

static void window_write(void *opaque, uint64_t off, unsigned size, uint64_t data)
{
    Vga *s = opaque;
    uint32_t at = window_off(s, (uint32_t)off);
    uint8_t val = (uint8_t)data;

    if (at == UINT32_MAX) {
        return;
    }
    if (chained(s)) {
        if (at < s->size && s->seq[2] >> (at & 3) & 1) {
            vram_of(s)[at] = val;
            wrote(s, at, 1);
        }
    } else if (odd_even(s)) {
        unsigned even = at & 1 ? 0x0a : 0x05;

        store_word(s, at >> 1, spread(val), s->seq[2] & even);
    } else {
        store_word(s, at, write_word(s, val), s->seq[2]);
    }
}

static const RegionOps window_ops = { .read = window_read, .write = window_write, .max_access = 1 };

/* ---- the same by memory ---- */

static uint64_t mmio_ports_read(void *opaque, uint64_t off, unsigned size)
{
    return port_read(opaque, 0x3c0 + (unsigned)off);
}

static void mmio_ports_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    port_write(opaque, 0x3c0 + (unsigned)off, (uint8_t)val);
}

static const RegionOps mmio_ports_ops = {
    .read = mmio_ports_read, .write = mmio_ports_write, .max_access = 1
};

static uint64_t mmio_dispi_read(void *opaque, uint64_t off, unsigned size)
{
    return dispi_read(opaque, (unsigned)off / 2);
}

static void mmio_dispi_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    dispi_write(opaque, (unsigned)off / 2, (uint16_t)val);
}

static const RegionOps mmio_dispi_ops = {
    .read = mmio_dispi_read, .write = mmio_dispi_write, .min_access = 2, .max_access = 2
};

static uint64_t mmio_ext_read(void *opaque, uint64_t off, unsigned size)
{
    return off == EXT_SIZE_REG ? 8 : off == EXT_ENDIAN ? EXT_LITTLE : 0;
}

/* QEMU compat: the frame buffer's byte order could be written there; see
 * docs/user/compat.md#displays */
static void mmio_ext_write(void *opaque, uint64_t off, unsigned size, uint64_t val) {}

static const RegionOps mmio_ext_ops = {
    .read = mmio_ext_read, .write = mmio_ext_write, .min_access = 4, .max_access = 4
};

void vga_map_mmio(Vga *s, Region *bar, bool extended)
{
    region_map(bar, 0x400, &s->mmio_ports, 0);
    region_map(bar, 0x500, &s->mmio_dispi, 0);
    if (extended) {
        region_map(bar, 0x600, &s->mmio_ext, 0);
    }
}

/* ---- life ---- */

static const struct {
    uint16_t base, size;
} port_ranges[] = { { 0x1ce, 4 }, { 0x3b4, 2 }, { 0x3ba, 1 }, { 0x3c0, 16 }, { 0x3d4, 2 },
    { 0x3da, 1 } };

bool vga_init(Vga *s, Obj *owner, unsigned mb, GError **err)
{
    s->size = (uint32_t)mb << 20;
    if (!region_init_ram(&s->vram, owner, "vga.vram", s->size, err)) {
        return false;
    }
    /* Text needs a few pages: without huge ones it costs only those. */
    (void)madvise(region_host(&s->vram), s->size, MADV_NOHUGEPAGE);
    region_init_io(&s->window, owner, "vga-lowmem", &window_ops, s, WINDOW_SIZE);
    for (unsigned i = 0; i < G_N_ELEMENTS(port_ranges); i++) {
        s->ports[i].vga = s;
        s->ports[i].base = port_ranges[i].base;
        region_init_io(&s->ports[i].io, owner, i ? "vga" : "vbe", i ? &port_ops : &dispi_port_ops,
            &s->ports[i], port_ranges[i].size);
    }
    region_init_io(&s->mmio_ports, owner, "vga ioports remapped", &mmio_ports_ops, s, 0x20);
    region_init_io(&s->mmio_dispi, owner, "bochs dispi interface", &mmio_dispi_ops, s, 0x16);
    region_init_io(&s->mmio_ext, owner, "qemu extended regs", &mmio_ext_ops, s, 8);
    vga_reset(s);
    return true;
}

static void forget(Region *r)
{
    if (region_is_mapped(r)) {
        region_unmap(r);
    }
    region_fini(r);
}

void vga_fini(Vga *s)
{
    mem_begin();
    vga_unwatched(s);
    forget(&s->window);
    for (unsigned i = 0; i < G_N_ELEMENTS(port_ranges); i++) {
        forget(&s->ports[i].io);
    }
    forget(&s->mmio_ports);
    forget(&s->mmio_dispi);
    forget(&s->mmio_ext);
    forget(&s->vram);
    mem_commit();
}

void vga_map(Vga *s, Region *mem, Region *io)
{
    mem_begin();
    region_map(mem, WINDOW_AT, &s->window, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(port_ranges); i++) {
        region_map(io, s->ports[i].base, &s->ports[i].io, 0);
    }
    mem_commit();
}

void vga_reset(Vga *s)
{
    s->misc = s->status = 0;
    s->seq_index = s->gfx_index = s->attr_index = s->crtc_index = 0;
    s->attr_data = s->dac_reading = false;
    memset(s->seq, 0, sizeof s->seq);
    memset(s->gfx, 0, sizeof s->gfx);
    memset(s->attr, 0, sizeof s->attr);
    memset(s->crtc, 0, sizeof s->crtc);
    memset(s->dac, 0, sizeof s->dac);
    s->dac_mask = 0xff;
    s->dac_read = s->dac_write = s->dac_sub = 0;
    s->latch = 0;
    memset(s->dispi, 0, sizeof s->dispi);
    s->dispi[VGA_DISPI_ID] = DISPI_ID;
    s->dispi_index = 0;
    s->redraw = true;
}
