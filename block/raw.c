/* The raw format: a window into the node below; protects a guessed format from being rewritten by
 * the guest. Tested by test-block. */
#include "block-internal.h"
#include "util/giov.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct RawOpts {
    uint64_t offset, size;
    bool probed;
} RawOpts;
typedef struct RawState {
    GMutex head; /* writes into the first bytes of a guessed image */
} RawState;
static const PropSpec raw_props[] = {
    PROP_SIZE("offset", RawOpts, offset, 0, "where the image starts in the file"),
    PROP_SIZE("size", RawOpts, size, 0, "length; 0: to the end"),
    { .name = "probed",
        .type = &prop_bool,
        .offset = PROP_AT(RawOpts, probed, bool),
        .bit = -1,
        .flags = PROP_INTERNAL,
        .help = "the format was guessed" },
    PROP_END,
};

/* First bytes that another driver, here or elsewhere, would take for its own format. */
const char *blk_probe_head(const uint8_t *p)
{
    static const struct {
        const char *magic;
        unsigned len;
        const char *format;
    } known[] = {
        { "QFI\xfb", 4, "qcow2" },
        { "QED\0", 4, "qed" },
        { "KDMV", 4, "vmdk" },
        { "COWD", 4, "vmdk" },
        { "# Disk DescriptorFile", 21, "vmdk" },
        { "conectix", 8, "vpc" },
        { "vhdxfile", 8, "vhdx" },
        { "LUKS\xba\xbe", 6, "luks" },
        { "WithoutFreeSpace", 16, "parallels" },
        { "WithouFreSpacExt", 16, "parallels" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        if (!memcmp(p, known[i].magic, known[i].len)) {
            return known[i].format;
        }
    }
    return NULL;
}

static bool raw_open(BlkNode *n, GError **err)
{
    const RawOpts *o = n->opts;
    RawState *s = n->state;
    uint8_t head[512] = { 0 };
    struct iovec v = { head, sizeof head };
    const char *format;

    if (o->probed && n->file->drv->preadv(n->file, 0, &v, 1, sizeof head) == 0 &&
        (format = blk_probe_head(head))) {
        return err_set(err,
            "'%s' holds an image of format '%s', which is not supported; format=raw takes its "
            "bytes as they are",
            n->file->filename, format);
    }
    g_mutex_init(&s->head);
    uint64_t below = n->file->size;

    if ((int64_t)o->offset < 0) {
        return err_set(
            err, "Value '%" PRId64 "' is out of range for parameter 'offset'", (int64_t)o->offset);
    }
    if (o->offset > below) {
        return err_set(err,
            "Offset (%" PRIu64 ") cannot be greater than size of the containing file (%" PRIu64 ")",
            o->offset, below);
    }
    if (o->size % 512) {
        return err_set(err, "Specified size is not multiple of 512");
    }
    if (o->size > below - o->offset) {
        return err_set(err,
            "The sum of offset (%" PRIu64 ") and size (%" PRIu64
            ") has to be smaller or equal to the  actual size of the "
            "containing file (%" PRIu64 ")",
            o->offset, o->size, below);
    }
    n->size = o->size ? o->size : below - o->offset;
    if (!o->offset && !o->size) {
        n->size =
            (n->size + 511) & ~511ull; /* a guest sees whole sectors; the tail reads as zeroes */
    }
    n->read_only |= n->file->read_only;
    n->align = n->file->align;
    n->filename = g_strdup(n->file->filename);
    n->instant = n->file->instant && !o->probed && n->size <= below;
    return true;
}

static void raw_close(BlkNode *n)
{
    g_mutex_clear(&((RawState *)n->state)->head);
}

/*
 * A write that touches the first bytes of an image whose format was guessed. What the guest could
 * still change is copied first, and one goes at a time, so that what was checked is what is
 * written.
 */
static int guarded_write(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    enum { HEAD = 512 };
    const RawOpts *o = n->opts;
    RawState *s = n->state;
    uint8_t head[HEAD] = { 0 };
    size_t some = MIN(len, HEAD - off);
    struct iovec all = { head, sizeof head }, first = { head + off, some };
    GIov data, tail;
    int rc;

    giov_init(&data, iov, niov);
    if (!giov_split(&data, some, &tail)) {
        return -EIO;
    }
    g_mutex_lock(&s->head);
    rc = n->file->drv->preadv(n->file, o->offset, &all, 1, sizeof head);
    if (!rc) {
        bool ok = giov_get(&data, head + off, some);
        g_assert(ok);
        rc = blk_probe_head(head)
                 ? -EPERM
                 : n->file->drv->pwritev(n->file, o->offset + off, &first, 1, some, flags);
    }
    g_mutex_unlock(&s->head);
    if (rc || len == some) {
        return rc;
    }
    g_autofree struct iovec *v = g_new(struct iovec, niov);
    unsigned nv = giov_iovec(&tail, v, niov);
    return n->file->drv->pwritev(n->file, o->offset + off + some, v, nv, len - some, flags);
}

static int raw_preadv(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    const RawOpts *o = n->opts;

    blk_node_event(n->file, "read_aio");
    return n->file->drv->preadv(n->file, off + o->offset, iov, niov, len);
}

static bool raw_preadv_quick(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    const RawOpts *o = n->opts;
    const BlkDriver *below = n->file->drv;

    return below->preadv_quick && below->preadv_quick(n->file, off + o->offset, iov, niov, len);
}

static int raw_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    const RawOpts *o = n->opts;

    blk_node_event(n->file, "write_aio");
    blk_node_wrote(n->file, off + o->offset + len);
    if (o->probed && off < 512) {
        return guarded_write(n, off, iov, niov, len, flags);
    }
    return n->file->drv->pwritev(n->file, off + o->offset, iov, niov, len, flags);
}

