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
struct ThrottleMember;
typedef struct BlkWait { /* for its turn under a limit: block/throttle.h */
    struct BlkWait *next;
    void (*go)(struct BlkWait *w);
    Loop *loop; /* where go() runs; NULL: anywhere */
    struct ThrottleMember *member;
    uint64_t bytes;
    bool write, queued;
} BlkWait;
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
    unsigned lane; /* which of blk_set_loops() submits; 0 where there is one */
    union {        /* the layer's own */
        PoolJob job;
        UringOp op_uring;
        LoopIdle idle;
        BlkWait wait;
    };
    BlkNode *taker; /* who took it by its submit() */
    BlkNode *at;    /* where a worker runs it */
    bool waits;     /* under a limit */
    struct BlkReq *next;
    unsigned joined;  /* requests of the device's that this one does besides its own */
    int64_t start_ns; /* the layer's: when it came */
} BlkReq;

typedef enum BlkTaken { BLK_NOT_TAKEN, BLK_TAKEN, BLK_TAKEN_DONE } BlkTaken;

struct BlkDriver {
    const char *name; /* "qcow2", "raw", "file", "host_device", "null-co" */
    const char *help;
    size_t size;           /* of its state, behind BlkNode.state */
    const PropSpec *props; /* -blockdev options beyond the common ones; NULL: none */
    size_t opts_size;      /* of the struct they fill, BlkNode.opts */
    bool protocol;         /* the bottom of a graph: no "file" child */
    const char *child;     /* what the node below is called; NULL: "file" */
    bool backing;          /* takes "backing" */
    bool filter;           /* shows what is in the node below, which counts as its backing */
    /* Options without which a file's name would not lead to the same data, NULL-terminated: queries
     * show a node that has one of them as "json:…". NULL: none. */
    const char *const *strong;
    /* Keeps tables of its own in the node below, which it locks from open to close: nobody else
     * writes there. */
    bool guards;
    bool (*open)(BlkNode *n, GError **err);
    void (*close)(BlkNode *n);
    /* Plain blocking code; the pool supplies concurrency. Returns 0 or -errno. */
    int (*preadv)(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len);
    int (*pwritev)(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len,
        unsigned flags);
    /* A read that waits for no disk, in the pool, too. False: it would, or nobody can say. */
    bool (*preadv_quick)(
        BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len);
    int (*flush)(BlkNode *n);
    int (*discard)(BlkNode *n, uint64_t off, uint64_t len);
    int (*write_zeroes)(BlkNode *n, uint64_t off, uint64_t len, unsigned flags);
    int (*truncate)(BlkNode *n, uint64_t size);
    /* Optional fast path, in the submitting loop: io_uring, null. BLK_TAKEN: it calls
     * blk_req_done() later; BLK_TAKEN_DONE: r->error is set already. Otherwise the pool does it. */
    BlkTaken (*submit)(BlkNode *n, BlkReq *r);
    /* Reads and writes at once, wherever they are: nothing to wait for, no error. */
    void (*now)(BlkNode *n, const BlkReq *r);
    /* on: nobody waits in the node any more, until off. NULL: nobody does. */
    void (*drain)(BlkNode *n, bool on);
    /* A device begins to use the node (on), or another emulator's use of the image stands against
     * it; or ends. NULL: nobody to ask. */
    bool (*lock)(BlkNode *n, bool on, bool share_rw, GError **err);
    /* The node above does something that a rule may be about ("read_aio" …). NULL: no rules here.
     */
    void (*event)(BlkNode *n, const char *what);
    /* Bytes that the image takes on the host, or -errno. NULL: what the node below says. */
    int64_t (*allocated)(BlkNode *n);
    /* What queries call it where no option is strong, g_free. NULL: as the node below. */
    char *(*shown)(const BlkNode *n);
    /* Members of query-block's "image" that only this format has. NULL: none. */
    void (*describe)(BlkNode *n, JsonWriter *w);
    /* Members of query-blockstats' "driver-specific". NULL: it is left out. */
    void (*put_stats)(BlkNode *n, JsonWriter *w);
};
struct BlkNode {
    const BlkDriver *drv;
    char *name;         /* node-name, "#block123" when not given */
    void *state, *opts; /* driver's state and option struct */
    BlkNode *file;      /* child; NULL for protocols */
    BlkNode *backing;   /* read where this node has nothing of its own; NULL: zeroes */
    /* What the image's header says of its backing file, set by open(); NULL: none. */
    char *backing_name, *backing_format;
    const BlkNode *guard; /* the format above that keeps this node for itself */
    bool guarding;        /* holds the locks of file and backing */
    bool instant;         /* set by open(): now() may be asked */
    uint64_t size;        /* bytes */
    uint64_t highest;     /* end of what was written, atomic */
    uint32_t align;       /* request alignment in bytes, 1 for none */
    bool read_only, auto_read_only, discard_unmap, detect_zeroes;
    bool cache_direct, cache_no_flush, force_share;
    bool from_monitor; /* -blockdev, blockdev-add: may be deleted by name */
    char *filename;    /* of the file at the bottom */
    char *shown;       /* what queries call it; NULL: filename */
    bool json_shown;   /* that is "json:" and the next */
    Json *options;     /* what says all of it: driver, strong options, the same of the node below */
    uint32_t refs;
};
extern const BlkDriver *const blk_drivers[]; /* block/block.c */

/* What drivers ask of a child: blocking, in a worker or in open(). 0 or -errno. Reads behind the
 * child's end give zeroes; discards the child's options do not allow do nothing. */
