/* virtio-scsi: a SCSI host adapter (VIRTIO 1.4, 5.6). Requests run in their queue's
 * loop, task management (virtio-scsi-tmf.c) in the device's; events for hot plug come from main by
 * rendezvous. Tested by test_scsi.py, test-norm-scsi. */
#include "hw/virtio/virtio-scsi.h"

#include "hw/core/machine.h"

#include <string.h>

enum { F_INOUT = 0, F_HOTPLUG = 1, F_CHANGE = 2 };
enum { EV_TRANSPORT_RESET = 1, EV_PARAM_CHANGE = 3 };
static const uint32_t EV_MISSED = 0x80000000;
enum { RESET_HARD = 0, RESET_RESCAN = 1, RESET_REMOVED = 2 };
enum {
    SENSE_DEFAULT = 96,
    CDB_DEFAULT = 32,
    SENSE_LIMIT = 65535,
    CDB_LIMIT = 255,
    QUEUES_AUTO = UINT32_MAX,
    QUEUES_MAX = VIRTIO_QUEUE_MAX - 2
};

typedef struct ScsiConfig {
    le32 num_queues, seg_max, max_sectors, cmd_per_lun, event_info_size, sense_size, cdb_size;
    le16 max_channel, max_target;
    le32 max_lun;
} ScsiConfig;
_Static_assert(sizeof(ScsiConfig) == 36, "VIRTIO 1.4, 5.6.4");

typedef struct CmdHead { /* device-readable, before the CDB */
    uint8_t lun[8];
    le64 id;
    uint8_t task_attr, prio, crn;
} __attribute__((packed)) CmdHead;
_Static_assert(sizeof(CmdHead) == 19, "VIRTIO 1.4, 5.6.6.1");

typedef struct CmdResponse { /* before the sense data */
    le32 sense_len, residual;
    le16 status_qualifier;
    uint8_t status, response;
} CmdResponse;
_Static_assert(sizeof(CmdResponse) == 12, "VIRTIO 1.4, 5.6.6.1");

typedef struct Event {
    le32 event;
    uint8_t lun[8];
    le32 reason;
} Event;
_Static_assert(sizeof(Event) == 16, "VIRTIO 1.4, 5.6.6.3");

static VirtioScsi *of_bus(ScsiBus *b)
{
    return (VirtioScsi *)((char *)b - offsetof(VirtioScsi, bus));
}

/* ---- units ---- */

/* {1, target, flat or peripheral lun, 0 ...}: false for what addresses nothing here (5.6.6.1). */
static bool parse_lun(const uint8_t *v, unsigned *ret_target, uint16_t *ret_lun)
{
    if (v[0] == 0xc1 && v[1] == 1) {
        *ret_target = 0;
        *ret_lun = SCSI_WLUN_REPORT_LUNS;
        return true;
    }
    if (v[0] != 1) {
        return false;
    }
    *ret_target = v[1];
    if (v[2] == 0xc1 && v[3] == 1) {
        *ret_lun = SCSI_WLUN_REPORT_LUNS;
        return true;
    }
    *ret_lun = (uint16_t)((v[2] & 0x3f) << 8 | v[3]);
    return v[2] >> 6 <= 1;
}

static void put_lun(const ScsiDev *d, uint8_t *v)
{
    memset(v, 0, 8);
    v[0] = 1;
    v[1] = (uint8_t)d->id;
    v[2] = (uint8_t)(d->lun < 256 ? 0 : 0x40 | d->lun >> 8);
    v[3] = (uint8_t)d->lun;
}

ScsiDev *vscsi_find_unit(VirtioScsi *s, const uint8_t *v, uint16_t *ret_lun)
{
    unsigned target;

    if (!parse_lun(v, &target, ret_lun)) {
        return NULL;
    }
    if (*ret_lun == SCSI_WLUN_REPORT_LUNS && v[0] == 0xc1 && s->bus.devs->len) {
        target = ((ScsiDev *)g_ptr_array_index(s->bus.devs, 0))->id;
    }
    return scsi_find(&s->bus, target, *ret_lun);
}

/* ---- requests ---- */

