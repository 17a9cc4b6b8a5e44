/* x-overlay: what is written goes into a file without a name, the node below is only read:
 * -snapshot and -drive snapshot=on. It ends with the node. Tested by tests/system/test_block.py. */
#include "block-internal.h"
#include "util/giov.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLUSTER = 65536 };
typedef struct Overlay {
    int fd;
    GRWLock lock; /* which clusters are in the file */
    uint64_t nbits;
    uint8_t *has; /* a bit for each cluster */
} Overlay;

static bool has(const Overlay *o, uint64_t c)
{
    return o->has[c / 8] >> (c % 8) & 1;
}

static bool open_file(Overlay *o, GError **err)
{
    const char *dir = g_getenv("TMPDIR");
    g_autofree char *path = g_build_filename(dir && *dir ? dir : "/var/tmp", "vl.XXXXXX", NULL);

    o->fd = mkostemp(path, O_CLOEXEC);
    if (o->fd < 0) {
        return err_set_errno(err, "Could not open temporary file '%s'", path);
    }
    if (unlink(path) < 0) {
        close(o->fd);
        return err_set_errno(err, "Could not unlink '%s'", path);
    }
    return true;
}

static bool overlay_open(BlkNode *n, GError **err)
{
    Overlay *o = n->state;

    if (!open_file(o, err)) {
        return false;
    }
    n->size = n->file->size;
    n->filename = g_strdup(n->file->filename);
    o->nbits = (n->size + CLUSTER - 1) / CLUSTER;
    o->has = g_try_malloc0(o->nbits / 8 + 1);
    if (!o->has) {
        close(o->fd);
        return err_set(err, "The image is too large for a temporary snapshot");
    }
    g_rw_lock_init(&o->lock);
    return true;
}

static void overlay_close(BlkNode *n)
{
    Overlay *o = n->state;

    close(o->fd);
    g_free(o->has);
    g_rw_lock_clear(&o->lock);
}

/* All of it; what lies behind the file's end reads as zeroes. */
static int transfer(int fd, bool write, uint64_t off, uint8_t *buf, size_t len)
{
    while (len) {
        ssize_t got = write ? pwrite(fd, buf, len, (off_t)off) : pread(fd, buf, len, (off_t)off);

        if (got < 0 && errno != EINTR) {
            return -errno;
        }
        if (got == 0) {
            memset(buf, 0, len);
            return write ? -ENOSPC : 0;
        }
        if (got > 0) {
            off += (uint64_t)got;
            buf += got;
            len -= (size_t)got;
        }
    }
    return 0;
}

static int overlay_preadv(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    Overlay *o = n->state;
    g_autofree uint8_t *buf = g_try_malloc(MIN(len, (uint64_t)CLUSTER));
    GIov to;
    int rc = buf ? 0 : -ENOMEM;

    giov_init(&to, iov, niov);
    g_rw_lock_reader_lock(&o->lock);
    while (len && !rc) {
        size_t some = (size_t)MIN(len, CLUSTER - off % CLUSTER);

        rc = has(o, off / CLUSTER) ? transfer(o->fd, false, off, buf, some)
                                   : blk_node_pread(n->file, off, buf, some);
        if (!rc && !giov_put(&to, buf, some)) {
            rc = -EINVAL;
        }
        off += some;
        len -= some;
    }
    g_rw_lock_reader_unlock(&o->lock);
    return rc;
}

/* One cluster at a time is whole in the file before its bit says so. */
static int write_cluster(BlkNode *n, uint64_t off, GIov *from, size_t len, uint8_t *buf)
{
    Overlay *o = n->state;
    uint64_t c = off / CLUSTER, at = c * CLUSTER;
    size_t whole = (size_t)MIN((uint64_t)CLUSTER, n->size - at);
    int rc = 0;

    if (has(o, c) || len == whole) {
        if (!giov_get(from, buf, len)) {
            return -EINVAL;
        }
        rc = transfer(o->fd, true, off, buf, len);
    } else {
        rc = blk_node_pread(n->file, at, buf, whole);
        if (!rc && !giov_get(from, buf + (off - at), len)) {
            rc = -EINVAL;
        }
        rc = rc ? rc : transfer(o->fd, true, at, buf, whole);
    }
    if (!rc) {
        o->has[c / 8] |= (uint8_t)(1u << (c % 8));
    }
    return rc;
}

static int overlay_pwritev(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov,
    uint64_t len, G_GNUC_UNUSED unsigned flags)
{
    Overlay *o = n->state;
    g_autofree uint8_t *buf = g_try_malloc(CLUSTER);
    GIov from;
    int rc = buf ? 0 : -ENOMEM;

    giov_init(&from, iov, niov);
    g_rw_lock_writer_lock(&o->lock);
    while (len && !rc) {
        size_t some = (size_t)MIN(len, CLUSTER - off % CLUSTER);

        rc = write_cluster(n, off, &from, some, buf);
        off += some;
        len -= some;
    }
    g_rw_lock_writer_unlock(&o->lock);
    return rc;
}

const BlkDriver blk_overlay = { .name = "x-overlay",
    .help = "writes go to a temporary file",
    .size = sizeof(Overlay),
    .open = overlay_open,
    .close = overlay_close,
    .preadv = overlay_preadv,
    .pwritev = overlay_pwritev };
