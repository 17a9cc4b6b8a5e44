/* Inside block/: handles and what the drivers share. */
#pragma once

#include "block/block.h"
#include "throttle.h"
#include "util/timer.h"

#include <stdatomic.h>

typedef struct BlkErrorNote {
    int error;
    BlkOnError action;
    bool read;
} BlkErrorNote;

enum { BLK_OPS = 5 };
typedef struct BlkLane { /* for each loop that submits; its own cache lines */
    Loop *loop;          /* NULL: whichever submits */
    unsigned in_flight;  /* atomic */
    /* Written in the loop, read by main: relaxed atomics. ns: of all requests together. */
    uint64_t ops[BLK_OPS], bytes[BLK_OPS], failed[BLK_OPS], invalid[BLK_OPS], merged[BLK_OPS],
        ns[BLK_OPS];
    int64_t last_ns; /* when one ended; 0: none did */
} __attribute__((aligned(64))) BlkLane;

struct Blk {
    char *id;       /* -drive's id; NULL: a device's own handle on a node */
    char *drive_if; /* -drive's if= */
    char *serial;
    BlkNode *node; /* NULL: an empty drive */
    Obj *dev;      /* who uses it */
    bool share_rw, locked;
    bool account_failed, account_invalid; /* these are accesses, too, and take their time */
    const BlkTray *tray;                  /* of a removable medium; NULL: none */
    void *tray_opaque;
    bool was_read_only; /* the medium before */
    bool write_cache;   /* atomic: the guest switches it while requests go out */
    int werror, rerror; /* BlkOnError */
    ThrottleMember limits;
    BlkLane *lane;
    unsigned nlanes; /* at least one */
    struct {
        LoopFn *fn;
        void *opaque;
    } resized;
    int dev_werror, dev_rerror; /* BlkOnError: while a device has it */
    enum { BLK_IO_OK, BLK_IO_FAILED, BLK_IO_NOSPACE } io_status;
    struct {
        GMutex lock; /* the next three: any loop writes them, main takes them */
        bool posted, gone;
        BlkErrorNote note;
        /* main's */
        BlkErrorNote shown;
        bool late; /* shown was not told of yet */
        int64_t told_ns;
        Timer timer;
    } err;
};
typedef struct BlkCount { /* of all lanes together */
    uint64_t ops, bytes, failed, invalid, merged, ns;
} BlkCount;
BlkCount blk_count(const Blk *b, BlkOp op);
int64_t blk_last_ns(const Blk *b); /* CLOCK_KIND_REALTIME; 0: no access yet */
/* Something was written up to there. Any thread. */
void blk_node_wrote(BlkNode *n, uint64_t end);
uint64_t blk_node_highest(const BlkNode *n);
void blk_lanes_new(Blk *b, Loop *const *l, unsigned n); /* instead of those there were */
/* query-blockstats: block/stats.c */
typedef struct BlkStatsArgs {
    bool nodes;
} BlkStatsArgs;
extern const PropSpec blk_stats_args[];
Json *blk_query_stats(void *m, const void *args, GError **err);
/* block/error.c */
void blk_error_init(Blk *b);
bool blk_has_status(const Blk *b); /* its errors can stop the VM */
void blk_error_fini(Blk *b);       /* the last word: frees b */

extern const BlkDriver blk_file, blk_host_device, blk_raw, blk_qcow2, blk_null_co, blk_null_aio,
    blk_blkdebug, blk_throttle, blk_overlay;

/* -drive's and -blockdev's words, NULL-terminated. */
extern const char *const blk_discard_values[], *const blk_detect_values[];
Blk *blk_new(const char *id, BlkNode *n); /* takes a reference to n */

const BlkDriver *blk_driver_find(const char *name);
/* "cache.direct", "filename": as -blockdev knows it. */
bool blk_driver_takes(const BlkDriver *drv, const char *option);
BlkNode *blk_node_find(const char *name);
/* n->shown and n->options of a node that is open. said: the driver's options that were given. */
void blk_node_name_it(BlkNode *n, const Json *said);
const char *blk_node_shown(const BlkNode *n); /* never NULL */
Json *blk_image_info(BlkNode *n);             /* query-block's "image" */
unsigned blk_chain_depth(const BlkNode *n);   /* of blk_node_cow() */
/* Where the backing file is that the image's header names; g_free. */
char *blk_backing_path(const BlkNode *n);
/* What n reads where it has nothing of its own; a filter: the node below. NULL: there is none. */
BlkNode *blk_node_cow(const BlkNode *n);
void blk_node_unref(BlkNode *n);
void blk_set_default(Json *to, const char *key, Json *v); /* takes v */
/* Options of a node below n, which is made with it, that n's stand for where they do not say. */
void blk_node_inherit(const BlkNode *n, Json *args);
/* Makes a node from flat or nested options; takes nothing. parent_ro etc. are inherited unless set.
 */
