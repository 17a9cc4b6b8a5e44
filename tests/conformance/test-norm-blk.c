/* Normative sentences about virtio-blk (VIRTIO 1.4, 5.2). No zones, no secure erase, no lifetime:
 * of those, only what holds for a device that has none of it. */
#include "block/block.h"
#include "tests/conformance/norm.h"

#include <errno.h>

enum {
    IN = 0,
    OUT = 1,
    SCSI_CMD = 2,
    FLUSH = 4,
    GET_LIFETIME = 10,
    DISCARD = 11,
    ZEROES = 13,
    ERASE = 14
};
enum { ZONE_APPEND = 15, ZONE_REPORT = 16, ZONE_LAST = 26 }; /* even ones from 16 */
enum { OK = 0, IOERR = 1, UNSUPP = 2 };
enum { DISK = 64 << 10, WRITEBACK = 32 };
#define F_FLUSH NORM_BIT(9)
#define F_WCE   NORM_BIT(11)

/* A disk in memory that writes down what it is asked. */
static struct {
    uint8_t data[DISK];
    GString *calls;
    GMutex lock;
    Blk *blk;
} mem;

static int note(char what)
{
    g_mutex_lock(&mem.lock);
    g_string_append_c(mem.calls, what);
    g_mutex_unlock(&mem.lock);
    return 0;
}

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
    return note('r');
}

static int mem_write(
    BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov, uint64_t len, unsigned flags)
{
    for (unsigned i = 0; i < niov; off += iov[i++].iov_len) {
        memcpy(mem.data + off, iov[i].iov_base, iov[i].iov_len);
    }
    return note('w');
}

static int mem_flush(BlkNode *n)
{
    return note('f');
}

static int mem_zero(BlkNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    memset(mem.data + off, 0, len);
    return note(flags & BLK_MAY_UNMAP ? 'Z' : 'z');
}

static int mem_discard(BlkNode *n, uint64_t off, uint64_t len)
{
    return note('d');
}

static int mem_truncate(BlkNode *n, uint64_t size)
{
    n->size = size;
    return note('t');
}

static const BlkDriver mem_driver = { .name = "memory",
    .protocol = true,
    .open = mem_open,
    .close = mem_close,
    .preadv = mem_read,
    .pwritev = mem_write,
    .flush = mem_flush,
    .discard = mem_discard,
    .write_zeroes = mem_zero,
    .truncate = mem_truncate };

/* A machine with such a disk; drive, opts: ", 'key': value" */
static void disk(Norm *x, const char *drive, const char *opts, unsigned how)
{
    g_autofree char *json = g_strdup_printf(
        "{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'disk'%s}", drive);
    g_autofree char *dev = g_strdup_printf(", 'drive': 'disk'%s", opts);
    g_autoptr(Json) args = json_parse(json, -1, NULL);

    mem.blk = blk_drive_create(args, NULL);
    blk_node(mem.blk)->drv = &mem_driver;
    blk_node(mem.blk)->size = DISK;
    blk_node(mem.blk)->discard_unmap = true;
    memset(mem.data, 0xd1, DISK);
    mem.calls = g_string_new(NULL);
    norm_open(x, "virtio-blk-pci", dev, how);
}

static void eject(Norm *x)
{
    norm_close(x);
    x->b = NULL;
    g_string_free(mem.calls, TRUE);
    mem.calls = NULL;
}

/* Header at page, status at page + 16, data at page + 1000h. */
static uint8_t request(Norm *x, uint32_t type, uint64_t sector, uint32_t len)
{
    bool in = type == IN || type == ZONE_REPORT || type == GET_LIFETIME;
    const VBuf buf[] = { { x->page, 16, false }, { x->page + 0x1000, len, in },
        { x->page + 16, 1, true } };
    const VBuf bare[] = { buf[0], buf[2] };
    const VPort *p = &x->b->port;
    uint32_t id, used;
    uint8_t status;

    vport_w32(p, x->page, type);
    vport_w32(p, x->page + 4, 0);
    vport_w64(p, x->page + 8, sector);
    norm_fill(x, x->page + 16, 0xee, 1);
    vring_add(x->r, len ? buf : bare, len ? 3 : 2, 0);
    vd_kick(&x->d, 0);
    vd_wait_used(&x->d, 0, &id, &used);
    x->b->port.read(x->b, x->page + 16, &status, 1);
    return status;
}

