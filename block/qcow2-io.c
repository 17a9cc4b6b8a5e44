/* qcow2: reads and writes, copy on write, compressed clusters. Tested by test-qcow2. */
#include "qcow2.h"
#include "util/giov.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zlib.h>

/* A request on its way through the image. */
typedef struct Q2Io {
    BlkNode *n;
    Qcow2 *q;
    GIov data;
    struct iovec *v; /* room for the request's entries and two more */
    unsigned nv;
    uint64_t off, len; /* what is left */
} Q2Io;

/* A whole compressed cluster into buf. 0 or -errno. */
static int unpack(Qcow2 *q, uint64_t entry, uint8_t *buf)
{
    uint64_t off, len;
    z_stream z = { 0 };

    q2_packed_at(q, entry, &off, &len);
    g_autofree uint8_t *in = g_try_malloc(len);

    if (!in) {
        return -ENOMEM;
    }
    int rc = blk_node_pread(q->file, off, in, len);

    if (rc) {
        return rc;
    }
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) { /* deflate without a head */
        return -ENOMEM;
    }
    z.next_in = in;
    z.avail_in = (unsigned)len;
    z.next_out = buf;
    z.avail_out = (unsigned)q->cluster;
    int got = inflate(&z, Z_FINISH);

    /* It may end before the data's last sector does. */
    rc = z.avail_out == 0 && (got == Z_STREAM_END || got == Z_BUF_ERROR || got == Z_OK) ? 0 : -EIO;
    inflateEnd(&z);
    return rc;
}

/* len bytes of what guest offset off read as, to iov; m is of the cluster range that begins at
 * guest cluster first. */
static int read_old(BlkNode *n, const Q2Map *m, uint64_t first, uint64_t off,
    const struct iovec *iov, unsigned niov, uint64_t len)
{
    Qcow2 *q = n->state;
    GIov to;

    giov_init(&to, iov, niov);
    switch (m->kind) {
    case Q2_DATA:
        return blk_node_preadv(
            q->file, m->host + (off - (first << q->cluster_bits)), iov, niov, len);
    case Q2_NONE:
        if (n->backing) {
            return blk_node_preadv(n->backing, off, iov, niov, len);
        }
        return giov_fill(&to, 0, len) ? 0 : -EINVAL;
    case Q2_ZEROES:
        return giov_fill(&to, 0, len) ? 0 : -EINVAL;
    case Q2_PACKED: {
        g_autofree uint8_t *buf = g_try_malloc(q->cluster);
        int rc = buf ? unpack(q, m->entry, buf) : -ENOMEM;

        if (!rc && !giov_put(&to, buf + (off & (q->cluster - 1)), len)) {
            rc = -EINVAL;
        }
        return rc;
    }
    }
    return -EINVAL;
}

static uint64_t cluster_of(const Q2Io *io, uint64_t off)
{
    return off >> io->q->cluster_bits;
}

/* Takes the first some bytes off the request: as entries of io->v from at on. */
static unsigned take(Q2Io *io, uint64_t some, unsigned at)
{
    GIov rest;
    bool ok = giov_split(&io->data, some, &rest);

    g_assert(ok);
    unsigned n = giov_iovec(&io->data, io->v + at, io->nv);

    io->data = rest;
    io->off += some;
    io->len -= some;
    return n;
}

/* From the next byte to the end of the request or of m. */
static uint64_t piece(const Q2Io *io, uint64_t nclusters)
{
    uint64_t in = io->off & (io->q->cluster - 1);
    return MIN(io->len, (nclusters << io->q->cluster_bits) - in);
}

static uint64_t wanted(const Q2Io *io)
{
    uint64_t first = cluster_of(io, io->off), n = cluster_of(io, io->off + io->len - 1) - first + 1;
    return MIN(n, q2_slice_left(io->q, first));
}

