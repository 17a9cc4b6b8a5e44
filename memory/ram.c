/* Blocks of guest RAM: anonymous, memfd or file memory. Test: tests/unit/test-ram.c */
#include "memory/ram.h"

#include "memory-internal.h"
#include "util/fd.h"
#include "util/rcu.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { PAGE_SHIFT = 12, HUGE_ALIGN = 2 << 20 };

/* One per process, set before the first vCPU runs. */
static RamCodeHook *code_hook;
static void *code_hook_opaque;

static int open_memfd(const char *id, const RamSpec *s, GError **err)
{
    unsigned flags = MFD_CLOEXEC | (s->seal ? MFD_ALLOW_SEALING : 0);

    if (s->hugetlb) {
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(s->hugetlb) << MFD_HUGE_SHIFT;
    }
    int fd = memfd_create(id, flags);
    if (fd < 0) {
        err_set_errno(err, "failed to create memfd");
    }
    return fd;
}

static int open_shm(GError **err)
{
    static atomic_uint serial;
    g_autofree char *name = g_strdup_printf("/virtue-%d-%u", (int)getpid(), serial++);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        err_set_errno(err, "failed to create POSIX shared memory");
    } else {
        shm_unlink(name);
    }
    return fd;
}

/* A folder (hugetlbfs, tmpfs) gets an unlinked file of its own; anything else is the file itself.
 */
static int open_path(const RamSpec *s, GError **err)
{
    struct stat st;
    int fd;

    if (stat(s->path, &st) == 0 && S_ISDIR(st.st_mode) && !s->readonly) {
        g_autofree char *tmp = g_strdup_printf("%s/virtue-ram-XXXXXX", s->path);
        fd = g_mkstemp_full(tmp, O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0) {
            unlink(tmp);
        }
    } else if (s->readonly) {
        fd = open(s->path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && S_ISDIR(st.st_mode)) {
            close(fd_steal(&fd));
            errno = EISDIR;
        }
    } else {
        fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    }
    if (fd < 0) {
        err_set_errno(err, "can't open backing store %s for guest RAM", s->path);
    }
    return fd;
}

/* An existing file is never grown behind its owner's back. */
static bool size_file(int fd, const char *id, const RamSpec *s, uint64_t size, GError **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return err_set_errno(err, "can't get size of backing store");
    }
    if (!S_ISREG(st.st_mode)) {
        return true;
    }
    uint64_t have = (uint64_t)st.st_size, end;

    if (__builtin_add_overflow(s->offset, s->size, &end) || end > INT64_MAX - size) {
        return err_set(err, "cannot set up guest memory '%s': size is too large", id);
    }
    if (s->path && (have || s->readonly) && have < end) {
        return err_set(err,
            "%s backing store size 0x%" G_GINT64_MODIFIER
            "x is too small for 'size' option 0x%" G_GINT64_MODIFIER
            "x plus 'offset' option 0x%" G_GINT64_MODIFIER "x",
            id, have, s->size, s->offset);
    }
    if (have < s->offset + size && !s->readonly && ftruncate(fd, (off_t)(s->offset + size)) < 0) {
        return err_set_errno(err, "can't resize backing store");
    }
    if (s->seal && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        return err_set_errno(err, "can't seal the memfd");
    }
    return true;
}

static uint64_t page_of(int fd, const RamSpec *s)
{
    struct statfs fs;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (s->hugetlb) {
        return s->hugetlb;
    }
    /* hugetlbfs says its page size there (HUGETLBFS_MAGIC). */
    if (fd >= 0 && fstatfs(fd, &fs) == 0 && (uint32_t)fs.f_type == 0x958458f6) {
        page = (uint64_t)fs.f_bsize;
    }
    return page;
}

