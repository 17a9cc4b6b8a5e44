/* Normative sentences about status, features, reset, configuration space and reserved feature bits
 * (VIRTIO 1.4, 2.1-2.6, 2.10, 2.11, 6). */
#include "hw/virtio/virtio-net.h"
#include "memory/iommu.h"
#include "tests/conformance/norm.h"

#define EVENT_IDX       NORM_BIT(29)
#define VERSION_1       NORM_BIT(32)
#define ACCESS_PLATFORM NORM_BIT(33)
#define IN_ORDER        NORM_BIT(35)

static void status_1(Norm *x)
{
    NORM("CORE-STATUS-1");
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    vd_setup_queue(&x->d, 0, 0);
    norm_add(x);
    norm_go(x);
    g_assert_cmpuint(x->s->requests, ==, 0);
    g_assert_true(norm_idle(x));
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
    vd_driver_ok(&x->d);
    board_run(x->b);
    norm_used(x, 0, 4);
}

static void status_2(Norm *x)
{
    NORM("CORE-STATUS-2");
    vring_avail(x->r, 999);
    norm_go(x);
    g_assert_cmphex(vd_status(&x->d), ==, 0x4f);
}

static void status_3(Norm *x)
{
    NORM("CORE-STATUS-3");
    vring_avail(x->r, 999);
    norm_go(x);
    g_assert_cmphex(vd_isr(&x->d) & 2, ==, 2);
    /* Not before DRIVER_OK. */
    vd_set_status(&x->d, 0);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    virtio_fail(&x->s->vd, "test");
    g_assert_cmphex(vd_status(&x->d), ==, 0x4b);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

/* 5.1.3.1, and nothing among the transport's bits that are offered. need2 0: need alone. */
static const struct {
    uint8_t id, feature, need, need2;
    const char *off, *off2; /* properties of what is needed */
} requires[] = {
    { 1, NET_F_GUEST_TSO4, NET_F_GUEST_CSUM, 0, "guest_csum", NULL },
    { 1, NET_F_GUEST_TSO6, NET_F_GUEST_CSUM, 0, "guest_csum", NULL },
    { 1, NET_F_GUEST_ECN, NET_F_GUEST_TSO4, NET_F_GUEST_TSO6, "guest_tso4", "guest_tso6" },
    { 1, NET_F_GUEST_UFO, NET_F_GUEST_CSUM, 0, "guest_csum", NULL },
    { 1, NET_F_GUEST_USO4, NET_F_GUEST_CSUM, 0, "guest_csum", NULL },
    { 1, NET_F_GUEST_USO6, NET_F_GUEST_CSUM, 0, "guest_csum", NULL },
    { 1, NET_F_HOST_TSO4, NET_F_CSUM, 0, "csum", NULL },
    { 1, NET_F_HOST_TSO6, NET_F_CSUM, 0, "csum", NULL },
    { 1, NET_F_HOST_ECN, NET_F_HOST_TSO4, NET_F_HOST_TSO6, "host_tso4", "host_tso6" },
    { 1, NET_F_HOST_UFO, NET_F_CSUM, 0, "csum", NULL },
    { 1, NET_F_HOST_USO, NET_F_CSUM, 0, "csum", NULL },
    { 1, NET_F_CTRL_RX, NET_F_CTRL_VQ, 0, "ctrl_vq", NULL },
    { 1, NET_F_CTRL_VLAN, NET_F_CTRL_VQ, 0, "ctrl_vq", NULL },
    { 1, NET_F_GUEST_ANNOUNCE, NET_F_CTRL_VQ, 0, "ctrl_vq", NULL },
    { 1, NET_F_MQ, NET_F_CTRL_VQ, 0, "ctrl_vq,mq", NULL },
    { 1, NET_F_CTRL_MAC_ADDR, NET_F_CTRL_VQ, 0, "ctrl_vq", NULL },
};

static void check_requires(Norm *x, const char *driver)
{
    const VirtioDev *d = norm_pci(x)->vd;

    for (unsigned i = 0; i < G_N_ELEMENTS(requires); i++) {
        for (unsigned legacy = 0; legacy < 2; legacy++) {
            VirtioFeatures f = virtio_offered(d, legacy);

            if (d->ops->id == requires[i].id && vf_has(f, requires[i].feature)) {
                g_assert_true(vf_has(f, requires[i].need) ||
                              (requires[i].need2 && vf_has(f, requires[i].need2)));
            }
        }
    }
}

static void feat_1(Norm *x)
{
    NORM("CORE-FEAT-1");
    norm_types(check_requires);
    for (unsigned i = 0; i < G_N_ELEMENTS(requires); i++) {
        g_auto(GStrv) off = g_strsplit(requires[i].off, ",", 2);
        g_autofree char *second = requires[i].off2
                                      ? g_strdup_printf(", '%s': false", requires[i].off2)
                                      : g_strdup(off[1] ? ", 'mq': true" : "");
        g_autofree char *opts = g_strdup_printf(", '%s': false%s", off[0], second);

        norm_open(x, "virtio-net-pci", opts, 0);
        g_assert_false(vf_has(norm_pci(x)->vd->host_features, requires[i].need));
        check_requires(x, "virtio-net-pci");
        norm_close(x);
    }
    x->b = NULL;
}

static void feat_2(Norm *x)
{
    uint64_t offered = vd_offered(&x->d) & ~VERSION_1, f = 0;

    NORM("CORE-FEAT-2");
    do { /* every subset of what is offered */
        g_assert_true(vd_negotiate(&x->d, f | VERSION_1));
        f = (f - offered) & offered;
    } while (f);
    for (unsigned i = 0; i < 64; i++) {
        if (!((offered | VERSION_1) >> i & 1)) {
            g_assert_false(vd_negotiate(&x->d, VERSION_1 | NORM_BIT(i)));
            g_assert_cmphex(vd_status(&x->d), ==, 3);
        }
    }
    for (unsigned w = 2; w < 6; w++) { /* bits 64 and up, those that no register holds too */
        vd_set_status(&x->d, 0);
        vd_set_status(&x->d, 3);
        vd_write(&x->d, 8, 4, 1);
        vd_write(&x->d, 0xc, 4, 1);
        vd_write(&x->d, 8, 4, w);
        vd_write(&x->d, 0xc, 4, 1u << w);
        vd_set_status(&x->d, 11);
        g_assert_cmphex(vd_status(&x->d), ==, 3);
    }
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
}

/* Bits of 2.2 and 5 that each type defines; reserved ones (6.3) and those that we do not know are
 * not among them. */
static void check_known(Norm *x, const char *driver)
{
    static const struct {
        uint16_t id;
        uint64_t bits;
    } known[] = {
        { 1, 0xf000000000ffffaf | 0x01c0000000000000 },
        { 2, 0x0000000000027e76 },
        { 3, 0x7 },
        { 4, 0 },
        { 5, 0x3f },
        { 8, 0xf },
        { 16, 0x1f },
        { 18, 0 },
        { 19, 0x7 },
        { 40, 0 },
    };
    const VirtioDev *d = norm_pci(x)->vd;
    uint64_t ring = NORM_BIT(28) | EVENT_IDX | VERSION_1 | NORM_BIT(40), bits = UINT64_MAX;
    VirtioFeatures f = virtio_offered(d, false);

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        bits = known[i].id == d->ops->id ? known[i].bits : bits;
    }
    g_assert_cmphex(bits, !=, UINT64_MAX);
    g_assert_cmphex(f.word[0] & ~(bits | ring), ==, 0);
    g_assert_cmphex(f.word[1], ==, 0);
}

