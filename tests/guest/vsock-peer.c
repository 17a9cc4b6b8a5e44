/*
 * The guest's end of the vsock test: a static program for the initramfs.
 *   echo PORT BYTES     connects, sends a pattern and reads it back
 *   many PORT N         N connections one after the other, a few bytes each
 *   hold PORT N         N connections at once
 *   half PORT BYTES     sends, closes its direction, then reads as much as it sent
 *   seq PORT N          N messages of growing length, each comes back as it was
 *   serve PORT [seq]    sends back what comes, until the other side is done
 */
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECE = 65536, SEQ_MAX = 100000 };
static uint8_t buf[SEQ_MAX], back[SEQ_MAX];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(int type, unsigned port)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port };
    int fd = socket(AF_VSOCK, type, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        die("connect");
    }
    return fd;
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 20));
}

static void fill(uint64_t at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf[i] = pattern(at + i);
    }
}

static void send_all(int fd, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes;) {
        size_t some = bytes - at < PIECE ? bytes - at : PIECE;

        fill(at, some);
        for (size_t sent = 0; sent < some;) {
            ssize_t n = send(fd, buf + sent, some - sent, MSG_NOSIGNAL);

            if (n <= 0) {
                die("send");
            }
            sent += n;
        }
        at += some;
    }
}

static void check_all(int fd, uint64_t bytes)
{
    uint64_t at = 0;
    ssize_t n;

    while ((n = read(fd, back, PIECE)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (back[i] != pattern(at + i)) {
                fprintf(stderr, "byte %llu differs\n", (unsigned long long)(at + i));
                exit(1);
            }
        }
        at += n;
        if (at == bytes) {
            return;
        }
    }
    fprintf(stderr, "%llu bytes of %llu came back\n", (unsigned long long)at,
        (unsigned long long)bytes);
    exit(1);
}

static void echo(unsigned port, uint64_t bytes)
{
    int fd = dial(SOCK_STREAM, port), status;
    pid_t writer = fork();

    if (!writer) {
        send_all(fd, bytes);
        _exit(0);
    }
    check_all(fd, bytes);
    if (waitpid(writer, &status, 0) < 0 || status) {
        die("writer");
    }
    close(fd);
}

static void serve(unsigned port, int type)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
    int l = socket(AF_VSOCK, type, 0);

    if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof a) < 0 || listen(l, 64) < 0) {
        die("listen");
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        int fd = accept(l, NULL, NULL);

        if (fd < 0) {
            die("accept");
        }
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        if (!fork()) {
            ssize_t n;

            close(l);
            while ((n = recv(fd, buf, sizeof buf, 0)) > 0) {
                for (ssize_t sent = 0; sent < n;) {
                    ssize_t m = send(fd, buf + sent, n - sent, MSG_NOSIGNAL);

                    if (m <= 0) {
                        _exit(1);
                    }
                    sent += m;
                }
            }
            close(fd);
            _exit(0);
        }
        close(fd);
    }
}

static void messages(unsigned port, unsigned n)
{
    int fd = dial(SOCK_SEQPACKET, port);

    for (unsigned i = 0; i < n; i++) {
        size_t len = 1 + (size_t)i * 997 % SEQ_MAX;

        fill(i, len);
        if (send(fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len) {
            die("send");
        }
        ssize_t got = recv(fd, back, sizeof back, 0);

        if (got != (ssize_t)len || memcmp(buf, back, len)) {
            fprintf(stderr, "message %u of %zu bytes came back with %zd\n", i, len, got);
            exit(1);
        }
    }
    close(fd);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    unsigned port = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
    uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;

    if (!strcmp(what, "echo")) {
        echo(port, n);
    } else if (!strcmp(what, "many")) {
        for (uint64_t i = 0; i < n; i++) {
            echo(port, 1 + i % 5000);
        }
    } else if (!strcmp(what, "hold")) {
        int *fd = calloc(n, sizeof *fd);

        for (uint64_t i = 0; i < n; i++) {
            fd[i] = dial(SOCK_STREAM, port);
        }
        for (uint64_t i = 0; i < n; i++) {
            send_all(fd[i], 100);
            check_all(fd[i], 100);
        }
    } else if (!strcmp(what, "half")) {
        int fd = dial(SOCK_STREAM, port);

        send_all(fd, n);
        shutdown(fd, SHUT_WR);
        check_all(fd, n);
        if (read(fd, back, 1) != 0) {
            die("the end");
        }
    } else if (!strcmp(what, "seq")) {
        messages(port, (unsigned)n);
    } else if (!strcmp(what, "serve")) {
        serve(port, argc > 3 ? SOCK_SEQPACKET : SOCK_STREAM);
    } else {
        return 2;
    }
    puts("all the same");
    return 0;
}
