/* memory/region.c, addrspace.c: overlaps, aliases, transactions, and random trees against a
 * byte-by-byte model. */
#include "memory/addrspace.h"
#include "memory/ram.h"
#include "util/loop.h"
#include "util/rcu.h"

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    return 0;
}
static void io_write(void *opaque, uint64_t off, unsigned size, uint64_t val) {}
static const RegionOps ops = { .read = io_read, .write = io_write };

static void assert_range(
    AddrSpace *as, unsigned i, uint64_t at, uint64_t size, const Region *r, uint64_t off)
{
    const FlatMap *m = addrspace_map(as);

    g_assert_cmpuint(i, <, m->n);
    g_assert_cmphex(m->range[i].at, ==, at);
    g_assert_cmphex(m->range[i].size, ==, size);
    g_assert_true(m->range[i].region == r);
    g_assert_cmphex(m->range[i].off, ==, off);
}

static void test_priority(void)
{
    Region root, low, high;

    region_init_container(&root, NULL, "root", UINT64_MAX);
    region_init_io(&low, NULL, "low", &ops, NULL, 0x1000);
    region_init_io(&high, NULL, "high", &ops, NULL, 0x100);
    AddrSpace *as = addrspace_new("as", &root);
    region_map(&root, 0x400, &high, 1);
    region_map(&root, 0, &low, 0); /* later, but weaker */
    g_assert_cmpuint(addrspace_map(as)->n, ==, 3);
    assert_range(as, 0, 0, 0x400, &low, 0);
    assert_range(as, 1, 0x400, 0x100, &high, 0);
    assert_range(as, 2, 0x500, 0xb00, &low, 0x500);
    region_set_enabled(&high, false);
    g_assert_cmpuint(addrspace_map(as)->n, ==, 1);
    assert_range(as, 0, 0, 0x1000, &low, 0);
    region_unmap(&low);
    region_unmap(&high);
    g_assert_cmpuint(addrspace_map(as)->n, ==, 0);
    addrspace_free(as);
    region_fini(&low);
    region_fini(&high);
    region_fini(&root);
}

static void test_later_wins(void)
{
    Region root, a, b;

    region_init_container(&root, NULL, "root", 0x10000);
    region_init_io(&a, NULL, "a", &ops, NULL, 0x100);
    region_init_io(&b, NULL, "b", &ops, NULL, 0x100);
    AddrSpace *as = addrspace_new("as", &root);
    region_map(&root, 0, &a, 0);
    region_map(&root, 0x80, &b, 0);
    assert_range(as, 0, 0, 0x80, &a, 0);
    assert_range(as, 1, 0x80, 0x100, &b, 0);
    region_unmap(&a);
    region_map(&root, 0, &a, 0);
    assert_range(as, 0, 0, 0x100, &a, 0);
    assert_range(as, 1, 0x100, 0x80, &b, 0x80);
    region_unmap(&a);
    region_unmap(&b);
    addrspace_free(as);
    region_fini(&root);
}

static void test_alias_of_alias(void)
{
    Region root, inner, leaf, a1, a2;

    region_init_container(&root, NULL, "root", UINT64_MAX);
    region_init_container(&inner, NULL, "inner", 0x10000);
    region_init_io(&leaf, NULL, "leaf", &ops, NULL, 0x1000);
    region_map(&inner, 0x2000, &leaf, 0);
    region_init_alias(
        &a1, NULL, "a1", &inner, 0x1800, 0x1000); /* shows leaf's first 0x800 at 0x800 */
    region_init_alias(&a2, NULL, "a2", &a1, 0x900, 0x400);
    AddrSpace *as = addrspace_new("as", &root);
    region_map(&root, 0xfffff000, &a2, 0);
    g_assert_cmpuint(addrspace_map(as)->n, ==, 1);
    assert_range(as, 0, 0xfffff000, 0x400, &leaf, 0x100);
    region_set_alias_off(&a2, 0x700);
    assert_range(as, 0, 0xfffff100, 0x300, &leaf, 0);
    region_set_at(&a2, 0);
    assert_range(as, 0, 0x100, 0x300, &leaf, 0);
    region_unmap(&a2);
    region_unmap(&leaf);
    addrspace_free(as);
    region_fini(&inner);
    region_fini(&root);
}

