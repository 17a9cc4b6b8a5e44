/* Files and host devices by system calls (pread, pwrite, fdatasync, fallocate), O_DIRECT with
 * bounce buffers, locks against other emulators. Tested by test-block. */
#include "block-internal.h"
#include "util/fd.h"
#include "util/giov.h"
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

typedef struct FileOpts {
    char *filename, *aio, *locking;
    uint64_t batch;
    bool drop, check;
} FileOpts;
static const PropSpec file_props[] = {
    PROP_STR("filename", FileOpts, filename, "path of the file"),
    PROP_STR("aio", FileOpts, aio, "threads, native, io_uring"),
    PROP_STR("locking", FileOpts, locking, "auto, off: no locks are taken"),
    PROP_U64("aio-max-batch", FileOpts, batch, 0, "no effect: a turn of the loop is a batch"),
    PROP_BOOL("drop-cache", FileOpts, drop, true, "no effect: there is no migration"),
    PROP_BOOL("x-check-cache-dropped", FileOpts, check, false, "no effect: the same"),
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
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) {
        return err_set_errno(err, "Could not get file size");
    }
    *ret = (uint64_t)end;
    return true;
}

/* What O_DIRECT asks of offsets and memory; 4096 where the kernel does not say. */
static uint32_t direct_align(int fd, bool block)
{
    int sector = 0;
    struct statx x = { 0 };

    if (block) {
        return ioctl(fd, BLKSSZGET, &sector) == 0 && sector >= 512 ? (uint32_t)sector : 4096;
    }
#ifdef STATX_DIOALIGN
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) == 0 && x.stx_mask & STATX_DIOALIGN &&
        x.stx_dio_offset_align) {
        return MAX(x.stx_dio_offset_align, x.stx_dio_mem_align);
    }
#endif
    (void)x;
    return 4096;
}

static bool file_check(const BlkNode *n, const FileOpts *o, GError **err)
{
    struct stat st;
    bool device = !strcmp(n->drv->name, "host_device");

    if (!o->filename) {
        return err_set(err, "Parameter 'filename' is missing");
    }
    if (o->aio && strcmp(o->aio, "threads") && strcmp(o->aio, "native") &&
        strcmp(o->aio, "io_uring")) {
        return err_set(err, "Parameter 'aio' does not accept value '%s'", o->aio);
    }
    if (o->aio && !strcmp(o->aio, "native") && !n->cache_direct) {
        return err_set(err, "aio=native was specified, but it requires cache.direct=on, which was "
                            "not specified.");
    }
    if (o->locking && strcmp(o->locking, "auto") && strcmp(o->locking, "on") &&
        strcmp(o->locking, "off")) {
        return err_set(err, "Parameter 'locking' does not accept value '%s'", o->locking);
    }
    if (stat(o->filename, &st) == 0) {
        if (S_ISDIR(st.st_mode) && !n->read_only && !n->auto_read_only) {
            return err_set(err, "Could not open '%s': %s", o->filename, strerror(EISDIR));
        }
        if (!device && !S_ISREG(st.st_mode)) {
            return err_set(err, "'file' driver requires '%s' to be a regular file", o->filename);
        }
        if (device && !S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode)) {
            return err_set(err,
                "'host_device' driver requires '%s' to be either a character or block device",
                o->filename);
        }
    }
    return true;
}

