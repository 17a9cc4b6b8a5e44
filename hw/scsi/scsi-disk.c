/* scsi-hd and scsi-cd: units over the block layer; simple commands and which file does the others
 * (SPC-4, SBC-3, MMC-6). Tested by test_scsi.py. */
#include "scsi-disk.h"

#include <string.h>

enum { SERIAL_MAX = 36 }; /* QEMU compat */
enum {
    TEST_UNIT_READY = 0x00,
    REZERO = 0x01,
    REQUEST_SENSE = 0x03,
    SEEK6 = 0x0b,
    INQUIRY = 0x12,
    MODE_SELECT6 = 0x15,
    RESERVE6 = 0x16,
    RELEASE6 = 0x17,
    MODE_SENSE6 = 0x1a,
    START_STOP = 0x1b,
    PREVENT_ALLOW = 0x1e,
    READ_CAPACITY10 = 0x25,
    SEEK10 = 0x2b,
    MODE_SELECT10 = 0x55,
    RESERVE10 = 0x56,
    RELEASE10 = 0x57,
    MODE_SENSE10 = 0x5a,
    SERVICE_ACTION_IN16 = 0x9e,
    SA_READ_CAPACITY16 = 0x10
};

static bool simple_xfer(const uint8_t *c, bool *ret_out, uint64_t *ret_len)
{
    *ret_out = c[0] == MODE_SELECT6 || c[0] == MODE_SELECT10;
    *ret_len = 0;
    switch (c[0]) {
    case TEST_UNIT_READY:
    case REZERO:
    case SEEK6:
    case SEEK10:
    case RESERVE6:
    case RELEASE6:
    case RESERVE10:
    case RELEASE10:
    case START_STOP:
    case PREVENT_ALLOW:
        return true;
    case INQUIRY:
        *ret_len = scsi_be16(c + 3);
        return true;
    case REQUEST_SENSE:
    case MODE_SENSE6:
    case MODE_SELECT6:
        *ret_len = c[4];
        return true;
    case MODE_SENSE10:
    case MODE_SELECT10:
        *ret_len = scsi_be16(c + 7);
        return true;
    case READ_CAPACITY10:
        *ret_len = 8;
        return true;
    case SERVICE_ACTION_IN16:
        *ret_len = scsi_be32(c + 10);
        return (c[1] & 31) == SA_READ_CAPACITY16;
    default:
        return false;
    }
}

static bool disk_xfer(
    ScsiDev *d, const uint8_t *cdb, bool *ret_out, uint64_t *ret_len, ScsiSense *why)
{
    const ScsiDisk *s = (const ScsiDisk *)d;

    if (simple_xfer(cdb, ret_out, ret_len) || disk_rw_xfer(s, cdb, ret_out, ret_len) ||
        (s->cd && disk_cd_xfer(cdb, ret_out, ret_len))) {
        return true;
    }
    /* An operation code we know with a service action we do not: the field is wrong. */
    *why = SCSI_SENSE(SCSI_ILLEGAL_REQUEST, cdb[0] == SERVICE_ACTION_IN16 ? 0x24 : 0x20, 0);
    return false;
}

static void start_stop(ScsiReq *r)
{
    ScsiDisk *s = disk_of(r);
    bool start = r->cdb[4] & 1, loej = r->cdb[4] & 2;

    if (!s->removable || !loej || r->cdb[4] >> 4) { /* power conditions change nothing here */
        scsi_good(r);
        return;
    }
    if (!start && s->locked && !s->tray_open) {
        scsi_fail(r, blk_inserted(s->blk)
                         ? SCSI_SENSE(SCSI_ILLEGAL_REQUEST, 0x53, 2) /* removal prevented */
                         : SCSI_SENSE(SCSI_NOT_READY, 0x53, 2));
        return;
    }
    disk_move_tray(s, !start);
    scsi_good(r);
}

static void request_sense(ScsiReq *r)
{
    const ScsiDisk *s = disk_of(r);
    ScsiSense now = { 0 };
    uint8_t buf[SCSI_SENSE_LEN];

    if (!scsi_take_attention(r->dev, &now) && s->removable && !disk_has_medium(s)) {
        now = SCSI_SENSE(SCSI_NOT_READY, 0x3a, s->cd && s->tray_open ? 2 : s->cd ? 1 : 0);
    }
    if (r->cdb[1] & 1) { /* descriptor format */
        uint8_t desc[8] = { 0x72, now.key, now.asc, now.ascq };
        scsi_reply(r, desc, sizeof desc, r->cdb[4]);
        return;
    }
    scsi_put_sense(now, buf);
    scsi_reply(r, buf, sizeof buf, r->cdb[4]);
}

