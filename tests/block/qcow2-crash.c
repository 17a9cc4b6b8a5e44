/*
 * qcow2 and kill -9: a process that writes to an image is killed at a random operation. What it had
 * flushed must be there, what came later may be, per sector; the image is clean or has leaks, or
 * (lazy reference counts) is put right when it is opened again. "--rounds N", "--seed N".
 */
#include "image.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECTOR = 512, SIZE = 4 << 20, NSECTORS = SIZE / SECTOR, MAX_OPS = 4000, AT_ONCE = 6 };

typedef struct Kind {
    const char *name, *create;
    unsigned cluster;
    bool lazy;
} Kind;
static const Kind kinds[] = {
    { "64k", "", 65536, false },
    { "4k", "refcount_bits=8,", 4096, false },
    { "512", "", 512, false },
    { "v2", "compat=0.10,", 65536, false },
    { "lazy", "lazy_refcounts=on,", 16384, true },
};

typedef struct Shared {                  /* with the process that is killed */
    _Atomic uint32_t submitted, flushed; /* operations: begun; all before this one are flushed */
} Shared;

/* One operation of a round, the same in both processes. */
typedef struct Plan {
    BlkOp op;
    uint32_t first, n; /* sectors */
} Plan;

static Plan *plan_round(uint64_t seed)
{
    Plan *p = g_new(Plan, MAX_OPS);

    for (unsigned i = 0; i < MAX_OPS; i++) {
        static const BlkOp mix[] = { BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_WRITE_ZEROES, BLK_DISCARD,
            BLK_WRITE };
        p[i].op = img_rand(&seed, 12) ? mix[img_rand(&seed, G_N_ELEMENTS(mix))] : BLK_FLUSH;
        p[i].n = (uint32_t)img_rand(&seed, img_rand(&seed, 8) ? 16 : 300) + 1;
        p[i].first = (uint32_t)img_rand(&seed, NSECTORS - p[i].n + 1);
    }
    return p;
}

/* What a sector holds after operation i of a round. */
static uint64_t stamp(uint64_t seed, uint32_t i, uint32_t sector)
{
    return (seed << 32) + ((uint64_t)i << 16) + sector % 65536 + 1;
}

typedef struct Job {
    BlkReq r;
    struct iovec v;
    uint8_t *buf;
    uint32_t first, n;
    bool busy;
} Job;

static void job_done(BlkReq *r)
{
    Job *j = (Job *)r;

    if (r->error) {
        _exit(3);
    }
    g_free(j->buf);
    j->busy = false;
}

static void wait_for(Job *jobs, uint32_t first, uint32_t n)
{
    for (unsigned i = 0; i < AT_ONCE; i++) {
        while (jobs[i].busy && first < jobs[i].first + jobs[i].n && jobs[i].first < first + n) {
            loop_turn(loop_main(), /* block= */ true);
        }
    }
}

static Job *free_job(Job *jobs)
{
    for (;;) {
        for (unsigned i = 0; i < AT_ONCE; i++) {
            if (!jobs[i].busy) {
                return &jobs[i];
            }
        }
        loop_turn(loop_main(), /* block= */ true);
    }
}

static void writer(const char *json, uint64_t seed, Shared *s)
{
    g_autofree Plan *p = plan_round(seed);
    Job jobs[AT_ONCE] = { 0 };

    loop_main();
    Blk *b = img_open(json, NULL);

    for (uint32_t i = 0; i < MAX_OPS; i++) {
        if (p[i].op == BLK_FLUSH) {
            wait_for(jobs, 0, NSECTORS);
            if (img_io(b, BLK_FLUSH, 0, NULL, 0, 0)) {
                _exit(3);
            }
            atomic_store(&s->flushed, i + 1);
            continue;
        }
        wait_for(jobs, p[i].first, p[i].n);
        Job *j = free_job(jobs);

        *j = (Job){ .first = p[i].first, .n = p[i].n, .busy = true };
        j->r = (BlkReq){ .op = p[i].op,
            .flags = BLK_MAY_UNMAP,
            .off = p[i].first * (uint64_t)SECTOR,
            .len = p[i].n * (uint64_t)SECTOR,
            .done = job_done };
        if (p[i].op == BLK_WRITE) {
            j->buf = g_malloc(j->r.len);
            for (uint32_t k = 0; k < p[i].n; k++) {
                uint64_t v = stamp(seed, i, p[i].first + k);
                for (unsigned at = 0; at < SECTOR; at += 8) {
                    memcpy(j->buf + k * SECTOR + at, &v, 8);
                }
            }
            j->v = (struct iovec){ j->buf, j->r.len };
            j->r.iov = &j->v;
            j->r.niov = 1;
        }
        atomic_store(&s->submitted, i + 1);
        blk_submit(b, &j->r);
    }
    for (;;) { /* until it is killed */
        atomic_store(&s->submitted, MAX_OPS);
        loop_turn(loop_main(), /* block= */ true);
    }
}

