/* What the tests of image formats share: a folder, qemu-img beside it, disks opened by the block
 * layer. */
#pragma once

#include "block/block.h"

#include <stdarg.h>

typedef struct Img { /* a disk under test, and what it must hold */
    Blk *b;
    uint8_t *shadow;
    uint64_t size;
} Img;

const char *img_dir(void); /* made on first use, removed by img_done() */
void img_done(void);
/* A shell command in the folder; its exit status, its output to *ret_out when not NULL. */
int img_sh(char **ret_out, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool img_have_tool(void); /* qemu-img; where it is missing, says so as a skip */
/* -blockdev arguments as JSON with ' for "; NULL and *ret_err (g_free) where it fails. */
Blk *img_open(const char *json, char **ret_err);
void img_node(const char *json); /* the same, for other nodes to name */
void img_close(void);            /* all that is open */
int img_io(Blk *b, BlkOp op, uint64_t off, void *buf, size_t len, unsigned flags);
/* A pseudo-random number below n. */
uint64_t img_rand(uint64_t *state, uint64_t n);
