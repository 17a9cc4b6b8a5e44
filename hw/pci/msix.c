/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): table and pending bits in a BAR, per-vector and function masks.
 *
 * msix_fire() may come from any thread. A message to a local APIC is sent with the table's lock
 * held, so that none follows the write that masks it (6.8.3.5); an accelerator with irqfds gets a
 * route and an eventfd for each vector at its first use, which go and come with the mask. Covered
 * by tests/unit/test-msix.c, tests/system/test_kvm.py.
 */
#include "accel/accel.h"
#include "hw/pci/pci-internal.h"
#include "util/bitmap.h"
#include "util/fd.h"

#include <stdatomic.h>
#include <string.h>

enum { ENTRY = 16, CTRL_MASKED = 1, MC_ENABLE = 1 << 15, MC_FMASK = 1 << 14 };

/* A vector's way into the accelerator; changed under VM lock and table lock, read under either. */
typedef struct Vector {
    int fd, gsi;   /* -1: none yet */
    bool attached; /* the accelerator listens: not masked */
    bool outside;  /* somebody else signals fd; while masked we listen, for the pending bit */
    bool refused;  /* no route left: messages by a call */
    bool sent;     /* it was used without one */
    LoopFd *watch;
    struct Msix *msix;
} Vector;

typedef struct Msix {
    PciFn *fn;
    Vector *vec;
    bool posted; /* lock: attach_used() is on its way */
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

static Accel *accel_of(const Msix *x)
{
    return pci_bus_of(x->fn)->machine->accel;
}

static uint64_t message_addr(const Msix *x, unsigned v)
{
    return entry_word(x, v, 0) | (uint64_t)entry_word(x, v, 1) << 32;
}

/* Lock held. Messages pass: enabled, unmasked, and the function may write at all. */
static bool is_live(const Msix *x, unsigned v)
{
    return atomic_load_explicit(&x->enabled, memory_order_relaxed) && !is_masked(x, v) &&
           dma_space_master(x->fn->dma);
}

static void watch_fired(void *opaque, uint32_t events);

/* VM lock and table lock held: what the accelerator has of v follows the table. */
static void vector_sync(Msix *x, unsigned v)
{
    Vector *c = &x->vec[v];
    Accel *a = accel_of(x);

    if (c->fd < 0) {
        return;
    }
    if (!is_live(x, v)) {
        if (c->attached) {
            a->cls->irq->irqfd(a, (unsigned)c->gsi, c->fd, -1, /* add= */ false);
            c->attached = false;
        }
        if (c->outside && !c->watch) {
            c->watch = loop_fd_add(loop_main(), c->fd, EPOLLIN, watch_fired, c);
        }
        return;
    }
    bool routed = a->cls->irq->route_set(a, c->gsi, message_addr(x, v), entry_word(x, v, 2));
    if (!c->attached) {
        g_clear_pointer(&c->watch, loop_fd_del);
        /* What was signalled meanwhile is sent by this call: KVM API, 4.75. */
        c->attached = routed && a->cls->irq->irqfd(a, (unsigned)c->gsi, c->fd, -1, /* add= */ true);
    }
    if (!c->attached && c->outside && !c->watch) {
        c->watch = loop_fd_add(loop_main(), c->fd, EPOLLIN, watch_fired, c);
    }
}

/* VM lock and table lock held. */
static bool vector_new(Msix *x, unsigned v)
{
    Vector *c = &x->vec[v];
    Accel *a = accel_of(x);

    if (c->fd >= 0) {
        return true;
    }
    if (c->refused || !accel_has_irqfd(a)) {
        return false;
    }
    c->gsi = a->cls->irq->route_add(a, message_addr(x, v), entry_word(x, v, 2));
    c->refused = c->gsi < 0;
    if (c->refused) {
        return false;
    }
    c->fd = fd_eventfd();
    vector_sync(x, v);
    return true;
}

/* VM lock and table lock held. */
static void vector_free(Msix *x, unsigned v)
{
    Vector *c = &x->vec[v];
    Accel *a = accel_of(x);

    if (c->fd >= 0) {
        if (c->attached) {
            a->cls->irq->irqfd(a, (unsigned)c->gsi, c->fd, -1, /* add= */ false);
        }
        g_clear_pointer(&c->watch, loop_fd_del);
        a->cls->irq->route_del(a, c->gsi);
        close(c->fd);
    }
    *c = (Vector){ .fd = -1, .gsi = -1, .msix = x };
}

/* Main loop: vectors that other threads used get their routes. */
static void attach_used(void *opaque)
{
    Msix *x = ((PciFn *)opaque)->msix;

    if (x) {
        g_mutex_lock(&x->lock);
        x->posted = false;
        for (unsigned v = 0; v < x->n; v++) {
            if (x->vec[v].sent && is_live(x, v)) {
                vector_new(x, v);
            }
        }
        g_mutex_unlock(&x->lock);
    }
    obj_unref(&((PciFn *)opaque)->dev.obj);
}

/* Lock held: the vector was used and has no route yet. */
static void want_route(Msix *x, unsigned v)
{
    Vector *c = &x->vec[v];

    if (c->sent || !accel_has_irqfd(accel_of(x))) {
        return;
    }
    c->sent = true;
    if (!x->posted) {
        x->posted = true;
        obj_ref(&x->fn->dev.obj);
        loop_post(loop_main(), attach_used, x->fn);
    }
}

/* Lock held on entry, released on return: sends v's message, which is unmasked. */
static void send_unlock(Msix *x, unsigned v)
{
    uint64_t addr = message_addr(x, v);
    uint32_t data = entry_word(x, v, 2);
    bool local = addr >> 20 == 0xfee; /* a local APIC: takes no lock and waits for nobody */

    if (x->vec[v].attached) {
        fd_signal(x->vec[v].fd);
    } else if (local) {
        want_route(x, v);
        dma_msi(x->fn->dma, addr, data);
    }
    g_mutex_unlock(&x->lock);
    if (!local) {
        dma_msi(x->fn->dma, addr, data);
    }
}

/* Sends what is pending of [first, end) and no longer masked (6.8.3.4). VM lock. */
static void table_changed(Msix *x, unsigned first, unsigned end)
{
    for (unsigned v = first; v < end; v++) {
        g_mutex_lock(&x->lock);
        vector_sync(x, v);
        if (atomic_load_explicit(&x->enabled, memory_order_relaxed) && bitmap_test(x->pba, v) &&
            !is_masked(x, v)) {
            bitmap_clear(x->pba, v);
            send_unlock(x, v);
        } else {
            g_mutex_unlock(&x->lock);
        }
    }
}

void msix_fire(PciFn *f, unsigned vector)
{
    Msix *x = f->msix;

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
    send_unlock(x, vector);
}

/* The other end's signals while the accelerator does not listen. */
static void watch_fired(void *opaque, uint32_t events)
{
    Vector *c = opaque;

    if (fd_drain(c->fd)) {
        msix_fire(c->msix->fn, (unsigned)(c - c->msix->vec));
    }
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
    Msix *x = f->msix;
    int fd = -1;

    if (x && vector < x->n) {
        g_mutex_lock(&x->lock);
        if (vector_new(x, vector)) {
            x->vec[vector].outside = true;
            vector_sync(x, vector);
            fd = x->vec[vector].fd;
        }
        g_mutex_unlock(&x->lock);
    }
    return fd;
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
    table_changed(x, (unsigned)(off / ENTRY), (unsigned)((off + size - 1) / ENTRY) + 1);
}

static uint64_t pba_read(void *opaque, uint64_t off, unsigned size)
{
    Msix *x = opaque;
    uint64_t val = 0;

    for (unsigned v = 0; v < x->n; v++) { /* what was signalled and not yet seen counts */
        if (x->vec[v].watch) {
            watch_fired(&x->vec[v], EPOLLIN);
        }
    }

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
    x->vec = g_new(Vector, vectors);
    for (unsigned v = 0; v < vectors; v++) {
        x->vec[v] = (Vector){ .fd = -1, .gsi = -1, .msix = x };
    }
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
        for (unsigned v = 0; v < x->n; v++) {
            vector_free(x, v);
        }
        region_unmap(&x->table_mr);
        region_unmap(&x->pba_mr);
        region_fini(&x->table_mr);
        region_fini(&x->pba_mr);
        g_mutex_clear(&x->lock);
        g_free(x->vec);
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
        for (unsigned v = 0; v < x->n; v++) {
            if (x->vec[v].outside) {
                vector_sync(x, v);
            } else {
                vector_free(x, v);
            }
        }
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
    if (mc & MC_ENABLE && !was) {
        pci_set_irq(f, false); /* a function uses INTx or MSI-X, not both: 6.8.2.3 */
    }
    if (was || mc & MC_ENABLE) {
        table_changed(x, 0, x->n);
    }
}
