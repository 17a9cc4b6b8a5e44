/* Rounds of operations on a small qcow2 image that is cut off in the middle: what each sector may
 * hold then. Sectors hold stamps that say who wrote them. */
#pragma once

#include "image.h"

enum {
    PLAN_SECTOR = 512,
    PLAN_SIZE = 4 << 20,
    PLAN_SECTORS = PLAN_SIZE / PLAN_SECTOR,
    PLAN_OPS = 4000
};

typedef struct Plan { /* one operation */
    BlkOp op;
    uint32_t first, n; /* sectors */
} Plan;

Plan *plan_round(uint64_t seed); /* PLAN_OPS of them; g_free */
/* What a sector holds after operation i of a round. */
uint64_t plan_stamp(uint64_t seed, uint32_t i, uint32_t sector);
uint64_t *plan_read(const char *file); /* the stamps of a qcow2 image; none may be torn; g_free */
/* Whether a sector may hold v: what was there at the last flush, or anything written since. */
bool plan_may_hold(const Plan *p, uint64_t seed, const uint64_t *before, uint32_t flushed,
    uint32_t submitted, uint32_t sector, uint64_t v);
/* Runs a round up to operation stop, several at a time; told before each (i, false), and when all
 * before i are flushed (i, true). */
typedef void PlanTell(void *opaque, uint32_t i, bool flushed);
void plan_run(Blk *b, const Plan *p, uint64_t seed, uint32_t stop, PlanTell *tell, void *opaque);
