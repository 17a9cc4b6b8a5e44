/*
 * virtio-gpu, 2D (VIRTIO 1.4, 5.7): its two queues, configuration and heads. Each command is done
 * when it is answered, so a fence needs no wait; those that copy much do it in slices (GpuJob).
 * Tested by test-virtio-gpu.
 */
#include "hw/virtio/virtio-gpu.h"

#include "hw/display/edid.h"
#include "hw/virtio/virtio-pci.h"
#include "ui/surface.h"
#include "util/err.h"

#include <string.h>

enum { EVENT_DISPLAY = 1, FLAG_FENCE = 1, CONTROLQ = 0 };

typedef struct GpuConfig {
    le32 events_read, events_clear, num_scanouts, num_capsets;
} GpuConfig;
_Static_assert(sizeof(GpuConfig) == 16, "VIRTIO 1.4, 5.7.4 without blob_alignment");
typedef struct DisplayOne {
    GpuRect r;
    le32 enabled, flags;
} DisplayOne;
typedef struct DisplayInfo {
    DisplayOne pmodes[GPU_HEADS_MAX];
} DisplayInfo;
_Static_assert(sizeof(DisplayInfo) == 384, "VIRTIO 1.4, 5.7.6.8");
typedef struct EdidReq {
    GpuHdr hdr;
    le32 scanout, padding;
} EdidReq;
typedef struct EdidResp {
    le32 size, padding;
    uint8_t edid[1024];
} EdidResp;
_Static_assert(sizeof(EdidResp) == 1032, "VIRTIO 1.4, 5.7.6.8");

/* ---- answers ---- */

/* As much of the answer as the driver made room for; the header or nothing. */
static void answer(VqElem *e, const GpuHdr *q, uint32_t type, const void *data, size_t len)
{
    uint32_t fence = le32_get(q->flags) & FLAG_FENCE;
    GpuHdr h = { .type = le32_of(type), .flags = le32_of(fence) };

    if (fence) { /* 5.7.6.7 */
        h.fence_id = q->fence_id;
        h.ctx_id = q->ctx_id;
    }
    if (!giov_put(&e->in, &h, sizeof h)) {
        return;
    }
    len = MIN(len, e->in.left);
    bool ok = !len || giov_put(&e->in, data, len);

    g_assert(ok);
}

static void display_info(const VirtioGpu *s, DisplayInfo *ret)
{
    memset(ret, 0, sizeof *ret);
    for (unsigned i = 0; i < s->max_outputs; i++) {
        const GpuHead *h = &s->head[i];

        if (h->enabled) {
            ret->pmodes[i] =
                (DisplayOne){ .r = { le32_of((uint32_t)h->wish.x), le32_of((uint32_t)h->wish.y),
                                  le32_of(h->wish.width), le32_of(h->wish.height) },
                    .enabled = le32_of(1) };
        }
    }
}

static uint32_t edid(const VirtioGpu *s, VqElem *e, EdidResp *ret)
{
    EdidReq q;

    memset(ret, 0, sizeof *ret);
    if (!virtio_has(&s->vd, GPU_F_EDID)) {
        return GPU_ERR_UNSPEC;
    }
    if (!giov_get(&e->out, &q, sizeof q) || le32_get(q.scanout) >= s->max_outputs) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    const DisplayWish *w = &s->head[le32_get(q.scanout)].wish;
    EdidInfo info = { .width = w->width,
        .height = w->height,
        .width_mm = w->width_mm,
        .height_mm = w->height_mm,
        .refresh_mhz = w->refresh_mhz };

    ret->size = le32_of((uint32_t)edid_build(&info, ret->edid));
    return GPU_OK_EDID;
}

/* ---- queues ---- */

