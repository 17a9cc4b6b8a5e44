/* Normative sentences about virtio-scsi (VIRTIO 1.4, 5.6): configuration, and requests to a disk.
 */
#include "block/block.h"
#include "tests/conformance/norm.h"

enum { CTRL, EVENT, REQUEST };
enum { SENSE_SIZE = 20, CDB_SIZE = 24, MAX_CHANNEL = 28, MAX_TARGET = 30, MAX_LUN = 32 };
enum { OK = 0, OVERRUN = 1, ABORTED = 2, BAD_TARGET = 3, RESET = 4, FAILURE = 9, REJECTED = 11 };
enum { ABORT_TASK = 0, ABORT_TASK_SET = 1, NEXUS_RESET = 4, UNIT_RESET = 5 };
enum { HOTPLUG = 1, CHANGE = 2 };
static const uint32_t MISSED = 0x80000000;
enum { GOOD = 0, CHECK_CONDITION = 2 };
enum { TEST_UNIT_READY = 0x00, INQUIRY = 0x12, READ_10 = 0x28, REPORT_LUNS = 0xa0 };
enum { HEAD = 51, RESPONSE = 108, BLOCK = 512 };

typedef struct Answer {
    uint32_t sense_len, residual;
    uint8_t status, response, sense[96];
} Answer;

static void drive(const char *id, const char *more)
{
    g_autofree char *text = g_strdup_printf(
        "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': '%s'%s}", id, more);
    g_autoptr(Json) args = json_parse(text, -1, NULL);

    g_assert_nonnull(blk_drive_create(args, NULL));
}

/* A unit of that type at target 0, LUN 0, and a driver that does without some features. */
static Dev *unit(Norm *x, unsigned how, const char *type, const char *more, uint64_t without)
{
    g_autofree char *dev = g_strdup_printf(
        "{'driver': '%s', 'drive': 'd', 'bus': 's.0', 'scsi-id': 0, 'lun': 0}", type);

    drive("d", more);
    norm_open(x, "virtio-scsi-pci", ", 'id': 's'", how);
    Dev *d = board_add(x->b, dev);

    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d) & ~without));
    for (unsigned q = 0; q < 3; q++) {
        vd_setup_queue(&x->d, q, 0);
    }
    vd_driver_ok(&x->d);
    board_run(x->b);
    return d;
}

/* A disk. */
static void disk(Norm *x, unsigned how)
{
    unit(x, how, "scsi-hd", "", 0);
}

static void end(Norm *x)
{
    norm_close(x);
    x->b = NULL;
}

/* Header at page, response at page + 100h, data in at page + 1000h, data out at page + 2000h. */
static Answer request(
    Norm *x, unsigned target, const uint8_t *cdb, unsigned ncdb, uint32_t in, uint32_t out)
{
    uint8_t head[HEAD] = { 1, (uint8_t)target, 0x40, 0 }, got[RESPONSE];
    VBuf buf[4] = { { x->page, HEAD, false } };
    unsigned n = 1;
    uint32_t id, len;
    Answer a;

    memcpy(head + 19, cdb, ncdb);
    x->b->port.write(x->b, x->page, head, sizeof head);
    norm_fill(x, x->page + 0x100, 0xee, RESPONSE);
    if (out) {
        buf[n++] = (VBuf){ x->page + 0x2000, out, false };
    }
    buf[n++] = (VBuf){ x->page + 0x100, RESPONSE, true };
    if (in) {
        buf[n++] = (VBuf){ x->page + 0x1000, in, true };
    }
    vring_add(&x->d.ring[REQUEST], buf, n, 0);
    vd_kick(&x->d, REQUEST);
    vd_wait_used(&x->d, REQUEST, &id, &len);
    x->b->port.read(x->b, x->page + 0x100, got, sizeof got);
    a = (Answer){ vport_r32(&x->b->port, x->page + 0x100), vport_r32(&x->b->port, x->page + 0x104),
        got[10], got[11], { 0 } };
    memcpy(a.sense, got + 12, sizeof a.sense);
    return a;
}

