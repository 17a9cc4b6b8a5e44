/* Disks whose queues run in threads of their own (iothread-vq-mapping of virtio-blk and
 * virtio-scsi): requests under stop and cont, reset of a queue, of a unit, of the device, and
 * unplug, and which loop does what. */
#include "block/block.h"
#include "hw/scsi/scsi.h"
#include "tests/unit/vdev.h"

#include <stdatomic.h>

VDEV_EXTERN(virtio_blk);
VDEV_EXTERN(virtio_scsi);
extern const ObjClass scsi_hd_class;
VDEV_TYPES(VDEV_CLASSES(virtio_blk), &virtio_scsi_class, &virtio_scsi_pci_base_class,
    &virtio_scsi_pci_class, &scsi_device_class, &scsi_hd_class, &iothread_class);

enum { QUEUES = 4, DEPTH = 16, ROUNDS = 120, SLOT = 2048, SECTORS = 2048 };
/* In a slot: header, answer, data. */
enum { ANSWER = 64, DATA = 512 };
enum { READ10 = 0x28, WRITE10 = 0x2a, COMPARE_WRITE = 0x89, TEST_UNIT_READY = 0 };
enum { SCSI_HEAD = 51, SCSI_ANSWER = 108, SCSI_STATUS = 10, LUN_RESET = 5 };
static const uint8_t lun[8] = { 1, 0, 0x40, 0 };

/* Says what it was asked where, and leaves the rest to the workers. */
static struct {
    Loop *_Atomic loop[QUEUES];
    _Atomic bool wrong;
} seen;

static bool mem_open(BlkNode *n, G_GNUC_UNUSED GError **err)
{
    n->size = SECTORS * 512;
    return true;
}

static void mem_close(G_GNUC_UNUSED BlkNode *n) {}

static int mem_read(G_GNUC_UNUSED BlkNode *n, uint64_t off, const struct iovec *iov, unsigned niov,
    G_GNUC_UNUSED uint64_t len)
{
    for (unsigned i = 0; i < niov; off += iov[i++].iov_len) {
        memset(iov[i].iov_base, (int)(off / 512 & 0xff), iov[i].iov_len);
    }
    return 0;
}

static int mem_write(G_GNUC_UNUSED BlkNode *n, G_GNUC_UNUSED uint64_t off,
    G_GNUC_UNUSED const struct iovec *iov, G_GNUC_UNUSED unsigned niov, G_GNUC_UNUSED uint64_t len,
    G_GNUC_UNUSED unsigned flags)
{
    return 0;
}

static BlkTaken mem_submit(G_GNUC_UNUSED BlkNode *n, BlkReq *r)
{
    Loop *before = atomic_exchange(&seen.loop[r->lane], loop_current());

    if (before && before != loop_current()) {
        seen.wrong = true; /* each lane is one thread's */
    }
    return BLK_NOT_TAKEN;
}

static const BlkDriver mem_driver = { .name = "memory",
    .protocol = true,
    .open = mem_open,
    .close = mem_close,
    .preadv = mem_read,
    .pwritev = mem_write,
    .submit = mem_submit };

typedef struct Fix Fix;
typedef struct Kind {
    const char *device, *disk; /* disk: a unit behind the device; NULL: it is one */
    unsigned first;            /* request queue */
    unsigned (*fill)(Fix *x, unsigned q, unsigned slot, VBuf *ret_buf);
    void (*check)(Fix *x, uint64_t at, uint8_t sector, uint32_t len);
    void (*settled)(Fix *x); /* started anew; NULL */
} Kind;

typedef struct Setup {
    const Kind *kind;
    const char *mapping;
} Setup;

struct Fix {
    const Kind *kind;
    bool resets; /* a unit was reset: its requests end so, and the next says it */
    Board *b;
    Dev *dev;
    VDriver d;
    IoThread *io[2];
    uint64_t slots; /* QUEUES * DEPTH of them, and one more */
    bool busy[QUEUES][DEPTH];
    uint8_t sector[QUEUES][DEPTH];
    uint16_t slot_of[QUEUES][VRING_IDS];
    unsigned out[QUEUES], done[QUEUES];
    uint32_t random;
};

static unsigned any(Fix *x, unsigned below)
{
    x->random = x->random * 1664525 + 1013904223;
    return (x->random >> 16) % below;
}

static void forget(Fix *x, unsigned q)
{
    memset(x->busy[q], 0, sizeof x->busy[q]);
    x->out[q] = 0;
}

static void start(Fix *x)
{
    vd_start(&x->d, 1ull << 29);
    for (unsigned q = 0; q < QUEUES; q++) {
        forget(x, q);
    }
    if (x->kind->settled) {
        x->kind->settled(x);
    }
}

