/* qcow2: what must never be written over, and what happens when an image is found broken. Tested by
 * test-qcow2. */
#include "qcow2.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool meets(uint64_t off, uint64_t len, uint64_t at, uint64_t n)
{
    return n && off < at + n && at < off + len;
}

static const char *overlap(const Qcow2 *q, uint64_t off, uint64_t len)
{
    if (meets(off, len, 0, q->cluster)) {
        return "qcow2_header";
    }
    if (meets(off, len, q->l1_off, q->l1_size * 8ull)) {
        return "active L1 table";
    }
    if (meets(off, len, q->rt_off, q->rt_size * 8ull)) {
        return "refcount table";
    }
    if (q->nsnaps && meets(off, len, q->snap_off, q->snap_len)) {
        return "snapshot table";
    }
    for (uint32_t i = 0; i < q->l1_size; i++) {
        uint64_t at = q->l1[i] & Q2_OFFSET;
        if (at && meets(off, len, at, q->cluster)) {
            return "active L2 table";
        }
    }
    for (uint32_t i = 0; i < q->rt_size; i++) {
        if (q->rt[i] && meets(off, len, q->rt[i], q->cluster)) {
            return "refcount block";
        }
    }
    for (uint32_t i = 0; i < q->nsnaps; i++) {
        if (meets(off, len, q->snaps[i].l1_off, q->snaps[i].l1_size * 8ull)) {
            return "inactive L1 table";
        }
    }
    return NULL;
}

int q2_check_overlap(Qcow2 *q, uint64_t off, uint64_t len)
{
    const char *what = q->overlap_off ? NULL : overlap(q, off, len);

    return what ? q2_corrupt(
                      q, off, len, "Preventing invalid write on metadata (overlaps with %s)", what)
                : 0;
}

int q2_header_set(Qcow2 *q, unsigned at, uint64_t v, unsigned bytes)
{
    uint64_t be = GUINT64_TO_BE(v << (64 - 8 * bytes));
    return blk_node_pwrite(q->file, at, &be, bytes);
}

int q2_touch(Qcow2 *q)
{
    if (q->broken) {
        return -EIO;
    }
    if (!q->lazy || q->incompat & Q2_DIRTY) {
        return 0;
    }
    int rc = q2_header_set(q, Q2_AT_INCOMPAT, q->incompat | Q2_DIRTY, 8);

    rc = rc ? rc : blk_node_flush(q->file);
    if (!rc) {
        q->incompat |= Q2_DIRTY;
    }
    return rc;
}

typedef struct Q2Event {
    char *node, *msg;
    uint64_t off, len;
    bool fatal;
} Q2Event;

static void find_device(Blk *b, void *opaque)
{
    const char **device = opaque;
    const BlkNode *n = blk_node(b);

    if (n && !strcmp(n->name, device[0]) && !*device[1]) {
        device[1] = blk_name(b);
    }
}

static void tell(void *opaque)
{
    Q2Event *e = opaque;
    const char *device[2] = { e->node, "" };
    Json *data = json_object();

    blk_each(find_device, device);
    json_set(data, "device", json_str(device[1]));
    json_set(data, "node-name", json_str(e->node));
    json_set(data, "msg", json_str(e->msg));
    if (e->off != UINT64_MAX) {
        json_set(data, "offset", json_int((int64_t)e->off));
        json_set(data, "size", json_int((int64_t)e->len));
    }
    json_set(data, "fatal", json_bool(e->fatal));
    qmp_event("BLOCK_IMAGE_CORRUPTED", data);
    g_free(e->node);
    g_free(e->msg);
    g_free(e);
}

int q2_corrupt(Qcow2 *q, uint64_t off, uint64_t len, const char *fmt, ...)
{
    va_list ap;

    if (q->told) {
        return -EIO;
    }
    va_start(ap, fmt);
    g_autofree char *msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    bool fatal = !q->n->read_only;
    Q2Event *e = g_new(Q2Event, 1);

    q->told = true;
    report_error("qcow2: %s: %s; further %scorruption events will be suppressed",
        fatal ? "Marking image as corrupt" : "Image is corrupt", msg, fatal ? "" : "non-fatal ");
    if (fatal) {
        q->broken = true;
        q->incompat |= Q2_CORRUPT;
        if (q->version >= 3 && !q2_header_set(q, Q2_AT_INCOMPAT, q->incompat, 8)) {
            blk_node_flush(q->file);
        }
    }
    *e = (Q2Event){ g_strdup(q->n->name), g_steal_pointer(&msg), off, len, fatal };
    loop_post(loop_main(), tell, e);
    return -EIO;
}
