/* Normative sentences of the legacy interface (VIRTIO 1.4: 2.2.3, 2.7.2, 2.7.3, 3.1.2, 4.1.2.3,
 * 4.1.4.10, 4.1.5.1.1.1, 6.3). */
#include "hw/virtio/virtio-net.h"
#include "tests/conformance/norm.h"

static uint64_t reg(const Norm *x, unsigned off, unsigned size)
{
    return x->b->port.load(x->b, true, x->d.bar[0] + off, size);
}

static void set(const Norm *x, unsigned off, unsigned size, uint64_t val)
{
    x->b->port.store(x->b, true, x->d.bar[0] + off, size, val);
}

static void core_feat_2(Norm *x)
{
    NORM("LEG-CORE-FEAT-2");
    norm_start(x, 0);
    norm_one(x);
    g_assert_true(x->s->vd.legacy);
    norm_close(x);
    norm_open(x, "dummy-pci", NULL, NORM_START);
    norm_one(x);
    g_assert_false(x->s->vd.legacy);
    norm_close(x);
    /* What it is for: virtio-net's header is 10 bytes then, and 12 for a modern driver (5.1.6.1).
     */
    for (unsigned legacy = 0; legacy < 2; legacy++) {
        norm_open(x, "virtio-net-pci", NULL, legacy ? NORM_LEGACY : 0);
        vd_start(&x->d, NORM_BIT(15));
        g_assert_cmpuint(((VirtioNet *)norm_pci(x)->vd)->hdr_len, ==, legacy ? 10 : 12);
        norm_close(x);
    }
    x->b = NULL;
}

static void check_optional(Norm *x, const char *driver)
{
    bool want = !norm_is_modern(x);

    g_assert_cmpint(norm_transitional(x), ==, want);
    g_assert_cmpint(norm_cfg(x, 0x10, 4) & 1, ==, want);
}

static void core_feat_3(Norm *x)
{
    NORM("LEG-CORE-FEAT-3");
    norm_types(check_optional);
    norm_note("the legacy interface is there, but for the -non-transitional types");
}

/* A legacy driver's whole life. */
static void core_feat_4(Norm *x)
{
    NORM("LEG-CORE-FEAT-4");
    for (unsigned i = 0; i < 3; i++) {
        norm_start(x, 0);
        g_assert_cmphex(vd_status(&x->d), ==, 7);
        for (unsigned n = 0; n < 20; n++) {
            vport_w16(&x->b->port, x->r->driver + 4 + x->r->size * 2u, (uint16_t)n);
            norm_one(x);
            g_assert_cmphex(vd_isr(&x->d), ==, 1);
        }
        vd_set_status(&x->d, 0);
        g_assert_cmphex(reg(x, 8, 4), ==, 0);
    }
}

/* Guest memory that the layout of 2.7.2 does not give to the queue stays as it was. */
static void vring_1(Norm *x)
{
    unsigned size = (unsigned)reg(x, 0x0c, 2), bytes;

    NORM("LEG-SPLIT-VRING-1");
    g_assert_cmpuint(size, ==, 16);
    set(x, 0x0c, 2, 4); /* the device chooses it */
    g_assert_cmpuint(reg(x, 0x0c, 2), ==, size);
    bytes = (16 * size + 2 * (3 + size) + 4095) / 4096 * 4096 + (6 + 8 * size + 4095) / 4096 * 4096;
    norm_start(x, 0);
    norm_fill(x, x->r->desc - 16, 0xc3, 16);
    norm_fill(x, x->r->desc + bytes, 0xc3, 16);
    for (unsigned i = 0; i < 40; i++) {
        norm_one(x);
    }
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(vport_r32(&x->b->port, x->r->desc - 16 + 4 * i), ==, 0xc3c3c3c3);
        g_assert_cmphex(vport_r32(&x->b->port, x->r->desc + bytes + 4 * i), ==, 0xc3c3c3c3);
    }
}

