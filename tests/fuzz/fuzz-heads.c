/*
 * Heads that change their size: viewers that come, go, wish and copy what they see as a VNC server
 * does, a driver that asks what the monitors are and shows pictures of any size, the VGA's modes
 * meanwhile. A model knows what each monitor has to be (VIRTIO 1.4, 5.7.4 and 5.7.6.8) and what
 * its EDID prefers; a viewer that was told of everything sees what the head shows.
 */
#include "hw/display/edid.h"
#include "hw/display/vga.h"
#include "tests/fuzz/fuzz-display.h"
#include "ui/surface.h"

#include <string.h>

enum { MAX_OPS = 48, VIEWERS = 2, NRES = 3, SIDE = 192, ENTRIES = 16, EVENT_DISPLAY = 1 };

typedef struct Viewer {
    DisplayListener l;
    uint32_t *px;
    unsigned width, height;
    bool resized; /* a new picture was announced and not looked at */
} Viewer;

typedef struct Head {
    DisplayWish wish;
    bool enabled;
    uint32_t res; /* the driver's last scanout; 0: none that was taken */
    Viewer viewer[VIEWERS];
} Head;

typedef struct Resource {
    uint32_t width, height; /* 0: not there */
} Resource;

static struct {
    Head head[FUZZ_HEADS];
    Resource res[NRES + 1];
    bool event;
    unsigned gone;
} m;

bool fuzz_option(const char *arg)
{
    return false;
}

/* ---- viewers ---- */

static void on_resized(DisplayListener *l)
{
    ((Viewer *)l->opaque)->resized = true;
}

static void copy(Viewer *v, int x, int y, int width, int height)
{
    pixman_image_t *s = display_surface(v->l.display);

    g_assert_cmpuint(surface_width(s), ==, v->width);
    g_assert_cmpuint(surface_height(s), ==, v->height);
    for (int row = y; row < y + height; row++) {
        memcpy(v->px + (size_t)row * v->width + x, surface_row(s, (unsigned)row) + 4 * (size_t)x,
            4 * (size_t)width);
    }
}

static void on_updated(DisplayListener *l, int x, int y, int width, int height)
{
    Viewer *v = l->opaque;

    g_assert_true(x >= 0 && y >= 0 && width > 0 && height > 0);
    if (!v->resized) {
        copy(v, x, y, width, height);
    }
}

static void on_gone(DisplayListener *l)
{
    g_assert_null(l->display);
    m.gone++;
}

static const DisplayListenerOps viewer_ops = {
    .resized = on_resized, .updated = on_updated, .gone = on_gone
};

static void look(Viewer *v)
{
    if (!v->l.display) {
        return;
    }
    display_refresh(v->l.display);
    if (v->resized) {
        pixman_image_t *s = display_surface(v->l.display);

        v->resized = false;
        v->width = surface_width(s);
        v->height = surface_height(s);
        if (display_active(v->l.display)) { /* else it is black */
            v->px = g_realloc(v->px, 4 * (size_t)v->width * v->height);
            copy(v, 0, 0, (int)v->width, (int)v->height);
        }
    }
}

static void leave(Viewer *v)
{
    display_unlisten(&v->l);
    g_clear_pointer(&v->px, g_free);
    v->width = v->height = 0;
}

static void op_viewer(Input *in)
{
    uint8_t how = u8(in);
    Viewer *v = &m.head[how % FUZZ_HEADS].viewer[how >> 2 & 1];

    if (how & 0x80) {
        leave(v);
    } else if (!v->l.display) {
        v->l = (DisplayListener){ .ops = &viewer_ops, .opaque = v };
        v->resized = true;
        display_listen(display_nth(how % FUZZ_HEADS), &v->l);
    }
    look(v);
}

/* What it has is what the head shows; before a flush the driver's pixels may be newer. */
static void compare(Viewer *v)
{
    look(v);
    for (unsigned y = 0; y < v->height; y++) {
        g_assert_cmpmem(v->px + (size_t)y * v->width, 4 * (size_t)v->width,
            surface_row(display_surface(v->l.display), y), 4 * (size_t)v->width);
    }
}

static void op_wish(Input *in)
{
    uint8_t how = u8(in);
    Head *h = &m.head[how % FUZZ_HEADS];
    DisplayWish w = { fuzz_word(in), fuzz_word(in), (int32_t)fuzz_word(in), (int32_t)fuzz_word(in),
        fuzz_word(in), fuzz_word(in), fuzz_word(in) };
    bool good =
        w.width <= DISPLAY_SIDE_MAX && w.height <= DISPLAY_SIDE_MAX && !w.width == !w.height;

    g_assert_cmpint(display_wish(display_nth(how % FUZZ_HEADS), &w), ==, good);
    if (good) {
        m.event = true;
        h->enabled = w.width != 0;
        h->wish = w.width ? w : h->wish;
    }
}

