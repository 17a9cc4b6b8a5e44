/* Normative sentences about virtio-scsi (VIRTIO 1.4, 5.6): configuration, and requests to a disk.
 */
#include "block/block.h"
#include "tests/conformance/norm.h"

enum { CTRL, EVENT, REQUEST };
enum { SENSE_SIZE = 20, CDB_SIZE = 24, MAX_CHANNEL = 28, MAX_TARGET = 30, MAX_LUN = 32 };
enum { OK = 0, OVERRUN = 1, BAD_TARGET = 3, FAILURE = 9 };
enum { GOOD = 0, CHECK_CONDITION = 2 };
enum { TEST_UNIT_READY = 0x00, INQUIRY = 0x12, READ_10 = 0x28, REPORT_LUNS = 0xa0 };
enum { HEAD = 51, RESPONSE = 108, BLOCK = 512 };

typedef struct Answer {
    uint32_t sense_len, residual;
    uint8_t status, response, sense[96];
} Answer;

/* A disk at target 0, LUN 0. */
static void disk(Norm *x, unsigned how)
{
    g_autoptr(Json) args =
        json_parse("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}", -1, NULL);

    g_assert_nonnull(blk_drive_create(args, NULL));
    norm_open(x, "virtio-scsi-pci", ", 'id': 's'", how);
    board_add(x->b, "{'driver': 'scsi-hd', 'drive': 'd', 'bus': 's.0', 'scsi-id': 0, 'lun': 0}");
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    for (unsigned q = 0; q < 3; q++) {
        vd_setup_queue(&x->d, q, 0);
    }
    vd_driver_ok(&x->d);
    board_run(x->b);
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
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
