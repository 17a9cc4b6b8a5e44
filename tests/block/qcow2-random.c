/*
 * qcow2 against a raw shadow: random writes, zeroes, discards, reads, flushes, several at a time,
 * the image opened again and copied while in use; qemu-img checks every copy and compares it. One
 * kind of image after the other. "--ops N" operations in all, "--seed N".
 */
#include "image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Kind {
    const char *name, *create, *backing; /* backing: its qemu-img options; NULL: none */
    uint64_t size, cluster;
    bool v2;
    const char *open; /* more options */
    bool direct;      /* the file below without the host's page cache */
} Kind;
static const Kind kinds[] = {
    { "v3", "", NULL, 24 << 20, 65536, false, "" },
    { "v3-backing", "", "-f raw", 24 << 20, 65536, false, ",'discard':'unmap'" },
    { "v2", "compat=0.10,", NULL, 16 << 20, 65536, true, "" },
    { "v2-backing", "compat=0.10,", "-f qcow2 -o compat=0.10", 16 << 20, 65536, true,
        ",'discard':'unmap'" },
    { "512", "", "-f qcow2", 1 << 20, 512, false, ",'discard':'unmap','l2-cache-size':4096" },
    { "512-r64", "refcount_bits=64,", NULL, 1 << 20, 512, false, ",'discard':'unmap'" },
    { "4k-r1", "refcount_bits=1,", NULL, 6 << 20, 4096, false,
        ",'discard':'unmap','l2-cache-size':32768" },
    { "4k-r2", "refcount_bits=2,", "-f raw", 6 << 20, 4096, false,
        ",'discard-no-unref':true,"
        "'discard':'unmap'" },
    { "8k-r4", "refcount_bits=4,", NULL, 6 << 20, 8192, false, ",'l2-cache-entry-size':512" },
    { "16k-r8-lazy", "refcount_bits=8,lazy_refcounts=on,", "-f raw", 6 << 20, 16384, false,
        ",'discard':'unmap'" },
    { "32k-r32", "refcount_bits=32,", NULL, 24 << 20, 32768, false, ",'overlap-check':'none'" },
    { "direct", "", "-f raw", 6 << 20, 4096, false, ",'discard':'unmap'", true },
    { "2m", "", "-f raw", 50 << 20, 2 << 20, false, ",'discard':'unmap'" },
};

typedef struct Run {
    const Kind *k;
    Img img;
    uint64_t rnd, ops, checks;
} Run;

typedef struct Op {
    BlkReq r;
    struct iovec v[2];
    uint8_t *buf;
    Run *run;
    bool busy;
} Op;
enum { AT_ONCE = 12, SECTOR = 512 };

static void fail(const Run *r, const char *what)
{
    printf("not ok - %s: %s\n", r->k->name, what);
    fflush(stdout);
    abort();
}

static void open_image(Run *r)
{
    g_autofree char *json = g_strdup_printf(
        "{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'@/i.qcow2',"
        "'discard':'unmap','cache':{'direct':%s}}%s}",
        r->k->direct ? "true" : "false", r->k->open);
    r->img.b = img_open(json, NULL);
    if (blk_size(r->img.b) != r->k->size) {
        fail(r, "size");
    }
}

static void create(Run *r)
{
    const Kind *k = r->k;
    char *below = g_strdup("");

    r->img.size = k->size;
    r->img.shadow = g_malloc0(k->size);
    if (k->backing) {
        uint64_t some = k->size / 2 + 12288; /* shorter than the image */

        for (uint64_t i = 0; i < some; i++) {
            r->img.shadow[i] = (uint8_t)(i / SECTOR * 7 + 1);
        }
        g_autofree char *raw = g_strdup_printf("%s/b.raw", img_dir());
        g_file_set_contents(raw, (char *)r->img.shadow, (gssize)some, NULL);
        g_free(below);
        below = g_strdup_printf(
            "-b b.img -F %s", g_str_has_prefix(k->backing, "-f raw") ? "raw" : "qcow2");
        if (img_sh(NULL, "qemu-img convert -O %s b.raw b.img", k->backing + 3)) {
            fail(r, "qemu-img convert");
        }
    }
    if (img_sh(NULL,
            "rm -f i.qcow2; qemu-img create -q -f qcow2 -o %scluster_size=%u %s i.qcow2 %u",
            k->create, (unsigned)k->cluster, below, (unsigned)k->size)) {
        fail(r, "qemu-img create");
    }
    g_free(below);
}

