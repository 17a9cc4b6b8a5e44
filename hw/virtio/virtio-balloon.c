/* virtio-balloon: memory the guest gives back and takes again, its statistics, reports of free
 * pages (VIRTIO 1.4, 5.5). Control plane and queues run in the main loop. Tested by
 * test-virtio-balloon. */
#include "hw/virtio/virtio-balloon.h"

#include "backends/iothread.h"
#include "hw/core/machine.h"
#include "hw/virtio/virtio-pci.h"
#include "memory/ram.h"
#include "object/qmp.h"
#include "util/timer.h"

#include <string.h>

enum { F_STATS = 1, F_DEFLATE_ON_OOM = 2, F_HINT = 3, F_POISON = 4, F_REPORTING = 5 };
enum { Q_INFLATE, Q_DEFLATE, Q_STATS, Q_REPORTING };
enum {
    PAGE_BITS = 12,      /* of the interface, whatever the guest's own pages are */
    PAGES_A_TURN = 8192, /* of one request; the rest waits for its next turn */
    RUNS_A_TURN = 256,   /* each is a system call */
    STATS_A_TURN = 1024, /* entries of one buffer that are looked at */
    NSTATS = 16,
    EVENT_GAP_NS = 1000000000 /* between two BALLOON_CHANGE */
};

typedef struct BalloonConfig {
    le32 num_pages, actual, free_page_hint_cmd_id, poison_val;
} BalloonConfig;
_Static_assert(sizeof(BalloonConfig) == 16, "VIRTIO 1.4, 5.5.4");

typedef struct BalloonStat {
    le16 tag;
    le64 val;
} __attribute__((packed)) BalloonStat;
_Static_assert(sizeof(BalloonStat) == 10, "VIRTIO 1.4, 5.5.6.3");

typedef struct BalloonStats { /* property guest-stats */
    uint64_t val[NSTATS];
    int64_t last_update; /* seconds since 1970, 0: never */
} BalloonStats;

typedef struct VirtioBalloon {
    VirtioDev vd;
    char *iothread_id;
    IoThread *iothread;
    bool config_size_4_0;
    BalloonStats stats;
    int64_t interval; /* seconds between two questions, 0: none asked */
    Machine *machine;
    uint32_t num_pages, actual, poison;
    uint32_t counted;  /* actual, when all of it was written */
    VqElem *stats_buf; /* held: giving it back asks for the next one (5.5.6.3) */
    bool stats_seen;   /* since the driver came */
    VqElem *long_req;  /* deflate needs no work, so only inflate requests get that long */
    LoopIdle go_on;
    Timer timer, event;
    bool event_wanted;
    VqSpec specs[4];
} VirtioBalloon;

/* ---- pages go ---- */

typedef struct Run { /* neighbours, given back together */
    uint64_t at, len;
    unsigned done; /* runs before this one */
} Run;

/* The memory's content may go (5.5.6.2). What is no RAM of the guest, or not writable, stays. */
static void discard(const VirtioBalloon *s, uint64_t at, uint64_t len)
{
    const FlatMap *m = addrspace_map(s->machine->mem);

    while (len) {
        const FlatRange *f = flatmap_find(m, at);
        uint64_t some = f ? MIN(len, f->at + f->size - at) : 1ull << PAGE_BITS;

        some = MIN(some, len);
        if (f && f->region->ram && !f->readonly) {
            ram_discard(f->region->ram, f->off + (at - f->at), some);
        }
        at += some;
        len -= some;
    }
}

static void run_add(const VirtioBalloon *s, Run *r, uint64_t page)
{
    uint64_t at = page << PAGE_BITS, size = 1ull << PAGE_BITS;

    if (r->len && at == r->at + r->len) {
        r->len += size;
    } else if (r->len && at + size == r->at) {
        r->at = at;
        r->len += size;
    } else if (!r->len || at < r->at || at >= r->at + r->len) { /* not told of a moment ago */
        discard(s, r->at, r->len);
        *r = (Run){ at, size, r->done + 1 };
    }
}

