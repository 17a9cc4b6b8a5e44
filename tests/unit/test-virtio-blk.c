/* hw/virtio/virtio-blk.c: requests, configuration, cache modes and what a hostile driver may try
 * (VIRTIO 1.4, 5.2). */
#include "block/block.h"
#include "tests/unit/vdev.h"

#include <errno.h>

VDEV_EXTERN(virtio_blk);
VDEV_TYPES(VDEV_CLASSES(virtio_blk));

enum { IN = 0, OUT = 1, SCSI = 2, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { DISK = 1 << 20 };

/* A disk in memory that writes down what it is asked, and can be made to wait. */
static struct {
    uint8_t data[DISK];
    GString *calls;
    GMutex lock;
    GCond go;
    bool stall;
    int fail;
} mem = { .calls = NULL };

static void note(char what)
{
    g_mutex_lock(&mem.lock);
    g_string_append_c(mem.calls, what);
    while (mem.stall) {
        g_cond_wait(&mem.go, &mem.lock);
    }
    g_mutex_unlock(&mem.lock);
}

static void stall(bool on)
{
    g_mutex_lock(&mem.lock);
    mem.stall = on;
    g_cond_broadcast(&mem.go);
    g_mutex_unlock(&mem.lock);
}

static bool mem_open(BlkNode *n, GError **err)
{
    return true;
}

static void mem_close(BlkNode *n) {}

static int mem_read(BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len)
{
    note('r');
    for (unsigned i = 0; i < niov; off += iov[i++].iov_len) {
        memcpy(iov[i].iov_base, mem.data + off, iov[i].iov_len);
    }
    return mem.fail;
}

static int mem_write(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    note('w');
    for (unsigned i = 0; i < niov && !mem.fail; off += iov[i++].iov_len) {
        memcpy(mem.data + off, iov[i].iov_base, iov[i].iov_len);
    }
    return mem.fail;
}

static int mem_flush(BlkNode *n)
{
    note('f');
    return mem.fail;
}

static int mem_zero(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    note(flags & BLK_MAY_UNMAP ? 'Z' : 'z');
    memset(mem.data + off, 0, len);
    return mem.fail;
}

static int mem_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    note('d');
    return mem.fail;
}

