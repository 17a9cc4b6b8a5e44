/* What virtio-gpu shows: scanouts, flushes, cursors (VIRTIO 1.4, 5.7.6.8, 5.7.6.10). Tested by
 * test-virtio-gpu. */
#include "hw/virtio/virtio-gpu.h"
#include "ui/surface.h"

#include <string.h>

typedef struct ScanoutReq {
    GpuHdr hdr;
    GpuRect r;
    le32 scanout_id, resource_id;
} ScanoutReq;
_Static_assert(sizeof(ScanoutReq) == 48, "VIRTIO 1.4, 5.7.6.8");
typedef struct ScanoutBlobReq {
    GpuHdr hdr;
    GpuRect r;
    le32 scanout_id, resource_id, width, height, format, padding, strides[4], offsets[4];
} ScanoutBlobReq;
_Static_assert(sizeof(ScanoutBlobReq) == 96, "VIRTIO 1.4, 5.7.6.8");
typedef struct FlushReq {
    GpuHdr hdr;
    GpuRect r;
    le32 resource_id, padding;
} FlushReq;
_Static_assert(sizeof(FlushReq) == 48, "VIRTIO 1.4, 5.7.6.8");
typedef struct CursorReq {
    GpuHdr hdr;
    le32 scanout_id, x, y, pad0;
    le32 resource_id, hot_x, hot_y, padding;
} CursorReq;
_Static_assert(sizeof(CursorReq) == 56, "VIRTIO 1.4, 5.7.6.10");

bool rect_get(Rect *ret, const GpuRect *r)
{
    uint32_t end;

    *ret = (Rect){ le32_get(r->x), le32_get(r->y), le32_get(r->width), le32_get(r->height) };
    return !__builtin_add_overflow(ret->x, ret->width, &end) &&
           !__builtin_add_overflow(ret->y, ret->height, &end);
}

bool rect_inside(const Rect *r, uint32_t width, uint32_t height)
{
    return r->x <= width && r->width <= width - r->x && r->y <= height &&
           r->height <= height - r->y;
}

bool rect_common(const Rect *a, const Rect *b, Rect *ret)
{
    uint32_t left = MAX(a->x, b->x), top = MAX(a->y, b->y),
             right = MIN(a->x + a->width, b->x + b->width),
             bottom = MIN(a->y + a->height, b->y + b->height);

    *ret = (Rect){ left, top, right - left, bottom - top };
    return left < right && top < bottom;
}

/* Viewers were told of others. */
static void own_pixels_leave(GpuHead *h)
{
    if (h->shown) {
        gpu_leave_pixels(h->gpu, g_steal_pointer(&h->shown), h->counted);
        h->counted = 0;
    }
}

void gpu_scanout_off(GpuHead *h)
{
    bool vga = h->index == 0 && h->gpu->vga_ops && !h->gpu->vga_off;

    h->res = NULL;
    if (!vga && display_active(h->display)) { /* the VGA's last picture, too */
        display_set_surface(h->display, NULL);
    }
    own_pixels_leave(h);
}

void gpu_res_gone(VirtioGpu *s, GpuRes *r)
{
    for (unsigned i = 0; i < s->max_outputs; i++) {
        if (s->head[i].res == r) {
            gpu_scanout_off(&s->head[i]);
        }
    }
}

/* The pixels are the display's own, copied at each flush; they stay while the size stays. */
static uint32_t show_copy(GpuHead *h, const Rect *r)
{
    uint64_t bytes = (uint64_t)r->width * r->height * 4;

    if (h->shown && surface_width(h->shown) == r->width && surface_height(h->shown) == r->height) {
        return GPU_OK_NODATA;
    }
    if (!gpu_charge(h->gpu, bytes)) { /* there may be room without the old ones */
        return h->shown ? GPU_WAITS : GPU_ERR_OUT_OF_MEMORY;
    }
    pixman_image_t *shown = surface_new(PIXMAN_x8r8g8b8, r->width, r->height);

    if (!shown) {
        h->gpu->hostmem -= bytes;
        return GPU_ERR_OUT_OF_MEMORY;
    }
    display_set_surface(h->display, shown);
    own_pixels_leave(h);
    h->shown = shown;
    h->counted = bytes;
    return GPU_OK_NODATA;
}

static void image_done(void *image)
{
    surface_unref(image);
}

/* The pixels are the resource's. */
static uint32_t show_resource(GpuHead *h, const GpuRes *r, const Rect *rect)
{
    pixman_image_t *view = surface_wrap(PIXMAN_x8r8g8b8, rect->width, rect->height,
        surface_row(r->image, rect->y) + rect->x * 4, surface_stride(r->image), image_done,
        surface_ref(r->image));

    if (!view) {
        return GPU_ERR_OUT_OF_MEMORY;
    }
    display_set_surface(h->display, view);
    surface_unref(view);
    own_pixels_leave(h);
    return GPU_OK_NODATA;
}

