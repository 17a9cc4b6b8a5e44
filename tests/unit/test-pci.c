/* hw/pci: config space, BARs, placement, INTx, power management, host bridge access. */
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"

#include <unistd.h>

enum { DEVFN = 4 << 3 };

static uint32_t rd(const Board *b, unsigned reg, unsigned size)
{
    return vd_cfg_read(&b->port, 0, DEVFN, reg, size);
}

static void wr(const Board *b, unsigned reg, unsigned size, uint32_t v)
{
    vd_cfg_write(&b->port, 0, DEVFN, reg, size, v);
}

static Board *plain_board(void)
{
    Board *b = board_new(false);

    board_add(b, "{'driver': 'plain-pci', 'addr': '4'}");
    return b;
}

static void test_header(void)
{
    Board *b = plain_board();

    g_assert_cmphex(rd(b, 0, 4), ==, 0x56781234);
    g_assert_cmphex(rd(b, 8, 4), ==, 0xff000003);
    g_assert_cmphex(rd(b, 0x2c, 4), ==, 0x11001af4);
    g_assert_cmphex(rd(b, 0x3d, 1), ==, 1);
    wr(b, 0, 4, UINT32_MAX);
    g_assert_cmphex(rd(b, 0, 4), ==, 0x56781234);
    wr(b, 4, 2, 0xffff);
    g_assert_cmphex(rd(b, 4, 2), ==, 0x507);
    wr(b, 0x3c, 1, 11);
    g_assert_cmphex(rd(b, 0x3c, 1), ==, 11);
    board_free(b);
}

static void test_absent(void)
{
    Board *b = plain_board();

    g_assert_cmphex(vd_cfg_read(&b->port, 0, 5 << 3, 0, 4), ==, UINT32_MAX);
    g_assert_cmphex(vd_cfg_read(&b->port, 0, 5 << 3, 0, 2), ==, 0xffff);
    g_assert_cmphex(vd_cfg_read(&b->port, 1, DEVFN, 0, 4), ==, UINT32_MAX);
    vd_cfg_write(&b->port, 0, 5 << 3, 4, 2, 7);
    board_free(b);
}

/* Both ways to name a register: the low bits in CONFIG_ADDRESS or in the port. */
static void test_low_bits(void)
{
    Board *b = plain_board();
    const VPort *p = &b->port;

    p->store(p->opaque, true, 0xcf8, 4, 0x80000000u | DEVFN << 8 | 0x2e);
    g_assert_cmphex(p->load(p->opaque, true, 0xcfc, 2), ==, 0x1100);
    g_assert_cmphex(p->load(p->opaque, true, 0xcf8, 4), ==, 0x80000000u | DEVFN << 8 | 0x2e);
    p->store(p->opaque, true, 0xcf8, 4, 0x80000000u | DEVFN << 8 | 0x2c);
    g_assert_cmphex(p->load(p->opaque, true, 0xcfe, 2), ==, 0x1100);
    p->store(p->opaque, true, 0xcf8, 4, 0x80000000u | DEVFN << 8 | 0x2d);
    g_assert_cmphex(p->load(p->opaque, true, 0xcfc, 2), ==, 0x001a);
    p->store(p->opaque, true, 0xcf8, 4, DEVFN << 8);
    g_assert_cmphex(p->load(p->opaque, true, 0xcfc, 4), ==, UINT32_MAX);
    board_free(b);
}

static void test_bar_sizing(void)
{
    Board *b = plain_board();

    wr(b, 0x10, 4, UINT32_MAX);
    g_assert_cmphex(rd(b, 0x10, 4), ==, 0xffffffe1);
    wr(b, 0x14, 4, UINT32_MAX);
    g_assert_cmphex(rd(b, 0x14, 4), ==, 0xfffff000);
    wr(b, 0x18, 4, UINT32_MAX);
    g_assert_cmphex(rd(b, 0x18, 4), ==, 0xffffc00c);
    wr(b, 0x1c, 4, UINT32_MAX);
    g_assert_cmphex(rd(b, 0x1c, 4), ==, UINT32_MAX);
    wr(b, 0x20, 4, UINT32_MAX);
    g_assert_cmphex(rd(b, 0x20, 4), ==, 0);
    board_free(b);
}

static void test_bar_decoding(void)
{
    Board *b = plain_board();
    const VPort *p = &b->port;

    wr(b, 0x10, 4, 0xc000);
    wr(b, 0x14, 4, 0xe0000000);
    wr(b, 0x18, 4, 0x40000000);
    wr(b, 0x1c, 4, 1);
    g_assert_cmphex(p->load(p->opaque, false, 0xe0000010, 4), ==, 0); /* decoding is off */
    wr(b, 4, 2, 2);
    g_assert_cmphex(p->load(p->opaque, false, 0xe0000010, 4), ==, 0x10);
    g_assert_cmphex(p->load(p->opaque, false, 0x140000020, 4), ==, 0x20);
    g_assert_cmphex(p->load(p->opaque, true, 0xc004, 4), ==, UINT32_MAX);
    wr(b, 4, 2, 3);
    g_assert_cmphex(p->load(p->opaque, true, 0xc004, 4), ==, 4);
    wr(b, 0x14, 4, 0xe0100000); /* a BAR moves */
    g_assert_cmphex(p->load(p->opaque, false, 0xe0000010, 4), ==, 0);
    g_assert_cmphex(p->load(p->opaque, false, 0xe0100010, 4), ==, 0x10);
    wr(b, 0x14, 4, UINT32_MAX); /* sizing with decoding on maps nothing */
    g_assert_cmphex(p->load(p->opaque, false, 0xfffff010, 4), ==, 0);
    board_free(b);
}

