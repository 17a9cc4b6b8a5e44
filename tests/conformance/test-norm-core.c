/* Normative sentences about status, features, the split ring and the PCI transport, one test each
 * (VIRTIO 1.4). */
#include "tests/conformance/norm.h"
#include "tests/lib/board.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vdummy.h"

#include <string.h>

enum { DEVFN = 4 << 3 };
#define EVENT_IDX (1ull << 29)

typedef struct Fix {
    Board *b;
    Dummy *s;
    VDriver d;
    uint64_t page;
} Fix;

static void up(Fix *x, const void *unused)
{
    x->b = board_new(false);
    x->s = dummy_of(board_add(x->b, "{'driver': 'dummy-pci', 'addr': '4'}"));
    vd_open(&x->d, &x->b->port, 0, DEVFN, false);
    x->page = vd_page(&x->d, 0x4000);
}

static void down(Fix *x, const void *unused)
{
    board_free(x->b);
}

static void add_request(Fix *x)
{
    const VBuf buf[] = { { x->page, 4, false }, { x->page + 0x1000, 8, true } };

    vring_add(&x->d.ring[0], buf, 2, 0);
}

static void go(Fix *x)
{
    vd_kick(&x->d, 0);
    board_run(x->b);
}

static uint32_t cfg(const Fix *x, unsigned reg, unsigned size)
{
    return vd_cfg_read(&x->b->port, 0, DEVFN, reg, size);
}

static void status_1(Fix *x, const void *unused)
{
    NORM("CORE-STATUS-1");
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_setup_queue(&x->d, 0, 0);
    add_request(x);
    go(x);
    g_assert_cmpuint(vring_used_idx(&x->d.ring[0]), ==, 0);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

static void status_2(Fix *x, const void *unused)
{
    NORM("CORE-STATUS-2");
    vd_start(&x->d, 0);
    vring_avail(&x->d.ring[0], 999);
    go(x);
    g_assert_cmphex(vd_status(&x->d) & 0x40, ==, 0x40);
}

static void status_3(Fix *x, const void *unused)
{
    NORM("CORE-STATUS-3");
    vd_start(&x->d, 0);
    vring_avail(&x->d.ring[0], 999);
    go(x);
    g_assert_cmphex(vd_isr(&x->d) & 2, ==, 2);
}

static void feat_2(Fix *x, const void *unused)
{
    NORM("CORE-FEAT-2");
    g_assert_true(vd_negotiate(&x->d, 1ull << 32 | 1ull << 28));
    g_assert_false(vd_negotiate(&x->d, 1ull << 32 | 1ull << 5));
}

static void feat_4(Fix *x, const void *unused)
{
    NORM("CORE-FEAT-4");
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    }
}

static void reset_1(Fix *x, const void *unused)
{
    NORM("CORE-RESET-1");
    vd_start(&x->d, 0);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
}