static int raw_flush(BlkNode *n)
{
    blk_node_event(n->file, "flush_to_os");
    blk_node_event(n->file, "flush_to_disk");
    return blk_node_flush(n->file);
}

static int raw_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    const RawOpts *o = n->opts;
    return n->file->drv->discard ? blk_node_discard(n->file, off + o->offset, len) : -ENOTSUP;
}

static int raw_write_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    const RawOpts *o = n->opts;
    return n->file->drv->write_zeroes
               ? n->file->drv->write_zeroes(n->file, off + o->offset, len,
                     n->file->discard_unmap ? flags : flags & ~(unsigned)BLK_MAY_UNMAP)
               : -ENOTSUP;
}

static int raw_truncate(BlkNode *n, uint64_t size)
{
    const RawOpts *o = n->opts;

    if (o->size) {
        return -ENOTSUP; /* the window's size is the user's */
    }
    int rc = n->file->drv->truncate ? n->file->drv->truncate(n->file, o->offset + size) : -ENOTSUP;
    if (!rc) {
        n->size = o->offset ? size : (size + 511) & ~511ull;
    }
    return rc;
}

static BlkTaken raw_submit(BlkNode *n, BlkReq *r)
{
    const RawOpts *o = n->opts;
    bool direct = !o->probed && !o->offset && !n->cache_no_flush && n->file->drv->submit &&
                  (r->op == BLK_FLUSH || r->off + r->len <= n->file->size);

    if (direct && r->op == BLK_WRITE) {
        blk_node_wrote(n->file, r->off + r->len);
    }
    return direct ? n->file->drv->submit(n->file, r) : BLK_NOT_TAKEN;
}

/* Only a node that keeps nothing is instant: it does not mind our offset. */
static void raw_now(BlkNode *n, const BlkReq *r)
{
    n->file->drv->now(n->file, r);
    if (r->op == BLK_WRITE) {
        blk_node_wrote(n->file, r->off + r->len);
    }
}

static const char *const raw_strong[] = { "offset", "size", NULL };

const BlkDriver blk_raw = { .name = "raw",
    .help = "the bytes as they are",
    .size = sizeof(RawState),
    .props = raw_props,
    .opts_size = sizeof(RawOpts),
    .strong = raw_strong,
    .open = raw_open,
    .close = raw_close,
    .preadv = raw_preadv,
    .preadv_quick = raw_preadv_quick,
    .pwritev = raw_pwritev,
    .flush = raw_flush,
    .discard = raw_discard,
    .write_zeroes = raw_write_zeroes,
    .truncate = raw_truncate,
    .submit = raw_submit,
    .now = raw_now };
