/* MSI-X masks and changes against a disk at work: tests/lib/msixtest.c on real instructions. */
#include "tests/guest/metal/metal.h"
#include "tests/lib/msixtest.h"

typedef struct Irqs {
    MsixTest t;
    VDriver d;
    uint64_t page;
    uint32_t seen[MSIXTEST_MESSAGES];
} Irqs;

static Irqs irqs;

/* A read of one sector. */
static void submit(MsixTest *t)
{
    const Irqs *x = (const Irqs *)(const void *)t;
    const VBuf buf[] = { { x->page, 16, false }, { x->page + 512, 512, true },
        { x->page + 16, 1, true } };

    vring_add(&t->d->ring[0], buf, 3, 0);
}

static void message(MsixTest *t, unsigned m, uint32_t *ret_addr, uint32_t *ret_data)
{
    (void)t;
    *ret_addr = 0xfee00000;
    *ret_data = IRQ_BASE + m;
}

static void took(MsixTest *t, unsigned ret[MSIXTEST_MESSAGES])
{
    Irqs *x = (Irqs *)(void *)t;

    for (unsigned m = 0; m < MSIXTEST_MESSAGES; m++) {
        uint32_t now = irq_count[m];

        ret[m] = now - x->seen[m];
        x->seen[m] = now;
    }
}

static void work(void *opaque)
{
    Irqs *x = opaque;

    for (unsigned i = 0; i < opt.n; i++) {
        msixtest_step(&x->t);
    }
}

void irqs_test(void)
{
    Irqs *x = &irqs;
    VDriver *d = &x->d;
    unsigned n;

    CHECK(pci_find(2, 0, d) && !d->legacy);
    CHECK(vd_negotiate(d, base_features(d, 0)));
    pci_enable_msix(d, 0);
    n = (vd_cfg_read(d->port, d->bus, d->devfn, d->cap_msix + 2, 2) & 0x7ff) + 1;
    vd_setup_queue(d, 0, 0);
    x->page = vd_page(d, 4096);
    vd_driver_ok(d);
    x->t = (MsixTest){ .d = d,
        .vectors = n,
        .submit = submit,
        .message = message,
        .took = took,
        .random = opt.depth };
    msixtest_init(&x->t);
    cpu_run(work, x);
    put("RESULT irqs");
    put_pair("ops", opt.n);
    put_pair("vectors", n);
    put_pair("moves", x->t.moves);
    put_pair("races", x->t.races);
    put_pair("pending", x->t.races_pending);
    put("\n");
}