static uint8_t range(Norm *x, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
    vport_w64(&x->b->port, x->page + 0x1000, sector);
    vport_w32(&x->b->port, x->page + 0x1008, n);
    vport_w32(&x->b->port, x->page + 0x100c, flags);
    return request(x, type, 0, 16);
}

/* 5.2.5.2 */
static void init_1(Norm *x)
{
    NORM("BLK-INIT-1");
    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *opts = g_strdup_printf(", 'config-wce': %s, 'write-cache': '%s'",
            i & 1 ? "true" : "false", i & 2 ? "on" : "off");

        disk(x, "", opts, 0);
        g_assert_cmpint(!!(vd_offered(&x->d) & F_WCE), ==, i & 1);
        g_assert_true(vd_offered(&x->d) & F_FLUSH || !(vd_offered(&x->d) & F_WCE));
        g_assert_cmpint(!!(vd_offered(&x->d) & F_FLUSH), ==, i != 0);
        eject(x);
    }
    norm_note("FLUSH is not offered with config-wce=off,write-cache=off: each write is stable");
}

static void init_2(Norm *x)
{
    NORM("BLK-INIT-2");
    disk(x, "", "", 0);
    g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, 1);
    norm_start(x, F_FLUSH);
    g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, 0);
    g_assert_cmpuint(request(x, OUT, 0, 512), ==, OK);
    g_assert_cmpstr(mem.calls->str, ==, "wf");
    vd_set_status(&x->d, 0);
    norm_start(x, 0); /* with both, it is as it was */
    g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, 1);
    eject(x);
}

static void init_3(Norm *x)
{
    NORM("BLK-INIT-3");
    disk(x, "", "", 0);
    for (unsigned step = 0; step < 2; step++) {
        g_assert_cmphex(norm_dev(x, 33, 1), ==, 0);
        for (unsigned off = 57; off < 60; off++) {
            g_assert_cmphex(norm_dev(x, off, 1), ==, 0);
        }
        norm_start(x, 0);
    }
    eject(x);
}

static void no_zones(Norm *x, unsigned how)
{
    disk(x, "", "", how);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(17), ==, 0);
    eject(x);
}

static void init_4(Norm *x)
{
    NORM("BLK-INIT-4");
    no_zones(x, 0);
}

static void init_5(Norm *x)
{
    NORM("BLK-INIT-5");
    no_zones(x, NORM_LEGACY);
}

static void init_6(Norm *x)
{
    NORM("BLK-INIT-6");
    disk(x, "", "", NORM_START);
    g_assert_cmpuint(request(x, IN, 0, 512), ==, OK);
    for (unsigned off = 72; off < 96; off++) { /* struct virtio_blk_zoned_characteristics */
        if (off < virtio_config_len(norm_pci(x)->vd)) {
            g_assert_cmphex(norm_dev(x, off, 1), ==, 0);
        }
    }
    eject(x);
}

/* 5.2.6.2 */
static void resize(uint64_t size)
{
    const QmpCmd *c = block_qmp_cmds;
    char name[] = "disk";
    struct {
        char *device, *node;
        int64_t size;
    } a = { name, NULL, (int64_t)size };

    while (strcmp(c->name, "block_resize")) {
        c++;
    }
    g_autoptr(Json) ok = c->run(NULL, &a, NULL);

    g_assert_nonnull(ok);
}

static void op_1(Norm *x)
{
    NORM("BLK-OP-1");
    disk(x, "", "", NORM_START);
    g_assert_cmpuint(norm_dev(x, 0, 8), ==, DISK / 512);
    resize(DISK / 2);
    norm_note("capacity follows block_resize");
    g_assert_cmpuint(norm_dev(x, 0, 8), ==, DISK / 1024);
    g_assert_cmpuint(request(x, IN, DISK / 1024 - 1, 512), ==, OK);
    g_assert_cmpuint(request(x, IN, DISK / 1024, 512), ==, IOERR);
    eject(x);
}

