/* Commands of a CD or DVD drive (MMC-6): table of contents, features, events, tray. Tested by
 * test-scsi. */
#include "object/qmp.h"
#include "scsi-disk.h"

#include <string.h>

enum {
    READ_TOC = 0x43,
    GET_CONFIGURATION = 0x46,
    GET_EVENT_STATUS = 0x4a,
    READ_DISC_INFO = 0x51,
    READ_TRACK_INFO = 0x52,
    READ_DVD_STRUCTURE = 0xad,
    SET_CD_SPEED = 0xbb,
    MECHANISM_STATUS = 0xbd,
    READ_CD = 0xbe
};
enum { CD_MAX_BLOCKS = 80 * 60 * 75 }; /* of a CD; what is longer is a DVD */

/* READ CD: only user data of mode 1 sectors is there (MMC-6, 6.16). */
static bool read_cd_ok(const uint8_t *c)
{
    unsigned kind = c[1] >> 2 & 7;

    return (kind <= 2 || kind == 4) && ((c[9] & 0xf8) == 0x10 || !(c[9] & 0xf8)) && !(c[10] & 7);
}

bool disk_cd_xfer(const uint8_t *c, bool *ret_out, uint64_t *ret_len)
{
    *ret_out = false;
    switch (c[0]) {
    case READ_TOC:
    case GET_CONFIGURATION:
    case GET_EVENT_STATUS:
    case READ_DISC_INFO:
    case READ_TRACK_INFO:
        *ret_len = scsi_be16(c + 7);
        return true;
    case READ_DVD_STRUCTURE:
    case MECHANISM_STATUS:
        *ret_len = scsi_be16(c + 8);
        return true;
    case SET_CD_SPEED:
        *ret_len = 0;
        return true;
    case READ_CD:
        *ret_len = c[9] & 0x10 ? (scsi_be32(c + 5) & 0xffffff) * 2048ull : 0;
        return true;
    default:
        return false;
    }
}

static void bad_field(ScsiReq *r)
{
    scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
}

static void put_msf(uint8_t *p, uint64_t lba)
{
    lba += 150; /* two seconds of lead-in */
    p[0] = 0;
    p[1] = (uint8_t)MIN(lba / (75 * 60), 255u);
    p[2] = (uint8_t)(lba / 75 % 60);
    p[3] = (uint8_t)(lba % 75);
}

static void put_place(uint8_t *p, uint64_t lba, bool msf)
{
    if (msf) {
        put_msf(p, lba);
    } else {
        scsi_put32(p, (uint32_t)lba);
    }
}

/* One data track and the lead-out (MMC-6, 6.25). */
static void read_toc(ScsiReq *r)
{
    bool msf = r->cdb[1] & 2;
    unsigned format = r->cdb[2] & 15 ? r->cdb[2] & 15u : r->cdb[9] >> 6, from = r->cdb[6];
    size_t alloc = scsi_be16(r->cdb + 7), n = 4;
    uint8_t buf[4 + 4 * 11] = { 0 };
    uint64_t end = disk_blocks(disk_of(r));

    if (!disk_need_medium(r)) {
        return;
    }
    switch (format) {
    case 0:
        if (from > 1 && from != 0xaa) {
            bad_field(r);
            return;
        }
        buf[2] = buf[3] = 1;
        if (from <= 1) {
            buf[n + 1] = 0x14; /* data track, copying not allowed */
            buf[n + 2] = 1;
            put_place(buf + n + 4, 0, msf);
            n += 8;
        }
        buf[n + 1] = 0x16;
        buf[n + 2] = 0xaa;
        put_place(buf + n + 4, end, msf);
        n += 8;
        break;
    case 1: /* sessions: one */
        buf[2] = buf[3] = 1;
        n = 12;
        break;
    case 2: { /* raw: points a0, a1, a2 and the track */
        static const uint8_t point[] = { 0xa0, 0xa1, 0xa2, 1 };
        buf[2] = buf[3] = 1;
        for (unsigned i = 0; i < 4; i++) {
            uint8_t *p = buf + n;

            p[0] = 1;
            p[1] = 0x14;
            p[3] = point[i];
            if (i < 2) {
                p[8] = 1;
            } else if (msf) {
                put_msf(p + 7, i == 2 ? end : 0);
            } else {
                scsi_put32(p + 7, (uint32_t)(i == 2 ? end : 0));
            }
            n += 11;
        }
        break;
    }
    default:
        bad_field(r);
        return;
    }
    scsi_put16(buf, (uint32_t)n - 2);
    scsi_reply(r, buf, n, alloc);
}

