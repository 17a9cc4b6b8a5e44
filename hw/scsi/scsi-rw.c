/* Commands that move blocks: READ, WRITE, VERIFY, WRITE SAME, UNMAP, COMPARE AND WRITE (SBC-3, 5).
 * Tested by test_scsi.py. */
#include "scsi-disk.h"

#include <errno.h>
#include <string.h>

enum { PIECE = 512 << 10, UNMAP_MAX = 255 };

enum {
    READ6 = 0x08,
    WRITE6 = 0x0a,
    READ10 = 0x28,
    WRITE10 = 0x2a,
    WRITE_VERIFY10 = 0x2e,
    VERIFY10 = 0x2f,
    SYNC10 = 0x35,
    WRITE_SAME10 = 0x41,
    UNMAP = 0x42,
    READ16 = 0x88,
    COMPARE_WRITE = 0x89,
    WRITE16 = 0x8a,
    WRITE_VERIFY16 = 0x8e,
    VERIFY16 = 0x8f,
    SYNC16 = 0x91,
    WRITE_SAME16 = 0x93,
    READ12 = 0xa8,
    WRITE12 = 0xaa,
    WRITE_VERIFY12 = 0xae,
    VERIFY12 = 0xaf
};
enum { SAME_NDOB = 1, SAME_LBDATA = 2, SAME_PBDATA = 4, SAME_UNMAP = 8, SAME_ANCHOR = 16 };

uint64_t disk_blocks(const ScsiDisk *s)
{
    return disk_has_medium(s) ? blk_size(s->blk) / disk_block(s) : 0;
}

bool disk_has_medium(const ScsiDisk *s)
{
    return !s->tray_open && blk_inserted(s->blk);
}

bool disk_need_medium(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);

    if (disk_has_medium(s)) {
        return true;
    }
    scsi_fail(r, SCSI_SENSE(SCSI_NOT_READY, 0x3a, s->cd && s->tray_open ? 2 : s->cd ? 1 : 0));
    return false;
}

/* Block address and count by the group of the operation code (SPC-4, 4.3). */
static uint64_t cdb_lba(const uint8_t *c)
{
    switch (c[0] >> 5) {
    case 0:
        return scsi_be32(c) & 0x1fffff;
    case 4:
        return scsi_be64(c + 2);
    default:
        return scsi_be32(c + 2);
    }
}

static uint64_t cdb_count(const uint8_t *c)
{
    switch (c[0] >> 5) {
    case 0:
        return c[4] ? c[4] : 256;
    case 4:
        return c[0] == COMPARE_WRITE ? c[13] : scsi_be32(c + 10);
    case 5:
        return scsi_be32(c + 6);
    default:
        return scsi_be16(c + 7);
    }
}

bool disk_rw_xfer(const ScsiDisk *s, const uint8_t *c, bool *ret_out, uint64_t *ret_len)
{
    uint64_t bytes = cdb_count(c) * disk_block(s);

    *ret_out = true;
    switch (c[0]) {
    case READ6:
    case READ10:
    case READ12:
    case READ16:
        *ret_out = false;
        *ret_len = bytes;
        return true;
    case WRITE6:
    case WRITE10:
    case WRITE12:
    case WRITE16:
    case WRITE_VERIFY10:
    case WRITE_VERIFY12:
    case WRITE_VERIFY16:
        *ret_len = bytes;
        return true;
    case VERIFY10:
    case VERIFY12:
    case VERIFY16: /* BYTCHK: 1: all the data, 3: one block for all */
        *ret_len = (c[1] >> 1 & 3) == 1 ? bytes : (c[1] >> 1 & 3) == 3 ? disk_block(s) : 0;
        return true;
    case SYNC10:
    case SYNC16:
        *ret_len = 0;
        return true;
    case WRITE_SAME10:
    case WRITE_SAME16:
        *ret_len = c[0] == WRITE_SAME16 && c[1] & SAME_NDOB ? 0 : disk_block(s);
        return !s->cd;
    case UNMAP:
        *ret_len = scsi_be16(c + 7);
        return !s->cd;
    case COMPARE_WRITE:
        *ret_len = 2 * bytes;
        return !s->cd;
    default:
        return false;
    }
}

