/* What the files of virtio-gpu and virtio-vga share (VIRTIO 1.4, 5.7). Main loop. */
#pragma once

#include "hw/virtio/virtio.h"
#include "ui/console.h"

enum {
    GPU_HEADS_MAX = 16,      /* VIRTIO_GPU_MAX_SCANOUTS */
    GPU_ENTRIES_MAX = 16384, /* pieces of one resource's memory */
    GPU_RES_OVERHEAD = 512,  /* what a resource counts for besides its pixels */
    GPU_RES_MAX = 1 << 16,   /* resources: how long one look at all of them may take */
    GPU_RES_WORK = 4096,     /* bytes that could be copied while a small one is freed */
    GPU_CURSOR_SIDE = 64,
    GPU_SLICE = 512 << 10 /* bytes that commands copy in one go, of a few in a turn of the loop */
};
enum {
    GPU_F_EDID = 1,
    GPU_F_RESOURCE_BLOB = 3,
};
enum {
    GPU_GOES_ON, /* no response yet: the command is s->job now */
    GPU_WAITS,   /* nor this: to be taken again when what is leaving has left */
    GPU_CMD_GET_DISPLAY_INFO = 0x0100,
    GPU_CMD_RESOURCE_CREATE_2D,
    GPU_CMD_RESOURCE_UNREF,
    GPU_CMD_SET_SCANOUT,
    GPU_CMD_RESOURCE_FLUSH,
    GPU_CMD_TRANSFER_TO_HOST_2D,
    GPU_CMD_RESOURCE_ATTACH_BACKING,
    GPU_CMD_RESOURCE_DETACH_BACKING,
    GPU_CMD_GET_CAPSET_INFO,
    GPU_CMD_GET_CAPSET,
    GPU_CMD_GET_EDID,
    GPU_CMD_RESOURCE_ASSIGN_UUID,
    GPU_CMD_RESOURCE_CREATE_BLOB,
    GPU_CMD_SET_SCANOUT_BLOB,
    GPU_CMD_UPDATE_CURSOR = 0x0300,
    GPU_CMD_MOVE_CURSOR,
    GPU_OK_NODATA = 0x1100,
    GPU_OK_DISPLAY_INFO,
    GPU_OK_EDID = 0x1104,
    GPU_ERR_UNSPEC = 0x1200,
    GPU_ERR_OUT_OF_MEMORY,
    GPU_ERR_INVALID_SCANOUT_ID,
    GPU_ERR_INVALID_RESOURCE_ID,
    GPU_ERR_INVALID_CONTEXT_ID,
    GPU_ERR_INVALID_PARAMETER
};

typedef struct GpuHdr {
    le32 type, flags;
    le64 fence_id;
    le32 ctx_id;
    uint8_t ring_idx, padding[3];
} GpuHdr;
_Static_assert(sizeof(GpuHdr) == 24, "VIRTIO 1.4, 5.7.6.7");

typedef struct GpuRect {
    le32 x, y, width, height;
} GpuRect;

/* Host integers; x + width and y + height fit. */
typedef struct Rect {
    uint32_t x, y, width, height;
} Rect;

typedef struct GpuPiece {
    uint64_t at, len;
    uint64_t off; /* of its first byte in the resource's memory */
} GpuPiece;

typedef struct GpuRes {
    uint32_t id, width, height;
    pixman_image_t *image; /* NULL: a blob, whose pixels stay in the guest's memory */
    unsigned format;       /* pixman_format_code_t of the image */
    uint64_t blob_size;    /* 0: a 2D resource */
    GpuPiece *pieces;
    uint32_t npieces;
    bool attached;
    uint64_t backing;    /* bytes of all pieces */
    uint64_t counted;    /* of max_hostmem */
    struct GpuRes *next; /* behind it in VirtioGpu.leaving */
    uint32_t gone;       /* rows of a leaving one that the host has back */
} GpuRes;

typedef struct GpuHead {
    struct VirtioGpu *gpu;
    unsigned index;
    Display *display;
    /* what the monitor is */
    bool enabled;
    DisplayWish wish;
    /* what the guest shows; res NULL: nothing */
    GpuRes *res;
    Rect r;                /* of the resource */
    pixman_image_t *shown; /* own pixels of r in the display's format; NULL: the resource's are */
    uint64_t counted;
    /* SET_SCANOUT_BLOB: how the blob's bytes are pixels */
    unsigned format;
    uint32_t stride;
    uint64_t offset;
    DisplayCursor *cursor;
} GpuHead;