static int mem_truncate(BlkNode *n, uint64_t size)
{
    n->size = size;
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

typedef struct Fix {
    VDev v;
    Blk *blk;
    uint64_t p; /* header at p, status at p + 16, data at p + 4096 */
} Fix;

static const char *device = "{'driver': 'virtio-blk-pci', 'addr': '4', 'drive': 'd'}";

static void up_with(Fix *x, const char *drive, const char *dev, bool legacy)
{
    g_autoptr(Json) args = json_parse(drive, -1, NULL);

    x->blk = blk_drive_create(args, NULL);
    blk_node(x->blk)->drv = &mem_driver;
    blk_node(x->blk)->size = DISK;
    blk_node(x->blk)->discard_unmap = true;
    memset(mem.data, 0xd1, DISK);
    mem.calls = g_string_new(NULL);
    mem.fail = 0;
    vdev_open(&x->v, dev, legacy);
    x->p = vd_page(&x->v.d, 1 << 20);
}

static void up(Fix *x, const void *legacy)
{
    up_with(x, "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}", device,
        legacy != NULL);
}

static void down(Fix *x, const void *unused)
{
    vdev_close(&x->v);
    blk_cleanup();
    g_string_free(mem.calls, TRUE);
    mem.calls = NULL;
}

static void header(const Fix *x, uint32_t type, uint64_t sector)
{
    vport_w32(x->v.d.port, x->p, type);
    vport_w32(x->v.d.port, x->p + 4, 0);
    vport_w64(x->v.d.port, x->p + 8, sector);
    vdev_fill(&x->v, x->p + 16, 0xee, 1);
}

static uint8_t status(const Fix *x)
{
    uint8_t s;

    vdev_get(&x->v, x->p + 16, &s, 1);
    return s;
}

/* Header, data, status, each in a descriptor of its own. */
static uint32_t request(Fix *x, uint32_t type, uint64_t sector, uint32_t len)
{
    bool in = type == IN || type == GET_ID;
    const VBuf all[] = { { x->p, 16, false }, { x->p + 4096, len, in }, { x->p + 16, 1, true } };
    const VBuf none[] = { all[0], all[2] };

    header(x, type, sector);
    return vdev_do(&x->v, 0, len ? all : none, len ? 3 : 2, 0);
}

static void test_read_write(Fix *x, const void *unused)
{
    uint8_t got[1024];

    vd_start(&x->v.d, 0);
    vdev_fill(&x->v, x->p + 4096, 0x5a, 1024);
    g_assert_cmpuint(request(x, OUT, 3, 1024), ==, 1);
    g_assert_cmpuint(status(x), ==, 0);
    g_assert_cmphex(mem.data[3 * 512 - 1], ==, 0xd1);
    g_assert_cmphex(mem.data[3 * 512], ==, 0x5a);
    g_assert_cmphex(mem.data[5 * 512 - 1], ==, 0x5a);
    g_assert_cmphex(mem.data[5 * 512], ==, 0xd1);
    g_assert_cmpuint(request(x, IN, 4, 1024), ==, 1025);
    g_assert_cmpuint(status(x), ==, 0);
    vdev_get(&x->v, x->p + 4096, got, 1024);
    g_assert_cmphex(got[511], ==, 0x5a);
    g_assert_cmphex(got[512], ==, 0xd1);
    g_assert_cmpstr(mem.calls->str, ==, "wr");
    g_assert_cmphex(vd_isr(&x->v.d), ==, 1);
}

static void test_refused(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    /* Beyond the end, too large a sector, no whole sectors: an error each, and no data told of. */
    g_assert_cmpuint(request(x, IN, DISK / 512, 512), ==, 0);
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(request(x, IN, DISK / 512 - 1, 1024), ==, 0);
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(request(x, OUT, UINT64_MAX, 512), ==, 1);
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(request(x, OUT, UINT64_MAX / 512, 1024), ==, 1);
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(request(x, IN, 0, 513), ==, 0);
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(request(x, SCSI, 0, 0), ==, 1);
    g_assert_cmpuint(status(x), ==, 2);
    g_assert_cmpuint(
        request(x, 0x80000000 | OUT, 0, 512), ==, 1); /* no barriers in modern requests */
    g_assert_cmpuint(status(x), ==, 2);
    g_assert_cmpstr(mem.calls->str, ==, "");
    g_assert_cmphex(vd_status(&x->v.d), ==, 15);
}

static void test_host_errors(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    mem.fail = -EIO;
    g_assert_cmpuint(request(x, IN, 0, 512), ==, 0);
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(request(x, FLUSH, 0, 0), ==, 1);
    g_assert_cmpuint(status(x), ==, 1);
    mem.fail = -ENOTSUP;
    g_assert_cmpuint(request(x, OUT, 0, 512), ==, 1);
    g_assert_cmpuint(status(x), ==, 2);
}

static void test_flush_and_id(Fix *x, const void *unused)
{
    char id[32];

    vd_start(&x->v.d, 0);
    g_assert_cmpuint(request(x, FLUSH, 0, 0), ==, 1);
    g_assert_cmpuint(status(x), ==, 0);
    g_assert_cmpstr(mem.calls->str, ==, "f");
    vdev_fill(&x->v, x->p + 4096, 0x99, 32);
    g_assert_cmpuint(request(x, GET_ID, 0, 20), ==, 21);
    vdev_get(&x->v, x->p + 4096, id, 32);
    g_assert_cmpmem(
        id, 21, "serial-of-more-than-\x99", 21); /* no terminator when it fills the field */
    vdev_fill(&x->v, x->p + 4096, 0x99, 32);
    g_assert_cmpuint(request(x, GET_ID, 0, 4), ==, 5);
    vdev_get(&x->v, x->p + 4096, id, 5);
    g_assert_cmpmem(id, 5, "seri\x99", 5);
    g_assert_cmpuint(
        request(x, GET_ID, 0, 32), ==, 20); /* what lies behind is not written, nor counted */
    g_assert_cmpuint(status(x), ==, 0);
}

static void up_serial(Fix *x, const void *unused)
{
    up_with(x, "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}",
        "{'driver': 'virtio-blk-pci', 'addr': '4', 'drive': 'd', 'serial': "
        "'serial-of-more-than-twenty-bytes'}",
        false);
}

static uint8_t range(
    Fix *x, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags, uint32_t len)
{
    vport_w64(x->v.d.port, x->p + 4096, sector);
    vport_w32(x->v.d.port, x->p + 4096 + 8, n);
    vport_w32(x->v.d.port, x->p + 4096 + 12, flags);
    request(x, type, 0, len);
    return status(x);
}

static void test_ranges(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    g_assert_cmpuint(range(x, DISCARD, 8, 8, 0, 16), ==, 0);
    g_assert_cmpuint(range(x, ZEROES, 8, 8, 0, 16), ==, 0);
    g_assert_cmpuint(range(x, ZEROES, 16, 8, 1, 16), ==, 0);
    g_assert_cmpstr(mem.calls->str, ==, "dzZ");
    g_assert_cmphex(mem.data[8 * 512], ==, 0);
    g_assert_cmphex(mem.data[24 * 512], ==, 0xd1);
    g_assert_cmpuint(range(x, DISCARD, 8, 8, 1, 16), ==, 2); /* unmap means nothing here: 5.2.6.2 */
    g_assert_cmpuint(range(x, ZEROES, 8, 8, 2, 16), ==, 2);  /* reserved flag */
    g_assert_cmpuint(range(x, ZEROES, 8, 8, 0, 15), ==, 1);
    g_assert_cmpuint(range(x, DISCARD, 8, 8, 0, 32), ==, 1); /* one segment is all */
    g_assert_cmpuint(range(x, DISCARD, 8, 4194304, 0, 16), ==, 1);
    g_assert_cmpuint(range(x, ZEROES, UINT64_MAX, 8, 0, 16), ==, 1);
    g_assert_cmpuint(range(x, ZEROES, DISK / 512 - 1, 2, 0, 16), ==, 1);
    g_assert_cmpuint(range(x, ZEROES, 0, 0, 0, 16), ==, 0);
    g_assert_cmpstr(mem.calls->str, ==, "dzZ");
}

static void test_ranges_not_negotiated(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 1ull << 13 | 1ull << 14);
    g_assert_cmpuint(range(x, DISCARD, 8, 8, 0, 16), ==, 2);
    g_assert_cmpuint(range(x, ZEROES, 8, 8, 0, 16), ==, 2);
    g_assert_cmpstr(mem.calls->str, ==, "");
}

