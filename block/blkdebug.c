/* blkdebug: a filter that lets requests fail, by rules about what the node above does. The rules
 * are QEMU's (its documentation of blkdebug): an event with a matching rule makes the rule's error
 * active, later requests fail with what is active. Tested by tests/system/test_block.py. */
#include "block-internal.h"
#include "util/giov.h"
#include "util/keyval.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Rule {
    char *event;
    int64_t state; /* 0: any */
    bool set_state, once, immediately, active, used;
    int64_t new_state;
    int64_t error, sector; /* sector -1: any */
    int iotype;            /* -1: any; else BlkOp */
} Rule;
typedef struct BlkDebug {
    GMutex lock;
    GArray *rules;
    int64_t state;
    GRWLock edges; /* writer: who rewrites a part of an aligned block */
} BlkDebug;
typedef struct DebugOpts {
    char *config;
    Json *inject, *set;
    /* What a request may be, in bytes; 0: anything. */
    uint64_t align, max_transfer, opt_zero, max_zero, opt_discard, max_discard;
} DebugOpts;
static const PropSpec debug_props[] = {
    PROP_STR("config", DebugOpts, config, "file of rules"),
    PROP_JSON(
        "inject-error", DebugOpts, inject, "rules: event, state, errno, sector, iotype, once"),
    PROP_JSON("set-state", DebugOpts, set, "rules: event, state, new_state"),
    PROP_SIZE("align", DebugOpts, align, 0, "requests are multiples of this; a power of 2"),
    PROP_SIZE("max-transfer", DebugOpts, max_transfer, 0, "largest read or write"),
    PROP_SIZE("opt-write-zero", DebugOpts, opt_zero, 0, "zeroes that are no multiple are written"),
    PROP_SIZE("max-write-zero", DebugOpts, max_zero, 0, "largest request of zeroes"),
    PROP_SIZE("opt-discard", DebugOpts, opt_discard, 0, "discards are cut to multiples of this"),
    PROP_SIZE("max-discard", DebugOpts, max_discard, 0, "largest discard"),
    PROP_END,
};

/* QEMU's names; those of formats that are not there never happen. */
static const char *const events[] = { "l1_update", "l1_grow_alloc_table", "l1_grow_write_table",
    "l1_grow_activate_table", "l2_load", "l2_update", "l2_update_compressed", "l2_alloc_cow_read",
    "l2_alloc_write", "read_aio", "read_backing_aio", "read_compressed", "write_aio",
    "write_compressed", "vmstate_load", "vmstate_save", "cow_read", "cow_write", "reftable_load",
    "reftable_grow", "reftable_update", "refblock_load", "refblock_update", "refblock_update_part",
    "refblock_alloc", "refblock_alloc_hookup", "refblock_alloc_write",
    "refblock_alloc_write_blocks", "refblock_alloc_write_table", "refblock_alloc_switch_table",
    "cluster_alloc", "cluster_alloc_bytes", "cluster_free", "flush_to_os", "flush_to_disk",
    "pwritev_rmw_head", "pwritev_rmw_after_head", "pwritev_rmw_tail", "pwritev_rmw_after_tail",
    "pwritev", "pwritev_zero", "pwritev_done", "empty_image_prepare", "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters", "cor_write", "cluster_alloc_space", "none", NULL };
static const char *const iotypes[] = { "read", "write", "flush", "discard", "write-zeroes", NULL };
static PROP_ENUM_TYPE(prop_event, "BlkdebugEvent", events);
static PROP_ENUM_TYPE(prop_iotype, "BlkdebugIOType", iotypes);

typedef struct RuleOpts {
    int event, iotype;
    int64_t state, new_state, error, sector;
    bool once, immediately;
} RuleOpts;
#define ROW_I64(n, f, d, h)                                                                        \
    {                                                                                              \
        .name = (n), .type = &prop_i64, .offset = PROP_AT(RuleOpts, f, int64_t), .bit = -1,        \
        .def.i = (d), .help = (h)                                                                  \
    }
static const PropSpec inject_rows[] = {
    PROP_ENUM("event", RuleOpts, event, prop_event, 0, "what the node above does"),
    PROP_ENUM("iotype", RuleOpts, iotype, prop_iotype, 0, "kind of request that fails"),
    ROW_I64("state", state, 0, "only in this state; 0: in any"),
    ROW_I64("errno", error, 5, "the error"),
    ROW_I64("sector", sector, -1, "only requests with this sector"),
    PROP_BOOL("once", RuleOpts, once, false, "one request, then the rule is gone"),
    PROP_BOOL("immediately", RuleOpts, immediately, false, "kept: errors are never delayed"),
    PROP_END,
};
static const PropSpec set_rows[] = {
    PROP_ENUM("event", RuleOpts, event, prop_event, 0, "what the node above does"),
    ROW_I64("state", state, 0, "only in this state; 0: in any"),
    ROW_I64("new_state", new_state, 0, "the state from then on"),
    PROP_END,
};

