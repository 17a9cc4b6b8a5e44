/* The raw format: a window into the node below; protects a guessed format from being rewritten by
 * the guest. */
#include "block-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct RawOpts {
    uint64_t offset, size;
    bool probed;
} RawOpts;
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

static bool raw_open(BlkNode *n, GError **err)
{
    const RawOpts *o = n->opts;
    uint64_t below = n->file->size;

    if (o->offset > below || (o->size && o->size > below - o->offset)) {
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
    n->cache_no_flush |= n->file->cache_no_flush;
    return true;
}

static void raw_close(G_GNUC_UNUSED BlkNode *n) {}

/* First bytes that another driver, here or elsewhere, would take for its own format. */
static bool looks_like_image(const uint8_t *p)
{
    static const struct {
        const char *magic;
        unsigned len;
    } known[] = {
        { "QFI\xfb", 4 },
        { "QED\0", 4 },
        { "KDMV", 4 },
        { "COWD", 4 },
        { "# Disk DescriptorFile", 21 },
        { "conectix", 8 },
        { "vhdxfile", 8 },
        { "LUKS\xba\xbe", 6 },
        { "WithoutFreeSpace", 16 },
        { "WithouFreSpacExt", 16 },
        { "OOOM", 4 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        if (!memcmp(p, known[i].magic, known[i].len)) {
            return true;
        }
    }
    return false;
}

static int guard_block0(const BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov)
{
    const RawOpts *o = n->opts;
    uint8_t head[32] = { 0 };
    size_t at = off;

    if (!o->probed || off >= sizeof head) {
        return 0;
    }
    struct iovec v = { head, sizeof head };
    int rc = n->file->drv->preadv(n->file, 0, &v, 1, sizeof head);
    for (unsigned i = 0; i < niov && at < sizeof head; i++) {
        size_t len = MIN(iov[i].iov_len, sizeof head - at);
        memcpy(head + at, iov[i].iov_base, len);
        at += len;
    }
    return rc ? rc : looks_like_image(head) ? -EPERM : 0;
}

static int raw_preadv(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    const RawOpts *o = n->opts;
    return n->file->drv->preadv(n->file, off + o->offset, iov, niov, len);
}

static int raw_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    const RawOpts *o = n->opts;
    int rc = guard_block0(n, off, iov, niov);
    return rc ? rc : n->file->drv->pwritev(n->file, off + o->offset, iov, niov, len, flags);
}

static int raw_flush(BlkNode *n)
{
    return n->file->drv->flush ? n->file->drv->flush(n->file) : 0;
}

static int raw_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    const RawOpts *o = n->opts;
    return n->file->drv->discard ? n->file->drv->discard(n->file, off + o->offset, len) : -ENOTSUP;
}

static int raw_write_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    const RawOpts *o = n->opts;
    return n->file->drv->write_zeroes
               ? n->file->drv->write_zeroes(n->file, off + o->offset, len, flags)
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
        n->size = size;
    }
    return rc;
}

static bool raw_submit(BlkNode *n, BlkReq *r)
{
    const RawOpts *o = n->opts;
    return !o->probed && !o->offset && !n->cache_no_flush && n->file->drv->submit &&
           n->file->drv->submit(n->file, r);
}

const BlkDriver blk_raw = { .name = "raw",
    .help = "the bytes as they are",
    .props = raw_props,
    .opts_size = sizeof(RawOpts),
    .open = raw_open,
    .close = raw_close,
    .preadv = raw_preadv,
    .pwritev = raw_pwritev,
    .flush = raw_flush,
    .discard = raw_discard,
    .write_zeroes = raw_write_zeroes,
    .truncate = raw_truncate,
    .submit = raw_submit };