/* Profiles and the features every drive has (MMC-6, 6.6, 5.3). */
static void get_configuration(ScsiReq *r)
{
    enum { CD_ROM = 0x08, DVD_ROM = 0x10 };
    uint64_t n = disk_blocks(disk_of(r));
    uint8_t buf[8 + 12 + 12 + 8 + 8] = { 0 }, *p = buf + 8;
    unsigned current = !n ? 0 : n > CD_MAX_BLOCKS ? DVD_ROM : CD_ROM;
    static const uint16_t profile[] = { DVD_ROM, CD_ROM };

    scsi_put16(buf + 6, current);
    p[2] = 3; /* 0000h: list of profiles; persistent, current */
    p[3] = 8;
    for (unsigned i = 0; i < 2; i++) {
        scsi_put16(p + 4 + 4 * i, profile[i]);
        p[6 + 4 * i] = current == profile[i];
    }
    p += 12;
    scsi_put16(p, 0x0001); /* core */
    p[2] = 0x0b;
    p[3] = 8;
    scsi_put32(p + 4, 1); /* SCSI */
    p[8] = 1;             /* DBE: can send events */
    p += 12;
    scsi_put16(p, 0x0003); /* removable medium */
    p[2] = 0x0b;
    p[3] = 4;
    p[4] = 0x39; /* tray, load, eject, lock */
    p += 8;
    scsi_put32(buf, (uint32_t)(p - buf) - 4);
    scsi_reply(r, buf, (size_t)(p - buf), scsi_be16(r->cdb + 7));
}

/* Media events, for whoever polls (MMC-6, 6.7). */
static void get_event_status(ScsiReq *r)
{
    ScsiDisk *s = disk_of(r);
    uint8_t buf[8] = { 0 };
    bool media = r->cdb[4] & 0x10;

    if (!(r->cdb[1] & 1)) { /* asynchronous operation */
        bad_field(r);
        return;
    }
    scsi_put16(buf, media ? 6 : 2);
    buf[2] = media ? 4 : 0x80; /* class; NEA: none of what was asked for */
    buf[3] = 0x10;             /* classes there are */
    if (media) {
        buf[4] = s->new_medium ? 2 : s->eject_asked ? 1 : 0;
        s->new_medium = s->eject_asked = false;
        buf[5] = (uint8_t)((s->tray_open ? 1 : 0) | (disk_has_medium(s) ? 2 : 0));
    }
    scsi_reply(r, buf, media ? 8 : 4, scsi_be16(r->cdb + 7));
}

static void read_disc_info(ScsiReq *r)
{
    uint8_t buf[34] = { 0 };

    if (!disk_need_medium(r)) {
        return;
    }
    if (r->cdb[1] & 7) {
        bad_field(r);
        return;
    }
    scsi_put16(buf, 32);
    buf[2] = 0x0e; /* complete, last session complete */
    buf[3] = buf[4] = buf[5] = buf[6] = 1;
    buf[7] = 0x20; /* unrestricted use */
    scsi_reply(r, buf, sizeof buf, scsi_be16(r->cdb + 7));
}

static void read_track_info(ScsiReq *r)
{
    uint8_t buf[36] = { 0 };

    if (!disk_need_medium(r)) {
        return;
    }
    scsi_put16(buf, sizeof buf - 2);
    buf[2] = buf[3] = 1; /* track and session */
    buf[5] = 4;          /* data, uninterrupted */
    buf[6] = 1;          /* mode 1 */
    scsi_put32(buf + 24, (uint32_t)disk_blocks(disk_of(r)));
    scsi_reply(r, buf, sizeof buf, scsi_be16(r->cdb + 7));
}

