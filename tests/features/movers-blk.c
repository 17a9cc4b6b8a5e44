/* Block data for the feature table: write, read, flush, and what each bit adds (VIRTIO 1.4, 5.2).
 */
#include "block/block.h"
#include "tests/features/feat.h"

#include <string.h>

enum { DISK = 1 << 20, SECTOR = 512 };
enum { IN = 0, OUT = 1, SCSI_CMD = 2, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum {
    SEG_MAX = 2,
    GEOMETRY = 4,
    RO = 5,
    BLK_SIZE = 6,
    SCSI = 7,
    F_FLUSH = 9,
    TOPOLOGY = 10,
    CONFIG_WCE = 11,
    MQ = 12,
    F_DISCARD = 13,
    F_ZEROES = 14
};

const FeatBit feat_blk_bits[] = {
    { SEG_MAX, ALONE, "a request of seg_max segments" },
    { GEOMETRY, ALONE, "cylinders x heads x sectors is not more than the capacity" },
    { BLK_SIZE, ALONE, "one block of blk_size" },
    { SCSI, ALONE, "legacy: a SCSI command is answered UNSUPP" },
    { F_FLUSH, ALONE, "a flush reaches the disk" },
    { TOPOLOGY, ALONE, "a physical block is a power of two of logical ones" },
    { CONFIG_WCE, ALONE, "write-through: every write is followed by a flush" },
    { MQ, ALONE, "the second queue moves data as well" },
    { F_DISCARD, ALONE, "a discard reaches the disk" },
    { F_ZEROES, ALONE, "zeroes are read back" },
    { NONE, ALONE, NULL },
};
const FeatBit feat_blk_ro_bits[] = {
    { RO, ALONE, "a write is refused and changes nothing" },
    { SEG_MAX, ALONE, "as on a writable disk" },
    { GEOMETRY, ALONE, "as on a writable disk" },
    { BLK_SIZE, ALONE, "as on a writable disk" },
    { SCSI, ALONE, "as on a writable disk" },
    { F_FLUSH, ALONE, "as on a writable disk" },
    { TOPOLOGY, ALONE, "as on a writable disk" },
    { CONFIG_WCE, ALONE, "as on a writable disk" },
    { MQ, ALONE, "as on a writable disk" },
    { F_DISCARD, ALONE, "refused" },
    { F_ZEROES, ALONE, "refused" },
    { NONE, ALONE, NULL },
};

/* A disk in memory that counts what it is asked. */
static struct {
    uint8_t data[DISK];
    unsigned flushes, discards;
} mem;

static bool mem_open(BlkNode *n, GError **err)
{
    return true;
}

static void mem_close(BlkNode *n) {}

static int mem_read(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    for (unsigned i = 0; i < niov; off += iov[i++].iov_len) {
        memcpy(iov[i].iov_base, mem.data + off, iov[i].iov_len);
    }
    return 0;
}

static int mem_write(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    for (unsigned i = 0; i < niov; off += iov[i++].iov_len) {
        memcpy(mem.data + off, iov[i].iov_base, iov[i].iov_len);
    }
    return 0;
}

static int mem_flush(BlkNode *n)
{
    mem.flushes++;
    return 0;
}

static int mem_zero(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    memset(mem.data + off, 0, len);
    return 0;
}

static int mem_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    mem.discards++;
    return 0;
}

static const BlkDriver mem_driver = { .name = "memory",
    .protocol = true,
    .open = mem_open,
    .close = mem_close,
    .preadv = mem_read,
    .pwritev = mem_write,
    .flush = mem_flush,
    .discard = mem_discard,
    .write_zeroes = mem_zero };

void feat_blk_up(Feat *x)
{
    bool ro = x->t->variant != NULL;
    g_autofree char *json = g_strdup_printf("{'file': 'null-co://', 'format': 'raw', 'if': 'none', "
                                            "'id': 'd', 'readonly': %s}",
        ro ? "true" : "false");
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    Blk *blk = blk_drive_create(args, NULL);

    g_assert_nonnull(blk);
    blk_node(blk)->drv = &mem_driver;
    blk_node(blk)->size = DISK;
    blk_node(blk)->discard_unmap = true;
    memset(mem.data, 0xd1, DISK);
}

