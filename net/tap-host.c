/* Tap descriptors and scripts (Linux: Documentation/networking/tuntap). Tested by test-tap and
 * tests/system/test_net.py. */
#include "tap-host.h"

#include "util/err.h"
#include "util/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int tap_create(const char *name, bool vnet_hdr, bool multi, char *ret_name, GError **err)
{
    struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    unsigned features = 0;
    autofd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        err_set_errno(err, "could not open /dev/net/tun");
        return -1;
    }
    if (ioctl(fd, TUNGETFEATURES, &features) < 0) {
        features = 0;
    }
    if (vnet_hdr && features & IFF_VNET_HDR) {
        r.ifr_flags |= IFF_VNET_HDR;
    }
    if (multi) {
        if (!(features & IFF_MULTI_QUEUE)) {
            err_set(
                err, "multiqueue required, but no kernel support for IFF_MULTI_QUEUE available");
            return -1;
        }
        r.ifr_flags |= IFF_MULTI_QUEUE;
    }
    if (name && strlen(name) >= IFNAMSIZ) {
        err_set(err, "interface name '%s' is too long", name);
        return -1;
    }
    g_strlcpy(r.ifr_name, name ? name : "tap%d", sizeof r.ifr_name);
    if (ioctl(fd, TUNSETIFF, &r) < 0) {
        err_set_errno(err, "could not configure /dev/net/tun (%s)", r.ifr_name);
        return -1;
    }
    g_strlcpy(ret_name, r.ifr_name, IFNAMSIZ);
    return fd_steal(&fd);
}

unsigned tap_probe(int fd, unsigned want)
{
    unsigned can = 0;

    for (unsigned bit = 1; bit && bit <= want; bit <<= 1) {
        /* Each needs checksums, and ECN and the like need one of the kinds of TCP. */
        unsigned with = bit | TUN_F_CSUM | (bit == TUN_F_TSO_ECN ? TUN_F_TSO4 : 0);

        /* Those of UDP come in pairs. */
        with |= bit & 0x60 ? 0x60 : 0;
        /* So do those of tunnels, whose outer checksum is nothing by itself. */
        with |= bit & 0x180 ? 0x80 | TUN_F_TSO4 | TUN_F_TSO6 : 0;
        if (want & bit && ioctl(fd, TUNSETOFFLOAD, with) == 0) {
            can |= bit;
        }
    }
    ioctl(fd, TUNSETOFFLOAD, 0);
    return can;
}

/* With our standard files, and no other descriptor. */
static bool run_script(const char *const *argv, int *ret_status)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t pid;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    bool ok = posix_spawn(&pid, argv[0], &files, &attr, (char **)(uintptr_t)argv, environ) == 0;

    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    while (ok && waitpid(pid, ret_status, 0) < 0 && errno == EINTR) {
    }
    return ok;
}

bool tap_script(const char *script, const char *ifname, GError **err)
{
    const char *argv[] = { script, ifname, NULL };
    int status = 0;

    if (!script || !*script || !strcmp(script, "no")) {
        return true;
    }
    /* QEMU compat: the number is what wait(2) gives; a script that cannot be run has ended with 1,
     * and one without an interpreter's name in front cannot. */
    if (!run_script(argv, &status)) {
        status = 1 << 8;
    }
    return status == 0 || err_set(err, "network script %s failed with status %d", script, status);
}

static int receive_fd(int sock)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } ctl;
    char byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr m = { .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = ctl.space,
        .msg_controllen = sizeof ctl.space };
    ssize_t n;
    int fd = -1;

    do {
        n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    const struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
        h->cmsg_len >= CMSG_LEN(sizeof fd)) {
        memcpy(&fd, CMSG_DATA(h), sizeof fd);
    }
    return fd;
}

int tap_from_helper(const char *helper, const char *bridge, GError **err)
{
    int pair[2], status = -1, got = -1;
    GPid pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        err_set_errno(err, "socketpair() failed");
        return -1;
    }
    autofd ours = pair[0], theirs = pair[1];
    g_autofree char *fdarg = g_strdup_printf("--fd=%d", theirs);
    g_autofree char *brarg = g_strdup_printf("--br=%s", bridge);
    /* A helper of several words is a shell's line, which the arguments follow. */
    bool words = strpbrk(helper, " \t") != NULL;
    g_autofree char *line = g_strdup_printf("%s --use-vnet %s%s%s", helper, fdarg,
        strstr(helper, "--br=") ? "" : " ", strstr(helper, "--br=") ? "" : brarg);
    const char *const direct[] = { helper, "--use-vnet", fdarg, brarg, NULL };
    const char *const shell[] = { "/bin/sh", "-c", line, NULL };

    fcntl(theirs, F_SETFD, 0); /* the child's end: the only one it inherits beside stdio */
    bool started = g_spawn_async(NULL, (char **)(uintptr_t)(words ? shell : direct), NULL,
        G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_LEAVE_DESCRIPTORS_OPEN, NULL, NULL, &pid, NULL);

    close(fd_steal(&theirs));
    if (started) {
        got = receive_fd(ours);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    if (got < 0 || status != 0) {
        if (got >= 0) {
            close(got);
        }
        err_set(err, "bridge helper failed");
        return -1;
    }
    return got;
}
