/*
 * Normative sentences about GPUs (VIRTIO 1.4, 5.7). Ours draws in two dimensions, with EDID and
 * blobs of guest memory; what belongs to features that it does not offer is refused.
 */
#include "tests/conformance/norm.h"
#include "tests/lib/vgpu.h"
#include "ui/surface.h"

enum { F_VIRGL = 0, F_UUID = 2, F_CONTEXT_INIT = 4 };
enum { CTX_CREATE = 0x200, MAP_BLOB = 0x208, UNMAP_BLOB = 0x209 };
enum { SHM_CAP = 8, HOST_VISIBLE = 1, RING_IDX = 2 };
enum { WIDTH = 2048, HEIGHT = 2048 }; /* 16 MiB: more than a turn of the loop copies */

typedef struct Gpu {
    Norm n;
    VGpu g;
    Display *head;
} Gpu;

static void up(Gpu *x, const char *opts, uint64_t without)
{
    norm_open(&x->n, "virtio-gpu-pci", opts, 0);
    norm_start(&x->n, without);
    vgpu_open(&x->g, &x->n.d);
    x->head = display_nth(0);
}

static void down(Gpu *x)
{
    norm_close(&x->n);
    x->n.b = NULL;
}

static bool offered(Gpu *x, unsigned bit)
{
    return vd_offered(&x->n.d) >> bit & 1;
}

/* A command that no driver may expect to work. */
static void refused(Gpu *x, uint32_t type, uint32_t a, uint32_t b, uint32_t c)
{
    g_assert_cmphex(VGPU_SEND(&x->g, type, a, b, c, 0, 0, 0), >=, GPU_ERR_UNSPEC);
    g_assert_cmpuint(x->g.len, ==, 24);
}

/* ---- initialization and events ---- */

static bool edid_says(Gpu *x, unsigned width, unsigned height)
{
    const uint8_t *timing = (const uint8_t *)(x->g.answer + 8) + 54; /* E-EDID A2, 3.10.2 */

    g_assert_cmphex(VGPU_SEND(&x->g, GPU_CMD_GET_EDID, 0, 0), ==, GPU_OK_EDID);
    return (timing[2] | (timing[4] & 0xf0) << 4) == (int)width &&
           (timing[5] | (timing[7] & 0xf0) << 4) == (int)height;
}

static void events_2(G_GNUC_UNUSED Norm *n)
{
    Gpu x;
    const DisplayWish w = { .width = 1440, .height = 900 };

    NORM("TXT-GPU-EVENTS-2");
    up(&x, NULL, 0);
    g_assert_cmphex(norm_dev(&x.n, 0, 4), ==, 0);
    g_assert_true(display_wish(x.head, &w));
    g_assert_cmphex(norm_dev(&x.n, 0, 4), ==, 1);
    g_assert_true(edid_says(&x, 1440, 900)); /* the fetching is the driver's */
    down(&x);
}

static void init_1(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("GPU-INIT-1");
    up(&x, ", 'xres': 1600, 'yres': 1000", 0);
    g_assert_cmphex(
        vgpu_send(&x.g, VGPU_CONTROL, GPU_CMD_GET_DISPLAY_INFO, NULL, 0), ==, GPU_OK_DISPLAY_INFO);
    g_assert_cmpuint(x.g.answer[8], ==, 1600);
    g_assert_cmpuint(x.g.answer[9], ==, 1000);
    g_assert_cmpuint(x.g.answer[10], ==, 1);
    down(&x);
}

static void init_2(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("GPU-INIT-2");
    up(&x, NULL, 0);
    g_assert_true(edid_says(&x, 1280, 800));
    down(&x);
    up(&x, NULL, NORM_BIT(GPU_F_EDID));
    refused(&x, GPU_CMD_GET_EDID, 0, 0, 0);
    down(&x);
}

static void init_3(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("GPU-INIT-3");
    up(&x, ", 'max_hostmem': 8388608", 0);
    g_assert_true(display_wish(x.head, &(DisplayWish){ 0 }));
    vgpu_send(&x.g, VGPU_CONTROL, GPU_CMD_GET_DISPLAY_INFO, NULL, 0);
    g_assert_cmpuint(x.g.answer[10], ==, 0);
    vgpu_resource(&x.g, 1, VGPU_BGRX, 1024, 768);
    VGPU_OK(&x.g, GPU_CMD_SET_SCANOUT, 0, 0, 1024, 768, 0, 1);
    g_assert_cmpuint(surface_width(display_surface(x.head)), ==, 1024);
    norm_note("a scanout of a display that is disabled is shown");
    down(&x);
}

