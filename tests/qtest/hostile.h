/* Hostile drivers against the real binary: a device, its log, guest memory that the test has mapped
 * too. */
#pragma once

#include "tests/lib/libqtest.h"
#include "tests/lib/vdriver.h"

/* One line a device type; 16 MiB of guest memory. */
enum { HOSTILE_RAM = 16 << 20, HOSTILE_DEVFN = 4 << 3 };
typedef struct HostileType {
    const char *driver; /* "virtio-rng-pci" */
    const char *host;   /* options of its back ends; DIR: a folder of the test's own */
    const char *opts;   /* of the device, beginning with a comma; DIR, too */
    const char *child;  /* what sits on it */
    uint64_t without;   /* feature bits that its plainest data path does not take */
    uint8_t queue;      /* where requests go */
    uint16_t out, in;   /* a request: readable bytes, writable bytes */
    uint8_t head[24];   /* how its readable part begins */
    const char *part;   /* which of its queues, where there are lines for several */
    bool fed;           /* a peer sends a frame with each kick: DIR/us and DIR/vm */
} HostileType;
#define HOSTILE_WIRE                                                                               \
    "-netdev dgram,id=n,local.type=unix,local.path=DIR/vm,remote.type=unix,remote.path=DIR/us"
extern const HostileType hostile_types[];
extern const unsigned hostile_ntypes;

typedef struct Hostile {
    const HostileType *t;
    QTestVm *q;
    VPort port; /* memory by the mapping, registers by the socket */
    VDriver d;
    VRing *r; /* its request queue */
    char *dir, *log, *file;
    uint8_t *ram;
    int peer; /* the far end of its cable; -1: none */
    unsigned lines, bad;
    bool packed;
} Hostile;

/* slow: a back end that takes its time. express: behind a root port. False: there is no binary. */
bool hostile_up(Hostile *x, const HostileType *t, bool slow, bool express);
void hostile_down(Hostile *x);
void hostile_start(Hostile *x, bool packed); /* reset, features, queues, DRIVER_OK */
void hostile_alive(Hostile *x);              /* a request of good will is answered */
unsigned hostile_put(Hostile *x);            /* makes one available; its head or buffer id */
void hostile_good(Hostile *x);               /* makes one available and kicks */
void hostile_kick(Hostile *x);               /* and what makes the device look for buffers */
/* A descriptor; in a packed ring one that is available. */
void hostile_desc(Hostile *x, unsigned i, uint64_t at, uint32_t len, unsigned flags, unsigned next);
void hostile_avail(Hostile *x, unsigned head); /* split rings need it */
void hostile_broken(Hostile *x);               /* waits for NEEDS_RESET */
void hostile_wait_reset(const Hostile *x);
/* The device has noticed: NEEDS_RESET, its interrupt, one line in the log; then it works again. */
void hostile_noticed(Hostile *x);
unsigned hostile_log_lines(const Hostile *x);
double hostile_cpu(const Hostile *x); /* seconds that the process has used */
uint64_t hostile_rss(const Hostile *x);
unsigned hostile_fds(const Hostile *x);                /* that the process has open */
unsigned hostile_drain(VRing *r);                      /* takes what is used: how many */
void hostile_finish(Hostile *x, VRing *r, unsigned n); /* until n are used */
