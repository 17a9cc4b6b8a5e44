/* The VGA core (hw/display/vga.c, vga-draw.c): registers, write modes, DISPI's limits, pictures of
 * each kind; registers' masks are those that QEMU 10.0 shows. */
#include "chips.h"
#include "hw/display/vga.h"
#include "ui/surface.h"

#include <string.h>

const ObjClass *const obj_classes[] = { NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };

typedef struct Box {
    Chips *c;
    Vga vga;
    Display *d;
    DisplayListener l;
    unsigned updated;
    int y, h;
} Box;

static void box_refresh(void *opaque)
{
    Box *b = opaque;

    vga_refresh(&b->vga, b->d);
}

static void box_invalidate(void *opaque)
{
    vga_invalidate(&((Box *)opaque)->vga);
}

static void box_unwatched(void *opaque)
{
    vga_unwatched(&((Box *)opaque)->vga);
}

static const DisplayOps box_ops = {
    .refresh = box_refresh, .invalidate = box_invalidate, .unwatched = box_unwatched
};

static void on_updated(DisplayListener *l, int x, int y, int w, int h)
{
    Box *b = l->opaque;

    b->updated++;
    b->y = y;
    b->h = h;
}

static const DisplayListenerOps listener_ops = { .updated = on_updated };

static Box *box_new(void)
{
    Box *b = g_new0(Box, 1);
    GError *err = NULL;

    b->c = chips_new();
    g_assert_true(vga_init(&b->vga, b->c->tree, 1, &err));
    vga_map(&b->vga, &b->c->mem, &b->c->io);
    region_map(&b->c->mem, 0x10000000, &b->vga.vram, 0);
    b->d = display_new(b->c->tree, 0, &box_ops, b);
    b->l.ops = &listener_ops;
    b->l.opaque = b;
    outb(b->c, 0x3c2, 0x67); /* ports 3dxh, memory on */
    return b;
}

static void box_free(Box *b)
{
    display_unlisten(&b->l);
    display_free(b->d);
    region_unmap(&b->vga.vram);
    vga_fini(&b->vga);
    chips_free(b->c);
    g_free(b);
}

static void put(Box *b, uint16_t port, uint8_t i, uint8_t v)
{
    outb(b->c, port, i);
    outb(b->c, (uint16_t)(port + 1), v);
}

static uint8_t get(Box *b, uint16_t port, uint8_t i)
{
    outb(b->c, port, i);
    return inb(b->c, (uint16_t)(port + 1));
}

static void attr(Box *b, uint8_t i, uint8_t v)
{
    inb(b->c, 0x3da);
    outb(b->c, 0x3c0, i);
    outb(b->c, 0x3c0, v);
}

static void dispi(Box *b, uint16_t i, uint16_t v)
{
    addrspace_store(b->c->io_as, 0x1ce, 2, i, NULL);
    addrspace_store(b->c->io_as, 0x1cf, 2, v, NULL);
}

static uint16_t dispi_get(Box *b, uint16_t i)
{
    addrspace_store(b->c->io_as, 0x1ce, 2, i, NULL);
    return (uint16_t)chips_in(b->c, 0x1d0, 2);
}

static void screen_on(Box *b)
{
    inb(b->c, 0x3da);
    outb(b->c, 0x3c0, 0x20);
}

static uint8_t mem_get(Box *b, uint32_t at)
{
    return (uint8_t)addrspace_load(b->c->mem_as, at, 1, NULL);
}

static void mem_put(Box *b, uint32_t at, uint8_t v)
{
    addrspace_store(b->c->mem_as, at, 1, v, NULL);
}

static uint32_t pixel(Box *b, unsigned x, unsigned y)
{
    uint32_t v;

    display_refresh(b->d);
    memcpy(&v, surface_row(display_surface(b->d), y) + 4 * (size_t)x, 4);
    return v & 0xffffff;
}

static void test_masks(void)
{
    static const uint8_t seq[] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0 };
    static const uint8_t gfx[] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0 };
    Box *b = box_new();

    for (unsigned i = 0; i < sizeof seq; i++) {
        put(b, 0x3c4, (uint8_t)i, 0xff);
        g_assert_cmphex(get(b, 0x3c4, (uint8_t)i), ==, seq[i]);
    }
    for (unsigned i = 0; i < sizeof gfx; i++) {
        put(b, 0x3ce, (uint8_t)i, 0xff);
        g_assert_cmphex(get(b, 0x3ce, (uint8_t)i), ==, gfx[i]);
    }
    g_assert_cmphex(inb(b->c, 0x3b5), ==, 0xff); /* not the monochrome ports */
    outb(b->c, 0x3c2, 0x66);
    g_assert_cmphex(inb(b->c, 0x3d5), ==, 0xff);
    box_free(b);
}

