/* Normative sentences about virtio-pci: identity, capabilities, layouts, the configuration access
 * window (VIRTIO 1.4, 4.1.1-4.1.4). Registers and interrupts: test-norm-pci-regs.c. */
#include "hw/pci/pci.h"
#include "tests/conformance/norm.h"

#define NOTIF_DATA ", 'x-notification-data': true"

/* Capabilities. */
static uint64_t cap_offset(const Norm *x, unsigned cap)
{
    return norm_cfg(x, cap + 8, 4);
}

static uint64_t cap_length(const Norm *x, unsigned cap)
{
    return norm_cfg(x, cap + 12, 4);
}

/* PCI 3.0, 6.1-6.2, 6.7: header, BARs, list of capabilities. */
static void check_header(Norm *x, const char *driver)
{
    bool seen[256] = { 0 };
    unsigned n = 0;

    g_assert_cmphex(norm_cfg(x, 0x0e, 1), ==, 0);
    g_assert_cmphex(norm_cfg(x, 6, 2) & 0x10, ==, 0x10); /* has capabilities */
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, 0, 4, 0);
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, 0x34, 1, 0);
    g_assert_cmphex(norm_cfg(x, 0, 2), ==, 0x1af4);
    g_assert_cmphex(norm_cfg(x, 0x3d, 1), ==, 1);
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, 0x3c, 1, 0x5a);
    g_assert_cmphex(norm_cfg(x, 0x3c, 1), ==, 0x5a);
    for (unsigned c = norm_cfg(x, 0x34, 1); c; c = norm_cfg(x, c + 1, 1)) {
        g_assert_cmphex(c & 3, ==, 0);
        g_assert_cmphex(c, >=, 0x40);
        g_assert_false(seen[c]);
        seen[c] = true;
        n++;
    }
    g_assert_cmpuint(n, >=, 5);
    for (unsigned i = 0; i < 6; i++) {
        uint32_t was = norm_cfg(x, 0x10 + 4 * i, 4), mask;

        vd_cfg_write(&x->b->port, 0, NORM_DEVFN, 0x10 + 4 * i, 4, UINT32_MAX);
        mask = norm_cfg(x, 0x10 + 4 * i, 4) & ~(was & 1 ? 3u : 15u);
        vd_cfg_write(&x->b->port, 0, NORM_DEVFN, 0x10 + 4 * i, 4, was);
        g_assert_cmphex(norm_cfg(x, 0x10 + 4 * i, 4), ==, was);
        g_assert_cmphex(mask | (mask - 1), ==, UINT32_MAX); /* one run of ones, or nothing */
        i += !(was & 1) && (was & 6) == 4;
    }
}

static void bus_1(Norm *x)
{
    const PciFn *f;
    unsigned cap;

    NORM("PCI-BUS-1");
    norm_types(check_header);
    /* PCIe 5.0, 7.5.3 and 7.7: an endpoint behind a root port. */
    x->b = board_new(true);
    board_add(x->b, "{'driver': 'pcie-root-port', 'id': 'rp', 'addr': '2'}");
    x->dev = board_add(x->b, "{'driver': 'virtio-rng-pci', 'bus': 'rp', 'aer': true}");
    f = (PciFn *)x->dev;
    cap = f->pcie_cap;
    g_assert_cmphex(f->config[cap], ==, 0x10);
    g_assert_cmphex(f->config[cap + 2], ==, 2);              /* version 2, endpoint */
    g_assert_cmphex(pci_get32(f, cap + 4) >> 28 & 1, ==, 1); /* FLR */
    g_assert_cmpuint(f->config_size, ==, 4096);
    g_assert_cmphex(pci_get32(f, 0x100) & 0xffff, ==, 1); /* AER */
    g_assert_cmpuint(pci_find_cap(f, 1), !=, 0);          /* power management */
}