static uint64_t *image_sectors(void)
{
    g_autofree char *raw = g_strdup_printf("%s/now.raw", img_dir()), *data = NULL;
    size_t len = 0;
    uint64_t *v = g_new0(uint64_t, NSECTORS);

    if (img_sh(NULL, "qemu-img convert -O raw i.qcow2 now.raw") ||
        !g_file_get_contents(raw, &data, &len, NULL) || len != SIZE) {
        g_error("qemu-img convert failed");
    }
    for (uint32_t i = 0; i < NSECTORS; i++) {
        memcpy(&v[i], data + (size_t)i * SECTOR, 8);
        for (unsigned at = 8; at < SECTOR; at += 8) { /* a sector is of one piece */
            if (memcmp(data + (size_t)i * SECTOR + at, &v[i], 8)) {
                g_error("sector %u is torn", i);
            }
        }
    }
    return v;
}

/* Whether a sector may hold v: what was there at the last flush, or anything written since. */
static bool may_hold(const Plan *p, uint64_t seed, const uint64_t *before, uint32_t flushed,
    uint32_t submitted, uint32_t sector, uint64_t v)
{
    uint64_t at_flush = before[sector];
    bool discarded = false; /* may have happened, or not where no whole cluster was met */

    for (uint32_t i = 0; i < submitted; i++) {
        if (p[i].op == BLK_FLUSH || sector < p[i].first || sector >= p[i].first + p[i].n) {
            continue;
        }
        uint64_t then = p[i].op == BLK_WRITE ? stamp(seed, i, sector) : 0;

        if (i >= flushed) {
            if (v == then) {
                return true;
            }
        } else if (p[i].op == BLK_DISCARD) {
            discarded = true;
        } else {
            at_flush = then;
            discarded = false;
        }
    }
    return v == at_flush || (discarded && !v);
}

static void die(const Kind *k, unsigned round, const char *what)
{
    printf("not ok - %s round %u: %s\n", k->name, round, what);
    fflush(stdout);
    abort();
}

static void one_round(const Kind *k, unsigned round, uint64_t seed, uint64_t *now, unsigned *leaks)
{
    Shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_autofree Plan *p = plan_round(seed);
    uint64_t rnd = seed ^ 0x5555;
    uint32_t until = (uint32_t)img_rand(&rnd, img_rand(&rnd, 2) ? MAX_OPS : 300) + 1;
    const char *json = "{'driver':'qcow2','node-name':'q','discard':'unmap','l2-cache-size':32768,"
                       "'file':{'driver':'file','filename':'@/i.qcow2','discard':'unmap'}}";

    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        writer(json, seed, s);
    }
    while (atomic_load(&s->submitted) < until) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            die(k, round, "the writer ended");
        }
        g_usleep(50);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    g_autofree char *out = NULL;
    int rc;

    if (k->lazy) { /* put right by whoever opens it */
        int repair = img_sh(&out, "'%s' --open '%s/i.qcow2' 2>&1", g_get_prgname(), img_dir());
        if (repair) {
            printf("%s\n", out);
            die(k, round, "cannot be opened again");
        }
        g_clear_pointer(&out, g_free);
    }
    rc = img_sh(&out, "qemu-img check i.qcow2 2>&1");
    if (rc && (rc != 3 || k->lazy)) {
        printf("%s\n", out);
        die(k, round, "qemu-img check");
    }
    *leaks += rc == 3;
    uint64_t *found = image_sectors();

    for (uint32_t i = 0; i < NSECTORS; i++) {
        if (!may_hold(p, seed, now, s->flushed, s->submitted, i, found[i])) {
            printf("# sector %u holds %llx, flushed %u of %u\n", i, (unsigned long long)found[i],
                s->flushed, s->submitted);
            die(k, round, "a flushed sector is lost");
        }
    }
    memcpy(now, found, NSECTORS * sizeof *now);
    g_free(found);
    munmap(s, sizeof *s);
}

static int open_only(const char *file)
{
    g_autofree char *json = g_strdup_printf("{'driver':'qcow2','node-name':'q','file':{'driver':"
                                            "'file','filename':'%s'}}",
        file);
    char *err = NULL;

    loop_main();
    Blk *b = img_open(json, &err);
    if (!b) {
        printf("%s\n", err);
        return 1;
    }
    img_close();
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t rounds = getenv("VIRTUE_FULL") ? 200 : 10, seed = 1;

    if (argc == 3 && !strcmp(argv[1], "--open")) {
        return open_only(argv[2]);
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        *(strcmp(argv[i], "--seed") ? &rounds : &seed) = strtoull(argv[i + 1], NULL, 0);
    }
    g_autofree char *self = g_canonicalize_filename(argv[0], NULL);
    g_set_prgname(self);
    if (!img_have_tool()) {
        return 0;
    }
    printf("1..%u\n", (unsigned)G_N_ELEMENTS(kinds));
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        const Kind *k = &kinds[i];
        g_autofree uint64_t *now = g_new0(uint64_t, NSECTORS);
        unsigned n = (unsigned)((rounds + G_N_ELEMENTS(kinds) - 1) / G_N_ELEMENTS(kinds)),
                 leaks = 0;

        img_sh(NULL, "rm -f i.qcow2; qemu-img create -q -f qcow2 -o %scluster_size=%u i.qcow2 %u",
            k->create, k->cluster, SIZE);
        for (unsigned r = 0; r < n; r++) {
            one_round(k, r, seed * 100000 + i * 1000 + r, now, &leaks);
        }
        printf("ok - %s # %u kills, %u left leaks\n", k->name, n, leaks);
        fflush(stdout);
    }
    img_done();
    return 0;
}