static void test_crtc_protection(void)
{
    Box *b = box_new();

    put(b, 0x3d4, 7, 0x0f);
    put(b, 0x3d4, 0x11, 0x80);
    put(b, 0x3d4, 0, 0x5f);
    put(b, 0x3d4, 7, 0xf0);
    g_assert_cmphex(get(b, 0x3d4, 0), ==, 0);
    g_assert_cmphex(get(b, 0x3d4, 7), ==, 0x1f); /* the line compare's bit alone */
    put(b, 0x3d4, 0x80, 1);                      /* no such register */
    g_assert_cmphex(get(b, 0x3d4, 0x80), ==, 0);
    box_free(b);
}

static void test_retrace_comes_and_goes(void)
{
    Box *b = box_new();
    uint8_t first = inb(b->c, 0x3da);

    g_assert_cmphex(inb(b->c, 0x3da) ^ first, ==, 0x09);
    box_free(b);
}

static void test_dac(void)
{
    Box *b = box_new();

    outb(b->c, 0x3c8, 255);
    for (unsigned i = 0; i < 6; i++) {
        outb(b->c, 0x3c9, (uint8_t)(10 + i)); /* 255, then 0 */
    }
    outb(b->c, 0x3c7, 0);
    g_assert_cmpuint(inb(b->c, 0x3c7), ==, 3);
    g_assert_cmpuint(inb(b->c, 0x3c9), ==, 13);
    outb(b->c, 0x3c7, 255);
    g_assert_cmpuint(inb(b->c, 0x3c9), ==, 10);
    g_assert_cmpuint(inb(b->c, 0x3c9), ==, 11);
    box_free(b);
}

/* IBM PS/2 Video Subsystem, 2: write modes 0 to 3, read modes 0 and 1. */
static void test_write_and_read_modes(void)
{
    Box *b = box_new();

    put(b, 0x3c4, 4, 6); /* planes */
    put(b, 0x3c4, 2, 0x0f);
    put(b, 0x3ce, 6, 5); /* graphics at a0000 */
    put(b, 0x3ce, 8, 0xff);
    put(b, 0x3ce, 1, 0x03); /* set/reset of planes 0 and 1 */
    put(b, 0x3ce, 0, 0x01);
    put(b, 0x3ce, 3, 1); /* rotated by one */
    mem_put(b, 0xa0000, 0x81);
    g_assert_cmphex(readl(b->c, 0x10000000), ==, 0xc0c000ff);
    for (uint8_t plane = 0; plane < 4; plane++) {
        put(b, 0x3ce, 4, plane);
        g_assert_cmphex(mem_get(b, 0xa0000), ==, plane == 0 ? 0xff : plane == 1 ? 0 : 0xc0);
    }
    /* XOR with the latch, of some bits and planes only. */
    put(b, 0x3ce, 1, 0);
    put(b, 0x3ce, 3, 0x18);
    put(b, 0x3ce, 8, 0x0f);
    put(b, 0x3c4, 2, 0x09);
    mem_put(b, 0xa0000, 0xff);
    g_assert_cmphex(readl(b->c, 0x10000000), ==, 0xcfc000f0);
    /* Mode 1 copies what was read last; mode 2 takes a colour; mode 3 a mask. */
    put(b, 0x3c4, 2, 0x0f);
    put(b, 0x3ce, 3, 0);
    put(b, 0x3ce, 8, 0xff);
    put(b, 0x3ce, 5, 1);
    mem_get(b, 0xa0000);
    mem_put(b, 0xa0001, 0);
    g_assert_cmphex(readl(b->c, 0x10000004), ==, 0xcfc000f0);
    put(b, 0x3ce, 5, 2);
    mem_put(b, 0xa0002, 0x0a);
    g_assert_cmphex(readl(b->c, 0x10000008), ==, 0xff00ff00);
    put(b, 0x3ce, 5, 3);
    put(b, 0x3ce, 0, 0x05);
    mem_get(b, 0xa0002);
    mem_put(b, 0xa0002, 0xf0);
    g_assert_cmphex(readl(b->c, 0x10000008), ==, 0x0ff00ff0);
    /* Read mode 1: where all planes that matter have colour 5. */
    put(b, 0x3ce, 5, 8);
    put(b, 0x3ce, 2, 0x05);
    put(b, 0x3ce, 7, 0x0f);
    g_assert_cmphex(mem_get(b, 0xa0002), ==, 0xf0);
    put(b, 0x3ce, 7, 0); /* none matters */
    g_assert_cmphex(mem_get(b, 0xa0002), ==, 0xff);
    box_free(b);
}

