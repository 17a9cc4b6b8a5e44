/*
 * The display of a hostile driver: virtio-vga, which is a GPU and a VGA. One input is one life of
 * a driver between two resets: commands on both queues (VIRTIO 1.4, 5.7.6), what viewers do
 * meanwhile - windows of any size, pictures that are read, resets in the middle of long commands -
 * and the VGA's registers. After each: memory is counted right, EDIDs have their sums.
 */
#include "hw/display/vga.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/vgpu.h"
#include "ui/surface.h"

#include <string.h>

extern const ObjClass virtio_vga_class, virtio_vga_base_class, virtio_gpu_base_class;
const ObjClass *const obj_classes[] = { &pci_device_class, &virtio_pci_class, &virtio_device_class,
    &virtio_gpu_class, &virtio_gpu_base_class, &virtio_vga_base_class, &virtio_vga_class, NULL };
const ObjAlias obj_aliases[] = { { NULL, NULL } };
const MachineClass *const machine_classes[] = { NULL };

enum { HEADS = 3, MAX_OPS = 64, MAX_WORDS = 64, HOSTMEM = 8 << 20, SLOT = 4 };

typedef struct FuzzGpu {
    Board *b;
    Dev *dev;
    VirtioGpu *gpu;
    VDriver drv;
    VGpu g;
    uint64_t first_page; /* of the driver's memory for rings */
    uint32_t bar[6];     /* as firmware sets them */
    DisplayListener viewer[HEADS];
    uint32_t sum; /* of all pixels that were looked at */
} FuzzGpu;
static FuzzGpu fg;
Fuzz fz;

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

        fg.sum += at[x] + at[x + width - 1];
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
        fg.sum += c->argb[c->width * c->height - 1];
    }
}

static const DisplayListenerOps viewer_ops = {
    .resized = look_at_all, .updated = look, .cursor = look_at_pointer
};

void fuzz_prepare(void)
{
    loop_main();
    fg.b = board_new(false);
    fg.dev = board_add(fg.b, "{'driver': 'virtio-vga', 'addr': '4', 'max_outputs': 3, 'blob': true,"
                             " 'max_hostmem': 8388608, 'romfile': ''}");
    fg.gpu = (VirtioGpu *)((VirtioPci *)fg.dev)->vd;
    vd_open(&fg.drv, &fg.b->port, 0, SLOT << 3, /* legacy= */ false);
    vgpu_open(&fg.g, &fg.drv);
    fg.first_page = fg.drv.alloc;
    for (unsigned i = 0; i < 6; i++) {
        fg.bar[i] = vd_cfg_read(fg.drv.port, 0, SLOT << 3, 0x10 + 4 * i, 4);
    }
    for (unsigned i = 0; i < HEADS; i++) {
        fg.viewer[i] = (DisplayListener){ .ops = &viewer_ops };
    }
}

/* ---- commands ---- */

static uint32_t word(Input *in)
{
    static const uint32_t some[] = { 0, 1, 2, 3, 4, 5, 6, 7, 16, 63, 64, 65, 67, 68, 121, 128, 134,
        255, 256, 640, 800, 1024, 4096, 16384, 16385, 65536, 1 << 20, 0x7fffffff, 0x80000000,
        0xfffff000, UINT32_MAX };
    uint8_t how = u8(in);

    switch (how) {
    case 255:
        return u32(in);
    case 254:
        return (uint32_t)fg.g.pixels + u16(in) * 16;
    case 253:
        return (uint32_t)(fg.drv.common + u8(in)); /* the device's own registers */
    default:
        return how < 128 ? some[how % G_N_ELEMENTS(some)] : how - 128u;
    }
}

/* As many words as the command has, or some more or fewer. */
static unsigned words_of(Input *in, uint32_t type, uint32_t *words)
{
    static const uint8_t of[] = { 0, 4, 2, 6, 6, 8, 6, 2, 2, 2, 2, 2, 12, 18 };
    unsigned i = type - GPU_CMD_GET_DISPLAY_INFO, more = u8(in);
    unsigned n = i < sizeof of ? of[i] : 8;

    n = more < 224 ? n : more % MAX_WORDS;
    for (unsigned k = 0; k < n; k++) {
        words[k] = word(in);
    }
    return n;
}

static void send(unsigned q, uint32_t head[6], const uint32_t *words, unsigned n, uint32_t room)
{
    const VPort *p = fg.drv.port;
    const VBuf b[2] = { { fg.g.req, 24 + 4 * n, false }, { fg.g.resp, room, true } };
    VRing *r = &fg.drv.ring[q];
    uint32_t id, len;

    p->write(p->opaque, fg.g.req, head, 24);
    p->write(p->opaque, fg.g.req + 24, words, 4 * (size_t)n);
    vring_add(r, b, room ? 2 : 1, 0);
    vd_kick(&fg.drv, q);
    fuzz_turn();
    while (vring_used(r, &id, &len)) {
        g_assert_cmpuint(len, <=, room);
    }
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
    send(q, head, words, n, how == 0xbe ? u8(in) : 24 + 1032);
}