static void up(Fix *x, const void *setup)
{
    const Setup *u = setup;
    g_autofree char *dev = g_strdup_printf(
        "{%s, 'addr': '4', 'iothread-vq-mapping': %s}", u->kind->device, u->mapping);
    g_autoptr(Json) drive =
        json_parse("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}", -1, NULL);
    Blk *blk = blk_drive_create(drive, NULL);

    for (unsigned q = 0; q < QUEUES; q++) {
        seen.loop[q] = NULL;
    }
    seen.wrong = false;
    blk_node(blk)->drv = &mem_driver;
    blk_node(blk)->size = SECTORS * 512;
    blk_node(blk)->instant = false;
    x->kind = u->kind;
    x->random = 5;
    x->b = board_new(false);
    x->io[0] = vdev_thread(x->b, "t0");
    x->io[1] = vdev_thread(x->b, "t1");
    x->dev = board_add(x->b, dev);
    if (u->kind->disk) {
        board_add(x->b, u->kind->disk);
    }
    vd_open(&x->d, &x->b->port, 0, 4 << 3, false);
    vd_enable_msix(&x->d);
    x->slots = vd_page(&x->d, (QUEUES * DEPTH + 1) * SLOT);
    start(x);
}

static void down(Fix *x, G_GNUC_UNUSED const void *setup)
{
    dev_unplug_done(x->b->m, x->dev); /* with what is out */
    board_run(x->b);
    blk_cleanup();
    board_free(x->b);
}

static uint64_t slot_at(const Fix *x, unsigned q, unsigned slot)
{
    return x->slots + (q * DEPTH + slot) * SLOT;
}

static VRing *ring_of(Fix *x, unsigned q)
{
    return &x->d.ring[x->kind->first + q];
}

static uint8_t byte_at(const Fix *x, uint64_t at)
{
    uint8_t v;

    x->b->port.read(x->b->port.opaque, at, &v, 1);
    return v;
}

/* ---- virtio-blk: reads ---- */

static unsigned blk_fill(Fix *x, unsigned q, unsigned slot, VBuf *ret_buf)
{
    const VPort *p = &x->b->port;
    uint64_t at = slot_at(x, q, slot);

    vport_w32(p, at, 0);
    vport_w64(p, at + 8, x->sector[q][slot] + 256 * q);
    ret_buf[0] = (VBuf){ at, 16, false };
    ret_buf[1] = (VBuf){ at + DATA, 512, true };
    ret_buf[2] = (VBuf){ at + ANSWER, 1, true };
    return 3;
}

static void check_data(const Fix *x, uint64_t at, uint8_t sector)
{
    g_assert_cmphex(byte_at(x, at + DATA), ==, sector);
    g_assert_cmphex(byte_at(x, at + DATA + 511), ==, sector);
}

static void blk_check(Fix *x, uint64_t at, uint8_t sector, uint32_t len)
{
    g_assert_cmphex(byte_at(x, at + ANSWER), ==, 0);
    g_assert_cmpuint(len, ==, 513);
    check_data(x, at, sector);
}

static const Kind blk_kind = { .device =
                                   "'driver': 'virtio-blk-pci', 'drive': 'd', 'num-queues': 4",
    .fill = blk_fill,
    .check = blk_check };

/* ---- virtio-scsi: reads, writes, and writes that want none beside them ---- */

static void put_cdb(Fix *x, uint64_t at, uint8_t op, uint32_t lba)
{
    uint8_t cdb[32] = { op };

    scsi_put32(cdb + (op == COMPARE_WRITE ? 6 : 2), lba);
    cdb[op == COMPARE_WRITE ? 13 : 8] = op != TEST_UNIT_READY;
    x->b->port.write(x->b->port.opaque, at, lun, sizeof lun);
    x->b->port.write(x->b->port.opaque, at + 19, cdb, sizeof cdb);
}

static unsigned scsi_fill(Fix *x, unsigned q, unsigned slot, VBuf *ret_buf)
{
    static const uint8_t ops[] = { READ10, READ10, WRITE10, COMPARE_WRITE };
    uint64_t at = slot_at(x, q, slot);
    uint8_t op = ops[any(x, G_N_ELEMENTS(ops))], data[1024];
    unsigned n = 0;

    memset(data, x->sector[q][slot], sizeof data);
    x->b->port.write(x->b->port.opaque, at + DATA, data, sizeof data);
    put_cdb(x, at, op, x->sector[q][slot] + 256 * q);
    ret_buf[n++] = (VBuf){ at, SCSI_HEAD, false };
    if (op != READ10) {
        ret_buf[n++] = (VBuf){ at + DATA, op == WRITE10 ? 512 : 1024, false };
    }
    ret_buf[n++] = (VBuf){ at + ANSWER, SCSI_ANSWER, true };
    if (op == READ10) {
        ret_buf[n++] = (VBuf){ at + DATA, 512, true };
    }
    return n;
}