static uint32_t simple_command(VirtioGpu *s, VqElem *e, uint32_t type)
{
    bool blob = virtio_has(&s->vd, GPU_F_RESOURCE_BLOB);

    switch (type) {
    case GPU_CMD_RESOURCE_CREATE_2D:
        return gpu_create_2d(s, e);
    case GPU_CMD_RESOURCE_UNREF:
        return gpu_unref(s, e);
    case GPU_CMD_SET_SCANOUT:
        return gpu_set_scanout(s, e);
    case GPU_CMD_RESOURCE_FLUSH:
        return gpu_flush(s, e);
    case GPU_CMD_TRANSFER_TO_HOST_2D:
        return gpu_transfer(s, e);
    case GPU_CMD_RESOURCE_ATTACH_BACKING:
        return gpu_attach(s, e);
    case GPU_CMD_RESOURCE_DETACH_BACKING:
        return gpu_detach(s, e);
    case GPU_CMD_RESOURCE_CREATE_BLOB:
        return blob ? gpu_create_blob(s, e) : GPU_ERR_UNSPEC;
    case GPU_CMD_SET_SCANOUT_BLOB:
        return blob ? gpu_set_scanout_blob(s, e) : GPU_ERR_UNSPEC;
    default:
        return GPU_ERR_UNSPEC; /* 3D, capability sets, UUIDs: none of them is offered */
    }
}

static VqVerdict control(VirtioDev *d, VqElem *e)
{
    VirtioGpu *s = (VirtioGpu *)d;
    GpuHdr q = { 0 };
    DisplayInfo info;
    EdidResp resp;
    GIov command = e->out;
    uint32_t type;

    if (s->job.e || s->spent >= GPU_SLICE || !gpu_sweep(s)) {
        return VQ_STOP; /* until slice_begins() */
    }
    if (!giov_peek(&e->out, &q, sizeof q)) {
        answer(e, &q, GPU_ERR_INVALID_PARAMETER, NULL, 0);
        return VQ_DONE;
    }
    switch (le32_get(q.type)) {
    case GPU_CMD_GET_DISPLAY_INFO:
        display_info(s, &info);
        answer(e, &q, GPU_OK_DISPLAY_INFO, &info, sizeof info);
        return VQ_DONE;
    case GPU_CMD_GET_EDID:
        type = edid(s, e, &resp);
        answer(e, &q, type, &resp, type == GPU_OK_EDID ? sizeof resp : 0);
        return VQ_DONE;
    default:
        type = simple_command(s, e, le32_get(q.type));
        if (type == GPU_GOES_ON) {
            s->job.e = e;
            s->job.hdr = q;
            return VQ_HELD;
        }
        if (type == GPU_WAITS) {
            e->out = command;
            gpu_spend(s, GPU_SLICE);
            return VQ_STOP;
        }
        gpu_sweep(s);
        answer(e, &q, type, NULL, 0);
        return VQ_DONE;
    }
}

static void slice_begins(void *opaque)
{
    VirtioGpu *s = opaque;
    VqElem *e = s->job.e;
    uint32_t type;

    s->spent = 0;
    if (!gpu_sweep(s)) {
        return;
    }
    if (e) {
        type = gpu_copy(s);
        if (type == GPU_GOES_ON) {
            return;
        }
        s->job.e = NULL;
        answer(e, &s->job.hdr, type, NULL, 0);
        vq_push(e);
        vq_notify(virtio_queue(&s->vd, CONTROLQ));
    }
    vq_resume(virtio_queue(&s->vd, CONTROLQ));
}

/* Reset, or the VM stands: a command that is taken again begins anew. */
static void gpu_stop(VirtioDev *d)
{
    VirtioGpu *s = (VirtioGpu *)d;

    if (s->job.e) {
        vq_drop(g_steal_pointer(&s->job.e));
    }
}

static void gpu_queue_reset(VirtioDev *d, unsigned i)
{
    if (i == CONTROLQ) {
        gpu_stop(d);
    }
}

