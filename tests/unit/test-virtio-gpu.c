/* hw/virtio/virtio-gpu*.c: resources, scanouts, flushes, pointers, blobs, limits (VIRTIO 1.4, 5.7).
 */
#include "hw/virtio/virtio-gpu.h"
#include "tests/lib/vgpu.h"
#include "tests/unit/vdev.h"
#include "ui/surface.h"

extern const ObjClass virtio_gpu_base_class, virtio_gpu_pci_base_class, virtio_gpu_pci_class;
VDEV_TYPES(&pci_device_class, &virtio_pci_class, &virtio_device_class, &virtio_gpu_class,
    &virtio_gpu_base_class, &virtio_gpu_pci_base_class, &virtio_gpu_pci_class);

typedef struct Fix {
    VDev v;
    VGpu g;
    DisplayListener l;
    unsigned resized, updated, cursors;
    int x, y, w, h;
} Fix;

static void on_resized(DisplayListener *l)
{
    ((Fix *)l->opaque)->resized++;
}

static void on_updated(DisplayListener *l, int x, int y, int w, int h)
{
    Fix *f = l->opaque;

    f->updated++;
    f->x = x;
    f->y = y;
    f->w = w;
    f->h = h;
}

static void on_cursor(DisplayListener *l)
{
    ((Fix *)l->opaque)->cursors++;
}

static const DisplayListenerOps listener_ops = {
    .resized = on_resized, .updated = on_updated, .cursor = on_cursor
};

static void up_with(Fix *x, const char *options)
{
    g_autofree char *json =
        g_strdup_printf("{'driver': 'virtio-gpu-pci', 'id': 'g', 'addr': '4'%s}", options);

    vdev_open(&x->v, json, false);
    vgpu_open(&x->g, &x->v.d);
    x->l = (DisplayListener){ .ops = &listener_ops, .opaque = x };
    vd_start(&x->v.d, 0);
    display_listen(display_nth(0), &x->l);
}

static void up(Fix *x, const void *unused)
{
    up_with(x, ", 'max_outputs': 2, 'blob': true");
}

static void down(Fix *x, const void *unused)
{
    display_unlisten(&x->l);
    vdev_close(&x->v);
    g_assert_null(display_nth(0));
}

static uint32_t transfer(
    Fix *x, uint32_t id, uint32_t px, uint32_t py, uint32_t w, uint32_t h, uint32_t offset)
{
    return VGPU_SEND(&x->g, GPU_CMD_TRANSFER_TO_HOST_2D, px, py, w, h, offset, 0, id, 0);
}

static void draw(Fix *x, uint32_t at, uint32_t v)
{
    vport_w32(x->v.d.port, x->g.pixels + 4 * at, v);
}

static uint32_t pixel(Display *d, unsigned x, unsigned y)
{
    uint32_t v;

    memcpy(&v, surface_row(display_surface(d), y) + 4 * (size_t)x, 4);
    return v & 0xffffff;
}

static void test_monitors(Fix *x, const void *unused)
{
    g_assert_cmpuint(vdev_cfg(&x->v, 8, 4), ==, 2);
    g_assert_cmpuint(vdev_cfg(&x->v, 12, 4), ==, 0);
    g_assert_cmphex(
        vgpu_send(&x->g, VGPU_CONTROL, GPU_CMD_GET_DISPLAY_INFO, NULL, 0), ==, GPU_OK_DISPLAY_INFO);
    g_assert_cmpuint(x->g.len, ==, 24 + 16 * 24);
    g_assert_cmpuint(x->g.answer[8], ==, 1280);
    g_assert_cmpuint(x->g.answer[9], ==, 800);
    g_assert_cmpuint(x->g.answer[10], ==, 1);
    g_assert_cmpuint(x->g.answer[16], ==, 0); /* the second one is off */
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_GET_EDID, 0, 0), ==, GPU_OK_EDID);
    g_assert_cmpuint(x->g.answer[6], ==, 256);
    g_assert_cmphex(x->g.answer[8], ==, 0xffffff00);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_GET_EDID, 2, 0), ==, GPU_ERR_INVALID_PARAMETER);
}

/* A viewer's window changes: event, configuration interrupt, new answers. */
static void test_a_wish_is_an_event(Fix *x, const void *unused)
{
    DisplayWish w = { .width = 1024, .height = 768, .x = 1280 };

    g_assert_true(display_wish(display_nth(1), &w));
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 4), ==, 1);
    g_assert_cmphex(vd_isr(&x->v.d) & 2, ==, 2);
    vgpu_send(&x->g, VGPU_CONTROL, GPU_CMD_GET_DISPLAY_INFO, NULL, 0);
    g_assert_cmpuint(x->g.answer[12], ==, 1280);
    g_assert_cmpuint(x->g.answer[14], ==, 1024);
    g_assert_cmpuint(x->g.answer[16], ==, 1);
    VGPU_SEND(&x->g, GPU_CMD_GET_EDID, 1, 0);
    g_assert_cmpuint(((const uint8_t *)(x->g.answer + 8))[56], ==, 1024 & 0xff);
    vdev_cfg_write(&x->v, 0, 4, 0); /* not the driver's to write */
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 4), ==, 1);
    vdev_cfg_write(&x->v, 4, 4, 1);
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 4), ==, 0);
    g_assert_true(display_wish(display_nth(1), &(DisplayWish){ 0 }));
    vgpu_send(&x->g, VGPU_CONTROL, GPU_CMD_GET_DISPLAY_INFO, NULL, 0);
    g_assert_cmpuint(x->g.answer[16], ==, 0);
}