static void txt_disc_1(Norm *x)
{
    NORM("TXT-PCI-DISC-1");
    g_assert_cmphex(norm_cfg(x, 2, 2), ==, 0x1030);
    norm_note("types without suffix have transitional ids, unless disable-legacy=on");
    norm_close(x);
    norm_open(x, "dummy-pci", ", 'disable-legacy': 'on'", 0);
    g_assert_cmphex(norm_cfg(x, 2, 2), ==, 0x1040 + 40);
}

static void check_vendor(Norm *x, const char *driver)
{
    g_assert_cmphex(norm_cfg(x, 0, 2), ==, 0x1af4);
}

static void disc_1(Norm *x)
{
    NORM("PCI-DISC-1");
    norm_types(check_vendor);
}

static void check_device_id(Norm *x, const char *driver)
{
    static const uint16_t ids[][2] = { { 0x1000, 1 }, { 0x1001, 2 }, { 0x1002, 5 }, { 0x1003, 3 },
        { 0x1004, 8 }, { 0x1005, 4 }, { 0x1030, 40 } };
    unsigned id = norm_cfg(x, 2, 2), type = norm_pci(x)->vd->ops->id;

    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        if (ids[i][1] == type && id < 0x1040) {
            g_assert_cmphex(id, ==, ids[i][0]);
            return;
        }
    }
    g_assert_cmphex(id, ==, 0x1040 + type);
}

static void disc_2(Norm *x)
{
    NORM("PCI-DISC-2");
    norm_types(check_device_id);
}

static void disc_3(Norm *x)
{
    NORM("PCI-DISC-3");
    norm_note("subsystem %04x:%04x of a modern device", norm_cfg(x, 0x2c, 2), norm_cfg(x, 0x2e, 2));
    g_assert_cmphex(norm_cfg(x, 0x2c, 2), ==, 0x1af4);
}

static void check_modern_id(Norm *x, const char *driver)
{
    if (norm_is_modern(x)) {
        g_assert_cmphex(norm_cfg(x, 2, 2), >=, 0x1040);
        g_assert_cmphex(norm_cfg(x, 2, 2), <=, 0x107f);
    }
}

static void disc_4(Norm *x)
{
    NORM("PCI-DISC-4");
    norm_types(check_modern_id);
}

static void check_modern_revision(Norm *x, const char *driver)
{
    if (norm_is_modern(x)) {
        g_assert_cmphex(norm_cfg(x, 8, 1), >=, 1);
    }
}

static void disc_5(Norm *x)
{
    NORM("PCI-DISC-5");
    norm_types(check_modern_revision);
}

static void check_modern_subsystem(Norm *x, const char *driver)
{
    if (norm_is_modern(x)) {
        g_assert_cmphex(norm_cfg(x, 0x2e, 2), >=, 0x40);
    }
}

static void disc_6(Norm *x)
{
    NORM("PCI-DISC-6");
    norm_types(check_modern_subsystem);
}

static void layout_1(Norm *x)
{
    NORM("PCI-LAYOUT-1");
    memcpy(x->s->config, "\1\2\3\4\5\6\7\10", 8);
    g_assert_cmphex(norm_dev(x, 4, 4), ==, 0x08070605);
    g_assert_cmphex(norm_dev(x, 0, 4), ==, 0x04030201);
    norm_dev_write(x, 4, 4, 0xaabbccdd);
    g_assert_cmpmem(x->s->config, 8, "\1\2\3\4\xdd\xcc\xbb\xaa", 8);
    norm_dev_write(x, 0, 4, 0x11223344);
    g_assert_cmpmem(x->s->config, 8, "\x44\x33\x22\x11\xdd\xcc\xbb\xaa", 8);
    norm_dev_write(x, 4, 4, 0x01020304); /* the high half first, and last */
    g_assert_cmphex(norm_dev(x, 0, 4), ==, 0x11223344);
    g_assert_cmphex(norm_dev(x, 4, 4), ==, 0x01020304);
    vd_write(&x->d, 0x24, 4, 0x11223344); /* common configuration alike */
    vd_write(&x->d, 0x20, 4, 0x55667780);
    g_assert_cmphex(vd_read(&x->d, 0x24, 4), ==, 0x11223344);
    g_assert_cmphex(vd_read(&x->d, 0x20, 4), ==, 0x55667780);
    vd_write(&x->d, 0x24, 4, 0x99aabbcc);
    g_assert_cmphex(vd_read(&x->d, 0x24, 4), ==, 0x99aabbcc);
    g_assert_cmphex(vd_read(&x->d, 0x20, 4), ==, 0x55667780);
}

