/* memory/dma.c: bus master, mapping with references, MSI. */
#include "memory/dirty.h"
#include "memory/dma.h"
#include "memory/ram.h"
#include "util/loop.h"
#include "util/rcu.h"

#include <string.h>
#include <sys/uio.h>

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    g_assert_not_reached(); /* DMA never reaches a device */
}
static void io_write(void *opaque, uint64_t off, unsigned size, uint64_t val)
{
    g_assert_not_reached();
}
static const RegionOps ops = { .read = io_read, .write = io_write };

typedef struct Fixture {
    Region root, low, high, rom, io;
    AddrSpace *as;
    DmaSpace *dma;
    uint64_t msi_addr;
    uint32_t msi_data;
    unsigned msis;
} Fixture;

static void set_up(Fixture *f)
{
    *f = (Fixture){ 0 };
    region_init_container(&f->root, NULL, "root", UINT64_MAX);
    g_assert_true(region_init_ram(&f->low, NULL, "low", 0x1000, NULL));
    g_assert_true(region_init_ram(&f->high, NULL, "high", 0x1000, NULL));
    g_assert_true(region_init_rom(&f->rom, NULL, "rom", "rom!", 4, 0x1000, NULL));
    region_init_io(&f->io, NULL, "io", &ops, NULL, 0x1000);
    region_map(&f->root, 0, &f->low, 0);
    region_map(&f->root, 0x1000, &f->high, 0);
    region_map(&f->root, 0x2000, &f->rom, 0);
    region_map(&f->root, 0x3000, &f->io, 0);
    f->as = addrspace_new("as", &f->root);
    f->dma = dma_space_new(f->as);
    dma_space_set_master(f->dma, true);
}

static void tear_down(Fixture *f)
{
    Region *all[] = { &f->low, &f->high, &f->rom, &f->io };

    dma_space_free(f->dma);
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        region_unmap(all[i]);
        region_fini(all[i]);
    }
    addrspace_free(f->as);
    region_fini(&f->root);
}

static void test_read_write(void)
{
    Fixture f;
    char buf[8] = "";

    set_up(&f);
    g_assert_true(dma_write(f.dma, (Iova){ 0xffc }, "abcdefgh", 8)); /* over a seam */
    g_assert_cmpint(f.high.ram->host[0], ==, 'e');
    g_assert_true(dma_read(f.dma, (Iova){ 0xffc }, buf, 8));
    g_assert_cmpmem(buf, 8, "abcdefgh", 8);
    g_assert_true(dma_read(f.dma, (Iova){ 0x2000 }, buf, 4));
    g_assert_cmpmem(buf, 4, "rom!", 4);
    g_assert_false(dma_write(f.dma, (Iova){ 0x2000 }, "x", 1));
    g_assert_false(dma_write(f.dma, (Iova){ 0x3000 }, "xxxx", 4));
    g_assert_false(dma_read(f.dma, (Iova){ 0x3000 }, buf, 4));
    g_assert_false(dma_read(f.dma, (Iova){ 0x4000 }, buf, 1));
    g_assert_false(dma_read(f.dma, (Iova){ UINT64_MAX }, buf, 2)); /* wraps */
    tear_down(&f);
}

static void test_bus_master(void)
{
    Fixture f;
    char c;
    struct iovec iov[1];
    RamBlock *b[1];

    set_up(&f);
    uint64_t gen = dma_space_generation(f.dma);
    dma_space_set_master(f.dma, true);
    g_assert_cmpuint(dma_space_generation(f.dma), ==, gen);
    dma_space_set_master(f.dma, false);
    g_assert_cmpuint(dma_space_generation(f.dma), !=, gen);
    g_assert_false(dma_read(f.dma, (Iova){ 0 }, &c, 1));
    g_assert_false(dma_write(f.dma, (Iova){ 0 }, "x", 1));
    g_assert_cmpuint(dma_map(f.dma, (Iova){ 0 }, 1, DMA_FROM_GUEST, iov, b, 1), ==, 0);
    dma_msi(f.dma, 0x100, 0x12345678);
    g_assert_cmpuint(f.low.ram->host[0x100], ==, 0);
    gen = dma_space_generation(f.dma);
    dma_space_set_master(f.dma, true);
    region_set_at(&f.high, 0x8000);
    g_assert_cmpuint(dma_space_generation(f.dma), >=, gen + 2);
    tear_down(&f);
}

