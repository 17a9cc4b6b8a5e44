/* virtio-scsi's control queue: task management, asynchronous notification (VIRTIO 1.4, 5.6.6.2).
 * Tested by test-norm-scsi, test-virtio-threads. */
#include "hw/virtio/virtio-scsi.h"

enum { T_TMF = 0, T_AN_QUERY = 1, T_AN_SUBSCRIBE = 2 };
enum {
    TMF_ABORT_TASK,
    TMF_ABORT_TASK_SET,
    TMF_CLEAR_ACA,
    TMF_CLEAR_TASK_SET,
    TMF_NEXUS_RESET,
    TMF_UNIT_RESET,
    TMF_QUERY_TASK,
    TMF_QUERY_TASK_SET
};

typedef struct Tmf {
    le32 type, subtype;
    uint8_t lun[8];
    le64 id;
} Tmf;
_Static_assert(sizeof(Tmf) == 24, "VIRTIO 1.4, 5.6.6.2");

static void tmf_done(TmfReq *t)
{
    VirtQueue *vq = t->e.vq;
    bool ok = giov_put(&t->e.in, &t->response, 1);

    g_assert(ok);
    vq_push(&t->e);
    vq_notify(vq);
}

static void posted_tmf_done(void *opaque)
{
    tmf_done(opaque);
}

void vscsi_tmf_put(TmfReq *t)
{
    if (--t->waits) {
        return;
    }
    if (loop_current() == vq_loop(t->e.vq)) {
        tmf_done(t);
    } else { /* the queue waits for t, so it is there until then */
        loop_post(vq_loop(t->e.vq), posted_tmf_done, t);
    }
}

/* t waits for r, which ends as `how`. */
static void cancel(TmfReq *t, ScsiReq *r, ScsiResult how)
{
    CmdReq *c = (CmdReq *)((char *)r - offsetof(CmdReq, r));

    c->waiters = g_slist_prepend(c->waiters, t);
    t->waits++;
    scsi_cancel(r, how);
}

typedef struct CancelCall {
    TmfReq *t;
    const ScsiDev *d;
    const uint64_t *tag;
    ScsiResult how;
} CancelCall;

static void cancel_there(void *opaque)
{
    const CancelCall *c = opaque;

    for (ScsiReq *r = c->d->reqs, *next; r; r = next) {
        next = r->next;
        if (scsi_is_here(r) && (!c->tag || r->tag == *c->tag)) {
            cancel(c->t, r, c->how);
        }
    }
}

/* Each in its own loop. tag NULL: all of the unit's. */
static void cancel_tasks(TmfReq *t, ScsiDev *d, const uint64_t *tag, ScsiResult how)
{
    CancelCall c = { t, d, tag, how };

    scsi_each_loop(d->bus, cancel_there, &c);
}

static bool has_task(ScsiDev *d, const uint64_t *tag)
{
    scsi_lock(d->bus);
    const ScsiReq *r = d->reqs;

    while (r && tag && r->tag != *tag) {
        r = r->next;
    }
    scsi_unlock(d->bus);
    return r != NULL;
}

static void reset_unit(TmfReq *t, ScsiDev *d)
{
    cancel_tasks(t, d, NULL, SCSI_RESET);
    scsi_unit_reset(d);
}

/* The function's outcome, unless it has to wait for requests: t->waits. */
static uint8_t tmf(VirtioScsi *s, TmfReq *t, const Tmf *m)
{
    unsigned what = le32_get(m->subtype);
    uint16_t lun;
    ScsiDev *d = vscsi_find_unit(s, m->lun, &lun);
    uint64_t tag = le64_get(m->id);

    if (what > TMF_QUERY_TASK_SET || what == TMF_CLEAR_ACA) {
        return S_REJECTED;
    }
    if (!d) {
        return S_BAD_TARGET;
    }
    if (what == TMF_NEXUS_RESET) { /* all units of the target */
        for (unsigned i = 0; i < s->bus.devs->len; i++) {
            ScsiDev *each = g_ptr_array_index(s->bus.devs, i);

            if (each->id == d->id) {
                reset_unit(t, each);
            }
        }
        return S_OK;
    }
    if (d->lun != lun) {
        return S_INCORRECT_LUN;
    }
    switch (what) {
    case TMF_ABORT_TASK:
        cancel_tasks(t, d, &tag, SCSI_ABORTED);
        return S_OK;
    case TMF_ABORT_TASK_SET:
    case TMF_CLEAR_TASK_SET:
        cancel_tasks(t, d, NULL, SCSI_ABORTED);
        return S_OK;
    case TMF_UNIT_RESET:
        reset_unit(t, d);
        return S_OK;
    case TMF_QUERY_TASK:
        return has_task(d, &tag) ? S_SUCCEEDED : S_OK;
    default:
        return has_task(d, NULL) ? S_SUCCEEDED : S_OK;
    }
}

VqVerdict vscsi_control_request(VirtioDev *d, VqElem *e)
{
    VirtioScsi *s = (VirtioScsi *)d;
    TmfReq *t = (TmfReq *)e;
    Tmf m = { 0 };
    uint8_t an[12]; /* lun, event_requested */
    struct {
        le32 event_actual;
        uint8_t response;
    } __attribute__((packed)) none = { .response = S_OK };

    if (!giov_get(&e->out, &m.type, sizeof m.type)) {
        vq_fail(e->vq, "control request without a type (VIRTIO 1.4, 5.6.6.2)");
        return VQ_DONE;
    }
    switch (le32_get(m.type)) {
    case T_TMF:
        if (!giov_get(&e->out, &m.subtype, sizeof m - sizeof m.type) || !e->in.left) {
            vq_fail(e->vq, "task management function is too short (VIRTIO 1.4, 5.6.6.2)");
            return VQ_DONE;
        }
        t->waits = 1; /* this call */
        t->response = tmf(s, t, &m);
        scsi_lock(&s->bus);
        vscsi_tmf_put(t);
        scsi_unlock(&s->bus);
        return VQ_HELD;
    case T_AN_QUERY:
    case T_AN_SUBSCRIBE:
        /* No unit here reports such events (5.6.6.2). */
        if (!giov_get(&e->out, an, sizeof an) || !giov_put(&e->in, &none, sizeof none)) {
            vq_fail(e->vq, "asynchronous notification request is too short (VIRTIO 1.4, 5.6.6.2)");
        }
        return VQ_DONE;
    default:
        vq_fail(e->vq, "unknown control request %u (VIRTIO 1.4, 5.6.6.2)", le32_get(m.type));
        return VQ_DONE;
    }
}