static void txt_cap_2(Norm *x)
{
    unsigned n[6] = { 0 };

    NORM("TXT-PCI-CAP-2");
    for (unsigned type = 1; type <= 5; type++) {
        while (norm_cap(x, type, n[type])) {
            n[type]++;
        }
        g_assert_cmpuint(n[type], >=, 1);
    }
    norm_note("with modern-pio-notify %u notification structures, else one of each", n[2]);
}

static void check_cap_len(Norm *x, const char *driver)
{
    uint8_t owner[256] = { 0 };

    for (unsigned c = norm_cfg(x, 0x34, 1); c; c = norm_cfg(x, c + 1, 1)) {
        unsigned len = 2;

        if (norm_cfg(x, c, 1) == 9) {
            unsigned type = norm_cfg(x, c + 3, 1);

            len = norm_cfg(x, c + 2, 1);
            g_assert_cmpuint(len, ==, type == 2 || type == 5 ? 20 : 16);
        }
        for (unsigned i = c; i < c + len; i++) { /* nobody else's bytes are inside */
            g_assert_cmpuint(owner[i], ==, 0);
            owner[i] = 1;
        }
    }
}

static void cap_1(Norm *x)
{
    NORM("PCI-CAP-1");
    norm_types(check_cap_len);
    norm_open(x, "dummy-pci", ", 'modern-pio-notify': true", 0);
    check_cap_len(x, "dummy-pci");
}

static void cap_2(Norm *x)
{
    NORM("PCI-CAP-2");
    norm_note("the common structure is 64 bytes in a part of %u",
        (unsigned)cap_length(x, norm_cap(x, 1, 0)));
    g_assert_cmpuint(cap_length(x, norm_cap(x, 1, 0)), >=, 64);
    g_assert_cmphex(vd_read(&x->d, 64, 4), ==, 0); /* the padding */
}

/* A port write costs a hypervisor less than one to memory: the driver finds it first. */
static void cap_3(Norm *x)
{
    unsigned first = norm_cap(x, 2, 0), second = norm_cap(x, 2, 1);

    NORM("PCI-CAP-3");
    g_assert_cmphex(norm_cfg(x, 0x10 + 4 * norm_cfg(x, first + 4, 1), 4) & 1, ==, 1);
    g_assert_cmphex(norm_cfg(x, 0x10 + 4 * norm_cfg(x, second + 4, 1), 4) & 1, ==, 0);
}

/* Each structure of a type lies at a multiple of 4; at least `least` of them are there. */
static void check_aligned(Norm *x, unsigned type)
{
    NormRange r;

    for (unsigned n = 0; norm_range(x, type, n, &r); n++) {
        g_assert_cmphex(r.at % 4, ==, 0);
    }
}

static void check_common_aligned(Norm *x, const char *driver)
{
    check_aligned(x, 1);
}

static void common_1(Norm *x)
{
    NORM("PCI-COMMON-1");
    norm_types(check_common_aligned);
}

static void check_common_there(Norm *x, const char *driver)
{
    g_assert_cmpuint(norm_cap(x, 1, 0), !=, 0);
}

static void common_2(Norm *x)
{
    NORM("PCI-COMMON-2");
    norm_types(check_common_there);
}