static void feat_3(Norm *x)
{
    NORM("CORE-FEAT-3");
    norm_types(check_known);
}

static void feat_4(Norm *x)
{
    NORM("CORE-FEAT-4");
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    }
    pci_fn_reset(&x->dev->obj); /* a system reset; BARs are gone */
    vd_open(&x->d, &x->b->port, 0, NORM_DEVFN, false);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
}

static void reset_1(Norm *x)
{
    NORM("CORE-RESET-1");
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    /* A device that cannot let go yet: not before. */
    norm_start(x, 0);
    x->s->on_request = norm_hold;
    x->s->keep_on_stop = true;
    norm_add(x);
    norm_go(x);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
    norm_push(x, 0);
    board_run(x->b);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    /* The other resets: of the function, of the system. */
    x->s->on_request = NULL;
    norm_start(x, 0);
    norm_one(x);
    pci_fn_reset(&x->dev->obj); /* BARs are gone, too */
    vd_open(&x->d, &x->b->port, 0, NORM_DEVFN, false);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    g_assert_false(x->s->vd.started);
}

static void reset_2(Norm *x)
{
    NORM("CORE-RESET-2");
    for (unsigned held = 0; held < 2; held++) { /* reset when idle, and with a request out */
        unsigned before;

        x->s->on_request = held ? norm_hold : NULL;
        norm_start(x, 0);
        norm_add(x);
        norm_go(x);
        vd_set_status(&x->d, 0);
        g_assert_cmphex(vd_status(&x->d), ==, 0);
        before = x->s->requests;
        norm_fill(x, x->r->device, 0x5a, 64);
        norm_add(x);
        norm_go(x);
        vd_set_status(&x->d, 3); /* not yet: the driver has only begun */
        norm_go(x);
        virtio_config_changed(&x->s->vd);
        g_assert_cmpuint(x->s->requests, ==, before);
        for (unsigned i = 0; i < 64; i++) {
            uint8_t byte;

            x->b->port.read(x->b, x->r->device + i, &byte, 1);
            g_assert_cmphex(byte, ==, 0x5a);
        }
        g_assert_cmphex(vd_isr(&x->d), ==, 0);
        g_assert_false(x->b->intx[4][0]);
    }
    norm_close(x);
    /* Nor a message that was pending, masked, when the reset came. */
    norm_open(x, "dummy-pci", NULL, NORM_MSIX | NORM_START);
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, x->d.cap_msix + 2, 2, 0xc000);
    norm_add(x);
    norm_go(x);
    virtio_config_changed(&x->s->vd);
    vd_set_status(&x->d, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 0);
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, x->d.cap_msix + 2, 2, 0x8000);
    for (unsigned v = 0; v < 3; v++) {
        g_assert_cmphex(vd_msi(&x->d, v), ==, 0);
    }
}