/* PCI PM 1.2, 5.4.1 */
static void test_d3_resets(void)
{
    Board *b = plain_board();
    const VPort *p = &b->port;
    unsigned pm = rd(b, 0x34, 1);

    g_assert_cmphex(rd(b, pm, 1), ==, 1);
    wr(b, 0x14, 4, 0xe0000000);
    wr(b, 4, 2, 2);
    wr(b, pm + 4, 2, 3);
    g_assert_cmphex(p->load(p->opaque, false, 0xe0000010, 4), ==, 0);
    wr(b, pm + 4, 2, 0);
    g_assert_cmphex(rd(b, 0x14, 4), ==, 0);
    g_assert_cmphex(rd(b, 4, 2), ==, 0);
    board_free(b);
}

static void test_intx(void)
{
    Board *b = board_new(false);
    PciFn *f =
        (PciFn *)board_add(b, "{'driver': 'plain-pci', 'addr': '4.0', 'multifunction': true}");
    PciFn *g = (PciFn *)board_add(b, "{'driver': 'plain-pci', 'addr': '4.1'}");

    pci_set_irq(f, true);
    g_assert_true(b->intx[4][0]);
    g_assert_cmphex(rd(b, 6, 2) & 8, ==, 8);
    pci_set_irq(g, true);
    pci_set_irq(f, false);
    g_assert_true(b->intx[4][0]); /* a shared wire */
    g_assert_cmphex(rd(b, 6, 2) & 8, ==, 0);
    pci_set_irq(g, false);
    g_assert_false(b->intx[4][0]);
    pci_set_irq(f, true);
    wr(b, 4, 2, 0x400); /* INTx disable */
    g_assert_false(b->intx[4][0]);
    g_assert_cmphex(rd(b, 6, 2) & 8, ==, 8);
    wr(b, 4, 2, 0);
    g_assert_true(b->intx[4][0]);
    board_free(b);
}

static void check_error(Board *b, const char *json, const char *want)
{
    g_autofree char *got = board_add_error(b, json);

    g_assert_cmpstr(got, ==, want);
}

/* BAR 6: a file the user names is shown as it is; a default one gets the function's ids and keeps
 * its sum. */
static void test_rom(void)
{
    enum { LEN = 1024, AT = 0xe0000000 };
    Board *b = board_new(false);
    const VPort *p = &b->port;
    g_autofree char *name = NULL, *json = NULL;
    uint8_t rom[LEN] = { 0x55, 0xaa, LEN / 512, 0xcb, [0x18] = 0x1c, [0x1c] = 'P', 'C', 'I', 'R',
        0xf4, 0x1a, 0x41, 0x10, [LEN - 1] = 0x5a };
    uint8_t sum = 0;
    PciFn *f;
    int fd = g_file_open_tmp("rom-XXXXXX", &name, NULL);

    for (unsigned i = 0; i < LEN; i++) {
        sum += rom[i];
    }
    rom[6] = -sum;
    g_assert_cmpint(write(fd, rom, LEN), ==, LEN);
    close(fd);
    json = g_strdup_printf("{'driver': 'plain-pci', 'addr': '4', 'romfile': '%s'}", name);
    board_add(b, json);
    board_add(b, "{'driver': 'plain-pci', 'addr': '5', 'rombar': 0}");
    f = (PciFn *)board_add(b, "{'driver': 'plain-pci', 'addr': '6'}");
    pci_rom_default((PciFn *)board_add(b, "{'driver': 'plain-pci', 'addr': '7'}"), "/no/such");
    pci_rom_default(f, name);
    unlink(name);
    for (unsigned slot = 4; slot < 8; slot++) {
        uint8_t devfn = (uint8_t)(slot << 3);
        uint32_t at = AT + (slot << 16);

        vd_cfg_write(p, 0, devfn, 0x30, 4, 0xfffffffe);
        g_assert_cmphex(
            vd_cfg_read(p, 0, devfn, 0x30, 4), ==, slot == 5 || slot == 7 ? 0 : 0xfffff800);
        vd_cfg_write(p, 0, devfn, 0x30, 4, at | 1);
        vd_cfg_write(p, 0, devfn, 4, 2, 2);
    }
    sum = 0;
    for (unsigned i = 0; i < LEN; i++) {
        uint8_t named = (uint8_t)p->load(p->opaque, false, AT + 0x40000 + i, 1);
        uint8_t adopted = (uint8_t)p->load(p->opaque, false, AT + 0x60000 + i, 1);

        g_assert_cmphex(named, ==, rom[i]);
        if (i != 6 && (i < 0x20 || i >= 0x24)) {
            g_assert_cmphex(adopted, ==, rom[i]);
        }
        sum += adopted;
    }
    g_assert_cmphex(p->load(p->opaque, false, AT + 0x60020, 4), ==, 0x56781234);
    g_assert_cmphex(sum, ==, 0);
    p->store(p->opaque, false, AT + 0x60020, 4, 0); /* a ROM */
    g_assert_cmphex(p->load(p->opaque, false, AT + 0x60020, 4), ==, 0x56781234);
    vd_cfg_write(p, 0, 6 << 3, 0x30, 4, AT + 0x60000); /* not enabled */
    g_assert_cmphex(p->load(p->opaque, false, AT + 0x60020, 4), !=, 0x56781234);
    board_free(b);
}