static void reset_2(Fix *x, const void *unused)
{
    NORM("CORE-RESET-2");
    vd_start(&x->d, 0);
    vd_set_status(&x->d, 0);
    add_request(x);
    go(x);
    g_assert_cmpuint(vring_used_idx(&x->d.ring[0]), ==, 0);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

static void cfg_1(Fix *x, const void *unused)
{
    NORM("CORE-CFG-1");
    x->s->config[0] = 0x5a;
    g_assert_cmphex(x->b->port.load(x->b, false, x->d.device, 1), ==, 0x5a);
}

static void frame_1(Fix *x, const void *unused)
{
    const VBuf buf[] = { { x->page, 1, false }, { x->page + 1, 1, false },
        { x->page + 2, 2, false }, { x->page + 0x1000, 1, true }, { x->page + 0x1010, 3, true } };
    uint8_t got[3];

    NORM("SPLIT-FRAME-1");
    vd_start(&x->d, 0);
    x->b->port.write(x->b, x->page, "abcd", 4);
    vring_add(&x->d.ring[0], buf, 5, 0);
    go(x);
    x->b->port.read(x->b, x->page + 0x1010, got, 3);
    g_assert_cmpmem(got, 3, "bcd", 3);
}

static void desc_1(Fix *x, const void *unused)
{
    uint8_t got[4];

    NORM("SPLIT-DESC-1");
    vd_start(&x->d, 0);
    x->b->port.write(x->b, x->page, "keep", 4);
    add_request(x);
    go(x);
    x->b->port.read(x->b, x->page, got, 4);
    g_assert_cmpmem(got, 4, "keep", 4);
}

static void desc_2(Fix *x, const void *unused)
{
    uint8_t before[256], after[256];

    NORM("SPLIT-DESC-2");
    vd_start(&x->d, 0);
    add_request(x);
    x->b->port.read(x->b, x->d.ring[0].desc, before, sizeof before);
    go(x);
    x->b->port.read(x->b, x->d.ring[0].desc, after, sizeof after);
    g_assert_cmpmem(before, sizeof before, after, sizeof after);
}

static void table(const Fix *x)
{
    vport_w64(&x->b->port, x->page + 0x800, x->page + 0x1000);
    vport_w32(&x->b->port, x->page + 0x808, 8);
    vport_w16(&x->b->port, x->page + 0x80c, VRING_WRITE);
}

static void indirect_1(Fix *x, const void *unused)
{
    NORM("SPLIT-INDIRECT-1");
    vd_start(&x->d, 0);
    table(x);
    vring_desc(&x->d.ring[0], 0, x->page + 0x800, 16, VRING_INDIRECT | VRING_WRITE, 0);
    vring_avail(&x->d.ring[0], 0);
    go(x);
    g_assert_cmpuint(vring_used_idx(&x->d.ring[0]), ==, 1);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

static void indirect_2(Fix *x, const void *unused)
{
    uint32_t id, len;

    NORM("SPLIT-INDIRECT-2");
    vd_start(&x->d, 0);
    table(x);
    vring_desc(&x->d.ring[0], 0, x->page, 3, VRING_NEXT, 1);
    vring_desc(&x->d.ring[0], 1, x->page, 3, VRING_NEXT, 2);
    vring_desc(&x->d.ring[0], 2, x->page + 0x800, 16, VRING_INDIRECT, 0);
    vring_avail(&x->d.ring[0], 0);
    go(x);
    g_assert_true(vring_used(&x->d.ring[0], &id, &len));
    g_assert_cmpuint(len, ==, 6);
}

static void usedsup_1(Fix *x, const void *unused)
{
    NORM("SPLIT-USEDSUP-1");
    vd_start(&x->d, EVENT_IDX);
    vport_w16(&x->b->port, x->d.ring[0].driver + 4 + x->d.ring[0].size * 2u, 1000);
    add_request(x);
    go(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
}

static void usedsup_2(Fix *x, const void *unused)
{
    NORM("SPLIT-USEDSUP-2");
    vd_start(&x->d, EVENT_IDX);
    vport_w16(&x->b->port, x->d.ring[0].driver, 1);
    add_request(x);
    go(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

static void usedsup_3(Fix *x, const void *unused)
{
    NORM("SPLIT-USEDSUP-3");
    vd_start(&x->d, EVENT_IDX);
    add_request(x);
    go(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
}

static void usedsup_4(Fix *x, const void *unused)
{
    NORM("SPLIT-USEDSUP-4");
    vd_start(&x->d, 0);
    vport_w16(&x->b->port, x->d.ring[0].driver, 1);
    add_request(x);
    go(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
}

static void availsup_3(Fix *x, const void *unused)
{
    NORM("SPLIT-AVAILSUP-3");
    vd_start(&x->d, 0);
    add_request(x);
    go(x);
    g_assert_cmphex(vport_r16(&x->b->port, x->d.ring[0].device), ==, 0);
}

static void availsup_5(Fix *x, const void *unused)
{
    NORM("SPLIT-AVAILSUP-5");
    vd_start(&x->d, 0);
    for (unsigned i = 0; i < 10; i++) {
        go(x);
    }
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    g_assert_cmpuint(x->s->requests, ==, 0);
}

static void common_3(Fix *x, const void *unused)
{
    NORM("PCI-COMMON-3");
    vd_write(&x->d, 0, 4, 1);
    g_assert_cmphex(vd_read(&x->d, 4, 4), ==, 0x101);
    vd_write(&x->d, 0, 4, 2);
    g_assert_cmphex(vd_read(&x->d, 4, 4), ==, 0);
}

static void common_4(Fix *x, const void *unused)
{
    NORM("PCI-COMMON-4");
    vd_write(&x->d, 8, 4, 0);
    vd_write(&x->d, 0xc, 4, 1u << 28);
    vd_write(&x->d, 8, 4, 1);
    g_assert_cmphex(vd_read(&x->d, 0xc, 4), ==, 0);
    vd_write(&x->d, 8, 4, 0);
    g_assert_cmphex(vd_read(&x->d, 0xc, 4), ==, 1u << 28);
}

static void common_8(Fix *x, const void *unused)
{
    NORM("PCI-COMMON-8");
    vd_start(&x->d, 0);
    vd_write(&x->d, 0x16, 2, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 1);
    vd_set_status(&x->d, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
}

static void common_14(Fix *x, const void *unused)
{
    NORM("PCI-COMMON-14");
    vd_write(&x->d, 0x16, 2, 2);
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 0);
}

static void layout_1(Fix *x, const void *unused)
{
    NORM("PCI-LAYOUT-1");
    vd_write(&x->d, 0x24, 4, 0x11223344);
    vd_write(&x->d, 0x20, 4, 0x55667780);
    g_assert_cmphex(vd_read(&x->d, 0x24, 4), ==, 0x11223344);
    g_assert_cmphex(vd_read(&x->d, 0x20, 4), ==, 0x55667780);
}

static void disc_1(Fix *x, const void *unused)
{
    NORM("PCI-DISC-1");
    g_assert_cmphex(cfg(x, 0, 2), ==, 0x1af4);
}

static void isr_4(Fix *x, const void *unused)
{
    NORM("PCI-ISR-4");
    vd_start(&x->d, 0);
    add_request(x);
    go(x);
    g_assert_cmphex(cfg(x, 6, 2) & 8, ==, 8);
    vd_isr(&x->d);
    g_assert_cmphex(cfg(x, 6, 2) & 8, ==, 0);
}

static void isr_5(Fix *x, const void *unused)
{
    NORM("PCI-ISR-5");
    vd_start(&x->d, 0);
    add_request(x);
    go(x);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

static void msix_7(Fix *x, const void *unused)
{
    NORM("PCI-MSIX-7");
    vd_enable_msix(&x->d);
    vd_start(&x->d, 0);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_read(&x->d, 0x10, 2), ==, 0xffff);
    vd_write(&x->d, 0x16, 2, 0);
    g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 0xffff);
}

static void msix_9(Fix *x, const void *unused)
{
    NORM("PCI-MSIX-9");
    vd_write(&x->d, 0x10, 2, 0x7ff);
    g_assert_cmphex(vd_read(&x->d, 0x10, 2), ==, 0xffff);
}

static void usednotif_1(Fix *x, const void *unused)
{
    NORM("PCI-USEDNOTIF-1");
    vd_enable_msix(&x->d);
    vd_start(&x->d, 0);
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x1a, 2, 0xffff);
    add_request(x);
    go(x);
    for (unsigned v = 0; v < 3; v++) {
        g_assert_cmphex(vd_msi(&x->d, v), ==, 0);
    }
    g_assert_false(x->b->intx[4][0]);
}

static void bits_1(Fix *x, const void *unused)
{
    NORM("FEAT-BITS-1");
    g_assert_cmphex(vd_offered(&x->d) >> 32 & 1, ==, 1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Fix *, const void *);
    } tests[] = {
        { "CORE-STATUS-1", status_1 },
        { "CORE-STATUS-2", status_2 },
        { "CORE-STATUS-3", status_3 },
        { "CORE-FEAT-2", feat_2 },
        { "CORE-FEAT-4", feat_4 },
        { "CORE-RESET-1", reset_1 },
        { "CORE-RESET-2", reset_2 },
        { "CORE-CFG-1", cfg_1 },
        { "SPLIT-FRAME-1", frame_1 },
        { "SPLIT-DESC-1", desc_1 },
        { "SPLIT-DESC-2", desc_2 },
        { "SPLIT-INDIRECT-1", indirect_1 },
        { "SPLIT-INDIRECT-2", indirect_2 },
        { "SPLIT-USEDSUP-1", usedsup_1 },
        { "SPLIT-USEDSUP-2", usedsup_2 },
        { "SPLIT-USEDSUP-3", usedsup_3 },
        { "SPLIT-USEDSUP-4", usedsup_4 },
        { "SPLIT-AVAILSUP-3", availsup_3 },
        { "SPLIT-AVAILSUP-5", availsup_5 },
        { "PCI-COMMON-3", common_3 },
        { "PCI-COMMON-4", common_4 },
        { "PCI-COMMON-8", common_8 },
        { "PCI-COMMON-14", common_14 },
        { "PCI-LAYOUT-1", layout_1 },
        { "PCI-DISC-1", disc_1 },
        { "PCI-ISR-4", isr_4 },
        { "PCI-ISR-5", isr_5 },
        { "PCI-MSIX-7", msix_7 },
        { "PCI-MSIX-9", msix_9 },
        { "PCI-USEDNOTIF-1", usednotif_1 },
        { "FEAT-BITS-1", bits_1 },
    };

    g_test_init(&argc, &argv, NULL);
    loop_main();
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/norm/%s", tests[i].name);

        g_test_add(path, Fix, NULL, up, tests[i].fn, down);
    }
    return g_test_run();
}
