/* What an error of the host's does (werror, rerror): the guest is told of it, or not, or the VM
 * stops and the device keeps the request; BLOCK_IO_ERROR tells whoever manages the VM. Tested by
 * tests/system/test_block.py. */
#include "block-internal.h"
#include "util/timer.h"

#include <errno.h>
#include <string.h>

/* Who stops the VM: set once by the top. */
static struct {
    LoopFn *fn;
    void *opaque;
} stopper;

void blk_set_stopper(LoopFn *fn, void *opaque)
{
    stopper.fn = fn;
    stopper.opaque = opaque;
}

void blk_set_on_error(Blk *b, BlkOnError werror, BlkOnError rerror)
{
    b->dev_werror = (int)werror;
    b->dev_rerror = (int)rerror;
}

/* QEMU compat: a drive whose errors can stop the VM has a state for them. */
bool blk_has_status(const Blk *b)
{
    return b->dev_werror == BLK_ON_ERROR_STOP || b->dev_werror == BLK_ON_ERROR_ENOSPC ||
           b->dev_rerror == BLK_ON_ERROR_STOP;
}

static BlkOnError action_of(const Blk *b, bool read, int error)
{
    BlkOnError policy = (BlkOnError)(read ? b->dev_rerror : b->dev_werror);

    if (policy == BLK_ON_ERROR_ENOSPC) {
        return error == -ENOSPC ? BLK_ON_ERROR_STOP : BLK_ON_ERROR_REPORT;
    }
    return policy == BLK_ON_ERROR_AUTO ? BLK_ON_ERROR_REPORT : policy;
}

static void emit(const Blk *b, const BlkErrorNote *note)
{
    static const char *const actions[] = { [BLK_ON_ERROR_REPORT] = "report",
        [BLK_ON_ERROR_IGNORE] = "ignore",
        [BLK_ON_ERROR_STOP] = "stop" };
    g_autofree char *path = b->dev ? obj_path(b->dev) : g_strdup("");
    Json *data = json_object();

    json_set(data, "device", json_str(blk_name(b)));
    if (blk_has_status(b)) {
        json_set(data, "nospace", json_bool(note->error == -ENOSPC));
    }
    if (b->node) {
        json_set(data, "node-name", json_str(b->node->name));
    }
    json_set(data, "qom-path", json_str(path));
    json_set(data, "reason", json_str(strerror(-note->error)));
    json_set(data, "operation", json_str(note->read ? "read" : "write"));
    json_set(data, "action", json_str(actions[note->action]));
    qmp_event("BLOCK_IO_ERROR", data);
}

/* A guest makes errors as fast as it likes; monitors hear of one a second, the last of them. */
static void error_timer(void *opaque)
{
    Blk *b = opaque;

    if (b->err.late) {
        b->err.late = false;
        b->err.told_ns = clock_ns(CLOCK_KIND_REALTIME);
        emit(b, &b->err.shown);
    }
}

static void tell(Blk *b, const BlkErrorNote *note)
{
    enum { PERIOD = 1000000000 };
    int64_t now = clock_ns(CLOCK_KIND_REALTIME);

    /* What stops the VM comes before STOP, and comes once. */
    if (note->action == BLK_ON_ERROR_STOP || !b->err.told_ns || now - b->err.told_ns >= PERIOD) {
        b->err.late = false;
        b->err.told_ns = now;
        emit(b, note);
        return;
    }
    b->err.shown = *note;
    b->err.late = true;
    timer_mod(&b->err.timer, b->err.told_ns + PERIOD);
}

/* In main: of what happened since, the worst. */
static void error_main(void *opaque)
{
    Blk *b = opaque;

    g_mutex_lock(&b->err.lock);
    BlkErrorNote note = b->err.note;
    bool gone = b->err.gone;

    b->err.posted = false;
    g_mutex_unlock(&b->err.lock);
    if (gone) {
        g_mutex_clear(&b->err.lock);
        g_free(b);
        return;
    }
    if (note.action == BLK_ON_ERROR_STOP && b->io_status == BLK_IO_OK) {
        b->io_status = note.error == -ENOSPC ? BLK_IO_NOSPACE : BLK_IO_FAILED;
    }
    tell(b, &note);
    if (note.action == BLK_ON_ERROR_STOP && stopper.fn) {
        stopper.fn(stopper.opaque);
    }
}

BlkOnError blk_error_action(const BlkReq *r)
{
    Blk *b = r->blk;
    bool read = r->op == BLK_READ;
    BlkErrorNote note = { .error = r->error, .action = action_of(b, read, r->error), .read = read };

    /* Nothing went wrong with these but the request itself. */
    if (r->error == -ECANCELED || r->error == -ENOTSUP || r->error == -ENOMEDIUM) {
        return BLK_ON_ERROR_REPORT;
    }
    g_mutex_lock(&b->err.lock);
    if (!b->err.posted || b->err.note.action != BLK_ON_ERROR_STOP) {
        b->err.note = note;
    }
    if (!b->err.posted) {
        b->err.posted = true;
        loop_post(loop_main(), error_main, b);
    }
    g_mutex_unlock(&b->err.lock);
    return note.action;
}

static void status_ok(Blk *b, G_GNUC_UNUSED void *opaque)
{
    b->io_status = BLK_IO_OK;
}

void blk_forget_errors(void)
{
    blk_each(status_ok, NULL);
}

void blk_error_init(Blk *b)
{
    g_mutex_init(&b->err.lock);
    timer_init(&b->err.timer, loop_main(), CLOCK_KIND_REALTIME, error_timer, b);
}

void blk_error_fini(Blk *b)
{
    timer_del(&b->err.timer);
    g_mutex_lock(&b->err.lock);
    b->err.gone = true;
    bool posted = b->err.posted;

    g_mutex_unlock(&b->err.lock);
    if (!posted) { /* otherwise the call that is on its way frees it */
        g_mutex_clear(&b->err.lock);
        g_free(b);
    }
}
