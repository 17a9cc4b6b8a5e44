/* memory/access.c: dispatch to devices, splitting and widening, holes, ROM, re-entry. */
#include "memory/addrspace.h"
#include "memory/ram.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <string.h>

typedef struct Fixture {
    Region root, ram, rom, dev;
    AddrSpace *as;
    GString *log;       /* "r4@10 w2@8=1234 " */
    uint64_t next_read; /* what the device answers: byte i of the answer is next_read + off + i */
    bool lock_seen;
    AddrSpace *reenter;
} Fixture;

static uint64_t dev_read(void *opaque, uint64_t off, unsigned size)
{
    Fixture *f = opaque;
    uint64_t v = 0;

    g_string_append_printf(f->log, "r%u@%x ", size, (unsigned)off);
    for (unsigned i = 0; i < size; i++) {
        v |= (uint64_t)(uint8_t)(off + i) << (i * 8);
    }
    f->lock_seen = vm_lock_held();
    if (f->reenter) {
        bool hole = false;
        addrspace_load(f->reenter, 0x10000, 4, &hole);
        g_assert_true(hole);
    }
    return v;
}

static void dev_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    Fixture *f = opaque;

    g_string_append_printf(f->log, "w%u@%x=%" G_GINT64_MODIFIER "x ", size, (unsigned)off, val);
    f->lock_seen = vm_lock_held();
}

static void set_up(Fixture *f, const RegionOps *ops)
{
    static const uint8_t rom[4] = { 1, 2, 3, 4 };

    *f = (Fixture){ .log = g_string_new(NULL) };
    region_init_container(&f->root, NULL, "root", UINT64_MAX);
    g_assert_true(region_init_ram(&f->ram, NULL, "ram", 0x2000, NULL));
    g_assert_true(region_init_rom(&f->rom, NULL, "rom", rom, sizeof rom, 0x1000, NULL));
    region_init_io(&f->dev, NULL, "dev", ops, f, 0x100);
    region_map(&f->root, 0, &f->ram, 0);
    region_map(&f->root, 0x8000, &f->rom, 0);
    region_map(&f->root, 0x10000, &f->dev, 0);
    f->as = addrspace_new("as", &f->root);
}

static void tear_down(Fixture *f)
{
    region_unmap(&f->ram);
    region_unmap(&f->rom);
    region_unmap(&f->dev);
    addrspace_free(f->as);
    region_fini(&f->ram);
    region_fini(&f->rom);
    region_fini(&f->dev);
    region_fini(&f->root);
    g_string_free(f->log, TRUE);
}

static void assert_log(Fixture *f, const char *want)
{
    g_assert_cmpstr(f->log->str, ==, want);
    g_string_truncate(f->log, 0);
}

static const RegionOps any = { .read = dev_read, .write = dev_write };
static const RegionOps four = {
    .read = dev_read, .write = dev_write, .min_access = 4, .max_access = 4
};
static const RegionOps bytes = { .read = dev_read, .write = dev_write, .max_access = 1 };
static const RegionOps loose = { .read = dev_read, .write = dev_write, .unaligned = true };
static const RegionOps valid4 = {
    .read = dev_read, .write = dev_write, .valid_min = 4, .valid_max = 4
};
static const RegionOps lockless = { .read = dev_read, .write = dev_write, .lockless = true };

static void test_single_access(void)
{
    Fixture f;

    set_up(&f, &any);
    g_assert_cmphex(addrspace_load(f.as, 0x10010, 4, NULL), ==, 0x13121110);
    assert_log(&f, "r4@10 ");
    addrspace_store(f.as, 0x10008, 8, 0x1122334455667788, NULL);
    assert_log(&f, "w8@8=1122334455667788 ");
    addrspace_store(f.as, 0x10003, 1, 0x1ff, NULL); /* a value wider than the access is cut */
    assert_log(&f, "w1@3=ff ");
    tear_down(&f);
}

static void test_unaligned(void)
{
    Fixture f;

    set_up(&f, &any);
    g_assert_cmphex(addrspace_load(f.as, 0x10011, 4, NULL), ==, 0x14131211);
    assert_log(&f, "r1@11 r2@12 r1@14 ");
    tear_down(&f);
    set_up(&f, &loose);
    g_assert_cmphex(addrspace_load(f.as, 0x10011, 4, NULL), ==, 0x14131211);
    assert_log(&f, "r4@11 ");
    tear_down(&f);
}