static VqVerdict cursor(VirtioDev *d, VqElem *e)
{
    VirtioGpu *s = (VirtioGpu *)d;
    GpuHdr q = { 0 };
    uint32_t status = GPU_ERR_INVALID_PARAMETER;

    if (giov_peek(&e->out, &q, sizeof q)) {
        uint32_t type = le32_get(q.type);

        status = type == GPU_CMD_UPDATE_CURSOR || type == GPU_CMD_MOVE_CURSOR
                     ? gpu_cursor(s, e, type == GPU_CMD_UPDATE_CURSOR)
                     : GPU_ERR_UNSPEC;
    }
    answer(e, &q, status, NULL, 0);
    return VQ_DONE;
}

/* ---- heads ---- */

static void head_refresh(void *opaque)
{
    GpuHead *h = opaque;

    if (h->gpu->vga_ops && !h->gpu->vga_off) {
        h->gpu->vga_ops->refresh(h->gpu->vga_opaque);
    }
}

static void head_invalidate(void *opaque)
{
    GpuHead *h = opaque;

    if (h->gpu->vga_ops) {
        h->gpu->vga_ops->invalidate(h->gpu->vga_opaque);
    }
}

static void head_unwatched(void *opaque)
{
    GpuHead *h = opaque;

    if (h->gpu->vga_ops) {
        h->gpu->vga_ops->unwatched(h->gpu->vga_opaque);
    }
}

static void head_wish(void *opaque, const DisplayWish *w)
{
    GpuHead *h = opaque;

    if (w->width) {
        h->wish = *w;
    }
    h->enabled = w->width != 0;
    h->gpu->events |= EVENT_DISPLAY; /* 5.7.4.2 */
    virtio_config_changed(&h->gpu->vd);
}

static const DisplayOps head_ops = { .wish = head_wish };
static const DisplayOps vga_head_ops = { .refresh = head_refresh,
    .invalidate = head_invalidate,
    .unwatched = head_unwatched,
    .wish = head_wish };

/* ---- configuration ---- */

static void gpu_config(VirtioDev *d, void *cfg)
{
    const VirtioGpu *s = (const VirtioGpu *)d;
    GpuConfig c = { .events_read = le32_of(s->events), .num_scanouts = le32_of(s->max_outputs) };

    memcpy(cfg, &c, sizeof c);
}

static void gpu_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len)
{
    GpuConfig c;

    memcpy(&c, cfg, sizeof c);
    if (off < offsetof(GpuConfig, num_scanouts) && off + len > offsetof(GpuConfig, events_clear)) {
        ((VirtioGpu *)d)->events &= ~le32_get(c.events_clear);
    }
}

/* ---- life ---- */

static void gpu_reset(VirtioDev *d)
{
    VirtioGpu *s = (VirtioGpu *)d;

    for (unsigned i = 0; i < s->max_outputs; i++) {
        GpuHead *h = &s->head[i];

        if (!h->display) {
            continue; /* a reset before realize is through */
        }
        gpu_scanout_off(h);
        if (display_cursor(h->display)) {
            display_set_cursor(h->display, NULL);
        }
        display_move_cursor(h->display, 0, 0, false);
    }
    gpu_leave_all(s);
    gpu_sweep(s);
    s->events = 0;
    if (s->vga_off) { /* back to the VGA: 5.7.7 */
        s->vga_off = false;
        if (s->vga_ops && s->head[0].display) {
            s->vga_ops->invalidate(s->vga_opaque);
        }
    }
}

static bool gpu_realize(VirtioDev *d, GError **err)
{
    VirtioGpu *s = (VirtioGpu *)d;

    if (s->max_outputs > GPU_HEADS_MAX) {
        return err_set(err, "invalid max_outputs > %d", GPU_HEADS_MAX);
    }
    if (!s->max_outputs) {
        return err_set(err, "max_outputs must be at least 1");
    }
    if (s->hostmem_bar) {
        return err_set(err, "hostmem is not available: it is for 3D");
    }
    if (s->xres > DISPLAY_SIDE_MAX || s->yres > DISPLAY_SIDE_MAX || !s->xres || !s->yres) {
        return err_set(err, "xres and yres must be between 1 and %d", DISPLAY_SIDE_MAX);
    }
    s->resources = g_hash_table_new(NULL, NULL);
    s->slice = (LoopIdle){ .fn = slice_begins, .opaque = s };
    for (unsigned i = 0; i < s->max_outputs; i++) {
        GpuHead *h = &s->head[i];

        h->gpu = s;
        h->index = i;
        h->enabled = i == 0; /* the others when a viewer wants them */
        h->wish = (DisplayWish){ .width = s->xres, .height = s->yres };
        h->display =
            display_new(&d->dev.obj, i, i == 0 && s->vga_ops ? &vga_head_ops : &head_ops, h);
    }
    return true;
}

