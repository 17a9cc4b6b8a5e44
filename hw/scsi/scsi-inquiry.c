/* What a unit says of itself: INQUIRY and its pages (SPC-4, 6.4, 7.8; SBC-3, 6.6), MODE SENSE and
 * SELECT (SPC-4, 6.11, 7.5; SBC-3, 6.5), READ CAPACITY (SBC-3, 5.15). Tested by test_scsi.py. */
#include "scsi-disk.h"

#include <string.h>

enum { PAGE_MAX = 255 };

static void put_text(uint8_t *dst, const char *text, size_t len)
{
    size_t n = strlen(text);

    memset(dst, ' ', len);
    memcpy(dst, text, MIN(n, len));
}

/* ---- vital product data ---- */

static size_t put_designator(
    uint8_t *p, uint8_t code_set, uint8_t type, const void *data, size_t len)
{
    p[0] = code_set;
    p[1] = type;
    p[2] = 0;
    p[3] = (uint8_t)len;
    memcpy(p + 4, data, len);
    return 4 + len;
}

/* Device identification (SPC-4, 7.8.6). */
static size_t page_83(const ScsiDisk *s, uint8_t *p)
{
    enum { BINARY = 1, ASCII = 2, VENDOR = 0, NAA = 3, PORT = 0x61 };
    const char *id = s->device_id;
    size_t at = 0;
    uint8_t v[8];

    if (id && *id) {
        at += put_designator(p + at, ASCII, VENDOR, id, MIN(strlen(id), 255u - 8));
    }
    if (s->wwn) {
        scsi_put64(v, s->wwn);
        at += put_designator(p + at, BINARY, NAA, v, 8);
    }
    if (s->port_wwn) {
        scsi_put64(v, s->port_wwn);
        at += put_designator(p + at, PORT & 0xf, PORT & 0xf0 ? 0x90 | NAA : NAA, v, 8);
    }
    if (s->port_index) {
        memset(v, 0, 4);
        scsi_put16(v + 2, s->port_index);
        at += put_designator(p + at, 0x61, 0x94, v, 4);
    }
    return at;
}

/* Block limits (SBC-3, 6.6.4). */
static size_t page_b0(const ScsiDisk *s, uint8_t *p)
{
    uint64_t bs = s->conf.logical_block;
    uint64_t unmap = s->max_unmap / bs, io = s->max_io / bs;

    memset(p, 0, 60);
    p[0] = 1;    /* WRITE SAME with a count of 0 is refused */
    p[1] = 0xff; /* blocks of one COMPARE AND WRITE */
    scsi_put16(p + 2, (uint32_t)MIN(s->conf.min_io / bs, 0xffffu));
    scsi_put32(p + 4, (uint32_t)MIN(io, UINT32_MAX));
    scsi_put32(p + 8, (uint32_t)(s->conf.opt_io / bs));
    scsi_put32(p + 16, (uint32_t)MIN(unmap, UINT32_MAX));
    scsi_put32(p + 20, 255);
    if (s->conf.discard_granularity && s->conf.discard_granularity != UINT32_MAX) {
        scsi_put32(p + 24, (uint32_t)(s->conf.discard_granularity / bs));
    }
    scsi_put64(p + 32, io);
    return 60;
}

static bool page_known(const ScsiDisk *s, uint8_t page)
{
    return page == 0x00 || (page == 0x80 && s->serial) || page == 0x83 ||
           (!s->cd && (page == 0xb0 || page == 0xb1 || page == 0xb2));
}

