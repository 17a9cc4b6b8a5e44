/* A programmable virtio device. */
#include "tests/lib/vdummy.h"

#include <string.h>

Loop *dummy_loop;

static VqVerdict dummy_request(VirtioDev *d, VqElem *e)
{
    Dummy *s = (Dummy *)d;
    uint8_t buf[64];

    s->requests++;
    if (s->on_request) {
        return s->on_request(s, e);
    }
    while (e->out.left && e->in.left) {
        size_t n = MIN(MIN(e->out.left, e->in.left), sizeof buf);

        g_assert_true(giov_get(&e->out, buf, n));
        g_assert_true(giov_put(&e->in, buf, n));
    }
    return VQ_DONE;
}

static void dummy_batch_end(VirtioDev *d, VirtQueue *vq)
{
    ((Dummy *)d)->batches++;
}

static void dummy_refilled(VirtioDev *d, VirtQueue *vq)
{
    ((Dummy *)d)->refills++;
}

static bool add_shm(Dummy *s, GError **err)
{
    if (!region_init_ram(&s->shm[0], &s->vd.dev.obj, "dummy-shm", s->shm_size, err)) {
        return false;
    }
    virtio_add_shm(&s->vd, 3, &s->shm[0]);
    if (!region_init_ram(&s->shm[1], &s->vd.dev.obj, "dummy-shm-2", 0x10000, err)) {
        region_fini(&s->shm[0]);
        return false;
    }
    virtio_add_shm(&s->vd, 200, &s->shm[1]);
    return true;
}

static bool dummy_realize(VirtioDev *d, GError **err)
{
    if (((Dummy *)d)->shm_size && !add_shm((Dummy *)d, err)) {
        return false;
    }
    ((Dummy *)d)->held = g_ptr_array_new();
    d->loop = dummy_loop ? dummy_loop : d->loop;
    return true;
}

static void dummy_unrealize(VirtioDev *d)
{
    Dummy *s = (Dummy *)d;

    g_ptr_array_free(s->held, TRUE);
    for (unsigned i = 0; i < G_N_ELEMENTS(s->shm) && s->shm_size; i++) {
        region_fini(&s->shm[i]);
    }
}

static bool dummy_start(VirtioDev *d, GError **err)
{
    Dummy *s = (Dummy *)d;

    if (s->refuse_start) {
        return err_set(err, "the test says so");
    }
    s->starts++;
    return true;
}

static void drop_held(Dummy *s)
{
    while (s->held->len) {
        vq_drop(g_ptr_array_steal_index(s->held, 0));
    }
}

static void dummy_stop(VirtioDev *d)
{
    Dummy *s = (Dummy *)d;

    s->stops++;
    if (!s->keep_on_stop) {
        drop_held(s);
    }
}

static void dummy_queue_reset(VirtioDev *d, unsigned i)
{
    Dummy *s = (Dummy *)d;

    if (!s->keep_on_stop) {
        drop_held(s);
    }
}

static void dummy_reset(VirtioDev *d)
{
    ((Dummy *)d)->resets++;
}

static void dummy_config(VirtioDev *d, void *cfg)
{
    memcpy(cfg, ((Dummy *)d)->config, 8);
}

static void dummy_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len)
{
    Dummy *s = (Dummy *)d;

    memcpy(s->config, cfg, 8);
    s->wrote_off = off;
    s->wrote_len = len;
}

static const VqSpec dummy_vqs[] = {
    { .name = "requests",
        .size = 16,
        .elem_size = sizeof(DummyReq),
        .request = dummy_request,
        .batch_end = dummy_batch_end },
    { .name = "events", .size = 8, .elem_size = sizeof(VqElem), .refilled = dummy_refilled },
};

static const VqSpec *dummy_queue_spec(VirtioDev *d, unsigned i, uint16_t *ret_size)
{
    *ret_size = (uint16_t)(i == DUMMY_REQUESTQ ? ((Dummy *)d)->queue_size : 0);
    return &dummy_vqs[i];
}

static const VirtioOps dummy_ops = {
    .id = 40,
    .transitional_id = 0x1030,
    .pci_class = 0x00ff00,
    .vqs = dummy_vqs,
    .nvqs = G_N_ELEMENTS(dummy_vqs),
    .queue_spec = dummy_queue_spec,
    .config_size = 8,
    .config_told = true,
    .config = dummy_config,
    .config_wrote = dummy_config_wrote,
    .realize = dummy_realize,
    .unrealize = dummy_unrealize,
    .start = dummy_start,
    .stop = dummy_stop,
    .queue_reset = dummy_queue_reset,
    .reset = dummy_reset,
};

static const PropSpec dummy_props[] = {
    PROP_U32("queue-size", Dummy, queue_size, 16, "entries of the request queue"),
    PROP_U64("shm-size", Dummy, shm_size, 0, "bytes of shared memory"),
    PROP_END,
};

const ObjClass dummy_class = {
    .name = "dummy-device",
    .parent = "virtio-device",
    .size = sizeof(Dummy),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_props, NULL }, { dummy_props, NULL }, { NULL, NULL } },
    .ops = &dummy_ops,
};

VIRTIO_PCI_TYPES(dummy, "dummy", dummy_class, dummy_props, "Misc");
