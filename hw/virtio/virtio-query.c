/*
 * x-query-virtio, -status, -queue-status, -queue-element, -vhost-queue-status: members and errors
 * are QEMU 10.0's. Reads only: a ring is looked at by plain DMA reads, never mapped, and what the
 * driver wrote is believed no further than the tables reach (VIRTIO 1.4, 2.7). Covered by
 * tests/system/test_virtio.py.
 */
#include "hw/virtio/virtio-query.h"

#include "hw/core/machine.h"
#include "hw/virtio/vhost.h"
#include "hw/virtio/virtio-names.h"
#include "hw/virtio/virtio-pci.h"
#include "hw/virtio/vq-internal.h"

#include <string.h>

enum {
    LEGACY_ALIGN = 4096, /* VIRTIO 1.4, 2.7.2 */
    SHOWN_MAX = 1024,    /* descriptors of an indirect table */
};

typedef struct Desc { /* 2.7.5 */
    le64 addr;
    le32 len;
    le16 flags, next;
} Desc;
_Static_assert(sizeof(Desc) == 16, "VIRTIO 1.4, 2.7.5");

/* How the available and the used ring begin: 2.7.6, 2.7.8. */
typedef struct RingHead {
    le16 flags, idx;
} RingHead;
_Static_assert(sizeof(RingHead) == 4, "VIRTIO 1.4, 2.7.6");

typedef struct QueryArgs {
    char *path;
    uint16_t queue;
    int32_t index; /* -1: not given */
} QueryArgs;

/* x-query-virtio */
static bool add_device(Obj *o, void *opaque)
{
    if (obj_is(o, "virtio-device") && o->phase == OBJ_REALIZED) {
        const VirtioDev *d = (const VirtioDev *)o;
        g_autofree char *path = obj_path(o);
        Json *j = json_object();

        json_set(j, "name", json_str(virtio_type_name(d->ops->id)));
        json_set(j, "path", json_str(path));
        json_append(opaque, j);
    }
    return true;
}

static Json *query_virtio(void *machine, const void *args, GError **err)
{
    Json *list = json_array();

    obj_walk(((Machine *)machine)->root, add_device, list);
    return list;
}

/* what: how the error calls the thing that is not at this path. */
static VirtioDev *find_device(Machine *m, const char *path, const char *what, GError **err)
{
    bool ambiguous;
    Obj *o = obj_resolve(m->root, path, &ambiguous);

    if (!o || !obj_is(o, "virtio-device") || o->phase != OBJ_REALIZED) {
        err_set(err, "Path %s is not a %s", path, what);
        return NULL;
    }
    return (VirtioDev *)o;
}

static VirtQueue *find_queue(VirtioDev *d, unsigned i, GError **err)
{
    if (i >= d->nvqs) {
        err_set(err, "Invalid virtqueue number %u", i);
        return NULL;
    }
    return virtio_queue(d, i);
}

/* Its rings while the kernel has them; NULL: they are ours. */
static const Vhost *vhost_of(const VirtioDev *d)
{
    const Vhost *h = d->ops->vhost ? d->ops->vhost(d) : NULL;

    return h && vhost_started(h) ? h : NULL;
}

/* x-query-virtio-status */
static VirtioFeatures all_offered(const VirtioDev *d)
{
    VirtioFeatures f = virtio_offered(d, /* legacy= */ true);

    f.word[0] |= d->host_features.word[0];
    f.word[1] |= d->host_features.word[1];
    /* It is no feature: VIRTIO 1.4, 6.3. */
    vf_set(&f, VIRTIO_F_BAD_FEATURE, false);
    return f;
}

static const char *child_bus(const VirtioDev *d)
{
    return d->dev.buses ? bus_name(d->dev.buses->pdata[0]) : "";
}

typedef struct StatusCall {
    const VirtioDev *d;
    Json *j;
} StatusCall;