/* Reserves size plus a guard page at an address fit for huge pages, then puts the memory there. */
static uint8_t *map_ram(int fd, uint64_t size, uint64_t page, const RamSpec *s)
{
    uint64_t align = MAX(MAX(page, (uint64_t)HUGE_ALIGN), s->align), total;

    if (__builtin_add_overflow(size, align + page, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    uint8_t *area =
        mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return NULL;
    }
    uint8_t *at = area + (-(uintptr_t)area & (align - 1));
    int flags = MAP_FIXED | (s->reserve ? 0 : MAP_NORESERVE) |
                (s->share ? MAP_SHARED : MAP_PRIVATE) | (fd < 0 ? MAP_ANONYMOUS : 0);
    int prot = PROT_READ | (s->readonly && s->share ? 0 : PROT_WRITE);
    if (mmap(at, size, prot, flags, fd, (off_t)s->offset) == MAP_FAILED) {
        int saved = errno;
        munmap(area, total);
        errno = saved;
        return NULL;
    }
    if (at > area) {
        munmap(area, (size_t)(at - area));
    }
    uint8_t *end = at + size + page, *area_end = area + total;
    if (area_end > end) {
        munmap(end, (size_t)(area_end - end));
    }
    return at;
}

typedef struct Populate {
    uint8_t *host;
    uint64_t size, page;
    int error;
} Populate;

static void *populate(void *opaque)
{
    Populate *p = opaque;

#ifdef MADV_POPULATE_WRITE
    if (madvise(p->host, p->size, MADV_POPULATE_WRITE) == 0) {
        return NULL;
    }
    if (errno != EINVAL) {
        p->error = errno;
        return NULL;
    }
#endif
    for (uint64_t off = 0; off < p->size; off += p->page) {
        volatile uint8_t *byte = p->host + off;
        *byte = *byte; /* a file's contents stay */
    }
    return NULL;
}

static bool ram_open(RamBlock *b, const RamSpec *s, GError **err)
{
    autofd fd = -1;
    bool wants_fd = s->path || s->shm || s->memfd || s->hugetlb || s->share;

    if (s->path) {
        fd = open_path(s, err);
    } else if (s->shm) {
        fd = open_shm(err);
    } else if (wants_fd) {
        fd = open_memfd(b->id, s, err);
    }
    if (fd < 0 && wants_fd) {
        return false;
    }
    uint64_t page = page_of(fd, s);
    if (s->offset & (page - 1)) {
        return err_set(err,
            "offset 0x%" G_GINT64_MODIFIER "x must be multiples of page size 0x%" G_GINT64_MODIFIER
            "x",
            s->offset, page);
    }
    if (__builtin_add_overflow(s->size, page - 1, &b->size)) {
        return err_set(err, "cannot set up guest memory '%s': size is too large", b->id);
    }
    b->size &= ~(page - 1);
    if (fd >= 0 && !size_file(fd, b->id, s, b->size, err)) {
        return false;
    }
    b->host = map_ram(fd, b->size, page, s);
    if (!b->host && fd >= 0) {
        return err_set_errno(err, "unable to map backing store for guest RAM");
    }
    if (!b->host) {
        return err_set_errno(err, "cannot set up guest memory '%s'", b->id);
    }
    b->fd = fd_steal(&fd);
    b->share = s->share;
    b->readonly = s->readonly;
    b->offset = s->offset;
    return true;
}

static uint64_t guard_size(const RamBlock *b)
{
    RamSpec none = { 0 };

    return page_of(b->fd, &none);
}

static void ram_free(void *opaque)
{
    RamBlock *b = opaque;
    uint64_t pages = (b->size + 4095) >> PAGE_SHIFT;
    void *mask = atomic_load(&b->codemask);

    if (mask) {
        munmap(mask, pages * sizeof(uint64_t));
    }
    g_assert(!b->log); /* a client still logs: it would use the block afterwards */
    if (b->host) {
        munmap(b->host, b->size + guard_size(b));
    }
    if (b->fd >= 0) {
        close(b->fd);
    }
    g_free(b->id);
    g_free(b);
}

bool ram_populate(RamBlock *b, unsigned threads, GError **err)
{
    uint64_t page = guard_size(b), pages = b->size / page;
    unsigned n = (unsigned)MIN(MIN(threads, 64), pages);
    Populate part[64] = { { 0 } };
    GThread *thread[64] = { 0 };
    int error = 0;

    for (unsigned i = 0; i < n; i++) {
        uint64_t from = pages * i / n, to = pages * (i + 1) / n;

        part[i] = (Populate){ b->host + from * page, (to - from) * page, page, 0 };
        if (i + 1 < n) {
            thread[i] = g_thread_new("prealloc", populate, &part[i]);
        } else {
            populate(&part[i]);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (thread[i]) {
            g_thread_join(thread[i]);
        }
        error = error ? error : part[i].error;
    }
    errno = error;
    return !error || err_set_errno(err, "preallocating memory failed");
}

void ram_discard(RamBlock *b, uint64_t off, uint64_t len)
{
    uint64_t page = guard_size(b); /* a huge page goes as a whole or not at all */
    uint64_t from = (off + page - 1) & ~(page - 1), to = (off + len) & ~(page - 1);

    g_assert(off <= b->size && len <= b->size - off);
    if (from >= to || (b->readonly && b->share)) {
        return;
    }
    /* Shared memory lives in its file. Both are advice: what the host refuses stays as it is. */
    if (b->share && b->fd >= 0) {
        (void)fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            (off_t)(b->offset + from), (off_t)(to - from));
    } else {
        (void)madvise(b->host + from, to - from, MADV_DONTNEED);
    }
    ram_written(b, from, to - from);
}

RamBlock *ram_new(const char *id, const RamSpec *spec, GError **err)
{
    RamBlock *b = g_new0(RamBlock, 1);

    b->id = g_strdup(id);
    b->fd = -1;
    atomic_init(&b->refs, 1);
    if (!spec->size) {
        err_set(err, "cannot set up guest memory '%s': size is 0", id);
        ram_free(b);
        return NULL;
    }
    if (!ram_open(b, spec, err)) {
        b->host = NULL;
        ram_free(b);
        return NULL;
    }
    /* Advice only: a kernel without huge pages refuses it and the memory works as it is. */
    (void)madvise(b->host, b->size, MADV_HUGEPAGE);
    if (spec->prealloc && !ram_populate(b, 1, err)) {
        ram_free(b);
        return NULL;
    }
    return b;
}

RamBlock *ram_ref(RamBlock *b)
{
    uint32_t was = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);

    g_assert(was);
    return b;
}

