/*
 * Address spaces: the tree of regions rendered into a sorted list of ranges, published with one
 * pointer store. Readers hold what they loaded until their next quiescent point (util/rcu.h).
 * Tests: tests/unit/test-region.c, test-addrspace.c
 */
#include "memory/addrspace.h"

#include "memory-internal.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <inttypes.h>
#include <string.h>

typedef __int128
    Pos; /* an address of the tree: may lie below 0 or above 2^64 while aliases shift it */
enum { MAX_DEPTH = 32 };

/* The process's address spaces and the open transaction: mem_begin() has no argument, so this is
 * what it means. VM lock. */
static struct {
    AddrSpace *spaces;
    unsigned depth;
    bool dirty;
    uint64_t generation;
} mem;

/* Ranges under construction, sorted; ends are exclusive and may be 2^64. */
typedef struct Piece {
    Pos at, end;
    Region *region;
    uint64_t off;
    bool readonly;
} Piece;

static void pieces_insert(
    GArray *out, unsigned i, Pos at, Pos end, Pos base, Region *r, bool readonly)
{
    Piece p = { at, end, r, (uint64_t)(at - base), readonly };

    g_array_insert_val(out, i, p);
}

/* First piece that ends above at. */
static unsigned pieces_find(const GArray *out, Pos at)
{
    unsigned lo = 0, hi = out->len;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (g_array_index(out, Piece, mid).end <= at) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* Puts a leaf where nothing stronger stands already: the walk comes by falling precedence. */
static void render_leaf(GArray *out, Region *r, Pos base, Pos at, Pos end, bool readonly)
{
    unsigned i = pieces_find(out, at);

    while (at < end) {
        if (i == out->len || g_array_index(out, Piece, i).at >= end) {
            pieces_insert(out, i, at, end, base, r, readonly);
            return;
        }
        Piece p = g_array_index(out, Piece, i);
        if (at < p.at) {
            pieces_insert(out, i++, at, p.at, base, r, readonly);
        }
        at = p.end;
        i++;
    }
}

/* Renders r, whose byte 0 lies at base, clipped to [lo, hi). */
static void render(GArray *out, Region *r, Pos base, Pos lo, Pos hi, bool readonly, unsigned depth)
{
    Pos end = base + (Pos)region_size128(r);

    g_assert(
        depth <
        MAX_DEPTH); /* the boards' trees are shallow: deeper means a region that contains itself */
    lo = MAX(lo, base);
    hi = MIN(hi, end);
    if (!r->enabled || lo >= hi) {
        return;
    }
    readonly |= r->readonly;
    switch (r->kind) {
    case REGION_CONTAINER:
        for (unsigned i = 0; i < r->subs->len; i++) {
            Region *sub = r->subs->pdata[i];
            render(out, sub, base + sub->at, lo, hi, readonly, depth + 1);
        }
        break;
    case REGION_ALIAS:
        render(out, r->target, base - r->target_off, lo, hi, readonly, depth + 1);
        break;
    case REGION_RAM:
        render_leaf(out, r, base, lo, hi, readonly);
        break;
    case REGION_ROM:
        render_leaf(out, r, base, lo, hi, true);
        break;
    case REGION_IO:
        render_leaf(out, r, base, lo, hi, false);
        break;
    }
}

static bool piece_continues(const Piece *a, const Piece *b)
{
    return a->end == b->at && a->region == b->region && a->readonly == b->readonly &&
           a->off + (uint64_t)(a->end - a->at) == b->off;
}

static FlatMap *flatmap_build(Region *root)
{
    g_autoptr(GArray) out = g_array_sized_new(FALSE, FALSE, sizeof(Piece), 64);
    unsigned n = 0;

    if (root) {
        render(out, root, 0, 0, (Pos)1 << 64, /* readonly= */ false, 0);
    }
    /* One more than the pieces: a range of 2^64 bytes does not fit its size field and is kept as
     * two halves. */
    FlatMap *m = g_malloc0(sizeof *m + (out->len + 1) * sizeof m->range[0]);
    for (unsigned i = 0; i < out->len;) {
        Piece p = g_array_index(out, Piece, i++);
        while (i < out->len && piece_continues(&p, &g_array_index(out, Piece, i))) {
            p.end = g_array_index(out, Piece, i++).end;
        }
        if (p.end - p.at == (Pos)1 << 64) {
            m->range[n++] = (FlatRange){ 0, 1ull << 63, p.region, p.off, p.readonly };
            p = (Piece){ (Pos)1 << 63, p.end, p.region, p.off + (1ull << 63), p.readonly };
        }
        m->range[n++] =
            (FlatRange){ (uint64_t)p.at, (uint64_t)(p.end - p.at), p.region, p.off, p.readonly };
    }
    m->n = n;
    return m;
}

static bool flatmap_equal(const FlatMap *a, const FlatMap *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (unsigned i = 0; i < a->n; i++) {
        const FlatRange *x = &a->range[i], *y = &b->range[i];
        if (x->at != y->at || x->size != y->size || x->region != y->region || x->off != y->off ||
            x->readonly != y->readonly) {
            return false;
        }
    }
    return true;
}

static void publish(AddrSpace *as)
{
    FlatMap *old = atomic_load_explicit(&as->map, memory_order_relaxed);
    FlatMap *now = flatmap_build(as->root);

    if (old && flatmap_equal(old, now)) {
        g_free(now);
        return;
    }
    now->generation = ++mem.generation;
    /* Pairs with the acquire in addrspace_map(). */
    atomic_store_explicit(&as->map, now, memory_order_release);
    /* After the map: whoever sees the new number and translates again finds the new map. */
    atomic_store_explicit(&as->generation, now->generation, memory_order_release);
    for (MapListener *l = as->listeners, *next; l; l = next) {
        next = l->next;
        l->changed(l, old, now);
    }
    if (old) {
        rcu_defer(g_free, old);
    }
}

void addrspace_publish_all(void)
{
    for (AddrSpace *as = mem.spaces; as; as = as->next) {
        publish(as);
    }
}

void addrspace_touched(void)
{
    mem.dirty = true;
    if (!mem.depth) {
        mem_begin();
        mem_commit();
    }
}

void mem_begin(void)
{
    mem.depth++;
}

void mem_commit(void)
{
    g_assert(mem.depth);
    /* Still inside while listeners run: what they change is published by the next round. */
    while (mem.depth == 1 && mem.dirty) {
        mem.dirty = false;
        addrspace_publish_all();
    }
    mem.depth--;
}

AddrSpace *addrspace_new(const char *name, Region *root)
{
    AddrSpace *as = g_new0(AddrSpace, 1);

    as->name = g_strdup(name);
    as->root = root;
    as->next = mem.spaces;
    mem.spaces = as;
    publish(as);
    return as;
}

static void addrspace_reclaim(void *opaque)
{
    AddrSpace *as = opaque;

    g_free(atomic_load_explicit(&as->map, memory_order_relaxed));
    g_free(as->name);
    g_free(as);
}

void addrspace_free(AddrSpace *as)
{
    if (!as) {
        return;
    }
    AddrSpace **at = &mem.spaces;

    g_assert(!as->listeners);
    while (*at != as) {
        at = &(*at)->next;
    }
    *at = as->next;
    rcu_defer(addrspace_reclaim, as);
}

const FlatMap *addrspace_map(const AddrSpace *as)
{
    /* Pairs with the release in publish(). */
    return atomic_load_explicit(&as->map, memory_order_acquire);
}

uint64_t addrspace_generation(const AddrSpace *as)
{
    return atomic_load_explicit(&as->generation, memory_order_acquire);
}

const char *addrspace_name(const AddrSpace *as)
{
    return as->name;
}

bool flatrange_has(const FlatRange *r, uint64_t at)
{
    return at - r->at < r->size;
}

const FlatRange *flatmap_find(const FlatMap *m, uint64_t at)
{
    unsigned lo = 0, hi = m->n;

    while (lo < hi) { /* the first range that begins above at */
        unsigned mid = (lo + hi) / 2;
        if (m->range[mid].at <= at) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo && flatrange_has(&m->range[lo - 1], at) ? &m->range[lo - 1] : NULL;
}

void addrspace_set_hole_value(AddrSpace *as, uint64_t v)
{
    as->hole = v;
}

void addrspace_listen(AddrSpace *as, MapListener *l)
{
    const FlatMap *now = addrspace_map(as);

    l->next = as->listeners;
    as->listeners = l;
    l->changed(l, NULL, now);
}

void addrspace_unlisten(AddrSpace *as, MapListener *l)
{
    MapListener **at = &as->listeners;

    while (*at && *at != l) {
        at = &(*at)->next;
    }
    g_assert(*at);
    *at = l->next;
    l->next = NULL;
}

static const char *kind_name(const Region *r, bool readonly)
{
    const Region *leaf = r;

    while (leaf->kind == REGION_ALIAS) {
        leaf = leaf->target;
    }
    if (!leaf->ram) {
        return "i/o";
    }
    return leaf->kind == REGION_ROM || readonly ? "rom" : "ram";
}

static void describe_region(const Region *r, Pos base, unsigned indent, bool readonly, GString *out)
{
    Pos last = base + (Pos)region_size128(r) - 1;

    if (!r->enabled) {
        return;
    }
    readonly |= r->readonly;
    g_string_append_printf(out, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): ", indent * 2, "",
        (uint64_t)base, (uint64_t)last, r->priority, kind_name(r, readonly));
    if (r->kind == REGION_ALIAS) {
        g_string_append_printf(out, "alias %s @%s %016" PRIx64 "-%016" PRIx64 "\n", r->name,
            r->target->name, r->target_off, r->target_off + (uint64_t)(region_size128(r) - 1));
        return;
    }
    g_string_append_printf(out, "%s\n", r->name);
    for (unsigned i = 0; r->subs && i < r->subs->len; i++) {
        const Region *sub = r->subs->pdata[i];
        describe_region(sub, base + sub->at, indent + 1, readonly, out);
    }
}

void addrspace_describe(const AddrSpace *as, GString *out)
{
    g_string_append_printf(out, "address-space: %s\n", as->name);
    if (as->root) {
        describe_region(as->root, 0, 1, false, out);
    }
    g_string_append_c(out, '\n');
}