static void answer(CmdReq *c, uint8_t response)
{
    static const uint8_t zeros[256];
    const ScsiReq *r = &c->r;
    VirtQueue *vq = c->e.vq;
    CmdResponse h = { .sense_len = le32_of(MIN(r->sense_len, c->sense_size)),
        .residual = le32_of((uint32_t)MIN(r->residual, UINT32_MAX)),
        .status = r->status,
        .response = response };
    size_t sense = MIN(r->sense_len, c->sense_size), rest = c->sense_size - sense;
    bool ok = giov_put(&c->e.in, &h, sizeof h) && giov_put(&c->e.in, r->sense, sense);

    while (ok && rest) { /* nothing of ours is left in what the driver reads */
        size_t some = MIN(rest, sizeof zeros);
        ok = giov_put(&c->e.in, zeros, some);
        rest -= some;
    }
    g_assert(ok);
    vq_push(&c->e);
    vq_notify_soon(vq);
}

static void cmd_done(ScsiReq *r)
{
    static const uint8_t responses[] = { [SCSI_OK] = S_OK,
        [SCSI_OVERRUN] = S_OVERRUN,
        [SCSI_ABORTED] = S_ABORTED,
        [SCSI_RESET] = S_RESET,
        [SCSI_TRANSPORT_FAILURE] = S_TRANSPORT_FAILURE,
        [SCSI_TARGET_FAILURE] = S_TARGET_FAILURE,
        [SCSI_NEXUS_FAILURE] = S_NEXUS_FAILURE,
        [SCSI_RETRY] = S_BUSY };
    CmdReq *c = (CmdReq *)((char *)r - offsetof(CmdReq, r));
    GSList *waiters = c->waiters;

    if (r->result != SCSI_OK) {
        r->residual = 0;
    }
    if (r->result == SCSI_DROPPED) {
        vq_drop(&c->e);
    } else {
        answer(c, responses[r->result]);
    }
    /* Only then: the driver sees the effects before the function's own end (5.6.6.2). */
    for (GSList *w = waiters; w; w = w->next) {
        vscsi_tmf_put(w->data);
    }
    g_slist_free(waiters);
}

/* With the bus's lock. */
static void submit(VirtioScsi *s, CmdReq *c, const CmdHead *h)
{
    uint16_t lun;
    ScsiDev *dev = vscsi_find_unit(s, h->lun, &lun);

    if (!dev) {
        c->r.residual = 0;
        answer(c, S_BAD_TARGET);
        return;
    }
    c->r.lun = lun;
    c->r.tag = le64_get(h->id);
    c->r.lane = s->bus.loops ? vq_index(c->e.vq) - Q_REQUEST : 0;
    c->r.out = &c->e.out;
    c->r.in = &c->e.in2;
    c->r.done = cmd_done;
    scsi_submit(dev, &c->r);
}

static VqVerdict cmd_request(VirtioDev *d, VqElem *e)
{
    VirtioScsi *s = (VirtioScsi *)d;
    CmdReq *c = (CmdReq *)e;
    CmdHead h;
    uint8_t cdb[CDB_LIMIT + 1];

    memset(&c->r, 0, sizeof c->r);
    c->waiters = NULL;
    uint32_t cdb_size = s->cdb_size;

    c->sense_size = s->sense_size;
    if (!giov_get(&e->out, &h, sizeof h) || !giov_get(&e->out, cdb, cdb_size) ||
        !vq_split_in(e, sizeof(CmdResponse) + c->sense_size)) {
        vq_fail(e->vq, "request or response is too short (VIRTIO 1.4, 5.6.6.1)");
        return VQ_DONE;
    }
    memcpy(c->r.cdb, cdb, MIN(cdb_size, sizeof c->r.cdb));
    c->r.residual = e->out.left + e->in2.left;
    if (e->out.left && e->in2.left) { /* INOUT is not offered (5.6.6.1.1) */
        answer(c, S_FAILURE);
        return VQ_HELD;
    }
    scsi_lock(&s->bus);
    submit(s, c, &h);
    scsi_unlock(&s->bus);
    return VQ_HELD;
}
/* ---- events ---- */

static bool put_event(VirtioScsi *s, const Event *ev)
{
    VqElem *e = vq_pop(virtio_queue(&s->vd, Q_EVENT));

    if (!e) {
        return false;
    }
    if (!giov_put(&e->in, ev, sizeof *ev)) {
        vq_fail(e->vq, "event buffer is too short (VIRTIO 1.4, 5.6.6.3.1)");
        vq_drop(e);
        return false;
    }
    vq_push(e);
    vq_notify(virtio_queue(&s->vd, Q_EVENT));
    return true;
}

