/* Normative sentences about the registers and interrupts of virtio-pci: common configuration, ISR,
 * MSI-X (VIRTIO 1.4, 4.1.4.3, 4.1.4.5, 4.1.5). */
#include "tests/conformance/norm.h"

enum { STATUS_BIT = 8, VECTORS = 3 };

static void check_words(Norm *x, const char *driver)
{
    VirtioFeatures f = virtio_offered(norm_pci(x)->vd, false);

    for (unsigned w = 0; w < 70; w++) {
        vd_write(&x->d, 0, 4, w);
        g_assert_cmphex(vd_read(&x->d, 0, 4), ==, w);
        g_assert_cmphex(
            vd_read(&x->d, 4, 4), ==, w < 4 ? (uint32_t)(f.word[w / 2] >> (w % 2 * 32)) : 0);
    }
    vd_write(&x->d, 0, 4, UINT32_MAX);
    g_assert_cmphex(vd_read(&x->d, 4, 4), ==, 0);
}

static void common_3(Norm *x)
{
    NORM("PCI-COMMON-3");
    norm_types(check_words);
    /* Words that no feature of ours is in yet. */
    norm_open(x, "dummy-pci", NULL, 0);
    x->s->vd.host_features.word[1] = 0xfedcba9876543210;
    check_words(x, "dummy-pci");
}

static void common_4(Norm *x)
{
    static const uint32_t words[] = { 1u << 28 | 1u << 29, 1u | 1u << 8, 0, 0 };

    NORM("PCI-COMMON-4");
    for (unsigned w = 0; w < 4; w++) {
        vd_write(&x->d, 8, 4, w);
        vd_write(&x->d, 0xc, 4, words[w]);
    }
    for (unsigned w = 4; w-- > 0;) {
        vd_write(&x->d, 8, 4, w);
        g_assert_cmphex(vd_read(&x->d, 0xc, 4), ==, words[w]);
    }
}

static void common_5(Norm *x)
{
    NORM("PCI-COMMON-5");
    vd_write(&x->d, 8, 4, 0);
    vd_write(&x->d, 0xc, 4, 0x20);
    norm_note("bits that were not offered %s",
        vd_read(&x->d, 0xc, 4) ? "read back, FEATURES_OK is refused" : "read as 0");
    g_assert_false(vd_negotiate(&x->d, NORM_BIT(32) | 0x20));
}

static void common_6(Norm *x)
{
    unsigned gen = (unsigned)vd_read(&x->d, 0x15, 1);

    NORM("PCI-COMMON-6");
    for (unsigned i = 0; i < 600; i++) { /* it may wrap, but not onto what was read before */
        norm_dev(x, i % 8, 1);
        x->s->config[i % 8]++;
        virtio_config_changed(&x->s->vd);
        if (i % 3 == 0) {
            virtio_config_changed(&x->s->vd);
        }
        unsigned now = (unsigned)vd_read(&x->d, 0x15, 1);

        g_assert_cmpuint(now, !=, gen);
        g_assert_cmpuint(vd_read(&x->d, 0x15, 1), ==, now);
        gen = now;
    }
    for (unsigned n = 255; n <= 257; n++) { /* nor does it come around unseen */
        norm_dev(x, 0, 1);
        gen = (unsigned)vd_read(&x->d, 0x15, 1);
        for (unsigned i = 0; i < n; i++) {
            x->s->config[0]++;
            virtio_config_changed(&x->s->vd);
        }
        g_assert_cmpuint(vd_read(&x->d, 0x15, 1), !=, gen);
    }
}

static void common_7(Norm *x)
{
    NORM("PCI-COMMON-7");
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    g_assert_false(x->s->vd.started);
    g_assert_cmphex(x->s->vd.features.word[0], ==, 0);
}

static void common_8(Norm *x)
{
    NORM("PCI-COMMON-8");
    for (unsigned how = 0; how < 2; how++) {
        for (unsigned q = 0; q < 2; q++) {
            vd_write(&x->d, 0x16, 2, q);
            g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 1);
        }
        if (how) {
            pci_fn_reset(&x->dev->obj);
            vd_open(&x->d, &x->b->port, 0, NORM_DEVFN, false);
        } else {
            vd_set_status(&x->d, 0);
        }
        for (unsigned q = 0; q < 2; q++) {
            vd_write(&x->d, 0x16, 2, q);
            g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
        }
        norm_start(x, 0);
    }
}

