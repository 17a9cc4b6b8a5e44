/* virtio-rng: gives the guest random bytes from a host source, at a bounded rate (VIRTIO 1.4, 5.4).
 */
#include "backends/rng.h"
#include "hw/virtio/virtio-pci.h"
#include "util/timer.h"

enum { RNG_REQUEST_MAX = 64 << 10 }; /* more than that waits for its next turn */

typedef struct VirtioRng {
    VirtioDev vd;
    char *rng_id;
    uint64_t max_bytes; /* in one period */
    uint32_t period_ms;
    RngBackend *rng; /* one reference */
    RngWaiter waiter;
    Timer timer;
    uint64_t budget;
} VirtioRng;

static VqVerdict rng_request(VirtioDev *d, VqElem *e)
{
    VirtioRng *s = (VirtioRng *)d;
    uint8_t buf[512];
    size_t given = 0;

    if (!e->in.left) {
        vq_fail(e->vq, "request without a writable buffer (VIRTIO 1.4, 5.4.6.1)");
        return VQ_DONE;
    }
    while (e->in.left && given < RNG_REQUEST_MAX && s->budget) {
        size_t got = rng_read(s->rng, buf, MIN(MIN(e->in.left, sizeof buf), s->budget));

        if (!got || !giov_put(&e->in, buf, got)) {
            break;
        }
        given += got;
        s->budget -= got;
    }
    /* Whoever begins to spend a bounded budget starts the period that renews it. */
    if (s->max_bytes < INT64_MAX && !timer_pending(&s->timer)) {
        timer_mod(&s->timer, clock_ns(CLOCK_KIND_VIRTUAL) + s->period_ms * INT64_C(1000000));
    }
    if (given) {
        return VQ_DONE;
    }
    if (s->budget) {
        rng_wait(s->rng, &s->waiter);
    }
    return VQ_STOP; /* at least one byte must be given: VIRTIO 1.4, 5.4.6.2 */
}

static void rng_bytes_came(RngWaiter *w)
{
    VirtioRng *s = (VirtioRng *)((char *)w - offsetof(VirtioRng, waiter));

    vq_resume(virtio_queue(&s->vd, 0));
}

static void rng_period_over(void *opaque)
{
    VirtioRng *s = opaque;

    s->budget = s->max_bytes;
    vq_resume(virtio_queue(&s->vd, 0));
}

static void rng_stop(VirtioDev *d)
{
    VirtioRng *s = (VirtioRng *)d;

    rng_forget(s->rng, &s->waiter);
}

static RngBackend *rng_find(VirtioRng *s, GError **err)
{
    Machine *m = dev_machine((Dev *)s->vd.transport);
    Obj *o;

    if (!s->rng_id) {
        o = obj_new(&rng_builtin_class);
        if (!obj_realize(o, err)) {
            obj_unref(o);
            return NULL;
        }
        obj_add(&s->vd.dev.obj, "default-backend", o);
        return (RngBackend *)o;
    }
    o = m && m->objects ? obj_child(m->objects, s->rng_id) : NULL;
    if (!o) {
        err_set_class(err, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", s->rng_id);
        return NULL;
    }
    if (!obj_is(o, "rng-backend")) {
        err_set(err, "Invalid parameter type for 'rng', expected: rng-backend");
        return NULL;
    }
    return (RngBackend *)obj_ref(o);
}

static bool rng_realize(VirtioDev *d, GError **err)
{
    VirtioRng *s = (VirtioRng *)d;

    if (!s->period_ms) {
        return err_set(err, "'period' parameter expects a positive integer");
    }
    if (!s->max_bytes || s->max_bytes > INT64_MAX) {
        return err_set(err, "'max-bytes' parameter must be positive, and less than 2^63");
    }
    s->rng = rng_find(s, err);
    if (!s->rng) {
        return false;
    }
    s->budget = s->max_bytes;
    s->waiter.fn = rng_bytes_came;
    timer_init(&s->timer, d->loop, CLOCK_KIND_VIRTUAL, rng_period_over, s);
    return true;
}

static void rng_unrealize(VirtioDev *d)
{
    VirtioRng *s = (VirtioRng *)d;

    timer_del(&s->timer);
    if (!s->rng_id) {
        obj_unrealize(&s->rng->obj);
        obj_detach(&s->rng->obj);
    }
    obj_unref(&s->rng->obj);
    s->rng = NULL;
}

static const PropType prop_rng_link = {
    .name = "link<rng-backend>",
    .set = prop_str_set,
    .parse = prop_str_parse,
    .get = prop_str_get,
    .release = prop_str_release,
};

static const PropSpec rng_props[] = {
    PROP_U64("max-bytes", VirtioRng, max_bytes, INT64_MAX, "bytes given in one period"),
    PROP_U32("period", VirtioRng, period_ms, 1 << 16, "length of a period in ms"),
    { .name = "rng",
        .type = &prop_rng_link,
        .offset = PROP_AT(VirtioRng, rng_id, char *),
        .bit = -1,
        .flags = PROP_NO_DEFAULT,
        .help = "id of the source; none: rng-builtin" },
    PROP_END,
};

static const VqSpec rng_vqs[] = {
    { .name = "requests", .size = 8, .elem_size = sizeof(VqElem), .request = rng_request },
};

static const VirtioOps rng_ops = {
    .id = 4,
    .transitional_id = 0x1005,
    .pci_class = 0x00ff00,
    .vqs = rng_vqs,
    .nvqs = G_N_ELEMENTS(rng_vqs),
    .realize = rng_realize,
    .unrealize = rng_unrealize,
    .stop = rng_stop,
};

const ObjClass virtio_rng_class = {
    .name = "virtio-rng-device",
    .parent = "virtio-device",
    .help = "random numbers from the host",
    .category = "Misc",
    .size = sizeof(VirtioRng),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_props, NULL }, { rng_props, NULL }, { NULL, NULL } },
    .ops = &rng_ops,
};

VIRTIO_PCI_TYPES(virtio_rng, "virtio-rng", virtio_rng_class, rng_props, "Misc");