/* 2.7.4.3: the driver may cut a request as it likes. */
static void test_any_layout(Fix *x, const void *unused)
{
    const VBuf out[] = { { x->p, 5, false }, { x->p + 5, 11 + 100, false },
        { x->p + 4096, 412, false }, { x->p + 16 + 8192, 1, true } };
    const VBuf in[] = { { x->p, 16, false }, { x->p + 4096, 100, true },
        { x->p + 8192, 413, true } };
    uint8_t tail[2];

    vd_start(&x->v.d, 0);
    header(x, OUT, 1);
    vdev_fill(&x->v, x->p + 16, 0x31, 100);
    vdev_fill(&x->v, x->p + 4096, 0x32, 412);
    g_assert_cmpuint(vdev_do(&x->v, 0, out, 4, 0), ==, 1);
    g_assert_cmphex(mem.data[512 + 99], ==, 0x31);
    g_assert_cmphex(mem.data[512 + 100], ==, 0x32);
    g_assert_cmphex(mem.data[1023], ==, 0x32);
    header(x, IN, 1);
    vdev_fill(&x->v, x->p + 8192, 0xee, 414);
    g_assert_cmpuint(
        vdev_do(&x->v, 0, in, 3, 0), ==, 513); /* the status is the last byte of the last buffer */
    vdev_get(&x->v, x->p + 8192 + 411, tail, 2);
    g_assert_cmphex(tail[0], ==, 0x32);
    g_assert_cmphex(tail[1], ==, 0);
}

static void test_many_segments(Fix *x, const void *unused)
{
    VBuf buf[130] = { { x->p, 16, false } };

    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < 128; i++) {
        buf[1 + i] = (VBuf){ x->p + 4096 + i * 8, 8, true };
    }
    buf[129] = (VBuf){ x->p + 16, 1, true };
    header(x, IN, 0);
    g_assert_cmpuint(vdev_do(&x->v, 0, buf, 130, x->p + 65536), ==, 1025); /* indirect */
    header(x, IN, 0);
    g_assert_cmpuint(vdev_do(&x->v, 0, buf, 130, 0), ==, 1025);
    g_assert_cmpuint(status(x), ==, 0);
}

