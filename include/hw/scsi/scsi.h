/*
 * SCSI: a bus of targets and logical units behind a host adapter, and requests on it (SAM-5,
 * SPC-4). Requests run in the bus's loop; devices come and go under the VM lock, by rendezvous with
 * it.
 */
#pragma once

#include "block/block.h"
#include "hw/core/dev.h"
#include "util/giov.h"

enum { SCSI_CDB_MAX = 16, SCSI_SENSE_LEN = 18, SCSI_LUN_MAX = 16383, SCSI_TARGET_MAX = 255 };
enum { SCSI_WLUN_REPORT_LUNS = 0xc101 }; /* as ScsiReq.lun (SPC-4, 7.7.4) */
enum {                                   /* status, SAM-5, 5.3 */
    SCSI_GOOD = 0x00,
    SCSI_CHECK_CONDITION = 0x02,
    SCSI_BUSY = 0x08,
    SCSI_RESERVATION_CONFLICT = 0x18,
    SCSI_TASK_SET_FULL = 0x28,
};

typedef struct ScsiBus ScsiBus;
typedef struct ScsiDev ScsiDev;
typedef struct ScsiReq ScsiReq;

/* Sense key, additional code and qualifier (SPC-4, 4.5). */
typedef struct ScsiSense {
    uint8_t key, asc, ascq;
} ScsiSense;
enum { /* sense keys */
    SCSI_NO_SENSE = 0,
    SCSI_NOT_READY = 2,
    SCSI_MEDIUM_ERROR = 3,
    SCSI_HARDWARE_ERROR = 4,
    SCSI_ILLEGAL_REQUEST = 5,
    SCSI_UNIT_ATTENTION = 6,
    SCSI_DATA_PROTECT = 7,
    SCSI_ABORTED_COMMAND = 11,
    SCSI_MISCOMPARE = 14,
};
#define SCSI_SENSE(k, c, q) ((ScsiSense){ (k), (c), (q) })

/* What became of a request besides its status. The four failures have no status: the unit did not
 * get to answer. DROPPED: nothing is told of it; it is done anew when the VM goes on, or a reset
 * has ended it. */
typedef enum ScsiResult {
    SCSI_OK,
    SCSI_OVERRUN,
    SCSI_ABORTED,
    SCSI_RESET,
    SCSI_TRANSPORT_FAILURE,
    SCSI_TARGET_FAILURE,
    SCSI_NEXUS_FAILURE,
    SCSI_RETRY,
    SCSI_DROPPED
} ScsiResult;

struct ScsiReq { /* embedded in the host adapter's request */
    uint8_t cdb[SCSI_CDB_MAX];
    uint16_t lun; /* as addressed; another than dev's: the target answers for it */
    uint64_t tag;
    unsigned lane;            /* number of the submitting loop among scsi_bus_set_loops()'s */
    GIov *out, *in;           /* data from and to the initiator; advanced by what was moved */
    void (*done)(ScsiReq *r); /* in the bus's loop; perhaps inside scsi_submit() */
    /* set before done() */
    ScsiResult result;
    uint8_t status;
    uint8_t sense[SCSI_SENSE_LEN];
    unsigned sense_len;
    uint64_t residual; /* bytes of both buffers that were not moved */
    /* the layer's own */
    ScsiDev *dev;
    Loop *loop;            /* that submitted it: it goes on and ends there */
    ScsiReq *next, **prev; /* of its device */
    uint64_t total;
    bool busy;         /* the block layer has it */
    ScsiResult wanted; /* cancelled: how it ends when the block layer is done */
    BlkReq b;
    struct iovec *iov, inline_iov[8];
    uint8_t *buf; /* data of commands that need a copy: scsi_buffer() */
    size_t nbuf;
    uint64_t at, left; /* of commands in several steps */
    void (*step)(ScsiReq *r, int error);
    void (*cleanup)(ScsiReq *r); /* what a cancelled one leaves behind; NULL: nothing */
};

/* Constants of a device type: ObjClass.ops. */
typedef struct ScsiDevOps {
    bool (*realize)(ScsiDev *d, GError **err);
    void (*unrealize)(ScsiDev *d);
    /* Direction and length that the CDB asks for. False: an unknown operation, or a bad field. */
    bool (*xfer)(ScsiDev *d, const uint8_t *cdb, bool *ret_out, uint64_t *ret_len, ScsiSense *why);
    void (*run)(ScsiReq *r); /* ends in scsi_good(), scsi_fail() or a block request */
    void (*reset)(ScsiDev *d);
} ScsiDevOps;

struct ScsiDev { /* OBJ_DEVICE on a bus of type "SCSI" */
    Dev dev;
    uint32_t channel, id, lun;
    const ScsiDevOps *ops;
    ScsiBus *bus;
    uint8_t type; /* peripheral device type: 0 disk, 5 CD (SPC-4, 6.4.2) */
    /* The rest belongs to the bus's loop. */
    bool plugged, dropping;
    ScsiReq *reqs;          /* out, newest first */
    ScsiSense attention[4]; /* pending unit attentions, oldest first */
    unsigned nattention;
    size_t buffered; /* bytes of all requests' buf */
};