static void test_map(void)
{
    Fixture f;
    struct iovec iov[2];
    RamBlock *b[2];

    set_up(&f);
    g_assert_cmpuint(dma_map(f.dma, (Iova){ 0xff0 }, 0x20, DMA_TO_GUEST, iov, b, 1), ==,
        0); /* too many pieces */
    g_assert_cmpuint(f.low.ram->refs, ==, 1);
    g_assert_cmpuint(
        dma_map(f.dma, (Iova){ 0x1ff0 }, 0x20, DMA_TO_GUEST, iov, b, 2), ==, 0); /* into ROM */
    g_assert_cmpuint(
        dma_map(f.dma, (Iova){ 0x2ff0 }, 0x20, DMA_FROM_GUEST, iov, b, 2), ==, 0); /* into MMIO */
    g_assert_cmpuint(dma_map(f.dma, (Iova){ 0 }, 0, DMA_FROM_GUEST, iov, b, 2), ==, 0);
    g_assert_cmpuint(f.high.ram->refs, ==, 1);
    g_assert_cmpuint(dma_map(f.dma, (Iova){ 0xff0 }, 0x20, DMA_TO_GUEST, iov, b, 2), ==, 2);
    g_assert_true(iov[0].iov_base == f.low.ram->host + 0xff0 && iov[0].iov_len == 0x10);
    g_assert_true(iov[1].iov_base == f.high.ram->host && iov[1].iov_len == 0x10);
    g_assert_cmpuint(f.low.ram->refs, ==, 2);

    DirtyLog *low = dirty_log_new(f.low.ram), *high = dirty_log_new(f.high.ram);
    dma_unmap(f.dma, iov, b, 2, DMA_TO_GUEST, 0x10); /* the second part was not written */
    g_assert_true(dirty_log_take(low, 0, 0x1000));
    g_assert_false(dirty_log_take(high, 0, 0x1000));
    dirty_log_free(low);
    dirty_log_free(high);
    g_assert_cmpuint(f.low.ram->refs, ==, 1);
    tear_down(&f);
}

/* RAM that a request points at outlives its region. */
static void test_unplug_while_mapped(void)
{
    Fixture f;
    struct iovec iov[1];
    RamBlock *b[1];

    set_up(&f);
    g_assert_cmpuint(dma_map(f.dma, (Iova){ 0x1000 }, 0x10, DMA_TO_GUEST, iov, b, 1), ==, 1);
    region_unmap(&f.high);
    region_fini(&f.high);
    rcu_drain();
    memset(iov[0].iov_base, 0xee, iov[0].iov_len);
    g_assert_cmpuint(b[0]->refs, ==, 1);
    dma_unmap(f.dma, iov, b, 1, DMA_TO_GUEST, 0x10);
    g_assert_true(region_init_ram(&f.high, NULL, "high", 0x1000, NULL));
    tear_down(&f);
}

static void on_msi(void *opaque, uint64_t addr, uint32_t data)
{
    Fixture *f = opaque;

    f->msis++;
    f->msi_addr = addr;
    f->msi_data = data;
}

static void test_msi(void)
{
    Fixture f;
    uint32_t word = 0;

    set_up(&f);
    dma_msi(f.dma, 0x200, 0x12345678); /* qtest clients let devices interrupt into RAM */
    g_assert_true(dma_read(f.dma, (Iova){ 0x200 }, &word, 4));
    g_assert_cmphex(word, ==, GUINT32_TO_LE(0x12345678));
    dma_msi(f.dma, 0xfee00000, 0x41); /* nobody listens: lost */
    dma_set_msi_sink(f.as, on_msi, &f);
    dma_msi(f.dma, 0xfee01004, 0x41);
    g_assert_cmpuint(f.msis, ==, 1);
    g_assert_cmphex(f.msi_addr, ==, 0xfee01004);
    g_assert_cmphex(f.msi_data, ==, 0x41);
    g_assert_true(dma_write(f.dma, (Iova){ 0xfee02000 }, "\x42\0\0\0", 4)); /* a message by hand */
    g_assert_cmpuint(f.msis, ==, 2);
    g_assert_cmphex(f.msi_data, ==, 0x42);
    dma_msi(f.dma, 0x1fee00000ull, 1); /* only below 4 GiB */
    g_assert_cmpuint(f.msis, ==, 2);
    tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rcu_thread_register();
    vm_lock();
    g_test_add_func("/dma/read-write", test_read_write);
    g_test_add_func("/dma/bus-master-off-fails", test_bus_master);
    g_test_add_func("/dma/map", test_map);
    g_test_add_func("/dma/mapped-ram-outlives-its-region", test_unplug_while_mapped);
    g_test_add_func("/dma/msi", test_msi);
    return g_test_run();
}