static void test_pixels_arrive(Fix *x, const void *unused)
{
    Display *d = display_nth(0);

    vgpu_resource(&x->g, 5, VGPU_BGRX, 32, 16);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 32, 16, 0, 5);
    g_assert_cmpuint(x->resized, ==, 1);
    g_assert_cmpuint(surface_width(display_surface(d)), ==, 32);
    draw(x, 0, 0x112233);
    draw(x, 32 * 16 - 1, 0x445566);
    g_assert_cmphex(transfer(x, 5, 0, 0, 32, 16, 0), ==, GPU_OK_NODATA);
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_FLUSH, 0, 0, 32, 16, 5, 0);
    g_assert_cmphex(pixel(d, 0, 0), ==, 0x112233);
    g_assert_cmphex(pixel(d, 31, 15), ==, 0x445566);
    g_assert_cmpint(x->w, ==, 32);
    /* A part, from its own place in the memory; the rest stays. */
    draw(x, 0, 0xffffff);
    draw(x, 32 * 3 + 4, 0xabcdef);
    g_assert_cmphex(transfer(x, 5, 4, 3, 2, 2, 4 * (32 * 3 + 4)), ==, GPU_OK_NODATA);
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_FLUSH, 4, 3, 2, 2, 5, 0);
    g_assert_cmphex(pixel(d, 4, 3), ==, 0xabcdef);
    g_assert_cmphex(pixel(d, 0, 0), ==, 0x112233);
    g_assert_cmpint(x->x, ==, 4);
    g_assert_cmpint(x->h, ==, 2);
}

/* One picture on two heads, a part of it on each, in a format that is not the display's. */
static void test_parts_and_formats(Fix *x, const void *unused)
{
    vgpu_resource(&x->g, 1, VGPU_RGBX, 64, 16);
    draw(x, 0, 0x332211);
    draw(x, 32, 0x665544);
    g_assert_cmphex(transfer(x, 1, 0, 0, 64, 16, 0), ==, GPU_OK_NODATA);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 32, 16, 0, 1);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 32, 0, 32, 16, 1, 1);
    g_assert_cmphex(pixel(display_nth(0), 0, 0), ==, 0x112233);
    g_assert_cmphex(pixel(display_nth(1), 0, 0), ==, 0x445566);
    draw(x, 31, 0x030201);
    transfer(x, 1, 0, 0, 64, 16, 0);
    g_assert_cmphex(pixel(display_nth(0), 31, 0), ==, 0); /* not flushed */
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_FLUSH, 30, 0, 4, 1, 1, 0);
    g_assert_cmphex(pixel(display_nth(0), 31, 0), ==, 0x010203);
    g_assert_cmpint(x->x, ==, 30);
    g_assert_cmpint(x->w, ==, 2); /* what lies on this head */
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 0, 0, 1, 0);
    g_assert_false(display_active(display_nth(1)));
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_UNREF, 1, 0);
    g_assert_false(display_active(display_nth(0)));
}

static void test_backing_in_pieces(Fix *x, const void *unused)
{
    uint32_t base = (uint32_t)x->g.pixels;

    VGPU_OK(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 9, VGPU_BGRX, 16, 16);
    g_assert_cmphex(transfer(x, 9, 0, 0, 16, 16, 0), ==, GPU_ERR_UNSPEC); /* nothing attached */
    /* 1024 bytes: 10, none, 6, 1008; the second half of a pixel lies elsewhere. */
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_ATTACH_BACKING, 9, 4, base + 0x1000, 0, 10, 0, base, 0, 0, 0,
        base + 0x2000, 0, 6, 0, base + 0x3000, 0, 1008, 0);
    vport_w16(x->v.d.port, x->g.pixels + 0x1008, 0xbbaa);
    vport_w16(x->v.d.port, x->g.pixels + 0x2000, 0x00cc);
    vport_w32(x->v.d.port, x->g.pixels + 0x3000 + 1004, 0x778899);
    g_assert_cmphex(transfer(x, 9, 0, 0, 16, 16, 0), ==, GPU_OK_NODATA);
    VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 16, 16, 0, 9);
    g_assert_cmphex(pixel(display_nth(0), 2, 0), ==, 0xccbbaa);
    g_assert_cmphex(pixel(display_nth(0), 15, 15), ==, 0x778899);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_ATTACH_BACKING, 9, 0), ==,
        GPU_ERR_UNSPEC); /* once only */
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_DETACH_BACKING, 9, 0);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_DETACH_BACKING, 9, 0), ==, GPU_ERR_UNSPEC);
    /* Memory that is none of the guest's. */
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_ATTACH_BACKING, 9, 1, 0, 0x80000000, 4096, 0);
    g_assert_cmphex(transfer(x, 9, 0, 0, 16, 16, 0), ==, GPU_ERR_UNSPEC);
    g_assert_cmphex(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET, ==, 0);
}