static int read_piece(Q2Io *io)
{
    Qcow2 *q = io->q;
    uint64_t first = cluster_of(io, io->off), off = io->off;
    Q2Range r;
    Q2Map m;

    g_mutex_lock(&q->lock);
    q2_range_begin(q, &r, first, first + wanted(io) - 1, /* exclusive= */ false);
    int rc = q2_reserve(q);
    rc = rc ? rc : q2_map(q, first, wanted(io), &m);
    if (!rc) {
        q2_range_cut(q, &r, first + m.n - 1);
    }
    g_mutex_unlock(&q->lock);
    if (!rc) {
        uint64_t some = piece(io, m.n);
        unsigned nv = take(io, some, 0);
        rc = read_old(io->n, &m, first, off, io->v, nv, some);
    }
    g_mutex_lock(&q->lock);
    q2_range_end(q, &r);
    g_mutex_unlock(&q->lock);
    return rc;
}

/* The request's bytes, with what lies before and behind them in their clusters. */
typedef struct Edges {
    uint8_t *head, *tail;
    uint64_t nhead, ntail;
    bool skip; /* they are zero, and so is the new place */
} Edges;

static int edges_read(
    Q2Io *io, const Q2Map *m, uint64_t first, uint64_t some, bool fresh, Edges *ret)
{
    Qcow2 *q = io->q;
    uint64_t end = io->off + some;
    bool zero = m->kind == Q2_ZEROES || (m->kind == Q2_NONE && !io->n->backing);
    int rc = 0;

    *ret = (Edges){ .nhead = io->off & (q->cluster - 1), .ntail = -end & (q->cluster - 1) };
    ret->skip = (zero && fresh) || !(ret->nhead || ret->ntail);
    if (ret->skip) {
        return 0;
    }
    ret->head = g_try_malloc(MAX(ret->nhead, 1));
    ret->tail = g_try_malloc(MAX(ret->ntail, 1));
    if (!ret->head || !ret->tail) {
        rc = -ENOMEM;
    }
    struct iovec h = { ret->head, ret->nhead }, t = { ret->tail, ret->ntail };

    if (!rc && ret->nhead) {
        rc = read_old(io->n, m, first, io->off - ret->nhead, &h, 1, ret->nhead);
    }
    if (!rc && ret->ntail) {
        rc = read_old(io->n, m, first, end, &t, 1, ret->ntail);
    }
    return rc;
}

static void edges_free(Edges *e)
{
    g_free(e->head);
    g_free(e->tail);
}

/* some bytes to a new place, whole clusters of it. */
static int write_new(Q2Io *io, const Q2Map *m, uint64_t host, uint64_t some, bool fresh)
{
    Qcow2 *q = io->q;
    uint64_t first = cluster_of(io, io->off), in = io->off & (q->cluster - 1);
    Edges e;
    int rc = edges_read(io, m, first, some, fresh, &e);

    if (rc) {
        edges_free(&e);
        return rc;
    }
    if (e.skip) {
        unsigned nv = take(io, some, 0);
        rc = blk_node_pwritev(q->file, host + in, io->v, nv, some, 0);
    } else {
        unsigned nv = take(io, some, 1);
        io->v[0] = (struct iovec){ e.head, e.nhead };
        io->v[nv + 1] = (struct iovec){ e.tail, e.ntail };
        bool h = e.nhead, t = e.ntail;
        rc = blk_node_pwritev(q->file, host, io->v + !h, nv + h + t, e.nhead + some + e.ntail, 0);
    }
    edges_free(&e);
    return rc;
}

/* The new place becomes the clusters' own. Lock held. */
static int link_new(Qcow2 *q, uint64_t first, uint64_t n, uint64_t host)
{
    uint64_t done = 0;
    int rc = 0;

    while (done < n && !rc) {
        Q2Map old;

        rc = q2_reserve(q);
        rc = rc ? rc : q2_map(q, first + done, 1, &old);
        rc =
            rc ? rc : q2_entry_set(q, first + done, (host + (done << q->cluster_bits)) | Q2_COPIED);
        if (!rc && old.host != host + (done << q->cluster_bits)) {
            q2_release_entry(q, old.entry, /* request= */ false);
        }
        done += !rc;
    }
    if (rc) {
        q2_unref_now(q, host + (done << q->cluster_bits), (n - done) << q->cluster_bits, false);
    }
    return rc;
}