/* Notification structures. What a sentence asks of each of them; least: bytes of a notification. */
typedef void NotifyCheck(const Norm *x, const NormRange *r, uint32_t mult, unsigned least);

static void offset_aligned(const Norm *x, const NormRange *r, uint32_t mult, unsigned least)
{
    g_assert_cmphex(r->at % least, ==, 0);
}

/* "An even power of 2": in either way to read it, a power of 4 above 1. */
static void even_power(const Norm *x, const NormRange *r, uint32_t mult, unsigned least)
{
    g_assert_cmphex(mult & (mult - 1) & -(uint32_t) !!mult, ==, 0);
    g_assert_cmphex(mult & ~0x55555554u, ==, 0);
}

static void multiple_of_four(const Norm *x, const NormRange *r, uint32_t mult, unsigned least)
{
    g_assert_cmphex(mult & (mult - 1) & -(uint32_t) !!mult, ==, 0);
    g_assert_cmphex(mult % 4, ==, 0);
}

/* The BAR holds it, and it holds as many queues as a device can have. */
static void room_for_all(const Norm *x, const NormRange *r, uint32_t mult, unsigned least)
{
    g_assert_cmpuint(r->len, >=, least);
    g_assert_cmpuint(r->at + r->len, <=, x->d.bar_size[r->bar]);
    g_assert_cmpuint(r->len, >=, (VIRTIO_QUEUE_MAX - 1) * (uint64_t)mult + least);
}

static void room_for_each(const Norm *x, const NormRange *r, uint32_t mult, unsigned least)
{
    for (unsigned q = 0; q < vd_read(&x->d, 0x12, 2); q++) {
        vd_write(&x->d, 0x16, 2, q);
        g_assert_cmpuint(r->len, >=, vd_read(&x->d, 0x1e, 2) * mult + least);
    }
}

static NotifyCheck *notify_check;
static unsigned notify_least;

static void check_notify(Norm *x, const char *driver)
{
    unsigned n = 0;

    for (NormRange r; norm_range(x, 2, n, &r); n++) {
        if (notify_check) {
            notify_check(x, &r, norm_cfg(x, r.cap + 16, 4), notify_least);
        }
    }
    g_assert_cmpuint(n, >=, 1);
}

static void notify_works(Norm *x)
{
    norm_start(x, 0);
    for (unsigned n = 0; n < 3; n++) {
        unsigned before = x->s->refills;

        norm_one(x);
        g_assert_cmpuint(x->s->refills, ==, before);
        vd_kick(&x->d, 1); /* the other queue has its own */
        board_run(x->b);
        g_assert_cmpuint(x->s->refills, ==, before + 1);
    }
}

/* Each type; then each layout, where notifications have to arrive as well. */
static void notify_layouts(Norm *x, const char *more, NotifyCheck *check, unsigned least)
{
    static const char *const layouts[] = { "", ", 'page-per-vq': true",
        ", 'modern-pio-notify': true", ", 'page-per-vq': true, 'modern-pio-notify': true" };

    notify_check = check;
    notify_least = least;
    if (*more) {
        norm_modern_types(more, check_notify);
    } else {
        norm_types(check_notify);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(layouts); i++) {
        g_autofree char *opts = g_strconcat(layouts[i], more, NULL);

        norm_open(x, "dummy-pci", opts, 0);
        g_assert_cmpint(vd_offered(&x->d) >> 38 & 1, ==, *more != 0);
        check_notify(x, "dummy-pci");
        notify_works(x);
        norm_close(x);
    }
    x->b = NULL;
}

#define NOTIFY_TEST(fn, id, more, check, least)                                                    \
    static void fn(Norm *x)                                                                        \
    {                                                                                              \
        NORM(id);                                                                                  \
        notify_layouts(x, more, check, least);                                                     \
    }
