/*
 * The guest's end of the disk benchmark, a static program for the initramfs:
 *   disk-bench DEVICE DEPTH REQUESTS
 * reads 4 KiB at scattered places with DEPTH requests out at any time (io_submit(2), O_DIRECT) and
 * prints nanoseconds: disk each=<per request>.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, DEPTH_MAX = 128 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Everywhere on the disk, the same places each time. */
static uint64_t place(unsigned n, uint64_t blocks)
{
    return n * UINT64_C(2654435761) % blocks * BLOCK;
}

static void submit(aio_context_t ctx, struct iocb **v, long n)
{
    for (long done = 0; done < n;) {
        long rc = syscall(SYS_io_submit, ctx, n - done, v + done);

        if (rc <= 0) {
            die("io_submit");
        }
        done += rc;
    }
}

/* Reads `total` blocks, `depth` at a time. */
static void reads(
    aio_context_t ctx, int fd, void *buf, unsigned depth, unsigned total, uint64_t blocks)
{
    static struct iocb cb[DEPTH_MAX];
    struct iocb *v[DEPTH_MAX];
    struct io_event ev[DEPTH_MAX];
    unsigned begun = 0;

    for (; begun < depth && begun < total; begun++) {
        cb[begun] = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD,
            .aio_fildes = (unsigned)fd,
            .aio_buf = (uintptr_t)buf + begun * BLOCK,
            .aio_nbytes = BLOCK,
            .aio_offset = (long long)place(begun, blocks) };
        v[begun] = &cb[begun];
    }
    submit(ctx, v, begun);
    for (unsigned done = 0; done < total;) {
        long n = 0, got = syscall(SYS_io_getevents, ctx, 1L, (long)depth, ev, NULL);

        if (got <= 0) {
            die("io_getevents");
        }
        for (long i = 0; i < got; i++) {
            struct iocb *c = (struct iocb *)(uintptr_t)ev[i].obj;

            if (ev[i].res != BLOCK) {
                fprintf(stderr, "a read of %d gave %lld\n", BLOCK, (long long)ev[i].res);
                exit(1);
            }
            if (begun < total) {
                c->aio_offset = (long long)place(begun++, blocks);
                v[n++] = c;
            }
        }
        done += (unsigned)got;
        submit(ctx, v, n);
    }
}

int main(int argc, char **argv)
{
    unsigned depth = argc > 3 ? (unsigned)atoi(argv[2]) : 0;
    unsigned total = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
    aio_context_t ctx = 0;
    uint64_t size;
    void *buf;

    if (!depth || depth > DEPTH_MAX || !total) {
        fprintf(stderr, "disk-bench DEVICE DEPTH REQUESTS\n");
        return 2;
    }
    int fd = open(argv[1], O_RDONLY | O_DIRECT);

    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0) {
        die(argv[1]);
    }
    if (posix_memalign(&buf, BLOCK, (size_t)depth * BLOCK) ||
        syscall(SYS_io_setup, depth, &ctx) < 0) {
        die("io_setup");
    }
    reads(ctx, fd, buf, depth, total / 10 + 1, size / BLOCK); /* awake */
    uint64_t at = now();

    reads(ctx, fd, buf, depth, total, size / BLOCK);
    printf("disk each=%llu\n", (unsigned long long)((now() - at) / total));
    return 0;
}