static void vring_2(Norm *x)
{
    uint64_t at = x->page + 0x4000, avail = at + 16 * 16, used = at + 4096;
    const VPort *p = &x->b->port;

    NORM("LEG-SPLIT-VRING-2");
    g_assert_true(vd_negotiate(&x->d, 0));
    set(x, 0x0e, 2, 0);
    set(x, 8, 4, at / 4096);
    g_assert_cmphex(reg(x, 8, 4), ==, at / 4096);
    vd_driver_ok(&x->d);
    norm_put(x, x->page, "leg");
    vport_w64(p, at + 3 * 16, x->page);
    vport_w32(p, at + 3 * 16 + 8, 3);
    vport_w16(p, at + 3 * 16 + 12, VRING_NEXT);
    vport_w16(p, at + 3 * 16 + 14, 5);
    vport_w64(p, at + 5 * 16, x->page + 0x1000);
    vport_w32(p, at + 5 * 16 + 8, 8);
    vport_w16(p, at + 5 * 16 + 12, VRING_WRITE);
    vport_w16(p, avail + 4, 3);
    vport_w16(p, avail + 2, 1);
    norm_go(x);
    g_assert_true(norm_is(x, x->page + 0x1000, "leg"));
    g_assert_cmpuint(vport_r16(p, used + 2), ==, 1);
    g_assert_cmpuint(vport_r32(p, used + 4), ==, 3);
    g_assert_cmpuint(vport_r32(p, used + 8), ==, 3);
}

/* The guest is an x86: little endian. */
static void endian_1(Norm *x)
{
    uint8_t got[12];

    NORM("LEG-SPLIT-ENDIAN-1");
    norm_start(x, 0);
    x->r->free_head = 1;
    norm_add(x);
    norm_go(x);
    x->b->port.read(x->b, x->r->device, got, 12);
    g_assert_cmpmem(got, 12, "\0\0\1\0\1\0\0\0\4\0\0\0", 12);
    memcpy(x->s->config, "\1\2\3\4\5\6\7\10", 8);
    g_assert_cmphex(norm_dev(x, 0, 4), ==, 0x04030201);
}

static void init_2(Norm *x)
{
    NORM("LEG-INIT-INIT-2");
    for (unsigned status = 0; status <= 3; status += status + 1) { /* 0, 1, 3 */
        vd_set_status(&x->d, (uint8_t)status);
        norm_dev_write(x, 4, 4, 0x11110000 + status);
        g_assert_cmphex(norm_dev(x, 4, 4), ==, 0x11110000 + status);
        g_assert_cmphex(x->s->config[4], ==, status);
    }
}

static void init_3(Norm *x)
{
    NORM("LEG-INIT-INIT-3");
    g_assert_true(vd_negotiate(&x->d, 0));
    vd_setup_queue(&x->d, 0, 0);
    norm_one(x);
    g_assert_cmphex(vd_status(&x->d), ==, 3);
    g_assert_cmphex(vd_isr(&x->d), ==, 1);
    vd_driver_ok(&x->d);
    norm_one(x);
}

static void check_revision(Norm *x, const char *driver)
{
    if (norm_transitional(x)) {
        g_assert_cmpuint(norm_cfg(x, 8, 1), ==, 0);
    }
}

static void disc_1(Norm *x)
{
    NORM("LEG-PCI-DISC-1");
    norm_types(check_revision);
}

static void check_subsystem(Norm *x, const char *driver)
{
    if (norm_transitional(x)) {
        g_assert_cmpuint(norm_cfg(x, 0x2e, 2), ==, norm_pci(x)->vd->ops->id);
    }
}

static void disc_2(Norm *x)
{
    NORM("LEG-PCI-DISC-2");
    norm_types(check_subsystem);
}

static void check_id_range(Norm *x, const char *driver)
{
    if (!norm_is_modern(x)) {
        g_assert_cmphex(norm_cfg(x, 2, 2), >=, 0x1000);
        g_assert_cmphex(norm_cfg(x, 2, 2), <=, 0x103f);
    }
}

static void disc_3(Norm *x)
{
    NORM("LEG-PCI-DISC-3");
    norm_types(check_id_range);
}