/* In the device's loop, which owns these fields. */
static void loop_status(void *opaque)
{
    const StatusCall *c = opaque;
    const VirtioDev *d = c->d;
    bool started = d->started || d->paused || d->status & VIRTIO_STATUS_DRIVER_OK;
    bool any = d->features.word[0] || d->features.word[1];

    json_set(c->j, "status", virtio_status_names(d->status));
    json_set(c->j, "broken", json_bool(d->broken));
    json_set(c->j, "started", json_bool(started));
    /* Legacy drivers may kick before DRIVER_OK (6.2.2), modern ones may not (3.1.1). */
    json_set(c->j, "start-on-kick", json_bool(d->legacy && any && !started && !d->broken));
    json_set(c->j, "guest-features", virtio_feature_names(d->ops->id, d->features));
}

static Json *query_status(void *machine, const void *opaque, GError **err)
{
    const QueryArgs *args = opaque;
    const Machine *m = machine;
    VirtioDev *d = find_device(machine, args->path, "realized VirtIODevice", err);
    const VirtioPci *p = d ? virtio_pci_of(d) : NULL;

    if (!d) {
        return NULL;
    }
    Json *j = json_object();
    StatusCall call = { d, j };

    json_set(j, "name", json_str(virtio_type_name(d->ops->id)));
    json_set(j, "device-id", json_int(d->ops->id));
    json_set(j, "vhost-started", json_bool(vhost_of(d) != NULL));
    json_set(j, "bus-name", json_str(child_bus(d)));
    json_set(j, "device-endian", json_str("little")); /* the guest's, and a modern device's */
    json_set(j, "num-vqs", json_int(d->nvqs));
    json_set(j, "isr", json_int(p ? p->isr : 0));
    json_set(j, "queue-sel", json_int(p ? p->queue_select : 0));
    json_set(j, "vm-running", json_bool(run_is_running(m->run)));
    json_set(j, "disabled", json_bool(d->dev.unplug_pending));
    json_set(j, "disable-legacy-check", json_bool(d->disable_legacy_check));
    json_set(j, "use-started", json_bool(d->use_started));
    json_set(j, "use-guest-notifier-mask", json_bool(true)); /* MSI-X masks are the transport's */
    json_set(j, "host-features", virtio_feature_names(d->ops->id, all_offered(d)));
    json_set(j, "backend-features", virtio_feature_names(d->ops->id, (VirtioFeatures){ 0 }));
    loop_call(d->loop, loop_status, &call);
    return j;
}

/* x-query-virtio-queue-status */
typedef struct QueueCall {
    const VirtQueue *vq;
    Json *j;
} QueueCall;

static void loop_queue_status(void *opaque)
{
    const QueueCall *c = opaque;
    const VirtQueue *vq = c->vq;
    const VirtioPci *p = virtio_pci_of(vq->d);
    uint16_t num = vq->enabled ? vq->at.size : p ? p->q[vq->index].size : vq->max_size;
    const VqLayout at = vq->enabled ? vq->at : (VqLayout){ 0 };
    const VqRingState rs = vq->enabled ? vq->rs : (VqRingState){ 0 };
    bool split = !vq_feature(vq, VIRTIO_F_RING_PACKED);
    uint16_t signalled = vq->enabled ? vq->signalled : 0;
    Json *j = c->j;

    json_set(j, "inuse", json_int(vq_held(vq)));
    json_set(j, "vring-num", json_int(num));
    json_set(j, "vring-num-default", json_int(vq->max_size));
    json_set(j, "vring-align", json_int(LEGACY_ALIGN));
    json_set(j, "vring-desc", json_uint(at.desc));
    json_set(j, "vring-avail", json_uint(at.driver));
    json_set(j, "vring-used", json_uint(at.device));
    json_set(j, "last-avail-idx", json_int(rs.avail));
    /* A packed ring has no index to have seen. */
    json_set(j, "shadow-avail-idx", json_int(vq->enabled && split ? vq->avail_seen : rs.avail));
    json_set(j, "used-idx", json_int(rs.used));
    json_set(j, "signalled-used", json_int(signalled));
    /* Nothing used and nothing signalled: no interrupt has been thought about yet. */
    json_set(j, "signalled-used-valid",
        json_bool(vq->enabled && vq->signalled_valid && (rs.used || signalled)));
}