/* Each byte that the device has then, reads before as it does after FEATURES_OK. */
static void check_early_config(Norm *x, const char *driver)
{
    static const uint8_t steps[] = { 0, 1, 3 };
    unsigned len = (unsigned)virtio_config_len(norm_pci(x)->vd);
    uint8_t early[3][256];

    g_assert_cmpuint(len, <=, sizeof early[0]);
    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        vd_set_status(&x->d, steps[i]);
        for (unsigned off = 0; off < len; off++) {
            early[i][off] = (uint8_t)norm_dev(x, off, 1);
        }
    }
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
    for (unsigned off = 0; off < len; off++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
            g_assert_cmphex(early[i][off], ==, norm_dev(x, off, 1));
        }
    }
}

static void cfg_1(Norm *x)
{
    NORM("CORE-CFG-1");
    memcpy(x->s->config, "abcdefgh", 8);
    for (unsigned off = 0; off < 8; off++) {
        g_assert_cmphex(norm_dev(x, off, 1), ==, 'a' + off);
    }
    check_early_config(x, "dummy-pci");
    norm_close(x);
    norm_types(check_early_config);
    x->b = NULL;
}

static void qreset_1(Norm *x)
{
    NORM("CORE-QRESET-1");
    x->s->on_request = norm_hold;
    x->s->keep_on_stop = true;
    norm_add(x);
    norm_go(x);
    norm_reset_queue(x);
    norm_add(x);
    norm_go(x);
    norm_push(x, 0); /* finished too late: nobody hears of it */
    board_run(x->b);
    g_assert_cmpuint(x->s->requests, ==, 1);
    g_assert_true(norm_idle(x));
    /* Nor when the queue is in use again by then. */
    vd_setup_queue(&x->d, 0, 0);
    norm_add(x);
    norm_go(x);
    norm_reset_queue(x);
    vd_setup_queue(&x->d, 0, 0);
    norm_push(x, 0);
    board_run(x->b);
    g_assert_cmpuint(x->s->requests, ==, 2);
    g_assert_cmpuint(vring_used_idx(x->r), ==, 0);
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
    g_assert_cmphex(vd_status(&x->d), ==, 15);
}