/* Each register at its place. */
static void layout_1(Norm *x)
{
    NORM("LEG-PCI-LAYOUT-1");
    g_assert_cmphex(norm_cfg(x, 0x10, 4) & 3, ==, 1);
    g_assert_cmphex(reg(x, 0, 4), ==, vd_offered(&x->d));
    set(x, 0x12, 1, 3);
    g_assert_cmphex(reg(x, 0x12, 1), ==, 3);
    set(x, 4, 4, 1u << 28);
    g_assert_cmphex(reg(x, 4, 4), ==, 1u << 28);
    set(x, 0x0e, 2, 1);
    g_assert_cmphex(reg(x, 0x0e, 2), ==, 1);
    g_assert_cmphex(reg(x, 0x0c, 2), ==, 8);
    set(x, 8, 4, x->page / 4096);
    g_assert_cmphex(reg(x, 8, 4), ==, x->page / 4096);
    vd_set_status(&x->d, 7);
    virtio_config_changed(&x->s->vd);
    g_assert_cmphex(reg(x, 0x13, 1), ==, 2);
    g_assert_cmphex(reg(x, 0x13, 1), ==, 0);
    set(x, 0x10, 2, 1);
    board_run(x->b);
    g_assert_cmpuint(x->s->refills, >, 0);
    vd_enable_msix(&x->d);
    set(x, 0x14, 2, 2);
    g_assert_cmphex(reg(x, 0x14, 2), ==, 2);
    set(x, 0x16, 2, 1);
    g_assert_cmphex(reg(x, 0x16, 2), ==, 1);
    set(x, 0x12, 1, 0);
    g_assert_cmphex(reg(x, 8, 4), ==, 0);
}

/* Device configuration in any width, at any place, read and written. */
static void layout_3(Norm *x)
{
    static const uint8_t bytes[8] = { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88 };
    uint64_t all;

    NORM("LEG-PCI-LAYOUT-3");
    for (unsigned msix = 0; msix < 2; msix++) {
        if (msix) {
            vd_enable_msix(&x->d);
        }
        memcpy(x->s->config, bytes, 8);
        memcpy(&all, bytes, 8);
        for (unsigned size = 1; size <= 4; size *= 2) {
            for (unsigned off = 0; off + size <= 8; off++) {
                uint64_t mask = (1ull << (8 * size)) - 1;

                g_assert_cmphex(norm_dev(x, off, size), ==, all >> (8 * off) & mask);
                norm_dev_write(x, off, size, 0xa5a5a5a5 & mask);
                for (unsigned i = 0; i < 8; i++) {
                    bool in = i >= off && i < off + size;

                    g_assert_cmphex(x->s->config[i], ==, in ? 0xa5 : bytes[i]);
                }
                memcpy(x->s->config, bytes, 8);
            }
        }
    }
}

static void layout_5(Norm *x)
{
    NORM("LEG-PCI-LAYOUT-5");
    memcpy(x->s->config, "abcdefgh", 8);
    g_assert_cmphex(reg(x, 20, 1), ==, 'a');
    g_assert_cmphex(reg(x, 27, 1), ==, 'h');
    vd_enable_msix(&x->d);
    g_assert_cmphex(reg(x, 24, 1), ==, 'a');
    g_assert_cmphex(reg(x, 31, 1), ==, 'h');
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, x->d.cap_msix + 2, 2, 0);
    g_assert_cmphex(reg(x, 20, 1), ==, 'a');
}

static void expect_32_bits(Norm *x)
{
    g_assert_cmphex(x->s->vd.features.word[0] >> 32, ==, 0);
    g_assert_cmphex(x->s->vd.features.word[1], ==, 0);
}

static void layout_6(Norm *x)
{
    NORM("LEG-PCI-LAYOUT-6");
    /* Left over in the modern registers by an earlier driver, reset behind it or not. */
    x->d.legacy = false;
    norm_start(x, 0);
    g_assert_cmphex(x->s->vd.features.word[0] >> 32, !=, 0);
    vd_set_status(&x->d, 0);
    for (unsigned w = 0; w < 4; w++) {
        vd_write(&x->d, 8, 4, w);
        vd_write(&x->d, 0xc, 4, w == 1 ? 1 : 0); /* VERSION_1 */
    }
    x->d.legacy = true;
    set(x, 0x12, 1, 3);
    set(x, 4, 4, vd_offered(&x->d));
    expect_32_bits(x);
    vd_setup_queue(&x->d, 0, 0);
    vd_driver_ok(&x->d);
    norm_one(x);
    g_assert_true(x->s->vd.legacy);
    vd_set_status(&x->d, 0);
    norm_start(x, 0);
    norm_one(x);
    expect_32_bits(x);
}

static void check_bar0(Norm *x, const char *driver)
{
    if (norm_transitional(x)) {
        g_assert_cmphex(norm_cfg(x, 0x10, 4) & 3, ==, 1);
        g_assert_cmphex(reg(x, 0, 4), ==, virtio_offered(norm_pci(x)->vd, true).word[0]);
        set(x, 0x12, 1, 1);
        g_assert_cmphex(reg(x, 0x12, 1), ==, 1);
    }
}