static void test_whole_space(void)
{
    Region io, root;

    region_init_container(&root, NULL, "root", UINT64_MAX);
    region_init_io(&io, NULL, "io", &ops, NULL, UINT64_MAX);
    AddrSpace *as = addrspace_new("as", &root);
    region_map(&root, 0, &io, 0);
    g_assert_cmpuint(addrspace_map(as)->n, ==, 2);
    g_assert_nonnull(flatmap_find(addrspace_map(as), 0));
    g_assert_true(flatmap_find(addrspace_map(as), UINT64_MAX)->region == &io);
    g_assert_true(flatmap_find(addrspace_map(as), 1ull << 63)->off == 1ull << 63);
    region_unmap(&io);
    region_map(&root, UINT64_MAX - 0xfff, &io, 0); /* sticks out at the top: clipped */
    assert_range(as, 0, UINT64_MAX - 0xfff, 0x1000, &io, 0);
    region_unmap(&io);
    addrspace_free(as);
    region_fini(&root);
}

static void test_readonly_alias(void)
{
    Region root, ram, pam;

    region_init_container(&root, NULL, "root", UINT64_MAX);
    g_assert_true(region_init_ram(&ram, NULL, "ram", 0x10000, NULL));
    region_init_alias(&pam, NULL, "pam", &ram, 0x4000, 0x1000);
    AddrSpace *as = addrspace_new("as", &root);
    region_map(&root, 0, &ram, 0);
    region_map(&root, 0x4000, &pam, 1);
    g_assert_cmpuint(addrspace_map(as)->n, ==, 1); /* the alias shows what lies there anyway */
    region_set_readonly(&pam, true);
    g_assert_cmpuint(addrspace_map(as)->n, ==, 3);
    g_assert_true(addrspace_map(as)->range[1].readonly);
    g_assert_false(addrspace_map(as)->range[2].readonly);
    region_unmap(&pam);
    region_unmap(&ram);
    addrspace_free(as);
    region_fini(&ram);
    region_fini(&root);
}

typedef struct Counter {
    MapListener l;
    unsigned calls;
    bool had_old;
} Counter;

static void count_change(MapListener *l, const FlatMap *old, const FlatMap *now)
{
    Counter *c = (Counter *)l;

    c->calls++;
    c->had_old = old != NULL;
    g_assert_nonnull(now);
}

static void test_transaction(void)
{
    Region root, a, b;
    Counter c = { .l.changed = count_change };

    region_init_container(&root, NULL, "root", 0x10000);
    region_init_io(&a, NULL, "a", &ops, NULL, 0x100);
    region_init_io(&b, NULL, "b", &ops, NULL, 0x100);
    AddrSpace *as = addrspace_new("as", &root);
    addrspace_listen(as, &c.l);
    g_assert_cmpuint(c.calls, ==, 1);
    g_assert_false(c.had_old);
    uint64_t gen = addrspace_generation(as);
    mem_begin();
    mem_begin();
    region_map(&root, 0, &a, 0);
    mem_commit();
    region_map(&root, 0x100, &b, 0);
    g_assert_cmpuint(addrspace_map(as)->n, ==, 0);
    g_assert_cmpuint(c.calls, ==, 1);
    mem_commit();
    g_assert_cmpuint(addrspace_map(as)->n, ==, 2);
    g_assert_cmpuint(c.calls, ==, 2);
    g_assert_true(c.had_old);
    g_assert_cmpuint(addrspace_generation(as), >, gen);
    gen = addrspace_generation(as);
    mem_begin(); /* there and back: nothing is published */
    region_unmap(&a);
    region_map(&root, 0, &a, 5);
    mem_commit();
    g_assert_cmpuint(c.calls, ==, 2);
    g_assert_cmpuint(addrspace_generation(as), ==, gen);
    addrspace_unlisten(as, &c.l);
    region_unmap(&a);
    region_unmap(&b);
    g_assert_cmpuint(c.calls, ==, 2);
    addrspace_free(as);
    region_fini(&root);
}

