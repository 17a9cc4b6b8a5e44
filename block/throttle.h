/* I/O limits of drives and nodes: members of a group share its leaky buckets. Inside block/. */
#pragma once

#include "block/block.h"
#include "util/timer.h"

enum { LIMIT_BPS, LIMIT_BPS_READ, LIMIT_BPS_WRITE, LIMIT_OPS, LIMIT_OPS_READ, LIMIT_OPS_WRITE };
enum { LIMITS = 6 };
typedef struct ThrottleLimits {
    /* a second; 0: no limit. max: while a burst lasts, which is length seconds */
    int64_t avg[LIMITS], max[LIMITS], length[LIMITS];
    int64_t op_size; /* larger requests count as several; 0: no */
} ThrottleLimits;

typedef struct ThrottleGroup ThrottleGroup;
typedef struct ThrottleMember { /* in a drive or a node */
    ThrottleGroup *g;           /* NULL: no limits */
    /* the group's lock */
    struct BlkWait *first[2], *last[2]; /* reads, writes */
    unsigned bypass;                    /* a drain: nobody waits */
} ThrottleMember;

void throttle_limits_init(ThrottleLimits *l);
bool throttle_limits_any(const ThrottleLimits *l);
bool throttle_limits_check(const ThrottleLimits *l, GError **err);
/* "limits" of a group, "throttling." of a drive, arguments of block_set_io_throttle: rows from
 * a ThrottleLimits. */
extern const PropSpec throttle_limit_rows[], throttle_drive_rows[];
/* -drive's options about limits. */
bool throttle_drive_key(const char *key);
bool throttle_drive_args(const Json *args, ThrottleLimits *l, const char **ret_group, GError **err);

/* The group of that name, made when there is none and make; with a reference. */
ThrottleGroup *throttle_group_get(const char *name, bool make);
void throttle_group_put(ThrottleGroup *g);
const char *throttle_group_name(const ThrottleGroup *g);
void throttle_group_set(ThrottleGroup *g, const ThrottleLimits *l); /* checked ones */
ThrottleLimits throttle_group_limits(ThrottleGroup *g);

/* Main, and nothing of the member's is on its way. */
void throttle_join(ThrottleMember *m, ThrottleGroup *g); /* takes the reference */
void throttle_leave(ThrottleMember *m);
/* True: it may go now. False: w->go is called when it may: in w->loop, or anywhere without one. */
bool throttle_enter(ThrottleMember *m, struct BlkWait *w);
bool throttle_cancel(struct BlkWait *w); /* false: it goes already */
/* Who waits goes at once, while it is on. Any thread. */
void throttle_bypass(ThrottleMember *m, bool on);