static Answer command(Norm *x, unsigned target, uint8_t op, uint8_t len, uint32_t in)
{
    const uint8_t cdb[10] = { op, 0, 0, 0, op == INQUIRY ? len : 0, 0, 0, 0,
        op == READ_10 ? len : 0 };

    return request(x, target, cdb, sizeof cdb, in, 0);
}

/* After a reset the first command has a unit attention. */
static void ready(Norm *x)
{
    command(x, 0, TEST_UNIT_READY, 0, 0);
    g_assert_cmpuint(command(x, 0, TEST_UNIT_READY, 0, 0).status, ==, GOOD);
}

static void config_sizes(Norm *x)
{
    disk(x, 0);
    g_assert_cmpuint(norm_dev(x, SENSE_SIZE, 4), ==, 96);
    g_assert_cmpuint(norm_dev(x, CDB_SIZE, 4), ==, 32);
    norm_dev_write(x, SENSE_SIZE, 4, 64);
    norm_dev_write(x, CDB_SIZE, 4, 16);
    g_assert_cmpuint(norm_dev(x, SENSE_SIZE, 4), ==, 64);
    g_assert_cmpuint(norm_dev(x, CDB_SIZE, 4), ==, 16);
    vd_set_status(&x->d, 0);
    g_assert_cmpuint(norm_dev(x, SENSE_SIZE, 4), ==, 96);
    g_assert_cmpuint(norm_dev(x, CDB_SIZE, 4), ==, 32);
    end(x);
}

static void txt_cfg_2(Norm *x)
{
    NORM("TXT-SCSI-CFG-2");
    config_sizes(x);
}

static void txt_cfg_3(Norm *x)
{
    NORM("TXT-SCSI-CFG-3");
    config_sizes(x);
}

static void cfg_1(Norm *x)
{
    NORM("SCSI-CFG-1");
    config_sizes(x);
}

static void txt_cfg_4(Norm *x)
{
    NORM("TXT-SCSI-CFG-4");
    disk(x, 0);
    g_assert_cmpuint(norm_dev(x, MAX_CHANNEL, 2), ==, 0);
    end(x);
}

static void txt_cfg_5(Norm *x)
{
    NORM("TXT-SCSI-CFG-5");
    disk(x, 0);
    g_assert_cmpuint(norm_dev(x, MAX_TARGET, 2), <=, 255);
    end(x);
}

static void txt_cfg_6(Norm *x)
{
    NORM("TXT-SCSI-CFG-6");
    disk(x, 0);
    g_assert_cmpuint(norm_dev(x, MAX_LUN, 4), <=, 16383);
    end(x);
}

static void leg_cfg_1(Norm *x)
{
    NORM("LEG-SCSI-CFG-1");
    disk(x, NORM_LEGACY);
    g_assert_cmphex(norm_dev(x, SENSE_SIZE, 1), ==, 96); /* an x86 is little-endian */
    g_assert_cmphex(norm_dev(x, SENSE_SIZE + 3, 1), ==, 0);
    norm_dev_write(x, CDB_SIZE, 4, 16);
    g_assert_cmphex(norm_dev(x, CDB_SIZE, 1), ==, 16);
    end(x);
}

static void txt_req_1(Norm *x)
{
    static const uint8_t cdb[12] = { REPORT_LUNS, [9] = 64 };

    NORM("TXT-SCSI-REQ-1");
    disk(x, 0);
    ready(x);
    Answer a = request(x, 0, cdb, sizeof cdb, 64, 0);

    g_assert_cmpuint(a.response, ==, OK);
    g_assert_cmpuint(a.status, ==, GOOD);
    g_assert_cmphex(vport_r32(&x->b->port, x->page + 0x1000), ==, 0x08000000); /* 8 bytes: LUN 0 */
    g_assert_cmpuint(a.residual, ==, 64 - 16);
    end(x);
}