/* A driver that sets a scanout has no use for the VGA any more (5.7.7). */
static void leave_vga(GpuHead *h)
{
    if (h->index == 0) {
        h->gpu->vga_off = true;
    }
}

/* What a scanout command names. No resource: the head is switched off. *ret_r NULL: that is all,
 * and the answer is returned. */
static uint32_t head_and_resource(
    VirtioGpu *s, le32 scanout, le32 resource, GpuHead **ret_h, GpuRes **ret_r)
{
    *ret_r = NULL;
    if (le32_get(scanout) >= s->max_outputs) {
        return GPU_ERR_INVALID_SCANOUT_ID;
    }
    *ret_h = &s->head[le32_get(scanout)];
    if (!le32_get(resource)) {
        leave_vga(*ret_h);
        gpu_scanout_off(*ret_h);
        return GPU_OK_NODATA;
    }
    *ret_r = gpu_res(s, le32_get(resource));
    return *ret_r ? GPU_OK_NODATA : GPU_ERR_INVALID_RESOURCE_ID;
}

/* A head with pixels of its own begins with those of its resource. */
static uint32_t show_all(GpuHead *h)
{
    h->gpu->job = (GpuJob){ .res = h->res, .left = h->r, .heads = 1u << h->index };
    return gpu_copy(h->gpu);
}

uint32_t gpu_set_scanout(VirtioGpu *s, VqElem *e)
{
    ScanoutReq q;
    Rect rect;

    if (!giov_get(&e->out, &q, sizeof q)) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    GpuHead *h;
    GpuRes *r;
    uint32_t rc = head_and_resource(s, q.scanout_id, q.resource_id, &h, &r);

    if (!r) {
        return rc;
    }
    if (!r->image || !rect_get(&rect, &q.r) || !rect_inside(&rect, r->width, r->height) ||
        !rect.width || !rect.height) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    leave_vga(h);
    if (h->res == r && !memcmp(&h->r, &rect, sizeof rect)) {
        return h->shown ? show_all(h) : GPU_OK_NODATA; /* as it is; flushes tell of changes */
    }
    bool direct = r->format == PIXMAN_a8r8g8b8 || r->format == PIXMAN_x8r8g8b8;

    rc = direct ? show_resource(h, r, &rect) : show_copy(h, &rect);
    if (rc != GPU_OK_NODATA) {
        gpu_scanout_off(h);
        return rc;
    }
    h->res = r;
    h->r = rect;
    return direct ? GPU_OK_NODATA : show_all(h);
}

uint32_t gpu_set_scanout_blob(VirtioGpu *s, VqElem *e)
{
    ScanoutBlobReq q;
    Rect rect;

    if (!giov_get(&e->out, &q, sizeof q)) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    GpuHead *h;
    GpuRes *r;
    uint32_t rc = head_and_resource(s, q.scanout_id, q.resource_id, &h, &r);

    if (!r) {
        return rc;
    }
    uint64_t width = le32_get(q.width), height = le32_get(q.height),
             stride = le32_get(q.strides[0]), offset = le32_get(q.offsets[0]);
    unsigned format = gpu_format(le32_get(q.format));

    /* Sums of 32-bit numbers and products with sides of at most 2^14: nothing overflows. */
    if (!r->blob_size || !format || !rect_get(&rect, &q.r) || !rect.width || !rect.height ||
        width > DISPLAY_SIDE_MAX || height > DISPLAY_SIDE_MAX ||
        !rect_inside(&rect, (uint32_t)width, (uint32_t)height) || stride < width * 4 ||
        offset + stride * (height - 1) + width * 4 > r->blob_size) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    leave_vga(h);
    rc = show_copy(h, &rect);
    if (rc != GPU_OK_NODATA) {
        gpu_scanout_off(h);
        return rc;
    }
    h->res = r;
    h->r = rect;
    h->format = format;
    h->stride = (uint32_t)stride;
    h->offset = offset;
    return GPU_OK_NODATA;
}

static void rect_add(Rect *all, const Rect *r)
{
    uint32_t right = MAX(all->x + all->width, r->x + r->width),
             bottom = MAX(all->y + all->height, r->y + r->height);

    if (!all->width) {
        *all = *r;
        return;
    }
    all->x = MIN(all->x, r->x);
    all->y = MIN(all->y, r->y);
    all->width = right - all->x;
    all->height = bottom - all->y;
}