/* A queue whose reset has to wait. */
static void stuck_reset(Norm *x)
{
    x->s->on_request = norm_hold;
    x->s->keep_on_stop = true;
    norm_add(x);
    norm_go(x);
    norm_reset_queue(x);
}

static void common_9(Norm *x)
{
    NORM("PCI-COMMON-9");
    norm_reset_queue(x);
    vd_set_status(&x->d, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
    norm_start(x, 0);
    stuck_reset(x);
    vd_set_status(&x->d, 0);
    norm_push(x, 0);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    vd_write(&x->d, 0x16, 2, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
}

static void common_10(Norm *x)
{
    NORM("PCI-COMMON-10");
    x->s->on_request = norm_hold;
    norm_reset_queue(x);
    vd_setup_queue(&x->d, 0, 0);
    norm_add(x); /* a request is out, as while a reset waits */
    norm_go(x);
    g_assert_cmpuint(x->s->held->len, ==, 1);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 1);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
}

static void common_11(Norm *x)
{
    NORM("PCI-COMMON-11");
    x->s->on_request = norm_hold;
    norm_add(x);
    norm_go(x);
    g_assert_cmpuint(x->s->held->len, ==, 1);
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x3a, 2, 0); /* nothing but 1 does it */
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 1);
    norm_reset_queue(x);
    g_assert_cmpuint(x->s->held->len, ==, 0); /* given back by the device */
    g_assert_false(virtio_queue_enabled(&x->s->vd, 0));
    g_assert_true(virtio_queue_enabled(&x->s->vd, 1)); /* the other one goes on */
}

static void common_12(Norm *x)
{
    NORM("PCI-COMMON-12");
    stuck_reset(x);
    for (unsigned i = 0; i < 5; i++) {
        board_run(x->b);
        g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 1);
    }
    norm_push(x, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
}

static void common_13(Norm *x)
{
    NORM("PCI-COMMON-13");
    norm_reset_queue(x);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
    vd_setup_queue(&x->d, 0, 0);
    stuck_reset(x); /* one that takes longer */
    norm_push(x, 0);
    board_run(x->b);
    g_assert_cmpuint(vd_read(&x->d, 0x3a, 2), ==, 0);
    g_assert_cmpuint(vd_read(&x->d, 0x1c, 2), ==, 0);
}

static void check_sizes(Norm *x, const char *driver)
{
    unsigned n = (unsigned)vd_read(&x->d, 0x12, 2);

    for (unsigned q = 0; q < n + 3; q++) {
        vd_write(&x->d, 0x16, 2, q);
        uint64_t size = vd_read(&x->d, 0x18, 2);

        g_assert_cmpint(size != 0, ==, q < n);
        g_assert_cmphex(size & (size - 1) & 0xffff, ==, 0);
        for (unsigned odd = 0; odd < 70; odd++) { /* whatever a driver writes */
            vd_write(&x->d, 0x18, 2, odd);
            size = vd_read(&x->d, 0x18, 2);
            g_assert_cmpint(size != 0, ==, q < n);
            g_assert_cmphex(size & (size - 1) & 0xffff, ==, 0);
        }
    }
    vd_write(&x->d, 0x16, 2, 0xffff);
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 0);
}

static void common_14(Norm *x)
{
    NORM("PCI-COMMON-14");
    norm_types(check_sizes);
}

static void common_15(Norm *x)
{
    NORM("PCI-COMMON-15");
    norm_types(check_sizes);
    /* A packed ring's odd size does not outlive the driver that chose it. */
    norm_open(x, "dummy-pci", ", 'packed': true", 0);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_setup_queue(&x->d, 0, 7);
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 7);
    vd_driver_ok(&x->d);
    vd_set_status(&x->d, 0);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d) & ~NORM_BIT(34)));
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 16);
    /* Nor the driver's change of mind before FEATURES_OK. */
    vd_set_status(&x->d, 0);
    vd_set_status(&x->d, 3);
    vd_write(&x->d, 8, 4, 1);
    vd_write(&x->d, 0xc, 4, 1 | 1 << 2);
    vd_write(&x->d, 0x18, 2, 7);
    vd_write(&x->d, 0xc, 4, 1);
    vd_set_status(&x->d, 11);
    g_assert_cmphex(vd_status(&x->d), ==, 11);
    uint64_t size = vd_read(&x->d, 0x18, 2);

    g_assert_cmphex(size & (size - 1), ==, 0);
}

