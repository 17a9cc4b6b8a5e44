/*
 * qcow2 and hostile images: images of every kind with some bytes of their header and tables changed
 * are opened, read, written, discarded, resized and closed. Nothing may crash, hang or take memory
 * without bound. "--runs N" or "--seconds N"; "--seed N" repeats one case.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_IMAGE = 1 << 20, NBASES = 8, LIMIT_SECONDS = 60, MAX_RSS_KB = 1 << 20 };

typedef struct Base {
    uint8_t *data;
    size_t len;
} Base;

static const char *const makers[NBASES] = {
    "qemu-img convert -O qcow2 -o cluster_size=512 s.raw b0",
    "qemu-img convert -O qcow2 -o cluster_size=4096 s.raw b1",
    "qemu-img convert -c -O qcow2 -o cluster_size=4096 s.raw b2",
    "qemu-img convert -O qcow2 -o cluster_size=4096,compat=0.10 s.raw b3",
    "qemu-img create -q -f qcow2 -o cluster_size=4096 -b s.raw -F raw b4",
    "qemu-img convert -O qcow2 -o cluster_size=4096,refcount_bits=1 s.raw b5",
    "qemu-img convert -O qcow2 -o cluster_size=4096 s.raw b6 && qemu-img snapshot -c a b6 && "
    "qemu-img snapshot -c b b6",
    "qemu-img convert -O qcow2 -o cluster_size=4096,lazy_refcounts=on,refcount_bits=64 s.raw b7",
};

static uint64_t be64_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return GUINT64_FROM_BE(v);
}

static void make_bases(Base *b)
{
    g_autofree char *raw = g_strdup_printf("%s/s.raw", img_dir());
    g_autofree uint8_t *data = g_malloc0(256 << 10);

    for (unsigned i = 0; i < 96 << 10; i++) {
        data[i * 2] = (uint8_t)(i / 512);
    }
    g_assert_true(g_file_set_contents(raw, (char *)data, 256 << 10, NULL));
    for (unsigned i = 0; i < NBASES; i++) {
        g_autofree char *path = g_strdup_printf("%s/b%u", img_dir(), i);
        if (img_sh(NULL, "%s", makers[i]) ||
            !g_file_get_contents(path, (char **)&b[i].data, &b[i].len, NULL)) {
            g_error("%s failed", makers[i]);
        }
    }
}

/* A number that tables may not like. */
static uint64_t odd_number(uint64_t *rnd, const uint8_t *p, size_t len)
{
    switch (img_rand(rnd, 9)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return 1ull << img_rand(rnd, 64);
    case 3:
        return img_rand(rnd, len);
    case 4:
        return (img_rand(rnd, len) & ~511ull) | 1ull << 63;
    case 5:
        return (img_rand(rnd, 64) << 12) | 1ull << 63; /* a table's place, perhaps */
    case 6:
        return be64_at(p + img_rand(rnd, len / 8 - 1) * 8);
    case 7:
        return img_rand(rnd, UINT64_MAX) | 1ull << 62;
    default:
        return img_rand(rnd, UINT64_MAX);
    }
}

/* Where to change something: mostly the header and what it points to. */
static size_t some_place(uint64_t *rnd, const uint8_t *p, size_t len)
{
    static const uint8_t fields[] = { 40, 48, 64 };
    size_t at = 0;

    switch (img_rand(rnd, 6)) {
    case 0:
        return img_rand(rnd, 112);
    case 1:
        return img_rand(rnd, 32) * 4;
    case 2:
        return img_rand(rnd, len);
    default:
        at = be64_at(p + fields[img_rand(rnd, 3)]) % len;
        if (img_rand(rnd, 2) && at + 8 < len) { /* what a table's first entry points to */
            at = (be64_at(p + at) & 0x00ffffffffffff00ull) % len;
        }
        return at + img_rand(rnd, 32) * 8;
    }
}

static size_t change(uint64_t *rnd, uint8_t *p, size_t len)
{
    for (uint64_t n = img_rand(rnd, 5) + 1; n; n--) {
        uint64_t v = odd_number(rnd, p, len);
        size_t at = MIN(some_place(rnd, p, len), len - 8), width = 1u << img_rand(rnd, 4);

        v = GUINT64_TO_BE(v);
        memcpy(p + at, (uint8_t *)&v + 8 - width, width);
    }
    return img_rand(rnd, 10) ? len : img_rand(rnd, len) + 1;
}

