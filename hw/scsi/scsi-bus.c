/*
 * The SCSI bus: places of units, the life of a request, unit attentions, what a target answers for
 * units it does not have (SAM-5, SPC-4). Tested by test_scsi.py.
 */
#include "hw/scsi/scsi.h"

#include <errno.h>
#include <string.h>

enum { ANY = UINT32_MAX };

/* ---- places ---- */

static int compare(const ScsiDev *d, unsigned target, unsigned lun)
{
    return d->id != target ? (d->id < target ? -1 : 1) : d->lun < lun ? -1 : d->lun > lun;
}

ScsiDev *scsi_find(ScsiBus *b, unsigned target, unsigned lun)
{
    ScsiDev *other = NULL;

    for (unsigned i = 0; i < b->devs->len; i++) {
        ScsiDev *d = g_ptr_array_index(b->devs, i);

        if (d->id == target) {
            if (d->lun == lun) {
                return d;
            }
            other = other ? other : d;
        }
    }
    return other;
}

static ScsiDev *at_place(Bus *b, unsigned channel, unsigned id, unsigned lun)
{
    for (unsigned i = 0; i < b->devs->len; i++) {
        ScsiDev *d = g_ptr_array_index(b->devs, i);

        if (d->channel == channel && d->id == id && d->lun == lun) {
            return d;
        }
    }
    return NULL;
}

/* QEMU compat: without scsi-id the first free target, without lun the first free one of it. */
static bool choose_place(ScsiBus *b, ScsiDev *d, GError **err)
{
    if (d->channel) {
        return err_set(err, "bad scsi channel id: %u", d->channel);
    }
    if (d->id != ANY && d->id > b->max_target) {
        return err_set(err, "bad scsi device id: %u", d->id);
    }
    if (d->lun != ANY && d->lun > b->max_lun) {
        return err_set(err, "bad scsi device lun: %u", d->lun);
    }
    if (d->id == ANY) {
        unsigned lun = d->lun == ANY ? 0 : d->lun;

        for (d->id = 0; d->id < b->max_target && at_place(&b->bus, 0, d->id, lun); d->id++) {
        }
        if (at_place(&b->bus, 0, d->id, lun)) {
            return err_set(err, "no free target");
        }
        d->lun = lun;
    } else if (d->lun == ANY) {
        for (d->lun = 0; d->lun < b->max_lun && at_place(&b->bus, 0, d->id, d->lun); d->lun++) {
        }
        if (at_place(&b->bus, 0, d->id, d->lun)) {
            return err_set(err, "no free lun");
        }
    }
    return true;
}

static bool bus_plug(Bus *bus, Dev *dev, GError **err)
{
    ScsiBus *b = (ScsiBus *)bus;
    ScsiDev *d = (ScsiDev *)dev;

    if (!choose_place(b, d, err)) {
        return false;
    }
    const ScsiDev *there = at_place(bus, d->channel, d->id, d->lun);

    if (there && there != d) {
        g_autofree char *name = there->dev.id ? g_strdup(there->dev.id) : g_strdup("");
        return err_set(err, "lun already used by '%s'", name);
    }
    d->bus = b;
    return true;
}

static bool bus_unplug_request(Bus *bus, Dev *dev, G_GNUC_UNUSED GError **err)
{
    dev_unplug_done(bus->machine, dev);
    return true;
}

static char *bus_dev_path(const Bus *bus, const Dev *dev)
{
    const ScsiDev *d = (const ScsiDev *)dev;

    return g_strdup_printf(
        "channel@%x/%s@%x,%x", d->channel, d->type == 5 ? "cd" : "disk", d->id, d->lun);
}

static const BusClass scsi_bus_class = {
    .type = "SCSI",
    .plug = bus_plug,
    .unplug_request = bus_unplug_request,
    .dev_path = bus_dev_path,
};

void scsi_bus_init(ScsiBus *b, Dev *host, const ScsiHostOps *ops, const char *name)
{
    b->ops = ops;
    b->loop = loop_main();
    b->devs = g_ptr_array_new();
    g_rec_mutex_init(&b->lock);
    bus_init(&b->bus, &scsi_bus_class, host, &host->obj, name);
    b->bus.hotplug = true;
}

void scsi_bus_set_loop(ScsiBus *b, Loop *l)
{
    g_assert(!b->devs->len);
    b->loop = l;
}

