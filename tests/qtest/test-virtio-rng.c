/* virtio-rng in the real binary: random bytes through modern and legacy, MSI-X and INTx; hot plug;
 * messages. */
#include "tests/lib/libqtest.h"
#include "tests/lib/vdriver.h"

#include <string.h>

enum { DEVFN = 4 << 3 };
enum { LEGACY = 1, MSIX = 2, PORT = 4 };

static void round_trip(VDriver *d, bool msix)
{
    uint8_t got[64] = { 0 }, zero[64] = { 0 };
    uint32_t id, len;
    uint64_t page;

    if (msix) {
        vd_enable_msix(d);
    }
    vd_start(d, 0);
    page = vd_page(d, 4096);
    const VBuf buf[] = { { page, 40, true }, { page + 40, 24, true } };
    uint16_t head = vring_add(&d->ring[0], buf, 2, 0);

    vd_kick(d, 0);
    vd_wait_used(d, 0, &id, &len);
    g_assert_cmpuint(id, ==, head);
    g_assert_cmpuint(len, ==, 64);
    d->port->read(d->port->opaque, page, got, 64);
    g_assert_cmpint(memcmp(got, zero, 64), !=, 0);
    if (msix) {
        g_assert_cmphex(vd_msi(d, 1), ==, 0x4001);
    } else {
        g_assert_cmphex(vd_isr(d), ==, 1);
        g_assert_cmphex(vd_isr(d), ==, 0);
    }
    vd_set_status(d, 0);
    g_assert_cmphex(vd_status(d), ==, 0);
}

static void test_bytes(const void *how)
{
    unsigned f = GPOINTER_TO_UINT(how);
    QTestVm *q;
    VDriver d;

    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return;
    }
    if (f & PORT) {
        q = qtv_start(
            NULL, "-M q35 -device pcie-root-port,id=rp,addr=2 -device virtio-rng-pci,bus=rp");
        vd_cfg_write(qtv_port(q), 0, 2 << 3, 0x18, 4, 0x00010100);
        vd_cfg_write(qtv_port(q), 0, 2 << 3, 0x20, 4, 0xe010e000);
        vd_cfg_write(qtv_port(q), 0, 2 << 3, 4, 2, 7);
        vd_open(&d, qtv_port(q), 1, 0, false);
    } else {
        q = qtv_start(NULL, "-M pc -device virtio-rng-pci,addr=4");
        vd_open(&d, qtv_port(q), 0, DEVFN, f & LEGACY);
    }
    round_trip(&d, f & MSIX);
    qtv_stop(q);
}

static void test_hotplug(void)
{
    QTestVm *q;
    VDriver d;

    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return;
    }
    q = qtv_start(NULL, "-M pc");
    json_unref(qtv_qmp(q, "{'execute': 'device_add', 'arguments': {'driver': 'virtio-rng-pci', "
                          "'id': 'r', 'addr': '0x06.0'}}"));
    vd_open(&d, qtv_port(q), 0, 6 << 3, false);
    round_trip(&d, true);
    json_unref(qtv_qmp(q, "{'execute': 'device_del', 'arguments': {'id': 'r'}}"));
    qtv_port(q)->store(q, true, 0xae08, 4, 1 << 6);
    g_assert_true(qtv_wait_event(q, "DEVICE_DELETED"));
    g_assert_true(qtv_wait_event(q, "DEVICE_DELETED"));
    g_assert_cmphex(vd_cfg_read(qtv_port(q), 0, 6 << 3, 0, 4), ==, UINT32_MAX);
    qtv_stop(q);
}

static void test_messages(void)
{
    static const char *const cases[][2] = {
        { "virtio-rng-pci,max-bytes=0",
            "'max-bytes' parameter must be positive, and less than 2^63" },
        { "virtio-rng-pci,period=0", "'period' parameter expects a positive integer" },
        { "virtio-rng-pci,rng=foo", "Device 'foo' not found" },
        { "virtio-rng-pci,foo=1", "Property 'virtio-rng-pci.foo' not found" },
        { "virtio-rng-pci,iommu_platform=on",
            "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device" },
    };

    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *args = g_strdup_printf("-M pc -device %s", cases[i][0]);
        g_autofree char *want =
            g_strdup_printf("qemu-system-x86_64: -device %s: %s\n", cases[i][0], cases[i][1]);
        int status;
        g_autofree char *got = qtv_fails(NULL, args, &status);

        g_assert_cmpstr(got, ==, want);
        g_assert_cmpint(status, ==, 1);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/virtio-rng/modern-intx", GUINT_TO_POINTER(0), test_bytes);
    g_test_add_data_func("/virtio-rng/modern-msix", GUINT_TO_POINTER(MSIX), test_bytes);
    g_test_add_data_func("/virtio-rng/legacy-intx", GUINT_TO_POINTER(LEGACY), test_bytes);
    g_test_add_data_func("/virtio-rng/legacy-msix", GUINT_TO_POINTER(LEGACY | MSIX), test_bytes);
    g_test_add_data_func(
        "/virtio-rng/behind-a-root-port", GUINT_TO_POINTER(PORT | MSIX), test_bytes);
    g_test_add_func("/virtio-rng/hotplug", test_hotplug);
    g_test_add_func("/virtio-rng/messages", test_messages);
    return g_test_run();
}
