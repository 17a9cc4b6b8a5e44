/*
 * Translations in use: windows onto RAM that data paths keep, the IOMMU in front of them, and
 * invalidation that completes after the requests that used what it covers (VIRTIO 1.4, 6 and
 * 5.13.6.9 ask that of a device behind an IOMMU). Test: tests/unit/test-iommu.c
 */
#include "memory/iommu.h"

#include "memory-internal.h"
#include "memory/ram.h"

static DmaWin nothing; /* matches no address: both lengths are 0 */

/* One dma_space_invalidate(). */
typedef struct DmaInval {
    uint64_t first, last;
    DmaInvalidated *done;
    void *opaque;
    _Atomic unsigned pending; /* loops to visit, and windows still in use */
} DmaInval;

typedef struct DmaInvalWait {
    DmaInval *inval;
    struct DmaInvalWait *next;
} DmaInvalWait;

typedef struct DmaVisit {
    DmaInval *inval;
    DmaTlb *tlb;
} DmaVisit;

void dma_space_set_iommu(DmaSpace *s, Iommu *i)
{
    atomic_store_explicit(&s->iommu, i, memory_order_release);
    dma_space_stale(s);
}

Iommu *dma_space_iommu(const DmaSpace *s)
{
    if (atomic_load_explicit(&s->bypass, memory_order_relaxed)) {
        return NULL;
    }
    return atomic_load_explicit(&s->iommu, memory_order_acquire); /* pairs with the store above */
}

void dma_space_set_bypass(DmaSpace *s, bool on)
{
    if (atomic_exchange(&s->bypass, on) != on) {
        dma_space_stale(s);
    }
}

bool dma_translate(const DmaSpace *s, uint64_t *at, bool write, uint64_t *len)
{
    Iommu *i = dma_space_iommu(s);
    IommuHit hit = { .at = { 0 } };

    if (!i) {
        return true;
    }
    if (!i->translate(i, (Iova){ *at }, write, &hit) || !(write ? hit.write : hit.read)) {
        return false;
    }
    g_assert(hit.len);
    *at = hit.at.v;
    *len = MIN(*len, hit.len);
    return true;
}

/* Windows. */
static void inval_put(DmaInval *inval)
{
    /* Whoever is last sees all that the others did. */
    if (atomic_fetch_sub_explicit(&inval->pending, 1, memory_order_acq_rel) == 1) {
        loop_post(loop_main(), inval->done, inval->opaque);
        g_free(inval);
    }
}

void dma_win_free(DmaWin *w)
{
    DmaInvalWait *next;

    for (DmaInvalWait *i = w->waits; i; i = next) {
        next = i->next;
        inval_put(i->inval);
        g_free(i);
    }
    if (w->next) {
        w->next->prev = w->prev;
    }
    *w->prev = w->next;
    ram_unref(w->block);
    g_free(w);
}

/* All of the stretch around `at` that one translation and one range of the map cover. */
static DmaWin *win_new(DmaTlb *t, uint64_t at, bool write)
{
    const DmaSpace *s = t->space;
    const FlatMap *m = addrspace_map(s->as);
    uint64_t gpa = at, first, last, len = UINT64_MAX;
    bool translated = dma_space_iommu(s);
    const FlatRange *f;
    DmaWin *w;

    if (!dma_translate(s, &gpa, write, &len)) {
        return NULL;
    }
    f = flatmap_find(m, gpa);
    if (!f || !f->region->ram || (write && f->readonly)) {
        return NULL;
    }
    first = translated ? gpa : f->at;
    last = f->at + f->size - 1;
    if (translated && last - gpa > len - 1) {
        last = gpa + len - 1;
    }
    w = g_new0(DmaWin, 1);
    w->at = at - (gpa - first);
    w->host = f->region->ram->host + f->off + (first - f->at);
    w->block = ram_ref(f->region->ram);
    /* A translation answers for the direction that was asked; plain memory for both. */
    w->len[write] = last - first + 1;
    if (!translated) {
        w->len[0] = last - first + 1;
        w->len[1] = f->readonly ? 0 : last - first + 1;
    }
    w->tlb = t;
    w->next = t->live;
    w->prev = &t->live;
    if (w->next) {
        w->next->prev = &w->next;
    }
    t->live = w;
    return w;
}