static bool file_open(BlkNode *n, GError **err)
{
    BlkFile *f = n->state;
    const FileOpts *o = n->opts;
    struct stat st;
    struct statfs fs;

    if (!file_check(n, o, err)) {
        return false;
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
    if (fstat(f->fd, &st) < 0 || !file_size(f->fd, &n->size, err)) {
        close(f->fd);
        return false;
    }
    /* Asynchronous by one interface, whichever name was given, or none; without it by threads. */
    if (!o->aio) {
        f->uring = true; /* each loop finds out for itself whether the host lets it */
    } else if (strcmp(o->aio, "threads")) {
        g_autoptr(GError) why = NULL;

        f->uring = uring_available(&why);
        if (!f->uring) {
            report_warning("%s; aio=threads is used for '%s'", why->message, o->filename);
        }
    }
    f->regular = S_ISREG(st.st_mode);
    f->in_memory = fstatfs(f->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
    n->filename = g_strdup(o->filename);
    g_rw_lock_init(&f->direct);
    g_mutex_init(&f->idle_lock);
    g_cond_init(&f->idle);
    n->align = n->cache_direct ? direct_align(f->fd, S_ISBLK(st.st_mode)) : 1;
    return true;
}

static void file_close(BlkNode *n)
{
    BlkFile *f = n->state;

    close(f->fd);
    g_rw_lock_clear(&f->direct);
    g_mutex_clear(&f->idle_lock);
    g_cond_clear(&f->idle);
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
    bool some = false;

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
            /* O_DIRECT: after a short read the end of the file, which is no multiple, lies behind
             * us. */
            if (errno != EINVAL || write || !some) {
                return -errno;
            }
            got = 0;
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
        some = true;
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

bool blk_file_aligned(
    const BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    uint64_t bits = off | len;

    for (unsigned i = 0; i < niov; i++) {
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    }
    return !(bits & (n->align - 1));
}

/* One piece of an unaligned request, through buf; writes read the edges first. Returns 0 or -errno.
 */
static int bounce_piece(BlkNode *n, bool write, uint64_t off, GIov *data, size_t len, uint8_t *buf)
{
    const BlkFile *f = n->state;
    uint64_t a = n->align, from = off & ~(a - 1), size = ((off + len + a - 1) & ~(a - 1)) - from;
    struct iovec v = { buf, size };
    int rc = 0;

    if (!write || from != off || size != len) {
        rc = rw_all(f->fd, false, from, &v, 1, size);
    }
    if (rc) {
        return rc;
    }
    bool ok =
        write ? giov_get(data, buf + (off - from), len) : giov_put(data, buf + (off - from), len);
    g_assert(ok);
    if (!write) {
        return 0;
    }
    rc = rw_all(f->fd, true, from, &v, 1, size);
    /* What lies behind the image's end was only padding. */
    if (!rc && from + size > n->size && f->regular && ftruncate(f->fd, (off_t)n->size) < 0) {
        rc = -errno;
    }
    return rc;
}

bool blk_file_write_begin(BlkFile *f)
{
    /* Sequentially consistent with rmw_begin(): one of the two sees the other. */
    atomic_fetch_add(&f->uring_writes, 1);
    if (!atomic_load(&f->rmw)) {
        return true;
    }
    blk_file_write_end(f);
    return false;
}

void blk_file_write_end(BlkFile *f)
{
    if (atomic_fetch_sub(&f->uring_writes, 1) == 1 && atomic_load(&f->rmw)) {
        g_mutex_lock(&f->idle_lock);
        g_cond_signal(&f->idle);
        g_mutex_unlock(&f->idle_lock);
    }
}

/* From now on no write by io_uring is out. Returns 0 or -errno. */
static int rmw_begin(BlkFile *f)
{
    atomic_store(&f->rmw, true);
    g_mutex_lock(&f->idle_lock);
    /* In a loop's own thread (the host has no thread to give) nobody else would end them. */
    while (atomic_load(&f->uring_writes) && !loop_current()) {
        g_cond_wait(&f->idle, &f->idle_lock);
    }
    g_mutex_unlock(&f->idle_lock);
    return atomic_load(&f->uring_writes) ? -EAGAIN : 0;
}

/* O_DIRECT with an unaligned request: through a small aligned buffer, whatever size the guest asks
 * for. */
static int bounced(
    BlkNode *n, bool write, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    enum { PIECE = 1 << 20 };
    BlkFile *f = n->state;
    GIov data;
    void *buf;
    int rc = 0;

    if (posix_memalign(&buf, n->align, PIECE + 2 * n->align)) {
        return -ENOMEM;
    }
    giov_init(&data, iov, niov);
    if (write) {
        g_rw_lock_writer_lock(&f->direct);
        rc = rmw_begin(f);
    }
    while (len && !rc) {
        size_t some = MIN(len, (uint64_t)PIECE);
        rc = bounce_piece(n, write, off, &data, some, buf);
        off += some;
        len -= some;
    }
    if (write) {
        atomic_store(&f->rmw, false);
        g_rw_lock_writer_unlock(&f->direct);
    }
    free(buf);
    return rc;
}

static int file_preadv(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    const BlkFile *f = n->state;

    if (n->align > 1 && !blk_file_aligned(n, off, iov, niov, len)) {
        return bounced(n, false, off, iov, niov, len);
    }
    return rw_all(f->fd, false, off, iov, niov, len);
}

/* What the page cache has. */
static bool file_preadv_quick(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    enum { QUICK_MAX = 32 << 10 }; /* longer copies are better made by several threads */
    BlkFile *f = n->state;

    if (n->align > 1 || len > QUICK_MAX || niov > IOV_MAX ||
        (!f->in_memory && atomic_load_explicit(&f->no_nowait, memory_order_relaxed))) {
        return false;
    }
    ssize_t got = preadv2(f->fd, iov, (int)niov, (off_t)off, f->in_memory ? 0 : RWF_NOWAIT);

    if (got < 0 && !f->in_memory && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        atomic_store_explicit(&f->no_nowait, true, memory_order_relaxed); /* asked once */
    }
    return got >= 0 && (uint64_t)got == len;
}

static int file_pwritev(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov,
    uint64_t len, G_GNUC_UNUSED unsigned flags)
{
    BlkFile *f = n->state;

    if (n->align == 1) {
        return rw_all(f->fd, true, off, iov, niov, len);
    }
    if (!blk_file_aligned(n, off, iov, niov, len)) {
        return bounced(n, true, off, iov, niov, len);
    }
    /* Not while somebody rewrites an edge he has read. */
    g_rw_lock_reader_lock(&f->direct);
    int rc = rw_all(f->fd, true, off, iov, niov, len);
    g_rw_lock_reader_unlock(&f->direct);
    return rc;
}

/* ---- locks ---- */

/*
 * Two bytes say who uses an image: at LOCK_WRITES each writer holds a shared lock, at LOCK_DENIES
 * each user who cannot live with other writers. Every user looks for the other byte's holders after
 * taking its own, so of two that come at once at most one goes on. Open-file-description locks end
 * with the process. QEMU compat: the places are those /proc/locks shows of QEMU 10.0, so that
 * either refuses what the other uses.
 */
enum { LOCK_WRITES = 101, LOCK_DENIES = 201 };

static bool lock_byte(int fd, int byte, short type)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return fcntl(fd, F_OFD_SETLK, &l) == 0;
}

static bool byte_is_held(int fd, int byte)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static bool lock_refused(const BlkNode *n, const char *what, GError **err)
{
    err_set(err, "Failed to get %s lock", what);
    err_hint(err, "Is another process using the image [%s]?", n->filename);
    return false;
}

static bool file_lock(BlkNode *n, bool on, bool share_rw, GError **err)
{
    BlkFile *f = n->state;
    const FileOpts *o = n->opts;

    if (n->force_share || (o->locking && !strcmp(o->locking, "off"))) {
        return true;
    }
    if (!on) {
        if (!--f->users) {
            lock_byte(f->fd, LOCK_WRITES, F_UNLCK);
            lock_byte(f->fd, LOCK_DENIES, F_UNLCK);
        }
        return true;
    }
    /* File systems without these locks: go on without them, as locking=auto says. */
    bool got = (n->read_only || lock_byte(f->fd, LOCK_WRITES, F_RDLCK)) &&
               (share_rw || lock_byte(f->fd, LOCK_DENIES, F_RDLCK));
    const char *bad = got && !n->read_only && byte_is_held(f->fd, LOCK_DENIES) ? "\"write\""
                      : got && !share_rw && byte_is_held(f->fd, LOCK_WRITES)   ? "shared \"write\""
                                                                               : NULL;
    if (bad && !f->users) {
        lock_byte(f->fd, LOCK_WRITES, F_UNLCK);
        lock_byte(f->fd, LOCK_DENIES, F_UNLCK);
    }
    if (bad) {
        return lock_refused(n, bad, err);
    }
    f->users++;
    return got || !o->locking || strcmp(o->locking, "on") ||
           err_set_errno(err, "Failed to lock '%s'", n->filename);
}

int blk_file_flushed(BlkFile *f, int rc)
{
    if (rc == -EIO || rc == -ENOSPC || rc == -EDQUOT) {
        atomic_store_explicit(&f->lost, true, memory_order_relaxed); /* read by the next flush */
    }
    return rc;
}

static int file_flush(BlkNode *n)
{
    BlkFile *f = n->state;

    /* The kernel tells of a failed write-back once and forgets the data: no later flush can be
     * believed. */
    if (atomic_load_explicit(&f->lost, memory_order_relaxed)) {
        return -EIO;
    }
    return blk_file_flushed(f, fdatasync(f->fd) == 0 ? 0 : -errno);
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
    BlkFile *f = n->state;
    int rc = do_fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);

    if (rc) {
        atomic_fetch_add_explicit(&f->discards_failed, 1, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&f->discards, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&f->discarded, len, memory_order_relaxed);
    }
    return rc;
}

static void file_put_stats(BlkNode *n, JsonWriter *w)
{
    BlkFile *f = n->state;

    jw_uint(w, "discard-nb-ok", atomic_load_explicit(&f->discards, memory_order_relaxed));
    jw_uint(
        w, "discard-nb-failed", atomic_load_explicit(&f->discards_failed, memory_order_relaxed));
    jw_uint(w, "discard-bytes-ok", atomic_load_explicit(&f->discarded, memory_order_relaxed));
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

static void file_describe(G_GNUC_UNUSED BlkNode *n, JsonWriter *w)
{
    jw_begin_object(w, "format-specific");
    jw_str(w, "type", "file");
    jw_begin_object(w, "data");
    jw_end_object(w);
    jw_end_object(w);
}

static int64_t file_allocated(BlkNode *n)
{
    struct stat st;

    return fstat(((BlkFile *)n->state)->fd, &st) < 0 ? -errno : (int64_t)st.st_blocks * 512;
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
    .preadv_quick = file_preadv_quick,
    .pwritev = file_pwritev,
    .flush = file_flush,
    .discard = file_discard,
    .write_zeroes = file_write_zeroes,
    .truncate = file_truncate,
    .submit = blk_file_submit,
    .lock = file_lock,
    .allocated = file_allocated,
    .describe = file_describe,
    .put_stats = file_put_stats };
const BlkDriver blk_host_device = { .name = "host_device",
    .help = "a block device of the host",
    .size = sizeof(BlkFile),
    .props = file_props,
    .opts_size = sizeof(FileOpts),
    .protocol = true,
    .open = file_open,
    .close = file_close,
    .preadv = file_preadv,
    .preadv_quick = file_preadv_quick,
    .pwritev = file_pwritev,
    .flush = file_flush,
    .discard = file_discard,
    .write_zeroes = file_write_zeroes,
    .submit = blk_file_submit,
    .lock = file_lock,
    .allocated = file_allocated,
    .put_stats = file_put_stats };
