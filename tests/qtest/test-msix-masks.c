/*
 * MSI-X masks, moves and new messages against a disk on an iothread, in the real binary:
 * tests/lib/msixtest.h. VIRTUE_MSIX_OPS says how many operations, else few.
 */
#include "tests/lib/libqtest.h"
#include "tests/lib/msixtest.h"

#include <stdlib.h>

enum { DEVFN = 4 << 3 };

typedef struct Masks {
    MsixTest t;
    VDriver d;
    uint64_t page;
} Masks;

static void submit(MsixTest *t)
{
    const Masks *x = (const Masks *)(const void *)t;
    const VBuf buf[] = { { x->page, 16, false }, { x->page + 512, 512, true },
        { x->page + 16, 1, true } };

    vring_add(&t->d->ring[0], buf, 3, 0);
}

/* Messages go to memory, where they are seen. */
static void message(MsixTest *t, unsigned m, uint32_t *ret_addr, uint32_t *ret_data)
{
    *ret_addr = (uint32_t)t->d->msi_at + 4 * m;
    *ret_data = 0x4000 + m;
}

static void took(MsixTest *t, unsigned ret[MSIXTEST_MESSAGES])
{
    const VPort *p = t->d->port;
    uint32_t seen[MSIXTEST_MESSAGES];

    p->read(p->opaque, t->d->msi_at, seen, sizeof seen);
    for (unsigned m = 0; m < MSIXTEST_MESSAGES; m++) {
        ret[m] = seen[m] != 0;
        if (seen[m]) {
            g_assert_cmphex(vd_msi(t->d, m), ==, 0x4000 + m);
        }
    }
}

static void test_masks(const void *opts)
{
    const char *ops = getenv("VIRTUE_MSIX_OPS");
    unsigned n = ops ? (unsigned)atoi(ops) : 2500;
    Masks x = { 0 };

    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return;
    }
    g_autofree char *args = g_strdup_printf(
        "-M q35 -object iothread,id=t -blockdev driver=null-co,node-name=n0,size=1M "
        "-device virtio-blk-pci,addr=4,disable-legacy=on,drive=n0,vectors=6%s",
        (const char *)opts);
    QTestVm *q = qtv_start(NULL, args);
    VDriver *d = &x.d;

    vd_open(d, qtv_port(q), 0, DEVFN, false);
    vd_enable_msix(d);
    g_assert_true(vd_negotiate(d, vd_offered(d) & ~(UINT64_C(1) << 29)));
    vd_setup_queue(d, 0, 0);
    x.page = vd_page(d, 4096);
    vd_driver_ok(d);
    x.t = (MsixTest){
        .d = d, .vectors = 6, .submit = submit, .message = message, .took = took, .random = 3
    };
    msixtest_init(&x.t);
    for (unsigned i = 0; i < n; i++) {
        msixtest_step(&x.t);
    }
    g_test_message("%u operations, %u moves, %u races, %u pending", n, x.t.moves, x.t.races,
        x.t.races_pending);
    qtv_stop(q);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/msix-masks/iothread", ",iothread=t", test_masks);
    g_test_add_data_func("/msix-masks/main-loop", "", test_masks);
    return g_test_run();
}