void ram_unref(RamBlock *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        ram_free(b);
    }
}

static void unref_deferred(void *opaque)
{
    ram_unref(opaque);
}

void ram_unref_later(RamBlock *b)
{
    rcu_defer(unref_deferred, b);
}

_Atomic uint64_t *ram_codemask(RamBlock *b)
{
    _Atomic uint64_t *mask = atomic_load_explicit(&b->codemask, memory_order_acquire);

    if (mask) {
        return mask;
    }
    /* Untouched pages of the mask cost nothing, so a large guest that runs little code has a small
     * mask. */
    size_t bytes = ((b->size + 4095) >> PAGE_SHIFT) * sizeof(uint64_t);
    void *fresh = mmap(
        NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(fresh != MAP_FAILED);
    if (!atomic_compare_exchange_strong(&b->codemask, &mask, (_Atomic uint64_t *)fresh)) {
        munmap(fresh, bytes);
        return mask;
    }
    return fresh;
}

void ram_set_code_hook(RamCodeHook *fn, void *opaque)
{
    code_hook = fn;
    code_hook_opaque = opaque;
}

static bool pages_hold_code(_Atomic uint64_t *mask, uint64_t off, uint64_t len)
{
    for (uint64_t p = off >> PAGE_SHIFT; p <= (off + len - 1) >> PAGE_SHIFT; p++) {
        if (atomic_load_explicit(&mask[p], memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

void ram_written(RamBlock *b, uint64_t off, uint64_t len)
{
    if (!len) {
        return;
    }
    _Atomic uint64_t *dirty = atomic_load_explicit(&b->dirty, memory_order_acquire);
    if (dirty) {
        for (uint64_t p = off >> PAGE_SHIFT; p <= (off + len - 1) >> PAGE_SHIFT; p++) {
            atomic_fetch_or_explicit(&dirty[p / 64], 1ull << (p % 64), memory_order_relaxed);
        }
    }
    _Atomic uint64_t *mask = atomic_load_explicit(&b->codemask, memory_order_acquire);
    if (!mask) {
        return;
    }
    /* The write before the look at the mask; an engine sets the mask before it reads what it
     * decodes: one of both sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (code_hook && pages_hold_code(mask, off, len)) {
        code_hook(code_hook_opaque, b, off, len);
    }
}
