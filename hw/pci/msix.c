/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): table and pending bits in a BAR, per-vector and function masks.
 * msix_fire() may come from any thread; the table's lock is a leaf and is not held while the
 * message is written. Covered by tests/unit/test-msix.c.
 */
#include "hw/pci/pci-internal.h"
#include "util/bitmap.h"
#include "util/fd.h"

#include <stdatomic.h>
#include <string.h>

enum { ENTRY = 16, CTRL_MASKED = 1, MC_ENABLE = 1 << 15, MC_FMASK = 1 << 14 };

typedef struct Msix {
    PciFn *fn;
    unsigned n, cap;
    Region table_mr, pba_mr;
    GMutex lock;
    uint8_t *table; /* lock */
    uint64_t *pba;  /* lock */
    uint64_t table_size, pba_size;
    _Atomic bool enabled;
    bool fmask; /* lock */
} Msix;

static uint32_t entry_word(const Msix *x, unsigned v, unsigned word)
{
    uint32_t val;

    memcpy(&val, x->table + v * ENTRY + word * 4, 4);
    return GUINT32_FROM_LE(val);
}

static bool is_masked(const Msix *x, unsigned v)
{
    return x->fmask || (entry_word(x, v, 3) & CTRL_MASKED);
}

/* Sends every pending message that is no longer masked (6.8.3.4). */
static void send_unmasked(Msix *x)
{
    for (unsigned v = 0; v < x->n; v++) {
        uint64_t addr;
        uint32_t data;
        bool fire;

        g_mutex_lock(&x->lock);
        fire = atomic_load_explicit(&x->enabled, memory_order_relaxed) && bitmap_test(x->pba, v) &&
               !is_masked(x, v);
        if (fire) {
            bitmap_clear(x->pba, v);
        }
        addr = entry_word(x, v, 0) | (uint64_t)entry_word(x, v, 1) << 32;
        data = entry_word(x, v, 2);
        g_mutex_unlock(&x->lock);
        if (fire) {
            dma_msi(x->fn->dma, addr, data);
        }
    }
}

void msix_fire(PciFn *f, unsigned vector)
{
    Msix *x = f->msix;
    uint64_t addr;
    uint32_t data;

    /* Pairs with the release in msix_config_wrote(). */
    if (!x || vector >= x->n || !atomic_load_explicit(&x->enabled, memory_order_acquire)) {
        return;
    }
    g_mutex_lock(&x->lock);
    if (is_masked(x, vector)) {
        bitmap_set(x->pba, vector);
        g_mutex_unlock(&x->lock);
        return;
    }
    addr = entry_word(x, vector, 0) | (uint64_t)entry_word(x, vector, 1) << 32;
    data = entry_word(x, vector, 2);
    g_mutex_unlock(&x->lock);
    dma_msi(f->dma, addr, data);
}

void msix_clear_pending(PciFn *f, unsigned vector)
{
    Msix *x = f->msix;

    if (x && vector < x->n) {
        g_mutex_lock(&x->lock);
        bitmap_clear(x->pba, vector);
        g_mutex_unlock(&x->lock);
    }
}

bool msix_enabled(const PciFn *f)
{
    return f->msix && atomic_load_explicit(&f->msix->enabled, memory_order_acquire);
}

unsigned msix_vectors(const PciFn *f)
{
    return f->msix ? f->msix->n : 0;
}

int msix_irqfd(PciFn *f, unsigned vector)
{
    return -1; /* no accelerator here injects from an eventfd by itself; callers watch theirs and
                  call msix_fire() */
}

static uint64_t table_read(void *opaque, uint64_t off, unsigned size)
{
    Msix *x = opaque;
    uint64_t val = 0;

    if (off + size <= x->table_size) {
        g_mutex_lock(&x->lock);
        memcpy(&val, x->table + off, size);
        g_mutex_unlock(&x->lock);
    }
    return GUINT64_FROM_LE(val);
}

static void table_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Msix *x = opaque;
    uint64_t le = GUINT64_TO_LE(val);

    if (off + size > x->table_size) {
        return;
    }
    g_mutex_lock(&x->lock);
    memcpy(x->table + off, &le, size);
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)(off + i) % ENTRY;

        if (at >= 12) { /* vector control: only the mask bit exists */
            x->table[off + i] &= at == 12 ? CTRL_MASKED : 0;
        }
    }
    g_mutex_unlock(&x->lock);
    send_unmasked(x);
}