/* Memory that is the device's own registers, or an interrupt's address, is none: nothing is read
 * there (a device that re-enters itself). */
static void test_backing_in_registers(Fix *x, const void *unused)
{
    const uint64_t at[] = { x->v.d.common, x->v.d.notify, x->v.d.bar[1], 0xfee00000 };

    for (unsigned i = 0; i < G_N_ELEMENTS(at); i++) {
        const uint32_t id = 10 + i;

        VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, id, VGPU_BGRX, 16, 16);
        VGPU_OK(&x->g, GPU_CMD_RESOURCE_ATTACH_BACKING, id, 1, (uint32_t)at[i],
            (uint32_t)(at[i] >> 32), 1024, 0);
        g_assert_cmphex(transfer(x, id, 0, 0, 16, 16, 0), ==, GPU_ERR_UNSPEC);
    }
    g_assert_cmphex(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET, ==, 0);
}

static void test_mistakes_are_answered(Fix *x, const void *unused)
{
    const uint32_t bad = GPU_ERR_INVALID_PARAMETER, id = GPU_ERR_INVALID_RESOURCE_ID;

    vgpu_resource(&x->g, 1, VGPU_BGRX, 16, 16);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 1, VGPU_BGRX, 1, 1), ==, id);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 0, VGPU_BGRX, 1, 1), ==, id);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 2, 5, 1, 1), ==, bad);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 2, VGPU_BGRX, 0, 1), ==, bad);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 2, VGPU_BGRX, 16385, 1), ==, bad);
    g_assert_cmphex(
        VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 2, VGPU_BGRX, 1), ==, bad); /* too short */
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 2, VGPU_BGRX, 16384, 16384), ==,
        GPU_ERR_OUT_OF_MEMORY);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_UNREF, 2, 0), ==, id);
    g_assert_cmphex(
        VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 16, 16, 2, 1), ==, GPU_ERR_INVALID_SCANOUT_ID);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 17, 16, 0, 1), ==, bad);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT, UINT32_MAX, 0, 17, 16, 0, 1), ==, bad);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 16, 16, 0, 7), ==, id);
    g_assert_cmphex(transfer(x, 1, 0, 1, 16, 16, 0), ==, bad);
    g_assert_cmphex(transfer(x, 1, 0, 0, 16, 16, 4), ==, bad); /* beyond the backing */
    g_assert_cmphex(transfer(x, 1, 0, 0, 16, 16, UINT32_MAX), ==, bad);
    g_assert_cmphex(transfer(x, 1, 16, 16, 0, 0, 0), ==, GPU_OK_NODATA);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_FLUSH, 1, 0, 16, 16, 1, 0), ==, bad);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_FLUSH, 0, 0, 16, 16, 3, 0), ==, id);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_ATTACH_BACKING, 3, 16385), ==,
        GPU_ERR_INVALID_RESOURCE_ID);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_GET_CAPSET_INFO, 0, 0), ==, GPU_ERR_UNSPEC);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_ASSIGN_UUID, 1, 0), ==, GPU_ERR_UNSPEC);
    g_assert_cmphex(VGPU_SEND(&x->g, 0xdead, 0), ==, GPU_ERR_UNSPEC);
    g_assert_cmphex(
        vgpu_send(&x->g, VGPU_CURSOR, GPU_CMD_GET_DISPLAY_INFO, NULL, 0), ==, GPU_ERR_UNSPEC);
    g_assert_cmphex(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET, ==, 0);
}

static void test_fences(Fix *x, const void *unused)
{
    uint32_t head[6] = { GPU_CMD_GET_DISPLAY_INFO, 1, 0x11111111, 0x22222222, 33 };
    VBuf b[2] = { { x->g.req, 24, false }, { x->g.resp, 100, true } };

    vdev_put(&x->v, x->g.req, head, sizeof head);
    g_assert_cmpuint(vdev_do(&x->v, VGPU_CONTROL, b, 2, 0), ==, 100); /* what there is room for */
    vdev_get(&x->v, x->g.resp, x->g.answer, 24);
    g_assert_cmphex(x->g.answer[1], ==, 1);
    g_assert_cmphex(x->g.answer[2], ==, 0x11111111);
    g_assert_cmphex(x->g.answer[3], ==, 0x22222222);
    g_assert_cmpuint(x->g.answer[4], ==, 33);
    head[1] = 0;
    vdev_put(&x->v, x->g.req, head, sizeof head);
    vdev_do(&x->v, VGPU_CONTROL, b, 2, 0);
    vdev_get(&x->v, x->g.resp, x->g.answer, 24);
    g_assert_cmphex(x->g.answer[1] | x->g.answer[2] | x->g.answer[3] | x->g.answer[4], ==, 0);
    /* No room for a header; no header. */
    b[1].len = 23;
    g_assert_cmpuint(vdev_do(&x->v, VGPU_CONTROL, b, 2, 0), ==, 0);
    b[0].len = 23;
    b[1].len = 24;
    g_assert_cmpuint(vdev_do(&x->v, VGPU_CONTROL, b, 2, 0), ==, 24);
    vdev_get(&x->v, x->g.resp, x->g.answer, 4);
    g_assert_cmphex(x->g.answer[0], ==, GPU_ERR_INVALID_PARAMETER);
}