static void req_1(Norm *x)
{
    NORM("SCSI-REQ-1");
    disk(x, 0);
    ready(x);
    g_assert_cmpuint(command(x, 0, TEST_UNIT_READY, 0, 0).status, ==, GOOD);
    Answer a = command(x, 0, 0xff, 0, 0); /* no such command */

    g_assert_cmpuint(a.status, ==, CHECK_CONDITION);
    g_assert_cmpuint(a.sense_len, >=, 14);
    g_assert_cmphex(a.sense[2] & 15, ==, 5); /* ILLEGAL REQUEST */
    end(x);
}

static void req_2(Norm *x)
{
    NORM("SCSI-REQ-2");
    disk(x, 0);
    ready(x);
    g_assert_cmpuint(command(x, 0, TEST_UNIT_READY, 0, 0).response, ==, OK);
    g_assert_cmpuint(command(x, 0, INQUIRY, 36, 36).response, ==, OK);
    g_assert_cmpuint(command(x, 0, 0xff, 0, 0).response, ==, OK); /* not GOOD, yet completed */
    end(x);
}

static void req_3(Norm *x)
{
    NORM("SCSI-REQ-3");
    disk(x, 0);
    ready(x);
    g_assert_cmpuint(command(x, 0, READ_10, 2, 2 * BLOCK).response, ==, OK);
    g_assert_cmpuint(command(x, 0, READ_10, 2, BLOCK).response, ==, OVERRUN);
    end(x);
}

static void req_5(Norm *x)
{
    NORM("SCSI-REQ-5");
    disk(x, 0);
    ready(x);
    for (unsigned target = 1; target < 256; target += 127) {
        Answer a = command(x, target, TEST_UNIT_READY, 0, 0);

        g_assert_cmpuint(a.response, ==, BAD_TARGET);
    }
    end(x);
}

static void req_11(Norm *x)
{
    static const uint8_t cdb[10] = { READ_10, [8] = 1 };

    NORM("SCSI-REQ-11");
    disk(x, 0);
    ready(x);
    g_assert_cmphex(vd_offered(&x->d) & 1, ==, 0); /* INOUT */
    norm_fill(x, x->page + 0x1000, 0x5a, BLOCK);
    g_assert_cmpuint(request(x, 0, cdb, sizeof cdb, BLOCK, BLOCK).response, ==, FAILURE);
    g_assert_cmphex(vport_r32(&x->b->port, x->page + 0x1000), ==, 0x5a5a5a5a);
    end(x);
}

static void leg_req_1(Norm *x)
{
    NORM("LEG-SCSI-REQ-1");
    disk(x, NORM_LEGACY);
    ready(x);
    Answer a = command(x, 0, INQUIRY, 36, 0x100);

    g_assert_cmpuint(a.response, ==, OK);
    g_assert_cmphex(a.residual, ==, 0x100 - 36);
    end(x);
}

/* ---- requests that are out, and what ends them ---- */

/* A disk that takes one write and lets the next ones wait for minutes; one of them is out, tag 7.
 */
static Dev *held(Norm *x, unsigned how)
{
    static const uint8_t cdb[10] = { 0x2a, [8] = 1 };
    uint8_t head[HEAD] = { 1, 0, 0x40, 0, 0, 0, 0, 0, 7 };
    VBuf buf[3] = { { 0, HEAD, false }, { 0, BLOCK, false }, { 0, RESPONSE, true } };
    Dev *d = unit(x, how, "scsi-hd", ", 'throttling.bps-write': 1", 0);

    buf[0].at = x->page + 0x400;
    buf[1].at = x->page + 0x2000;
    buf[2].at = x->page + 0x500;
    ready(x);
    g_assert_cmpuint(request(x, 0, cdb, sizeof cdb, 0, BLOCK).status, ==, GOOD);
    memcpy(head + 19, cdb, sizeof cdb);
    x->b->port.write(x->b, x->page + 0x400, head, sizeof head);
    norm_fill(x, x->page + 0x500, 0xee, RESPONSE);
    vring_add(&x->d.ring[REQUEST], buf, 3, 0);
    vd_kick(&x->d, REQUEST);
    board_run(x->b);
    return d;
}