/* Physical format and copyright of a DVD (MMC-6, 6.22). */
static void read_dvd_structure(ScsiReq *r)
{
    uint64_t n = disk_blocks(disk_of(r));
    uint8_t buf[4 + 17] = { 0 };
    unsigned format = r->cdb[7];

    if (!disk_need_medium(r)) {
        return;
    }
    if (n <= CD_MAX_BLOCKS || r->cdb[1] & 15 || r->cdb[6] || format > 1) {
        scsi_fail(r, n <= CD_MAX_BLOCKS ? SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x30, 0)
                                        : SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x24, 0));
        return;
    }
    size_t len = format ? 8 : sizeof buf;

    if (!format) {
        buf[4] = 1; /* DVD-ROM, part 1 */
        buf[5] = 0x0f;
        buf[6] = 1; /* one layer, embossed */
        scsi_put32(buf + 8, 0x30000);
        scsi_put32(buf + 12, (uint32_t)(0x30000 + n - 1));
    }
    scsi_put16(buf, (uint32_t)len - 2);
    scsi_reply(r, buf, len, scsi_be16(r->cdb + 8));
}

static void read_cd(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    uint64_t lba = scsi_be32(r->cdb + 2), n = scsi_be32(r->cdb + 5) & 0xffffff,
             have = disk_blocks(s);
    uint64_t bs = disk_block(s), len = n * bs;

    if (!disk_need_medium(r)) {
        return;
    }
    if (!read_cd_ok(r->cdb) || bs != 2048) {
        bad_field(r);
        return;
    }
    if (lba > have || n > have - lba) {
        scsi_fail(r, SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x21, 0));
        return;
    }
    if (!n || !(r->cdb[9] & 0x10)) {
        scsi_good(r);
        return;
    }
    disk_read(r, lba * bs, len);
}

bool disk_cd_run(ScsiReq *r)
{
    uint8_t buf[8] = { 0 };

    switch (r->cdb[0]) {
    case READ_TOC:
        read_toc(r);
        return true;
    case GET_CONFIGURATION:
        get_configuration(r);
        return true;
    case GET_EVENT_STATUS:
        get_event_status(r);
        return true;
    case READ_DISC_INFO:
        read_disc_info(r);
        return true;
    case READ_TRACK_INFO:
        read_track_info(r);
        return true;
    case READ_DVD_STRUCTURE:
        read_dvd_structure(r);
        return true;
    case READ_CD:
        read_cd(r);
        return true;
    case MECHANISM_STATUS:
        buf[5] = 1; /* one slot, and its table is empty */
        scsi_reply(r, buf, 8, scsi_be16(r->cdb + 8));
        return true;
    case SET_CD_SPEED:
        scsi_good(r);
        return true;
    default:
        return false;
    }
}

/* ---- the tray ---- */

typedef struct TrayEvent {
    char *device, *id;
    bool open;
} TrayEvent;

static void tray_event(void *opaque)
{
    TrayEvent *e = opaque;
    Json *data = json_object();

    json_set(data, "device", json_str(e->device));
    json_set(data, "tray-open", json_bool(e->open));
    json_set(data, "id", json_str(e->id));
    qmp_event("DEVICE_TRAY_MOVED", data);
    g_free(e->device);
    g_free(e->id);
    g_free(e);
}

void disk_move_tray(ScsiDisk *s, bool open)
{
    if (s->tray_open == open) {
        return;
    }
    s->tray_open = open;
    TrayEvent *e = g_new(TrayEvent, 1);

    *e = (TrayEvent){ g_strdup(blk_name(s->blk)),
        s->sd.dev.id ? g_strdup(s->sd.dev.id) : obj_path(&s->sd.dev.obj), open };
    if (vm_lock_held()) {
        tray_event(e); /* before the reply of the command that moved it */
    } else {
        loop_post(loop_main(), tray_event, e);
    }
}
