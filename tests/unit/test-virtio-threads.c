/* A disk whose queues run in threads of their own (iothread-vq-mapping): requests under stop and
 * cont, reset of a queue, of the device, and unplug, and which loop does what. */
#include "backends/iothread.h"
#include "block/block.h"
#include "tests/unit/vdev.h"

VDEV_EXTERN(virtio_blk);
VDEV_TYPES(VDEV_CLASSES(virtio_blk), &iothread_class);

enum { QUEUES = 4, DEPTH = 16, ROUNDS = 120, SLOT = 1024, SECTORS = 2048 };
enum { IN = 0, OK = 0, UNSEEN = 0xee };
#define DISK "{'driver': 'virtio-blk-pci', 'addr': '4', 'drive': 'd', 'num-queues': 4"

/* Says what it was asked where, and leaves the rest to the workers. */
static struct {
    Loop *loop[QUEUES];
    bool wrong;
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
    if (seen.loop[r->lane] && seen.loop[r->lane] != loop_current()) {
        seen.wrong = true; /* each lane is one thread's */
    }
    seen.loop[r->lane] = loop_current();
    return BLK_NOT_TAKEN;
}

static const BlkDriver mem_driver = { .name = "memory",
    .protocol = true,
    .open = mem_open,
    .close = mem_close,
    .preadv = mem_read,
    .pwritev = mem_write,
    .submit = mem_submit };

typedef struct Fix {
    Board *b;
    Dev *dev;
    VDriver d;
    IoThread *io[2];
    uint64_t slots; /* QUEUES * DEPTH of them: header, status at 16, data at 512 */
    bool busy[QUEUES][DEPTH];
    uint8_t sector[QUEUES][DEPTH];
    uint16_t slot_of[QUEUES][VRING_IDS];
    unsigned out[QUEUES], done[QUEUES];
    uint32_t random;
} Fix;

static unsigned any(Fix *x, unsigned below)
{
    x->random = x->random * 1664525 + 1013904223;
    return (x->random >> 16) % below;
}

static IoThread *thread_new(Board *b, const char *name)
{
    Obj *o = obj_new(&iothread_class);

    obj_add(b->m->objects, name, o);
    g_assert_true(obj_realize(o, NULL));
    return (IoThread *)o;
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
}

static void up(Fix *x, const void *mapping)
{
    g_autofree char *dev =
        g_strdup_printf(DISK ", 'iothread-vq-mapping': %s}", (const char *)mapping);
    g_autoptr(Json) drive =
        json_parse("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': 'd'}", -1, NULL);
    Blk *blk = blk_drive_create(drive, NULL);

    memset(&seen, 0, sizeof seen);
    blk_node(blk)->drv = &mem_driver;
    blk_node(blk)->size = SECTORS * 512;
    blk_node(blk)->instant = false;
    x->random = 5;
    x->b = board_new(false);
    x->io[0] = thread_new(x->b, "t0");
    x->io[1] = thread_new(x->b, "t1");
    x->dev = board_add(x->b, dev);
    vd_open(&x->d, &x->b->port, 0, 4 << 3, false);
    vd_enable_msix(&x->d);
    x->slots = vd_page(&x->d, QUEUES * DEPTH * SLOT);
    start(x);
}

static void down(Fix *x, G_GNUC_UNUSED const void *mapping)
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

static void submit(Fix *x, unsigned q, unsigned slot)
{
    const VPort *p = &x->b->port;
    uint64_t at = slot_at(x, q, slot);
    const VBuf buf[] = { { at, 16, false }, { at + 512, 512, true }, { at + 16, 1, true } };
    uint8_t unseen = UNSEEN;
    uint16_t id;

    x->sector[q][slot] = (uint8_t)any(x, 256);
    vport_w32(p, at, IN);
    vport_w64(p, at + 8, x->sector[q][slot] + 256 * q);
    p->write(p->opaque, at + 16, &unseen, 1);
    id = vring_add(&x->d.ring[q], buf, G_N_ELEMENTS(buf), 0);
    x->slot_of[q][id] = (uint16_t)slot;
    x->busy[q][slot] = true;
    x->out[q]++;
}