/* A display that is taken away while it is looked at. */
static void op_unplug(Input *in)
{
    static const DisplayOps ops = { 0 };
    Viewer v = { .resized = true };
    Display *d = display_new(&fd.dev->obj, 7, &ops, NULL);
    pixman_image_t *s = surface_new(PIXMAN_x8r8g8b8, 1u + u8(in), 1u + u8(in));
    unsigned before = m.gone;

    v.l = (DisplayListener){ .ops = &viewer_ops, .opaque = &v };
    display_listen(d, &v.l);
    look(&v);
    display_set_surface(d, s);
    g_assert_true(v.resized);
    display_updated(d, (int)fuzz_word(in), (int)fuzz_word(in), (int)(fuzz_word(in) & 0x7fffffff),
        (int)(fuzz_word(in) & 0x7fffffff));
    compare(&v);
    display_updated(d, (int)fuzz_word(in), (int)fuzz_word(in), (int)(fuzz_word(in) & 0x7fffffff),
        (int)(fuzz_word(in) & 0x7fffffff));
    surface_unref(s);
    display_free(d);
    g_assert_cmpuint(m.gone, ==, before + 1);
    leave(&v);
}

/* ---- the driver ---- */

/* Done to its end; the answer's type. */
static uint32_t command(uint32_t type, const uint32_t *words, unsigned n)
{
    uint32_t head[6] = { type }, id, len;

    vport_w32(fd.drv.port, fd.g.resp, 0);
    fuzz_display_send(VGPU_CONTROL, head, words, n, 24 + 1032);
    fuzz_idle();
    while (vring_used(&fd.drv.ring[VGPU_CONTROL], &id, &len)) {
    }
    return (uint32_t)vport_r32(fd.drv.port, fd.g.resp);
}

static void op_info(Input *in)
{
    uint32_t answer[6 * FUZZ_HEADS];

    g_assert_cmphex(command(GPU_CMD_GET_DISPLAY_INFO, NULL, 0), ==, GPU_OK_DISPLAY_INFO);
    fd.drv.port->read(fd.drv.port->opaque, fd.g.resp + 24, answer, sizeof answer);
    for (unsigned i = 0; i < FUZZ_HEADS; i++) {
        const Head *h = &m.head[i];
        const uint32_t *mode = answer + 6 * i;

        g_assert_cmpuint(mode[4], ==, h->enabled);
        if (h->enabled) {
            g_assert_cmpint((int32_t)mode[0], ==, h->wish.x);
            g_assert_cmpint((int32_t)mode[1], ==, h->wish.y);
            g_assert_cmpuint(mode[2], ==, h->wish.width);
            g_assert_cmpuint(mode[3], ==, h->wish.height);
        }
    }
}

/* The mode that it prefers: the first detailed timing (E-EDID A2, 3.10.2), or DisplayID's. */
static void preferred(const uint8_t *edid, uint32_t size, uint32_t *ret_width, uint32_t *ret_height)
{
    const uint8_t *d = edid + 54, *id = edid + 256 + 8;

    if (size == 3 * 128) {
        *ret_width = (id[4] | id[5] << 8) + 1u;
        *ret_height = (id[12] | id[13] << 8) + 1u;
    } else {
        *ret_width = d[2] | (d[4] >> 4) << 8;
        *ret_height = d[5] | (d[7] >> 4) << 8;
    }
}

static void op_edid(Input *in)
{
    const uint32_t words[2] = { u8(in) % FUZZ_HEADS };
    const DisplayWish *w = &m.head[words[0]].wish;
    uint32_t size, width, height;
    uint8_t edid[EDID_MAX];

    g_assert_cmphex(command(GPU_CMD_GET_EDID, words, 2), ==, GPU_OK_EDID);
    size = (uint32_t)vport_r32(fd.drv.port, fd.g.resp + 24);
    fd.drv.port->read(fd.drv.port->opaque, fd.g.resp + 32, edid, sizeof edid);
    fuzz_display_edid(edid, size);
    preferred(edid, size, &width, &height);
    g_assert_cmpuint(width, ==, w->width);
    g_assert_cmpuint(height, ==, w->height);
}