static void qreset_2(Norm *x)
{
    static const uint8_t regs[] = { 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34 };

    NORM("CORE-QRESET-2");
    norm_reset_queue(x);
    vd_setup_queue(&x->d, 0, 4);
    vd_write(&x->d, 0x1a, 2, 1);
    g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 1);
    for (unsigned i = 0; i < 3; i++) {
        norm_one(x);
    }
    norm_reset_queue(x);
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        g_assert_cmphex(vd_read(&x->d, regs[i], i ? 4 : 2), ==, 0);
    }
    g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, 16);
    g_assert_cmphex(vd_read(&x->d, 0x1a, 2), ==, 0xffff);
    vd_setup_queue(&x->d, 0, 0); /* both indices start at 0 again */
    norm_add(x);
    norm_go(x);
    g_assert_cmpuint(x->s->requests, ==, 4);
    g_assert_cmpuint(vring_used_idx(x->r), ==, 1);
    norm_used(x, 0, 4);
}

static void qreenable_1(Norm *x)
{
    NORM("CORE-QREENABLE-1");
    for (unsigned size = 16; size >= 2; size /= 2) {
        norm_reset_queue(x);
        vd_setup_queue(&x->d, 0, (uint16_t)size); /* at another address, too */
        g_assert_cmpuint(vd_read(&x->d, 0x18, 2), ==, size);
        for (unsigned i = 0; i < 2 * size; i++) {
            uint16_t id = norm_add(x);

            norm_go(x);
            norm_used(x, id, 4);
        }
    }
}

/* 2.10: what lies in a shared region is in no other structure, nor in the vectors' table. */
static void check_shm(Norm *x, const char *driver)
{
    NormRange shm, other;

    for (unsigned n = 0; norm_range(x, 8, n, &shm); n++) {
        for (unsigned type = 1; type <= 5; type++) {
            for (unsigned i = 0; norm_range(x, type, i, &other); i++) {
                g_assert_true(shm.bar != other.bar || shm.at >= other.at + other.len ||
                              other.at >= shm.at + shm.len);
            }
        }
        g_assert_cmpuint(shm.bar, !=, 1);
    }
}

static void shm_region_1(Norm *x)
{
    NORM("SHM-REGION-1");
    norm_types(check_shm);
    norm_open(x, "dummy-pci", ", 'shm-size': 196608", 0);
    g_assert_cmpuint(norm_cap(x, 8, 1), !=, 0);
    check_shm(x, "dummy-pci");
}

/* Types whose definition exports objects (2.11): GPU, video, media. */
static void check_no_objects(Norm *x, const char *driver)
{
    const VirtioDev *d = norm_pci(x)->vd;
    unsigned id = d->ops->id;

    /* A GPU exports resources with RESOURCE_UUID alone (5.7.3). */
    g_assert_true(id != 30 && id != 31 && id != 48);
    g_assert_false(id == 16 && virtio_offered(d, false).word[0] >> 2 & 1);
}

static void exporting_1(Norm *x)
{
    NORM("TXT-CORE-EXPORTING-OBJECTS-1");
    norm_types(check_no_objects);
    norm_note("no device type exports objects");
}

static void check_version_1(Norm *x, const char *driver)
{
    g_assert_true(virtio_offered(norm_pci(x)->vd, false).word[0] & VERSION_1);
}

static void bits_1(Norm *x)
{
    NORM("FEAT-BITS-1");
    norm_types(check_version_1);
}

static void bits_2(Norm *x)
{
    bool went_on;

    NORM("FEAT-BITS-2");
    went_on = vd_negotiate(&x->d, vd_offered(&x->d) & ~VERSION_1);
    norm_note("without VERSION_1 FEATURES_OK is %s", went_on ? "set" : "refused");
    g_assert_true(went_on || vd_status(&x->d) == 3);
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d)));
}