static void op_2(Norm *x)
{
    uint64_t gen;

    NORM("BLK-OP-2");
    disk(x, "", "", NORM_START);
    norm_dev(x, 0, 8);
    gen = vd_read(&x->d, 0x15, 1);
    resize(DISK / 2);
    g_assert_cmphex(vd_isr(&x->d), ==, 2);
    g_assert_cmpuint(vd_read(&x->d, 0x15, 1), !=, gen);
    eject(x);
}

static void op_3(Norm *x)
{
    NORM("BLK-OP-3");
    for (unsigned accepted = 0; accepted < 2; accepted++) {
        disk(x, ", 'readonly': true", "", 0);
        g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(5), !=, 0);
        norm_start(x, accepted ? 0 : NORM_BIT(5));
        norm_fill(x, x->page + 0x1000, 0x33, 512);
        g_assert_cmpuint(request(x, OUT, 0, 512), ==, IOERR);
        g_assert_cmpuint(range(x, ZEROES, 0, 1, 0), ==, IOERR);
        g_assert_cmpuint(range(x, DISCARD, 0, 1, 0), ==, IOERR);
        g_assert_cmpstr(mem.calls->str, ==, "");
        g_assert_cmphex(mem.data[0], ==, 0xd1);
        eject(x);
    }
}

static void op_4(Norm *x)
{
    static const uint32_t types[] = { DISCARD, ERASE, ZEROES };

    NORM("BLK-OP-4");
    disk(x, "", "", NORM_START);
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        for (unsigned bit = 1; bit < 32; bit++) {
            g_assert_cmpuint(range(x, types[i], 0, 1, 1u << bit), ==, UNSUPP);
            g_assert_cmpuint(range(x, types[i], 0, 1, 1u << bit | 1), ==, UNSUPP);
        }
    }
    g_assert_cmpstr(mem.calls->str, ==, "");
    g_assert_cmpuint(range(x, ZEROES, 0, 1, 0), ==, OK);
    g_assert_cmpuint(range(x, DISCARD, 0, 1, 0), ==, OK);
    eject(x);
}

static void op_5(Norm *x)
{
    NORM("BLK-OP-5");
    disk(x, "", "", NORM_START);
    g_assert_cmpuint(range(x, DISCARD, 0, 1, 1), ==, UNSUPP);
    g_assert_cmpstr(mem.calls->str, ==, "");
    eject(x);
}

static void op_6(Norm *x)
{
    NORM("BLK-OP-6");
    disk(x, "", "", NORM_START);
    g_assert_cmpuint(range(x, DISCARD, 8, 8, 0), ==, OK);
    norm_note(
        "a discard %s the back end", strchr(mem.calls->str, 'd') ? "reaches" : "never reaches");
    g_assert_cmphex(mem.data[7 * 512 + 511], ==, 0xd1); /* nothing outside of the range */
    g_assert_cmphex(mem.data[16 * 512], ==, 0xd1);
    eject(x);
}

static void op_7(Norm *x)
{
    NORM("BLK-OP-7");
    disk(x, "", "", NORM_START);
    g_assert_cmpuint(range(x, ZEROES, 0, 8, 1), ==, OK);
    norm_note("write zeroes with unmap is the back end's '%s': Z may deallocate", mem.calls->str);
    g_assert_cmphex(mem.data[0], ==, 0);
    eject(x);
}

static void op_8(Norm *x)
{
    uint8_t got[3 * 512];

    NORM("BLK-OP-8");
    for (unsigned unmap = 0; unmap < 2; unmap++) {
        disk(x, "", "", NORM_START);
        g_assert_cmpuint(range(x, ZEROES, 9, 1, unmap), ==, OK);
        g_assert_cmpuint(request(x, IN, 8, sizeof got), ==, OK);
        x->b->port.read(x->b, x->page + 0x1000, got, sizeof got);
        for (unsigned i = 0; i < sizeof got; i++) {
            g_assert_cmphex(got[i], ==, i / 512 == 1 ? 0 : 0xd1);
        }
        eject(x);
    }
}