/* Port 0xcf9 lies over CONFIG_ADDRESS: a dword at 0xcf8 is one access all the same. */
static void test_overlay_does_not_split(void)
{
    Fixture f;
    Region over;

    set_up(&f, &any);
    region_init_io(&over, NULL, "over", &any, &f, 1);
    region_map(&f.root, 0x10001, &over, 1);
    addrspace_store(f.as, 0x10000, 4, 0x80000000, NULL);
    assert_log(&f, "w4@0=80000000 ");
    addrspace_store(f.as, 0x10001, 1, 6, NULL);
    assert_log(&f, "w1@0=6 ");
    region_unmap(&over);
    tear_down(&f);
}

static void test_split_wide(void)
{
    Fixture f;

    set_up(&f, &bytes);
    g_assert_cmphex(addrspace_load(f.as, 0x10020, 4, NULL), ==, 0x23222120);
    assert_log(&f, "r1@20 r1@21 r1@22 r1@23 ");
    addrspace_store(f.as, 0x10020, 2, 0xabcd, NULL);
    assert_log(&f, "w1@20=cd w1@21=ab ");
    tear_down(&f);
    set_up(&f, &four);
    addrspace_store(f.as, 0x10020, 8, 0x1111111122222222, NULL);
    assert_log(&f, "w4@20=22222222 w4@24=11111111 ");
    tear_down(&f);
}

static void test_widen_narrow(void)
{
    Fixture f;

    set_up(&f, &four);
    g_assert_cmphex(addrspace_load(f.as, 0x10012, 1, NULL), ==, 0x12);
    assert_log(&f, "r4@10 ");
    g_assert_cmphex(addrspace_load(f.as, 0x10012, 2, NULL), ==, 0x1312);
    assert_log(&f, "r4@10 ");
    addrspace_store(f.as, 0x10012, 1, 0x7f, NULL);
    assert_log(&f, "w4@10=7f0000 ");
    g_assert_cmphex(addrspace_load(f.as, 0x10013, 2, NULL), ==, 0x1413);
    assert_log(&f, "r4@10 r4@14 ");
    tear_down(&f);
}

static void test_valid_sizes(void)
{
    Fixture f;

    set_up(&f, &valid4);
    g_assert_cmphex(addrspace_load(f.as, 0x10010, 1, NULL), ==, 0);
    g_assert_cmphex(addrspace_load(f.as, 0x10010, 8, NULL), ==, 0);
    addrspace_store(f.as, 0x10010, 2, 1, NULL);
    assert_log(&f, "");
    g_assert_cmphex(addrspace_load(f.as, 0x10010, 4, NULL), ==, 0x13121110);
    assert_log(&f, "r4@10 ");
    uint8_t buf[8];
    g_assert_true(
        addrspace_read(f.as, 0x10010, buf, 8)); /* no CPU access: pieces the region takes */
    assert_log(&f, "r4@10 r4@14 ");
    tear_down(&f);
}

static void test_holes(void)
{
    Fixture f;
    bool hole = false;
    uint8_t buf[4] = { 9, 9, 9, 9 };

    set_up(&f, &any);
    g_assert_cmphex(addrspace_load(f.as, 0x20000, 4, &hole), ==, 0);
    g_assert_true(hole);
    addrspace_load(f.as, 0x10000, 4, &hole);
    g_assert_false(hole);
    addrspace_store(f.as, 0x20000, 4, 5, &hole);
    g_assert_true(hole);
    g_assert_false(addrspace_read(f.as, 0x1ffe, buf, 4)); /* two bytes of RAM, two of nothing */
    g_assert_cmphex(buf[3], ==, 0);
    addrspace_set_hole_value(f.as, UINT64_MAX);
    g_assert_cmphex(addrspace_load(f.as, 0x20000, 2, NULL), ==, 0xffff);
    g_string_truncate(f.log, 0);
    g_assert_cmphex(addrspace_load(f.as, 0x100fe, 4, NULL), ==, 0xfffffffe & 0xffffffff);
    assert_log(&f, "r2@fe ");
    tear_down(&f);
}