uint32_t gpu_flush(VirtioGpu *s, VqElem *e)
{
    FlushReq q;
    Rect rect, part;
    uint32_t rc;
    GpuRes *r = gpu_request_res(s, e, &q, sizeof q, &q.resource_id, &rc);

    if (!r) {
        return rc;
    }
    if (!rect_get(&rect, &q.r) || (r->image && !rect_inside(&rect, r->width, r->height))) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    s->job = (GpuJob){ .res = r };
    for (unsigned i = 0; i < s->max_outputs; i++) {
        GpuHead *h = &s->head[i];

        if (h->res != r || !rect_common(&h->r, &rect, &part)) {
            continue;
        }
        if (h->shown) {
            s->job.heads |= 1u << i;
            rect_add(&s->job.left, &part);
        } else {
            display_updated(h->display, (int)(part.x - h->r.x), (int)(part.y - h->r.y),
                (int)part.width, (int)part.height);
        }
    }
    return gpu_copy(s);
}

/* ---- the pointer ---- */

/* A pointer has alpha whatever its resource is called: Linux makes them of formats without. */
static unsigned with_alpha(unsigned format)
{
    switch (format) {
    case PIXMAN_x8r8g8b8:
        return PIXMAN_a8r8g8b8;
    case PIXMAN_b8g8r8x8:
        return PIXMAN_b8g8r8a8;
    case PIXMAN_r8g8b8x8:
        return PIXMAN_r8g8b8a8;
    case PIXMAN_x8b8g8r8:
        return PIXMAN_a8b8g8r8;
    default:
        return format;
    }
}

static bool cursor_from_image(DisplayCursor *c, const GpuRes *r)
{
    pixman_image_t *from = surface_wrap(with_alpha(r->format), GPU_CURSOR_SIDE, GPU_CURSOR_SIDE,
        surface_row(r->image, 0), surface_stride(r->image), NULL, NULL);
    pixman_image_t *to = surface_wrap(PIXMAN_a8r8g8b8, GPU_CURSOR_SIDE, GPU_CURSOR_SIDE, c->argb,
        GPU_CURSOR_SIDE * 4, NULL, NULL);
    bool ok = from && to;

    if (ok) {
        surface_copy(to, 0, 0, from, 0, 0, GPU_CURSOR_SIDE, GPU_CURSOR_SIDE);
    }
    surface_unref(from);
    surface_unref(to);
    return ok;
}

static DisplayCursor *cursor_of(VirtioGpu *s, const GpuRes *r)
{
    DisplayCursor *c = display_cursor_new(GPU_CURSOR_SIDE, GPU_CURSOR_SIDE);
    bool ok = r->image ? cursor_from_image(c, r)
                       : gpu_read(s, r, 0, c->argb, GPU_CURSOR_SIDE * GPU_CURSOR_SIDE * 4);

    if (!ok) {
        display_cursor_unref(c);
        return NULL;
    }
    return c;
}

static bool cursor_size(const GpuRes *r)
{
    return r->image ? r->width == GPU_CURSOR_SIDE && r->height == GPU_CURSOR_SIDE
                    : r->blob_size >= GPU_CURSOR_SIDE * GPU_CURSOR_SIDE * 4;
}

static uint32_t cursor_shape(VirtioGpu *s, GpuHead *h, const CursorReq *q)
{
    uint32_t id = le32_get(q->resource_id);
    GpuRes *r = id ? gpu_res(s, id) : NULL;

    if (!id) {
        display_set_cursor(h->display, NULL);
        return GPU_OK_NODATA;
    }
    if (!r) {
        return GPU_ERR_INVALID_RESOURCE_ID;
    }
    DisplayCursor *c = cursor_size(r) ? cursor_of(s, r) : NULL; /* 64x64: 5.7.6.6 */

    if (!c) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    c->hot_x = (uint16_t)MIN(le32_get(q->hot_x), GPU_CURSOR_SIDE - 1u);
    c->hot_y = (uint16_t)MIN(le32_get(q->hot_y), GPU_CURSOR_SIDE - 1u);
    display_set_cursor(h->display, c);
    display_cursor_unref(c);
    return GPU_OK_NODATA;
}

uint32_t gpu_cursor(VirtioGpu *s, VqElem *e, bool update)
{
    CursorReq q;
    uint32_t status = GPU_OK_NODATA;

    if (!giov_get(&e->out, &q, sizeof q)) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    if (le32_get(q.scanout_id) >= s->max_outputs) {
        return GPU_ERR_INVALID_SCANOUT_ID;
    }
    GpuHead *h = &s->head[le32_get(q.scanout_id)];

    if (update) {
        status = cursor_shape(s, h, &q);
    }
    if (status == GPU_OK_NODATA) {
        display_move_cursor(
            h->display, (int)le32_get(q.x), (int)le32_get(q.y), display_cursor(h->display) != NULL);
    }
    return status;
}