/* Clusters that cannot be written where they lie. The lock is held, and is so again at the end. */
static int write_moved(Q2Io *io, Q2Range *r, Q2Map *m)
{
    Qcow2 *q = io->q;
    uint64_t first = r->first, n = MIN(m->n, MAX(1, (4u << 20) >> q->cluster_bits));
    uint64_t host = m->host;
    bool fresh = false, kept = m->kind == Q2_ZEROES && m->host && m->entry & Q2_COPIED &&
                               q->l1[first >> q->l2_bits] & Q2_COPIED;
    int rc;

    if (kept) { /* zeroes with a place already */
        n = 1;
        rc = q2_check_overlap(q, host, q->cluster);
        rc = rc ? rc : q2_grow_file(q, host + q->cluster);
    } else {
        rc = q2_alloc(q, n, &host, &n, &fresh);
    }
    if (rc) {
        return rc;
    }
    q2_range_cut(q, r, first + n - 1);
    g_mutex_unlock(&q->lock);
    uint64_t some = piece(io, n);

    rc = write_new(io, m, host, some, fresh);
    g_mutex_lock(&q->lock);
    q->barrier = true; /* or the entry may show what somebody else had written there */
    if (!rc) {
        return link_new(q, first, n, host);
    }
    if (!kept && !q->broken) {
        q2_unref_now(q, host, n << q->cluster_bits, false);
    }
    return rc;
}

static int write_in_place(Q2Io *io, const Q2Range *r, const Q2Map *m)
{
    Qcow2 *q = io->q;
    uint64_t some = piece(io, m->n), at = m->host + (io->off - (r->first << q->cluster_bits));
    int rc = q2_check_overlap(q, at, some);

    if (!rc && at + some > q->file->size) {
        rc = q2_grow_file(q, at + some);
    }
    if (rc) {
        return rc;
    }
    g_mutex_unlock(&q->lock);
    unsigned nv = take(io, some, 0);
    rc = blk_node_pwritev(q->file, at, io->v, nv, some, 0);
    g_mutex_lock(&q->lock);
    return rc;
}

static int write_piece(Q2Io *io)
{
    Qcow2 *q = io->q;
    uint64_t first = cluster_of(io, io->off), n = wanted(io);
    Q2Range r;
    Q2Map m;

    g_mutex_lock(&q->lock);
    q2_range_begin(q, &r, first, first + n - 1, /* exclusive= */ false);
    int rc = q2_reserve(q);
    rc = rc ? rc : q2_map(q, first, n, &m);
    if (!rc) {
        q2_range_cut(q, &r, first + m.n - 1);
    }
    if (!rc && !m.in_place) {
        q2_range_alone(q, &r);
        rc = q2_reserve(q);
        rc = rc ? rc : q2_map(q, first, r.last - first + 1, &m);
        if (!rc) {
            q2_range_cut(q, &r, first + m.n - 1);
        }
    }
    if (!rc) {
        rc = m.in_place ? write_in_place(io, &r, &m) : write_moved(io, &r, &m);
    }
    q2_range_end(q, &r);
    g_mutex_unlock(&q->lock);
    return rc;
}

static int transfer(
    BlkNode *n, bool write, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    g_autofree struct iovec *v = g_new(struct iovec, niov + 2);
    Q2Io io = { .n = n, .q = n->state, .v = v, .nv = niov, .off = off, .len = len };
    int rc = 0;

    giov_init(&io.data, iov, niov);
    if (io.data.left < len) {
        return -EINVAL;
    }
    while (io.len && !rc) {
        rc = write ? write_piece(&io) : read_piece(&io);
    }
    return rc;
}

int q2_preadv(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    return transfer(n, false, off, iov, niov, len);
}

int q2_pwritev(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len,
    G_GNUC_UNUSED unsigned flags)
{
    return transfer(n, true, off, iov, niov, len);
}