static void event_refilled(VirtioDev *d, G_GNUC_UNUSED VirtQueue *vq)
{
    VirtioScsi *s = (VirtioScsi *)d;
    Event ev = { .event = le32_of(EV_MISSED) }; /* no event, but some were lost (5.6.6.3) */

    if (s->missed && put_event(s, &ev)) {
        s->missed = false;
    }
}

typedef struct EventCall {
    VirtioScsi *s;
    const ScsiDev *dev;
    uint32_t event, reason;
} EventCall;

static void send_event_there(void *opaque)
{
    const EventCall *c = opaque;
    VirtioScsi *s = c->s;
    Event ev = { .event = le32_of(c->event | (s->missed ? EV_MISSED : 0)),
        .reason = le32_of(c->reason) };

    if (!vq_ready(virtio_queue(&s->vd, Q_EVENT))) {
        return;
    }
    put_lun(c->dev, ev.lun);
    s->missed = !put_event(s, &ev);
}

static void send_event(VirtioScsi *s, const ScsiDev *dev, uint32_t event, uint32_t reason)
{
    EventCall c = { s, dev, event, reason };

    if (virtio_has(&s->vd, event == EV_PARAM_CHANGE ? F_CHANGE : F_HOTPLUG)) {
        loop_call(s->vd.loop, send_event_there, &c);
    }
}

/* The others of the target tell that its list has changed (SPC-4, 6.33). */
static void luns_changed(void *opaque)
{
    const ScsiDev *d = opaque;
    const GPtrArray *devs = d->bus->devs;

    for (unsigned i = 0; i < devs->len; i++) {
        ScsiDev *other = g_ptr_array_index(devs, i);

        if (other != d && other->id == d->id) {
            scsi_attention(other, SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x3f, 0x0e));
        }
    }
}

static void unit_plugged(ScsiBus *b, ScsiDev *d)
{
    if (d->dev.hotplugged) {
        loop_call(b->loop, luns_changed, d);
        send_event(of_bus(b), d, EV_TRANSPORT_RESET, RESET_RESCAN);
    }
}

static void unit_unplugged(ScsiBus *b, ScsiDev *d)
{
    loop_call(b->loop, luns_changed, d);
    send_event(of_bus(b), d, EV_TRANSPORT_RESET, RESET_REMOVED);
}

typedef struct Change {
    ScsiDev *d;
    ScsiSense what;
} Change;

static void change_there(void *opaque)
{
    const Change *c = opaque;

    scsi_attention(c->d, c->what);
}

static void unit_changed(ScsiBus *b, ScsiDev *d, ScsiSense what)
{
    Change c = { d, what };

    loop_call(b->loop, change_there, &c);
    if (d->type != 5) { /* never for MMC devices (5.6.6.3) */
        send_event(of_bus(b), d, EV_PARAM_CHANGE, what.asc | (uint32_t)what.ascq << 8);
    }
}

static const ScsiHostOps host_ops = {
    .plugged = unit_plugged, .unplugged = unit_unplugged, .changed = unit_changed
};

/* ---- configuration, life ---- */

static void scsi_config(VirtioDev *d, void *cfg)
{
    const VirtioScsi *s = (const VirtioScsi *)d;
    ScsiConfig c = { .num_queues = le32_of(s->num_queues),
        .seg_max = le32_of(s->seg_max_adjust ? s->virtqueue_size - 2 : 128 - 2),
        .max_sectors = le32_of(s->max_sectors),
        .cmd_per_lun = le32_of(s->cmd_per_lun),
        .event_info_size = le32_of(sizeof(Event)),
        .sense_size = le32_of(s->sense_size),
        .cdb_size = le32_of(s->cdb_size),
        .max_target = le16_of(SCSI_TARGET_MAX),
        .max_lun = le32_of(SCSI_LUN_MAX) };

    memcpy(cfg, &c, sizeof c);
}

typedef struct SizesCall {
    VirtioScsi *s;
    uint32_t sense, cdb;
} SizesCall;

static void set_sizes(void *opaque)
{
    const SizesCall *c = opaque;

    c->s->sense_size = c->sense;
    c->s->cdb_size = c->cdb;
}