const uint8_t *feat_disk(void)
{
    return mem.data;
}

void feat_blk_down(Feat *x)
{
    blk_cleanup();
}

/* Header at page, status behind it, data from page + 4096 on in n pieces; the status. With
 * VERSION_1 or ANY_LAYOUT the header comes in two odd pieces (2.7.4.4). */
static uint8_t request(
    Feat *x, unsigned q, uint32_t type, uint64_t sector, uint32_t len, unsigned n)
{
    bool in = type == IN || type == GET_ID, loose = feat_has(x, 27) || feat_has(x, 32);
    g_autofree VBuf *buf = g_new0(VBuf, n + 3);
    unsigned at = 0;
    uint8_t status = 0xee;
    uint32_t used;

    vport_w32(x->d.port, x->page, type);
    vport_w32(x->d.port, x->page + 4, 0);
    vport_w64(x->d.port, x->page + 8, sector);
    feat_put(x, x->page + 16, &status, 1);
    buf[at++] = (VBuf){ x->page, loose ? 7 : 16, false };
    if (loose) {
        buf[at++] = (VBuf){ x->page + 7, 9, false };
    }
    for (unsigned i = 0; i < n && len; i++) {
        uint32_t part = len / n;

        buf[at++] = (VBuf){ x->page + 4096 + i * part, part, in };
    }
    buf[at++] = (VBuf){ x->page + 16, 1, true };
    used = feat_go(x, q, buf, at);
    feat_get(x, x->page + 16, &status, 1);
    if (!status) {
        g_assert_cmpuint(used, ==, 1 + (in ? len : 0));
    }
    return status;
}

static void write_and_read(Feat *x, unsigned q, unsigned sectors, unsigned pieces, unsigned seed)
{
    uint32_t len = sectors * SECTOR, at = (8 + seed * 8) * SECTOR;
    g_autofree uint8_t *want = g_malloc(len), *got = g_malloc0(len);
    unsigned flushes = mem.flushes;

    feat_pattern(x, want, len, seed);
    feat_put(x, x->page + 4096, want, len);
    g_assert_cmpuint(request(x, q, OUT, at / SECTOR, len, pieces), ==, 0);
    g_assert_cmpmem(mem.data + at, len, want, len);
    g_assert_cmphex(mem.data[at - 1], ==, 0xd1);
    /* Without FLUSH the driver cannot ask for it: 5.2.6.2. */
    if (!feat_has(x, F_FLUSH) && !feat_has(x, CONFIG_WCE)) {
        g_assert_cmpuint(mem.flushes, ==, flushes + 1);
    }
    feat_put(x, x->page + 4096, got, len);
    g_assert_cmpuint(request(x, q, IN, at / SECTOR, len, pieces), ==, 0);
    feat_get(x, x->page + 4096, got, len);
    g_assert_cmpmem(got, len, want, len);
    memset(mem.data + at, 0xd1, len);
}

static uint8_t range(Feat *x, uint32_t type, uint64_t sector, uint32_t n)
{
    vport_w64(x->d.port, x->page + 4096, sector);
    vport_w32(x->d.port, x->page + 4096 + 8, n);
    vport_w32(x->d.port, x->page + 4096 + 12, 0);
    return request(x, 0, type, 0, 16, 1);
}

static void check_config(Feat *x)
{
    g_assert_cmpuint(feat_cfg(x, 0, 4) | feat_cfg(x, 4, 4) << 32, ==, DISK / SECTOR);
    if (feat_has(x, GEOMETRY)) {
        uint64_t all = feat_cfg(x, 16, 2) * feat_cfg(x, 18, 1) * feat_cfg(x, 19, 1);

        g_assert_cmpuint(all, >, 0);
        g_assert_cmpuint(all, <=, DISK / SECTOR);
    }
    if (feat_has(x, BLK_SIZE)) {
        g_assert_cmpuint(feat_cfg(x, 20, 4), ==, SECTOR);
    }
    if (feat_has(x, TOPOLOGY)) {
        g_assert_cmpuint(feat_cfg(x, 24, 1), <, 16);
        g_assert_cmpuint(feat_cfg(x, 28, 4), <, DISK);
    }
    if (feat_has(x, MQ)) {
        g_assert_cmpuint(feat_cfg(x, 34, 2), ==, 2);
    }
}