static void disk_run(ScsiReq *r)
{
    ScsiDisk *s = disk_of(r);

    switch (r->cdb[0]) {
    case TEST_UNIT_READY:
        if (disk_need_medium(r)) {
            scsi_good(r);
        }
        return;
    case REQUEST_SENSE:
        request_sense(r);
        return;
    case INQUIRY:
        disk_inquiry(r);
        return;
    case MODE_SENSE6:
    case MODE_SENSE10:
        disk_mode_sense(r);
        return;
    case MODE_SELECT6:
    case MODE_SELECT10:
        disk_mode_select(r);
        return;
    case READ_CAPACITY10:
    case SERVICE_ACTION_IN16:
        disk_read_capacity(r);
        return;
    case START_STOP:
        start_stop(r);
        return;
    case PREVENT_ALLOW:
        s->locked = r->cdb[4] & 1;
        scsi_good(r);
        return;
    case REZERO:
    case SEEK6:
    case SEEK10:
    case RESERVE6: /* there is one initiator */
    case RELEASE6:
    case RESERVE10:
    case RELEASE10:
        scsi_good(r);
        return;
    default:
        if (!(s->cd && disk_cd_run(r)) && !disk_rw_run(r)) {
            g_assert_not_reached(); /* disk_xfer() knew it */
        }
        return;
    }
}

static void disk_reset(ScsiDev *d)
{
    ScsiDisk *s = (ScsiDisk *)d;

    s->locked = s->eject_asked = false;
    blk_set_write_cache(s->blk, s->wce);
}

/* ---- life ---- */

static void default_text(char **field, const char *text)
{
    if (!*field) {
        *field = g_strdup(text);
    }
}

static void fill_texts(ScsiDisk *s)
{
    default_text(&s->vendor, "QEMU");
    default_text(&s->product, s->cd ? "QEMU CD-ROM" : "QEMU HARDDISK");
    default_text(&s->ver, "2.5+");
    if (!s->serial && blk_serial(s->blk)) {
        s->serial = g_strdup(blk_serial(s->blk));
    }
    if (!s->device_id) {
        s->device_id = s->serial ? g_strndup(s->serial, 20) : g_strdup(blk_name(s->blk));
    }
}

static void resized(void *opaque)
{
    ScsiDisk *s = opaque;

    if (s->sd.bus->ops->changed) {
        s->sd.bus->ops->changed(
            s->sd.bus, &s->sd, SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x2a, 0x09)); /* capacity */
    }
}

/* ---- the tray, as the block layer asks for it: main ---- */

typedef struct TrayCall {
    ScsiDisk *s;
    bool open, result;
    unsigned what;
} TrayCall;

enum { TRAY_IS_OPEN, TRAY_IS_LOCKED, TRAY_MOVE, TRAY_ASK, TRAY_CHANGED };

static void tray_there(void *opaque)
{
    TrayCall *c = opaque;
    ScsiDisk *s = c->s;

    scsi_lock(s->sd.bus);
    switch (c->what) {
    case TRAY_IS_OPEN:
        c->result = s->tray_open;
        break;
    case TRAY_IS_LOCKED:
        c->result = s->locked;
        break;
    case TRAY_MOVE:
        disk_move_tray(s, c->open);
        if (!c->open && blk_inserted(s->blk)) {
            s->new_medium = true;
            scsi_attention(&s->sd, SCSI_SENSE(SCSI_UNIT_ATTENTION, 0x28, 0)); /* medium changed */
        }
        break;
    case TRAY_ASK:
        s->eject_asked = true;
        if (c->open) { /* by force */
            s->locked = false;
        }
        break;
    default:
        s->new_medium = blk_inserted(s->blk);
        break;
    }
    scsi_unlock(s->sd.bus);
}

static bool tray_call(void *disk, unsigned what, bool open)
{
    TrayCall c = { .s = disk, .open = open, .what = what };

    loop_call(c.s->sd.bus->loop, tray_there, &c);
    return c.result;
}

static bool tray_is_open(void *disk)
{
    return tray_call(disk, TRAY_IS_OPEN, false);
}

static bool tray_is_locked(void *disk)
{
    return tray_call(disk, TRAY_IS_LOCKED, false);
}

static void tray_move(void *disk, bool open)
{
    tray_call(disk, TRAY_MOVE, open);
}

static void tray_ask(void *disk, bool force)
{
    tray_call(disk, TRAY_ASK, force);
}

