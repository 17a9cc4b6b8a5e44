/*
 * The display of a hostile driver: virtio-vga, which is a GPU and a VGA. One input is one life of
 * a driver between two resets: commands on both queues (VIRTIO 1.4, 5.7.6), what viewers do
 * meanwhile - windows of any size, pictures that are read, resets in the middle of long commands -
 * and the VGA's registers. After each: memory is counted right, EDIDs have their sums.
 */
#include "hw/display/vga.h"
#include "tests/fuzz/fuzz-display.h"
#include "ui/surface.h"

#include <string.h>

enum { MAX_OPS = 64, MAX_WORDS = 64 };

static DisplayListener viewer[FUZZ_HEADS];
static uint32_t sum; /* of all pixels that were looked at */

bool fuzz_option(const char *arg)
{
    return false;
}

static void look(DisplayListener *l, int x, int y, int width, int height)
{
    pixman_image_t *s = display_surface(l->display);

    g_assert_true(x >= 0 && y >= 0 && width > 0 && height > 0);
    for (int row = y; row < y + height; row++) {
        const uint32_t *at = (const uint32_t *)(const void *)surface_row(s, (unsigned)row);

        sum += at[x] + at[x + width - 1];
    }
}

static void look_at_all(DisplayListener *l)
{
    pixman_image_t *s = display_surface(l->display);

    look(l, 0, 0, (int)surface_width(s), (int)surface_height(s));
}

static void look_at_pointer(DisplayListener *l)
{
    const DisplayCursor *c = display_cursor(l->display);

    if (c) {
        g_assert_true(c->hot_x < c->width && c->hot_y < c->height);
        sum += c->argb[c->width * c->height - 1];
    }
}

static const DisplayListenerOps viewer_ops = {
    .resized = look_at_all, .updated = look, .cursor = look_at_pointer
};

void fuzz_prepare(void)
{
    fuzz_display_open();
    for (unsigned i = 0; i < FUZZ_HEADS; i++) {
        viewer[i] = (DisplayListener){ .ops = &viewer_ops };
    }
}

/* ---- commands ---- */

/* As many words as the command has, or some more or fewer. */
static unsigned words_of(Input *in, uint32_t type, uint32_t *words)
{
    static const uint8_t of[] = { 0, 4, 2, 6, 6, 8, 6, 2, 2, 2, 2, 2, 12, 18 };
    unsigned i = type - GPU_CMD_GET_DISPLAY_INFO, more = u8(in);
    unsigned n = i < sizeof of ? of[i] : 8;

    n = more < 224 ? n : more % MAX_WORDS;
    for (unsigned k = 0; k < n; k++) {
        words[k] = fuzz_word(in);
    }
    return n;
}

static void op_command(Input *in)
{
    uint32_t words[MAX_WORDS], head[6];
    uint8_t how = u8(in);
    unsigned q = how >> 6 == 3 ? VGPU_CURSOR : VGPU_CONTROL, n;

    head[0] = q ? GPU_CMD_UPDATE_CURSOR + (how & 1u) : GPU_CMD_GET_DISPLAY_INFO + how % 14u;
    if (how == 0xbf) {
        head[0] = u16(in);
    }
    head[1] = how >> 5 & 1;
    head[2] = head[3] = head[4] = head[5] = how;
    n = words_of(in, head[0], words);
    fuzz_display_send(q, head, words, n, how == 0xbe ? u8(in) : 24 + 1032);
}

/* Monitors describe themselves. */
static void op_edid(Input *in)
{
    uint32_t head[6] = { GPU_CMD_GET_EDID }, words[2] = { u8(in) % FUZZ_HEADS }, answer[2];
    uint8_t edid[1024];
    const VPort *p = fd.drv.port;

    vport_w32(p, fd.g.resp, 0);
    fuzz_display_send(VGPU_CONTROL, head, words, 2, sizeof answer + 24 + sizeof edid);
    if (vport_r32(p, fd.g.resp) != GPU_OK_EDID) {
        return; /* behind a long command, or the driver has no queue */
    }
    p->read(p->opaque, fd.g.resp + 24, answer, sizeof answer);
    p->read(p->opaque, fd.g.resp + 32, edid, sizeof edid);
    fuzz_display_edid(edid, answer[0]);
}

/* ---- viewers ---- */

static void op_wish(Input *in)
{
    DisplayWish w = {
        .width = fuzz_word(in), .height = fuzz_word(in), .x = (int32_t)fuzz_word(in)
    };
    Display *d = display_nth(u8(in) % FUZZ_HEADS);

    w.width_mm = fuzz_word(in);
    w.height_mm = fuzz_word(in);
    w.refresh_mhz = fuzz_word(in);
    display_wish(d, &w);
}