/* ---- one step ---- */

static void io_end(ScsiReq *r)
{
    const BlkReq *b = &r->b;

    r->busy = false;
    if (r->wanted != SCSI_OK) {
        scsi_cancel(r, r->wanted); /* the command ends here, whatever it had still to do */
        return;
    }
    BlkOnError action = b->error ? blk_error_action(b) : BLK_ON_ERROR_IGNORE;

    if (action != BLK_ON_ERROR_STOP) {
        r->step(r, action == BLK_ON_ERROR_IGNORE ? 0 : b->error);
    } else if (!r->dev->bus->keeps) {
        scsi_cancel(r, SCSI_DROPPED);
    } /* else it stays until the VM has stopped */
}

static void io_done(BlkReq *b)
{
    ScsiReq *r = (ScsiReq *)((char *)b - offsetof(ScsiReq, b));
    ScsiBus *bus = r->dev->bus; /* r may be gone then */

    scsi_lock(bus);
    io_end(r);
    scsi_unlock(bus);
}

void disk_block_io(ScsiReq *r, BlkOp op, uint64_t off, const struct iovec *iov, unsigned niov,
    uint64_t len, unsigned flags, void (*step)(ScsiReq *r, int error))
{
    r->busy = true;
    r->step = step;
    r->b = (BlkReq){ .op = op,
        .flags = flags,
        .off = off,
        .len = len,
        .iov = iov,
        .niov = niov,
        .done = io_done,
        .lane = r->lane };
    blk_submit(disk_of(r)->blk, &r->b);
}

/* The next len bytes of g as iovecs in r->iov; 0: no memory. */
static unsigned map(ScsiReq *r, const GIov *g, uint64_t len)
{
    GIov part = *g, rest;
    bool ok = giov_split(&part, len, &rest);

    g_assert(ok); /* scsi_submit() compared the lengths */
    unsigned n = giov_pieces(&part);
    if (n > G_N_ELEMENTS(r->inline_iov)) {
        r->iov = g_try_new(struct iovec, n);
        if (!r->iov) {
            r->iov = r->inline_iov;
            return 0;
        }
    }
    return giov_iovec(&part, r->iov, n);
}

/* ---- writes and those who want none beside them ---- */

static void claim_write(ScsiReq *r);
static void go_write(ScsiReq *r);

/* Its turn came in another loop. */
static void go_there(void *opaque)
{
    ScsiReq *r = opaque;
    ScsiBus *b = r->dev->bus;

    scsi_lock(b);
    r->busy = false;
    if (r->wanted != SCSI_OK) {
        scsi_cancel(r, r->wanted);
    } else {
        go_write(r);
    }
    scsi_unlock(b);
}

static void next_waiting(ScsiDisk *s)
{
    while (s->waiting.length && !s->exclusive && !s->sd.dropping) {
        ScsiReq *r = g_queue_peek_head(&s->waiting);

        if (r->cdb[0] == COMPARE_WRITE && s->writes) {
            return;
        }
        g_queue_pop_head(&s->waiting);
        claim_write(r);
        if (scsi_is_here(r)) {
            go_write(r);
        } else { /* whoever cancels it meanwhile has to wait */
            r->busy = true;
            r->b.waits = false;
            loop_post(r->loop, go_there, r);
        }
    }
}

static void leave_queue(ScsiReq *r)
{
    g_queue_remove(&disk_of(r)->waiting, r);
}

/* A write is over; those that wait may go. */
static void write_over(ScsiReq *r)
{
    ScsiDisk *s = disk_of(r);

    r->cleanup = NULL;
    if (r->cdb[0] == COMPARE_WRITE) {
        s->exclusive = false;
    } else {
        s->writes--;
    }
    next_waiting(s);
}

static void end_write(ScsiReq *r, int error)
{
    write_over(r);
    if (error) {
        scsi_fail_errno(r, error);
    } else {
        scsi_good(r);
    }
}

