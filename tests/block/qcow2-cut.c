/*
 * qcow2 and a power cut: the file below is a disk that keeps what was flushed, and of what was
 * written since, any sectors or none. At random moments it is cut: the image must be clean or have
 * leaks, and hold what the guest had flushed. "--rounds N", "--seed N".
 */
#include "plan.h"
#include "util/giov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Kind {
    const char *name, *create;
    unsigned cluster;
    bool lazy;
    unsigned more; /* rounds */
} Kind;
static const Kind kinds[] = {
    { "64k", "", 65536, false },
    { "4k", "refcount_bits=8,", 4096, false },
    { "512", "", 512, false },
    { "512-r64", "refcount_bits=64,", 512, false },
    { "v2", "compat=0.10,", 65536, false },
    { "lazy", "lazy_refcounts=on,", 16384, true },
    /* Many tables, where data was before: seldom the cut comes between a table and its L1 entry. */
    { "lazy-512", "lazy_refcounts=on,", 512, true, 3 },
};

typedef struct Write {
    uint64_t off, len;
    uint8_t *data; /* NULL: zeroes */
} Write;

/* The disk: what is safe, what is not yet. */
static struct {
    GMutex lock;
    uint8_t *safe;
    uint64_t size, room;
    GArray *since; /* Write */
    const BlkDriver *real;
    BlkDriver fake;
    /* A cut at a barrier, the moments that count: the copy waits for who looks at it. */
    bool cut;
    uint64_t rnd;
    uint32_t cut_flushed, cut_submitted, flushed, submitted;
} disk;

static void disk_cut(uint64_t *rnd);

static void apply(uint8_t *to, const Write *w, uint64_t from, uint64_t n)
{
    if (w->data) {
        memcpy(to + w->off + from, w->data + from, n);
    } else {
        memset(to + w->off + from, 0, n);
    }
}

static void record(uint64_t off, uint64_t len, const struct iovec *iov, unsigned niov)
{
    Write w = { off, len, iov ? g_malloc(len) : NULL };
    GIov v;

    if (iov) {
        giov_init(&v, iov, niov);
        g_assert_true(giov_get(&v, w.data, len));
    }
    g_mutex_lock(&disk.lock);
    g_assert_cmpuint(off + len, <=, disk.room);
    g_array_append_val(disk.since, w);
    g_mutex_unlock(&disk.lock);
}

static int disk_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    int rc = disk.real->pwritev(n, off, iov, niov, len, flags);

    if (!rc) {
        record(off, len, iov, niov);
    }
    return rc;
}

static int disk_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    int rc = disk.real->write_zeroes(n, off, len, flags);

    if (!rc) {
        record(off, len, NULL, 0);
    }
    return rc;
}

static int disk_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    int rc = disk.real->discard(n, off, len);

    if (!rc) {
        record(off, len, NULL, 0);
    }
    return rc;
}

static int disk_truncate(BlkNode *n, uint64_t size)
{
    int rc = disk.real->truncate(n, size);

    g_mutex_lock(&disk.lock);
    disk.size = n->size;
    g_mutex_unlock(&disk.lock);
    return rc;
}

/* What had been written before this began is safe when it returns. */
static int disk_flush(BlkNode *n)
{
    (void)n;
    g_mutex_lock(&disk.lock);
    if (!disk.cut && !img_rand(&disk.rnd, 8)) {
        disk_cut(&disk.rnd);
        disk.cut = true;
        disk.cut_flushed = disk.flushed;
        disk.cut_submitted = disk.submitted;
    }
    for (unsigned i = 0; i < disk.since->len; i++) {
        Write *w = &g_array_index(disk.since, Write, i);

        apply(disk.safe, w, 0, w->len);
        g_free(w->data);
    }
    g_array_set_size(disk.since, 0);
    g_mutex_unlock(&disk.lock);
    return 0;
}

static void disk_put(BlkNode *n)
{
    g_autofree char *path = g_strdup_printf("%s/i.qcow2", img_dir()), *now = NULL;
    size_t len;

    g_assert_true(g_file_get_contents(path, &now, &len, NULL));
    disk.room = 24 << 20;
    disk.safe = g_malloc0(disk.room);
    memcpy(disk.safe, now, len);
    disk.size = len;
    disk.since = g_array_new(FALSE, FALSE, sizeof(Write));
    disk.real = n->drv;
    disk.fake = *n->drv;
    disk.fake.pwritev = disk_pwritev;
    disk.fake.flush = disk_flush;
    disk.fake.discard = disk_discard;
    disk.fake.write_zeroes = disk_zeroes;
    disk.fake.truncate = disk_truncate;
    n->drv = &disk.fake;
}

static void disk_end(void)
{
    for (unsigned i = 0; i < disk.since->len; i++) {
        g_free(g_array_index(disk.since, Write, i).data);
    }
    g_array_unref(disk.since);
    g_free(disk.safe);
}

