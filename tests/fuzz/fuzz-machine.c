/*
 * The fuzzer's machine: one device of each type, made once. Between two inputs a device is reset,
 * its configuration space put back where it was written, and the guest's memory cleaned where it
 * was written.
 */
#include "block/block.h"
#include "chardev/chardev.h"
#include "memory/dirty.h"
#include "tests/fuzz/fuzz.h"

#include <glib/gstdio.h>
#include <string.h>

Fuzz fz;
static DirtyLog *device_wrote;

/* One line a device type; sockets are in a folder that is gone before the first input. */
static const char *const devices[] = {
    "{'driver': 'virtio-rng-pci', 'packed': true, 'in_order': true}",
    "{'driver': 'virtio-blk-pci', 'packed': true, 'in_order': true, 'drive': 'd'}",
    "{'driver': 'virtio-net-pci', 'packed': true, 'in_order': true, 'romfile': ''}",
    "{'driver': 'virtio-serial-pci', 'packed': true, 'in_order': true, 'id': 's', 'max_ports': 4}",
    "{'driver': 'virtio-balloon-pci', 'packed': true, 'in_order': true,"
    " 'free-page-reporting': true, 'vectors': 5}",
    "{'driver': 'virtio-scsi-pci', 'packed': true, 'in_order': true, 'id': 'hba'}",
    "{'driver': 'virtio-vsock-pci', 'packed': true, 'in_order': true, 'guest-cid': 3,"
    " 'x-path': 'vsock', 'x-suspend': true}",
    "{'driver': 'virtio-keyboard-pci', 'packed': true, 'in_order': true}",
    "{'driver': 'virtio-gpu-pci', 'packed': true, 'in_order': true, 'blob': true,"
    " 'max_hostmem': 4194304}",
    "{'driver': 'dummy-pci', 'packed': true, 'in_order': true, 'modern-pio-notify': true,"
    " 'x-notification-data': true}",
};

/* The short way of a driver that means well: registers by their region, memory by its bytes. */
static Region *region_of(bool io, uint64_t at, uint64_t *ret_off)
{
    VirtioPci *p = fz.f->pci;

    if (io) {
        *ret_off = at - fz.d->bar[0];
        return *ret_off < p->bar_legacy.size ? &p->bar_legacy : NULL;
    }
    *ret_off = at - fz.d->common;
    return *ret_off < 0x1000 ? &p->common : NULL;
}

static uint64_t load(void *opaque, bool io, uint64_t at, unsigned size)
{
    uint64_t off;
    Region *r = fz.f ? region_of(io, at, &off) : NULL;

    return r ? r->ops->read(r->opaque, off, size) : fz.b->port.load(fz.b, io, at, size);
}

static void store(void *opaque, bool io, uint64_t at, unsigned size, uint64_t val)
{
    uint64_t off;
    Region *r = fz.f ? region_of(io, at, &off) : NULL;

    if (r) {
        r->ops->write(r->opaque, off, size, val);
    } else {
        fz.b->port.store(fz.b, io, at, size, val);
    }
}

static void ram_read(void *opaque, uint64_t at, void *dst, size_t len)
{
    g_assert(at < RAM_SIZE && len <= RAM_SIZE - at);
    memcpy(dst, fz.host + at, len);
}

void fuzz_write(uint64_t at, const void *src, size_t len)
{
    g_assert(at < RAM_SIZE && len <= RAM_SIZE - at && len <= 4096);
    memcpy(fz.host + at, src, len);
    fz.touched |= 1u << at / 4096 | 1u << (at + len - 1) / 4096;
}

static void ram_write(void *opaque, uint64_t at, const void *src, size_t len)
{
    fuzz_write(at, src, len);
}

static bool step(void *opaque)
{
    return loop_turn(loop_main(), /* block= */ false);
}

static NetVerdict swallow(NetPort *p, const struct iovec *iov, unsigned n, size_t len)
{
    return NET_SENT;
}

static void find_nic(NetPort *p, void *opaque)
{
    if (!strcmp(p->type, "nic")) {
        *(NetPort **)opaque = p;
    }
}

/* Only what can be written matters: the rest cannot have changed. */
void fuzz_config_snapshot(FuzzDev *f)
{
    memcpy(f->config, f->pci->fn.config, sizeof f->config);
    f->dirty = false;
}

static void add_device(FuzzDev *f, unsigned slot, const char *json)
{
    g_autofree char *full =
        g_strdup_printf("%.*s, 'addr': '%x'}", (int)strlen(json) - 1, json, slot);

    f->dev = board_add(fz.b, full);
    f->pci = (VirtioPci *)f->dev;
    f->vd = f->pci->vd;
}

static void add_devices(void)
{
    g_autofree char *here = g_get_current_dir(), *dir = g_dir_make_tmp("fuzz-XXXXXX", NULL);

    g_assert_cmpint(g_chdir(dir), ==, 0);
    for (unsigned i = 0; i < fz.ndevs; i++) {
        add_device(&fz.dev[i], FIRST_SLOT + i, devices[i]);
    }
    g_unlink("vsock");
    g_unlink("vsock.seqpacket");
    g_assert_cmpint(g_chdir(here), ==, 0);
    g_rmdir(dir);
}

