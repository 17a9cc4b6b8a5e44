/* Sets of inherited descriptors. Tested by test-fdset. */
#include "util/fdset.h"

#include "util/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

typedef struct FdEntry {
    int64_t set;
    int fd;
    char *text;
} FdEntry;

/* The process's sets: descriptors came from outside and belong to nobody else. Main loop only. */
static struct {
    GPtrArray *all; /* FdEntry*, by set, then by age */
} reg;

static void entry_free(void *opaque)
{
    FdEntry *e = opaque;

    close(e->fd);
    g_free(e->text);
    g_free(e);
}

static bool has_set(int64_t set)
{
    for (unsigned i = 0; reg.all && i < reg.all->len; i++) {
        if (((const FdEntry *)reg.all->pdata[i])->set == set) {
            return true;
        }
    }
    return false;
}

int64_t fdset_add(int64_t set, int fd, const char *opaque)
{
    FdEntry *e = g_new0(FdEntry, 1);
    unsigned at = 0;

    if (!reg.all) {
        reg.all = g_ptr_array_new_with_free_func(entry_free);
    }
    if (set == FDSET_NEW) {
        for (set = 0; has_set(set);) {
            set++;
        }
    }
    *e = (FdEntry){ .set = set, .fd = fd, .text = g_strdup(opaque) };
    while (at < reg.all->len && ((const FdEntry *)reg.all->pdata[at])->set <= set) {
        at++;
    }
    g_ptr_array_insert(reg.all, (int)at, e);
    return set;
}

bool fdset_remove(int64_t set, int64_t fd)
{
    bool found = false;

    for (unsigned i = reg.all ? reg.all->len : 0; i-- > 0;) {
        const FdEntry *e = reg.all->pdata[i];

        if (e->set == set && (fd == FDSET_ALL || e->fd == fd)) {
            g_ptr_array_remove_index(reg.all, i);
            found = true;
        }
    }
    return found;
}

void fdset_each(void (*fn)(int64_t set, int fd, const char *text, void *opaque), void *opaque)
{
    for (unsigned i = 0; reg.all && i < reg.all->len; i++) {
        const FdEntry *e = reg.all->pdata[i];

        fn(e->set, e->fd, e->text, opaque);
    }
}

/* What open(2) would have done to a file that is open already. */
static int duplicate(int fd, int flags)
{
    autofd copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0) {
        return -1;
    }
    int now = fcntl(copy, F_GETFL);

    if (flags & O_TRUNC && ftruncate(copy, 0) < 0) {
        return -1;
    }
    /* Duplicates share these, so nothing is taken away from who has it open already. */
    if (fcntl(copy, F_SETFL, now | (flags & (O_APPEND | O_NONBLOCK))) < 0) {
        return -1;
    }
    return fd_steal(&copy);
}

int fdset_open(const char *path, int flags, mode_t mode)
{
    static const char prefix[] = "/dev/fdset/";
    const char *number = path + strlen(prefix);
    char *end;

    if (!g_str_has_prefix(path, prefix)) {
        return open(path, flags | O_CLOEXEC, mode);
    }
    gint64 set = g_ascii_strtoll(number, &end, 10);

    if (end == number || *end || set < 0 || !has_set(set)) {
        errno = ENOENT;
        return -1;
    }
    for (unsigned i = 0; i < reg.all->len; i++) {
        const FdEntry *e = reg.all->pdata[i];

        if (e->set == set && (fcntl(e->fd, F_GETFL) & O_ACCMODE) == (flags & O_ACCMODE)) {
            return duplicate(e->fd, flags);
        }
    }
    errno = EACCES;
    return -1;
}

void fdset_cleanup(void)
{
    g_clear_pointer(&reg.all, g_ptr_array_unref);
}
