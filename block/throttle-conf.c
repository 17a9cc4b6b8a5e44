/* Limits as users give them: -drive throttling.X, -object throttle-group, block_set_io_throttle,
 * and the "throttle" filter. Tested by tests/system/test_block.py. */
#include "block-internal.h"
#include "throttle.h"

#include <errno.h>
#include <string.h>

#define ROW(n, f, d, h)                                                                            \
    {                                                                                              \
        .name = (n), .type = &prop_i64, .offset = PROP_AT(ThrottleLimits, f, int64_t), .bit = -1,  \
        .def.i = (d), .help = (h)                                                                  \
    }
#define BUCKET(prefix, n, i, unit)                                                                 \
    ROW(prefix n, avg[i], 0, unit " a second; 0: no limit"),                                       \
        ROW(prefix n "-max", max[i], 0, unit " a second in a burst"),                              \
        ROW(prefix n "-max-length", length[i], 1, "seconds of a burst")
#define BUCKETS(prefix)                                                                            \
    BUCKET(prefix, "bps-total", LIMIT_BPS, "bytes"),                                               \
        BUCKET(prefix, "bps-read", LIMIT_BPS_READ, "bytes read"),                                  \
        BUCKET(prefix, "bps-write", LIMIT_BPS_WRITE, "bytes written"),                             \
        BUCKET(prefix, "iops-total", LIMIT_OPS, "requests"),                                       \
        BUCKET(prefix, "iops-read", LIMIT_OPS_READ, "reads"),                                      \
        BUCKET(prefix, "iops-write", LIMIT_OPS_WRITE, "writes"),                                   \
        ROW(prefix "iops-size", op_size, 0, "larger requests count as several; 0: no")
const PropSpec throttle_limit_rows[] = { BUCKETS(""), PROP_END };
const PropSpec throttle_drive_rows[] = { BUCKETS("throttling."), PROP_END };

void throttle_limits_init(ThrottleLimits *l)
{
    *l = (ThrottleLimits){ .length = { 1, 1, 1, 1, 1, 1 } };
}

bool throttle_limits_any(const ThrottleLimits *l)
{
    bool any = false;

    for (unsigned i = 0; i < LIMITS; i++) {
        any |= l->avg[i] || l->max[i];
    }
    return any;
}

static bool bucket_check(const ThrottleLimits *l, unsigned i, GError **err)
{
    const int64_t limit = 1000000000000000;

    if (l->avg[i] < 0 || l->max[i] < 0 || l->avg[i] > limit || l->max[i] > limit) {
        return err_set(err, "bps/iops/max values must be within [0, %" G_GINT64_FORMAT "]", limit);
    }
    if (l->length[i] <= 0) {
        return err_set(err, "the burst length cannot be 0");
    }
    if (l->length[i] > 1 && !l->max[i]) {
        return err_set(err, "burst length set without burst rate");
    }
    if (l->max[i] && l->length[i] > limit / l->max[i]) {
        return err_set(err, "burst length too high for this burst rate");
    }
    if (l->max[i] && !l->avg[i]) {
        return err_set(err, "bps_max/iops_max require corresponding bps/iops values");
    }
    return !l->max[i] || l->max[i] >= l->avg[i] ||
           err_set(err, "bps_max/iops_max cannot be lower than bps/iops");
}

bool throttle_limits_check(const ThrottleLimits *l, GError **err)
{
    for (unsigned k = 0; k < LIMITS; k += 3) {
        if ((l->avg[k] && (l->avg[k + 1] || l->avg[k + 2])) ||
            (l->max[k] && (l->max[k + 1] || l->max[k + 2]))) {
            return err_set(err,
                "bps/iops/max total values and read/write values cannot be used at the same time");
        }
    }
    if (l->op_size && !l->avg[3] && !l->avg[4] && !l->avg[5]) {
        return err_set(err, "iops size requires an iops value to be set");
    }
    for (unsigned i = 0; i < LIMITS; i++) {
        if (!bucket_check(l, i, err)) {
            return false;
        }
    }
    return true;
}

/* ---- -drive ---- */