static size_t put_page(const ScsiDisk *s, uint8_t page, uint8_t *p)
{
    static const uint8_t all[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
    size_t n = 0;

    switch (page) {
    case 0x00:
        for (unsigned i = 0; i < sizeof all; i++) {
            if (page_known(s, all[i])) {
                p[n++] = all[i];
            }
        }
        return n;
    case 0x80:
        n = MIN(strlen(s->serial), 36u);
        memcpy(p, s->serial, n);
        return n;
    case 0x83:
        return page_83(s, p);
    case 0xb0:
        return page_b0(s, p);
    case 0xb1: /* block device characteristics: rotation rate */
        memset(p, 0, 60);
        scsi_put16(p, s->rotation_rate);
        return 60;
    default: /* b2: logical block provisioning */
        memset(p, 0, 4);
        p[1] = 0xe0;                                /* UNMAP, WRITE SAME 16 and 10 */
        p[2] = s->conf.discard_granularity ? 2 : 1; /* thin, or resource provisioned */
        return 4;
    }
}

void disk_inquiry(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    uint8_t buf[PAGE_MAX + 40] = { 0 };
    size_t alloc = scsi_be16(r->cdb + 3);

    buf[0] = s->sd.type;
    if (r->cdb[1] & 1) {
        if (!page_known(s, r->cdb[2])) {
            scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
            return;
        }
        size_t n = put_page(s, r->cdb[2], buf + 4);

        buf[1] = r->cdb[2];
        scsi_put16(buf + 2, (uint32_t)n);
        scsi_reply(r, buf, n + 4, alloc);
        return;
    }
    if (r->cdb[2]) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
        return;
    }
    buf[1] = s->removable ? 0x80 : 0;
    buf[2] = (uint8_t)s->scsi_version;
    buf[3] = 2 | 0x10; /* response format, HISUP */
    buf[4] = 36 - 5;
    buf[7] = 0x10 | 2; /* SYNC (SPI; kept for QEMU's sake), CMDQUE */
    put_text(buf + 8, s->vendor, 8);
    put_text(buf + 16, s->product, 16);
    memcpy(buf + 32, s->ver, MIN(strlen(s->ver), 4u));
    scsi_reply(r, buf, 36, alloc);
}

/* ---- mode pages ---- */

enum {
    MODE_RW_ERROR = 0x01,
    MODE_GEOMETRY = 0x04,
    MODE_FLEXIBLE = 0x05,
    MODE_CACHING = 0x08,
    MODE_AUDIO = 0x0e,
    MODE_CAPABILITIES = 0x2a,
    MODE_ALL = 0x3f
};

static size_t page_geometry(const ScsiDisk *s, uint8_t *p)
{
    uint32_t cyls = s->conf.cyls, heads = s->conf.heads;

    if (!cyls) {
        heads = 16;
        cyls = (uint32_t)CLAMP(disk_blocks(s) / (16 * 63), 2, 16383);
    }
    p[0] = (uint8_t)(cyls >> 16);
    scsi_put16(p + 1, cyls & 0xffff);
    p[3] = (uint8_t)heads;
    memcpy(p + 4, p, 3);          /* starting cylinder of write precompensation */
    memcpy(p + 7, p, 3);          /* and of reduced write current */
    scsi_put16(p + 10, 200);      /* device step rate */
    p[12] = p[13] = p[14] = 0xff; /* landing zone */
    scsi_put16(p + 18, 5400);     /* rotation rate */
    return 22;
}

static size_t page_flexible(const ScsiDisk *s, uint8_t *p)
{
    uint32_t cyls = s->conf.cyls, heads = s->conf.heads, secs = s->conf.secs;

    if (!cyls) {
        heads = 16;
        secs = 63;
        cyls = (uint32_t)CLAMP(disk_blocks(s) / (16 * 63), 2, 16383);
    }
    scsi_put16(p, 5000); /* kbit/s */
    p[2] = (uint8_t)heads;
    p[3] = (uint8_t)secs;
    scsi_put16(p + 4, disk_block(s));
    scsi_put16(p + 6, MIN(cyls, 0xffffu));
    memcpy(p + 8, p + 6, 2);
    memcpy(p + 10, p + 6, 2);
    scsi_put16(p + 12, 1);
    p[14] = 1;
    scsi_put16(p + 15, 1);
    p[17] = 1;
    p[18] = 1;
    p[26] = 0;
    scsi_put16(p + 26, 5400);
    return 30;
}

