/*
 * A virtio device without its transport: status machine, features, configuration space, start and
 * stop of the data path (VIRTIO 1.4, 2.1-2.5 and 3.1). Control plane: VM lock. Covered by
 * tests/unit/test-virtio.c.
 */
#include "hw/virtio/vq-internal.h"
#include "memory/iommu.h"

#include <string.h>

/* A call into d->loop with its arguments. */
typedef struct LoopCall {
    VirtioDev *d;
    unsigned i;
    const VqLayout *at;
    GError **err;
    bool flag, ok;
} LoopCall;

VirtQueue *virtio_queue(VirtioDev *d, unsigned i)
{
    g_assert(i < d->nvqs);
    return d->vqs[i];
}

uint16_t virtio_queue_max(const VirtioDev *d, unsigned i)
{
    return i < d->nvqs ? d->vqs[i]->max_size : 0;
}

bool virtio_queue_enabled(const VirtioDev *d, unsigned i)
{
    return i < d->nvqs && d->vqs[i]->enabled;
}

bool virtio_queue_busy(const VirtioDev *d, unsigned i)
{
    /* Pairs with the release in release_held(): what the device wrote is there before the driver
     * hears of the end. */
    return i < d->nvqs && atomic_load_explicit(&d->vqs[i]->out, memory_order_acquire);
}

unsigned virtio_held(const VirtioDev *d)
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->nvqs; i++) {
        n += atomic_load_explicit(&d->vqs[i]->out, memory_order_acquire); /* as above */
    }
    return n;
}

unsigned virtio_default_vectors(const VirtioDev *d)
{
    return d->ops->default_vectors ? d->ops->default_vectors : d->nvqs + 1;
}

/* Slots that only look are declared with a plain pointer; the queues know it. */
static VirtioDev *self(const VirtioDev *d)
{
    return d->nvqs ? d->vqs[0]->d : NULL;
}

/* Features (VIRTIO 1.4, 2.2). */
VirtioFeatures virtio_offered(const VirtioDev *d, bool legacy)
{
    static const uint8_t legacy_only[] = { VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_ANY_LAYOUT,
        VIRTIO_F_BAD_FEATURE };
    VirtioFeatures f = d->host_features;

    if (legacy) {
        f.word[0] &= UINT32_MAX; /* 32 bits: 4.1.4.10 */
        f.word[1] = 0;
        vf_set(&f, VIRTIO_F_BAD_FEATURE, true);
        return d->ops->offer_legacy ? d->ops->offer_legacy(self(d), f) : f;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(legacy_only); i++) {
        vf_set(&f, legacy_only[i], false);
    }
    return f;
}

/* Rings are what the features said when they were enabled. Legacy drivers may take a ring's layout
 * first (2.7.2); of their bits only EVENT_IDX makes it longer. */
static bool may_change_features(VirtioDev *d, VirtioFeatures f)
{
    bool modern = vf_has(f, VIRTIO_F_VERSION_1) || vf_has(d->features, VIRTIO_F_VERSION_1);

    for (unsigned i = 0; i < d->nvqs && memcmp(&f, &d->features, sizeof f); i++) {
        if (d->vqs[i]->enabled && modern) {
            return false;
        }
        d->vqs[i]->mapped = false; /* looked up again before it is used */
    }
    return true;
}

static bool refuse(const VirtioDev *d, const char *why)
{
    virtio_guest_error(d, "features refused: %s", why);
    return false;
}

bool virtio_accept(VirtioDev *d, VirtioFeatures f)
{
    bool legacy = !vf_has(f, VIRTIO_F_VERSION_1);
    VirtioFeatures offered = virtio_offered(d, legacy);
    VirtioFeatures before = d->features;

    if (d->status & VIRTIO_STATUS_FEATURES_OK) {
        return refuse(d, "they were accepted before (VIRTIO 1.4, 3.1.1)");
    }
    if ((f.word[0] & ~offered.word[0]) || (f.word[1] & ~offered.word[1])) {
        return refuse(d, "some were not offered (VIRTIO 1.4, 2.2.1)");
    }
    vf_set(&f, VIRTIO_F_BAD_FEATURE, false);
    /* A device that is behind an IOMMU cannot serve a driver that does not know. */
    if (vf_has(d->host_features, VIRTIO_F_ACCESS_PLATFORM) &&
        !vf_has(f, VIRTIO_F_ACCESS_PLATFORM)) {
        return refuse(d, "ACCESS_PLATFORM is not among them (VIRTIO 1.4, 6.1)");
    }
    if (!may_change_features(d, f)) {
        return refuse(d, "a queue is enabled already (VIRTIO 1.4, 3.1.1)");
    }
    virtio_set_features(d, f);
    d->legacy = legacy;
    if (d->ops->features_ok && !d->ops->features_ok(d)) {
        virtio_set_features(d, before);
        return refuse(d, "the device type does not take this set (VIRTIO 1.4, 2.2.2)");
    }
    /* 6: a driver that knows nothing of an IOMMU speaks of memory's own addresses. */
    dma_space_set_bypass(d->dma, !vf_has(f, VIRTIO_F_ACCESS_PLATFORM));
    virtio_config_stale(d);
    return true;
}