void scsi_bus_set_loops(ScsiBus *b, Loop *const *l, unsigned n)
{
    g_assert(!b->devs->len && b->loop == loop_main());
    b->loops = l;
    b->nloops = n;
}

void scsi_bus_fini(ScsiBus *b)
{
    bus_fini(&b->bus);
    g_ptr_array_unref(b->devs);
    g_rec_mutex_clear(&b->lock);
}

/* ---- requests from several loops ---- */

void scsi_lock(ScsiBus *b)
{
    if (b->loops) {
        g_rec_mutex_lock(&b->lock);
    }
}

void scsi_unlock(ScsiBus *b)
{
    if (b->loops) {
        g_rec_mutex_unlock(&b->lock);
    }
}

bool scsi_is_here(const ScsiReq *r)
{
    return !r->dev->bus->loops || r->loop == loop_current();
}

typedef struct LoopCall {
    ScsiBus *b;
    LoopFn *fn;
    void *opaque;
} LoopCall;

static void locked_there(void *opaque)
{
    const LoopCall *c = opaque;

    scsi_lock(c->b);
    c->fn(c->opaque);
    scsi_unlock(c->b);
}

void scsi_each_loop(ScsiBus *b, LoopFn *fn, void *opaque)
{
    LoopCall c = { b, fn, opaque };

    if (!b->loops) {
        loop_call(b->loop, fn, opaque);
    }
    for (unsigned i = 0; i < b->nloops; i++) {
        loop_call(b->loops[i], locked_there, &c);
    }
}

static bool has_any(const ScsiDev *d, bool (*is)(const ScsiReq *r), ScsiPick pick)
{
    const ScsiReq *r = d->reqs;

    while (r && !((!is || is(r)) && (!pick.fn || pick.fn(r, pick.opaque)))) {
        r = r->next;
    }
    return r != NULL;
}

static void nothing(G_GNUC_UNUSED void *opaque) {}

/* Until d has no request of that kind. In the bus's loop. */
static void wait_for(ScsiDev *d, bool (*is)(const ScsiReq *r), ScsiPick pick)
{
    ScsiBus *b = d->bus;

    for (;;) {
        scsi_lock(b);
        bool any = has_any(d, is, pick);

        scsi_unlock(b);
        if (!any) {
            return;
        }
        if (b->loops) {
            scsi_each_loop(b, nothing, NULL); /* one turn of its own at least */
        } else {
            loop_turn(b->loop, /* block= */ true);
        }
    }
}

/* ---- units come and go ---- */

/* In the loop: requests find it from now on. */
static void add_there(void *opaque)
{
    ScsiDev *d = opaque;
    GPtrArray *devs = d->bus->devs;
    unsigned i = 0;

    scsi_lock(d->bus);
    while (i < devs->len && compare(g_ptr_array_index(devs, i), d->id, d->lun) < 0) {
        i++;
    }
    g_ptr_array_insert(devs, (int)i, d);
    d->plugged = true;
    scsi_unlock(d->bus);
}

static void cancel_there(void *opaque)
{
    ScsiDev *d = opaque;

    for (ScsiReq *r = d->reqs, *next; r; r = next) {
        next = r->next;
        if (scsi_is_here(r)) {
            scsi_cancel(r, SCSI_RESET);
        }
    }
}

/* Nobody finds it any more, and what it still has ends. */
static void remove_there(void *opaque)
{
    ScsiDev *d = opaque;

    scsi_lock(d->bus);
    g_ptr_array_remove(d->bus->devs, d);
    d->plugged = false;
    scsi_unlock(d->bus);
    scsi_each_loop(d->bus, cancel_there, d);
    wait_for(d, NULL, (ScsiPick){ 0 });
}

bool scsi_dev_realize(Obj *o, GError **err)
{
    ScsiDev *d = (ScsiDev *)o;

    d->ops = o->cls->ops;
    if (!d->ops->realize(d, err)) {
        return false;
    }
    scsi_attention(d, SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x29, 0)); /* power on (SPC-4, 5.14) */
    loop_call(d->bus->loop, add_there, d);
    if (d->bus->ops->plugged) {
        d->bus->ops->plugged(d->bus, d);
    }
    return true;
}

void scsi_dev_unrealize(Obj *o)
{
    ScsiDev *d = (ScsiDev *)o;

    if (d->bus->ops->unplugged) {
        d->bus->ops->unplugged(d->bus, d);
    }
    loop_call(d->bus->loop, remove_there, d);
    d->ops->unrealize(d);
}

