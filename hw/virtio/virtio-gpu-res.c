/*
 * Resources of virtio-gpu: pictures in the host's memory and blobs in the guest's, their backing,
 * transfers (VIRTIO 1.4, 5.7.6.8). Backing is kept as addresses and looked up when it is used, so a
 * resource holds no memory of the guest. Tested by test-virtio-gpu.
 */
#include "hw/virtio/virtio-gpu.h"
#include "ui/surface.h"

#include <string.h>

enum { BLOB_MEM_GUEST = 1 };

typedef struct CreateReq {
    GpuHdr hdr;
    le32 resource_id, format, width, height;
} CreateReq;
_Static_assert(sizeof(CreateReq) == 40, "VIRTIO 1.4, 5.7.6.8");
typedef struct IdReq { /* unref, detach */
    GpuHdr hdr;
    le32 resource_id, padding;
} IdReq;
typedef struct AttachReq {
    GpuHdr hdr;
    le32 resource_id, nr_entries;
} AttachReq;
typedef struct MemEntry {
    le64 addr;
    le32 length, padding;
} MemEntry;
_Static_assert(sizeof(MemEntry) == 16, "VIRTIO 1.4, 5.7.6.8");
typedef struct TransferReq {
    GpuHdr hdr;
    GpuRect r;
    le64 offset;
    le32 resource_id, padding;
} TransferReq;
_Static_assert(sizeof(TransferReq) == 56, "VIRTIO 1.4, 5.7.6.8");
typedef struct BlobReq {
    GpuHdr hdr;
    le32 resource_id, blob_mem, blob_flags, nr_entries;
    le64 blob_id, size;
} BlobReq;
_Static_assert(sizeof(BlobReq) == 56, "VIRTIO 1.4, 5.7.6.8");

/* Named by their bytes in memory, where pixman names from the top of a little-endian word. */
unsigned gpu_format(uint32_t format)
{
    switch (format) {
    case 1:
        return PIXMAN_a8r8g8b8;
    case 2:
        return PIXMAN_x8r8g8b8;
    case 3:
        return PIXMAN_b8g8r8a8;
    case 4:
        return PIXMAN_b8g8r8x8;
    case 67:
        return PIXMAN_a8b8g8r8;
    case 68:
        return PIXMAN_r8g8b8x8;
    case 121:
        return PIXMAN_r8g8b8a8;
    case 134:
        return PIXMAN_x8b8g8r8;
    default:
        return 0;
    }
}

GpuRes *gpu_res(VirtioGpu *s, uint32_t id)
{
    return g_hash_table_lookup(s->resources, GUINT_TO_POINTER(id));
}

GpuRes *gpu_request_res(VirtioGpu *s, VqElem *e, void *q, size_t size, le32 *id, uint32_t *ret_rc)
{
    if (!giov_get(&e->out, q, size)) {
        *ret_rc = GPU_ERR_INVALID_PARAMETER;
        return NULL;
    }
    GpuRes *r = gpu_res(s, le32_get(*id));

    *ret_rc = r ? GPU_OK_NODATA : GPU_ERR_INVALID_RESOURCE_ID;
    return r;
}

bool gpu_charge(VirtioGpu *s, uint64_t bytes)
{
    if (bytes > s->max_hostmem || s->hostmem > s->max_hostmem - bytes) {
        return false;
    }
    s->hostmem += bytes;
    return true;
}

void gpu_detach_pieces(VirtioGpu *s, GpuRes *r)
{
    uint64_t bytes = (uint64_t)r->npieces * sizeof(GpuPiece);

    s->hostmem -= bytes;
    r->counted -= bytes;
    g_clear_pointer(&r->pieces, g_free);
    r->npieces = 0;
    r->backing = 0;
    r->attached = false;
}

/* NULL: max_hostmem is reached, or GPU_RES_MAX. */
static GpuRes *res_new(VirtioGpu *s, uint32_t id, uint64_t bytes)
{
    if (g_hash_table_size(s->resources) == GPU_RES_MAX ||
        !gpu_charge(s, bytes + GPU_RES_OVERHEAD)) {
        return NULL;
    }
    GpuRes *r = g_new0(GpuRes, 1);

    r->id = id;
    r->counted = bytes + GPU_RES_OVERHEAD;
    g_hash_table_insert(s->resources, GUINT_TO_POINTER(id), r);
    return r;
}

static void drop(VirtioGpu *s, GpuRes *r)
{
    gpu_res_gone(s, r);
    g_hash_table_remove(s->resources, GUINT_TO_POINTER(r->id));
    gpu_leave(s, r);
}