static Json *query_queue_status(void *machine, const void *opaque, GError **err)
{
    const QueryArgs *args = opaque;
    VirtioDev *d = find_device(machine, args->path, "VirtIODevice", err);
    const VirtQueue *vq = d ? find_queue(d, args->queue, err) : NULL;

    if (!vq) {
        return NULL;
    }
    Json *j = json_object();
    QueueCall call = { vq, j };

    json_set(j, "name", json_str(virtio_type_name(d->ops->id)));
    json_set(j, "queue-index", json_int(args->queue));
    loop_call(vq->loop, loop_queue_status, &call);
    return j;
}

/* x-query-virtio-queue-element: split rings only, VIRTIO 1.4, 2.7.5-2.7.8. */
typedef struct ElementCall {
    const VirtQueue *vq;
    const QueryArgs *args;
    Json *j;
    GError **err;
    bool ok;
} ElementCall;

static bool read_words(const VirtQueue *vq, uint64_t at, void *dst, size_t len, GError **err)
{
    return dma_read(vq->d->dma, (Iova){ at }, dst, len) ||
           err_set(err, "Cannot read virtqueue %u at 0x%" G_GINT64_MODIFIER "x", vq->index, at);
}

static Json *desc_json(const Desc *desc)
{
    static const struct {
        uint16_t bit;
        const char *name;
    } names[] = { { DESC_INDIRECT, "indirect" }, { DESC_WRITE, "write" }, { DESC_NEXT, "next" } };
    Json *j = json_object(), *flags = json_array();
    uint16_t set = le16_get(desc->flags);

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (set & names[i].bit) {
            json_append(flags, json_str(names[i].name));
        }
    }
    json_set(j, "addr", json_uint(le64_get(desc->addr)));
    json_set(j, "len", json_uint(le32_get(desc->len)));
    json_set(j, "flags", flags);
    return j;
}

/* QEMU compat: the last descriptor of the chain is listed first. */
static Json *reversed(GPtrArray *descs)
{
    Json *list = json_array();

    for (unsigned i = descs->len; i-- > 0;) {
        json_append(list, json_ref(descs->pdata[i]));
    }
    return list;
}

/* Every chain ends: no table has more descriptors than its chain may be long. */
static bool read_chain(const ElementCall *c, uint16_t head, GPtrArray *descs)
{
    const VirtQueue *vq = c->vq;
    uint64_t table = vq->at.desc;
    uint32_t num = vq->at.size, at = head;
    Desc desc;

    for (uint32_t n = 0; n < num; n++) {
        if (at >= num) {
            return err_set(
                c->err, "Descriptor %u of virtqueue %u is outside its table", at, vq->index);
        }
        if (!read_words(vq, table + (uint64_t)at * sizeof desc, &desc, sizeof desc, c->err)) {
            return false;
        }
        if (le16_get(desc.flags) & DESC_INDIRECT && table == vq->at.desc && !n) {
            table = le64_get(desc.addr);
            num = MIN(le32_get(desc.len) / (uint32_t)sizeof desc, SHOWN_MAX) +
                  1; /* this one counts */
            at = 0;
            continue;
        }
        g_ptr_array_add(descs, desc_json(&desc));
        if (!(le16_get(desc.flags) & DESC_NEXT)) {
            break;
        }
        at = le16_get(desc.next);
    }
    return true;
}

static Json *ring_head(RingHead h)
{
    Json *j = json_object();

    json_set(j, "flags", json_int(le16_get(h.flags)));
    json_set(j, "idx", json_int(le16_get(h.idx)));
    return j;
}