/* ---- sense and attention ---- */

unsigned scsi_put_sense(ScsiSense s, uint8_t *dst)
{
    memset(dst, 0, SCSI_SENSE_LEN);
    dst[0] = 0x70; /* current, fixed format */
    dst[2] = s.key;
    dst[7] = 10; /* bytes that follow */
    dst[12] = s.asc;
    dst[13] = s.ascq;
    return SCSI_SENSE_LEN;
}

static void add_attention(ScsiDev *d, ScsiSense what)
{
    for (unsigned i = 0; i < d->nattention; i++) {
        if (!memcmp(&d->attention[i], &what, sizeof what)) {
            return;
        }
    }
    /* A reset makes the others old news (SAM-5, 5.14). */
    if (what.asc == 0x29) {
        d->nattention = 0;
    }
    if (d->nattention < G_N_ELEMENTS(d->attention)) {
        d->attention[d->nattention++] = what;
    }
}

void scsi_attention(ScsiDev *d, ScsiSense what)
{
    scsi_lock(d->bus);
    add_attention(d, what);
    scsi_unlock(d->bus);
}

bool scsi_take_attention(ScsiDev *d, ScsiSense *ret)
{
    if (!d->nattention) {
        return false;
    }
    *ret = d->attention[0];
    memmove(d->attention, d->attention + 1, --d->nattention * sizeof d->attention[0]);
    return true;
}

void scsi_unit_reset(ScsiDev *d)
{
    scsi_lock(d->bus);
    if (d->ops->reset) {
        d->ops->reset(d);
    }
    scsi_unlock(d->bus);
    scsi_attention(d, SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x29, 0x03)); /* bus device reset function */
}

/* ---- requests ---- */

static void finish(ScsiReq *r)
{
    if (r->prev) {
        *r->prev = r->next;
        if (r->next) {
            r->next->prev = r->prev;
        }
        r->prev = NULL;
    }
    if (r->iov != r->inline_iov) {
        g_free(r->iov);
    }
    g_free(r->buf);
    r->dev->buffered -= r->nbuf;
    r->iov = NULL;
    r->buf = NULL;
    r->nbuf = 0;
    r->residual = r->out->left + r->in->left;
    r->done(r);
}

void scsi_good(ScsiReq *r)
{
    r->status = SCSI_GOOD;
    finish(r);
}

void scsi_fail(ScsiReq *r, ScsiSense why)
{
    r->status = SCSI_CHECK_CONDITION;
    r->sense_len = scsi_put_sense(why, r->sense);
    finish(r);
}

/* What Linux's block devices say of the way to their disk: SCSI_OK for errors that say nothing. */
static ScsiResult path_failure(int error)
{
    switch (-error) {
    case ENOLINK:
        return SCSI_TRANSPORT_FAILURE;
    case EREMOTEIO:
        return SCSI_TARGET_FAILURE;
    case EBADE:
        return SCSI_NEXUS_FAILURE;
    case EBUSY:
    case EAGAIN:
        return SCSI_RETRY;
    default:
        return SCSI_OK;
    }
}

void scsi_fail_errno(ScsiReq *r, int error)
{
    r->result = path_failure(error);
    if (r->result != SCSI_OK) {
        finish(r);
        return;
    }
    switch (-error) {
    case EDOM: /* QEMU compat */
        r->status = SCSI_TASK_SET_FULL;
        finish(r);
        break;
    case ENODATA:
        scsi_fail(r, SCSI_SENSE(SCSI_MEDIUM_ERROR, 0x11, 0)); /* unrecovered read error */
        break;
    case ENOMEDIUM:
        scsi_fail(r, SCSI_SENSE(SCSI_NOT_READY, 0x3a, 0)); /* medium not present */
        break;
    case ENOMEM:
        scsi_fail(r, SCSI_SENSE(SCSI_HARDWARE_ERROR, 0x44, 0)); /* internal target failure */
        break;
    case EINVAL:
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0)); /* invalid field in CDB */
        break;
    case ENOSPC:
        scsi_fail(r, SCSI_SENSE(SCSI_DATA_PROTECT, 0x27, 0x07)); /* space allocation failed */
        break;
    case EACCES:
    case EROFS:
        scsi_fail(r, SCSI_SENSE(SCSI_DATA_PROTECT, 0x27, 0)); /* write protected */
        break;
    default:
        scsi_fail(r, SCSI_SENSE(SCSI_ABORTED_COMMAND, 0x00, 0x06)); /* I/O process terminated */
        break;
    }
}

