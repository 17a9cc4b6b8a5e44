/* hw/pci/msix.c: table, masks and pending bits (PCI 3.0, 6.8.2). */
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"

typedef struct Fix {
    Board *b;
    PciFn *f;
    VDriver d;
} Fix;

static void up(Fix *x, const void *unused)
{
    x->b = board_new(false);
    x->f = (PciFn *)board_add(x->b, "{'driver': 'dummy-pci', 'addr': '4'}");
    vd_open(&x->d, &x->b->port, 0, 4 << 3, false);
    vd_enable_msix(&x->d);
}

static void down(Fix *x, const void *unused)
{
    board_free(x->b);
}

static void entry_write(const Fix *x, unsigned v, unsigned word, uint32_t val)
{
    x->b->port.store(x->b, false, x->d.bar[1] + v * 16 + word * 4, 4, val);
}

static uint64_t pba(const Fix *x)
{
    return x->b->port.load(x->b, false, x->d.bar[1] + 0x800, 8);
}

static void control(const Fix *x, uint16_t v)
{
    vd_cfg_write(&x->b->port, 0, 4 << 3, x->d.cap_msix + 2, 2, v);
}

static void test_fire(Fix *x, const void *unused)
{
    g_assert_cmpuint(msix_vectors(x->f), ==, 3);
    msix_fire(x->f, 1);
    g_assert_cmphex(vd_msi(&x->d, 1), ==, 0x4001);
    g_assert_cmphex(vd_msi(&x->d, 0), ==, 0);
    msix_fire(x->f, 99); /* no such vector */
}

static void test_mask(Fix *x, const void *unused)
{
    entry_write(x, 2, 3, 1);
    msix_fire(x->f, 2);
    msix_fire(x->f, 2);
    g_assert_cmphex(vd_msi(&x->d, 2), ==, 0);
    g_assert_cmphex(pba(x), ==, 1 << 2);
    entry_write(x, 2, 3, 0);
    g_assert_cmphex(vd_msi(&x->d, 2), ==, 0x4002);
    g_assert_cmphex(pba(x), ==, 0);
}

static void test_function_mask(Fix *x, const void *unused)
{
    control(x, 0xc000);
    msix_fire(x->f, 0);
    g_assert_cmphex(vd_msi(&x->d, 0), ==, 0);
    g_assert_cmphex(pba(x), ==, 1);
    control(x, 0x8000);
    g_assert_cmphex(vd_msi(&x->d, 0), ==, 0x4000);
}

static void test_disabled(Fix *x, const void *unused)
{
    control(x, 0);
    msix_fire(x->f, 0);
    g_assert_cmphex(vd_msi(&x->d, 0), ==, 0);
    g_assert_cmphex(pba(x), ==, 0);
}

static void test_bus_master_off(Fix *x, const void *unused)
{
    vd_cfg_write(&x->b->port, 0, 4 << 3, 4, 2, 3);
    msix_fire(x->f, 0);
    g_assert_cmphex(vd_msi(&x->d, 0), ==, 0);
}

static void test_to_lapic(Fix *x, const void *unused)
{
    entry_write(x, 0, 0, 0xfee01000);
    entry_write(x, 0, 2, 0x31);
    msix_fire(x->f, 0);
    g_assert_cmpuint(board_msi.n, ==, 1);
    g_assert_cmphex(board_msi.addr, ==, 0xfee01000);
    g_assert_cmphex(board_msi.data, ==, 0x31);
}

/* C1: a message aimed at the function's own table must neither recurse nor change it. */
static void test_own_table(Fix *x, const void *unused)
{
    entry_write(x, 0, 0, (uint32_t)x->d.bar[1] + 12);
    entry_write(x, 0, 2, 0);
    msix_fire(x->f, 0);
    g_assert_cmphex(pba(x), ==, 0);
}

static void test_registers(Fix *x, const void *unused)
{
    entry_write(x, 1, 3, UINT32_MAX);
    g_assert_cmphex(x->b->port.load(x->b, false, x->d.bar[1] + 28, 4), ==, 1);
    x->b->port.store(x->b, false, x->d.bar[1] + 0x800, 8, UINT64_MAX);
    g_assert_cmphex(pba(x), ==, 0);
    g_assert_cmphex(vd_cfg_read(&x->b->port, 0, 4 << 3, x->d.cap_msix + 2, 2), ==, 0x8002);
    pci_fn_reset(&x->f->dev.obj);
    g_assert_cmphex(vd_cfg_read(&x->b->port, 0, 4 << 3, x->d.cap_msix + 2, 2), ==, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add("/msix/fire-writes-message", Fix, NULL, up, test_fire, down);
    g_test_add("/msix/masked-vector-is-pending", Fix, NULL, up, test_mask, down);
    g_test_add("/msix/function-mask", Fix, NULL, up, test_function_mask, down);
    g_test_add("/msix/disabled-sends-nothing", Fix, NULL, up, test_disabled, down);
    g_test_add("/msix/bus-master-off", Fix, NULL, up, test_bus_master_off, down);
    g_test_add("/msix/message-to-lapic", Fix, NULL, up, test_to_lapic, down);
    g_test_add("/msix/message-to-own-table", Fix, NULL, up, test_own_table, down);
    g_test_add("/msix/read-only-parts-and-reset", Fix, NULL, up, test_registers, down);
    return g_test_run();
}
