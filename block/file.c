/* Files and host devices by system calls (pread, pwrite, fdatasync, fallocate), O_DIRECT with
 * bounce buffers. */
#include "block-internal.h"
#include "util/fd.h"
#include "util/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct FileOpts {
    char *filename, *aio, *locking;
} FileOpts;
typedef struct BlkFile {
    int fd;
    GMutex direct;          /* O_DIRECT: read-modify-write of unaligned edges */
    bool no_punch, no_zero; /* the file system said it cannot; relaxed, only a hint */
} BlkFile;

static const PropSpec file_props[] = {
    PROP_STR("filename", FileOpts, filename, "path of the file"),
    PROP_STR("aio", FileOpts, aio, "threads"),
    PROP_STR("locking", FileOpts, locking, "auto, off: no locks are taken"),
    PROP_END,
};

static bool file_size(int fd, uint64_t *ret, GError **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return err_set_errno(err, "Could not get file size");
    }
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, ret) < 0) {
            return err_set_errno(err, "Could not get device size");
        }
        return true;
    }
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return err_set_errno(err, "Could not open");
    }
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) {
        return err_set_errno(err, "Could not get file size");
    }
    *ret = (uint64_t)end;
    return true;
}

static bool file_open(BlkNode *n, GError **err)
{
    BlkFile *f = n->state;
    const FileOpts *o = n->opts;

    if (!o->filename) {
        return err_set(err, "The 'file' block driver requires a file name");
    }
    if (o->aio && strcmp(o->aio, "threads")) {
        return err_set(err, "aio=%s is not supported, use aio=threads", o->aio);
    }
    int flags = O_CLOEXEC | (n->cache_direct ? O_DIRECT : 0);
    f->fd = open(o->filename, flags | (n->read_only ? O_RDONLY : O_RDWR));
    if (f->fd < 0 && !n->read_only && n->auto_read_only && (errno == EACCES || errno == EROFS)) {
        f->fd = open(o->filename, flags | O_RDONLY);
        n->read_only = f->fd >= 0;
    }
    if (f->fd < 0) {
        return err_set_errno(err, "Could not open '%s'", o->filename);
    }
    if (!file_size(f->fd, &n->size, err)) {
        close(f->fd);
        return false;
    }
    n->filename = g_strdup(o->filename);
    g_mutex_init(&f->direct);
    n->align = n->cache_direct ? 4096 : 1;
    return true;
}

static void file_close(BlkNode *n)
{
    BlkFile *f = n->state;

    close(f->fd);
    g_mutex_clear(&f->direct);
}

/* Moves *v, *n forward by done bytes; the first entry is kept in *part when it is cut. */
static void advance(const struct iovec **v, unsigned *n, struct iovec *part, size_t done)
{
    while (*n && done >= (*v)->iov_len) {
        done -= (*v)->iov_len;
        (*v)++;
        (*n)--;
    }
    if (*n && done) {
        *part = (struct iovec){ (char *)(*v)->iov_base + done, (*v)->iov_len - done };
    }
}

/* All of it, whatever the kernel cuts; reads beyond the end of the file give zeroes. */
static int rw_all(
    int fd, bool write, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    struct iovec part = { 0 };

    while (len && niov) {
        ssize_t got;
        if (part.iov_len) {
            got = write ? pwritev(fd, &part, 1, (off_t)off) : preadv(fd, &part, 1, (off_t)off);
        } else {
            int cnt = (int)MIN(niov, 1024u);
            got = write ? pwritev(fd, iov, cnt, (off_t)off) : preadv(fd, iov, cnt, (off_t)off);
        }
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        if (got == 0) {
            if (write) {
                return -ENOSPC;
            }
            if (part.iov_len) {
                memset(part.iov_base, 0, part.iov_len);
                iov++;
                niov--;
            }
            for (unsigned i = 0; i < niov; i++) {
                memset(iov[i].iov_base, 0, iov[i].iov_len);
            }
            return 0;
        }
        off += (uint64_t)got;
        len -= (uint64_t)got;
        size_t done = (size_t)got;
        if (part.iov_len) {
            if (done < part.iov_len) {
                part.iov_base = (char *)part.iov_base + done;
                part.iov_len -= done;
                continue;
            }
            part.iov_len = 0;
            iov++;
            niov--;
            continue;
        }
        advance(&iov, &niov, &part, done);
    }
    return 0;
}

