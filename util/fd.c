/* File descriptors: eventfds, memfds, inherited descriptors. */
#include "util/fd.h"

#include "util/err.h"
#include "util/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

int fd_steal(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

int fd_eventfd(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0) {
        g_error("no eventfd left on this host: %s", g_strerror(errno));
    }
    return fd;
}

void fd_signal(int eventfd)
{
    const uint64_t one = 1;

    /* EAGAIN: the counter is full, so the other side has something to read anyway. */
    while (write(eventfd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

bool fd_drain(int eventfd)
{
    uint64_t count;
    ssize_t n;

    do {
        n = read(eventfd, &count, sizeof count);
    } while (n < 0 && errno == EINTR);
    return n == sizeof count;
}

bool fd_set_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0) {
        return false;
    }
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;

    return wanted == flags || fcntl(fd, F_SETFL, wanted) == 0;
}

int fd_open_file(const char *path, uint64_t *ret_len)
{
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return -1;
    }
    *ret_len = (uint64_t)st.st_size;
    return fd_steal(&fd);
}

bool fd_read_full(int fd, void *buf, uint64_t len)
{
    uint8_t *to = buf;

    while (len) {
        ssize_t n = read(fd, to, len);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        if (n > 0) {
            to += n;
            len -= (uint64_t)n;
        }
    }
    return true;
}

int fd_memfd(const char *name, uint64_t size, GError **err)
{
    autofd fd = memfd_create(name, MFD_CLOEXEC);

    if (fd < 0) {
        err_set_errno(err, "cannot create memory file '%s'", name);
        return -1;
    }
    if (size > INT64_MAX || ftruncate(fd, (off_t)size) < 0) {
        err_set_errno(
            err, "cannot size memory file '%s' to %" G_GUINT64_FORMAT " bytes", name, size);
        return -1;
    }
    return fd_steal(&fd);
}

/* Set when the first monitor starts. */
static int (*take_named)(const char *name);

void fd_set_names(int (*take)(const char *name))
{
    take_named = take;
}

int fd_from_text(const char *text, GError **err)
{
    uint64_t fd;

    if (take_named && !g_ascii_isdigit(*text)) {
        int named = take_named(text);

        if (named < 0) {
            err_set(err, "File descriptor named '%s' has not been found", text);
        }
        return named;
    }
    if (!parse_uint(text, INT_MAX, &fd)) {
        err_set(err, "Invalid file descriptor number '%s'", text);
        return -1;
    }
    if (fcntl((int)fd, F_GETFD) < 0) {
        err_set_errno(err, "File descriptor '%s' is not open", text);
        return -1;
    }
    return (int)fd;
}