static bool add_rule(BlkDebug *d, bool set, const Json *args, GError **err)
{
    const PropSpec *rows = set ? set_rows : inject_rows;
    RuleOpts o = { 0 };

    if (json_type(args) != JSON_OBJECT) {
        return err_set(err, "Invalid parameter type for '%s', expected: object",
            set ? "set-state" : "inject-error");
    }
    prop_defaults(rows, &o);
    if (!json_get(args, "event") || (set && !json_get(args, "new_state"))) {
        return err_set(
            err, "Parameter '%s' is missing", json_get(args, "event") ? "new_state" : "event");
    }
    if (!prop_apply_struct(rows, &o, args, err)) {
        return false;
    }
    if (o.error <= 0 && !set) {
        return err_set(err, "Parameter 'errno' expects a positive number");
    }
    Rule r = { .event = g_strdup(events[o.event]),
        .state = o.state,
        .set_state = set,
        .new_state = o.new_state,
        .error = o.error,
        .sector = o.sector,
        .once = o.once,
        .immediately = o.immediately,
        .iotype = json_get(args, "iotype") ? o.iotype : -1 };

    g_array_append_val(d->rules, r);
    return true;
}

static bool add_rules(BlkDebug *d, bool set, const Json *list, GError **err)
{
    if (list && json_type(list) != JSON_ARRAY) {
        return err_set(err, "Invalid parameter type for '%s', expected: array",
            set ? "set-state" : "inject-error");
    }
    for (unsigned i = 0; list && i < json_len(list); i++) {
        if (!add_rule(d, set, json_at(list, i), err)) {
            return false;
        }
    }
    return true;
}

/* [inject-error] and [set-state] with key = "value" lines; '#' begins a comment. */
static bool read_config(BlkDebug *d, const char *path, GError **err)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;
    g_autoptr(Json) args = NULL;
    bool set = false;

    if (!g_file_get_contents(path, &text, NULL, &why)) {
        return err_set(err, "Could not read blkdebug config file: %s",
            g_access(path, R_OK) < 0 ? strerror(errno) : why->message);
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (unsigned i = 0;; i++) {
        char *l = lines[i] ? g_strstrip(lines[i]) : NULL;

        if (l && (!*l || *l == '#')) {
            continue;
        }
        if (!l || *l == '[') {
            if (args && !add_rule(d, set, args, err)) {
                return false;
            }
            g_clear_pointer(&args, json_unref);
            if (!l) {
                return true;
            }
            set = !strcmp(l, "[set-state]");
            if (!set && strcmp(l, "[inject-error]") != 0) {
                return err_set(err, "%s:%u: there is no option group \"%s\"", path, i + 1, l);
            }
            args = json_object();
            continue;
        }
        char *eq = strchr(l, '='), *val = eq ? g_strstrip(eq + 1) : NULL;
        size_t n = val ? strlen(val) : 0;

        if (!args || !eq || n < 2 || val[0] != '"' || val[n - 1] != '"') {
            return err_set(err, "%s:%u: parse error", path, i + 1);
        }
        *eq = val[n - 1] = '\0';
        json_set(args, g_strstrip(l), json_text(val + 1));
    }
}

static bool limits_ok(const DebugOpts *o, uint64_t align, GError **err)
{
    uint64_t zero = MAX(o->opt_zero, align), discard = MAX(o->opt_discard, align);
    const struct {
        const char *name;
        uint64_t v, of;
    } rows[] = { { "align", o->align, 1 }, { "max-transfer", o->max_transfer, align },
        { "opt-write-zero", o->opt_zero, align }, { "max-write-zero", o->max_zero, zero },
        { "opt-discard", o->opt_discard, align }, { "max-discard", o->max_discard, discard } };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        if ((int64_t)rows[i].v < 0) {
            return err_set(err, "Value '%lld' is out of range for parameter '%s'",
                (long long)rows[i].v, rows[i].name);
        }
        if (rows[i].v >= INT_MAX || rows[i].v % rows[i].of || (!i && o->align & (o->align - 1))) {
            return err_set(err, "Cannot meet constraints with %s %llu", rows[i].name,
                (unsigned long long)rows[i].v);
        }
    }
    return true;
}

static void debug_close(BlkNode *n)
{
    BlkDebug *d = n->state;

    for (unsigned i = 0; i < d->rules->len; i++) {
        g_free(g_array_index(d->rules, Rule, i).event);
    }
    g_array_unref(d->rules);
    g_mutex_clear(&d->lock);
    g_rw_lock_clear(&d->edges);
}

