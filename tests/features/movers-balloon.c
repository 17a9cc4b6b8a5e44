/* Pages for the feature table: what is given away is gone, byte by byte, and its neighbours are not
 * (VIRTIO 1.4, 5.5). */
#include "object/prop.h"
#include "tests/features/feat.h"

#include <string.h>

enum { INFLATE, DEFLATE, STATS_Q, REPORT_Q, PAGE = 4096 };
enum { STATS = 1, ON_OOM = 2, POISON = 4, REPORTING = 5 };

const FeatBit feat_balloon_bits[] = {
    { STATS, ALONE, "what the driver tells is what the host is told" },
    { ON_OOM, ALONE, "nothing for the device" },
    { POISON, ALONE, "configuration; a page that must hold another value is kept" },
    { REPORTING, ALONE, "a reported page reads as zeroes" },
    { NONE, ALONE, NULL },
};

/* Three pages with a pattern, the middle one is to go. */
static void fill(Feat *x, uint64_t at, unsigned seed)
{
    uint8_t p[PAGE];

    for (unsigned i = 0; i < 3; i++) {
        feat_pattern(x, p, PAGE, seed + i);
        feat_put(x, at + i * PAGE, p, PAGE);
    }
}

static void check(Feat *x, uint64_t at, unsigned seed, bool gone)
{
    uint8_t want[PAGE], got[PAGE];

    for (unsigned i = 0; i < 3; i++) {
        feat_pattern(x, want, PAGE, seed + i);
        if (i == 1 && gone) {
            memset(want, 0, PAGE);
        }
        feat_get(x, at + i * PAGE, got, PAGE);
        g_assert_cmpmem(got, PAGE, want, PAGE);
    }
}

static void move_stats(Feat *x)
{
    const VBuf buf = { x->page + 0x800, 10, false };
    uint8_t stat[10] = { 4, 0, 0x11, 0x22, 0x33, (uint8_t)x->round, 0, 0, 0, 0 }; /* MEMFREE */
    uint32_t id, len;
    uint16_t first;

    feat_put(x, buf.at, stat, sizeof stat);
    first = vring_add(&x->d.ring[STATS_Q], &buf, 1, 0);
    vd_kick(&x->d, STATS_Q);
    board_run(x->b);
    while (vring_used(&x->d.ring[STATS_Q], &id, &len)) { /* one from before a suspend */
        g_assert_cmpuint(id, !=, first);
    } /* kept until the host asks */
    vring_add(&x->d.ring[STATS_Q], &buf, 1, 0);
    vd_kick(&x->d, STATS_Q);
    g_assert_cmpuint(feat_taken(x, STATS_Q, first), ==, 0);

    g_autoptr(GError) err = NULL;
    g_autoptr(Json) told = prop_get(&x->dev->obj, "guest-stats", &err);

    g_assert_no_error(err);
    g_assert_cmphex(json_get_int(json_get(json_get(told, "stats"), "stat-free-memory")), ==,
        0x332211u | x->round << 24);
}

static void move_report(Feat *x, bool gone)
{
    const VBuf buf = { x->page + 0x31000, PAGE, true };

    fill(x, x->page + 0x30000, 40);
    feat_go(x, REPORT_Q, &buf, 1);
    check(x, x->page + 0x30000, 40, gone);
}

void feat_balloon_move(Feat *x)
{
    uint64_t at = x->page + 0x20000;
    const VBuf pfn = { x->page, 4, false };

    fill(x, at, 20);
    vport_w32(x->d.port, x->page, (uint32_t)((at + PAGE) / PAGE));
    g_assert_cmpuint(feat_go(x, INFLATE, &pfn, 1), ==, 0);
    check(x, at, 20, true);
    g_assert_cmpuint(feat_go(x, DEFLATE, &pfn, 1), ==, 0);
    fill(x, at, 23);
    check(x, at, 23, false);
    feat_cfg_write(x, 4, 4, 1);
    g_assert_cmpuint(feat_cfg(x, 4, 4), ==, 1);
    if (feat_has(x, STATS)) {
        move_stats(x);
    }
    if (feat_has(x, REPORTING)) {
        move_report(x, true);
    }
    if (feat_has(x, POISON)) {
        feat_cfg_write(x, 12, 4, 0xaa);
        g_assert_cmphex(feat_cfg(x, 12, 4), ==, 0xaa);
        if (feat_has(x, REPORTING)) {
            move_report(x, false);
        }
        feat_cfg_write(x, 12, 4, 0);
    }
}