/* The id of the n-th shared memory region; -1: there are no more. */
static int shmid(Gpu *x, unsigned n)
{
    unsigned cap = norm_cap(&x->n, SHM_CAP, n);

    return cap ? (int)norm_cfg(&x->n, cap + 5, 1) : -1;
}

static void init_4(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("GPU-INIT-4");
    up(&x, ", 'blob': true", 0);
    g_assert_cmpint(shmid(&x, 0), <=, HOST_VISIBLE); /* the query has its end */
    g_assert_cmpint(shmid(&x, VIRTIO_SHM_MAX), ==, -1);
    down(&x);
}

static void init_5(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("GPU-INIT-5");
    up(&x, ", 'blob': true", 0);
    for (unsigned i = 0; shmid(&x, i) >= 0; i++) {
        g_assert_cmpint(shmid(&x, i), <=, HOST_VISIBLE);
    }
    down(&x);
}

static void init_6(G_GNUC_UNUSED Norm *n)
{
    Gpu x;
    bool visible = false;

    NORM("GPU-INIT-6");
    up(&x, ", 'blob': true", 0);
    for (unsigned i = 0; shmid(&x, i) >= 0; i++) {
        visible |= shmid(&x, i) == HOST_VISIBLE;
    }
    VGPU_OK(&x.g, GPU_CMD_RESOURCE_CREATE_BLOB, 4, 1, 0, 1, 0, 0, 4096, 0, (uint32_t)x.g.pixels, 0,
        4096, 0);
    g_assert_cmpint(VGPU_SEND(&x.g, MAP_BLOB, 4, 0, 0, 0) < GPU_ERR_UNSPEC, ==, visible);
    g_assert_cmpint(VGPU_SEND(&x.g, UNMAP_BLOB, 4, 0) < GPU_ERR_UNSPEC, ==, visible);
    down(&x);
}

/* ---- fences ---- */

static uint32_t last_pixel(Gpu *x)
{
    uint32_t v;

    memcpy(&v, surface_row(display_surface(x->head), HEIGHT - 1) + 4 * (WIDTH - 1), 4);
    return v & 0xffffff;
}

static uint32_t answer_word(Gpu *x, unsigned off, unsigned word)
{
    return (uint32_t)vport_r32(x->n.d.port, x->g.resp + off + 4 * word);
}

/* A transfer and a flush of 16 MiB that is shown in a format of its own, so both copy all of it.
 * flags: of both headers, besides the fence's. */
static void two_fences(Gpu *x, uint32_t flags)
{
    const uint32_t transfer[] = { 0, 0, WIDTH, HEIGHT, 0, 0, 5, 0 };
    const uint32_t flush[] = { 0, 0, WIDTH, HEIGHT, 5, 0 };

    up(x, NULL, 0);
    vgpu_resource(&x->g, 5, VGPU_RGBX, WIDTH, HEIGHT);
    VGPU_OK(&x->g, GPU_CMD_SET_SCANOUT, 0, 0, WIDTH, HEIGHT, 0, 5);
    vport_w32(x->n.d.port, x->g.pixels + VGPU_PIXELS - 4, 0x332211);
    vgpu_put(&x->g, 0, 0x1111222233334444, GPU_CMD_TRANSFER_TO_HOST_2D, transfer, 8);
    vgpu_put(&x->g, 256, 0x5555666677778888, GPU_CMD_RESOURCE_FLUSH, flush, 6);
    for (unsigned off = 0; off <= 256; off += 256) {
        vport_w32(x->n.d.port, x->g.req + off + 4, 1 | flags);
        vport_w32(x->n.d.port, x->g.resp + off, 0);
    }
    vd_kick(&x->n.d, VGPU_CONTROL);
}

static bool next_answer(Gpu *x)
{
    uint32_t id, len;

    return vring_used(&x->n.d.ring[VGPU_CONTROL], &id, &len);
}

static void wait_answer(Gpu *x)
{
    uint32_t id, len;

    vd_wait_used(&x->n.d, VGPU_CONTROL, &id, &len);
    g_assert_cmpuint(len, ==, 24);
}

static void fence_1(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("GPU-FENCE-1");
    two_fences(&x, 0);
    wait_answer(&x);
    wait_answer(&x);
    norm_note("a command is answered when it is done, with a fence or without");
    down(&x);
}

static void fence_2(G_GNUC_UNUSED Norm *n)
{
    Gpu x;
    const uint32_t show[] = { 0, 0, WIDTH, HEIGHT, 0, 5 };

    NORM("GPU-FENCE-2");
    two_fences(&x, 0);
    wait_answer(&x);
    g_assert_cmphex(answer_word(&x, 0, 0), ==, GPU_OK_NODATA);
    /* What is transferred now comes too late for the one that has been answered. */
    vport_w32(x.n.d.port, x.g.pixels + VGPU_PIXELS - 4, 0);
    wait_answer(&x);
    g_assert_cmphex(last_pixel(&x), ==, 0x112233);
    g_assert_cmphex(vgpu_send(&x.g, VGPU_CONTROL, GPU_CMD_SET_SCANOUT, show, 6), ==, GPU_OK_NODATA);
    g_assert_cmphex(last_pixel(&x), ==, 0x112233);
    down(&x);
}

