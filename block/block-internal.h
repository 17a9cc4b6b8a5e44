/* Inside block/: handles and what the drivers share. */
#pragma once

#include "block/block.h"

struct Blk {
    char *id;       /* -drive's id; NULL: a device's own handle on a node */
    char *drive_if; /* -drive's if= */
    char *serial;
    BlkNode *node; /* NULL: an empty drive */
    Obj *dev;      /* who uses it */
    bool share_rw, locked;
    bool write_cache;
    int werror, rerror; /* BlkOnError */
    unsigned in_flight; /* atomic */
    struct {
        LoopFn *fn;
        void *opaque;
    } resized;
    uint64_t ops[5], bytes[5], failed[5];
};

extern const BlkDriver blk_file, blk_host_device, blk_raw, blk_null_co, blk_null_aio;

/* -drive's and -blockdev's words, NULL-terminated. */
extern const char *const blk_discard_values[], *const blk_detect_values[];
Blk *blk_new(const char *id, BlkNode *n); /* takes a reference to n */

const BlkDriver *blk_driver_find(const char *name);
BlkNode *blk_node_find(const char *name);
void blk_node_unref(BlkNode *n);
/* Makes a node from flat or nested options; takes nothing. parent_ro etc. are inherited unless set.
 */
BlkNode *blk_node_open(const Json *args, bool inherit_ro, GError **err);
void blk_nodes_each(void (*fn)(BlkNode *n, void *opaque), void *opaque);
/* Runs one request on a node, blocking; a worker thread's body. Returns 0 or -errno. */
int blk_node_run(BlkNode *n, BlkReq *r);