static bool debug_open(BlkNode *n, GError **err)
{
    BlkDebug *d = n->state;
    const DebugOpts *o = n->opts;

    if (!limits_ok(o, MAX(o->align, n->file->align), err)) {
        return false;
    }
    g_mutex_init(&d->lock);
    g_rw_lock_init(&d->edges);
    d->rules = g_array_new(FALSE, FALSE, sizeof(Rule));
    d->state = 1;
    if ((o->config && *o->config && !read_config(d, o->config, err)) ||
        !add_rules(d, false, o->inject, err) || !add_rules(d, true, o->set, err)) {
        debug_close(n);
        return false;
    }
    n->size = n->file->size;
    n->align = (uint32_t)MAX(o->align, n->file->align);
    n->read_only |= n->file->read_only;
    n->filename = g_strdup(n->file->filename);
    return true;
}

static char *debug_shown(const BlkNode *n)
{
    const DebugOpts *o = n->opts;

    return g_strdup_printf("blkdebug:%s:%s", o->config ? o->config : "", n->file->filename);
}

/* QEMU compat: nobody asks the node below. */
static int64_t debug_allocated(G_GNUC_UNUSED BlkNode *n)
{
    return -ENOTSUP;
}

static void debug_event(BlkNode *n, const char *event)
{
    BlkDebug *d = n->state;
    bool injected = false;

    g_mutex_lock(&d->lock);
    int64_t state = d->state;

    for (unsigned i = 0; i < d->rules->len; i++) {
        Rule *r = &g_array_index(d->rules, Rule, i);

        if (r->used || strcmp(r->event, event) != 0 || (r->state && r->state != state)) {
            continue;
        }
        if (r->set_state) {
            d->state = r->new_state;
            continue;
        }
        /* What this event makes active takes the place of what was. */
        for (unsigned k = 0; !injected && k < d->rules->len; k++) {
            g_array_index(d->rules, Rule, k).active = false;
        }
        injected = r->active = true;
    }
    g_mutex_unlock(&d->lock);
}

/* What becomes of a request: 0 or -errno. */
static int check(BlkNode *n, BlkOp op, uint64_t off, uint64_t len)
{
    BlkDebug *d = n->state;
    int rc = 0;

    debug_event(n, "none");
    g_mutex_lock(&d->lock);
    for (unsigned i = 0; i < d->rules->len && !rc; i++) {
        Rule *r = &g_array_index(d->rules, Rule, i);
        uint64_t at = (uint64_t)r->sector * 512;

        if (r->active && (r->iotype < 0 || r->iotype == (int)op) &&
            (r->sector < 0 || (at >= off && at - off < len))) {
            rc = -(int)r->error;
            if (r->once) {
                r->used = true;
                r->active = false;
            }
        }
    }
    g_mutex_unlock(&d->lock);
    return rc;
}

/* One transfer of whole blocks, as the node below sees it. */
static int transfer(BlkNode *n, bool write, uint64_t off, GIov *g, uint64_t len, unsigned flags)
{
    unsigned nv = giov_pieces(g);
    g_autofree struct iovec *v = g_new(struct iovec, nv);

    giov_iovec(g, v, nv);
    int rc = check(n, write ? BLK_WRITE : BLK_READ, off, len);

    return rc      ? rc
           : write ? blk_node_pwritev(n->file, off, v, nv, len, flags)
                   : blk_node_preadv(n->file, off, v, nv, len);
}

/* A piece that is no multiple of the blocks: the blocks around it are read, and written back. */
static int transfer_edges(
    BlkNode *n, bool write, uint64_t off, GIov *g, uint64_t len, unsigned flags)
{
    BlkDebug *d = n->state;
    uint64_t a = n->align, from = off & ~(a - 1), end = MAX(n->file->size, off + len),
             to = MIN((off + len + a - 1) & ~(a - 1), end); /* not beyond the image */
    g_autofree uint8_t *buf = g_malloc(to - from);
    struct iovec v = { buf, to - from };
    GIov all;

    giov_init(&all, &v, 1);
    if (!write) {
        int rc = transfer(n, false, from, &all, to - from, 0);
        return rc ? rc : giov_put(g, buf + (off - from), len) ? 0 : -EIO;
    }
    g_rw_lock_writer_lock(&d->edges);
    debug_event(n, off > from ? "pwritev_rmw_head" : "pwritev_rmw_tail");
    int rc = transfer(n, false, from, &all, to - from, 0);

    if (!rc) {
        bool ok = giov_get(g, buf + (off - from), len);
        g_assert(ok);
        debug_event(n, off > from ? "pwritev_rmw_after_head" : "pwritev_rmw_after_tail");
        giov_init(&all, &v, 1);
        rc = transfer(n, true, from, &all, to - from, flags);
    }
    g_rw_lock_writer_unlock(&d->edges);
    return rc;
}