static void check_admin(Norm *x, const char *driver)
{
    unsigned at = (unsigned)vd_read(&x->d, 0x3c, 2), n = (unsigned)vd_read(&x->d, 0x3e, 2);

    if (vd_offered(&x->d) & NORM_BIT(VIRTIO_F_ADMIN_VQ)) {
        g_assert_cmpuint(at, >=, vd_read(&x->d, 0x12, 2));
        g_assert_cmpuint(n, <=, 0x10000 - at);
    } else {
        g_assert_cmpuint(at | n, ==, 0);
    }
}

static void common_16(Norm *x)
{
    NORM("PCI-COMMON-16");
    norm_types(check_admin);
}

/* What the ISR byte is at the moment the wire goes up, or the message leaves. */
static struct {
    VirtioPci *p;
    unsigned up, messages;
    uint8_t isr;
} at_irq;

static void on_intx(void *opaque, unsigned devfn, unsigned pin, bool level)
{
    if (level) {
        at_irq.up++;
        at_irq.isr = at_irq.p->isr;
    }
}

static void on_msi(void *opaque, uint64_t addr, uint32_t data)
{
    at_irq.messages++;
    at_irq.isr = at_irq.p->isr;
}

static void listen(Norm *x)
{
    at_irq.p = norm_pci(x);
    at_irq.up = at_irq.messages = at_irq.isr = 0;
    x->b->bus.set_intx = on_intx;
    if (x->d.msix) {
        uint64_t table = x->d.bar[1];

        dma_set_msi_sink(x->b->m->mem, on_msi, NULL);
        for (unsigned v = 0; v < VECTORS; v++) {
            x->b->port.store(x->b, false, table + 16 * v, 4, 0xfee00000);
        }
    }
}

static void isr_2(Norm *x)
{
    NORM("PCI-ISR-2");
    listen(x);
    virtio_config_changed(&x->s->vd);
    g_assert_cmpuint(at_irq.up, ==, 1);
    g_assert_cmphex(at_irq.isr & 2, ==, 2);
    norm_close(x);
    norm_open(x, "dummy-pci", NULL, NORM_MSIX | NORM_START);
    listen(x);
    virtio_config_changed(&x->s->vd);
    g_assert_cmpuint(at_irq.messages, ==, 1);
    g_assert_cmphex(at_irq.isr & 2, ==, 2);
}

static void isr_3(Norm *x)
{
    NORM("PCI-ISR-3");
    listen(x);
    norm_add(x);
    norm_go(x);
    g_assert_cmpuint(at_irq.up, ==, 1);
    g_assert_cmphex(at_irq.isr, ==, 1);
}

static void isr_4(Norm *x)
{
    NORM("PCI-ISR-4");
    for (unsigned bits = 0; bits < 8; bits++) {
        vd_cfg_write(&x->b->port, 0, NORM_DEVFN, 4, 2, bits & 4 ? 0x407 : 7); /* INTx disabled */
        if (bits & 1) {
            vport_w16(&x->b->port, x->r->driver + 4 + x->r->size * 2u, x->r->avail);
            norm_add(x);
            norm_go(x);
        }
        if (bits & 2) {
            virtio_config_changed(&x->s->vd);
        }
        g_assert_cmphex(norm_cfg(x, 6, 2) & STATUS_BIT, ==, bits & 3 ? STATUS_BIT : 0);
        g_assert_cmpint(x->b->intx[4][0], ==, (bits & 3) && !(bits & 4));
        g_assert_cmphex(vd_isr(&x->d), ==, bits & 3);
        g_assert_cmphex(norm_cfg(x, 6, 2) & STATUS_BIT, ==, 0);
    }
    /* With bits from before, when MSI-X is enabled and disabled again. */
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, 4, 2, 7);
    virtio_config_changed(&x->s->vd);
    g_assert_true(x->b->intx[4][0]);
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, x->d.cap_msix + 2, 2, 0x8000);
    g_assert_false(x->b->intx[4][0]);
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, x->d.cap_msix + 2, 2, 0);
    g_assert_cmphex(norm_cfg(x, 6, 2) & STATUS_BIT, ==, STATUS_BIT);
    g_assert_true(x->b->intx[4][0]);
}

