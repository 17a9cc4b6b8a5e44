/*
 * The guest's end of the socket benchmark, a static program for the initramfs:
 *   sock-bench NAME pair | vsock PORT | tcp ADDRESS PORT
 * (MIB= in the environment: how much is sent each way)
 * prints nanoseconds: NAME out=<per MiB sent> in=<per MiB received> trip=<per round trip>. The
 * other end is told what to do by a byte and a count: 's' takes and answers with a byte at the end,
 * 'r' sends, 'p' sends each byte back.
 */
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 65536, TRIPS = 500 };
static char buf[PIECE];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void put(int fd, const void *at, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)at + done, len - done, 0);

        if (n <= 0) {
            die("send");
        }
        done += n;
    }
}

static void get(int fd, void *at, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = recv(fd, (char *)at + done, len - done, 0);

        if (n <= 0) {
            die("recv");
        }
        done += n;
    }
}

static void many(int fd, uint64_t bytes, int out)
{
    for (; bytes; bytes -= bytes < PIECE ? bytes : PIECE) {
        size_t some = bytes < PIECE ? bytes : PIECE;

        if (out) {
            put(fd, buf, some);
        } else {
            get(fd, buf, some);
        }
    }
}

/* As the host's end does it. */
static void other_end(int fd)
{
    char what;
    uint64_t n;

    while (recv(fd, &what, 1, 0) == 1) {
        get(fd, &n, sizeof n);
        for (uint64_t i = 0; what == 'p' && i < n; i++) {
            get(fd, buf, 1);
            put(fd, buf, 1);
        }
        if (what != 'p') {
            many(fd, n, what == 'r');
        }
        if (what == 's') {
            put(fd, "", 1);
        }
    }
    _exit(0);
}

static int end_of(int argc, char **argv)
{
    int sv[2], fd = -1, one = 1;

    if (argc > 2 && !strcmp(argv[2], "pair")) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) < 0) {
            die("socketpair");
        }
        if (!fork()) {
            close(sv[0]);
            other_end(sv[1]);
        }
        close(sv[1]);
        return sv[0];
    }
    if (argc > 3 && !strcmp(argv[2], "vsock")) {
        struct sockaddr_vm a = {
            .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = (unsigned)atoi(argv[3])
        };

        fd = socket(AF_VSOCK, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
            die("connect");
        }
    } else if (argc > 4) {
        struct sockaddr_in a = { .sin_family = AF_INET,
            .sin_port = htons((uint16_t)atoi(argv[4])),
            .sin_addr.s_addr = inet_addr(argv[3]) };

        fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
            die("connect");
        }
    }
    return fd;
}

static void ask(int fd, char what, uint64_t n)
{
    char b[9] = { what };

    memcpy(b + 1, &n, sizeof n);
    put(fd, b, sizeof b);
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    int fd = end_of(argc, argv);
    uint64_t mib = getenv("MIB") ? (uint64_t)atoi(getenv("MIB")) : 8, at[4];

    if (fd < 0 || !mib) {
        return 2;
    }
    ask(fd, 'p', 100); /* both ends are awake */
    for (int i = 0; i < 100; i++) {
        put(fd, buf, 1);
        get(fd, buf, 1);
    }
    at[0] = now();
    ask(fd, 's', mib << 20);
    many(fd, mib << 20, 1);
    get(fd, buf, 1);
    at[1] = now();
    ask(fd, 'r', mib << 20);
    many(fd, mib << 20, 0);
    at[2] = now();
    ask(fd, 'p', TRIPS);
    for (int i = 0; i < TRIPS; i++) {
        put(fd, buf, 1);
        get(fd, buf, 1);
    }
    at[3] = now();
    printf("%s out=%llu in=%llu trip=%llu\n", argv[1], (unsigned long long)(at[1] - at[0]) / mib,
        (unsigned long long)(at[2] - at[1]) / mib, (unsigned long long)(at[3] - at[2]) / TRIPS);
    return 0;
}