static void write_done(ScsiReq *r, int error)
{
    if (!error) {
        bool ok = giov_skip(r->out, r->b.len);
        g_assert(ok);
    }
    end_write(r, error);
}

static void write_plain(ScsiReq *r, uint64_t off, uint64_t len)
{
    /* WRITE AND VERIFY: on the medium before it ends. */
    bool fua =
        r->cdb[0] >> 5 && r->cdb[0] != WRITE6 && (r->cdb[1] & 8 || (r->cdb[0] & 0x1f) == 0x0e);
    unsigned n = map(r, r->out, len);

    if (!n) {
        end_write(r, -ENOMEM);
        return;
    }
    disk_block_io(r, BLK_WRITE, off, r->iov, n, len, fua ? BLK_FUA : 0, write_done);
}

/* ---- WRITE SAME ---- */

static void same_step(ScsiReq *r, int error)
{
    uint64_t done = r->b.len;

    if (!error) {
        r->at += done;
        r->left -= done;
    }
    if (error || !r->left) {
        if (!error) {
            bool ok = giov_skip(r->out, MIN(r->out->left, disk_block(disk_of(r))));
            g_assert(ok);
        }
        end_write(r, error);
        return;
    }
    r->inline_iov[0] = (struct iovec){ r->buf, MIN(r->left, (uint64_t)PIECE) };
    disk_block_io(r, BLK_WRITE, r->at, r->inline_iov, 1, r->inline_iov[0].iov_len, 0, same_step);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    return !p[0] && !memcmp(p, p + 1, n - 1);
}

static void write_same(ScsiReq *r, uint64_t off, uint64_t len)
{
    const ScsiDisk *s = disk_of(r);
    size_t bs = disk_block(s);
    bool ndob = r->cdb[0] == WRITE_SAME16 && r->cdb[1] & SAME_NDOB;
    GIov data = *r->out;

    int rc = scsi_buffer(r, PIECE);

    if (rc || (!ndob && !giov_get(&data, r->buf, bs))) {
        end_write(r, rc ? rc : -EINVAL);
        return;
    }
    r->at = off;
    r->left = len;
    if (is_zero(r->buf, bs)) {
        r->at = off;
        r->b.len = 0;
        disk_block_io(r, BLK_WRITE_ZEROES, off, NULL, 0, len,
            r->cdb[1] & SAME_UNMAP ? BLK_MAY_UNMAP : 0, same_step);
        return;
    }
    for (size_t at = bs; at < PIECE; at += bs) {
        memcpy(r->buf + at, r->buf, bs);
    }
    r->b.len = 0;
    same_step(r, 0);
}

/* ---- COMPARE AND WRITE ---- */

static void compare_read(ScsiReq *r, int error)
{
    uint64_t len = r->b.len;
    g_autofree uint8_t *want = error ? NULL : g_try_malloc(len);

    if (error || !want || !giov_get(r->out, want, len)) {
        end_write(r, error ? error : -ENOMEM);
        return;
    }
    if (memcmp(want, r->buf, len)) {
        write_over(r);
        scsi_fail(r, SCSI_SENSE(SCSI_MISCOMPARE, 0x1d, 0));
        return;
    }
    unsigned n = map(r, r->out, len);

    if (!n) {
        end_write(r, -ENOMEM);
        return;
    }
    disk_block_io(r, BLK_WRITE, r->b.off, r->iov, n, len, r->cdb[1] & 8 ? BLK_FUA : 0, write_done);
}

static void compare_and_write(ScsiReq *r, uint64_t off, uint64_t len)
{
    int rc = scsi_buffer(r, len);

    if (rc) {
        end_write(r, rc);
        return;
    }
    r->inline_iov[0] = (struct iovec){ r->buf, len };
    disk_block_io(r, BLK_READ, off, r->inline_iov, 1, len, 0, compare_read);
}

/* From now on write_over() has to follow. */
static void claim_write(ScsiReq *r)
{
    ScsiDisk *s = disk_of(r);

    r->cleanup = write_over;
    if (r->cdb[0] == COMPARE_WRITE) {
        s->exclusive = true;
    } else {
        s->writes++;
    }
}