/* most: the worst answer of qemu-img check that will do: 0 clean, 3 leaks. */
static void check_file(Run *r, const char *file, int most, bool compare)
{
    g_autofree char *out = NULL;
    int rc = img_sh(&out, "qemu-img check -U %s 2>&1", file);

    r->checks++;
    if (rc != 0 && rc != most) {
        printf("%s\n", out);
        fail(r, "qemu-img check");
    }
    if (compare) {
        g_autofree char *raw = g_strdup_printf("%s/shadow.raw", img_dir());
        g_file_set_contents(raw, (char *)r->img.shadow, (gssize)r->img.size, NULL);
        g_autofree char *why = NULL;
        if (img_sh(&why, "qemu-img compare -U -f qcow2 -F raw %s shadow.raw 2>&1", file)) {
            printf("%s\n", why);
            fail(r, "qemu-img compare");
        }
    }
}

static void op_done(BlkReq *req)
{
    Op *op = (Op *)req;
    Run *r = op->run;

    if (req->error) {
        fail(r, strerror(-req->error));
    }
    if (req->op == BLK_READ && memcmp(op->buf, r->img.shadow + req->off, req->len)) {
        fail(r, "read something else");
    }
    g_free(op->buf);
    op->busy = false;
}

static void shadow_discard(Run *r, uint64_t off, uint64_t len)
{
    uint64_t c = r->k->cluster, from = (off + c - 1) / c * c, to = off + len;

    if (!strstr(r->k->open, "unmap") || (r->k->v2 && r->k->backing)) {
        return;
    }
    to = to == r->img.size ? to : to / c * c;
    if (from < to) {
        memset(r->img.shadow + from, 0, to - from);
    }
}

static bool overlaps(const Op *ops, uint64_t off, uint64_t len)
{
    for (unsigned i = 0; i < AT_ONCE; i++) {
        const BlkReq *r = &ops[i].r;
        if (ops[i].busy && off < r->off + r->len && r->off < off + len) {
            return true;
        }
    }
    return false;
}

/* A length: mostly small, at times of several clusters. */
static uint64_t some_length(Run *r)
{
    uint64_t c = r->k->cluster;
    uint64_t most = (uint64_t[]){ 4096, c, c * 4, 256 << 10 }[img_rand(&r->rnd, 4)];

    return (img_rand(&r->rnd, MIN(most, 1 << 20) / SECTOR) + 1) * SECTOR;
}

static void fill(Run *r, uint8_t *p, uint64_t len)
{
    uint64_t v = img_rand(&r->rnd, UINT64_MAX);

    if (!(v % 8)) {
        memset(p, 0, len);
        return;
    }
    for (uint64_t i = 0; i < len; i += 8) {
        uint64_t w = v + i;
        memcpy(p + i, &w, 8);
    }
}

static void start(Run *r, Op *ops, Op *op)
{
    static const BlkOp mix[] = { BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_READ, BLK_READ, BLK_DISCARD,
        BLK_WRITE_ZEROES };
    BlkOp what = mix[img_rand(&r->rnd, G_N_ELEMENTS(mix))];
    uint64_t len = some_length(r), off;

    if (what == BLK_DISCARD || what == BLK_WRITE_ZEROES) {
        len *= 1 + img_rand(&r->rnd, 4);
    }
    len = MIN(len, r->img.size);
    off = img_rand(&r->rnd, (r->img.size - len) / SECTOR + 1) * SECTOR;
    if (!img_rand(&r->rnd, 3)) { /* whole clusters */
        off = off / r->k->cluster * r->k->cluster;
    }
    if (overlaps(ops, off, len)) {
        return;
    }
    *op = (Op){ .run = r, .busy = true, .buf = g_malloc(len) };
    uint64_t cut = img_rand(&r->rnd, len / SECTOR) * SECTOR;

    op->v[0] = (struct iovec){ op->buf, cut };
    op->v[1] = (struct iovec){ op->buf + cut, len - cut };
    op->r = (BlkReq){ .op = what, .off = off, .len = len, .done = op_done };
    if (what == BLK_WRITE || what == BLK_READ) {
        op->r.iov = op->v;
        op->r.niov = 2;
    }
    if (what == BLK_WRITE) {
        fill(r, op->buf, len);
        memcpy(r->img.shadow + off, op->buf, len);
    } else if (what == BLK_WRITE_ZEROES) {
        op->r.flags = img_rand(&r->rnd, 2) ? BLK_MAY_UNMAP : 0;
        memset(r->img.shadow + off, 0, len);
    } else if (what == BLK_DISCARD) {
        shadow_discard(r, off, len);
    }
    r->ops++;
    blk_submit(r->img.b, &op->r);
}