/* The old short names. */
static const char *long_name(const char *key)
{
    static const char *const old[][2] = { { "bps", "bps-total" }, { "bps_rd", "bps-read" },
        { "bps_wr", "bps-write" }, { "iops", "iops-total" }, { "iops_rd", "iops-read" },
        { "iops_wr", "iops-write" }, { "bps_max", "bps-total-max" },
        { "bps_rd_max", "bps-read-max" }, { "bps_wr_max", "bps-write-max" },
        { "iops_max", "iops-total-max" }, { "iops_rd_max", "iops-read-max" },
        { "iops_wr_max", "iops-write-max" }, { "iops_size", "iops-size" }, { "group", "group" } };

    if (g_str_has_prefix(key, "throttling.")) {
        return key + strlen("throttling.");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(old); i++) {
        if (!strcmp(old[i][0], key)) {
            return old[i][1];
        }
    }
    return NULL;
}

bool throttle_drive_key(const char *key)
{
    return long_name(key) != NULL;
}

bool throttle_drive_args(const Json *args, ThrottleLimits *l, const char **ret_group, GError **err)
{
    g_autoptr(Json) mine = json_object();

    *ret_group = NULL;
    prop_defaults(throttle_drive_rows, l);
    for (unsigned i = 0; i < json_len(args); i++) {
        const char *key = json_key_at(args, i), *name = long_name(key);
        g_autofree char *full = g_strconcat("throttling.", name, NULL);

        if (!name) {
            continue;
        }
        if (!strcmp(name, "group")) {
            *ret_group = json_get_str(json_val_at(args, i));
        } else if (strcmp(full, key) != 0 && json_get(args, full)) {
            return err_set(
                err, "'%s' and its alias '%s' can't be used at the same time", full, key);
        } else {
            json_set(mine, full, json_ref(json_val_at(args, i)));
        }
    }
    return prop_apply_struct(throttle_drive_rows, l, mine, err) && throttle_limits_check(l, err);
}

/* ---- -object throttle-group ---- */

typedef struct GroupObj {
    Obj obj;
    ThrottleLimits lim;
    ThrottleGroup *g;
} GroupObj;

/* All of it at once: what is not named goes back to its default. */
static bool limits_set(void *field, const Json *val, GError **err)
{
    ThrottleLimits l = { 0 };

    if (json_type(val) != JSON_OBJECT) {
        return err_set(err, "expected: object");
    }
    prop_defaults(throttle_limit_rows, &l);
    if (!prop_apply_struct(throttle_limit_rows, &l, val, err) || !throttle_limits_check(&l, err)) {
        return false;
    }
    *(ThrottleLimits *)field = l;
    return true;
}

static bool limits_parse(G_GNUC_UNUSED void *field, G_GNUC_UNUSED const char *text, GError **err)
{
    return err_set(err, "expected: object");
}

static void limits_get(const void *field, JsonWriter *w, const char *name)
{
    jw_begin_object(w, name);
    for (const PropSpec *p = throttle_limit_rows; p->name; p++) {
        p->type->get((const char *)field + p->offset, w, p->name);
    }
    jw_end_object(w);
}

static const PropType prop_limits = {
    .name = "ThrottleLimits", .set = limits_set, .parse = limits_parse, .get = limits_get
};
#undef ROW
#define ROW(n, f, d, h)                                                                            \
    {                                                                                              \
        .name = (n), .type = &prop_i64, .offset = PROP_AT(GroupObj, lim.f, int64_t), .bit = -1,    \
        .def.i = (d), .help = (h)                                                                  \
    }
static const PropSpec group_rows[] = {
    { .name = "limits",
        .type = &prop_limits,
        .offset = PROP_AT(GroupObj, lim, ThrottleLimits),
        .bit = -1,
        .flags = PROP_RUNTIME | PROP_NO_DEFAULT,
        .help = "all limits at once" },
    BUCKETS("x-"),
    PROP_END,
};

static bool group_realize(Obj *o, GError **err)
{
    GroupObj *t = (GroupObj *)o;

    if (!throttle_limits_check(&t->lim, err)) {
        return false;
    }
    t->g = throttle_group_get(o->name, true);
    throttle_group_set(t->g, &t->lim);
    return true;
}

