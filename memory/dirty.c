/*
 * Dirty logs: writers set bits in the block's one atomic bitmap; a client that asks first moves
 * those bits into every client's own bitmap. Test: tests/unit/test-ram.c
 */
#include "memory/dirty.h"

#include "util/bitmap.h"
#include "util/rcu.h"

struct DirtyLog {
    RamBlock *block;
    uint64_t *seen;
};
typedef struct Clients {
    GPtrArray *logs;
    /*
     * Cleaned by the last sync. vCPUs learn of that a moment later and do not report what they
     * write until then, so these pages count as written once more.
     */
    uint64_t *again;
} Clients;

/* One per process, set before the first vCPU runs. */
static RamCleanHook *clean_hook;
static void *clean_hook_opaque;
static const RamLogHooks *log_hooks;
static void *log_hooks_opaque;

static size_t pages_of(const RamBlock *b)
{
    return (b->size + 4095) >> 12;
}

void ram_set_clean_hook(RamCleanHook *fn, void *opaque)
{
    clean_hook = fn;
    clean_hook_opaque = opaque;
}

void ram_set_log_hooks(const RamLogHooks *hooks, void *opaque)
{
    log_hooks = hooks;
    log_hooks_opaque = opaque;
}

static void logging(RamBlock *b, bool on)
{
    if (log_hooks) {
        log_hooks->logging(log_hooks_opaque, b, on);
    }
}

static void cleaned(RamBlock *b)
{
    if (clean_hook) {
        clean_hook(clean_hook_opaque, b);
    }
}

DirtyLog *dirty_log_new(RamBlock *b)
{
    DirtyLog *l = g_new0(DirtyLog, 1);
    Clients *c = b->log;

    l->block = ram_ref(b);
    l->seen = g_new0(uint64_t, BITMAP_WORDS(pages_of(b)));
    if (!c) {
        c = b->log = g_new0(Clients, 1);
        c->logs = g_ptr_array_new();
        c->again = g_new0(uint64_t, BITMAP_WORDS(pages_of(b)));
        void *bits = g_new0(uint64_t, BITMAP_WORDS(pages_of(b)));
        atomic_store_explicit(&b->dirty, (_Atomic uint64_t *)bits, memory_order_release);
        cleaned(b);
        logging(b, /* on= */ true);
    } else {
        dirty_log_sync(c->logs->pdata[0]);
    }
    g_ptr_array_add(c->logs, l);
    return l;
}

void dirty_log_free(DirtyLog *l)
{
    if (!l) {
        return;
    }
    RamBlock *b = l->block;
    Clients *c = b->log;

    g_ptr_array_remove(c->logs, l);
    if (!c->logs->len) {
        logging(b, /* on= */ false);
        void *bits = atomic_exchange(&b->dirty, NULL);
        rcu_defer(g_free, bits); /* a writer may still set a bit */
        g_ptr_array_free(c->logs, TRUE);
        g_free(c->again);
        g_free(c);
        b->log = NULL;
    }
    g_free(l->seen);
    g_free(l);
    ram_unref(b);
}

void dirty_log_sync(DirtyLog *l)
{
    RamBlock *b = l->block;
    Clients *c = b->log;
    _Atomic uint64_t *bits = atomic_load(&b->dirty);
    size_t words = BITMAP_WORDS(pages_of(b));
    bool any = false;

    if (log_hooks) {
        log_hooks->sync(log_hooks_opaque, b);
    }
    for (size_t i = 0; i < words; i++) {
        if (!atomic_load_explicit(&bits[i], memory_order_relaxed) && !c->again[i]) {
            continue;
        }
        uint64_t got = atomic_exchange(&bits[i], 0);
        for (unsigned k = 0; k < c->logs->len; k++) {
            ((DirtyLog *)c->logs->pdata[k])->seen[i] |= got | c->again[i];
        }
        c->again[i] = clean_hook ? got : 0;
        any |= got != 0;
    }
    if (any) {
        cleaned(b);
    }
}

bool dirty_log_page(const DirtyLog *l, uint64_t page)
{
    return bitmap_test(l->seen, page);
}

void dirty_log_clean(DirtyLog *l, uint64_t page)
{
    bitmap_clear(l->seen, page);
}

bool dirty_log_take(DirtyLog *l, uint64_t off, uint64_t len)
{
    bool any = false;

    if (!len) {
        return false;
    }
    g_assert(off < l->block->size && len <= l->block->size - off);
    dirty_log_sync(l);
    for (uint64_t p = off >> 12; p <= (off + len - 1) >> 12; p++) {
        any |= bitmap_test(l->seen, p);
        bitmap_clear(l->seen, p);
    }
    return any;
}
