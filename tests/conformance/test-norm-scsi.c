/* Normative sentences about virtio-scsi (VIRTIO 1.4, 5.6): configuration, requests to a disk, task
 * management. */
#include "tests/conformance/norm-scsi.h"

#include <errno.h>

static void config_sizes(Norm *x)
{
    scsi_disk(x, 0);
    g_assert_cmpuint(norm_dev(x, SENSE_SIZE, 4), ==, 96);
    g_assert_cmpuint(norm_dev(x, CDB_SIZE, 4), ==, 32);
    norm_dev_write(x, SENSE_SIZE, 4, 64);
    norm_dev_write(x, CDB_SIZE, 4, 16);
    g_assert_cmpuint(norm_dev(x, SENSE_SIZE, 4), ==, 64);
    g_assert_cmpuint(norm_dev(x, CDB_SIZE, 4), ==, 16);
    vd_set_status(&x->d, 0);
    g_assert_cmpuint(norm_dev(x, SENSE_SIZE, 4), ==, 96);
    g_assert_cmpuint(norm_dev(x, CDB_SIZE, 4), ==, 32);
    scsi_end(x);
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
    scsi_disk(x, 0);
    g_assert_cmpuint(norm_dev(x, MAX_CHANNEL, 2), ==, 0);
    scsi_end(x);
}

static void txt_cfg_5(Norm *x)
{
    NORM("TXT-SCSI-CFG-5");
    scsi_disk(x, 0);
    g_assert_cmpuint(norm_dev(x, MAX_TARGET, 2), <=, 255);
    scsi_end(x);
}

static void txt_cfg_6(Norm *x)
{
    NORM("TXT-SCSI-CFG-6");
    scsi_disk(x, 0);
    g_assert_cmpuint(norm_dev(x, MAX_LUN, 4), <=, 16383);
    scsi_end(x);
}

static void leg_cfg_1(Norm *x)
{
    NORM("LEG-SCSI-CFG-1");
    scsi_disk(x, NORM_LEGACY);
    g_assert_cmphex(norm_dev(x, SENSE_SIZE, 1), ==, 96); /* an x86 is little-endian */
    g_assert_cmphex(norm_dev(x, SENSE_SIZE + 3, 1), ==, 0);
    norm_dev_write(x, CDB_SIZE, 4, 16);
    g_assert_cmphex(norm_dev(x, CDB_SIZE, 1), ==, 16);
    scsi_end(x);
}

static void txt_req_1(Norm *x)
{
    static const uint8_t cdb[12] = { REPORT_LUNS, [9] = 64 };

    NORM("TXT-SCSI-REQ-1");
    scsi_disk(x, 0);
    scsi_ready(x);
    Answer a = scsi_request(x, 0, cdb, sizeof cdb, 64, 0);

    g_assert_cmpuint(a.response, ==, OK);
    g_assert_cmpuint(a.status, ==, GOOD);
    g_assert_cmphex(vport_r32(&x->b->port, x->page + 0x1000), ==, 0x08000000); /* 8 bytes: LUN 0 */
    g_assert_cmpuint(a.residual, ==, 64 - 16);
    scsi_end(x);
}

static void req_1(Norm *x)
{
    NORM("SCSI-REQ-1");
    scsi_disk(x, 0);
    scsi_ready(x);
    g_assert_cmpuint(scsi_command(x, 0, TEST_UNIT_READY, 0, 0).status, ==, GOOD);
    Answer a = scsi_command(x, 0, 0xff, 0, 0); /* no such command */

    g_assert_cmpuint(a.status, ==, CHECK_CONDITION);
    g_assert_cmpuint(a.sense_len, >=, 14);
    g_assert_cmphex(a.sense[2] & 15, ==, 5); /* ILLEGAL REQUEST */
    scsi_end(x);
}