/* cut.qcow2: the disk as it may be found. Lock held. */
static void disk_cut(uint64_t *rnd)
{
    g_autofree uint8_t *found = g_malloc(disk.room);
    g_autofree char *path = g_strdup_printf("%s/cut.qcow2", img_dir());
    uint64_t of_ten = (uint64_t[]){ 0, 2, 5, 8, 10 }[img_rand(rnd, 5)];

    memcpy(found, disk.safe, disk.size);
    for (unsigned i = 0; i < disk.since->len; i++) {
        const Write *w = &g_array_index(disk.since, Write, i);
        bool whole = img_rand(rnd, 3);

        if (whole && img_rand(rnd, 10) < of_ten) {
            apply(found, w, 0, w->len);
        }
        for (uint64_t at = 0; !whole && at < w->len;) { /* some of its sectors */
            uint64_t n = MIN(w->len - at, 512 - (w->off + at) % 512);
            if (img_rand(rnd, 10) < of_ten) {
                apply(found, w, at, n);
            }
            at += n;
        }
    }
    uint64_t size = disk.size;
    FILE *f = fopen(path, "wb");
    g_assert_nonnull(f);
    g_assert_cmpuint(fwrite(found, 1, size, f), ==, size);
    fclose(f);
}

typedef struct Round {
    const Kind *k;
    const Plan *plan;
    uint64_t seed;
    uint32_t next_cut;
    unsigned cuts, leaks;
} Round;

static void look(Round *r, uint32_t flushed, uint32_t submitted)
{
    static const uint64_t nothing[PLAN_SECTORS];
    g_autofree char *out = NULL;
    bool repaired = false;

    if (r->k->lazy) { /* put right by whoever opens it */
        g_autofree char *json = g_strdup("{'driver':'qcow2','node-name':'cut','file':{'driver':"
                                         "'file','filename':'@/cut.qcow2'}}"),
                        *err = NULL;
        Blk *b = img_open(json, &err);
        if (!b) {
            g_error("%s", err);
        }
        blk_detach(b);
        g_assert_true(blk_node_delete("cut", NULL));
        repaired = true;
    }
    int rc = img_sh(&out, "qemu-img check cut.qcow2 2>&1");
    if (rc && (rc != 3 || repaired)) {
        printf("%s\nnot ok - %s seed %u: qemu-img check\n", out, r->k->name, (unsigned)r->seed);
        fflush(stdout);
        abort();
    }
    r->cuts++;
    r->leaks += rc == 3;
    g_autofree uint64_t *v = plan_read("cut.qcow2");

    for (uint32_t i = 0; i < PLAN_SECTORS; i++) {
        if (!plan_may_hold(r->plan, r->seed, nothing, flushed, submitted, i, v[i])) {
            printf("not ok - %s seed %u: sector %u holds %llx, flushed %u of %u\n", r->k->name,
                (unsigned)r->seed, i, (unsigned long long)v[i], flushed, submitted);
            fflush(stdout);
            abort();
        }
    }
}

static void on_tell(void *opaque, uint32_t i, bool flushed)
{
    Round *r = opaque;

    g_mutex_lock(&disk.lock);
    *(flushed ? &disk.flushed : &disk.submitted) = i;
    bool cut = disk.cut || i >= r->next_cut;
    if (cut && !disk.cut) {
        disk_cut(&disk.rnd);
        disk.cut_flushed = disk.flushed;
        disk.cut_submitted = disk.submitted;
        r->next_cut = i + 1 + (uint32_t)img_rand(&disk.rnd, 150);
    }
    disk.cut = cut;
    g_mutex_unlock(&disk.lock);
    if (cut) {
        look(r, disk.cut_flushed, disk.cut_submitted);
        g_mutex_lock(&disk.lock);
        disk.cut = false;
        g_mutex_unlock(&disk.lock);
    }
}

static void one_round(Round *r)
{
    const Kind *k = r->k;
    g_autofree Plan *p = plan_round(r->seed);

    if (img_sh(NULL, "rm -f i.qcow2; qemu-img create -q -f qcow2 -o %scluster_size=%u i.qcow2 %u",
            k->create, k->cluster, PLAN_SIZE)) {
        g_error("qemu-img create");
    }
    Blk *b = img_open("{'driver':'qcow2','node-name':'q','discard':'unmap','l2-cache-size':32768,"
                      "'file':{'driver':'file','filename':'@/i.qcow2','discard':'unmap'}}",
        NULL);

    r->plan = p;
    disk.rnd = r->seed * 77;
    disk.flushed = disk.submitted = 0;
    r->next_cut = (uint32_t)img_rand(&disk.rnd, 80);
    disk_put(blk_node(b)->file);
    plan_run(b, p, r->seed, 600, on_tell, r);
    img_close();
    if (disk.cut) { /* while it was closed */
        look(r, disk.cut_flushed, disk.cut_submitted);
        disk.cut = false;
    }
    disk_end();
}

int main(int argc, char **argv)
{
    uint64_t rounds = getenv("VIRTUE_FULL") ? 20 : 1, seed = 1;

    for (int i = 1; i + 1 < argc; i += 2) {
        *(strcmp(argv[i], "--seed") ? &rounds : &seed) = strtoull(argv[i + 1], NULL, 0);
    }
    loop_main();
    if (!img_have_tool()) {
        return 0;
    }
    printf("1..%u\n", (unsigned)G_N_ELEMENTS(kinds));
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        Round r = { .k = &kinds[i] };

        for (uint64_t n = 0; n < rounds + kinds[i].more; n++) {
            r.seed = seed * 1000 + n;
            one_round(&r);
        }
        printf("ok - %s # %u cuts, %u left leaks\n", kinds[i].name, r.cuts, r.leaks);
        fflush(stdout);
    }
    img_done();
    return 0;
}