/* C6 and C1: no header, no status, memory that is none. */
static void bad(Fix *x, const VBuf *buf, unsigned n)
{
    vd_start(&x->v.d, 0);
    header(x, IN, 0);
    g_assert_cmphex(vdev_bad(&x->v, 0, buf, n), ==, 0x4f);
    vd_start(&x->v.d, 0); /* a reset heals it */
    g_assert_cmpuint(request(x, IN, 0, 512), ==, 513);
}

static void test_incomplete(Fix *x, const void *unused)
{
    bad(x, (const VBuf[]){ { x->p, 15, false }, { x->p + 16, 1, true } }, 2); /* short header */
    bad(x, (const VBuf[]){ { x->p, 16, false } }, 1);                         /* no status */
    bad(x, (const VBuf[]){ { x->p, 513, true } }, 1);                         /* no header */
}

static void test_data_in_own_bar(Fix *x, const void *unused)
{
    bad(x,
        (const VBuf[]){ { x->p, 16, false }, { x->v.d.notify, 512, true }, { x->p + 16, 1, true } },
        3);
    bad(x, (const VBuf[]){ { x->p, 16, false }, { 0x80000000, 512, true }, { x->p + 16, 1, true } },
        3);
    bad(x,
        (const VBuf[]){ { x->p, 16, false }, { x->p, UINT32_MAX, true }, { x->p + 16, 1, true } },
        3);
}

/* C3: the same head again while its first use is in flight. */
static void test_head_twice(Fix *x, const void *unused)
{
    const VBuf buf[] = { { x->p, 16, false }, { x->p + 4096, 512, true }, { x->p + 16, 1, true } };

    vd_start(&x->v.d, 0);
    stall(true);
    header(x, IN, 0);
    uint16_t head = vring_add(&x->v.d.ring[0], buf, 3, 0);
    vd_kick(&x->v.d, 0);
    board_run(x->v.b);
    vring_avail(&x->v.d.ring[0], head);
    vd_kick(&x->v.d, 0);
    board_run(x->v.b);
    g_assert_cmphex(vd_status(&x->v.d), ==, 0x4f);
    stall(false);
    vd_set_status(&x->v.d, 0);
    while (vd_status(&x->v.d)) {
        loop_turn(loop_main(), /* block= */ true);
    }
}

static void test_config(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_offered(&x->v.d), ==, 0x10130006e54ull);
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 8), ==, DISK / 512);
    g_assert_cmpuint(vdev_cfg(&x->v, 12, 4), ==, 254); /* seg_max */
    g_assert_cmpuint(vdev_cfg(&x->v, 16, 2), ==, 2);   /* cylinders */
    g_assert_cmpuint(vdev_cfg(&x->v, 20, 4), ==, 512);
    g_assert_cmpuint(vdev_cfg(&x->v, 32, 1), ==, 1); /* writeback */
    g_assert_cmpuint(vdev_cfg(&x->v, 34, 2), ==, 1); /* num_queues */
    g_assert_cmpuint(vdev_cfg(&x->v, 36, 4), ==, 4194303);
    g_assert_cmpuint(vdev_cfg(&x->v, 40, 4), ==, 1);
    g_assert_cmpuint(vdev_cfg(&x->v, 44, 4), ==, 1);
    g_assert_cmpuint(vdev_cfg(&x->v, 48, 4), ==, 4194303);
    g_assert_cmpuint(vdev_cfg(&x->v, 52, 4), ==, 1);
    g_assert_cmpuint(vdev_cfg(&x->v, 56, 4), ==, 1); /* with the padding: VIRTIO 1.4, 5.2.5.2 */
}

static void test_write_cache_switch(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    request(x, OUT, 0, 512);
    g_assert_cmpstr(mem.calls->str, ==, "w");
    vdev_cfg_write(&x->v, 32, 1, 0);
    g_assert_cmpuint(vdev_cfg(&x->v, 32, 1), ==, 0);
    request(x, OUT, 0, 512);
    g_assert_cmpstr(mem.calls->str, ==, "wwf");
    vdev_cfg_write(&x->v, 32, 1, 1);
    request(x, OUT, 0, 512);
    g_assert_cmpstr(mem.calls->str, ==, "wwfw");
    vdev_cfg_write(&x->v, 0, 8, 0); /* everything else is read-only */
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 8), ==, DISK / 512);
    vdev_cfg_write(&x->v, 32, 1, 0);
    vd_set_status(&x->v.d, 0);
    g_assert_cmpuint(vdev_cfg(&x->v, 32, 1), ==, 1);
}