/* A slice of an inflate request; true when it is done. */
static bool inflate_some(VirtioBalloon *s, VqElem *e)
{
    Run r = { 0 };
    le32 pfn[256];
    size_t left = PAGES_A_TURN;

    while (left && r.done < RUNS_A_TURN && e->out.left >= sizeof pfn[0]) {
        size_t n = MIN(e->out.left / sizeof pfn[0], G_N_ELEMENTS(pfn));
        bool ok = giov_get(&e->out, pfn, n * sizeof pfn[0]);

        g_assert(ok);
        for (size_t i = 0; i < n; i++) {
            run_add(s, &r, le32_get(pfn[i]));
        }
        left -= MIN(left, n);
    }
    discard(s, r.at, r.len);
    return e->out.left < sizeof pfn[0];
}

static void inflate_go_on(void *opaque)
{
    VirtioBalloon *s = opaque;
    VqElem *e = s->long_req;
    VirtQueue *vq = e->vq;

    if (!inflate_some(s, e)) {
        loop_idle(s->vd.loop, &s->go_on);
        return;
    }
    s->long_req = NULL;
    vq_push(e);
    vq_notify(vq);
    vq_resume(vq);
}

static VqVerdict inflate(VirtioDev *d, VqElem *e)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    if (s->long_req) {
        return VQ_STOP;
    }
    if (inflate_some(s, e)) {
        return VQ_DONE;
    }
    s->long_req = e;
    loop_idle(d->loop, &s->go_on);
    return VQ_HELD;
}

/* Pages come back by themselves when they are touched. */
static VqVerdict deflate(G_GNUC_UNUSED VirtioDev *d, G_GNUC_UNUSED VqElem *e)
{
    return VQ_DONE;
}

/* The same of memory known by its place in the host. */
static void discard_host(const VirtioBalloon *s, const struct iovec *v)
{
    const FlatMap *m = addrspace_map(s->machine->mem);
    const uint8_t *p = v->iov_base;

    for (unsigned i = 0; i < m->n; i++) {
        RamBlock *b = m->range[i].region->ram;

        if (b && p >= b->host && p < b->host + b->size) {
            ram_discard(b, (uint64_t)(p - b->host), v->iov_len);
            return;
        }
    }
}

/* Free pages are the device-writable buffers themselves (5.5.6.7). */
static VqVerdict report(VirtioDev *d, VqElem *e)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;

    /* What we make of a page reads as zeroes, and a driver that counts on another value keeps its
     * pages (5.5.6.7.2). */
    if (virtio_has(d, F_POISON) && s->poison) {
        return VQ_DONE;
    }
    for (unsigned i = 0, n = giov_pieces(&e->in); i < n; i++) {
        discard_host(s, &e->in.v[i]); /* no buffer is empty */
    }
    return VQ_DONE;
}

/* ---- statistics ---- */

static VqVerdict stats(VirtioDev *d, VqElem *e)
{
    VirtioBalloon *s = (VirtioBalloon *)d;
    bool first = !s->stats_seen;
    BalloonStat st;

    s->stats_seen = true;
    /* An old driver's first buffer holds nothing yet (5.5.6.3.3). */
    if (!(first && d->legacy)) {
        memset(s->stats.val, 0xff, sizeof s->stats.val);
        for (unsigned i = 0; i < STATS_A_TURN && giov_get(&e->out, &st, sizeof st); i++) {
            if (le16_get(st.tag) < NSTATS) {
                s->stats.val[le16_get(st.tag)] = le64_get(st.val);
            }
        }
        s->stats.last_update = g_get_real_time() / G_USEC_PER_SEC;
    }
    if (s->stats_buf) { /* one at a time is what the driver promised (5.5.6.3.1) */
        vq_push(s->stats_buf);
    }
    s->stats_buf = e;
    return VQ_HELD;
}

static void ask_stats(void *opaque)
{
    VirtioBalloon *s = opaque;
    VqElem *e = s->stats_buf;

    if (s->interval) {
        timer_mod(&s->timer, clock_ns(CLOCK_KIND_VIRTUAL) + s->interval * 1000000000);
    }
    if (e) {
        VirtQueue *vq = e->vq;

        s->stats_buf = NULL;
        vq_push(e);
        vq_notify(vq);
    }
}

static const char *const stat_names[NSTATS] = { "stat-swap-in", "stat-swap-out",
    "stat-major-faults", "stat-minor-faults", "stat-free-memory", "stat-total-memory",
    "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail",
    "stat-oom-kills", "stat-alloc-stalls", "stat-async-scans", "stat-direct-scans",
    "stat-async-reclaims", "stat-direct-reclaims" };