int blk_node_preadv(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len);
int blk_node_pwritev(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags);
int blk_node_pread(BlkNode *n, uint64_t off, void *buf, size_t len);
int blk_node_pwrite(BlkNode *n, uint64_t off, const void *buf, size_t len);
int blk_node_flush(BlkNode *n);
int blk_node_discard(BlkNode *n, uint64_t off, uint64_t len);
/* Zeroes, by plain writes where the child knows no better; flags: BLK_MAY_UNMAP. */
int blk_node_zeroes(BlkNode *n, uint64_t off, uint64_t len, unsigned flags);
int blk_node_truncate(BlkNode *n, uint64_t size);
/* Names what a format does to its child, for blkdebug: QEMU's names of events. */
static inline void blk_node_event(BlkNode *n, const char *what)
{
    if (n->drv->event) {
        n->drv->event(n, what);
    }
}

/* -blockdev / blockdev-add. */
BlkNode *blk_node_create(const Json *args, GError **err);
bool blk_node_delete(const char *name, GError **err);
/* -drive: file, if, id, format, cache, aio, media, readonly, snapshot, werror, rerror, serial …;
 * makes a Blk of that id. */
Blk *blk_drive_create(const Json *args, GError **err);
bool blk_drive_delete(const char *id, GError **err); /* one that no device has */
Blk *blk_new_empty(void); /* a drive without a name and without a medium; ends with blk_detach() */
Blk *blk_find(const char *id); /* -drive ids, then node names (an anonymous handle on the node) */
void blk_cleanup(void);        /* drains and closes all */

/* -drive's if=: "virtio", "none" …; NULL for node handles. */
const char *blk_drive_if(const Blk *b);
void blk_each(void (*fn)(Blk *b, void *opaque), void *opaque);
BlkOnError blk_on_error(const Blk *b, bool write); /* -drive werror/rerror */
/* What errors do while a device has b. */
void blk_set_on_error(Blk *b, BlkOnError werror, BlkOnError rerror);
/* For done() with r->error: REPORT, IGNORE, or STOP: the VM is about to stop, the device keeps the
 * request and does it anew when it goes on. Tells whoever manages the VM. */
BlkOnError blk_error_action(const BlkReq *r);
void blk_set_stopper(LoopFn *fn, void *opaque); /* stops the VM; main */
void blk_forget_errors(void);                   /* the VM goes on: query-block's io-status */
/* A device takes the handle, and the image's locks; others may write the image too only when both
 * sides share_rw. */
bool blk_attach(Blk *b, Obj *dev, bool share_rw, GError **err);
void blk_detach(Blk *b);
/* The device is gone for good: -drive's handle goes with it, as in QEMU; a node stays. */
void blk_leave(Blk *b);
bool blk_inserted(const Blk *b);
bool blk_read_only(const Blk *b);
uint64_t blk_size(const Blk *b); /* bytes */
bool blk_write_cache(const Blk *b);
/* What query-blockstats counts as an access, besides what went well; AUTO: as the drive says. */
void blk_set_accounting(Blk *b, OnOffAuto failed, OnOffAuto invalid);
/* A request that the device itself found impossible. Where it would be submitted. */
void blk_count_invalid(Blk *b, unsigned lane, BlkOp op);
void blk_set_write_cache(
    Blk *b, bool on);                 /* off: each write is followed by a flush before done() */
const char *blk_id(const Blk *b);     /* -drive's id, or the node's name */
const char *blk_name(const Blk *b);   /* -drive's id, or "" */
const char *blk_serial(const Blk *b); /* -drive serial=, or NULL */
BlkNode *blk_node(const Blk *b);
/* Ends with -ECANCELED when it waits for its turn under a limit; false: the host has it. Its loop.
 */
bool blk_cancel(BlkReq *r);
void blk_submit(Blk *b, BlkReq *r); /* any loop; bounds are checked here (-EIO beyond the end) */
/* A read or write that is done when it returns, without error, and without done(). False: nothing
 * has happened, blk_submit() is for it. The lane's loop. */
bool blk_submit_now(Blk *b, BlkReq *r);
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
extern const QmpCmd block_throttle_cmds[]; /* block_set_io_throttle */
extern const ObjClass throttle_group_class;
extern const QmpCmd block_tray_cmds[]; /* eject, blockdev-open-tray … */
/* Main, or the loop that submits: until nothing is in flight. */
void blk_drain(Blk *b);
void blk_drain_lane(Blk *b, unsigned lane); /* what one lane submitted */
/* Whose requests come from another loop than main says so while nothing is in flight. VM lock. */
void blk_set_loop(Blk *b, Loop *l);
void blk_set_loops(Blk *b, Loop *const *l, unsigned n); /* one for each BlkReq.lane */
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
bool blk_conf_check(BlkConf *c, Blk *b, uint32_t def_block, GError **err);
extern const PropType prop_blk_on_error; /* BlockdevOnError */

extern const QmpCmd
    block_qmp_cmds[]; /* query-block, query-named-block-nodes, blockdev-add/del, block_resize … */
typedef struct BlkDescribe {
    const char *name;    /* of a drive, a node or a disk device; NULL: all */
    bool nodes, verbose; /* nodes instead of drives; all about the images, too */
} BlkDescribe;
void blk_describe(const BlkDescribe *what, GString *out); /* info block */
void blk_describe_stats(GString *out);                    /* info blockstats */

/* prop type for drive=ID: keeps a Blk*; "Property 'virtio-blk-device.drive' can't find value
 * 'nope'". */
extern const PropType prop_drive;
#define PROP_DRIVE(n, T, f, h)                                                                     \
    {                                                                                              \
        .name = (n), .type = &prop_drive, .offset = PROP_AT(T, f, Blk *), .bit = -1,               \
        .flags = PROP_NO_DEFAULT, .help = (h)                                                      \
    }
