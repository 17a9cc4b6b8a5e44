/* Requests to a SCSI unit and functions of task management, as a driver makes them. */
#include "tests/conformance/norm-scsi.h"

void scsi_drive(const char *id, const char *more)
{
    g_autofree char *text = g_strdup_printf("{%s'format': 'raw', 'if': 'none', 'id': '%s'%s}",
        strstr(more, "'file.") ? "" : "'file': 'null-co://', ", id, more);
    g_autoptr(Json) args = json_parse(text, -1, NULL);

    g_assert_nonnull(blk_drive_create(args, NULL));
}

Dev *scsi_unit(Norm *x, unsigned how, const char *type, const char *more, uint64_t without)
{
    g_autofree char *dev = g_strdup_printf(
        "{'driver': '%s', 'drive': 'd', 'bus': 's.0', 'scsi-id': 0, 'lun': 0}", type);

    scsi_drive("d", more);
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

void scsi_disk(Norm *x, unsigned how)
{
    scsi_unit(x, how, "scsi-hd", "", 0);
}

void scsi_end(Norm *x)
{
    norm_close(x);
    x->b = NULL;
}

Answer scsi_send(Norm *x, const uint8_t head[HEAD], uint32_t in, uint32_t out)
{
    uint8_t got[RESPONSE];
    VBuf buf[4] = { { x->page, HEAD, false } };
    unsigned n = 1;
    uint32_t id, len;
    Answer a;

    x->b->port.write(x->b, x->page, head, HEAD);
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

Answer scsi_request(
    Norm *x, unsigned target, const uint8_t *cdb, unsigned ncdb, uint32_t in, uint32_t out)
{
    uint8_t head[HEAD] = { 1, (uint8_t)target, 0x40, 0 };

    memcpy(head + 19, cdb, ncdb);
    return scsi_send(x, head, in, out);
}

Answer scsi_command(Norm *x, unsigned target, uint8_t op, uint8_t len, uint32_t in)
{
    const uint8_t cdb[10] = { op, 0, 0, 0, op == INQUIRY ? len : 0, 0, 0, 0,
        op == READ_10 ? len : 0 };

    return scsi_request(x, target, cdb, sizeof cdb, in, 0);
}

void scsi_ready(Norm *x)
{
    scsi_command(x, 0, TEST_UNIT_READY, 0, 0);
    g_assert_cmpuint(scsi_command(x, 0, TEST_UNIT_READY, 0, 0).status, ==, GOOD);
}

uint8_t scsi_tmf(Norm *x, uint32_t what, uint8_t tag)
{
    uint8_t req[24] = { [4] = (uint8_t)what, [8] = 1, [10] = 0x40, [16] = tag }, got;
    VBuf buf[2] = { { x->page + 0x800, sizeof req, false }, { x->page + TMF_ANSWER, 1, true } };
    uint32_t id, len;

    norm_fill(x, x->page + TMF_ANSWER, 0xee, 1);
    x->b->port.write(x->b, x->page + 0x800, req, sizeof req);
    vring_add(&x->d.ring[CTRL], buf, 2, 0);
    vd_kick(&x->d, CTRL);
    vd_wait_used(&x->d, CTRL, &id, &len);
    g_assert_cmpuint(len, ==, 1);
    x->b->port.read(x->b, x->page + TMF_ANSWER, &got, 1);
    return got;
}