static void test_ram_and_rom(void)
{
    Fixture f;
    uint8_t buf[3000];
    bool hole = true;

    set_up(&f, &any);
    addrspace_store(f.as, 0x101, 4, 0x44332211, NULL); /* unaligned RAM is one piece */
    g_assert_cmphex(addrspace_load(f.as, 0x100, 8, NULL), ==, 0x4433221100);
    g_assert_cmphex(addrspace_load(f.as, 0x8000, 4, NULL), ==, 0x04030201);
    addrspace_store(f.as, 0x8000, 4, 0, &hole);
    g_assert_true(hole);
    g_assert_cmphex(addrspace_load(f.as, 0x8000, 4, NULL), ==, 0x04030201);
    g_assert_false(addrspace_write(f.as, 0x8000, buf, 1));
    g_assert_true(addrspace_write_rom(f.as, 0x8000, "\x77", 1));
    g_assert_cmphex(addrspace_load(f.as, 0x8000, 4, NULL), ==, 0x04030277);
    for (unsigned i = 0; i < sizeof buf; i++) {
        buf[i] = (uint8_t)(i * 7);
    }
    uint8_t back[3000] = { 0 };
    g_assert_true(addrspace_write(f.as, 0x203, buf, sizeof buf));
    g_assert_true(addrspace_read(f.as, 0x203, back, sizeof back));
    g_assert_cmpmem(buf, sizeof buf, back, sizeof back);
    g_assert_true(addrspace_fill(f.as, 0x203, 0x5a, 1500));
    g_assert_cmphex(addrspace_load(f.as, 0x203 + 1498, 4, NULL) & 0xffff, ==, 0x5a5a);
    g_assert_cmphex(addrspace_load(f.as, 0x203 + 1500, 1, NULL), ==, buf[1500]);
    tear_down(&f);
}

static void test_read_write_pieces(void)
{
    Fixture f;
    uint8_t buf[16];

    set_up(&f, &any);
    memset(buf, 0x11, sizeof buf);
    g_assert_true(addrspace_write(f.as, 0x10014, buf, 1)); /* libqos: one byte is one access */
    assert_log(&f, "w1@14=11 ");
    g_assert_true(addrspace_write(f.as, 0x10014, buf, 12));
    assert_log(&f, "w4@14=11111111 w8@18=1111111111111111 ");
    g_assert_true(addrspace_read(f.as, 0x10000, buf, 16));
    assert_log(&f, "r8@0 r8@8 ");
    g_assert_cmphex(buf[9], ==, 9);
    g_assert_true(addrspace_read(f.as, 0x10001, buf, 8));
    assert_log(&f, "r1@1 r2@2 r4@4 r1@8 ");
    tear_down(&f);
}

static void test_rom_with_ops(void)
{
    Fixture f;

    set_up(&f, &any);
    f.rom.ops = &any;
    f.rom.opaque = &f;
    addrspace_store(f.as, 0x8010, 1, 0x40, NULL); /* a flash command */
    assert_log(&f, "w1@10=40 ");
    g_assert_cmphex(addrspace_load(f.as, 0x8000, 1, NULL), ==, 1);
    assert_log(&f, "");
    tear_down(&f);
}

static void test_reentry(void)
{
    Fixture f;

    set_up(&f, &any);
    f.reenter = f.as;
    addrspace_load(f.as, 0x10000, 4, NULL);
    assert_log(&f, "r4@0 "); /* the inner one never arrived */
    f.reenter = NULL;
    addrspace_load(f.as, 0x10000, 4, NULL);
    assert_log(&f, "r4@0 ");
    tear_down(&f);
}

static void test_host(void)
{
    Fixture f;
    RamBlock *b = NULL;

    set_up(&f, &any);
    g_assert_true(addrspace_host(f.as, 0x10, 0x1ff0, true, &b) == f.ram.ram->host + 0x10);
    g_assert_true(b == f.ram.ram);
    g_assert_null(addrspace_host(f.as, 0x10, 0x1ff1, true, NULL));
    g_assert_nonnull(addrspace_host(f.as, 0x8000, 4, false, NULL));
    g_assert_null(addrspace_host(f.as, 0x8000, 4, true, NULL));
    g_assert_null(addrspace_host(f.as, 0x10000, 4, false, NULL));
    g_assert_null(addrspace_host(f.as, 0x20000, 4, false, NULL));
    tear_down(&f);
}