static void scsi_check(Fix *x, uint64_t at, uint8_t sector, uint32_t len)
{
    uint8_t status = byte_at(x, at + ANSWER + SCSI_STATUS),
            response = byte_at(x, at + ANSWER + SCSI_STATUS + 1);

    if (x->resets) {
        g_assert_true((response == 0 && (status == 0 || status == 2)) || response == 4);
        return;
    }
    g_assert_cmphex(response, ==, 0);
    g_assert_cmphex(status, ==, 0);
    g_assert_cmpuint(len, ==, SCSI_ANSWER + (byte_at(x, at + 19) == READ10 ? 512 : 0));
    check_data(x, at, sector);
}

/* Takes the unit attentions. */
static void scsi_settled(Fix *x)
{
    uint64_t at = slot_at(x, QUEUES, 0);
    const VBuf buf[] = { { at, SCSI_HEAD, false }, { at + ANSWER, SCSI_ANSWER, true } };
    uint32_t id, len;

    do {
        put_cdb(x, at, TEST_UNIT_READY, 0);
        vring_add(ring_of(x, 0), buf, G_N_ELEMENTS(buf), 0);
        vd_kick(&x->d, x->kind->first);
        vd_wait_used(&x->d, x->kind->first, &id, &len);
    } while (byte_at(x, at + ANSWER + SCSI_STATUS));
}

static const Kind scsi_kind = { .device = "'driver': 'virtio-scsi-pci', 'id': 's', 'num_queues': 4",
    .disk = "{'driver': 'scsi-hd', 'bus': 's.0', 'drive': 'd', 'scsi-id': 0, 'lun': 0}",
    .first = 2,
    .fill = scsi_fill,
    .check = scsi_check,
    .settled = scsi_settled };

/* ---- traffic ---- */

static void submit(Fix *x, unsigned q, unsigned slot)
{
    VBuf buf[4];

    x->sector[q][slot] = (uint8_t)any(x, 256);
    uint16_t id = vring_add(ring_of(x, q), buf, x->kind->fill(x, q, slot, buf), 0);

    x->slot_of[q][id] = (uint16_t)slot;
    x->busy[q][slot] = true;
    x->out[q]++;
}

static void reap(Fix *x, unsigned q)
{
    uint32_t id, len;

    while (vring_used(ring_of(x, q), &id, &len)) {
        unsigned slot = x->slot_of[q][id];

        g_assert_true(x->busy[q][slot]);
        x->kind->check(x, slot_at(x, q, slot), x->sector[q][slot], len);
        x->busy[q][slot] = false;
        x->out[q]--;
        x->done[q]++;
    }
}

/* Takes what is done and fills up, on all queues. */
static void pump(Fix *x)
{
    for (unsigned q = 0; q < QUEUES; q++) {
        reap(x, q);
        for (unsigned slot = 0; slot < DEPTH; slot++) {
            if (!x->busy[q][slot]) {
                submit(x, q, slot);
            }
        }
        vd_kick(&x->d, x->kind->first + q);
    }
    loop_turn(loop_main(), /* block= */ false);
}

/* All that was asked for is answered. */
static void settle(Fix *x)
{
    for (unsigned q = 0; q < QUEUES; q++) {
        while (x->out[q]) {
            reap(x, q);
            loop_turn(loop_main(), /* block= */ false);
            g_thread_yield();
        }
    }
}

static void reset_queue(Fix *x, unsigned q)
{
    vd_write(&x->d, 0x16, 2, x->kind->first + q);
    vd_write(&x->d, 0x3a, 2, 1);
    while (vd_read(&x->d, 0x3a, 2)) {
        loop_turn(loop_main(), /* block= */ false);
    }
    forget(x, q);
    vd_setup_queue(&x->d, x->kind->first + q, 0);
}

static void reset_device(Fix *x)
{
    vd_set_status(&x->d, 0);
    while (vd_status(&x->d)) {
        loop_turn(loop_main(), /* block= */ false);
    }
    start(x);
}

static void test_traffic(Fix *x, G_GNUC_UNUSED const void *setup)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        pump(x);
        switch (any(x, 6)) {
        case 0:
            fake_run_set(false);
            fake_run_set(true);
            break;
        case 1:
            reset_queue(x, any(x, QUEUES));
            break;
        case 2:
            if (i % 4 == 0) {
                reset_device(x);
            }
            break;
        default:
            settle(x);
            break;
        }
    }
    settle(x);
    for (unsigned q = 0; q < QUEUES; q++) {
        g_assert_cmpuint(x->done[q], >, ROUNDS);
        g_assert_cmphex(vd_msi(&x->d, 1 + x->kind->first + q), ==, 0x4001 + x->kind->first + q);
    }
    g_assert_false(seen.wrong);
    pump(x); /* unplugged under load */
}