static void test_window_and_chains(void)
{
    Box *b = box_new();

    put(b, 0x3c4, 2, 0x0f);
    put(b, 0x3ce, 8, 0xff);
    put(b, 0x3c4, 4, 0x0e); /* chained */
    put(b, 0x3ce, 6, 5);
    mem_put(b, 0xa0005, 0x55);
    g_assert_cmphex(mem_get(b, 0x10000005), ==, 0x55);
    put(b, 0x3c4, 2, 0x01);
    mem_put(b, 0xa0005, 0x66); /* plane 1 is switched off */
    g_assert_cmphex(mem_get(b, 0xa0005), ==, 0x55);
    g_assert_cmphex(mem_get(b, 0xb8000), ==, 0xff); /* not in this window */
    dispi(b, VGA_DISPI_BANK, 15);                   /* the last 64 KiB */
    put(b, 0x3c4, 2, 0x0f);
    mem_put(b, 0xaffff, 0x77);
    g_assert_cmphex(mem_get(b, 0x100fffff), ==, 0x77);
    dispi(b, VGA_DISPI_BANK, 16);
    g_assert_cmpuint(dispi_get(b, VGA_DISPI_BANK), ==, 0);
    /* Text: odd and even bytes in planes 0 and 1. */
    put(b, 0x3c4, 4, 2);
    put(b, 0x3ce, 5, 0x10);
    put(b, 0x3ce, 6, 0x0e);
    put(b, 0x3c4, 2, 0x03);
    mem_put(b, 0xb8002, 'A');
    mem_put(b, 0xb8003, 0x1f);
    g_assert_cmphex(readl(b->c, 0x10000004) & 0xffff, ==, 0x1f00 | 'A');
    g_assert_cmphex(mem_get(b, 0xb8003), ==, 0x1f);
    /* Planes beyond video memory. */
    put(b, 0x3ce, 5, 0);
    put(b, 0x3ce, 6, 5);
    dispi(b, VGA_DISPI_BANK, 15);
    mem_put(b, 0xa8000, 1);
    g_assert_cmphex(mem_get(b, 0xa8000), ==, 0);
    box_free(b);
}

static void test_dispi_stays_inside_memory(void)
{
    Box *b = box_new();

    g_assert_cmphex(dispi_get(b, VGA_DISPI_ID), ==, 0xb0c5);
    g_assert_cmphex(dispi_get(b, VGA_DISPI_MEMORY_64K), ==, 16);
    dispi(b, VGA_DISPI_ENABLE, VGA_DISPI_GETCAPS);
    g_assert_cmpuint(dispi_get(b, VGA_DISPI_XRES), ==, 16000);
    dispi(b, VGA_DISPI_ENABLE, 0);
    dispi(b, VGA_DISPI_XRES, 1604);
    dispi(b, VGA_DISPI_YRES, 0xffff);
    dispi(b, VGA_DISPI_BPP, 13);
    dispi(b, VGA_DISPI_ENABLE, VGA_DISPI_ENABLED);
    g_assert_cmpuint(dispi_get(b, VGA_DISPI_BPP), ==, 8);
    g_assert_cmpuint(dispi_get(b, VGA_DISPI_XRES), ==, 1600);
    g_assert_cmpuint(dispi_get(b, VGA_DISPI_YRES), ==, 655);
    dispi(b, VGA_DISPI_Y_OFFSET, 1);
    g_assert_cmpuint(dispi_get(b, VGA_DISPI_Y_OFFSET), ==, 0);
    dispi(b, VGA_DISPI_VIRT_WIDTH, 0xffff);
    g_assert_cmpuint(dispi_get(b, VGA_DISPI_VIRT_WIDTH), ==, 16000);
    dispi(b, VGA_DISPI_X_OFFSET, 0xffff);
    dispi(b, VGA_DISPI_BPP, 32);
    screen_on(b);
    display_listen(b->d, &b->l);
    display_refresh(b->d);
    g_assert_cmpuint(surface_width(display_surface(b->d)), ==, 1600);
    g_assert_cmpuint(surface_height(display_surface(b->d)), ==, 16);
    box_free(b);
}

