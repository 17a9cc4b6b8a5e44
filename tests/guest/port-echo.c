/*
 * The guest's end of the serial port test, a static program for the initramfs: opens each
 * /dev/vport* as it comes, sends back what comes from it, and lets go of it when it is gone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PORTS = 512, PIECE = 4096, LOOK_MS = 50 };

static struct {
    char name[32];
    size_t at, len; /* of what is still to be sent */
    char buf[PIECE];
} port[PORTS];
static struct pollfd fds[PORTS];
static unsigned n;

static void look(void)
{
    DIR *d = opendir("/dev");

    for (struct dirent *e; d && (e = readdir(d));) {
        char path[300];
        unsigned i = 0;

        while (i < n && strcmp(port[i].name, e->d_name)) {
            i++;
        }
        if (i < n || n == PORTS || strncmp(e->d_name, "vport", 5)) {
            continue;
        }
        snprintf(path, sizeof path, "/dev/%s", e->d_name);
        int fd = open(path, O_RDWR | O_NONBLOCK);

        if (fd >= 0) {
            snprintf(port[n].name, sizeof port[n].name, "%s", e->d_name);
            port[n].at = port[n].len = 0;
            fds[n++] = (struct pollfd){ .fd = fd };
        }
    }
    if (d) {
        closedir(d);
    }
}

/* False: the port is gone. */
static int serve(unsigned i)
{
    ssize_t got = 0;

    if (!port[i].len) {
        got = read(fds[i].fd, port[i].buf, PIECE);
        if (got < 0 && errno != EAGAIN && errno != EPIPE) {
            return 0;
        }
        port[i].at = 0;
        port[i].len = got > 0 ? (size_t)got : 0;
    }
    while (port[i].len) {
        ssize_t put = write(fds[i].fd, port[i].buf + port[i].at, port[i].len);

        if (put <= 0) {
            return put == 0 || errno == EAGAIN;
        }
        port[i].at += put;
        port[i].len -= put;
    }
    return 1;
}

int main(void)
{
    for (;;) {
        int idle = 0;

        look();
        for (unsigned i = 0; i < n; i++) {
            fds[i].events = port[i].len ? POLLOUT : POLLIN;
        }
        poll(fds, n, LOOK_MS);
        for (unsigned i = 0; i < n; i++) {
            short what = fds[i].revents;

            idle += what && !(what & (POLLIN | POLLOUT)); /* nobody at the other end */
            if (what && !serve(i)) {
                close(fds[i].fd);
                port[i] = port[--n];
                fds[i--] = fds[n];
            }
        }
        if (idle) {
            usleep(LOOK_MS * 1000);
        }
    }
}