static void scsi_config_wrote(VirtioDev *d, const void *cfg, size_t off, size_t len)
{
    VirtioScsi *s = (VirtioScsi *)d;
    ScsiConfig c;

    memcpy(&c, cfg, sizeof c);
    SizesCall call = { s, le32_get(c.sense_size), le32_get(c.cdb_size) };

    if (off >= offsetof(ScsiConfig, max_channel) || off + len <= offsetof(ScsiConfig, sense_size)) {
        return; /* nothing else is the driver's */
    }
    if (call.sense > SENSE_LIMIT || call.cdb > CDB_LIMIT) {
        virtio_fail(d, "sense_size %u or cdb_size %u is not possible (VIRTIO 1.4, 5.6.4)",
            call.sense, call.cdb);
        return;
    }
    loop_call(d->loop, set_sizes, &call);
}

static VirtioFeatures scsi_offer(VirtioDev *d, VirtioFeatures f)
{
    const VirtioScsi *s = (const VirtioScsi *)d;

    vf_set(&f, F_HOTPLUG, s->hotplug);
    vf_set(&f, F_CHANGE, s->param_change);
    return f;
}

static void set_keeps(ScsiBus *b, bool on)
{
    scsi_lock(b);
    b->keeps = on;
    scsi_unlock(b);
}

static bool scsi_start(VirtioDev *d, G_GNUC_UNUSED GError **err)
{
    set_keeps(&((VirtioScsi *)d)->bus, true);
    return true;
}

/* On a reset the core waits for what is still out; a VM that stops has it finished. */
static void scsi_stop(VirtioDev *d)
{
    ScsiBus *b = &((VirtioScsi *)d)->bus;

    if (d->paused) {
        scsi_bus_drain(b, (ScsiPick){ 0 });
    }
    set_keeps(b, false);
    if (!d->paused) {
        scsi_bus_drop(b, (ScsiPick){ 0 });
    }
}

static bool of_queue(const ScsiReq *r, void *opaque)
{
    const CmdReq *c = (const CmdReq *)((const char *)r - offsetof(CmdReq, r));

    return vq_index(c->e.vq) == *(const unsigned *)opaque;
}

static void scsi_queue_reset(VirtioDev *d, unsigned i)
{
    scsi_bus_drain(&((VirtioScsi *)d)->bus, (ScsiPick){ of_queue, &i });
}

static void units_reset(void *opaque)
{
    const VirtioScsi *s = opaque;

    for (unsigned i = 0; i < s->bus.devs->len; i++) {
        ScsiDev *d = g_ptr_array_index(s->bus.devs, i);

        scsi_unit_reset(d);
        d->nattention = 0;
        scsi_attention(d, SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x29, 0)); /* power on or reset */
    }
}

static void scsi_reset(VirtioDev *d)
{
    VirtioScsi *s = (VirtioScsi *)d;

    s->sense_size = SENSE_DEFAULT; /* 5.6.4.2 */
    s->cdb_size = CDB_DEFAULT;
    s->missed = false;
    scsi_bus_drain(&s->bus, (ScsiPick){ 0 });
    loop_call(s->bus.loop, units_reset, s);
}

static unsigned scsi_queue_count(VirtioDev *d)
{
    return ((VirtioScsi *)d)->num_queues + 2;
}

static const VqSpec *scsi_queue_spec(VirtioDev *d, unsigned i, uint16_t *ret_size)
{
    const VirtioScsi *s = (const VirtioScsi *)d;

    *ret_size = (uint16_t)s->virtqueue_size;
    return i == Q_CONTROL ? &s->control : i == Q_EVENT ? &s->event : &s->request;
}

/* Task management and events are the bus's matter. */
static Loop *scsi_queue_loop(VirtioDev *d, unsigned i)
{
    const VirtioScsi *s = (VirtioScsi *)d;

    return s->bus.loops && i >= Q_REQUEST ? s->bus.loops[i - Q_REQUEST] : d->loop;
}

static bool scsi_props_ok(VirtioScsi *s, GError **err)
{
    if (s->num_queues == QUEUES_AUTO) {
        s->num_queues = s->vd.bus_ops && s->vd.bus_ops->default_queues
                            ? s->vd.bus_ops->default_queues(s->vd.transport)
                            : 1;
    }
    if (!s->num_queues || s->num_queues > QUEUES_MAX) {
        return err_set(err,
            "Invalid number of queues (= %u), must be a positive integer less than %d.",
            s->num_queues, QUEUES_MAX);
    }
    if (s->virtqueue_size <= 2) {
        return err_set(
            err, "invalid virtqueue_size property (= %u), must be > 2", s->virtqueue_size);
    }
    if (s->virtqueue_size > 1024 || s->virtqueue_size & (s->virtqueue_size - 1)) {
        return err_set(err,
            "invalid virtqueue_size property (= %u), must be a power of 2 (max 1024)",
            s->virtqueue_size);
    }
    return true;
}