static void test_packed_pixels_and_dirty_lines(void)
{
    Box *b = box_new();

    dispi(b, VGA_DISPI_XRES, 256);
    dispi(b, VGA_DISPI_YRES, 128);
    dispi(b, VGA_DISPI_BPP, 32);
    writel(b->c, 0x10000000, 0xffffffff);
    dispi(b, VGA_DISPI_ENABLE, VGA_DISPI_ENABLED | 0x40);
    g_assert_cmphex(readl(b->c, 0x10000000), ==, 0); /* cleared */
    g_assert_false(display_active(b->d));
    screen_on(b);
    writel(b->c, 0x10000000 + 4 * (256 * 5 + 7), 0x00abcdef);
    g_assert_cmphex(pixel(b, 7, 5), ==, 0xabcdef);
    display_listen(b->d, &b->l);
    display_refresh(b->d); /* everything, for the new viewer */
    g_assert_cmpint(b->h, ==, 128);
    b->updated = 0;
    display_refresh(b->d);
    g_assert_cmpuint(b->updated, ==, 0);
    writel(b->c, 0x10000000 + 4 * 256 * 100, 0x123456);
    display_refresh(b->d);
    g_assert_cmpuint(b->updated, ==, 1);
    g_assert_cmpint(b->y, ==, 100); /* a page is four lines here */
    g_assert_cmpint(b->h, ==, 4);
    dispi(b, VGA_DISPI_BPP, 16);
    writel(b->c, 0x10000000, 0xf81f07e0);
    g_assert_cmphex(pixel(b, 0, 0), ==, 0x00ff00);
    g_assert_cmphex(pixel(b, 1, 0), ==, 0xff00ff);
    dispi(b, VGA_DISPI_BPP, 15);
    g_assert_cmphex(pixel(b, 1, 0), ==, 0xf700ff);
    dispi(b, VGA_DISPI_BPP, 24);
    g_assert_cmphex(pixel(b, 0, 0), ==, 0x1f07e0);
    dispi(b, VGA_DISPI_BPP, 8);
    outb(b->c, 0x3c8, 0xe0);
    outb(b->c, 0x3c9, 63);
    outb(b->c, 0x3c9, 1);
    outb(b->c, 0x3c9, 0);
    g_assert_cmphex(pixel(b, 0, 0), ==, 0xff0400);
    dispi(b, VGA_DISPI_ENABLE, VGA_DISPI_ENABLED | VGA_DISPI_8BIT_DAC);
    g_assert_cmphex(pixel(b, 0, 0), ==, 0x3f0100);
    box_free(b);
}

/* A screen of two characters in two rows of glyphs eight lines high. */
static void test_text(void)
{
    Box *b = box_new();

    put(b, 0x3d4, 1, 1); /* two columns */
    put(b, 0x3d4, 9, 7); /* of eight lines */
    put(b, 0x3d4, 0x12, 15);
    put(b, 0x3d4, 0x13, 1); /* eight bytes a row */
    put(b, 0x3d4, 0x18, 0xff);
    put(b, 0x3d4, 7, 0x10);
    put(b, 0x3d4, 9, 0x47);
    put(b, 0x3d4, 0x0a, 0x20); /* no cursor */
    put(b, 0x3c4, 1, 0);       /* nine dots */
    for (uint8_t i = 0; i < 16; i++) {
        attr(b, i, i);
        outb(b->c, 0x3c8, i);
        outb(b->c, 0x3c9, i);
        outb(b->c, 0x3c9, 0);
        outb(b->c, 0x3c9, 0);
    }
    attr(b, 0x10, 0x04);
    /* Shape of C4h: its first line is full; a row of text: C4h white on blue, then blank. */
    writel(b->c, 0x10000000 + 4 * 32 * 0xc4, 0x00ff0000);
    writel(b->c, 0x10000000, 0x001fc4);
    screen_on(b);
    g_assert_cmpuint(pixel(b, 0, 0) >> 16, ==, 15 << 2);
    g_assert_cmpuint(surface_width(display_surface(b->d)), ==, 18);
    g_assert_cmpuint(surface_height(display_surface(b->d)), ==, 16);
    g_assert_cmpuint(pixel(b, 8, 0) >> 16, ==, 15 << 2); /* the ninth dot of line graphics */
    g_assert_cmpuint(pixel(b, 0, 1) >> 16, ==, 1 << 2);  /* the background */
    g_assert_cmpuint(pixel(b, 9, 0) >> 16, ==, 0);
    /* The cursor: lines 6 and 7 of the second cell, then gone from there. */
    put(b, 0x3d4, 0x0a, 6);
    put(b, 0x3d4, 0x0b, 0xff);
    put(b, 0x3d4, 0x0f, 1);
    writel(b->c, 0x10000004, 0x000720);
    g_assert_cmpuint(pixel(b, 9, 6) >> 16, ==, 7 << 2);
    g_assert_cmpuint(pixel(b, 9, 5) >> 16, ==, 0);
    put(b, 0x3d4, 0x0f, 0);
    g_assert_cmpuint(pixel(b, 9, 6) >> 16, ==, 0);
    g_assert_cmpuint(pixel(b, 0, 7) >> 16, ==, 15 << 2);
    /* A viewer hears of the row that changed. */
    display_listen(b->d, &b->l);
    display_refresh(b->d);
    b->updated = 0;
    writel(b->c, 0x10000008, 0x000741);
    display_refresh(b->d);
    g_assert_cmpuint(b->updated, ==, 1);
    g_assert_cmpint(b->y, ==, 8);
    box_free(b);
}