static void settle(const Op *ops)
{
    for (unsigned i = 0; i < AT_ONCE; i++) {
        while (ops[i].busy) {
            loop_turn(loop_main(), /* block= */ true);
        }
    }
}

/* What lies between operations. */
static void between(Run *r)
{
    uint64_t what = img_rand(&r->rnd, 200);

    if (what < 30) {
        r->ops++;
        if (img_io(r->img.b, BLK_FLUSH, 0, NULL, 0, 0)) {
            fail(r, "flush");
        }
    }
    if (what == 0) { /* all that was flushed is in the file */
        img_sh(NULL, "cp --sparse=always i.qcow2 copy.qcow2");
        if (strstr(r->k->create, "lazy")) {
            return;
        }
        check_file(r, "copy.qcow2", 3, true);
    } else if (what == 30) { /* and at any time it is no ruin */
        img_sh(NULL, "cp --sparse=always i.qcow2 copy.qcow2");
        if (!strstr(r->k->create, "lazy")) {
            check_file(r, "copy.qcow2", 3, false);
        }
    } else if (what == 31) {
        img_close();
        check_file(r, "i.qcow2", 0, true);
        open_image(r);
    }
}

/* Not every file system has O_DIRECT. */
static bool has_direct(void)
{
    g_autofree char *path = g_strdup_printf("%s/direct", img_dir());
    int fd = open(path, O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

    return fd >= 0 && !close(fd);
}

static void run_kind(const Kind *k, uint64_t nops, uint64_t seed)
{
    Run r = { .k = k, .rnd = seed };
    Op ops[AT_ONCE] = { 0 };

    create(&r);
    open_image(&r);
    while (r.ops < nops) {
        for (unsigned i = 0; i < AT_ONCE; i++) {
            if (!ops[i].busy) {
                start(&r, ops, &ops[i]);
            }
        }
        if (img_rand(&r.rnd, 3)) {
            loop_turn(loop_main(), /* block= */ false);
            continue;
        }
        settle(ops);
        between(&r);
    }
    settle(ops);
    img_close();
    check_file(&r, "i.qcow2", 0, true);
    printf("ok - %s # %u operations, %u checks by qemu-img\n", k->name, (unsigned)r.ops,
        (unsigned)r.checks);
    fflush(stdout);
    g_free(r.img.shadow);
}

int main(int argc, char **argv)
{
    uint64_t nops = getenv("VIRTUE_FULL") ? 120000 : 20000, seed = 1;
    const char *only = NULL;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--ops")) {
            nops = strtoull(argv[i + 1], NULL, 0);
        } else if (!strcmp(argv[i], "--seed")) {
            seed = strtoull(argv[i + 1], NULL, 0);
        } else {
            only = argv[i + 1];
        }
    }
    loop_main();
    if (!img_have_tool()) {
        return 0;
    }
    printf("1..%u\n", only ? 1 : (unsigned)G_N_ELEMENTS(kinds));
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (only && strcmp(only, kinds[i].name)) {
            continue;
        }
        if (kinds[i].direct && !has_direct()) {
            printf("ok - %s # SKIP the file system has no O_DIRECT\n", kinds[i].name);
        } else {
            run_kind(&kinds[i], nops / (only ? 1 : G_N_ELEMENTS(kinds)), seed * 1000 + i);
        }
    }
    img_done();
    return 0;
}