static void stats_get(const void *field, JsonWriter *w, const char *name)
{
    const BalloonStats *s = field;

    jw_begin_object(w, name);
    jw_begin_object(w, "stats");
    for (unsigned i = 0; i < NSTATS; i++) {
        jw_uint(w, stat_names[i], s->val[i]);
    }
    jw_end_object(w);
    jw_int(w, "last-update", s->last_update);
    jw_end_object(w);
}

static const PropType prop_stats = { .name = "guest statistics", .get = stats_get };

static bool interval_ok(int64_t v, GError **err)
{
    return v < 0            ? err_set(err, "timer value must be greater than zero")
           : v > UINT32_MAX ? err_set(err, "timer value is too big")
                            : true;
}

static bool interval_set(void *field, const Json *val, GError **err)
{
    int64_t v;

    if (!prop_i64.set(&v, val, err) || !interval_ok(v, err)) {
        return false;
    }
    *(int64_t *)field = v;
    return true;
}

static bool interval_parse(void *field, const char *text, GError **err)
{
    int64_t v;

    if (!prop_i64.parse(&v, text, err) || !interval_ok(v, err)) {
        return false;
    }
    *(int64_t *)field = v;
    return true;
}

static void interval_get(const void *field, JsonWriter *w, const char *name)
{
    jw_int(w, name, *(const int64_t *)field);
}

static const PropType prop_interval = {
    .name = "int", .set = interval_set, .parse = interval_parse, .get = interval_get
};

/* The polling interval is set while the device runs. */
static void balloon_prop_changed(Obj *o, G_GNUC_UNUSED const PropSpec *row)
{
    VirtioBalloon *s = (VirtioBalloon *)o;

    timer_del(&s->timer);
    if (s->interval) {
        timer_mod(&s->timer, clock_ns(CLOCK_KIND_VIRTUAL) + s->interval * 1000000000);
    }
}

/* ---- configuration ---- */

static uint64_t actual_bytes(const VirtioBalloon *s)
{
    return s->machine->ram_size - MIN((uint64_t)s->counted << PAGE_BITS, s->machine->ram_size);
}

/* The first change is told at once, the last one too, those between at most once a second. */
static void send_event(void *opaque)
{
    VirtioBalloon *s = opaque;

    if (!s->event_wanted || timer_pending(&s->event)) {
        return;
    }
    Json *data = json_object();

    json_set(data, "actual", json_uint(actual_bytes(s)));
    s->event_wanted = false;
    timer_mod(&s->event, clock_ns(CLOCK_KIND_REALTIME) + EVENT_GAP_NS);
    qmp_event("BALLOON_CHANGE", data);
}

static void event_gap_over(void *opaque)
{
    send_event(opaque);
}

static size_t balloon_config_len(VirtioDev *d)
{
    /* QEMU compat: qemu-4-0-config-size. */
    return ((VirtioBalloon *)d)->config_size_4_0 ? offsetof(BalloonConfig, free_page_hint_cmd_id)
                                                 : sizeof(BalloonConfig);
}

static void balloon_config(VirtioDev *d, void *cfg)
{
    const VirtioBalloon *s = (const VirtioBalloon *)d;
    BalloonConfig c = { .num_pages = le32_of(s->num_pages),
        .actual = le32_of(s->actual),
        .poison_val = le32_of(s->poison) };

    memcpy(cfg, &c, balloon_config_len(d));
}

static void balloon_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len)
{
    VirtioBalloon *s = (VirtioBalloon *)d;
    BalloonConfig c = { 0 };
    size_t end = off + len;

    memcpy(&c, cfg, balloon_config_len(d));
    if (off < offsetof(BalloonConfig, free_page_hint_cmd_id) &&
        end > offsetof(BalloonConfig, actual)) {
        s->actual = le32_get(c.actual);
        /* Bytes of a legacy driver come from the lowest to the highest: with the last one the value
         * counts (5.5.6.2.1). */
        if (end >= offsetof(BalloonConfig, free_page_hint_cmd_id)) {
            s->event_wanted = s->event_wanted || s->actual != s->counted;
            s->counted = s->actual;
            send_event(s);
        }
    }
    if (end > offsetof(BalloonConfig, poison_val) && virtio_has(d, F_POISON)) {
        s->poison = le32_get(c.poison_val);
    }
}

static VirtioFeatures balloon_offer(G_GNUC_UNUSED VirtioDev *d, VirtioFeatures f)
{
    vf_set(&f, F_STATS, true);
    return f;
}

/* ---- life ---- */