int scsi_buffer(ScsiReq *r, size_t len)
{
    enum { BUFFERS_MAX = 16 << 20 };

    if (len > BUFFERS_MAX - r->dev->buffered) {
        return -EDOM;
    }
    r->buf = g_try_malloc0(len);
    if (!r->buf) {
        return -ENOMEM;
    }
    r->nbuf = len;
    r->dev->buffered += len;
    return 0;
}

void scsi_reply(ScsiReq *r, const void *data, size_t len, size_t alloc)
{
    bool ok = giov_put(r->in, data, MIN(MIN(len, alloc), r->in->left));

    g_assert(ok);
    scsi_good(r);
}

void scsi_cancel(ScsiReq *r, ScsiResult how)
{
    if (r->busy) {
        r->wanted = how; /* the host is still reading or writing the guest's memory */
        blk_cancel(&r->b);
        return;
    }
    if (r->cleanup) { /* it waits in a line */
        r->cleanup(r);
        r->cleanup = NULL;
    }
    r->result = how;
    r->status = SCSI_GOOD;
    finish(r);
}

/* Eight bytes a unit, the lowest first (SAM-5, 4.7). */
static void report_luns(ScsiReq *r)
{
    const ScsiBus *b = r->dev->bus;
    uint32_t alloc = scsi_be32(r->cdb + 6);
    g_autoptr(GByteArray) list = g_byte_array_new();
    uint8_t entry[8] = { 0 };
    bool zero = false;

    if (alloc < 16 || r->cdb[2] > 2) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
        return;
    }
    g_byte_array_append(list, entry, 8);
    if (r->cdb[2] == 1) { /* well-known units: this one */
        entry[0] = 0xc1;
        entry[1] = 0x01;
        g_byte_array_append(list, entry, 8);
    }
    for (unsigned i = 0; r->cdb[2] != 1 && i < b->devs->len; i++) {
        const ScsiDev *d = g_ptr_array_index(b->devs, i);

        if (d->id == r->dev->id) {
            zero |= !d->lun;
            entry[0] = (uint8_t)(d->lun < 256 ? 0 : 0x40 | d->lun >> 8);
            entry[1] = (uint8_t)d->lun;
            g_byte_array_append(list, entry, 8);
        }
    }
    /* A target without a unit 0 shows one, which says that it is not there (SPC-4, 6.33). */
    if (!zero && r->cdb[2] != 1) {
        memset(entry, 0, sizeof entry);
        g_byte_array_append(list, entry, 8);
        memmove(list->data + 16, list->data + 8, list->len - 16);
        memset(list->data + 8, 0, 8);
    }
    scsi_put32(list->data, list->len - 8);
    scsi_reply(r, list->data, list->len, alloc);
}

/* A unit that is not there, or the well-known one: what its target answers (SPC-4, 6.4.1). */
static void target_command(ScsiReq *r)
{
    bool wlun = r->lun == SCSI_WLUN_REPORT_LUNS;
    uint8_t buf[36] = { 0 };

    switch (r->cdb[0]) {
    case 0xa0:
        report_luns(r);
        return;
    case 0x12:
        if (r->cdb[1] & 1) {
            if (r->cdb[2]) {
                scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
                return;
            }
            buf[0] = wlun ? 0x1e : 0x7f;
            buf[3] = 1;
            scsi_reply(r, buf, 5, scsi_be16(r->cdb + 3));
            return;
        }
        /* 7fh: not possible here; 3fh: possible, nothing there */
        buf[0] = wlun ? 0x1e : r->lun ? 0x7f : 0x3f;
        if (!r->lun || wlun) {
            buf[2] = 5;
            buf[3] = 0x12;
            buf[4] = sizeof buf - 5;
            buf[7] = 0x12;
            memcpy(buf + 8, "QEMU    QEMU TARGET     2.5+", 28);
        }
        scsi_reply(r, buf, sizeof buf, scsi_be16(r->cdb + 3));
        return;
    case 0x03:
        scsi_put_sense(
            SCSI_SENSE(wlun ? SCSI_NO_SENSE : SCSI_ILLEGAL_REQUEST, wlun ? 0 : 0x25, 0), buf);
        scsi_reply(r, buf, SCSI_SENSE_LEN, r->cdb[4]);
        return;
    case 0x00:
        if (wlun) {
            scsi_good(r);
            return;
        }
        break;
    default:
        if (wlun) {
            scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x20, 0));
            return;
        }
        break;
    }
    scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x25, 0)); /* logical unit not supported */
}