static void test_placement(void)
{
    Board *b = board_new(false);

    board_add(b, "{'driver': 'plain-pci', 'addr': '4', 'id': 'a'}");
    check_error(b, "{'driver': 'plain-pci', 'addr': '4'}",
        "PCI: slot 4 function 0 not available for plain-pci, in use by plain-pci,id=a");
    check_error(b, "{'driver': 'plain-pci', 'addr': '4.1'}",
        "PCI: single function device can't be populated in function 4.1");
    board_add(b, "{'driver': 'plain-pci', 'addr': '5.1'}");
    check_error(b, "{'driver': 'plain-pci', 'addr': '5.0'}",
        "PCI: 5.0 indicates single function, but 5.1 is already populated.");
    check_error(b, "{'driver': 'plain-pci', 'acpi-index': 16384}",
        "acpi-index should be less or equal to 16383");
    check_error(
        b, "{'driver': 'plain-pci', 'romfile': '/no/such'}", "failed to find romfile \"/no/such\"");
    check_error(b, "{'driver': 'plain-pci', 'romfile': '/'}", "failed to load romfile \"/\"");
    g_assert_cmpuint(((PciFn *)board_add(b, "{'driver': 'plain-pci'}"))->devfn, ==, 0);
    g_assert_cmpuint(((PciFn *)board_add(b, "{'driver': 'plain-pci'}"))->devfn, ==, 1 << 3);
    for (unsigned i = 0; i < 28; i++) {
        board_add(b, "{'driver': 'plain-pci'}");
    }
    check_error(b, "{'driver': 'plain-pci'}",
        "PCI: no slot/function available for plain-pci, all in use or reserved");
    board_free(b);
}

static void test_ecam(void)
{
    Board *b = plain_board();
    const VPort *p = &b->port;
    uint64_t at = 0xb0000000 + (DEVFN << 12);

    pci_host_ecam_map(&b->host, &b->m->mem_root, true, 0xb0000000, 256 << 20);
    g_assert_cmphex(p->load(p->opaque, false, at, 4), ==, 0x56781234);
    g_assert_cmphex(
        p->load(p->opaque, false, at + 0x100, 4), ==, UINT32_MAX); /* conventional: 256 bytes */
    p->store(p->opaque, false, at + 4, 2, 2);
    g_assert_cmphex(rd(b, 4, 2), ==, 2);
    pci_host_ecam_map(&b->host, &b->m->mem_root, false, 0, 0);
    g_assert_cmphex(p->load(p->opaque, false, at, 4), ==, 0);
    board_free(b);
}

static void test_unplug(void)
{
    Board *b = plain_board();

    wr(b, 0x14, 4, 0xe0000000);
    wr(b, 4, 2, 2);
    pci_set_irq(b->bus.fn[DEVFN], true);
    dev_unplug_done(b->m, &b->bus.fn[DEVFN]->dev);
    g_assert_false(b->intx[4][0]);
    g_assert_cmphex(rd(b, 0, 4), ==, UINT32_MAX);
    g_assert_cmphex(b->port.load(b, false, 0xe0000010, 4), ==, 0);
    board_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    g_test_add_func("/pci/header-and-masks", test_header);
    g_test_add_func("/pci/absent-function-reads-ones", test_absent);
    g_test_add_func("/pci/config-address-low-bits", test_low_bits);
    g_test_add_func("/pci/bar-sizing", test_bar_sizing);
    g_test_add_func("/pci/bar-decoding", test_bar_decoding);
    g_test_add_func("/pci/d3hot-to-d0-resets", test_d3_resets);
    g_test_add_func("/pci/intx-is-shared-and-maskable", test_intx);
    g_test_add_func("/pci/rom", test_rom);
    g_test_add_func("/pci/placement-messages", test_placement);
    g_test_add_func("/pci/ecam", test_ecam);
    g_test_add_func("/pci/unplug-leaves-nothing", test_unplug);
    return g_test_run();
}
