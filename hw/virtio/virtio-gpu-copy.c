/*
 * The copies of virtio-gpu's commands (VIRTIO 1.4, 5.7.6.8): from the guest's memory into
 * resources, and from resources and blobs into what a head shows, some rows at a time. Tested by
 * test-virtio-gpu.
 */
#include "hw/virtio/virtio-gpu.h"
#include "ui/surface.h"

void gpu_spend(VirtioGpu *s, uint64_t n)
{
    s->spent += n;
    loop_idle(s->vd.loop, &s->slice);
}

static bool copy_to_host(const VirtioGpu *s, const GpuJob *j, const Rect *rows)
{
    const GpuRes *r = j->res;
    uint64_t off = j->off, stride = (uint64_t)r->width * 4, row = (uint64_t)rows->width * 4;
    uint32_t n = rows->height;

    if (rows->width == r->width) { /* one stretch */
        row *= n;
        n = 1;
    }
    for (uint32_t y = 0; y < n; y++, off += stride) {
        if (!gpu_read(s, r, off, surface_row(r->image, rows->y + y) + (size_t)rows->x * 4, row)) {
            return false;
        }
    }
    return true;
}

/* Pixels of a blob, line by line. What the guest took away meanwhile keeps its last picture. */
static void copy_blob(const VirtioGpu *s, GpuHead *h, const Rect *part)
{
    g_autofree uint32_t *line = g_new(uint32_t, part->width);
    pixman_image_t *row =
        surface_wrap(h->format, part->width, 1, line, part->width * 4, NULL, NULL);

    for (uint32_t y = 0; row && y < part->height; y++) {
        uint64_t off = h->offset + (uint64_t)h->stride * (part->y + y) + (uint64_t)part->x * 4;

        if (!gpu_read(s, h->res, off, line, (uint64_t)part->width * 4)) {
            break;
        }
        surface_copy(h->shown, (int)(part->x - h->r.x), (int)(part->y + y - h->r.y), row, 0, 0,
            part->width, 1);
    }
    surface_unref(row);
}

static void copy_to_heads(VirtioGpu *s, uint32_t heads, const Rect *rows)
{
    Rect part;

    for (; heads; heads &= heads - 1) {
        GpuHead *h = &s->head[__builtin_ctz(heads)];

        if (!rect_common(&h->r, rows, &part)) {
            continue;
        }
        int x = (int)(part.x - h->r.x), y = (int)(part.y - h->r.y);

        if (h->res->image) {
            surface_copy(
                h->shown, x, y, h->res->image, (int)part.x, (int)part.y, part.width, part.height);
        } else {
            copy_blob(s, h, &part);
        }
        display_updated(h->display, x, y, (int)part.width, (int)part.height);
    }
}

static bool do_rows(VirtioGpu *s, const GpuJob *j, const Rect *rows)
{
    switch (j->what) {
    case GPU_TO_HOST:
        return copy_to_host(s, j, rows);
    case GPU_FLUSH:
        copy_to_heads(s, j->heads, rows);
        return true;
    }
    g_assert_not_reached();
}

uint32_t gpu_copy(VirtioGpu *s)
{
    GpuJob *j = &s->job;
    unsigned copies = j->what == GPU_FLUSH ? (unsigned)__builtin_popcount(j->heads) : 1;
    uint64_t row = (uint64_t)j->left.width * 4 * copies;

    while (row && j->left.height) {
        if (s->spent >= GPU_SLICE) {
            return GPU_GOES_ON;
        }
        Rect rows = j->left;
        uint64_t some = (GPU_SLICE - s->spent + row - 1) / row;

        rows.height = (uint32_t)MIN(some, rows.height);
        gpu_spend(s, rows.height * row);
        if (!do_rows(s, j, &rows)) {
            return GPU_ERR_UNSPEC;
        }
        j->left.y += rows.height;
        j->left.height -= rows.height;
        j->off += (uint64_t)rows.height * j->res->width * 4;
    }
    return GPU_OK_NODATA;
}