static uint32_t cursor_cmd(Fix *x, uint32_t type, uint32_t head, uint32_t px, uint32_t id)
{
    const uint32_t words[] = { head, px, 20, 0, id, 3, 4, 0 };

    return vgpu_send(&x->g, VGPU_CURSOR, type, words, G_N_ELEMENTS(words));
}

static void test_pointer(Fix *x, const void *unused)
{
    Display *d = display_nth(0);
    int px, py;

    vgpu_resource(&x->g, 2, VGPU_BGRA, 64, 64);
    draw(x, 65, 0x80ff0000);
    transfer(x, 2, 0, 0, 64, 64, 0);
    g_assert_cmphex(cursor_cmd(x, GPU_CMD_UPDATE_CURSOR, 0, 10, 2), ==, GPU_OK_NODATA);
    g_assert_cmpuint(x->cursors, ==, 1);
    g_assert_cmphex(display_cursor(d)->argb[65], ==, 0x80ff0000);
    g_assert_cmpuint(display_cursor(d)->hot_x, ==, 3);
    g_assert_cmpuint(display_cursor(d)->hot_y, ==, 4);
    g_assert_true(display_cursor_at(d, &px, &py));
    g_assert_cmpint(px, ==, 10);
    g_assert_cmpint(py, ==, 20);
    g_assert_cmphex(cursor_cmd(x, GPU_CMD_MOVE_CURSOR, 0, (uint32_t)-7, 99), ==, GPU_OK_NODATA);
    g_assert_true(display_cursor_at(d, &px, &py));
    g_assert_cmpint(px, ==, -7);
    g_assert_cmpuint(x->cursors, ==, 1);
    g_assert_cmphex(cursor_cmd(x, GPU_CMD_UPDATE_CURSOR, 2, 0, 2), ==, GPU_ERR_INVALID_SCANOUT_ID);
    g_assert_cmphex(cursor_cmd(x, GPU_CMD_UPDATE_CURSOR, 0, 0, 9), ==, GPU_ERR_INVALID_RESOURCE_ID);
    VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 3, VGPU_BGRA, 32, 32);
    g_assert_cmphex(cursor_cmd(x, GPU_CMD_UPDATE_CURSOR, 0, 0, 3), ==, GPU_ERR_INVALID_PARAMETER);
    /* The shape stays when its resource goes; 0 takes it away. */
    VGPU_SEND(&x->g, GPU_CMD_RESOURCE_UNREF, 2, 0);
    g_assert_nonnull(display_cursor(d));
    g_assert_cmphex(cursor_cmd(x, GPU_CMD_UPDATE_CURSOR, 0, 0, 0), ==, GPU_OK_NODATA);
    g_assert_null(display_cursor(d));
    g_assert_false(display_cursor_at(d, &px, &py));
}

/* Linux names the pixels of its pointers VGPU_BGRX, and means VGPU_BGRA. */
static void test_pointer_has_alpha(Fix *x, const void *unused)
{
    static const struct {
        uint32_t format, pixel;
    } of[] = { { VGPU_BGRX, 0x80112233 }, { VGPU_BGRA, 0x80112233 }, { VGPU_RGBX, 0x80332211 },
        { 3, 0x33221180 }, { 4, 0x33221180 }, { 68, 0x11223380 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(of); i++) {
        vgpu_resource(&x->g, 20 + i, of[i].format, 64, 64);
        draw(x, 65, of[i].pixel);
        draw(x, 66, 0);
        transfer(x, 20 + i, 0, 0, 64, 64, 0);
        g_assert_cmphex(cursor_cmd(x, GPU_CMD_UPDATE_CURSOR, 0, 10, 20 + i), ==, GPU_OK_NODATA);
        g_assert_cmphex(display_cursor(display_nth(0))->argb[65], ==, 0x80112233);
        g_assert_cmphex(display_cursor(display_nth(0))->argb[66], ==, 0);
    }
}

static void test_blobs(Fix *x, const void *unused)
{
    Display *d = display_nth(0);
    uint32_t base = (uint32_t)x->g.pixels;

    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_BLOB, 4, 2, 0, 0, 0, 0, 4096, 0), ==,
        GPU_ERR_INVALID_PARAMETER); /* host memory: 3D */
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_CREATE_BLOB, 4, 1, 0, 2, 0, 0, 8192, 0, base, 0, 4096, 0,
        base + 4096, 0, 4096, 0);
    draw(x, 100 + 7, 0x123456);
    draw(x, 100 + 70 + 7, 0x654321);
    /* 64x16 at byte 400 with rows of 280 bytes; columns 7 to 15 are shown. */
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT_BLOB, 7, 0, 9, 16, 0, 4, 64, 16, VGPU_BGRX, 0, 280, 0, 0, 0,
        400, 0, 0, 0);
    g_assert_cmpuint(surface_width(display_surface(d)), ==, 9);
    g_assert_cmphex(pixel(d, 0, 0), ==, 0); /* not flushed yet */
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_FLUSH, 0, 0, 64, 16, 4, 0);
    g_assert_cmphex(pixel(d, 0, 0), ==, 0x123456);
    g_assert_cmphex(pixel(d, 0, 1), ==, 0x654321);
    g_assert_cmpint(x->w, ==, 9);
    g_assert_cmphex(transfer(x, 4, 0, 0, 1, 1, 0), ==, GPU_ERR_UNSPEC);
    g_assert_cmphex(
        VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 1, 1, 0, 4), ==, GPU_ERR_INVALID_PARAMETER);
    /* One byte too long; lines that overlap. */
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT_BLOB, 0, 0, 64, 16, 0, 4, 64, 16,
                        VGPU_BGRX, 0, 512, 0, 0, 0, 257, 0, 0, 0),
        ==, GPU_ERR_INVALID_PARAMETER);
    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT_BLOB, 0, 0, 64, 16, 0, 4, 64, 16,
                        VGPU_BGRX, 0, 255, 0, 0, 0, 0, 0, 0, 0),
        ==, GPU_ERR_INVALID_PARAMETER);
    /* Without memory the last picture stays. */
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_DETACH_BACKING, 4, 0);
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_FLUSH, 0, 0, 64, 16, 4, 0);
    g_assert_cmphex(pixel(d, 0, 0), ==, 0x123456);
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_UNREF, 4, 0);
    g_assert_false(display_active(d));
}

