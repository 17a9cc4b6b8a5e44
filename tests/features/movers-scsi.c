/* SCSI commands for the feature table: blocks written and read back (VIRTIO 1.4, 5.6). */
#include "tests/features/feat.h"

#include <string.h>

enum { CTRL, EVENT, REQUEST, BLOCK = 512 };
enum { HOTPLUG = 1, CHANGE = 2 };
enum { TEST_UNIT_READY = 0x00, READ_10 = 0x28, WRITE_10 = 0x2a, CHECK_CONDITION = 2 };

const FeatBit feat_scsi_bits[] = {
    { HOTPLUG, ALONE, "declared: it adds events, which have no data path of requests" },
    { CHANGE, ALONE, "declared: it adds events, which have no data path of requests" },
    { NONE, ALONE, NULL },
};

void feat_scsi_added(Feat *x)
{
    board_add(x->b, "{'driver': 'scsi-hd', 'drive': 'd', 'bus': 's.0', 'id': 'disk'}");
}

/* Request and data out, response and data in: the SCSI status. */
static uint8_t request(Feat *x, uint8_t op, uint32_t lba, unsigned blocks, bool in)
{
    uint64_t resp = x->page + 0x100, data = x->page + 0x1000;
    uint8_t head[51] = { 1, 0, 0x40, 0 }, got[12];
    const VBuf none[] = { { x->page, sizeof head, false }, { resp, 108, true } };
    const VBuf out[] = { none[0], { data, blocks * BLOCK, false }, none[1] };
    const VBuf back[] = { none[0], none[1], { data, blocks * BLOCK, true } };

    head[19] = op;
    head[21] = (uint8_t)(lba >> 24);
    head[22] = (uint8_t)(lba >> 16);
    head[23] = (uint8_t)(lba >> 8);
    head[24] = (uint8_t)lba;
    head[27] = (uint8_t)blocks;
    feat_put(x, x->page, head, sizeof head);
    memset(got, 0xee, sizeof got);
    feat_put(x, resp, got, sizeof got);
    feat_go(x, REQUEST, !blocks ? none : in ? back : out, blocks ? 3 : 2);
    feat_get(x, resp, got, sizeof got);
    g_assert_cmphex(got[11], ==, 0); /* VIRTIO_SCSI_S_OK */
    if (!got[10]) {
        g_assert_cmpuint(got[4] | got[5], ==, 0); /* nothing left over */
    }
    return got[10];
}

void feat_scsi_move(Feat *x)
{
    uint8_t want[8 * BLOCK], got[8 * BLOCK] = { 0 };
    const uint8_t *disk = feat_disk();

    if (request(x, TEST_UNIT_READY, 0, 0, false) == CHECK_CONDITION) { /* after a reset */
        g_assert_cmpuint(request(x, TEST_UNIT_READY, 0, 0, false), ==, 0);
    }
    feat_pattern(x, want, sizeof want, 6);
    feat_put(x, x->page + 0x1000, want, sizeof want);
    g_assert_cmpuint(request(x, WRITE_10, 300, 8, false), ==, 0);
    g_assert_cmpmem(disk + 300 * BLOCK, sizeof want, want, sizeof want);
    feat_put(x, x->page + 0x1000, got, sizeof got);
    g_assert_cmpuint(request(x, READ_10, 300, 8, true), ==, 0);
    feat_get(x, x->page + 0x1000, got, sizeof got);
    g_assert_cmpmem(got, sizeof got, want, sizeof want);
}