/* Queues in several loops. */
static void loop_nothing(void *opaque) {}

/* In each loop that has a queue, once. */
static void each_loop(VirtioDev *d, LoopFn *fn, void *opaque)
{
    for (unsigned i = 0; i < d->nvqs; i++) {
        if (d->vqs[i]->loop_first) {
            loop_call(d->vqs[i]->loop, fn, opaque);
        }
    }
}

static void loop_quiet(void *opaque)
{
    const LoopCall *c = opaque;

    vq_set_quiet(c->d->vqs[c->i], c->flag);
}

static void set_quiet(VirtioDev *d, unsigned i, bool quiet)
{
    LoopCall c = { .d = d, .i = i, .flag = quiet };

    if (d->spread) {
        loop_call(d->vqs[i]->loop, loop_quiet, &c);
    }
}

/* Between two turns of each: what was taken is with the device, and nothing follows. */
static void set_all_quiet(VirtioDev *d, bool quiet)
{
    for (unsigned i = 0; i < d->nvqs; i++) {
        set_quiet(d, i, quiet);
    }
}

/* Start and stop of the data path. */
static void loop_start(void *opaque)
{
    LoopCall *c = opaque;
    VirtioDev *d = c->d;

    d->paused = false;
    d->started = true;
    d->halted = d->broken;
    c->ok = !d->ops->start || d->ops->start(d, c->err);
    if (!c->ok) {
        d->started = false;
        d->halted = true;
    }
}

static void start(VirtioDev *d)
{
    g_autoptr(GError) err = NULL;
    LoopCall c = { .d = d, .err = &err };

    loop_call(d->loop, loop_start, &c);
    virtio_config_stale(d);
    if (!c.ok) {
        virtio_fail(d, "cannot start: %s", err ? err->message : "no reason given");
        return;
    }
    set_all_quiet(d, false);
    if (d->bus_ops->started) {
        d->bus_ops->started(d->transport, true);
    }
    for (unsigned i = 0; i < d->nvqs; i++) {
        if (d->vqs[i]->enabled) {
            vq_post_run(d->vqs[i]); /* buffers may be there already */
        }
    }
}

static void loop_stopped(void *opaque)
{
    VirtQueue *vq = opaque;

    vq_notify(vq);
    vq->stopped = false;
}

static void loop_stop(void *opaque)
{
    LoopCall *c = opaque;
    VirtioDev *d = c->d;

    d->paused = c->flag;
    if (d->spread) { /* what completes elsewhere from now on finds that nobody waits for it */
        d->started = false;
    }
    if (d->ops->stop) {
        d->ops->stop(d);
    }
    d->started = false;
    d->halted = true;
    for (unsigned i = 0; i < d->nvqs; i++) {
        loop_call(d->vqs[i]->loop, loop_stopped, d->vqs[i]);
    }
}

static void stop(VirtioDev *d, bool paused)
{
    LoopCall c = { .d = d, .flag = paused };

    if (d->started) {
        if (d->bus_ops->started) {
            d->bus_ops->started(d->transport, false);
        }
        set_all_quiet(d, true);
        loop_call(d->loop, loop_stop, &c);
    }
}

void virtio_run_changed(VirtioDev *d, bool running)
{
    d->running = running;
    if (!running) {
        stop(d, /* paused= */ true);
    } else if (!d->started && !d->broken && !d->reset_pending && !d->suspended &&
               (d->status & VIRTIO_STATUS_DRIVER_OK || d->paused)) {
        start(d);
    }
}

/* Reset (2.4): chains that are still out keep the status from reading 0, nothing else waits for
 * them. */
static void loop_disable(void *opaque)
{
    vq_disable(opaque);
}

