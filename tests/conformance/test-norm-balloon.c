/* Normative sentences about the traditional memory balloon (VIRTIO 1.4, 5.5). MUST_TELL_HOST and
 * free page hints are not offered: free_page_hint_cmd_id says STOP, whatever the driver does. */
#include "hw/core/machine.h"
#include "hw/virtio/virtio-balloon.h"
#include "tests/conformance/norm.h"

enum { INFLATE, DEFLATE, STATS, REPORTING };
enum { ACTUAL = 4, HINT_CMD_ID = 8, POISON_VAL = 12, PAGE = 4096 };
enum { CMD_ID_STOP = 0 };
enum { FREE_MEMORY = 4, TOTAL_MEMORY = 5 }; /* tags */
#define MUST_TELL_HOST NORM_BIT(0)
#define FREE_PAGE_HINT NORM_BIT(3)
#define PAGE_POISON    NORM_BIT(4)
#define WITH_REPORTS   ", 'free-page-reporting': true"

static void balloon(Norm *x, const char *opts, unsigned how, uint64_t without)
{
    norm_open(x, "virtio-balloon-pci", opts, how);
    x->b->m->ram_size = BOARD_RAM;
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d) & ~without));
    for (unsigned q = 0; q < norm_pci(x)->vd->nvqs; q++) {
        vd_setup_queue(&x->d, q, 0);
    }
    vd_driver_ok(&x->d);
    board_run(x->b);
}

static void end(Norm *x)
{
    norm_close(x);
    x->b = NULL;
}

static void give(Norm *x, unsigned q, uint64_t at, uint32_t len, bool write)
{
    const VBuf b = { at, len, write };

    vring_add(&x->d.ring[q], &b, 1, 0);
    vd_kick(&x->d, q);
    board_run(x->b);
}

static void expect_used(Norm *x, unsigned q)
{
    uint32_t id, len;

    g_assert_true(vring_used(&x->d.ring[q], &id, &len));
}

/* The page at page + 4000h, told of in the list at page. */
static void tell(Norm *x, unsigned q)
{
    vport_w32(&x->b->port, x->page, (uint32_t)((x->page + 0x4000) / PAGE));
    give(x, q, x->page, 4, false);
    expect_used(x, q);
}

static uint32_t word(const Norm *x, uint64_t off)
{
    return vport_r32(&x->b->port, x->page + off);
}

static void feat_1(Norm *x)
{
    NORM("BAL-FEAT-1");
    balloon(x, "", 0, 0);
    g_assert_cmphex(vd_offered(&x->d) & MUST_TELL_HOST, ==, 0);
    norm_note("MUST_TELL_HOST is not offered, FEATURES_OK does not depend on it");
    end(x);
}

static void leg_feat_1(Norm *x)
{
    NORM("LEG-BAL-FEAT-1");
    balloon(x, "", NORM_LEGACY, MUST_TELL_HOST);
    norm_fill(x, x->page + 0x4000, 0xaa, PAGE);
    tell(x, INFLATE);
    norm_fill(x, x->page + 0x4000, 0x55, PAGE); /* used again before anybody is told */
    g_assert_cmphex(word(x, 0x4000), ==, 0x55555555);
    tell(x, DEFLATE);
    g_assert_cmphex(word(x, 0x4000), ==, 0x55555555);
    g_assert_cmphex(vd_status(&x->d), ==, 7);
    end(x);
}

static void leg_cfg_1(Norm *x)
{
    NORM("LEG-BAL-CFG-1");
    balloon(x, "", NORM_LEGACY, 0);
    g_assert_true(virtio_balloon_target(x->b->m, BOARD_RAM - 0x102 * PAGE, NULL));
    g_assert_cmphex(norm_dev(x, 0, 1), ==, 2); /* num_pages */
    g_assert_cmphex(norm_dev(x, 1, 1), ==, 1);
    norm_dev_write(x, ACTUAL, 4, 0x102);
    g_assert_cmphex(norm_dev(x, ACTUAL, 1), ==, 2);
    uint64_t now;

    g_assert_true(virtio_balloon_actual(x->b->m, &now, NULL));
    g_assert_cmpuint(now, ==, BOARD_RAM - 0x102 * PAGE);
    end(x);
}

static void op_1(Norm *x)
{
    NORM("BAL-OP-1");
    balloon(x, "", 0, 0);
    norm_fill(x, x->page + 0x3000, 0xaa, 3 * PAGE);
    tell(x, INFLATE);
    norm_note("a page in the balloon reads as %08x", word(x, 0x4000));
    g_assert_cmphex(word(x, 0x3ffc), ==, 0xaaaaaaaa); /* its neighbours as they were */
    g_assert_cmphex(word(x, 0x5000), ==, 0xaaaaaaaa);
    end(x);
}