static void isr_5(Norm *x)
{
    NORM("PCI-ISR-5");
    norm_add(x);
    norm_go(x);
    virtio_config_changed(&x->s->vd);
    g_assert_cmphex(vd_isr(&x->d), ==, 3);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

static unsigned table_size(const Norm *x)
{
    return (norm_cfg(x, x->d.cap_msix + 2, 2) & 0x7ff) + 1;
}

static void check_vectors(Norm *x, const char *driver)
{
    g_assert_cmpuint(x->d.cap_msix, !=, 0);
    g_assert_cmpuint(table_size(x), >=, 2);
    g_assert_cmpuint(table_size(x), <=, 0x800);
}

static void msix_1(Norm *x)
{
    NORM("PCI-MSIX-1");
    norm_types(check_vectors);
}

static void msix_2(Norm *x)
{
    static const unsigned n[] = { 2, 3, 17, 64, 65, 2048 };

    NORM("PCI-MSIX-2");
    for (unsigned i = 0; i < G_N_ELEMENTS(n); i++) {
        g_autofree char *opts = g_strdup_printf(", 'vectors': %u", n[i]);

        norm_open(x, "dummy-pci", opts, 0);
        g_assert_cmpuint(table_size(x), ==, n[i]);
        g_assert_cmpuint(x->d.bar_size[1], >=, n[i] * 16);
        vd_write(&x->d, 0x10, 2, n[i] - 1); /* the last one exists, the next does not */
        g_assert_cmpuint(vd_read(&x->d, 0x10, 2), ==, n[i] - 1);
        vd_write(&x->d, 0x10, 2, n[i]);
        g_assert_cmpuint(vd_read(&x->d, 0x10, 2), ==, 0xffff);
        norm_close(x);
    }
    x->b = NULL;
}

/* One for each queue and one for the configuration; more would never be used. */
static void check_few_vectors(Norm *x, const char *driver)
{
    g_assert_cmpuint(table_size(x), <=, vd_read(&x->d, 0x12, 2) + 1);
}

static void msix_3(Norm *x)
{
    NORM("PCI-MSIX-3");
    norm_types(check_few_vectors);
}

static void expect_message(Norm *x, unsigned vector)
{
    for (unsigned v = 0; v < VECTORS; v++) {
        g_assert_cmphex(vd_msi(&x->d, v), ==, v == vector ? 0x4000 + v : 0);
    }
    g_assert_false(x->b->intx[4][0]);
}

static void request(Norm *x)
{
    vport_w16(&x->b->port, x->r->driver + 4 + x->r->size * 2u, x->r->avail); /* wanted */
    norm_add(x);
    norm_go(x);
}

static void map(Norm *x, unsigned config, unsigned queue)
{
    vd_write(&x->d, 0x16, 2, 0);
    vd_write(&x->d, 0x10, 2, config);
    vd_write(&x->d, 0x1a, 2, queue);
}

static void msix_4(Norm *x)
{
    NORM("PCI-MSIX-4");
    for (unsigned i = 0; i < VECTORS * VECTORS; i++) {
        map(x, i % VECTORS, i / VECTORS);
        virtio_config_changed(&x->s->vd);
        expect_message(x, i % VECTORS);
        request(x);
        expect_message(x, i / VECTORS);
    }
}

static void msix_5(Norm *x)
{
    NORM("PCI-MSIX-5");
    map(x, 0xffff, 1);
    virtio_config_changed(&x->s->vd);
    expect_message(x, 0xffff);
    request(x);
    expect_message(x, 1);
    map(x, 0, 0xffff);
    request(x);
    expect_message(x, 0xffff);
    virtio_config_changed(&x->s->vd);
    expect_message(x, 0);
}

static void msix_6(Norm *x)
{
    NORM("PCI-MSIX-6");
    for (unsigned v = 0; v < VECTORS; v++) {
        map(x, v, VECTORS - 1 - v);
        g_assert_cmphex(vd_read(&x->d, 0x10, 2), ==, v);
        g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, VECTORS - 1 - v);
    }
    map(x, 0xffff, 0xffff);
    g_assert_cmphex(vd_read(&x->d, 0x10, 2), ==, 0xffff);
    g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 0xffff);
    vd_write(&x->d, 0x16, 2, 1); /* the other queue's stands */
    g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 2);
}

static void msix_7(Norm *x)
{
    NORM("PCI-MSIX-7");
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_read(&x->d, 0x10, 2), ==, 0xffff);
    for (unsigned q = 0; q < 2; q++) {
        vd_write(&x->d, 0x16, 2, q);
        g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 0xffff);
    }
}

