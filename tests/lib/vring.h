/* The driver's side of a virtqueue in guest memory (VIRTIO 1.4, 2.7 and 2.8), reached through a
 * VPort. */
#pragma once

#include "tests/lib/vport.h"

#include <glib.h>

typedef struct VBuf {
    uint64_t at;
    uint32_t len;
    bool write;
} VBuf;
enum { VRING_IDS = 1024 };
enum { VRING_NEXT = 1, VRING_WRITE = 2, VRING_INDIRECT = 4 };

typedef struct VRing {
    const VPort *port;
    bool packed, event_idx;
    uint16_t size;
    uint64_t desc, driver, device;
    uint16_t free_head;   /* split: next descriptor to use; packed: next buffer id */
    uint16_t avail, used; /* split: counters; packed: positions */
    bool avail_wrap, used_wrap;
    uint16_t len_of[VRING_IDS]; /* packed: ring length of a buffer id */
    uint16_t *len_more;         /* the same for all ids of a longer ring; from the test */
    /* IN_ORDER: what is out, oldest first; one used entry may stand for several (2.7.9, 2.8.8) */
    bool in_order, in_batch;
    uint16_t order[VRING_IDS];
    uint32_t full[VRING_IDS]; /* writable bytes: what an entry that is left out says */
    unsigned order_first, order_n;
    uint32_t batch_id, batch_len;
} VRing;

/* Zeroes and lays out the ring: desc at `at`, driver area behind it, device area at the next 4096.
 */
void vring_init(
    VRing *r, const VPort *port, uint64_t at, uint16_t size, bool packed, bool event_idx);
uint64_t vring_end(const VRing *r);
/* Makes a chain available; table != 0: as an indirect table there. Returns what the used ring will
 * name. */
uint16_t vring_add(VRing *r, const VBuf *buf, unsigned n, uint64_t table);
bool vring_used(
    VRing *r, uint32_t *ret_id, uint32_t *ret_len); /* takes one used entry; false: none */
bool vring_wants_kick(const VRing *r, uint16_t before);
/* Raw access for hostile tests. */
void vring_desc(
    const VRing *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
void vring_avail(VRing *r, uint16_t head); /* split: one ring entry and the index */
void vring_set_avail_idx(const VRing *r, uint16_t idx);
uint16_t vring_used_idx(const VRing *r);