static bool aligned(
    const BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    uint64_t bits = off | len;

    for (unsigned i = 0; i < niov; i++) {
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    }
    return !(bits & (n->align - 1));
}

static void copy_iov(const struct iovec *iov, unsigned niov, char *buf, bool to_iov)
{
    for (unsigned i = 0; i < niov; i++) {
        memcpy(to_iov ? iov[i].iov_base : buf, to_iov ? buf : iov[i].iov_base, iov[i].iov_len);
        buf += iov[i].iov_len;
    }
}

/* O_DIRECT with an unaligned request: through an aligned buffer; writes read the edges first, under
 * the lock. */
static int bounced(
    BlkNode *n, bool write, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    BlkFile *f = n->state;
    uint64_t a = n->align, from = off & ~(a - 1), size = ((off + len + a - 1) & ~(a - 1)) - from;
    void *buf;

    if (posix_memalign(&buf, a, size)) {
        return -ENOMEM;
    }
    struct iovec v = { buf, size };
    if (write) {
        g_mutex_lock(&f->direct);
    }
    int rc = rw_all(f->fd, false, from, &v, 1, size);
    if (!rc) {
        copy_iov(iov, niov, (char *)buf + (off - from), !write);
        if (write) {
            rc = rw_all(f->fd, true, from, &v, 1, size);
        }
    }
    if (write) {
        g_mutex_unlock(&f->direct);
    }
    free(buf);
    return rc;
}

static int file_preadv(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    const BlkFile *f = n->state;

    if (n->align > 1 && !aligned(n, off, iov, niov, len)) {
        return bounced(n, false, off, iov, niov, len);
    }
    return rw_all(f->fd, false, off, iov, niov, len);
}

static int file_pwritev(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov,
    uint64_t len, G_GNUC_UNUSED unsigned flags)
{
    const BlkFile *f = n->state;

    if (n->align > 1 && !aligned(n, off, iov, niov, len)) {
        return bounced(n, true, off, iov, niov, len);
    }
    return rw_all(f->fd, true, off, iov, niov, len);
}

static int file_flush(BlkNode *n)
{
    const BlkFile *f = n->state;
    return fdatasync(f->fd) < 0 ? -errno : 0;
}

static int do_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
    int rc;

    do {
        rc = fallocate(fd, mode, (off_t)off, (off_t)len);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV ? -ENOTSUP : -errno)
                  : 0;
}

static int file_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    const BlkFile *f = n->state;
    return do_fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static int file_write_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    const BlkFile *f = n->state;
    int rc = -ENOTSUP;

    if (flags & BLK_MAY_UNMAP) {
        rc = do_fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
    }
    return rc == -ENOTSUP
               ? do_fallocate(f->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len)
               : rc;
}

static int file_truncate(BlkNode *n, uint64_t size)
{
    const BlkFile *f = n->state;

    if (ftruncate(f->fd, (off_t)size) < 0) {
        return -errno;
    }
    n->size = size;
    return 0;
}

const BlkDriver blk_file = { .name = "file",
    .help = "a file",
    .size = sizeof(BlkFile),
    .props = file_props,
    .opts_size = sizeof(FileOpts),
    .protocol = true,
    .open = file_open,
    .close = file_close,
    .preadv = file_preadv,
    .pwritev = file_pwritev,
    .flush = file_flush,
    .discard = file_discard,
    .write_zeroes = file_write_zeroes,
    .truncate = file_truncate };
const BlkDriver blk_host_device = { .name = "host_device",
    .help = "a block device of the host",
    .size = sizeof(BlkFile),
    .props = file_props,
    .opts_size = sizeof(FileOpts),
    .protocol = true,
    .open = file_open,
    .close = file_close,
    .preadv = file_preadv,
    .pwritev = file_pwritev,
    .flush = file_flush,
    .discard = file_discard,
    .write_zeroes = file_write_zeroes };