static bool read_element(const ElementCall *c)
{
    const VirtQueue *vq = c->vq;
    RingHead avail, used;
    le16 head;
    g_autoptr(GPtrArray) descs = g_ptr_array_new_with_free_func((GDestroyNotify)json_unref);

    if (vq_feature(vq, VIRTIO_F_RING_PACKED)) {
        return err_set(c->err, "Packed ring not supported");
    }
    if (!vq->enabled) {
        return err_set(c->err, "Region caches not initialized");
    }
    uint16_t want = c->args->index < 0 ? vq->rs.avail : (uint16_t)c->args->index;
    uint64_t ring = vq->at.driver + sizeof avail + 2ull * (want % vq->at.size);

    if (!read_words(vq, vq->at.driver, &avail, sizeof avail, c->err) ||
        !read_words(vq, ring, &head, sizeof head, c->err) ||
        !read_words(vq, vq->at.device, &used, sizeof used, c->err) ||
        !read_chain(c, le16_get(head), descs)) {
        return false;
    }
    Json *j = ring_head(avail);

    json_set(j, "ring", json_int(le16_get(head)));
    json_set(c->j, "index", json_int(le16_get(head)));
    json_set(c->j, "descs", reversed(descs));
    json_set(c->j, "avail", j);
    json_set(c->j, "used", ring_head(used));
    return true;
}

static void loop_element(void *opaque)
{
    ElementCall *c = opaque;

    c->ok = read_element(c);
}

static Json *query_element(void *machine, const void *opaque, GError **err)
{
    const QueryArgs *args = opaque;
    VirtioDev *d = find_device(machine, args->path, "VirtIO device", err);
    const VirtQueue *vq = d ? find_queue(d, args->queue, err) : NULL;

    if (!vq) {
        return NULL;
    }
    g_autoptr(Json) j = json_object();
    ElementCall call = { .vq = vq, .args = args, .j = j, .err = err };

    json_set(j, "name", json_str(virtio_type_name(d->ops->id)));
    loop_call(vq->loop, loop_element, &call);
    return call.ok ? g_steal_pointer(&j) : NULL;
}

/* x-query-virtio-vhost-queue-status */
static Json *query_vhost(void *machine, const void *opaque, GError **err)
{
    const QueryArgs *args = opaque;

    const VirtioDev *d = find_device(machine, args->path, "VirtIODevice", err);
    const Vhost *h = d ? vhost_of(d) : NULL;

    if (d && !h) {
        err_set(err, "Error: vhost device has not started yet");
    }
    return h ? vhost_describe_ring(h, (unsigned)args->queue, err) : NULL;
}

/* clang-format off */
#define PATH_ROW { .name = "path", .type = &prop_str, .offset = offsetof(QueryArgs, path), .bit = -1, \
    .flags = PROP_REQUIRED | PROP_NO_DEFAULT }
#define QUEUE_ROW { .name = "queue", .type = &prop_u16, .offset = offsetof(QueryArgs, queue), .bit = -1, \
    .flags = PROP_REQUIRED | PROP_NO_DEFAULT }
static const PropSpec path_args[] = { PATH_ROW, PROP_END };
static const PropSpec queue_args[] = { PATH_ROW, QUEUE_ROW, PROP_END };
static const PropSpec element_args[] = { PATH_ROW, QUEUE_ROW, PROP_OPT_U16("index", QueryArgs, index, NULL), PROP_END };

#define ROW(n, spec, fn) { .name = (n), .args_spec = (spec), .args_size = sizeof(QueryArgs), .run = (fn) }
const QmpCmd virtio_qmp_cmds[] = {
    { .name = "x-query-virtio", .run = query_virtio },
    ROW("x-query-virtio-status", path_args, query_status),
    ROW("x-query-virtio-queue-status", queue_args, query_queue_status),
    ROW("x-query-virtio-queue-element", element_args, query_element),
    ROW("x-query-virtio-vhost-queue-status", queue_args, query_vhost),
    { .name = NULL },
};
/* clang-format on */