static void go_write(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    uint64_t off = cdb_lba(r->cdb) * disk_block(s), len = cdb_count(r->cdb) * disk_block(s);

    if (r->cdb[0] == COMPARE_WRITE) {
        compare_and_write(r, off, len);
    } else if (r->cdb[0] == WRITE_SAME10 || r->cdb[0] == WRITE_SAME16) {
        write_same(r, off, len);
    } else {
        write_plain(r, off, len);
    }
}

static void queue_write(ScsiReq *r)
{
    ScsiDisk *s = disk_of(r);

    if (s->exclusive || s->waiting.length || (r->cdb[0] == COMPARE_WRITE && s->writes)) {
        r->cleanup = leave_queue;
        g_queue_push_tail(&s->waiting, r);
        return;
    }
    claim_write(r);
    go_write(r);
}

/* ---- reads, VERIFY, UNMAP, SYNCHRONIZE CACHE ---- */

static void read_done(ScsiReq *r, int error)
{
    if (error) {
        scsi_fail_errno(r, error);
        return;
    }
    bool ok = giov_skip(r->in, r->b.len);

    g_assert(ok);
    scsi_good(r);
}

void disk_read(ScsiReq *r, uint64_t off, uint64_t len)
{
    unsigned n = map(r, r->in, len);

    if (n) {
        disk_block_io(r, BLK_READ, off, r->iov, n, len, 0, read_done);
    } else {
        scsi_fail_errno(r, -ENOMEM);
    }
}

static void plain_done(ScsiReq *r, int error)
{
    if (error) {
        scsi_fail_errno(r, error);
    } else {
        scsi_good(r);
    }
}

static void verify_step(ScsiReq *r, int error)
{
    size_t bs = disk_block(disk_of(r)), len = r->b.len;
    bool one = (r->cdb[1] >> 1 & 3) == 3; /* the same block again and again */
    uint8_t *want = r->buf + PIECE;

    if (error) {
        scsi_fail_errno(r, error);
        return;
    }
    for (size_t at = 0; at < len; at += bs) {
        if ((!one && !giov_get(r->out, want, bs)) || memcmp(r->buf + at, want, bs)) {
            scsi_fail(r, SCSI_SENSE(SCSI_MISCOMPARE, 0x1d, 0));
            return;
        }
    }
    r->at += len;
    r->left -= len;
    if (!r->left) {
        scsi_good(r);
        return;
    }
    r->inline_iov[0] = (struct iovec){ r->buf, MIN(r->left, (uint64_t)PIECE) };
    disk_block_io(r, BLK_READ, r->at, r->inline_iov, 1, r->inline_iov[0].iov_len, 0, verify_step);
}

static void verify(ScsiReq *r, uint64_t off, uint64_t len)
{
    unsigned check = r->cdb[1] >> 1 & 3;
    size_t bs = disk_block(disk_of(r));

    if (check == 2) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
        return;
    }
    if (!check || !len) {
        scsi_good(r); /* nothing that could be told from a read */
        return;
    }
    int rc = scsi_buffer(r, PIECE + bs);

    if (rc || (check == 3 && !giov_get(r->out, r->buf + PIECE, bs))) {
        scsi_fail_errno(r, rc ? rc : -EINVAL);
        return;
    }
    r->at = off;
    r->left = len;
    r->inline_iov[0] = (struct iovec){ r->buf, MIN(len, (uint64_t)PIECE) };
    disk_block_io(r, BLK_READ, off, r->inline_iov, 1, r->inline_iov[0].iov_len, 0, verify_step);
}

/* One descriptor after the other; r->at is the next one's place in the list, r->left its end. */
static void unmap_step(ScsiReq *r, int error)
{
    const ScsiDisk *s = disk_of(r);

    if (error) {
        scsi_fail_errno(r, error);
        return;
    }
    while (r->at + 16 <= r->left) {
        uint64_t lba = scsi_be64(r->buf + r->at), n = scsi_be32(r->buf + r->at + 8);

        r->at += 16;
        if (n) {
            disk_block_io(
                r, BLK_DISCARD, lba * disk_block(s), NULL, 0, n * disk_block(s), 0, unmap_step);
            return;
        }
    }
    scsi_good(r);
}