NOTIFY_TEST(notify_1, "PCI-NOTIFY-1", "", NULL, 2)
NOTIFY_TEST(notify_2, "PCI-NOTIFY-2", "", offset_aligned, 2)
NOTIFY_TEST(notify_3, "PCI-NOTIFY-3", "", even_power, 2)
NOTIFY_TEST(notify_4, "PCI-NOTIFY-4", "", room_for_all, 2)
NOTIFY_TEST(notify_5, "PCI-NOTIFY-5", "", room_for_each, 2)
NOTIFY_TEST(notify_6, "PCI-NOTIFY-6", NOTIF_DATA, multiple_of_four, 4)
NOTIFY_TEST(notify_7, "PCI-NOTIFY-7", NOTIF_DATA, offset_aligned, 4)
NOTIFY_TEST(notify_8, "PCI-NOTIFY-8", NOTIF_DATA, room_for_all, 4)
NOTIFY_TEST(notify_9, "PCI-NOTIFY-9", NOTIF_DATA, room_for_each, 4)

static void check_isr_cap(Norm *x, const char *driver)
{
    g_assert_cmpuint(norm_cap(x, 3, 0), !=, 0);
    g_assert_cmpuint(cap_length(x, norm_cap(x, 3, 0)), >=, 1);
}

static void isr_1(Norm *x)
{
    NORM("PCI-ISR-1");
    norm_types(check_isr_cap);
}

static void check_device_cap(Norm *x, const char *driver)
{
    size_t len = virtio_config_len(norm_pci(x)->vd);

    if (len) {
        g_assert_cmpuint(norm_cap(x, 4, 0), !=, 0);
        g_assert_cmpuint(cap_length(x, norm_cap(x, 4, 0)), >=, len);
    }
}

static void txt_devcfg_1(Norm *x)
{
    NORM("TXT-PCI-DEVCFG-1");
    norm_types(check_device_cap);
}

static void check_device_aligned(Norm *x, const char *driver)
{
    check_aligned(x, 4);
}

static void devcfg_1(Norm *x)
{
    NORM("PCI-DEVCFG-1");
    norm_types(check_device_aligned);
}

/* Shared memory, as far as a type shares some; and a device that has two regions. */
static void shm_types(Norm *x, void (*check)(Norm *x, const char *driver))
{
    norm_types(check);
    for (unsigned size = 0x10000; size <= 0x30000; size += 0x10000) {
        g_autofree char *opts = g_strdup_printf(", 'shm-size': %u", size);

        norm_open(x, "dummy-pci", opts, 0);
        g_assert_cmpuint(norm_cap(x, 8, 1), !=, 0);
        check(x, "dummy-pci");
        norm_close(x);
    }
    x->b = NULL;
}

static void check_shm_contained(Norm *x, const char *driver)
{
    NormRange r;

    for (unsigned n = 0; norm_range(x, 8, n, &r); n++) {
        g_assert_cmpuint(r.bar, <, 6);
        g_assert_cmphex(r.at + r.len, >=, r.at);
        g_assert_cmphex(r.at + r.len, <=, x->d.bar_size[r.bar]);
    }
}

static void shmcap_1(Norm *x)
{
    NORM("PCI-SHMCAP-1");
    shm_types(x, check_shm_contained);
}

static void check_shm_ids(Norm *x, const char *driver)
{
    bool seen[256] = { 0 };
    NormRange r;

    for (unsigned n = 0; norm_range(x, 8, n, &r); n++) {
        unsigned id = norm_cfg(x, r.cap + 5, 1);

        g_assert_false(seen[id]);
        seen[id] = true;
    }
}

static void shmcap_2(Norm *x)
{
    NORM("PCI-SHMCAP-2");
    shm_types(x, check_shm_ids);
}

/* 4.1.4.8: vendor data, as far as a type has some. */
static unsigned vendor_caps; /* of all types */

static void count_vendor_data(Norm *x, const char *driver)
{
    while (norm_cap(x, 9, vendor_caps)) {
        vendor_caps++;
    }
}

