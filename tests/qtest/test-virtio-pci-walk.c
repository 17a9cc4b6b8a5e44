/*
 * PCI walk, BAR sizes, capabilities and virtio registers of the real binary, written down as text
 * and compared with what QEMU 10.0 shows for the same command line (VIRTUE_QEMU10; without it only
 * our own invariants are checked).
 */
#include "tests/lib/libqtest.h"
#include "tests/lib/vdriver.h"

#include <string.h>

enum { DEVFN = 4 << 3 };

static void note_config(const VPort *p, GString *out)
{
    static const struct {
        uint8_t reg, size;
    } fixed[] = { { 0x00, 4 }, { 0x04, 4 }, { 0x08, 4 }, { 0x0c, 4 }, { 0x2c, 4 }, { 0x34, 1 },
        { 0x3c, 2 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(fixed); i++) {
        g_string_append_printf(out, "%02x: %08x\n", fixed[i].reg,
            vd_cfg_read(p, 0, DEVFN, fixed[i].reg, fixed[i].size));
    }
    for (unsigned i = 0; i < 6; i++) {
        uint32_t was = vd_cfg_read(p, 0, DEVFN, 0x10 + 4 * i, 4);

        vd_cfg_write(p, 0, DEVFN, 0x10 + 4 * i, 4, UINT32_MAX);
        g_string_append_printf(
            out, "bar%u: %08x %08x\n", i, was, vd_cfg_read(p, 0, DEVFN, 0x10 + 4 * i, 4));
        vd_cfg_write(p, 0, DEVFN, 0x10 + 4 * i, 4, was);
    }
    vd_cfg_write(p, 0, DEVFN, 4, 2, 0xffff);
    g_string_append_printf(out, "command: %04x\n", vd_cfg_read(p, 0, DEVFN, 4, 2));
    vd_cfg_write(p, 0, DEVFN, 4, 2, 0);
}

static void note_caps(const VPort *p, GString *out)
{
    for (unsigned c = vd_cfg_read(p, 0, DEVFN, 0x34, 1), n = 0; c && n < 48;
         c = vd_cfg_read(p, 0, DEVFN, c + 1, 1), n++) {
        unsigned len =
            vd_cfg_read(p, 0, DEVFN, c, 1) == 9 ? vd_cfg_read(p, 0, DEVFN, c + 2, 1) : 12;

        g_string_append_printf(out, "cap %02x:", c);
        for (unsigned i = 0; i < len; i += 4) {
            g_string_append_printf(out, " %08x", vd_cfg_read(p, 0, DEVFN, c + i, 4));
        }
        g_string_append_c(out, '\n');
    }
}

static void note_common(VDriver *d, GString *out)
{
    g_string_append_printf(out, "features %016" G_GINT64_MODIFIER "x\n", vd_offered(d));
    for (unsigned sel = 2; sel < 5; sel++) {
        vd_write(d, 0, 4, sel);
        g_string_append_printf(out, "features word %u: %x\n", sel, (unsigned)vd_read(d, 4, 4));
    }
    g_string_append_printf(out, "queues %u generation %u config vector %x\n",
        (unsigned)vd_read(d, 0x12, 2), (unsigned)vd_read(d, 0x15, 1),
        (unsigned)vd_read(d, 0x10, 2));
    for (unsigned i = 0; i <= vd_read(d, 0x12, 2) && i < 8; i++) {
        vd_write(d, 0x16, 2, i);
        g_string_append_printf(out, "queue %u: size %u vector %x enable %u off %u\n", i,
            (unsigned)vd_read(d, 0x18, 2), (unsigned)vd_read(d, 0x1a, 2),
            (unsigned)vd_read(d, 0x1c, 2), (unsigned)vd_read(d, 0x1e, 2));
    }
    vd_set_status(d, 1);
    vd_set_status(d, 3);
    g_string_append_printf(out, "status %x\n", vd_status(d));
    g_string_append_printf(out, "negotiated %d\n", vd_negotiate(d, vd_offered(d)));
    vd_write(d, 0x10, 2, 0);
    g_string_append_printf(out, "vector 0: %x\n", (unsigned)vd_read(d, 0x10, 2));
    vd_write(d, 0x10, 2, 99);
    g_string_append_printf(out, "vector 99: %x\n", (unsigned)vd_read(d, 0x10, 2));
    vd_write(d, 0x16, 2, 0);
    vd_write(d, 0x18, 2, 4);
    vd_write(d, 0x20, 4, 0x12345000);
    vd_write(d, 0x24, 4, 1);
    g_string_append_printf(out, "queue 0: size %u desc %x %x\n", (unsigned)vd_read(d, 0x18, 2),
        (unsigned)vd_read(d, 0x20, 4), (unsigned)vd_read(d, 0x24, 4));
    vd_set_status(d, 0);
    g_string_append_printf(out, "reset: status %x size %u tail %x isr %x\n", vd_status(d),
        (unsigned)vd_read(d, 0x18, 2), (unsigned)vd_read(d, 0x40, 4), vd_isr(d));
}

static void note_legacy(VDriver *d, GString *out)
{
    d->legacy = true;
    g_string_append_printf(out, "legacy features %08x\n", (unsigned)vd_offered(d));
    d->port->store(d->port->opaque, true, d->bar[0] + 0x0e, 2, 0);
    g_string_append_printf(out, "legacy queue 0: %u\n",
        (unsigned)d->port->load(d->port->opaque, true, d->bar[0] + 0x0c, 2));
    d->port->store(d->port->opaque, true, d->bar[0] + 0x0e, 2, 70);
    g_string_append_printf(out, "legacy queue 70: %u\n",
        (unsigned)d->port->load(d->port->opaque, true, d->bar[0] + 0x0c, 2));
    vd_set_status(d, 3);
    g_string_append_printf(out, "legacy status %x\n", vd_status(d));
    vd_set_status(d, 0);
}

static char *walk(const char *binary, const char *args)
{
    QTestVm *q = qtv_start(binary, args);
    const VPort *p = qtv_port(q);
    GString *out = g_string_new(NULL);
    VDriver d;

    note_config(p, out);
    note_caps(p, out);
    vd_open(&d, p, 0, DEVFN, false);
    if (d.common) {
        note_common(&d, out);
    }
    if (d.bar_size[0]) {
        note_legacy(&d, out);
    }
    qtv_stop(q);
    return g_string_free(out, FALSE);
}

static void test_walk(const void *args)
{
    g_autofree char *ours = NULL, *theirs = NULL;

    if (!qtv_ours()) {
        g_test_skip("QTEST_QEMU_BINARY names no binary");
        return;
    }
    ours = walk(NULL, args);
    g_assert_nonnull(strstr(ours, "1af4"));
    if (!qtv_oracle()) {
        g_test_skip("VIRTUE_QEMU10 names no QEMU 10.0: nothing to compare with");
        return;
    }
    theirs = walk(qtv_oracle(), args);
    g_assert_cmpstr(ours, ==, theirs);
}

int main(int argc, char **argv)
{
    static const char *const lines[] = {
        "-M pc -device virtio-rng-pci,addr=4",
        "-M pc -device virtio-rng-pci-transitional,addr=4",
        "-M pc -device virtio-rng-pci-non-transitional,addr=4",
        "-M pc -device virtio-rng-pci,addr=4,disable-modern=on",
        "-M pc -device virtio-rng-pci,addr=4,disable-legacy=on,packed=on,in_order=on",
        "-M pc -device virtio-rng-pci,addr=4,vectors=0",
        "-M pc -device virtio-rng-pci,addr=4,vectors=130",
        "-M pc -device virtio-rng-pci,addr=4,page-per-vq=on",
        "-M pc -device virtio-rng-pci,addr=4,modern-pio-notify=on",
        "-M pc -device virtio-rng-pci,addr=4,disable-legacy=on,iommu_platform=on",
        "-M q35 -device virtio-rng-pci,addr=4",
        "-M pc -device virtio-net-pci,addr=4,romfile=",
        "-M pc -drive if=none,id=d,file=null-co://,format=raw -device "
        "virtio-blk-pci,addr=4,drive=d",
        "-M pc -device virtio-serial-pci,addr=4",
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *name = g_strdup_printf("/virtio-pci-walk/%s", lines[i]);

        g_strdelimit(name + strlen("/virtio-pci-walk/"), "/", '|');
        g_test_add_data_func(name, lines[i], test_walk);
    }
    return g_test_run();
}