typedef struct LockTest {
    Fixture f;
    bool before, after;
} LockTest;

static void *other_thread(void *opaque)
{
    LockTest *t = opaque;

    rcu_thread_register();
    t->before = vm_lock_held();
    addrspace_load(t->f.as, 0x10000, 4, NULL);
    t->after = vm_lock_held();
    rcu_thread_unregister();
    return NULL;
}

static bool lock_seen_from_thread(const RegionOps *ops)
{
    LockTest t;

    set_up(&t.f, ops);
    vm_unlock();
    rcu_offline();
    g_thread_join(g_thread_new("cpu", other_thread, &t));
    rcu_online();
    vm_lock();
    g_assert_false(t.before);
    g_assert_false(t.after);
    bool seen = t.f.lock_seen;
    tear_down(&t.f);
    return seen;
}

static void test_vm_lock(void)
{
    g_assert_true(lock_seen_from_thread(&any));
    g_assert_false(lock_seen_from_thread(&lockless));
}

static bool dev_peek(void *opaque, uint64_t off, unsigned size, uint64_t *ret)
{
    g_assert_false(vm_lock_held());
    *ret = 0x77;
    return off == 0x14 && size == 1;
}

/* The short way of a caller that remembers its range: the same bytes, sizes and pieces. */
static void test_near(void)
{
    static const RegionOps ops = {
        .read = dev_read, .write = dev_write, .max_access = 4, .peek = dev_peek
    };
    unsigned hint = 12345;
    Fixture f;

    set_up(&f, &ops);
    vm_unlock();
    g_assert_cmphex(addrspace_load_near(f.as, 0x10008, 4, &hint), ==, 0x0b0a0908);
    assert_log(&f, "r4@8 "); /* the long way: it was not known yet */
    g_assert_cmphex(addrspace_load_near(f.as, 0x10010, 2, &hint), ==, 0x1110);
    g_assert_true(f.lock_seen);
    g_assert_cmphex(addrspace_load_near(f.as, 0x10008, 8, &hint), ==, 0x0f0e0d0c0b0a0908);
    assert_log(&f, "r2@10 r4@8 r4@c ");
    g_assert_cmphex(addrspace_load_near(f.as, 0x10014, 1, &hint), ==, 0x77);
    assert_log(&f, ""); /* without the device's read, and without the lock */
    g_assert_cmphex(addrspace_load_near(f.as, 0x10015, 1, &hint), ==, 0x15);
    g_assert_cmphex(addrspace_load_near(f.as, 0x8000, 4, &hint), ==, 0x04030201);
    assert_log(&f, "r1@15 ");
    vm_lock();
    tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rcu_thread_register();
    vm_lock();
    g_test_add_func("/addrspace/aligned-access-is-one", test_single_access);
    g_test_add_func("/addrspace/unaligned-is-split", test_unaligned);
    g_test_add_func("/addrspace/overlay-does-not-split", test_overlay_does_not_split);
    g_test_add_func("/addrspace/wide-is-split", test_split_wide);
    g_test_add_func("/addrspace/narrow-is-widened", test_widen_narrow);
    g_test_add_func("/addrspace/invalid-sizes-are-ignored", test_valid_sizes);
    g_test_add_func("/addrspace/holes", test_holes);
    g_test_add_func("/addrspace/ram-and-rom", test_ram_and_rom);
    g_test_add_func("/addrspace/read-write-pieces", test_read_write_pieces);
    g_test_add_func("/addrspace/rom-with-ops-hears-writes", test_rom_with_ops);
    g_test_add_func("/addrspace/reentry-is-refused", test_reentry);
    g_test_add_func("/addrspace/host-pointer", test_host);
    g_test_add_func("/addrspace/vm-lock-unless-lockless", test_vm_lock);
    g_test_add_func("/addrspace/near", test_near);
    return g_test_run();
}
