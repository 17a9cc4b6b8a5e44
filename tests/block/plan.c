/* Rounds of operations on a small qcow2 image that is cut off in the middle. */
#include "plan.h"

#include <string.h>

Plan *plan_round(uint64_t seed)
{
    Plan *p = g_new(Plan, PLAN_OPS);

    for (unsigned i = 0; i < PLAN_OPS; i++) {
        static const BlkOp mix[] = { BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_WRITE_ZEROES, BLK_DISCARD,
            BLK_WRITE };
        p[i].op = img_rand(&seed, 12) ? mix[img_rand(&seed, G_N_ELEMENTS(mix))] : BLK_FLUSH;
        p[i].n = (uint32_t)img_rand(&seed, img_rand(&seed, 8) ? 16 : 300) + 1;
        p[i].first = (uint32_t)img_rand(&seed, PLAN_SECTORS - p[i].n + 1);
    }
    return p;
}

uint64_t plan_stamp(uint64_t seed, uint32_t i, uint32_t sector)
{
    return (seed << 32) + ((uint64_t)i << 16) + sector % 65536 + 1;
}

uint64_t *plan_read(const char *file)
{
    g_autofree char *raw = g_strdup_printf("%s/now.raw", img_dir()), *data = NULL;
    size_t len = 0;
    uint64_t *v = g_new0(uint64_t, PLAN_SECTORS);

    if (img_sh(NULL, "qemu-img convert -O raw %s now.raw", file) ||
        !g_file_get_contents(raw, &data, &len, NULL) || len != PLAN_SIZE) {
        g_error("qemu-img convert failed");
    }
    for (uint32_t i = 0; i < PLAN_SECTORS; i++) {
        memcpy(&v[i], data + (size_t)i * PLAN_SECTOR, 8);
        for (unsigned at = 8; at < PLAN_SECTOR; at += 8) { /* a sector is of one piece */
            if (memcmp(data + (size_t)i * PLAN_SECTOR + at, &v[i], 8)) {
                g_error("sector %u is torn", i);
            }
        }
    }
    return v;
}

bool plan_may_hold(const Plan *p, uint64_t seed, const uint64_t *before, uint32_t flushed,
    uint32_t submitted, uint32_t sector, uint64_t v)
{
    uint64_t at_flush = before[sector];
    bool discarded = false; /* may have happened, or not where no whole cluster was met */

    for (uint32_t i = 0; i < submitted; i++) {
        if (p[i].op == BLK_FLUSH || sector < p[i].first || sector >= p[i].first + p[i].n) {
            continue;
        }
        uint64_t then = p[i].op == BLK_WRITE ? plan_stamp(seed, i, sector) : 0;

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

enum { AT_ONCE = 6 };

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
        g_error("%s", g_strerror(-r->error));
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

void plan_run(Blk *b, const Plan *p, uint64_t seed, uint32_t stop, PlanTell *tell, void *opaque)
{
    Job jobs[AT_ONCE] = { 0 };

    for (uint32_t i = 0; i < stop; i++) {
        if (p[i].op == BLK_FLUSH) {
            wait_for(jobs, 0, PLAN_SECTORS);
            if (img_io(b, BLK_FLUSH, 0, NULL, 0, 0)) {
                g_error("flush");
            }
            tell(opaque, i + 1, true);
            continue;
        }
        wait_for(jobs, p[i].first, p[i].n);
        Job *j = free_job(jobs);

        *j = (Job){ .busy = true, .first = p[i].first, .n = p[i].n };
        j->r = (BlkReq){ .op = p[i].op,
            .flags = BLK_MAY_UNMAP,
            .off = p[i].first * (uint64_t)PLAN_SECTOR,
            .len = p[i].n * (uint64_t)PLAN_SECTOR,
            .done = job_done };
        if (p[i].op == BLK_WRITE) {
            j->buf = g_malloc(j->r.len);
            for (uint32_t k = 0; k < p[i].n; k++) {
                uint64_t v = plan_stamp(seed, i, p[i].first + k);
                for (unsigned at = 0; at < PLAN_SECTOR; at += 8) {
                    memcpy(j->buf + k * PLAN_SECTOR + at, &v, 8);
                }
            }
            j->v = (struct iovec){ j->buf, j->r.len };
            j->r.iov = &j->v;
            j->r.niov = 1;
        }
        tell(opaque, i + 1, false);
        blk_submit(b, &j->r);
    }
    wait_for(jobs, 0, PLAN_SECTORS);
}