static void op_2(Norm *x)
{
    NORM("BAL-OP-2");
    balloon(x, "", 0, 0);
    norm_fill(x, x->page + 0x4000, 0xaa, PAGE);
    tell(x, INFLATE);
    norm_fill(x, x->page + 0x4000, 0x55, PAGE);
    tell(x, DEFLATE);
    norm_note("a page is taken once, when it is told of; MUST_TELL_HOST is not offered");
    g_assert_cmphex(word(x, 0x4000), ==, 0x55555555);
    end(x);
}

static void leg_op_3(Norm *x)
{
    uint64_t now;

    NORM("LEG-BAL-OP-3");
    balloon(x, "", NORM_LEGACY, 0);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_true(virtio_balloon_actual(x->b->m, &now, NULL));
        g_assert_cmpuint(now, ==, BOARD_RAM);
        norm_dev_write(x, ACTUAL + i, 1, i < 2 ? i + 1 : 0);
    }
    g_assert_true(virtio_balloon_actual(x->b->m, &now, NULL));
    g_assert_cmpuint(now, ==, BOARD_RAM - 0x201 * PAGE);
    end(x);
}

/* Statistics: tag and value, ten bytes. */
static void put_stat(Norm *x, unsigned i, uint16_t tag, uint64_t val)
{
    vport_w16(&x->b->port, x->page + 10 * i, tag);
    vport_w64(&x->b->port, x->page + 10 * i + 2, val);
}

static uint64_t stat_of(Norm *x, const char *name)
{
    g_autoptr(Json) all = prop_get(&x->dev->obj, "guest-stats", NULL);

    return json_get_uint(json_get(json_get(all, "stats"), name));
}

static void stats_1(Norm *x)
{
    NORM("BAL-STATS-1");
    balloon(x, "", 0, 0);
    put_stat(x, 0, 0xffff, 1);
    put_stat(x, 1, FREE_MEMORY, 12345);
    put_stat(x, 2, 16, 2);
    put_stat(x, 3, 999, 3);
    put_stat(x, 4, TOTAL_MEMORY, 67890);
    give(x, STATS, x->page, 50, false);
    g_assert_cmpuint(stat_of(x, "stat-free-memory"), ==, 12345);
    g_assert_cmpuint(stat_of(x, "stat-total-memory"), ==, 67890);
    g_assert_cmpuint(stat_of(x, "stat-swap-in"), ==, UINT64_MAX);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    end(x);
}

static void stats_2(Norm *x)
{
    NORM("BAL-STATS-2");
    for (unsigned order = 0; order < 2; order++) {
        balloon(x, "", 0, 0);
        for (unsigned i = 0; i < 16; i++) {
            unsigned tag = order ? 15 - i : i;

            put_stat(x, i, (uint16_t)tag, 100 + tag);
        }
        give(x, STATS, x->page, 160, false);
        g_assert_cmpuint(stat_of(x, "stat-swap-in"), ==, 100);
        g_assert_cmpuint(stat_of(x, "stat-free-memory"), ==, 104);
        g_assert_cmpuint(stat_of(x, "stat-direct-reclaims"), ==, 115);
        end(x);
    }
}

static void leg_stats(Norm *x, uint64_t *first, uint64_t *second)
{
    static const uint8_t stat[10] = { FREE_MEMORY, 0, 1, 2, 3 }; /* an x86 is little-endian */

    balloon(x, "", NORM_LEGACY, 0);
    x->b->port.write(x->b, x->page, stat, sizeof stat);
    give(x, STATS, x->page, sizeof stat, false);
    *first = stat_of(x, "stat-free-memory");
    give(x, STATS, x->page, sizeof stat, false);
    *second = stat_of(x, "stat-free-memory");
    end(x);
}

static void leg_stats_1(Norm *x)
{
    uint64_t first, second;

    NORM("LEG-BAL-STATS-1");
    leg_stats(x, &first, &second);
    g_assert_cmphex(second, ==, 0x030201);
}

static void leg_stats_2(Norm *x)
{
    uint64_t first, second;

    NORM("LEG-BAL-STATS-2");
    leg_stats(x, &first, &second);
    g_assert_cmphex(first, ==, UINT64_MAX);
}

static void poison_1(Norm *x)
{
    NORM("BAL-POISON-1");
    balloon(x, "", 0, 0);
    norm_dev_write(x, POISON_VAL, 4, 0x5a5a5a5a);
    g_assert_cmphex(norm_dev(x, POISON_VAL, 4), ==, 0x5a5a5a5a);
    norm_note("poison_val decides whether reported pages are taken");
    end(x);
}

static void report(Norm *x)
{
    norm_fill(x, x->page + 0x4000, 0xaa, PAGE);
    give(x, REPORTING, x->page + 0x4000, PAGE, true);
    expect_used(x, REPORTING);
}

static void report_1(Norm *x)
{
    NORM("BAL-REPORT-1");
    balloon(x, WITH_REPORTS, 0, PAGE_POISON);
    report(x);
    norm_note("a reported page reads as %08x", word(x, 0x4000));
    end(x);
}

