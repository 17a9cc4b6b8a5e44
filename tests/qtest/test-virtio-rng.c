/* virtio-rng in the real binary: random bytes through modern and legacy, MSI-X and INTx; hot plug;
 * messages. */
#include "tests/lib/libqtest.h"
#include "tests/lib/vdriver.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

/* Bytes that came since the last look, buffers of 300 given again at once. */
static unsigned taken(VDriver *d, uint64_t page)
{
    const VBuf buf = { page, 300, true };
    uint32_t id, len, sum = 0;

    for (unsigned steps = 0; steps < 20; steps++) {
        d->port->step(d->port->opaque);
        while (vring_used(&d->ring[0], &id, &len)) {
            g_assert_cmpuint(len, >=, 1);
            sum += len;
            vring_add(&d->ring[0], &buf, 1, 0);
            vd_kick(d, 0);
            steps = 0;
        }
    }
    return sum;
}

/* max-bytes in each period of virtual time: not one more, not one less, not a nanosecond early. */
static void test_rate(void)
{
    static const unsigned limits[] = { 1, 299, 300, 301, 1000, 4096 };

    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        g_autofree char *args = g_strdup_printf(
            "-M pc -device virtio-rng-pci,addr=4,max-bytes=%u,period=10", limits[i]);
        QTestVm *q = qtv_start(NULL, args);
        VDriver d;

        vd_open(&d, qtv_port(q), 0, DEVFN, false);
        vd_start(&d, 0);
        uint64_t page = vd_page(&d, 4096);
        const VBuf buf = { page, 300, true };

        vring_add(&d.ring[0], &buf, 1, 0);
        vd_kick(&d, 0);
        g_assert_cmpuint(taken(&d, page), ==, limits[i]);
        for (unsigned period = 0; period < 5; period++) {
            g_free(qtv_cmd(q, "clock_step 9999999"));
            g_assert_cmpuint(taken(&d, page), ==, 0);
            g_free(qtv_cmd(q, "clock_step 1"));
            g_assert_cmpuint(taken(&d, page), ==, limits[i]);
        }
        g_free(qtv_cmd(q, "clock_step 35000000")); /* nobody saves up what was not taken */
        g_assert_cmpuint(taken(&d, page), <=, 3 * limits[i]);
        qtv_stop(q);
    }
}

/* A daemon behind rng-egd that is slow: the guest's buffer waits for it. */
static void test_egd(void)
{
    g_autofree char *dir = g_dir_make_tmp("virtio-rng-XXXXXX", NULL), *args = NULL;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int l = socket(AF_UNIX, SOCK_STREAM, 0), s;
    uint8_t ask[2], got[16];
    uint32_t id, len;
    VDriver d;

    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return;
    }
    g_snprintf(a.sun_path, sizeof a.sun_path, "%s/egd", dir);
    g_assert_cmpint(bind(l, (struct sockaddr *)&a, sizeof a), ==, 0);
    g_assert_cmpint(listen(l, 1), ==, 0);
    args = g_strdup_printf("-M pc -chardev socket,id=c,path=%s -object rng-egd,id=r,chardev=c "
                           "-device virtio-rng-pci,addr=4,rng=r",
        a.sun_path);
    QTestVm *q = qtv_start(NULL, args);

    s = accept(l, NULL, NULL);
    vd_open(&d, qtv_port(q), 0, DEVFN, false);
    vd_start(&d, 0);
    const VBuf buf = { vd_page(&d, 4096), 16, true };

    vring_add(&d.ring[0], &buf, 1, 0);
    vd_kick(&d, 0);
    g_assert_cmpint((int)recv(s, ask, 2, MSG_WAITALL), ==, 2);
    g_assert_cmpmem(ask, 2, "\2\20", 2);
    g_assert_false(vring_used(&d.ring[0], &id, &len));
    g_assert_cmpint((int)write(s, "sixteen letters!", 16), ==, 16);
    vd_wait_used(&d, 0, &id, &len);
    g_assert_cmpuint(len, >=, 1);
    d.port->read(d.port->opaque, buf.at, got, len);
    g_assert_cmpmem(got, len, "sixteen letters!", len);
    close(s);
    close(l);
    qtv_stop(q);
    g_assert_cmpint(unlink(a.sun_path), ==, 0);
    g_assert_cmpint(rmdir(dir), ==, 0);
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
    g_test_add_func("/virtio-rng/rate", test_rate);
    g_test_add_func("/virtio-rng/daemon", test_egd);
    g_test_add_func("/virtio-rng/messages", test_messages);
    return g_test_run();
}