static void group_unrealize(Obj *o)
{
    throttle_group_put(((GroupObj *)o)->g);
}

static void group_changed(Obj *o, G_GNUC_UNUSED const PropSpec *row)
{
    const GroupObj *t = (const GroupObj *)o;
    throttle_group_set(t->g, &t->lim);
}

const ObjClass throttle_group_class = {
    .name = "throttle-group",
    .help = "I/O limits that drives and nodes share",
    .size = sizeof(GroupObj),
    .flags = OBJ_USER_OBJECT,
    .props = (const PropGroup[]){ { group_rows, NULL }, { NULL, NULL } },
    .realize = group_realize,
    .unrealize = group_unrealize,
    .prop_changed = group_changed,
};

/* ---- the "throttle" node ---- */

typedef struct NodeOpts {
    char *group;
} NodeOpts;
static const PropSpec node_rows[] = {
    { .name = "throttle-group",
        .type = &prop_str,
        .offset = PROP_AT(NodeOpts, group, char *),
        .bit = -1,
        .flags = PROP_REQUIRED | PROP_NO_DEFAULT,
        .help = "its limits" },
    PROP_END,
};

static bool node_open(BlkNode *n, GError **err)
{
    const NodeOpts *o = n->opts;

    if (!o->group) {
        return err_set(err, "Parameter 'throttle-group' is missing");
    }
    ThrottleGroup *g = throttle_group_get(o->group, false);

    if (!g) {
        return err_set(err, "Throttle group '%s' does not exist", o->group);
    }
    throttle_join(n->state, g);
    n->size = n->file->size;
    n->align = n->file->align;
    n->read_only |= n->file->read_only;
    n->filename = g_strdup(n->file->filename);
    return true;
}

static void node_close(BlkNode *n)
{
    throttle_leave(n->state);
}

/* In a worker: it sleeps until its turn. */
typedef struct Sleeper {
    BlkWait w;
    GMutex lock;
    GCond cond;
    bool go;
} Sleeper;

static void wake(BlkWait *w)
{
    Sleeper *s = (Sleeper *)w;

    g_mutex_lock(&s->lock);
    s->go = true;
    g_cond_signal(&s->cond);
    g_mutex_unlock(&s->lock);
}

static void my_turn(BlkNode *n, bool write, uint64_t bytes)
{
    Sleeper s = { .w = { .go = wake, .bytes = bytes, .write = write } };

    /* Who runs a loop must not sleep: main would be waited for. */
    if (loop_current()) {
        return;
    }
    g_mutex_init(&s.lock);
    g_cond_init(&s.cond);
    if (!throttle_enter(n->state, &s.w)) {
        g_mutex_lock(&s.lock);
        while (!s.go) {
            g_cond_wait(&s.cond, &s.lock);
        }
        g_mutex_unlock(&s.lock);
    }
    g_mutex_clear(&s.lock);
    g_cond_clear(&s.cond);
}

static int node_preadv(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    my_turn(n, false, len);
    return blk_node_preadv(n->file, off, iov, niov, len);
}

static int node_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    my_turn(n, true, len);
    return blk_node_pwritev(n->file, off, iov, niov, len, flags);
}

static int node_flush(BlkNode *n)
{
    return blk_node_flush(n->file);
}

static int node_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    my_turn(n, true, len);
    return blk_node_discard(n->file, off, len);
}

static int node_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    my_turn(n, true, len);
    return blk_node_zeroes(n->file, off, len, flags);
}

static int node_truncate(BlkNode *n, uint64_t size)
{
    int rc = blk_node_truncate(n->file, size);

    if (!rc) {
        n->size = n->file->size;
    }
    return rc;
}

static void node_go(BlkWait *w)
{
    BlkReq *r = (BlkReq *)((char *)w - offsetof(BlkReq, wait));

    r->waits = false;
    if (blk_req_pass(r, r->taker->file) == BLK_TAKEN_DONE) {
        blk_req_done(r, r->error);
    }
}