static void detect_1(Norm *x)
{
    NORM("LEG-PCI-DETECT-1");
    norm_types(check_bar0);
}

static void bits_1(Norm *x)
{
    NORM("LEG-FEAT-BITS-1");
    for (unsigned event = 0; event < 2; event++) {
        norm_start(x, event ? 0 : NORM_BIT(29));
        g_assert_true(virtio_has(&x->s->vd, VIRTIO_F_NOTIFY_ON_EMPTY));
        vport_w16(&x->b->port, x->r->driver, !event);                            /* NO_INTERRUPT */
        vport_w16(&x->b->port, x->r->driver + 4 + x->r->size * 2u, event * 99u); /* far away */
        norm_add(x);
        norm_add(x);
        norm_go(x);
        g_assert_cmphex(vd_isr(&x->d), ==, 1);
        norm_used(x, 0, 4);
        norm_used(x, 2, 4);
        vd_set_status(&x->d, 0);
        norm_start(x, NORM_BIT(24) | (event ? 0 : NORM_BIT(29))); /* not negotiated: quiet */
        vport_w16(&x->b->port, x->r->driver, !event);
        vport_w16(&x->b->port, x->r->driver + 4 + x->r->size * 2u, event * 99u);
        norm_one(x);
        g_assert_cmphex(vd_isr(&x->d), ==, 0);
        vd_set_status(&x->d, 0);
    }
}

static void check_any_layout(Norm *x, const char *driver)
{
    if (norm_transitional(x)) {
        g_assert_true(vf_has(virtio_offered(norm_pci(x)->vd, true), VIRTIO_F_ANY_LAYOUT));
    }
    g_assert_false(vf_has(virtio_offered(norm_pci(x)->vd, false), VIRTIO_F_ANY_LAYOUT));
}

static void bits_2(Norm *x)
{
    NORM("LEG-FEAT-BITS-2");
    norm_types(check_any_layout);
}

static void bits_3(Norm *x)
{
    NORM("LEG-FEAT-BITS-3");
    g_assert_cmphex(vd_offered(&x->d) >> 30 & 1, ==, 1);
    norm_start(x, 0);
    g_assert_false(virtio_has(&x->s->vd, VIRTIO_F_BAD_FEATURE));
    norm_one(x);
}

int main(int argc, char **argv)
{
    static const NormTest tests[] = {
        { "LEG-CORE-FEAT-2", core_feat_2, NORM_LEGACY, NULL },
        { "LEG-CORE-FEAT-3", core_feat_3, NORM_BARE, NULL },
        { "LEG-CORE-FEAT-4", core_feat_4, NORM_LEGACY, NULL },
        { "LEG-SPLIT-VRING-1", vring_1, NORM_LEGACY, NULL },
        { "LEG-SPLIT-VRING-2", vring_2, NORM_LEGACY, NULL },
        { "LEG-SPLIT-ENDIAN-1", endian_1, NORM_LEGACY, NULL },
        { "LEG-INIT-INIT-2", init_2, NORM_LEGACY, NULL },
        { "LEG-INIT-INIT-3", init_3, NORM_LEGACY, NULL },
        { "LEG-PCI-DISC-1", disc_1, NORM_BARE, NULL },
        { "LEG-PCI-DISC-2", disc_2, NORM_BARE, NULL },
        { "LEG-PCI-DISC-3", disc_3, NORM_BARE, NULL },
        { "LEG-PCI-LAYOUT-1", layout_1, NORM_LEGACY, NULL },
        { "LEG-PCI-LAYOUT-3", layout_3, NORM_LEGACY, NULL },
        { "LEG-PCI-LAYOUT-5", layout_5, NORM_LEGACY, NULL },
        { "LEG-PCI-LAYOUT-6", layout_6, NORM_LEGACY, NULL },
        { "LEG-PCI-DETECT-1", detect_1, NORM_BARE, NULL },
        { "LEG-FEAT-BITS-1", bits_1, NORM_LEGACY, NULL },
        { "LEG-FEAT-BITS-2", bits_2, NORM_BARE, NULL },
        { "LEG-FEAT-BITS-3", bits_3, NORM_LEGACY, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
