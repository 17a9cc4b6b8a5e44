/*
 * Memory of virtio-gpu that goes: giving 256 MiB back to the host takes tens of milliseconds, so
 * resources and pixels that nothing shows any more leave in slices, as commands copy (GpuJob).
 * Tested by test-virtio-gpu.
 */
#include "hw/virtio/virtio-gpu.h"
#include "ui/surface.h"

void gpu_leave(VirtioGpu *s, GpuRes *r)
{
    r->next = s->leaving;
    s->leaving = r;
}

void gpu_leave_pixels(VirtioGpu *s, pixman_image_t *image, uint64_t counted)
{
    GpuRes *r = g_new0(GpuRes, 1);

    r->image = image;
    r->width = surface_width(image);
    r->height = surface_height(image);
    r->counted = counted;
    gpu_leave(s, r);
}

void gpu_leave_all(VirtioGpu *s)
{
    if (!g_hash_table_size(s->resources)) {
        return;
    }
    g_assert(!s->old); /* no command has made one since */
    s->old = g_steal_pointer(&s->resources);
    s->resources = g_hash_table_new(NULL, NULL);
    g_hash_table_iter_init(&s->old_at, s->old);
}

/* The next of s->old joins what is leaving; false: there is none. */
static bool take_old(VirtioGpu *s)
{
    void *r;

    if (!s->old) {
        return false;
    }
    if (!g_hash_table_iter_next(&s->old_at, NULL, &r)) {
        g_clear_pointer(&s->old, g_hash_table_unref);
        return false;
    }
    g_hash_table_iter_steal(&s->old_at);
    gpu_leave(s, r);
    return true;
}

/* The picture, or some rows of a large one; false: there are more. */
static bool rows_leave(VirtioGpu *s, GpuRes *r)
{
    uint64_t row = (uint64_t)r->width * 4, some = (GPU_SLICE - s->spent + row - 1) / row;
    uint32_t rows = (uint32_t)MIN(some, r->height - r->gone);

    if (row * r->height <= GPU_SLICE) {
        rows = r->height; /* freeing it is as quick */
    } else {
        surface_discard(r->image, r->gone, rows);
    }
    r->gone += rows;
    gpu_spend(s, rows * row);
    return r->gone == r->height;
}

bool gpu_sweep(VirtioGpu *s)
{
    while (s->leaving || take_old(s)) {
        GpuRes *r = s->leaving;

        if (s->spent >= GPU_SLICE || (r->image && !rows_leave(s, r))) {
            return false;
        }
        gpu_spend(s, GPU_RES_WORK + r->npieces * sizeof(GpuPiece));
        gpu_detach_pieces(s, r);
        surface_unref(r->image);
        s->hostmem -= r->counted;
        s->leaving = r->next;
        g_free(r);
    }
    return true;
}