/* A command that copies pixels. What one slice does not reach waits for the next, and with it the
 * commands behind it, so nothing that it names goes away meanwhile. */
typedef struct GpuJob {
    VqElem *e; /* held; NULL: none is under way */
    GpuHdr hdr;
    GpuRes *res;
    Rect left; /* of the resource: rows that are still to be done */
    enum { GPU_FLUSH, GPU_TO_HOST } what;
    uint64_t off;   /* transfer: where the first of them begins in the backing */
    uint32_t heads; /* flush: those with pixels of their own, one bit each */
} GpuJob;

typedef struct VirtioGpu {
    VirtioDev vd;
    /* properties */
    uint32_t max_outputs, xres, yres;
    uint64_t max_hostmem, hostmem_bar;
    uint8_t vmstate_version;
    GHashTable *resources; /* id → GpuRes */
    uint64_t hostmem;      /* in use, at most max_hostmem */
    /* What no command knows any more, and the resources from before a reset: freed in slices and
     * counted until then, while the control queue waits. */
    GpuRes *leaving;
    GHashTable *old;
    GHashTableIter old_at;
    uint32_t events;
    GpuJob job;
    uint64_t spent; /* of GPU_SLICE */
    LoopIdle slice; /* the next one begins */
    GpuHead head[GPU_HEADS_MAX];
    /* virtio-vga's first head: the VGA draws until a driver sets a scanout (5.7.7) */
    const DisplayOps *vga_ops;
    void *vga_opaque;
    bool vga_off; /* a scanout was set */
} VirtioGpu;

extern const PropSpec virtio_gpu_props[],
    virtio_gpu_pci_props[]; /* the proxy's: vectors, ioeventfd */
extern const ObjClass virtio_gpu_class;

/* virtio-gpu-copy.c */
uint32_t gpu_copy(VirtioGpu *s); /* goes on with s->job; a response's type, or GPU_GOES_ON */
void gpu_spend(VirtioGpu *s, uint64_t n); /* bytes of this slice; another one follows */
/* virtio-gpu-leave.c */
void gpu_leave(VirtioGpu *s, GpuRes *r); /* nothing points to it but s->leaving from here on */
void gpu_leave_pixels(VirtioGpu *s, pixman_image_t *image, uint64_t counted);
void gpu_leave_all(VirtioGpu *s); /* the resources */
bool gpu_sweep(VirtioGpu *s);     /* frees what this slice may; true: nothing is left */
/* virtio-gpu-res.c. Each returns a response's type, or GPU_GOES_ON. */
uint32_t gpu_create_2d(VirtioGpu *s, VqElem *e);
uint32_t gpu_create_blob(VirtioGpu *s, VqElem *e);
uint32_t gpu_unref(VirtioGpu *s, VqElem *e);
uint32_t gpu_attach(VirtioGpu *s, VqElem *e);
uint32_t gpu_detach(VirtioGpu *s, VqElem *e);
uint32_t gpu_transfer(VirtioGpu *s, VqElem *e);
GpuRes *gpu_res(VirtioGpu *s, uint32_t id); /* NULL: no such resource */
/* Reads a request into q and finds the resource that id, in q, names; NULL: *ret_rc is the answer.
 */
GpuRes *gpu_request_res(VirtioGpu *s, VqElem *e, void *q, size_t size, le32 *id, uint32_t *ret_rc);
unsigned gpu_format(uint32_t format); /* pixman's; 0: unknown */
bool gpu_charge(VirtioGpu *s, uint64_t bytes);
/* Copies [off, off+len) of the resource's memory; false: it is not there. */
bool gpu_read(const VirtioGpu *s, const GpuRes *r, uint64_t off, void *to, uint64_t len);
void gpu_detach_pieces(VirtioGpu *s, GpuRes *r);
/* virtio-gpu-scanout.c */
uint32_t gpu_set_scanout(VirtioGpu *s, VqElem *e);
uint32_t gpu_set_scanout_blob(VirtioGpu *s, VqElem *e);
uint32_t gpu_flush(VirtioGpu *s, VqElem *e);
uint32_t gpu_cursor(VirtioGpu *s, VqElem *e, bool update);
void gpu_scanout_off(GpuHead *h);
void gpu_res_gone(VirtioGpu *s, GpuRes *r); /* before its memory goes */
bool rect_get(Rect *ret, const GpuRect *r); /* false: its far corner does not fit 32 bits */
bool rect_inside(const Rect *r, uint32_t width, uint32_t height);
bool rect_common(const Rect *a, const Rect *b, Rect *ret); /* false: they have nothing in common */