static void open_device(FuzzDev *f, unsigned slot)
{
    vd_open(&f->drv, &fz.port, 0, slot << 3, /* legacy= */ false);
    fz.f = f;
    fz.d = &f->drv;
    f->drv.alloc = MSI_PAGE;
    vd_enable_msix(&f->drv);
    vd_cfg_write(&fz.port, 0, slot << 3, f->drv.cap_msix + 2, 2, 0);
    f->drv.msix = false;
    fuzz_config_snapshot(f);
    fz.f = NULL;
}

static void make_ram(void)
{
    region_unmap(&fz.b->ram);
    g_assert_true(region_init_ram(&fz.ram, NULL, "arena", RAM_SIZE, NULL));
    region_map(&fz.b->m->mem_root, 0, &fz.ram, 0);
    fz.host = region_host(&fz.ram);
    device_wrote = dirty_log_new(fz.ram.ram);
}

static void add_drive(const char *id)
{
    g_autofree char *json =
        g_strdup_printf("{'file': 'null-co://', 'format': 'raw', 'if': 'none', 'id': '%s'}", id);
    g_autoptr(Json) args = json_parse(json, -1, NULL);

    g_assert_nonnull(blk_drive_create(args, NULL));
}

void fuzz_prepare(void)
{
    static const NetPortOps wire_ops = { .receive = swallow };
    g_autoptr(Json) null = json_parse("{'backend': 'null', 'id': 'c0'}", -1, NULL);
    NetPort *nic = NULL;

    loop_main();
    add_drive("d");
    add_drive("d2");
    g_assert_nonnull(chardev_create(null, NULL));
    fz.b = board_new(false);
    make_ram();
    fz.port = (VPort){ load, store, ram_read, ram_write, step, NULL };
    fz.ndevs = G_N_ELEMENTS(devices);
    fz.dev = g_new0(FuzzDev, fz.ndevs);
    add_devices();
    board_add(fz.b, "{'driver': 'virtconsole', 'chardev': 'c0', 'id': 'con'}");
    board_add(fz.b, "{'driver': 'scsi-hd', 'drive': 'd2', 'bus': 'hba.0', 'id': 'disk'}");
    for (unsigned i = 0; i < fz.ndevs; i++) {
        open_device(&fz.dev[i], FIRST_SLOT + i);
    }
    net_each(find_nic, &nic);
    net_port_init(&fz.wire, &wire_ops, "wire", "wire");
    net_connect(nic, &fz.wire);
}

void fuzz_begin(unsigned which)
{
    fz.f = &fz.dev[which % fz.ndevs];
    fz.d = &fz.f->drv;
}

static void clean_memory(void)
{
    dirty_log_sync(device_wrote);
    for (unsigned i = 0; i < RAM_SIZE / 4096; i++) {
        if (fz.touched >> i & 1 || dirty_log_page(device_wrote, i)) {
            memset(fz.host + i * 4096, 0, 4096);
        }
    }
    dirty_log_take(device_wrote, 0, RAM_SIZE);
    fz.touched = 0;
}

static bool put_back(const FuzzDev *f)
{
    PciFn *fn = &f->pci->fn;

    for (unsigned reg = 0; reg < sizeof f->config; reg += 4) {
        uint32_t is, was;

        memcpy(&is, fn->config + reg, 4);
        memcpy(&was, f->config + reg, 4);
        if (is != was && (!f->pci->cfg_cap || reg != f->pci->cfg_cap + 16u)) {
            pci_fn_config_write(fn, reg, 4, GUINT32_FROM_LE(was));
        }
    }
    memcpy(fn->config + f->pci->cfg_cap + 16, f->config + f->pci->cfg_cap + 16, 4);
    return !memcmp(fn->config, f->config, sizeof f->config);
}

/* Worker threads may have a request of the disk still. */
static void wait_reset(const FuzzDev *f)
{
    int64_t until = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;

    while (vd_status(&f->drv)) {
        g_assert_cmpint(g_get_monotonic_time(), <, until);
        g_thread_yield();
        step(NULL);
    }
}

void fuzz_end(void)
{
    FuzzDev *f = fz.f;

    fuzz_turn();
    if (f->dirty && !put_back(f)) {
        pci_fn_reset(&f->dev->obj);
        g_assert_true(put_back(f));
    }
    f->dirty = false;
    f->drv.legacy = false;
    vd_set_status(&f->drv, 0);
    fuzz_idle();
    wait_reset(f);
    g_assert_false(f->vd->started);
    g_assert_false(f->vd->broken);
    for (unsigned q = 0; q < f->vd->nvqs; q++) {
        g_assert_false(virtio_queue_busy(f->vd, q) || virtio_queue_enabled(f->vd, q));
    }
    g_assert_cmphex(f->vd->features.word[0], ==, 0);
    clean_memory();
    fz.f = NULL;
}