/* Monitors describe themselves: blocks of 128 bytes whose sums are 0 (E-EDID A2, 3.11). */
static void op_edid(Input *in)
{
    uint32_t head[6] = { GPU_CMD_GET_EDID }, words[2] = { u8(in) % HEADS }, answer[2];
    uint8_t edid[1024], sum = 0;
    const VPort *p = fg.drv.port;

    vport_w32(p, fg.g.resp, 0);
    send(VGPU_CONTROL, head, words, 2, sizeof answer + 24 + sizeof edid);
    if (vport_r32(p, fg.g.resp) != GPU_OK_EDID) {
        return; /* behind a long command, or the driver has no queue */
    }
    p->read(p->opaque, fg.g.resp + 24, answer, sizeof answer);
    p->read(p->opaque, fg.g.resp + 32, edid, sizeof edid);
    g_assert_true(answer[0] && answer[0] <= 384 && answer[0] % 128 == 0);
    for (unsigned i = 0; i < answer[0]; i++) {
        sum = (uint8_t)(sum + edid[i]);
        g_assert_true(i % 128 != 127 || !sum);
    }
    g_assert_cmpuint(edid[126] + 1u, ==, answer[0] / 128);
}

/* ---- viewers ---- */

static void op_wish(Input *in)
{
    DisplayWish w = { .width = word(in), .height = word(in), .x = (int32_t)word(in) };
    Display *d = display_nth(u8(in) % HEADS);

    w.width_mm = word(in);
    w.height_mm = word(in);
    w.refresh_mhz = word(in);
    display_wish(d, &w);
}

static void op_view(Input *in)
{
    uint8_t how = u8(in);
    DisplayListener *l = &fg.viewer[how % HEADS];
    Display *d = display_nth(how % HEADS);

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
        fg.b->port.load(fg.b, true, at, size);
    } else {
        fg.b->port.store(fg.b, true, at, size, u16(in));
    }
}

/* An index and its value, by DISPI or the other registers in pairs. */
static void op_pair(Input *in)
{
    static const uint16_t some[] = { 0x1ce, 0x3c4, 0x3ce, 0x3d4 };
    unsigned at = some[u8(in) % G_N_ELEMENTS(some)];
    uint16_t index = u8(in), val = (uint16_t)u16(in);

    if (at == 0x1ce) {
        fg.b->port.store(fg.b, true, at, 2, index);
        fg.b->port.store(fg.b, true, at + 2, 2, val);
    } else {
        fg.b->port.store(fg.b, true, at, 2, index | (unsigned)val << 8);
    }
}

static void op_memory(Input *in)
{
    uint8_t how = u8(in);
    uint64_t off = u16(in);

    switch (how % 4) {
    case 0: /* the window */
        fg.b->port.store(fg.b, false, 0xa0000 + off * 2 % 0x20000, 1u << (how >> 2) % 4, u32(in));
        break;
    case 1:
        fg.b->port.load(fg.b, false, 0xa0000 + off * 2 % 0x20000, 1u << (how >> 2) % 4);
        break;
    case 2: /* the frame buffer */
        fg.b->port.store(fg.b, false, fg.drv.bar[0] + off * 128, 4, u32(in));
        break;
    default: /* the registers by memory, virtio's among them */
        fg.b->port.store(fg.b, false, fg.drv.bar[2] + off % 0x1000, 1u << (how >> 2) % 3, u16(in));
    }
}

/* Everything as it was in the beginning. */
static void reset_all(void)
{
    vd_set_status(&fg.drv, 0);
    fuzz_idle();
    pci_fn_reset(&fg.dev->obj);
    for (unsigned i = 0; i < 6; i++) {
        vd_cfg_write(fg.drv.port, 0, SLOT << 3, 0x10 + 4 * i, 4, fg.bar[i]);
    }
    vd_cfg_write(fg.drv.port, 0, SLOT << 3, 4, 2, 7);
}

static void start(void)
{
    fg.drv.alloc = fg.first_page;
    vd_start(&fg.drv, 0);
}

static void op_life(Input *in)
{
    uint8_t how = u8(in);

    switch (how % 8) {
    case 0:
        vd_set_status(&fg.drv, 0);
        fuzz_idle();
        g_assert_cmpuint(fg.gpu->hostmem, ==, 0);
        start();
        break;
    case 1:
        virtio_run_changed(&fg.gpu->vd, false);
        fuzz_turn();
        virtio_run_changed(&fg.gpu->vd, true);
        break;
    case 2:
        virtio_reset_queue(&fg.gpu->vd, how >> 3 & 1);
        fuzz_idle();
        vd_set_status(&fg.drv, 0);
        fuzz_idle();
        start();
        break;
    case 3:
        vd_cfg_write(fg.drv.port, 0, SLOT << 3, 4, 2, how & 8 ? 3 : 7);
        break;
    case 4:
        fg.b->port.store(fg.b, false, fg.drv.device + (how >> 3) % 16, 1u << u8(in) % 3, u16(in));
        break;
    case 5:
        vport_w32(fg.drv.port, fg.g.pixels + u16(in) * 4, u32(in));
        break;
    default:
        fuzz_turn();
    }
}

void fuzz_one(Input *in)
{
    static void (*const op[])(Input *) = { op_command, op_command, op_command, op_command,
        op_command, op_command, op_edid, op_wish, op_view, op_port, op_pair, op_memory, op_life };

    start();
    for (unsigned n = 0; in->left && n < MAX_OPS; n++) {
        op[u8(in) % G_N_ELEMENTS(op)](in);
        g_assert_cmpuint(fg.gpu->hostmem, <=, HOSTMEM);
    }
    for (unsigned i = 0; i < HEADS; i++) {
        display_unlisten(&fg.viewer[i]);
    }
    reset_all();
    g_assert_cmpuint(fg.gpu->hostmem, ==, 0);
    g_assert_cmpuint(g_hash_table_size(fg.gpu->resources), ==, 0);
    g_assert_null(fg.gpu->job.e);
    for (unsigned i = 0; i < HEADS; i++) {
        g_assert_true(display_wish(display_nth(i), &(DisplayWish){ .width = 64, .height = 64 }));
    }
}