static void test_planes_split_and_cga(void)
{
    Box *b = box_new();

    put(b, 0x3d4, 1, 0); /* eight pixels */
    put(b, 0x3d4, 0x12, 3);
    put(b, 0x3d4, 0x13, 1);
    put(b, 0x3d4, 0x17, 0x43);
    put(b, 0x3d4, 0x18, 0xff);
    put(b, 0x3d4, 7, 0x10);
    put(b, 0x3d4, 9, 0x40);
    put(b, 0x3ce, 6, 1);
    attr(b, 0x12, 0x0f);
    for (uint8_t i = 0; i < 16; i++) {
        attr(b, i, i);
        outb(b->c, 0x3c8, i);
        outb(b->c, 0x3c9, i);
        outb(b->c, 0x3c9, 0);
        outb(b->c, 0x3c9, 0);
    }
    screen_on(b);
    writel(b->c, 0x10000000, 0x80000180);
    g_assert_cmpuint(pixel(b, 0, 0) >> 18, ==, 9);
    g_assert_cmpuint(pixel(b, 7, 0) >> 18, ==, 2);
    attr(b, 0x12, 0x07);
    screen_on(b);
    g_assert_cmpuint(pixel(b, 0, 0) >> 18, ==, 1);
    /* From scan line 2 on memory shows from its begin. */
    put(b, 0x3d4, 0x0d, 4);
    put(b, 0x3d4, 7, 0);
    put(b, 0x3d4, 9, 0);
    put(b, 0x3d4, 0x18, 1);
    g_assert_cmpuint(pixel(b, 0, 0) >> 18, ==, 0);
    g_assert_cmpuint(pixel(b, 0, 2) >> 18, ==, 1);
    /* CGA: odd scan lines 2000h further on, two bits a pixel. */
    put(b, 0x3d4, 0x0d, 0);
    put(b, 0x3d4, 0x18, 0xff);
    put(b, 0x3d4, 7, 0x10);
    put(b, 0x3d4, 9, 0x41);
    put(b, 0x3d4, 0x17, 0x42);
    put(b, 0x3ce, 5, 0x20);
    writel(b->c, 0x10000000, 0x000000c0);
    writel(b->c, 0x10000000 + 4 * 0x2000, 0x00000040);
    g_assert_cmpuint(pixel(b, 0, 0) >> 18, ==, 3);
    g_assert_cmpuint(pixel(b, 0, 1) >> 18, ==, 1);
    /* Nothing at all. */
    put(b, 0x3c4, 1, 0x20);
    display_refresh(b->d);
    g_assert_false(display_active(b->d));
    box_free(b);
}

int main(int argc, char **argv)
{
    chips_start(&argc, &argv);
    g_test_add_func("/vga/masks", test_masks);
    g_test_add_func("/vga/crtc-protection", test_crtc_protection);
    g_test_add_func("/vga/retrace-comes-and-goes", test_retrace_comes_and_goes);
    g_test_add_func("/vga/dac", test_dac);
    g_test_add_func("/vga/write-and-read-modes", test_write_and_read_modes);
    g_test_add_func("/vga/window-and-chains", test_window_and_chains);
    g_test_add_func("/vga/dispi-stays-inside-memory", test_dispi_stays_inside_memory);
    g_test_add_func("/vga/packed-pixels-and-dirty-lines", test_packed_pixels_and_dirty_lines);
    g_test_add_func("/vga/text", test_text);
    g_test_add_func("/vga/planes-split-and-cga", test_planes_split_and_cga);
    return g_test_run();
}