static void header_1(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-REQUEST-HEADER-1");
    two_fences(&x, 0);
    wait_answer(&x);
    wait_answer(&x);
    g_assert_cmphex(answer_word(&x, 0, 1), ==, 1);
    g_assert_cmphex(answer_word(&x, 256, 1), ==, 1);
    refused(&x, GPU_CMD_RESOURCE_UNREF, 77, 0, 0);
    g_assert_cmphex(x.g.answer[1], ==, 0); /* none was asked for */
    down(&x);
}

static void header_2(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-REQUEST-HEADER-2");
    two_fences(&x, 0);
    wait_answer(&x);
    wait_answer(&x);
    g_assert_cmphex(answer_word(&x, 0, 2), ==, 0x33334444);
    g_assert_cmphex(answer_word(&x, 0, 3), ==, 0x11112222);
    g_assert_cmphex(answer_word(&x, 256, 2), ==, 0x77778888);
    g_assert_cmphex(answer_word(&x, 256, 3), ==, 0x55556666);
    down(&x);
}

/* At no time is there an answer without its pixels. */
static void header_3(G_GNUC_UNUSED Norm *n)
{
    Gpu x;
    unsigned answers = 0;

    NORM("TXT-GPU-REQUEST-HEADER-3");
    two_fences(&x, 0);
    for (unsigned turns = 0; answers < 2; turns++) {
        g_assert_cmpuint(turns, <, 1000);
        loop_turn(loop_main(), /* block= */ false);
        answers += next_answer(&x);
    }
    g_assert_cmphex(last_pixel(&x), ==, 0x112233);
    down(&x);
}

static void header_5(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-REQUEST-HEADER-5");
    two_fences(&x, RING_IDX);
    g_assert_false(offered(&x, F_CONTEXT_INIT)); /* one timeline alone, and it is in order */
    wait_answer(&x);
    g_assert_cmphex(answer_word(&x, 0, 1), ==, 1);
    g_assert_cmphex(answer_word(&x, 256, 0), ==, 0);
    wait_answer(&x);
    g_assert_cmphex(answer_word(&x, 256, 1), ==, 1);
    down(&x);
}

/* ---- capability sets: none ---- */

static void controlq_1(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-1");
    up(&x, ", 'blob': true", 0);
    for (uint32_t i = (uint32_t)norm_dev(&x.n, 12, 4); i < 20; i++) {
        refused(&x, GPU_CMD_GET_CAPSET_INFO, i, 0, 0);
    }
    refused(&x, GPU_CMD_GET_CAPSET_INFO, UINT32_MAX, 0, 0);
    down(&x);
}

/* There is nothing to be told of the set, under any index. */
static void no_capset(uint32_t id)
{
    Gpu x;

    up(&x, ", 'blob': true", 0);
    g_assert_cmpuint(norm_dev(&x.n, 12, 4), ==, 0);
    g_assert_false(offered(&x, F_VIRGL));
    for (uint32_t version = 0; version < 4; version++) {
        refused(&x, GPU_CMD_GET_CAPSET, id, version, 0);
    }
    refused(&x, GPU_CMD_GET_CAPSET_INFO, id - 1, 0, 0);
    down(&x);
}

static void controlq_2(G_GNUC_UNUSED Norm *n)
{
    NORM("TXT-GPU-CONTROLQ-2");
    no_capset(1);
}

static void controlq_3(G_GNUC_UNUSED Norm *n)
{
    NORM("TXT-GPU-CONTROLQ-3");
    no_capset(2);
}

static void controlq_4(G_GNUC_UNUSED Norm *n)
{
    NORM("TXT-GPU-CONTROLQ-4");
    no_capset(3);
}

static void controlq_5(G_GNUC_UNUSED Norm *n)
{
    NORM("TXT-GPU-CONTROLQ-5");
    no_capset(4);
}

static void controlq_6(G_GNUC_UNUSED Norm *n)
{
    NORM("TXT-GPU-CONTROLQ-6");
    no_capset(5);
}

/* ---- blobs ---- */

static uint32_t blob(Gpu *x, uint32_t mem)
{
    return VGPU_SEND(&x->g, GPU_CMD_RESOURCE_CREATE_BLOB, 4, mem, 0, 1, 0, 0, 65536, 0,
        (uint32_t)x->g.pixels, 0, 65536, 0);
}