static void tray_changed(void *disk)
{
    tray_call(disk, TRAY_CHANGED, false);
}

static const BlkTray disk_tray = { .is_open = tray_is_open,
    .is_locked = tray_is_locked,
    .move = tray_move,
    .ask_eject = tray_ask,
    .changed = tray_changed };

static bool disk_realize(ScsiDev *d, GError **err)
{
    ScsiDisk *s = (ScsiDisk *)d;

    if (!s->blk) {
        if (!s->cd) {
            return err_set(err, "drive property not set");
        }
        s->blk = blk_new_empty();
    }
    if (!s->cd && !blk_inserted(s->blk) && !s->removable) {
        return err_set(err, "Device needs media, but drive is empty");
    }
    if (s->serial && strlen(s->serial) > SERIAL_MAX) {
        return err_set(err, "The serial number can't be longer than %d characters", SERIAL_MAX);
    }
    if (!blk_conf_check(&s->conf, s->blk, s->cd ? 2048 : 512, err)) {
        return false;
    }
    if (s->conf.discard_granularity == UINT32_MAX) {
        s->conf.discard_granularity = MAX(s->conf.logical_block, 4096u); /* QEMU compat */
    }
    if (s->cd) {
        s->removable = true;
        d->type = 5;
    }
    if (!blk_attach(s->blk, &d->dev.obj, s->share_rw, err)) {
        return false;
    }
    s->attached = true;
    fill_texts(s);
    blk_set_accounting(s->blk, s->account_failed, s->account_invalid);
    if (s->write_cache != ON_OFF_AUTO_AUTO) {
        blk_set_write_cache(s->blk, s->write_cache == ON_OFF_AUTO_ON);
    }
    s->wce = blk_write_cache(s->blk);
    g_queue_init(&s->waiting);
    if (d->bus->loops) {
        blk_set_loops(s->blk, d->bus->loops, d->bus->nloops);
    } else {
        blk_set_loop(s->blk, d->bus->loop);
    }
    blk_on_resize(s->blk, resized, s);
    if (s->removable) {
        blk_set_tray(s->blk, &disk_tray, s);
    }
    return true;
}

static void disk_unrealize(ScsiDev *d)
{
    ScsiDisk *s = (ScsiDisk *)d;

    blk_leave(s->blk);
    s->attached = false;
    s->blk = NULL;
}

static const ScsiDevOps disk_ops = {
    .realize = disk_realize,
    .unrealize = disk_unrealize,
    .xfer = disk_xfer,
    .run = disk_run,
    .reset = disk_reset,
};

static void cd_init(Obj *o)
{
    ((ScsiDisk *)o)->cd = true;
}

/* clang-format off */
#define SCSI_PLACE \
    PROP_U32("channel", ScsiDisk, sd.channel, 0, "always 0"), \
    PROP_U32("scsi-id", ScsiDisk, sd.id, UINT32_MAX, "target; 4294967295: the first free one"), \
    PROP_U32("lun", ScsiDisk, sd.lun, UINT32_MAX, "unit of the target; 4294967295: the first free one")