static void gpu_unrealize(VirtioDev *d)
{
    VirtioGpu *s = (VirtioGpu *)d;

    gpu_reset(d);
    while (!gpu_sweep(s)) {
        s->spent = 0;
    }
    loop_idle_cancel(d->loop, &s->slice);
    for (unsigned i = 0; i < s->max_outputs; i++) {
        g_clear_pointer(&s->head[i].display, display_free);
    }
    g_clear_pointer(&s->resources, g_hash_table_unref);
}

/* clang-format off */
const PropSpec virtio_gpu_props[] = {
    PROP_U32("max_outputs", VirtioGpu, max_outputs, 1, "heads, up to 16"),
    PROP_FEATURE("edid", VirtioGpu, vd.prop_features, GPU_F_EDID, true, "monitors describe themselves"),
    PROP_U32("xres", VirtioGpu, xres, 1280, "preferred width of the first monitor"),
    PROP_U32("yres", VirtioGpu, yres, 800, "preferred height of the first monitor"),
    PROP_SIZE("max_hostmem", VirtioGpu, max_hostmem, 256 << 20, "memory that resources may take"),
    PROP_FEATURE("blob", VirtioGpu, vd.prop_features, GPU_F_RESOURCE_BLOB, false, "resources in the guest's memory"),
    PROP_SIZE("hostmem", VirtioGpu, hostmem_bar, 0, "refused: for 3D"),
    PROP_U8("x-scanout-vmstate-version", VirtioGpu, vmstate_version, 2, "kept; for migration"),
    PROP_END,
};
/* clang-format on */

static const VqSpec gpu_vqs[] = {
    { .name = "control", .size = 64, .elem_size = sizeof(VqElem), .request = control },
    { .name = "cursor", .size = 16, .elem_size = sizeof(VqElem), .request = cursor },
};

static const VirtioOps gpu_ops = {
    .id = 16,
    .pci_class = 0x038000,
    .vqs = gpu_vqs,
    .nvqs = G_N_ELEMENTS(gpu_vqs),
    .default_vectors = 3,
    .config_size = sizeof(GpuConfig),
    .config = gpu_config,
    .config_wrote = gpu_config_wrote,
    .stop = gpu_stop,
    .queue_reset = gpu_queue_reset,
    .reset = gpu_reset,
    .realize = gpu_realize,
    .unrealize = gpu_unrealize,
};

const ObjClass virtio_gpu_class = {
    .name = "virtio-gpu-device",
    .parent = "virtio-gpu-base",
    .help = "a display",
    .category = "Display",
    .size = sizeof(VirtioGpu),
    .flags = OBJ_DEVICE | OBJ_NO_HOTPLUG,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_gpu_props, NULL }, { NULL, NULL } },
    .ops = &gpu_ops,
};
const ObjClass virtio_gpu_base_class = {
    .name = "virtio-gpu-base",
    .parent = "virtio-device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(VirtioGpu),
};

const PropSpec virtio_gpu_pci_props[] = {
    PROP_BOOL("ioeventfd", VirtioPci, ioeventfd, false, "notify addresses as eventfds"),
    PROP_U32("vectors", VirtioPci, vectors, 3, "MSI-X vectors"),
    PROP_END,
};
VIRTIO_PCI_TYPE_WITH(virtio_gpu, "virtio-gpu", virtio_gpu_class, virtio_gpu_pci_props,
    virtio_gpu_props, "Display", OBJ_NO_HOTPLUG);