/* The response byte of what is held; the used entry is there already. */
static uint8_t held_response(Norm *x)
{
    uint32_t id, len;
    uint8_t got;

    g_assert_true(vring_used(&x->d.ring[REQUEST], &id, &len));
    x->b->port.read(x->b, x->page + 0x50b, &got, 1);
    return got;
}

static uint8_t tmf(Norm *x, uint32_t what, uint8_t tag)
{
    uint8_t req[24] = { [4] = (uint8_t)what, [8] = 1, [10] = 0x40, [16] = tag }, got;
    VBuf buf[2] = { { x->page + 0x800, sizeof req, false }, { x->page + 0x840, 1, true } };
    uint32_t id, len;

    x->b->port.write(x->b, x->page + 0x800, req, sizeof req);
    vring_add(&x->d.ring[CTRL], buf, 2, 0);
    vd_kick(&x->d, CTRL);
    vd_wait_used(&x->d, CTRL, &id, &len);
    g_assert_cmpuint(len, ==, 1);
    x->b->port.read(x->b, x->page + 0x840, &got, 1);
    return got;
}

static void ended_by(Norm *x, uint32_t what, uint8_t response)
{
    held(x, 0);
    g_assert_cmpuint(tmf(x, what, 7), ==, OK);
    /* The function has ended: its effects are visible. */
    g_assert_cmpuint(held_response(x), ==, response);
    end(x);
}

static void req_4(Norm *x)
{
    NORM("SCSI-REQ-4");
    ended_by(x, ABORT_TASK, ABORTED);
    ended_by(x, ABORT_TASK_SET, ABORTED);
}

static void req_6(Norm *x)
{
    NORM("SCSI-REQ-6");
    ended_by(x, UNIT_RESET, RESET);
    ended_by(x, NEXUS_RESET, RESET);
}

static void req_12(Norm *x)
{
    NORM("SCSI-REQ-12");
    Dev *d = held(x, 0);

    dev_unplug_done(x->b->m, d);
    uint8_t r = held_response(x);

    norm_note("a request of a unit that is unplugged ends with response %u", r);
    g_assert_true(r == ABORTED || r == RESET || r == FAILURE);
    end(x);
}

static void txt_ctrl_1(Norm *x)
{
    NORM("TXT-SCSI-CTRL-1");
    ended_by(x, UNIT_RESET, RESET);
    ended_by(x, NEXUS_RESET, RESET);
}

static void txt_ctrl_2(Norm *x)
{
    NORM("TXT-SCSI-CTRL-2");
    ended_by(x, ABORT_TASK, ABORTED);
    ended_by(x, ABORT_TASK_SET, ABORTED);
}

static void txt_ctrl_3(Norm *x)
{
    static const uint8_t cdb[10] = { READ_10, [8] = 1 };

    NORM("TXT-SCSI-CTRL-3");
    for (uint32_t what = ABORT_TASK; what <= UNIT_RESET; what += UNIT_RESET) {
        held(x, 0);
        uint16_t before = vring_used_idx(&x->d.ring[REQUEST]);

        g_assert_cmpuint(tmf(x, what, 7), ==, OK);
        g_assert_cmpuint((uint16_t)(vring_used_idx(&x->d.ring[REQUEST]) - before), ==, 1);
        held_response(x);
        if (what == UNIT_RESET) { /* its other effect */
            Answer a = request(x, 0, cdb, sizeof cdb, BLOCK, 0);

            g_assert_cmphex(a.sense[2] & 15, ==, 6);
            g_assert_cmphex(a.sense[12], ==, 0x29);
        }
        end(x);
    }
}