/* What a CD drive can do (MMC-3 Annex; obsolete, but asked for). */
static size_t page_capabilities(const ScsiDisk *s, uint8_t *p)
{
    p[0] = 0x3b; /* reads CD-R, CD-RW, method 2, DVD-ROM, DVD-R */
    p[2] = 0x7f; /* audio, composite, digital out, mode 2 forms, multi session */
    p[3] =
        0xff; /* CD-DA, read accurately, R-W supported, de-interleaved, C2, ISRC, UPC, bar code */
    p[4] = (uint8_t)(0x2d | (s->locked ? 2 : 0)); /* tray, eject, lock */
    scsi_put16(p + 6, 50 * 176);
    scsi_put16(p + 8, 2); /* volume levels */
    scsi_put16(p + 10, 2048);
    scsi_put16(p + 12, 16 * 176);
    scsi_put16(p + 16, 16 * 176);
    scsi_put16(p + 18, 16 * 176);
    return 22 - 2 + 0;
}

/* Behind the two bytes of its head. 0: no such page of this unit. */
static size_t put_mode_page(const ScsiDisk *s, unsigned page, unsigned control, uint8_t *p)
{
    uint8_t body[64] = { 0 };
    size_t n;

    switch (page) {
    case MODE_GEOMETRY:
        n = s->cd ? 0 : page_geometry(s, body);
        break;
    case MODE_FLEXIBLE:
        n = s->cd ? 0 : page_flexible(s, body);
        break;
    case MODE_CACHING:
        n = 18;
        body[0] = control == 1 || blk_write_cache(s->blk) ? 4 : 0; /* WCE, which may be changed */
        break;
    case MODE_RW_ERROR:
        n = 10;
        body[0] = 0x80; /* automatic write reallocation */
        body[1] = s->cd ? 0x20 : 0;
        break;
    case MODE_AUDIO:
        n = s->cd ? 14 : 0;
        break;
    case MODE_CAPABILITIES:
        n = s->cd ? page_capabilities(s, body) : 0;
        break;
    default:
        n = 0;
        break;
    }
    if (!n) {
        return 0;
    }
    if (control == 1 && page != MODE_CACHING) {
        memset(body, 0, sizeof body); /* nothing else may be changed */
    }
    p[0] = (uint8_t)page;
    p[1] = (uint8_t)n;
    memcpy(p + 2, body, n);
    return n + 2;
}

static size_t put_block_descriptor(const ScsiDisk *s, bool has, uint8_t *p)
{
    if (!has) {
        return 0;
    }
    memset(p, 0, 8);
    scsi_put32(p, (uint32_t)(disk_blocks(s) > 0xffffff ? 0 : disk_blocks(s)));
    scsi_put32(p + 4, disk_block(s));
    p[4] = 0;
    return 8;
}

void disk_mode_sense(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    bool ten = r->cdb[0] == 0x5a, dbd = r->cdb[1] & 8;
    unsigned page = r->cdb[2] & 0x3f, control = r->cdb[2] >> 6;
    size_t alloc = ten ? scsi_be16(r->cdb + 7) : r->cdb[4], at = ten ? 8 : 4, n = 0;
    uint8_t buf[512] = { 0 }, flags = 0;

    if (control == 3) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x39, 0)); /* saving is not supported */
        return;
    }
    if (!s->cd) {
        flags = (uint8_t)((s->dpofua ? 0x10 : 0) | (blk_read_only(s->blk) ? 0x80 : 0));
    }
    size_t desc = put_block_descriptor(s, !dbd && !s->cd && disk_blocks(s), buf + at);

    at += desc;
    if (page == MODE_ALL) {
        for (unsigned i = 0; i < MODE_ALL; i++) {
            n += put_mode_page(s, i, control, buf + at + n);
        }
    } else {
        n = put_mode_page(s, page, control, buf + at);
    }
    if (!n) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
        return;
    }
    at += n;
    if (ten) {
        scsi_put16(buf, (uint32_t)at - 2);
        buf[3] = flags;
        scsi_put16(buf + 6, (uint32_t)desc);
    } else {
        buf[0] = (uint8_t)(at - 1);
        buf[2] = flags;
        buf[3] = (uint8_t)desc;
    }
    scsi_reply(r, buf, at, alloc);
}

