/*
 * The block layer: a Blk is the handle a device holds, a BlkNode a node in the graph (format over
 * protocol). Requests are embedded in the device's; done() runs in the submitting loop. 0 or -errno
 * inside.
 */
#pragma once

#include "object/obj.h"
#include "object/qmp.h"
#include "util/loop.h"
#include "util/pool.h"
#include "util/uring.h"

#include <sys/uio.h>

typedef struct Blk Blk;
typedef struct BlkNode BlkNode;
typedef struct BlkDriver BlkDriver;

typedef enum BlkOnError {
    BLK_ON_ERROR_AUTO,
    BLK_ON_ERROR_REPORT,
    BLK_ON_ERROR_IGNORE,
    BLK_ON_ERROR_ENOSPC,
    BLK_ON_ERROR_STOP
} BlkOnError;
typedef enum BlkOp { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES } BlkOp;
enum { BLK_FUA = 1 << 0, BLK_MAY_UNMAP = 1 << 1 };
typedef struct BlkReq { /* embedded in the device's request: no allocation */
    BlkOp op;
    unsigned flags;
    uint64_t off, len; /* bytes */
    const struct iovec *iov;
    unsigned niov;
    int error;                      /* 0 or -errno, set before done() */
    void (*done)(struct BlkReq *r); /* runs in the submitting loop, never inside blk_submit() */
    Loop *loop;                     /* set by blk_submit */
    Blk *blk;
    union { /* the layer's own */
        PoolJob job;
        UringOp op_uring;
        LoopIdle idle;
    };
    BlkNode *taker; /* who took it by its submit() */
    struct BlkReq *next;
    int64_t start_ns;
} BlkReq;

typedef enum BlkTaken { BLK_NOT_TAKEN, BLK_TAKEN, BLK_TAKEN_DONE } BlkTaken;

struct BlkDriver {
    const char *name; /* "qcow2", "raw", "file", "host_device", "null-co" */
    const char *help;
    size_t size;           /* of its state, behind BlkNode.state */
    const PropSpec *props; /* -blockdev options beyond the common ones; NULL: none */
    size_t opts_size;      /* of the struct they fill, BlkNode.opts */
    bool protocol;         /* the bottom of a graph: no "file" child */
    bool (*open)(BlkNode *n, GError **err);
    void (*close)(BlkNode *n);
    /* Plain blocking code; the pool supplies concurrency. Returns 0 or -errno. */
    int (*preadv)(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len);
    int (*pwritev)(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len,
        unsigned flags);
    int (*flush)(BlkNode *n);
    int (*discard)(BlkNode *n, uint64_t off, uint64_t len);
    int (*write_zeroes)(BlkNode *n, uint64_t off, uint64_t len, unsigned flags);
    int (*truncate)(BlkNode *n, uint64_t size);
    /* Optional fast path, in the submitting loop: io_uring, null. BLK_TAKEN: it calls
     * blk_req_done() later; BLK_TAKEN_DONE: r->error is set already. Otherwise the pool does it. */
    BlkTaken (*submit)(BlkNode *n, BlkReq *r);
    /* A device begins to use the node (on), or another emulator's use of the image stands against
     * it; or ends. NULL: nobody to ask. */
    bool (*lock)(BlkNode *n, bool on, bool share_rw, GError **err);
};
struct BlkNode {
    const BlkDriver *drv;
    char *name;         /* node-name, "#block123" when not given */
    void *state, *opts; /* driver's state and option struct */
    BlkNode *file;      /* child; NULL for protocols */
    uint64_t size;      /* bytes */
    uint32_t align;     /* request alignment in bytes, 1 for none */
    bool read_only, auto_read_only, discard_unmap, detect_zeroes;
    bool cache_direct, cache_no_flush, force_share;
    bool from_monitor; /* -blockdev, blockdev-add: may be deleted by name */
    char *filename;
    uint32_t refs;
};
extern const BlkDriver *const blk_drivers[]; /* block/block.c */

