/* A driver of virtio-scsi for the tests of its normative sentences: one request at a time, to a
 * unit whose image is empty. */
#pragma once

#include "block/block.h"
#include "tests/conformance/norm.h"

enum { CTRL, EVENT, REQUEST };
enum { SENSE_SIZE = 20, CDB_SIZE = 24, MAX_CHANNEL = 28, MAX_TARGET = 30, MAX_LUN = 32 };
enum {
    OK,
    OVERRUN,
    ABORTED,
    BAD_TARGET,
    RESET,
    BUSY,
    TRANSPORT_FAILURE,
    TARGET_FAILURE,
    NEXUS_FAILURE,
    FAILURE,
    REJECTED = 11
};
enum { ABORT_TASK = 0, ABORT_TASK_SET = 1, NEXUS_RESET = 4, UNIT_RESET = 5 };
enum { HOTPLUG = 1, CHANGE = 2 };
static const uint32_t MISSED = 0x80000000;
enum { GOOD = 0, CHECK_CONDITION = 2 };
enum { TEST_UNIT_READY = 0x00, INQUIRY = 0x12, READ_10 = 0x28, REPORT_LUNS = 0xa0 };
enum { HEAD = 51, RESPONSE = 108, BLOCK = 512 };
enum { TMF_ANSWER = 0x840 }; /* where in the page */

typedef struct Answer {
    uint32_t sense_len, residual;
    uint8_t status, response, sense[96];
} Answer;

/* more: ", 'key': value"; its own "file" replaces the empty one. */
void scsi_drive(const char *id, const char *more);
/* A unit of that type at target 0, LUN 0, and a driver that does without some features. */
Dev *scsi_unit(Norm *x, unsigned how, const char *type, const char *more, uint64_t without);
/* A disk. */
void scsi_disk(Norm *x, unsigned how);
void scsi_end(Norm *x);
/* Header at page, response at page + 100h, data in at page + 1000h, data out at page + 2000h. */
Answer scsi_send(Norm *x, const uint8_t head[HEAD], uint32_t in, uint32_t out);
Answer scsi_request(
    Norm *x, unsigned target, const uint8_t *cdb, unsigned ncdb, uint32_t in, uint32_t out);
Answer scsi_command(Norm *x, unsigned target, uint8_t op, uint8_t len, uint32_t in);
/* After a reset the first command has a unit attention. */
void scsi_ready(Norm *x);
uint8_t scsi_tmf(Norm *x, uint32_t what, uint8_t tag);