static void leg_ctrl_1(Norm *x)
{
    NORM("LEG-SCSI-CTRL-1");
    disk(x, NORM_LEGACY);
    ready(x);
    g_assert_cmpuint(tmf(x, ABORT_TASK, 1), ==, OK); /* nothing to abort */
    g_assert_cmpuint(tmf(x, 0x99, 1), ==, REJECTED);
    end(x);
}

static void txt_req_2(Norm *x)
{
    static const uint8_t head[HEAD] = { 1, 0, 0xc1, 1, [19] = REPORT_LUNS, [28] = 64 };
    VBuf buf[3] = { { 0, HEAD, false }, { 0, RESPONSE, true }, { 0, 64, true } };
    uint8_t got[RESPONSE];
    uint32_t id, len;

    NORM("TXT-SCSI-REQ-2");
    disk(x, 0);
    ready(x);
    buf[0].at = x->page;
    buf[1].at = x->page + 0x100;
    buf[2].at = x->page + 0x1000;
    x->b->port.write(x->b, x->page, head, sizeof head);
    vring_add(&x->d.ring[REQUEST], buf, 3, 0);
    vd_kick(&x->d, REQUEST);
    vd_wait_used(&x->d, REQUEST, &id, &len);
    x->b->port.read(x->b, x->page + 0x100, got, sizeof got);
    norm_note("REPORT LUNS to the well-known unit: response %u, status %u", got[11], got[10]);
    g_assert_true(got[11] == BAD_TARGET || (got[11] == OK && got[10] == GOOD));
    end(x);
}

static void txt_req_3(Norm *x)
{
    NORM("TXT-SCSI-REQ-3");
    disk(x, 0);
    ready(x);
    for (uint8_t attr = 0; attr < 4; attr++) {
        uint8_t head[HEAD] = { 1, 0, 0x40, 0, [16] = attr };
        VBuf buf[2] = { { x->page, HEAD, false }, { x->page + 0x100, RESPONSE, true } };
        uint32_t id, len;

        x->b->port.write(x->b, x->page, head, sizeof head);
        vring_add(&x->d.ring[REQUEST], buf, 2, 0);
        vd_kick(&x->d, REQUEST);
        vd_wait_used(&x->d, REQUEST, &id, &len);
        g_assert_cmphex(vport_r32(&x->b->port, x->page + 0x108), ==, 0); /* GOOD, OK */
    }
    norm_note("all task attributes are taken as SIMPLE");
    end(x);
}

/* ---- events ---- */

static void event_buffer(Norm *x, uint32_t len)
{
    VBuf buf = { x->page + 0x900, len, true };

    norm_fill(x, x->page + 0x900, 0xee, 16);
    vring_add(&x->d.ring[EVENT], &buf, 1, 0);
    vd_kick(&x->d, EVENT);
    board_run(x->b);
}

typedef struct Event {
    uint32_t event, reason;
    uint8_t lun[8];
} Event;

/* False: none came. */
static bool next_event(Norm *x, Event *ret)
{
    uint32_t id, len;

    board_run(x->b);
    if (!vring_used(&x->d.ring[EVENT], &id, &len)) {
        return false;
    }
    g_assert_cmpuint(len, ==, 16);
    ret->event = vport_r32(&x->b->port, x->page + 0x900);
    x->b->port.read(x->b, x->page + 0x904, ret->lun, 8);
    ret->reason = vport_r32(&x->b->port, x->page + 0x90c);
    return true;
}

static Dev *plug(Norm *x)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) args = json_parse(
        "{'driver': 'scsi-hd', 'drive': 'e', 'bus': 's.0', 'scsi-id': 1, 'lun': 2}", -1, NULL);

    drive("e", "");
    Dev *d = dev_create(x->b->m, args, /* hotplug= */ true, &err);

    g_assert_no_error(err);
    return d;
}

