/*
 * virtio-input, what all its kinds share: configuration by selects, updates that go whole or not at
 * all, lights (VIRTIO 1.4, 5.8). The kinds are in virtio-input-hid.c and virtio-input-host.c. Main
 * loop. Tested by test-norm-input and tests/system/test_input.py.
 */
#include "hw/virtio/virtio-input.h"

#include "hw/virtio/virtio-pci.h"

#include <linux/input-event-codes.h>
#include <string.h>

enum { Q_EVENT, Q_STATUS, CFG_HEAD = 8 /* select, subsel, size, reserved */ };

/* ---- configuration ---- */

void virtio_input_cfg(VirtioInput *s, uint8_t select, uint8_t subsel, const void *data, size_t len)
{
    VirtioInputCfg c = { .select = select, .subsel = subsel, .size = (uint8_t)len };

    g_assert(len && len <= sizeof c.data);
    memcpy(c.data, data, len);
    g_array_append_val(s->cfgs, c);
    s->config_len = MAX(s->config_len, CFG_HEAD + len);
}

void virtio_input_cfg_bits(
    VirtioInput *s, uint8_t select, uint8_t subsel, const uint8_t *bits, size_t len)
{
    while (len && !bits[len - 1]) {
        len--;
    }
    if (len) {
        virtio_input_cfg(s, select, subsel, bits, len);
    }
}

/* As long as the largest of the answers, as in QEMU. */
size_t virtio_input_config_len(VirtioDev *d)
{
    return ((VirtioInput *)d)->config_len;
}

/* An unknown select has size 0 (VIRTIO 1.4, 5.8.5.2). */
void virtio_input_config(VirtioDev *d, void *cfg)
{
    const VirtioInput *s = (const VirtioInput *)d;
    uint8_t *to = cfg;

    memset(to, 0, s->config_len);
    to[0] = s->select;
    to[1] = s->subsel;
    for (unsigned i = 0; i < s->cfgs->len; i++) {
        const VirtioInputCfg *c = &g_array_index(s->cfgs, VirtioInputCfg, i);

        if (c->select == s->select && c->subsel == s->subsel) {
            to[2] = c->size;
            memcpy(to + CFG_HEAD, c->data, c->size);
            return;
        }
    }
}

void virtio_input_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len)
{
    VirtioInput *s = (VirtioInput *)d;

    s->select = ((const uint8_t *)cfg)[0];
    s->subsel = ((const uint8_t *)cfg)[1];
}

/* ---- events ---- */

static void drop_spare(VirtioInput *s)
{
    while (s->nspare) {
        vq_drop(s->spare[--s->nspare]);
    }
}

/* Buffers for n events; what is taken and too little is kept for the next update. */
static bool take(VirtioInput *s, VirtQueue *vq, unsigned n)
{
    while (s->nspare < n) {
        VqElem *e = vq_pop(vq);

        if (!e) {
            return false;
        }
        if (e->in.left < sizeof(VirtioInputEvent)) { /* VIRTIO 1.4, 5.8.6.1 */
            vq_fail(vq, "an event buffer of %zu bytes (VIRTIO 1.4, 5.8.6.1)", e->in.left);
            vq_drop(e);
            return false;
        }
        s->spare[s->nspare++] = e;
    }
    return true;
}

static void send_batch(VirtioInput *s)
{
    VirtQueue *vq = virtio_queue(&s->vd, Q_EVENT);

    if (!s->active || !vq_ready(vq) || s->nbatch > VIRTIO_INPUT_QUEUE ||
        !take(s, vq, s->nbatch)) { /* all of it or nothing: VIRTIO 1.4, 5.8.6.2 */
        s->dropped += s->active;
        return;
    }
    for (unsigned i = 0; i < s->nbatch; i++) {
        bool ok = giov_put(&s->spare[i]->in, &s->batch[i], sizeof s->batch[i]);

        g_assert(ok);
    }
    vq_push_all(s->spare, s->nbatch);
    s->nspare -= s->nbatch;
    memmove(s->spare, s->spare + s->nbatch, s->nspare * sizeof s->spare[0]);
    vq_notify(vq);
}