static uint64_t pba_read(void *opaque, uint64_t off, unsigned size)
{
    Msix *x = opaque;
    uint64_t val = 0;

    if (off + size <= x->pba_size) {
        g_mutex_lock(&x->lock);
        for (unsigned i = 0; i < size; i++) {
            uint64_t word = x->pba[(off + i) / 8];

            val |= (word >> ((off + i) % 8 * 8) & 0xff) << (8 * i);
        }
        g_mutex_unlock(&x->lock);
    }
    return val;
}

static void pba_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    /* Read-only: PCI 3.0, 6.8.2.10. */
}

static const RegionOps table_ops = {
    .read = table_read, .write = table_write, .min_access = 4, .max_access = 8
};
static const RegionOps pba_ops = {
    .read = pba_read, .write = pba_write, .min_access = 1, .max_access = 8
};

static void mask_all(Msix *x)
{
    memset(x->table, 0, x->table_size);
    for (unsigned v = 0; v < x->n; v++) {
        x->table[v * ENTRY + 12] = CTRL_MASKED;
    }
    memset(x->pba, 0, x->pba_size);
}

bool msix_init(PciFn *f, unsigned vectors, Region *bar, unsigned bar_index, uint64_t table,
    uint64_t pba, unsigned cap_off, GError **err)
{
    Msix *x;
    uint64_t pba_size = BITMAP_WORDS(vectors) * 8;

    if (!vectors || vectors > 2048) {
        return err_set(err, "%u MSI-X vectors are not possible (1..2048)", vectors);
    }
    if (table + vectors * ENTRY > bar->size || pba + pba_size > bar->size ||
        (table < pba + pba_size && pba < table + vectors * ENTRY)) {
        return err_set(err, "%u MSI-X vectors do not fit their BAR", vectors);
    }
    x = g_new0(Msix, 1);
    x->fn = f;
    x->n = vectors;
    g_mutex_init(&x->lock);
    x->table_size = (uint64_t)vectors * ENTRY;
    x->pba_size = pba_size;
    x->table = g_malloc0(x->table_size);
    x->pba = g_malloc0(x->pba_size);
    mask_all(x);
    region_init_io(&x->table_mr, &f->dev.obj, "msix-table", &table_ops, x, x->table_size);
    region_init_io(&x->pba_mr, &f->dev.obj, "msix-pba", &pba_ops, x, x->pba_size);
    region_map(bar, table, &x->table_mr, 0);
    region_map(bar, pba, &x->pba_mr, 0);
    x->cap =
        cap_off ? pci_add_cap_at(f, PCI_CAP_MSIX, cap_off, 12) : pci_add_cap(f, PCI_CAP_MSIX, 12);
    pci_set16(f, x->cap + 2, (uint16_t)(vectors - 1));
    f->wmask[x->cap + 3] = (MC_ENABLE | MC_FMASK) >> 8;
    pci_set32(f, x->cap + 4, (uint32_t)table | bar_index);
    pci_set32(f, x->cap + 8, (uint32_t)pba | bar_index);
    f->msix = x;
    return true;
}

void msix_fini(PciFn *f)
{
    Msix *x = f->msix;

    if (x) {
        f->msix = NULL;
        region_unmap(&x->table_mr);
        region_unmap(&x->pba_mr);
        region_fini(&x->table_mr);
        region_fini(&x->pba_mr);
        g_mutex_clear(&x->lock);
        g_free(x->table);
        g_free(x->pba);
        g_free(x);
    }
}

void msix_reset(PciFn *f)
{
    Msix *x = f->msix;

    if (x) {
        f->config[x->cap + 3] &= (uint8_t) ~((MC_ENABLE | MC_FMASK) >> 8);
        g_mutex_lock(&x->lock);
        atomic_store_explicit(&x->enabled, false, memory_order_relaxed);
        x->fmask = false;
        mask_all(x);
        g_mutex_unlock(&x->lock);
    }
}

void msix_config_wrote(PciFn *f)
{
    Msix *x = f->msix;
    uint16_t mc = pci_get16(f, x->cap + 2);
    bool was;

    g_mutex_lock(&x->lock);
    was = atomic_load_explicit(&x->enabled, memory_order_relaxed);
    x->fmask = mc & MC_FMASK;
    /* Pairs with the acquire in msix_fire(). */
    atomic_store_explicit(&x->enabled, mc & MC_ENABLE, memory_order_release);
    g_mutex_unlock(&x->lock);
    if (mc & MC_ENABLE) {
        if (!was) {
            pci_set_irq(f, false); /* a function uses INTx or MSI-X, not both: 6.8.2.3 */
        }
        send_unmasked(x);
    }
}