static void op_view(Input *in)
{
    uint8_t how = u8(in);
    DisplayListener *l = &viewer[how % FUZZ_HEADS];
    Display *d = display_nth(how % FUZZ_HEADS);

    if (how & 0x80 && l->display) {
        display_unlisten(l);
    } else if (!l->display) {
        display_listen(d, l);
    }
    display_refresh(d);
    if (l->display) {
        look_at_all(l);
        look_at_pointer(l);
    }
}

/* ---- the VGA, configuration, resets ---- */

static void op_port(Input *in)
{
    static const uint16_t some[] = { 0x1ce, 0x1cf, 0x1d0, 0x3b4, 0x3b5, 0x3ba, 0x3c0, 0x3c1, 0x3c2,
        0x3c4, 0x3c5, 0x3c6, 0x3c7, 0x3c8, 0x3c9, 0x3cc, 0x3ce, 0x3cf, 0x3d4, 0x3d5, 0x3da };
    uint8_t how = u8(in);
    unsigned at = some[(how & 0x1f) % G_N_ELEMENTS(some)], size = how & 0x20 ? 2 : 1;

    if (how & 0x40) {
        fd.b->port.load(fd.b, true, at, size);
    } else {
        fd.b->port.store(fd.b, true, at, size, u16(in));
    }
}

/* An index and its value, by DISPI or the other registers in pairs. */
static void op_pair(Input *in)
{
    static const uint16_t some[] = { 0x1ce, 0x3c4, 0x3ce, 0x3d4 };
    unsigned at = some[u8(in) % G_N_ELEMENTS(some)];
    uint16_t index = u8(in), val = (uint16_t)u16(in);

    if (at == 0x1ce) {
        fd.b->port.store(fd.b, true, at, 2, index);
        fd.b->port.store(fd.b, true, at + 2, 2, val);
    } else {
        fd.b->port.store(fd.b, true, at, 2, index | (unsigned)val << 8);
    }
}

static void op_memory(Input *in)
{
    uint8_t how = u8(in);
    uint64_t off = u16(in);

    switch (how % 4) {
    case 0: /* the window */
        fd.b->port.store(fd.b, false, 0xa0000 + off * 2 % 0x20000, 1u << (how >> 2) % 4, u32(in));
        break;
    case 1:
        fd.b->port.load(fd.b, false, 0xa0000 + off * 2 % 0x20000, 1u << (how >> 2) % 4);
        break;
    case 2: /* the frame buffer */
        fd.b->port.store(fd.b, false, fd.drv.bar[0] + off * 128, 4, u32(in));
        break;
    default: /* the registers by memory, virtio's among them */
        fd.b->port.store(fd.b, false, fd.drv.bar[2] + off % 0x1000, 1u << (how >> 2) % 3, u16(in));
    }
}

static void op_life(Input *in)
{
    uint8_t how = u8(in);

    switch (how % 8) {
    case 0:
        vd_set_status(&fd.drv, 0);
        fuzz_idle();
        g_assert_cmpuint(fd.gpu->hostmem, ==, 0);
        fuzz_display_start();
        break;
    case 1:
        virtio_run_changed(&fd.gpu->vd, false);
        fuzz_turn();
        virtio_run_changed(&fd.gpu->vd, true);
        break;
    case 2:
        virtio_reset_queue(&fd.gpu->vd, how >> 3 & 1);
        fuzz_idle();
        vd_set_status(&fd.drv, 0);
        fuzz_idle();
        fuzz_display_start();
        break;
    case 3:
        vd_cfg_write(fd.drv.port, 0, FUZZ_SLOT << 3, 4, 2, how & 8 ? 3 : 7);
        break;
    case 4:
        fd.b->port.store(fd.b, false, fd.drv.device + (how >> 3) % 16, 1u << u8(in) % 3, u16(in));
        break;
    case 5:
        vport_w32(fd.drv.port, fd.g.pixels + u16(in) * 4, u32(in));
        break;
    default:
        fuzz_turn();
    }
}

void fuzz_one(Input *in)
{
    static void (*const op[])(Input *) = { op_command, op_command, op_command, op_command,
        op_command, op_command, op_edid, op_wish, op_view, op_port, op_pair, op_memory, op_life };

    fuzz_display_start();
    for (unsigned n = 0; in->left && n < MAX_OPS; n++) {
        op[u8(in) % G_N_ELEMENTS(op)](in);
        g_assert_cmpuint(fd.gpu->hostmem, <=, FUZZ_HOSTMEM);
    }
    for (unsigned i = 0; i < FUZZ_HEADS; i++) {
        display_unlisten(&viewer[i]);
    }
    fuzz_display_reset();
    for (unsigned i = 0; i < FUZZ_HEADS; i++) {
        g_assert_true(display_wish(display_nth(i), &(DisplayWish){ .width = 64, .height = 64 }));
    }
}