static void test_turns(Fix *x, G_GNUC_UNUSED const void *setup)
{
    pump(x);
    settle(x);
    for (unsigned q = 0; q < QUEUES; q++) {
        g_assert_true(seen.loop[q] == x->io[q % 2]->loop);
    }
}

static void test_listed(Fix *x, G_GNUC_UNUSED const void *setup)
{
    pump(x);
    settle(x);
    g_assert_true(seen.loop[0] == x->io[1]->loop);
    g_assert_true(seen.loop[1] == x->io[0]->loop);
    g_assert_true(seen.loop[2] == x->io[0]->loop);
    g_assert_true(seen.loop[3] == x->io[1]->loop);
}

/* While the VM stands nothing is taken, and nothing of it is lost. */
static void test_stopped(Fix *x, G_GNUC_UNUSED const void *setup)
{
    fake_run_set(false);
    pump(x);
    for (unsigned i = 0; i < 100; i++) {
        loop_turn(loop_main(), /* block= */ false);
        g_thread_yield();
    }
    for (unsigned q = 0; q < QUEUES; q++) {
        reap(x, q);
        g_assert_cmpuint(x->out[q], ==, DEPTH);
    }
    fake_run_set(true);
    settle(x);
}

/* A queue that breaks stops the device; a reset makes it whole. */
static void test_broken(Fix *x, G_GNUC_UNUSED const void *setup)
{
    pump(x);
    vring_avail(ring_of(x, 2), 60000);
    vd_kick(&x->d, x->kind->first + 2);
    while (vd_status(&x->d) == 15) {
        loop_turn(loop_main(), /* block= */ false);
        g_thread_yield();
    }
    g_assert_cmphex(vd_status(&x->d), ==, 0x4f);
    reset_device(x);
    pump(x);
    settle(x);
}

/* Requests of all queues end for a function of the control queue; nothing is left out. */
static void test_unit_reset(Fix *x, G_GNUC_UNUSED const void *setup)
{
    const VPort *p = &x->b->port;
    uint64_t at = slot_at(x, QUEUES, 0);
    const VBuf buf[] = { { at, 24, false }, { at + ANSWER, 1, true } };
    uint32_t id, len;

    x->resets = true;
    for (unsigned i = 0; i < 40; i++) {
        pump(x);
        vport_w32(p, at, 0);
        vport_w32(p, at + 4, LUN_RESET);
        p->write(p->opaque, at + 8, lun, sizeof lun);
        vring_add(&x->d.ring[0], buf, G_N_ELEMENTS(buf), 0);
        vd_kick(&x->d, 0);
        vd_wait_used(&x->d, 0, &id, &len);
        g_assert_cmphex(byte_at(x, at + ANSWER), ==, 0);
        settle(x);
    }
}

#define TURNS  "[{'iothread': 't0'}, {'iothread': 't1'}]"
#define LISTED "[{'iothread': 't0', 'vqs': [1, 2]}, {'iothread': 't1', 'vqs': [0, 3]}]"

static void add(const char *name, const Setup *u, void (*fn)(Fix *x, const void *setup))
{
    g_autofree char *path = g_strdup_printf("/virtio-threads/%s", name);

    g_test_add(path, Fix, u, up, fn, down);
}

int main(int argc, char **argv)
{
    static const Setup blk = { &blk_kind, TURNS }, blk_listed = { &blk_kind, LISTED },
                       blk_one = { &blk_kind, "[{'iothread': 't0'}]" },
                       scsi = { &scsi_kind, TURNS }, scsi_listed = { &scsi_kind, LISTED },
                       scsi_one = { &scsi_kind, "[{'iothread': 't0'}]" };

    g_test_init(&argc, &argv, NULL);
    loop_main();
    add("blk/in-turn", &blk, test_turns);
    add("blk/as-listed", &blk_listed, test_listed);
    add("blk/stopped", &blk, test_stopped);
    add("blk/broken", &blk, test_broken);
    add("blk/traffic", &blk, test_traffic);
    add("blk/traffic-one-thread", &blk_one, test_traffic);
    add("scsi/in-turn", &scsi, test_turns);
    add("scsi/as-listed", &scsi_listed, test_listed);
    add("scsi/stopped", &scsi, test_stopped);
    add("scsi/broken", &scsi, test_broken);
    add("scsi/traffic", &scsi, test_traffic);
    add("scsi/traffic-one-thread", &scsi_one, test_traffic);
    add("scsi/unit-reset", &scsi, test_unit_reset);
    return g_test_run();
}