/* With limits, which virtio-gpu has none of. */
static void op_limits(Input *in)
{
    const EdidInfo info = { fuzz_word(in) % (DISPLAY_SIDE_MAX + 1u),
        fuzz_word(in) % (DISPLAY_SIDE_MAX + 1u), fuzz_word(in), fuzz_word(in), fuzz_word(in),
        fuzz_word(in), fuzz_word(in) };
    uint8_t edid[EDID_MAX];

    fuzz_display_edid(edid, (uint32_t)edid_build(&info, edid));
}

static void op_ack(Input *in)
{
    const VPort *p = fd.drv.port;
    uint32_t clear = fuzz_word(in);

    g_assert_cmpuint(vport_r32(p, fd.drv.device), ==, m.event ? EVENT_DISPLAY : 0);
    vport_w32(p, fd.drv.device + 4, clear);
    m.event = m.event && !(clear & EVENT_DISPLAY);
    g_assert_cmpuint(vport_r32(p, fd.drv.device), ==, m.event ? EVENT_DISPLAY : 0);
}

static void unref(uint32_t id)
{
    const uint32_t words[2] = { id };
    bool there = m.res[id].width;

    g_assert_cmphex(command(GPU_CMD_RESOURCE_UNREF, words, 2), ==,
        there ? GPU_OK_NODATA : GPU_ERR_INVALID_RESOURCE_ID);
    m.res[id] = (Resource){ 0 };
    for (unsigned i = 0; there && i < FUZZ_HEADS; i++) {
        Head *h = &m.head[i];

        if (h->res == id) {
            g_assert_false(display_active(display_nth(i)));
            h->res = 0;
        }
    }
}

/* A side, sometimes the one that a monitor has by now. */
static uint32_t side(Input *in, uint32_t monitor)
{
    uint8_t how = u8(in);

    return how < 64 && monitor <= SIDE ? monitor : 1u + (how * 4u + u8(in) % 4u) % SIDE;
}

/* A picture and its memory, which is the driver's few pages over and over. */
static void op_resource(Input *in)
{
    static const uint32_t formats[] = { VGPU_BGRX, VGPU_BGRA, VGPU_RGBX, 121 };
    uint8_t how = u8(in);
    const DisplayWish *w = &m.head[how % FUZZ_HEADS].wish;
    uint32_t id = 1 + (how >> 2) % NRES, width = side(in, w->width), height = side(in, w->height);
    uint32_t words[2 + 4 * ENTRIES] = { id, formats[how >> 6], width, height };

    unref(id);
    if (command(GPU_CMD_RESOURCE_CREATE_2D, words, 4) != GPU_OK_NODATA) {
        return; /* max_hostmem */
    }
    m.res[id] = (Resource){ width, height };
    words[1] = ENTRIES;
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint32_t *entry = words + 2 + 4 * i;

        entry[0] = (uint32_t)fd.g.pixels + 64 * i;
        entry[2] = (width * height * 4 + ENTRIES - 1) / ENTRIES;
        entry[1] = entry[3] = 0;
    }
    g_assert_cmphex(
        command(GPU_CMD_RESOURCE_ATTACH_BACKING, words, 2 + 4 * ENTRIES), ==, GPU_OK_NODATA);
}

static void op_show(Input *in)
{
    uint8_t how = u8(in);
    Head *h = &m.head[how % FUZZ_HEADS];
    uint32_t id = (how >> 2) % (NRES + 1);
    const Resource *r = &m.res[id];
    uint32_t x = how & 0x40 && r->width ? u8(in) % r->width : 0,
             y = how & 0x80 && r->height ? u8(in) % r->height : 0;
    const uint32_t words[6] = { x, y, r->width - x, r->height - y, how % FUZZ_HEADS, id };
    uint32_t rc = command(GPU_CMD_SET_SCANOUT, words, 6);
    Display *d = display_nth(how % FUZZ_HEADS);

    if (id && !r->width) {
        g_assert_cmphex(rc, ==, GPU_ERR_INVALID_RESOURCE_ID);
        return;
    }
    g_assert_true(rc == GPU_OK_NODATA || (id && rc == GPU_ERR_OUT_OF_MEMORY));
    h->res = rc == GPU_OK_NODATA ? id : 0;
    g_assert_cmpint(display_active(d), ==, h->res != 0);
    if (h->res) {
        g_assert_cmpuint(surface_width(display_surface(d)), ==, words[2]);
        g_assert_cmpuint(surface_height(display_surface(d)), ==, words[3]);
    }
}