static void test_describe(void)
{
    Region root, a, al;
    g_autoptr(GString) out = g_string_new(NULL);

    region_init_container(&root, NULL, "system", UINT64_MAX);
    region_init_io(&a, NULL, "ioapic", &ops, NULL, 0x1000);
    region_init_alias(&al, NULL, "hi", &a, 0x10, 0x20);
    AddrSpace *as = addrspace_new("memory", &root);
    region_map(&root, 0xfec00000, &a, 0);
    region_map(&root, 0x100, &al, -1);
    addrspace_describe(as, out);
    g_assert_cmpstr(out->str, ==,
        "address-space: memory\n"
        "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
        "    00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\n"
        "    0000000000000100-000000000000011f (prio -1, i/o): alias hi @ioapic "
        "0000000000000010-000000000000002f\n\n");
    region_unmap(&a);
    region_unmap(&al);
    addrspace_free(as);
    region_fini(&root);
}

/* The model: who answers at one byte, found by walking the tree with nothing but the definition of
 * priority. */
typedef struct Answer {
    const Region *region;
    uint64_t off;
    bool readonly;
} Answer;

static Answer model(const Region *r, int64_t off, bool readonly)
{
    if (!r->enabled || off < 0 || off >= (int64_t)r->size) {
        return (Answer){ 0 };
    }
    readonly |= r->readonly;
    if (r->kind == REGION_ALIAS) {
        return model(r->target, off + (int64_t)r->target_off, readonly);
    }
    for (unsigned i = 0; r->subs && i < r->subs->len; i++) {
        const Region *sub = r->subs->pdata[i];
        Answer a = model(sub, off - (int64_t)sub->at, readonly);
        if (a.region) {
            return a;
        }
    }
    if (r->kind == REGION_CONTAINER) {
        return (Answer){ 0 };
    }
    return (
        Answer){ r, (uint64_t)off, r->kind == REGION_ROM || (r->kind == REGION_RAM && readonly) };
}

enum { SPACE = 512, NREGIONS = 24 };

static void check_against_model(AddrSpace *as, const Region *root)
{
    const FlatMap *m = addrspace_map(as);

    for (unsigned i = 0; i + 1 < m->n; i++) {
        g_assert_cmpuint(m->range[i].at + m->range[i].size, <=, m->range[i + 1].at);
    }
    for (int64_t at = 0; at < SPACE + 64; at++) {
        Answer want = model(root, at, false);
        const FlatRange *f = flatmap_find(m, (uint64_t)at);
        g_assert_true((f ? f->region : NULL) == want.region);
        if (f) {
            g_assert_cmpuint(f->off + ((uint64_t)at - f->at), ==, want.off);
            g_assert_true(f->readonly == want.readonly);
        }
    }
}

static void random_init(GRand *g, Region *r, Region *all, unsigned i, RamBlock *ram)
{
    uint64_t size = (uint64_t)g_rand_int_range(g, 1, SPACE / 2);

    switch (g_rand_int_range(g, 0, i ? 4 : 3)) {
    case 0:
        region_init_io(r, NULL, "io", &ops, NULL, size);
        break;
    case 1:
        region_init_ram_block(r, NULL, "ram", ram);
        region_set_size(r, size);
        break;
    case 2:
        region_init_container(r, NULL, "container", size);
        break;
    case 3: /* only of earlier ones, so that no cycle can arise */
        region_init_alias(r, NULL, "alias", &all[g_rand_int_range(g, 0, (int)i)],
            (uint64_t)g_rand_int_range(g, 0, SPACE / 4), size);
        break;
    }
}