static void msix_8(Norm *x)
{
    NORM("PCI-MSIX-8");
    for (unsigned v = 0; v < 64; v++) { /* all at one, all valid ones, and with MSI-X off or on */
        map(x, v, v);
        g_assert_cmphex(vd_read(&x->d, 0x10, 2), ==, v);
        g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, v);
        vd_write(&x->d, 0x16, 2, 1);
        vd_write(&x->d, 0x1a, 2, v);
        g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, v);
    }
}

static void msix_9(Norm *x)
{
    static const uint16_t bad[] = { VECTORS, 64, 0x7ff, 0x800, 0xfffe };

    NORM("PCI-MSIX-9");
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        map(x, 0, 1);
        map(x, bad[i], bad[i]);
        g_assert_cmphex(vd_read(&x->d, 0x10, 2), ==, 0xffff);
        g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 0xffff);
    }
}

static void usednotif_1(Norm *x)
{
    NORM("PCI-USEDNOTIF-1");
    map(x, 0, 0xffff);
    for (unsigned i = 0; i < 3; i++) {
        request(x);
        expect_message(x, 0xffff);
    }
    g_assert_cmpuint(vring_used_idx(x->r), ==, 3);
}

static void cfgnotif_1(Norm *x)
{
    NORM("PCI-CFGNOTIF-1");
    map(x, 0xffff, 1);
    virtio_config_changed(&x->s->vd);
    expect_message(x, 0xffff);
    virtio_fail(&x->s->vd, "test");
    expect_message(x, 0xffff);
}

static void txt_cfgnotif_1(Norm *x)
{
    NORM("TXT-PCI-CFGNOTIF-1");
    listen(x);
    norm_add(x);
    norm_go(x);
    virtio_config_changed(&x->s->vd);
    norm_note("%u interrupt for a used buffer and a configuration change", at_irq.up);
    g_assert_cmpuint(at_irq.up, >=, 1);
    g_assert_cmphex(vd_isr(&x->d), ==, 3);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "PCI-COMMON-3", common_3, NORM_BARE, NULL },
        { "PCI-COMMON-4", common_4, 0, NULL },
        { "PCI-COMMON-5", common_5, 0, NULL },
        { "PCI-COMMON-6", common_6, NORM_START, NULL },
        { "PCI-COMMON-7", common_7, NORM_START, NULL },
        { "PCI-COMMON-8", common_8, NORM_START, NULL },
        { "PCI-COMMON-9", common_9, NORM_START, NULL },
        { "PCI-COMMON-10", common_10, NORM_START, NULL },
        { "PCI-COMMON-11", common_11, NORM_START, NULL },
        { "PCI-COMMON-12", common_12, NORM_START, NULL },
        { "PCI-COMMON-13", common_13, NORM_START, NULL },
        { "PCI-COMMON-14", common_14, NORM_BARE, NULL },
        { "PCI-COMMON-15", common_15, NORM_BARE, NULL },
        { "PCI-COMMON-16", common_16, NORM_BARE, NULL },
        { "PCI-ISR-2", isr_2, NORM_START, NULL },
        { "PCI-ISR-3", isr_3, NORM_START, NULL },
        { "PCI-ISR-4", isr_4, NORM_START, NULL },
        { "PCI-ISR-5", isr_5, NORM_START, NULL },
        { "PCI-MSIX-1", msix_1, NORM_BARE, NULL },
        { "PCI-MSIX-2", msix_2, NORM_BARE, NULL },
        { "PCI-MSIX-3", msix_3, NORM_BARE, NULL },
        { "PCI-MSIX-4", msix_4, NORM_MSIX | NORM_START, NULL },
        { "PCI-MSIX-5", msix_5, NORM_MSIX | NORM_START, NULL },
        { "PCI-MSIX-6", msix_6, NORM_MSIX | NORM_START, NULL },
        { "PCI-MSIX-7", msix_7, NORM_MSIX | NORM_START, NULL },
        { "PCI-MSIX-8", msix_8, 0, ", 'vectors': 64" },
        { "PCI-MSIX-9", msix_9, NORM_MSIX | NORM_START, NULL },
        { "PCI-USEDNOTIF-1", usednotif_1, NORM_MSIX | NORM_START, NULL },
        { "PCI-CFGNOTIF-1", cfgnotif_1, NORM_MSIX | NORM_START, NULL },
        { "TXT-PCI-CFGNOTIF-1", txt_cfgnotif_1, NORM_START, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
