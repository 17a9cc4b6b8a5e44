/* File descriptors that close themselves, eventfds, memfds. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

static inline void autofd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}
#define autofd __attribute__((cleanup(autofd_close))) int
int fd_steal(int *fd); /* returns *fd and sets it to -1 */
/* non-blocking, close-on-exec; aborts when the host has none left */
int fd_eventfd(void);
void fd_signal(int eventfd); /* write 1; any thread */
bool fd_drain(int eventfd);  /* true if it was signalled */
bool fd_set_nonblock(int fd, bool on);
/* A file to read, close-on-exec, and its length; -1 with errno. Does not wait for a FIFO's writer.
 */
int fd_open_file(const char *path, uint64_t *ret_len);
/* The next len bytes. False: an error, or the file ends before. */
bool fd_read_full(int fd, void *buf, uint64_t len);
int fd_memfd(const char *name, uint64_t size, GError **err); /* -1 on failure */
/* An inherited descriptor from a command line ("fd=7"): checked to be open. Or, once there are
 * names, one of a name. */
int fd_from_text(const char *text, GError **err);
/* Where named descriptors come from; one per process, the monitor's. take: the caller's from now
 * on, -1: no such name. */
void fd_set_names(int (*take)(const char *name));
