/* A programmable virtio device for tests of the core: one request queue, one queue the device sends
 * on. */
#pragma once

#include "hw/virtio/virtio-pci.h"

typedef struct Dummy {
    VirtioDev vd;
    /* What the request queue does with the next chains; NULL: echo out to in, DONE. */
    VqVerdict (*on_request)(struct Dummy *d, VqElem *e);
    GPtrArray *held; /* VqElem*: what on_request kept */
    unsigned requests, batches, refills, starts, stops, resets;
    bool refuse_start;
    bool keep_on_stop; /* stop leaves held chains out, as a stalled back end would */
    uint8_t config[8];
    size_t wrote_off, wrote_len;
    uint32_t queue_size; /* of the request queue */
    uint64_t shm_size;   /* 0: none, else of region 3; region 200 has 64 KiB */
    Region shm[2];
} Dummy;

enum { DUMMY_REQUESTQ, DUMMY_EVENTQ };
typedef struct DummyReq {
    VqElem e;
    uint64_t mark;
} DummyReq;
extern const ObjClass dummy_class, dummy_pci_base_class, dummy_pci_class,
    dummy_pci_transitional_class, dummy_pci_non_transitional_class; /* "dummy-pci", id 40 */
extern Loop *dummy_loop; /* where new dummies run their data path; NULL: main */
static inline Dummy *dummy_of(Dev *proxy)
{
    return (Dummy *)virtio_pci_child(&proxy->obj);
}