static void reset_finish(VirtioDev *d)
{
    for (unsigned i = 0; i < d->nvqs; i++) {
        loop_call(d->vqs[i]->loop, loop_disable, d->vqs[i]);
    }
    d->reset_pending = d->suspending = false;
    d->suspended = d->config_changed_asleep = false;
    d->paused = false;
    d->broken = false;
    d->legacy = false;
    virtio_set_features(d, (VirtioFeatures){ 0 });
    d->status = 0;
    if (d->ops->reset) {
        d->ops->reset(d);
    }
    virtio_config_stale(d);
}

/* Suspend (VIRTIO 1.4, 3.4.2): nothing more is taken, what is out comes back and is told of, then
 * the status says so. */
static size_t config_fill(VirtioDev *d);

static void suspend_finish(VirtioDev *d)
{
    d->suspending = false;
    if (d->broken) {
        return; /* DEVICE_NEEDS_RESET says that it failed */
    }
    stop(d, /* paused= */ true);
    config_fill(d);
    d->suspended = true;
    d->status = (uint8_t)((d->status & ~VIRTIO_STATUS_DRIVER_OK) | VIRTIO_STATUS_SUSPEND);
}

/* In the loop: a chain that is given back either came before, or sees it. */
static void loop_suspend_begin(void *opaque)
{
    VirtioDev *d = opaque;

    d->halted = true;
    d->suspending = true;
    if (d->ops->suspend) {
        d->paused = true; /* vq_drop() keeps them for the time afterwards */
        d->ops->suspend(d);
        d->paused = false;
    }
}

static void suspend(VirtioDev *d)
{
    set_all_quiet(d, true);
    loop_call(d->loop, loop_suspend_begin, d);
    each_loop(d, loop_nothing, NULL);
    if (!virtio_held(d)) {
        suspend_finish(d);
    }
}

static void config_changed_main(VirtioDev *d);

static void awake(VirtioDev *d)
{
    bool changed = d->config_changed_asleep;

    d->suspended = d->config_changed_asleep = false;
    d->status |= VIRTIO_STATUS_DRIVER_OK;
    if (d->running) {
        start(d);
    }
    if (changed) {
        config_changed_main(d);
    }
}

static void posted_drained(void *opaque)
{
    VirtioDev *d = opaque;

    if (d->vqs && d->reset_pending && !virtio_held(d)) {
        reset_finish(d);
    } else if (d->vqs && d->suspending && !virtio_held(d)) {
        suspend_finish(d);
    }
    obj_unref(&d->dev.obj);
}

void virtio_drained(VirtioDev *d)
{
    obj_ref(&d->dev.obj);
    loop_post(loop_main(), posted_drained, d);
}

void virtio_reset_now(VirtioDev *d)
{
    stop(d, /* paused= */ false);
    reset_finish(d);
}

/* In each loop: a chain that is given back either came before, or sees it. */
static void loop_reset_begin(void *opaque)
{
    ((VirtioDev *)opaque)->reset_pending = true;
}

static void reset(VirtioDev *d)
{
    if (d->reset_pending) {
        return;
    }
    stop(d, /* paused= */ false);
    each_loop(d, loop_reset_begin, d);
    if (!virtio_held(d)) {
        reset_finish(d);
    }
}

void virtio_set_status(VirtioDev *d, uint8_t status)
{
    uint8_t before = d->status;
    /* Ignored before the device is up, and by a driver that did not ask for it: 3.4.2. */
    bool wants_suspend = status & VIRTIO_STATUS_SUSPEND && before & VIRTIO_STATUS_DRIVER_OK &&
                         virtio_has(d, VIRTIO_F_SUSPEND) && !d->broken;

    if (!status) {
        reset(d);
        return;
    }
    if (d->reset_pending || d->suspending) {
        return; /* the driver has to wait until it reads what it asked for: 2.4.2, 3.4.1 */
    }
    status &= (uint8_t)~VIRTIO_STATUS_SUSPEND;
    if (d->suspended) {
        d->status = status | (before & (VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_SUSPEND));
        if (status & VIRTIO_STATUS_DRIVER_OK) {
            d->status &= (uint8_t)~VIRTIO_STATUS_SUSPEND;
            awake(d);
        }
        return;
    }
    d->status = status | (before & VIRTIO_STATUS_NEEDS_RESET);
    if (wants_suspend) {
        d->status |= VIRTIO_STATUS_DRIVER_OK;
        suspend(d);
    } else if (status & VIRTIO_STATUS_DRIVER_OK && !d->started && !d->broken && d->running) {
        start(d);
    } else if (!(status & VIRTIO_STATUS_DRIVER_OK) && before & VIRTIO_STATUS_DRIVER_OK) {
        stop(d, /* paused= */ true);
    }
}