/* All of a picture goes to the heads that show it, and their viewers have it. */
static void op_draw(Input *in)
{
    uint32_t id = 1 + u8(in) % NRES;
    const Resource *r = &m.res[id];
    const uint32_t transfer[8] = { 0, 0, r->width, r->height, 0, 0, id };
    const uint32_t flush[6] = { 0, 0, r->width, r->height, id };

    if (!r->width) {
        return;
    }
    vport_w32(fd.drv.port, fd.g.pixels + 4 * u8(in), u32(in));
    command(GPU_CMD_TRANSFER_TO_HOST_2D, transfer, 8); /* fails where it overlaps registers */
    g_assert_cmphex(command(GPU_CMD_RESOURCE_FLUSH, flush, 6), ==, GPU_OK_NODATA);
    for (unsigned i = 0; i < FUZZ_HEADS * VIEWERS; i++) {
        Head *h = &m.head[i / VIEWERS];

        if (h->res == id) {
            compare(&h->viewer[i % VIEWERS]);
        }
    }
}

/* A mode of the VGA, which the first head shows as long as no scanout was set. */
static void op_vga(Input *in)
{
    static const uint8_t depths[] = { 8, 15, 16, 24, 32 };
    const uint16_t dispi[][2] = { { VGA_DISPI_ENABLE, 0 }, { VGA_DISPI_XRES, (uint16_t)u16(in) },
        { VGA_DISPI_YRES, (uint16_t)u16(in) },
        { VGA_DISPI_BPP, depths[u8(in) % G_N_ELEMENTS(depths)] },
        { VGA_DISPI_ENABLE, VGA_DISPI_ENABLED | VGA_DISPI_NOCLEAR } };

    for (unsigned i = 0; i < G_N_ELEMENTS(dispi); i++) {
        fd.b->port.store(fd.b, true, 0x1ce, 2, dispi[i][0]);
        fd.b->port.store(fd.b, true, 0x1cf, 2, dispi[i][1] & (i == 1 || i == 2 ? 0x1ff : 0xffff));
    }
    fd.b->port.load(fd.b, true, 0x3da, 1);
    fd.b->port.store(fd.b, true, 0x3c0, 1, 0x20);
    for (unsigned i = 0; i < VIEWERS; i++) {
        look(&m.head[0].viewer[i]);
    }
}

static void forget(void)
{
    memset(m.res, 0, sizeof m.res);
    m.event = false;
    for (unsigned i = 0; i < FUZZ_HEADS; i++) {
        m.head[i].res = 0;
    }
}

/* The monitors stay what they are. */
static void op_reset(Input *in)
{
    vd_set_status(&fd.drv, 0);
    if (u8(in) & 1) {
        fuzz_idle();
    }
    for (unsigned i = 1; i < FUZZ_HEADS; i++) {
        g_assert_false(display_active(display_nth(i)));
    }
    fuzz_display_start();
    forget();
}

/* ---- a life ---- */

static void monitors_new(void)
{
    for (unsigned i = 0; i < FUZZ_HEADS; i++) {
        Head *h = &m.head[i];

        for (unsigned k = 0; k < VIEWERS; k++) {
            leave(&h->viewer[k]);
        }
        h->wish = (DisplayWish){ .width = 1280, .height = 800 };
        h->enabled = i == 0;
        g_assert_true(display_wish(display_nth(i), &h->wish));
        if (!h->enabled) {
            g_assert_true(display_wish(display_nth(i), &(DisplayWish){ 0 }));
        }
    }
}

void fuzz_prepare(void)
{
    fuzz_display_open();
    monitors_new();
    fuzz_display_reset();
}

void fuzz_one(Input *in)
{
    static void (*const op[])(Input *) = { op_wish, op_wish, op_wish, op_viewer, op_viewer, op_info,
        op_edid, op_edid, op_limits, op_ack, op_resource, op_resource, op_show, op_show, op_draw,
        op_draw, op_vga, op_unplug, op_reset };

    fuzz_display_start();
    forget();
    for (unsigned n = 0; in->left && n < MAX_OPS; n++) {
        op[u8(in) % G_N_ELEMENTS(op)](in);
        g_assert_cmpuint(fd.gpu->hostmem, <=, FUZZ_HOSTMEM);
        for (unsigned i = 0; i < FUZZ_HEADS * VIEWERS; i++) {
            const Viewer *v = &m.head[i / VIEWERS].viewer[i % VIEWERS];

            g_assert_true(!v->l.display || v->resized ||
                          v->width == surface_width(display_surface(v->l.display)));
        }
    }
    monitors_new();
    fuzz_display_reset();
}
