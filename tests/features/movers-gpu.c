/* A picture for the feature table: a resource's pixels and a blob's are what the display shows, a
 * pointer's shape what it carries, and a monitor describes itself (VIRTIO 1.4, 5.7.6). */
#include "hw/virtio/virtio-gpu.h"
#include "tests/features/feat.h"
#include "ui/surface.h"

#include <string.h>

enum { CONTROL, CURSOR, WIDTH = 16, HEIGHT = 8, SIDE = 64, BGRA = 1, BGRX = 2 };
enum { RESPONSE = 0x8000, PIXELS = 0x10000 };

const FeatBit feat_gpu_bits[] = {
    { GPU_F_EDID, ALONE, "a monitor's description, or a refusal" },
    { GPU_F_RESOURCE_BLOB, ALONE, "a resource in the guest's memory, or a refusal" },
    { NONE, ALONE, NULL },
};

/* A command of n words behind its header; the answer's type. */
static uint32_t command(
    Feat *x, unsigned q, uint32_t type, const uint32_t *words, unsigned n, uint32_t answer_len)
{
    const uint32_t head[6] = { type };
    const VBuf b[2] = { { x->page, 24 + 4 * n, false }, { x->page + RESPONSE, answer_len, true } };
    uint32_t answer;

    feat_put(x, x->page, head, sizeof head);
    feat_put(x, x->page + 24, words, 4 * n);
    feat_go(x, q, b, 2);
    feat_get(x, x->page + RESPONSE, &answer, sizeof answer);
    return answer;
}

#define DO(x, q, type, ...)                                                                        \
    g_assert_cmphex(command((x), (q), (type), (const uint32_t[]){ __VA_ARGS__ },                   \
                        sizeof((uint32_t[]){ __VA_ARGS__ }) / 4, 24),                              \
        ==, GPU_OK_NODATA)

static void draw(const Feat *x, uint32_t *pixels, unsigned n, unsigned seed)
{
    feat_pattern(x, (uint8_t *)pixels, n * 4, seed);
    feat_put(x, x->page + PIXELS, pixels, n * 4);
}

static void expect_picture(const uint32_t *pixels)
{
    pixman_image_t *img = display_surface(display_nth(0));

    g_assert_cmpuint(surface_width(img), ==, WIDTH);
    for (unsigned y = 0; y < HEIGHT; y++) {
        uint32_t row[WIDTH];

        memcpy(row, surface_row(img, y), sizeof row);
        for (unsigned i = 0; i < WIDTH; i++) {
            g_assert_cmphex(row[i] & 0xffffff, ==, pixels[y * WIDTH + i] & 0xffffff);
        }
    }
}

static void resource(Feat *x, uint32_t id, uint32_t format, uint32_t w, uint32_t h)
{
    DO(x, CONTROL, GPU_CMD_RESOURCE_CREATE_2D, id, format, w, h);
    DO(x, CONTROL, GPU_CMD_RESOURCE_ATTACH_BACKING, id, 1, (uint32_t)(x->page + PIXELS),
        (uint32_t)((x->page + PIXELS) >> 32), w * h * 4, 0);
    DO(x, CONTROL, GPU_CMD_TRANSFER_TO_HOST_2D, 0, 0, w, h, 0, 0, id, 0);
}

static void move_edid(Feat *x)
{
    const uint32_t which[2] = { 0 };
    uint32_t type = command(x, CONTROL, GPU_CMD_GET_EDID, which, 2, 24 + 8 + 1024);
    uint8_t edid[128], sum = 0;

    if (!feat_has(x, GPU_F_EDID)) {
        g_assert_cmphex(type, ==, GPU_ERR_UNSPEC);
        return;
    }
    g_assert_cmphex(type, ==, GPU_OK_EDID);
    feat_get(x, x->page + RESPONSE + 32, edid, sizeof edid);
    g_assert_cmpmem(edid, 8, "\x00\xff\xff\xff\xff\xff\xff\x00", 8);
    for (unsigned i = 0; i < sizeof edid; i++) {
        sum = (uint8_t)(sum + edid[i]);
    }
    g_assert_cmpuint(sum, ==, 0);
}

static void move_blob(Feat *x)
{
    uint32_t pixels[WIDTH * HEIGHT], at = (uint32_t)(x->page + PIXELS);
    const uint32_t blob[] = { 9, 1, 0, 1, 0, 0, 4096, 0, at, 0, 4096, 0 };

    if (!feat_has(x, GPU_F_RESOURCE_BLOB)) {
        g_assert_cmphex(
            command(x, CONTROL, GPU_CMD_RESOURCE_CREATE_BLOB, blob, G_N_ELEMENTS(blob), 24), ==,
            GPU_ERR_UNSPEC);
        return;
    }
    g_assert_cmphex(command(x, CONTROL, GPU_CMD_RESOURCE_CREATE_BLOB, blob, G_N_ELEMENTS(blob), 24),
        ==, GPU_OK_NODATA);
    draw(x, pixels, G_N_ELEMENTS(pixels), 3);
    DO(x, CONTROL, GPU_CMD_SET_SCANOUT_BLOB, 0, 0, WIDTH, HEIGHT, 0, 9, WIDTH, HEIGHT, BGRX, 0,
        WIDTH * 4, 0, 0, 0, 0, 0, 0, 0);
    DO(x, CONTROL, GPU_CMD_RESOURCE_FLUSH, 0, 0, WIDTH, HEIGHT, 9, 0);
    expect_picture(pixels);
    DO(x, CONTROL, GPU_CMD_RESOURCE_UNREF, 9, 0);
}

void feat_gpu_move(Feat *x)
{
    uint32_t pixels[SIDE * SIDE];

    draw(x, pixels, WIDTH * HEIGHT, 1);
    resource(x, 7, BGRX, WIDTH, HEIGHT);
    DO(x, CONTROL, GPU_CMD_SET_SCANOUT, 0, 0, WIDTH, HEIGHT, 0, 7);
    DO(x, CONTROL, GPU_CMD_RESOURCE_FLUSH, 0, 0, WIDTH, HEIGHT, 7, 0);
    expect_picture(pixels);
    draw(x, pixels, SIDE * SIDE, 2);
    resource(x, 8, BGRA, SIDE, SIDE);
    DO(x, CURSOR, GPU_CMD_UPDATE_CURSOR, 0, 1, 2, 0, 8, 3, 4, 0);
    g_assert_cmpmem(display_cursor(display_nth(0))->argb, sizeof pixels, pixels, sizeof pixels);
    DO(x, CONTROL, GPU_CMD_RESOURCE_UNREF, 8, 0);
    DO(x, CONTROL, GPU_CMD_RESOURCE_UNREF, 7, 0);
    g_assert_false(display_active(display_nth(0)));
    move_edid(x);
    move_blob(x);
}
