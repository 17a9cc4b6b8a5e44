/*
 * The main loop turned by hand. One thread does everything here, so waking it is superfluous: the
 * linker sends these calls of the emulator (--wrap) here, and a turn costs no system call. Random
 * numbers count up, so that an input shows the same every time.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>

void __wrap_fd_signal(int eventfd);
int __wrap_madvise(void *at, size_t len, int advice);
bool __wrap_fd_drain(int eventfd);
int __wrap_epoll_pwait2(
    int fd, struct epoll_event *ev, int n, const struct timespec *ts, const sigset_t *mask);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);

void __wrap_fd_signal(int eventfd) {}

/* A balloon's pages: gone is zero. */
int __wrap_madvise(void *at, size_t len, int advice)
{
    if (advice == MADV_DONTNEED) {
        memset(at, 0, len);
    }
    return 0;
}

bool __wrap_fd_drain(int eventfd)
{
    return false;
}

int __wrap_epoll_pwait2(
    int fd, struct epoll_event *ev, int n, const struct timespec *ts, const sigset_t *mask)
{
    return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    uint8_t *p = buf;

    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)(i + 1);
    }
    return (ssize_t)len;
}

/* A used ring over an available ring makes its own work for ever, a batch a turn: enough is enough.
 */
void fuzz_turn(void)
{
    for (unsigned turns = 0; turns < 4 && loop_turn(loop_main(), /* block= */ false); turns++) {
    }
}

void fuzz_idle(void)
{
    unsigned turns = 0;

    while (loop_turn(loop_main(), /* block= */ false)) {
        g_assert_cmpuint(++turns, <, 1000); /* nothing keeps a device busy that was reset */
    }
}