/* The field, in effect: only when a request with unmap set goes on as one that may. */
static void op_9(Norm *x)
{
    NORM("BLK-OP-9");
    disk(x, "", "", NORM_START);
    range(x, ZEROES, 0, 8, 1);
    g_assert_cmpint(norm_dev(x, 56, 1) == 1, ==, !strcmp(mem.calls->str, "Z"));
    eject(x);
}

static void op_10(Norm *x)
{
    NORM("BLK-OP-10");
    disk(x, "", "", NORM_START);
    range(x, ZEROES, 0, 8, 1);
    resize(DISK / 2);
    vd_isr(&x->d);
    g_assert_cmpuint(norm_dev(x, 56, 1), ==, 1);
    norm_note("write_zeroes_may_unmap stays as it is");
    eject(x);
}

/* In all the cases of the list: each write is stable, or a flush makes it so, before it is done. */
static void op_11(Norm *x)
{
    NORM("BLK-OP-11");
    disk(x, "", "", 0);
    norm_start(x, F_WCE); /* FLUSH alone: the cache is written back by it */
    g_assert_cmpuint(request(x, OUT, 0, 512), ==, OK);
    g_assert_cmpuint(request(x, FLUSH, 0, 0), ==, OK);
    g_assert_cmpstr(mem.calls->str, ==, "wf");
    vd_set_status(&x->d, 0);
    g_string_truncate(mem.calls, 0);
    norm_start(x, F_WCE | F_FLUSH); /* neither */
    g_assert_cmpuint(request(x, OUT, 0, 512), ==, OK);
    g_assert_cmpstr(mem.calls->str, ==, "wf");
    vd_set_status(&x->d, 0);
    g_string_truncate(mem.calls, 0);
    norm_start(x, 0); /* write-through by the driver's choice */
    norm_dev_write(x, WRITEBACK, 1, 0);
    g_assert_cmpuint(request(x, OUT, 0, 512), ==, OK);
    g_assert_cmpuint(range(x, ZEROES, 0, 1, 0), ==, OK);
    g_assert_cmpstr(mem.calls->str, ==, "wfzf");
    eject(x);
}

static void op_12(Norm *x)
{
    NORM("BLK-OP-12");
    disk(x, "", ", 'config-wce': false, 'write-cache': 'off'", 0);
    g_assert_cmphex(vd_offered(&x->d) & (F_FLUSH | F_WCE), ==, 0);
    norm_start(x, 0);
    g_assert_cmpuint(request(x, OUT, 0, 512), ==, OK);
    norm_note("without FLUSH a write is %s before it is done",
        strcmp(mem.calls->str, "wf") ? "not yet stable" : "committed");
    g_assert_cmphex(mem.calls->str[0], ==, 'w');
    eject(x);
}

/* Image files and host disks tell us no lifetime. */
static void no_lifetime(Norm *x)
{
    disk(x, "", "", NORM_START);
    g_assert_cmphex(vd_offered(&x->d) & NORM_BIT(15), ==, 0);
    norm_fill(x, x->page + 0x1000, 0x5a, 8);
    g_assert_cmpuint(request(x, GET_LIFETIME, 0, 8), ==, UNSUPP);
    g_assert_true(norm_is(x, x->page + 0x1000, "ZZZZZZZZ"));
    eject(x);
}

static void op_13(Norm *x)
{
    NORM("BLK-OP-13");
    no_lifetime(x);
}

static void op_14(Norm *x)
{
    NORM("BLK-OP-14");
    no_lifetime(x);
}

static void op_15(Norm *x)
{
    NORM("BLK-OP-15");
    no_lifetime(x);
}

static void op_16(Norm *x)
{
    NORM("BLK-OP-16");
    disk(x, "", "", NORM_START);
    for (uint32_t type = ZONE_REPORT; type <= ZONE_LAST; type += 2) {
        g_assert_cmpuint(request(x, type, 0, 64), ==, UNSUPP);
    }
    g_assert_cmpuint(request(x, ZONE_APPEND, 0, 512), ==, UNSUPP);
    g_assert_cmpstr(mem.calls->str, ==, "");
    eject(x);
}