static void test_memory_is_bounded(void)
{
    Fix x = { 0 };
    unsigned n = 0;

    up_with(&x, ", 'max_hostmem': 1048576");
    while (VGPU_SEND(&x.g, GPU_CMD_RESOURCE_CREATE_2D, n + 1, VGPU_BGRX, 1, 1) == GPU_OK_NODATA) {
        n++;
    }
    g_assert_cmphex(x.g.answer[0], ==, GPU_ERR_OUT_OF_MEMORY);
    g_assert_cmpuint(n, ==, 1048576 / (GPU_RES_OVERHEAD + 4));
    /* What goes makes room again, to the byte. */
    VGPU_SEND(&x.g, GPU_CMD_RESOURCE_UNREF, 1, 0);
    VGPU_OK(&x.g, GPU_CMD_RESOURCE_CREATE_2D, 1, VGPU_BGRX, 1, 1);
    for (unsigned i = 1; i <= n; i++) {
        VGPU_SEND(&x.g, GPU_CMD_RESOURCE_UNREF, i, 0);
    }
    g_assert_cmpuint(((VirtioGpu *)((VirtioPci *)x.v.dev)->vd)->hostmem, ==, 0);
    /* A picture of another format costs its copy as well. */
    VGPU_OK(&x.g, GPU_CMD_RESOURCE_CREATE_2D, 1, VGPU_RGBX, 512, 400);
    g_assert_cmphex(
        VGPU_SEND(&x.g, GPU_CMD_SET_SCANOUT, 0, 0, 512, 400, 0, 1), ==, GPU_ERR_OUT_OF_MEMORY);
    VGPU_OK(&x.g, GPU_CMD_SET_SCANOUT, 0, 0, 64, 64, 0, 1);
    down(&x, NULL);
}

static void test_reset_forgets_all(Fix *x, const void *unused)
{
    VirtioGpu *s = (VirtioGpu *)((VirtioPci *)x->v.dev)->vd;

    vgpu_resource(&x->g, 1, VGPU_RGBX, 64, 64);
    VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, 64, 64, 0, 1);
    cursor_cmd(x, GPU_CMD_UPDATE_CURSOR, 0, 1, 1);
    g_assert_nonnull(display_cursor(display_nth(0)));
    vd_set_status(&x->v.d, 0);
    g_assert_false(display_active(display_nth(0)));
    g_assert_null(display_cursor(display_nth(0)));
    g_assert_cmpuint(s->hostmem, ==, 0);
    g_assert_cmpuint(g_hash_table_size(s->resources), ==, 0);
}

/* As many pieces as one resource may have, and one more; they count as the pixels do. */
static void test_pieces_are_bounded(void)
{
    enum { MAX = GPU_ENTRIES_MAX, ROOM = 24 + 8 + 16 * (MAX + 1) };
    Fix x = { 0 };
    uint32_t head[8] = { GPU_CMD_RESOURCE_ATTACH_BACKING, [6] = 1, MAX + 1 };

    up_with(&x, ", 'max_hostmem': 394000");
    const VirtioGpu *s = (const VirtioGpu *)((VirtioPci *)x.v.dev)->vd;
    uint64_t at = vd_page(&x.v.d, ROOM);
    const VBuf b[2] = { { at, ROOM, false }, { x.g.resp, 24, true } };

    VGPU_SEND(&x.g, GPU_CMD_RESOURCE_CREATE_2D, 1, VGPU_BGRX, 16, 16);
    uint64_t before = s->hostmem;

    for (unsigned n = MAX + 1; n >= MAX / 2; n = n > MAX ? MAX : n / 2) {
        head[7] = n;
        vdev_put(&x.v, at, head, sizeof head);
        vdev_do(&x.v, VGPU_CONTROL, b, 2, 0);
        /* 16384 pieces take 384 KiB here, which is more than there is left; 8192 fit. */
        g_assert_cmphex(vport_r32(x.v.d.port, x.g.resp), ==,
            n > MAX    ? GPU_ERR_UNSPEC
            : n == MAX ? GPU_ERR_OUT_OF_MEMORY
                       : GPU_OK_NODATA);
    }
    g_assert_cmpuint(s->hostmem, ==, before + MAX / 2 * sizeof(GpuPiece));
    VGPU_SEND(&x.g, GPU_CMD_RESOURCE_DETACH_BACKING, 1, 0);
    g_assert_cmpuint(s->hostmem, ==, before);
    down(&x, NULL);
}