/* What a bus asks of its host adapter. Main, VM lock. */
typedef struct ScsiHostOps {
    void (*plugged)(ScsiBus *b, ScsiDev *d);
    void (*unplugged)(ScsiBus *b, ScsiDev *d);
    void (*changed)(
        ScsiBus *b, ScsiDev *d, ScsiSense what); /* parameters: capacity, cache, medium */
} ScsiHostOps;

struct ScsiBus {
    Bus bus;
    const ScsiHostOps *ops;
    Loop *loop;
    /* Requests come from several loops: what belongs to "the loop" is guarded by the lock, and
     * `loop` is main. NULL: from `loop` alone, which needs no lock. */
    Loop *const *loops;
    unsigned nloops;
    GRecMutex lock;
    unsigned max_target, max_lun;
    GPtrArray *devs; /* ScsiDev*, sorted by target and lun; the loop's */
    /* Requests whose error stops the VM stay where they are; else they are dropped. The loop's. */
    bool keeps;
};

/* name: NULL: "<id>.0". */
void scsi_bus_init(ScsiBus *b, Dev *host, const ScsiHostOps *ops, const char *name);
/* Before devices come: where requests are made. */
void scsi_bus_set_loop(ScsiBus *b, Loop *l);
void scsi_bus_set_loops(ScsiBus *b, Loop *const *l, unsigned n); /* l stays the caller's */
/* Around scsi_find() and scsi_submit(). */
void scsi_lock(ScsiBus *b);
void scsi_unlock(ScsiBus *b);
/* In each loop that submits, with the lock. Main. */
void scsi_each_loop(ScsiBus *b, LoopFn *fn, void *opaque);
/* The request is this thread's. */
bool scsi_is_here(const ScsiReq *r);
void scsi_bus_fini(ScsiBus *b);
/* The unit, or another one of the target that answers for it; NULL: no such target. The loop. */
ScsiDev *scsi_find(ScsiBus *b, unsigned target, unsigned lun);
/* Takes r until done(); cdb, lun, tag, out, in and done are set. The loop. */
void scsi_submit(ScsiDev *d, ScsiReq *r);
/* Ends r as `how` as soon as the block layer lets go of it (at once when it does not have it). */
void scsi_cancel(ScsiReq *r, ScsiResult how);
/* Unit attention 29h for all or one, other state to defaults; requests must be gone. The loop. */
void scsi_unit_reset(ScsiDev *d);
/* Which requests: all when fn is NULL. */
typedef struct ScsiPick {
    bool (*fn)(const ScsiReq *r, void *opaque);
    void *opaque;
} ScsiPick;
/* Waits for what the host works on; then drops what waits for the VM to stop, and what waits behind
 * that. Main. */
void scsi_bus_drain(ScsiBus *b, ScsiPick pick);
void scsi_bus_drop(ScsiBus *b, ScsiPick pick); /* the second half; in the loop, or in main */

/* For device types. */
void scsi_good(ScsiReq *r);
void scsi_fail(ScsiReq *r, ScsiSense why);
/* A host's error as sense data (EIO, ENOSPC, ENOMEDIUM ...) or as a failure on the way (ENOLINK,
 * EAGAIN ...). */
void scsi_fail_errno(ScsiReq *r, int error);
/* r->buf, len zeroes until r ends; 0 or -errno: a unit has so much for all its requests, which is
 * TASK SET FULL to those that get none. */
int scsi_buffer(ScsiReq *r, size_t len);
/* Copies min(len, alloc, room) bytes to the initiator and ends well. */
void scsi_reply(ScsiReq *r, const void *data, size_t len, size_t alloc);
/* Queues a unit attention; the loop. */
void scsi_attention(ScsiDev *d, ScsiSense what);
/* The next one, reported by REQUEST SENSE or by failing a command; false: none. */
bool scsi_take_attention(ScsiDev *d, ScsiSense *ret);
/* Fixed format (SPC-4, 4.5.3); returns SCSI_SENSE_LEN. */
unsigned scsi_put_sense(ScsiSense s, uint8_t *dst);

static inline uint32_t scsi_be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}
static inline uint32_t scsi_be32(const uint8_t *p)
{
    return scsi_be16(p) << 16 | scsi_be16(p + 2);
}
static inline uint64_t scsi_be64(const uint8_t *p)
{
    return (uint64_t)scsi_be32(p) << 32 | scsi_be32(p + 4);
}
static inline void scsi_put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void scsi_put32(uint8_t *p, uint32_t v)
{
    scsi_put16(p, v >> 16);
    scsi_put16(p + 2, v);
}
static inline void scsi_put64(uint8_t *p, uint64_t v)
{
    scsi_put32(p, (uint32_t)(v >> 32));
    scsi_put32(p + 4, (uint32_t)v);
}

/* ObjClass.realize and .unrealize of every unit; .ops are its ScsiDevOps. */
bool scsi_dev_realize(Obj *o, GError **err);
void scsi_dev_unrealize(Obj *o);
extern const ObjClass scsi_device_class; /* "scsi-device", abstract */