/* 5.2.5.2: a driver that can switch the cache but not flush begins with write-through. */
static void test_wce_without_flush(Fix *x, const void *unused)
{
    g_assert_true(vd_negotiate(&x->v.d, 1ull << 32 | 1ull << 11));
    g_assert_cmpuint(vdev_cfg(&x->v, 32, 1), ==, 0);
}

static void test_no_flush(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 1ull << 9 | 1ull << 11);
    request(x, OUT, 0, 512);
    g_assert_cmpstr(mem.calls->str, ==, "wf");
}

static void test_switch_not_negotiated(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 1ull << 11);
    vdev_cfg_write(&x->v, 32, 1, 0);
    request(x, OUT, 0, 512);
    g_assert_cmpstr(mem.calls->str, ==, "w");
}

static void up_through(Fix *x, const void *unused)
{
    up_with(x,
        "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd', 'cache': 'writethrough'}",
        device, false);
}

static void test_writethrough_drive(Fix *x, const void *unused)
{
    g_assert_cmpuint(vdev_cfg(&x->v, 32, 1), ==, 0);
    vd_start(&x->v.d, 1ull << 11);
    request(x, OUT, 0, 512);
    g_assert_cmpstr(mem.calls->str, ==, "wf");
}

static void up_ro(Fix *x, const void *unused)
{
    up_with(x, "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd', 'readonly': true}",
        device, false);
}

static void test_read_only(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 1ull << 5); /* RO holds whether it was negotiated or not */
    g_assert_cmphex(vd_offered(&x->v.d) & 1ull << 5, !=, 0);
    request(x, OUT, 0, 512);
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(range(x, ZEROES, 8, 8, 0, 16), ==, 1);
    g_assert_cmpuint(range(x, DISCARD, 8, 8, 0, 16), ==, 1);
    g_assert_cmpuint(request(x, FLUSH, 0, 0), ==, 1);
    g_assert_cmpuint(status(x), ==, 0);
    g_assert_cmpuint(request(x, IN, 0, 512), ==, 513);
    g_assert_cmpstr(mem.calls->str, ==, "fr");
}

static void test_legacy(Fix *x, const void *unused)
{
    g_assert_cmphex(vd_offered(&x->v.d), ==, 0x79006e54);
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 4), ==, DISK / 512);
    vd_start(&x->v.d, 0);
    g_assert_cmpuint(
        request(x, 0x80000000 | OUT, 0, 512), ==, 1); /* an old driver's barrier flag */
    g_assert_cmpuint(status(x), ==, 0);
    g_assert_cmpuint(request(x, IN, 0, 512), ==, 513);
    g_assert_cmpuint(request(x, SCSI, 0, 0), ==, 1);
    g_assert_cmpuint(status(x), ==, 2);
}

static void up_queues(Fix *x, const void *unused)
{
    up_with(x, "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}",
        "{'driver': 'virtio-blk-pci', 'addr': '4', 'drive': 'd', 'num-queues': 4, 'queue-size': "
        "64, 'logical_block_size': 4096, 'physical_block_size': 8192}",
        false);
}

static void test_queues_and_blocks(Fix *x, const void *unused)
{
    const VBuf buf[] = { { x->p, 16, false }, { x->p + 4096, 4096, true }, { x->p + 16, 1, true } };

    g_assert_cmphex(vd_offered(&x->v.d) & 1ull << 12, !=, 0);
    g_assert_cmpuint(vdev_cfg(&x->v, 34, 2), ==, 4);
    g_assert_cmpuint(vdev_cfg(&x->v, 12, 4), ==, 62);
    g_assert_cmpuint(vdev_cfg(&x->v, 20, 4), ==, 4096);
    g_assert_cmpuint(vdev_cfg(&x->v, 24, 1), ==, 1);
    g_assert_cmpuint(vdev_cfg(&x->v, 19, 1), ==, 56); /* sectors in a track: whole blocks */
    vd_enable_msix(&x->v.d);
    vd_start(&x->v.d, 0);
    header(x, IN, 8);
    for (unsigned q = 0; q < 4; q++) {
        g_assert_cmpuint(vdev_do(&x->v, q, buf, 3, 0), ==, 4097);
        g_assert_cmphex(vd_msi(&x->v.d, 1 + q), ==, 0x4001 + q);
    }
    g_assert_cmpuint(request(x, IN, 1, 4096), ==, 0); /* not at a block's start */
    g_assert_cmpuint(status(x), ==, 1);
    g_assert_cmpuint(request(x, IN, 0, 512), ==, 0);
    g_assert_cmpuint(status(x), ==, 1);
}