static bool in_range(const ScsiDisk *s, uint64_t lba, uint64_t n)
{
    uint64_t have = disk_blocks(s);

    return lba <= have && n <= have - lba;
}

static void unmap(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    unsigned len = scsi_be16(r->cdb + 7);

    if (r->cdb[1] & 1) { /* ANCHOR */
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
        return;
    }
    if (len < 8) {
        if (len) {
            scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x1a, 0)); /* parameter list length */
        } else {
            scsi_good(r);
        }
        return;
    }
    int rc = scsi_buffer(r, len);

    if (rc || !giov_get(r->out, r->buf, len)) {
        scsi_fail_errno(r, rc ? rc : -EINVAL);
        return;
    }
    unsigned data = scsi_be16(r->buf), list = scsi_be16(r->buf + 2);

    if (len < data + 2 || len < list + 8 || list % 16 || list / 16 > UNMAP_MAX) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x26, 0)); /* field in parameter list */
        return;
    }
    if (blk_read_only(s->blk)) {
        scsi_fail(r, SCSI_SENSE(SCSI_DATA_PROTECT, 0x27, 0));
        return;
    }
    for (unsigned at = 8; at < list + 8; at += 16) {
        if (!in_range(s, scsi_be64(r->buf + at), scsi_be32(r->buf + at + 8))) {
            scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x21, 0)); /* block address range */
            return;
        }
    }
    r->at = 8;
    r->left = list + 8;
    unmap_step(r, 0);
}

static bool is_write(uint8_t op)
{
    switch (op) {
    case WRITE6:
    case WRITE10:
    case WRITE12:
    case WRITE16:
    case WRITE_VERIFY10:
    case WRITE_VERIFY12:
    case WRITE_VERIFY16:
    case WRITE_SAME10:
    case WRITE_SAME16:
    case COMPARE_WRITE:
        return true;
    default:
        return false;
    }
}

/* What is wrong with the fields of a CDB of blocks. */
static bool cdb_bad(const ScsiReq *r, uint64_t count, ScsiSense *why)
{
    const ScsiDisk *s = disk_of(r);
    uint8_t op = r->cdb[0];
    bool same = op == WRITE_SAME10 || op == WRITE_SAME16;

    /* Protection information is not offered (SBC-3, 5.8): RDPROTECT, WRPROTECT, VRPROTECT. */
    if ((op >> 5 && r->cdb[1] >> 5) ||
        (same && (!count || r->cdb[1] & (SAME_ANCHOR | SAME_LBDATA | SAME_PBDATA)))) {
        *why = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0);
        return true;
    }
    if (is_write(op) && blk_read_only(s->blk)) {
        *why = SCSI_SENSE(SCSI_DATA_PROTECT, 0x27, 0);
        return true;
    }
    if (!in_range(s, cdb_lba(r->cdb), count)) {
        *why = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x21, 0);
        return true;
    }
    return false;
}

bool disk_rw_run(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    uint64_t count = cdb_count(r->cdb), len = count * disk_block(s);
    ScsiSense why;
    uint64_t dummy;
    bool out;

    if (!disk_rw_xfer(s, r->cdb, &out, &dummy)) {
        return false;
    }
    if (!disk_need_medium(r)) {
        return true;
    }
    if (r->cdb[0] == SYNC10 || r->cdb[0] == SYNC16) {
        disk_block_io(r, BLK_FLUSH, 0, NULL, 0, 0, 0, plain_done);
        return true;
    }
    if (r->cdb[0] == UNMAP) {
        unmap(r);
        return true;
    }
    if (cdb_bad(r, count, &why)) {
        scsi_fail(r, why);
        return true;
    }
    uint64_t off = cdb_lba(r->cdb) * disk_block(s);

    if ((r->cdb[0] & 0x1f) == 0x0f) {
        verify(r, off, len);
    } else if (!len) {
        scsi_good(r);
    } else if (is_write(r->cdb[0])) {
        queue_write(r);
    } else {
        disk_read(r, off, len);
    }
    return true;
}