/* ---- commands that take several turns of the loop ---- */

enum { BIG_W = 4096, BIG_H = 2048, MIB = 1 << 20, SLICES = 10 /* a turn, at most */ };

/* 32 MiB, shown on the first head. */
static void big_resource(Fix *x, uint32_t format)
{
    vgpu_resource(&x->g, 5, format, BIG_W, BIG_H);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, BIG_W, BIG_H, 0, 5);
}

static void put_answered(Fix *x, unsigned off, uint32_t type, const uint32_t *words, unsigned n)
{
    vport_w32(x->v.d.port, x->g.resp + off, 0);
    vgpu_put(&x->g, off, 0, type, words, n);
}

/* Two commands, one behind the other; not waited for. */
static void begin_big(Fix *x)
{
    static const uint32_t transfer[] = { 0, 0, BIG_W, BIG_H, 0, 0, 5, 0 };
    static const uint32_t flush[] = { 0, 0, BIG_W, BIG_H, 5, 0 };

    put_answered(x, 0, GPU_CMD_TRANSFER_TO_HOST_2D, transfer, G_N_ELEMENTS(transfer));
    put_answered(x, 64, GPU_CMD_RESOURCE_FLUSH, flush, G_N_ELEMENTS(flush));
    vd_kick(&x->v.d, VGPU_CONTROL);
    loop_turn(loop_main(), false);
}

static uint32_t answer_at(Fix *x, uint64_t off)
{
    return (uint32_t)vport_r32(x->v.d.port, x->g.resp + off);
}

/* No turn of the loop copies more than a few slices; what comes behind waits. */
static void test_much_is_done_in_turns(Fix *x, const void *unused)
{
    uint32_t id, len;
    unsigned turns = 1, flushed;

    big_resource(x, VGPU_RGBX);
    draw(x, MIB / 4 - 1, 0x332211);
    begin_big(x);
    while (!vring_used(&x->v.d.ring[VGPU_CONTROL], &id, &len)) {
        g_assert_cmphex(pixel(display_nth(0), BIG_W - 1, BIG_H - 1), ==, 0);
        loop_turn(loop_main(), false);
        turns++;
    }
    g_assert_cmpuint(turns, >=, 32 * MIB / GPU_SLICE / SLICES);
    g_assert_cmphex(answer_at(x, 0), ==, GPU_OK_NODATA);
    flushed = x->updated;
    vd_wait_used(&x->v.d, VGPU_CONTROL, &id, &len);
    g_assert_cmphex(answer_at(x, 64), ==, GPU_OK_NODATA);
    g_assert_cmpuint(x->updated - flushed, >=, 32 * MIB / GPU_SLICE);
    g_assert_cmphex(pixel(display_nth(0), BIG_W - 1, BIG_H - 1), ==, 0x112233);
    g_assert_cmpint(x->y + x->h, ==, BIG_H);
}

/* All memory of the device goes in as many turns as this work takes, less the slice of the reset;
 * no turn gives up more than most bytes that count. */
static void expect_slices(const VirtioGpu *s, uint64_t work, uint64_t most)
{
    unsigned turns = 0;

    for (uint64_t before = s->hostmem; before; before = s->hostmem, turns++) {
        loop_turn(loop_main(), false);
        g_assert_cmpuint(before - s->hostmem, <=, most);
    }
    g_assert_false(s->leaving || s->old);
    g_assert_cmpuint(turns, >=, work / GPU_SLICE / SLICES);
}

/* Rows that the host has back already of the picture that is leaving. */
static uint32_t rows_gone(const VirtioGpu *s)
{
    return s->leaving ? s->leaving->gone : BIG_H;
}

/* 32 MiB that go with a command, a reset, or a reset while they go: each time in slices, and what
 * comes next waits for its memory. */