void virtio_input_send(VirtioInput *s, uint16_t type, uint16_t code, int32_t value)
{
    if (s->nbatch < VIRTIO_INPUT_QUEUE) {
        s->batch[s->nbatch] = (VirtioInputEvent){
            .type = le16_of(type), .code = le16_of(code), .value = le32_of((uint32_t)value)
        };
    }
    s->nbatch += s->nbatch <= VIRTIO_INPUT_QUEUE;
    if (type == EV_SYN && code == SYN_REPORT) {
        if (s->nbatch > 1) {
            send_batch(s);
        }
        s->nbatch = 0;
    }
}

static VqVerdict status_request(VirtioDev *d, VqElem *e)
{
    VirtioInput *s = (VirtioInput *)d;
    VirtioInputEvent ev;

    if (!giov_get(&e->out, &ev, sizeof ev)) {
        vq_fail(e->vq, "a status buffer of %zu bytes (VIRTIO 1.4, 5.8.6.1)", e->out.left);
    } else if (s->kind->status) {
        s->kind->status(s, le16_get(ev.type), le16_get(ev.code), (int32_t)le32_get(ev.value));
    }
    return VQ_DONE;
}

const VqSpec virtio_input_vqs[] = {
    { .name = "events", .size = VIRTIO_INPUT_QUEUE, .elem_size = sizeof(VqElem) },
    { .name = "status",
        .size = VIRTIO_INPUT_QUEUE,
        .elem_size = sizeof(VqElem),
        .request = status_request },
};

/* ---- life ---- */

static void set_active(VirtioInput *s, bool on)
{
    if (s->active != on) {
        s->active = on;
        s->nbatch = 0;
        if (s->kind->active) {
            s->kind->active(s, on);
        }
    }
}

bool virtio_input_start(VirtioDev *d, GError **err)
{
    set_active((VirtioInput *)d, true);
    return true;
}

void virtio_input_stop(VirtioDev *d)
{
    VirtioInput *s = (VirtioInput *)d;

    drop_spare(s);
    if (!d->paused && !d->suspending) {
        set_active(s, false);
    }
}

void virtio_input_queue_reset(VirtioDev *d, unsigned i)
{
    if (i == Q_EVENT) {
        drop_spare((VirtioInput *)d);
    }
}

void virtio_input_reset(VirtioDev *d)
{
    VirtioInput *s = (VirtioInput *)d;

    set_active(s, false);
    s->select = s->subsel = 0;
}

static bool realize_cfg(VirtioInput *s, GError **err)
{
    size_t len = s->serial ? strlen(s->serial) : 0;

    if (len > sizeof(((VirtioInputCfg *)0)->data)) {
        return err_set(err, "serial is longer than 128 bytes");
    }
    if (!s->kind->realize(s, err)) {
        return false;
    }
    if (len) {
        virtio_input_cfg(s, VIRTIO_INPUT_CFG_ID_SERIAL, 0, s->serial, len);
    }
    return true;
}

bool virtio_input_realize(VirtioDev *d, GError **err)
{
    VirtioInput *s = (VirtioInput *)d;

    s->cfgs = g_array_new(FALSE, FALSE, sizeof(VirtioInputCfg));
    if (!realize_cfg(s, err)) {
        g_clear_pointer(&s->cfgs, g_array_unref);
        return false;
    }
    return true;
}

void virtio_input_unrealize(VirtioDev *d)
{
    VirtioInput *s = (VirtioInput *)d;

    if (s->kind->unrealize) {
        s->kind->unrealize(s);
    }
    g_clear_pointer(&s->cfgs, g_array_unref);
}

const PropSpec virtio_input_pci_props[] = {
    PROP_U32("vectors", VirtioPci, vectors, 2, "MSI-X vectors"),
    PROP_END,
};

const ObjClass virtio_input_class = {
    .name = "virtio-input-device",
    .parent = "virtio-device",
    .size = sizeof(VirtioInput),
    .flags = OBJ_DEVICE | OBJ_ABSTRACT,
};
const ObjClass virtio_input_hid_class = {
    .name = "virtio-input-hid-device",
    .parent = "virtio-input-device",
    .size = sizeof(VirtioInput),
    .flags = OBJ_DEVICE | OBJ_ABSTRACT,
};