static void resize(int64_t size)
{
    for (const QmpCmd *c = block_qmp_cmds; c->name; c++) {
        if (!strcmp(c->name, "block_resize")) {
            g_autofree void *a = g_malloc0(c->args_size);
            g_autoptr(Json) args = json_object();

            json_set(args, "device", json_str("d"));
            json_set(args, "size", json_int(size));
            prop_defaults(c->args_spec, a);
            g_assert_true(prop_apply_struct(c->args_spec, a, args, NULL));
            g_autoptr(Json) ret = c->run(NULL, a, NULL);

            g_assert_nonnull(ret);
            prop_release(c->args_spec, a);
        }
    }
}

static void come_and_go(Norm *x, unsigned how)
{
    Event e;

    disk(x, how);
    ready(x);
    event_buffer(x, 16);
    Dev *d = plug(x);

    g_assert_true(next_event(x, &e));
    g_assert_cmphex(e.event, ==, 1);  /* TRANSPORT_RESET */
    g_assert_cmphex(e.reason, ==, 1); /* RESCAN */
    g_assert_cmphex(e.lun[0], ==, 1);
    g_assert_cmphex(e.lun[1], ==, 1);
    g_assert_cmphex(e.lun[3], ==, 2);
    event_buffer(x, 16);
    dev_unplug_done(x->b->m, d);
    g_assert_true(next_event(x, &e));
    g_assert_cmphex(e.event, ==, 1);
    g_assert_cmphex(e.reason, ==, 2); /* REMOVED */
    g_assert_cmphex(e.lun[3], ==, 2);
    end(x);
}

static void txt_feat_1(Norm *x)
{
    NORM("TXT-SCSI-FEAT-1");
    disk(x, 0);
    g_assert_cmphex(vd_offered(&x->d) >> HOTPLUG & 1, ==, 1);
    end(x);
    come_and_go(x, 0);
}

static void txt_feat_3(Norm *x)
{
    Event e;

    NORM("TXT-SCSI-FEAT-3");
    disk(x, 0);
    ready(x);
    g_assert_cmphex(vd_offered(&x->d) >> CHANGE & 1, ==, 1);
    event_buffer(x, 16);
    resize(1 << 20);
    g_assert_true(next_event(x, &e));
    g_assert_cmphex(e.event, ==, 3);       /* PARAM_CHANGE */
    g_assert_cmphex(e.reason, ==, 0x092a); /* capacity data has changed */
    end(x);
}

static void txt_event_1(Norm *x)
{
    NORM("TXT-SCSI-EVENT-1");
    disk(x, 0);
    ready(x);
    event_buffer(x, 8);
    plug(x);
    board_run(x->b);
    uint32_t id, len;
    bool used = vring_used(&x->d.ring[EVENT], &id, &len), broken = vd_status(&x->d) & 64;

    norm_note("an event buffer that is too short: %s", used ? "NO_EVENT" : "DEVICE_NEEDS_RESET");
    g_assert_true(used || broken);
    end(x);
}

static void lost_event(Norm *x)
{
    Event e;

    disk(x, 0);
    ready(x);
    plug(x); /* no buffer */
    g_assert_false(next_event(x, &e));
    event_buffer(x, 16);
    if (next_event(x, &e)) {
        norm_note("lost events are told of when a buffer comes, event %#x", e.event);
    } else { /* then the next one says so */
        resize(1 << 20);
        g_assert_true(next_event(x, &e));
    }
    g_assert_cmphex(e.event & MISSED, ==, MISSED);
    end(x);
}

static void txt_event_2(Norm *x)
{
    NORM("TXT-SCSI-EVENT-2");
    lost_event(x);
}

static void event_1(Norm *x)
{
    NORM("SCSI-EVENT-1");
    lost_event(x);
}

static void txt_event_3(Norm *x)
{
    NORM("TXT-SCSI-EVENT-3");
    norm_note("events of units name the unit, not the whole target");
    come_and_go(x, 0);
}