static void note_vendor_data(void)
{
    vendor_caps = 0;
    norm_types(count_vendor_data);
    norm_note("%u vendor data capabilities in all device types", vendor_caps);
    g_assert_cmpuint(vendor_caps, ==, 0); /* else the sentence is about them */
}

static void vndr_1(Norm *x)
{
    NORM("PCI-VNDR-1");
    note_vendor_data();
}

static void vndr_2(Norm *x)
{
    NORM("PCI-VNDR-2");
    note_vendor_data();
}

static void check_vendor_id(Norm *x, const char *driver)
{
    for (unsigned n = 0, cap; (cap = norm_cap(x, 9, n)); n++) {
        g_assert_cmphex(norm_cfg(x, cap + 4, 2), !=, 0x1af4);
    }
}

static void vndr_3(Norm *x)
{
    NORM("PCI-VNDR-3");
    norm_types(check_vendor_id);
}

static void check_vendor_size(Norm *x, const char *driver)
{
    for (unsigned n = 0, cap; (cap = norm_cap(x, 9, n)); n++) {
        g_assert_cmphex(norm_cfg(x, cap + 2, 1) % 4, ==, 0);
    }
}

static void vndr_4(Norm *x)
{
    NORM("PCI-VNDR-4");
    norm_types(check_vendor_size);
}

/* Reading it twice, in every width, finds all of configuration space and the status as they were.
 */
static void check_vendor_reads(Norm *x, const char *driver)
{
    for (unsigned n = 0, cap; (cap = norm_cap(x, 9, n)); n++) {
        const PciFn *f = &norm_pci(x)->fn;
        g_autofree uint8_t *before = g_memdup2(f->config, f->config_size);
        unsigned len = norm_cfg(x, cap + 2, 1);

        for (unsigned size = 1; size <= 4; size *= 2) {
            for (unsigned off = 0; off + size <= len; off += size) {
                norm_cfg(x, cap + off, size);
            }
        }
        g_assert_cmpmem(before, f->config_size, f->config, f->config_size);
        g_assert_cmphex(vd_status(&x->d), ==, 0);
        g_assert_cmphex(vd_isr(&x->d), ==, 0);
    }
}

static void vndr_5(Norm *x)
{
    NORM("PCI-VNDR-5");
    norm_types(check_vendor_reads);
}

/* The window: each access through it does what the same access to the BAR does. */
static void window(const Norm *x, unsigned bar, uint32_t off, unsigned len)
{
    const VPort *p = &x->b->port;

    vd_cfg_write(p, 0, NORM_DEVFN, x->d.cap_pci_cfg + 4, 1, bar);
    vd_cfg_write(p, 0, NORM_DEVFN, x->d.cap_pci_cfg + 8, 4, off);
    vd_cfg_write(p, 0, NORM_DEVFN, x->d.cap_pci_cfg + 12, 4, len);
}

static uint32_t window_read(const Norm *x, unsigned bar, uint32_t off, unsigned len)
{
    window(x, bar, off, len);
    return norm_cfg(x, x->d.cap_pci_cfg + 16, len);
}

static void window_write(const Norm *x, unsigned bar, uint32_t off, unsigned len, uint32_t val)
{
    window(x, bar, off, len);
    vd_cfg_write(&x->b->port, 0, NORM_DEVFN, x->d.cap_pci_cfg + 16, 4, val);
}

static void check_window_cap(Norm *x, const char *driver)
{
    unsigned cap = norm_cap(x, 5, 0);

    g_assert_cmpuint(cap, !=, 0);
    g_assert_cmpuint(norm_cfg(x, cap + 2, 1), ==, 20);
}

static void cfgacc_1(Norm *x)
{
    NORM("PCI-CFGACC-1");
    norm_types(check_window_cap);
}

/* The parts of BAR 4 as the capabilities name them. */
static uint32_t part(const Norm *x, unsigned type)
{
    return (uint32_t)cap_offset(x, norm_cap(x, type, 0));
}