/* A platform where the device sees memory 1 MiB below where the driver put it. */
enum { SHIFT = 0x100000 };

static bool translate(Iommu *i, Iova at, bool write, IommuHit *ret)
{
    *ret = (IommuHit){ { at.v + SHIFT }, 4096 - at.v % 4096, true, true };
    return true;
}

static bool echoes(Norm *x, bool shifted)
{
    uint64_t less = shifted ? SHIFT : 0;
    const VBuf buf[] = { { x->page - less, 4, false }, { x->page + 0x1000 - less, 8, true } };

    norm_put(x, x->page, "plat");
    vring_add(x->r, buf, 2, 0);
    norm_go(x);
    return norm_is(x, x->page + 0x1000, "plat");
}

static void platform_start(Norm *x, uint64_t features, bool shifted)
{
    g_assert_true(vd_negotiate(&x->d, features));
    vd_setup_queue(&x->d, 0, 0);
    if (shifted) {
        vd_write(&x->d, 0x16, 2, 0);
        vd_write(&x->d, 0x3a, 2, 1); /* once more, elsewhere */
        uint64_t at[3] = { x->r->desc, x->r->driver, x->r->device };

        for (unsigned i = 0; i < 3; i++) {
            vd_write(&x->d, 0x20 + 8 * i, 4, at[i] - SHIFT);
        }
        vd_write(&x->d, 0x1c, 2, 1);
    }
    vd_driver_ok(&x->d);
    board_run(x->b);
}

static void bits_3(Norm *x)
{
    Iommu iommu = { translate, NULL };

    NORM("FEAT-BITS-3");
    g_assert_cmphex(vd_offered(&x->d) & ACCESS_PLATFORM, ==, ACCESS_PLATFORM);
    dma_space_set_iommu(((PciFn *)x->dev)->dma, &iommu);
    platform_start(x, vd_offered(&x->d), true);
    g_assert_true(echoes(x, true));
    dma_space_set_iommu(((PciFn *)x->dev)->dma, NULL);
}

static void bits_4(Norm *x)
{
    bool went_on;

    NORM("FEAT-BITS-4");
    went_on = vd_negotiate(&x->d, vd_offered(&x->d) & ~ACCESS_PLATFORM);
    norm_note("without ACCESS_PLATFORM FEATURES_OK is %s", went_on ? "set" : "refused");
    if (went_on) {
        platform_start(x, vd_offered(&x->d) & ~ACCESS_PLATFORM, false);
        g_assert_true(echoes(x, false));
    } else {
        g_assert_cmphex(vd_status(&x->d), ==, 3);
        vd_setup_queue(&x->d, 0, 0);
        g_assert_false(echoes(x, false));
    }
    g_assert_true(vd_negotiate(&x->d, vd_offered(&x->d))); /* the next driver may know better */
}

/* Finished last to first, nothing is seen before the first one is. A used entry may then name the
 * last of several (2.7.9, 2.8.9). */
static void bits_5(Norm *x)
{
    NORM("FEAT-BITS-5");
    for (unsigned packed = 0; packed < 2; packed++) {
        uint16_t id[4];
        uint32_t got, len;

        norm_open(x, "dummy-pci",
            packed ? ", 'in_order': true, 'packed': true" : ", 'in_order': true", NORM_START);
        g_assert_true(virtio_has(&x->s->vd, VIRTIO_F_IN_ORDER));
        x->s->on_request = norm_hold;
        for (unsigned i = 0; i < 4; i++) {
            id[i] = norm_add(x);
        }
        norm_go(x);
        for (unsigned i = 4; i-- > 1;) {
            norm_push(x, i);
            board_run(x->b);
            g_assert_true(norm_idle(x));
        }
        norm_push(x, 0);
        board_run(x->b);
        for (unsigned i = 0; i < 4; i++) {
            g_assert_true(vring_used(x->r, &got, &len));
            while (id[i] != got) {
                g_assert_cmpuint(++i, <, 4);
            }
        }
        norm_close(x);
    }
    x->b = NULL;
}