/* Legacy: the guest is an x86, its native endian is little. */
static void leg_cfg_1(Norm *x)
{
    static const uint8_t capacity[8] = { DISK / 512, 0, 0, 0, 0, 0, 0, 0 };

    NORM("LEG-BLK-CFG-1");
    disk(x, "", ", 'logical_block_size': 4096, 'physical_block_size': 4096", NORM_LEGACY);
    for (unsigned off = 0; off < 8; off++) {
        g_assert_cmphex(norm_dev(x, off, 1), ==, capacity[off]);
    }
    g_assert_cmphex(norm_dev(x, 20, 1), ==, 0); /* blk_size */
    g_assert_cmphex(norm_dev(x, 21, 1), ==, 0x10);
    g_assert_cmphex(norm_dev(x, 20, 4), ==, 4096);
    eject(x);
}

static void write_back(Norm *x, unsigned want, const char *calls)
{
    g_string_truncate(mem.calls, 0);
    g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, want);
    g_assert_cmpuint(request(x, OUT, 0, 512), ==, OK);
    g_assert_cmpstr(mem.calls->str, ==, calls);
}

static void legacy_steps(Norm *x, uint64_t features, unsigned before, unsigned after)
{
    g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, 1);
    vd_set_status(&x->d, 1);
    vd_set_status(&x->d, 3);
    g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, 1);
    x->b->port.store(x->b, true, x->d.bar[0] + 4, 4, features);
    x->d.features = features;
    g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, before);
    vd_setup_queue(&x->d, 0, 0);
    vd_driver_ok(&x->d);
    board_run(x->b);
    write_back(x, after, after ? "w" : "wf");
    vd_set_status(&x->d, 0);
}

static void leg_init_1(Norm *x)
{
    NORM("LEG-BLK-INIT-1");
    disk(x, "", "", NORM_LEGACY);
    legacy_steps(x, F_FLUSH | F_WCE, 1, 1); /* there is no FEATURES_OK to wait for */
    legacy_steps(x, F_FLUSH, 1, 1);
    legacy_steps(x, 0, 1, 0);
    eject(x);
}

static void leg_init_3(Norm *x)
{
    NORM("LEG-BLK-INIT-3");
    disk(x, "", "", NORM_LEGACY);
    legacy_steps(x, F_WCE, 1, 1); /* DRIVER_OK, but with CONFIG_WCE */
    legacy_steps(x, 0, 1, 0);     /* DRIVER_OK without it */
    eject(x);
}

static void leg_init_4(Norm *x)
{
    NORM("LEG-BLK-INIT-4");
    disk(x, "", "", NORM_LEGACY);
    legacy_steps(x, F_WCE, 1, 1);
    for (unsigned i = 0; i < 4; i++) {
        x->b->port.store(
            x->b, true, x->d.bar[0] + 4, 4, (i & 1 ? F_WCE : 0) | (i & 2 ? F_FLUSH : 0));
        g_assert_cmpuint(norm_dev(x, WRITEBACK, 1), ==, 1);
    }
    eject(x);
}

static void leg_op_1(Norm *x)
{
    NORM("LEG-BLK-OP-1");
    disk(x, "", "", NORM_LEGACY | NORM_START);
    norm_fill(x, x->page + 0x1000, 0x44, 512);
    g_assert_cmpuint(request(x, OUT, 3, 512), ==, OK); /* type and sector, low byte first */
    g_assert_cmphex(mem.data[3 * 512], ==, 0x44);
    g_assert_cmphex(mem.data[4 * 512], ==, 0xd1);
    eject(x);
}

static void leg_op_4(Norm *x)
{
    NORM("LEG-BLK-OP-4");
    disk(x, "", "", NORM_LEGACY | NORM_START);
    g_assert_cmphex(vd_offered(&x->d) & 1, ==, 0); /* BARRIER */
    g_assert_cmpuint(request(x, OUT | 1u << 31, 0, 512), ==, OK);
    g_assert_cmpstr(mem.calls->str, ==, "w");
    eject(x);
}

/* A packet command in a legacy driver's framing: cmd, data, sense and the four words by themselves.
 * No disk of ours is a SCSI one (5.2.6.2): the status says so, nothing else is touched. */
