/* Dirty logs of guest RAM: each client (a display, later migration) sees every page written since
 * it last asked. VM lock. */
#pragma once

#include "memory/ram.h"

typedef struct DirtyLog DirtyLog;
DirtyLog *dirty_log_new(RamBlock *b); /* takes a reference on b; all pages begin clean */
void dirty_log_free(DirtyLog *l);
/* Was any page of [off, off+len) written since the last call for it? Clears it for this client. */
bool dirty_log_take(DirtyLog *l, uint64_t off, uint64_t len);
/* A page's state without clearing it; dirty_log_sync() first. */
bool dirty_log_page(const DirtyLog *l, uint64_t page);
/* Clears a page for this client, as the last dirty_log_sync() left it. */
void dirty_log_clean(DirtyLog *l, uint64_t page);
void dirty_log_sync(DirtyLog *l); /* moves what was written since into all clients' bitmaps */
/*
 * With an engine that caches what is dirty a page is reported once more after it was cleaned: until
 * the vCPUs know, they do not tell of their writes. The hook: pages of b were cleaned (or logging
 * began), so vCPUs must report their next write. One per process.
 */
typedef void RamCleanHook(void *opaque, RamBlock *b);
void ram_set_clean_hook(RamCleanHook *fn, void *opaque);
/*
 * For an accelerator whose vCPUs write past us. logging: b's first client came or its last one went
 * (b->dirty stands during the call). sync: to put what vCPUs wrote into b->dirty now. One per
 * process; VM lock.
 */
typedef struct RamLogHooks {
    void (*logging)(void *opaque, RamBlock *b, bool on);
    void (*sync)(void *opaque, RamBlock *b);
} RamLogHooks;
void ram_set_log_hooks(const RamLogHooks *hooks, void *opaque);