static void controlq_7(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-7");
    up(&x, ", 'blob': true", 0);
    g_assert_cmphex(blob(&x, 0), ==, GPU_ERR_INVALID_PARAMETER);
    g_assert_cmphex(blob(&x, 1), ==, GPU_OK_NODATA);
    down(&x);
}

static void controlq_8(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-8");
    up(&x, ", 'blob': true", 0);
    g_assert_false(offered(&x, F_VIRGL)); /* no context, no object of one */
    g_assert_cmphex(blob(&x, 2), ==, GPU_ERR_INVALID_PARAMETER);
    g_assert_cmphex(blob(&x, 3), ==, GPU_ERR_INVALID_PARAMETER);
    g_assert_cmphex(blob(&x, 1), ==, GPU_OK_NODATA); /* the id is free still */
    down(&x);
}

static uint32_t show_blob(Gpu *x, uint32_t format, uint32_t offset)
{
    return VGPU_SEND(&x->g, GPU_CMD_SET_SCANOUT_BLOB, 0, 0, 64, 64, 0, 4, 64, 64, format, 0, 256, 0,
        0, 0, 0, offset, 0, 0);
}

static void controlq_10(G_GNUC_UNUSED Norm *n)
{
    static const uint8_t formats[] = { 1, 2, 3, 4, 67, 68, 121, 134 };
    unsigned taken = 0;
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-10");
    up(&x, ", 'blob': true", 0);
    g_assert_cmphex(blob(&x, 1), ==, GPU_OK_NODATA);
    for (uint32_t format = 0; format < 600; format++) {
        bool known = taken < sizeof formats && format == formats[taken];

        taken += known;
        g_assert_cmphex(
            show_blob(&x, format, 0), ==, known ? GPU_OK_NODATA : GPU_ERR_INVALID_PARAMETER);
    }
    g_assert_cmphex(show_blob(&x, UINT32_MAX, 0), ==, GPU_ERR_INVALID_PARAMETER);
    down(&x);
}

static void controlq_11(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-11");
    up(&x, ", 'blob': true", 0);
    g_assert_cmphex(blob(&x, 1), ==, GPU_OK_NODATA);
    g_assert_cmphex(show_blob(&x, VGPU_BGRX, 4096), ==, GPU_OK_NODATA);
    norm_note("formats have one plane; what is said of others is not looked at");
    down(&x);
}

/* ---- 3D: none ---- */

static void controlq_3d_1(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-3D-1");
    up(&x, ", 'blob': true", 0);
    g_assert_false(offered(&x, F_VIRGL) || offered(&x, F_UUID));
    refused(&x, CTX_CREATE, 4, 0, 0);
    down(&x);
}

static void controlq_3d_2(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-3D-2");
    up(&x, ", 'blob': true", 0);
    g_assert_false(offered(&x, F_CONTEXT_INIT));
    norm_note("there are no contexts");
    down(&x);
}

static void controlq_3d_3(G_GNUC_UNUSED Norm *n)
{
    Gpu x;

    NORM("TXT-GPU-CONTROLQ-3D-3");
    up(&x, ", 'blob': true", 0);
    for (uint32_t set = 1; set < 6; set++) {
        refused(&x, CTX_CREATE, 4, set, 0);
    }
    down(&x);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "TXT-GPU-EVENTS-2", events_2, NORM_BARE, NULL },
        { "GPU-INIT-1", init_1, NORM_BARE, NULL },
        { "GPU-INIT-2", init_2, NORM_BARE, NULL },
        { "GPU-INIT-3", init_3, NORM_BARE, NULL },
        { "GPU-INIT-4", init_4, NORM_BARE, NULL },
        { "GPU-INIT-5", init_5, NORM_BARE, NULL },
        { "GPU-INIT-6", init_6, NORM_BARE, NULL },
        { "GPU-FENCE-1", fence_1, NORM_BARE, NULL },
        { "GPU-FENCE-2", fence_2, NORM_BARE, NULL },
        { "TXT-GPU-REQUEST-HEADER-1", header_1, NORM_BARE, NULL },
        { "TXT-GPU-REQUEST-HEADER-2", header_2, NORM_BARE, NULL },
        { "TXT-GPU-REQUEST-HEADER-3", header_3, NORM_BARE, NULL },
        { "TXT-GPU-REQUEST-HEADER-5", header_5, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-1", controlq_1, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-2", controlq_2, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-3", controlq_3, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-4", controlq_4, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-5", controlq_5, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-6", controlq_6, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-7", controlq_7, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-8", controlq_8, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-10", controlq_10, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-11", controlq_11, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-3D-1", controlq_3d_1, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-3D-2", controlq_3d_2, NORM_BARE, NULL },
        { "TXT-GPU-CONTROLQ-3D-3", controlq_3d_3, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