static void txt_event_4(Norm *x)
{
    NORM("TXT-SCSI-EVENT-4");
    disk(x, 0);
    ready(x);
    resize(1 << 20);
    Answer a = command(x, 0, TEST_UNIT_READY, 0, 0);

    g_assert_cmphex(a.sense[2] & 15, ==, 6); /* UNIT ATTENTION */
    g_assert_cmphex(a.sense[12], ==, 0x2a);
    g_assert_cmphex(a.sense[13], ==, 0x09);
    end(x);
}

static void event_2(Norm *x)
{
    Event e;

    NORM("SCSI-EVENT-2");
    unit(x, 0, "scsi-hd", "", NORM_BIT(HOTPLUG));
    ready(x);
    event_buffer(x, 16);
    Dev *d = plug(x);

    g_assert_false(next_event(x, &e));
    dev_unplug_done(x->b->m, d);
    g_assert_false(next_event(x, &e));
    end(x);
}

static void event_3(Norm *x)
{
    Event e;

    NORM("SCSI-EVENT-3");
    unit(x, 0, "scsi-cd", "", 0);
    event_buffer(x, 16);
    resize(1 << 20);
    g_assert_false(next_event(x, &e));
    end(x);
}

static void leg_event_1(Norm *x)
{
    NORM("LEG-SCSI-EVENT-1");
    come_and_go(x, NORM_LEGACY);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "TXT-SCSI-CFG-2", txt_cfg_2, NORM_BARE, NULL },
        { "TXT-SCSI-CFG-3", txt_cfg_3, NORM_BARE, NULL },
        { "TXT-SCSI-CFG-4", txt_cfg_4, NORM_BARE, NULL },
        { "TXT-SCSI-CFG-5", txt_cfg_5, NORM_BARE, NULL },
        { "TXT-SCSI-CFG-6", txt_cfg_6, NORM_BARE, NULL },
        { "SCSI-CFG-1", cfg_1, NORM_BARE, NULL },
        { "LEG-SCSI-CFG-1", leg_cfg_1, NORM_BARE, NULL },
        { "TXT-SCSI-REQ-1", txt_req_1, NORM_BARE, NULL },
        { "SCSI-REQ-1", req_1, NORM_BARE, NULL },
        { "SCSI-REQ-2", req_2, NORM_BARE, NULL },
        { "SCSI-REQ-3", req_3, NORM_BARE, NULL },
        { "SCSI-REQ-5", req_5, NORM_BARE, NULL },
        { "SCSI-REQ-11", req_11, NORM_BARE, NULL },
        { "LEG-SCSI-REQ-1", leg_req_1, NORM_BARE, NULL },
        { "SCSI-REQ-4", req_4, NORM_BARE, NULL },
        { "SCSI-REQ-6", req_6, NORM_BARE, NULL },
        { "SCSI-REQ-12", req_12, NORM_BARE, NULL },
        { "TXT-SCSI-CTRL-1", txt_ctrl_1, NORM_BARE, NULL },
        { "TXT-SCSI-CTRL-2", txt_ctrl_2, NORM_BARE, NULL },
        { "TXT-SCSI-CTRL-3", txt_ctrl_3, NORM_BARE, NULL },
        { "LEG-SCSI-CTRL-1", leg_ctrl_1, NORM_BARE, NULL },
        { "TXT-SCSI-REQ-2", txt_req_2, NORM_BARE, NULL },
        { "TXT-SCSI-REQ-3", txt_req_3, NORM_BARE, NULL },
        { "TXT-SCSI-FEAT-1", txt_feat_1, NORM_BARE, NULL },
        { "TXT-SCSI-FEAT-3", txt_feat_3, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-1", txt_event_1, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-2", txt_event_2, NORM_BARE, NULL },
        { "SCSI-EVENT-1", event_1, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-3", txt_event_3, NORM_BARE, NULL },
        { "TXT-SCSI-EVENT-4", txt_event_4, NORM_BARE, NULL },
        { "SCSI-EVENT-2", event_2, NORM_BARE, NULL },
        { "SCSI-EVENT-3", event_3, NORM_BARE, NULL },
        { "LEG-SCSI-EVENT-1", leg_event_1, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
