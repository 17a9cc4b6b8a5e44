/* Two of our network devices at the two ends of a datagram socket: bulk both ways, split and packed
 * rings, receivers that are slow. Nothing stalls, nothing is lost, nothing comes twice. */
#include "net/net.h"
#include "tests/unit/vdev.h"

#include <glib/gstdio.h>

VDEV_EXTERN(virtio_net);
VDEV_TYPES(VDEV_CLASSES(virtio_net));

enum { RX, TX, LEN = 1500, HDR = 12, SLOTS = 64, F_PACKED = 34, IDLE = 2000 };

typedef struct Side {
    VDriver d;
    uint64_t page;
    uint32_t sent, got; /* packets */
    unsigned ntx, nrx;  /* buffers out */
    uint32_t rx_at;     /* receive buffers are used in the order they were given */
} Side;

typedef struct Fix {
    Board *b;
    Side side[2];
    char *dir;
} Fix;

static void backend(const Fix *x, unsigned i)
{
    g_autofree char *json = g_strdup_printf(
        "{'type': 'dgram', 'id': 'n%u', 'local': {'type': 'unix', 'path': '%s/%u'}, "
        "'remote': {'type': 'unix', 'path': '%s/%u'}}",
        i, x->dir, i, x->dir, !i);
    g_autoptr(Json) args = json_parse(json, -1, NULL);
    g_autoptr(GError) err = NULL;

    net_backend_create(args, &err);
    g_assert_no_error(err);
}

static void up(Fix *x, const void *packed)
{
    x->dir = g_dir_make_tmp("net-pair-XXXXXX", NULL);
    x->b = board_new(false);
    for (unsigned i = 0; i < 2; i++) {
        Side *s = &x->side[i];
        g_autofree char *json = g_strdup_printf("{'driver': 'virtio-net-pci', 'addr': '%u', "
                                                "'netdev': 'n%u', 'romfile': '', 'packed': true}",
            4 + i, i);

        backend(x, i);
        board_add(x->b, json);
        vd_open_at(&s->d, &x->b->port, 0, (4 + i) << 3, false, i ? 0xe8000000 : 0);
        s->d.alloc = 0x100000 + i * 0x400000u;
        vd_start(&s->d, packed ? 0 : 1ull << F_PACKED);
        s->page = vd_page(&s->d, SLOTS * 2 * 4096);
    }
}

static void down(Fix *x, const void *unused)
{
    net_cleanup();
    board_free(x->b);
    g_rmdir(x->dir);
    g_free(x->dir);
}

static void give(Side *s, unsigned n)
{
    for (; n && s->nrx < SLOTS; n--, s->nrx++) {
        const VBuf b = { s->page + ((s->rx_at + s->nrx) % SLOTS) * 4096, 2048, true };

        vring_add(&s->d.ring[RX], &b, 1, 0);
    }
    vd_kick(&s->d, RX);
}

static void put(const Fix *x, Side *s, unsigned n, uint32_t total)
{
    for (; n && s->ntx < SLOTS && s->sent < total; n--, s->ntx++, s->sent++) {
        uint64_t at = s->page + (SLOTS + s->sent % SLOTS) * 4096;
        const VBuf b = { at, HDR + LEN, false };
        uint32_t head[8] = { 0 };

        memcpy((uint8_t *)head + HDR + 14, &s->sent, 4);
        x->b->port.write(x->b, at, head, sizeof head);
        vring_add(&s->d.ring[TX], &b, 1, 0);
    }
    vd_kick(&s->d, TX);
}

/* What came; true: something moved. */
static bool take(const Fix *x, Side *s)
{
    uint32_t id, len, number;
    bool moved = false;

    while (vring_used(&s->d.ring[TX], &id, &len)) {
        s->ntx--;
        moved = true;
    }
    while (vring_used(&s->d.ring[RX], &id, &len)) {
        g_assert_cmpuint(len, ==, HDR + LEN);
        x->b->port.read(x->b, s->page + s->rx_at % SLOTS * 4096 + HDR + 14, &number, 4);
        g_assert_cmpuint(number, ==, s->got);
        s->got++;
        s->rx_at++;
        s->nrx--;
        moved = true;
    }
    return moved;
}

static void test_bulk(Fix *x, const void *packed)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(packed ? 3 : 4);
    const uint32_t total = 20000;
    unsigned idle = 0;

    while (x->side[0].got < total || x->side[1].got < total) {
        bool moved = false;

        for (unsigned i = 0; i < 2; i++) {
            Side *s = &x->side[i];

            /* One side reads slowly for a while, then the other. */
            if ((x->side[0].got / 2000 + i) % 2 || !g_rand_int_range(r, 0, 4) || idle > 100) {
                give(s, (unsigned)g_rand_int_range(r, 1, SLOTS));
            }
            put(x, s, (unsigned)g_rand_int_range(r, 0, SLOTS), total);
            board_run(x->b);
            moved |= take(x, s);
        }
        idle = moved ? 0 : idle + 1;
        g_assert_cmpuint(idle, <, IDLE); /* a stall */
    }
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpuint(x->side[i].sent, ==, total);
        board_run(x->b);
        take(x, &x->side[i]);
        g_assert_cmpuint(x->side[i].got, ==, total);
        g_assert_cmpuint(x->side[i].ntx, ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/virtio-net-pair/dgram/split", Fix, NULL, up, test_bulk, down);
    g_test_add("/virtio-net-pair/dgram/packed", Fix, "", up, test_bulk, down);
    return g_test_run();
}