static void random_step(GRand *g, Region *root, Region *all)
{
    int i = g_rand_int_range(g, 0, NREGIONS);
    Region *r = &all[i];

    switch (g_rand_int_range(g, 0, 6)) {
    case 0:
        region_set_enabled(r, g_rand_boolean(g));
        break;
    case 1:
        region_set_readonly(r, g_rand_boolean(g));
        break;
    case 2:
        region_set_at(r, (uint64_t)g_rand_int_range(g, 0, SPACE));
        break;
    case 3:
        region_set_size(r, (uint64_t)g_rand_int_range(g, 1, SPACE / 2));
        break;
    case 4:
        region_unmap(r);
        break;
    case 5:
        if (!region_is_mapped(r)) {
            /* Into the root or a later container: aliases point to earlier regions, so this stays a
             * tree. */
            Region *in = root;
            int k = g_rand_int_range(g, i, NREGIONS);
            if (k > i && all[k].kind == REGION_CONTAINER) {
                in = &all[k];
            }
            region_map(in, (uint64_t)g_rand_int_range(g, 0, SPACE), r, g_rand_int_range(g, -2, 3));
        }
        break;
    }
}

static void test_random(void)
{
    g_autoptr(GRand) g = g_rand_new_with_seed(20240229);

    for (unsigned round = 0; round < 60; round++) {
        Region root, all[NREGIONS];
        RamSpec spec = { .size = SPACE };
        RamBlock *ram = ram_new("ram", &spec, NULL);
        region_init_container(&root, NULL, "root", SPACE);
        AddrSpace *as = addrspace_new("as", &root);
        for (unsigned i = 0; i < NREGIONS; i++) {
            random_init(g, &all[i], all, i, ram);
        }
        for (unsigned step = 0; step < 120; step++) {
            random_step(g, &root, all);
            check_against_model(as, &root);
        }
        for (unsigned i = 0; i < NREGIONS; i++) {
            region_unmap(&all[i]);
        }
        addrspace_free(as);
        for (unsigned i = 0; i < NREGIONS; i++) {
            region_fini(&all[i]);
        }
        region_fini(&root);
        ram_unref(ram);
    }
}

/* A board's map: 60 ranges must be published in a few microseconds, since guests move BARs at will.
 */
static void test_commit_speed(void)
{
    Region root, r[60];

    region_init_container(&root, NULL, "root", UINT64_MAX);
    AddrSpace *as = addrspace_new("as", &root);
    for (unsigned i = 0; i < 60; i++) {
        region_init_io(&r[i], NULL, "r", &ops, NULL, 0x1000);
        region_map(&root, i * 0x2000ull, &r[i], 0);
    }
    int64_t best = INT64_MAX;
    for (unsigned i = 0; i < 2000; i++) {
        int64_t t = g_get_monotonic_time();
        for (unsigned k = 0; k < 10; k++) {
            region_set_at(&r[7], 0x100000000ull + k + i);
        }
        best = MIN(best, g_get_monotonic_time() - t);
    }
    g_test_message("best commit of 60 ranges: %.1f us", (double)best / 10);
    for (unsigned i = 0; i < 60; i++) {
        region_unmap(&r[i]);
    }
    addrspace_free(as);
    region_fini(&root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rcu_thread_register();
    vm_lock();
    g_test_add_func("/region/higher-priority-wins", test_priority);
    g_test_add_func("/region/later-wins-among-equals", test_later_wins);
    g_test_add_func("/region/alias-of-alias-clips-both", test_alias_of_alias);
    g_test_add_func("/region/two-to-the-64", test_whole_space);
    g_test_add_func("/region/readonly-alias", test_readonly_alias);
    g_test_add_func("/region/transaction-publishes-once", test_transaction);
    g_test_add_func("/region/describe", test_describe);
    g_test_add_func("/region/random-trees-equal-the-model", test_random);
    g_test_add_func("/region/commit-speed", test_commit_speed);
    return g_test_run();
}