static void check(Fix *x, unsigned q, unsigned slot)
{
    const VPort *p = &x->b->port;
    uint8_t status, data[512];

    p->read(p->opaque, slot_at(x, q, slot) + 16, &status, 1);
    p->read(p->opaque, slot_at(x, q, slot) + 512, data, sizeof data);
    g_assert_cmphex(status, ==, OK);
    g_assert_cmphex(data[0], ==, x->sector[q][slot]);
    g_assert_cmphex(data[511], ==, x->sector[q][slot]);
}

static void reap(Fix *x, unsigned q)
{
    uint32_t id, len;

    while (vring_used(&x->d.ring[q], &id, &len)) {
        unsigned slot = x->slot_of[q][id];

        g_assert_true(x->busy[q][slot]);
        g_assert_cmpuint(len, ==, 513);
        check(x, q, slot);
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
        vd_kick(&x->d, q);
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
    vd_write(&x->d, 0x16, 2, q);
    vd_write(&x->d, 0x3a, 2, 1);
    while (vd_read(&x->d, 0x3a, 2)) {
        loop_turn(loop_main(), /* block= */ false);
    }
    forget(x, q);
    vd_setup_queue(&x->d, q, 0);
}

static void reset_device(Fix *x)
{
    vd_set_status(&x->d, 0);
    while (vd_status(&x->d)) {
        loop_turn(loop_main(), /* block= */ false);
    }
    start(x);
}

static void test_traffic(Fix *x, G_GNUC_UNUSED const void *mapping)
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
        g_assert_cmphex(vd_msi(&x->d, 1 + q), ==, 0x4001 + q);
    }
    g_assert_false(seen.wrong);
    pump(x); /* unplugged under load */
}

static void test_turns(Fix *x, G_GNUC_UNUSED const void *mapping)
{
    pump(x);
    settle(x);
    for (unsigned q = 0; q < QUEUES; q++) {
        g_assert_true(seen.loop[q] == x->io[q % 2]->loop);
    }
}

static void test_listed(Fix *x, G_GNUC_UNUSED const void *mapping)
{
    pump(x);
    settle(x);
    g_assert_true(seen.loop[0] == x->io[1]->loop);
    g_assert_true(seen.loop[1] == x->io[0]->loop);
    g_assert_true(seen.loop[2] == x->io[0]->loop);
    g_assert_true(seen.loop[3] == x->io[1]->loop);
}

/* While the VM stands nothing is taken, and nothing of it is lost. */
static void test_stopped(Fix *x, G_GNUC_UNUSED const void *mapping)
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
static void test_broken(Fix *x, G_GNUC_UNUSED const void *mapping)
{
    pump(x);
    vring_avail(&x->d.ring[2], 60000);
    vd_kick(&x->d, 2);
    while (vd_status(&x->d) == 15) {
        loop_turn(loop_main(), /* block= */ false);
        g_thread_yield();
    }
    g_assert_cmphex(vd_status(&x->d), ==, 0x4f);
    reset_device(x);
    pump(x);
    settle(x);
}

#define ADD(name, mapping, fn) g_test_add("/virtio-threads/" name, Fix, mapping, up, fn, down)

int main(int argc, char **argv)
{
    static const char turns[] = "[{'iothread': 't0'}, {'iothread': 't1'}]";
    static const char listed[] =
        "[{'iothread': 't0', 'vqs': [1, 2]}, {'iothread': 't1', 'vqs': [0, 3]}]";

    g_test_init(&argc, &argv, NULL);
    loop_main();
    ADD("in-turn", turns, test_turns);
    ADD("as-listed", listed, test_listed);
    ADD("stopped", turns, test_stopped);
    ADD("broken", turns, test_broken);
    ADD("traffic", turns, test_traffic);
    ADD("traffic-one-thread", "[{'iothread': 't0'}]", test_traffic);
    return g_test_run();
}