static void test_resize(Fix *x, const void *unused)
{
    const QmpCmd *c = block_qmp_cmds;
    char name[] = "d";
    struct {
        char *device, *node;
        int64_t size;
    } a = { name, NULL, DISK / 2 };

    while (strcmp(c->name, "block_resize")) {
        c++;
    }
    vd_start(&x->v.d, 0);
    vdev_cfg(&x->v, 0, 8);
    uint64_t gen = vd_read(&x->v.d, 0x15, 1);
    g_autoptr(GError) err = NULL;
    g_autoptr(Json) no = c->run(NULL, &a, &err);
    g_assert_null(no); /* this driver cannot */
    g_assert_cmpstr(err->message, ==, "Image format driver does not support resize");
    g_assert_cmpuint(vd_read(&x->v.d, 0x15, 1), ==, gen);
    BlkDriver can = mem_driver;
    can.truncate = mem_truncate;
    blk_node(x->blk)->drv = &can;
    g_autoptr(Json) ok = c->run(NULL, &a, NULL);
    g_assert_nonnull(ok);
    blk_node(x->blk)->drv = &mem_driver;
    g_assert_cmpuint(vdev_cfg(&x->v, 0, 8), ==, DISK / 1024);
    g_assert_cmpuint(vd_read(&x->v.d, 0x15, 1), ==, (gen + 1) & 0xff);
    g_assert_cmphex(vd_isr(&x->v.d), ==, 2);
    g_assert_cmpuint(request(x, IN, DISK / 1024, 512), ==, 0);
}

/* 2.4.2: the status reads 0 only when nothing of the old driver's is touched any more. */
static void test_reset_in_flight(Fix *x, const void *unused)
{
    const VBuf buf[] = { { x->p, 16, false }, { x->p + 4096, 512, true }, { x->p + 16, 1, true } };
    uint32_t id, len;

    vd_start(&x->v.d, 0);
    stall(true);
    header(x, IN, 0);
    vring_add(&x->v.d.ring[0], buf, 3, 0);
    vd_kick(&x->v.d, 0);
    board_run(x->v.b);
    g_assert_cmpuint(blk_in_flight(x->blk), ==, 1);
    vd_set_status(&x->v.d, 0);
    g_assert_cmphex(vd_status(&x->v.d), !=, 0);
    stall(false);
    while (vd_status(&x->v.d)) {
        loop_turn(loop_main(), /* block= */ true);
    }
    g_assert_false(vring_used(&x->v.d.ring[0], &id, &len));
    vd_start(&x->v.d, 0);
    g_assert_cmpuint(request(x, IN, 0, 512), ==, 513);
}

static gpointer let_go(gpointer unused)
{
    stall(false);
    return NULL;
}

/* A stopping machine waits for its disk; the driver finds its request done. */
static void test_stop_in_flight(Fix *x, const void *unused)
{
    const VBuf buf[] = { { x->p, 16, false }, { x->p + 4096, 512, true }, { x->p + 16, 1, true } };
    uint32_t id, len;

    vd_start(&x->v.d, 0);
    stall(true);
    header(x, IN, 0);
    vring_add(&x->v.d.ring[0], buf, 3, 0);
    vd_kick(&x->v.d, 0);
    board_run(x->v.b);
    GThread *t = g_thread_new("go", let_go, NULL);
    fake_run_set(false);
    g_thread_join(t);
    g_assert_cmpuint(blk_in_flight(x->blk), ==, 0);
    g_assert_true(vring_used(&x->v.d.ring[0], &id, &len));
    g_assert_cmpuint(len, ==, 513);
    fake_run_set(true);
    g_assert_cmpuint(request(x, IN, 0, 512), ==, 513);
}

