/*
 * Tests of normative sentences: each opens with NORM(id), where id is a row of
 * docs/devel/conformance.tsv and ends the test's name. scripts/spec-matrix.py joins the two. What
 * the standard leaves open is accepted either way; norm_note() says which way we went.
 */
#pragma once

#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"

#include <string.h>

#define NORM(id) norm_begin(id)
enum { NORM_DEVFN = 4 << 3 };
enum { NORM_LEGACY = 1, NORM_MSIX = 2, NORM_START = 4, NORM_BARE = 8 };
#define NORM_BIT(b) (1ull << (b))

typedef struct Norm {
    Board *b;
    Dev *dev;
    Dummy *s; /* NULL: another device type */
    VDriver d;
    VRing *r;      /* the request queue */
    uint64_t page; /* 64 KiB of guest memory */
    char *dir;     /* for a device that makes files */
} Norm;

typedef struct NormTest {
    const char *id;
    void (*fn)(Norm *x);
    unsigned how;     /* NORM_BARE: no machine, the test makes its own */
    const char *opts; /* ", 'packed': true" */
} NormTest;

int norm_main(int argc, char **argv, const NormTest *t, unsigned n);
void norm_begin(const char *id);
void norm_note(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* A machine with one device at 00:04.0. */
void norm_open(Norm *x, const char *driver, const char *opts, unsigned how);
void norm_close(Norm *x);
/* Every type of virtio device in norm-types.c, transitional and not, each in a machine of its own.
 */
void norm_types(void (*fn)(Norm *x, const char *driver));
/* The modern ones alone, with options. */
void norm_modern_types(const char *opts, void (*fn)(Norm *x, const char *driver));
VirtioPci *norm_pci(const Norm *x);
bool norm_transitional(const Norm *x); /* it has the legacy interface */
bool norm_is_modern(const Norm *x);    /* its type never has */
Norm *norm_current(void);              /* the machine opened last, for Dummy.on_request */

void norm_start(Norm *x, uint64_t without);
uint16_t norm_add(Norm *x); /* 4 bytes out at page, 8 in at page + 1000h; echoed: used.len is 4 */
void norm_go(Norm *x);      /* kick, then run until nothing is left to do */
void norm_one(Norm *x);     /* both, and the used entry */
void norm_reset_queue(Norm *x); /* queue 0, by queue_reset */
void norm_used(Norm *x, uint32_t id, uint32_t len);
bool norm_idle(Norm *x); /* no used entry */
void norm_put(const Norm *x, uint64_t at, const char *text);
bool norm_is(const Norm *x, uint64_t at, const char *text);
void norm_fill(const Norm *x, uint64_t at, uint8_t byte, size_t len);

/* For Dummy.on_request. */
VqVerdict norm_hold(Dummy *s, VqElem *e);
void norm_push(Norm *x, unsigned i); /* the i-th of those held */

uint32_t norm_cfg(const Norm *x, unsigned reg, unsigned size);
uint64_t norm_dev(const Norm *x, unsigned off, unsigned size); /* device configuration */
void norm_dev_write(const Norm *x, unsigned off, unsigned size, uint64_t val);
/* The n-th virtio capability of a type (VIRTIO 1.4, 4.1.4); 0: there is none. */
unsigned norm_cap(const Norm *x, unsigned type, unsigned n);
typedef struct NormRange {
    unsigned cap, bar;
    uint64_t at, len;
} NormRange;
/* What that capability names; false: there is none. */
bool norm_range(const Norm *x, unsigned type, unsigned n, NormRange *ret);

/* Calls fn after each write to the guest page at `at`, until norm_unwatch(). */
void norm_watch(const Norm *x, uint64_t at, void (*fn)(void *opaque), void *opaque);
unsigned norm_unwatch(void); /* how many there were */

/* What holds for both kinds of ring. */
void norm_check_buffers(Norm *x); /* of a request: who may write where */
bool norm_takes_at_once(Norm *x); /* a chain that comes while the device works */