BlkNode *blk_node_open(const Json *args, bool inherit_ro, GError **err);
/* The newest first, as QEMU's queries have them. */
void blk_nodes_each(void (*fn)(BlkNode *n, void *opaque), void *opaque);
/* Locks and guards what lies below n, for a driver that guards; and back. */
bool blk_node_guard(BlkNode *n, GError **err);
void blk_node_unguard(BlkNode *n);
/* Opens n->backing: as said (a name, an object, null), or NULL: as the image's header says. */
bool blk_node_open_backing(BlkNode *n, const Json *said, GError **err);
/* An error about a child's option names it by its path, "file.filename"; false: it is about
 * something else. */
bool blk_name_child(GError **err, const char *child);
/* The locks of a node and of what lies below it. */
bool blk_node_lock(BlkNode *n, bool on, bool share_rw, GError **err);
/* The format that an image's first 512 bytes speak of; NULL: none. */
const char *blk_probe_head(const uint8_t *head);
const char *blk_probe(BlkNode *proto);
/* "nbd:host", "ssh://x": what stands before the colon, unless that is a folder's or a file's name;
 * g_free. */
char *blk_protocol_of(const char *file);
/* Runs one request on a node, blocking; a worker thread's body. Returns 0 or -errno. */
int blk_node_run(BlkNode *n, BlkReq *r);
int blk_node_zero_by_write(BlkNode *n, uint64_t off, uint64_t len);
/* The node's locks for b's device; and back, with the reference. */
bool blk_claim_node(Blk *b, BlkNode *n, GError **err);
void blk_release_node(Blk *b, BlkNode *n);
bool blk_node_used(const BlkNode *n); /* some device has it */
/* "cd0", or a path; g_free */
char *blk_dev_name(const Blk *b);

/* A driver that took a request has its result: done() follows, in this turn of the loop. */
void blk_req_done(BlkReq *r, int error);
/* The same at once, from anywhere but inside the driver's submit(). */
void blk_req_finish(BlkReq *r, int error);
/* Goes on with n, a child of who has it: as BlkDriver.submit, but never NOT_TAKEN. */
BlkTaken blk_req_pass(BlkReq *r, BlkNode *n);
/* True: r may go on under m's limits; otherwise go() is called when it may, in r's loop. */
bool blk_req_enter(BlkReq *r, ThrottleMember *m, void (*go)(BlkWait *w));
/* The one that has this -drive id, or this device; with QEMU's errors. */
Blk *blk_find_device(const char *device, const char *id, GError **err);
/* NULL: the group it has, or one of its own name. */
bool blk_set_limits(Blk *b, const char *group, const ThrottleLimits *l, GError **err);
/* What was taken goes to the worker pool after all. */
void blk_req_to_pool(BlkReq *r);

typedef struct BlkFile { /* state of file and host_device */
    int fd;
    bool regular, uring;
    /* O_DIRECT: writer: read-modify-write of unaligned edges; reader: other writes */
    GRWLock direct;
    bool in_memory;         /* tmpfs: nothing to wait for */
    _Atomic bool no_nowait; /* the file system cannot read without waiting */
    _Atomic bool lost;      /* the kernel could not write back: what it forgot is not on the disk */
    unsigned users;         /* who hold the locks */
    _Atomic uint64_t discards, discards_failed, discarded; /* requests; bytes of the good ones */
    /* O_DIRECT and io_uring: who rewrites an edge (rmw) waits until no write is out, and meanwhile
     * none goes out. */
    _Atomic bool rmw;
    _Atomic unsigned uring_writes;
    GMutex idle_lock;
    GCond idle;
} BlkFile;
/* A write by io_uring begins; false: not now, an edge is being rewritten. And it ended. */
bool blk_file_write_begin(BlkFile *f);
void blk_file_write_end(BlkFile *f);
bool blk_file_aligned(
    const BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len);
/* A flush came back with rc: remembers what can never be believed again. */
int blk_file_flushed(BlkFile *f, int rc);
BlkTaken blk_file_submit(BlkNode *n, BlkReq *r); /* block/file-uring.c */