static void test_much_goes_in_slices(void)
{
    static const uint32_t id[] = { 5, 0 }, again[] = { 6, VGPU_BGRX, BIG_W, BIG_H };
    Fix f = { 0 }, *x = &f;
    uint32_t used, len;

    up_with(x, ", 'max_hostmem': 50331648");
    const VirtioGpu *s = (const VirtioGpu *)((VirtioPci *)x->v.dev)->vd;

    for (unsigned how = 0; how < 3; how++) {
        unsigned turns = 0, gone = 0;

        big_resource(x, VGPU_BGRX);
        g_assert_cmphex(transfer(x, 5, 0, 0, BIG_W, BIG_H, 0), ==, GPU_OK_NODATA);
        if (how != 1) {
            put_answered(x, 0, GPU_CMD_RESOURCE_UNREF, id, 2);
            put_answered(x, 64, GPU_CMD_RESOURCE_CREATE_2D, again, 4);
            vd_kick(&x->v.d, VGPU_CONTROL);
            loop_turn(loop_main(), false);
        }
        if (how) {
            vd_set_status(&x->v.d, 0);
            g_assert_cmpuint(rows_gone(s), <, BIG_H);
            vd_start(&x->v.d, 0);
            put_answered(x, 64, GPU_CMD_RESOURCE_CREATE_2D, again, 4);
            vd_kick(&x->v.d, VGPU_CONTROL);
        }
        g_assert_false(display_active(display_nth(0)));
        for (; !answer_at(x, 64); turns++) {
            g_assert_cmpuint(rows_gone(s) - gone, <=, SLICES * GPU_SLICE / (BIG_W * 4) + SLICES);
            gone = rows_gone(s);
            loop_turn(loop_main(), false);
        }
        g_assert_cmpuint(turns, >=, 32 * MIB / GPU_SLICE / SLICES - (how == 2) - 1);
        g_assert_cmphex(answer_at(x, 64), ==, GPU_OK_NODATA);
        while (vring_used(&x->v.d.ring[VGPU_CONTROL], &used, &len)) {
        }
        VGPU_OK(&x->g, GPU_CMD_RESOURCE_UNREF, 6, 0);
        board_run(x->v.b);
        g_assert_cmpuint(s->hostmem, ==, 0);
    }
    down(x, NULL);
}

/* Many small ones take their turns, too, and their number has a limit. */
static void test_many_go_in_slices(void)
{
    Fix x = { 0 };
    unsigned n = 0;

    up_with(&x, "");
    const VirtioGpu *s = (const VirtioGpu *)((VirtioPci *)x.v.dev)->vd;

    while (VGPU_SEND(&x.g, GPU_CMD_RESOURCE_CREATE_2D, n + 1, VGPU_BGRX, 1, 1) == GPU_OK_NODATA) {
        n++;
    }
    g_assert_cmphex(x.g.answer[0], ==, GPU_ERR_OUT_OF_MEMORY);
    g_assert_cmpuint(n, ==, GPU_RES_MAX);
    vd_set_status(&x.v.d, 0);
    g_assert_cmpuint(s->hostmem, >, 0);
    expect_slices(s, (uint64_t)n * GPU_RES_WORK,
        (uint64_t)SLICES * GPU_SLICE / GPU_RES_WORK * (GPU_RES_OVERHEAD + 4));
    down(&x, NULL);
}

/* Heads with pixels of their own: those of the size before are kept, others leave in slices; where
 * there is room for one of both only, the new ones wait for it. */
static void test_pixels_of_heads_leave(void)
{
    Fix f = { 0 }, *x = &f;
    uint64_t picture = (uint64_t)BIG_W * BIG_H * 4;

    up_with(x, ", 'max_hostmem': 83886080"); /* 80 MiB: twice the picture, and half of it */
    const VirtioGpu *s = (const VirtioGpu *)((VirtioPci *)x->v.dev)->vd;
    const GpuHead *h = &s->head[0];

    big_resource(x, VGPU_RGBX);
    VGPU_OK(&x->g, GPU_CMD_RESOURCE_CREATE_2D, 6, VGPU_RGBX, BIG_W, 64);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, BIG_W, 64, 0, 6);
    g_assert_cmpuint(s->hostmem, <=, picture + 4 * MIB);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, BIG_W, BIG_H - 1, 0, 5);
    const pixman_image_t *shown = h->shown;

    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 1, BIG_W, BIG_H - 1, 0, 5); /* the size before */
    g_assert_true(h->shown == shown);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, BIG_W, BIG_H, 0, 5); /* waits */
    g_assert_cmpuint(surface_height(h->shown), ==, BIG_H);
    g_assert_cmpuint(s->hostmem, <=, s->max_hostmem);
    vd_set_status(&x->v.d, 0);
    g_assert_cmpuint(s->hostmem, >, picture);
    expect_slices(s, 2 * picture, picture + 2 * MIB);
    down(x, NULL);
}

/* A reset of the device or of its queue in the middle drops the rest; the VM may stand meanwhile.
 */
static void test_turns_end_with_a_reset(Fix *x, const void *unused)
{
    VirtioGpu *s = (VirtioGpu *)((VirtioPci *)x->v.dev)->vd;
    uint32_t id, len;

    big_resource(x, VGPU_BGRX);
    draw(x, MIB / 4 - 1, 0x112233);
    begin_big(x);
    g_assert_nonnull(s->job.e);
    vd_write(&x->v.d, 22, 2, VGPU_CONTROL);
    vd_write(&x->v.d, 58, 2, 1); /* queue_reset */
    board_run(x->v.b);
    g_assert_null(s->job.e);
    g_assert_cmpuint(vd_read(&x->v.d, 58, 2), ==, 0);
    g_assert_cmphex(answer_at(x, 0), ==, 0);
    g_assert_cmphex(pixel(display_nth(0), BIG_W - 1, BIG_H - 1), ==, 0);
    vd_setup_queue(&x->v.d, VGPU_CONTROL, 0);
    begin_big(x);
    g_assert_nonnull(s->job.e);
    virtio_run_changed(&s->vd, false); /* the VM stands */
    board_run(x->v.b);
    g_assert_null(s->job.e);
    virtio_run_changed(&s->vd, true);
    vd_wait_used(&x->v.d, VGPU_CONTROL, &id, &len); /* begun anew */
    vd_wait_used(&x->v.d, VGPU_CONTROL, &id, &len);
    g_assert_cmphex(pixel(display_nth(0), BIG_W - 1, BIG_H - 1), ==, 0x112233);
    begin_big(x);
    g_assert_nonnull(s->job.e);
    vd_set_status(&x->v.d, 0);
    board_run(x->v.b);
    g_assert_null(s->job.e);
    g_assert_cmphex(answer_at(x, 0), ==, 0);
    g_assert_cmpuint(s->hostmem, ==, 0);
}