static void to_front(DmaTlb *t, unsigned i, DmaWin *w)
{
    for (; i; i--) {
        t->slot[i] = t->slot[i - 1];
    }
    t->slot[0] = w;
}

DmaWin *dma_tlb_find(DmaTlb *t, uint64_t at, uint64_t len, bool write, uint64_t *ret_len)
{
    DmaWin *w = NULL, *last = t->slot[DMA_TLB_SLOTS - 1];

    for (unsigned i = 0; i < DMA_TLB_SLOTS && !w; i++) {
        if (at - t->slot[i]->at < t->slot[i]->len[write]) {
            w = t->slot[i];
            to_front(t, i, w);
        }
    }
    if (!w) {
        if (!dma_space_master(t->space)) {
            return NULL;
        }
        w = win_new(t, at, write);
        if (!w) {
            return NULL;
        }
        w->refs = 1;
        to_front(t, DMA_TLB_SLOTS - 1, w);
        if (last != &nothing) {
            dma_win_put(last, 1);
        }
    }
    *ret_len = MIN(len, w->len[write] - (at - w->at));
    return w;
}

void dma_tlb_flush(DmaTlb *t)
{
    for (unsigned i = 0; i < DMA_TLB_SLOTS; i++) {
        DmaWin *w = t->slot[i];

        t->slot[i] = &nothing;
        if (w != &nothing) {
            dma_win_put(w, 1);
        }
    }
}

/* Users of a space. */
DmaTlb *dma_tlb_new(DmaSpace *s, Loop *loop, void (*drop)(void *opaque), void *opaque)
{
    DmaTlb *t = g_new0(DmaTlb, 1);

    for (unsigned i = 0; i < DMA_TLB_SLOTS; i++) {
        t->slot[i] = &nothing;
    }
    t->space = s;
    t->loop = loop;
    t->drop = drop;
    t->opaque = opaque;
    atomic_init(&t->refs, 1);
    t->next_user = s->users;
    s->users = t;
    return t;
}

static void tlb_unref(DmaTlb *t)
{
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1) {
        g_assert(!t->live);
        g_free(t);
    }
}

static void loop_close(void *opaque)
{
    DmaTlb *t = opaque;

    t->drop(t->opaque);
    dma_tlb_flush(t);
    g_assert(!t->live);
    t->closed = true;
}

void dma_tlb_close(DmaTlb *t)
{
    DmaTlb **p = &t->space->users;

    while (*p != t) {
        p = &(*p)->next_user;
    }
    *p = t->next_user;
    loop_call(t->loop, loop_close, t);
    tlb_unref(t);
}

static void visit(void *opaque)
{
    g_autofree DmaVisit *v = opaque;
    DmaTlb *t = v->tlb;

    if (!t->closed) {
        t->drop(t->opaque);
        dma_tlb_flush(t);
    }
    for (DmaWin *w = t->live; w; w = w->next) {
        if (w->at <= v->inval->last && w->at + (w->len[0] | w->len[1]) - 1 >= v->inval->first) {
            DmaInvalWait *i = g_new0(DmaInvalWait, 1);

            *i = (DmaInvalWait){ v->inval, w->waits };
            w->waits = i;
            atomic_fetch_add_explicit(&v->inval->pending, 1, memory_order_relaxed);
        }
    }
    inval_put(v->inval);
    tlb_unref(t);
}

void dma_space_invalidate(DmaSpace *s, Iova at, uint64_t len, DmaInvalidated *done, void *opaque)
{
    DmaInval *inval = g_new0(DmaInval, 1);

    inval->first = len ? at.v : 0;
    inval->last = len ? at.v + len - 1 : UINT64_MAX;
    inval->done = done;
    inval->opaque = opaque;
    atomic_init(&inval->pending, 1);
    dma_space_stale(s);
    for (DmaTlb *t = s->users; t; t = t->next_user) {
        DmaVisit *v = g_new0(DmaVisit, 1);

        *v = (DmaVisit){ inval, t };
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&inval->pending, 1, memory_order_relaxed);
        loop_post(t->loop, visit, v);
    }
    inval_put(inval);
}