/* A read or write in pieces that the limits allow. */
static int pieces(BlkNode *n, bool write, uint64_t off, const struct iovec *iov, unsigned niov,
    uint64_t len, unsigned flags)
{
    enum { BOUNCE = 1 << 20 };
    const DebugOpts *o = n->opts;
    BlkDebug *d = n->state;
    uint64_t mask = n->align - 1u, most = o->max_transfer ? o->max_transfer : UINT64_MAX;
    GIov left, rest;
    int rc = 0;

    giov_init(&left, iov, niov);
    for (uint64_t some; len && !rc; off += some, len -= some, left = rest) {
        bool edge = off & mask || (len & mask && len < most);

        some = MIN(len, edge ? MIN(most, BOUNCE) - (off & mask) : most);
        if (!giov_split(&left, some, &rest)) {
            return -EIO;
        }
        if (edge) {
            rc = transfer_edges(n, write, off, &left, some, flags);
            continue;
        }
        if (write) {
            g_rw_lock_reader_lock(&d->edges);
        }
        rc = transfer(n, write, off, &left, some, flags);
        if (write) {
            g_rw_lock_reader_unlock(&d->edges);
        }
    }
    return rc;
}

static int debug_preadv(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    return pieces(n, false, off, iov, niov, len, 0);
}

static int debug_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    debug_event(n, "pwritev");
    int rc = pieces(n, true, off, iov, niov, len, flags);

    debug_event(n, "pwritev_done");
    return rc;
}

static int debug_flush(BlkNode *n)
{
    int rc = check(n, BLK_FLUSH, 0, 0);
    return rc ? rc : blk_node_flush(n->file);
}

/* Calls fn for each piece of at most `most` bytes (0: all) of the range's multiples of opt, other()
 * for its edges. */
typedef int RangeFn(BlkNode *n, uint64_t off, uint64_t len, unsigned flags);
static int ranges(BlkNode *n, uint64_t off, uint64_t len, uint64_t opt, uint64_t most,
    unsigned flags, RangeFn *fn, RangeFn *other)
{
    int rc = 0;

    opt = MAX(opt, n->align);
    for (uint64_t some; len && !rc; off += some, len -= some) {
        uint64_t over = off % opt, mid = len - len % opt;
        bool edge = over || !mid;

        some = edge ? MIN(len, opt - over) : most ? MIN(mid, most) : mid;
        rc = (edge ? other : fn)(n, off, some, flags);
    }
    return rc;
}

static int discard_piece(BlkNode *n, uint64_t off, uint64_t len, G_GNUC_UNUSED unsigned flags)
{
    int rc = check(n, BLK_DISCARD, off, len);
    return rc ? rc : blk_node_discard(n->file, off, len);
}

/* A hint that is too small: nothing happens. */
static int discard_edge(G_GNUC_UNUSED BlkNode *n, G_GNUC_UNUSED uint64_t off,
    G_GNUC_UNUSED uint64_t len, G_GNUC_UNUSED unsigned flags)
{
    return 0;
}

static int debug_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    const DebugOpts *o = n->opts;
    return ranges(n, off, len, o->opt_discard, o->max_discard, 0, discard_piece, discard_edge);
}

static int zero_piece(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    int rc = check(n, BLK_WRITE_ZEROES, off, len);
    return rc ? rc : blk_node_zeroes(n->file, off, len, flags);
}

static int zero_edge(BlkNode *n, uint64_t off, uint64_t len, G_GNUC_UNUSED unsigned flags)
{
    return blk_node_zero_by_write(n, off, len);
}

static int debug_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    const DebugOpts *o = n->opts;

    debug_event(n, "pwritev_zero");
    int rc = ranges(n, off, len, o->opt_zero, o->max_zero, flags, zero_piece, zero_edge);

    debug_event(n, "pwritev_done");
    return rc;
}

static int debug_truncate(BlkNode *n, uint64_t size)
{
    int rc = blk_node_truncate(n->file, size);

    if (!rc) {
        n->size = n->file->size;
    }
    return rc;
}

/* All but "config", which has a place in the name. */
static const char *const debug_strong[] = { "inject-error", "set-state", "align", "max-transfer",
    "opt-write-zero", "max-write-zero", "opt-discard", "max-discard", NULL };

const BlkDriver blk_blkdebug = { .name = "blkdebug",
    .help = "a filter that lets requests fail",
    .child = "image",
    .filter = true,
    .strong = debug_strong,
    .shown = debug_shown,
    .allocated = debug_allocated,
    .size = sizeof(BlkDebug),
    .props = debug_props,
    .opts_size = sizeof(DebugOpts),
    .open = debug_open,
    .close = debug_close,
    .preadv = debug_preadv,
    .pwritev = debug_pwritev,
    .flush = debug_flush,
    .discard = debug_discard,
    .write_zeroes = debug_zeroes,
    .truncate = debug_truncate,
    .event = debug_event };