/* Whatever words a driver sends: answers, and nothing left behind. */
static void test_random_commands(Fix *x, const void *unused)
{
    VirtioGpu *s = (VirtioGpu *)((VirtioPci *)x->v.dev)->vd;
    static const uint32_t some[] = { 0, 1, 2, 3, 7, 16, 64, 255, 4096, 16384, 65536, 0x7fffffff,
        0x80000000, UINT32_MAX };
    static const uint8_t words[] = { 0, 4, 2, 6, 6, 8, 6, 2, 2, 2, 2, 2, 12, 18 };

    for (unsigned n = 0; n < 20000; n++) {
        uint32_t w[18], type = g_test_rand_int_range(0, 14);

        for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
            w[i] = some[g_test_rand_int_range(0, g_test_rand_bit() ? 7 : G_N_ELEMENTS(some))];
        }
        if (type == GPU_CMD_RESOURCE_ATTACH_BACKING - GPU_CMD_GET_DISPLAY_INFO) {
            w[2] = (uint32_t)x->g.pixels;
            w[3] = 0;
        }
        if (g_test_rand_int_range(0, 8) == 0) {
            cursor_cmd(x, GPU_CMD_UPDATE_CURSOR + (w[0] & 1), w[1], w[2], w[3]);
        } else {
            vgpu_send(&x->g, VGPU_CONTROL, GPU_CMD_GET_DISPLAY_INFO + type, w, words[type]);
        }
        g_assert_cmphex(x->g.answer[0], >=, GPU_OK_NODATA);
        g_assert_cmpuint(s->hostmem, <=, s->max_hostmem);
    }
    g_assert_cmphex(vd_status(&x->v.d) & VIRTIO_STATUS_NEEDS_RESET, ==, 0);
    vd_set_status(&x->v.d, 0);
    board_run(x->v.b);
    g_assert_cmpuint(s->hostmem, ==, 0);
}

static void test_refusals(void)
{
    Board *b = board_new(false);
    g_autofree char *many = board_add_error(b, "{'driver': 'virtio-gpu-pci', 'max_outputs': 17}");
    g_autofree char *none = board_add_error(b, "{'driver': 'virtio-gpu-pci', 'max_outputs': 0}");
    g_autofree char *mem = board_add_error(b, "{'driver': 'virtio-gpu-pci', 'hostmem': 4096}");

    g_assert_true(g_str_has_suffix(many, "invalid max_outputs > 16"));
    g_assert_true(g_str_has_suffix(none, "max_outputs must be at least 1"));
    g_assert_true(g_str_has_suffix(mem, "hostmem is not available: it is for 3D"));
    board_free(b);
}

#define TEST(name, fn) g_test_add("/virtio-gpu/" name, Fix, NULL, up, fn, down)
int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    TEST("monitors", test_monitors);
    TEST("a-wish-is-an-event", test_a_wish_is_an_event);
    TEST("pixels-arrive", test_pixels_arrive);
    TEST("parts-and-formats", test_parts_and_formats);
    TEST("backing-in-pieces", test_backing_in_pieces);
    TEST("backing-in-registers", test_backing_in_registers);
    TEST("mistakes-are-answered", test_mistakes_are_answered);
    TEST("fences", test_fences);
    TEST("pointer", test_pointer);
    TEST("pointer-has-alpha", test_pointer_has_alpha);
    TEST("blobs", test_blobs);
    TEST("reset-forgets-all", test_reset_forgets_all);
    TEST("much-is-done-in-turns", test_much_is_done_in_turns);
    TEST("turns-end-with-a-reset", test_turns_end_with_a_reset);
    TEST("random-commands", test_random_commands);
    g_test_add_func("/virtio-gpu/much-goes-in-slices", test_much_goes_in_slices);
    g_test_add_func("/virtio-gpu/many-go-in-slices", test_many_go_in_slices);
    g_test_add_func("/virtio-gpu/pixels-of-heads-leave", test_pixels_of_heads_leave);
    g_test_add_func("/virtio-gpu/memory-is-bounded", test_memory_is_bounded);
    g_test_add_func("/virtio-gpu/pieces-are-bounded", test_pieces_are_bounded);
    g_test_add_func("/virtio-gpu/refusals", test_refusals);
    return g_test_run();
}