static void req_2(Norm *x)
{
    NORM("SCSI-REQ-2");
    scsi_disk(x, 0);
    scsi_ready(x);
    g_assert_cmpuint(scsi_command(x, 0, TEST_UNIT_READY, 0, 0).response, ==, OK);
    g_assert_cmpuint(scsi_command(x, 0, INQUIRY, 36, 36).response, ==, OK);
    g_assert_cmpuint(scsi_command(x, 0, 0xff, 0, 0).response, ==, OK); /* not GOOD, yet completed */
    scsi_end(x);
}

static void req_3(Norm *x)
{
    NORM("SCSI-REQ-3");
    scsi_disk(x, 0);
    scsi_ready(x);
    g_assert_cmpuint(scsi_command(x, 0, READ_10, 2, 2 * BLOCK).response, ==, OK);
    g_assert_cmpuint(scsi_command(x, 0, READ_10, 2, BLOCK).response, ==, OVERRUN);
    scsi_end(x);
}

static void req_5(Norm *x)
{
    NORM("SCSI-REQ-5");
    scsi_disk(x, 0);
    scsi_ready(x);
    for (unsigned target = 1; target < 256; target += 127) {
        Answer a = scsi_command(x, target, TEST_UNIT_READY, 0, 0);

        g_assert_cmpuint(a.response, ==, BAD_TARGET);
    }
    scsi_end(x);
}

/* What the driver is told of a host's error, by commands of one step and of several. */
static void host_error(Norm *x, int error, uint8_t response)
{
    static const uint8_t same[10] = { 0x41, [8] = 1 }; /* WRITE SAME: a block of data */
    g_autofree char *how =
        g_strdup_printf(", 'file.driver': 'blkdebug', 'file.image.driver': 'null-co',"
                        "'file.inject-error.0.event': 'none', 'file.inject-error.0.errno': %d",
            error);

    scsi_unit(x, 0, "scsi-hd", how, 0);
    scsi_ready(x);
    g_assert_cmpuint(scsi_command(x, 0, READ_10, 2, 2 * BLOCK).response, ==, response);
    g_assert_cmpuint(scsi_request(x, 0, same, sizeof same, 0, BLOCK).response, ==, response);
    g_assert_cmpuint(scsi_command(x, 0, TEST_UNIT_READY, 0, 0).response, ==, OK); /* no I/O */
    scsi_end(x);
}

static void req_7(Norm *x)
{
    NORM("SCSI-REQ-7");
    host_error(x, ENOLINK, TRANSPORT_FAILURE);
    host_error(x, EIO, OK); /* the unit itself tells of these */
}

static void req_8(Norm *x)
{
    NORM("SCSI-REQ-8");
    host_error(x, EREMOTEIO, TARGET_FAILURE);
}

static void req_9(Norm *x)
{
    NORM("SCSI-REQ-9");
    host_error(x, EBADE, NEXUS_FAILURE);
}

static void req_10(Norm *x)
{
    NORM("SCSI-REQ-10");
    host_error(x, EAGAIN, BUSY);
    host_error(x, EBUSY, BUSY);
}

static void req_11(Norm *x)
{
    static const uint8_t cdb[10] = { READ_10, [8] = 1 };

    NORM("SCSI-REQ-11");
    scsi_disk(x, 0);
    scsi_ready(x);
    g_assert_cmphex(vd_offered(&x->d) & 1, ==, 0); /* INOUT */
    norm_fill(x, x->page + 0x1000, 0x5a, BLOCK);
    g_assert_cmpuint(scsi_request(x, 0, cdb, sizeof cdb, BLOCK, BLOCK).response, ==, FAILURE);
    g_assert_cmphex(vport_r32(&x->b->port, x->page + 0x1000), ==, 0x5a5a5a5a);
    scsi_end(x);
}

static void leg_req_1(Norm *x)
{
    NORM("LEG-SCSI-REQ-1");
    scsi_disk(x, NORM_LEGACY);
    scsi_ready(x);
    Answer a = scsi_command(x, 0, INQUIRY, 36, 0x100);

    g_assert_cmpuint(a.response, ==, OK);
    g_assert_cmphex(a.residual, ==, 0x100 - 36);
    scsi_end(x);
}

/* ---- requests that are out, and what ends them ---- */

