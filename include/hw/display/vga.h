/*
 * A VGA with Bochs's display extension (DISPI): what the `VGA` and `virtio-vga` devices share.
 * Registers as in IBM's "PS/2 Video Subsystem Technical Reference" (1992); DISPI as Bochs documents
 * it for guests (VBE_DISPI_*). Main loop, VM lock.
 *
 * Video memory: byte p of 32-bit word a is plane p at offset a; chained modes count bytes. All of
 * it is the linear frame buffer.
 */
#pragma once

#include "hw/core/dev.h"
#include "memory/dirty.h"
#include "ui/console.h"

enum {
    VGA_DISPI_ID,
    VGA_DISPI_XRES,
    VGA_DISPI_YRES,
    VGA_DISPI_BPP,
    VGA_DISPI_ENABLE,
    VGA_DISPI_BANK,
    VGA_DISPI_VIRT_WIDTH,
    VGA_DISPI_VIRT_HEIGHT,
    VGA_DISPI_X_OFFSET,
    VGA_DISPI_Y_OFFSET,
    VGA_DISPI_MEMORY_64K,
    VGA_DISPI_REGS
};
enum {
    VGA_DISPI_ENABLED = 1,
    VGA_DISPI_GETCAPS = 2,
    VGA_DISPI_8BIT_DAC = 0x20,
    VGA_DISPI_NOCLEAR = 0x80
};

typedef struct Vga Vga;
typedef struct VgaPorts {
    Vga *vga;
    uint16_t base;
    Region io;
} VgaPorts;

/* How the picture is made, taken from the registers at each refresh. */
typedef struct VgaMode {
    enum { VGA_BLANK, VGA_TEXT, VGA_PLANAR, VGA_CGA4, VGA_PACKED } kind;
    unsigned width, height;  /* of the picture */
    unsigned bpp;            /* VGA_PACKED: 8, 15, 16, 24, 32 */
    uint32_t start, line;    /* bytes into video memory, bytes from one line to the next */
    unsigned wide;           /* 2: each pixel is shown twice */
    unsigned repeat;         /* scan lines of one line in memory */
    unsigned split;          /* from this scan line on memory is shown from its begin */
    unsigned char_w, char_h; /* VGA_TEXT */
    uint32_t font[2];        /* VGA_TEXT: offsets of the characters' shapes in plane 2 */
} VgaMode;

struct Vga {
    uint32_t size; /* of video memory */
    Region vram;   /* the owner's BAR */
    Region window; /* a0000-bffff */
    VgaPorts ports[6];
    Region mmio_ports, mmio_dispi, mmio_ext; /* parts of the owner's MMIO BAR */
    uint8_t misc, status;
    uint8_t seq_index, seq[8];
    uint8_t gfx_index, gfx[16];
    uint8_t attr_index, attr[32];
    bool attr_data; /* the next write to 3c0h is data */
    uint8_t crtc_index, crtc[0x19];
    uint8_t dac_mask, dac_read, dac_write, dac_sub;
    bool dac_reading;
    uint8_t dac_cache[3], dac[256 * 3];
    uint32_t latch;
    uint16_t dispi_index, dispi[VGA_DISPI_REGS];
    bool big_endian;
    /* drawing */
    bool redraw;          /* registers, colours or shapes changed */
    VgaMode mode;         /* as drawn last */
    uint32_t *text;       /* cells as drawn last */
    uint32_t text_cursor; /* its place and shape as drawn last */
    DirtyLog *log;        /* while somebody looks */
    uint64_t *dirty;      /* pages of this refresh */
    uint32_t rgb[256];    /* colours of this refresh */
};

/* Video memory of `mb` MiB (a power of two) and the regions. False: *err, nothing to end. */
bool vga_init(Vga *s, Obj *owner, unsigned mb, GError **err);
void vga_fini(Vga *s); /* unmaps what vga_map() mapped */
/* The window and the ports: at their places in the buses above. */
void vga_map(Vga *s, Region *mem, Region *io);
/* Ports at 400h, DISPI at 500h and the extended registers at 600h of an MMIO BAR. */
void vga_map_mmio(Vga *s, Region *bar, bool extended);
void vga_reset(Vga *s);
/* DisplayOps' refresh, invalidate and unwatched. */
void vga_refresh(Vga *s, Display *d);
void vga_invalidate(Vga *s);
void vga_unwatched(Vga *s);

/* vga.c and vga-draw.c between them. */
void vga_mode(const Vga *s, VgaMode *ret);
unsigned vga_pixel_bytes(unsigned bpp);