static void test_queue_full_of_requests(Fix *x, const void *unused)
{
    const VBuf buf[] = { { x->p, 16, false }, { x->p + 4096, 512, true }, { x->p + 16, 1, true } };
    uint32_t id, len;

    vd_start(&x->v.d, 0);
    header(x, IN, 7);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 80; i++) {
            vring_add(&x->v.d.ring[0], buf, 3, 0);
        }
        vd_kick(&x->v.d, 0);
        for (unsigned i = 0; i < 80; i++) {
            while (!vring_used(&x->v.d.ring[0], &id, &len)) {
                loop_turn(loop_main(), /* block= */ true);
            }
            g_assert_cmpuint(len, ==, 513);
        }
    }
    g_assert_cmpuint(mem.calls->len, ==, 400);
}

/* n reads of a sector each, made available at once. */
static void neighbours(Fix *x, unsigned n, unsigned step)
{
    uint32_t id, len;

    for (unsigned i = 0; i < n; i++) {
        uint64_t at = x->p + 64 * i;
        const VBuf buf[] = { { at, 16, false }, { x->p + 65536 + 512 * i, 512, true },
            { at + 16, 1, true } };
        vport_w32(x->v.d.port, at, IN);
        vport_w64(x->v.d.port, at + 8, i * step);
        vdev_fill(&x->v, at + 16, 0xee, 1);
        vring_add(&x->v.d.ring[0], buf, 3, 0);
    }
    vd_kick(&x->v.d, 0);
    for (unsigned i = 0; i < n; i++) {
        uint8_t want = mem.fail ? 1 : 0, got;
        vd_wait_used(&x->v.d, 0, &id, &len);
        g_assert_cmpuint(len, ==, mem.fail ? 0 : 513);
        vdev_get(&x->v, x->p + 64 * (id / 3 % n) + 16, &got, 1);
        g_assert_cmpuint(got, ==, want);
    }
}

static void test_merging(Fix *x, const void *unused)
{
    uint8_t got;

    vd_start(&x->v.d, 0);
    for (unsigned i = 0; i < 8; i++) {
        memset(mem.data + 512 * i, (int)(0x40 + i), 512);
    }
    neighbours(x, 8, 1);
    g_assert_cmpstr(mem.calls->str, ==, "r");
    for (unsigned i = 0; i < 8; i++) {
        vdev_get(&x->v, x->p + 65536 + 512 * i + 511, &got, 1);
        g_assert_cmphex(got, ==, 0x40 + i);
    }
    neighbours(x, 4, 2); /* no neighbours */
    g_assert_cmpuint(mem.calls->len, ==, 5);
    mem.fail = -EIO; /* what fails, fails for all */
    neighbours(x, 5, 1);
    g_assert_cmpuint(mem.calls->len, ==, 6);
}

static void up_apart(Fix *x, const void *unused)
{
    up_with(x, "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}",
        "{'driver': 'virtio-blk-pci', 'addr': '4', 'drive': 'd', 'request-merging': false}", false);
}

static void test_no_merging(Fix *x, const void *unused)
{
    vd_start(&x->v.d, 0);
    neighbours(x, 8, 1);
    g_assert_cmpstr(mem.calls->str, ==, "rrrrrrrr");
}

static void test_qdev_path(Fix *x, const void *unused)
{
    const QmpCmd *c = block_qmp_cmds;
    g_autoptr(Json) all = c->run(NULL, NULL, NULL);

    g_assert_cmpstr(c->name, ==, "query-block");
    g_assert_cmpstr(json_get_str(json_get(json_at(all, 0), "qdev")), ==,
        "/machine/peripheral/disk0/virtio-backend");
}

static void up_named(Fix *x, const void *unused)
{
    up_with(x, "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}",
        "{'driver': 'virtio-blk-pci', 'id': 'disk0', 'addr': '4', 'drive': 'd'}", false);
}