static void check_no_order_platform(Norm *x, const char *driver)
{
    g_assert_false(vf_has(virtio_offered(norm_pci(x)->vd, false), VIRTIO_F_ORDER_PLATFORM));
}

static void bits_6(Norm *x)
{
    NORM("FEAT-BITS-6");
    norm_types(check_no_order_platform);
    norm_note("ORDER_PLATFORM is not offered: the device is a CPU and orders as one");
}

static void bits_7(Norm *x)
{
    NORM("FEAT-BITS-7");
    norm_types(check_no_order_platform);
    norm_note("ORDER_PLATFORM is not offered, there is no slower mode");
}

/* Speaks of add-in cards; ours is none. What of it each type offers, it can do. */
static void check_platform(Norm *x, const char *driver)
{
    uint64_t offered = vd_offered(&x->d);

    g_assert_cmphex(offered & (ACCESS_PLATFORM | NORM_BIT(36)), ==, ACCESS_PLATFORM);
    vd_start(&x->d, 0);
    g_assert_true(virtio_has(norm_pci(x)->vd, VIRTIO_F_ACCESS_PLATFORM));
    vd_set_status(&x->d, 0);
}

static void bits_8(Norm *x)
{
    NORM("FEAT-BITS-8");
    norm_modern_types(", 'iommu_platform': true", check_platform);
    norm_note("no add-in card: ACCESS_PLATFORM by iommu_platform=on, ORDER_PLATFORM never");
}

/* Extended capabilities, when there are any: 10h is SR-IOV. */
static bool has_sriov(const PciFn *f)
{
    for (unsigned at = 0x100; f->config_size > 0x100 && at; at = pci_get32(f, at) >> 20) {
        if ((pci_get32(f, at) & 0xffff) == 0x10) {
            return true;
        }
    }
    return false;
}

static void check_sriov(Norm *x, const char *driver)
{
    bool offered = vf_has(virtio_offered(norm_pci(x)->vd, false), VIRTIO_F_SR_IOV);

    g_assert_true(!offered || has_sriov(&norm_pci(x)->fn));
}

static void bits_9(Norm *x)
{
    NORM("FEAT-BITS-9");
    norm_types(check_sriov);
}

int main(int argc, char **argv)
{
#define SPACE ", 'disable-legacy': 'on', 'iommu_platform': true"
    static const NormTest tests[] = {
        { "CORE-STATUS-1", status_1, 0, NULL },
        { "CORE-STATUS-2", status_2, NORM_START, NULL },
        { "CORE-STATUS-3", status_3, NORM_START, NULL },
        { "CORE-FEAT-1", feat_1, NORM_BARE, NULL },
        { "CORE-FEAT-2", feat_2, 0, ", 'packed': true, 'in_order': true" },
        { "CORE-FEAT-3", feat_3, NORM_BARE, NULL },
        { "CORE-FEAT-4", feat_4, 0, NULL },
        { "CORE-RESET-1", reset_1, NORM_START, NULL },
        { "CORE-RESET-2", reset_2, NORM_START, NULL },
        { "CORE-CFG-1", cfg_1, 0, NULL },
        { "CORE-QRESET-1", qreset_1, NORM_START, NULL },
        { "CORE-QRESET-2", qreset_2, NORM_START, NULL },
        { "CORE-QREENABLE-1", qreenable_1, NORM_START, NULL },
        { "SHM-REGION-1", shm_region_1, NORM_BARE, NULL },
        { "TXT-CORE-EXPORTING-OBJECTS-1", exporting_1, NORM_BARE, NULL },
        { "FEAT-BITS-1", bits_1, NORM_BARE, NULL },
        { "FEAT-BITS-2", bits_2, 0, NULL },
        { "FEAT-BITS-3", bits_3, 0, SPACE },
        { "FEAT-BITS-4", bits_4, 0, SPACE },
        { "FEAT-BITS-5", bits_5, NORM_BARE, NULL },
        { "FEAT-BITS-6", bits_6, NORM_BARE, NULL },
        { "FEAT-BITS-7", bits_7, NORM_BARE, NULL },
        { "FEAT-BITS-8", bits_8, NORM_BARE, NULL },
        { "FEAT-BITS-9", bits_9, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