static void report_2(Norm *x)
{
    static const uint32_t poison[] = { 0, 0xaaaaaaaa, 0x5a5a5a5a };

    NORM("BAL-REPORT-2");
    for (unsigned i = 0; i < G_N_ELEMENTS(poison); i++) {
        balloon(x, WITH_REPORTS, 0, 0);
        norm_dev_write(x, POISON_VAL, 4, poison[i]);
        report(x);
        for (unsigned off = 0; off < PAGE; off += 4) {
            uint32_t now = word(x, 0x4000 + off);

            g_assert_true(now == 0xaaaaaaaa || now == poison[i]);
        }
        end(x);
    }
}

/* ---- free page hints (5.5.6.5) ---- */

/* There is no command to answer and no queue to answer it on, before and after all a driver may do;
 * its pages stay as they are. */
static void no_hints(Norm *x, unsigned how)
{
    g_autofree char *no = NULL;

    balloon(x, WITH_REPORTS, how, FREE_PAGE_HINT);
    g_assert_cmphex(vd_offered(&x->d) & FREE_PAGE_HINT, ==, 0);
    norm_fill(x, x->page + 0x4000, 0xaa, 2 * PAGE);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(norm_dev(x, HINT_CMD_ID, 4), ==, CMD_ID_STOP);
        norm_dev_write(x, HINT_CMD_ID, 4, i + 1); /* the driver's writes mean nothing */
        tell(x, i & 1 ? DEFLATE : INFLATE);
        g_assert_true(virtio_balloon_target(x->b->m, BOARD_RAM - (1 + i % 2) * PAGE, NULL));
    }
    g_assert_cmphex(norm_dev(x, HINT_CMD_ID, 4), ==, CMD_ID_STOP);
    g_assert_cmphex(word(x, 0x5000), ==, 0xaaaaaaaa);
    if (!(how & NORM_LEGACY)) {
        g_assert_cmpuint(vd_read(&x->d, 0x12, 2), ==, REPORTING + 1); /* none for hints */
        g_assert_false(vd_negotiate(&x->d, vd_offered(&x->d) | FREE_PAGE_HINT));
    }
    no = board_add_error(x->b, "{'driver': 'virtio-balloon-pci', 'free-page-hint': true}");
    g_assert_nonnull(no);
    end(x);
}

static void hint_1(Norm *x)
{
    NORM("BAL-HINT-1");
    no_hints(x, 0);
}

static void hint_2(Norm *x)
{
    NORM("BAL-HINT-2");
    no_hints(x, 0);
}

static void hint_3(Norm *x)
{
    NORM("BAL-HINT-3");
    no_hints(x, 0);
}

static void hint_4(Norm *x)
{
    NORM("BAL-HINT-4");
    no_hints(x, 0);
    norm_note("hints are not asked for, no page is changed");
}

static void hint_5(Norm *x)
{
    NORM("BAL-HINT-5");
    no_hints(x, 0);
}

static void hint_6(Norm *x)
{
    NORM("BAL-HINT-6");
    no_hints(x, 0);
}

static void leg_hint_1(Norm *x)
{
    NORM("LEG-BAL-HINT-1");
    no_hints(x, NORM_LEGACY);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "BAL-FEAT-1", feat_1, NORM_BARE, NULL },
        { "LEG-BAL-FEAT-1", leg_feat_1, NORM_BARE, NULL },
        { "LEG-BAL-CFG-1", leg_cfg_1, NORM_BARE, NULL },
        { "BAL-OP-1", op_1, NORM_BARE, NULL },
        { "BAL-OP-2", op_2, NORM_BARE, NULL },
        { "LEG-BAL-OP-3", leg_op_3, NORM_BARE, NULL },
        { "BAL-STATS-1", stats_1, NORM_BARE, NULL },
        { "BAL-STATS-2", stats_2, NORM_BARE, NULL },
        { "LEG-BAL-STATS-1", leg_stats_1, NORM_BARE, NULL },
        { "LEG-BAL-STATS-2", leg_stats_2, NORM_BARE, NULL },
        { "BAL-POISON-1", poison_1, NORM_BARE, NULL },
        { "BAL-HINT-1", hint_1, NORM_BARE, NULL },
        { "BAL-HINT-2", hint_2, NORM_BARE, NULL },
        { "BAL-HINT-3", hint_3, NORM_BARE, NULL },
        { "BAL-HINT-4", hint_4, NORM_BARE, NULL },
        { "BAL-HINT-5", hint_5, NORM_BARE, NULL },
        { "BAL-HINT-6", hint_6, NORM_BARE, NULL },
        { "LEG-BAL-HINT-1", leg_hint_1, NORM_BARE, NULL },
        { "BAL-REPORT-1", report_1, NORM_BARE, NULL },
        { "BAL-REPORT-2", report_2, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