/* -blockdev / blockdev-add. */
BlkNode *blk_node_create(const Json *args, GError **err);
bool blk_node_delete(const char *name, GError **err);
/* -drive: file, if, id, format, cache, aio, media, readonly, snapshot, werror, rerror, serial …;
 * makes a Blk of that id. */
Blk *blk_drive_create(const Json *args, GError **err);
Blk *blk_new_empty(void); /* a drive without a name and without a medium; ends with blk_detach() */
Blk *blk_find(const char *id); /* -drive ids, then node names (an anonymous handle on the node) */
void blk_cleanup(void);        /* drains and closes all */

/* -drive's if=: "virtio", "none" …; NULL for node handles. */
const char *blk_drive_if(const Blk *b);
void blk_each(void (*fn)(Blk *b, void *opaque), void *opaque);
BlkOnError blk_on_error(const Blk *b, bool write); /* -drive werror/rerror */
/* A device takes the handle, and the image's locks; others may write the image too only when both
 * sides share_rw. */
bool blk_attach(Blk *b, Obj *dev, bool share_rw, GError **err);
void blk_detach(Blk *b);
bool blk_inserted(const Blk *b);
bool blk_read_only(const Blk *b);
uint64_t blk_size(const Blk *b); /* bytes */
bool blk_write_cache(const Blk *b);
void blk_set_write_cache(
    Blk *b, bool on);                 /* off: each write is followed by a flush before done() */
const char *blk_id(const Blk *b);     /* -drive's id, or the node's name */
const char *blk_name(const Blk *b);   /* -drive's id, or "" */
const char *blk_serial(const Blk *b); /* -drive serial=, or NULL */
BlkNode *blk_node(const Blk *b);
void blk_submit(Blk *b, BlkReq *r); /* any loop; bounds are checked here (-EIO beyond the end) */
/* A device whose medium can be changed while it runs. Main; rendezvous with the device's loop is
 * its own matter. */
typedef struct BlkTray {
    bool (*is_open)(void *opaque);
    bool (*is_locked)(void *opaque);
    void (*move)(void *opaque, bool open);
    void (*ask_eject)(void *opaque, bool force); /* the guest has locked it */
    void (*changed)(void *opaque);               /* another medium, or none */
} BlkTray;
void blk_set_tray(Blk *b, const BlkTray *tray, void *opaque);
bool blk_removable(const Blk *b);
bool blk_tray_open(const Blk *b);
bool blk_tray_locked(const Blk *b);
extern const QmpCmd block_tray_cmds[]; /* eject, blockdev-open-tray … */
/* Main, or the loop that submits: until nothing is in flight. */
void blk_drain(Blk *b);
/* Whose requests come from another loop than main says so while nothing is in flight. VM lock. */
void blk_set_loop(Blk *b, Loop *l);
unsigned blk_in_flight(const Blk *b);
void blk_on_resize(Blk *b, LoopFn *fn, void *opaque);
/* What a disk device takes besides its drive, as its property rows fill it. */
typedef struct BlkConf {
    uint64_t logical_block, physical_block,
        discard_granularity; /* bytes; granularity UINT32_MAX: auto */
    uint32_t min_io, opt_io;
    uint32_t cyls, heads, secs;
    int werror, rerror; /* BlkOnError */
} BlkConf;
/* Fills in what was left out (blocks of def_block bytes, the drive's policies) and checks the rest.
 */
bool blk_conf_check(BlkConf *c, const Blk *b, uint32_t def_block, GError **err);
extern const PropType prop_blk_on_error; /* BlockdevOnError */

extern const QmpCmd
    block_qmp_cmds[]; /* query-block, query-named-block-nodes, blockdev-add/del, block_resize … */
void blk_describe(GString *out); /* info block */

/* prop type for drive=ID: keeps a Blk*; "Property 'virtio-blk-device.drive' can't find value
 * 'nope'". */
extern const PropType prop_drive;
#define PROP_DRIVE(n, T, f, h)                                                                     \
    {                                                                                              \
        .name = (n), .type = &prop_drive, .offset = PROP_AT(T, f, Blk *), .bit = -1,               \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
