/* The driver's side of virtio-pci (VIRTIO 1.4, 4.1): finds a function, maps BARs, negotiates, runs
 * queues. */
#pragma once

#include "tests/lib/vring.h"

enum { VD_QUEUES = 8 };
typedef struct VDriver {
    const VPort *port;
    unsigned bus, devfn;
    bool legacy, msix; /* how it is driven */
    uint64_t bar[6];
    uint32_t bar_size[6];
    uint64_t common, isr, device, notify; /* addresses; 0: not there */
    uint32_t notify_mult;
    bool notify_io; /* the first notification structure is in a BAR of ports */
    unsigned cap_msix, cap_pci_cfg, cap_pcie;
    uint64_t alloc;                   /* next free guest page */
    uint64_t features, features_more; /* features_more: from 64 on, accepted, too */
    VRing ring[VD_QUEUES];
    uint64_t msi_at; /* guest memory the messages go to */
} VDriver;

uint32_t vd_cfg_read(const VPort *p, unsigned bus, unsigned devfn, unsigned reg, unsigned size);
void vd_cfg_write(
    const VPort *p, unsigned bus, unsigned devfn, unsigned reg, unsigned size, uint32_t val);

/* Maps the BARs and walks the capabilities. MMIO windows from 0xe0000000, ports from 0xc000. */
void vd_open(VDriver *d, const VPort *p, unsigned bus, unsigned devfn, bool legacy);
/* The same with BARs from `window` on; 0: the usual one. */
void vd_open_at(
    VDriver *d, const VPort *p, unsigned bus, unsigned devfn, bool legacy, uint64_t window);
void vd_enable_msix(VDriver *
        d); /* vector i writes 0x4000 + i to msi_at + 4 * i; config uses vector 0, queue i: 1 + i */
uint32_t vd_msi(const VDriver *d, unsigned vector); /* what arrived; clears it */
uint8_t vd_status(const VDriver *d);
void vd_set_status(const VDriver *d, uint8_t s);
uint8_t vd_isr(const VDriver *d);
uint64_t vd_offered(const VDriver *d);
uint64_t vd_offered_more(const VDriver *d); /* from 64 on */
/* Reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK (modern). False: the device refused. */
bool vd_negotiate(VDriver *d, uint64_t features);
void vd_setup_queue(VDriver *d, unsigned i, uint16_t size); /* 0: the device's maximum */
void vd_driver_ok(VDriver *d);
void vd_kick(const VDriver *d, unsigned i);
/* Everything up to DRIVER_OK with all features but the ones in `without`. */
void vd_start(VDriver *d, uint64_t without);
uint64_t vd_page(VDriver *d, size_t len); /* fresh zeroed guest memory */
/* Waits (stepping the port) for a used entry; aborts after too many steps. */
void vd_wait_used(VDriver *d, unsigned i, uint32_t *ret_id, uint32_t *ret_len);
uint64_t vd_read(const VDriver *d, uint64_t off, unsigned size); /* common configuration */
void vd_write(const VDriver *d, uint64_t off, unsigned size, uint64_t val);