static BlkTaken node_submit(BlkNode *n, BlkReq *r)
{
    r->taker = n;
    if (r->op == BLK_FLUSH || blk_req_enter(r, n->state, node_go)) {
        return blk_req_pass(r, n->file);
    }
    return BLK_TAKEN;
}

static void node_drain(BlkNode *n, bool on)
{
    throttle_bypass(n->state, on);
}

static const char *const node_strong[] = { "throttle-group", NULL };

const BlkDriver blk_throttle = { .name = "throttle",
    .help = "a filter with I/O limits",
    .filter = true,
    .strong = node_strong,
    .size = sizeof(ThrottleMember),
    .props = node_rows,
    .opts_size = sizeof(NodeOpts),
    .open = node_open,
    .close = node_close,
    .preadv = node_preadv,
    .pwritev = node_pwritev,
    .flush = node_flush,
    .discard = node_discard,
    .write_zeroes = node_zeroes,
    .truncate = node_truncate,
    .submit = node_submit,
    .drain = node_drain };

/* ---- block_set_io_throttle ---- */

#undef ROW
#define ROW(n, f, d, h, fl)                                                                        \
    {                                                                                              \
        .name = (n), .type = &prop_i64, .offset = PROP_AT(SetArgs, lim.f, int64_t), .bit = -1,     \
        .def.i = (d), .flags = (fl), .help = (h)                                                   \
    }
#define SET(n, i)                                                                                  \
    ROW(n, avg[i], 0, "a second; 0: no limit", PROP_REQUIRED),                                     \
        ROW(n "_max", max[i], 0, "a second in a burst", 0),                                        \
        ROW(n "_max_length", length[i], 1, "seconds of a burst", 0)
typedef struct SetArgs {
    char *device, *id, *group;
    ThrottleLimits lim;
} SetArgs;
static const PropSpec set_rows[] = {
    PROP_STR("device", SetArgs, device, "drive"),
    PROP_STR("id", SetArgs, id, "device"),
    SET("bps", LIMIT_BPS),
    SET("bps_rd", LIMIT_BPS_READ),
    SET("bps_wr", LIMIT_BPS_WRITE),
    SET("iops", LIMIT_OPS),
    SET("iops_rd", LIMIT_OPS_READ),
    SET("iops_wr", LIMIT_OPS_WRITE),
    ROW("iops_size", op_size, 0, "larger requests count as several", 0),
    PROP_STR("group", SetArgs, group, "whose limits are changed"),
    PROP_END,
};

static void leave_there(void *member)
{
    throttle_leave(member);
}

bool blk_set_limits(Blk *b, const char *group, const ThrottleLimits *l, GError **err)
{
    if (!throttle_limits_check(l, err)) {
        return false;
    }
    ThrottleGroup *now = b->limits.g;

    if (!group || (now && !strcmp(group, throttle_group_name(now)))) {
        group = NULL;
    } else if (now && b->nlanes > 1) {
        return err_set(err, "The group of a drive with several iothreads cannot be changed");
    } else if (now) {
        blk_drain(b);
        loop_call(b->lane[0].loop ? b->lane[0].loop : loop_main(), leave_there, &b->limits);
        now = NULL;
    }
    /* Once it has limits it stays in the group, if only to have none. */
    if (!now && throttle_limits_any(l)) {
        now = throttle_group_get(group ? group : *blk_name(b) ? blk_name(b) : blk_id(b), true);
        throttle_join(&b->limits, now);
    }
    if (now) {
        throttle_group_set(now, l);
    }
    return true;
}

static Json *qmp_set_throttle(G_GNUC_UNUSED void *m, const void *args, GError **err)
{
    const SetArgs *a = args;
    Blk *b = blk_find_device(a->device, a->id, err);

    if (b && !b->node) {
        err_set(err, "Device has no medium");
        return NULL;
    }
    return b && blk_set_limits(b, a->group, &a->lim, err) ? json_object() : NULL;
}

const QmpCmd block_throttle_cmds[] = {
    { .name = "block_set_io_throttle",
        .args_spec = set_rows,
        .args_size = sizeof(SetArgs),
        .run = qmp_set_throttle },
    { .name = NULL },
};
