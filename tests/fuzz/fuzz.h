/* What the files of the fuzzers share: an input, the machine, the loop turned by hand. */
#pragma once

#include "hw/virtio/virtio-pci.h"
#include "net/net.h"
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"

typedef struct Input {
    const uint8_t *p;
    size_t left;
} Input;

static inline uint8_t u8(Input *in)
{
    return in->left ? in->left--, *in->p++ : 0;
}

static inline uint32_t u16(Input *in)
{
    uint32_t lo = u8(in);

    return lo | (uint32_t)u8(in) << 8;
}

static inline uint32_t u32(Input *in)
{
    uint32_t lo = u16(in);

    return lo | u16(in) << 16;
}

/*
 * The guest's memory, 128 KiB at address 0 and all of it cleaned between inputs: three pages of
 * rings for each queue (the legacy layout needs them), messages, data.
 */
enum {
    RAM_SIZE = 0x20000,
    QUEUES = 4,
    QUEUE_PAGES = 3,
    RINGS = 0x1000,
    MSI_PAGE = 0xf000,
    DATA = 0x10000,
    TABLE = 0x18000,
    FIRST_SLOT = 4
};
typedef struct FuzzDev {
    Dev *dev;
    VirtioPci *pci;
    VirtioDev *vd;
    VDriver drv;
    uint8_t config[256]; /* as it is at the beginning of an input */
    bool dirty;          /* configuration space was written */
} FuzzDev;

typedef struct Fuzz {
    Board *b;
    VPort port; /* the driver's own, short ways: see fuzz-machine.c */
    Region ram;
    uint8_t *host;
    uint32_t touched; /* pages that the driver wrote */
    NetPort wire;     /* the net device's other end */
    FuzzDev *dev;
    unsigned ndevs;
    FuzzDev *f; /* this input's device */
    VDriver *d;
    unsigned nqueues;
    int ring; /* --ring=: 0 both, 1 split, 2 packed */
} Fuzz;
extern Fuzz fz;

/* fuzz-machine.c, or fuzz-net.c: devices are made once. */
void fuzz_prepare(void);
void fuzz_begin(unsigned which);
void fuzz_end(void); /* whatever the driver did: a reset ends in a device that is as new */
void fuzz_write(uint64_t at, const void *src, size_t len); /* guest memory */
void fuzz_config_snapshot(FuzzDev *f);
/* fuzz-turn.c: runs what the device has posted; no system call. */
void fuzz_turn(void); /* some of it */
void fuzz_idle(void); /* until there is nothing left */
/* fuzz-ring.c, or fuzz-net.c */
bool fuzz_option(const char *arg); /* false: it is not one */
void fuzz_one(Input *in);