/* Queues. */
static void loop_enable(void *opaque)
{
    LoopCall *c = opaque;

    c->ok = vq_enable(c->d->vqs[c->i], c->at, c->err);
}

bool virtio_enable_queue(VirtioDev *d, unsigned i, const VqLayout *at, GError **err)
{
    LoopCall c = { .d = d, .i = i, .at = at, .err = err };

    if (i >= d->nvqs) {
        return err_set(err, "there is no queue %u", i);
    }
    loop_call(d->vqs[i]->loop, loop_enable, &c);
    if (c.ok && d->started) {
        vq_post_run(d->vqs[i]);
    }
    return c.ok;
}

static void loop_reset_queue(void *opaque)
{
    LoopCall *c = opaque;

    if (c->d->ops->queue_reset && c->d->started) {
        c->d->ops->queue_reset(c->d, c->i);
    }
    loop_call(c->d->vqs[c->i]->loop, loop_disable, c->d->vqs[c->i]);
}

void virtio_reset_queue(VirtioDev *d, unsigned i)
{
    LoopCall c = { .d = d, .i = i };

    if (i < d->nvqs) {
        set_quiet(d, i, true);
        loop_call(d->loop, loop_reset_queue, &c);
        set_quiet(d, i, !d->started);
    }
}

void virtio_kick(VirtioDev *d, unsigned i)
{
    if (i < d->nvqs && d->started) {
        vq_post_run(d->vqs[i]);
    }
}

void virtio_kick_legacy(VirtioDev *d, unsigned i)
{
    if (i < d->nvqs && !d->started && !d->broken && d->running && !d->reset_pending) {
        d->legacy = true;
        start(d);
    }
    virtio_kick(d, i);
}

int virtio_queue_kick_fd(VirtioDev *d, unsigned i, _Atomic bool **ret_rung)
{
    int fd = i < d->nvqs ? vq_kick_fd(d->vqs[i]) : -1;

    *ret_rung = fd < 0 ? NULL : d->vqs[i]->rung;
    return fd;
}

/* Configuration space (2.5). */
size_t virtio_config_len(const VirtioDev *d)
{
    return d->ops->config_len && self(d) ? d->ops->config_len(self(d)) : d->ops->config_size;
}

static size_t config_fill(VirtioDev *d)
{
    size_t len = virtio_config_len(d);

    if (d->suspended) {
        return len; /* no field changes meanwhile: 3.4.2 */
    }
    memset(d->config_cache, 0, d->ops->config_size);
    if (d->ops->config) {
        d->ops->config(d, d->config_cache);
    }
    return len;
}

void virtio_config_read(VirtioDev *d, size_t off, void *dst, size_t len)
{
    size_t have = d->ops->config_size ? config_fill(d) : 0;

    /* QEMU compat: an access that crosses the end reads all ones. */
    memset(dst, 0xff, len);
    if (off < have && len <= have - off) {
        memcpy(dst, (const uint8_t *)d->config_cache + off, len);
    }
    d->config_gen_read = true;
}

void virtio_config_write(VirtioDev *d, size_t off, const void *src, size_t len)
{
    size_t have = d->ops->config_size ? config_fill(d) : 0;

    if (off >= have || len > have - off || d->suspended) {
        return;
    }
    memcpy((uint8_t *)d->config_cache + off, src, len);
    if (d->ops->config_wrote) {
        d->ops->config_wrote(d, d->config_cache, off, len);
        virtio_config_stale(d);
    }
}

uint8_t virtio_config_generation(VirtioDev *d)
{
    return (uint8_t)d->config_gen;
}

static void config_changed_main(VirtioDev *d)
{
    if (d->suspended) {
        d->config_changed_asleep = true; /* told of when it runs again: 3.4.2 */
        return;
    }
    /* Counting only what was read keeps 256 changes from looking like none: 4.1.4.3.1. */
    if (d->config_gen_read) {
        d->config_gen_read = false;
        d->config_gen++;
    }
    if (d->status & VIRTIO_STATUS_DRIVER_OK) {
        d->bus_ops->irq_config(d->transport);
    }
}