static uint32_t mem(const Norm *x, uint64_t at)
{
    return (uint32_t)x->b->port.load(x->b, false, at, 4);
}

static void cfgacc_2(Norm *x)
{
    uint32_t common = part(x, 1), notify = (uint32_t)cap_offset(x, norm_cap(x, 2, 0));

    NORM("PCI-CFGACC-2");
    /* Only cap.length bytes: what lies behind keeps its value. */
    window_write(x, 4, common + 0x20, 4, 0x55667788);
    window_write(x, 4, common + 0x20, 2, 0xffffaaaa);
    g_assert_cmphex(vd_read(&x->d, 0x20, 4), ==, 0x5566aaaa);
    window_write(x, 4, common + 0x23, 1, 0xffffff11);
    g_assert_cmphex(vd_read(&x->d, 0x20, 4), ==, 0x1166aaaa);
    window_write(x, 4, part(x, 4) + 4, 4, 0x64636261);
    g_assert_cmpmem(x->s->config + 4, 4, "abcd", 4);
    /* Of each BAR: vectors, legacy registers; the others are not there. */
    window_write(x, 1, 16 + 8, 4, 0x12345678);
    g_assert_cmphex(mem(x, x->d.bar[1] + 16 + 8), ==, 0x12345678);
    window_write(x, 0, 0x0e, 2, 1);
    g_assert_cmphex(x->b->port.load(x->b, true, x->d.bar[0] + 0x0e, 2), ==, 1);
    window_write(x, 2, 0x8002, 2, 0xffff4321); /* shared memory */
    g_assert_cmphex(mem(x, x->d.bar[2] + 0x8000), ==, 0x43210000);
    for (unsigned bar = 2; bar < 8; bar++) {
        if (bar != 4) {
            window_write(x, bar, common + 0x14, 1, 0x80);
            g_assert_cmphex(vd_status(&x->d), ==, 0);
        }
    }
    norm_start(x, 0);
    norm_add(x);
    window_write(x, 4, notify, 2, 0);
    board_run(x->b);
    norm_used(x, 0, 4);
}

static void cfgacc_3(Norm *x)
{
    NORM("PCI-CFGACC-3");
    memcpy(x->s->config, "\1\2\3\4\5\6\7\10", 8);
    g_assert_cmphex(window_read(x, 4, part(x, 4), 1), ==, 1);
    g_assert_cmphex(window_read(x, 4, part(x, 4) + 2, 2), ==, 0x0403);
    g_assert_cmphex(window_read(x, 4, part(x, 4) + 4, 4), ==, 0x08070605);
    g_assert_cmphex(norm_pci(x)->fn.config[x->d.cap_pci_cfg + 16], ==, 5); /* stored there */
    g_assert_cmphex(window_read(x, 4, part(x, 1) + 0x12, 2), ==, 2);
    x->b->port.store(x->b, false, x->d.bar[1] + 16 + 8, 4, 0x12345678);
    g_assert_cmphex(window_read(x, 1, 16 + 8, 4), ==, 0x12345678);
    g_assert_cmphex(window_read(x, 0, 0, 4), ==, virtio_offered(&x->s->vd, true).word[0]);
    g_assert_cmphex(window_read(x, 0, 0x0c, 2), ==, 16);
    x->b->port.store(x->b, false, x->d.bar[2] + 0x8000, 4, 0x87654321);
    g_assert_cmphex(window_read(x, 2, 0x8002, 2), ==, 0x8765);
    norm_start(x, 0);
    norm_add(x);
    norm_go(x);
    g_assert_cmphex(window_read(x, 4, part(x, 3), 1), ==, 1); /* with all that a read does */
    g_assert_cmphex(vd_isr(&x->d), ==, 0);
}