uint32_t gpu_create_2d(VirtioGpu *s, VqElem *e)
{
    CreateReq q;

    if (!giov_get(&e->out, &q, sizeof q)) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    uint32_t id = le32_get(q.resource_id), width = le32_get(q.width), height = le32_get(q.height);
    unsigned format = gpu_format(le32_get(q.format));

    if (!id || gpu_res(s, id)) {
        return GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (!format || !width || !height || width > DISPLAY_SIDE_MAX || height > DISPLAY_SIDE_MAX) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    GpuRes *r = res_new(s, id, (uint64_t)width * height * 4);

    if (!r) {
        return GPU_ERR_OUT_OF_MEMORY;
    }
    r->width = width;
    r->height = height;
    r->format = format;
    r->image = surface_new(format, width, height);
    if (!r->image) {
        drop(s, r);
        return GPU_ERR_OUT_OF_MEMORY;
    }
    return GPU_OK_NODATA;
}

uint32_t gpu_unref(VirtioGpu *s, VqElem *e)
{
    IdReq q;
    uint32_t rc;
    GpuRes *r = gpu_request_res(s, e, &q, sizeof q, &q.resource_id, &rc);

    if (!r) {
        return rc;
    }
    drop(s, r);
    return GPU_OK_NODATA;
}

/* ---- backing ---- */

static uint32_t attach(VirtioGpu *s, GpuRes *r, GIov *from, uint32_t n)
{
    uint64_t bytes = (uint64_t)n * sizeof(GpuPiece);

    if (n > GPU_ENTRIES_MAX || from->left / sizeof(MemEntry) < n) {
        return GPU_ERR_UNSPEC;
    }
    if (!gpu_charge(s, bytes)) {
        return GPU_ERR_OUT_OF_MEMORY;
    }
    gpu_spend(s, bytes);
    r->counted += bytes;
    r->pieces = g_new(GpuPiece, n);
    r->npieces = n;
    r->attached = true;
    for (uint32_t i = 0; i < n; i++) {
        MemEntry m;
        bool ok = giov_get(from, &m, sizeof m);

        g_assert(ok);
        r->pieces[i] = (GpuPiece){ le64_get(m.addr), le32_get(m.length), r->backing };
        r->backing += le32_get(m.length); /* at most 2^14 * 2^32 */
    }
    return GPU_OK_NODATA;
}

uint32_t gpu_attach(VirtioGpu *s, VqElem *e)
{
    AttachReq q;
    uint32_t rc;
    GpuRes *r = gpu_request_res(s, e, &q, sizeof q, &q.resource_id, &rc);

    if (!r) {
        return rc;
    }
    return r->attached ? GPU_ERR_UNSPEC : attach(s, r, &e->out, le32_get(q.nr_entries));
}

uint32_t gpu_detach(VirtioGpu *s, VqElem *e)
{
    IdReq q;
    uint32_t rc;
    GpuRes *r = gpu_request_res(s, e, &q, sizeof q, &q.resource_id, &rc);

    if (!r) {
        return rc;
    }
    if (!r->attached) {
        return GPU_ERR_UNSPEC;
    }
    gpu_detach_pieces(s, r);
    return GPU_OK_NODATA;
}

uint32_t gpu_create_blob(VirtioGpu *s, VqElem *e)
{
    BlobReq q;

    if (!giov_get(&e->out, &q, sizeof q)) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    uint32_t id = le32_get(q.resource_id);

    if (!id || gpu_res(s, id)) {
        return GPU_ERR_INVALID_RESOURCE_ID;
    }
    if (le32_get(q.blob_mem) != BLOB_MEM_GUEST || !le64_get(q.size)) {
        return GPU_ERR_INVALID_PARAMETER; /* host memory is for 3D */
    }
    GpuRes *r = res_new(s, id, 0);

    if (!r) {
        return GPU_ERR_OUT_OF_MEMORY;
    }
    r->blob_size = le64_get(q.size);
    if (le32_get(q.nr_entries)) { /* without: ATTACH_BACKING follows */
        uint32_t status = attach(s, r, &e->out, le32_get(q.nr_entries));

        if (status != GPU_OK_NODATA) {
            drop(s, r);
            return status;
        }
    }
    return GPU_OK_NODATA;
}

/* The last piece that begins at or before off. */
static uint32_t find_piece(const GpuRes *r, uint64_t off)
{
    uint32_t low = 0, high = r->npieces;

    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;

        if (r->pieces[mid].off <= off) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return low;
}

bool gpu_read(const VirtioGpu *s, const GpuRes *r, uint64_t off, void *to, uint64_t len)
{
    uint8_t *at = to;

    if (off > r->backing || len > r->backing - off) {
        return false;
    }
    for (uint32_t i = len ? find_piece(r, off) : 0; len; i++) {
        const GpuPiece *p = &r->pieces[i];
        uint64_t skip = off - p->off, some = MIN(len, p->len - skip);

        if (some && !dma_read(s->vd.dma, (Iova){ p->at + skip }, at, some)) {
            return false;
        }
        at += some;
        off += some;
        len -= some;
    }
    return true;
}

uint32_t gpu_transfer(VirtioGpu *s, VqElem *e)
{
    TransferReq q;
    Rect rect;
    uint32_t rc;
    GpuRes *r = gpu_request_res(s, e, &q, sizeof q, &q.resource_id, &rc);

    if (!r) {
        return rc;
    }
    if (!r->attached || !r->image) {
        return GPU_ERR_UNSPEC;
    }
    if (!rect_get(&rect, &q.r) || !rect_inside(&rect, r->width, r->height)) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    uint64_t off = le64_get(q.offset), stride = (uint64_t)r->width * 4;
    uint64_t row = (uint64_t)rect.width * 4, rows = rect.height;

    if (!row || !rows) {
        return GPU_OK_NODATA;
    }
    /* All of it, or nothing: what lies outside the backing is the driver's mistake. */
    uint64_t need = stride * (rows - 1) + row;

    if (off > r->backing || need > r->backing - off) {
        return GPU_ERR_INVALID_PARAMETER;
    }
    s->job = (GpuJob){ .res = r, .left = rect, .what = GPU_TO_HOST, .off = off };
    return gpu_copy(s);
}