static void posted_config_changed(void *opaque)
{
    VirtioDev *d = opaque;

    if (d->vqs) {
        config_changed_main(d);
    }
    obj_unref(&d->dev.obj);
}

void virtio_config_changed(VirtioDev *d)
{
    if (!d->bus_ops) {
        return; /* not realized yet: nobody has read anything */
    }
    virtio_config_stale(d);
    if (vm_lock_held()) {
        config_changed_main(d);
    } else {
        obj_ref(&d->dev.obj);
        loop_post(loop_main(), posted_config_changed, d);
    }
}

/* Shared memory (2.10). */
void virtio_add_shm(VirtioDev *d, uint8_t id, Region *r)
{
    g_assert(d->nshm < VIRTIO_SHM_MAX && r->size && r->size != UINT64_MAX);
    for (unsigned i = 0; i < d->nshm; i++) {
        g_assert(d->shm[i].id != id); /* 4.1.4.7.1 */
    }
    d->shm[d->nshm++] = (VirtioShm){ id, r };
}

/* Life. */
static Loop *loop_of(VirtioDev *d, unsigned i)
{
    return d->ops->queue_loop ? d->ops->queue_loop(d, i) : d->loop;
}

static bool is_new_loop(const VirtioDev *d, unsigned i)
{
    for (unsigned k = 0; k < i; k++) {
        if (d->vqs[k]->loop == d->vqs[i]->loop) {
            return false;
        }
    }
    return true;
}

static void make_queues(VirtioDev *d)
{
    unsigned n = d->ops->queue_count ? d->ops->queue_count(d) : d->ops->nvqs;

    g_assert(n <= VIRTIO_QUEUE_MAX);
    for (unsigned i = 0; i < n; i++) {
        d->spread |= loop_of(d, i) != d->loop;
    }
    g_assert(!d->spread || d->loop == loop_main()); /* who starts and stops may wait for the rest */
    d->vqs = g_new0(VirtQueue *, n + 1);
    for (unsigned i = 0; i < n; i++) {
        uint16_t size = 0;
        const VqSpec *spec = d->ops->queue_spec ? d->ops->queue_spec(d, i, &size) : &d->ops->vqs[i];

        d->vqs[i] = vq_new(d, i, spec, size ? size : spec->size, loop_of(d, i));
        d->vqs[i]->loop_first = is_new_loop(d, i);
    }
    d->nvqs = n;
}

/* 2.2.2: nothing is offered without what it requires. */
static VirtioFeatures drop_unfounded(const VirtioDev *d, VirtioFeatures f)
{
    for (unsigned i = 0; i < d->ops->nneeds; i++) {
        const VirtioNeed *n = &d->ops->needs[i];

        if (!vf_has(f, n->one_of[0]) && !vf_has(f, n->one_of[1])) {
            vf_set(&f, n->feature, false);
        }
    }
    return f;
}

bool virtio_realize(VirtioDev *d, Obj *transport, const VirtioBusOps *bus_ops, GError **err)
{
    VirtioFeatures f;

    d->ops = d->dev.obj.cls->ops;
    d->transport = transport;
    d->bus_ops = bus_ops;
    d->dma = bus_ops->dma(transport);
    d->halted = true;
    if (!d->loop) {
        d->loop = loop_main();
    }
    if (d->ops->realize && !d->ops->realize(d, err)) {
        d->bus_ops = NULL;
        return false;
    }
    make_queues(d);
    f = d->prop_features;
    f.word[0] |= d->ops->features.word[0];
    f.word[1] |= d->ops->features.word[1];
    vf_set(&f, VIRTIO_F_VERSION_1, !d->legacy_only);
    d->host_features = drop_unfounded(d, d->ops->offer ? d->ops->offer(d, f) : f);
    d->config_cache = g_malloc0(MAX(d->ops->config_size, 1));
    return true;
}

static void loop_part(void *opaque)
{
    ((VirtQueue *)opaque)->d = NULL;
}

/* A device's stop finishes what it holds; what a back end still owns comes through the loops. */
static void wait_for_held(VirtioDev *d)
{
    while (virtio_held(d)) {
        if (d->loop == loop_main()) {
            loop_turn(d->loop, /* block= */ !d->spread);
        }
        each_loop(d, loop_nothing, NULL); /* one turn of its own at least */
    }
}