static void balloon_stop(VirtioDev *d)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    if (s->stats_buf) {
        vq_drop(s->stats_buf);
        s->stats_buf = NULL;
    }
    if (s->long_req) {
        loop_idle_cancel(d->loop, &s->go_on);
        vq_drop(s->long_req);
        s->long_req = NULL;
    }
}

static void balloon_queue_reset(VirtioDev *d, unsigned i)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    if (i == Q_STATS && s->stats_buf) {
        vq_drop(s->stats_buf);
        s->stats_buf = NULL;
    }
    if (i == Q_INFLATE && s->long_req) {
        loop_idle_cancel(d->loop, &s->go_on);
        vq_drop(s->long_req);
        s->long_req = NULL;
    }
}

static void balloon_reset(VirtioDev *d)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    s->stats_seen = false;
    memset(s->stats.val, 0xff, sizeof s->stats.val);
    s->stats.last_update = 0;
    s->poison = 0;
    s->actual = s->counted = 0; /* the next driver begins with all its memory */
}

static bool is_balloon(Obj *o, void *opaque)
{
    if (o->cls == &virtio_balloon_class && o->phase == OBJ_REALIZED) {
        *(Obj **)opaque = o;
        return false;
    }
    return true;
}

static VirtioBalloon *find_balloon(const Machine *m)
{
    Obj *o = NULL;

    obj_walk(m->root, is_balloon, &o);
    return (VirtioBalloon *)o;
}

static unsigned balloon_queue_count(VirtioDev *d)
{
    return vf_has(d->prop_features, F_REPORTING) ? 4 : 3;
}

static const VqSpec *balloon_queue_spec(VirtioDev *d, unsigned i, uint16_t *ret_size)
{
    *ret_size = ((VirtioBalloon *)d)->specs[i].size;
    return &((VirtioBalloon *)d)->specs[i];
}

static void balloon_forget_thread(VirtioBalloon *s)
{
    obj_unref((Obj *)s->iothread);
    s->iothread = NULL;
}

static bool balloon_realize(VirtioDev *d, GError **err)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    s->machine = dev_machine((Dev *)d->transport);
    if (vf_has(d->prop_features, F_HINT)) {
        return err_set(err, "free-page-hint=on is not supported, there is no migration to use it");
    }
    if (s->iothread_id) { /* for page hints, as in QEMU: checked and kept */
        s->iothread = iothread_find(s->machine->objects, s->iothread_id, err);
        if (!s->iothread) {
            return false;
        }
    }
    if (find_balloon(s->machine)) {
        balloon_forget_thread(s);
        return err_set(err, "Only one balloon device is supported");
    }
    s->specs[Q_INFLATE] = (VqSpec){ "inflate", 128, sizeof(VqElem), inflate };
    s->specs[Q_DEFLATE] = (VqSpec){ "deflate", 128, sizeof(VqElem), deflate };
    s->specs[Q_STATS] = (VqSpec){ "stats", 128, sizeof(VqElem), stats };
    s->specs[Q_REPORTING] = (VqSpec){ "reporting", 32, sizeof(VqElem), report };
    s->go_on = (LoopIdle){ .fn = inflate_go_on, .opaque = s };
    timer_init(&s->timer, d->loop, CLOCK_KIND_VIRTUAL, ask_stats, s);
    timer_init(&s->event, d->loop, CLOCK_KIND_REALTIME, event_gap_over, s);
    balloon_reset(d);
    balloon_prop_changed(&d->dev.obj, NULL);
    return true;
}

static void balloon_unrealize(VirtioDev *d)
{
    VirtioBalloon *s = (VirtioBalloon *)d;

    timer_del(&s->timer);
    timer_del(&s->event);
    balloon_forget_thread(s);
}

/* ---- QMP ---- */

typedef struct BalloonArgs {
    int64_t value;
} BalloonArgs;

static const PropSpec balloon_args[] = {
    { .name = "value",
        .type = &prop_i64,
        .offset = PROP_AT(BalloonArgs, value, int64_t),
        .bit = -1,
        .flags = PROP_REQUIRED,
        .help = "bytes the guest should have" },
    PROP_END,
};

static VirtioBalloon *need_balloon(const Machine *m, GError **err)
{
    VirtioBalloon *s = find_balloon(m);

    if (!s) {
        err_set_class(err, ERR_DEVICE_NOT_ACTIVE, "No balloon device has been activated");
    }
    return s;
}