#define SCSI_COMMON \
    SCSI_PLACE, \
    PROP_DRIVE("drive", ScsiDisk, blk, "block node or drive"), \
    PROP_I32("bootindex", ScsiDisk, bootindex, -1, "place in the boot order"), \
    PROP_STR("serial", ScsiDisk, serial, "serial number"), \
    PROP_STR("vendor", ScsiDisk, vendor, "vendor, up to 8 characters"), \
    PROP_STR("product", ScsiDisk, product, "product, up to 16 characters"), \
    PROP_STR("ver", ScsiDisk, ver, "revision, up to 4 characters"), \
    PROP_STR("device_id", ScsiDisk, device_id, "identification of page 83h"), \
    PROP_U64("wwn", ScsiDisk, wwn, 0, "world wide name"), \
    PROP_U64("port_wwn", ScsiDisk, port_wwn, 0, "world wide name of the port"), \
    PROP_U16("port_index", ScsiDisk, port_index, 0, "number of the port"), \
    PROP_I32("scsi_version", ScsiDisk, scsi_version, 5, "version INQUIRY tells"), \
    PROP_SIZE("logical_block_size", ScsiDisk, conf.logical_block, 0, "bytes"), \
    PROP_SIZE("physical_block_size", ScsiDisk, conf.physical_block, 0, "bytes"), \
    PROP_SIZE32("min_io_size", ScsiDisk, conf.min_io, 0, "bytes"), \
    PROP_SIZE32("opt_io_size", ScsiDisk, conf.opt_io, 0, "bytes"), \
    PROP_SIZE("discard_granularity", ScsiDisk, conf.discard_granularity, UINT32_MAX, "bytes"), \
    PROP_U64("max_io_size", ScsiDisk, max_io, 2147483647, "bytes of one transfer"), \
    PROP_BOOL("share-rw", ScsiDisk, share_rw, false, "others may write the image too"), \
    PROP_ENUM("werror", ScsiDisk, conf.werror, prop_blk_on_error, 0, "what a write error does"), \
    PROP_ENUM("rerror", ScsiDisk, conf.rerror, prop_blk_on_error, 0, "what a read error does"), \
    PROP_ON_OFF_AUTO("write-cache", ScsiDisk, write_cache, ON_OFF_AUTO_AUTO, "write-back cache"), \
    PROP_ON_OFF_AUTO("account-failed", ScsiDisk, account_failed, ON_OFF_AUTO_AUTO, "count failed requests"), \
    PROP_ON_OFF_AUTO("account-invalid", ScsiDisk, account_invalid, ON_OFF_AUTO_AUTO, "count invalid requests"), \
    PROP_ON_OFF_AUTO("backend_defaults", ScsiDisk, backend_defaults, ON_OFF_AUTO_AUTO, "take block sizes from the host"), \
    PROP_BOOL("migrate-emulated-scsi-request", ScsiDisk, migrate_emulated, true, "kept for compatibility"), \
    PROP_BOOL("quirk_mode_page_vendor_specific_apple", ScsiDisk, quirk_mode_apple, false, "kept for compatibility")

static const PropSpec hd_props[] = {
    SCSI_COMMON,
    PROP_BOOL("removable", ScsiDisk, removable, false, "the medium can be taken out"),
    PROP_BOOL("dpofua", ScsiDisk, dpofua, false, "show that FUA is honoured"),
    PROP_U64("max_unmap_size", ScsiDisk, max_unmap, 1 << 30, "bytes of one UNMAP"),
    PROP_U16("rotation_rate", ScsiDisk, rotation_rate, 0, "per minute; 1: no rotating medium"),
    PROP_U32("cyls", ScsiDisk, conf.cyls, 0, "cylinders"),
    PROP_U32("heads", ScsiDisk, conf.heads, 0, "heads"),
    PROP_U32("secs", ScsiDisk, conf.secs, 0, "sectors per track"),
    PROP_U32("lcyls", ScsiDisk, lcyls, 0, "logical cylinders for the firmware"),
    PROP_U32("lheads", ScsiDisk, lheads, 0, "logical heads for the firmware"),
    PROP_U32("lsecs", ScsiDisk, lsecs, 0, "logical sectors for the firmware"),
    PROP_END,
};
static const PropSpec cd_props[] = {
    SCSI_COMMON,
    PROP_BOOL("quirk_mode_page_apple_vendor", ScsiDisk, quirk_apple, false, "kept for compatibility"),
    PROP_BOOL("quirk_mode_page_truncated", ScsiDisk, quirk_truncated, false, "kept for compatibility"),
    PROP_BOOL("quirk_mode_sense_rom_use_dbd", ScsiDisk, quirk_rom_dbd, false, "kept for compatibility"),
    PROP_END,
};
/* clang-format on */

#define SCSI_UNIT(var, nm, text, rows, start)                                                      \
    const ObjClass var = { .name = nm,                                                             \
        .parent = "scsi-disk-base",                                                                \
        .help = text,                                                                              \
        .category = "Storage",                                                                     \
        .size = sizeof(ScsiDisk),                                                                  \
        .flags = OBJ_DEVICE,                                                                       \
        .bus = "SCSI",                                                                             \
        .props = (const PropGroup[]){ { rows, NULL }, { NULL, NULL } },                            \
        .ops = &disk_ops,                                                                          \
        .init = start,                                                                             \
        .realize = scsi_dev_realize,                                                               \
        .unrealize = scsi_dev_unrealize }
SCSI_UNIT(scsi_hd_class, "scsi-hd", "virtual SCSI disk", hd_props, NULL);
SCSI_UNIT(scsi_cd_class, "scsi-cd", "virtual SCSI CD-ROM", cd_props, cd_init);
const ObjClass scsi_disk_base_class = { .name = "scsi-disk-base",
    .parent = "scsi-device",
    .flags = OBJ_ABSTRACT,
    .size = sizeof(ScsiDisk) };