static void cache_flushed(ScsiReq *r, int error)
{
    if (error) {
        scsi_fail_errno(r, error);
    } else {
        scsi_good(r);
    }
}

/* One page of MODE SELECT: only the write cache may differ from what MODE SENSE shows. */
static bool select_page(const ScsiDisk *s, const uint8_t *p, size_t len, int *ret_cache)
{
    uint8_t now[80];
    size_t n = put_mode_page(s, p[0] & 0x3f, 0, now);

    if (p[0] & 0xc0 || !n || n != len || p[1] != now[1]) {
        return false;
    }
    if ((p[0] & 0x3f) == MODE_CACHING) {
        *ret_cache = p[2] & 4 ? 1 : 0;
        now[2] = (uint8_t)((now[2] & ~4) | (p[2] & 4));
    }
    return !memcmp(p + 2, now + 2, len - 2);
}

void disk_mode_select(ScsiReq *r)
{
    ScsiDisk *s = disk_of(r);
    bool ten = r->cdb[0] == 0x55;
    size_t len = ten ? scsi_be16(r->cdb + 7) : r->cdb[4], head = ten ? 8 : 4;
    uint8_t buf[512];
    int cache = -1;

    /* PF, and no saving; but an empty list, whatever its form, is no error. SPC-4, 6.11 */
    if (r->cdb[1] & 1 || (len && !(r->cdb[1] & 0x10))) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
        return;
    }
    if (!len) {
        scsi_good(r);
        return;
    }
    if (len < head || len > sizeof buf || !giov_get(r->out, buf, len)) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x1a, 0));
        return;
    }
    size_t desc = ten ? scsi_be16(buf + 6) : buf[3], at = head + desc;

    if ((desc && desc != 8) || at > len) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x26, 0));
        return;
    }
    while (at < len) {
        if (len - at < 2 || len - at < buf[at + 1] + 2u) {
            scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x1a, 0));
            return;
        }
        if (!select_page(s, buf + at, buf[at + 1] + 2u, &cache)) {
            scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x26, 0));
            return;
        }
        at += buf[at + 1] + 2u;
    }
    if (cache < 0 || (cache == 1) == blk_write_cache(s->blk)) {
        scsi_good(r);
        return;
    }
    blk_set_write_cache(s->blk, cache);
    if (cache) {
        scsi_good(r);
    } else {
        disk_block_io(r, BLK_FLUSH, 0, NULL, 0, 0, 0, cache_flushed); /* what it still held */
    }
}

/* ---- capacity ---- */

void disk_read_capacity(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    uint8_t buf[32] = { 0 };

    if (!disk_need_medium(r)) {
        return;
    }
    uint64_t n = disk_blocks(s);

    if (!n) {
        scsi_fail(r, SCSI_SENSE(SCSI_NOT_READY, 0x3a, 0));
        return;
    }
    if (r->cdb[0] == 0x25) {
        if (!(r->cdb[8] & 1) && scsi_be32(r->cdb + 2)) {
            scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
            return;
        }
        scsi_put32(buf, (uint32_t)MIN(n - 1, UINT32_MAX));
        scsi_put32(buf + 4, disk_block(s));
        scsi_reply(r, buf, 8, 8);
        return;
    }
    scsi_put64(buf, n - 1);
    scsi_put32(buf + 8, disk_block(s));
    buf[13] = (uint8_t)__builtin_ctzll(s->conf.physical_block / s->conf.logical_block);
    if (s->conf.discard_granularity) {
        buf[14] = 0x80; /* LBPME: blocks can be unmapped */
    }
    scsi_reply(r, buf, sizeof buf, scsi_be32(r->cdb + 10));
}