bool virtio_balloon_actual(const Machine *m, uint64_t *ret, GError **err)
{
    const VirtioBalloon *s = need_balloon(m, err);

    if (s) {
        *ret = actual_bytes(s);
    }
    return s != NULL;
}

bool virtio_balloon_target(const Machine *m, int64_t bytes, GError **err)
{
    VirtioBalloon *s = need_balloon(m, err);

    if (!s) {
        return false;
    }
    if (bytes <= 0) {
        return err_set(err, "Parameter 'value' expects a size");
    }
    uint64_t give = m->ram_size - MIN((uint64_t)bytes, m->ram_size);

    s->num_pages = (uint32_t)MIN(give >> PAGE_BITS, (uint64_t)UINT32_MAX);
    virtio_config_changed(&s->vd);
    return true;
}

static Json *qmp_balloon(void *machine, const void *args, GError **err)
{
    return virtio_balloon_target(machine, ((const BalloonArgs *)args)->value, err) ? json_object()
                                                                                   : NULL;
}

static Json *qmp_query_balloon(void *machine, G_GNUC_UNUSED const void *args, GError **err)
{
    uint64_t actual;

    if (!virtio_balloon_actual(machine, &actual, err)) {
        return NULL;
    }
    Json *r = json_object();

    json_set(r, "actual", json_uint(actual));
    return r;
}

const QmpCmd virtio_balloon_cmds[] = {
    { .name = "balloon",
        .args_spec = balloon_args,
        .args_size = sizeof(BalloonArgs),
        .run = qmp_balloon },
    { .name = "query-balloon", .run = qmp_query_balloon },
    { NULL },
};

/* clang-format off */
const PropSpec virtio_balloon_props[] = {
    PROP_FEATURE("deflate-on-oom", VirtioBalloon, vd.prop_features, F_DEFLATE_ON_OOM, false, "the guest may take pages back when it has none left"),
    PROP_FEATURE("free-page-hint", VirtioBalloon, vd.prop_features, F_HINT, false, "refused: nothing uses hints"),
    PROP_FEATURE("page-poison", VirtioBalloon, vd.prop_features, F_POISON, true, "the guest says what its free pages hold"),
    PROP_FEATURE("free-page-reporting", VirtioBalloon, vd.prop_features, F_REPORTING, false, "the guest reports free pages"),
    PROP_BOOL("qemu-4-0-config-size", VirtioBalloon, config_size_4_0, false, "a configuration space of 8 bytes"),
    PROP_IOTHREAD("iothread", VirtioBalloon, iothread_id, "kept; for page hints"),
    { .name = "guest-stats", .type = &prop_stats, .offset = PROP_AT(VirtioBalloon, stats, BalloonStats), .bit = -1,
      .flags = PROP_NO_DEFAULT | PROP_READONLY, .help = "what the guest told last" },
    { .name = "guest-stats-polling-interval", .type = &prop_interval, .offset = PROP_AT(VirtioBalloon, interval, int64_t), .bit = -1,
      .flags = PROP_RUNTIME | PROP_NO_DEFAULT, .help = "seconds between two questions, 0: none" },
    PROP_END,
};
/* clang-format on */

static const VirtioOps balloon_ops = {
    .id = 5,
    .transitional_id = 0x1002,
    .pci_class = 0x00ff00,
    .queue_count = balloon_queue_count,
    .queue_spec = balloon_queue_spec,
    .default_vectors = 2,
    .config_size = sizeof(BalloonConfig),
    .config_len = balloon_config_len,
    .offer = balloon_offer,
    .config_told = true,
    .config = balloon_config,
    .config_wrote = balloon_config_wrote,
    .stop = balloon_stop,
    .suspend = balloon_stop,
    .reset = balloon_reset,
    .queue_reset = balloon_queue_reset,
    .realize = balloon_realize,
    .unrealize = balloon_unrealize,
};

const ObjClass virtio_balloon_class = {
    .name = "virtio-balloon-device",
    .parent = "virtio-device",
    .help = "memory the guest gives back",
    .category = "Misc",
    .size = sizeof(VirtioBalloon),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_balloon_props, NULL }, { NULL, NULL } },
    .ops = &balloon_ops,
    .prop_changed = balloon_prop_changed,
};
VIRTIO_PCI_TYPES(
    virtio_balloon, "virtio-balloon", virtio_balloon_class, virtio_balloon_props, "Misc");
