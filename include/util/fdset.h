/* Sets of inherited descriptors: -add-fd, add-fd, and "/dev/fdset/N" where a path is expected. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { FDSET_NEW = -1, FDSET_ALL = -1 };
/* Takes fd into a set; FDSET_NEW: one with the lowest free number. Returns the set's number. Main
 * loop, as all of this. */
int64_t fdset_add(int64_t set, int fd, const char *opaque);
/* Takes fd, or all, out of a set and closes it. A set without descriptors is gone. False: not
 * there. */
bool fdset_remove(int64_t set, int64_t fd);
/* opaque text: NULL when none was given. By set, then as they were added. */
void fdset_each(void (*fn)(int64_t set, int fd, const char *text, void *opaque), void *opaque);
/*
 * open(2); "/dev/fdset/N" is a duplicate of a descriptor of that set with the same access mode:
 * ENOENT without the set, EACCES without such a descriptor.
 */
int fdset_open(const char *path, int flags, mode_t mode);
void fdset_cleanup(void); /* at exit */