void virtio_unrealize(VirtioDev *d)
{
    stop(d, /* paused= */ false);
    wait_for_held(d);
    reset_finish(d);
    for (unsigned i = 0; i < d->nvqs; i++) {
        vq_kick_fd_close(d->vqs[i]);
    }
    for (unsigned i = 0; i < d->nvqs; i++) {
        vq_close(d->vqs[i]);
    }
    for (unsigned i = 0; i < d->nvqs; i++) {
        loop_call(d->vqs[i]->loop, loop_part, d->vqs[i]);
    }
    if (d->ops->unrealize) {
        d->ops->unrealize(d);
    }
    for (unsigned i = 0; i < d->nvqs; i++) {
        vq_unref(d->vqs[i]);
    }
    g_clear_pointer(&d->vqs, g_free);
    g_clear_pointer(&d->config_cache, g_free);
    d->nvqs = d->nshm = 0;
    d->spread = false;
    d->bus_ops = NULL;
}

void virtio_describe(const VirtioDev *d, JsonWriter *w)
{
    jw_int(w, "device-id", d->ops->id);
    jw_int(w, "num-vqs", d->nvqs);
    jw_int(w, "status", d->status);
    jw_bool(w, "started", d->started);
    jw_bool(w, "broken", d->broken);
    jw_uint(w, "host-features", d->host_features.word[0]);
    jw_uint(w, "guest-features", d->features.word[0]);
    jw_begin_array(w, "queues");
    for (unsigned i = 0; i < d->nvqs; i++) {
        const VirtQueue *vq = d->vqs[i];

        jw_begin_object(w, NULL);
        jw_str(w, "name", vq->spec->name);
        jw_int(w, "size", vq->enabled ? vq->at.size : 0);
        jw_int(w, "max-size", vq->max_size);
        jw_int(w, "last-avail-idx", vq->rs.avail);
        jw_int(w, "used-idx", vq->rs.used);
        jw_int(w, "inuse", vq_held(vq));
        jw_end_object(w);
    }
    jw_end_array(w);
}

/* clang-format off */
const PropSpec virtio_props[] = {
    PROP_FEATURE("any_layout", VirtioDev, prop_features, VIRTIO_F_ANY_LAYOUT, true, "legacy: any descriptor layout"),
    PROP_FEATURE("event_idx", VirtioDev, prop_features, VIRTIO_F_EVENT_IDX, true, "notification by index"),
    PROP_FEATURE("in_order", VirtioDev, prop_features, VIRTIO_F_IN_ORDER, false, "buffers are used in order"),
    PROP_FEATURE("indirect_desc", VirtioDev, prop_features, VIRTIO_F_INDIRECT_DESC, true, "indirect descriptor tables"),
    PROP_FEATURE("iommu_platform", VirtioDev, prop_features, VIRTIO_F_ACCESS_PLATFORM, false, "DMA through the platform"),
    PROP_FEATURE("notify_on_empty", VirtioDev, prop_features, VIRTIO_F_NOTIFY_ON_EMPTY, true, "legacy: tell when drained"),
    PROP_FEATURE("packed", VirtioDev, prop_features, VIRTIO_F_RING_PACKED, false, "packed rings"),
    PROP_FEATURE("queue_reset", VirtioDev, prop_features, VIRTIO_F_RING_RESET, true, "single queues can be reset"),
    PROP_FEATURE("x-notif-config-data", VirtioDev, prop_features, VIRTIO_F_NOTIF_CONFIG_DATA, false, "the device chooses what a kick says"),
    PROP_FEATURE("x-notification-data", VirtioDev, prop_features, VIRTIO_F_NOTIFICATION_DATA, false, "a kick says where the ring ends"),
    PROP_FEATURE("x-suspend", VirtioDev, prop_features, VIRTIO_F_SUSPEND, false, "the driver can suspend the device"),
    PROP_BOOL("use-disabled-flag", VirtioDev, use_disabled_flag, true, "kept for compatibility"),
    PROP_BOOL("use-started", VirtioDev, use_started, true, "kept for compatibility"),
    PROP_BOOL("x-disable-legacy-check", VirtioDev, disable_legacy_check, false, "kept for compatibility"),
    PROP_BOOL("x-ignore-backend-features", VirtioDev, x_ignore_backend_features, false, "kept for compatibility"),
    PROP_END,
};
/* clang-format on */

const ObjClass virtio_device_class = {
    .name = "virtio-device",
    .parent = "device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(VirtioDev),
};
