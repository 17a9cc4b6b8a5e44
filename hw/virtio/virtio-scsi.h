/* Shared by the files of virtio-scsi only. */
#pragma once

#include "backends/iothread.h"
#include "hw/scsi/scsi.h"
#include "hw/virtio/virtio-pci.h"

enum { Q_CONTROL, Q_EVENT, Q_REQUEST };
enum {
    S_OK = 0,
    S_OVERRUN = 1,
    S_ABORTED = 2,
    S_BAD_TARGET = 3,
    S_RESET = 4,
    S_BUSY = 5,
    S_TRANSPORT_FAILURE = 6,
    S_TARGET_FAILURE = 7,
    S_NEXUS_FAILURE = 8,
    S_FAILURE = 9,
    S_SUCCEEDED = 10,
    S_REJECTED = 11,
    S_INCORRECT_LUN = 12
};

typedef struct VirtioScsi {
    VirtioDev vd;
    ScsiBus bus;
    bool bus_ready;
    uint32_t num_queues, virtqueue_size, max_sectors, cmd_per_lun;
    bool hotplug, param_change, seg_max_adjust;
    IoThreadUse threads;
    _Atomic uint32_t sense_size, cdb_size; /* the driver's */
    bool missed;                           /* events that found no buffer */
    VqSpec control, event, request;
} VirtioScsi;

typedef struct CmdReq {
    VqElem e; /* first: vq.h */
    ScsiReq r;
    uint32_t sense_size;
    GSList *waiters; /* TmfReq*: they end when this one has */
} CmdReq;

typedef struct TmfReq {
    VqElem e;
    unsigned waits; /* for so many requests */
    uint8_t response;
} TmfReq;

/* The unit that eight bytes address; NULL: none (5.6.6.1). With the bus's lock, or in main. */
ScsiDev *vscsi_find_unit(VirtioScsi *s, const uint8_t *v, uint16_t *ret_lun);
/* virtio-scsi-tmf.c */
VqVerdict vscsi_control_request(VirtioDev *d, VqElem *e);
/* One request less to wait for; with the bus's lock. */
void vscsi_tmf_put(TmfReq *t);