/* A disk that takes one write and lets the next ones wait for minutes; one of them is out, tag 7.
 */
static Dev *held(Norm *x, unsigned how)
{
    static const uint8_t cdb[10] = { 0x2a, [8] = 1 };
    uint8_t head[HEAD] = { 1, 0, 0x40, 0, 0, 0, 0, 0, 7 };
    VBuf buf[3] = { { 0, HEAD, false }, { 0, BLOCK, false }, { 0, RESPONSE, true } };
    Dev *d = scsi_unit(x, how, "scsi-hd", ", 'throttling.bps-write': 1", 0);

    buf[0].at = x->page + 0x400;
    buf[1].at = x->page + 0x2000;
    buf[2].at = x->page + 0x500;
    scsi_ready(x);
    g_assert_cmpuint(scsi_request(x, 0, cdb, sizeof cdb, 0, BLOCK).status, ==, GOOD);
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

/* When the function's response is there, so is the used entry of the request it ended. */
static void effects_first(void *opaque)
{
    Norm *x = opaque;
    uint8_t answer;

    x->b->port.read(x->b, x->page + TMF_ANSWER, &answer, 1);
    g_assert_true(answer == 0xee || vring_used_idx(&x->d.ring[REQUEST]) == 4);
}

static void ended_by(Norm *x, uint32_t what, uint8_t response)
{
    held(x, 0);
    g_assert_cmpuint(vring_used_idx(&x->d.ring[REQUEST]), ==, 3);
    norm_watch(x, x->page, effects_first, x);
    g_assert_cmpuint(scsi_tmf(x, what, 7), ==, OK);
    norm_unwatch();
    /* The function has ended: its effects are visible. */
    g_assert_cmpuint(held_response(x), ==, response);
    scsi_end(x);
}

static void aborts(Norm *x)
{
    ended_by(x, ABORT_TASK, ABORTED);
    ended_by(x, ABORT_TASK_SET, ABORTED);
}

static void req_4(Norm *x)
{
    NORM("SCSI-REQ-4");
    aborts(x);
}

static void resets(Norm *x)
{
    ended_by(x, UNIT_RESET, RESET);
    ended_by(x, NEXUS_RESET, RESET);
}

static void req_6(Norm *x)
{
    NORM("SCSI-REQ-6");
    resets(x);
}

static void req_12(Norm *x)
{
    NORM("SCSI-REQ-12");
    Dev *d = held(x, 0);

    dev_unplug_done(x->b->m, d);
    uint8_t r = held_response(x);

    norm_note("a request of a unit that is unplugged ends with response %u", r);
    g_assert_true(r == ABORTED || r == RESET || r == FAILURE);
    scsi_end(x);
}

static void txt_ctrl_1(Norm *x)
{
    NORM("TXT-SCSI-CTRL-1");
    resets(x);
}

static void txt_ctrl_2(Norm *x)
{
    NORM("TXT-SCSI-CTRL-2");
    aborts(x);
}

static void txt_ctrl_3(Norm *x)
{
    static const uint8_t cdb[10] = { READ_10, [8] = 1 };

    NORM("TXT-SCSI-CTRL-3");
    for (uint32_t what = ABORT_TASK; what <= UNIT_RESET; what += UNIT_RESET) {
        held(x, 0);
        uint16_t before = vring_used_idx(&x->d.ring[REQUEST]);

        g_assert_cmpuint(scsi_tmf(x, what, 7), ==, OK);
        g_assert_cmpuint((uint16_t)(vring_used_idx(&x->d.ring[REQUEST]) - before), ==, 1);
        held_response(x);
        if (what == UNIT_RESET) { /* its other effect */
            Answer a = scsi_request(x, 0, cdb, sizeof cdb, BLOCK, 0);

            g_assert_cmphex(a.sense[2] & 15, ==, 6);
            g_assert_cmphex(a.sense[12], ==, 0x29);
        }
        scsi_end(x);
    }
}

static void leg_ctrl_1(Norm *x)
{
    NORM("LEG-SCSI-CTRL-1");
    scsi_disk(x, NORM_LEGACY);
    scsi_ready(x);
    g_assert_cmpuint(scsi_tmf(x, ABORT_TASK, 1), ==, OK); /* nothing to abort */
    g_assert_cmpuint(scsi_tmf(x, UNIT_RESET, 1), ==, OK);
    g_assert_cmphex(scsi_command(x, 0, TEST_UNIT_READY, 0, 0).sense[12], ==, 0x29);
    g_assert_cmpuint(scsi_tmf(x, 0x99, 1), ==, REJECTED);
    scsi_end(x);
}

static void txt_req_2(Norm *x)
{
    static const uint8_t head[HEAD] = { 1, 0, 0xc1, 1, [19] = REPORT_LUNS, [28] = 64 };

    NORM("TXT-SCSI-REQ-2");
    scsi_disk(x, 0);
    scsi_ready(x);
    Answer a = scsi_send(x, head, 64, 0);

    norm_note("REPORT LUNS to the well-known unit: response %u, status %u", a.response, a.status);
    g_assert_true(a.response == BAD_TARGET || (a.response == OK && a.status == GOOD));
    scsi_end(x);
}

/* A command with each task attribute: SIMPLE, ORDERED, HEAD OF QUEUE, ACA. */
static void attributes(Norm *x, uint8_t op)
{
    scsi_disk(x, 0);
    scsi_ready(x);
    for (uint8_t attr = 0; attr < 4; attr++) {
        const uint8_t head[HEAD] = { 1, 0, 0x40, 0, [16] = attr, [19] = op };
        Answer a = scsi_send(x, head, 0, 0);

        g_assert_cmpuint(a.response, ==, OK);
        g_assert_cmpuint(a.status, ==, GOOD);
    }
    scsi_end(x);
}

static void txt_req_3(Norm *x)
{
    NORM("TXT-SCSI-REQ-3");
    attributes(x, TEST_UNIT_READY);
    norm_note("all task attributes are taken as SIMPLE");
}

static void txt_req_4(Norm *x)
{
    NORM("TXT-SCSI-REQ-4");
    attributes(x, INQUIRY); /* implicit head of queue (SPC-4, 6.4.1) */
    norm_note("INQUIRY is answered at once, with any task attribute");
}

static void init_1(Norm *x)
{
    NORM("SCSI-INIT-1");
    norm_open(x, "virtio-scsi-pci", ", 'num_queues': 3", 0);
    g_assert_cmpuint(norm_dev(x, 0, 4), ==, 3); /* num_queues */
    for (unsigned q = 0; q < 7; q++) {
        vd_write(&x->d, 0x16, 2, q);                                        /* queue_select */
        g_assert_cmpint(vd_read(&x->d, 0x18, 2) != 0, ==, q < REQUEST + 3); /* queue_size */
    }
    scsi_end(x);
}

static void init_3(Norm *x)
{
    NORM("SCSI-INIT-3");
    for (unsigned i = 0; i < 3; i++) { /* the first thing a driver does */
        scsi_disk(x, 0);
        if (i == 2) {
            g_assert_cmpuint(scsi_tmf(x, NEXUS_RESET, 0), ==, OK);
        } else {
            Answer a = scsi_command(x, 0, i ? REPORT_LUNS : INQUIRY, 36, 36);
            g_assert_cmpuint(a.response, ==, OK);
        }
        scsi_end(x);
    }
    norm_note("INQUIRY and I_T NEXUS RESET are answered right after DRIVER_OK");
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
        { "SCSI-REQ-7", req_7, NORM_BARE, NULL },
        { "SCSI-REQ-8", req_8, NORM_BARE, NULL },
        { "SCSI-REQ-9", req_9, NORM_BARE, NULL },
        { "SCSI-REQ-10", req_10, NORM_BARE, NULL },
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
        { "TXT-SCSI-REQ-4", txt_req_4, NORM_BARE, NULL },
        { "SCSI-INIT-1", init_1, NORM_BARE, NULL },
        { "SCSI-INIT-3", init_3, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