typedef struct Job {
    BlkReq r;
    struct iovec v;
    bool *busy;
} Job;

static void job_done(BlkReq *r)
{
    *((Job *)r)->busy = false;
}

static void use(Blk *b, uint64_t *rnd)
{
    enum { JOBS = 6, LEN = 64 << 10 };
    static uint8_t buf[JOBS][LEN];
    static const BlkOp ops[] = { BLK_READ, BLK_WRITE, BLK_WRITE, BLK_DISCARD, BLK_WRITE_ZEROES,
        BLK_FLUSH };
    uint64_t size = blk_size(b);
    Job jobs[JOBS];
    bool busy[JOBS];

    for (unsigned turn = 0; turn < 4 && size >= 512; turn++) {
        for (unsigned i = 0; i < JOBS; i++) {
            uint64_t len = MIN((img_rand(rnd, LEN / 512) + 1) * 512, size),
                     near = MIN(size, 300 << 10), end = img_rand(rnd, 8) ? near : size;
            uint64_t off = end > len ? img_rand(rnd, (end - len) / 512 + 1) * 512 : 0;

            busy[i] = true;
            jobs[i] = (Job){ .v = { buf[i], len }, .busy = &busy[i] };
            jobs[i].r = (BlkReq){ .op = ops[img_rand(rnd, G_N_ELEMENTS(ops))],
                .flags = BLK_MAY_UNMAP * (unsigned)img_rand(rnd, 2),
                .off = off,
                .len = len,
                .iov = &jobs[i].v,
                .niov = 1,
                .done = job_done };
            blk_submit(b, &jobs[i].r);
        }
        for (unsigned i = 0; i < JOBS; i++) {
            while (busy[i]) {
                loop_turn(loop_main(), /* block= */ true);
            }
        }
    }
    if (!blk_read_only(b) && !img_rand(rnd, 4)) {
        BlkNode *n = blk_node(b);
        n->drv->truncate(n, n->size + img_rand(rnd, 1 << 20) / 512 * 512);
    }
}

static void one(const Base *bases, uint64_t seed, unsigned *ret_opened)
{
    uint64_t rnd = seed;
    const Base *b = &bases[img_rand(&rnd, NBASES)];
    static uint8_t image[MAX_IMAGE];
    size_t len;
    g_autofree char *path = g_strdup_printf("%s/i.qcow2", img_dir()), *why = NULL;

    g_assert(b->len <= MAX_IMAGE);
    memcpy(image, b->data, b->len);
    len = change(&rnd, image, b->len);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || write(fd, image, len) != (ssize_t)len) {
        g_error("cannot write %s", path);
    }
    close(fd);
    g_autofree char *json = g_strdup_printf(
        "{'driver':'qcow2','node-name':'q','read-only':%s,'discard':'unmap','l2-cache-size':8192,"
        "'file':{'driver':'file','filename':'@/i.qcow2','discard':'unmap'}}",
        img_rand(&rnd, 4) ? "false" : "true");

    alarm(LIMIT_SECONDS); /* a case takes milliseconds */
    Blk *blk = img_open(json, &why);
    if (blk) {
        ++*ret_opened;
        use(blk, &rnd);
    }
    img_close();
    loop_turn(loop_main(), /* block= */ false);
    alarm(0);
}

int main(int argc, char **argv)
{
    uint64_t runs = 1500, seconds = 0, seed = 1, done = 0;
    Base bases[NBASES];
    unsigned opened = 0;
    struct rusage u;

    for (int i = 1; i + 1 < argc; i += 2) {
        *(!strcmp(argv[i], "--runs")        ? &runs
            : !strcmp(argv[i], "--seconds") ? &seconds
                                            : &seed) = strtoull(argv[i + 1], NULL, 0);
    }
    loop_main();
    if (!img_have_tool()) {
        return 0;
    }
    printf("1..1\n");
    make_bases(bases);
    gint64 end = g_get_monotonic_time() + (gint64)seconds * G_TIME_SPAN_SECOND;

    while (seconds ? g_get_monotonic_time() < end : done < runs) {
        one(bases, seed++, &opened);
        done++;
    }
    getrusage(RUSAGE_SELF, &u);
    printf("%sok - %u images, %u opened, at most %ld MB\n", u.ru_maxrss < MAX_RSS_KB ? "" : "not ",
        (unsigned)done, opened, u.ru_maxrss / 1024);
    img_done();
    for (unsigned i = 0; i < NBASES; i++) {
        g_free(bases[i].data);
    }
    return 0;
}