static void common_moves(Feat *x)
{
    unsigned flushes = mem.flushes;

    check_config(x);
    if (feat_has(x, F_FLUSH)) {
        g_assert_cmpuint(request(x, 0, FLUSH, 0, 0, 0), ==, 0);
        g_assert_cmpuint(mem.flushes, ==, flushes + 1);
    }
    if (feat_has(x, SCSI)) {
        g_assert_cmpuint(request(x, 0, SCSI_CMD, 0, 0, 0), ==, 2);
    }
}

void feat_blk_move(Feat *x)
{
    unsigned before;

    write_and_read(x, 0, 1, 1, 1);
    write_and_read(x, 0, 8, 4, 2);
    common_moves(x);
    if (feat_has(x, SEG_MAX)) {
        unsigned n = (unsigned)MIN(feat_cfg(x, 12, 4), 126);

        g_assert_cmpuint(n, >=, 2);
        write_and_read(x, 0, n, n, 3);
    }
    if (feat_has(x, MQ)) {
        write_and_read(x, 1, 2, 1, 4);
    }
    if (feat_has(x, CONFIG_WCE)) {
        feat_cfg_write(x, 32, 1, 0);
        g_assert_cmpuint(feat_cfg(x, 32, 1), ==, 0);
        before = mem.flushes;
        write_and_read(x, 0, 1, 1, 5);
        g_assert_cmpuint(mem.flushes, ==, before + 1);
        feat_cfg_write(x, 32, 1, 1);
        g_assert_cmpuint(feat_cfg(x, 32, 1), ==, 1);
        before = mem.flushes;
        write_and_read(x, 0, 1, 1, 5);
        g_assert_cmpuint(mem.flushes, ==, before);
    }
    if (feat_has(x, F_DISCARD)) {
        before = mem.discards;
        g_assert_cmpuint(range(x, DISCARD, 64, 8), ==, 0);
        g_assert_cmpuint(mem.discards, ==, before + 1);
    }
    if (feat_has(x, F_ZEROES)) {
        static const uint8_t zero[SECTOR];

        g_assert_cmpuint(range(x, ZEROES, 100, 1), ==, 0);
        g_assert_cmpmem(mem.data + 100 * SECTOR, SECTOR, zero, SECTOR);
        g_assert_cmphex(mem.data[101 * SECTOR], ==, 0xd1);
        mem.data[100 * SECTOR] = 0xd1;
        memset(mem.data + 100 * SECTOR, 0xd1, SECTOR);
    }
}

/* Read-only whether RO was negotiated or not (5.2.6.2). */
void feat_blk_ro_move(Feat *x)
{
    uint8_t want[SECTOR], got[SECTOR];

    feat_pattern(x, want, SECTOR, 9);
    feat_put(x, x->page + 4096, want, SECTOR);
    g_assert_cmpuint(request(x, 0, OUT, 3, SECTOR, 1), ==, 1);
    g_assert_cmphex(mem.data[3 * SECTOR], ==, 0xd1);
    memcpy(mem.data + 3 * SECTOR, want, SECTOR);
    g_assert_cmpuint(request(x, 0, IN, 3, SECTOR, 1), ==, 0);
    feat_get(x, x->page + 4096, got, SECTOR);
    g_assert_cmpmem(got, SECTOR, want, SECTOR);
    memset(mem.data + 3 * SECTOR, 0xd1, SECTOR);
    if (feat_has(x, F_DISCARD)) {
        unsigned before = mem.discards;

        g_assert_cmpuint(range(x, DISCARD, 64, 8), !=, 0);
        g_assert_cmpuint(mem.discards, ==, before);
    }
    if (feat_has(x, F_ZEROES)) {
        g_assert_cmpuint(range(x, ZEROES, 100, 1), !=, 0);
        g_assert_cmphex(mem.data[100 * SECTOR], ==, 0xd1);
    }
    common_moves(x);
}