static void test_property_errors(void)
{
    static const struct {
        const char *props, *text;
    } t[] = {
        { "", "drive property not set" },
        { ", 'drive': 'nope'", "Property 'virtio-blk-device.drive' can't find value 'nope'" },
        { ", 'drive': 'e'", "Device needs media, but drive is empty" },
        { ", 'drive': 'd', 'logical_block_size': 513",
            "parameter logical_block_size must be a power of 2 between 512 and 2097152" },
        { ", 'drive': 'd', 'logical_block_size': 4096, 'physical_block_size': 512",
            "logical_block_size > physical_block_size not supported" },
        { ", 'drive': 'd', 'min_io_size': 100",
            "min_io_size must be a multiple of logical_block_size" },
        { ", 'drive': 'd', 'opt_io_size': 100",
            "opt_io_size must be a multiple of logical_block_size" },
        { ", 'drive': 'd', 'min_io_size': 134217728",
            "min_io_size must not exceed 65535 logical blocks" },
        { ", 'drive': 'd', 'discard_granularity': 100",
            "discard_granularity must be a multiple of logical_block_size" },
        { ", 'drive': 'd', 'num-queues': 0", "num-queues property must be larger than 0" },
        { ", 'drive': 'd', 'queue-size': 2", "invalid queue-size property (2), must be > 2" },
        { ", 'drive': 'd', 'queue-size': 3",
            "invalid queue-size property (3), must be a power of 2 (max 1024)" },
        { ", 'drive': 'd', 'queue-size': 2048",
            "invalid queue-size property (2048), must be a power of 2 (max 1024)" },
        { ", 'drive': 'd', 'max-discard-sectors': 0",
            "invalid max-discard-sectors property (0), must be between 1 and 4194303" },
        { ", 'drive': 'd', 'max-write-zeroes-sectors': 4194304",
            "invalid max-write-zeroes-sectors property (4194304), must be between 1 and 4194303" },
        { ", 'drive': 'd', 'cyls': 70000", "cyls must be between 1 and 65535" },
        { ", 'drive': 'd', 'heads': 30", "cyls must be between 1 and 65535" },
        { ", 'drive': 'd', 'werror': 'nope'", "Parameter 'werror' does not accept value 'nope'" },
    };
    Board *b = board_new(false);
    g_autoptr(Json) d =
        json_parse("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}", -1, NULL);
    g_autoptr(Json) e = json_parse("{'if': 'none', 'id': 'e'}", -1, NULL);

    g_assert_nonnull(blk_drive_create(d, NULL));
    g_assert_nonnull(blk_drive_create(e, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_autofree char *json = g_strdup_printf("{'driver': 'virtio-blk-pci'%s}", t[i].props);
        g_autofree char *text = board_add_error(b, json);
        g_assert_cmpstr(text, ==, t[i].text);
    }
    board_add(b, "{'driver': 'virtio-blk-pci', 'drive': 'd'}"); /* no failure kept the drive */
    g_autofree char *used = board_add_error(b, "{'driver': 'virtio-blk-pci', 'drive': 'd'}");
    g_assert_cmpstr(used, ==, "Drive 'd' is already in use by another device");
    board_free(b);
    blk_cleanup();
}

static void add(
    const char *name, void (*setup)(Fix *, const void *), void (*fn)(Fix *, const void *))
{
    g_autofree char *path = g_strdup_printf("/virtio-blk/%s", name);

    g_test_add(path, Fix, NULL, setup, fn, down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_main();
    add("read-write", up, test_read_write);
    add("refused", up, test_refused);
    add("host-errors", up, test_host_errors);
    add("flush-and-id", up_serial, test_flush_and_id);
    add("ranges", up, test_ranges);
    add("ranges-not-negotiated", up, test_ranges_not_negotiated);
    add("any-layout", up, test_any_layout);
    add("many-segments", up, test_many_segments);
    add("incomplete", up, test_incomplete);
    add("data-in-no-ram", up, test_data_in_own_bar);
    add("head-twice", up, test_head_twice);
    add("config", up, test_config);
    add("write-cache-switch", up, test_write_cache_switch);
    add("wce-without-flush", up, test_wce_without_flush);
    add("no-flush-is-write-through", up, test_no_flush);
    add("switch-not-negotiated", up, test_switch_not_negotiated);
    add("writethrough-drive", up_through, test_writethrough_drive);
    add("read-only", up_ro, test_read_only);
    g_test_add("/virtio-blk/legacy", Fix, "legacy", up, test_legacy, down);
    add("queues-and-blocks", up_queues, test_queues_and_blocks);
    add("resize", up, test_resize);
    add("reset-in-flight", up, test_reset_in_flight);
    add("stop-in-flight", up, test_stop_in_flight);
    add("queue-full", up, test_queue_full_of_requests);
    add("merging", up, test_merging);
    add("no-merging", up_apart, test_no_merging);
    add("qdev-path", up_named, test_qdev_path);
    g_test_add_func("/virtio-blk/property-errors", test_property_errors);
    return g_test_run();
}