static bool scsi_realize(VirtioDev *d, GError **err)
{
    VirtioScsi *s = (VirtioScsi *)d;
    const Dev *proxy = (const Dev *)d->transport;
    const Machine *m = dev_machine(proxy);

    if (!scsi_props_ok(s, err)) {
        return false;
    }
    if (!iothread_use_take(&s->threads, m ? m->objects : NULL, s->num_queues, err)) {
        return false;
    }
    if (s->threads.nthreads == 1) {
        d->loop = s->threads.loop[0];
    }
    s->control = (VqSpec){ "control", 128, sizeof(TmfReq), vscsi_control_request };
    s->event = (VqSpec){ "event", 128, sizeof(VqElem), .refilled = event_refilled };
    s->request = (VqSpec){ "request", 128, sizeof(CmdReq), cmd_request };
    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    g_autofree char *name = proxy && proxy->id ? g_strdup_printf("%s.0", proxy->id) : NULL;

    s->bus.max_target = SCSI_TARGET_MAX;
    s->bus.max_lun = SCSI_LUN_MAX;
    scsi_bus_init(&s->bus, &d->dev, &host_ops, name);
    scsi_bus_set_loop(&s->bus, d->loop);
    if (s->threads.nthreads > 1) {
        scsi_bus_set_loops(&s->bus, s->threads.loop, s->num_queues);
    }
    s->bus_ready = true;
    return true;
}

static void scsi_unrealize(VirtioDev *d)
{
    VirtioScsi *s = (VirtioScsi *)d;

    if (s->bus_ready) {
        scsi_bus_fini(&s->bus);
        s->bus_ready = false;
    }
    d->loop = loop_main();
    iothread_use_release(&s->threads);
}

/* clang-format off */
const PropSpec virtio_scsi_props[] = {
    PROP_U32("num_queues", VirtioScsi, num_queues, QUEUES_AUTO, "request queues; 4294967295: one per vCPU"),
    PROP_U32("virtqueue_size", VirtioScsi, virtqueue_size, 256, "descriptors in each queue"),
    PROP_U32("max_sectors", VirtioScsi, max_sectors, 0xffff, "hint: sectors of one transfer"),
    PROP_U32("cmd_per_lun", VirtioScsi, cmd_per_lun, 128, "hint: commands of one unit at once"),
    PROP_BOOL("hotplug", VirtioScsi, hotplug, true, "tell of units that come and go"),
    PROP_BOOL("param_change", VirtioScsi, param_change, true, "tell of changed parameters"),
    PROP_BOOL("seg_max_adjust", VirtioScsi, seg_max_adjust, true, "seg_max follows the queue size"),
    PROP_IOTHREAD_USE(VirtioScsi, threads),
    PROP_END,
};
/* clang-format on */

static const VirtioOps scsi_ops = {
    .id = 8,
    .transitional_id = 0x1004,
    .pci_class = 0x010000,
    .queue_count = scsi_queue_count,
    .queue_spec = scsi_queue_spec,
    .queue_loop = scsi_queue_loop,
    .config_size = sizeof(ScsiConfig),
    .offer = scsi_offer,
    .config_told = true,
    .config = scsi_config,
    .config_wrote = scsi_config_wrote,
    .start = scsi_start,
    .stop = scsi_stop,
    .reset = scsi_reset,
    .queue_reset = scsi_queue_reset,
    .realize = scsi_realize,
    .unrealize = scsi_unrealize,
};

const ObjClass virtio_scsi_class = {
    .name = "virtio-scsi-device",
    .parent = "virtio-device",
    .help = "a SCSI host adapter",
    .category = "Storage",
    .size = sizeof(VirtioScsi),
    .flags = OBJ_DEVICE,
    .bus = "virtio-bus",
    .props = (const PropGroup[]){ { virtio_scsi_props, NULL }, { NULL, NULL } },
    .ops = &scsi_ops,
};
VIRTIO_PCI_TYPES(virtio_scsi, "virtio-scsi", virtio_scsi_class, virtio_scsi_props, "Storage");