/* A legacy driver looks for 1af4:1000-103f with revision 0: it never meets a modern device. */
static void check_no_legacy_match(Norm *x, const char *driver)
{
    if (!norm_transitional(x)) {
        g_assert_cmphex(norm_cfg(x, 2, 2), >, 0x103f);
        g_assert_cmphex(norm_cfg(x, 8, 1), !=, 0);
        g_assert_cmphex(norm_cfg(x, 0x10, 4), ==, 0);
    }
}

static void nontrans_1(Norm *x)
{
    NORM("PCI-NONTRANS-1");
    norm_types(check_no_legacy_match);
}

int main(int argc, char **argv)
{
#define PIO    ", 'modern-pio-notify': true"
#define SHARED ", 'shm-size': 65536"
    static const NormTest tests[] = {
        { "PCI-BUS-1", bus_1, NORM_BARE, NULL },
        { "TXT-PCI-DISC-1", txt_disc_1, 0, NULL },
        { "PCI-DISC-1", disc_1, NORM_BARE, NULL },
        { "PCI-DISC-2", disc_2, NORM_BARE, NULL },
        { "PCI-DISC-3", disc_3, 0, ", 'disable-legacy': 'on'" },
        { "PCI-DISC-4", disc_4, NORM_BARE, NULL },
        { "PCI-DISC-5", disc_5, NORM_BARE, NULL },
        { "PCI-DISC-6", disc_6, NORM_BARE, NULL },
        { "PCI-LAYOUT-1", layout_1, 0, NULL },
        { "TXT-PCI-CAP-2", txt_cap_2, 0, PIO },
        { "PCI-CAP-1", cap_1, NORM_BARE, NULL },
        { "PCI-CAP-2", cap_2, 0, NULL },
        { "PCI-CAP-3", cap_3, 0, PIO },
        { "PCI-COMMON-1", common_1, NORM_BARE, NULL },
        { "PCI-COMMON-2", common_2, NORM_BARE, NULL },
        { "PCI-NOTIFY-1", notify_1, NORM_BARE, NULL },
        { "PCI-NOTIFY-2", notify_2, NORM_BARE, NULL },
        { "PCI-NOTIFY-3", notify_3, NORM_BARE, NULL },
        { "PCI-NOTIFY-4", notify_4, NORM_BARE, NULL },
        { "PCI-NOTIFY-5", notify_5, NORM_BARE, NULL },
        { "PCI-NOTIFY-6", notify_6, NORM_BARE, NULL },
        { "PCI-NOTIFY-7", notify_7, NORM_BARE, NULL },
        { "PCI-NOTIFY-8", notify_8, NORM_BARE, NULL },
        { "PCI-NOTIFY-9", notify_9, NORM_BARE, NULL },
        { "PCI-ISR-1", isr_1, NORM_BARE, NULL },
        { "TXT-PCI-DEVCFG-1", txt_devcfg_1, NORM_BARE, NULL },
        { "PCI-DEVCFG-1", devcfg_1, NORM_BARE, NULL },
        { "PCI-SHMCAP-1", shmcap_1, NORM_BARE, NULL },
        { "PCI-SHMCAP-2", shmcap_2, NORM_BARE, NULL },
        { "PCI-VNDR-1", vndr_1, NORM_BARE, NULL },
        { "PCI-VNDR-2", vndr_2, NORM_BARE, NULL },
        { "PCI-VNDR-3", vndr_3, NORM_BARE, NULL },
        { "PCI-VNDR-4", vndr_4, NORM_BARE, NULL },
        { "PCI-VNDR-5", vndr_5, NORM_BARE, NULL },
        { "PCI-CFGACC-1", cfgacc_1, NORM_BARE, NULL },
        { "PCI-CFGACC-2", cfgacc_2, 0, SHARED },
        { "PCI-CFGACC-3", cfgacc_3, 0, SHARED },
        { "PCI-NONTRANS-1", nontrans_1, NORM_BARE, NULL },
    };

    return norm_main(argc, argv, tests, G_N_ELEMENTS(tests));
}