static void packet_command(Norm *x, uint32_t type)
{
    enum { CMD = 0x100, DATA = 0x200, SENSE = 0x400, RESULT = 0x500, STATUS = 0x600 };
    const VPort *p = &x->b->port;
    const uint64_t at = x->page;
    const VBuf buf[] = { { at, 16, false }, { at + CMD, 6, false }, { at + DATA, 512, true },
        { at + SENSE, 96, true }, { at + RESULT, 16, true }, { at + STATUS, 1, true } };
    uint32_t id, used;
    uint8_t got;

    norm_fill(x, at, 0xee, STATUS + 2);
    vport_w32(p, at, type);
    vring_add(x->r, buf, G_N_ELEMENTS(buf), 0);
    vd_kick(&x->d, 0);
    vd_wait_used(&x->d, 0, &id, &used);
    for (uint64_t i = CMD; i <= STATUS + 1; i++) {
        x->b->port.read(x->b, at + i, &got, 1);
        g_assert_cmphex(got, ==, i == STATUS ? UNSUPP : 0xee);
    }
    g_assert_cmpstr(mem.calls->str, ==, "");
}

static void packet_commands(Norm *x)
{
    disk(x, "", ", 'disable-modern': true", NORM_LEGACY | NORM_START);
    packet_command(x, SCSI_CMD);
    packet_command(x, SCSI_CMD + 1); /* the same */
    g_assert_cmpuint(request(x, IN, 0, 512), ==, OK);
    eject(x);
}

static void leg_op_6(Norm *x)
{
    NORM("LEG-BLK-OP-6");
    packet_commands(x);
}

static void leg_framing_2(Norm *x)
{
    NORM("LEG-BLK-FRAMING-2");
    packet_commands(x);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "BLK-INIT-1", init_1, NORM_BARE, NULL },
        { "BLK-INIT-2", init_2, NORM_BARE, NULL },
        { "BLK-INIT-3", init_3, NORM_BARE, NULL },
        { "BLK-INIT-4", init_4, NORM_BARE, NULL },
        { "BLK-INIT-5", init_5, NORM_BARE, NULL },
        { "BLK-INIT-6", init_6, NORM_BARE, NULL },
        { "BLK-OP-1", op_1, NORM_BARE, NULL },
        { "BLK-OP-2", op_2, NORM_BARE, NULL },
        { "BLK-OP-3", op_3, NORM_BARE, NULL },
        { "BLK-OP-4", op_4, NORM_BARE, NULL },
        { "BLK-OP-5", op_5, NORM_BARE, NULL },
        { "BLK-OP-6", op_6, NORM_BARE, NULL },
        { "BLK-OP-7", op_7, NORM_BARE, NULL },
        { "BLK-OP-8", op_8, NORM_BARE, NULL },
        { "BLK-OP-9", op_9, NORM_BARE, NULL },
        { "BLK-OP-10", op_10, NORM_BARE, NULL },
        { "BLK-OP-11", op_11, NORM_BARE, NULL },
        { "BLK-OP-12", op_12, NORM_BARE, NULL },
        { "BLK-OP-13", op_13, NORM_BARE, NULL },
        { "BLK-OP-14", op_14, NORM_BARE, NULL },
        { "BLK-OP-15", op_15, NORM_BARE, NULL },
        { "BLK-OP-16", op_16, NORM_BARE, NULL },
        { "LEG-BLK-CFG-1", leg_cfg_1, NORM_BARE, NULL },
        { "LEG-BLK-INIT-1", leg_init_1, NORM_BARE, NULL },
        { "LEG-BLK-INIT-3", leg_init_3, NORM_BARE, NULL },
        { "LEG-BLK-INIT-4", leg_init_4, NORM_BARE, NULL },
        { "LEG-BLK-OP-1", leg_op_1, NORM_BARE, NULL },
        { "LEG-BLK-OP-4", leg_op_4, NORM_BARE, NULL },
        { "LEG-BLK-OP-6", leg_op_6, NORM_BARE, NULL },
        { "LEG-BLK-FRAMING-2", leg_framing_2, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