/* Length of what a target's own commands move. */
static uint64_t target_xfer(const ScsiReq *r)
{
    switch (r->cdb[0]) {
    case 0xa0:
        return scsi_be32(r->cdb + 6);
    case 0x12:
        return scsi_be16(r->cdb + 3);
    case 0x03:
        return r->cdb[4];
    default:
        return 0;
    }
}

void scsi_submit(ScsiDev *d, ScsiReq *r)
{
    bool mine = r->lun == d->lun, out = false;
    bool own = !mine || r->cdb[0] == 0xa0;
    ScsiSense why = { 0 };
    uint64_t len = own ? target_xfer(r) : 0;

    if (!d->bus->loops) {
        loop_assert(d->bus->loop);
    }
    r->dev = d;
    r->loop = loop_current();
    r->total = r->out->left + r->in->left;
    r->result = r->wanted = SCSI_OK;
    r->status = SCSI_GOOD;
    r->sense_len = 0;
    r->busy = false;
    r->iov = r->inline_iov;
    r->buf = NULL;
    r->nbuf = 0;
    r->cleanup = NULL;
    r->prev = &d->reqs;
    r->next = d->reqs;
    if (r->next) {
        r->next->prev = &r->next;
    }
    d->reqs = r;
    /* What waits to be told comes before all but the commands that ask (SPC-4, 5.14). */
    if (mine && r->cdb[0] != 0x12 && r->cdb[0] != 0xa0 && r->cdb[0] != 0x03 && r->cdb[0] != 0x4a &&
        scsi_take_attention(d, &why)) {
        scsi_fail(r, why);
        return;
    }
    if (!own && !d->ops->xfer(d, r->cdb, &out, &len, &why)) {
        scsi_fail(r, why);
        return;
    }
    if (len > (out ? r->out : r->in)->left) {
        r->result = SCSI_OVERRUN;
        finish(r);
        return;
    }
    if (!mine) {
        target_command(r);
    } else if (own) {
        report_luns(r);
    } else {
        d->ops->run(r);
    }
}

static bool is_busy(const ScsiReq *r)
{
    return r->busy;
}

/* The oldest first: in that order they are done anew. */
static void drop_idle(ScsiDev *d, ScsiPick pick)
{
    g_autoptr(GPtrArray) idle = g_ptr_array_new();

    for (ScsiReq *r = d->reqs; r; r = r->next) {
        if (!r->busy && scsi_is_here(r) && (!pick.fn || pick.fn(r, pick.opaque))) {
            g_ptr_array_add(idle, r);
        }
    }
    d->dropping = true; /* the end of one does not start another */
    for (unsigned i = idle->len; i-- > 0;) {
        scsi_cancel(g_ptr_array_index(idle, i), SCSI_DROPPED);
    }
    d->dropping = false;
}

typedef struct DrainCall {
    ScsiBus *b;
    ScsiPick pick;
} DrainCall;

static void drop_there(void *opaque)
{
    const DrainCall *c = opaque;

    for (unsigned i = 0; i < c->b->devs->len; i++) {
        drop_idle(g_ptr_array_index(c->b->devs, i), c->pick);
    }
}

void scsi_bus_drop(ScsiBus *b, ScsiPick pick)
{
    DrainCall c = { b, pick };

    scsi_each_loop(b, drop_there, &c);
}

static void drain_there(void *opaque)
{
    const DrainCall *c = opaque;

    for (unsigned i = 0; i < c->b->devs->len; i++) {
        wait_for(g_ptr_array_index(c->b->devs, i), is_busy, c->pick);
    }
    scsi_bus_drop(c->b, c->pick);
}

void scsi_bus_drain(ScsiBus *b, ScsiPick pick)
{
    DrainCall c = { b, pick };

    loop_call(b->loop, drain_there, &c);
}

const ObjClass scsi_device_class = {
    .name = "scsi-device",
    .parent = "device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(ScsiDev),
};
